"""What the guard asks of SIPS and of agreements on security, for each message that it judges.

Nearly every message is plain SIP and must not pay for the others: without a SIPS URI,
without a call that began as SIPS and without a header of RFC 3329 there is nothing to look at.
"""

from sipguard.guard.rooms import Case, Rooms


def look_at_request(rooms: Rooms, case: Case) -> None:
    """Add what is wrong with a request to its case, before the parse chain judges it."""
    message, ids, packet = case.message, case.ids, case.packet
    found = rooms.sips.look(message, ids, packet, case.stand.dialog)
    if (
        message.header(b"security-client") is not None
        or message.header(b"security-verify") is not None
    ):
        found += rooms.agreements.look(message, ids, packet)
    if not found:
        return
    if message.method == b"ACK" and rooms.refuser.is_ours(ids, case.now):
        return  # what it acknowledges was our word about the same fault
    for finding in found:
        case.add(finding)


def look_at_response(rooms: Rooms, case: Case) -> None:
    """Add what is wrong with a response to its case."""
    message, ids, packet = case.message, case.ids, case.packet
    for finding in rooms.sips.look_at_answer(message, ids, packet, case.stand.transaction):
        case.add(finding)


def remember_request(rooms: Rooms, case: Case) -> None:
    """Write down a request that passes, if it is SIPS."""
    uri = case.message.request_uri
    if uri is not None and uri.scheme == b"sips":
        rooms.sips.passed(case.ids)


def remember_response(rooms: Rooms, case: Case) -> None:
    """Write down what a server offers in a response that passes."""
    if case.message.header(b"security-server") is not None:
        for finding in rooms.agreements.answered(case.message, case.ids, case.packet):
            case.add(finding)

"""What the guard asks of SIPS and of agreements on security, for each message that it judges.

Nearly every message is plain SIP and must not pay for the others: without a SIPS URI,
without a call that began as SIPS and without a header of RFC 3329 there is nothing to look at.
"""

from sipguard.calls.sips import carries
from sipguard.guard.rooms import Case, Rooms
from sipguard.reason import Finding, Reason
from sipguard.wire.header_bits import RECORD_ROUTE, SECURITY_SERVER


def look_at_request(rooms: Rooms, case: Case) -> None:
    """Add what is wrong with a request to its case, before the parse chain judges it."""
    message, packet, sips = case.message, case.packet, rooms.sips
    if (
        not packet.channel.tls_peer
        and not packet.channel.tls_failure
        and not message.may_be_secured
        and (sips.is_idle or not sips.began(case.ids, case.stand.dialog))
    ):
        return
    uri = message.request_uri
    # It promises TLS on every hop, and not only on this as a SIPS Route does.
    case.is_sips = uri is not None and uri.scheme == b"sips"
    found = sips.look(message, case.ids, packet, case.stand.dialog)
    found += rooms.agreements.look(message, case.ids, packet)
    if not found:
        return
    if message.method == b"ACK" and rooms.refuser.is_ours(case.ids, case.now):
        return  # what it acknowledges was our word about the same fault
    for finding in found:
        case.add(finding)


def look_at_fork(rooms: Rooms, case: Case) -> None:
    """Add that a proxy made SIPS of SIP, which promises what was not kept (RFC 5630 section 5.3).

    *case* is of a request that is known from another leg.
    """
    if case.is_sips and not rooms.sips.knows(case.ids):
        case.add(Finding(Reason.SIPS_GAINED, "", case.message.uri[:128]))


def look_at_response(rooms: Rooms, case: Case) -> None:
    """Add what is wrong with a response to its case."""
    transaction = case.stand.transaction
    if (
        carries(case.packet, case.ids)
        and not case.message.has(RECORD_ROUTE)
        and (transaction is None or not transaction.secured)
    ):
        return
    for finding in rooms.sips.look_at_answer(case.message, case.ids, case.packet, transaction):
        case.add(finding)


def remember_response(rooms: Rooms, case: Case) -> None:
    """Write down what a server offers in a response that passes."""
    if case.message.has(SECURITY_SERVER):
        for finding in rooms.agreements.answered(case.message, case.ids, case.packet):
            case.add(finding)

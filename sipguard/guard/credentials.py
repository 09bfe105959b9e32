"""Digest on the packet's way: credentials before a rule is asked, challenges after they passed."""

from typing import Final

from sipguard.evidence import Evidence, State
from sipguard.guard.rooms import Case, Rooms
from sipguard.reason import Finding, Reason
from sipguard.wire.header_bits import CREDENTIALS

CHALLENGES: Final = (401, 407)
_ABSENT: Final = Evidence(State.ABSENT)


def find_stolen(
    rooms: Rooms, case: Case, *, in_dialog: bool, retry: bool = False
) -> Finding | None:
    """Examine a request's credentials; return why they are stolen, and tell the rules so.

    Everything that was found is added to the case. A nonce count that was used before is no
    theft: a thief has no other response to send with it, but careless clients begin with 1
    for every request (DIG-23).
    """
    if not case.message.has(CREDENTIALS):
        return None
    evidence = rooms.digests.examine(
        case.message, case.ids, case.packet, case.now, in_dialog=in_dialog, retry=retry
    )
    case.digest = evidence
    finding = evidence.finding
    found = evidence.notes if finding is None else (finding, *evidence.notes)
    if found:
        case.findings = case.subject.findings = [*case.findings, *found]
    if finding is None or finding.reason is not Reason.DIGEST_REPLAY:
        return None
    case.subject.replay = True
    case.subject.replay_kind = b"digest"
    return finding


def digest_of(rooms: Rooms, case: Case) -> Evidence:
    """Return what the credentials prove; examined now, if nobody did before."""
    if case.digest is None:
        if not case.message.has(CREDENTIALS):
            return _ABSENT
        in_dialog = case.subject.dialog_known
        case.digest = rooms.digests.examine(
            case.message, case.ids, case.packet, case.now, in_dialog=in_dialog
        )
    return case.digest


def remember_credentials(rooms: Rooms, case: Case) -> None:
    """Remember the responses of a request that passes."""
    if case.digest is not None:
        rooms.digests.accepted(case.message, case.ids, case.packet, case.now)


def hear_challenge(rooms: Rooms, case: Case) -> None:
    """Look at a 401 or 407 before a rule is asked.

    ``challenge.foreign`` is the digest leak: somebody calls a telephone, waits until it hangs
    up, and asks for a password to let it. What it answers can be guessed at for years.
    """
    transaction = case.stand.transaction
    if transaction is None:
        return
    for finding in rooms.digests.faults_of_challenge(case.message, case.ids, case.now):
        case.add(finding)
    packet = case.packet
    case.subject.challenge_foreign = (
        transaction.in_dialog
        and not transaction.from_caller
        and not rooms.digests.serves(packet.src, packet.dst, case.now)
    )


def remember_answer(rooms: Rooms, case: Case) -> None:
    """Remember what a final response that passes says of credentials, challenges and bodies."""
    lost = rooms.downgrades.answered(case.message, case.ids, case.now)
    if lost is not None:
        case.add(lost)
    transaction = case.stand.transaction
    if transaction is not None and transaction.proven:
        for finding in rooms.digests.answered(case.message, case.ids, case.packet, case.now):
            case.add(finding)
    if case.message.status in CHALLENGES:
        rooms.digests.challenged(case.message, case.ids, case.packet, case.now)

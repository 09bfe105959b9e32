"""Temporary exceptions at work: after the rules' refusal, and above nothing else."""

from typing import Final

from sipguard.guard.rooms import Case, Rooms
from sipguard.moment import Moment
from sipguard.policy.exemptions import ALLOW, MUTE
from sipguard.reason import Reason
from sipguard.verdict import Action, Judgement
from sipguard.wire.uri import aor_key

_ACCEPT: Final = Action.ACCEPT


def excepted(rooms: Rooms, case: Case, judgement: Judgement) -> Judgement:
    """Return what the policy says of a request, unless an exception lets it pass.

    Only the word of a rule, or of the default, is taken back: what the guard
    refuses by itself (a spent budget, overload) has no place in a policy file.
    """
    exemptions = rooms.exemptions
    if not exemptions.exemptions or judgement.action is _ACCEPT or not judgement.place:
        return judgement
    subject = case.subject
    if subject.replay or subject.registration_foreign:
        return judgement
    one = exemptions.find(ALLOW, case.packet.src, caller_of(case), judgement.rule, case.now)
    if one is None:
        return judgement
    rooms.passed_by_exception += 1
    return Judgement(
        _ACCEPT,
        Reason.EXCEPTED,
        f"exception {one.number}",
        judgement.place,
        f"{judgement.rule} refuses it, {judgement.reason.value}; {one.by} allows it "
        f"for another {int(one.until_s - case.now.utc_s)} s: {one.reason}",
        log=True,
    )


def is_muted(
    rooms: Rooms, source: bytes, case: Case | None, judgement: Judgement, now: Moment
) -> bool:
    """Whether a refusal is to be kept out of the records; counted if so."""
    exemptions = rooms.exemptions
    if not exemptions.exemptions:
        return False
    caller = caller_of(case) if case is not None else b""
    if exemptions.find(MUTE, source, caller, judgement.rule, now) is None:
        return False
    rooms.muted += 1
    return True


def caller_of(case: Case) -> bytes:
    """Return the claimed caller as one key."""
    return aor_key(case.ids.from_.uri)

"""Lines with ICE: a hole for each pair of candidates that the policy would let open (PIN-13)."""

from typing import Final

from sipguard.media.ice_plan import IceHole, agreed_ice, plan_ice
from sipguard.media.line import BY_CALLER, OFF, RTCP, Branch, Line
from sipguard.media.room import Room
from sipguard.media.terms import Opened, Opening, Stream
from sipguard.reason import Finding
from sipguard.verdict import Endpoint
from sipguard.wire.candidate import RTCP_COMPONENT, Ice, read_ice
from sipguard.wire.sdp import Media, Sdp

_OPEN: Final = Opening.OPEN
_NONE: Final = Opened(Opening.REFUSE, 0)
_SIGN: Final = b"ice-"  # what a description with ICE has in it


def ice_of(
    offer: Sdp, answer: Sdp, index: int
) -> tuple[tuple[Ice, Ice] | None, tuple[Finding, ...]]:
    """Return the offerer's and the answerer's ICE of one line, where both use it."""
    if answer.raw.find(_SIGN) < 0 or offer.raw.find(_SIGN) < 0:  # ``in`` tries a number first
        return None, ()
    offered = read_ice(offer, offer.media[index])
    answered = read_ice(answer, answer.media[index])
    is_used, findings = agreed_ice(offered, answered)
    if not is_used or offered is None or answered is None:
        return None, findings
    return (offered, answered), findings


def checked_line(
    room: Room, stream: Stream, caller: Media, callee: Media, ice: tuple[Ice, Ice], method: str
) -> tuple[Line, Opened]:
    """Return a line of the candidate pairs that the policy lets open, and its word on them.

    Each pair of addresses is shown to the policy by itself: that a host answers checks
    says nothing about whose it is. ``OFF`` where no pair may open.
    """
    plan = plan_ice(caller, ice[0], callee, ice[1])
    for finding in plan.findings:
        room.report.find(finding)
    branches: list[Branch] = []
    asked: dict[tuple[bytes, bytes], Opened] = {}
    word = _NONE
    for one in plan.holes:
        ends = _ends(one)
        opened = asked.get(ends)
        if opened is None:
            opened = asked[ends] = _ask(room, stream, ends)
        if opened.verdict is _OPEN:
            word = opened
            lane = (BY_CALLER if one.by_caller else 0) | (
                RTCP if one.component == RTCP_COMPONENT else 0
            )
            branches.append(Branch(one.hole, lane))
    if not branches:
        return OFF, _NONE
    mux = caller.rtcp_mux and callee.rtcp_mux
    line = Line(caller.address, callee.address, 0, 0, method, mux, tuple(branches))
    return line, word


def _ends(one: IceHole) -> tuple[bytes, bytes]:
    """Return the caller's address of a hole, then the callee's."""
    hole = one.hole
    return (hole.source, hole.destination) if one.by_caller else (hole.destination, hole.source)


def _ask(room: Room, stream: Stream, ends: tuple[bytes, bytes]) -> Opened:
    """Return the policy's word on holes between two addresses."""
    vouched = room.vouched
    caller, callee = ends
    pair = stream.between(
        Endpoint(caller, stream.caller.port),
        Endpoint(callee, stream.callee.port),
        caller in vouched.caller,
        callee in vouched.callee,
    )
    return room.judge(pair)

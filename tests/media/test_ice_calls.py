"""ICE of real telephones, recorded on a router between them: all of it verifies (PIN-13)."""

from pathlib import Path

import pytest
from ice_peers import Inner, flight

from sipguard.media.ice import IceProver
from sipguard.media.ice_plan import agreed_ice, plan_ice
from sipguard.media.proof import Flight, Word
from sipguard.reason import Reason
from sipguard.verdict import Hole
from sipguard.wire.candidate import Ice, read_ice
from sipguard.wire.rtp import Kind, kind_of
from sipguard.wire.sdp import Sdp, parse_sdp

CALLS = sorted((Path(__file__).parents[1] / "vectors" / "ice").glob("*.call"))


class Call:
    """What a capture in tests/vectors/ice says: descriptions and packets in their order."""

    def __init__(self, path: Path) -> None:
        self.steps: list[tuple[str, Sdp] | Flight] = []
        body: list[str] = []
        what = ""
        for line in [*path.read_text().splitlines(), "end"]:
            if line.startswith("#"):
                continue
            if line.startswith("  "):
                body.append(line[2:])
                continue
            if body:
                self.steps.append((what, parse_sdp("\r\n".join([*body, ""]).encode())))
                body = []
            if line in ("offer", "answer"):
                what = line
            elif line != "end":
                time, way, *ends, payload = line.split()
                source, destination = f"{ends[0]}:{ends[1]}", f"{ends[2]}:{ends[3]}"
                self.steps.append(
                    flight(way == ">", bytes.fromhex(payload), float(time), source, destination)
                )


@pytest.mark.parametrize("path", CALLS, ids=lambda path: path.stem)
def test_calls_of_real_telephones(path: Path) -> None:
    """Every check verifies, none passes by without a hole, and the media get through."""
    made: IceProver | None = None
    used: tuple[Ice, Ice] | None = None
    open_holes: set[Hole] = set()
    offer: Sdp | None = None
    words: list[tuple[bool, Kind, Word]] = []
    for step in Call(path).steps:
        if isinstance(step, tuple):
            if step[0] == "offer":
                offer = step[1]
                continue
            assert offer is not None
            sides = [read_ice(sdp, sdp.media[0]) for sdp in (offer, step[1])]
            caller, callee = sides
            assert agreed_ice(caller, callee) == (True, ())
            assert caller is not None
            assert callee is not None
            planned = plan_ice(offer.media[0], caller, step[1].media[0], callee)
            assert planned.findings == ()
            open_holes = {one.hole for one in planned.holes}
            if used is None or caller.is_restart_of(used[0]) or callee.is_restart_of(used[1]):
                made = IceProver(Inner(), caller, callee, made)
            used = caller, callee
        elif made is not None:
            assert Hole(step.source, step.destination, step.port) in open_holes
            sight = made.see(step)
            assert sight.finding is None
            assert sight.word is Word.PASS or kind_of(step.payload) is not Kind.STUN
            words.append((step.by_caller, kind_of(step.payload), sight.word))
    for by_caller in (True, False):
        media = [word for way, kind, word in words if way is by_caller and kind is Kind.RTP]
        first = media.index(Word.PROVEN)
        assert set(media[first:]) == {Word.PROVEN}
        assert set(media[:first]) <= {Word.QUIET}
        assert first <= 8
    assert len(words) > 30


@pytest.mark.parametrize("path", CALLS, ids=lambda path: path.stem)
def test_calls_of_real_telephones_under_other_passwords(path: Path) -> None:
    """The same packets, where signalling had other credentials: none passes."""
    steps = Call(path).steps
    offer, answer = [step[1] for step in steps if isinstance(step, tuple)][:2]
    caller, callee = read_ice(offer, offer.media[0]), read_ice(answer, answer.media[0])
    assert caller is not None
    assert callee is not None
    made = IceProver(Inner(), callee, caller)
    for step in steps:
        if isinstance(step, Flight):
            sight = made.see(step)
            assert sight.word in (Word.REFUSE, Word.QUIET)
            if kind_of(step.payload) is Kind.STUN and len(step.payload) > 20:
                assert sight.finding is not None
                assert sight.finding.reason is Reason.ICE_INTEGRITY


def test_there_are_real_calls() -> None:
    """Two programs, three keying methods, with RTCP beside and in one."""
    assert len(CALLS) == 4

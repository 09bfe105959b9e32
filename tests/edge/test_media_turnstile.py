"""Media on its way to the guard: the verdict first, what follows from it when nobody waits."""

from collections.abc import Sequence

import pytest

from sipguard.edge.media_guard import MediaGuard
from sipguard.edge.media_turnstile import PATIENCE_S, MediaTurnstile
from sipguard.edge.queued import QueuedPacket, Reader
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, DoubtPinhole, Effect, Hole, ProvePinhole

HOLE = Hole(b"\1\1\1\1", b"\2\2\2\2", 4000)
OTHER = Hole(b"\1\1\1\1", b"\2\2\2\2", 4002)
SSRC = 0xCAFE_BABE
PROVE = ProvePinhole(HOLE, 5004, SSRC, b"call")
MOVED = ProvePinhole(HOLE, 5006, SSRC, b"call")
DOUBT = DoubtPinhole(HOLE, 5004, Reason.UNPROVEN, b"call")
CLOSE = ClosePinhole(HOLE, "sdes", Reason.UNPROVEN, b"call")
ELSEWHERE = ClosePinhole(OTHER, "sdes", Reason.CALL_ENDED, b"call")


class Answer:
    def __init__(self, accept: bool, *effects: Effect) -> None:
        self.accept = accept
        self.effects = effects


class Desk:
    """A turnstile, and everything that happens around it in order."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.now_s = 100.0
        self.answer = Answer(True)
        self.effects: tuple[Effect, ...] = ()
        self.turnstile = MediaTurnstile(self.apply, lambda: Moment(self.now_s, 0.0))
        self.turnstile.guard = self
        ends = (lambda _: b""), self.settle
        self.reader = Reader(1, 1, *ends, lambda *_: None, lambda _: "", lambda *_: None, 9)

    def inspect_media(self, octets: bytes, interface: str, now: Moment) -> Answer:
        return self.answer

    def sample_media(self, octets: bytes, now: Moment) -> tuple[Effect, ...]:
        return self.effects

    def settle(self, verdict: bytes) -> None:
        self.log.append("accept" if verdict[27] else "drop")

    def apply(self, effects: Sequence[Effect]) -> None:
        self.log.append(list(effects))

    def take(self, accept: bool, *effects: Effect) -> None:
        self.answer = Answer(accept, *effects)
        self.turnstile.take(b"", "ra", QueuedPacket(self.reader, b"\0\0\0\1", b""))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_verdict_comes_first_and_the_proof_when_nobody_waits(desk: Desk) -> None:
    """What the kernel forwards alone would overtake a packet that waits."""
    desk.take(True, PROVE)
    desk.take(True)
    assert not desk.turnstile.end_turn(False)
    assert desk.log == ["accept", "accept"]
    assert desk.turnstile.end_turn(True), "somebody may have come meanwhile: look again"
    assert desk.log == ["accept", "accept", [PROVE]]
    assert not desk.turnstile.end_turn(True)


def test_two_sources_of_one_port_are_proven_in_one_turn(desk: Desk) -> None:
    """Bundled streams share a port and differ by SSRC; a doubt of the port is one of both."""
    beside = ProvePinhole(HOLE, 5004, SSRC + 1, b"call")
    desk.take(True, PROVE)
    desk.take(True, beside)
    desk.turnstile.end_turn(True)
    assert desk.log[-1] == [PROVE, beside]
    desk.take(True, PROVE)
    desk.take(True, beside)
    desk.turnstile.overtaken_by([DOUBT])
    assert not desk.turnstile.end_turn(True)


def test_a_proof_does_not_wait_for_ever(desk: Desk) -> None:
    """Where the queue never empties, proofs are what empties it."""
    desk.take(True, PROVE)
    desk.now_s += PATIENCE_S / 2
    desk.take(True, MOVED)
    assert not desk.turnstile.end_turn(False)
    desk.now_s += PATIENCE_S / 2
    assert desk.turnstile.end_turn(False)
    assert desk.log[-1] == [PROVE, MOVED]


def test_a_doubt_waits_for_the_turns_end_alone(desk: Desk) -> None:
    """However full the queue is; and nothing makes the turn longer."""
    desk.take(False, DOUBT)
    assert not desk.turnstile.end_turn(False)
    assert desk.log == ["drop", [DOUBT]]
    assert (desk.turnstile.accepted, desk.turnstile.dropped) == (0, 1)


def test_one_transaction_carries_what_is_due_at_once(desk: Desk) -> None:
    """Each costs the kernel about as much as four more elements."""
    desk.take(True, PROVE)
    desk.take(False, ELSEWHERE)
    assert desk.turnstile.end_turn(True)
    assert desk.log == ["accept", "drop", [ELSEWHERE, PROVE]]


@pytest.mark.parametrize("effect", [DOUBT, CLOSE])
@pytest.mark.parametrize("by_others", [False, True])
def test_a_proof_that_waits_is_not_carried_out_after_its_end(
    desk: Desk, effect: Effect, by_others: bool
) -> None:
    """The BYE comes by another queue; the proof of a closed pinhole would stay for good."""
    desk.take(True, PROVE, ProvePinhole(OTHER, 5004, SSRC, b"call"))
    if by_others:
        desk.turnstile.overtaken_by([effect])
    else:
        desk.take(False, effect)
    desk.turnstile.end_turn(True)
    applied = desk.log[-1]
    assert isinstance(applied, list)
    assert PROVE not in applied
    assert ProvePinhole(OTHER, 5004, SSRC, b"call") in applied


def test_a_source_that_is_proven_again_is_proven(desk: Desk) -> None:
    """Doubted and convincing in one turn: the last word counts."""
    desk.take(False, DOUBT)
    desk.take(True, PROVE)
    desk.turnstile.end_turn(True)
    assert desk.log[-1] == [DOUBT, PROVE]


def test_what_a_copy_shows_is_done_at_once(desk: Desk) -> None:
    """Its packet has gone on already; and a proof that waits is void by it."""
    desk.take(True, PROVE)
    desk.effects = (DOUBT,)
    desk.turnstile.take_sample(b"")
    assert desk.log == ["accept", [DOUBT]]
    assert not desk.turnstile.end_turn(True)
    desk.effects = ()
    desk.turnstile.take_sample(b"")
    assert desk.log == ["accept", [DOUBT]]
    assert desk.turnstile.samples == 2


def test_without_a_guard_nothing_is_judged(desk: Desk) -> None:
    """The queue gives the verdict then (tests/edge/test_nfqueue.py)."""
    guard: MediaGuard = desk
    assert guard is desk
    desk.turnstile.guard = None
    desk.take(True, PROVE)
    desk.turnstile.take_sample(b"")
    assert (desk.log, desk.turnstile.samples) == ([], 0)

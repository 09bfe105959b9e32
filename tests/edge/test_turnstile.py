"""What follows from a message: pinholes open before it goes on, and close when they may."""

from collections.abc import Sequence
from typing import Final

from sipguard.edge.queued import QueuedPacket, Reader
from sipguard.edge.turnstile import Turnstile
from sipguard.guard import Guard
from sipguard.moment import Moment
from sipguard.policy.load import load_policy
from sipguard.reason import Reason
from sipguard.verdict import (
    Action,
    ClosePinhole,
    Decision,
    DoubtPinhole,
    Effect,
    Hole,
    Judgement,
    OpenPinhole,
)
from sipguard.wire.channel import CLEAR, Channel

HOLE: Final = Hole(bytes(4), bytes(4), 4000)
OPEN: Final = OpenPinhole(HOLE, "SDES", 60, b"c1")
OTHER: Final = OpenPinhole(Hole(bytes(4), bytes(4), 4002), "SDES", 60, b"c2")
CLOSE: Final = ClosePinhole(HOLE, "SDES", Reason.CALL_ENDED, b"c1")
DOUBT: Final = DoubtPinhole(HOLE, 4000, Reason.RENEGOTIATED, b"c1")
POLICY: Final = load_policy("p", lambda _: "chain request\n  all accept\n")
ACCEPTED: Final = Judgement(Action.ACCEPT, Reason.ACCEPTED, "all")


class Decided(Guard):
    """A guard whose decisions a test makes."""

    effects: tuple[Effect, ...] = ()

    def inspect(
        self, octets: bytes, interface: str, now: Moment, channel: Channel = CLEAR
    ) -> Decision:
        return Decision(Action.ACCEPT, ACCEPTED, effects=self.effects)

    def inspect_again(
        self, octets: bytes, interface: str, now: Moment, channel: Channel = CLEAR, *, last: bool
    ) -> Decision:
        return self.inspect(octets, interface, now)


class Scene:
    """A turnstile between a guard and a kernel that writes down what it is told."""

    def __init__(self) -> None:
        self.log: list[object] = []
        ends = (lambda _: b""), (lambda _: self.log.append("verdict"))
        self.reader = Reader(0, 1, *ends, lambda *_: None, lambda _: "", lambda *_: None, 9)
        self.turnstile = Turnstile(self.apply, lambda _: None)
        self.guard = self.turnstile.guard = Decided(POLICY, b"secret")

    def apply(self, effects: Sequence[Effect]) -> None:
        self.log.append(list(effects))

    def message(self, *effects: Effect) -> None:
        self.guard.effects = effects
        self.turnstile.take(b"", "", QueuedPacket(self.reader, bytes(4), b""))


def test_what_opens_is_open_before_the_message_goes_on() -> None:
    """Media must not outrun its pinhole."""
    scene = Scene()
    scene.message(OPEN)
    assert scene.log == [[OPEN], "verdict"]


def test_what_closes_waits_for_the_end_of_the_turn() -> None:
    """All that a turn closes is one transaction."""
    scene = Scene()
    scene.message(CLOSE)
    scene.message()
    scene.message(CLOSE, CLOSE)
    assert scene.log == ["verdict"] * 3
    assert not scene.turnstile.turn_ended(False)
    assert scene.log[3:] == [[CLOSE] * 3]
    scene.turnstile.turn_ended(True)
    assert len(scene.log) == 4


def test_what_waits_goes_with_the_next_that_opens_and_before_it() -> None:
    """One transaction of the kernel's for both."""
    scene = Scene()
    scene.message(CLOSE)
    scene.message(OTHER)
    scene.turnstile.turn_ended(True)
    assert scene.log == ["verdict", [CLOSE, OTHER], "verdict"]


def test_a_pinhole_that_opens_again_was_closed_before() -> None:
    """Ports serve one call after another: nothing that the last one has proven counts then.

    In one transaction the last word on a pinhole is the only one.
    """
    scene = Scene()
    scene.message(CLOSE)
    scene.message(OPEN)
    scene.turnstile.turn_ended(True)
    assert scene.log == ["verdict", [CLOSE], [OPEN], "verdict"]


def test_a_doubt_does_not_wait() -> None:
    """Who may have been lied about is asked again before his next packet."""
    scene = Scene()
    scene.message(CLOSE, DOUBT)
    assert scene.log == [[CLOSE, DOUBT], "verdict"]


def test_outside_a_turn_nothing_waits() -> None:
    """A packet that was held gets its verdict when nobody will tell of a turn's end."""
    scene = Scene()
    scene.message(CLOSE)
    scene.guard.effects = (CLOSE, CLOSE)
    scene.turnstile.take_again(b"", "", QueuedPacket(scene.reader, bytes(4), b""), True)
    assert scene.log == ["verdict", [CLOSE] * 3, "verdict"]


def test_a_fault_in_the_kernels_part_is_not_repeated() -> None:
    """What waited was asked for once; the next message does not fail for it."""
    scene = Scene()

    def fail(_: Sequence[Effect]) -> None:
        raise ZeroDivisionError

    turnstile = Turnstile(fail, lambda _: None)
    turnstile.guard = scene.guard
    scene.guard.effects = (CLOSE,)
    turnstile.take(b"", "", QueuedPacket(scene.reader, bytes(4), b""))
    try:
        turnstile.turn_ended(True)
    except ZeroDivisionError:
        scene.log.append("fault")
    turnstile.turn_ended(True)
    assert scene.log == ["verdict", "fault"]

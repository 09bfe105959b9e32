"""What follows from messages: pinholes open before they go on, and close when they may."""

from collections.abc import Sequence
from typing import Final

import pytest
from twisted.internet.task import Clock

from sipguard.edge.turnstile import CLOSE_WITHIN_S, MOST, Consequences
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, DoubtPinhole, Effect, Hole, OpenPinhole

HOLE: Final = Hole(bytes(4), bytes(4), 4000)
OPEN: Final = OpenPinhole(HOLE, "SDES", 60, b"c1")
OTHER: Final = OpenPinhole(Hole(bytes(4), bytes(4), 4002), "SDES", 60, b"c2")
CLOSE: Final = ClosePinhole(HOLE, "SDES", Reason.CALL_ENDED, b"c1")
DOUBT: Final = DoubtPinhole(HOLE, 4000, Reason.RENEGOTIATED, b"c1")


class Scene:
    """A kernel that writes down what it is told, and messages that go on."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.log: list[object] = []
        self.consequences = Consequences(self.apply, clock.callLater if clock is not None else None)

    def apply(self, effects: Sequence[Effect]) -> None:
        self.log.append(list(effects))

    def message(self, *effects: Effect, is_turn: bool = True) -> None:
        """Bring one whose verdict leaves at once."""
        self.messages(effects, is_turn=is_turn)

    def messages(self, *each: tuple[Effect, ...], is_turn: bool = True) -> None:
        """Bring some whose verdicts leave together."""
        for effects in each:
            self.consequences.follow(effects, is_turn)
        self.consequences.make_way()
        self.log += ["verdict"] * len(each)


def test_what_opens_is_open_before_the_message_goes_on() -> None:
    """Media must not outrun its pinhole."""
    scene = Scene()
    scene.message(OPEN)
    assert scene.log == [[OPEN], "verdict"]


def test_messages_that_go_on_together_share_a_transaction() -> None:
    """Which costs each call less than one of its own."""
    scene = Scene()
    scene.messages((OPEN,), (), (DOUBT, OTHER))
    scene.consequences.turn_ended()
    assert scene.log == [[OPEN, DOUBT, OTHER], *["verdict"] * 3]


def test_of_one_pinhole_in_a_transaction_the_last_word_is_to_close_it() -> None:
    """A call that ends right behind its answer leaves none open."""
    scene = Scene()
    scene.messages((OPEN,), (CLOSE,))
    assert scene.log == [[OPEN, CLOSE], *["verdict"] * 2]
    scene.messages((OPEN,), (CLOSE,), (OPEN,))
    assert scene.log[3:] == [[OPEN, CLOSE], [OPEN], *["verdict"] * 3]


def test_a_transaction_has_an_end() -> None:
    """However much the messages of a turn ask for."""
    scene = Scene()
    scene.messages(*[(OPEN,)] * (2 * MOST + 1))
    applied = [len(entry) for entry in scene.log if isinstance(entry, list)]
    assert applied == [MOST, MOST, 1]


def test_what_closes_waits_for_the_end_of_the_turn() -> None:
    """All that a turn closes is one transaction."""
    scene = Scene()
    scene.message(CLOSE)
    scene.message()
    scene.message(CLOSE, CLOSE)
    assert scene.log == ["verdict"] * 3
    scene.consequences.turn_ended()
    assert scene.log[3:] == [[CLOSE] * 3]
    scene.consequences.turn_ended()
    assert len(scene.log) == 4


def test_what_waits_goes_with_the_next_that_opens_and_before_it() -> None:
    """One transaction of the kernel's for both."""
    scene = Scene()
    scene.message(CLOSE)
    scene.message(OTHER)
    scene.consequences.turn_ended()
    assert scene.log == ["verdict", [CLOSE, OTHER], "verdict"]


def test_what_closes_waits_for_the_next_that_opens_and_for_some_milliseconds() -> None:
    """One transaction for two calls, where calls come close together."""
    clock = Clock()
    scene = Scene(clock)
    for effects in ((CLOSE,), (), (OTHER,), (CLOSE,)):
        scene.message(*effects)
        scene.consequences.turn_ended()
    assert scene.log == ["verdict", "verdict", [CLOSE, OTHER], "verdict", "verdict"]
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(CLOSE_WITHIN_S)
    assert scene.log[5:] == [[CLOSE]]
    clock.advance(1)
    assert len(scene.log) == 6
    scene.message(CLOSE)
    scene.consequences.turn_ended()
    clock.advance(CLOSE_WITHIN_S)
    assert scene.log[6:] == ["verdict", [CLOSE]]


def test_nothing_that_was_to_close_is_left_behind() -> None:
    """At the end of the service nobody waits."""
    clock = Clock()
    scene = Scene(clock)
    scene.message(CLOSE)
    scene.consequences.turn_ended()
    scene.consequences.close()
    clock.advance(1)
    assert scene.log == ["verdict", [CLOSE]]


def test_a_pinhole_that_opens_again_was_closed_before() -> None:
    """Ports serve one call after another: nothing that the last one has proven counts then.

    In one transaction the last word on a pinhole is the only one.
    """
    scene = Scene()
    scene.message(CLOSE)
    scene.message(OPEN)
    scene.consequences.turn_ended()
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
    scene.message(CLOSE, CLOSE, is_turn=False)
    assert scene.log == ["verdict", [CLOSE] * 3, "verdict"]


def test_a_fault_in_the_kernels_part_is_not_repeated() -> None:
    """What waited was asked for once; the next message does not fail for it."""
    log: list[str] = []

    def fail(_: Sequence[Effect]) -> None:
        log.append("asked")
        raise ZeroDivisionError

    consequences = Consequences(fail)
    consequences.follow((CLOSE,), True)
    with pytest.raises(ZeroDivisionError):
        consequences.turn_ended()
    consequences.turn_ended()
    assert log == ["asked"]

"""Time passes in steps that follow the load."""

from twisted.internet.task import Clock

from sipguard.calls.table import ALL
from sipguard.edge.ticking import BITE, BUSY_PACKETS, BUSY_STEP_S, STEP_S, Ticking


class Scene:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.reactor = Clock()
        self.looked_at: list[int] = []
        self.packets = 0
        self.ticking = Ticking(self.looked_at.append, lambda: self.packets, self.reactor)

    def next_s(self) -> float:
        """Return how long the next step is."""
        (alarm,) = self.reactor.getDelayedCalls()
        return float(alarm.getTime()) - self.reactor.seconds()  # type: ignore[misc] # Twisted's stub


def test_a_quiet_gateway_wakes_seldom() -> None:
    """Four times a second, and sees to everything that is due."""
    scene = Scene()
    scene.ticking.start()
    for _ in range(8):
        scene.packets += BUSY_PACKETS - 1
        scene.reactor.advance(STEP_S)
    assert scene.looked_at == [ALL] * 9


def test_where_much_ends_the_steps_are_small() -> None:
    """What 1/64 s brings is done before a call notices; later it is quiet again."""
    scene = Scene()
    scene.ticking.start()
    scene.packets += BUSY_PACKETS
    scene.reactor.advance(STEP_S)
    assert scene.next_s() == BUSY_STEP_S
    scene.reactor.advance(BUSY_STEP_S)
    assert scene.next_s() == STEP_S


def test_between_two_packets_a_little_is_done() -> None:
    """A bite, so that the next packet does not wait; the steps stay as they are."""
    scene = Scene()
    scene.ticking.between_packets()
    assert scene.looked_at == [BITE]
    assert scene.reactor.getDelayedCalls() == []


def test_it_stops() -> None:
    """Also twice, and before it began."""
    scene = Scene()
    scene.ticking.stop()
    scene.ticking.start()
    scene.ticking.stop()
    scene.ticking.stop()
    scene.reactor.advance(1)
    assert len(scene.looked_at) == 1

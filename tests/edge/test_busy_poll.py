"""When packets come close together nobody sleeps between them; else everybody does."""

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock

from sipguard.edge.busy_poll import IDLE_S, PATIENCE, PIECE_S, BusyPoll
from sipguard.edge.clock import Alarm

LIMIT_US = 100
STEP_S = 0.000_01  # what one round of looking takes


class Turns:
    """A reactor that makes one call in each turn, where Twisted's Clock makes all that are due."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def callLater(  # noqa: N802
        self, delay_s: float, work: Callable[..., object], /, *arguments: object
    ) -> Alarm:
        assert (delay_s, arguments, self.due) == (0, (), [])  # one at a time
        self.due.append(work)
        return Clock().callLater(delay_s, work)

    def turn(self) -> bool:
        """Make the call that is due; report whether there was one."""
        if not self.due:
            return False
        self.due.pop()()
        return True


class Scene:
    """Queues whose packets come when a test says so, and a clock that looking moves on."""

    def __init__(self, limit_us: int = LIMIT_US) -> None:
        self.reactor = Turns()
        self.now_s = 10.0
        self.arrivals: list[float] = []
        self.taken: list[float] = []
        self.idled: list[float] = []
        self.may = True
        self.poll = BusyPoll(
            self.reactor,
            limit_us,
            lambda: self.may,
            lambda: self.idled.append(self.now_s),
            self.clock,
        )
        self.poll.add(self.turn)

    def clock(self) -> float:
        return self.now_s

    def turn(self) -> int:
        self.now_s += STEP_S
        due = [at_s for at_s in self.arrivals if at_s <= self.now_s]
        self.arrivals = self.arrivals[len(due) :]
        self.taken += [self.now_s - at_s for at_s in due]
        return len(due)

    def stream(self, distance_us: float, packets: int) -> None:
        """Have packets come at equal distances; the reactor wakes for those nobody looked for."""
        self.arrivals = [self.now_s + n * distance_us / 1e6 for n in range(1, packets + 1)]
        while self.arrivals:
            if not self.reactor.turn():
                self.now_s = max(self.now_s, self.arrivals[0])
                self.poll.came(self.turn())


@pytest.fixture
def scene() -> Scene:
    return Scene()


def pieces_of(scene: Scene) -> Iterator[None]:
    while scene.reactor.turn():
        yield


def test_packets_far_apart_are_slept_for(scene: Scene) -> None:
    """A small gateway pays nothing."""
    scene.stream(distance_us=LIMIT_US * 2, packets=500)
    assert scene.poll.spent_s == 0


def test_packets_close_together_are_looked_for(scene: Scene) -> None:
    """Nearly all are found by looking, at once; the first ones tell that it is worth it."""
    scene.stream(distance_us=LIMIT_US / 2, packets=500)
    assert scene.poll.spent_s == pytest.approx(500 * LIMIT_US / 2 / 1e6, rel=0.2)
    assert max(scene.taken[100:]) <= 2 * STEP_S


def test_the_reactor_has_its_turn_after_each_piece(scene: Scene) -> None:
    """Timers and connections wait no longer than a piece and what comes in it."""
    scene.stream(distance_us=LIMIT_US / 2, packets=500)
    scene.arrivals = [scene.now_s + n * 20e-6 for n in range(1, 200)]
    before_s = scene.now_s
    scene.reactor.turn()
    assert PIECE_S <= scene.now_s - before_s <= PIECE_S + 2 * STEP_S


def test_when_packets_cease_everybody_sleeps(scene: Scene) -> None:
    """It ends by itself, after a few times the limit, and nothing is left with the reactor."""
    scene.stream(distance_us=LIMIT_US / 2, packets=500)
    before_s = scene.now_s
    for _ in pieces_of(scene):
        pass
    assert scene.now_s - before_s <= PATIENCE * LIMIT_US / 1e6 + 2 * STEP_S
    assert not scene.reactor.turn()


def test_one_pause_does_not_count_for_long(scene: Scene) -> None:
    """A second of silence, and the next packets that come close are looked for again soon."""
    scene.stream(distance_us=LIMIT_US / 4, packets=500)
    for _ in pieces_of(scene):
        pass
    scene.now_s += 1
    before_s = scene.poll.spent_s
    scene.stream(distance_us=LIMIT_US / 4, packets=60)
    assert scene.poll.spent_s > before_s


def test_a_burst_after_a_silence_is_no_stream(scene: Scene) -> None:
    """Some packets at once, now and then, as one call sends them, keep nobody awake."""
    for _ in range(50):
        scene.now_s += 0.01
        scene.arrivals = [scene.now_s] * 4
        scene.poll.came(scene.turn())
    assert scene.poll.spent_s == 0


def test_zero_is_never(scene: Scene) -> None:
    """``--busy-poll 0``."""
    never = Scene(limit_us=0)
    never.stream(distance_us=1, packets=500)
    assert never.poll.spent_s == 0


def test_others_may_need_the_processor(scene: Scene) -> None:
    """Nobody looks then, and packets still have their turns by the reactor."""
    scene.may = False
    scene.stream(distance_us=LIMIT_US / 2, packets=500)
    assert (scene.poll.spent_s, len(scene.taken)) == (0, 500)


def test_all_queues_are_looked_at(scene: Scene) -> None:
    """One queue's packets do not make another's wait; one that is closed is left alone."""
    other: list[float] = []

    def turn() -> int:
        other.append(scene.now_s)
        return 0

    scene.poll.add(turn)
    scene.stream(distance_us=LIMIT_US / 2, packets=100)
    assert other
    scene.poll.remove(turn)
    other.clear()
    scene.stream(distance_us=LIMIT_US / 2, packets=100)
    assert not other


def test_what_can_wait_is_done_while_no_packet_does(scene: Scene) -> None:
    """Now and then, and never in front of a packet."""
    scene.stream(distance_us=LIMIT_US / 2, packets=1000)
    seconds = 1000 * LIMIT_US / 2 / 1e6
    assert 0.5 * seconds / IDLE_S <= len(scene.idled) <= seconds / IDLE_S + 1
    before = len(scene.idled)
    scene.stream(distance_us=STEP_S * 1e6, packets=1000)  # there is always one
    assert len(scene.idled) <= before + 1


def test_it_ends_with_the_last_queue(scene: Scene) -> None:
    """The service stops: nothing goes on behind its back."""
    scene.stream(distance_us=LIMIT_US / 2, packets=500)
    scene.poll.remove(scene.turn)
    scene.reactor.turn()
    assert not scene.reactor.turn()

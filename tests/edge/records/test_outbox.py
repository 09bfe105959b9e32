"""The guard's end of the way to the writer: bounded, never waiting, and nothing lost unsaid."""

from collections.abc import Callable

import pytest
from stream_ends import CALL, ended, invited, refused
from twisted.internet.task import Clock

from sipguard.edge.control import FeedState, StatusReport
from sipguard.edge.elements import Tally
from sipguard.edge.judged import Judged, judged_of
from sipguard.edge.records import frames, outbox
from sipguard.edge.records.frames import Arriving, Kind, Terms, Told
from sipguard.edge.records.fresh import AT_MOST, TOGETHER
from sipguard.edge.records.outbox import FIRST_WAIT_S, SOON_S, Outbox
from sipguard.edge.streams_told import Closing
from sipguard.journal.carried import unpack, unpack_end
from sipguard.journal.observation import Observation
from sipguard.reason import Reason
from sipguard.verdict import Action, ClosePinhole, Hole

TERMS = Terms(30, 120)
JUDGED = Judged(400_000, {"accept": 7, "drop": 2})


class FakeChild:
    """A writer that takes as many octets as it is told to."""

    def __init__(self, after: str, gone: Callable[[], None]) -> None:
        self.after = after
        self.gone = gone
        self.room = 1 << 30
        self.told = Told()
        self.heard_s = 0.0
        self.pid = 1
        self.closed: bool | None = None
        self.came: list[tuple[Kind, bytes]] = []
        self.fails = False
        self.arriving = Arriving()
        self.status = "signal 9"

    def send(self, octets: memoryview) -> int:
        if self.fails:
            raise BrokenPipeError
        taken = bytes(octets[: self.room])
        self.room -= len(taken)
        self.came += self.arriving.feed(taken)
        return len(taken)

    def finish(self, octets: bytes, deadline_s: float) -> None:
        if self.fails:
            raise BrokenPipeError
        self.came += self.arriving.feed(octets)
        self.told = self.told._replace(taken=self.records)

    def close(self, *, kill: bool) -> None:
        self.closed = kill

    def is_gone(self) -> bool:
        return True

    @property
    def records(self) -> int:
        return sum(kind in (Kind.OBSERVATION, Kind.END) for kind, _ in self.came)


class Readers(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:  # noqa: N802
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:  # noqa: N802
        self.readers.remove(reader)


class Bench:
    """An outbox with fake writers."""

    def __init__(self) -> None:
        self.reactor = Readers()
        self.children: list[FakeChild] = []
        self.unable = False
        self.box = Outbox(self.launch, self.reactor, self.reactor.seconds)  # type: ignore[arg-type]
        self.box.use(TERMS)

    def launch(self, after: str, gone: Callable[[], None]) -> FakeChild:
        if self.unable:
            raise BlockingIOError("too many processes")
        self.children.append(FakeChild(after, gone))
        return self.children[-1]

    @property
    def child(self) -> FakeChild:
        return self.children[-1]

    def report(self) -> StatusReport:
        report = StatusReport(1, 0.0, 0.0)
        self.box.count(report)
        return report


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def running(bench: Bench) -> Bench:
    bench.box.start()
    bench.reactor.advance(SOON_S)
    return bench


def test_a_writer_hears_the_terms_first_and_then_what_was_told(bench: Bench) -> None:
    """Also what was told before it was there."""
    bench.box.after = "0000000a"
    bench.box.observe(refused())
    bench.box.start()
    bench.reactor.advance(SOON_S)
    assert bench.child.after == "0000000a"
    assert [kind for kind, _ in bench.child.came] == [Kind.TERMS, Kind.OBSERVATION]
    assert bench.child.came[0][1] == TERMS.to_octets()
    assert unpack(bench.child.came[1][1]) == refused()


def test_what_is_told_leaves_soon_and_not_at_once(running: Bench) -> None:
    """The packet that is told of pays for no system call."""
    running.box.observe(refused())
    assert running.child.records == 0
    running.reactor.advance(SOON_S)
    assert running.child.records == 1
    assert running.reactor.getDelayedCalls() == []


def test_it_owes_until_the_writer_has_written(running: Bench) -> None:
    """On a machine of one processor nobody keeps that busy meanwhile."""
    owing = [running.box.is_owing]
    running.box.observe(refused())
    owing.append(running.box.is_owing)  # here
    running.reactor.advance(SOON_S)
    owing.append(running.box.is_owing)  # with the writer
    running.child.told = running.child.told._replace(taken=1)
    owing.append(running.box.is_owing)
    assert owing == [False, True, True, False]


def test_a_slow_writer_makes_records_wait_and_then_lose(
    running: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it: the queue has a bound, and what finds no room is counted."""
    monkeypatch.setattr(frames, "MAX_FRAMES", 3)
    monkeypatch.setattr(frames, "CHUNK_OCTETS", 1)
    running.child.room = 20
    running.box.observe(refused())
    running.reactor.advance(SOON_S)
    for _ in range(5):
        running.box.observe(refused())
    report = running.report()
    assert report.lost_records == report.counters["records_lost_no_room"] == 2
    assert report.counters["records_waiting"] == 3
    running.child.room = 1 << 30
    running.reactor.pump([SOON_S] * 3)
    assert running.child.records == 4
    assert running.report().counters["records_waiting"] == 0


def test_a_dead_writer_is_counted_and_followed_by_another(running: Bench) -> None:
    """What it had and had not written is lost, and said; judging has gone on meanwhile."""
    first = running.child
    for _ in range(3):
        running.box.observe(refused())
    running.reactor.advance(SOON_S)
    first.told = Told(taken=1, written=1, last_id="0000000b", lost=2)
    first.gone()
    assert (first.closed, running.reactor.readers) == (True, [])
    running.box.observe(refused())
    report = running.report()
    assert report.counters["records_lost_with_writer"] == 2
    assert (report.records, report.lost_records) == (1, 2 + 2)
    assert "gone" in report.store_error
    running.reactor.pump([FIRST_WAIT_S, SOON_S])
    assert running.child is not first
    assert (running.child.after, running.child.records) == ("0000000b", 1)
    report = running.report()
    assert (report.store_error, report.counters["writer_restarts"]) == ("", 1)
    assert report.records == 1


def test_a_writer_that_is_gone_while_it_is_written_to_is_gone(running: Bench) -> None:
    """Whoever notices first."""
    running.child.fails = True
    running.box.observe(refused())
    running.reactor.advance(SOON_S)
    running.child.gone()  # its socket says so as well, too late
    assert running.report().counters["records_lost_with_writer"] == 1
    assert running.report().counters["writer_restarts"] == 1


def test_the_next_one_waits_longer(running: Bench) -> None:
    """One that dies again and again costs the guard next to nothing."""
    waited = []
    for lived_s in (0.0, 0.0, 0.0, outbox.HEALTHY_S):
        running.reactor.advance(lived_s)
        running.child.gone()
        before = len(running.children)
        waited.append(0)
        while len(running.children) == before:
            running.reactor.advance(FIRST_WAIT_S)
            waited[-1] += 1
    assert waited == [1, 2, 4, 1]


def test_no_process_to_be_had_is_no_end(bench: Bench) -> None:
    """The machine may have too many; it is tried again."""
    bench.unable = True
    bench.box.start()
    bench.box.observe(refused())
    assert bench.report().counters["writer_restarts"] == 1
    bench.unable = False
    bench.reactor.pump([FIRST_WAIT_S, SOON_S])
    assert bench.child.records == 1


def test_what_cannot_be_told_costs_no_packet_its_verdict(running: Bench) -> None:
    """A fault of our own is counted, and nothing is raised where a packet waits."""
    running.box.observe(refused()._replace(rule=object()))  # type: ignore[arg-type]
    report = running.report()
    assert (report.lost_records, report.errors) == (1, 1)


def test_frames_are_made_when_no_packet_waits(bench: Bench) -> None:
    """A few at once then; and while packets never cease, before they are too many."""

    def turn(told: int, *, is_empty: bool) -> int:
        """Tell of so many, end a turn; return how many frames there are afterwards."""
        for _ in range(told):
            bench.box.observe(refused())
        assert bench.box.turn_ended(is_empty) is False  # the queue need not look again
        return len(bench.box._waiting)

    assert turn(TOGETHER - 1, is_empty=True) == 0
    assert turn(1, is_empty=False) == 0
    assert turn(0, is_empty=True) == TOGETHER
    assert turn(AT_MOST - 1, is_empty=False) == TOGETHER
    assert turn(1, is_empty=False) == TOGETHER + AT_MOST


def closing(call_id: bytes = CALL) -> Closing:
    end = ended()
    hole = Hole(end.source, end.destination, end.port)
    effect = ClosePinhole(hole, "sdes", Reason.CALL_ENDED, call_id)
    return Closing((effect,), (Tally(hole, 7, 1204),), end.utc_s)


def test_ends_are_told_of_calls_with_a_record_alone(running: Bench) -> None:
    """Most calls have none, and cost nothing here."""
    running.box.streams_ended(closing())
    running.box.observe(invited())
    running.box.streams_ended(closing())
    running.box.streams_ended(closing(b"another"))
    running.reactor.advance(SOON_S)
    (kind, content) = running.child.came[-1]
    assert (kind, running.child.records) == (Kind.END, 2)
    assert unpack_end(content).packets == 7


def test_so_many_calls_are_remembered(running: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first."""
    monkeypatch.setattr(outbox, "MAX_CALLS", 2)
    for name in (b"one", b"two", b"three"):
        running.box.observe(
            Observation(0.0, Action.ACCEPT, Action.ACCEPT, Reason.ACCEPTED, b"", b"",
                        method=b"INVITE", call_id=name)
        )  # fmt: skip
    running.box.streams_ended(closing(b"one"))
    running.box.streams_ended(closing(b"three"))
    running.reactor.advance(SOON_S)
    assert running.child.records == 3 + 1


def test_a_reload_and_logrotate_reach_the_writer(running: Bench) -> None:
    """In order with what is told."""
    running.box.observe(refused())
    running.box.judged(JUDGED)
    running.box.reopen()
    running.box.use(Terms(1, 2))
    running.reactor.advance(SOON_S)
    kinds = [kind for kind, _ in running.child.came]
    assert kinds == [Kind.TERMS, Kind.OBSERVATION, Kind.JUDGED, Kind.REOPEN, Kind.TERMS]
    assert judged_of(running.child.came[2][1]) == JUDGED
    running.child.gone()
    running.reactor.pump([FIRST_WAIT_S, SOON_S])
    assert running.child.came == [(Kind.TERMS, Terms(1, 2).to_octets())]


def test_what_was_judged_goes_with_it_and_is_no_record(running: Bench) -> None:
    """Also while there is no writer."""
    judged = Judged(490_000, {"accept": 7})
    running.box.judged(judged)
    running.child.gone()
    running.box.judged(judged)
    running.reactor.pump([FIRST_WAIT_S, SOON_S])
    assert [kind for kind, _ in running.child.came] == [Kind.TERMS, Kind.JUDGED, Kind.JUDGED]
    assert judged_of(running.child.came[-1][1]) == judged
    assert running.report().lost_records == 0


def test_the_end_has_everything_written(running: Bench) -> None:
    """What waits is sent, and the writer's last word is the status' last word."""
    running.child.room = 7
    for _ in range(3):
        running.box.observe(refused())
    running.reactor.advance(SOON_S)
    running.child.told = Told(written=3)
    running.box.finish()
    assert (running.child.records, running.child.closed) == (3, False)
    report = running.report()
    assert (report.records, report.lost_records, report.store_error) == (3, 0, "")
    assert running.reactor.getDelayedCalls() == []


def test_an_end_without_a_writer_gets_one(running: Bench) -> None:
    """What came while the last one was gone is written as well."""
    running.child.gone()
    running.box.observe(refused())
    running.box.finish()
    assert len(running.children) == 2
    assert running.child.records == 1


def test_an_end_that_nobody_hears_is_counted(running: Bench) -> None:
    """Nothing is lost silently."""
    running.box.observe(refused())
    running.child.fails = True
    running.box.finish()
    assert running.report().lost_records == 1


def test_an_end_before_the_beginning_is_one(bench: Bench) -> None:
    """A start that failed half way."""
    bench.box.observe(refused())
    bench.box.finish()
    assert bench.report().lost_records == 1


def test_a_silent_writer_is_named(running: Bench) -> None:
    """A disk that hangs, or somebody who stopped it: the status says since when."""
    running.reactor.advance(12.0)
    assert "12 s" in running.report().store_error
    running.child.heard_s = running.reactor.seconds()
    running.child.told = Told(error="disk full")
    assert running.report().store_error == "disk full"


def test_feeds_are_counted_over_all_writers(running: Bench) -> None:
    """What waited in one that died is lost; the count never goes back."""
    running.child.told = Told(feeds=(FeedState("json a", 5, 1, 2, "gone"),))
    assert running.report().feeds == [FeedState("json a", 5, 1, 2, "gone")]
    running.child.gone()
    assert running.report().feeds == [FeedState("json a", 5, 3, 0, "gone")]
    running.reactor.pump([FIRST_WAIT_S, SOON_S])
    running.child.told = Told(feeds=(FeedState("json a", 1, 0, 1, ""),))
    assert running.report().feeds == [FeedState("json a", 6, 3, 1, "")]
    running.child.gone()
    assert running.report().feeds == [FeedState("json a", 6, 4, 0, "")]

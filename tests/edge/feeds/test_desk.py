"""Feeds of the policy in force: bounded, counted, changed by a reload, and never in the way."""

import os
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hostile_records import record
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent

from sipguard.edge.control import StatusReport, from_json, to_json
from sipguard.edge.feeds import desk as desk_module
from sipguard.edge.feeds.build import Builder
from sipguard.edge.feeds.desk import AT_ONCE, BUDGET_S, LOOK_S, MAX_WAITING, Feeds
from sipguard.edge.feeds.outlet import DOUBT_S, DatagramOutlet, Datagrams, Outlet
from sipguard.errors import EdgeError
from sipguard.journal.record import Record
from sipguard.policy.feeds import Feed

A_FEED = Feed("json", "a")


class FarEnd:
    """Takes as many as it is told to."""

    def __init__(self) -> None:
        self.sent = self.lost = 0
        self.last_error = ""
        self.takes = 1_000_000
        self.log: list[str] = []
        self.is_closed = True

    def wants(self, record: Record, *, is_new: bool) -> bool:
        return is_new

    def take(self, records: Sequence[Record]) -> int:
        done = min(len(records), self.takes)
        self.takes -= done
        self.sent += done
        return done

    def follow(self, before: Outlet) -> None:
        self.log.append("follow")

    def reopen(self) -> None:
        self.log.append("reopen")

    def close(self) -> None:
        self.log.append("close")


def desk_of(*ends: FarEnd, clock: Callable[[], float] = lambda: 0.0) -> Feeds:
    left = list(ends)
    desk = Feeds(lambda _: left.pop(0), clock)
    desk.prepare([Feed("json", str(number)) for number in range(len(ends))])
    desk.use()
    return desk


def states(desk: Feeds) -> list[tuple[int, int, int]]:
    return [(feed.sent, feed.dropped, feed.waiting) for feed in desk.states()]


def test_a_far_end_that_is_full_costs_its_own_records_alone() -> None:
    """Its queue has a bound; what found no room is counted, and the other feed goes on."""
    full, quick = FarEnd(), FarEnd()
    full.takes = 0
    desk = desk_of(full, quick)
    for _ in range(MAX_WAITING + 7):
        desk.take([record()], [])
        desk.turn()
    assert states(desk) == [(0, 7, MAX_WAITING), (MAX_WAITING + 7, 0, 0)]


def test_a_turn_ends_when_its_time_is_up() -> None:
    """Packets come between two turns, however much waits; and each feed gets its turn."""
    passed = [0.0]

    def clock() -> float:
        passed[0] += BUDGET_S / 2
        return passed[0]

    first, second = FarEnd(), FarEnd()
    desk = desk_of(first, second, clock=clock)
    desk.take([record()] * 100, [])
    desk.turn()
    assert first.sent + second.sent <= 2 * AT_ONCE
    for _ in range(60):
        desk.turn()
    assert (first.sent, second.sent) == (100, 100)


def test_the_end_sends_what_far_ends_take() -> None:
    """And waits for nobody who takes nothing."""
    stuck, quick = FarEnd(), FarEnd()
    stuck.takes = 3
    desk = desk_of(stuck, quick)
    desk.take([record()] * 50, [])
    desk.finish()
    assert (stuck.sent, quick.sent) == (3, 50)
    assert stuck.log == quick.log == ["close"]


def test_the_last_second_is_for_far_ends_that_go_on_taking() -> None:
    """One that takes nothing is not waited for; what is on its way is."""
    stuck, slow = FarEnd(), FarEnd()
    clock = Clock()
    desk = desk_of(stuck, slow, clock=clock.seconds)
    stuck.takes, slow.takes, slow.is_closed = 0, 1, False
    desk.take([record()] * 5, [])
    over = desk.wind_up(clock)
    for _ in range(4):
        slow.takes = 1
        clock.advance(0.1)
        assert stuck.log + slow.log == []
    assert slow.sent == 5
    clock.advance(0.2)  # no more of it in that time: nobody waits for the other
    assert (stuck.log, slow.log, over.called) == (["close"], ["close"], False)
    slow.is_closed = True
    clock.advance(0.1)
    assert (stuck.sent, over.called) == (0, True)
    assert states(desk) == [(0, 5, 0), (5, 0, 0)]


def test_the_last_second_ends() -> None:
    """Whatever is still on its way by then."""
    end, clock = FarEnd(), Clock()
    desk = desk_of(end, clock=clock.seconds)
    end.is_closed = False
    desk.take([record()], [])
    over = desk.wind_up(clock)
    for _ in range(60):
        clock.advance(0.02)
    assert over.called
    assert end.log == ["close"]


def test_a_reload_keeps_what_stays_and_closes_what_goes() -> None:
    """Counts and what waits stay with a feed whose line is the same, wherever it stands now."""
    made: list[FarEnd] = []

    def build(_: Feed) -> Outlet:
        made.append(FarEnd())
        return made[-1]

    desk = Feeds(build)
    desk.prepare([A_FEED, Feed("json", "b")])
    desk.use()
    made[0].takes = 0
    desk.take([record()], [])
    desk.prepare([Feed("json", "c"), A_FEED._replace(place="other:9:1")])
    assert len(made) == 3
    assert made[1].log == []  # not before it is in force
    desk.use()
    assert made[1].log == ["close"]
    assert made[0].log == []
    assert states(desk) == [(0, 0, 1), (0, 0, 0)]


def test_a_new_secret_is_read_by_a_reload_and_nothing_is_lost() -> None:
    """What waits goes to the far end that knows it."""
    made: list[FarEnd] = []

    def build(_: Feed) -> Outlet:
        made.append(FarEnd())
        made[-1].takes = 0
        return made[-1]

    desk = Feeds(build)
    feed = Feed("webhook", "https://h/", secret="s")
    for _ in range(2):
        desk.prepare([feed])
        desk.use()
        desk.take([record()], [])
    assert made[0].log == ["close"]
    assert made[1].log == ["follow"]
    assert states(desk) == [(0, 0, 2)]


def test_counts_do_not_go_back_at_a_reload() -> None:
    """SIGHUP comes each night, with logrotate: a webhook must not look as if it began anew."""
    ends = [FarEnd(), FarEnd(), FarEnd()]
    left = list(ends)
    desk = Feeds(lambda _: left.pop(0))
    feed = Feed("webhook", "https://h/", secret="s")
    for end in ends:
        desk.prepare([feed])
        desk.use()
        desk.take([record()] * 2, [])
        desk.turn()
        end.lost = 1
    assert states(desk) == [(6, 3, 0)]


class Log:
    """What the operator reads, of one feed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.end = FarEnd()
        self.said: list[str] = []

        def hear(event: LogEvent) -> None:
            self.said.append(formatEvent(event))

        log = Logger(observer=hear)  # type: ignore[arg-type] # zope
        monkeypatch.setattr(desk_module._Line, "log", log)
        self.desk = desk_of(self.end, clock=lambda: self.now_s)

    def after(self, seconds: float, records: int = 1) -> list[str]:
        """Return what it says in so many seconds, with a record or more in each."""
        self.said.clear()
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += LOOK_S
            self.desk.take([record()] * records, [])
            self.desk.turn()
        return list(self.said)


def test_a_far_end_that_does_not_read_is_in_the_log_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it begins to lose records, and when it is over; not for each of them."""
    log = Log(monkeypatch)
    assert log.after(5) == []
    log.end.takes = 0
    assert log.after(2, MAX_WAITING // 2) == []
    assert log.after(300, 10) == ["feed json 0: records are lost (2000 waiting, 10 lost)"]
    log.end.takes = 1_000_000
    (said,) = log.after(5)
    assert re.fullmatch(r"feed json 0 goes on \(30\d\d lost meanwhile\)", said)


def test_a_fault_is_in_the_log_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Escaped, since a receiver's certificate may be quoted in it; one that flaps once a minute."""
    log = Log(monkeypatch)
    log.end.last_error = "refused\x1b[2J"
    assert log.after(1) == [r"feed json 0: refused\x1b[2J (1 waiting, 0 lost)"]
    log.end.last_error = ""
    assert log.after(1) == ["feed json 0 goes on (0 lost meanwhile)"]
    said = []
    for _ in range(60):
        log.end.last_error = "" if log.end.last_error else "refused"
        said += log.after(1)
    assert len(said) <= 2


def test_what_waits_at_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody will send it: queues are in memory."""
    log = Log(monkeypatch)
    log.end.takes = 0
    log.after(3)
    log.desk.finish()
    assert log.said == ["feed json 0 ends (3 that waited are lost)"]


def test_a_pipe_that_nobody_reads_holds_up_nothing(tmp_path: Path) -> None:
    """Opening one waits for its reader, and every packet would have waited with it."""
    os.mkfifo(tmp_path / "pipe")
    desk = Feeds(Builder(Clock()), lambda: 0.0)  # type: ignore[arg-type] # nothing connects here
    desk.prepare([Feed("json", str(tmp_path / "pipe"))])
    desk.use()
    for _ in range(MAX_WAITING + 7):
        desk.take([record()], [])
        desk.turn()
    assert states(desk) == [(0, 7, MAX_WAITING)]
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    got = b""
    while states(desk)[0][2]:
        desk.turn()
        got += os.read(reader, 1 << 20)
    assert states(desk) == [(MAX_WAITING, 7, 0)]
    assert got.count(b"\n") == MAX_WAITING
    desk.finish()
    os.close(reader)


def test_logrotate(tmp_path: Path) -> None:
    """A file that was moved away is made anew by SIGHUP."""
    desk = Feeds(Builder(Clock()), lambda: 0.0)  # type: ignore[arg-type] # nothing connects here
    desk.prepare([Feed("json", str(tmp_path / "a")), Feed("fail2ban", str(tmp_path / "b"))])
    desk.use()
    for number in (1, 2):
        desk.take([record(number=number)], [])
        desk.turn()
        for name in ("a", "b"):
            (tmp_path / name).rename(tmp_path / f"{name}.{number}")
        desk.reopen()
    assert all((tmp_path / name).read_text().count("\n") == 1 for name in ("a.1", "a.2", "b.2"))
    desk.finish()


def test_a_disk_that_says_no_is_told(tmp_path: Path) -> None:
    """``sipguard status`` says which feed, how many, and why."""
    desk = Feeds(Builder(Clock()), lambda: 0.0)  # type: ignore[arg-type] # nothing connects here
    desk.prepare([Feed("json", str(tmp_path / "none" / "a"))])
    desk.use()
    desk.take([record()], [])
    desk.turn()
    report = StatusReport(1, 0.0, 0.0, feeds=desk.states())
    (feed,) = from_json(to_json(report)).feeds
    assert (feed.sent, feed.dropped, feed.waiting) == (0, 1, 0)
    assert "No such file" in feed.error
    assert feed.name.startswith("json ")
    desk.finish()


@pytest.mark.parametrize("secret", [b"", b"short", b"x" * 5_000])
def test_a_secret_is_one(tmp_path: Path, secret: bytes) -> None:
    """An empty file must not sign alarms; the reload is refused with the line's place."""
    (tmp_path / "s").write_bytes(secret)
    feed = Feed("webhook", "https://h/", secret=str(tmp_path / "s"), place="p:3:1")
    with pytest.raises(EdgeError, match=r"p:3:1: .* must hold a secret of 16 to 4096 octets"):
        Builder(Clock())(feed)  # type: ignore[arg-type] # nothing connects here
    with pytest.raises(EdgeError, match=r"p:3:1: cannot read "):
        Builder(Clock())(feed._replace(secret="none/x"))  # type: ignore[arg-type] # nor here


def test_a_local_socket_gets_datagrams(tmp_path: Path) -> None:
    """As the C library writes to /dev/log; one that is not there, or is full, raises nothing."""
    name = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(name)
        outlet = Builder(Clock())(Feed("syslog", name, to="local"))  # type: ignore[arg-type] # nor here
        assert outlet.take([record()]) == 1
        assert re.match(
            rb"<84>May 2[89] \d\d:\d\d:40 sipguard\[\d+\]: \[sipguard@", log.recv(9_000)
        )
        while outlet.take([record()]):
            pass  # nobody reads: the socket is full, and the record waits
        sent = outlet.sent
        assert outlet.lost == 0
        assert log.recv(9_000)
        assert outlet.take([record()]) == 1
        assert outlet.sent == sent + 1
    assert outlet.take([record()]) == 1  # refused: nobody is there any more
    assert outlet.lost == 1
    assert outlet.last_error
    outlet.close()


def test_a_collector_that_is_not_there_is_heard_of() -> None:
    """By the second datagram: ICMP says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    now_s = [0.0]
    datagrams = Datagrams(socket.AF_INET, ("127.0.0.1", port), lambda: now_s[0])
    assert datagrams.send(b"one")
    assert datagrams.send(b"two")
    assert (datagrams.sent, datagrams.lost) == (1, 1)
    assert "refused" in datagrams.last_error
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", port))
        for now_s[0] in (1.0, 2.0, DOUBT_S - 1.0):  # who is silent may only not be told of
            assert datagrams.send(b"three")
            assert "refused" in datagrams.last_error
        now_s[0] = DOUBT_S
        assert datagrams.send(b"four")
        assert datagrams.last_error == ""
    datagrams.close()


def test_what_must_wait_is_not_made_again_and_again() -> None:
    """A socket that is full for a minute is tried fifty times a second."""
    made: list[Record] = []
    room = [False]

    class Full(Datagrams):
        def send(self, octets: bytes) -> bool:
            return room[0]

    def datagram_of(one: Record) -> bytes:
        made.append(one)
        return b"x"

    outlet = DatagramOutlet(Full(socket.AF_UNIX, ""), datagram_of)
    some = [record(number=1), record(number=2)]
    assert [outlet.take(some) for _ in range(9)] == [0] * 9
    assert len(made) == 1
    room[0] = True
    assert outlet.take(some) == 2
    assert made == some

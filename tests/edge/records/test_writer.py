"""The real writing process, started and ended as the service does it."""

import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stream_ends import invited
from twisted.internet.task import Clock

from sipguard.edge.archive import Archive
from sipguard.edge.control import StatusReport
from sipguard.edge.judged import Judged
from sipguard.edge.records.child import Child, Place
from sipguard.edge.records.frames import Terms
from sipguard.edge.records.outbox import Outbox
from sipguard.edge.records.privileges import NICER
from sipguard.edge.store import FILE_NAME, Store
from sipguard.journal.observation import Observation
from sipguard.journal.query import Query
from sipguard.policy.feeds import Feed

KEY = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
RAW = (
    b"INVITE sip:bob@example.com SIP/2.0\r\nContent-Type: application/sdp\r\n\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY + b"\r\n"
)
MANY = Terms(1_000_000, 1_000_000)
PATIENCE_S = 20.0


def seen(number: int) -> Observation:
    """A call's INVITE, with a key in it."""
    return invited(time.time(), call_id=b"call-%d" % number)._replace(raw=RAW)


class Reactor(Clock):
    """Time that passes, and sockets that are read, as long as it is asked to turn."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Child] = []

    def addReader(self, reader: Child) -> None:  # noqa: N802
        self.readers.append(reader)

    def removeReader(self, reader: Child) -> None:  # noqa: N802
        if reader in self.readers:
            self.readers.remove(reader)

    def turns(self, until: Callable[[], bool]) -> bool:
        deadline_s = time.monotonic() + PATIENCE_S
        while not until():
            if time.monotonic() > deadline_s:
                return False
            self.advance(max(time.monotonic() - self.seconds(), 0.0))
            for reader in select.select(list(self.readers), [], [], 0.005)[0]:
                reader.doRead()
        return True


class Office:
    """An outbox with real writers on one state directory."""

    def __init__(self, directory: Path, *, lines: bool = True) -> None:
        self.directory = directory
        self.lines = directory / "records.jsonl"
        self.place = Place(directory, self.lines if lines else None)
        self.children: list[Child] = []
        self.reactor = Reactor()
        self.reactor.advance(time.monotonic())
        self.box = Outbox(self.launch, self.reactor)
        store = Store(directory)
        store.open()
        store.close()
        self.box.use(MANY)

    def launch(self, after: str, gone: Callable[[], None]) -> Child:
        self.children.append(Child(self.place, after, gone))
        return self.children[-1]

    @property
    def child(self) -> Child:
        return self.children[-1]

    def report(self) -> StatusReport:
        report = StatusReport(1, 0.0, 0.0)
        self.box.count(report)
        return report

    def end(self) -> None:
        """Finish, and see that no process is left."""
        self.box.finish()
        for child in self.children:
            child.close(kill=True)
            assert self.reactor.turns(child.is_gone)

    def writes(self, count: int) -> bool:
        return self.reactor.turns(lambda: self.report().records >= count)

    def stored(self) -> set[str]:
        found = Archive(self.directory).find(Query(limit=100_000))
        return {str(entry.line["call_id"]) for entry in found}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    made.box.start()
    yield made
    made.end()


def is_sound(directory: Path) -> bool:
    """What SQLite's own check says."""
    with sqlite3.connect(directory / FILE_NAME) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    return found == [("ok",)]


def named(count: int) -> set[str]:
    return {f"call-{number}" for number in range(count)}


def test_what_is_told_is_in_the_store_and_in_the_lines(office: Office) -> None:
    """One row and one line for each, and the key in neither."""
    for number in range(300):
        office.box.observe(seen(number))
    office.box.finish()
    assert office.stored() == named(300)
    lines = [json.loads(line) for line in office.lines.read_text().splitlines()]
    assert {line["call_id"] for line in lines} == named(300)
    everything = b"".join(file.read_bytes() for file in office.directory.iterdir())
    assert b"inline:***" in everything
    assert KEY not in everything
    report = office.report()
    assert (report.records, report.lost_records, report.store_error) == (300, 0, "")


def test_what_was_judged_is_counted_in_the_store(office: Office) -> None:
    """Without a record, too, and more than once an hour."""
    hour = int(time.time() // 3600)
    for messages in ({"accept": 7, "drop": 2}, {"accept": 3}):
        office.box.judged(Judged(hour, messages))
    office.box.finish()
    told = Archive(office.directory).summary(Query(since_s=hour * 3600.0), 3600).judged
    assert [bar.messages for bar in told] == [{"accept": 10, "drop": 2}]


def test_a_killed_writer_leaves_a_sound_store_and_another_goes_on(office: Office) -> None:
    """Seen, counted, started again; what was written before is there, and ids go on."""
    for number in range(200):
        office.box.observe(seen(number))
    assert office.writes(100)
    for number in range(200, 600):
        office.box.observe(seen(number))
    os.kill(office.child.pid, signal.SIGKILL)
    assert office.reactor.turns(lambda: len(office.children) == 2)
    for number in range(600, 700):
        office.box.observe(seen(number))
    assert office.reactor.turns(lambda: "call-699" in office.stored())
    office.box.finish()
    report = office.report()
    assert report.counters["writer_restarts"] == 1
    assert is_sound(office.directory)
    there = len(office.stored())
    assert there + report.counters["records_lost_with_writer"] >= 700
    assert report.lost_records == report.counters["records_lost_with_writer"]
    ids = [str(entry.line["id"]) for entry in Archive(office.directory).find(Query(limit=1000))]
    assert len(set(ids)) == there


def test_it_outlives_signals_that_are_meant_for_the_guard(office: Office) -> None:
    """systemd and a terminal send them to every process of the service."""
    office.box.observe(seen(0))
    assert office.writes(1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(office.child.pid, number)
    office.box.observe(seen(1))
    assert office.writes(2)
    assert office.report().counters["writer_restarts"] == 0


def test_it_outlives_them_also_while_it_begins(office: Office) -> None:
    """A service that is stopped at once has its records written all the same."""
    os.kill(office.child.pid, signal.SIGTERM)
    office.box.observe(seen(0))
    office.box.finish()
    assert office.stored() == named(1)
    assert office.child.status == "exit status 0"


def test_what_a_killed_guard_told_is_written(office: Office) -> None:
    """The socket ends, however the guard did: what came is written, and then it ends."""
    for number in range(500):
        office.box.observe(seen(number))
    assert office.reactor.turns(lambda: office.report().counters["records_waiting"] == 0)
    office.child.close(kill=False)
    office.reactor.removeReader(office.child)
    deadline_s = time.monotonic() + PATIENCE_S
    while not office.child.is_gone() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert office.stored() == named(500)
    assert office.child.status == "exit status 0"


def test_it_may_do_less_than_the_guard(office: Office) -> None:
    """No capability but those for files, none to be had by a program, and everybody first."""
    office.box.observe(seen(0))
    assert office.writes(1)
    status = Path(f"/proc/{office.child.pid}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(facts[kind], 16) & ~0b11 == 0, kind
    assert facts["NoNewPrivs"] == "1"
    assert os.getpriority(os.PRIO_PROCESS, office.child.pid) == min(os.nice(0) + NICER, 19)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        assert os.sched_getscheduler(office.child.pid) == os.SCHED_IDLE
        assert sorted(os.sched_getaffinity(office.child.pid)) == cores[:-1]


def test_with_one_core_it_has_a_share_of_it(tmp_path: Path) -> None:
    """Under a flood the guard has all of it: what waits for idle time would wait for ever."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        office = Office(tmp_path, lines=False)
        office.box.start()
    finally:
        os.sched_setaffinity(0, allowed)
    office.box.observe(seen(0))
    assert office.writes(1)
    assert os.sched_getscheduler(office.child.pid) == os.SCHED_BATCH
    office.end()


def test_two_never_write_at_once(office: Office, tmp_path: Path) -> None:
    """They would give ids twice: the second waits, says so, and takes over."""
    office.box.observe(seen(0))
    assert office.writes(1)
    other = Office(tmp_path, lines=False)
    other.box.start()
    other.box.observe(seen(1))
    assert other.reactor.turns(lambda: "another process" in other.report().store_error)
    assert office.stored() == named(1)
    office.box.finish()
    assert other.writes(1)
    assert other.report().store_error == ""
    other.end()
    assert office.stored() == named(2)


def test_lines_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    """The store goes on, and the status says how many and why."""
    office = Office(tmp_path)
    office.place = office.place._replace(json_lines=Path("/dev/full"))
    office.box.start()
    for number in range(10):
        office.box.observe(seen(number))
    office.end()
    report = office.report()
    assert (report.records, report.lost_records) == (10, 10)
    assert office.stored() == named(10)


def test_feeds_get_their_records_there(office: Office) -> None:
    """Also those that a reload names."""
    feed = office.directory / "feed"
    office.box.observe(seen(0))
    office.box.use(MANY._replace(feeds=(Feed("json", str(feed)),)))
    office.box.observe(seen(1))
    assert office.reactor.turns(lambda: bool(feed.exists() and feed.read_text()))
    office.box.finish()
    (state,) = office.report().feeds
    assert (state.sent, state.dropped) == (len(feed.read_text().splitlines()), 0)
    assert "call-1" in feed.read_text()


def test_feeds_over_connections_get_the_last_ones_too(office: Office) -> None:
    """What was judged just before the service ends is on its way, not in a buffer that goes."""
    got = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as collector:

        def collect() -> None:
            wire, _ = collector.accept()
            with wire:
                while octets := wire.recv(65_536):
                    got.extend(octets)

        collecting = threading.Thread(target=collect)
        collecting.start()
        feed = Feed("syslog", "127.0.0.1", collector.getsockname()[1], "tcp")
        office.box.use(MANY._replace(feeds=(feed,)))
        office.box.observe(seen(0))
        assert office.reactor.turns(lambda: b"call-0" in got)
        for number in range(1, 400):
            office.box.observe(seen(number))
        office.box.finish()
        collecting.join(5)
    (state,) = office.report().feeds
    assert (state.sent, state.waiting) == (400, 0)
    assert [number for number in range(400) if b'callId="call-%d"' % number not in got] == []


def test_a_feed_that_takes_nothing_holds_up_no_end(office: Office) -> None:
    """A second at most, while something could still move."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        feeds = (
            Feed("syslog", "127.0.0.1", deaf.getsockname()[1], "tcp"),
            Feed("syslog", "127.0.0.1", 1, "tcp"),  # nobody is there
        )
        office.box.use(MANY._replace(feeds=feeds))
        for number in range(100):
            office.box.observe(seen(number))
        assert office.writes(100)
        began_s = time.monotonic()
        office.box.finish()
        assert time.monotonic() - began_s < 5.0
    assert max(state.dropped for state in office.report().feeds) == 100


def test_logrotate(office: Office) -> None:
    """After SIGHUP lines go to the file that has the name by then."""
    office.box.observe(seen(0))
    assert office.writes(1)
    office.lines.rename(office.directory / "old")
    office.box.reopen()
    office.box.observe(seen(1))
    office.box.finish()
    assert "call-1" in office.lines.read_text()
    assert "call-0" in (office.directory / "old").read_text()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False
    ).returncode:  # fmt: skip
        pytest.skip("needs root, to mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.kernel
def test_a_full_disk_makes_records_wait_and_says_so(small: Path) -> None:
    """And when there is room again, what waited is written."""
    office = Office(small, lines=False)
    office.box.start()
    office.box.observe(seen(0))
    assert office.writes(1)
    filler = small / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    for number in range(1, 300):
        office.box.observe(seen(number))
    assert office.reactor.turns(lambda: office.report().counters["records_waiting"] > 0)
    assert office.reactor.turns(lambda: "full" in office.report().store_error)
    filler.unlink()
    assert office.writes(300)
    assert office.reactor.turns(lambda: office.report().store_error == "")
    office.end()
    assert office.report().lost_records == 0
    assert is_sound(small)

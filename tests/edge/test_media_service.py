"""The media gate as the service runs it: opened with the plan, reloaded, reported, given back."""

import select
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from asking import Answer, StubGuard, ended, phone, proves, until
from desks import DeskHere
from guarded import opened
from netns import A4, B4, Lab, heard, raw
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from sipguard.edge import media_gate
from sipguard.edge import service as room
from sipguard.edge.busy_poll import BusyPoll
from sipguard.edge.feeds.stream import Connector
from sipguard.edge.media_gate import MediaGate
from sipguard.edge.nfqueue import Queue
from sipguard.edge.plan import Plan
from sipguard.edge.policy_file import load
from sipguard.edge.queued import QueuedPacket, Reader
from sipguard.edge.samples import Samples
from sipguard.edge.service import GuardService, Settings
from sipguard.edge.stream.listeners import ListeningPort
from sipguard.errors import EdgeError
from sipguard.guard import Guard
from sipguard.guard.media_gate import MediaDecision
from sipguard.moment import Moment
from sipguard.verdict import Effect, Hole
from sipguard.wire.packet import Packet, build_udp

GATED = Plan(media_queue=1, sample_group=77)
POLICY = "default drop\nchain request\n  all accept\nchain media\n  keyed open if keyed idle 60s\n"


class Readers:
    """A reactor that only knows who is to be read."""

    def __init__(self) -> None:
        self.known: list[object] = []

    def addReader(self, reader: object) -> None:  # noqa: N802
        self.known.append(reader)

    def removeReader(self, reader: object) -> None:  # noqa: N802
        self.known.remove(reader)


class FakeReader:
    """A queue or a log group that is bound until it is closed."""

    bound: ClassVar[list[str]] = []
    refuses: ClassVar[str] = ""

    def __init__(self, number: int, *_: object, **__: object) -> None:
        self.name = f"{type(self).__name__} {number}"
        if self.name == self.refuses:
            raise EdgeError("in use")
        self.bound.append(self.name)

    def close(self) -> None:
        self.bound.remove(self.name)


class FakeQueue(FakeReader):
    pass


class FakeSamples(FakeReader):
    pass


BOTH = ["FakeQueue 1", "FakeSamples 77"]


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(FakeReader, "bound", [])
    monkeypatch.setattr(media_gate, "Queue", FakeQueue)
    monkeypatch.setattr(media_gate, "Samples", FakeSamples)
    return FakeReader.bound


def nothing() -> None:
    """Install rules without trouble."""


def refuse() -> None:
    raise EdgeError("the kernel said no")


def test_without_a_media_queue_nothing_is_bound(bound: list[str]) -> None:
    """Who did not ask for the gate needs no second queue and no log group."""
    gate = MediaGate(print, Readers(), BusyPoll(Clock()))
    gate.open(Plan())
    gate.start()
    assert bound == []
    assert (gate.queues(), gate.failures()) == ([], 0)


def test_it_opens_and_closes_with_the_policy(bound: list[str]) -> None:
    """A reload may begin to ask for proof, and cease to; readers follow at once."""
    readers = Readers()
    gate = MediaGate(print, readers, BusyPoll(Clock()))
    gate.start()
    gate.replace(GATED, nothing)
    assert bound == BOTH
    assert len(readers.known) == 2
    gate.replace(GATED, nothing)
    assert bound == BOTH
    gate.replace(Plan(), nothing)
    assert (bound, readers.known) == ([], [])


@pytest.mark.parametrize("refused", BOTH)
def test_what_is_in_use_leaves_nothing_bound(
    bound: list[str], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """Neither half without the other; the rules are not touched."""
    monkeypatch.setattr(FakeReader, "refuses", refused)
    gate = MediaGate(print, Readers(), BusyPoll(Clock()))
    with pytest.raises(EdgeError, match="in use"):
        gate.replace(GATED, refuse)
    assert bound == []


def test_a_refused_reload_changes_nothing(bound: list[str]) -> None:
    """Whichever way it would have gone."""
    gate = MediaGate(print, Readers(), BusyPoll(Clock()))
    with pytest.raises(EdgeError, match="said no"):
        gate.replace(GATED, refuse)
    assert bound == []
    gate.open(GATED)
    with pytest.raises(EdgeError, match="said no"):
        gate.replace(Plan(), refuse)
    assert bound == BOTH


class GatedGuard(Guard):
    """A guard that leaves media to a test."""

    stub = StubGuard()

    def inspect_media(self, octets: bytes, interface: str, now: Moment) -> MediaDecision:
        return self.stub.inspect_media(octets, interface, now)

    def sample_media(self, octets: bytes, now: Moment) -> tuple[Effect, ...]:
        return self.stub.sample_media(octets, now)


class Running:
    """The real service with a real kernel; its readers are served when a test says so."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.policy = directory / "p"
        self.policy.write_text(POLICY)
        loaded = load(str(self.policy), "", time.time())
        settings = Settings(str(self.policy), directory, sample_group=77)
        self.service = GuardService(settings, loaded, DeskHere(directory), Reactor())
        self.stub = GatedGuard.stub = StubGuard()
        lab.router.run(self.service.privilegedStartService)

    def readers(self) -> Sequence[Queue | Samples]:
        return self.service._media._readers()

    def serve(self, condition: Callable[[], bool]) -> bool:
        """Read until the condition holds; report whether it did in time."""

        def read_once() -> bool:
            for reader in self.readers():
                if select.select([reader.fileno()], [], [], 0.01)[0]:
                    reader.doRead()
            return condition()

        return until(lambda: self.lab.router.run(read_once))

    def counter(self, name: str) -> int:
        return self.lab.router.run(self.service.report).counters[name]


class NoPort:
    """Nobody connects."""

    def getHost(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("TCP", "127.0.0.1", 15060)

    def stopListening(self) -> None:  # noqa: N802
        pass


class Reactor(Clock):
    """Nobody is read by it."""

    def addReader(self, reader: object) -> None:  # noqa: N802
        pass

    def removeReader(self, reader: object) -> None:  # noqa: N802
        pass

    def connectTCP(self, *_: object) -> Connector:  # noqa: N802
        raise NotImplementedError

    def adoptStreamPort(self, *_: object) -> ListeningPort:  # noqa: N802
        return NoPort()

    def callFromThread(self, work: Callable[..., None], *arguments: object) -> None:  # noqa: N802
        work(*arguments)


@pytest.fixture
def running(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(room, "Guard", GatedGuard)
    made = Running(lab, tmp_path)
    yield made
    made.lab.router.run(made.service.stopService)


HOLE = Hole(raw(A4), raw(B4), 4000)


@pytest.mark.kernel
def test_the_service_asks_proves_and_reports(running: Running) -> None:
    """From the queue after SIP's to the status; what passed is counted when it ends."""
    running.stub.judge = lambda packet: Answer(True, (proves(packet),))
    running.service._apply([opened(A4, B4, idle_s=30)])
    with phone(running.lab.b.udp(B4, 4000)) as listener, phone(running.lab.a.udp(A4, 0)) as source:
        source.connect((B4, 4000))
        source.send(b"1")
        assert running.serve(lambda: bool(running.stub.seen))
        assert heard(listener) == b"1"
        for number in range(5):
            source.send(b"%d" % number)
            assert heard(listener) == b"%d" % number
    assert len(running.stub.seen) == 1
    assert [running.counter(name) for name in ("media_asked", "media_refused")] == [1, 0]
    assert [running.counter(name) for name in ("sources_proven", "sources_now")] == [1, 1]
    running.service._apply([ended(HOLE)])
    assert (running.counter("passed_packets"), running.counter("passed_octets")) == (6, 6 * 41)
    assert running.counter("sources_now") == 0


@pytest.mark.kernel
def test_a_reload_sends_proven_media_directly_and_the_sums_stay_right(running: Running) -> None:
    """In the middle of a stream; the status names the way, the end knows every packet."""
    running.stub.judge = lambda packet: Answer(True, (proves(packet),))
    running.service._apply([opened(A4, B4, idle_s=30)])
    with phone(running.lab.b.udp(B4, 4000)) as listener, phone(running.lab.a.udp(A4, 0)) as source:
        source.connect((B4, 4000))
        source.send(b"1")
        assert running.serve(lambda: running.service._netfilter.sources() == 1)
        assert heard(listener) == b"1"
        assert running.lab.router.run(running.service.report).media_path == "routed"
        running.policy.write_text("media-path direct\n" + POLICY)
        running.lab.router.run(running.service.reload)
        report = running.lab.router.run(running.service.report)
        assert (report.last_reload, report.media_path) == ("ok", "direct from ra, rb")
        assert report.counters["direct_sources"] == 1
        for number in range(10, 60):
            source.send(b"%d" % number)
            assert heard(listener) == b"%d" % number
            time.sleep(0.005)
    assert running.counter("media") < 25
    running.lab.router.run(lambda: running.service._apply([ended(HOLE)]))
    assert (running.counter("passed_packets"), running.counter("passed_octets")) == (
        51,
        50 * 42 + 41,
    )
    assert running.counter("direct_sources") == 0


@pytest.mark.kernel
def test_flushed_rules_come_back_and_media_is_asked_anew(running: Running) -> None:
    """Also where only the rule that queues media is gone: what it lets through is counted."""
    running.stub.judge = lambda packet: Answer(True, (proves(packet),))
    running.service._apply([opened(A4, B4, idle_s=30)])
    shell = running.lab.router.shell
    with phone(running.lab.b.udp(B4, 4000)) as listener, phone(running.lab.a.udp(A4, 0)) as source:
        source.connect((B4, 4000))
        shell("iptables-nft", "-t", "mangle", "-F")
        source.send(b"lost")
        assert heard(listener) is None
        running.lab.router.run(running.service._look_at_the_rules)
        source.send(b"1")
        assert running.serve(lambda: bool(running.stub.seen))
        assert heard(listener) == b"1"
        shell("nft", "flush", "ruleset")
        running.lab.router.run(running.service._look_at_the_rules)
        assert running.counter("sources_now") == 0
        running.service._apply([opened(A4, B4, idle_s=30)])
        source.send(b"2")
        assert running.serve(lambda: len(running.stub.seen) == 2)
        assert heard(listener) == b"2"


@pytest.mark.kernel
def test_a_reload_begins_and_ceases_to_ask(running: Running) -> None:
    """Pinholes stay open through both."""
    running.service._apply([opened(A4, B4, idle_s=30)])
    running.policy.write_text("media-proof off\n" + POLICY)
    running.lab.router.run(running.service.reload)
    assert running.readers() == []
    with phone(running.lab.b.udp(B4, 4000)) as listener, phone(running.lab.a.udp(A4, 0)) as source:
        source.connect((B4, 4000))
        source.send(b"unasked")
        assert heard(listener) == b"unasked"
        running.policy.write_text(POLICY)
        running.lab.router.run(running.service.reload)
        source.send(b"good")
        assert running.serve(lambda: bool(running.stub.seen))
        assert heard(listener) == b"good"


@pytest.mark.kernel
def test_an_end_by_another_queue_overtakes_a_proof(running: Running) -> None:
    """The BYE came while the proof waited for its turn's end."""
    running.stub.judge = lambda packet: Answer(True, (proves(packet),))
    running.service._apply([opened(A4, B4, idle_s=30)])
    ends = (lambda _: b""), lambda _: None
    reader = Reader(1, 1, *ends, lambda *_: None, lambda _: "", lambda *_: None, 9)
    turnstile = running.service._media._turnstile
    octets = build_udp(Packet(raw(A4), raw(B4), 5004, 4000, b"1"))
    turnstile.take(octets, "ra", QueuedPacket(reader, b"\0\0\0\1", b""))
    running.service._apply([ended(HOLE)])
    assert not turnstile.end_turn(True)
    assert running.counter("sources_proven") == 0

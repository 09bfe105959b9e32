"""Feeds that connect: webhooks over real TLS, and syslog over TCP."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hook import SECRET, Hook, is_signed
from hostile_octets import CORPUS
from hostile_records import record
from https_server import ROOT, STRANGER
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, TCPTimedOutError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from sipguard.edge.feeds import webhook
from sipguard.edge.feeds.build import Builder
from sipguard.edge.feeds.stream import ALIVE_S, SyslogStream
from sipguard.edge.feeds.webhook import ATTEMPTS, Webhook, read_authority
from sipguard.errors import EdgeError
from sipguard.journal.record import Record
from sipguard.policy.feeds import Feed


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    made = Hook(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> Iterator[EPollReactor]:
    """Return one that runs as far as ``until`` lets it; names are looked up in its threads."""
    made = EPollReactor()
    # TLS gathers small writes by the clock of the one reactor that nobody runs here.
    monkeypatch.setattr("twisted.protocols.tls._get_default_clock", lambda: made)
    made.startRunning(installSignalHandlers=False)
    yield made
    made.stop()
    for _ in range(20):
        made.iterate(0.01)
    made.disconnectAll()


def until(reactor: EPollReactor, done: Callable[[], object], seconds: float = 10.0) -> None:
    end_s = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end_s, "it takes too long"
        reactor.iterate(0.02)


class Outlet:
    """A webhook, its queue, and a clock that hurries through the waits."""

    def __init__(self, reactor: EPollReactor, url: str, authority: bytes = ROOT.pem) -> None:
        self.now_s = 1_790_000_000.0
        self.reactor = reactor
        self.waits: list[float] = []
        self.hook = Webhook(url, SECRET, authority, reactor, lambda: self.now_s)

    def post(self, *records: Record) -> None:
        waiting = [one for one in records if self.hook.wants(one, is_new=True)]

        def step() -> bool:
            for _ in range(self.hook.take(waiting)):
                waiting.pop(0)
            due_s = self.hook._due_s
            if due_s > self.now_s:
                self.waits.append(due_s - self.now_s)
            self.now_s = max(self.now_s, due_s)
            return not waiting

        until(self.reactor, step)


def alarm(hostile: bytes = b"alice", number: int = 5) -> Record:
    return record(hostile, number, alarm=True)


def test_an_alarm_is_the_record_signed(hook: Hook, reactor: EPollReactor) -> None:
    """The receiver can tell that it is ours, when it was made, and which one it is."""
    outlet = Outlet(reactor, hook.url)
    one = alarm()
    outlet.post(one)
    ((headers, body),) = hook.got
    assert json.loads(body) == one.to_json()
    assert is_signed(headers, body)
    assert headers["X-Sipguard-Signature"].startswith("t=1790000000,v1=")
    assert headers["X-Sipguard-Delivery"] == one.id
    assert headers["Content-Type"] == "application/json"
    assert (outlet.hook.sent, outlet.hook.lost, outlet.hook.last_error) == (1, 0, "")


def test_hostile_callers_stay_within_their_json(hook: Hook, reactor: EPollReactor) -> None:
    """Whatever they wrote, it is one object with our keys."""
    outlet = Outlet(reactor, hook.url)
    alarms = [alarm(octets, number) for number, octets in enumerate(CORPUS.values())]
    outlet.post(*alarms)
    assert [json.loads(body) for _, body in hook.got] == [one.to_json() for one in alarms]


def test_only_alarms_and_each_once(hook: Hook, reactor: EPollReactor) -> None:
    """Also where the record grows; one that grows into an alarm is one."""
    outlet = Outlet(reactor, hook.url)
    outlet.post(record(number=1), alarm(number=2), alarm(number=2), alarm(number=3))
    assert [headers["X-Sipguard-Delivery"] for headers, _ in hook.got] == ["00000002", "00000003"]


def test_a_receiver_in_trouble_is_asked_again(hook: Hook, reactor: EPollReactor) -> None:
    """Later and later; with a new time and signature."""
    outlet = Outlet(reactor, hook.url)
    hook.codes = [500, 503, 429]
    outlet.post(alarm())
    assert len(hook.got) == 4
    assert outlet.waits == [1.0, 2.0, 4.0]
    assert len({headers["X-Sipguard-Signature"] for headers, _ in hook.got}) == 4
    assert (outlet.hook.sent, outlet.hook.lost) == (1, 0)


def test_a_receiver_that_wants_none_is_not(hook: Hook, reactor: EPollReactor) -> None:
    """A 400 stays one; the next alarm has its turn."""
    outlet = Outlet(reactor, hook.url)
    hook.codes = [404, 200]
    outlet.post(alarm(number=1), alarm(number=2))
    assert len(hook.got) == 2
    assert (outlet.hook.sent, outlet.hook.lost) == (1, 1)


def test_a_redirect_is_not_followed(hook: Hook, reactor: EPollReactor) -> None:
    """Whoever answers for the receiver must not choose where alarms go."""
    outlet = Outlet(reactor, hook.url)
    hook.codes = [302, 200]
    outlet.post(alarm())
    assert len(hook.got) == 2
    assert all(headers["X-Sipguard-Delivery"] == alarm().id for headers, _ in hook.got)


def test_nobody_waits_for_ever(hook: Hook, reactor: EPollReactor) -> None:
    """After some attempts an alarm is counted as lost."""
    outlet = Outlet(reactor, hook.url)
    hook.codes = [500] * ATTEMPTS
    outlet.post(alarm(number=1), alarm(number=2))
    assert len(hook.got) == ATTEMPTS + 1
    assert (outlet.hook.sent, outlet.hook.lost) == (1, 1)
    assert max(outlet.waits) <= webhook.LONGEST_WAIT_S


def test_a_new_secret_knows_what_went_out(hook: Hook, reactor: EPollReactor) -> None:
    """A reload makes the far end anew: no alarm goes out twice, and no receiver is hurried."""
    outlet = Outlet(reactor, hook.url)
    outlet.post(alarm(number=1))
    hook.codes = [503]
    waiting = [alarm(number=2)]
    assert outlet.hook.wants(waiting[0], is_new=True)
    outlet.hook.take(waiting)
    until(reactor, lambda: outlet.hook.last_error)
    later = Outlet(reactor, hook.url)
    later.hook.follow(outlet.hook)
    outlet.hook.close()
    assert not later.hook.wants(alarm(number=1), is_new=False)
    assert not later.hook.wants(alarm(number=2), is_new=False)
    assert later.hook.take(waiting) == 0
    assert len(hook.got) == 2  # the receiver wants to be left alone for a second
    later.now_s += 1.0
    until(reactor, lambda: later.hook.take(waiting))
    ids = [headers["X-Sipguard-Delivery"] for headers, _ in hook.got]
    assert ids == ["00000001", "00000002", "00000002"]


def test_a_receiver_that_only_nods(reactor: EPollReactor) -> None:
    """204 without a body, on a connection that it would keep."""
    received: list[bytes] = []

    class Nodding(Protocol):
        def dataReceived(self, data: bytes) -> None:  # noqa: N802
            received.append(data)
            if data.endswith(b"}"):
                self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")  # type: ignore[union-attr, call-arg, misc] # zope

    factory = Collectors()
    factory.protocol = Nodding  # type: ignore[assignment]
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    outlet = Outlet(reactor, f"http://127.0.0.1:{port.getHost().port}/", b"")
    outlet.post(alarm(number=1), alarm(number=2))
    assert (outlet.hook.sent, outlet.hook.lost, outlet.hook.last_error) == (2, 0, "")
    assert b"".join(received).count(b"POST / HTTP/1.1\r\n") == 2
    port.stopListening()


def test_a_receiver_that_was_down_gets_what_waited(tmp_path: Path, reactor: EPollReactor) -> None:
    """Refused connections are no answer: the same alarm again, until somebody is there."""
    hook = Hook(tmp_path)
    hook.stop()
    outlet = Outlet(reactor, hook.url)
    waiting = [alarm(number=1)]
    assert outlet.hook.wants(waiting[0], is_new=True)
    for _ in range(3):
        outlet.hook.take(waiting)
        until(reactor, lambda: outlet.hook._current is None)
        assert "refused" in outlet.hook.last_error
        outlet.now_s = outlet.hook._due_s
    again = Hook(tmp_path, lambda: socket.create_server(hook.address))
    until(reactor, lambda: outlet.hook.take(waiting))
    assert [headers["X-Sipguard-Delivery"] for headers, _ in again.got] == ["00000001"]
    assert (outlet.hook.sent, outlet.hook.lost, outlet.hook.last_error) == (1, 0, "")
    again.stop()


def test_a_stranger_gets_no_alarm(hook: Hook, reactor: EPollReactor) -> None:
    """A certificate of another authority ends it before a word of the record is out."""
    outlet = Outlet(reactor, hook.url, STRANGER.pem)
    outlet.post(alarm())
    assert hook.got == []
    assert outlet.hook.lost == 1
    assert outlet.hook.last_error


def test_an_authority_is_one(tmp_path: Path) -> None:
    """Anything else ends the start, or the reload, with the line's place."""
    for octets in (b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"):
        with pytest.raises(ValueError, match="certificate"):
            read_authority(octets)
    assert len(read_authority(ROOT.pem + STRANGER.pem)) == 2
    (tmp_path / "s").write_bytes(SECRET)
    (tmp_path / "ca").write_bytes(b"nonsense")
    feed = Feed("webhook", "https://h/", secret=str(tmp_path / "s"),
                authority=str(tmp_path / "ca"), place="p:3:1")  # fmt: skip
    with pytest.raises(EdgeError, match=r"p:3:1: .*ca: it holds no certificates"):
        Builder(EPollReactor())(feed)


class Collector(Protocol):
    """Keeps what comes."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.factory.got += data


class Collectors(Factory):
    protocol = Collector
    noisy = False
    got = b""


def test_syslog_over_tcp(reactor: EPollReactor) -> None:
    """Records wait until there is a connection, and each tells its length."""
    collectors = Collectors()
    port = reactor.listenTCP(0, collectors, interface="127.0.0.1")
    end = Feed("syslog", "127.0.0.1", port.getHost().port, "tcp")
    outlet = Builder(reactor)(end)
    records = [record(octets, n) for n, octets in enumerate(CORPUS.values())]
    assert outlet.take(records) == 0  # not connected yet
    until(reactor, lambda: outlet.take(records))
    expected = len(records)

    def all_of() -> bool:
        rest, found = collectors.got, 0
        while rest:
            length, _, rest = rest.partition(b" ")
            if not length.isdigit() or len(rest) < int(length):
                return False
            assert rest.startswith(b"<84>1 ")
            assert b"\n" not in rest[: int(length)]
            rest, found = rest[int(length) :], found + 1
        return found == expected

    until(reactor, all_of)
    assert outlet.sent == expected
    outlet.close()
    port.stopListening()


def test_a_dead_connection_is_known_within_a_minute(reactor: EPollReactor) -> None:
    """A firewall that forgot it, or a collector without power, says nothing."""
    port = reactor.listenTCP(0, Collectors(), interface="127.0.0.1")
    outlet = SyslogStream("127.0.0.1", port.getHost().port, lambda _: b"x", reactor)
    until(reactor, lambda: outlet.take([record()]))
    assert outlet.wire is not None
    wire = outlet.wire.transport.getHandle()  # type: ignore[union-attr]
    assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == ALIVE_S
    assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == ALIVE_S * 1000
    outlet.wire.connectionLost()
    assert outlet._redialer is not None
    assert outlet._connector is not None
    for fault, said in ((ConnectionDone(), "closed the connection"), (TCPTimedOutError(), "broke")):
        outlet._redialer.stopTrying()  # type: ignore[no-untyped-call] # Twisted
        outlet._redialer.clientConnectionLost(outlet._connector, Failure(fault))
        assert said in outlet.last_error
    outlet.close()
    port.stopListening()


def test_collectors_by_ipv6(reactor: EPollReactor) -> None:
    """Over TCP and UDP."""
    collectors = Collectors()
    port = reactor.listenTCP(0, collectors, interface="::1")
    number = port.getHost().port
    outlet = Builder(reactor)(Feed("syslog", "::1", number, "tcp"))
    until(reactor, lambda: outlet.take([record()]))
    until(reactor, lambda: collectors.got)
    outlet.close()
    port.stopListening()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("::1", 0))
        for feed in (Feed("syslog", "::1", udp.getsockname()[1], "udp"),
                     Feed("hep", "::1", udp.getsockname()[1])):  # fmt: skip
            outlet = Builder(reactor)(feed)
            assert outlet.take([record()]) == 1
            assert udp.recv(9_000)[:4] in (b"<84>", b"HEP3")
            outlet.close()


def test_a_collector_that_does_not_read_makes_records_wait(
    reactor: EPollReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the bounded queue, not in memory without end."""
    collectors = Collectors()
    port = reactor.listenTCP(0, collectors, interface="127.0.0.1")
    deaf = _Deaf()
    monkeypatch.setattr(collectors, "buildProtocol", lambda _: deaf)
    outlet = SyslogStream(
        "127.0.0.1", port.getHost().port, lambda _: b"x" * 8_000, reactor
    )  # fmt: skip
    some = [record()] * 4
    until(reactor, lambda: outlet.take(some))
    for _ in range(5_000):
        if not outlet.take(some):
            reactor.iterate(0.01)
            if not outlet.take(some):
                break
    else:
        pytest.fail("it takes without end")
    assert outlet.lost == 0
    outlet.close()
    assert deaf.transport is not None
    deaf.transport.abortConnection()
    port.stopListening()


class _Deaf(Protocol):
    def connectionMade(self) -> None:  # noqa: N802
        assert self.transport is not None
        self.transport.pauseProducing()


def test_a_collector_that_is_not_there(reactor: EPollReactor) -> None:
    """Is told, and tried again later."""
    port = reactor.listenTCP(0, Collectors(), interface="127.0.0.1")
    number = port.getHost().port
    port.stopListening()
    outlet = SyslogStream("127.0.0.1", number, lambda _: b"x", reactor)
    until(reactor, lambda: outlet.take([record()]) or outlet.last_error)
    assert "refused" in outlet.last_error
    assert outlet.take([record()]) == 0
    outlet.close()

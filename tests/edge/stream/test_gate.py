"""What comes and goes with the plan, what waits, and kinds of connections to come."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from stream_paper import BOB, Paper, answer, request
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from sipguard.edge.control import StatusReport
from sipguard.edge.plan import Diversion, Plan, StreamTransports
from sipguard.edge.stream import listeners as doors
from sipguard.edge.stream.admission import Admission
from sipguard.edge.stream.binding import Binding
from sipguard.edge.stream.conversation import LAST_WORD_S
from sipguard.edge.stream.gate import StreamGate
from sipguard.edge.stream.leg import Leg
from sipguard.edge.stream.limits import ACCEPTS_PER_S, Limits
from sipguard.edge.stream.tcp import TCP
from sipguard.edge.turnstile import Passage
from sipguard.errors import EdgeError
from sipguard.guard import Guard
from sipguard.journal.observation import Observation
from sipguard.reason import Finding, Reason
from sipguard.streams.live import LiveStream
from sipguard.wire.channel import Channel

OPTIONS = request()


# --- the plan


class FakeSocket:
    family = 2

    def __init__(self, made: "Sockets", port: int) -> None:
        self._made = made
        self.port = port

    def fileno(self) -> int:
        return self.port

    def close(self) -> None:
        self._made.closed.append(self.port)


class FakePort:
    def __init__(self, made: "Sockets", port: int) -> None:
        self._made = made
        self._port = port

    def getHost(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("TCP", "127.0.0.1", self._port)

    def stopListening(self) -> None:  # noqa: N802
        self._made.listening.remove(self._port)


class Sockets:
    """Who listens where."""

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.closed: list[int] = []
        self.listening: list[int] = []
        self.factories: list[Admission] = []

    def bind(self, family: int, port: int, mark: int) -> FakeSocket | None:
        if port in self.refused:
            raise EdgeError("in use")
        return FakeSocket(self, port) if family == 2 else None

    def adopt(self, port: int, _family: object, factory: Admission) -> FakePort:
        self.listening.append(port)
        self.factories.append(factory)
        return FakePort(self, port)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Sockets:
    made = Sockets()
    monkeypatch.setattr(doors, "listening_socket", made.bind)
    return made


JUDGE = StreamTransports.JUDGE
ONE = Plan(stream_transports=JUDGE, diversions=(Diversion("tcp", (5060,), 15060),))
TWO = replace(ONE, diversions=(*ONE.diversions, Diversion("tls", (5061,), 15061)))
OTHER = replace(ONE, diversions=(Diversion("tcp", (5060, 5070), 15060),))
NONE = Plan()


def opened(
    made: Sockets, monkeypatch: pytest.MonkeyPatch, plan: Plan = ONE
) -> tuple[Paper, StreamGate]:
    paper = Paper()
    monkeypatch.setattr(paper.reactor, "adoptStreamPort", made.adopt)
    gate = StreamGate(paper.turnstile, paper.reactor, {"tcp": TCP, "tls": TCP})
    gate.open(plan)
    gate.start()
    return paper, gate


def test_listeners_come_and_go_with_the_plan(
    made: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, and none that nothing is diverted to."""
    _, gate = opened(made, monkeypatch)
    assert made.listening == [15060]
    gate.replace(TWO, lambda: None)
    assert made.listening == [15060, 15061]
    gate.replace(NONE, lambda: None)
    assert made.listening == []


def test_other_ports_need_no_other_listener(made: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload with another sip-ports keeps the listener, and knows the new ports."""
    _, gate = opened(made, monkeypatch)
    assert not gate.is_diverted("tcp", 5070)
    gate.replace(OTHER, lambda: None)
    assert made.listening == [15060]
    assert gate.is_diverted("tcp", 5070)


def test_a_plan_that_cannot_be_changes_nothing(
    made: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where a port is in use, nor where the kernel refuses the rules."""
    _, gate = opened(made, monkeypatch)
    made.refused.add(15061)
    with pytest.raises(EdgeError):
        gate.replace(TWO, lambda: pytest.fail("not installed"))
    made.refused.clear()

    def refuse() -> None:
        raise EdgeError("no")

    with pytest.raises(EdgeError):
        gate.replace(TWO, refuse)
    assert made.listening == [15060]
    assert not gate.is_diverted("tls", 5061)
    gate.replace(TWO, lambda: None)
    assert made.listening == [15060, 15061]


def test_connections_end_with_the_judging() -> None:
    """Their packets do not come here any more."""
    paper = Paper()
    line = paper.connected()
    paper.gate.replace(NONE, lambda: None)
    assert line.is_over()


# --- the interface, and the zone


def test_the_servers_messages_come_by_the_way_to_it() -> None:
    """For rules that ask; nobody says it of a connection that we made."""
    paper = Paper(way_to=lambda address: "lan0" if address[2] == 2 else "")
    line = paper.connected()
    line.client_sends(OPTIONS)
    line.server_sends(answer(OPTIONS).replace(b"call-1", b"call-9"))
    assert paper.observations[-1].interface == "lan0"


def test_the_way_to_a_server_is_asked_once_in_a_second() -> None:
    """Each connection would else cost a question to the kernel; a route may change all the same."""
    asked: list[bytes] = []

    def way_to(address: bytes) -> str:
        asked.append(address)
        return ""

    paper = Paper(way_to=way_to)
    paper.connected()
    paper.connected()
    assert len(asked) == 1
    paper.wait(1.5)
    paper.connected()
    assert len(asked) == 2


def test_a_zone_is_known_by_its_interface() -> None:
    """Of all messages of a connection."""
    paper = Paper(
        "zone office { interface lan0 }\ndefault drop\n"
        "chain request\n  inside drop if zone == office log\n  all accept\n",
        way_to=lambda _: "lan0",
    )
    line = paper.connected()
    line.client_sends(OPTIONS)
    assert line.server_got() == OPTIONS
    line.server_sends(request("OPTIONS", 7, source=BOB))
    assert line.client_got() == b""


ZONED = (
    "zone hq { ipsec reqid 42 }\nzone office { interface lan0 }\ndefault drop\n"
    "chain request\n  clear drop if not ipsec log\n  inside accept if zone == hq log\n"
)


def test_a_zone_that_ipsec_tells_is_known_by_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPS-1: of the client's messages; by which IPsec the server's came nobody knows."""
    paper = Paper(ZONED, zone=1)
    monkeypatch.setattr(paper.gate, "interface_of", lambda leg: "lan0")
    line = paper.connected()
    line.client_sends(OPTIONS)
    assert line.server_got() == OPTIONS
    line.server_sends(request("OPTIONS", 7, source=BOB))
    assert line.client_got() == b""
    assert [(seen.zone, seen.ipsec) for seen in paper.observations[-2:]] == [
        ("hq", True),
        ("office", False),
    ]


def test_a_listener_hands_its_zone_on(made: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the port that the rules divert to, to the conversation."""
    zoned = replace(ONE, ipsec_zones=((42,), (7,)))
    paper, gate = opened(made, monkeypatch, zoned)
    gate.use(paper.policy)
    assert made.listening == [15060, 15070, 15080]
    for factory, zone in zip(made.factories, (0, 1, 2), strict=True):
        address = IPv4Address("TCP", "10.20.1.2", 4000 + zone)
        leg = factory.buildProtocol(address)  # type: ignore[arg-type] # an interface of zope's
        assert isinstance(leg, Leg)
        assert leg.conversation.zone == zone
    assert paper.attempts == []
    gate.replace(replace(ONE, ipsec_zones=((7,),)).beside(zoned), lambda: None)
    assert made.listening == [15060, 15170]


@pytest.mark.usefixtures("made")
def test_connections_of_a_zone_end_where_the_zones_change() -> None:
    """Their numbers mean others from then on; those of no zone, and with the same zones, go on."""
    paper = Paper(ZONED + "  all accept\n", zone=1)
    plan = paper.gate._plan = replace(paper.plan, ipsec_zones=((42,),))
    line = paper.connected()
    paper.gate.replace(replace(plan, fail_open=True), lambda: None)
    assert not line.is_over()
    paper.gate.replace(replace(plan, ipsec_zones=((7,), (42,))).beside(plan), lambda: None)
    assert line.is_over()


# --- what waits


class Shelf:
    """Where messages wait."""

    def __init__(self) -> None:
        self.waiting: list[Passage] = []

    def wait(self, passage: Passage, wants: tuple[str, ...]) -> None:
        assert passage.retain()
        self.waiting.append(passage)


def held(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Have each message wait."""
    shelf = Shelf()
    monkeypatch.setattr(
        paper.turnstile.__class__, "take_message", lambda _, passage: shelf.wait(passage, ())
    )
    return shelf


def test_what_comes_behind_a_held_message_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order; the sender is not read meanwhile, and the other end goes on."""
    paper = Paper()
    line = paper.connected()
    shelf = held(paper, monkeypatch)
    second = request("OPTIONS", 2)
    line.client_sends(OPTIONS + second)
    assert len(shelf.waiting) == 1
    assert not line.client.is_read()
    assert line.server.is_read()
    shelf.waiting[0].accept()
    paper.reactor.advance(0)
    assert line.server_got() == OPTIONS
    shelf.waiting[1].drop()
    paper.reactor.advance(0)
    assert line.server_got() == b""
    assert line.client.is_read()


def test_a_verdict_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes nowhere, and harms nobody."""
    paper = Paper()
    line = paper.connected()
    shelf = held(paper, monkeypatch)
    line.client_sends(OPTIONS)
    line.client.abortConnection()
    assert not shelf.waiting[0].retain()
    shelf.waiting[0].accept()
    shelf.waiting[0].fail()
    assert line.server_got() == b""


def test_our_own_fault_ends_the_connection() -> None:
    """Nothing may follow a message that was not judged."""
    paper, told = Paper(), []

    def breaks_once(seen: Observation) -> None:
        told.append(seen.reason)
        if len(told) == 1:
            raise ValueError

    paper.turnstile.guard = Guard(paper.policy, b"secret", record=breaks_once)
    line = paper.connected()
    line.client_sends(request("OPTIONS", 2, "User-Agent: no") + OPTIONS)
    assert line.is_over()
    assert line.server_got() == b""
    assert paper.gate.ends == {Reason.INTERNAL_ERROR.value: 1}
    assert told[1:] == [Reason.INTERNAL_ERROR]


# --- other kinds


class Shaken:
    """A codec with a handshake: HELLO before anything else, and its echo."""

    def __init__(self) -> None:
        self._stream = LiveStream()
        self._said = b""
        self.is_open = False

    def begin(self) -> bytes:
        return b""

    def receive(self, octets: bytes) -> Sequence[bytes]:
        if not self.is_open:
            self._said, self.is_open = b"WELCOME\r\n", True
            octets = octets.removeprefix(b"HELLO\r\n")
        return self._stream.receive(octets)

    def taken(self) -> Sequence[bytes]:
        return self._stream.taken()

    def encode(self, message: bytes) -> bytes:
        return b"<" + message + b">"

    def answers(self) -> bytes:
        said, self._said = self._said, b""
        return said

    def end(self) -> bytes:
        return b"BYE"

    @property
    def held(self) -> int:
        return self._stream.held


def explained(leg: Leg, reason: Failure) -> Finding | None:
    return Finding(Reason.SLOW_STREAM, "a handshake")


SHAKEN = Binding(
    "tcp",
    Shaken,
    lambda _: Shaken(),
    is_open=lambda codec: isinstance(codec, Shaken) and codec.is_open,
)
SECURED = replace(
    TCP,
    is_secured=True,
    channel=lambda leg: Channel(tls_version="1.3", tls_peer=("c" if leg.is_client else "s",)),
    explain=explained,
)


def kind(monkeypatch: pytest.MonkeyPatch, binding: Binding) -> Paper:
    monkeypatch.setattr("stream_paper.BINDINGS", {"tcp": binding})
    return Paper()


def test_a_handshake_of_the_framing_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The onward connection waits for it; then each end has its own framing."""
    paper = kind(monkeypatch, SHAKEN)
    line = paper.reaches()
    assert not paper.attempts
    assert line.client.is_read()
    line.client_sends(b"HELLO\r\n" + OPTIONS)
    assert line.client_got() == b"WELCOME\r\n"
    line.server_takes_it()
    assert line.server_got() == b"<" + OPTIONS + b">"


def test_a_secured_connection_stands_after_its_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Client first, then server; each end's messages have that end's channel."""
    paper = kind(monkeypatch, SECURED)
    line = paper.reaches()
    assert not paper.attempts
    line.client_leg.handshakeCompleted()
    assert len(paper.attempts) == 1
    line.server_takes_it()
    assert not line.client.is_read()
    assert line.server.leg is not None
    line.server.leg.handshakeCompleted()
    assert line.client.is_read()
    line.client_sends(OPTIONS)
    assert line.server_got() == OPTIONS
    assert line.client_leg.packet.channel.tls_peer == ("c",)
    assert line.server.leg.packet.channel.tls_peer == ("s",)
    assert line.server.leg.packet.channel.connection == 1


@pytest.mark.parametrize("is_client", [True, False])
def test_a_failed_handshake_is_explained(monkeypatch: pytest.MonkeyPatch, is_client: bool) -> None:
    """Of either end; both are closed, the client's after its request had its answer."""
    paper = kind(monkeypatch, SECURED)
    line = paper.reaches()
    if not is_client:
        line.client_leg.handshakeCompleted()
        line.server_takes_it()
    wire = line.client if is_client else line.server
    assert wire.leg is not None
    wire.leg.connectionLost(Failure(ConnectionLost()))
    assert paper.reasons() == [Reason.SLOW_STREAM.value]
    paper.wait(LAST_WORD_S + 2)
    assert paper.gate._limits.open == 0


# --- limits and counts


def test_connections_may_not_come_too_fast() -> None:
    """From one source; the next second is another one."""
    limits = Limits(10_000, 10_000)
    address = bytes([10, 20, 1, 2])
    refused = [limits.refuse(address, 5.0) for _ in range(ACCEPTS_PER_S + 1)]
    assert refused == [""] * ACCEPTS_PER_S + ["too many connections in a second"]
    assert limits.refuse(bytes([10, 20, 1, 3]), 5.0) == ""
    assert limits.refuse(address, 8.0) == ""


def test_the_status_tells_of_connections() -> None:
    """How many there are and were, and why some are no more."""
    paper = Paper()
    first = paper.connected()
    first.client_sends(OPTIONS)
    paper.connected().client_sends(b"\x16\x03")
    report = StatusReport(1, 0.0, 0.0)
    paper.gate.count(report)
    assert report.counters["streams_open"] == 1
    assert report.counters["streams_accepted"] == 2
    assert report.counters["stream_messages"] == 1
    assert sum(paper.gate.ends.values()) == 1


def test_a_gate_that_never_had_a_connection_says_nothing() -> None:
    """Most gateways of today."""
    report = StatusReport(1, 0.0, 0.0)
    Paper().gate.count(report)
    assert not report.counters

"""Connections through the gateway on paper: what one end sends, and what the other gets.

A real guard and a real gate; strings for the wires, and a clock that a test moves.
"""

from collections.abc import Callable, Sequence

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from sipguard.edge.plan import Diversion, Plan, StreamTransports
from sipguard.edge.stream.admission import Accepting, Admission
from sipguard.edge.stream.gate import BINDINGS, StreamGate
from sipguard.edge.stream.leg import Leg
from sipguard.edge.stream.listeners import ListeningPort
from sipguard.edge.turnstile import Turnstile
from sipguard.guard import Guard
from sipguard.journal.observation import Observation
from sipguard.policy import load_policy
from sipguard.verdict import Effect
from sipguard.wire.packet import Packet

ALICE, BOB = "10.20.1.2", "10.20.2.2"
PORT = 40000
POLICY = """
default drop
chain request
  refused reject 488 if user_agent == "no"
  all accept
chain media
  keyed open if keyed
"""


def request(
    method: str = "OPTIONS", number: int = 1, *headers: str, body: str = "", source: str = ALICE
) -> bytes:
    """Return a request of Alice's; one with another number is of another call."""
    tag = f"t{number}"
    lines = [
        f"{method} sip:bob@{BOB} SIP/2.0",
        f"Via: SIP/2.0/TCP {source}:5060;branch=z9hG4bK-{method}-{number}",
        "Max-Forwards: 70",
        f"From: <sip:alice@example.com>;tag={tag}",
        "To: <sip:bob@example.com>",
        f"Call-ID: call-{number}",
        f"CSeq: {number} {method}",
        f"Contact: <sip:alice@{source}:{PORT};transport=tcp>",
        *headers,
        f"Content-Length: {len(body)}",
        "",
        body,
    ]
    return "\r\n".join(lines).encode()


def answer(to: bytes, status: int = 200, *headers: str) -> bytes:
    """Return a response to a request."""
    lines = to.decode().split("\r\n")
    kept = [line for line in lines if line.startswith(("Via:", "From:", "Call-ID:", "CSeq:"))]
    to_tag = "To: <sip:bob@example.com>;tag=b"
    lines = [f"SIP/2.0 {status} Said", *kept, to_tag, *headers, "Content-Length: 0", "", ""]
    return "\r\n".join(lines).encode()


class Wire(StringTransport):
    """One end's connection; what was written to it is taken by ``got``."""

    def __init__(self, host: tuple[str, int], peer: tuple[str, int]) -> None:
        kind = IPv6Address if ":" in host[0] else IPv4Address
        super().__init__(  # type: ignore[no-untyped-call] # Twisted does not type it
            hostAddress=kind("TCP", *host), peerAddress=kind("TCP", *peer)
        )
        self.half_closed = False
        self.reset = False
        self._paused = False
        self.leg: Leg | None = None

    def loseWriteConnection(self) -> None:  # noqa: N802
        self.half_closed = True

    def abortConnection(self) -> None:  # noqa: N802
        if not self.reset:
            self.reset = True
            self._end(ConnectionLost())

    def loseConnection(self) -> None:  # noqa: N802
        if not self.disconnecting:
            self.disconnecting = True
            self._end(ConnectionDone())

    def pauseProducing(self) -> None:  # noqa: N802
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802
        self._paused = False

    def got(self) -> bytes:
        """Return what came here since the last time."""
        octets: bytes = self.value()  # type: ignore[no-untyped-call]
        self.clear()  # type: ignore[no-untyped-call]
        return octets

    def is_read(self) -> bool:
        """Whether we read what the peer sends."""
        return not self._paused

    def is_full(self) -> None:
        """The peer does not read: too much waits here."""
        assert self.producer is not None
        self.producer.pauseProducing()

    def has_room(self) -> None:
        """It has read."""
        assert self.producer is not None
        self.producer.resumeProducing()

    def _end(self, error: Exception) -> None:
        if self.leg is not None and not self.leg.gone:
            self.leg.connectionLost(Failure(error))

    @property
    def is_over(self) -> bool:
        return self.reset or self.disconnecting


class Attempt:
    """An onward connection in the making."""

    def __init__(
        self, ends: Packet, factory: ClientFactory, failed: Callable[[Failure], None]
    ) -> None:
        self.ends = ends
        self.factory = factory
        self.failed = failed
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Reactor(Clock):
    def adoptStreamPort(self, *_: object) -> ListeningPort:  # noqa: N802
        raise NotImplementedError


class Paper:
    """A gate, its guard, and the connections through it."""

    def __init__(
        self,
        policy: str = POLICY,
        *,
        shadow: bool = False,
        kind: str = "tcp",
        way_to: Callable[[bytes], str] = lambda _: "",
        zone: int = 0,
    ) -> None:
        text = ("mode shadow\n" if shadow else "") + policy
        self.policy = load_policy("p", lambda _: text)
        self.observations: list[Observation] = []
        self.effects: list[Effect] = []
        self.reactor = Reactor()
        self.turnstile = Turnstile(self._apply, lambda _: None)
        self.turnstile.guard = Guard(self.policy, b"secret", record=self.observations.append)
        self.attempts: list[Attempt] = []
        self.gate = StreamGate(self.turnstile, self.reactor, BINDINGS, self._dial, way_to)
        self.gate.use(self.policy)
        diversion = Diversion(kind, (5060,), 1)
        self.plan = Plan(
            stream_transports=StreamTransports.JUDGE, diversions=(diversion,), shadow=shadow
        )
        binding = self.gate._bindings[kind]
        inner = binding.listening(Accepting(self.gate._begin, binding, zone))
        self.factory = Admission(self.gate._admit, inner)
        self.gate._plan = self.plan
        self.gate.is_shadow = shadow

    def _apply(self, effects: Sequence[Effect]) -> None:
        self.effects += effects

    def _dial(
        self, ends: Packet, factory: ClientFactory, failed: Callable[[Failure], None]
    ) -> Attempt:
        self.attempts.append(Attempt(ends, factory, failed))
        return self.attempts[-1]

    def call(self, source: str = ALICE, port: int = PORT) -> "Line | None":
        """Connect; None where the gate does not take it."""
        there = (BOB if ":" not in source else "fd20:2::2", 5060)
        address = (IPv6Address if ":" in source else IPv4Address)("TCP", source, port)
        leg = self.factory.buildProtocol(address)  # type: ignore[arg-type] # an interface of zope's
        if leg is None:
            return None
        assert isinstance(leg, Leg)
        return Line(self, leg, Wire(there, (source, port)))

    def reaches(self, source: str = ALICE, port: int = PORT) -> "Line":
        """Connect, where the gate takes it."""
        line = self.call(source, port)
        assert line is not None
        return line

    def connected(self) -> "Line":
        """Connect both ends."""
        line = self.call()
        assert line is not None
        line.server_takes_it()
        return line

    def wait(self, seconds: float) -> None:
        """Let time pass, and the gate look at its connections."""
        self.reactor.advance(seconds)
        self.gate._check()

    def reasons(self) -> list[str]:
        """Return why something was refused, in order."""
        return [seen.reason.value for seen in self.observations if seen.noteworthy]


class Line:
    """One connection through the gate."""

    def __init__(self, paper: Paper, leg: Leg, wire: Wire) -> None:
        self.paper = paper
        self.client = wire
        self.client_leg = wire.leg = leg
        self.server = Wire((ALICE, 0), (BOB, 0))  # until it is connected
        self._server_leg: Leg | None = None
        leg.makeConnection(wire)  # type: ignore[no-untyped-call]

    def server_takes_it(self) -> None:
        """The onward connection stands."""
        attempt = self.paper.attempts[-1]
        leg = attempt.factory.buildProtocol(None)
        assert isinstance(leg, Leg)
        ends = attempt.ends
        self.server = Wire((ALICE, ends.sport), (BOB, ends.dport))
        self._server_leg = self.server.leg = leg
        leg.makeConnection(self.server)  # type: ignore[no-untyped-call]
        self._turns()

    def server_refuses(self) -> None:
        """The onward connection cannot be made."""
        self.paper.attempts[-1].failed(Failure(ConnectError()))

    def wait_for_turns(self) -> None:
        """Let the reactor do what it was asked to do soon."""
        self._turns()

    def client_sends(self, octets: bytes) -> None:
        self._say(self.client_leg, octets)

    def server_sends(self, octets: bytes) -> None:
        assert self._server_leg is not None
        self._say(self._server_leg, octets)

    def client_ends(self) -> None:
        """The client has nothing more to say."""
        self.client_leg.readConnectionLost()
        self._turns()

    def server_ends(self) -> None:
        assert self._server_leg is not None
        self._server_leg.readConnectionLost()
        self._turns()

    def client_got(self) -> bytes:
        return self.client.got()

    def server_got(self) -> bytes:
        return self.server.got()

    def is_over(self) -> bool:
        return self.client.is_over and (self._server_leg is None or self.server.is_over)

    def _say(self, leg: Leg, octets: bytes) -> None:
        leg.dataReceived(octets)
        self._turns()

    def _turns(self) -> None:
        for _ in range(50):
            self.paper.reactor.advance(0)

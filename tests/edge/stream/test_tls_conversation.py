"""A client, the gateway and a server over TLS, in memory: what passes between, and what ends it."""

import ssl
from contextlib import suppress

from authority import DAY_S, NOW_S
from stream_paper import ALICE, BOB, PORT, Attempt, Reactor, answer, request
from tls_ends import BASE, Folder, Peer, tls_certificate
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from sipguard.edge.plan import Diversion, Plan, StreamTransports
from sipguard.edge.stream.admission import Accepting, Admission
from sipguard.edge.stream.gate import StreamGate
from sipguard.edge.stream.tls import TlsLine
from sipguard.edge.turnstile import Turnstile
from sipguard.guard import Guard
from sipguard.journal.observation import Observation
from sipguard.policy.load import load_policy
from sipguard.reason import Reason
from sipguard.wire.packet import Packet

RULES = (
    "chain request\n  named accept if tls.client.valid and tls.peer in {branch.example.com}\n"
    "  others accept if transport == tls and tls.version == 1.2\n"
    "chain response\n  pbx accept if tls.peer in {pbx.example.com} and tls.client.valid\n"
    "  out drop\n"
)
PBX = tls_certificate("pbx", dns=("pbx.example.com",))
BRANCH = tls_certificate("branch", uris=("sip:branch.example.com",))


class Gate:
    """A gate with TLS, and what it tells."""

    def __init__(self, lines: str = BASE) -> None:
        policy = load_policy("p", lambda _: lines + RULES, Folder())
        self.told: list[Observation] = []
        self.attempts: list[Attempt] = []
        turnstile = Turnstile(lambda _: None, lambda _: None)
        turnstile.guard = Guard(policy, b"secret", record=self.told.append)
        self.reactor = Reactor()
        self.gate = StreamGate(turnstile, self.reactor, {}, self._dial)
        self.gate.use(policy)
        diversion = Diversion("tls", (5061,), 1)
        self.plan = Plan(stream_transports=StreamTransports.JUDGE, diversions=(diversion,))
        self.gate._plan = self.plan
        self.binding = self.gate._bindings["tls"]

    def _dial(self, ends: Packet, factory: ClientFactory, failed: object) -> Attempt:
        self.attempts.append(Attempt(ends, factory, failed))  # type: ignore[arg-type]
        return self.attempts[-1]

    def reasons(self) -> list[str]:
        """Return why connections and messages were refused."""
        return [seen.reason.value for seen in self.told if seen.noteworthy]


class End:
    """One of our lines and the peer at its other end."""

    def __init__(self, line: Protocol, wire: StringTransport, peer: Peer) -> None:
        self.line, self.wire, self.peer = line, wire, peer
        self.is_lost = False
        line.makeConnection(wire)

    def pump(self) -> bool:
        """Carry octets; return whether there were any."""
        ours = self.wire.value()
        self.wire.clear()
        theirs = self.peer.turn(ours)
        if theirs and not self.is_lost:
            self.line.dataReceived(theirs)
        if (self.wire.disconnecting or self.wire.disconnected) and not self.is_lost:
            self.is_lost = True
            self.peer.turn(self.wire.value())
            self.line.connectionLost(Failure(ConnectionDone()))
        return bool(ours or theirs)


class Talk:
    """Both ends of one connection through a gate."""

    def __init__(self, gate: Gate, client: Peer, server: Peer) -> None:
        self.gate, self._server = gate, server
        inner = gate.binding.listening(Accepting(gate.gate._begin, gate.binding))
        address = IPv4Address("TCP", ALICE, PORT)
        line = Admission(gate.gate._admit, inner).buildProtocol(address)  # type: ignore[arg-type]
        assert line is not None
        self.client = End(line, _wire(), client)
        self.server: End | None = None
        self._before = len(gate.attempts)
        self.go()

    def go(self) -> None:
        """Carry octets until all is silent."""
        for _ in range(30):
            if self.server is None and len(self.gate.attempts) > self._before:
                made = self.gate.attempts[-1].factory.buildProtocol(None)
                self.server = End(made, _wire(), self._server)  # type: ignore[arg-type]
            ends = [self.client] if self.server is None else [self.client, self.server]
            moved = [end.pump() for end in ends]
            self.gate.reactor.advance(0)
            if not any(moved) and not any(end.wire.value() for end in ends):
                return

    def client_says(self, octets: bytes) -> None:
        """Send from the client."""
        with suppress(ssl.SSLError):
            self.client.peer.tls.write(octets)
        self.go()

    def server_says(self, octets: bytes) -> None:
        """Send from the server."""
        assert self.server is not None
        self.server.peer.tls.write(octets)
        self.go()


def _wire() -> StringTransport:
    return StringTransport(
        hostAddress=IPv4Address("TCP", BOB, 5061), peerAddress=IPv4Address("TCP", ALICE, PORT)
    )


def _client(certificate: object = None, **more: object) -> Peer:
    return Peer(certificate, name="pbx.example.com", **more)  # type: ignore[arg-type]


def test_messages_pass_between_two_handshakes() -> None:
    """Whom each side proved to be decides, both ways."""
    gate = Gate()
    talk = Talk(gate, _client(BRANCH), Peer(PBX, serves=True))
    said = request()
    talk.client_says(said)
    assert talk.server is not None
    assert talk.server.peer.received == said
    talk.server_says(answer(said))
    assert talk.client.peer.received == answer(said)
    assert gate.gate._tls.done == 2
    assert gate.gate._tls.handshakes == 0


def test_nobody_in_particular_is_refused_by_the_rules() -> None:
    """TLS 1.3 without a certificate: the policy wants one, or 1.2."""
    gate = Gate()
    talk = Talk(gate, _client(), Peer(PBX, serves=True))
    talk.client_says(request())
    assert talk.server is not None
    assert talk.server.peer.received == b""
    old = Talk(Gate(), _client(version=ssl.TLSVersion.TLSv1_2), Peer(PBX, serves=True))
    old.client_says(request())
    assert old.server is not None
    assert old.server.peer.received == request()


def test_the_onward_connection_waits_for_the_client() -> None:
    """Half a handshake makes no connection to the server."""
    gate = Gate()
    talk = Talk(gate, _client(version=ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0"), Peer())
    assert gate.attempts == []
    assert talk.client.is_lost
    assert gate.reasons() == ["tls-old-version"]
    assert len(gate.gate._conversations) == 0


def test_a_server_with_another_name_ends_both() -> None:
    """The client hears 503, the server nothing, and the record names the cause."""
    gate = Gate()
    other = tls_certificate("elsewhere", dns=("elsewhere.example.com",))
    talk = Talk(gate, _client(BRANCH), Peer(other, serves=True))
    talk.client_says(request())
    assert talk.server is not None
    assert talk.server.peer.received == b""
    assert talk.client.peer.received.startswith(b"SIP/2.0 503 Service Unavailable")
    assert gate.reasons() == ["tls-wrong-name"]
    assert gate.told[-1].sport == PORT
    assert gate.gate._tls.handshakes == 0


def test_who_only_looks_whether_somebody_listens_is_no_news() -> None:
    """A monitor connects and hangs up every minute."""
    gate = Gate()
    inner = gate.binding.listening(Accepting(gate.gate._begin, gate.binding))
    line: object = inner.buildProtocol(None)  # type: ignore[misc,call-arg]
    assert isinstance(line, TlsLine)
    line.makeConnection(_wire())  # type: ignore[arg-type]
    line.connectionLost(Failure(ConnectionDone()))
    assert gate.reasons() == []
    assert gate.gate._tls.failed[Reason.TLS_HUNG_UP] == 1


def test_a_resumed_session_that_is_not_good_any_more_ends() -> None:
    """The certificate expired since; a required one must be valid each time."""
    now_s = [NOW_S]
    gate = Gate(BASE + "tls-clients required\n")
    gate.gate._tls._utc_s = lambda: now_s[0]
    policy = load_policy("p", lambda _: BASE + "tls-clients required\n" + RULES, Folder())
    gate.gate.use(policy)
    brief = tls_certificate("brief", uris=("sip:branch.example.com",), until_s=NOW_S + 60)
    first = _client(brief)
    Talk(gate, first, Peer(PBX, serves=True))
    assert len(gate.attempts) == 1
    now_s[0] += DAY_S / 48
    again = Peer(context=first.context, session=first.tls.session, name="pbx.example.com")
    talk = Talk(gate, again, Peer(PBX, serves=True))
    assert again.tls.session_reused
    assert len(gate.attempts) == 1
    assert talk.client.is_lost
    assert gate.reasons() == ["certificate-expired"]

"""Calls over connections: the same guard, with other ports and without UDP's doubts."""

import pytest
from calls_builder import CALL, MALLORY, POLICY, Dialogue, World, request
from calls_builder import response as response_to
from phones import ALICE, BOB, CALL_HOLES, CAROL, octets

from sipguard.errors import HostileInput
from sipguard.guard.requests import MAX_COPIES
from sipguard.reason import Finding, Reason
from sipguard.streams.live import LiveStream
from sipguard.verdict import Action, Decision, Endpoint
from sipguard.wire.channel import Channel
from sipguard.wire.packet import Packet
from sipguard.wire.sip import parse_message

SERVER_PORT = 5060
ENDS = {ALICE: 41000, BOB: SERVER_PORT, MALLORY: 42000, CAROL: 43000}
STREAMS = ("tcp", "tls", "ws", "wss")


def over(raw: bytes, transport: str) -> bytes:
    """Return a message as its sender writes it for that transport."""
    return raw.replace(b"SIP/2.0/UDP", b"SIP/2.0/" + transport.upper().encode())


class Wires:
    """A guard between hosts that talk over connections."""

    def __init__(self, transport: str = "tcp", policy: str = POLICY) -> None:
        self.world = World(policy)
        self.transport = transport

    def send(
        self, raw: bytes, source: str = ALICE, target: str = BOB, *, sport: int = 0, dport: int = 0
    ) -> Decision:
        """Judge one message; ports are those of the first connection, unless they are given."""
        message = over(raw, self.transport)
        ports = sport or ENDS[source], dport or ENDS[target]
        packet = Packet(octets(source), octets(target), *ports, message, self.transport, "lan0")
        decision = self.world.guard.judge(packet, self.world.now)
        self.world.apply(decision.effects)
        return decision

    def passes(
        self, raw: bytes, source: str = ALICE, target: str = BOB, *, sport: int = 0, dport: int = 0
    ) -> bool:
        """Whether a message is let through."""
        return self.send(raw, source, target, sport=sport, dport=dport).action is Action.ACCEPT

    def talk(self, call: Dialogue = CALL) -> None:
        """Play INVITE, 180, 200 and ACK over the caller's connection."""
        caller, callee = call.caller, call.callee
        assert self.passes(call.invite(), caller, callee)
        assert self.passes(call.answer(180, body=b""), callee, caller)
        assert self.passes(call.answer(200), callee, caller)
        assert self.passes(call.ack(), caller, callee)


@pytest.mark.parametrize("transport", STREAMS)
def test_a_call_over_one_connection_has_its_media(transport: str) -> None:
    """INVITE to BYE by the caller; the pinholes open and close as over UDP."""
    wires = Wires(transport)
    wires.talk()
    assert wires.world.open == CALL_HOLES
    bye = CALL.inside("BYE")
    assert wires.passes(bye)
    assert wires.passes(response_to(bye, 200), BOB, ALICE)
    assert not wires.world.open


@pytest.mark.parametrize("ports", [{}, {"sport": 50123, "dport": 5060}])
def test_the_callee_hangs_up(ports: dict[str, int]) -> None:
    """Over the caller's connection (RFC 5923), or over one that it makes to the Contact."""
    wires = Wires()
    wires.talk()
    bye = CALL.inside("BYE", by_callee=True)
    assert wires.passes(bye, BOB, ALICE, **ports)
    back = {"sport": ports["dport"], "dport": ports["sport"]} if ports else {}
    assert wires.passes(response_to(bye, 200), ALICE, BOB, **back)
    assert not wires.world.open


def test_a_call_goes_on_over_another_connection() -> None:
    """A connection may break at any time; the next one has another port (RFC 3261 18.1.1)."""
    wires = Wires()
    wires.talk()
    offer = CALL.inside("UPDATE", cseq=2)
    assert wires.passes(offer, sport=41999)
    assert wires.passes(response_to(offer, 200, contact=BOB), BOB, ALICE, dport=41999)
    bye = CALL.inside("BYE", cseq=3)
    assert wires.passes(bye, sport=42001)
    assert wires.passes(response_to(bye, 200), BOB, ALICE, dport=42001)
    assert not wires.world.open


def test_in_dialog_requests_of_other_hosts_stay_forgeries() -> None:
    """A connection proves an address, and Mallory's is on no end of the call (DLG-6)."""
    wires = Wires()
    wires.talk()
    decision = wires.send(CALL.inside("BYE"), MALLORY, BOB)
    assert decision.judgement.reason is Reason.FORGED_IN_DIALOG
    assert wires.world.open == CALL_HOLES


@pytest.mark.parametrize("sport", [0, 41777])
def test_a_cancel_of_the_same_host_passes(sport: int) -> None:
    """TXN-10: over the INVITE's connection, or over the next where that one broke."""
    wires = Wires()
    assert wires.passes(CALL.invite())
    assert wires.passes(CALL.answer(180, body=b""), BOB, ALICE)
    assert wires.passes(CALL.cancel(), sport=sport)
    assert wires.passes(response_to(CALL.cancel(), 200), BOB, ALICE, dport=sport)
    assert wires.passes(CALL.answer(487), BOB, ALICE)
    assert wires.passes(CALL.ack_to_failure(), ALICE, BOB)


def test_a_cancel_of_another_host_is_forged() -> None:
    """TXN-10, over a connection as over UDP."""
    wires = Wires()
    assert wires.passes(CALL.invite())
    assert wires.send(CALL.cancel(), MALLORY, BOB).judgement.reason is Reason.FORGED_CANCEL


@pytest.mark.parametrize(("first", "then"), [("tcp", "udp"), ("udp", "tcp")])
def test_a_cancel_comes_by_the_transport_of_its_invite(first: str, then: str) -> None:
    """UDP proves no address: a datagram cancels nothing that a connection began."""
    wires = Wires(first)
    assert wires.passes(CALL.invite())
    wires.transport = then
    assert wires.send(CALL.cancel()).judgement.reason is Reason.FORGED_CANCEL


def test_a_phone_behind_its_registration_is_called_over_its_connection() -> None:
    """RFC 5626: the registrar sends INVITE over the connection that registered."""
    wires = Wires()
    register = request(
        "REGISTER",
        branch="r1",
        call_id="reg-1",
        uri="sip:example.com",
        to="sip:alice@example.com",
        headers="Expires: 600\nSupported: outbound",
    )
    assert wires.passes(register)
    accepted = response_to(register, 200, headers="Expires: 600", contact=ALICE)
    assert wires.passes(accepted, BOB, ALICE)
    call = Dialogue("call-2", BOB, ALICE)
    invite = call.invite()
    assert wires.passes(invite, BOB, ALICE)
    assert wires.passes(call.answer(180, body=b""), ALICE, BOB)
    assert wires.passes(call.answer(200), ALICE, BOB)
    assert wires.passes(call.ack(), BOB, ALICE)
    assert wires.world.open
    bye = call.inside("BYE", by_callee=True)
    assert wires.passes(bye, ALICE, BOB)
    assert wires.passes(response_to(bye, 200), BOB, ALICE)
    assert not wires.world.open


def test_a_registration_is_renewed_over_another_connection() -> None:
    """The host counts, not its port: the phone was restarted."""
    wires = Wires()
    for number, sport in ((1, 0), (2, 41888)):
        register = request(
            "REGISTER", branch=f"r{number}", call_id="reg-1", cseq=number, uri="sip:example.com",
            to="sip:alice@example.com", headers="Expires: 600",
        )  # fmt: skip
        assert wires.passes(register, sport=sport)
        assert wires.passes(response_to(register, 200, contact=ALICE), BOB, ALICE, dport=sport)
    stolen = request(
        "REGISTER", branch="r3", call_id="reg-2", sender=MALLORY, uri="sip:example.com",
        to="sip:alice@example.com", headers="Expires: 600",
    )  # fmt: skip
    assert wires.send(stolen, MALLORY, BOB).judgement.rule == "hijack"


def test_the_answer_is_retransmitted_over_connections_too() -> None:
    """RFC 3261 section 13.3.1.4: a 2xx to INVITE is repeated until its ACK comes."""
    wires = Wires()
    assert wires.passes(CALL.invite())
    for _ in range(4):
        assert wires.passes(CALL.answer(200), BOB, ALICE)
    assert wires.passes(CALL.ack())
    assert wires.passes(CALL.ack()), "each copy of the answer has its ACK"


def test_a_request_twice_is_a_copy_and_a_request_again_a_replay() -> None:
    """TXN-12: no timer of a client repeats over TCP, but the same octets harm no server."""
    wires = Wires()
    assert wires.passes(CALL.invite())
    copies = [wires.send(CALL.invite()).judgement.reason for _ in range(MAX_COPIES + 1)]
    assert copies == [Reason.RETRANSMISSION] * MAX_COPIES + [Reason.RATE_EXCEEDED]
    assert wires.passes(CALL.answer(200), BOB, ALICE)
    for source in (ALICE, MALLORY):
        decision = wires.send(CALL.invite(branch="new"), source, BOB)
        assert decision.judgement.rule == "replayed"


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_message_without_content_length_is_refused(transport: str) -> None:
    """SIP-17, should a framing ever let one through."""
    wires = Wires(transport)
    raw = request("OPTIONS", branch="o").replace(b"Content-Length: 0\r\n", b"")
    decision = wires.send(raw)
    assert decision.action is not Action.ACCEPT
    assert decision.judgement.reason is Reason.NO_CONTENT_LENGTH


@pytest.mark.parametrize("transport", STREAMS)
def test_a_refusal_goes_back_over_the_connection_and_its_ack_ends_here(transport: str) -> None:
    """RSP-5, RSP-8: the same reply for the same request; nothing of it reaches the server."""
    wires = Wires(transport, POLICY.replace("hosts      accept", "hosts      reject 403"))
    first, second = wires.send(CALL.invite()), wires.send(CALL.invite())
    assert first.action is Action.REJECT
    (reply, again) = wires.world.replies
    assert reply == again
    assert second.action is Action.REJECT
    assert reply.source == Endpoint(octets(BOB), SERVER_PORT)
    assert reply.destination == Endpoint(octets(ALICE), ENDS[ALICE])
    assert LiveStream().receive(reply.octets) == [reply.octets]
    read = parse_message(reply.octets, transport)
    assert read.ids is not None
    ack = CALL.ack_to_failure(to_tag=read.ids.to_tag.decode())
    absorbed = wires.send(ack)
    assert (absorbed.action, absorbed.judgement.reason) == (Action.DROP, Reason.ABSORBED_ACK)


def test_keepalives_of_a_connection_pass_at_their_rate() -> None:
    """SIP-3: ping and pong, and no flood of them."""
    wires = Wires()
    ping = Packet(octets(ALICE), octets(BOB), 41000, 5060, b"\r\n\r\n", "tcp", "lan0")
    decision = wires.world.guard.judge(ping, wires.world.now)
    assert (decision.action, decision.judgement.reason) == (Action.ACCEPT, Reason.KEEP_ALIVE)
    reasons = {wires.world.guard.judge(ping, wires.world.now).judgement.reason for _ in range(2000)}
    assert Reason.RATE_EXCEEDED in reasons


def test_the_pongs_of_one_server_to_all_its_clients_are_no_flood() -> None:
    """RFC 5626 section 4.4.1: a client without its pong gives up the flow."""
    wires = Wires()
    for number in range(1, 100):
        channel = Channel(connection=number)
        pong = Packet(octets(BOB), octets(ALICE), 5060, 41000, b"\r\n", "tcp", "lan1", channel)
        assert wires.world.guard.judge(pong, wires.world.now).action is Action.ACCEPT


@pytest.mark.parametrize(
    ("mode", "action"), [("mode enforce\n", Action.DROP), ("mode shadow\n", Action.ACCEPT)]
)
def test_what_cannot_be_framed_is_recorded(mode: str, action: Action) -> None:
    """With its first octets; in shadow mode the edge may pass the rest on as it comes."""
    world = World(mode + POLICY)
    with pytest.raises(HostileInput) as lost:
        LiveStream().receive(b"GET / HTTP/1.1\r\n\r\n")
    finding = lost.value.finding()
    assert finding == Finding(Reason.STREAM_NOT_SIP, finding.detail, b"GET / HTTP/1.1\r")
    way = Packet(octets(ALICE), octets(BOB), 41000, 5060, b"GET / HTTP/1.1\r\n", "tcp", "lan0")
    decision = world.guard.refuse_stream(way, finding, world.now)
    assert decision.action is action
    assert decision.judgement.action is Action.DROP
    (record,) = world.records
    assert (record.reason, record.rule) == (Reason.STREAM_NOT_SIP, "stream")
    assert (record.transport, record.sport) == ("tcp", 41000)

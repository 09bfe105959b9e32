"""What passes a connection, and what ends it: message by message."""

import gc
from collections.abc import Iterator
from itertools import pairwise
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_paper import ALICE, BOB, POLICY, PORT, Paper, answer, request

from sipguard.edge.plan import Plan
from sipguard.edge.stream.binding import FIRST_S
from sipguard.edge.stream.conversation import HALF_S, LAST_WORD_S, STALLED_S, WHOLE_S
from sipguard.reason import Reason
from sipguard.verdict import OpenPinhole

OPTIONS = request()
REFUSED = request("OPTIONS", 2, "User-Agent: no")
SECOND = request("OPTIONS", 3)
POST = b"POST /x HTTP/1.1\r\nHost: 10.20.2.2:5060\r\nContent-Length: 900\r\n\r\n"


def test_a_request_and_its_answer() -> None:
    """What the policy accepts goes on octet by octet, both ways."""
    line = Paper().connected()
    line.client_sends(OPTIONS)
    assert line.server_got() == OPTIONS
    line.server_sends(answer(OPTIONS))
    assert line.client_got() == answer(OPTIONS)
    assert not line.is_over()


def test_the_guard_sees_the_ends_of_the_connection() -> None:
    """The client's address and port, the server it asked for, the transport; and it is tcp."""
    paper = Paper()
    paper.connected().client_sends(REFUSED)
    seen = paper.observations[-1]
    assert (seen.transport, seen.sport, seen.dport) == ("tcp", PORT, 5060)
    assert (seen.src, seen.dst) == (bytes([10, 20, 1, 2]), bytes([10, 20, 2, 2]))


def test_nothing_passes_before_its_message_is_whole() -> None:
    """No octet reaches the server before the last one is judged."""
    line = Paper().connected()
    line.client_sends(OPTIONS[:-1])
    assert line.server_got() == b""
    line.client_sends(OPTIONS[-1:])
    assert line.server_got() == OPTIONS


def test_a_refused_request_and_an_innocent_one_on_one_connection() -> None:
    """The refusal goes back to who asked; what else is on the connection goes on."""
    line = Paper().connected()
    line.client_sends(REFUSED + SECOND)
    assert line.server_got() == SECOND
    assert not line.is_over()


def test_the_client_is_not_read_before_the_server_is_there() -> None:
    """What comes by then waits; the rest waits at the client."""
    line = Paper().reaches()
    assert not line.client.is_read()
    line.client_sends(OPTIONS)
    line.server_takes_it()
    assert line.client.is_read()
    assert line.server_got() == OPTIONS


def test_the_server_is_asked_in_the_clients_name() -> None:
    """The onward connection has the addresses and ports of the client's."""
    paper = Paper()
    assert paper.call() is not None
    ends = paper.attempts[0].ends
    assert (ends.sport, ends.dport) == (PORT, 5060)
    assert (ends.src, ends.dst) == (bytes([10, 20, 1, 2]), bytes([10, 20, 2, 2]))


def test_a_server_that_is_gone() -> None:
    """The request is answered in its place, a record says why, and the connection ends."""
    paper = Paper()
    line = paper.reaches()
    line.client_sends(OPTIONS)
    line.server_refuses()
    line.wait_for_turns()
    assert line.client_got().startswith(b"SIP/2.0 503 Service Unavailable\r\n")
    assert paper.reasons() == [Reason.UNREACHABLE.value]
    line.client_sends(SECOND)
    assert line.client_got().startswith(b"SIP/2.0 503 ")
    assert not line.is_over()
    paper.wait(LAST_WORD_S + 2)
    assert line.is_over()
    assert not line.client.reset
    assert paper.gate._limits.open == 0


def test_what_the_policy_refuses_hears_so_where_the_server_is_gone() -> None:
    """It is judged as ever."""
    line = Paper().reaches()
    line.server_refuses()
    line.client_sends(REFUSED)
    assert line.client_got().startswith(b"SIP/2.0 488 ")


def test_a_client_that_leaves_a_server_that_is_gone() -> None:
    """Nothing of it stays."""
    paper = Paper()
    line = paper.reaches()
    line.server_refuses()
    line.client_ends()
    assert line.is_over()
    assert paper.gate._limits.open == 0


@pytest.mark.parametrize("octets", [POST + OPTIONS, b"\x16\x03\x01\x02\x00\x01", OPTIONS[8:]])
def test_lost_framing_ends_both_sides(octets: bytes) -> None:
    """SIP inside of something else has no effect (a browser's POST: slipstream)."""
    paper = Paper()
    line = paper.connected()
    line.client_sends(octets)
    assert line.is_over()
    assert line.server_got() == b""
    assert len(paper.reasons()) == 1


def test_what_was_whole_before_the_framing_was_lost() -> None:
    """Goes on, and so does its refusal; what follows does not."""
    line = Paper().connected()
    line.client_sends(OPTIONS + REFUSED + POST)
    assert line.server_got() == OPTIONS
    assert line.client_got().startswith(b"SIP/2.0 488 ")
    assert line.is_over()
    assert not line.client.reset, "a reset would take both away again"
    assert not line.server.reset


def test_shadow_mode_lets_pass_what_cannot_be_framed() -> None:
    """Nothing is dropped: the octets go on as they came, from then on unjudged."""
    paper = Paper(shadow=True)
    line = paper.connected()
    line.client_sends(OPTIONS + POST)
    line.client_sends(b"more")
    line.server_sends(b"HTTP/1.1 200 OK\r\n\r\n")
    assert line.server_got() == OPTIONS + POST + b"more"
    assert line.client_got() == b"HTTP/1.1 200 OK\r\n\r\n"
    assert len(paper.reasons()) == 1
    assert not line.is_over()


def test_shadow_mode_lets_pass_what_is_refused() -> None:
    """And answers nothing of its own."""
    line = Paper(shadow=True).connected()
    line.client_sends(REFUSED)
    assert line.server_got() == REFUSED
    assert line.client_got() == b""


def test_pinholes_open_before_the_answer_goes_on() -> None:
    """Media cannot outrun its hole."""
    paper = Paper()
    line = paper.connected()
    sdp = (
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/SAVP 0\r\n"
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{2}\r\n"
    )
    offer = sdp.format(ALICE, 30000, "YWxpY2VzX2tleV9hbmRfc2FsdF8zMF9vY3RldHMh")
    invite = request("INVITE", 1, "Content-Type: application/sdp", body=offer)
    line.client_sends(invite)
    assert not paper.effects
    body = sdp.format(BOB, 40000, "Ym9ic19vd25fa2V5X2FuZF9zYWx0XzMwX29jdGV0")
    ok = answer(invite, 200, f"Contact: <sip:bob@{BOB}>", "Content-Type: application/sdp")
    line.server_sends(ok.replace(b"Content-Length: 0", b"Content-Length: %d" % len(body)))
    line.server_sends(body.encode())
    assert any(isinstance(effect, OpenPinhole) for effect in paper.effects)
    assert line.client_got().endswith(body.encode())


# --- pressure


def test_a_slow_server_stops_the_client() -> None:
    """And the server's own words, for our answers go there, too."""
    line = Paper().connected()
    line.server.is_full()
    assert not line.client.is_read()
    line.server.has_room()
    assert line.client.is_read()


def test_a_client_that_takes_no_answers_is_not_read() -> None:
    """Refusals must not pile up here."""
    line = Paper().connected()
    line.client.is_full()
    assert not line.client.is_read()
    assert not line.server.is_read()


def test_nothing_is_judged_for_who_is_full() -> None:
    """What had come is kept; it goes on when there is room."""
    line = Paper().connected()
    line.server.is_full()
    line.client_sends(OPTIONS)
    assert line.server_got() == b""
    line.server.has_room()
    assert line.server_got() == OPTIONS


def test_many_messages_at_once_do_not_hold_up_others() -> None:
    """A few in each turn; the sender waits."""
    paper = Paper()
    line = paper.connected()
    many = [request("OPTIONS", number) for number in range(1, 41)]
    line.client_leg.dataReceived(b"".join(many))
    assert not line.client.is_read()
    assert line.server_got() == b"".join(many[:16])
    paper.reactor.advance(0)
    assert line.server_got() == b"".join(many[16:])
    assert line.client.is_read()


def test_messages_of_one_turn_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of the kernel for each would cost more than some of the judging; refusals, too."""
    line = Paper(
        "default drop\nchain request\n  no reject 403 if method == MESSAGE\n  all accept\n"
    ).connected()
    written: list[bytes] = []
    monkeypatch.setattr(line.server, "write", written.append)
    monkeypatch.setattr(line.client, "write", written.append)
    many = [request("OPTIONS", number) for number in range(1, 4)]
    line.client_sends(b"".join([*many, request("MESSAGE", 4), request("MESSAGE", 5)]))
    refusals, passed = sorted(written, key=lambda octets: octets[:1], reverse=True)
    assert passed == b"".join(many)
    assert refusals.count(b"SIP/2.0 403") == 2


# --- ends


def test_half_closed_by_the_client() -> None:
    """The server hears of it after the last message, and may still answer."""
    line = Paper().connected()
    line.client_sends(OPTIONS)
    line.client_ends()
    assert line.server_got() == OPTIONS
    assert line.server.half_closed
    line.server_sends(answer(OPTIONS))
    assert line.client_got() == answer(OPTIONS)
    line.server_ends()
    assert line.is_over()


def test_half_closed_for_too_long() -> None:
    """A half-closed connection does not stay for ever."""
    paper = Paper()
    line = paper.connected()
    line.client_sends(OPTIONS)
    line.client_ends()
    paper.wait(HALF_S + 1)
    assert line.is_over()


def test_a_reset_is_passed_on() -> None:
    """Who loses one end loses both; nothing of it stays."""
    paper = Paper()
    line = paper.connected()
    line.client.abortConnection()
    assert line.is_over()
    assert not paper.gate._conversations
    assert paper.gate._limits.open == 0


def test_a_client_that_leaves_before_the_server_is_there() -> None:
    """The attempt is given up."""
    paper = Paper()
    line = paper.reaches()
    line.client.abortConnection()
    assert paper.attempts[0].cancelled
    assert not paper.gate._conversations


# --- limits


def test_a_slow_message_ends_the_connection() -> None:
    """A message begun must be whole in time (slow loris)."""
    paper = Paper()
    line = paper.connected()
    line.client_sends(OPTIONS)
    line.client_sends(SECOND[:20])
    paper.wait(WHOLE_S - 1)
    line.client_sends(SECOND[20:30])
    assert not line.is_over()
    paper.wait(2)
    assert line.is_over()
    assert paper.reasons() == [Reason.SLOW_STREAM.value]


def test_our_own_pauses_make_nobody_slow() -> None:
    """While we do not read, nobody can finish a message."""
    paper = Paper()
    line = paper.connected()
    line.client_sends(OPTIONS + SECOND[:20])
    line.client_leg.pause("a test")
    paper.wait(WHOLE_S + 1)
    line.client_leg.resume("a test")
    line.client_sends(SECOND[20:])
    assert line.server_got() == OPTIONS + SECOND


def test_who_takes_nothing_is_let_go() -> None:
    """A peer that does not read holds memory here."""
    paper = Paper()
    line = paper.connected()
    line.client_sends(OPTIONS)
    line.client.is_full()
    paper.wait(STALLED_S + 1)
    assert line.is_over()


def test_a_connection_without_a_message() -> None:
    """Who connects and says nothing takes up room that others need."""
    paper = Paper()
    line = paper.connected()
    paper.wait(FIRST_S + 1)
    assert line.is_over()


def test_a_silent_connection_is_closed_in_the_end() -> None:
    """By stream-idle, and in order."""
    paper = Paper("stream-idle 5m\n" + POLICY)
    line = paper.connected()
    line.client_sends(OPTIONS)
    paper.wait(299)
    assert not line.is_over()
    paper.wait(2)
    assert line.is_over()
    assert not line.client.reset
    assert paper.gate.ends == {Reason.IDLE_STREAM.value: 1}


@pytest.mark.parametrize(
    "header", ["Expires: 600", "Flow-Timer: 600", "Contact: <sip:a>;expires=600"]
)
def test_a_registration_keeps_its_connection(header: str) -> None:
    """RFC 5626: requests come back over it."""
    paper = Paper("stream-idle 5m\n" + POLICY)
    line = paper.connected()
    register = request("REGISTER")
    line.client_sends(register)
    line.server_sends(answer(register, 200, header))
    paper.wait(599)
    assert not line.is_over()
    paper.wait(60)
    assert line.is_over()


def test_connections_of_one_source() -> None:
    """Beyond the limit none is taken; when one ends, there is room again."""
    paper = Paper("max-connections-per-source 2\n" + POLICY)
    first, second, third = paper.call(), paper.call(), paper.call()
    assert first is not None
    assert second is not None
    assert third is None
    assert paper.call("10.20.1.3") is not None
    first.client.abortConnection()
    assert paper.call() is not None
    assert paper.reasons() == [Reason.STREAM_LIMIT.value]


def test_a_network_of_ipv6_is_one_source() -> None:
    """A host has as many addresses as it likes."""
    paper = Paper("max-connections-per-source 1\n" + POLICY)
    assert paper.call("fd20:1::2") is not None
    assert paper.call("fd20:1::3") is None
    assert paper.call("fd20:1:0:1::3") is not None


def test_a_flood_of_connections_stays_bounded() -> None:
    """Ten thousand at once: so many are taken as may be, few records, and no more memory."""
    paper = Paper("max-connections 50\n" + POLICY)
    for number in range(10_000):
        paper.call(ALICE, 1024 + number)
    assert len(paper.gate._conversations) == 50
    assert len(paper.reasons()) <= 10


def test_who_reached_the_listener_by_himself_is_not_served() -> None:
    """Only what our rules divert has a destination."""
    paper = Paper()
    paper.gate._plan = Plan()
    line = paper.reaches()
    assert line.client.reset
    assert not paper.attempts


# --- any way of cutting

SAID = [
    OPTIONS,
    b"\r\n\r\n",
    REFUSED,
    SECOND,
    request("MESSAGE", 4, "Content-Type: text/plain", body="Hello"),
]


@given(st.lists(st.integers(0, len(b"".join(SAID))), max_size=12))
def test_segments_do_not_matter(cuts: list[int]) -> None:
    """However TCP cuts it, the same goes on."""
    line = Paper().connected()
    whole = b"".join(SAID)
    ends = sorted({0, *cuts, len(whole)})
    for start, end in pairwise(ends):
        line.client_sends(whole[start:end])
    got = line.server_got()
    for message in (OPTIONS, SECOND, SAID[4]):
        assert got.count(message) == 1
    assert b"User-Agent: no" not in got
    assert not line.is_over()


def test_nothing_is_left_of_a_connection(gc_off: None) -> None:
    """The collector of cycles seldom comes on a gateway; a flood must not wait for it."""
    paper = Paper()
    line = paper.connected()
    line.client_sends(OPTIONS)
    left = ref(line.client_leg.conversation)
    line.client.abortConnection()
    paper.attempts.clear()
    del line
    assert left() is None


@pytest.fixture
def gc_off() -> Iterator[None]:
    """No collector."""
    gc.disable()
    yield
    gc.enable()

"""Refusals of our own: what they say, to whom they go, and when there is none (RSP-*)."""

import pytest
from calls_builder import CALL, MONDAY_S, packet, read, request
from hypothesis import given
from hypothesis import strategies as st
from phones import ALICE, ALICE6, BOB, BOB6, PROXY
from subjects import octets

from sipguard.moment import Moment
from sipguard.refusal import EXTRAS, MAX_VIAS, PHRASES, ROTATION_S, Refuser
from sipguard.verdict import Endpoint, Reply
from sipguard.wire.sip import parse_message

NOON = Moment(0.0, MONDAY_S)
PADDING = "Subject: " + "x" * 300


def refuse(
    raw: bytes,
    status: int = 403,
    phrase: str = "",
    *,
    source: str = ALICE,
    destination: str = BOB,
    sport: int = 5060,
    transport: str = "udp",
    now: Moment = NOON,
    secret: bytes = b"secret",
    told: bytes = b"",
) -> Reply | None:
    message, ids = read(raw)
    way = packet(raw, source, destination, sport=sport, transport=transport)
    return Refuser(secret).refuse(message, ids, way, status, phrase, now, told)


def lines(reply: Reply | None) -> list[bytes]:
    assert reply is not None
    return reply.octets.split(b"\r\n")


def test_a_refusal_copies_what_it_must_and_nothing_else() -> None:
    """RSP-3: Via, From, Call-ID and CSeq as they came, To with a tag; no Contact, no body."""
    raw = request("INVITE", branch="x", headers=PADDING, via_params="")
    first, via, from_, to, call_id, cseq, length, *rest = lines(refuse(raw))
    assert first == b"SIP/2.0 403 Forbidden"
    assert via == b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-x"
    assert from_ == b"From: <sip:alice@example.com>;tag=a"
    assert to.startswith(b"To: <sip:bob@example.com>;tag=")
    assert (call_id, cseq) == (b"Call-ID: call-1", b"CSeq: 1 INVITE")
    assert (length, rest) == (b"Content-Length: 0", [b"", b""])


@pytest.mark.parametrize("status", sorted(PHRASES))
def test_every_refusal_reads_as_strict_sip(status: int) -> None:
    """Our own parser finds no fault in what we send, with its extra header or without."""
    reply = refuse(request("INVITE", branch="x", headers=PADDING), status)
    assert reply is not None
    message = parse_message(reply.octets)
    assert message.findings == []
    assert (message.status, message.body) == (status, b"")
    assert message.reason_phrase == PHRASES[status].encode()
    assert EXTRAS.get(status, b"") in reply.octets


def test_what_else_is_told_stays_out_where_it_makes_the_response_too_large() -> None:
    """RSP-6: the usual header goes last, and none of this is worth an amplification."""
    raw = request("INVITE", branch="x", headers=PADDING)
    whole = refuse(raw, 503, told=b"Reason: STIR ;cause=438\r\n")
    assert whole is not None
    assert b"\r\nRetry-After: 5\r\nReason: STIR ;cause=438\r\nContent-Length: 0" in whole.octets
    less = refuse(raw, 503, told=b"Reason: %b\r\n" % (b"x" * 400))
    assert less is not None
    assert b"Reason" not in less.octets
    assert b"Retry-After" in less.octets


def test_the_policys_phrase_is_used() -> None:
    """What the operator wrote, in ASCII."""
    raw = request("INVITE", branch="x", headers=PADDING)
    assert lines(refuse(raw, 488, "Encrypted media required"))[0].endswith(b" media required")
    assert lines(refuse(raw, 499))[0] == b"SIP/2.0 499 Refused"


def test_all_vias_are_copied_in_order() -> None:
    """RSP-3: or the response would not find its way back through the proxies."""
    below = [f"{PROXY};branch=z9hG4bK-p", f"{ALICE};branch=z9hG4bK-a"]
    raw = request("INVITE", branch="x", lower_vias=below, via_params="")
    vias = [line for line in lines(refuse(raw)) if line.startswith(b"Via:")]
    assert [via.partition(b"branch=")[2] for via in vias] == [
        b"z9hG4bK-x",
        b"z9hG4bK-p",
        b"z9hG4bK-a",
    ]


def test_an_in_dialog_request_keeps_its_to_tag() -> None:
    """RSP-3: a tag is only added where there is none."""
    assert b"To: <sip:bob@example.com>;tag=b" in lines(refuse(CALL.inside("INFO")))


# --- rport and received


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        (";rport", b";rport=40000;received=198.51.100.20"),
        (";RPORT", b";RPORT=40000;received=198.51.100.20"),
        ("; rport", b"; rport=40000;received=198.51.100.20"),
        (";rport=", b";rport=;received=198.51.100.20"),  # malformed; the policy may still reply
        (" ; rport ;x=1", b" ; rport=40000 ;x=1;received=198.51.100.20"),
        (";rport-x=1;rport", b";rport-x=1;rport=40000;received=198.51.100.20"),
        (';x="a;rport";rport', b';x="a;rport";rport=40000;received=198.51.100.20'),
        (";x=1", b";x=1;received=198.51.100.20"),
    ],
)
def test_the_top_via_says_where_the_packet_came_from(params: str, shown: bytes) -> None:
    """RFC 3581: rport is filled in where it was asked for, and received with it."""
    raw = request("INVITE", branch="x", via_params=params, headers=PADDING)
    via = lines(refuse(raw, source=BOB, destination=ALICE, sport=40000))[1]
    assert via == b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-x" + shown


def test_received_is_added_for_a_name() -> None:
    """RFC 3261 section 18.2.1."""
    raw = request("INVITE", branch="x", sender="phone.example.com", via_params="", headers=PADDING)
    assert lines(refuse(raw))[1].endswith(b";branch=z9hG4bK-x;received=192.0.2.10")


def test_rows_with_several_vias_change_the_first_alone() -> None:
    """A comma-separated row is one row still."""
    row = b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-x;rport"
    raw = request("INVITE", branch="x", headers=PADDING)
    raw = raw.replace(row, row + b", SIP/2.0/UDP 203.0.113.5;branch=z9hG4bK-p")
    via = lines(refuse(raw, sport=40000))[1]
    assert via == (
        b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-x;rport=40000;received=192.0.2.10"
        b", SIP/2.0/UDP 203.0.113.5;branch=z9hG4bK-p"
    )


def test_over_ipv6() -> None:
    """The sent-by has brackets and the packet's address has none; they are the same host."""
    raw = request("INVITE", branch="x", sender=ALICE6, via_params="", headers=PADDING)
    reply = refuse(raw, source=ALICE6, destination=BOB6)
    assert lines(reply)[1] == b"Via: SIP/2.0/UDP [2001:db8:1::10]:5060;branch=z9hG4bK-x"
    assert reply is not None
    assert reply.destination == Endpoint(octets(ALICE6), 5060)


# --- destination: RSP-5


@pytest.mark.parametrize(
    ("via", "port"),
    [
        (b"192.0.2.10:5060;branch=z9hG4bK-x;rport", 40000),
        (b"192.0.2.10:5060;branch=z9hG4bK-x", 5060),
        (b"192.0.2.10:5099;branch=z9hG4bK-x", 5099),
        (b"192.0.2.10;branch=z9hG4bK-x", 5060),
        (b"203.0.113.99:7000;branch=z9hG4bK-x", 7000),
        (b"192.0.2.10;branch=z9hG4bK-x;received=203.0.113.99", 5060),
    ],
)
def test_a_reply_only_ever_goes_to_the_packets_source(via: bytes, port: int) -> None:
    """RSP-5: whatever the headers say; else we would be somebody's reflector."""
    raw = request("INVITE", branch="x", headers=PADDING)
    raw = raw.replace(b"192.0.2.10:5060;branch=z9hG4bK-x;rport", via, 1)
    reply = refuse(raw, sport=40000)
    assert reply is not None
    assert reply.destination == Endpoint(octets(ALICE), port)
    assert reply.source == Endpoint(octets(BOB), 5060)


# --- over a connection


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
@pytest.mark.parametrize("params", ["", ";rport", ";maddr=192.0.2.99", ";received=192.0.2.99"])
def test_over_a_connection_the_reply_goes_back_on_it(transport: str, params: str) -> None:
    """RFC 3261 section 18.2.2: whatever the Via says, the port of its sent-by included."""
    raw = request("INVITE", branch="x", via_params=params)
    reply = refuse(raw, sport=41000, transport=transport)
    assert reply is not None
    assert reply.destination == Endpoint(octets(ALICE), 41000)
    assert reply.source == Endpoint(octets(BOB), 5060)
    assert reply.octets.endswith(b"\r\nContent-Length: 0\r\n\r\n")


def test_over_a_connection_received_and_rport_are_filled_in() -> None:
    """RFC 3261 section 18.2.1 and RFC 3581 hold for every transport."""
    raw = request("INVITE", branch="x", sender="phone.example.com")
    via = lines(refuse(raw, sport=41000, transport="tcp"))[1]
    assert via.endswith(b";branch=z9hG4bK-x;rport=41000;received=192.0.2.10")


def test_over_a_connection_a_reply_may_be_larger_than_its_request() -> None:
    """RSP-6 is about forged sources; a handshake has proven this one."""
    raw = request("OPTIONS", branch="x", contact=None)
    told = b"Reason: STIR ;cause=438\r\n"
    reply = refuse(raw, 488, transport="tcp", told=told)
    assert reply is not None
    assert len(reply.octets) > len(raw)
    assert EXTRAS[488] + told in reply.octets


def test_over_a_connection_there_are_limits_still() -> None:
    """RSP-1, RSP-6: no answer to ACK and CANCEL, nor to a message with many Vias."""
    many = [f"h{n};branch=z9hG4bK{n}" for n in range(MAX_VIAS)]
    assert refuse(request("INVITE", branch="x", lower_vias=many), transport="tcp") is None
    assert refuse(CALL.cancel(), transport="tcp") is None
    assert refuse(CALL.ack(), transport="tcp") is None


# --- no reply at all


def test_ack_and_cancel_are_never_answered() -> None:
    """RSP-1: a stateless UAS ignores them."""
    assert refuse(CALL.cancel()) is None
    assert refuse(CALL.ack()) is None


def test_a_response_is_never_answered() -> None:
    """RSP-1: two gateways would answer each other for ever."""
    assert refuse(CALL.answer(200)) is None


def test_no_reply_for_maddr_multicast_or_many_vias() -> None:
    """RSP-5, RSP-6: reflection, and work for whoever asks."""
    assert refuse(request("INVITE", branch="x", via_params=";maddr=192.0.2.99")) is None
    assert refuse(CALL.invite(), destination="224.0.1.75") is None
    assert refuse(CALL.invite(), destination="ff02::1") is None
    assert refuse(CALL.invite(), destination="255.255.255.255") is None
    many = [f"h{n};branch=z9hG4bK{n}" for n in range(MAX_VIAS)]
    assert refuse(request("INVITE", branch="x", lower_vias=many)) is None
    assert refuse(request("INVITE", branch="x", lower_vias=many[1:])) is not None


def test_an_extra_header_is_left_out_before_the_reply_is() -> None:
    """RSP-6: never larger than the request; the optional goes first."""
    for size in range(400):
        raw = request("OPTIONS", branch="x", headers="Subject: " + "x" * size, contact=None)
        reply = refuse(raw, 488)
        assert reply is None or len(reply.octets) <= len(raw)
    short = refuse(request("OPTIONS", branch="x", headers="Subject: xx"), 488)
    assert short is not None
    assert b"Warning" not in short.octets


hosts = st.sampled_from(["192.0.2.10", "198.51.100.20", "phone.example.com", "h"])


@given(
    st.binary(max_size=3),
    st.integers(0, 120),
    st.integers(300, 699),
    st.sampled_from(["", ";rport", ";rport=", ";received=1.2.3.4;rport"]),
    hosts,
    st.integers(1, 65535),
)
def test_never_larger_than_the_request_and_always_to_its_source(
    secret: bytes, size: int, status: int, params: str, sender: str, sport: int
) -> None:
    """RSP-5 and RSP-6 together, for whoever forges a source address."""
    raw = request(
        "OPTIONS", branch="x", sender=sender, via_params=params, contact=None, to="sip:b",
        from_="sip:a", headers="Subject: " + "x" * size,
    )  # fmt: skip
    reply = refuse(raw, status, sport=sport, secret=secret + b"!")
    if reply is None:
        return
    assert len(reply.octets) <= len(raw)
    assert reply.destination.address == octets(ALICE)
    assert reply.destination.port in (sport, 5060)
    assert parse_message(reply.octets).ids is not None


# --- To tags: RSP-2, RSP-4, RSP-8


def test_the_same_request_gets_the_same_reply() -> None:
    """RSP-2: nothing is remembered, and still a retransmission is answered alike."""
    assert refuse(CALL.invite()) == refuse(CALL.invite())


@pytest.mark.parametrize(
    "change",
    [
        (b"call-1", b"call-2"),
        (b";tag=a", b";tag=z"),
        (b"CSeq: 1", b"CSeq: 2"),
        (b"branch=z9hG4bK-i", b"branch=z9hG4bK-j"),
        (b"192.0.2.10:5060;", b"192.0.2.11:5060;"),
    ],
)
def test_another_request_gets_another_tag(change: tuple[bytes, bytes]) -> None:
    """RSP-4: Call-ID, From tag, CSeq, branch and sent-by make it."""
    refuser = Refuser(b"secret")
    _, ids = read(CALL.invite())
    _, other = read(CALL.invite().replace(*change))
    assert refuser.tag(ids, NOON) != refuser.tag(other, NOON)


def test_nobody_guesses_the_tag_without_the_secret() -> None:
    """RSP-4: 80 bits, keyed."""
    _, ids = read(CALL.invite())
    tag = Refuser(b"secret").tag(ids, NOON)
    assert len(tag) == 16
    assert tag != Refuser(b"Secret").tag(ids, NOON)


def ack_to(refuser: Refuser, now: Moment) -> bytes:
    _, ids = read(CALL.invite())
    return CALL.ack_to_failure(to_tag=refuser.tag(ids, now).decode())


def test_our_own_tag_is_known_again() -> None:
    """RSP-8: the ACK to our refusal is absorbed, by its tag alone."""
    refuser = Refuser(b"secret")
    _, ids = read(ack_to(refuser, NOON))
    assert refuser.is_ours(ids, NOON)
    assert not Refuser(b"other").is_ours(ids, NOON)
    for foreign in ("b", "", "a" * 16):
        _, other = read(CALL.ack_to_failure(to_tag=foreign))
        assert not refuser.is_ours(other, NOON)


def test_a_tag_outlives_one_rotation() -> None:
    """RSP-4: the ACK may come in the next hour, and not in the one after."""
    refuser = Refuser(b"secret")
    _, ids = read(ack_to(refuser, NOON))
    later = [Moment(0.0, MONDAY_S + hours * ROTATION_S) for hours in (1, 2)]
    assert refuser.tag(ids, later[0]) != ids.to_tag
    assert refuser.is_ours(ids, later[0])
    assert not refuser.is_ours(ids, later[1])


def test_a_long_secret_is_no_error() -> None:
    """The keyed digest takes at most 64 octets."""
    _, ids = read(CALL.invite())
    assert len(Refuser(b"x" * 200).tag(ids, NOON)) == 16

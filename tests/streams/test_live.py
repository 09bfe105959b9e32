"""streams/live: what a connection carries comes out whole, or the connection is lost."""

import itertools
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.streams.head import MAX_MESSAGE_OCTETS, MAX_START_LINE_OCTETS
from sipguard.streams.live import MAX_KEEPALIVE_OCTETS, LiveStream
from sipguard.wire.sip import Kind, classify, parse_message

OPTIONS = b"OPTIONS sip:a@example.com SIP/2.0\r\nContent-Length: 0\r\n\r\n"
MESSAGE = b"MESSAGE sip:a@example.com SIP/2.0\r\nl:5\r\n\r\nhello"
RINGING = b"SIP/2.0 180 Ringing\r\nCONTENT-LENGTH :\r\n 3\r\n\r\nabc"
HIDING = b"INFO sip:a SIP/2.0\r\nContent-Length: %d\r\n\r\n%b" % (
    len(OPTIONS) + 4,
    OPTIONS + b"\r\n\r\n",
)
PING, PONG = b"\r\n\r\n", b"\r\n"
START = b"MESSAGE sip:a@example.com SIP/2.0\r\n"
LOST = {
    Reason.STREAM_NOT_SIP,
    Reason.STREAM_NO_LENGTH,
    Reason.STREAM_BAD_LENGTH,
    Reason.STREAM_TOO_LARGE,
    Reason.STREAM_LINE_END,
}


def cut(octets: bytes, cuts: list[int]) -> list[bytes]:
    """Return *octets* in pieces that end at the *cuts*."""
    edges = [0, *sorted(at % (len(octets) + 1) for at in cuts), len(octets)]
    return [octets[a:b] for a, b in itertools.pairwise(edges)]


def run(pieces: list[bytes]) -> tuple[list[bytes], Reason | None]:
    """Return what comes out of a stream, and why it was lost."""
    stream = LiveStream()
    out: list[bytes] = []
    for piece in pieces:
        try:
            out += stream.receive(piece)
        except HostileInput as error:
            return [*out, *stream.taken()], error.reason
        assert stream.held <= MAX_MESSAGE_OCTETS
    return out, None


def messages(pieces: list[bytes]) -> list[bytes]:
    """Return the messages alone, from a stream that must not be lost."""
    out, reason = run(pieces)
    assert reason is None
    assert b"".join(out) == b"".join(pieces), "nothing is added and nothing left out"
    return [message for message in out if message.strip()]


def why(octets: bytes) -> Reason | None:
    """Return why a stream is lost."""
    return run([octets])[1]


WHOLE = st.lists(st.sampled_from([OPTIONS, MESSAGE, RINGING, HIDING, PING, PONG]), max_size=8)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@given(WHOLE, CUTS)
def test_messages_come_out_whole_however_they_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    """TCP keeps no message boundaries (RFC 3261 section 18.3); several may share a segment."""
    assert messages(cut(b"".join(sent), cuts)) == [one for one in sent if one.strip()]


@pytest.mark.parametrize("message", [OPTIONS, MESSAGE, RINGING, HIDING])
def test_every_place_to_cut_a_message(message: bytes) -> None:
    """Two segments, cut anywhere, and one octet at a time."""
    for at in range(len(message)):
        assert messages([message[:at], message[at:]]) == [message]
    assert messages([bytes([octet]) for octet in message]) == [message]


PIECES = st.sampled_from(
    [OPTIONS, MESSAGE, START, PING, PONG, b"\n", b"\r", b" ", b"l: 3\r\n", b"Content-Length:", b"7",
     b"-1\r\n", b"l : 3\r\n", b"\tl:3", b"X: y\r\n", b"abc", b"\x16\x03", b"POST / HTTP/1.1\r\n"]
)  # fmt: skip
ANYTHING = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=10).map(b"".join))


@given(ANYTHING, CUTS)
@example(PING + START + b"l: 3\r\nX: \ny\r\n\r\nabc", [3])
def test_any_octets_and_any_cuts_read_the_same(octets: bytes, cuts: list[int]) -> None:
    """Whatever comes is messages or a loss for one reason, and the cuts change neither."""
    out, reason = run([octets])
    cut_out, cut_reason = run(cut(octets, cuts))
    slow_out, slow_reason = run([octets[at : at + 1] for at in range(len(octets))])
    assert reason is None or reason in LOST
    assert b"".join(out) == b"".join(cut_out) == b"".join(slow_out)
    kept = [one for one in out if one.strip()]
    assert kept == [one for one in cut_out if one.strip()]
    assert kept == [one for one in slow_out if one.strip()]
    assert (reason is None) == (cut_reason is None) == (slow_reason is None)


HEADERS = st.lists(
    st.sampled_from(
        [b"Content-Length: 3", b"l:3", b"L\t: 3", b"l:\r\n 3", b"l: 3\r\n ", b"l: 03", b"l: +3",
         b"l\r\n : 3", b"X: 1\r\n l: 3", b"l: 3,3", b"l: 3 ", b"l: 3;x", b"X: y", b" l: 3",
         b"Content-Length\t:\t3", b"content-length : 3", b"CONTENT-LENGTH: 3", b"X-l: 3",
         b"l%: 3", b"l", b"l: ", b":3", b"Call-ID: a\r\n\tl: 4"]
    ),
    max_size=4,
)  # fmt: skip


@given(HEADERS)
def test_framing_and_parser_read_one_content_length(headers: list[bytes]) -> None:
    """SIP-16, SIP-17: what framing cuts, wire.sip reads with the same single Content-Length."""
    octets = b"".join([START, *(header + b"\r\n" for header in headers), b"\r\nabc"])
    out, _ = run([octets])
    for message in out:
        assert classify(message) is Kind.SIP
        read = parse_message(message, "tcp")
        rows = [row.number for row in read.headers if row.name == b"content-length"]
        assert rows == [len(read.body)]
        assert message.endswith(b"\r\n\r\n" + read.body)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (b"", Reason.STREAM_NO_LENGTH),
        (b"X-Content-Length: 3\r\n", Reason.STREAM_NO_LENGTH),
        (b"X: a\r\n l: 3\r\n", Reason.STREAM_NO_LENGTH),
        (b"l: -1\r\n", Reason.STREAM_BAD_LENGTH),
        (b"l: 0x3\r\n", Reason.STREAM_BAD_LENGTH),
        (b"l:\r\n", Reason.STREAM_BAD_LENGTH),
        (b"l: 3, 3\r\n", Reason.STREAM_BAD_LENGTH),
        (b"l: 3\r\n 3\r\n", Reason.STREAM_BAD_LENGTH),
        (b"l: 00000000003\r\n", Reason.STREAM_BAD_LENGTH),
        (b"l: 3\r\nl: 3\r\n", Reason.STREAM_BAD_LENGTH),
        (b"l: 3\r\nX: y\r\nContent-Length: 30\r\n", Reason.STREAM_BAD_LENGTH),
        (b"l: 3\r\nContent-Length\r\n : 30\r\n", Reason.STREAM_BAD_LENGTH),
        (b"l: 65536\r\n", Reason.STREAM_TOO_LARGE),
        (b"l: 9999999999\r\n", Reason.STREAM_TOO_LARGE),
        (b"l: 3\nX: y\r\n", Reason.STREAM_LINE_END),
        (b"l: 3\rX: y\r\n", Reason.STREAM_LINE_END),
        (b"l: 3\r\r\n", Reason.STREAM_LINE_END),
        (b"l: 3\r\n\n", Reason.STREAM_LINE_END),
    ],
)
def test_a_doubt_about_the_length_ends_the_framing(headers: bytes, reason: Reason) -> None:
    """SIP-17, SIP-12, SIP-8: nobody can tell where the next message begins."""
    assert why(START + headers + b"\r\nabc") is reason


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x00",
        b" " + OPTIONS,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /SIP/2.0 HTTP/1.1\r\nContent-Length: 99\r\n\r\n" + OPTIONS,
        b"220 mail.example.com ESMTP\r\n" + OPTIONS,
        b"SSH-2.0-OpenSSH_9\r\n",
        b"hello\r\n" + OPTIONS,
    ],
)
def test_other_protocols_are_lost_at_their_first_line(octets: bytes) -> None:
    """NAT slipstreaming: nobody searches for SIP inside of something else."""
    assert run([octets]) == ([], Reason.STREAM_NOT_SIP)


def test_line_breaks_before_a_message_are_whole() -> None:
    """SIP-3: CRLF, and neither of its octets alone."""
    assert why(b"\n" + OPTIONS) is Reason.STREAM_LINE_END
    assert why(b"\r" + OPTIONS) is Reason.STREAM_LINE_END


def test_pings_and_pongs_come_out_by_themselves() -> None:
    """SIP-3: for the guard to rate; a pong does not wait for what may follow it."""
    stream = LiveStream()
    assert stream.receive(PING) == [PING]
    assert stream.receive(PONG) == [PONG]
    assert stream.receive(PONG + OPTIONS + PING) == [PONG, OPTIONS, PING]
    assert stream.receive(b"\r") == []
    assert stream.held == 1
    assert stream.receive(b"\n") == [PONG]
    assert stream.held == 0


def test_many_line_breaks_are_keepalives_of_a_size_that_the_guard_takes() -> None:
    """As many octets as come, in pieces that wire.sip still knows as keep-alives."""
    out, reason = run([PONG * 1000])
    assert reason is None
    assert b"".join(out) == PONG * 1000
    assert all(classify(one) is Kind.EMPTY_KEEPALIVE for one in out)
    assert max(map(len, out)) == MAX_KEEPALIVE_OCTETS


def test_what_was_whole_before_the_loss_is_told_once() -> None:
    """It was judged by its own octets; what follows the loss is nobody's."""
    stream = LiveStream()
    with pytest.raises(HostileInput) as lost:
        stream.receive(OPTIONS + MESSAGE + b"nonsense\r\n" + OPTIONS)
    assert lost.value.reason is Reason.STREAM_NOT_SIP
    assert stream.taken() == [OPTIONS, MESSAGE]
    assert stream.taken() == []
    assert stream.held == 0
    with pytest.raises(HostileInput):
        stream.receive(OPTIONS)
    assert stream.taken() == []


def test_what_does_not_end_is_bounded() -> None:
    """A first line or a head without end is given up at its cap."""
    assert why(b"A" * (MAX_START_LINE_OCTETS - 1)) is None
    assert why(b"A" * MAX_START_LINE_OCTETS) is Reason.STREAM_TOO_LARGE
    head = START + b"X: " + b"y" * MAX_MESSAGE_OCTETS
    assert run([head[at : at + 1000] for at in range(0, len(head), 1000)])[1] is (
        Reason.STREAM_TOO_LARGE
    )


def test_the_largest_message_passes_and_no_larger_one() -> None:
    """The cap counts the whole message, as wire.sip's does."""
    head = START + b"l: 65000\r\nX: %b\r\n\r\n"
    filling = MAX_MESSAGE_OCTETS - 65000 - len(head % b"")
    assert messages([head % (b"y" * filling) + b"z" * 65000])
    assert why(head % (b"y" * (filling + 1))) is Reason.STREAM_TOO_LARGE


def test_one_octet_at_a_time_costs_no_more_than_linear_time() -> None:
    """A slow sender must not buy our time with its own."""
    octets = START + b"X: y\r\n" * 10_000
    stream = LiveStream()
    began_s = time.process_time()
    for at in range(len(octets)):
        stream.receive(octets[at : at + 1])
    assert time.process_time() - began_s < 3.0
    assert stream.held == len(octets)


def test_held_says_whether_something_was_begun() -> None:
    """The edge's clock runs from there."""
    stream = LiveStream()
    assert stream.held == 0
    stream.receive(OPTIONS + MESSAGE[:-1])
    assert stream.held == len(MESSAGE) - 1
    stream.receive(MESSAGE[-1:])
    assert stream.held == 0


def test_it_has_nothing_of_its_own_to_say() -> None:
    """Messages go on as they came."""
    stream = LiveStream()
    assert stream.encode(MESSAGE) == MESSAGE
    assert stream.begin() + stream.answers() + stream.end() == b""

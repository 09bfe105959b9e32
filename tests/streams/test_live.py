"""The framing of judged connections: one reading, whatever the segments (SIP-3, SIP-17)."""

import contextlib
import itertools
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.streams.live import MAX_KEEP_ALIVE_OCTETS, MessageStream
from sipguard.streams.start import MAX_MESSAGE_OCTETS, MAX_START_LINE_OCTETS
from sipguard.wire.sip import parse_message


def message(body: bytes = b"", *, length: bytes | None = None, method: bytes = b"MESSAGE") -> bytes:
    """Return a request; *length* stands for the whole Content-Length line where it is given."""
    line = b"Content-Length: %d\r\n" % len(body) if length is None else length
    return (
        b"%b sip:bob@192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKa\r\n"
        b"From: <sip:alice@192.0.2.1>;tag=a\r\nTo: <sip:bob@192.0.2.5>\r\nCall-ID: c\r\n"
        b"CSeq: 1 %b\r\nMax-Forwards: 70\r\nContent-Type: text/plain\r\n%b\r\n%b"
        % (method, method, line, body)
    )


FIRST, SECOND = message(b"one"), message(b"two\r\n\r\nMESSAGE sip:x SIP/2.0\r\n")
PING = b"\r\n\r\n"


def fed(*segments: bytes) -> list[bytes]:
    stream = MessageStream()
    return [piece for segment in segments for piece in stream.receive(segment)]


def lost(*segments: bytes) -> Reason:
    with pytest.raises(HostileInput) as caught:
        fed(*segments)
    return caught.value.reason


def test_two_messages_in_one_segment_are_two() -> None:
    """RFC 3261 section 18.3: pipelining; what looks like a message in a body is body."""
    assert fed(FIRST + SECOND) == [FIRST, SECOND]


@pytest.mark.parametrize("at", range(1, len(FIRST + PING + SECOND)))
def test_a_split_at_any_place_changes_nothing(at: int) -> None:
    """No segmentation hides a message, or makes one."""
    stream = FIRST + PING + SECOND
    pieces = fed(stream[:at], stream[at:])
    assert [piece for piece in pieces if piece.strip()] == [FIRST, SECOND]
    assert b"".join(pieces) == stream


@given(
    st.lists(st.sampled_from((FIRST, SECOND, PING, b"\r\n", message())), max_size=6),
    st.lists(st.integers(0, 2000), max_size=12),
)
def test_any_segments_give_the_same_messages(parts: list[bytes], cuts: list[int]) -> None:
    """And every octet comes out once, in its place."""
    octets = b"".join(parts)
    places = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    segments = [octets[a:b] for a, b in itertools.pairwise(places)]
    pieces = fed(*segments)
    assert [piece for piece in pieces if piece.strip()] == [part for part in parts if part.strip()]
    assert b"".join(pieces) == octets


@given(st.lists(st.binary(max_size=200) | st.sampled_from((FIRST, FIRST[:90])), max_size=8))
@example([b"\r", b"A"])
@example([b"\r\n\r"])
def test_any_octets_are_messages_or_hostile(segments: list[bytes]) -> None:
    """Total; nothing is invented, and nothing comes out of order."""
    stream, pieces = MessageStream(), []
    with contextlib.suppress(HostileInput):
        for segment in segments:
            pieces += stream.receive(segment)
    pieces += stream.taken()
    assert b"".join(segments).startswith(b"".join(pieces))


READINGS = [
    *(b"Content-Length: 3\r\n", b"l: 3\r\n", b"L\t :\t3 \r\n"),
    *(b"Content-Length:\r\n 3\r\n", b"CONTENT-LENGTH : 03\r\n", b"Content-Length: 3 \r\n\t\r\n"),
]
DOUBTFUL = [
    *(b"X: a\r\n Content-Length: 9\r\n", b"Content-Length: 4\r\n", b"Content-Lengt\r\n h: 3\r\n"),
    *(b"Content-Length: -3\r\n", b"Content-Length: 3, 3\r\n", b"X: y\rContent-Length: 3\r\n"),
    *(b"X: y\nl: 3\r\n", b"l=3\r\n"),
]


@pytest.mark.parametrize("line", READINGS)
def test_every_legal_spelling_of_the_length_is_read(line: bytes) -> None:
    """SIP-10, SIP-11: compact, folded, with blanks before the colon."""
    octets = message(b"abc", length=line)
    assert fed(octets + FIRST) == [octets, FIRST]


@given(st.lists(st.sampled_from(READINGS + DOUBTFUL), max_size=3))
def test_framing_reads_the_length_as_the_parser_does(lines: list[bytes]) -> None:
    """SIP-10, SIP-11, SIP-17: where it cuts, ``wire.sip`` sees exactly this one length."""
    octets = message(b"abc", length=b"".join(lines)) + b"d"
    try:
        pieces = MessageStream().receive(octets)
    except HostileInput:
        return
    [cut] = pieces
    parsed = parse_message(cut, "tcp")
    told = [row.number for row in parsed.headers if row.name == b"content-length"]
    assert told == [len(parsed.body)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", Reason.NO_CONTENT_LENGTH),
        (b"Content-Length: -1\r\n", Reason.BAD_CONTENT_LENGTH),
        (b"Content-Length: 0x10\r\n", Reason.BAD_CONTENT_LENGTH),
        (b"Content-Length: 12345678901\r\n", Reason.BAD_CONTENT_LENGTH),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", Reason.DUPLICATE_HEADER),
        (b"Content-Length: 3\r\nl: 5\r\n", Reason.DUPLICATE_HEADER),
        (b"Content-Length: 3\r\nX: y\nl: 5\r\n", Reason.BARE_LF),
        (b"Content-Length: 3\r\nX: y\rl: 5\r\n", Reason.BARE_CR),
        (b"Content-Length: 70000\r\n", Reason.TOO_LARGE),
    ],
)
def test_a_length_in_doubt_ends_the_connection(line: bytes, reason: Reason) -> None:
    """SIP-17: what is lost cannot be found again; SIP-12: not even where both say the same."""
    assert lost(message(b"abc", length=line)) is reason


@pytest.mark.parametrize(
    "octets",
    [
        b"POST /x HTTP/1.1\r\nContent-Length: 500\r\n\r\n" + FIRST,
        b"\x16\x03\x01\x00\xa5\x01\x00\x00" + FIRST,
        b"EHLO example.com\r\n" + FIRST,
        b"\0\0\0\0" + FIRST,
        b" " + FIRST,
        b"x" * (MAX_START_LINE_OCTETS + 1),
        b"\xff\xd8\xff\xe0" + b"A" * 100 + b"\r\n\r\n" + FIRST,
    ],
)
def test_sip_inside_another_protocol_is_not_looked_for(octets: bytes) -> None:
    """NAT slipstreaming: the first line decides, however the segments fall."""
    assert lost(octets) is Reason.NOT_SIP
    assert lost(*(octets[at : at + 1] for at in range(len(octets)))) is Reason.NOT_SIP


def test_what_was_whole_before_can_still_be_had() -> None:
    """The messages of others in the same segment are not lost with the framing."""
    stream = MessageStream()
    with pytest.raises(HostileInput):
        stream.receive(FIRST + b"GET / HTTP/1.1\r\n\r\n")
    assert stream.taken() == [FIRST]
    assert stream.taken() == []


def test_a_head_without_end_is_not_kept_for_ever() -> None:
    """Bounded memory."""
    stream = MessageStream()
    stream.receive(b"MESSAGE sip:bob@192.0.2.5 SIP/2.0\r\n")
    for _ in range((MAX_MESSAGE_OCTETS - 40) // 6):
        stream.receive(b"X: y\r\n")
    with pytest.raises(HostileInput) as caught:
        stream.receive(b"X: y\r\n" * 20)
    assert caught.value.reason is Reason.TOO_LARGE
    assert stream.held < MAX_MESSAGE_OCTETS + 200


def test_one_octet_at_a_time_costs_no_more_than_linear_time() -> None:
    """A slow sender does not make us look again and again."""
    octets = message(b"x" * 60_000)
    stream, began_s = MessageStream(), time.process_time()
    pieces = [piece for octet in octets for piece in stream.receive(bytes((octet,)))]
    assert pieces == [octets]
    assert time.process_time() - began_s < 2.0


@pytest.mark.parametrize("count", [1, 2, 32, 33, 500])
def test_keep_alives_come_out_in_bounded_pieces(count: int) -> None:
    """SIP-3: each can be rated by the guard, and a flood of them is not a flood of pieces."""
    pieces = fed(b"\r\n" * count)
    assert b"".join(pieces) == b"\r\n" * count
    assert max(map(len, pieces)) <= MAX_KEEP_ALIVE_OCTETS
    assert len(pieces) == -(-count * 2 // MAX_KEEP_ALIVE_OCTETS)


def test_held_tells_a_message_under_way() -> None:
    """Whoever has a clock can give up on it."""
    stream = MessageStream()
    assert not stream.held
    stream.receive(FIRST[:20])
    assert stream.held == 20
    stream.receive(FIRST[20:])
    assert not stream.held

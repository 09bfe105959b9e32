"""streams/capture: whole SIP messages out of a byte stream, and nothing else."""

import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.streams.capture import Mode, SipStream
from sipguard.streams.head import MAX_MESSAGE_OCTETS

OPTIONS = b"OPTIONS sip:a@example.com SIP/2.0\r\nContent-Length: 0\r\n\r\n"
MESSAGE = b"MESSAGE sip:a@example.com SIP/2.0\r\nl:5\r\n\r\nhello"
RINGING = b"SIP/2.0 180 Ringing\r\nCONTENT-LENGTH :\r\n 3\r\n\r\nabc"
UPGRADE = b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: WebSocket\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n"


def frame(payload: bytes, *, opcode: int = 1, final: bool = True, mask: bytes = b"") -> bytes:
    """Return one WebSocket frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        length, extended = size, b""
    elif size < 65536:
        length, extended = 126, size.to_bytes(2, "big")
    else:
        length, extended = 127, size.to_bytes(8, "big")
    if mask:
        length |= 128
        payload = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))
    return bytes([opcode | final << 7, length]) + extended + mask + payload


def feed_all(stream: SipStream, octets: bytes, cuts: list[int]) -> list[bytes]:
    """Feed *octets* in pieces that end at the *cuts*."""
    edges = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    pieces = [octets[a:b] for a, b in itertools.pairwise(edges)]
    return [message for piece in pieces for message in stream.feed(piece)]


@given(
    st.lists(st.sampled_from([OPTIONS, MESSAGE, RINGING, b"\r\n", b"\r\n\r\n"]), max_size=8),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_messages_come_out_whole_however_they_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    """TCP keeps no message boundaries (RFC 3261 section 18.3); keep-alives are skipped."""
    stream = SipStream()
    assert feed_all(stream, b"".join(sent), cuts) == [one for one in sent if one.strip()]
    assert stream.held == 0
    assert stream.transport == "tcp"


def test_one_octet_at_a_time() -> None:
    """The slowest sender is framed like any other."""
    stream = SipStream()
    octets = b"\r\n\r\n" + MESSAGE + RINGING
    assert [m for at in range(len(octets)) for m in stream.feed(octets[at : at + 1])] == [
        MESSAGE,
        RINGING,
    ]


def test_without_content_length_the_message_ends_with_its_head() -> None:
    """wire.sip then finds NO_CONTENT_LENGTH; we do not swallow what follows."""
    head = b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n"
    assert SipStream().feed(head + OPTIONS) == [head, OPTIONS]


def test_the_first_of_two_content_lengths_frames() -> None:
    """Both stay in the message, which is found ambiguous (SIP-12)."""
    head = b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 5\r\nl: 500\r\n\r\nhello"
    assert SipStream().feed(head) == [head]


@pytest.mark.parametrize(
    "octets",
    [b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"220 mail.example.com\r\n",
     b"x" * 9000, b"\xff"],
)  # fmt: skip
def test_other_protocols_are_let_go(octets: bytes) -> None:
    """Nothing of them is held, nothing comes out, and it is counted once."""
    stream = SipStream()
    assert stream.feed(octets) + stream.feed(octets) == []
    assert (stream.mode, stream.held, stream.lost) == (Mode.LOST, 0, 1)


def test_framing_comes_back_with_a_start_line() -> None:
    """A capture that begins inside a message is read from the next one on."""
    stream = SipStream()
    assert stream.feed(b"tail of a body\r\n" + OPTIONS) == []
    assert stream.feed(b"and some words on SIP/2.0\r\n" + OPTIONS) == []
    assert stream.feed(MESSAGE) == [MESSAGE]
    assert stream.lost == 1


def test_a_gap_ends_the_message_that_was_begun() -> None:
    """Two halves of two messages never become one."""
    stream = SipStream()
    stream.feed(MESSAGE[:-2])
    stream.gap()
    assert stream.feed(b"lo\r\n" + OPTIONS) == []
    assert stream.feed(OPTIONS) == [OPTIONS]
    assert stream.lost == 1


@pytest.mark.parametrize(
    "octets",
    [
        b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 100,
        b"MESSAGE sip:a SIP/2.0\r\nSubject: " + b"x" * MAX_MESSAGE_OCTETS,
    ],
)
def test_a_message_over_the_limit_is_not_waited_for(octets: bytes) -> None:
    """Nobody makes us hold a gigabyte."""
    stream = SipStream()
    assert stream.feed(octets) == []
    assert (stream.mode, stream.held) == (Mode.LOST, 0)


def test_dripping_octets_cost_linear_time() -> None:
    """A head of 60 KB sent octet by octet is not searched from the start each time."""
    stream = SipStream()
    octets = b"MESSAGE sip:a SIP/2.0\r\nSubject: " + b"\r\n " * 20_000 + b"\r\n\r\n"
    started = time.perf_counter()
    for at in range(len(octets)):
        stream.feed(octets[at : at + 1])
    assert time.perf_counter() - started < 0.7  # 0.05 s here, 1.5 s if searched anew


# --- WebSocket


@given(
    st.lists(st.sampled_from([OPTIONS, MESSAGE, RINGING]), max_size=5),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.sampled_from([UPGRADE, SWITCHING]),
    st.integers(0, 2**32),
)
def test_websocket_messages_come_out_unmasked(
    sent: list[bytes], cuts: list[int], handshake: bytes, seed: int
) -> None:
    """One SIP message each, masked or not, whole or in frames, pings between (RFC 7118)."""
    chance = random.Random(seed)
    octets = handshake
    for message in sent:
        mask = chance.choice([b"", chance.randbytes(4)])
        middle = chance.randrange(len(message))
        octets += chance.choice(
            [
                frame(message, mask=mask),
                frame(message, opcode=2, mask=mask),
                frame(message[:middle], final=False)
                + frame(b"ping", opcode=9, mask=mask)
                + frame(message[middle:], opcode=0, mask=mask),
            ]
        )
        octets += frame(b"\r\n\r\n")
    stream = SipStream()
    assert feed_all(stream, octets, cuts) == sent
    assert (stream.transport, stream.held) == ("ws", 0)


def test_long_websocket_messages() -> None:
    """The 16-bit length; and the 64-bit one, which no SIP message needs, is refused."""
    message = OPTIONS.replace(b"Content", b"Subject: " + b"x" * 1000 + b"\r\nContent")
    assert SipStream().feed(SWITCHING + frame(message)) == [message]
    stream = SipStream()
    assert stream.feed(SWITCHING + frame(OPTIONS + bytes(MAX_MESSAGE_OCTETS))) == []
    assert (stream.mode, stream.held) == (Mode.ENDED, 0)


@pytest.mark.parametrize(
    "bad",
    [
        bytes([0xC1, 4]) + b"abcd",
        frame(b"\x03\xe8", opcode=8),
        frame(OPTIONS + bytes(40_000), final=False) + frame(bytes(40_000), opcode=0),
    ],
    ids=["compressed", "close", "fragments over the limit"],
)
def test_what_cannot_be_read_ends_the_websocket(bad: bytes) -> None:
    """Compressed frames, a close, or more than one message may hold: nothing comes after."""
    stream = SipStream()
    assert stream.feed(SWITCHING + frame(OPTIONS) + bad) == [OPTIONS]
    assert stream.mode is Mode.ENDED
    assert stream.feed(OPTIONS) + stream.feed(frame(OPTIONS)) == []
    stream.gap()
    assert (stream.mode, stream.held, stream.transport) == (Mode.ENDED, 0, "ws")


def test_a_websocket_message_that_is_no_sip_is_skipped() -> None:
    """Another subprotocol on the same server is none of our business."""
    assert SipStream().feed(UPGRADE + frame(b'{"a":1}') + frame(OPTIONS)) == [OPTIONS]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [OPTIONS, MESSAGE, UPGRADE, SWITCHING, frame(OPTIONS), b"\r\n", b"l: 9\r\n\r\n"]
            ),
            st.binary(max_size=20),
        ),
        max_size=12,
    )
)
def test_feeding_is_total(segments: list[bytes]) -> None:
    """No octets raise; whatever comes out looks like SIP and fits the limit."""
    stream = SipStream()
    for segment in segments:
        for message in stream.feed(segment):
            assert b"SIP/" in message.partition(b"\r\n")[0]
            assert len(message) <= MAX_MESSAGE_OCTETS
    assert stream.held <= sum(map(len, segments))

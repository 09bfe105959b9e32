"""edge.reassembly: fragments and segments come together exactly, within bounds, or not at all."""

import random
import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge import reassembly
from sipguard.edge.reassembly import (
    FRAGMENT_TIMEOUT_S,
    MAX_DATAGRAMS,
    MAX_DIRECTIONS,
    MAX_FRAGMENTS,
    MAX_PENDING_OCTETS,
    Defragmenter,
    TcpStreams,
)
from sipguard.wire.packet import Packet, build_udp, parse_ip, parse_packet

A, B = b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"
A6, B6 = bytes(15) + b"\x01", bytes(15) + b"\x02"
OPTIONS = b"OPTIONS sip:a@example.com SIP/2.0\r\nContent-Length: 0\r\n\r\n"
MESSAGE = b"MESSAGE sip:a@example.com SIP/2.0\r\nl:5\r\n\r\nhello"


def fragment(src: bytes, offset: int, more: bool, content: bytes, name: int = 7) -> bytes:
    """Return one fragment of a UDP datagram, of the family of *src*."""
    if len(src) == 4:
        word = offset // 8 | (0x2000 if more else 0)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), name, word, 64, 17, 0)
        return head + src + B + content
    extension = struct.pack("!BBHL", 17, 0, offset | more, name)
    head = struct.pack("!LHBB", 6 << 28, 8 + len(content), 44, 64)
    return head + src + B6 + extension + content


def cut(packet: Packet, size: int, name: int = 7) -> list[bytes]:
    """Return the fragments of a packet, each with at most *size* octets, a multiple of 8."""
    octets = build_udp(packet)
    datagram = octets[20 if len(packet.src) == 4 else 40 :]
    return [
        fragment(packet.src, at, at + size < len(datagram), datagram[at : at + size], name)
        for at in range(0, len(datagram), size)
    ]


class Table:
    """A defragmenter with its counts."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.defragmenter = Defragmenter(lambda kind: self.counts.update([kind]))

    def add(self, octets: bytes, time_s: float = 0.0) -> Packet | None:
        whole = self.defragmenter.add(octets, parse_ip(octets), time_s)
        return None if whole is None else parse_packet(whole)


@given(
    st.sampled_from([(A, B), (A6, B6)]),
    st.binary(min_size=60, max_size=400),
    st.sampled_from([8, 16, 40]),
    st.randoms(use_true_random=False),
)
def test_fragments_come_together_in_any_order(
    ends: tuple[bytes, bytes], payload: bytes, size: int, chance: random.Random
) -> None:
    """A large INVITE is judged whole, whatever way its pieces went (SIP-21)."""
    packet = Packet(*ends, 5060, 5060, payload)
    pieces = cut(packet, size)
    chance.shuffle(pieces)
    table = Table()
    results = [table.add(piece) for piece in pieces]
    assert results == [None] * (len(pieces) - 1) + [packet]
    assert not table.counts


def test_datagrams_are_kept_apart() -> None:
    """By identification, by source and by family."""
    table = Table()
    packets = [Packet(A, B, 1, 2, b"x" * 40), Packet(A, B, 3, 4, b"y" * 40),
               Packet(A6, B6, 5, 6, b"z" * 40)]  # fmt: skip
    rows = [cut(packet, 24, name) for name, packet in enumerate(packets)]
    assert [table.add(piece) for row in rows for piece in row[:-1]] == [None] * 3
    assert [table.add(row[-1]) for row in rows] == packets


@pytest.mark.parametrize("src", [A, A6], ids=["v4", "v6"])
@pytest.mark.parametrize(
    "pieces",
    [
        [(0, True, b"a" * 16), (8, True, b"b" * 16)],
        [(0, True, b"a" * 16), (0, True, b"b" * 16)],
        [(8, True, b"a" * 8), (0, True, b"b" * 24)],
        [(16, False, b"a" * 8), (16, True, b"a" * 8)],
        [(16, False, b"a" * 8), (24, True, b"a" * 8)],
        [(16, False, b"a" * 8), (8, False, b"a" * 4)],
        [(16, True, b"a" * 8), (8, False, b"a" * 4)],
    ],
    ids=["tail", "same place", "around", "end and not end", "behind the end", "two ends",
         "end before the rest"],
)  # fmt: skip
def test_overlapping_fragments_refuse_the_whole_datagram(
    src: bytes, pieces: list[tuple[int, bool, bytes]]
) -> None:
    """Two receivers could keep different octets of it (RFC 5722)."""
    table = Table()
    for offset, more, content in pieces:
        assert table.add(fragment(src, offset, more, content)) is None
    assert table.counts == {"fragment-overlap": 1}
    # What comes later for the same datagram does not revive it.
    for octets in cut(Packet(src, B if src is A else B6, 1, 2, b"x" * 40), 24):
        assert table.add(octets) is None


def test_a_fragment_seen_twice_is_no_overlap() -> None:
    """A capture on several interfaces shows frames more than once."""
    table = Table()
    packet = Packet(A, B, 1, 2, b"x" * 60)
    first, middle, last = cut(packet, 24)
    assert [table.add(one) for one in (last, first, first, last, middle)][-1] == packet
    assert table.counts == {"fragment-duplicate": 2}


@pytest.mark.parametrize(
    "octets",
    [
        fragment(A, 0, True, b"x" * 9),
        fragment(A6, 0, True, b"x" * 9),
        fragment(A, 8, False, b""),
        fragment(A, 65528, False, b"x" * 8),
        fragment(A6, 8, False, b"x" * 8)[:44] + b"",
    ],
)
def test_malformed_fragments_are_counted(octets: bytes) -> None:
    """Odd sizes, nothing inside, or an end beyond 65,535."""
    table = Table()
    if octets[0] >> 4 == 6:  # the header's length must fit what was cut
        octets = octets[:4] + (len(octets) - 40).to_bytes(2, "big") + octets[6:]
    assert table.add(octets) is None
    assert table.counts == {"fragment-malformed": 1}


def test_the_bounds_of_fragments_hold() -> None:
    """In number of datagrams, in fragments of one, and in capture time."""
    table = Table()
    for name in range(MAX_DATAGRAMS + 3):
        table.add(fragment(A, 0, True, b"x" * 8, name))
    assert table.counts == {"fragment-evicted": 3}
    table = Table()
    for at in range(MAX_FRAGMENTS + 1):
        table.add(fragment(A, at * 8, True, b"x" * 8))
    assert table.counts == {"fragment-overlap": 1}
    table = Table()
    first, last = cut(Packet(A, B, 1, 2, b"x" * 20), 24)
    table.add(first, 100.0)
    assert table.add(last, 100.1 + FRAGMENT_TIMEOUT_S) is None
    assert table.counts == {"fragment-timeout": 1}


# --- TCP


def segment(sequence: int, content: bytes = b"", flags: int = 0x10, sport: int = 5060) -> bytes:
    head = struct.pack("!HHLLBBHHH", sport, 5060, sequence % 2**32, 0, 0x60, flags, 0, 0, 0)
    return head + b"\x01" * 4 + content


class Streams:
    """TCP streams with their counts."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.streams = TcpStreams(lambda kind: self.counts.update([kind]))

    def add(self, *octets: bytes) -> list[bytes]:
        return [m.octets for one in octets for m in self.streams.add(A, B, one)]

    def finish(self) -> list[bytes]:
        return [message.octets for message in self.streams.finish()]


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 200), min_size=1, max_size=10),
    st.randoms(use_true_random=False),
)
def test_segments_come_together_in_any_order(
    start: int, sizes: list[int], chance: random.Random
) -> None:
    """Reordering, retransmission and the wrap of sequence numbers change nothing."""
    octets = OPTIONS + MESSAGE + OPTIONS + MESSAGE
    cuts, at = [], 0
    for size in [*sizes, len(octets)]:
        cuts.append((at, octets[at : at + size]))
        at += size
    pieces = [segment(start + 1 + place, content) for place, content in cuts if content]
    pieces += chance.choices(pieces, k=3)
    chance.shuffle(pieces)
    table = Streams()
    assert table.add(segment(start, flags=2), *pieces) == [OPTIONS, MESSAGE, OPTIONS, MESSAGE]
    assert table.finish() == []


def test_the_first_copy_wins() -> None:
    """A rewritten retransmission cannot change what was already seen."""
    evil = MESSAGE.replace(b"hello", b"EVIL!")
    table = Streams()
    assert table.add(segment(0, flags=2), segment(1, MESSAGE[:-5])) == []
    tail = 1 + len(MESSAGE) - 5
    assert table.add(segment(tail + 2, b"llo"), segment(tail, b"EVIL!")) == [
        MESSAGE.replace(b"hello", b"EVllo")
    ]
    assert table.add(segment(1, evil)) == []
    assert table.counts == {"tcp-retransmission": 1}


def test_octets_that_bridge_two_waiting_segments() -> None:
    """Only the holes are filled from the later copy."""
    table = Streams()
    whole = MESSAGE
    table.add(segment(0, flags=2), segment(11, whole[10:20]), segment(31, whole[30:40]))
    bridge = whole[5:10] + b"#" * 10 + whole[20:30] + b"#" * 10 + whole[40:]
    assert table.add(segment(6, bridge)) == []
    assert table.add(segment(1, whole[:5])) == [whole]


def test_a_capture_that_begins_in_the_middle() -> None:
    """Without the SYN the first segment seen sets the count."""
    assert Streams().add(segment(77_000, OPTIONS), segment(77_000 + len(OPTIONS), MESSAGE)) == [
        OPTIONS,
        MESSAGE,
    ]


def test_lost_segments_cost_only_their_message() -> None:
    """At the end of the capture, what waited behind a gap still comes out."""
    table = Streams()
    table.add(segment(0, flags=2), segment(1, MESSAGE[:10]), segment(1 + len(MESSAGE), OPTIONS))
    assert table.finish() == [OPTIONS]
    assert table.counts["tcp-gap"] == 1


def test_a_new_connection_on_old_ports_starts_anew() -> None:
    """Another SYN resets; the same SYN again does not."""
    table = Streams()
    syn = segment(0, flags=2)
    assert table.add(syn, segment(1, MESSAGE[:10]), syn, segment(11, MESSAGE[10:])) == [MESSAGE]
    assert table.add(segment(5000, flags=2), segment(5001, OPTIONS)) == [OPTIONS]


def test_numbers_far_off_are_another_connection() -> None:
    """Ports used again, where the capture missed the SYN."""
    table = Streams()
    assert table.add(segment(1, MESSAGE[:9]), segment(1 << 28, OPTIONS)) == [OPTIONS]
    assert table.counts == {"tcp-gap": 1}


def test_two_directions_are_two_streams() -> None:
    """And each message names its own ends."""
    streams = TcpStreams(lambda kind: None)
    streams.add(A, B, segment(1, MESSAGE[:9], sport=40_000))
    (message,) = streams.add(B, A, segment(1, OPTIONS, sport=50_000))
    assert message == (B, A, 50_000, 5060, OPTIONS, "tcp")


def test_the_bounds_of_segments_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out-of-order octets, directions, and the octets of all streams together."""
    table = Streams()
    table.add(segment(0, flags=2))
    for at in range(1, MAX_PENDING_OCTETS // 1000 + 3):
        table.add(segment(1 + at * 1001, b"x" * 1000))
    assert table.counts["tcp-gap"] >= 1

    table = Streams()
    for sport in range(MAX_DIRECTIONS + 5):
        table.add(segment(1, MESSAGE[:9], sport=sport))
    assert table.counts == {"tcp-evicted": 5}

    monkeypatch.setattr(reassembly, "MAX_HELD_OCTETS", 100)
    table = Streams()
    for sport in range(20):
        table.add(segment(1, MESSAGE[:9], sport=sport))
    assert table.counts == {"tcp-evicted": 9}


@pytest.mark.parametrize(
    "octets", [b"", segment(1)[:19], segment(1)[:12] + b"\x40" + segment(1)[13:],
               segment(1)[:12] + b"\xf0" + segment(1)[13:]],
)  # fmt: skip
def test_malformed_segments_are_counted(octets: bytes) -> None:
    """Cut headers and data offsets that do not fit."""
    table = Streams()
    assert table.add(octets) == []
    assert table.counts == {"tcp-malformed": 1}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 300) | st.integers(0, 2**32 - 1),
            st.sampled_from([b"", OPTIONS, MESSAGE, MESSAGE[:20], b"\r\n"]) | st.binary(max_size=9),
            st.sampled_from([0x10, 0x02, 0x11, 0x04]),
        ),
        max_size=20,
    )
)
def test_segments_are_total(sent: list[tuple[int, bytes, int]]) -> None:
    """No order and no content raises, and the bound's own count of held octets is right."""
    table = Streams()
    for sequence, content, flags in sent:
        table.add(segment(sequence, content, flags))
    streams = table.streams
    assert streams._held == sum(one.held() for one in streams._directions.values())
    table.finish()

"""edge.capture and edge.pcap_file: every datagram and stream message of a capture, counted."""

import contextlib
import gzip
import os
import re
import struct
import tracemalloc
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipguard.edge.capture import Captured, CaptureReader, PcapWriter, read_capture
from sipguard.edge.pcap_file import READ_OCTETS
from sipguard.errors import EdgeError
from sipguard.wire.packet import Packet, build_ip, build_udp

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))

OPTIONS = b"OPTIONS sip:a@example.com SIP/2.0\r\nContent-Length: 0\r\n\r\n"
V4 = Packet(b"\xc0\x00\x02\x01", b"\xcb\x00\x71\x05", 5060, 5062, OPTIONS)
V6 = V4.changed(
    src=bytes.fromhex("20010db8000000000000000000000001"),
    dst=bytes.fromhex("20010db8000500000000000000000002"),
)
IP4, IP6 = build_udp(V4), build_udp(V6)
RAW = 101

Frames = list[tuple[float, bytes]]


def pcap(frames: Frames, linktype: int = RAW, order: str = "<", nanoseconds: bool = False) -> bytes:
    """Return a pcap file."""
    scale = 1_000_000_000 if nanoseconds else 1_000_000
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    rows = [struct.pack(order + "LHHlLLL", magic, 2, 4, 0, 0, 262144, linktype)]
    for time_s, octets in frames:
        seconds = int(time_s)
        fraction = round((time_s - seconds) * scale)
        size = len(octets)
        rows.append(struct.pack(order + "LLLL", seconds, fraction, size, size) + octets)
    return b"".join(rows)


def block(kind: int, content: bytes, order: str = "<") -> bytes:
    """Return one pcapng block."""
    content += bytes(-len(content) % 4)
    size = len(content) + 12
    return struct.pack(order + "LL", kind, size) + content + struct.pack(order + "L", size)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "LHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    linktype: int = RAW, order: str = "<", snaplen: int = 0, options: bytes = b""
) -> bytes:
    return block(1, struct.pack(order + "HHL", linktype, 0, snaplen) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(octets: bytes, ticks: int = 0, number: int = 0, order: str = "<") -> bytes:
    size = len(octets)
    head = struct.pack(order + "LLLLL", number, ticks >> 32, ticks & 0xFFFFFFFF, size, size)
    return block(6, head + octets + bytes(-size % 4) + option(1, b"comment", order), order)


def write(folder: Path, octets: bytes, name: str = "some.pcap") -> Path:
    path = folder / name
    path.write_bytes(octets)
    return path


def read(folder: Path, octets: bytes) -> list[Captured]:
    return list(read_capture(write(folder, octets)))


def packets(folder: Path, octets: bytes) -> list[Packet]:
    return [captured.packet for captured in read(folder, octets)]


# --- files


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pcap_of_every_kind(tmp_path: Path, order: str, nanoseconds: bool, pack: type) -> None:
    """Both byte orders, both resolutions, plain and gzip."""
    frames = [(1_700_000_000.25, IP4), (1_700_000_001.5, IP6)]
    assert read(tmp_path, pack(pcap(frames, order=order, nanoseconds=nanoseconds))) == [
        Captured(1_700_000_000.25, V4, IP4, 0),
        Captured(1_700_000_001.5, V6, IP6, 1),
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_with_several_sections_and_interfaces(tmp_path: Path, order: str) -> None:
    """Each section has its own byte order and interfaces, each interface its own clock."""
    other = ">" if order == "<" else "<"
    octets = (
        section(order)
        + block(0x0BAD, b"skip me", order)
        + interface(RAW, order, options=option(9, b"\x09", order) + option(0, b"", order))
        + interface(
            1,
            order,
            options=option(9, b"\x8a", order) + option(14, struct.pack(order + "q", 7), order),
        )
        + enhanced(IP4, 1_500_000_000, 0, order)
        + enhanced(bytes(12) + b"\x86\xdd" + IP6, 2048, 1, order)
        + section(other)
        + interface(228, other)
        + enhanced(IP4, 3_250_000, 0, other)
    )
    assert [(c.time_s, c.packet) for c in read(tmp_path, octets)] == [
        (1.5, V4),
        (9.0, V6),
        (3.25, V4),
    ]


def test_simple_and_obsolete_packet_blocks(tmp_path: Path) -> None:
    """A simple block has the time of the frame before it, and the interface's snap length."""
    old = struct.pack("<HHLLLL", 0, 0, 0, 2_000_000, len(IP4), len(IP4)) + IP4
    octets = (
        section()
        + interface(snaplen=len(IP6))
        + block(2, old)
        + block(3, struct.pack("<L", len(IP6)) + IP6)
        + block(3, struct.pack("<L", 9999) + IP6)
    )
    assert [(c.time_s, c.packet) for c in read(tmp_path, octets)] == [
        (2.0, V4),
        (2.0, V6),
        (2.0, V6),
    ]


def test_gzip_members_may_follow_each_other(tmp_path: Path) -> None:
    """As ``cat a.gz b.gz`` makes them (RFC 1952 section 2.2)."""
    octets = pcap([(1.0, IP4), (2.0, IP6)])
    assert packets(tmp_path, gzip.compress(octets[:50]) + gzip.compress(octets[50:])) == [V4, V6]


@pytest.mark.parametrize("make", ["pcap", "pcapng", "gzip"])
def test_a_cut_file_is_read_up_to_the_cut_with_a_warning(tmp_path: Path, make: str) -> None:
    """The writer was killed: that is no reason to lose the night, nor to hide the loss."""
    octets = pcap([(1.0, IP4), (2.0, IP6)])
    if make == "pcapng":
        octets = section() + interface() + enhanced(IP4) + enhanced(IP6)
    elif make == "gzip":
        octets = gzip.compress(pcap([(1.0, IP4), (2.0, os.urandom(5000))]))
    for cut in (1, 5, 9, len(IP6)):
        warnings: list[str] = []
        path = write(tmp_path, octets[:-cut])
        seen = [one.packet for one in read_capture(path, warn=warnings.append)]
        assert seen[:1] == [V4]
        assert len(warnings) >= 1
        assert all(str(path) in warning for warning in warnings)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "is empty"),
        (b"this is no capture file", "neither pcap nor pcapng"),
        (b"\xa1\xb2\xcd\x34" + bytes(40), "neither pcap nor pcapng"),
        (pcap([(1.0, IP4)]) + b"\xff" * 16, "a frame claims"),
        (b"\x1f\x8b" + b"\xff" * 40, "gzip data is damaged"),
        (section() + interface() + enhanced(IP4) + b"\x06\0\0\0\x0d\0\0\0" + bytes(8), "claims 13"),
        (section() + interface() + enhanced(IP4)[:-4] + b"\0\0\0\0", "two lengths"),
        (section() + enhanced(IP4), "interface that was not described"),
        (section() + block(3, b"\1\0\0\0x"), "interface that was not described"),
        (section() + interface() + enhanced(IP4, number=1), "interface that was not described"),
        (section() + interface() + block(6, struct.pack("<LLLLL", 0, 0, 0, 99, 99)), "longer"),
        (section() + interface() + block(3, struct.pack("<L", 99)), "longer"),
        (section() + interface() + block(6, b"abcd"), "too short"),
        (section() + block(1, b""), "too short"),
        (section().replace(b"\x4d\x3c\x2b\x1a", b"nope"), "byte-order magic"),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(tmp_path: Path, octets: bytes, words: str) -> None:
    """The operator learns which file and why, not from a traceback."""
    path = write(tmp_path, octets)
    with pytest.raises(EdgeError, match=words) as caught:
        list(read_capture(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_came_before_the_damage_is_yielded(tmp_path: Path) -> None:
    """And counted."""
    reader = CaptureReader(write(tmp_path, pcap([(1.0, IP4)]) + b"\xff" * 16))
    frames = iter(reader)
    assert next(frames).packet == V4
    with pytest.raises(EdgeError):
        next(frames)
    assert (reader.statistics.frames, reader.statistics.datagrams) == (1, 1)


def test_a_missing_file_is_an_edge_error(tmp_path: Path) -> None:
    """So is a folder; the system's own words say why."""
    for path in (tmp_path / "absent.pcap", tmp_path):
        with pytest.raises(EdgeError, match=re.escape(str(path))):
            read_capture(path)


def note(told: list[tuple[int, int]], done: int, total: int) -> None:
    """Keep what a progress callback is told."""
    told.append((done, total))


def test_frames_across_read_pieces_in_constant_memory(tmp_path: Path) -> None:
    """Frames that straddle the pieces come whole; memory is a few pieces, progress is told."""
    big = build_udp(V4.changed(payload=OPTIONS + bytes(60_001)))
    count = 5 * READ_OCTETS // len(big)
    for octets in (
        pcap([(0.0, big)] * count),
        section() + interface() + enhanced(big) * count,
        gzip.compress(pcap([(0.0, big)] * count)),
    ):
        path = write(tmp_path, octets)
        told: list[tuple[int, int]] = []
        progress = partial(note, told)
        tracemalloc.start()
        seen = sum(one.octets == big for one in read_capture(path, progress))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seen == count
        assert peak < 4.5 * READ_OCTETS
        assert told == sorted(told)
        assert told[-1] == (len(octets), len(octets))


# --- link layers

MACS = b"\x02" * 12
ICMP = build_ip(V4.src, V4.dst, 1, b"\x08" + bytes(7))


@pytest.mark.parametrize(
    ("linktype", "frame", "packet"),
    [
        (1, MACS + b"\x08\x00" + IP4, V4),
        (1, MACS + b"\x08\x00" + IP4 + b"padding", V4),
        (1, MACS + b"\x86\xdd" + IP6 + b"padding", V6),
        (1, MACS + b"\x81\x00\x00\x05\x08\x00" + IP4, V4),
        (1, MACS + b"\x88\xa8\x00\x05\x81\x00\x00\x06\x86\xdd" + IP6, V6),
        (1, MACS + b"\x88\x64\x11\x00\x00\x01" + struct.pack("!HH", len(IP4) + 2, 0x21) + IP4, V4),
        (1, MACS + b"\x88\x64\x11\x00\x00\x01" + struct.pack("!HH", len(IP6) + 2, 0x57) + IP6, V6),
        (0x24000001, MACS + b"\x08\x00" + IP4 + b"\xde\xad\xbe\xef", V4),
        (113, bytes(14) + b"\x08\x00" + IP4, V4),
        (113, bytes(14) + b"\x81\x00\x00\x05\x86\xdd" + IP6, V6),
        (276, b"\x08\x00" + bytes(18) + IP4, V4),
        (276, b"\x86\xdd" + bytes(18) + IP6, V6),
        (101, IP4, V4),
        (12, IP6, V6),
        (14, IP4, V4),
        (228, IP4, V4),
        (229, IP6, V6),
        (0, b"\x02\x00\x00\x00" + IP4, V4),
        (0, b"\x1e\x00\x00\x00" + IP6, V6),
        (108, b"\x00\x00\x00\x02" + IP4, V4),
    ],
)
def test_every_link_layer(tmp_path: Path, linktype: int, frame: bytes, packet: Packet) -> None:
    """The same packet under each; padding behind it does not count."""
    (captured,) = read(tmp_path, pcap([(0.0, frame)], linktype))
    assert captured.packet == packet
    assert captured.octets == build_udp(packet)


@pytest.mark.parametrize(
    ("linktype", "frame", "kind"),
    [
        (147, IP4, "link-type-147"),
        (1, b"", "not-ip"),
        (1, MACS, "not-ip"),
        (1, MACS + b"\x08\x06" + bytes(28), "not-ip"),
        (1, MACS + b"\x81\x00\x00\x01" * 5 + b"\x08\x00" + IP4, "not-ip"),
        (1, MACS + b"\x88\x64\x11\x00\x00\x01\x00\x0a\xc0\x21" + bytes(8), "not-ip"),
        (1, MACS + b"\x08\x00\x45", "not-ip"),
        (1, MACS + b"\x08\x00" + IP4[:-1], "malformed"),
        (RAW, b"\x30" + IP4[1:], "not-ip"),
        (RAW, IP4[:30], "malformed"),
        (RAW, IP6[:50], "malformed"),
        (RAW, ICMP, "ip-protocol-1"),
        (RAW, build_ip(V4.src, V4.dst, 4, b""), "malformed"),
        (RAW, IP4[:24] + b"\x00\x00" + IP4[26:], "malformed"),
        (276, b"\x08", "not-ip"),
    ],
)
def test_frames_left_aside_are_counted_by_kind(
    tmp_path: Path, linktype: int, frame: bytes, kind: str
) -> None:
    """A silent skip could be taken for a quiet night."""
    reader = CaptureReader(write(tmp_path, pcap([(0.0, frame)], linktype)))
    assert list(reader) == []
    assert (reader.statistics.frames, dict(reader.statistics.skipped)) == (1, {kind: 1})


# --- tunnels, fragments, streams


@pytest.mark.parametrize(
    "octets",
    [
        build_ip(V4.src, V4.dst, 4, IP4),
        build_ip(V6.src, V6.dst, 4, IP4),
        build_ip(V4.src, V4.dst, 4, build_ip(V6.src, V6.dst, 4, IP4)),
    ],
)
def test_ip_in_ip_is_unwrapped(tmp_path: Path, octets: bytes) -> None:
    """The datagram inside is what the phone gets (RFC 2003, RFC 2473)."""
    (captured,) = read(tmp_path, pcap([(0.0, octets)]))
    assert (captured.packet, captured.octets) == (V4, IP4)


def test_endless_tunnels_are_left(tmp_path: Path) -> None:
    """A packet of nothing but tunnel headers costs a bounded effort."""
    octets = IP4
    for _ in range(40):
        octets = build_ip(V4.src, V4.dst, 4, octets)
    reader = CaptureReader(write(tmp_path, pcap([(0.0, octets)])))
    assert list(reader) == []
    assert dict(reader.statistics.skipped) == {"tunnel-depth": 1}


def test_fragments_inside_a_tunnel_in_an_interleaved_capture(tmp_path: Path) -> None:
    """The completing frame gives time and number; ``octets`` is the whole packet."""
    invite = V4.changed(payload=b"INVITE sip:a SIP/2.0\r\n" + b"x" * 3000 + b"\r\n\r\n")
    whole = build_udp(invite)
    datagram = whole[20:]
    pieces = []
    for at in range(0, len(datagram), 1480):
        content = datagram[at : at + 1480]
        word = at // 8 | (0x2000 if at + 1480 < len(datagram) else 0)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 9, word, 64, 17, 0)
        pieces.append(build_ip(V6.src, V6.dst, 4, head + V4.src + V4.dst + content))
    frames = [(1.0, pieces[0]), (2.0, IP6), (3.0, pieces[2]), (4.0, pieces[1])]
    assert read(tmp_path, pcap(frames)) == [
        Captured(2.0, V6, IP6, 1),
        Captured(4.0, invite, whole, 3),
    ]


def tcp(sequence: int, content: bytes) -> bytes:
    head = struct.pack("!HHLLBBHHH", 40_000, 5060, sequence, 0, 0x50, 0x10, 0, 0, 0)
    return build_ip(V4.src, V4.dst, 6, head + content)


def test_messages_of_a_stream(tmp_path: Path) -> None:
    """Two messages in three segments, one of them lost until the end of the capture."""
    octets = OPTIONS * 3
    frames = [
        (1.0, tcp(0, octets[:70])),
        (2.0, tcp(80, octets[80:])),
        (3.0, ICMP),
    ]
    reader = CaptureReader(write(tmp_path, pcap(frames)))
    expected = V4.changed(sport=40_000, dport=5060, transport="tcp")
    assert list(reader) == [Captured(1.0, expected, b"", 0)]
    frames[2] = (3.0, tcp(70, octets[70:80]))
    reader = CaptureReader(write(tmp_path, pcap(frames)))
    assert [(one.time_s, one.frame_index, one.packet) for one in reader] == [
        (1.0, 0, expected),
        (3.0, 2, expected),
        (3.0, 2, expected),
    ]
    assert reader.statistics.stream_messages == 3


def test_what_waits_behind_a_gap_comes_at_the_end(tmp_path: Path) -> None:
    """A lost segment costs its message, not the ones after it."""
    frames = [(1.0, tcp(0, OPTIONS[:9])), (2.0, tcp(len(OPTIONS), OPTIONS)), (3.0, ICMP)]
    reader = CaptureReader(write(tmp_path, pcap(frames)))
    assert [(one.time_s, one.packet.payload) for one in reader] == [(3.0, OPTIONS)]
    assert reader.statistics.skipped == {"ip-protocol-1": 1, "tcp-gap": 1}


def test_a_segment_that_the_network_card_still_had_to_cut(tmp_path: Path) -> None:
    """With segmentation offload the sender's own capture shows length 0."""
    whole = tcp(0, OPTIONS)
    for linktype, front in ((RAW, b""), (1, MACS + b"\x08\x00")):
        frame = front + whole[:2] + b"\x00\x00" + whole[4:]
        assert [one.payload for one in packets(tmp_path, pcap([(0.0, frame)], linktype))] == [
            OPTIONS
        ]


# --- writing


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """Stored packets can be replayed, with their times, by their owner alone."""
    path = tmp_path / "stored.pcap"
    writer = PcapWriter(path)
    writer.write(1_700_000_000.123456, IP4)
    writer.write(1_700_000_001.9999996, IP6)
    writer.close()
    assert list(read_capture(path)) == [
        Captured(1_700_000_000.123456, V4, IP4, 0),
        Captured(1_700_000_002.0, V6, IP6, 1),
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_refusing_disk_is_an_edge_error(tmp_path: Path) -> None:
    """No folder, or no space."""
    with pytest.raises(EdgeError, match="cannot write"):
        PcapWriter(tmp_path / "absent" / "stored.pcap")
    if Path("/dev/full").exists():
        writer = PcapWriter("/dev/full")
        with pytest.raises(EdgeError, match="No space"):
            writer.write(0.0, bytes(100_000))
        with contextlib.suppress(EdgeError):
            writer.close()


# --- totality

SAMPLES = [
    pcap(
        [(1.0, IP4), (2.0, tcp(0, OPTIONS)), (3.0, ICMP), (4.0, build_ip(V4.src, V4.dst, 4, IP6))]
    ),
    pcap([(1.0, MACS + b"\x81\x00\x00\x05\x08\x00" + IP4)], 1, ">"),
    section() + interface(options=option(9, b"\x06")) + enhanced(IP4, 5) + enhanced(IP6, 6),
    gzip.compress(pcap([(1.0, IP4)])),
]


def exhaust(path: Path) -> None:
    """Read to the end; only EdgeError may stop it."""
    with contextlib.suppress(EdgeError):
        for captured in read_capture(path):
            assert isinstance(captured.packet.payload, bytes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.integers(0, 400),
)
def test_damaged_captures_are_total(
    tmp_path: Path, octets: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    """Whatever a broken disk makes of a capture, it is read or refused."""
    damaged = bytearray(octets[: len(octets) - cut // 4])
    for position, value in changes:
        damaged[position % len(damaged)] = value
    exhaust(write(tmp_path, bytes(damaged)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([0, 1, 12, 101, 108, 113, 228, 276]),
    st.lists(st.binary(max_size=80), max_size=6),
)
def test_random_frames_are_total(tmp_path: Path, linktype: int, frames: list[bytes]) -> None:
    """No frame of any link type raises."""
    reader = CaptureReader(write(tmp_path, pcap([(0.0, frame) for frame in frames], linktype)))
    list(reader)
    assert reader.statistics.frames == len(frames)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x0a\x0d\x0d\x0a", b"\x1f\x8b\x08"]))
def test_random_files_are_total(tmp_path: Path, octets: bytes, magic: bytes) -> None:
    """No file raises anything but EdgeError."""
    exhaust(write(tmp_path, magic + octets))


# --- other people's captures

START_LINE = re.compile(rb"(?:\r\n)*(?:SIP/2\.0 ([0-9]{3}) |([A-Z]+) [^\r\n ]+ SIP/2\.0\r\n)")


def counted(path: Path) -> tuple[int, str, str]:
    """Return frames, methods and statuses as the corpus index writes them."""
    methods: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    reader = CaptureReader(path)
    for captured in reader:
        if found := START_LINE.match(captured.packet.payload):
            counter, word = (statuses, found[1]) if found[1] else (methods, found[2])
            counter[word.decode()] += 1
    rows = [
        ",".join(f"{word}:{count}" for word, count in sorted(counter.items()))
        for counter in (methods, statuses)
    ]
    return reader.statistics.frames, rows[0], rows[1]


def test_the_corpus_is_read_as_tshark_reads_it() -> None:
    """Frames, methods and statuses of every capture equal the index, which tshark counted.

    There is no difference left to explain: TCP, WebSocket, IP in IP and SIP
    on odd ports included.
    """
    index = CORPUS / "INDEX.md"
    if not index.is_file():
        return
    expected, seen = {}, {}
    for line in index.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 10 and cells[0].startswith("pcap/"):
            expected[cells[0]] = (int(cells[1]), cells[3], cells[4])
            seen[cells[0]] = counted(CORPUS / cells[0])
    assert len(expected) > 40
    assert seen == expected

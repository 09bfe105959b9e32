"""What a capture file holds for the guard: UDP datagrams, and SIP messages of TCP and WebSocket.

From frame to packet: link layer (Ethernet with VLAN and PPPoE, Linux cooked
v1 and v2, raw IP, null and loopback), IP in IP, fragments, TCP. Every frame
that yields nothing is counted by kind, so that nobody takes a silent skip for
a quiet night.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sipguard.edge.pcap_file import PcapWriter, Progress, Source, Warn, read_frames
from sipguard.edge.reassembly import Defragmenter, StreamMessage, TcpStreams
from sipguard.errors import HostileInput
from sipguard.wire.packet import UDP, IpHeader, Packet, parse_ip, parse_packet

__all__ = ["CaptureReader", "CaptureStatistics", "Captured", "PcapWriter", "read_capture"]

MAX_TUNNELS: Final = 4  # IP in IP, one inside the other
MAX_TAGS: Final = 4  # VLAN tags on one frame

_TCP: Final = 6
_IN_IP: Final = frozenset({4, 41})  # RFC 2003, RFC 2473
_VLAN_TAGS: Final = frozenset({0x8100, 0x88A8, 0x9100})
_PPPOE_SESSION: Final = 0x8864
_PPP_IP: Final = frozenset({0x0021, 0x0057})
_ETHER_IP: Final = frozenset({0x0800, 0x86DD})


class Captured(NamedTuple):
    """One datagram or stream message, with the time and number of the frame that completed it.

    ``octets`` is the whole IP packet, reassembled and out of its tunnel; empty
    for messages of streams. ``frame_index`` counts from 0.
    """

    time_s: float
    packet: Packet
    octets: bytes
    frame_index: int


@dataclass(slots=True)
class CaptureStatistics:
    """What was read, and what was left aside and why.

    Kinds in ``skipped``: ``link-type-N``, ``not-ip``, ``malformed``,
    ``ip-protocol-N``, ``tunnel-depth``, ``fragment-overlap``, ``-timeout``,
    ``-duplicate``, ``-malformed`` and ``-evicted``, ``tcp-malformed``,
    ``-retransmission``, ``-gap`` and ``-evicted``, ``stream-unframed`` and
    ``-incomplete``. A frame cut short by the capture counts as malformed.
    ``frames`` is filled in when the iteration ends, however it ends.
    """

    frames: int = 0
    datagrams: int = 0
    stream_messages: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def skip(self, kind: str) -> None:
        """Count one thing left aside."""
        self.skipped[kind] += 1


def read_capture(
    path: str | os.PathLike[str],
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> Iterator[Captured]:
    """Yield what a capture holds, in file order and constant memory; see ``CaptureReader``."""
    return iter(CaptureReader(path, progress, warn))


class CaptureReader:
    """Reads one capture file, once.

    Args:
        path: pcap or pcapng, perhaps gzip; found out by content, not by name.
        progress: Called after each piece with octets read and octets in all.
        warn: Told, in one sentence, of a file that ends inside a frame. What
            came before is yielded, and no exception follows.

    Raises:
        EdgeError: the file cannot be opened; while iterating, when it is no
            capture or damaged, after everything before the damage was yielded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        progress: Progress | None = None,
        warn: Warn | None = None,
    ) -> None:
        self.statistics = CaptureStatistics()
        self._source = Source(path, progress)
        self._warn: Warn = warn or _ignore
        self._defragmenter = Defragmenter(self.statistics.skip)
        self._streams = TcpStreams(self.statistics.skip)

    def close(self) -> None:
        """Close the file; the end of an iteration does it, too."""
        self._source.close()

    def __iter__(self) -> Iterator[Captured]:
        statistics = self.statistics
        index, time_s = -1, 0.0
        new = tuple.__new__
        try:
            for index, (time_s, linktype, frame) in enumerate(
                read_frames(self._source, self._warn)
            ):
                octets = _READERS.get(linktype, _read_nothing)(frame)
                if not octets:
                    statistics.skip("not-ip" if linktype in _READERS else f"link-type-{linktype}")
                    continue
                try:
                    packet = parse_packet(octets)
                except HostileInput:
                    yield from self._read_unusual(octets, time_s, index)
                else:
                    statistics.datagrams += 1
                    yield new(Captured, (time_s, packet, octets, index))
            for message in self._streams.finish():
                yield self._stream_message(message, time_s, index)
        finally:
            statistics.frames = index + 1
            self.close()

    def _read_unusual(self, octets: bytes, time_s: float, index: int) -> Iterator[Captured]:
        """Read what is no plain datagram: tunnels, fragments, TCP."""
        for _ in range(2 * MAX_TUNNELS):
            try:
                header = parse_ip(octets)
            except HostileInput:
                self.statistics.skip("malformed")
                return
            if header.protocol == _TCP and not header.fragmented:
                for message in self._streams.add(header.src, header.dst, octets[header.start :]):
                    yield self._stream_message(message, time_s, index)
                return
            if header.protocol == UDP and not header.fragmented:
                yield from self._read_datagram(octets, time_s, index)
                return
            inner = self._unwrap(octets, header, time_s)
            if inner is None:
                return
            octets = inner
        self.statistics.skip("tunnel-depth")

    def _unwrap(self, octets: bytes, header: IpHeader, time_s: float) -> bytes | None:
        """Return the packet inside a tunnel, or the whole one that a fragment completes."""
        if header.fragmented:
            return self._defragmenter.add(octets, header, time_s)
        if header.protocol in _IN_IP:
            return _ip_at(octets, header.start)
        self.statistics.skip(f"ip-protocol-{header.protocol}")
        return None

    def _read_datagram(self, octets: bytes, time_s: float, index: int) -> Iterator[Captured]:
        try:
            packet = parse_packet(octets)
        except HostileInput:
            self.statistics.skip("malformed")
            return
        self.statistics.datagrams += 1
        yield Captured(time_s, packet, octets, index)

    def _stream_message(self, message: StreamMessage, time_s: float, index: int) -> Captured:
        self.statistics.stream_messages += 1
        return Captured(time_s, Packet(*message), b"", index)


def _ignore(_sentence: str) -> None:
    """Warn nobody."""


def _ip_at(frame: bytes, at: int) -> bytes:
    """Return the IP packet that starts here, without the padding behind it; empty if none does."""
    version = frame[at] >> 4 if at < len(frame) else 0
    if version == 4 and len(frame) - at >= 20:
        total = frame[at + 2] << 8 | frame[at + 3]
        if total == 0:
            return _with_length(frame[at:], 2, 0, 9)
        return frame[at : at + total]
    if version == 6 and len(frame) - at >= 40:
        length = frame[at + 4] << 8 | frame[at + 5]
        if length == 0:
            return _with_length(frame[at:], 4, 40, 6)
        return frame[at : at + 40 + length]
    return b""


def _with_length(octets: bytes, position: int, header: int, protocol: int) -> bytes:
    """Fill in the length that a sender's card writes only after the capture saw the packet.

    With segmentation offload a big TCP segment may be captured with length 0.
    """
    length = len(octets) - header
    if octets[protocol] != _TCP or length > 0xFFFF:
        return octets
    return octets[:position] + length.to_bytes(2, "big") + octets[position + 2 :]


def _by_ethertype(frame: bytes, kind: int, at: int) -> bytes:
    """Return the IP packet behind an EtherType whose own header, if any, starts at *at*."""
    for _ in range(MAX_TAGS):
        if kind not in _VLAN_TAGS:
            break
        kind = int.from_bytes(frame[at + 2 : at + 4], "big")
        at += 4
    if kind in _ETHER_IP:
        return _ip_at(frame, at)
    # PPPoE (RFC 2516): six octets, then the PPP protocol.
    if kind == _PPPOE_SESSION and int.from_bytes(frame[at + 6 : at + 8], "big") in _PPP_IP:
        return _ip_at(frame, at + 8)
    return b""


def _read_ethernet(frame: bytes) -> bytes:
    if frame[12:15] == b"\x08\x00\x45" and len(frame) >= 42:  # nearly every frame
        return frame[14 : 14 + (frame[16] << 8 | frame[17])] or _ip_at(frame, 14)
    return _by_ethertype(frame, int.from_bytes(frame[12:14], "big"), 14)


def _read_cooked(frame: bytes) -> bytes:
    return _by_ethertype(frame, int.from_bytes(frame[14:16], "big"), 16)


def _read_cooked_2(frame: bytes) -> bytes:
    return _by_ethertype(frame, int.from_bytes(frame[0:2], "big"), 20)


def _read_raw(frame: bytes) -> bytes:
    return _ip_at(frame, 0)


def _read_null(frame: bytes) -> bytes:
    # The address family's number and byte order are the capturing host's; the version tells enough.
    return _ip_at(frame, 4)


def _read_nothing(_frame: bytes) -> bytes:
    return b""


# Numbers as in the tcpdump.org registry; 12 and 14 are DLT values that old files carry.
_READERS: Final[dict[int, Callable[[bytes], bytes]]] = {
    0: _read_null,
    1: _read_ethernet,
    12: _read_raw,
    14: _read_raw,
    101: _read_raw,
    108: _read_null,
    113: _read_cooked,
    228: _read_raw,
    229: _read_raw,
    276: _read_cooked_2,
}

"""IP fragments (RFC 791, RFC 8200) and TCP segments (RFC 9293) of a capture, put together again.

The live gateway needs neither: the kernel hands it whole datagrams, and its
streams end in the kernel's own TCP. Both tables are bounded in number, octets
and capture time; nothing here reads a clock.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from sipguard.streams.capture import SipStream
from sipguard.wire.packet import IPV6_FRAGMENT, IpHeader, build_ip

MAX_DATAGRAMS: Final = 1024
MAX_FRAGMENTS: Final = 256  # of one datagram; 65,535 octets at the old minimum MTU of 576 need 120
FRAGMENT_TIMEOUT_S: Final = 30.0  # Linux' own ipfrag_time
MAX_DIRECTIONS: Final = 4096
MAX_HELD_OCTETS: Final = 32 * 1024 * 1024  # of all streams together
MAX_PENDING_OCTETS: Final = 256 * 1024  # out of order, of one direction
MAX_PENDING_SEGMENTS: Final = 256

Count = Callable[[str], None]

_SEGMENT: Final = struct.Struct("!HHLLBB")
_SYN: Final = 2
_FAR: Final = 1 << 24  # no window of a SIP connection is as wide: another connection's numbers


class _Datagram:
    """The fragments of one datagram so far."""

    __slots__ = ("first_s", "pieces", "refused", "total")

    def __init__(self, first_s: float) -> None:
        self.first_s = first_s
        self.pieces: dict[int, bytes] = {}
        self.total = -1  # known once the last fragment is there
        self.refused = False


class Defragmenter:
    """Puts fragments together; refuses the whole datagram if any two overlap (RFC 5722)."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._waiting: OrderedDict[tuple[bytes, ...], _Datagram] = OrderedDict()

    def add(self, octets: bytes, header: IpHeader, time_s: float) -> bytes | None:
        """Take one fragment; return the whole IP packet, without options, once it is complete."""
        self._expire(time_s)
        fragment = _read_fragment(octets, header)
        if fragment is None:
            self._count("fragment-malformed")
            return None
        key, protocol, offset, more, content = fragment
        datagram = self._waiting.get(key)
        if datagram is None:
            if len(self._waiting) >= MAX_DATAGRAMS:
                self._waiting.popitem(last=False)
                self._count("fragment-evicted")
            datagram = self._waiting[key] = _Datagram(time_s)
        if datagram.refused or not self._place(datagram, offset, more, content):
            return None
        whole = _join(datagram)
        if whole is None:
            return None
        del self._waiting[key]
        if len(whole) + 20 > 65535:
            self._count("fragment-malformed")
            return None
        return build_ip(header.src, header.dst, protocol, whole)

    def _place(self, datagram: _Datagram, offset: int, more: bool, content: bytes) -> bool:
        """Add one piece; a refused datagram stays, so that its later fragments are refused too."""
        end = offset + len(content)
        if datagram.pieces.get(offset) == content and more == (datagram.total != end):
            self._count("fragment-duplicate")  # the same frame seen twice by the capture
            return False
        known = datagram.total
        last = max((at + len(piece) for at, piece in datagram.pieces.items()), default=0)
        if (
            (known >= 0 and (end > known or not more))
            or (not more and last > end)
            or len(datagram.pieces) >= MAX_FRAGMENTS
            or any(at < end and offset < at + len(p) for at, p in datagram.pieces.items())
        ):
            datagram.refused = True
            datagram.pieces.clear()
            self._count("fragment-overlap")
            return False
        datagram.pieces[offset] = content
        if not more:
            datagram.total = end
        return True

    def _expire(self, time_s: float) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            if time_s - self._waiting[key].first_s <= FRAGMENT_TIMEOUT_S:
                return
            del self._waiting[key]
            self._count("fragment-timeout")


def _read_fragment(
    octets: bytes, header: IpHeader
) -> tuple[tuple[bytes, ...], int, int, bool, bytes] | None:
    """Return key, upper protocol, offset, "more follow" and content of a fragment."""
    start, protocol = header.start, header.protocol
    if protocol == IPV6_FRAGMENT and len(header.src) == 16:
        if len(octets) < start + 8:
            return None
        protocol, word = octets[start], int.from_bytes(octets[start + 2 : start + 4], "big")
        offset, more, name = word & 0xFFF8, bool(word & 1), octets[start + 4 : start + 8]
        start += 8
        key: tuple[bytes, ...] = (header.src, header.dst, name)
    else:
        word = int.from_bytes(octets[6:8], "big")
        offset, more = (word & 0x1FFF) * 8, bool(word & 0x2000)
        key = (header.src, header.dst, octets[4:6], octets[9:10])
    content = octets[start:]
    if not content or (more and len(content) % 8) or offset + len(content) > 65535:
        return None
    return key, protocol, offset, more, content


def _join(datagram: _Datagram) -> bytes | None:
    """Return the whole content; pieces never overlap, so their sizes tell whether all are there."""
    if datagram.total < 0 or sum(map(len, datagram.pieces.values())) != datagram.total:
        return None
    return b"".join(datagram.pieces[at] for at in sorted(datagram.pieces))


class StreamMessage(NamedTuple):
    """One SIP message of a stream, and the ends of its direction."""

    src: bytes
    dst: bytes
    sport: int
    dport: int
    octets: bytes
    transport: str


class _Direction:
    """One direction of one connection; positions count octets without wrapping."""

    __slots__ = ("ends", "initial", "next", "pending", "sequence", "stream")

    def __init__(self, ends: tuple[bytes, bytes, int, int], sequence: int) -> None:
        self.ends = ends
        self.initial = sequence
        self.sequence = sequence  # the 32-bit number of position ``next``
        self.next = 0
        self.pending: list[tuple[int, bytes]] = []  # sorted, never overlapping
        self.stream = SipStream()

    def held(self) -> int:
        return self.stream.held + sum(len(content) for _, content in self.pending)


class TcpStreams:
    """Orders the segments of each direction (first copy wins) and frames SIP on them."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._directions: OrderedDict[tuple[bytes, bytes, int, int], _Direction] = OrderedDict()
        self._held = 0

    def add(self, src: bytes, dst: bytes, segment: bytes) -> list[StreamMessage]:
        """Take one TCP segment, header included; return the messages it completes."""
        if len(segment) < 20:
            self._count("tcp-malformed")
            return []
        sport, dport, sequence, _, offset, flags = _SEGMENT.unpack_from(segment)
        start = (offset >> 4) * 4
        if not 20 <= start <= len(segment):
            self._count("tcp-malformed")
            return []
        ends = (src, dst, sport, dport)
        content = segment[start:]
        if flags & _SYN:
            sequence = (sequence + 1) & 0xFFFFFFFF
            self._restart(ends, sequence)
        direction = self._direction(ends, sequence)
        before = direction.held()
        messages = self._place(direction, sequence, content) if content else []
        self._held += direction.held() - before
        while self._held > MAX_HELD_OCTETS:
            self._evict()
        return messages

    def finish(self) -> list[StreamMessage]:
        """The capture is over: deliver what still waited behind missing segments."""
        messages: list[StreamMessage] = []
        for direction in self._directions.values():
            while direction.pending:
                messages += self._skip_gap(direction)
            if direction.stream.held:
                self._count("stream-incomplete")
        self._directions.clear()
        self._held = 0
        return messages

    def _direction(self, ends: tuple[bytes, bytes, int, int], sequence: int) -> _Direction:
        direction = self._directions.get(ends)
        if direction is None:
            if len(self._directions) >= MAX_DIRECTIONS:
                self._evict()
            direction = self._directions[ends] = _Direction(ends, sequence)
        else:
            self._directions.move_to_end(ends)
        return direction

    def _restart(self, ends: tuple[bytes, bytes, int, int], sequence: int) -> None:
        """A SYN begins a new connection on these ports, unless it is the old one seen again."""
        known = self._directions.get(ends)
        if known is not None and known.initial != sequence:
            self._held -= known.held()
            del self._directions[ends]

    def _evict(self) -> None:
        """Forget the direction that was silent longest; ended ones go this way, too."""
        _, direction = self._directions.popitem(last=False)
        if held := direction.held():
            self._held -= held
            self._count("tcp-evicted")

    def _place(self, direction: _Direction, sequence: int, content: bytes) -> list[StreamMessage]:
        distance = (sequence - direction.sequence + 0x80000000) % 0x100000000 - 0x80000000
        if abs(distance) > _FAR:
            self._count("tcp-gap")
            direction.pending.clear()
            direction.stream.gap()
            direction.sequence, distance = sequence, 0
        if distance <= 0:
            fresh = content[-distance:]
            if not fresh:
                self._count("tcp-retransmission")
                return []
            if not direction.pending:
                return self._deliver(direction, fresh)
            _insert(direction.pending, direction.next, fresh)
            return self._drain(direction)
        _insert(direction.pending, direction.next + distance, content)
        messages: list[StreamMessage] = []
        while _is_overfull(direction.pending):
            messages += self._skip_gap(direction)
        return messages

    def _deliver(self, direction: _Direction, content: bytes) -> list[StreamMessage]:
        stream = direction.stream
        lost = stream.lost
        direction.next += len(content)
        direction.sequence = (direction.sequence + len(content)) & 0xFFFFFFFF
        messages = [
            StreamMessage(*direction.ends, octets, stream.transport)
            for octets in stream.feed(content)
        ]
        if stream.lost > lost:
            self._count("stream-unframed")
        return messages

    def _drain(self, direction: _Direction) -> list[StreamMessage]:
        """Deliver what waited, as far as it is now in order."""
        messages: list[StreamMessage] = []
        pending = direction.pending
        while pending and pending[0][0] <= direction.next:
            position, content = pending.pop(0)
            messages += self._deliver(direction, content[direction.next - position :])
        return messages

    def _skip_gap(self, direction: _Direction) -> list[StreamMessage]:
        """Give up on missing octets; the framing starts anew behind them."""
        self._count("tcp-gap")
        direction.stream.gap()
        position = direction.pending[0][0]
        direction.sequence = (direction.sequence + position - direction.next) & 0xFFFFFFFF
        direction.next = position
        return self._drain(direction)


def _is_overfull(pending: list[tuple[int, bytes]]) -> bool:
    return (
        len(pending) > MAX_PENDING_SEGMENTS
        or sum(len(content) for _, content in pending) > MAX_PENDING_OCTETS
    )


def _insert(pending: list[tuple[int, bytes]], position: int, content: bytes) -> None:
    """Add only the octets that no earlier segment brought; a rewrite comes too late."""
    end = position + len(content)
    added = []
    at = position
    for start, known in pending:
        if start + len(known) <= at or start >= end:
            continue
        if at < start:
            added.append((at, content[at - position : start - position]))
        at = start + len(known)
    if at < end:
        added.append((at, content[at - position :]))
    pending += added
    pending.sort()

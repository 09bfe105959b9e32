"""Which pinholes an agreed stream needs, which may not exist, and who uses the open ones.

Media is symmetric here: one hole per direction and port, from the address
one side's SDP names to the address and port the other side's names.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Reason
from sipguard.verdict import Hole
from sipguard.wire.sdp import Media

LOWEST_PORT: Final = 1024
MAX_PORT_PAIRS: Final = 4  # m= lines with a port count; none are seen outside of lectures
# SIP itself, and services that an RTP stack never picks but an attacker would (SDP-8).
FORBIDDEN_PORTS: Final = frozenset((1433, 1521, 3306, 3389, 5060, 5061, 5432, 6379, 11_211, 27_017))
UNSPECIFIED: Final = frozenset((bytes(4), bytes(16)))


_PORT: Final = 0xFFFF


@final
@mypyc_attr(acyclic=True)
class Line:
    """The holes of one ``m=`` line, all of them between two addresses; none where it is off.

    100,000 calls keep one each, so it holds what its holes have in common,
    and makes them when somebody asks. Ports are packed, 16 bits for each, RTP lowest.
    """

    __slots__ = ("callee", "caller", "method", "to_callee", "to_caller")

    def __init__(
        self, caller: bytes, callee: bytes, to_caller: int, to_callee: int, method: str
    ) -> None:
        self.caller = caller  # media address as last known, or empty
        self.callee = callee
        self.to_caller = to_caller  # ports that the callee may send to
        self.to_callee = to_callee
        self.method = method

    def holes(self) -> list[Hole]:
        """Return the holes, those towards the caller first, RTP before RTCP."""
        found = self.holes_to_caller()
        found += self.holes_to_callee()
        return found

    def holes_to_caller(self) -> list[Hole]:
        """Return the holes towards the caller, RTP first."""
        return _holes(self.callee, self.caller, self.to_caller)

    def holes_to_callee(self) -> list[Hole]:
        """Return the holes towards the callee, RTP first."""
        return _holes(self.caller, self.callee, self.to_callee)

    def has_holes_of(self, other: "Line") -> bool:
        """Report whether both lines are the same holes."""
        return (
            self.to_caller == other.to_caller
            and self.to_callee == other.to_callee
            and self.caller == other.caller
            and self.callee == other.callee
        )

    def hole_at(self, address: bytes, port: int) -> Hole | None:
        """Return the hole that leads to this end."""
        for hole in self.holes():
            if hole.port == port and hole.destination == address:
                return hole
        return None


def _holes(source: bytes, destination: bytes, ports: int) -> list[Hole]:
    found = []
    while ports:
        found.append(Hole(source, destination, ports & _PORT))
        ports >>= 16
    return found


OFF: Final = Line(b"", b"", 0, 0, "")


def plan(caller: Media, callee: Media, before: Line, method: str) -> Line:
    """Return the holes for one agreed stream.

    An unspecified address in ``c=`` is the old way to hold: nothing may go to
    that party, but what it sends still comes from the address it had *before*
    (PIN-9).

    Raises:
        HostileInput: ``HOLE_FORBIDDEN`` for an end that no hole may lead to.
    """
    caller_address, callee_address = caller.address, callee.address
    caller_listens = caller_address not in UNSPECIFIED
    callee_listens = callee_address not in UNSPECIFIED
    if caller_listens:
        _refuse_forbidden(caller)
    else:
        caller_address = before.caller
    if callee_listens:
        _refuse_forbidden(callee)
    else:
        callee_address = before.callee
    if not (caller_address and callee_address):
        return Line(b"", b"", 0, 0, method)
    if len(caller_address) != len(callee_address):
        raise HostileInput(Reason.HOLE_FORBIDDEN, "the ends are of different address families")
    mux = caller.rtcp_mux and callee.rtcp_mux
    to_caller = _ports(caller, mux) if caller_listens else 0
    to_callee = _ports(callee, mux) if callee_listens else 0
    if caller_address == callee_address:
        # A host that calls itself: both directions may be one and the same hole.
        to_callee = _without(to_callee, to_caller)
    if not (to_caller or to_callee):
        return Line(b"", b"", 0, 0, method)
    return Line(caller_address, callee_address, to_caller, to_callee, method)


def _refuse_forbidden(media: Media) -> None:
    if not media.address:
        raise HostileInput(Reason.HOLE_FORBIDDEN, "no usable media address")
    if is_forbidden_address(media.address):
        raise HostileInput(Reason.HOLE_FORBIDDEN, "a media address that is not one host's")
    if is_forbidden_port(media.port):
        raise HostileInput(Reason.HOLE_FORBIDDEN, f"media port {media.port}")
    if media.port_count > MAX_PORT_PAIRS:
        raise HostileInput(Reason.HOLE_LIMIT, "too many ports on one media line")


def is_forbidden_port(port: int) -> bool:
    """Report a port that no media may be sent to (SDP-8)."""
    return port < LOWEST_PORT or port > 65_535 or port in FORBIDDEN_PORTS


def is_forbidden_address(address: bytes) -> bool:
    """Report multicast, loopback, link-local, unspecified, broadcast and mapped addresses."""
    if len(address) == 4:
        first = address[0]
        return first in (0, 127) or first >= 224 or address[:2] == b"\xa9\xfe"
    # ::/96 holds the unspecified, the loopback and IPv4-compatible addresses.
    mapped = address[:10] == bytes(10) and address[10:12] in (b"\xff\xff", b"\0\0")
    return address[0] == 0xFF or address[:2] in _LINK_LOCAL or mapped


_LINK_LOCAL: Final = frozenset(bytes((0xFE, second)) for second in range(0x80, 0xC0))


def _ports(media: Media, mux: bool) -> int:
    """Return the RTP ports and, unless multiplexed, the RTCP ports of one end (PIN-10), packed."""
    port = media.port
    if media.port_count > 1:
        last = port + 2 * media.port_count
        counted = range(port, last, 2 if mux else 1)
        return _packed([port for port in counted if not is_forbidden_port(port)])
    if mux:
        return port
    rtcp = port + 1
    # An RTCP address of another host would be a hole towards a third party.
    named = media.rtcp
    if named is not None and named[1] in (b"", media.address):
        rtcp = named[0]
    if rtcp == port or is_forbidden_port(rtcp):
        return port
    return rtcp << 16 | port


def _packed(ports: list[int]) -> int:
    packed = 0
    for port in reversed(ports):
        packed = packed << 16 | port
    return packed


def _without(ports: int, others: int) -> int:
    """Return *ports* but those that are among *others*."""
    taken = _unpacked(others)
    return _packed([port for port in _unpacked(ports) if port not in taken])


def _unpacked(ports: int) -> list[int]:
    found = []
    while ports:
        found.append(ports & _PORT)
        ports >>= 16
    return found


class Use(Enum):
    """What became of the wish to use a hole."""

    OPENED = "opened"
    SHARED = "shared"
    COLLISION = "collision"
    FULL = "full"


class HoleBook:
    """Every open hole and how often it is used; a hole closes with its last use.

    Keyed by where a hole leads, because a port that one call listens on must
    not be opened to another call's peer (SDP-9). Nearly every stream is alone
    on the pair of ports at each of its ends (2n and 2n + 1, RTP and RTCP), so
    the book has one entry for each of these pairs, and it is the stream's line.
    Where a pair is shared in any other way its holes stand one by one, and
    the pair's entry says so.
    """

    __slots__ = ("_beside", "_pairs", "_shared", "_single", "_uses", "capacity", "count")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = 0
        self._pairs: dict[bytes, Line] = {}
        self._shared: dict[bytes, int] = {}  # uses of a line, where they are several
        # One by one: by end, further sources of one call's forks, several uses of one hole.
        self._single: dict[bytes, Hole] = {}
        self._beside: dict[bytes, list[Hole]] = {}
        self._uses: dict[Hole, int] = {}

    # --- lines

    def claim(self, line: Line, room: int) -> int:
        """Open the holes of *line* in one go where nobody uses their ends yet.

        Returns:
            How many; 0 where they must be opened one by one.
        """
        pairs = self._pairs
        to_caller, to_callee = line.to_caller, line.to_callee
        count = _count(to_caller) + _count(to_callee)
        if count > room or self.count + count > self.capacity or line.caller == line.callee:
            return 0
        near = far = b""
        if to_caller:
            near = _pair(line.caller, to_caller)
            if not near or near in pairs:
                return 0
        if to_callee:
            far = _pair(line.callee, to_callee)
            if not far or far in pairs:
                return 0
            pairs[far] = line
        if near:
            pairs[near] = line
        self.count += count
        return count

    def share(self, line: Line) -> bool:
        """Count one more use of a line that is open as it stands; False where it is not."""
        key = self._key(line)
        if not key:
            return False
        self._shared[key] = self._shared.get(key, 1) + 1
        return True

    def release_line(self, line: Line) -> list[Hole]:
        """Take one use of each hole back; return those that must close."""
        key = self._key(line)
        if not key:
            return [hole for hole in line.holes() if self.release(hole)]
        if self._shared:
            uses = self._shared.pop(key, 1)
            if uses > 2:
                self._shared[key] = uses - 1
            if uses > 1:
                return []
        if line.to_caller:
            del self._pairs[_pair(line.caller, line.to_caller)]
        if line.to_callee:
            del self._pairs[_pair(line.callee, line.to_callee)]
        holes = line.holes()
        self.count -= len(holes)
        return holes

    def _key(self, line: Line) -> bytes:
        """Return the first key of a line that the book has as it stands, else nothing."""
        if line.to_caller:
            key = _pair(line.caller, line.to_caller)
        elif line.to_callee:
            key = _pair(line.callee, line.to_callee)
        else:
            return b""
        held = self._pairs.get(key) if key else None
        if held is None or not (held is line or held.has_holes_of(line)):
            return b""
        return key

    def _break_up(self, line: Line) -> None:
        """Let the holes of a line stand one by one from now on."""
        uses = self._shared.pop(self._key(line), 1)
        for hole in line.holes():
            self._single[_end(hole)] = hole
            self._pairs[_pair(hole.destination, hole.port)] = SEVERAL
            if uses > 1:
                self._uses[hole] = uses

    # --- holes one by one

    def use(self, hole: Hole, is_ours: Callable[[Hole], bool]) -> Use:
        """Count one more use of *hole*; *is_ours* tells whether a hole is this call's own."""
        end, pair = _end(hole), _pair(hole.destination, hole.port)
        held = self._pairs.get(pair)
        if held is None or held is SEVERAL:
            first = self._single.get(end)
        else:
            first = held.hole_at(hole.destination, hole.port)
        is_open = first == hole or hole in self._beside.get(end, ())
        if not is_open:
            if first is not None and not is_ours(first):
                return Use.COLLISION
            if self.count >= self.capacity:
                return Use.FULL
        if held is not None and held is not SEVERAL:
            self._break_up(held)
        if is_open:
            self._uses[hole] = self._uses.get(hole, 1) + 1
            return Use.SHARED
        self.count += 1
        if first is None:
            self._single[end] = hole
            self._pairs[pair] = SEVERAL
        else:
            self._beside.setdefault(end, []).append(hole)
        return Use.OPENED

    def release(self, hole: Hole) -> bool:
        """Take one use back; return True where it was the last and the hole must close."""
        pair = _pair(hole.destination, hole.port)
        held = self._pairs.get(pair)
        if held is None:
            return False
        if held is not SEVERAL:
            if held.hole_at(hole.destination, hole.port) != hole:
                return False
            self._break_up(held)
        uses = self._uses.get(hole, 1)
        if uses > 1:
            if uses == 2:
                del self._uses[hole]
            else:
                self._uses[hole] = uses - 1
            return False
        return self._remove(hole, pair)

    def _remove(self, hole: Hole, pair: bytes) -> bool:
        end = _end(hole)
        beside = self._beside.get(end)
        if beside and hole in beside:
            beside.remove(hole)
        elif self._single.get(end) != hole:
            return False
        elif beside:
            self._single[end] = beside.pop(0)
        else:
            del self._single[end]
            if _end(Hole(b"", hole.destination, hole.port ^ 1)) not in self._single:
                del self._pairs[pair]
        if beside is not None and not beside:
            del self._beside[end]
        self.count -= 1
        return True

    def holes(self) -> list[Hole]:
        """Return every open hole; for status and tests, not for the hot path."""
        found = [*self._single.values(), *(hole for more in self._beside.values() for hole in more)]
        for pair, line in self._pairs.items():
            if line is not SEVERAL and self._key(line) == pair:
                found += line.holes()
        return found


SEVERAL: Final = Line(b"", b"", 0, 0, "several")


def _count(ports: int) -> int:
    """Return how many ports are packed here."""
    if ports <= _PORT:
        return 1 if ports else 0
    return 1 + _count(ports >> 16)


def _pair(address: bytes, ports: int) -> bytes:
    """Return what names the pair of ports 2n and 2n + 1 that all *ports* are of, else nothing."""
    rest = ports >> 16
    port = ports & _PORT
    if rest and rest != port ^ 1:
        return b""
    return address + (port >> 1).to_bytes(2, "big")


def _end(hole: Hole) -> bytes:
    return hole.destination + hole.port.to_bytes(2, "big")

"""Which pinholes an agreed stream needs, which may not exist, and who uses the open ones.

Media is symmetric here: one hole per direction and port, from the address
one side's SDP names to the address and port the other side's names.
"""

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.verdict import Hole
from sipguard.wire.sdp import Media

LOWEST_PORT: Final = 1024
MAX_PORT_PAIRS: Final = 4  # m= lines with a port count; none are seen outside of lectures
# SIP itself, and services that an RTP stack never picks but an attacker would (SDP-8).
FORBIDDEN_PORTS: Final = frozenset((1433, 1521, 3306, 3389, 5060, 5061, 5432, 6379, 11_211, 27_017))
UNSPECIFIED: Final = frozenset((bytes(4), bytes(16)))


class Line(NamedTuple):
    """The holes of one ``m=`` line, those towards the caller first; none where it is off."""

    holes: tuple[Hole, ...]
    to_caller_count: int
    method: str

    @property
    def to_caller(self) -> tuple[Hole, ...]:
        """The holes towards the caller, RTP first."""
        return self.holes[: self.to_caller_count]

    @property
    def to_callee(self) -> tuple[Hole, ...]:
        """The holes towards the callee, RTP first."""
        return self.holes[self.to_caller_count :]

    @property
    def caller(self) -> bytes:
        """The caller's media address as last known, or empty."""
        if self.to_caller:
            return self.to_caller[0].destination
        return self.to_callee[0].source if self.to_callee else b""

    @property
    def callee(self) -> bytes:
        """The callee's media address as last known, or empty."""
        if self.to_callee:
            return self.to_callee[0].destination
        return self.to_caller[0].source if self.to_caller else b""


OFF: Final = Line((), 0, "")


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
        return Line((), 0, method)
    if len(caller_address) != len(callee_address):
        raise HostileInput(Reason.HOLE_FORBIDDEN, "the ends are of different address families")
    mux = caller.rtcp_mux and callee.rtcp_mux
    to_caller = _holes(callee_address, caller, mux) if caller_listens else ()
    to_callee = _holes(caller_address, callee, mux) if callee_listens else ()
    if caller_address == callee_address:
        # A host that calls itself: both directions may be one and the same hole.
        to_callee = tuple([hole for hole in to_callee if hole not in to_caller])
    return Line(to_caller + to_callee, len(to_caller), method)


def _holes(source: bytes, media: Media, mux: bool) -> tuple[Hole, ...]:
    address, ports = media.address, _ports(media, mux)
    if len(ports) == 2:  # nearly always, and twice as fast
        return (Hole(source, address, ports[0]), Hole(source, address, ports[1]))
    return tuple([Hole(source, address, port) for port in ports])


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


@lru_cache(maxsize=8192)
def is_forbidden_address(address: bytes) -> bool:
    """Report multicast, loopback, link-local, unspecified, broadcast and mapped addresses."""
    if len(address) == 4:
        first = address[0]
        return first in (0, 127) or first >= 224 or address[:2] == b"\xa9\xfe"
    # ::/96 holds the unspecified, the loopback and IPv4-compatible addresses.
    mapped = address[:10] == bytes(10) and address[10:12] in (b"\xff\xff", b"\0\0")
    return address[0] == 0xFF or address[:2] in _LINK_LOCAL or mapped


_LINK_LOCAL: Final = frozenset(bytes((0xFE, second)) for second in range(0x80, 0xC0))


def _ports(media: Media, mux: bool) -> list[int]:
    """Return the RTP ports and, unless multiplexed, the RTCP ports of one end (PIN-10)."""
    if media.port_count > 1:
        last = media.port + 2 * media.port_count
        ports = list(range(media.port, last, 2 if mux else 1))
        return [port for port in ports if not is_forbidden_port(port)]
    if mux:
        return [media.port]
    rtcp = media.port + 1
    # An RTCP address of another host would be a hole towards a third party.
    if media.rtcp is not None and media.rtcp[1] in (b"", media.address):
        rtcp = media.rtcp[0]
    if rtcp == media.port or is_forbidden_port(rtcp):
        return [media.port]
    return [media.port, rtcp]


class Use(Enum):
    """What became of the wish to use a hole."""

    OPENED = "opened"
    SHARED = "shared"
    COLLISION = "collision"
    FULL = "full"


class HoleBook:
    """Every open hole and how often it is used; a hole closes with its last use.

    Keyed by where a hole leads, because a port that one call listens on must
    not be opened to another call's peer (SDP-9). The rare cases, several
    sources of one call's forks and several uses of one hole, live aside so
    that the common hole costs one small dict entry.
    """

    __slots__ = ("_at", "_beside", "_uses", "capacity", "count")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = 0
        self._at: dict[bytes, Hole] = {}
        self._beside: dict[bytes, list[Hole]] = {}
        self._uses: dict[Hole, int] = {}

    def claim(self, holes: tuple[Hole, ...], room: int) -> bool:
        """Open *holes* in one go where nobody uses their ends yet, which is the usual case."""
        count = self.count + len(holes)
        if len(holes) > room or count > self.capacity:
            return False
        at = self._at
        keys = [hole.destination + hole.port.to_bytes(2, "big") for hole in holes]
        if not at.keys().isdisjoint(keys):
            return False
        at.update(zip(keys, holes, strict=True))
        self.count = count
        return True

    def use(self, hole: Hole, is_ours: Callable[[Hole], bool]) -> Use:
        """Count one more use of *hole*; *is_ours* tells whether a hole is this call's own."""
        key = hole.destination + hole.port.to_bytes(2, "big")
        first = self._at.get(key)
        if first == hole or hole in self._beside.get(key, ()):
            self._uses[hole] = self._uses.get(hole, 1) + 1
            return Use.SHARED
        if first is not None and not is_ours(first):
            return Use.COLLISION
        if self.count >= self.capacity:
            return Use.FULL
        self.count += 1
        if first is None:
            self._at[key] = hole
        else:
            self._beside.setdefault(key, []).append(hole)
        return Use.OPENED

    def release(self, hole: Hole) -> bool:
        """Take one use back; return True where it was the last and the hole must close."""
        uses = self._uses.get(hole, 1) if self._uses else 1
        if uses > 1:
            if uses == 2:
                del self._uses[hole]
            else:
                self._uses[hole] = uses - 1
            return False
        key = hole.destination + hole.port.to_bytes(2, "big")
        beside = self._beside.get(key) if self._beside else None
        if beside and hole in beside:
            beside.remove(hole)
        elif self._at.get(key) != hole:
            return False
        elif beside:
            self._at[key] = beside.pop(0)
        else:
            del self._at[key]
        if beside is not None and not beside:
            del self._beside[key]
        self.count -= 1
        return True

    def holes(self) -> list[Hole]:
        """Return every open hole; for status and tests, not for the hot path."""
        return [*self._at.values(), *(hole for more in self._beside.values() for hole in more)]

"""Who uses the open pinholes, and which stream a packet through one belongs to."""

from collections.abc import Callable
from enum import Enum
from typing import Final

from sipguard.media.line import OFF, PORT_BITS, PORT_MASK, Line, count_of
from sipguard.verdict import Hole


class Use(Enum):
    """What became of the wish to use a hole."""

    OPENED = "opened"
    SHARED = "shared"
    COLLISION = "collision"
    FULL = "full"


class HoleBook:
    """Every open hole and the lines that use it; a hole closes with its last use.

    Keyed by where a hole leads, because a port that one call listens on must
    not be opened to another call's peer (SDP-9). Nearly every stream is alone
    on the pair of ports at each of its ends (2n and 2n + 1, RTP and RTCP), so
    the book has one entry for each of these pairs, and it is the stream's line.
    Where a pair is shared in any other way its holes stand one by one, and
    the pair's entry says so.
    """

    __slots__ = (
        *("_beside", "_by_peer", "_pairs", "_shared", "_single", "_users"),
        *("capacity", "count", "peer_capacity"),
    )

    def __init__(self, capacity: int, peer_capacity: int = 0) -> None:
        self.capacity = capacity
        self.peer_capacity = peer_capacity  # of the holes from or to one address; 0: no limit
        self.count = 0
        self._by_peer: dict[bytes, int] = {}
        self._pairs: dict[bytes, Line] = {}
        self._shared: dict[bytes, list[Line]] = {}  # the users of a line, where they are several
        # One by one: by end, further sources of one call's forks, the lines that use a hole.
        self._single: dict[bytes, Hole] = {}
        self._beside: dict[bytes, list[Hole]] = {}
        self._users: dict[Hole, list[Line]] = {}

    def line_at(self, source: bytes, destination: bytes, port: int) -> Line | None:
        """Return the line whose hole a packet goes through: of several, the latest agreed."""
        held = self._pairs.get(_pair(destination, port))
        if held is None:
            return None
        if held is not SEVERAL:
            return held
        users = self._users.get(Hole(source, destination, port))
        return users[-1] if users else None

    def users_at(self, hole: Hole) -> list[Line]:
        """Return all lines with this hole, the latest agreed last; one is usual."""
        held = self._pairs.get(_pair(hole.destination, hole.port))
        if held is None:
            return []
        if held is SEVERAL:
            return self._users.get(hole, [])
        return self._shared.get(self._key(held), [held])

    # --- lines

    def claim(self, line: Line, room: int) -> int:
        """Open the holes of *line* in one go where nobody uses their ends yet.

        Returns:
            How many; 0 where they must be opened one by one.
        """
        pairs = self._pairs
        to_caller, to_callee = line.to_caller, line.to_callee
        count = count_of(to_caller) + count_of(to_callee)
        if count > room or line.caller == line.callee:
            return 0
        if line.branches or not self._has_room(line.caller, line.callee, count):
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
        self._add(line.caller, line.callee, count)
        return count

    def _has_room(self, one: bytes, other: bytes, count: int) -> bool:
        """Report whether so many more holes may stand between two addresses (GEN-3)."""
        if self.count + count > self.capacity:
            return False
        most = self.peer_capacity
        if not most:
            return True
        held = self._by_peer
        return max(held.get(one, 0), held.get(other, 0)) + count <= most

    def _add(self, one: bytes, other: bytes, count: int) -> None:
        """Count holes between two addresses that were opened, or closed with a minus."""
        self.count += count
        if not self.peer_capacity:
            return
        for address in (one, other):
            left = self._by_peer.get(address, 0) + count
            if left > 0:
                self._by_peer[address] = left
            else:
                self._by_peer.pop(address, None)

    def share(self, line: Line) -> Line | None:
        """Count one more use of a line that is open as it stands.

        Returns:
            The line with these holes that was agreed last before; None where none is open.
        """
        key = self._key(line)
        if not key:
            return None
        before = self._pairs[key]
        users = self._shared.get(key)
        if users is None:
            users = self._shared[key] = [before]
        users.append(line)
        self._let_stand(line)
        return before

    def release_line(self, line: Line) -> list[Hole]:
        """Take one use of each hole back; return those that must close."""
        key = self._key(line)
        if not key:
            return [hole for hole in line.holes() if self.release(hole, line)]
        if self._shared:
            users = self._shared.get(key)
            if users is not None:
                _take_out(users, line)
                # What was agreed before holds again, with its keys (PIN-8).
                self._let_stand(users[-1])
                if len(users) == 1:
                    del self._shared[key]
                return []
        if line.to_caller:
            del self._pairs[_pair(line.caller, line.to_caller)]
        if line.to_callee:
            del self._pairs[_pair(line.callee, line.to_callee)]
        holes = line.holes()
        self._add(line.caller, line.callee, -len(holes))
        return holes

    def _let_stand(self, line: Line) -> None:
        """Let the entries of its pairs name *line*, one of several with the same holes."""
        if line.to_caller:
            self._pairs[_pair(line.caller, line.to_caller)] = line
        if line.to_callee:
            self._pairs[_pair(line.callee, line.to_callee)] = line

    def _key(self, line: Line) -> bytes:
        """Return the first key of a line that the book has as it stands, else nothing."""
        if line.branches:
            return b""
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
        users = self._shared.pop(self._key(line), [line])
        for hole in line.holes():
            self._single[_end(hole)] = hole
            self._pairs[_pair(hole.destination, hole.port)] = SEVERAL
            self._users[hole] = list(users)

    # --- holes one by one

    def use(self, hole: Hole, is_ours: Callable[[Hole], bool], line: Line = OFF) -> Use:
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
            if not self._has_room(hole.source, hole.destination, 1):
                return Use.FULL
        if held is not None and held is not SEVERAL:
            self._break_up(held)
        if is_open:
            self._users[hole].append(line)
            return Use.SHARED
        self._add(hole.source, hole.destination, 1)
        self._users[hole] = [line]
        if first is None:
            self._single[end] = hole
            self._pairs[pair] = SEVERAL
        else:
            self._beside.setdefault(end, []).append(hole)
        return Use.OPENED

    def release(self, hole: Hole, line: Line = OFF) -> bool:
        """Take one use back; return True where it was the last and the hole must close."""
        pair = _pair(hole.destination, hole.port)
        held = self._pairs.get(pair)
        if held is None:
            return False
        if held is not SEVERAL:
            if held.hole_at(hole.destination, hole.port) != hole:
                return False
            self._break_up(held)
        users = self._users.get(hole)
        if users is None:
            return False
        if len(users) > 1:
            _take_out(users, line)
            return False
        return self._remove(hole, pair)

    def _remove(self, hole: Hole, pair: bytes) -> bool:
        end = _end(hole)
        del self._users[hole]
        beside = self._beside.get(end)
        if beside and hole in beside:
            beside.remove(hole)
        elif beside:
            self._single[end] = beside.pop(0)
        else:
            del self._single[end]
            if _end(Hole(b"", hole.destination, hole.port ^ 1)) not in self._single:
                del self._pairs[pair]
        if beside is not None and not beside:
            del self._beside[end]
        self._add(hole.source, hole.destination, -1)
        return True

    def holes(self) -> list[Hole]:
        """Return every open hole; for status and tests, not for the hot path."""
        found = list(self._users)
        for pair, line in self._pairs.items():
            if line is not SEVERAL and self._key(line) == pair:
                found += line.holes()
        return found


SEVERAL: Final = Line(b"", b"", 0, 0, "several")


def _take_out(users: list[Line], line: Line) -> None:
    """Take one use out: the line's own, where it has one."""
    for at in range(len(users) - 1, -1, -1):
        if users[at] is line:
            del users[at]
            return
    users.pop()


def _pair(address: bytes, ports: int) -> bytes:
    """Return what names the pair of ports 2n and 2n + 1 that all *ports* are of, else nothing."""
    rest = ports >> PORT_BITS
    port = ports & PORT_MASK
    if rest and rest != port ^ 1:
        return b""
    return address + (port >> 1).to_bytes(2, "big")


def _end(hole: Hole) -> bytes:
    return hole.destination + hole.port.to_bytes(2, "big")

"""The pinholes of one agreed ``m=`` line, as little of them as 100,000 calls can keep."""

from typing import Final, NamedTuple, final

from sipguard.media.keys import Keys
from sipguard.media.watch import Watch
from sipguard.native import mypyc_attr
from sipguard.verdict import Hole

PORT_BITS: Final = 16
PORT_MASK: Final = 0xFFFF

# Lanes: what the packets of a stream are, by direction and by the port they go to.
BY_CALLER: Final = 1
RTCP: Final = 2
NO_LANE: Final = -1


class Branch(NamedTuple):
    """A hole of an ICE candidate pair, beside those between the default addresses."""

    hole: Hole
    lane: int


@final
@mypyc_attr(acyclic=True)
class Line:
    """The holes of one ``m=`` line; none where it is off.

    Without ICE all are between two addresses, so the line holds what its holes have in
    common, and makes them when somebody asks. Ports are packed, 16 bits for each, RTP lowest.
    ``keys`` is what was negotiated, ``watch`` what its packets have shown of that.
    """

    __slots__ = (
        *("branches", "call_id", "callee", "caller", "keys", "method"),
        *("mux", "to_callee", "to_caller", "watch"),
    )

    def __init__(
        self,
        caller: bytes,
        callee: bytes,
        to_caller: int,
        to_callee: int,
        method: str,
        mux: bool = False,
        branches: tuple[Branch, ...] = (),
    ) -> None:
        self.caller = caller  # media address as last known, or empty
        self.callee = callee
        self.to_caller = to_caller  # ports that the callee may send to
        self.to_callee = to_callee
        self.method = method
        self.mux = mux  # RTP and RTCP share each port
        self.branches = branches
        self.call_id = b""
        self.keys: Keys | None = None
        self.watch: Watch | None = None

    def again(self) -> "Line":
        """Return the same once more, for one more use of its holes."""
        line = Line(
            self.caller,
            self.callee,
            self.to_caller,
            self.to_callee,
            self.method,
            self.mux,
            self.branches,
        )
        line.call_id, line.keys = self.call_id, self.keys
        if self.watch is not None:
            line.watch = self.watch.shared()
        if line.keys is not None:
            line.keys.users += 1
        return line

    def holes(self) -> list[Hole]:
        """Return the holes, those towards the caller first, RTP before RTCP."""
        found = self.holes_to_caller()
        found += self.holes_to_callee()
        return found

    def holes_to_caller(self) -> list[Hole]:
        """Return the holes towards the caller, RTP first."""
        found = _holes(self.callee, self.caller, self.to_caller)
        if self.branches:
            found += [branch.hole for branch in self.branches if not branch.lane & BY_CALLER]
        return found

    def holes_to_callee(self) -> list[Hole]:
        """Return the holes towards the callee, RTP first."""
        found = _holes(self.caller, self.callee, self.to_callee)
        if self.branches:
            found += [branch.hole for branch in self.branches if branch.lane & BY_CALLER]
        return found

    def has_holes_of(self, other: "Line") -> bool:
        """Report whether both lines are the same holes."""
        return (
            self.to_caller == other.to_caller
            and self.to_callee == other.to_callee
            and self.caller == other.caller
            and self.callee == other.callee
            and self.branches == other.branches
        )

    def hole_at(self, address: bytes, port: int) -> Hole | None:
        """Return the hole that leads to this end."""
        for hole in self.holes():
            if hole.port == port and hole.destination == address:
                return hole
        return None

    def lane(self, source: bytes, destination: bytes, port: int) -> int:
        """Return which way a packet goes and whether to an RTCP port; ``NO_LANE`` if neither."""
        if source == self.caller and destination == self.callee:
            at = _place(self.to_callee, port)
            if at >= 0:
                return self._lane(at) | BY_CALLER
        if source == self.callee and destination == self.caller:
            at = _place(self.to_caller, port)
            if at >= 0:
                return self._lane(at)
        for hole, lane in self.branches:
            if hole.port == port and hole.destination == destination and hole.source == source:
                return lane
        return NO_LANE

    def _lane(self, place: int) -> int:
        return 0 if self.mux or not place & 1 else RTCP


def _holes(source: bytes, destination: bytes, ports: int) -> list[Hole]:
    found = []
    while ports:
        found.append(Hole(source, destination, ports & PORT_MASK))
        ports >>= PORT_BITS
    return found


def _place(ports: int, port: int) -> int:
    """Return where *port* stands among packed *ports*, -1 if it does not."""
    at = 0
    while ports:
        if ports & PORT_MASK == port:
            return at
        ports >>= PORT_BITS
        at += 1
    return -1


def packed(ports: list[int]) -> int:
    """Return the ports in one number, the first lowest."""
    number = 0
    for port in reversed(ports):
        number = number << PORT_BITS | port
    return number


def unpacked(ports: int) -> list[int]:
    """Return the ports of one number."""
    found = []
    while ports:
        found.append(ports & PORT_MASK)
        ports >>= PORT_BITS
    return found


def count_of(ports: int) -> int:
    """Return how many ports are packed here."""
    if ports <= PORT_MASK:
        return 1 if ports else 0
    return 1 + count_of(ports >> PORT_BITS)


OFF: Final = Line(b"", b"", 0, 0, "")

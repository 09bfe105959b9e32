"""What goes over the socket between guard and writer: frames one way, lines of JSON the other.

A frame is its length in four octets, its kind in one, and its content. The queue of frames has
two bounds, for a packet may be of sixty octets or of sixty thousand.
"""

import json
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from sipguard.edge.control import FeedState
from sipguard.journal.record import Json

if TYPE_CHECKING:
    from sipguard.policy.feeds import Feed

MAX_FRAMES: Final = 10_000
MAX_OCTETS: Final = 32 << 20  # that wait in the guard
CHUNK_OCTETS: Final = 64 << 10  # sent at once
MAX_LINE_OCTETS: Final = 64 << 10
_HEAD_OCTETS: Final = 5


class Kind(Enum):
    """What a frame is about."""

    OBSERVATION = b"o"
    END = b"e"  # of a stream
    JUDGED = b"j"
    TERMS = b"t"
    REOPEN = b"r"


class Terms(NamedTuple):
    """What the policy says of records."""

    per_source: int
    per_reason: int
    feeds: "tuple[Feed, ...]" = ()

    def to_octets(self) -> bytes:
        """Return the terms as a frame's content."""
        return json.dumps([self.per_source, self.per_reason, self.feeds]).encode()


def terms_of(octets: bytes) -> Terms:
    """Return what ``to_octets`` made octets of."""
    per_source, per_reason, feeds = json.loads(octets)
    if not feeds:
        return Terms(per_source, per_reason)
    from sipguard.policy.feeds import Feed  # it has the policy language loaded, which takes long

    return Terms(per_source, per_reason, tuple(Feed(*feed) for feed in feeds))


def frame(kind: Kind, content: bytes = b"") -> bytes:
    """Return one frame."""
    return len(content).to_bytes(4, "big") + kind._value_ + content


class Waiting:
    """Frames that wait to be sent, in order."""

    __slots__ = ("_frames", "octets")

    def __init__(self) -> None:
        self.octets = 0
        self._frames: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def keep(self, one: bytes) -> bool:
        """Have a frame wait if there is room, and return whether there was."""
        if len(self._frames) >= MAX_FRAMES or self.octets >= MAX_OCTETS:
            return False
        self.add(one)
        return True

    def add(self, one: bytes) -> None:
        """Have a frame wait."""
        self._frames.append(one)
        self.octets += len(one)

    def take(self) -> list[bytes]:
        """Return the next ones, as many as are sent at once."""
        taken, room = [], CHUNK_OCTETS
        while self._frames and room > 0:
            one = self._frames.popleft()
            room -= len(one)
            taken.append(one)
        self.octets -= CHUNK_OCTETS - room
        return taken


class Arriving:
    """Puts frames together again from what a socket brings, in pieces of any size."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, piece: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Yield what is whole by now."""
        octets = self._octets
        octets += piece
        at = 0
        while len(octets) - at >= _HEAD_OCTETS:
            start = at + _HEAD_OCTETS
            end = start + int.from_bytes(octets[at : at + 4], "big")
            if end > len(octets):
                break
            yield Kind(bytes(octets[at + 4 : start])), bytes(octets[start:end])
            at = end
        del octets[:at]


class Told(NamedTuple):
    """What the writer says of itself; every count is since its start."""

    taken: int = 0  # frames of which nothing is lost any more if it dies
    written: int = 0  # rows
    lost: int = 0  # records
    waiting: int = 0  # records, for a disk that has room again
    faults: int = 0  # of our own code
    last_id: str = ""
    error: str = ""
    feeds: tuple[FeedState, ...] = ()

    def to_line(self) -> bytes:
        """Return it as one line."""
        return json.dumps(self).encode() + b"\n"


def told_of(line: bytes) -> Told | None:
    """Return what a line says; None for anything that no writer says.

    The writer reads what strangers wrote. Whatever came over it, the guard goes on.
    """
    try:
        told: Json = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match told:
        case [
            int(taken),
            int(written),
            int(lost),
            int(waiting),
            int(faults),
            str(last),
            str(error),
            list(feeds),
        ]:
            states = tuple(state for state in map(_state_of, feeds) if state is not None)
            return Told(taken, written, lost, waiting, faults, last, error, states)
        case _:
            return None


def _state_of(told: Json) -> FeedState | None:
    match told:
        case [str(name), int(sent), int(dropped), int(waiting), str(error)]:
            return FeedState(name, sent, dropped, waiting, error)
        case _:
            return None

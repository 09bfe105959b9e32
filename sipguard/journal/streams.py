"""How the media streams of a call ended, direction by direction, for the call's record."""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from sipguard.journal.record import MAX_MEDIA, Json, iso_time, show_address
from sipguard.journal.shown import in_words, shown
from sipguard.reason import Reason

MAX_ENDS: Final = 2 * MAX_MEDIA  # of one record: two directions of each stream


class Closer(Enum):
    """Who closed a stream."""

    CALLER = "caller"
    CALLEE = "callee"
    CALL = "call"  # with its call; by which end is not known
    TIMER = "timer"  # the session's, or the longest time of a call
    ROOM = "room"  # something older had to go
    GATE = "gate"  # its packets were not what signalling promised
    POLICY = "policy"


_CLOSERS: Final = {
    Reason.CALL_ENDED: Closer.CALL,
    Reason.CALL_FAILED: Closer.CALL,
    Reason.RENEGOTIATED: Closer.CALL,
    Reason.CALL_EXPIRED: Closer.TIMER,
    Reason.FORGOTTEN: Closer.ROOM,
    Reason.HOLE_LIMIT: Closer.ROOM,
    Reason.HOLE_REFUSED: Closer.POLICY,
}
# After these the call has no stream left, as far as this dialog goes.
_LAST: Final = frozenset(
    (Reason.CALL_ENDED, Reason.CALL_FAILED, Reason.CALL_EXPIRED, Reason.FORGOTTEN)
)


def closer_of(reason: Reason, party: str = "") -> Closer:
    """Return who closed a stream.

    Args:
        reason: Of the closing.
        party: ``caller`` or ``callee``, whose message ended the call or changed the stream;
            empty where nobody's did, or nobody knows.
    """
    closer = _CLOSERS.get(reason, Closer.GATE)
    return Closer(party) if closer is Closer.CALL and party else closer


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """One direction of one stream, when it ended; raw octets, as an ``Observation`` has them.

    ``source_port`` is the port that proved itself, 0 if none did; ``told`` says in words how,
    or why not. ``packets`` and ``octets`` are what the kernel forwarded.
    """

    utc_s: float
    call_id: bytes
    source: bytes
    destination: bytes
    port: int
    kind: bytes
    key_method: str
    suite: bytes
    told: str
    reason: Reason
    closer: Closer
    packets: int
    octets: int
    source_port: int = 0

    @property
    def is_last(self) -> bool:
        """Whether nothing more is to be expected of this call."""
        return self.reason in _LAST

    def answers(self, other: "StreamEnd") -> bool:
        """Report whether this may be the other direction of the same stream."""
        return (
            self.source == other.destination
            and self.destination == other.source
            and self.kind == other.kind
            and self.key_method == other.key_method
            and self.suite == other.suite
        )


class Ends:
    """The ends told of one record's streams: a bounded few, each direction beside its other one."""

    __slots__ = ("_rows", "more")

    def __init__(self) -> None:
        self.more = 0  # that found no room
        self._rows: list[tuple[StreamEnd, ...]] = []

    def add(self, end: StreamEnd) -> bool:
        """Take one end; return whether it tells anything new."""
        # What the gate closed before its time is closed again with its call.
        if not end.packets and any(_same_hole(end, told) for row in self._rows for told in row):
            return False
        if len(self) >= MAX_ENDS and not self._make_room(end):
            self.more += 1
            return True
        for at, row in enumerate(self._rows):
            if len(row) == 1 and end.answers(row[0]):
                self._rows[at] = (row[0], end)
                return True
        self._rows.append((end,))
        return True

    def _make_room(self, end: StreamEnd) -> bool:
        """Let what carried nothing (ICE opens many ways) give way to what did."""
        if not end.packets:
            return False
        for at in range(len(self._rows) - 1, -1, -1):
            left = tuple(told for told in self._rows[at] if told.packets)
            if len(left) < len(self._rows[at]):
                self.more += len(self._rows[at]) - len(left)
                self._rows[at : at + 1] = [left] if left else []
                return True
        return False

    def __len__(self) -> int:
        """How many directions are told."""
        return sum(len(row) for row in self._rows)

    def to_json(self) -> tuple[Json, ...]:
        """Return all of them, both directions of a stream side by side."""
        return tuple(_end_json(end) for row in self._rows for end in row)


# Masking costs more than all the rest of an end, and these words are nearly always the same.
_shown: Final = lru_cache(maxsize=256)(shown)
_in_words: Final = lru_cache(maxsize=256)(in_words)


def _same_hole(one: StreamEnd, other: StreamEnd) -> bool:
    return (one.source, one.destination, one.port) == (other.source, other.destination, other.port)


def _end_json(end: StreamEnd) -> Json:
    return {
        "time": iso_time(end.utc_s),
        "kind": _shown(end.kind),
        "key_method": _in_words(end.key_method),
        "suite": _shown(end.suite),
        "src": show_address(end.source),
        "src_port": end.source_port,
        "dst": show_address(end.destination),
        "dst_port": end.port,
        "proven": end.source_port > 0,
        "proof": _in_words(end.told),
        "packets": end.packets,
        "octets": end.octets,
        "closed_by": end.closer.value,
        "reason": end.reason.value,
        "why": end.reason.sentence,
    }

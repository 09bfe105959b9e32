"""What the guard tells, grouped into records and written to the store: the writing process's work.

New records are written at the next turn, so that a reviewer sees them at once. Where many come,
they wait for a second at most: calls beside them were held up less with few transactions than
with many, though the disk gets no less. Those that grew wait for a second as well: somebody who
sends one message again and again writes one row a second with it.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sipguard.edge.store import Store
from sipguard.journal.ledger import PER_REASON, PER_SOURCE, Ledger
from sipguard.journal.observation import Observation
from sipguard.journal.record import Record
from sipguard.journal.streams import StreamEnd

TURN_S: Final = 0.1
GROWN_S: Final = 1.0
MANY: Final = 20  # new records in one turn: from here on they wait, as long
AT_ONCE: Final = 1_000  # records in one transaction


class Journal:
    """Takes what the guard tells, and makes and stores records of it in turns.

    Args:
        store: Opened already.
        after: The last id in it, so that no id is given twice.
        tell: Takes new records and grown ones, for the feeds; must cost next to nothing.
    """

    def __init__(
        self,
        store: Store,
        after: str = "",
        tell: Callable[[Sequence[Record], Sequence[Record]], None] = lambda _made, _grown: None,
    ) -> None:
        self._store = store
        self._tell = tell
        self._ledger = Ledger(after=after)
        self._made: list[Record] = []  # since the last turn
        self._unwritten: list[Record] = []  # before it
        self._grown_s = float("-inf")

    def limit(self, per_source: int = PER_SOURCE, per_reason: int = PER_REASON) -> None:
        """Set how many records a minute one rule and reason may have, of one source and of all."""
        self._ledger.limit(per_source, per_reason)

    @property
    def is_full(self) -> bool:
        """Whether as many new records wait as one transaction takes."""
        return len(self._made) + len(self._unwritten) >= AT_ONCE

    @property
    def is_waiting(self) -> bool:
        """Whether there are new records that the store does not have."""
        return bool(self._made or self._unwritten)

    def observe(self, observation: Observation) -> None:
        """Make a record of what the guard tells, or count it on one."""
        record = self._ledger.note(observation)
        if record is not None:
            self._made.append(record)

    def stream_ended(self, end: StreamEnd) -> None:
        """Add how a stream ended to the records of its call, if there are any."""
        self._ledger.stream_ended(end)

    def turn(self, now_s: float) -> None:
        """Write new records, and once a second those that grew. *now_s*: POSIX time."""
        made, self._made = self._made, []
        if made:
            self._tell(made, [])
        self._unwritten += made
        grown_are_due = not 0 <= now_s - self._grown_s < GROWN_S
        if len(made) < MANY or self.is_full or grown_are_due:
            self._write_new(now_s)
        if grown_are_due:
            self._grown_s = now_s
            while grown := self._ledger.flush(now_s, AT_ONCE):
                self._tell([], grown)
                self._store.write(grown, now_s)

    def finish(self, now_s: float) -> None:
        """Write everything; the service stops."""
        self._grown_s = float("-inf")
        self.turn(now_s)

    def _write_new(self, now_s: float) -> None:
        records, self._unwritten = self._unwritten, []
        if records or self._store.has_work:
            self._store.write(records, now_s)

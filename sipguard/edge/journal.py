"""What the guard tells, on its way into the store: a little at a time, between two packets.

A record costs a fifth of a millisecond, and a burst of blocked calls makes
hundreds: made in one go they would hold up the media of every call that is
being set up. So each turn has a budget of time, and what is left waits.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from sipguard.edge.judged import JudgedMeter
from sipguard.edge.store import Store
from sipguard.edge.streams_told import Closing, streams_told
from sipguard.journal.ledger import Ledger
from sipguard.journal.observation import Observation
from sipguard.journal.record import Record

TURN_S: Final = 0.01
BUDGET_S: Final = 0.0003  # of each turn: one record, or some fifty messages that only count up
HURRY_S: Final = 0.001  # once many wait: a tenth of the time, rather than losing them
WRITE_S: Final = 0.05  # to the disk: at most so many records at once, new ones before grown ones
WRITTEN: Final = 6  # half a millisecond, with what is counted by the hour
MAX_WAITING: Final = 10_000


class Journal:
    """Takes observations as they come, and makes and stores records in turns.

    Args:
        store: Opened already.
        after: The last id in it, so that no id is given twice.
        clock: Monotonic seconds, for the budget.
        tell: Takes new records and grown ones, for the feeds; must cost next to nothing.
        judged: What is counted of messages that have no record, too.
    """

    def __init__(
        self,
        store: Store,
        after: str = "",
        clock: Callable[[], float] = time.perf_counter,
        tell: Callable[[Sequence[Record], Sequence[Record]], None] = lambda _made, _grown: None,
        judged: JudgedMeter | None = None,
    ) -> None:
        self.lost = 0
        self._store = store
        self._clock = clock
        self._tell = tell
        self._ledger = Ledger(after=after)
        self._waiting: deque[Observation | Closing] = deque()  # in order
        self._made: deque[Record] = deque()  # not more than the ledger lets through in a minute
        self._written_s = float("-inf")
        self._judged = judged or JudgedMeter({})

    def observe(self, observation: Observation) -> None:
        """Keep what the guard tells for a later turn; costs the packet next to nothing."""
        if len(self._waiting) >= MAX_WAITING:
            self.lost += 1
            return
        self._waiting.append(observation)

    def streams_ended(self, closing: Closing) -> None:
        """Keep what was closed for a later turn, behind what was told of its calls before."""
        if not closing.tallies:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.lost += bool(streams_told(closing, self._ledger.has_call))
            return
        self._waiting.append(closing)

    def turn(self, now_s: float) -> None:
        """Note what waits, as far as the budget goes; write now and then. *now_s*: POSIX time."""
        waiting = self._waiting
        end_s = self._clock() + (HURRY_S if len(waiting) > MAX_WAITING // 4 else BUDGET_S)
        while waiting:
            self._note(waiting.popleft())
            if self._clock() >= end_s:
                break
        if not 0 <= now_s - self._written_s < WRITE_S:
            self._written_s = now_s
            if self._judged.is_due(now_s):
                self._store.judged(self._judged.read(now_s))
            records = [self._made.popleft() for _ in range(min(WRITTEN, len(self._made)))]
            self._write(records, self._ledger.flush(now_s, WRITTEN - len(records)), now_s)

    def finish(self, now_s: float) -> None:
        """Write everything, however long it takes; the service stops."""
        while self._waiting:
            self._note(self._waiting.popleft())
        self._store.judged(self._judged.read(now_s))
        self._write(list(self._made), [], now_s)
        self._made.clear()
        while grown := self._ledger.flush(now_s + 3600):
            self._write([], grown, now_s)

    def _note(self, told: Observation | Closing) -> None:
        if isinstance(told, Closing):
            for end in streams_told(told, self._ledger.has_call):
                self._ledger.stream_ended(end)
            return
        record = self._ledger.note(told)
        if record is not None:
            self._made.append(record)

    def _write(self, made: list[Record], grown: list[Record], now_s: float) -> None:
        if made or grown:
            self._tell(made, grown)
        if made or grown or self._store.has_work:
            self._store.write(made + grown, now_s)

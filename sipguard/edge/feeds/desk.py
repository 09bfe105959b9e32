"""Every feed with its queue: records come in at once, and go out a few at a time between writes.

A far end that is slow, full or gone costs its own records and nothing else:
each feed has a queue with a bound, and what finds no room there is counted.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.internet.task import LoopingCall

from sipguard.edge.clock import Clock
from sipguard.edge.control import FeedState
from sipguard.edge.feeds.outlet import Outlet
from sipguard.journal.record import Record
from sipguard.policy.feeds import Feed

TURN_S: Final = 0.02
BUDGET_S: Final = 0.005  # of each turn, for all feeds together: a quarter of the time
AT_ONCE: Final = 4  # records: a tenth of a millisecond each
MAX_WAITING: Final = 2_000  # records of each feed, some 16 KiB at most and shared among feeds
_LAST_TURNS_S: Final = 1.0  # when the service stops: what far ends take by then

Build = Callable[[Feed], Outlet]


class Take(Protocol):
    """Takes records from the journal."""

    def __call__(self, made: Sequence[Record], grown: Sequence[Record]) -> None:
        """Take new records, and those that were written before and have grown."""


class _Line:
    """One feed: its far end and those who wait for it."""

    def __init__(self, feed: Feed, outlet: Outlet) -> None:
        self.feed = feed
        self.outlet = outlet
        self.waiting: deque[Record] = deque()
        self.crowded_out = 0

    def offer(self, record: Record, *, is_new: bool) -> None:
        if not self.outlet.wants(record, is_new=is_new):
            return
        if len(self.waiting) >= MAX_WAITING:
            self.crowded_out += 1
            return
        self.waiting.append(record)

    def send(self) -> bool:
        """Send a few; False where there are none, or the far end takes none now."""
        if not self.waiting:
            return False
        done = self.outlet.take(list(itertools.islice(self.waiting, AT_ONCE)))
        for _ in range(done):
            self.waiting.popleft()
        return bool(done)

    def state(self) -> FeedState:
        return FeedState(
            self.feed.name,
            self.outlet.sent,
            self.crowded_out + self.outlet.lost,
            len(self.waiting),
            self.outlet.last_error,
        )


class Feeds:
    """All feeds of the policy in force.

    Args:
        build: Makes a feed's far end; raises ``EdgeError`` where a file it needs is no good.
        clock: Monotonic seconds, for the budget.
    """

    def __init__(self, build: Build, clock: Callable[[], float] = time.perf_counter) -> None:
        self._build = build
        self._clock = clock
        self._lines: list[_Line] = []
        self._next: list[_Line] | None = None
        self._loop: LoopingCall | None = None

    def prepare(self, feeds: Sequence[Feed]) -> None:
        """Make what *feeds* need; they are in use after :meth:`use`, or never.

        Raises:
            EdgeError: One cannot be; those in use stay as they are.
        """
        kept = {line.feed.same: line for line in self._lines}
        made: list[_Line] = []
        for feed in feeds:
            line = kept.get(feed.same)
            # A secret may have changed in its file; what waits and the counts go along.
            if line is None or feed.secret or feed.authority:
                made.append(_Line(feed, self._build(feed)))
            else:
                made.append(line)
        self._next = made

    def use(self) -> None:
        """Change over to what was prepared."""
        if self._next is None:
            return
        before, self._lines, self._next = self._lines, self._next, None
        for line in before:
            if line in self._lines:
                continue
            for other in self._lines:
                if other.feed.same == line.feed.same:
                    other.waiting.extend(line.waiting)
                    other.crowded_out += line.crowded_out + line.outlet.lost
                    line.waiting.clear()
            line.outlet.close()

    def take(self, made: Sequence[Record], grown: Sequence[Record]) -> None:
        """Queue records; costs no more than that."""
        for line in self._lines:
            for record in made:
                line.offer(record, is_new=True)
            for record in grown:
                line.offer(record, is_new=False)

    def turn(self) -> None:
        """Send some of what waits, each feed in its turn, as far as the budget goes."""
        end_s = self._clock() + BUDGET_S
        busy = list(self._lines)
        while busy:
            for line in list(busy):
                if not line.send():
                    busy.remove(line)
                if self._clock() >= end_s:
                    self._lines = self._lines[1:] + self._lines[:1]  # another begins next time
                    return

    def start(self, clock: Clock) -> None:
        """Begin to take turns."""
        self._loop = LoopingCall(self.turn)
        self._loop.clock = clock  # type: ignore[assignment] # an interface of zope's
        self._loop.start(TURN_S, now=False)

    def finish(self) -> None:
        """Send what far ends take at once, and let go of them; the service stops."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        end_s = self._clock() + _LAST_TURNS_S
        busy = list(self._lines)
        while busy and self._clock() < end_s:
            busy = [line for line in busy if line.send()]
        for line in self._lines:
            line.outlet.close()

    def reopen(self) -> None:
        """Open files anew, after logrotate moved them away."""
        for line in self._lines:
            line.outlet.reopen()

    def states(self) -> list[FeedState]:
        """Return how each feed fares."""
        return sorted(line.state() for line in self._lines)

"""Every feed with its queue: records come in at once, and go out a few at a time between writes.

A far end that is slow, full or gone costs its own records and nothing else:
each feed has a queue with a bound, and what finds no room there is counted.
The log hears of it once, and once more when it is over.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from sipguard.edge.clock import Clock
from sipguard.edge.control import FeedState
from sipguard.edge.feeds.outlet import Outlet
from sipguard.journal.escape import safe_text
from sipguard.journal.record import Record

if TYPE_CHECKING:  # the policy language takes longer to load than all the rest
    from sipguard.policy.feeds import Feed

TURN_S: Final = 0.02
BUDGET_S: Final = 0.005  # of each turn, for all feeds together: a quarter of the time
AT_ONCE: Final = 4  # records: a tenth of a millisecond each
MAX_WAITING: Final = 2_000  # records of each feed, some 16 KiB at most and shared among feeds
LOOK_S: Final = 1.0  # whether all is well
SILENCE_S: Final = 60.0  # one word a minute of a feed that comes and goes
_LAST_TURNS_S: Final = 1.0  # when the service stops: what far ends take by then
_LAST_BUDGET_S: Final = 0.02  # of each of them; connections are written to in between
_HOPE_S: Final = 0.2  # without one taken: nobody waits for that far end any more

Build = Callable[["Feed"], Outlet]


class Take(Protocol):
    """Takes records from the journal."""

    def __call__(self, made: Sequence[Record], grown: Sequence[Record]) -> None:
        """Take new records, and those that were written before and have grown."""


class _Line:
    """One feed: its far end and those who wait for it."""

    log = Logger()

    def __init__(self, feed: "Feed", outlet: Outlet) -> None:
        self.feed = feed
        self.outlet = outlet
        self.waiting: deque[Record] = deque()
        self._crowded_out = 0
        self._sent_before = self._lost_before = 0  # by the far end that had this feed
        self._lost_at_look = 0
        self._told_at_s = float("-inf")
        self._told_lost: int | None = None  # so many when it was told; None: all is well

    @property
    def lost(self) -> int:
        """Records that found no room, or that nobody will get."""
        return self._crowded_out + self._lost_before + self.outlet.lost

    def offer(self, record: Record, *, is_new: bool) -> None:
        if not self.outlet.wants(record, is_new=is_new):
            return
        if len(self.waiting) >= MAX_WAITING:
            self._crowded_out += 1
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
            self._sent_before + self.outlet.sent,
            self.lost,
            len(self.waiting),
            self.outlet.last_error,
        )

    def follow(self, before: "_Line") -> None:
        """Go on for *before*, whose secret was read anew."""
        self.outlet.follow(before.outlet)
        self.waiting = before.waiting
        self._sent_before = before._sent_before + before.outlet.sent
        self._crowded_out, self._lost_before = 0, before.lost
        self._lost_at_look = before._lost_at_look
        self._told_at_s, self._told_lost = before._told_at_s, before._told_lost

    def look(self, now_s: float) -> None:
        """Say that it loses records or cannot send, and later that it is over."""
        lost, error = self.lost, self.outlet.last_error
        is_well = not error and lost == self._lost_at_look
        if is_well and self._told_lost is not None and len(self.waiting) < MAX_WAITING // 2:
            self.log.info(
                "feed {name} goes on ({lost} lost meanwhile)",
                name=self.feed.name, lost=lost - self._told_lost,
            )  # fmt: skip
            self._told_lost = None
        elif not is_well and self._told_lost is None and now_s - self._told_at_s >= SILENCE_S:
            self.log.warn(
                "feed {name}: {what} ({waiting} waiting, {lost} lost)",
                name=self.feed.name, what=safe_text(error) or "records are lost",
                waiting=len(self.waiting), lost=lost,
            )  # fmt: skip
            self._told_at_s, self._told_lost = now_s, self._lost_at_look
        self._lost_at_look = lost

    def close(self) -> None:
        """Let go of the far end; nobody sends what waits."""
        if self.waiting:
            self.log.warn(
                "feed {name} ends ({waiting} that waited are lost)",
                name=self.feed.name, waiting=len(self.waiting),
            )  # fmt: skip
        self._crowded_out += len(self.waiting)
        self.waiting.clear()
        self.outlet.close()


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
        self._next: list[tuple[Feed, _Line]] | None = None
        self._looked_s = clock()
        self._loop: LoopingCall | None = None

    def prepare(self, feeds: "Sequence[Feed]") -> None:
        """Make what *feeds* need; they are in use after :meth:`use`, or never.

        Raises:
            EdgeError: One cannot be; those in use stay as they are.
        """
        kept = {line.feed.same: line for line in self._lines}
        made: list[tuple[Feed, _Line]] = []
        for feed in feeds:
            line = kept.get(feed.same)
            # A secret may have changed in its file; what waits and the counts go along.
            if line is None or feed.secret or feed.authority:
                line = _Line(feed, self._build(feed))
            made.append((feed, line))
        self._next = made

    def use(self) -> None:
        """Change over to what was prepared."""
        if self._next is None:
            return
        before, following = self._lines, self._next
        self._lines, self._next = [line for _, line in following], None
        for feed, line in following:
            line.feed = feed  # the same one may stand elsewhere by now
        for line in before:
            if line in self._lines:
                continue
            for other in self._lines:
                if other.feed.same == line.feed.same:
                    other.follow(line)
                    line.waiting = deque()
            line.close()

    def take(self, made: Sequence[Record], grown: Sequence[Record]) -> None:
        """Queue records; costs no more than that."""
        for line in self._lines:
            for record in made:
                line.offer(record, is_new=True)
            for record in grown:
                line.offer(record, is_new=False)

    def turn(self) -> None:
        """Send some of what waits, each feed in its turn, as far as the budget goes."""
        now_s = self._clock()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            for line in self._lines:
                line.look(now_s)
        end_s = now_s + BUDGET_S
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

    def wind_up(self, clock: Clock) -> Deferred[None]:
        """Send what far ends take within a second, and let go of them; fires when that is done.

        The reactor has to turn meanwhile: what a connection took is in a buffer of its own.
        """
        self._stop()
        began_s = moved_s = self._clock()
        is_closed = False

        def turn() -> None:
            nonlocal moved_s, is_closed
            if not is_closed and self._send_all(_LAST_BUDGET_S):
                moved_s = self._clock()
            now_s = self._clock()
            is_over = now_s - began_s >= _LAST_TURNS_S
            waits = any(line.waiting for line in self._lines) and now_s - moved_s < _HOPE_S
            if not is_closed and (is_over or not waits):
                is_closed = True
                self._close()
            if is_closed and (is_over or all(line.outlet.is_closed for line in self._lines)):
                last.stop()

        last = LoopingCall(turn)
        last.clock = clock  # type: ignore[assignment] # an interface of zope's
        return last.start(TURN_S).addCallback(lambda _: None)

    def finish(self) -> None:
        """Send what far ends take at once, and let go of them."""
        self._stop()
        self._send_all(_LAST_TURNS_S)
        self._close()

    def _stop(self) -> None:
        if self._loop is not None and self._loop.running:
            self._loop.stop()

    def _send_all(self, budget_s: float) -> bool:
        """Send as far as the time goes; report whether anybody took anything."""
        end_s = self._clock() + budget_s
        busy, moved = list(self._lines), False
        while busy and self._clock() < end_s:
            busy = [line for line in busy if line.send()]
            moved |= bool(busy)
        return moved

    def _close(self) -> None:
        for line in self._lines:
            line.close()

    def reopen(self) -> None:
        """Open files anew, after logrotate moved them away."""
        for line in self._lines:
            line.outlet.reopen()

    def states(self) -> list[FeedState]:
        """Return how each feed fares."""
        return sorted(line.state() for line in self._lines)

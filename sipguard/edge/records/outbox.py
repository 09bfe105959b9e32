"""Where the guard leaves what it tells of: a queue with a bound, and a writing process behind it.

Nothing here waits, and nothing raises for what becomes of the writer. It may be slow, stand
still or die: packets are judged all the same. What finds no room is lost, and counted by why.

Turning an observation into octets costs some microseconds; making a record of it, masked, in
JSON, with a row and its indices, costs some fifty times as much, and is done beside.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from sipguard.edge.clock import Alarm, Clock
from sipguard.edge.complaints import Complaints
from sipguard.edge.control import FeedState, StatusReport
from sipguard.edge.judged import Judged
from sipguard.edge.records.child import Child
from sipguard.edge.records.frames import Kind, Terms, Told, Waiting, frame
from sipguard.edge.records.fresh import TOGETHER, Fresh
from sipguard.edge.streams_told import Closing, streams_told
from sipguard.journal.carried import pack_end
from sipguard.journal.ledger import CALL_ID_OCTETS
from sipguard.journal.observation import Observation

SOON_S: Final = 0.02  # what comes within it goes in one piece, with one system call
CHUNKS: Final = 4  # in one turn: the copying of 256 KiB
MAX_CALLS: Final = 20_000  # with records: as many as the ledger can know, and more
FINISH_S: Final = 10.0
QUIET_S: Final = 5.0  # without a word from the writer: something is wrong
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
HEALTHY_S: Final = 60.0  # after so long a death counts as the first again

Launch = Callable[[str, Callable[[], None]], Child]


class Readers(Clock, Protocol):
    """What is asked of Twisted's reactor."""

    def addReader(self, reader: Child) -> None:
        """Call ``doRead`` whenever there is something to read."""

    def removeReader(self, reader: Child) -> None:
        """Stop that."""


class Outbox:
    """Takes what the guard tells, and keeps a writer running.

    Args:
        launch: Starts a writer, with the last id and what to call when it is gone.
        reactor: Twisted's.
        clock: Monotonic seconds.
    """

    log = Logger()

    def __init__(
        self, launch: Launch, reactor: Readers, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.after = ""  # the last id in the store, as far as is known
        self.restarts = 0
        self._launch = launch
        self._reactor = reactor
        self._clock = clock
        self._complaints = Complaints("records")
        self._fresh = Fresh(self._failed)  # behind what waits
        self._waiting = Waiting()
        self._terms = b""  # what a writer is told first
        self._rest = memoryview(b"")  # of a piece that went in part
        self._child: Child | None = None
        self._dead: list[Child] = []
        self._past = Told()  # of earlier writers, added up
        self._past_feeds: dict[str, FeedState] = {}
        self._sent = 0  # frames, to the writer that runs
        self._no_room = self._with_writer = self._unfit = 0
        self._due: Alarm | None = None
        self._again: Alarm | None = None
        self._wait_s = FIRST_WAIT_S
        self._started_s = 0.0
        self._calls: OrderedDict[bytes, None] = OrderedDict()

    # --- what the guard tells

    def observe(self, observation: Observation) -> None:
        """Keep what the guard tells; costs the packet next to nothing."""
        if self._fresh.add(observation):
            self._make()
        self._see_to_it()

    def turn_ended(self, is_empty: bool) -> bool:
        """Make frames of what is fresh where no packet waits for it: a queue's ``TurnEnd``."""
        if is_empty and len(self._fresh) >= TOGETHER:
            self._make()
        return False

    @property
    def is_owing(self) -> bool:
        """Whether something is still to be written, here or with the writer."""
        if len(self._fresh) or len(self._waiting):
            return True
        return self._child is not None and self._child.told.taken < self._sent

    def _make(self) -> None:
        """Make frames of what is fresh."""
        for one, call_id in self._fresh.make():
            if self._keep(one) and call_id:
                self._remember(call_id)

    def _failed(self) -> None:
        self._unfit += 1
        self._complaints.of_code(Failure())

    def streams_ended(self, closing: Closing) -> None:
        """Keep what was closed, as far as it is of a call that has a record."""
        if closing.tallies:
            self._make()  # which calls have a record is known by that
            for end in streams_told(closing, self._has_record) if self._calls else ():
                self._keep(frame(Kind.END, pack_end(end)))
        self._see_to_it()

    def judged(self, judged: Judged) -> None:
        """Tell how many messages were judged: some octets a minute, for which there is room."""
        self._post(frame(Kind.JUDGED, judged.to_octets()))

    def reopen(self) -> None:
        """Have files opened anew, after logrotate moved them away."""
        if self._child is not None:
            self._post(frame(Kind.REOPEN))

    def use(self, terms: Terms) -> None:
        """Have the writer follow the policy in force, and each that is started later."""
        self._terms = frame(Kind.TERMS, terms.to_octets())
        if self._child is not None:  # any other will hear it first
            self._post(self._terms)

    def _keep(self, one: bytes) -> bool:
        kept = self._waiting.keep(one)
        self._no_room += not kept
        return kept

    def _post(self, one: bytes) -> None:
        self._make()
        self._waiting.add(one)
        self._see_to_it()

    def _see_to_it(self) -> None:
        """Have it sent soon."""
        if self._due is not None or self._child is None:
            return
        if len(self._fresh) or len(self._waiting):
            self._due = self._reactor.callLater(SOON_S, self._pump)

    def _has_record(self, call_id: bytes) -> bool:
        return call_id[:CALL_ID_OCTETS] in self._calls

    def _remember(self, call_id: bytes) -> None:
        self._calls[call_id] = None
        self._calls.move_to_end(call_id)
        if len(self._calls) > MAX_CALLS:
            self._calls.popitem(last=False)

    # --- the writer

    def start(self) -> None:
        """Start a writer, now and whenever one is gone."""
        self._again = None
        self._dead = [child for child in self._dead if not child.is_gone()]
        try:
            child = self._launch(self.after, self._gone)
        except OSError as error:
            self.log.error("no process for records: {error}", error=error)
            self._later()
            return
        self._child = child
        self._sent = 0
        self._rest = memoryview(self._terms)
        self._started_s = self._clock()
        self._reactor.addReader(child)
        self._due = self._due or self._reactor.callLater(SOON_S, self._pump)

    def _pump(self) -> None:
        """Send what there is room for."""
        self._due = None
        child = self._child
        if child is None:
            return
        self._make()
        try:
            for _ in range(CHUNKS):
                if not self._rest and not self._fetch():
                    return
                sent = child.send(self._rest)
                self._rest = self._rest[sent:]
                if self._rest:
                    break
        except OSError:
            self._gone()
            return
        self._due = self._reactor.callLater(SOON_S, self._pump)

    def _fetch(self) -> bool:
        """Make the next piece of what waits; False if nothing does."""
        taken = self._waiting.take()
        self._sent += _records_in(taken)
        self._rest = memoryview(b"".join(taken))
        return bool(taken)

    def _gone(self) -> None:
        """See that the writer is gone, and have another one soon."""
        child, self._child = self._child, None
        if child is None:
            return
        self._reactor.removeReader(child)
        child.close(kill=True)
        self._settle(child)
        self.log.error(
            "the process that writes records is gone ({status}); {lost} went with it",
            status=child.status,
            lost=self._sent - min(child.told.taken, self._sent),
        )
        if self._clock() - self._started_s >= HEALTHY_S:
            self._wait_s = FIRST_WAIT_S
        self._later()

    def _settle(self, child: Child) -> None:
        """Add up what one that is gone has done, and what went with it."""
        told, past = child.told, self._past
        self._with_writer += self._sent - min(told.taken, self._sent)
        self._rest = memoryview(b"")
        self.after = max(self.after, told.last_id)
        self._past = Told(
            written=past.written + told.written,
            lost=past.lost + told.lost + told.waiting,
            faults=past.faults + told.faults,
            error=told.error,
        )
        self._past_feeds = {state.name: state for state in self._feeds(told)}
        self._dead.append(child)

    def _later(self) -> None:
        self.restarts += 1
        self._again = self._reactor.callLater(self._wait_s, self.start)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

    # --- the end, and what there is to tell

    def finish(self) -> None:
        """Have everything written, and wait for it; the service stops."""
        self._make()
        for alarm in (self._due, self._again):
            if alarm is not None and alarm.active():
                alarm.cancel()
        if self._child is None and self._again is not None and len(self._waiting):
            self.start()
        child, self._child = self._child, None
        if child is None:
            self._no_room += _records_in(self._all())
            return
        self._reactor.removeReader(child)
        frames = self._all()
        self._sent += _records_in(frames)
        try:
            child.finish(bytes(self._rest) + b"".join(frames), self._clock() + FINISH_S)
        except OSError:
            self.log.error("the process that writes records did not end in time, or is gone")
        child.close(kill=False)
        self._settle(child)

    def _all(self) -> list[bytes]:
        frames: list[bytes] = []
        while len(self._waiting):
            frames += self._waiting.take()
        return frames

    def count(self, report: StatusReport) -> None:
        """Add how records fare."""
        self._make()
        child, past = self._child, self._past
        told = child.told if child is not None else Told()
        lost = {
            "records_lost_no_room": self._no_room,
            "records_lost_with_writer": self._with_writer,
            "records_lost_by_writer": past.lost + told.lost + self._unfit,
        }
        report.records = past.written + told.written
        report.lost_records = sum(lost.values())
        report.errors += past.faults + told.faults + self._unfit
        report.feeds = self._feeds(told)
        report.store_error = self._trouble(told)
        report.counters |= lost
        report.counters["records_waiting"] = len(self._waiting) + told.waiting
        report.counters["writer_restarts"] = self.restarts

    def _feeds(self, told: Told) -> list[FeedState]:
        """Return how feeds fare, with what earlier writers sent and what was lost with them."""
        now = {state.name: state for state in told.feeds}
        for name, past in self._past_feeds.items():
            state = now.get(name, FeedState(name, 0, 0, 0, past.error))
            lost = past.dropped + past.waiting + state.dropped
            now[name] = state._replace(sent=past.sent + state.sent, dropped=lost)
        return sorted(now.values())

    def _trouble(self, told: Told) -> str:
        child = self._child
        if child is None:
            gone = "the process that writes records is gone; another will be started"
            return gone if self._again is not None else self._past.error
        silent_s = self._clock() - child.heard_s
        if silent_s > QUIET_S:
            return f"the process that writes records has said nothing for {silent_s:.0f} s"
        return told.error


def _records_in(frames: list[bytes]) -> int:
    return sum(one[4:5] in (b"o", b"e") for one in frames)

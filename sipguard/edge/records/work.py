"""What the writing process does with each frame, and in between; it knows no socket."""

import time
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sipguard.edge.clock import Clock
from sipguard.edge.complaints import Complaints
from sipguard.edge.feeds.desk import Feeds
from sipguard.edge.journal import Journal
from sipguard.edge.judged import judged_of
from sipguard.edge.records.frames import Kind, Terms, Told, terms_of
from sipguard.edge.store import Store
from sipguard.errors import EdgeError
from sipguard.journal.carried import unpack, unpack_end


class Work:
    """Makes records of what the guard tells, and has them written and sent on.

    Args:
        store: Where records go.
        after: The last id as the guard heard of it, where the store cannot be asked.
        feeds: What they go to besides.
        now: POSIX time.
    """

    def __init__(
        self, store: Store, after: str, feeds: Feeds, now: Callable[[], float] = time.time
    ) -> None:
        self.error = ""
        self._now = now
        self._store = store
        self._feeds = feeds
        try:
            self.last_id = store.open() or after
        except EdgeError:
            self.last_id = after  # the store tries again with each write
        self._journal = Journal(store, self.last_id, tell=feeds.take)
        self._complaints = Complaints("the writer")
        self._come = self._taken = self._faults = 0

    def take(self, kind: Kind, content: bytes) -> None:
        """Do what a frame wants; a fault of ours costs this one alone."""
        try:
            match kind:
                case Kind.OBSERVATION:
                    self._come += 1
                    self._journal.observe(unpack(content))
                case Kind.END:
                    self._come += 1
                    self._journal.stream_ended(unpack_end(content))
                case Kind.JUDGED:
                    self._store.judged(judged_of(content))
                case Kind.TERMS:
                    self.use(terms_of(content))
                case Kind.REOPEN:
                    self._store.reopen()
                    self._feeds.reopen()
        except Exception:  # noqa: BLE001 - the next one is written
            self._faults += 1
            self._complaints.of_code(Failure())
        if self._journal.is_full:
            self.turn()

    def use(self, terms: Terms) -> None:
        """Change over to what the policy says now."""
        self._journal.limit(terms.per_source, terms.per_reason)
        try:
            self._feeds.prepare(terms.feeds)
        except EdgeError as error:
            self.error = str(error)
            return
        self.error = ""
        self._feeds.use()

    def turn(self) -> None:
        """Write what is due."""
        try:
            self._journal.turn(self._now())
        except Exception:  # noqa: BLE001 - the next turn may do
            self._faults += 1
            self._complaints.of_code(Failure())
        if not self._journal.is_waiting:
            self._taken = self._come

    def finish(self, clock: Clock) -> Deferred[None]:
        """Write everything; fires when feeds have sent of it what they could."""
        try:
            self._journal.finish(self._now())
        except Exception:  # noqa: BLE001 - what feeds have is still to be sent
            self._faults += 1
            self._complaints.of_code(Failure())
        self._taken = self._come
        return self._feeds.wind_up(clock)

    def told(self) -> Told:
        """Return how it goes."""
        store = self._store
        error = store.last_error or self.error
        return Told(
            self._taken, store.written, store.all_lost + self._faults, store.waiting, self._faults,
            store.last_id or self.last_id, error, tuple(self._feeds.states()),
        )  # fmt: skip

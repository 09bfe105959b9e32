"""What the service sees of records: it tells, and another process makes and writes them."""

import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from sipguard.edge.control import StatusReport
from sipguard.edge.feeds.build import Builder
from sipguard.edge.feeds.stream import StreamReactor
from sipguard.edge.judged import Judged
from sipguard.edge.records.child import Child, Place
from sipguard.edge.records.frames import Terms
from sipguard.edge.records.outbox import Outbox, Readers
from sipguard.edge.store import Store
from sipguard.edge.streams_told import Closing
from sipguard.journal.observation import Observation
from sipguard.policy.rules import Policy

MINUTE_S: Final = 60
SOURCE_PART: Final = 4  # of what a rule and reason may have


class Desk(Protocol):
    """Takes what the guard tells."""

    def check(self, policy: Policy) -> None:
        """Raise ``EdgeError`` where a file that a feed needs is no good."""

    def open(self) -> None:
        """Make the store, or bring it up to date; ``EdgeError`` where that cannot be."""

    def start(self, policy: Policy) -> None:
        """Begin to write."""

    def use(self, policy: Policy) -> None:
        """Follow another policy; it was checked."""

    def observe(self, observation: Observation) -> None:
        """Take what the guard tells of one message."""

    def turn_ended(self, is_empty: bool) -> bool:
        """Do what can wait until no packet does: a queue's ``TurnEnd``."""

    def streams_ended(self, closing: Closing) -> None:
        """Take what was closed at once."""

    def judged(self, judged: Judged) -> None:
        """Take how many messages were judged."""

    @property
    def is_owing(self) -> bool:
        """Whether something is still to be written."""

    def reopen(self) -> None:
        """Open files anew, after logrotate moved them away."""

    def finish(self) -> None:
        """Write everything, and wait for it."""

    def count(self, report: StatusReport) -> None:
        """Add how records fare."""


class DeskReactor(StreamReactor, Readers, Protocol):
    """What is asked of Twisted's reactor."""


class DeskApart:
    """A desk whose work is done by a process of its own.

    It is started when the service has given up root (:meth:`start`), and has no more than that.

    Args:
        place: Where records go.
        reactor: Twisted's.
    """

    def __init__(self, place: Place, reactor: DeskReactor) -> None:
        self._place = place
        self._build = Builder(reactor)

        def launch(after: str, gone: Callable[[], None]) -> Child:
            return Child(place, after, gone)

        self._outbox = Outbox(launch, reactor)
        self.observe = self._outbox.observe
        self.turn_ended = self._outbox.turn_ended
        self.streams_ended = self._outbox.streams_ended
        self.judged = self._outbox.judged
        self.reopen = self._outbox.reopen
        self.finish = self._outbox.finish
        self.count = self._outbox.count

    @property
    def is_owing(self) -> bool:
        """Whether something is still to be written."""
        return self._outbox.is_owing

    def check(self, policy: Policy) -> None:
        """Raise ``EdgeError`` where a file that a feed needs is no good."""
        for feed in policy.feeds:
            self._build(feed).close()

    def open(self) -> None:
        """Make the store, or bring it up to date; ``EdgeError`` where that cannot be."""
        store = Store(self._place.state_dir)
        with contextlib.closing(store):
            self._outbox.after = store.open()

    def start(self, policy: Policy) -> None:
        """Begin to write."""
        self.use(policy)
        self._outbox.start()

    def use(self, policy: Policy) -> None:
        """Follow another policy; it was checked."""
        limit, window_s = policy.record_rate
        a_minute = max(limit * MINUTE_S // window_s, 1)
        self._outbox.use(Terms(max(a_minute // SOURCE_PART, 1), a_minute, policy.feeds))

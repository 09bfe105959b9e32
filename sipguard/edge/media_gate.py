"""The media queue and the samples of what is proven, where the plan has a gate for media."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sipguard.edge.busy_poll import BusyPoll
from sipguard.edge.control import StatusReport
from sipguard.edge.media_guard import MediaGuard
from sipguard.edge.media_turnstile import MediaTurnstile
from sipguard.edge.nfqueue import Queue
from sipguard.edge.plan import Plan
from sipguard.edge.samples import Samples
from sipguard.errors import EdgeError
from sipguard.verdict import Effect


class Reactor(Protocol):
    """What it asks of Twisted's reactor."""

    def addReader(self, reader: Queue | Samples) -> None:
        """Call ``doRead`` whenever there is something to read."""

    def removeReader(self, reader: Queue | Samples) -> None:
        """Stop that."""


class MediaGate:
    """Opens and closes with the plan; closed, it does nothing.

    Args:
        apply: Opens, closes, proves and doubts pinholes.
        reactor: Twisted's.
        poll: Looks for packets where they come close together.
    """

    def __init__(
        self, apply: Callable[[Sequence[Effect]], None], reactor: Reactor, poll: BusyPoll
    ) -> None:
        self._turnstile = MediaTurnstile(apply)
        self._reactor = reactor
        self._poll = poll
        self._queue: Queue | None = None
        self._samples: Samples | None = None
        self._is_reading = False

    def use(self, guard: MediaGuard) -> None:
        """Have *guard* judge."""
        self._turnstile.guard = guard

    def open(self, plan: Plan) -> None:
        """Bind what *plan* asks for, before its rules are installed.

        Raises:
            EdgeError: queue or group is in use, or there is no permission.
        """
        if plan.media_queue is None or self._queue is not None:
            return
        self._queue = Queue(
            plan.media_queue,
            self._turnstile.take,
            mark=plan.mark,
            fail_open=plan.lets_pass,
            turn_end=self._turnstile.end_turn,
            poll=self._poll,
        )
        try:
            self._samples = Samples(plan.sample_group, self._turnstile.take_sample)
        except EdgeError:
            self.close()
            raise
        if self._is_reading:
            self.start()

    def replace(self, plan: Plan, install: Callable[[], None]) -> None:
        """Go over to another plan, whose rules *install* puts in force.

        Raises:
            EdgeError: nothing has changed.
        """
        was_open = self._queue is not None
        self.open(plan)
        try:
            install()
        except EdgeError:
            if not was_open:
                self.close()
            raise
        if not plan.has_gate:
            self.close()

    def start(self) -> None:
        """Begin to read."""
        self._is_reading = True
        for reader in self._readers():
            self._reactor.addReader(reader)

    def stop(self) -> None:
        """Stop reading; what is bound stays so."""
        self._is_reading = False
        for reader in self._readers():
            self._reactor.removeReader(reader)

    def close(self) -> None:
        """Give queue and group back; safe to call twice."""
        for reader in self._readers():
            if self._is_reading:
                self._reactor.removeReader(reader)
            reader.close()
        self._queue = self._samples = None

    def _readers(self) -> list[Queue | Samples]:
        return [reader for reader in (self._queue, self._samples) if reader is not None]

    def overtaken_by(self, effects: Sequence[Effect]) -> None:
        """Hear what others do, before they do it: proofs may wait that it makes void."""
        self._turnstile.overtaken_by(effects)

    def tick(self) -> None:
        """Have done what no further packet came to carry."""
        self._turnstile.end_turn(False)

    def queues(self) -> list[Queue]:
        """Return the media queue, where there is one."""
        return [self._queue] if self._queue is not None else []

    def failures(self) -> int:
        """Return how often our own code failed on media."""
        samples = self._samples.failures if self._samples is not None else 0
        return samples + sum(queue.counts().failures for queue in self.queues())

    def count(self, report: StatusReport) -> None:
        """Add what was asked and looked at."""
        if self._queue is None or self._samples is None:
            return
        turnstile = self._turnstile
        report.counters["media_asked"] = turnstile.accepted + turnstile.dropped
        report.counters["media_refused"] = turnstile.dropped
        report.counters["media_samples"] = turnstile.samples
        report.counters["samples_lost"] = self._samples.overruns

"""Whether more packets wait than can be judged in time, so that ``on-overload`` applies."""

from collections.abc import Iterable
from typing import Final

from twisted.logger import Logger

from sipguard.edge.nfqueue import MAX_PACKETS, Queue
from sipguard.guard import Guard

OVERLOADED_AT: Final = MAX_PACKETS // 2


class OverloadWatch:
    """Looks at how full the queues are, and has the guard do what its policy says."""

    log = Logger()

    def look(self, queues: Iterable[Queue], guard: Guard, on_overload: str) -> None:
        """Tell *guard* where that has changed; *on_overload* is what the policy says, to log it."""
        waiting = max([queue.waiting() for queue in queues], default=0)
        overloaded = waiting >= OVERLOADED_AT
        if overloaded is guard.overloaded:
            return
        guard.overloaded = overloaded
        self.log.warn(
            "{waiting} packets wait: {what}",
            waiting=waiting,
            what=f"on-overload {on_overload} applies" if overloaded else "back to normal",
        )

"""What the service asks of Twisted's reactor."""

from collections.abc import Callable
from typing import Protocol

from sipguard.edge.feeds.stream import StreamReactor as FeedReactor
from sipguard.edge.nfqueue import Queue
from sipguard.edge.records.child import Child
from sipguard.edge.samples import Samples
from sipguard.edge.stream.gate import StreamReactor


class Reactor(StreamReactor, FeedReactor, Protocol):
    """What the service asks of Twisted's reactor."""

    def addReader(self, reader: Queue | Samples | Child) -> None:
        """Call ``doRead`` whenever there is something to read."""

    def removeReader(self, reader: Queue | Samples | Child) -> None:
        """Stop that."""

    def callFromThread(self, work: Callable[..., None], *arguments: object) -> None:
        """Run *work* in the reactor's next turn; safe in a signal handler."""

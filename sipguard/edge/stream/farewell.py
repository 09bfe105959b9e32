"""The end of connections when the service ends: idle ones at once, busy ones when they are done.

Busy is a connection with a request that has no answer yet, or with a message under way.
Calls are not waited for: their media needs no connection, and an answer to a BYE comes soon.
"""

from collections.abc import Callable, Collection
from typing import Final, final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipguard.edge.clock import Clock
from sipguard.edge.stream.conversation import Conversation

LOOK_S: Final = 0.1
GOODBYE_S: Final = 1.0  # for an end that is closed to take it, and to say goodbye as well


@final
class Farewell:
    """One end of the service.

    Args:
        clock: Twisted's reactor, which also says the time.
        now_s: Monotonic seconds.
        conversations: Those that are not over.
        grace_s: How long the busy ones may go on.
    """

    log = Logger()

    def __init__(
        self,
        clock: Clock,
        now_s: Callable[[], float],
        conversations: Collection[Conversation],
        grace_s: float,
    ) -> None:
        self._clock = clock
        self._now_s = now_s
        self._conversations = conversations
        self._grace_s = grace_s
        self._until_s = now_s() + grace_s
        self._closed_s: dict[Conversation, float] = {}
        self._waited = self._cut = 0
        self._over = Deferred[None]()
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock  # type: ignore[assignment] # an interface of zope's

    def begin(self) -> Deferred[None]:
        """Close what is idle; fire when all is over."""
        self._waited = sum(one.is_busy for one in self._conversations)
        if self._waited:
            self.log.info(
                "stopping: {busy} connections have something under way and get {grace} s, "
                "{idle} idle ones are closed; a second SIGTERM ends them all",
                busy=self._waited,
                grace=self._grace_s,
                idle=len(self._conversations) - self._waited,
            )
        over = self._over
        if self._conversations:
            # In the next turn the listeners are closed: who comes again at once is refused.
            self._clock.callLater(0, self._start)
        else:
            self._end()
        return over

    def _start(self) -> None:
        self._loop.start(LOOK_S).addErrback(self._failed)

    def cut(self) -> None:
        """Wait for nobody any more."""
        self._until_s = self._now_s()
        if self._loop.running:
            self._look()

    def _look(self) -> None:
        now_s = self._now_s()
        for one in tuple(self._conversations):
            if now_s >= self._until_s:
                self._cut += one.is_busy
                one.abort()
            elif one in self._closed_s:
                if now_s - self._closed_s[one] > GOODBYE_S:
                    one.abort()
            elif not one.is_busy:
                self._closed_s[one] = now_s
                one.close()
        if not self._conversations:
            self._end()

    def _failed(self, failure: Failure) -> None:
        """A fault of ours must not keep the service from ending."""
        self.log.failure("our own code failed at the end of connections", failure)
        self._end()

    def _end(self) -> None:
        if self._loop.running:
            self._loop.stop()
        if self._waited:
            self.log.info(
                "{done} of {busy} connections finished what was under way, {cut} were cut",
                done=self._waited - self._cut,
                busy=self._waited,
                cut=self._cut,
            )
        over, self._over = self._over, Deferred[None]()
        over.callback(None)

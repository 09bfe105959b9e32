"""The outermost factory of a listener: whether a connection may be at all."""

from collections.abc import Callable
from typing import final

from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory

from sipguard.edge.stream.binding import Binding
from sipguard.edge.stream.conversation import Conversation
from sipguard.edge.stream.leg import Leg


@final
class Accepting(Factory):
    """The innermost factory: begins a conversation with each connection."""

    noisy = False

    def __init__(self, begin: Callable[[Binding], Conversation], binding: Binding) -> None:
        self._begin = begin
        self._binding = binding

    def buildProtocol(self, addr: IAddress) -> Leg:
        """Return the client's end of a new conversation."""
        return self._begin(self._binding).client


@final
class Admission(Factory):
    """Asks *admit* before the factory below; nobody else hears of who is refused.

    Such a connection is closed at once and costs no more than that.
    """

    noisy = False

    def __init__(self, admit: Callable[[IAddress], bool], inner: IProtocolFactory) -> None:
        self._admit = admit
        self._inner = inner

    def doStart(self) -> None:
        """Start the factory below, too."""
        super().doStart()
        self._inner.doStart()

    def doStop(self) -> None:
        """Stop the factory below, too."""
        super().doStop()
        self._inner.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """Return the protocol for a connection, or nothing."""
        return self._inner.buildProtocol(addr) if self._admit(addr) else None

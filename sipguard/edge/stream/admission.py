"""The outermost factory of a listener: whether a connection may be at all."""

from collections.abc import Callable
from typing import final

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol

from sipguard.edge.stream.binding import Binding
from sipguard.edge.stream.conversation import Conversation
from sipguard.edge.stream.leg import Leg


@final
class Accepting(Factory):
    """The innermost factory: begins a conversation with each connection."""

    noisy = False

    def __init__(
        self, begin: Callable[[Binding, int], Conversation], binding: Binding, zone: int = 0
    ) -> None:
        self._begin = begin
        self._binding = binding
        self._zone = zone

    def buildProtocol(self, addr: IAddress | None) -> Leg:
        """Return the client's end of a new conversation."""
        return self._begin(self._binding, self._zone).client


@final
class Admission(Factory):
    """Asks *admit* before the factory below; nobody else hears of who is refused.

    Such a connection is closed at once and costs no more than that.
    """

    noisy = False

    def __init__(self, admit: Callable[[IAddress | None], bool], inner: IProtocolFactory) -> None:
        self._admit = admit
        self._inner = inner

    def doStart(self) -> None:
        """Start the factory below, too."""
        super().doStart()  # type: ignore[no-untyped-call] # Twisted does not type it
        self._inner.doStart()  # type: ignore[misc] # an interface of zope's

    def doStop(self) -> None:
        """Stop the factory below, too."""
        super().doStop()  # type: ignore[no-untyped-call] # Twisted does not type it
        self._inner.doStop()  # type: ignore[misc] # an interface of zope's

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Return the protocol for a connection, or nothing."""
        if not self._admit(addr):
            return None
        return self._inner.buildProtocol(addr)  # type: ignore[misc,call-arg] # zope's

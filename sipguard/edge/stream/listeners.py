"""Our listeners: where the plan has diversions, connections come in.

Bound before the rules are installed, so that no connection is diverted to nobody, and
adopted by the reactor when the service begins.
"""

import socket
from collections.abc import Callable, Set
from typing import Protocol, final

from twisted.internet.address import IPv4Address, IPv6Address

from sipguard.edge.plan import Diversion, Plan
from sipguard.edge.stream.admission import Admission
from sipguard.edge.stream.sockets import listening_socket, serve_fairly
from sipguard.errors import EdgeError


class ListeningPort(Protocol):
    """What it asks of a port of Twisted's."""

    def getHost(self) -> IPv4Address | IPv6Address:
        """Return where it listens."""

    def stopListening(self) -> object:
        """Accept nothing more."""


class PortReactor(Protocol):
    """What it asks of Twisted's reactor."""

    def adoptStreamPort(
        self, descriptor: int, family: socket.AddressFamily, factory: Admission, /
    ) -> ListeningPort:
        """Listen on a socket that listens already."""


@final
class Listeners:
    """Those that are bound, and those that accept.

    Args:
        reactor: Twisted's.
        accepting: Returns the factory for what comes by a diversion.
    """

    def __init__(self, reactor: PortReactor, accepting: Callable[[Diversion], Admission]) -> None:
        self._reactor = reactor
        self._accepting = accepting
        self._sockets: list[tuple[Diversion, socket.socket]] = []
        self._ports: list[ListeningPort] = []
        self._bound: set[int] = set()

    def bind(self, plan: Plan) -> None:
        """Bind the listeners that are not there yet: all of them, or none.

        Raises:
            EdgeError: a port is in use, or there is no permission.
        """
        made: list[tuple[Diversion, socket.socket]] = []
        try:
            for diversion in plan.diversions:
                if diversion.listener in self._bound:
                    continue
                for family in (socket.AF_INET, socket.AF_INET6):
                    listener = listening_socket(family, diversion.listener, plan.mark)
                    if listener is not None:
                        made.append((diversion, listener))
        except EdgeError:
            for _, listener in made:
                listener.close()
            raise
        self._sockets += made
        self._bound |= {diversion.listener for diversion, _ in made}

    def accept(self) -> None:
        """Begin to accept on those that are bound."""
        for diversion, listener in self._sockets:
            port = self._reactor.adoptStreamPort(
                listener.fileno(), listener.family, self._accepting(diversion)
            )
            serve_fairly(port)
            listener.close()  # the port has its own
            self._ports.append(port)
        self._sockets.clear()

    def keep(self, listeners: Set[int]) -> None:
        """Listen on these ports alone."""
        self._bound &= listeners
        for port in tuple(self._ports):
            if port.getHost().port not in listeners:
                self._ports.remove(port)
                port.stopListening()
        for diversion, listener in tuple(self._sockets):
            if diversion.listener not in listeners:
                self._sockets.remove((diversion, listener))
                listener.close()

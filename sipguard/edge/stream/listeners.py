"""Our listeners: where the plan has diversions, connections come in.

Bound before the rules are installed, so that no connection is diverted to nobody, and
adopted by the reactor when the service begins.
"""

import socket
from collections.abc import Callable, Set
from typing import Protocol, final

from twisted.internet.address import IPv4Address, IPv6Address

from sipguard.edge.plan import Listener, Plan
from sipguard.edge.stream.admission import Admission
from sipguard.edge.stream.sockets import listening_socket, serve_fairly
from sipguard.edge.zone_rules import zone_mark
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
        accepting: Returns the factory for what comes to a listener.
    """

    def __init__(self, reactor: PortReactor, accepting: Callable[[Listener], Admission]) -> None:
        self._reactor = reactor
        self._accepting = accepting
        self._sockets: list[tuple[Listener, socket.socket]] = []
        self._ports: list[ListeningPort] = []
        self._bound: set[int] = set()

    def bind(self, plan: Plan) -> None:
        """Bind the listeners that are not there yet: all of them, or none.

        Raises:
            EdgeError: a port is in use, or there is no permission.
        """
        made: list[tuple[Listener, socket.socket]] = []
        try:
            for listener in plan.listeners:
                if listener.port in self._bound:
                    continue
                mark = plan.mark | zone_mark(listener.zone)  # whom it accepts inherits it
                for family in (socket.AF_INET, socket.AF_INET6):
                    bound = listening_socket(family, listener.port, mark)
                    if bound is not None:
                        made.append((listener, bound))
        except EdgeError:
            for _, bound in made:
                bound.close()
            raise
        self._sockets += made
        self._bound |= {listener.port for listener, _ in made}

    def accept(self) -> None:
        """Begin to accept on those that are bound."""
        for listener, bound in self._sockets:
            port = self._reactor.adoptStreamPort(
                bound.fileno(), bound.family, self._accepting(listener)
            )
            serve_fairly(port)
            bound.close()  # the port has its own
            self._ports.append(port)
        self._sockets.clear()

    def keep(self, ports: Set[int]) -> None:
        """Listen on these ports alone."""
        self._bound &= ports
        for port in tuple(self._ports):
            if port.getHost().port not in ports:
                self._ports.remove(port)
                port.stopListening()
        for listener, bound in tuple(self._sockets):
            if listener.port not in ports:
                self._sockets.remove((listener, bound))
                bound.close()

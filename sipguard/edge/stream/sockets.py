"""Sockets with other people's addresses: where diverted connections come in, and onward ones.

Needs CAP_NET_ADMIN (for IP_TRANSPARENT and the mark).
"""

import errno
import socket
from collections.abc import Callable
from typing import Final, final

from twisted.internet.error import ConnectBindError, ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHalfCloseableDescriptor,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.tcp import Client, Connection, Connector, Port, Server
from twisted.python.failure import Failure
from zope.interface import implementer_only  # type: ignore[import-untyped] # it ships no types

from sipguard.errors import EdgeError
from sipguard.wire.packet import Packet, show_address

BACKLOG: Final = 1024
ACCEPTS: Final = 4  # in one turn of the reactor: each costs more than a message
CONNECT_S: Final = 5.0
KEEP_IDLE_S: Final = 600

_SO_MARK: Final = 36
_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
_IN_USE: Final = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL})
_LOOPBACK: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def listening_socket(family: int, port: int, mark: int) -> socket.socket | None:
    """Return a socket that takes diverted connections; None where the family is switched off.

    Raises:
        EdgeError: the port is in use, or there is no permission.
    """
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        _prepare(made, mark)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((_LOOPBACK[socket.AddressFamily(family)], port))
        made.setblocking(False)
        made.listen(BACKLOG)
    except OSError as refusal:
        made.close()
        if family == socket.AF_INET6 and refusal.errno == errno.EADDRNOTAVAIL:
            return None
        raise EdgeError(_why_no_listener(port, refusal)) from refusal
    return made


class Prompt(Connection):
    """Sends what is written at once, as far as the peer takes it.

    Twisted would ask the kernel to say when there is room, which there nearly always is; that
    costs more than the sending. What is written while it is corked leaves together.
    """

    _is_writing = False
    _is_corked = False
    _waits = False  # for the cork

    def write(self, octets: bytes) -> None:
        """Send."""
        self._is_writing = True
        try:
            super().write(octets)  # type: ignore[no-untyped-call] # Twisted does not type it
        finally:
            self._is_writing = False

    def cork(self) -> None:
        """Keep what is written from now on."""
        self._is_corked = True

    def uncork(self) -> None:
        """Send what was kept."""
        self._is_corked = False
        if self._waits and self.connected:
            self._waits = False
            self._is_writing = bool(self._tempDataLen) and not self.disconnecting
            self.startWriting()

    def startWriting(self) -> None:
        """Send at once; what fails or is left has the kernel asked."""
        if self._is_corked:
            self._waits = True
            return
        if self._is_writing:
            self._is_writing = False  # room again may let our producer write
            refusal: object = self.doWrite()  # type: ignore[no-untyped-call] # Twisted's
            if refusal is None and not self.dataBuffer and not self._tempDataLen:
                return
        super().startWriting()  # type: ignore[no-untyped-call] # Twisted's


# Twisted's TLS hands on what is declared here, one by one, for each connection: no more than
# somebody asks for.
@implementer_only(ITCPTransport, IHalfCloseableDescriptor)
class _Accepted(Prompt, Server):
    """A connection of a client."""


def serve_fairly(port: object) -> None:
    """Let a port of Twisted's accept few connections at a time, which send promptly.

    By itself it takes the more in one turn, the more there are, and messages that came by
    other connections wait for all of them.
    """
    if not isinstance(port, Port):
        return
    port.transport = _Accepted
    as_many_as_there_are = port.doRead

    def accept() -> None:
        port.numberAccepts = ACCEPTS  # Twisted changes it each time
        as_many_as_there_are()  # type: ignore[no-untyped-call] # Twisted does not type it

    port.doRead = accept  # type: ignore[method-assign] # what the reactor calls


def _why_no_listener(port: int, refusal: OSError) -> str:
    if refusal.errno in (errno.EPERM, errno.EACCES):
        return "cannot listen for diverted connections: run as root or with CAP_NET_ADMIN"
    if refusal.errno == errno.EADDRINUSE:
        return f"TCP port {port} of the loopback is in use; diverted connections come there"
    return f"cannot listen for diverted connections on port {port}: {refusal.strerror}"


def _prepare(made: socket.socket, mark: int) -> None:
    """Let it have any address, and let no message wait for the next one; the dead are found."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_IDLE_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_IDLE_S // 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
    made.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)


@implementer_only(ITCPTransport, IHalfCloseableDescriptor)
class _OnwardClient(Prompt, Client):
    """A connection that starts from an address which is not ours."""

    def createInternetSocket(self) -> socket.socket:
        made: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]
        connector = self.connector
        if isinstance(connector, _OnwardConnector):
            _prepare(made, connector.mark)
        return made


class _OnwardConnector(Connector):
    def __init__(
        self,
        ends: Packet,
        source_port: int,
        mark: int,
        factory: ClientFactory,
        reactor: object,
    ) -> None:
        self.mark = mark
        source = (show_address(ends.src), source_port)
        super().__init__(show_address(ends.dst), ends.dport, factory, CONNECT_S, source, reactor)

    def connectionLost(self, reason: Failure) -> None:
        """Let go of the transport: it holds us, and the collector seldom comes."""
        super().connectionLost(reason)
        self.transport = None

    def _makeTransport(self) -> Client:
        return _OnwardClient(  # type: ignore[no-untyped-call]
            self.host, self.port, self.bindAddress, self, self.reactor
        )


@final
class OnwardAttempt(ClientFactory):
    """Connects to where a client wanted to, in its name: first from its port, then from any.

    Args:
        ends: Of the client's connection.
        factory: Makes the protocol of the onward connection.
        failed: Called once, where it cannot be made.
        mark: By which our rules know the connection.
        reactor: Twisted's.
    """

    noisy = False

    def __init__(
        self,
        ends: Packet,
        factory: ClientFactory,
        failed: Callable[[Failure], None],
        mark: int,
        reactor: object,
    ) -> None:
        self._ends = ends
        self._factory = factory
        self._failed = failed
        self._mark = mark
        self._reactor = reactor
        self._connector: _OnwardConnector | None = None
        self._is_cancelled = False
        self._tries_port = True

    def start(self) -> None:
        """Begin."""
        self._connect(self._ends.sport)

    def _connect(self, source_port: int) -> None:
        self._connector = _OnwardConnector(self._ends, source_port, self._mark, self, self._reactor)
        self._connector.connect()

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Return the protocol of what stands now."""
        self._connector = None
        return self._factory.buildProtocol(addr)  # type: ignore[return-value] # an interface of zope's

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """Try once more from another port, if that is what failed."""
        self._connector = None
        if self._is_cancelled:
            return
        error = reason.value
        code = error.osError if isinstance(error, ConnectError) else None
        in_use = isinstance(error, ConnectBindError) or code in _IN_USE
        if in_use and self._tries_port:
            self._tries_port = False
            self._connect(0)
            return
        self._failed(reason)

    def cancel(self) -> None:
        """Give it up, silently."""
        self._is_cancelled = True
        if self._connector is not None and self._connector.state == "connecting":
            self._connector.stopConnecting()

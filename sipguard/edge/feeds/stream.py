"""Syslog over TCP: one connection that is made again, and never more in it than it takes.

What the kernel has taken and the collector has not read when the connection
breaks is lost without anybody's knowledge: plain syslog has no receipts. So a
connection that is dead must be known for it soon.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as Wire
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.feeds.outlet import Outlet
from sipguard.edge.feeds.syslog import framed
from sipguard.journal.record import Record

CONNECT_S: Final = 10
# A firewall on the way forgets connections that are silent, and a collector without power says
# nothing: the kernel alone would write into the void for a quarter of an hour.
ALIVE_S: Final = 60
_OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ALIVE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ALIVE_S // 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ALIVE_S * 1000),
)
LONGEST_WAIT_S: Final = 60


class Connector(Protocol):
    """What Twisted returns for a connection."""

    def disconnect(self) -> None:
        """Close it, or stop trying."""


class StreamReactor(Protocol):
    """What connections ask of Twisted's reactor."""

    def connectTCP(
        self, host: str, port: int, factory: "_Redialer", timeout: float = ..., /
    ) -> Connector:
        """Connect."""


class SyslogStream:
    """Records over one connection."""

    def __init__(
        self, host: str, port: int, write: Callable[[Record], bytes], reactor: StreamReactor
    ) -> None:
        self.sent = 0
        self.lost = 0
        self.last_error = ""
        self.wire: _SyslogWire | None = None
        self._end = (host, port)
        self._write = write
        self._reactor = reactor
        self._redialer: _Redialer | None = None
        self._connector: Connector | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended: what it had taken is written then."""
        return self.wire is None

    def wants(self, record: Record, *, is_new: bool) -> bool:
        """Each attempt once."""
        return is_new

    def take(self, records: Sequence[Record]) -> int:
        """Write them, unless there is no connection or it is full; then they wait."""
        if self._redialer is None:
            self._redialer = _Redialer(self)
            self._connector = self._reactor.connectTCP(*self._end, self._redialer, CONNECT_S)
        for done, record in enumerate(records):
            if self.wire is None or not self.wire.has_room:
                return done
            self.wire.write(framed(self._write(record)))
            self.sent += 1
        return len(records)

    def follow(self, before: Outlet) -> None:
        """Do nothing: there is no secret that could change."""

    def reopen(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Hang up, and do not come back."""
        if self._redialer is not None and self._connector is not None:
            self._redialer.stopTrying()  # type: ignore[no-untyped-call] # Twisted does not type it
            self._connector.disconnect()
        self._redialer = None


@implementer(IPushProducer)
class _SyslogWire(Wire):
    """One connection; what the collector says is of no interest."""

    def __init__(self, stream: SyslogStream) -> None:
        self._stream = stream
        self.has_room = False

    def connectionMade(self) -> None:
        """Records may come."""
        for option in _OPTIONS:
            self.transport.getHandle().setsockopt(*option)  # type: ignore[union-attr]
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self.has_room = True
        self._stream.wire = self
        self._stream.last_error = ""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Records wait."""
        self.has_room = False
        if self._stream.wire is self:
            self._stream.wire = None

    def write(self, octets: bytes) -> None:
        """Send octets."""
        self.transport.write(octets)  # type: ignore[union-attr, call-arg, misc] # zope

    def pauseProducing(self) -> None:
        """The connection is full."""
        self.has_room = False

    def resumeProducing(self) -> None:
        """There is room again."""
        self.has_room = True

    def stopProducing(self) -> None:
        """The connection ends."""
        self.has_room = False


class _Redialer(ReconnectingClientFactory):
    maxDelay = LONGEST_WAIT_S
    initialDelay = 1.0
    noisy = False

    def __init__(self, stream: SyslogStream) -> None:
        self._stream = stream

    def buildProtocol(self, addr: object) -> _SyslogWire:
        """Return a wire; the next fault waits briefly again."""
        self.resetDelay()  # type: ignore[no-untyped-call] # Twisted does not type it
        return _SyslogWire(self._stream)

    def clientConnectionFailed(self, connector: Connector, reason: Failure) -> None:
        """Say why, and try later."""
        self._stream.last_error = reason.getErrorMessage()
        super().clientConnectionFailed(connector, reason)  # type: ignore[no-untyped-call] # nor this

    def clientConnectionLost(self, connector: Connector, reason: Failure) -> None:
        """Say so, and try later."""
        self._stream.last_error = (
            "the collector closed the connection"
            if reason.check(ConnectionDone)
            else f"the connection broke: {reason.getErrorMessage()}"
        )
        super().clientConnectionLost(connector, reason)  # type: ignore[no-untyped-call] # nor this

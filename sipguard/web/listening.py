"""The site as it listens: bounded bodies, bounded connections, and a log without addresses."""

from typing import Final

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http import _GenericHTTPChannelProtocol
from twisted.web.server import Request, Site

from sipguard.web.site import Pages

MAX_BODY_OCTETS: Final = 8_192
MAX_CONNECTIONS: Final = 200
IDLE_S: Final = 60.0


class BoundedRequest(Request):
    """A request whose body is small or not read: no form of ours is large."""

    def gotLength(self, length: int | None) -> None:
        """Cut off who announces more than a form, or does not say how much."""
        if length is None or length > MAX_BODY_OCTETS:
            refusal = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\n"
            self.transport.write(refusal)  # type: ignore[call-arg, misc, union-attr] # an interface
            self.loseConnection()  # type: ignore[no-untyped-call] # Twisted does not type it
            length = 0
        super().gotLength(length)  # type: ignore[no-untyped-call] # Twisted does not type it


class QuietSite(Site):
    """A site that logs no addresses of pages, and takes so many connections at a time."""

    displayTracebacks = False

    def __init__(self, pages: Pages, clock: IReactorTime) -> None:
        super().__init__(  # type: ignore[no-untyped-call] # Twisted does not type it
            pages, requestFactory=BoundedRequest, timeout=IDLE_S, reactor=clock
        )
        self.pages = pages
        self._connections = 0

    def log(self, _request: http.Request) -> None:
        """Log nothing: what reviewers look at is theirs."""

    def stopFactory(self) -> None:
        """End the streams of events."""
        for watchers in self.pages.streams.values():
            watchers.stop()
        super().stopFactory()

    def buildProtocol(self, addr: IAddress | None) -> _GenericHTTPChannelProtocol | None:
        """Take a connection, if there is room."""
        if self._connections >= MAX_CONNECTIONS:
            return None
        made: _GenericHTTPChannelProtocol = super().buildProtocol(addr)  # type: ignore[no-untyped-call] # Twisted does not type it
        lost = made.connectionLost

        def counted(reason: Failure) -> None:
            self._connections -= 1
            lost(reason)

        self._connections += 1
        setattr(made, "connectionLost", counted)  # noqa: B010 - a method of this one
        return made

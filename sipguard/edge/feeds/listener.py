"""``/metrics`` over HTTP, on loopback unless the operator says otherwise."""

import ipaddress
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from twisted.application.internet import TCPServer
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from sipguard.edge.control import StatusReport
from sipguard.edge.feeds.metrics import CONTENT_TYPE, exposition

MAX_CONNECTIONS: Final = 16
TIMEOUT_S: Final = 30
KEPT_S: Final = 1.0  # a report asks the kernel; who scrapes faster gets the same again


class Listen(NamedTuple):
    """Where to listen."""

    address: str
    port: int


def read_listen(text: str) -> Listen:
    """Return what ``[ADDRESS:]PORT`` means; without an address it is loopback.

    Raises:
        ValueError: It is none of that; the text says what to write.
    """
    address, colon, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError("--metrics is PORT or ADDRESS:PORT, such as 9431 or [::1]:9431")
    try:
        return Listen(str(ipaddress.ip_address(address)), int(port))
    except ValueError:
        raise ValueError(f"--metrics: {address} is no IP address") from None


def is_loopback(listen: Listen) -> bool:
    """Whether nobody but this machine can reach it."""
    return ipaddress.ip_address(listen.address).is_loopback


class Metrics(Resource):
    """Answers a scrape with what the service would report now."""

    isLeaf = True

    def __init__(
        self, report: Callable[[], StatusReport], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Twisted does not type it
        self._report = report
        self._clock = clock
        self._told = b""
        self._told_at_s = float("-inf")

    def render_GET(self, request: Request) -> bytes:
        """Return the metrics."""
        now_s = self._clock()
        if now_s - self._told_at_s >= KEPT_S:
            self._told = exposition(self._report())
            self._told_at_s = now_s
        request.setHeader(b"Content-Type", CONTENT_TYPE)
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        return self._told


class _QuietSite(Site):
    """Logs no request: a scrape every few seconds is no news, and its path is a stranger's."""

    noisy = False

    def log(self, _request: Request) -> None:
        """Say nothing."""


class _Few(WrappingFactory[ProtocolWrapper]):
    """Takes a few connections at a time; a scraper needs one."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper | None:  # type: ignore[override] # None closes it
        """Return the connection's protocol, or nothing where there are enough."""
        if len(self.protocols) >= MAX_CONNECTIONS:
            return None
        return super().buildProtocol(addr)


class MetricsListener(TCPServer):
    """The listener as a service of its own."""

    def __init__(self, listen: Listen, report: Callable[[], StatusReport]) -> None:
        root = Resource()
        root.putChild(b"metrics", Metrics(report))  # type: ignore[arg-type] # an interface of zope's
        site = _QuietSite(root, timeout=TIMEOUT_S)  # type: ignore[no-untyped-call] # Twisted does not type it
        self.listen = listen
        few = _Few(site)  # type: ignore[no-untyped-call] # Twisted does not type it
        super().__init__(listen.port, few, interface=listen.address)  # type: ignore[no-untyped-call] # nor this

    def privilegedStartService(self) -> None:
        """Bind the port; where it is taken, say so and end the start."""
        try:
            super().privilegedStartService()  # type: ignore[no-untyped-call] # Twisted does not type it
        except CannotListenError as error:
            raise SystemExit(
                f"sipguard: cannot listen on {self.listen.address}:{self.listen.port} "
                f"for --metrics: {error.socketError}"
            ) from None

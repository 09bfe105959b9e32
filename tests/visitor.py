"""The web page over a transport in memory: its clock, and a visitor with a cookie jar."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

from nights import NOON
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from sipguard.edge.archive import Archive
from sipguard.edge.password_file import Hashed, digest_of, hash_password
from sipguard.web.door import Door
from sipguard.web.listening import QuietSite
from sipguard.web.site import Pages

PASSWORD = "correct horse battery"
TOKEN = "0123456789abcdef0123456789abcdef"
T = TypeVar("T")


def at_once(ask: Callable[[], T]) -> "Deferred[T]":
    """What asks in a thread otherwise."""
    return maybeDeferred(ask)


@cache
def hashed() -> Hashed:
    """The password's hash; it takes a moment."""
    return hash_password(PASSWORD)


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name.lower()), "")

    @property
    def cookies(self) -> list[str]:
        return [value for key, value in self.headers if key == "set-cookie"]


class Visitor:
    """A browser as far as HTTP goes."""

    def __init__(self, state: Path, *, is_secure: bool = False, source: str = "127.0.0.1") -> None:
        self.clock: Clock = Clock()
        self.clock.advance(NOON + 3600)
        door = Door(hashed(), digest_of(TOKEN), self.clock.seconds, at_once)
        self.pages = Pages(
            Archive(state), door, self.clock, at_once, at_once,  # type: ignore[arg-type] # an interface
            is_secure=is_secure, now=self.clock.seconds,
        )  # fmt: skip
        self.site = QuietSite(self.pages, self.clock)  # type: ignore[arg-type] # an interface
        self.source = source
        self.jar: dict[str, str] = {}

    def send(self, octets: bytes) -> StringTransportWithDisconnection:
        """Send octets over a new connection, and return its other end."""
        protocol = self.site.buildProtocol(IPv4Address("TCP", self.source, 40_000))  # type: ignore[arg-type] # an interface
        assert protocol is not None
        transport = StringTransportWithDisconnection(
            peerAddress=IPv4Address("TCP", self.source, 40_000)
        )
        transport.protocol = protocol
        protocol.makeConnection(transport)
        protocol.dataReceived(octets)
        return transport

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        """Send a request; names of headers have _ for -."""
        lines = [f"{method} {path} HTTP/1.1", "Host: gate.example"]
        if self.jar:
            lines.append("Cookie: " + "; ".join(f"{k}={v}" for k, v in self.jar.items()))
        if method == "POST":
            lines += [
                "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}",
            ]  # fmt: skip
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        reply = parsed(self.send("\r\n".join([*lines, "", ""]).encode() + body).value())
        for cookie in reply.cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.jar.pop(name, None)
            if value:
                self.jar[name] = value
        return reply

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, b"", **headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Reply:
        return self.ask("POST", path, urlencode(fields).encode(), **headers)

    def enter(self, word: str = PASSWORD, there: str = "/") -> Reply:
        """Log in by the form."""
        form = re.search(r'name="form" value="(\w+)"', self.get("/login").text)
        assert form is not None
        return self.post("/login", {"form": form[1], "word": word, "next": there})


def inside(state: Path) -> Visitor:
    """Return a visitor who is logged in."""
    visitor = Visitor(state)
    assert visitor.enter().status == 303
    return visitor


def watch(
    visitor: Visitor, more: str = "", path: str = "/live/events?all=1"
) -> StringTransportWithDisconnection:
    """Ask for a stream of events, and return its other end."""
    cookie = "; ".join(f"{k}={v}" for k, v in visitor.jar.items())
    return visitor.send(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n{more}\r\n".encode()
    )


def parsed(octets: bytes) -> Reply:
    """Read one response, its body in chunks or whole."""
    head, _, body = octets.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines)]
    return Reply(int(status.split()[1]), headers, body)

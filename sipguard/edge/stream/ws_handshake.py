"""The opening handshake of WebSocket (RFC 6455 section 4), as server and as client.

h11 reads and writes the HTTP of it. What a client asks for is asked of the server in its
words: target, Host, Origin, cookies. What only concerns one of both connections is made
anew: the key, and no extension is agreed on, since a compressed frame could not be bounded
by its length.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple, final

import h11
from wsproto.utilities import generate_accept_token, generate_nonce

from sipguard.errors import HostileInput
from sipguard.reason import Reason

MAX_HEAD_OCTETS: Final = 16_384  # browsers send half a kilobyte; cookies can be 4 KB each
SUBPROTOCOL: Final = b"sip"  # RFC 7118 section 4.1
_END: Final = b"\r\n\r\n"
_VERSION: Final = b"13"
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_GET: Final = b"GET "
_PHRASES: Final = {int(status): status.phrase for status in HTTPStatus}

Rows = Sequence[tuple[bytes, bytes]]

# Of one connection, not of the two ends (RFC 9110 section 7.6.1). Others that a client names
# in Connection go on all the same: it could take Origin away from the server's eyes with it.
_OF_ONE_CONNECTION: Final = frozenset(
    (
        *(b"host", b"connection", b"upgrade", b"keep-alive", b"proxy-connection", b"te"),
        *(b"trailer", b"transfer-encoding", b"content-length", b"expect"),
        *(b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol"),
        b"sec-websocket-extensions",
    )
)
# What a client can use of the server's refusal.
_OF_A_REFUSAL: Final = frozenset(
    (b"www-authenticate", b"set-cookie", b"retry-after", b"location", b"sec-websocket-version")
)
_OF_AN_ACCEPTANCE: Final = frozenset((b"set-cookie",))  # a load balancer knows its client by it


class Asked(NamedTuple):
    """What a client asks for; *rows* are the other header rows, to be sent on as they came."""

    target: bytes
    host: bytes
    origin: bytes
    key: bytes
    rows: Rows


class Answered(NamedTuple):
    """What a server answered: 101, or why not, and the header rows that the client is to see."""

    status: int
    rows: Rows = ()


_REFUSALS: Final = {
    Reason.WS_NO_UPGRADE: Answered(
        HTTPStatus.UPGRADE_REQUIRED,
        ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", _VERSION)),
    ),
    Reason.WS_ORIGIN: Answered(HTTPStatus.FORBIDDEN),
}


@final
class Head:
    """Gathers the octets of an HTTP head, up to its empty line."""

    __slots__ = ("_begins", "_octets")

    def __init__(self, begins: bytes) -> None:
        self._octets = bytearray()
        self._begins = begins

    def take(self, octets: bytes) -> tuple[bytes, bytes] | None:
        """Take more; return the head and what came behind it, once the head is whole.

        Raises:
            HostileInput: it is none, or too long.
        """
        searched = max(0, len(self._octets) - len(_END) + 1)
        self._octets += octets
        first = bytes(self._octets[: len(self._begins)])
        if not self._begins.startswith(first):
            raise HostileInput(Reason.WS_NOT_HTTP, "it does not begin as HTTP does", first)
        at = self._octets.find(_END, searched, MAX_HEAD_OCTETS)
        if at >= 0:
            at += len(_END)
            head, rest = bytes(self._octets[:at]), bytes(self._octets[at:])
            self._octets.clear()
            return head, rest
        if len(self._octets) >= MAX_HEAD_OCTETS:
            what = f"an HTTP head of more than {MAX_HEAD_OCTETS} octets"
            raise HostileInput(Reason.WS_NOT_HTTP, what, bytes(self._octets[:256]))
        return None

    def __len__(self) -> int:
        return len(self._octets)


def request_head() -> Head:
    """Return what gathers a client's request."""
    return Head(_GET)


def response_head() -> Head:
    """Return what gathers a server's response."""
    return Head(b"HTTP/1.")


# --- as the server


def read_request(head: bytes) -> Asked:
    """Return what a client asks for (RFC 6455 section 4.2.1).

    Raises:
        HostileInput: it asks for no WebSocket, or not for SIP in it.
    """
    request = _read(h11.Connection(h11.SERVER), head)
    if not isinstance(request, h11.Request) or request.http_version != b"1.1":
        raise HostileInput(Reason.WS_NOT_HTTP, "no request of HTTP/1.1", head[:256])
    rows = list(request.headers)
    if b"websocket" not in _words(rows, b"upgrade"):
        raise HostileInput(Reason.WS_NO_UPGRADE, "an HTTP request that asks for no WebSocket")
    if b"upgrade" not in _words(rows, b"connection"):
        raise HostileInput(Reason.WS_BAD_HANDSHAKE, "Connection does not say Upgrade")
    if _only(rows, b"sec-websocket-version") != _VERSION:
        raise HostileInput(Reason.WS_NO_UPGRADE, "another version of WebSocket than 13")
    key = _only(rows, b"sec-websocket-key")
    if not _KEY.fullmatch(key):
        raise HostileInput(Reason.WS_BAD_HANDSHAKE, "Sec-WebSocket-Key is no 16 octets", key[:64])
    if _only(rows, b"content-length") not in (b"", b"0") or _all(rows, b"transfer-encoding"):
        raise HostileInput(Reason.WS_BAD_HANDSHAKE, "a request for a WebSocket that has a body")
    if SUBPROTOCOL not in _words(rows, b"sec-websocket-protocol", folded=False):
        offered = b", ".join(_all(rows, b"sec-websocket-protocol"))
        what = "the client does not offer the subprotocol sip"
        raise HostileInput(Reason.WS_SUBPROTOCOL, what, offered[:64])
    origin = _only(rows, b"origin")
    return Asked(request.target, _only(rows, b"host"), origin, key, _others(request))


def accept(asked: Asked, rows: Rows) -> bytes:
    """Return the answer that opens the WebSocket."""
    return _head(
        HTTPStatus.SWITCHING_PROTOCOLS,
        (
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", generate_accept_token(asked.key)),
            (b"Sec-WebSocket-Protocol", SUBPROTOCOL),
            *rows,
        ),
    )


def refuse(answered: Answered) -> bytes:
    """Return an answer that says why there is none."""
    return _head(
        answered.status, (*answered.rows, (b"Content-Length", b"0"), (b"Connection", b"close"))
    )


def refusal(reason: Reason) -> Answered:
    """Return what a client is refused with."""
    return _REFUSALS.get(reason, Answered(HTTPStatus.BAD_REQUEST))


# --- as the client


@final
class Asking:
    """One request of ours, made of a client's, and what the server says to it."""

    __slots__ = ("_http", "_key", "request")

    def __init__(self, asked: Asked) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._key = generate_nonce()
        rows = (
            (b"Host", asked.host),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", self._key),
            (b"Sec-WebSocket-Version", _VERSION),
            (b"Sec-WebSocket-Protocol", SUBPROTOCOL),
            *asked.rows,
        )
        request = h11.Request(method=b"GET", target=asked.target, headers=list(rows))
        self.request = self._http.send(request) or b""

    def read(self, head: bytes) -> Answered:
        """Return what the server answered (RFC 6455 section 4.1).

        Raises:
            HostileInput: it is no answer to that.
        """
        response = _read(self._http, head)
        if isinstance(response, h11.Response):
            return Answered(response.status_code, _named(response, _OF_A_REFUSAL))
        if not isinstance(response, h11.InformationalResponse) or response.status_code != 101:
            raise HostileInput(Reason.WS_NOT_HTTP, "no answer to a handshake", head[:256])
        rows = list(response.headers)
        if b"websocket" not in _words(rows, b"upgrade") or b"upgrade" not in _words(
            rows, b"connection"
        ):
            raise HostileInput(Reason.WS_BAD_HANDSHAKE, "the server upgrades to something else")
        if _only(rows, b"sec-websocket-accept") != generate_accept_token(self._key):
            raise HostileInput(Reason.WS_BAD_HANDSHAKE, "the server's answer is to another key")
        if _all(rows, b"sec-websocket-extensions"):
            raise HostileInput(Reason.WS_BAD_HANDSHAKE, "an extension that nobody offered")
        chosen = b", ".join(_all(rows, b"sec-websocket-protocol"))
        if chosen != SUBPROTOCOL:
            what = "the server does not take the subprotocol sip"
            raise HostileInput(Reason.WS_SUBPROTOCOL, what, chosen[:64])
        return Answered(101, _named(response, _OF_AN_ACCEPTANCE))


# --- rows


def _read(http: h11.Connection, head: bytes) -> object:
    """Return the event that a head is."""
    try:
        http.receive_data(head)
        event = http.next_event()
    except h11.RemoteProtocolError as error:
        what = "HTTP that breaks its own rules"
        raise HostileInput(Reason.WS_NOT_HTTP, what, head[:256]) from error
    if http.trailing_data[0]:  # a bare line feed ended it earlier, for h11 at least
        raise HostileInput(Reason.WS_NOT_HTTP, "the head has two ends", head[:256])
    return event


def _head(status: int, rows: Rows) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (status, _PHRASES.get(status, "").encode())]
    lines += (b"%s: %s" % row for row in rows)
    return b"\r\n".join(lines) + _END


def _all(rows: Rows, name: bytes) -> list[bytes]:
    return [value for row, value in rows if row == name]


def _only(rows: Rows, name: bytes) -> bytes:
    """Return a value that may stand once."""
    values = _all(rows, name)
    if len(values) > 1:
        raise HostileInput(Reason.WS_BAD_HANDSHAKE, "a header that stands twice", name)
    return values[0] if values else b""


def _words(rows: Rows, name: bytes, *, folded: bool = True) -> list[bytes]:
    text = b",".join(_all(rows, name))
    return [word.strip(b" \t") for word in (text.lower() if folded else text).split(b",")]


def _others(request: h11.Request) -> Rows:
    rows = request.headers.raw_items()
    return [row for row in rows if row[0].lower() not in _OF_ONE_CONNECTION]


def _named(response: h11.Response | h11.InformationalResponse, names: frozenset[bytes]) -> Rows:
    return [row for row in response.headers.raw_items() if row[0].lower() in names]

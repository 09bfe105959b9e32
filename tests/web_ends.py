"""A WebSocket through the gateway on paper: an independent implementation at each end."""

from collections.abc import Sequence

from stream_paper import Line, Paper
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event, State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

POLICY = """
default drop
chain request
  refused reject 488 if user_agent == "no"
  all accept
chain media
  keyed open if keyed
"""


class Browser:
    """A client of websockets', on the octets alone."""

    def __init__(
        self,
        uri: str = "ws://pbx.example.com:5060/sip?x=1",
        *,
        subprotocols: Sequence[str] = ("sip",),
        origin: str = "",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.protocol = ClientProtocol(
            parse_uri(uri),
            origin=Origin(origin) if origin else None,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        )
        request = self.protocol.connect()
        for name, value in headers:
            request.headers[name] = value
        self.protocol.send_request(request)
        self.events: list[Event] = []

    @property
    def response(self) -> Response:
        """What the gateway answered to the handshake."""
        return next(event for event in self.events if isinstance(event, Response))


class Server:
    """A server of websockets', on the octets alone; *refuses* with a status, if there is one."""

    def __init__(self, refuses: int = 0, subprotocol: str = "sip") -> None:
        self.protocol = ServerProtocol(subprotocols=[Subprotocol(subprotocol)])
        self.refuses = refuses
        self.events: list[Event] = []

    @property
    def request(self) -> Request:
        """What the gateway asked for."""
        return next(event for event in self.events if isinstance(event, Request))


class Call:
    """A browser and a server, and the gateway between them."""

    def __init__(
        self, browser: Browser, server: Server | None = None, paper: Paper | None = None
    ) -> None:
        self.paper = paper or Paper(POLICY, kind="ws")
        self.line: Line = self.paper.reaches()
        self.browser, self.server = browser, server or Server()
        self.move()

    def move(self) -> None:
        """Carry octets until nobody has any."""
        for _ in range(8):
            for octets in self.browser.protocol.data_to_send():
                if octets and not self.line.client.is_over:
                    self.line.client_sends(octets)
            if not self.is_through and self.paper.attempts and not self.line.is_over():
                self.line.server_takes_it()
            self._serve()
            _feed(self.browser.protocol, self.line.client_got())
            if self.line.client.is_over and self.browser.protocol.state is not State.CLOSED:
                self.browser.protocol.receive_eof()
            self.browser.events += self.browser.protocol.events_received()

    @property
    def is_through(self) -> bool:
        """Whether there is a connection to the server."""
        return self.line._server_leg is not None

    def _serve(self) -> None:
        if not self.is_through:
            return
        protocol = self.server.protocol
        _feed(protocol, self.line.server_got())
        for event in protocol.events_received():
            self.server.events.append(event)
            if isinstance(event, Request):
                answer = (
                    protocol.reject(self.server.refuses, "no")
                    if self.server.refuses
                    else protocol.accept(event)
                )
                protocol.send_response(answer)
        for octets in protocol.data_to_send():
            if octets and not self.line.server.is_over:
                self.line.server_sends(octets)

    def says(self, message: bytes, *, text: bool = True) -> None:
        """The browser sends a message."""
        (self.browser.protocol.send_text if text else self.browser.protocol.send_binary)(message)
        self.move()

    def answers(self, message: bytes, *, text: bool = True) -> None:
        """The server sends a message."""
        (self.server.protocol.send_text if text else self.server.protocol.send_binary)(message)
        self.move()


def _feed(protocol: ClientProtocol | ServerProtocol, octets: bytes) -> None:
    if octets:
        protocol.receive_data(octets)


def frames(events: Sequence[Event]) -> list[tuple[Opcode, bytes]]:
    """Return kind and content of the messages among *events*."""
    kinds = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
    return [
        (event.opcode, bytes(event.data))
        for event in events
        if isinstance(event, Frame) and event.opcode in kinds
    ]


def header(headers: Headers, name: str) -> list[str]:
    """Return the values of a header."""
    return headers.get_all(name)

"""SIP over WebSocket (RFC 7118): one SIP message in each WebSocket message.

The gateway is the server towards the client and the client towards the server. The client
hears that its WebSocket is open only after the server has taken ours; what the server
answers otherwise, the client is answered, too. Each side answers pings for itself; one
that came is made into an empty one on the other side, so that the far connection is kept
alive as well, and no octet passes that was not judged.

wsproto reads and writes the frames.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final, final

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from sipguard.edge.stream import ws_handshake
from sipguard.edge.stream.binding import FIRST_S, Binding
from sipguard.edge.stream.codec import Codec
from sipguard.edge.stream.ws_handshake import Answered, Asked, Asking
from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason
from sipguard.wire.message import MAX_MESSAGE_OCTETS

# A page opens its WebSocket when it is loaded, and registers when its user has logged in. Pings
# do not count: any page can send them for ever.
UPGRADED_S: Final = 300.0

_OPEN: Final = ConnectionState.OPEN


@final
class Text(bytes):
    """A message that came as text, and goes on as text."""

    __slots__ = ()


@final
class Binary(bytes):
    """A message that came as octets, and goes on as octets."""

    __slots__ = ()


class _End:
    """What both codecs do once the WebSocket is open."""

    def __init__(self, side: ConnectionType) -> None:
        self.partner: _End | None = None
        self.ended = False
        self._side = side
        self._frames: Connection | None = None  # none before the handshake is over
        self._answers = bytearray()
        self._parts: list[bytes] = []
        self._gathered = 0
        self._is_begun = False  # a message, in an earlier fragment
        self._since = 0  # octets since the last whole frame
        self._taken: Sequence[bytes] = ()
        self._is_text = True  # browsers' libraries and most servers speak text
        self._goodbye: int = CloseReason.GOING_AWAY
        self._has_closed = False
        self._pong: bytes | None = None
        self._is_ping_due = False

    def begin(self) -> bytes:
        """Nothing, unless we are the client."""
        return b""

    def receive(self, octets: bytes) -> Sequence[bytes]:
        """Take octets; see :class:`Codec`."""
        if self._frames is None:
            octets = self._shake(octets)
        frames = self._frames
        if frames is None or self.ended:
            return ()
        messages: list[bytes] = []
        self._since += len(octets)
        frames.receive_data(octets)
        try:
            for event in frames.events():
                self._take(event, frames, messages)
        except HostileInput:
            self._taken = messages
            raise
        return messages

    def _shake(self, octets: bytes) -> bytes:
        """Take octets of the handshake; return those behind it."""
        raise NotImplementedError

    def _open(self) -> None:
        self._frames = Connection(self._side)

    def taken(self) -> Sequence[bytes]:
        """Return what was whole when the framing was lost."""
        taken, self._taken = self._taken, ()
        return taken

    # --- what comes

    def _take(self, event: Event, frames: Connection, messages: list[bytes]) -> None:
        match event:
            case TextMessage() | BytesMessage():
                self._take_part(event, messages)
            case Ping():
                self._since = 0
                self._pong = bytes(event.payload)  # of several, the last is enough (section 5.5.3)
                if self.partner is not None:
                    self.partner._is_ping_due = True
            case CloseConnection():
                self._closed(event, frames)
            case _:
                self._since = 0

    def _take_part(self, event: TextMessage | BytesMessage, messages: list[bytes]) -> None:
        is_text = isinstance(event, TextMessage)
        part = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
        self._is_begun = True
        self._gathered += len(part)
        if self._gathered > MAX_MESSAGE_OCTETS:
            what = f"a message of more than {MAX_MESSAGE_OCTETS} octets"
            raise self._lost(CloseReason.MESSAGE_TOO_BIG, Reason.WS_TOO_LARGE, what)
        if part:
            self._parts.append(part)
        if not event.message_finished:
            return
        message = b"".join(self._parts)
        messages.append(Text(message) if is_text else Binary(message))
        self._parts.clear()
        self._gathered = self._since = 0
        self._is_begun = False
        self._is_text = is_text

    def _closed(self, event: CloseConnection, frames: Connection) -> None:
        """The peer says goodbye, or, where wsproto does not say so, breaks a rule."""
        if frames.state is _OPEN:
            reason = Reason.WS_FRAMING
            if event.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA:
                reason = Reason.WS_NOT_UTF8
            raise self._lost(event.code, reason, (event.reason or "")[:100])
        self.ended = True
        self._since = 0
        self._parts.clear()
        self._is_begun = False
        if self.partner is not None:
            self.partner._goodbye = event.code
        if not self._has_closed:
            self._has_closed = True
            self._answers += frames.send(CloseConnection(code=event.code))

    def _lost(self, code: int, reason: Reason, detail: str) -> HostileInput:
        self._goodbye = code
        self._parts.clear()
        return HostileInput(reason, detail)

    # --- what goes

    def encode(self, message: bytes) -> bytes:
        """Return the message in one frame; nothing once the WebSocket is closed."""
        frames = self._frames
        if frames is None or frames.state is not _OPEN:
            return self.answers()
        event: Event = BytesMessage(data=message)
        if isinstance(message, Text) or (self._is_text and not isinstance(message, Binary)):
            with suppress(UnicodeDecodeError):  # an answer of ours may be cut anywhere
                event = TextMessage(data=message.decode())
        return self.answers() + frames.send(event)

    def answers(self) -> bytes:
        """Return what is to be said by now."""
        frames = self._frames
        if frames is not None and frames.state is _OPEN:
            if self._pong is not None:
                self._answers += frames.send(Pong(payload=self._pong))
            if self._is_ping_due:
                self._answers += frames.send(Ping())
        self._pong = None
        self._is_ping_due = False
        answers = bytes(self._answers)
        self._answers.clear()
        return answers

    def end(self) -> bytes:
        """Return a close frame with the code that the other side gave."""
        frames = self._frames
        answers = self.answers()
        if frames is None or self._has_closed or frames.state is not _OPEN:
            return answers
        self._has_closed = True
        return answers + frames.send(CloseConnection(code=self._goodbye))

    @property
    def held(self) -> int:
        """How much is here of a message, or of the handshake."""
        return max(self._since, int(self._is_begun))


@final
class ServerCodec(_End):
    """We are the server: the client's end.

    ``asked`` is what the client asks for, once it has.

    Args:
        origins: The pages that may ask; none for any.
    """

    def __init__(self, origins: Sequence[str] = ()) -> None:
        super().__init__(ConnectionType.SERVER)
        self.asked: Asked | None = None
        self._origins = origins
        self._head = ws_handshake.request_head()
        self._refusal: Answered | None = None  # what the client hears if we end it now
        self._is_answered = False

    def _shake(self, octets: bytes) -> bytes:
        try:
            if self.asked is not None or self._is_answered:
                what = "the client goes on before the answer"
                raise HostileInput(Reason.WS_BAD_HANDSHAKE, what, octets[:64])
            whole = self._head.take(octets)
            if whole is None:
                return b""
            head, rest = whole
            asked = ws_handshake.read_request(head)
            if rest:
                what = "the client goes on before the answer"
                raise HostileInput(Reason.WS_BAD_HANDSHAKE, what, rest[:64])
        except HostileInput as error:
            self._refusal = ws_handshake.refusal(error.reason)
            raise
        self.asked = asked
        self._refusal = Answered(HTTPStatus.BAD_GATEWAY)
        return b""

    @property
    def is_upgraded(self) -> bool:
        """Whether the WebSocket is open: the server has taken it."""
        return self._frames is not None

    @property
    def origin(self) -> str:
        """The origin of the page that asks, as the browser names it; empty for other programs."""
        return self.asked.origin.decode("latin-1").lower() if self.asked is not None else ""

    def objection(self) -> Finding | None:
        """Return why the policy does not want what was asked; it is what the client will hear."""
        if not self._origins or not self.origin or self.origin in self._origins:
            return None
        self._refusal = ws_handshake.refusal(Reason.WS_ORIGIN)
        return Finding(Reason.WS_ORIGIN, "", self.origin.encode("latin-1")[:256])

    def server_answered(self, answered: Answered) -> None:
        """Answer the client as the server has answered."""
        asked = self.asked
        if asked is None or self._is_answered:
            return
        if answered.status == HTTPStatus.SWITCHING_PROTOCOLS:
            self._is_answered = True
            self._answers += ws_handshake.accept(asked, answered.rows)
            self._open()
        elif answered.status >= HTTPStatus.MULTIPLE_CHOICES:
            self._refusal = answered

    def end(self) -> bytes:
        """Return a close frame, or why there is no WebSocket."""
        answers = super().end()
        if self._is_answered or self._refusal is None:
            return answers
        self._is_answered = True
        return answers + ws_handshake.refuse(self._refusal)

    @property
    def held(self) -> int:
        """How much is here of a message, or of the handshake."""
        return len(self._head) or super().held


@final
class ClientCodec(_End):
    """We are the client: the server's end.

    Args:
        client: The client's end, whose handshake was read.
    """

    def __init__(self, client: ServerCodec) -> None:
        super().__init__(ConnectionType.CLIENT)
        self.partner, client.partner = client, self
        self._client = client
        self._head = ws_handshake.response_head()
        self._asking = Asking(client.asked) if client.asked is not None else None

    def begin(self) -> bytes:
        """Ask for what the client asks for."""
        return self._asking.request if self._asking is not None else b""

    def _shake(self, octets: bytes) -> bytes:
        whole = self._head.take(octets)
        if whole is None or self._asking is None:
            return b""
        head, rest = whole
        answered = self._asking.read(head)
        self._client.server_answered(answered)
        if answered.status != HTTPStatus.SWITCHING_PROTOCOLS:
            what = f"the server answers the handshake with {answered.status}"
            raise HostileInput(Reason.WS_REFUSED, what)
        self._open()
        return rest

    @property
    def held(self) -> int:
        """How much is here of a message, or of the handshake."""
        return len(self._head) or super().held


def websocket(origins: Callable[[], Sequence[str]]) -> Binding:
    """Return the binding of SIP over WebSocket in clear; *origins* are the policy's by then."""
    return Binding(
        "ws",
        lambda: ServerCodec(origins()),
        _server_codec,
        is_open=_is_open,
        passes_raw=False,
        says_why=True,
        has_ended=_has_ended,
        objection=_objection,
        origin=_origin,
        first_s=_first_s,
    )


def _server_codec(client: Codec) -> Codec:
    if not isinstance(client, ServerCodec):
        raise HostileInput(Reason.INTERNAL_ERROR, "a WebSocket without a client's end")
    return ClientCodec(client)


def _is_open(client: Codec) -> bool:
    return isinstance(client, ServerCodec) and client.asked is not None


def _has_ended(codec: Codec) -> bool:
    return isinstance(codec, _End) and codec.ended


def _objection(client: Codec) -> Finding | None:
    return client.objection() if isinstance(client, ServerCodec) else None


def _first_s(client: Codec) -> float:
    is_open = isinstance(client, ServerCodec) and client.is_upgraded
    return UPGRADED_S if is_open else FIRST_S


def _origin(client: Codec) -> str:
    return client.origin if isinstance(client, ServerCodec) else ""

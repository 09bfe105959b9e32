"""SIP messages out of a live connection: strictly, or the framing is lost for good.

RFC 3261 section 18.3. Whoever reads a connection behind us must find the same messages
in it as we do, or what we judged is not what it gets. So nothing is skipped, nothing is
searched for, and every octet comes out in a message or a keep-alive, unchanged.
"""

import re
from collections.abc import Sequence
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.streams.head import MAX_MESSAGE_OCTETS, MAX_START_LINE_OCTETS, content_lengths

MAX_KEEPALIVE_OCTETS: Final = 64  # as wire.sip takes for one

# Wide enough for a wrong start line to be judged and answered, but its end must be SIP's:
# a request that a browser was tricked into ends with HTTP's (NAT slipstreaming).
_START_LINE: Final = re.compile(
    rb"(?:SIP/[0-9.]{1,8} [^\r\n]*|[A-Za-z0-9.!%*_+`'~-]{1,32} [^\r\n]* SIP/[0-9.]{1,8}[ \t]*)\r\n",
    re.IGNORECASE,
)
_BREAKS: Final = b"\r\n"
_TOKEN: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.!%*_+`'~-"
)


@final
class LiveStream:
    """One direction of one connection over TCP or TLS; a ``Codec`` of the edge.

    It has no clock. ``held`` is not 0 exactly while something was begun and is not whole:
    whoever has a clock ends a connection that stays so for too long.
    """

    __slots__ = ("_buffer", "_error", "_needed", "_read", "_started", "_taken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._started = False  # the start line is there, and is SIP's
        self._read = 0  # octets of an unfinished head that were looked at
        self._needed = 0  # octets of the message whose head is known; 0 where it is not
        self._error: HostileInput | None = None
        self._taken: list[bytes] = []

    def begin(self) -> bytes:
        """Return nothing: either end may begin."""
        return b""

    def receive(self, octets: bytes) -> Sequence[bytes]:
        """Take the next octets; return the messages and keep-alives that they complete.

        A keep-alive is what there is of line breaks before a message: ``CRLF CRLF`` for a
        ping, ``CRLF`` for a pong (RFC 5626 section 3.5.1). One that comes in pieces goes on
        in pieces: to wait for the rest of a ping would keep a pong back.

        Raises:
            HostileInput: the framing is lost for good (SIP-17); a ``STREAM_`` reason.
        """
        if self._error is not None:
            raise self._error
        self._buffer += octets
        messages: list[bytes] = []
        try:
            while (message := self._take()) is not None:
                messages.append(message)
        except HostileInput as error:
            self._error = error
            self._taken = messages
            self._buffer.clear()
            raise
        return messages

    def taken(self) -> Sequence[bytes]:
        """Return what was whole when the framing was lost, once."""
        taken, self._taken = self._taken, []
        return taken

    def encode(self, message: bytes) -> bytes:
        """Return the message: it says itself where it ends."""
        return message

    def answers(self) -> bytes:
        """Return nothing: the ends answer each other."""
        return b""

    def end(self) -> bytes:
        """Return nothing: SIP has no goodbye."""
        return b""

    @property
    def held(self) -> int:
        """How many octets wait for the rest of their message."""
        return len(self._buffer)

    def _take(self) -> bytes | None:
        """Return the next message or keep-alive; ``None`` if none is whole."""
        buffer = self._buffer
        if not buffer:
            return None
        if not self._needed:
            if buffer[0] in _BREAKS:
                return self._take_keepalive()
            if not (self._started or self._starts()) or not self._find_end():
                return None
        if len(buffer) < self._needed:
            return None
        message = bytes(memoryview(buffer)[: self._needed])
        del buffer[: self._needed]
        self._started = False
        self._read = self._needed = 0
        return message

    def _take_keepalive(self) -> bytes | None:
        """Line breaks before a start line (RFC 3261 section 7.5); both octets of each."""
        buffer, size = self._buffer, 0
        while size < MAX_KEEPALIVE_OCTETS and buffer[size : size + 2] == b"\r\n":
            size += 2
        if not size:
            if buffer == b"\r":
                return None
            raise HostileInput(Reason.STREAM_LINE_END, "before a start line", bytes(buffer[:128]))
        keepalive = bytes(buffer[:size])
        del buffer[:size]
        return keepalive

    def _starts(self) -> bool:
        """Tell whether the first line is there; it must be SIP's."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._read, MAX_START_LINE_OCTETS)
        if end < 0:
            self._read = len(buffer)
            # TLS and other binary protocols are let go at their first octet.
            if buffer[0] not in _TOKEN:
                raise HostileInput(Reason.STREAM_NOT_SIP, "no token", bytes(buffer[:128]))
            if len(buffer) >= MAX_START_LINE_OCTETS:
                raise HostileInput(
                    Reason.STREAM_TOO_LARGE, "a first line without end", bytes(buffer[:128])
                )
            return False
        if not _START_LINE.fullmatch(buffer, 0, end + 1):
            raise HostileInput(
                Reason.STREAM_NOT_SIP, "the first line", bytes(buffer[: min(end, 128)])
            )
        self._started = True
        self._read = end + 1
        return True

    def _find_end(self) -> bool:
        """Learn from the head how long the message is; ``False`` while it is not all there."""
        buffer, read = self._buffer, self._read
        # Never look twice at the same octets, or one octet per segment costs quadratic time.
        end = buffer.find(b"\r\n\r\n", max(read - 3, 0), MAX_MESSAGE_OCTETS)
        stop = end + 4 if end >= 0 else min(len(buffer), MAX_MESSAGE_OCTETS)
        if end < 0 and buffer[stop - 1] == 13:
            stop -= 1  # what follows it is not here yet
        pairs = buffer.count(b"\r\n", read, stop)
        if buffer.count(b"\n", read, stop) != pairs or buffer.count(b"\r", read, stop) != pairs:
            raise HostileInput(Reason.STREAM_LINE_END, "in a head", bytes(buffer[:128]))
        if end < 0:
            self._read = stop
            if len(buffer) >= MAX_MESSAGE_OCTETS:
                raise HostileInput(Reason.STREAM_TOO_LARGE, "a head without end")
            return False
        self._needed = stop + _body_length(bytes(memoryview(buffer)[:stop]))
        if self._needed > MAX_MESSAGE_OCTETS:
            raise HostileInput(Reason.STREAM_TOO_LARGE, f"{self._needed} octets announced")
        return True


def _body_length(head: bytes) -> int:
    """Return the one Content-Length; whatever leaves a doubt about it ends the framing."""
    values = content_lengths(head)
    if not values:
        raise HostileInput(Reason.STREAM_NO_LENGTH, "", head[:128])
    value = values[0]
    if len(values) > 1:
        raise HostileInput(
            Reason.STREAM_BAD_LENGTH, "it stands more than once", b", ".join(values)[:128]
        )
    if not value.isdigit() or len(value) > 10:
        raise HostileInput(Reason.STREAM_BAD_LENGTH, "not 1 to 10 digits", value[:128])
    return int(value)

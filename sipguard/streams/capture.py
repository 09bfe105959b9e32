"""SIP messages out of the byte streams of a capture: Content-Length framing and WebSocket.

Nothing can be refused any more, so that this reading is tolerant: what is out of step may
come back into step. RFC 3261 section 18.3 (framing), section 7.5 and RFC 5626 section 4.4.1 (CRLF
keep-alives between messages), RFC 6455 and RFC 7118 (WebSocket). Octets in,
whole messages out; whether a message is well formed is for wire.sip to say.
"""

import re
from enum import Enum
from typing import Final

from sipguard.streams.head import MAX_MESSAGE_OCTETS, MAX_START_LINE_OCTETS, content_lengths

# Lenient, because a start line that is wrong is to be judged, not skipped.
_START_LINE: Final = re.compile(rb"SIP/|[A-Za-z0-9.!%*_+`'~-]{1,32} [^\r\n ][^\r\n]*SIP/")
# Strict, because it must not be found in the middle of something.
_RESTART: Final = re.compile(
    rb"SIP/2\.0 [0-9]{3} |[A-Za-z0-9.!%*_+`'~-]{1,32} [^\r\n ]+ SIP/2\.0\r\n"
)
_UPGRADE: Final = re.compile(rb"\nupgrade[ \t]*:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
_CONTINUATION: Final = 0
_CLOSE: Final = 8


class Mode(Enum):
    """How the next octets are read."""

    SIP = "sip"
    LOST = "lost"  # out of step; a segment that begins with a start line brings it back
    WEBSOCKET = "websocket"
    ENDED = "ended"  # nothing more can be read from it


class SipStream:
    """One direction of one connection; holds at most about ``MAX_MESSAGE_OCTETS``.

    The first of several Content-Length headers decides the framing; the message
    that comes out still has both, and wire.sip finds it ambiguous (SIP-12).
    """

    __slots__ = ("_buffer", "_fragments", "_needed", "_searched", "lost", "mode")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._fragments = b""  # a WebSocket message whose last frame is still to come
        self._needed = 0  # octets of the message whose head is known; 0 where it is not
        self._searched = 0
        self.mode = Mode.SIP
        self.lost = 0  # how often the framing was lost

    @property
    def transport(self) -> str:
        """Return ``tcp``, or ``ws`` once the stream was upgraded."""
        return "tcp" if self.mode in (Mode.SIP, Mode.LOST) else "ws"

    @property
    def held(self) -> int:
        """Return how many octets wait for the rest of their message."""
        return len(self._buffer) + len(self._fragments)

    def feed(self, segment: bytes) -> list[bytes]:
        """Take the next octets; return the messages they complete, without keep-alives."""
        if self.mode is Mode.ENDED or not segment:
            return []
        if self.mode is Mode.LOST:
            if not _RESTART.match(segment):
                return []
            self.mode = Mode.SIP
        self._buffer += segment
        messages = []
        while (message := self._take()) is not None:
            if message:
                messages.append(message)
        return messages

    def gap(self) -> None:
        """Octets are missing: what was begun cannot be finished."""
        self._lose(Mode.LOST if self.mode in (Mode.SIP, Mode.LOST) else Mode.ENDED)

    def _lose(self, mode: Mode) -> None:
        if self.mode in (Mode.SIP, Mode.WEBSOCKET):
            self.lost += 1
        self.mode = mode
        self._buffer.clear()
        self._fragments = b""
        self._needed = self._searched = 0

    def _take(self) -> bytes | None:
        """Return the next message, empty for something else that is done, ``None`` to wait."""
        if self.mode is Mode.SIP:
            return self._take_sip()
        if self.mode is Mode.WEBSOCKET:
            return self._take_frame()
        return None

    def _take_sip(self) -> bytes | None:
        buffer = self._buffer
        if not self._needed and not self._find_end():
            # After an upgrade the frames may stand in the same segment.
            return b"" if self.mode is Mode.WEBSOCKET else None
        if len(buffer) < self._needed:
            return None
        message = bytes(buffer[: self._needed])
        del buffer[: self._needed]
        self._needed = self._searched = 0
        return message

    def _find_end(self) -> bool:
        """Learn from the head how long the message is; ``False`` if that is not known yet."""
        buffer = self._buffer
        if not self._searched:
            blank = len(buffer) - len(buffer.lstrip(b"\r\n"))
            del buffer[:blank]
            if not self._begins_well():
                return False
        # Never look twice at the same octets, or one octet per segment costs quadratic time.
        end = buffer.find(b"\r\n\r\n", max(self._searched - 3, 0))
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) > MAX_MESSAGE_OCTETS:
                self._lose(Mode.LOST)
            return False
        head = bytes(buffer[: end + 4])
        if not _START_LINE.match(head):
            self._upgrade(head)
            return False
        numbers = [int(v) for v in content_lengths(head) if v.isdigit() and len(v) <= 9]
        self._needed = end + 4 + (numbers[0] if numbers else 0)
        if self._needed > MAX_MESSAGE_OCTETS:
            self._lose(Mode.LOST)
            return False
        return True

    def _begins_well(self) -> bool:
        """Tell whether a whole first line is there and is SIP's or an HTTP upgrade's."""
        buffer = self._buffer
        end = buffer.find(b"\r\n", 0, MAX_START_LINE_OCTETS)
        if end < 0:
            # TLS and other binary protocols are let go at their first octet.
            if len(buffer) >= MAX_START_LINE_OCTETS or (buffer and not 0x20 < buffer[0] < 0x7F):
                self._lose(Mode.LOST)
            return False
        if not _START_LINE.match(buffer) and not buffer.startswith((b"GET ", b"HTTP/1.1 101")):
            self._lose(Mode.LOST)
            return False
        return True

    def _upgrade(self, head: bytes) -> None:
        """After the blank line of the WebSocket handshake, frames follow (RFC 6455 section 4)."""
        if not _UPGRADE.search(head):
            self._lose(Mode.LOST)
            return
        self.mode = Mode.WEBSOCKET
        self._searched = 0
        del self._buffer[: len(head)]

    def _take_frame(self) -> bytes | None:
        """Take one WebSocket frame (RFC 6455 section 5.2)."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, length, at = buffer[0] & 15, buffer[1] & 127, 2
        if length > 125:
            at = 4 if length == 126 else 10
            if len(buffer) < at:
                return None
            length = int.from_bytes(buffer[2:at], "big")
        mask = bytes(buffer[at : at + 4]) if buffer[1] & 128 else b""
        at += 4 if buffer[1] & 128 else 0
        if buffer[0] & 0x70 or opcode == _CLOSE or length > MAX_MESSAGE_OCTETS:
            # Reserved bits mean an extension such as compression, which is not read here.
            self._lose(Mode.ENDED)
            return None
        if len(buffer) < at + length:
            return None
        final, payload = bool(buffer[0] & 128), _unmask(bytes(buffer[at : at + length]), mask)
        del buffer[: at + length]
        return self._join(opcode, final, payload)

    def _join(self, opcode: int, final: bool, payload: bytes) -> bytes:
        """Put the frames of one message together; one SIP message each (RFC 7118 section 5)."""
        if opcode > _CLOSE:
            return b""
        whole = self._fragments + payload if opcode == _CONTINUATION else payload
        self._fragments = b"" if final else whole
        if len(whole) > MAX_MESSAGE_OCTETS:
            self._lose(Mode.ENDED)
            return b""
        return whole if final and _START_LINE.match(whole) else b""


def _unmask(payload: bytes, mask: bytes) -> bytes:
    """Undo the client's masking (RFC 6455 section 5.3), as one exclusive or of long numbers."""
    if not mask:
        return payload
    size = len(payload)
    stretched = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return mixed.to_bytes(size, "big")

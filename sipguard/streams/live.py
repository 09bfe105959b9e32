"""The messages of a connection that is judged: one strict framing, or none (rules SIP-3, SIP-17).

RFC 3261 section 18.3 has Content-Length alone say where a message ends. Where two readers
could see two ends, what follows would be a message to one of them and a body to the other:
so the head is read as ``wire.sip`` reads it, and where that leaves a doubt, the framing is
lost for good. Nothing is searched for behind it, nor behind a first line that is not SIP's:
a browser made to send SIP inside its own protocol (NAT slipstreaming) finds no ear here.
"""

import re
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.streams.start import MAX_MESSAGE_OCTETS, MAX_START_LINE_OCTETS, START_LINE

MAX_KEEP_ALIVE_OCTETS: Final = 64  # of one piece; more come in more pieces

# SIP-10, SIP-11: blanks before the colon, folded lines, the compact name.
_CONTENT_LENGTH: Final = re.compile(rb"\r\n(?:content-length|l)[ \t]*:([^\r\n]*)", re.IGNORECASE)
_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_BLANK: Final = b" \t"
_LINE_END: Final = b"\r\n"
_MAX_DIGITS: Final = 10


@final
class MessageStream:
    """One direction of one connection; holds less than ``MAX_MESSAGE_OCTETS`` and a segment.

    Reads no clock: whoever feeds it looks at :attr:`held` and gives up on a sender who
    began a message and does not finish it.
    """

    __slots__ = ("_buffer", "_needed", "_searched", "_taken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0  # octets of the message whose head is known; 0 where it is not
        self._searched = 0
        self._taken: list[bytes] = []

    @property
    def held(self) -> int:
        """How many octets wait for the rest of their message."""
        return len(self._buffer)

    def receive(self, octets: bytes) -> list[bytes]:
        """Take the next octets; return the messages and keep-alives that they complete.

        Keep-alives (RFC 5626 section 4.4.1) are runs of CRLF, at most
        ``MAX_KEEP_ALIVE_OCTETS`` in one piece.

        Raises:
            HostileInput: the framing is lost, and the connection must end: ``NOT_SIP``,
                ``TOO_LARGE``, ``BARE_LF``, ``BARE_CR``, ``NO_CONTENT_LENGTH``,
                ``BAD_CONTENT_LENGTH``, ``DUPLICATE_HEADER``. What was whole before is
                :meth:`taken`.
        """
        self._buffer += octets
        pieces: list[bytes] = []
        try:
            while (piece := self._take()) is not None:
                pieces.append(piece)
        except HostileInput:
            self._taken = pieces
            raise
        return pieces

    def taken(self) -> list[bytes]:
        """Return what was whole when the framing was lost, once."""
        taken, self._taken = self._taken, []
        return taken

    def _take(self) -> bytes | None:
        """Return the next message or keep-alive, ``None`` to wait for more."""
        buffer = self._buffer
        if not self._needed:
            if not self._searched:
                kept_alive = self._take_line_ends()
                if kept_alive is not None:
                    return kept_alive
            if not self._find_end():
                return None
        needed = self._needed
        if len(buffer) < needed:
            return None
        message = bytes(buffer[:needed])
        del buffer[:needed]
        self._needed = self._searched = 0
        return message

    def _take_line_ends(self) -> bytes | None:
        """Take the CRLFs that stand before a message (SIP-3)."""
        buffer, end = self._buffer, 0
        while end < MAX_KEEP_ALIVE_OCTETS and buffer[end : end + 2] == _LINE_END:
            end += 2
        if not end:
            return None
        del buffer[:end]
        return _LINE_END * (end // 2)

    def _find_end(self) -> bool:
        """Learn from the head how long the message is; ``False`` if that is not known yet."""
        buffer = self._buffer
        if not self._searched and not self._begins_well():
            return False
        # Never look twice at the same octets, or one octet per segment costs quadratic time.
        end = buffer.find(b"\r\n\r\n", max(self._searched - 3, 0))
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) >= MAX_MESSAGE_OCTETS:
                raise self._lost(Reason.TOO_LARGE, "the head does not end")
            return False
        self._needed = end + 4 + _length_of(bytes(buffer[: end + 2]))
        if self._needed > MAX_MESSAGE_OCTETS:
            raise self._lost(Reason.TOO_LARGE, f"{self._needed} octets are announced")
        return True

    def _begins_well(self) -> bool:
        """Tell whether a whole first line is there; one that is no SIP ends everything."""
        buffer = self._buffer
        # TLS and other binary protocols are known by their first octet; a lone CR may be
        # the first half of a keep-alive.
        if buffer and not 0x20 < buffer[0] < 0x7F and buffer != b"\r":
            raise self._lost(Reason.NOT_SIP, "no line of text")
        end = buffer.find(_LINE_END, 0, MAX_START_LINE_OCTETS)
        if end < 0:
            if len(buffer) >= MAX_START_LINE_OCTETS:
                raise self._lost(Reason.NOT_SIP, "a first line without an end")
            return False
        if not START_LINE.match(buffer):
            raise self._lost(Reason.NOT_SIP, "the first line is not SIP's")
        return True

    def _lost(self, reason: Reason, detail: str) -> HostileInput:
        return HostileInput(reason, detail, bytes(self._buffer[:128]))


def _length_of(head: bytes) -> int:
    """Return the one Content-Length of a head that ends with its last line's CRLF.

    Raises:
        HostileInput: there is none, or more than one reading of it or of the lines.
    """
    ends = head.count(_LINE_END)
    if head.count(b"\n") != ends:
        raise HostileInput(Reason.BARE_LF, "in the head of a message on a stream", head[:128])
    if head.count(b"\r") != ends:
        raise HostileInput(Reason.BARE_CR, "in the head of a message on a stream", head[:128])
    found = _CONTENT_LENGTH.findall(_FOLD.sub(b" ", head))
    if not found:
        raise HostileInput(Reason.NO_CONTENT_LENGTH, "so nobody knows where it ends", head[:128])
    if len(found) > 1:
        raise HostileInput(Reason.DUPLICATE_HEADER, "Content-Length", b", ".join(found)[:128])
    digits: bytes = found[0].strip(_BLANK)
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise HostileInput(Reason.BAD_CONTENT_LENGTH, "on a stream", digits[:128])
    return int(digits)

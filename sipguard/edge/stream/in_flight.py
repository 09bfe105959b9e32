"""Which requests that went on over a connection have no answer yet (RFC 3261 section 17)."""

import re
from typing import Final, final

MAX_REQUESTS: Final = 256  # of one connection; beyond it the oldest counts no more
INVITE_S: Final = 200.0  # timer C is more than three minutes
OTHERS_S: Final = 32.0  # timer F
ACK_S: Final = 4.0  # for the ACK, once an INVITE is answered

_RESPONSE: Final = b"SIP/2.0 "
# Enough for messages that the guard accepted: who misleads it is waited for a bounded time.
_CSEQ: Final = re.compile(rb"\nCSeq[ \t]*:[ \t]*([0-9]{1,10})[ \t]+([A-Za-z]{1,32})", re.IGNORECASE)
_CALL_ID: Final = re.compile(rb"\n(?:Call-ID|i)[ \t]*:[ \t]*([^\r\n]{1,256})", re.IGNORECASE)

_Key = tuple[bytes, bytes, bytes]  # Call-ID, number, method


@final
class InFlight:
    """The requests of one connection, either way, and until when each is waited for."""

    __slots__ = ("_until_s",)

    def __init__(self) -> None:
        self._until_s: dict[_Key, float] | None = None  # most connections are idle

    def went(self, message: bytes, now_s: float) -> None:
        """Know a message that was sent on."""
        number, call_id = _CSEQ.search(message), _CALL_ID.search(message)
        if number is None or call_id is None:
            return
        method = number[2].upper()
        if message.startswith(_RESPONSE):
            if message[8:9] != b"1":
                self._answered((call_id[1], number[1], method), now_s)
        elif method == b"ACK":
            self._drop((call_id[1], number[1], b"INVITE"))
        else:
            lasts_s = INVITE_S if method == b"INVITE" else OTHERS_S
            self._add((call_id[1], number[1], method), now_s + lasts_s)

    def waits(self, now_s: float) -> bool:
        """Whether an answer, or its ACK, may still come."""
        return self._until_s is not None and any(now_s < end for end in self._until_s.values())

    def _answered(self, key: _Key, now_s: float) -> None:
        if key[2] != b"INVITE":
            self._drop(key)
        elif self._until_s is not None and key in self._until_s:
            self._until_s[key] = now_s + ACK_S

    def _add(self, key: _Key, until_s: float) -> None:
        if self._until_s is None:
            self._until_s = {}
        elif len(self._until_s) >= MAX_REQUESTS:
            del self._until_s[next(iter(self._until_s))]
        self._until_s[key] = until_s

    def _drop(self, key: _Key) -> None:
        if self._until_s is not None:
            self._until_s.pop(key, None)
            if not self._until_s:
                self._until_s = None

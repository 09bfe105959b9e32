"""Protection that goes away on the way (SMI-33; RFC 3261 section 23.2).

Whoever stands between caller and callee can answer a signed or encrypted request with
415 and wait for the plain one, or answer in the callee's place without a signature. Most
such answers are honest, since few phones do S/MIME, so a finding here is a hint, and a
refusal only where the policy knows better. An AIB is no protection in this sense: it is
optional by its own words, and nobody answers it in kind.
"""

from typing import Final, final

from sipguard.identity.aib_memory import long_hash
from sipguard.identity.aib_parts import AIB, FRAGMENT, hides_something
from sipguard.identity.shown import shown
from sipguard.identity.signed import find_signed
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.sip import Ids, Message
from sipguard.wire.uri import aor_key

CAPACITY: Final = 10_000
# A request waits for its answer as long as a phone rings (RFC 3261 section 16.6, Timer C).
ANSWERED_S: Final = 180.0
# A person, or a program, who tries again without protection does so soon.
RETRIED_S: Final = 60.0
_UNSUPPORTED: Final = 415
_CARRIERS: Final = (b"multipart/", b"application/")
_PLAIN: Final = b"application/sdp"  # nearly every body


def is_protected(message: Message) -> bool:
    """Whether the body is signed or encrypted in more than an AIB."""
    kind = message.content_type
    if not message.body or kind == _PLAIN or not kind.startswith(_CARRIERS):
        return False
    for signed in find_signed(message.header(b"content-type") or b"", message.body):
        part = signed.part
        if part is None or part.content_type != FRAGMENT or part.disposition != AIB:
            return True
    return hides_something(message)


@final
class Downgrades:
    """Protected requests that wait for an answer, and callers who were told 415.

    Both are bounded in number and time; where one is full the oldest goes, which can
    only lose a hint.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._waiting: dict[int, float] = {}
        self._refused: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._refused)

    def passed(self, message: Message, ids: Ids, now: Moment) -> None:
        """Note a request that goes through."""
        if is_protected(message):
            self._note(self._waiting, _request_key(ids), now.monotonic_s + ANSWERED_S)

    def look(self, message: Message, ids: Ids, now: Moment) -> Finding | None:
        """Say whether a request repeats without protection what 415 refused; changes nothing."""
        if not self._refused:
            return None
        until_s = self._refused.get(_parties_key(ids))
        if until_s is None or until_s < now.monotonic_s or is_protected(message):
            return None
        caller = shown(ids.from_.uri.raw)
        detail = f"{caller} was told 415 for a protected request, and tries again without"
        return Finding(Reason.PROTECTION_LOST, detail)

    def answered(self, message: Message, ids: Ids, now: Moment) -> Finding | None:
        """Say whether a final response answers a protected request without protection."""
        if message.status < 200 or not self._waiting:
            return None
        until_s = self._waiting.pop(_request_key(ids), None)
        if until_s is None or until_s < now.monotonic_s or is_protected(message):
            return None
        if message.status == _UNSUPPORTED:
            self._note(self._refused, _parties_key(ids), now.monotonic_s + RETRIED_S)
            return Finding(Reason.PROTECTION_LOST, "415 to a protected request")
        if message.status < 300:
            return Finding(Reason.PROTECTION_LOST, "a protected request, an answer without")
        return None

    def _note(self, table: dict[int, float], key: int, until_s: float) -> None:
        table.pop(key, None)
        if len(table) >= self._capacity:
            # A few hundred at once: looking for the first of a dict costs what left before it.
            for oldest in list(table)[: max(1, self._capacity // 32)]:
                del table[oldest]
        table[key] = until_s


def _request_key(ids: Ids) -> int:
    return long_hash(ids.call_id, ids.from_tag, b"%d" % ids.cseq, ids.method)


def _parties_key(ids: Ids) -> int:
    return long_hash(aor_key(ids.from_.uri), aor_key(ids.to.uri), ids.method)

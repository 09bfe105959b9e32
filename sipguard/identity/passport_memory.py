"""PASSporTs that were accepted, so that none serves a second call (RFC 8224 section 12.1; STI-14).

One PASSporT may cross the gateway several times for one call: retransmitted,
forked, answered with 407 and sent again, or passed on by the proxy or B2BUA
that received it. A thief's copy has another Call-ID or From tag, or comes
from a host to which it was never sent.
"""

from itertools import islice
from typing import Final, final

from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids

CAPACITY: Final = 250_000  # entries of about 400 octets
MAX_DESTINATIONS: Final = 8
_EXPIRED_AT_ONCE: Final = 4  # per new entry: old ones leave faster than new ones come
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


def key_of(signed: bytes, signature: bytes) -> int:
    """Return one key for a token, whichever of its two valid signatures it carries.

    To every ECDSA signature (r, s) there is (r, n - s), which anybody can make
    from it: a replay must not look new for that. The key is a hash with the
    interpreter's own seed, so that nobody outside can aim for a collision.
    """
    s = int.from_bytes(signature[32:], "big")
    return hash((signed, signature[:32], min(s, _ORDER - s)))


@final
class _Entry:
    __slots__ = ("caller", "destinations", "fresh_until_s", "iat", "source", "until_s")

    def __init__(
        self, caller: int, packet: Packet, iat: int, fresh_until_s: float, until_s: float
    ) -> None:
        self.caller = caller
        self.source = packet.src
        self.destinations: tuple[bytes, ...] = (packet.dst,)
        self.iat = iat
        self.fresh_until_s = fresh_until_s
        self.until_s = until_s


@final
class PassportMemory:
    """What was accepted, bounded in number and time.

    Entries leave in order of arrival. A full memory lets the oldest go; where
    that one could still be fresh, every PASSporT that is not younger is refused
    from then on, until it would be stale anyway (GEN-3).
    """

    def __init__(self, window_s: float, capacity: int = CAPACITY) -> None:
        self._window_s = window_s
        self._capacity = capacity
        self._entries: dict[int, _Entry] = {}
        self._lost_iat = -1
        self._lost_until_s = 0.0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._entries)

    def look(
        self, key: int, iat: int, ids: Ids, packet: Packet, now: Moment, *, retry: bool
    ) -> Finding | None:
        """Return why this use of a PASSporT is a replay, or None; changes nothing."""
        entry = self._entries.get(key)
        if entry is None or entry.until_s <= now.monotonic_s:
            if iat <= self._lost_iat and now.utc_s < self._lost_until_s:
                detail = "too many PASSporTs to remember; this one may have been used"
                return Finding(Reason.PASSPORT_REPLAY, detail)
            return None
        if retry or packet.src in entry.destinations:
            return None
        if entry.caller != _caller_of(ids):
            return Finding(Reason.PASSPORT_REPLAY, "it was used with another Call-ID or From tag")
        if entry.source != packet.src:
            return Finding(Reason.PASSPORT_REPLAY, "it was used by another host")
        return None

    def remember(
        self, key: int, iat: int, fresh_until_s: float, ids: Ids, packet: Packet, now: Moment
    ) -> None:
        """Note a PASSporT whose signature was verified; *fresh_until_s* is POSIX time."""
        entry = self._entries.get(key)
        if entry is not None and entry.until_s > now.monotonic_s:
            known = entry.destinations
            if packet.dst not in known and len(known) < MAX_DESTINATIONS:
                entry.destinations = (*known, packet.dst)
            return
        self._entries.pop(key, None)
        self.expire(now, _EXPIRED_AT_ONCE)
        if len(self._entries) >= self._capacity:
            self._forget(self._entries.pop(next(iter(self._entries))), now)
        until_s = now.monotonic_s + self._window_s
        self._entries[key] = _Entry(_caller_of(ids), packet, iat, fresh_until_s, until_s)

    def _forget(self, entry: _Entry, now: Moment) -> None:
        self.forgotten += 1
        if entry.fresh_until_s > now.utc_s:
            self._lost_iat = max(self._lost_iat, entry.iat)
            self._lost_until_s = max(self._lost_until_s, entry.fresh_until_s)

    def expire(self, now: Moment, limit: int = 2000) -> None:
        """Forget at most *limit* entries that are too old, so that no call waits for it."""
        due = []
        for key, entry in islice(self._entries.items(), limit):
            if entry.until_s > now.monotonic_s:
                break
            due.append(key)
        for key in due:
            del self._entries[key]


def _caller_of(ids: Ids) -> int:
    return hash((ids.call_id, ids.from_tag))

"""PASSporTs that were accepted, so that none serves a second call (RFC 8224 section 12.1; STI-14).

One PASSporT may cross the gateway several times for one call: retransmitted,
forked, answered with 407 and sent again, or passed on by the proxy or B2BUA
that received it; the full form sent after a 438 is another token (STI-20).
A thief's copy has another Call-ID or From tag, or comes from a host to which
it was never sent.
"""

from itertools import islice
from typing import Final, final

from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids

CAPACITY: Final = 250_000  # entries of about 400 octets
# Of a large memory, for a dict of 175,000 entries takes 10 ms to grow.
_SHARDS: Final = 64
_LARGE: Final = 10_000
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
    __slots__ = ("caller", "destinations", "iat", "since_s", "source")

    def __init__(self, caller: int, packet: Packet, iat: int, since_s: float) -> None:
        self.caller = caller
        self.source = packet.src
        self.destinations: tuple[bytes, ...] = (packet.dst,)
        self.iat = iat
        self.since_s = since_s


@final
class PassportMemory:
    """What was accepted, bounded in number and time.

    Entries leave in order of arrival. A full memory lets the oldest go; where
    that one could still be fresh, every PASSporT that is not younger is refused
    from then on, until it would be stale anyway (GEN-3).

    *window_s* is for how long, *max_age_s* how old a PASSporT may be.
    """

    def __init__(self, window_s: float, capacity: int = CAPACITY, max_age_s: float = 60.0) -> None:
        self._window_s = window_s
        self._max_age_s = max_age_s
        self._unsure_s = -1.0  # what was made longer ago may have been forgotten
        shards = _SHARDS if capacity >= _LARGE else 1
        self._per_shard = -(-capacity // shards)
        self._shards: list[dict[int, _Entry]] = [{} for _ in range(shards)]
        self._lost_iat = -1
        self._lost_until_s = 0.0
        self.forgotten = 0

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def judge_by(self, window_s: float, max_age_s: float) -> None:
        """Go on by another policy's times, for what is known already as well.

        Where PASSporTs may be older from now on, some that nobody would have believed any
        more, and that were forgotten for that, would be fresh again.
        """
        if max_age_s > self._max_age_s:
            sure_s = self._window_s - self._max_age_s
            self._unsure_s = sure_s if self._unsure_s < 0 else min(sure_s, self._unsure_s)
        self._window_s, self._max_age_s = window_s, max_age_s

    def look(
        self, key: int, iat: int, ids: Ids, packet: Packet, now: Moment, *, retry: bool
    ) -> Finding | None:
        """Return why this use of a PASSporT is a replay, or None; notes none."""
        if self._unsure_s >= 0:
            self._doubt(now)
        entry = self._shard_of(key).get(key)
        if entry is None or entry.since_s <= now.monotonic_s - self._window_s:
            if iat <= self._lost_iat and now.utc_s < self._lost_until_s:
                detail = "made before the oldest that is remembered, so it may have been used"
                return Finding(Reason.PASSPORT_REPLAY, detail)
            return None
        if retry or packet.src in entry.destinations:
            return None
        if entry.caller != _caller_of(ids):
            return Finding(Reason.PASSPORT_REPLAY, "it was used with another Call-ID or From tag")
        if entry.source != packet.src:
            return Finding(Reason.PASSPORT_REPLAY, "it was used by another host")
        return None

    def remember(self, key: int, iat: int, ids: Ids, packet: Packet, now: Moment) -> None:
        """Note a PASSporT whose signature was verified."""
        entries = self._shard_of(key)
        entry = entries.get(key)
        if entry is not None and entry.since_s > now.monotonic_s - self._window_s:
            known = entry.destinations
            if packet.dst not in known and len(known) < MAX_DESTINATIONS:
                entry.destinations = (*known, packet.dst)
            return
        entries.pop(key, None)
        _sweep(entries, now.monotonic_s - self._window_s, _EXPIRED_AT_ONCE)
        if len(entries) >= self._per_shard:
            self._forget(entries.pop(next(iter(entries))), now)
        entries[key] = _Entry(_caller_of(ids), packet, iat, now.monotonic_s)

    def _forget(self, entry: _Entry, now: Moment) -> None:
        self.forgotten += 1
        fresh_until_s = entry.iat + self._max_age_s
        if fresh_until_s > now.utc_s:
            self._lost_iat = max(self._lost_iat, entry.iat)
            self._lost_until_s = max(self._lost_until_s, fresh_until_s)

    def _doubt(self, now: Moment) -> None:
        """Settle what a change of policy left open, since it comes without a clock."""
        iat = int(now.utc_s - self._unsure_s)
        self._lost_iat = max(self._lost_iat, iat)
        self._lost_until_s = max(self._lost_until_s, iat + self._max_age_s)
        self._unsure_s = -1.0

    def expire(self, now: Moment, limit: int = 500) -> None:
        """Forget about *limit* entries that are too old, so that no call waits for it."""
        before_s = now.monotonic_s - self._window_s
        each = -(-limit // len(self._shards))
        for entries in self._shards:
            _sweep(entries, before_s, each)

    def _shard_of(self, key: int) -> dict[int, _Entry]:
        return self._shards[key % len(self._shards)]


def _sweep(entries: dict[int, _Entry], before_s: float, limit: int) -> None:
    """Drop at most *limit* entries from before then."""
    due = []
    for key, entry in islice(entries.items(), limit):
        if entry.since_s > before_s:
            break
        due.append(key)
    for key in due:
        del entries[key]


def _caller_of(ids: Ids) -> int:
    return hash((ids.call_id, ids.from_tag))

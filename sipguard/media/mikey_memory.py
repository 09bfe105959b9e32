"""MIKEY messages that passed, so that none serves a second call (RFC 3830 section 5.4; MIK-3).

One message may cross the gateway several times for one call: retransmitted, forked, or
passed on by the proxy or B2BUA that received it. A thief's copy has another Call-ID and
comes from a host to which it was never sent.

Messages that somebody here could authenticate have a memory of their own: forged ones,
which cost nothing to make, cannot push them out.
"""

from itertools import islice
from typing import Final, Generic, TypeVar, final

from sipguard.eviction import Eldest
from sipguard.moment import Moment
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason

CAPACITY: Final = 100_000  # entries of about 400 octets
SEEN_CAPACITY: Final = 20_000
BUNDLE_CAPACITY: Final = 20_000
BUNDLE_S: Final = 86_400.0  # no call lasts longer without a new offer
MAX_DESTINATIONS: Final = 8
_EXPIRED_AT_ONCE: Final = 4  # per new entry: old ones leave faster than new ones come

Value = TypeVar("Value")


@final
class _Table(Generic[Value]):
    """Entries by number, bounded in count and time; the oldest goes first."""

    def __init__(self, capacity: int, life_s: float) -> None:
        self.entries: dict[int, tuple[float, Value]] = {}
        self._eldest: Eldest[int] = Eldest()
        self._capacity = capacity
        self._life_s = life_s

    def get(self, key: int, now_s: float) -> Value | None:
        entry = self.entries.get(key)
        return None if entry is None or entry[0] <= now_s else entry[1]

    def put(self, key: int, value: Value, now_s: float) -> Value | None:
        """Add an entry as the youngest; return the living one that had to go for it."""
        self.expire(now_s, _EXPIRED_AT_ONCE)
        lost: tuple[float, Value] | None = None
        if self.entries.pop(key, None) is None and len(self.entries) >= self._capacity:
            lost = self._eldest.pop_from(self.entries)
        self._eldest.came(key)
        self.entries[key] = (now_s + self._life_s, value)
        return None if lost is None or lost[0] <= now_s else lost[1]

    def expire(self, now_s: float, limit: int) -> None:
        due = []
        for key, entry in islice(self.entries.items(), limit):
            if entry[0] > now_s:
                break
            due.append(key)
        for key in due:
            del self.entries[key]


@final
@mypyc_attr(acyclic=True)
class Crossing:
    """One passage of a message: in which call, from where and to where, as far as is known."""

    __slots__ = ("call", "destination", "source")

    def __init__(self, call_id: bytes, source: bytes, destination: bytes) -> None:
        self.call = hash(call_id) >> 1
        self.source = source
        self.destination = destination


@final
class _Entry:
    __slots__ = ("call", "destinations", "source", "stamp_s")

    def __init__(self, crossing: Crossing, stamp_s: float) -> None:
        self.call = crossing.call
        self.source = crossing.source
        self.destinations: tuple[bytes, ...] = (crossing.destination,)
        self.stamp_s = stamp_s


@final
class MikeyMemory:
    """What passed, authenticated and merely seen; and the RAND of running exchanges.

    A full memory of authenticated messages lets the oldest go. Where that one could still
    be fresh, every message that is not younger is refused from then on, until it would be
    stale anyway (GEN-3): RFC 3830 section 5.4 says so, and calls it a smaller skew.
    """

    def __init__(
        self, skew_s: float, capacity: int = CAPACITY, seen_capacity: int = SEEN_CAPACITY
    ) -> None:
        self._skew_s = skew_s
        # A message may be dated ahead by the skew, and is fresh for as long after its date.
        self._proven: _Table[_Entry] = _Table(capacity, 2 * skew_s)
        self._seen: _Table[_Entry] = _Table(seen_capacity, 2 * skew_s)
        self._bundles: _Table[bytes] = _Table(BUNDLE_CAPACITY, BUNDLE_S)
        self._lost_stamp_s = float("-inf")
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._proven.entries) + len(self._seen.entries)

    def look(
        self, octets: bytes, stamp_s: float, crossing: Crossing, now: Moment, *, proven: bool
    ) -> Finding | None:
        """Return why this is a replay, or None; changes nothing.

        *stamp_s* is the message's own time as POSIX time, *proven* whether it was
        authenticated.
        """
        key = hash(octets)
        table = self._proven if proven else self._seen
        entry = table.get(key, now.monotonic_s)
        if entry is None:
            if proven and stamp_s <= self._lost_stamp_s:
                detail = "too many MIKEY messages to remember; this one may have been used"
                return Finding(Reason.MIKEY_REPLAY, detail)
            return None
        if entry.call == crossing.call:
            return None
        if crossing.source and crossing.source in entry.destinations:
            return None  # a B2BUA passes it on, in a call of its own
        detail = "it was used in another call"
        if entry.source != crossing.source:
            detail = "it was used in another call, by another host"
        return Finding(Reason.MIKEY_REPLAY, detail)

    def remember(
        self, octets: bytes, stamp_s: float, crossing: Crossing, now: Moment, *, proven: bool
    ) -> None:
        """Note a message that passed, or one more way on which it went."""
        key = hash(octets)
        table = self._proven if proven else self._seen
        entry = table.get(key, now.monotonic_s)
        if entry is not None:
            known = entry.destinations
            if crossing.destination not in known and len(known) < MAX_DESTINATIONS:
                entry.destinations = (*known, crossing.destination)
            return
        lost = table.put(key, _Entry(crossing, stamp_s), now.monotonic_s)
        if lost is not None:
            self.forgotten += 1
            if proven and lost.stamp_s + self._skew_s > now.utc_s:
                self._lost_stamp_s = max(self._lost_stamp_s, lost.stamp_s)

    def rand_of(self, call_id: bytes, csb_id: bytes, now: Moment) -> bytes:
        """Return the RAND of a running exchange; an update has none (RFC 3830 section 4.5)."""
        return self._bundles.get(hash((call_id, csb_id)), now.monotonic_s) or b""

    def begin(self, call_id: bytes, csb_id: bytes, rand: bytes, now: Moment) -> None:
        """Note the RAND with which an exchange began."""
        self._bundles.put(hash((call_id, csb_id)), rand, now.monotonic_s)

    def expire(self, now: Moment, limit: int = 2000) -> None:
        """Forget at most *limit* entries of each kind that are too old."""
        self._proven.expire(now.monotonic_s, limit)
        self._seen.expire(now.monotonic_s, limit)
        self._bundles.expire(now.monotonic_s, limit)

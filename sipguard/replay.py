"""A request that comes again: retransmission, fork, spiral, or replay (rules RPL-*, TXN-13).

Retransmissions carry a known branch and never reach this room. What does is a
request whose Call-ID, CSeq and method were accepted before, under another
branch. An honest sender does that when a proxy forks or spirals the request,
or when a server was not there; a thief does it when the call is over, from
another place, or with other headers.
"""

from enum import Enum
from itertools import islice
from typing import Final, final

from sipguard.eviction import Eldest
from sipguard.moment import Moment
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message

CAPACITY: Final = 1_000_000
SHARDS: Final = 64
LEGS: Final = 16
RETRY_WINDOW_S: Final = 32.0
# After these an honest client tries again with the same CSeq (RFC 3263 section 4.3, RFC 8224
# section 6.1.1); after a challenge it counts the CSeq up.
RETRY_STATUSES: Final = frozenset({408, 430, 438, 500, 502, 503, 504})


class Sight(Enum):
    """What a request turns out to be."""

    FRESH = "fresh"
    FORK_OR_SPIRAL = "fork-or-spiral"
    RETRY = "retry"
    REPLAY = "replay"


@final
@mypyc_attr(acyclic=True)
class Leg:
    """One way on which an accepted request crossed the gateway, in hashes.

    Texts would be half of what a pending request takes.
    """

    __slots__ = ("branch", "destination", "source", "tail")

    def __init__(self, branch: int, tail: tuple[int, ...], source: int, destination: int) -> None:
        self.branch = branch
        self.tail = tail  # branches of the lower Vias
        self.source = source
        self.destination = destination

    def is_same(self, other: "Leg") -> bool:
        """Whether both are one way."""
        return (
            self.branch == other.branch
            and self.tail == other.tail
            and self.source == other.source
            and self.destination == other.destination
        )


@final
class Memory:
    """What was accepted, bounded in number and time.

    Entries leave in order of arrival, so the oldest is always the first: a
    full memory costs one deletion per entry, never a sweep. A large one is
    cut into shards, for a dict of 700,000 entries takes 25 ms to grow; the
    oldest of a shard goes where that shard is full.
    """

    def __init__(self, window_s: float, capacity: int = CAPACITY) -> None:
        self._window_s = window_s
        shards = SHARDS if capacity >= CAPACITY else 1
        self._shards = [_Shard(-(-capacity // shards)) for _ in range(shards)]

    def __len__(self) -> int:
        return sum([len(shard.entries) for shard in self._shards])

    @property
    def forgotten(self) -> int:
        """How many entries went before their time, because there was no room."""
        return sum([shard.forgotten for shard in self._shards])

    def keep_for(self, window_s: float) -> None:
        """Remember for so long what comes from now on; what is known stays as long as it was to."""
        self._window_s = window_s

    def look(
        self, message: Message, ids: Ids, packet: Packet, now: Moment
    ) -> tuple[Sight, Finding | None]:
        """Say what an out-of-dialog request is; changes nothing."""
        key = _key_of(ids)
        entry = self._shard_of(key).entries.get(key)
        if entry is None or entry.expires_at_s <= now.monotonic_s:
            return Sight.FRESH, None
        if entry.content != _content_of(message, ids):
            # A back-to-back user agent may keep the Call-ID on its other leg.
            source = _short(packet.src)
            if any(leg.destination == source for leg in entry.legs):
                return Sight.FRESH, None
            detail = "same Call-ID, CSeq and method, other From, To, Contact, Date or body"
            return Sight.REPLAY, Finding(Reason.REPLAY, detail)
        return entry.sight_of_copy(message, ids, packet, now)

    def remember(self, message: Message, ids: Ids, packet: Packet, now: Moment) -> None:
        """Note an accepted out-of-dialog request, or one more leg of a known one."""
        key = _key_of(ids)
        shard = self._shard_of(key)
        entry = shard.entries.get(key)
        leg = Leg(_short(ids.branch), _tail_of(message), _short(packet.src), _short(packet.dst))
        if entry is not None and entry.legs:
            if len(entry.legs) < LEGS and not any(leg.is_same(known) for known in entry.legs):
                entry.legs = (*entry.legs, leg)
            return
        shard.put(key, _Entry(_content_of(message, ids), leg, now.monotonic_s + self._window_s))

    def answered(self, ids: Ids, status: int, now: Moment) -> None:
        """Note a final response that went through."""
        key = _key_of(ids)
        entry = self._shard_of(key).entries.get(key)
        if entry is None:
            return
        if status < 300:
            entry.legs = ()  # only pending entries need them; this is most of an entry's size
        elif status in RETRY_STATUSES:
            entry.retry_until_s = now.monotonic_s + RETRY_WINDOW_S

    def expire(self, now: Moment, limit: int = 500) -> None:
        """Forget about *limit* entries that are too old, so that no call waits for it."""
        each = -(-limit // len(self._shards))
        for shard in self._shards:
            shard.expire(now.monotonic_s, each)

    def _shard_of(self, key: int) -> "_Shard":
        return self._shards[key % len(self._shards)]


@final
class _Shard:
    """A part of the memory, in order of arrival."""

    __slots__ = ("_capacity", "_eldest", "entries", "forgotten")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._eldest: Eldest[int] = Eldest()
        self.entries: dict[int, _Entry] = {}
        self.forgotten = 0

    def put(self, key: int, entry: "_Entry") -> None:
        """Add an entry as the youngest; where there is no room the oldest goes."""
        entries = self.entries
        if key in entries:
            del entries[key]
        elif len(entries) >= self._capacity:
            self._eldest.pop_from(entries)
            self.forgotten += 1
        self._eldest.came(key)
        entries[key] = entry

    def expire(self, now_s: float, limit: int) -> None:
        """Forget at most *limit* entries that are too old."""
        due = []
        for key, entry in islice(self.entries.items(), limit):
            if entry.expires_at_s > now_s:
                break
            due.append(key)
        for key in due:
            del self.entries[key]


@final
@mypyc_attr(acyclic=True)
class _Entry:
    """One request; pending while it has legs, answered when it has none any more."""

    __slots__ = ("content", "expires_at_s", "legs", "retry_until_s")

    def __init__(self, content: int, leg: Leg, expires_at_s: float) -> None:
        self.content = content
        self.legs: tuple[Leg, ...] = (leg,)
        self.expires_at_s = expires_at_s
        self.retry_until_s = 0.0

    def sight_of_copy(
        self, message: Message, ids: Ids, packet: Packet, now: Moment
    ) -> tuple[Sight, Finding | None]:
        """Judge a copy whose identity-relevant content is the same (RPL-3)."""
        if not self.legs:
            detail = "it was answered already, and comes again under another branch"
            return Sight.REPLAY, Finding(Reason.REPLAY_AFTER_END, detail)
        tail = _tail_of(message)
        for leg in self.legs:
            if leg.branch in tail:
                return Sight.FORK_OR_SPIRAL, Finding(Reason.FORK_OR_SPIRAL, "through a proxy")
            if tail and tail == leg.tail:
                return Sight.FORK_OR_SPIRAL, Finding(Reason.FORK_OR_SPIRAL, "another branch")
        source, destination = _short(packet.src), _short(packet.dst)
        if any(leg.source == source for leg in self.legs):
            moved = all(leg.destination != destination for leg in self.legs)
            if moved or now.monotonic_s < self.retry_until_s:
                return Sight.RETRY, Finding(Reason.FORK_OR_SPIRAL, "tried again elsewhere")
            detail = "the same request under another branch, without a proxy between"
        else:
            detail = "the same request from another host"
        return Sight.REPLAY, Finding(Reason.REPLAY, detail)


def _key_of(ids: Ids) -> int:
    # 64 bits keyed by the interpreter's random seed: nobody outside can aim for a
    # collision, and a million entries meet by chance once in 10^7 runs.
    return hash((ids.call_id, ids.cseq, ids.method))


def _content_of(message: Message, ids: Ids) -> int:
    """Digest what no honest hop changes (RFC 3261 section 23.4.1.1 lists what may change)."""
    content = (
        ids.from_tag,
        ids.from_.uri.raw,
        ids.to.uri.raw,
        message.header(b"contact"),
        message.header(b"date"),
        message.body,
    )
    return hash(content) >> 1


def _short(octets: bytes) -> int:
    """Return a hash that needs no object of its own in a compiled class: one bit less."""
    return hash(octets) >> 1


def _tail_of(message: Message) -> tuple[int, ...]:
    vias = message.vias
    if len(vias) == 1:  # nearly always
        return ()
    return tuple([_short(via.branch) for via in vias[1 : LEGS + 1]])

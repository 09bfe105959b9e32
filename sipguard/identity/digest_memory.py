"""What was seen of digests: challenges, nonce counts, and requests with their responses.

No response, nonce or realm is kept, only hashes of them, keyed by the interpreter's random
seed: a dump of this memory gives nobody anything to guess passwords with, and nobody outside
can aim for a collision (64 bits; a million entries meet by chance once in 10^7 runs).
"""

from collections import OrderedDict
from enum import IntEnum
from typing import Final, Generic, NamedTuple, TypeVar, final

MAX_OFFERS: Final = 16  # of one nonce: kamailio gives all realms the same one in one second
MAX_CLIENTS: Final = 16
MAX_LEGS: Final = 8
COPY_S: Final = 32.0  # timer B: no copy of a request is on its way for longer
WINDOW: Final = 64  # nonce counts that may overtake each other
MAX_SHARED: Final = 4096
SHARDS: Final = 64
LARGE: Final = 10_000  # entries; what is smaller is one table

Value = TypeVar("Value")


@final
class Aging(Generic[Value]):
    """A table of hashes, bounded in number and time: at the bound the oldest goes, and is counted.

    What is put lives *life_s* from then on; order of arrival is order of age. A large one is
    cut into shards, for growing at once takes it 20 ms; the oldest of a full shard goes.
    """

    def __init__(self, capacity: int, life_s: float) -> None:
        shards = SHARDS if capacity >= LARGE else 1
        self._shards: list[OrderedDict[int, tuple[float, Value]]] = [
            OrderedDict() for _ in range(shards)
        ]
        self._per_shard = -(-capacity // shards)
        self._life_s = life_s
        self.forgotten = 0
        self.forgot_at_s = -life_s

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def get(self, key: int, now_s: float) -> Value | None:
        """Return the living entry of that key."""
        entry = self._shard_of(key).get(key)
        return None if entry is None or entry[0] <= now_s else entry[1]

    def put(self, key: int, value: Value, now_s: float) -> None:
        """Add an entry, or begin its life anew."""
        entries = self._shard_of(key)
        if key in entries:
            entries.move_to_end(key)
        elif len(entries) >= self._per_shard:
            _, (end_s, _) = entries.popitem(last=False)
            if end_s > now_s:
                self.forgotten += 1
                self.forgot_at_s = now_s
        entries[key] = (now_s + self._life_s, value)

    def remove(self, key: int) -> None:
        """Forget an entry that is worth nothing any more."""
        self._shard_of(key).pop(key, None)

    def expire(self, now_s: float, limit: int) -> None:
        """Remove about *limit* entries whose life is over."""
        for entries in self._shards:
            for _ in range(-(-limit // len(self._shards))):
                key = next(iter(entries), None)
                if key is None or entries[key][0] > now_s:
                    break
                del entries[key]

    def _shard_of(self, key: int) -> OrderedDict[int, tuple[float, Value]]:
        return self._shards[key % len(self._shards)]

    def has_forgotten(self, now_s: float) -> bool:
        """Whether an entry that would still be alive had to go for another."""
        return now_s - self.forgot_at_s < self._life_s


class Offer(NamedTuple):
    """One challenge, as far as credentials are held against it."""

    realm: int
    algorithm: bytes
    qops: tuple[bytes, ...]
    opaque: int


@final
class Issue:
    """A nonce that was issued: with what challenges, and to whom."""

    __slots__ = ("clients", "is_full", "offers")

    def __init__(self) -> None:
        self.offers: tuple[Offer, ...] = ()
        self.clients: tuple[bytes, ...] = ()
        self.is_full = False  # more than is kept: says nothing about what it does not have

    def add(self, offers: tuple[Offer, ...], client: bytes) -> None:
        """Note that *client* was asked in this way, too."""
        new = tuple([offer for offer in offers if offer not in self.offers])
        if client not in self.clients:
            self.clients = (*self.clients, client)[:MAX_CLIENTS]
            self.is_full = self.is_full or len(self.clients) == MAX_CLIENTS
        if new:
            self.offers = (*self.offers, *new)[:MAX_OFFERS]
            self.is_full = self.is_full or len(self.offers) == MAX_OFFERS

    def offers_of(self, realm: int) -> tuple[Offer, ...]:
        """Return the offers of one realm in the server's order."""
        return tuple([offer for offer in self.offers if offer.realm == realm])


class Shared(dict[Value, Value]):
    """One object for equal ones: hosts, and offers, which a server makes again and again."""

    def __missing__(self, value: Value) -> Value:
        if len(self) < MAX_SHARED:
            self[value] = value
        return value


@final
class Window:
    """Which counts of a nonce one client has used: the highest, and a bitmap below it (DIG-23)."""

    __slots__ = ("bits", "highest")

    def __init__(self) -> None:
        self.highest = 0
        self.bits = 0

    def is_used(self, count: int) -> bool:
        """Whether *count* was used, or is too far below the highest to be known."""
        behind = self.highest - count
        if behind < 0:
            return False
        return behind >= WINDOW or bool(self.bits >> behind & 1)

    def use(self, count: int) -> None:
        """Note a count."""
        ahead = count - self.highest
        if ahead > 0:
            self.bits = 1 if ahead >= WINDOW else self.bits << ahead & (1 << WINDOW) - 1 | 1
            self.highest = count
        elif -ahead < WINDOW:
            self.bits |= 1 << -ahead


class Outcome(IntEnum):
    """What became of a request with credentials."""

    PENDING = 0
    FAILED = 1  # a final response of 300 or more: the client tries again (RFC 3261 section 8.1.3.5)
    TAKEN = 2  # a 2xx


@final
class Asked:
    """One accepted request with credentials, on all its legs, until it is answered.

    Of each credentials: realm, nonce, response, and what an answer must repeat (DIG-30).
    """

    __slots__ = ("counts", "echoes", "nonces", "outcome", "realms", "responses")

    def __init__(self) -> None:
        self.outcome = Outcome.PENDING
        self.realms: tuple[int, ...] = ()
        self.nonces: tuple[int, ...] = ()
        self.responses: tuple[int, ...] = ()
        self.echoes: tuple[int, ...] = ()
        self.counts: tuple[tuple[int, int], ...] = ()  # windows and counts to be used up


@final
class Response:
    """A digest response, and the request that it came with."""

    __slots__ = (
        "call", "content", "cseq", "destination", "inputs", "later_legs", "likeness",
        "seen_at_s", "source",
    )  # fmt: skip

    def __init__(self, inputs: int, source: bytes, destination: bytes, seen_at_s: float) -> None:
        self.inputs = inputs
        self.source = source
        self.destination = destination
        self.seen_at_s = seen_at_s
        self.call = self.content = self.likeness = self.cseq = 0
        self.later_legs: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def legs(self) -> tuple[tuple[bytes, bytes], ...]:
        """Whence and where it crossed."""
        return ((self.source, self.destination), *self.later_legs)

    def goes(self, source: bytes, destination: bytes) -> None:
        """Note one more leg on which it crossed."""
        leg = (source, destination)
        if leg not in self.legs and len(self.later_legs) < MAX_LEGS:
            self.later_legs = (*self.later_legs, leg)

    def passes_on(self, source: bytes, destination: bytes, now_s: float) -> bool:
        """Whether this is the host that got the request, sending it onward (a proxy that rewrites).

        Onward is where it has not been: a callee who got the caller's credentials and sends
        them back to the proxy is a thief.
        """
        if now_s - self.seen_at_s > COPY_S:
            return False
        legs = self.legs
        ends = [end for _, end in legs]
        return source in ends and (destination not in ends or (source, destination) in legs)

"""The Call-IDs of verified AIBs (AIB-8, AIB-9; RFC 3893 section 10).

A thief who saw one signed request has everything but the key: the same octets again
are his only weapon, so a Call-ID counts once. Normal SIP uses one again all the time,
in retransmissions, forks, retries and inside a call; each of these ways is known by
something that the thief's copy cannot have.

Only what was verified is written, or anybody could spend a victim's Call-ID in advance.
The key holds the caller's address instead of the certificate, so that a look needs no
verified signature; only a signer who speaks for that address can have written it.
"""

import struct
from itertools import islice
from typing import Final, NamedTuple, final

from sipguard.identity.keyring import Keyring
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason

CAPACITY: Final = 200_000
# Deleting at the front of one large dict costs more with every deletion, and so does its
# growth; small ones keep every pause short.
_SHARDS: Final = 256
_SWEPT: Final = 8  # old entries that leave with each new one
_TAGS: Final = 4  # From tags of one call: two, and a few more where both ends have one address
# As long as a transaction repeats itself (RFC 3261 section 17.1: 64 times T1).
RETRANSMITTED_S: Final = 32.0
# These repeat the number of the INVITE they belong to (RFC 3261 sections 9.1, 13.2.2.4).
_SAME_NUMBER: Final = frozenset((b"ACK", b"CANCEL"))
_63_BITS: Final = (1 << 63) - 1
_32_BITS: Final = (1 << 32) - 1
# The fields of an entry in their order; the time from which it is kept stands last.
_FIXED: Final = struct.Struct("<QIIIIIdd")
_PAIR: Final = struct.Struct("<II")
_KEPT_FROM: Final = struct.Struct("<d")
RETENTION_S: Final = 3600.0


class Claim(NamedTuple):
    """What one request with an AIB says of itself; texts as hashes of the process's seed."""

    key: int  # 63 bits of Call-ID and the caller's address
    copy: int  # 63 bits of the signed octets
    leg: int  # 32 bits of the top branch and the source
    tag: int  # 32 bits of the From tag
    cseq: int
    method: bytes
    date_s: int  # the signed Date
    signs_cseq: bool
    signs_tag: bool


def long_hash(*texts: bytes) -> int:
    """Return 63 bits: nobody outside can aim for a collision of a seeded hash."""
    return (hash(texts) >> 1) & _63_BITS


def short_hash(*texts: bytes) -> int:
    """Return 32 bits, where a collision only counts inside one call."""
    return hash(texts) & _32_BITS


class _Entry(NamedTuple):
    """One Call-ID of one caller; ``others`` are further From tags with their numbers."""

    copy: int
    leg: int
    tag: int
    signer: int
    cseq: int
    date_s: int
    seen_at_s: float
    kept_from_s: float
    others: tuple[tuple[int, int], ...] = ()

    def highest(self, tag: int) -> int:
        """Return the highest CSeq under this tag, -1 where the tag is new."""
        if tag == self.tag:
            return self.cseq
        for other, cseq in self.others:
            if other == tag:
                return cseq
        return -1

    def counting(self, claim: Claim) -> "_Entry":
        """Return it with the number of a further request."""
        if claim.tag == self.tag:
            return self._replace(cseq=max(self.cseq, claim.cseq))
        kept = tuple([pair for pair in self.others if pair[0] != claim.tag])
        highest = max(self.highest(claim.tag), claim.cseq)
        return self._replace(others=(*kept, (claim.tag, highest))[-(_TAGS - 1) :])


def _packed(entry: _Entry) -> bytes:
    """Return an entry as octets: a third of the memory, and nothing for the garbage collector."""
    fixed = _FIXED.pack(*entry[:-1])
    if not entry.others:  # nearly always
        return fixed
    return fixed + b"".join([_PAIR.pack(*pair) for pair in entry.others])


def _unpacked(octets: bytes) -> _Entry:
    others = tuple(_PAIR.iter_unpack(octets[_FIXED.size :]))
    return _Entry._make((*_FIXED.unpack_from(octets), others))


def _kept_from_s(octets: bytes) -> float:
    moment: tuple[float] = _KEPT_FROM.unpack_from(octets, _FIXED.size - _KEPT_FROM.size)
    return moment[0]


@final
class AibMemory:
    """What was verified, bounded in number and time.

    Where it is full the oldest goes, and no AIB signed until then is believed any more in
    its part of the memory: forgetting never makes a copy good. ``forgotten`` counts. The
    ``keyring`` lives here since both outlive a reload of the policy.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._per_shard = max(1, capacity // _SHARDS)
        self._shards: tuple[dict[int, bytes], ...] = tuple({} for _ in range(_SHARDS))
        self._floors_s = [0] * _SHARDS
        self._turn = 0
        self._max_age_s = 0
        self._retention_s = RETENTION_S
        self._unsure_s = -1.0  # what was signed longer ago may have been forgotten
        self.forgotten = 0
        self.keyring = Keyring()

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def judge_by(self, max_age_s: int, retention_s: float) -> None:
        """Go on by another policy's times, for what is known already as well.

        Where a Date may be older from now on, some that nobody would have believed any more,
        and whose Call-IDs were forgotten for that, would be good again.

        Args:
            max_age_s: How far a Date may lie from now.
            retention_s: At least as long as the same Date would be believed, which is twice
                that where Dates may lie in the future.
        """
        if 0 < self._max_age_s < max_age_s:
            sure_s = self._retention_s - self._max_age_s
            self._unsure_s = sure_s if self._unsure_s < 0 else min(sure_s, self._unsure_s)
        self._max_age_s, self._retention_s = max_age_s, retention_s

    def look(self, claim: Claim, now: Moment, *, in_dialog: bool, retry: bool) -> Finding | None:
        """Say why a request cannot be believed, None where it can; notes none.

        *in_dialog*: its dialog is known. *retry*: it is known for a fork, a spiral or an
        honest second try (RPL-3).
        """
        if self._unsure_s >= 0:
            self._doubt(now)
        entry = self._entry(claim.key, now)
        if entry is None:
            if claim.date_s <= self._floors_s[claim.key % _SHARDS]:
                return Finding(Reason.AIB_REPLAY, "signed before the oldest that is remembered")
            return None
        age_s = now.monotonic_s - entry.seen_at_s
        highest = entry.highest(claim.tag)
        is_copy = claim.copy == entry.copy and claim.cseq == highest
        if is_copy and claim.leg == entry.leg and age_s <= RETRANSMITTED_S:
            return None  # a retransmission (AIB-9 a)
        if in_dialog:
            return _look_in_dialog(claim, highest)
        if retry and (is_copy or (claim.tag == entry.tag and claim.cseq > highest)):
            return None  # AIB-9 b, d
        if _is_signed_anew(claim, entry, highest):
            return None  # AIB-9 b: a challenge was answered, a registration refreshed
        detail = f"this Call-ID was used {max(age_s, 0.0):.0f} s ago"
        return Finding(Reason.AIB_REPLAY, f"{detail}, {_what_differs(claim, entry, highest)}")

    def holds(self, claim: Claim, now: Moment) -> bool:
        """Say whether this very AIB was verified before, while its Date was fresh."""
        entry = self._entry(claim.key, now)
        return entry is not None and entry.copy == claim.copy

    def remember(self, claim: Claim, signer: int, now: Moment) -> bool:
        """Note a verified request; say whether the call was signed with another certificate before.

        *signer* stands for the certificate.
        """
        shard_number = claim.key % _SHARDS
        shard = self._shards[shard_number]
        _sweep(shard, now.monotonic_s - self._retention_s, _SWEPT)
        known = shard.pop(claim.key, None)
        if known is None and len(shard) >= self._per_shard:
            self._forget_oldest(shard_number, now)
        new = _Entry(
            claim.copy,
            claim.leg,
            claim.tag,
            signer,
            claim.cseq,
            min(max(claim.date_s, 0), _32_BITS),
            now.monotonic_s,
            now.monotonic_s,
        )
        # At the end again: each shard stays in the order in which entries go.
        shard[claim.key] = _packed(new if known is None else _merged(_unpacked(known), new, claim))
        return known is not None and _unpacked(known).signer != signer

    def _entry(self, key: int, now: Moment) -> _Entry | None:
        octets = self._shards[key % _SHARDS].get(key)
        if octets is None or _kept_from_s(octets) <= now.monotonic_s - self._retention_s:
            return None
        return _unpacked(octets)

    def expire(self, now: Moment, limit: int = 125) -> None:
        """Forget at most *limit* entries that are too old, so that no call waits for it."""
        before_s = now.monotonic_s - self._retention_s
        for _ in range(_SHARDS):
            shard = self._shards[self._turn]
            limit -= _sweep(shard, before_s, limit)
            if limit <= 0:
                return
            self._turn = (self._turn + 1) % _SHARDS

    def _doubt(self, now: Moment) -> None:
        """Settle what a change of policy left open, since it comes without a clock."""
        floor_s = int(now.utc_s - self._unsure_s)
        self._floors_s = [max(floor_s, known) for known in self._floors_s]
        self._unsure_s = -1.0

    def _forget_oldest(self, shard_number: int, now: Moment) -> None:
        shard = self._shards[shard_number]
        oldest = _unpacked(shard.pop(next(iter(shard))))
        if oldest.kept_from_s > now.monotonic_s - self._retention_s:
            self.forgotten += 1
            # A Date in the future must not shut out those who sign now.
            floor_s = min(oldest.date_s, int(now.utc_s))
            self._floors_s[shard_number] = max(self._floors_s[shard_number], floor_s)


def _merged(entry: _Entry, new: _Entry, claim: Claim) -> _Entry:
    """Return what is known after a further request under the same Call-ID."""
    if claim.cseq > entry.highest(claim.tag):
        entry = entry._replace(copy=new.copy, leg=new.leg, seen_at_s=new.seen_at_s)
    return entry.counting(claim)._replace(
        signer=new.signer,
        date_s=max(entry.date_s, new.date_s),
        kept_from_s=new.kept_from_s,
    )


def _look_in_dialog(claim: Claim, highest: int) -> Finding | None:
    """AIB-9 c: one AIB may serve a whole call, as long as the call itself goes on."""
    if claim.cseq > highest or (claim.cseq == highest and claim.method in _SAME_NUMBER):
        return None
    detail = f"CSeq {claim.cseq} in a call that has come to {highest}"
    return Finding(Reason.AIB_REPLAY, detail)


def _is_signed_anew(claim: Claim, entry: _Entry, highest: int) -> bool:
    """Whether the signer himself counted on, which no copy of an older AIB can show."""
    if not claim.signs_cseq or claim.copy == entry.copy:
        return False
    if claim.cseq == highest and claim.method == b"CANCEL":
        return True
    known = highest >= 0 or claim.signs_tag
    return known and claim.cseq > max(highest, entry.cseq)


def _what_differs(claim: Claim, entry: _Entry, highest: int) -> str:
    if claim.tag != entry.tag:
        return "under another From tag"
    if claim.copy != entry.copy:
        return f"with CSeq {highest} instead of {claim.cseq}"
    return "and the request comes again" if claim.cseq == highest else "by the same AIB"


def _sweep(shard: dict[int, bytes], before_s: float, limit: int) -> int:
    """Drop at most *limit* entries of one shard from before then; return how many."""
    due: list[int] = []
    for key, octets in islice(shard.items(), limit):
        if _kept_from_s(octets) > before_s:
            break
        due.append(key)
    for key in due:
        del shard[key]
    return len(due)

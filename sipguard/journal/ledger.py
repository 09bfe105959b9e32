"""Group what the guard tells into one record per attempt, and keep a flood from filling a disk.

An attempt is one Call-ID from one source address. Its first refusal makes a
record at once; retransmissions and further verdicts only count up. A source
that is refused under ever new Call-IDs gets a few records a minute for each
rule and reason, the rest is a number: "and 4,212 more like this". Senders may
be forged, so the same holds for each rule and reason over all sources.
Time comes with the observations; nothing here reads a clock.

A call's streams end long after its messages: what was let through, or is about packets, is
remembered by its Call-ID until they have.
"""

from collections import OrderedDict
from typing import Final

from sipguard.journal.attempt import Attempt, Calls, of_call
from sipguard.journal.observation import Observation
from sipguard.journal.record import Record, bounded_ladder, record_of
from sipguard.journal.streams import StreamEnd
from sipguard.reason import Reason
from sipguard.verdict import Action

WINDOW_S: Final = 60.0  # silence that ends an attempt; twice Timer B of RFC 3261
LONGEST_S: Final = 600.0  # an attempt that never falls silent starts a new record
MINUTE_S: Final = 60.0
PER_SOURCE: Final = 30  # records a minute for one source, rule and reason
PER_REASON: Final = 120  # records a minute for one rule and reason, all sources
_WANTED: Final = 20  # times as many where a rule accepts and the admin asked for a log
_SUSTAINED: Final = 10  # a flood that lasts gets a tenth of the records from its second minute on
MAX_FLUSHED: Final = 500  # records handed out at once, so that a flush never holds up a packet
CALL_ID_OCTETS: Final = 256

# Crockford's base32: no letter that reads like a digit. 30 bits of seconds
# since 2024 and 10 bits of order within one: eight characters until 2058.
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_EPOCH_S: Final = 1_704_067_200
_PER_SECOND: Final = 1024
_ID_LENGTH: Final = 8
_ID_SPACE: Final = 32**_ID_LENGTH
_READ_AS: Final = str.maketrans("oil", "011")


Key = tuple[bytes, bytes]
Kind = tuple[bytes, str, Reason]


def id_of(number: int) -> str:
    """Return the eight characters of a record's number."""
    digits = []
    for _ in range(_ID_LENGTH):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def number_of(identifier: str) -> int | None:
    """Return the number of an id as a person typed it (``O`` for ``0``), ``None`` if it is none."""
    text = identifier.strip().lower().translate(_READ_AS)
    if len(text) != _ID_LENGTH or not all(char in _ALPHABET for char in text):
        return None
    number = 0
    for char in text:
        number = number * 32 + _ALPHABET.index(char)
    return number


class _Tally:
    """How many records one kind got this minute, and the record that counts the rest."""

    __slots__ = ("group", "made", "since_s", "was_full")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.made = 0
        self.was_full = False
        self.group: Attempt | None = None

    def has_room(self, now_s: float, limit: int) -> bool:
        """Whether one more record may be made; a clock that jumps starts a new minute."""
        if not 0 <= now_s - self.since_s < MINUTE_S:
            # A minute of quiet in between ends the flood as well.
            self.was_full = (
                self.made >= self._allowed(limit) and now_s - self.since_s < 2 * MINUTE_S
            )
            self.since_s = now_s
            self.made = 0
        return self.made < self._allowed(limit) or self.group is None

    def _allowed(self, limit: int) -> int:
        return max(limit // _SUSTAINED, 1) if self.was_full else limit


class Ledger:
    """Turns observations into records: a new one at once, a grown one at the next ``flush``.

    Bounded: ``max_open`` attempts, as many of calls whose streams have not ended, and as
    many tallies; at the bound the oldest goes, with its last counts handed to the next ``flush``.
    """

    def __init__(
        self,
        *,
        after: str = "",
        max_open: int = 10_000,
        per_source: int = PER_SOURCE,
        per_reason: int = PER_REASON,
    ) -> None:
        """Start empty; *after* is the last id already stored, so that no id is given twice."""
        self.noted = 0
        self.collapsed = 0
        self.evicted = 0
        self._last_number = number_of(after) or 0
        self._max_open = max_open
        self._per_source = per_source
        self._per_reason = per_reason
        self._open: OrderedDict[Key, Attempt] = OrderedDict()
        self._sources: OrderedDict[Kind, _Tally] = OrderedDict()
        self._reasons: OrderedDict[Kind, _Tally] = OrderedDict()
        self._grown: dict[str, Attempt] = {}
        self._calls = Calls(max_open)

    def limit(self, per_source: int, per_reason: int) -> None:
        """Set how many records a minute one rule and reason may have, of one source and of all."""
        self._per_source = per_source
        self._per_reason = per_reason

    def __len__(self) -> int:
        """How many attempts are open."""
        return len(self._open)

    def note(self, seen: Observation) -> Record | None:
        """Take one judged message; return a record to store now, or ``None`` if it only counts.

        A message that was accepted without ``log`` makes no record, but it is
        a row in the ladder of an attempt that has one.
        """
        key = _key(seen)
        group = self._open.get(key)
        if group is not None and _goes_on(group, seen.utc_s):
            self._open.move_to_end(key)
            if seen.noteworthy:
                self._let_know(group, seen)
            return self._add(group, seen)
        if not seen.noteworthy:
            return None
        self.noted += 1
        tallies = self._tallies(seen)
        full = next(
            (tally for tally, limit in tallies if not tally.has_room(seen.utc_s, limit)), None
        )
        if full is not None and full.group is not None:
            self._collapse(full.group, seen, elsewhere=full is tallies[1][0])
            return None
        record = self._first_record(seen)
        group = Attempt(record, seen)
        self._remember(key, group, tallies)
        self._let_know(group, seen)
        return record

    def stream_ended(self, end: StreamEnd) -> None:
        """Add the end of one direction of a stream to what is recorded of its call, if anything."""
        call_id = end.call_id[:CALL_ID_OCTETS]
        for group in self._calls.of(call_id):
            if group.end(end):
                self._grown[group.record.id] = group
        if end.is_last:
            self._calls.over(call_id, end.utc_s)

    def flush(self, now_s: float, limit: int = MAX_FLUSHED) -> list[Record]:
        """Return records that grew since the last flush, and forget attempts gone silent."""
        grown = [self._grown.pop(identifier) for identifier in list(self._grown)[:limit]]
        while self._open:
            oldest = next(iter(self._open.values()))
            if _goes_on(oldest, now_s):
                break
            self._open.popitem(last=False)
        self._calls.expire(now_s)
        return [group.now() for group in grown]

    def _first_record(self, seen: Observation) -> Record:
        record = record_of(seen, self._next_id(seen.utc_s))
        call = self._calls.told(seen.call_id[:CALL_ID_OCTETS]) if seen.is_media else None
        if call is None:
            return record
        ladder = bounded_ladder((*call.ladder, *record.ladder))
        return of_call(record, call)._replace(ladder=ladder)

    def _let_know(self, group: Attempt, seen: Observation) -> None:
        """Have an attempt told of the streams of its call, where it is of that call."""
        if seen.call_id and seen.may_have_streams:
            self._calls.add(seen.call_id[:CALL_ID_OCTETS], group, seen.utc_s)

    def _add(self, group: Attempt, seen: Observation) -> Record | None:
        if seen.noteworthy:
            self.noted += 1
            if group.record.verdict is Action.ACCEPT and seen.judged is not Action.ACCEPT:
                return group.worsen(seen)
        group.add(seen)
        self._grown[group.record.id] = group
        return None

    def _collapse(self, group: Attempt, seen: Observation, *, elsewhere: bool) -> None:
        group.more += 1
        group.elsewhere |= elsewhere and seen.src != group.record.src
        group.last_s = max(group.last_s, seen.utc_s)
        self.collapsed += 1
        self._grown[group.record.id] = group

    def _tallies(self, seen: Observation) -> tuple[tuple[_Tally, int], tuple[_Tally, int]]:
        wanted = seen.judged is Action.ACCEPT and seen.place
        times = _WANTED if wanted else 1
        # A source that is not looked at any more: one record tells as much as thirty.
        is_spent = seen.reason is Reason.SIGNATURE_BUDGET
        per_source = max(self._per_source // _SUSTAINED, 1) if is_spent else self._per_source
        by_source = self._tally(self._sources, (seen.src, seen.rule, seen.reason), seen.utc_s)
        by_reason = self._tally(self._reasons, (b"", seen.rule, seen.reason), seen.utc_s)
        return (by_source, per_source * times), (by_reason, self._per_reason * times)

    def _tally(self, tallies: OrderedDict[Kind, _Tally], kind: Kind, now_s: float) -> _Tally:
        tally = tallies.get(kind)
        if tally is None:
            tally = tallies[kind] = _Tally(now_s)
            if len(tallies) > self._max_open:
                tallies.popitem(last=False)
        else:
            tallies.move_to_end(kind)
        return tally

    def _remember(
        self, key: Key, group: Attempt, tallies: tuple[tuple[_Tally, int], tuple[_Tally, int]]
    ) -> None:
        for tally, _ in tallies:
            tally.made += 1
            tally.group = group
        self._open[key] = group
        self._open.move_to_end(key)
        if len(self._open) > self._max_open:
            self._open.popitem(last=False)
            self.evicted += 1

    def _next_id(self, utc_s: float) -> str:
        """Number records by their time; ever upwards, also when the clock steps back."""
        by_clock = int(max(utc_s - _EPOCH_S, 0) * _PER_SECOND)
        number = max(self._last_number + 1, by_clock)
        if number >= _ID_SPACE:  # the clock is beyond 2058: count on from what was
            number = (self._last_number + 1) % _ID_SPACE
        self._last_number = number
        return id_of(number)


def _key(seen: Observation) -> Key:
    """Octets without a Call-ID are one attempt per source and reason."""
    return seen.call_id[:CALL_ID_OCTETS] or seen.reason.value.encode(), seen.src


def _goes_on(group: Attempt, now_s: float) -> bool:
    return now_s - group.last_s <= WINDOW_S and now_s - group.record.first_s <= LONGEST_S

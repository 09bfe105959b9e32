"""The largest groups among millions of records, of the store's counts by hour, day and week.

Any range of whole hours is some long spans and, at its ends, some short ones. Of each of them the
store has its groups in order of size. Where all their rows are few, they are added up. Else each
list is read from the top, a part at a time, until nobody further down can be among the largest:
what is not seen of a group in a list is at most the size of what was read there last. Then the
few groups that matter are counted exactly. (Known as the threshold algorithm; Fagin, Lotem and
Naor, 2001.)

Each number that comes out is what counting the records gives. Only where very many groups are
of nearly one size, as the sources of a flood, may one that is missing be as large: then it is
said how large.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Final, NamedTuple

from sipguard.edge.tallies import ALL, COUNTED, CROWDED, IS_CROWDED, RANKED_ABOVE

MAX_ADDED: Final = 20_000  # rows that are added up, at most one for each record: 25 ms
MAX_COUNTED: Final = 3_000  # rows that are read to find that they are few
MAX_READ: Final = 60_000  # rows read from the top of lists: 60 ms
MAX_RANKED: Final = 1_000  # who wants more groups than this waits until all are added up
MAX_EXACT: Final = 64  # groups besides the wanted ones that are counted to find these
_LEAST_READ: Final = 8  # of each list at once
_ROUNDS: Final = 6
_UNREAD: Final = 1 << 62

Span = tuple[int, int]  # how many hours, and the first one


class Group(NamedTuple):
    """One key, and what is counted of it; *example*: the number of its latest record."""

    key: str
    records: int
    messages: int
    last_s: float
    example: int


class Ranking(NamedTuple):
    """The largest groups. Groups that are missing have at most ``rest`` messages each."""

    groups: list[Group]
    rest: int = 0


class Hours(NamedTuple):
    """Hours from *first* up to *end*, not included (POSIX time / 3600)."""

    first: int
    end: int


@dataclass(slots=True)
class _Seen:
    """What is known of a group: in which lists it was, and their sums."""

    key: str
    lists: set[int] = field(default_factory=set)
    records: int = 0
    messages: int = 0
    last_s: float = 0.0
    example: int = 0

    def add(self, at: int, records: int, messages: int, last_s: float, example: int) -> None:
        """Add its row in a list."""
        self.lists.add(at)
        self.records += records
        self.messages += messages
        if last_s > self.last_s:
            self.last_s = last_s
        if example > self.example:
            self.example = example

    @property
    def group(self) -> Group:
        """The same as a group."""
        return Group(self.key, self.records, self.messages, self.last_s, self.example)


def ranking(
    connection: sqlite3.Connection, kind: str, hours: Hours, verdicts: Sequence[str], limit: int
) -> Ranking:
    """Return the *limit* groups of *kind* with the most messages, and what others may have."""
    spans = _spans(connection, kind, hours)
    if not spans or not verdicts:
        return Ranking([])
    rows, values = _rows(spans, verdicts), (kind, *verdicts)
    is_crowded = kind in CROWDED and _are_many(connection, hours, rows, values)
    if limit > MAX_RANKED or not is_crowded:
        added = (
            "SELECT key, sum(records), sum(messages), max(last_s), max(example)"  # noqa: S608
            f" FROM ({rows}) GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT {limit}"
        )
        return Ranking([Group(*row) for row in connection.execute(added, values)])
    return _Lists(connection, kind, spans, verdicts).largest(limit)


def _are_many(
    connection: sqlite3.Connection, hours: Hours, rows: str, values: tuple[str, ...]
) -> bool:
    """Whether there are too many rows to be added up; records are counted in fewer than these."""
    (records,) = connection.execute(
        "SELECT sum(records) FROM tallies WHERE kind = ? AND span = 1 AND start >= ? AND start < ?",
        (ALL, *hours),
    ).fetchone()
    if records is None or records <= MAX_ADDED:
        return False
    some = f"SELECT count(*) FROM (SELECT 1 FROM ({rows}) LIMIT {MAX_COUNTED + 1})"  # noqa: S608
    return bool(connection.execute(some, values).fetchone()[0] > MAX_COUNTED)


def _spans(connection: sqlite3.Connection, kind: str, hours: Hours) -> list[Span]:
    """Return the longest spans that make up *hours*."""
    # Each by itself: both in one SELECT would read all that is in between.
    first, last = (
        connection.execute(
            f"SELECT {which}(start) FROM tallies WHERE kind = ? AND span = 1",  # noqa: S608
            (kind,),
        ).fetchone()[0]
        for which in ("min", "max")
    )
    if first is None:
        return []
    at, end = max(hours.first, first), min(hours.end, last + 1)
    spans = []
    while at < end:
        # What is before the first hour and behind the last one is empty, and counts as covered.
        span, at = next(
            (span, start)
            for span in reversed(COUNTED[kind])
            for start in (at - at % span,)
            if max(start, first) == at and min(start + span, last + 1) <= end
        )
        spans.append((span, at))
        at += span
    return spans


def _rows(spans: Sequence[Span], verdicts: Sequence[str]) -> str:
    """Return a SELECT of all their rows, its values the kind and the verdicts."""
    marks = ", ".join(f"?{n + 2}" for n in range(len(verdicts)))
    return " UNION ALL ".join(
        "SELECT key, records, messages, last_s, example FROM tallies WHERE kind = ?1"  # noqa: S608
        f" AND span = {span} AND start BETWEEN {first} AND {last} AND verdict IN ({marks})"
        for span, first, last in _runs(spans)
    )


def _runs(spans: Sequence[Span]) -> list[tuple[int, int, int]]:
    """Gather what follows each other: (span, first start, last start)."""
    runs: list[tuple[int, int, int]] = []
    for span, start in spans:
        if runs and runs[-1][0] == span and runs[-1][2] + span == start:
            runs[-1] = (span, runs[-1][1], start)
        else:
            runs.append((span, start, start))
    return runs


def _known(
    connection: sqlite3.Connection, spans: Sequence[Span], verdicts: Sequence[str]
) -> list[tuple[Span, str]]:
    """Return the spans and verdicts that there are records of, for each other list costs doubt."""
    first, last = min(start for _, start in spans), max(sum(span) for span in spans)
    there = set(
        connection.execute(
            "SELECT start, verdict FROM tallies WHERE kind = ? AND span = 1 AND start >= ?"
            " AND start < ?",
            (ALL, first, last),
        )
    )
    return [
        ((span, start), verdict)
        for span, start in spans
        for verdict in verdicts
        if any((start + hour, verdict) in there for hour in range(span))
    ]


class _Lists:
    """The groups of some spans and verdicts, each in order of size, read from the top."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        kind: str,
        spans: Sequence[Span],
        verdicts: Sequence[str],
    ) -> None:
        self._connection = connection
        self._at = [(kind, *span, verdict) for span, verdict in _known(connection, spans, verdicts)]
        self._cursors: list[sqlite3.Cursor | None] = [self._list(*at) for at in self._at]
        self._floors = [_UNREAD] * len(self._at)  # none further down has more
        self._floor = _UNREAD * len(self._at)  # the sum of them
        self._seen: dict[str, _Seen] = {}

    def largest(self, limit: int) -> Ranking:
        """Read as far as it takes, within bounds, and count the largest exactly."""
        deepest = MAX_READ // max(len(self._at), 1)
        for left in range(_ROUNDS, 0, -1):
            # Each round doubles it: often a few of the top settle it.
            if not self._read(max(deepest >> left, _LEAST_READ)) or self._is_settled(limit):
                break
        contenders = self._contenders(limit)
        chosen = contenders[: limit + MAX_EXACT]
        for seen in chosen:
            self._complete(seen)
        groups = sorted((seen.group for seen in chosen), key=_by_size)[:limit]
        others = [self._at_most(seen) for seen in contenders[len(chosen) :]]
        rest = max([self._floor, *others])
        least = groups[-1].messages if len(groups) == limit else 0
        return Ranking(groups, rest if rest > least else 0)

    def _list(self, kind: str, span: int, start: int, verdict: str) -> sqlite3.Cursor:
        return self._connection.execute(
            "SELECT key, records, messages, last_s, example FROM tallies INDEXED BY tallies_ranked"  # noqa: S608
            " WHERE kind = ? AND span = ? AND start = ? AND verdict = ?"
            f" AND messages > {RANKED_ABOVE} AND {IS_CROWDED} ORDER BY messages DESC",
            (kind, span, start, verdict),
        )

    def _read(self, part: int) -> int:
        """Read so many rows more of each list; return how many there were."""
        count = 0
        for at, cursor in enumerate(self._cursors):
            rows = cursor.fetchmany(part) if cursor is not None else []
            for key, records, messages, last_s, example in rows:
                seen = self._seen.get(key)
                if seen is None:
                    seen = self._seen[key] = _Seen(key)
                seen.add(at, records, messages, last_s, example)
            if rows:
                self._floors[at] = int(rows[-1][2])
            if len(rows) < part:
                self._floors[at], self._cursors[at] = RANKED_ABOVE, None
            count += len(rows)
        self._floor = sum(self._floors)
        return count

    def _is_settled(self, limit: int) -> bool:
        """Whether all that matter have been seen, and they are few."""
        if self._least_of_largest(limit) < self._floor:
            return False
        return len(self._contenders(limit)) <= limit + MAX_EXACT

    def _least_of_largest(self, limit: int) -> int:
        most = nlargest(limit, (seen.messages for seen in self._seen.values()))
        return most[-1] if len(most) == limit else 0

    def _contenders(self, limit: int) -> list[_Seen]:
        """Return what may be among the largest, the likeliest first."""
        least = self._least_of_largest(limit)
        near = (seen for seen in self._seen.values() if seen.messages + self._floor >= least)
        sizes = [(self._at_most(seen), seen) for seen in near]
        sizes.sort(key=lambda pair: (-pair[0], -pair[1].messages, pair[1].key))
        return [seen for size, seen in sizes if size >= least]

    def _at_most(self, seen: _Seen) -> int:
        """Return how many messages a group may have, of what is known."""
        return seen.messages + self._floor - sum(self._floors[at] for at in seen.lists)

    def _complete(self, seen: _Seen) -> None:
        """Add what a group has further down."""
        for at, where in enumerate(self._at):
            if at in seen.lists:
                continue
            row = self._connection.execute(
                "SELECT records, messages, last_s, example FROM tallies"
                " WHERE kind = ? AND span = ? AND start = ? AND verdict = ? AND key = ?",
                (*where, seen.key),
            ).fetchone()
            if row is not None:
                seen.add(at, *row)


def _by_size(group: Group) -> tuple[int, str]:
    return -group.messages, group.key

"""How many records there are of what: counted one by one, or of the counts by hour and day."""

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from heapq import nsmallest
from math import ceil
from typing import Final, NamedTuple

from sipguard.edge.asking import Asked, Value
from sipguard.edge.ranking import Hours, ranking
from sipguard.edge.tallies import ALL, HOUR_S, unfilled
from sipguard.journal.ledger import id_of
from sipguard.journal.query import Bar, Count, Counts, GroupBy, Query, bars_of
from sipguard.journal.record import show_address
from sipguard.verdict import Action

ONE_BY_ONE: Final = 20_000  # records that are counted to the second: 0.05 s
_FOREVER: Final = 1 << 40  # hours


class Summary(NamedTuple):
    """A time by whole hours.

    ``recorded``: calls and messages that have a record; ``judged``: messages that were judged, as
    ``records`` and ``messages`` alike. ``gone_before_s``: older records of that time had to go for
    room; charts have them, groups do not. ``judged_since_s``: it was not counted before.
    """

    recorded: list[Bar]
    judged: list[Bar]
    groups: dict[GroupBy, Counts]
    gone_before_s: float | None = None
    judged_since_s: float | None = None


class Groups:
    """Counts by one column, record by record, of candidates that come in parts."""

    def __init__(self, by: GroupBy) -> None:
        self._column = "src_octets" if by is GroupBy.SRC else by.value
        self._counts: dict[str | bytes, tuple[int, int, float, int]] = {}

    def add(self, connection: sqlite3.Connection, asked: Asked) -> None:
        """Count some more."""
        select = (
            f"SELECT {self._column}, count(*), sum(count + more), max(last_s), max(number)"
            f" {asked.fitting} GROUP BY 1"
        )
        for key, records, messages, last_s, number in connection.execute(select, asked.values):
            before = self._counts.get(key, (0, 0, 0.0, 0))
            self._counts[key] = (
                before[0] + records,
                before[1] + messages,
                max(before[2], last_s),
                max(before[3], number),
            )

    def largest(self, limit: int) -> list[Count]:
        """Return the groups with the most messages."""
        sizes = [(-numbers[1], key) for key, numbers in self._counts.items()]
        return [_count(key, *self._counts[key]) for _, key in nsmallest(limit, sizes)]


def are_many(connection: sqlite3.Connection, query: Query) -> bool:
    """Whether the records of a query for times and verdicts are more than are counted singly."""
    return sum(row[2] for row in _by_hour(connection, query)) > ONE_BY_ONE


def by_hours(connection: sqlite3.Connection, query: Query, by: GroupBy) -> Counts:
    """Return the largest groups of the records that began in the query's hours."""
    hours, behind = _hours(query), unfilled(connection)
    since_s = None
    if behind is not None and behind >= hours.first:
        hours = hours._replace(first=behind + 1)
        since_s = float((behind + 1) * HOUR_S)
    found = ranking(connection, by.value, hours, _verdicts(query), query.limit)
    return Counts([_count(*group) for group in found.groups], since_s, True, found.rest)


def summary(connection: sqlite3.Connection, query: Query, span_s: int) -> Summary:
    """Return charts and groups."""
    recorded = list(_by_hour(connection, _of_all(query)))
    hours = _hours(query)
    first = number_in(connection, "SELECT min(hour) FROM judged", ())
    judged = connection.execute(
        "SELECT hour, verdict, messages, messages FROM judged WHERE hour >= ? AND hour < ?", hours
    )
    return Summary(
        bars_of(recorded, span_s),
        bars_of(judged, span_s),
        {by: by_hours(connection, query, by) for by in GroupBy},
        _gone_before(connection, query, sum(row[2] for row in recorded)),
        None if first is None or first <= hours.first else first * HOUR_S,
    )


def bars(connection: sqlite3.Connection, query: Query, span_s: int) -> list[Bar]:
    """Return calls and messages that have a record, by verdict and span of time."""
    return bars_of(_by_hour(connection, query), span_s)


def bars_of_2(connection: sqlite3.Connection, query: Query, span_s: int) -> list[Bar]:
    """Return the same of a store of version 2."""
    select = (
        "SELECT hour, verdict, sum(records), sum(messages) FROM hours WHERE kind = 'reason'"  # noqa: S608
        f" AND hour >= ? AND hour < ? AND verdict IN ({_marks(query)}) GROUP BY 1, 2"
    )
    rows = connection.execute(select, (*_hours(query), *_verdicts(query)))
    return bars_of(rows, span_s)


def number_in(
    connection: sqlite3.Connection, select: str, values: tuple[Value, ...]
) -> float | None:
    """Return the one number that is asked for, if there is one."""
    row = connection.execute(select, values).fetchone()
    return float(row[0]) if row is not None and row[0] is not None else None


def _by_hour(connection: sqlite3.Connection, query: Query) -> Iterable[tuple[int, str, int, int]]:
    select = (
        "SELECT start, verdict, records, messages FROM tallies WHERE kind = ? AND span = 1"  # noqa: S608
        f" AND start >= ? AND start < ? AND verdict IN ({_marks(query)}) AND records > 0"
    )
    return connection.execute(select, (ALL, *_hours(query), *_verdicts(query)))


def _gone_before(connection: sqlite3.Connection, query: Query, began: int) -> float | None:
    """Return the time of the oldest record, where some of those that began are no more."""
    if unfilled(connection) is not None:
        return None  # groups say so themselves
    reasons = replace(_of_all(query), limit=1_000_000)
    counts = by_hours(connection, reasons, GroupBy.REASON)
    if sum(count.records for count in counts.groups) >= began:
        return None
    return number_in(connection, "SELECT min(last_s) FROM records", ())


def _of_all(query: Query) -> Query:
    return replace(query, verdict=None, refused_only=False)


def _hours(query: Query) -> Hours:
    """Return the hours that a query's times touch."""
    return Hours(
        0 if query.since_s is None else int(query.since_s // HOUR_S),
        _FOREVER if query.until_s is None else ceil(query.until_s / HOUR_S),
    )


def _verdicts(query: Query) -> list[str]:
    return [
        action.value
        for action in Action
        if (query.verdict in (None, action))
        and not (query.refused_only and action is Action.ACCEPT)
    ]


def _marks(query: Query) -> str:
    return ", ".join("?" * len(_verdicts(query)))


def _count(key: str | bytes, records: int, messages: int, last_s: float, number: int) -> Count:
    shown = show_address(key) if isinstance(key, bytes) else str(key)
    return Count(shown, int(records), int(messages), float(last_s), id_of(int(number)))

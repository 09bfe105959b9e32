"""Counts of records by hour, day and week, kept in the same transaction as the records themselves.

Five million records take a second to be read in an index, and two tables take none: ``tallies``
counts records and messages for each source, caller, rule and reason by the hour, the day and the
eight days they began in, and ``judged`` counts messages by the hour they were judged in. Triggers
write ``tallies``, whoever writes records, and every change of it is a sum: whatever comes in
which order, a count is that of the records that are there. A record that goes is subtracted;
the kind ``all`` alone, for charts, keeps what had to go for room until it is too old.

A row is of one record at least, so that a flood of forged sources makes no more rows than it
makes records, and those are bounded (``journal.ledger``). Most of such rows count one message:
the index in order of size, by which the largest groups are found, leaves them out.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

HOUR_S: Final = 3600
_SHORT: Final = (1, 24)  # hours: an hour, and a day of UTC
_LONG: Final = (*_SHORT, 192)
# The kinds that are columns of ``records``, and the spans that they are counted for.
COUNTED: Final = {"src": _LONG, "caller": _LONG, "rule": _SHORT, "reason": _SHORT}
CROWDED: Final = ("src", "caller")  # as many keys as strangers like
IS_CROWDED: Final = f"kind IN {CROWDED}"
ALL: Final = "all"
RANKED_ABOVE: Final = 1  # messages: rows that are in the index in order of size
FILLED: Final = 250  # rows of an earlier version's counts that are taken over at once: 4 ms

TABLES: Final = f"""
CREATE TABLE tallies (
    kind     TEXT NOT NULL,        -- the column of records that key is of; 'all' of none
    span     INTEGER NOT NULL,     -- hours: 1, 24 or 192
    start    INTEGER NOT NULL,     -- POSIX time / 3600
    key      TEXT NOT NULL,
    verdict  TEXT NOT NULL,
    records  INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    last_s   REAL NOT NULL,
    example  INTEGER NOT NULL,     -- the latest record's number
    PRIMARY KEY (kind, span, start, key, verdict)
) WITHOUT ROWID;
CREATE INDEX tallies_ranked ON tallies (
    kind, span, start, verdict, messages, key, records, last_s, example
) WHERE messages > {RANKED_ABOVE} AND {IS_CROWDED};
CREATE TABLE judged (
    hour     INTEGER NOT NULL,     -- POSIX time / 3600
    verdict  TEXT NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (hour, verdict)
) WITHOUT ROWID
"""
_KEPT: Final = ("verdict", "first_s", *COUNTED)
_SUM: Final = (
    " ON CONFLICT (kind, span, start, key, verdict) DO UPDATE SET"
    " records = records + excluded.records, messages = messages + excluded.messages,"
    " last_s = max(last_s, excluded.last_s), example = max(example, excluded.example)"
)
_GROUPS: Final = tuple((kind, span) for kind, spans in COUNTED.items() for span in spans)
_KINDS: Final = ((ALL, 1), *_GROUPS)
_JUDGED: Final = (
    "INSERT INTO judged VALUES (?, ?, ?)"
    " ON CONFLICT (hour, verdict) DO UPDATE SET messages = messages + excluded.messages"
)


def count_from_now_on(connection: sqlite3.Connection) -> None:
    """Make the triggers: what is new, what grew, what changed its keys, and what goes."""
    same = " AND ".join(f"old.{name} IS new.{name}" for name in _KEPT)
    more = "(new.count + new.more) - (old.count + old.more)"
    put = _add(_KINDS, "new", "1", "new.count + new.more")
    grow = _add(_KINDS, "new", "0", more)
    is_more = "(old.last_s, old.count, old.more) IS NOT (new.last_s, new.count, new.more)"
    for name, when, body in (
        ("records_new", "INSERT ON records", put),
        ("records_grown", f"UPDATE ON records WHEN {same} AND {is_more}", grow),
        ("records_changed", f"UPDATE ON records WHEN NOT ({same})", f"{_take(_KINDS)}; {put}"),
        ("records_gone", "DELETE ON records", _take(_GROUPS)),
    ):
        connection.execute(f"CREATE TRIGGER {name} AFTER {when} BEGIN {body}; END")


def add_judged(connection: sqlite3.Connection, counts: Mapping[tuple[int, str], int]) -> None:
    """Add messages that were judged: counts by hour (POSIX time / 3600) and verdict."""
    connection.executemany(_JUDGED, [(*key, messages) for key, messages in counts.items()])


def forget(connection: sqlite3.Connection, before_s: float) -> None:
    """Forget what is kept beyond the records, where it is of hours before that time."""
    hour = before_s // HOUR_S
    connection.execute("DELETE FROM tallies WHERE kind = ? AND span = 1 AND start < ?", (ALL, hour))
    connection.execute("DELETE FROM judged WHERE hour < ?", (hour,))


def take_over(connection: sqlite3.Connection) -> None:
    """Prepare the counts of version 2, in ``hours``, for being added to ``tallies`` bit by bit.

    That version did not subtract records that went. So what is of the hour of the oldest
    record that is left, or before, is counted anew. What charts need is there at once.
    """
    for name in ("records_new", "records_grown", "records_changed"):
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
    connection.execute(
        "INSERT INTO tallies SELECT ?, 1, hour, '', verdict, sum(records), sum(messages),"
        " max(last_s), max(example) FROM hours WHERE kind = 'reason' GROUP BY hour, verdict"
        " HAVING sum(records) > 0",
        (ALL,),
    )
    oldest_s = connection.execute("SELECT min(last_s) FROM records").fetchone()[0]
    if oldest_s is None:
        connection.execute("DELETE FROM hours")
        return
    end = int(oldest_s // HOUR_S) + 1
    connection.execute("DELETE FROM hours WHERE hour < ?", (end,))
    for kind in COUNTED:
        # An attempt is over after ten minutes: what began in that hour ended within the next.
        connection.execute(
            f"INSERT INTO hours SELECT '{kind}', CAST(first_s / {HOUR_S} AS INTEGER), {kind},"  # noqa: S608
            " verdict, count(*), sum(count + more), max(last_s), max(number) FROM records"
            " WHERE last_s < ? AND first_s < ? GROUP BY 2, 3, 4",
            ((end + 1) * HOUR_S, end * HOUR_S),
        )


def fill(connection: sqlite3.Connection) -> bool:
    """Add a few rows of an earlier version's counts, the newest first; False when all are in.

    In a transaction of the caller's.
    """
    hour = unfilled(connection)
    if hour is None:
        return False
    if hour < 0:
        connection.execute("DROP TABLE hours")
        return False
    for kind in COUNTED:
        at = (kind, hour)
        keys = connection.execute(
            "SELECT min(key), max(key) FROM (SELECT key FROM hours WHERE kind = ? AND hour = ?"  # noqa: S608
            f" ORDER BY key LIMIT {FILLED})",
            at,
        ).fetchone()
        if keys[0] is None:
            continue
        for span in COUNTED[kind]:
            start = hour - hour % span
            connection.execute(
                "INSERT INTO tallies SELECT kind, ?, ?, key, verdict, records, messages,"  # noqa: S608
                " last_s, example FROM hours WHERE kind = ? AND hour = ? AND key BETWEEN ? AND ?"
                f"{_SUM}",
                (span, start, *at, *keys),
            )
            connection.execute(
                "DELETE FROM tallies WHERE kind = ? AND span = ? AND start = ?"
                " AND key BETWEEN ? AND ? AND records = 0",
                (kind, span, start, *keys),
            )
        connection.execute(
            "DELETE FROM hours WHERE kind = ? AND hour = ? AND key BETWEEN ? AND ?", (*at, *keys)
        )
        break
    return True


def unfilled(connection: sqlite3.Connection) -> int | None:
    """Return the newest hour whose counts are not all in ``tallies``; -1 for none that has any.

    None where nothing is left of an earlier version.
    """
    there = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'hours'"
    if connection.execute(there).fetchone() is None:
        return None
    newest = " UNION ALL ".join(
        f"SELECT max(hour) AS hour FROM hours WHERE kind = '{kind}'"  # noqa: S608
        for kind in COUNTED
    )
    hour = connection.execute(f"SELECT max(hour) FROM ({newest})").fetchone()[0]  # noqa: S608
    return -1 if hour is None else int(hour)


def _add(kinds: Sequence[tuple[str, int]], row: str, records: str, messages: str) -> str:
    """Return the statement that adds to all kinds and spans: one is quicker than many."""
    rows = ", ".join(
        f"('{kind}', {span}, {_start(span, row)}, {_key(kind, row)}, {row}.verdict, {records},"
        f" {messages}, {row}.last_s, {row}.number)"
        for kind, span in kinds
    )
    return f"INSERT INTO tallies VALUES {rows}{_SUM}"  # noqa: S608


def _take(kinds: Sequence[tuple[str, int]]) -> str:
    """Return the statements that take a record away, and the rows that nothing is left in."""
    emptied = "; ".join(
        f"DELETE FROM tallies WHERE kind = '{kind}' AND span = {span}"  # noqa: S608
        f" AND start = {_start(span, 'old')} AND key = {_key(kind, 'old')}"
        " AND verdict = old.verdict AND records = 0"
        for kind, span in kinds
    )
    return f"{_add(kinds, 'old', '-1', '-(old.count + old.more)')}; {emptied}"


def _key(kind: str, row: str) -> str:
    return "''" if kind == ALL else f"{row}.{kind}"


def _start(span: int, row: str) -> str:
    hour = f"CAST({row}.first_s / {HOUR_S} AS INTEGER)"
    return hour if span == 1 else f"{hour} - {hour} % {span}"

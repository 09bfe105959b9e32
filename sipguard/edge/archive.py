"""Read the record store beside the running service, also as another user."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from sipguard.edge.asking import COUNTED, Asked, Value, ask
from sipguard.edge.schema import CROWDED, HOUR_S, SCHEMA_VERSION, check_not_newer, version_of
from sipguard.edge.store import FILE_NAME
from sipguard.errors import EdgeError
from sipguard.journal.ledger import id_of, number_of
from sipguard.journal.query import Bar, Count, Counts, GroupBy, Query, bars_of
from sipguard.journal.record import Json, show_address
from sipguard.verdict import Action

MAX_HOURS: Final = 80_000  # rows of ``hours`` that are added up at once: 0.2 s
_BUSY_S: Final = 5.0
_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_PAGES: Final = 4096  # copied between two words about how far it is
# A store of version 1 as the queries want it: names of a temporary view come first.
_AS_2: Final = """
CREATE TEMP VIEW records AS SELECT *, '' AS callee,
    ifnull(json_extract(json, '$.method'), '') AS method, '' AS found FROM main.records
"""
Progress = Callable[[int, int, int], None]  # SQLite's: a status, pages left, pages
_OLD: Final = (
    "the record store is of an earlier version: it can be read, but not counted by the hour, nor "
    "searched by callee or finding, until the service has started once, which brings it up to date"
)
_ENTRY: Final = "r.json, r.message, r.revision"


class Entry(NamedTuple):
    """One stored record: its JSON object, its masked message, and when it last changed."""

    line: dict[str, Json]
    message: bytes
    revision: int


class Found(NamedTuple):
    """Records, oldest first. ``searched_to_s``: older ones were too many to look at, if set."""

    entries: list[Entry]
    searched_to_s: float | None = None


class Archive:
    """The store's reading side. Every call opens, asks and closes: the writer is never held up."""

    def __init__(self, directory: Path) -> None:
        """Name the state directory; nothing is opened yet."""
        self.path = directory / FILE_NAME
        self.is_old = False  # known once it was read

    @property
    def advice(self) -> str:
        """What to do about a store of an earlier version; empty if there is nothing to do."""
        return _OLD if self.is_old else ""

    def find(self, query: Query) -> list[Entry]:
        """Return the newest records that fit, oldest of them first.

        Raises:
            EdgeError: No store there, or it cannot be read.
        """
        return self.search(query).entries

    def search(self, query: Query) -> Found:
        """Like ``find``, and say how far back it looked where that is not all the way."""
        with self._open() as connection:
            asked = self._ask(query)
            select = (
                f"SELECT {_ENTRY} FROM (SELECT c.number {asked.fitting} LIMIT ?) AS n"  # noqa: S608
                " CROSS JOIN records AS r ON r.number = n.number ORDER BY r.last_s, r.number"
            )
            rows = connection.execute(select, (*asked.values, query.limit)).fetchall()
            reached_s = None
            if asked.rest and len(rows) < query.limit:
                reached_s = _number(connection, asked.limit_reached, asked.lead_values)
            return Found([_entry(*row) for row in rows], reached_s)

    def count(self, query: Query, by: GroupBy) -> list[Count]:
        """Return the largest groups of the records that fit, the most messages first."""
        return self.tally(query, by).groups

    def tally(self, query: Query, by: GroupBy) -> Counts:
        """Like ``count``, and say what is not in it where the records are too many to count.

        Times and verdicts alone are counted by the hour then; with any other
        filter, the newest records are counted.
        """
        column = "src_octets" if by is GroupBy.SRC else by.value
        with self._open() as connection:
            asked = self._ask(query, covered=True)
            asked = asked._replace(most=min(asked.most, COUNTED))
            select = (
                f"SELECT {column}, count(*), sum(count + more), max(last_s), max(number)"
                f" {asked.fitting} GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT ?"
            )
            reached_s = _number(connection, asked.limit_reached, asked.lead_values)
            if reached_s is not None and query.only_times and not self.is_old:
                return _by_hours(connection, query, by)
            rows = connection.execute(select, (*asked.values, query.limit)).fetchall()
        return Counts([_count(*row) for row in rows], reached_s)

    def over_time(self, query: Query, span_s: int) -> list[Bar]:
        """Return calls and messages by verdict and span of time; only the query's times count.

        What is counted by the hour stays when the records themselves had to go for room.
        """
        where, values = _hours_of(query)
        select = (
            "SELECT hour, verdict, sum(records), sum(messages) FROM hours"  # noqa: S608
            f" WHERE kind = 'reason'{where} GROUP BY 1, 2"
        )
        with self._open() as connection:
            if self.is_old:
                raise EdgeError(_OLD)
            return bars_of(connection.execute(select, values).fetchall(), span_s)

    def changed(self, after: int, query: Query) -> list[Entry]:
        """Return records written or grown since the given revision, in that order."""
        with self._open() as connection:
            asked = self._ask(query)
            conditions = " AND ".join(
                text for text in (asked.lead, asked.rest, "revision > ?") if text
            )
            select = (
                f"SELECT {_ENTRY} FROM records AS r WHERE {conditions} ORDER BY revision LIMIT ?"  # noqa: S608
            )
            rows = connection.execute(select, (*asked.values, after, query.limit)).fetchall()
            return [_entry(*row) for row in rows]

    def revision(self) -> int:
        """Return the revision of the last write."""
        with self._open() as connection:
            row = connection.execute("SELECT ifnull(max(revision), 0) FROM records").fetchone()
        return int(row[0])

    def one(self, identifier: str) -> Entry | None:
        """Return the record with this id as a person typed it; ``last`` is the newest."""
        number = number_of(identifier)
        select = f"SELECT {_ENTRY} FROM records AS r WHERE number = ?"  # noqa: S608
        values: tuple[int, ...] = (number or 0,)
        if identifier.strip().lower() == "last":
            select = f"SELECT {_ENTRY} FROM records AS r ORDER BY last_s DESC LIMIT 1"  # noqa: S608
            values = ()
        elif number is None:
            return None
        with self._open() as connection:
            row = connection.execute(select, values).fetchone()
            return _entry(*row) if row else None

    def copy_to(self, connection: sqlite3.Connection, progress: Progress) -> None:
        """Copy the store as it is at this moment into another database, also while it is written.

        One reading transaction holds the moment: without it, each write of the
        service would have SQLite begin the copy anew.
        """
        with self._open() as source:
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            source.backup(connection, pages=_PAGES, progress=progress, sleep=0)

    def _ask(self, query: Query, *, covered: bool = False) -> Asked:
        """Return the query for the store as it was found to be."""
        asked = ask(query, covered=covered)
        if not self.is_old:
            return asked
        if query.callee or query.finding:
            raise EdgeError(_OLD)
        return asked._replace(led_by="")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connect()
        except (sqlite3.Error, OSError, EdgeError) as error:
            raise EdgeError(self._in_words(error)) from None
        try:
            yield connection
        except sqlite3.Error as error:
            raise EdgeError(self._in_words(error)) from None
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        with self.path.open("rb"):  # a clear error for what is missing or forbidden
            pass
        try:
            return self._connect_as("mode=ro")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in _LOCKED:
                raise  # somebody does write
            # No -shm to map and no right to make one: nobody writes, so nothing changes.
            # A -wal with records in it would be passed over in silence, so not with one.
            log = self.path.with_name(self.path.name + "-wal")
            if log.exists() and log.stat().st_size:
                raise
            return self._connect_as("mode=ro&immutable=1")

    def _connect_as(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}?{mode}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
        )
        try:
            version = version_of(connection)
            check_not_newer(version)
            self.is_old = version == 1
            if self.is_old:
                connection.execute("PRAGMA temp_store = MEMORY")
                connection.execute(_AS_2)
            elif version != SCHEMA_VERSION:
                raise EdgeError("it holds no records yet: is the service running?")
        except BaseException:
            connection.close()
            raise
        return connection

    def _in_words(self, error: Exception) -> str:
        match error:
            case FileNotFoundError() | NotADirectoryError():
                return (
                    f"no record store at {self.path.parent}: "
                    "is the service running, and with this --state-dir?"
                )
            case PermissionError():
                return f"no permission to read {self.path}: run as root or in the service's group"
            case _:
                return f"cannot read the record store {self.path}: {error}"


def _entry(text: str, message: bytes, revision: int) -> Entry:
    try:
        line: Json = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        raise sqlite3.DatabaseError("one of its records is no JSON object")
    return Entry(line, message, revision)


def _count(key: str | bytes, records: int, messages: int, last_s: float, number: int) -> Count:
    shown = show_address(key) if isinstance(key, bytes) else str(key)
    return Count(shown, int(records), int(messages), float(last_s), id_of(int(number)))


def _by_hours(connection: sqlite3.Connection, query: Query, by: GroupBy) -> Counts:
    """Add up what the store counted hour by hour, of hours that still have records."""
    where, values = _hours_of(query)
    oldest_s = _number(connection, "SELECT min(last_s) FROM records", ())
    lead = "FROM hours WHERE kind = ? AND hour >= ?"
    all_values = (by.value, (oldest_s or 0.0) // HOUR_S, *values)
    select = (
        "SELECT key, sum(records), sum(messages), max(last_s), max(example)"  # noqa: S608
        f" FROM (SELECT * {lead}{where} ORDER BY hour DESC LIMIT {MAX_HOURS})"
        " GROUP BY 1 HAVING sum(records) > 0 ORDER BY 3 DESC, 1 LIMIT ?"
    )
    rows = connection.execute(select, (*all_values, query.limit)).fetchall()
    reached = None
    if by.value in CROWDED:
        limit = f"SELECT hour {lead}{where} ORDER BY hour DESC LIMIT 1 OFFSET {MAX_HOURS}"
        reached = _number(connection, limit, all_values)
    since_s = None if reached is None else (reached + 1) * HOUR_S
    return Counts([_count(*row) for row in rows], since_s, by_hours=True)


def _hours_of(query: Query) -> tuple[str, tuple[Value, ...]]:
    """Return conditions on ``hours`` for a query's times and verdict."""
    wanted: list[tuple[str, Value]] = []
    if query.since_s is not None:
        wanted.append(("hour >= ?", query.since_s // HOUR_S))
    if query.until_s is not None:
        wanted.append(("hour < ?", ceil(query.until_s / HOUR_S)))
    if query.verdict is not None:
        wanted.append(("verdict = ?", query.verdict.value))
    if query.refused_only:
        wanted.append(("verdict <> ?", Action.ACCEPT.value))
    text = "".join(f" AND {condition}" for condition, _ in wanted)
    return text, tuple(value for _, value in wanted)


def _number(connection: sqlite3.Connection, select: str, values: tuple[Value, ...]) -> float | None:
    """Return the one number that is asked for, if there is one."""
    row = connection.execute(select, values).fetchone()
    return float(row[0]) if row is not None and row[0] is not None else None

"""Read the record store beside the running service, also as another user."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from sipguard.edge import counting
from sipguard.edge.asking import COUNTED, PARTS, Asked, ask
from sipguard.edge.counting import Summary, number_in
from sipguard.edge.schema import SCHEMA_VERSION, check_not_newer, version_of
from sipguard.edge.store import FILE_NAME
from sipguard.errors import EdgeError
from sipguard.journal.ledger import number_of
from sipguard.journal.query import Bar, Count, Counts, GroupBy, Query
from sipguard.journal.record import Json

LOOK_S: Final = 0.15  # a look that takes longer ends where it is, and says where
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
_OLD_2: Final = (
    "the record store is of an earlier version: until the service has started once, which brings "
    "it up to date, only the newest records are counted, and what was judged is not told"
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
        self.version = SCHEMA_VERSION  # known once it was read

    @property
    def advice(self) -> str:
        """What to do about a store of an earlier version; empty if there is nothing to do."""
        return {1: _OLD, 2: _OLD_2}.get(self.version, "")

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
            if not asked.rest:
                return Found(_entries(connection, asked, query.limit))
            newest: list[Entry] = []
            reached_s = None
            for part, reached_s in _parts(connection, asked):  # noqa: B007 - the last one counts
                newest[:0] = _entries(connection, part, query.limit - len(newest))
                if len(newest) >= query.limit:
                    return Found(newest)
            return Found(newest, reached_s)

    def count(self, query: Query, by: GroupBy) -> list[Count]:
        """Return the largest groups of the records that fit, the most messages first."""
        return self.tally(query, by).groups

    def tally(self, query: Query, by: GroupBy) -> Counts:
        """Like ``count``, and say what is not in it where the records are too many to count.

        Times and verdicts alone are counted by the hour then; with any other
        filter, the newest records are counted.
        """
        with self._open() as connection:
            is_summed = query.only_times and self.version == SCHEMA_VERSION
            if is_summed and counting.are_many(connection, query):
                return counting.by_hours(connection, query, by)
            asked = self._ask(query, covered=True)
            asked = asked._replace(most=min(asked.most, COUNTED))
            counted, reached_s = counting.Groups(by), None
            for part, reached_s in _parts(connection, asked):  # noqa: B007 - the last one counts
                counted.add(connection, part)
            return Counts(counted.largest(query.limit), reached_s)

    def summary(self, query: Query, span_s: int) -> Summary:
        """Return what there is to say of a time, by whole hours: charts, and groups of each kind.

        Of the query, times and verdicts count for the groups, and times alone for charts. Charts
        keep what had to go for room.
        """
        with self._open() as connection:
            if self.version == 1:
                raise EdgeError(_OLD)
            connection.execute("BEGIN")  # all of one moment
            if self.version == SCHEMA_VERSION:
                return counting.summary(connection, query, span_s)
        both = replace(query, refused_only=False, verdict=None)
        groups = {by: self.tally(query, by) for by in GroupBy}
        return Summary(self.over_time(both, span_s), [], groups)

    def over_time(self, query: Query, span_s: int) -> list[Bar]:
        """Return calls and messages by verdict and span of time, of the query's times and verdicts.

        What is counted by the hour stays when the records themselves had to go for room.
        """
        with self._open() as connection:
            if self.version == 1:
                raise EdgeError(_OLD)
            make = counting.bars if self.version == SCHEMA_VERSION else counting.bars_of_2
            return make(connection, query, span_s)

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
        if self.version != 1:
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
            if version == 0:
                raise EdgeError("it holds no records yet: is the service running?")
            self.version = version
            if version == 1:
                connection.execute("PRAGMA temp_store = MEMORY")
                connection.execute(_AS_2)
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


def _entries(connection: sqlite3.Connection, asked: Asked, limit: int) -> list[Entry]:
    select = (
        f"SELECT {_ENTRY} FROM (SELECT c.number {asked.fitting} LIMIT ?) AS n"  # noqa: S608
        " CROSS JOIN records AS r ON r.number = n.number ORDER BY r.last_s, r.number"
    )
    return [_entry(*row) for row in connection.execute(select, (*asked.values, limit))]


def _parts(connection: sqlite3.Connection, asked: Asked) -> Iterator[tuple[Asked, float | None]]:
    """Yield what is asked in parts, the newest first, and each one's begin if older ones follow.

    They end where there is no more, where it is as much as may be looked at, or in time: how long
    it takes depends on whether the disk was read already, and on who else uses it.
    """
    size = -(-asked.most // PARTS)
    end_s = time.monotonic() + LOOK_S
    until_s: float | None = None
    looked_at = 0
    while True:
        left = asked.between(None, until_s)
        since_s = number_in(connection, left.nth(size), left.lead_values)
        if since_s is None:
            yield left, None
            return
        yield asked.between(since_s, until_s), since_s
        looked_at += size
        until_s = since_s
        if looked_at >= asked.most or time.monotonic() > end_s:
            left = asked.between(None, until_s)
            if number_in(connection, left.nth(1), left.lead_values) is not None:
                return

"""Read the record store beside the running service, also as another user."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from sipguard.edge.store import FILE_NAME, SCHEMA_VERSION
from sipguard.errors import EdgeError
from sipguard.journal.ledger import id_of, number_of
from sipguard.journal.query import GroupBy, Query
from sipguard.journal.record import Json
from sipguard.verdict import Action

_BUSY_S: Final = 5.0
Value = str | bytes | float


class Entry(NamedTuple):
    """One stored record: its JSON object, its masked message, and when it last changed."""

    line: dict[str, Json]
    message: bytes
    revision: int


class Count(NamedTuple):
    """How many records and messages share a key, when the last one was, and one id of them."""

    key: str
    records: int
    messages: int
    last_s: float
    example: str


class Archive:
    """The store's reading side. Every call opens, asks and closes: the writer is never held up."""

    def __init__(self, directory: Path) -> None:
        """Name the state directory; nothing is opened yet."""
        self.path = directory / FILE_NAME

    def find(self, query: Query) -> list[Entry]:
        """Return the newest records that fit, oldest of them first.

        Raises:
            EdgeError: No store there, or it cannot be read.
        """
        where, values = _conditions(query)
        select = f"SELECT json, message, revision FROM records{where} ORDER BY last_s DESC LIMIT ?"  # noqa: S608
        with self._open() as connection:
            rows = connection.execute(select, (*values, query.limit)).fetchall()
        return [_entry(*row) for row in reversed(rows)]

    def count(self, query: Query, by: GroupBy) -> list[Count]:
        """Return the largest groups of the records that fit, the most messages first."""
        where, values = _conditions(query)
        select = (
            f"SELECT {by.value}, count(*), sum(count + more), max(last_s), max(number)"  # noqa: S608
            f" FROM records{where} GROUP BY {by.value} ORDER BY 3 DESC, 1 LIMIT ?"
        )
        with self._open() as connection:
            rows = connection.execute(select, (*values, query.limit)).fetchall()
        return [
            Count(str(key), int(records), int(messages), float(last_s), id_of(int(number)))
            for key, records, messages, last_s, number in rows
        ]

    def changed(self, after: int, query: Query) -> list[Entry]:
        """Return records written or grown since the given revision, in that order."""
        where, values = _conditions(query)
        where = f"{where} AND revision > ?" if where else " WHERE revision > ?"
        select = f"SELECT json, message, revision FROM records{where} ORDER BY revision LIMIT ?"  # noqa: S608
        with self._open() as connection:
            rows = connection.execute(select, (*values, after, query.limit)).fetchall()
        return [_entry(*row) for row in rows]

    def revision(self) -> int:
        """Return the revision of the last write."""
        with self._open() as connection:
            row = connection.execute("SELECT ifnull(max(revision), 0) FROM records").fetchone()
        return int(row[0])

    def one(self, identifier: str) -> Entry | None:
        """Return the record with this id as a person typed it; ``last`` is the newest."""
        number = number_of(identifier)
        select = "SELECT json, message, revision FROM records WHERE number = ?"
        values: tuple[int, ...] = (number or 0,)
        if identifier.strip().lower() == "last":
            select = "SELECT json, message, revision FROM records ORDER BY last_s DESC LIMIT 1"
            values = ()
        elif number is None:
            return None
        with self._open() as connection:
            row = connection.execute(select, values).fetchone()
        return _entry(*row) if row else None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connect()
        except (sqlite3.Error, OSError) as error:
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
        except sqlite3.OperationalError:
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
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        except BaseException:
            connection.close()
            raise
        if version != SCHEMA_VERSION:
            connection.close()
            raise OSError(f"its format is version {version}; this sipguard reads {SCHEMA_VERSION}")
        return connection

    def _in_words(self, error: sqlite3.Error | OSError) -> str:
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
    line: dict[str, Json] = json.loads(text)
    return Entry(line, message, revision)


def _conditions(query: Query) -> tuple[str, tuple[Value, ...]]:
    """Return the WHERE clause and its values; nothing a person typed is in the clause."""
    wanted: list[tuple[str, tuple[Value, ...]]] = []
    if query.since_s is not None:
        wanted.append(("last_s >= ?", (query.since_s,)))
    if query.until_s is not None:
        wanted.append(("last_s < ?", (query.until_s,)))
    if query.src is not None:
        first, last = query.src.first, query.src.last
        wanted.append(
            ("src_octets BETWEEN ? AND ? AND length(src_octets) = ?", (first, last, len(first)))
        )
    if query.caller:
        wanted.append(("instr(caller, ?) > 0", (query.caller.lower(),)))
    if query.call_id:
        wanted.append(("instr(call_id, ?) > 0", (query.call_id.lower(),)))
    if query.rule:
        wanted.append(("rule = ?", (query.rule,)))
    if query.reason is not None:
        wanted.append(("reason = ?", (query.reason.value,)))
    if query.verdict is not None:
        wanted.append(("verdict = ?", (query.verdict.value,)))
    if query.refused_only:
        wanted.append(("verdict <> ?", (Action.ACCEPT.value,)))
    where = " AND ".join(condition for condition, _ in wanted)
    values = tuple(value for _, some in wanted for value in some)
    return (f" WHERE {where}" if where else ""), values

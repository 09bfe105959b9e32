"""The record store's tables, and how a store of an earlier version becomes one of this.

``records`` has one row for each record; ``tallies`` and ``judged`` are counts (``edge.tallies``).
A store of version 2 is one of this at once, and its counts are taken over bit by bit while the
service runs; one of version 1 has each of its records read and written first.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Final

from sipguard.edge.tallies import COUNTED, HOUR_S, TABLES, count_from_now_on, take_over
from sipguard.errors import EdgeError
from sipguard.journal.index import callee_of_line, words_of_line

SCHEMA_VERSION: Final = 3

_TABLE: Final = """
CREATE TABLE records (
    number   INTEGER PRIMARY KEY,  -- the id as a number; grows with time
    revision INTEGER NOT NULL,     -- grows with every write, also of an older record
    first_s  REAL NOT NULL,
    last_s   REAL NOT NULL,
    verdict  TEXT NOT NULL,
    rule     TEXT NOT NULL,
    reason   TEXT NOT NULL,
    src      TEXT NOT NULL,
    src_octets BLOB NOT NULL,
    caller   TEXT NOT NULL,        -- lower case
    call_id  TEXT NOT NULL,        -- lower case
    count    INTEGER NOT NULL,
    more     INTEGER NOT NULL,
    json     TEXT NOT NULL,
    message  BLOB NOT NULL,        -- masked octets
    callee   TEXT NOT NULL DEFAULT '',  -- lower case
    method   TEXT NOT NULL DEFAULT '',
    found    TEXT NOT NULL DEFAULT ''   -- ids and codes between blanks, lower case
);
CREATE UNIQUE INDEX records_revision ON records (revision);
CREATE INDEX records_last ON records (last_s);
CREATE INDEX records_src ON records (src_octets, last_s)
"""
_SINCE_2: Final = """
CREATE INDEX records_rule ON records (rule, last_s);
CREATE INDEX records_reason ON records (reason, last_s);
CREATE INDEX records_blocked ON records (
    last_s, verdict, rule, reason, src_octets, caller, callee, call_id, method, found, count, more
) WHERE verdict <> 'accept'
"""
_HOURS_2: Final = """
CREATE TABLE hours (
    kind TEXT NOT NULL, hour INTEGER NOT NULL, key TEXT NOT NULL, verdict TEXT NOT NULL,
    records INTEGER NOT NULL, messages INTEGER NOT NULL, last_s REAL NOT NULL,
    example INTEGER NOT NULL, PRIMARY KEY (kind, hour, key, verdict)
) WITHOUT ROWID
"""
_COLUMNS_2: Final = ("callee", "method", "found")
_FILL_2: Final = """
UPDATE records SET callee = callee_of_line(json),
    method = ifnull(json_extract(json, '$.method'), ''), found = words_of_line(json)
"""


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file, or bring those of an older version up to date.

    A migration is one transaction: it is done whole or not at all, and the
    records stay as they were where it fails.

    Raises:
        EdgeError: A newer sipguard wrote the file.
        sqlite3.Error: What the disk says.
    """
    version = version_of(connection)
    check_not_newer(version)
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    if version == SCHEMA_VERSION:
        return
    with transaction(connection):
        # Another process may have been quicker: ask again, now that nobody else can write.
        _bring_up(connection, version_of(connection))
    # A migration may have written every record into the log, and that is as large as the file now.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _bring_up(connection: sqlite3.Connection, version: int) -> None:
    if version == SCHEMA_VERSION:
        return
    if version == 0:
        _run(connection, _TABLE)
        _run(connection, _SINCE_2)
    elif version == 1:
        _from_1_to_2(connection)
    _run(connection, TABLES)
    if version != 0:
        take_over(connection)
    count_from_now_on(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of a file's tables, 0 where there are none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_not_newer(version: int) -> None:
    """Raise ``EdgeError`` for a version that this sipguard does not know."""
    if version > SCHEMA_VERSION:
        raise EdgeError(
            f"a newer sipguard wrote it (format version {version}, and this one knows "
            f"{SCHEMA_VERSION}): use that sipguard, or another --state-dir"
        )


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _from_1_to_2(connection: sqlite3.Connection) -> None:
    for column in _COLUMNS_2:
        connection.execute(f"ALTER TABLE records ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    for function in (callee_of_line, words_of_line):
        name = function.__name__
        connection.create_function(name, 1, _or_nothing(function), deterministic=True)
    connection.execute(_FILL_2)
    _run(connection, _SINCE_2)
    _run(connection, _HOURS_2)
    for kind in COUNTED:
        connection.execute(
            f"INSERT INTO hours SELECT '{kind}', CAST(first_s / {HOUR_S} AS INTEGER), {kind},"  # noqa: S608
            f" verdict, count(*), sum(count + more), max(last_s), max(number)"
            f" FROM records GROUP BY 2, 3, 4"
        )


def _or_nothing(function: Callable[[str], str]) -> Callable[[str], str]:
    """Give a record whose JSON somebody edited an empty value, rather than no migration."""

    def guarded(line: str) -> str:
        try:
            return function(line)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return ""

    return guarded


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement.strip())

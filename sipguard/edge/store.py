"""The record store: one SQLite file in WAL mode, written by the service, read by anyone allowed.

Judging calls never waits for it and never fails by it: what cannot be written
now is kept for the next time, up to a bound, and what is lost is counted and
said. Old records go by age and by size. JSON lines beside it when asked.
"""

import contextlib
import os
import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sipguard.edge import tallies
from sipguard.edge.json_lines import JsonLines
from sipguard.edge.judged import Judged
from sipguard.edge.schema import prepare, transaction
from sipguard.errors import EdgeError
from sipguard.journal.index import party_of, words_found
from sipguard.journal.ledger import id_of, number_of
from sipguard.journal.record import Record, show_address

FILE_NAME: Final = "records.sqlite3"
MAX_WAITING: Final = 5_000  # records kept while the disk is full or the file is locked
MAX_AGE_S: Final = 90 * 86_400.0
MAX_OCTETS: Final = 1 << 30
_ROTATE_EVERY_S: Final = 60.0
_ROTATE_EVERY: Final = 2_000  # records, so that a flood cannot outgrow the size in a minute
_BATCH: Final = 250  # rows deleted in one transaction: some milliseconds
_MAX_BATCHES: Final = 20
_CATCH_UP_S: Final = 0.02  # of each write, while an earlier version's counts are taken over
_MAX_JUDGED: Final = 1_000  # counts that wait for the disk: two weeks of hours
_COUNTED_ROWS: Final = 100_000
_FILL: Final = 0.95  # what is left after a rotation by size
_BUSY_S: Final = 0.2  # the reactor waits for this; readers never lock a WAL for longer
_WAL_OCTETS: Final = 16 << 20
_PAGE_OCTETS: Final = 4096  # SQLite's own choice
_CACHE_KIB: Final = 16 << 10  # a transaction of a thousand records, which touch as many indices
_FILE_MODE: Final = 0o640  # calls are private: the service's user and group
_DIRECTORY_MODE: Final = 0o750
_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_COLUMNS: Final = (
    *("number", "revision", "first_s", "last_s", "verdict", "rule", "reason", "src", "src_octets"),
    *("caller", "call_id", "count", "more", "json", "message", "callee", "method", "found"),
)
_GROWN: Final = ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS if name not in ("number", "message")
)
_UPSERT: Final = f"""
INSERT INTO records ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT (number) DO UPDATE SET {_GROWN},
    message = CASE WHEN length(excluded.message) > 0 THEN excluded.message ELSE message END
"""  # noqa: S608 - our own text
_OLDEST: Final = "SELECT number FROM records ORDER BY last_s LIMIT ?"
_AGED: Final = "SELECT number FROM records WHERE last_s < ? ORDER BY last_s LIMIT ?"


class Store:
    """The one writer. No method but ``open`` raises for what the disk does.

    One thread at a time may use it; which one is up to the service.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lines: JsonLines | None = None,
        max_age_s: float = MAX_AGE_S,
        max_octets: int = MAX_OCTETS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Name the place; nothing is opened or made until ``open`` or the first ``write``."""
        self.path = directory / FILE_NAME
        self.lost = 0
        self.written = 0
        self.last_id = ""
        self.last_error = ""
        self._lines = lines
        self._max_age_s = max_age_s
        self._max_octets = max_octets
        self._max_waiting = max_waiting
        self._waiting: deque[Record] = deque()
        self._judged: dict[tuple[int, str], int] = {}
        self._is_behind = False  # an earlier version's counts are still being taken over
        self._connection: sqlite3.Connection | None = None
        self._revision = 0
        self._rotated_s = float("-inf")
        self._since_rotation = 0

    def open(self) -> str:
        """Make or open the file and return the last id in it (for ``Ledger(after=...)``).

        Raises:
            EdgeError: It cannot be used; the text says why and what to do.
        """
        try:
            self.last_id = self._last_id(self._connect())
        except (sqlite3.Error, OSError, EdgeError) as error:
            self._disconnect()
            raise EdgeError(
                f"cannot use the record store {self.path}: {_in_words(error)}"
            ) from None
        return self.last_id

    @property
    def waiting(self) -> int:
        """How many records wait for a disk that has room again."""
        return len(self._waiting)

    @property
    def has_work(self) -> bool:
        """Whether ``write`` is worth a call although there are no new records."""
        is_torn = self._lines is not None and self._lines.is_torn
        return bool(self._waiting or self._judged or self._is_behind or is_torn)

    @property
    def all_lost(self) -> int:
        """Records that reached no file, here or in the JSON lines."""
        return self.lost + (self._lines.lost if self._lines else 0)

    def judged(self, judged: Judged | None) -> None:
        """Add how many messages were judged; the next ``write`` has it."""
        if judged is None:
            return
        for verdict, messages in judged.messages.items():
            key = (judged.hour, verdict)
            if key in self._judged or len(self._judged) < _MAX_JUDGED:
                self._judged[key] = self._judged.get(key, 0) + messages

    def write(self, records: Sequence[Record], now_s: float) -> None:
        """Store *records*, and those that had to wait; never raises.

        Args:
            records: New ones and grown ones, as the ledger hands them out.
            now_s: POSIX time, for the rotation by age.
        """
        if self._lines is not None:
            self._lines.write([record.to_line() for record in records])
        self._waiting.extend(records)
        while len(self._waiting) > self._max_waiting:
            self._waiting.popleft()
            self.lost += 1
        try:
            self._write_waiting()
            self._catch_up()
            self._rotate(now_s)
        except (sqlite3.Error, OSError, EdgeError) as error:
            self._recover(error, now_s)
        except (ValueError, OverflowError) as error:
            # A value that SQLite cannot hold is our own fault; do not let it block the others.
            self.lost += len(self._waiting)
            self._waiting.clear()
            self.last_error = _in_words(error)

    def reopen(self) -> None:
        """Open the JSON lines anew, after logrotate moved them away."""
        if self._lines is not None:
            self._lines.reopen()

    def close(self) -> None:
        """Let go of the files; a later ``write`` opens them again."""
        self._disconnect()
        if self._lines is not None:
            self._lines.close()

    def _write_waiting(self) -> None:
        if not self._waiting and not self._judged:
            return
        connection = self._connect()
        revision = self._revision
        rows = [_row(record, revision + n) for n, record in enumerate(self._waiting, 1)]
        with transaction(connection):
            connection.executemany(_UPSERT, rows)
            tallies.add_judged(connection, self._judged)
        self._judged.clear()
        self._revision += len(rows)
        self.written += len(rows)
        self.last_id = max([self.last_id, *(record.id for record in self._waiting)])
        self._since_rotation += len(rows)
        self._waiting.clear()
        self.last_error = ""

    def _catch_up(self) -> None:
        """Take over some more of an earlier version's counts."""
        end_s = time.monotonic() + _CATCH_UP_S
        while self._is_behind and self._connection is not None:
            with transaction(self._connection):
                self._is_behind = tallies.fill(self._connection)
            if time.monotonic() >= end_s:
                break

    def _rotate(self, now_s: float) -> None:
        is_due = not 0 <= now_s - self._rotated_s < _ROTATE_EVERY_S
        if self._connection is None or not (is_due or self._since_rotation >= _ROTATE_EVERY):
            return
        self._rotated_s = now_s
        self._since_rotation = 0
        connection = self._connection
        deleted = 0
        for _ in range(_MAX_BATCHES):
            batch = _delete(connection, _AGED, (now_s - self._max_age_s, _BATCH))
            batch += _delete(connection, _OLDEST, (self._surplus(connection),))
            deleted += batch
            if not batch:
                break
        with transaction(connection):
            tallies.forget(connection, now_s - self._max_age_s)
        if deleted:
            connection.execute(f"PRAGMA incremental_vacuum({_BATCH * 4})").fetchall()

    def _surplus(self, connection: sqlite3.Connection) -> int:
        """Return how many of the oldest records to delete, a batch at most, to be within size."""
        octets = self._octets(connection)
        if octets <= self._max_octets:
            return 0
        # Counted as far as it matters: of so many, a batch is a small part anyway.
        some = f"SELECT count(*) FROM (SELECT 1 FROM records LIMIT {_COUNTED_ROWS})"  # noqa: S608
        rows = int(connection.execute(some).fetchone()[0])
        return min(int(rows * (octets - _FILL * self._max_octets) / octets) + 1, _BATCH)

    def _octets(self, connection: sqlite3.Connection) -> int:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self.path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        # SQLite gives -wal and -shm the mode of the file itself.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._revision = _prepare(connection)
            self._is_behind = tallies.unfilled(connection) is not None
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _last_id(self, connection: sqlite3.Connection) -> str:
        number = connection.execute("SELECT max(number) FROM records").fetchone()[0]
        return id_of(int(number)) if number is not None else ""

    def _recover(self, error: sqlite3.Error | OSError | EdgeError, now_s: float) -> None:
        """Keep what waits for the next time; a file that is broken moves out of the way."""
        self.last_error = _in_words(error)
        self._disconnect()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BROKEN:
            return
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            with contextlib.suppress(OSError):
                file.rename(file.with_name(f"{file.name}.broken-{int(now_s)}"))
        self.last_error += f" (moved to {self.path.name}.broken-{int(now_s)})"

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _prepare(connection: sqlite3.Connection) -> int:
    """Set the file up and return its last revision."""
    prepare(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_OCTETS}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_OCTETS // _PAGE_OCTETS}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    # What a statement with triggers would undo goes to a file otherwise: 50 writes per record.
    connection.execute("PRAGMA temp_store = MEMORY")
    return int(connection.execute("SELECT ifnull(max(revision), 0) FROM records").fetchone()[0])


def _delete(connection: sqlite3.Connection, which: str, values: tuple[float, ...]) -> int:
    """Delete the named records; the last value is how many at most."""
    if not values[-1]:
        return 0
    with transaction(connection):
        return connection.execute(
            f"DELETE FROM records WHERE number IN ({which})",  # noqa: S608 - our own text
            values,
        ).rowcount


def _row(record: Record, revision: int) -> tuple[str | bytes | float, ...]:
    return (
        number_of(record.id) or 0,
        revision,
        record.first_s,
        record.last_s,
        record.verdict.value,
        record.rule,
        record.reason.value,
        show_address(record.src),
        record.src,
        record.caller.lower(),
        record.call_id.lower(),
        record.count,
        record.more,
        record.to_line(),
        record.message,
        party_of(record.to),
        record.method,
        words_found(record.findings, record.identity),
    )


def _in_words(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return (
            f"no permission for {error.filename} (run as the service's user, or choose --state-dir)"
        )
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__

"""Temporary exceptions on disk: one small file in the state directory, and who changed it when.

The command line changes the file as a whole, one hand at a time; the service
looks at it every few seconds. A file that cannot be read leaves the last good
exceptions in force, and they expire as they would have.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from twisted.logger import Logger

from sipguard.edge.control import StatusReport
from sipguard.errors import EdgeError
from sipguard.guard import Guard
from sipguard.journal.record import iso_time
from sipguard.journal.words import show_time
from sipguard.policy.exemptions import (
    MAX_EXEMPTIONS,
    MAX_OCTETS,
    MAX_TEXT,
    Exemption,
    Exemptions,
    check,
    read_exemptions,
    write_exemptions,
)

FILE_NAME: Final = "exceptions.json"
LOCK_NAME: Final = "exceptions.lock"
AUDIT_NAME: Final = "exceptions.audit"
COMMAND_LINE: Final = "the command line"
_AUDIT_OCTETS: Final = 1 << 16
_NAMES: Final = ("source", "caller", "rule")
_AUDITED: Final = ("time", "what", "kind", "number", "by", "from", "reason", *_NAMES)
_DONE: Final = {"add": "made", "remove": "ended"}
_MODE: Final = 0o640
_PATIENCE_S: Final = 5.0
_EVERY_S: Final = 0.05


class ExemptionFile:
    """The file as the command line changes it.

    Args:
        directory: The service's state directory.
        clock: POSIX seconds.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = directory / FILE_NAME
        self._directory = directory
        self._clock = clock

    def read(self) -> tuple[int, tuple[Exemption, ...]]:
        """Return the next number and all exceptions, expired ones too.

        Raises:
            EdgeError: It cannot be read.
        """
        try:
            octets = _octets_of(self.path)
            return read_exemptions(octets) if octets is not None else (1, ())
        except ValueError as error:
            raise EdgeError(f"{self.path}: {error}; move it away to begin anew") from None
        except OSError as error:
            raise EdgeError(f"cannot read {self.path}: {error.strerror}") from None

    def add(self, wanted: Exemption, place: str = COMMAND_LINE) -> Exemption:
        """Put one in force; its number and times are given here, *until_s* counts from 0.

        *place*: where it was asked for, for the audit.

        Raises:
            EdgeError: There is no room, it is none, or the file cannot be changed.
        """
        with self._held():
            following, kept = self._in_force()
            if len(kept) >= MAX_EXEMPTIONS:
                raise EdgeError(f"{MAX_EXEMPTIONS} exceptions are in force: remove some first")
            now_s = self._clock()
            made = Exemption(
                following, wanted.kind, now_s, now_s + wanted.until_s, wanted.source,
                wanted.caller, wanted.rule, wanted.reason, wanted.by,
            )  # fmt: skip
            try:
                check(made)
            except ValueError as error:
                raise EdgeError(str(error)) from None
            # First who did it: an exception that nobody answers for must not be in force.
            self._audit("add", made, made.by, place)
            self._replace(following + 1, (*kept, made))
        return made

    def remove(self, number: int, by: str, place: str = COMMAND_LINE) -> Exemption:
        """Take one back.

        Raises:
            EdgeError: There is none of that number, or the file cannot be changed.
        """
        with self._held():
            following, kept = self._in_force()
            for one in kept:
                if one.number == number:
                    self._audit("remove", one, by, place)
                    self._replace(following, tuple(other for other in kept if other is not one))
                    return one
        raise EdgeError(f"no exception {number} is in force; see `sipguard exceptions`")

    def _in_force(self) -> tuple[int, tuple[Exemption, ...]]:
        following, all_ = self.read()
        now_s = self._clock()
        return following, tuple(one for one in all_ if now_s < one.until_s)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other hands off; the lock is a file of its own, since the other is replaced."""
        try:
            lock = self._open(LOCK_NAME, os.O_RDWR)
        except OSError as error:
            hint = "run as root or as the service's user"
            raise EdgeError(f"cannot change {self.path}: {error.strerror} ({hint})") from None
        try:
            deadline_s = time.monotonic() + _PATIENCE_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline_s:
                        raise EdgeError(f"{self.path} is being changed by somebody else") from None
                    time.sleep(_EVERY_S)
            yield
        except OSError as error:
            raise EdgeError(f"cannot change {self.path}: {error.strerror}") from None
        finally:
            os.close(lock)

    def _replace(self, following: int, exemptions: tuple[Exemption, ...]) -> None:
        part = f"{FILE_NAME}.part"
        with os.fdopen(self._open(part, os.O_WRONLY | os.O_TRUNC), "wb") as stream:
            stream.write(write_exemptions(following, exemptions))
            stream.flush()
            os.fsync(stream.fileno())
        (self._directory / part).replace(self.path)

    def _audit(self, what: str, one: Exemption, by: str, place: str) -> None:
        told = {
            "time": iso_time(self._clock()), "by": by, "what": what, "number": one.number,
            "kind": one.kind, "until": iso_time(one.until_s), "source": one.source,
            "caller": one.caller, "rule": one.rule, "reason": one.reason, "from": place,
        }  # fmt: skip
        with os.fdopen(self._open(AUDIT_NAME, os.O_WRONLY | os.O_APPEND), "ab") as stream:
            stream.write(json.dumps(told).encode() + b"\n")

    def _open(self, name: str, flags: int) -> int:
        """Open one of our files; the service must be able to read what root makes."""
        path = self._directory / name
        file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        owner = self._directory.stat()
        with contextlib.suppress(OSError):
            os.fchown(file, owner.st_uid, owner.st_gid)
        return file


class ExemptionWatch:
    """The file as the service sees it."""

    log = Logger()

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._seen: tuple[int, int, int] | None = None
        self._error = ""

    def look(self, guard: Guard) -> None:
        """Put what the file says in force, if it has changed; never raises for what is in it."""
        seen = self._mark()
        if seen == self._seen:
            return
        self._seen = seen
        before = {one.number: one for one in guard.exemptions.exemptions}
        try:
            octets = _octets_of(self._path)
            _, exemptions = read_exemptions(octets) if octets is not None else (1, ())
        except (OSError, ValueError) as error:
            self._error = f"{getattr(error, 'strerror', None) or error}; the last good ones hold"
            self.log.error("{path}: {error}", path=self._path, error=self._error)
            return
        self._error = ""
        changed = Exemptions(exemptions)
        changed.hits = {one.number: guard.exemptions.hits.get(one.number, 0) for one in exemptions}
        guard.exemptions = changed
        for one in exemptions:
            if before.pop(one.number, None) is None:
                self._tell("in force", one)
        for one in before.values():
            self._tell("taken back or over", one)

    def count(self, report: StatusReport, guard: Guard | None) -> None:
        """Add how many there are and what they did; nothing where there never was one."""
        report.exceptions_error = self._error
        if guard is None:
            return
        passed, muted = guard.excepted
        hits = guard.exemptions.hits
        known = (str(one.number) for one in guard.exemptions.exemptions)
        report.exception_hits = {number: hits.get(int(number), 0) for number in known}
        in_force = guard.exemptions.in_force(report.written_s)
        if in_force or passed or muted:
            report.counters["exceptions"] = in_force
            report.counters["passed_by_exception"] = passed
            report.counters["muted"] = muted

    def _tell(self, what: str, one: Exemption) -> None:
        self.log.info(
            "exception {number} {what}: {kind} {named} until {until}, by {by}: {reason}",
            number=one.number, what=what, kind=one.kind, named=one.named,
            until=iso_time(one.until_s), by=one.by, reason=one.reason,
        )  # fmt: skip

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            told = self._path.stat()
        except OSError:
            return None
        return told.st_mtime_ns, told.st_ino, told.st_size


def _octets_of(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_OCTETS + 1)
    except FileNotFoundError:
        return None


class Change(NamedTuple):
    """One line of the audit."""

    time: str
    what: str
    number: str
    named: str
    by: str
    place: str
    reason: str


def recent_changes(directory: Path, most: int) -> list[Change]:
    """Return the last changes of the audit, oldest first; none from one that cannot be read."""
    try:
        with (directory / AUDIT_NAME).open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - _AUDIT_OCTETS, 0))
            lines = stream.read(_AUDIT_OCTETS).splitlines()
    except OSError:
        return []
    changes = [_change_of(line) for line in lines[-most:]]
    return [change for change in changes if change is not None]


def _change_of(line: bytes) -> Change | None:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None  # the part of one that a full disk left
    if not isinstance(told, dict):
        return None
    texts = {name: str(told.get(name, ""))[:MAX_TEXT] for name in _AUDITED}
    named = " ".join(f"--{name} {texts[name]}" for name in _NAMES if texts[name])
    return Change(
        show_time(texts["time"]),
        f"{_DONE.get(texts['what'], texts['what'])} {texts['kind']}",
        texts["number"],
        named,
        texts["by"],
        texts["from"],
        texts["reason"],
    )

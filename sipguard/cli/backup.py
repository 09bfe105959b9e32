"""``sipguard backup``: a copy of the record store while the service goes on writing."""

import argparse
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from sipguard.cli.output import Screen
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Archive
from sipguard.errors import EdgeError

SUMMARY = "copy the record store while it is written"
DETAILS = """\
Copies the records as they are at this moment into a new SQLite file, checks it, and only
then gives it its name. The service goes on judging and writing. The copy is readable by
its owner alone: it says who called whom.

To use a copy, stop the service, put the file in place as records.sqlite3 in its state
directory, and give it to the service's user; or read it where it is: as records.sqlite3
in a directory of its own, with --state-dir.

examples:
  sipguard backup /var/backups/sipguard-$(date +%F).sqlite3
  sipguard backup copy/records.sqlite3 && sipguard blocked --state-dir copy

exit status:
  0  copied, and the copy is sound
  1  no store there, the file exists already, or it cannot be written
  2  the command line was wrong
"""
_MODE: Final = 0o600


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to make")
    parser.add_argument("--no-check", action="store_true", help="do not read the copy once more")
    add_state_option(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Copy, check, and name."""
    target: Path = options.file
    if target.exists():
        raise EdgeError(f"{target} is there already: choose another name")
    part = target.with_name(target.name + ".part")
    try:
        # Made by our own hands, so that nobody else may read it from the first octet on.
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _MODE))
        _copy(Archive(options.state_dir), part, _Progress(screen), check=not options.no_check)
        part.replace(target)
    except FileExistsError:
        raise EdgeError(f"{part} is there already: another backup? If not, remove it") from None
    except OSError as error:
        _remove(part)
        raise EdgeError(f"cannot write {target}: {error.strerror or error}") from None
    except BaseException:
        _remove(part)
        raise
    screen.line(f"{target}: {target.stat().st_size:,} octets")
    return 0


def _copy(archive: Archive, part: Path, progress: "_Progress", *, check: bool) -> None:
    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            archive.copy_to(copy, progress)
            progress.clear()
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, to be moved about
            faults = copy.execute("PRAGMA quick_check(1)").fetchall() if check else [("ok",)]
    except sqlite3.Error as error:
        raise EdgeError(f"cannot write {part}: {error}") from None
    if faults != [("ok",)]:
        raise EdgeError(f"the copy is not sound, and so the store is not: {faults[0][0]}")


def _remove(part: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        part.with_name(part.name + suffix).unlink(missing_ok=True)


class _Progress:
    """Says on a terminal how far the copy is."""

    def __init__(self, screen: Screen) -> None:
        self._err = screen.err if screen.err.isatty() else None

    def __call__(self, _status: int, left: int, pages: int) -> None:
        """Take what SQLite tells after some thousand pages."""
        if self._err is not None and pages:
            self._err.write(f"\r{(pages - left) * 100 // pages:3d}%")
            self._err.flush()

    def clear(self) -> None:
        """Leave the terminal as it was."""
        if self._err is not None:
            self._err.write("\r\x1b[K")
            self._err.flush()

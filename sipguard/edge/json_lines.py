"""Records as JSON lines in a file, for whatever the site already ships logs with."""

import errno
import os
import select
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_FILE_MODE: Final = 0o640
# A named pipe that nobody reads must hold up neither the opening nor a write.
_FLAGS: Final = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
)
_NO_READER: Final = frozenset({errno.ENXIO, errno.EPIPE})


class JsonLines:
    """Appends lines; what cannot be written is counted and never holds up a call.

    A record that grows is written again under the same ``id``: the last line
    of an id is the one that counts.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened by the first ``write``."""
        self.path = path
        self.lost = 0
        self.last_error = ""
        self._file: int | None = None
        self._is_pipe = False
        self._first = b""  # what ends a line that was torn

    def write(self, lines: Sequence[str], *, waits: bool = False) -> int:
        """Append *lines*, none of which may hold a line end; never raises.

        Args:
            lines: What to append; none, to end a line that a pipe took half of.
            waits: The caller keeps what a pipe takes later, and a line that it took half of
                comes first in the next call; else that is lost.

        Returns:
            How many are done with, written or lost.
        """
        if not lines and not self.is_torn:
            return 0
        whole = lines[1:] if waits and self.is_torn else lines
        octets = self._first + b"".join(line.encode("utf-8", "replace") + b"\n" for line in whole)
        try:
            written = os.write(self._opened(), octets)
        except OSError as error:
            return self._failed(error, len(lines), waits)
        self._first, left = self._torn(octets, written)
        left += waits and self.is_torn
        if not left:
            self.last_error = ""
            return len(lines)
        if self._is_pipe:
            self.last_error = f"{self.path}: whoever reads this pipe is behind"
            return self._left(left, len(lines), waits)
        self.last_error = f"{self.path}: only a part could be written"
        return self._left(left, len(lines), waits=False)

    @property
    def is_torn(self) -> bool:
        """Whether a pipe has taken half a line, and whoever reads it waits for the rest."""
        return self._is_pipe and bool(self._first)

    def has_room(self) -> bool:
        """Whether a ``write`` would not wait for a pipe's reader; costs less than making a line."""
        try:
            file = self._opened()
            return not self._is_pipe or bool(select.select([], [file], [], 0)[1])
        except OSError as error:
            self._failed(error, 0, waits=True)
            return error.errno not in _NO_READER
        except ValueError:  # a descriptor beyond what select knows
            return True

    def reopen(self) -> None:
        """Close, so that the next ``write`` opens the file that has the name by then."""
        self.close()
        self._first = b""

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _opened(self) -> int:
        if self._file is None:
            self._file = os.open(self.path, _FLAGS, _FILE_MODE)
            self._is_pipe = stat.S_ISFIFO(os.fstat(self._file).st_mode)
        return self._file

    def _torn(self, octets: bytes, written: int) -> tuple[bytes, int]:
        """Return what the next write begins with, and how many whole lines are left."""
        rest = octets[written:]
        is_torn = bool(rest) and octets[written - 1 : written] != b"\n"
        if not self._is_pipe:
            return b"\n" if is_torn else b"", rest.count(b"\n")
        # Who reads a pipe has got the first half, and there is no other reader.
        end = rest.index(b"\n") + 1 if is_torn else 0
        return rest[:end], rest[end:].count(b"\n")

    def _failed(self, error: OSError, count: int, waits: bool) -> int:
        if error.errno == errno.EAGAIN:
            self.last_error = f"{self.path}: whoever reads this pipe is behind"
            return self._left(count, count, waits)
        is_unread = error.errno in _NO_READER
        why = "nobody reads this pipe" if is_unread else error.strerror
        self.last_error = f"{self.path}: {why}"
        if is_unread or self._is_pipe:
            self.lost += bool(self._first) and not waits
            self._first = b""  # a next reader must not begin within a line
        self.close()
        return self._left(count, count, waits and is_unread)

    def _left(self, left: int, count: int, waits: bool) -> int:
        if waits:
            return count - left
        self.lost += left
        return count

"""Records as JSON lines in a file, for whatever the site already ships logs with."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_FILE_MODE: Final = 0o640


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
        self._is_torn = False  # the last write stopped within a line

    def write(self, lines: Sequence[str]) -> None:
        """Append *lines*, none of which may hold a line end; never raises."""
        if not lines:
            return
        octets = b"".join(line.encode("utf-8", "replace") + b"\n" for line in lines)
        if self._is_torn:
            octets = b"\n" + octets
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._file = os.open(self.path, flags, _FILE_MODE)
            written = os.write(self._file, octets)
        except OSError as error:
            self.lost += len(lines)
            self.last_error = f"{self.path}: {error.strerror}"
            self.close()
            return
        missing = octets[written:].count(b"\n")
        self._is_torn = written < len(octets) and octets[written - 1 : written] != b"\n"
        self.lost += missing
        self.last_error = f"{self.path}: only a part could be written" if missing else ""

    def reopen(self) -> None:
        """Close, so that the next ``write`` opens the file that has the name by then."""
        self.close()
        self._is_torn = False

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

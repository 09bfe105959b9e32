"""What a terminal gets to see: tables, colors and times.

Every text of a record was escaped when it was made (``journal.escape``); what
is left to do here is width, and to keep right-to-left names from moving the
columns beside them.
"""

import csv
import os
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from io import TextIOWrapper
from typing import Final, TextIO

from sipguard.journal.words import cut as cut
from sipguard.journal.words import many as many
from sipguard.journal.words import show_span as show_span
from sipguard.journal.words import show_time as show_time
from sipguard.journal.words import width as width

_FIRST_STRONG_ISOLATE: Final = "\u2068"
_POP_ISOLATE: Final = "\u2069"
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
_GAP: Final = "  "
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Style(Enum):
    """Colors by meaning; the value is the SGR parameter."""

    HEADING = "1"
    REFUSED = "31"
    ACCEPTED = "32"
    WARNING = "33"
    NAME = "36"
    FAINT = "2"


VERDICT_STYLES: Final = {
    "drop": Style.REFUSED,
    "reject": Style.REFUSED,
    "accept": Style.ACCEPTED,
    "would drop": Style.WARNING,
    "would reject": Style.WARNING,
}


class Screen:
    """Standard output and error, and whether they are a terminal."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        """Take two text streams; characters their encoding lacks are written as escapes."""
        for stream in (out, err):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self.out = out
        self.err = err
        self.is_terminal = out.isatty()
        self.has_colors = self.is_terminal and _wants_colors()

    def line(self, text: str = "") -> None:
        """Write one line to standard output."""
        self.out.write(text + "\n")

    def note(self, text: str) -> None:
        """Write one line to standard error."""
        self.err.write(text + "\n")
        self.err.flush()

    def paint(self, text: str, style: Style | None) -> str:
        """Return *text* in a color, where there are colors."""
        if style is None or not self.has_colors or not text:
            return text
        return f"\x1b[{style.value}m{text}\x1b[0m"

    def isolate(self, text: str) -> str:
        """Keep right-to-left text on a terminal from reordering its neighbors (UAX 9)."""
        if not self.is_terminal or text.isascii():
            return text
        if any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text):
            return f"{_FIRST_STRONG_ISOLATE}{text}{_POP_ISOLATE}"
        return text

    def table(
        self, headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()
    ) -> None:
        """Write rows in columns; on a terminal as wide as it is, elsewhere as wide as they are.

        A cell that is a verdict is colored as one. *numbers*: columns that stand to the right.
        """
        cells = [[*row] for row in rows]
        if self.is_terminal:
            from sipguard.cli.terminal import show_table  # brings rich, which takes time

            show_table(self, headings, cells, numbers)
            return
        widths = [
            max([width(heading), *(width(row[column]) for row in cells)])
            for column, heading in enumerate(headings)
        ]
        for row in (headings, *cells):
            self.line(_GAP.join(map(_pad, row, widths, _sides(numbers, row))).rstrip())

    def csv(self, cells: Sequence[str]) -> None:
        """Write one row for a spreadsheet, in which no cell is a formula (RFC 4180)."""
        csv.writer(self.out, lineterminator="\r\n").writerow(map(no_formula, cells))


def no_formula(cell: str) -> str:
    """Put an apostrophe before what a spreadsheet would compute rather than show.

    A caller who calls himself ``=HYPERLINK(...)`` must not run in the reviewer's office.
    """
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULAS) else cell


def _pad(cell: str, columns: int, to_the_right: bool) -> str:
    blanks = " " * (columns - width(cell))
    return blanks + cell if to_the_right else cell + blanks


def _sides(numbers: Collection[int], row: Sequence[str]) -> list[bool]:
    return [column in numbers for column in range(len(row))]


def standard_screen() -> Screen:
    """Return the screen of this process."""
    return Screen(sys.stdout, sys.stderr)


def _wants_colors() -> bool:
    """NO_COLOR (no-color.org) and a dumb terminal ask for none."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"

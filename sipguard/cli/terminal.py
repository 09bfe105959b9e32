"""Tables on a terminal, by rich: columns as wide as there is room, one line for each row.

What is in a cell was escaped when the record was made. It is cut here by our own
hands and handed over as plain text: rich never reads markup in it, and
right-to-left text is isolated after it was cut, so that no end is lost.
"""

from collections.abc import Collection, Sequence
from io import StringIO
from shutil import get_terminal_size
from typing import Final, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import ControlType, Segment
from rich.table import Table
from rich.text import Text

from sipguard.cli.output import VERDICT_STYLES, Screen, Style, cut, width

_LEAST: Final = 12  # columns that a long cell keeps
_NO_WIDTH: Final = ((ControlType.HOME,),)
_STYLES: Final = {
    Style.HEADING: "bold",
    Style.REFUSED: "red",
    Style.ACCEPTED: "green",
    Style.WARNING: "yellow",
    Style.NAME: "cyan",
    Style.FAINT: "dim",
}


class _Cell:
    """One cell: knows how wide it would like to be, and cuts itself to what it gets."""

    __slots__ = ("_screen", "_style", "_text")

    def __init__(self, screen: Screen, text: str, style: Style | None) -> None:
        self._screen = screen
        self._text = text
        self._style = _STYLES[style] if style is not None else ""

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        text = cut(self._text, options.max_width)
        isolated = self._screen.isolate(text)
        before, after = (isolated[:1], isolated[-1:]) if isolated != text else ("", "")
        # Isolates have no width on a terminal. As control they have none for rich either.
        yield Segment(before, None, _NO_WIDTH)
        yield Text(text, self._style, justify=options.justify, no_wrap=True, end="")
        yield Segment(after, None, _NO_WIDTH)

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        columns = min(width(self._text), options.max_width)
        return Measurement(min(columns, _LEAST), columns)


def show_table(
    screen: Screen, headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int]
) -> None:
    """Write a table that is not wider than the terminal; short columns keep their width."""
    drawn = StringIO()
    console = Console(
        file=drawn,
        width=get_terminal_size().columns,
        color_system="standard" if screen.has_colors else None,
        force_terminal=True,
        no_color=not screen.has_colors,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        soft_wrap=False,
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    for column, heading in enumerate(headings):
        longest = max([width(heading), *(width(row[column]) for row in rows)])
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        is_short = longest <= 2 * _LEAST and column < len(headings) - 1
        table.add_column(_Cell(screen, heading, Style.HEADING), justify=justify, no_wrap=is_short)
    for row in rows:
        table.add_row(*(_Cell(screen, cell, VERDICT_STYLES.get(cell)) for cell in row))
    console.print(table, overflow="ignore", no_wrap=True, crop=False)
    for line in drawn.getvalue().splitlines():
        screen.line(line.rstrip())

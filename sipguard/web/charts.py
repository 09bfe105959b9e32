"""Where the parts of a drawing stand; templates draw them, so that all text in it is escaped."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from sipguard.journal import told
from sipguard.journal.query import Bar
from sipguard.journal.words import cut

WIDTH: Final = 720
HEIGHT: Final = 220
_LEFT: Final = 52
_TOP: Final = 12
_RIGHT: Final = 16
_BOTTOM: Final = 28
_MOST_STAMPS: Final = 7
_DAY_S: Final = 86_400
_MAX_COLUMNS: Final = 400
KINDS: Final = ("drop", "reject", "accept")  # from the ground up


class Part(NamedTuple):
    """One box of a column."""

    kind: str
    y: float
    height: float


class Column(NamedTuple):
    """What began in one span: where its boxes stand, and the same in numbers."""

    x: float
    width: float
    since: str
    parts: tuple[Part, ...]
    calls: dict[str, int]
    messages: int

    @property
    def blocked(self) -> int:
        """Calls that were refused or dropped, or would have been."""
        return sum(count for kind, count in self.calls.items() if kind != "accept")


class Chart(NamedTuple):
    """Columns over time, lines at round numbers, and some moments below."""

    columns: tuple[Column, ...]
    lines: tuple[tuple[float, str], ...]
    stamps: tuple[tuple[float, str], ...]
    most: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    ground: int = HEIGHT - _BOTTOM


def chart_of(bars: Sequence[Bar], since_s: float, until_s: float, span_s: int) -> Chart:
    """Return a chart of all the time from *since_s* to *until_s*, also where nothing was."""
    by_start = {int(bar.since_s): bar for bar in bars}
    first = int(since_s // span_s * span_s)
    starts = list(range(first, max(int(until_s), first + 1), span_s))[-_MAX_COLUMNS:]
    all_bars = [by_start.get(start) or Bar(float(start), {}, {}) for start in starts]
    most = max([sum(bar.records.values()) for bar in all_bars] + [0])
    top, step = _round_top(most)
    room = HEIGHT - _TOP - _BOTTOM
    slot = (WIDTH - _LEFT - _RIGHT) / len(all_bars)
    columns = tuple(
        Column(
            round(_LEFT + n * slot + slot * 0.12, 1),
            round(slot * 0.76, 1),
            _stamp(bar.since_s, span_s),
            _parts(bar, room / top),
            {kind: bar.records.get(kind, 0) for kind in KINDS},
            sum(count for kind, count in bar.messages.items() if kind != "accept"),
        )
        for n, bar in enumerate(all_bars)
    )
    lines = tuple(
        (round(HEIGHT - _BOTTOM - value * room / top, 1), f"{value:,}")
        for value in range(0, top + 1, step)
    )
    every = -(-len(columns) // _MOST_STAMPS)
    stamps = tuple(
        (round(_LEFT + (n + 0.5) * slot, 1), _short(bar.since_s, span_s, until_s - since_s))
        for n, bar in enumerate(all_bars)
        if n % every == every // 2
    )
    return Chart(columns, lines, stamps, most)


def _parts(bar: Bar, scale: float) -> tuple[Part, ...]:
    parts, ground = [], float(HEIGHT - _BOTTOM)
    for kind in KINDS:
        count = bar.records.get(kind, 0)
        if count:
            height = max(count * scale, 1.5)  # what happened once is seen as well
            ground -= height
            parts.append(Part(kind, round(ground, 1), round(height, 1)))
    return tuple(parts)


def _round_top(most: int) -> tuple[int, int]:
    """Return a round number not below *most*, and the step of the lines up to it."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if most <= 4 * factor * step:
                return max(-(-most // (factor * step)), 1) * factor * step, factor * step
        step *= 10


def _stamp(utc_s: float, span_s: int) -> str:
    moment = datetime.fromtimestamp(utc_s, UTC)
    return f"{moment:%Y-%m-%d}" if span_s % _DAY_S == 0 else f"{moment:%Y-%m-%d %H:%M}"


def _short(utc_s: float, span_s: int, all_s: float) -> str:
    moment = datetime.fromtimestamp(utc_s, UTC)
    if span_s % _DAY_S == 0:
        return f"{moment:%d %b}"
    return f"{moment:%H:%M}" if all_s <= 2 * _DAY_S else f"{moment:%d %b %H:%M}"


_APART: Final = 200
_MARGIN: Final = 78
_ROW: Final = 34
_HEAD: Final = 44
_TIME: Final = 96
_LABEL_COLUMNS: Final = 26
_END_COLUMNS: Final = 24
_MOST_ENDS: Final = 5


class End(NamedTuple):
    """One end of a ladder and its line."""

    x: int
    name: str


class Arrow(NamedTuple):
    """One message from end to end; ``refused``: it did not arrive."""

    y: int
    x1: int
    x2: int
    tip: str  # points of the arrow's head, or of nothing
    label_x: int
    label: str
    time: str
    verdict: str
    refused: bool
    to_itself: bool


class Ladder(NamedTuple):
    """A call's messages between its ends."""

    ends: tuple[End, ...]
    arrows: tuple[Arrow, ...]
    width: int
    height: int


def ladder_of(record: told.Told) -> Ladder | None:
    """Return where to draw a record's messages; ``None`` where too many ends took part."""
    rungs = told.parts(record, "ladder")
    names = list(dict.fromkeys(told.text(rung, side) for rung in rungs for side in ("src", "dst")))
    if not rungs or len(names) > _MOST_ENDS:
        return None
    at = {name: _TIME + _MARGIN + n * _APART for n, name in enumerate(names)}
    ends = tuple(End(x, cut(name, _END_COLUMNS) or "?") for name, x in at.items())
    arrows = tuple(_arrow(record, rung, at, _HEAD + 24 + n * _ROW) for n, rung in enumerate(rungs))
    width = _TIME + 2 * _MARGIN + (len(names) - 1) * _APART
    return Ladder(ends, arrows, width, _HEAD + 24 + len(rungs) * _ROW)


def _arrow(record: told.Told, rung: told.Told, at: dict[str, int], y: int) -> Arrow:
    x1, x2 = at[told.text(rung, "src")], at[told.text(rung, "dst")]
    verdict = told.text(rung, "verdict")
    refused = verdict in ("drop", "reject")
    back = -1 if x2 >= x1 else 1
    end = x2 + back * (26 if refused else 0)
    tip = f"{end},{y} {end + back * 9},{y - 5} {end + back * 9},{y + 5}"
    label = cut(told.step(record, rung), _LABEL_COLUMNS)
    time = told.text(rung, "time").partition("T")[2].removesuffix("Z")
    middle = (x1 + x2) // 2
    return Arrow(y, x1, end, tip, middle, label, time, verdict, refused, x1 == x2)

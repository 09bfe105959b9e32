"""A record's ladder as arrows between the ends, with the octets a reason is about marked."""

from collections.abc import Iterator
from typing import Final

from sipguard.cli.output import Screen, cut, width
from sipguard.journal import told
from sipguard.journal.escape import escape
from sipguard.journal.marks import marks_of

_MOST_ENDS: Final = 5
_SHORT: Final = 15  # an IPv4 address; longer ones get a letter
_APART: Final = 26
_TIME_COLUMNS: Final = 14
_AROUND: Final = 48  # octets shown on either side of what is marked
_MOST_MARKS: Final = 4


def draw_ladder(record: told.Told) -> Iterator[str]:
    """Yield the ladder row by row: ends side by side, and each message as an arrow."""
    rungs = told.parts(record, "ladder")
    ends = list(dict.fromkeys(told.text(rung, side) for rung in rungs for side in ("src", "dst")))
    if len(ends) > _MOST_ENDS:
        yield from (_line(record, rung) for rung in rungs)
        return
    if not rungs:
        return
    names = {end: end or "?" for end in ends}
    if any(len(end) > _SHORT for end in ends):
        names = {end: chr(ord("A") + n) for n, end in enumerate(ends)}
        for end, name in names.items():
            yield f"{name} = {end or '?'}"
    at = {end: n * _APART for n, end in enumerate(ends)}
    yield (" " * _TIME_COLUMNS + _over(list(names.values()))).rstrip()
    for rung in rungs:
        yield f"{_time(rung):<{_TIME_COLUMNS}}{_arrow(record, rung, at)}".rstrip()


def _over(names: list[str]) -> str:
    """Return the names, each in the middle over its line."""
    row = ""
    for n, name in enumerate(names):
        start = max(n * _APART + _SHORT // 2 - len(name) // 2, len(row) + bool(row))
        row = row.ljust(start) + name
    return row


def _arrow(record: told.Told, rung: told.Told, at: dict[str, int]) -> str:
    """Return one row: ``|------INVITE----->|``; what was refused ends in an x."""
    source, target = (at[told.text(rung, side)] for side in ("src", "dst"))
    verdict = told.text(rung, "verdict")
    head = {"drop": "x", "reject": "x"}.get(verdict)
    label = cut(told.step(record, rung), _APART - 6)
    middle = _SHORT // 2
    size = max(at.values()) + middle + 1
    row = [" "] * size
    for column in at.values():
        row[column + middle] = "|"
    if source == target:
        return "".join(row) + f"  {label} to itself{_mark(verdict)}"
    left, right = sorted((source, target))
    room = right - left - 1
    text = f" {label} "
    dashes = room - width(text) - 1
    before, after = "-" * (dashes // 2), "-" * (dashes - dashes // 2)
    shaft = f"{before}{text}{after}"
    shaft = f"{shaft}{head or '>'}" if source < target else f"{head or '<'}{shaft}"
    start = left + middle + 1
    return "".join(row[:start]) + shaft + "".join(row[start + room :]) + _mark(verdict)


def _mark(verdict: str) -> str:
    return f"  [{verdict}]" if verdict else ""


def _time(rung: told.Told) -> str:
    return told.text(rung, "time").partition("T")[2].removesuffix("Z")


def _line(record: told.Told, rung: told.Told) -> str:
    """Return one message where there are too many ends to stand side by side."""
    return (
        f"{_time(rung)}  {told.text(rung, 'src'):<15} --- {told.step(record, rung):^16} -->"
        f" {told.text(rung, 'dst')}{_mark(told.text(rung, 'verdict'))}"
    )


def mark_octets(record: told.Told, message: bytes, screen: Screen) -> Iterator[str]:
    """Yield the lines of the message that the reason and the findings are about, and a mark under.

    What was masked, or is not in the part that is kept, is not there to be marked.
    """
    for first, end in marks_of(record, message)[:_MOST_MARKS]:
        yield from _marked(message, first, end, screen)


def _marked(message: bytes, first: int, end: int, screen: Screen) -> Iterator[str]:
    start = max(message.rfind(b"\n", 0, first) + 1, first - _AROUND)
    stop = message.find(b"\n", end)
    stop = min(stop if stop >= 0 else len(message), end + _AROUND)
    number = message.count(b"\n", 0, first) + 1
    before, marked, after = (
        escape(message[start:first]),
        escape(message[first:end]),
        escape(message[end:stop].rstrip(b"\r")),
    )
    line = f"line {number}: "
    yield f"{line}{screen.isolate(before + marked + after)}"
    if screen.is_terminal and not (before + marked).isascii():
        yield f"{' ' * len(line)}{screen.isolate(marked)}  <- this"
        return
    yield f"{' ' * (len(line) + width(before))}{'^' * max(width(marked), 1)}"

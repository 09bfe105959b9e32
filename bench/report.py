"""What was measured, against what was promised."""

import json
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured value, and the limit it must keep, if it has one."""

    what: str
    value: float
    unit: str
    below: float | None = None
    above: float | None = None
    detail: str = ""

    @property
    def limit(self) -> str:
        """The limit in words, empty where none was promised."""
        if self.below is not None:
            return f"below {shown(self.below)}"
        return f"above {shown(self.above)}" if self.above is not None else ""

    @property
    def holds(self) -> bool | None:
        """Whether the limit is kept; ``None`` without one."""
        if self.below is not None:
            return self.value < self.below
        return self.value > self.above if self.above is not None else None


def shown(value: float) -> str:
    """Return three digits that mean something, with thousands set apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """Say between which values a median lies."""
    return f"{shown(min(values))} to {shown(max(values))} in {len(values)} rounds"


def progress(text: str) -> None:
    """Say on standard error what goes on; standard output is for the figures."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def print_table(figures: Sequence[Figure]) -> None:
    """Print one line for each figure."""
    rows = [("what", "figure", "limit", "holds", "")]
    words = {True: "yes", False: "NO", None: ""}
    for figure in figures:
        value = f"{shown(figure.value)} {figure.unit}"
        rows.append((figure.what, value, figure.limit, words[figure.holds], figure.detail))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[4]]).rstrip())


def print_json(figures: Sequence[Figure], left_out: Sequence[str]) -> None:
    """Print one JSON object with the same facts."""
    rows = [
        {**figure._asdict(), "limit": figure.limit, "holds": figure.holds} for figure in figures
    ]
    holds = all(figure.holds is not False for figure in figures)
    print(json.dumps({"figures": rows, "left_out": list(left_out), "holds": holds}, indent=1))

"""``sipguard tail``: the latest records, and new ones as they come."""

import argparse
import json
import time
from dataclasses import replace

from sipguard.cli.blocked import HEADINGS, row_of
from sipguard.cli.filters import FILTER_HELP, add_filters, query_of
from sipguard.cli.output import Screen
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Archive, Entry
from sipguard.errors import EdgeError
from sipguard.journal import told
from sipguard.journal.query import MAX_LIMIT, Query

SUMMARY = "show the latest records, and new ones as they come"
DETAILS = (
    FILTER_HELP
    + """
With -f it goes on until interrupted. A record that grows (the same call again, or
more like it) is shown again with its counts, not more often than once a second.

examples:
  sipguard tail -f
  sipguard tail -f --rule spoofed --json

exit status:
  0  shown, or interrupted while following
  1  no store there, or it cannot be read
  2  a filter or the command line was wrong
"""
)

POLL_S = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    add_filters(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("-n", "--lines", metavar="N", default="10", help="begin with the last N")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_state_option(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Show, and follow."""
    query = query_of(options, time.time(), options.lines)
    archive = Archive(options.state_dir)
    seen = archive.revision()
    shown = archive.find(query)
    if options.json:
        _lines(shown, screen)
    else:
        screen.table(HEADINGS, (row_of(entry.line) for entry in shown))
    screen.out.flush()
    if options.follow:
        _follow(archive, replace(query, limit=MAX_LIMIT), seen, options.json, screen)
    return 0


def _follow(archive: Archive, query: Query, seen: int, as_json: bool, screen: Screen) -> None:
    """Print what changes until interrupted; a store that is away for a moment may come back."""
    trouble = ""
    try:
        while True:
            time.sleep(POLL_S)
            try:
                changed = archive.changed(seen, query)
                if not changed:
                    # A store begun anew counts its revisions from the start.
                    seen = min(seen, archive.revision())
            except EdgeError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    screen.note(f"sipguard: {trouble}; still trying")
                continue
            trouble = ""
            seen = max((entry.revision for entry in changed), default=seen)
            if as_json:
                _lines(changed, screen)
            else:
                for entry in changed:
                    screen.line(_row(entry.line, screen))
            screen.out.flush()
    except KeyboardInterrupt:
        return


def _lines(entries: list[Entry], screen: Screen) -> None:
    for entry in entries:
        screen.line(json.dumps(entry.line, ensure_ascii=False))


def _row(record: told.Told, screen: Screen) -> str:
    """Return one row; the widths of what is still to come are unknown, so they are usual ones."""
    widths = (8, 19, 7, 15, 9, 24, 12, 0)
    cells = row_of(record)
    return "  ".join(
        screen.isolate(cell.ljust(columns)) for cell, columns in zip(cells, widths, strict=True)
    ).rstrip()

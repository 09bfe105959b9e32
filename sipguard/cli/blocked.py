"""``sipguard blocked``: the list of what was blocked, or its counts by group."""

import argparse
import json
import time

from sipguard.cli import told
from sipguard.cli.filters import FILTER_HELP, add_filters, query_of
from sipguard.cli.output import Screen, many, show_time
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Archive
from sipguard.journal.query import DEFAULT_LIMIT, GroupBy, Query
from sipguard.journal.record import iso_time

SUMMARY = "list what was blocked, and by which rule"
DETAILS = (
    FILTER_HELP
    + """
One line is one call attempt, newest last; retransmissions and floods are counted
on it. `sipguard explain ID` tells the whole story of one. `would drop` is the
verdict of a policy in shadow mode: the packet passed. MESSAGE is `media audio` and
the like where packets of a stream were refused; CALLER is its Call-ID then, if no
message of the call was recorded.

examples:
  sipguard blocked --since 1h
  sipguard blocked --since yesterday --group-by rule
  sipguard blocked --src 192.0.2.0/24 --reason replay --json | jq .call_id

exit status:
  0  listed, even if the list is empty
  1  no store there, or it cannot be read
  2  a filter or the command line was wrong
"""
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    add_filters(parser)
    parser.add_argument(
        "--group-by",
        choices=[by.value for by in GroupBy],
        help="count by source, rule, reason or claimed caller",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        default=str(DEFAULT_LIMIT),
        help=f"the newest N, or the N largest groups (default: {DEFAULT_LIMIT})",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_state_option(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """List or count."""
    query = query_of(options, time.time(), options.limit)
    archive = Archive(options.state_dir)
    if options.group_by:
        _count(archive, query, GroupBy(options.group_by), options.json, screen)
    else:
        _list(archive, query, options.json, screen)
    return 0


def _list(archive: Archive, query: Query, as_json: bool, screen: Screen) -> None:
    entries = archive.find(query)
    if as_json:
        for entry in entries:
            screen.line(json.dumps(entry.line, ensure_ascii=False))
        return
    if not entries:
        screen.line("Nothing was blocked that fits.")
        return
    screen.table(HEADINGS, (row_of(entry.line) for entry in entries))
    if len(entries) == query.limit and screen.is_terminal:
        screen.note(f"The newest {query.limit}; --limit shows more.")


HEADINGS = ("ID", "LAST (UTC)", "VERDICT", "SOURCE", "MESSAGE", "CALLER", "RULE", "WHY")


def row_of(record: told.Told) -> tuple[str, ...]:
    """Return a record as one row under ``HEADINGS``."""
    tally = told.tally(record)
    why = told.text(record, "why")
    return (
        told.text(record, "id"),
        show_time(told.text(record, "last_time")),
        told.verdict(record),
        told.text(record, "src"),
        told.subject(record),
        told.caller(record),
        told.text(record, "rule"),
        f"{why} [{tally}]" if tally else why,
    )


def _count(archive: Archive, query: Query, by: GroupBy, as_json: bool, screen: Screen) -> None:
    counts = archive.count(query, by)
    if as_json:
        for count in counts:
            line = {
                by.value: count.key,
                "records": count.records,
                "messages": count.messages,
                "last_time": iso_time(count.last_s),
                "example": count.example,
            }
            screen.line(json.dumps(line, ensure_ascii=False))
        return
    if not counts:
        screen.line("Nothing was blocked that fits.")
        return
    headings = ("MESSAGES", "CALLS", "LAST (UTC)", "EXAMPLE", by.value.upper())
    rows = (
        (
            f"{count.messages:,}",
            f"{count.records:,}",
            show_time(iso_time(count.last_s)),
            count.example,
            count.key or "(none)",
        )
        for count in counts
    )
    screen.table(headings, rows)
    if screen.is_terminal:
        total = sum(count.messages for count in counts)
        screen.note(f"{many(total, 'message')} in {many(len(counts), 'group')}.")

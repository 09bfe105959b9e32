"""``sipguard blocked``: the list of what was blocked, or its counts by group."""

import argparse
import json
import time

from sipguard.cli.filters import FILTER_HELP, add_filters, query_of
from sipguard.cli.output import Screen, many, show_time
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Archive
from sipguard.journal import told
from sipguard.journal.limits import limits_of, looks_on_at
from sipguard.journal.query import DEFAULT_LIMIT, Count, Counts, GroupBy, Query, parse_group
from sipguard.journal.record import Json, iso_time

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
  sipguard blocked --since yesterday --by rule
  sipguard blocked --source 192.0.2.0/24 --reason replay --json | jq .call_id
  sipguard blocked --since 7d --limit 10000 --csv > week.csv

With --csv a cell that a spreadsheet would take for a formula (it begins with = + - or @)
has an apostrophe before it.

Where records are millions, a filter looks at so many of the newest as there are in a
fraction of a second; what was left is said on standard error, and --until looks further
back. --by of times and verdicts counts all of them, many by the hour they began in.

exit status:
  0  listed, even if the list is empty
  1  no store there, or it cannot be read
  2  a filter or the command line was wrong
"""
)
HEADINGS = ("ID", "LAST (UTC)", "VERDICT", "SOURCE", "MESSAGE", "CALLER", "RULE", "WHY")
CSV_KEYS = (
    *("id", "time", "last_time", "verdict", "applied", "src", "src_port", "dst", "dst_port"),
    *("transport", "method", "status", "caller", "from", "to", "call_id", "user_agent"),
    *("rule", "place", "reason", "why", "code", "count", "more"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    add_filters(parser)
    parser.add_argument(
        *("--by", "--group-by"),
        dest="by",
        metavar="WHAT",
        help="count by source, caller (as claimed), rule or reason",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        default=str(DEFAULT_LIMIT),
        help=f"the newest N, or the N largest groups (default: {DEFAULT_LIMIT})",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="comma-separated, with a heading")
    add_state_option(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """List or count."""
    query = query_of(options, time.time(), options.limit)
    by = parse_group(options.by) if options.by else None
    archive = Archive(options.state_dir)
    if by is None:
        _list(archive, query, options, screen)
    else:
        _count(archive, query, by, options, screen)
    if archive.advice:
        screen.note(f"sipguard: {archive.advice}")
    return 0


def _list(archive: Archive, query: Query, options: argparse.Namespace, screen: Screen) -> None:
    found = archive.search(query)
    entries = found.entries
    if options.json:
        for entry in entries:
            screen.line(json.dumps(entry.line, ensure_ascii=False))
    elif options.csv:
        screen.csv(CSV_KEYS)
        for entry in entries:
            screen.csv([told.text(entry.line, key) for key in CSV_KEYS])
    elif entries:
        screen.table(HEADINGS, (row_of(entry.line) for entry in entries))
    else:
        screen.line("Nothing was blocked that fits.")
    if found.searched_to_s is not None:
        back = looks_on_at(found.searched_to_s)
        screen.note(f"sipguard: looked back to {back}; --until {back} looks further back")
    elif len(entries) == query.limit and screen.is_terminal:
        screen.note(f"The newest {query.limit}; --limit shows more.")


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


def _count(
    archive: Archive, query: Query, by: GroupBy, options: argparse.Namespace, screen: Screen
) -> None:
    counts = archive.tally(query, by)
    if options.json:
        for count in counts.groups:
            screen.line(json.dumps(count_json(by, count), ensure_ascii=False))
    elif options.csv:
        screen.csv((by.value, "messages", "records", "last_time", "example"))
        for count in counts.groups:
            told_ = count_json(by, count)
            screen.csv([told.text(told_, key) for key in (by.value, *_COUNT_KEYS)])
    elif counts.groups:
        screen.table(count_headings(by), map(count_row, counts.groups), numbers=(0, 1))
        if screen.is_terminal:
            total = sum(count.messages for count in counts.groups)
            screen.note(f"{many(total, 'message')} in {many(len(counts.groups), 'group')}.")
    else:
        screen.line("Nothing was blocked that fits.")
    tell_limits(counts, query, screen)


_COUNT_KEYS = ("messages", "records", "last_time", "example")


def count_json(by: GroupBy, count: Count) -> dict[str, Json]:
    """Return a group as JSON values; its keys are a contract."""
    return {
        by.value: count.key,
        "messages": count.messages,
        "records": count.records,
        "last_time": iso_time(count.last_s),
        "example": count.example,
    }


def count_headings(by: GroupBy) -> tuple[str, ...]:
    """Return what stands above ``count_row``."""
    return "MESSAGES", "CALLS", "LAST (UTC)", "EXAMPLE", _NAMES[by]


def count_row(count: Count) -> tuple[str, ...]:
    """Return a group as one row."""
    return (
        f"{count.messages:,}",
        f"{count.records:,}",
        show_time(iso_time(count.last_s)),
        count.example,
        count.key or "(none)",
    )


def tell_limits(counts: Counts, query: Query, screen: Screen) -> None:
    """Say what the counts leave out, or count besides."""
    for words in limits_of(counts, query):
        screen.note(f"sipguard: {words}")


_NAMES = {
    GroupBy.SRC: "SOURCE",
    GroupBy.CALLER: "CALLER (CLAIMED)",
    GroupBy.RULE: "RULE",
    GroupBy.REASON: "REASON",
}

"""``sipguard stats``: what was blocked over time, and by whom, which rule and why."""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Final

from sipguard.cli.blocked import count_json, tell_limits
from sipguard.cli.output import Screen, Style, many, show_time
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Archive
from sipguard.edge.control import read_status
from sipguard.errors import EdgeError
from sipguard.journal.query import (
    Bar,
    Counts,
    GroupBy,
    Query,
    QueryError,
    parse_limit,
    parse_when,
    span_of,
)
from sipguard.journal.record import Json, iso_time

SUMMARY = "count what was blocked over time, by source, caller, rule and reason"
DETAILS = """\
A table of calls and messages that were blocked, by hours or days, and the largest
sources, callers, rules and reasons. Calls are records; messages are all that they count,
retransmissions and floods as well. How many messages were judged in all is known since
the service's start, from its status.

Times are as for `sipguard blocked`, by whole hours. Counts over time stay when records
had to go for room; they go by age.

examples:
  sipguard stats
  sipguard stats --since 30d
  sipguard stats --since 7d --json | jq .reason

exit status:
  0  counted, even if there is nothing
  1  no store there, or it cannot be read
  2  the command line was wrong
"""
_TOP: Final = 5
_BAR_COLUMNS: Final = 30
_TITLES: Final = {
    GroupBy.SRC: "Sources",
    GroupBy.CALLER: "Callers (as claimed)",
    GroupBy.RULE: "Rules",
    GroupBy.REASON: "Reasons",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("--since", metavar="WHEN", default="24h", help="begin then (default: 24h)")
    parser.add_argument("--until", metavar="WHEN", help="end then (default: now)")
    parser.add_argument(
        "--top", metavar="N", default=str(_TOP), help=f"so many of each kind (default: {_TOP})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_state_option(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Count."""
    now_s = time.time()
    since_s = parse_when(options.since, now_s)
    until_s = parse_when(options.until, now_s) if options.until else now_s
    if since_s >= until_s:
        raise QueryError("--since is not before --until")
    query = Query(
        since_s=since_s, until_s=until_s, refused_only=True, limit=parse_limit(options.top)
    )
    archive = Archive(options.state_dir)
    span_s = span_of(since_s, until_s)
    bars = archive.over_time(query, span_s)
    groups = {by: archive.tally(query, by) for by in GroupBy}
    judged = _judged(options)
    if options.json:
        screen.line(json.dumps(_json(query, span_s, bars, groups, judged), ensure_ascii=False))
        return 0
    _tell(bars, span_s, judged, screen)
    for by, counts in groups.items():
        if counts.groups:
            screen.line()
            screen.line(screen.paint(_TITLES[by], Style.HEADING))
            rows = [
                (f"{c.messages:,}", f"{c.records:,}", c.example, c.key or "(none)")
                for c in counts.groups
            ]
            screen.table(("MESSAGES", "CALLS", "EXAMPLE", by.value.upper()), rows, (0, 1))
    for counts in groups.values():
        if counts.since_s is not None:
            tell_limits(counts, query, screen)
            break
    return 0


def _judged(options: argparse.Namespace) -> tuple[int, str] | None:
    """Return how many messages the service judged, and since when, if it left word."""
    try:
        report = read_status(options.state_dir, time.time()).report
    except EdgeError:
        return None
    return report.packets, iso_time(report.started_s)


def _tell(bars: Sequence[Bar], span_s: int, judged: tuple[int, str] | None, screen: Screen) -> None:
    if judged is not None:
        screen.line(f"Judged since {show_time(judged[1])} UTC: {many(judged[0], 'packet')}.")
    if not bars:
        screen.line("Nothing was blocked in that time.")
        return
    calls, messages = (
        sum(sum(counts.values()) for counts in part)
        for part in ((bar.records for bar in bars), (bar.messages for bar in bars))
    )
    screen.line(f"Blocked: {many(calls, 'call')}, {many(messages, 'message')}.")
    screen.line()
    most = max(sum(bar.records.values()) for bar in bars)
    rows = []
    for bar in bars:
        records = sum(bar.records.values())
        size = -(-records * _BAR_COLUMNS // most) if most else 0
        stamp = show_time(iso_time(bar.since_s))
        rows.append(
            (
                stamp[: 10 if span_s % 86_400 == 0 else 16],
                f"{records:,}",
                f"{sum(bar.messages.values()):,}",
                "#" * size,
            )
        )
    screen.table((f"BEGIN (UTC), {span_s // 3600} H", "CALLS", "MESSAGES", ""), rows, (1, 2))


def _json(
    query: Query,
    span_s: int,
    bars: Sequence[Bar],
    groups: dict[GroupBy, Counts],
    judged: tuple[int, str] | None,
) -> dict[str, Json]:
    told: dict[str, Json] = {
        "since": iso_time(query.since_s or 0.0),
        "until": iso_time(query.until_s or 0.0),
        "span_s": span_s,
        "judged": None if judged is None else {"packets": judged[0], "since": judged[1]},
        "over_time": [
            {"time": iso_time(bar.since_s), "calls": {**bar.records}, "messages": {**bar.messages}}
            for bar in bars
        ],
    }
    for by, counts in groups.items():
        told[by.value] = [count_json(by, count) for count in counts.groups]
        if counts.since_s is not None:
            told[f"{by.value}_counted_since"] = iso_time(counts.since_s)
    return told

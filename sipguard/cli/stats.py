"""``sipguard stats``: what was judged and blocked over time, by whom, which rule and why."""

import argparse
import json
import time
from collections.abc import Sequence
from itertools import dropwhile
from typing import Final

from sipguard.cli.blocked import count_json
from sipguard.cli.output import Screen, Style, many, show_time
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Archive
from sipguard.edge.control import read_status
from sipguard.edge.counting import Summary
from sipguard.errors import EdgeError
from sipguard.journal.limits import limits_of
from sipguard.journal.query import (
    Bar,
    GroupBy,
    Query,
    QueryError,
    parse_limit,
    parse_when,
    span_of,
)
from sipguard.journal.record import Json, iso_time
from sipguard.verdict import Action

SUMMARY = "count what was judged and blocked over time, by source, caller, rule and reason"
DETAILS = """\
A table of calls and messages that were blocked, by hours or days, and the largest
sources, callers, rules and reasons. Calls are records; messages are all that they count,
retransmissions and floods as well. JUDGED are all messages of SIP that had a verdict in
that time, accepted ones as well; the service counts them once a minute.

Times are as for `sipguard blocked`, by whole hours: calls count in the hour they began in.
Counts over time stay when records had to go for room; they go by age.

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
    found = archive.summary(query, span_s)
    found = found._replace(recorded=_refused(found.recorded))
    running = _running(options)
    if options.json:
        screen.line(json.dumps(_json(query, span_s, found, running), ensure_ascii=False))
        return 0
    _tell(found, span_s, running, screen)
    _tell_groups(found, query, screen)
    return 0


def _tell_groups(found: Summary, query: Query, screen: Screen) -> None:
    for by, counts in found.groups.items():
        if counts.groups:
            screen.line()
            screen.line(screen.paint(_TITLES[by], Style.HEADING))
            rows = [
                (f"{c.messages:,}", f"{c.records:,}", c.example, c.key or "(none)")
                for c in counts.groups
            ]
            screen.table(("MESSAGES", "CALLS", "EXAMPLE", by.value.upper()), rows, (0, 1))
    if found.gone_before_s is not None:
        oldest = show_time(iso_time(found.gone_before_s))
        screen.note(f"sipguard: records before {oldest} UTC had to go for room; groups lack them")
    if found.judged and found.judged_since_s is not None:
        since = show_time(iso_time(found.judged_since_s))
        screen.note(f"sipguard: messages judged are counted since {since} UTC")
    for words in dict.fromkeys(
        words
        for counts in found.groups.values()
        for words in limits_of(counts._replace(by_hours=False), query)
    ):
        screen.note(f"sipguard: {words}")


def _refused(bars: Sequence[Bar]) -> list[Bar]:
    """Leave out what was accepted and logged; the spans at either end that are empty then, too."""
    kept = [Bar(bar.since_s, *map(_not_accepted, bar[1:])) for bar in bars]
    while kept and not kept[-1].records:
        kept.pop()
    return list(dropwhile(lambda bar: not bar.records, kept))


def _not_accepted(counts: dict[str, int]) -> dict[str, int]:
    return {verdict: count for verdict, count in counts.items() if verdict != Action.ACCEPT.value}


def _running(options: argparse.Namespace) -> tuple[int, str] | None:
    """Return how many messages the service judged, and since when, if it left word."""
    try:
        report = read_status(options.state_dir, time.time()).report
    except EdgeError:
        return None
    return report.packets, iso_time(report.started_s)


def _tell(found: Summary, span_s: int, running: tuple[int, str] | None, screen: Screen) -> None:
    if running is not None:
        screen.line(f"Judged since {show_time(running[1])} UTC: {many(running[0], 'packet')}.")
    if found.judged:
        counts = {
            verdict: sum(bar.messages.get(verdict, 0) for bar in found.judged)
            for verdict in sorted({verdict for bar in found.judged for verdict in bar.messages})
        }
        words = ", ".join(f"{verdict} {count:,}" for verdict, count in counts.items())
        screen.line(f"Judged: {many(sum(counts.values()), 'message')} ({words}).")
    if not found.recorded:
        screen.line("Nothing was blocked in that time.")
    else:
        calls, messages = (sum(map(_all, part)) for part in _columns(found.recorded))
        screen.line(f"Blocked: {many(calls, 'call')}, {many(messages, 'message')}.")
    rows = _rows(found, span_s)
    if not rows:
        return
    screen.line()
    headings = [f"BEGIN (UTC), {span_s // 3600} H", "CALLS", "MESSAGES", "JUDGED", ""]
    if not found.judged:
        headings.remove("JUDGED")
        rows = [(*row[:3], row[4]) for row in rows]
    screen.table(headings, rows, range(1, len(headings) - 1))


def _rows(found: Summary, span_s: int) -> list[tuple[str, ...]]:
    """Return a row for each span from the first that has something to the last."""
    recorded = {int(bar.since_s): bar for bar in found.recorded}
    judged = {int(bar.since_s): bar for bar in found.judged}
    starts = sorted({*recorded, *judged})
    if not starts:
        return []
    most = max((sum(bar.records.values()) for bar in found.recorded), default=0)
    rows: list[tuple[str, ...]] = []
    for start in range(starts[0], starts[-1] + 1, span_s):
        bar, other = (some.get(start) or Bar(start, {}, {}) for some in (recorded, judged))
        calls = sum(bar.records.values())
        rows.append(
            (
                show_time(iso_time(start))[: 10 if span_s % 86_400 == 0 else 16],
                f"{calls:,}",
                f"{sum(bar.messages.values()):,}",
                f"{sum(other.messages.values()):,}",
                "#" * (-(-calls * _BAR_COLUMNS // most) if most else 0),
            )
        )
    return rows


def _columns(bars: Sequence[Bar]) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    return [bar.records for bar in bars], [bar.messages for bar in bars]


def _all(counts: dict[str, int]) -> int:
    return sum(counts.values())


def _json(
    query: Query, span_s: int, found: Summary, running: tuple[int, str] | None
) -> dict[str, Json]:
    told: dict[str, Json] = {
        "since": iso_time(query.since_s or 0.0),
        "until": iso_time(query.until_s or 0.0),
        "span_s": span_s,
        "judged": None if running is None else {"packets": running[0], "since": running[1]},
        "over_time": [
            {"time": iso_time(bar.since_s), "calls": {**bar.records}, "messages": {**bar.messages}}
            for bar in found.recorded
        ],
        "judged_over_time": [
            {"time": iso_time(bar.since_s), "messages": {**bar.messages}} for bar in found.judged
        ],
    }
    if found.judged_since_s is not None:
        told["judged_counted_since"] = iso_time(found.judged_since_s)
    if found.gone_before_s is not None:
        told["records_since"] = iso_time(found.gone_before_s)
    for by, counts in found.groups.items():
        told[by.value] = [count_json(by, count) for count in counts.groups]
        if counts.since_s is not None:
            told[f"{by.value}_counted_since"] = iso_time(counts.since_s)
        if counts.rest:
            told[f"{by.value}_others_at_most"] = counts.rest
    return told

"""``sipguard status``: is it running, what does it judge by, and is anything lost?"""

import argparse
import json
import time
from collections.abc import Iterator

from sipguard.cli.output import Screen, Style, many, show_span, show_time
from sipguard.cli.state import add_state_option
from sipguard.edge.control import Pulse, StatusReport, read_status, to_json
from sipguard.journal.escape import safe_text
from sipguard.journal.record import iso_time

SUMMARY = "show whether the service runs, and how it is"
DETAILS = """\
Reads what the service writes every few seconds. Counts are since its start.

examples:
  sipguard status
  sipguard status --rules
  sipguard status --json | jq .by_verdict

exit status:
  0  it is running
  1  it is not running, does not answer, or left no status
  2  the command line was wrong
"""

_TOP = 10
_LABEL_COLUMNS = 14
_LOST = {  # by the counter's name
    "records_lost_no_room": "came faster than they are written",
    "records_lost_with_writer": "went with a process that died",
    "records_lost_by_writer": "had no room on the disk",
}
_STREAMS = ("streams_open", "streams_accepted", "stream_messages")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("--rules", action="store_true", help="every rule with its hits")
    parser.add_argument("--json", action="store_true", help="print the status as JSON")
    add_state_option(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Show the status."""
    pulse = read_status(options.state_dir, time.time())
    if options.json:
        told = to_json(pulse.report)
        told["running"] = pulse.is_running
        told["stale"] = pulse.is_stale
        screen.line(json.dumps(told, indent=2))
    else:
        _tell(pulse, screen)
        if options.rules:
            screen.line()
            _tell_rules(pulse.report, screen)
    return 0 if pulse.is_running and not pulse.is_stale else 1


def _tell(pulse: Pulse, screen: Screen) -> None:
    screen.line(_health(pulse, screen))
    for label, value in _facts(pulse.report):
        if value:
            heading = screen.paint(label.ljust(_LABEL_COLUMNS), Style.HEADING)
            screen.line(f"{heading} {safe_text(value)}")
    for warning in _warnings(pulse.report):
        screen.line(screen.paint(f"warning: {safe_text(warning)}", Style.WARNING))


def _health(pulse: Pulse, screen: Screen) -> str:
    pid, age = pulse.report.pid, show_span(pulse.age_s)
    if not pulse.is_running:
        return screen.paint(
            f"sipguard is not running: process {pid} is gone, last heard {age} ago", Style.REFUSED
        )
    if pulse.is_stale:
        return screen.paint(
            f"sipguard does not answer: process {pid} was last heard {age} ago", Style.REFUSED
        )
    up = show_span(pulse.report.uptime_s)
    return screen.paint(f"sipguard is running: process {pid}, for {up}", Style.ACCEPTED)


def _facts(report: StatusReport) -> Iterator[tuple[str, str]]:
    loaded = f", loaded {_when(report.policy_loaded_s)}" if report.policy_loaded_s else ""
    digest = f" ({report.policy_hash[:12]})" if report.policy_hash else ""
    yield "mode", report.mode + (" (nothing is dropped)" if report.mode == "shadow" else "")
    yield "policy", f"{report.policy_file}{digest}{loaded}"
    yield "last reload", report.last_reload
    yield "packets", f"{report.packets:,} judged: {_top(report.by_verdict)}"
    yield "reasons", _top(report.by_reason)
    yield (
        "tables",
        f"{many(report.dialogs, 'dialog')}, {many(report.transactions, 'transaction')}, "
        f"{report.replay_entries:,} in replay memory",
    )
    yield "pinholes", f"{report.pinholes:,} open"
    yield "media", report.media_path
    yield "streams", _streams(report.counters)
    waits = report.counters.get("records_waiting", 0)
    yield "records", f"{report.records:,} written" + (f", {waits:,} waiting" if waits else "")
    others = {
        name: count
        for name, count in report.counters.items()
        if not name.startswith(("streams_", "records_", "writer_"))
    }
    yield "counters", _top(others)
    for feed in report.feeds:
        waiting = f", {feed.waiting:,} waiting" if feed.waiting else ""
        yield "feed", f"{feed.name}: {feed.sent:,} sent{waiting}"


def _streams(counters: dict[str, int]) -> str:
    """Return what there is to say of connections over TCP; nothing where there were none."""
    if "streams_accepted" not in counters:
        return ""
    now, ever, messages = (counters.get(name, 0) for name in _STREAMS)
    told = f"{now:,} open, {ever:,} accepted, {many(messages, 'message')}"
    ended = {
        name.removeprefix("streams_").replace("_", " "): count
        for name, count in counters.items()
        if name.startswith("streams_") and name not in _STREAMS
    }
    return f"{told}; refused or ended: {_top(ended)}" if ended else told


def _warnings(report: StatusReport) -> Iterator[str]:
    if report.queue_drops:
        yield f"the kernel dropped {many(report.queue_drops, 'packet')}: the queue was full"
    if crowded_out := report.counters.get("crowded_out", 0):
        yield f"{many(crowded_out, 'large packet')} found the queue full: a flood of signatures?"
    yield from _warnings_of_records(report)
    for feed in report.feeds:
        if feed.dropped:
            yield f"feed {feed.name} lost {many(feed.dropped, 'record')}"
        if feed.error:
            yield f"feed {feed.name}: {feed.error}"
    if report.exceptions_error:
        yield f"temporary exceptions: {report.exceptions_error}"
    if report.errors:
        yield f"{many(report.errors, 'packet')} met a fault of sipguard's own; see its log"


def _warnings_of_records(report: StatusReport) -> Iterator[str]:
    if report.lost_records:
        yield f"{many(report.lost_records, 'record')} could not be stored{_why_lost(report)}"
    if restarts := report.counters.get("writer_restarts", 0):
        yield f"the process that writes records ended {many(restarts, 'time')}; see the log"
    if report.store_error:
        yield f"the record store: {report.store_error}"


def _why_lost(report: StatusReport) -> str:
    why = [
        f"{count:,} {words}"
        for name, words in _LOST.items()
        if (count := report.counters.get(name))
    ]
    return f": {', '.join(why)}" if why else ""


def _tell_rules(report: StatusReport, screen: Screen) -> None:
    rows = (
        (
            f"{rule.hits:,}",
            _when(rule.last_hit_s) if rule.last_hit_s else "never",
            rule.chain,
            safe_text(rule.name),
            safe_text(rule.place),
        )
        for rule in report.rules
    )
    screen.table(("HITS", "LAST (UTC)", "CHAIN", "RULE", "PLACE"), rows)


def _top(counts: dict[str, int]) -> str:
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{name} {count:,}" for name, count in largest[:_TOP]]
    return ", ".join(words) + (", …" if len(largest) > _TOP else "")


def _when(utc_s: float) -> str:
    return show_time(iso_time(utc_s))

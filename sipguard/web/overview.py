"""The first page: is it well, how much was blocked, and by whom, which rule and why."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sipguard.edge.archive import Archive
from sipguard.edge.control import Pulse, StatusReport, read_status
from sipguard.errors import EdgeError
from sipguard.journal.query import Count, GroupBy, Query, span_of
from sipguard.journal.words import many, show_span
from sipguard.reason import Reason
from sipguard.web.asked import Answer, Question
from sipguard.web.charts import chart_of
from sipguard.web.paper import Paper, when

SPANS: Final = (
    ("24h", "24 hours", 86_400),
    ("7d", "7 days", 604_800),
    ("30d", "30 days", 2_592_000),
)
_TOP: Final = 6
_TITLES: Final = (
    (GroupBy.RULE, "Rules", "rule"),
    (GroupBy.REASON, "Reasons", "reason"),
    (GroupBy.SRC, "Sources", "source"),
    (GroupBy.CALLER, "Callers (as claimed)", "caller"),
)
SENTENCES: Final = {reason.value: reason.sentence for reason in Reason}


class Health(NamedTuple):
    """How the service is: a word, a sentence, facts, and what needs somebody's eye."""

    mark: str  # good, poor or bad
    sentence: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    is_shadow: bool


class Share(NamedTuple):
    """A group and how large it is beside the largest, 1 to 100."""

    group: Count
    size: int
    note: str


def overview(archive: Archive, question: Question, paper: Paper) -> Answer:
    """Return the page."""
    chosen = question.text("since")
    name, words, length_s = next((one for one in SPANS if one[0] == chosen), SPANS[0])
    since_s, until_s = question.now_s - length_s, question.now_s
    query = Query(since_s=since_s, until_s=until_s, refused_only=True, limit=_TOP)
    span_s = span_of(since_s, until_s)
    bars = archive.over_time(Query(since_s=since_s, until_s=until_s), span_s)
    chart = chart_of(bars, since_s, until_s, span_s)
    groups = [
        (title, filter_, by.value, _shares(archive.tally(query, by).groups, by))
        for by, title, filter_ in _TITLES
    ]
    return paper.page(
        "overview.html",
        question,
        title="Overview",
        health=health_of(archive, question.now_s),
        spans=SPANS,
        chosen=name,
        words=words,
        chart=chart,
        span_hours=span_s // 3600,
        blocked=sum(column.blocked for column in chart.columns),
        messages=sum(column.messages for column in chart.columns),
        accepted=sum(column.calls["accept"] for column in chart.columns),
        groups=groups,
        advice=archive.advice,
    )


def _shares(counts: list[Count], by: GroupBy) -> list[Share]:
    most = max((count.messages for count in counts), default=1)
    return [
        Share(
            count,
            max(round(100 * count.messages / most), 1),
            SENTENCES.get(count.key, "") if by is GroupBy.REASON else "",
        )
        for count in counts
    ]


def health_of(archive: Archive, now_s: float) -> Health:
    """Return how the service is, as its status file has it."""
    try:
        pulse = read_status(archive.path.parent, now_s)
    except EdgeError as error:
        return Health("bad", f"Nobody can say how the service is: {error}.", (), (), False)
    report = pulse.report
    warnings = tuple(_warnings(report))
    mark, sentence = _state(pulse)
    if mark == "good" and warnings:
        mark = "poor"
    return Health(mark, sentence, tuple(_facts(report)), warnings, report.mode == "shadow")


def _state(pulse: Pulse) -> tuple[str, str]:
    age = show_span(pulse.age_s)
    if not pulse.is_running:
        return "bad", f"The service is not running; it was last heard {age} ago."
    if pulse.is_stale:
        return "bad", f"The service does not answer; it was last heard {age} ago."
    up = show_span(pulse.report.uptime_s)
    if pulse.report.mode == "shadow":
        return "good", f"The service is running for {up}, in shadow mode: nothing is dropped."
    return "good", f"The service is running for {up} and enforces its policy."


def _facts(report: StatusReport) -> Iterator[tuple[str, str]]:
    yield "Judged since its start", many(report.packets, "packet")
    for verdict, count in sorted(report.by_verdict.items()):
        yield f"of them: {verdict}", f"{count:,}"
    yield "Policy", report.policy_file
    if report.policy_loaded_s:
        yield "Loaded", f"{when(report.policy_loaded_s)} UTC"
    yield "Last reload", report.last_reload or "none yet"
    yield "Calls under way", f"{report.dialogs:,}"
    yield "Media pinholes open", f"{report.pinholes:,}"
    yield "Replay memory", many(report.replay_entries, "request")
    yield "Queue", f"{many(report.queue_drops, 'packet')} lost because it was full"
    yield "Records", f"{report.records:,} written, {report.lost_records:,} lost"


def _warnings(report: StatusReport) -> Iterator[str]:
    if report.queue_drops:
        yield f"The kernel dropped {many(report.queue_drops, 'packet')}: the queue was full."
    if report.lost_records:
        yield f"{many(report.lost_records, 'record')} could not be stored."
    if report.store_error:
        yield f"The record store: {report.store_error}."
    if report.errors:
        yield f"{many(report.errors, 'packet')} met a fault of sipguard's own; see its log."
    if report.last_reload.startswith("refused"):
        yield "The last reload was refused; the policy before it is still in force."

"""The first page: is it well, how much was judged and blocked, by whom, which rule and why.

A script lets it follow what happens (``web.beat``); each time, the same page is made anew.
"""

from collections.abc import Iterator
from threading import Lock
from typing import Final, NamedTuple

from sipguard.edge.archive import Archive
from sipguard.edge.control import Pulse, StatusReport, read_status
from sipguard.edge.counting import Summary
from sipguard.errors import EdgeError
from sipguard.journal.limits import limits_of
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
FRESH_S: Final = 2.0  # who asks again so soon sees the same: many watchers cost what one does
_TOP: Final = 6
_HOUR_S: Final = 3600
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


class View(NamedTuple):
    """What the store said of a span of time."""

    query: Query
    span_s: int
    summary: Summary
    advice: str
    at_s: float


class Latest:
    """What the store said last of each span of time, for all who look."""

    def __init__(self) -> None:
        self._lock = Lock()  # pages are made in threads
        self._kept: dict[str, View] = {}

    def of(self, archive: Archive, name: str, length_s: int, now_s: float) -> View:
        """Return what is known of the time from *length_s* ago until now."""
        with self._lock:
            view = self._kept.get(name)
            if view is None or not 0 <= now_s - view.at_s < FRESH_S:
                view = self._kept[name] = _look(archive, now_s - length_s, now_s)
            return view


def overview(archive: Archive, question: Question, paper: Paper, latest: Latest) -> Answer:
    """Return the page."""
    chosen = question.text("since")
    name, words, length_s = next((one for one in SPANS if one[0] == chosen), SPANS[0])
    view = latest.of(archive, name, length_s, question.now_s)
    since_s = view.at_s - length_s
    recorded, judged = (
        chart_of(bars, since_s, view.at_s, view.span_s)
        for bars in (view.summary.recorded, view.summary.judged)
    )
    groups = [
        (title, filter_, by.value, _shares(view.summary.groups[by].groups, by))
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
        at=when(view.at_s),
        begin=when(since_s // _HOUR_S * _HOUR_S),
        chart=recorded,
        judged=judged,
        span_hours=view.span_s // _HOUR_S,
        blocked=sum(column.blocked for column in recorded.columns),
        messages=sum(column.messages for column in recorded.columns),
        accepted=sum(column.calls["accept"] for column in recorded.columns),
        all_judged=sum(sum(column.calls.values()) for column in judged.columns),
        groups=groups,
        notes=list(_notes(view)),
        advice=view.advice,
    )


def _look(archive: Archive, since_s: float, until_s: float) -> View:
    span_s = span_of(since_s, until_s)
    query = Query(since_s=since_s, until_s=until_s, refused_only=True, limit=_TOP)
    summary = archive.summary(query, span_s)
    return View(query, span_s, summary, archive.advice, until_s)


def _notes(view: View) -> Iterator[str]:
    """Yield what the lists leave out."""
    gone_s = view.summary.gone_before_s
    if gone_s is not None:
        yield f"records before {when(gone_s)} UTC had to go for room, the charts keep their numbers"
    if view.summary.judged_since_s is not None:
        yield f"messages judged are counted since {when(view.summary.judged_since_s)} UTC"
    for by, title, _ in _TITLES:
        counts = view.summary.groups[by]._replace(by_hours=False)
        for words in limits_of(counts, view.query):
            yield f"{title}: {words}"


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
    if report.feeds:
        sent = sum(feed.sent for feed in report.feeds)
        lost = sum(feed.dropped for feed in report.feeds)
        yield "Feeds", f"{len(report.feeds)}: {sent:,} sent, {lost:,} lost"


def _warnings(report: StatusReport) -> Iterator[str]:
    if report.queue_drops:
        yield f"The kernel dropped {many(report.queue_drops, 'packet')}: the queue was full."
    if report.lost_records:
        yield f"{many(report.lost_records, 'record')} could not be stored."
    if report.store_error:
        yield f"The record store: {report.store_error}."
    for feed in report.feeds:
        if feed.error:
            counts = f"{feed.waiting:,} waiting, {feed.dropped:,} lost"
            yield f"Feed {feed.name}: {feed.error} ({counts})."
        elif feed.dropped:
            yield f"Feed {feed.name} lost {many(feed.dropped, 'record')}."
    if report.exceptions_error:
        yield f"Temporary exceptions: {report.exceptions_error}."
    if report.errors:
        yield f"{many(report.errors, 'packet')} met a fault of sipguard's own; see its log."
    if report.last_reload.startswith("refused"):
        yield "The last reload was refused; the policy before it is still in force."

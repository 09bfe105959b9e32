"""What a reviewer may ask of the records: filters and groups, read from what a person typed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import ip_network
from typing import Final, NamedTuple

from sipguard.reason import Reason
from sipguard.verdict import Action

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100_000
MAX_BARS: Final = 1000
SPANS_S: Final = (3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400)
_WANTED_BARS: Final = 48
_HOUR_S: Final = 3600
_FINDING: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN: Final = re.compile(r"([0-9]{1,9})\s*([smhdw])")
_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


class QueryError(ValueError):
    """A filter that cannot be understood; the text says what would be."""


class GroupBy(Enum):
    """What records can be counted by."""

    SRC = "src"
    CALLER = "caller"
    RULE = "rule"
    REASON = "reason"


class Count(NamedTuple):
    """How many records and messages share a key, when the last one was, and one id of them."""

    key: str
    records: int
    messages: int
    last_s: float
    example: str


class Counts(NamedTuple):
    """The largest groups. ``since_s``: older records were too many to be counted, if set.

    ``by_hours``: counted by the hour that calls began in, the first and the last one whole,
    whenever in it the query begins and ends. ``rest``: groups that are missing have at most so
    many messages, where that may be more than the smallest here has.
    """

    groups: list[Count]
    since_s: float | None = None
    by_hours: bool = False
    rest: int = 0


class Bar(NamedTuple):
    """What began in one span of time, by verdict: calls (records) and messages."""

    since_s: float
    records: dict[str, int]
    messages: dict[str, int]


@dataclass(frozen=True, slots=True)
class Network:
    """A range of addresses of one family, both ends included, as octets."""

    first: bytes
    last: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """Which records to show; ``None`` and empty text ask for nothing in particular.

    ``refused_only`` leaves out calls that were accepted and logged.
    Times are POSIX seconds and compare with a record's last message; ``caller``,
    ``callee`` and ``call_id`` match anywhere in the text, letter case aside.
    ``finding`` is a rule's id or a reason's code, of the message or of a proof.
    """

    since_s: float | None = None
    until_s: float | None = None
    src: Network | None = None
    caller: str = ""
    rule: str = ""
    reason: Reason | None = None
    verdict: Action | None = None
    refused_only: bool = False
    call_id: str = ""
    limit: int = DEFAULT_LIMIT
    callee: str = ""
    method: str = ""
    finding: str = ""

    @property
    def only_times(self) -> bool:
        """Whether it asks for nothing but times and verdicts, which are counted by the hour."""
        return not (self.src or self.rule or self.reason or self.has_texts)

    @property
    def has_texts(self) -> bool:
        """Whether it asks for what must be looked for record by record."""
        return bool(self.caller or self.callee or self.call_id or self.method or self.finding)


def parse_when(text: str, now_s: float) -> float:
    """Return the POSIX time that ``1h``, ``2d``, ``08:30``, ``yesterday`` or an ISO date means.

    Dates and clocks without a zone are UTC, as records show them.
    """
    words = text.strip().lower()
    span = _SPAN.fullmatch(words.removesuffix(" ago"))
    if span:
        return now_s - int(span[1]) * _UNITS_S[span[2]]
    midnight = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    clock = _CLOCK.fullmatch(words)
    if clock:
        return (midnight + timedelta(hours=int(clock[1]), minutes=int(clock[2]))).timestamp()
    if words in {"today", "yesterday"}:
        return (midnight - timedelta(days=words == "yesterday")).timestamp()
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise QueryError(
            f"{text!r} is no time: write 90m, 1h, 2d, 08:30, yesterday, 2026-01-31 "
            "or 2026-01-31T08:30 (UTC)"
        ) from None


def parse_source(text: str) -> Network:
    """Return the addresses that ``192.0.2.1``, ``192.0.2.0/24`` or ``2001:db8::/32`` names."""
    try:
        network = ip_network(text.strip().strip("[]"), strict=False)
    except ValueError:
        raise QueryError(f"{text!r} is no address or prefix: write 192.0.2.0/24") from None
    return Network(network[0].packed, network[-1].packed)


def parse_reason(text: str) -> Reason:
    """Return the reason with this code."""
    for reason in Reason:
        if reason.value == text.strip().lower():
            return reason
    raise QueryError(f"{text!r} is no reason code; `sipguard blocked --by reason` shows them")


def parse_finding(text: str) -> str:
    """Return a rule's id (``SIP-8``) or a reason's code (``bare-lf``) in lower case."""
    words = text.strip().lower()
    if not _FINDING.fullmatch(words):
        raise QueryError(f"{text!r} is no finding: write a rule's id (SIP-8) or a code (bare-lf)")
    return words


def parse_method(text: str) -> str:
    """Return a method in capitals, or ``media audio`` and the like as records have it."""
    words = " ".join(text.split())
    return words.lower() if words.lower().startswith("media ") else words.upper()


def parse_group(text: str) -> GroupBy:
    """Return what to count by; ``source`` is ``src``."""
    words = text.strip().lower()
    try:
        return GroupBy("src" if words == "source" else words)
    except ValueError:
        raise QueryError(f"{text!r} is no group: one of source, caller, rule, reason") from None


def bars_of(hours: Iterable[tuple[int, str, int, int]], span_s: int) -> list[Bar]:
    """Gather hours (POSIX time / 3600, verdict, records, messages) into longer spans, in order.

    Spans where nothing was are there as well, so that a chart's time runs evenly.
    """
    bars: dict[int, Bar] = {}
    for hour, verdict, records, messages in hours:
        start = hour * _HOUR_S // span_s
        bar = bars.setdefault(start, Bar(float(start * span_s), {}, {}))
        bar.records[verdict] = bar.records.get(verdict, 0) + records
        bar.messages[verdict] = bar.messages.get(verdict, 0) + messages
    if not bars:
        return []
    first, last = min(bars), max(bars)
    first = max(first, last - MAX_BARS + 1)
    return [bars.get(at) or Bar(float(at * span_s), {}, {}) for at in range(first, last + 1)]


def span_of(since_s: float, until_s: float) -> int:
    """Return a span in seconds, whole hours, that makes some dozens of bars of such a time."""
    for span_s in SPANS_S:
        if (until_s - since_s) / span_s <= _WANTED_BARS:
            return span_s
    return SPANS_S[-1]


def parse_verdict(text: str) -> Action:
    """Return the verdict of this name."""
    try:
        return Action(text.strip().lower())
    except ValueError:
        names = ", ".join(action.value for action in Action)
        raise QueryError(f"{text!r} is no verdict: one of {names}") from None


def parse_limit(text: str) -> int:
    """Return how many rows to show."""
    if not re.fullmatch(r"[0-9]{1,6}", text.strip()) or not 0 < int(text) <= MAX_LIMIT:
        raise QueryError(f"{text!r} is no limit: a number from 1 to {MAX_LIMIT}")
    return int(text)

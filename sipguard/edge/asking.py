"""From a review query to SQL that stays quick where there are millions of records.

Whatever is asked, only so many records are looked at, the newest first, by an
index that has them in order of time. Nothing a person typed is in the text.
"""

from typing import Final, NamedTuple

from sipguard.journal.query import Network, Query
from sipguard.verdict import Action

COVERED: Final = 250_000  # records looked at in an index that holds all that is asked: 0.2 s
COUNTED: Final = 120_000  # records that are counted by group one by one: 0.2 s
LOOKED_UP: Final = 25_000  # records that must be fetched themselves
PARTS: Final = 100  # that a long look is made in: between two it may find that time is over

Value = str | bytes | float
_REFUSED: Final = f"verdict <> '{Action.ACCEPT.value}'"  # word by word what the index is of
_FACTS: Final = (
    "number, last_s, verdict, rule, reason, src_octets, caller, callee, call_id, method, found,"
    " count, more"
)


class Asked(NamedTuple):
    """A query in two steps: the newest candidates by an index, and what is left to ask of each."""

    led_by: str  # an index
    lead: str
    lead_values: tuple[Value, ...]
    rest: str
    rest_values: tuple[Value, ...]
    most: int

    @property
    def candidates(self) -> str:
        """The SELECT of the candidates, newest first."""
        return (
            f"SELECT {_FACTS} FROM records{_by(self.led_by)}"  # noqa: S608 - our own words
            f"{_where(self.lead)} ORDER BY last_s DESC LIMIT {self.most}"
        )

    @property
    def fitting(self) -> str:
        """``FROM (...) WHERE ...``: the candidates that fit, newest first."""
        return f"FROM ({self.candidates}) AS c{_where(self.rest)}"

    @property
    def values(self) -> tuple[Value, ...]:
        """The values of ``fitting``, in order."""
        return (*self.lead_values, *self.rest_values)

    def between(self, since_s: float | None, until_s: float | None) -> "Asked":
        """Return the same of all that was in between, where there is such a time."""
        times, values = _times(since_s, until_s)
        return self._replace(
            lead=_and(self.lead, times), lead_values=(*self.lead_values, *values), most=-1
        )

    def nth(self, count: int) -> str:
        """Return the SELECT of the time of the candidate of that rank, the newest being 1."""
        return (
            f"SELECT last_s FROM records{_by(self.led_by)}"  # noqa: S608 - our own words
            f"{_where(self.lead)} ORDER BY last_s DESC LIMIT 1 OFFSET {count - 1}"
        )


def ask(query: Query, *, covered: bool = False) -> Asked:
    """Choose the index that leads, and say the rest.

    *covered*: all candidates will be read, not the first few that fit; then an
    index that holds what is asked is better than one that leads closer.
    """
    covered = covered or query.has_texts
    refused = query.refused_only or query.verdict not in (None, Action.ACCEPT)
    times, time_values = _times(query.since_s, query.until_s)
    rest, rest_values = _rest(query)
    one = query.src is not None and query.src.first == query.src.last
    index, lead, most = "records_last", "", LOOKED_UP
    values: tuple[Value, ...] = ()
    if query.src is not None and one:
        index, lead, values = "records_src", "src_octets = ?", (query.src.first,)
    elif query.rule and not covered:
        index, lead, values = "records_rule", "rule = ?", (query.rule,)
    elif query.reason is not None and not covered:
        index, lead, values = "records_reason", "reason = ?", (query.reason.value,)
    elif refused:
        index, lead, most = "records_blocked", _REFUSED, COVERED
    if refused and index != "records_blocked":
        rest = _and(rest, _REFUSED)
    if index == "records_last":
        most = LOOKED_UP if rest else COVERED
    all_values = (*values, *time_values)
    return Asked(index, _and(lead, times), all_values, rest, rest_values, most)


def _times(since_s: float | None, until_s: float | None) -> tuple[str, tuple[Value, ...]]:
    parts: list[tuple[str, Value]] = []
    if since_s is not None:
        parts.append(("last_s >= ?", since_s))
    if until_s is not None:
        parts.append(("last_s < ?", until_s))
    return _and(*(text for text, _ in parts)), tuple(value for _, value in parts)


def _rest(query: Query) -> tuple[str, tuple[Value, ...]]:
    wanted: list[tuple[str, tuple[Value, ...]]] = []
    if query.src is not None:
        wanted.append(_within(query.src))
    for column, text in (
        ("caller", query.caller),
        ("callee", query.callee),
        ("call_id", query.call_id),
    ):
        if text:
            wanted.append((f"instr({column}, ?) > 0", (text.lower(),)))
    if query.finding:
        wanted.append(("instr(found, ?) > 0", (f" {query.finding} ",)))
    if query.rule:
        wanted.append(("rule = ?", (query.rule,)))
    if query.method:
        wanted.append(("method = ?", (query.method,)))
    if query.reason is not None:
        wanted.append(("reason = ?", (query.reason.value,)))
    if query.verdict is not None:
        wanted.append(("verdict = ?", (query.verdict.value,)))
    text = _and(*(condition for condition, _ in wanted))
    return text, tuple(value for _, some in wanted for value in some)


def _within(network: Network) -> tuple[str, tuple[Value, ...]]:
    first, last = network.first, network.last
    return "src_octets BETWEEN ? AND ? AND length(src_octets) = ?", (first, last, len(first))


def _and(*conditions: str) -> str:
    return " AND ".join(condition for condition in conditions if condition)


def _where(condition: str) -> str:
    return f" WHERE {condition}" if condition else ""


def _by(index: str) -> str:
    return f" INDEXED BY {index}" if index else ""

"""A record as one row of a list, and lists made of the store: the same for pages and live tail."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import urlencode

from sipguard.edge.archive import Archive, Entry
from sipguard.journal import told
from sipguard.journal.query import (
    Query,
    parse_finding,
    parse_limit,
    parse_method,
    parse_reason,
    parse_source,
    parse_verdict,
    parse_when,
)
from sipguard.journal.words import show_time

PAGE: Final = 50
FILTERS: Final = (
    *("since", "until", "source", "caller", "callee", "rule", "reason"),
    *("finding", "method", "verdict", "call_id"),
)
_MARGIN: Final = 64  # records of the very moment where a page ended
_MOST: Final = 4096


class Row(NamedTuple):
    """What a list shows of one record."""

    id: str
    time: str
    verdict: str
    source: str
    message: str
    caller: str
    rule: str
    why: str
    tally: str


def row_of(record: told.Told) -> Row:
    """Return a record's row."""
    return Row(
        told.text(record, "id"),
        show_time(told.text(record, "last_time")),
        told.verdict(record),
        told.text(record, "src"),
        told.subject(record),
        told.caller(record),
        told.text(record, "rule"),
        told.text(record, "why"),
        told.tally(record),
    )


def query_of(fields: Mapping[str, str], now_s: float, limit: int = PAGE) -> Query:
    """Return the query that a page's fields ask; ``QueryError`` says what is not understood."""
    asked = {name: fields.get(name, "").strip() for name in (*FILTERS, "all", "limit")}
    verdict = parse_verdict(asked["verdict"]) if asked["verdict"] else None
    return Query(
        since_s=parse_when(asked["since"], now_s) if asked["since"] else None,
        until_s=parse_when(asked["until"], now_s) if asked["until"] else None,
        src=parse_source(asked["source"]) if asked["source"] else None,
        caller=asked["caller"],
        callee=asked["callee"],
        rule=asked["rule"],
        reason=parse_reason(asked["reason"]) if asked["reason"] else None,
        finding=parse_finding(asked["finding"]) if asked["finding"] else "",
        method=parse_method(asked["method"]) if asked["method"] else "",
        verdict=verdict,
        call_id=asked["call_id"],
        refused_only=verdict is None and not asked["all"],
        limit=parse_limit(asked["limit"]) if asked["limit"] else limit,
    )


class Page(NamedTuple):
    """A page of rows, newest first. ``older``: where the next page begins, if there is one."""

    rows: list[Row]
    older: str
    searched_to_s: float | None


def page_of(archive: Archive, query: Query, after: str) -> Page:
    """Return the rows behind the cursor *after*, which the page before it gave (or empty).

    Times are told to the millisecond and many records share one in a flood, so a
    cursor is a time and the last id that was seen.
    """
    stamp, _, last_id = after.partition("/")
    at_s = _posix(stamp) if after else None
    until_s = query.until_s
    if at_s is not None:
        behind_s = at_s + 0.001
        until_s = behind_s if until_s is None else min(until_s, behind_s)
    more = _MARGIN if after else 0
    while True:
        limit = query.limit + 1 + more
        found = archive.search(replace(query, until_s=until_s, limit=limit))
        entries = found.entries[::-1]
        kept = _behind(entries, stamp, last_id) if after else entries
        is_all = len(entries) < limit or more >= _MOST
        if is_all or (kept is not None and len(kept) > query.limit):
            break
        more *= 4
    kept = kept or []
    rows = [row_of(entry.line) for entry in kept[: query.limit]]
    older = ""
    if len(kept) > query.limit:
        last = kept[query.limit - 1].line
        older = f"{told.text(last, 'last_time')}/{told.text(last, 'id')}"
    return Page(rows, older, found.searched_to_s)


def _behind(entries: list[Entry], stamp: str, last_id: str) -> list[Entry] | None:
    """Return the entries behind the cursor; ``None`` if it must be looked for further back."""
    for n, entry in enumerate(entries):
        if told.text(entry.line, "id") == last_id:
            return entries[n + 1 :]
    older = [entry for entry in entries if told.text(entry.line, "last_time") < stamp]
    return older or None  # the cursor's record grew in the meantime, and is newer now


def _posix(stamp: str) -> float:
    return parse_when(stamp.replace("Z", "+00:00"), 0.0)


def link(path: str, fields: Mapping[str, str], **other: str) -> str:
    """Return a path with the fields that are not empty; *other* ones take their place."""
    wanted = {name: value for name, value in {**fields, **other}.items() if value}
    return f"{path}?{urlencode(wanted)}" if wanted else path


def fixed(fields: Mapping[str, str], now_s: float) -> dict[str, str]:
    """Return fields whose times mean the same tomorrow: ``1h`` becomes a moment."""
    moved = dict(fields)
    for name in ("since", "until"):
        if moved.get(name):
            moment = datetime.fromtimestamp(parse_when(moved[name], now_s), UTC)
            moved[name] = f"{moment:%Y-%m-%dT%H:%M:%S}"
    return moved

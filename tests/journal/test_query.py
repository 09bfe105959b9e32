"""The review query: what a person types is read one way, or refused with what would be right."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.journal.query import (
    Network,
    QueryError,
    parse_limit,
    parse_reason,
    parse_source,
    parse_verdict,
    parse_when,
)
from sipguard.reason import Reason
from sipguard.verdict import Action

NOW = 1_767_268_800.0  # 2026-01-01T12:00:00Z


@pytest.mark.parametrize(
    ("text", "ago_s"),
    [
        ("1h", 3600),
        ("90m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("30s ago", 30),
        ("today", 43_200),
        ("yesterday", 129_600),
        ("08:30", 12_600),
        ("2026-01-01", 43_200),
        ("2025-12-31T12:00", 86_400),
        ("2026-01-01T11:00:00Z", 3600),
        ("2026-01-01 13:00+02:00", 3600),
    ],
)
def test_times_people_type(text: str, ago_s: float) -> None:
    """Spans, clocks, days and ISO dates; UTC unless a zone is given."""
    assert parse_when(text, NOW) == NOW - ago_s


def test_sources() -> None:
    """Addresses and prefixes of both families."""
    assert parse_source("192.0.2.7/24") == Network(b"\xc0\x00\x02\x00", b"\xc0\x00\x02\xff")
    assert parse_source("[2001:db8::1]").first[-1] == 1
    assert parse_reason(" Not-Keyed ") is Reason.NOT_KEYED
    assert parse_verdict("drop") is Action.DROP
    assert parse_limit("7") == 7


@given(st.text(max_size=30))
def test_anything_else_is_refused_in_words(text: str) -> None:
    """Every reader returns a value or raises QueryError, never a traceback."""
    for read in (parse_source, parse_reason, parse_verdict, parse_limit):
        with suppress(QueryError):
            read(text)
    with suppress(QueryError):
        assert abs(parse_when(text, NOW)) < 1e15


def test_a_refusal_says_what_would_be_right() -> None:
    """A mistyped filter is answered with the forms that work."""
    with pytest.raises(QueryError, match="2026-01-31"):
        parse_when("last tuesday", NOW)
    with pytest.raises(QueryError, match=re.escape("192.0.2.0/24")):
        parse_source("example.com")
    with pytest.raises(QueryError, match="accept, drop, reject"):
        parse_verdict("deny")

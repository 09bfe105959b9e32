"""Drawings: nothing stands outside, time runs evenly, and what happened once is seen."""

from hypothesis import given
from hypothesis import strategies as st

from sipguard.journal.query import Bar
from sipguard.journal.record import Json
from sipguard.web.charts import HEIGHT, WIDTH, chart_of, ladder_of

COUNTS = st.dictionaries(st.sampled_from(["drop", "reject", "accept"]), st.integers(0, 10**7))


@given(st.lists(COUNTS, max_size=60), st.sampled_from([3600, 10_800, 86_400]))
def test_every_part_is_inside(counts: list[dict[str, int]], span_s: int) -> None:
    """Whatever the numbers are."""
    bars = [Bar(float(n * span_s), some, some) for n, some in enumerate(counts)]
    chart = chart_of(bars, 0.0, float(max(len(bars), 1) * span_s), span_s)
    assert len(chart.columns) == max(len(bars), 1)
    for column in chart.columns:
        assert 0 <= column.x <= column.x + column.width <= WIDTH
        for part in column.parts:
            assert part.height >= 1.5
            assert -5 <= part.y <= part.y + part.height <= HEIGHT
    assert sum(c.calls["drop"] for c in chart.columns) == sum(b.get("drop", 0) for b in counts)
    assert all(0 <= y <= HEIGHT for y, _ in chart.lines)
    assert 2 <= len(chart.lines) <= 6


def test_time_runs_evenly_where_nothing_was() -> None:
    """A quiet night is a gap, not a missing hour."""
    chart = chart_of([Bar(7200.0, {"drop": 1}, {"drop": 1})], 0.0, 86_400.0, 3600)
    assert [bool(column.parts) for column in chart.columns] == [n == 2 for n in range(24)]


def test_a_refused_message_does_not_reach_its_end() -> None:
    """Its arrow ends in a cross before the other's line; others touch it."""
    rungs: list[Json] = [
        {"time": "2026-01-01T12:00:00.000Z", "message": "INVITE", "src": "a", "dst": "b"},
        {"time": "x", "message": "BYE", "src": "b", "dst": "a", "verdict": "drop"},
        {"time": "", "message": "", "src": "a", "dst": "a", "verdict": ""},
    ]
    ladder = ladder_of({"ladder": [*rungs]})
    assert ladder is not None
    a, b = (end.x for end in ladder.ends)
    passed, refused, own = ladder.arrows
    assert (passed.x1, passed.x2, passed.refused) == (a, b, False)
    assert refused.x1 == b
    assert a < refused.x2 < b
    assert refused.refused
    assert own.to_itself
    assert ladder_of({"ladder": []}) is None
    assert ladder_of({"ladder": [{"src": str(n), "dst": "x"} for n in range(9)]}) is None

"""Sliding-window counters: right for steady streams, bounded for floods."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.rates import Rates


def counted(rates: Rates, window_s: int = 60) -> int:
    return rates.count("src", b"a", b"*", window_s)


def test_nothing_was_counted_yet() -> None:
    """A source that was never seen is at 0."""
    assert counted(Rates()) == 0


def test_events_of_now_count_in_full() -> None:
    """The twentieth request in one second is the twentieth."""
    rates = Rates()
    rates.at(100.0)
    for number in range(20):
        rates.add("src", b"a", b"*", 1)
        assert rates.count("src", b"a", b"*", 1) == number + 1


def test_the_last_slot_fades_and_then_is_gone() -> None:
    """Half a window later half of the last slot counts; two windows later nothing."""
    rates = Rates()
    rates.at(60.0)
    for _ in range(10):
        rates.add("src", b"a", b"*", 60)
    rates.at(119.0)
    assert counted(rates) == 10
    rates.at(150.0)
    assert counted(rates) == 5
    rates.add("src", b"a", b"*", 60)
    assert counted(rates) == 6
    rates.at(181.0)
    assert counted(rates) == 0
    rates.at(241.0)
    assert counted(rates) == 0


def test_an_old_slot_is_not_taken_for_the_last() -> None:
    """After a long silence the count starts at one."""
    rates = Rates()
    rates.at(0.0)
    rates.add("src", b"a", b"*", 1)
    rates.at(1000.0)
    rates.add("src", b"a", b"*", 1)
    assert counted(rates, 1) == 1


@pytest.mark.parametrize(
    "other",
    [
        ("from.aor", b"a", b"*", 60),
        ("src", b"b", b"*", 60),
        ("src", b"a", b"INVITE", 60),
        ("src", b"a", b"*", 1),
    ],
)
def test_each_kind_key_method_and_window_for_itself(other: tuple[str, bytes, bytes, int]) -> None:
    """One account's guesses are not another's."""
    rates = Rates()
    rates.add(*other)
    assert rates.count(*other) == 1
    assert counted(rates) == 0


def test_a_flood_of_sources_forgets_the_quietest_and_counts() -> None:
    """GEN-3: forged sources cannot grow the table, nor hide one that keeps sending."""
    rates = Rates(capacity=10)
    for number in range(100):
        rates.add("src", b"loud", b"*", 60)
        rates.add("src", b"%d" % number, b"*", 60)
    assert len(rates) == 10
    assert rates.forgotten == 91
    assert rates.count("src", b"loud", b"*", 60) == 100
    assert rates.count("src", b"0", b"*", 60) == 0


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 59))
def test_a_steady_stream_is_counted_as_what_it_is(per_s: int, window_s: int, start: int) -> None:
    """After a full window the count is off by no more than one slot's rounding."""
    rates = Rates()
    for step in range(3 * window_s * per_s):
        rates.at(start + step / per_s)
        rates.add("src", b"a", b"*", window_s)
    wanted = per_s * window_s
    assert wanted - 1 <= counted(rates, window_s) <= wanted + 1


@given(st.lists(st.floats(0, 500, allow_nan=False), max_size=60), st.sampled_from([1, 60, 3600]))
def test_never_negative_and_never_more_than_was_added(times: list[float], window_s: int) -> None:
    """Whatever the clock does, even backward."""
    rates = Rates()
    for number, now_s in enumerate(times):
        rates.at(now_s)
        rates.add("src", b"a", b"*", window_s)
        assert 0 <= counted(rates, window_s) <= number + 1

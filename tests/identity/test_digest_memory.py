"""The tables under digests: bounded, in order, and right about what they still have."""

from hypothesis import given
from hypothesis import strategies as st

from sipguard.identity.digest_memory import (
    COPY_S,
    MAX_CLIENTS,
    MAX_LEGS,
    MAX_OFFERS,
    MAX_SHARED,
    WINDOW,
    Aging,
    Issue,
    Offer,
    Response,
    Shared,
    Window,
)

A, B, C, D = (bytes((10, 0, 0, n)) for n in range(4))


def test_an_entry_lives_as_long_as_it_shall() -> None:
    """From the last time it was put; what is dead is not found, be it removed or not."""
    table: Aging[str] = Aging(10, 100.0)
    table.put(1, "one", 0.0)
    assert table.get(1, 99.9) == "one"
    assert table.get(1, 100.0) is None
    table.put(1, "one", 50.0)
    assert table.get(1, 149.0) == "one"
    table.remove(1)
    table.remove(1)
    assert (table.get(1, 50.0), len(table), table.forgotten) == (None, 0, 0)


def test_at_the_bound_the_oldest_goes() -> None:
    """GEN-3: counted only if it was still alive; used entries are not old."""
    table: Aging[int] = Aging(3, 100.0)
    for key in (1, 2, 3):
        table.put(key, key, 0.0)
    table.put(1, 1, 1.0)
    assert not table.has_forgotten(1.0)
    table.put(4, 4, 2.0)
    assert [key for key in range(5) if table.get(key, 2.0)] == [1, 3, 4]
    assert (table.forgotten, len(table)) == (1, 3)
    assert table.has_forgotten(101.9)
    assert not table.has_forgotten(102.0)
    table.put(5, 5, 100.0)  # key 3 ended just now
    assert (table.forgotten, len(table)) == (1, 3)


def test_expiry_takes_a_little_at_a_time() -> None:
    """No call waits for it, and what lives stays."""
    table: Aging[int] = Aging(100, 10.0)
    for key in range(8):
        table.put(key, key, float(key))
    table.expire(14.0, 2)
    assert len(table) == 6
    table.expire(14.0, 100)
    assert [key for key in range(8) if table.get(key, 0.0) is not None] == [5, 6, 7]
    table.expire(1000.0, 100)
    table.expire(1000.0, 100)
    assert len(table) == 0


def test_a_large_table_keeps_the_same_promises() -> None:
    """In shards, so that its growth stalls no call: bounded, counted, swept in small bites."""
    table: Aging[int] = Aging(10_000, 10.0)
    for key in range(30_000):
        table.put(key, key, key / 10_000)
    assert 9_900 <= len(table) <= 10_100
    assert table.forgotten == 30_000 - len(table)
    assert table.has_forgotten(3.0)
    assert table.get(29_999, 3.0) == 29_999
    assert table.get(5, 3.0) is None
    before = len(table)
    table.expire(14.0, 1024)
    assert before - len(table) in range(512, 1025)
    for _ in range(20):
        table.expire(14.0, 1024)
    assert len(table) == 0


@given(st.lists(st.integers(1, 300), max_size=200))
def test_a_window_is_a_set_with_a_horizon(counts: list[int]) -> None:
    """DIG-23: every count is used once, in any order within 64 of the highest."""
    window, used = Window(), set[int]()
    for count in counts:
        highest = max(used, default=0)
        wanted = count in used or count <= highest - WINDOW
        assert window.is_used(count) is wanted
        if not wanted:
            window.use(count)
            used.add(count)
    assert window.bits < 1 << WINDOW


def test_a_count_below_the_window_stays_used() -> None:
    """What is too old to be known is never taken for new."""
    window = Window()
    window.use(1000)
    window.use(1000 - WINDOW)
    assert window.is_used(1000 - WINDOW)
    assert not window.is_used(1001 - WINDOW)
    window.use(1001 - WINDOW)
    assert window.is_used(1001 - WINDOW)
    assert window.bits < 1 << WINDOW


def offer(number: int) -> Offer:
    return Offer(number, b"MD5", (), 0)


def test_an_issue_knows_when_it_does_not_know_all() -> None:
    """A flood of challenges with one nonce makes nobody a liar."""
    issue = Issue()
    for _ in range(100):
        issue.add((offer(1), offer(2)), A)
    assert (issue.offers, issue.clients, issue.is_full) == ((offer(1), offer(2)), (A,), False)
    assert issue.offers_of(2) == (offer(2),)
    for number in range(3, MAX_OFFERS):
        issue.add((offer(number),), A)
    assert not issue.is_full
    for number in range(100):
        issue.add((offer(number),), A)
    assert (len(issue.offers), issue.is_full) == (MAX_OFFERS, True)
    crowd = Issue()
    for number in range(MAX_CLIENTS - 1):
        crowd.add((), bytes((number,)))
    assert not crowd.is_full
    for number in range(100):
        crowd.add((offer(1),), bytes((number,)))
    assert (len(crowd.clients), crowd.is_full) == (MAX_CLIENTS, True)


def test_equal_ones_are_one() -> None:
    """Up to a bound, beyond which each is its own."""
    shared: Shared[bytes] = Shared()
    one, other = bytes((10, 1, 1, 1)), bytes(bytearray((10, 1, 1, 1)))
    assert one is not other
    assert shared[one] is shared[other]
    for number in range(2 * MAX_SHARED):
        assert shared[b"%d" % number] == b"%d" % number
    assert len(shared) == MAX_SHARED


def test_legs_of_a_response() -> None:
    """RPL-3: onward is where it has not been, while copies are on their way."""
    response = Response(0, A, B, 100.0)
    assert list(response.legs) == [(A, B)]
    assert response.passes_on(B, C, 100.0 + COPY_S)
    assert not response.passes_on(B, C, 100.1 + COPY_S)
    assert not response.passes_on(A, C, 100.0)
    for _ in range(3):
        response.goes(A, B)
        response.goes(B, C)
    assert list(response.legs) == [(A, B), (B, C)]
    assert response.passes_on(B, C, 100.0)
    assert response.passes_on(C, D, 100.0)
    assert not response.passes_on(C, B, 100.0)
    for number in range(100):
        response.goes(D, bytes((number,)))
    assert len(response.legs) == 1 + MAX_LEGS

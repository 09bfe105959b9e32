"""The bounded table: capacity, order, expiry, and entries that live longer than planned."""

from hypothesis import given
from hypothesis import strategies as st

from sipguard.calls.table import HORIZON_S, ExpiringTable


class Entry:
    """Something that ends."""

    def __init__(self, expires_at_s: float, name: str = "") -> None:
        self.expires_at_s = expires_at_s
        self.name = name


def test_an_entry_goes_when_it_is_due_and_not_before() -> None:
    """Expiry yields what is over, once, within the second in which it ends."""
    table: ExpiringTable[str, Entry] = ExpiringTable(10)
    entry = Entry(5.0)
    table.put("a", entry, 0.0)
    assert list(table.expire(4.9)) == []
    assert table.get("a") is entry
    assert list(table.expire(6.0)) == [entry]
    assert table.get("a") is None
    assert list(table.expire(100.0)) == []


def test_a_full_table_gives_up_its_oldest_and_counts() -> None:
    """Nobody outside decides how much memory we use, and what is lost is told."""
    table: ExpiringTable[int, Entry] = ExpiringTable(3)
    entries = [Entry(50.0) for _ in range(5)]
    evicted = [table.put(number, entry, 0.0) for number, entry in enumerate(entries)]
    assert evicted == [None, None, None, entries[0], entries[1]]
    assert list(table) == entries[2:]
    assert (len(table), table.forgotten) == (3, 2)


def test_the_same_key_again_evicts_nobody() -> None:
    """A replacement returns what it replaces, and the old entry's end does not end it."""
    table: ExpiringTable[str, Entry] = ExpiringTable(1)
    old = Entry(2.0)
    table.put("a", old, 0.0)
    new = Entry(9.0)
    assert table.put("a", new, 0.0) is old
    assert table.put("a", new, 0.0) is None
    assert table.forgotten == 0
    assert list(table.expire(5.0)) == []
    assert table.get("a") is new
    assert list(table.expire(10.0)) == [new]


def test_an_entry_may_prolong_itself() -> None:
    """Session timers are refreshed by setting one number."""
    table: ExpiringTable[str, Entry] = ExpiringTable(2)
    entry = Entry(2.0)
    table.put("a", entry, 0.0)
    entry.expires_at_s = 500.0
    for now_s in range(1, 500, 7):
        assert list(table.expire(float(now_s))) == []
    assert list(table.expire(501.0)) == [entry]


def test_an_end_brought_forward_is_kept_when_hastened() -> None:
    """A call that ends in 32 seconds is not kept until its session timer would have run out."""
    table: ExpiringTable[str, Entry] = ExpiringTable(2)
    entry = Entry(40_000.0)
    table.put("a", entry, 0.0)
    entry.expires_at_s = 32.0
    table.hasten("a", entry, 0.0)
    assert list(table.expire(33.0)) == [entry]


def test_a_removed_entry_never_expires() -> None:
    """What was taken out early is not reported as ended a second time."""
    table: ExpiringTable[str, Entry] = ExpiringTable(2)
    entry = Entry(2.0)
    table.put("a", entry, 0.0)
    assert table.remove("a") is entry
    assert table.remove("a") is None
    assert list(table.expire(HORIZON_S * 3)) == []


def test_an_entry_put_again_and_again_stands_seldom_in_the_calendar() -> None:
    """Who repeats himself all day costs what he costs in one look."""
    table: ExpiringTable[str, Entry] = ExpiringTable(2)
    for now_s in range(300):
        table.put("a", Entry(now_s + 1000.0), float(now_s))
        table.put("a", Entry(now_s + 1000.0), float(now_s))
        assert list(table.expire(float(now_s))) == []
    assert sum(map(len, table._calendar.values())) <= 3 * (HORIZON_S + 2)


def test_a_short_horizon_looks_sooner() -> None:
    """An entry whose end came nearer without a word goes when it is looked at."""
    table: ExpiringTable[str, Entry] = ExpiringTable(2, horizon_s=32.0)
    entry = Entry(200.0)
    table.put("a", entry, 0.0)
    entry.expires_at_s = 33.5
    assert list(table.expire(33.0)) == []
    assert list(table.expire(34.5)) == [entry]


def test_what_is_due_is_looked_at_in_bites() -> None:
    """So that calls do not wait while a thousand others end; nothing is left out or told twice."""
    table: ExpiringTable[int, Entry] = ExpiringTable(100)
    entries = [Entry(1.0 + n % 2 / 50) for n in range(10)]
    for key, entry in enumerate(entries):
        table.put(key, entry, 0.0)
    assert table.expire(2.0, 4) == entries[:4]
    table.remove(4)
    entries[5].expires_at_s = 60.0  # prolonged while it was to be looked at
    assert table.expire(2.0, 4) == entries[6:8]
    assert table.expire(2.0, 4) == entries[8:]
    assert table.expire(2.0, 4) == []
    assert table.expire(61.0) == [entries[5]]
    assert len(table) == 0


times = st.floats(0, 300, allow_nan=False)


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("pre"), st.integers(0, 6), times), max_size=60),
)
def test_never_more_than_its_capacity_and_never_a_lost_entry(
    capacity: int, steps: list[tuple[str, int, float]]
) -> None:
    """Every entry that was put leaves by one door: evicted, removed, replaced or expired."""
    table: ExpiringTable[int, Entry] = ExpiringTable(capacity)
    now_s = 0.0
    inside: dict[int, Entry] = {}
    for what, key, seconds in steps:
        if what == "p":
            entry = Entry(now_s + seconds)
            evicted = table.put(key, entry, now_s)
            if evicted is not None:
                oldest = key if key in inside else next(iter(inside))
                assert inside[oldest] is evicted
                if oldest != key:
                    del inside[oldest]
            inside[key] = entry
        elif what == "r":
            assert table.remove(key) is inside.pop(key, None)
        else:
            now_s += seconds
            for gone in table.expire(now_s):
                assert gone.expires_at_s <= now_s
                inside = {k: e for k, e in inside.items() if e is not gone}
        assert len(table) == len(inside) <= capacity
        assert {id(entry) for entry in table} == {id(entry) for entry in inside.values()}
    assert {id(e) for e in table.expire(now_s + 1000.0)} == {id(e) for e in inside.values()}
    assert len(table) == 0

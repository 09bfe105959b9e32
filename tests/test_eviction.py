"""The eldest key of a dict: the right one, and soon found."""

from hypothesis import given
from hypothesis import strategies as st

from sipguard.eviction import BATCH, Eldest


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "pop"]), st.integers(0, 9))))
def test_the_eldest_goes_first(steps: list[tuple[str, int]]) -> None:
    """Whatever was taken out or came back meanwhile: as a walk from the beginning finds it."""
    entries: dict[int, object] = {}
    eldest: Eldest[int] = Eldest()
    for what, key in steps:
        if what == "put":
            if key not in entries:
                eldest.came(key)
            entries[key] = object()
        elif what == "take":
            entries.pop(key, None)
        elif entries:
            first = next(iter(entries.values()))
            assert eldest.pop_from(entries) is first


def test_one_walk_serves_many_evictions() -> None:
    """A flood against a full table does not search it for each packet."""

    class Walked(dict[int, int]):
        walks = 0

        def __iter__(self):  # type: ignore[no-untyped-def] # counts; islice asks for it
            self.walks += 1
            return super().__iter__()

    entries = Walked({key: key for key in range(4 * BATCH)})
    eldest: Eldest[int] = Eldest()
    for key in range(2 * BATCH):
        assert eldest.pop_from(entries) == key
        eldest.came(key + 10_000)
        entries[key + 10_000] = key
    assert entries.walks == 2

"""What the writing process does with each frame, without a socket or a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stream_ends import NOON, invited

from sipguard.edge.feeds.desk import Feeds
from sipguard.edge.feeds.outlet import Outlet
from sipguard.edge.journal import AT_ONCE, MANY
from sipguard.edge.records.frames import Kind, Terms
from sipguard.edge.records.work import Work
from sipguard.edge.store import Store
from sipguard.journal.carried import pack
from sipguard.policy.feeds import Feed


def none(_feed: Feed) -> Outlet:
    raise AssertionError("no policy here has a feed")


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    store = Store(tmp_path)
    made = Work(store, "", Feeds(none), lambda: NOON)
    made.use(Terms(1_000_000, 1_000_000))
    made.turn()  # those that grew had theirs: the next is a second away, and none passes
    yield made
    store.close()


def come(work: Work, first: int, count: int) -> None:
    for number in range(first, first + count):
        seen = invited(NOON, b"\x0a%b" % number.to_bytes(3, "big"), call_id=b"%d" % number)
        caller = b"<sip:%d@example.com>" % (number * 7919 % 10_007)
        work.take(Kind.OBSERVATION, pack(seen._replace(from_=caller)))


def octets_written() -> int:
    """Return what this process gave the kernel to write, into whatever file."""
    told = Path("/proc/self/io").read_text().split()
    return int(told[told.index("wchar:") + 1])


def test_what_waits_to_be_written_would_be_lost_and_is_not_told_as_taken(work: Work) -> None:
    """Else what dies with a writer would not be counted."""
    come(work, 0, MANY)
    work.turn()
    assert (work.told().taken, work.told().written) == (0, 0)
    work.turn()  # no more came
    assert (work.told().taken, work.told().written) == (MANY, MANY)


def test_few_are_written_at_once(work: Work) -> None:
    """A reviewer who watches sees them."""
    come(work, 0, 3)
    work.turn()
    assert (work.told().taken, work.told().written) == (3, 3)


def test_a_record_costs_the_disk_a_few_pages(work: Work) -> None:
    """Each is in indices and counts of its own; what a statement might undo stays in memory."""
    come(work, 0, 2 * AT_ONCE)
    before = octets_written()
    come(work, 2 * AT_ONCE, AT_ONCE)
    assert work.told().written == 3 * AT_ONCE
    assert (octets_written() - before) / AT_ONCE < 20_000

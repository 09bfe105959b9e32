"""The way of what the guard tells into the store, without holding up packets."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stream_ends import ALICE, BOB, CALL, NOON, refused

from sipguard.edge import journal
from sipguard.edge.archive import Archive
from sipguard.edge.elements import Tally
from sipguard.edge.journal import BUDGET_S, HURRY_S, WRITE_S, WRITTEN, Journal
from sipguard.edge.store import Store
from sipguard.edge.streams_told import Closing
from sipguard.journal.observation import Observation
from sipguard.journal.query import Query
from sipguard.journal.told import parts
from sipguard.reason import Reason
from sipguard.verdict import Action, ClosePinhole, Hole

NOTE_S = 0.0002  # what each look at the clock says has passed


def refusal(number: int, utc_s: float = 0.0) -> Observation:
    return Observation(
        utc_s=utc_s,
        action=Action.DROP,
        judged=Action.DROP,
        reason=Reason.DEFAULT,
        src=b"\x0a\0" + number.to_bytes(2, "big"),
        dst=b"\x0a\1\0\1",
        call_id=b"%d" % number,
        rule=f"rule-{number}",  # so that every one gets a record
    )


def closing(call_id: bytes = CALL, packets: int = 1) -> Closing:
    hole = Hole(ALICE, BOB, 4000)
    effect = ClosePinhole(hole, "sdes", Reason.UNPROVEN, call_id)
    return Closing((effect,), (Tally(hole, packets, packets * 172),), NOON)


class Clock:
    """Each look takes as long as a record."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += NOTE_S
        return self.now_s


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.open()
    yield made
    made.close()


def test_a_burst_is_written_in_small_turns(store: Store) -> None:
    """No turn takes longer than its budget and one record; the packets in between get through."""
    desk = Journal(store, clock=Clock())
    for number in range(50):
        desk.observe(refusal(number))
    a_turn = int(BUDGET_S / NOTE_S) + 1
    desk.turn(10.0)
    assert store.written <= a_turn
    for turn in range(1, 60):
        before = store.written
        desk.turn(10.0 + turn)
        assert store.written - before <= a_turn
    assert store.written == 50


def test_many_that_wait_are_worth_a_longer_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather a slower turn than a lost record."""
    monkeypatch.setattr(journal, "MAX_WAITING", 100)
    desk = Journal(store, clock=Clock())
    for number in range(60):
        desk.observe(refusal(number))
    desk.turn(0.0)
    assert store.written > HURRY_S / NOTE_S / 2


def test_what_finds_no_room_is_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost silently."""
    monkeypatch.setattr(journal, "MAX_WAITING", 3)
    desk = Journal(store)
    for number in range(5):
        desk.observe(refusal(number))
    desk.finish(0.0)
    assert (desk.lost, store.written) == (2, 3)


def test_the_disk_is_touched_ten_times_a_second_at_most(store: Store) -> None:
    """Turns are many, transactions few."""
    desk = Journal(store)
    desk.turn(100.0)
    desk.observe(refusal(1, 100.0))
    desk.turn(100.0 + WRITE_S / 2)
    assert store.written == 0
    desk.turn(101.0)
    assert store.written == 1


def test_a_clock_that_steps_back_does_not_stop_the_writing(store: Store) -> None:
    """NTP may do so."""
    desk = Journal(store)
    desk.turn(5000.0)
    desk.observe(refusal(1, 100.0))
    desk.turn(100.0)
    assert store.written == 1


def test_grown_records_are_written_a_few_at_a_time(store: Store) -> None:
    """A retransmission of a hundred refused calls rewrites a hundred records, not in one go."""
    desk = Journal(store)
    for number in range(2 * WRITTEN):
        desk.observe(refusal(number))
    for turn in range(2 * WRITTEN):
        desk.turn(turn - 20.0)
    desk.turn(5.0)
    before = store.written
    for number in range(2 * WRITTEN):
        desk.observe(refusal(number, 5.0))
    for _ in range(2 * WRITTEN):
        desk.turn(5.0)  # too early to write, but all are noted
    assert store.written == before == 2 * WRITTEN
    desk.turn(10.0)
    assert store.written - before <= WRITTEN
    desk.turn(20.0)
    assert store.written - before == 2 * WRITTEN


def test_the_end_of_a_stream_comes_behind_what_it_belongs_to(store: Store, tmp_path: Path) -> None:
    """The guard tells of a refused packet, the kernel's count follows: both are in the record."""
    desk = Journal(store)
    desk.observe(refused())
    desk.streams_ended(closing(packets=7))
    desk.streams_ended(closing(call_id=b"a call without a record"))
    desk.finish(NOON)
    (entry,) = Archive(tmp_path).find(Query())
    (end,) = parts(entry.line, "streams")
    assert (end["packets"], end["octets"], end["reason"]) == (7, 7 * 172, "unproven")


def test_ends_that_find_no_room_are_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait in the same line as all the rest; of calls without a record nothing is lost."""
    desk = Journal(store)
    desk.observe(refused())
    desk.turn(NOON)
    monkeypatch.setattr(journal, "MAX_WAITING", 0)
    desk.streams_ended(closing(call_id=b"a call without a record"))
    assert desk.lost == 0
    desk.streams_ended(closing())
    assert desk.lost == 1


def test_stopping_writes_all(store: Store) -> None:
    """What is known at the end is on the disk."""
    desk = Journal(store, clock=Clock())
    for number in range(30):
        desk.observe(refusal(number))
    desk.finish(0.0)
    assert store.written == 30

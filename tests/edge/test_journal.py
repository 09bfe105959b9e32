"""The way of what the guard tells into the store: the writing process's part of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from desks import end_streams
from stream_ends import ALICE, BOB, CALL, NOON, refused

from sipguard.edge.archive import Archive
from sipguard.edge.elements import Tally
from sipguard.edge.journal import AT_ONCE, GROWN_S, MANY, Journal
from sipguard.edge.store import Store
from sipguard.edge.streams_told import Closing
from sipguard.journal.observation import Observation
from sipguard.journal.query import Query
from sipguard.journal.told import parts
from sipguard.reason import Reason
from sipguard.verdict import Action, ClosePinhole, Hole


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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.open()
    yield made
    made.close()


def test_new_records_are_written_at_the_next_turn(store: Store) -> None:
    """A reviewer sees a block at once."""
    desk = Journal(store)
    desk.turn(100.0)
    desk.observe(refusal(1, 100.0))
    assert store.written == 0
    desk.turn(100.1)
    assert store.written == 1


def test_grown_records_are_written_once_a_second(store: Store) -> None:
    """Who sends one message again and again writes a row a second with it, and no more."""
    desk = Journal(store)
    desk.observe(refusal(1, 100.0))
    desk.turn(100.0)
    for turn in range(1, 10):
        desk.observe(refusal(1, 100.0))
        desk.turn(100.0 + turn / 10)
    assert store.written == 1
    desk.turn(100.0 + GROWN_S)
    assert store.written == 2


def test_a_clock_that_steps_back_does_not_stop_the_writing(store: Store) -> None:
    """NTP may do so."""
    desk = Journal(store)
    desk.turn(5000.0)
    desk.observe(refusal(1, 100.0))
    desk.turn(100.0)
    desk.observe(refusal(1, 100.0))
    desk.turn(99.0)
    assert store.written == 2


def test_as_many_as_one_transaction_takes_do_not_wait(store: Store) -> None:
    """Whoever feeds it sees that a turn is due before its time."""
    desk = Journal(store)
    for number in range(AT_ONCE):
        assert not desk.is_full
        desk.observe(refusal(number))
    assert desk.is_full
    desk.turn(0.0)
    assert store.written == AT_ONCE
    assert not desk.is_full


def test_many_wait_for_a_second_and_few_do_not(store: Store) -> None:
    """Few transactions hold calls up less than many."""
    told: list[int] = []
    desk = Journal(store, tell=lambda made, grown: told.append(len(made) + len(grown)))
    desk.turn(100.0)
    for turn in range(1, 6):
        for number in range(MANY):
            desk.observe(refusal(100 * turn + number))
        desk.turn(100.0 + turn / 10)
    assert store.written == 0
    assert told == [MANY] * 5  # feeds get them at once, not in a burst
    desk.observe(refusal(1))
    desk.turn(100.6)  # it is over
    assert not desk.is_waiting
    assert store.written == 5 * MANY + 1
    for number in range(MANY):
        desk.observe(refusal(1000 + number))
    desk.turn(100.7)
    assert store.written == 5 * MANY + 1
    desk.turn(100.0 + GROWN_S)
    assert store.written == 6 * MANY + 1


def test_what_waits_is_written_at_the_end(store: Store) -> None:
    """The service stops, and nothing is lost."""
    desk = Journal(store)
    desk.turn(100.0)
    for number in range(MANY):
        desk.observe(refusal(number))
    desk.turn(100.1)
    assert store.written == 0
    desk.finish(100.2)
    assert store.written == MANY


def test_many_that_grew_are_all_written(store: Store) -> None:
    """A few hundred in each transaction, and none is left."""
    desk = Journal(store)
    for _ in range(2):
        for number in range(2 * AT_ONCE):
            desk.observe(refusal(number))
        desk.finish(0.0)
    assert store.written == 4 * AT_ONCE


def test_limits_are_the_policy_s(store: Store) -> None:
    """What is more than a rule and a source may have counts on a record that is there."""
    desk = Journal(store)
    desk.limit(per_source=100, per_reason=3)
    for number in range(5):
        desk.observe(Observation(
            0.0, Action.DROP, Action.DROP, Reason.DEFAULT, bytes((10, 0, 0, number)), b"",
            call_id=b"%d" % number,
        ))  # fmt: skip
    desk.finish(0.0)
    assert store.written == 3 + 1  # one of them grew


def test_the_end_of_a_stream_comes_behind_what_it_belongs_to(store: Store, tmp_path: Path) -> None:
    """The guard tells of a refused packet, the kernel's count follows: both are in the record."""
    desk = Journal(store)
    desk.observe(refused())
    end_streams(desk, closing(packets=7))
    end_streams(desk, closing(call_id=b"a call without a record"))
    desk.finish(NOON)
    (entry,) = Archive(tmp_path).find(Query())
    (end,) = parts(entry.line, "streams")
    assert (end["packets"], end["octets"], end["reason"]) == (7, 7 * 172, "unproven")


def test_stopping_writes_all(store: Store) -> None:
    """What is known at the end is on the disk."""
    desk = Journal(store)
    for number in range(30):
        desk.observe(refusal(number))
    desk.finish(0.0)
    assert store.written == 30

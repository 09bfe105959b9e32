"""Closed pinholes and the kernel's counts of them, as the ends that records tell."""

from collections.abc import Sequence

import pytest
from stream_ends import ALICE, BOB, CALL, NOON, SUITE

from sipguard.edge.elements import Tally
from sipguard.edge.streams_told import Closing, streams_told
from sipguard.journal.streams import Closer, StreamEnd
from sipguard.reason import Reason
from sipguard.verdict import (
    ClosePinhole,
    DoubtPinhole,
    Effect,
    Ended,
    Hole,
    OpenPinhole,
    ProvePinhole,
)

THERE, BACK = Hole(ALICE, BOB, 4000), Hole(BOB, ALICE, 40000)


def closed(hole: Hole, reason: Reason = Reason.CALL_ENDED, party: str = "callee") -> ClosePinhole:
    ended = Ended(b"audio", SUITE, "SRTP tag verified", 30000, party)
    return ClosePinhole(hole, "sdes", reason, CALL, ended)


def told(effects: Sequence[Effect], tallies: Sequence[Tally]) -> list[StreamEnd]:
    return streams_told(Closing(effects, tallies, NOON), lambda call_id: call_id == CALL)


def test_an_end_has_what_the_guard_knows_and_the_kernel_counted() -> None:
    """Nothing of it can be found out again later: the hole and its counter are gone."""
    assert told([closed(THERE)], [Tally(THERE, 1502, 258_344)]) == [
        StreamEnd(
            utc_s=NOON,
            call_id=CALL,
            source=ALICE,
            destination=BOB,
            port=4000,
            kind=b"audio",
            key_method="sdes",
            suite=SUITE,
            told="SRTP tag verified",
            reason=Reason.CALL_ENDED,
            closer=Closer.CALLEE,
            packets=1502,
            octets=258_344,
            source_port=30000,
        )
    ]


def test_each_has_its_own_count_in_the_order_of_closing() -> None:
    """The kernel may answer in any order."""
    ends = told([closed(BACK), closed(THERE)], [Tally(THERE, 5, 6), Tally(BACK, 7, 8)])
    assert [(end.port, end.packets, end.octets) for end in ends] == [(40000, 7, 8), (4000, 5, 6)]


@pytest.mark.parametrize(
    "effects",
    [
        [],
        [OpenPinhole(THERE, "sdes", 60, CALL)],
        [ProvePinhole(THERE, 30000, 7, CALL), DoubtPinhole(THERE, 30000, Reason.SRTP_TAG, CALL)],
        [closed(BACK)],
    ],
)
def test_what_was_not_closed_now_is_not_told(effects: list[Effect]) -> None:
    """Nor what the kernel had no more: it was told when it was closed first."""
    assert told(effects, [Tally(THERE, 5, 6)]) == []


def test_without_any_count_nothing_is_told() -> None:
    """A kernel that counts nothing, or had none of them."""
    assert told([closed(THERE)], []) == []


def test_a_call_without_a_record_is_not_worth_the_work() -> None:
    """Nearly all calls: nothing is made of what nobody will read."""
    other = ClosePinhole(THERE, "sdes", Reason.CALL_ENDED, b"another call")
    assert told([other], [Tally(THERE, 5, 6)]) == []


def test_closed_twice_at_once_is_told_once() -> None:
    """The gate's time was over in the very second in which the call ended."""
    twice = [closed(THERE, Reason.UNPROVEN), closed(THERE)]
    (end,) = told(twice, [Tally(THERE, 0, 0)])
    assert (end.reason, end.closer) == (Reason.UNPROVEN, Closer.GATE)

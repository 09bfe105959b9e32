"""The ladder of a call: exact times, shared rungs, bounds."""

import math

from hypothesis import given
from hypothesis import strategies as st

from sipguard.calls import ladder
from sipguard.calls.dialog import Dialog
from sipguard.calls.ladder import LADDER_STEPS, START, Rungs

steps = st.lists(
    st.tuples(
        st.floats(allow_nan=False),
        st.sampled_from([b"INVITE", b"180 INVITE", b"200 INVITE", b"BYE"]),
        st.booleans(),
    ),
    max_size=LADDER_STEPS + 3,
)


@given(steps)
def test_what_was_noted_is_told_to_the_last_bit(noted: list[tuple[float, bytes, bool]]) -> None:
    """A record shows the times that the packets had, and the first messages of the call."""
    dialog = Dialog(b"call", b"a", b"b", 0.0)
    for step in noted:
        dialog.note(*step)
    assert dialog.ladder == noted[:LADDER_STEPS]
    for told, meant in zip(dialog.ladder, noted, strict=False):
        assert math.copysign(1.0, told[0]) == math.copysign(1.0, meant[0])


def test_calls_that_went_alike_share_their_rungs() -> None:
    """100,000 calls cost the times alone."""
    calls = [Dialog(b"%d" % number, b"a", b"b", 0.0) for number in range(2)]
    for number, call in enumerate(calls):
        call.note(number, b"INVITE", True)
        call.note(number, b"200 INVITE", False)
    assert calls[0].rungs is calls[1].rungs
    assert calls[0].ladder != calls[1].ladder
    calls[1].note(2.0, b"BYE", False)
    assert [label for _, label, _ in calls[0].ladder] == [b"INVITE", b"200 INVITE"]


def test_odd_calls_without_end_are_told_and_not_kept() -> None:
    """GEN-3: methods nobody knows cannot grow what calls share."""
    for number in range(ladder.SHARED_WAYS + 10):
        method = b"M%d" % number
        rungs = START.and_then(method, True)
        assert rungs is not None
        assert rungs.steps == ((method, True),)
    assert len(ladder._WAYS) <= ladder.SHARED_WAYS
    alone = START.and_then(b"LAST", False)
    again = START.and_then(b"LAST", False)
    assert alone is not None
    assert again is not None
    assert alone is not again
    assert alone.steps == again.steps
    ladder._WAYS.clear()


def test_a_ladder_has_an_end() -> None:
    """A call of a million messages has a ladder of ten."""
    rungs: Rungs | None = START
    for _ in range(LADDER_STEPS):
        assert rungs is not None
        rungs = rungs.and_then(b"INFO", True)
    assert rungs is not None
    assert rungs.and_then(b"INFO", True) is None

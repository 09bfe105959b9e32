"""The offer/answer table: walked whole, as STYLE asks of every table."""

from sipguard.media.offer_answer import TRANSITIONS, Event, State, next_state

PENDING = {State.OFFERED, State.PREVIEWED, State.REOFFERED, State.REPREVIEWED}


def test_every_state_can_still_end() -> None:
    """No reachable state can strand an open pinhole."""
    ends = {State.ENDED}
    while more := {state for (state, _), after in TRANSITIONS.items() if after in ends} - ends:
        ends |= more
    assert ends == set(State)


def test_nothing_follows_the_end() -> None:
    """An ended talk stays ended, whatever arrives late."""
    assert all(next_state(State.ENDED, event) is None for event in Event)


def test_only_one_offer_at_a_time() -> None:
    """PIN-5: no state with a pending offer takes another one."""
    assert {state for state in State if next_state(state, Event.OFFER)} == {
        State.IDLE,
        State.AGREED,
    }
    assert all(next_state(state, Event.OFFER) in PENDING for state in (State.IDLE, State.AGREED))


def test_every_pending_offer_can_be_answered_and_refused() -> None:
    """PIN-8: a refusal leads back to what was before the offer."""
    for state in PENDING:
        assert next_state(state, Event.ANSWER) is State.AGREED
    assert next_state(State.OFFERED, Event.REFUSAL) is State.IDLE
    assert next_state(State.PREVIEWED, Event.REFUSAL) is State.IDLE
    assert next_state(State.REOFFERED, Event.REFUSAL) is State.AGREED
    assert next_state(State.REPREVIEWED, Event.REFUSAL) is State.AGREED


def test_every_state_can_be_reached() -> None:
    """No dead rows in the table."""
    reached = {State.IDLE}
    while (
        more := {after for (state, _), after in TRANSITIONS.items() if state in reached} - reached
    ):
        reached |= more
    assert reached == set(State)


def test_an_answer_needs_an_offer() -> None:
    """Neither answer nor preview nor refusal means anything where nothing is pending."""
    for state in set(State) - PENDING:
        for event in (Event.ANSWER, Event.PREVIEW, Event.REFUSAL):
            assert next_state(state, event) is None

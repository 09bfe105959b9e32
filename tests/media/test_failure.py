"""Failed and ended calls: everything early closes, and nothing comes back (PIN-4, PIN-15)."""

import pytest
from phones import (
    ALICE,
    ANSWER,
    BOB,
    CALL_HOLES,
    CAROL,
    CRYPTO_B2,
    PROXY,
    Script,
    audio,
    both_ways,
    sdp,
)


@pytest.mark.parametrize("status", [302, 404, 486, 487, 603])
def test_failed_call_closes_its_preview(status: int) -> None:
    """PIN-4: a final failure closes what the early dialogs had opened."""
    script = Script()
    script.invite()
    script.response(183, ANSWER)
    assert script.open == CALL_HOLES
    script.response(status)
    assert script.open == set()
    assert script.sessions.statistics().calls == 0


def test_busy_fork_does_not_close_the_others() -> None:
    """PIN-4: a proxy's branch that fails ends its own early dialog only."""
    script = Script()
    carol = sdp(CAROL, audio(50000, CRYPTO_B2))
    script.invite(path=(ALICE, PROXY))
    script.invite(path=(PROXY, BOB))
    script.invite(path=(PROXY, CAROL))
    script.response(183, ANSWER, tag=b"bob", path=(BOB, PROXY))
    script.response(183, carol, tag=b"carol", path=(CAROL, PROXY))
    script.response(486, tag=b"bob", path=(BOB, PROXY))
    assert script.open == both_ways(ALICE, 30000, CAROL, 50000)


def test_late_answer_after_the_end_opens_nothing() -> None:
    """A 200 that is retransmitted after BYE does not bring the call back."""
    script = Script()
    script.talk()
    script.end()
    script.response(200, ANSWER)
    assert script.open == set()


def test_ended_fork_does_not_come_back() -> None:
    """Nor does one fork's, while another one lives."""
    script = Script()
    script.invite()
    script.response(200, ANSWER, tag=b"bob")
    script.response(200, sdp(CAROL, audio(50000, CRYPTO_B2)), tag=b"carol")
    script.end(b"bob")
    script.response(200, ANSWER, tag=b"bob")
    assert script.open == both_ways(ALICE, 30000, CAROL, 50000)

"""What an attacker can make grow has a bound, and the bound is counted (GEN-3)."""

from phones import (
    ALICE,
    ANSWER,
    BOB,
    CALL_HOLES,
    CRYPTO_A,
    CRYPTO_A2,
    CRYPTO_B,
    CRYPTO_B2,
    Script,
    audio,
    sdp,
)

from sipguard.media.sessions import Sessions
from sipguard.reason import Reason


def test_holes_per_call_are_limited() -> None:
    """GEN-3: one call cannot take the whole table; a stream opens whole or not at all."""
    script = Script(Sessions(max_holes_per_call=6))
    offer = sdp(ALICE, audio(30000, CRYPTO_A), f"m=video 30002 RTP/SAVP 96\n{CRYPTO_A2}")
    answer = sdp(BOB, audio(40000, CRYPTO_B), f"m=video 40002 RTP/SAVP 96\n{CRYPTO_B2}")
    assert script.talk(offer, answer) == CALL_HOLES
    assert script.reasons >= {Reason.HOLE_LIMIT}
    # A second round on other ports does not get past the limit either.
    script.request("INVITE", sdp(ALICE, audio(31000, CRYPTO_A2)), cseq=2)
    script.response(200, ANSWER, cseq=2)
    assert len(script.open) <= 6


def test_holes_in_all_are_limited() -> None:
    """GEN-3: at the limit nothing opens and it is said."""
    sessions = Sessions(max_holes=6)
    one = Script(sessions)
    one.talk()
    two = Script(sessions, call_id=b"call-2", opened=one.open)
    two.talk(sdp(ALICE, audio(31000, CRYPTO_A)), sdp(BOB, audio(41000, CRYPTO_B)))
    assert two.reasons >= {Reason.HOLE_LIMIT}
    assert one.open == CALL_HOLES


def test_oldest_unanswered_call_goes_first() -> None:
    """GEN-3: a full table forgets ringing calls, counts them, and keeps running ones."""
    sessions = Sessions(max_calls=2)
    running = Script(sessions)
    running.talk()
    ringing = Script(sessions, call_id=b"call-2", opened=running.open)
    ringing.invite(sdp(ALICE, audio(31000, CRYPTO_A)))
    ringing.response(183, sdp(BOB, audio(41000, CRYPTO_B)))
    assert len(running.open) == 8
    third = Script(sessions, call_id=b"call-3", opened=running.open)
    third.invite(sdp(ALICE, audio(32000, CRYPTO_A)))
    assert running.open == CALL_HOLES
    third.response(200, sdp(BOB, audio(42000, CRYPTO_B)))
    fourth = Script(sessions, call_id=b"call-4", opened=running.open)
    fourth.invite()
    assert fourth.reasons == {Reason.HOLE_LIMIT}
    counted = sessions.statistics()
    assert (counted.calls, counted.forgotten, counted.turned_away) == (2, 1, 1)


def test_forks_are_limited() -> None:
    """PIN-3: a flood of To tags makes a bounded number of branches."""
    script = Script()
    script.invite()
    for number in range(100):
        script.response(183, ANSWER, tag=b"fork-%d" % number)
    assert script.reasons == {Reason.HOLE_LIMIT}
    assert script.open == CALL_HOLES
    script.response(487, tag=b"fork-1")
    assert script.open == set()

"""Re-INVITE, UPDATE, hold and resume: old holes, new holes, and rollback (PIN-8, PIN-9)."""

import pytest
from phones import (
    ALICE,
    ANSWER,
    BOB,
    CALL_HOLES,
    CRYPTO_A,
    CRYPTO_A2,
    CRYPTO_B,
    CRYPTO_B2,
    OFFER,
    Script,
    audio,
    both_ways,
    hole,
    sdp,
)

from sipguard.media.sessions import Party


def test_reinvite_with_a_new_port_overlaps() -> None:
    """PIN-8: old and new are open together for a minute at most, then only the new."""
    script = Script()
    script.talk()
    script.request("INVITE", sdp(ALICE, audio(30020, CRYPTO_A2), version=2), cseq=2)
    assert script.open == CALL_HOLES
    script.response(200, sdp(BOB, audio(40000, CRYPTO_B2), version=2), cseq=2)
    fresh = both_ways(ALICE, 30020, BOB, 40000)
    assert script.open == CALL_HOLES | fresh
    script.wait(59)
    assert script.open == CALL_HOLES | fresh
    script.wait(2)
    assert script.open == fresh
    script.end()
    assert script.open == set()


def test_call_that_ends_during_the_overlap_closes_both() -> None:
    """No replaced hole outlives its call."""
    script = Script()
    script.talk()
    script.request("INVITE", sdp(ALICE, audio(30020, CRYPTO_A2)), cseq=2)
    script.response(200, ANSWER, cseq=2)
    script.end()
    assert script.open == set()
    script.wait(100)


def test_going_back_to_the_old_port_during_the_overlap() -> None:
    """A hole that is wanted again does not close when its overlap is over."""
    script = Script()
    script.talk()
    for cseq, offer in ((2, sdp(ALICE, audio(30020, CRYPTO_A2), version=2)), (3, OFFER)):
        script.request("INVITE", offer, cseq=cseq)
        script.response(200, ANSWER, cseq=cseq)
    script.wait(61)
    assert script.open == CALL_HOLES


def test_callee_may_renegotiate() -> None:
    """Requests inside a dialog go either way."""
    script = Script()
    script.talk()
    script.request(
        "INVITE", sdp(BOB, audio(40500, CRYPTO_B2), version=2), cseq=7, sender=Party.CALLEE
    )
    script.response(200, sdp(ALICE, audio(30000, CRYPTO_A2)), cseq=7, sender=Party.CALLER)
    script.wait(61)
    assert script.open == both_ways(ALICE, 30000, BOB, 40500)


@pytest.mark.parametrize("held", ["sendonly", "recvonly", "inactive"])
def test_hold_by_direction_keeps_the_holes(held: str) -> None:
    """PIN-9: RTCP still flows both ways; the holes stay through hold and resume."""
    script = Script()
    script.talk()
    for cseq, direction in ((2, held), (3, "sendrecv")):
        line = f"a={direction}"
        offer = sdp(ALICE, audio(30000, CRYPTO_A, line), version=cseq)
        script.request("INVITE", offer, cseq=cseq)
        outcome = script.response(200, sdp(BOB, audio(40000, CRYPTO_B, line)), cseq=cseq)
        assert outcome.effects == ()
        assert {effect.hole for effect in outcome.renewed} == CALL_HOLES
    script.wait(100)
    assert script.open == CALL_HOLES


def test_hold_by_unspecified_address_closes_that_direction() -> None:
    """PIN-9: c=0.0.0.0 means nothing to that party, and it may still send (music on hold)."""
    script = Script()
    script.talk()
    held = sdp("0.0.0.0", audio(30000, CRYPTO_A))
    to_bob = {hole(ALICE, BOB, 40000), hole(ALICE, BOB, 40001)}
    for cseq in (2, 3):  # a session refresh repeats the hold
        script.request("INVITE", held, cseq=cseq)
        script.response(200, ANSWER, cseq=cseq)
        assert script.open == to_bob
    script.request("INVITE", OFFER, cseq=4)
    script.response(200, ANSWER, cseq=4)
    assert script.open == CALL_HOLES


@pytest.mark.parametrize("status", [488, 491, 500])
def test_refused_reinvite_is_rolled_back(status: int) -> None:
    """PIN-8: the old session stands exactly, and the next offer works."""
    script = Script()
    script.talk()
    script.request("INVITE", sdp(ALICE, audio(30020, CRYPTO_A2)), cseq=2)
    assert script.response(status, cseq=2).effects == ()
    assert script.open == CALL_HOLES
    script.request("INVITE", sdp(ALICE, audio(30030, CRYPTO_A2)), cseq=3)
    script.response(200, ANSWER, cseq=3)
    script.wait(61)
    assert script.open == both_ways(ALICE, 30030, BOB, 40000)


def test_refused_reinvite_takes_its_preview_back() -> None:
    """What a 183 to the re-INVITE opened closes with the refusal."""
    script = Script()
    script.talk()
    script.request("INVITE", sdp(ALICE, audio(30020, CRYPTO_A2)), cseq=2)
    script.response(183, ANSWER, cseq=2)
    assert script.open > CALL_HOLES
    script.response(488, cseq=2)
    assert script.open == CALL_HOLES


def test_refused_update_is_rolled_back() -> None:
    """PIN-8 for UPDATE (RFC 3311 section 5.3)."""
    script = Script()
    script.talk()
    script.request("UPDATE", sdp(ALICE, audio(30020, CRYPTO_A2)), cseq=2)
    script.response(488, method="UPDATE", cseq=2)
    script.response(200, sdp(BOB, audio(40900, CRYPTO_B2)), method="UPDATE", cseq=2)
    assert script.open == CALL_HOLES


def test_refresh_without_sdp_changes_nothing() -> None:
    """A session timer's UPDATE has no body."""
    script = Script()
    script.talk()
    script.request("UPDATE", cseq=2, sender=Party.CALLEE)
    script.response(200, method="UPDATE", cseq=2, sender=Party.CALLER)
    assert script.open == CALL_HOLES

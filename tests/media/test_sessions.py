"""Corners of offer/answer: retransmissions, lost answers, vouching, bounds in time."""

from phones import (
    ALICE,
    ANSWER,
    BOB,
    CALL_HOLES,
    CAROL,
    CRYPTO_A,
    CRYPTO_A2,
    CRYPTO_B,
    CRYPTO_B2,
    OFFER,
    PROXY,
    Script,
    audio,
    both_ways,
    octets,
    sdp,
)

from sipguard.media.sessions import Party, Sessions
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, Endpoint, OpenPinhole

MOVED = sdp(ALICE, audio(30020, CRYPTO_A2), version=2)


def test_effects_name_the_call_and_the_key() -> None:
    """What the kernel side and the record need: method, idle time, Call-ID, reason."""
    script = Script()
    script.invite()
    for effect in script.response(200, ANSWER).effects:
        assert isinstance(effect, OpenPinhole)
        assert (effect.key_method, effect.idle_s, effect.call_id) == ("sdes", 60, b"call-1")
    closed = script.sessions.ended(script.call, b"to-tag", Reason.CALL_ENDED, script.now)
    assert len(closed) == 4
    for effect in closed:
        assert isinstance(effect, ClosePinhole)
        assert (effect.reason, effect.call_id) == (Reason.CALL_ENDED, b"call-1")
        assert effect.key_method == "sdes"


def test_stream_names_both_ends_whoever_offers() -> None:
    """A delayed offer comes from the callee; the record still tells caller from callee."""
    script = Script()
    script.invite(None)
    script.response(200, ANSWER)
    [stream] = script.request("ACK", OFFER).streams
    assert stream.caller == Endpoint(octets(ALICE), 30000)
    assert stream.callee == Endpoint(octets(BOB), 40000)
    assert (stream.index, stream.kind, stream.proto) == (0, b"audio", b"RTP/SAVP")
    assert (stream.method, stream.suite) == (b"sdes", b"AES_CM_128_HMAC_SHA1_80")


def test_retransmitted_reinvite_is_silent() -> None:
    """While it is pending and after it was answered, the same offer again is nothing new."""
    script = Script()
    script.talk()
    script.request("INVITE", MOVED, cseq=2)
    for _ in range(2):
        script.request("INVITE", MOVED, cseq=2)
        assert script.reasons == set()
    script.response(200, ANSWER, cseq=2)
    outcome = script.request("INVITE", MOVED, cseq=2)
    assert (outcome.effects, outcome.findings) == ((), ())
    script.request("UPDATE", OFFER, cseq=3)
    assert script.reasons == set()


def test_changed_retransmission_is_not_used() -> None:
    """One transaction, one offer: another one under the same CSeq is noted and ignored."""
    script = Script()
    script.talk()
    script.request("INVITE", MOVED, cseq=2)
    script.request("INVITE", sdp(CAROL, audio(30030, CRYPTO_A2)), cseq=2)
    assert script.reasons == {Reason.LATER_SDP_DIFFERS}
    script.response(200, ANSWER, cseq=2)
    script.wait(61)
    assert script.open == both_ways(ALICE, 30020, BOB, 40000)


def test_retransmitted_prack_answer_is_no_offer() -> None:
    """Nothing can be answered to it afterwards."""
    script = Script()
    script.invite(None)
    script.response(183, ANSWER, reliable=True)
    script.request("PRACK", OFFER, cseq=2)
    script.request("PRACK", OFFER, cseq=2)
    script.response(200, sdp(BOB, audio(40900, CRYPTO_B2)), method="PRACK", cseq=2)
    assert script.reasons == {Reason.ANSWER_MISMATCH}
    assert script.open == CALL_HOLES


def test_offer_whose_answer_was_lost_gives_way_to_the_next() -> None:
    """A side that offers anew has given its older offer up."""
    script = Script()
    script.talk()
    script.request("INVITE", sdp(ALICE, audio(30040, CRYPTO_A2)), cseq=2)
    script.request("INVITE", MOVED, cseq=3)
    assert script.reasons == set()
    script.response(200, ANSWER, cseq=3)
    script.wait(61)
    assert script.open == both_ways(ALICE, 30020, BOB, 40000)


def test_abandoned_offer_does_not_block_the_other_side() -> None:
    """After 64*T1 nobody answers an in-dialog offer any more."""
    script = Script()
    script.talk()
    script.request("UPDATE", MOVED, cseq=2)
    script.wait(33)
    script.request("INVITE", sdp(BOB, audio(40020, CRYPTO_B2)), cseq=1, sender=Party.CALLEE)
    assert script.reasons == set()
    script.response(200, OFFER, cseq=1, sender=Party.CALLER)
    script.wait(61)
    assert script.open == both_ways(ALICE, 30000, BOB, 40020)


def test_unreliable_description_before_a_delayed_offer_is_no_offer() -> None:
    """RFC 3261 13.2.1: only a reliable response may offer; the 200 does."""
    script = Script()
    script.invite(None)
    script.response(183, sdp(BOB, audio(40900, CRYPTO_B2)))
    script.response(200, ANSWER)
    script.request("ACK", OFFER)
    assert script.open == CALL_HOLES


def test_ack_without_an_answer_frees_the_dialog() -> None:
    """A delayed offer that nobody answers does not block later ones."""
    script = Script()
    script.invite(None)
    script.response(200, ANSWER)
    script.request("ACK")
    assert script.open == set()
    script.request("UPDATE", OFFER, cseq=2)
    assert script.reasons == set()
    script.response(200, ANSWER, method="UPDATE", cseq=2)
    assert script.open == CALL_HOLES


def test_reinvite_without_offer() -> None:
    """Pattern 2 inside a dialog: the 200 offers, the ACK answers; refreshes keep the holes."""
    script = Script()
    script.talk()
    script.request("INVITE", cseq=2)
    script.response(200, sdp(BOB, audio(40020, CRYPTO_B2)), cseq=2)
    assert script.open == CALL_HOLES
    script.request("ACK", MOVED, cseq=2)
    script.wait(61)
    assert script.open == both_ways(ALICE, 30020, BOB, 40020)


def test_200_to_an_offer_without_answer_fails_the_offer() -> None:
    """A 200 to UPDATE must answer its offer; where it does not, the old session stands."""
    script = Script()
    script.talk()
    script.request("UPDATE", MOVED, cseq=2)
    script.response(200, method="UPDATE", cseq=2)
    script.response(200, ANSWER, method="UPDATE", cseq=2)
    assert script.open == CALL_HOLES


def test_old_holes_are_bounded_in_number() -> None:
    """A side that moves every second keeps a few old ports open, not sixty."""
    script = Script(Sessions(max_holes_per_call=100))
    script.talk()
    for cseq in range(2, 12):
        moved = sdp(ALICE, audio(30000 + 10 * cseq, CRYPTO_A2), version=cseq)
        script.request("INVITE", moved, cseq=cseq)
        script.response(200, ANSWER, cseq=cseq)
        script.wait(1)
    assert {hole.port for hole in script.open if hole.port < 40000} == {
        port for cseq in range(7, 12) for port in (30000 + 10 * cseq, 30001 + 10 * cseq)
    }


def test_vouching_needs_the_packet_and_the_sdp_to_agree() -> None:
    """An address is not vouched for because some packet came from it with other SDP."""
    script = Script()
    script.invite(path=(ALICE, PROXY))
    script.invite(path=(PROXY, BOB))
    script.response(200, ANSWER, path=(BOB, PROXY))
    script.response(200, ANSWER, path=(PROXY, ALICE))
    relayed = sdp(PROXY, audio(20000, CRYPTO_A2))
    script.request("INVITE", relayed, cseq=2, path=(ALICE, PROXY))
    [stream] = script.response(200, ANSWER, cseq=2, path=(PROXY, ALICE)).streams
    assert not stream.caller_vouched


def test_offer_from_elsewhere_is_not_vouched_for() -> None:
    """streams_of_offer looks at the offer's own packet, and at what the call has shown."""
    script = Script()
    sessions = script.sessions

    def vouched(path: tuple[str, str]) -> bool:
        step = script.step(
            "INVITE", 0, OFFER, sender=Party.CALLER, cseq=1, tag=b"", reliable=False, path=path
        )
        [stream] = sessions.streams_of_offer(step, script.now)
        return stream.caller_vouched

    assert vouched((ALICE, BOB))
    assert not vouched((PROXY, BOB))
    script.invite(path=(ALICE, PROXY))
    assert vouched((PROXY, BOB))


def test_early_timer_of_an_ended_call_does_nothing() -> None:
    """Timers that outlive their call find nothing to close."""
    script = Script()
    script.talk()
    script.end()
    script.talk()
    script.wait(33)
    assert script.open == CALL_HOLES


def test_response_to_a_callee_offer_is_not_the_initial_invite() -> None:
    """A re-INVITE of the callee with the initial INVITE's CSeq number may fail alone."""
    script = Script()
    script.talk()
    script.request("INVITE", sdp(BOB, audio(40020, CRYPTO_B2)), cseq=1, sender=Party.CALLEE)
    script.response(488, cseq=1, sender=Party.CALLER)
    assert script.open == CALL_HOLES


def test_switching_a_stream_off_closes_it_at_once() -> None:
    """PIN-6: port 0 in the answer is off, without an overlap."""
    script = Script()
    script.talk()
    script.request("INVITE", MOVED, cseq=2)
    script.response(200, sdp(BOB, audio(0, CRYPTO_B)), cseq=2)
    assert script.open == set()


def test_refused_preview_leaves_another_calls_holes_alone() -> None:
    """What a refusal gives back it gives back once, also where two calls share a pair of ports."""
    sessions = Sessions()
    lasting = Script(sessions)
    lasting.talk()
    refused = Script(sessions, call_id=b"call-2", opened=lasting.open)
    refused.invite()
    refused.response(183, ANSWER)
    refused.response(486)
    assert lasting.open == CALL_HOLES


def test_second_preview_does_not_make_the_first_one_firm() -> None:
    """Until a reliable answer the INVITE's offer is pending and no other may be made."""
    script = Script()
    script.invite()
    script.response(183, ANSWER)
    script.response(183, sdp(BOB, audio(40020, CRYPTO_B2)))
    script.request("UPDATE", MOVED, cseq=2)
    assert script.reasons == {Reason.OFFER_PENDING}


def test_ended_fork_leaves_a_ringing_call_alone() -> None:
    """One fork's early dialog ends before the other fork has sent any SDP."""
    script = Script()
    script.invite()
    script.response(183, sdp(CAROL, audio(50000, CRYPTO_B2)), tag=b"carol")
    script.end(b"carol")
    assert script.open == set()
    script.response(200, ANSWER, tag=b"bob")
    assert script.open == CALL_HOLES


def test_call_that_nobody_answers_is_forgotten_in_time() -> None:
    """A call whose end was never seen does not stay for ever, nor does its preview."""
    script = Script()
    script.invite()
    script.response(183, ANSWER)
    script.wait(899)
    assert script.open == CALL_HOLES
    script.wait(2)
    assert script.open == set()
    assert script.sessions.statistics().calls == 0


def test_cleartext_sdes_is_shown() -> None:
    """SDE-9: a key over clear signalling is flagged, over TLS it is not."""
    for transport, is_clear in (("udp", True), ("tcp", True), ("tls", False), ("wss", False)):
        script = Script()
        script.request("INVITE", OFFER, tag=b"", transport=transport)
        [stream] = script.response(200, ANSWER, transport=transport).streams
        assert stream.cleartext is is_clear
        assert (Reason.CLEARTEXT_SDES in script.reasons) is is_clear


def test_address_of_somebody_else_is_not_vouched_for() -> None:
    """SDP-8: an SDP that names a third host is shown as such to the policy."""
    script = Script()
    script.talk(sdp(CAROL, audio(30000, CRYPTO_A)))
    [stream] = script.outcome.streams
    assert (stream.caller_vouched, stream.callee_vouched) == (False, True)

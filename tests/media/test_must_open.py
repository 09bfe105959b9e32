"""Calls that honest telephones place: each must get its pinholes, and lose them after the call.

One test or row per case of RULES.md 6.2 and 7.0 to 7.2, and of what real clients
were seen to do (optional SRTP, unpadded keys, a dozen suites in one offer).
"""

import pytest
from phones import (
    ALICE,
    ALICE6,
    ANSWER,
    BOB,
    BOB6,
    CALL_HOLES,
    CAROL,
    CRYPTO_A,
    CRYPTO_A2,
    CRYPTO_B,
    CRYPTO_B2,
    DTLS,
    KEY_A,
    KEY_B,
    OFFER,
    PRINT_A,
    PRINT_B,
    PROXY,
    SUITE,
    Script,
    audio,
    both_ways,
    hole,
    sdp,
)

from sipguard.media.sessions import Party, Sessions
from sipguard.reason import Reason
from sipguard.wire.sdp import Sdp

LONG_KEY = "inline:" + "QUJD" * 15 + "QQ=="  # 46 octets
LONG_BARE = "inline:" + "REVG" * 15 + "RA"  # 46 octets without padding
GCM_BARE = "inline:" + "R0hJ" * 9 + "Rw"  # 28 octets without padding
MANY = (
    f"a=crypto:1 AEAD_AES_256_GCM inline:{'QUFB' * 14}QUE",
    f"a=crypto:2 AEAD_AES_128_GCM {GCM_BARE}",
    f"a=crypto:3 AES_256_CM_HMAC_SHA1_80 {LONG_KEY}",
    f"a=crypto:4 AES_CM_128_HMAC_SHA1_80 {KEY_A}",
    f"a=crypto:5 NULL_HMAC_SHA1_80 {KEY_A}",
    f"a=crypto:6 NULL_HMAC_SHA1_32 {KEY_A}",
)


def simple(offer: str, answer: str) -> tuple[Sdp, Sdp]:
    return sdp(ALICE, offer), sdp(BOB, answer)


KEYED = {
    "SDES": (OFFER, ANSWER),
    "SAVPF": simple(
        audio(30000, CRYPTO_A, proto="RTP/SAVPF"), audio(40000, CRYPTO_B, proto="RTP/SAVPF")
    ),
    "optional SRTP": simple(
        audio(30000, CRYPTO_A, proto="RTP/AVP"), audio(40000, CRYPTO_B, proto="RTP/AVP")
    ),
    "keys without padding": simple(
        audio(30000, f"a=crypto:1 AES_256_CM_HMAC_SHA1_80 {LONG_KEY}"),
        audio(40000, f"a=crypto:1 AES_256_CM_HMAC_SHA1_80 {LONG_BARE}"),
    ),
    "many suites beside a fingerprint": simple(
        audio(30000, *MANY, "a=setup:actpass", PRINT_A),
        audio(40000, f"a=crypto:4 {SUITE} {KEY_B}"),
    ),
    "many suites under UDP/TLS": simple(
        audio(30000, *MANY, "a=setup:actpass", PRINT_A, proto=DTLS),
        audio(40000, "a=setup:active", PRINT_B, proto=DTLS),
    ),
    "MKI, lifetime and KDR": simple(
        audio(30000, f"a=crypto:1 {SUITE} {KEY_A}|2^20|1:4 KDR=1"),
        audio(40000, f"a=crypto:1 {SUITE} {KEY_B}|2^20|1:4 KDR=1"),
    ),
    "lower-case suite": simple(
        audio(30000, f"a=crypto:1 {SUITE.lower()} {KEY_A}"), audio(40000, CRYPTO_B)
    ),
    "DTLS actpass to active": simple(
        audio(30000, "a=setup:actpass", PRINT_A, proto=DTLS),
        audio(40000, "a=setup:active", PRINT_B, proto=DTLS),
    ),
    "DTLS actpass to passive, SAVP": simple(
        audio(30000, "a=setup:actpass", PRINT_A, proto="UDP/TLS/RTP/SAVP"),
        audio(40000, "a=setup:passive", PRINT_B, proto="UDP/TLS/RTP/SAVP"),
    ),
    "DTLS at session level": (
        sdp(ALICE, audio(30000, proto=DTLS), session=("a=setup:actpass", PRINT_A)),
        sdp(
            BOB,
            audio(40000, "a=setup:active", PRINT_B, proto=DTLS),
            session=("a=setup:active", PRINT_B),
        ),
    ),
    "bare LF line ends": (sdp(ALICE, audio(30000, CRYPTO_A), end="\n"), ANSWER),
}


@pytest.mark.parametrize("case", KEYED)
def test_keyed_stream_gets_holes_both_ways(case: str) -> None:
    """PIN-18: a complete keying opens RTP and RTCP both ways, and BYE closes all of it."""
    script = Script()
    assert script.talk(*KEYED[case]) == CALL_HOLES
    [stream] = script.outcome.streams
    assert stream.keyed
    assert stream.reason is Reason.KEYED
    assert (stream.caller_vouched, stream.callee_vouched) == (True, True)
    script.end()
    assert script.open == set()
    assert script.sessions.statistics().calls == 0


@pytest.mark.parametrize("case", KEYED)
def test_offer_of_a_keyed_stream_is_shown_as_keyed(case: str) -> None:
    """What strict policies refuse by `not keyed` must not hit an offer that can be secured."""
    script = Script()
    offer = KEYED[case][0]
    step = script.step(
        "INVITE", 0, offer, sender=Party.CALLER, cseq=1, tag=b"", reliable=False, path=None
    )
    [stream] = script.sessions.streams_of_offer(step)
    assert stream.keyed
    assert stream.caller_vouched
    assert stream.callee.port == 0
    assert script.sessions.statistics().calls == 0


def test_no_hole_before_the_answer() -> None:
    """PIN-1: an offer alone opens nothing."""
    script = Script()
    assert script.invite().effects == ()
    script.response(180)
    assert script.open == set()


def test_ipv6() -> None:
    """The same over IPv6."""
    script = Script(caller=ALICE6, callee=BOB6)
    opened = script.talk(sdp(ALICE6, audio(30000, CRYPTO_A)), sdp(BOB6, audio(40000, CRYPTO_B)))
    assert opened == both_ways(ALICE6, 30000, BOB6, 40000)


def test_ipv4_media_under_ipv6_signalling() -> None:
    """baresip without -6 does this; the sides are then not vouched for by a packet."""
    script = Script(caller=ALICE6, callee=BOB6)
    assert script.talk() == CALL_HOLES
    [stream] = script.outcome.streams
    assert (stream.caller_vouched, stream.callee_vouched) == (False, False)


def test_rtcp_mux_needs_one_port() -> None:
    """PIN-10: multiplexed by both sides, RTCP needs no port of its own."""
    script = Script()
    opened = script.talk(
        sdp(ALICE, audio(30000, CRYPTO_A, "a=rtcp-mux")),
        sdp(BOB, audio(40000, CRYPTO_B, "a=rtcp-mux")),
    )
    assert opened == {hole(BOB, ALICE, 30000), hole(ALICE, BOB, 40000)}


def test_rtcp_mux_of_one_side_changes_nothing() -> None:
    """PIN-10: mux offered and not answered keeps the RTCP ports."""
    script = Script()
    assert script.talk(sdp(ALICE, audio(30000, CRYPTO_A, "a=rtcp-mux"))) == CALL_HOLES


@pytest.mark.parametrize("line", ["a=rtcp:30777", f"a=rtcp:30777 IN IP4 {ALICE}"])
def test_rtcp_line_names_the_port(line: str) -> None:
    """PIN-10: a=rtcp overrides the next port (RFC 3605)."""
    script = Script()
    opened = script.talk(sdp(ALICE, audio(30000, CRYPTO_A, line)))
    assert opened == (CALL_HOLES - {hole(BOB, ALICE, 30001)}) | {hole(BOB, ALICE, 30777)}


def test_preview_in_183_opens_and_an_equal_200_changes_nothing() -> None:
    """PIN-2: an unreliable 183 is a preview; the same answer in the 200 makes it firm."""
    script = Script()
    script.invite()
    script.response(183, ANSWER)
    assert script.open == CALL_HOLES
    script.response(180)
    assert script.response(200, ANSWER).effects == ()
    assert script.response(200, ANSWER).effects == ()
    assert script.reasons == set()
    assert script.open == CALL_HOLES


def test_preview_and_a_200_without_sdp() -> None:
    """The preview stands where the 200 does not repeat it."""
    script = Script()
    script.invite()
    script.response(183, ANSWER)
    script.response(200)
    assert script.open == CALL_HOLES
    script.request("UPDATE", sdp(ALICE, audio(30100, CRYPTO_A2)), cseq=2)
    script.response(200, ANSWER, method="UPDATE", cseq=2)
    assert script.open >= both_ways(ALICE, 30100, BOB, 40000)


def test_delayed_offer() -> None:
    """Pattern 2: offer in the 200, answer in the ACK."""
    script = Script()
    script.invite(None)
    script.response(200, ANSWER)
    assert script.open == set()
    script.request("ACK", OFFER)
    assert script.open == CALL_HOLES
    assert script.request("ACK", OFFER).effects == ()
    assert script.reasons == set()


def test_delayed_offer_acknowledged_past_the_proxy() -> None:
    """The ACK may take the direct way; it answers the offer that came through the proxy."""
    script = Script()
    script.invite(None, path=(ALICE, PROXY))
    script.invite(None, path=(PROXY, BOB))
    script.response(200, ANSWER, path=(BOB, PROXY))
    script.response(200, ANSWER, path=(PROXY, ALICE))
    script.request("ACK", OFFER, path=(ALICE, BOB))
    assert script.open == CALL_HOLES
    script.end()
    assert script.open == set()


def test_offer_in_reliable_response_answered_in_prack() -> None:
    """Pattern 4: the reliable 183 offers, PRACK answers; its retransmission is no new offer."""
    script = Script()
    script.invite(None)
    script.response(183, ANSWER, reliable=True)
    script.request("PRACK", OFFER, cseq=2)
    assert script.open == CALL_HOLES
    assert script.request("PRACK", OFFER, cseq=2).effects == ()
    script.response(200, method="PRACK", cseq=2)
    script.response(200)
    assert script.open == CALL_HOLES
    assert script.reasons == set()


def test_reliable_183_then_prack_then_update() -> None:
    """Patterns 3 and 6: the early dialog renegotiates before the 200 (uac_prack of the lab)."""
    script = Script()
    script.invite()
    script.response(183, ANSWER, reliable=True)
    assert script.open == CALL_HOLES
    script.request("PRACK", cseq=2)
    script.response(200, method="PRACK", cseq=2)
    script.request("UPDATE", sdp(ALICE, audio(30010, CRYPTO_A), version=2), cseq=3)
    script.response(200, sdp(BOB, audio(40000, CRYPTO_B), version=2), method="UPDATE", cseq=3)
    assert script.open == CALL_HOLES | both_ways(ALICE, 30010, BOB, 40000)
    script.response(180)
    script.response(200)
    script.wait(61)
    assert script.open == both_ways(ALICE, 30010, BOB, 40000)


def test_offer_in_prack() -> None:
    """Pattern 5: PRACK offers, its 200 answers."""
    script = Script()
    script.invite()
    script.response(183, ANSWER, reliable=True)
    script.request("PRACK", sdp(ALICE, audio(30010, CRYPTO_A2)), cseq=2)
    script.response(200, sdp(BOB, audio(40000, CRYPTO_B2)), method="PRACK", cseq=2)
    assert script.open >= both_ways(ALICE, 30010, BOB, 40000)


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


def test_several_streams_with_some_refused() -> None:
    """Video refused with port 0 and T.38 never offered: audio opens, nothing else does."""
    offer = sdp(
        ALICE,
        audio(
            30000, f"a=crypto:1 AES_256_CM_HMAC_SHA1_80 {LONG_KEY}", CRYPTO_A.replace(":1", ":2")
        ),
        f"m=video 30002 RTP/SAVP 96\n{CRYPTO_A2}",
        "m=image 0 udptl t38",
    )
    answer = sdp(
        BOB,
        audio(40000, CRYPTO_B.replace(":1", ":2", 1)),
        "m=video 0 RTP/SAVP 96",
        "m=image 0 udptl t38",
    )
    script = Script()
    step = script.step(
        "INVITE", 0, offer, sender=Party.CALLER, cseq=1, tag=b"", reliable=False, path=None
    )
    assert [s.kind for s in script.sessions.streams_of_offer(step)] == [b"audio", b"video"]
    assert script.talk(offer, answer) == CALL_HOLES
    assert len(script.outcome.streams) == 1


def test_two_streams() -> None:
    """Audio and video of one call each get their own holes."""
    offer = sdp(ALICE, audio(30000, CRYPTO_A), f"m=video 30002 RTP/SAVP 96\n{CRYPTO_A2}")
    answer = sdp(BOB, audio(40000, CRYPTO_B), f"m=video 40002 RTP/SAVP 96\n{CRYPTO_B2}")
    script = Script()
    opened = script.talk(offer, answer)
    assert opened == CALL_HOLES | both_ways(ALICE, 30002, BOB, 40002)
    # Video is switched off: its holes close at once, audio's stay.
    off = sdp(ALICE, audio(30000, CRYPTO_A), "m=video 0 RTP/SAVP 96", version=2)
    script.request("INVITE", off, cseq=2)
    script.response(200, sdp(BOB, audio(40000, CRYPTO_B), "m=video 0 RTP/SAVP 96"), cseq=2)
    assert script.open == CALL_HOLES


def test_forks_have_their_own_holes_and_share_the_callers_port() -> None:
    """PIN-3: each To tag is its own dialog; the losers close 64*T1 after the first 2xx."""
    script = Script()
    carol = sdp(CAROL, audio(50000, CRYPTO_B2))
    carols = both_ways(ALICE, 30000, CAROL, 50000)
    script.invite()
    script.response(183, ANSWER, tag=b"bob")
    script.response(183, carol, tag=b"carol")
    assert script.open == CALL_HOLES | carols
    script.response(200, carol, tag=b"carol")
    script.wait(31)
    assert script.open == CALL_HOLES | carols
    script.wait(2)
    assert script.open == carols
    script.end(b"carol")
    assert script.open == set()


def test_late_2xx_of_another_fork_counts() -> None:
    """PIN-3: a fork that answers within 64*T1 is a call of its own."""
    script = Script()
    carol = sdp(CAROL, audio(50000, CRYPTO_B2))
    script.invite()
    script.response(200, ANSWER, tag=b"bob")
    script.wait(5)
    script.response(200, carol, tag=b"carol")
    script.wait(60)
    assert script.open == CALL_HOLES | both_ways(ALICE, 30000, CAROL, 50000)
    script.end(b"bob")
    assert script.open == both_ways(ALICE, 30000, CAROL, 50000)


def through_proxy(script: Script) -> None:
    script.invite(path=(ALICE, PROXY))
    script.invite(path=(PROXY, BOB))
    script.response(180, path=(BOB, PROXY))
    script.response(200, ANSWER, path=(BOB, PROXY))
    script.response(200, ANSWER, path=(PROXY, ALICE))
    script.request("ACK", path=(ALICE, PROXY))
    script.request("ACK", path=(PROXY, BOB))


def test_second_leg_of_the_same_call() -> None:
    """A proxied call crosses twice: nothing opens twice, and the first leg vouches for both."""
    script = Script()
    through_proxy(script)
    assert script.open == CALL_HOLES
    script.end()
    assert script.open == set()


def test_second_leg_is_vouched_for_by_the_first() -> None:
    """Only the first leg's packet comes from the caller; the second leg's judge sees that."""
    script = Script()
    script.invite(path=(ALICE, PROXY))
    script.invite(path=(PROXY, BOB))
    [stream] = script.response(200, ANSWER, path=(BOB, PROXY)).streams
    assert (stream.caller_vouched, stream.callee_vouched) == (True, True)
    [again] = script.response(200, ANSWER, path=(PROXY, ALICE)).streams
    assert (again.caller_vouched, again.callee_vouched) == (True, True)
    assert script.outcome.effects == ()
    assert script.reasons <= {Reason.CLEARTEXT_SDES}


def test_renegotiation_through_a_proxy() -> None:
    """A re-INVITE that crosses twice is one renegotiation, with one overlap."""
    script = Script()
    through_proxy(script)
    offer = sdp(ALICE, audio(30020, CRYPTO_A2), version=2)
    answer = sdp(BOB, audio(40000, CRYPTO_B2), version=2)
    script.request("INVITE", offer, cseq=2, path=(ALICE, PROXY))
    script.request("INVITE", offer, cseq=2, path=(PROXY, BOB))
    assert script.reasons == set()
    script.response(200, answer, cseq=2, path=(BOB, PROXY))
    script.response(200, answer, cseq=2, path=(PROXY, ALICE))
    assert script.open == CALL_HOLES | both_ways(ALICE, 30020, BOB, 40000)
    script.wait(61)
    assert script.open == both_ways(ALICE, 30020, BOB, 40000)
    script.end()
    assert script.open == set()


def test_renegotiation_past_the_proxy() -> None:
    """Without Record-Route a re-INVITE goes straight; the old path's holes give way."""
    script = Script()
    through_proxy(script)
    script.request("INVITE", sdp(ALICE, audio(30020, CRYPTO_A2)), cseq=2, path=(ALICE, BOB))
    script.response(200, ANSWER, cseq=2, path=(BOB, ALICE))
    script.wait(61)
    assert script.open == both_ways(ALICE, 30020, BOB, 40000)


def test_media_relay_between_the_legs() -> None:
    """PIN-16: a relay that rewrites the SDP gets holes on both of its sides."""
    script = Script()
    script.invite(path=(ALICE, PROXY))
    script.invite(sdp(PROXY, audio(20000, CRYPTO_A2)), path=(PROXY, BOB))
    script.response(200, ANSWER, path=(BOB, PROXY))
    script.response(200, sdp(PROXY, audio(20002, CRYPTO_B2)), path=(PROXY, ALICE))
    assert script.open == both_ways(PROXY, 20000, BOB, 40000) | both_ways(
        ALICE, 30000, PROXY, 20002
    )


def test_retry_after_a_challenge() -> None:
    """A 401 or 407 fails the first INVITE; the second, same Call-ID, is a fresh start."""
    script = Script()
    script.invite(path=(ALICE, PROXY))
    script.response(407, tag=b"proxy", path=(PROXY, ALICE))
    script.invite(sdp(ALICE, audio(30000, CRYPTO_A), version=2), cseq=2, path=(ALICE, PROXY))
    script.response(200, ANSWER, cseq=2, path=(PROXY, ALICE))
    assert script.reasons <= {Reason.CLEARTEXT_SDES}
    assert script.open == CALL_HOLES


def test_retransmissions_are_not_offers() -> None:
    """INVITE three times and 200 three times lead to the same four holes."""
    script = Script()
    for _ in range(3):
        script.invite()
    for _ in range(3):
        script.response(200, ANSWER)
    assert script.open == CALL_HOLES
    assert script.reasons == set()


def test_call_to_oneself() -> None:
    """One host on both ends; where both directions are one hole it is opened once."""
    script = Script(callee=ALICE)
    opened = script.talk(OFFER, sdp(ALICE, audio(30000, CRYPTO_B)))
    assert opened == {hole(ALICE, ALICE, 30000), hole(ALICE, ALICE, 30001)}
    script.end()
    assert script.open == set()


def test_reinvite_after_a_restart_is_learned() -> None:
    """A gateway that forgot the call learns its media from the next offer and answer."""
    script = Script()
    script.request("INVITE", OFFER, cseq=5)
    script.response(200, ANSWER, cseq=5)
    assert script.open == CALL_HOLES
    script.wait(40)
    assert script.open == CALL_HOLES


def test_two_calls_of_the_same_pair_of_ports() -> None:
    """A hole that two calls use closes with the second of them."""
    sessions = Sessions()
    one = Script(sessions)
    two = Script(sessions, call_id=b"call-2", opened=one.open)
    one.talk()
    two.talk()
    one.end()
    assert two.open == CALL_HOLES
    two.end()
    assert two.open == set()

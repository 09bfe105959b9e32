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
    [stream] = script.sessions.streams_of_offer(step, script.now)
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
    assert [s.kind for s in script.sessions.streams_of_offer(step, script.now)] == [
        b"audio",
        b"video",
    ]
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

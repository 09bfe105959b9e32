"""What must get no pinhole: unkeyed, badly keyed or downgraded streams, and forbidden ends.

One row per way to fake a secure call or to aim a hole at somebody else.
"""

import pytest
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
    DTLS,
    KEY_A,
    KEY_B,
    OFFER,
    PRINT_A,
    PRINT_B,
    SUITE,
    Script,
    audio,
    body,
    hole,
    refuse_all,
    sdp,
)

from sipguard.errors import HostileInput
from sipguard.media.keys import ProofTerms
from sipguard.media.sessions import Opened, Opening, Party, Sessions, Stream
from sipguard.reason import Reason
from sipguard.verdict import Hole
from sipguard.wire.sdp import Sdp, parse_sdp

SHORT = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:YWJj"
NULL = f"a=crypto:1 NULL_HMAC_SHA1_80 {KEY_A}"
ACTIVE, PASSIVE, ACTPASS = "a=setup:active", "a=setup:passive", "a=setup:actpass"
MD5 = "a=fingerprint:md5 " + ":".join(["AB"] * 16)
CUT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 31)
SHA1_AS_256 = "a=fingerprint:sha-256 " + ":".join(["AB"] * 20)
MIKEY = "a=key-mgmt:mikey Z2FyYmFnZWdhcmJhZ2U="


def line(*attributes: str, proto: str = "RTP/SAVP", media: str = "audio") -> str:
    return "\n".join((f"m={media} {{port}} {proto} 0", *attributes))


def dtls(*attributes: str) -> str:
    return line(*attributes, proto=DTLS)


AVP = "RTP/AVP"
R = Reason
UNKEYED: dict[str, tuple[str, str, Reason]] = {
    "plain": (line(proto=AVP), line(proto=AVP), R.NOT_KEYED),
    "SAVP without a key": (line(), line(), R.NOT_KEYED),
    "zrtp alone": (line("a=zrtp", proto=AVP), line("a=zrtp", proto=AVP), R.NOT_KEYED),
    "garbage key-mgmt": (line(MIKEY), line(MIKEY), R.KEY_MGMT_FAILED),
    "key in the offer alone": (line(CRYPTO_A), line(), R.NOT_KEYED),
    "key in the answer alone": (line(), line(CRYPTO_B), R.ANSWER_CRYPTO),
    "NULL cipher": (line(NULL), line(f"a=crypto:1 NULL_HMAC_SHA1_80 {KEY_B}"), R.WEAK_CRYPTO),
    "UNENCRYPTED_SRTP": (
        line(CRYPTO_A + " UNENCRYPTED_SRTP"),
        line(CRYPTO_B + " UNENCRYPTED_SRTP"),
        R.WEAK_CRYPTO,
    ),
    "UNENCRYPTED_SRTCP": (
        line(CRYPTO_A + " UNENCRYPTED_SRTCP"),
        line(CRYPTO_B + " UNENCRYPTED_SRTCP"),
        R.WEAK_CRYPTO,
    ),
    "UNAUTHENTICATED_SRTP in the offer": (
        line(CRYPTO_A + " UNAUTHENTICATED_SRTP"),
        line(CRYPTO_B),
        R.WEAK_CRYPTO,
    ),
    "lower-case unencrypted_srtp": (
        line(CRYPTO_A),
        line(CRYPTO_B + " unencrypted_srtp"),
        R.WEAK_CRYPTO,
    ),
    "short key": (line(SHORT), line(SHORT), R.BAD_CRYPTO),
    "short key in the answer": (line(CRYPTO_A), line(SHORT), R.BAD_CRYPTO),
    "key of another suite's length": (
        line(CRYPTO_A),
        line(f"a=crypto:1 AES_256_CM_HMAC_SHA1_80 {KEY_B}"),
        R.BAD_CRYPTO,
    ),
    "tag not offered": (
        line(CRYPTO_A),
        line(CRYPTO_B.replace(":1", ":2", 1)),
        R.ANSWER_CRYPTO,
    ),
    "suite not offered": (
        line(CRYPTO_A),
        line(f"a=crypto:1 AES_CM_128_HMAC_SHA1_32 {KEY_B}"),
        R.ANSWER_CRYPTO,
    ),
    "two crypto lines in the answer": (
        line(CRYPTO_A, CRYPTO_A2.replace(":1", ":2", 1)),
        line(CRYPTO_B, CRYPTO_B2.replace(":1", ":2", 1)),
        R.ANSWER_CRYPTO,
    ),
    "one tag for two lines": (line(CRYPTO_A, CRYPTO_A2), line(CRYPTO_B), R.BAD_CRYPTO),
    "unknown suite": (
        line(f"a=crypto:1 ROT_13 {KEY_A}"),
        line(f"a=crypto:1 ROT_13 {KEY_B}"),
        R.BAD_CRYPTO,
    ),
    "same key in both": (line(CRYPTO_A), line(CRYPTO_A), R.KEY_REUSE),
    "same key as another offered line": (
        line(CRYPTO_A, CRYPTO_B.replace(":1", ":2", 1)),
        line(CRYPTO_B),
        R.KEY_REUSE,
    ),
    "optional SRTP not taken": (line(CRYPTO_A, proto=AVP), line(proto=AVP), R.NOT_KEYED),
    "optional SRTP answered by two methods": (
        line(CRYPTO_A, ACTPASS, PRINT_A, proto=AVP),
        line(CRYPTO_B, ACTIVE, PRINT_B, proto=AVP),
        R.KEY_MIXED,
    ),
    "both active": (dtls(ACTIVE, PRINT_A), dtls(ACTIVE, PRINT_B), R.BAD_SETUP),
    "both passive": (dtls(PASSIVE, PRINT_A), dtls(PASSIVE, PRINT_B), R.BAD_SETUP),
    "both actpass": (dtls(ACTPASS, PRINT_A), dtls(ACTPASS, PRINT_B), R.BAD_SETUP),
    "holdconn": (dtls(ACTPASS, PRINT_A), dtls("a=setup:holdconn", PRINT_B), R.BAD_SETUP),
    "no setup": (dtls(PRINT_A), dtls(ACTIVE, PRINT_B), R.BAD_SETUP),
    "two setups": (dtls(ACTPASS, PRINT_A), dtls(ACTIVE, PASSIVE, PRINT_B), R.BAD_SETUP),
    "no fingerprint in the answer": (
        dtls(ACTPASS, PRINT_A),
        dtls(ACTIVE),
        R.BAD_FINGERPRINT,
    ),
    "no fingerprint in the offer": (dtls(ACTPASS), dtls(ACTIVE, PRINT_B), R.BAD_FINGERPRINT),
    "md5": (dtls(ACTPASS, MD5), dtls(ACTIVE, MD5), R.BAD_FINGERPRINT),
    "cut fingerprint": (dtls(ACTPASS, PRINT_A), dtls(ACTIVE, CUT), R.BAD_FINGERPRINT),
    "sha-1 digest as sha-256": (
        dtls(ACTPASS, SHA1_AS_256),
        dtls(ACTIVE, PRINT_B),
        R.BAD_FINGERPRINT,
    ),
    "SDES under UDP/TLS": (dtls(CRYPTO_A), dtls(CRYPTO_B), R.BAD_FINGERPRINT),
    "SAVP to AVP": (line(CRYPTO_A), line(CRYPTO_B, proto=AVP), R.PROFILE_DOWNGRADE),
    "SAVP to SAVPF": (line(CRYPTO_A), line(CRYPTO_B, proto="RTP/SAVPF"), R.PROFILE_DOWNGRADE),
    "DTLS to SAVP": (dtls(ACTPASS, PRINT_A), line(CRYPTO_B), R.PROFILE_DOWNGRADE),
    "another media type": (
        line(CRYPTO_A),
        line(CRYPTO_B, media="video"),
        R.ANSWER_MISMATCH,
    ),
    "another transport": (
        line(CRYPTO_A, proto="udptl"),
        line(CRYPTO_B, proto="udptl"),
        R.NOT_KEYED,
    ),
}


@pytest.mark.parametrize("case", UNKEYED)
def test_stream_without_a_sound_key_opens_nothing(case: str) -> None:
    """PIN-18: no complete, valid keying, no hole; and the record says why."""
    offered, answered, reason = UNKEYED[case]
    script = Script()
    opened = script.talk(
        sdp(ALICE, offered.format(port=30000)), sdp(BOB, answered.format(port=40000))
    )
    assert opened == set()
    assert reason in script.reasons
    assert not any(stream.keyed for stream in script.outcome.streams)


UNKEYED_OFFERS = {
    "plain": (line(proto=AVP), R.NOT_KEYED),
    "SAVP without a key": (line(), R.NOT_KEYED),
    "zrtp alone": (line("a=zrtp", proto=AVP), R.NOT_KEYED),
    "garbage key-mgmt": (line(MIKEY), R.KEY_MGMT_FAILED),
    "only NULL suites": (line(NULL), R.WEAK_CRYPTO),
    "only short keys": (line(SHORT), R.BAD_CRYPTO),
    "md5": (dtls(ACTPASS, MD5), R.BAD_FINGERPRINT),
    "no setup": (dtls(PRINT_A), R.BAD_SETUP),
    "T.38": (line(proto="udptl", media="image"), R.NOT_KEYED),
}


@pytest.mark.parametrize("case", UNKEYED_OFFERS)
def test_offer_that_no_answer_can_secure(case: str) -> None:
    """KEY-1: the policy sees it before it is accepted, so that it can answer 488."""
    section, reason = UNKEYED_OFFERS[case]
    script = Script()
    offer = sdp(ALICE, section.format(port=30000))
    step = script.step(
        "INVITE", 0, offer, sender=Party.CALLER, cseq=1, tag=b"", reliable=False, path=None
    )
    [stream] = script.sessions.streams_of_offer(step, script.now)
    assert not stream.keyed
    assert stream.reason is reason


FORBIDDEN = {
    "port below 1024": (BOB, 53),
    "SIP port": (BOB, 5060),
    "SIPS port": (BOB, 5061),
    "database port": (BOB, 3306),
    "multicast": ("224.0.0.5", 40000),
    "loopback": ("127.0.0.1", 40000),
    "this network": ("0.1.2.3", 40000),
    "link-local": ("169.254.1.1", 40000),
    "broadcast": ("255.255.255.255", 40000),
    "class E": ("240.0.0.1", 40000),
    "IPv6 multicast": ("ff02::1", 40000),
    "IPv6 loopback": ("::1", 40000),
    "IPv6 link-local": ("fe80::1", 40000),
    "IPv4-mapped": ("::ffff:198.51.100.20", 40000),
    "another family": ("2001:db8:2::20", 40000),
    "FQDN": ("phone.example.com", 40000),
    "octal": ("198.51.100.020", 40000),
    "multicast scope": ("198.51.100.20/127", 40000),
}


@pytest.mark.parametrize("case", FORBIDDEN)
@pytest.mark.parametrize("side", ["offer", "answer"])
def test_forbidden_ends(case: str, side: str) -> None:
    """SDP-3, SDP-8: a hole leads to one host's media port, or it does not exist."""
    address, port = FORBIDDEN[case]
    script = Script()
    if side == "offer":
        opened = script.talk(sdp(address, audio(port, CRYPTO_A)), ANSWER)
    else:
        opened = script.talk(OFFER, sdp(address, audio(port, CRYPTO_B)))
    assert opened == set()
    assert R.HOLE_FORBIDDEN in script.reasons


@pytest.mark.parametrize("port", ["65536", "70000", "-1", "+5", "0x10", "5060;", "", "040000"])
def test_impossible_ports_are_malformed(port: str) -> None:
    """SDP-4: such a description is not read at all."""
    with pytest.raises(HostileInput):
        parse_sdp(body(BOB, f"m=audio {port} RTP/SAVP 0\n{CRYPTO_B}"))


def test_last_port_has_no_rtcp_beside_it() -> None:
    """There is no port 65536; RTP alone opens."""
    script = Script()
    opened = script.talk(sdp(ALICE, audio(65535, CRYPTO_A)))
    assert hole(BOB, ALICE, 65535) in opened
    assert len(opened) == 3


def test_rtcp_may_not_be_aimed_at_a_service() -> None:
    """SDP-8 holds for a=rtcp as well."""
    script = Script()
    opened = script.talk(sdp(ALICE, audio(30000, CRYPTO_A, "a=rtcp:53")))
    assert opened == CALL_HOLES - {hole(BOB, ALICE, 30001)}


def test_rtcp_may_not_be_aimed_at_a_third_host() -> None:
    """a=rtcp with another address than the media's is ignored."""
    script = Script()
    assert script.talk(sdp(ALICE, audio(30000, CRYPTO_A, f"a=rtcp:30500 IN IP4 {CAROL}"))) == (
        CALL_HOLES
    )


def test_number_of_media_lines_must_match() -> None:
    """PIN-6: an answer with more or fewer m= lines opens nothing."""
    script = Script()
    opened = script.talk(OFFER, sdp(BOB, audio(40000, CRYPTO_B), audio(40002, CRYPTO_B2)))
    assert opened == set()
    assert R.ANSWER_MISMATCH in script.reasons


def test_malformed_description_opens_nothing() -> None:
    """SDP-1: lines out of order spoil the whole description."""
    raw = body(BOB, audio(40000, CRYPTO_B)).replace(b"t=0 0\r\n", b"")
    script = Script()
    assert script.talk(OFFER, parse_sdp(raw + b"t=0 0\r\n")) == set()
    assert R.BAD_SDP in script.reasons


def test_options_with_media_is_nothing() -> None:
    """baresip answers OPTIONS with SDP: no pinhole, and no alarm either."""
    script = Script()
    script.request("OPTIONS", tag=b"")
    outcome = script.response(200, ANSWER, method="OPTIONS")
    assert (outcome.effects, outcome.findings, outcome.streams) == ((), (), ())
    assert script.sessions.statistics().calls == 0


def test_answer_to_no_offer() -> None:
    """An unsolicited 200 with SDP opens nothing, whether the call is known or not."""
    script = Script()
    script.response(200, ANSWER)
    assert script.reasons == {R.ANSWER_MISMATCH}
    script.talk()
    script.response(200, sdp(BOB, audio(41000, CRYPTO_B2)), method="UPDATE", cseq=9)
    assert script.reasons == {R.ANSWER_MISMATCH}
    assert script.open == CALL_HOLES


def test_ack_with_media_that_nobody_asked_for() -> None:
    """After an answered INVITE the ACK carries no description."""
    script = Script()
    script.talk()
    script.request("ACK", sdp(ALICE, audio(31000, CRYPTO_A2)))
    assert script.reasons == {R.ANSWER_MISMATCH}
    assert script.open == CALL_HOLES


@pytest.mark.parametrize("first", [183, 200])
def test_first_description_of_a_transaction_wins(first: int) -> None:
    """PIN-2: later, different SDP of the same INVITE is ignored and noted."""
    script = Script()
    script.invite()
    script.response(first, ANSWER)
    other = sdp(BOB, audio(40222, CRYPTO_B2))
    for status in (183, 200, 200):
        script.response(status, other)
        assert R.LATER_SDP_DIFFERS in script.reasons
        assert script.open == CALL_HOLES


def test_first_offer_of_a_transaction_wins() -> None:
    """The same INVITE again with other SDP does not change where media goes."""
    script = Script()
    script.invite()
    script.invite(sdp(CAROL, audio(30000, CRYPTO_A2)))
    assert script.reasons == {R.LATER_SDP_DIFFERS}
    script.response(200, ANSWER)
    assert script.open == CALL_HOLES


def test_offer_while_another_is_pending() -> None:
    """PIN-5: one offer at a time; the other side's crossing offer is not used."""
    script = Script()
    script.talk()
    script.request("INVITE", sdp(ALICE, audio(30020, CRYPTO_A2)), cseq=2)
    crossing = sdp(BOB, audio(40020, CRYPTO_B2))
    script.request("INVITE", crossing, cseq=1, sender=Party.CALLEE)
    assert script.reasons == {R.OFFER_PENDING}
    script.response(491, cseq=1, sender=Party.CALLER)
    script.response(491, cseq=2)
    assert script.open == CALL_HOLES


def open_keyed(stream: Stream) -> Opened:
    """Judge like a policy that says nothing of streams without a key."""
    return Opened(Opening.OPEN if stream.keyed else Opening.UNSAID, 60)


def lose_the_key(script: Script) -> set[Hole]:
    """Renegotiate a running SRTP call to plain RTP on the same ports; return what stays open."""
    plain = sdp(ALICE, audio(30000, proto="RTP/AVP"), version=2)
    script.request("INVITE", plain, cseq=2)
    script.response(200, sdp(BOB, audio(40000, proto="RTP/AVP")), cseq=2)
    return script.open


def test_reinvite_that_loses_its_key_closes_nothing_that_was_good() -> None:
    """PIN-7: it is told; its packets are held against the old keys, so clear RTP finds no way."""
    script = Script()
    script.judge = open_keyed
    before = set(script.talk())
    assert lose_the_key(script) == before
    assert R.MEDIA_DOWNGRADE in script.reasons
    script.end()
    assert script.open == set()


def test_reinvite_that_loses_its_key_closes_at_once_where_the_policy_says_so() -> None:
    """PIN-7: a rule of chain media refuses streams without a key."""
    script = Script()
    script.talk()
    script.judge = refuse_all
    assert lose_the_key(script) == set()


def test_reinvite_that_loses_its_key_closes_at_once_where_nobody_looks() -> None:
    """``media-proof off``: the old holes would carry the clear RTP that was agreed on."""
    script = Script()
    script.sessions.gate.terms = ProofTerms(within_s=0.0)
    script.talk()
    assert lose_the_key(script) == set()


def test_policy_may_refuse_a_keyed_stream() -> None:
    """The media chain has the last word."""
    script = Script()
    script.judge = refuse_all
    assert script.talk() == set()
    assert script.reasons >= {R.HOLE_REFUSED}


def test_policy_is_not_asked_about_unkeyed_streams() -> None:
    """No rule can open what has no key."""
    script = Script()
    script.judge = lambda stream: pytest.fail("asked")
    plain = audio(30000, proto="RTP/AVP")
    script.talk(sdp(ALICE, plain), sdp(BOB, plain))


def test_port_of_another_call() -> None:
    """SDP-9: a port that one call's peer sends to is not opened to another call's peer."""
    sessions = Sessions()
    one = Script(sessions)
    one.talk()
    thief = Script(sessions, call_id=b"call-2", caller=CAROL, opened=one.open)
    thief.talk(sdp(CAROL, audio(50000, CRYPTO_A2)), sdp(BOB, audio(40000, CRYPTO_B2)))
    assert thief.reasons >= {R.HOLE_COLLISION}
    assert one.open == CALL_HOLES
    one.end()
    assert one.open == set()


def weak_offer_with_a_good_line() -> Sdp:
    return sdp(ALICE, audio(30000, NULL, CRYPTO_A.replace(":1", ":2", 1)))


def test_answer_that_picks_the_null_cipher() -> None:
    """An offer with a good line does not excuse an answer that takes the weak one."""
    answer = sdp(BOB, audio(40000, f"a=crypto:1 NULL_HMAC_SHA1_80 {KEY_B}"))
    script = Script()
    assert script.talk(weak_offer_with_a_good_line(), answer) == set()
    good = sdp(BOB, audio(40000, f"a=crypto:2 {SUITE} {KEY_B}"))
    assert Script().talk(weak_offer_with_a_good_line(), good) == CALL_HOLES

"""media/mikey: does the answer's message belong to the offer's? (MIK-4, MIK-10 to 13, MIK-16)"""

from base64 import b64decode
from collections.abc import Sequence

import mikey_builder as m
import pytest
from authority import issue, key_named
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from sipguard.evidence import State
from sipguard.media.mikey import Agreement, Context, MikeyChecks, MikeyTrust, MikeyView
from sipguard.media.mikey_answer import session_fault
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason

OFFER = Context(b"call", (b"mikey",), m.NOW, m.sip(m.ALICE), (m.sip(m.BOB),))
ANSWER = Context(b"call", (b"mikey",), m.NOW, m.sip(m.BOB), (m.sip(m.ALICE),))


def trusting(leaf: bytes, others: tuple[bytes, ...], now_s: float, name: bytes) -> Finding | None:
    """Stands for the identity room."""
    if CERTIFICATES.get(name) == leaf:
        return None
    return Finding(Reason.CREDENTIAL_UNTRUSTED, "of nobody we know")


def rsa_key(name: bytes) -> rsa.RSAPrivateKey:
    key = key_named(name.decode(), "rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


CERTIFICATES = {
    name: issue(name.decode(), uris=["sip:" + name.decode()], kind="rsa2048").der
    for name in (m.ALICE, m.BOB)
}
ROOM = MikeyChecks(MikeyTrust({m.ALICE: m.PSK}, trusting))
STRANGERS = MikeyChecks(MikeyTrust())


def agree(offer: bytes, answer: bytes, room: MikeyChecks = ROOM) -> Agreement:
    return room.agree(room.examine(offer, OFFER), answer, ANSWER)


def refused(offer: bytes, answer: bytes, reason: Reason, room: MikeyChecks = ROOM) -> str:
    agreement = agree(offer, answer, room)
    assert not agreement.keyed
    assert agreement.state is State.FAILED
    assert agreement.finding is not None
    assert agreement.finding.reason is reason
    assert agreement.offerer_keys == agreement.answerer_keys == ()
    return agreement.finding.detail


def test_mik_10_a_verified_response_keys_both_ways() -> None:
    """PSK with V: the code covers the message, both names and the time."""
    agreement = agree(m.psk_offer(v=True), m.psk_response())
    assert (agreement.keyed, agreement.state, agreement.finding) == (True, State.VALID, None)
    assert (agreement.mode, agreement.suite, agreement.key_bits) == ("psk", b"", 128)
    (ours,), (theirs,) = agreement.offerer_keys, agreement.answerer_keys
    assert (ours.cs_id, ours.ssrc) == (1, 0x1111)
    assert (theirs.cs_id, theirs.ssrc) == (2, 0x2222)  # the answerer chose it
    assert ours.key != theirs.key
    sides = agreement.whole()
    assert (sides.offerer.ssrcs, sides.answerer.ssrcs) == ((0x1111,), (0x2222,))
    assert {sides.offerer.suite, sides.answerer.suite} == {b"AES_CM_128_HMAC_SHA1_80"}


def test_vec_21_offer_and_answer_of_rfc_4567() -> None:
    """They belong together; nobody here has the key."""
    then = Moment(0.0, m.RFC4567_S)
    offer = STRANGERS.examine(b64decode(m.RFC4567_OFFER), OFFER._replace(now=then, sender=None))
    agreement = STRANGERS.agree(offer, b64decode(m.RFC4567_ANSWER), ANSWER._replace(now=then))
    assert (agreement.keyed, agreement.state) == (True, State.UNKNOWN)
    assert agreement.whole().offerer.ssrcs == ()
    assert not STRANGERS.agree(offer, b"", ANSWER).keyed


def test_mik_10_without_v_the_accepted_stream_is_enough() -> None:
    """The offerer's key serves both ways; with V, silence is a failure."""
    agreement = agree(m.psk_offer(), b"")
    assert (agreement.keyed, agreement.state) == (True, State.VALID)
    (theirs,) = agreement.answerer_keys
    assert theirs.ssrc == -1
    refused(m.psk_offer(v=True), b"", Reason.MIKEY_ANSWER)


@pytest.mark.parametrize(
    "answer",
    [
        m.psk_offer(v=True),
        m.psk_response(m.NOW_S + 1),
        m.psk_response().replace(m.CSB, b"csb?"),
        m.build(3, [m.stamp(), (9, b"\0")]),
        m.build(5, [m.stamp(), (4, b"\0\x01s")]),
        m.build(8, [m.stamp(), m.kemac(b"")]),
        m.build(6, [m.stamp(), m.error(0)]),
        m.build(6, []),
    ],
)
def test_mik_10_a_response_must_fit(answer: bytes) -> None:
    """Kind, CSB ID and time are the offer's; an error is no key."""
    refused(m.psk_offer(v=True), answer, Reason.MIKEY_ANSWER)


def test_mik_10_an_error_says_its_number() -> None:
    """For the operator: table 6.12."""
    answer = m.build(6, [m.stamp(), m.error(9), m.error(10), m.policy((0, 1))])
    assert refused(m.psk_offer(v=True), answer, Reason.MIKEY_ANSWER) == "it reports error 9, 10"


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage",
        m.psk_response() + b"\0",
        m.build(1, [m.stamp()]),
        m.build(1, [(9, b"\0")]),
        m.build(1, [m.stamp(), (9, b"\0"), m.nai(m.BOB)]),
    ],
)
def test_mik_1_a_malformed_response_is_none(answer: bytes) -> None:
    """Whatever the offer asked for."""
    for offer in (m.psk_offer(v=True), m.psk_offer()):
        refused(offer, answer, Reason.BAD_MIKEY)


def test_mik_4_a_wrong_verification_fails() -> None:
    """Another key, other names, or another octet; without the key nobody can say."""
    offer = m.psk_offer(v=True)
    right = m.psk_response()
    for answer in (
        m.psk_response(psk=b"another"),
        m.psk_response(initiator=b"mallory@example.com"),
        right[:-1] + bytes((right[-1] ^ 1,)),
        right.replace(b"\0\0\x22\x22", b"\0\0\x33\x33"),
    ):
        refused(offer, answer, Reason.MIKEY_MAC)
    unknown = agree(offer, right, STRANGERS)
    assert (unknown.keyed, unknown.state) == (True, State.UNKNOWN)
    null = m.build(1, [m.stamp(), m.nai(m.BOB), (9, b"\0")])
    weak = agree(offer, null)
    assert (weak.keyed, weak.state) == (True, State.UNKNOWN)
    assert weak.finding is not None
    assert weak.finding.reason is Reason.MIKEY_CLEAR


def test_mik_4_names_that_no_message_tells_are_covered_by_no_rule() -> None:
    """RFC 3830 lets them be left out, and does not say what is covered then: not a failure."""
    offer = m.psk_offer(v=True, ids=[])
    named = m.psk_response()
    agreement = agree(offer, named)
    assert (agreement.keyed, agreement.state) == (True, State.UNKNOWN)
    bare = m.psk_response(initiator=b"")
    assert agree(offer, bare).state is State.VALID


def test_mik_14_another_responder_is_told() -> None:
    """Calls are forwarded: no failure."""
    carol = b"carol@example.org"
    agreement = agree(m.psk_offer(v=True), m.psk_response(responder=carol))
    assert (agreement.keyed, agreement.state) == (True, State.VALID)
    assert [note.reason for note in agreement.notes] == [Reason.MIKEY_IDENTITY]


def mutual(key: bytes, *, at_s: float = m.NOW_S, ssrc: int = 0x2222) -> bytes:
    """A message as GStreamer answers with: a PSK message of its own, with a key in clear."""
    chain = [m.stamp(at_s), m.rand(b"another RAND...."), m.policy((0, 1), (3, 10))]
    sealed = m.kemac(m.key_data(key, kind=2))
    return m.build(0, [*chain, sealed], csb=b"its!", streams=m.sessions(ssrc))


def test_real_messages_that_key_each_its_own_direction() -> None:
    """GStreamer's offer and answer: usable, told, in clear, and both keys are known."""
    then = Moment(0.0, m.GSTREAMER_S)
    offer = STRANGERS.examine(m.GSTREAMER_OFFER, OFFER._replace(now=then))
    agreement = STRANGERS.agree(offer, m.GSTREAMER_ANSWER, ANSWER._replace(now=then))
    assert (agreement.keyed, agreement.state) == (True, State.UNKNOWN)
    assert agreement.cleartext
    assert agreement.finding is not None
    assert agreement.finding.reason is Reason.MIKEY_CLEAR
    assert agreement.suite == b"AES_CM_128_HMAC_SHA1_80"
    (ours,), (theirs,) = agreement.offerer_keys, agreement.answerer_keys
    assert (ours.ssrc, theirs.ssrc) == (0x5F2A29C8, 0xD2983A56)
    assert ours.key == offer.keys[0].key
    assert theirs.key.hex().startswith("d3bd0ad949bce9a6")
    assert agreement.view is not None
    assert agreement.view.message is not None


def test_a_key_of_ones_own_answers_no_demand_for_a_response() -> None:
    """V asks for a verification; and the answer's message is held to the same rules."""
    offer = mutual(b"a" * 30)
    assert agree(offer, mutual(b"b" * 30)).keyed
    refused(m.psk_offer(v=True), mutual(b"b" * 30), Reason.MIKEY_ANSWER)
    refused(offer, mutual(b"b" * 30, at_s=m.NOW_S - 900), Reason.MIKEY_TIME)
    refused(offer, m.build(0, [m.stamp(), m.kemac(b"")], csb=b"its!"), Reason.BAD_MIKEY)
    mixed = agree(m.psk_offer(), mutual(b"b" * 30))
    assert (mixed.keyed, mixed.state, mixed.cleartext) == (True, State.UNKNOWN, True)


def test_two_senders_under_one_key_have_none() -> None:
    """RFC 3711 section 9.1: the same keystream twice; also the offer's own message, sent back."""
    offer = mutual(b"a" * 30)
    refused(offer, mutual(b"a" * 30, ssrc=3), Reason.KEY_REUSE)
    refused(offer, offer, Reason.KEY_REUSE)
    sealed = m.psk_offer()
    refused(sealed, sealed, Reason.KEY_REUSE, STRANGERS)


def test_a_failed_offer_agrees_on_nothing() -> None:
    """Whatever is answered."""
    for answer in (b"", m.psk_response(), mutual(b"b" * 30)):
        refused(m.psk_offer(psk=b"another"), answer, Reason.MIKEY_MAC)
        refused(b"garbage", answer, Reason.BAD_MIKEY)


OURS, THEIRS = m.dh(2**700 + 1), m.dh(3**400)


def dh_offer(value: m.Payload = OURS, ids: Sequence[m.Payload] | None = None) -> bytes:
    named = ids if ids is not None else (m.nai(m.ALICE), m.certificate(CERTIFICATES[m.ALICE]))
    chain = [m.stamp(), m.rand(), *named, m.nai(m.BOB), m.extension(1, b"mikey"), value]
    return m.signed(m.build(4, chain, last=4, streams=m.sessions(7, 0)), rsa_key(m.ALICE))


def dh_response(
    *values: m.Payload, ids: Sequence[m.Payload] = (m.nai(m.BOB), m.nai(m.ALICE))
) -> bytes:
    chain = [m.stamp(), ids[0], m.certificate(CERTIFICATES[m.BOB]), *ids[1:], *values]
    return m.signed(m.build(5, chain, last=4, streams=m.sessions(7, 9)), rsa_key(m.BOB))


def test_mik_12_a_diffie_hellman_exchange() -> None:
    """Both sign; the responder repeats the initiator's value and name. The key is theirs alone."""
    agreement = agree(dh_offer(), dh_response(THEIRS, OURS))
    assert (agreement.keyed, agreement.state, agreement.finding) == (True, State.VALID, None)
    assert agreement.mode == "dh"
    assert agreement.offerer_keys == agreement.answerer_keys == ()
    sides = agreement.whole()
    assert (sides.offerer.ssrcs, sides.answerer.ssrcs) == ((7,), (9,))
    refused(dh_offer(), b"", Reason.MIKEY_ANSWER)


@pytest.mark.parametrize(
    "answer",
    [
        dh_response(THEIRS),
        dh_response(THEIRS, THEIRS),
        dh_response(OURS, OURS),
        dh_response(OURS, THEIRS),
        dh_response(THEIRS, OURS, OURS),
        dh_response(m.dh(1), OURS),
        dh_response(m.dh(group=2), OURS),
        dh_response(THEIRS, OURS, ids=(m.nai(m.BOB),)),
        dh_response(THEIRS, OURS, ids=(m.nai(m.BOB), m.nai(b"mallory@example.com"))),
    ],
)
def test_mik_12_a_changed_or_weak_exchange_fails(answer: bytes) -> None:
    """Values missing, swapped, sent back, weak; another initiator."""
    refused(dh_offer(), answer, Reason.MIKEY_DH)


def test_mik_6_a_response_is_signed_by_who_answers() -> None:
    """A wrong signature fails, and so does a certificate of somebody else."""
    right = dh_response(THEIRS, OURS)
    refused(dh_offer(), right[:-1] + bytes((right[-1] ^ 1,)), Reason.MIKEY_MAC)
    carol = dh_response(THEIRS, OURS, ids=(m.nai(b"carol@example.org"), m.nai(m.ALICE)))
    refused(dh_offer(), carol, Reason.CREDENTIAL_UNTRUSTED)


def dhhmac(kind: int, *values: m.Payload, ids: Sequence[m.Payload], psk: bytes = m.PSK) -> bytes:
    first = (
        [m.stamp(), m.rand(), *ids, m.extension(1, b"mikey")] if kind == 7 else [m.stamp(), *ids]
    )
    chain = [*first, *values, m.kemac(b"", 0, 1, b"\0" * 20)]
    return m.authenticated(m.build(kind, chain), psk)


def test_mik_12_a_dhhmac_exchange() -> None:
    """RFC 4650: the same under a pre-shared key."""
    offer = dhhmac(7, OURS, ids=(m.nai(m.ALICE), m.nai(m.BOB)))
    names = (m.nai(m.BOB), m.nai(m.ALICE))
    agreement = agree(offer, dhhmac(8, THEIRS, OURS, ids=names))
    assert (agreement.keyed, agreement.state) == (True, State.VALID)
    refused(offer, dhhmac(8, THEIRS, OURS, ids=names, psk=b"other"), Reason.MIKEY_MAC)
    refused(offer, dhhmac(8, THEIRS, THEIRS, ids=names), Reason.MIKEY_DH)
    open_value = m.build(8, [m.stamp(), *names, THEIRS, OURS, m.kemac(b"")])
    refused(offer, open_value, Reason.MIKEY_CLEAR)
    assert agree(offer, dhhmac(8, THEIRS, OURS, ids=names), STRANGERS).state is State.UNKNOWN


def test_a_public_key_exchange_cannot_be_followed() -> None:
    """The response is made with a key from the envelope: keyed, and the answer unknown."""
    certified = (m.nai(m.ALICE), m.certificate(CERTIFICATES[m.ALICE]), m.nai(m.BOB))
    sealed = m.kemac(b"sealed", 1, 1, b"m" * 20)
    chain = [m.stamp(), m.rand(), *certified, m.extension(1, b"mikey"), sealed, m.envelope()]
    offer = m.signed(m.build(2, chain, v=True, last=4), rsa_key(m.ALICE))
    agreement = agree(offer, m.build(3, [m.stamp(), m.nai(m.BOB), (9, b"\x01" + b"v" * 20)]))
    assert (agreement.keyed, agreement.state) == (True, State.UNKNOWN)
    assert agreement.finding is not None
    assert agreement.finding.detail == "only the initiator can check the response"
    refused(offer, b"", Reason.MIKEY_ANSWER)


def test_a_ticket_is_answered_with_a_time_of_its_own() -> None:
    """RFC 6043 section 4.2.2.3; the CSB ID is the same."""
    ticket = (17, b"\0\x01\x01\x01" + b"\0\x40\0" + b"\0\0" * 3)
    offer = m.build(14, [m.stamp(), ticket, (9, b"\0")])
    response = m.build(15, [m.stamp(m.NOW_S + 3), (9, b"\0")])
    agreement = agree(offer, response)
    assert (agreement.keyed, agreement.state) == (True, State.UNKNOWN)
    refused(offer, response.replace(m.CSB, b"csb?"), Reason.MIKEY_ANSWER)
    refused(offer, b"", Reason.MIKEY_ANSWER)


CHOICES = (
    m.policy((0, 1), (11, 10), number=1),
    m.policy((0, 6), (1, 16), (1, 32), (20, 16), number=2),
)


def rsa_r_offer(*more: m.Payload) -> bytes:
    named = [m.nai(m.ALICE), m.certificate(CERTIFICATES[m.ALICE]), m.nai(m.BOB)]
    chain = [m.stamp(), *more, *named, m.extension(1, b"mikey")]
    return m.signed(m.build(9, chain, v=True, last=4), rsa_key(m.ALICE))


def rsa_r_response(
    *more: m.Payload, sealed: m.Payload | None = None, whole_payload: bool = False
) -> bytes:
    named = [m.nai(m.BOB), m.certificate(CERTIFICATES[m.BOB])]
    keys = sealed or m.kemac(b"sealed", 1, 1, b"m" * 20)
    unfinished = m.build(10, [m.stamp(), *named, *more, keys, m.envelope()], last=4)
    names = m.ALICE + m.BOB + m.stamp()[1][1:]
    if not whole_payload:
        return m.signed(unfinished, rsa_key(m.BOB), named=names)
    # The other reading of RFC 4738 section 3.6: SIGNr covers all but its own payload.
    covered = unfinished + names
    signature = rsa_key(m.BOB).sign(covered, padding.PKCS1v15(), hashes.SHA256())
    return unfinished + len(signature).to_bytes(2, "big") + signature


@pytest.mark.parametrize("whole_payload", [False, True])
def test_mik_11_an_rsa_r_exchange(whole_payload: bool) -> None:
    """RFC 4738: the responder brings the key, a RAND, one of the policies, and signs both names."""
    answer = rsa_r_response(m.rand(), m.policy((0, 6), (1, 32)), whole_payload=whole_payload)
    agreement = agree(rsa_r_offer(*CHOICES), answer)
    assert (agreement.keyed, agreement.state, agreement.finding) == (True, State.VALID, None)
    assert (agreement.suite, agreement.key_bits) == (b"AEAD_AES_256_GCM", 256)
    assert {side.suite for side in agreement.whole()} == {b"AEAD_AES_256_GCM"}
    assert agree(rsa_r_offer(m.rand()), rsa_r_response()).state is State.VALID
    refused(rsa_r_offer(), b"", Reason.MIKEY_ANSWER)


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (rsa_r_offer(), rsa_r_response()),
        (rsa_r_offer(m.rand()), rsa_r_response(m.rand())),
        (rsa_r_offer(m.rand()), rsa_r_response(m.extension(4, b"csb2"))),
        (rsa_r_offer(m.rand(), *CHOICES), rsa_r_response()),
        (rsa_r_offer(m.rand(), *CHOICES), rsa_r_response(m.policy((0, 1), (11, 4)))),
        (rsa_r_offer(m.rand(), *CHOICES), rsa_r_response(m.policy((0, 1), (1, 32)))),
    ],
)
def test_mik_11_an_exchange_that_breaks_rfc_4738_fails(offer: bytes, answer: bytes) -> None:
    """No RAND or two, a CSB ID for groups, no policy or one that was not on offer."""
    refused(offer, answer, Reason.MIKEY_RSA_R)


def test_mik_13_a_chosen_policy_must_protect() -> None:
    """What was on offer among others, and weak, is not to be chosen; nor are keys in clear."""
    offer = rsa_r_offer(m.rand(), m.policy((0, 0), number=1), m.policy((0, 1), number=2))
    refused(offer, rsa_r_response(m.policy((0, 0))), Reason.MIKEY_POLICY)
    keys = m.kemac(b"keys", 0, 1, b"m" * 20)
    refused(rsa_r_offer(m.rand()), rsa_r_response(sealed=keys), Reason.MIKEY_CLEAR)
    unsound = m.build(1, [m.stamp(), m.policy((10, 0)), (9, b"\0")])
    refused(m.psk_offer(v=True), unsound, Reason.MIKEY_POLICY)


def test_mik_11_a_forged_rsa_r_response_fails() -> None:
    """Without both names under the signature it belongs to another exchange."""
    named = [m.nai(m.BOB), m.certificate(CERTIFICATES[m.BOB])]
    sealed = m.kemac(b"sealed", 1, 1, b"m" * 20)
    unfinished = m.build(10, [m.stamp(), *named, sealed, m.envelope()], last=4)
    refused(rsa_r_offer(m.rand()), m.signed(unfinished, rsa_key(m.BOB)), Reason.MIKEY_MAC)


def test_mik_11_an_initiator_that_only_its_certificate_names() -> None:
    """RFC 4738 has IDi or CERTi: what SIGNr covers then nobody says, so that it is no failure."""
    chain = [m.stamp(), m.rand(), m.certificate(CERTIFICATES[m.ALICE]), m.extension(1, b"mikey")]
    offer = m.signed(m.build(9, chain, v=True, last=4), rsa_key(m.ALICE))
    agreement = agree(offer, rsa_r_response())
    assert (agreement.keyed, agreement.state) == (True, State.UNKNOWN)
    named = [m.nai(m.BOB), m.certificate(CERTIFICATES[m.ALICE])]
    sealed = m.kemac(b"sealed", 1, 1, b"m" * 20)
    unfinished = m.build(10, [m.stamp(), *named, sealed, m.envelope()], last=4)
    covered = m.BOB + m.stamp()[1][1:]
    stolen = m.signed(unfinished, rsa_key(m.ALICE), named=covered)
    refused(offer, stolen, Reason.CREDENTIAL_UNTRUSTED)


def test_mik_16_one_failure_ends_the_session() -> None:
    """RFC 4567 section 4.1.2: also what succeeded is given up."""
    good, unknown = agree(m.psk_offer(), b""), agree(m.psk_offer(), b"", STRANGERS)
    bad = agree(m.psk_offer(v=True), b"")
    view: MikeyView = ROOM.examine(b"garbage", OFFER)
    assert session_fault([]) is None
    assert session_fault([good, unknown]) is None
    mixtures: list[list[MikeyView | Agreement]] = [[good, bad], [view, good]]
    for outcomes in mixtures:
        finding = session_fault(outcomes)
        assert finding is not None
        assert finding.reason is Reason.KEY_MGMT_FAILED
    finding = session_fault([bad])
    assert finding is not None
    assert finding.detail.endswith(": mikey-answer")


def test_lines_of_a_session_have_two_crypto_sessions_each() -> None:
    """RFC 4567 section 7.1: 1 and 2 for the first m= line, 3 and 4 for the second."""
    streams = b"\x04\0" + m.sessions(11, 0)[2:] + m.sessions(33, 0, policy=1)[2:]
    policies = [m.policy((0, 1)), m.policy((0, 6), number=1), m.extension(1, b"mikey")]
    agreement = agree(m.psk_offer(policies, streams=streams), b"")
    first, second = agreement.of_line(0), agreement.of_line(1)
    assert (first.offerer.ssrcs, second.offerer.ssrcs) == ((11,), (33,))
    assert [key.cs_id for key in (*first.offerer.keys, *first.answerer.keys)] == [1, 2]
    assert [key.cs_id for key in (*second.offerer.keys, *second.answerer.keys)] == [3, 4]
    assert {side.suite for side in first} == {b"AES_CM_128_HMAC_SHA1_80"}
    assert {side.suite for side in second} == {b"AEAD_AES_128_GCM"}
    beyond = agreement.of_line(2)
    assert beyond.offerer.ssrcs == (11, 33)  # it counts otherwise: all may be meant


def test_keys_without_an_owner_serve_both_sides() -> None:
    """As in RFC 4567's own example, which chooses no SSRC; one stream's key is its sender's."""
    both = agree(m.psk_offer(streams=m.sessions(0)), b"")
    assert both.offerer_keys == both.answerer_keys != ()
    one = agree(m.psk_offer(streams=m.sessions(5)), b"")
    assert (len(one.offerer_keys), one.answerer_keys) == (1, ())


@given(
    st.sampled_from([m.psk_offer(v=True), m.psk_offer(), dh_offer(), rsa_r_offer(m.rand())]),
    st.sampled_from([m.psk_response(), dh_response(THEIRS, OURS), rsa_r_response(), b"garbage"]),
    st.integers(0, 3000),
    st.binary(max_size=3),
)
def test_agreeing_is_total(offer: bytes, answer: bytes, place: int, octets: bytes) -> None:
    """No answer raises, and none without a key keys anything."""
    at = place % len(answer)
    agreement = agree(offer, answer[:at] + octets + answer[at + len(octets) :])
    assert agreement.keyed or (agreement.state is State.FAILED and agreement.finding is not None)
    assert agreement.keyed or agreement.offerer_keys == ()

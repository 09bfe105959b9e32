"""media/mikey: what a MIKEY offer is worth, rule by rule (MIK-1 to MIK-9, MIK-13 to MIK-15)."""

import os
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

import mikey_builder as m
import pytest
from authority import issue, key_named
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from sipguard.evidence import State
from sipguard.media.mikey import Context, MikeyChecks, MikeyTrust, MikeyView
from sipguard.media.mikey_policy import DEFAULT
from sipguard.media.mikey_proof import VerifyChain
from sipguard.media.mikey_shape import OAKLEY_5_PRIME, read_time
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.mikey import parse_mikey

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
KEYS = {m.ALICE: m.PSK}


def at(utc_s: float, monotonic_s: float = 5000.0) -> Moment:
    return Moment(monotonic_s, utc_s)


def context(
    call_id: bytes = b"call",
    listed: Sequence[bytes] = (b"mikey",),
    now: Moment = m.NOW,
    sender: bytes = m.ALICE,
    receivers: Sequence[bytes] = (m.BOB,),
    source: bytes = b"",
    destination: bytes = b"",
) -> Context:
    uri = m.sip(sender) if sender else None
    to = tuple(m.sip(name) for name in receivers)
    return Context(call_id, tuple(listed), now, uri, to, source, destination)


def checks(
    keys: dict[bytes, bytes] | None = None,
    verify_chain: VerifyChain | None = None,
    skew_s: float = 600.0,
    capacity: int = 100,
) -> MikeyChecks:
    trust = MikeyTrust(KEYS if keys is None else keys, verify_chain)
    return MikeyChecks(trust, skew_s, capacity, capacity)


def examine(octets: bytes, given: Context | None = None) -> MikeyView:
    return checks().examine(octets, given or context())


def reasons(view: MikeyView) -> list[Reason]:
    return [finding.reason for finding in view.findings]


def failed(octets: bytes, reason: Reason, given: Context | None = None) -> str:
    """The message fails for this reason; returns the detail."""
    view = examine(octets, given)
    assert view.state is State.FAILED
    assert view.finding is not None
    assert view.finding.reason is reason
    assert view.keys == ()
    return view.finding.detail


def test_a_sound_psk_message_is_valid() -> None:
    """Authentic, fresh, complete: nothing to say, and its keys are known."""
    view = examine(m.psk_offer())
    assert (view.state, view.findings) == (State.VALID, ())
    assert (view.mode, view.signer) == ("psk", m.ALICE)
    assert not view.cleartext
    assert not view.wants_answer
    assert (view.suite, view.key_bits) == (b"", 128)
    assert view.ssrcs == (0x1111,)
    first, second = view.keys
    expected = m.traffic(0x2AD01C64, 1, 16) + m.traffic(0x39A2C14B, 1, 14)
    assert (first.key, first.ssrc, first.suite) == (expected, 0x1111, DEFAULT.suite)
    assert (second.cs_id, second.ssrc) == (2, -1)
    assert second.key == m.traffic(0x2AD01C64, 2, 16) + m.traffic(0x39A2C14B, 2, 14)


def test_vec_21_the_offer_of_rfc_4567_cannot_be_checked() -> None:
    """Its pre-shared key is not published: unknown, and its keys are too."""
    then = context(now=at(m.RFC4567_S + 1), sender=b"donald@duck.com")
    view = examine(b64decode(m.RFC4567_OFFER), then)
    assert view.state is State.UNKNOWN
    assert view.wants_answer
    assert view.keys == ()
    assert reasons(view) == [
        Reason.MIKEY_UNCHECKED,
        Reason.MIKEY_BIDDING,
        Reason.MIKEY_IDENTITY,
    ]


def test_mik_8_a_real_message_with_its_key_in_clear() -> None:
    """GStreamer's: usable, told, and the policy decides; everybody on the way has the key."""
    view = examine(m.GSTREAMER_OFFER, context(now=at(m.GSTREAMER_S)))
    assert view.state is State.UNKNOWN
    assert view.cleartext
    assert view.finding is not None
    assert view.finding.reason is Reason.MIKEY_CLEAR
    assert (view.mode, view.suite) == ("psk", b"AES_CM_128_HMAC_SHA1_80")
    (key,) = view.keys
    assert key.key.hex() == "3e1fdd9aad391599821a3027e94302bc34d43bf3931ef677f977a7d46f46"
    assert (key.ssrc, key.mki) == (0x5F2A29C8, b"")


def test_mik_8_authentic_keys_in_clear_are_told_all_the_same() -> None:
    """NULL encryption with a MAC: nobody changed them, and anybody read them."""
    sealed = m.kemac(m.key_data(m.TGK), 0, 1, b"\0" * 20)
    chain = [m.stamp(), m.rand(), m.nai(m.ALICE), m.nai(m.BOB), m.extension(1, b"mikey"), sealed]
    octets = m.authenticated(m.build(0, chain, streams=m.sessions(1)))
    view = examine(octets)
    assert view.state is State.VALID
    assert view.cleartext
    assert reasons(view) == [Reason.MIKEY_CLEAR]
    assert len(view.keys) == 1
    unknown = checks({}).examine(octets, context())
    assert reasons(unknown) == [Reason.MIKEY_UNCHECKED, Reason.MIKEY_CLEAR]


def test_mik_8_encrypted_keys_without_mac_are_not_valid() -> None:
    """Counter mode without a MAC lets anybody flip bits of the key."""
    sealed = m.kemac(m.counter_mode(m.key_data(m.TGK), m.stamp()[1][1:]), 1)
    view = examine(m.build(0, [m.stamp(), m.rand(), m.nai(m.ALICE), m.nai(m.BOB), sealed]))
    assert (view.state, view.cleartext, view.keys) == (State.UNKNOWN, False, ())
    assert Reason.MIKEY_CLEAR in reasons(view)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"garbage" * 6,
        m.psk_offer() + b"\0",
        m.build(0, []),
        m.build(0, [m.rand(), m.kemac(b"")]),
        m.build(0, [m.stamp(), m.rand()]),
        m.build(0, [m.stamp(), m.kemac(b"")]),
        m.build(0, [m.stamp(), m.rand(), m.kemac(b""), m.nai(m.ALICE)]),
        m.build(1, [m.stamp(), (9, b"\0")]),
        m.build(6, [m.stamp(), m.error(0)]),
        m.build(11, [m.stamp()]),
        m.build(17, [m.stamp()]),
        m.build(2, [m.stamp(), m.rand(), (4, b"\0\x01s")]),
        m.build(4, [m.stamp(), m.rand(), m.dh()]),
        m.build(4, [m.stamp(), m.rand(), (4, b"\0\x01s")]),
        m.build(4, [m.stamp(), m.rand(), m.dh(), m.dh(), (4, b"\0\x01s")]),
        m.build(4, [m.stamp(), m.dh(), (4, b"\0\x01s")]),
        m.build(14, [m.stamp(), (9, b"\0")]),
    ],
)
def test_mik_1_malformed_and_misplaced_messages_fail(octets: bytes) -> None:
    """Not to be read, without what its kind must hold, or nothing that an initiator sends."""
    failed(octets, Reason.BAD_MIKEY)


@pytest.mark.parametrize("age_s", [-601, 601, 86_400, -86_400, 3e9])
def test_mik_2_messages_of_another_time_fail(age_s: float) -> None:
    """Too old or in the future, whatever else is right."""
    failed(m.psk_offer(at_s=m.NOW_S - age_s), Reason.MIKEY_TIME)


@pytest.mark.parametrize("age_s", [-599, 0, 599])
def test_mik_2_within_the_skew_a_message_is_fresh(age_s: float) -> None:
    """Clocks differ; the skew is a setting."""
    octets = m.psk_offer(at_s=m.NOW_S - age_s)
    assert examine(octets).state is State.VALID
    if age_s:
        tight = checks(skew_s=60.0).examine(octets, context())
        assert reasons(tight)[0] is Reason.MIKEY_TIME


def test_mik_2_ntp_begins_anew_in_2036() -> None:
    """RFC 3830 section 4.2.8: the second after the last is not 136 years ago."""
    turn_s = 2**32 - 2_208_988_800
    octets = m.psk_offer(at_s=turn_s + 5)
    assert octets[30:34] != b"\xff"
    for now_s in (turn_s - 100.0, turn_s + 100.0):
        view = examine(octets, context(now=at(now_s)))
        assert view.state is State.VALID


def test_mik_2_a_counter_tells_no_time() -> None:
    """Only the receiver knows the last one: authentic, and not known to be fresh."""
    t = m.stamp(kind=2)
    sealed = m.counter_mode(m.key_data(m.TGK), b"\0\0\0\0" + t[1][1:])
    chain = [t, m.rand(), m.nai(m.ALICE), m.nai(m.BOB), m.extension(1, b"mikey")]
    octets = m.authenticated(
        m.build(0, [*chain, m.kemac(sealed, 1, 1, b"\0" * 20)], streams=m.sessions(1))
    )
    view = examine(octets)
    assert (view.state, reasons(view)) == (State.UNKNOWN, [Reason.MIKEY_TIME])
    assert len(view.keys) == 1


def test_mik_3_an_authentic_message_serves_one_call() -> None:
    """Retransmitted and forked it has the same Call-ID; in another call it is a replay."""
    room = checks()
    octets = m.psk_offer()
    first = room.examine(octets, context(source=b"alice", destination=b"proxy"))
    room.remember(first, context(source=b"alice", destination=b"proxy"))
    again = room.examine(octets, context(source=b"alice", destination=b"other"))
    assert again.state is State.VALID
    thief = room.examine(octets, context(b"other call", source=b"thief", destination=b"proxy"))
    assert thief.state is State.FAILED
    assert reasons(thief)[0] is Reason.MIKEY_REPLAY
    assert thief.keys == ()
    passed_on = room.examine(octets, context(b"leg 2", source=b"proxy", destination=b"bob"))
    assert passed_on.state is State.VALID
    nobody = room.examine(octets, context(b"other call"))
    assert nobody.state is State.FAILED


def test_mik_3_only_what_passed_is_remembered() -> None:
    """Examining changes nothing, and what failed takes no room."""
    room = checks()
    octets = m.psk_offer()
    for call_id in (b"1", b"2"):
        assert room.examine(octets, context(call_id)).state is State.VALID
    room.remember(room.examine(b"", context()), context())
    room.remember(room.examine(octets[:-1] + b"x", context()), context())
    assert len(room) == 0


def test_mik_3_an_unproven_message_that_comes_again_is_told() -> None:
    """It could be forged as well as replayed: a note, and its memory is another one."""
    room = checks({})
    octets = m.psk_offer()
    room.remember(room.examine(octets, context()), context())
    assert Reason.MIKEY_REPLAY not in reasons(room.examine(octets, context()))
    again = room.examine(octets, context(b"other"))
    assert again.state is State.UNKNOWN
    assert reasons(again)[-1] is Reason.MIKEY_REPLAY


def test_mik_4_a_wrong_mac_fails() -> None:
    """One octet of the message or of the code is another, or another key made it."""
    octets = m.psk_offer()
    for place in (5, 20, 40, 60, len(octets) - 25, len(octets) - 1):
        broken = octets[:place] + bytes((octets[place] ^ 1,)) + octets[place + 1 :]
        view = examine(broken)
        assert view.state is State.FAILED
    failed(m.psk_offer(psk=b"a key of nobody"), Reason.MIKEY_MAC)


def test_mik_4_pre_shared_keys_are_found_by_either_party() -> None:
    """By IDi, IDr, From and To; a SIP URI and user@host are one name."""
    offers = {
        m.ALICE: m.psk_offer(ids=[m.uri_id(b"sip:Alice@EXAMPLE.com".replace(b"Alice", b"alice"))]),
        m.BOB: m.psk_offer(),
        b"carol@example.org": m.psk_offer(ids=[m.nai(m.ALICE), m.nai(b"carol@example.org")]),
    }
    for name, octets in offers.items():
        assert checks({name: m.PSK}).examine(octets, context()).state is State.VALID
    nameless = checks({m.ALICE: m.PSK}).examine(m.psk_offer(ids=[]), context())
    assert (nameless.state, nameless.signer) == (State.VALID, m.ALICE)
    both = {m.ALICE: b"alice's key with others", m.BOB: m.PSK}
    assert checks(both).examine(m.psk_offer(), context()).state is State.VALID
    assert checks({b"nobody": m.PSK}).examine(m.psk_offer(), context()).state is State.UNKNOWN


def rsa_key(name: str = m.ALICE.decode()) -> rsa.RSAPrivateKey:
    key = key_named(name, "rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


ALICE_CERTIFICATE = issue(m.ALICE.decode(), uris=["sip:" + m.ALICE.decode()], kind="rsa2048").der


def pk_offer(
    between: Sequence[m.Payload] | None = None,
    *,
    key: rsa.RSAPrivateKey | None = None,
    digest: hashes.HashAlgorithm | None = None,
    pss: bool = False,
) -> bytes:
    usual = [
        m.nai(m.ALICE), m.certificate(ALICE_CERTIFICATE), m.nai(m.BOB),
        m.policy((0, 1)), m.extension(1, b"mikey"), m.kemac(b"sealed", 1, 1, b"m" * 20),
    ]  # fmt: skip
    chain = [m.stamp(), m.rand(), *(usual if between is None else between), m.envelope()]
    return m.signed(m.build(2, chain, last=4), key or rsa_key(), digest=digest, pss=pss)


def trusting(leaf: bytes, others: tuple[bytes, ...], now_s: float, name: bytes) -> Finding | None:
    """Stands for the identity room: one certificate, one name."""
    if leaf == ALICE_CERTIFICATE and name == m.ALICE and now_s == m.NOW_S:
        return None
    return Finding(Reason.CREDENTIAL_UNTRUSTED, "of nobody we know")


@pytest.mark.parametrize("pss", [False, True])
def test_mik_6_a_signature_with_a_trusted_certificate_is_valid(pss: bool) -> None:
    """RSA mode: the signature covers all; what the envelope holds nobody here can know."""
    view = checks({}, trusting).examine(pk_offer(pss=pss), context())
    assert (view.state, view.findings) == (State.VALID, ())
    assert (view.mode, view.signer, view.keys) == ("rsa", m.ALICE, ())
    assert not view.cleartext


def test_mik_6_a_wrong_signature_fails() -> None:
    """Changed after signing, or of another key, whoever is trusted."""
    octets = pk_offer()
    places = [octets.index(part) for part in (m.NONCE, m.BOB, b"sealed", b"mmm", b"eee")]
    for place in (*places, len(octets) - 256, len(octets) - 1):
        broken = octets[:place] + bytes((octets[place] ^ 1,)) + octets[place + 1 :]
        view = checks({}, trusting).examine(broken, context())
        assert (view.state, reasons(view)[0]) == (State.FAILED, Reason.MIKEY_MAC)
    other = checks({}, trusting).examine(pk_offer(key=rsa_key("mallory")), context())
    assert reasons(other) == [Reason.MIKEY_MAC]


def test_mik_6_an_untrusted_certificate_fails_with_its_own_reason() -> None:
    """What the verifier of chains says is told as it is; without one nobody can say."""
    mallory = issue("mallory", kind="rsa2048").der
    chain = [m.nai(m.ALICE), m.certificate(mallory), m.nai(m.BOB)]
    octets = pk_offer(chain, key=rsa_key("mallory"))
    view = checks({}, trusting).examine(octets, context())
    assert (view.state, reasons(view)[0]) == (State.FAILED, Reason.CREDENTIAL_UNTRUSTED)
    unset = checks({}, lambda *_: Finding(Reason.NOT_SET_UP)).examine(pk_offer(), context())
    assert (unset.state, reasons(unset)) == (State.UNKNOWN, [Reason.NOT_SET_UP])
    alone = checks({}).examine(pk_offer(), context())
    assert (alone.state, reasons(alone)) == (State.UNKNOWN, [Reason.MIKEY_UNCHECKED])


def test_mik_6_who_signs_must_be_who_calls() -> None:
    """An authentic message of alice in a call from mallory fails; unproven it is a note."""
    mallory = context(sender=b"mallory@example.com")
    failed(m.psk_offer(), Reason.MIKEY_SIGNER, mallory)
    view = checks({}, trusting).examine(pk_offer(), mallory)
    assert (view.state, reasons(view)) == (State.FAILED, [Reason.MIKEY_SIGNER])
    unproven = checks({}).examine(m.psk_offer(), mallory)
    assert unproven.state is State.UNKNOWN
    assert Reason.MIKEY_SIGNER in reasons(unproven)
    anonymous = examine(m.psk_offer(), context(sender=b""))
    assert (anonymous.state, anonymous.signer) == (State.VALID, m.ALICE)


def test_mik_7_certificates_that_are_not_attached() -> None:
    """By URL, as RSA-R has it, or not at all: unknown, unless somebody here has them."""
    url = b"http://example.com/alice.cer"
    linked = pk_offer([m.nai(m.ALICE), m.certificate(url, 1), m.nai(m.BOB)])
    bare = pk_offer([m.nai(m.ALICE), m.nai(m.BOB)])
    encrypting = pk_offer([m.nai(m.ALICE), m.certificate(ALICE_CERTIFICATE, 3), m.nai(m.BOB)])
    for octets in (linked, bare, encrypting):
        view = checks({}, trusting).examine(octets, context())
        assert view.state is State.UNKNOWN
        assert Reason.MIKEY_UNCHECKED in reasons(view)
    asked: list[bytes] = []

    def find(where: bytes) -> bytes | None:
        asked.append(where)
        return ALICE_CERTIFICATE

    room = MikeyChecks(MikeyTrust({}, trusting, find))
    assert room.examine(linked, context()).state is State.VALID
    assert room.examine(bare, context()).state is State.VALID
    assert asked == [url, m.ALICE]


def test_mik_7_signatures_and_keys_of_other_kinds_are_unknown() -> None:
    """ECDSA certificates and ECCSI signatures; a broken certificate has no key."""
    elliptic = issue("p256").der
    for octets in (elliptic, b"broken", b""):
        sealed = pk_offer([m.nai(m.ALICE), m.certificate(octets), m.nai(m.BOB)])
        assert checks({}, trusting).examine(sealed, context()).state is State.UNKNOWN
    chain = [m.stamp(), m.rand(), m.envelope(), (4, b"\x20\x03sig")]
    view = checks({}, trusting).examine(m.build(2, chain), context())
    assert (view.state, reasons(view)[0]) == (State.UNKNOWN, Reason.MIKEY_UNCHECKED)


def test_mik_8_keys_in_clear_or_without_mac_fail_in_other_modes() -> None:
    """NULL encryption is for pre-shared keys; only AES key wrap does without MAC."""
    for sealed in (m.kemac(b"keys", 0, 1, b"m" * 20), m.kemac(b"sealed", 1, 0)):
        octets = pk_offer([m.nai(m.ALICE), m.certificate(ALICE_CERTIFICATE), m.nai(m.BOB), sealed])
        view = checks({}, trusting).examine(octets, context())
        assert (view.state, view.finding and view.finding.reason) == (
            State.FAILED, Reason.MIKEY_CLEAR,
        )  # fmt: skip
    wrapped = pk_offer(
        [m.nai(m.ALICE), m.certificate(ALICE_CERTIFICATE), m.nai(m.BOB), m.kemac(b"sealed", 2)]
    )
    assert checks({}, trusting).examine(wrapped, context()).state is State.VALID


def test_mik_9_the_list_of_protocols_is_compared() -> None:
    """A man in the middle peels off the stronger ones, or adds a weaker one."""
    octets = m.psk_offer([m.extension(1, b"mikey;keyp1")])
    assert examine(octets, context(listed=(b"mikey", b"keyp1"))).findings == ()
    for listed in ((b"mikey",), (b"keyp1", b"mikey"), (b"mikey", b"keyp1", b"keyp2")):
        failed(octets, Reason.MIKEY_BIDDING, context(listed=listed))
    silent = examine(m.psk_offer([]))
    assert (silent.state, reasons(silent)) == (State.VALID, [Reason.MIKEY_BIDDING])
    assert examine(m.psk_offer([]), context(listed=())).findings == ()


@pytest.mark.parametrize(
    ("params", "suite", "bits"),
    [
        ([], b"", 128),
        ([(9, 0)], b"", 128),
        ([(0, 1)], b"AES_CM_128_HMAC_SHA1_80", 128),
        ([(0, 1), (1, 16), (2, 1), (3, 20), (4, 14), (5, 0), (6, 0), (7, 1), (8, 1), (9, 0),
          (10, 1), (11, 10), (12, 0)], b"AES_CM_128_HMAC_SHA1_80", 128),
        ([(11, 4)], b"AES_CM_128_HMAC_SHA1_32", 128),
        ([(3, 4)], b"AES_CM_128_HMAC_SHA1_32", 128),
        ([(3, 10)], b"AES_CM_128_HMAC_SHA1_80", 128),
        ([(3, 4), (11, 10)], b"AES_CM_128_HMAC_SHA1_80", 128),
        ([(1, 24)], b"AES_192_CM_HMAC_SHA1_80", 192),
        ([(1, 32), (11, 4)], b"AES_256_CM_HMAC_SHA1_32", 256),
        ([(0, 2)], b"F8_128_HMAC_SHA1_80", 128),
        ([(0, 6), (20, 16)], b"AEAD_AES_128_GCM", 128),
        ([(0, 6), (1, 32), (2, 0), (4, 12)], b"AEAD_AES_256_GCM", 256),
        ([(18, 1), (0, 1), (0, 1)], b"AES_CM_128_HMAC_SHA1_80", 128),
    ],
)  # fmt: skip
def test_mik_13_policies_have_the_names_of_suites(
    params: list[tuple[int, int]], suite: bytes, bits: int
) -> None:
    """Of RFC 4568, 6188 and 7714; what nobody says is left unsaid."""
    view = examine(m.psk_offer([m.policy(*params), m.extension(1, b"mikey")]))
    assert (view.state, view.suite, view.key_bits) == (State.VALID, suite, bits)
    assert {key.suite for key in view.keys} == {suite or DEFAULT.suite}
    length = bits // 8 + (12 if b"GCM" in suite else 14)
    assert {len(key.key) for key in view.keys} == {length}


@pytest.mark.parametrize(
    "params",
    [
        [(0, 0)],
        [(2, 0)],
        [(7, 0)],
        [(8, 0)],
        [(10, 0)],
        [(11, 0)],
        [(11, 8)],
        [(0, 6), (20, 8)],
        [(0, 6), (1, 24)],
        [(0, 6), (4, 14)],
        [(0, 3)],
        [(0, 2), (1, 32)],
        [(1, 8)],
        [(2, 2)],
        [(4, 0)],
        [(5, 1)],
        [(0, 1), (0, 0)],
    ],
)
def test_mik_13_policies_without_protection_fail(params: list[tuple[int, int]]) -> None:
    """NULL, switched off, no tag, two values at once, or nothing that anybody knows."""
    failed(m.psk_offer([m.policy(*params)]), Reason.MIKEY_POLICY)


def test_mik_13_null_is_called_by_its_name() -> None:
    """Not just something that sipguard does not know."""
    for params in ((0, 0), (2, 0)):
        detail = failed(m.psk_offer([m.policy(params)]), Reason.MIKEY_POLICY)
        assert detail == "a NULL cipher or a NULL authentication"


def test_mik_13_other_policies() -> None:
    """Of another protocol, odd values, and sessions that refer to none of them."""
    failed(m.psk_offer([m.policy((0, 1), protocol=7)]), Reason.MIKEY_POLICY)
    failed(m.psk_offer([(10, b"\0\0\0\x02\0\0")]), Reason.MIKEY_POLICY)
    long = bytes(8) + b"\x0a"  # a tag of 10 octets, in more of them than anybody counts with
    failed(m.psk_offer([(10, b"\0\0\0\x0b\x0b\x09" + long)]), Reason.MIKEY_POLICY)
    failed(m.psk_offer([m.policy((0, 1), number=3)]), Reason.MIKEY_POLICY)
    two = [m.policy((0, 1), number=3), m.policy((0, 6), number=4), m.extension(1, b"mikey")]
    streams = b"\x02\0" + m.sessions(1, policy=3)[2:] + m.sessions(2, policy=4)[2:]
    view = examine(m.psk_offer(two, streams=streams))
    assert [key.suite for key in view.keys] == [b"AES_CM_128_HMAC_SHA1_80", b"AEAD_AES_128_GCM"]
    assert view.ssrcs == (1, 2)


def test_a_key_derivation_rate_hides_the_keys() -> None:
    """How RFC 3830 counts it nobody says; the stream is judged by its looks then."""
    view = examine(m.psk_offer([m.policy((6, 4)), m.extension(1, b"mikey")]))
    assert (view.state, view.keys) == (State.VALID, ())


def test_mik_14_the_called_party_should_be_named() -> None:
    """Or else one's call can be led to another; a note, since many leave it out."""
    assert reasons(examine(m.psk_offer(ids=[m.nai(m.ALICE)]))) == [Reason.MIKEY_IDENTITY]
    other = examine(m.psk_offer(ids=[m.nai(m.ALICE), m.nai(b"carol@example.org")]))
    assert (other.state, reasons(other)) == (State.VALID, [Reason.MIKEY_IDENTITY])
    request_uri = context(receivers=(b"bob@pbx", m.BOB))
    assert examine(m.psk_offer(), request_uri).findings == ()
    assert examine(m.psk_offer(), context(receivers=())).findings == ()


def test_mik_14_who_is_who_where_one_is_named() -> None:
    """RFC 3830 marks nobody: From and To tell, and a certificate in the place of IDi."""
    view = checks().examine(m.psk_offer(ids=[m.nai(m.BOB)]), context())
    assert view.findings == ()
    certified = [m.certificate(ALICE_CERTIFICATE), m.nai(b"bob's other name")]
    view = checks({}, trusting).examine(pk_offer(certified), context())
    assert view.parties.initiator is None
    assert view.parties.responder is not None
    assert (view.state, view.signer) == (State.VALID, m.ALICE)
    roles = [
        m.identity_with_role(2, b"sip:" + m.BOB), m.identity_with_role(1, b"sip:" + m.ALICE),
        m.extension(1, b"mikey"),
    ]  # fmt: skip
    assert examine(m.psk_offer(roles, ids=[])).findings == ()


def test_mik_15_what_is_out_of_date_is_told() -> None:
    """SHA-1 signatures are mandatory in RFC 3830, and valid; MD5 only names a certificate."""
    view = checks({}, trusting).examine(pk_offer(digest=hashes.SHA1()), context())
    assert (view.state, reasons(view)) == (State.VALID, [Reason.MIKEY_LEGACY])
    chain = [
        m.nai(m.ALICE), m.certificate(ALICE_CERTIFICATE), m.nai(m.BOB),
        m.extension(1, b"mikey"), (8, b"\x01" + b"h" * 16),
    ]  # fmt: skip
    view = checks({}, trusting).examine(pk_offer(chain), context())
    assert (view.state, reasons(view)) == (State.VALID, [Reason.MIKEY_LEGACY])
    chain[-1] = (8, b"\x00" + b"h" * 20)
    assert checks({}, trusting).examine(pk_offer(chain), context()).findings == ()


def test_dhhmac_offers() -> None:
    """RFC 4650: a Diffie-Hellman value under a MAC of the pre-shared key; always answered."""
    chain = [
        m.stamp(), m.rand(), m.nai(m.ALICE), m.nai(m.BOB), m.extension(1, b"mikey"), m.dh(),
        m.kemac(b"", 0, 1, b"\0" * 20),
    ]  # fmt: skip
    octets = m.authenticated(m.build(7, chain))
    view = examine(octets)
    assert (view.state, view.mode, view.keys) == (State.VALID, "dhhmac", ())
    assert (view.wants_answer, view.cleartext) == (True, False)
    assert checks({}).examine(octets, context()).state is State.UNKNOWN
    open_value = m.build(7, [*chain[:-1], m.kemac(b"")])
    assert failed(open_value, Reason.MIKEY_CLEAR)
    alone = m.authenticated(m.build(7, [*chain[:2], m.nai(b"x@y.example"), *chain[4:]]))
    named = checks({b"x@y.example": m.PSK}).examine(alone, context())
    assert named.parties.initiator is None  # RFC 4650 section 3: IDr is the one that must be there
    assert reasons(named) == [Reason.MIKEY_IDENTITY]


@pytest.mark.parametrize(
    "value",
    [m.dh(group=1), m.dh(group=2), m.dh(0), m.dh(1), m.dh(OAKLEY_5_PRIME - 1), m.dh(2**1536 - 1)],
)
def test_mik_12_weak_values_of_an_offer_fail(value: m.Payload) -> None:
    """Groups of 768 and 1024 bits, and values whose secret everybody knows."""
    chain = [m.stamp(), m.rand(), value, (4, b"\0\x01s")]
    failed(m.build(4, chain), Reason.MIKEY_DH)


def test_mik_10_which_offers_want_an_answer() -> None:
    """The V flag, but for modes that are always answered, or never, or say it in a ticket."""
    assert examine(m.psk_offer(v=True)).wants_answer
    signature = (4, b"\0\x01s")
    sound = [m.stamp(), m.rand(), m.dh(), signature]
    assert examine(m.build(4, sound)).wants_answer
    assert examine(m.build(9, [m.stamp(), signature], v=True)).wants_answer
    ticket = (17, b"\0\x01\x01\x01" + b"\0\x40\0" + b"\0\0" * 3)
    silent = (17, b"\0\x01\x01\x01" + b"\0\0\0" + b"\0\0" * 3)
    assert examine(m.build(14, [m.stamp(), ticket, (9, b"\0")])).wants_answer
    view = examine(m.build(14, [m.stamp(), silent, (9, b"\0")], v=True))
    assert (view.mode, view.state, view.wants_answer) == ("ticket", State.UNKNOWN, False)
    sakke = examine(m.build(26, [m.stamp(), (26, b"\x01\x01\0\0"), signature], v=True))
    assert (sakke.mode, sakke.state, sakke.wants_answer) == ("sakke", State.UNKNOWN, False)


def test_keys_in_clear_beside_a_ticket_fail() -> None:
    """RFC 6043 encrypts them with a key of the ticket."""
    ticket = (17, b"\0\x01\x01\x01" + b"\0\0\0" + b"\0\0" * 3)
    chain = [m.stamp(), ticket, m.kemac(m.key_data(b"k")), (9, b"\0")]
    failed(m.build(14, chain), Reason.MIKEY_CLEAR)


def test_mik_11_an_rsa_r_offer() -> None:
    """Signed, brings no key, and must ask for a response; its policies are a choice."""
    named = [m.nai(m.ALICE), m.certificate(ALICE_CERTIFICATE), m.nai(m.BOB)]
    chain = [m.stamp(), *named, m.extension(1, b"mikey")]
    octets = m.signed(m.build(9, chain, v=True, last=4), rsa_key())
    view = checks({}, trusting).examine(octets, context())
    assert (view.state, view.mode, view.findings) == (State.VALID, "rsa-r", ())
    silent = m.signed(m.build(9, chain, last=4), rsa_key())
    assert reasons(checks({}, trusting).examine(silent, context())) == [Reason.MIKEY_RSA_R]
    choice = [*chain, m.policy((0, 0), number=1), m.policy((0, 1), number=2)]
    octets = m.signed(m.build(9, choice, v=True, last=4), rsa_key())
    assert checks({}, trusting).examine(octets, context()).state is State.VALID
    weak = [*chain, m.policy((0, 0), number=1)]
    octets = m.signed(m.build(9, weak, v=True, last=4), rsa_key())
    view = checks({}, trusting).examine(octets, context())
    assert (view.state, view.finding and view.finding.reason) == (State.FAILED, Reason.MIKEY_POLICY)


def test_an_update_goes_on_with_the_first_rand() -> None:
    """RFC 3830 section 4.5: same call, same CSB ID, no RAND; keys and MACs still depend on it."""
    room = checks()
    offer = m.psk_offer()
    room.remember(room.examine(offer, context()), context())
    later_s = m.NOW_S + 100
    t = m.stamp(later_s)
    sealed = m.counter_mode(m.key_data(b"the next TGK key"), t[1][1:])
    chain = [t, m.nai(m.ALICE), m.nai(m.BOB), m.extension(1, b"mikey")]
    update = m.authenticated(
        m.build(0, [*chain, m.kemac(sealed, 1, 1, b"\0" * 20)], streams=m.sessions(1))
    )
    later = at(later_s, 5100.0)
    view = room.examine(update, context(now=later))
    assert view.state is State.VALID
    assert view.keys[0].key[:16] == m.traffic(0x2AD01C64, 1, 16, b"the next TGK key")
    stranger = room.examine(update, context(b"other call", now=later))
    assert reasons(stranger) == [Reason.BAD_MIKEY]


def test_several_keys_and_salts() -> None:
    """Each key has its MKI; a salt beside a key is used, and not another derived."""
    keys = m.key_data(m.TGK, kind=1, salt=b"s" * 14, mki=b"\x01", following=20)
    keys += m.key_data(b"k" * 16, kind=3, salt=b"t" * 14, mki=b"\x02")
    view = examine(m.psk_offer(keys=keys, streams=m.sessions(7)))
    assert [(key.mki, key.key[16:]) for key in view.keys] == [
        (b"\x01", b"s" * 14), (b"\x02", b"t" * 14),
    ]  # fmt: skip
    assert view.keys[1].key[:16] == b"k" * 16


@pytest.mark.parametrize(
    "keys",
    [
        m.key_data(b"short TEK", kind=2),
        m.key_data(b"k" * 31, kind=2),
        m.key_data(m.TGK, kind=1, salt=b"short"),
        b"",
        b"what no key data looks like",
    ],
)
def test_keys_of_a_wrong_length_are_not_known(keys: bytes) -> None:
    """An authentic message all the same; its stream is judged by its looks."""
    view = examine(m.psk_offer(keys=keys))
    assert (view.state, view.keys) == (State.VALID, ())


def test_a_tek_needs_no_crypto_session() -> None:
    """A message that maps none (#CS 0) still brings a key; a TGK needs the number of one."""
    view = examine(m.psk_offer(keys=m.key_data(b"k" * 30, kind=2), streams=b"\0\0"))
    assert [(key.key, key.ssrc) for key in view.keys] == [(b"k" * 30, -1)]
    assert examine(m.psk_offer(streams=b"\0\0")).keys == ()


def test_keys_are_bounded() -> None:
    """Sixteen keys for 255 sessions would be 4,080 derivations."""
    keys = m.key_data(m.TGK, following=20) * 15 + m.key_data(m.TGK)
    view = examine(m.psk_offer(keys=keys, streams=m.sessions(*range(1, 256))))
    assert (view.state, view.keys) == (State.VALID, ())


def test_an_unknown_prf_cannot_be_checked() -> None:
    """Neither keys nor MACs can be derived."""
    octets = m.psk_offer()
    view = examine(octets[:3] + b"\x02" + octets[4:])
    assert (view.state, reasons(view)[0]) == (State.UNKNOWN, Reason.MIKEY_UNCHECKED)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus here")
def test_third_parties_messages_are_judged() -> None:
    """MIKEY-SAKKE of another implementation: signed in a way that nobody here can check."""
    paths = sorted((CORPUS / "mikey" / "vectors").glob("sakke*.bin"))
    assert len(paths) >= 8
    for path in paths:
        octets = path.read_bytes()
        stamp = parse_mikey(octets).stamp
        assert stamp is not None
        view = examine(octets, context(now=at(read_time(stamp, m.NOW_S))))
        assert (view.mode, view.state) == ("sakke", State.UNKNOWN)
        assert view.suite in (b"", b"AEAD_AES_128_GCM", b"AES_CM_128_HMAC_SHA1_80")


@given(
    st.one_of(
        st.binary(max_size=100),
        st.builds(
            lambda whole, place, octets: whole[: place % len(whole)] + octets
            + whole[place % len(whole) + len(octets) :],
            st.sampled_from([m.psk_offer(), m.GSTREAMER_OFFER, pk_offer()]),
            st.integers(0, 1500),
            st.binary(min_size=1, max_size=3),
        ),
    )
)  # fmt: skip
def test_examining_is_total(octets: bytes) -> None:
    """No octets raise, and nothing but the builder's own messages is valid."""
    sound = (m.psk_offer(), pk_offer())
    room = checks(KEYS, trusting)
    view = room.examine(octets, context())
    assert view.state is not State.VALID or octets in sound
    room.remember(view, context())
    assert (view.finding is None) is (view.state is State.VALID)


def test_a_view_shows_nothing_of_its_keys() -> None:
    """What is printed by mistake must not end up in a log."""
    view = examine(m.GSTREAMER_OFFER, context(now=at(m.GSTREAMER_S)))
    assert "3e1fdd" not in repr(view) + repr(view.keys) + repr(view.findings)
    assert "\\x1f\\xdd" not in repr(view) + repr(view.keys) + repr(view.findings)

"""wire/mikey: messages read to the last octet, and the key-mgmt lines that carry them (MIK-1)."""

import os
import time
from base64 import b64decode, b64encode
from pathlib import Path

import mikey_builder as m
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.mikey import (
    MAX_MESSAGE_OCTETS,
    MAX_PAYLOADS,
    CryptoSession,
    Mikey,
    parse_key_mgmt,
    parse_mikey,
)
from sipguard.wire.mikey_payloads import MAX_KEYS, MAX_PARAMS, read_keys
from sipguard.wire.mikey_values import NOT_CHOSEN, Dh, Identity, Policy, Stamp

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
CORPUS = CORPUS / "mikey"


def refused(octets: bytes) -> str:
    with pytest.raises(HostileInput) as caught:
        parse_mikey(octets)
    assert caught.value.reason is Reason.BAD_MIKEY
    assert caught.value.octets == b""  # they may be keys
    return caught.value.detail


def test_vec_21_the_offer_of_rfc_4567() -> None:
    """Section 5.1: a PSK message of 132 octets, to the last of them."""
    octets = b64decode(m.RFC4567_OFFER)
    message = parse_mikey(octets)
    assert len(octets) == 132
    assert (message.data_type, message.wants_response, message.prf) == (0, True, 0)
    assert message.csb_id == bytes.fromhex("cd177e50")
    assert message.sessions == (CryptoSession(1, (0,), NOT_CHOSEN, 0),)
    assert message.order == (5, 11, 6, 10, 1)
    assert message.stamp == Stamp(0, bytes.fromhex("c8e350ea00000000"))
    assert message.rand == bytes.fromhex("4a28da979ee21a7651a0d7f19136d98c")
    assert message.identities == (Identity(0, b"donald@duck.com"),)
    assert message.policies == (Policy(0, 0, ()),)
    assert message.kemac is not None
    assert (message.kemac.encryption, len(message.kemac.encrypted)) == (1, 36)
    assert message.kemac.mac.hex() == "5f627a69c6508675f5f59050e4abcca4c0bfdcd5"
    assert message.kemac.mac_at == 112
    assert message.kemac.keys == ()


def test_vec_21_the_answer_of_rfc_4567() -> None:
    """Section 5.1: the verification message of 71 octets."""
    octets = b64decode(m.RFC4567_ANSWER)
    message = parse_mikey(octets)
    assert len(octets) == 71
    assert (message.data_type, message.order) == (1, (5, 6, 9))
    assert message.identities == (Identity(0, b"mickey@mouse.com"),)
    assert message.verification is not None
    assert message.verification.mac.hex() == "9fc1dd184e413035c522e18481afbad80818e5c7"
    assert message.verification.mac_at == 51


def test_a_real_message_of_gstreamer() -> None:
    """112 octets with the SRTP key in clear, as a TEK of key and salt together."""
    message = parse_mikey(m.GSTREAMER_OFFER)
    assert message.sessions == (CryptoSession(1, (0,), 0x5F2A29C8, 0),)
    assert message.order == (5, 11, 10, 1)
    assert message.policies[0].params[3] == (3, b"\x0a")
    assert message.kemac is not None
    (key,) = message.kemac.keys
    assert (key.is_tek, len(key.key), key.salt) == (True, 30, b"")


def everything() -> list[m.Payload]:
    """One of each payload, in an order that nobody sends."""
    return [
        m.stamp(),
        m.rand(),
        m.nai(m.ALICE),
        m.uri_id(b"sip:" + m.BOB),
        m.certificate(b"der"),
        m.certificate(b"http://example.com/a.cer", 1),
        m.policy((0, 1), (1, 16)),
        m.dh(7),
        (3, b"\x01" + b"d" * 96 + b"\x01\x02ab"),
        (3, b"\x02" + b"d" * 128 + b"\x02\x01a\x02bc"),
        m.kemac(b"sealed", 1, 2, b"m" * 32),
        (8, b"\x02" + b"h" * 32),
        m.envelope(),
        m.error(13),
        m.extension(1, b"mikey"),
        m.extension(3, b"\0\x01k"),
        (13, b"\x01\x03time"),
        m.identity_with_role(2, b"sip:carol@example.org"),
        (15, b"\x01\x02rr"),
        (16, b"\0\x01\x01\x01" + b"\0\0\0" + b"\0\x02tp"),
        (17, b"\0\x01\x01\x01" + b"\0\x40\0" + b"\0\x02tp" + b"\0\x01t" + b"\0\0"),
        (26, b"\x01\x01\0\x03sak"),
        (9, b"\x00"),
        (4, b"\x10\x03sig"),
    ]


def test_mik_1_every_payload_is_read_or_skipped_by_its_length() -> None:
    """Also those of RFC 4563, 6043 and 6509, and both forms of a key's validity."""
    message = parse_mikey(m.build(2, everything(), last=0))
    assert message.order == tuple(kind for kind, _ in everything())
    assert message.identities[-1] == Identity(1, b"sip:carol@example.org", 2)
    assert message.dhs[0] == Dh(0, (7).to_bytes(192, "big"))
    assert [value.group for value in message.dhs] == [0, 1, 2]
    assert message.errors == (13,)
    assert message.extension(1) == b"mikey"
    assert message.extension(4) is None
    assert message.wants_transfer
    assert message.envelope == b"e" * 128
    assert message.certificate_hash is not None
    assert message.signature is not None
    assert (message.signature.kind, message.signature.signature) == (1, b"sig")
    assert message.octets[message.signature.signature_at :] == b"sig"
    assert message.signature.signature_at == message.signature.at + 2


@pytest.mark.parametrize("at", range(len(everything())))
def test_mik_1_a_cut_payload_is_refused(at: int) -> None:
    """Whatever it is: a length that runs past the end, or octets that are missing."""
    alone = m.build(2, everything()[at : at + 1])
    parse_mikey(alone)
    for shorter in range(10, len(alone)):
        refused(alone[:shorter])


def test_mik_1_what_is_left_over_is_refused() -> None:
    """After the last payload, after a signature, and after a header alone."""
    for octets in (
        m.psk_offer(),
        m.GSTREAMER_OFFER,
        m.build(4, [(4, b"\x00\x01s")]),
        m.build(0, []),
    ):
        parse_mikey(octets)
        assert refused(octets + b"\0") == "octets after the last payload"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x01",
        b"\x02" + m.psk_offer()[1:],
        b"\x00" + m.psk_offer()[1:],
        m.build(19, [m.stamp()]),
        m.build(25, [m.stamp()]),
        m.build(255, [m.stamp()]),
        m.build(0, [m.stamp(), (18, b"")]),
        m.build(0, [m.stamp(), (20, b"")]),
        m.build(0, [m.stamp()], last=5),
        m.build(0, [m.stamp()], last=99),
        m.build(0, [], streams=b"\x01\x03"),
        m.build(0, [], streams=b"\xff\x00"),
        m.build(0, [], streams=b"\xff\x02"),
        m.build(14, [], streams=b"\x02\x02" + b"\x01\0\0\0\0\0" * 2),
        m.build(0, [(5, b"\x04" + b"t" * 8)]),
        m.build(0, [(3, b"\x03" + b"d" * 192 + b"\0")]),
        m.build(0, [(3, b"\x00" + b"d" * 192 + b"\x03")]),
        m.build(0, [(8, b"\x03" + b"h" * 20)]),
        m.build(0, [(9, b"\x03" + b"m" * 20)]),
        m.build(0, [m.kemac(b"x", 1, 3, b"m" * 20)]),
        m.build(0, [m.rand(b"")]),
        m.build(0, [(10, b"\0\0\0\x03\0\x02x")]),
        m.build(0, [m.kemac(b"\0")]),
        m.build(0, [m.kemac(m.key_data(b"k", kind=7))]),
        m.build(0, [m.kemac(b"\0\x23\0\x01k")]),
        m.build(0, [m.kemac(m.key_data(b"k") + b"\0")]),
        m.build(0, [m.kemac(m.key_data(b"k", following=5))]),
    ],
)
def test_mik_1_what_is_not_known_is_refused(octets: bytes) -> None:
    """Versions, types of messages, payloads, maps, times, groups, hashes, MACs and keys."""
    refused(octets)


@pytest.mark.parametrize(
    "payloads",
    [
        [m.stamp(), m.stamp()],
        [m.rand(), m.rand()],
        [m.kemac(b""), m.kemac(b"")],
        [m.envelope(), m.envelope()],
        [(9, b"\0"), (9, b"\0")],
        [(8, b"\0" + b"h" * 20), (8, b"\0" + b"h" * 20)],
        [m.policy((0, 1)), m.policy((0, 0))],
        [m.extension(1, b"mikey"), m.extension(1, b"mikey;keyp1")],
        [m.extension(4, b"csb1"), m.extension(4, b"csb2")],
    ],
)
def test_mik_1_two_of_what_can_count_only_once_are_refused(payloads: list[m.Payload]) -> None:
    """Two readers would take different ones: another time, another key, another list."""
    for one in payloads:
        parse_mikey(m.build(0, [one]))
    refused(m.build(0, payloads))


def test_mik_1_numbers_of_things_are_bounded() -> None:
    """Payloads, parameters, keys, and the message as a whole."""
    parse_mikey(m.build(6, [m.error(1)] * MAX_PAYLOADS))
    refused(m.build(6, [m.error(1)] * (MAX_PAYLOADS + 1)))
    parse_mikey(m.build(0, [m.policy(*[(9, 0)] * MAX_PARAMS)]))
    refused(m.build(0, [m.policy(*[(9, 0)] * (MAX_PARAMS + 1))]))
    keys = m.key_data(b"k", following=20) * (MAX_KEYS - 1) + m.key_data(b"k")
    parse_mikey(m.build(0, [m.kemac(keys)]))
    refused(m.build(0, [m.kemac(m.key_data(b"k", following=20) + keys)]))
    long = m.build(0, [m.nai(b"n" * (MAX_MESSAGE_OCTETS - 14))])
    assert len(long) == MAX_MESSAGE_OCTETS
    parse_mikey(long)
    refused(m.build(0, [m.nai(b"n" * (MAX_MESSAGE_OCTETS - 13))]))


def test_the_maps_of_crypto_sessions() -> None:
    """SRTP-ID, empty (RFC 4563) and GENERIC-ID (RFC 6043); 0 is no SSRC in the first alone."""
    generic = (
        b"\x05\0\x02\x01\x02" + b"\0\x04\0\0\0\0" + b"\x01k"
        + b"\x06\0\x80" + b"\0\x0a\x11\x22\x33\x44\0\0\0\x07\0\x09" + b"\0"
        + b"\x07\x01\0" + b"\0\x04abcd" + b"\0"
        + b"\x08\0\0\0\0\0"
    )  # fmt: skip
    message = parse_mikey(m.build(14, [], streams=b"\x04\x02" + generic))
    assert message.sessions == (
        CryptoSession(5, (1, 2), 0, 0),
        CryptoSession(6, (), 0x11223344, 7),
        CryptoSession(7, (), NOT_CHOSEN, 0),
        CryptoSession(8, (), NOT_CHOSEN, 0),
    )
    assert parse_mikey(m.build(0, [], streams=b"\x09\x01")).sessions == ()
    found = parse_mikey(m.build(0, [], streams=m.sessions(7, 0, policy=3))).sessions
    assert found == (CryptoSession(1, (3,), 7, 0), CryptoSession(2, (3,), NOT_CHOSEN, 0))


def test_keys_with_salt_and_mki() -> None:
    """RFC 3830 section 6.13; the keys of other messages than PSK are not looked for in clear."""
    octets = m.key_data(b"tgk", kind=1, salt=b"salt", mki=b"\x01\x02", following=20)
    first, second = read_keys(octets + m.key_data(b"tek", kind=2), spare=0)
    assert (first.is_tek, first.key, first.salt, first.validity.spi) == (
        False, b"tgk", b"salt", b"\x01\x02",
    )  # fmt: skip
    assert (second.is_tek, second.key, second.salt, second.validity.spi) == (True, b"tek", b"", b"")
    assert read_keys(b"", spare=0) == ()
    assert read_keys(m.key_data(b"k") + b"\0\0", spare=2)[0].key == b"k"
    for wrong in (m.key_data(b"k") + b"\0\0\0", m.key_data(b"k") + b"\0\x01"):
        with pytest.raises(HostileInput):
            read_keys(wrong, spare=2)
    message = parse_mikey(m.build(2, [m.kemac(b"anything")]))
    assert message.kemac is not None
    assert message.kemac.keys == ()


@pytest.mark.parametrize(
    ("content", "algorithm"),
    [
        (b"\0\0\0\x01" + b"m" * 20, 1),  # as RFC 3830 numbers NULL and HMAC
        (b"\x02\0\0\0" + b"m" * 20, 1),  # as RFC 4650 does
        (b"\x02\0\0\x01", 0),
        (b"\0\0\0\0", 0),
    ],
)
def test_the_kemac_of_dhhmac_is_read_in_either_numbering(content: bytes, algorithm: int) -> None:
    """RFC 4650 section 4.2 contradicts RFC 3830; what is there shows which is meant."""
    message = parse_mikey(m.build(7, [(1, content)]))
    assert message.kemac is not None
    assert (message.kemac.mac_algorithm, len(message.kemac.mac)) == (algorithm, 20 * algorithm)


@pytest.mark.parametrize(
    "content", [b"\0\0\x01k\0", b"\x01\0\0\0", b"\0\0\0\x02", b"\0\0\0\x01" + b"m" * 19]
)
def test_the_kemac_of_dhhmac_holds_a_mac_alone(content: bytes) -> None:
    """RFC 4650 section 4.2: no encrypted data."""
    refused(m.build(7, [(1, content)]))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus here")
def test_third_parties_messages_are_read() -> None:
    """Of other implementations, MIKEY-SAKKE among them, to the last octet."""
    paths = sorted((CORPUS / "vectors").glob("*.bin"))
    assert len(paths) >= 10
    for path in paths:
        parse_mikey(path.read_bytes())


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus here")
def test_third_parties_broken_messages_are_refused() -> None:
    """Found by fuzzing another reader; each is cut off or has something unknown."""
    paths = sorted((CORPUS / "gortsplib-fuzz").glob("*.bin"))
    assert len(paths) >= 10
    for path in paths:
        refused(path.read_bytes())


MESSAGES = (m.psk_offer(), m.GSTREAMER_OFFER, m.build(2, everything()), b64decode(m.RFC4567_ANSWER))


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda whole, at, octets: whole[: at % len(whole)] + octets + whole[at % len(whole) :],
            st.sampled_from(MESSAGES),
            st.integers(0, 2000),
            st.binary(max_size=4),
        ),
        st.builds(
            lambda whole, at, octet: (
                whole[: at % len(whole)] + bytes((octet,)) + whole[at % len(whole) + 1 :]
            ),
            st.sampled_from(MESSAGES),
            st.integers(0, 2000),
            st.integers(0, 255),
        ),
    )
)
def test_parse_mikey_is_total(octets: bytes) -> None:
    """No octets raise anything but HostileInput; what is read keeps its offsets."""
    try:
        message = parse_mikey(octets)
    except HostileInput:
        return
    assert message.octets == octets
    kemac, signature = message.kemac, message.signature
    if kemac is not None:
        assert octets[kemac.mac_at : kemac.mac_at + len(kemac.mac)] == kemac.mac
    if signature is not None:
        assert octets[signature.signature_at :] == signature.signature


@given(st.binary(max_size=80), st.integers(0, 8))
def test_reading_keys_is_total(octets: bytes, spare: int) -> None:
    """What was decrypted with a wrong key is arbitrary."""
    try:
        keys = read_keys(octets, spare)
    except HostileInput:
        return
    assert sum(len(key.key) for key in keys) <= len(octets)


def test_a_message_shows_nothing_of_its_keys() -> None:
    """Neither whole nor in parts: what is printed by mistake must not end up in a log."""
    message = parse_mikey(m.GSTREAMER_OFFER)
    assert message.kemac is not None
    (key,) = message.kemac.keys
    for value in (message, message.kemac, key, parse_key_mgmt([line(m.GSTREAMER_OFFER)])):
        assert "3e1fdd" not in repr(value)
        assert "\\x1f\\xdd" not in repr(value)


def test_reading_takes_linear_time() -> None:
    """The longest message of the smallest payloads, and of the longest chain of parameters."""
    heavy = [
        m.build(6, [m.error(0)] * MAX_PAYLOADS),
        m.build(0, [m.policy(*[(9, 0)] * MAX_PARAMS, number=n) for n in range(MAX_PAYLOADS)]),
        m.build(0, [], streams=b"\xff\x00" + b"\0" * 9 * 255),
        b"\x01" * MAX_MESSAGE_OCTETS,
    ]
    for octets in heavy:
        began = time.perf_counter()
        for _ in range(10):
            try:
                parse_mikey(octets[:MAX_MESSAGE_OCTETS])
            except HostileInput:
                continue
        assert time.perf_counter() - began < 1.0


def line(octets: bytes, protocol: bytes = b"mikey") -> bytes:
    return protocol + b" " + b64encode(octets)


def test_key_mgmt_lines_are_read_in_their_order() -> None:
    """With one blank before the protocol, which RFC 4567 allows, or none."""
    found = parse_key_mgmt([line(b"key", b"keyp1"), b" " + line(m.GSTREAMER_OFFER), b"keyp2 abc$"])
    assert found.listed == (b"keyp1", b"mikey", b"keyp2")
    assert found.octets == m.GSTREAMER_OFFER
    assert parse_key_mgmt([]).listed == ()
    assert parse_key_mgmt([b"MIKEY AAAA"]).octets == b""  # case-sensitive (RFC 4567 section 3)
    assert parse_key_mgmt([b"mikey AAA"]).octets == parse_key_mgmt([b"mikey AAA="]).octets


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b"mikey"],
        [b"mikey "],
        [b"  mikey AAAA"],
        [b"mikey  AAAA"],
        [b"mikey AAAA BBBB"],
        [b"mikey AAAA "],
        [b"mikey AA=A"],
        [b"mikey A"],
        [b"mikey AAAAA"],
        [b"mikey AAA=="],
        [b"mikey AAAA===="],
        [b"mikey ===="],
        [b"mikey AAA_"],
        [b"mi-key AAAA"],
        [b"m" * 33 + b" AAAA"],
        [b"mikey AAAA", b"mikey AAAA"],
        [b"keyp1 a", b"keyp1 b"],
        [b"keyp%d a" % n for n in range(9)],
        [b"mikey " + b"A" * 22_000],
    ],
)
def test_key_mgmt_lines_that_are_none_are_refused(values: list[bytes]) -> None:
    """Blanks elsewhere, no base64, too long, one protocol twice, too many."""
    with pytest.raises(HostileInput) as caught:
        parse_key_mgmt(values)
    assert caught.value.reason is Reason.BAD_MIKEY


@given(st.lists(st.binary(max_size=40) | st.binary(max_size=30).map(lambda b: b"mikey " + b)))
def test_parse_key_mgmt_is_total(values: list[bytes]) -> None:
    """No octets raise anything but HostileInput."""
    try:
        found = parse_key_mgmt(values)
    except HostileInput:
        return
    assert len(found.listed) == len(values)


@pytest.mark.parametrize("data_type", [*range(19), 26])
def test_mik_1_known_types_of_messages(data_type: int) -> None:
    """RFC 3830, 4650, 4738, 6043 and 6509."""
    assert parse_mikey(m.build(data_type, [m.stamp()])).data_type == data_type


def test_a_message_is_what_its_octets_are() -> None:
    """The fields of the header, as they stand."""
    message: Mikey = parse_mikey(m.build(9, [m.stamp()], v=True, prf=1, csb=b"abcd"))
    assert (message.data_type, message.wants_response, message.prf) == (9, True, 1)
    assert (message.csb_id, message.map_type) == (b"abcd", 0)

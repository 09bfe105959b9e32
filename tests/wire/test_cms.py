"""wire.cms and wire.ber: every legal form of SignedData, bounds, and nothing but HostileInput."""

import base64
import os
import re
import time
from pathlib import Path

import pytest
from authority import NOW_S, Holder, issue_user, make_authority
from cms_builder import (
    CONTENT_TYPE,
    DATA,
    DIGESTS,
    ENVELOPED,
    MESSAGE_DIGEST,
    NULL,
    PART,
    SIGNING_CERTIFICATE,
    SIGNING_CERTIFICATE_V2,
    SIGNING_TIME,
    algorithm,
    attribute,
    attributes,
    content_info,
    element,
    integer,
    octet_string,
    oid,
    open_ended,
    pss_parameters,
    sequence,
    set_of,
    sign,
    signed_data,
    signer_info,
    utc_time,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire import ber
from sipguard.wire.cms import (
    MAX_ATTRIBUTES,
    MAX_CERTIFICATES,
    MAX_OCTETS,
    MAX_SIGNERS,
    EnvelopedData,
    Pss,
    SignedData,
    is_attribute_set,
    parse_cms,
    parse_pss,
)

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
ROOT = make_authority("Example Root")
ALICE = issue_user(ROOT)


def signed(octets: bytes) -> SignedData:
    found = parse_cms(octets)
    assert isinstance(found, SignedData)
    return found


def refusal(octets: bytes) -> Reason:
    with pytest.raises(HostileInput) as caught:
        parse_cms(octets)
    return caught.value.reason


def with_attributes(*extra: bytes, holder: Holder = ALICE) -> bytes:
    """A signature with more attributes than usual."""
    return signed_data(signer_info(PART, holder, signed=(*attributes(PART), *extra)))


# --- what is read


def test_a_detached_signature_is_read_whole() -> None:
    """Certificate, signer, attributes: every value as it stands (SMI-20)."""
    data = signed(sign(PART, ALICE))
    signer = data.signers[0]
    certificate = ALICE.certificate
    assert (data.content, data.content_type) == (None, DATA.encode())
    assert data.digests == (DIGESTS["sha256"].encode(),)
    assert data.certificates == (ALICE.der,)
    assert (signer.issuer, signer.serial, signer.key_id, signer.version) == (
        certificate.issuer.public_bytes(),
        certificate.serial_number,
        b"",
        1,
    )
    assert (signer.digest, signer.algorithm) == (
        DIGESTS["sha256"].encode(),
        b"1.2.840.10045.4.3.2",
    )
    assert signer.content_types == (DATA.encode(),)
    assert signer.signing_time_s == NOW_S


def test_signed_attributes_keep_the_octets_that_the_signature_covers() -> None:
    """They are hashed as a SET OF, not with the tag they travel with (SMI-25)."""
    assert signed(sign(PART, ALICE)).signers[0].signed == set_of(*attributes(PART))
    assert signed(open_ended(sign(PART, ALICE))).signers[0].signed == set_of(*attributes(PART))
    plain = signed(signed_data(signer_info(PART, ALICE, plain=True)))
    assert plain.signers[0].signed == b""


def test_a_signer_may_be_named_by_his_key() -> None:
    """Version 3 and a subject key identifier (SMI-22)."""
    signer = signed(signed_data(signer_info(PART, ALICE, key_id=True))).signers[0]
    assert (signer.issuer, signer.serial, len(signer.key_id), signer.version) == (b"", 0, 20, 3)


def test_parameters_may_be_null_or_absent() -> None:
    """Both forms are seen in the field (SMI-28, RFC 6216 section 5)."""
    rsa = issue_user(ROOT, "rsa@example.com", kind="rsa2048")
    for parameters, expected in ((NULL, NULL), (b"", b"")):
        info = signer_info(PART, rsa, method=algorithm("1.2.840.113549.1.1.1", parameters))
        assert signed(signed_data(info)).signers[0].parameters == expected


def test_unsigned_attributes_and_revocation_lists_are_passed_over() -> None:
    """They prove nothing, so they need not be right either."""
    unsigned = element(0xA1, attribute("1.2.3", octet_string(b"x")))
    data = signed(signed_data(signer_info(PART, ALICE, unsigned=unsigned)))
    assert len(data.signers) == 1


def test_every_value_of_a_repeated_attribute_is_kept() -> None:
    """So that the verifier can refuse what stands twice (SMI-23)."""
    again = (attribute(MESSAGE_DIGEST, octet_string(b"x")), attribute(CONTENT_TYPE, oid("1.2.3")))
    signer = signed(with_attributes(*again)).signers[0]
    assert len(signer.message_digests) == 2
    assert set(signer.content_types) == {DATA.encode(), b"1.2.3"}


def test_hashes_of_the_certificate_are_read() -> None:
    """RFC 5035: SHA-1 in the old form, any digest in the new, SHA-256 unsaid (SMI-27)."""
    first, second = sequence(octet_string(b"a" * 20)), sequence(octet_string(b"i" * 20))
    old = attribute(SIGNING_CERTIFICATE, sequence(sequence(first, second)))
    unsaid = sequence(sequence(sequence(octet_string(b"b" * 32))))
    said = sequence(
        sequence(
            sequence(algorithm(DIGESTS["sha512"], NULL), octet_string(b"c" * 64)),
            sequence(octet_string(b"of the issuer, not of the signer")),
        )
    )
    new = attribute(SIGNING_CERTIFICATE_V2, unsaid, said)
    assert set(signed(with_attributes(old, new)).signers[0].signer_hashes) == {
        (DIGESTS["sha1"].encode(), b"a" * 20),
        (DIGESTS["sha256"].encode(), b"b" * 32),
        (DIGESTS["sha512"].encode(), b"c" * 64),
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (element(0x17, b"500101000000Z"), -631152000.0),
        (element(0x17, b"491231235959Z"), 2524607999.0),
        (element(0x18, b"20500101000000Z"), 2524608000.0),
    ],
)
def test_signing_time_turns_over_in_1950(value: bytes, expected: float) -> None:
    """Two digits of 50 and above are of the last century (SMI-26)."""
    plain = attributes(PART, at_s=None)
    info = signer_info(PART, ALICE, signed=(*plain, attribute(SIGNING_TIME, value)))
    assert signed(signed_data(info)).signers[0].signing_time_s == expected


@pytest.mark.parametrize(
    "value",
    [
        element(0x17, b"2609211333Z"),
        element(0x17, b"260921133320+0000"),
        element(0x18, b"20260921133320.5Z"),
        element(0x18, b"20260921133320"),
        element(0x17, b"261321133320Z"),
        integer(5),
    ],
)
def test_a_signing_time_that_is_none_is_refused(value: bytes) -> None:
    """Seconds and Z are required, fractions forbidden (SMI-26)."""
    plain = attributes(PART, at_s=None)
    info = signer_info(PART, ALICE, signed=(*plain, attribute(SIGNING_TIME, value)))
    assert refusal(signed_data(info)) is Reason.BAD_CMS


def test_two_signing_times_are_refused() -> None:
    """RFC 5652 section 11.3: one attribute, one value (SMI-26)."""
    twice = with_attributes(attribute(SIGNING_TIME, utc_time(NOW_S + 1)))
    assert refusal(twice) is Reason.SIGNED_ATTRIBUTES


def test_encrypted_data_is_told_from_broken_data() -> None:
    """It is unknown, not invalid (SMI-32)."""
    for kind in (ENVELOPED, "1.2.840.113549.1.9.16.1.23", "1.2.840.113549.1.7.6"):
        octets = content_info(sequence(integer(0)), kind)
        assert parse_cms(octets) == EnvelopedData(kind.encode())
    assert refusal(content_info(sequence(integer(0)), DATA)) is Reason.BAD_CMS


# --- BER


def test_open_lengths_and_pieces_mean_the_same() -> None:
    """``openssl cms -sign -stream`` writes them (SMI-20)."""
    der = sign(PART * 9, ALICE, opaque=True)
    assert open_ended(der) != der
    assert ber.to_der(open_ended(der)) == der
    assert parse_cms(open_ended(der)) == parse_cms(der)


def test_long_lengths_and_unordered_sets_mean_the_same() -> None:
    """Legal in BER around the signers; DER would have shorter lengths and sorted sets (SMI-20)."""
    first, second = sorted((signer_info(PART, ALICE), signer_info(PART, ALICE, digest="sha512")))
    der = signed_data(first, second)
    assert len(signed(der.replace(first + second, second + first)).signers) == 2
    inner = der[4:]
    assert parse_cms(b"\x30\x84" + len(inner).to_bytes(4, "big") + inner) == parse_cms(der)


def test_signed_attributes_must_be_der() -> None:
    """Two encodings of one attribute would be two things signed (SMI-20)."""
    stated = attributes(PART)
    der = signed_data(signer_info(PART, ALICE, signed=stated))
    ordered = b"".join(sorted(stated))
    assert refusal(der.replace(ordered, b"".join(sorted(stated, reverse=True)))) is Reason.BAD_CMS
    info = signer_info(PART, ALICE)
    opened = info.replace(element(0xA0, ordered), b"\xa0\x80" + ordered + b"\0\0")
    body = opened[2 + (opened[1] & 0x7F if opened[1] & 0x80 else 0) :]
    assert refusal(signed_data(b"\x30\x80" + body + b"\0\0")) is Reason.BAD_CMS


def test_octets_behind_the_structure_are_refused() -> None:
    """What follows would be unsigned and unread (SMI-20)."""
    for octets in (sign(PART, ALICE), open_ended(sign(PART, ALICE))):
        assert refusal(octets + b"\r\n") is Reason.BAD_CMS
        assert refusal(octets + b"\0\0") is Reason.BAD_CMS


@given(st.binary(max_size=200), st.integers(1, 50))
def test_rewriting_gives_back_what_was_opened(content: bytes, pieces: int) -> None:
    """Whatever the content and however it is cut (SMI-20)."""
    der = sign(content, ALICE, opaque=True)
    assert ber.to_der(open_ended(der, pieces=pieces)) == der


# --- bounds


def test_numbers_are_bounded() -> None:
    """Four signers, sixteen certificates, some attributes (SMI-20)."""
    info = signer_info(PART, ALICE)
    assert len(signed(signed_data(*[info] * MAX_SIGNERS)).signers) == MAX_SIGNERS
    assert refusal(signed_data(*[info] * (MAX_SIGNERS + 1))) is Reason.BAD_CMS
    many = signed_data(info, certificates=[ALICE.der] * MAX_CERTIFICATES)
    assert len(signed(many).certificates) == MAX_CERTIFICATES
    more = signed_data(info, certificates=[ALICE.der] * (MAX_CERTIFICATES + 1))
    assert refusal(more) is Reason.BAD_CMS
    extra = [attribute("1.2.3", integer(n)) for n in range(MAX_ATTRIBUTES)]
    assert refusal(with_attributes(*extra)) is Reason.BAD_CMS
    assert len(signed(signed_data(info, digests=["sha256"] * 8)).digests) == 8
    assert refusal(signed_data(info, digests=["sha256"] * 9)) is Reason.BAD_CMS


def test_the_whole_is_bounded() -> None:
    """No more than a datagram, however well formed (SMI-20)."""
    room = MAX_OCTETS - len(sign(b"x" * 60000, ALICE, opaque=True)) + 60000
    assert len(signed(sign(b"x" * (room - 100), ALICE, opaque=True)).signers) == 1
    assert refusal(sign(b"x" * (room + 100), ALICE, opaque=True)) is Reason.BAD_CMS


def test_odd_versions_serials_and_algorithms_are_refused() -> None:
    """What no certificate and no standard has (SMI-20, SMI-22)."""
    assert refusal(signed_data(signer_info(PART, ALICE, version=9))) is Reason.BAD_CMS
    assert refusal(signed_data(signer_info(PART, ALICE), version=0)) is Reason.BAD_CMS
    long = algorithm("1.2.3", octet_string(b"x" * 300))
    assert refusal(signed_data(signer_info(PART, ALICE, method=long))) is Reason.BAD_CMS
    for bits, expected in ((511, True), (512, False), (600, False)):
        info = signer_info(PART, ALICE, serial=1 << bits)
        if expected:
            assert signed(signed_data(info)).signers[0].serial == 1 << bits
        else:
            assert refusal(signed_data(info)) is Reason.BAD_CMS


def test_empty_attributes_are_refused() -> None:
    """They would make a signature without attributes look like one with them (SMI-23)."""
    info = signer_info(PART, ALICE, plain=True)
    method = algorithm(DIGESTS["sha256"])
    at = info.index(method) + len(method)
    body = info[2 + (info[1] & 0x7F if info[1] & 0x80 else 0) :]
    at -= len(info) - len(body)
    assert refusal(signed_data(sequence(body[:at], b"\xa0\x00", body[at:]))) is Reason.BAD_CMS
    assert signed(signed_data(sequence(body))).signers[0].signed == b""


@pytest.mark.parametrize("letters", [10, 60])
@pytest.mark.parametrize("units", [0, 1, 5])
def test_signed_attributes_are_cut_behind_a_long_name(letters: int, units: int) -> None:
    """Issuers of all lengths, whose header has two, three and four octets (SMI-25)."""
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, "n" * letters)]
    names += [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "u" * 60)] * units
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name(names))
        .public_key(ALICE.key.public_key())
        .serial_number(7)
        .not_valid_before(ALICE.certificate.not_valid_before_utc)
        .not_valid_after(ALICE.certificate.not_valid_after_utc)
        .sign(ALICE.key, hashes.SHA256())
    )
    signer = signed(sign(PART, Holder(certificate, ALICE.key))).signers[0]
    assert signer.signed == set_of(*attributes(PART))
    assert signer.issuer == x509.Name(names).public_bytes()


START = bytes.fromhex("308006092a864886f70d010702a0803080020101")
BOMBS = {
    "nested open ends": b"\x30\x80" * 30000,
    "nested inside": START + b"\x31\x80" + b"\x30\x80" * 20000,
    "nested octet strings": START + b"\x30\x80" + b"\x24\x80" * 20000,
    "small elements": START + b"\x31\x80" + NULL * 30000,
    "pieces": START + b"\x30\x80\x24\x80" + b"\x04\x00" * 30000,
    "a huge length": b"\x30\x84\xff\xff\xff\xff",
    "a length of lengths": b"\x30\xff" + b"\xff" * 1000,
    "nulls in DER": content_info(element(0x30, NULL * 30000)),
    "certificates": signed_data(certificates=[NULL] * 30000),
    "signers": signed_data(*[sequence()] * 10000),
    "digests": content_info(sequence(integer(1), element(0x31, *[sequence(oid("1.2"))] * 10000))),
    "attributes": signed_data(signer_info(PART, ALICE, signed=[attribute("1.2", NULL)] * 6000)),
    "over the size": element(0x30, b"\0" * MAX_OCTETS),
    "a number": content_info(sequence(integer(1 << 400000))),
}


@pytest.mark.parametrize("octets", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_cost_little(octets: bytes) -> None:
    """A whole datagram made to be slow to read is refused at once (SMI-20)."""
    took_s = []
    for _ in range(3):
        started_s = time.process_time()  # what others do on this machine does not count
        assert refusal(octets) is Reason.BAD_CMS
        took_s.append(time.process_time() - started_s)
    assert min(took_s) < 0.05


# --- PSS parameters, attribute sets


def test_pss_parameters() -> None:
    """RFC 4055 section 3.1, with its defaults; other mask generators do not exist."""
    sha256, sha1 = DIGESTS["sha256"].encode(), DIGESTS["sha1"].encode()
    assert parse_pss(pss_parameters("sha256", salt=222)) == Pss(sha256, sha256, 222)
    assert parse_pss(pss_parameters("sha256", "sha1")) == Pss(sha256, sha1, 32)
    assert parse_pss(sequence()) == Pss(sha1, sha1, 20)
    for wrong in (
        b"",
        NULL,
        pss_parameters("sha256", salt=5000),
        sequence(element(0xA0, sequence())),
        sequence(element(0xA1, algorithm("1.2.3", algorithm(DIGESTS["sha256"])))),
        sequence(element(0xA2, integer(-1))),
        sequence(element(0xA3, integer(2))),
    ):
        with pytest.raises(HostileInput) as caught:
            parse_pss(wrong)
        assert caught.value.reason is Reason.BAD_CMS


def test_attribute_sets_are_recognized() -> None:
    """A content that is one may be stolen from another signature's attributes (SMI-25)."""
    assert is_attribute_set(set_of(*attributes(PART)))
    assert not is_attribute_set(PART)
    assert not is_attribute_set(b"1 is a digit, and the tag of a set")
    assert not is_attribute_set(b"")


# --- totality


@given(st.binary(max_size=300))
def test_parse_is_total(octets: bytes) -> None:
    """No octets raise anything but HostileInput."""
    for candidate in (octets, b"\x30\x80" + octets, content_info(octets)):
        try:
            parse_cms(candidate)
        except HostileInput:
            continue


REAL = [
    sign(PART, ALICE),
    open_ended(sign(PART, ALICE, opaque=True)),
    signed_data(signer_info(PART, ALICE, key_id=True), signer_info(PART, ALICE, plain=True)),
    content_info(sequence(integer(0)), ENVELOPED),
]


@settings(max_examples=300)
@given(st.data())
def test_parse_is_total_on_mutated_messages(draw: st.DataObject) -> None:
    """Octets changed, cut out and put in: a value or HostileInput."""
    octets = bytearray(draw.draw(st.sampled_from(REAL)))
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(octets) - 1))
        count = draw.draw(st.integers(0, 3))
        octets[at : at + count] = draw.draw(st.binary(max_size=4))
        octets = octets or bytearray(b"\0")
    try:
        parse_cms(bytes(octets))
    except HostileInput:
        return


# --- messages of others, where present


def forms() -> list[tuple[str, str]]:
    """Files of the corpus with what OpenSSL says they are."""
    table = CORPUS / "smime/expected.tsv"
    rows = table.read_text().splitlines()[1:] if table.exists() else []
    cells = [row.split("\t") for row in rows]
    return [(row[0], row[2]) for row in cells if row[1] in ("DER", "PEM")]


@pytest.mark.parametrize(("name", "form"), forms())
def test_files_of_others_are_what_openssl_says(name: str, form: str) -> None:
    """RFC 4134, OpenSSL's own: signed, encrypted, or neither."""
    octets = (CORPUS / "smime" / name).read_bytes()
    armored = re.search(rb"-----BEGIN [A-Z0-9 ]+-----(.*?)-----END", octets, re.DOTALL)
    if armored:
        octets = base64.b64decode(armored[1])
    expected = {
        "pkcs7-signedData": SignedData,
        "pkcs7-envelopedData": EnvelopedData,
        "pkcs7-encryptedData": EnvelopedData,
    }.get(form)
    # The PEM block of pkcs7-1 goes on behind its end, which OpenSSL does not mind (SMI-20).
    if expected is None or name == "openssl/test/pkcs7-1.pem":
        assert refusal(octets) is Reason.BAD_CMS
    else:
        assert isinstance(parse_cms(octets), expected)

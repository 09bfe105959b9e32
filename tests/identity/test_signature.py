"""identity.signature: a signature that fits its content and one key, and nothing else."""

import hashlib

import pytest
from authority import NOW_S, Holder, issue_user, make_authority
from cms_builder import (
    CONTENT_TYPE,
    DATA,
    DIGESTS,
    MESSAGE_DIGEST,
    NULL,
    PART,
    SIGNING_CERTIFICATE,
    SIGNING_CERTIFICATE_V2,
    algorithm,
    algorithm_of,
    attribute,
    attributes,
    octet_string,
    oid,
    pss_parameters,
    sequence,
    set_of,
    sign,
    signed_data,
    signer_info,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from hypothesis import given, settings
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.identity.certificate import read_certificate
from sipguard.identity.signature import check_signature
from sipguard.reason import Finding, Reason
from sipguard.wire.cms import SignedData, parse_cms

ROOT = make_authority("Example Root")
ALICE = issue_user(ROOT)
MALLORY = issue_user(ROOT, "mallory@example.com")
SIGNERS = {
    kind: issue_user(ROOT, f"{kind}@example.com", kind=kind)
    for kind in ("p256", "p384", "ed25519", "rsa2048")
}
RSA = SIGNERS["rsa2048"]


def parsed(octets: bytes) -> SignedData:
    found = parse_cms(octets)
    assert isinstance(found, SignedData)
    return found


def check(
    octets: bytes, holder: Holder, content: bytes = PART, *, legacy: bool = False
) -> tuple[Finding | None, tuple[Finding, ...]]:
    data = parsed(octets)
    certificate = read_certificate(holder.der)
    return check_signature(data.signers[0], data, content, certificate, legacy_sha1=legacy)


def reason(octets: bytes, holder: Holder = ALICE, content: bytes = PART) -> Reason | None:
    finding, _ = check(octets, holder, content)
    return None if finding is None else finding.reason


def stated(*signed: bytes, holder: Holder = ALICE, content_type: str = DATA) -> bytes:
    """A signature with exactly these attributes."""
    return signed_data(signer_info(PART, holder, signed=signed), content_type=content_type)


TYPE = attribute(CONTENT_TYPE, oid(DATA))
DIGEST = attribute(MESSAGE_DIGEST, octet_string(hashlib.sha256(PART).digest()))


# --- what is valid


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", SIGNERS)
def test_every_accepted_algorithm_verifies(kind: str, digest: str, plain: bool) -> None:
    """RSA, ECDSA on both curves, Ed25519; with and without signed attributes (SMI-25, SMI-29)."""
    holder = SIGNERS[kind]
    octets = signed_data(signer_info(PART, holder, digest=digest, plain=plain), digests=(digest,))
    assert check(octets, holder) == (None, ())


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_pss_verifies(digest: str) -> None:
    """RFC 8551 section 2.2 recommends it (SMI-29)."""
    octets = signed_data(signer_info(PART, RSA, digest=digest, pss=True), digests=(digest,))
    assert check(octets, RSA) == (None, ())


@pytest.mark.parametrize(
    ("dotted", "digest"),
    [
        ("1.2.840.113549.1.1.11", "sha256"),
        ("1.2.840.113549.1.1.12", "sha384"),
        ("1.2.840.113549.1.1.13", "sha512"),
    ],
)
def test_an_algorithm_may_name_the_digest_again(dotted: str, digest: str) -> None:
    """RFC 3370 section 3.2 wants rsaEncryption, many write sha256WithRSAEncryption (SMI-29)."""
    method = algorithm(dotted, NULL)
    info = signer_info(PART, RSA, digest=digest, method=method)
    assert check(signed_data(info, digests=(digest,)), RSA) == (None, ())
    other = "sha512" if digest == "sha256" else "sha256"
    info = signer_info(PART, RSA, digest=other, method=method)
    assert reason(signed_data(info), RSA) is Reason.WRONG_SIGNATURE


# --- attributes


@pytest.mark.parametrize(
    "signed",
    [
        (DIGEST,),  # VEC-6: the sample of RFC 8551 section 3.5.3.3 has no content-type
        (TYPE,),
        (TYPE, DIGEST, DIGEST),
        (TYPE, TYPE, DIGEST),
        (TYPE, attribute(MESSAGE_DIGEST, octet_string(b"x"), octet_string(b"y"))),
        (TYPE, attribute(MESSAGE_DIGEST)),
        (attribute(CONTENT_TYPE, oid(DATA), oid("1.2.3")), DIGEST),
        (attribute(CONTENT_TYPE, oid("1.2.3")), DIGEST),
    ],
)
def test_attributes_must_state_type_and_digest_once(signed: tuple[bytes, ...]) -> None:
    """Zero, two or another type: nobody can say what was signed (SMI-23, VEC-6)."""
    assert reason(stated(*signed)) is Reason.SIGNED_ATTRIBUTES


def test_other_content_needs_attributes() -> None:
    """Without them the type would be unsigned (SMI-21)."""
    odd = "1.2.840.113549.1.9.16.1.2"
    plain = signed_data(signer_info(PART, ALICE, plain=True), content_type=odd)
    assert reason(plain) is Reason.SIGNED_ATTRIBUTES
    typed = attribute(CONTENT_TYPE, oid(odd))
    assert reason(stated(typed, DIGEST, content_type=odd)) is None


def test_stolen_attributes_are_no_content() -> None:
    """The signature over attributes fits their octets as a content without any (SMI-25)."""
    covered = set_of(*attributes(PART))
    stolen = signed_data(signer_info(covered, ALICE, plain=True))
    assert reason(stolen, content=covered) is Reason.SIGNED_ATTRIBUTES


def test_the_digest_is_computed_never_believed() -> None:
    """A right signature over attributes that state another content's digest (SMI-24)."""
    octets = sign(PART, ALICE)
    assert reason(octets) is None
    for content in (PART + b"\r\n", PART[:-2], b"", PART.lower()):
        assert reason(octets, content=content) is Reason.DIGEST_MISMATCH
    plain = signed_data(signer_info(PART, ALICE, plain=True))
    assert reason(plain, content=PART + b"\r\n") is Reason.WRONG_SIGNATURE


# --- certificates and keys


def test_another_key_does_not_fit() -> None:
    """Same kind of key, and another kind (SMI-25)."""
    octets = sign(PART, ALICE)
    assert reason(octets, MALLORY) is Reason.WRONG_SIGNATURE
    for kind in ("ed25519", "rsa2048"):
        assert reason(octets, SIGNERS[kind]) is Reason.WRONG_SIGNATURE
        assert reason(sign(PART, SIGNERS[kind]), ALICE) is Reason.WRONG_SIGNATURE


def test_a_hash_of_the_certificate_must_fit_it() -> None:
    """ESS signingCertificate, old and new: another certificate of the same key (SMI-27)."""
    for dotted, digest in (
        (SIGNING_CERTIFICATE, hashlib.sha1),
        (SIGNING_CERTIFICATE_V2, hashlib.sha256),
    ):
        for holder, expected in ((ALICE, None), (MALLORY, Reason.SIGNER_HASH)):
            value = sequence(sequence(sequence(octet_string(digest(holder.der).digest()))))
            octets = stated(TYPE, DIGEST, attribute(dotted, value))
            assert reason(octets) is expected
    odd = sequence(sequence(sequence(algorithm(DIGESTS["md5"]), octet_string(b"x" * 16))))
    octets = stated(TYPE, DIGEST, attribute(SIGNING_CERTIFICATE_V2, odd))
    assert reason(octets) is Reason.SIGNER_HASH


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("holder", [ALICE, RSA], ids=["ec", "rsa"])
def test_sha1_only_where_the_policy_says_legacy(holder: Holder, legacy: bool) -> None:
    """RFC 3261 demands it, RFC 8551 forbids it: a choice, and a note (SMI-29)."""
    methods = [algorithm_of(holder, "sha1")]
    if holder is RSA:
        methods += [algorithm("1.2.840.113549.1.1.5", NULL), algorithm("1.3.14.3.2.29", NULL)]
    for method in methods:
        info = signer_info(PART, holder, digest="sha1", method=method)
        finding, notes = check(signed_data(info, digests=("sha1",)), holder, legacy=legacy)
        found = (finding,) if finding else notes
        assert (finding is None) is legacy
        assert [one.reason for one in found] == [Reason.WEAK_SIGNATURE]
        assert found[0].detail.startswith("signed with SHA-1, ")


def test_other_digests_never() -> None:
    """MD5, and what nobody knows (SMI-29)."""
    octets = signed_data(signer_info(PART, RSA, digest="md5"), digests=("md5",))
    for legacy in (False, True):
        finding, _ = check(octets, RSA, legacy=legacy)
        assert finding is not None
        assert finding.reason is Reason.WEAK_SIGNATURE
    hidden = oid(DIGESTS["sha256"])
    unknown = sign(PART, ALICE).replace(hidden, oid("2.16.840.1.101.3.4.2.9"))
    finding, _ = check(unknown, ALICE)
    assert finding is not None
    assert finding.reason is Reason.WEAK_SIGNATURE
    assert finding.detail.endswith("(2.16.840.1.101.3.4.2.9)")


def with_key(key: CertificatePublicKeyTypes, name: str) -> Holder:
    """A certificate of this key, which no authority should have issued."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(ROOT.certificate.subject)
        .public_key(key)
        .serial_number(7)
        .not_valid_before(ROOT.certificate.not_valid_before_utc)
        .not_valid_after(ROOT.certificate.not_valid_after_utc)
    )
    certificate = builder.sign(ROOT.key, hashes.SHA256())
    return Holder(certificate, ALICE.key)


@pytest.mark.parametrize(
    "key",
    [
        rsa.RSAPublicNumbers(65537, (1 << 1023) + 9).public_key(),
        rsa.RSAPublicNumbers(65537, (1 << 16383) + 9).public_key(),
        rsa.RSAPublicNumbers((1 << 2040) + 1, (1 << 2047) + 9).public_key(),
        ec.generate_private_key(ec.SECP192R1()).public_key(),
        ec.generate_private_key(ec.SECP521R1()).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ed448.Ed448PrivateKey.generate().public_key(),
    ],
    ids=["rsa1024", "rsa16384", "long exponent", "p192", "p521", "k256", "ed448"],
)
def test_unfit_keys_are_refused_before_any_arithmetic(
    key: CertificatePublicKeyTypes,
) -> None:
    """Too weak to prove anything, too long to compute, or of a kind that is not named (SMI-29)."""
    assert reason(sign(PART, ALICE), with_key(key, "unfit")) is Reason.WEAK_SIGNATURE


def test_contradicting_algorithms_are_refused() -> None:
    """PSS with another digest than the signer's, broken or missing parameters (SMI-29)."""
    for parameters in (pss_parameters("sha512"), pss_parameters("sha256", "md5")):
        method = algorithm("1.2.840.113549.1.1.10", parameters)
        octets = signed_data(signer_info(PART, RSA, pss=True, method=method))
        assert reason(octets, RSA) is Reason.WRONG_SIGNATURE
    for parameters in (b"", NULL, pss_parameters("sha256", salt=9999)):
        method = algorithm("1.2.840.113549.1.1.10", parameters)
        octets = signed_data(signer_info(PART, RSA, pss=True, method=method))
        assert reason(octets, RSA) is Reason.BAD_CMS
    for salt in (20, 222, 223, 1000):
        method = algorithm("1.2.840.113549.1.1.10", pss_parameters("sha256", salt=salt))
        octets = signed_data(signer_info(PART, RSA, pss=True, method=method))
        assert reason(octets, RSA) is Reason.WRONG_SIGNATURE


@pytest.mark.parametrize("kind", ["p256", "ed25519", "rsa2048"])
def test_an_algorithm_of_another_kind_or_digest_is_refused(kind: str) -> None:
    """Even where the signature itself would fit the key (SMI-29)."""
    holder = SIGNERS[kind]
    for dotted in ("1.2.840.10045.4.3.4", "1.2.840.113549.1.1.13", "1.2.3"):
        octets = signed_data(signer_info(PART, holder, method=algorithm(dotted)))
        finding, _ = check(octets, holder)
        assert finding is not None
        assert finding.detail.startswith("the signature's algorithm fits neither")


# --- notes


def test_what_is_odd_but_clear_is_noted() -> None:
    """A digest that was not announced, a version that does not fit (SMI-22, SMI-28)."""
    for octets in (
        signed_data(signer_info(PART, ALICE), digests=("sha512",)),
        signed_data(signer_info(PART, ALICE, version=3)),
        signed_data(signer_info(PART, ALICE, key_id=True, version=1)),
    ):
        finding, notes = check(octets, ALICE)
        assert (finding, [note.reason for note in notes]) == (None, [Reason.CMS_ODD])
    assert check(signed_data(signer_info(PART, ALICE, key_id=True)), ALICE) == (None, ())


# --- no octet can change


CASES = [
    (sign(PART, ALICE), ALICE),
    (sign(PART, RSA), RSA),
    (sign(PART, SIGNERS["ed25519"]), SIGNERS["ed25519"]),
    (signed_data(signer_info(PART, RSA, pss=True)), RSA),
]
PLAIN = [(signed_data(signer_info(PART, one, plain=True)), one) for one in SIGNERS.values()]


@settings(max_examples=300)
@given(st.sampled_from(CASES + PLAIN), st.integers(0, len(PART) - 1), st.integers(1, 255))
def test_any_changed_octet_of_the_content_fails(
    case: tuple[bytes, Holder], at: int, change: int
) -> None:
    """The promise of a signature (SMI-24)."""
    octets, holder = case
    changed = bytearray(PART)
    changed[at] ^= change
    assert reason(octets, holder, bytes(changed)) in (
        Reason.DIGEST_MISMATCH,
        Reason.WRONG_SIGNATURE,
    )


@settings(max_examples=500)
@given(st.sampled_from(CASES), st.data(), st.integers(1, 255))
def test_any_changed_octet_of_attributes_or_signature_fails(
    case: tuple[bytes, Holder], draw: st.DataObject, change: int
) -> None:
    """Wherever in the signed attributes or in the signature it stands (SMI-25)."""
    octets, holder = case
    signer = parsed(octets).signers[0]
    for part in (signer.signed[1:], signer.signature):
        changed = bytearray(octets)
        changed[octets.index(part) + draw.draw(st.integers(0, len(part) - 1))] ^= change
        try:
            assert reason(bytes(changed), holder) is not None
        except HostileInput:
            continue


@settings(max_examples=300)
@given(st.sampled_from(CASES), st.data(), st.binary(min_size=1, max_size=3))
def test_a_mutated_structure_is_never_more_than_valid(
    case: tuple[bytes, Holder], draw: st.DataObject, put: bytes
) -> None:
    """Anything changed anywhere: refused, or the same attributes and signature still stand."""
    octets, holder = case
    at = draw.draw(st.integers(0, len(octets) - 1))
    changed = octets[:at] + put + octets[at + len(put) :]
    try:
        data = parse_cms(changed)
    except HostileInput:
        return
    if not isinstance(data, SignedData) or len(data.signers) != 1:
        return
    certificate = read_certificate(holder.der)
    finding, _ = check_signature(data.signers[0], data, PART, certificate, legacy_sha1=True)
    if finding is None:
        mine, original = data.signers[0], parsed(octets).signers[0]
        assert mine.signature == original.signature
        assert mine.signed == original.signed


def test_the_time_does_not_matter_here() -> None:
    """Old signatures are ``smime``'s to judge: this file reads no clock."""
    old = signed_data(
        signer_info(PART, ALICE, signed=attributes(PART, at_s=NOW_S - 1e8)), certificates=()
    )
    assert reason(old) is None

"""Chains judged without OpenSSL's verifier: never more is believed than OpenSSL would."""

import datetime
from collections.abc import Sequence

import pytest
from authority import (
    NOW_S,
    Holder,
    forge_key,
    issue,
    key_named,
    make_authority,
    sign_der,
    tlv,
    usage,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from trusting import ALICE, BOB, CAROL, LOWER, MIDDLE, OTHER, ROOT, reason

from sipguard.errors import HostileInput
from sipguard.identity.certificate import Certificate, read_certificate
from sipguard.identity.direct import SOUND, UNDECIDED, verify_directly
from sipguard.identity.outline import has_plain_text
from sipguard.identity.trust import Store
from sipguard.reason import Reason

Extensions = tuple[tuple[x509.ExtensionType, bool], ...]

AUTHORITY: Extensions = ((x509.BasicConstraints(ca=True, path_length=None), True),)
ISSUING: Extensions = ((usage(key_cert_sign=True), True),)
URI = x509.UniformResourceIdentifier("https://example.com/")
POLICIES = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
ACCESS = x509.AuthorityInformationAccess(
    [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, URI)]
)
LISTS = x509.CRLDistributionPoints([x509.DistributionPoint([URI], None, None, None)])
TN_AUTH_LIST = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26"), bytes.fromhex("3008a006160431323334")
)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
ODD: Sequence[Extensions] = (
    (),
    (),
    ((POLICIES, False),),
    ((POLICIES, True),),
    ((ACCESS, False),),
    ((LISTS, False),),
    ((TN_AUTH_LIST, False),),
    ((TN_AUTH_LIST, True),),
    ((UNKNOWN, False),),
    ((UNKNOWN, True),),
    ((x509.NameConstraints([x509.DNSName("example.com")], None), True),),
    ((x509.NameConstraints(None, [x509.UniformResourceIdentifier(".example.com")]), False),),
    ((x509.PolicyConstraints(0, None), True),),
    ((x509.InhibitAnyPolicy(0), True),),
    ((x509.OCSPNoCheck(), False),),
    ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), True),),
)
CONSTRAINTS: Sequence[Extensions] = (
    AUTHORITY,
    AUTHORITY,
    *(((x509.BasicConstraints(ca=True, path_length=most), True),) for most in range(3)),
    ((x509.BasicConstraints(ca=True, path_length=None), False),),
)
KINDS = ("p256", "rsa2048", "p384", "ed25519")


def _path(*holders: Holder | bytes) -> tuple[Certificate, ...]:
    return tuple(read_certificate(one if isinstance(one, bytes) else one.der) for one in holders)


def _forged(holder: Holder) -> bytes:
    """Return its certificate with a signature that its issuer never made."""
    der = holder.der
    return der[:-1] + bytes((der[-1] ^ 1,))


def _agrees(*holders: Holder | bytes) -> int:
    """Judge both ways, and hold that they say the same; return what was said directly."""
    path = _path(*holders)
    store = Store([path[-1].der])
    said = verify_directly(path)
    assert store._unproven(path, NOW_S) == store._openssl(path, NOW_S)
    return said


@st.composite
def _chains(draw: st.DrawFn) -> list[Holder | bytes]:
    """A chain of two to four; names fit, as they do where ways are found by names."""
    above: Holder | None = None
    chain: list[Holder] = []
    for name in draw(st.sampled_from((("R",), ("R", "M"), ("R", "M", "N"), ("R", "M", "M")))):
        extensions = (
            draw(st.sampled_from(CONSTRAINTS))
            + draw(st.sampled_from(((), ISSUING)))
            + draw(st.sampled_from(ODD))
        )
        kind = draw(st.sampled_from(KINDS))
        above = issue(f"Drawn {name}", above, kind=kind, extensions=extensions)
        chain.append(above)
    basic = draw(st.sampled_from(((), AUTHORITY)))
    odd = basic + draw(st.sampled_from(ODD))
    uris, emails = draw(st.sampled_from(((("sip:d@example.com",), ()), ((), ("d@example.com",)))))
    leaf = issue("Drawn leaf", above, uris=uris, emails=emails, extensions=odd)
    forged = draw(st.sets(st.integers(0, 3), max_size=2))
    whole = [leaf, *reversed(chain)]
    return [_forged(one) if at in forged else one for at, one in enumerate(whole)]


@settings(max_examples=300, deadline=None)
@given(_chains())
def test_it_says_what_openssl_says(chain: list[Holder | bytes]) -> None:
    """CERT-1: the same verdict in the same words, for whatever an authority puts together."""
    _agrees(*chain)


@pytest.mark.parametrize(
    "chain", [(ALICE, ROOT), (BOB, MIDDLE, ROOT), (CAROL, LOWER, MIDDLE, ROOT), (BOB, MIDDLE)]
)
def test_plain_chains_are_decided(chain: tuple[Holder, ...]) -> None:
    """What most authorities issue needs no other verifier."""
    assert _agrees(*chain) == SOUND


@pytest.mark.parametrize("kind", KINDS)
def test_plain_chains_of_every_key_are_decided(kind: str) -> None:
    """RSA, two curves and Edwards: each signs for the one below."""
    root = make_authority(f"Direct {kind}", kind=kind)
    leaf = issue("Direct leaf", root, uris=("sip:d@example.com",))
    assert _agrees(leaf, root) == SOUND
    assert _agrees(_forged(leaf), root) == 0
    assert _agrees(leaf, _forged(root)) == SOUND  # what an anchor says of itself proves nothing


def test_the_forgery_nearest_to_the_anchor_is_named() -> None:
    """Everything below it is as false."""
    assert _agrees(_forged(BOB), MIDDLE, ROOT) == 0
    assert _agrees(BOB, _forged(MIDDLE), ROOT) == 1
    assert _agrees(_forged(BOB), _forged(MIDDLE), ROOT) == 1
    path = _path(BOB, _forged(MIDDLE), ROOT)
    finding = Store([ROOT.der])._unproven(path, NOW_S)
    assert reason(finding) is Reason.UNKNOWN_ISSUER
    assert finding is not None
    assert finding.detail == (
        "the certificate of CN=Middle names CN=Root as its issuer, who did not sign it"
    )


@pytest.mark.parametrize("odd", [one for one in ODD[5:] if one != ((TN_AUTH_LIST, False),)][:-1])
@pytest.mark.parametrize("place", ["leaf", "middle", "anchor"])
def test_what_is_not_wholly_understood_is_left_to_openssl(odd: Extensions, place: str) -> None:
    """CERT-1: name constraints, policies, unknown extensions, wherever they stand."""
    anchor = make_authority("Odd Root", extensions=odd if place == "anchor" else ())
    middle = make_authority("Odd Middle", anchor, extensions=odd if place == "middle" else ())
    leaf = issue("D", middle, dns=("d.example.com",), extensions=odd if place == "leaf" else ())
    assert _agrees(leaf, middle, anchor) == UNDECIDED


def test_issuers_that_are_none_and_too_long_ways_are_left_to_openssl() -> None:
    """CERT-1: basicConstraints missing, false, or with too short a path length."""
    none = issue("No Authority", ROOT)
    assert _agrees(issue("D", none, dns=("d.example.com",)), none, ROOT) == UNDECIDED
    root = make_authority("Short Root", path_length=0)
    middle = make_authority("Short Middle", root)
    leaf = issue("D", middle, dns=("d.example.com",))
    assert _agrees(leaf, middle, root) == UNDECIDED
    assert _agrees(leaf, middle) == SOUND
    enough = make_authority("Short Root", path_length=1)
    assert _agrees(leaf, make_authority("Short Middle", enough), enough) == SOUND


def test_self_issued_certificates_are_left_to_openssl() -> None:
    """RFC 5280 section 6.1.4 (l) counts them in its own way."""
    renewed = issue("Root", ROOT, kind="p384", extensions=AUTHORITY)
    leaf = issue("D", renewed, dns=("d.example.com",))
    assert _agrees(leaf, renewed, ROOT) == UNDECIDED
    assert _agrees(ROOT) == UNDECIDED


def _with_key_ids(own: bytes | None, authority: x509.AuthorityKeyIdentifier | None) -> Holder:
    key = key_named("Key Ids")
    when = datetime.datetime.fromtimestamp(NOW_S, datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Key Ids")]))
        .issuer_name(ROOT.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(when - day)
        .not_valid_after(when + day)
        .add_extension(AUTHORITY[0][0], True)
    )
    if own is not None:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(own), False)
    if authority is not None:
        builder = builder.add_extension(authority, False)
    return Holder(builder.sign(ROOT.key, hashes.SHA256()), key)


def test_odd_key_identifiers_are_left_to_openssl() -> None:
    """Empty ones, and issuers named by a serial number, which ways are not found by."""
    name = [x509.DirectoryName(OTHER.certificate.subject)]
    for own, authority in (
        (b"", None),
        (None, x509.AuthorityKeyIdentifier(b"", None, None)),
        (None, x509.AuthorityKeyIdentifier(None, name, 7)),
    ):
        middle = _with_key_ids(own, authority)
        leaf = issue("D", middle, dns=("d.example.com",))
        assert _agrees(leaf, middle, ROOT) == UNDECIDED
    plain = _with_key_ids(None, None)
    assert _agrees(issue("D", plain, dns=("d.example.com",)), plain, ROOT) == SOUND


def test_explicit_curves_are_left_to_openssl() -> None:
    """A key that carries its own curve, instead of naming P-256."""
    named = ALICE.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # RFC 3279 section 2.3.5: version, field, curve, base point, order, cofactor.
    prime = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"
    a = prime[:-1] + "c"
    b = "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"
    x = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    y = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
    field = tlv(0x30, bytes.fromhex("06072a8648ce3d0101") + _unsigned(prime))
    curve = tlv(0x30, tlv(4, bytes.fromhex(a)) + tlv(4, bytes.fromhex(b)))
    base = tlv(4, bytes.fromhex("04" + x + y))
    parameters = tlv(0x30, b"\2\1\1" + field + curve + base + _unsigned(order) + b"\2\1\1")
    algorithm = tlv(0x30, bytes.fromhex("06072a8648ce3d0201") + parameters)
    der = forge_key(ALICE, ROOT, tlv(0x30, algorithm + named[-68:]))
    leaf = read_certificate(der)
    assert verify_directly((leaf, read_certificate(ROOT.der))) == UNDECIDED


def _unsigned(number: str) -> bytes:
    return tlv(2, b"\0" + bytes.fromhex(number))


def test_bits_that_do_not_count_are_left_to_openssl() -> None:
    """A signature that ends within an octet: the same to cryptography, none to OpenSSL."""
    der = b"\1"
    while der[-1] & 1:  # a bit that does not count must be zero
        leaf = issue("D", ROOT, dns=("d.example.com",))
        der = leaf.der
    before = len(der) - len(leaf.certificate.signature) - 1
    odd = der[:before] + b"\1" + der[before + 1 :]
    assert verify_directly(_path(leaf, ROOT)) == SOUND
    assert _agrees(odd, ROOT) == UNDECIDED


def test_versions_before_3_are_left_to_openssl() -> None:
    """Without extensions, nothing says what a certificate is for."""
    tbs, key = ALICE.certificate.tbs_certificate_bytes, ALICE.certificate.public_key()
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    old = tbs[tbs.index(bytes.fromhex("a003020102")) + 5 : tbs.index(spki) + len(spki)]
    assert _agrees(sign_der(tlv(0x30, old), ROOT), ROOT) == UNDECIDED


def test_names_of_other_kinds_are_left_to_openssl() -> None:
    """Directory names among the alternatives, and a subject in wide characters."""
    names = x509.SubjectAlternativeName([URI, x509.DirectoryName(OTHER.certificate.subject)])
    assert _agrees(issue("D", ROOT, extensions=((names, False),)), ROOT) == UNDECIDED
    tbs = ALICE.certificate.tbs_certificate_bytes
    head = 2 + (tbs[1] & 0x7F)
    name = ALICE.certificate.subject.public_bytes()
    wide = tlv(0x30, tlv(0x31, tlv(0x30, bytes.fromhex("0603550403") + tlv(0x1E, b"\0A"))))
    der = sign_der(tlv(0x30, tbs[head:].replace(name, wide)), ROOT)
    assert _agrees(der, ROOT) == UNDECIDED


def test_two_algorithms_are_left_to_openssl() -> None:
    """One named inside the signature, another outside: RFC 5280 section 4.1.1.2."""
    tbs = ALICE.certificate.tbs_certificate_bytes
    inner = tbs.replace(bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d040303"))
    leaf = read_certificate(sign_der(inner, ROOT))
    path = (leaf, read_certificate(ROOT.der))
    assert verify_directly(path) == UNDECIDED
    assert Store([ROOT.der])._unproven(path, NOW_S) is not None


def test_no_changed_octet_is_sound() -> None:
    """CERT-1: the lowest bit of every octet of the user's certificate and of its issuer's."""
    bob, middle, root = _path(BOB, MIDDLE, ROOT)
    for changed in (bob, middle):
        for place in range(len(changed.der)):
            der = bytearray(changed.der)
            der[place] ^= 1
            try:
                other = read_certificate(bytes(der))
            except HostileInput:
                continue
            path = (other, middle, root) if changed is bob else (bob, other, root)
            assert verify_directly(path) != SOUND


@pytest.mark.parametrize(
    ("tag", "text", "plain"),
    [
        (0x0C, "Zoë".encode(), True),
        (0x0C, b"Zo\xeb", False),
        (0x13, b"Zoe", True),
        (0x16, b"Zoe", True),
        (0x1E, b"\0Z", False),
        (0x1C, b"\0\0\0Z", False),
        (0x02, b"\1", False),
    ],
)
def test_which_names_any_reader_takes(tag: int, text: bytes, plain: bool) -> None:
    """Anything wider than UTF-8 is OpenSSL's to read, wherever in the name it stands."""
    first = tlv(0x31, tlv(0x30, bytes.fromhex("0603550406") + tlv(0x13, b"DE")))
    second = tlv(0x31, tlv(0x30, bytes.fromhex("0603550403") + tlv(tag, text)))
    assert has_plain_text(tlv(0x30, first + second)) is plain
    assert has_plain_text(tlv(0x30, second + first)) is plain
    assert not has_plain_text(tlv(0x30, first + tlv(0x31, b"")))

"""Reading certificates: whom they speak for, what is weak, and what hostile ones cost."""

from time import perf_counter

import pytest
from authority import (
    NOW_S,
    SIP_DOMAIN,
    Holder,
    forge_key,
    issue,
    issue_user,
    make_authority,
    rsa_spki,
    sign_der,
    tlv,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.identity.certificate import (
    MAX_DER_OCTETS,
    Certificate,
    name_text,
    read_certificate,
)
from sipguard.identity.names import MAX_NAMES
from sipguard.identity.outline import subject_of
from sipguard.reason import Reason

ROOT = make_authority("Certificate Root")
ALICE = issue_user(ROOT)


def read(holder: Holder) -> Certificate:
    """Read what an authority issued."""
    return read_certificate(holder.der)


def with_uris(*uris: str, emails: tuple[str, ...] = (), dns: tuple[str, ...] = ()) -> Certificate:
    """Return a certificate with these names."""
    return read(issue("named", ROOT, uris=uris, emails=emails, dns=dns))


def test_a_certificate_says_what_stands_in_it() -> None:
    """Issuer and serial as a signature names them, key identifier, validity, names."""
    certificate = read(ALICE)
    assert certificate.issuer == ROOT.certificate.subject.public_bytes()
    assert certificate.subject == ALICE.certificate.subject.public_bytes()
    assert certificate.serial == ALICE.certificate.serial_number
    own = x509.SubjectKeyIdentifier.from_public_key(ALICE.key.public_key())
    assert certificate.key_id == own.digest
    assert certificate.not_before_s < NOW_S < certificate.not_after_s
    assert certificate.users == ((b"alice", b"example.com"),)
    assert certificate.named == b"sip:alice@example.com"
    assert certificate.purposes is not None
    assert SIP_DOMAIN in certificate.purposes
    assert not certificate.is_self_signed
    assert read(ROOT).is_self_signed
    assert certificate.weakness == ""


def test_the_same_octets_are_read_once() -> None:
    """A signer's certificate comes with every message of his."""
    assert read_certificate(ALICE.der) is read_certificate(ALICE.der)


def test_raw_stir_extensions_are_kept() -> None:
    """RFC 8226 and 9118: the PASSporT's rooms read them themselves."""
    values = {"26": b"\x30\x00", "27": b"\x30\x01\x00", "33": b"\x30\x02\x05\x00"}
    extensions = [
        (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.3.6.1.5.5.7.1.{end}"), value), False)
        for end, value in values.items()
    ]
    certificate = read(issue("stir", ROOT, extensions=extensions))
    assert certificate.tn_auth_list == values["26"]
    assert certificate.claim_constraints == values["27"]
    assert certificate.enhanced_claim_constraints == values["33"]


class TestUsers:
    """CERT-4: a sip or sips URI with a user, or an e-mail address."""

    @pytest.mark.parametrize(
        ("uris", "emails"),
        [
            (["sip:alice@example.com"], []),
            (["sips:alice@example.com"], []),
            (["sip:alice@EXAMPLE.com:5061;transport=tls"], []),
            (["sip:%61lice@example.com"], []),
            ([], ["alice@example.com"]),
            (["im:x@example.org", "sip:bob@example.com", "sip:alice@example.com"], []),
        ],
    )
    def test_names_of_alice_are_alice(self, uris: list[str], emails: list[str]) -> None:
        """Scheme, port and spelling of the same address do not matter."""
        certificate = with_uris(*uris, emails=tuple(emails))
        assert certificate.speaks_for_user(b"alice", b"example.com")
        assert certificate.speaks_for_user(b"%61lice", b"Example.COM")

    @pytest.mark.parametrize(
        ("uris", "emails"),
        [
            (["sip:Alice@example.com"], []),
            (["sip:alice@sip.example.com"], []),
            (["sip:alice@example.org"], []),
            (["sip:example.com"], []),
            (["im:alice@example.com", "pres:alice@example.com"], []),
            (["sip:alice:secret@example.com"], []),
            (["sip:alice@example.com?subject=x"], []),
            (["sip:%2561lice@example.com"], []),
            (["sip:alice@example.com@example.org"], []),
            (["sip:alice@*.com"], []),
            ([], ["%61lice@example.com"]),
            ([], ['"alice"@example.com']),
        ],
    )
    def test_what_is_not_exactly_alice_is_not_alice(
        self, uris: list[str], emails: list[str]
    ) -> None:
        """The user's case counts, decoding happens once, im and pres say nothing."""
        certificate = with_uris(*uris, emails=tuple(emails))
        assert not certificate.speaks_for_user(b"alice", b"example.com")

    def test_the_common_name_is_nobodys_identity(self) -> None:
        """CERT-4: anybody may be called Alice."""
        certificate = read(issue("alice@example.com", ROOT))
        assert certificate.users == ()
        assert not certificate.speaks_for_user(b"alice", b"example.com")

    def test_no_user_is_not_a_user(self) -> None:
        """A From without a user part is a domain's, and no user's certificate speaks for it."""
        assert not read(ALICE).speaks_for_user(b"", b"example.com")


class TestDomains:
    """CERT-5, CERT-6: RFC 5922 sections 7.1 and 7.2."""

    def test_a_sip_uri_without_user_is_a_domain(self) -> None:
        """Compared whole, in any case."""
        certificate = with_uris("sip:example.com")
        assert certificate.domains == (b"example.com",)
        assert certificate.speaks_for_domain(b"EXAMPLE.com")

    @pytest.mark.parametrize("host", [b"sip.example.com", b"com", b"ample.com", b"example.com."])
    def test_no_part_and_no_child_of_a_domain_is_the_domain(self, host: bytes) -> None:
        """CERT-6: the whole string or nothing."""
        assert not with_uris("sip:example.com").speaks_for_domain(host)

    @pytest.mark.parametrize(
        "uri", ["sips:example.com", "sip:@example.com", "sip:a@example.com", "https://example.com"]
    )
    def test_other_uris_are_no_domains(self, uri: str) -> None:
        """CERT-5: other schemes, and anything with an ``@``, do not count."""
        assert with_uris(uri).domains == ()

    def test_dns_names_count_only_without_a_sip_uri(self) -> None:
        """CERT-5: the URI says more than the DNS name."""
        assert with_uris(dns=("example.com",)).speaks_for_domain(b"example.com")
        both = with_uris("sip:example.net", dns=("example.com",))
        assert both.domains == (b"example.net",)

    def test_the_common_name_counts_only_without_any_alternative_name(self) -> None:
        """CERT-5, the MAY of RFC 5922."""
        assert read(issue("example.com", ROOT)).speaks_for_domain(b"example.com")
        assert read(issue("example.com", ROOT, emails=("a@b.example",))).domains == ()

    def test_wildcards_match_nothing(self) -> None:
        """CERT-6: not even themselves, since no host of a message looks like that."""
        certificate = with_uris(dns=("*.example.com",))
        assert not certificate.speaks_for_domain(b"sip.example.com")
        assert certificate.domains == ()

    def test_an_address_is_no_domain(self) -> None:
        """CERT-6 compares DNS names; the DNS name beside it stays barred."""
        certificate = with_uris("sip:192.0.2.7:5061", dns=("example.com",))
        assert certificate.domains == ()


class TestWeakKeys:
    """SMI-29, and what a bomb looks like: named before anybody calculates with it."""

    @pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "ed25519"])
    def test_usual_keys_are_not_weak(self, kind: str) -> None:
        """What private authorities issue."""
        assert read(issue_user(ROOT, f"{kind}@example.com", kind)).weakness == ""

    def test_short_rsa_is_weak(self) -> None:
        """RSA under 2048 bits."""
        short = read(issue_user(ROOT, "short@example.com", "rsa1024"))
        assert short.weakness == "its RSA key has 1024 bits, not 2048 to 8192"

    @pytest.mark.parametrize(
        ("bits", "exponent", "word"),
        [
            (2048, 1, "malformed"),
            (2048, 4, "malformed"),
            (2048, (1 << 1024) + 1, "exponent"),
            (2048, (1 << 40) + 1, "exponent"),
            (2046, 65537, "2046 bits"),
            (8193, 65537, "8193 bits"),
            (16384, 65537, "16384 bits"),
            (65536, 3, "65536 bits"),
        ],
    )
    def test_forged_rsa_keys_are_weak(self, bits: int, exponent: int, word: str) -> None:
        """An exponent of 1 verifies any signature; a huge one takes forever."""
        der = forge_key(ALICE, ROOT, rsa_spki((1 << (bits - 1)) | 1, exponent))
        assert word in read_certificate(der).weakness

    def test_an_even_modulus_is_weak(self) -> None:
        """No product of two odd primes is even."""
        spki = rsa_spki(1 << 2047, 65537)
        assert read_certificate(forge_key(ALICE, ROOT, spki)).weakness != ""

    def test_an_unknown_key_is_weak_but_readable(self) -> None:
        """The certificate is refused for its key, not as unreadable."""
        spki = tlv(0x30, tlv(0x30, bytes.fromhex("06032a0304")) + tlv(0x03, b"\0key"))
        certificate = read_certificate(forge_key(ALICE, ROOT, spki))
        assert certificate.public_key is None
        assert certificate.weakness != ""


class TestBombs:
    """Bounded work whatever the certificate."""

    def test_long_certificates_are_not_read(self) -> None:
        """Over 16 KiB."""
        with pytest.raises(HostileInput, match="16385 octets") as refusal:
            read_certificate(b"\x30" * (MAX_DER_OCTETS + 1))
        assert refusal.value.reason is Reason.BAD_CERTIFICATE

    def test_thousands_of_names_are_refused_and_cheap(self) -> None:
        """More names than sipguard reads, and it says so."""
        names = [f"a{number}.x" for number in range(1500)]
        bomb = issue("bomb", ROOT, dns=names)
        assert len(bomb.der) < MAX_DER_OCTETS
        began = perf_counter()
        with pytest.raises(HostileInput, match=f"more than {MAX_NAMES} names"):
            read(bomb)
        assert perf_counter() - began < 0.1  # measured: 1 ms

    def test_as_many_names_as_are_read_are_read(self) -> None:
        """A provider's certificate for all its domains."""
        names = [f"a{number}.example" for number in range(MAX_NAMES)]
        assert len(with_uris(dns=tuple(names)).domains) == MAX_NAMES

    def test_a_serial_number_of_zero_is_borne(self) -> None:
        """Old tools gave it to roots; tests make every warning an error."""
        octets = ALICE.certificate.serial_number.to_bytes(20, "big").lstrip(b"\0")
        octets = b"\0" * (octets[0] >> 7) + octets
        contents = ALICE.certificate.tbs_certificate_bytes[4:]
        assert contents.count(tlv(0x02, octets)) == 1
        der = sign_der(tlv(0x30, contents.replace(tlv(0x02, octets), tlv(0x02, b"\0"))), ROOT)
        assert read_certificate(der).serial == 0


def test_an_odd_name_is_shown_without_a_warning() -> None:
    """A country of three letters makes cryptography warn; pytest makes warnings errors."""
    name = tlv(0x30, tlv(0x31, tlv(0x30, bytes.fromhex("0603550406") + tlv(0x13, b"DEU"))))
    assert name_text(name) == "C=DEU"
    assert name_text(b"\x30\x01") == "an unreadable name"


@given(st.binary(max_size=300))
def test_reading_is_total_on_noise(octets: bytes) -> None:
    """No octets raise anything but HostileInput."""
    total(octets)
    assert isinstance(subject_of(octets), bytes)


@given(st.data())
def test_reading_is_total_on_mutated_certificates(data: st.DataObject) -> None:
    """Octets changed, cut out and put in, anywhere in a good certificate."""
    octets = bytearray(data.draw(st.sampled_from([ALICE.der, ROOT.der, STUFFED.der])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(octets) - 1))
        match data.draw(st.sampled_from("cidl")):
            case "c":
                octets[place] = data.draw(st.integers(0, 255))
            case "i":
                octets[place:place] = data.draw(st.binary(min_size=1, max_size=8))
            case "d":
                del octets[place : place + data.draw(st.integers(1, 8))]
            case _:
                octets[place] ^= 1 << data.draw(st.integers(0, 7))
        octets = octets or bytearray(b"0")
    total(bytes(octets))


def total(octets: bytes) -> None:
    """Read, and use what was read."""
    try:
        certificate = read_certificate(octets)
    except HostileInput:
        return
    assert isinstance(certificate.weakness, str)
    assert subject_of(octets) == certificate.subject
    assert name_text(certificate.issuer)
    assert certificate.title.isprintable()
    assert certificate.title.isascii()
    assert not certificate.speaks_for_user(b"nobody", b"example.com")
    if not certificate.weakness and isinstance(certificate.public_key, rsa.RSAPublicKey):
        assert 2048 <= certificate.public_key.key_size <= 8192


STUFFED = issue(
    "stuffed",
    ROOT,
    uris=("sip:alice@example.com", "im:x@y.example"),
    dns=("example.com", "*.example.com"),
    emails=("alice@example.com",),
    purposes=(SIP_DOMAIN,),
    extensions=(
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False),
        (x509.CRLNumber(3), False),
        (
            x509.NameConstraints([x509.DNSName("example.com")], [x509.RFC822Name("x.example")]),
            True,
        ),
        (
            x509.CertificatePolicies(
                [x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), ["https://x.example"])]
            ),
            False,
        ),
    ),
)

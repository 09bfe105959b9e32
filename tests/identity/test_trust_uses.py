"""What certificates are believed for, what is too weak, and what strangers can make it cost."""

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
    usage,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from trusting import ALICE, BOB, MIDDLE, OTHER, ROOT, check, reason, user

from sipguard.errors import HostileInput
from sipguard.identity.certificate import read_certificate
from sipguard.identity.trust import MAX_REFUSED, Purpose, Store
from sipguard.reason import Reason


class TestPurposes:
    """CERT-3 and CERT-7: key usage and extended key usage."""

    @pytest.mark.parametrize(
        ("purpose", "purposes", "fits"),
        [
            (Purpose.USER, (), True),
            (Purpose.USER, (Eku.EMAIL_PROTECTION,), True),
            (Purpose.USER, (Eku.EMAIL_PROTECTION, SIP_DOMAIN), True),
            (Purpose.USER, (SIP_DOMAIN,), True),
            (Purpose.USER, (Eku.ANY_EXTENDED_KEY_USAGE,), True),
            (Purpose.USER, (Eku.SERVER_AUTH, Eku.CLIENT_AUTH), False),
            (Purpose.DOMAIN, (), True),
            (Purpose.DOMAIN, (Eku.SERVER_AUTH, SIP_DOMAIN), True),
            (Purpose.DOMAIN, (Eku.ANY_EXTENDED_KEY_USAGE,), True),
            (Purpose.DOMAIN, (Eku.EMAIL_PROTECTION,), False),
            (Purpose.DOMAIN, (Eku.SERVER_AUTH, Eku.CLIENT_AUTH), False),
            (Purpose.STIR, (Eku.SERVER_AUTH,), True),
        ],
    )
    def test_extended_key_usage(
        self, purpose: Purpose, purposes: tuple[x509.ObjectIdentifier, ...], fits: bool
    ) -> None:
        """CERT-8: with neither sipDomain nor any, it is no certificate for SIP."""
        finding = check(user(ROOT, purposes=purposes), purpose=purpose)
        assert reason(finding) is (None if fits else Reason.WRONG_KEY_USAGE)

    @pytest.mark.parametrize(
        ("bits", "fits"),
        [
            ({"digital_signature": True}, True),
            ({"content_commitment": True}, True),
            ({"key_encipherment": True}, False),
            ({"key_cert_sign": True}, False),
        ],
    )
    def test_key_usage(self, bits: dict[str, bool], fits: bool) -> None:
        """CERT-8: without digitalSignature or nonRepudiation it MUST NOT be accepted."""
        leaf = user(ROOT, extensions=((usage(**bits), True),))
        assert reason(check(leaf)) is (None if fits else Reason.WRONG_KEY_USAGE)

    def test_an_intermediate_for_web_servers_vouches_for_no_user(self) -> None:
        """A purpose that is excluded above is excluded below."""
        web = make_authority("Web", ROOT, purposes=(Eku.SERVER_AUTH,))
        finding = check(issue_user(web), web)
        assert finding is not None
        assert finding.reason is Reason.WRONG_KEY_USAGE
        assert "CN=Web" in finding.detail

    @pytest.mark.parametrize("kind", ["rsa2048", "p384", "ed25519"])
    def test_a_passport_needs_p256(self, kind: str) -> None:
        """STI-34."""
        leaf = issue_user(ROOT, f"{kind}@example.com", kind)
        assert check(leaf) is None
        assert reason(check(leaf, purpose=Purpose.STIR)) is Reason.WRONG_KEY_USAGE
        assert check(ALICE, purpose=Purpose.STIR) is None

    @pytest.mark.parametrize("kind", ["rsa2048", "p256"])
    def test_authorities_for_passports_may_sign_with_rsa(self, kind: str) -> None:
        """STI-34: both ECDSA P-256 and RSA under a P-256 leaf."""
        root = make_authority(f"STI {kind}", kind=kind)
        assert check(issue_user(root), store=Store([root.der]), purpose=Purpose.STIR) is None


class TestWeakness:
    """SMI-29: weak keys and digests anywhere in the chain."""

    def test_a_weak_leaf_is_refused_before_any_search(self) -> None:
        """Whoever issued it."""
        der = forge_key(ALICE, ROOT, rsa_spki((1 << 16383) | 1, 65537))
        finding = Store([ROOT.der]).check(read_certificate(der), [], NOW_S, Purpose.USER)
        assert finding is not None
        assert finding.reason is Reason.WEAK_SIGNATURE
        assert "16384 bits" in finding.detail

    @pytest.mark.parametrize("place", ["anchor", "middle"])
    def test_a_weak_issuer_is_refused(self, place: str) -> None:
        """RSA-1024 in an old root or an intermediate."""
        anchor = make_authority("Weak Root", kind="rsa1024") if place == "anchor" else ROOT
        weak = anchor if place == "anchor" else make_authority("Weak", ROOT, kind="rsa1024")
        finding = check(issue_user(weak), weak, store=Store([anchor.der]))
        assert finding is not None
        assert finding.reason is Reason.WEAK_SIGNATURE
        assert "1024 bits" in finding.detail

    def test_other_digests_are_forbidden(self) -> None:
        """SHA-224 stands here for all that nobody should use."""
        root = make_authority("RSA Root", kind="rsa2048")
        leaf = user(root, digest=hashes.SHA224())
        finding = check(leaf, store=Store([root.der]))
        assert reason(finding) is Reason.WEAK_SIGNATURE


class TestKnown:
    """SMI-30: certificates for signatures that come without one."""

    def test_found_by_issuer_and_serial_number_or_key(self) -> None:
        """As the signature names it."""
        store = Store([ROOT.der], known=[ALICE.der, BOB.der])
        alice = read_certificate(ALICE.der)
        assert store.find(alice.issuer, alice.serial, b"") == (alice,)
        assert store.find(b"", 0, alice.key_id) == (alice,)
        assert store.find(alice.subject, alice.serial, b"") == ()
        assert store.find(b"", 0, b"other") == ()

    def test_every_certificate_of_a_key_is_found(self) -> None:
        """RFC 8551 section 2.6: try them all."""
        renewed = issue_user(ROOT)
        store = Store([ROOT.der], known=[ALICE.der, renewed.der])
        assert len(store.find(b"", 0, read_certificate(ALICE.der).key_id)) == 2

    def test_found_by_user(self) -> None:
        """As From names him."""
        store = Store([ROOT.der], known=[ALICE.der, BOB.der, issue_user(ROOT).der])
        assert len(store.find_for_user(b"%61lice", b"EXAMPLE.com")) == 2
        assert store.find_for_user(b"Alice", b"example.com") == ()

    def test_known_is_not_trusted(self) -> None:
        """It still needs its chain."""
        stranger = issue_user(OTHER, "eve@example.com")
        store = Store([ROOT.der], known=[stranger.der])
        assert reason(check(stranger, store=store)) is Reason.UNKNOWN_ISSUER

    def test_an_unreadable_anchor_is_told_at_once(self) -> None:
        """The operator's file, not a caller's packet."""
        with pytest.raises(HostileInput):
            Store([b"no certificate"])


class TestBounds:
    """What strangers send costs little and stays little."""

    def test_refusals_are_remembered_but_not_for_ever(self) -> None:
        """A flood of one bad certificate is cheap; a flood of many fills no memory."""
        store = Store([ROOT.der])
        eve = issue_user(OTHER, "eve@example.com")
        first = check(eve, store=store)
        assert check(eve, store=store) is first
        leaf = read_certificate(eve.der)
        for number in range(MAX_REFUSED + 50):
            store.check(leaf, [b"%d" % number], NOW_S, Purpose.USER)
        assert len(store._refused) == MAX_REFUSED

    def test_a_refusal_holds_only_for_what_was_attached(self) -> None:
        """Who forgot an intermediate and then sends it is believed at once."""
        store = Store([ROOT.der])
        assert reason(check(BOB, store=store)) is Reason.UNKNOWN_ISSUER
        assert check(BOB, MIDDLE, store=store) is None

    def test_rubbish_beside_a_certificate_does_no_harm(self) -> None:
        """Unreadable ones are passed over, and only so many are read."""
        leaf = read_certificate(BOB.der)
        rubbish = [b"", b"\x30\x03\x02\x01\x01", bytes(20000)]
        store = Store([ROOT.der])
        assert store.check(leaf, [*rubbish, MIDDLE.der], NOW_S, Purpose.USER) is None
        finding = Store([ROOT.der]).check(leaf, [*rubbish * 9, MIDDLE.der], NOW_S, Purpose.USER)
        assert reason(finding) is Reason.UNKNOWN_ISSUER

    def test_many_forged_issuers_cost_few_verifications(self) -> None:
        """Sixteen authorities of one name, none of them signed by whom it names."""
        forger = Holder(ROOT.certificate, OTHER.key)
        forged = [_renamed(make_authority("Middle", forger)) for _ in range(16)]
        leaf = read_certificate(issue_user(MIDDLE, "eve@example.com").der)
        began = perf_counter()
        finding = Store([ROOT.der]).check(leaf, forged, NOW_S, Purpose.USER)
        assert perf_counter() - began < 0.1  # measured: 1.5 ms
        assert reason(finding) is Reason.UNKNOWN_ISSUER

    def test_a_mesh_of_issuers_ends(self) -> None:
        """Sixteen certificates of one name and key: ten million ways, none to an anchor."""
        mesh = make_authority("Mesh", OTHER)
        ca = ((x509.BasicConstraints(ca=True, path_length=None), True),)
        attached = [issue("Mesh", mesh, extensions=ca).der for _ in range(16)]
        leaf = read_certificate(issue_user(mesh, "eve@example.com").der)
        began = perf_counter()
        finding = Store([ROOT.der]).check(leaf, attached, NOW_S, Purpose.USER)
        assert perf_counter() - began < 0.1  # measured: 0.5 ms
        assert reason(finding) is Reason.UNKNOWN_ISSUER


def _renamed(holder: Holder) -> bytes:
    """Claim the root's key identifier for a certificate that another key signed."""
    other = x509.SubjectKeyIdentifier.from_public_key(OTHER.key.public_key()).digest
    return holder.der.replace(other, read_certificate(ROOT.der).key_id)


def test_certificates_are_equal_where_their_octets_are() -> None:
    """Two readings of one certificate are one certificate."""
    alice = read_certificate(ALICE.der)
    assert alice == read_certificate(bytes(bytearray(ALICE.der)))
    assert hash(alice) == hash(ALICE.der)
    assert alice != read_certificate(BOB.der)

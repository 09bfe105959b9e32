"""Which certificates are believed: chains, rules and dates, and clear words for each refusal."""

from collections.abc import Sequence
from time import perf_counter

import pytest
from authority import DAY_S, NOW_S, Holder, issue, issue_user, make_authority, usage
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from trusting import ALICE, BOB, CAROL, LOWER, MIDDLE, OTHER, ROOT, check, reason, user

from sipguard.errors import HostileInput
from sipguard.identity.certificate import read_certificate
from sipguard.identity.paths import MAX_PATH
from sipguard.identity.trust import Purpose, Store
from sipguard.reason import Finding, Reason

SIGNING = ((usage(digital_signature=True), True),)


class TestChains:
    """CERT-1: a chain of certificates up to one that the policy trusts."""

    def test_a_chain_of_one_step(self) -> None:
        """Issued by the root itself."""
        assert check(ALICE) is None

    def test_chains_of_two_and_three_in_any_order(self) -> None:
        """Attached as they come; what does not help does not harm."""
        assert check(BOB, MIDDLE) is None
        assert check(CAROL, LOWER, MIDDLE) is None
        assert check(CAROL, OTHER, MIDDLE, CAROL, ROOT, LOWER) is None

    def test_intermediates_from_a_file_need_not_be_attached(self) -> None:
        """Phones rarely send more than their own."""
        store = Store([ROOT.der], intermediates=[LOWER.der, MIDDLE.der])
        assert check(CAROL, store=store) is None

    def test_the_path_leads_from_the_leaf_to_the_anchor(self) -> None:
        """What a PASSporT's judge walks, certificate by certificate."""
        path = Store([ROOT.der]).path(
            read_certificate(CAROL.der), [MIDDLE.der, LOWER.der], NOW_S, Purpose.USER
        )
        assert path == tuple(read_certificate(one.der) for one in (CAROL, LOWER, MIDDLE, ROOT))

    def test_an_intermediate_may_be_an_anchor(self) -> None:
        """Who trusts one department only."""
        store = Store([MIDDLE.der])
        assert check(BOB, store=store) is None
        assert reason(check(ALICE, store=store)) is Reason.UNKNOWN_ISSUER

    def test_an_unknown_issuer_is_named(self) -> None:
        """CERT-8: an untrusted root."""
        finding = check(issue_user(OTHER, "eve@example.com"))
        assert finding == Finding(
            Reason.UNKNOWN_ISSUER,
            "the certificate of sip:eve@example.com was issued by CN=Other Root, "
            "who is not trusted here",
            b"sip:eve@example.com",
        )

    def test_an_attached_root_is_no_anchor(self) -> None:
        """Anybody can attach his own."""
        finding = check(issue_user(OTHER, "eve@example.com"), OTHER)
        assert finding is not None
        assert finding.reason is Reason.UNKNOWN_ISSUER
        assert "leads up to CN=Other Root, who is not trusted here" in finding.detail

    def test_an_incomplete_chain_says_where_it_ends(self) -> None:
        """CERT-8: the operator learns which certificate to add."""
        finding = check(CAROL, LOWER)
        assert finding is not None
        assert finding.reason is Reason.UNKNOWN_ISSUER
        assert finding.detail.endswith(
            "leads up to CN=Lower, and no further: CN=Middle is unknown here"
        )

    def test_a_forged_signature_is_an_unknown_issuer(self) -> None:
        """The root's name and no key identifier, but another key."""
        forger = Holder(ROOT.certificate, OTHER.key)
        forged = issue_user(forger, "eve@example.com")
        der = forged.der.replace(  # the key identifier would give it away before any arithmetic
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                OTHER.key.public_key()
            ).key_identifier
            or b"",
            read_certificate(ROOT.der).key_id,
        )
        finding = Store([ROOT.der]).check(read_certificate(der), [], NOW_S, Purpose.USER)
        assert reason(finding) is Reason.UNKNOWN_ISSUER
        assert reason(check(forged)) is Reason.UNKNOWN_ISSUER

    def test_a_good_way_is_found_beside_a_stale_one(self) -> None:
        """Cross-signed: one name and key, certified twice, one of them out of date."""
        stale = make_authority("Middle", ROOT, until_s=NOW_S - DAY_S)
        strange = make_authority("Middle", OTHER)
        for attached in ([stale, MIDDLE], [strange, MIDDLE], [strange, stale, MIDDLE]):
            assert check(BOB, *attached) is None
        assert reason(check(BOB, strange, stale)) is Reason.CERTIFICATE_EXPIRED

    def test_issuers_in_a_ring_end(self) -> None:
        """Two authorities that certify each other, and no anchor."""
        a = make_authority("Ring A", OTHER)
        b = make_authority("Ring B", a)
        back = make_authority("Ring A", b)
        assert reason(check(issue_user(a, "eve@example.com"), back, b)) is Reason.UNKNOWN_ISSUER

    def test_a_ring_beside_a_good_way_is_no_hindrance(self) -> None:
        """CERT-1: cross-certificates of two authorities, one of them below the root."""
        a = make_authority("Ring C", ROOT)
        b = make_authority("Ring D", a)
        back = make_authority("Ring C", b)
        assert check(issue_user(b, "eve@example.com"), back, b, a) is None

    def test_a_long_chain_is_refused(self) -> None:
        """CERT-1: thirty certificates, each by the one before."""
        chain = [ROOT]
        for number in range(30):
            chain.append(make_authority(f"Link {number}", chain[-1]))
        leaf = issue_user(chain[-1], "eve@example.com")
        store = Store([ROOT.der], intermediates=[one.der for one in chain[1:]])
        began = perf_counter()
        assert reason(check(leaf, store=store)) is Reason.UNKNOWN_ISSUER
        assert perf_counter() - began < 0.1
        longest = issue_user(chain[MAX_PATH - 2], "dora@example.com")
        assert check(longest, store=store) is None

    def test_self_signed_proves_nobody(self) -> None:
        """CERT-9: not even if the operator knows it: that is continuity, no proof."""
        alone = issue("alice@example.com", uris=("sip:alice@example.com",))
        assert reason(check(alone)) is Reason.SELF_SIGNED
        for store in (Store([alone.der]), Store([ROOT.der], known=[alone.der])):
            finding = check(alone, store=store)
            assert finding is not None
            assert finding.reason is Reason.SELF_SIGNED
            assert "continuity" in finding.detail


class TestRules:
    """CERT-1: what RFC 5280 section 6.1 asks of every certificate in a chain."""

    def test_path_length_is_kept(self) -> None:
        """An intermediate that may issue to users only."""
        short = make_authority("Short", ROOT, path_length=0)
        below = make_authority("Below Short", short)
        assert check(issue_user(short, "d@example.com"), short) is None
        finding = check(issue_user(below, "e@example.com"), short, below)
        assert reason(finding) is Reason.BAD_CHAIN
        assert finding is not None
        assert "path length" in finding.detail

    @pytest.mark.parametrize(
        "extensions",
        [(), ((x509.BasicConstraints(ca=False, path_length=None), True),), SIGNING],
    )
    def test_a_user_is_no_authority(
        self, extensions: Sequence[tuple[x509.ExtensionType, bool]]
    ) -> None:
        """Mallory issues a certificate for Alice with her own."""
        mallory = user(ROOT, extensions=extensions)
        finding = check(issue_user(mallory), mallory)
        assert reason(finding) is Reason.BAD_CHAIN
        assert finding is not None
        assert "sip:dora@example.com" in finding.detail

    def test_key_usage_without_basic_constraints_is_no_authority(self) -> None:
        """OpenSSL 3 alone would take it, OpenSSL 4 would not: we do not ask."""
        half = issue("Half", ROOT, extensions=((usage(key_cert_sign=True), True),))
        finding = check(issue_user(half), half)
        assert reason(finding) is Reason.BAD_CHAIN
        assert finding is not None
        assert "is used as an authority's, but is none" in finding.detail

    def test_an_authority_that_may_not_issue(self) -> None:
        """CERT-1: keyCertSign if key usage is there."""
        extensions = (
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (usage(crl_sign=True), True),
        )
        half = issue("No Issuer", ROOT, extensions=extensions)
        finding = check(issue_user(half), half)
        assert reason(finding) is Reason.BAD_CHAIN
        assert finding is not None
        assert finding.detail.endswith(
            "CN=No Issuer is not for issuing: its key usage says otherwise"
        )

    @pytest.mark.parametrize(
        ("constraint", "good", "bad"),
        [
            (x509.DNSName("example.com"), {"dns": ["sip.example.com"]}, {"dns": ["example.org"]}),
            (
                x509.RFC822Name("example.com"),
                {"emails": ["d@example.com"]},
                {"emails": ["d@example.org"]},
            ),
        ],
    )
    def test_name_constraints_bind_every_name(
        self, constraint: x509.GeneralName, good: dict[str, object], bad: dict[str, object]
    ) -> None:
        """An authority for one domain, and what it issues for another."""
        bound = make_authority(
            "Bound", ROOT, extensions=((x509.NameConstraints([constraint], None), True),)
        )
        assert check(issue("x", bound, **good), bound) is None  # type: ignore[arg-type] # names
        finding = check(issue("x", bound, **bad), bound)  # type: ignore[arg-type] # names
        assert reason(finding) is Reason.BAD_CHAIN

    def test_a_constraint_on_uris_refuses_every_sip_uri(self) -> None:
        """RFC 5280 section 4.2.1.10: those have no authority component."""
        bound = make_authority(
            "URI Bound",
            ROOT,
            extensions=(
                (
                    x509.NameConstraints([x509.UniformResourceIdentifier(".example.com")], None),
                    True,
                ),
            ),
        )
        assert reason(check(issue_user(bound), bound)) is Reason.BAD_CHAIN

    @pytest.mark.parametrize("holder", ["leaf", "middle"])
    def test_an_unknown_critical_extension_refuses(self, holder: str) -> None:
        """Its maker said: whoever does not know this must not believe it."""
        odd = ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),)
        if holder == "leaf":
            assert reason(check(user(ROOT, extensions=odd))) is Reason.BAD_CHAIN
        else:
            middle = make_authority("Odd", ROOT, extensions=odd)
            assert reason(check(issue_user(middle), middle)) is Reason.BAD_CHAIN


class TestDates:
    """CERT-1: at the time that is asked about, not today."""

    def test_before_during_and_after(self) -> None:
        """CERT-8: outside validity; the finding says since when."""
        leaf = user(ROOT, from_s=NOW_S - 10, until_s=NOW_S + 10)
        store = Store([ROOT.der])
        assert reason(check(leaf, store=store, utc_s=NOW_S - 11)) is Reason.CERTIFICATE_NOT_YET
        assert check(leaf, store=store, utc_s=NOW_S - 10) is None
        assert check(leaf, store=store, utc_s=NOW_S + 9) is None
        finding = check(leaf, store=store, utc_s=NOW_S + 10)
        assert finding is not None
        assert finding.reason is Reason.CERTIFICATE_EXPIRED
        assert finding.detail == (
            "the certificate of sip:dora@example.com expired on 2026-09-21 14:13:30Z"
        )

    def test_an_expired_intermediate_is_named(self) -> None:
        """Not the user's fault, and the operator sees whose."""
        old = make_authority("Old", ROOT, until_s=NOW_S - DAY_S)
        finding = check(issue_user(old), old)
        assert finding is not None
        assert finding.reason is Reason.CERTIFICATE_EXPIRED
        assert "the certificate of CN=Old expired" in finding.detail

    def test_a_remembered_chain_ends_with_its_first_certificate(self) -> None:
        """The cache never makes a certificate live longer."""
        middle = make_authority("Ending", ROOT, until_s=NOW_S + 5)
        leaf = issue_user(middle)
        store = Store([ROOT.der])
        assert check(leaf, middle, store=store) is None
        assert check(leaf, middle, store=store, utc_s=NOW_S + 4) is None
        late = check(leaf, middle, store=store, utc_s=NOW_S + 5)
        assert reason(late) is Reason.CERTIFICATE_EXPIRED

    def test_an_expired_anchor_ends_what_it_issued(self) -> None:
        """A root is trusted for as long as it says."""
        old = make_authority("Old Root", until_s=NOW_S - 1)
        store = Store([old.der])
        assert reason(check(issue_user(old), store=store)) is Reason.CERTIFICATE_EXPIRED


@given(st.integers(0, len(BOB.der) - 1), st.integers(0, 7), st.booleans())
def test_no_changed_octet_is_believed(place: int, bit: int, in_leaf: bool) -> None:
    """CERT-1: one bit anywhere, in the user's certificate or in its issuer's."""
    der = bytearray(BOB.der if in_leaf else MIDDLE.der)
    der[place % len(der)] ^= 1 << bit
    store = Store([ROOT.der])
    try:
        leaf = read_certificate(bytes(der) if in_leaf else BOB.der)
    except HostileInput:
        return
    attached = [MIDDLE.der] if in_leaf else [bytes(der)]
    assert store.check(leaf, attached, NOW_S, Purpose.USER) is not None


@given(st.lists(st.sampled_from([ROOT, MIDDLE, LOWER, OTHER, ALICE, BOB, CAROL]), max_size=16))
def test_a_chain_is_believed_exactly_if_it_is_complete(attached: list[Holder]) -> None:
    """Whatever else is attached, and in whatever order."""
    believed = check(CAROL, *attached) is None
    assert believed is ({MIDDLE, LOWER} <= set(attached))

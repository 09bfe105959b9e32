"""Revocation lists from files: revoked, stale, forged, required (CERT-2)."""

import pytest
from authority import DAY_S, NOW_S, issue, issue_user, make_authority, revoke, usage
from cryptography import x509
from trusting import ALICE, BOB, MIDDLE, OTHER, ROOT, check, reason

from sipguard.identity.pem import read_crls
from sipguard.identity.trust import Store
from sipguard.reason import Reason


def store(*lists: bytes, hard: bool = False) -> Store:
    """Return a store that trusts ``Root`` and holds these lists."""
    crls = [crl for pem in lists for crl in read_crls(pem)]
    return Store([ROOT.der], crls=crls, hard_revocation=hard)


def test_a_revoked_certificate_is_refused() -> None:
    """CERT-2, CERT-8; and only the one that was revoked."""
    lists = store(revoke(ROOT, ALICE))
    finding = check(ALICE, store=lists)
    assert finding is not None
    assert finding.reason is Reason.CERTIFICATE_REVOKED
    assert finding.detail == "the certificate of sip:alice@example.com was revoked by CN=Root"
    assert check(issue_user(ROOT), store=lists) is None
    assert check(BOB, MIDDLE, store=lists) is None


def test_a_revoked_intermediate_takes_its_users_along() -> None:
    """The whole chain counts."""
    finding = check(BOB, MIDDLE, store=store(revoke(ROOT, MIDDLE)))
    assert finding is not None
    assert finding.reason is Reason.CERTIFICATE_REVOKED
    assert "CN=Middle was revoked" in finding.detail
    assert reason(check(BOB, MIDDLE, store=store(revoke(MIDDLE, BOB)))) is (
        Reason.CERTIFICATE_REVOKED
    )


def test_a_stale_list_still_revokes() -> None:
    """What was revoked last week is revoked today."""
    stale = revoke(ROOT, ALICE, until_s=NOW_S - 10)
    assert reason(check(ALICE, store=store(stale))) is Reason.CERTIFICATE_REVOKED


def test_a_stale_list_acquits_nobody_where_one_is_required() -> None:
    """CERT-2: soft by default, hard where the policy says so."""
    stale = revoke(ROOT, until_s=NOW_S - 10)
    assert check(ALICE, store=store(stale)) is None
    finding = check(ALICE, store=store(stale, hard=True))
    assert finding is not None
    assert finding.reason is Reason.CRL_UNUSABLE
    assert "only an outdated revocation list of CN=Root" in finding.detail


def test_a_required_list_that_is_missing_refuses() -> None:
    """For every certificate of the chain below the anchor."""
    assert reason(check(ALICE, store=store(hard=True))) is Reason.CRL_UNUSABLE
    assert check(ALICE, store=store(revoke(ROOT), hard=True)) is None
    assert reason(check(BOB, MIDDLE, store=store(revoke(ROOT), hard=True))) is Reason.CRL_UNUSABLE
    both = store(revoke(ROOT), revoke(MIDDLE), hard=True)
    assert check(BOB, MIDDLE, store=both) is None


def test_a_remembered_chain_ends_with_its_required_list() -> None:
    """The cache does not outlive the freshness that it relied on."""
    short = store(revoke(ROOT, until_s=NOW_S + 5), hard=True)
    assert check(ALICE, store=short) is None
    assert check(ALICE, store=short, utc_s=NOW_S + 4) is None
    assert reason(check(ALICE, store=short, utc_s=NOW_S + 6)) is Reason.CRL_UNUSABLE


def test_a_forged_list_revokes_nobody() -> None:
    """Another key, or another authority's list about the same serial number."""
    forged = revoke(ROOT, ALICE, key=OTHER.key)
    assert check(ALICE, store=store(forged)) is None
    assert reason(check(ALICE, store=store(forged, hard=True))) is Reason.CRL_UNUSABLE
    assert check(ALICE, store=store(revoke(OTHER, ALICE))) is None


def test_an_authority_without_the_right_to_sign_lists() -> None:
    """RFC 5280 section 6.3.3 f: cRLSign, if there is key usage."""
    extensions = (
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (usage(key_cert_sign=True), True),
    )
    root = issue("No Lists", extensions=extensions)
    leaf = issue_user(root)
    crls = read_crls(revoke(root, leaf))
    assert check(leaf, store=Store([root.der], crls=crls)) is None
    assert reason(check(leaf, store=Store([root.der], crls=crls, hard_revocation=True))) is (
        Reason.CRL_UNUSABLE
    )


def scope(**bits: bool) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Return an issuing distribution point with these bits."""
    names = ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl")
    point = x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_some_reasons=None,
        only_contains_attribute_certs=bits.get("only_contains_attribute_certs", False),
        only_contains_user_certs=bits.get(names[0], False),
        only_contains_ca_certs=bits.get(names[1], False),
        indirect_crl=bits.get(names[2], False),
    )
    return ((point, True),)


@pytest.mark.parametrize(
    ("extensions", "usable"),
    [
        (((x509.CRLNumber(7), False),), True),
        (scope(only_contains_user_certs=True), True),
        (scope(only_contains_ca_certs=True), False),
        (scope(only_contains_attribute_certs=True), False),
        (scope(indirect_crl=True), False),
        (((x509.DeltaCRLIndicator(3), True),), False),
        (
            ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), False),),
            True,
        ),
        (
            ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), True),),
            False,
        ),
    ],
)
def test_lists_that_are_not_about_users_say_nothing_of_them(
    extensions: tuple[tuple[x509.ExtensionType, bool], ...], usable: bool
) -> None:
    """RFC 5280 section 5.2: scopes, deltas and unknown critical extensions."""
    pem = revoke(ROOT, ALICE, extensions=extensions)
    expected = Reason.CERTIFICATE_REVOKED if usable else None
    assert reason(check(ALICE, store=store(pem))) is expected
    empty = revoke(ROOT, extensions=extensions)
    assert (check(ALICE, store=store(empty, hard=True)) is None) is usable


def test_the_operator_hears_of_useless_lists() -> None:
    """Stale, early, forged and odd ones, each with its reason; good ones are not named."""
    lists = store(
        revoke(ROOT),
        revoke(ROOT, until_s=NOW_S - 10),
        revoke(OTHER),
        revoke(ROOT, extensions=((x509.DeltaCRLIndicator(3), True),)),
    )
    details = [finding.detail for finding in lists.faults(NOW_S)]
    assert details == [
        "the revocation list of CN=Root is outdated",
        "the revocation list of CN=Other Root is signed by no authority known here",
        "the revocation list of CN=Root holds changes only",
    ]
    early = store(revoke(ROOT)).faults(NOW_S - 2 * DAY_S)
    assert [finding.reason for finding in early] == [Reason.CRL_UNUSABLE]
    assert early[0].detail.endswith("is from the future")


@pytest.mark.parametrize("kind", ["rsa2048", "p384", "ed25519"])
def test_lists_of_every_usual_key(kind: str) -> None:
    """What private authorities sign lists with."""
    root = make_authority(f"List {kind}", kind=kind)
    leaf = issue_user(root)
    lists = Store([root.der], crls=read_crls(revoke(root, leaf)))
    assert reason(check(leaf, store=lists)) is Reason.CERTIFICATE_REVOKED

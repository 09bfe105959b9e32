"""identity.smime: whose signature it is, and why not (SMI-5, SMI-22 to SMI-30)."""

import os
from pathlib import Path

import pytest
from authority import DAY_S, NOW_S, Holder, issue, issue_user, make_authority, revoke
from cms_builder import (
    PART,
    attributes,
    multipart_signed,
    sign,
    signed_data,
    signer_info,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sipguard.identity.certificate import read_certificate
from sipguard.identity.pem import read_crls, read_pem
from sipguard.identity.smime import Verified, find_signed, verify_signed
from sipguard.identity.trust import Store
from sipguard.reason import Reason

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))

ROOT = make_authority("Example Root")
ALICE = issue_user(ROOT)
MALLORY = issue_user(ROOT, "mallory@example.com")
RSA = issue_user(ROOT, "rsa@example.com", kind="rsa2048")
STRANGER = issue_user(make_authority("Another Root"))
STORE = Store([ROOT.der])
USER = (b"alice", b"example.com")


def verify(
    cms: bytes,
    part: bytes = PART,
    *,
    store: Store = STORE,
    at_s: float = NOW_S,
    legacy: bool = False,
    max_age_s: int = 600,
    user: tuple[bytes, bytes] | None = None,
    micalg: str = "sha-256",
) -> Verified:
    signed = find_signed(*multipart_signed(part, cms, micalg=micalg))[0]
    return verify_signed(signed, store, at_s, legacy_sha1=legacy, max_age_s=max_age_s, user=user)


def outcome(verified: Verified) -> tuple[Reason | None, bool]:
    return (verified.finding.reason if verified.finding else None), verified.unknown


VALID = (None, False)


def failed(reason: Reason) -> tuple[Reason, bool]:
    return reason, False


NOBODY_KNOWS = (Reason.NO_SIGNER_CERTIFICATE, True)


# --- the certificate


def test_a_signature_with_its_certificate_is_verified() -> None:
    """Attached as RFC 3261 section 23.2 demands (SMI-30)."""
    verified = verify(sign(PART, ALICE))
    assert verified.certificate == read_certificate(ALICE.der)
    assert (verified.finding, verified.unknown, verified.notes) == (None, False, ())


@pytest.mark.parametrize("key_id", [False, True])
def test_a_known_certificate_need_not_be_attached(key_id: bool) -> None:
    """RFC 6216 section 5 leaves it out; issuer and serial or the key's id find it (SMI-30)."""
    cms = signed_data(signer_info(PART, ALICE, key_id=key_id))
    known = Store([ROOT.der], known=[MALLORY.der, ALICE.der])
    assert outcome(verify(cms)) == NOBODY_KNOWS
    assert outcome(verify(cms, store=known)) == VALID
    assert verify(cms, store=known).certificate == read_certificate(ALICE.der)


def test_the_callers_known_certificate_is_tried_last() -> None:
    """A renewed certificate has another serial and perhaps the same key (SMI-30)."""
    renewed = issue(
        "alice@example.com", ROOT, uris=("sip:alice@example.com",), until_s=NOW_S + DAY_S
    )
    assert renewed.key is ALICE.key
    cms = signed_data(signer_info(PART, ALICE))
    store = Store([ROOT.der], known=[renewed.der])
    assert outcome(verify(cms, store=store)) == NOBODY_KNOWS
    assert outcome(verify(cms, store=store, user=USER)) == VALID
    other = Store([ROOT.der], known=[MALLORY.der])
    assert outcome(verify(cms, store=other, user=(b"mallory", b"example.com"))) == NOBODY_KNOWS


def test_every_certificate_of_a_key_is_tried() -> None:
    """Two certificates, one key id: the expired one must not hide the good one (SMI-30)."""
    old = issue("alice@example.com", ROOT, uris=("sip:alice@example.com",), until_s=NOW_S - DAY_S)
    cms = signed_data(signer_info(PART, ALICE, key_id=True), certificates=(old.der, ALICE.der))
    assert outcome(verify(cms)) == VALID
    alone = signed_data(signer_info(PART, ALICE, key_id=True), certificates=(old.der,))
    assert outcome(verify(alone)) == failed(Reason.CERTIFICATE_EXPIRED)


def test_a_certificate_of_somebody_else_does_not_help() -> None:
    """Attached, trusted, and not the one that the signature names (SMI-30)."""
    cms = signed_data(signer_info(PART, ALICE), certificates=(MALLORY.der,))
    assert outcome(verify(cms)) == NOBODY_KNOWS


def test_an_unreadable_certificate_is_a_failure_only_where_it_is_the_signers() -> None:
    """What else is attached is not read at all (SMI-30)."""
    broken = bytearray(ALICE.der)
    broken[4] ^= 0xFF
    cms = signed_data(signer_info(PART, ALICE), certificates=(bytes(broken),))
    assert outcome(verify(cms)) == failed(Reason.BAD_CERTIFICATE)
    assert outcome(verify(cms, store=Store([ROOT.der], known=[ALICE.der]))) == VALID
    junk = b"\x30\x03abc"
    cms = signed_data(signer_info(PART, ALICE), certificates=(junk,))
    assert outcome(verify(cms)) == NOBODY_KNOWS
    cms = signed_data(signer_info(PART, ALICE), certificates=(junk, ALICE.der))
    assert outcome(verify(cms)) == VALID


def test_untrusted_expired_and_revoked_certificates_are_named() -> None:
    """The chain's own words come through, with the certificate for the record."""
    verified = verify(sign(PART, STRANGER))
    assert outcome(verified) == failed(Reason.UNKNOWN_ISSUER)
    assert verified.certificate == read_certificate(STRANGER.der)
    late = verify(sign(PART, ALICE), at_s=NOW_S + 400 * DAY_S)
    assert outcome(late) == failed(Reason.CERTIFICATE_EXPIRED)
    crls = read_crls(revoke(ROOT, ALICE))
    revoked = verify(sign(PART, ALICE), store=Store([ROOT.der], crls=crls))
    assert outcome(revoked) == failed(Reason.CERTIFICATE_REVOKED)


def test_a_domain_may_sign() -> None:
    """Names are not compared here, but its purpose is judged as a domain's (CERT-7)."""
    proxy = issue("example.com", ROOT, uris=("sip:example.com",))
    assert outcome(verify(sign(PART, proxy))) == VALID


# --- the signature


def test_a_changed_content_fails_before_the_certificate_is_looked_at() -> None:
    """The digest is the cheapest question (SMI-24)."""
    verified = verify(sign(PART, STRANGER), PART.replace(b"alice", b"mallory"))
    assert outcome(verified) == failed(Reason.DIGEST_MISMATCH)


def test_a_signature_by_another_key_fails() -> None:
    """Mallory signs and names Alice's certificate (SMI-25)."""
    forged = Holder(ALICE.certificate, MALLORY.key)
    assert outcome(verify(sign(PART, forged))) == failed(Reason.WRONG_SIGNATURE)


def test_legacy_sha1_is_a_note() -> None:
    """Only where the policy says so (SMI-29)."""
    cms = sign(PART, RSA, digest="sha1")
    assert outcome(verify(cms, micalg="sha1")) == failed(Reason.WEAK_SIGNATURE)
    verified = verify(cms, micalg="sha1", legacy=True)
    assert outcome(verified) == VALID
    assert [note.reason for note in verified.notes] == [Reason.WEAK_SIGNATURE]


def test_a_faulty_body_is_never_verified() -> None:
    """What ``find_signed`` objects to is the finding."""
    assert outcome(verify(sign(PART, ALICE), micalg="sha-512")) == failed(Reason.MICALG)
    assert outcome(verify(b"")) == failed(Reason.BAD_CMS)


# --- several signers


def test_several_signers_must_all_be_valid() -> None:
    """SIP expects one; the first counts and the rest is noted (SMI-22)."""
    both = (signer_info(PART, ALICE), signer_info(PART, RSA))
    cms = signed_data(*both, certificates=(ALICE.der, RSA.der))
    verified = verify(cms)
    assert outcome(verified) == VALID
    assert [note.reason for note in verified.notes] == [Reason.SEVERAL_SIGNERS]
    forged = signer_info(PART, Holder(RSA.certificate, issue_user(ROOT, kind="rsa2048").key))
    cms = signed_data(signer_info(PART, ALICE), forged, certificates=(ALICE.der, RSA.der))
    assert outcome(verify(cms)) == failed(Reason.WRONG_SIGNATURE)
    cms = signed_data(*both, certificates=(ALICE.der,))
    assert outcome(verify(cms)) == NOBODY_KNOWS


def test_no_signer_is_no_signature() -> None:
    """Certificates alone prove nothing (SMI-22)."""
    cms = signed_data(certificates=(ALICE.der,))
    assert outcome(verify(cms)) == failed(Reason.SEVERAL_SIGNERS)


# --- time


@pytest.mark.parametrize(
    ("age_s", "max_age_s", "expected"),
    [
        (0, 600, VALID),
        (600, 600, VALID),
        (-600, 600, VALID),
        (601, 600, failed(Reason.SIGNING_TIME)),
        (-601, 600, failed(Reason.SIGNING_TIME)),
        (86400, 0, VALID),
        (31 * DAY_S, 0, failed(Reason.SIGNING_TIME)),
    ],
)
def test_signing_time_lies_in_the_window_and_in_the_certificates_life(
    age_s: float, max_age_s: int, expected: tuple[Reason | None, bool]
) -> None:
    """Too old, too early, before the certificate; a window of 0 does not ask (SMI-26)."""
    info = signer_info(PART, ALICE, signed=attributes(PART, at_s=NOW_S - age_s))
    cms = signed_data(info, certificates=(ALICE.der,))
    assert outcome(verify(cms, max_age_s=max_age_s)) == expected


def test_an_old_signature_says_how_old() -> None:
    """The operator compares clocks with it (SMI-26)."""
    for age_s, words in ((700, "signed 700 s ago, 600 s"), (-700, "signed 700 s ahead, 600 s")):
        info = signer_info(PART, ALICE, signed=attributes(PART, at_s=NOW_S - age_s))
        finding = verify(signed_data(info, certificates=(ALICE.der,))).finding
        assert finding is not None
        assert finding.detail.startswith(words)


def test_signing_time_is_optional() -> None:
    """Without it, and without any attribute: the Date inside the AIB tells the time (SMI-26)."""
    for info in (
        signer_info(PART, ALICE, signed=attributes(PART, at_s=None)),
        signer_info(PART, ALICE, plain=True),
    ):
        assert outcome(verify(signed_data(info, certificates=(ALICE.der,)))) == VALID


# --- line ends

# Bare line feeds inside the content of a part; delimiters and headers keep their CRLF.
TEXT = b"Content-Type: text/plain\r\n\r\none\r\ntwo\r\n"
LF_TEXT = b"Content-Type: text/plain\r\n\r\none\ntwo\n"


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("holder", [ALICE, RSA], ids=["ec", "rsa"])
def test_changed_line_ends_are_told_from_forgery_but_are_not_valid(
    plain: bool, holder: Holder
) -> None:
    """One retry with CRLF; the octets that came are still not those signed (SMI-5)."""
    info = signer_info(TEXT, holder, plain=plain)
    cms = signed_data(info, certificates=(holder.der,))
    assert outcome(verify(cms, TEXT)) == VALID
    assert outcome(verify(cms, LF_TEXT)) == (Reason.LINE_ENDS_CHANGED, True)
    other = LF_TEXT.replace(b"two", b"2")
    expected = Reason.WRONG_SIGNATURE if plain else Reason.DIGEST_MISMATCH
    assert outcome(verify(cms, other)) == failed(expected)
    # Signed over line feeds, and so sent: nothing changed.
    own = signed_data(signer_info(LF_TEXT, holder, plain=plain), certificates=(holder.der,))
    assert outcome(verify(own, LF_TEXT)) == VALID
    # Signed over line feeds, and sent with CRLF: there is no way back.
    assert outcome(verify(own, TEXT)) == failed(expected)


# --- no octet can change


WHOLE = multipart_signed(PART, sign(PART, ALICE))


@settings(max_examples=400)
@given(st.data(), st.integers(1, 255))
def test_any_changed_octet_fails(draw: st.DataObject, change: int) -> None:
    """In the signed part, the attributes or the signature, in the body as sent (SMI-4, SMI-6)."""
    value, body = WHOLE
    good = find_signed(value, body)[0]
    assert good.cms is not None
    signer = good.cms.signers[0]
    for octets in (good.content, signer.signed[1:], signer.signature):
        at = body.index(octets) + draw.draw(st.integers(0, len(octets) - 1))
        changed = body[:at] + bytes((body[at] ^ change,)) + body[at + 1 :]
        found = find_signed(value, changed)
        assert found
        for signed in found:
            verified = verify_signed(signed, STORE, NOW_S, legacy_sha1=True, max_age_s=0, user=USER)
            assert verified.finding is not None


@settings(max_examples=200)
@given(st.binary(max_size=40), st.integers(0, 2000), st.integers(0, 40))
def test_verify_is_total(put: bytes, at: int, cut: int) -> None:
    """Any body: an answer, never an exception."""
    value, body = WHOLE
    for signed in find_signed(value, body[:at] + put + body[at + cut :]):
        verified = verify_signed(signed, STORE, NOW_S, legacy_sha1=True, max_age_s=0, user=USER)
        assert verified.finding is None or verified.finding.detail


# --- messages of others, where present


def body_of(path: Path) -> tuple[bytes, bytes]:
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    lines = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")
    values = [line[13:].strip() for line in lines if line.lower().startswith(b"content-type:")]
    return values[0], body


RFC6216 = CORPUS / "smime/sip-rfc6216"


@pytest.mark.skipif(not RFC6216.exists(), reason="no corpus")
def test_messages_of_rfc_6216() -> None:
    """VEC-5: SHA-1, no attributes, no certificate attached; the damaged ones are refused."""
    certificates = RFC6216 / "certs"
    known = read_pem((certificates / "fluffy-eku.pem").read_bytes())
    root = read_pem((certificates / "ca-sipit-root.pem").read_bytes())
    store = Store(root, known=known, legacy_sha1=True)
    at_s = read_certificate(known[0]).not_before_s + DAY_S
    for name in ("smime-msg.dat", "cms-smime-msg.dat"):
        (signed,) = find_signed(*body_of(RFC6216 / "repaired" / name))
        assert signed.content == (
            b"Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nHello!"
        )
        for legacy, expected in ((True, None), (False, Reason.WEAK_SIGNATURE)):
            verified = verify_signed(
                signed, store, at_s, legacy_sha1=legacy, max_age_s=600, user=None
            )
            assert outcome(verified)[0] is expected
    for name in ("smime-msg.dat", "cms-smime-msg.dat"):
        damaged = find_signed(*body_of(RFC6216 / "as-published" / name))
        assert [one.fault is not None for one in damaged] == [True]


def test_a_digest_that_nobody_announced_is_noted() -> None:
    """RFC 5652 section 5.1 lets a verifier refuse it; the key still speaks (SMI-28)."""
    cms = signed_data(signer_info(PART, ALICE), certificates=(ALICE.der,), digests=("sha512",))
    verified = verify(cms)
    assert outcome(verified) == VALID
    assert [note.reason for note in verified.notes] == [Reason.CMS_ODD]

"""Whose signature is it (RFC 3261 section 23, RFC 8551; SMI-20 to SMI-30)?

Digest first, then the certificate, then arithmetic with its key: a forged signature
costs no more than it must. Names are not compared: a signature covers what is inside
multipart/signed and nothing beside it (SMI-10), and whether its signer may speak for
a caller is for ``aib`` and ``signed_body`` to say.
"""

from collections.abc import Iterable
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.identity.certificate import Certificate, read_certificate
from sipguard.identity.signature import check_content, check_key
from sipguard.identity.signed import Signed, find_signed, is_encrypted
from sipguard.identity.trust import Purpose, Store
from sipguard.reason import Finding, Reason
from sipguard.wire.cms import SignedData, Signer

__all__ = ["Signed", "Verified", "find_signed", "is_encrypted", "verify_signed"]

MAX_CANDIDATES: Final = 4  # certificates tried for one signature


@final
class Verified:
    """Whose signature it is. ``finding`` is None only if certificate and signature are good.

    ``unknown`` tells a finding that means "nobody can say" from a failure. The
    certificate may be set beside a finding, for the record alone.
    """

    __slots__ = ("certificate", "finding", "notes", "unknown")

    def __init__(
        self,
        certificate: Certificate | None,
        finding: Finding | None,
        unknown: bool,
        notes: tuple[Finding, ...],
    ) -> None:
        self.certificate: Final = certificate
        self.finding: Final = finding
        self.unknown: Final = unknown
        self.notes = notes


@final
class _Asked:
    """What ``verify_signed`` was asked, the same for each signer."""

    __slots__ = ("cms", "content", "legacy_sha1", "max_age_s", "store", "user", "utc_s")

    def __init__(
        self,
        content: bytes,
        cms: SignedData,
        store: Store,
        utc_s: float,
        legacy_sha1: bool,
        max_age_s: int,
        user: tuple[bytes, bytes] | None,
    ) -> None:
        self.content: Final = content
        self.cms: Final = cms
        self.store: Final = store
        self.utc_s: Final = utc_s
        self.legacy_sha1: Final = legacy_sha1
        self.max_age_s: Final = max_age_s
        self.user: Final = user


def verify_signed(
    signed: Signed,
    store: Store,
    utc_s: float,
    *,
    legacy_sha1: bool,
    max_age_s: int,
    user: tuple[bytes, bytes] | None,
) -> Verified:
    """Say whose signature this is and, if it is not valid, why.

    Args:
        signed: From ``find_signed``.
        store: Whom to trust, and certificates known without being attached.
        utc_s: POSIX time of the message.
        legacy_sha1: Accept SHA-1, with a note.
        max_age_s: How far a signing-time attribute may lie from *utc_s*; 0 does not ask,
            as for an AIB used again inside its dialog.
        user: The caller's user and host as in his URI; his known certificates are tried
            where the one that the signature names is not to be had.
    """
    cms = signed.cms
    if signed.fault is not None or cms is None:
        return Verified(None, signed.fault, False, signed.notes)
    if not cms.signers:
        finding = Finding(Reason.SEVERAL_SIGNERS, "certificates alone, and no signer")
        return Verified(None, finding, False, signed.notes)
    asked = _Asked(signed.content, cms, store, utc_s, legacy_sha1, max_age_s, user)
    notes = signed.notes
    first: Certificate | None = None
    for signer in cms.signers:
        one = _verify_signer(signer, asked)
        notes += one.notes
        if one.finding is not None:
            one.notes = notes
            return one
        first = first or one.certificate
    if len(cms.signers) > 1:
        detail = f"{len(cms.signers)} signers, each of them valid; the first counts"
        notes += (Finding(Reason.SEVERAL_SIGNERS, detail),)
    return Verified(first, None, False, notes)


def _verify_signer(signer: Signer, asked: _Asked) -> Verified:
    """Verify one signer; of several certificates that may be meant, one must fit."""
    contents, finding, notes = _contents(signer, asked)
    if not contents:
        return Verified(None, finding, False, notes)
    candidates, fault, is_named = _candidates(signer, asked)
    best: Verified | None = None
    for certificate in candidates[:MAX_CANDIDATES]:
        one = _verify_with(certificate, signer, contents, asked)
        one.notes = notes
        if one.finding is None or one.unknown:
            return one
        best = best or one
    if best is not None and is_named:
        return best
    if fault is not None:
        return Verified(None, fault, False, notes)
    detail = "the certificate that the signature names is neither attached nor known here"
    return Verified(None, Finding(Reason.NO_SIGNER_CERTIFICATE, detail), True, notes)


def _contents(
    signer: Signer, asked: _Asked
) -> tuple[list[bytes], Finding | None, tuple[Finding, ...]]:
    """Return the octets that may be what was signed: as they came, or with CRLF line ends (SMI-5).

    Signed attributes tell which; without them only the key can.
    """
    content, cms, legacy = asked.content, asked.cms, asked.legacy_sha1
    finding, notes = check_content(signer, cms, content, legacy_sha1=legacy)
    fitting = [] if finding else [content]
    if signer.signed and fitting:
        return fitting, finding, notes
    if b"\n" in content and (finding is None or finding.reason is Reason.DIGEST_MISMATCH):
        canonical = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if canonical != content:
            refused, notes = check_content(signer, cms, canonical, legacy_sha1=legacy)
            fitting += [] if refused else [canonical]
    return fitting, finding, notes


def _candidates(signer: Signer, asked: _Asked) -> tuple[list[Certificate], Finding | None, bool]:
    """Return the certificates that may be the signer's, and whether he names them (SMI-30).

    The finding says that an attached one could not be read.
    """
    found: list[Certificate] = []
    fault: Finding | None = None
    wanted = signer.key_id or signer.issuer
    for der in asked.cms.certificates:
        if wanted not in der:
            continue  # not his: never mind whether it can be read
        try:
            certificate = read_certificate(der)
        except HostileInput as wrong:
            fault = wrong.finding()
            continue
        if _is_named(certificate, signer):
            found.append(certificate)
    _append_new(found, asked.store.find(signer.issuer, signer.serial, signer.key_id))
    if found or asked.user is None:
        return found, fault, True
    return list(asked.store.find_for_user(*asked.user)), fault, False


def _is_named(certificate: Certificate, signer: Signer) -> bool:
    if signer.key_id:
        return certificate.key_id == signer.key_id
    return certificate.serial == signer.serial and certificate.issuer == signer.issuer


def _append_new(found: list[Certificate], more: Iterable[Certificate]) -> None:
    found += [certificate for certificate in more if certificate not in found]


def _verify_with(
    certificate: Certificate, signer: Signer, contents: list[bytes], asked: _Asked
) -> Verified:
    """Verify with one certificate: its chain, which is mostly remembered, then its key."""
    purpose = Purpose.USER if certificate.users else Purpose.DOMAIN
    attached = asked.cms.certificates
    finding = asked.store.check(certificate, attached, asked.utc_s, purpose)
    if finding is not None:
        return Verified(certificate, finding, False, ())
    for content in contents:
        finding = check_key(signer, content, certificate)
        if finding is None:
            return _verified(certificate, signer, content, asked)
    return Verified(certificate, finding, False, ())


def _verified(certificate: Certificate, signer: Signer, content: bytes, asked: _Asked) -> Verified:
    """Judge a signature that fits: is it of now, and over the octets that came?"""
    late = _time_wrong(signer.signing_time_s, certificate, asked)
    if late:
        return Verified(certificate, Finding(Reason.SIGNING_TIME, late), False, ())
    if content != asked.content:
        # Neither good nor forged: somebody on the way changed line ends (SMI-5).
        detail = "the signature fits only after bare line feeds became CRLF"
        return Verified(certificate, Finding(Reason.LINE_ENDS_CHANGED, detail), True, ())
    return Verified(certificate, None, False, ())


def _time_wrong(signed_s: float | None, certificate: Certificate, asked: _Asked) -> str:
    """Return what is wrong with a signing-time attribute (SMI-26); empty if nothing."""
    if signed_s is None:
        return ""
    if not certificate.not_before_s <= signed_s <= certificate.not_after_s:
        return "signed at a time when the certificate was not valid"
    age_s = asked.utc_s - signed_s
    if asked.max_age_s and abs(age_s) > asked.max_age_s:
        way = "ago" if age_s > 0 else "ahead"
        return f"signed {abs(age_s):.0f} s {way}, {asked.max_age_s} s are allowed"
    return ""

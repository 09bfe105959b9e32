"""Revocation lists from files (RFC 5280 section 5 and 6.3, CERT-2).

The word of an authentic list that a certificate is revoked always counts, even where the
list is stale. That a certificate is *not* revoked needs a fresh list, and is asked for
only where the policy requires one. Nothing is fetched: a verdict cannot wait for it.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from sipguard.identity.certificate import Certificate, name_text
from sipguard.identity.paths import Path
from sipguard.reason import Finding, Reason

_SHA2: Final = ("sha256", "sha384", "sha512")


class RevocationList:
    """One list as it is used: whose, which serial numbers, from when until when.

    Raises ValueError, TypeError or UnsupportedAlgorithm for one that is malformed within.
    ``fault`` says why it cannot be used at all, ``""`` if it can. A list that its issuer
    split by a distribution point counts as complete for what it does not exclude.
    """

    def __init__(self, crl: x509.CertificateRevocationList) -> None:
        self._crl: Final = crl
        self.issuer: Final = crl.issuer.public_bytes()
        self.title: Final = name_text(self.issuer)
        self.revoked: Final = frozenset(entry.serial_number for entry in crl)
        self.from_s: Final = crl.last_update_utc.timestamp()
        until = crl.next_update_utc
        self.until_s: Final = until.timestamp() if until else float("inf")
        self._only_users = False
        self._only_authorities = False
        self.fault: Final = self._read_extensions()
        self._judged: dict[tuple[bytes, bool], bool] = {}

    def _read_extensions(self) -> str:
        for extension in self._crl.extensions:
            match extension.value:
                case x509.IssuingDistributionPoint() as scope:
                    self._only_users = scope.only_contains_user_certs
                    self._only_authorities = scope.only_contains_ca_certs
                    if scope.indirect_crl or scope.only_some_reasons:
                        return "is indirect or names some reasons only"
                    if scope.only_contains_attribute_certs:
                        return "is about attribute certificates"
                case x509.CRLNumber() | x509.AuthorityKeyIdentifier():
                    pass
                case x509.DeltaCRLIndicator():
                    return "holds changes only"
                case _ if extension.critical:
                    return "has a critical extension that sipguard does not know"
                case _:
                    pass
        return ""

    def is_fresh(self, utc_s: float) -> bool:
        """True while the list promises to be complete."""
        return self.from_s <= utc_s <= self.until_s

    def is_about(self, certificate: Certificate) -> bool:
        """True where the list would name *certificate* if it were revoked."""
        if certificate.is_authority:
            return not self._only_users
        return not self._only_authorities

    def is_by(self, issuer: Certificate, *, legacy_sha1: bool) -> bool:
        """True where *issuer*, whose own certificate is proven, signed this list."""
        key = (issuer.der, legacy_sha1)
        if key not in self._judged:
            self._judged[key] = not self.fault and self._verifies(issuer, legacy_sha1)
        return self._judged[key]

    def _verifies(self, issuer: Certificate, legacy_sha1: bool) -> bool:
        if issuer.usage is not None and not issuer.usage.crl_sign:
            return False
        key = issuer.public_key
        keys = (
            rsa.RSAPublicKey,
            ec.EllipticCurvePublicKey,
            ed25519.Ed25519PublicKey,
            ed448.Ed448PublicKey,
        )
        if issuer.weakness or not isinstance(key, keys):
            return False
        try:
            digest = self._crl.signature_hash_algorithm
            good = digest is None or digest.name in _SHA2 or (legacy_sha1 and digest.name == "sha1")
            return good and self._crl.is_signature_valid(key)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return False


class Revocations:
    """All lists of one store. *hard*: every certificate below an anchor needs a fresh one."""

    def __init__(self, lists: Sequence[RevocationList], *, hard: bool, legacy_sha1: bool) -> None:
        self.hard: Final = hard
        self._legacy_sha1 = legacy_sha1
        self._lists: Final = tuple(lists)
        self._of: defaultdict[bytes, list[RevocationList]] = defaultdict(list)
        for one in self._lists:
            self._of[one.issuer].append(one)

    def judge(self, path: Path, utc_s: float) -> Finding | None:
        """Say which certificate of a proven *path* is revoked, or lacks a list if *hard*."""
        if not self._lists and not self.hard:
            return None
        for certificate, issuer in pairwise(path):
            lists = self._lists_about(certificate, issuer)
            if any(certificate.serial in one.revoked for one in lists):
                return Finding(
                    Reason.CERTIFICATE_REVOKED,
                    f"the certificate of {certificate.title} was revoked by {issuer.title}",
                    certificate.named[:128],
                )
            if self.hard and not any(one.is_fresh(utc_s) for one in lists):
                stale = "only an outdated" if lists else "no usable"
                return Finding(
                    Reason.CRL_UNUSABLE,
                    f"{stale} revocation list of {issuer.title}, and the policy requires one",
                    certificate.named[:128],
                )
        return None

    def fresh_until(self, path: Path, utc_s: float) -> float:
        """Return until when the lists that :meth:`judge` relied on stay fresh."""
        if not self.hard:
            return float("inf")
        ends = [
            max(one.until_s for one in lists if one.is_fresh(utc_s))
            for certificate, issuer in pairwise(path)
            if (lists := self._lists_about(certificate, issuer))
        ]
        return min(ends, default=float("inf"))

    def faults(self, utc_s: float, issuers: Sequence[Certificate]) -> tuple[Finding, ...]:
        """Name the lists that are of no use now: odd, stale, or signed by none of *issuers*."""
        found = []
        for one in self._lists:
            fault = one.fault
            if not fault and not any(
                one.issuer == issuer.subject and one.is_by(issuer, legacy_sha1=self._legacy_sha1)
                for issuer in issuers
            ):
                fault = "is signed by no authority known here"
            if not fault and not one.is_fresh(utc_s):
                fault = "is outdated" if utc_s > one.until_s else "is from the future"
            if fault:
                found.append(
                    Finding(Reason.CRL_UNUSABLE, f"the revocation list of {one.title} {fault}")
                )
        return tuple(found)

    def _lists_about(self, certificate: Certificate, issuer: Certificate) -> list[RevocationList]:
        return [
            one
            for one in self._of.get(issuer.subject, ())
            if one.is_about(certificate) and one.is_by(issuer, legacy_sha1=self._legacy_sha1)
        ]

"""Which certificates are believed: anchors, chains, purposes, revocation (RFC 5280 section 6).

Signatures, path lengths, name constraints and critical extensions are OpenSSL's to judge,
through pyOpenSSL. Tried beside it, cryptography's own verifier with its most lenient
extension policy: both accept what ``openssl req -x509`` and ``openssl ca`` issue, with and
without key identifiers, key usage and purposes. But cryptography's refuses version 1
roots, Ed25519 and every SHA-1 signature, a legacy the policy may allow; it knows
no revocation, and says ``candidates exhausted`` where an operator wants to know which
certificate and why. OpenSSL in turn takes weak keys and old digests and follows one way
only, so the ways are found in ``paths``, and dates, keys, digests, authority and purpose
are judged here, in our words, before OpenSSL does any arithmetic. Plain chains are not
handed over at all, because that takes long: where a way holds nothing that OpenSSL alone
understands, ``direct`` verifies path lengths and signatures.

RFC 6216 section 6 lists certificates that must be refused (CERT-8).
Name constraints follow RFC 5280 section 4.2.1.10: a constraint on URIs refuses every sip
URI, since those have no authority component; constraints on DNS or e-mail names do not
bind sip URIs.
"""

import datetime
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from sipguard.identity.certificate import Certificate, name_text, read_certificate
from sipguard.identity.direct import SOUND, UNDECIDED, verify_directly
from sipguard.identity.names import User, user_key
from sipguard.identity.paths import Path, Search, by_subject
from sipguard.identity.revocation import RevocationList, Revocations
from sipguard.reason import Finding, Reason

SIP_DOMAIN: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.20")  # RFC 5924
MAX_PATHS: Final = 4  # ways that are verified for one certificate
MAX_TRUSTED: Final = 4096  # chains remembered as good; only a trusted authority can add one
MAX_REFUSED: Final = 512  # refusals remembered; anybody can add one
REFUSED_S: Final = 60
_SIGNATURE_FAILED: Final = 7  # X509_V_ERR_CERT_SIGNATURE_FAILURE
_ANY: Final = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


class Purpose(Enum):
    """What a certificate is to be believed for."""

    USER = "user"
    DOMAIN = "domain"
    STIR = "stir"
    TLS_CLIENT = "client"
    TLS_SERVER = "server"


# A certificate without the extension serves any purpose (CERT-7, local policy), and so does
# one for a PASSporT: RFC 8226 defines no purpose.
_PURPOSES: Final = {
    Purpose.USER: frozenset((ExtendedKeyUsageOID.EMAIL_PROTECTION, SIP_DOMAIN, _ANY)),
    Purpose.DOMAIN: frozenset((SIP_DOMAIN, _ANY)),
    Purpose.STIR: None,
    Purpose.TLS_CLIENT: frozenset((ExtendedKeyUsageOID.CLIENT_AUTH, SIP_DOMAIN, _ANY)),
    Purpose.TLS_SERVER: frozenset((ExtendedKeyUsageOID.SERVER_AUTH, SIP_DOMAIN, _ANY)),
}


class _Trusted(NamedTuple):
    """A verified chain, good from when to when: no certificate in it ends before."""

    path: Path
    from_s: float
    until_s: float


class Store:
    """The certificates of one ``trust`` line and what follows from them; changed by replacement.

    *anchors* are trusted, *intermediates* help to build chains, *known* are end
    certificates for signatures that come without one (SMI-30) and are trusted no more than
    attached ones. *pinned* are servers' own certificates, believed as they are and by whole
    octets, whoever issued them. All are DER, read before by :func:`read_pem`.

    Raises:
        HostileInput: ``BAD_CERTIFICATE`` for DER that cannot be read.
    """

    def __init__(
        self,
        anchors: Sequence[bytes],
        *,
        intermediates: Sequence[bytes] = (),
        crls: Sequence[RevocationList] = (),
        known: Sequence[bytes] = (),
        pinned: Sequence[bytes] = (),
        hard_revocation: bool = False,
        legacy_sha1: bool = False,
    ) -> None:
        roots = [read_certificate(der) for der in dict.fromkeys(anchors)]
        middles = [read_certificate(der) for der in dict.fromkeys(intermediates)]
        self._issuers: Final = (*roots, *middles)
        self._anchors: Final = by_subject(roots)
        self._middles: Final = by_subject(middles)
        self._stores: Final = {root.der: _openssl_store(root) for root in roots}
        self._known: Final = tuple(read_certificate(der) for der in dict.fromkeys(known))
        self._pinned: Final = frozenset(read_certificate(der).der for der in pinned)
        self._of_user: Final = _by_user(self._known)
        self._revocations: Final = Revocations(crls, hard=hard_revocation, legacy_sha1=legacy_sha1)
        self._legacy_sha1: Final = legacy_sha1
        self._trusted: dict[tuple[bytes, str], _Trusted] = {}
        self._refused: dict[tuple[int, int, str, float], Finding] = {}

    def check(
        self, leaf: Certificate, attached: Sequence[bytes], utc_s: float, purpose: Purpose
    ) -> Finding | None:
        """Return why *leaf* is not believed at *utc_s*, or None where it is.

        *attached* is what came along with it, in any order, hostile or not.
        """
        found = self.path(leaf, attached, utc_s, purpose)
        return found if isinstance(found, Finding) else None

    def path(
        self, leaf: Certificate, attached: Sequence[bytes], utc_s: float, purpose: Purpose
    ) -> Path | Finding:
        """Return the verified chain from *leaf* to its anchor, or why there is none."""
        trusted = self._trusted.get((leaf.der, purpose.value))
        if trusted is not None and trusted.from_s <= utc_s < trusted.until_s:
            return trusted.path
        # Hashes, so that nobody can fill the memory with long certificates. They are seeded:
        # nobody can make two that are equal, and if two are, one more is refused for a minute.
        slot = (hash(leaf.der), hash(tuple(attached)), purpose.value, utc_s // REFUSED_S)
        refused = self._refused.get(slot)
        if refused is not None:
            return refused
        found = self._find_path(leaf, attached, utc_s, purpose)
        if isinstance(found, Finding):
            if found.reason is not Reason.CERTIFICATE_NOT_YET:  # time heals that
                _remember(self._refused, slot, found, MAX_REFUSED)
        else:
            good = _Trusted(found, *self._lifetime(found, utc_s))
            _remember(self._trusted, (leaf.der, purpose.value), good, MAX_TRUSTED)
        return found

    def find(self, issuer: bytes, serial: int, key_id: bytes) -> tuple[Certificate, ...]:
        """Return the known certificates that a signature means: by *key_id* if there is one."""
        if key_id:
            return tuple(one for one in self._known if one.key_id == key_id)
        return tuple(one for one in self._known if one.serial == serial and one.issuer == issuer)

    def find_for_user(self, user: bytes, host: bytes) -> tuple[Certificate, ...]:
        """Return the known certificates of a user, given as a ``wire.uri.Uri`` holds him."""
        return self._of_user.get(user_key(user, host), ())

    def faults(self, utc_s: float) -> tuple[Finding, ...]:
        """Name the revocation lists that are of no use now, for the operator."""
        return self._revocations.faults(utc_s, self._issuers)

    def _find_path(
        self, leaf: Certificate, attached: Sequence[bytes], utc_s: float, purpose: Purpose
    ) -> Path | Finding:
        if leaf.der in self._pinned and purpose is Purpose.TLS_SERVER:
            # The key is the operator's word; its dates and strength still count.
            return (
                _unfit(leaf, purpose) or _weak((leaf,)) or _out_of_date((leaf,), utc_s) or (leaf,)
            )
        refusal = self._self_signed(leaf) or _unfit(leaf, purpose)
        if refusal is not None:
            return refusal
        search = Search(self._anchors, self._middles, attached)
        for path in islice(self._ways(search, leaf), MAX_PATHS):
            found = self._judge(path, utc_s, purpose)
            if found is None:
                return path
            refusal = refusal or found
        return refusal or _no_way(leaf, search.top(leaf))

    def _ways(self, search: Search, leaf: Certificate) -> Iterator[Path]:
        if leaf.der in self._stores:
            yield (leaf,)
        yield from search.ways((leaf,))

    def _self_signed(self, leaf: Certificate) -> Finding | None:
        """Refuse what vouches for itself; that the operator knows it makes it no proof (CERT-9)."""
        if not leaf.is_self_signed:
            return None
        why = "is signed by itself"
        if leaf.der in self._stores or leaf in self._known:
            why += "; that it is known here shows continuity, but proves no identity"
        return _finding(Reason.SELF_SIGNED, leaf, why)

    def _judge(self, path: Path, utc_s: float, purpose: Purpose) -> Finding | None:
        """Judge one way, cheap questions first."""
        return (
            _weak(path, legacy_sha1=self._legacy_sha1)
            or _out_of_date(path, utc_s)
            or _no_authority(path, purpose)
            or self._unproven(path, utc_s)
            or self._revocations.judge(path, utc_s)
        )

    def _unproven(self, path: Path, utc_s: float) -> Finding | None:
        """Judge signatures and extensions: plain ones here, all others by OpenSSL."""
        place = verify_directly(path)
        if place == UNDECIDED:
            return self._openssl(path, utc_s)
        return None if place == SOUND else _not_signed(path, place)

    def _openssl(self, path: Path, utc_s: float) -> Finding | None:
        store = self._stores[path[-1].der]
        store.set_time(datetime.datetime.fromtimestamp(utc_s, datetime.UTC))
        try:
            context = crypto.X509StoreContext(
                store, _openssl_certificate(path[0]), [*map(_openssl_certificate, path[1:-1])]
            )
            context.verify_certificate()
        except crypto.X509StoreContextError as error:
            code, depth, words = error.errors
            return _openssl_finding(path, int(code), int(depth), str(words))
        except crypto.Error:
            return _finding(Reason.BAD_CERTIFICATE, path[0], "or of its issuers cannot be read")
        return None

    def _lifetime(self, path: Path, utc_s: float) -> tuple[float, float]:
        return (
            max(one.not_before_s for one in path),
            min(self._revocations.fresh_until(path, utc_s), *(one.not_after_s for one in path)),
        )


def _finding(reason: Reason, certificate: Certificate, words: str) -> Finding:
    return Finding(
        reason, f"the certificate of {certificate.title} {words}", certificate.named[:128]
    )


def _unfit(leaf: Certificate, purpose: Purpose) -> Finding | None:
    """Judge what the end certificate says of itself (CERT-3, CERT-7, STI-34)."""
    if leaf.weakness:
        return _finding(Reason.WEAK_SIGNATURE, leaf, f"is weak: {leaf.weakness}")
    usage = leaf.usage
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        return _finding(
            Reason.WRONG_KEY_USAGE, leaf, "is not for signing: its key usage says otherwise"
        )
    if not _serves(leaf, purpose):
        return _finding(
            Reason.WRONG_KEY_USAGE, leaf, "is not for SIP: its extended key usage says otherwise"
        )
    if purpose is Purpose.STIR and not _is_p256(leaf):
        return _finding(Reason.WRONG_KEY_USAGE, leaf, "has no P-256 key, which a PASSporT needs")
    return None


def _serves(certificate: Certificate, purpose: Purpose) -> bool:
    wanted = _PURPOSES[purpose]
    return wanted is None or certificate.purposes is None or bool(wanted & certificate.purposes)


def _is_p256(certificate: Certificate) -> bool:
    key = certificate.public_key
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def _weak(path: Path, *, legacy_sha1: bool = False) -> Finding | None:
    """Refuse weak keys, and weak digests below the anchor, whose own signature proves nothing."""
    for certificate in path:
        if certificate.weakness:
            return _finding(Reason.WEAK_SIGNATURE, certificate, f"is weak: {certificate.weakness}")
    for certificate in path[:-1]:
        if certificate.digest == "sha-1" and not legacy_sha1:
            return _finding(
                Reason.WEAK_SIGNATURE, certificate, "is signed with SHA-1, a legacy not allowed"
            )
        if certificate.digest == "other":
            return _finding(
                Reason.WEAK_SIGNATURE, certificate, "is signed with a forbidden algorithm"
            )
    return None


def _out_of_date(path: Path, utc_s: float) -> Finding | None:
    for certificate in path:
        if utc_s >= certificate.not_after_s:
            when = _day(certificate.not_after_s)
            return _finding(Reason.CERTIFICATE_EXPIRED, certificate, f"expired on {when}")
        if utc_s < certificate.not_before_s:
            when = _day(certificate.not_before_s)
            return _finding(Reason.CERTIFICATE_NOT_YET, certificate, f"is not valid before {when}")
    return None


def _day(utc_s: float) -> str:
    return datetime.datetime.fromtimestamp(utc_s, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _no_authority(path: Path, purpose: Purpose) -> Finding | None:
    """Refuse issuers that are none (RFC 5280 section 6.1.4, k to n).

    OpenSSL 3 would take a version 3 certificate without basicConstraints as an issuer if its
    key usage allows. A purpose that an intermediate excludes is excluded below it.
    """
    for issuer in path[1:]:
        is_anchor = issuer is path[-1]
        if not is_anchor and (issuer.version != x509.Version.v3 or not issuer.is_authority):
            return _finding(Reason.BAD_CHAIN, issuer, "is used as an authority's, but is none")
        if issuer.usage is not None and not issuer.usage.key_cert_sign:
            return _finding(
                Reason.BAD_CHAIN, issuer, "is not for issuing: its key usage says otherwise"
            )
        if not is_anchor and not _serves(issuer, purpose):
            return _finding(
                Reason.WRONG_KEY_USAGE, issuer, "may not issue for SIP: its extended key usage"
            )
    return None


def _openssl_store(anchor: Certificate) -> crypto.X509Store:
    """One store for each anchor, so that OpenSSL verifies the way that was found, no other."""
    store = crypto.X509Store()
    store.add_cert(_openssl_certificate(anchor))
    # An anchor need not be self-signed: the operator trusts it, whoever issued it.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    return store


@lru_cache(maxsize=64)
def _openssl_certificate(certificate: Certificate) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, certificate.der)


def _openssl_finding(path: Path, code: int, depth: int, words: str) -> Finding:
    place = min(depth, len(path) - 1)
    if code == _SIGNATURE_FAILED:
        return _not_signed(path, place)
    return _finding(Reason.BAD_CHAIN, path[place], f"breaks its chain: {words}")


def _not_signed(path: Path, place: int) -> Finding:
    issuer = path[min(place + 1, len(path) - 1)]
    words = f"names {issuer.title} as its issuer, who did not sign it"
    return _finding(Reason.UNKNOWN_ISSUER, path[place], words)


def _no_way(leaf: Certificate, top: Certificate) -> Finding:
    if top is leaf:
        words = f"was issued by {name_text(leaf.issuer)}, who is not trusted here"
    elif top.is_self_signed:
        words = f"leads up to {top.title}, who is not trusted here"
    else:
        words = f"leads up to {top.title}, and no further: {name_text(top.issuer)} is unknown here"
    return _finding(Reason.UNKNOWN_ISSUER, leaf, words)


def _by_user(certificates: Sequence[Certificate]) -> dict[User, tuple[Certificate, ...]]:
    found: dict[User, tuple[Certificate, ...]] = {}
    for certificate in certificates:
        for user in certificate.users:
            found[user] = (*found.get(user, ()), certificate)
    return found


Key = TypeVar("Key")
Value = TypeVar("Value")


def _remember(memory: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Keep *value*; the oldest goes where there are *most* already."""
    if key not in memory and len(memory) >= most:
        del memory[next(iter(memory))]
    memory[key] = value

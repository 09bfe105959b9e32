"""What the gateway shows in TLS and whom it believes, out of the files that the policy names."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from sipguard.errors import HostileInput, PolicyError, Problem
from sipguard.identity.certificate import Certificate, read_certificate
from sipguard.identity.peers import Peers
from sipguard.identity.pem import read_crls, read_pem
from sipguard.identity.trust import SIP_DOMAIN, Store
from sipguard.policy.rules import Policy
from sipguard.policy.tls import OwnCertificate, TlsTerms
from sipguard.policy.trust import TlsTrust, TrustFile
from sipguard.wire.uri import parse_host, parse_uri

SOON_S: Final = 14 * 86400  # before its end an own certificate is worth a warning
OPEN_TO_ALL: Final = 0o004
_SERVES: Final = frozenset(
    (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
) | {SIP_DOMAIN}

Material = TypeVar("Material")
TlsKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Own(NamedTuple):
    """One certificate of the gateway: what is sent of it, its key, the names that pick it."""

    chain: tuple[x509.Certificate, ...]
    key: TlsKey
    names: tuple[bytes, ...]


class Credentials(NamedTuple):
    """Everything out of files: own certificates, and who judges others, None where nobody can."""

    own: tuple[Own, ...] = ()
    peers: Peers | None = None
    roots: tuple[x509.Certificate, ...] = ()  # whom clients may be certified by, told to them
    middles: tuple[x509.Certificate, ...] = ()


class _Faults(NamedTuple):
    """What is wrong, and what the admin should know."""

    problems: list[Problem]
    warnings: list[Problem]

    def wrong(self, file: TrustFile, message: str, hint: str = "") -> None:
        self.problems.append(Problem(*file.place, message, hint))

    def warn(self, file: TrustFile, message: str, hint: str = "") -> None:
        self.warnings.append(Problem(*file.place, message, hint))


def read_credentials(terms: TlsTerms, now_s: float) -> Credentials:
    """Return what the policy's files hold, ready for use.

    Raises:
        PolicyError: With everything that is wrong with them, and where the policy names them.
    """
    faults = _Faults([], [])
    found = _read(terms, now_s, faults)
    if faults.problems:
        raise PolicyError(tuple(faults.problems))
    return found


def tls_warnings(policy: Policy, now_s: float | None = None) -> tuple[Problem, ...]:
    """Return what the admin should know about certificates and keys.

    Raises:
        PolicyError: They cannot be used.
    """
    faults = _Faults([], [])
    _read(policy.tls, time.time() if now_s is None else now_s, faults)
    if faults.problems:
        raise PolicyError(tuple(faults.problems))
    for own in policy.tls.certificates:
        if _is_open(own.key.name):
            what = f"everybody on this machine can read the key {own.key.name}"
            hint = f"chmod 600 {own.key.name}"
            faults.warnings.append(Problem(*own.key.place, what, hint))
    return tuple(faults.warnings)


def _is_open(name: str) -> bool:
    try:
        return bool(Path(name).stat().st_mode & OPEN_TO_ALL)
    except OSError:
        return False


def _read(terms: TlsTerms, now_s: float, faults: _Faults) -> Credentials:
    own = [_own(one, now_s, faults) for one in terms.certificates]
    usable = tuple(one for one in own if one is not None)
    trust = terms.trust
    if trust is None:
        return Credentials(usable)
    roots = _all(trust.ca, read_pem, faults)
    middles = _all(trust.intermediates, read_pem, faults)
    pinned = _pinned(trust, now_s, faults)
    store = Store(
        roots,
        intermediates=middles,
        crls=_all(trust.crl, read_crls, faults),
        hard_revocation=trust.crl_hard,
        pinned=pinned,
    )
    peers = Peers(store, frozenset(pinned) if trust.pinned_any_name else ())
    return Credentials(usable, peers, _opened(roots), _opened(middles))


def _pinned(trust: TlsTrust, now_s: float, faults: _Faults) -> list[bytes]:
    """Return servers' own certificates; one that could never be believed is told."""
    found: list[bytes] = []
    for file in trust.pinned:
        try:
            ders = read_pem(file.octets)
            server = read_certificate(ders[0])
        except (ValueError, HostileInput) as error:
            faults.wrong(file, f"{file.name}: {error}")
            continue
        if len(ders) > 1:
            hint = "the server's own certificate alone is pinned; issuers stand in ca"
            faults.wrong(file, f"{file.name} holds {len(ders)} certificates", hint)
            continue
        found.append(server.der)
        if server.weakness:
            faults.warn(file, f"{file.name} is weak: {server.weakness}; it is refused")
        elif now_s >= server.not_after_s:
            faults.warn(file, f"{file.name} expired on {_day(server.not_after_s)}; it is refused")
        elif server.not_after_s - now_s < SOON_S:
            faults.warn(file, f"{file.name} expires on {_day(server.not_after_s)}")
        if not (server.domains or server.addresses or trust.pinned_any_name):
            what = f"{file.name} names no host: it fits no server"
            faults.warn(file, what, "add pinned-any-name")
    return found


def _all(
    files: Sequence[TrustFile],
    read: Callable[[bytes], tuple[Material, ...]],
    faults: _Faults,
) -> list[Material]:
    found: list[Material] = []
    for file in files:
        try:
            found += read(file.octets)
        except ValueError as error:
            faults.wrong(file, f"{file.name}: {error}")
    return found


def _opened(ders: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_der_x509_certificate(der) for der in dict.fromkeys(ders))


def _own(one: OwnCertificate, now_s: float, faults: _Faults) -> Own | None:
    """Return a usable certificate; what is wrong is told."""
    try:
        ders = read_pem(one.certificate.octets)
        leaf = read_certificate(ders[0])
    except (ValueError, HostileInput) as error:
        faults.wrong(one.certificate, f"{one.certificate.name}: {error}")
        return None
    key = _key(one, faults)
    if key is None or not _fits(one, key, ders, faults) or not _sound(one, leaf, faults):
        return None
    _advise(one.certificate, leaf, now_s, faults)
    if not isinstance(key, TlsKey):
        faults.wrong(_as_file(one), f"{one.key.name} holds a key of a kind that TLS cannot use")
        return None
    return Own(_opened(ders), key, _names(leaf))


def _as_file(one: OwnCertificate) -> TrustFile:
    return TrustFile(one.key.name, b"", one.key.place)


def _key(one: OwnCertificate, faults: _Faults) -> PrivateKeyTypes | None:
    file = _as_file(one)
    try:
        return load_pem_private_key(one.key.octets, None)
    except TypeError:
        hint = f"decrypt it: openssl pkey -in {file.name} -out key.pem; chmod 600 key.pem"
        faults.wrong(file, f"the key in {file.name} is encrypted, and nobody is asked here", hint)
    except (ValueError, UnsupportedAlgorithm):
        faults.wrong(file, f"the private key in {file.name} cannot be read")
    return None


def _fits(
    one: OwnCertificate, key: PrivateKeyTypes, ders: Sequence[bytes], faults: _Faults
) -> bool:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fitting = [at for at, der in enumerate(ders) if _public_of(der) == public]
    if fitting[:1] == [0]:
        return True
    name = one.certificate.name
    if fitting:
        hint = "the gateway's own certificate stands first, then those of its issuers"
        faults.wrong(one.certificate, f"the key fits certificate {fitting[0] + 1} of {name}", hint)
        return False
    hint = "key names the key that the certificate was made for"
    faults.wrong(_as_file(one), f"the key {one.key.name} does not fit the certificate {name}", hint)
    return False


def _public_of(der: bytes) -> bytes:
    key = read_certificate(der).public_key
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) if key else b""


def _sound(one: OwnCertificate, leaf: Certificate, faults: _Faults) -> bool:
    """Refuse what no peer should accept."""
    name = one.certificate.name
    if leaf.weakness:
        faults.wrong(one.certificate, f"{name} is weak: {leaf.weakness}", "make a new key")
    elif leaf.digest != "sha-2" and not leaf.is_self_signed:
        faults.wrong(one.certificate, f"{name} is signed with an outdated digest")
    else:
        return True
    return False


def _advise(file: TrustFile, leaf: Certificate, now_s: float, faults: _Faults) -> None:
    """Warn of what works, but not with every peer or not for long."""
    if now_s >= leaf.not_after_s:
        # No reason not to start: calls over UDP and TCP would end with it.
        what = f"{file.name} expired on {_day(leaf.not_after_s)}: clients will refuse it"
        faults.warn(file, what, "renew it")
    elif now_s < leaf.not_before_s:
        what = f"{file.name} is not valid before {_day(leaf.not_before_s)}: clients will refuse it"
        faults.warn(file, what, "see that the gateway's clock is right")
    elif leaf.not_after_s - now_s < SOON_S:
        faults.warn(file, f"{file.name} expires on {_day(leaf.not_after_s)}", "renew it")
    if leaf.purposes is not None and not leaf.purposes & _SERVES:
        what = f"{file.name} is not for servers: its extended key usage says otherwise"
        faults.warn(file, what, "clients will refuse it")
    if not leaf.domains and not leaf.addresses:
        what = f"{file.name} names no host: no client can verify it"
        faults.warn(file, what, "have the names that clients ask for put into subjectAltName")


def _day(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%d")


def _names(leaf: Certificate) -> tuple[bytes, ...]:
    """Return every name that a client may ask for.

    More than a peer's identity is (RFC 5922 section 7.1): a client that looks for a DNS name
    only is served although a URI stands beside it.
    """
    found = list(leaf.domains)
    read = x509.load_der_x509_certificate(leaf.der)
    try:
        alternatives = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(found)
    for name in alternatives:
        try:
            if isinstance(name, x509.DNSName):
                found.append(parse_host(name.value.encode("ascii")))
            elif isinstance(name, x509.UniformResourceIdentifier):
                found.append(parse_uri(name.value.encode("ascii")).host)
        except (HostileInput, UnicodeEncodeError):
            continue
    return tuple(dict.fromkeys(found))

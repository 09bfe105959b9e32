"""Chains in which nothing is left for OpenSSL's verifier but signatures (RFC 5280 section 6.1).

Handing certificates to OpenSSL costs as much as reading and verifying them here, so the
plain ones, as most authorities issue them, are judged here alone: version 3, well-known
algorithms without odd parameters, an issuer whose basicConstraints say that it is one,
and only extensions whose whole meaning is known here. Anything else, and whatever is
doubtful, is left to OpenSSL: what stands here may accept less than it would, never more.
"""

from collections.abc import Callable
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from sipguard.identity.certificate import Certificate, PublicKey
from sipguard.identity.outline import has_plain_text
from sipguard.identity.paths import Path

SOUND: Final = -1
UNDECIDED: Final = -2

# Algorithm identifiers octet by octet: with NULL for RSA, without parameters for all else,
# and curves by name. Explicit curves, for which OpenSSL refuses a chain, are not among them.
_RSA: Final = bytes.fromhex("300d06092a864886f70d0101")
_ECDSA: Final = bytes.fromhex("300a06082a8648ce3d0403")
_EC: Final = bytes.fromhex("06072a8648ce3d0201")
_ED25519: Final = bytes.fromhex("300506032b6570")
_NULL: Final = b"\x05\x00"
_PLAIN_KEYS: Final = frozenset(
    (
        _RSA + b"\x01" + _NULL,
        b"\x30\x13" + _EC + bytes.fromhex("06082a8648ce3d030107"),  # P-256
        b"\x30\x10" + _EC + bytes.fromhex("06052b81040022"),  # P-384
        b"\x30\x10" + _EC + bytes.fromhex("06052b81040023"),  # P-521
        _ED25519,
    )
)
_PKCS1: Final = padding.PKCS1v15()

Verify = Callable[[PublicKey, bytes, bytes], bool]


def _with_rsa(digest: hashes.HashAlgorithm) -> Verify:
    def verify(key: PublicKey, signature: bytes, signed: bytes) -> bool:
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        key.verify(signature, signed, _PKCS1, digest)
        return True

    return verify


def _with_ecdsa(digest: hashes.HashAlgorithm) -> Verify:
    scheme = ec.ECDSA(digest)

    def verify(key: PublicKey, signature: bytes, signed: bytes) -> bool:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(signature, signed, scheme)
        return True

    return verify


def _with_ed25519(key: PublicKey, signature: bytes, signed: bytes) -> bool:
    if not isinstance(key, ed25519.Ed25519PublicKey):
        return False
    key.verify(signature, signed)
    return True


# Each returns False for a key of another kind, and raises InvalidSignature.
_SCHEMES: Final[dict[bytes, Verify]] = {
    _RSA + b"\x0b" + _NULL: _with_rsa(hashes.SHA256()),
    _RSA + b"\x0c" + _NULL: _with_rsa(hashes.SHA384()),
    _RSA + b"\x0d" + _NULL: _with_rsa(hashes.SHA512()),
    _ECDSA + b"\x02": _with_ecdsa(hashes.SHA256()),
    _ECDSA + b"\x03": _with_ecdsa(hashes.SHA384()),
    _ECDSA + b"\x04": _with_ecdsa(hashes.SHA512()),
    _ED25519: _with_ed25519,
}


def verify_directly(path: Path) -> int:
    """Verify the signatures of a way, if it is plain.

    Its dates, key usages and purposes have been judged before, and each issuer's name and
    key identifier fit what it issued.

    Returns:
        ``SOUND``; the place in *path* of a certificate that its issuer did not sign, the
        one nearest to the anchor; or ``UNDECIDED``, where OpenSSL must judge.
    """
    if not _is_plain(path):
        return UNDECIDED
    for place in range(len(path) - 2, -1, -1):
        try:
            if not _is_signed(path[place], path[place + 1]):
                return UNDECIDED
        except InvalidSignature:
            return place
        except (ValueError, UnsupportedAlgorithm):
            return UNDECIDED
    return SOUND


def _is_plain(path: Path) -> bool:
    for place, certificate in enumerate(path):
        outline = certificate.outline
        if (
            not certificate.is_plain
            or certificate.version != x509.Version.v3
            or outline.key_algorithm not in _PLAIN_KEYS
            or not has_plain_text(outline.subject)
        ):
            return False
        if place and not _may_issue(certificate, place - 1):
            return False
    # One that names itself above the end of a way counts in other ways (RFC 5280, 6.1.4 l).
    return len(path) > 1 and not any(one.is_self_signed for one in path[:-1])


def _may_issue(issuer: Certificate, below: int) -> bool:
    """Judge basicConstraints; *below* it are so many others before the end certificate."""
    limit = issuer.path_length
    return issuer.is_authority and (limit is None or below <= limit)


def _is_signed(certificate: Certificate, issuer: Certificate) -> bool:
    """Return True if it is, False if that cannot be said; raises InvalidSignature if not."""
    outline, der = certificate.outline, certificate.der
    verify = _SCHEMES.get(outline.algorithm)
    if verify is None or outline.inner != outline.algorithm or issuer.public_key is None:
        return False
    if der[outline.signature - 1] != 0:  # bits that do not count
        return False
    start, end = outline.signed
    return verify(issuer.public_key, der[outline.signature :], der[start:end])

"""Does one CMS signature fit its content and a certificate's key (RFC 5652 section 5.6)?

Cheap checks first: algorithms, signed attributes and digest cost microseconds and need
no certificate; arithmetic with the key comes last. Algorithms are a closed list: RSA
with PKCS #1 v1.5 or PSS, ECDSA on P-256 and P-384, Ed25519, all with SHA-2; SHA-1 only
where the policy says legacy (SMI-29). Nothing here asks whether the certificate is trusted.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from hmac import compare_digest
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from sipguard.errors import HostileInput
from sipguard.identity.certificate import Certificate
from sipguard.identity.shown import shown
from sipguard.reason import Finding, Reason
from sipguard.wire.cms import DATA, SHA1, SHA256, SignedData, Signer, is_attribute_set, parse_pss

SHA384: Final = b"2.16.840.1.101.3.4.2.2"
SHA512: Final = b"2.16.840.1.101.3.4.2.3"

_RSA: Final = b"1.2.840.113549.1.1.1"
_PSS: Final = b"1.2.840.113549.1.1.10"
_ED25519: Final = b"1.3.101.112"
# Algorithms that name their digest as well; rsaEncryption takes the signer's.
_RSA_WITH: Final = {
    b"1.2.840.113549.1.1.5": SHA1,
    b"1.3.14.3.2.29": SHA1,
    b"1.2.840.113549.1.1.11": SHA256,
    b"1.2.840.113549.1.1.12": SHA384,
    b"1.2.840.113549.1.1.13": SHA512,
}
_ECDSA_WITH: Final = {
    b"1.2.840.10045.4.1": SHA1,
    b"1.2.840.10045.4.3.2": SHA256,
    b"1.2.840.10045.4.3.3": SHA384,
    b"1.2.840.10045.4.3.4": SHA512,
}
_CURVES: Final = frozenset(("secp256r1", "secp384r1"))
_BY_ISSUER: Final = 1  # SignerInfo versions (RFC 5652 section 5.3)
_BY_KEY_ID: Final = 3


class Digest(NamedTuple):
    """A digest algorithm: its name as in ``micalg``, itself, and what the key wants to know."""

    name: str
    of: Callable[[bytes], bytes]
    algorithm: hashes.HashAlgorithm


def _sha1(octets: bytes) -> bytes:
    return hashlib.sha1(octets, usedforsecurity=False).digest()


def _sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def _sha384(octets: bytes) -> bytes:
    return hashlib.sha384(octets).digest()


def _sha512(octets: bytes) -> bytes:
    return hashlib.sha512(octets).digest()


DIGESTS: Final = {
    SHA256: Digest("sha-256", _sha256, hashes.SHA256()),
    SHA384: Digest("sha-384", _sha384, hashes.SHA384()),
    SHA512: Digest("sha-512", _sha512, hashes.SHA512()),
    SHA1: Digest("sha-1", _sha1, hashes.SHA1()),  # noqa: S303 - SIP's own (RFC 3261), where legacy
}
_PKCS1: Final = padding.PKCS1v15()
_ECDSA: Final = {oid: ec.ECDSA(digest.algorithm) for oid, digest in DIGESTS.items()}


def check_signature(
    signer: Signer,
    data: SignedData,
    content: bytes,
    certificate: Certificate,
    *,
    legacy_sha1: bool,
) -> tuple[Finding | None, tuple[Finding, ...]]:
    """Return why this is no valid signature by the certificate's key, or None; and notes.

    Args:
        signer: One of *data*'s signers.
        data: The structure, for its content type and list of digests.
        content: The signed octets, wherever they travelled.
        certificate: Whose key to try; trust in it is the caller's business.
        legacy_sha1: Accept SHA-1, with a note.
    """
    finding, notes = check_content(signer, data, content, legacy_sha1=legacy_sha1)
    return finding or check_key(signer, content, certificate), notes


def check_content(
    signer: Signer, data: SignedData, content: bytes, *, legacy_sha1: bool
) -> tuple[Finding | None, tuple[Finding, ...]]:
    """Return why these octets are not what *signer* states, or None; and notes. No key is used."""
    digest = DIGESTS.get(signer.digest)
    if digest is None or (signer.digest == SHA1 and not legacy_sha1):
        return Finding(Reason.WEAK_SIGNATURE, _weak_digest(signer.digest)), ()
    wrong = _attributes_wrong(signer, data, content)
    if wrong:
        return Finding(Reason.SIGNED_ATTRIBUTES, wrong), ()
    # Never the transmitted digest alone: it says what the signer saw, not what came (SMI-24).
    if signer.signed and not compare_digest(signer.message_digests[0], digest.of(content)):
        detail = f"the {digest.name} digest of the signed octets is another than the signer's"
        return Finding(Reason.DIGEST_MISMATCH, detail), ()
    return None, _notes(signer, data)


def check_key(signer: Signer, content: bytes, certificate: Certificate) -> Finding | None:
    """Return why the signature was not made with this certificate's key, or None.

    The digest of *content* must have been checked: with signed attributes, the key
    speaks for them only.
    """
    if certificate.weakness:
        named = shown(certificate.named)
        return Finding(
            Reason.WEAK_SIGNATURE, f"the certificate of {named} is unfit: {certificate.weakness}"
        )
    for algorithm, value in signer.signer_hashes:
        known = DIGESTS.get(algorithm)
        if known is None or not compare_digest(known.of(certificate.der), value):
            return Finding(Reason.SIGNER_HASH, "a signed attribute names another certificate")
    covered = signer.signed or content
    key = certificate.public_key
    try:
        match key:
            case rsa.RSAPublicKey():
                return _check_rsa(signer, covered, key)
            case ec.EllipticCurvePublicKey():
                return _check_ecdsa(signer, covered, key)
            case ed25519.Ed25519PublicKey():
                return _check_ed25519(signer, covered, key)
            case _:
                detail = "the certificate's key is of a kind that is not accepted"
                return Finding(Reason.WEAK_SIGNATURE, detail)
    except HostileInput as wrong:
        return wrong.finding()
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        named = shown(certificate.named)
        return Finding(Reason.WRONG_SIGNATURE, f"not made with the key of {named}")


def _weak_digest(oid: bytes) -> str:
    if oid == SHA1:
        return "signed with SHA-1, which the policy does not accept"
    return f"signed with a digest algorithm that is not accepted ({shown(oid)})"


def _attributes_wrong(signer: Signer, data: SignedData, content: bytes) -> str:
    """Return what the signed attributes lack or repeat (SMI-21, SMI-23); empty if nothing."""
    if not signer.signed:
        if data.content_type != DATA:
            return "no signed attributes over a content that is not plain data"
        if is_attribute_set(content):
            return "the content reads as signed attributes, taken from another signature"
        return ""
    if len(signer.content_types) != 1:
        return f"{len(signer.content_types)} values of content-type"
    if len(signer.message_digests) != 1:
        return f"{len(signer.message_digests)} values of message-digest"
    if signer.content_types[0] != data.content_type:
        return "content-type is not the type of the content"
    return ""


def _notes(signer: Signer, data: SignedData) -> tuple[Finding, ...]:
    notes = []
    if signer.digest not in data.digests:
        notes.append(Finding(Reason.CMS_ODD, "the signer's digest is not among those announced"))
    if signer.version != (_BY_KEY_ID if signer.key_id else _BY_ISSUER):
        notes.append(Finding(Reason.CMS_ODD, "the version does not fit how the signer is named"))
    if signer.digest == SHA1:
        notes.append(Finding(Reason.WEAK_SIGNATURE, "signed with SHA-1, accepted as legacy"))
    return tuple(notes)


def _check_rsa(signer: Signer, covered: bytes, key: rsa.RSAPublicKey) -> Finding | None:
    if signer.algorithm == _PSS:
        pss = parse_pss(signer.parameters)
        if pss.digest != signer.digest or pss.mask not in DIGESTS:
            return _contradiction()
        key.verify(signer.signature, covered, _pss_padding(pss.mask, pss.salt_octets),
                   DIGESTS[signer.digest].algorithm)  # fmt: skip
        return None
    if signer.algorithm != _RSA and _RSA_WITH.get(signer.algorithm) != signer.digest:
        return _contradiction()
    key.verify(signer.signature, covered, _PKCS1, DIGESTS[signer.digest].algorithm)
    return None


def _check_ecdsa(signer: Signer, covered: bytes, key: ec.EllipticCurvePublicKey) -> Finding | None:
    if key.curve.name not in _CURVES:
        return Finding(Reason.WEAK_SIGNATURE, "a curve that is not accepted")
    if _ECDSA_WITH.get(signer.algorithm) != signer.digest:
        return _contradiction()
    key.verify(signer.signature, covered, _ECDSA[signer.digest])
    return None


def _check_ed25519(signer: Signer, covered: bytes, key: ed25519.Ed25519PublicKey) -> Finding | None:
    # RFC 8419 section 3 wants SHA-512 for the digest; others are as good and are seen.
    if signer.algorithm != _ED25519:
        return _contradiction()
    key.verify(signer.signature, covered)
    return None


@lru_cache(maxsize=64)
def _pss_padding(mask: bytes, salt_octets: int) -> padding.PSS:
    return padding.PSS(padding.MGF1(DIGESTS[mask].algorithm), salt_octets)


def _contradiction() -> Finding:
    detail = "the signature's algorithm fits neither its digest nor the certificate's key"
    return Finding(Reason.WRONG_SIGNATURE, detail)

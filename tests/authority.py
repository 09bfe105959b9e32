"""A certificate authority for tests: makes what a real private CA issues, and what none should."""

import datetime
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

NOW_S: Final = 1_790_000_000.0  # 2026-09-21T14:13:20Z, when every test plays
DAY_S: Final = 86400.0
SIP_DOMAIN: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.20")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Holder(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key in PEM, unencrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@cache
def key_named(name: str, kind: str = "p256") -> PrivateKey:
    """Return the same key for the same name: making RSA keys takes long. *kind*: rsa2048, p384 …"""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[kind])


def make_authority(
    name: str,
    issuer: Holder | None = None,
    *,
    path_length: int | None = None,
    kind: str = "p256",
    from_s: float = NOW_S - 30 * DAY_S,
    until_s: float = NOW_S + 300 * DAY_S,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Holder:
    """Return a root, or an intermediate below *issuer*."""
    return issue(
        name,
        issuer,
        kind=kind,
        from_s=from_s,
        until_s=until_s,
        purposes=purposes,
        extensions=(
            (x509.BasicConstraints(ca=True, path_length=path_length), True),
            (usage(key_cert_sign=True, crl_sign=True), True),
            *extensions,
        ),
    )


def issue(
    name: str,
    issuer: Holder | None = None,
    *,
    uris: Sequence[str] = (),
    dns: Sequence[str] = (),
    emails: Sequence[str] = (),
    kind: str = "p256",
    from_s: float = NOW_S - 30 * DAY_S,
    until_s: float = NOW_S + 300 * DAY_S,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    digest: hashes.HashAlgorithm | None = None,
) -> Holder:
    """Return a certificate with exactly these names and extensions; self-signed without issuer."""
    key = key_named(name, kind)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer = issuer or Holder(None, key)  # type: ignore[arg-type] # only its key is used
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_utc(from_s))
        .not_valid_after(_utc(until_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), False
        )
    )
    names: list[x509.GeneralName] = [
        *map(x509.UniformResourceIdentifier, uris),
        *map(x509.DNSName, dns),
        *map(x509.RFC822Name, emails),
    ]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    plain = isinstance(signer.key, ed25519.Ed25519PrivateKey)
    algorithm = None if plain else (digest or hashes.SHA256())
    return Holder(builder.sign(signer.key, algorithm), key)  # type: ignore[arg-type] # any hash


def issue_user(issuer: Holder, address: str = "alice@example.com", kind: str = "p256") -> Holder:
    """Return what RFC 6216 describes: a sip URI, signing only, purposes e-mail and SIP."""
    return issue(
        address,
        issuer,
        uris=(f"sip:{address}",),
        kind=kind,
        purposes=(ExtendedKeyUsageOID.EMAIL_PROTECTION, SIP_DOMAIN),
        extensions=((usage(digital_signature=True), True),),
    )


def forge_key(holder: Holder, issuer: Holder, spki: bytes) -> bytes:
    """Return *holder*'s certificate in DER with another public key (DER), signed by *issuer*."""
    tbs = holder.certificate.tbs_certificate_bytes
    old = holder.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = 2 + (tbs[1] & 0x7F if tbs[1] & 0x80 else 0)
    return sign_der(tlv(0x30, tbs[head:].replace(old, spki)), issuer)


def sign_der(tbs: bytes, issuer: Holder) -> bytes:
    """Return a certificate in DER around any to-be-signed part; *issuer*'s key is P-256."""
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signature = issuer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    return tlv(0x30, tbs + algorithm + tlv(0x03, b"\0" + signature))


def rsa_spki(modulus: int, exponent: int) -> bytes:
    """Return an RSA public key in DER that no library would make."""
    numbers = tlv(0x30, _integer(modulus) + _integer(exponent))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return tlv(0x30, algorithm + tlv(0x03, b"\0" + numbers))


def tlv(tag: int, contents: bytes) -> bytes:
    """Return one value in DER."""
    length = len(contents)
    if length < 0x80:
        return bytes((tag, length)) + contents
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + contents


def _integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def revoke(
    issuer: Holder,
    *holders: Holder,
    until_s: float = NOW_S + DAY_S,
    key: PrivateKey | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """Return a revocation list in PEM; *key* signs instead of the issuer's."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(_utc(NOW_S - DAY_S))
        .next_update(_utc(until_s))
    )
    for holder in holders:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(holder.certificate.serial_number)
            .revocation_date(_utc(NOW_S - DAY_S))
            .build()
        )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    key = key or issuer.key
    plain = isinstance(key, ed25519.Ed25519PrivateKey)
    signed = builder.sign(key, None if plain else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def usage(
    *,
    digital_signature: bool = False,
    content_commitment: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """Return a key usage with exactly these bits."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=content_commitment,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )

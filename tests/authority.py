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
    name: str, issuer: Holder | None = None, *, path_length: int | None = None, kind: str = "p256"
) -> Holder:
    """Return a root, or an intermediate below *issuer*."""
    return issue(
        name,
        issuer,
        kind=kind,
        extensions=(
            (x509.BasicConstraints(ca=True, path_length=path_length), True),
            (_usage(key_cert_sign=True, crl_sign=True), True),
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
        extensions=((_usage(digital_signature=True), True),),
    )


def revoke(issuer: Holder, *holders: Holder, until_s: float = NOW_S + DAY_S) -> bytes:
    """Return a revocation list in PEM."""
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
    signed = builder.sign(issuer.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )

"""A small certificate authority for trials: RFC 6216 users, RFC 5922 domains, RFC 8226 numbers.

Its keys lie unencrypted in one directory, readable by their owner alone. That
is right for a bench, and wrong for anything that others rely on.
"""

import datetime
import os
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sipguard.errors import EdgeError, HostileInput
from sipguard.wire.packet import parse_address
from sipguard.wire.uri import parse_host, parse_uri

CA_NAME: Final = "sipguard trial authority"
CA_DAYS: Final = 3650
RSA_BITS: Final = 2048
MAX_DAYS: Final = 3650
_SKEW: Final = datetime.timedelta(hours=1)  # clocks of a bench differ

SIP_DOMAIN: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.20")  # RFC 5924
TN_AUTH_LIST: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26")  # RFC 8226
_TLS_PURPOSES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_NUMBER: Final = re.compile(r"\+?[0-9*#][0-9*#().\- ]{1,30}")
_SPC: Final = re.compile(r"[0-9A-Za-z]{1,16}")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Holder(NamedTuple):
    """Who a certificate is for; exactly one of the three is not empty."""

    address: str = ""  # user@host
    domain: str = ""
    number: str = ""  # digits, # and * alone

    @property
    def name(self) -> str:
        """What it is called in the certificate's subject and in file names."""
        return self.address or self.domain or self.number


class Issued(NamedTuple):
    """What was written."""

    certificate: Path
    key: Path
    names: tuple[str, ...]  # what the certificate speaks for, for people


def read_holder(text: str) -> Holder:
    """Tell an address, a telephone number and a domain apart.

    Raises:
        EdgeError: it is none of them.
    """
    bare = re.sub(r"^(sips?|tel):", "", text.strip(), flags=re.IGNORECASE)
    try:
        if "@" in bare:
            uri = parse_uri(b"sip:" + bare.encode("ascii"))
            if uri.params or uri.headers or uri.port or uri.password:
                raise EdgeError(f"{text!r} is more than an address: write user@host")
            return Holder(address=f"{uri.user.decode()}@{uri.host.decode()}")
        if parse_address(bare.strip("[]").encode("ascii")) is not None:
            raise EdgeError(f"{text!r}: certificates name domains, not IP addresses (RFC 5922)")
        if _NUMBER.fullmatch(bare):
            return Holder(number=re.sub(r"[^0-9*#]", "", bare))
        return Holder(domain=parse_host(bare.encode("ascii")).decode())
    except (HostileInput, UnicodeEncodeError):
        raise EdgeError(
            f"{text!r} is no address (alice@example.com), number (+49301234560) or domain"
        ) from None


def make_authority(folder: Path, name: str = CA_NAME) -> Issued:
    """Make a root certificate and its key in *folder*, which gets made; both must be new."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeError(f"cannot make {folder}: {error.strerror}") from None
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _begin(subject, subject, key, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return _write(folder / "ca", certificate, key, (name,))


def issue(
    folder: Path,
    holder: Holder,
    *,
    kind: str,
    days: int,
    for_stir: bool,
    codes: tuple[str, ...],
    for_tls: bool = False,
    addresses: tuple[str, ...] = (),
) -> Issued:
    """Issue a certificate by the authority in *folder*.

    Args:
        folder: Holds ``ca.pem`` and ``ca.key``; gets the new files.
        holder: Whom the certificate speaks for.
        kind: ``ec`` (P-256) or ``rsa`` (2048 bits).
        days: How long it is valid, from an hour ago on.
        for_stir: Whether it is to sign PASSporTs, which wants P-256 (RFC 8226 section 5).
        codes: Service provider codes for its TNAuthList.
        for_tls: Whether a domain's server, or its client, is to show it (RFC 5922).
        addresses: IP addresses that it is for, too: clients that call one ask for it.
    """
    authority, authority_key = _read_authority(folder)
    if for_tls and not holder.domain:
        raise EdgeError("TLS certificates are for domains (RFC 5922): name one")
    if addresses and not for_tls:
        raise EdgeError("--ip is for certificates of servers: add --tls")
    if for_stir and kind == "rsa":
        raise EdgeError("PASSporTs are signed with P-256 (RFC 8225): leave --key rsa away")
    if for_stir and holder.address:
        raise EdgeError("a PASSporT is signed by a domain or for a number, not by one address")
    if codes and not for_stir:
        raise EdgeError("--spc is for certificates that sign PASSporTs: add --stir")
    key = _make_key(kind)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, holder.name)])
    builder = _begin(subject, authority.subject, key, days, authority_key)
    builder = builder.add_extension(_usage(), critical=True)
    names: list[str] = []
    if holder.address or holder.domain:
        alternatives, purposes = _names_of(holder)
        alternatives += [x509.IPAddress(ip) for ip in _ip_addresses(addresses)]
        purposes += [*_TLS_PURPOSES] if for_tls else []
        names += [str(name.value) for name in alternatives]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if holder.number or codes:
        extension = x509.UnrecognizedExtension(TN_AUTH_LIST, tn_auth_list(holder.number, codes))
        builder = builder.add_extension(extension, critical=False)
        names += [f"provider {code}" for code in codes]
        names += [f"number {holder.number}"] if holder.number else []
    certificate = builder.sign(authority_key, hashes.SHA256())
    return _write(folder / quote(holder.name, safe="@+"), certificate, key, tuple(names))


def tn_auth_list(number: str, codes: tuple[str, ...]) -> bytes:
    """Return the DER of a TNAuthList (RFC 8226 section 9): provider codes, and one number.

    Raises:
        EdgeError: a code that cannot be one.
    """
    for code in codes:
        if not _SPC.fullmatch(code):
            raise EdgeError(f"{code!r} is no service provider code: up to 16 letters and digits")
    entries = b"".join(_tlv(0xA0, _tlv(0x16, code.encode())) for code in codes)
    if number:
        if len(number) > 15:
            raise EdgeError("a telephone number has at most 15 digits (RFC 8226 section 9)")
        entries += _tlv(0xA2, _tlv(0x16, number.encode()))
    return _tlv(0x30, entries)


def file_of_url(url: str) -> str:
    """Return the file name under which an offline verifier looks for this URL's certificate."""
    return quote(url, safe="")


def read_key(path: Path) -> PrivateKey:
    """Return the private key in a PEM file.

    Raises:
        EdgeError: the file cannot be read, or holds no usable key.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise EdgeError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise EdgeError(f"{path} holds no private key in PEM without a password") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise EdgeError(f"{path}: the key is neither RSA nor of an elliptic curve")
    return key


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates in a PEM file, at least one.

    Raises:
        EdgeError: the file cannot be read, or holds none.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise EdgeError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise EdgeError(f"{path} holds no certificate in PEM") from None


def _read_authority(folder: Path) -> tuple[x509.Certificate, PrivateKey]:
    if not (folder / "ca.pem").exists():
        raise EdgeError(f"there is no authority in {folder}: sipguard identity make-ca {folder}")
    return read_certificates(folder / "ca.pem")[0], read_key(folder / "ca.key")


def _make_key(kind: str) -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(65537, RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    days: int,
    issuer_key: PrivateKey | None = None,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    public, authority = key.public_key(), (issuer_key or key).public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False
        )
    )


def _names_of(holder: Holder) -> tuple[list[x509.GeneralName], list[x509.ObjectIdentifier]]:
    """Return subject alternative names and purposes: as RFC 6216 for users, 5922 for domains."""
    if holder.address:
        uri = x509.UniformResourceIdentifier(f"sip:{holder.address}")
        return [uri], [ExtendedKeyUsageOID.EMAIL_PROTECTION, SIP_DOMAIN]
    names = [x509.UniformResourceIdentifier(f"sip:{holder.domain}"), x509.DNSName(holder.domain)]
    return names, [SIP_DOMAIN]


def _ip_addresses(texts: tuple[str, ...]) -> list[IPv4Address | IPv6Address]:
    try:
        return [ip_address(text.strip("[]")) for text in texts]
    except ValueError as error:
        raise EdgeError(f"--ip: {error}") from None


def _usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write(
    stem: Path, certificate: x509.Certificate, key: PrivateKey, names: tuple[str, ...]
) -> Issued:
    issued = Issued(Path(f"{stem}.pem"), Path(f"{stem}.key"), names)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_new(issued.key, secret, mode=0o600)
    write_new(issued.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return issued


def write_new(path: Path, octets: bytes, *, mode: int) -> None:
    """Write a file that must not exist yet: a key that is overwritten is lost.

    Raises:
        EdgeError: it exists, or cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(octets)
    except FileExistsError:
        raise EdgeError(f"{path} is there already; remove it first, or take another DIR") from None
    except OSError as error:
        raise EdgeError(f"cannot write {path}: {error.strerror}") from None


def _tlv(tag: int, contents: bytes) -> bytes:
    length = len(contents)
    if length < 0x80:
        return bytes((tag, length)) + contents
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + contents

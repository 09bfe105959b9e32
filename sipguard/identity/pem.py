"""Certificates and revocation lists out of files, in PEM or DER (RFC 7468)."""

import base64
import warnings
from collections.abc import Iterator
from typing import Final

from cryptography import x509

from sipguard.errors import HostileInput
from sipguard.identity.certificate import UNREADABLE, read_certificate
from sipguard.identity.revocation import RevocationList

_CERTIFICATE: Final = (b"CERTIFICATE", b"X509 CERTIFICATE")
_CRL: Final = (b"X509 CRL",)
_SEQUENCE: Final = b"\x30"


def read_pem(octets: bytes) -> tuple[bytes, ...]:
    """Return every certificate in a PEM file, or the one that is the whole file, as DER.

    What stands between the blocks and blocks of other kinds, such as keys, are passed over.

    Raises:
        ValueError: in words, where there is none, or one that cannot be read.
    """
    found = tuple(_blocks(octets, _CERTIFICATE)) or (octets,) * octets.startswith(_SEQUENCE)
    if not found:
        raise ValueError("no certificate in it, neither PEM nor DER")
    for number, der in enumerate(found, 1):
        try:
            read_certificate(der)
        except HostileInput as error:
            raise ValueError(f"certificate {number} of {len(found)}: {error.detail}") from None
    return found


def read_crls(octets: bytes) -> tuple[RevocationList, ...]:
    """Return every revocation list in a PEM file, or the one that is the whole file.

    Raises:
        ValueError: in words, where there is none, or one that cannot be read.
    """
    found = tuple(_blocks(octets, _CRL)) or (octets,) * octets.startswith(_SEQUENCE)
    if not found:
        raise ValueError("no revocation list in it, neither PEM nor DER")
    return tuple(_read_crl(der, f"{number} of {len(found)}") for number, der in enumerate(found, 1))


def _read_crl(der: bytes, place: str) -> RevocationList:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return RevocationList(x509.load_der_x509_crl(der))
    except UNREADABLE:
        raise ValueError(f"revocation list {place} cannot be read") from None


def _blocks(octets: bytes, labels: tuple[bytes, ...]) -> Iterator[bytes]:
    """Yield what stands between ``BEGIN`` and ``END`` of these kinds, decoded; linear time."""
    for piece in octets.split(b"-----BEGIN ")[1:]:
        label, _, rest = piece.partition(b"-----")
        if label not in labels:
            continue
        text, end, _ = rest.partition(b"-----END " + label + b"-----")
        if not end:
            raise ValueError("a PEM block without its end")
        try:
            yield base64.b64decode(b"".join(text.split()), validate=True)
        except ValueError:
            raise ValueError("a PEM block that is not base64") from None

"""The ASN.1 of CMS SignedData (RFC 5652, RFC 5035) for cryptography's decoder, written in Rust.

Never compiled by mypyc: the decoder reads the annotations when the module is loaded,
and compiled classes no longer have them. The decoder takes strict DER only. SET OF
without order is written as a list where a tag hides which of both it is.
``cryptography`` calls this interface unstable; tests hold what we need of it.
"""

from typing import Annotated

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.asn1 import TLV, Explicit, Implicit, SetOf


@asn1.sequence
class ContentInfo:
    """What every CMS structure starts with (RFC 5652 section 3)."""

    content_type: x509.ObjectIdentifier
    content: Annotated[TLV, Explicit(0)]


@asn1.sequence
class Algorithm:
    """An AlgorithmIdentifier with parameters."""

    oid: x509.ObjectIdentifier
    parameters: TLV


@asn1.sequence
class AlgorithmAlone:
    """An AlgorithmIdentifier without."""

    oid: x509.ObjectIdentifier


@asn1.sequence
class Encapsulated:
    """EncapsulatedContentInfo (section 5.2)."""

    content_type: x509.ObjectIdentifier
    content: Annotated[bytes | None, Explicit(0)]


@asn1.sequence
class IssuerAndSerial:
    """A certificate by its issuer's name (section 10.2.4)."""

    issuer: TLV
    serial: int


@asn1.sequence
class Attribute:
    """One attribute with its values (section 5.3)."""

    oid: x509.ObjectIdentifier
    values: SetOf[TLV]


@asn1.sequence
class SignerInfo:
    """One signature (section 5.3); its attributes are counted before they are read."""

    version: int
    sid: IssuerAndSerial | Annotated[bytes, Implicit(0)]
    digest: TLV
    signed: Annotated[SetOf[TLV] | None, Implicit(0)]
    algorithm: TLV
    signature: bytes
    unsigned: Annotated[list[TLV] | None, Implicit(1)]


@asn1.sequence
class SignedContent:
    """SignedData (section 5.1)."""

    version: int
    digests: SetOf[TLV]
    encapsulated: Encapsulated
    certificates: Annotated[list[TLV] | None, Implicit(0)]
    crls: Annotated[list[TLV] | None, Implicit(1)]
    signers: SetOf[TLV]


@asn1.sequence
class EssCertId:
    """A certificate by its SHA-1 hash (RFC 5035 section 5)."""

    hash: bytes
    issuer: list[TLV] | None


@asn1.sequence
class EssCertIdV2:
    """A certificate by its hash; without algorithm it is SHA-256 (RFC 5035 section 4)."""

    algorithm: list[TLV] | None
    hash: bytes
    issuer: list[TLV] | None


@asn1.sequence
class SigningCertificate:
    """The attribute signingCertificate: the first names the signer."""

    certificates: list[EssCertId]
    policies: list[TLV] | None


@asn1.sequence
class SigningCertificateV2:
    """The attribute signingCertificateV2: the first names the signer."""

    certificates: list[EssCertIdV2]
    policies: list[TLV] | None


@asn1.sequence
class PssParameters:
    """RSASSA-PSS-params (RFC 4055 section 3.1); what is absent has SHA-1's values."""

    digest: Annotated[list[TLV] | None, Explicit(0)]
    mask: Annotated[list[TLV] | None, Explicit(1)]
    salt: Annotated[int | None, Explicit(2)]
    trailer: Annotated[int | None, Explicit(3)]

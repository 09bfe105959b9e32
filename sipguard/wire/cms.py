"""CMS SignedData as SIP carries it (RFC 5652, RFC 8551; SMI-20 to SMI-28): octets to values.

DER takes one pass in Rust, about 15 us; what that refuses is read as BER and written
anew as DER (``ber``), for open lengths are what ``openssl cms -stream`` sends. Nothing
is judged here but the form: two message digests are found, and the verifier objects.
"""

from functools import lru_cache
from typing import Final, NamedTuple, final

from cryptography import x509
from cryptography.hazmat import asn1

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire import ber
from sipguard.wire.cms_syntax import (
    Algorithm,
    AlgorithmAlone,
    Attribute,
    ContentInfo,
    IssuerAndSerial,
    PssParameters,
    SignedContent,
    SignerInfo,
    SigningCertificate,
    SigningCertificateV2,
)

MAX_OCTETS: Final = 65536  # a whole datagram
MAX_SIGNERS: Final = 4  # SIP expects one (RFC 3261 section 23.3)
MAX_CERTIFICATES: Final = 16
MAX_DIGESTS: Final = 8
MAX_ATTRIBUTES: Final = 32
MAX_SERIAL_BITS: Final = 512  # RFC 5280 section 4.1.2.2 has 160
MAX_SALT_OCTETS: Final = 1024  # OpenSSL salts with all the room of the key: 222 for RSA-2048
MAX_KNOWN_OCTETS: Final = 128  # attributes that are kept, read
_MAX_ALGORITHM_OCTETS: Final = 256
_MAX_VERSION: Final = 5

DATA: Final = b"1.2.840.113549.1.7.1"
SIGNED_DATA: Final = b"1.2.840.113549.1.7.2"
# enveloped-data, encrypted-data, authEnveloped-data: nobody reads these without a key
ENCRYPTED: Final = frozenset(
    (b"1.2.840.113549.1.7.3", b"1.2.840.113549.1.7.6", b"1.2.840.113549.1.9.16.1.23")
)
SHA1: Final = b"1.3.14.3.2.26"
SHA256: Final = b"2.16.840.1.101.3.4.2.1"
_CONTENT_TYPE: Final = b"1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = b"1.2.840.113549.1.9.4"
_SIGNING_TIME: Final = b"1.2.840.113549.1.9.5"
_SIGNING_CERTIFICATE: Final = b"1.2.840.113549.1.9.16.2.12"
_SIGNING_CERTIFICATE_V2: Final = b"1.2.840.113549.1.9.16.2.47"
_ATTRIBUTES: Final = frozenset(
    (_CONTENT_TYPE, _MESSAGE_DIGEST, _SIGNING_TIME, _SIGNING_CERTIFICATE, _SIGNING_CERTIFICATE_V2)
)
_MGF1: Final = b"1.2.840.113549.1.1.8"
_MASK_PARTS: Final = 2
_SEQUENCE: Final = 0x30
_SET: Final = b"\x31"


class Signer(NamedTuple):
    """One signature: by whom, over what, how.

    ``issuer`` is a DER Name, ``b""`` where ``key_id`` names the certificate instead.
    ``digest`` and ``algorithm`` are dotted; ``parameters`` are DER, ``b""`` if absent.
    ``signed`` are the signed attributes as the signature covers them, a SET OF in DER,
    ``b""`` without. ``content_types`` and ``message_digests`` hold every value found in
    them. ``signer_hashes`` are pairs of digest and hash of the signer's certificate.
    """

    issuer: bytes
    serial: int
    key_id: bytes
    version: int
    digest: bytes
    algorithm: bytes
    parameters: bytes
    signed: bytes
    content_types: tuple[bytes, ...]
    message_digests: tuple[bytes, ...]
    signing_time_s: float | None
    signer_hashes: tuple[tuple[bytes, bytes], ...]
    signature: bytes


class SignedData(NamedTuple):
    """Signatures over one content, which is None where it travels elsewhere (detached).

    ``digests`` and ``content_type`` are dotted; ``certificates`` are DER, unread.
    """

    digests: tuple[bytes, ...]
    content_type: bytes
    content: bytes | None
    certificates: tuple[bytes, ...]
    signers: tuple[Signer, ...]


class EnvelopedData(NamedTuple):
    """Something encrypted; of which kind, dotted."""

    content_type: bytes


class Pss(NamedTuple):
    """Parameters of an RSASSA-PSS signature: two digests, dotted, and the salt's octets."""

    digest: bytes
    mask: bytes
    salt_octets: int


def parse_cms(octets: bytes) -> SignedData | EnvelopedData:
    """Return what these octets are, from the first to the last.

    Raises:
        HostileInput: ``BAD_CMS``, or ``SIGNED_ATTRIBUTES`` where two attributes tell
            the signing time.
    """
    if len(octets) > MAX_OCTETS:
        raise HostileInput(Reason.BAD_CMS, f"more than {MAX_OCTETS} octets")
    found = _read(octets)
    if found is not None:
        return found
    found = _read(ber.to_der(octets))
    if found is None:
        raise HostileInput(Reason.BAD_CMS, "not the structure of RFC 5652", octets[:128])
    if isinstance(found, SignedData):
        for signer in found.signers:
            # Rewritten attributes were not the DER that they must be (section 5.3).
            if signer.signed[1:] not in octets:
                raise HostileInput(Reason.BAD_CMS, "signed attributes that are not DER")
    return found


@lru_cache(maxsize=64)
def parse_pss(parameters: bytes) -> Pss:
    """Return the parameters of an RSASSA-PSS signature (RFC 4055 section 3.1).

    Raises:
        HostileInput: ``BAD_CMS``.
    """
    try:
        found = asn1.decode_der(PssParameters, parameters)
        digest = SHA1 if found.digest is None else _first_oid(found.digest)
        mask = SHA1
        if found.mask is not None:
            if len(found.mask) != _MASK_PARTS or _first_oid(found.mask) != _MGF1:
                raise HostileInput(Reason.BAD_CMS, "a mask generator other than MGF1")
            mask, _ = _algorithm(_whole(found.mask[1]))
    except ValueError:
        raise HostileInput(Reason.BAD_CMS, "PSS parameters that cannot be read") from None
    salt = 20 if found.salt is None else found.salt
    if not 0 <= salt <= MAX_SALT_OCTETS or found.trailer not in (None, 1):
        raise HostileInput(Reason.BAD_CMS, "PSS parameters that nobody uses")
    return Pss(digest, mask, salt)


def is_attribute_set(octets: bytes) -> bool:
    """Tell whether a content could be taken for signed attributes.

    A signature without attributes over such a content may be a stolen one with them:
    nothing in the signed octets tells the two apart.
    """
    if not octets.startswith(b"\x31") or len(octets) > MAX_OCTETS:
        return False
    try:
        # A SET as the one field of a sequence: the decoder starts from sequences only.
        asn1.decode_der(Attribute, ber.header(_SEQUENCE, len(octets) + 3) + b"\x06\x01*" + octets)
    except ValueError:
        return False
    return True


def _read(der: bytes) -> SignedData | EnvelopedData | None:
    """Return what this is; None if it is not DER of the right form."""
    try:
        outer = asn1.decode_der(ContentInfo, der)
        kind = _dotted(outer.content_type)
        if kind == SIGNED_DATA:
            return _signed_data(outer.content.parse(SignedContent), der)
    except ValueError:
        return None
    if kind in ENCRYPTED:
        return EnvelopedData(kind)
    raise HostileInput(Reason.BAD_CMS, "neither signed nor encrypted data")


def _signed_data(content: SignedContent, der: bytes) -> SignedData:
    """Put the values together; octets are cut from *der*, which the decoder has found sound."""
    signers = content.signers.as_list()
    if len(content.digests.as_list()) > MAX_DIGESTS:
        raise HostileInput(Reason.BAD_CMS, f"more than {MAX_DIGESTS} digest algorithms")
    if len(signers) > MAX_SIGNERS:
        raise HostileInput(Reason.BAD_CMS, f"more than {MAX_SIGNERS} signers")
    if len(content.certificates or ()) > MAX_CERTIFICATES:
        raise HostileInput(Reason.BAD_CMS, f"more than {MAX_CERTIFICATES} certificates")
    _check_version(content.version)
    kind = ber.start_of(der, 0)
    fields = ber.elements_in(der, ber.start_of(der, ber.end_of(der, kind)))
    certificates = [] if content.certificates is None else ber.elements_in(fields[3])
    octets = ber.elements_in(fields[-1])
    return SignedData(
        tuple([_algorithm(digest)[0] for digest in ber.elements_in(fields[1])]),
        _dotted(content.encapsulated.content_type),
        content.encapsulated.content,
        # Other kinds of certificate (section 10.2.2) have context tags and no use here.
        tuple([one for one in certificates if one[0] == _SEQUENCE]),
        tuple([_signer(signer, octets[at]) for at, signer in enumerate(signers)]),
    )


def _check_version(version: int) -> None:
    if not 1 <= version <= _MAX_VERSION:
        raise HostileInput(Reason.BAD_CMS, "a version that RFC 5652 does not have")


def _signer(element: asn1.TLV, octets: bytes) -> Signer:
    info = element.parse(SignerInfo)
    _check_version(info.version)
    fields = ber.elements_in(octets)  # version, sid, digest, signed if any, algorithm, signature
    issuer, serial, key_id = b"", 0, b""
    if isinstance(info.sid, IssuerAndSerial):
        issuer, serial = ber.elements_in(fields[1])[0], info.sid.serial
        if serial.bit_length() > MAX_SERIAL_BITS:
            raise HostileInput(Reason.BAD_CMS, "a serial number that no certificate has")
    else:
        key_id = info.sid
    found = _Attributes()
    signed = b""
    if info.signed is not None:
        if not 0 < len(info.signed.as_list()) <= MAX_ATTRIBUTES:
            raise HostileInput(Reason.BAD_CMS, f"{len(info.signed.as_list())} signed attributes")
        found.add_all(ber.elements_in(fields[3]))
        signed = _SET + fields[3][1:]  # with the tag that they are hashed with
    digest, _ = _algorithm(fields[2])
    algorithm, parameters = _algorithm(fields[4] if signed else fields[3])
    return Signer(
        issuer,
        serial,
        key_id,
        info.version,
        digest,
        algorithm,
        parameters,
        signed,
        tuple(found.content_types),
        tuple(found.message_digests),
        found.signing_time_s,
        tuple(found.signer_hashes),
        info.signature,
    )


@final
class _Attributes:
    """The signed attributes that matter, every value of them as found."""

    def __init__(self) -> None:
        self.content_types: list[bytes] = []
        self.message_digests: list[bytes] = []
        self.signing_time_s: float | None = None
        self.signer_hashes: list[tuple[bytes, bytes]] = []

    def add_all(self, attributes: list[bytes]) -> None:
        """Take what these attributes say; of a kind not known here, nothing."""
        for octets in attributes:
            known = len(octets) <= MAX_KNOWN_OCTETS
            attribute = _known_attribute(octets) if known else _read_attribute(octets)
            self.content_types += attribute.content_types
            self.message_digests += attribute.message_digests
            self.signer_hashes += attribute.signer_hashes
            for instant_s in attribute.times_s:
                if self.signing_time_s is not None:
                    raise HostileInput(Reason.SIGNED_ATTRIBUTES, "signing-time stands twice")
                self.signing_time_s = instant_s


@final
class _Said:
    """What one signed attribute says, value by value."""

    def __init__(self) -> None:
        self.content_types: list[bytes] = []
        self.message_digests: list[bytes] = []
        self.times_s: list[float] = []
        self.signer_hashes: list[tuple[bytes, bytes]] = []

    def add(self, kind: bytes, value: asn1.TLV) -> None:
        """Take one value."""
        if kind == _CONTENT_TYPE:
            self.content_types.append(_dotted(value.parse(x509.ObjectIdentifier)))
        elif kind == _MESSAGE_DIGEST:
            self.message_digests.append(value.parse(bytes))
        elif kind == _SIGNING_TIME:
            self.times_s.append(_instant_s(value))
        elif kind == _SIGNING_CERTIFICATE:
            hashes = value.parse(SigningCertificate).certificates
            self.signer_hashes += [(SHA1, one.hash) for one in hashes[:1]]
        elif kind == _SIGNING_CERTIFICATE_V2:
            for one in value.parse(SigningCertificateV2).certificates[:1]:
                algorithm = SHA256 if one.algorithm is None else _first_oid(one.algorithm)
                self.signer_hashes.append((algorithm, one.hash))


def _read_attribute(octets: bytes) -> _Said:
    attribute = asn1.decode_der(Attribute, octets)
    kind = _dotted(attribute.oid)
    said = _Said()
    if kind in _ATTRIBUTES:
        for value in attribute.values.as_list():
            said.add(kind, value)
    return said


# Of four attributes of a signature three are those of the one before: all but the digest.
_known_attribute: Final = lru_cache(maxsize=256)(_read_attribute)


def _instant_s(value: asn1.TLV) -> float:
    if value.tag_bytes == b"\x17":
        instant = value.parse(asn1.UTCTime).as_datetime()
    else:
        instant = value.parse(asn1.GeneralizedTime).as_datetime()
    if instant.microsecond:
        raise ValueError("fractions are forbidden (RFC 5652 section 11.3)")
    instant_s: float = instant.timestamp()
    return instant_s


def _algorithm(der: bytes) -> tuple[bytes, bytes]:
    """Return an algorithm's identifier, dotted, and its parameters in DER."""
    if len(der) > _MAX_ALGORITHM_OCTETS:
        raise HostileInput(Reason.BAD_CMS, "an algorithm with long parameters")
    return _parse_algorithm(der)


@lru_cache(maxsize=256)  # everybody uses the same few
def _parse_algorithm(der: bytes) -> tuple[bytes, bytes]:
    try:
        found = asn1.decode_der(Algorithm, der)
    except ValueError:
        return _dotted(asn1.decode_der(AlgorithmAlone, der).oid), b""
    return _dotted(found.oid), ber.elements_in(der)[1]


def _whole(element: asn1.TLV) -> bytes:
    """Return an element with its header; the decoder took DER only, so it is the same again."""
    content = bytes(element.data)
    return element.tag_bytes + ber.header(0, len(content))[1:] + content


def _first_oid(sequence: list[asn1.TLV]) -> bytes:
    if not sequence:
        raise HostileInput(Reason.BAD_CMS, "an algorithm without a name")
    return _dotted(sequence[0].parse(x509.ObjectIdentifier))


def _dotted(oid: x509.ObjectIdentifier) -> bytes:
    return oid.dotted_string.encode()

"""Signatures for tests, written octet by octet: as OpenSSL makes them, and as nobody should."""

import datetime
import hashlib
from collections.abc import Sequence
from typing import Final

from authority import NOW_S, Holder
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

DATA: Final = "1.2.840.113549.1.7.1"
SIGNED: Final = "1.2.840.113549.1.7.2"
ENVELOPED: Final = "1.2.840.113549.1.7.3"
CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
SIGNING_TIME: Final = "1.2.840.113549.1.9.5"
SIGNING_CERTIFICATE: Final = "1.2.840.113549.1.9.16.2.12"
SIGNING_CERTIFICATE_V2: Final = "1.2.840.113549.1.9.16.2.47"
DIGESTS: Final = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "md5": hashes.MD5(),
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_ECDSA: Final = {"sha1": "1", "sha256": "3.2", "sha384": "3.3", "sha512": "3.4"}
NULL: Final = b"\x05\x00"
PART: Final = (
    b"Content-Type: message/sipfrag\r\nContent-Disposition: aib; handling=optional\r\n\r\n"
    b"From: <sip:alice@example.com>\r\nCall-ID: a84b4c76e66710\r\n"
)


def element(tag: int, *parts: bytes) -> bytes:
    """One element in DER."""
    inner = b"".join(parts)
    size = len(inner)
    if size < 0x80:
        return bytes((tag, size)) + inner
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + inner


def sequence(*parts: bytes) -> bytes:
    return element(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    return element(0x31, *sorted(parts))


def octet_string(octets: bytes) -> bytes:
    return element(0x04, octets)


def integer(number: int) -> bytes:
    return asn1.encode_der(number)


def oid(dotted: str) -> bytes:
    return asn1.encode_der(x509.ObjectIdentifier(dotted))


def algorithm(dotted: str, parameters: bytes = b"") -> bytes:
    return sequence(oid(dotted), parameters)


def attribute(dotted: str, *values: bytes) -> bytes:
    return sequence(oid(dotted), set_of(*values))


def utc_time(seconds: float) -> bytes:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return element(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())


def attributes(
    content: bytes, digest: str = "sha256", *, at_s: float | None = NOW_S
) -> tuple[bytes, ...]:
    """What every signer states: content type, digest and mostly the time."""
    stated = (
        attribute(CONTENT_TYPE, oid(DATA)),
        attribute(MESSAGE_DIGEST, octet_string(hashlib.new(digest, content).digest())),
    )
    return stated if at_s is None else (*stated, attribute(SIGNING_TIME, utc_time(at_s)))


def signature(holder: Holder, covered: bytes, digest: str, *, pss: bool = False) -> bytes:
    key, algorithm_ = holder.key, _HASHES[digest]
    if isinstance(key, rsa.RSAPrivateKey):
        if pss:
            return key.sign(covered, padding.PSS(padding.MGF1(algorithm_), 32), algorithm_)
        return key.sign(covered, padding.PKCS1v15(), algorithm_)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(covered, ec.ECDSA(algorithm_))
    return key.sign(covered)


def pss_parameters(digest: str, mask: str = "", salt: int = 32) -> bytes:
    mask_algorithm = algorithm("1.2.840.113549.1.1.8", algorithm(DIGESTS[mask or digest], NULL))
    return sequence(
        element(0xA0, algorithm(DIGESTS[digest], NULL)),
        element(0xA1, mask_algorithm),
        element(0xA2, integer(salt)),
    )


def algorithm_of(holder: Holder, digest: str, *, pss: bool = False) -> bytes:
    if isinstance(holder.key, rsa.RSAPrivateKey):
        if pss:
            return algorithm("1.2.840.113549.1.1.10", pss_parameters(digest))
        return algorithm("1.2.840.113549.1.1.1", NULL)
    if isinstance(holder.key, ed25519.Ed25519PrivateKey):
        return algorithm("1.3.101.112")
    return algorithm("1.2.840.10045.4." + _ECDSA[digest])


def signer_info(
    content: bytes,
    holder: Holder,
    *,
    digest: str = "sha256",
    signed: Sequence[bytes] | None = None,
    plain: bool = False,
    key_id: bool = False,
    version: int | None = None,
    serial: int | None = None,
    pss: bool = False,
    method: bytes | None = None,
    unsigned: bytes = b"",
) -> bytes:
    """One signer. *signed* replaces the attributes, *plain* leaves them out."""
    if signed is None:
        signed = () if plain else attributes(content, digest)
    covered = set_of(*signed) if signed else content
    certificate = holder.certificate
    sid = sequence(certificate.issuer.public_bytes(), integer(serial or certificate.serial_number))
    if key_id:
        own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        sid = element(0x80, own.value.digest)
    return sequence(
        integer(version or (3 if key_id else 1)),
        sid,
        algorithm(DIGESTS[digest]),
        b"\xa0" + covered[1:] if signed else b"",
        method or algorithm_of(holder, digest, pss=pss),
        octet_string(signature(holder, covered, digest, pss=pss)),
        unsigned,
    )


def signed_data(
    *infos: bytes,
    certificates: Sequence[bytes] = (),
    content: bytes | None = None,
    digests: Sequence[str] = ("sha256",),
    content_type: str = DATA,
    version: int = 1,
) -> bytes:
    """The whole structure around these signers."""
    return content_info(
        sequence(
            integer(version),
            set_of(*(algorithm(DIGESTS[digest]) for digest in digests)),
            sequence(
                oid(content_type),
                b"" if content is None else element(0xA0, octet_string(content)),
            ),
            element(0xA0, *certificates) if certificates else b"",
            set_of(*infos),
        )
    )


def content_info(inner: bytes, kind: str = SIGNED) -> bytes:
    return sequence(oid(kind), element(0xA0, inner))


def sign(content: bytes, holder: Holder, *, opaque: bool = False, digest: str = "sha256") -> bytes:
    """What an honest phone sends: one signer, attributes, its certificate."""
    return signed_data(
        signer_info(content, holder, digest=digest),
        certificates=(holder.der,),
        content=content if opaque else None,
        digests=(digest,),
    )


def open_ended(der: bytes, *, pieces: int = 16) -> bytes:
    """The same with open lengths down to the signers and the octet string in pieces."""
    return _opened(der, 0, pieces)


def _opened(der: bytes, depth: int, pieces: int) -> bytes:
    tag, inner = der[0], _inner(der)
    if depth == 3 and tag == 0x31:
        return bytes((tag, 0x80)) + inner + b"\0\0"
    if tag == 0x04 and depth == 5:
        cut = [octet_string(inner[at : at + pieces]) for at in range(0, len(inner), pieces)]
        return b"\x24\x80" + b"".join(cut) + b"\0\0"
    if not tag & 0x20 or depth > 4 or (depth == 4 and tag == 0x30):
        return der
    parts = [_opened(part, depth + 1, pieces) for part in _split(inner)]
    return bytes((tag, 0x80)) + b"".join(parts) + b"\0\0"


def _split(inner: bytes) -> list[bytes]:
    parts = []
    while inner:
        length, header = _length(inner)
        parts.append(inner[: header + length])
        inner = inner[header + length :]
    return parts


def _inner(der: bytes) -> bytes:
    length, header = _length(der)
    return der[header : header + length]


def _length(der: bytes) -> tuple[int, int]:
    if der[1] < 0x80:
        return der[1], 2
    size = der[1] & 0x7F
    return int.from_bytes(der[2 : 2 + size], "big"), 2 + size


def multipart_signed(
    part: bytes,
    cms: bytes,
    *,
    micalg: str = "sha-256",
    protocol: str = "application/pkcs7-signature",
    headers: bytes = b"Content-Type: application/pkcs7-signature\r\n"
    b"Content-Disposition: attachment; handling=required\r\n",
    boundary: str = "sgn",
) -> tuple[bytes, bytes]:
    """Content-Type value and body of a clear signature."""
    value = f'multipart/signed;protocol="{protocol}";micalg={micalg};boundary={boundary}'
    dash = b"\r\n--" + boundary.encode()
    body = dash[2:] + b"\r\n" + part + dash + b"\r\n" + headers + b"\r\n" + cms + dash + b"--\r\n"
    return value.encode(), body


def key_pem(holder: Holder) -> bytes:
    """Certificate and key in one file, for the openssl program."""
    return holder.pem + holder.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

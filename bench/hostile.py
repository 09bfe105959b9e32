"""Signed requests made to be expensive: each as large as a datagram, or as its trick allows.

Nobody is let in by one of them; what counts is how long the guard takes to say so. Every case is
made anew for each time it is judged, so that no cache has seen it.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from bench.signers import (
    NAMED_CALLEE,
    NAMED_CALLER,
    PASSPORT_URL,
    Holder,
    authority,
    certify_user,
    key_of,
    signer_of,
    unsigned,
    user,
    with_aib,
)
from sipguard.cli.message_file import MessageFile
from sipguard.cli.signing import Signer
from sipguard.wire import ber

Make = Callable[[int], bytes]
_ROOM: Final = 65_507  # octets of the largest datagram's payload
_FRAGMENT: Final = b"Content-Type: message/sipfrag\r\nContent-Disposition: aib\r\n\r\n"
_SIGNATURE: Final = (
    b"Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: binary\r\n\r\n"
)
_SIGNED: Final = b'multipart/signed;protocol="application/pkcs7-signature";micalg=sha-256;boundary='
_SIGNED_DATA: Final = bytes.fromhex("06092a864886f70d010702")
_DATA: Final = bytes.fromhex("06092a864886f70d010701")


def _tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return ber.header(tag, len(content)) + content


def _carrying(message: MessageFile, kind: bytes, body: bytes) -> bytes:
    body = body[: _ROOM - 1500]
    return message.with_row(b"content-type", b"Content-Type", kind).with_body(body).octets


def _fragment(message: MessageFile) -> bytes:
    names = (b"from", b"to", b"contact", b"date", b"call-id", b"cseq")
    return _FRAGMENT + b"".join(row.octets for row in message.rows if row.name in names)


def _clear(message: MessageFile, fragment: bytes, cms: bytes) -> bytes:
    """Return a message whose AIB has this for a signature."""
    parts = b"--b\r\n%s\r\n--b\r\n%s%s\r\n--b--\r\n" % (fragment, _SIGNATURE, cms)
    return (
        message.with_row(b"content-type", b"Content-Type", _SIGNED + b"b").with_body(parts).octets
    )


def _cms(fragment: bytes, signer: Signer) -> bytes:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(fragment)
    builder = builder.add_signer(signer.certificates[0], signer.key, hashes.SHA256())
    for certificate in signer.certificates[1:]:
        builder = builder.add_certificate(certificate)
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
    return builder.sign(Encoding.DER, options)


def _forged(holder: Holder, *chain: Holder) -> Signer:
    """Return one who has the certificates, and another key."""
    return Signer(key_of("p-256", "forger"), signer_of(holder, *chain).certificates)


def _nested(message: MessageFile) -> bytes:
    """Multiparts inside multiparts, until the datagram is full."""
    opened, boundary, number = b"", b"b0", 0
    while len(opened) < _ROOM:
        number += 1
        inner = b"b%d" % number
        opened += b"--%s\r\nContent-Type: multipart/mixed;boundary=%s\r\n\r\n" % (boundary, inner)
        boundary = inner
    return _carrying(message, b"multipart/mixed;boundary=b0", opened)


def _many_parts(message: MessageFile) -> bytes:
    return _carrying(message, b"multipart/mixed;boundary=b", b"--b\r\n\r\n\r\n" * 8000 + b"--b--")


def _near_boundaries(message: MessageFile) -> bytes:
    """Lines that begin like the boundary and are none."""
    return _carrying(message, b"multipart/mixed;boundary=bb", b"--bb\r\n\r\n" + b"\r\n--b" * 12000)


def _nuls(message: MessageFile) -> bytes:
    fragment = _FRAGMENT + b"From: \0<sip:\0@\0>\r\n" * 900
    return _clear(message, fragment, b"\0" * 4000)


def _rows_of_fragment(message: MessageFile) -> bytes:
    fragment = _fragment(message) + b"X: y\r\n" * 2600
    return _clear(message, fragment, b"\x30\x00")


def _signatures(message: MessageFile, signer: Signer) -> bytes:
    """Five AIBs, each with a signature of its own that is wrong: more parts are never read."""
    fragment = _fragment(message)
    cms = _cms(fragment, signer)
    one = b"Content-Type: %s\r\n\r\n--s\r\n%s\r\n--s\r\n%s%s\r\n--s--\r\n" % (
        _SIGNED + b"s", fragment, _SIGNATURE, cms,
    )  # fmt: skip
    body = b"".join(b"--b\r\n" + one for _ in range(5))
    return _carrying(message, b"multipart/mixed;boundary=b", body + b"--b--\r\n")


def _pieces(message: MessageFile) -> bytes:
    """BER: the content in pieces of one octet, as many as are read."""
    pieces = b"\x24\x80" + b"\x04\x01a" * 2_030 + b"\0\0"
    return _clear(message, _fragment(message), _open(b"\xa0\x80" + pieces + b"\0\0"))


def _deep(message: MessageFile) -> bytes:
    """BER: octet strings of open length inside each other, as deep as there is room."""
    return _clear(message, _fragment(message), _open(b"\xa0\x80" + b"\x24\x80" * 30_000))


def _open(content: bytes) -> bytes:
    """Return SignedData of open lengths around its content."""
    inside = b"\x30\x80" + _DATA + content + b"\0\0"
    algorithm = bytes.fromhex("310d300b0609608648016503040201")
    data = b"\x30\x80\x02\x01\x01" + algorithm + inside + b"\x31\x00\0\0"
    return b"\x30\x80" + _SIGNED_DATA + b"\xa0\x80" + data + b"\0\0\0\0"


def _algorithms(message: MessageFile) -> bytes:
    """DER that is well formed, with thousands of digest algorithms."""
    sha256 = bytes.fromhex("300b0609608648016503040201")
    inside = _tlv(0x30, _DATA)
    data = _tlv(0x30, b"\x02\x01\x01", _tlv(0x31, sha256 * 4000), inside, _tlv(0x31))
    return _clear(message, _fragment(message), _tlv(0x30, _SIGNED_DATA, _tlv(0xA0, data)))


def _with_key(message: MessageFile, root: Holder, public: rsa.RSAPublicKey, octets: int) -> bytes:
    """A certificate by a trusted authority for a key that nobody can have checked."""
    return _replaced_signer(message, certify_user(public, root), octets)


def _replaced_signer(message: MessageFile, certificate: x509.Certificate, octets: int) -> bytes:
    """Return an AIB that says to be signed with a key whose signatures are *octets* long."""
    fragment = _fragment(message)
    stand_in = key_of("rsa-2048", "stand-in")
    cms = _cms(fragment, Signer(stand_in, [certificate]))
    if octets == 256:
        return _clear(message, fragment, cms)
    return _clear(message, fragment, _stretched(cms, octets))


def _stretched(cms: bytes, octets: int) -> bytes:
    """Make the signature of 256 octets at the end as long as the key's would be."""
    signature = b"\x01" + cms[-255:] + b"\x5a" * (octets - 256)
    body = cms[: -256 - 4]
    return _relengthened(body, _tlv(0x04, signature), len(cms))


def _relengthened(body: bytes, tail: bytes, before: int) -> bytes:
    """Correct the lengths around the signature, all of which take two octets."""
    more = len(body) + len(tail) - before
    out = bytearray(body + tail)
    at = 0
    while at < len(body):  # down the chain of elements that reach to the end
        if out[at + 1] != 0x82:
            at += 2 + out[at + 1]
            continue
        length = int.from_bytes(out[at + 2 : at + 4], "big")
        if at + 4 + length == before:
            out[at + 2 : at + 4] = (length + more).to_bytes(2, "big")
            at += 4
        else:
            at += 4 + length
    return bytes(out)


def _one_exponent(message: MessageFile, root: Holder) -> bytes:
    """A certificate with e=1: every signature would fit."""
    modulus = (1 << 2047) + 12345
    real = certify_user(rsa.RSAPublicNumbers(3, modulus).public_key(), root)
    fragment = _fragment(message)
    cms = _cms(fragment, Signer(key_of("rsa-2048", "stand-in"), [real]))
    exponent = modulus.to_bytes(256, "big") + b"\x02\x01"
    return _clear(message, fragment, cms.replace(exponent + b"\x03", exponent + b"\x01"))


def _chain(message: MessageFile, ring: str = "") -> bytes:
    """Fourteen authorities above the signer and no root; or all of one name, each above all."""
    top = authority(ring or "nobody", "p-256", key="ring")
    chain: list[Holder] = []
    for step in range(14):
        chain.append(
            authority(ring or f"link {step}", "p-256", chain[-1] if chain else top, "ring")
        )
    leaf = user("p-256", chain[-1])
    fragment = _fragment(message)
    return _clear(message, fragment, _cms(fragment, signer_of(leaf, *reversed(chain))))


def _names(message: MessageFile, root: Holder, count: int) -> bytes:
    names = [f"sip:{number}@caller.example" for number in range(count)]
    fragment = _fragment(message)
    holder = user("p-256", root, names)
    return _clear(message, fragment, _cms(fragment, _forged(holder)))


def _many_named(message: MessageFile, root: Holder) -> bytes:
    """Fifteen certificates of sixty names above one that names the caller."""
    names = [f"sip:{number}@{'a' * 30}.example" for number in range(50)]
    fragment = _fragment(message)
    extra = [user("p-256", root, names) for _ in range(15)]
    return _clear(message, fragment, _cms(fragment, _forged(user("p-256", root), *extra)))


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def _identity(message: MessageFile, *values: bytes) -> bytes:
    rows = b"".join(b"Identity: " + value + b"\r\n" for value in values)
    octets = message.octets
    at = octets.index(b"Content-Type")
    return octets[:at] + rows + octets[at:]


def _json_bomb(message: MessageFile) -> bytes:
    header = json.dumps({"alg": "ES256", "typ": "passport", "x5u": PASSPORT_URL}).encode()
    payload = b'{"orig":' + b"[" * 30_000
    token = b".".join((_base64url(header), _base64url(payload), b"A" * 86))
    return _identity(message, token + b";info=<" + PASSPORT_URL.encode() + b">;alg=ES256")


_NO_SIGNATURE: Final = _base64url(b"\x11" * 64)


def _passports(message: MessageFile, utc_s: float) -> bytes:
    """Ten PASSporTs that fit the call, and signatures that do not."""
    claims = {
        "dest": {"tn": [NAMED_CALLEE.removeprefix("+")]},
        "iat": int(utc_s),
        "orig": {"tn": NAMED_CALLER.caller_user.removeprefix("+")},
    }
    header = json.dumps({"alg": "ES256", "typ": "passport", "x5u": PASSPORT_URL}).encode()
    signed = b".".join((_base64url(header), _base64url(json.dumps(claims).encode())))
    value = b"%s.%s;info=<%s>;alg=ES256" % (signed, _NO_SIGNATURE, PASSPORT_URL.encode())
    return _identity(message, *[value] * 10)


def _compact(message: MessageFile) -> bytes:
    """Ten in the short form, which may stand for several claims each."""
    value = b"..%s;info=<%s>;alg=ES256" % (_NO_SIGNATURE, PASSPORT_URL.encode())
    return _identity(message, *[value] * 10)


def cases(root: Holder, ring_name: str, utc_s: float) -> Mapping[str, Make]:
    """Return the cases by name; each makes the payload of a datagram from a number.

    *root* is the authority that the policy trusts: the worst certificates are its own. Somebody
    else uses its name, *ring_name*, as well.
    """
    wide = rsa.RSAPublicNumbers(65537, (1 << 16383) + 1_234_567).public_key()
    broad = rsa.RSAPublicNumbers(65537, (1 << 8191) + 1_234_567).public_key()
    long = rsa.RSAPublicNumbers((1 << 2046) + 1, (1 << 2047) + 1_234_567).public_key()
    forger = _forged(user("p-256", root))

    def fresh(number: int) -> MessageFile:
        return unsigned(number, utc_s)

    return {
        "nested multiparts": lambda n: _nested(fresh(n)),
        "8,000 parts": lambda n: _many_parts(fresh(n)),
        "near boundaries": lambda n: _near_boundaries(fresh(n)),
        "NULs": lambda n: _nuls(fresh(n)),
        "2,600 rows in a fragment": lambda n: _rows_of_fragment(fresh(n)),
        "wrong key": lambda n: with_aib(n, utc_s, forger),
        "five AIBs": lambda n: _signatures(fresh(n), forger),
        "BER in 2,030 pieces": lambda n: _pieces(fresh(n)),
        "BER 30,000 deep": lambda n: _deep(fresh(n)),
        "4,000 digest algorithms": lambda n: _algorithms(fresh(n)),
        "RSA-16384": lambda n: _with_key(fresh(n), root, wide, 2048),
        "RSA-8192": lambda n: _with_key(fresh(n), root, broad, 1024),
        "RSA with an exponent of 2,047 bits": lambda n: _with_key(fresh(n), root, long, 256),
        "RSA with e=1": lambda n: _one_exponent(fresh(n), root),
        "chain of 15": lambda n: _chain(fresh(n)),
        "ring of 15": lambda n: _chain(fresh(n), "ring"),
        "ring of 15 under the root's name": lambda n: _chain(fresh(n), ring_name),
        "2,000 names": lambda n: _names(fresh(n), root, 2000),
        "500 names": lambda n: _names(fresh(n), root, 500),
        "16 certificates of 50 names": lambda n: _many_named(fresh(n), root),
        "JSON 30,000 deep": lambda n: _json_bomb(fresh(n)),
        "ten PASSporTs": lambda n: _passports(fresh(n), utc_s),
        "ten short PASSporTs": lambda n: _compact(fresh(n)),
    }

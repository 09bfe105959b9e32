"""Sign a SIP message for trials: AIB (RFC 3893) or PASSporT (RFC 8224, 8588).

The gateway itself never signs. What stands in the message stays as it is; what
is added is one header, or the body in a wrapper that carries the signature.
"""

import base64
import json
import secrets
import uuid
from collections.abc import Sequence
from email.utils import formatdate
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from sipguard.cli.message_file import MessageFile
from sipguard.cli.trial_authority import PrivateKey
from sipguard.errors import EdgeError, HostileInput
from sipguard.identity.numbering import numbering_of
from sipguard.identity.telephone import party_of
from sipguard.wire.sdp import parse_sdp
from sipguard.wire.uri import Uri

ATTESTATIONS: Final = ("A", "B", "C")

_BASE64_COLUMNS: Final = 64
# What describes the body goes into its part with it (RFC 2045); what it is in, is new.
_ABOUT_BODY: Final = (
    *(b"content-type", b"content-disposition", b"content-encoding", b"content-language"),
    *(b"content-transfer-encoding", b"content-id"),
)
# RFC 3893 section 3: the first four must be there, To and CSeq should.
_REQUIRED: Final = ("From", "Contact", "Date", "Call-ID")
_OF_REQUEST: Final = ("From", "To", "Contact", "Date", "Call-ID", "CSeq")
_OF_RESPONSE: Final = ("Contact", "Date", "Call-ID", "CSeq")  # section 6: never To


class Signer(NamedTuple):
    """A key and its certificate, first in the list; the rest go along as its chain."""

    key: PrivateKey
    certificates: Sequence[x509.Certificate]


class Form(NamedTuple):
    """How an AIB is written."""

    with_body: bool = False  # sign the message's body, too
    in_base64: bool = False  # the signature in text, for files that hold no binary octets
    pss: bool = False  # RSA-PSS instead of PKCS #1 v1.5


def dated(message: MessageFile, at_s: float | None, now_s: float) -> MessageFile:
    """Give the message a Date: *at_s*, or else the one it has, or else now."""
    if at_s is None and message.value(b"date"):
        return message
    date = formatdate(now_s if at_s is None else at_s, usegmt=True)
    return message.with_row(b"date", b"Date", date.encode())


def sign_aib(message: MessageFile, signer: Signer, form: Form) -> MessageFile:
    """Add an authenticated identity body.

    Raises:
        EdgeError: a header that an AIB must carry is missing.
    """
    fragment = _part(
        (b"Content-Type: message/sipfrag", b"Content-Disposition: aib; handling=optional"),
        _fragment_of(message),
    )
    rows = [row for row in message.rows if row.name in _ABOUT_BODY]
    own = b"".join(row.octets for row in rows) + b"\r\n" + message.body if message.body else b""
    if form.with_body and own:
        kind, mixed = _multipart(b"multipart/mixed", [own, fragment])
        fragment = _part((b"Content-Type: " + kind,), mixed)
    parts = [fragment, _signature_part(fragment, signer, form)]
    kind, body = _multipart(
        b'multipart/signed;protocol="application/pkcs7-signature";micalg=sha-256', parts
    )
    if own and not form.with_body:
        signed = _part((b"Content-Type: " + kind,), body)
        kind, body = _multipart(b"multipart/mixed", [own, signed])
    bare = message.without(frozenset(_ABOUT_BODY) - {b"content-type"})
    return bare.with_row(b"content-type", b"Content-Type", kind).with_body(body)


def sign_passport(
    message: MessageFile,
    signer: Signer,
    url: str,
    attest: str,
    date_s: int,
    country: bytes = b"",
) -> MessageFile:
    """Add an Identity header: the base PASSporT, or SHAKEN where *attest* is not empty.

    Args:
        message: A request with Date.
        signer: Its key must be of P-256.
        url: Where a verifier finds the certificate; nothing is uploaded.
        attest: ``A``, ``B``, ``C`` or empty.
        date_s: The Date of the message, which becomes ``iat``.
        country: The code of the country in which From and To are dialed, or empty.

    Raises:
        EdgeError: the key cannot sign PASSporTs, or SHAKEN has no numbers to speak of.
    """
    if not isinstance(signer.key, ec.EllipticCurvePrivateKey) or signer.key.curve.name != (
        "secp256r1"
    ):
        raise EdgeError("a PASSporT is signed with ES256: the key must be of the curve P-256")
    read = message.parsed()
    ids = read.ids
    if ids is None or not read.is_request:
        raise EdgeError("an Identity header belongs into a request")
    caller, callee = (
        _party(address.uri, country, is_number=bool(attest)) for address in (ids.from_, ids.to)
    )
    header = {"alg": "ES256", "typ": "passport", "x5u": url}
    claims: dict[str, object] = {
        "orig": {caller[0]: caller[1]},
        "dest": {callee[0]: [callee[1]]},
        "iat": date_s,
    }
    if attest:
        if caller[0] != "tn" or callee[0] != "tn":
            raise EdgeError("SHAKEN speaks of telephone numbers: From and To must be such")
        header["ppt"] = "shaken"
        claims |= {"attest": attest, "origid": str(uuid.uuid4())}
    if prints := _fingerprints(read.sdp_bodies):
        claims["mky"] = prints
    signed = _compact_json(header) + b"." + _compact_json(claims)
    r, s = decode_dss_signature(signer.key.sign(signed, ec.ECDSA(hashes.SHA256())))
    token = signed + b"." + _base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    value = token + f";info=<{url}>;alg=ES256".encode() + (b";ppt=shaken" if attest else b"")
    return message.with_row(b"identity", b"Identity", value)


def _fragment_of(message: MessageFile) -> bytes:
    missing = [name for name in _REQUIRED if not message.value(name.lower().encode())]
    if missing:
        raise EdgeError(f"an AIB must carry {', '.join(missing)} (RFC 3893): the message does not")
    names = _OF_REQUEST if message.is_request else _OF_RESPONSE
    lines = [(name.encode(), message.value(name.lower().encode())) for name in names]
    if not message.is_request:
        ids = message.parsed().ids
        # Who answers is whom the request called (RFC 3893 section 6).
        lines.insert(0, (b"From", b"<" + ids.to.uri.raw + b">" if ids else b""))
    return b"".join(name + b": " + value + b"\r\n" for name, value in lines if value)


def _signature_part(signed: bytes, signer: Signer, form: Form) -> bytes:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(signed)
    scheme = None
    if isinstance(signer.key, rsa.RSAPrivateKey) and form.pss:
        digest = hashes.SHA256()
        scheme = padding.PSS(padding.MGF1(digest), salt_length=digest.digest_size)
    builder = builder.add_signer(
        signer.certificates[0], signer.key, hashes.SHA256(), rsa_padding=scheme
    )
    for certificate in signer.certificates[1:]:
        builder = builder.add_certificate(certificate)
    cms = builder.sign(
        Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
    )
    if form.in_base64:
        text = base64.b64encode(cms)
        lines = [text[at : at + _BASE64_COLUMNS] for at in range(0, len(text), _BASE64_COLUMNS)]
        cms = b"\r\n".join(lines)
    return _part(
        (
            b"Content-Type: application/pkcs7-signature; name=smime.p7s",
            b"Content-Transfer-Encoding: " + (b"base64" if form.in_base64 else b"binary"),
            b"Content-Disposition: attachment; filename=smime.p7s; handling=required",
        ),
        cms,
    )


def _part(headers: Sequence[bytes], content: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in headers) + b"\r\n" + content


def _multipart(kind: bytes, parts: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return Content-Type and body; the boundary stands in none of the parts."""
    boundary = b"sipguard-" + secrets.token_hex(8).encode()
    while any(boundary in part for part in parts):
        boundary = b"sipguard-" + secrets.token_hex(8).encode()
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return kind + b";boundary=" + boundary, body + b"--" + boundary + b"--\r\n"


def _party(uri: Uri, country: bytes, *, is_number: bool) -> tuple[str, str]:
    """Return ``tn`` and digits, or ``uri`` and the URI, as verifiers write them (RFC 8224 s. 8).

    What could be either is a number behind a plus, and where *is_number* says so.
    """
    party = party_of(uri, numbering_of(country))
    if party.number and (is_number or not party.uri or uri.user.startswith(b"+")):
        return "tn", party.number.decode()
    return "uri", party.uri.decode()


def _fingerprints(bodies: Sequence[bytes]) -> list[dict[str, str]]:
    """Return the keys of DTLS-SRTP that the call will use (RFC 8224 section 4.1)."""
    found: set[tuple[str, str]] = set()
    for body in bodies:
        try:
            media = parse_sdp(body).media
        except HostileInput:
            continue
        for section in media:
            found |= {(p.hash.decode(), p.digest.hex().upper()) for p in section.fingerprints}
    return [{"alg": name, "dig": digest} for name, digest in sorted(found, key="".join)]


def _compact_json(value: dict[str, object] | dict[str, str]) -> bytes:
    """Return JSON as RFC 8225 section 9 wants it, in base64url."""
    return _base64url(json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")

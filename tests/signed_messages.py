"""Signed SIP messages in the shapes of RFC 3893 sections 3 and 9 and RFC 3261 section 23.4."""

import base64
import datetime
from collections.abc import Sequence
from functools import cache

from authority import DAY_S, NOW_S, Holder, issue, issue_user, make_authority
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from sipguard.errors import HostileInput
from sipguard.identity.trust import Store
from sipguard.moment import Moment
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message, parse_message

NOW = Moment(5000.0, NOW_S)
DATE = "Mon, 21 Sep 2026 14:13:20 GMT"  # NOW_S
SRC = bytes((192, 0, 2, 33))
SDP = (
    b"v=0\r\no=alice 2890844526 2890844526 IN IP4 192.0.2.33\r\ns=-\r\nc=IN IP4 192.0.2.33\r\n"
    b"t=0 0\r\nm=audio 49172 RTP/SAVP 0\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n"
)

Rows = dict[str, str]


@cache
def root() -> Holder:
    """The one authority that is trusted."""
    return make_authority("Example Root")


@cache
def user(address: str = "alice@example.com", kind: str = "p256") -> Holder:
    """Somebody with a certificate of the root's."""
    return issue_user(root(), address, kind)


def store(*known: Holder) -> Store:
    return Store([root().der], known=[holder.der for holder in known])


def date_at(utc_s: float) -> str:
    moment = datetime.datetime.fromtimestamp(utc_s, datetime.UTC)
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


def rows(**changes: str | None) -> Rows:
    """The headers of an INVITE by name; keyword ``call_id`` is Call-ID, None takes one away."""
    plain = {
        "From": "Alice <sip:alice@example.com>;tag=1928301774",
        "To": "Bob <sip:bob@example.net>",
        "Contact": "<sip:alice@192.0.2.33>",
        "Date": DATE,
        "Call-ID": "a84b4c76e66710",
        "CSeq": "314159 INVITE",
    }
    for name, value in changes.items():
        spelled = name.replace("_", "-").title().replace("-Id", "-ID").replace("Cseq", "CSeq")
        if value is None:
            plain.pop(spelled, None)
        else:
            plain[spelled] = value
    return plain


def text(headers: Rows) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def fragment(headers: Rows, *, disposition: str = "aib; handling=optional") -> bytes:
    """The part that an AIB signs, with its part headers."""
    head = f"Content-Type: message/sipfrag\r\nContent-Disposition: {disposition}\r\n\r\n"
    return head.encode() + text(headers)


def sign(
    content: bytes, holder: Holder, *, certificates: bool = True, inside: bool = False
) -> bytes:
    """CMS in DER; without attributes, whose signing time would be the clock's."""
    options = [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes]
    if not inside:
        options.append(pkcs7.PKCS7Options.DetachedSignature)
    if not certificates:
        options.append(pkcs7.PKCS7Options.NoCerts)
    key = holder.key
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError(key)
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    builder = builder.add_signer(holder.certificate, key, hashes.SHA256())
    return builder.sign(serialization.Encoding.DER, options)


def signed_part(
    content: bytes, signature: bytes, *, boundary: str = "boundary42", headers: str = ""
) -> bytes:
    """A multipart/signed with its part headers, signature in base64 as RFC 3893 prints it."""
    text64 = base64.encodebytes(signature).replace(b"\n", b"\r\n")
    mark = boundary.encode()
    return (
        b'Content-Type: multipart/signed;\r\n  protocol="application/pkcs7-signature";\r\n'
        b"  micalg=sha-256; boundary=" + mark + b"\r\n" + headers.encode() + b"\r\n--" + mark
        + b"\r\n" + content + b"\r\n--" + mark
        + b"\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n"
        b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; "
        b"filename=smime.p7s;\r\n   handling=required\r\n\r\n" + text64 + b"\r\n--" + mark + b"--"
    )  # fmt: skip


def sdp_part(sdp: bytes = SDP) -> bytes:
    return b"Content-Type: application/sdp\r\n\r\n" + sdp


def aib_part(headers: Rows, holder: Holder, *, boundary: str = "boundary42") -> bytes:
    content = fragment(headers)
    return signed_part(content, sign(content, holder), boundary=boundary)


def mixed(*parts: bytes) -> tuple[str, bytes]:
    """Content type and body of a multipart/mixed."""
    body = b"".join(b"--unique-boundary-1\r\n" + part + b"\r\n" for part in parts)
    return "multipart/mixed; boundary=unique-boundary-1", body + b"--unique-boundary-1--\r\n"


def alone(part: bytes) -> tuple[str, bytes]:
    """Content type and body of a part that is the whole body; its other headers are lost."""
    head, _, body = part.partition(b"\r\n\r\n")
    lines = head.replace(b"\r\n ", b" ").split(b"\r\n")
    return lines[0].partition(b": ")[2].decode(), body


def raw_message(
    content: tuple[str, bytes],
    headers: Rows | None = None,
    *,
    start: str = "INVITE sip:bob@example.net SIP/2.0",
    vias: Sequence[str] = ("SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKnashds8",),
    extra: str = "",
) -> bytes:
    kind, body = content
    head = "".join(f"Via: {via}\r\n" for via in vias) + "Max-Forwards: 70\r\n"
    top = f"{start}\r\n{head}".encode() + text(rows() if headers is None else headers)
    return (
        top + f"{extra}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )


def read(octets: bytes, transport: str = "udp") -> tuple[Message, Ids, Packet]:
    message = parse_message(octets, transport)
    assert message.ids is not None
    packet = Packet(SRC, bytes((198, 51, 100, 1)), 5060, 5060, octets, transport)
    return message, message.ids, packet


def expired_user() -> Holder:
    """A certificate that ended yesterday."""
    return issue("expired", root(), uris=("sip:alice@example.com",), until_s=NOW_S - DAY_S)


def read_or_none(octets: bytes) -> tuple[Message | None, Ids | None, Packet]:
    """As ``read``, for messages that may be broken."""
    packet = Packet(SRC, bytes((198, 51, 100, 1)), 5060, 5060, octets)
    try:
        message = parse_message(octets)
    except HostileInput:
        return None, None, packet
    return message, message.ids, packet

"""Signers of PASSporTs and requests that carry them, for tests: honest ones, and others."""

from collections.abc import Mapping, Sequence
from typing import Final

from authority import NOW_S, Holder, issue, make_authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sipguard.evidence import Evidence
from sipguard.identity.certificate import (
    CLAIM_CONSTRAINTS,
    ENHANCED_CLAIM_CONSTRAINTS,
    TN_AUTH_LIST,
)
from sipguard.identity.credentials import Credentials
from sipguard.identity.stir import Stir, StirSettings
from sipguard.identity.trust import Store
from sipguard.moment import Moment
from sipguard.wire.packet import Packet, parse_address
from sipguard.wire.passport import Json, JsonObject, canonical_json, encode_segment
from sipguard.wire.sip import parse_message

NOW: Final = Moment(1000.0, NOW_S)
IAT: Final = int(NOW_S)
DATE: Final = "Mon, 21 Sep 2026 14:13:20 GMT"
URL: Final = "https://cr.example.com/shaken.pem"
CALLER, CALLEE = "12025550100", "12025550123"
FROM, TO = f"<sip:+{CALLER}@a.example;user=phone>", f"<sip:+{CALLEE}@b.example;user=phone>"
ORIGID: Final = "53e9a36d-268a-46cf-91e0-2c6df3f61244"
SHAKEN: Final[JsonObject] = {
    "attest": "A",
    "dest": {"tn": [CALLEE]},
    "iat": IAT,
    "orig": {"tn": CALLER},
    "origid": ORIGID,
}
BASE: Final[JsonObject] = {"dest": {"tn": [CALLEE]}, "iat": IAT, "orig": {"tn": CALLER}}
ALICE: Final[JsonObject] = {
    "dest": {"uri": ["sip:bob@b.example"]},
    "iat": IAT,
    "orig": {"uri": "sip:alice@a.example"},
}
FINGERPRINT: Final = ":".join(["AB"] * 32)
MKY: Final[Json] = [{"alg": "sha-256", "dig": "AB" * 32}]
SDP: Final = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 30000 UDP/TLS/RTP/SAVP 0\r\na=setup:actpass\r\n"
)


def der(tag: int, *contents: bytes) -> bytes:
    """Return one ASN.1 value."""
    content = b"".join(contents)
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 128 + len(length))) + length + content


def spc(code: bytes) -> bytes:
    return der(0xA0, der(0x16, code))


def one(number: bytes) -> bytes:
    return der(0xA2, der(0x16, number))


def span(start: bytes, size: int) -> bytes:
    width = size.bit_length() // 8 + 1
    return der(0xA1, der(0x30, der(0x16, start), der(2, size.to_bytes(width, "big"))))


def numbers(*entries: bytes) -> tuple[x509.ExtensionType, bool]:
    """Return a TNAuthList."""
    return x509.UnrecognizedExtension(TN_AUTH_LIST, der(0x30, *entries)), False


def constraints(
    include: Sequence[str] = (),
    permitted: Mapping[str, Sequence[str]] | None = None,
    exclude: Sequence[str] | None = None,
) -> tuple[x509.ExtensionType, bool]:
    """Return JWTClaimConstraints; the enhanced form where *exclude* is given."""
    parts = []
    if include:
        parts.append(der(0xA0, der(0x30, *(der(0x16, name.encode()) for name in include))))
    if permitted:
        entries = (
            der(
                0x30,
                der(0x16, name.encode()),
                der(0x30, *(der(0x0C, value.encode()) for value in values)),
            )
            for name, values in permitted.items()
        )
        parts.append(der(0xA1, der(0x30, *entries)))
    if exclude:
        parts.append(der(0xA2, der(0x30, *(der(0x16, name.encode()) for name in exclude))))
    oid = CLAIM_CONSTRAINTS if exclude is None else ENHANCED_CLAIM_CONSTRAINTS
    return x509.UnrecognizedExtension(oid, der(0x30, *parts)), False


CA: Final = make_authority("STI root")
PROVIDER: Final = issue("provider 1234", CA, extensions=(numbers(spc(b"1234")),))
DOMAIN: Final = issue("a.example", CA, dns=("a.example",))


def sign(signed: bytes, holder: Holder = PROVIDER) -> bytes:
    """Return r and s in 64 octets."""
    assert isinstance(holder.key, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(holder.key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def token(
    payload: Mapping[str, Json], holder: Holder = PROVIDER, url: str = URL, **header: Json
) -> str:
    """Return a full form; *header* adds to the usual members, None takes one away."""
    members: JsonObject = {"alg": "ES256", "typ": "passport", "x5u": url}
    members.update(header)
    members = {name: value for name, value in members.items() if value is not None}
    return raw_token(canonical_json(members), canonical_json(dict(payload)), holder)


def raw_token(header: bytes, payload: bytes, holder: Holder = PROVIDER) -> str:
    """Return a full form of exactly these octets."""
    signed = encode_segment(header) + b"." + encode_segment(payload)
    return (signed + b"." + encode_segment(sign(signed, holder))).decode()


def identity(
    payload: Mapping[str, Json] = SHAKEN,
    ppt: str = "shaken",
    holder: Holder = PROVIDER,
    url: str = URL,
) -> str:
    """Return an Identity header value in full form."""
    kind: JsonObject = {"ppt": ppt} if ppt else {}
    beside = f";ppt={ppt}" if ppt else ""
    return f"{token(payload, holder, url, **kind)};info=<{url}>;alg=ES256{beside}"


def compact(
    payload: Mapping[str, Json] = BASE, holder: Holder = PROVIDER, ppt: str = "", url: str = URL
) -> str:
    """Return an Identity header value in compact form."""
    kind: JsonObject = {"ppt": ppt} if ppt else {}
    full = token(payload, holder, url, **kind)
    beside = f";ppt={ppt}" if ppt else ""
    return f"..{full.rpartition('.')[2]};info=<{url}>;alg=ES256{beside}"


def invite(
    *identities: str,
    from_: str = FROM,
    to: str = TO,
    uri: str = "",
    date: str | None = DATE,
    call_id: str = "c1@a.example",
    tag: str = "f1",
    cseq: int = 1,
    method: str = "INVITE",
    headers: Sequence[str] = (),
    sdp: str = "",
) -> bytes:
    """Return a request with these Identity headers."""
    lines = [
        f"{method} {uri or to.strip('<>')} SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
        "Max-Forwards: 70",
        f"From: {from_};tag={tag}",
        f"To: {to}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        "Contact: <sip:gw@192.0.2.1>",
        *([f"Date: {date}"] if date is not None else []),
        *(f"Identity: {value}" for value in identities),
        *headers,
        *(["Content-Type: application/sdp"] if sdp else []),
        f"Content-Length: {len(sdp)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + sdp).encode()


def keyed(fingerprint: str = FINGERPRINT) -> str:
    """Return a session description with this fingerprint."""
    return f"{SDP}a=fingerprint:SHA-256 {fingerprint}\r\n"


class Bench:
    """A verifier with one authority and some certificates, and one request after the other."""

    def __init__(
        self, settings: StirSettings | None = None, chains: Mapping[str, bytes] | None = None
    ) -> None:
        self.credentials = Credentials()
        for url, chain in (chains or {URL: PROVIDER.pem}).items():
            self.credentials.add_offline(url, chain)
        self.stir = Stir(settings or StirSettings(), Store((CA.der,)), self.credentials)

    def examine(
        self,
        octets: bytes,
        *,
        src: str = "192.0.2.1",
        dst: str = "198.51.100.1",
        now: Moment = NOW,
        patient: bool = False,
        retry: bool = False,
        in_dialog: bool = False,
    ) -> Evidence:
        """Return what the verifier says; a second request meets the memory of the first."""
        message = parse_message(octets, "udp")
        assert message.ids is not None
        packet = Packet(_address(src), _address(dst), 5060, 5060, octets)
        return self.stir.examine(
            message,
            message.ids,
            packet,
            now,
            patient=patient,
            retry=retry,
            in_dialog=in_dialog,
        )


def examine(octets: bytes, settings: StirSettings | None = None, **chains: bytes) -> Evidence:
    """Return what a fresh verifier says; *chains* are PEM by the name of their file."""
    urls = {f"https://cr.example.com/{name}.pem": chain for name, chain in chains.items()}
    return Bench(settings, urls).examine(octets)


def _address(text: str) -> bytes:
    address = parse_address(text.encode())
    assert address is not None
    return address

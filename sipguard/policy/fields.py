"""The table of fields: the words a rule may use, in Wireshark's spelling where it has one."""

# One row a field, however long: a table reads better than wrapped calls.
# ruff: noqa: E501

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from sipguard.evidence import Evidence, State
from sipguard.policy import proven, readings
from sipguard.policy.field import (
    AddressesField,
    AddressField,
    Fact,
    Field,
    FindingField,
    FlagField,
    NumberField,
    PeerField,
    Scope,
    Style,
    TextField,
    TextsField,
    Unit,
)
from sipguard.policy.subject import Subject, decode_user
from sipguard.wire.fields import Address, Via
from sipguard.wire.rows import COMPACT

_TRANSPORTS: Final = {name: name.encode() for name in ("udp", "tcp", "tls", "ws", "wss")}
METHODS: Final = (
    *("INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "PRACK", "UPDATE", "INFO"),
    *("SUBSCRIBE", "NOTIFY", "PUBLISH", "MESSAGE", "REFER"),
)

_ALL, _HEADERS, _MEDIA = Scope.ALL, Scope.HEADERS, Scope.MEDIA
_FOLDED, _USER, _HOST = Style.FOLDED, Style.USER, Style.HOST


def _display(address: Address | None) -> bytes:
    """Return a display name without its quotes."""
    if address is None:
        return b""
    name = address.display.strip()
    return name[1:-1].replace(b'\\"', b'"') if name.startswith(b'"') else name


def _from(subject: Subject) -> Address | None:
    ids = subject.message.ids
    return ids.from_ if ids else None


def _to(subject: Subject) -> Address | None:
    ids = subject.message.ids
    return ids.to if ids else None


def _via(subject: Subject) -> Via | None:
    ids = subject.message.ids
    return ids.via if ids else None


def _ids_number(subject: Subject) -> int:
    ids = subject.message.ids
    return ids.cseq if ids else -1


def _or_absent(number: int | None) -> int:
    return -1 if number is None else number


def _port(subject: Subject, pick: Callable[[int, int], int]) -> int:
    stream = subject.stream
    if stream is None:
        return 0
    caller, callee = stream.caller.port, stream.callee.port
    return pick(caller, callee) if caller and callee else caller or callee


def _keying_text(name: str) -> Callable[[Subject], bytes]:
    read: Callable[[object], bytes] = attrgetter(name)
    return lambda s: b"" if s.stream is None else read(s.stream.keying).lower()


def _stream_text(name: str) -> Callable[[Subject], bytes]:
    read: Callable[[object], bytes] = attrgetter(name)
    return lambda s: b"" if s.stream is None else read(s.stream).lower()


# fmt: off
_PACKET: Final[tuple[Field, ...]] = (
    AddressField("src", "Address the packet came from.", attrgetter("src"), _ALL),
    AddressField("dst", "Address the packet goes to.", lambda s: s.packet.dst, _ALL),
    NumberField("src.port", "Port the packet came from.", lambda s: s.packet.sport, _ALL),
    NumberField("dst.port", "Port the packet goes to.", lambda s: s.packet.dport, _ALL),
    TextField("in.interface", "Interface the packet came in by; empty in a capture.", lambda s: s.interface.encode("utf-8", "replace"), _ALL),
    TextField("transport", "What carried the message.", lambda s: _TRANSPORTS.get(s.packet.transport, b""), _ALL, words=tuple(_TRANSPORTS)),
    TextField("zone", "Zone of the policy that the message came from; empty outside them, and in a capture.", lambda s: s.packet.channel.zone.encode(), _ALL),
    FlagField("ipsec", "The message came through IPsec, by a zone that says so; never in a capture. It proves a site and no caller.", lambda s: s.packet.channel.ipsec, _ALL),
    NumberField("message.size", "Octets of the whole message.", lambda s: len(s.message.raw), _ALL, Unit.OCTETS),
    NumberField("headers.count", "Number of header rows.", lambda s: len(s.message.headers), _ALL),
    NumberField("mime.depth", "Multiparts inside each other; 0 for a plain body, 99 if they cannot be read.", readings.mime_depth, _ALL),
    FlagField("ambiguous", "Two sane parsers could read the message differently.", readings.is_ambiguous, _ALL, needs=Fact.FINDINGS),
    FlagField("malformed", "The message breaks the grammar.", readings.is_malformed, _ALL, needs=Fact.FINDINGS),
    FlagField("oversize", "The message is larger than sipguard reads.", readings.is_oversize, _ALL, needs=Fact.FINDINGS),
    FindingField("finding", "What the checks found, by rule id (SIP-12) or reason code (bare-lf)."),
)
_MESSAGE: Final[tuple[Field, ...]] = (
    TextField("method", "Method of the request; in a response that of its CSeq.", lambda s: s.message.method, _ALL, Style.METHOD),
    NumberField("status", "Status code of a response; 0 in a request.", lambda s: s.message.status, _ALL),
    TextField("uri.scheme", "Scheme of the Request-URI.", lambda s: s.uri.scheme, _HEADERS, _FOLDED),
    TextField("uri.user", "User part of the Request-URI.", lambda s: decode_user(s.uri.user), _HEADERS, _USER),
    TextField("uri.host", "Host of the Request-URI.", lambda s: s.uri.host, _HEADERS, _HOST),
    NumberField("uri.port", "Port of the Request-URI; 0 if it names none.", lambda s: s.uri.port, _HEADERS),
    TextField("from.user", "User part of From.", lambda s: decode_user(s.from_uri.user), _HEADERS, _USER),
    TextField("from.host", "Host of From.", lambda s: s.from_uri.host, _HEADERS, _HOST),
    TextField("from.display", "Display name of From, without quotes.", lambda s: _display(_from(s)), _HEADERS),
    TextField("from.tag", "Tag of From.", lambda s: s.message.ids.from_tag if s.message.ids else b"", _HEADERS),
    TextField("to.user", "User part of To.", lambda s: decode_user(s.to_uri.user), _HEADERS, _USER),
    TextField("to.host", "Host of To.", lambda s: s.to_uri.host, _HEADERS, _HOST),
    TextField("to.display", "Display name of To, without quotes.", lambda s: _display(_to(s)), _HEADERS),
    TextField("to.tag", "Tag of To; empty outside a dialog.", lambda s: s.message.ids.to_tag if s.message.ids else b"", _HEADERS),
    TextField("contact.user", "User part of the first Contact.", lambda s: decode_user(s.contact_uri.user), _HEADERS, _USER),
    TextField("contact.host", "Host of the first Contact.", lambda s: s.contact_uri.host, _HEADERS, _HOST),
    NumberField("contact.count", "Number of Contact addresses.", lambda s: len(s.message.contacts), _HEADERS),
    NumberField("via.count", "Number of Via entries.", lambda s: len(s.message.vias), _HEADERS),
    TextField("via.transport", "Transport that the top Via names.", lambda s: v.transport.lower() if (v := _via(s)) else b"", _HEADERS, _FOLDED),
    TextField("via.host", "Host that the top Via names.", lambda s: v.host if (v := _via(s)) else b"", _HEADERS, _HOST),
    TextField("user_agent", "User-Agent.", lambda s: s.message.user_agent.lower(), _HEADERS, _FOLDED),
    NumberField("cseq.number", "Number in CSeq; -1 if unreadable.", _ids_number, _HEADERS),
    TextField("cseq.method", "Method in CSeq.", lambda s: s.message.ids.method if s.message.ids else b"", _HEADERS, Style.METHOD),
    TextField("call_id", "Call-ID.", lambda s: s.message.ids.call_id if s.message.ids else b"", _HEADERS),
    NumberField("max_forwards", "Max-Forwards; -1 if absent or above 255.", lambda s: _or_absent(s.message.max_forwards), _HEADERS),
    NumberField("expires", "Expires; -1 if absent.", lambda s: _or_absent(s.message.expires), _HEADERS, Unit.SECONDS),
    TextField("body.type", "Media type of the body, such as application/sdp.", lambda s: s.message.content_type, _HEADERS, _FOLDED),
    NumberField("body.size", "Octets of the body.", lambda s: len(s.message.body), _HEADERS, Unit.OCTETS),
    FlagField("digest.present", "The request carries Digest credentials.", lambda s: readings.credentials(s.message) is not None, _HEADERS),
    TextField("digest.user", "User name of the Digest credentials; equal to nothing without any.", readings.digest_user, _HEADERS),
    TextField("digest.realm", "Realm of the Digest credentials; equal to nothing without any.", readings.digest_realm, _HEADERS),
    TextField("digest.algorithm", "Algorithm of the Digest credentials, md5 where they name none.", readings.digest_algorithm, _HEADERS, words=("md5", "md5-sess", "sha-256", "sha-256-sess", "sha-512-256", "sha-512-256-sess")),
    TextField("digest.qop", "Quality of protection of the Digest credentials.", readings.digest_qop, _HEADERS, words=("none", "auth", "auth-int")),
)
_TLS: Final[tuple[Field, ...]] = (
    TextField("tls.version", "Version of TLS that the message came by; empty in clear.", lambda s: s.packet.channel.tls_version.encode(), _ALL, words=("1.2", "1.3")),
    TextsField("tls.peer", "Whom the verified certificate of the message's sender names: SIP domains, or else hosts, and addresses.", lambda s: tuple(name.encode() for name in s.packet.channel.tls_peer), _ALL),
    FlagField("tls.client.valid", "The client that opened the connection showed a certificate, and it was verified.", lambda s: s.packet.channel.tls_client_valid, _ALL),
)
_WS: Final[tuple[Field, ...]] = (
    TextField("ws.origin", "Origin of the page that opened the WebSocket, as its browser says; equal to nothing where none does.", lambda s: s.packet.channel.ws_origin.encode(), _ALL, _FOLDED),
)
_SECURED: Final[tuple[Field, ...]] = (
    FlagField("sips.claimed", "The Request-URI, the top Route or a Contact is a SIPS URI.", readings.is_sips, _HEADERS),
    TextField("from.scheme", "Scheme of From.", lambda s: s.from_uri.scheme, _HEADERS, _FOLDED),
    TextField("to.scheme", "Scheme of To.", lambda s: s.to_uri.scheme, _HEADERS, _FOLDED),
    TextField("contact.scheme", "Scheme of the first Contact; empty without one.", lambda s: s.contact_uri.scheme, _HEADERS, _FOLDED),
    FlagField("via.alias", "The top Via offers its connection for requests the other way (RFC 5923).", readings.has_alias, _HEADERS),
    FlagField("outbound", "A Contact names a flow: reg-id and +sip.instance (RFC 5626).", readings.names_a_flow, _HEADERS),
)
_STATE: Final[tuple[Field, ...]] = (
    FlagField("dialog.known", "The message belongs to a call that was accepted before.", lambda s: s.dialog_known, _HEADERS, fact=Fact.DIALOG_KNOWN),
    FlagField("transaction.known", "The message belongs to a request that was accepted before.", lambda s: s.transaction_known, _HEADERS),
    FlagField("replay", "A known request again, changed or after its end; or its digest response under another request.", lambda s: s.replay, _HEADERS, fact=Fact.REPLAY),
    FlagField("registration.foreign", "A REGISTER for a name that another address holds, made without a password.", lambda s: s.registration_foreign, _HEADERS),
    FlagField("challenge.foreign", "A 401 or 407 with which a caller asks for the password of the one called, who is not registered there.", lambda s: s.challenge_foreign, _HEADERS),
)
_SDP: Final[tuple[Field, ...]] = (
    FlagField("sdp.present", "The message carries a session description.", lambda s: bool(s.message.sdp_bodies), _HEADERS),
    NumberField("sdp.count", "Number of session descriptions.", lambda s: len(s.message.sdp_bodies), _HEADERS),
    TextsField("sdp.media", "Kinds of media offered or answered: audio, video ...", readings.sdp_kinds, _HEADERS),
    AddressesField("sdp.address", "Media addresses offered or answered.", readings.sdp_addresses, _HEADERS),
    TextField("media.type", "Kind of the stream: audio, video ...", _stream_text("kind"), _MEDIA, _FOLDED),
    TextField("media.proto", "Transport profile of the stream, such as RTP/SAVP.", _stream_text("proto"), _MEDIA, _FOLDED),
    NumberField("media.port", "Lowest media port that either end named; 0 if none.", lambda s: _port(s, min), _MEDIA),
    NumberField("media.port.caller", "Media port the caller named; 0 while unknown.", lambda s: s.stream.caller.port if s.stream else 0, _MEDIA),
    NumberField("media.port.callee", "Media port the callee named; 0 while unknown.", lambda s: s.stream.callee.port if s.stream else 0, _MEDIA),
    AddressField("media.address.caller", "Media address the caller named.", lambda s: s.stream.caller.address if s.stream else b"", _MEDIA),
    AddressField("media.address.callee", "Media address the callee named.", lambda s: s.stream.callee.address if s.stream else b"", _MEDIA),
    PeerField("peer", "Both media addresses: each is in one of the sets, or `signalling`: its side's signalling comes from it."),
    FlagField("keyed", "A key for SRTP was negotiated.", lambda s: s.stream is not None and s.stream.keyed, _MEDIA),
    TextField("key.method", "How the key was negotiated.", lambda s: (s.stream.keying.method if s.stream else b"") or b"none", _MEDIA, words=("sdes", "dtls", "zrtp", "mikey", "none")),
    TextField("key.suite", "Crypto suite, where signalling names it (SDES, MIKEY).", _keying_text("suite"), _MEDIA, _FOLDED),
    NumberField("key.bits", "Length of the encryption key; 0 where only a handshake will tell (DTLS, ZRTP).", lambda s: s.stream.keying.bits if s.stream else 0, _MEDIA),
    FlagField("key.cleartext", "The SRTP key itself crossed the wire in clear.", lambda s: s.stream is not None and s.stream.cleartext, _MEDIA),
    FlagField("media.downgraded", "A running stream would lose its key, or get it another way.", lambda s: s.stream is not None and s.stream.downgraded, _MEDIA),
    TextField("mikey.mode", "How MIKEY makes the key.", lambda s: (s.stream.keying.mode if s.stream else b"") or b"none", _MEDIA, words=("psk", "rsa", "rsa-r", "dh", "dhhmac", "ticket", "sakke", "none")),
    FlagField("mikey.valid", "The MIKEY message is authentic: its code, or its certificate's signature, holds.", lambda s: s.stream is not None and s.stream.keying.state == b"valid", _MEDIA),
    TextField("mikey.state", "Whether the MIKEY message is authentic; unknown where nobody here has the key or certificate.", lambda s: (s.stream.keying.state if s.stream else b"") or b"absent", _MEDIA, words=("valid", "failed", "unknown", "absent")),
    FlagField("zrtp.hash", "The hash of the ZRTP Hello was signalled, by both sides once there is an answer.", lambda s: s.stream is not None and s.stream.keying.hashed, _MEDIA),
    TextField("dtls.fingerprint", "Hash function of the fingerprints of DTLS certificates; equal to nothing without any.", _keying_text("fingerprint"), _MEDIA, words=("sha-1", "sha-224", "sha-256", "sha-384", "sha-512")),
    FlagField("sdes.cleartext", "The same as key.cleartext.", lambda s: s.stream is not None and s.stream.cleartext, _MEDIA),
)


def _states(name: str, what: str, prove: proven.Prove) -> tuple[Field, ...]:
    """Return the four flags of one kind of proof; one of them is true."""
    asked = frozenset({name})
    return (
        FlagField(f"{name}.valid", f"{what} is valid and stands behind the sender.", proven.is_state(prove, State.VALID), _HEADERS, proofs=asked),
        FlagField(f"{name}.absent", f"{what} is not there.", proven.is_state(prove, State.ABSENT), _HEADERS, proofs=asked),
        FlagField(f"{name}.failed", f"{what} is wrong, or not the sender's.", proven.is_state(prove, State.FAILED), _HEADERS, proofs=asked),
        FlagField(f"{name}.unknown", f"{what} cannot be judged.", proven.is_state(prove, State.UNKNOWN), _HEADERS, proofs=asked),
    )


def _aib(subject: Subject) -> Evidence:
    return subject.proofs.aib()


def _smime(subject: Subject) -> Evidence:
    return subject.proofs.smime()


def _stir(subject: Subject) -> Evidence:
    return subject.proofs.stir()


def _digest(subject: Subject) -> Evidence:
    return subject.proofs.digest()


_AIB: Final = frozenset({"aib"})
_SMIME: Final = frozenset({"smime"})
_STIR: Final = frozenset({"stir"})
_IDENTITY: Final[tuple[Field, ...]] = (
    *_states("aib", "The AIB (RFC 3893)", _aib),
    TextField("aib.signer", "Whom the certificate of a valid AIB speaks for, such as sip:alice@example.com.", proven.signer(_aib), _HEADERS, proofs=_AIB),
    TextsField("aib.covers", "Headers that a valid AIB speaks for, such as contact.", proven.covers(_aib), _HEADERS, proofs=_AIB),
    *_states("smime", "The signed body (RFC 3261 section 23)", _smime),
    TextField("smime.signer", "Whom the certificate of a validly signed body speaks for.", proven.signer(_smime), _HEADERS, proofs=_SMIME),
    TextField("smime.sdp", "The session description: signed and unchanged, changed by a relay of `trust aib`, changed otherwise, not signed.", proven.smime_sdp, _HEADERS, words=("valid", "relayed", "failed", "absent", "unknown"), proofs=_SMIME),
    FlagField("sdp.encrypted", "The body is encrypted, and nobody here can read its session description.", proven.is_encrypted, _HEADERS, proofs=_SMIME),
    *_states("stir", "The PASSporT (RFC 8224)", _stir),
    TextField("stir.attest", "Attestation of a valid PASSporT (RFC 8588).", proven.attest, _HEADERS, words=("A", "B", "C"), proofs=_STIR),
    TextField("stir.orig", "Originating number or address of a valid PASSporT.", proven.orig, _HEADERS, proofs=_STIR),
    TextField("stir.signer", "Whom the certificate of a valid PASSporT names.", proven.signer(_stir), _HEADERS, proofs=_STIR),
    *_states("digest", "The digest response (RFC 7616)", _digest),
    FlagField("digest.replayed", "The digest response or its nonce count was used before.", proven.is_digest_replayed, _HEADERS, proofs=frozenset({"digest"})),
    TextField("replay.kind", "What is used again: a request changed or after its end, a digest response, a signature.", proven.replay_kind, _HEADERS, words=("none", "changed", "ended", "digest", "aib", "stir"), proofs=frozenset({"aib", "stir"})),
)
# fmt: on

FIELDS: Final[dict[str, Field]] = {
    field.name: field
    for field in (*_PACKET, *_TLS, *_WS, *_MESSAGE, *_SECURED, *_STATE, *_SDP, *_IDENTITY)
}
HEADER_DOC: Final = "Value of any header; several rows are joined by a comma, absent is empty."


def header_name(name: str) -> bytes:
    """Return the lower-case long name that the wire room keeps a header under."""
    raw = name.lower().encode()
    return COMPACT.get(raw, raw)


def header_field(name: str) -> TextField:
    """Return the field ``header["name"]``; compact names mean their long ones."""
    long_name = header_name(name)
    return TextField(
        f'header["{name}"]', HEADER_DOC, lambda s: header_text(s, long_name), Scope.HEADERS
    )


def header_text(subject: Subject, name: bytes) -> bytes:
    """Return a header's value; several rows count as one list (RFC 3261 section 7.3.1)."""
    values = subject.message.values(name)
    return values[0] if len(values) == 1 else b", ".join(values)

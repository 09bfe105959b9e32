"""Refusals of our own: stateless responses that look as the server's would (rules RSP-*).

We answer as the stateless UAS of RFC 3261 section 8.2.7: one response per
request, the same one for its retransmission, nothing remembered. The To tag
is a keyed digest of the request, so the ACK to our refusal is recognized
without a table.
"""

import re
from base64 import b32encode
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from sipguard.moment import Moment
from sipguard.verdict import Endpoint, Reply
from sipguard.wire.packet import Packet, show_address
from sipguard.wire.sip import Ids, Message

TAG_OCTETS: Final = 10  # 80 bits; RFC 3261 section 19.3 asks for at least 32
ROTATION_S: Final = 3600.0
MAX_VIAS: Final = 16
# Blanks may stand before the name, and what is quoted is no parameter (RFC 3261 section 25.1).
_QUOTED_OR_RPORT: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*"|(;[ \t]*rport)(?=[ \t]*(?:;|$))', re.IGNORECASE
)

PHRASES: Final = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    488: "Not Acceptable Here",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    607: "Unwanted",
    608: "Rejected",
}
# What some codes must or had better carry (RSP-3, RSP-11; KEY-5).
EXTRAS: Final = {
    405: b"Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n",
    415: b"Accept: application/sdp\r\nAccept-Encoding: identity\r\n",
    488: b'Warning: 399 sipguard "SRTP required"\r\n',
    503: b"Retry-After: 5\r\n",
}


class Refuser:
    """Builds refusals and knows its own again; rotates its secret and keeps the last one."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._epoch = -1
        self._keys: tuple[bytes, bytes] = (b"", b"")

    def tag(self, ids: Ids, now: Moment) -> bytes:
        """Return the To tag of our response to the request that *ids* names (RSP-4)."""
        self._turn(now)
        return _tag(self._keys[0], ids)

    def is_ours(self, ids: Ids, now: Moment) -> bool:
        """Whether an ACK's To tag is the one we gave to its INVITE (RSP-8)."""
        if len(ids.to_tag) != 16:
            return False
        self._turn(now)
        return any(compare_digest(ids.to_tag, _tag(key, ids)) for key in self._keys)

    def refuse(
        self,
        message: Message,
        ids: Ids,
        packet: Packet,
        status: int,
        phrase: str,
        now: Moment,
        told: bytes = b"",
    ) -> Reply | None:
        """Return our response to a request, or ``None`` where the rules forbid one.

        *told* are header lines that say more, each with its CRLF; left out, all of
        them, where the response would grow too large.

        None for ACK and CANCEL (RSP-1), for a ``maddr`` (RSP-5), for many Vias, and
        where the response would be larger than the request, for somebody may have
        forged its source (RSP-6). Neither ``maddr`` nor size matters on a connection:
        its other end is proven, and the response goes back on it (RFC 3261 section
        18.2.2). There ``destination`` is the source of the packet, port included.
        """
        if not message.is_request or message.method in (b"ACK", b"CANCEL"):
            return None
        is_connected = packet.transport != "udp"
        if not is_connected and any(name == b"maddr" for name, _ in ids.via.params):
            return None
        vias = message.values(b"via")
        if len(message.vias) > MAX_VIAS or not _is_unicast(packet.dst):
            return None
        head = self._head(message, ids, packet, status, phrase, now, vias)
        usual = EXTRAS.get(status, b"")
        for extra in (usual + told, usual, b""):
            octets = head + extra + b"Content-Length: 0\r\n\r\n"
            if is_connected or len(octets) <= len(message.raw):
                return Reply(octets, Endpoint(packet.dst, packet.dport), _destination(ids, packet))
        return None

    def _head(
        self,
        message: Message,
        ids: Ids,
        packet: Packet,
        status: int,
        phrase: str,
        now: Moment,
        vias: list[bytes],
    ) -> bytes:
        words = (phrase or PHRASES.get(status) or "Refused").encode("ascii", "replace")
        to = ids.to.raw
        if not ids.to_tag:
            to += b";tag=" + self.tag(ids, now)
        lines = [b"SIP/2.0 %d %b" % (status, words)]
        lines += [b"Via: " + _with_received(vias[0], ids, packet)]
        lines += [b"Via: " + via for via in vias[1:]]
        lines += [
            b"From: " + ids.from_.raw,
            b"To: " + to,
            b"Call-ID: " + ids.call_id,
            b"CSeq: %d %b" % (ids.cseq, ids.method),
        ]
        return b"\r\n".join(lines) + b"\r\n"

    def _turn(self, now: Moment) -> None:
        """Change keys every hour; the last one still counts, for ACKs on their way."""
        epoch = int(now.utc_s // ROTATION_S)
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._keys = (self._key_of(epoch), self._key_of(epoch - 1))

    def _key_of(self, epoch: int) -> bytes:
        return blake2b(b"%d" % epoch, key=self._secret[:64], digest_size=32).digest()


def _tag(key: bytes, ids: Ids) -> bytes:
    digest = blake2b(key=key, digest_size=TAG_OCTETS)
    for part in (ids.call_id, ids.from_tag, b"%d" % ids.cseq, ids.branch, ids.sent_by):
        digest.update(b"%d:" % len(part) + part)
    return b32encode(digest.digest()).lower()


def _with_received(first_row: bytes, ids: Ids, packet: Packet) -> bytes:
    """Add ``received`` and ``rport`` to the top Via (RFC 3261 section 18.2.1, RFC 3581)."""
    top = ids.via.raw
    if not first_row.startswith(top):
        return first_row
    source = show_address(packet.src).encode("ascii")
    wants_rport = any(name == b"rport" and not value for name, value in ids.via.params)
    changed = top
    if wants_rport:
        changed = _fill_rport(top, packet.sport)
    if wants_rport or ids.via.host != source:
        changed += b";received=" + source
    return changed + first_row[len(top) :]


def _fill_rport(via: bytes, port: int) -> bytes:
    for found in _QUOTED_OR_RPORT.finditer(via):
        if found.group(1):
            return b"%b=%d%b" % (via[: found.end(1)], port, via[found.end(1) :])
    return via


def _destination(ids: Ids, packet: Packet) -> Endpoint:
    """Always the packet's own source address; the port by RFC 3581 or the Via (RSP-5)."""
    if packet.transport != "udp" or any(name == b"rport" for name, _ in ids.via.params):
        return Endpoint(packet.src, packet.sport)
    return Endpoint(packet.src, ids.via.port or 5060)


def _is_unicast(address: bytes) -> bool:
    if len(address) == 4:
        return address[0] < 224
    return address[0] != 0xFF

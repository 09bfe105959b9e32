"""SIP messages: what a datagram is, and one strict reading of it (RFC 3261 sections 7, 20, 25).

``parse_message`` has a straight way for messages without any oddity, made of look-ups of
lines seen before, and hands everything else to ``careful``. Both give the same values;
a test holds that.
"""

from enum import Enum
from typing import Final, final

from sipguard.native import mypyc_attr
from sipguard.wire.careful import (
    SIP_SCHEMES,
    STREAMS,
    check_sessions,
    names_a_group,
    read_carefully,
)
from sipguard.wire.fields import CSeq
from sipguard.wire.header_bits import (
    CALL_ID,
    CONTACT,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CSEQ,
    FROM,
    MAX_FORWARDS,
    NEVER_TWICE,
    RACK,
    TO,
    VIA,
)
from sipguard.wire.memo import NotPlain
from sipguard.wire.message import MAX_HEADERS, MAX_MESSAGE_OCTETS, Ids, Message
from sipguard.wire.plain import KNOWN_STARTS, known_row
from sipguard.wire.reader import split_list
from sipguard.wire.rows import Header
from sipguard.wire.start import VERSION, Start
from sipguard.wire.stun import is_stun

__all__ = (
    "MAX_HEADERS",
    "MAX_MESSAGE_OCTETS",
    "Header",
    "Ids",
    "Kind",
    "Message",
    "classify",
    "parse_message",
    "parse_plain",
    "read_carefully",
    "split_list",
)

MAX_KEEPALIVE_OCTETS: Final = 64  # CRLFs, and the NULs that some phones send
_PADDING: Final = b"\r\n\0"
_FIRST_LETTER: Final = 0x41
_MAX_START_OCTETS: Final = 8192
_TRANSPORTS: Final = {"udp": b"UDP", "tcp": b"TCP", "tls": b"TLS", "ws": b"WS", "wss": b"WSS"}
# Methods whose Contact or RAck the plain way must look at.
_DEMANDING: Final = frozenset((b"INVITE", b"UPDATE", b"PRACK"))
_NO_ROW: Final = Header(b"", b"", b"")
_MANDATORY: Final = VIA | FROM | TO | CALL_ID | CSEQ
_NO_CSEQ: Final = CSeq(-1, b"")  # a plain row has one; this satisfies the types
# What the address of a group begins with: 224 to 255, or ff.
_GROUP_OCTETS: Final = b"2f"


class Kind(Enum):
    """What a datagram on a SIP port is."""

    EMPTY_KEEPALIVE = "empty-keep-alive"
    STUN = "stun"
    SIGCOMP = "sigcomp"
    SIP = "sip"
    OTHER = "other"


def classify(payload: bytes) -> Kind:
    """Tell what a datagram is by its first line (SIP-1, SIP-3); cheap, and never raises."""
    if payload.startswith(b"SIP/2.0 "):
        return Kind.SIP
    line = payload[:_MAX_START_OCTETS].lstrip(b"\r\n").partition(b"\n")[0]
    if line.find(VERSION) >= 0:  # ``in`` takes nearly twice as long on bytes
        return Kind.SIP
    if len(payload) <= MAX_KEEPALIVE_OCTETS and not payload.strip(_PADDING):
        return Kind.EMPTY_KEEPALIVE
    if is_stun(payload):
        return Kind.STUN
    if payload[0] >= 0xF8:  # top five bits set: RFC 3320
        return Kind.SIGCOMP
    shape = line.upper()
    return Kind.SIP if shape.startswith(b"SIP/") or b" SIP/" in shape else Kind.OTHER


def parse_message(payload: bytes, transport: str = "udp") -> Message:
    """Return the message, with findings for everything that is not strictly well-formed.

    Args:
        payload: One datagram, or what a stream's framing cut out.
        transport: ``udp``, ``tcp``, ``tls``, ``ws`` or ``wss``: the carrier actually seen.

    Raises:
        HostileInput: ``NOT_SIP`` or ``BAD_STATUS`` where there is no SIP start line at all.
    """
    message = parse_plain(payload, transport)
    return read_carefully(payload, transport) if message is None else message


def parse_plain(payload: bytes, transport: str = "udp") -> Message | None:
    """Return a SIP message without any oddity; None of whatever is anything else.

    What that is, ``classify`` tells, and ``read_carefully`` what is odd about it.
    """
    if not payload or payload[0] < _FIRST_LETTER:  # keep-alives and STUN
        return None
    try:
        return _read_plain(payload, transport)
    except (NotPlain, KeyError):
        return None


def _read_plain(payload: bytes, transport: str) -> Message:
    """Read a message that has nothing odd; KeyError and NotPlain mean that it has."""
    head, blank, body = payload.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n", MAX_HEADERS + 1)
    if not blank or len(payload) > MAX_MESSAGE_OCTETS or len(lines) > MAX_HEADERS + 1:
        raise NotPlain
    start = KNOWN_STARTS[lines[0]]
    rows = _Rows(lines)
    headers = rows.headers
    via = rows.via.vias[0]
    from_ = rows.from_.addresses[0]
    to = rows.to.addresses[0]
    number, method = rows.cseq.cseq or _NO_CSEQ
    length = rows.length
    if length != len(body) and (body or length >= 0 or transport in STREAMS):
        raise NotPlain
    if body and not rows.seen & CONTENT_TYPE:
        raise NotPlain
    if start.is_request:
        if method != start.method or not from_.tag or not rows.seen & MAX_FORWARDS:
            raise NotPlain
        if via.transport != _TRANSPORTS[transport] or via.received or via.rport > 0:
            raise NotPlain
        if method in _DEMANDING:
            _check_plain_demands(start, rows)
    elif via.host[0] in _GROUP_OCTETS or rows.may_repeat:
        _check_plain_hops(headers)
    ids = Ids(rows.call_id.value, number, method, from_, to, via)
    message = Message(payload, start, method, headers, rows.seen, rows.may_repeat, body, [], ids)
    if body and message.content_type[:10] == b"multipart/":
        check_sessions(message)
    return message


@final
@mypyc_attr(acyclic=True)
class _Rows:
    """The rows of a message, and at hand what every reader asks for."""

    __slots__ = (
        *("call_id", "contact", "cseq", "from_", "headers", "length", "may_repeat", "seen"),
        *("to", "via"),
    )

    def __init__(self, lines: list[bytes]) -> None:
        """Read all lines but the first; raises NotPlain where anything is odd or missing."""
        self.headers: list[Header] = []
        self.via = self.from_ = self.to = self.call_id = self.cseq = self.contact = _NO_ROW
        self.length = -1
        self.may_repeat = False
        seen = 0
        for at in range(1, len(lines)):
            row = known_row(lines[at])
            self.headers.append(row)
            bit = row.bit
            if seen & bit or not bit:
                if bit & NEVER_TWICE:
                    raise NotPlain
                self.may_repeat = True
                continue
            seen |= bit
            if bit <= CONTACT:
                self._keep(row, bit)
        if seen & _MANDATORY != _MANDATORY:
            raise NotPlain
        self.seen = seen

    def _keep(self, row: Header, bit: int) -> None:
        if bit == VIA:
            self.via = row
        elif bit == FROM:
            self.from_ = row
        elif bit == TO:
            self.to = row
        elif bit == CALL_ID:
            self.call_id = row
        elif bit == CSEQ:
            self.cseq = row
        elif bit == CONTENT_LENGTH:
            self.length = row.number
        elif bit == CONTACT:
            self.contact = row


def _check_plain_demands(start: Start, rows: _Rows) -> None:
    if start.method == b"PRACK":
        if not rows.seen & RACK:
            raise NotPlain
        return
    contacts = rows.contact.addresses
    if len(contacts) != 1:
        raise NotPlain
    if rows.may_repeat and [row.name for row in rows.headers].count(b"contact") != 1:
        raise NotPlain
    if contacts[0].uri.scheme not in SIP_SCHEMES:
        raise NotPlain


def _check_plain_hops(headers: list[Header]) -> None:
    for row in headers:
        for via in row.vias:
            if via.host[0] in _GROUP_OCTETS and names_a_group(via.host):
                raise NotPlain

"""STUN (RFC 8489): told apart from SIP on a shared port, and read where it checks a media path.

On a SIP port it is recognized, never read (SIP-1, TLS-30). On a media port its messages are
ICE's connectivity checks (RFC 8445 section 7; PIN-13), whose credentials signalling shows.
"""

import hmac
import struct
from enum import Enum
from typing import Final, final
from zlib import crc32

from sipguard.errors import HostileInput
from sipguard.reason import Reason

MAGIC_COOKIE: Final = 0x2112A442
HEADER_OCTETS: Final = 20
TRANSACTION_OCTETS: Final = 12
BINDING: Final = 0x001
MAX_ATTRIBUTES: Final = 32  # a check has seven; some stacks add two or three of their own
# Without credentials anybody may have sent it, so it gets no room for freight: header,
# FINGERPRINT and a short SOFTWARE or mapped address (RFC 8445 section 11).
MAX_BARE_OCTETS: Final = 128

_HEADER: Final = struct.Struct("!HHL")
_METHOD_BITS: Final = 0x3EEF  # the message type without its two class bits (section 5)
_COOKIE: Final = MAGIC_COOKIE.to_bytes(4, "big")


def is_stun(payload: bytes) -> bool:
    """Tell whether this datagram is one whole STUN message (RFC 8489 section 5)."""
    if len(payload) < HEADER_OCTETS or payload[0] > 3:
        return False
    _, length, cookie = _HEADER.unpack_from(payload)
    # With the length a multiple of 4 the two low bits are 0, which tells STUN from most else.
    return bool(
        cookie == MAGIC_COOKIE and length & 3 == 0 and length == len(payload) - HEADER_OCTETS
    )


def is_binding(payload: bytes) -> bool:
    """Tell whether it is a Binding message, the only kind a SIP port is for (TLS-30)."""
    if not is_stun(payload):
        return False
    kind = payload[0] << 8 | payload[1]
    return kind & _METHOD_BITS == BINDING


class StunClass(Enum):
    """What a message is in its transaction (RFC 8489 section 3)."""

    REQUEST = "request"
    INDICATION = "indication"
    SUCCESS = "success"
    ERROR = "error"


# By the class bits, 0x0010 and 0x0100 of the message type.
_CLASSES: Final = (StunClass.REQUEST, StunClass.INDICATION, StunClass.SUCCESS, StunClass.ERROR)

_USERNAME: Final = 0x0006
_INTEGRITY: Final = 0x0008
_ERROR_CODE: Final = 0x0009
_INTEGRITY_SHA256: Final = 0x001C
_XOR_MAPPED: Final = 0x0020
_PRIORITY: Final = 0x0024
_USE_CANDIDATE: Final = 0x0025
_FINGERPRINT: Final = 0x8028
_CONTROLLED: Final = 0x8029
_CONTROLLING: Final = 0x802A

_MAX_USERNAME: Final = 513  # two fragments of 256 characters and a colon (RFC 8839 section 5.4)
_INTEGRITY_OCTETS: Final = 20
_FINGERPRINT_XOR: Final = 0x5354554E
# The octets that a value must have, where the length never varies.
_FIXED: Final = {
    _INTEGRITY: _INTEGRITY_OCTETS,
    _PRIORITY: 4,
    _USE_CANDIDATE: 0,
    _FINGERPRINT: 4,
    _CONTROLLED: 8,
    _CONTROLLING: 8,
}


@final
class Stun:
    """One STUN message: what its header and the attributes that ICE asks for say.

    ``integrity_at`` and ``sha256_at`` are where MESSAGE-INTEGRITY and its SHA-256 sister
    begin, 0 without them; ``error`` is 0 and ``username`` and ``mapped_address`` are empty
    where the message has none. Tie-breakers may be 0, so their absence is ``None``.
    """

    __slots__ = (
        *("controlled", "controlling", "error", "has_fingerprint", "integrity_at", "kind"),
        *("mapped_address", "mapped_port", "method", "priority", "sha256_at", "transaction"),
        *("use_candidate", "username"),
    )

    def __init__(self, kind: StunClass, method: int, transaction: bytes) -> None:
        """Begin with what the header says; :func:`parse_stun` adds the attributes."""
        self.kind: Final = kind
        self.method: Final = method
        self.transaction: Final = transaction
        self.username = b""
        self.integrity_at = 0
        self.sha256_at = 0
        self.has_fingerprint = False
        self.use_candidate = False
        self.priority = 0
        self.controlling: int | None = None
        self.controlled: int | None = None
        self.mapped_address = b""
        self.mapped_port = 0
        self.error = 0


def parse_stun(payload: bytes) -> Stun:
    """Read one STUN message; FINGERPRINT is verified where it is there, integrity is not.

    Of attributes that stand twice the first counts (RFC 8489 section 14), and what follows
    MESSAGE-INTEGRITY is not read, because nobody vouches for it (section 14.5).

    Raises:
        HostileInput: ``BAD_STUN`` where it is not one STUN message in one way only.
    """
    if not is_stun(payload):
        raise HostileInput(Reason.BAD_STUN, "no STUN message")
    kind = payload[0] << 8 | payload[1]
    stun = Stun(
        _CLASSES[kind >> 7 & 2 | kind >> 4 & 1],
        kind & 0x0F | kind >> 1 & 0x70 | kind >> 2 & 0xF80,
        payload[8:HEADER_OCTETS],
    )
    seen: set[int] = set()
    at, count = HEADER_OCTETS, 0
    while at < len(payload):
        attribute = int.from_bytes(payload[at : at + 2], "big")
        octets = int.from_bytes(payload[at + 2 : at + 4], "big")
        after = at + 4 + (octets + 3 & ~3)
        count += 1
        if after > len(payload) or count > MAX_ATTRIBUTES:
            raise HostileInput(Reason.BAD_STUN, "the attributes do not fit the message")
        if stun.has_fingerprint:
            raise HostileInput(Reason.BAD_STUN, "an attribute behind FINGERPRINT")
        if _counts(stun, attribute) and attribute not in seen:
            seen.add(attribute)
            if _FIXED.get(attribute, octets) != octets:
                raise HostileInput(Reason.BAD_STUN, "an attribute of another length than it has")
            _read(stun, attribute, payload, at, octets)
        at = after
    return stun


def _counts(stun: Stun, attribute: int) -> bool:
    """Report whether an attribute at this place is one to read."""
    if stun.sha256_at:
        return attribute == _FINGERPRINT
    if stun.integrity_at:
        return attribute in (_FINGERPRINT, _INTEGRITY_SHA256)
    return True


def _read(stun: Stun, attribute: int, payload: bytes, at: int, octets: int) -> None:
    value = payload[at + 4 : at + 4 + octets]
    if attribute == _USERNAME:
        if not 0 < octets <= _MAX_USERNAME:
            raise HostileInput(Reason.BAD_STUN, "a USERNAME that is empty or too long")
        stun.username = value
    elif attribute == _INTEGRITY:
        stun.integrity_at = at
    elif attribute == _INTEGRITY_SHA256:
        stun.sha256_at = at
    elif attribute == _FINGERPRINT:
        if crc32(payload[:at]) ^ _FINGERPRINT_XOR != int.from_bytes(value, "big"):
            raise HostileInput(Reason.BAD_STUN, "a wrong FINGERPRINT")
        stun.has_fingerprint = True
    elif attribute == _XOR_MAPPED:
        _read_mapped(stun, value)
    elif attribute == _ERROR_CODE:
        _read_error(stun, value)
    else:
        _read_ice(stun, attribute, value)


def _read_ice(stun: Stun, attribute: int, value: bytes) -> None:
    """Read an attribute of RFC 8445 section 16.1; all others mean nothing here."""
    if attribute == _USE_CANDIDATE:
        stun.use_candidate = True
    elif attribute == _PRIORITY:
        stun.priority = int.from_bytes(value, "big")
    elif attribute == _CONTROLLING:
        stun.controlling = int.from_bytes(value, "big")
    elif attribute == _CONTROLLED:
        stun.controlled = int.from_bytes(value, "big")


def _read_mapped(stun: Stun, value: bytes) -> None:
    """Undo the XOR of RFC 8489 section 14.2: cookie, and transaction id for IPv6."""
    family = value[1] if len(value) > 1 else 0
    octets = 4 if family == 1 else 16 if family == 2 else 0
    if not octets or len(value) != 4 + octets:
        raise HostileInput(Reason.BAD_STUN, "a mapped address of no known family")
    mask = (_COOKIE + stun.transaction)[:octets]
    stun.mapped_port = int.from_bytes(value[2:4], "big") ^ MAGIC_COOKIE >> 16
    stun.mapped_address = bytes(
        [octet ^ with_ for octet, with_ in zip(value[4:], mask, strict=True)]
    )


def _read_error(stun: Stun, value: bytes) -> None:
    hundreds = value[2] & 7 if len(value) > 3 else 0
    if not 3 <= hundreds <= 6 or value[3] > 99:
        raise HostileInput(Reason.BAD_STUN, "an error code that is none")
    stun.error = 100 * hundreds + value[3]


def has_integrity(payload: bytes, stun: Stun, password: bytes) -> bool:
    """Tell whether MESSAGE-INTEGRITY was made with a short-term *password* (RFC 8489 14.5).

    *stun* is what :func:`parse_stun` made of *payload*. The HMAC covers all before the
    attribute, under a header whose length ends with it. ICE knows the one over SHA-1 alone
    (RFC 8445 section 7.3): a message with only its SHA-256 sister has none.
    """
    at = stun.integrity_at
    if not at or not password:
        return False
    ends = at + 4 + _INTEGRITY_OCTETS
    length = (ends - HEADER_OCTETS).to_bytes(2, "big")
    expected = hmac.digest(password, payload[:2] + length + payload[4:at], "sha1")
    return hmac.compare_digest(expected, payload[at + 4 : ends])


def is_bare_check(payload: bytes) -> bool:
    """Tell a Binding request without credentials, or what answers one.

    Where there is no ICE, the passive side of DTLS opens its way with one (RFC 5763
    section 6.7.2; DTL-10), and Linphone with several. Anybody can send it, so it is small.
    """
    if len(payload) > MAX_BARE_OCTETS:
        return False
    try:
        stun = parse_stun(payload)
    except HostileInput:
        return False
    has_credentials = stun.username or stun.integrity_at or stun.sha256_at
    return stun.method == BINDING and not has_credentials

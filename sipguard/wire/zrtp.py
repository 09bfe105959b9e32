"""ZRTP packets (RFC 6189 section 5), and the ``a=zrtp-hash`` that names a Hello (section 8).

Everything up to the Confirm messages travels in clear, so that the exchange can be
followed by anyone. What the messages prove together is not judged here.
"""

from binascii import a2b_hex
from enum import Enum
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Reason

MAX_MESSAGE_WORDS: Final = 530  # a Confirm with the longest signature that its nine bits can tell
HASH_OCTETS: Final = 32
MAC_OCTETS: Final = 8

_HEADER_OCTETS: Final = 12
_CRC_OCTETS: Final = 4
_COOKIE: Final = b"ZRTP"
_PREAMBLE: Final = b"\x50\x5a"
_WORD: Final = 4
_TYPE_END: Final = 12  # of preamble, length and type, with which each message starts
_KINDS: Final = 5  # of algorithms: hash, cipher, SRTP tag, key agreement, SAS
_BAD: Final = Reason.BAD_ZRTP


class Type(Enum):
    """The message types of RFC 6189 section 5.1.1, as written in the packet."""

    HELLO = b"Hello   "
    HELLO_ACK = b"HelloACK"
    COMMIT = b"Commit  "
    DH_PART_1 = b"DHPart1 "
    DH_PART_2 = b"DHPart2 "
    CONFIRM_1 = b"Confirm1"
    CONFIRM_2 = b"Confirm2"
    CONF_2_ACK = b"Conf2ACK"
    ERROR = b"Error   "
    ERROR_ACK = b"ErrorACK"
    GO_CLEAR = b"GoClear "
    CLEAR_ACK = b"ClearACK"
    SAS_RELAY = b"SASrelay"
    RELAY_ACK = b"RelayACK"
    PING = b"Ping    "
    PING_ACK = b"PingACK "


_TYPES: Final = {kind.value: kind for kind in Type}
# The fewest words of each type, and how many more there may be (ZRT-2).
_WORDS: Final = {
    Type.HELLO: (22, 35),
    Type.HELLO_ACK: (3, 0),
    Type.COMMIT: (25, 4),
    Type.DH_PART_1: (22, MAX_MESSAGE_WORDS),
    Type.DH_PART_2: (22, MAX_MESSAGE_WORDS),
    Type.CONFIRM_1: (19, MAX_MESSAGE_WORDS),
    Type.CONFIRM_2: (19, MAX_MESSAGE_WORDS),
    Type.CONF_2_ACK: (3, 0),
    Type.ERROR: (4, 0),
    Type.ERROR_ACK: (3, 0),
    Type.GO_CLEAR: (5, 0),
    Type.CLEAR_ACK: (3, 0),
    Type.SAS_RELAY: (19, MAX_MESSAGE_WORDS),
    Type.RELAY_ACK: (3, 0),
    Type.PING: (6, 0),
    Type.PING_ACK: (9, 0),
}
# Words of a Commit; any other key agreement is a kind of Diffie-Hellman.
_COMMIT_WORDS: Final = {b"Mult": 25, b"Prsh": 27}
_DH_COMMIT_WORDS: Final = 29

# Octets of a public value. X255 and X448 are those of RFC 7748, as Linphone names them.
PUBLIC_VALUE_OCTETS: Final = {
    b"DH3k": 384,
    b"DH2k": 256,
    b"EC25": 64,
    b"EC38": 96,
    b"EC52": 132,
    b"X255": 32,
    b"X448": 56,
}
# Table 8 of section 5.9.
ERRORS: Final = {
    0x10: "malformed packet",
    0x20: "critical software error",
    0x30: "unsupported version",
    0x40: "the Hello components do not fit",
    0x51: "unsupported hash",
    0x52: "unsupported cipher",
    0x53: "unsupported key agreement",
    0x54: "unsupported SRTP tag",
    0x55: "unsupported SAS rendering",
    0x56: "no shared secret for Preshared mode",
    0x61: "bad public value",
    0x62: "the hvi does not fit",
    0x63: "a SAS relayed by an untrusted middle man",
    0x70: "bad MAC in a Confirm",
    0x80: "a nonce used again",
    0x90: "equal ZIDs",
    0x91: "equal SSRCs",
    0xA0: "service unavailable",
    0xB0: "timeout",
    0x100: "GoClear is not allowed",
}


class Hello(NamedTuple):
    """Who speaks and what it can do; ``offers`` are hashes, ciphers, tags, agreements, SAS types.

    ``h3`` is the end of the sender's hash chain, ``zid`` names the device.
    """

    version: bytes
    client: bytes
    h3: bytes
    zid: bytes
    can_sign: bool
    is_middle_man: bool
    is_passive: bool
    offers: tuple[tuple[bytes, ...], ...]
    mac: bytes


class Commit(NamedTuple):
    """What the sender wants to do; ``chosen`` has one algorithm of each kind, as in a Hello.

    ``promise`` is the hvi, a hash of what follows, or a nonce where no key is exchanged.
    """

    h2: bytes
    zid: bytes
    chosen: tuple[bytes, ...]
    promise: bytes
    key_id: bytes
    mac: bytes

    @property
    def agreement(self) -> bytes:
        """The key agreement: ``DH3k``, ``Mult`` and so on."""
        return self.chosen[3]

    @property
    def is_short(self) -> bool:
        """Tell whether the exchange goes on without DHParts (section 4.4.2 and 4.4.3)."""
        return self.agreement in _COMMIT_WORDS


class DhPart(NamedTuple):
    """A public value; ``secret_ids`` are the four hashes that compare retained secrets."""

    h1: bytes
    secret_ids: bytes
    public_value: bytes
    mac: bytes


class ZrtpPacket(NamedTuple):
    """One ZRTP packet; ``message`` is without packet header and checksum, as hashes want it.

    ``code`` is that of an Error. Of types not listed in ``content`` nothing more is read.
    """

    type: Type
    sequence: int
    ssrc: int
    message: bytes
    content: Hello | Commit | DhPart | None = None
    code: int = 0


def _crc_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        crc = octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


def crc32c(octets: bytes) -> int:
    """Return the CRC-32C of RFC 9260 appendix A; its octets are sent lowest first."""
    crc = 0xFFFF_FFFF
    for octet in octets:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFF_FFFF


def parse_zrtp(datagram: bytes) -> ZrtpPacket:
    """Read one datagram whose first octet says that it is ZRTP.

    The cookie and a length that can be are looked at before the checksum, which costs
    the most.

    Raises:
        HostileInput: ``ZRTP_CRC`` for a wrong checksum (ZRT-1), ``BAD_ZRTP`` for anything
            that section 5 does not know (ZRT-2).
    """
    octets = len(datagram) - _HEADER_OCTETS - _CRC_OCTETS
    words = octets // _WORD
    if octets < _TYPE_END or datagram[4:8] != _COOKIE or datagram[0] >> 4 != 1:
        raise HostileInput(_BAD, "no ZRTP header")
    if octets % _WORD or words > MAX_MESSAGE_WORDS:
        raise HostileInput(_BAD, "a ZRTP packet of a length that cannot be")
    if int.from_bytes(datagram[-_CRC_OCTETS:], "little") != crc32c(datagram[:-_CRC_OCTETS]):
        raise HostileInput(Reason.ZRTP_CRC, "the ZRTP checksum is wrong")
    message = datagram[_HEADER_OCTETS:-_CRC_OCTETS]
    if message[:2] != _PREAMBLE or int.from_bytes(message[2:4], "big") != words:
        raise HostileInput(_BAD, "the ZRTP message has no preamble, or tells another length")
    kind = _TYPES.get(message[4:_TYPE_END])
    if kind is None:
        raise HostileInput(_BAD, "an unknown ZRTP message", message[4:_TYPE_END])
    fewest, more = _WORDS[kind]
    if not fewest <= words <= fewest + more:
        raise HostileInput(_BAD, "a ZRTP message of another length than its type has")
    return ZrtpPacket(
        kind,
        int.from_bytes(datagram[2:4], "big"),
        int.from_bytes(datagram[8:_HEADER_OCTETS], "big"),
        message,
        _read_content(kind, message),
        int.from_bytes(message[_TYPE_END:], "big") if kind is Type.ERROR else 0,
    )


def _read_content(kind: Type, message: bytes) -> Hello | Commit | DhPart | None:
    if kind is Type.HELLO:
        return _read_hello(message)
    if kind is Type.COMMIT:
        return _read_commit(message)
    if kind is Type.DH_PART_1 or kind is Type.DH_PART_2:
        return DhPart(message[12:44], message[44:76], message[76:-8], message[-8:])
    return None


def _read_hello(message: bytes) -> Hello:
    flags = message[76]
    counts = int.from_bytes(message[77:80], "big")
    offers: list[tuple[bytes, ...]] = []
    at = 80
    for shift in range(4 * (_KINDS - 1), -1, -4):
        count = counts >> shift & 0x0F
        if count > 7:
            raise HostileInput(_BAD, "a ZRTP Hello offers more than seven algorithms of a kind")
        end = at + _WORD * count
        offers.append(tuple([message[word : word + _WORD] for word in range(at, end, _WORD)]))
        at = end
    if at + MAC_OCTETS != len(message):
        raise HostileInput(_BAD, "a ZRTP Hello whose counts and length differ")
    return Hello(
        message[12:16],
        message[16:32],
        message[32:64],
        message[64:76],
        bool(flags & 0x40),
        bool(flags & 0x20),
        bool(flags & 0x10),
        tuple(offers),
        message[at:],
    )


def _read_commit(message: bytes) -> Commit:
    chosen = tuple([message[at : at + _WORD] for at in range(56, 56 + _WORD * _KINDS, _WORD)])
    words = _COMMIT_WORDS.get(chosen[3], _DH_COMMIT_WORDS)
    if len(message) != _WORD * words:
        raise HostileInput(_BAD, "a ZRTP Commit of another length than its key agreement has")
    promise_end = 76 + (HASH_OCTETS if words == _DH_COMMIT_WORDS else 16)
    return Commit(
        message[12:44],
        message[44:56],
        chosen,
        message[76:promise_end],
        message[promise_end:-MAC_OCTETS],
        message[-MAC_OCTETS:],
    )


def parse_zrtp_hash(value: bytes) -> tuple[bytes, bytes]:
    """Return version and hash from the value of ``a=zrtp-hash`` (section 8; ZRT-5).

    Raises:
        HostileInput: ``ZRTP_HASH`` if it is not a version, a blank and 64 hex digits.
    """
    version, _, digits = value.partition(b" ")
    if not 1 <= len(version) <= 8 or version.translate(None, b"0123456789."):
        raise HostileInput(Reason.ZRTP_HASH, "an a=zrtp-hash without a version", value[:128])
    if len(digits) != 2 * HASH_OCTETS or digits.translate(None, b"0123456789abcdefABCDEF"):
        raise HostileInput(Reason.ZRTP_HASH, "an a=zrtp-hash without 64 hex digits", value[:128])
    return version, a2b_hex(digits)

"""MIKEY messages, and the ``a=key-mgmt`` lines that carry them (RFC 3830, 4567; MIK-1).

A message is read to its last octet or not at all: a chain of payloads that two readers
could follow differently opens no pinhole. SRTP keys may stand in it in clear, so neither
``Mikey`` nor ``KeyManagement`` has a ``repr``, and no error carries octets of a message.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Sequence
from typing import Final, NamedTuple, final

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.mikey_payloads import READERS, Cut, Parts, read_signature, refuse
from sipguard.wire.mikey_values import (
    CHASH,
    KEMAC,
    LAST,
    NOT_CHOSEN,
    PKE,
    RAND,
    SAKKE,
    SAKKE_INIT,
    SIGN,
    TICKET,
    TICKET_RESOLVES,
    TP,
    T,
    V,
)

MIKEY: Final = b"mikey"
MAX_MESSAGE_OCTETS: Final = 16_384  # signed, with a chain of certificates: 4,000
MAX_PAYLOADS: Final = 64
MAX_PROTOCOLS: Final = 8  # key-mgmt lines at one place; there is one protocol so far

SRTP_ID: Final = 0
EMPTY_MAP: Final = 1
GENERIC_ID: Final = 2

_VERSION: Final = 1
_LAST_TYPE: Final = TICKET_RESOLVES[-1]
_V_FLAG: Final = 0x80
_SRTP: Final = 0  # protocol type
_ONCE: Final = frozenset((KEMAC, PKE, T, CHASH, V, RAND, TP, TICKET, SAKKE))
_MAX_TEXT_OCTETS: Final = (MAX_MESSAGE_OCTETS + 2) // 3 * 4
_PROTOCOL: Final = re.compile(rb"[A-Za-z0-9]{1,32}")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]++={0,2}")


class CryptoSession(NamedTuple):
    """One SRTP stream as the header maps it; ``ssrc`` may be ``NOT_CHOSEN`` yet.

    ``policies`` are numbers of security policies, the one that applies or those on offer.
    """

    cs_id: int
    policies: tuple[int, ...]
    ssrc: int
    roc: int


@final
class Mikey:
    """One message. Where a payload is absent: None, ``b""`` or an empty tuple.

    ``order`` lists the payloads as they stand, by their numbers.
    """

    __slots__ = (
        *("certificate_hash", "certificates", "csb_id", "data_type", "dhs", "envelope"),
        *("errors", "extensions", "identities", "kemac", "map_type", "octets", "order"),
        *("policies", "prf", "rand", "sessions", "signature", "stamp", "verification"),
        *("wants_response", "wants_transfer"),
    )

    def __init__(
        self,
        octets: bytes,
        map_type: int,
        sessions: tuple[CryptoSession, ...],
        parts: Parts,
    ) -> None:
        """Take the header's fixed fields from *octets*, and the rest as it was read."""
        self.octets: Final = octets
        self.data_type: Final[int] = octets[1]
        self.wants_response: Final = bool(octets[3] & _V_FLAG)
        self.prf: Final[int] = octets[3] & ~_V_FLAG
        self.csb_id: Final = octets[4:8]
        self.map_type: Final = map_type
        self.sessions: Final = sessions
        self.order: Final = tuple(parts.order)
        self.stamp: Final = parts.stamp
        self.rand: Final = parts.rand
        self.identities: Final = tuple(parts.identities)
        self.certificates: Final = tuple(parts.certificates)
        self.certificate_hash: Final = parts.certificate_hash
        self.kemac: Final = parts.kemac
        self.envelope: Final = parts.envelope
        self.dhs: Final = tuple(parts.dhs)
        self.signature: Final = parts.signature
        self.verification: Final = parts.verification
        self.policies: Final = tuple(parts.policies)
        self.errors: Final = tuple(parts.errors)
        self.extensions: Final = tuple(parts.extensions)
        self.wants_transfer: Final = parts.wants_transfer

    def extension(self, kind: int) -> bytes | None:
        """Return the content of the first general extension of this kind."""
        for extension in self.extensions:
            if extension.kind == kind:
                return extension.octets
        return None


def parse_mikey(octets: bytes) -> Mikey:
    """Return the message in *octets*; which payloads must be there is not asked here.

    Raises:
        HostileInput: ``BAD_MIKEY`` where the version, the message's or a payload's type is
            not known, a length runs past the end, octets are left over, or a payload
            stands twice that can count only once (MIK-1).
    """
    if len(octets) > MAX_MESSAGE_OCTETS:
        refuse("a MIKEY message that is longer than 16 KiB")
    cut = Cut(octets)
    if cut.number(1) != _VERSION:
        refuse("a version of MIKEY that is not 1")
    data_type = cut.number(1)
    if data_type > _LAST_TYPE and data_type != SAKKE_INIT:
        refuse("a message of an unknown type")
    following = cut.number(1)
    cut.take(5)  # V, PRF and CSB ID
    count, map_type = cut.number(1), cut.number(1)
    sessions = _read_sessions(cut, count, map_type)
    parts = Parts(data_type)
    _read_chain(cut, parts, following)
    return Mikey(octets, map_type, sessions, parts)


def _read_sessions(cut: Cut, count: int, map_type: int) -> tuple[CryptoSession, ...]:
    """Read the CS ID map info, of 9 octets a session for SRTP-ID (RFC 3830 section 6.1.1)."""
    if map_type == EMPTY_MAP:
        return ()
    sessions: list[CryptoSession] = []
    for cs_id in range(1, count + 1):
        if map_type == SRTP_ID:
            policy, ssrc, roc = cut.number(1), cut.number(4), cut.number(4)
            # 0 says that the stream's sender chooses, and is not this message's.
            sessions.append(CryptoSession(cs_id, (policy,), ssrc or NOT_CHOSEN, roc))
        elif map_type == GENERIC_ID:
            sessions.append(_read_generic(cut))
        else:
            refuse("a map of crypto sessions of an unknown type")
    if len({session.cs_id for session in sessions}) != len(sessions):
        refuse("two crypto sessions with one number")
    return tuple(sessions)


def _read_generic(cut: Cut) -> CryptoSession:
    """Read one block of a GENERIC-ID map (RFC 6043 section 6.1.1); 0 is an SSRC there."""
    cs_id, protocol = cut.number(1), cut.number(1)
    policies = tuple(cut.take(cut.number(1) & 0x7F))
    detail = cut.take(cut.number(2))
    cut.take(cut.number(1))  # SPI
    ssrc, roc = NOT_CHOSEN, 0
    if protocol == _SRTP and len(detail) >= 4:
        ssrc = int.from_bytes(detail[:4], "big")
        roc = int.from_bytes(detail[4:8], "big")
    return CryptoSession(cs_id, policies, ssrc, roc)


def _read_chain(cut: Cut, parts: Parts, first: int) -> None:
    following = first
    while following != LAST:
        if len(parts.order) == MAX_PAYLOADS:
            refuse("more payloads than sipguard reads")
        if following in _ONCE and following in parts.order:
            refuse("a payload twice that can count only once")
        parts.order.append(following)
        if following == SIGN:
            read_signature(cut, parts)
            break
        read = READERS.get(following)
        if read is None:
            refuse("a payload of an unknown type")
        following = cut.number(1)
        read(cut, parts)
    if cut.left():
        refuse("octets after the last payload")


@final
class KeyManagement:
    """The ``a=key-mgmt`` lines of one place: protocols as listed, and the MIKEY message.

    ``octets`` is empty where MIKEY is not among ``listed``.
    """

    __slots__ = ("listed", "octets")

    def __init__(self, listed: tuple[bytes, ...], octets: bytes) -> None:
        self.listed: Final = listed
        self.octets: Final = octets


def parse_key_mgmt(values: Sequence[bytes]) -> KeyManagement:
    """Read ``[SP] prtcl-id SP base64``, one value for each line (RFC 4567 section 3.1).

    *values* are those of one place, the session level or one media section, in their
    order; a media section that has some ignores the session's.

    Raises:
        HostileInput: ``BAD_MIKEY`` where a line is not of this form, or two carry MIKEY:
            its options are not negotiated in this way (RFC 4567 section 4.1.2).
    """
    if len(values) > MAX_PROTOCOLS:
        refuse("more key management lines than sipguard reads")
    listed: list[bytes] = []
    octets = b""
    for value in values:
        protocol, blank, text = value.removeprefix(b" ").partition(b" ")
        if not blank or _PROTOCOL.fullmatch(protocol) is None:
            raise HostileInput(Reason.BAD_MIKEY, "no key-mgmt line", protocol[:32])
        if protocol in listed:
            refuse("two key management lines of one protocol")
        listed.append(protocol)
        if protocol == MIKEY:
            octets = _decode(text)
    return KeyManagement(tuple(listed), octets)


def _decode(text: bytes) -> bytes:
    """Decode base64, with its padding or without, as for ``a=crypto``."""
    if len(text) > _MAX_TEXT_OCTETS:
        refuse("a MIKEY message that is longer than 16 KiB")
    bare = text.rstrip(b"=")
    padded = bare + b"=" * (-len(bare) % 4)
    if _BASE64.fullmatch(text) is None or len(text) not in (len(bare), len(padded)):
        refuse("a MIKEY message that is not base64")
    try:
        return a2b_base64(padded)
    except Base64Error:
        refuse("a MIKEY message that is not base64")

"""RTP and RTCP headers, and what else shares their port (RFC 3550, 5761, 7983).

Headers are never encrypted by SRTP (RFC 3711 section 3.1), so they can be read here
whatever the key. What follows them may be clear or not; nothing in a single packet
tells for sure.
"""

from enum import Enum
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.reason import Reason

RTP_HEADER_OCTETS: Final = 12
RTCP_HEADER_OCTETS: Final = 8
SRTCP_INDEX_OCTETS: Final = 4

_VERSION_BITS: Final = 0xC0
_VERSION_2: Final = 0x80
_EXTENSION: Final = 0x10
_MAX_RTCP_BLOCKS: Final = 64  # of a compound packet; an MTU holds fewer


class Kind(Enum):
    """What a datagram on a media port is, by its first octet (RFC 7983 section 7; DTL-7)."""

    STUN = "stun"
    ZRTP = "zrtp"
    DTLS = "dtls"
    TURN_CHANNEL = "turn-channel"
    RTP = "rtp"
    RTCP = "rtcp"
    OTHER = "other"


_RTCP: Final = Kind.RTCP
_BY_FIRST_OCTET: Final = tuple(
    Kind.STUN
    if first <= 3
    else Kind.ZRTP
    if 16 <= first <= 19
    else Kind.DTLS
    if 20 <= first <= 63
    else Kind.TURN_CHANNEL
    if 64 <= first <= 79
    else Kind.RTP
    if 128 <= first <= 191
    else Kind.OTHER
    for first in range(256)
)


def kind_of(payload: bytes) -> Kind:
    """Tell a datagram of a media port by its first octets; RTCP from RTP by its type (PIN-11)."""
    if not payload:
        return Kind.OTHER
    kind = _BY_FIRST_OCTET[payload[0]]
    if kind is Kind.RTP and len(payload) > 1 and 192 <= payload[1] <= 223:
        return Kind.RTCP
    return kind


@final
class Rtp:
    """The header of one RTP or SRTP packet; ``header_octets`` counts CSRCs and extension."""

    __slots__ = (
        *("header_octets", "marker", "octets", "payload_type"),
        *("sequence", "ssrc", "timestamp"),
    )

    def __init__(
        self,
        payload_type: int,
        marker: bool,
        sequence: int,
        timestamp: int,
        ssrc: int,
        header_octets: int,
        octets: int,
    ) -> None:
        """Keep what the header says; *octets* is the whole packet's length."""
        self.payload_type: Final = payload_type
        self.marker: Final = marker
        self.sequence: Final = sequence
        self.timestamp: Final = timestamp
        self.ssrc: Final = ssrc
        self.header_octets: Final = header_octets
        self.octets: Final = octets


def parse_rtp(payload: bytes) -> Rtp:
    """Read an RTP header (RFC 3550 section 5.1).

    Raises:
        HostileInput: ``BAD_RTP`` where it is not one, or ends before it says (SRT-1).
    """
    octets = len(payload)
    if octets < RTP_HEADER_OCTETS or payload[0] & _VERSION_BITS != _VERSION_2:
        raise HostileInput(Reason.BAD_RTP, "no RTP header")
    first, second = payload[0], payload[1]
    header = RTP_HEADER_OCTETS + 4 * (first & 0x0F)
    if first & _EXTENSION:
        if octets < header + 4:
            raise HostileInput(Reason.BAD_RTP, "the header extension is cut off")
        header += 4 + 4 * int.from_bytes(payload[header + 2 : header + 4], "big")
    if octets < header:
        raise HostileInput(Reason.BAD_RTP, "the header is longer than the packet")
    return Rtp(
        second & 0x7F,
        bool(second & 0x80),
        int.from_bytes(payload[2:4], "big"),
        int.from_bytes(payload[4:8], "big"),
        int.from_bytes(payload[8:12], "big"),
        header,
        octets,
    )


@final
class Rtcp:
    """The first header of an RTCP or SRTCP packet, the only one that SRTCP leaves in clear."""

    __slots__ = ("octets", "packet_type", "ssrc")

    def __init__(self, packet_type: int, ssrc: int, octets: int) -> None:
        """Keep what the header says; *octets* is the whole datagram's length."""
        self.packet_type: Final = packet_type
        self.ssrc: Final = ssrc
        self.octets: Final = octets


def parse_rtcp(payload: bytes) -> Rtcp:
    """Read the first RTCP header of a datagram (RFC 3550 section 6.4).

    Raises:
        HostileInput: ``BAD_RTCP`` where it is not one (SRT-2).
    """
    if len(payload) < RTCP_HEADER_OCTETS or payload[0] & _VERSION_BITS != _VERSION_2:
        raise HostileInput(Reason.BAD_RTCP, "no RTCP header")
    return Rtcp(payload[1], int.from_bytes(payload[4:8], "big"), len(payload))


def ssrc_of(payload: bytes) -> int:
    """Return the SSRC where RTP or RTCP has its sender's, 0 where it is cut off before that."""
    at = 4 if kind_of(payload) is _RTCP else 8
    return int.from_bytes(payload[at : at + 4], "big") if len(payload) >= at + 4 else 0


def is_clear_rtcp(payload: bytes) -> bool:
    """Tell whether the datagram is a compound of clear RTCP packets that ends with it.

    The lengths of clear packets add up to the datagram's (RFC 3550 section 6.1). SRTCP
    adds its index and tag behind them, and encrypts all headers but the first.
    """
    at = blocks = 0
    while at + 4 <= len(payload) and blocks < _MAX_RTCP_BLOCKS:
        if payload[at] & _VERSION_BITS != _VERSION_2 or not 192 <= payload[at + 1] <= 223:
            return False
        at += 4 + 4 * int.from_bytes(payload[at + 2 : at + 4], "big")
        blocks += 1
    return blocks > 0 and at == len(payload)

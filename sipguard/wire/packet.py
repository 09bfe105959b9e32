"""IP and UDP headers (RFC 791, RFC 8200, RFC 768): octets to a ``Packet`` and back.

The live gateway and the capture reader share this one reading. What it cannot
read with certainty it refuses: a fragment, a source route or an unknown
extension header can make the endpoint see another packet than we judged.
Checksums are not verified here: the kernel does it before a packet is queued,
and packets of local senders still wait for the network card to fill theirs in.
"""

import ipaddress
import struct
from functools import lru_cache
from typing import Final, NamedTuple, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Reason
from sipguard.wire.channel import CLEAR, Channel

UDP: Final = 17
IPV6_FRAGMENT: Final = 44
MAX_EXTENSION_HEADERS: Final = 8  # RFC 8200 names seven, none of them more than twice
MAX_ADDRESS_TEXT_OCTETS: Final = 45  # the longest IPv6 literal, with an embedded IPv4 address

_AUTHENTICATION: Final = 51
_ROUTING: Final = 43
_HOP_BY_HOP: Final = 0
_DESTINATION_OPTIONS: Final = 60
_EXTENSIONS: Final = frozenset({_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS, _AUTHENTICATION})
# Extension headers by IANA's list whose meaning for the payload we do not know:
# mobility, HIP, Shim6, and two for experiments.
_UNREAD_EXTENSIONS: Final = frozenset({135, 139, 140, 253, 254})
_LOOSE_SOURCE_ROUTE: Final = 0x83
_STRICT_SOURCE_ROUTE: Final = 0x89
_MORE_OR_OFFSET: Final = 0x3FFF  # every bit of the IPv4 fragment word but DF and the reserved one

# "x" skips what no decision needs.
_IPV4: Final = struct.Struct("!BxH2xHxB2x4s4s")
_IPV6: Final = struct.Struct("!B3xHBx16s16s")
_UDP: Final = struct.Struct("!HHH")
_MAPPED_PREFIX: Final = b"\x00" * 10 + b"\xff\xff"


@final
@mypyc_attr(acyclic=True)
class Packet:
    """One UDP datagram, or one message taken from a stream, with its ends.

    Addresses are 4 or 16 network-order octets. ``transport`` is ``udp``,
    ``tcp``, ``tls``, ``ws`` or ``wss``; ``interface`` names the interface it
    came in by, empty where nobody knows. ``channel`` is the rest of the way it came.
    """

    __slots__ = ("channel", "dport", "dst", "interface", "payload", "sport", "src", "transport")

    def __init__(
        self,
        src: bytes,
        dst: bytes,
        sport: int,
        dport: int,
        payload: bytes,
        transport: str = "udp",
        interface: str = "",
        channel: Channel = CLEAR,
    ) -> None:
        """Keep what was read."""
        self.src: Final = src
        self.dst: Final = dst
        self.sport: Final = sport
        self.dport: Final = dport
        self.payload: Final = payload
        self.transport: Final = transport
        self.interface: Final = interface
        self.channel: Final = channel

    def changed(
        self,
        *,
        src: bytes | None = None,
        dst: bytes | None = None,
        sport: int | None = None,
        dport: int | None = None,
        payload: bytes | None = None,
        transport: str | None = None,
        interface: str | None = None,
        channel: Channel | None = None,
    ) -> "Packet":
        """Return the same packet with other values for those that are given."""
        return Packet(
            self.src if src is None else src,
            self.dst if dst is None else dst,
            self.sport if sport is None else sport,
            self.dport if dport is None else dport,
            self.payload if payload is None else payload,
            self.transport if transport is None else transport,
            self.interface if interface is None else interface,
            self.channel if channel is None else channel,
        )

    def _all(self) -> tuple[object, ...]:
        return (
            *(self.src, self.dst, self.sport, self.dport, self.payload),
            *(self.transport, self.interface, self.channel),
        )

    def __eq__(self, other: object) -> bool:
        """Whether every value is the same."""
        return isinstance(other, Packet) and self._all() == other._all()

    def __hash__(self) -> int:
        """Hash every value."""
        return hash(self._all())

    def __repr__(self) -> str:
        """Show every value, for a failing test."""
        return f"Packet{self._all()!r}"


def parse_packet(octets: bytes, interface: str = "", channel: Channel = CLEAR) -> Packet:
    """Read one whole IP packet that carries UDP.

    Octets behind the UDP length are refused: receivers ignore them (RFC 768), so
    they would be a tunnel past every rule. Octets behind the IP length are refused
    as well, since the kernel never shows any.

    Raises:
        HostileInput: ``IP_FRAGMENT``, ``NOT_UDP``, or ``MALFORMED_PACKET`` for
            anything else that cannot be read.
    """
    size = len(octets)
    if size >= 28:
        if octets[0] == 0x45:
            start = 28
            src, dst = octets[12:16], octets[16:20]
            is_whole = _u16(octets, 2) == size and not _u16(octets, 6) & _MORE_OR_OFFSET
            is_plain = octets[9] == UDP and is_whole
        else:
            start = 48
            src, dst = octets[8:24], octets[24:40]
            is_plain = size >= 48 and octets[6] == UDP and octets[0] >> 4 == 6
            is_plain = is_plain and _u16(octets, 4) == size - 40
        if is_plain:
            if _u16(octets, start - 4) != size - start + 8:
                raise _malformed("the UDP length does not fit the packet")
            sport, dport = _u16(octets, start - 8), _u16(octets, start - 6)
            payload = octets[start:]
            return Packet(src, dst, sport, dport, payload, "udp", interface, channel)
    return _parse_slowly(octets, interface, channel)


def _u16(octets: bytes, at: int) -> int:
    return octets[at] << 8 | octets[at + 1]


class IpHeader(NamedTuple):
    """What an IP header says: ends, the upper protocol, and where its octets start.

    With ``fragmented`` set, ``start`` points behind an IPv4 header, or at the
    fragment header of IPv6 (``protocol`` is then 44).
    """

    src: bytes
    dst: bytes
    protocol: int
    start: int
    fragmented: bool


def parse_ip(octets: bytes) -> IpHeader:
    """Read the headers of one IP packet up to its upper protocol, whichever that is.

    Raises:
        HostileInput: ``MALFORMED_PACKET``.
    """
    version = octets[0] >> 4 if octets else 0
    if version == 4:
        return _parse_ipv4(octets)
    if version == 6:
        return _parse_ipv6(octets)
    raise _malformed("neither IPv4 nor IPv6")


def _parse_slowly(octets: bytes, interface: str, channel: Channel) -> Packet:
    """Read what the fast path leaves: options, extension headers, and everything wrong."""
    src, dst, protocol, start, fragmented = parse_ip(octets)
    if fragmented:
        raise HostileInput(Reason.IP_FRAGMENT, "an IP fragment")
    if protocol != UDP:
        raise HostileInput(Reason.NOT_UDP, f"IP protocol {protocol}")
    if len(octets) - start < 8:
        raise _malformed("the UDP header is cut off")
    sport, dport, length = _UDP.unpack_from(octets, start)
    if length != len(octets) - start:
        raise _malformed("the UDP length does not fit the packet")
    return Packet(src, dst, sport, dport, octets[start + 8 :], "udp", interface, channel)


def _parse_ipv4(octets: bytes) -> IpHeader:
    if len(octets) < 20:
        raise _malformed("the IPv4 header is cut off")
    first, total, fragment, protocol, src, dst = _IPV4.unpack_from(octets)
    start = (first & 15) * 4
    if start < 20 or total < start or total != len(octets):
        raise _malformed("the IPv4 lengths do not fit the packet")
    if start > 20:
        _check_options(octets[20:start])
    return IpHeader(src, dst, protocol, start, bool(fragment & _MORE_OR_OFFSET))


def _check_options(options: bytes) -> None:
    """Walk IPv4 options (RFC 791 section 3.1); refuse source routes (RFC 7126 section 4.3).

    A source-routed packet names another final destination than the header we
    judge by, and answers would travel by the sender's choice.
    """
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            raise _malformed("an IPv4 option with a wrong length")
        if kind in (_LOOSE_SOURCE_ROUTE, _STRICT_SOURCE_ROUTE):
            raise _malformed("an IPv4 source route")
        at += length


def _parse_ipv6(octets: bytes) -> IpHeader:
    if len(octets) < 40:
        raise _malformed("the IPv6 header is cut off")
    _, length, upper, src, dst = _IPV6.unpack_from(octets)
    # A jumbogram (RFC 2675) has length 0 here and does not fit either; no SIP sender makes one.
    if length != len(octets) - 40:
        raise _malformed("the IPv6 payload length does not fit the packet")
    start = 40
    for position in range(MAX_EXTENSION_HEADERS + 1):
        if upper in _UNREAD_EXTENSIONS:
            raise _malformed(f"IPv6 extension header {upper}")
        if upper not in _EXTENSIONS:
            return IpHeader(src, dst, upper, start, upper == IPV6_FRAGMENT)
        if upper == _HOP_BY_HOP and position:
            raise _malformed("hop-by-hop options that do not stand first")
        start, upper = _skip_extension(octets, start, upper)
    raise _malformed(f"more than {MAX_EXTENSION_HEADERS} IPv6 extension headers")


def _skip_extension(octets: bytes, start: int, kind: int) -> tuple[int, int]:
    """Return where the next header starts, and its kind (RFC 8200 section 4)."""
    if len(octets) - start < 8:
        raise _malformed("an IPv6 extension header is cut off")
    if kind == _ROUTING and (octets[start + 2] == 0 or octets[start + 3]):
        # Type 0 is forbidden (RFC 5095); with segments left the destination is not the final one.
        raise _malformed("an IPv6 source route")
    units = octets[start + 1]
    size = (units + 2) * 4 if kind == _AUTHENTICATION else (units + 1) * 8
    if start + size > len(octets):
        raise _malformed("an IPv6 extension header is cut off")
    return start + size, octets[start]


def _malformed(detail: str) -> HostileInput:
    return HostileInput(Reason.MALFORMED_PACKET, detail)


def build_udp(packet: Packet) -> bytes:
    """Return the IPv4 or IPv6 packet, with checksums, that carries this payload by UDP.

    Raises:
        ValueError: the addresses are of two families or of none, a port is out
            of range, or the payload does not fit; a fault of ours, not of a peer.
    """
    src, dst, length = packet.src, packet.dst, len(packet.payload) + 8
    if not (0 <= packet.sport <= 65535 and 0 <= packet.dport <= 65535):
        raise ValueError("a port is out of range")
    if length > 65535:
        raise ValueError("the payload does not fit one UDP datagram")
    head = struct.pack("!HHHH", packet.sport, packet.dport, length, 0)
    pseudo = src + dst + struct.pack("!LL", length, UDP)
    # A computed 0 is sent as all ones; 0 would mean "no checksum" (RFC 768).
    checksum = _complement_sum(pseudo + head + packet.payload) or 0xFFFF
    datagram = head[:6] + checksum.to_bytes(2, "big") + packet.payload
    return build_ip(src, dst, UDP, datagram)


def build_ip(src: bytes, dst: bytes, protocol: int, payload: bytes) -> bytes:
    """Return the IP packet, without options, that carries *payload* between two addresses.

    Raises:
        ValueError: the payload does not fit, or the addresses are of two families.
    """
    if len(dst) != len(src) or len(src) not in (4, 16):
        raise ValueError("source and destination must be two addresses of one family")
    total = len(payload) + (20 if len(src) == 4 else 0)
    if total > 65535:
        raise ValueError("the payload does not fit one IP packet")
    if len(src) == 16:
        return struct.pack("!LHBB", 6 << 28, total, protocol, 64) + src + dst + payload
    # DF with identification 0: an atomic datagram needs none (RFC 6864 section 4.1).
    front = struct.pack("!BBHHHBB", 0x45, 0, total, 0, 0x4000, 64, protocol)
    checksum = _complement_sum(front + b"\x00\x00" + src + dst)
    return front + checksum.to_bytes(2, "big") + src + dst + payload


def _complement_sum(octets: bytes) -> int:
    """Return the Internet checksum (RFC 1071): a one's complement sum is a remainder by 65535."""
    padded = octets + b"\x00" if len(octets) % 2 else octets
    return (0xFFFF - int.from_bytes(padded, "big") % 0xFFFF) % 0xFFFF


def network_of(address: bytes) -> bytes:
    """Return what one subscriber has: an IPv4 address, or the /64 of an IPv6 address.

    A host has 2**64 IPv6 addresses of its own; counted one by one, no flood would be one.
    """
    return address if len(address) == 4 else address[:8]


@lru_cache(maxsize=8192)
def show_address(address: bytes) -> str:
    """Return an address as text (RFC 5952); octets that are none come back as hex digits."""
    if len(address) == 4:
        return ".".join(map(str, address))
    if len(address) != 16:
        return address.hex()
    if address.startswith(_MAPPED_PREFIX):
        return "::ffff:" + ".".join(map(str, address[12:]))
    return str(ipaddress.IPv6Address(address))


def parse_address(text: bytes) -> bytes | None:
    """Return the 4 or 16 octets of an IP literal without brackets, or ``None`` if it is none.

    Leading zeros in IPv4 (octal to some), zone ids and blanks are refused.
    """
    return _parse_address(text) if len(text) <= MAX_ADDRESS_TEXT_OCTETS else None


@lru_cache(maxsize=8192)
def _parse_address(text: bytes) -> bytes | None:
    try:
        shown = text.decode("ascii")
        if ":" not in shown:
            return ipaddress.IPv4Address(shown).packed
        return None if "%" in shown else ipaddress.IPv6Address(shown).packed
    except ValueError:
        return None

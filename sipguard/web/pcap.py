"""One packet as a pcap file in memory, for a download."""

import struct
from typing import Final

from sipguard.wire.packet import Packet, build_udp

_MAGIC: Final = 0xA1B2C3D4
_LINKTYPE_RAW: Final = 101
_SNAP: Final = 65_535


def pcap_of(packet: Packet, time_s: float) -> bytes:
    """Return a file that Wireshark opens, with this packet as a UDP datagram."""
    octets = build_udp(packet)
    seconds, microseconds = divmod(round(time_s * 1_000_000), 1_000_000)
    return (
        struct.pack("<LHHlLLL", _MAGIC, 2, 4, 0, 0, _SNAP, _LINKTYPE_RAW)
        + struct.pack("<LLLL", seconds & 0xFFFFFFFF, microseconds, len(octets), len(octets))
        + octets
    )

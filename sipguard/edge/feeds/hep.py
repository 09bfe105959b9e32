"""HEP version 3: judged messages for Homer, in its own encapsulation.

The payload is the message as the record keeps it: masked, and cut at 8 KiB.
Stars fill up what they hide, so that Content-Length still tells where it ends.
"""

import struct
from typing import Final

from sipguard.journal.masking import filled_up
from sipguard.journal.record import MESSAGE_OCTETS, Record

_IPV4, _IPV6 = 2, 10  # as AF_INET and AF_INET6 of Linux
_TCP, _UDP = 6, 17
_SIP: Final = 1
_MAX_KEY: Final = 256
_PAST_YEAR_2106: Final = 0xFFFFFFFF


def has_message(record: Record) -> bool:
    """Whether there is a message to encapsulate, and two ends it went between."""
    return bool(record.message) and len(record.src) == len(record.dst) in (4, 16)


def packet_of(record: Record, capture_id: int, key: bytes = b"") -> bytes:
    """Return one HEP packet; *key* is what the receiver knows this gateway by, if anything."""
    is_ipv4 = len(record.src) == 4
    time_s = min(max(record.first_s, 0.0), float(_PAST_YEAR_2106))
    chunks = [
        _chunk(1, bytes((_IPV4 if is_ipv4 else _IPV6,))),
        _chunk(2, bytes((_UDP if record.transport == "udp" else _TCP,))),
        _chunk(3 if is_ipv4 else 5, record.src),
        _chunk(4 if is_ipv4 else 6, record.dst),
        _chunk(7, struct.pack("!H", record.src_port)),
        _chunk(8, struct.pack("!H", record.dst_port)),
        _chunk(9, struct.pack("!I", int(time_s))),
        _chunk(10, struct.pack("!I", int(time_s % 1 * 1_000_000))),
        _chunk(11, bytes((_SIP,))),
        _chunk(12, struct.pack("!I", capture_id)),
    ]
    if key:
        chunks.append(_chunk(14, key[:_MAX_KEY]))
    if record.call_id:
        chunks.append(_chunk(17, record.call_id.encode("utf-8", "replace")))
    is_whole = record.octets <= MESSAGE_OCTETS
    chunks.append(_chunk(15, filled_up(record.message) if is_whole else record.message))
    octets = b"".join(chunks)
    return b"HEP3" + struct.pack("!H", 6 + len(octets)) + octets


def _chunk(kind: int, value: bytes) -> bytes:
    return struct.pack("!HHH", 0, kind, 6 + len(value)) + value

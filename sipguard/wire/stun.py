"""STUN (RFC 8489) told apart from SIP on a shared port (SIP-1, TLS-30): recognized, never read."""

import struct
from typing import Final

MAGIC_COOKIE: Final = 0x2112A442
HEADER_OCTETS: Final = 20

_HEADER: Final = struct.Struct("!HHL")
_BINDING: Final = 0x0001
_METHOD_BITS: Final = 0x3EEF  # the message type without its two class bits (section 5)


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
    return kind & _METHOD_BITS == _BINDING

"""By which interface the peer of an accepted TCP connection came in.

The kernel remembers it of the SYN (``mc_index``, ``mcast_oif``) and tells it by
``IP_PKTOPTIONS`` (ip(7), ipv6(7), RFC 2292 section 4.1). The mark of the SYN would
be told by ``SO_MARK`` under ``net.ipv4.tcp_fwmark_accept`` alone, and our own SYN-ACK
would then be routed by it, back to this machine.
"""

import socket
import struct
from typing import Final

_IPV4: Final = (socket.IPPROTO_IP, 8, 9)  # level, IP_PKTINFO, IP_PKTOPTIONS
_IPV6: Final = (socket.IPPROTO_IPV6, 49, 6)  # level, IPV6_RECVPKTINFO, IPV6_2292PKTOPTIONS
_HEAD: Final = struct.Struct("@Nii")  # of a control message: length, level, kind
_IPV4_INFO: Final = struct.Struct("@i8x")  # in_pktinfo: the index first
_IPV6_INFO: Final = struct.Struct("@16xi")  # in6_pktinfo: behind the address
_ROOM: Final = 256


def interface_of(connection: socket.socket) -> str:
    """Return the interface's name; empty where the kernel does not say, or it is gone."""
    is_ipv6 = connection.family == socket.AF_INET6
    level, ask, told = _IPV6 if is_ipv6 else _IPV4
    try:
        connection.setsockopt(level, ask, 1)
        index = _index_in(connection.getsockopt(level, told, _ROOM), level, is_ipv6=is_ipv6)
        return socket.if_indextoname(index) if index else ""
    except OSError:
        return ""


def _index_in(control: bytes, level: int, *, is_ipv6: bool) -> int:
    """Return the index in the first control message, which is the one that was asked for."""
    form = _IPV6_INFO if is_ipv6 else _IPV4_INFO
    if len(control) < _HEAD.size + form.size:
        return 0
    length, said, _ = _HEAD.unpack_from(control)
    if said != level or length != _HEAD.size + form.size:
        return 0
    (index,) = form.unpack_from(control, _HEAD.size)
    return int(index)

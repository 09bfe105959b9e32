"""By which interface an address is reached, as the kernel's routes say (rtnetlink)."""

import socket
import struct
from typing import Final

_NETLINK_ROUTE: Final = 0
_GET_ROUTE, _NEW_ROUTE = 26, 24
_REQUEST: Final = 1
_DESTINATION, _OUT_INTERFACE = 1, 4
_HEADER: Final = struct.Struct("=IHHII")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")


def interface_towards(address: bytes) -> str:
    """Return the interface's name; empty where there is no route, or no answer."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as link:
            link.setblocking(False)  # the kernel answers before `send` returns
            link.send(_question(address))
            return socket.if_indextoname(_index_in(link.recv(4096)))
    except (OSError, struct.error):
        return ""


def _question(address: bytes) -> bytes:
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(4 + len(address), _DESTINATION) + address
    return _HEADER.pack(16 + len(body), _GET_ROUTE, _REQUEST, 1, 0) + body


def _index_in(answer: bytes) -> int:
    length, kind, _, _, _ = _HEADER.unpack_from(answer)
    at = _HEADER.size + _ROUTE.size
    while kind == _NEW_ROUTE and at + 8 <= min(length, len(answer)):
        size, what = _ATTRIBUTE.unpack_from(answer, at)
        if what == _OUT_INTERFACE:
            return int(struct.unpack_from("=I", answer, at + 4)[0])
        at += max(size + 3 & ~3, 4)
    raise OSError("no route")

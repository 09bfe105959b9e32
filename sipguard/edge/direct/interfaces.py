"""Which interfaces there are, and whether the kernel has IPsec policies: asked by netlink.

Layouts: linux/rtnetlink.h, linux/if_link.h, linux/xfrm.h.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from sipguard.edge.nft_messages import HEADER, attributes, content
from sipguard.errors import EdgeError

_NETLINK_ROUTE, _NETLINK_XFRM = 0, 6
_NEWLINK, _GETLINK = 16, 18
_NEWSPDINFO, _GETSPDINFO = 0x24, 0x25
_REQUEST, _DUMP = 0x001, 0x300
_ERROR, _DONE = 2, 3

_LINK: Final = struct.Struct("=BxHiII")  # ifinfomsg
_NAME, _MASTER = 3, 10
_ETHERNET: Final = 1
_COUNTS: Final = struct.Struct("=3I")  # xfrmu_spdinfo: in, out, forward
_SPD_INFO: Final = 1
_WAIT_S: Final = 2.0


class Interface(NamedTuple):
    """A network interface; *is_own* if it is Ethernet's, and no part of another.

    A bridge's port, a bond's member: whoever sends into one goes past its master.
    """

    number: int
    name: str
    is_own: bool


def interfaces() -> list[Interface]:
    """Return those of this network namespace.

    Raises:
        EdgeError: The kernel does not tell.
    """
    found = []
    for kind, body in _asked(_NETLINK_ROUTE, _GETLINK, _REQUEST | _DUMP, bytes(_LINK.size)):
        if kind != _NEWLINK or len(body) < _LINK.size:
            continue
        _, hardware, index, _, _ = _LINK.unpack_from(body)
        told = dict(attributes(body, _LINK.size))
        name = told.get(_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
        found.append(Interface(index, name, hardware == _ETHERNET and _MASTER not in told))
    return found


def has_ipsec_policies() -> bool:
    """Report whether any policy may want a forwarded packet in a tunnel, or refuse it.

    Raises:
        EdgeError: The kernel has IPsec and does not tell.
    """
    try:
        told = list(_asked(_NETLINK_XFRM, _GETSPDINFO, _REQUEST, bytes(4)))
    except _Unknown:
        return False
    for kind, body in told:
        counts = content(body, 4, _SPD_INFO)
        if kind == _NEWSPDINFO and len(counts) >= _COUNTS.size:
            _, outward, forward = _COUNTS.unpack_from(counts)
            return bool(outward or forward)
    raise EdgeError("the kernel does not tell whether it has IPsec policies")


class _Unknown(EdgeError):  # noqa: N818
    """The kernel was built without it."""


def _asked(family: int, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each message of the answer."""
    what = "the kernel does not tell of its interfaces and policies"
    try:
        asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
    except OSError as failure:
        raise _Unknown(f"{what}: {failure.strerror}") from failure
    with asking:
        asking.settimeout(_WAIT_S)
        try:
            asking.send(HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body)
            is_more = True
            while is_more:
                is_more = bool(flags & _DUMP)
                for told, piece in _messages(asking.recv(1 << 18)):
                    if told == _ERROR:
                        raise EdgeError(what)
                    is_more = is_more and told != _DONE
                    yield told, piece
        except OSError as failure:
            raise EdgeError(f"{what}: {failure}") from failure


def _messages(octets: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + HEADER.size <= len(octets):
        length, kind, _, _, _ = HEADER.unpack_from(octets, at)
        if length < HEADER.size:
            return
        yield kind, octets[at + HEADER.size : at + length]
        at += length + 3 & ~3

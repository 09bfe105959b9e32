"""Copies of packets that the kernel has forwarded: one NFLOG group as a Twisted reader.

A copy delays nothing and its original cannot be called back, so one that gets lost is
merely not looked at. Layouts: linux/netfilter/nfnetlink_log.h.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.complaints import Complaints
from sipguard.edge.nft_messages import HEADER, attribute, content
from sipguard.errors import EdgeError

COPIED_OCTETS: Final = 2048
DATAGRAMS: Final = 8  # in one reactor turn, with some packets in each

_NETLINK_NETFILTER: Final = 12
_PACKET: Final = 0x400  # NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET
_CONFIGURE: Final = 0x401
_REQUEST_ACK: Final = 0x005
_ERROR: Final = 2
_SO_RCVBUFFORCE: Final = 33
_SOCKET_OCTETS: Final = 4 << 20
_PROC: Final = "/proc/thread-self/net/netfilter/nfnetlink_log"

_COMMAND, _MODE, _TIMEOUT, _THRESHOLD = 1, 2, 4, 5  # attributes of a configuration
_PAYLOAD: Final = 9  # attribute of a packet
_BIND: Final = b"\x01"
_COPY_PACKET: Final = 2
_GATHERED: Final = 8  # copies in one message
_GATHERED_CS: Final = 10  # or as long as so many hundredths of a second


@implementer(IReadDescriptor)
class Samples:
    """Reader of one log group; add it to the reactor with ``addReader``.

    Args:
        group: The group's number in this network namespace.
        take: Called with each copy, from its IP header on.

    Raises:
        EdgeError: no permission, or another process has the group.
    """

    log = Logger()

    def __init__(self, group: int, take: Callable[[bytes], None]) -> None:
        self.group = group
        self.overruns = 0  # ENOBUFS: copies were lost before we read
        self.failures = 0
        self._take = take
        self._complaints = Complaints(f"log group {group}")
        self._socket = _open(group)
        self._fd = self._socket.fileno()
        try:
            self._configure()
        except EdgeError:
            self.close()
            raise

    def _configure(self) -> None:
        mode = struct.pack("!IBx", COPIED_OCTETS, _COPY_PACKET)
        for number, setting in enumerate(
            (
                attribute(_COMMAND, _BIND),
                attribute(_MODE, mode),
                attribute(_THRESHOLD, struct.pack("!I", _GATHERED)),
                attribute(_TIMEOUT, struct.pack("!I", _GATHERED_CS)),
            )
        ):
            body = struct.pack("!BBH", 0, 0, self.group) + setting
            request = HEADER.pack(16 + len(body), _CONFIGURE, _REQUEST_ACK, number, 0) + body
            try:
                self._socket.send(request)
                code = _acknowledged(self._socket.recv(4096))
            except OSError as failure:
                code = failure.errno or errno.EIO
            if code:
                raise EdgeError(_refusal(self.group, code))

    # --- IReadDescriptor

    def fileno(self) -> int:
        """Return the socket to wait on; -1 once closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Return the name that Twisted shows."""
        return f"nflog {self.group}"

    def doRead(self) -> None:
        """Hand over the copies that wait, a few datagrams of them."""
        for _ in range(DATAGRAMS):
            if self._fd < 0:
                return
            try:
                datagram = self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as failure:
                if failure.errno != errno.ENOBUFS:
                    self._complaints.at("socket", Failure(failure))
                    return
                self.overruns += 1
                continue
            for octets in packets_of(datagram):
                self._hand_over(octets)

    def _hand_over(self, octets: bytes) -> None:
        try:
            self._take(octets)
        except Exception:  # noqa: BLE001 - the next copy is looked at
            self.failures += 1
            self._complaints.of_code(Failure())

    def connectionLost(self, reason: Failure) -> None:
        """Give the group back."""
        self.close()

    # ---

    def close(self) -> None:
        """Give the group back; safe to call twice."""
        self._socket.close()
        self._fd = -1


def packets_of(datagram: bytes) -> list[bytes]:
    """Return the packets that one datagram holds; what else it says is passed over."""
    found = []
    offset = 0
    while offset + 20 <= len(datagram):
        length, kind, _, _, _ = HEADER.unpack_from(datagram, offset)
        if length < 20:
            break
        if kind == _PACKET:
            octets = content(datagram[offset + 20 : offset + length], 0, _PAYLOAD)
            if octets:
                found.append(octets)
        offset += length + 3 & ~3
    return found


def _open(group: int) -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        made.bind((0, 0))
    except OSError as failure:
        raise EdgeError(_refusal(group, failure.errno or errno.EIO)) from failure
    made.setblocking(False)
    with contextlib.suppress(PermissionError):  # said later, by the first request
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _SOCKET_OCTETS)
    return made


def _acknowledged(reply: bytes) -> int:
    """Return the errno of an acknowledgement, 0 for none."""
    if len(reply) < 20 or HEADER.unpack_from(reply)[1] != _ERROR:
        return errno.EPROTO
    (code,) = struct.unpack_from("=i", reply, 16)
    return -int(code)


def _refusal(group: int, code: int) -> str:
    what = f"cannot read the copies of log group {group}"
    if code == errno.EBUSY or (code == errno.EPERM and _is_read(group)):
        return f"{what}: another process does; stop it or choose another group"
    if code in (errno.EPERM, errno.EACCES):
        return f"{what}: run as root or with CAP_NET_ADMIN"
    return f"{what} ({os.strerror(code)}); this kernel may lack nfnetlink_log"


def _is_read(group: int) -> bool:
    """Report whether the group has a reader; the kernel calls a second one not permitted."""
    try:
        with open(_PROC, encoding="ascii") as table:
            return any(line.split()[:1] == [str(group)] for line in table)
    except OSError:
        return False

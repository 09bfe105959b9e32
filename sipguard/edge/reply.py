"""Sending our own responses from the address that the request was meant for (RSP-5).

Raw sockets, because the source address is not this machine's. What and how
often to answer is the guard's affair; here nothing waits and nothing fails
loudly: a refusal that cannot be sent is a silent drop, and counted.
"""

import contextlib
import errno
import socket
from collections import Counter
from typing import Final

from twisted.logger import Logger

from sipguard.edge.plan import MARK
from sipguard.errors import EdgeError
from sipguard.verdict import Reply
from sipguard.wire.packet import Packet, build_udp

_SO_MARK: Final = 36


class ReplySender:
    """Two raw sockets, one a family; every packet carries our mark, so it is not queued again.

    Needs CAP_NET_RAW and CAP_NET_ADMIN (for the mark).

    Raises:
        EdgeError: one of the capabilities is missing.
    """

    log = Logger()

    def __init__(self, mark: int = MARK) -> None:
        self.sent = 0
        self.failures: Counter[str] = Counter()
        self._sockets: dict[int, socket.socket] = {}
        try:
            self._sockets[4] = _raw_socket(socket.AF_INET, mark)
            # IPv6 may be switched off in this kernel; then nobody asks in it either.
            with contextlib.suppress(_NoSuchFamilyError):
                self._sockets[16] = _raw_socket(socket.AF_INET6, mark)
        except PermissionError as refusal:
            self.close()
            raise EdgeError(
                "cannot open a raw socket for our own responses: "
                "run as root or with CAP_NET_RAW and CAP_NET_ADMIN"
            ) from refusal

    def send(self, reply: Reply) -> bool:
        """Send at once or not at all; False when it did not leave (counted by cause)."""
        source, destination = reply.source, reply.destination
        raw = self._sockets.get(len(destination.address))
        if raw is None or len(source.address) != len(destination.address):
            return self._failed("family")
        packet = Packet(
            source.address, destination.address, source.port, destination.port, reply.octets
        )
        try:
            raw.sendto(build_udp(packet), (_text(destination.address), 0))
        except ValueError:
            return self._failed("unsendable")
        except OSError as failure:
            return self._failed(errno.errorcode.get(failure.errno or 0, "unknown"))
        self.sent += 1
        return True

    def close(self) -> None:
        """Give the sockets back."""
        for raw in self._sockets.values():
            raw.close()
        self._sockets.clear()

    def _failed(self, cause: str) -> bool:
        # The first of each cause is logged; the counters tell the rest.
        if not self.failures[cause]:
            self.log.warn("a response of our own could not be sent: {cause}", cause=cause)
        self.failures[cause] += 1
        return False


class _NoSuchFamilyError(OSError):
    """The kernel does not speak this address family."""


def _raw_socket(family: socket.AddressFamily, mark: int) -> socket.socket:
    try:
        raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except OSError as refusal:
        if refusal.errno == errno.EAFNOSUPPORT:
            raise _NoSuchFamilyError from refusal
        raise
    raw.setblocking(False)
    raw.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
    if family == socket.AF_INET:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    return raw


def _text(address: bytes) -> str:
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address)

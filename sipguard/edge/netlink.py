"""nf_tables set elements and counters over raw netlink, in this process and without waiting.

A subprocess costs milliseconds; here the kernel has carried a transaction out
by the time ``send`` returns (nfnetlink handles a batch in the sender's own
context). The octets are ``nft_messages``'s.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from sipguard.edge.nft_messages import (
    HEADER,
    Change,
    Counter,
    Element,
    Encoder,
    Gone,
    attributes,
    is_deletion,
    read_counter,
    read_elements,
    read_gone,
    u16,
    u32,
)
from sipguard.errors import EdgeError

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11

_ACK_TLVS: Final = 0x200
_DUMP_INTERRUPTED: Final = 0x10
_ERROR: Final = 2
_DONE: Final = 3

_MAX_ELEMENTS: Final = 512  # a nested attribute's length field has 16 bits

_DUMP_TRIES: Final = 3
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_SOCKET_OCTETS: Final = 4 << 20  # 512 elements in each of a dozen sets, and as many answers


def abilities() -> tuple[bool, bool]:
    """Return whether this kernel forgives a missing element, and whether adding renews a timeout.

    DESTROYSETELEM came with Linux 6.3, the second with 6.12; a distribution
    that carried them back merely gets the longer way.
    """
    release = os.uname().release
    numbers = [int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit()]
    version = (*numbers, 0, 0)[:2]
    return version >= (6, 3), version >= (6, 12)


class NetlinkRefused(EdgeError):  # noqa: N818 - what the kernel did, said as such
    """The kernel refused a transaction as a whole; *code* is its errno."""

    def __init__(self, code: int, explanation: str) -> None:
        words = f": {explanation}" if explanation else ""
        super().__init__(f"the kernel refused a change of its sets ({os.strerror(code)}{words})")
        self.code = code


class NftSocket:
    """One netlink socket for the sets of one table in this network namespace."""

    def __init__(self, table: str) -> None:
        self._encoder = Encoder(table)
        self._sequence = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
            self._socket.bind((0, 0))
        except OSError as refusal:
            message = f"cannot open a netfilter netlink socket: {refusal.strerror}"
            raise EdgeError(message) from refusal
        self._socket.setblocking(False)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        with contextlib.suppress(PermissionError):  # said later, by the first request
            for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _SOCKET_OCTETS)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def commit(self, changes: Sequence[Change]) -> list[Gone]:
        """Carry out all *changes* as one transaction; when this returns, they are in force.

        Returns:
            The elements that went, of the changes that are to be told.

        Raises:
            NetlinkRefused: none of them is in force.
        """
        gone: list[Gone] = []
        for piece in _in_pieces(changes):
            self._sequence = self._sequence + 1 & 0xFFFFFFFF
            octets = self._encoder.transaction(piece, self._sequence)
            if not octets:
                continue
            try:
                self._socket.send(octets)
                while not self._is_done(self._socket.recv(65536), gone):
                    pass
            except OSError as refusal:
                self._drain()
                raise NetlinkRefused(refusal.errno or errno.EIO, "") from refusal
        return gone

    def _drain(self) -> None:
        """Throw away what was told of a transaction whose end was lost."""
        with contextlib.suppress(OSError):
            while self._socket.recv(65536):
                pass

    def elements(self, set_name: str) -> list[Element]:
        """List a set; for status and after a restart, never while packets wait."""
        found: list[Element] = []
        for _ in range(_DUMP_TRIES):
            found.clear()
            self._sequence = self._sequence + 1 & 0xFFFFFFFF
            request = self._encoder.list_elements(set_name, self._sequence)
            whole = True
            for piece in self._dump(request):
                whole = whole and not piece.is_interrupted
                for body in piece.bodies:
                    found += read_elements(body)
            if whole:
                break
        return found

    def counters(self) -> dict[str, Counter]:
        """Return the table's named counters."""
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        found = {}
        for piece in self._dump(self._encoder.list_counters(self._sequence)):
            for body in piece.bodies:
                fields = dict(attributes(body, 4))
                name = fields.get(2, b"").rstrip(b"\0").decode("ascii", "replace")
                found[name] = read_counter(fields.get(4, b""))
        return found

    def _is_done(self, reply: bytes, gone: list[Gone]) -> bool:
        """Report whether *reply* ends this transaction; leftovers of others are skipped.

        What the kernel tells of goes to *gone*; that comes before the end.
        """
        offset = 0
        while offset + 20 <= len(reply):
            length, kind = u32(reply, offset), u16(reply, offset + 4)
            if length < 20:
                break
            if is_deletion(kind):
                # Told under our number or, by Linux 6.18, under none. We listen to no group,
                # so it is always of our own doing.
                read_gone(reply, offset + 16, min(offset + length, len(reply)), gone)
            elif kind == _ERROR and u32(reply, offset + 8) == self._sequence:
                (code,) = struct.unpack_from("=i", reply, offset + 16)
                if code:
                    flags = u16(reply, offset + 6)
                    raise NetlinkRefused(-code, _explanation(reply[offset:], flags))
                return True
            offset += length + 3 & ~3
        return False

    def _dump(self, request: bytes) -> "Iterator[_Dumped]":
        try:
            self._socket.send(request)
            is_last = False
            while not is_last:
                piece = _Dumped(self._socket.recv(65536), self._sequence)
                is_last = piece.is_last
                yield piece
        except OSError as refusal:
            raise NetlinkRefused(refusal.errno or errno.EIO, "") from refusal


class _Dumped:
    """One datagram of a listing: its messages' bodies, and whether it was the last one."""

    def __init__(self, octets: bytes, sequence: int) -> None:
        self.bodies: list[bytes] = []
        self.is_last = False
        self.is_interrupted = False  # a change came between; something may be missing
        offset = 0
        while offset + 16 <= len(octets):
            length, kind, flags, number, _ = HEADER.unpack_from(octets, offset)
            if length < 16:
                break
            if number == sequence:
                self.is_interrupted = self.is_interrupted or bool(flags & _DUMP_INTERRUPTED)
                self._take(kind, octets[offset + 16 : offset + length])
            offset += length + 3 & ~3

    def _take(self, kind: int, body: bytes) -> None:
        if kind == _DONE:
            self.is_last = True
        elif kind == _ERROR:
            (code,) = struct.unpack_from("=i", body)
            raise NetlinkRefused(-code, "")
        else:
            self.bodies.append(body)


def _explanation(reply: bytes, flags: int) -> str:
    """Return the kernel's own words on an error, where it gives any (extended ack)."""
    if not flags & _ACK_TLVS:
        return ""
    words = dict(attributes(reply, 36)).get(1, b"")
    return words.rstrip(b"\0").decode("ascii", "replace")


def _in_pieces(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Split what one attribute cannot carry; the usual decision is one piece as it came."""
    if all(len(change.keys) <= _MAX_ELEMENTS for change in changes):
        yield changes
        return
    for change in changes:
        for start in range(0, len(change.keys), _MAX_ELEMENTS):
            yield (change.part(start, start + _MAX_ELEMENTS),)

"""nf_tables set elements and counters over raw netlink, in this process and without waiting.

A subprocess costs milliseconds and libnftables 77 us an element; one
transaction written by hand costs about 4 us an element, and the kernel has
carried it out by the time ``send`` returns (nfnetlink handles a batch in the
sender's own context). Layouts: linux/netfilter/nf_tables.h and nfnetlink.h.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple, final

from sipguard.errors import EdgeError

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
_INET: Final = 1  # NFPROTO_INET

_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_NEWSETELEM: Final = 12
_GETSETELEM: Final = 13
_DELSETELEM: Final = 14
_GETOBJ: Final = 19
_DESTROYSETELEM: Final = 30  # since Linux 6.3: no error when the element is missing

_REQUEST: Final = 0x001
_ACK: Final = 0x004
_DUMP: Final = 0x300
_CREATE: Final = 0x400
_ACK_TLVS: Final = 0x200
_DUMP_INTERRUPTED: Final = 0x10

_ERROR: Final = 2
_DONE: Final = 3

_NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF
_MAX_ELEMENTS: Final = 512  # a nested attribute's length field has 16 bits

_DUMP_TRIES: Final = 3
_SO_SNDBUFFORCE: Final = 32
_SEND_OCTETS: Final = 4 << 20  # 512 elements in each of a dozen sets

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_MILLISECONDS: Final = struct.Struct("!Q")
_BATCH_BODY: Final = struct.pack("=BBH", 0, 0, socket.htons(_SUBSYSTEM))


class NetlinkRefused(EdgeError):  # noqa: N818 - what the kernel did, said as such
    """The kernel refused a transaction as a whole; *code* is its errno."""

    def __init__(self, code: int, explanation: str) -> None:
        words = f": {explanation}" if explanation else ""
        super().__init__(f"the kernel refused a change of its sets ({os.strerror(code)}{words})")
        self.code = code


class Operation(StrEnum):
    """What to do with elements of a set; a StrEnum hashes without Python code."""

    ADD = "add"  # may exist already
    DELETE = "delete"  # must exist, or the whole transaction fails after milliseconds
    DESTROY = "destroy"  # may be missing; Linux 6.3


@final
class Change:
    """One operation on elements of one set; *timeout_s* is used by ADD alone."""

    __slots__ = ("keys", "operation", "set_name", "timeout_s")

    def __init__(
        self, operation: Operation, set_name: str, keys: Sequence[bytes], timeout_s: int = 0
    ) -> None:
        self.operation = operation
        self.set_name = set_name
        self.keys = keys
        self.timeout_s = timeout_s


class Element(NamedTuple):
    """One element as the kernel lists it."""

    key: bytes
    expires_s: float
    packets: int
    octets: int


class Counter(NamedTuple):
    """A named counter of the ruleset."""

    packets: int
    octets: int


def attribute(kind: int, content: bytes) -> bytes:
    """Return one netlink attribute, padded to four octets."""
    return _ATTRIBUTE.pack(4 + len(content), kind) + content + b"\0" * (-len(content) % 4)


class Encoder:
    """Writes messages for the sets of one table; the fixed octets of each set are kept."""

    def __init__(self, table: str) -> None:
        self._table = attribute(1, table.encode() + b"\0")
        self._family = struct.pack("=BBH", _INET, 0, 0)
        self._preambles: dict[str, bytes] = {}

    def transaction(self, changes: Iterable[Change], sequence: int) -> bytes:
        """Return one batch; the kernel acknowledges its last change or names the one it refuses."""
        wanted = [change for change in changes if change.keys]
        if not wanted:
            return b""
        last = len(wanted) - 1
        parts = [_HEADER.pack(20, _BATCH_BEGIN, _REQUEST, sequence, 0), _BATCH_BODY]
        for index, change in enumerate(wanted):
            parts += self._elements(change, sequence, _ACK if index == last else 0)
        parts += (_HEADER.pack(20, _BATCH_END, _REQUEST, sequence, 0), _BATCH_BODY)
        return b"".join(parts)

    def list_elements(self, set_name: str, sequence: int) -> bytes:
        """Return the request that lists a whole set."""
        return self._message(_GETSETELEM, _REQUEST | _DUMP, sequence, self._preamble(set_name))

    def list_counters(self, sequence: int) -> bytes:
        """Return the request that lists the table's named counters."""
        body = self._family + self._table + attribute(3, struct.pack("!I", 1))
        return self._message(_GETOBJ, _REQUEST | _DUMP, sequence, body)

    def _elements(self, change: Change, sequence: int, flags: int) -> list[bytes]:
        kind = _KINDS[change.operation]
        timeout_s = 0
        if kind == _NEWSETELEM:
            timeout_s = change.timeout_s
            flags |= _CREATE
        # Keys of one set have one length, so the attribute headers are made once.
        keys = change.keys
        octets = len(keys[0])
        before, timeout = _around(octets, kind == _NEWSETELEM, timeout_s)
        listed_octets = len(keys) * (len(before) + octets + len(timeout))
        preamble = self._preamble(change.set_name)
        length = 20 + len(preamble) + listed_octets
        return [
            _HEADER.pack(length, _SUBSYSTEM << 8 | kind, _REQUEST | flags, sequence, 0),
            preamble,
            _ATTRIBUTE.pack(4 + listed_octets, _NESTED | 3),
            before,
            (timeout + before).join(keys),
            timeout,
        ]

    def _preamble(self, set_name: str) -> bytes:
        known = self._preambles.get(set_name)
        if known is None:
            known = self._family + self._table + attribute(2, set_name.encode() + b"\0")
            self._preambles[set_name] = known
        return known

    @staticmethod
    def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
        header = _HEADER.pack(16 + len(body), _SUBSYSTEM << 8 | kind, flags, sequence, 0)
        return header + body


_KINDS: Final = {
    Operation.ADD: _NEWSETELEM,
    Operation.DELETE: _DELSETELEM,
    Operation.DESTROY: _DESTROYSETELEM,
}


@lru_cache(maxsize=64)
def _around(octets: int, has_timeout: bool, timeout_s: int) -> tuple[bytes, bytes]:
    """Return what stands before and after each key of so many octets."""
    timeout = attribute(4, _MILLISECONDS.pack(timeout_s * 1000)) if has_timeout else b""
    before = (
        _ATTRIBUTE.pack(12 + octets + len(timeout), _NESTED | 1)
        + _ATTRIBUTE.pack(8 + octets, _NESTED | 1)
        + _ATTRIBUTE.pack(4 + octets, 1)
    )
    return before, timeout


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
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_OCTETS)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def commit(self, changes: Sequence[Change]) -> None:
        """Carry out all *changes* as one transaction; when this returns, they are in force.

        Raises:
            NetlinkRefused: none of them is in force.
        """
        for piece in _in_pieces(changes):
            self._sequence = self._sequence + 1 & 0xFFFFFFFF
            octets = self._encoder.transaction(piece, self._sequence)
            if not octets:
                continue
            try:
                self._socket.send(octets)
                self._await_ack()
            except OSError as refusal:
                raise NetlinkRefused(refusal.errno or errno.EIO, "") from refusal

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
                found += (element for body in piece.bodies for element in _read_elements(body))
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
                found[name] = _read_counter(fields.get(4, b""))
        return found

    def _await_ack(self) -> None:
        """Read until this transaction's acknowledgement; older leftovers are skipped."""
        while True:
            reply = self._socket.recv(16384)
            _, kind, flags, sequence, _ = _HEADER.unpack_from(reply)
            if kind != _ERROR or sequence != self._sequence:
                continue
            (code,) = struct.unpack_from("=i", reply, 16)
            if code:
                raise NetlinkRefused(-code, _explanation(reply, flags))
            return

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
            length, kind, flags, number, _ = _HEADER.unpack_from(octets, offset)
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


def attributes(octets: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each attribute; a torn tail ends the walk."""
    while offset + 4 <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, offset)
        if length < 4:
            return
        yield kind & _TYPE_MASK, octets[offset + 4 : offset + length]
        offset += length + 3 & ~3


def _read_elements(body: bytes) -> Iterator[Element]:
    for kind, content in attributes(body, 4):
        if kind == 3:
            yield from (read_element(element) for _, element in attributes(content))


def read_element(octets: bytes) -> Element:
    """Return one listed element."""
    fields = dict(attributes(octets))
    key = dict(attributes(fields.get(1, b""))).get(1, b"")
    expires = _MILLISECONDS.unpack(fields[5])[0] / 1000 if len(fields.get(5, b"")) == 8 else 0.0
    expression = dict(attributes(fields.get(7, b"")))
    counter = _read_counter(expression.get(2, b""))
    return Element(key, expires, counter.packets, counter.octets)


def _read_counter(octets: bytes) -> Counter:
    values = {kind: int.from_bytes(content, "big") for kind, content in attributes(octets)}
    return Counter(packets=values.get(2, 0), octets=values.get(1, 0))


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
            keys = change.keys[start : start + _MAX_ELEMENTS]
            yield (Change(change.operation, change.set_name, keys, change.timeout_s),)

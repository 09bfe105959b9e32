"""bpf(2), by its number: maps, a program, and its links to interfaces; linux/bpf.h.

No library stands between: what it would need of one is five commands. The kernel takes
a structure longer than it knows if the rest is zero, and a shorter one as zero.
"""

import ctypes
import errno
import os
import platform
import struct
from typing import Final

from sipguard.errors import EdgeError

_NUMBERS: Final = {"x86_64": 321, "aarch64": 280}

_MAP_CREATE, _LOOKUP, _UPDATE, _PROG_LOAD, _LOOKUP_AND_DELETE = 0, 1, 2, 5, 21
_LINK_CREATE: Final = 28
_HASH, _ARRAY = 1, 2
_SCHED_CLS: Final = 3
_TCX_INGRESS: Final = 46
_NAME_OCTETS: Final = 16
_LOG_OCTETS: Final = 1 << 18
_SHOWN: Final = 400  # of the verifier's last words
# The kernel lends some of its functions to programs under its own license alone.
_LICENSE: Final = b"Dual MIT/GPL\0"


_HINTS: Final = {
    errno.EPERM: "it takes CAP_BPF and CAP_NET_ADMIN; see docs/systemd/sipguard.service",
    errno.ENOSYS: "this kernel has no bpf(2)",
}
_TOO_OLD: Final = "such links came with Linux 6.6"


class BpfRefused(EdgeError):  # noqa: N818 - what the kernel did, said as such
    """The kernel refused a bpf(2) call; *code* is its errno."""

    def __init__(self, what: str, code: int, hint: str = "") -> None:
        words = hint or _HINTS.get(code, "")
        super().__init__(f"{what} ({os.strerror(code)}{': ' if words else ''}{words})")
        self.code = code


def unknown_machine() -> str:
    """Return the name of this machine's kind where we do not know its system calls, else ""."""
    machine = platform.machine()
    return "" if machine in _NUMBERS else machine


def make_hash(name: str, key_octets: int, value_octets: int, room: int) -> int:
    """Return the descriptor of a new hash map; all of its room is taken at once."""
    return _make_map(name, _HASH, (key_octets, value_octets, room))


def make_array(name: str, value_octets: int, room: int) -> int:
    """Return the descriptor of a new array, all zero."""
    return _make_map(name, _ARRAY, (4, value_octets, room))


def _make_map(name: str, kind: int, sizes: tuple[int, int, int]) -> int:
    head = struct.pack("=5I", kind, *sizes, 0)
    attributes = head + bytes(8) + _named(name)  # no inner map, no NUMA node
    return _call(_MAP_CREATE, attributes, "no room for a table of the direct path")


def look_up(map_fd: int, key: bytes, value_octets: int) -> bytes | None:
    """Return an element's value, None if it is missing."""
    return _value_of(_LOOKUP, map_fd, key, value_octets)


def take(map_fd: int, key: bytes, value_octets: int) -> bytes | None:
    """Delete an element and return its last value, None if it is missing."""
    return _value_of(_LOOKUP_AND_DELETE, map_fd, key, value_octets)


def _value_of(command: int, map_fd: int, key: bytes, value_octets: int) -> bytes | None:
    asked = ctypes.create_string_buffer(key, len(key))
    value = ctypes.create_string_buffer(value_octets)
    try:
        _call(command, _element(map_fd, asked, value), "the kernel does not tell an element")
    except BpfRefused as refusal:
        if refusal.code == errno.ENOENT:
            return None
        raise
    return value.raw


def update(map_fd: int, key: bytes, value: bytes) -> None:
    """Put an element, whether or not it is there.

    Raises:
        BpfRefused: E2BIG where the map is full.
    """
    where = ctypes.create_string_buffer(key, len(key))
    what = ctypes.create_string_buffer(value, len(value))
    _call(_UPDATE, _element(map_fd, where, what), "the kernel does not take an element")


def load_program(name: str, program: bytes) -> int:
    """Return the descriptor of a program for traffic control, once the kernel has verified it.

    Raises:
        BpfRefused: With the verifier's last words.
    """
    octets = ctypes.create_string_buffer(program, len(program))
    license_ = ctypes.create_string_buffer(_LICENSE)

    def attributes(log: int, log_octets: int) -> bytes:
        head = struct.pack("=IIQQ", _SCHED_CLS, len(program) // 8, _at(octets), _at(license_))
        told = struct.pack("=IIQII", 1 if log else 0, log_octets, log, 0, 0)
        return head + told + _named(name)

    what = "the kernel refuses the program of the direct path"
    try:
        return _call(_PROG_LOAD, attributes(0, 0), what)
    except BpfRefused as refusal:
        if refusal.code not in (errno.EINVAL, errno.EACCES):
            raise
    log = ctypes.create_string_buffer(_LOG_OCTETS)
    try:
        return _call(_PROG_LOAD, attributes(_at(log), _LOG_OCTETS), what)
    except BpfRefused as refusal:
        said = log.value.decode("ascii", "replace").strip()[-_SHOWN:]
        raise BpfRefused(what, refusal.code, "; ".join(said.splitlines())) from None


def link(program_fd: int, interface: int) -> int:
    """Have a program see what comes in by an interface, as long as the descriptor is open.

    Behind the programs that others have linked, before the filters of ``tc``; Linux 6.6.
    """
    attributes = struct.pack("=IIII", program_fd, interface, _TCX_INGRESS, 0) + bytes(16)
    what = "the kernel does not link a program to an interface"
    try:
        return _call(_LINK_CREATE, attributes, what)
    except BpfRefused as refusal:
        if refusal.code != errno.EINVAL:
            raise
        raise BpfRefused(what, refusal.code, _TOO_OLD) from None


def _named(name: str) -> bytes:
    return name.encode("ascii")[: _NAME_OCTETS - 1].ljust(_NAME_OCTETS, b"\0")


def _element(
    map_fd: int, key: ctypes.Array[ctypes.c_char], value: ctypes.Array[ctypes.c_char]
) -> bytes:
    return struct.pack("=IIQQQ", map_fd, 0, _at(key), _at(value), 0)


def _at(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _call(command: int, attributes: bytes, what: str) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise BpfRefused(what, errno.ENOSYS)
    given = ctypes.create_string_buffer(attributes, len(attributes))
    arguments = ctypes.c_long(command), ctypes.c_void_p(_at(given)), ctypes.c_long(len(attributes))
    result = int(_LIBC.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise BpfRefused(what, ctypes.get_errno() or errno.EIO)
    return result

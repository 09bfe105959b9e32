"""bpf(2), by its number: maps, a program, and its links to interfaces; linux/bpf.h.

No library stands between: what it would need of one is four commands. The kernel takes
a structure longer than it knows if the rest is zero, and a shorter one as zero.
"""

import ctypes
import errno
import mmap
import os
import platform
import struct
from typing import Final

from sipguard.errors import EdgeError

_NUMBERS: Final = {"x86_64": 321, "aarch64": 280}

_MAP_CREATE, _UPDATE, _PROG_LOAD, _LINK_CREATE = 0, 2, 5, 28
_ARRAY, _OF_EACH_PROCESSOR = 2, 6
_MAPPED: Final = 1 << 10  # BPF_F_MMAPABLE
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


def make_array(name: str, octets: int, room: int, *, mapped: bool = False) -> int:
    """Return the descriptor of a new array, all zero; all of its room is taken at once.

    *mapped* can be changed through :func:`memory`.
    """
    return _make_map(name, _ARRAY, (4, octets, room), _MAPPED if mapped else 0)


def make_scratch(name: str, octets: int) -> int:
    """Return the descriptor of one place for each processor, to write in."""
    return _make_map(name, _OF_EACH_PROCESSOR, (4, octets, 1), 0)


def _make_map(name: str, kind: int, sizes: tuple[int, int, int], flags: int) -> int:
    head = struct.pack("=5I", kind, *sizes, flags)
    attributes = head + bytes(8) + _named(name)  # no inner map, no NUMA node
    return _call(_MAP_CREATE, attributes, "the kernel makes no table for the direct path")


def memory(map_fd: int, octets: int) -> mmap.mmap:
    """Return an array's memory, which the program reads while it is written.

    Raises:
        BpfRefused: It cannot be shared.
    """
    try:
        return mmap.mmap(map_fd, octets)
    except OSError as failure:
        what = "the kernel does not share a table of the direct path"
        raise BpfRefused(what, failure.errno or errno.EIO) from None


def put(map_fd: int, index: int, number: int) -> None:
    """Set a number of 32 bits in an array."""
    where = ctypes.create_string_buffer(struct.pack("=I", index), 4)
    what = ctypes.create_string_buffer(struct.pack("=I", number), 4)
    attributes = struct.pack("=IIQQQ", map_fd, 0, _at(where), _at(what), 0)
    _call(_UPDATE, attributes, "the kernel does not take an element")


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

"""Less of everything for the process that writes: no capabilities, and time that nobody wants.

It reads what strangers wrote and needs nothing but its files. What the service has, because
nft and the queues want it, its children have as well (ambient capabilities): here they go.
"""

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

NICER: Final = 10  # than the guard, where both have the one core that there is
OOM_SCORE: Final = 300  # rather this process than the guard

_SET_NO_NEW_PRIVILEGES: Final = 38
_AMBIENT: Final = 47
_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
# Of root's, two stay: to open files that belong to the service's own user, and to leave them his.
_KEPT: Final = 1 << 0 | 1 << 1  # CAP_CHOWN, CAP_DAC_OVERRIDE


def shed() -> None:
    """Give away what writing needs not; what cannot be given away was not there."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    held = permitted()
    if held:
        kept = held & _KEPT
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        halves = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)  # effective, permitted, inheritable
        libc.capset(header, halves)


def step_back() -> None:
    """Let the guard and everything else go first.

    Time that nobody else wants is enough where there are several cores, and one of them is
    left alone: a packet's turn waits for the end of a system call there, of some milliseconds
    where it writes to a disk, however nice the process is. With one core under a flood there is
    no such time, and a share of it must do.
    """
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):
        os.nice(NICER)
    with contextlib.suppress(OSError):
        if len(cores) > 1:
            os.sched_setaffinity(0, cores[:-1])
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def permitted() -> int:
    """Return the capabilities that this process may use, as the kernel's bits."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapPrm:"):
                return int(line.split()[1], 16)
    return 0

"""One loaded program: the proven sources in its tables, and the interfaces it is linked to.

Everything hangs on descriptors of this process. When it ends, however it ends, the links
are gone, and all media goes the routed way.
"""

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, final

from sipguard.edge.direct import system_calls
from sipguard.edge.direct.assembly import assemble
from sipguard.edge.direct.interfaces import Interface
from sipguard.edge.direct.layout import KEY4, NOTES_OCTETS, TICK_BITS, TICKS_PER_S, Pace, Tables
from sipguard.edge.direct.program import program
from sipguard.edge.direct.shelf import Shelf
from sipguard.edge.nft_messages import Gone
from sipguard.errors import EdgeError

# Of the number of a place of four: 131,072 sources of IPv4 and 65,536 of IPv6, in 4 MB each. Of
# half as many nearly all find room; and larger tables leave a processor's own memory, for which to
# wait costs what the way saves.
BITS: Final = (15, 14)
_MOST_INTERFACES: Final = 65_536  # by number; one beyond is no way out
_TURN_S: Final = 2
_LOOPBACK: Final = 1
# The kernel's own sets let an element go a week after it was added. Here it goes after one
# to two of these.
_GENERATION_S: Final = 3 * 24 * 3600.0


def pace_of(idle_s: int, secret: int) -> Pace:
    """Return the pace for pinholes that live *idle_s* seconds of silence, or longer.

    Two seconds between turns, or a quarter of what a pinhole lives. Three quarters without a
    packet, and the pinhole counts as gone, before it is.
    """
    turn = TICKS_PER_S * min(4 * _TURN_S, idle_s) // 4
    silence = min(TICKS_PER_S * idle_s * 3 // 4, (1 << 31) - 1)
    return Pace(turn * 3 // 4, turn * 5 // 4, silence, secret)


@final
class Table:
    """The proven sources that are forwarded directly.

    Args:
        idle_s: The shortest silence after which a pinhole closes.
        clock_ns: The kernel's monotonic clock.
        bits: Of the numbers of places, of each family.

    Raises:
        EdgeError: What this machine lacks, in one sentence; nothing is left behind.
    """

    __slots__ = (
        "_clock_ns",
        "_descriptors",
        "_generations",
        "_links",
        "_program",
        "_rotated_ns",
        "_shelves",
        "_silence",
        "_ways_out",
        "_ways_out_fd",
        "idle_s",
        "left_out",
    )

    def __init__(
        self,
        idle_s: int,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        bits: tuple[int, int] = BITS,
    ) -> None:
        machine = system_calls.unknown_machine()
        if machine or sys.byteorder != "little":
            raise EdgeError(
                f"it is not written for this kind of machine ({machine or 'its order'})"
            )
        pace = pace_of(idle_s, secrets.randbits(31) | 1)
        self.idle_s = idle_s
        self.left_out = 0  # found no room
        self._silence = pace.silence
        self._clock_ns = clock_ns
        self._rotated_ns = clock_ns()
        self._generations: tuple[set[bytes], set[bytes]] = (set(), set())  # the younger first
        self._links: dict[int, tuple[str, int]] = {}  # by interface: its name, a descriptor
        self._ways_out: set[int] = set()
        self._descriptors: list[int] = []
        self._shelves: list[Shelf] = []
        try:
            for name, is_6, size in (
                ("sipguard_v4", False, bits[0]),
                ("sipguard_v6", True, bits[1]),
            ):
                self._shelves.append(Shelf(name, is_6, size))
                self._opened(self._shelves[-1].descriptor)
            of4, of6 = self._shelves
            out = self._opened(system_calls.make_array("sipguard_out", 4, _MOST_INTERFACES))
            notes = self._opened(system_calls.make_scratch("sipguard_notes", NOTES_OCTETS))
            self._ways_out_fd = out
            tables = Tables(of4.descriptor, of6.descriptor, out, notes)
            octets = assemble(program(tables, pace, (of4.hashing, of6.hashing)))
            self._program = self._opened(system_calls.load_program("sipguard", octets))
            # Says now what would be refused later, when rules count on it.
            os.close(system_calls.link(self._program, _LOOPBACK))
        except EdgeError:
            self.close()
            raise

    def _opened(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    def __len__(self) -> int:
        younger, older = self._generations
        return len(younger) + len(older)

    # --- sources

    def arm(self, keys: Iterable[bytes], fresh_s: float) -> None:
        """Forward these sources directly, if they send something within *fresh_s* seconds.

        That is how long their pinhole lives, as far as its owner knows.
        """
        now = self._clock_ns() >> TICK_BITS
        fresh = min(max(int(fresh_s * TICKS_PER_S), 0), self._silence)
        last = now - self._silence + fresh & 0xFFFFFFFF
        younger, older = self._generations
        for key in keys:
            if not _is_forwarded(key):
                continue
            if self._shelf_of(key).put(key, last):
                older.discard(key)
                younger.add(key)
            else:
                self.left_out += 1

    def take(self, keys: Iterable[bytes]) -> list[Gone]:
        """Forward these no more, from now on; return what they counted."""
        gone = []
        for key in keys:
            if not any(key in generation for generation in self._generations):
                continue
            packets, octets = self._shelf_of(key).take(key)
            for generation in self._generations:
                generation.discard(key)
            gone.append(Gone(key, packets, octets))
        return gone

    def take_all(self) -> list[Gone]:
        """Forward nothing more; return what was counted."""
        return self.take([key for generation in self._generations for key in generation])

    def take_aged(self) -> list[Gone]:
        """Forward no more what was armed days ago: its proof is about to end, too."""
        if self._clock_ns() - self._rotated_ns < _GENERATION_S * 10**9:
            return []
        self._rotated_ns = self._clock_ns()
        younger, older = self._generations
        gone = self.take(list(older))
        self._generations = (set(), younger)
        return gone

    def _shelf_of(self, key: bytes) -> Shelf:
        return self._shelves[0 if len(key) == KEY4 else 1]

    # --- interfaces

    def link_to(self, there: Sequence[Interface], names: Sequence[str]) -> None:
        """See what comes in by these interfaces, all for no names, and by no others.

        Raises:
            EdgeError: The kernel refuses; those before it are linked.
        """
        plain = {one.number: one.name for one in there if one.is_own}
        for index in self._ways_out - plain.keys():
            system_calls.put(self._ways_out_fd, index, 0)
            self._ways_out.discard(index)
        wanted = {index: name for index, name in plain.items() if not names or name in names}
        for index in [index for index in self._links if index not in wanted]:
            os.close(self._links.pop(index)[1])
        for index in plain.keys() - self._ways_out:
            if index < _MOST_INTERFACES:
                system_calls.put(self._ways_out_fd, index, 1)
                self._ways_out.add(index)
        for index, name in wanted.items():
            known = self._links.get(index)
            descriptor = known[1] if known else system_calls.link(self._program, index)
            self._links[index] = name, descriptor

    def linked(self) -> list[str]:
        """Return the names of the interfaces whose packets it sees."""
        return sorted(name for name, _ in self._links.values())

    def close(self) -> None:
        """Let go of everything: all media goes the routed way; safe to call twice."""
        for descriptor in (*(link for _, link in self._links.values()), *self._descriptors):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        for shelf in self._shelves:
            shelf.close()
        self._links.clear()
        self._descriptors.clear()
        self._shelves.clear()
        for generation in self._generations:
            generation.clear()


def _is_forwarded(key: bytes) -> bool:
    """Report whether a router forwards between these addresses: the stack has its reasons.

    Addresses of one link, of this machine alone, of nobody, or of a group.
    """
    if len(key) == 16:
        return all(0 < key[at] < 224 and key[at] != 127 for at in (0, 4))
    return all(
        0x20 <= key[at] < 0xFE or (key[at] == 0xFE and key[at + 1] & 0x80 == 0) for at in (0, 16)
    )

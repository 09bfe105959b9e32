"""Where things stand: in the kernel's structures, in packets, in our tables, in registers.

Layouts: linux/bpf.h (``__sk_buff``, ``bpf_fib_lookup``), RFC 791, RFC 8200, RFC 768, RFC 3550.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sipguard.edge.direct.assembly import (
    Register,
    Size,
)

TICK_BITS: Final = 20  # a tick is 2**20 nanoseconds, about a millisecond
TICKS_PER_S: Final = 10**9 >> TICK_BITS

# A source's element: its key as the set `proven` has it, when it last went the routed way,
# packets, octets as IP counts them. Four stand together in a place, and each has two places
# where it may stand. A table of our own making, for what counts is how much memory a packet
# waits for: a hash map of the kernel has one source in three places.
TOGETHER: Final = 4
ELEMENT4, ELEMENT6 = 32, 64
KEY4, KEY6 = 16, 40
LAST, PACKETS, OCTETS = 0, 4, 8  # behind the key

BUNDLE_TICKS: Final = 12  # less than the spacing of audio, and a few ticks of a coarse clock

BYTE, HALF, WORD, DOUBLE = Size.BYTE, Size.HALF, Size.WORD, Size.DOUBLE
R0, R1, R2, R3, R4 = Register.R0, Register.R1, Register.R2, Register.R3, Register.R4
PACKET, OCTETS_AT, SOURCE = Register.R6, Register.R7, Register.R8
HASH: Final = Register.R8  # until the source is found
NOTES: Final = Register.R9
STACK: Final = Register.STACK

# struct __sk_buff
SKB_LENGTH, SKB_TYPE, SKB_MARK, SKB_TAGGED, SKB_PRIORITY = 0, 4, 8, 20, 32
SKB_INTERFACE, SKB_OCTETS, SKB_END, SKB_GSO = 40, 76, 80, 176

# The kernel's functions, by their numbers.
LOOK_UP, REDIRECT, CSUM_UPDATE, ROUTE, COARSE_CLOCK = 1, 23, 40, 69, 160

# Results: the next program, and then the stack. A redirection's is its function's own.
NEXT: Final = -1

ETHERNET: Final = 14
IS_IPV4, IS_IPV6 = 0x0008, 0xDD86  # of the network's order, read by a little-endian machine
UDP: Final = 17
FAMILY4, FAMILY6 = 2, 10

# Notes of this processor's own: what is asked of the routes, the packet's length, ports and
# SSRC, an index. On the stack, the kernel would guard each write against speculation, unless
# CAP_PERFMON is there.
NOTES_OCTETS: Final = 88
LENGTH, ENDS, INDEX = 64, 72, 80
FIB_OCTETS: Final = 64
# struct bpf_fib_lookup
FIB_PORTS, FIB_LENGTH, FIB_INTERFACE, FIB_CLASS = 2, 6, 8, 12
FIB_FROM, FIB_TO, FIB_OUR_MAC, FIB_MAC = 16, 32, 52, 58

# `ip_tos2prio` of net/ipv4/route.c without its twins, one nibble for each two bits of TOS.
PRIORITIES: Final = 0x4620


class Tables(NamedTuple):
    """Descriptors: sources of each family; interfaces that may be sent out of; notes."""

    proven4: int
    proven6: int
    interfaces: int
    notes: int


class Pace(NamedTuple):
    """In ticks: the shortest and longest time between turns, and the silence that ends it all.

    *secret* is an odd number of 32 bits.
    """

    least: int
    most: int
    silence: int
    secret: int


class Hashing(NamedTuple):
    """Where a key may stand: a sum of its pieces, each times its factor; the upper bits of 64."""

    factors: tuple[int, ...]
    bits: int

    def places(self, pieces: Sequence[int]) -> tuple[int, int]:
        """Return the numbers of the key's places, in the order in which the program looks."""
        total = sum(piece * factor for piece, factor in zip(pieces, self.factors, strict=True))
        upper = (total & 0xFFFFFFFFFFFFFFFF) >> (64 - 2 * self.bits)
        return upper >> self.bits, upper & ((1 << self.bits) - 1)

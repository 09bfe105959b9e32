"""The program: forward what is surely proven and plain, leave all the rest to the routed way.

It sees each packet that comes in by a guarded interface, before IP does. Whatever is out
of the ordinary (a tag, an option, a fragment, a mark, a route or neighbor that is not there)
it lets go on, as if it did not exist: there stand the rules, and they decide. It drops
nothing, and knows no source that userspace has not put into its table.

About once a second a packet of each stream goes the routed way. That keeps the pinhole
alive, shows a sample to the guard, and asks the neighbor and everybody else's rules again.
The time is a little different from turn to turn, by a secret: who wants to be looked at
at no other time than when it behaves must not know it to the packet.

What follows within some milliseconds goes the routed way, too: the kernel takes packets in
bundles, and hands those of the routed way over at a bundle's end, behind what went directly.

A stream that was silent for nearly as long as its pinhole lives goes the routed way until
userspace says otherwise: the pinhole may be gone, and here nobody could tell.

Layouts: linux/bpf.h (``__sk_buff``, ``bpf_fib_lookup``), RFC 791, RFC 8200, RFC 768, RFC 3550.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sipguard.edge.direct.assembly import (
    Label,
    Line,
    Register,
    Size,
    Sum,
    When,
    atomic_add,
    call,
    change,
    change32,
    jump,
    jump_if,
    leave,
    load,
    load_map,
    load_wide,
    store,
    store_constant,
    swap16,
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
_LAST, _PACKETS, _OCTETS = 0, 4, 8  # behind the key

_BUNDLE_TICKS: Final = 12  # less than the spacing of audio, and a few ticks of a coarse clock

_BYTE, _HALF, _WORD, _DOUBLE = Size.BYTE, Size.HALF, Size.WORD, Size.DOUBLE
R0, R1, R2, R3, R4 = Register.R0, Register.R1, Register.R2, Register.R3, Register.R4
_PACKET, _OCTETS_AT, _SOURCE = Register.R6, Register.R7, Register.R8
_HASH: Final = Register.R8  # until the source is found
_NOTES: Final = Register.R9
_STACK: Final = Register.STACK

# struct __sk_buff
_SKB_LENGTH, _SKB_TYPE, _SKB_MARK, _SKB_TAGGED, _SKB_PRIORITY = 0, 4, 8, 20, 32
_SKB_INTERFACE, _SKB_OCTETS, _SKB_END, _SKB_GSO = 40, 76, 80, 176

# The kernel's functions, by their numbers.
_LOOK_UP, _REDIRECT, _CSUM_UPDATE, _ROUTE, _COARSE_CLOCK = 1, 23, 40, 69, 160

# Results: the next program, and then the stack. A redirection's is its function's own.
_NEXT: Final = -1

_ETHERNET: Final = 14
_IS_IPV4, _IS_IPV6 = 0x0008, 0xDD86  # of the network's order, read by a little-endian machine
_UDP: Final = 17
_FAMILY4, _FAMILY6 = 2, 10

# Notes of this processor's own: what is asked of the routes, the packet's length, ports and
# SSRC, an index. On the stack, the kernel would guard each write against speculation, unless
# CAP_PERFMON is there.
NOTES_OCTETS: Final = 88
_LENGTH, _ENDS, _INDEX = 64, 72, 80
_FIB_OCTETS: Final = 64
# struct bpf_fib_lookup
_FIB_PORTS, _FIB_LENGTH, _FIB_INTERFACE, _FIB_CLASS = 2, 6, 8, 12
_FIB_FROM, _FIB_TO, _FIB_OUR_MAC, _FIB_MAC = 16, 32, 52, 58

# `ip_tos2prio` of net/ipv4/route.c without its twins, one nibble for each two bits of TOS.
_PRIORITIES: Final = 0x4620


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


def program(tables: Tables, pace: Pace, hashings: tuple[Hashing, Hashing]) -> Iterator[Line]:
    """Yield the program's lines; *hashings* are those of IPv4's table and of IPv6's."""
    yield from _only_plain()
    yield from _source_of_4(tables, hashings[0])
    yield from _only_in_turn(pace)
    yield from _route_of_4()
    yield jump("route")
    yield Label("ipv6")
    yield from _source_of_6(tables, hashings[1])
    yield from _only_in_turn(pace)
    yield from _route_of_6()
    yield Label("route")
    yield from _send(tables.interfaces)
    yield Label("turn")
    yield store(_WORD, _SOURCE, _LAST, R0)
    yield Label("routed")
    yield change(R0, Sum.MOVE, _NEXT)
    yield leave()


def _only_plain() -> Iterator[Line]:
    """Pass over what is not for us, tagged, marked by others, or several packets in one."""
    yield change(_PACKET, Sum.MOVE, R1)
    for field in (_SKB_TYPE, _SKB_TAGGED, _SKB_MARK, _SKB_GSO):
        yield load(_WORD, R2, _PACKET, field)
        yield jump_if(R2, When.NOT_EQUAL, 0, "routed")  # a type of 0: sent to this machine
    yield load(_WORD, _OCTETS_AT, _PACKET, _SKB_OCTETS)
    yield load(_WORD, R3, _PACKET, _SKB_END)
    yield from _at_least(_ETHERNET + 20 + 8 + 12)
    yield load(_HALF, R2, _OCTETS_AT, 12)
    yield jump_if(R2, When.EQUAL, _IS_IPV6, "ipv6")
    yield jump_if(R2, When.NOT_EQUAL, _IS_IPV4, "routed")


def _at_least(octets: int) -> Iterator[Line]:
    """Pass over what is shorter, or has its headers elsewhere; the verifier insists."""
    yield change(R2, Sum.MOVE, _OCTETS_AT)
    yield change(R2, Sum.ADD, octets)
    yield jump_if(R2, When.ABOVE, R3, "routed")


def _source_of_4(tables: Tables, hashing: Hashing) -> Iterator[Line]:
    """Find the source of a plain packet of IPv4."""
    ip = _ETHERNET
    yield load(_BYTE, R2, _OCTETS_AT, ip)
    yield jump_if(R2, When.NOT_EQUAL, 0x45, "routed")  # with options
    yield load(_HALF, R2, _OCTETS_AT, ip + 6)
    yield change(R2, Sum.AND, 0xFF3F)
    yield jump_if(R2, When.NOT_EQUAL, 0, "routed")  # a fragment
    yield load(_BYTE, R2, _OCTETS_AT, ip + 8)
    yield jump_if(R2, When.AT_MOST, 1, "routed")  # the stack tells its sender
    yield load(_BYTE, R2, _OCTETS_AT, ip + 9)
    yield jump_if(R2, When.NOT_EQUAL, _UDP, "routed")
    yield from _length_of_4()
    yield from _as_long_as_it_says()
    yield from _is_rtp(ip + 20 + 8)
    yield from _notes_of(tables.notes)
    yield from _ports_and_ssrc(ip + 20)
    addresses = (ip + 12,)
    yield from _hash(hashing, addresses)
    for place in (1, 2):
        yield from _place(place, hashing, tables.proven4)
        yield from _compare(place, ELEMENT4, KEY4, addresses)
    yield jump("routed")
    yield Label(f"found{KEY4}")


def _source_of_6(tables: Tables, hashing: Hashing) -> Iterator[Line]:
    """Do the same for IPv6, where UDP follows at once."""
    ip = _ETHERNET
    yield from _at_least(ip + 40 + 8 + 12)
    yield load(_BYTE, R2, _OCTETS_AT, ip)
    yield change(R2, Sum.AND, 0xF0)
    yield jump_if(R2, When.NOT_EQUAL, 0x60, "routed")
    yield load(_BYTE, R2, _OCTETS_AT, ip + 6)
    yield jump_if(R2, When.NOT_EQUAL, _UDP, "routed")
    yield load(_BYTE, R2, _OCTETS_AT, ip + 7)
    yield jump_if(R2, When.AT_MOST, 1, "routed")
    yield from _length_of_6()
    yield from _as_long_as_it_says()
    yield from _is_rtp(ip + 40 + 8)
    yield from _notes_of(tables.notes)
    yield from _ports_and_ssrc(ip + 40)
    addresses = tuple(range(ip + 8, ip + 40, 8))
    yield from _hash(hashing, addresses)
    for place in (1, 2):
        yield from _place(place, hashing, tables.proven6)
        yield from _compare(place, ELEMENT6, KEY6, addresses)
    yield jump("routed")
    yield Label(f"found{KEY6}")


def _length_of_4() -> Iterator[Line]:
    yield load(_HALF, R2, _OCTETS_AT, _ETHERNET + 2)
    yield swap16(R2)


def _length_of_6() -> Iterator[Line]:
    yield load(_HALF, R2, _OCTETS_AT, _ETHERNET + 4)
    yield swap16(R2)
    yield change(R2, Sum.ADD, 40)


def _as_long_as_it_says() -> Iterator[Line]:
    """Pass over what carries padding of Ethernet, or lacks its end: the stack cuts or drops it."""
    yield load(_WORD, R3, _PACKET, _SKB_LENGTH)
    yield change(R3, Sum.SUBTRACT, _ETHERNET)
    yield jump_if(R3, When.NOT_EQUAL, R2, "routed")


def _is_rtp(rtp: int) -> Iterator[Line]:
    """Pass over what is not version 2, and over RTCP: as the rules tell them apart."""
    yield load(_BYTE, R2, _OCTETS_AT, rtp)
    yield change(R2, Sum.AND, 0xC0)
    yield jump_if(R2, When.NOT_EQUAL, 0x80, "routed")
    yield load(_BYTE, R2, _OCTETS_AT, rtp + 1)
    yield change(R2, Sum.AND, 0xE0)
    yield jump_if(R2, When.EQUAL, 0xC0, "routed")  # 192 to 223


def _notes_of(notes: int) -> Iterator[Line]:
    """Find this processor's place for notes."""
    yield store_constant(_WORD, _STACK, -8, 0)
    yield change(R2, Sum.MOVE, _STACK)
    yield change(R2, Sum.ADD, -8)
    yield from _element_of(notes)
    yield change(_NOTES, Sum.MOVE, R0)


def _ports_and_ssrc(udp: int) -> Iterator[Line]:
    """Put a key's last eight octets together; all zero they are the mark of an empty element."""
    yield load(_WORD, R2, _OCTETS_AT, udp)
    yield load(_WORD, R3, _OCTETS_AT, udp + 8 + 8)
    yield change(R3, Sum.SHIFT_LEFT, 32)
    yield change(R2, Sum.ADD, R3)
    yield jump_if(R2, When.EQUAL, 0, "routed")
    yield store(_DOUBLE, _NOTES, _ENDS, R2)


def _hash(hashing: Hashing, addresses: Sequence[int]) -> Iterator[Line]:
    """Find the numbers of the key's two places."""
    yield from load_wide(_HASH, hashing.factors[-1])
    yield change(_HASH, Sum.MULTIPLY, R2)
    for octets, factor in zip(addresses, hashing.factors, strict=False):
        yield load(_DOUBLE, R3, _OCTETS_AT, octets)
        yield from load_wide(R4, factor)
        yield change(R3, Sum.MULTIPLY, R4)
        yield change(_HASH, Sum.ADD, R3)
    yield change(_HASH, Sum.SHIFT_RIGHT, 64 - 2 * hashing.bits)


def _place(number: int, hashing: Hashing, proven: int) -> Iterator[Line]:
    """Look into the first place or the second."""
    yield change(R2, Sum.MOVE, _HASH)
    if number == 1:
        yield change(R2, Sum.SHIFT_RIGHT, hashing.bits)
    else:
        yield change(R2, Sum.AND, (1 << hashing.bits) - 1)
    yield store(_WORD, _NOTES, _INDEX, R2)
    yield change(R2, Sum.MOVE, _NOTES)
    yield change(R2, Sum.ADD, _INDEX)
    yield from _element_of(proven)


def _element_of(table: int) -> Iterator[Line]:
    """Look into a table at the index that R2 points to."""
    yield from load_map(R1, table)
    yield call(_LOOK_UP)
    yield jump_if(R0, When.EQUAL, 0, "routed")


def _compare(place: int, element: int, key: int, addresses: Sequence[int]) -> Iterator[Line]:
    """Find the source among those of a place."""
    yield load(_DOUBLE, R4, _NOTES, _ENDS)
    for number in range(TOGETHER):
        start, other = number * element, f"not{key}.{place}.{number}"
        yield load(_DOUBLE, R2, R0, start + key - 8)
        yield jump_if(R2, When.NOT_EQUAL, R4, other)
        for piece, octets in enumerate(addresses):
            yield load(_DOUBLE, R2, R0, start + 8 * piece)
            yield load(_DOUBLE, R3, _OCTETS_AT, octets)
            yield jump_if(R2, When.NOT_EQUAL, R3, other)
        yield change(_SOURCE, Sum.MOVE, R0)
        yield change(_SOURCE, Sum.ADD, start + key)
        yield jump(f"found{key}")
        yield Label(other)


def _only_in_turn(pace: Pace) -> Iterator[Line]:
    """Pass over those that were silent for long, and one packet a turn."""
    yield call(_COARSE_CLOCK)
    yield change(R0, Sum.SHIFT_RIGHT, TICK_BITS)
    yield load(_WORD, R2, _SOURCE, _LAST)
    yield change32(R1, Sum.MOVE, R0)
    yield change32(R1, Sum.SUBTRACT, R2)  # ticks since the last turn; they may have wrapped
    yield jump_if(R1, When.ABOVE, pace.silence, "routed")
    # least + (most - least) * h / 2**16, where h is 16 bits of the last turn's time and the secret
    yield change32(R2, Sum.MULTIPLY, pace.secret)
    yield change32(R2, Sum.SHIFT_RIGHT, 16)
    yield change32(R2, Sum.MULTIPLY, pace.most - pace.least)
    yield change32(R2, Sum.SHIFT_RIGHT, 16)
    yield change32(R2, Sum.ADD, pace.least)
    yield jump_if(R1, When.ABOVE, R2, "turn")
    yield jump_if(R1, When.AT_MOST, _BUNDLE_TICKS, "routed")


def _route_of_4() -> Iterator[Line]:
    """Write down what the route of a packet of IPv4 depends on."""
    ip = _ETHERNET
    yield from _length_of_4()
    yield from _route_of(_FAMILY4, ip + 20)
    yield load(_BYTE, R2, _OCTETS_AT, ip + 1)
    yield store(_WORD, _NOTES, _FIB_CLASS, R2)
    yield load(_WORD, R2, _OCTETS_AT, ip + 12)
    yield store(_WORD, _NOTES, _FIB_FROM, R2)
    yield load(_WORD, R2, _OCTETS_AT, ip + 16)
    yield store(_WORD, _NOTES, _FIB_TO, R2)


def _route_of_6() -> Iterator[Line]:
    """Do the same for IPv6."""
    ip = _ETHERNET
    yield from _length_of_6()
    yield from _route_of(_FAMILY6, ip + 40)
    yield load(_WORD, R2, _OCTETS_AT, ip)
    yield change32(R2, Sum.AND, 0xFFFFFF0F)  # traffic class and flow label
    yield store(_WORD, _NOTES, _FIB_CLASS, R2)
    for octets in (0, 8):
        yield load(_DOUBLE, R2, _OCTETS_AT, ip + 8 + octets)
        yield store(_DOUBLE, _NOTES, _FIB_FROM + octets, R2)
        yield load(_DOUBLE, R2, _OCTETS_AT, ip + 24 + octets)
        yield store(_DOUBLE, _NOTES, _FIB_TO + octets, R2)


def _route_of(family: int, udp: int) -> Iterator[Line]:
    yield store(_DOUBLE, _NOTES, _LENGTH, R2)
    yield store(_HALF, _NOTES, _FIB_LENGTH, R2)  # for the MTU
    yield store_constant(_HALF, _NOTES, 0, _UDP << 8 | family)
    yield load(_WORD, R2, _PACKET, _SKB_INTERFACE)
    yield store(_WORD, _NOTES, _FIB_INTERFACE, R2)
    # Where there are several routes, both ways must choose the same.
    for octets in (0, 2):
        yield load(_HALF, R2, _OCTETS_AT, udp + octets)
        yield store(_HALF, _NOTES, _FIB_PORTS + octets, R2)


def _send(interfaces: int) -> Iterator[Line]:
    """Send it where its route leads, with the addresses of that link, and count it."""
    yield change(R1, Sum.MOVE, _PACKET)
    yield change(R2, Sum.MOVE, _NOTES)
    yield change(R3, Sum.MOVE, _FIB_OCTETS)
    yield change(R4, Sum.MOVE, 0)
    yield call(_ROUTE)
    yield jump_if(R0, When.NOT_EQUAL, 0, "routed")  # none, no neighbor, not allowed, too large
    yield change(R2, Sum.MOVE, _NOTES)
    yield change(R2, Sum.ADD, _FIB_INTERFACE)
    yield from _element_of(interfaces)
    yield load(_WORD, R0, R0, 0)
    yield jump_if(R0, When.EQUAL, 0, "routed")  # of another kind, or a part of something
    yield change(R1, Sum.MOVE, 1)
    yield atomic_add(_WORD, _SOURCE, _PACKETS, R1)
    yield load(_DOUBLE, R1, _NOTES, _LENGTH)
    yield atomic_add(_DOUBLE, _SOURCE, _OCTETS, R1)
    for octets in (0, 2, 4):
        yield load(_HALF, R2, _NOTES, _FIB_MAC + octets)
        yield store(_HALF, _OCTETS_AT, octets, R2)
    for size, octets in ((_WORD, 0), (_HALF, 4)):
        yield load(size, R2, _NOTES, _FIB_OUR_MAC + octets)
        yield store(size, _OCTETS_AT, 6 + octets, R2)
    yield load(_HALF, R2, _OCTETS_AT, 12)
    yield jump_if(R2, When.EQUAL, _IS_IPV6, "hop6")
    yield from _hop_of_4()
    yield from _hop_of_6()
    yield Label("redirect")
    yield load(_WORD, R1, _NOTES, _FIB_INTERFACE)
    yield change(R2, Sum.MOVE, 0)
    yield call(_REDIRECT)
    yield leave()


def _hop_of_4() -> Iterator[Line]:
    """Take one hop off, mend the checksum (RFC 1624), and set the priority as the stack does."""
    ip = _ETHERNET
    yield load(_BYTE, R2, _OCTETS_AT, ip + 8)
    yield change(R2, Sum.SUBTRACT, 1)
    yield store(_BYTE, _OCTETS_AT, ip + 8, R2)
    yield load(_HALF, R2, _OCTETS_AT, ip + 10)
    yield change(R2, Sum.ADD, 1)  # 0x0100 in the network's order
    yield jump_if(R2, When.BELOW, 0xFFFF, "folded")
    yield change(R2, Sum.ADD, 1)
    yield Label("folded")
    yield store(_HALF, _OCTETS_AT, ip + 10, R2)
    yield load(_BYTE, R2, _OCTETS_AT, ip + 1)
    yield change(R2, Sum.SHIFT_RIGHT, 1)
    yield change(R2, Sum.AND, 0xC)
    yield change(R3, Sum.MOVE, _PRIORITIES)
    yield change(R3, Sum.SHIFT_RIGHT, R2)
    yield change(R3, Sum.AND, 7)
    yield store(_WORD, _PACKET, _SKB_PRIORITY, R3)
    yield jump("redirect")


def _hop_of_6() -> Iterator[Line]:
    """Take one hop off; the kernel may have a sum over the packet, and IPv6 none of its own."""
    ip = _ETHERNET
    yield Label("hop6")
    yield load(_BYTE, R2, _OCTETS_AT, ip + 7)
    yield change(R2, Sum.SUBTRACT, 1)
    yield store(_BYTE, _OCTETS_AT, ip + 7, R2)
    yield change(R1, Sum.MOVE, _PACKET)
    yield change32(R2, Sum.MOVE, 0xFFFFFEFF)  # minus 0x0001, as a sum of such halves has it
    yield call(_CSUM_UPDATE)

"""The program: forward what is surely proven and plain, leave all the rest to the routed way.

It sees each packet that comes in by a guarded interface, before IP does. Whatever is out
of the ordinary (a tag, an option, a fragment, a mark, a route or neighbor that is not there)
it lets go on, as if it did not exist: there stand the rules, and they decide. It drops
nothing, and knows no source that userspace has not put into its table.

Every two seconds or so a packet of each stream goes the routed way. That keeps the pinhole
alive, shows a sample to the guard, and asks the neighbor and everybody else's rules again.
The time is a little different from turn to turn, by a secret: who wants to be looked at
at no other time than when it behaves must not know it to the packet.

What follows within some milliseconds goes the routed way, too: the kernel takes packets in
bundles, and hands those of the routed way over at a bundle's end, behind what went directly.

A stream that was silent for nearly as long as its pinhole lives goes the routed way until
userspace says otherwise: the pinhole may be gone, and here nobody could tell.
"""

from collections.abc import Iterator, Sequence

from sipguard.edge.direct.assembly import (
    Label,
    Line,
    Sum,
    When,
    call,
    change,
    change32,
    jump,
    jump_if,
    leave,
    load,
    load_wide,
    store,
    store_constant,
)
from sipguard.edge.direct.layout import (
    BUNDLE_TICKS,
    BYTE,
    COARSE_CLOCK,
    DOUBLE,
    ELEMENT4,
    ELEMENT6,
    ENDS,
    ETHERNET,
    HALF,
    HASH,
    INDEX,
    IS_IPV4,
    IS_IPV6,
    KEY4,
    KEY6,
    LAST,
    NEXT,
    NOTES,
    OCTETS_AT,
    PACKET,
    R0,
    R1,
    R2,
    R3,
    R4,
    SKB_END,
    SKB_GSO,
    SKB_LENGTH,
    SKB_MARK,
    SKB_OCTETS,
    SKB_TAGGED,
    SKB_TYPE,
    SOURCE,
    STACK,
    TICK_BITS,
    TOGETHER,
    UDP,
    WORD,
    Hashing,
    Pace,
    Tables,
)
from sipguard.edge.direct.sending import (
    element_of,
    length_of_4,
    length_of_6,
    route_of_4,
    route_of_6,
    send,
)


def program(tables: Tables, pace: Pace, hashings: tuple[Hashing, Hashing]) -> Iterator[Line]:
    """Yield the program's lines; *hashings* are those of IPv4's table and of IPv6's."""
    yield from _only_plain()
    yield from _source_of_4(tables, hashings[0])
    yield from _only_in_turn(pace)
    yield from route_of_4()
    yield jump("route")
    yield Label("ipv6")
    yield from _source_of_6(tables, hashings[1])
    yield from _only_in_turn(pace)
    yield from route_of_6()
    yield Label("route")
    yield from send(tables.interfaces)
    yield Label("turn")
    yield store(WORD, SOURCE, LAST, R0)
    yield Label("routed")
    yield change(R0, Sum.MOVE, NEXT)
    yield leave()


def _only_plain() -> Iterator[Line]:
    """Pass over what is not for us, tagged, marked by others, or several packets in one."""
    yield change(PACKET, Sum.MOVE, R1)
    for field in (SKB_TYPE, SKB_TAGGED, SKB_MARK, SKB_GSO):
        yield load(WORD, R2, PACKET, field)
        yield jump_if(R2, When.NOT_EQUAL, 0, "routed")  # a type of 0: sent to this machine
    yield load(WORD, OCTETS_AT, PACKET, SKB_OCTETS)
    yield load(WORD, R3, PACKET, SKB_END)
    yield from _at_least(ETHERNET + 20 + 8 + 12)
    yield load(HALF, R2, OCTETS_AT, 12)
    yield jump_if(R2, When.EQUAL, IS_IPV6, "ipv6")
    yield jump_if(R2, When.NOT_EQUAL, IS_IPV4, "routed")


def _at_least(octets: int) -> Iterator[Line]:
    """Pass over what is shorter, or has its headers elsewhere; the verifier insists."""
    yield change(R2, Sum.MOVE, OCTETS_AT)
    yield change(R2, Sum.ADD, octets)
    yield jump_if(R2, When.ABOVE, R3, "routed")


def _source_of_4(tables: Tables, hashing: Hashing) -> Iterator[Line]:
    """Find the source of a plain packet of IPv4."""
    ip = ETHERNET
    yield load(BYTE, R2, OCTETS_AT, ip)
    yield jump_if(R2, When.NOT_EQUAL, 0x45, "routed")  # with options
    yield load(HALF, R2, OCTETS_AT, ip + 6)
    yield change(R2, Sum.AND, 0xFF3F)
    yield jump_if(R2, When.NOT_EQUAL, 0, "routed")  # a fragment
    yield load(BYTE, R2, OCTETS_AT, ip + 8)
    yield jump_if(R2, When.AT_MOST, 1, "routed")  # the stack tells its sender
    yield load(BYTE, R2, OCTETS_AT, ip + 9)
    yield jump_if(R2, When.NOT_EQUAL, UDP, "routed")
    yield from length_of_4()
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
    ip = ETHERNET
    yield from _at_least(ip + 40 + 8 + 12)
    yield load(BYTE, R2, OCTETS_AT, ip)
    yield change(R2, Sum.AND, 0xF0)
    yield jump_if(R2, When.NOT_EQUAL, 0x60, "routed")
    yield load(BYTE, R2, OCTETS_AT, ip + 6)
    yield jump_if(R2, When.NOT_EQUAL, UDP, "routed")
    yield load(BYTE, R2, OCTETS_AT, ip + 7)
    yield jump_if(R2, When.AT_MOST, 1, "routed")
    yield from length_of_6()
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


def _as_long_as_it_says() -> Iterator[Line]:
    """Pass over what carries padding of Ethernet, or lacks its end: the stack cuts or drops it."""
    yield load(WORD, R3, PACKET, SKB_LENGTH)
    yield change(R3, Sum.SUBTRACT, ETHERNET)
    yield jump_if(R3, When.NOT_EQUAL, R2, "routed")


def _is_rtp(rtp: int) -> Iterator[Line]:
    """Pass over what is not version 2, and over RTCP: as the rules tell them apart."""
    yield load(BYTE, R2, OCTETS_AT, rtp)
    yield change(R2, Sum.AND, 0xC0)
    yield jump_if(R2, When.NOT_EQUAL, 0x80, "routed")
    yield load(BYTE, R2, OCTETS_AT, rtp + 1)
    yield change(R2, Sum.AND, 0xE0)
    yield jump_if(R2, When.EQUAL, 0xC0, "routed")  # 192 to 223


def _notes_of(notes: int) -> Iterator[Line]:
    """Find this processor's place for notes."""
    yield store_constant(WORD, STACK, -8, 0)
    yield change(R2, Sum.MOVE, STACK)
    yield change(R2, Sum.ADD, -8)
    yield from element_of(notes)
    yield change(NOTES, Sum.MOVE, R0)


def _ports_and_ssrc(udp: int) -> Iterator[Line]:
    """Put a key's last eight octets together; all zero they are the mark of an empty element."""
    yield load(WORD, R2, OCTETS_AT, udp)
    yield load(WORD, R3, OCTETS_AT, udp + 8 + 8)
    yield change(R3, Sum.SHIFT_LEFT, 32)
    yield change(R2, Sum.ADD, R3)
    yield jump_if(R2, When.EQUAL, 0, "routed")
    yield store(DOUBLE, NOTES, ENDS, R2)


def _hash(hashing: Hashing, addresses: Sequence[int]) -> Iterator[Line]:
    """Find the numbers of the key's two places."""
    yield from load_wide(HASH, hashing.factors[-1])
    yield change(HASH, Sum.MULTIPLY, R2)
    for octets, factor in zip(addresses, hashing.factors, strict=False):
        yield load(DOUBLE, R3, OCTETS_AT, octets)
        yield from load_wide(R4, factor)
        yield change(R3, Sum.MULTIPLY, R4)
        yield change(HASH, Sum.ADD, R3)
    yield change(HASH, Sum.SHIFT_RIGHT, 64 - 2 * hashing.bits)


def _place(number: int, hashing: Hashing, proven: int) -> Iterator[Line]:
    """Look into the first place or the second."""
    yield change(R2, Sum.MOVE, HASH)
    if number == 1:
        yield change(R2, Sum.SHIFT_RIGHT, hashing.bits)
    else:
        yield change(R2, Sum.AND, (1 << hashing.bits) - 1)
    yield store(WORD, NOTES, INDEX, R2)
    yield change(R2, Sum.MOVE, NOTES)
    yield change(R2, Sum.ADD, INDEX)
    yield from element_of(proven)


def _compare(place: int, element: int, key: int, addresses: Sequence[int]) -> Iterator[Line]:
    """Find the source among those of a place."""
    yield load(DOUBLE, R4, NOTES, ENDS)
    for number in range(TOGETHER):
        start, other = number * element, f"not{key}.{place}.{number}"
        yield load(DOUBLE, R2, R0, start + key - 8)
        yield jump_if(R2, When.NOT_EQUAL, R4, other)
        for piece, octets in enumerate(addresses):
            yield load(DOUBLE, R2, R0, start + 8 * piece)
            yield load(DOUBLE, R3, OCTETS_AT, octets)
            yield jump_if(R2, When.NOT_EQUAL, R3, other)
        yield change(SOURCE, Sum.MOVE, R0)
        yield change(SOURCE, Sum.ADD, start + key)
        yield jump(f"found{key}")
        yield Label(other)


def _only_in_turn(pace: Pace) -> Iterator[Line]:
    """Pass over those that were silent for long, and one packet a turn."""
    yield call(COARSE_CLOCK)
    yield change(R0, Sum.SHIFT_RIGHT, TICK_BITS)
    yield load(WORD, R2, SOURCE, LAST)
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
    yield jump_if(R1, When.AT_MOST, BUNDLE_TICKS, "routed")

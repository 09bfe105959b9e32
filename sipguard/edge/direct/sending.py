"""The program's second half: the route of a packet, and how it leaves as a router's does."""

from collections.abc import Iterator

from sipguard.edge.direct.assembly import (
    Label,
    Line,
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
    store,
    store_constant,
    swap16,
)
from sipguard.edge.direct.layout import (
    BYTE,
    CSUM_UPDATE,
    DOUBLE,
    ETHERNET,
    FAMILY4,
    FAMILY6,
    FIB_CLASS,
    FIB_FROM,
    FIB_INTERFACE,
    FIB_LENGTH,
    FIB_MAC,
    FIB_OCTETS,
    FIB_OUR_MAC,
    FIB_PORTS,
    FIB_TO,
    HALF,
    IS_IPV6,
    LENGTH,
    LOOK_UP,
    NOTES,
    OCTETS,
    OCTETS_AT,
    PACKET,
    PACKETS,
    PRIORITIES,
    R0,
    R1,
    R2,
    R3,
    R4,
    REDIRECT,
    ROUTE,
    SKB_INTERFACE,
    SKB_PRIORITY,
    SOURCE,
    UDP,
    WORD,
)


def length_of_4() -> Iterator[Line]:
    """Load into R2 how long a packet of IPv4 says it is."""
    yield load(HALF, R2, OCTETS_AT, ETHERNET + 2)
    yield swap16(R2)


def length_of_6() -> Iterator[Line]:
    """Do the same for IPv6."""
    yield load(HALF, R2, OCTETS_AT, ETHERNET + 4)
    yield swap16(R2)
    yield change(R2, Sum.ADD, 40)


def element_of(table: int) -> Iterator[Line]:
    """Look into a table at the index that R2 points to."""
    yield from load_map(R1, table)
    yield call(LOOK_UP)
    yield jump_if(R0, When.EQUAL, 0, "routed")


def route_of_4() -> Iterator[Line]:
    """Write down what the route of a packet of IPv4 depends on."""
    ip = ETHERNET
    yield from length_of_4()
    yield from _route_of(FAMILY4, ip + 20)
    yield load(BYTE, R2, OCTETS_AT, ip + 1)
    yield store(WORD, NOTES, FIB_CLASS, R2)
    yield load(WORD, R2, OCTETS_AT, ip + 12)
    yield store(WORD, NOTES, FIB_FROM, R2)
    yield load(WORD, R2, OCTETS_AT, ip + 16)
    yield store(WORD, NOTES, FIB_TO, R2)


def route_of_6() -> Iterator[Line]:
    """Do the same for IPv6."""
    ip = ETHERNET
    yield from length_of_6()
    yield from _route_of(FAMILY6, ip + 40)
    yield load(WORD, R2, OCTETS_AT, ip)
    yield change32(R2, Sum.AND, 0xFFFFFF0F)  # traffic class and flow label
    yield store(WORD, NOTES, FIB_CLASS, R2)
    for octets in (0, 8):
        yield load(DOUBLE, R2, OCTETS_AT, ip + 8 + octets)
        yield store(DOUBLE, NOTES, FIB_FROM + octets, R2)
        yield load(DOUBLE, R2, OCTETS_AT, ip + 24 + octets)
        yield store(DOUBLE, NOTES, FIB_TO + octets, R2)


def _route_of(family: int, udp: int) -> Iterator[Line]:
    yield store(DOUBLE, NOTES, LENGTH, R2)
    yield store(HALF, NOTES, FIB_LENGTH, R2)  # for the MTU
    yield store_constant(HALF, NOTES, 0, UDP << 8 | family)
    yield load(WORD, R2, PACKET, SKB_INTERFACE)
    yield store(WORD, NOTES, FIB_INTERFACE, R2)
    # Where there are several routes, both ways must choose the same.
    for octets in (0, 2):
        yield load(HALF, R2, OCTETS_AT, udp + octets)
        yield store(HALF, NOTES, FIB_PORTS + octets, R2)


def send(interfaces: int) -> Iterator[Line]:
    """Send it where its route leads, with the addresses of that link, and count it."""
    yield change(R1, Sum.MOVE, PACKET)
    yield change(R2, Sum.MOVE, NOTES)
    yield change(R3, Sum.MOVE, FIB_OCTETS)
    yield change(R4, Sum.MOVE, 0)
    yield call(ROUTE)
    yield jump_if(R0, When.NOT_EQUAL, 0, "routed")  # none, no neighbor, not allowed, too large
    yield change(R2, Sum.MOVE, NOTES)
    yield change(R2, Sum.ADD, FIB_INTERFACE)
    yield from element_of(interfaces)
    yield load(WORD, R0, R0, 0)
    yield jump_if(R0, When.EQUAL, 0, "routed")  # of another kind, or a part of something
    yield change(R1, Sum.MOVE, 1)
    yield atomic_add(WORD, SOURCE, PACKETS, R1)
    yield load(DOUBLE, R1, NOTES, LENGTH)
    yield atomic_add(DOUBLE, SOURCE, OCTETS, R1)
    for octets in (0, 2, 4):
        yield load(HALF, R2, NOTES, FIB_MAC + octets)
        yield store(HALF, OCTETS_AT, octets, R2)
    for size, octets in ((WORD, 0), (HALF, 4)):
        yield load(size, R2, NOTES, FIB_OUR_MAC + octets)
        yield store(size, OCTETS_AT, 6 + octets, R2)
    yield load(HALF, R2, OCTETS_AT, 12)
    yield jump_if(R2, When.EQUAL, IS_IPV6, "hop6")
    yield from _hop_of_4()
    yield from _hop_of_6()
    yield Label("redirect")
    yield load(WORD, R1, NOTES, FIB_INTERFACE)
    yield change(R2, Sum.MOVE, 0)
    yield call(REDIRECT)
    yield leave()


def _hop_of_4() -> Iterator[Line]:
    """Take one hop off, mend the checksum (RFC 1624), and set the priority as the stack does."""
    ip = ETHERNET
    yield load(BYTE, R2, OCTETS_AT, ip + 8)
    yield change(R2, Sum.SUBTRACT, 1)
    yield store(BYTE, OCTETS_AT, ip + 8, R2)
    yield load(HALF, R2, OCTETS_AT, ip + 10)
    yield change(R2, Sum.ADD, 1)  # 0x0100 in the network's order
    yield jump_if(R2, When.BELOW, 0xFFFF, "folded")
    yield change(R2, Sum.ADD, 1)
    yield Label("folded")
    yield store(HALF, OCTETS_AT, ip + 10, R2)
    yield load(BYTE, R2, OCTETS_AT, ip + 1)
    yield change(R2, Sum.SHIFT_RIGHT, 1)
    yield change(R2, Sum.AND, 0xC)
    yield change(R3, Sum.MOVE, PRIORITIES)
    yield change(R3, Sum.SHIFT_RIGHT, R2)
    yield change(R3, Sum.AND, 7)
    yield store(WORD, PACKET, SKB_PRIORITY, R3)
    yield jump("redirect")


def _hop_of_6() -> Iterator[Line]:
    """Take one hop off; the kernel may have a sum over the packet, and IPv6 none of its own."""
    ip = ETHERNET
    yield Label("hop6")
    yield load(BYTE, R2, OCTETS_AT, ip + 7)
    yield change(R2, Sum.SUBTRACT, 1)
    yield store(BYTE, OCTETS_AT, ip + 7, R2)
    yield change(R1, Sum.MOVE, PACKET)
    yield change32(R2, Sum.MOVE, 0xFFFFFEFF)  # minus 0x0001, as a sum of such halves has it
    yield call(CSUM_UPDATE)

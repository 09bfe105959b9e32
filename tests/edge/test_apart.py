"""Large packets wait, in order and in bounds, and nobody's messages overtake each other."""

from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.apart import MAX_APART, MAX_OF_SENDER, Apart, sender_of
from sipguard.wire.packet import Packet, build_udp

SENDERS = tuple(bytes((10, 0, 0, number)) for number in range(5))
TO = bytes((10, 0, 1, 1))


def packet(sender: bytes, number: int, octets: int = 2000) -> bytes:
    to = TO if len(sender) == 4 else bytes(16)
    return build_udp(Packet(sender, to, 5060, 5060, b"%6d" % number + bytes(octets)))


def add(apart: Apart, sender: bytes, number: int) -> bool:
    return apart.add((b"%4d" % number, b"", b"", packet(sender, number)))


def test_only_what_does_not_fit_a_frame_waits() -> None:
    """A message of a running call is small, and is judged at once."""
    apart = Apart(1500)
    assert not apart.wants(packet(SENDERS[0], 1, 1500 - 28 - 6))
    assert apart.wants(packet(SENDERS[0], 1, 1500 - 28 - 5))


def test_a_small_one_does_not_overtake_a_large_one_of_its_sender() -> None:
    """A CANCEL before its INVITE would cancel nothing."""
    apart = Apart(1500)
    assert add(apart, SENDERS[0], 1)
    small = packet(SENDERS[0], 2, 10), packet(SENDERS[1], 3, 10)
    assert [apart.wants(each) for each in small] == [True, False]
    apart.take()
    assert [apart.wants(each) for each in small] == [False, False]


def test_senders_take_turns() -> None:
    """Behind a flood from one address, the signed call of another waits for one packet only."""
    apart = Apart(1500)
    for number in range(9):
        assert add(apart, SENDERS[0], number)
    assert add(apart, SENDERS[1], 100)
    assert [int(apart.take()[0]) for _ in range(4)] == [0, 100, 1, 2]


def test_there_is_no_room_without_end() -> None:
    """Neither for one sender nor for all; the kernel keeps each packet meanwhile."""
    apart = Apart(1500)
    assert [add(apart, SENDERS[0], 0) for _ in range(MAX_OF_SENDER + 1)].count(False) == 1
    kept = [add(apart, SENDERS[1 + number % 4], 0) for number in range(MAX_APART)]
    assert kept.count(True) == MAX_APART - MAX_OF_SENDER
    assert len(apart) == MAX_APART
    apart.take()
    assert add(apart, SENDERS[1], 0)


def test_a_sender_is_an_address_or_an_ipv6_network() -> None:
    """Who has a /64 has all of it; octets that are no packet have a sender as well."""
    assert sender_of(packet(SENDERS[0], 1)) == SENDERS[0]
    assert sender_of(packet(bytes(range(16)), 1)) == bytes(range(8))
    assert sender_of(b"") == b""


@given(st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=60))
def test_each_senders_packets_keep_their_order(steps: list[int | None]) -> None:
    """Whatever comes between, and everything that was added comes out once."""
    apart = Apart(1500)
    taken: list[int] = []
    for number, step in enumerate(steps):
        if step is not None:
            assert add(apart, SENDERS[step], number)
        elif len(apart):
            taken.append(int(apart.take()[0]))
    while len(apart):
        taken.append(int(apart.take()[0]))
    added = [number for number, step in enumerate(steps) if step is not None]
    assert sorted(taken) == added
    for sender in range(5):
        own = [number for number in taken if steps[number] == sender]
        assert own == sorted(own)

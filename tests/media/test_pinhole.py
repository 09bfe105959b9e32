"""The book of holes: counted uses, no port for two calls' peers, bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phones import ALICE, BOB, CAROL, hole, octets

from sipguard.media.pinhole import HoleBook, Use, is_forbidden_address, is_forbidden_port
from sipguard.verdict import Hole

HERE = hole(ALICE, BOB, 40000)
BESIDE = hole(CAROL, BOB, 40000)


def nobodys(_: Hole) -> bool:
    return False


def ours(_: Hole) -> bool:
    return True


def test_hole_closes_with_its_last_use() -> None:
    """Two branches that share a hole close it once, at the end."""
    book = HoleBook(10)
    assert [book.use(HERE, nobodys) for _ in range(3)] == [Use.OPENED, Use.SHARED, Use.SHARED]
    assert [book.release(HERE) for _ in range(4)] == [False, False, True, False]
    assert book.count == 0


def test_another_calls_source_collides() -> None:
    """SDP-9: same destination and port, another source, another call."""
    book = HoleBook(10)
    assert book.claim((HERE,), 4)
    assert book.use(BESIDE, nobodys) is Use.COLLISION
    assert not book.claim((BESIDE,), 4)
    assert book.holes() == [HERE]


def test_forks_of_one_call_share_a_port() -> None:
    """Several sources of one call may send to the same port, and close one by one."""
    book = HoleBook(10)
    book.use(HERE, ours)
    assert book.use(BESIDE, ours) is Use.OPENED
    assert book.use(BESIDE, ours) is Use.SHARED
    assert book.release(HERE)
    assert book.holes() == [BESIDE]
    assert not book.release(BESIDE)
    assert book.release(BESIDE)
    assert (book.holes(), book.count) == ([], 0)


def test_capacity_is_kept() -> None:
    """GEN-3."""
    book = HoleBook(1)
    assert not book.claim((HERE, hole(ALICE, BOB, 40001)), 9)
    assert book.claim((HERE,), 9)
    assert book.use(hole(ALICE, BOB, 40001), ours) is Use.FULL
    assert book.count == 1


PLACES = st.builds(
    Hole,
    st.sampled_from([octets(ALICE), octets(CAROL)]),
    st.sampled_from([octets(BOB), octets(ALICE)]),
    st.sampled_from([40000, 40001]),
)


@given(st.lists(st.tuples(st.booleans(), PLACES), max_size=60))
def test_book_counts_like_a_multiset(steps: list[tuple[bool, Hole]]) -> None:
    """Against a plain count per hole: opened at the first use, closed at the last."""
    book = HoleBook(100)
    uses: dict[Hole, int] = {}
    for adds, place in steps:
        before = uses.get(place, 0)
        if adds:
            assert book.use(place, ours) is (Use.SHARED if before else Use.OPENED)
            uses[place] = before + 1
        else:
            assert book.release(place) is (before == 1)
            uses[place] = max(0, before - 1)
    assert set(book.holes()) == {place for place, count in uses.items() if count}
    assert book.count == len(book.holes())


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "223.255.255.255", "2001:db8::1"])
def test_hosts_are_not_forbidden(address: str) -> None:
    """Private and public unicast addresses are what phones have."""
    assert not is_forbidden_address(octets(address))


@pytest.mark.parametrize("port", [0, 1, 22, 53, 1023, 5060, 5061, 6379, 65536])
def test_forbidden_ports(port: int) -> None:
    """SDP-8."""
    assert is_forbidden_port(port)


@pytest.mark.parametrize("port", [1024, 4000, 5004, 5062, 7078, 65535])
def test_media_ports(port: int) -> None:
    """Ports that real phones use for media."""
    assert not is_forbidden_port(port)

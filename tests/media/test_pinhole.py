"""The book of holes: counted uses, no port for two calls' peers, bounded."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phones import ALICE, BOB, CAROL, hole, octets

from sipguard.media.holebook import HoleBook, Use
from sipguard.media.line import Line
from sipguard.media.pinhole import is_forbidden_address, is_forbidden_port
from sipguard.verdict import Hole

HERE = hole(ALICE, BOB, 40000)
BESIDE = hole(CAROL, BOB, 40000)


def line(caller: str, callee: str, to_caller: int, to_callee: int) -> Line:
    return Line(octets(caller), octets(callee), to_caller, to_callee, "sdes")


def pair(port: int) -> int:
    """Pack an RTP port and the next one, for RTCP, as lines have them."""
    return port + 1 << 16 | port


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
    assert book.claim(line(ALICE, BOB, 0, 40000), 4) == 1
    assert book.use(BESIDE, nobodys) is Use.COLLISION
    assert not book.claim(line(CAROL, BOB, 0, 40000), 4)
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
    assert not book.claim(line(ALICE, BOB, 0, pair(40000)), 9)
    assert book.claim(line(ALICE, BOB, 0, 40000), 9)
    assert book.use(hole(ALICE, BOB, 40001), ours) is Use.FULL
    assert book.count == 1


def test_neighboring_ports_of_two_calls() -> None:
    """A call with RTP and RTCP on one port leaves the other of the pair to anybody."""
    book = HoleBook(10)
    assert book.claim(line(ALICE, BOB, 30000, 40000), 4) == 2
    odd = line(CAROL, BOB, 0, 40001)
    assert not book.claim(odd, 4)
    assert book.use(odd.holes()[0], nobodys) is Use.OPENED
    assert book.use(BESIDE, nobodys) is Use.COLLISION
    assert book.release_line(line(ALICE, BOB, 30000, 40000)) == [hole(BOB, ALICE, 30000), HERE]
    assert book.use(BESIDE, nobodys) is Use.OPENED
    assert book.release_line(odd) == odd.holes()
    assert book.holes() == [BESIDE]


def test_line_of_several_uses_closes_with_the_last() -> None:
    """Two crossings of one call share all holes; one hole that ends early is told alone."""
    book = HoleBook(10)
    whole = line(ALICE, BOB, pair(30000), pair(40000))
    assert book.share(whole) is None
    assert book.claim(whole, 4) == 4
    assert book.share(whole) is whole
    assert book.share(line(ALICE, BOB, pair(30000), pair(40000))) is whole
    assert book.release_line(whole) == []
    assert not book.release(whole.holes()[0])
    assert book.release(whole.holes()[0])
    assert book.release_line(whole) == []
    assert book.release_line(whole) == whole.holes()[1:]
    assert (book.holes(), book.count) == ([], 0)


def test_lines_of_any_shape_open_and_close() -> None:
    """RTCP elsewhere, several ports, one way only, a host that calls itself."""
    shapes = [
        line(ALICE, BOB, 30777 << 16 | 30000, pair(40001)),
        line(ALICE, BOB, pair(30002) << 32 | pair(30000), pair(40000)),
        line(ALICE, BOB, 0, pair(40000)),
        line(ALICE, BOB, 30001, 0),
        line(ALICE, ALICE, pair(30000), pair(40000)),
        line(ALICE, ALICE, 30000, 30001),
    ]
    for shape in shapes:
        book = HoleBook(10)
        if not book.claim(shape, 8):
            assert [book.use(each, nobodys) for each in shape.holes()] == [Use.OPENED] * book.count
        assert set(book.holes()) == set(shape.holes())
        assert book.count == len(shape.holes())
        assert book.release_line(shape) == shape.holes()
        assert (book.holes(), book.count) == ([], 0)


PLACES = st.builds(
    Hole,
    st.sampled_from([octets(ALICE), octets(CAROL)]),
    st.sampled_from([octets(BOB), octets(ALICE)]),
    st.sampled_from([40000, 40001]),
)
PORTS = st.sampled_from([0, 40000, 40001, pair(40000), pair(40001), 40003 << 16 | 40000])
LINES = st.builds(
    line, st.sampled_from([ALICE, CAROL]), st.sampled_from([BOB, ALICE]), PORTS, PORTS
).filter(lambda made: len(set(made.holes())) == len(made.holes()))  # as plan() makes them


@given(st.lists(st.tuples(st.booleans(), PLACES | LINES), max_size=60))
def test_book_counts_like_a_multiset(steps: list[tuple[bool, Hole | Line]]) -> None:
    """Against a plain count per hole: opened at the first use, closed at the last."""
    book = HoleBook(100)
    uses: Counter[Hole] = Counter()
    for adds, what in steps:
        places = [what] if isinstance(what, Hole) else what.holes()
        if adds:
            use(book, what, uses)
            uses.update(places)
            continue
        last = [place for place in places if uses[place] == 1]
        if isinstance(what, Line):
            assert book.release_line(what) == last
        else:
            assert book.release(what) is bool(last)
        uses -= Counter(places)
        assert set(book.holes()) == set(uses)
        assert book.count == len(book.holes())


def use(book: HoleBook, what: Hole | Line, uses: Counter[Hole]) -> None:
    """Open a hole or a line as ``agreement`` does."""
    if isinstance(what, Line):
        known = [place in uses for place in what.holes()]
        if book.claim(what, 100):
            assert not any(known)
            return
        if book.share(what):
            assert all(known)
            return
    for place in [what] if isinstance(what, Hole) else what.holes():
        assert book.use(place, ours) is (Use.SHARED if place in uses else Use.OPENED)


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

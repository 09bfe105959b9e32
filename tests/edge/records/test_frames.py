"""What goes over the socket between guard and writer."""

from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.control import FeedState
from sipguard.edge.records import frames
from sipguard.edge.records.frames import (
    CHUNK_OCTETS,
    Arriving,
    Kind,
    Terms,
    Told,
    Waiting,
    frame,
    terms_of,
    told_of,
)
from sipguard.policy.feeds import Feed


@given(
    st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=50)), max_size=6),
    st.integers(1, 30),
)
def test_frames_arrive_whole_whatever_the_pieces(
    sent: list[tuple[Kind, bytes]], piece: int
) -> None:
    """A socket cuts where it likes."""
    octets = b"".join(frame(kind, content) for kind, content in sent)
    arriving = Arriving()
    found = [
        one for at in range(0, len(octets), piece) for one in arriving.feed(octets[at : at + piece])
    ]
    assert found == sent


def test_the_queue_has_two_bounds() -> None:
    """A packet may be of sixty octets or of sixty thousand: neither fills the memory."""
    waiting = Waiting()
    assert all(waiting.keep(b"x") for _ in range(frames.MAX_FRAMES))
    assert not waiting.keep(b"x")
    waiting = Waiting()
    assert all(waiting.keep(bytes(1 << 20)) for _ in range(frames.MAX_OCTETS >> 20))
    assert not waiting.keep(b"x")


def test_what_waits_is_taken_in_pieces_and_in_order() -> None:
    """A piece is small enough not to hold up a packet."""
    waiting = Waiting()
    for number in range(100):
        waiting.add(bytes([number]) * 1500)
    taken: list[bytes] = []
    while some := waiting.take():
        assert sum(map(len, some)) < CHUNK_OCTETS + 1500
        taken += some
    assert [one[0] for one in taken] == list(range(100))
    assert (len(waiting), waiting.octets) == (0, 0)


def test_terms_arrive_as_they_were() -> None:
    """Limits, and every part of a feed."""
    terms = Terms(30, 120, (Feed("hep", "192.0.2.9", 9060, "udp", True, 7, "key", "ca", "p:1:2"),))
    assert terms_of(terms.to_octets()) == terms


def test_what_the_writer_tells_arrives_as_it_was() -> None:
    """Counts, and how each feed fares."""
    told = Told(1, 2, 3, 4, 5, "0123abcd", "disk full", (FeedState("json a", 1, 2, 3, "gone"),))
    line = told.to_line()
    assert line.endswith(b"\n")
    assert told_of(line) == told


@given(st.binary(max_size=80))
def test_whatever_a_writer_says_the_guard_goes_on(line: bytes) -> None:
    """It reads what strangers wrote: its word is taken for what it is, or not at all."""
    told = told_of(line)
    assert told is None or isinstance(told, Told)
    assert told_of(b"[" * 50_000) is None
    assert told_of(b'[1,2,3,4,5,"a","b",[[1,2,3,4,5],"x",{}]]') == Told(1, 2, 3, 4, 5, "a", "b")
    assert told_of(b'[1,2,3,4,"5","a","b",[]]') is None

"""media/mikey_memory: what passed, bounded in number and time (MIK-3, GEN-3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.media.mikey_memory import MAX_DESTINATIONS, Crossing, MikeyMemory
from sipguard.moment import Moment
from sipguard.reason import Reason

SKEW_S = 600.0
UTC_S = 1_790_000_000.0


def now(s: float) -> Moment:
    return Moment(1000.0 + s, UTC_S + s)


def memory(capacity: int = 3, seen: int = 2) -> MikeyMemory:
    return MikeyMemory(SKEW_S, capacity, seen)


def remember(
    room: MikeyMemory, octets: bytes, s: float = 0.0, call: bytes = b"call", *, proven: bool = True
) -> None:
    room.remember(octets, UTC_S + s, Crossing(call, b"a", b"b"), now(s), proven=proven)


def is_replay(
    room: MikeyMemory, octets: bytes, s: float = 0.0, made_s: float | None = None,
    *, proven: bool = True, source: bytes = b"x",
) -> bool:  # fmt: skip
    made = UTC_S + (s if made_s is None else made_s)
    finding = room.look(octets, made, Crossing(b"other", source, b"y"), now(s), proven=proven)
    assert finding is None or finding.reason is Reason.MIKEY_REPLAY
    return finding is not None


@pytest.mark.parametrize("proven", [True, False])
def test_a_message_is_remembered_while_it_could_be_fresh(proven: bool) -> None:
    """Twice the skew: it may be dated ahead."""
    room = memory()
    remember(room, b"m", proven=proven)
    assert is_replay(room, b"m", proven=proven)
    assert is_replay(room, b"m", 2 * SKEW_S - 1, proven=proven)
    assert not is_replay(room, b"m", 2 * SKEW_S + 1, proven=proven)
    assert not is_replay(room, b"another", proven=proven)
    room.expire(now(2 * SKEW_S - 1))
    assert len(room) == 1
    room.expire(now(2 * SKEW_S + 1))
    assert len(room) == 0


@pytest.mark.parametrize("proven", [True, False])
def test_the_two_memories_do_not_know_each_other(proven: bool) -> None:
    """Forged messages cost nothing; they cannot push out authentic ones."""
    room = memory()
    remember(room, b"m", proven=proven)
    assert is_replay(room, b"m", proven=proven)
    assert not is_replay(room, b"m", proven=not proven)


def test_mik_3_a_full_memory_refuses_what_it_may_have_forgotten() -> None:
    """RFC 3830 section 5.4: until it would be stale anyway. Younger messages are not hit."""
    room = memory(capacity=2)
    remember(room, b"1", 0.0)
    remember(room, b"2", 1.0)
    assert room.forgotten == 0
    remember(room, b"3", 2.0)
    assert (room.forgotten, len(room)) == (1, 2)
    assert is_replay(room, b"1", 3.0, made_s=0.0)
    assert is_replay(room, b"never seen", 3.0, made_s=-5.0)
    assert not is_replay(room, b"young", 3.0, made_s=2.5)


def test_a_full_memory_of_unproven_messages_refuses_nobody() -> None:
    """Whoever fills it with forgeries must not stop others' calls."""
    room = memory(seen=2)
    for n in range(10):
        remember(room, b"%d" % n, proven=False)
    assert len(room) == 2
    assert room.forgotten == 8
    assert not is_replay(room, b"0", proven=False)
    assert not is_replay(room, b"new", made_s=-5.0)


def test_what_is_stale_leaves_room_without_harm() -> None:
    """Nothing fresh was lost, so nothing is refused."""
    room = memory(capacity=2)
    remember(room, b"1", 0.0)
    remember(room, b"2", 1.0)
    remember(room, b"3", 2 * SKEW_S + 10)
    assert room.forgotten == 0
    assert not is_replay(room, b"new", 2 * SKEW_S + 10, made_s=SKEW_S)
    room.expire(now(5 * SKEW_S))
    assert len(room) == 0


def test_the_ways_of_a_message_are_bounded() -> None:
    """A proxy that forks to hundreds."""
    room = memory()
    for n in range(50):
        crossing = Crossing(b"call", b"a", b"%d" % n)
        room.remember(b"m", UTC_S, crossing, now(0), proven=True)
    last = b"%d" % (MAX_DESTINATIONS - 1)
    assert not is_replay(room, b"m", source=last)
    assert is_replay(room, b"m", source=b"%d" % MAX_DESTINATIONS)


def test_the_rand_of_an_exchange_is_kept_with_its_call() -> None:
    """Its updates have none (RFC 3830 section 4.5)."""
    room = memory()
    room.begin(b"call", b"csb1", b"rand", now(0))
    assert room.rand_of(b"call", b"csb1", now(50_000)) == b"rand"
    assert room.rand_of(b"other", b"csb1", now(0)) == b""
    assert room.rand_of(b"call", b"csb2", now(0)) == b""
    room.expire(now(90_000))
    assert room.rand_of(b"call", b"csb1", now(90_000)) == b""


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 300), st.booleans()), min_size=1, max_size=60
    )
)
def test_a_replay_never_gets_through(steps: list[tuple[int, int, bool]]) -> None:
    """Whatever was remembered in whatever order: while fresh it is known, or refused."""
    room = memory(capacity=3, seen=3)
    at_s, passed = 0.0, dict[int, float]()
    for number, pause_s, proven in steps:
        at_s += pause_s
        octets = b"message %d" % number
        if proven and not is_replay(room, octets, at_s, made_s=passed.get(number, at_s)):
            passed.setdefault(number, at_s)
        remember(room, octets, at_s, proven=proven)
        if proven:
            made_s = passed.setdefault(number, at_s)
            if at_s - made_s < SKEW_S:
                assert is_replay(room, octets, at_s, made_s=made_s)
        assert len(room) <= 6

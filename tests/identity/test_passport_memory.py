"""What is remembered of accepted PASSporTs, and what happens at the bound (STI-14, GEN-3)."""

from hypothesis import given
from hypothesis import strategies as st
from passports import IAT, NOW, Bench, identity, invite

from sipguard.identity.passport_memory import PassportMemory, key_of
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, parse_message

PACKET = Packet(b"\xc0\x00\x02\x01", b"\xc6\x33\x64\x01", 5060, 5060, b"")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def ids(call_id: str = "c1") -> Ids:
    found = parse_message(invite(call_id=call_id), "udp").ids
    assert found is not None
    return found


def later(seconds: float) -> Moment:
    return Moment(NOW.monotonic_s + seconds, NOW.utc_s + seconds)


def remember(memory: PassportMemory, key: int, now: Moment = NOW, iat: int = IAT) -> None:
    memory.remember(key, iat, ids(), PACKET, now)


def replayed(memory: PassportMemory, key: int, now: Moment = NOW, iat: int = IAT) -> bool:
    found = memory.look(key, iat, ids("another"), PACKET, now, retry=False)
    assert found is None or found.reason is Reason.PASSPORT_REPLAY
    return found is not None


def test_sti_14_entries_live_for_their_time() -> None:
    """And leave when new ones come, or when the guard's tick asks."""
    memory = PassportMemory(100.0, capacity=100)
    for key in range(10):
        remember(memory, key)
    assert replayed(memory, 3)
    assert replayed(memory, 3, later(99))
    assert not replayed(memory, 3, later(100))
    remember(memory, 99, later(101))
    assert len(memory) == 7
    memory.expire(later(101), limit=3)
    assert len(memory) == 4
    memory.expire(later(101))
    assert len(memory) == 1


def test_sti_14_an_entry_of_old_is_written_anew() -> None:
    """Its time starts again, and its caller is the new one."""
    memory = PassportMemory(100.0)
    remember(memory, 1)
    memory.remember(1, IAT, ids("second"), PACKET, later(150))
    assert len(memory) == 1
    assert memory.look(1, IAT, ids("second"), PACKET, later(200), retry=False) is None
    assert replayed(memory, 1, later(200))


def test_gen_3_a_full_memory_refuses_what_it_may_have_forgotten() -> None:
    """Until what it lost would be stale anyway; younger tokens pass."""
    memory = PassportMemory(3600.0, capacity=3)
    for key in range(4):
        remember(memory, key)
    assert (len(memory), memory.forgotten) == (3, 1)
    assert replayed(memory, 0)
    assert replayed(memory, 77, iat=IAT - 5)
    assert not replayed(memory, 77, iat=IAT + 1)
    assert not replayed(memory, 0, later(60))


def test_gen_3_what_was_stale_already_is_no_loss() -> None:
    """A full memory of old entries refuses nobody."""
    memory = PassportMemory(3600.0, capacity=1)
    remember(memory, 1, iat=IAT - 100)
    remember(memory, 2)
    assert memory.forgotten == 1
    assert not replayed(memory, 3)


def test_sti_14_a_policy_that_believes_older_ones_finds_none_new_again() -> None:
    """What is remembered stays so for the new policy's time; what may be forgotten is refused."""
    memory = PassportMemory(20.0, max_age_s=10.0)
    remember(memory, 1)
    memory.expire(later(20))
    remember(memory, 2, later(20), IAT + 20)
    memory.judge_by(1200.0, 600.0)
    assert replayed(memory, 1, later(21))  # forgotten, stale until now, and fresh again
    assert replayed(memory, 2, later(619), IAT + 20)
    assert not replayed(memory, 3, later(21), IAT + 12)
    memory.judge_by(20.0, 10.0)
    assert not replayed(memory, 2, later(619), IAT + 20)  # stale again, so nobody asks


def test_sti_14_two_changes_of_policy_leave_the_older_doubt() -> None:
    """Nothing was judged between them, so nothing was settled."""
    memory = PassportMemory(20.0, max_age_s=10.0)
    memory.judge_by(1200.0, 600.0)
    memory.judge_by(7200.0, 3600.0)
    assert replayed(memory, 1, later(60), IAT + 50)
    assert not replayed(memory, 1, later(60), IAT + 51)


def test_gen_3_a_large_memory_keeps_the_same_promises() -> None:
    """In shards, so that its growth stalls no call: bounded, and nothing forgotten is new."""
    memory = PassportMemory(3600.0, capacity=10_000)
    for key in range(30_000):
        remember(memory, key, later(key / 1000), IAT + key // 1000)
    assert 9_900 <= len(memory) <= 10_100
    assert memory.forgotten == 30_000 - len(memory)
    assert replayed(memory, 29_999, later(30), IAT + 29)
    assert replayed(memory, 5, later(30), IAT)
    assert not replayed(memory, 30_001, later(30), IAT + 30)
    for _ in range(10):
        memory.expire(later(3600 + 31), limit=1024)
    assert len(memory) == 0


def test_sti_14_the_ways_of_one_passport_are_bounded() -> None:
    """A token that is passed on and on does not grow its entry for ever."""
    memory = PassportMemory(3600.0)
    for last in range(1, 30):
        onward = PACKET.changed(dst=bytes((10, 0, 0, last)))
        memory.remember(1, IAT, ids(), onward, NOW)
    known = [
        memory.look(1, IAT, ids("b2b"), PACKET.changed(src=src), NOW, retry=False)
        for src in (bytes((10, 0, 0, last)) for last in range(1, 30))
    ]
    assert known.count(None) == 8


@given(st.binary(min_size=32, max_size=32), st.integers(1, ORDER - 1))
def test_sti_14_both_signatures_of_a_token_have_one_key(r: bytes, s: int) -> None:
    """(r, s) and (r, n - s) are both valid, and the second is anybody's to make."""
    first = key_of(b"x", r + s.to_bytes(32, "big"))
    assert first == key_of(b"x", r + (ORDER - s).to_bytes(32, "big"))
    assert first != key_of(b"y", r + s.to_bytes(32, "big"))


def test_the_guards_tick_reaches_the_memory() -> None:
    """Stir.expire forgets what is too old."""
    bench = Bench()
    bench.examine(invite(identity()))
    assert len(bench.stir.memory) == 1
    bench.stir.expire(later(3601))
    assert len(bench.stir.memory) == 0

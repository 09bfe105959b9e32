"""The collector stalls nobody."""

import gc
from functools import partial

import pytest

from sipguard.edge.garbage import COLLECT_S, QUIET_PACKETS, Garbage


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log: list[str] = []
    for name in ("collect", "freeze", "disable"):
        monkeypatch.setattr(gc, name, partial(log.append, name))
    return log


def test_what_exists_at_the_start_is_left_alone(collected: list[str]) -> None:
    """Collected once, then set aside; from then on nothing collects by itself."""
    Garbage().begin()
    assert collected == ["collect", "freeze", "disable"]


def test_it_collects_in_quiet_seconds_and_once_a_minute(collected: list[str]) -> None:
    """Not while calls come, however long that lasts."""
    now_s = [COLLECT_S + 1]
    garbage = Garbage(lambda: now_s[0])
    packets = 0
    for _ in range(100):
        now_s[0] += 1
        packets += QUIET_PACKETS
        garbage.look(packets)
    assert collected == []
    garbage.look(packets)
    assert collected == ["collect"]
    now_s[0] += COLLECT_S
    garbage.look(packets)
    assert collected == ["collect"]
    now_s[0] += 1
    garbage.look(packets)
    assert collected == ["collect"] * 2

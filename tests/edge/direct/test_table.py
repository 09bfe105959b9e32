"""The tables in a real kernel, without packets: room, ages, and what a machine lacks."""

import errno
import os
import sys
from dataclasses import replace

import pytest
from asking import GATED
from guarded import Gateway
from hypothesis import given, settings
from hypothesis import strategies as st
from netns import A4, B4, Lab, raw

from sipguard.edge.direct import system_calls
from sipguard.edge.direct.layout import TICKS_PER_S, TOGETHER
from sipguard.edge.direct.shelf import Shelf
from sipguard.edge.direct.table import Table, pace_of
from sipguard.edge.proofs import proof_key
from sipguard.errors import EdgeError

DIRECT = replace(GATED, direct=True)
DAY_NS = 24 * 3600 * 10**9


class Clock:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 10**12

    def __call__(self) -> int:
        return self.now_ns


def key_of(number: int) -> bytes:
    return proof_key(raw(A4) + raw(B4) + b"\x0f\xa0\0\0", 4000, number)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.kernel
def test_what_finds_no_room_goes_the_routed_way(lab: Lab, clock: Clock) -> None:
    """It is counted, nothing else goes, and room that is given back is used."""
    made = Table(30, clock, bits=(1, 1))
    keys = [key_of(number) for number in range(1, 101)]
    try:
        made.arm(keys, 10)
        assert len(made) == 2 * TOGETHER
        assert made.left_out == 100 - 2 * TOGETHER
        gone = made.take(keys)
        assert len(gone) == 2 * TOGETHER
        assert len(made) == 0
        made.arm(keys, 10)
        assert len(made) == 2 * TOGETHER
    finally:
        made.close()
        made.close()


@pytest.mark.kernel
@settings(max_examples=30, deadline=None)
@given(
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 1 << 31)), max_size=60),
)
def test_a_shelf_has_what_was_put_in_and_not_taken_out(
    is_6: bool, steps: list[tuple[bool, int, int]]
) -> None:
    """Against a plain dictionary: crowded places, renewals, and elements used again."""
    shelf = Shelf("test", is_6, 1)
    model: dict[bytes, int] = {}
    octets = 40 if is_6 else 16
    try:
        for is_put, number, last in steps:
            key = bytes(octets - 1) + bytes([number + 1])
            if is_put and shelf.put(key, last):
                model[key] = last
            elif is_put:
                assert key not in model
                assert len(model) >= TOGETHER, "one place full"
            else:
                assert shelf.take(key) == (0, 0)
                model.pop(key, None)
            assert shelf.keys() == model
    finally:
        shelf.close()
        os.close(shelf.descriptor)


@pytest.mark.kernel
def test_a_proof_of_days_ago_goes_the_routed_way(lab: Lab, clock: Clock) -> None:
    """The kernel's set lets it go after a week; here no source must outlive that."""
    made = Table(30, clock)
    try:
        made.arm([key_of(1)], 10)
        clock.now_ns += 3 * DAY_NS
        assert made.take_aged() == []
        made.arm([key_of(2)], 10)
        clock.now_ns += 3 * DAY_NS - 1
        assert made.take_aged() == []
        clock.now_ns += 1
        assert [gone.key for gone in made.take_aged()] == [key_of(1)]
        assert len(made) == 1
    finally:
        made.close()


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("127.0.0.1", B4),
        (A4, "224.0.0.1"),
        ("0.0.0.0", B4),
        ("fe80::1", "fd00::1"),
        ("fd00::1", "ff02::1"),
        ("::1", "fd00::1"),
    ],
)
def test_addresses_that_no_router_forwards_are_left_to_the_stack(
    lab: Lab, clock: Clock, source: str, destination: str
) -> None:
    """It has its checks of them, which the program has not."""
    made = Table(30, clock)
    try:
        made.arm([proof_key(raw(source) + raw(destination) + b"\x0f\xa0\0\0", 4000, 1)], 10)
        assert len(made) == 0
    finally:
        made.close()


@pytest.mark.parametrize("idle_s", [1, 2, 7, 60, 86400])
def test_the_pinhole_is_refreshed_long_before_it_is_taken_for_gone(idle_s: int) -> None:
    """A turn at the latest after a third of its life, gone at three quarters; both in ticks."""
    pace = pace_of(idle_s, 1)
    assert 0 < pace.least < pace.most <= TICKS_PER_S * idle_s / 3
    assert pace.most <= 3 * TICKS_PER_S
    assert pace.most < pace.silence <= TICKS_PER_S * idle_s * 3 / 4
    assert (pace.most - pace.least) * 0xFFFF < 1 << 32, "the program multiplies in 32 bits"


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("capabilities", "told"),
    [
        ("+net_admin,+net_raw", "it takes CAP_BPF and CAP_NET_ADMIN"),
        ("+bpf,+net_raw", "it takes CAP_BPF and CAP_NET_ADMIN"),
        ("+net_admin,+bpf", "loaded"),
    ],
)
def test_two_capabilities_are_all_it_takes(lab: Lab, capabilities: str, told: str) -> None:
    """What the unit file says; without one of them the sentence names both."""
    script = (
        "from sipguard.errors import EdgeError; from sipguard.edge.direct.table import Table\n"
        "try:\n    Table(30)\n    print('loaded')\nexcept EdgeError as error:\n    print(error)\n"
    )
    drop = ["setpriv", f"--bounding-set=-all,{capabilities}", "--inh-caps=-all"]
    assert told in lab.router.shell(*drop, sys.executable, "-c", script)


@pytest.mark.kernel
@pytest.mark.parametrize("call", ["make_array", "memory", "load_program", "link"])
def test_a_kernel_that_refuses_leaves_the_routed_rules(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """All or nothing: with the lot that the routed way draws, and one sentence for the status."""

    def refuse(*_: object, **__: object) -> int:
        raise system_calls.BpfRefused("no", errno.EINVAL)

    monkeypatch.setattr(system_calls, call, refuse)
    before = len(os.listdir("/proc/self/fd"))
    netfilter = gateway.install(DIRECT)
    assert netfilter.direct.told() == "routed, not direct: no (Invalid argument)"
    assert netfilter.direct.counts() == {}
    assert "numgen" in gateway.rules()
    assert len(os.listdir("/proc/self/fd")) == before + 1, "a netlink socket, no maps"
    gateway.lab.router.run(lambda: netfilter.reinstall(GATED))
    assert netfilter.direct.told() == "routed", "nobody asks for it any more"
    monkeypatch.undo()
    gateway.lab.router.run(lambda: netfilter.reinstall(DIRECT))
    assert netfilter.direct.told() == "direct from ra, rb"
    assert "numgen" not in gateway.rules()


def test_an_unknown_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of system calls are each machine's own; a wrong one does anything."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(EdgeError, match="riscv64"):
        Table(30)

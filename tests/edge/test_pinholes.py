"""Pinholes and bans in a real kernel, between two real hosts."""

import contextlib
import socket
import time
from dataclasses import replace

import pytest
from guarded import PLAN, Gateway, closed, opened
from netns import A4, A6, B4, B6, raw

from sipguard.verdict import Effect, Hole, OpenPinhole

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_a_pinhole_lets_one_direction_of_one_stream_pass(gateway: Gateway, a: str, b: str) -> None:
    """No key, no hole: other ports, and the other direction, stay closed."""
    netfilter = gateway.install()
    assert not gateway.media(a, b)
    assert netfilter.apply([opened(a, b)]).refused == ()
    assert gateway.media(a, b)
    assert not gateway.media(a, b, 4002)
    assert not gateway.media(b, a)
    assert gateway.packets("media_denied") == 3
    assert gateway.packets("media") == 1


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_a_closed_pinhole_closes_at_once(gateway: Gateway, a: str, b: str) -> None:
    """Not even an established flow survives the close: no media after BYE."""
    netfilter = gateway.install()
    netfilter.apply([opened(a, b), opened(b, a)])
    assert gateway.media(a, b)
    assert gateway.media(b, a)
    assert netfilter.apply([closed(a, b)]).refused == ()
    assert not gateway.media(a, b)
    assert gateway.media(b, a)


def test_packets_keep_a_pinhole_open_and_silence_closes_it(gateway: Gateway) -> None:
    """The kernel alone keeps live media open, and alone forgets dead media."""
    netfilter = gateway.install()
    netfilter.apply([opened(A4, B4), opened(A4, B4, 4002)])
    for _ in range(5):
        time.sleep(0.5)
        assert gateway.media(A4, B4)
    assert not gateway.media(A4, B4, 4002)
    time.sleep(2.1)
    assert not gateway.media(A4, B4)


def test_each_pinhole_keeps_the_idle_time_of_its_rule(gateway: Gateway) -> None:
    """A policy's `idle 60s` beside `idle 10s` means two different things after refresh, too."""
    netfilter = gateway.install(replace(PLAN, other_idle_s=(30,)))
    netfilter.apply([opened(A4, B4, 4000, 2), opened(A4, B4, 4002, 30)])
    assert gateway.media(A4, B4)
    assert gateway.media(A4, B4, 4002)
    listed = {hole.hole.port: hole for hole in gateway.lab.router.run(netfilter.pinholes)}
    assert listed[4000].expires_s <= 2
    assert 20 < listed[4002].expires_s <= 30
    netfilter.apply([opened(A4, B4, 4002, 2)])
    listed = {hole.hole.port: hole for hole in gateway.lab.router.run(netfilter.pinholes)}
    assert listed[4002].expires_s <= 2
    netfilter.apply([closed(A4, B4, 4000), closed(A4, B4, 4002)])
    assert netfilter.pinholes() == []


def test_packets_of_each_stream_are_counted_once(gateway: Gateway) -> None:
    """The review page's packet counts are the stream's own."""
    netfilter = gateway.install(replace(PLAN, media_idle_s=30))
    netfilter.apply([opened(A4, B4, idle_s=30), opened(A6, B6, idle_s=30)])
    assert gateway.media(A4, B4)
    for _ in range(3):
        assert gateway.media(A6, B6)
    listed = {hole.hole.source: hole.packets for hole in netfilter.pinholes()}
    assert listed == {raw(A4): 1, raw(A6): 3}


def test_closing_what_is_gone_is_no_error(gateway: Gateway) -> None:
    """A hole that expired must not take its neighbors' transaction down with it."""
    netfilter = gateway.install()
    netfilter.apply([opened(A4, B4, 4000, 1), opened(A4, B4, 4002, 30)])
    time.sleep(1.2)
    started = time.perf_counter()
    effects: list[Effect] = [closed(A4, B4), closed(A4, B4, 9999), opened(A4, B4, 4004)]
    assert netfilter.apply(effects).refused == ()
    assert time.perf_counter() - started < 0.1
    assert {hole.hole.port for hole in netfilter.pinholes()} == {4002, 4004}


@pytest.mark.parametrize("abilities", [(True, True), (True, False), (False, False)])
def test_older_kernels_get_the_same_by_a_longer_way(
    gateway: Gateway, abilities: tuple[bool, bool]
) -> None:
    """Debian 12's 6.1 knows no DESTROY and renews no timeout; nobody may notice."""
    netfilter = gateway.install()
    netfilter.destroys, netfilter.renews = abilities
    netfilter.apply([opened(A4, B4, 4000, 2)])
    netfilter.apply([opened(A4, B4, 4000, 100)])
    (hole,) = netfilter.pinholes()
    assert hole.expires_s > 90
    netfilter.apply([closed(A4, B4, 4000), closed(A4, B4, 4002)])
    assert netfilter.pinholes() == []
    assert netfilter.ban(raw(A4), 5)
    assert netfilter.ban(raw(A4), 100)
    assert netfilter.bans()[raw(A4)] > 90


def test_the_last_effect_on_a_hole_counts(gateway: Gateway) -> None:
    """A re-INVITE that closes and opens the same port leaves it open."""
    netfilter = gateway.install()
    netfilter.apply([closed(A4, B4), opened(A4, B4)])
    assert len(netfilter.pinholes()) == 1
    netfilter.apply([opened(A4, B4), closed(A4, B4)])
    assert netfilter.pinholes() == []


def test_a_flood_cannot_hold_its_pinhole_open(gateway: Gateway) -> None:
    """A packet in flight while the hole closes must not put it back."""
    netfilter = gateway.install(replace(PLAN, media_idle_s=30))
    lab, until = gateway.lab, time.monotonic() + 3

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect((B4, 4000))
            while time.monotonic() < until:
                with contextlib.suppress(OSError):
                    sender.send(b"media")

    flooding = lab.a.start(flood)
    closes = leaks = 0
    while not flooding.done():
        netfilter.apply([opened(A4, B4, idle_s=30)])
        time.sleep(0.0005)
        netfilter.apply([closed(A4, B4)])
        after = netfilter.counters()["media"]
        time.sleep(0.001)
        closes += 1
        leaks += netfilter.counters()["media"].packets > after.packets + 2  # in flight: one a CPU
    assert closes > 100
    assert leaks == 0
    assert gateway.packets("media") > 1000
    assert netfilter.pinholes() == []


def test_silent_holes_of_a_killed_process_are_forgotten(gateway: Gateway) -> None:
    """What nobody will ever close does not fill the set; what still lives is left alone."""
    before = gateway.install()
    before.apply([opened(A4, B4, 4000, 1), opened(A6, B6, 4000, 1), opened(A4, B4, 4002, 30)])
    time.sleep(1.2)
    after = gateway.install()
    assert after.forget_silent() == 2
    assert after.forget_silent() == 0
    assert gateway.media(A4, B4, 4002)
    listing = gateway.lab.router.shell("nft", "list", "set", "inet", "sipguard", "pinholes4")
    assert f"{B4} . 4000" not in listing
    assert f"{B4} . 4002" in listing


def test_a_full_set_refuses_one_hole_and_not_its_neighbors(gateway: Gateway) -> None:
    """At the bound the newest hole is refused and counted; closing still works."""
    netfilter = gateway.install(replace(PLAN, max_pinholes=3))
    effects = [opened(A4, B4, 4000 + port, 30) for port in range(5)]
    refused = netfilter.apply(effects).refused
    assert refused == tuple(effects[3:])
    assert netfilter.totals().refused == 2
    netfilter.apply([closed(A4, B4, 4000)])
    assert netfilter.apply([effects[4]]).refused == ()


def test_more_holes_than_one_message_carries(gateway: Gateway) -> None:
    """The end of a thousand calls at once is not too long for netlink."""
    netfilter = gateway.install()
    holes = [(A4, B4, port) for port in range(10000, 11500)]
    assert netfilter.apply([opened(*hole, 60) for hole in holes]).refused == ()
    assert len(netfilter.pinholes()) == 1500
    assert netfilter.apply([closed(*hole) for hole in holes]).refused == ()
    assert netfilter.pinholes() == []


def test_impossible_holes_are_refused_alone(gateway: Gateway) -> None:
    """A bug in planning costs its own stream, and cannot shift another one's key."""
    netfilter = gateway.install()
    wrong = [
        OpenPinhole(Hole(raw(A4), raw(B6), 4000), "sdes", 30, b"call"),
        OpenPinhole(Hole(b"", b"", 4000), "sdes", 30, b"call"),
        opened(A4, B4, 70000),
        opened(A4, B4, 0),
    ]
    assert netfilter.apply([*wrong, opened(A4, B4)]).refused == tuple(wrong)
    assert netfilter.totals() == (1, 0, 4, 0, 0, 0)
    assert gateway.media(A4, B4)


def test_no_idle_time_is_not_forever(gateway: Gateway) -> None:
    """The kernel reads a timeout of 0 as never; nobody can mean that."""
    netfilter = gateway.install()
    netfilter.apply([opened(A4, B4, idle_s=0)])
    assert [hole.expires_s <= 1 for hole in netfilter.pinholes()] == [True]

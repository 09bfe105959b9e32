"""Proven media on the direct path, in a real kernel, between two real hosts."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from asking import (
    GATED,
    HEADERS,
    RTP,
    Asking,
    Phone,
    asking,
    doubted,
    ended,
    heard_all,
    passes,
    phone,
    proven,
    said,
    until,
)
from guarded import Gateway, opened
from netns import A4, A6, B4, B6, heard, raw

from sipguard.edge.netfilter import Netfilter, Tally
from sipguard.verdict import Hole

pytestmark = pytest.mark.kernel

DIRECT = replace(GATED, direct=True)
PER_S = 400  # packets of a test's stream


@contextmanager
def ends(gate: Asking, a: str = A4, b: str = B4) -> Iterator[tuple[Phone, Phone]]:
    """A source at a, connected to port 4000 of b, and who listens there."""
    with phone(gate.lab.b.udp(b, 4000)) as listener, phone(gate.lab.a.udp(a, 0)) as source:
        source.connect((b, 4000))
        yield source, listener


def play(source: Phone, listener: Phone, seconds: float, words: bytes = b"") -> bool:
    """Send a numbered stream; report whether all of it came, in order."""
    count = int(seconds * PER_S)
    sent = [words + b"%d" % number for number in range(count)]
    started = time.monotonic()
    arrived = []
    listener.setblocking(False)
    for number, octets in enumerate(sent):
        source.send(octets)
        while time.monotonic() < started + number / PER_S:
            time.sleep(0.0005)
        try:
            while True:
                arrived.append(listener.recv(2048))
        except BlockingIOError:
            pass
    return arrived + heard_all(listener, 0.1) == sent


def routed(gate: Asking, work: Callable[[], object]) -> int:
    """Return how many packets of proven media the rules saw meanwhile."""
    before = gate.packets("media")
    work()
    return gate.packets("media") - before


def look(gate: Asking) -> str:
    """Have the interfaces looked at; return which way media goes."""
    gate.lab.router.run(gate.netfilter.direct.look)
    return gate.netfilter.direct.told()


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_a_proven_stream_goes_directly_and_is_counted_whole(
    gateway: Gateway, a: str, b: str
) -> None:
    """In order and without loss, a few packets a second by the rules; nothing once it is closed."""
    hole = Hole(raw(a), raw(b), 4000)
    with asking(gateway, DIRECT, passes) as gate, ends(gate, a, b) as (source, listener):
        assert gate.netfilter.direct.told() == "direct from ra, rb"
        gate.apply([opened(a, b, idle_s=30), proven(hole, source)])
        assert 1 <= routed(gate, lambda: play(source, listener, 0.2)) <= 20
        arrived: list[bool] = []
        by_rules = routed(gate, lambda: arrived.append(play(source, listener, 2.5)))
        assert arrived == [True]
        assert 1 <= by_rules <= 40, "of 1,000"
        packets = int(0.2 * PER_S) + int(2.5 * PER_S)
        digits = sum(len(b"%d" % n) for n in (*range(80), *range(1000)))
        gate.apply([ended(hole)])
        source.send(b"late")
        assert heard(listener) is None
        assert gate.tallies == [Tally(hole, packets, digits + packets * HEADERS[a])]
        assert gate.guard.seen == []


def test_a_closed_pinhole_lets_nothing_pass_even_in_a_flood(gateway: Gateway) -> None:
    """Once a close has returned, nothing comes but what was on its way: one packet a CPU."""
    with asking(gateway, DIRECT) as gate, ends(gate) as (source, listener):
        gate.leave()  # so that what is unproven goes nowhere
        hole = Hole(raw(A4), raw(B4), 4000)
        until_s = time.monotonic() + 2
        source.setblocking(False)

        def flood() -> None:
            while time.monotonic() < until_s:
                try:
                    source.send(b"media")
                except OSError:
                    time.sleep(0.0001)

        flooding = gate.lab.a.start(flood)
        closes = heard_late = 0
        before = gate.packets("media")
        while not flooding.done():
            gate.apply([opened(A4, B4, idle_s=30), proven(hole, source)])
            time.sleep(0.03)
            gate.apply([ended(hole)])
            time.sleep(0.001)
            heard_all(listener, 0.0005)
            time.sleep(0.002)
            closes += 1
            heard_late += len(heard_all(listener, 0.0005)) > 0
        passed = sum(tally.packets for tally in gate.tallies)
        assert closes > 20
        assert heard_late == 0
        assert passed - (gate.packets("media") - before) > 1000, "most of it went directly"


def test_nothing_else_passes_beside_a_proven_stream(gateway: Gateway) -> None:
    """Another SSRC, port, end or host, RTCP, and what is no RTP: each is asked, or has no hole."""
    with asking(gateway, DIRECT) as gate, ends(gate) as (source, listener):
        hole = Hole(raw(A4), raw(B4), 4000)
        gate.apply([opened(A4, B4, idle_s=30), proven(hole, source)])
        assert play(source, listener, 0.3)
        with gate.lab.b.udp(B4, 4002) as elsewhere, gate.lab.a.udp(A4, 0) as other:
            for number, (line, octets) in enumerate(
                (
                    (source, RTP[:8] + b"\0\0\0\1bad"),
                    (source, b"\x40" + said(b"bad")[1:]),
                    (source, b"\x80\xc8" + said(b"bad")[2:]),
                    (other, said(b"bad")),
                ),
                1,
            ):
                line.sendto(octets, (B4, 4000))
                assert gate.await_seen(number), number
            source.sendto(said(b"bad"), (B4, 4002))
            assert heard(elsewhere) is None
        gate.lab.a.shell("ip", "addr", "add", "10.9.1.77/24", "dev", "a0")
        with gate.lab.a.udp("10.9.1.77", source.getsockname()[1]) as host:
            host.sendto(said(b"bad"), (B4, 4000))
        assert heard(listener) is None
        assert play(source, listener, 0.1)
        gate.apply([doubted(hole, source)])
        source.send(b"bad")
        assert gate.await_seen(5)
        assert heard(listener) is None


def test_a_pinhole_that_fell_silent_stays_closed(gateway: Gateway) -> None:
    """The program cannot see the sets: it must not let pass what they no longer would."""
    plan = replace(DIRECT, media_idle_s=1)
    with asking(gateway, plan) as gate, ends(gate) as (source, listener):
        hole = Hole(raw(A4), raw(B4), 4000)
        gate.apply([opened(A4, B4, idle_s=1), proven(hole, source)])
        assert play(source, listener, 2.5), "a stream that sends keeps it open"
        time.sleep(1.1)
        for _ in range(20):
            source.send(b"too late")
            time.sleep(0.02)
        assert heard(listener) is None
        gate.apply([opened(A4, B4, idle_s=1)])
        assert routed(gate, lambda: play(source, listener, 0.5)) < 60, "opened anew: directly again"


def test_a_stream_that_ceases_to_encrypt_is_seen(gateway: Gateway) -> None:
    """A copy of a packet comes to the guard every recheck time, of what is sent then."""
    with asking(gateway, replace(DIRECT, recheck_s=1)) as gate, ends(gate) as (source, listener):
        gate.apply([opened(A4, B4, idle_s=30), proven(Hole(raw(A4), raw(B4), 4000), source)])
        assert play(source, listener, 1.0)
        assert until(lambda: bool(gate.guard.sampled))
        assert play(source, listener, 2.8, b"clear")
        assert until(lambda: any(p.payload.startswith(b"clear") for p in gate.guard.sampled))


def test_what_the_stack_must_see_to_is_left_to_it(gateway: Gateway) -> None:
    """No hops left, too large, in fragments, no neighbor, no route, no forwarding."""
    with asking(gateway, DIRECT) as gate, ends(gate) as (source, listener):
        gate.leave()  # the router's thread is ours
        shell = gate.lab.router.shell
        gate.apply([opened(A4, B4, idle_s=30), proven(Hole(raw(A4), raw(B4), 4000), source)])
        assert play(source, listener, 0.5)
        source.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        source.send(b"out of hops")
        assert heard(listener) is None
        source.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
        source.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\1\1\1\1")  # no operation
        assert routed(gate, lambda: [source.send(b"o"), heard(listener)]) == 1
        source.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"")
        source.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: may be fragmented
        source.send(b"f" * 3000)
        assert heard(listener) == b"f" * 3000
        shell("ip", "link", "set", "rb", "mtu", "600")
        source.send(b"m" * 1000)
        assert heard(listener) == b"m" * 1000
        shell("ip", "link", "set", "rb", "mtu", "1500")
        shell("ip", "neigh", "flush", "dev", "rb")
        assert play(source, listener, 0.5)
        shell("ip", "route", "add", "blackhole", f"{B4}/32")
        source.send(b"nowhere")
        assert heard(listener) is None
        shell("ip", "route", "del", "blackhole", f"{B4}/32")
        assert play(source, listener, 0.1)
        shell("sysctl", "-qw", "net.ipv4.ip_forward=0")
        source.send(b"not forwarded")
        assert heard(listener) is None
        shell("sysctl", "-qw", "net.ipv4.ip_forward=1")
        assert routed(gate, lambda: play(source, listener, 0.5)) < 60


def test_the_hops_and_the_class_of_a_packet_are_as_a_router_leaves_them(gateway: Gateway) -> None:
    """One hop less on either way, and the rest of the header untouched."""
    with asking(gateway, DIRECT) as gate, ends(gate) as (source, listener):
        gate.apply([opened(A4, B4, idle_s=30), proven(Hole(raw(A4), raw(B4), 4000), source)])
        source.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8)
        listener.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        listener.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        told = set()
        for _ in range(100):
            source.send(b"x")
            _, notes, _, _ = listener.recvmsg(2048, 256)
            told.add(tuple((kind, octets[0]) for _, kind, octets in notes))
            time.sleep(0.005)
        assert told == {((2, 63), (1, 0xB8))}
        assert gate.packets("media") < 30


def test_the_direct_path_comes_and_goes_with_the_policy(gateway: Gateway) -> None:
    """Turned on and off in the middle of a stream: nothing is lost, and all of it is counted."""
    with asking(gateway) as gate, ends(gate) as (source, listener):
        gate.leave()
        hole = Hole(raw(A4), raw(B4), 4000)
        router, netfilter = gate.lab.router, gate.netfilter
        gate.apply([opened(A4, B4, idle_s=30), proven(hole, source)])
        assert netfilter.direct.told() == "routed"
        assert routed(gate, lambda: play(source, listener, 0.5)) == 200
        router.run(lambda: netfilter.reinstall(DIRECT))
        assert routed(gate, lambda: play(source, listener, 0.5)) < 60
        router.run(lambda: netfilter.reinstall(replace(DIRECT, media_idle_s=20)))
        assert routed(gate, lambda: play(source, listener, 0.5)) < 60
        router.run(lambda: netfilter.reinstall(replace(GATED, media_idle_s=20)))
        assert routed(gate, lambda: play(source, listener, 0.5)) == 200
        gate.apply([ended(hole)])
        assert [tally.packets for tally in gate.tallies] == [800]


def test_rules_that_somebody_flushed_take_the_direct_path_along(gateway: Gateway) -> None:
    """Once they are in force again, everything must prove itself anew."""
    with asking(gateway, DIRECT) as gate, ends(gate) as (source, listener):
        gate.apply([opened(A4, B4, idle_s=30), proven(Hole(raw(A4), raw(B4), 4000), source)])
        assert play(source, listener, 0.3)
        gate.leave()
        gate.lab.router.shell("nft", "flush", "ruleset")
        gate.lab.router.run(gate.netfilter.install)
        gate.bind()
        for _ in range(20):
            source.send(b"good, but no pinhole")
        assert heard(listener) is None
        gate.apply([opened(A4, B4, idle_s=30)])
        source.send(b"bad")
        assert gate.await_seen(1)
        assert heard(listener) is None


def test_a_stream_outlives_the_process_and_the_next_one_adopts_it(gateway: Gateway) -> None:
    """Killed without a word: by the rules from then on; and directly once a process is back."""
    with asking(gateway) as gate, ends(gate) as (source, listener):
        gate.leave()
        port = source.getsockname()[1]
        script = (
            "import sys, time; sys.path[:0] = ['tests']\n"
            "from asking import GATED, SSRC, Hole, ProvePinhole, replace; import asking\n"
            "from guarded import opened; from netns import raw\n"
            "from sipguard.edge.netfilter import Netfilter\n"
            f"kernel = Netfilter(replace(GATED, direct=True)); kernel.install()\n"
            f"hole = Hole(raw({A4!r}), raw({B4!r}), 4000)\n"
            f"proof = ProvePinhole(hole, {port}, SSRC, b'call')\n"
            f"kernel.apply([opened({A4!r}, {B4!r}, idle_s=30), proof])\n"
            "print('ready', flush=True); time.sleep(60)\n"
        )
        child = gate.lab.router.run(
            lambda: subprocess.Popen(
                [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
            )
        )
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            assert routed(gate, lambda: play(source, listener, 0.5)) < 60
        finally:
            child.kill()
            child.communicate()
        assert routed(gate, lambda: play(source, listener, 0.5)) == 200
        again = Netfilter(DIRECT)
        gate.lab.router.run(again.install)
        gateway.made.append(again)
        gate.lab.router.run(again.forget_silent)
        assert routed(gate, lambda: play(source, listener, 0.5)) < 60
        gate.lab.router.run(lambda: again.apply([ended(Hole(raw(A4), raw(B4), 4000))]))
        source.send(b"late")
        assert heard(listener) is None


def test_interfaces_come_and_go_and_ipsec_is_given_way(gateway: Gateway) -> None:
    """A bridge's port is no way in or out; beside policies of IPsec all media is routed."""
    with asking(gateway, DIRECT) as gate, ends(gate) as (source, listener):
        gate.leave()
        shell = gate.lab.router.shell
        gate.apply([opened(A4, B4, idle_s=30), proven(Hole(raw(A4), raw(B4), 4000), source)])
        shell("ip", "link", "add", "lan", "type", "veth", "peer", "name", "wan")
        assert look(gate) == "direct from lan, ra, rb, wan"
        shell("ip", "link", "add", "bridge0", "type", "bridge")
        shell("ip", "link", "set", "wan", "master", "bridge0")
        assert look(gate) == "direct from bridge0, lan, ra, rb"
        shell("ip", "link", "del", "bridge0")
        shell("ip", "link", "del", "wan")
        assert look(gate) == "direct from ra, rb"
        assert routed(gate, lambda: play(source, listener, 0.5)) < 60
        where = ["src", "192.0.2.0/24", "dst", "198.51.100.0/24", "dir", "out"]
        shell("ip", "xfrm", "policy", "add", *where, "action", "block")
        assert look(gate) == "routed, not direct: the kernel has IPsec policies"
        assert routed(gate, lambda: play(source, listener, 0.5)) == 200
        shell("ip", "xfrm", "policy", "delete", *where)
        assert look(gate) == "direct from ra, rb"
        assert routed(gate, lambda: play(source, listener, 0.5)) < 60
        netfilter = gate.netfilter
        gate.lab.router.run(lambda: netfilter.reinstall(replace(DIRECT, interfaces=("rb",))))
        assert netfilter.direct.told() == "direct from rb"
        assert routed(gate, lambda: play(source, listener, 0.5)) == 200

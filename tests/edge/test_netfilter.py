"""The ruleset and its sets in a real kernel, between two real hosts."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from netns import A4, A6, B4, B6, Lab, heard, raw

from sipguard.edge import programs
from sipguard.edge.netfilter import Netfilter, Plan, StreamTransports
from sipguard.edge.nfqueue import Queue, QueuedPacket
from sipguard.errors import EdgeError
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, Effect, Hole, OpenPinhole

pytestmark = pytest.mark.kernel

PLAN = Plan(media_idle_s=2)


def opened(a: str, b: str, port: int = 4000, idle_s: int = 2) -> OpenPinhole:
    return OpenPinhole(Hole(raw(a), raw(b), port), "sdes", idle_s, b"call")


def closed(a: str, b: str, port: int = 4000) -> ClosePinhole:
    return ClosePinhole(Hole(raw(a), raw(b), port), "sdes", Reason.ACCEPTED, b"call")


def accept(_octets: bytes, _interface: str, packet: QueuedPacket) -> None:
    packet.accept()


class Gateway:
    """Netfilter inside the lab's router."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.made: list[Netfilter] = []

    def install(self, plan: Plan = PLAN) -> Netfilter:
        netfilter = Netfilter(plan)
        self.lab.router.run(netfilter.install)
        self.made.append(netfilter)
        return netfilter

    def packets(self, counter: str) -> int:
        return self.lab.router.run(self.made[-1].counters)[counter].packets

    def media(self, source: str, destination: str, port: int = 4000) -> bool:
        """Report whether a datagram reaches the other side."""
        hosts = (self.lab.a, self.lab.b) if source in (A4, A6) else (self.lab.b, self.lab.a)
        with hosts[1].udp(destination, port) as listener, hosts[0].udp(source, 0) as sender:
            sender.sendto(b"media", (destination, port))
            return heard(listener) is not None

    def rules(self) -> str:
        shell = self.lab.router.shell
        return shell("nft", "list", "ruleset") + shell("ip6tables-nft", "-t", "mangle", "-S")

    def jumps(self) -> int:
        listing = self.lab.router.shell("iptables-nft", "-t", "mangle", "-S")
        return listing.count("-j SIPGUARD")


@pytest.fixture
def gateway(lab: Lab) -> Iterator[Gateway]:
    made = Gateway(lab)
    yield made
    for netfilter in made.made:
        netfilter.remove(keep=True)


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_a_pinhole_lets_one_direction_of_one_stream_pass(gateway: Gateway, a: str, b: str) -> None:
    """No key, no hole: other ports, and the other direction, stay closed."""
    netfilter = gateway.install()
    assert not gateway.media(a, b)
    assert netfilter.apply([opened(a, b)]) == ()
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
    assert netfilter.apply([closed(a, b)]) == ()
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
    assert netfilter.apply(effects) == ()
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
    refused = netfilter.apply(effects)
    assert refused == tuple(effects[3:])
    assert netfilter.totals().refused == 2
    netfilter.apply([closed(A4, B4, 4000)])
    assert netfilter.apply([effects[4]]) == ()


def test_more_holes_than_one_message_carries(gateway: Gateway) -> None:
    """The end of a thousand calls at once is not too long for netlink."""
    netfilter = gateway.install()
    holes = [(A4, B4, port) for port in range(10000, 11500)]
    assert netfilter.apply([opened(*hole, 60) for hole in holes]) == ()
    assert len(netfilter.pinholes()) == 1500
    assert netfilter.apply([closed(*hole) for hole in holes]) == ()
    assert netfilter.pinholes() == []


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_a_banned_source_reaches_neither_side_nor_queue(gateway: Gateway, a: str, b: str) -> None:
    """A flood costs no userspace time once its source is banned."""
    netfilter = gateway.install(replace(PLAN, fail_open=True))
    assert gateway.media(a, b, 5060)
    assert netfilter.ban(raw(a), 30)
    assert not gateway.media(a, b, 5060)
    assert gateway.packets("banned") == 1
    assert list(netfilter.bans()) == [raw(a)]
    netfilter.unban(raw(a))
    assert gateway.media(a, b, 5060)


def test_unjudged_sip_never_passes(gateway: Gateway) -> None:
    """Nobody on the queue, or its rule flushed by another tool: closed, unless told otherwise."""
    gateway.install()
    assert not gateway.media(A4, B4, 5060)
    gateway.lab.router.shell("iptables-nft", "-t", "mangle", "-F")
    assert not gateway.media(A4, B4, 5060)
    assert gateway.packets("sip_unjudged") == 1
    gateway.install(replace(PLAN, fail_open=True))
    assert gateway.media(A4, B4, 5060)


def test_a_borrowed_mark_is_no_verdict(gateway: Gateway) -> None:
    """A mark restored from a connection by other rules does not stand in for our judgement."""
    gateway.install()
    shell = gateway.lab.router.shell
    shell("iptables-nft", "-t", "mangle", "-F")
    shell("iptables-nft", "-t", "raw", "-A", "PREROUTING", "-j", "MARK", "--set-mark", "0x40000001")
    assert not gateway.media(A4, B4, 5060)


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_judged_sip_passes_and_keeps_foreign_marks(gateway: Gateway, a: str, b: str) -> None:
    """Our bit is added to the mark that routing rules may need, and both ports count."""
    gateway.install()
    lab = gateway.lab
    program = "ip6tables-nft" if ":" in a else "iptables-nft"
    mark = "-t mangle -A PREROUTING -j MARK --set-mark 0x5"
    lab.router.shell(program, *mark.split())
    both = "-t mangle -A POSTROUTING -m mark --mark 0x40000005 -j ACCEPT"
    lab.router.shell(program, *both.split())
    queue = lab.router.run(lambda: Queue(0, accept))
    with lab.b.udp(b, 5060) as listener, lab.a.udp(a, 0) as sender:
        sender.sendto(b"OPTIONS", (b, 5060))
        assert lab.pump(queue, until=lambda: queue.counts().packets == 1)
        assert heard(listener) == b"OPTIONS"
    listing = lab.router.shell(program, "-t", "mangle", "-nvxL", "POSTROUTING")
    assert [line.split()[0] for line in listing.splitlines() if "0x40000005" in line] == ["1"]
    with lab.a.udp(a, 7777) as listener, lab.b.udp(b, 5060) as sender:
        sender.sendto(b"SIP/2.0", (a, 7777))
        assert lab.pump(queue, until=lambda: queue.counts().packets == 2)
        assert heard(listener) == b"SIP/2.0"
    queue.close()


def test_shadow_mode_counts_and_drops_nothing(gateway: Gateway) -> None:
    """Start here: what enforce would refuse is counted and passes, reader or no reader."""
    netfilter = gateway.install(replace(PLAN, shadow=True))
    netfilter.ban(raw(A4), 30)
    assert gateway.media(A4, B4)
    assert gateway.media(A4, B4, 5060)
    assert gateway.packets("banned") == 2
    assert gateway.packets("media_denied") == 1
    assert gateway.packets("sip_unjudged") == 1
    assert connects(gateway.lab)


def connects(lab: Lab, port: int = 5060) -> bool:
    """Report whether a TCP connection from a to b is made; False only for a reset."""

    def listen() -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((B4, port))
        listener.listen()
        return listener

    def connect() -> bool:
        try:
            socket.create_connection((B4, port), timeout=2).close()
        except ConnectionRefusedError:
            return False
        return True

    with lab.b.run(listen):
        return lab.a.run(connect)


def test_sip_over_tcp_is_reset_or_left_alone(gateway: Gateway) -> None:
    """A refused transport says so at once; other TCP is none of our business."""
    gateway.install()
    assert not connects(gateway.lab, 5060)
    assert not connects(gateway.lab, 5061)
    assert gateway.packets("stream_refused") == 2
    assert connects(gateway.lab, 8080)
    gateway.install(replace(PLAN, stream_transports=StreamTransports.PASS))
    assert connects(gateway.lab, 5060)


def test_named_udp_services_pass_and_answer(gateway: Gateway) -> None:
    """DNS through the gateway works; source port 53 is no key to the house."""
    gateway.install(replace(PLAN, forward_udp=(53,)))
    lab = gateway.lab
    with lab.b.udp(B4, 53) as server, lab.a.udp(A4, 4321) as client:
        server.sendto(b"unasked", (A4, 4321))
        assert heard(client) is None
    with lab.b.udp(B4, 53) as server, lab.a.udp(A4, 4322) as client:
        client.sendto(b"question", (B4, 53))
        assert heard(server) == b"question"
        server.sendto(b"answer", (A4, 4322))
        assert heard(client) == b"answer"


def test_other_interfaces_are_left_alone(gateway: Gateway) -> None:
    """With named interfaces, traffic between others is neither judged nor dropped."""
    gateway.install(replace(PLAN, interfaces=("eth7",)))
    assert gateway.media(A4, B4)
    assert gateway.media(A4, B4, 5060)
    gateway.install(replace(PLAN, interfaces=("rb",)))
    assert not gateway.media(A4, B4)
    assert not gateway.media(B4, A4, 5060)
    assert gateway.jumps() == 2


def test_installing_again_keeps_media_and_makes_no_second_jump(gateway: Gateway) -> None:
    """A restart with another policy: the old rules go, the open streams stay."""
    gateway.install(PLAN).apply([opened(A4, B4, 4000, 30), opened(A6, B6, 4000, 30)])
    again = gateway.install(replace(PLAN, sip_ports=(5062,), media_idle_s=30))
    assert len(again.pinholes()) == 2
    assert gateway.media(A4, B4)
    assert gateway.jumps() == 1
    assert "5060" not in gateway.lab.router.shell("iptables-nft", "-t", "mangle", "-S")


def test_idle_times_of_an_earlier_policy_live_on(gateway: Gateway) -> None:
    """A policy that no longer says `idle 45s` does not cut the streams that it was said for."""
    before = gateway.install(replace(PLAN, other_idle_s=(45,)))
    before.apply([opened(A4, B4, 4000, 45)])
    after = gateway.install(PLAN)
    assert gateway.media(A4, B4)
    after.apply([closed(A4, B4)])
    assert not gateway.media(A4, B4)


KILLED = """
import sys, time
from sipguard.edge.netfilter import Netfilter, Plan
from sipguard.edge.nfqueue import Queue
from sipguard.verdict import Hole, OpenPinhole
queue = Queue(0, lambda octets, name, packet: packet.accept())
netfilter = Netfilter(Plan(media_idle_s=20))
netfilter.install()
source, destination = bytes.fromhex(sys.argv[1]), bytes.fromhex(sys.argv[2])
netfilter.apply([OpenPinhole(Hole(source, destination, 4000), "sdes", 20, b"call")])
print("ready", flush=True)
time.sleep(60)
"""


def test_kill_9_leaves_media_running_and_a_restart_adopts_it(gateway: Gateway) -> None:
    """Running calls outlive us; SIP waits for the next judge and is not waved through."""
    lab = gateway.lab
    words = [sys.executable, "-c", KILLED, raw(A4).hex(), raw(B4).hex()]
    victim = lab.router.run(
        lambda: subprocess.Popen(words, stdout=subprocess.PIPE, cwd=os.getcwd())
    )
    assert victim.stdout is not None
    with victim.stdout:
        assert victim.stdout.readline() == b"ready\n"
        with pytest.raises(EdgeError, match="bound already"):
            lab.router.run(lambda: Queue(0, accept))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    assert gateway.media(A4, B4)
    assert not gateway.media(A4, B4, 5060)
    netfilter = gateway.install(Plan(media_idle_s=20))
    assert [hole.hole.port for hole in netfilter.pinholes()] == [4000]
    assert gateway.jumps() == 1
    queue = lab.router.run(lambda: Queue(0, accept))
    netfilter.apply([closed(A4, B4)])
    assert not gateway.media(A4, B4)
    queue.close()


def test_removal_leaves_nothing_of_ours(gateway: Gateway) -> None:
    """`on-exit remove`: no table, no chain, no jump; traffic flows as before us."""
    netfilter = gateway.install(replace(PLAN, local=True, interfaces=("ra", "rb")))
    gateway.lab.router.run(netfilter.remove)
    assert "sipguard" not in gateway.rules().lower()
    assert gateway.media(A4, B4, 5060)
    assert gateway.media(A4, B4)


def test_keeping_leaves_media_and_refuses_sip(gateway: Gateway) -> None:
    """`on-exit keep`: running calls go on, nothing new is signalled."""
    netfilter = gateway.install(replace(PLAN, media_idle_s=20))
    netfilter.apply([opened(A4, B4, 4000, 20)])
    netfilter.remove(keep=True)
    assert gateway.media(A4, B4)
    assert not gateway.media(A4, B4, 5060)
    with pytest.raises(EdgeError, match="not installed"):
        netfilter.apply([closed(A4, B4)])


def failing_ip6tables(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = programs.Iptables.restore

    def restore(self: programs.Iptables, script: str) -> None:
        if self.name == "ip6tables-nft" and "-I FORWARD" in script:
            raise EdgeError("ip6tables-nft-restore was refused: for this test")
        whole(self, script)

    monkeypatch.setattr(programs.Iptables, "restore", restore)


def test_a_failing_last_step_leaves_nothing_half_installed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first installation that fails leaves the machine as it was."""
    failing_ip6tables(monkeypatch)
    with pytest.raises(EdgeError, match="for this test"):
        gateway.install()
    assert "sipguard" not in gateway.rules().lower()


def test_a_failing_reinstallation_leaves_the_earlier_rules(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart that fails leaves the rules and the media of the run before it."""
    gateway.install(PLAN).apply([opened(A4, B4, 4000, 60)])
    before = without_moving_parts(gateway.rules())
    failing_ip6tables(monkeypatch)
    with pytest.raises(EdgeError, match="for this test"):
        gateway.install(replace(PLAN, sip_ports=(5070,), interfaces=("ra",)))
    assert without_moving_parts(gateway.rules()) == before


def without_moving_parts(rules: str) -> list[str]:
    """Return the lines of a listing in fixed order, counts and times left out."""
    lines = [line.split(" counter packets")[0].strip() for line in rules.splitlines()]
    return sorted(line for line in lines if "expires" not in line and "packets" not in line)


def test_a_foreign_table_of_our_name_is_not_touched(gateway: Gateway) -> None:
    """Somebody else's table is refused in a sentence, and stays."""
    gateway.lab.router.shell("nft", "add table inet sipguard; add chain inet sipguard mine")
    with pytest.raises(EdgeError, match="is not ours"):
        gateway.install()
    assert "chain mine" in gateway.rules()


def test_local_telephony_is_judged_and_own_replies_are_not(gateway: Gateway) -> None:
    """With local=True the server on the gateway is guarded; what we answer is not queued again."""
    gateway.install(replace(PLAN, local=True, local_media=((10000, 20000),)))
    lab = gateway.lab
    seen: list[str] = []

    def judge(_octets: bytes, interface: str, packet: QueuedPacket) -> None:
        seen.append(interface)
        packet.accept()

    queue = lab.router.run(lambda: Queue(0, judge))
    with lab.router.udp("10.9.1.1", 5060) as server, lab.a.udp(A4, 5060) as client:
        client.sendto(b"OPTIONS", ("10.9.1.1", 5060))
        assert lab.pump(queue, until=lambda: len(seen) == 1)
        assert heard(server) == b"OPTIONS"
        server.sendto(b"SIP/2.0", (A4, 5060))
        assert lab.pump(queue, until=lambda: len(seen) == 2)
        assert heard(client) == b"SIP/2.0"
        server.setsockopt(1, 36, 0x40000000)
        server.sendto(b"own reply", (A4, 5060))
        assert heard(client) == b"own reply"
    assert seen == ["ra", ""]
    for port, passes in ((10000, False), (9999, True)):
        with lab.router.udp("10.9.1.1", port) as server, lab.a.udp(A4, 0) as client:
            client.sendto(b"media", ("10.9.1.1", port))
            assert (heard(server) is not None) is passes
    queue.close()

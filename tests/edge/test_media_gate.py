"""Media through a gateway that wants proof, in a real kernel, between two real hosts."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from asking import (
    GATED,
    HEADERS,
    Answer,
    asking,
    doubted,
    ended,
    heard_all,
    hole_of,
    passes,
    phone,
    proven,
    proves,
    said,
    until,
)
from guarded import PLAN, Gateway, opened
from netns import A4, A6, B4, B6, Lab, heard, raw

from sipguard.edge import programs
from sipguard.edge.netfilter import Netfilter, Plan, Tally
from sipguard.verdict import Hole
from sipguard.wire.packet import Packet

pytestmark = pytest.mark.kernel

SO_RCVBUFFORCE = 33
HOLE = Hole(raw(A4), raw(B4), 4000)
OPEN = opened(A4, B4, idle_s=30)


@contextmanager
def ends(lab: Lab, a: str = A4, b: str = B4) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A source at a, connected to port 4000 of b, and who listens there."""
    with phone(lab.b.udp(b, 4000)) as listener, phone(lab.a.udp(a, 0)) as source:
        source.connect((b, 4000))
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        yield source, listener


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_what_is_unproven_is_asked_and_passes_only_if_accepted(
    gateway: Gateway, a: str, b: str
) -> None:
    """A pinhole alone lets nothing pass; without one, nobody is even asked."""
    with asking(gateway) as gate, ends(gate.lab, a, b) as (source, listener):
        source.send(b"good, but no pinhole")
        assert heard(listener) is None
        assert gate.guard.seen == []
        gate.apply([opened(a, b, idle_s=30)])
        source.send(b"good 1")
        assert heard(listener) == b"good 1"
        source.send(b"bad")
        assert heard(listener) is None
        assert [packet.payload for packet in gate.guard.seen] == [b"good 1", b"bad"]
        assert gate.guard.seen[0].interface == "ra"
        assert gate.packets("media") == 1
        assert gate.packets("media_denied") == 1


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_what_is_proven_reaches_userspace_no_more(gateway: Gateway, a: str, b: str) -> None:
    """Proven media costs it nothing; another source of the same host is asked all the same."""
    hole = Hole(raw(a), raw(b), 4000)
    with asking(gateway) as gate, ends(gate.lab, a, b) as (source, listener):
        gate.apply([opened(a, b, idle_s=30)])
        source.send(b"good")
        assert heard(listener) == b"good"
        gate.apply([proven(hole, source)])
        for number in range(50):
            source.send(b"%d" % number)
        assert heard_all(listener) == [b"%d" % number for number in range(50)]
        assert len(gate.guard.seen) == 1
        with gate.lab.a.udp(a, 0) as other:
            other.sendto(said(b"bad"), (b, 4000))
            assert gate.await_seen(2)
        assert heard(listener) is None
        gate.apply([doubted(hole, source)])
        source.send(b"bad")
        assert gate.await_seen(3)
        assert heard(listener) is None


@pytest.mark.parametrize("is_proven", [True, False])
def test_a_closed_pinhole_closes_at_once_and_is_counted(gateway: Gateway, is_proven: bool) -> None:
    """Proof or no proof; and what passed is known to the packet and the octet."""
    with asking(gateway, judge=passes) as gate, ends(gate.lab) as (source, listener):
        gate.apply([OPEN])
        source.send(b"1")
        assert heard(listener) == b"1"
        if is_proven:
            gate.apply([proven(HOLE, source)])
        for size in range(1, 41):
            source.send(bytes(size))
        assert len(heard_all(listener)) == 40
        gate.apply([ended(HOLE)])
        source.send(b"late")
        assert heard(listener) is None
        octets = 1 + sum(range(1, 41)) + 41 * HEADERS[A4]
        assert gate.tallies == [Tally(HOLE, 41, octets)]
        assert len(gate.guard.seen) == (1 if is_proven else 41)
        seen = len(gate.guard.seen)
        gate.apply([OPEN])
        source.send(b"another call")
        assert gate.await_seen(seen + 1), "no proof outlives its pinhole"


def test_doubts_do_not_lose_what_was_counted(gateway: Gateway) -> None:
    """Proven, doubted, proven again: the sum is the stream's own."""
    with asking(gateway, judge=passes) as gate, ends(gate.lab) as (source, listener):
        gate.apply([OPEN])
        for effect in (None, proven, doubted, proven):
            if effect is not None:
                gate.apply([effect(HOLE, source)])
            for _ in range(5):
                source.send(b"12345")
                assert heard(listener) == b"12345"
        (listed,) = gate.netfilter.pinholes()
        assert (listed.packets, listed.octets) == (15, 15 * 45)  # without the first proof's
        gate.apply([ended(HOLE)])
        assert gate.tallies == [Tally(HOLE, 20, 20 * 45)]


def test_an_untouched_pinhole_tells_so_and_a_missing_one_nothing(gateway: Gateway) -> None:
    """Nobody takes a stream that never came for one that was never there."""
    netfilter = gateway.install(PLAN)
    netfilter.apply([OPEN])
    assert netfilter.apply([ended(HOLE), ended(Hole(raw(A6), raw(B6), 9))]).tallies == (
        Tally(HOLE, 0, 0),
    )
    assert netfilter.apply([ended(HOLE)]).tallies == ()


def test_without_a_gate_a_closed_pinhole_is_counted_as_well(gateway: Gateway) -> None:
    """Counters cost no userspace and need no proof."""
    netfilter = gateway.install(replace(PLAN, media_idle_s=30))
    netfilter.apply([OPEN, opened(A6, B6, idle_s=30)])
    for _ in range(3):
        assert gateway.media(A4, B4)
    assert gateway.media(A6, B6)
    closed = netfilter.apply([ended(HOLE), ended(Hole(raw(A6), raw(B6), 4000))])
    told = {tally.hole.source: (tally.packets, tally.octets) for tally in closed.tallies}
    assert told == {raw(A4): (3, 3 * 33), raw(A6): (1, 53)}


def test_a_flood_reaches_userspace_at_a_bounded_rate(gateway: Gateway) -> None:
    """500 a second and stream, and no other stream pays for it."""
    with asking(gateway, judge=passes) as gate, ends(gate.lab) as (source, _listener):
        gate.apply([OPEN, opened(A4, B4, 4002, 30)])
        started = time.monotonic()
        for _ in range(3000):
            source.send(b"flood")
        time.sleep(0.2)
        seconds = time.monotonic() - started
        assert 500 <= len(gate.guard.seen) <= 500 + 500 * seconds + 10
        assert gate.packets("media_flood") == 3000 - len(gate.guard.seen)
        seen = len(gate.guard.seen)
        source.sendto(said(b"other"), (B4, 4002))
        assert gate.await_seen(seen + 1)
        assert gate.guard.seen[-1].payload == b"other"


def test_copies_come_now_and_then_and_their_doubts_count(gateway: Gateway) -> None:
    """One of a stream in each recheck time, without delay; what it shows can end the proof."""
    with asking(gateway, replace(GATED, recheck_s=1)) as gate, ends(gate.lab) as (source, listener):
        gate.apply([OPEN, proven(HOLE, source)])
        end = time.monotonic() + 3.5
        sent = 0
        while time.monotonic() < end:
            source.send(b"good %d" % sent)
            sent += 1
            time.sleep(0.002)
        assert len(heard_all(listener)) == sent
        assert gate.guard.seen == []
        assert until(lambda: 3 <= len(gate.guard.sampled) <= 4), len(gate.guard.sampled)
        assert {hole_of(packet) for packet in gate.guard.sampled} == {HOLE}
        assert gate.guard.sampled[0].payload.startswith(b"good ")
        gate.guard.after_sample = (doubted(HOLE, source),)
        while not gate.guard.seen and time.monotonic() < end + 3:
            source.send(b"bad")
            time.sleep(0.002)
        assert gate.guard.seen
        assert len(gate.guard.sampled) <= 6


def test_proven_media_outlives_the_process_and_the_rest_is_dropped(gateway: Gateway) -> None:
    """Fail closed: running calls go on, and nothing new begins."""
    with asking(gateway) as gate, ends(gate.lab) as (source, listener):
        gate.apply([OPEN, proven(HOLE, source)])
        gate.leave()
        source.send(b"1")
        assert heard(listener) == b"1"
        with gate.lab.a.udp(A4, 0) as other:
            other.sendto(said(b"good"), (B4, 4000))
            assert heard(listener) is None
        assert gate.packets("media_unproven") in (0, 1)  # dropped there, or by its missing queue
        gate.bind()
        with gate.lab.a.udp(A4, 0) as other:
            other.sendto(said(b"good"), (B4, 4000))
            assert heard(listener) == b"good"


@pytest.mark.parametrize("option", ["fail_open", "shadow"])
def test_where_it_may_pass_it_does_without_the_process(gateway: Gateway, option: str) -> None:
    """The operator's choice, or the trial's; a pinhole it needs, except in a trial."""
    plan = replace(GATED, fail_open=option == "fail_open", shadow=option == "shadow")
    with asking(gateway, plan) as gate:
        gate.leave()
        assert gateway.media(A4, B4) is (option == "shadow")
        gate.apply([OPEN])
        assert gateway.media(A4, B4)
        assert gate.packets("media_unproven") == 1
        assert gate.packets("media") == 1


def test_flushed_queue_rules_let_nothing_pass(gateway: Gateway) -> None:
    """What was not asked does not pass, and is counted."""
    with asking(gateway, judge=passes) as gate:
        gate.apply([OPEN])
    gateway.lab.router.shell("iptables-nft", "-t", "mangle", "-F")
    assert not gateway.media(A4, B4)
    assert gateway.packets("media_unproven") == 1


@pytest.mark.parametrize("mark", ["0x10000000", "0x40000000", "0x70000001"])
def test_a_borrowed_mark_is_no_proof(gateway: Gateway, mark: str) -> None:
    """Marks restored from a connection by other rules do not stand in for ours."""
    netfilter = gateway.install(GATED)
    netfilter.apply([OPEN])
    shell = gateway.lab.router.shell
    shell("iptables-nft", "-t", "mangle", "-F", "SIPGUARD")
    shell("iptables-nft", "-t", "raw", "-A", "PREROUTING", "-j", "MARK", "--set-mark", mark)
    assert not gateway.media(A4, B4)
    assert gateway.packets("media_unproven") == 1
    assert not gateway.media(A4, B4, 5060)
    assert not gateway.media(A4, B4, 7000)


def test_the_marks_of_others_stay(gateway: Gateway) -> None:
    """Routing rules may need them, of proven packets and of judged ones."""
    with asking(gateway) as gate, ends(gate.lab) as (source, listener):
        gate.apply([OPEN])
        gate.leave()
        shell = gate.lab.router.shell
        shell(
            "iptables-nft", *["-t", "mangle", "-A", "PREROUTING", "-j", "MARK", "--set-mark", "0x5"]
        )
        match = "-t mangle -A POSTROUTING -m mark --mark 0x5/0xf -j ACCEPT"
        shell("iptables-nft", *match.split())
        gate.bind()
        source.send(b"good")
        assert heard(listener) == b"good"
        gate.apply([proven(HOLE, source)])
        source.send(b"2")
        assert heard(listener) == b"2"
        gate.leave()
        listing = shell("iptables-nft", "-t", "mangle", "-nvxL", "POSTROUTING")
        assert [line.split()[0] for line in listing.splitlines() if "0x5" in line] == ["2"]


def test_the_gate_stands_for_sip_as_before(gateway: Gateway) -> None:
    """SIP goes to its own queue, also into an open pinhole's port."""
    with asking(gateway, judge=passes) as gate:
        gate.apply([opened(A4, B4, 5060, 30)])
        assert not gateway.media(A4, B4, 5060)
        assert gate.packets("sip_seen") == 1
        assert gate.guard.seen == []


@pytest.mark.parametrize("tproxy", [True, False])
@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_fragments_are_asked_as_one(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, a: str, b: str, tproxy: bool
) -> None:
    """The second fragment hides nothing; and no connection is looked up where that can be."""
    if not tproxy:
        monkeypatch.setattr(programs, "has_nft_tproxy", lambda _table: False)
    with asking(gateway) as gate, ends(gate.lab, a, b) as (source, listener):
        gate.apply([opened(a, b, idle_s=30)])
        payload = b"good" + bytes(5000)
        source.send(payload)
        assert heard(listener) == payload
        assert [packet.payload for packet in gate.guard.seen] == [payload]
        source.send(b"bad" + bytes(5000))
        assert heard(listener) is None
        gate.leave()
        known = gate.lab.router.shell("cat", "/proc/sys/net/netfilter/nf_conntrack_count")
        assert (int(known) == 0) is tproxy


def test_silence_takes_the_proof(gateway: Gateway) -> None:
    """The kernel alone closes what is silent, and keeps open what is not."""
    with asking(gateway, replace(GATED, media_idle_s=1)) as gate, ends(gate.lab) as ends_:
        source, listener = ends_
        gate.apply([opened(A4, B4, idle_s=1), proven(HOLE, source)])
        for _ in range(5):
            time.sleep(0.4)
            source.send(b"1")
            assert heard(listener) == b"1"
        time.sleep(1.2)
        source.send(b"good")
        assert heard(listener) is None
        assert gate.guard.seen == []


def test_each_idle_class_has_its_proofs(gateway: Gateway) -> None:
    """A stream of another rule's idle time is proven and counted like any."""
    with asking(gateway, replace(GATED, other_idle_s=(45,))) as gate, ends(gate.lab) as ends_:
        source, listener = ends_
        gate.apply([opened(A4, B4, idle_s=45), proven(HOLE, source)])
        for _ in range(7):
            source.send(b"12345")
        assert len(heard_all(listener)) == 7
        gate.apply([ended(HOLE)])
        assert gate.tallies == [Tally(HOLE, 7, 7 * 45)]


def test_a_flood_cannot_hold_its_proof(gateway: Gateway) -> None:
    """A packet in flight while the pinhole closes must not put it back."""
    with asking(gateway) as gate, ends(gate.lab) as (source, _listener):
        until_s = time.monotonic() + 3
        source.setblocking(False)

        def flood() -> None:
            while time.monotonic() < until_s:
                try:
                    source.send(b"media")
                except OSError:
                    time.sleep(0.0001)

        flooding = gate.lab.a.start(flood)
        closes = leaks = 0
        while not flooding.done():
            gate.apply([OPEN, proven(HOLE, source)])
            time.sleep(0.0005)
            gate.apply([ended(HOLE)])
            after = gate.packets("media")
            time.sleep(0.001)
            closes += 1
            leaks += gate.packets("media") > after + 2  # in flight: one a CPU
        assert closes > 100
        assert leaks == 0
        assert gate.packets("media") > 1000
        assert sum(tally.packets for tally in gate.tallies) >= gate.packets("media") - 2 * closes


def test_nothing_is_lost_or_reordered_when_a_stream_is_proven(gateway: Gateway) -> None:
    """2,000 packets at 1,000 a second, proven at the third: all come, in their order."""

    def judge(packet: Packet) -> Answer:
        third = int(packet.payload) >= 2
        return Answer(True, (proves(packet),) if third else ())

    with asking(gateway, judge=judge) as gate, ends(gate.lab) as (source, listener):
        gate.apply([OPEN])

        def send() -> None:
            started = time.monotonic()
            for number in range(2000):
                source.send(b"%d" % number)
                while time.monotonic() < started + number / 1000:
                    time.sleep(0.0001)

        sending = gate.lab.a.start(send)
        listener.settimeout(2)
        arrived = [int(listener.recv(100)) for _ in range(2000)]
        sending.result()
        assert arrived == list(range(2000))
        assert 3 <= len(gate.guard.seen) < 100, len(gate.guard.seen)


def test_a_gate_over_older_rules_keeps_pinholes_and_wants_proof(gateway: Gateway) -> None:
    """An upgrade, or a policy that begins to ask: no call ends, each is asked."""
    gateway.install(replace(PLAN, media_idle_s=30)).apply([OPEN])
    assert gateway.media(A4, B4)
    with asking(gateway) as gate, ends(gate.lab) as (source, listener):
        source.send(b"good")
        assert heard(listener) == b"good"
        assert len(gate.guard.seen) == 1


def test_another_policy_keeps_the_proofs_and_one_without_a_gate_ends_them(
    gateway: Gateway,
) -> None:
    """A reload disturbs no stream; proofs that nobody takes back are not left behind."""
    with asking(gateway) as gate, ends(gate.lab) as (source, listener):
        gate.apply([OPEN, proven(HOLE, source)])
        gate.leave()
        router, netfilter = gate.lab.router, gate.netfilter
        router.run(lambda: netfilter.reinstall(replace(GATED, sip_ports=(5062,))))
        source.send(b"1")
        assert heard(listener) == b"1"
        router.run(lambda: netfilter.reinstall(replace(PLAN, media_idle_s=30)))
        assert gateway.media(A4, B4, 4002) is False
        listing = router.shell("nft", "list", "sets", "inet")
        assert "proven4" not in listing
        source.send(b"2")
        assert heard(listener) == b"2"
        router.run(lambda: netfilter.reinstall(GATED))
        source.send(b"3")
        assert heard(listener) is None
        assert netfilter.sources() == 0


def test_a_restarted_process_adopts_proofs(gateway: Gateway) -> None:
    """They flow on, are cut with their pinhole, and prove nothing for a call of the new process."""
    with asking(gateway) as gate, ends(gate.lab) as (source, listener):
        other = Hole(raw(A4), raw(B4), 4002)
        silent = Hole(raw(A6), raw(B6), 4000)
        gate.apply([OPEN, opened(A4, B4, 4002, 30), opened(A6, B6, idle_s=1)])
        gate.apply([proven(HOLE, source), proven(other, source), proven(silent, source)])
        gate.leave()
        time.sleep(1.1)
        after = gateway.install(GATED)
        assert after.forget_silent() == 1
        assert after.sources() == 2
        source.send(b"1")
        assert heard(listener) == b"1"
        after.apply([OPEN])
        source.send(b"2")
        assert heard(listener) is None
        assert after.apply([ended(other)]).tallies == (Tally(other, 0, 0),)
        listing = gateway.lab.router.shell("nft", "list", "ruleset", "inet")
        assert f"{B4} . 4002" not in listing
        assert after.sources() == 0


def test_rules_that_vanished_took_the_proofs(gateway: Gateway) -> None:
    """`nft flush ruleset`: what is installed then knows of none, in the kernel or here."""
    with asking(gateway) as gate, ends(gate.lab) as (source, _listener):
        gate.apply([OPEN, proven(HOLE, source)])
        gate.leave()
        gate.lab.router.shell("nft", "flush", "ruleset")
        gate.lab.router.run(gate.netfilter.install)
        assert gate.netfilter.sources() == 0


def test_a_ban_takes_the_proofs_of_whom_it_bans(gateway: Gateway) -> None:
    """Proven media is done with before the bans are looked at."""
    with asking(gateway) as gate, ends(gate.lab) as (source, listener):
        gate.apply([OPEN, proven(HOLE, source)])
        source.send(b"1")
        assert heard(listener) == b"1"
        assert gate.netfilter.ban(raw(A4), 30)
        source.send(b"good")
        assert heard(listener) is None
        assert gate.packets("banned") == 1
        assert gate.netfilter.sources() == 0
        gate.apply([ended(HOLE)])
        assert gate.tallies == [Tally(HOLE, 1, 41)]


@pytest.mark.parametrize("abilities", [(True, False), (False, False)])
def test_older_kernels_prove_and_doubt_by_a_longer_way(
    gateway: Gateway, abilities: tuple[bool, bool]
) -> None:
    """Debian 12's 6.1 knows no DESTROY; nobody may notice."""
    with asking(gateway) as gate, ends(gate.lab) as (source, listener):
        gate.netfilter.destroys, gate.netfilter.renews = abilities
        gate.apply([OPEN, proven(HOLE, source)])
        source.send(b"1")
        assert heard(listener) == b"1"
        gate.apply([doubted(HOLE, source)])
        gate.apply([doubted(HOLE, source)])
        source.send(b"good")
        assert heard(listener) == b"good"
        gate.apply([ended(HOLE)])
        assert gate.tallies == [Tally(HOLE, 2, 41 + 44)]


def test_a_full_set_refuses_one_proof_and_not_its_neighbors(gateway: Gateway) -> None:
    """At the bound the newest is refused and counted, and its stream goes on being asked."""
    netfilter = gateway.install(replace(GATED, max_pinholes=2))
    holes = [Hole(raw(A4), raw(B4), 4000 + number) for number in range(2)]
    netfilter.apply([opened(A4, B4, hole.port, 30) for hole in holes])
    effects = [proves(Packet(raw(A4), raw(B4), port, 4000, b"")) for port in (1, 2, 3)]
    assert netfilter.apply(effects).refused == (effects[2],)
    assert netfilter.totals() == (2, 0, 1, 0, 2, 0)


def test_without_a_gate_there_is_no_proof(gateway: Gateway) -> None:
    """What the kernel has no set for is refused, and costs no transaction."""
    netfilter: Netfilter = gateway.install(Plan())
    effect = proves(Packet(raw(A4), raw(B4), 1, 4000, b""))
    assert netfilter.apply([effect, OPEN]).refused == (effect,)
    assert len(netfilter.pinholes()) == 1


def test_an_answer_too_long_for_the_socket_is_not_taken_for_the_next(gateway: Gateway) -> None:
    """The pinholes are closed all the same; of these alone the count is lost."""
    netfilter = gateway.install(GATED)
    holes = [Hole(raw(A4), raw(B4), port) for port in range(10000, 10400)]
    netfilter.apply([OPEN, *(opened(A4, B4, hole.port, 30) for hole in holes)])
    link = netfilter._connected()._socket
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    applied = netfilter.apply([ended(hole) for hole in holes])
    assert applied.refused == ()
    assert len(netfilter.pinholes()) == 1
    assert netfilter.apply([ended(HOLE)]).tallies == (Tally(HOLE, 0, 0),)

"""What the rules let pass and refuse in a real kernel, between two real hosts."""

import socket
from dataclasses import replace

import pytest
from guarded import PLAN, Gateway, accept
from netns import A4, A6, B4, B6, Lab, heard, raw

from sipguard.edge.netfilter import StreamTransports
from sipguard.edge.nfqueue import Queue
from sipguard.edge.queued import QueuedPacket

pytestmark = pytest.mark.kernel


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

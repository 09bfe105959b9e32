"""Zones in a real kernel: which way in a packet took reaches the guard, and no packet can say it.

This tests what comes in clear, whatever it claims: ESP itself needs a kernel that has it.
"""

from dataclasses import replace

import pytest
from guarded import Gateway
from netns import A4, A6, B4, B6, Lab
from subjects import load

from sipguard.edge import programs
from sipguard.edge.from_policy import plan_of
from sipguard.edge.nfqueue import Queue
from sipguard.edge.turnstile import Turnstile
from sipguard.errors import EdgeError
from sipguard.guard.inspect import Guard
from sipguard.journal.observation import Observation

pytestmark = pytest.mark.kernel

POLICY = """
record all
zone left  { interface ra }
zone right { interface rb ipsec }
zone hq    { ipsec reqid 42 ipsec reqid 43 }
chain request
  all drop if zone in {left right hq} or ipsec log
"""
OPTIONS = (
    "OPTIONS sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {0};branch=z9hG4bK{1}\r\n"
    "From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: {1}\r\n"
    "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


class Watched:
    """A guarded router that tells what it saw of each packet."""

    def __init__(self, gateway: Gateway, gate: bool) -> None:
        self.lab: Lab = gateway.lab
        self.seen: list[Observation] = []
        text = POLICY if gate else f"media-proof off\n{POLICY}"
        policy = load(text)
        self.netfilter = gateway.install(replace(plan_of(policy), media_idle_s=2))
        turnstile = Turnstile(lambda effects: None, lambda reply: None)
        turnstile.guard = Guard(policy, b"secret", record=self.seen.append)
        self.queue = self.lab.router.run(lambda: Queue(0, turnstile.take))

    def way(self, source: str, destination: str) -> tuple[str, str, bool]:
        """Send SIP through the router; return by which interface, zone and IPsec it was judged."""
        before = len(self.seen)
        host = self.lab.a if source in (A4, A6) else self.lab.b
        with host.udp(source, 0) as sender:
            message = OPTIONS.format(source if ":" not in source else f"[{source}]", before)
            sender.sendto(message.encode(), (destination, 5060))
            assert self.lab.pump(self.queue, until=lambda: len(self.seen) > before)
        seen = self.seen[-1]
        return seen.interface, seen.zone, seen.ipsec


@pytest.mark.parametrize("by_nft", [True, False], ids=["nft", "iptables"])
@pytest.mark.parametrize("gate", [True, False], ids=["gate", "plain"])
def test_the_way_in_reaches_the_guard_and_no_mark_forges_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, gate: bool, by_nft: bool
) -> None:
    """IPS-1, IPS-3: what came in clear never counts as IPsec, whoever marked it before."""
    if not by_nft:
        monkeypatch.setattr(programs, "has_nft_ipsec", lambda table: False)
    watched = Watched(gateway, gate)
    try:
        for left, right in ((A4, B4), (A6, B6)):
            assert watched.way(left, right) == ("ra", "left", False)
            assert watched.way(right, left) == ("rb", "right", True)
        rules = gateway.rules()
        assert ("ipsec in reqid 42" in rules or "in reqid { 42" in rules) is by_nft
        assert ("--dir in --pol ipsec" in rules) is not by_nft
        forge = (
            "add table inet forger\n"
            "add chain inet forger f { type filter hook forward priority mangle - 20; }\n"
            "add rule inet forger f ct mark set 0x01000005\n"
            "add rule inet forger f meta mark set ct mark\n"
            "add rule inet forger f counter\n"
        )
        gateway.lab.router.shell("nft", "-f", "-", script=forge)
        for left, right in ((A4, B4), (A6, B6)):
            assert watched.way(left, right) == ("ra", "left", False)
        listing = gateway.lab.router.shell("nft", "list", "table", "inet", "forger")
        assert "counter packets 2" in listing
    finally:
        watched.queue.close()


@pytest.mark.parametrize("by_nft", [True, False], ids=["nft", "iptables"])
def test_the_marks_number_is_the_zone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, by_nft: bool
) -> None:
    """What our own rules write between clearing and queue is what the guard reads."""
    if not by_nft:
        monkeypatch.setattr(programs, "has_nft_ipsec", lambda table: False)
    watched = Watched(gateway, gate=True)
    try:
        stands_in = (  # for decryption, which this kernel may not have
            "add table inet inside\n"
            "add chain inet inside f { type filter hook forward priority mangle - 5; }\n"
            "add rule inet inside f meta mark set meta mark | 0x01000000\n"
        )
        gateway.lab.router.shell("nft", "-f", "-", script=stands_in)
        assert watched.way(A4, B4) == ("ra", "hq", True)
    finally:
        watched.queue.close()


def test_a_kernel_that_can_do_neither_says_so(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zone by request id that nobody could tell must not be promised."""
    assert gateway.lab.router.run(lambda: programs.has_nft_ipsec("sipguard"))
    monkeypatch.setattr(programs, "has_nft_ipsec", lambda table: False)
    monkeypatch.setattr(
        "sipguard.edge.iptables.xt_zone_rules", lambda plan, ports: ["-m nosuchmatch -j MARK"]
    )
    with pytest.raises(EdgeError):
        gateway.install(plan_of(load(POLICY)))
    assert "table inet sipguard {" not in gateway.rules()


@pytest.mark.parametrize("by_nft", [True, False], ids=["nft", "iptables"])
def test_the_rules_stand_beside_local_telephony(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, by_nft: bool
) -> None:
    """What the kernel decrypts for this machine itself is marked on its way in alone."""
    if not by_nft:
        monkeypatch.setattr(programs, "has_nft_ipsec", lambda table: False)
    plan = plan_of(load(f"media-proof off\n{POLICY}"))
    gateway.install(replace(plan, local=True))
    shell = gateway.lab.router.shell
    assert ("-m policy --dir in" in shell("iptables-nft", "-t", "mangle", "-S")) is not by_nft
    assert ("ipsec in reqid" in shell("nft", "list", "table", "inet", "sipguard")) is by_nft

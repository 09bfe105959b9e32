"""Our rules in the router of a lab, and what a test asks of them."""

from netns import A4, A6, Lab, heard, raw

from sipguard.edge.netfilter import Netfilter, Plan
from sipguard.edge.queued import QueuedPacket
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, Hole, OpenPinhole

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

"""The rules that write a packet's IPsec zone into its mark, and the number back out of it.

Forwarded packets are queued behind xfrm's decoding (IPS-3): the kernel has
decrypted and checked them in its input path, before it routed them, and still
knows by which security association. The number is taken off first from
whatever brought one along: a mark restored from a connection, or set by a
table before ours, must not stand in for IPsec.

Zones by interface need no rule; the queue says the interface.
"""

from collections.abc import Iterator
from typing import Final

from sipguard.edge.plan import ZONE_MARKS, Plan
from sipguard.edge.ports import both_ends, braces

ZONES_SHOWN: Final = (
    "# The zones' rules stand in the screen where the kernel knows nft's `ipsec`; where not,\n"
    "# the queue goes by iptables, and `-m policy` below takes their place.\n"
)
_SHIFT: Final = (ZONE_MARKS & -ZONE_MARKS).bit_length() - 1


def zone_number(mark: int) -> int:
    """Return the number that a packet's mark says, 0 for none."""
    return (mark & ZONE_MARKS) >> _SHIFT


def zone_mark(number: int) -> int:
    """Return the bits of a mark that say *number*."""
    return number << _SHIFT


def borrowed_zones(plan: Plan) -> int:
    """Return the bits to take off before ours are set: none, where nobody reads them."""
    return ZONE_MARKS if plan.ipsec_zones else 0


def zone_matches(plan: Plan) -> Iterator[tuple[int, str]]:
    """Yield the number and the nft match of each zone; they hold in prerouting, too."""
    for number, reqids in enumerate(plan.ipsec_zones, 1):
        named = str(reqids[0]) if len(reqids) == 1 else braces(reqids)
        yield number, f"ipsec in reqid {named}"


def zone_rules(plan: Plan) -> Iterator[str]:
    """Yield the nft rules for SIP of each zone."""
    for number, match in zone_matches(plan):
        mark = f"{match} meta mark set meta mark | {zone_mark(number):#x}"
        yield from both_ends(plan.sip_ports, mark)


def xt_zone_rules(plan: Plan, ports: str) -> Iterator[str]:
    """Yield the same for iptables, for kernels whose nft knows no ``ipsec``."""
    for number, reqids in enumerate(plan.ipsec_zones, 1):
        mark = f"-j MARK --set-xmark {zone_mark(number):#x}/{ZONE_MARKS:#x}"
        for reqid in reqids:
            policy = f"-m policy --dir in --pol ipsec --reqid {reqid}"
            yield f"-p udp -m multiport --ports {ports} {policy} {mark}"

"""The queue rules for kernels without nft's queue statement, as input for iptables-nft-restore.

Our own chain in the mangle table, and one jump to it: the only place of
iptables that comes before every filter table.
"""

from collections.abc import Iterable
from typing import Final

from sipguard.edge.plan import Plan
from sipguard.edge.zone_rules import xt_zone_rules

_MULTIPORT: Final = 15  # ports that one multiport match can hold


def iptables_script(plan: Plan, present: Iterable[str] = (), *, zones_by_nft: bool = True) -> str:
    """Return the ``iptables-nft-restore --noflush`` input for the queue rules of one family.

    *present* are the lines of ``iptables-nft -S`` that name our chains; jumps
    among them are replaced, so that there is one afterwards, not two. Ours
    goes first: an operator's accept in front of it would skip the judgement.
    Without *zones_by_nft* the marks of IPsec zones are set here, too.
    """
    out = f"{plan.chain}_OUT"
    chains = [plan.chain, out] if plan.local else [plan.chain]
    lines = ["*mangle", *(f":{chain} - [0:0]" for chain in chains), *drop_jumps(plan, present)]
    lines += [
        f"-I FORWARD {match}{_unless_proven(plan)}{_comment()} -j {plan.chain}"
        for match in _jump_matches(plan)
    ]
    if not zones_by_nft:
        for ports in _port_lists(plan):
            lines += [f"-A {plan.chain} {rule}" for rule in xt_zone_rules(plan, ports)]
    lines += [f"-A {plan.chain} {rule}" for rule in _xt_queue_rules(plan)]
    if plan.local:
        mark = f"{plan.mark:#x}/{plan.mark:#x}"
        lines += [
            f"-I INPUT ! -i lo {_comment()} -j {plan.chain}",
            f"-I OUTPUT ! -o lo {_comment()} -j {out}",
            f"-A {out} -m mark --mark {mark} -j RETURN",
            *(f"-A {out} {rule}" for rule in _xt_queue_rules(plan)),
        ]
    return "\n".join([*lines, "COMMIT", ""])


def iptables_removal(plan: Plan, present: Iterable[str]) -> str:
    """Return the restore input that takes our chains out, or "" when there are none."""
    present = list(present)
    chains = [line.split()[1] for line in present if line.startswith("-N ")]
    if not present:
        return ""
    ends = [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
    return "\n".join(["*mangle", *drop_jumps(plan, present), *ends, "COMMIT", ""])


def drop_jumps(plan: Plan, present: Iterable[str]) -> list[str]:
    """Return a ``-D`` line for each jump to our chains among *present*."""
    ours = (f"-j {plan.chain}", f"-j {plan.chain}_OUT")
    return [line.replace("-A ", "-D ", 1) for line in present if line.endswith(ours)]


def _comment() -> str:
    return "-m comment --comment sipguard"


def _jump_matches(plan: Plan) -> list[str]:
    if not plan.interfaces:
        return [""]
    return [f"{end} {name} " for name in plan.interfaces for end in ("-i", "-o")]


def _unless_proven(plan: Plan) -> str:
    """Return the match that spares proven media the way through our chain."""
    if not plan.has_gate:
        return ""
    return f"-m mark ! --mark {plan.proven_mark:#x}/{plan.proven_mark:#x} "


def _port_lists(plan: Plan) -> list[str]:
    starts = range(0, len(plan.sip_ports), _MULTIPORT)
    return [",".join(map(str, plan.sip_ports[at : at + _MULTIPORT])) for at in starts]


def _xt_queue_rules(plan: Plan) -> list[str]:
    first, last = plan.queues
    target = f"--queue-num {first}" if first == last else f"--queue-balance {first}:{last}"
    bypass = " --queue-bypass" if plan.lets_pass else ""
    rules = [
        f"-p udp -m multiport --ports {ports} -j NFQUEUE {target}{bypass}"
        for ports in _port_lists(plan)
    ]
    if plan.has_gate:
        unproven = f"{plan.unproven_mark:#x}/{plan.unproven_mark:#x}"
        rules.append(f"-m mark --mark {unproven} -j NFQUEUE --queue-num {plan.media_queue}{bypass}")
    return rules

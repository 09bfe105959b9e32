"""What sipguard installs in the kernel, as text: an nft script and the queue rules.

One table of our own, ``inet sipguard``, with three steps for forwarded packets:

1. *screen*, priority mangle - 10: before anything is queued, so that a banned
   source costs no userspace time. The ``ct`` expression here makes the kernel
   reassemble fragments first; without one, the second fragment of a datagram
   has no ports and would pass every rule below.
2. the queue, priority mangle: nft's ``queue`` where the kernel has it, else
   ``iptables-nft``, whose only place before the filter tables is that one.
3. *gate*, priority filter - 10: SIP passes with the mark of our verdict alone,
   media through a live pinhole alone. Before the operator's own filter table, so
   that our counters see everything; what we accept can still be dropped there.

A pinhole stands in two sets. *pinholes* is changed by us alone; *alive* is
refreshed by the media itself and expires in silence; a packet needs both. One
set that packets refresh would not do: a packet looked up just before a close
and refreshed just after it puts the element back (under a flood, one close in
ten on two cores).

The mark is cleared in step 1: a mark that someone restored from a connection
must not stand in for a verdict.

With a media queue, a pinhole alone lets nothing pass: see ``media_rules``.
"""

from collections.abc import Iterator
from typing import Final

from sipguard.edge import media_rules
from sipguard.edge.iptables import iptables_script
from sipguard.edge.media_rules import GATE_CHAINS, GATE_COUNTERS, GATE_SETS, stream_key
from sipguard.edge.plan import Plan
from sipguard.edge.ports import both_ends, braces
from sipguard.edge.routing import routing_text
from sipguard.edge.stream_rules import (
    STREAM_CHAINS,
    STREAM_COUNTERS,
    local_stream_rules,
    stream_chains,
    stream_rules,
)
from sipguard.edge.zone_rules import ZONES_SHOWN, borrowed_zones, zone_rules

COUNTERS: Final = (
    "invalid",
    "banned",
    "sip_seen",
    "sip_judged",
    "sip_unjudged",
    *STREAM_COUNTERS,
    "media",
    "media_denied",
    "forwarded_udp",
)
CHAINS: Final = (
    "screen",
    "queue_forward",
    "gate",
    "screen_input",
    "queue_input",
    "gate_input",
    "queue_output",
    "gate_output",
    *STREAM_CHAINS,
    "sip",  # last: the gates jump to it
)


def nft_script(
    plan: Plan,
    *,
    queue_by_nft: bool,
    defrag_by_tproxy: bool = True,
    had_gate: bool = False,
    zones_by_nft: bool = True,
) -> str:
    """Return the script that puts everything in force as one transaction.

    Chains are made anew and sets are only added, so running it over an older
    installation keeps every pinhole and ban. The proofs of a gate that the
    plan no longer has go: nobody would take them back.

    Args:
        plan: What to install.
        queue_by_nft: Whether the kernel knows nft's queue statement.
        defrag_by_tproxy: Whether it knows ``tproxy``; else media, too, costs a connection.
        had_gate: Whether the older installation has a media gate.
        zones_by_nft: Whether it knows ``ipsec``.
    """
    table = f"inet {plan.table}"
    lines = [
        "# sipguard: one table of its own; nothing else is touched.",
        f"add table {table}",
        "",
        "# Counters; see `sipguard status`.",
        *(f"add counter {table} {name}" for name in _counters(plan)),
        "",
        "# Media streams: source, destination, destination port. No port of the source:",
        "# symmetric RTP is usual but not required. pinholes: what was negotiated, changed",
        "# by sipguard alone. alive: refreshed by packets, gone in silence. Media needs both.",
        *_set_lines(plan),
        "",
        "# Chains are made anew, in this same transaction.",
        *purge_chains(plan.table, gate=plan.has_gate or had_gate),
    ]
    if had_gate and not plan.has_gate:
        lines += [f"delete set {table} {name}" for name in GATE_SETS]
    zones = [*zone_rules(plan)] if zones_by_nft else []
    chains = [*_gate_chains(plan, defrag_by_tproxy)] if plan.has_gate else []
    chains += [*stream_chains(plan, zones_by_nft=zones_by_nft)] if plan.diversions else []
    chains += _forward_chains(plan, queue_by_nft, defrag_by_tproxy, zones)
    if plan.local:
        chains += [*_local_chains(plan, queue_by_nft, zones)]
    for heading, name, hook, rules in chains:
        lines += ["", f"# {heading}", f"add chain {table} {name}{hook}"]
        lines += [f"add rule {table} {name} {rule}" for rule in rules]
    return "\n".join(lines) + "\n"


def purge_chains(table: str, *, gate: bool = True) -> list[str]:
    """Return the lines that remove all our chains, whether or not they exist."""
    where = f"inet {table}"
    chains = (*CHAINS, *GATE_CHAINS) if gate else CHAINS
    lines = [f"add chain {where} {name}" for name in chains]
    lines += [f"flush chain {where} {name}" for name in chains]
    return [*lines, *(f"delete chain {where} {name}" for name in chains)]


def _counters(plan: Plan) -> tuple[str, ...]:
    return (*COUNTERS, *GATE_COUNTERS) if plan.has_gate else COUNTERS


def _sets(plan: Plan) -> Iterator[tuple[str, str]]:
    families = (("4", "ipv4_addr"), ("6", "ipv6_addr"))
    for family, kind in families:
        size = f"size {plan.max_pinholes}; flags timeout; {media_rules.SELDOM} counter;"
        yield f"pinholes{family}", f"{{ type {_stream_key(kind)}; {size} }}"
    for suffix, _ in plan.idle_classes:
        for family, kind in families:
            # Twice the room: an element recreated after its close lingers until it expires.
            size = f"size {2 * plan.max_pinholes}; flags dynamic,timeout;"
            size = f"{size} {media_rules.NOW_AND_THEN}"
            yield f"alive{family}{suffix}", f"{{ type {_stream_key(kind)}; {size} }}"
    for family, kind in families:
        size = f"size {plan.max_bans}; flags timeout; {media_rules.SELDOM} counter;"
        yield f"bans{family}", f"{{ type {kind}; {size} }}"
    if plan.has_gate:
        yield from media_rules.gate_sets(plan)


def _stream_key(kind: str) -> str:
    return f"{kind} . {kind} . inet_service"


def _set_lines(plan: Plan) -> list[str]:
    return [f"add set inet {plan.table} {name} {body}" for name, body in _sets(plan)]


_Chain = tuple[str, str, str, list[str]]  # heading, name, hook, rules


def _hook(hook: str, priority: str) -> str:
    return f" {{ type filter hook {hook} priority {priority}; policy accept; }}"


def _gate_chains(plan: Plan, defrag_by_tproxy: bool) -> Iterator[_Chain]:
    yield (
        "Media of a source that has proven itself, from the screen.",
        "proven",
        "",
        media_rules.proven_rules(plan),
    )
    yield (
        "Media that has not: within a limit, to the media queue.",
        "asking",
        "",
        media_rules.asking_rules(plan),
    )
    if defrag_by_tproxy:
        yield (
            "No packet comes here: that it stands makes the kernel put fragments together.",
            "reassembly",
            "",
            [media_rules.REASSEMBLY],
        )


def _forward_chains(
    plan: Plan, queue_by_nft: bool, defrag_by_tproxy: bool, zones: list[str]
) -> Iterator[_Chain]:
    scope = _scope(plan)
    gated = plan.has_gate
    screen = _gated_screen(plan, defrag_by_tproxy, zones) if gated else _screen(plan, zones)
    proven = [media_rules.proven_passes(plan)] if plan.has_gate else []
    yield "Every SIP packet comes here from the gates.", "sip", "", _sip_rules(plan)
    yield (
        "Before the queue: bans, defragmentation, no borrowed marks.",
        "screen",
        _hook("forward", "mangle - 10"),
        [*scope, *screen],
    )
    if queue_by_nft:
        rules = [*scope, *proven, *_queue_rules(plan)]
        yield "To userspace.", "queue_forward", _hook("forward", "mangle"), rules
    yield (
        "After the queue: SIP with our mark, media with a pinhole, no other UDP.",
        "gate",
        _hook("forward", "filter - 10"),
        [
            *scope,
            *proven,
            *stream_rules(plan),
            # RTP runs over these as well (RFC 3828, RFC 5762); no pinhole ever asks for it.
            f"meta l4proto {{ dccp, udplite }} counter name media_denied{_refusal(plan, ' drop')}",
            "meta l4proto != udp return",
            *both_ends(plan.sip_ports, "goto sip"),
            *_media_rules(plan),
            *_forward_udp_rules(plan),
            f"counter name media_denied{_refusal(plan, ' drop')}",
        ],
    )


def _local_chains(plan: Plan, queue_by_nft: bool, zones: list[str]) -> Iterator[_Chain]:
    mark = plan.mark
    inward = ["iifname lo return"]
    # Packets of this machine that carry the mark are our own replies.
    outward = ["oifname lo return"]
    yield (
        "The telephony server on this machine: inward.",
        "screen_input",
        _hook("input", "mangle - 10"),
        [*inward, *_screen(plan, zones)],
    )
    if queue_by_nft:
        rules = [*inward, *_queue_rules(plan)]
        yield "To userspace.", "queue_input", _hook("input", "mangle"), rules
        own = f"meta mark & {mark:#x} == {mark:#x} return"
        rules = [*outward, own, *_queue_rules(plan)]
        yield "To userspace.", "queue_output", _hook("output", "mangle"), rules
    yield (
        "Inward, after the queue.",
        "gate_input",
        _hook("input", "filter - 10"),
        [
            *inward,
            *local_stream_rules(plan),
            *both_ends(plan.sip_ports, "goto sip"),
            *_local_media_rules(plan, "dport"),
        ],
    )
    yield (
        "The telephony server on this machine: outward.",
        "gate_output",
        _hook("output", "filter - 10"),
        [
            *outward,
            *both_ends(plan.sip_ports, "goto sip"),
            *_local_media_rules(plan, "sport"),
        ],
    )


def _scope(plan: Plan) -> list[str]:
    if not plan.interfaces:
        return []
    names = ", ".join(f'"{name}"' for name in plan.interfaces)
    return [f"iifname != {{ {names} }} oifname != {{ {names} }} return"]


def _refusal(plan: Plan, verdict: str) -> str:
    """Shadow mode counts what it would refuse, and lets it pass."""
    return "" if plan.shadow else verdict


def _screen(plan: Plan, zones: list[str]) -> list[str]:
    keep = 0xFFFFFFFF ^ (plan.mark | borrowed_zones(plan))
    ban = f"counter name banned{_refusal(plan, ' drop')}"
    return [
        "ct state invalid counter name invalid",
        f"ip saddr @bans4 {ban}",
        f"ip6 saddr @bans6 {ban}",
        *both_ends(plan.sip_ports, f"counter name sip_seen meta mark set meta mark & {keep:#x}"),
        *zones,
    ]


def _gated_screen(plan: Plan, defrag_by_tproxy: bool, zones: list[str]) -> list[str]:
    ban = f"counter name banned{_refusal(plan, ' drop')}"
    return [
        # Before the bans: `Netfilter.ban` takes the proofs of whom it bans.
        *media_rules.proven_first(plan),
        *([] if defrag_by_tproxy else ["ct state invalid counter name invalid"]),
        f"ip saddr @bans4 {ban}",
        f"ip6 saddr @bans6 {ban}",
        media_rules.no_borrowed_marks(plan),
        *zones,
        *both_ends(plan.sip_ports, "counter name sip_seen return"),
        *media_rules.unproven_last(plan),
    ]


def _sip_rules(plan: Plan) -> list[str]:
    unjudged = " accept" if plan.lets_pass else " drop"
    return [
        f"meta mark & {plan.mark:#x} == {plan.mark:#x} counter name sip_judged accept",
        f"counter name sip_unjudged{unjudged}",
    ]


def _queue_rules(plan: Plan) -> list[str]:
    first, last = plan.queues
    numbers = f"{first}" if first == last else f"{first}-{last}"
    bypass = " bypass" if plan.lets_pass else ""
    rules = both_ends(plan.sip_ports, f"queue num {numbers}{bypass}")
    if plan.has_gate:
        rules.append(f"{media_rules.is_unproven(plan)} queue num {plan.media_queue}{bypass}")
    return rules


def _media_rules(plan: Plan) -> list[str]:
    if not plan.has_gate:
        return _pinhole_rules(plan)
    judged = "" if plan.lets_pass else media_rules.is_judged(plan)
    return [
        media_rules.unproven_needs_verdict(plan),
        *(f"{judged}{rule}" for rule in _pinhole_rules(plan)),
    ]


def _pinhole_rules(plan: Plan) -> list[str]:
    rules = []
    for suffix, idle in plan.idle_classes:
        for family, ip in (("4", "ip"), ("6", "ip6")):
            alive = f"alive{family}{suffix}"
            key = stream_key(ip)
            # Judged by the sets alone, never by `ct state`: a closed pinhole closes at
            # once. `pinholes` last, so that its counters count each packet once.
            rules.append(
                f"{key} @{alive} {key} @pinholes{family} "
                f"update @{alive} {{ {key} timeout {idle}s }} counter name media accept"
            )
    return rules


def _forward_udp_rules(plan: Plan) -> list[str]:
    if not plan.forward_udp:
        return []
    ports = braces(plan.forward_udp)
    return [
        f"udp dport {ports} counter name forwarded_udp accept",
        # Only the answering direction: nobody may start a flow from source port 53.
        f"udp sport {ports} ct direction reply counter name forwarded_udp accept",
    ]


def _local_media_rules(plan: Plan, end: str) -> list[str]:
    if not plan.local_media:
        return []
    spans = ", ".join(f"{low}-{high}" for low, high in plan.local_media)
    return [
        "meta l4proto != udp return",
        f"udp {end} != {{ {spans} }} return",
        *_pinhole_rules(plan),
        f"counter name media_denied{_refusal(plan, ' drop')}",
    ]


def render_rules(plan: Plan, *, queue_by_nft: bool | None = None) -> str:
    """Return everything that would be installed, for people: ``sipguard rules POLICY``.

    Which way the queue goes depends on the kernel; ``None`` shows both.
    """
    parts = [
        "### nft -f, one transaction",
        nft_script(plan, queue_by_nft=queue_by_nft is not False),
    ]
    if queue_by_nft is None:
        parts.insert(
            1,
            "# The chains queue_* stand here where the kernel knows nft's queue statement;\n"
            "# where it does not, the iptables rules below take their place.\n",
        )
    if plan.has_gate:
        parts.append(
            "# The chain reassembly stands where the kernel knows nft's tproxy statement; where\n"
            "# not, a rule of the screen says `ct state invalid counter name invalid`.\n"
        )
    if plan.diversions:
        parts.append(routing_text(plan))
    if plan.ipsec_zones and queue_by_nft is None:
        parts.append(ZONES_SHOWN)
    if queue_by_nft is not True:
        parts += [
            "### iptables-nft-restore --noflush, and the same by ip6tables-nft-restore",
            iptables_script(plan, zones_by_nft=queue_by_nft is not None),
        ]
    return "\n".join(parts)

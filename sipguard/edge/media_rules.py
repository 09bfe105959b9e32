"""The kernel's half of the media gate, as nft rules: the proven passes, the rest is asked.

Before the queue, a packet of a pinhole whose source port stands in *proven* is done with:
it is marked, and now and then one is copied to the log group. Any other packet of a pinhole
is marked as unproven, within a limit for each stream, and goes to the media queue. Behind it,
what is unproven passes only with the mark of a verdict.

A source is a port with an SSRC, which RTP has at another place than RTCP: clear RTP
that somebody forges from the port of a sealed stream is not proven with it.

*proven* is changed by us alone, as *pinholes* is, so that a proof taken back is gone at once.

Which packet of a recheck time is copied is drawn by lot, for to look up each one's last copy
would cost more than everything else here. What a source sends in between nobody sees: this
catches who ceases to encrypt, not who has something to hide from us and keeps the time.

Where media goes directly, one packet of a stream comes here every two seconds or so. There is
no lot then: the direct path's own time between two of them is as uncertain.

``ct`` would have the kernel look up a connection for each packet of media, which costs as
much as forwarding it. Fragments are put together without one where a rule with ``tproxy``
stands anywhere; no packet ever comes to ours.
"""

from collections.abc import Iterator
from typing import Final

from sipguard.edge.plan import Plan
from sipguard.edge.zone_rules import borrowed_zones

GATE_COUNTERS: Final = ("media_unproven", "media_flood")
GATE_CHAINS: Final = ("proven", "asking", "reassembly")
FAMILIES: Final = (("4", "ip", "ipv4_addr"), ("6", "ip6", "ipv6_addr"))
GATE_SETS: Final = tuple(
    f"{name}{family}" for name in ("proven", "asking", "sampled") for family, _, _ in FAMILIES
)

_FLOOD_PER_S: Final = 500  # packets of a stream that has proven nothing: ten audio streams' worth
# The kernel walks each set once a second to free what has expired, on the processor of whoever
# changed it last: milliseconds in which calls wait. What we close is freed at once.
SELDOM: Final = "gc-interval 60s;"
NOW_AND_THEN: Final = "gc-interval 10s;"
_ASKED_S: Final = 10  # an element's life; its limit forgets after one second
# One packet of so many may be copied: audio waits 0.6 s for its lot, on average.
_LOTS: Final = 32
_SNAPLEN: Final = 2048

# From the UDP header on, in bits: RFC 768, RFC 3550 sections 5.1 and 6.4.1, RFC 5761 section 4.
_PORTS: Final = "@th,0,32"
_RTP_SSRC: Final = "@th,128,32"
_RTCP_SSRC: Final = "@th,96,32"
# Version 2 and no other: octets of DTLS may be those of an SSRC.
_IS_RTCP: Final = "@th,64,2 2 @th,72,8 192-223"
_IS_NO_RTCP: Final = "@th,64,2 2 @th,72,8 != 192-223"

_ALL_BITS: Final = 0xFFFFFFFF


def stream_key(ip: str) -> str:
    """Return the expression that the sets of pinholes are keyed by."""
    return f"{ip} saddr . {ip} daddr . udp dport"


def _port_key(ip: str) -> str:
    return f"{stream_key(ip)} . udp sport"


def _source_key(ip: str, ssrc: str) -> str:
    """Return the expression that the sets of proven sources are keyed by.

    Four fields, both ports in one: over a fifth nft 1.0 forgets what the unnamed ones are,
    and then aborts when somebody lists the ruleset.
    """
    return f"{ip} saddr . {ip} daddr . {_PORTS} . {ssrc}"


def gate_sets(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield name and body of each set of the gate."""
    dynamic = f"size {2 * plan.max_pinholes}; flags dynamic,timeout;"
    for family, ip, kind in FAMILIES:
        stream = f"{kind} . {kind} . inet_service"
        static = f"size {plan.max_pinholes}; flags timeout; {SELDOM} counter;"
        yield f"proven{family}", f"{{ typeof {_source_key(ip, _RTP_SSRC)}; {static} }}"
        yield f"asking{family}", f"{{ type {stream}; {dynamic} }}"
        yield f"sampled{family}", f"{{ type {stream} . inet_service; {dynamic} }}"


def proven_first(plan: Plan) -> Iterator[str]:
    """Yield the rules that are done with a proven packet; the first of all, for most come here."""
    for suffix, idle in plan.idle_classes:
        for family, ip, _ in FAMILIES:
            alive, key = f"alive{family}{suffix}", stream_key(ip)
            # `proven` after `alive`, so that its counters count each packet once.
            for is_kind, ssrc in ((_IS_NO_RTCP, _RTP_SSRC), (_IS_RTCP, _RTCP_SSRC)):
                yield (
                    f"{is_kind} {key} @{alive} {_source_key(ip, ssrc)} @proven{family} "
                    f"update @{alive} {{ {key} timeout {idle}s }} goto proven"
                )


def no_borrowed_marks(plan: Plan) -> str:
    """Return the rule that takes our marks off what has not got them from us."""
    ours = plan.mark | plan.unproven_mark | plan.proven_mark | borrowed_zones(plan)
    keep = _ALL_BITS ^ ours
    return f"meta l4proto udp meta mark set meta mark & {keep:#x}"


def unproven_last(plan: Plan) -> Iterator[str]:
    """Yield the rules that have the rest of a pinhole's packets asked."""
    for suffix, _ in plan.idle_classes:
        for family, ip, _ in FAMILIES:
            yield f"{stream_key(ip)} @alive{family}{suffix} goto asking"


def proven_passes(plan: Plan) -> str:
    """Return the rule behind the queue for what was done with before it."""
    mark = plan.proven_mark
    return f"meta l4proto udp meta mark & {mark:#x} == {mark:#x} accept"


def unproven_needs_verdict(plan: Plan) -> str:
    """Return the rule behind the queue for what no verdict let pass."""
    mark = plan.unproven_mark
    end = "" if plan.lets_pass else " drop"
    return f"meta mark & {mark | plan.mark:#x} == {mark:#x} counter name media_unproven{end}"


def is_judged(plan: Plan) -> str:
    """Return the match for what came back from the media queue, and a blank.

    Without it, a packet that the screen saw just before its pinhole opened
    would pass unasked.
    """
    mark = plan.unproven_mark | plan.mark
    return f"meta mark & {mark:#x} == {mark:#x} "


def is_unproven(plan: Plan) -> str:
    """Return the match for what goes to the media queue."""
    return f"meta mark & {plan.unproven_mark:#x} == {plan.unproven_mark:#x}"


def proven_rules(plan: Plan) -> list[str]:
    """Return the rules for a packet of a proven source: a mark, and seldom a copy."""
    keep = _ALL_BITS ^ (plan.mark | plan.unproven_mark | plan.proven_mark)
    rules = [f"meta mark set meta mark & {keep:#x} | {plan.proven_mark:#x} counter name media"]
    if not plan.recheck_s:
        return [*rules, "accept"]
    if not plan.direct:
        rules.append(f"numgen random mod {_LOTS} != 0 accept")
    for family, ip, _ in FAMILIES:
        key, sampled = _port_key(ip), f"@sampled{family}"
        rules.append(
            f"{key} != {sampled} add {sampled} {{ {key} timeout {plan.recheck_s}s }} "
            f"log group {plan.sample_group} snaplen {_SNAPLEN}"
        )
    return [*rules, "accept"]


def asking_rules(plan: Plan) -> list[str]:
    """Return the rules for a packet that must prove itself: a limit, and the mark for the queue."""
    rules = []
    limit = f"limit rate over {_FLOOD_PER_S}/second burst {_FLOOD_PER_S} packets"
    end = "accept" if plan.shadow else "drop"  # past the queue, which a flood would fill
    for family, ip, _ in FAMILIES:
        asking = f"@asking{family} {{ {stream_key(ip)} timeout {_ASKED_S}s {limit} }}"
        rules.append(f"update {asking} counter name media_flood {end}")
    return [*rules, f"meta mark set meta mark | {plan.unproven_mark:#x}"]


REASSEMBLY: Final = "meta l4proto udp tproxy to :1"

"""SIP over TCP in the kernel, as nft rules: connections come to listeners of our own.

``tproxy`` hands a client's packets to the socket that it has with us, or else to our
listener on the loopback, where nobody else can reach it; ``socket transparent`` hands us
the server's packets on the connection that we made in the client's name. Either way the
packet is marked, and a route of our own (``edge/routing.py``) delivers marked packets here.

Where nobody listens, ``tproxy`` matches nothing: the packet goes on to the gate, which
resets it, or lets it pass where the plan says so.

A zone that IPsec tells has listeners of its own, since only the kernel knows by which request
id a packet came; whom it accepts keeps the zone's number in the mark of the socket. What comes
to such a socket by another way is dropped: else whoever guesses a sequence number could
speak in clear for a site that is told by IPsec.

Both connections have the same addresses and ports, so connection tracking would take them
for one and find most of it invalid. It is told to pass them over: that is why the chain
comes before it, at priority raw. It also keeps marks from being restored over ours.
"""

from collections.abc import Iterator
from typing import Final

from sipguard.edge.plan import ZONE_MARKS, Listener, Plan, StreamTransports
from sipguard.edge.ports import braces
from sipguard.edge.zone_rules import zone_mark, zone_matches

STREAM_CHAINS: Final = (
    *("streams", "streams_out", "streams_in", "streams_back"),
    "streams_zone",  # last: those before jump to it
)
STREAM_COUNTERS: Final = ("stream_in", "stream_unjudged", "stream_refused", "stream_strayed")

_Chain = tuple[str, str, str, list[str]]


def stream_chains(plan: Plan, *, zones_by_nft: bool = True) -> Iterator[_Chain]:
    """Yield heading, name, hook and rules of each chain that diverts connections.

    Without *zones_by_nft* no connection is known to come by IPsec.
    """
    ports = braces(plan.diverted_ports)
    has_zones = zones_by_nft and bool(plan.ipsec_zones)
    same_zone = ["jump streams_zone"] if has_zones else []
    if has_zones:
        yield (
            "What comes to a zone's connection comes by that zone's IPsec.",
            "streams_zone",
            "",
            [*_strays(plan)],
        )
    yield (
        "A connection's packets from its client.",
        "streams_in",
        "",
        [
            *_bans(plan),
            "counter name stream_in",
            *same_zone,
            *_to_listeners(plan, zones_by_nft=zones_by_nft),
        ],
    )
    yield (
        "Packets from the server, on the connection made in the client's name.",
        "streams_back",
        "",
        [*_bans(plan), *same_zone, f"{_divert(plan)} accept"],
    )
    yield (
        "SIP over TCP: to our own sockets, before connection tracking.",
        "streams",
        " { type filter hook prerouting priority raw; policy accept; }",
        [
            *_scope(plan),
            f"tcp sport {ports} socket transparent 1 socket wildcard 0 goto streams_back",
            f"tcp dport {ports} fib daddr type unicast goto streams_in",
        ],
    )
    yield (
        "What our own sockets send is not tracked, either.",
        "streams_out",
        " { type filter hook output priority raw; policy accept; }",
        [f"meta l4proto tcp meta mark & {plan.mark:#x} == {plan.mark:#x} notrack"],
    )


def stream_rules(plan: Plan) -> list[str]:
    """Return the rules of the gate for what was not diverted."""
    if plan.stream_transports is StreamTransports.PASS:
        return []
    judged = plan.diverted_ports
    every = sorted({*plan.sip_ports, *plan.stream_ports, *judged})
    refused = [port for port in every if port not in judged]
    reset = " reject with tcp reset"
    rules = []
    if judged:
        verdict = "counter name stream_unjudged" + ("" if plan.lets_pass else reset)
        strays = "counter name stream_refused" + ("" if plan.lets_pass else reset)
        rules += [f"tcp dport {braces(judged)} {verdict}", f"tcp sport {braces(judged)} {strays}"]
    if refused:
        verdict = "counter name stream_refused" + ("" if plan.shadow else reset)
        rules += [f"tcp {end} {braces(refused)} {verdict}" for end in ("dport", "sport")]
    sctp = "counter name stream_refused" + ("" if plan.shadow else " reject")  # RFC 4168
    return [*rules, *(f"sctp {end} {braces(every)} {sctp}" for end in ("dport", "sport"))]


def local_stream_rules(plan: Plan) -> list[str]:
    """Return the rules for connections that end on this machine: diverted ones are ours."""
    mark = f"meta mark & {plan.stream_mark:#x} == {plan.stream_mark:#x}"
    ours = [f"meta l4proto tcp {mark} accept"] if plan.diversions else []
    return [*ours, *stream_rules(plan)]


def _scope(plan: Plan) -> list[str]:
    if not plan.interfaces:
        return []
    names = ", ".join(f'"{name}"' for name in plan.interfaces)
    return [f"iifname != {{ {names} }} fib daddr oifname != {{ {names} }} return"]


def _bans(plan: Plan) -> list[str]:
    ban = "counter name banned" + ("" if plan.shadow else " drop")
    return [f"ip saddr @bans4 {ban}", f"ip6 saddr @bans6 {ban}"]


def _divert(plan: Plan) -> str:
    return f"meta mark set meta mark | {plan.stream_mark:#x} notrack"


def _strays(plan: Plan) -> Iterator[str]:
    stray = "counter name stream_strayed" + ("" if plan.shadow else " drop")
    of_zone = f"socket mark & {ZONE_MARKS:#x} !="
    for number, match in zone_matches(plan):
        # One that began in clear stays of no zone, whatever way it takes later.
        yield f"{match} {of_zone} {{ 0x0, {zone_mark(number):#x} }} {stray}"
        yield f"{match} return"
    yield f"{of_zone} 0x0 {stray}"


def _to_listeners(plan: Plan, *, zones_by_nft: bool) -> Iterator[str]:
    matches = {number: f"{match} " for number, match in zone_matches(plan) if zones_by_nft}
    for listener in sorted(plan.listeners, key=lambda listener: not listener.zone):
        if not listener.zone or listener.zone in matches:
            yield from _to_listener(plan, listener, matches.get(listener.zone, ""))


def _to_listener(plan: Plan, listener: Listener, match: str) -> Iterator[str]:
    ports = braces(listener.ports)
    for family, address in (("ip", "127.0.0.1"), ("ip6", "[::1]")):
        kind = "ipv4" if family == "ip" else "ipv6"
        yield (
            f"{match}meta nfproto {kind} tcp dport {ports} "
            f"tproxy {family} to {address}:{listener.port} {_divert(plan)} accept"
        )

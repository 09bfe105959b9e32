"""SIP over TCP in the kernel, as nft rules: connections come to listeners of our own.

``tproxy`` hands a client's packets to the socket that it has with us, or else to our
listener on the loopback, where nobody else can reach it; ``socket transparent`` hands us
the server's packets on the connection that we made in the client's name. Either way the
packet is marked, and a route of our own (``edge/routing.py``) delivers marked packets here.

Where nobody listens, ``tproxy`` matches nothing: the packet goes on to the gate, which
resets it, or lets it pass where the plan says so.

Both connections have the same addresses and ports, so connection tracking would take them
for one and find most of it invalid. It is told to pass them over: that is why the chain
comes before it, at priority raw. It also keeps marks from being restored over ours.
"""

from collections.abc import Iterator
from typing import Final

from sipguard.edge.plan import Plan, StreamTransports
from sipguard.edge.ports import braces

STREAM_CHAINS: Final = ("streams", "streams_out", "streams_in", "streams_back")
STREAM_COUNTERS: Final = ("stream_in", "stream_unjudged", "stream_refused")

_Chain = tuple[str, str, str, list[str]]


def stream_chains(plan: Plan) -> Iterator[_Chain]:
    """Yield heading, name, hook and rules of each chain that diverts connections."""
    ports = braces(plan.diverted_ports)
    yield (
        "A connection's packets from its client.",
        "streams_in",
        "",
        [*_bans(plan), "counter name stream_in", *_to_listeners(plan)],
    )
    yield (
        "Packets from the server, on the connection made in the client's name.",
        "streams_back",
        "",
        [*_bans(plan), f"{_divert(plan)} accept"],
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


def _to_listeners(plan: Plan) -> Iterator[str]:
    for diversion in plan.diversions:
        ports = braces(diversion.ports)
        for family, listener in (("ip", "127.0.0.1"), ("ip6", "[::1]")):
            kind = "ipv4" if family == "ip" else "ipv6"
            yield (
                f"meta nfproto {kind} tcp dport {ports} "
                f"tproxy {family} to {listener}:{diversion.listener} {_divert(plan)} accept"
            )

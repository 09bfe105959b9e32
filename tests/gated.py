"""Media of a call on paper: datagrams through its pinholes, as the kernel would ask about them."""

from exchange import ALICE, BOB, Exchange, octets

from sipguard.guard.media_gate import MediaDecision
from sipguard.policy import load_policy
from sipguard.wire.packet import Packet

PORTS = {ALICE: 30000, BOB: 40000}
OPEN = """
default accept
chain request
  all accept
chain media
  {rule}
"""


def made(rule: str = "sealed open if keyed", settings: str = "") -> Exchange:
    """An exchange under a policy of one media rule."""
    text = settings + OPEN.format(rule=rule)
    return Exchange(load_policy("p", lambda _: text))


def show(
    exchange: Exchange,
    source: str,
    payload: bytes,
    *,
    port: int = 0,
    source_port: int = 0,
    is_sample: bool = False,
    target: str = "",
    wait_s: float = 0.02,
) -> MediaDecision:
    """Let one datagram of media come to the gate, from one party to the other."""
    target = target or (BOB if source != BOB else ALICE)
    packet = Packet(
        octets(source),
        octets(target),
        source_port or PORTS.get(source, 30000),
        port or PORTS[target],
        payload,
        "udp",
        "",
    )
    exchange.now_s += wait_s
    decision = exchange.guard.judge_media(packet, exchange.now, is_sample=is_sample)
    exchange.apply(decision.effects)
    return decision


def proven(exchange: Exchange) -> set[tuple[bytes, int]]:
    """What the kernel forwards alone: source address and destination port."""
    return {(hole.source, hole.port) for hole, _ in exchange.proven}

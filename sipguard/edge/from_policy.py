"""What a policy asks of the kernel; the service and ``sipguard rules`` must agree on it."""

from sipguard.edge.plan import (
    LISTENER_PORT,
    SAMPLE_GROUP,
    STREAM_PORTS,
    TLS_LISTENER_PORT,
    WS_LISTENER_PORT,
    WSS_LISTENER_PORT,
    Diversion,
    Plan,
    StreamTransports,
)
from sipguard.policy.rules import Policy


def plan_of(
    policy: Policy,
    *,
    queues: tuple[int, int] = (0, 0),
    interfaces: tuple[str, ...] = (),
    fail_open: bool = False,
    mode: str = "",
    media_queue: int | None = None,
    sample_group: int = SAMPLE_GROUP,
) -> Plan:
    """Return the plan of the rules for *policy* on this gateway.

    Args:
        policy: The loaded policy.
        queues: First and last queue number.
        interfaces: Where forwarded packets come in; empty for all.
        fail_open: SIP passes unjudged while nobody listens on the queue.
        mode: ``shadow`` or ``enforce`` where the command line overrides the policy.
        media_queue: Where media proves itself; None for the number after the last of *queues*.
        sample_group: Where copies of proven media go.

    Raises:
        EdgeError: Rules that cannot be; the text says which.
    """
    if media_queue is None:
        media_queue = queues[1] + 1
    opening = {rule.idle_s for rule in policy.chains["media"].rules if rule.action == "open"}
    return Plan(
        sip_ports=policy.sip_ports,
        stream_transports=StreamTransports(policy.stream_transports),
        stream_ports=tuple(
            sorted({*STREAM_PORTS, *policy.tls_ports, *policy.ws_ports, *policy.wss_ports})
        ),
        forward_udp=policy.forward_udp,
        media_idle_s=policy.media_idle_s,
        other_idle_s=tuple(sorted(opening - {0, policy.media_idle_s})),
        shadow=(mode or policy.mode) == "shadow",
        fail_open=fail_open,
        queues=queues,
        interfaces=interfaces,
        max_pinholes=policy.max_pinholes,
        media_queue=media_queue if policy.proof_within_s else None,
        sample_group=sample_group,
        recheck_s=policy.recheck_s,
        direct=policy.media_path == "direct",
        ipsec_zones=policy.zones.reqids if policy.zones else (),
        diversions=diversions_of(policy),
    )


def diversions_of(policy: Policy) -> tuple[Diversion, ...]:
    """Return which connections come to us: none unless ``stream-transports judge``."""
    if policy.stream_transports != "judge":
        return ()
    tls = Diversion("tls", policy.tls_ports, TLS_LISTENER_PORT)
    has_tls = bool(policy.tls.certificates)  # without any they are refused
    found = [Diversion("tcp", policy.sip_ports, LISTENER_PORT)]
    if has_tls:
        found.append(tls)
    if policy.ws_ports:
        found.append(Diversion("ws", policy.ws_ports, WS_LISTENER_PORT))
    if policy.wss_ports and has_tls:
        found.append(Diversion("wss", policy.wss_ports, WSS_LISTENER_PORT))
    return tuple(found)

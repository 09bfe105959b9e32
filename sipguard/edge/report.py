"""What the parts of the running service can tell, put into one status report."""

import os
import time
from collections.abc import Sequence

from sipguard.edge.control import RuleHits, StatusReport
from sipguard.edge.netfilter import Netfilter
from sipguard.edge.nfqueue import Queue
from sipguard.edge.policy_file import LoadedPolicy
from sipguard.edge.turnstile import Turnstile
from sipguard.guard import Guard
from sipguard.policy.rules import Policy


def begun(loaded: LoadedPolicy, turnstile: Turnstile, started_s: float) -> StatusReport:
    """Return a report that says who judges by which policy, and what came of it."""
    report = StatusReport(os.getpid(), time.time(), started_s)
    report.mode = loaded.policy.mode
    report.policy_file = loaded.policy.file
    report.policy_hash = loaded.digest
    report.policy_loaded_s = loaded.loaded_s
    report.packets = turnstile.packets
    report.by_verdict = dict(turnstile.by_verdict)
    report.by_reason = dict(turnstile.by_reason)
    report.by_blocked = dict(turnstile.by_blocked)
    return report


def rule_hits(policy: Policy, offset_s: float) -> list[RuleHits]:
    """Return every rule's count; *offset_s* turns monotonic into POSIX time."""
    return [
        RuleHits(
            rule.chain,
            rule.name,
            rule.place,
            rule.hits,
            rule.last_hit.monotonic_s + offset_s if rule.last_hit else 0.0,
        )
        for rule in policy.rules
    ]


def count_tables(report: StatusReport, guard: Guard | None) -> None:
    """Add how full the guard's tables are."""
    if guard is None:
        return
    statistics = guard.statistics()
    report.dialogs = statistics.dialogs
    report.transactions = statistics.transactions
    report.pinholes = statistics.holes
    report.replay_entries = statistics.replay_entries
    report.counters["forgotten"] = statistics.forgotten


def count_kernel(report: StatusReport, queues: Sequence[Queue], netfilter: Netfilter) -> None:
    """Add what queues and rules count; nothing from a kernel side that is not up."""
    for queue in queues:
        status = queue.status()
        if status is not None:
            report.queue_drops += status.dropped_full + status.dropped_unread
        counts = queue.counts()
        for name, count in (("overruns", counts.overruns), ("crowded_out", counts.crowded_out)):
            report.counters[name] = report.counters.get(name, 0) + count
    totals = netfilter.totals()
    report.counters["pinholes_opened"] = totals.opened
    report.counters["pinholes_closed"] = totals.closed
    report.counters["pinholes_refused"] = totals.refused
    if netfilter.plan.has_gate:
        report.counters["sources_proven"] = totals.proven
        report.counters["sources_doubted"] = totals.doubted
        report.counters["sources_now"] = netfilter.sources()
        report.counters.update(netfilter.direct.counts())
        report.media_path = netfilter.direct.told()
    if queues:
        for name, counter in netfilter.counters().items():
            report.counters[name] = counter.packets


def count_unjudged(netfilter: Netfilter) -> int | None:
    """Return how often packets met our rules without the verdict that they need.

    Above all, where somebody flushed the rules that queue them. None if our rules are not there.
    """
    counters = netfilter.counters()
    if "sip_unjudged" not in counters:
        return None
    names = ("sip_unjudged", "media_unproven", "stream_unjudged")
    return sum(counters[name].packets for name in names if name in counters)

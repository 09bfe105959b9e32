"""What the service counts, as Prometheus reads it: named and typed by its conventions.

Labels are rule names, reason codes and settings, never what a peer wrote: a
stranger cannot make up time series.
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from sipguard.edge.control import StatusReport

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

# Name in a status report: name as a metric, meaning.
_COUNTERS: Final = {
    "pinholes_opened": ("pinholes_opened", "Pinholes opened in the kernel."),
    "pinholes_closed": ("pinholes_closed", "Pinholes closed in the kernel."),
    "pinholes_refused": ("pinholes_refused", "Pinholes that the kernel did not open."),
    "passed_packets": ("pinhole_packets", "Packets through pinholes that are closed by now."),
    "passed_octets": ("pinhole_bytes", "Octets through pinholes that are closed by now."),
    "forgotten": ("forgotten_entries", "Entries that full tables forgot before their time."),
    "busy_poll_s": ("busy_poll_seconds", "Seconds in which nobody slept for want of packets."),
    "overruns": ("queue_overruns", "Times that a queue's socket had no room."),
    "crowded_out": ("queue_crowded_out_packets", "Large packets that found no room in the queue."),
    "tls_handshakes": ("tls_handshakes", "TLS handshakes of clients that were completed."),
    "replies_sent": ("replies_sent", "Responses of sipguard's own."),
    "media_asked": ("media_judged_packets", "Media packets that were held against their keys."),
    "media_refused": ("media_refused_packets", "Of those, the ones that were dropped."),
    "media_samples": ("media_samples", "Copies of proven media that were looked at."),
    "samples_lost": ("media_samples_lost", "Times that copies of media were lost unseen."),
    "sources_proven": ("media_sources_proven", "Sources of media that proved themselves."),
    "direct_left_out": ("media_sources_routed", "Sources that found no room in the direct path."),
    "sources_doubted": ("media_sources_doubted", "Sources whose proof was taken back."),
    "streams_accepted": ("connections", "SIP connections taken."),
    "stream_messages": ("connection_messages", "SIP messages that came over connections."),
    "held": ("held_packets", "Packets that waited for a certificate."),
    "held_no_room": ("held_refused_packets", "Packets that found no room to wait."),
    "held_too_long": ("held_late_packets", "Packets that waited in vain."),
    "passed_by_exception": ("excepted", "Requests let through by temporary exceptions."),
    "writer_restarts": ("writer_restarts", "Times that the process that writes records ended."),
    "muted": ("muted", "Refusals that a temporary exception kept out of the records."),
}
_GAUGES: Final = {
    "sources_now": ("media_sources", "Proven sources of media in the kernel."),
    "direct_sources": ("media_sources_direct", "Proven sources in the direct path now."),
    "streams_open": ("connections_open", "SIP connections open now."),
    "held_now": ("held_packets_now", "Packets waiting for a certificate now."),
    "records_waiting": ("records_waiting", "Records waiting to be written now."),
    "exceptions": ("exceptions", "Temporary exceptions in force."),
}
_GROUPS: Final = (  # prefix in a status report, metric, label, meaning
    ("certificates_", "certificate_fetches", "outcome", "Certificates by URL, by what came of it."),
    ("records_lost_", "records_dropped", "cause", "Records that could not be stored, by cause."),
    ("streams_", "connections_ended", "cause", "Connections refused or ended early, by cause."),
)


def exposition(report: StatusReport) -> bytes:
    """Return a status report in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(report))
    return generate_latest(registry)


class _Collector:
    """What a registry asks; made anew for each scrape, so nothing is kept twice."""

    def __init__(self, report: StatusReport) -> None:
        self._report = report

    def describe(self) -> Iterable[Metric]:
        """Say nothing: there is no other collector to collide with."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Tell everything."""
        yield from _service(self._report)
        yield from _judged(self._report)
        yield from _tables(self._report)
        yield from _feeds(self._report)
        yield from _counted(self._report.counters)


def _service(report: StatusReport) -> Iterator[Metric]:
    yield _labeled(
        GaugeMetricFamily("sipguard_build_info", "Version.", labels=["version"]),
        [((version("sipguard"),), 1)],
    )
    yield _labeled(
        GaugeMetricFamily(
            "sipguard_policy_info", "The policy in force.", labels=["mode", "file", "hash"]
        ),
        [((report.mode, report.policy_file, report.policy_hash), 1)],
    )
    yield _gauge("policy_loaded_timestamp_seconds", "When it was read.", report.policy_loaded_s)
    is_good = not report.last_reload.startswith("refused")
    yield _gauge("policy_last_reload_successful", "Whether the last reload worked.", int(is_good))
    yield _gauge("start_time_seconds", "When the service started.", report.started_s)
    yield _counter("errors", "Packets that met a fault of sipguard's own.", report.errors)


def _judged(report: StatusReport) -> Iterator[Metric]:
    packets = CounterMetricFamily(
        "sipguard_packets", "SIP messages judged, by verdict.", labels=["verdict"]
    )
    # All three from the start: a rate needs a zero to rise from.
    verdicts = {"accept": 0, "drop": 0, "reject": 0, **report.by_verdict}
    yield _labeled(packets, [((verdict,), count) for verdict, count in verdicts.items()])
    blocked = CounterMetricFamily(
        "sipguard_blocked", "Of those, the ones that the policy blocks.", labels=["reason"]
    )
    yield _labeled(blocked, [((reason,), count) for reason, count in report.by_blocked.items()])
    hits = CounterMetricFamily(
        "sipguard_rule_hits", "How often each rule decided.", labels=["chain", "rule"]
    )
    yield _labeled(hits, [((rule.chain, rule.name), rule.hits) for rule in report.rules])
    yield _counter(
        "queue_dropped_packets", "SIP that the kernel dropped: queue full.", report.queue_drops
    )


def _tables(report: StatusReport) -> Iterator[Metric]:
    yield _gauge("dialogs", "Calls that are followed.", report.dialogs)
    yield _gauge("transactions", "Transactions that are followed.", report.transactions)
    yield _gauge("pinholes", "Pinholes open now.", report.pinholes)
    yield _gauge("replay_memory_entries", "Requests remembered.", report.replay_entries)
    yield _counter("records_written", "Records written to the store.", report.records)
    yield _counter("records_lost", "Records that could not be stored.", report.lost_records)


def _feeds(report: StatusReport) -> Iterator[Metric]:
    labels = ["feed"]
    sent = CounterMetricFamily("sipguard_feed_sent", "Records that a feed took.", labels=labels)
    lost = CounterMetricFamily(
        "sipguard_feed_dropped", "Records that a feed had no room for or lost.", labels=labels
    )
    waiting = GaugeMetricFamily("sipguard_feed_waiting", "Records waiting now.", labels=labels)
    yield _labeled(sent, [((feed.name,), feed.sent) for feed in report.feeds])
    yield _labeled(lost, [((feed.name,), feed.dropped) for feed in report.feeds])
    yield _labeled(waiting, [((feed.name,), feed.waiting) for feed in report.feeds])


def _counted(counters: dict[str, int]) -> Iterator[Metric]:
    left = dict(counters)
    # What has not happened yet is told as zero: a rate needs something to rise from.
    for name, (metric, meaning) in _COUNTERS.items():
        yield _counter(metric, meaning, left.pop(name, 0))
    for name, (metric, meaning) in _GAUGES.items():
        yield _gauge(metric, meaning, left.pop(name, 0))
    for prefix, metric, label, meaning in _GROUPS:
        names = [name for name in left if name.startswith(prefix)]
        if names:
            family = CounterMetricFamily(f"sipguard_{metric}", meaning, labels=[label])
            yield _labeled(
                family, [((name.removeprefix(prefix),), left.pop(name)) for name in names]
            )
    kernel = CounterMetricFamily(
        "sipguard_kernel_packets", "What sipguard's kernel rules count.", labels=["counter"]
    )
    yield _labeled(kernel, [((name,), count) for name, count in left.items()])


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"sipguard_{name}", meaning, value=value)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sipguard_{name}", meaning, value=value)


def _labeled(
    family: CounterMetricFamily | GaugeMetricFamily,
    rows: Iterable[tuple[tuple[str, ...], float]],
) -> Metric:
    for labels, value in rows:
        family.add_metric(labels, value)
    return family

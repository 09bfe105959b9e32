"""``/metrics``: names and types by Prometheus' conventions, and nothing a stranger may make up."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address
from twisted.web.test.requesthelper import DummyRequest

from sipguard.edge.control import FeedState, RuleHits, StatusReport
from sipguard.edge.feeds.listener import (
    MAX_CONNECTIONS,
    Listen,
    Metrics,
    MetricsListener,
    is_loopback,
    read_listen,
)
from sipguard.edge.feeds.metrics import exposition

DASHBOARD = Path(__file__).parents[3] / "contrib" / "grafana" / "sipguard.json"


def report() -> StatusReport:
    told = StatusReport(1, 1000.0, 900.0, mode="enforce", policy_file='a "b"\\c\n', packets=7)
    told.policy_hash, told.policy_loaded_s, told.last_reload = "abc", 950.0, "ok"
    told.by_verdict = {"accept": 4, "drop": 3}
    told.by_reason = {"accepted": 4, "replay": 2, "not-sip": 1}
    told.by_blocked = {"replay": 2, "not-sip": 1}
    told.rules = [RuleHits("request", "spoofed", "p:1", 5, 0.0)]
    told.feeds = [FeedState("syslog udp 192.0.2.1:514", 9, 2, 1, "")]
    told.counters = {
        "pinholes_opened": 4, "pinholes_closed": 3, "pinholes_refused": 0, "forgotten": 1,
        "sip_seen": 12, "sip_judged": 11, "streams_open": 2, "streams_accepted": 5,
        "streams_too_many_connections": 1, "certificates_fetched": 3, "sources_now": 2,
        "exceptions": 1, "passed_octets": 99, "held": 1, "records_lost_no_room": 6,
        "records_waiting": 7, "writer_restarts": 8, "direct_sources": 2, "direct_left_out": 1,
    }  # fmt: skip
    return told


def lines(told: StatusReport) -> list[str]:
    return exposition(told).decode().splitlines()


@pytest.mark.parametrize(
    "line",
    [
        'sipguard_packets_total{verdict="drop"} 3.0',
        'sipguard_packets_total{verdict="reject"} 0.0',
        'sipguard_blocked_total{reason="replay"} 2.0',
        'sipguard_rule_hits_total{chain="request",rule="spoofed"} 5.0',
        "sipguard_pinholes_opened_total 4.0",
        'sipguard_kernel_packets_total{counter="sip_seen"} 12.0',
        'sipguard_feed_dropped_total{feed="syslog udp 192.0.2.1:514"} 2.0',
        'sipguard_connections_ended_total{cause="too_many_connections"} 1.0',
        "sipguard_connections_open 2.0",
        "sipguard_media_judged_packets_total 0.0",  # a rate needs a zero to rise from
        "# TYPE sipguard_connections_open gauge",
        'sipguard_records_dropped_total{cause="no_room"} 6.0',
        "sipguard_records_waiting 7.0",
        "sipguard_media_sources_direct 2.0",
        "sipguard_media_sources_routed_total 1.0",
        "sipguard_writer_restarts_total 8.0",
        "# TYPE sipguard_packets_total counter",
        "sipguard_policy_last_reload_successful 1.0",
        'sipguard_policy_info{file="a \\"b\\"\\\\c\\n",hash="abc",mode="enforce"} 1.0',
    ],
)
def test_every_count_has_its_line(line: str) -> None:
    """The names that the dashboard and the site's alarms are built on."""
    assert line in lines(report())


def test_only_what_was_blocked_is_blocked() -> None:
    """A call that passed for a reason is none that was blocked."""
    assert not [line for line in lines(report()) if "_blocked" in line and "accepted" in line]


def test_a_refused_reload_shows() -> None:
    """Somebody edited the policy, and the gateway still judges by the old one."""
    told = report()
    told.last_reload = "refused: p:1:1: unknown setting"
    assert "sipguard_policy_last_reload_successful 0.0" in lines(told)


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool (apt: prometheus)")
def test_prometheus_own_linter_finds_nothing() -> None:
    """Suffixes, units and help texts as its project wants them."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(report()), capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    """A panel without data looks like a quiet night."""
    told = exposition(report()).decode()
    asked = set(re.findall(r"sipguard_[a-z_]+", json.dumps(json.loads(DASHBOARD.read_text()))))
    assert len(asked) > 10
    assert [name for name in asked if not re.search(rf"(?m)^{name}[ {{]", told)] == []


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("9431", Listen("127.0.0.1", 9431)),
        ("192.0.2.7:9431", Listen("192.0.2.7", 9431)),
        ("[::1]:1", Listen("::1", 1)),
    ],
)
def test_where_to_listen(text: str, listen: Listen) -> None:
    """Loopback where nothing else is said."""
    assert read_listen(text) == listen
    assert is_loopback(listen) is (listen.address != "192.0.2.7")


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "host:1", ":1", "1.2.3:1", "\u00b2"])
def test_where_nobody_can_listen(text: str) -> None:
    """The operator hears what to write."""
    with pytest.raises(ValueError, match="--metrics"):
        read_listen(text)


def test_a_scraper_in_a_hurry_gets_the_same_again() -> None:
    """Each report asks the kernel; a flood of requests must not."""
    asked: list[int] = []
    clock = [0.0]

    def told() -> StatusReport:
        asked.append(1)
        return report()

    metrics = Metrics(told, lambda: clock[0])
    for clock[0] in (0.0, 0.5, 0.9, 1.0):
        request = DummyRequest([b"metrics"])
        assert metrics.render_GET(request).startswith(b"# HELP sipguard_")  # type: ignore[arg-type] # a double
    assert len(asked) == 2


def test_a_crowd_of_connections_is_not_taken() -> None:
    """Each takes a descriptor that a call may need."""
    listener = MetricsListener(Listen("127.0.0.1", 1), report)
    factory = listener.args[1]
    here = IPv4Address("TCP", "127.0.0.1", 1)
    for _ in range(MAX_CONNECTIONS):
        wrapper = factory.buildProtocol(here)
        factory.registerProtocol(wrapper)
    assert factory.buildProtocol(here) is None


@pytest.fixture
def served() -> Iterator[int]:
    """Return the port of a real listener in another process's manner: a thread with a reactor."""
    script = (
        "import sys\n"
        "from twisted.internet import reactor\n"
        "from sipguard.edge.feeds.listener import MetricsListener, Listen\n"
        "from sipguard.edge.control import StatusReport\n"
        "def report():\n"
        "    told = StatusReport(1, 1000.0, 900.0)\n"
        "    told.by_verdict = {'drop': 3}\n"
        "    return told\n"
        "listener = MetricsListener(Listen('127.0.0.1', int(sys.argv[1])), report)\n"
        "listener.privilegedStartService(); print('up', flush=True); reactor.run()\n"
    )

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", script, str(port)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "up\n"
    yield port
    server.terminate()
    server.wait(10)
    server.stdout.close()


def test_it_is_served(served: int) -> None:
    """With its media type; and nothing else is."""
    with urllib.request.urlopen(f"http://127.0.0.1:{served}/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b'sipguard_packets_total{verdict="drop"} 3.0' in answer.read()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{served}/")
    refused.value.close()
    assert refused.value.code == 404


@pytest.mark.skipif(not shutil.which("prometheus"), reason="needs prometheus (apt)")
def test_prometheus_itself_scrapes_it(served: int, tmp_path: Path) -> None:
    """And then answers what the dashboard asks."""
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs: [{job_name: sipguard, "
        f"static_configs: [{{targets: ['127.0.0.1:{served}']}}]}}]\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
         f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    query = f"http://127.0.0.1:{port}/api/v1/query?query=sipguard_packets_total"
    try:
        values: dict[str, str] = {}
        deadline = time.monotonic() + 30
        while not values and time.monotonic() < deadline:
            time.sleep(0.5)
            try:
                with urllib.request.urlopen(query, timeout=5) as answer:
                    found = json.load(answer)["data"]["result"]
            except OSError:
                continue
            values = {one["metric"]["verdict"]: one["value"][1] for one in found}
        assert values == {"accept": "0", "drop": "3", "reject": "0"}
    finally:
        server.terminate()
        server.wait(15)

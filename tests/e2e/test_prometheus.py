"""The real Prometheus scrapes the real service, and the dashboard asks for what is there.

Grafana is not in Debian: its JSON is held against what an import needs, and each
of its questions is put to Prometheus as Grafana would put it.
"""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from receivers import CONTRIB, Prometheus, need

from demo import packets
from demo.clients import Sipp
from demo.gateway import Gateway
from demo.network import Network, within
from demo.programs import until

pytestmark = pytest.mark.kernel

POLICY = """\
mode enforce
default drop
set phones { 10.20.1.0/24 10.20.2.0/24 }
feed json     "records.jsonl"
feed syslog   tcp 10.20.2.2:9  cef
feed json     "none/records.jsonl"
chain request
  stranger   drop        if src not in phones                      log
  calls      accept      if src in phones                          log
chain response
  answers    accept      if transaction.known
chain media
  sealed     open        if keyed and peer in {signalling}         idle 60s
"""
DASHBOARD: dict[str, Any] = json.loads((CONTRIB / "grafana" / "sipguard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
CORE_PANELS = {"timeseries", "stat"}  # a panel of a plugin would be an empty box elsewhere


class Watched:
    """A gateway with some traffic, and Prometheus beside it."""

    def __init__(self, network: Network, work: Path, stack: ExitStack) -> None:
        policy = work / "gateway.policy"
        policy.write_text(POLICY)
        options = ("--metrics", "9431")
        self.gateway = stack.enter_context(Gateway(network, work, policy=policy, options=options))
        self.network = network
        folder = CONTRIB / "prometheus"
        (work / "sipguard.rules.yml").write_text((folder / "sipguard.rules.yml").read_text())
        config = (folder / "sipguard.yml").read_text()
        self.prometheus = stack.enter_context(Prometheus(network.gateway, work, config))
        callee, stranger = network.callee, network.stranger
        with (
            Sipp("callee", callee, work) as called,
            Sipp("caller", network.caller, work, towards=callee.ipv4, talk_ms=1000) as calling,
        ):
            media = packets.srtp_packets(50)
            here, far = (network.caller.ipv4, 30000), (callee.ipv4, 30000)
            assert until(lambda: bool(self.gateway.holes()), 3)
            packets.send(network.caller.namespace, here, far, media, gap_s=0.002)
            assert calling.wait(10) == 0, calling.complaint()
            assert called.wait(4) == 0, called.complaint()
        for _ in range(5):
            probe = packets.scanner_probe(stranger.ipv4, callee.ipv4)
            packets.send(stranger.namespace, (stranger.ipv4, 5060), (callee.ipv4, 5060), [probe])

    def exposition(self) -> bytes:
        """What a scrape gets."""

        def fetched() -> bytes:
            with urllib.request.urlopen("http://127.0.0.1:9431/metrics", timeout=5) as answer:
                octets: bytes = answer.read()
            return octets

        return within(self.network.gateway, fetched)


@pytest.fixture(scope="module")
def watched(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Scraped often enough that rates have two values."""
    need("prometheus", "promtool")
    with ExitStack() as stack:
        made = Watched(network, tmp_path_factory.mktemp("prometheus"), stack)

        def is_scraped() -> bool:
            scraped = made.prometheus.query("count_over_time(sipguard_start_time_seconds[1m])")
            counted = made.prometheus.query("sum(sipguard_blocked_total)")
            return bool(scraped and scraped[0][1] > 3 and counted and counted[0][1] >= 5)

        assert until(is_scraped, 15), made.prometheus.text()[-2000:]
        yield made


def test_what_it_counted(watched: Watched) -> None:
    """As the gateway counts it itself."""
    query = watched.prometheus.query
    labels, value = query("sipguard_policy_info")[0]
    assert (labels["mode"], labels["job"], value) == ("enforce", "sipguard", 1.0)
    assert query('sipguard_rule_hits_total{chain="request",rule="stranger"}')[0][1] == 5
    assert query('sipguard_packets_total{verdict="drop"}')[0][1] == 5
    assert query("sipguard_pinholes_opened_total")[0][1] >= 2
    assert query("sipguard_media_refused_packets_total")[0][1] > 0


def test_the_kernel_s_counters_are_those_that_the_manual_tells_of(watched: Watched) -> None:
    """What else the service counts has a name of its own, and not by chance one here."""
    page = (CONTRIB.parent / "docs" / "operations.md").read_text()
    table = page[page.index("| counter | packets |") : page.index("In shadow mode what would be")]
    told = set(re.findall(r"(?m)^\| `(\w+)` \|", table))
    rows = watched.prometheus.query("sipguard_kernel_packets_total")
    assert {labels["counter"] for labels, _ in rows} == told


def test_a_feed_that_loses_shows(watched: Watched) -> None:
    """Each feed has its series: sent, dropped, waiting."""
    query = watched.prometheus.query

    def told(name: str) -> dict[str, float]:
        return {row["feed"].rpartition("/")[0] or row["feed"]: value for row, value in query(name)}

    work = str(watched.gateway.policy.parent)
    count = told("sipguard_feed_sent_total")[f"json {work}"]
    assert count >= 6  # a record that grows is a line more
    assert told("sipguard_feed_dropped_total")[f"json {work}/none"] == count
    lines = Path(work, "records.jsonl").read_text().splitlines()
    ids = {json.loads(line)["id"] for line in lines}  # one whose call got worse is told again
    assert 6 <= len(ids) <= told("sipguard_feed_waiting")["syslog tcp 10.20.2.2:9"] <= len(lines)


def test_promtool_finds_nothing_in_a_real_answer(watched: Watched) -> None:
    """Names, suffixes, help and types by Prometheus' conventions."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=watched.exposition(), capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_rules_are_evaluated(watched: Watched) -> None:
    """Those that are shipped, without a fault; and each asks for what is there."""
    rules: list[dict[str, Any]] = []

    def evaluated() -> bool:
        _, told = watched.prometheus.asked("rules")
        rules[:] = told["data"]["groups"][0]["rules"]
        return all(rule["health"] == "ok" for rule in rules)

    assert until(evaluated, 10), rules
    assert len(rules) == 7
    exposed = watched.exposition().decode()
    for rule in rules:
        for name in re.findall(r"sipguard_\w+", rule["query"]):
            assert re.search(rf"(?m)^{name}[ {{]", exposed), name


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_the_dashboard_gets_an_answer(watched: Watched, title: str, target: dict[str, Any]) -> None:
    """Each question is one that Prometheus understands, with an answer and every label in it."""
    expression = target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".*")
    assert "$" not in expression
    rows = watched.prometheus.query(expression)
    assert rows, (title, expression)
    for name in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
        assert all(name in labels for labels, _ in rows), (title, name)


def test_the_dashboard_lists_gateways(watched: Watched) -> None:
    """Its variable offers each instance that Prometheus knows."""
    (variable,) = [one for one in DASHBOARD["templating"]["list"] if one["name"] == "instance"]
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
    assert found
    code, told = watched.prometheus.asked(f"label/{found[2]}/values", **{"match[]": found[1]})
    assert (code, told["data"]) == (200, ["127.0.0.1:9431"])


def test_the_dashboard_can_be_imported() -> None:
    """What an import reads: schema, identity, data source by choice, panels that fit the grid."""
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["uid"]
    assert DASHBOARD["title"]
    assert DASHBOARD.get("id") is None
    kinds = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert (kinds["datasource"]["type"], kinds["datasource"]["query"]) == (
        "datasource", "prometheus",
    )  # fmt: skip
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        assert panel["type"] in CORE_PANELS
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not taken & cells
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for asks in (panel, *panel["targets"]):
            assert asks["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)

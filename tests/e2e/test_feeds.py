"""Every kind of feed at once: real calls, the real gateway, and what sites really receive with."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hook import SECRET, Hook, is_signed
from hostile_octets import CORPUS
from https_server import ROOT
from jsonschema import (  # type: ignore[import-untyped] # it ships no types
    Draft202012Validator,
)
from receivers import Logged, Rsyslog, family_of, hep_chunks, listening, need, read_cef

from demo import packets
from demo.clients import Sipp
from demo.gateway import Gateway
from demo.network import Network
from demo.programs import Program, finished, until
from demo.wiretap import Wiretap

pytestmark = pytest.mark.kernel

POLICY = """\
mode enforce
default drop

set phones {{ 10.20.1.0/24 10.20.2.0/24 fd20:1::/64 fd20:2::/64 }}

feed json     "records.jsonl"
feed fail2ban "refused.log"
feed hep      {site}:9060  capture-id 7  password "hep.key"
feed hep      {site}:9061
feed syslog   udp {site}:5514
feed syslog   tcp {site}:5514  cef
feed syslog   local "{work}/log"
feed webhook  "https://{site}:8443/alarm?x=1"  secret "hook.key"  ca "ca.pem"

chain parse
  ambiguous  drop        if ambiguous                              log
  garbage    drop        if malformed                              log
chain request
  scanner    drop        if user_agent in {{ "friendly-scanner*" }}  log alarm
  stranger   reject 403  if src not in phones                      log
  calls      accept      if src in phones                          log
chain response
  answers    accept      if transaction.known
chain media
  plain      reject 488  if not keyed                              log
  sealed     open        if keyed and peer in {{signalling}}         idle 60s
"""
VALIDATOR = Draft202012Validator(
    json.loads(files("sipguard.journal").joinpath("record.schema.json").read_text())
)
COUNT = len(CORPUS) + 4  # records that the traffic below makes
Told = dict[str, Any]


class Site:
    """A gateway, its receivers, and what came to them of some traffic."""

    def __init__(self, network: Network, work: Path, stack: ExitStack) -> None:
        self.network, self.work = network, work
        callee = network.callee
        (work / "hep.key").write_bytes(b"homer's key\n")
        (work / "hook.key").write_bytes(SECRET)
        (work / "ca.pem").write_bytes(ROOT.pem)
        self.rsyslog = stack.enter_context(Rsyslog(callee, work, 5514))
        self.homer = stack.enter_context(packets.Ear(callee, port=9060))
        self.sngrep = work / "sngrep.pcap"
        argv = ["sngrep", "-N", "-q", "-L", f"udp:{callee.ipv4}:9061", "-O", str(self.sngrep)]
        reader = Program(argv, log=work / "sngrep.log", namespace=callee.namespace)
        assert stack.enter_context(reader).listens(9061), reader.text()
        self.hook = Hook(work, lambda: listening(callee, 8443))
        stack.callback(self.hook.stop)
        policy = work / "gateway.policy"
        policy.write_text(POLICY.format(site=callee.ipv4, work=work))
        self.gateway = stack.enter_context(Gateway(network, work, policy=policy))
        self.pids = [str(pid) for pid in family_of(self.gateway.program.pid)]
        self.tap = stack.enter_context(Wiretap(network.gateway, network.elsewhere))
        self.sent: list[bytes] = []

    def records(self) -> dict[str, Told]:
        """What the last JSON line of each id says."""
        return {line["id"]: line for line in self.lines()}

    def lines(self) -> list[Told]:
        file = self.work / "records.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def traffic(self) -> None:
        """A call that passes, one without a key, and scanners with all kinds of names."""
        network = self.network
        caller, stranger, callee = network.caller, network.stranger, network.callee
        with (
            Sipp("callee", callee, self.work) as called,
            Sipp("caller", caller, self.work, towards=callee.ipv4, talk_ms=200) as calling,
        ):
            assert calling.wait(10) == 0, calling.complaint()
            assert called.wait(4) == 0, called.complaint()
        session = packets.session(caller.ipv4, keyed=False)
        plain = packets.request("INVITE", caller.ipv4, callee.ipv4, body=session)
        there = (callee.ipv4, 5060)
        packets.send(caller.namespace, (caller.ipv4, 5060), there, [plain])
        self.sent = [packets.scanner_probe(stranger.ipv4, callee.ipv4)]
        self.sent += [named(name, stranger.ipv4, callee.ipv4) for name in CORPUS.values()]
        packets.send(stranger.namespace, (stranger.ipv4, 5066), there, self.sent,
                     gap_s=0.01, fragment_octets=packets.FRAGMENT_OCTETS)  # fmt: skip
        probe = packets.scanner_probe(f"[{stranger.ipv6}]", f"[{callee.ipv6}]")
        packets.send(stranger.namespace, (stranger.ipv6, 5061), (callee.ipv6, 5060), [probe])


def named(name: bytes, source: str, target: str) -> bytes:
    """Return a scanner's OPTIONS with *name* in From, To, User-Agent and Call-ID.

    sngrep 1.6.0 copies a Call-ID of more than 1,024 octets over its own stack, hence the cut.
    """
    probe, name = packets.scanner_probe(source, target), name[:900]
    for old in (b"sipvicious", b"friendly-scanner"):
        probe = probe.replace(b'"' + old + b'"', old + b" " + name).replace(old, old + b" " + name)
    call_id = packets.call_id(probe).encode("latin-1")
    return probe.replace(call_id, call_id + name)


@pytest.fixture(scope="module")
def site(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site after some traffic, when every receiver has got its part."""
    need("rsyslogd", "sngrep", "tshark")
    with ExitStack() as stack:
        made = Site(network, tmp_path_factory.mktemp("feeds"), stack)
        made.traffic()
        told = made.rsyslog.told
        assert until(lambda: len(made.records()) >= COUNT, 10), made.gateway.text()[-2000:]
        assert until(lambda: all(len(told(by)) >= COUNT for by in ("udp", "tcp", "local")), 10)
        assert until(lambda: len(made.homer.heard) >= COUNT, 5)
        yield made


def refused(site: Site) -> list[Told]:
    return [record for record in site.records().values() if record["verdict"] != "accept"]


def test_json_lines(site: Site) -> None:
    """Each is one that the schema describes, and they are the records that are in the store."""
    lines = site.lines()
    for line in lines:
        VALIDATOR.validate(line)
    assert len(site.records()) == COUNT
    stored = site.gateway.ask("blocked", "--all", "--json").stdout.splitlines()
    assert {json.loads(line)["id"] for line in stored} == set(site.records())
    verdicts = [(line["verdict"], line["rule"]) for line in site.records().values()]
    assert verdicts.count(("accept", "calls")) == 1
    assert verdicts.count(("reject", "plain")) == 1


def test_hep(site: Site) -> None:
    """Ends, time, call and message, as they were on the wire; and whose gateway says so."""
    packets_got = [hep_chunks(packet) for packet in site.homer.heard]
    assert len(packets_got) == COUNT
    for found, record in zip(packets_got, site.records().values(), strict=True):
        family = socket.AF_INET6 if ":" in record["src"] else socket.AF_INET
        v6 = family == socket.AF_INET6
        assert (found[1], found[2], found[11]) == (b"\x0a" if v6 else b"\x02", b"\x11", b"\x01")
        assert socket.inet_ntop(family, found[5 if v6 else 3]) == record["src"]
        assert socket.inet_ntop(family, found[6 if v6 else 4]) == record["dst"]
        assert int.from_bytes(found[7]) == record["src_port"]
        assert int.from_bytes(found[8]) == record["dst_port"]
        assert (int.from_bytes(found[12]), found[14]) == (7, b"homer's key")
        assert found.get(17, b"").decode() == record["call_id"]
    payloads = [chunks[15] for chunks in packets_got]
    assert [sent for sent in site.sent if sent not in payloads] == []


def test_hep_has_the_time_of_the_wire(site: Site) -> None:
    """To a fraction of a second, since Homer orders a ladder by it."""
    seen = {frame.payload: frame.time_s for frame in site.tap.frames if not frame.fragment}
    compared = 0
    for chunks in map(hep_chunks, site.homer.heard):
        if chunks[15] in seen:
            time_s = int.from_bytes(chunks[9]) + int.from_bytes(chunks[10]) / 1e6
            assert abs(time_s - seen[chunks[15]]) < 1.0
            compared += 1
    assert compared > len(CORPUS) // 2


def test_hep_through_another_program(site: Site) -> None:
    """sngrep takes it, writes a capture (IPv4 alone is right in it), and tshark reads that."""
    names = ("ip.src", "ip.dst", "udp.srcport", "udp.dstport", "frame.time_epoch", "udp.payload")
    argv = ["tshark", "-r", str(site.sngrep), "-T", "fields"]
    argv += [word for name in names for word in ("-e", name)]

    def read() -> list[list[str]]:
        return [row.split("\t") for row in finished(argv).stdout.splitlines()]

    assert until(lambda: len(read()) >= COUNT, 10)
    got = [chunks for chunks in map(hep_chunks, site.homer.heard) if 3 in chunks]
    rows = [row for row in read() if row[0] != "0.0.0.0"]
    for row, chunks in zip(rows, got, strict=True):
        ends = [socket.inet_ntoa(chunks[3]), socket.inet_ntoa(chunks[4])]
        assert row[:4] == [*ends, str(int.from_bytes(chunks[7])), str(int.from_bytes(chunks[8]))]
        time_s = int.from_bytes(chunks[9]) + int.from_bytes(chunks[10]) / 1e6
        assert abs(float(row[4]) - time_s) < 1e-5
        assert bytes.fromhex(row[5]) == chunks[15]
    call = bytes.fromhex(rows[0][5])
    assert b"inline:****" in call
    assert int(packets.header(call, "Content-Length")) == len(call.partition(b"\r\n\r\n")[2])


def priority_of(record: Told) -> int:
    if record["alarm"]:
        return 81
    return 86 if record["verdict"] == "accept" else 84


def told_by(site: Site, name: str) -> list[Logged]:
    told = site.rsyslog.told(name)
    assert len(told) == COUNT
    return told


def test_syslog(site: Site) -> None:
    """Every value of the structured data is the record's, as rsyslog reads it."""
    records = site.records()
    for told in told_by(site, "udp"):
        record = records.pop(told.values["id"])
        assert told.priority == priority_of(record)
        assert told.app == "sipguard"
        assert told.pid in site.pids
        assert told.kind == ("accepted" if record["verdict"] == "accept" else "refused")
        for name, key in (("src", "src"), ("dst", "dst"), ("rule", "rule"), ("mode", "mode"),
                          ("verdict", "verdict"), ("reason", "reason"), ("place", "place"),
                          ("method", "method"), ("transport", "transport")):  # fmt: skip
            assert told.values.get(name, "") == record[key]
        assert (told.values["srcPort"], told.values["dstPort"]) == (
            str(record["src_port"]), str(record["dst_port"]),
        )  # fmt: skip
        for name, key in (("caller", "caller"), ("to", "to"), ("callId", "call_id")):
            assert told.values.get(name, "").rstrip("…") == record[key][:200]
        assert f" from {record['src']}:" in told.text
    assert records == {}


def test_common_event_format(site: Site) -> None:
    """Over TCP, each message apart from the next one; severity, ends, rule, call."""
    records = {record["id"]: record for record in site.records().values()}
    for told in told_by(site, "tcp"):
        header, values = read_cef(told.text)
        record = records.pop(values["externalId"])
        assert header[:3] == ["CEF:0", "sipguard", "sipguard"]
        assert header[4] == record["reason"]
        assert header[6] == {81: "9", 84: "6", 86: "2"}[told.priority]
        assert record["src"] == values.get("src", values.get("c6a2"))
        assert (values["cs1"], values["act"]) == (record["rule"], record["applied"])
        assert values.get("cs3", "").rstrip("…") == record["call_id"][:200]
        assert int(values["rt"]) == round(
            datetime.fromisoformat(record["first_time"]).timestamp() * 1000
        )
    assert records == {}


def test_the_machine_s_own_syslog(site: Site) -> None:
    """rsyslog's Unix socket knows the program, the process and the priority."""
    ids = set(site.records())
    for told in told_by(site, "local"):
        (found,) = [one for one in ids if f'[sipguard@32473 id="{one}" ' in told.text]
        ids.remove(found)
        assert told.app == "sipguard"
        assert told.pid in site.pids
        assert told.priority == priority_of(site.records()[found])
    assert ids == set()


def test_webhook(site: Site) -> None:
    """The alarms, each once, signed; what else was refused is not in it."""
    alarms = [record for record in site.records().values() if record["alarm"]]
    assert until(lambda: len(site.hook.got) >= len(alarms), 10)
    assert 2 <= len(site.hook.got) == len(alarms) < COUNT
    for headers, body in site.hook.got:
        told = json.loads(body)
        VALIDATOR.validate(told)
        assert is_signed(headers, body)
        assert headers["X-Sipguard-Delivery"] == told["id"]
        signed_s = int(headers["X-Sipguard-Signature"].removeprefix("t=").split(",")[0])
        assert abs(signed_s - time.time()) < 120
        assert told["call_id"] == site.records()[told["id"]]["call_id"]


def test_the_line_for_fail2ban(site: Site) -> None:
    """One for each refusal, with the packet's own source, whatever the packet says."""
    rows = (site.work / "refused.log").read_text().splitlines()
    assert len(rows) == len(refused(site)) == COUNT - 1
    told = {row.partition(" id=")[2].split()[0]: row for row in rows}
    for record in refused(site):
        assert f" sipguard[refused]: src={record['src']} verdict=" in told[record["id"]]


def test_nothing_of_it_is_in_the_log(site: Site) -> None:
    """All went well, and a line for each alarm would be an attacker's way to fill the disk."""
    log = site.gateway.text()
    assert "feed " not in log
    assert "Starting factory" not in log
    assert "Traceback" not in log

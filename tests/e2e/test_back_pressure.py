"""Receivers that hang, do not read or are gone cost their own records, and no call anything."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hook import SECRET
from https_server import ROOT
from receivers import family_of, listening

from demo import packets
from demo.gateway import Gateway
from demo.network import Network
from demo.programs import until
from demo.wiretap import Wiretap

pytestmark = pytest.mark.kernel

KINDS = 40  # of scanners, each with its rule: records of one rule are bounded by the minute
SCANNERS = "".join(
    f'  scanner{n}  drop  if user_agent == "scanner{n}"  log alarm\n' for n in range(KINDS)
)
RULES = f"""\
mode enforce
default drop
chain request
{SCANNERS}
  calls      accept  if method == OPTIONS
chain response
  answers    accept  if transaction.known
"""
FEEDS = """\
feed json     "pipe"
feed syslog   tcp {site}:5514
feed syslog   tcp {site}:5515  cef
feed syslog   local "{work}/log"
feed hep      {site}:9060
feed webhook  "https://{site}:8443/alarm"  secret "hook.key"  ca "ca.pem"
"""
WHY = {"9060": "refused", "5515": "refused", "pipe": "nobody reads"}
CALLS, EVERY_S = 200, 0.008
FLOOD, SOURCES = 600, 200


class Felt(NamedTuple):
    """What honest requests felt: the seconds that they spent in the gateway, and its memory."""

    p99_s: float
    arrived: int
    rss_kib: int


def felt(network: Network, gateway: Gateway) -> Felt:
    """Send honest requests while many scanners knock."""
    caller, callee, stranger = network.caller, network.callee, network.stranger
    there = (callee.ipv4, 5060)
    asked = [packets.request("OPTIONS", caller.ipv4, callee.ipv4) for _ in range(CALLS)]

    def knock() -> None:
        for number in range(FLOOD):
            source = f"10.20.3.{2 + number % SOURCES}"
            probe = packets.scanner_probe(source, callee.ipv4)
            probe = probe.replace(b"friendly-scanner", b"scanner%d" % (number % KINDS))
            packets.send(stranger.namespace, (source, 5060), there, [probe])

    with (
        Wiretap(network.gateway, network.outside) as before,
        Wiretap(network.gateway, network.inside) as after,
    ):
        scanners = threading.Thread(target=knock)
        scanners.start()
        packets.send(caller.namespace, (caller.ipv4, 5060), there, asked, gap_s=EVERY_S)
        scanners.join()
        until(lambda: len(after.sip(b"OPTIONS", source=caller.ipv4)) >= CALLS, 2)
    came = {frame.payload: frame.time_s for frame in before.frames}
    went = {frame.payload: frame.time_s for frame in after.frames}
    spent = sorted(went[one] - came[one] for one in asked if one in went)
    rss_kib = sum(map(rss_kib_of, family_of(gateway.program.pid)))
    return Felt(spent[int(len(spent) * 0.99)], len(spent), rss_kib)


def rss_kib_of(pid: int) -> int:
    """Return how much memory a process has."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


@contextmanager
def bad_receivers(network: Network, work: Path) -> Iterator[None]:
    """Nobody of these takes anything: of 5515 and 9060 not even a socket is there."""
    os.mkfifo(work / "pipe")
    (work / "hook.key").write_bytes(SECRET)
    (work / "ca.pem").write_bytes(ROOT.pem)
    with (
        listening(network.callee, 5514),
        listening(network.callee, 8443),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local,
    ):
        local.bind(str(work / "log"))
        yield


class Feeds(NamedTuple):
    """What the gateway says of its feeds, by the end of their names."""

    gateway: Gateway

    def told(self) -> dict[str, dict[str, object]]:
        """Return state by kind and port."""
        status = json.loads((self.gateway.state / "status.json").read_text())
        return {feed["name"].replace("/", ":").split(":")[-1]: feed for feed in status["feeds"]}

    def warnings(self) -> list[str]:
        """Return what the log says of them."""
        lines = self.gateway.text().splitlines()
        return [line.partition("] ")[2] for line in lines if "] feed " in line]


def test_calls_feel_nothing_of_it(network: Network, tmp_path: Path) -> None:
    """Latency and memory are as without feeds; what is lost is counted, and told once."""
    policy = tmp_path / "gateway.policy"
    with ExitStack() as stack:
        stack.enter_context(bad_receivers(network, tmp_path))
        policy.write_text(RULES)
        gateway = stack.enter_context(Gateway(network, tmp_path, policy=policy))
        feeds = Feeds(gateway)
        without = [felt(network, gateway) for _ in range(2)]
        plain, rss_kib = min(without), max(one.rss_kib for one in without)
        policy.write_text(FEEDS.format(site=network.callee.ipv4, work=tmp_path) + RULES)
        gateway.reload()
        assert gateway.logged("policy reloaded")
        # A wait for any of them would be far more, and each time; another program's moment is not.
        limit_s = 2 * plain.p99_s + 0.02
        rounds = (felt(network, gateway) for _ in range(3))
        fed = next((one for one in rounds if one.p99_s < limit_s), None)
        assert fed, plain
        assert (plain.arrived, fed.arrived) == (CALLS, CALLS)
        assert fed.rss_kib < rss_kib + 20_000, (without, fed)
        told: dict[str, dict[str, object]] = {}

        def is_told() -> bool:
            told.update(feeds.told())
            return told.get("9060", {}).get("dropped", 0) != 0 and all(
                words in str(told[name]["error"]) for name, words in WHY.items()
            )

        assert until(is_told, 12), told
        waiting = {name: int(str(feed["waiting"])) for name, feed in told.items()}
        assert min(waiting[name] for name in ("pipe", "5515", "log", "webhook 10.20.2.2")) > 50
        warned = [line.split(": ")[0].rpartition("/")[2] for line in feeds.warnings()]
        wanted = {"feed hep 10.20.2.2:9060", "feed syslog tcp 10.20.2.2:5515", "pipe"}
        assert set(warned) - {"feed webhook 10.20.2.2"} == wanted  # it hangs for 15 s at first
        assert len(set(warned)) == len(warned)
        lines = read_until_it_goes_on(tmp_path / "pipe", gateway, waiting["pipe"])
        assert all(json.loads(line)["id"] for line in lines)


def read_until_it_goes_on(pipe: Path, gateway: Gateway, count: int) -> list[bytes]:
    """Read at last; return the lines that had waited, and see that the log says it is over."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    got = bytearray()

    def is_over() -> bool:
        with suppress(BlockingIOError):
            got.extend(os.read(reader, 1 << 20))
        is_told = "pipe goes on (0 lost meanwhile)" in gateway.text()
        return is_told and got.count(b"\n") >= count

    try:
        assert until(is_over, 10), gateway.text()[-2000:]
    finally:
        os.close(reader)
    return bytes(got).split(b"\n")[:count]

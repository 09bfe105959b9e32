"""Media through open pinholes, against plain routing of the same packets.

The generator has one core; the gateway's forwarding has the other, as a thread of the kernel whose
time is its own (threaded NAPI). Both run before the machine's other work for the second it takes.
At a gigabit's line rate the packets that come through count; what forwarding one costs is told
beside it, for that decides how far beyond a gateway can go.

"Within 10 % of plain routing" is held by the direct path (``media-path direct``), with all that
one core forwards. The routed way costs more than that: a look into two sets and what keeps them
alive, for each packet. At a gigabit's line rate one core has the time for it, and is held to the
same; beyond, its share is told without a limit.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.gateways import ROUTING, gateway
from bench.generator import BUILD
from bench.kernel import GATEWAY_CORE, GENERATOR_CORE
from bench.network import (
    CALLEE,
    CALLEE_LINK,
    CALLER,
    CALLER_LINK,
    FIRST_CALLEE,
    FIRST_CALLER,
    GATEWAY,
    HOSTS,
    run,
    within,
)
from bench.report import Figure, progress

HOLES: Final = 50_000
LIMIT: Final = 0.9
SOURCE: Final = Path(__file__).with_name("media.c")
# 182 octets of SRTP and tag, 28 of UDP and IP, 38 of Ethernet with preamble and gap.
LINE_RATE: Final = 10**9 // (8 * (182 + 28 + 38))
_ELSEWHERE: Final = "02:00:00:00:00:99"  # no station has it: the far end drops it at first sight
_PRIORITY: Final = 10
# As long as it takes on the direct path until each stream has sent a packet the routed way: a
# shorter window has too many of them, or none.
_TURN_S: Final = 2.0
_WAYS: Final = ("routing", "pinholes", "proven", "direct")


class Passed(NamedTuple):
    """What became of one round's packets."""

    sent_per_s: float
    passed_per_s: float
    packet_ns: float  # of the gateway's core


def why_not() -> str:
    """Say what is missing, if anything is."""
    missing = [tool for tool in ("ethtool", "chrt") if not shutil.which(tool)]
    return f"media through pinholes: needs {', '.join(missing)}" if missing else ""


def _build() -> Path:
    program = BUILD / "media"
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        run("gcc", "-O2", "-Wall", "-Wextra", "-std=gnu11", "-o", str(program), str(SOURCE))
    return program


def _read(namespace: str, path: str) -> str:
    return run(*within(namespace, "cat", f"/sys/class/net/{path}")).strip()


@contextmanager
def _forwarder() -> Iterator[int]:
    """Have the gateway forward in a thread of its own, to neighbors that discard; yield it."""
    try:
        yield _forwarding_thread()
    finally:  # calls that are played later must arrive
        run("ip", "-n", GATEWAY, "neigh", "flush", "dev", CALLEE_LINK, "nud", "permanent")
        run(*within(GATEWAY, "sh", "-c", f"echo 0 > /sys/class/net/{CALLER_LINK}/threaded"))


def _forwarding_thread() -> int:
    run(*within(GATEWAY, "ethtool", "-K", CALLER_LINK, "gro", "on"))
    run(*within(GATEWAY, "sh", "-c", f"echo 1 > /sys/class/net/{CALLER_LINK}/threaded"))
    for number in range(HOSTS):
        prefix, last = FIRST_CALLEE.rsplit(".", 1)
        neighbor = ["neigh", "replace", f"{prefix}.{int(last) + number}", "lladdr", _ELSEWHERE]
        run("ip", "-n", GATEWAY, *neighbor, "dev", CALLEE_LINK, "nud", "permanent")
    for comm in Path("/proc").glob("[0-9]*/comm"):
        if comm.read_text().startswith(f"napi/{CALLER_LINK}"):
            thread = int(comm.parent.name)
            os.sched_setaffinity(thread, {GATEWAY_CORE})
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(_PRIORITY))
            return thread
    raise RuntimeError("this kernel has no threaded NAPI")


def _spent_ns(thread: int) -> int:
    return int(Path(f"/proc/{thread}/schedstat").read_text().split()[0])


def _play(thread: int, seconds: float, rate: float) -> Passed:
    macs = _read(CALLER, "eth0/address"), _read(GATEWAY, f"{CALLER_LINK}/address")
    command = ["chrt", "-f", str(_PRIORITY), "taskset", "-c", str(GENERATOR_CORE)]
    command += [str(_build()), CALLER, "eth0", *macs]
    command += [FIRST_CALLER, FIRST_CALLEE, str(HOSTS), str(HOLES), str(seconds), str(rate)]
    before, before_ns = int(_read(CALLEE, "eth0/statistics/rx_packets")), _spent_ns(thread)
    told = json.loads(run(*command))
    time.sleep(0.1)
    passed = int(_read(CALLEE, "eth0/statistics/rx_packets")) - before
    packet_ns = (_spent_ns(thread) - before_ns) / max(passed, 1)
    return Passed(told["sent"] / told["elapsed_s"], passed / told["elapsed_s"], packet_ns)


@contextmanager
def _opened(way: str) -> Iterator[None]:
    command = within(GATEWAY, sys.executable, "-P", "-m", "bench.media_holes", str(HOLES), way)
    if way != "direct":
        if way != "routing":
            subprocess.run(command, check=True)
        yield
        return
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        said = process.stdout.readline() if process.stdout is not None else ""
        if not said.startswith("direct"):
            raise RuntimeError(f"the direct path is not there: {said.strip() or 'see above'}")
        yield


def measure(rounds: int, seconds: float) -> list[Figure]:
    """Forward the same packets by each way in turn, at line rate and as many as there come."""
    at_line_rate: dict[str, list[Passed]] = {way: [] for way in _WAYS}
    at_most: dict[str, list[Passed]] = {way: [] for way in _WAYS}
    with _forwarder() as thread:
        for number in range(rounds):
            _round(thread, seconds, at_line_rate, at_most, f"round {number + 1} of {rounds}")
    return _compare(at_line_rate, at_most)


def _round(
    thread: int,
    seconds: float,
    at_line_rate: dict[str, list[Passed]],
    at_most: dict[str, list[Passed]],
    which: str,
) -> None:
    for way in _WAYS:
        # The first clears the rules of the way before.
        with gateway(ROUTING, GATEWAY_CORE), _opened(way):
            _play(thread, 0.3, LINE_RATE)
            at_line_rate[way].append(_play(thread, seconds, LINE_RATE))
            at_most[way].append(_play(thread, max(seconds, _TURN_S), 0))
        most = at_most[way][-1]
        progress(
            f"{which}: media by {way}: "
            f"{at_line_rate[way][-1].passed_per_s:,.0f}/s of a gigabit's, "
            f"{most.passed_per_s:,.0f}/s of {most.sent_per_s:,.0f}/s, {most.packet_ns:.0f} ns"
        )


def _compare(
    at_line_rate: dict[str, list[Passed]], at_most: dict[str, list[Passed]]
) -> list[Figure]:
    through = {way: median(one.passed_per_s for one in each) for way, each in at_line_rate.items()}
    shares = [
        proven.passed_per_s / routed.passed_per_s
        for proven, routed in zip(at_line_rate["proven"], at_line_rate["routing"], strict=True)
    ]
    packet_ns = {way: median(one.packet_ns for one in each) for way, each in at_most.items()}
    most = {way: median(one.passed_per_s for one in each) for way, each in at_most.items()}
    what = f"media through {HOLES:,} proven pinholes, to plain routing"
    return [
        Figure(
            f"{what}: at a gigabit's line rate",
            median(shares),
            "x",
            above=LIMIT,
            detail=f"{through['proven']:,.0f} and {through['routing']:,.0f} packets/s of "
            f"{LINE_RATE:,}",
        ),
        Figure(
            f"{what}: all that one core forwards, directly",
            median(
                direct.passed_per_s / routed.passed_per_s
                for direct, routed in zip(at_most["direct"], at_most["routing"], strict=True)
            ),
            "x",
            above=LIMIT,
            detail=f"direct {most['direct']:,.0f}/s, {packet_ns['direct']:.0f} ns a packet",
        ),
        Figure(
            f"{what}: all that one core forwards",
            most["proven"] / most["routing"],
            "x",
            detail=", ".join(f"{way} {most[way]:,.0f}/s" for way in _WAYS),
        ),
        Figure(
            f"{what}: the gateway's CPU of one packet",
            packet_ns["proven"] / packet_ns["routing"],
            "x",
            detail=", ".join(f"{way} {packet_ns[way]:.0f} ns" for way in _WAYS),
        ),
    ]

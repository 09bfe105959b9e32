"""SIP over TCP: the same calls by one connection and by a thousand, through us and through a rival.

How each figure is taken:

- *calls/s without loss*: as over UDP (``kernel``): as many calls as the gateway carries with so
  many in flight, then rates going down from there until no call is lost or late (1 s). All calls go
  by connections that stand before the clock starts: one, or a thousand from eight addresses.
  sipguard makes each of them anew towards the callee; Kamailio gathers them in one for each callee.
- *CPU of a message*: the processor time of the gateway's processes while it is saturated, by the
  messages that came through. The UDP path is measured in the same gateway process, with the same
  policy, and messages that differ in the transport that they name.
- *a flood of connects*: ten thousand at once from thousands of addresses, which stay open and say
  nothing, while calls go on over another connection. The limit on connections stays the default.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import IO, Final, NamedTuple

from bench.gateways import KAMAILIO_STREAMS, Running, Variant, gateway
from bench.generator import Lines, Load, Played, line_player, play
from bench.kernel import (
    GATEWAY_CORE,
    GENERATOR_CORE,
    IN_FLIGHT,
    RATE_STEPS,
    WARM_UP,
    await_quiet,
)
from bench.network import ATTACKERS, CALLER, FIRST_ATTACKER, FIRST_CALLEE, within
from bench.report import Figure, progress, spread

CONNECTIONS: Final = (1, 1000)
CPU_LIMIT: Final = 3.0  # times the UDP path's
FLOOD_CONNECTS: Final = 10_000
FLOOD_CALLS_PER_S: Final = 200
GROWTH_LIMIT_MB: Final = 400.0  # of a flood that the limits on connections bound
_SETTLE_S: Final = 1.5  # for connections that end


class Sample(NamedTuple):
    """What one round found out about one gateway with so many connections."""

    cpu_us: float
    calls_per_s: float  # most without loss
    calls_per_cpu_s: float


class Found(NamedTuple):
    """One round: UDP through sipguard, and TCP through each gateway by number of connections."""

    udp_us: float
    samples: dict[tuple[str, int], Sample]


@contextmanager
def _lines(running: Running, connections: int) -> Iterator[Lines]:
    with line_player(connections, GENERATOR_CORE, running.variant.proxy) as lines:
        lines.play(Load(0.4, rate=300))
        yield lines
    time.sleep(_SETTLE_S)


def _most_without_loss(running: Running, connections: int, start: float, seconds: float) -> float:
    """Return the highest rate without loss; a connection that lost something may be at its end."""
    for step in RATE_STEPS:
        with _lines(running, connections) as lines:
            played = lines.play(Load(seconds, rate=start * step))
        kept_up = played.completed >= 0.97 * start * step * seconds
        if kept_up and not played.lost and not played.refused:
            return start * step
    return 0.0


def _sample(running: Running, connections: int, seconds: float) -> Sample:
    with _lines(running, connections) as lines:
        before_s = running.cpu_s()
        played = lines.play(Load(seconds, in_flight=IN_FLIGHT))
        spent_s = running.cpu_s() - before_s
    if not played.completed:
        raise RuntimeError(f"no call got through {running.variant.name}: {played}")
    most = _most_without_loss(running, connections, played.calls_per_s, seconds)
    cpu_us = spent_s * 1e6 / played.received
    return Sample(cpu_us, most, played.completed / spent_s)


def _udp_us(running: Running, seconds: float) -> float:
    """Return what a message costs over UDP, in the same process."""
    play(WARM_UP, GENERATOR_CORE)
    before_s = running.cpu_s()
    played = play(Load(seconds, in_flight=IN_FLIGHT), GENERATOR_CORE)
    spent_s = running.cpu_s() - before_s
    if not played.completed:
        raise RuntimeError(f"no call got through {running.variant.name} over UDP: {played}")
    return spent_s * 1e6 / played.received


def _round(variant: Variant, rival: bool, seconds: float) -> Found:
    samples: dict[tuple[str, int], Sample] = {}
    udp_us = 0.0
    for each in (variant, KAMAILIO_STREAMS) if rival else (variant,):
        await_quiet()
        with gateway(each, GATEWAY_CORE) as running:
            if each is variant:
                udp_us = _udp_us(running, seconds)
            for connections in CONNECTIONS:
                sample = _sample(running, connections, seconds)
                samples[each.name, connections] = sample
                progress(
                    f"{each.name}: {_over(connections)}: {sample.cpu_us:.1f} us/message, "
                    f"{sample.calls_per_s:,.0f} calls/s without loss"
                )
    progress(f"{variant.name}: over UDP: {udp_us:.1f} us/message")
    return Found(udp_us, samples)


def _over(connections: int) -> str:
    return f"over {connections:,} TCP connection{'s' * (connections > 1)}"


def measure(variant: Variant, rival: bool, rounds: int, seconds: float) -> list[Figure]:
    """Play calls over TCP through sipguard, and through Kamailio if it is there, in turns."""
    found = [_round(variant, rival, seconds) for _ in range(rounds)]
    figures = []
    for connections in CONNECTIONS:
        figures += _compare(found, variant.name, connections, rival)
    return figures


def _compare(found: list[Found], own: str, connections: int, rival: bool) -> list[Figure]:
    ours = [each.samples[own, connections] for each in found]
    ratios = [sample.cpu_us / each.udp_us for sample, each in zip(ours, found, strict=True)]
    costs = f"{median(sample.cpu_us for sample in ours):.1f} us, "
    costs += f"UDP {median(each.udp_us for each in found):.1f} us; {spread(ratios)}"
    over = _over(connections)
    cpu = Figure(
        f"CPU of a SIP message {over}, to UDP's", median(ratios), "x", below=CPU_LIMIT, detail=costs
    )
    most = median(sample.calls_per_s for sample in ours)
    what = f"calls/s without loss {over}"
    detail = spread([sample.calls_per_s for sample in ours])
    if not rival:
        return [cpu, Figure(f"{what}, {own}", most, "", detail=detail)]
    theirs = [each.samples[KAMAILIO_STREAMS.name, connections] for each in found]
    rival_most = median(sample.calls_per_s for sample in theirs)
    by_cpu = [a.calls_per_cpu_s / b.calls_per_cpu_s for a, b in zip(ours, theirs, strict=True)]
    their_detail = spread([sample.calls_per_s for sample in theirs])
    return [
        cpu,
        Figure(f"{what}, {own}", most, "", above=rival_most, detail=detail),
        Figure(f"{what}, {KAMAILIO_STREAMS.name}", rival_most, "", detail=their_detail),
        Figure(f"calls per CPU second {over}, to Kamailio's", median(by_cpu), "x",
               detail=spread(by_cpu)),
    ]  # fmt: skip


# --- many connects at once


@contextmanager
def _flood(connects: int) -> Iterator[IO[str]]:
    """Begin so many connects at once, and keep what stands until the end."""
    command = within(CALLER, "taskset", "-c", str(GENERATOR_CORE), sys.executable, "-P", "-m")
    command += ["bench.stream_peers", "flood", FIRST_CALLEE, "5060", str(connects)]
    command += [FIRST_ATTACKER, str(ATTACKERS)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the flood did not begin")
        process.stdin.write("go\n")
        process.stdin.flush()
        yield process.stdout
    finally:
        process.communicate("end\n")


def flood(variant: Variant, seconds: float) -> list[Figure]:
    """Open ten thousand connections at once while calls go on over another one."""
    load = Load(seconds, rate=FLOOD_CALLS_PER_S, timed=True)
    with gateway(variant, GATEWAY_CORE) as running, line_player(1, GENERATOR_CORE, "") as lines:
        lines.play(Load(0.4, rate=300))
        quiet = lines.play(load)
        before_mb = running.resident_mb()
        with _flood(FLOOD_CONNECTS) as said:
            beside = lines.play(load)
            opened = json.loads(said.readline())
            grown_mb = running.resident_mb() - before_mb
    detail = f"{_latency(beside)}; in quiet {_latency(quiet)}; at {FLOOD_CALLS_PER_S} calls/s"
    what = f"beside {FLOOD_CONNECTS:,} connects at once"
    grown = f"{opened['connected']:,} connected, {opened['open']:,} not closed 1.5 s later"
    return [
        Figure(f"calls lost {what}", beside.lost + beside.refused, "", below=1, detail=detail),
        Figure(f"memory more {what}", grown_mb, "MB", below=GROWTH_LIMIT_MB, detail=grown),
    ]


def _latency(played: Played) -> str:
    every = played.latency_us["all"]
    return f"p50 {every['p50']:.0f} us, p99 {every['p99']:.0f} us, most {every['max']:.0f} us"

"""Measurements through the real NFQUEUE: calls from namespace to namespace, variants in turn.

Rounds are interleaved and medians taken, because the machine's other work comes and goes; what
counts are the ratios of one run, not the absolute figures.
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.gateways import ACCEPT_ALL, KAMAILIO, ROUTING, Running, Variant, gateway
from bench.generator import HELD_MESSAGES_PER_CALL, MESSAGES_PER_CALL, Load, Played, play
from bench.network import GATEWAY, run, within
from bench.report import Figure, progress

GENERATOR_CORE, GATEWAY_CORE = 0, 1
IN_FLIGHT = 64  # keeps every variant busy, and overruns no socket's buffer
WARM_UP = Load(0.4, rate=500)
RATE_STEPS = (1.0, 0.92, 0.85, 0.77, 0.7, 0.6, 0.5, 0.4)
QUIET_SHARE, QUIET_TRIES = 0.85, 12
HELD_CALLS = 100_000
MEMORY_LIMIT_MB = 400.0
CPU_LIMIT = 4.0  # times the accept-all reader
PINHOLE_LIMIT_US = 60.0
ELEMENT_LIMIT_US = 40.0
SETS_PRESENT = 100_000
PINHOLE_CHANGES = 8  # RTP and RTCP, both directions, opened and closed


class Sample(NamedTuple):
    """What one round found out about one variant."""

    cpu_us: float  # of the gateway, for each message, at saturation
    busy: float  # share of its core
    calls_per_s: float  # most without loss
    p50_us: float  # one way through the gateway, at half that rate
    p99_us: float


_Found = dict[str, list[Sample]]


def _proxied(load: Load, variant: Variant) -> Played:
    return play(load._replace(proxy=variant.proxy), GENERATOR_CORE)


def _saturate(running: Running, seconds: float) -> tuple[float, float, float]:
    """Return CPU microseconds for each message, the core's share in use, and calls/s."""
    before_s = running.cpu_s()
    played = _proxied(Load(seconds, in_flight=IN_FLIGHT), running.variant)
    spent_s = running.cpu_s() - before_s
    if not played.completed:
        raise RuntimeError(f"no call got through {running.variant.name}: {played}")
    return spent_s * 1e6 / played.received, spent_s / played.elapsed_s, played.calls_per_s


def _most_without_loss(running: Running, start: float, seconds: float) -> float:
    """Return the highest rate tried, going down from *start*, at which no call was lost."""
    for step in RATE_STEPS:
        played = _proxied(Load(seconds, rate=start * step), running.variant)
        kept_up = played.completed >= 0.97 * start * step * seconds
        if kept_up and not played.lost and not played.refused:
            return start * step
    return 0.0


def _latency(variant: Variant, rate: float, seconds: float) -> tuple[float, float]:
    """Return the median and the 99th percentile of the one-way times, in microseconds."""
    every = _proxied(Load(seconds, rate=rate, timed=True), variant).latency_us["all"]
    return every["p50"], every["p99"]


def _idle_share(seconds: float) -> float:
    """Return which share of the processors' time nobody used."""

    def read() -> list[int]:
        return [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]

    before = read()
    time.sleep(seconds)
    spent = [after - start for start, after in zip(before, read(), strict=True)]
    return (spent[3] + spent[4]) / max(sum(spent), 1)


def await_quiet() -> None:
    """Wait a little for the machine's other work to pause: it would cost one variant its rate."""
    for _ in range(QUIET_TRIES):
        if _idle_share(0.25) > QUIET_SHARE:
            return
    progress("the machine has other work to do; figures will be worse than they are")


def _sample(variant: Variant, seconds: float) -> Sample:
    await_quiet()
    with gateway(variant, GATEWAY_CORE) as running:
        _proxied(WARM_UP, variant)
        cpu_us, busy, calls_per_s = _saturate(running, seconds)
        most = _most_without_loss(running, calls_per_s, seconds)
        p50_us, p99_us = _latency(variant, max(most, 100) / 2, seconds)
        return Sample(cpu_us, busy, most, p50_us, p99_us)


def _routing_us(rate: float, seconds: float) -> float:
    """Return the 99th percentile of the way through the kernel alone."""
    with gateway(ROUTING, GATEWAY_CORE):
        return _latency(ROUTING, rate, seconds)[1]


def measure(
    sipguard: Variant, rival: bool, rounds: int, seconds: float, pinholes_us: float
) -> list[Figure]:
    """Play calls through each variant in turn, and compare.

    Args:
        sipguard: How to start it.
        rival: Whether Kamailio takes part.
        rounds: How often each variant has its turn.
        seconds: How long each single measurement lasts.
        pinholes_us: What the kernel's sets cost for one call where many packets wait; it has a
            limit of its own.
    """
    variants = [ACCEPT_ALL, sipguard] + ([KAMAILIO] if rival else [])
    found: _Found = defaultdict(list)
    routing_us = []
    for number in range(rounds):
        for variant in variants:
            sample = _sample(variant, seconds)
            found[variant.name].append(sample)
            progress(
                f"round {number + 1} of {rounds}: {variant.name}: {sample.cpu_us:.1f} us/message, "
                f"{sample.calls_per_s:,.0f} calls/s without loss, p99 {sample.p99_us:.0f} us"
            )
        routing_us.append(_routing_us(found[sipguard.name][-1].calls_per_s / 2, seconds))
    figures = _compare_cpu(found, sipguard.name, pinholes_us / MESSAGES_PER_CALL)
    return figures + _compare_pace(found, sipguard.name, median(routing_us), rival)


def _compare_cpu(found: _Found, own: str, pinholes_us: float) -> list[Figure]:
    """Compare what a message costs; a message's share of the pinholes can be left out."""
    pairs = list(zip(found[own], found[ACCEPT_ALL.name], strict=True))
    whole = median(ours.cpu_us / least.cpu_us for ours, least in pairs)
    judged = median((ours.cpu_us - pinholes_us) / least.cpu_us for ours, least in pairs)
    detail = ", ".join(
        f"{name} {median(s.cpu_us for s in samples):.1f} us at "
        f"{median(s.busy for s in samples):.0%} of a core"
        for name, samples in found.items()
    )
    what = "CPU of a SIP message, to an accept-all reader's"
    share = f"less {pinholes_us:.1f} us for pinholes, which have a limit of their own"
    return [
        Figure(f"{what}: judging it", judged, "x", below=CPU_LIMIT, detail=share),
        Figure(f"{what}: all told", whole, "x", detail=detail),
    ]


def _compare_pace(found: _Found, own: str, routing_us: float, rival: bool) -> list[Figure]:
    """Compare calls per second, and the time that a message takes longer than through a router."""
    most = {name: median(s.calls_per_s for s in samples) for name, samples in found.items()}
    added = {
        name: median(sample.p99_us for sample in samples) - routing_us
        for name, samples in found.items()
    }
    figures = []
    rival_most = most[KAMAILIO.name] if rival else None
    rival_added = added[KAMAILIO.name] if rival else None
    for name in found:
        above = rival_most if name == own else None
        figures.append(Figure(f"calls/s without loss, {name}", most[name], "", above=above))
    for name in found:
        below = rival_added if name == own else None
        median_us = median(sample.p50_us for sample in found[name])
        half = f"at {most[name] / 2:,.0f} calls/s; median of the whole way {median_us:.0f} us"
        what = f"p99 added latency at half load, {name}"
        figures.append(Figure(what, added[name], "us", below=below, detail=half))
    return figures


def hold_calls(sipguard: Variant, rate: float, calls: int) -> Figure:
    """Leave calls up in the real service and see what memory it keeps."""
    with gateway(sipguard, GATEWAY_CORE) as running:
        before_mb = running.resident_mb()
        load = Load(calls / rate + 30, rate=rate, calls=calls, hold=True)
        played = play(load, GENERATOR_CORE)
        after_mb = running.resident_mb()
    detail = (
        f"{played.completed:,} up of {played.begun:,}, {before_mb:.0f} MB before, "
        f"{played.received / HELD_MESSAGES_PER_CALL / max(played.elapsed_s, 1e-9):,.0f} calls/s"
    )
    limit = MEMORY_LIMIT_MB if played.completed >= 0.999 * HELD_CALLS else None
    what = f"resident memory with {calls:,} calls up"
    return Figure(what, after_mb, "MB", below=limit, detail=detail)


def pinholes(calls: int = 10_000) -> list[Figure]:
    """Time the sets in the kernel, in a namespace whose rules nobody else uses."""
    with gateway(ROUTING, GATEWAY_CORE):  # no rules but those that the program installs
        command = within(GATEWAY, "taskset", "-c", str(GATEWAY_CORE), sys.executable)
        said = json.loads(run(*command, "-P", "-m", "bench.pinholes", str(calls)))
    each = said["call_us"] / PINHOLE_CHANGES
    detail = f"{PINHOLE_CHANGES} set elements, {said['refused']} refused"
    what = "pinhole work of one call: open and close, both directions"
    return [
        Figure(what, said["call_us"], "us", below=PINHOLE_LIMIT_US, detail=detail),
        Figure("the same where many packets wait", said["shared_us"], "us"),
        Figure("one set element", each, "us"),
    ]


def set_changes(present: int = SETS_PRESENT) -> list[Figure]:
    """Compare our messages to libraries, with many pinholes open."""
    with gateway(ROUTING, GATEWAY_CORE):
        command = within(GATEWAY, "taskset", "-c", str(GATEWAY_CORE), sys.executable)
        said = json.loads(run(*command, "-P", "-m", "bench.set_changes", str(present)))
    own, whole = said.pop("own messages"), said.pop("whole")
    what = f"with {present:,} pinholes open"
    figures = [
        Figure(f"one set element {what}", own, "us", below=ELEMENT_LIMIT_US),
        Figure(f"one pinhole {what}: opened, proven, closed, counted", whole, "us"),
    ]
    for name, library_us in said.items():
        detail = f"{library_us:.1f} us"
        figures.append(
            Figure(f"the same element by {name}, to ours", library_us / own, "x", detail=detail)
        )
    return figures


def state_folder(base: Path) -> Path:
    """Return a folder for the service's records, empty of those of earlier runs."""
    folder = base / "state"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.is_file():
            old.unlink()
    return folder

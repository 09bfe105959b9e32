"""Measurements that need no kernel: parse, judge, guard, replay of a capture, memory.

Every message is of a call of its own, so no cache answers what a live gateway would have to read.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

from bench.gateways import POLICY
from bench.report import Figure, progress
from bench.traffic import KINDS, datagrams, packets, write_capture
from sipguard.guard import Guard
from sipguard.moment import Moment
from sipguard.policy.load import load_policy
from sipguard.policy.rules import Policy
from sipguard.policy.subject import Subject
from sipguard.rates import Rates
from sipguard.verdict import Action
from sipguard.wire import sip
from sipguard.wire.packet import Packet
from sipguard.wire.sdp import parse_sdp
from sipguard.wire.sip import parse_message

REPLAY_LIMIT: Final = 20_000.0  # messages/s
MEMORY_LIMIT_MB: Final = 400.0
DIALOGS: Final = 100_000
_Item = TypeVar("_Item")
_GROUP: Final = 64  # calls in flight at a time
_START: Final = Moment(1000.0, 1_700_000_000.0)


def is_compiled() -> bool:
    """Tell whether the message parser that runs here is compiled (as a wheel installs it)."""
    return not (sip.__file__ or "").endswith(".py")


def bench_policy() -> Policy:
    """Return the thirty rules."""
    return load_policy(str(POLICY), lambda name: Path(name).read_text(encoding="utf-8"))


def _each_us(work: Callable[[_Item], object], items: Sequence[_Item]) -> float:
    """Return the CPU time of one call of *work*, in microseconds."""
    start_ns = time.thread_time_ns()
    for item in items:
        work(item)
    return (time.thread_time_ns() - start_ns) / 1000 / len(items)


def _parse_figures(calls: int) -> list[Figure]:
    """Time the reading of messages, in the order in which a call sends them."""
    spent: dict[str, list[float]] = {kind: [] for kind in KINDS}
    bodies = []
    for start in range(0, calls, _GROUP):
        group = [packets(number) for number in range(start, start + _GROUP)]
        for step, kind in enumerate(KINDS):
            payloads = [rows[step].payload for rows in group]
            spent[kind].append(_each_us(parse_message, payloads))
        bodies += [rows[0].payload.partition(b"\r\n\r\n")[2] for rows in group]
    medians = {kind: median(times) for kind, times in spent.items()}
    detail = ", ".join(f"{kind} {time_us:.1f}" for kind, time_us in medians.items())
    mean = sum(medians.values()) / len(KINDS)
    return [
        Figure("parse one message, mean of a call", mean, "us", detail=detail),
        Figure("parse one session description", _each_us(parse_sdp, bodies), "us"),
    ]


def _policy_figure(policy: Policy, calls: int) -> Figure:
    """Time the request chain on INVITEs that pass all rules but the last ones."""
    subjects = []
    for number in range(calls):
        packet: Packet = packets(number)[0]
        message = parse_message(packet.payload)
        subjects.append(Subject(packet, message, _START, Rates()))

    def judge(subject: Subject) -> None:
        policy.judge("parse", subject)
        policy.judge("request", subject)

    ruling = policy.judge("request", subjects[0])
    detail = f"accepted by rule {ruling.rule.name}" if ruling else "no rule matched"
    what = "policy, parse and request chains on an INVITE"
    return Figure(what, _each_us(judge, subjects), "us", detail=detail)


def _guard_figure(policy: Policy, calls: int) -> Figure:
    """Time the whole guard on whole calls, and see that each one got its pinholes."""
    guard = Guard(policy, b"bench" * 8)
    spent: dict[str, list[float]] = {kind: [] for kind in KINDS}
    refused = effects = 0
    for start in range(0, calls, _GROUP):
        group = datagrams(start, _GROUP)
        now = Moment(_START.monotonic_s + start / 1000, _START.utc_s + start / 1000)
        for step, kind in enumerate(KINDS):
            begun_ns = time.thread_time_ns()
            decisions = [guard.inspect(rows[step], "bench", now) for rows in group]
            spent[kind].append((time.thread_time_ns() - begun_ns) / 1000 / len(group))
            refused += sum(decision.action is not Action.ACCEPT for decision in decisions)
            effects += sum(len(decision.effects) for decision in decisions)
        guard.tick(now)
        guard.forget(now)
    medians = {kind: median(times) for kind, times in spent.items()}
    detail = ", ".join(f"{kind} {time_us:.1f}" for kind, time_us in medians.items())
    detail += f"; {effects / calls:.1f} pinhole changes a call"
    if refused:
        detail += f"; REFUSED {refused}"
    mean = sum(medians.values()) / len(KINDS)
    return Figure("guard, one packet, mean of a call", mean, "us", detail=detail)


def _replay_figure(folder: Path, calls: int) -> Figure:
    """Run the real command on a capture, start-up included."""
    capture = folder / "calls.pcap"
    messages = write_capture(capture, calls)
    program = Path(sys.executable).with_name("sipguard")
    command = [str(program), "replay", str(capture), "--policy", str(POLICY), "--json"]
    start_s = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True)
    spent_s = time.monotonic() - start_s
    lines = done.stdout.count(b"\n")
    accepted = done.stdout.count(b'"accept"')
    detail = f"{messages:,} messages in {spent_s:.1f} s, {lines:,} lines, {accepted:,} accepted"
    rate = lines / spent_s if lines == messages and not done.returncode else 0.0
    if not rate:
        detail += ": " + done.stderr.decode(errors="replace").strip()[-200:]
    return Figure("sipguard replay --json", rate, "messages/s", above=REPLAY_LIMIT, detail=detail)


def memory(quick: bool) -> Figure:
    """Ask a process of its own what a guard takes that tracks many calls."""
    dialogs = DIALOGS // 10 if quick else DIALOGS
    progress(f"memory of {dialogs:,} dialogs")
    command = [sys.executable, "-P", "-m", "bench.memory", str(dialogs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = json.loads(done.stdout)
    detail = f"{said['tracked']:,} tracked, {said['holes']:,} pinholes, no service around it"
    limit = MEMORY_LIMIT_MB if said["tracked"] >= DIALOGS else None
    what = f"resident memory, guard with {dialogs:,} dialogs"
    return Figure(what, said["resident_mb"], "MB", below=limit, detail=detail)


def measure(folder: Path, quick: bool) -> list[Figure]:
    """Measure what can be measured in processes of our own."""
    calls = _GROUP * (10 if quick else 50)
    policy = bench_policy()
    progress("parse, policy and guard")
    figures = _parse_figures(calls)
    figures.append(_policy_figure(policy, calls))
    figures.append(_guard_figure(policy, calls))
    progress("replay of a capture")
    figures.append(_replay_figure(folder, 2_000 if quick else 20_000))
    return figures

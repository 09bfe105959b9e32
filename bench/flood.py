"""Forged signatures beside calls that run: how much longer do the calls' messages take?

The forger has a certificate that the policy trusts, of a user it is not, and another key: every
message gets as far as the arithmetic. It floods from one address, which spends its budget of
signatures, and from thousands, which no budget counts together.
"""

import time
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.gateways import ROUTING, Variant, gateway, sipguard
from bench.generator import Flood, Load, Played, play
from bench.identity import write_policy
from bench.kernel import GATEWAY_CORE, GENERATOR_CORE, await_quiet
from bench.network import ATTACKERS, FIRST_ATTACKER
from bench.report import Figure, progress
from bench.signers import authority, key_of, signer_of, user, with_aib
from bench.traffic import TELEPHONES
from sipguard.cli.signing import Signer

CALLS_PER_S: Final = 600  # some 4,200 messages
FORGED_PER_S: Final = 1100
LIMIT: Final = 2.0
_MARGIN: Final = 50  # messages more than are sent
_FIRST_FORGED: Final = 0xF0000000 // TELEPHONES + 1  # as in forged.h


class Calls(NamedTuple):
    """What became of the calls in one round."""

    p50_us: float
    p99_us: float
    lost: int
    forged_per_s: float
    forged_passed: int


def prepare(folder: Path, count: int) -> Path:
    """Write as many forged messages as asked for into one file, and the policy they go against."""
    root = authority("root of the flood", "p-256")
    write_policy(folder, root)
    victim = user("p-256", root)
    forger = Signer(key_of("p-256", "forger"), signer_of(victim).certificates)
    file, utc_s = folder / "forged", float(int(time.time()))
    with file.open("wb") as out:
        for number in range(_FIRST_FORGED, _FIRST_FORGED + count):
            octets = with_aib(number, utc_s, forger)
            out.write(len(octets).to_bytes(2, "big") + octets)
    return file


def _round(seconds: float, flood: Flood | None) -> Calls:
    load = Load(seconds, rate=CALLS_PER_S, timed=True, flood=flood)
    played: Played = play(load, GENERATOR_CORE)
    every = played.latency_us["all"]
    return Calls(
        every["p50"],
        every["p99"],
        played.lost + played.refused,
        played.forged / seconds,
        played.forged_passed,
    )


def measure(folder: Path, state: Path, rounds: int, seconds: float) -> list[Figure]:
    """Play the same calls in quiet and in both floods, in turns, through one gateway."""
    progress("signing forged requests")
    file = prepare(folder, int(FORGED_PER_S * seconds) + _MARGIN)
    floods = {
        "quiet": None,
        "one source": Flood(file, FORGED_PER_S, FIRST_ATTACKER),
        "4,096 sources": Flood(file, FORGED_PER_S, FIRST_ATTACKER, ATTACKERS),
    }
    found: dict[str, list[Calls]] = {name: [] for name in floods}
    variant: Variant = sipguard(state, folder / "proven-callers.policy")
    routing_us = []
    for number in range(rounds):
        await_quiet()
        with gateway(ROUTING, GATEWAY_CORE):
            routing_us.append(_round(seconds, None).p99_us)
        with gateway(variant, GATEWAY_CORE) as running:
            _round(0.5, None)
            for name, flood in floods.items():
                before_s = running.cpu_s()
                calls = _round(seconds, flood)
                busy = (running.cpu_s() - before_s) / seconds
                found[name].append(calls)
                progress(f"round {number + 1} of {rounds}: {name}: {_told(calls, busy)}")
                time.sleep(1.1)  # the budget is one second's
    return _compare(found, median(routing_us))


def _told(calls: Calls, busy: float) -> str:
    return (
        f"p50 {calls.p50_us:.0f} us, p99 {calls.p99_us:.0f} us, {calls.lost} calls lost, "
        f"{calls.forged_per_s:,.0f} forged/s, {calls.forged_passed} passed, {busy:.0%} of a core"
    )


def _compare(found: dict[str, list[Calls]], routing_us: float) -> list[Figure]:
    added = {
        name: median(calls.p99_us for calls in rounds) - routing_us
        for name, rounds in found.items()
    }
    what = "p99 added latency of calls"
    figures = [
        Figure(
            f"{what}, quiet", added["quiet"], "us", detail=f"at {CALLS_PER_S:,} calls/s, with AIB"
        )
    ]
    for name in list(found)[1:]:
        calls = found[name]
        worst = min(each.forged_per_s for each in calls)
        detail = f"{added[name]:.0f} us; {worst:,.0f} forged INVITEs/s, "
        detail += f"{sum(each.forged_passed for each in calls)} passed, "
        detail += f"{sum(each.lost for each in calls)} calls lost"
        ratio = added[name] / max(added["quiet"], 1.0)
        figures.append(
            Figure(f"{what} beside a flood from {name}", ratio, "x", below=LIMIT, detail=detail)
        )
    return figures

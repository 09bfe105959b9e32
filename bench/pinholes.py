"""The kernel's part of one call: four pinholes opened, four closed, through ``edge/netfilter``.

Once with transactions of its own, and once as where many packets wait: what the calls of one
message of verdicts open is one transaction, with what closes meanwhile.

Runs inside the gateway's namespace, as a program of its own, and prints one JSON object.
"""

import json
import sys
import time
from statistics import median

from bench.generator import MESSAGES_PER_CALL
from bench.traffic import call
from sipguard.edge.netfilter import Netfilter
from sipguard.edge.plan import Plan
from sipguard.edge.queued import VERDICTS
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, Effect, Hole, OpenPinhole

CALLS_UP = 2000  # while others are opened and closed
BATCH_CALLS = 500  # one second's calls, after which the once-a-second work is due
IDLE_S = 60
CALLS_TOGETHER = VERDICTS // MESSAGES_PER_CALL


def _holes(number: int) -> list[Hole]:
    """Return both directions of a call's RTP and RTCP."""
    of = call(number)
    ways = ((of.caller_address, of.callee_address), (of.callee_address, of.caller_address))
    return [Hole(src, dst, of.port + rtcp) for src, dst in ways for rtcp in (0, 1)]


def _openings(number: int) -> list[Effect]:
    return [OpenPinhole(hole, "sdes", IDLE_S, b"bench") for hole in _holes(number)]


def _closings(number: int) -> list[Effect]:
    return [ClosePinhole(hole, "sdes", Reason.CALL_ENDED, b"bench") for hole in _holes(number)]


def _alone(first: int) -> list[list[Effect]]:
    """Return what calls ask for, opened while as many older ones close, each on its own."""
    numbers = range(first, first + BATCH_CALLS)
    return [
        effects
        for number in numbers
        for effects in (_openings(number), _closings(number - CALLS_UP))
    ]


def _shared(first: int) -> list[list[Effect]]:
    """Return the same, of as many calls in one transaction as share a message of verdicts."""
    alone = _alone(first)
    return [
        [effect for effects in alone[at : at + 2 * CALLS_TOGETHER] for effect in effects]
        for at in range(0, len(alone), 2 * CALLS_TOGETHER)
    ]


def _batch_us(kernel: Netfilter, transactions: list[list[Effect]]) -> float:
    """Carry out a batch; return the CPU time of each call."""
    start_ns = time.process_time_ns()
    for effects in transactions:
        kernel.apply(effects)
    return (time.process_time_ns() - start_ns) / 1000 / BATCH_CALLS


def main() -> None:
    """Time so many calls as the argument says."""
    calls = int(sys.argv[1])
    kernel = Netfilter(Plan())
    kernel.install()
    try:
        for number in range(CALLS_UP):
            kernel.apply(_openings(number))
        costs_us: dict[str, list[float]] = {"call_us": [], "shared_us": []}
        for batch in range(calls // BATCH_CALLS):
            of, named = (_shared, "shared_us") if batch % 2 else (_alone, "call_us")
            costs_us[named].append(_batch_us(kernel, of(CALLS_UP + batch * BATCH_CALLS)))
        totals = kernel.totals()
    finally:
        kernel.remove(keep=False)
    medians = {name: median(found) for name, found in costs_us.items()}
    print(json.dumps({**medians, "refused": totals.refused}))


if __name__ == "__main__":
    main()

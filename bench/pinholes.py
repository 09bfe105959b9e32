"""The kernel's part of one call: four pinholes opened, four closed, through ``edge/netfilter``.

Runs inside the gateway's namespace, as a program of its own, and prints one JSON object.
"""

import json
import sys
import time
from statistics import median

from bench.traffic import call
from sipguard.edge.netfilter import Netfilter
from sipguard.edge.plan import Plan
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, Effect, Hole, OpenPinhole

CALLS_UP = 2000  # while others are opened and closed
BATCH_CALLS = 500  # one second's calls, after which the once-a-second work is due
IDLE_S = 60


def _holes(number: int) -> list[Hole]:
    """Return both directions of a call's RTP and RTCP."""
    of = call(number)
    ways = ((of.caller_address, of.callee_address), (of.callee_address, of.caller_address))
    return [Hole(src, dst, of.port + rtcp) for src, dst in ways for rtcp in (0, 1)]


def _openings(number: int) -> list[Effect]:
    return [OpenPinhole(hole, "sdes", IDLE_S, b"bench") for hole in _holes(number)]


def _closings(number: int) -> list[Effect]:
    return [ClosePinhole(hole, "sdes", Reason.CALL_ENDED, b"bench") for hole in _holes(number)]


def _batch_us(kernel: Netfilter, first: int) -> float:
    """Open calls and close as many older ones; return the CPU time of each pair."""
    steps = [
        (_openings(number), _closings(number - CALLS_UP))
        for number in range(first, first + BATCH_CALLS)
    ]
    start_ns = time.process_time_ns()
    for openings, closings in steps:
        kernel.apply(openings)
        kernel.apply(closings)
    return (time.process_time_ns() - start_ns) / 1000 / BATCH_CALLS


def main() -> None:
    """Time so many calls as the argument says."""
    calls = int(sys.argv[1])
    kernel = Netfilter(Plan())
    kernel.install()
    try:
        for number in range(CALLS_UP):
            kernel.apply(_openings(number))
        costs_us = [
            _batch_us(kernel, CALLS_UP + batch * BATCH_CALLS)
            for batch in range(calls // BATCH_CALLS)
        ]
        totals = kernel.totals()
    finally:
        kernel.remove(keep=False)
    print(json.dumps({"call_us": median(costs_us), "refused": totals.refused}))


if __name__ == "__main__":
    main()

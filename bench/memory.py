"""How much memory a guard takes that tracks many calls, in a process of its own.

Prints one JSON object; run as ``python -m bench.memory DIALOGS``.
"""

import json
import re
import sys
from pathlib import Path

from bench.inprocess import bench_policy
from bench.traffic import KINDS, packets
from sipguard.guard import Guard
from sipguard.moment import Moment

_UP = KINDS.index("BYE")  # the messages before it set the call up


def main() -> None:
    """Set calls up, end none, and look."""
    dialogs = int(sys.argv[1])
    guard = Guard(bench_policy(), b"bench" * 8)
    for number in range(dialogs):
        now = Moment(1000.0 + number / 2000, 1_700_000_000.0 + number / 2000)
        for packet in packets(number)[:_UP]:
            guard.judge(packet, now)
        if number % 2000 == 0:
            guard.tick(now)
            guard.forget(now)
    counted = guard.statistics()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    resident_mb = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024
    print(
        json.dumps({"resident_mb": resident_mb, "tracked": counted.dialogs, "holes": counted.holes})
    )


if __name__ == "__main__":
    main()

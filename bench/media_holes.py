"""Opens so many pinholes for the streams of ``media.c``, and leaves them and the rules behind.

Runs inside the gateway's namespace, as a program of its own: what the service leaves when it ends
is what forwards media while it runs. With ``proven``, each stream has proven itself. With
``direct`` they go the direct path, which is there as long as a process is: this one says so,
and stays until its input ends.
"""

import ipaddress
import sys
from typing import Final

from bench.network import FIRST_CALLEE, FIRST_CALLER, HOSTS
from sipguard.edge.netfilter import Netfilter
from sipguard.edge.plan import Plan
from sipguard.verdict import Effect, Hole, OpenPinhole, ProvePinhole

IDLE_S: Final = 600
_FIRST_PORT: Final = 16384
_AT_ONCE: Final = 500


def hole_of(stream: int) -> Hole:
    """Return the pinhole of the stream of this number."""
    destination = ipaddress.IPv4Address(FIRST_CALLEE) + stream % HOSTS
    source = ipaddress.IPv4Address(FIRST_CALLER)
    return Hole(source.packed, destination.packed, _FIRST_PORT + 2 * (stream // HOSTS))


def main() -> None:
    """Open as many as the first argument says."""
    holes, is_gated, is_direct = (
        int(sys.argv[1]),
        sys.argv[2] != "pinholes",
        sys.argv[2] == "direct",
    )
    media_queue = 1 if is_gated else None
    kernel = Netfilter(Plan(media_idle_s=IDLE_S, media_queue=media_queue, direct=is_direct))
    kernel.install()
    for start in range(0, holes, _AT_ONCE):
        effects: list[Effect] = []
        for hole in map(hole_of, range(start, min(start + _AT_ONCE, holes))):
            effects.append(OpenPinhole(hole, "sdes", IDLE_S, b"bench"))
            if is_gated:
                effects.append(ProvePinhole(hole, hole.port, 0, b"bench"))
        if kernel.apply(effects).refused:
            raise RuntimeError("the set is full")
    if is_direct:
        print(kernel.direct.told(), flush=True)
        sys.stdin.read()
    kernel.remove(keep=True)


if __name__ == "__main__":
    main()

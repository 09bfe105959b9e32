"""``python -m demo.record``: run the cases, keep what came to the gateway as ``calls.pcap``.

The capture holds what the guard was given to judge, from all sides and in order, and a few packets
of media for each direction. Beside it, ``calls.json`` says which stretch of time is which case.
"""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from demo import offline
from demo.cases import CASES
from demo.gateway import Gateway
from demo.network import Network
from demo.offline import CAPTURE, CONTENTS
from demo.stage import narrator, staged, workshop
from demo.wiretap import PROTOCOL_UDP, Frame, Wiretap
from sipguard.edge.pcap_file import PcapWriter

MEDIA_PACKETS = 2  # of each stream: enough to see that it is there
SIP_PORT = 5060


def main() -> int:
    """Record a run; 0 only if every case held, live and again from the capture."""
    say = narrator()
    stretches: list[dict[str, float]] = []
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(workshop())
        network = stack.enter_context(Network())
        gateway = stack.enter_context(Gateway(network, work))
        sides = (network.outside, network.inside, network.elsewhere)
        taps = [stack.enter_context(Wiretap(network.gateway, side)) for side in sides]
        stage = stack.enter_context(staged(network, work, say, gateway))
        for case in CASES:
            outcome = case(stage)
            print(outcome.line(), flush=True)
            if not outcome.ok:
                return 1
            last_s = max(tap.frames[-1].time_s for tap in taps if tap.frames)
            stretches.append({"case": outcome.number, "until_s": round(last_s, 6)})
    frames = [frame for tap in taps for frame in tap.frames if not frame.outgoing]
    kept = list(thinned(sorted(frames, key=lambda frame: frame.time_s)))
    write(kept)
    CONTENTS.write_text(json.dumps(stretches, indent=1) + "\n")
    say(f"{len(kept)} packets in {CAPTURE.name}, {CAPTURE.stat().st_size} octets; judging them")
    failed = [outcome.line() for outcome in offline.judged_capture() if not outcome.ok]
    print("\n".join(failed) or "the capture holds every case")
    return 1 if failed else 0


def thinned(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Keep all signalling with its fragments, and the first packets of each stream of media."""
    media: Counter[tuple[str, str, int]] = Counter()
    for frame in frames:
        if frame.protocol != PROTOCOL_UDP:
            continue
        later_fragment = frame.fragment and not frame.port
        if SIP_PORT in (frame.source_port, frame.port) or later_fragment:
            yield frame
        elif frame.is_rtp:
            stream = frame.source, frame.destination, frame.port
            media[stream] += 1
            if media[stream] <= MEDIA_PACKETS:
                yield frame


def write(frames: Iterable[Frame]) -> None:
    """Write the packets as raw IP."""
    writer = PcapWriter(CAPTURE)
    try:
        for frame in frames:
            writer.write(frame.time_s, frame.octets)
    finally:
        writer.close()


if __name__ == "__main__":
    sys.exit(main())

"""``python -m demo.record``: run the cases, keep what came to the gateway as ``calls.pcap``.

A capture holds what the guard was given to judge, from all sides and in order, and a few packets
of media for each direction. Beside it, ``calls.json`` says which stretch of time is which case.
``signed/`` is the same for the cases about callers, with the certificates that they need.
"""

import contextlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from demo import offline
from demo.cases import CASES
from demo.gateway import Gateway
from demo.network import Network
from demo.offline import CAPTURE, CONTENTS, SIGNED_CAPTURE, SIGNED_CONTENTS, SIGNED_FOLDER
from demo.signed_cases import AUTHORITY, POLICY, signed_outcomes, signed_policy
from demo.signing import Authority
from demo.stage import Outcome, Stage, narrator, staged, workshop
from demo.wiretap import PROTOCOL_UDP, Frame, Wiretap
from sipguard.edge.pcap_file import PcapWriter

MEDIA_PACKETS = 2  # of each stream: enough to see that it is there
SIP_PORT = 5060


def main() -> int:
    """Record a run; 0 only if every case held, live and again from the captures."""
    say = narrator()
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(workshop())
        network = stack.enter_context(Network())
        gateway = stack.enter_context(Gateway(network, work))
        stage = stack.enter_context(staged(network, work, say, gateway))
        _record(stage, [partial(case, stage) for case in CASES], CAPTURE, CONTENTS)
        gateway.stop()
        authority = Authority(work / AUTHORITY)
        gateway.policy = signed_policy(work, network)
        gateway.start()
        _record(stage, signed_outcomes(stage, authority), SIGNED_CAPTURE, SIGNED_CONTENTS)
        _keep_trust(work)
    say("judging the captures")
    failed = [outcome.line() for outcome in offline.judged_capture() if not outcome.ok]
    print("\n".join(failed) or "the captures hold every case")
    return 1 if failed else 0


def _record(
    stage: Stage, cases: Sequence[Callable[[], Outcome]], capture: Path, contents: Path
) -> None:
    """Run the cases; keep what came to the gateway, and when each of them ended."""
    network, stretches = stage.network, []
    with contextlib.ExitStack() as stack:
        sides = (network.outside, network.inside, network.elsewhere)
        taps = [stack.enter_context(Wiretap(network.gateway, side)) for side in sides]
        for case in cases:
            outcome = case()
            print(outcome.line(), flush=True)
            if not outcome.ok:
                raise SystemExit(1)
            last_s = max(tap.frames[-1].time_s for tap in taps if tap.frames)
            stretches.append({"case": outcome.number, "until_s": round(last_s, 6)})
        frames = [frame for tap in taps for frame in tap.frames if not frame.outgoing]
    kept = list(thinned(sorted(frames, key=lambda frame: frame.time_s)))
    capture.parent.mkdir(exist_ok=True)
    write(kept, capture)
    contents.write_text(json.dumps(stretches, indent=1) + "\n")
    stage.say(f"{len(kept)} packets in {capture.name}, {capture.stat().st_size} octets")


def _keep_trust(work: Path) -> None:
    """Keep the policy and the certificates it names; the keys go with the workshop."""
    shutil.copy(work / POLICY, SIGNED_FOLDER / POLICY)
    kept = SIGNED_FOLDER / AUTHORITY
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(work / AUTHORITY / "x5u", kept / "x5u")
    shutil.copy(work / AUTHORITY / "ca.pem", kept / "ca.pem")


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


def write(frames: Iterable[Frame], capture: Path) -> None:
    """Write the packets as raw IP."""
    writer = PcapWriter(capture)
    try:
        for frame in frames:
            writer.write(frame.time_s, frame.octets)
    finally:
        writer.close()


if __name__ == "__main__":
    sys.exit(main())

"""``python -m demo.record``: run the cases, keep what came to the gateway as ``calls.pcap``.

A capture holds what the guard was given to judge, from all sides and in order, and a few packets
of media for each direction. Beside it, ``calls.json`` says which stretch of time is which case.
``signed/`` is the same for the cases about callers, with the certificates that they need.
``media/`` has a capture for each case about media, with more of it.
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
from demo.cases import CASES, Case
from demo.gateway import Gateway
from demo.media_cases import KEYED_CASES, SDES_CASES, media_policy
from demo.network import Network
from demo.offline import CAPTURE, CONTENTS, SIGNED_CAPTURE, SIGNED_CONTENTS, SIGNED_FOLDER
from demo.offline_media import FOLDER, capture_of
from demo.signed_cases import AUTHORITY, POLICY, signed_outcomes, signed_policy
from demo.signing import Authority
from demo.stage import Outcome, Stage, narrator, staged, workshop
from demo.wiretap import PROTOCOL_UDP, Frame, Wiretap
from sipguard.edge.pcap_file import PcapWriter

MEDIA_PACKETS = 2  # of each stream: enough to see that it is there
STREAM_PACKETS = 30  # and enough to prove itself, to be copied and to be attacked
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
        _record_media(stage, SDES_CASES)
        gateway.stop()
        gateway.policy = media_policy(work)
        gateway.start()
        _record_media(stage, KEYED_CASES)
        shutil.copy(gateway.policy, FOLDER / gateway.policy.name)
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
    stretches: list[dict[str, float]] = []
    with _taped(stage) as tape:
        for case in cases:
            _run(case)
            # A capture keeps whole microseconds, and the next case begins much later.
            last_s = max(frame.time_s for frame in tape()) + 0.001
            stretches.append({"case": len(stretches) + 1, "until_s": round(last_s, 6)})
        frames = tape()
    _keep(stage, thinned(frame for frame in frames if not frame.outgoing), capture)
    contents.write_text(json.dumps(stretches, indent=1) + "\n")


def _record_media(stage: Stage, cases: Sequence[Case]) -> None:
    """Run the cases; keep a capture of each."""
    for case in cases:
        with _taped(stage) as tape:
            _run(partial(case, stage))
            frames = tape()
        kept = thinned((one for one in frames if not one.outgoing), STREAM_PACKETS)
        _keep(stage, kept, capture_of(case))


@contextlib.contextmanager
def _taped(stage: Stage) -> Iterator[Callable[[], list[Frame]]]:
    """Listen on all sides of the gateway; what is yielded returns what was heard, in order."""
    network = stage.network
    with contextlib.ExitStack() as stack:
        sides = (network.outside, network.inside, network.elsewhere)
        taps = [stack.enter_context(Wiretap(network.gateway, side)) for side in sides]
        yield lambda: sorted(
            (frame for tap in taps for frame in tap.frames), key=lambda frame: frame.time_s
        )


def _run(case: Callable[[], Outcome]) -> None:
    outcome = case()
    print(outcome.line(), flush=True)
    if not outcome.ok:
        raise SystemExit(1)


def _keep(stage: Stage, frames: Iterable[Frame], capture: Path) -> None:
    capture.parent.mkdir(exist_ok=True)
    kept = list(frames)
    write(kept, capture)
    stage.say(f"{len(kept)} packets in {capture.name}, {capture.stat().st_size} octets")


def _keep_trust(work: Path) -> None:
    """Keep the policy and the certificates it names; the keys go with the workshop."""
    shutil.copy(work / POLICY, SIGNED_FOLDER / POLICY)
    kept = SIGNED_FOLDER / AUTHORITY
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(work / AUTHORITY / "x5u", kept / "x5u")
    shutil.copy(work / AUTHORITY / "ca.pem", kept / "ca.pem")


def thinned(frames: Iterable[Frame], each: int = 0) -> Iterator[Frame]:
    """Keep all signalling with its fragments, and the first packets of each stream of media.

    With *each*, keep so many of each sender (by port and SSRC), and what is no RTP as well:
    handshakes above all.
    """
    media: Counter[tuple[str, str, int, int, bytes]] = Counter()
    for frame in frames:
        if frame.protocol != PROTOCOL_UDP:
            continue
        later_fragment = frame.fragment and not frame.port
        if (
            SIP_PORT in (frame.source_port, frame.port)
            or later_fragment
            or (each and not frame.is_rtp)
        ):
            yield frame
        elif frame.is_rtp:
            sender = (frame.source_port, frame.payload[8:12]) if each else (0, b"")
            stream = (frame.source, frame.destination, frame.port, *sender)
            media[stream] += 1
            if media[stream] <= (each or MEDIA_PACKETS):
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

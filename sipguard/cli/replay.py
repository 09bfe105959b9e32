"""``sipguard replay``: what a policy would have done with a capture, message by message."""

import argparse
import gc
import json
import time
from collections import deque
from collections.abc import Iterator
from itertools import starmap
from typing import TYPE_CHECKING, Final

from sipguard.cli.output import Screen, many
from sipguard.cli.policy_file import policy_named
from sipguard.journal.record import Json

if TYPE_CHECKING:
    from sipguard.cli.media_rerun import MediaRerun
    from sipguard.cli.rerun import Rerun
    from sipguard.policy.rules import Policy

SUMMARY = "judge a capture by a policy, at the capture's own time"
DETAILS = """\
Reads pcap or pcapng (also gzip), and judges every SIP message in it by the same code
as the live service, with the capture's clock. The verdict is what the policy says,
also in shadow mode. A whole night's traffic needs no more memory than a minute's.

With --json, one object per SIP message in capture order:
  time, time_s            ISO 8601 UTC, and the same as a number
  src, src_port, dst, dst_port, transport
  method or status        one of a request, the other of a response; both null if unreadable
  call_id
  verdict                 accept, drop or reject
  code                    the response's status for reject, else null
  rule, reason            the rule's name (or who decided before any rule), the reason's code
  findings                ids in the rule book, such as SIP-12
  pinholes                [{action, src, dst, port, key_method}], action open or close

With --against, the capture is judged by both policies, each with its own memory of the
calls, and what would fare otherwise is shown by rule and reason, with examples; with
--json as one object: changes [{before, after, messages, examples}], same,
by_another_rule, pinholes_opened.

examples:
  sipguard replay night.pcap --policy strict.policy --summary
  sipguard replay night.pcap --policy gateway.policy --against stricter.policy
  sipguard replay night.pcap --policy strict.policy --json | jq 'select(.verdict!="accept")'

exit status:
  0  the capture was read to its end, whatever the verdicts
  1  the policy is not good, or the capture cannot be read
  2  the command line was wrong
"""


_PROGRESS_S: Final = 0.25
_PIECE_LINES: Final = 256
# Objects. What a message leaves goes by its last reference; looking for cycles finds none.
_COLLECT_AFTER: Final = 50_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("capture", metavar="CAPTURE", help="a pcap or pcapng file")
    parser.add_argument("--policy", metavar="FILE", required=True, help="the policy to judge by")
    parser.add_argument(
        "--against", metavar="OTHER", help="show what this other policy would do otherwise"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a message")
    parser.add_argument(
        "--summary",
        action="store_true",
        help="a table by verdict and reason; with --json as one JSON object",
    )
    parser.add_argument(
        "--progress",
        action="store_true",
        help="show progress on standard error, even if it is no terminal",
    )


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Judge the capture."""
    from sipguard.cli.rerun import Rerun
    from sipguard.cli.rerun_line import render_json, render_line

    policy = policy_named(options.policy, screen)
    if policy is None:
        return 1
    if policy.zones:
        screen.note("A capture does not say where packets came in: zone is empty, ipsec is false.")
    if options.against:
        return _compare(options, policy, screen)
    progress = _Progress(screen) if options.progress or screen.err.isatty() else None
    rerun = Rerun(options.capture, policy, progress, screen.note)
    thresholds = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER)
    try:
        if options.summary:
            deque(rerun, maxlen=0)
        else:
            render = render_json if options.json else render_line
            _write(screen, starmap(render, rerun))
    finally:
        gc.set_threshold(*thresholds)
        if progress is not None:
            progress.clear()
    if rerun.faults:
        screen.note(f"{many(rerun.faults, 'message')} met a fault of sipguard's own.")
    if options.summary and options.json:
        screen.line(json.dumps(_summary(rerun)))
    elif options.summary:
        _summarize(rerun, screen)
    return 0


def _compare(options: argparse.Namespace, policy: "Policy", screen: Screen) -> int:
    """Judge by another policy as well, and show the difference."""
    from sipguard.cli.compare import compare

    other = policy_named(options.against, screen)
    if other is None:
        return 1
    compare(options.capture, (policy, other), options.json, screen)
    return 0


class _Progress:
    """A line on standard error that shows how far the reading is, a few times a second."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._started_s = self._shown_s = time.monotonic()
        self._is_shown = False

    def __call__(self, octets: int, total: int) -> None:
        """Take what the capture reader tells after each piece."""
        now_s = time.monotonic()
        if now_s - self._shown_s < _PROGRESS_S:
            return
        self._shown_s = now_s
        self._is_shown = True
        share = min(octets * 100 // total, 100) if total else 0
        speed = octets / (now_s - self._started_s) / 1e6
        words = f"{share:3d}% of {total / 1e6:,.1f} MB read, {speed:,.1f} MB/s"
        self._screen.err.write(f"\r{words}\x1b[K" if self._screen.err.isatty() else f"{words}\n")
        self._screen.err.flush()

    def clear(self) -> None:
        """Leave the terminal as it was."""
        if self._is_shown and self._screen.err.isatty():
            self._screen.err.write("\r\x1b[K")
            self._screen.err.flush()


def _write(screen: Screen, lines: Iterator[str]) -> None:
    """Write in pieces: a call for every line would cost more than judging."""
    piece: list[str] = []
    try:
        for line in lines:
            piece.append(line)
            if len(piece) >= _PIECE_LINES:
                screen.out.write("".join(piece))
                piece.clear()
    finally:
        screen.out.write("".join(piece))


def _summarize(rerun: "Rerun", screen: Screen) -> None:
    rows = (
        (tally.kind, tally.verdict, tally.reason, f"{count:,}", tally.rule)
        for tally, count in sorted(rerun.counts.items(), key=lambda item: (-item[1], item[0]))
    )
    screen.table(("KIND", "VERDICT", "REASON", "MESSAGES", "RULE"), rows)
    screen.line()
    sip = sum(count for tally, count in rerun.counts.items() if tally.kind == "sip")
    others = rerun.counts.total() - sip
    screen.line(
        f"{many(sip, 'SIP message')}; {others:,} other on SIP ports; "
        f"{many(rerun.skipped, 'datagram')} of media or other kinds not judged."
    )
    screen.line(f"{many(rerun.opened, 'pinhole')} opened, {rerun.closed:,} closed.")
    if rerun.media is not None and rerun.media.counts:
        _summarize_media(rerun.media, screen)
    left = ", ".join(f"{kind} {count:,}" for kind, count in _left_out(rerun))
    if left:
        screen.line(f"Left out of {many(rerun.reader.statistics.frames, 'frame')}: {left}.")


def _summarize_media(media: "MediaRerun", screen: Screen) -> None:
    told = ", ".join(
        f"{verdict} {reason} {count:,}"
        for (verdict, reason), count in sorted(media.counts.items(), key=lambda one: -one[1])
    )
    total = media.counts.total()
    screen.line(f"{many(total, 'media packet')}: {told}; {len(media.streams):,} sources proven.")


def _summary(rerun: "Rerun") -> dict[str, Json]:
    return {
        "counts": [
            {**tally._asdict(), "messages": count} for tally, count in rerun.counts.most_common()
        ],
        "not_judged": rerun.skipped,
        "pinholes_opened": rerun.opened,
        "pinholes_closed": rerun.closed,
        "media": []
        if rerun.media is None
        else [
            {"verdict": verdict, "reason": reason, "packets": count}
            for (verdict, reason), count in rerun.media.counts.most_common()
        ],
        "sources_proven": 0 if rerun.media is None else len(rerun.media.streams),
        "frames": rerun.reader.statistics.frames,
        "left_out": dict(_left_out(rerun)),
    }


def _left_out(rerun: "Rerun") -> list[tuple[str, int]]:
    return rerun.reader.statistics.skipped.most_common()

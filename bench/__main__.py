"""``python -m bench``: measure sipguard against its promises; exit status 0 if all hold."""

import argparse
import fcntl
import os
import shutil
import signal
import sys
from types import FrameType

from bench import (
    flood,
    identity,
    inprocess,
    journal,
    kernel,
    media,
    records,
    stream_tls,
    streams,
    tls,
)
from bench.gateways import kamailio_there, sipguard
from bench.generator import BUILD, build
from bench.network import lab
from bench.report import Figure, print_json, print_table, progress

TOOLS = ("ip", "iptables", "nft", "taskset", "gcc")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--part",
        choices=("all", "process", "kernel", "streams"),
        default="all",
        help="leave the rest out; streams are a part of the kernel's",
    )
    return parser.parse_args()


def _why_no_kernel() -> str:
    """Say what is missing for the measurements through the kernel, if anything is."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces and NFQUEUE"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"needs {', '.join(missing)}"
    if (os.cpu_count() or 1) < 2:
        return "needs two cores: one for the gateway, one for the calls"
    return ""


def _kernel_part(quick: bool, streams_only: bool, left_out: list[str]) -> list[Figure]:
    rival = kamailio_there()
    if not rival:
        left_out.append("the rival: kamailio is not installed")
    progress("compiling the call generator and building three network namespaces")
    build()
    with lab():
        figures = [] if streams_only else _packet_part(quick, rival, left_out)
        return figures + _stream_part(quick, rival, left_out)


def _packet_part(quick: bool, rival: bool, left_out: list[str]) -> list[Figure]:
    variant = sipguard(kernel.state_folder(BUILD))
    progress("opening and closing pinholes")
    pinholes = kernel.pinholes() + kernel.set_changes()
    rounds, seconds = (1, 1.0) if quick else (3, 1.5)
    _, crowded, *_ = pinholes
    figures = kernel.measure(variant, rival, rounds, seconds, crowded.value)
    own = f"calls/s without loss, {variant.name}"
    most = next(figure.value for figure in figures if figure.what == own)
    calls = kernel.HELD_CALLS // 10 if quick else kernel.HELD_CALLS
    progress(f"setting up {calls:,} calls that stay up")
    figures.append(kernel.hold_calls(variant, max(most, 100) * 0.6, calls))
    progress("records beside calls")
    place = kernel.state_folder(BUILD)
    figures += journal.measure(BUILD / "journal", place, 1 if quick else 18, 5 * seconds)
    progress("forged signatures beside calls")
    figures += flood.measure(BUILD / "flood", kernel.state_folder(BUILD), rounds, 2 * seconds)
    if media.why_not():
        left_out.append(media.why_not())
    else:
        progress(f"media through {media.HOLES:,} pinholes")
        figures += media.measure(rounds, seconds)
    return figures + pinholes


def _stream_part(quick: bool, rival: bool, left_out: list[str]) -> list[Figure]:
    rounds, seconds = (1, 1.0) if quick else (3, 1.5)
    folder = BUILD / "streams"
    folder.mkdir(parents=True, exist_ok=True)
    policy = stream_tls.write_policy(folder)
    variant = sipguard(kernel.state_folder(BUILD), policy)
    progress("calls over TCP")
    figures = streams.measure(variant, rival, rounds, seconds)
    progress(f"{streams.FLOOD_CONNECTS:,} connects at once beside calls")
    narrow = sipguard(kernel.state_folder(BUILD), stream_tls.write_policy(folder, few=True))
    figures += streams.flood(narrow, 2 * seconds)
    progress("TLS handshakes")
    figures += stream_tls.handshakes(variant, policy, rounds, 2 * seconds)
    wanted = stream_tls.IDLE // 10 if quick else stream_tls.IDLE
    possible = stream_tls.connections_possible(wanted)
    if possible < wanted:
        left_out.append(
            f"{wanted - possible:,} of {wanted:,} idle TLS connections: the limit on open files"
        )
    return figures + stream_tls.idle(variant, policy, possible)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Turn an end by signal into an exception, so that the namespaces are taken away."""
    raise KeyboardInterrupt


def main() -> int:
    """Measure, print, and say by the exit status whether every promise holds."""
    options = _options()
    signal.signal(signal.SIGTERM, _interrupted)
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("bench: another bench is running in this tree", file=sys.stderr)
            return 2
        figures: list[Figure] = []
        left_out: list[str] = []
        progress(f"sipguard runs {'compiled' if inprocess.is_compiled() else 'as plain Python'}")
        why = _why_no_kernel() if options.part != "process" else "not asked for"
        if options.part in ("all", "process"):
            figures += inprocess.measure(BUILD, options.quick)
            figures += identity.measure(BUILD / "identity", options.quick)
            figures += tls.measure(options.quick)
            figures += records.measure(options.quick)
        if why:
            figures.append(inprocess.memory(options.quick))  # else the real service shows it
            left_out.append(f"all that goes through the kernel: {why}")
        else:
            figures += _kernel_part(options.quick, options.part == "streams", left_out)
    if options.json:
        print_json(figures, left_out)
    else:
        print_table(figures)
        for line in left_out:
            print(f"left out: {line}")
    return 0 if all(figure.holds is not False for figure in figures) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        sys.exit(130)

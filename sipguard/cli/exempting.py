"""Temporary exceptions made, listed and taken back: the work behind three commands.

In a module of its own, since it needs the policy language, which takes its time to load.
"""

import argparse
import getpass
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from sipguard.cli.output import Screen, show_span, show_time
from sipguard.edge.control import read_status
from sipguard.edge.exemptions import ExemptionFile
from sipguard.errors import EdgeError
from sipguard.journal.escape import safe_text
from sipguard.journal.record import iso_time
from sipguard.policy.exemptions import Exemption, caller_key
from sipguard.policy.literals import has_host_bits, parse_duration, parse_prefix


def duration(text: str) -> int:
    """Read how long."""
    seconds = parse_duration(text)
    if not seconds:
        raise argparse.ArgumentTypeError("write 30m, 1h or 1d")
    return seconds


def source(text: str) -> str:
    """Read an address or a network."""
    if parse_prefix(text) is None:
        raise argparse.ArgumentTypeError(f"{safe_text(text)} is no address and no network")
    if has_host_bits(text):
        raise argparse.ArgumentTypeError(f"{text} names a host within the network; which is meant?")
    return text


def caller(text: str) -> str:
    """Read an address of record."""
    try:
        return caller_key(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(safe_text(str(error))) from None


def show(options: argparse.Namespace, screen: Screen) -> int:
    """List them, or take one back."""
    file = ExemptionFile(options.state_dir)
    if options.remove is not None:
        removed = file.remove(options.remove, who())
        screen.line(f"exception {removed.number} is taken back: {_sentence(removed)}")
        return 0
    now_s = time.time()
    in_force = [one for one in file.read()[1] if now_s < one.until_s]
    if options.json:
        screen.line(json.dumps([_json(one) for one in in_force], indent=2))
        return 0
    if not in_force:
        screen.line("no exceptions are in force")
        return 0
    hits = _hits(options.state_dir, now_s)
    rows = (
        (
            str(one.number), one.kind, show_span(one.until_s - now_s), hits.get(one.number, "-"),
            safe_text(one.named), safe_text(one.by), safe_text(one.reason),
        )
        for one in in_force
    )  # fmt: skip
    screen.table(("NUMBER", "KIND", "LEFT", "HITS", "WHAT", "BY", "WHY"), rows)
    return 0


def _hits(state: Path, now_s: float) -> dict[int, str]:
    """Return what each did since the service started; nothing without its word."""
    try:
        told = read_status(state, now_s).report.exception_hits
    except EdgeError:
        return {}
    return {int(number): f"{hits:,}" for number, hits in told.items() if number.isdecimal()}


def add(kind: str, options: argparse.Namespace, screen: Screen) -> int:
    """Put one in force and say so."""
    wanted = Exemption(
        0,
        kind,
        0.0,
        float(options.lasts_s),
        options.source or "",
        options.caller or "",
        options.rule,
        options.reason,
        who(),
    )
    made = ExemptionFile(options.state_dir).add(wanted)
    screen.line(f"exception {made.number}: {_sentence(made)}")
    return 0


def who() -> str:
    """Return who types this, also behind sudo: a name for the audit, and no proof."""
    behind = os.environ.get("SUDO_USER", "")
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    name = f"{behind} as {name}" if behind else name
    return "".join(char for char in name if char.isprintable())[:64] or "?"


def _sentence(one: Exemption) -> str:
    until = show_time(iso_time(one.until_s))
    return safe_text(f"{one.kind} {one.named} until {until} UTC, by {one.by}: {one.reason}")


def _json(one: Exemption) -> dict[str, object]:
    told = asdict(one)
    told["since"], told["until"] = iso_time(one.since_s), iso_time(one.until_s)
    return told

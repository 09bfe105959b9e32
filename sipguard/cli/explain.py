"""``sipguard explain``: the whole story of one record, for a person."""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

from sipguard.cli import told
from sipguard.cli.advice import advise
from sipguard.cli.because import because, heading_of, tell_condition
from sipguard.cli.ladder import draw_ladder, mark_octets
from sipguard.cli.media import tell_media, tell_packets
from sipguard.cli.output import VERDICT_STYLES, Screen, Style, show_time
from sipguard.cli.proofs import tell_proofs
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Archive, Entry
from sipguard.journal.escape import escape, safe_text
from sipguard.reason import Reason

SUMMARY = "tell why one call was blocked"
DETAILS = """\
ID is what `sipguard blocked` shows; letter case does not matter, O is 0, and I and L
are 1. `last` is the newest record.

It begins with one sentence: what, from whom, what became of it, and why. Below are the
facts, what the rule asked and of which values, the octets it is about, and the call's
messages as arrows between the ends (an x ends the ones that were refused).

The rule's text is read from the policy file as it is now, if it is still there; what the
rule asked is from the record itself.
Keys, digest responses and passwords were masked before anything was stored.

examples:
  sipguard explain 2m4k07gx
  sipguard explain last --message

exit status:
  0  told
  1  no such record, or the store cannot be read
  2  the command line was wrong
"""

_PLACE = re.compile(r"(.+):([0-9]{1,7})")
_LABEL_COLUMNS = 11


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("id", metavar="ID", help="a record's id, or `last`")
    parser.add_argument("--message", action="store_true", help="print the masked message, too")
    parser.add_argument("--json", action="store_true", help="print the record as JSON")
    add_state_option(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Tell one record."""
    entry = record_named(options.id, options.state_dir, screen)
    if entry is None:
        return 1
    if options.json:
        screen.line(json.dumps(entry.line, ensure_ascii=False, indent=2))
        return 0
    _tell(entry, screen)
    if options.message:
        _tell_message(entry, screen)
    return 0


def record_named(identifier: str, state: Path, screen: Screen) -> Entry | None:
    """Return the record with this id, or ``None``, and say so."""
    archive = Archive(state)
    entry = archive.one(identifier)
    if archive.advice:
        screen.note(f"sipguard: {archive.advice}")
    if entry is None:
        screen.note(
            f"sipguard: no record {safe_text(identifier)}; `sipguard blocked` lists them "
            "(old ones go by age and size)"
        )
    return entry


def _tell(entry: Entry, screen: Screen) -> None:
    record = entry.line
    screen.line(screen.paint(sentence(record), VERDICT_STYLES.get(told.verdict(record))))
    screen.line()
    for label, value in _facts(record):
        if value:
            heading = screen.paint(label.ljust(_LABEL_COLUMNS), Style.HEADING)
            screen.line(f"{heading} {screen.isolate(value)}")
    _section(screen, "Media", tell_media(record))
    _section(screen, heading_of(record), tell_condition(record))
    _section(screen, "Findings", _findings(record))
    _section(screen, "Marked octets", mark_octets(record, entry.message, screen))
    _section(screen, "Ladder (UTC)", draw_ladder(record))
    _section(screen, "What you can do", (f"- {advice}" for advice in advise(record)))


def sentence(record: told.Told) -> str:
    """Return the story in one sentence: what, from whom, what became of it, and why."""
    if told.is_media(record):
        return tell_packets(record)
    verdict = told.verdict(record)
    done = {
        "accept": "was accepted",
        "drop": "was dropped",
        "reject": f"was refused with {told.number(record, 'code')}",
        "would drop": "would have been dropped (shadow mode: it passed)",
        "would reject": (
            f"would have been refused with {told.number(record, 'code')} (shadow mode: it passed)"
        ),
    }.get(verdict, verdict)
    return f"{told.subject(record)} from {told.text(record, 'src')} {done}{because(record)}"


def _facts(record: told.Told) -> Iterator[tuple[str, str]]:
    yield "Record", f"{told.text(record, 'id')}, {_span(record)}"
    yield "Rule", _rule(record)
    yield "", _rule_text(told.text(record, "place"), told.text(record, "rule"))
    yield "Reason", told.text(record, "reason")
    yield "Field", told.text(record, "field")
    yield "Path", _path(record)
    yield "Request", told.text(record, "request_uri")
    yield "From", told.text(record, "from")
    yield "To", told.text(record, "to")
    yield "Contact", told.text(record, "contact")
    yield "Call-ID", told.text(record, "call_id")
    yield "CSeq", told.text(record, "cseq")
    yield "Branch", told.text(record, "branch")
    yield "User-Agent", told.text(record, "user_agent")
    for row, line in enumerate(tell_proofs(record)):
        yield "" if row else "Identity", line
    yield "Dialog", told.text(record, "dialog")
    yield "Count", told.tally(record)
    yield (
        "Also",
        "; ".join(
            f"{told.text(other, 'verdict')} by {told.text(other, 'rule')}"
            f" ({told.text(other, 'reason')}), {told.number(other, 'count')} times"
            for other in told.parts(record, "also")
        ),
    )


def _span(record: told.Told) -> str:
    first, last = told.text(record, "first_time"), told.text(record, "last_time")
    if first == last:
        return f"{show_time(first)} UTC"
    return f"{show_time(first)} to {show_time(last)} UTC"


def _path(record: told.Told) -> str:
    interface = told.text(record, "interface")
    on = f" on {interface}" if interface else ""
    if zone := told.text(record, "zone"):
        on += f" (zone {zone}{', by IPsec' if record.get('ipsec') is True else ''})"
    return (
        f"{told.end(record, 'src')} to {told.end(record, 'dst')},"
        f" {told.text(record, 'transport').upper()}{on}"
    )


def _rule(record: told.Told) -> str:
    rule, place = told.text(record, "rule"), told.text(record, "place")
    if told.is_media(record):
        return f"{rule}, the setting of that name{f' in {place}' if place else ''}"
    if place:
        return f"{rule}, {place}"
    return f"{rule} (decided by sipguard itself, before any rule of the policy)" if rule else ""


def _rule_text(place: str, rule: str) -> str:
    """Return the rule's line as the policy file has it now; empty if it is another's by now."""
    found = _PLACE.fullmatch(place)
    if found is None or not Path(found[1]).is_file():
        return ""
    try:
        from sipguard.edge.policy_file import read_text  # brings the grammar, which takes time

        lines = read_text(found[1]).splitlines()
    except (OSError, ValueError):
        return ""
    number = int(found[2])
    words = lines[number - 1].split() if 0 < number <= len(lines) else []
    return safe_text(" ".join(words)) if words[:1] == [rule] else ""


def _findings(record: told.Told) -> Iterator[str]:
    sentences = {reason.value: reason.sentence for reason in Reason}
    for finding in told.parts(record, "findings"):
        code = told.text(finding, "reason")
        detail, octets = told.text(finding, "detail"), told.text(finding, "octets")
        words = [sentences.get(code, ""), detail, f"“{octets}”" if octets else ""]
        yield f"{told.text(finding, 'rule'):<7} {code}: {' '.join(word for word in words if word)}"


def _section(screen: Screen, heading: str, lines: Iterator[str]) -> None:
    rows = list(lines)
    if rows:
        screen.line()
        screen.line(screen.paint(heading, Style.HEADING))
        for row in rows:
            screen.line(f"  {screen.isolate(row)}")


def _tell_message(entry: Entry, screen: Screen) -> None:
    packets = told.part(entry.line, "packets")
    rows = re.split(rb"\r\n|\n", entry.message)
    total = told.number(packets, "octets")
    heading = f"Message (masked; {total} octets as received)"
    _section(screen, heading, (escape(row) for row in rows))

"""``sipguard explain``: the whole story of one record, for a person."""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

from sipguard.cli.ladder import draw_ladder, mark_octets
from sipguard.cli.output import VERDICT_STYLES, Screen, Style
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Archive, Entry
from sipguard.edge.stored import text_of_rule
from sipguard.journal import told
from sipguard.journal.advice import advise
from sipguard.journal.because import heading_of, tell_condition
from sipguard.journal.escape import escape, safe_text
from sipguard.journal.facts import facts_of
from sipguard.journal.media_told import tell_media
from sipguard.journal.proofs_told import tell_proofs
from sipguard.journal.story import sentence, span_of, tell_findings

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
    _section(screen, "Findings", tell_findings(record))
    _section(screen, "Marked octets", mark_octets(record, entry.message, screen))
    _section(screen, "Ladder (UTC)", draw_ladder(record))
    _section(screen, "What you can do", (f"- {advice}" for advice in advise(record)))


def _facts(record: told.Told) -> Iterator[tuple[str, str]]:
    yield "Record", f"{told.text(record, 'id')}, {span_of(record)}"
    said = ""
    for name, value in facts_of(record):
        yield "" if name == said else name, value
        said = name
        if name == "Rule":
            yield "", text_of_rule(told.text(record, "place"), told.text(record, "rule"))
    for row, line in enumerate(tell_proofs(record)):
        yield "" if row else "Identity", line


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

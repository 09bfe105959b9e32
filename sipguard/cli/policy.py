"""``sipguard policy suggest``: which one rule would have let a blocked call pass."""

import argparse
import json
import time
from dataclasses import replace

from sipguard.cli.explain import record_named
from sipguard.cli.output import Screen, Style, many
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Archive, Entry
from sipguard.errors import EdgeError, PolicyError
from sipguard.journal import told
from sipguard.journal.escape import safe_text
from sipguard.journal.query import GroupBy, Query, QueryError, parse_source

SUMMARY = "help with writing a policy: suggest a rule for a blocked call"
DETAILS = """\
examples:
  sipguard policy suggest 2m4k07gx

exit status:
  0  done
  1  it cannot be said, and standard error says why
  2  the command line was wrong
"""
_SUGGEST = """\
Prints the narrowest rule that would have let this call pass, as one line of the policy
language, where it goes, and what else it lets in. Nothing is changed.

The line was tried: the policy was loaded with it, and the stored message judged again,
which passed. A call that was refused for what came before it (a replay, a rate, no known
dialog) cannot be tried from one message; then the command says so. Whether the *rest*
of the call passes, only a capture can tell: sipguard replay --against.

The policy is --policy, or the running service's, or the one that the record names.

examples:
  sipguard policy suggest 2m4k07gx
  sipguard policy suggest last --policy /etc/sipguard/next.policy

exit status:
  0  a rule was found and tried
  1  there is none, or it cannot be tried; standard error says why
  2  the command line was wrong
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the commands below this one."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    summary = "print a rule that would have let a call pass"
    command = commands.add_parser(
        "suggest",
        help=summary,
        description=f"sipguard policy suggest: {summary}",
        epilog=_SUGGEST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("id", metavar="ID", help="a record's id, or `last`")
    command.add_argument("--policy", metavar="FILE", default="", help="the policy to add to")
    command.add_argument("--json", action="store_true", help="one JSON object")
    add_state_option(command)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Find a rule, try it, tell it."""
    # It brings the guard, which takes time.
    from sipguard.edge.policy_file import Files, read_policy
    from sipguard.edge.suggesting import NoRuleError, policy_of, suggest

    entry = record_named(options.id, options.state_dir, screen)
    if entry is None:
        return 1
    policy_file = options.policy or policy_of(entry, options.state_dir, time.time())
    identifier = told.text(entry.line, "id")
    try:
        found = suggest(entry, read_policy(policy_file, Files()))
    except PolicyError as error:
        problem = error.problems[0]
        where = f"{problem.file}:{problem.line}"
        raise EdgeError(f"the policy is not good: {where}: {problem.message}") from None
    except NoRuleError as why:
        raise EdgeError(f"no rule for {identifier}: {why}") from None
    similar = _similar(entry, options)
    if options.json:
        screen.line(json.dumps({**found._asdict(), "similar_blocked": similar}))
        return 0
    screen.line(screen.paint(safe_text(found.line), Style.ACCEPTED))
    screen.line()
    where = f"in chain {found.chain} of {safe_text(found.file)}, as line {found.number}"
    screen.line(f"It goes {where}{f', above rule {found.above}' if found.above else ''}.")
    screen.line("The policy loads with it, and the stored message passes.")
    screen.line()
    screen.line(screen.paint("What else it lets in", Style.WARNING))
    for line in found.lets_in:
        screen.line(f"  - {line}")
    if similar:
        calls = many(similar, "other blocked call")
        screen.line(f"  - in the store: {calls} of this source, caller and method")
    for warning in found.warnings:
        screen.line(f"  - sipguard check would warn: {safe_text(warning)}")
    return 0


def _similar(entry: Entry, options: argparse.Namespace) -> int:
    """Return how many other blocked calls of the store come from there and claim the same."""
    record = entry.line
    try:
        query = Query(
            src=parse_source(told.text(record, "src")),
            caller=told.text(record, "caller"),
            method=told.text(record, "method"),
            refused_only=True,
        )
    except QueryError:
        return 0
    groups = Archive(options.state_dir).count(replace(query, limit=1000), GroupBy.RULE)
    return max(sum(group.records for group in groups) - 1, 0)

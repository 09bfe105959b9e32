"""``sipguard check``: is this policy one that the service would take?"""

import argparse
from typing import TYPE_CHECKING

from sipguard.cli.output import Screen, many
from sipguard.cli.policy_file import policy_named
from sipguard.journal.escape import safe_text

if TYPE_CHECKING:
    from sipguard.policy.rules import Policy

SUMMARY = "check a policy file"
DETAILS = """\
Reads the policy and all that it includes, exactly as the service does, and says
where it is wrong: file:line:column, what is wrong, what was probably meant. Rules
that can never match, and sets and zones that are never used, are warnings.

examples:
  sipguard check /etc/sipguard/strict.policy
  sipguard check policies/*.policy && systemctl reload sipguard

exit status:
  0  every file is good (there may be warnings)
  1  at least one is not; one line per error on standard error
  2  the command line was wrong
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="a policy file")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Check each file."""
    files: list[str] = options.files
    is_good = True
    for name in files:
        policy = policy_named(name, screen)
        if policy is None:
            is_good = False
        else:
            screen.line(f"{safe_text(name)}: ok, {_outline(policy)}")
    return 0 if is_good else 1


def _outline(policy: "Policy") -> str:
    counts = [many(len(policy.rules), "rule"), many(len(policy.sets), "set")]
    if policy.zones:
        counts.append(many(len(policy.zones.zones), "zone"))
    if len(policy.files) > 1:
        counts.append(f"{len(policy.files)} files")
    return f"{', '.join(counts)}, mode {policy.mode}, default {policy.default_shown}"

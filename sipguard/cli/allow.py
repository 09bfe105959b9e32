"""``sipguard allow``: let pass for a while what a rule refuses."""

import argparse

from sipguard.cli.exceptions import add, add_wishes
from sipguard.cli.output import Screen

SUMMARY = "let pass for a while what a rule refuses"
DETAILS = """\
Takes back the refusal of a rule of chain request, or of the default, for what is named; of
several names all must hold. Never for what the parse chain refuses, for replays, for
registrations of others, and never opens media without a key. The service takes it up within
two seconds. What passes is recorded as `exception NUMBER`, with who allowed it and why.

From is a claim: with --caller alone, everybody passes who writes that name. Add --source.

examples:
  sipguard allow --for 1h --source 192.0.2.7 --reason "trunk moves today"
  sipguard allow --for 30m --caller alice@example.com --rule unsigned --reason "ticket 4711"

exit status:
  0  in force
  1  it cannot be: the state directory, or what it names
  2  the command line was wrong
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    add_wishes(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Put it in force."""
    if options.caller and not options.source:
        screen.note("warning: From is a claim; everybody passes who writes that name")
    return add("allow", options, screen)

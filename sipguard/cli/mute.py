"""``sipguard mute``: keep refusals out of the records for a while."""

import argparse

from sipguard.cli.exceptions import add, add_wishes
from sipguard.cli.output import Screen

SUMMARY = "keep refusals out of records and alarms for a while"
DETAILS = """\
Changes no verdict: matching SIP is refused as ever, and only counted. Of several names all
must hold. What has no readable From (scans, noise) is muted by --source or --rule.

examples:
  sipguard mute --for 8h --source 203.0.113.0/24 --reason "known scanner"
  sipguard mute --for 1d --rule flood --reason "load test"

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
    return add("mute", options, screen)

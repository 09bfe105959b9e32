"""``sipguard exceptions``: the temporary ones, who made them, why, and until when."""

import argparse

from sipguard.cli.output import Screen
from sipguard.cli.state import add_state_option

SUMMARY = "list temporary exceptions, or take one back"
DETAILS = """\
Exceptions are made by `sipguard allow` and `sipguard mute` and end by themselves. Who made
and removed which is kept in exceptions.audit in the state directory.

examples:
  sipguard exceptions
  sipguard exceptions --remove 3

exit status:
  0  listed, or removed
  1  no such exception, or the state directory cannot be used
  2  the command line was wrong
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("--remove", metavar="NUMBER", type=int, help="take this one back now")
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    add_state_option(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """List, or remove."""
    from sipguard.cli.exempting import show

    return show(options, screen)


def add_wishes(parser: argparse.ArgumentParser) -> None:
    """Add what ``allow`` and ``mute`` take."""
    parser.add_argument(
        "--for", dest="lasts_s", metavar="DURATION", type=_duration, required=True,
        help="how long: 30m, 1h, up to 7d",
    )  # fmt: skip
    parser.add_argument("--source", metavar="ADDRESS", type=_source,
                        help="packets from this address or network")  # fmt: skip
    parser.add_argument("--caller", metavar="AOR", type=_caller,
                        help="who From says it is")  # fmt: skip
    parser.add_argument("--rule", metavar="NAME", default="", help="what this rule refuses")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why; it is recorded")
    add_state_option(parser)


def add(kind: str, options: argparse.Namespace, screen: Screen) -> int:
    """Put one in force and say so."""
    from sipguard.cli import exempting

    return exempting.add(kind, options, screen)


def _duration(text: str) -> int:
    from sipguard.cli.exempting import duration

    return duration(text)


def _source(text: str) -> str:
    from sipguard.cli.exempting import source

    return source(text)


def _caller(text: str) -> str:
    from sipguard.cli.exempting import caller

    return caller(text)

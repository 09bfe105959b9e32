"""``sipguard rules``: everything the service would put into the kernel, to read beforehand."""

import argparse
import re

from sipguard.cli.output import Screen
from sipguard.cli.policy_file import policy_named

SUMMARY = "print the kernel rules that a policy needs"
DETAILS = """\
Prints the nftables table and the iptables rules that `twistd sipguard` would
install for this policy. Nothing is installed, and no privilege is needed.

examples:
  sipguard rules /etc/sipguard/strict.policy
  sipguard rules strict.policy --queues 0-3 --interface eth0 --interface eth1

exit status:
  0  printed
  1  the policy is not good, or asks for rules that cannot be
  2  the command line was wrong
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("policy", metavar="POLICY", help="a policy file")
    parser.add_argument(
        "--queues",
        metavar="N[-M]",
        type=_queues,
        default=(0, 0),
        help="the queue number, or a range of them (default: 0)",
    )
    parser.add_argument(
        "--interface",
        metavar="NAME",
        action="append",
        default=[],
        help="guard only what comes in or goes out here; may be repeated (default: all)",
    )
    parser.add_argument(
        "--fail-open",
        action="store_true",
        help="let SIP pass unjudged while the service is not running",
    )


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Print the rules."""
    from sipguard.edge.from_policy import plan_of
    from sipguard.edge.rules import render_rules

    policy = policy_named(options.policy, screen)
    if policy is None:
        return 1
    plan = plan_of(
        policy,
        queues=options.queues,
        interfaces=tuple(options.interface),
        fail_open=options.fail_open,
    )
    screen.line(render_rules(plan).rstrip("\n"))
    return 0


def _queues(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,5})(?:[-:]([0-9]{1,5}))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no queue number and no range such as 0-3")
    first = int(found[1])
    return first, int(found[2]) if found[2] else first

"""The filters that ``blocked`` and ``tail`` share, from command line to query."""

import argparse

from sipguard.journal.query import (
    DEFAULT_LIMIT,
    Query,
    parse_finding,
    parse_limit,
    parse_method,
    parse_reason,
    parse_source,
    parse_verdict,
    parse_when,
)

FILTER_HELP = """\
what filters take:
  Times are spans (90m, 1h, 2d), clocks (08:30), days (today, yesterday) or dates
  (2026-01-31, 2026-01-31T08:30), in UTC as records show them. --source takes an
  address or a prefix. --caller is the *claimed* From, --callee To, and both match a
  part of it. --finding is a rule's id (SIP-8) or a code (bare-lf), of the message or of
  a proof. --method of packets is `media audio` and the like.
"""


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add one option for each filter."""
    group = parser.add_argument_group("filters")
    group.add_argument("--since", metavar="WHEN", help="only what happened since then")
    group.add_argument("--until", metavar="WHEN", help="only what happened before then")
    group.add_argument(
        *("--source", "--src"), dest="src", metavar="ADDRESS", help="only from this address, prefix"
    )
    group.add_argument("--caller", metavar="TEXT", default="", help="only where From has this")
    group.add_argument("--callee", metavar="TEXT", default="", help="only where To has this")
    group.add_argument("--method", metavar="NAME", help="only this method, such as INVITE")
    group.add_argument("--rule", metavar="NAME", default="", help="only by this rule")
    group.add_argument("--reason", metavar="CODE", help="only for this reason, such as not-keyed")
    group.add_argument("--finding", metavar="ID", help="only where this was found, such as SIP-8")
    group.add_argument("--verdict", metavar="VERDICT", help="accept, drop or reject")
    group.add_argument("--call-id", metavar="TEXT", default="", help="only where Call-ID has this")
    group.add_argument(
        "--all", action="store_true", help="calls that were accepted and logged, too"
    )


def query_of(options: argparse.Namespace, now_s: float, limit: str | None = None) -> Query:
    """Return the query that the options ask; ``QueryError`` says what is not understood."""
    verdict = parse_verdict(options.verdict) if options.verdict else None
    return Query(
        since_s=parse_when(options.since, now_s) if options.since else None,
        until_s=parse_when(options.until, now_s) if options.until else None,
        src=parse_source(options.src) if options.src else None,
        caller=options.caller,
        rule=options.rule,
        reason=parse_reason(options.reason) if options.reason else None,
        verdict=verdict,
        refused_only=verdict is None and not options.all,
        call_id=options.call_id,
        callee=options.callee,
        method=parse_method(options.method) if options.method else "",
        finding=parse_finding(options.finding) if options.finding else "",
        limit=parse_limit(limit) if limit else DEFAULT_LIMIT,
    )

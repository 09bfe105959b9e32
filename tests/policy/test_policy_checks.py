"""What a wrong policy is told: where, what, and what was probably meant."""

import pytest
from subjects import load, problems_of


def _told(text: str, **files: str | bytes) -> list[str]:
    return [str(problem) for problem in problems_of(text, **files)]


SYNTAX = [
    ("set a { 1 2\nset b { 3 }", "p:1:7: this is never closed (a '}' is missing)"),
    ("set a { 1 2", "p:1:7: this is never closed (a '}' is missing)"),
    ("set a 1", "p:1:7: expected '{', found '1'"),
    ("set { 1 }", "p:1:5: expected the set's name, found '{'"),
    ('mode "shadow', "p:1:6: this text has no closing quote"),
    ("include other", "p:1:9: expected a \"quoted text\", found 'other'"),
    (
        "chain",
        "p:1:6: expected the chain's name (parse, request, response or media), "
        "found the end of the line",
    ),
    (
        "chain request\n  a",
        "p:2:4: expected a verdict (accept, drop, reject NNN, tolerate or open), "
        "found the end of the line",
    ),
    (
        "chain request\n  a drop if",
        "p:2:12: expected 'not' or a field, found the end of the line",
    ),
    (
        "chain request\n  a drop if not # why",
        "p:2:16: expected 'not' or a field, found the end of the line",
    ),
    (
        "chain request\n  a drop if src ==",
        'p:2:19: expected a "quoted text" or a value, found the end of the line',
    ),
    (
        "chain request\n  a drop if src in",
        "p:2:19: expected '{', a \"quoted text\" or a value, found the end of the line",
    ),
    (
        "chain request\n  a drop if (src in b\n  c accept",
        "p:2:13: this is never closed (a ')' is missing)",
    ),
    (
        'chain request\n  a drop if user_agent matches "x"',
        "p:2:32: expected a /pattern/, found '\"x\"'",
    ),
    (
        "chain request\n  a drop if user_agent matches /x",
        "p:2:32: unexpected '/' (a /pattern/ stands after matches and on one line)",
    ),
    (
        "chain request\n  a drop if src replay",
        "p:2:17: expected a comparison (== != < > <= >=), in, matches, and, or, "
        "or the end of the line, found 'replay'",
    ),
    (
        "chain request\n  a drop if replay }",
        "p:2:20: expected a comparison (== != < > <= >=), in, matches, and, or, "
        "or the end of the line, found '}'",
    ),
]


@pytest.mark.parametrize(("text", "told"), SYNTAX)
def test_syntax_errors_say_what_was_expected(text: str, told: str) -> None:
    """An admin who does not know the grammar can mend the line."""
    assert _told(text)[0] == told


STATEMENTS = [
    ("moed shadow", "p:1:1: unknown setting moed (did you mean mode?)"),
    ("mode shado", "p:1:6: expected shadow or enforce, found shado (did you mean shadow?)"),
    ("mode", "p:1:1: expected shadow or enforce (write mode shadow|enforce)"),
    ("mode shadow now", "p:1:13: this is too much here (write mode shadow|enforce)"),
    ("mode shadow\nmode enforce", "p:2:1: mode stands twice (first at p:1)"),
    ("default reject", "p:1:9: expected a number (write default accept|drop|reject NNN)"),
    ("default reject 200", "p:1:16: 200 is not between 300 and 699"),
    ("sip-ports 5060 70000", "p:1:16: 70000 is not between 1 and 65535"),
    ("sip-ports", "p:1:1: expected a port (write sip-ports PORT ...)"),
    ("forward-udp { dns }", "p:1:15: dns is no number (write forward-udp { PORT ... })"),
    ("media-idle 60", "p:1:12: 60 is no duration (write 90s, 5m, 2h or 1d)"),
    ("media-idle 2d", "p:1:12: 2d is not between 1s and 86400s"),
    ("reply-rate 10", "p:1:12: 10 is no rate (write 10/s, 20/min or 5/h)"),
    ("max-dialogs 0", "p:1:13: 0 is not between 1 and 10000000"),
    ("on-unknown-dialog learn", "p:1:19: expected for"),
    ("trust abi", "p:1:7: nothing is called trust abi (did you mean aib?)"),
    ("trust aib max-agee 1m", "p:1:11: unknown option max-agee (did you mean max-age?)"),
    ("trust aib ca", "p:1:11: ca needs a file"),
    ("trust aib ca x", "p:1:14: ca needs a file in quotes"),
    ("trust aib max-age soon", "p:1:19: soon is no duration (write 90s, 5m, 2h or 1d)"),
    (
        "trust stir fetch publik-only",
        "p:1:18: fetch is public-only, any or never, not publik-only (did you mean public-only?)",
    ),
    ("signature-budget 20", "p:1:18: 20 is no rate (write 10/s, 20/min or 5/h)"),
    (
        "signature-budget 20/s",
        "p:1:18: expected drop or unknown (write signature-budget RATE drop|unknown)",
    ),
    ("signature-budget 20/s reject", "p:1:23: expected drop or unknown, found reject"),
    ("chain requests\n  a drop", "p:1:7: unknown chain requests (did you mean request?)"),
    ('include "q"', "p:1:9: cannot read q: No such file or directory"),
    ('include "p"', "p:1:9: p includes itself (p -> p)"),
    ("set a { 10.0.0.0/33 }", "p:1:9: 10.0.0.0/33 is no address or prefix"),
    ("set a { 2001:db8::g/64 1:2:3 }", "p:1:24: 1:2:3 is no address or prefix"),
    ("set a {1}\nset a {2}", "p:2:5: set a stands twice (first at p:1)"),
    ("set signalling {1}", "p:1:5: no set can be called signalling (peer uses this word)"),
    ("set a {b}\nset b {a}", "p:2:8: set a contains itself (a in b in a)"),
]


@pytest.mark.parametrize(("text", "told"), STATEMENTS)
def test_settings_and_sets_are_checked(text: str, told: str) -> None:
    """Names, values and references outside the chains."""
    first = _told(text)[0]
    assert first == told or first.startswith(told + " (")


RULES = [
    ("request", "a dorp", "p:2:5: unknown verdict dorp (did you mean drop?)"),
    (
        "request",
        "a frobnicate",
        "p:2:5: unknown verdict frobnicate (chain request has accept, drop or reject)",
    ),
    ("request", "a drop 403", "p:2:10: unexpected 403 after drop"),
    ("request", "a reject 200", "p:2:12: 200 is no status to reject with (300 to 699)"),
    ("request", "a reject 700", "p:2:12: 700 is no status to reject with (300 to 699)"),
    (
        "request",
        "a reject 403 Forbidden",
        "p:2:16: unexpected Forbidden after reject (put a phrase in quotes)",
    ),
    (
        "request",
        'a reject 403 "a\tb"',
        "p:2:16: a phrase has 128 printable characters at most",
    ),
    ("response", "a reject 403", "p:2:5: responses cannot be rejected, use drop"),
    ("media", "a accept", "p:2:5: media is not accepted but opened, use open"),
    (
        "request",
        "a open",
        "p:2:5: open stands in chain media only (use accept, drop or reject)",
    ),
    (
        "request",
        "a tolerate bare-lf",
        "p:2:5: tolerate stands in chain parse only (use accept, drop or reject)",
    ),
    ("parse", "a tolerate", "p:2:5: tolerate what? (write tolerate bare-lf if ...)"),
    ("parse", "a tolerate bare-fl", "p:2:14: unknown fault bare-fl (did you mean bare-lf?)"),
    (
        "parse",
        "a tolerate not-sip",
        "p:2:14: not-sip cannot be tolerated (only faults of grammar can)",
    ),
    ("parse", "a tolerate bare-lf shadow", "p:2:22: tolerate cannot be a shadow"),
    ("request", "a drop idle 60s", "p:2:10: idle belongs to open"),
    ("request", "a drop unproven", "p:2:10: unproven belongs to open"),
    ("media", "a open idle 60", "p:2:15: idle needs a duration up to 1d (write idle 60s)"),
    ("media", "a open idle 2d", "p:2:15: idle needs a duration up to 1d (write idle 60s)"),
    ("media", "a open idle 0s", "p:2:15: idle needs a duration up to 1d (write idle 60s)"),
    ("request", "a drop log often", "p:2:14: often is no rate (write log 1/min)"),
    ("request", "a drop\n  a accept", "p:3:3: rule a stands twice in chain request (first at p:2)"),
]


@pytest.mark.parametrize(("chain", "rule", "told"), RULES)
def test_verdicts_are_checked(chain: str, rule: str, told: str) -> None:
    """A verdict stands where it can be carried out, with what it needs."""
    assert told in _told(f"chain {chain}\n  {rule}\n")


CONDITIONS = [
    ("to.usr == x", "13: unknown field to.usr (did you mean to.user?)"),
    ("to.user.x == x", "13: unknown field to.user.x (did you mean to.user?)"),
    ("src in phone", "20: unknown set phone (did you mean phones?)"),
    ("src in nothing", "20: unknown set nothing (a value that is no set stands in braces)"),
    ("src in texts", "20: set texts holds 110, which is no address, and src is one"),
    ("src in {phones texts}", "28: set texts holds 110, which is no address, and src is one"),
    ("src in {phone}", "21: phone is no address, and src is one (did you mean phones?)"),
    ("src == 10.0.0.0/8", "20: 10.0.0.0/8 is no address (write src in {...} for networks)"),
    ("src > 10.0.0.1", "17: src has no order (compare it with == or !=)"),
    ("src", "13: src is no flag but an address (compare it, as in src in {10.0.0.0/8})"),
    ("status", "13: status is no flag but a number (compare it, as in status > 1)"),
    ("method", '13: method is no flag but a method (compare it, as in method == "text")'),
    ("transport", "13: transport is no flag but one of udp tcp tls ws wss"),
    ("replay == yes", "20: replay (flag) cannot be compared (write replay or not replay)"),
    ("replay in {yes}", "13: replay is a flag and in no set (write replay alone)"),
    ("status == high", "23: status is a number, and high is none"),
    ("message.size > 8x", "28: message.size is a number, and 8x is none"),
    ("status > 4k", "22: status is a number, and 4k is none"),
    ("expires > 1y", "23: expires is a number, and 1y is none"),
    ("status in {499-400}", "24: 499-400 is empty: it ends before it starts"),
    ("transport == tpc", "26: transport is never tpc (did you mean tcp?)"),
    ("transport in {tls tpc}", "31: transport is never tpc (did you mean tcp?)"),
    ("method < INVITE", "20: method has no order (compare it with == or !=)"),
    ('method == "A B"', "23: 'A B' cannot be a method"),
    ("src = 10.0.0.1", "17: unknown comparison = (did you mean ==?)"),
    ("src <> 10.0.0.1", "17: unknown comparison <> (use == != < > <= >=)"),
    ("src matches /10/", "25: src is address; only texts match patterns"),
    ("user_agent matches /(/", "32: the pattern cannot be used: missing ): ("),
    ("user_agent matches /(?=a)/", "32: the pattern cannot be used: invalid perl operator: (?="),
    ("user_agent matches /a/g", "32: unknown flag g (only i, to ignore case)"),
    ('src["x"] == 1', "13: src stands alone, without brackets"),
    ("header == x", '13: which header? (write header["X-Name"])'),
    ('header["a b"] == x', '20: "a b" is no header name'),
    ("has src", '17: presence is asked of headers only (write has header["X-Name"])'),
    ("each src in phones", "18: each is for fields with several values, src has one"),
    ("sdp.media == audio", "23: sdp.media (several texts without case) cannot be compared"),
    ("finding in {SIP-999}", "25: SIP-999 is no rule id or reason code"),
    ("finding in {bare-fl}", "25: bare-fl is no rule id or reason code (did you mean bare-lf?)"),
    ("finding", "13: finding is no flag but several findings"),
    ("src == status", "20: src is address, but status is number"),
    ("from.user == src", '26: from.user is user, but src is address (write "src" in quotes'),
    ("media.type == audio", "13: media.type is known in chain media only"),
    ("peer in {signalling}", "13: peer is known in chain media only"),
    ("rate(src, INVITE)", "13: a rate is compared with > or >= (write rate(src, INVITE) > 10/s)"),
    ("rate(src) > 1/s", "13: rate needs whose requests and which method"),
    ("rate > 1/s", "13: rate needs whose requests and which method"),
    ("rate(dst, INVITE) > 1/s", "18: cannot count by dst (src, from.aor, or both"),
    ("rate(src, INVITE) > 10", "33: 10 is no rate (write 10/s, 20/min or 5/h)"),
    ("within soon", "20: soon is neither days nor a time nor a zone"),
    ("within mno-fri", "20: mno-fri is neither days nor a time nor a zone"),
    ("within 25:00-26:00", "20: 25:00-26:00 is neither days nor a time nor a zone"),
    ("within local", "20: the gateway's local time is not known to a policy (write utc or an"),
    ("from.host in {10.0.0.0/33}", "27: 10.0.0.0/33 is no address or prefix"),
]


@pytest.mark.parametrize(("condition", "told"), CONDITIONS)
def test_conditions_are_checked(condition: str, told: str) -> None:
    """Every name is known and every value fits, before a packet is judged."""
    text = f"chain request\n  a drop if {condition}\nset phones {{10.0.0.0/8}}\nset texts {{110}}\n"
    first = _told(text)[0]
    expected = f"p:2:{told}"
    assert first == expected or first.startswith((expected + " (", expected))


@pytest.mark.parametrize("field", ["from.user", "user_agent", "dialog.known", "sdp.present"])
def test_chain_parse_reads_no_headers(field: str) -> None:
    """A rule cannot rest on a header that was not judged sane yet."""
    told = (
        f"p:2:13: {field} cannot be read in chain parse, which runs before any header is read "
        "(move the rule to chain request)"
    )
    assert _told(f"chain parse\n  a drop if {field} == 1\n") == [told]


def test_all_problems_come_at_once() -> None:
    """One run of check shows every line to mend, in order."""
    told = _told(
        "moed shadow\nset a { 10.0.0.0/99 }\nchain request\n"
        "  a dorp if to.usr == x and src in b\n  c drop if (\n  d reject 99\n"
    )
    assert [line.split(" ", 1)[0] for line in told] == [
        "p:1:1:",
        "p:2:9:",
        "p:4:5:",
        "p:4:13:",
        "p:4:36:",
        "p:5:13:",
        "p:6:12:",
    ]


def test_a_misspelt_chain_is_one_problem() -> None:
    """The rules of an unknown chain are not reported as unknown settings."""
    assert len(_told("chain requestt\n  a drop\n  b accept\n")) == 1


def test_a_wrong_include_names_its_file() -> None:
    """A problem in an included file points into that file."""
    assert _told('include "q"\n', q="\n  moed x\n") == [
        "q:2:3: unknown setting moed (did you mean mode?)"
    ]


def test_includes_are_bounded() -> None:
    """A chain of includes ends."""
    files = {f"f{n}": f'include "f{n + 1}"\n' for n in range(20)}
    assert _told('include "f0"\n', **files) == [
        "f7:1:9: more than 8 includes deep or 64 files in all"
    ]


WARNINGS = [
    ("set a {1}", "p:1:5: set a is never used"),
    ("set a {}\nchain request\n  r drop if to.user in a", "p:1:5: set a is empty"),
    (
        "set a {10.0.0.1/8}\nchain request\n  r drop if src in a",
        "p:1:8: 10.0.0.1/8 names one host inside a network (the whole network is meant)",
    ),
    (
        "chain request\n  r drop if method == invite",
        "p:2:23: unknown method invite (did you mean INVITE?)",
    ),
    (
        "chain request\n  r drop if method in {INVITE FROB}",
        "p:2:31: unknown method FROB",
    ),
    (
        'chain request\n  r drop if to.user == "+1900*"',
        "p:2:24: in a comparison * is only a star (for a wildcard write to.user in { ... }; "
        "for a star write \\*)",
    ),
    (
        "chain request\n  all drop\n  late accept if replay",
        "p:3:3: rule late is never reached: all before it matches everything (all is at p:2)",
    ),
    (
        "chain request\n  one drop if replay\n  two accept if replay",
        "p:3:3: rule two can never match: one has the same condition (one is at p:2)",
    ),
    (
        "chain request\n  no drop if method == INVITE and method == BYE",
        "p:2:3: rule no can never match: it contradicts itself",
    ),
    (
        "chain request\n  a drop if dialog.known\n  b drop if not dialog.known\n  c accept",
        "p:4:3: rule c is never reached: rules before it, such as b, leave nothing to it (at p:3)",
    ),
    (
        "chain media\n  a open if aib.valid",
        'p:2:13: aib.valid is always unknown without trust aib (add trust aib ca "FILE")',
    ),
]


@pytest.mark.parametrize(("text", "told"), WARNINGS)
def test_what_was_hardly_meant_is_a_warning(text: str, told: str) -> None:
    """A policy that works but surprises its author still loads."""
    assert told in [str(problem) for problem in load(text).warnings]


@pytest.mark.parametrize(
    "text",
    [
        "chain request\n  a drop if replay shadow\n  b drop if replay\n",
        "chain request\n  a drop shadow\n  b accept\n",
        "chain request\n  a drop if method == INVITE\n  b drop if method != INVITE\n",
        "chain parse\n  a tolerate bare-lf\n  b drop\n",
        "chain request\n  a drop if rate(src, INVITE) > 1/s\n  b drop if method == INVITE\n",
        "set a {1}\nset b {a}\nchain request\n  r drop if to.user in b\n",
    ],
)
def test_what_was_meant_is_no_warning(text: str) -> None:
    """Advice that is wrong is worse than none."""
    assert load(text).warnings == ()

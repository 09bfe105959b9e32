"""What a policy file may look like, and what it then is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subjects import load, problems_of, subject

from sipguard.errors import PolicyError, Problem
from sipguard.policy import Subject, load_policy
from sipguard.policy.literals import Rate
from sipguard.policy.parse import parse_policy
from sipguard.policy.problems import Problems
from sipguard.policy.rules import NamedSet, UnknownDialog
from sipguard.policy.syntax import RuleLine, show
from sipguard.verdict import Action

# The example that the language was designed by, as printed.
DESIGN = """\
# policies/strict.policy      check: sipguard check FILE
mode shadow                               # decide and log everything, drop nothing; later: enforce
default drop
on-overload keep-dialogs                  # queue full: running calls pass, new requests get 503

set trunks  { 203.0.113.10/31 2001:db8:5::/64 }
set phones  { 10.20.0.0/16 }
set relays  { 198.51.100.40 }             # media proxies that may rewrite SDP
set own     { example.com pbx.example.com }
set sos     { "110" "112" "911" }
set premium { "+1900*" "00882*" }

trust aib   ca "trust/aib-ca.pem"   max-age 10m  remember 1h
trust stir  ca "trust/sti-ca.pem"   max-age 60s  fetch public-only within 2s

chain parse                               # runs before any rule may read a header
  ambiguous  drop        if ambiguous
  oversize   drop        if message.size > 8k or headers.count > 80 or mime.depth > 3
  old-phones tolerate    bare-lf if src in phones
chain request
  emergency  accept      if to.user in sos                                             log
  forged     drop        if method in {ACK CANCEL BYE} and not dialog.known            log
  replayed   drop        if replay                                                     log
  downgrade  reject 403  if uri.scheme == sips and transport != tls                    log
  spoofed    reject 403  if from.host in own and src not in phones and not aib.valid   log alarm
  unsigned   reject 428  if method == INVITE and src not in phones and not (aib.valid or stir.attest in {A B})
  flood      reject 503  if rate(src, INVITE) > 10/s                                   log 1/min
  carrier    accept      if src in trunks
  handsets   accept      if src in phones and method in {REGISTER INVITE ACK BYE CANCEL UPDATE PRACK}
chain media
  plain      reject 488  if not keyed
  sealed     open        if keyed and peer in {signalling relays}                       idle 60s
"""  # noqa: E501

_PEM = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
AUTHORITIES = {"trust/aib-ca.pem": _PEM, "trust/sti-ca.pem": _PEM}


def test_the_design_loads_as_printed() -> None:
    """The example in the design is a policy, with its two authorities beside it."""
    policy = load(DESIGN, **AUTHORITIES)
    assert (policy.mode, policy.default, policy.on_overload) == (
        "shadow",
        Action.DROP,
        "keep-dialogs",
    )
    names = "ambiguous oversize old-phones emergency forged replayed downgrade spoofed unsigned"
    assert " ".join(rule.name for rule in policy.rules) == (
        f"{names} flood carrier handsets plain sealed"
    )
    asked = {rule.name: rule.identity for rule in policy.rules if rule.identity}
    assert asked == {"spoofed": {"aib"}, "unsigned": {"aib", "stir"}}
    assert policy.warnings == (Problem("p", 11, 5, "set premium is never used"),)


def test_rules_keep_what_was_written() -> None:
    """Verdict, modifiers and place of a rule reach whoever explains it."""
    policy = load(
        "chain request\n"
        '  no reject 603 "Not today" if replay log 5/h alarm shadow\n'
        "  plain drop log if src.port == 1\n"
        "chain media\n  hole open if keyed idle 90s\n  other open if media.type == audio\n"
    )
    no, plain, hole, other = policy.rules
    assert (no.action, no.status, no.phrase) == ("reject", 603, "Not today")
    assert (no.log, no.log_rate, no.alarm, no.shadow) == (True, Rate(5, 3600), True, True)
    assert (no.place, no.condition) == ("p:2", "replay")
    assert (plain.log, plain.log_rate, plain.alarm, plain.shadow) == (True, None, False, False)
    assert (hole.idle_s, other.idle_s) == (90, 60)
    assert not hole.unproven


def test_a_rule_may_ask_no_proof() -> None:
    """For a test bench whose SRTP is recorded; named, and for its peers alone."""
    [rule] = load("chain media\n  bench open if keyed unproven idle 90s\n").chains["media"].rules
    assert (rule.unproven, rule.idle_s) == (True, 90)


def test_settings_have_their_defaults() -> None:
    """An empty policy refuses everything and tells so in values."""
    policy = load("")
    assert policy.mode == "enforce"
    assert policy.default_shown == "drop"
    assert (policy.on_overload, policy.on_exit) == ("keep-dialogs", "keep")
    assert policy.on_unknown_dialog == UnknownDialog("drop", 0)
    assert (policy.sip_ports, policy.stream_transports, policy.forward_udp) == (
        (5060,),
        "judge",
        (),
    )
    assert (policy.keep_alives, policy.keep_alive_rate) == (Action.ACCEPT, Rate(10, 1))
    assert (policy.record, policy.max_dialogs) == ("blocked", 100_000)
    assert (policy.replay_window_s, policy.reply_rate) == (3600, Rate(10, 1))
    assert (policy.session_limit_s, policy.media_idle_s) == (43_200, 60)
    assert (policy.signature_budget, policy.signature_budget_action) == (Rate(20, 1), "unknown")
    assert (policy.aib, policy.stir, policy.digest) == (None, None, None)
    assert policy.judge("request", _nobody()) is None


def _nobody() -> Subject:

    return subject()


def test_settings_are_read() -> None:
    """Every setting reaches the policy."""
    policy = load(
        "mode shadow\ndefault reject 480\non-overload accept-all\n"
        "on-unknown-dialog learn for 30m\non-exit remove\nsip-ports 5060 5061\n"
        "stream-transports pass\nforward-udp { 53 123 }\nkeep-alives drop\n"
        "keep-alive-rate 3/min\nrecord all\nrecord-rate 9/s\nmax-dialogs 5\nmax-pinholes 6\n"
        "replay-window 2h\n"
        "reply-rate 1/s\nsession-limit 1d\nmedia-idle 5m\nsignature-budget 7/min drop\n"
    )
    assert (policy.mode, policy.default, policy.default_status) == ("shadow", Action.REJECT, 480)
    assert policy.default_shown == "reject 480"
    assert (policy.on_overload, policy.on_exit) == ("accept-all", "remove")
    assert policy.on_unknown_dialog == UnknownDialog("learn", 1800)
    assert (policy.sip_ports, policy.forward_udp) == ((5060, 5061), (53, 123))
    assert (policy.stream_transports, policy.keep_alives) == ("pass", Action.DROP)
    assert (policy.keep_alive_rate, policy.reply_rate) == (Rate(3, 60), Rate(1, 1))
    assert (policy.record, policy.max_dialogs, policy.max_pinholes) == ("all", 5, 6)
    assert policy.record_rate == Rate(9, 1)
    assert (policy.replay_window_s, policy.session_limit_s) == (7200, 86_400)
    assert policy.media_idle_s == 300
    assert (policy.signature_budget, policy.signature_budget_action) == (Rate(7, 60), "drop")


def test_statements_may_span_lines_inside_brackets() -> None:
    """Long sets and long conditions stay readable."""
    policy = load(
        "set a {  # first\n  10.0.0.1,\n\n  10.0.0.2  # second\n}\r\n"
        "chain request\n  one drop if (src in a\n     or replay)  # why\n  two accept\n"
    )
    assert [rule.condition for rule in policy.rules] == ["src in a or replay", ""]
    assert policy.sets == (NamedSet("a", ("10.0.0.1", "10.0.0.2")),)


def test_keywords_are_names_where_names_stand() -> None:
    """Nobody has to know which words the grammar uses elsewhere."""
    policy = load(
        'set log { "in" in not }\nchain request\n  if drop if to.user in log\n'
        "  drop drop if replay log\n  log accept\n"
    )
    assert [rule.name for rule in policy.rules] == ["if", "drop", "log"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("not not replay", "replay"),
        ("not replay and keyed or replay", "not replay and keyed or replay"),
        ("(replay or keyed) and replay", "(replay or keyed) and replay"),
        ("not (replay and keyed)", "not (replay and keyed)"),
        ("not (replay or keyed)", "not (replay or keyed)"),
        ("src not in {a, 10.0.0.1}", "not src in {a 10.0.0.1}"),
        ('header["X"] present', 'has header["X"]'),
        ('has header["X"]', 'has header["X"]'),
        ("rate(src from.aor,REGISTER)>20/min", "rate(src from.aor, REGISTER) > 20/min"),
        ('user_agent matches /a"#{(/i', 'user_agent matches /a"#{(/i'),
        ("each sdp.address in a", "each sdp.address in a"),
        ("within mon-fri 08:00-18:00 utc", "within mon-fri 08:00-18:00 utc"),
        ('to.user in {"\\*1" "a b"}', 'to.user in {"\\*1" "a b"}'),
    ],
)
def test_conditions_read_as_they_bind(text: str, shown: str) -> None:
    """``not`` binds tighter than ``and``, ``and`` tighter than ``or``."""
    problems = Problems()
    _, rule = parse_policy("p", f"chain request\n  r drop if {text} log\n", problems)
    assert problems.errors == []
    assert isinstance(rule, RuleLine)
    assert show(rule.condition) == shown


def test_includes_are_read_in_place() -> None:
    """A file's own directory is where its includes are; sets are known before their line."""
    texts = {
        "etc/main": 'include "sub/a"\nchain request\n  last accept if src in late\n',
        "etc/sub/a": 'include "../b"\nchain request\n  first drop if replay\n',
        "etc/sub/../b": "mode shadow\nset late { 10.0.0.1 }\n",
    }

    policy = load_policy("etc/main", texts.__getitem__)
    assert [rule.name for rule in policy.rules] == ["first", "last"]
    assert [rule.place for rule in policy.rules] == ["etc/sub/a:3", "etc/main:3"]
    assert policy.files == ("etc/main", "etc/sub/a", "etc/sub/../b")


def test_a_chain_goes_on_after_an_include() -> None:
    """An include between rules does not end the chain it stands in."""
    policy = load('chain request\n  a drop if replay\n  include "x"\n  b accept\n', x="set s {1}\n")
    assert [rule.name for rule in policy.chains["request"].rules] == ["a", "b"]


def test_chains_may_come_in_blocks() -> None:
    """Blocks of one chain are appended in order."""
    policy = load(
        "chain request\n  a drop if replay\nchain media\n  m drop\nchain request\n  b accept\n"
    )
    assert [rule.name for rule in policy.chains["request"].rules] == ["a", "b"]


_PARAGRAPH = (
    "mode default set trust chain include if and or not in matches within has present each log "
    "alarm shadow idle accept drop reject tolerate open request media parse response 403 10/s 60s "
    '{ } ( ) , == != < > = /a/ /( "x" " src method to.user header["X"] rate(src,INVITE) replay '
    "keyed peer signalling finding {SIP-12} {INVITE} {a} a 10.0.0.0/8 10.0.0.0/99 08:00-18:00 utc "
    "bare-lf # \\ learn for 30m sip-ports 0 -1 99999999999 aib stir digest ca certs crl relays spc "
    "fetch never ha1 remember codes signature-budget aib.valid stir.attest replay.kind"
)
_WORDS = st.sampled_from(_PARAGRAPH.split(" "))
_LINES = st.lists(st.one_of(_WORDS, st.just("\n"), st.just("\n  ")), max_size=60).map(" ".join)


@given(st.one_of(_LINES, st.text(max_size=200), _LINES.map(lambda t: "chain request\n" + t)))
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    """Whatever stands in the file, the admin sees problems and never a traceback."""
    problems = problems_of(text, x=text)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        "chain request\n  a drop if " + "not " * 20_000 + "replay",
        "chain request\n  a drop if " + "(" * 5_000 + "replay" + ")" * 5_000,
        "set a " + "{" * 5_000,
        "set a " + "{ 1 " * 40 + "}" * 40,
        "chain request\n  a drop if " + " or ".join(["replay"] * 20_000),
        "(\n" * 5_000,
        'include "p"\n' * 3,
        "\ud800",
        "\x00\x01\ufeff",
        'chain request\n a drop if user_agent matches /' + "(a{1000}){1000}/",
    ],
)  # fmt: skip
def test_hostile_nesting_is_refused(text: str) -> None:
    """Depth and size have bounds; no policy text exhausts the stack."""
    with pytest.raises(PolicyError):
        load(text)

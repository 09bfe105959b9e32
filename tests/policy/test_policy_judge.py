"""What a policy rules about a message: first match, counts, shadows, tolerance, rates."""

import time
import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import MONDAY_NOON, PHONE, STRANGER, Counts, Stream, load, octets, request
from subjects import subject as made

from sipguard.moment import Moment
from sipguard.policy import Policy, Rule, Subject
from sipguard.policy.pattern import compile_pattern
from sipguard.reason import Finding, Reason


def _ruling(policy: Policy, subject: Subject, chain: str = "request") -> tuple[str, str] | None:
    ruling = policy.judge(chain, subject)
    return (ruling.action, ruling.rule.name) if ruling else None


def _rule(policy: Policy, name: str) -> Rule:
    return next(rule for rule in policy.rules if rule.name == name)


def test_the_first_match_wins() -> None:
    """Order is meaning; nothing behind the first match is asked."""
    policy = load(
        "chain request\n  a drop if replay\n  b reject 403 if src in {10.0.0.0/8}\n  c accept\n"
    )
    assert _ruling(policy, made()) == ("reject", "b")
    assert _ruling(policy, made(src=STRANGER)) == ("accept", "c")


def test_no_match_is_no_ruling() -> None:
    """The default is the guard's to apply."""
    assert load("chain request\n  a drop if replay\n").judge("request", made()) is None
    assert load("").judge("media", made(stream=Stream())) is None


def test_hits_are_counted() -> None:
    """The admin sees which rules work, and when they last did."""
    policy = load("chain request\n  a drop if method == BYE\n  b accept\n")
    policy.judge("request", made())
    later = Moment(2000.0, 2e9)
    policy.judge("request", made(now=later))
    a, b = policy.rules
    assert (a.hits, a.last_hit) == (0, None)
    assert (b.hits, b.last_hit) == (2, later)


def test_a_shadow_rule_decides_nothing() -> None:
    """A rule on trial is noted and counted; the message fares as without it."""
    policy = load(
        "chain request\n  trial drop if replay shadow\n  all drop shadow\n  b accept\n"
        "chain response\n  only drop shadow\n"
    )
    subject = made()
    subject.replay = True
    assert _ruling(policy, subject) == ("accept", "b")
    assert [rule.name for rule in subject.noted] == ["trial", "all"]
    assert _rule(policy, "trial").hits == 1
    other = made()
    assert _ruling(policy, other, "response") is None
    assert [rule.name for rule in other.noted] == ["only"]


def test_chains_are_apart() -> None:
    """A rule is asked in its chain only."""
    policy = load("chain parse\n  p drop\nchain request\n  r accept\nchain media\n  m open\n")
    found = [_ruling(policy, made(), chain) for chain in ("parse", "request", "response", "media")]
    assert found == [("drop", "p"), ("accept", "r"), None, ("open", "m")]


def test_running_calls_meet_only_what_requires_them() -> None:
    """The short way asks the rules that could match nothing else, in their order."""
    policy = load(
        "chain request\n  early accept if src in {10.0.0.0/8}\n"
        "  one drop if dialog.known and replay\n"
        "  two reject 403 if method == BYE and (dialog.known and not aib.valid)\n"
        "  maybe drop if dialog.known or replay\n  late drop\n"
    )
    assert [rule.name for rule in policy.in_dialog.rules] == ["one", "two"]
    subject = made(request("BYE"))
    subject.dialog_known = True
    assert _ruling(policy, subject, "dialog") == ("reject", "two")
    assert _rule(policy, "two").hits == 1
    invite = made()
    invite.dialog_known = True
    assert _ruling(policy, invite, "dialog") is None


# --- tolerance

TOLERANT = (
    "chain parse\n  ambiguous drop if ambiguous\n  bad drop if finding in {SIP-8 SIP-12}\n"
    "  old tolerate bare-lf bad-via if src in {10.20.0.5}\n"
)


def test_tolerated_faults_are_forgiven_to_one_peer() -> None:
    """A tolerance is named, per peer, and works wherever it stands in the chain."""
    policy = load(TOLERANT)
    for src, forgiven in ((PHONE, True), (STRANGER, False)):
        subject = made(src=src)
        subject.findings = [Finding(Reason.BARE_LF)]
        assert (policy.judge("parse", subject) is None) is forgiven
        expected = frozenset({Reason.BARE_LF, Reason.BAD_VIA}) if forgiven else frozenset()
        assert policy.tolerated(subject) == expected
    assert _rule(policy, "old").hits == 1


def test_a_tolerance_forgives_nothing_else() -> None:
    """Another fault beside the tolerated one still counts."""
    subject = made()
    subject.findings = [Finding(Reason.BARE_LF), Finding(Reason.DUPLICATE_HEADER)]
    assert _ruling(load(TOLERANT), subject, "parse") == ("drop", "ambiguous")


def test_clean_messages_ask_for_no_tolerance() -> None:
    """Without findings there is nothing to forgive and no rule is hit."""
    policy = load(TOLERANT)
    subject = made()
    assert policy.tolerated(subject) == frozenset()
    assert policy.judge("parse", subject) is None
    assert _rule(policy, "old").hits == 0


# --- rates


def test_rates_are_read_for_the_message_in_hand() -> None:
    """More than the limit matches, the limit itself does not."""
    policy = load("chain request\n  flood drop if rate(src, INVITE) > 10/s\n")
    for count, answer in ((10, None), (11, ("drop", "flood"))):
        counts = Counts({("src", b"INVITE", 1): count})
        assert _ruling(policy, made(rates=counts)) == answer
        assert counts.asked == [("src", octets(PHONE), b"INVITE", 1)]


def test_an_ipv6_source_is_its_network() -> None:
    """A host has 2**64 addresses of its own: a flood from all of them is one flood."""
    one, other = (made(src=f"2001:db8:5::{end}").rate_key("src") for end in ("1", "ffff:2"))
    assert one == other == octets("2001:db8:5::")[:8]
    assert made(src="2001:db8:6::1").rate_key("src") != one
    assert made(src=STRANGER).rate_key("src") == octets(STRANGER)


def test_at_least_a_rate() -> None:
    """``>=`` takes the limit in."""
    policy = load("chain request\n  flood drop if rate(src, *) >= 10/min\n")
    counts = Counts({("src", b"*", 60): 10})
    assert _ruling(policy, made(request("OPTIONS"), rates=counts)) == ("drop", "flood")


def test_a_rate_speaks_of_its_method_alone() -> None:
    """A flood of INVITEs does not take the source's other requests along."""
    policy = load("chain request\n  flood drop if rate(src, INVITE) > 10/s\n  ok accept\n")
    counts = Counts({("src", b"INVITE", 1): 99})
    assert _ruling(policy, made(request("REGISTER"), rates=counts)) == ("accept", "ok")


def test_rates_are_kept_by_source_account_or_both() -> None:
    """The guard counts by the same keys as the rules read."""
    policy = load(
        "chain request\n  a drop if rate(src, REGISTER) > 1/s\n"
        "  b drop if rate(from.aor, REGISTER) > 1/min\n"
        "  c drop if rate(src from.aor, REGISTER) > 1/h or rate(src, *) > 5/s\n"
    )
    assert policy.rates_needed == (
        ("from.aor", b"REGISTER", 60),
        ("src", b"*", 1),
        ("src", b"REGISTER", 1),
        ("src.aor", b"REGISTER", 3600),
    )
    subject = made(request("REGISTER"))
    counts = Counts({})
    subject.rates = counts
    policy.judge("request", subject)
    keys = {kind: key for kind, key, _, _ in counts.asked}
    assert keys == {kind: subject.rate_key(kind) for kind in ("src", "from.aor", "src.aor")}
    assert keys["src.aor"] == keys["src"] + keys["from.aor"]
    assert keys["from.aor"] == b"sip:alice@example.com"


# --- narrowing changes nothing

_ATOMS = st.sampled_from(
    [
        "method == INVITE",
        "method != BYE",
        "method in {ACK BYE}",
        "method not in {INVITE FROB}",
        "method matches /E$/",
        "cseq.method == INVITE",
        "dialog.known",
        "transaction.known",
        "replay",
        "ambiguous",
        "malformed",
        "finding in {SIP-12}",
        "src in {10.0.0.0/8}",
        "rate(src, INVITE) > 1/s",
        "rate(src, *) > 1/s",
        "status == 0",
    ]
)
_CONDITIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.lists(inner, min_size=2, max_size=4).map(lambda ts: "(" + " and ".join(ts) + ")"),
        st.lists(inner, min_size=2, max_size=4).map(lambda ts: "(" + " or ".join(ts) + ")"),
    ),
    max_leaves=8,
)
_METHODS = st.sampled_from(["INVITE", "ACK", "BYE", "OPTIONS", "FROB", "NEW-ONE"])
_FINDINGS = st.lists(st.sampled_from([Reason.BARE_LF, Reason.DUPLICATE_HEADER, Reason.BAD_VIA]))


def _unfiltered(policy: Policy, chain: str, subject: Subject) -> str | None:
    for rule in policy.chains[chain].rules:
        if not rule.shadow and rule.matches(subject):
            return rule.name
    return None


@settings(deadline=None)
@given(
    conditions=st.lists(st.tuples(_CONDITIONS, st.booleans()), min_size=1, max_size=5),
    method=_METHODS,
    facts=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    findings=_FINDINGS,
    src=st.sampled_from([PHONE, STRANGER]),
    count=st.integers(0, 3),
)
def test_narrowing_rules_as_asking_every_rule_would(
    conditions: list[tuple[str, bool]],
    method: str,
    facts: tuple[bool, bool, bool],
    findings: list[Reason],
    src: str,
    count: int,
) -> None:
    """Skipping rules that cannot match is a matter of speed and of nothing else."""
    rules = "".join(
        f"  r{n} drop if {text}{' shadow' if shadow else ''}\n"
        for n, (text, shadow) in enumerate(conditions)
    )
    policy = load(f"chain request\n{rules}")
    counts = Counts({("src", b"INVITE", 1): count, ("src", b"*", 1): count})
    subject = made(request(method), src=src, rates=counts)
    subject.dialog_known, subject.transaction_known, subject.replay = facts
    subject.findings = [Finding(reason) for reason in findings]
    ruling = policy.judge("request", subject)
    assert (ruling.rule.name if ruling else None) == _unfiltered(policy, "request", subject)
    noted = [rule for rule in policy.rules if rule.shadow and rule.matches(subject)]
    if ruling is None:
        assert list(subject.noted) == noted
    if subject.dialog_known:
        asked = {rule.name for rule in policy.in_dialog.rules}
        ruling = policy.judge("dialog", subject)
        expected = [
            rule.name
            for rule in policy.rules
            if rule.name in asked and not rule.shadow and rule.matches(subject)
        ]
        assert (ruling.rule.name if ruling else None) == (expected[0] if expected else None)


def test_methods_of_strangers_do_not_grow_the_policy() -> None:
    """All methods that a policy does not name share one narrowed chain."""
    policy = load("chain request\n  a drop if method == INVITE\n  b accept\n")
    chain = policy.chains["request"]
    for number in range(500):
        assert _ruling(policy, made(request(f"M{number}"))) == ("accept", "b")
    assert len(chain._steps) == 1


# --- speed


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|aa)+$", "(.*a){20}", "^(a+)+$"])
def test_patterns_take_linear_time(pattern: str) -> None:
    """No User-Agent makes a pattern slow; Python's own ``re`` needs hours for these."""
    test = compile_pattern(pattern)
    start = time.perf_counter()
    test(b"a" * 60_000 + b"c")
    assert time.perf_counter() - start < 2.0


def test_thirty_rules_cost_little() -> None:
    """A request through 30 rules stays a small part of the 15 microseconds of a message.

    The bound is loose, for busy machines; ``make bench`` has the figure.
    """
    rules = "".join(
        f"  r{n} drop if src in {{198.51.100.{n}}} and method in {{INVITE BYE}}\n"
        if n % 3
        else f"  r{n} drop if method == OPTIONS and user_agent in {{scan{n}*}}\n"
        for n in range(29)
    )
    policy = load(
        f"set phones {{10.0.0.0/8}}\nchain request\n{rules}  ok accept if src in phones\n"
    )
    subject = made(now=MONDAY_NOON)
    assert _ruling(policy, subject) == ("accept", "ok")
    times = timeit.repeat(
        lambda: policy.judge("request", subject),
        number=2000,
        repeat=7,
        timer=time.process_time,
    )
    assert min(times) / 2000 < 15e-6

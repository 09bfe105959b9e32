"""What a rule does when it matches: verdicts, where each may stand, and modifiers."""

from typing import Final

from sipguard.policy.asked import asks_mikey, proofs_asked
from sipguard.policy.compile import Fixed
from sipguard.policy.literals import parse_duration, parse_number, parse_rate
from sipguard.policy.problems import Problems, Wrong, one_of, suggest
from sipguard.policy.resolve import Resolver
from sipguard.policy.rules import Rule
from sipguard.policy.settings import DAY_S, STATUSES
from sipguard.policy.syntax import Modifier, RuleLine, Word, show
from sipguard.reason import Reason
from sipguard.weight import Weight

ALLOWED: Final = {
    "parse": ("accept", "drop", "reject", "tolerate"),
    "request": ("accept", "drop", "reject"),
    "response": ("accept", "drop"),
    "media": ("open", "reject", "drop"),
}
VERDICTS: Final = ("accept", "drop", "reject", "tolerate", "open")
# Not the unreadable and the oversize: what cannot be read cannot be judged either.
TOLERABLE: Final = {
    reason.value: reason
    for reason in Reason
    if reason.weight in (Weight.MALFORMED, Weight.AMBIGUOUS)
}
MAX_PHRASE_CHARACTERS: Final = 128


def build_rule(
    line: RuleLine, chain: str, resolver: Resolver, idle_s: int, problems: Problems
) -> Rule:
    """Return the rule of one line; what is wrong with it is reported."""
    condition = line.condition
    node = Fixed(True) if condition is None else resolver.node(condition, chain)
    name = line.name
    rule = Rule(name.text, chain, line.verdict.text, node, name.at)
    rule.condition = show(condition)
    rule.identity = proofs_asked(condition)
    rule.asks_mikey = asks_mikey(condition)
    rule.idle_s = idle_s if line.verdict.text == "open" else 0
    try:
        _set_verdict(rule, line)
    except Wrong as wrong:
        problems.add(wrong)
    for modifier in line.modifiers:
        try:
            _modify(rule, modifier)
        except Wrong as wrong:
            problems.add(wrong)
    return rule


def _set_verdict(rule: Rule, line: RuleLine) -> None:
    verdict, arguments = line.verdict, line.arguments
    _check_verdict(verdict, rule.chain)
    if verdict.text == "reject":
        _set_reject(rule, arguments)
    elif verdict.text == "tolerate":
        if not arguments:
            raise Wrong(verdict.at, "tolerate what?", "write tolerate bare-lf if ...")
        rule.tolerates = frozenset(_tolerable(word) for word in arguments)
    elif arguments:
        raise Wrong(arguments[0].at, f"unexpected {arguments[0].text} after {verdict.text}")


def _check_verdict(verdict: Word, chain: str) -> None:
    name, allowed = verdict.text, ALLOWED[chain]
    if name not in VERDICTS:
        hint = suggest(name, allowed) or f"chain {chain} has {one_of(allowed)}"
        raise Wrong(verdict.at, f"unknown verdict {name}", hint)
    if name in allowed:
        return
    if name == "reject":
        raise Wrong(verdict.at, "responses cannot be rejected, use drop")
    if name == "accept":
        raise Wrong(verdict.at, "media is not accepted but opened, use open")
    only = "parse" if name == "tolerate" else "media"
    raise Wrong(verdict.at, f"{name} stands in chain {only} only", f"use {one_of(allowed)}")


def _set_reject(rule: Rule, arguments: tuple[Word, ...]) -> None:
    """Set status and phrase; without a status, the finding's own is sent, or 403."""
    if not arguments:
        return
    code, *rest = arguments
    status = parse_number(code.text)
    if status is None or status not in STATUSES:
        raise Wrong(code.at, f"{code.text} is no status to reject with", "300 to 699")
    rule.status = status
    if not rest:
        return
    phrase = rest[0]
    if not phrase.quoted:
        raise Wrong(phrase.at, f"unexpected {phrase.text} after reject", "put a phrase in quotes")
    if not phrase.text.isprintable() or len(phrase.text) > MAX_PHRASE_CHARACTERS:
        raise Wrong(phrase.at, f"a phrase has {MAX_PHRASE_CHARACTERS} printable characters at most")
    rule.phrase = phrase.text
    if len(rest) > 1:
        raise Wrong(rest[1].at, f"unexpected {rest[1].text} after the phrase")


def _tolerable(word: Word) -> Reason:
    reason = TOLERABLE.get(word.text)
    if reason is not None:
        return reason
    if any(word.text == known.value for known in Reason):
        raise Wrong(word.at, f"{word.text} cannot be tolerated", "only faults of grammar can")
    raise Wrong(word.at, f"unknown fault {word.text}", suggest(word.text, TOLERABLE))


def _modify(rule: Rule, modifier: Modifier) -> None:
    name, value = modifier
    match name.text:
        case "alarm":
            rule.alarm = True
        case "shadow":
            if rule.action == "tolerate":
                raise Wrong(name.at, "tolerate cannot be a shadow")
            rule.shadow = True
        case "log":
            rule.log = True
            if value is not None:
                rule.log_rate = parse_rate(value.text)
                if rule.log_rate is None:
                    raise Wrong(value.at, f"{value.text} is no rate", "write log 1/min")
        case "unproven":
            if rule.action != "open":
                raise Wrong(name.at, "unproven belongs to open")
            rule.unproven = True
        case _:  # the grammar has no other
            _set_idle(rule, name, value)


def _set_idle(rule: Rule, name: Word, value: Word | None) -> None:
    if rule.action != "open":
        raise Wrong(name.at, "idle belongs to open")
    seconds = parse_duration(value.text) if value else None
    if value is None or seconds is None or not 1 <= seconds <= DAY_S:
        at = value.at if value else name.at
        raise Wrong(at, "idle needs a duration up to 1d", "write idle 60s")
    rule.idle_s = seconds

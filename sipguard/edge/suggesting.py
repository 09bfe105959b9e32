"""The narrowest rule that would have let a recorded call pass, tried before it is told.

The stored message is judged again by the policy with that one line in it. What
depends on earlier messages (calls, replays, rates) cannot be tried so, and is
not suggested.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

from sipguard.edge.archive import Entry
from sipguard.edge.control import read_status
from sipguard.edge.policy_file import Files, read_policy
from sipguard.edge.stored import is_whole, packet_of, restored
from sipguard.errors import EdgeError, PolicyError
from sipguard.guard import Guard
from sipguard.journal import told
from sipguard.journal.because import short
from sipguard.moment import Moment
from sipguard.policy.rules import Policy, Rule
from sipguard.policy.verdicts import TOLERABLE
from sipguard.reason import Reason
from sipguard.verdict import Action, Decision, Judgement
from sipguard.weight import Weight
from sipguard.wire.packet import Packet, show_address
from sipguard.wire.sip import parse_message

_SECRET: Final = b"sipguard suggest"  # of To tags in replies nobody sends
_PLAIN: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
_METHOD: Final = re.compile(rb"[A-Z]{1,20}")
_NAMED: Final = 8  # rules, before it is "and 7 more"


class NoRuleError(EdgeError):
    """No rule can be suggested; the text says why."""


class Suggestion(NamedTuple):
    """One line of a policy, where it goes, and what it lets in besides this call."""

    line: str
    chain: str
    file: str
    number: int  # it becomes this line of the file
    above: str  # the rule that it stands above; empty at the end of the chain
    lets_in: tuple[str, ...]
    warnings: tuple[str, ...]  # of the policy with it


class _Trial(NamedTuple):
    """The stored message, and what the policy says of it as it stands."""

    packet: Packet
    now: Moment
    policy: Policy
    decision: Decision

    @property
    def judgement(self) -> Judgement:
        return self.decision.judgement


class _Overlay(Files):
    """Reads one policy file as if it had one line more."""

    def __init__(self, name: str, number: int, line: str) -> None:
        super().__init__()
        self._name, self._number, self._line = name, number, line

    def text(self, name: str) -> str:
        """Return the file's text, with the line in it."""
        text = super().text(name)
        return with_line(text, self._number, self._line) if name == self._name else text


def with_line(text: str, number: int, line: str) -> str:
    """Return a policy with *line* as its line *number*, the others moved down."""
    lines = text.split("\n")
    lines.insert(min(number - 1, len(lines)), line)
    return "\n".join(lines)


def policy_of(entry: Entry, state_dir: Path, now_s: float) -> str:
    """Return the running service's policy, or the one that the record's place names.

    Raises:
        EdgeError: Neither names one.
    """
    try:
        name = read_status(state_dir, now_s).report.policy_file
    except EdgeError:
        name = ""
    place = told.text(entry.line, "place")
    name = name or place.rpartition(":")[0] or place
    if not name:
        raise EdgeError("which policy? The record names none: give --policy FILE")
    return name


def suggest(entry: Entry, policy: Policy) -> Suggestion:
    """Return a rule that was seen to let the stored message pass.

    Raises:
        NoRuleError: There is none, or it cannot be tried; the text says why.
    """
    trial = _try_as_it_is(entry, policy)
    rule = next((rule for rule in trial.policy.rules if rule.place == trial.judgement.place), None)
    name = f"let-{told.text(entry.line, 'id')}"
    if trial.judgement.rule == "parse" or (rule is not None and rule.chain == "parse"):
        found = _tolerate(trial, rule, name)
    elif rule is not None and rule.chain == "media":
        found = _open(trial, rule, name)
    elif rule is not None or trial.judgement.reason is Reason.DEFAULT:
        found = _accept(trial, rule, name)
    else:
        raise NoRuleError(
            f"sipguard itself refuses it ({trial.judgement.reason.value}), before any rule is "
            "asked or whatever the rules say; no rule changes that"
        )
    return _try_with(found, trial)


def _try_as_it_is(entry: Entry, policy: Policy) -> _Trial:
    record = entry.line
    if told.text(record, "verdict") == "accept":
        raise NoRuleError("it was accepted; no rule is needed")
    if told.is_media(record):
        raise NoRuleError(
            "it is about packets that did not show the negotiated key, and no rule lets those "
            "pass; see `media-proof` and `open ... unproven` in the policy language"
        )
    packet, time_s = packet_of(entry)
    if not is_whole(entry):
        raise NoRuleError(
            "only the first 8 KiB of the message were kept, which cannot be judged again"
        )
    packet, is_masked = restored(packet)
    trial = _Trial(packet, now := Moment(0.0, time_s), policy, _judge(policy, packet, now))
    judgement = trial.judgement
    said = (told.text(record, "rule"), told.text(record, "reason"))
    if (judgement.rule, judgement.reason.value) == said:
        return trial
    if judgement.action is Action.ACCEPT:
        now_it = f"passes by {judgement.rule}"
    else:
        now_it = f"is refused by {judgement.rule} ({judgement.reason.value})"
    cause = "What was masked in it may be the cause, or" if is_masked else "Either"
    raise NoRuleError(
        f"judged alone and by {short(policy.file)} as it is now, the stored message {now_it}, not "
        f"by {said[0]} ({said[1]}). {cause} the policy has changed, or it depends on what "
        "came before it: calls, replay memory, rates"
    )


def _judge(policy: Policy, packet: Packet, now: Moment) -> Decision:
    guard = Guard(policy, _SECRET, learning=False)
    decision = guard.judge(packet, now)
    if decision.action is Action.HOLD:
        decision = guard.judge_again(packet, now, last=True)
    return decision


def _tolerate(trial: _Trial, rule: Rule | None, name: str) -> Suggestion:
    faults = [f.reason for f in trial.decision.findings if f.reason.weight is not Weight.NOTE]
    codes = list(dict.fromkeys(reason.value for reason in faults))
    wrong = [code for code in codes if code not in TOLERABLE]
    if not codes or wrong:
        what = f"{', '.join(wrong)} cannot be tolerated" if wrong else "nothing was found on it"
        where = (
            f"; the limits of rule {rule.name} ({short(rule.place)}) may be raised" if rule else ""
        )
        raise NoRuleError(f"chain parse refuses it, and {what}{where}")
    src = show_address(trial.packet.src)
    line = f"{name} tolerate {' '.join(codes)} if src in {{ {src} }}"
    lets = (
        f"every other message from {src} with {_all(codes)}, if the rules below accept it",
        "two programs may read such a message in two ways: repairing the sender is better",
    )
    file, number = _above(trial, rule, "parse")
    return Suggestion(line, "parse", file, number, rule.name if rule else "", lets, ())


def _open(trial: _Trial, rule: Rule, name: str) -> Suggestion:
    if trial.judgement.reason is Reason.NOT_KEYED:
        raise NoRuleError("its offer has no key for SRTP, and no rule opens a pinhole without one")
    src = show_address(trial.packet.src)
    line = f"{name} open if keyed and src in {{ {src} }}"
    lets = (
        f"every keyed stream that is offered or answered from {src}, to whatever address",
        f"and what rule {rule.name} refuses of it otherwise",
    )
    return Suggestion(line, "media", rule.file, rule.line, rule.name, lets, ())


def _accept(trial: _Trial, rule: Rule | None, name: str) -> Suggestion:
    message = parse_message(trial.packet.payload, trial.packet.transport)
    if not message.is_request:
        raise NoRuleError(
            "it is a response, which passes where its request did; look at the request"
        )
    src = show_address(trial.packet.src)
    conditions, claims = [f"src in {{ {src} }}"], ""
    if _METHOD.fullmatch(message.method):
        conditions.insert(0, f"method == {message.method.decode()}")
    caller = message.ids.from_.uri if message.ids is not None else None
    if caller is not None and _PLAIN.fullmatch(caller.user) and _PLAIN.fullmatch(caller.host):
        user, host = caller.user.decode(), caller.host.decode()
        conditions += [f'from.user == "{user}"', f'from.host == "{host}"']
        claims = f" that says it is from {user}@{host}"
    what = message.method.decode() if _METHOD.fullmatch(message.method) else "request"
    lets = [f"every other {what} from {src}{claims}, whoever is called and however often"]
    below = _below(trial.policy, rule)
    if below:
        lets.append(f"whatever these rules say of it, which are asked no more: {below}")
    if trial.packet.transport == "udp":
        lets.append(f"and who can send packets with the source {src}: of UDP it can be forged")
    line = f"{name} accept if {' and '.join(conditions)} log"
    file, number = _above(trial, rule, "request")
    return Suggestion(line, "request", file, number, rule.name if rule else "", tuple(lets), ())


def _below(policy: Policy, rule: Rule | None) -> str:
    """Name the refusing rules that a new one above *rule* takes the word from."""
    rules = policy.chains["request"].rules
    start = rules.index(rule) if rule is not None else len(rules)
    names = [one.name for one in rules[start:] if one.action in ("drop", "reject")]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _above(trial: _Trial, rule: Rule | None, chain: str) -> tuple[str, int]:
    """Return file and line for a new rule: where *rule* stands, or at the end of the chain."""
    if rule is not None:
        return rule.file, rule.line
    rules = trial.policy.chains[chain].rules
    if not rules:
        raise NoRuleError(f"the policy has no chain {chain}, in which a rule could stand")
    if chain == "parse":
        return rules[0].file, rules[0].line
    return rules[-1].file, _end_of(rules[-1])


def _end_of(rule: Rule) -> int:
    """Return the line behind a rule, which may go on over several lines in brackets."""
    lines = Files().text(rule.file).split("\n")
    number = rule.line
    while number < len(lines) and _is_open(lines[rule.line - 1 : number]):
        number += 1
    return number + 1


def _is_open(lines: list[str]) -> bool:
    text = "\n".join(line.partition("#")[0] for line in lines)
    return text.count("{") > text.count("}") or text.count("(") > text.count(")")


def _try_with(found: Suggestion, trial: _Trial) -> Suggestion:
    """Load the policy with the line, judge the message again, and see it pass."""
    try:
        policy = read_policy(
            trial.policy.file, _Overlay(found.file, found.number, f"  {found.line}")
        )
    except PolicyError as error:
        raise NoRuleError(f"the policy does not take it: {error.problems[0].message}") from None
    judgement = _judge(policy, trial.packet, trial.now).judgement
    if judgement.action is not Action.ACCEPT:
        raise NoRuleError(
            f"one rule is not enough: with `{found.line}` in chain {found.chain}, the message is "
            f"refused by {judgement.rule} ({judgement.reason.value})"
        )
    before = {problem.message for problem in trial.policy.warnings}
    new = (problem.message for problem in policy.warnings)
    return found._replace(warnings=tuple(message for message in new if message not in before))


def _all(codes: list[str]) -> str:
    return " or ".join(codes)

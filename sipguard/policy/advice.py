"""What works but was hardly meant: rules that can never match, sets and trust nothing uses."""

from collections.abc import Mapping, Sequence
from typing import Final

from sipguard.policy import syntax
from sipguard.policy.asked import fields_named, proofs_of
from sipguard.policy.compile import Fixed, Situation, narrow
from sipguard.policy.names import Names
from sipguard.policy.problems import Problems
from sipguard.policy.rules import Chain, Rule
from sipguard.policy.syntax import Place
from sipguard.policy.trust_lines import Trusts
from sipguard.policy.zones import ZoneReader

MAX_RULES_WALKED = 2000  # rules times situations; a generated policy should still load at once
# Which trust line answers a field, by what stands before its dot; sdp is sdp.encrypted alone.
_ANSWERED_BY: Final = {"aib": "aib", "smime": "aib", "sdp": "aib", "stir": "stir"}

_MIKEY: Final = "mikey.valid"  # its state may be failed or unknown without any trust


def advise(chains: Mapping[str, Chain], names: Names, problems: Problems) -> None:
    """Warn of every rule that cannot match and every set that is not used."""
    for chain in chains.values():
        _twins(chain, problems)
        if len(chain.rules) <= MAX_RULES_WALKED:
            _unreachable(chain, problems)
    for name in names.unused():
        problems.warn(name.at, f"set {name.text} is never used")


def advise_zones(zones: ZoneReader, problems: Problems) -> None:
    """Warn of every zone that no rule asks for."""
    for name in zones.unused():
        problems.warn(name.at, f"zone {name.text} is never used")


def advise_trust(
    conditions: Sequence[syntax.Condition | None], trusts: Trusts, problems: Problems
) -> None:
    """Warn of fields that no trust line answers, and of trust lines that nothing asks."""
    asked: frozenset[str] = frozenset()
    for condition in conditions:
        for word in fields_named(condition):
            proofs = proofs_of(word.text)
            asked |= proofs
            if proofs or word.text == _MIKEY:
                _unanswered(word, trusts, problems)
    if "aib" in trusts.places and not asked & {"aib", "smime"}:
        hint = "a rule must ask, as in not aib.valid"
        problems.warn(trusts.places["aib"], "trust aib is never used", hint)
    if "stir" in trusts.places and "stir" not in asked:
        hint = "a rule must ask, as in stir.attest in {A B}"
        problems.warn(trusts.places["stir"], "trust stir is never used", hint)


def _unanswered(word: syntax.Word, trusts: Trusts, problems: Problems) -> None:
    kind = _ANSWERED_BY.get(word.text.partition(".")[0])
    if kind is not None and kind not in trusts.places:
        what = f"{word.text} is always unknown without trust {kind}"
        problems.warn(word.at, what, f'add trust {kind} ca "FILE"')
    elif word.text == "digest.valid" and not (trusts.digest and trusts.digest.ha1):
        what = "digest.valid is never true: there is nothing to check a response with"
        problems.warn(word.at, what, 'add trust digest ha1 "FILE"')
    elif word.text == _MIKEY and not (trusts.mikey and trusts.mikey.proves):
        what = f"{_MIKEY} is never true: there is no key or authority to check a message with"
        problems.warn(word.at, what, 'add trust mikey psk "FILE" or ca "FILE"')


def _place(rule: Rule) -> Place:
    return Place(rule.file, rule.line, rule.column)


def _deciding(chain: Chain) -> list[Rule]:
    """Return the rules that first match wins among: tolerate and shadow rules stop nobody."""
    return [rule for rule in chain.rules if rule.action != "tolerate"]


def _twins(chain: Chain, problems: Problems) -> None:
    """Warn of rules whose condition an earlier rule has already caught."""
    earlier: dict[str, Rule] = {}
    for rule in _deciding(chain):
        twin = earlier.get(rule.condition)
        if twin is not None and rule.condition:
            what = f"rule {rule.name} can never match: {twin.name} has the same condition"
            problems.warn(_place(rule), what, f"{twin.name} is at {twin.place}")
        elif not rule.shadow:
            earlier.setdefault(rule.condition, rule)


def _unreachable(chain: Chain, problems: Problems) -> None:
    """Warn of rules that no method and no state of the call can lead to."""
    rules = _deciding(chain)
    blocked_by: dict[str, Rule | None] = {}
    reached: set[str] = set()
    for situation in chain.situations():
        reached |= _walk(rules, situation, blocked_by)
    for rule in rules:
        if rule.name in reached:
            continue
        blocker = blocked_by.get(rule.name)
        if blocker is None:
            problems.warn(_place(rule), f"rule {rule.name} can never match: it contradicts itself")
        elif not blocker.condition:
            what = f"rule {rule.name} is never reached: {blocker.name} before it matches everything"
            problems.warn(_place(rule), what, f"{blocker.name} is at {blocker.place}")
        else:
            what = f"rule {rule.name} is never reached: rules before it, such as {blocker.name},"
            problems.warn(_place(rule), f"{what} leave nothing to it", f"at {blocker.place}")


def _walk(rules: list[Rule], situation: Situation, blocked_by: dict[str, Rule | None]) -> set[str]:
    """Return the rules that may match in one situation; note who stands before the others."""
    reached: set[str] = set()
    blocker: Rule | None = None
    for rule in rules:
        left = narrow(rule.node, situation)
        if isinstance(left, Fixed) and not left.answer:
            continue
        if blocker is not None:
            blocked_by.setdefault(rule.name, blocker)
            continue
        reached.add(rule.name)
        if isinstance(left, Fixed) and not rule.shadow:
            blocker = rule
    return reached

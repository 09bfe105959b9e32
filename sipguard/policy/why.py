"""Why a rule matched: its tests as written, with the values that they were asked of.

For the record of a refused message. Nothing is found out for it: a proof that
no rule asked for stays unasked.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from sipguard.journal.observation import Answer, Condition
from sipguard.policy import syntax
from sipguard.policy.asked import proofs_asked
from sipguard.policy.compile import AnyOf, compile_node
from sipguard.policy.field import (
    AddressesField,
    AddressField,
    Field,
    FindingField,
    FlagField,
    NumberField,
    PeerField,
    TextField,
    TextsField,
)
from sipguard.policy.fields import FIELDS, header_field
from sipguard.policy.literals import parse_rate
from sipguard.policy.parse import parse_policy
from sipguard.policy.problems import Problems
from sipguard.policy.questions import Question
from sipguard.policy.resolve import RATE_KINDS, proofs_last
from sipguard.policy.rules import Policy, Rule
from sipguard.policy.subject import Subject
from sipguard.policy.syntax import Operand, RuleLine, show
from sipguard.wire.packet import show_address

MAX_TESTS: Final = 12  # of one rule
MAX_VALUES: Final = 6  # of one test
MAX_ITEMS: Final = 8  # of one value that is several
MAX_VALUE_OCTETS: Final = 256
_DAYS: Final = (b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun")

Read = Callable[[Subject], bytes]


class _Part(NamedTuple):
    text: str
    reads: tuple[tuple[str, Read], ...]
    proofs: frozenset[str]
    question: Question | None  # None: it holds where the rule matched


class _Parts(NamedTuple):
    condition: str
    any: bool
    parts: tuple[_Part, ...]


class Explainer:
    """Explains the rules of the policy in force; what it made of each rule is kept."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._rules: dict[str, Rule] = {}
        self._parts: dict[str, _Parts] = {}

    def why(self, policy: Policy, place: str, subject: Subject) -> Condition | None:
        """Return why the rule at *place* matched; None without a rule, or a condition."""
        if policy is not self._policy:
            self._policy = policy
            self._rules = {rule.place: rule for rule in policy.rules}
            self._parts = {}
        parts = self._parts.get(place)
        if parts is None:
            rule = self._rules.get(place)
            if rule is None or not rule.condition:
                return None
            parts = self._parts[place] = _parts_of(rule)
        asked = frozenset([kind for kind, _ in subject.proofs.asked])
        tests = tuple([_test(part, subject, asked) for part in parts.parts])
        return tuple.__new__(Condition, (parts.condition, parts.any, tests))  # as Condition(...)


def _test(part: _Part, subject: Subject, asked: frozenset[str]) -> Answer:
    knows = part.proofs <= asked
    values = tuple(
        [
            (name, read(subject)[:MAX_VALUE_OCTETS])
            for name, read in part.reads
            if knows or _proofs_of(name) <= asked
        ]
    )
    holds: bool | None = True
    if part.question is not None:
        holds = part.question.holds(subject) if knows else None
    return tuple.__new__(Answer, (part.text, holds, values))  # as Answer(...)


def _proofs_of(name: str) -> frozenset[str]:
    field = FIELDS.get(name)
    if isinstance(field, FlagField | TextField | TextsField):
        return field.proofs
    return frozenset()


def _parts_of(rule: Rule) -> _Parts:
    condition = _condition(rule.condition, rule.chain)
    match condition:
        case syntax.Either(parts) if isinstance(rule.node, AnyOf):
            # The nodes stand in the order in which they are asked.
            pairs = zip(proofs_last(parts), rule.node.parts, strict=True)
            made = [_part(part, compile_node(node)) for part, node in pairs]
            return _Parts(rule.condition, True, tuple(made[:MAX_TESTS]))
        case syntax.Both(parts):
            return _Parts(
                rule.condition, False, tuple(_part(part, None) for part in parts[:MAX_TESTS])
            )
        case None:
            return _Parts(rule.condition, False, ())
        case _:
            return _Parts(rule.condition, False, (_part(condition, None),))


@lru_cache(maxsize=1024)
def _condition(text: str, chain: str) -> syntax.Condition | None:
    """Return a condition that was loaded before and shown in its canonical spelling."""
    problems = Problems()
    statements = parse_policy("", f"chain {chain}\n  x drop if {text}\n", problems)
    rules = [line for line in statements if isinstance(line, RuleLine)]
    return rules[0].condition if rules else None


def _part(condition: syntax.Condition, question: Question | None) -> _Part:
    reads = dict(_reads(condition))
    proofs = proofs_asked(condition)
    return _Part(_shown(condition), tuple(list(reads.items())[:MAX_VALUES]), proofs, question)


def _shown(condition: syntax.Condition) -> str:
    """Return a test as people write it: ``src not in phones``."""
    match condition:
        case syntax.Negated(syntax.Member() as member):
            operand, found, target = show(member).partition(" in ")
            return f"{operand} not in {target}" if found else show(condition)
        case _:
            return show(condition)


def _reads(condition: syntax.Condition) -> Iterator[tuple[str, Read]]:
    match condition:
        case syntax.Either(parts) | syntax.Both(parts):
            for part in parts:
                yield from _reads(part)
        case syntax.Negated(part):
            yield from _reads(part)
        case syntax.Within():
            yield "time", _clock
        case syntax.Compare(operand, _, value):
            yield from _operand(operand, value.text)
            if not value.quoted and value.text in FIELDS:
                yield value.text, _reader(FIELDS[value.text])
        case _:
            yield from _operand(condition.operand, "")


def _operand(operand: Operand, value: str) -> Iterator[tuple[str, Read]]:
    name = operand.name.text
    if name == "rate" and operand.arguments is not None:
        limit = parse_rate(value)
        whose, (method, *_) = operand.arguments
        kind = RATE_KINDS.get(tuple(word.text for word in whose))
        if limit is not None and kind is not None:
            shown = " ".join(word.text for word in whose)
            yield f"rate({shown}, {method.text})", _rate(kind, method.text, limit.window_s)
    elif name == "header" and operand.subscript is not None:
        yield f'header["{operand.subscript.text}"]', _reader(header_field(operand.subscript.text))
    elif name in FIELDS:
        yield name, _reader(FIELDS[name])


def _rate(kind: str, method: str, window_s: int) -> Read:
    return lambda s: b"%d in %d s" % (s.rate(kind, method.encode(), window_s), window_s)


def _clock(subject: Subject) -> bytes:
    day, second = divmod(int(subject.now.utc_s), 86_400)
    hour, minute = divmod(second // 60, 60)
    return b"%b %02d:%02d utc" % (_DAYS[(day + 3) % 7], hour, minute)  # the epoch was a Thursday


def _reader(field: Field) -> Read:
    """Return how a field's value is shown."""
    match field:
        case FlagField():
            flag = field.read
            return lambda s: b"true" if flag(s) else b"false"
        case NumberField():
            number = field.read
            return lambda s: b"%d" % number(s)
        case TextField():
            text = field.read
            return lambda s: _or_unknown(text(s))
        case TextsField():
            texts = field.read
            return lambda s: b" ".join(texts(s)[:MAX_ITEMS])
        case AddressField():
            address = field.read
            return lambda s: show_address(address(s)).encode() if address(s) else b"unknown"
        case AddressesField():
            addresses = field.read
            return lambda s: " ".join(map(show_address, addresses(s)[:MAX_ITEMS])).encode()
        case FindingField():
            return _findings
        case PeerField():
            return _peers


def _or_unknown(text: bytes | None) -> bytes:
    return b"unknown" if text is None else text


def _findings(subject: Subject) -> bytes:
    found = (finding.rule or finding.reason.value for finding in subject.findings[:MAX_ITEMS])
    return " ".join(dict.fromkeys(found)).encode()


def _peers(subject: Subject) -> bytes:
    stream = subject.stream
    if stream is None:
        return b"unknown"
    ends = (("caller", stream.caller, stream.caller_vouched),
            ("callee", stream.callee, stream.callee_vouched))  # fmt: skip
    return " ".join(
        f"{name} {show_address(end.address) or 'unknown'}{' (signalling)' if vouched else ''}"
        for name, end, vouched in ends
    ).encode()

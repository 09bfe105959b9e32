"""Conditions as written to typed conditions: every name known, every value of the right type."""

from typing import Final

from sipguard.policy import syntax
from sipguard.policy.asked import proofs_asked
from sipguard.policy.compile import AllOf, AnyOf, Fixed, Leaf, Node, NotOf
from sipguard.policy.field import (
    AddressesField,
    AddressField,
    Field,
    FindingField,
    FlagField,
    NumberField,
    PeerField,
    Scope,
    TextField,
    TextsField,
)
from sipguard.policy.fields import FIELDS, header_field, header_name
from sipguard.policy.leaves import Leaves
from sipguard.policy.literals import (
    DAYS,
    EVERY_DAY,
    Clock,
    parse_days,
    parse_offset,
    parse_rate,
    parse_span,
)
from sipguard.policy.names import Names
from sipguard.policy.problems import Problems, Wrong, suggest
from sipguard.policy.questions import Ask, Reaches
from sipguard.policy.sets import AddressSet
from sipguard.policy.syntax import Operand, Word
from sipguard.policy.zones import ZoneReader

SCOPES: Final = {
    "parse": Scope.PARSE,
    "request": Scope.REQUEST,
    "response": Scope.RESPONSE,
    "media": Scope.MEDIA,
}
RATE_KINDS: Final = {
    ("src",): "src",
    ("from.aor",): "from.aor",
    ("src", "from.aor"): "src.aor",
}
_OPERATORS: Final = ("==", "!=", "<", ">", "<=", ">=")
_HEADER_TOKEN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~"
)


class Resolver:
    """Turns the conditions of one policy into nodes, collecting what is wrong with them."""

    def __init__(self, names: Names, problems: Problems, zones: ZoneReader) -> None:
        self._problems = problems
        self._zones = zones
        self._leaves = Leaves(names, problems, zones)
        self.rates: set[tuple[str, bytes, int]] = set()

    def node(self, condition: syntax.Condition, chain: str) -> Node:
        """Return the typed condition; a part that is wrong is reported and never matches."""
        match condition:
            case syntax.Either(parts):
                return AnyOf(tuple(self.node(part, chain) for part in proofs_last(parts)))
            case syntax.Both(parts):
                return AllOf(tuple(self.node(part, chain) for part in proofs_last(parts)))
            case syntax.Negated(part):
                return NotOf(self.node(part, chain))
            case _:
                try:
                    return self._leaf(condition, chain)
                except Wrong as wrong:
                    self._problems.add(wrong)
                    return Fixed(False)

    def addresses(self, field: str, target: Word | syntax.Braced) -> AddressSet:
        """Return a set of networks for *field*, which is what an error calls it.

        Raises:
            Wrong: the set is unknown, or holds what is no address.
        """
        return self._leaves.addresses(field, target)

    def _leaf(
        self,
        test: syntax.Bare
        | syntax.Present
        | syntax.Compare
        | syntax.Member
        | syntax.Match
        | syntax.Within,
        chain: str,
    ) -> Node:
        if isinstance(test, syntax.Within):
            return _within(test.words)
        if test.operand.name.text == "rate":
            return self._rate(test, chain)
        field = self._field(test.operand, chain)
        at = test.operand.name.at
        match test:
            case syntax.Bare():
                return _bare(field, at)
            case syntax.Present(operand):
                return _present(operand)
            case syntax.Compare(_, operator, value):
                return self._compare(field, operator, value, chain)
            case syntax.Member(_, target, each):
                return self._leaves.member(field, target, at, each=each)
            case syntax.Match(_, pattern, flags):
                return self._leaves.match(field, pattern, flags)

    def _field(self, operand: Operand, chain: str) -> Field:
        """Return the field an operand names.

        Raises:
            Wrong: there is none, or this chain cannot read it.
        """
        name = operand.name
        field = _header(operand) if name.text == "header" else _plain_field(operand)
        _check_scope(name, field, chain)
        return self._zones.field(field, name.at)

    def _compare(self, field: Field, operator: Word, value: Word, chain: str) -> Node:
        if operator.text not in _OPERATORS:
            hint = "did you mean ==?" if "=" in operator.text else "use == != < > <= >="
            raise Wrong(operator.at, f"unknown comparison {operator.text}", hint)
        if not value.quoted and value.text in FIELDS:
            other = self._field(Operand(value), chain)
            return self._leaves.compare_fields(field, operator, other, value)
        return self._leaves.compare(field, operator, value)

    def _rate(
        self,
        test: syntax.Bare | syntax.Present | syntax.Compare | syntax.Member | syntax.Match,
        chain: str,
    ) -> Node:
        at = test.operand.name.at
        usage = "write rate(src, INVITE) > 10/s"
        arguments = test.operand.arguments
        if not isinstance(test, syntax.Compare) or test.operator.text not in (">", ">="):
            raise Wrong(at, "a rate is compared with > or >=", usage)
        if arguments is None or len(arguments) != 2 or len(arguments[1]) != 1:
            raise Wrong(at, "rate needs whose requests and which method", usage)
        whose = tuple(word.text for word in arguments[0])
        kind = RATE_KINDS.get(whose)
        if kind is None:
            hint = "src, from.aor, or both: rate(src from.aor, REGISTER)"
            raise Wrong(arguments[0][0].at, f"cannot count by {' '.join(whose)}", hint)
        if chain not in ("parse", "request") or (chain == "parse" and kind != "src"):
            raise Wrong(at, f"rates of {' '.join(whose)} are not known in chain {chain}")
        limit = parse_rate(test.value.text)
        if limit is None:
            raise Wrong(test.value.at, f"{test.value.text} is no rate", "write 10/s, 20/min or 5/h")
        (word,) = arguments[1]
        method = self._leaves.method(word) if word.text != "*" else b"*"
        self.rates.add((kind, method, limit.window_s))
        return _rate_node(kind, method, limit.window_s, limit.limit + (test.operator.text == ">"))


def proofs_last(parts: tuple[syntax.Condition, ...]) -> list[syntax.Condition]:
    """Order questions so that a signature is verified only where nothing cheaper decides.

    No question changes anything, so their order is free.
    """
    return sorted(parts, key=lambda part: bool(proofs_asked(part)))


def _rate_node(kind: str, method: bytes, window_s: int, least: int) -> Node:
    """Return a test that a rate is reached; it is asked of the requests it counts alone.

    A refused flood of INVITEs must not take the source's BYEs along.
    """
    if kind == "src":  # asked of nearly every request: no call in between
        counted = Leaf(Reaches(lambda s: s.rates.count("src", s.src, method, window_s), least))
    else:
        counted = Leaf(Reaches(lambda s: s.rate(kind, method, window_s), least))
    if method == b"*":
        return counted
    methods = frozenset({method})
    return AllOf((Leaf(Ask(lambda s: s.message.method == method), methods=methods), counted))


def _check_scope(name: Word, field: Field, chain: str) -> None:
    if SCOPES[chain] in field.scope:
        return
    if field.scope == Scope.MEDIA:
        raise Wrong(name.at, f"{name.text} is known in chain media only")
    raise Wrong(
        name.at,
        f"{name.text} cannot be read in chain parse, which runs before any header is read",
        "move the rule to chain request",
    )


def _plain_field(operand: Operand) -> Field:
    name = operand.name
    field = FIELDS.get(name.text)
    if field is None:
        hint = suggest(name.text, (*FIELDS, "header", "rate"))
        raise Wrong(name.at, f"unknown field {name.text}", hint)
    if operand.subscript or operand.arguments is not None:
        raise Wrong(name.at, f"{name.text} stands alone, without brackets")
    return field


def _header(operand: Operand) -> TextField:
    index = operand.subscript
    if index is None:
        raise Wrong(operand.name.at, "which header?", 'write header["X-Name"]')
    if not index.text or not _HEADER_TOKEN.issuperset(index.text):
        raise Wrong(index.at, f'"{index.text}" is no header name')
    return header_field(index.text)


def _bare(field: Field, at: syntax.Place) -> Node:
    if not isinstance(field, FlagField):
        hint = f"compare it, as in {_example(field)}"
        raise Wrong(at, f"{field.name} is no flag but {_article(field.kind)}", hint)
    return Leaf(Ask(field.read), fact=field.fact, needs=field.needs)


def _article(kind: str) -> str:
    if kind.startswith(("several", "one of", "both", "octets", "seconds", "text")):
        return kind
    return ("an " if kind[0] in "aeio" else "a ") + kind


def _example(field: Field) -> str:
    match field:
        case NumberField():
            return f"{field.name} > 1"
        case AddressField() | AddressesField():
            return f"{field.name} in {{10.0.0.0/8}}"
        case FindingField():
            return "finding in {SIP-12}"
        case PeerField():
            return "peer in {signalling}"
        case TextField() if field.words:
            return f"{field.name} == {field.words[0]}"
        case TextsField():
            return f"{field.name} in {{audio}}"
        case _:
            return f'{field.name} == "text"'


def _present(operand: Operand) -> Node:
    index = operand.subscript
    if index is None:
        at = operand.name.at
        raise Wrong(at, "presence is asked of headers only", 'write has header["X-Name"]')
    name = header_name(index.text)
    return Leaf(Ask(lambda s: s.message.header(name) is not None))


def _within(words: tuple[Word, ...]) -> Node:
    """Return a test of the time of the week.

    Raises:
        Wrong: a word is neither days, nor a span of time, nor a zone.
    """
    days: set[int] = set()
    spans: list[tuple[int, int]] = []
    offset_s: int | None = None
    for word in words:
        if word.text.lower() == "local":
            hint = "write utc or an offset such as +02:00"
            raise Wrong(word.at, "the gateway's local time is not known to a policy", hint)
        if (found := parse_days(word.text)) is not None:
            days |= found
        elif (span := parse_span(word.text)) is not None:
            spans.append(span)
        elif offset_s is None and (zone := parse_offset(word.text)) is not None:
            offset_s = zone
        else:
            hint = suggest(word.text, DAYS) or "write within mon-fri 08:00-18:00 utc"
            raise Wrong(word.at, f"{word.text} is neither days nor a time nor a zone", hint)
    clock = Clock(frozenset(days) or EVERY_DAY, tuple(spans) or ((0, 86400),), offset_s or 0)
    return Leaf(Ask(lambda s: clock.covers(s.now.utc_s)))

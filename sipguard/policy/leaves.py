"""Single tests: a field against a value, a set, a pattern or another field, types checked."""

import operator as op
from collections.abc import Callable, Iterable
from typing import Final

from sipguard.policy.compile import Leaf, Node, NotOf
from sipguard.policy.field import (
    AddressesField,
    AddressField,
    Fact,
    Field,
    FindingField,
    FlagField,
    NumberField,
    PeerField,
    Style,
    TextField,
    TextsField,
)
from sipguard.policy.fields import METHODS
from sipguard.policy.literals import parse_prefix
from sipguard.policy.members import Members, read_number
from sipguard.policy.names import Names
from sipguard.policy.pattern import PatternError, compile_pattern
from sipguard.policy.problems import Problems, Wrong, one_of, suggest
from sipguard.policy.questions import Ask, FromSource, Is, Passes, Reaches
from sipguard.policy.sets import AddressSet, has_star, remembered
from sipguard.policy.subject import Subject
from sipguard.policy.syntax import Braced, Place, Word
from sipguard.policy.zones import ZoneReader
from sipguard.reason import Reason

_ORDER: Final[dict[str, Callable[[int, int], bool]]] = {
    "==": op.eq,
    "!=": op.ne,
    "<": op.lt,
    ">": op.gt,
    "<=": op.le,
    ">=": op.ge,
}
ZONE: Final = "zone"
_FOLDING: Final = (Style.FOLDED, Style.HOST)
_TOKEN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~"
)


class Leaves:
    """Makes the tests of one policy; equal sets asked of equal types are built once."""

    def __init__(self, names: Names, problems: Problems, zones: ZoneReader) -> None:
        self._problems = problems
        self._zones = zones
        self._members = Members(names, self)

    def addresses(self, field: str, target: Word | Braced) -> AddressSet:
        """Return a set of networks for *field*, which is what an error calls it.

        Raises:
            Wrong: the set is unknown, or holds what is no address.
        """
        return self._members.addresses(field, target)

    # --- texts as octets

    def text(self, field: TextField, word: Word) -> bytes:
        """Return a value to compare *field* with.

        Raises:
            Wrong: the field never has this value.
        """
        if field.style is Style.METHOD:
            return self.method(word)
        if field.words:
            if word.text not in field.words:
                hint = suggest(word.text, field.words) or f"it is {one_of(field.words)}"
                raise Wrong(word.at, f"{field.name} is never {word.text}", hint)
            if field.name == ZONE:
                self._zones.use(word.text)
            return word.text.encode()
        folded = word.text.lower() if field.style in _FOLDING else word.text
        return folded.encode()

    def method(self, word: Word) -> bytes:
        """Return a method's name; one that no RFC defines is a warning, since it may be new.

        Raises:
            Wrong: no method could be called so.
        """
        if not word.text or not _TOKEN.issuperset(word.text):
            raise Wrong(word.at, f"{word.text!r} cannot be a method")
        if word.text not in METHODS:
            hint = suggest(word.text, METHODS)
            self._problems.warn(word.at, f"unknown method {word.text}", hint)
        return word.text.encode()

    # --- comparisons

    def compare(self, field: Field, operator: Word, value: Word) -> Node:
        """Return ``field OP value``.

        Raises:
            Wrong: the types do not fit.
        """
        sign = operator.text
        match field:
            case NumberField():
                return _order(field.read, sign, read_number(field, value))
            case TextField():
                _only_equal(field, operator)
                return _unless(sign == "!=", self._equal_text(field, value))
            case AddressField():
                _only_equal(field, operator)
                prefix = parse_prefix(value.text)
                if prefix is None or prefix.bits != len(prefix.network) * 8:
                    hint = f"write {field.name} in {{...}} for networks" if prefix else ""
                    raise Wrong(value.at, f"{value.text} is no address", hint)
                read, wanted = field.read, prefix.network
                return _unless(sign == "!=", Leaf(Is(read, wanted)))
            case _:
                what = f"{field.name} ({field.kind}) cannot be compared"
                raise Wrong(operator.at, what, _usage(field))

    def _equal_text(self, field: TextField, value: Word) -> Node:
        if value.quoted and has_star(value.raw):
            hint = f"for a wildcard write {field.name} in {{ ... }}; for a star write \\*"
            self._problems.warn(value.at, "in a comparison * is only a star", hint)
        read, wanted = field.read, self.text(field, value)
        if field.name == "method":
            return Leaf(Ask(lambda s: s.message.method == wanted), methods=frozenset({wanted}))
        return Leaf(Is(read, wanted))

    def compare_fields(self, left: Field, operator: Word, right: Field, at: Word) -> Node:
        """Return ``field OP field``.

        Raises:
            Wrong: the two are of different types.
        """
        sign = operator.text
        if ZONE in (left.name, right.name):
            self._zones.use()
        if isinstance(left, NumberField) and isinstance(right, NumberField):
            first, second, test = left.read, right.read, _ORDER[sign]
            return Leaf(Ask(lambda s: test(first(s), second(s))))
        if isinstance(left, TextField) and isinstance(right, TextField):
            _only_equal(left, operator)
            fold = left.style in _FOLDING or right.style in _FOLDING
            return _unless(sign == "!=", Leaf(Ask(_same_text(left, right, fold=fold))))
        if isinstance(left, AddressField) and isinstance(right, AddressField):
            _only_equal(left, operator)
            one, other = left.read, right.read
            return _unless(sign == "!=", Leaf(Ask(lambda s: one(s) == other(s))))
        hint = f'write "{at.text}" in quotes if the text is meant'
        what = f"{left.name} is {left.kind}, but {right.name} is {right.kind}"
        raise Wrong(at.at, what, hint if isinstance(left, TextField) else "")

    # --- membership

    def member(self, field: Field, target: Word | Braced, at: Place, *, each: bool) -> Node:
        """Return ``field in SET``.

        Raises:
            Wrong: the set is unknown, or holds what the field can never be.
        """
        if each and not isinstance(field, TextsField | AddressesField):
            raise Wrong(at, f"each is for fields with several values, {field.name} has one")
        match field:
            case NumberField():
                read, holds = field.read, self._members.numbers(field, target)
                return Leaf(Ask(lambda s: holds(read(s))))
            case TextField():
                return self._text_member(field, target)
            case AddressField():
                return _address_member(field, self._members.addresses(field.name, target))
            case AddressesField():
                found = self._members.addresses(field.name, target)
                return Leaf(Ask(_several(field.read, found.__getitem__, each=each)))
            case TextsField():
                folded = TextField(field.name, field.doc, lambda s: None, style=Style.FOLDED)
                known = self._members.texts(folded, target)
                return Leaf(Ask(_several(field.read, known, each=each)))
            case FindingField():
                return _finding(self._members.reasons(target))
            case PeerField():
                return _peer(*self._members.peers(target))
            case FlagField():
                hint = f"write {field.name} alone"
                raise Wrong(at, f"{field.name} is a flag and in no set", hint)

    def _text_member(self, field: TextField, target: Word | Braced) -> Node:
        if field.style is Style.METHOD:
            methods = self._members.methods(field, target)
            read = field.read
            if field.name == "method":
                return Leaf(Ask(lambda s: s.message.method in methods), methods=methods)
            return Leaf(Ask(lambda s: read(s) in methods))
        return Leaf(Passes(field.read, self._members.texts(field, target)))

    def match(self, field: Field, pattern: Word, flags: str) -> Node:
        """Return ``field matches /pattern/flags``.

        Raises:
            Wrong: the field is no text, or the pattern is not one.
        """
        if not isinstance(field, TextField | TextsField):
            raise Wrong(pattern.at, f"{field.name} is {field.kind}; only texts match patterns")
        if field.name == ZONE:
            self._zones.use()
        if flags.strip("i"):
            raise Wrong(pattern.at, f"unknown flag {flags}", "only i, to ignore case")
        fold = isinstance(field, TextsField) or field.style in _FOLDING
        try:
            test = compile_pattern(pattern.text, ignore_case=fold or bool(flags))
        except PatternError as error:
            raise Wrong(pattern.at, f"the pattern cannot be used: {error}") from None
        if isinstance(field, TextsField):
            return Leaf(Ask(_several(field.read, test, each=False)))
        return Leaf(Passes(field.read, remembered(test)))


def _usage(field: Field) -> str:
    if isinstance(field, TextsField | AddressesField | FindingField | PeerField):
        return f"write {field.name} in {{ ... }}"
    return f"write {field.name} or not {field.name}"


def _only_equal(field: Field, operator: Word) -> None:
    if operator.text not in ("==", "!="):
        raise Wrong(operator.at, f"{field.name} has no order", "compare it with == or !=")


def _unless(negated: bool, node: Node) -> Node:
    return NotOf(node) if negated else node


def _order(read: Callable[[Subject], int], sign: str, limit: int) -> Node:
    match sign:
        case ">" | "<=":
            return _unless(sign == "<=", Leaf(Reaches(read, limit + 1)))
        case ">=" | "<":
            return _unless(sign == "<", Leaf(Reaches(read, limit)))
        case _:
            test = _ORDER[sign]
            return Leaf(Ask(lambda s: test(read(s), limit)))


def _same_text(left: TextField, right: TextField, *, fold: bool) -> Callable[[Subject], bool]:
    first, second = left.read, right.read

    def test(subject: Subject) -> bool:
        one, other = first(subject), second(subject)
        if one is None or other is None:
            return False
        return one.lower() == other.lower() if fold else one == other

    return test


def _address_member(field: AddressField, addresses: AddressSet) -> Node:
    if field.name == "src":  # asked by nearly every rule
        return Leaf(FromSource(addresses))
    read = field.read
    return Leaf(Ask(lambda s: addresses[read(s)]))


def _several(
    read: Callable[[Subject], Iterable[bytes]], holds: Callable[[bytes], bool], *, each: bool
) -> Callable[[Subject], bool]:
    if not each:
        return lambda s: any(holds(value) for value in read(s))

    def test(subject: Subject) -> bool:
        values = tuple(read(subject))
        return bool(values) and all(holds(value) for value in values)

    return test


def _finding(reasons: frozenset[Reason]) -> Node:
    def test(subject: Subject) -> bool:
        forgiven = subject.tolerated or ()
        return any(
            finding.reason in reasons and finding.reason not in forgiven
            for finding in subject.findings
        )

    return Leaf(Ask(test), needs=Fact.FINDINGS)


def _peer(addresses: AddressSet, vouched_counts: bool) -> Node:
    def test(subject: Subject) -> bool:
        stream = subject.stream
        if stream is None:
            return False
        ends = (
            (stream.caller.address, stream.caller_vouched),
            (stream.callee.address, stream.callee_vouched),
        )
        for address, is_vouched in ends:
            known = vouched_counts and (is_vouched or address in subject.signalling)
            if not address or not (known or addresses[address]):
                return False
        return True

    return Leaf(Ask(test))

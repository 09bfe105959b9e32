"""What a set means for a field: the same members are networks, hosts, texts or numbers."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from sipguard.policy.field import NumberField, Style, TextField, Unit
from sipguard.policy.literals import (
    Prefix,
    is_address_like,
    parse_duration,
    parse_number,
    parse_prefix,
    parse_range,
    parse_size,
)
from sipguard.policy.names import SIGNALLING, Names
from sipguard.policy.problems import Wrong, suggest
from sipguard.policy.sets import (
    AddressSet,
    TextTest,
    has_star,
    host_test,
    number_test,
    text_test,
)
from sipguard.policy.syntax import Braced, Word
from sipguard.reason import Reason

PEER: Final = "peer"
REASONS: Final = {reason.value: frozenset({reason}) for reason in Reason}
RULES: Final = {
    rule: frozenset(reason for reason in Reason if reason.rule == rule)
    for rule in sorted({reason.rule for reason in Reason} - {""})
}


def read_number(field: NumberField, word: Word) -> int:
    """Return a number in the field's unit.

    Raises:
        Wrong: it is none.
    """
    # -1 is how a number that is absent reads.
    number = -1 if word.text == "-1" else parse_number(word.text)
    if number is None and field.unit is Unit.OCTETS:
        number = parse_size(word.text)
    if number is None and field.unit is Unit.SECONDS:
        number = parse_duration(word.text)
    if number is not None:
        return number
    hint = {
        Unit.OCTETS: "write 1500, 8k or 1M",
        Unit.SECONDS: "write 90s, 5m, 2h, 1d or plain seconds",
        Unit.PLAIN: "",
    }[field.unit]
    raise Wrong(word.at, f"{field.name} is a number, and {word.text} is none", hint)


class Values(Protocol):
    """Reads single values; ``Leaves`` does."""

    def text(self, field: TextField, word: Word) -> bytes:
        """Return a text as octets."""

    def method(self, word: Word) -> bytes:
        """Return a method as octets."""


class Members:
    """Builds membership tests; a named set is built once for each type it is asked as."""

    def __init__(self, names: Names, values: Values) -> None:
        self._names = names
        self._values = values
        self._addresses: dict[str, AddressSet] = {}
        self._texts: dict[tuple[str, Style], TextTest] = {}

    def _words(self, target: Word | Braced) -> tuple[Word, ...]:
        """Return the members of a set's name, a braced list, or a quoted text alone."""
        if isinstance(target, Braced):
            return self._names.flatten(target)
        return (target,) if target.quoted else self._names.use(target)

    def addresses(self, field: str, target: Word | Braced) -> AddressSet:
        """Return a set of networks.

        Raises:
            Wrong: a member is no address; the place is in the rule that asks.
        """
        if isinstance(target, Word) and target.text not in self._names:
            prefix = parse_prefix(target.text)
            if prefix is not None:
                return AddressSet((prefix,))
        if isinstance(target, Word) and target.text in self._addresses:
            self._names.use(target)
            return self._addresses[target.text]
        found = AddressSet(self._prefixes(field, target))
        if isinstance(target, Word):
            self._addresses[target.text] = found
        return found

    def _prefixes(self, field: str, target: Word | Braced) -> Iterator[Prefix]:
        """Yield the networks of a target, knowing which set each comes from."""
        if isinstance(target, Braced):
            for member in target.members:
                if isinstance(member, Braced) or (not member.quoted and member.text in self._names):
                    yield from self._prefixes(field, member)
                elif member.text != SIGNALLING or field != PEER:
                    yield self._prefix(field, member)
            return
        for word in self._words(target):
            prefix = None if word.quoted else parse_prefix(word.text)
            if prefix is None:
                what = f"set {target.text} holds {word.text}, which is no address"
                raise Wrong(target.at, f"{what}, and {field} is one")
            yield prefix

    def _prefix(self, field: str, word: Word) -> Prefix:
        prefix = None if word.quoted else parse_prefix(word.text)
        if prefix is None:
            hint = "" if word.quoted else suggest(word.text, self._names)
            raise Wrong(word.at, f"{word.text} is no address, and {field} is one", hint)
        return prefix

    def numbers(self, field: NumberField, target: Word | Braced) -> Callable[[int], bool]:
        """Return a test for numbers and ranges.

        Raises:
            Wrong: a member is neither.
        """
        single = isinstance(target, Word) and target.text not in self._names
        words = (target,) if isinstance(target, Word) and single else self._words(target)
        numbers: set[int] = set()
        ranges: list[tuple[int, int]] = []
        for word in words:
            span = parse_range(word.text)
            if span is None:
                numbers.add(read_number(field, word))
            elif span[0] > span[1]:
                raise Wrong(word.at, f"{word.text} is empty: it ends before it starts")
            else:
                ranges.append(span)
        return number_test(frozenset(numbers), tuple(ranges))

    def methods(self, field: TextField, target: Word | Braced) -> frozenset[bytes]:
        """Return a set of methods.

        Raises:
            Wrong: a member cannot be a method.
        """
        return frozenset(self._values.method(word) for word in self._words(target))

    def texts(self, field: TextField, target: Word | Braced) -> TextTest:
        """Return a test for texts, wildcards and hosts, as the field's style has it.

        Raises:
            Wrong: a member is something that the field never is.
        """
        words = self._words(target)
        if field.words or not isinstance(target, Word) or target.quoted:
            return self._build_texts(field, words)
        key = (target.text, field.style)
        if key not in self._texts:
            self._texts[key] = self._build_texts(field, words)
        return self._texts[key]

    def _build_texts(self, field: TextField, words: tuple[Word, ...]) -> TextTest:
        if field.style is Style.HOST:
            return self._hosts(field, words)
        exact: set[bytes] = set()
        wild: list[str] = []
        for word in words:
            raw = word.raw if word.quoted else word.text
            if has_star(raw) and not field.words:
                wild.append(raw.lower() if field.style is Style.FOLDED else raw)
            else:
                exact.add(self._values.text(field, word))
        return text_test(frozenset(exact), wild)

    def _hosts(self, field: TextField, words: tuple[Word, ...]) -> TextTest:
        names: set[bytes] = set()
        suffixes: list[bytes] = []
        prefixes: list[Prefix] = []
        wild: list[str] = []
        for word in words:
            text = word.text.lower()
            if (prefix := parse_prefix(text)) is not None:
                prefixes.append(prefix)
            elif not word.quoted and is_address_like(text):
                raise Wrong(word.at, f"{text} is no address or prefix")
            elif text.startswith((".", "*.")) and "*" not in text[1:]:
                suffixes.append(text.removeprefix("*").encode())
            elif "*" in text:
                wild.append(word.raw.lower() if word.quoted else text)
            else:
                names.add(text.encode())
        test = host_test(frozenset(names), suffixes, prefixes)
        if not wild:
            return test
        other = text_test(frozenset(), wild)
        return lambda host: test(host) or other(host)

    def reasons(self, target: Word | Braced) -> frozenset[Reason]:
        """Return the reasons that rule ids and reason codes name.

        Raises:
            Wrong: a member is neither.
        """
        found: frozenset[Reason] = frozenset()
        for word in self._words(target):
            reasons = RULES.get(word.text) or REASONS.get(word.text)
            if reasons is None:
                hint = suggest(word.text, (*RULES, *REASONS))
                raise Wrong(word.at, f"{word.text} is no rule id or reason code", hint)
            found |= reasons
        return found

    def peers(self, target: Word | Braced) -> tuple[AddressSet, bool]:
        """Return the networks of ``peer in {...}``, and whether ``signalling`` stands there.

        Raises:
            Wrong: a member is neither an address nor a set of them.
        """
        if isinstance(target, Word):
            if target.text == SIGNALLING:
                return AddressSet(()), True
            return self.addresses(PEER, target), False
        vouched_counts = any(isinstance(m, Word) and m.text == SIGNALLING for m in target.members)
        return self.addresses(PEER, target), vouched_counts

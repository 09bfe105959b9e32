"""What a policy file says, as plain values with their places: the tree before any meaning."""

from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """Where something stands in the policy: file, line and column, both from 1."""

    file: str
    line: int
    column: int


class Word(NamedTuple):
    """One word or quoted text; *text* is what is meant, without the quotes.

    In quoted text a backslash takes the next character literally; ``raw``
    keeps the backslashes, since a set must tell ``\\*`` from ``*``.
    """

    text: str
    at: Place
    quoted: bool = False
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Braced:
    """``{ ... }``: words, texts and further braces."""

    members: "tuple[Word | Braced, ...]"
    at: Place


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting line outside any chain."""

    name: Word
    values: tuple[Word | Braced, ...]


@dataclass(frozen=True, slots=True)
class SetDefinition:
    """``set NAME { ... }``."""

    name: Word
    body: Braced


@dataclass(frozen=True, slots=True)
class ZoneDefinition:
    """``zone NAME { ... }``."""

    name: Word
    body: Braced


@dataclass(frozen=True, slots=True)
class TrustLine:
    """``trust aib ...``, and so with ``stir``, ``digest``, ``mikey`` and ``tls``."""

    name: Word
    values: tuple[Word | Braced, ...]


@dataclass(frozen=True, slots=True)
class Include:
    """``include "FILE"``."""

    file: Word


@dataclass(frozen=True, slots=True)
class ChainHead:
    """``chain NAME``: the rules that follow belong to it."""

    name: Word


class Operand(NamedTuple):
    """What stands left of a test: a field, ``header["X"]``, or ``rate(src, INVITE)``."""

    name: Word
    subscript: Word | None = None
    arguments: tuple[tuple[Word, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Either:
    """``a or b or ...``."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Both:
    """``a and b and ...``."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Negated:
    """``not a``."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class Bare:
    """A field alone: true if the flag is set."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Present:
    """``has header["X"]`` or ``header["X"] present``."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Compare:
    """``field == value`` and its kind."""

    operand: Operand
    operator: Word
    value: Word


@dataclass(frozen=True, slots=True)
class Member:
    """``field in SET``; *each* asks it of every value of a field that has several."""

    operand: Operand
    target: Word | Braced
    each: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """``field matches /pattern/flags``."""

    operand: Operand
    pattern: Word
    flags: str


@dataclass(frozen=True, slots=True)
class Within:
    """``within mon-fri 08:00-18:00 utc``."""

    words: tuple[Word, ...]


Condition = Either | Both | Negated | Bare | Present | Compare | Member | Match | Within


class Modifier(NamedTuple):
    """``log``, ``log 1/min``, ``alarm``, ``shadow``, ``unproven`` or ``idle 60s``."""

    name: Word
    value: Word | None = None


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One named rule as written."""

    name: Word
    verdict: Word
    arguments: tuple[Word, ...]
    modifiers: tuple[Modifier, ...]
    condition: Condition | None


Statement = Setting | SetDefinition | ZoneDefinition | TrustLine | Include | ChainHead | RuleLine


def show(condition: Condition | None) -> str:
    """Return a condition in one canonical spelling; equal conditions give equal text."""
    match condition:
        case None:
            return ""
        case Either(parts):
            return " or ".join(show(part) for part in parts)
        case Both(parts):
            return " and ".join(_wrap(part) for part in parts)
        case Negated(part):
            return f"not ({show(part)})" if isinstance(part, Both) else f"not {_wrap(part)}"
        case Within(words):
            return "within " + " ".join(word.text for word in words)
        case _:
            return _show_test(condition)


def _show_test(test: Bare | Present | Compare | Member | Match) -> str:
    operand = _show_operand(test.operand)
    match test:
        case Bare():
            return operand
        case Present():
            return f"has {operand}"
        case Compare(_, operator, value):
            return f"{operand} {operator.text} {_show_word(value)}"
        case Member(_, target, each):
            shown = _show_word(target) if isinstance(target, Word) else _show_braced(target)
            return f"{'each ' if each else ''}{operand} in {shown}"
        case Match(_, pattern, flags):
            return f"{operand} matches /{pattern.text}/{flags}"


def _wrap(condition: Condition) -> str:
    return f"({show(condition)})" if isinstance(condition, Either) else show(condition)


def _show_word(word: Word) -> str:
    return f'"{word.raw}"' if word.quoted else word.text


def _show_braced(braced: Braced) -> str:
    members = (_show_word(m) if isinstance(m, Word) else _show_braced(m) for m in braced.members)
    return "{" + " ".join(members) + "}"


def _show_operand(operand: Operand) -> str:
    if operand.subscript is not None:
        return f"{operand.name.text}[{_show_word(operand.subscript)}]"
    if operand.arguments is not None:
        shown = ", ".join(" ".join(w.text for w in words) for words in operand.arguments)
        return f"{operand.name.text}({shown})"
    return operand.name.text

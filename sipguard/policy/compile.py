"""Typed conditions to questions, narrowed beforehand to what is known of a message.

Before any rule is asked, the method and three facts are known (``Fact``). For
each such situation a chain's rules are evaluated with those, and only what is
still open is compiled: ``src in phones and method in {INVITE ACK}`` is for an
INVITE ``src in phones``, for a BYE nothing at all. A policy names few methods,
so situations are few, whatever strangers send: all others are one.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from sipguard.policy.field import Fact
from sipguard.policy.questions import Always, Every, Not, Question, Some

OTHER_METHOD: Final = b""  # stands for every method that the policy does not name


class Situation(NamedTuple):
    """What is known of a message: its method, or ``OTHER_METHOD``, and ``Fact`` bits."""

    method: bytes
    bits: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """One question; *methods*: true for just these; *fact*: is that one; *needs*: false without."""

    question: Question
    methods: frozenset[bytes] | None = None
    fact: Fact | None = None
    needs: Fact | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A condition whose answer is known."""

    answer: bool


@dataclass(frozen=True, slots=True)
class AllOf:
    """True if every part is."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True if one part is."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class NotOf:
    """True if the part is not."""

    part: "Node"


Node = Leaf | Fixed | AllOf | AnyOf | NotOf
_TRUE, _FALSE = Fixed(True), Fixed(False)


def methods_named(node: Node) -> frozenset[bytes]:
    """Return every method that a condition asks for by name."""
    match node:
        case Leaf():
            return node.methods or frozenset()
        case AllOf(parts) | AnyOf(parts):
            return frozenset().union(*(methods_named(part) for part in parts))
        case NotOf(part):
            return methods_named(part)
        case Fixed():
            return frozenset()


def narrow(node: Node, situation: Situation) -> Node:
    """Return what is still to be asked in a situation."""
    match node:
        case Leaf():
            return _narrow_leaf(node, situation)
        case AllOf(parts):
            return _narrow_parts(AllOf, parts, situation, stop=_FALSE)
        case AnyOf(parts):
            return _narrow_parts(AnyOf, parts, situation, stop=_TRUE)
        case NotOf(part):
            inner = narrow(part, situation)
            return Fixed(not inner.answer) if isinstance(inner, Fixed) else NotOf(inner)
        case Fixed():
            return node


def _narrow_leaf(leaf: Leaf, situation: Situation) -> Node:
    if leaf.methods is not None:
        return Fixed(situation.method in leaf.methods)
    if leaf.fact is not None:
        return Fixed(bool(situation.bits & leaf.fact.value))
    if leaf.needs is not None and not situation.bits & leaf.needs.value:
        return _FALSE
    return leaf


def _narrow_parts(
    kind: type[AllOf] | type[AnyOf], parts: tuple[Node, ...], situation: Situation, stop: Fixed
) -> Node:
    """Narrow each part; one that equals *stop* decides, one that is its opposite says nothing."""
    left: list[Node] = []
    for part in parts:
        narrowed = narrow(part, situation)
        if isinstance(narrowed, Fixed):
            if narrowed == stop:
                return stop
            continue
        left.append(narrowed)
    if not left:
        return Fixed(not stop.answer)
    return left[0] if len(left) == 1 else kind(tuple(left))


def compile_node(node: Node) -> Question:
    """Return one question for a whole condition."""
    match node:
        case Leaf():
            return node.question
        case Fixed(answer):
            return Always(answer)
        case NotOf(part):
            return Not(compile_node(part))
        case AllOf(parts):
            return Every([compile_node(part) for part in parts])
        case AnyOf(parts):
            return Some([compile_node(part) for part in parts])

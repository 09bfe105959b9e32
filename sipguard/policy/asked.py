"""Which proofs a condition asks for: known at load, so that nothing is verified for nothing."""

from collections.abc import Iterator
from typing import Final

from sipguard.policy import syntax
from sipguard.policy.field import FlagField, TextField, TextsField
from sipguard.policy.fields import FIELDS
from sipguard.policy.syntax import Word

_MIKEY: Final = frozenset({"mikey.valid", "mikey.state"})


def proofs_of(name: str) -> frozenset[str]:
    """Return the kinds of proof that a field is read from: ``aib``, ``smime`` ...; mostly none."""
    field = FIELDS.get(name)
    if isinstance(field, FlagField | TextField | TextsField):
        return field.proofs
    return frozenset()


def proofs_asked(condition: syntax.Condition | None) -> frozenset[str]:
    """Return the kinds of proof that a condition may ask for."""
    return frozenset().union(*(proofs_of(word.text) for word in fields_named(condition)))


def asks_mikey(condition: syntax.Condition | None) -> bool:
    """Whether a condition asks what a MIKEY message is worth; a refusal then says why."""
    return any(word.text in _MIKEY for word in fields_named(condition))


def fields_named(condition: syntax.Condition | None) -> Iterator[Word]:
    """Yield every word of a condition that stands where a field may."""
    match condition:
        case None | syntax.Within():
            return
        case syntax.Either(parts) | syntax.Both(parts):
            for part in parts:
                yield from fields_named(part)
        case syntax.Negated(part):
            yield from fields_named(part)
        case syntax.Compare(operand, _, value):
            yield operand.name
            if not value.quoted:
                yield value
        case _:
            yield condition.operand.name

"""What an object holds, compiled or not: a compiled class has neither slots nor a ``__dict__``."""

from collections.abc import Iterator
from types import GetSetDescriptorType, MemberDescriptorType


def attributes_of(value: object) -> dict[str, object]:
    """Return an instance's attributes by name; those that nobody has set yet are left out."""
    names = set(getattr(value, "__dict__", ()))
    for one in type(value).__mro__:
        for name, member in vars(one).items():
            if isinstance(member, (GetSetDescriptorType, MemberDescriptorType)):
                names.add(name)
    held = {name: getattr(value, name, None) for name in sorted(names) if name[:2] != "__"}
    return {name: held[name] for name in held if hasattr(value, name)}


def texts_in(value: object) -> Iterator[str]:
    """Yield the representation of everything that *value* holds, however deep."""
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type) or callable(one):
            continue
        seen.add(id(one))
        if isinstance(one, (bytes, str, int, float)):
            yield repr(one)
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, (list, tuple, set, frozenset)):
            waiting += one
        if not isinstance(one, (bytes, str, int, float, list, set, frozenset)):
            waiting += attributes_of(one).values()

"""What a rule asks of a message, as objects: the compiler calls their method without a detour.

A condition is a tree of these. Closures read as well, but each call of one
passes through the interpreter's calling convention, and thirty rules are a
hundred calls a message.
"""

from collections.abc import Callable
from typing import final

from sipguard.policy.sets import AddressSet, TextTest
from sipguard.policy.subject import Subject

Flag = Callable[[Subject], bool]
Number = Callable[[Subject], int]
Text = Callable[[Subject], bytes | None]


class Question:
    """Something that is true of a message or not."""

    __slots__ = ()

    def holds(self, subject: Subject) -> bool:
        """Whether it is true."""
        raise NotImplementedError


@final
class Always(Question):
    """A question whose answer is known."""

    __slots__ = ("_answer",)

    def __init__(self, answer: bool) -> None:
        self._answer = answer

    def holds(self, subject: Subject) -> bool:
        """Return that answer."""
        return self._answer


@final
class Ask(Question):
    """A question that a function answers."""

    __slots__ = ("_flag",)

    def __init__(self, flag: Flag) -> None:
        self._flag = flag

    def holds(self, subject: Subject) -> bool:
        """Ask the function."""
        return self._flag(subject)


@final
class Not(Question):
    """True if the other is not."""

    __slots__ = ("_other",)

    def __init__(self, other: Question) -> None:
        self._other = other

    def holds(self, subject: Subject) -> bool:
        """Turn the answer round."""
        return not self._other.holds(subject)


@final
class Every(Question):
    """True if every part is; asks no further than the first that is not."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[Question]) -> None:
        self._parts = parts

    def holds(self, subject: Subject) -> bool:
        """Ask the parts in order."""
        for part in self._parts:  # noqa: SIM110 - a generator costs three times as much
            if not part.holds(subject):
                return False
        return True


@final
class Some(Question):
    """True if one part is; asks no further than the first that is."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[Question]) -> None:
        self._parts = parts

    def holds(self, subject: Subject) -> bool:
        """Ask the parts in order."""
        for part in self._parts:  # noqa: SIM110 - a generator costs three times as much
            if part.holds(subject):
                return True
        return False


@final
class FromSource(Question):
    """Whether the sender's address is in a set: asked by nearly every rule."""

    __slots__ = ("_addresses",)

    def __init__(self, addresses: AddressSet) -> None:
        self._addresses = addresses

    def holds(self, subject: Subject) -> bool:
        """Look the address up."""
        return self._addresses[subject.src]


@final
class Reaches(Question):
    """Whether a number is at least so much."""

    __slots__ = ("_least", "_read")

    def __init__(self, read: Number, least: int) -> None:
        self._read = read
        self._least = least

    def holds(self, subject: Subject) -> bool:
        """Compare."""
        return self._read(subject) >= self._least


@final
class Is(Question):
    """Whether a text is this one; an unknown text is none."""

    __slots__ = ("_read", "_wanted")

    def __init__(self, read: Text, wanted: bytes) -> None:
        self._read = read
        self._wanted = wanted

    def holds(self, subject: Subject) -> bool:
        """Compare."""
        return self._read(subject) == self._wanted


@final
class Passes(Question):
    """Whether a text passes a test; an unknown text never does."""

    __slots__ = ("_read", "_test")

    def __init__(self, read: Text, test: TextTest) -> None:
        self._read = read
        self._test = test

    def holds(self, subject: Subject) -> bool:
        """Test it."""
        text = self._read(subject)
        return text is not None and self._test(text)

"""Named sets: what their members are, at any depth, and which of them are used."""

from collections.abc import Iterable, Iterator
from typing import Final

from sipguard.policy.literals import has_host_bits, is_address_like, parse_prefix
from sipguard.policy.problems import Problems, Wrong, suggest
from sipguard.policy.syntax import Braced, Place, SetDefinition, Word

SIGNALLING: Final = "signalling"  # in "peer in {signalling ...}" no set but a word of its own
MAX_SETS_DEEP: Final = 8
MAX_MEMBERS: Final = 1_000_000


class Names:
    """Every set of a policy by name."""

    def __init__(self, definitions: Iterable[SetDefinition], problems: Problems) -> None:
        self._sets: dict[str, SetDefinition] = {}
        self._members: dict[str, tuple[Word, ...]] = {}
        self._used: set[str] = set()
        for definition in definitions:
            self._add(definition, problems)
        for definition in self._sets.values():
            try:
                members = self.members(definition.name, ())
            except Wrong as wrong:
                problems.add(wrong)
                self._members[definition.name.text] = ()
                continue
            if not members:
                problems.warn(definition.name.at, f"set {definition.name.text} is empty")

    def _add(self, definition: SetDefinition, problems: Problems) -> None:
        name = definition.name
        if name.text == SIGNALLING:
            problems.error(name.at, f"no set can be called {SIGNALLING}", "peer uses this word")
        elif earlier := self._sets.get(name.text):
            problems.error(name.at, f"set {name.text} stands twice", _first(earlier.name.at))
        else:
            self._sets[name.text] = definition
            check_members(definition.body, problems)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sets)

    def __contains__(self, name: object) -> bool:
        return name in self._sets

    def use(self, word: Word) -> tuple[Word, ...]:
        """Return a set's members, noting that it is used.

        Raises:
            Wrong: there is no such set.
        """
        if word.text not in self._sets:
            hint = suggest(word.text, self._sets) or "a value that is no set stands in braces"
            raise Wrong(word.at, f"unknown set {word.text}", hint)
        self._used.add(word.text)
        return self._members[word.text]

    def flatten(self, braced: Braced) -> tuple[Word, ...]:
        """Return the members of ``{...}``, with those of the sets it names."""
        return tuple(self._walk(braced, ()))

    def unused(self) -> list[Word]:
        """Return the names that nothing uses, in order of definition."""
        return [d.name for d in self._sets.values() if d.name.text not in self._used]

    def members(self, word: Word, above: tuple[str, ...]) -> tuple[Word, ...]:
        """Return every member of the set *word*; *above* are the sets this one is inside of.

        Raises:
            Wrong: sets contain each other, too deep, or hold too many members.
        """
        name = word.text
        if name in self._members:
            return self._members[name]
        if name in above:
            raise Wrong(word.at, f"set {name} contains itself", " in ".join((*above, name)))
        if len(above) >= MAX_SETS_DEEP:
            raise Wrong(word.at, f"sets are nested deeper than {MAX_SETS_DEEP}")
        found = tuple(self._walk(self._sets[name].body, (*above, name)))
        if len(found) > MAX_MEMBERS:
            raise Wrong(word.at, f"set {name} has more than {MAX_MEMBERS} members")
        self._members[name] = found
        return found

    def _walk(self, braced: Braced, above: tuple[str, ...]) -> Iterator[Word]:
        for member in braced.members:
            if isinstance(member, Braced):
                yield from self._walk(member, above)
            elif not member.quoted and member.text in self._sets:
                self._used.add(member.text)
                yield from self.members(member, above)
            else:
                yield member


def check_members(braced: Braced, problems: Problems) -> None:
    """Report members that were surely meant as addresses and are none."""
    for member in braced.members:
        if isinstance(member, Braced):
            check_members(member, problems)
        elif not member.quoted and is_address_like(member.text):
            if parse_prefix(member.text) is None:
                problems.error(member.at, f"{member.text} is no address or prefix")
            elif has_host_bits(member.text):
                problems.warn(
                    member.at,
                    f"{member.text} names one host inside a network",
                    "the whole network is meant",
                )


def _first(at: Place) -> str:
    return f"first at {at.file}:{at.line}"

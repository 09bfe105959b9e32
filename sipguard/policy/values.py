"""The words behind a setting's name, as the values that the setting wants."""

from typing import Final

from sipguard.policy.literals import Rate, parse_duration, parse_number, parse_rate
from sipguard.policy.problems import Wrong, one_of, suggest
from sipguard.policy.syntax import Braced, Setting, Word

MAX_PORTS: Final = 64


class Values:
    """The words after a setting's name, taken one by one."""

    def __init__(self, setting: Setting, usage: str) -> None:
        self._usage = f"write {setting.name.text} {usage}"
        self._left: list[Word | Braced] = list(setting.values)
        self._at = setting.name.at

    def take(self, what: str) -> Word:
        """Return the next word.

        Raises:
            Wrong: there is none, or braces stand there.
        """
        if not self._left:
            raise Wrong(self._at, f"expected {what}", self._usage)
        value = self._left.pop(0)
        if isinstance(value, Braced):
            raise Wrong(value.at, f"expected {what}, found braces", self._usage)
        self._at = value.at
        return value

    def choice(self, *words: str) -> str:
        """Return the next word, which is one of *words*."""
        word = self.take(one_of(words))
        if word.text not in words:
            hint = suggest(word.text, words) or self._usage
            raise Wrong(word.at, f"expected {one_of(words)}, found {word.text}", hint)
        return word.text

    def quoted(self, what: str) -> Word:
        """Return the next word, which stands in quotes."""
        word = self.take(what)
        if not word.quoted:
            raise Wrong(word.at, f"expected {what} in quotes, found {word.text}", self._usage)
        return word

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return bool(self._left)

    def number(self, allowed: range) -> int:
        """Return the next word as a number within *allowed*."""
        return checked(self.take("a number"), allowed, self._usage)

    def numbers(self, allowed: range) -> tuple[int, ...]:
        """Return all numbers that are left, in braces or not."""
        words: list[Word] = []
        for value in self._left:
            members = value.members if isinstance(value, Braced) else (value,)
            for member in members:
                if isinstance(member, Braced):
                    raise Wrong(member.at, "braces inside braces", self._usage)
                words.append(member)
        self._left.clear()
        if len(words) > MAX_PORTS:
            raise Wrong(words[MAX_PORTS].at, f"more than {MAX_PORTS} numbers")
        return tuple(dict.fromkeys(checked(word, allowed, self._usage) for word in words))

    def words(self, what: str) -> tuple[Word, ...]:
        """Return what is left: one word, or those in one pair of braces."""
        if not self._left:
            self.take(what)
        value = self._left.pop(0)
        if not isinstance(value, Braced):
            return (value,)
        for member in value.members:
            if isinstance(member, Braced):
                raise Wrong(member.at, "braces inside braces", self._usage)
        if not value.members:
            raise Wrong(value.at, f"expected {what}, found empty braces", self._usage)
        return tuple(member for member in value.members if isinstance(member, Word))

    def refuse(self, number: int, what: str, hint: str) -> None:
        """Check that *number* is not among the values that are left.

        Raises:
            Wrong: it is.
        """
        for value in self._left:
            for word in value.members if isinstance(value, Braced) else (value,):
                if isinstance(word, Word) and parse_number(word.text) == number:
                    raise Wrong(word.at, what, hint)

    def duration(self, longest_s: int) -> int:
        """Return the next word as seconds, 1 to *longest_s*."""
        word = self.take("a duration")
        seconds = parse_duration(word.text)
        if seconds is None:
            raise Wrong(word.at, f"{word.text} is no duration", "write 90s, 5m, 2h or 1d")
        if not 1 <= seconds <= longest_s:
            raise Wrong(word.at, f"{word.text} is not between 1s and {longest_s}s")
        return seconds

    def duration_or(self, word: str, longest_s: int) -> int:
        """Return the next word as seconds, 0 where it is *word*."""
        if self._left and isinstance(self._left[0], Word) and self._left[0].text == word:
            self.take(word)
            return 0
        return self.duration(longest_s)

    def rate(self) -> Rate:
        """Return the next word as a rate."""
        word = self.take("a rate")
        rate = parse_rate(word.text)
        if rate is None:
            raise Wrong(word.at, f"{word.text} is no rate", "write 10/s, 20/min or 5/h")
        return rate

    def done(self) -> None:
        """Check that nothing is left.

        Raises:
            Wrong: something is.
        """
        if self._left:
            at = self._left[0].at
            raise Wrong(at, "this is too much here", self._usage)


def checked(word: Word, allowed: range, usage: str) -> int:
    """Return a number within *allowed*.

    Raises:
        Wrong: the word is none, or another.
    """
    number = parse_number(word.text)
    if number is None:
        raise Wrong(word.at, f"{word.text} is no number", usage)
    if number not in allowed:
        raise Wrong(word.at, f"{number} is not between {allowed[0]} and {allowed[-1]}")
    return number

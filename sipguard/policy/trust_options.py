"""The words of a ``trust`` line: which options there are, and what each takes."""

from typing import Final, NamedTuple

from sipguard.policy.literals import parse_duration, show_duration
from sipguard.policy.problems import Wrong, one_of, suggest
from sipguard.policy.syntax import Braced, TrustLine, Word

# What an option takes: files, a duration, a set, a code, one of some words, or nothing.
_FILES: Final = ("a file",)
_DURATION: Final = ("a duration",)
_SET: Final = ("a set",)
_COUNTRY: Final = ("a country code",)
_ANY_WORD: Final = (_DURATION, _COUNTRY)
_SHARED: Final[dict[str, tuple[str, ...]]] = {
    "ca": _FILES,
    "intermediates": _FILES,
    "certs": _FILES,
    "crl": _FILES,
    "crl-required": (),
    "max-age": _DURATION,
    "remember": _DURATION,
    "codes": ("strict", "identity"),
}
OPTIONS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "aib": {**_SHARED, "legacy": ("sha1",), "domain-signers": (), "relays": _SET},
    "stir": {
        **_SHARED,
        "fetch": ("public-only", "any", "never"),
        "fetch-ca": _FILES,
        "within": _DURATION,
        "spc": _SET,
        "spc-for-uris": (),
        "require-mky": (),
        "country": _COUNTRY,
        "asserted": (),
    },
    "digest": {"ha1": _FILES, "min": ("sha-256",), "auth-int": (), "strict-nonce": ()},
    "mikey": {
        "psk": _FILES,
        "ca": _FILES,
        "intermediates": _FILES,
        "certs": _FILES,
        "crl": _FILES,
        "crl-required": (),
        "max-age": _DURATION,
    },
    "tls": {
        "ca": _FILES,
        "intermediates": _FILES,
        "crl": _FILES,
        "crl-required": (),
        "pinned": _FILES,
        "pinned-any-name": (),
    },
}

Values = tuple[Word | Braced, ...]


class Option(NamedTuple):
    """One option as written."""

    name: Word
    values: Values


class Given(NamedTuple):
    """A trust line's options by name."""

    name: Word
    options: dict[str, Option]

    def has(self, option: str) -> bool:
        """Whether the option stands there."""
        return option in self.options

    def value(self, option: str) -> Word | Braced | None:
        """Return what the option takes, the first if several."""
        found = self.options.get(option)
        return found.values[0] if found else None

    def word(self, option: str, default: str) -> str:
        """Return the option's word."""
        value = self.value(option)
        return value.text if isinstance(value, Word) else default

    def files(self, option: str) -> list[Word]:
        """Return the names of the option's files."""
        found = self.options.get(option)
        return [word for word in found.values if isinstance(word, Word)] if found else []

    def seconds(self, option: str, default: int, longest_s: int) -> int:
        """Return the option's duration, 1 second to *longest_s*.

        Raises:
            Wrong: it is none, or not within.
        """
        value = self.value(option)
        if not isinstance(value, Word):
            return default
        seconds = parse_duration(value.text)
        if seconds is None:
            raise Wrong(value.at, f"{value.text} is no duration", "write 90s, 5m, 2h or 1d")
        if not 1 <= seconds <= longest_s:
            longest = show_duration(longest_s)
            raise Wrong(value.at, f"{option} is 1s to {longest}, not {value.text}")
        return seconds


def read_options(line: TrustLine) -> Given:
    """Return the options of a line, each with what it takes.

    Raises:
        Wrong: there is no such trust or option, or it does not get what it takes.
    """
    known = OPTIONS.get(line.name.text)
    if known is None:
        hint = suggest(line.name.text, OPTIONS) or f"there are {one_of(OPTIONS)}"
        raise Wrong(line.name.at, f"nothing is called trust {line.name.text}", hint)
    options: dict[str, Option] = {}
    left = list(line.values)
    while left:
        word = left.pop(0)
        takes = known.get(word.text) if isinstance(word, Word) else None
        if isinstance(word, Braced) or takes is None or word.quoted:
            raise _unknown(word, known)
        if word.text in options:
            raise Wrong(word.at, f"{word.text} stands twice")
        options[word.text] = Option(word, _take(word, takes, left))
    return Given(line.name, options)


def _unknown(word: Word | Braced, known: dict[str, tuple[str, ...]]) -> Wrong:
    if isinstance(word, Braced):
        return Wrong(word.at, "unexpected braces", f"there are {one_of(known)}")
    if word.quoted:
        return Wrong(word.at, f'no option takes "{word.text}" here')
    hint = suggest(word.text, known) or f"there are {one_of(known)}"
    return Wrong(word.at, f"unknown option {word.text}", hint)


def _take(option: Word, takes: tuple[str, ...], left: list[Word | Braced]) -> Values:
    """Take what an option takes off the words that are left."""
    if not takes:
        return ()
    if not left:
        raise Wrong(option.at, f"{option.text} needs {one_of(takes)}")
    if takes == _FILES:
        return _take_files(option, left)
    value = left.pop(0)
    if takes == _SET:
        if isinstance(value, Word) and value.quoted:
            raise Wrong(value.at, f"{option.text} needs a set, by name or in braces")
    elif isinstance(value, Braced):
        raise Wrong(value.at, f"{option.text} needs {one_of(takes)}, not braces")
    elif takes not in _ANY_WORD and value.text not in takes:
        hint = suggest(value.text, takes)
        raise Wrong(value.at, f"{option.text} is {one_of(takes)}, not {value.text}", hint)
    return (value,)


def _take_files(option: Word, left: list[Word | Braced]) -> Values:
    """Take all quoted names that follow; options stand bare."""
    files: list[Word | Braced] = []
    while left:
        value = left[0]
        if not isinstance(value, Word) or not value.quoted:
            break
        files.append(left.pop(0))
    if not files:
        raise Wrong(left[0].at, f"{option.text} needs a file in quotes")
    return tuple(files)

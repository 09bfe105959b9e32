"""``trust`` lines: checked like everything else, used once identities are verified."""

from typing import Final

from sipguard.policy.literals import parse_duration
from sipguard.policy.problems import Wrong, one_of, suggest
from sipguard.policy.syntax import TrustLine, Word

# What each option takes: a file, a duration, one of some words, or nothing.
_FILE: Final = ("a file",)
_DURATION: Final = ("a duration",)
OPTIONS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "aib": {
        "ca": _FILE,
        "max-age": _DURATION,
        "remember": _DURATION,
        "codes": ("identity",),
        "legacy": ("sha1",),
        "domain-signers": (),
    },
    "stir": {
        "ca": _FILE,
        "max-age": _DURATION,
        "remember": _DURATION,
        "codes": ("identity",),
        "fetch": ("public-only", "never"),
        "within": _DURATION,
    },
}


def check_trust(line: TrustLine) -> tuple[Word, ...]:
    """Return the files that a trust line names.

    Raises:
        Wrong: an option is unknown, or does not get what it takes.
    """
    known = OPTIONS.get(line.name.text)
    if known is None:
        hint = suggest(line.name.text, OPTIONS) or f"there are {one_of(OPTIONS)}"
        raise Wrong(line.name.at, f"nothing is called trust {line.name.text}", hint)
    files: list[Word] = []
    words = iter(line.values)
    for word in words:
        takes = known.get(word.text)
        if takes is None:
            hint = suggest(word.text, known) or f"there are {one_of(known)}"
            raise Wrong(word.at, f"unknown option {word.text}", hint)
        if not takes:
            continue
        value = next(words, None)
        if value is None:
            raise Wrong(word.at, f"{word.text} needs {one_of(takes)}")
        _check_value(word, value, takes)
        if takes == _FILE:
            files.append(value)
    return tuple(files)


def _check_value(option: Word, value: Word, takes: tuple[str, ...]) -> None:
    if takes == _DURATION:
        if parse_duration(value.text) is None:
            raise Wrong(value.at, f"{value.text} is no duration", "write 90s, 5m, 2h or 1d")
    elif takes == _FILE:
        if not value.quoted:
            raise Wrong(value.at, f"{option.text} needs a file in quotes")
    elif value.text not in takes:
        hint = suggest(value.text, takes)
        raise Wrong(value.at, f"{option.text} is {one_of(takes)}, not {value.text}", hint)

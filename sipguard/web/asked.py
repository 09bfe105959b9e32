"""What a browser asks and what it is answered, apart from HTTP, so that pages are plain functions.

What comes in is a stranger's: bounded in length, and refused where it holds what
nobody types.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sipguard.journal.query import QueryError

MAX_FIELDS: Final = 32
MAX_CHARACTERS: Final = 256
HTML: Final = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Question:
    """One request: a path, the fields of its query, and when it came (POSIX time)."""

    path: str
    fields: Mapping[str, str] = field(default_factory=dict)
    now_s: float = 0.0
    csrf: str = ""  # what a form of this session must send back
    by: str = ""  # the name that was given in it last

    def text(self, name: str) -> str:
        """Return a field without blanks around; empty if it is not there."""
        return self.fields.get(name, "").strip()


class Answer(NamedTuple):
    """A status, a body, and what is said of it."""

    status: int
    body: bytes
    type: str = HTML
    headers: tuple[tuple[str, str], ...] = ()


def fields_of(arguments: Mapping[bytes, list[bytes]]) -> dict[str, str]:
    """Return the first value of each field.

    Raises:
        QueryError: Too many, too long, no UTF-8, or with what cannot be printed.
    """
    if len(arguments) > MAX_FIELDS:
        raise QueryError(f"more than {MAX_FIELDS} fields")
    fields = {}
    for name, values in arguments.items():
        try:
            key, value = name.decode(), values[0].decode()
        except UnicodeDecodeError:
            raise QueryError("a field that is no UTF-8") from None
        if len(key) > MAX_CHARACTERS or len(value) > MAX_CHARACTERS:
            raise QueryError(f"a field of more than {MAX_CHARACTERS} characters")
        if not (key + value).isprintable():
            raise QueryError("a field with characters that cannot be seen")
        fields[key] = value
    return fields

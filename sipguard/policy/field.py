"""Kinds of fields: what a field's value is, and so which tests fit it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Final

from sipguard.policy.subject import Subject

NO_PROOFS: Final[frozenset[str]] = frozenset()


class Scope(Flag):
    """Which chains may read a field."""

    PARSE = auto()
    REQUEST = auto()
    RESPONSE = auto()
    MEDIA = auto()
    HEADERS = REQUEST | RESPONSE | MEDIA
    ALL = PARSE | HEADERS


class Fact(Enum):
    """A yes or no that is known of a message before any rule is asked; bits of a key."""

    DIALOG_KNOWN = 1
    REPLAY = 2
    FINDINGS = 4


class Style(Enum):
    """How a text is compared."""

    EXACT = "text"
    FOLDED = "text without case"
    USER = "user"
    HOST = "host"
    METHOD = "method"


class Unit(Enum):
    """What a number counts, and so how it may be written."""

    PLAIN = "number"
    OCTETS = "octets"
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True)
class FlagField:
    """True or false. *fact*: known beforehand; *needs*: false wherever that fact is.

    *proofs*: what is verified when this is asked; such questions come last.
    """

    name: str
    doc: str
    read: Callable[[Subject], bool]
    scope: Scope = Scope.HEADERS
    fact: Fact | None = None
    needs: Fact | None = None
    proofs: frozenset[str] = NO_PROOFS

    @property
    def kind(self) -> str:
        """The type in words."""
        return "flag"


@dataclass(frozen=True, slots=True)
class NumberField:
    """A number."""

    name: str
    doc: str
    read: Callable[[Subject], int]
    scope: Scope = Scope.HEADERS
    unit: Unit = Unit.PLAIN

    @property
    def kind(self) -> str:
        """The type in words."""
        return self.unit.value


@dataclass(frozen=True, slots=True)
class TextField:
    """Octets of text; ``None`` is unknown and equals nothing. *words*: all values there are."""

    name: str
    doc: str
    read: Callable[[Subject], bytes | None]
    scope: Scope = Scope.HEADERS
    style: Style = Style.EXACT
    words: tuple[str, ...] = ()
    proofs: frozenset[str] = NO_PROOFS

    @property
    def kind(self) -> str:
        """The type in words."""
        return "one of " + " ".join(self.words) if self.words else self.style.value


@dataclass(frozen=True, slots=True)
class AddressField:
    """An IP address as 4 or 16 octets; empty while unknown."""

    name: str
    doc: str
    read: Callable[[Subject], bytes]
    scope: Scope = Scope.HEADERS

    @property
    def kind(self) -> str:
        """The type in words."""
        return "address"


@dataclass(frozen=True, slots=True)
class TextsField:
    """Several texts; a test holds if it holds for any of them."""

    name: str
    doc: str
    read: Callable[[Subject], tuple[bytes, ...]]
    scope: Scope = Scope.HEADERS
    proofs: frozenset[str] = NO_PROOFS

    @property
    def kind(self) -> str:
        """The type in words."""
        return "several texts without case"


@dataclass(frozen=True, slots=True)
class AddressesField:
    """Several addresses; a test holds if it holds for any of them."""

    name: str
    doc: str
    read: Callable[[Subject], tuple[bytes, ...]]
    scope: Scope = Scope.HEADERS

    @property
    def kind(self) -> str:
        """The type in words."""
        return "several addresses"


@dataclass(frozen=True, slots=True)
class FindingField:
    """The findings on a message, by rule id or reason code."""

    name: str
    doc: str
    scope: Scope = Scope.ALL

    @property
    def kind(self) -> str:
        """The type in words."""
        return "several findings"


@dataclass(frozen=True, slots=True)
class PeerField:
    """Both media addresses of a stream, each of which must be in the set."""

    name: str
    doc: str
    scope: Scope = Scope.MEDIA

    @property
    def kind(self) -> str:
        """The type in words."""
        return "both media addresses"


Field = (
    FlagField
    | NumberField
    | TextField
    | AddressField
    | TextsField
    | AddressesField
    | FindingField
    | PeerField
)

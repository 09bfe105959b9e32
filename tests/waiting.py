"""Rules that must wait for a certificate, as a test decides; for guard and edge."""

from collections.abc import Callable

import pytest

from sipguard.evidence import Awaited
from sipguard.guard import Guard
from sipguard.policy.field import FlagField
from sipguard.policy.fields import FIELDS
from sipguard.policy.subject import Subject

URL = "https://cr.example.com/alice.pem"


class Proving:
    """What the identity room says of PASSporTs: a word of the test's choice, or wait."""

    def __init__(self) -> None:
        self.word = ""  # "" is: not here yet
        self.asked = 0
        self.wants: tuple[str, ...] = (URL,)
        self.guard: Guard | None = None  # without one, always patient
        self.says: Callable[[], str] = lambda: self.word

    def answer(self, word: str) -> bool:
        self.asked += 1
        last = self.guard is not None and self.guard._rooms.last_chance
        said = self.says()
        if not said and not last:
            raise Awaited(self.wants)
        return (said or "unknown") == word


def prove_by(monkeypatch: pytest.MonkeyPatch) -> Proving:
    """Let ``stir.*`` ask a test instead of the identity room, in policies loaded from now on."""
    made = Proving()

    def reader(word: str) -> Callable[[Subject], bool]:
        return lambda _subject: made.answer(word)

    for word in ("valid", "failed", "unknown"):
        name = f"stir.{word}"
        monkeypatch.setitem(FIELDS, name, FlagField(name, "As the test says.", reader(word)))
    return made

"""What is wrong or doubtful in a policy, collected so that the admin sees it all at once."""

import difflib
from collections.abc import Iterable

from sipguard.errors import PolicyError, Problem
from sipguard.policy.syntax import Place

MAX_PROBLEMS = 200  # a binary file mistaken for a policy should not print a book


class Wrong(PolicyError):  # noqa: N818 - the sentence reads "raise Wrong(at, what)"
    """One thing that is wrong at one place; stops the rule or setting it stands in, no more."""

    def __init__(self, at: Place, message: str, hint: str = "") -> None:
        self.problem = Problem(at.file, at.line, at.column, message, hint)
        super().__init__((self.problem,))


class Problems:
    """Errors and warnings found so far."""

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, at: Place, message: str, hint: str = "") -> None:
        """Note what makes the policy unusable."""
        if len(self.errors) < MAX_PROBLEMS:
            self.errors.append(Problem(at.file, at.line, at.column, message, hint))

    def warn(self, at: Place, message: str, hint: str = "") -> None:
        """Note what the admin should know; the policy is used all the same."""
        problem = Problem(at.file, at.line, at.column, message, hint)
        if len(self.warnings) < MAX_PROBLEMS and problem not in self.warnings:
            self.warnings.append(problem)

    def add(self, wrong: Wrong) -> None:
        """Note an error that was raised."""
        if len(self.errors) < MAX_PROBLEMS:
            self.errors.append(wrong.problem)

    def check(self) -> None:
        """Raise if anything makes the policy unusable.

        Raises:
            PolicyError: with every error so far, in the order of the files' lines.
        """
        if self.errors:
            raise PolicyError(tuple(sorted(set(self.errors))))


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean X?`` if a known word is close, else nothing."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:64], by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[close[0]]}?" if close else ""


def one_of(words: Iterable[str]) -> str:
    """Return ``a, b or c``."""
    listed = list(words)
    if len(listed) < 2:
        return "".join(listed)
    return ", ".join(listed[:-1]) + " or " + listed[-1]

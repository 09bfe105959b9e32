"""Errors named by whose fault they are; anything else that escapes is a bug of ours."""

from typing import NamedTuple

from sipguard.reason import Finding, Reason


class SipguardError(Exception):
    """Base of everything sipguard raises on purpose."""


class HostileInput(SipguardError):  # noqa: N818 - named for the peer's fault, not ours
    """The peer's octets are wrong; the guard turns this into a drop.

    *detail* is built from our own words and numbers, never from the peer's
    octets, so that a packet cannot write a line into the operator's log.
    *octets* keeps the offending field for the record, which escapes it.
    """

    def __init__(self, reason: Reason, detail: str = "", octets: bytes = b"") -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.octets = octets

    def finding(self) -> Finding:
        """Return the same facts as a value, for the list of findings."""
        return Finding(self.reason, self.detail, self.octets[:128])


class Problem(NamedTuple):
    """One thing wrong in a policy file: where, what, and what was probably meant."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{hint}"


class PolicyError(SipguardError):
    """The operator's policy cannot be used; carries every problem found, not just the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class EdgeError(SipguardError):
    """The machine refuses what we need (kernel, permission, file); the text says what to do."""

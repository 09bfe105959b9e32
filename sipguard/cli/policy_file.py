"""Read a policy file for a command; every problem becomes one line on standard error."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sipguard.cli.output import Screen, Style
from sipguard.errors import PolicyError, Problem
from sipguard.journal.escape import safe_text

if TYPE_CHECKING:
    from sipguard.policy.rules import Policy

MAX_OCTETS: Final = 4 << 20


def read_policy(name: str, screen: Screen) -> "Policy | None":
    """Return the policy, its warnings said; or ``None``, its errors said."""
    from sipguard.policy.load import load_policy  # the grammar takes time that others need not

    try:
        policy = load_policy(name, read_text)
    except PolicyError as error:
        for problem in error.problems:
            screen.note(_line(screen, problem, "error", Style.REFUSED))
        return None
    for problem in policy.warnings:
        screen.note(_line(screen, problem, "warning", Style.WARNING))
    return policy


def read_text(name: str) -> str:
    """Return a file's text; ``OSError`` or ``ValueError`` where it has none."""
    with Path(name).open("rb") as stream:
        octets = stream.read(MAX_OCTETS + 1)
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"it is larger than {MAX_OCTETS >> 20} MiB")
    return octets.decode("utf-8")


def _line(screen: Screen, problem: Problem, kind: str, style: Style) -> str:
    where = f"{problem.file}:{problem.line}:{problem.column}"
    what = f"{problem.message} ({problem.hint})" if problem.hint else problem.message
    return f"{safe_text(where)}: {screen.paint(kind, style)}: {safe_text(what)}"

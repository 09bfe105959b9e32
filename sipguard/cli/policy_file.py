"""Read a policy file for a command; every problem becomes one line on standard error."""

from typing import TYPE_CHECKING

from sipguard.cli.output import Screen, Style
from sipguard.errors import PolicyError, Problem
from sipguard.journal.escape import safe_text

if TYPE_CHECKING:
    from sipguard.policy.rules import Policy


def policy_named(name: str, screen: Screen) -> "Policy | None":
    """Return the policy, its warnings said; or ``None``, its errors said."""
    # The grammar takes time that others need not.
    from sipguard.edge.policy_file import Files, read_policy

    try:
        policy = read_policy(name, Files())
    except PolicyError as error:
        for problem in error.problems:
            screen.note(_line(screen, problem, "error", Style.REFUSED))
        return None
    for problem in policy.warnings:
        screen.note(_line(screen, problem, "warning", Style.WARNING))
    return policy


def _line(screen: Screen, problem: Problem, kind: str, style: Style) -> str:
    where = f"{problem.file}:{problem.line}:{problem.column}"
    what = f"{problem.message} ({problem.hint})" if problem.hint else problem.message
    return f"{safe_text(where)}: {screen.paint(kind, style)}: {safe_text(what)}"

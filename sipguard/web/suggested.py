"""The smallest rule that would have let a call pass, as its page shows it, kept for a while."""

from collections import OrderedDict
from threading import Lock
from typing import Final, NamedTuple

from sipguard.edge.archive import Archive, Entry
from sipguard.edge.policy_file import mtime_ns
from sipguard.edge.suggesting import Suggestion, policy_of, suggest
from sipguard.errors import EdgeError, PolicyError
from sipguard.journal import told
from sipguard.web.rows import link

MAX_KEPT: Final = 64  # each took the policy twice and the guard three times


class Suggested(NamedTuple):
    """A rule that was tried, or why there is none; and where the calls are that it would let in."""

    rule: Suggestion | None
    why_not: str
    similar: str


class Suggestions:
    """Finds a rule for a record, and again when record or policy have changed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, int, str, int], Suggested] = OrderedDict()

    def of(self, archive: Archive, entry: Entry, now_s: float) -> Suggested | None:
        """Return what is suggested; ``None`` where nothing was refused."""
        if told.text(entry.line, "verdict") == "accept":
            return None
        try:
            name = policy_of(entry, archive.path.parent, now_s)
        except EdgeError:
            return Suggested(None, "the record names no policy, and no service runs", "")
        key = (told.text(entry.line, "id"), entry.revision, name, mtime_ns(name))
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = _suggest(entry, name)
                while len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
            return found


def _suggest(entry: Entry, name: str) -> Suggested:
    try:
        rule = suggest(entry, name)
    except PolicyError as error:
        problem = error.problems[0]
        where = f"{problem.file}:{problem.line}"
        why = (
            f"the policy is not good, or not for this page to read ({where}: {problem.message}); "
            f"sipguard policy suggest {told.text(entry.line, 'id')} on the gateway tells more"
        )
        return Suggested(None, why, "")
    except EdgeError as error:
        return Suggested(None, str(error), "")
    asked = {name: told.text(entry.line, name) for name in ("caller", "method")}
    return Suggested(rule, "", link("/blocked", asked, source=told.text(entry.line, "src")))

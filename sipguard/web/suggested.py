"""The smallest rule that would have let a call pass, as its page shows it, kept for a while."""

from collections import OrderedDict
from threading import Lock
from typing import Final, NamedTuple

from sipguard.edge.archive import Archive, Entry
from sipguard.edge.policy_file import LoadedPolicy, has_changed, load
from sipguard.edge.suggesting import Suggestion, policy_of, suggest
from sipguard.errors import EdgeError, PolicyError
from sipguard.journal import told
from sipguard.policy.rules import Policy
from sipguard.web.rows import link

MAX_KEPT: Final = 64  # each took a policy and three guards


class Suggested(NamedTuple):
    """A rule that was tried, or why there is none; and where the calls are that it would let in."""

    rule: Suggestion | None
    why_not: str
    similar: str


class Suggestions:
    """Finds a rule for a record, and again when record or policy have changed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, int, str], Suggested] = OrderedDict()
        self._loaded: LoadedPolicy | None = None

    def of(self, archive: Archive, entry: Entry, now_s: float) -> Suggested | None:
        """Return what is suggested; ``None`` where nothing was refused."""
        if told.text(entry.line, "verdict") == "accept":
            return None
        try:
            name = policy_of(entry, archive.path.parent, now_s)
        except EdgeError:
            return Suggested(None, "the record names no policy, and no service runs", "")
        with self._lock:
            try:
                loaded = self._policy(name, now_s)
            except PolicyError as error:
                return _without(entry, error)
            key = (told.text(entry.line, "id"), entry.revision, loaded.digest)
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = _suggest(entry, loaded.policy)
                while len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
            return found

    def _policy(self, name: str, now_s: float) -> LoadedPolicy:
        loaded = self._loaded
        if loaded is None or loaded.policy.file != name or has_changed(loaded):
            self._loaded = None
            loaded = self._loaded = load(name, "", now_s)
        return loaded


def _without(entry: Entry, error: PolicyError) -> Suggested:
    problem = error.problems[0]
    where = f"{problem.file}:{problem.line}"
    why = (
        f"the policy is not good, or not for this page to read ({where}: {problem.message}); "
        f"sipguard policy suggest {told.text(entry.line, 'id')} on the gateway tells more"
    )
    return Suggested(None, why, "")


def _suggest(entry: Entry, policy: Policy) -> Suggested:
    try:
        rule = suggest(entry, policy)
    except EdgeError as error:
        return Suggested(None, str(error), "")
    asked = {name: told.text(entry.line, name) for name in ("caller", "method")}
    return Suggested(rule, "", link("/blocked", asked, source=told.text(entry.line, "src")))

"""The policy as it is written, with what each rule did, and whether the file would load now."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from sipguard.edge.archive import Archive
from sipguard.edge.control import RuleHits, StatusReport, read_status
from sipguard.edge.policy_file import Files, LoadedPolicy, has_changed, load, mtime_ns, read_text
from sipguard.errors import PolicyError, Problem
from sipguard.journal import told
from sipguard.journal.query import GroupBy, Query
from sipguard.web.asked import Answer, Question
from sipguard.web.paper import Paper
from sipguard.web.rows import row_of

_MOST_LINES: Final = 5_000
_WEEK_S: Final = 7 * 86_400
_TOP: Final = 10
_LOOKED_AT: Final = 200


class PolicyLine(NamedTuple):
    """One line of a policy file, with what its rule did and what is wrong with it."""

    number: int
    text: str
    hits: RuleHits | None
    problems: tuple[Problem, ...]


class PolicyFile(NamedTuple):
    """One file of a policy; ``trouble`` says why its lines cannot be shown."""

    name: str
    lines: tuple[PolicyLine, ...]
    trouble: str


class Check(NamedTuple):
    """What ``sipguard check`` would say now."""

    files: tuple[str, ...]
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    digest: str


class Checked:
    """Checks a policy once, and again when one of its files was written since."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loaded: LoadedPolicy | None = None
        self._refused: tuple[str, Check, dict[str, int]] | None = None

    def check(self, name: str, now_s: float) -> Check:
        """Return what is wrong with the policy file of this name as it is now."""
        with self._lock:
            loaded = self._loaded
            if loaded is not None and loaded.policy.file == name and not has_changed(loaded):
                return _good(loaded)
            if self._refused is not None:
                refused, check, seen = self._refused
                if refused == name and all(mtime_ns(file) == at for file, at in seen.items()):
                    return check
            return self._read(name, now_s)

    def _read(self, name: str, now_s: float) -> Check:
        files = Files()
        self._loaded, self._refused = None, None
        try:
            self._loaded = load(name, "", now_s, files)
        except PolicyError as error:
            named = dict.fromkeys([name, *(problem.file for problem in error.problems)])
            check = Check(tuple(named), tuple(error.problems), (), "")
            self._refused = name, check, files.mtimes_ns
            return check
        return _good(self._loaded)


def _good(loaded: LoadedPolicy) -> Check:
    policy = loaded.policy
    return Check(policy.files or (policy.file,), (), tuple(policy.warnings), loaded.digest)


def policy(archive: Archive, question: Question, paper: Paper, checked: Checked) -> Answer:
    """Return the page."""
    report = read_status(archive.path.parent, question.now_s).report
    check = checked.check(report.policy_file, question.now_s)
    since = Query(since_s=question.now_s - _WEEK_S, refused_only=True, limit=_TOP)
    counts = archive.tally(since, GroupBy.RULE)
    latest = archive.find(Query(refused_only=True, limit=_LOOKED_AT))[::-1]
    would = [e.line for e in latest if told.verdict(e.line).startswith("would ")]
    return paper.page(
        "policy.html",
        question,
        title="Policy",
        report=report,
        check=check,
        is_other=bool(check.digest and report.policy_hash and check.digest != report.policy_hash),
        files=[_file(name, report, check) for name in check.files],
        is_shadow=report.mode == "shadow",
        counts=counts.groups,
        has_blocked=len(would) < len(latest),
        would=[row_of(record) for record in would[:_TOP]],
        never=[rule for rule in report.rules if not rule.hits],
    )


def _file(name: str, report: StatusReport, check: Check) -> PolicyFile:
    try:
        text = read_text(name)
    except OSError as error:
        return PolicyFile(name, (), f"cannot be read by this page: {error.strerror}")
    except ValueError:
        return PolicyFile(name, (), "is no text")
    return PolicyFile(name, tuple(_lines(name, text, report, check)), "")


def _lines(name: str, text: str, report: StatusReport, check: Check) -> Iterator[PolicyLine]:
    hits = {rule.place: rule for rule in report.rules}
    problems: dict[int, list[Problem]] = defaultdict(list)
    for problem in (*check.errors, *check.warnings):
        if Path(problem.file) == Path(name):
            problems[problem.line].append(problem)
    for number, line in enumerate(text.splitlines()[:_MOST_LINES], 1):
        rule = hits.get(f"{name}:{number}")
        if rule is not None and line.split()[:1] != [rule.name]:
            rule = None  # the file was changed: the line is another's by now
        yield PolicyLine(number, line, rule, tuple(problems.get(number, ())))

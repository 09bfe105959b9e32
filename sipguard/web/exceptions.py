"""Temporary exceptions: the list with who, why and hits; making one of a call, and ending one.

The page itself may write nothing. It asks the service at its socket, if the
admin has opened that, and shows the command line otherwise.
"""

import shlex
from typing import Final, NamedTuple

from twisted.logger import Logger

from sipguard.edge.archive import Archive
from sipguard.edge.control import StatusReport, read_status
from sipguard.edge.exemption_desk import NotOpenError, ask
from sipguard.edge.exemptions import ExemptionFile, recent_changes
from sipguard.errors import EdgeError
from sipguard.journal import told
from sipguard.journal.escape import safe_text
from sipguard.journal.words import show_span
from sipguard.policy.exemptions import ALLOW, MAX_TEXT, MUTE, Exemption, caller_key
from sipguard.policy.literals import parse_duration
from sipguard.reason import Reason
from sipguard.web.asked import Answer, Question
from sipguard.web.paper import Paper, when

KINDS: Final = (
    (ALLOW, "let it pass"),
    (MUTE, "keep it out of the list"),
)
LENGTHS: Final = (
    ("15m", "15 minutes"), ("1h", "1 hour"), ("8h", "8 hours"),
    ("1d", "1 day"), ("7d", "7 days"),
)  # fmt: skip
NAME_CHARACTERS: Final = 64
_CHANGES: Final = 20
_UNTOUCHED: Final = {
    Reason.REPLAY.value: "It is a replay, and nothing lets those pass.",
    Reason.REPLAY_AFTER_END.value: "It is a replay, and nothing lets those pass.",
}
_CHAINS: Final = {
    "parse": "Chain parse refuses it: two programs may read it in two ways, and no exception "
    "reaches above that.",
    "media": "Chain media refuses it, and an exception opens no media: no key, no hole.",
}
_log = Logger()


class Name(NamedTuple):
    """One thing of a call that an exception can name."""

    field: str
    value: str
    label: str


class Offer(NamedTuple):
    """What a call's page offers: who may pass, or why it cannot be."""

    names: tuple[Name, ...]
    kinds: tuple[tuple[str, str], ...]
    untouched: str  # why no exception lets it pass; empty if one can
    closed: str  # why this page cannot make one; empty if it can
    commands: tuple[str, ...]


class Row(NamedTuple):
    """One exception in force."""

    number: int
    kind: str
    names: tuple[tuple[str, str], ...]
    since: str
    until: str
    left: str
    by: str
    reason: str
    hits: int | None  # None: the service does not know it yet, or says nothing


def exceptions(
    archive: Archive, question: Question, paper: Paper, mistake: str = "", status: int = 200
) -> Answer:
    """Return the page."""
    directory = archive.path.parent
    rows = _in_force(archive, question.now_s)
    report = _report(archive, question.now_s)
    numbers = {str(row.number) for row in rows}
    made, ended = question.text("made"), question.text("ended")
    return paper.page(
        "exceptions.html",
        question,
        title="Exceptions",
        status=status,
        rows=[row._replace(hits=report.exception_hits.get(str(row.number))) for row in rows],
        kinds=dict(KINDS),
        trouble=report.exceptions_error,
        is_shadow=report.mode == "shadow",
        closed=_closed(archive, question),
        changes=recent_changes(directory, _CHANGES)[::-1],
        made=made if made in numbers else "",
        ended=ended if ended.isdecimal() and ended not in numbers else "",
        mistake=mistake,
        by=question.text("by") or question.by,
        name_characters=NAME_CHARACTERS,
    )


def offer_of(archive: Archive, record: told.Told, question: Question) -> Offer | None:
    """Return what can be excepted of a record; ``None`` for one that nothing refused."""
    if told.text(record, "verdict") == "accept":
        return None
    names = tuple(_names(record))
    untouched = _untouched(record, _report(archive, question.now_s))
    kinds: tuple[tuple[str, str], ...] = KINDS[1:] if untouched else KINDS
    if told.is_media(record) or not names:
        kinds = ()  # what is told of media packets is told all the same
    return Offer(
        names,
        kinds,
        untouched,
        _closed(archive, question) if kinds else "",
        tuple(_command(kind, names) for kind, _ in kinds),
    )


def change(archive: Archive, question: Question, paper: Paper, source: str) -> Answer:
    """Make an exception, or end one, as a form of ours asks; then lead to the list.

    Raises:
        EdgeError: The service does not want it, or is not to be reached.
    """
    by = question.text("by")[:NAME_CHARACTERS]
    wish: told.Told = {"by": by, "place": source}
    if question.text("ask") == "end":
        number = question.text("number")
        wish |= {"ask": "end", "number": int(number) if number.isdecimal() else 0}
        what, there = "ended", f"/exceptions?ended={wish['number']}"
    else:
        wish |= {"ask": "make", **_wanted(archive, question)}
        what, there = "made", ""
    made = ask(archive.path.parent, wish)
    _log.info(
        "audit: exception {number} {what} by {by} from {source}",
        number=made, what=what, by=safe_text(by), source=safe_text(source),
    )  # fmt: skip
    return Answer(303, b"", headers=(("Location", there or f"/exceptions?made={made}"),))


def _wanted(archive: Archive, question: Question) -> told.Told:
    """Return what a form asks for; what it names is the record's, and not the form's."""
    entry = archive.one(question.text("call"))
    if entry is None:
        raise EdgeError("there is no record of this name any more")
    names = {name.field: name.value for name in _names(entry.line)}
    chosen = {field: value for field, value in names.items() if question.text(f"on-{field}")}
    if not chosen:
        raise EdgeError("choose at least one thing that it is for")
    reason = question.text("why")
    if not reason:
        raise EdgeError("say why: it stands in every record of what passes by it")
    return {
        **chosen,
        "kind": question.text("kind"),
        "lasts_s": parse_duration(question.text("lasts")) or 0,
        "reason": reason[:MAX_TEXT],
    }


def _names(record: told.Told) -> list[Name]:
    source, caller, rule = told.text(record, "src"), _caller(record), told.text(record, "rule")
    found = [
        Name("source", source, "from the address"),
        Name("caller", caller, "claiming to be (anybody can write that)"),
        Name("rule", rule, "refused by the rule"),
    ]
    return [name for name in found if name.value and len(name.value) <= MAX_TEXT]


def _caller(record: told.Told) -> str:
    """Return the key of a record's caller; empty where an exception cannot name him."""
    caller, uri = told.text(record, "caller"), told.text(record, "from").rpartition("<")[2]
    scheme = uri.partition(":")[0].strip().lower()
    if scheme not in ("sip", "sips", "tel") or "\\" in caller or "***" in caller:
        return ""
    try:
        key = caller_key(f"{scheme}:{caller}")
        return key if key.isprintable() and caller_key(key) == key else ""
    except ValueError:
        return ""


def _untouched(record: told.Told, report: StatusReport) -> str:
    """Return why no exception lets a record's message pass; the guard holds to the same."""
    rule, place, reason = (told.text(record, name) for name in ("rule", "place", "reason"))
    if told.is_media(record):
        return _CHAINS["media"]
    codes = [reason, *(told.text(finding, "reason") for finding in told.parts(record, "findings"))]
    for code in codes:
        if code in _UNTOUCHED:
            return _UNTOUCHED[code]
    if not place:
        return "sipguard itself refuses it, before any rule is asked; no exception reaches that."
    chain = next((one.chain for one in report.rules if (one.name, one.place) == (rule, place)), "")
    return _CHAINS.get(chain, "")


def _command(kind: str, names: tuple[Name, ...]) -> str:
    words = ["sipguard", kind, "--for", "1h"]
    for name in names:
        words += [f"--{name.field}", name.value]
    return shlex.join(words) + ' --reason "..."'


def _closed(archive: Archive, question: Question) -> str:
    """Return why this page cannot make exceptions; empty if it can."""
    if not question.csrf:
        return "who comes with a token and without a login only reads"
    try:
        ask(archive.path.parent, {"ask": "may"})
    except NotOpenError as error:
        return str(error)
    return ""


def _report(archive: Archive, now_s: float) -> StatusReport:
    """Return the service's report, or an empty one: the list stands without it."""
    try:
        return read_status(archive.path.parent, now_s).report
    except EdgeError:
        return StatusReport(pid=0, written_s=0.0, started_s=0.0)


def _in_force(archive: Archive, now_s: float) -> list[Row]:
    _, all_ = ExemptionFile(archive.path.parent).read()
    return [_row(one, now_s) for one in all_ if now_s < one.until_s]


def _row(one: Exemption, now_s: float) -> Row:
    names = (("source", one.source), ("caller", one.caller), ("rule", one.rule))
    return Row(
        one.number,
        one.kind,
        tuple((name, value) for name, value in names if value),
        when(one.since_s),
        when(one.until_s),
        show_span(one.until_s - now_s),
        one.by,
        one.reason,
        None,
    )

"""One call: the sentence first, then what can be done, the evidence, and the message itself."""

import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from sipguard.edge.archive import Archive, Entry
from sipguard.edge.stored import is_whole, packet_of, padded, text_of_rule
from sipguard.errors import EdgeError
from sipguard.journal import told
from sipguard.journal.advice import advise
from sipguard.journal.because import heading_of
from sipguard.journal.escape import escape
from sipguard.journal.facts import facts_of
from sipguard.journal.marks import marks_of
from sipguard.journal.media_told import tell_media
from sipguard.journal.proofs_told import tell_proofs
from sipguard.journal.story import sentence, span_of
from sipguard.web.asked import Answer, Question
from sipguard.web.charts import ladder_of
from sipguard.web.exceptions import LENGTHS, offer_of
from sipguard.web.overview import SENTENCES
from sipguard.web.paper import Paper
from sipguard.web.pcap import pcap_of
from sipguard.web.suggested import Suggestions

_LINE: Final = re.compile(rb"[^\n]*\n|[^\n]+")
_MOST_LINES: Final = 400
_HEADER: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,40})([ \t]*:)")


class Piece(NamedTuple):
    """A stretch of a line, escaped already; ``marked``: the reason or a finding is about it."""

    text: str
    marked: bool


class Line(NamedTuple):
    """One line of the stored message."""

    number: int
    pieces: tuple[Piece, ...]
    marked: bool


class Test(NamedTuple):
    """One test of the rule that decided."""

    text: str
    holds: str
    values: tuple[tuple[str, str], ...]


class Finding(NamedTuple):
    """One thing that was found on the message."""

    rule: str
    code: str
    sentence: str
    octets: str


def call(
    archive: Archive,
    question: Question,
    paper: Paper,
    suggestions: Suggestions,
    mistake: str = "",
) -> Answer:
    """Return the page of ``/call/ID``, or what ``/call/ID.json`` and ``.pcap`` download.

    *mistake*: why the exception that its form asked for was not made.
    """
    identifier, _, form = question.path.removeprefix("/call/").partition(".")
    entry = archive.one(identifier) if form in ("", "json", "pcap") else None
    if entry is None:
        return paper.problem(
            question,
            404,
            "No such call",
            "There is no record of this name.",
            "Old records go by age and size. The list of blocked calls has those that are kept.",
        )
    if form:
        return _download(entry, form, question, paper)
    record = entry.line
    return paper.page(
        "call.html",
        question,
        title=f"Call {told.text(record, 'id')}",
        status=400 if mistake else 200,
        record=record,
        id=told.text(record, "id"),
        sentence=sentence(record),
        verdict=told.verdict(record),
        facts=list(_facts(record)),
        rule_text=text_of_rule(told.text(record, "place"), told.text(record, "rule")),
        advice=list(advise(record)),
        heading=heading_of(record),
        tests=list(_tests(record)),
        findings=list(_findings(record)),
        proofs=list(tell_proofs(record)),
        media=list(tell_media(record)),
        ladder=ladder_of(record),
        rungs=[(told.step(record, rung), rung) for rung in told.parts(record, "ladder")],
        lines=lines_of(record, entry.message),
        has_message=bool(entry.message),
        is_cut=not is_whole(entry),
        octets=told.number(told.part(record, "packets"), "octets"),
        old_store=archive.advice,
        suggested=suggestions.of(archive, entry, question.now_s),
        offer=offer_of(archive, record, question),
        lengths=LENGTHS,
        by=question.by,
        mistake=mistake,
    )


def _download(entry: Entry, form: str, question: Question, paper: Paper) -> Answer:
    name = re.sub(r"[^0-9a-z]", "", told.text(entry.line, "id").lower())
    headers = (("Content-Disposition", f'attachment; filename="sipguard-{name}.{form}"'),)
    if form == "json":
        octets = json.dumps(entry.line, ensure_ascii=True, indent=2).encode()
        return Answer(200, octets, "application/json", headers)
    try:
        packet, time_s = packet_of(entry)
    except EdgeError as error:
        return paper.problem(question, 404, "No packet", f"{error}.")
    if is_whole(entry):
        packet = packet.changed(payload=padded(packet.payload))
    return Answer(200, pcap_of(packet, time_s), "application/vnd.tcpdump.pcap", headers)


def _facts(record: told.Told) -> Iterator[tuple[str, str]]:
    yield "When", span_of(record)
    for name, value in facts_of(record):
        yield "From (claimed)" if name == "From" else name, value


def _tests(record: told.Told) -> Iterator[Test]:
    words = {True: "yes", False: "no", None: "was not asked"}
    for test in told.parts(told.part(record, "condition"), "tests"):
        holds = test.get("holds")
        values = told.part(test, "values")
        yield Test(
            told.text(test, "test"),
            words[holds if isinstance(holds, bool) else None],
            tuple((name, str(value) or "empty") for name, value in values.items()),
        )


def _findings(record: told.Told) -> Iterator[Finding]:
    for finding in told.parts(record, "findings"):
        code, detail = told.text(finding, "reason"), told.text(finding, "detail")
        words = " ".join(word for word in (SENTENCES.get(code, ""), detail) if word)
        yield Finding(told.text(finding, "rule"), code, words, told.text(finding, "octets"))


def lines_of(record: told.Told, message: bytes) -> list[Line]:
    """Return the stored message line by line, with what the record is about marked."""
    marks = sorted(marks_of(record, message))
    lines = []
    for number, found in enumerate(_LINE.finditer(message), 1):
        if number > _MOST_LINES:
            break
        start = found.start()
        end = start + len(found[0].removesuffix(b"\n").removesuffix(b"\r"))
        pieces = tuple(_pieces(message, start, end, marks))
        lines.append(Line(number, pieces, any(piece.marked for piece in pieces)))
    return lines


def _pieces(message: bytes, start: int, end: int, marks: list[tuple[int, int]]) -> Iterator[Piece]:
    at = start
    for first, last in marks:
        first, last = max(first, at), min(last, end)
        if first >= last:
            continue
        if first > at:
            yield Piece(escape(message[at:first]), marked=False)
        yield Piece(escape(message[first:last]), marked=True)
        at = last
    if at < end:
        yield Piece(escape(message[at:end]), marked=False)

"""The facts of one record in the order in which every face tells them."""

from collections.abc import Iterator

from sipguard.journal import told
from sipguard.journal.story import path_of, rule_of


def facts_of(record: told.Told) -> Iterator[tuple[str, str]]:
    """Yield a name and a value for each fact that the record has."""
    for name, value in _facts(record):
        if value:
            yield name, value


def _facts(record: told.Told) -> Iterator[tuple[str, str]]:
    yield "Rule", rule_of(record)
    yield "Reason", told.text(record, "reason")
    yield "Field", told.text(record, "field")
    yield "Path", path_of(record)
    yield "Request", told.text(record, "request_uri")
    yield "From", told.text(record, "from")
    yield "To", told.text(record, "to")
    yield "Contact", told.text(record, "contact")
    yield "Call-ID", told.text(record, "call_id")
    yield "CSeq", told.text(record, "cseq")
    yield "Branch", told.text(record, "branch")
    yield "User-Agent", told.text(record, "user_agent")
    yield "Dialog", told.text(record, "dialog")
    yield "Count", told.tally(record)
    for other in told.parts(record, "also"):
        yield (
            "Also",
            f"{told.text(other, 'verdict')} by {told.text(other, 'rule')} "
            f"({told.text(other, 'reason')}), {told.number(other, 'count')} times",
        )

"""Where in a stored message the octets stand that its reason and findings are about."""

import re
from typing import Final

from sipguard.journal import told
from sipguard.journal.escape import unescape

_NAME: Final = re.compile(rb"[a-z][a-z-]{0,31}")


def marks_of(record: told.Told, message: bytes) -> list[tuple[int, int]]:
    """Return first and behind the last octet of each, in the order of what was found.

    What was masked, or is not in the part that is kept, is not there to be marked.
    """
    quotes = [told.text(record, "field")]
    quotes += [told.text(finding, "octets") for finding in told.parts(record, "findings")]
    return [place for quote in dict.fromkeys(quotes) for place in _places(quote, message)]


def _places(quote: str, message: bytes) -> list[tuple[int, int]]:
    """Return where the quoted octets stand in the message: first and behind the last.

    Of a header's name, which is quoted in lower case, that is each of its rows.
    """
    try:
        octets = unescape(quote.partition("…")[0])
    except ValueError:
        return []
    if not octets:
        return []
    if _NAME.fullmatch(octets):
        row = re.compile(rb"(?mi)^" + re.escape(octets) + rb"(?=[ \t]*:)")
        rows = [found.span() for found in row.finditer(message)]
        if rows:
            return rows
    at = message.find(octets)
    return [(at, at + len(octets))] if at >= 0 else []

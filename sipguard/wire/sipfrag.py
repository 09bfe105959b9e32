"""Pieces of SIP messages: ``message/sipfrag`` (RFC 3420) and the ``message/sip`` of RFC 3261.

A fragment is a valid SIP message from which the start line, whole headers or
the body were taken away. It is mostly read because somebody signed it, so there
is one strict reading: what two parsers could read differently is refused
(AIB-2). A signature makes nobody's fragment well-formed.
"""

from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.weight import Weight
from sipguard.wire.header_bits import SINGLE
from sipguard.wire.memo import NotPlain
from sipguard.wire.plain import known_row
from sipguard.wire.reader import BLANKS
from sipguard.wire.rows import Header, canonical_name, read_row
from sipguard.wire.start import Start, read_start

MAX_FRAGMENT_OCTETS: Final = 16_384  # an AIB needs some 300; a whole message with SDP some 3,000
MAX_FRAGMENT_HEADERS: Final = 64

_BREAKS: Final = b"\r\n"


class Sipfrag(NamedTuple):
    """One fragment: its start line if it has one, its rows in order, its body.

    Names given to the methods are canonical: long form, lower case.
    """

    start: Start | None
    headers: tuple[Header, ...]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Return the value of the first row of that name, ``None`` where there is none."""
        for row in self.headers:
            if row.name == name:
                return row.value
        return None

    def rows(self, name: bytes) -> tuple[Header, ...]:
        """Return all rows of that name."""
        return tuple([row for row in self.headers if row.name == name])

    def names(self) -> tuple[bytes, ...]:
        """Return the names of all headers, each once, in order of appearance."""
        return tuple(dict.fromkeys([row.name for row in self.headers]))


def parse_sipfrag(octets: bytes) -> Sipfrag:
    """Return the fragment in *octets*, which hold nothing else.

    The last line may lack its CRLF: the grammar wants one, but in a multipart the CRLF
    before a delimiter belongs to the delimiter, and many writers forget the second.

    Raises:
        HostileInput: ``AIB_BAD_FRAGMENT``.
    """
    if len(octets) > MAX_FRAGMENT_OCTETS:
        raise _bad(f"larger than {MAX_FRAGMENT_OCTETS} octets")
    head, body = _cut(octets)
    lines = _lines(head)
    start = None
    if lines and _is_start(lines[0]):
        start = _read_start(lines[0])
        del lines[0]
    headers = tuple([_read_header(line) for line in lines])
    if start is None and not headers:
        raise _bad("neither start line nor header")
    _check_repeats(headers)
    _check_body(headers, body)
    return Sipfrag(start, headers, body)


def _bad(detail: str, octets: bytes = b"") -> HostileInput:
    return HostileInput(Reason.AIB_BAD_FRAGMENT, detail, octets[:128])


def _cut(octets: bytes) -> tuple[bytes, bytes]:
    """Cut at the empty line; what follows it is the body."""
    if octets.startswith(_BREAKS):
        raise _bad("an empty line at its start")
    head, _, body = octets.partition(b"\r\n\r\n")
    head = head.removesuffix(_BREAKS)
    if head.count(b"\r") != head.count(_BREAKS) or head.count(b"\n") != head.count(_BREAKS):
        raise _bad("a line end that is not CRLF")
    return head, body


def _lines(head: bytes) -> list[bytes]:
    """Return logical lines, folds undone (SIP-10)."""
    raw_lines = head.split(_BREAKS, 4 * MAX_FRAGMENT_HEADERS)
    lines: list[list[bytes]] = []
    for raw_line in raw_lines:
        if not raw_line.startswith((b" ", b"\t")):
            lines.append([raw_line])
        elif not lines or not raw_line.strip(BLANKS):
            raise _bad("a line of blanks, or a fold of nothing")
        else:
            lines[-1].append(raw_line.strip(BLANKS))
    if len(lines) > MAX_FRAGMENT_HEADERS or len(raw_lines) > 4 * MAX_FRAGMENT_HEADERS:
        raise _bad(f"more than {MAX_FRAGMENT_HEADERS} headers")
    return [b" ".join([pieces[0].rstrip(BLANKS), *pieces[1:]]) for pieces in lines if pieces[0]]


def _is_start(line: bytes) -> bool:
    """Whether this is meant as a start line: no header name stands before a colon."""
    name, colon, _ = line.partition(b":")
    return not colon or not canonical_name(name)


def _read_start(line: bytes) -> Start:
    try:
        start, findings = read_start(line)
    except HostileInput as error:
        raise _bad(f"start line: {error.detail}", line) from None
    for finding in findings:
        if finding.reason.weight is not Weight.NOTE:
            raise _bad("start line not well formed", line)
    return start


def _read_header(line: bytes) -> Header:
    try:
        return known_row(line)  # a signed header is mostly one of the message's own lines
    except (NotPlain, KeyError):
        pass
    header, findings = read_row(line)
    for finding in findings:
        # A date that cannot be read is a note elsewhere; here everything hangs on it.
        if finding.reason.weight is not Weight.NOTE or finding.reason is Reason.BAD_DATE:
            raise _bad(f"{finding.reason.value}: {finding.detail}", line)
    return header


def _check_repeats(headers: tuple[Header, ...]) -> None:
    names = [header.name for header in headers if header.name in SINGLE]
    if len(names) != len(set(names)):
        raise _bad("a header that may stand once stands twice")
    stars = [header for header in headers if header.name == b"contact"]
    if len(stars) > 1 and any(header.value == b"*" for header in stars):
        raise _bad("* beside another Contact")


def _check_body(headers: tuple[Header, ...], body: bytes) -> None:
    """A body is described by its headers, and Content-Length tells the truth (RFC 3420 section 2).

    Without a body the length says nothing: the fragment may be a message whose body was left out.
    """
    if not body:
        return
    if not any(header.name == b"content-type" for header in headers):
        raise _bad("a body without Content-Type")
    for header in headers:
        if header.name == b"content-length" and header.number != len(body):
            raise _bad(f"{header.number} octets announced, {len(body)} there")

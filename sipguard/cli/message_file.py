"""A SIP message in a file: read as people save it, changed row by row, every other octet kept."""

from pathlib import Path
from typing import Final, NamedTuple

from sipguard.errors import EdgeError, HostileInput
from sipguard.wire.rows import COMPACT
from sipguard.wire.sip import Message, parse_message

MAX_FILE_OCTETS: Final = 1 << 20

_CRLF: Final = b"\r\n"


class Row(NamedTuple):
    """One header as it stands, folded lines and the last CRLF included."""

    name: bytes  # canonical: long form, lower case
    octets: bytes

    @property
    def value(self) -> bytes:
        """What follows the colon, unfolded."""
        lines = self.octets.partition(b":")[2].split(_CRLF)
        return b" ".join(line.strip() for line in lines).strip()


class MessageFile(NamedTuple):
    """Start line (with its CRLF), rows in order, and body."""

    start: bytes
    rows: tuple[Row, ...]
    body: bytes

    @property
    def octets(self) -> bytes:
        """The whole message."""
        return self.start + b"".join(row.octets for row in self.rows) + _CRLF + self.body

    @property
    def is_request(self) -> bool:
        """Whether it is a request."""
        return not self.start.startswith(b"SIP/2.0 ")

    def value(self, name: bytes) -> bytes:
        """Return the value of the first row of that name, empty where there is none."""
        return next((row.value for row in self.rows if row.name == name), b"")

    def with_row(self, name: bytes, shown_name: bytes, value: bytes) -> "MessageFile":
        """Set the header *name* to *value*: in its place, or else before the Content headers."""
        rows = list(self.rows)
        for number, row in enumerate(rows):
            if row.name == name:
                written = row.octets.partition(b":")[0]
                rows[number] = Row(name, written + b": " + value + _CRLF)
                return self._replace(rows=tuple(rows))
        at = next((n for n, row in enumerate(rows) if row.name.startswith(b"content-")), len(rows))
        if name.startswith(b"content-"):
            at = len(rows)
        rows.insert(at, Row(name, shown_name + b": " + value + _CRLF))
        return self._replace(rows=tuple(rows))

    def without(self, names: frozenset[bytes]) -> "MessageFile":
        """Leave out every row of these names."""
        return self._replace(rows=tuple(row for row in self.rows if row.name not in names))

    def with_body(self, body: bytes) -> "MessageFile":
        """Take another body, and say how long it is."""
        length = str(len(body)).encode()
        return self._replace(body=body).with_row(b"content-length", b"Content-Length", length)

    def parsed(self) -> Message:
        """Return the message as the gateway reads it.

        Raises:
            EdgeError: it cannot be read, or what names its call is missing.
        """
        try:
            message = parse_message(self.octets)
        except HostileInput as error:
            raise EdgeError(
                f"this is no SIP message: {error.detail or error.reason.value}"
            ) from None
        if message.ids is None:
            missing = [name for name in _NAMES if not self.value(name.lower().encode())]
            raise EdgeError(
                f"the message lacks {', '.join(missing)}" if missing
                else "Via, From, To, Call-ID or CSeq cannot be read"
            )  # fmt: skip
        return message


_NAMES: Final = ("Via", "From", "To", "Call-ID", "CSeq")


def read_octets(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        EdgeError: it cannot be read, or is too large for a SIP message.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        raise EdgeError(f"cannot read {path}: {error.strerror}") from None
    if len(octets) > MAX_FILE_OCTETS:
        raise EdgeError(f"{path} is too large for a SIP message")
    return octets


def read_message_file(octets: bytes) -> MessageFile:
    """Cut a message into start line, rows and body.

    A file written with an editor ends its lines with LF alone: where there is no
    CRLF at all, every line end becomes one. Line ends that an editor left behind
    a body that Content-Length ends are no part of it.

    Raises:
        EdgeError: there is no start line, or a line of the head is no header.
    """
    if _CRLF not in octets:
        octets = octets.replace(b"\n", _CRLF)
    head, _, body = octets.lstrip(_CRLF).partition(_CRLF + _CRLF)
    start, *lines = head.split(_CRLF)
    if b"SIP/2.0" not in start:
        raise EdgeError("the file does not begin with a SIP request or status line")
    rows: list[Row] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and rows:
            rows[-1] = Row(rows[-1].name, rows[-1].octets + line + _CRLF)
        elif b":" in line:
            name = line.partition(b":")[0].strip().lower()
            rows.append(Row(COMPACT.get(name, name), line + _CRLF))
        elif line:
            raise EdgeError(f"line {len(rows) + 2} of the head is no header")
    message = MessageFile(start + _CRLF, tuple(rows), body)
    return message._replace(body=_without_tail(body, message.value(b"content-length")))


def _without_tail(body: bytes, length: bytes) -> bytes:
    stated = int(length) if length.isdigit() and len(length) < 8 else len(body)
    return body if body[stated:].strip(_CRLF) else body[:stated]

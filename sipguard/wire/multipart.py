"""MIME bodies in SIP (RFC 2046, RFC 5621; SIP-50 to SIP-56): exact spans, one strict reading.

A second session description hidden from one parser and seen by another would
open a hole for a stranger, so whatever two sane parsers could split at
different places is refused: a delimiter after a bare LF, a line that only
begins like a delimiter, a delimiter in the epilogue.
Spans are offsets into the body as received, because a signature covers octets.
"""

import re
from functools import lru_cache
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.mime import (
    MAX_PART_HEADERS,
    Headers,
    default_disposition,
    parse_content_type,
    parse_disposition,
    read_headers,
    undo_encoding,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_PARTS",
    "MAX_PART_HEADERS",
    "Part",
    "decoded",
    "notes",
    "parse_content_type",
    "parse_disposition",
    "read_entity",
    "sessions",
    "split_multipart",
    "walk",
]

MAX_DEPTH: Final = 4  # multiparts inside each other (SIP-52)
MAX_PARTS: Final = 16  # in the whole body, inner multiparts counted (SIP-52)
MAX_WALKED_OCTETS: Final = 16_384  # larger bodies are walked each time, which bounds the cache

_BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_SESSION: Final = (b"session", b"application/sdp")


@final
@mypyc_attr(acyclic=True)
class Part:
    """One body part: its headers, what it is, and where it lies in the body given.

    ``start`` and ``end`` span the content, ``part_start`` and ``end`` the part
    with its headers, as a signature covers it; the CRLF before the next
    delimiter belongs to neither. ``headers`` have lower-case long names and
    unfolded values. ``depth`` is 0 for a body that is no multipart, else the
    number of multiparts around the part.
    """

    __slots__ = (
        "content_type", "depth", "disposition", "end", "handling", "headers", "part_start", "start",
    )  # fmt: skip

    def __init__(
        self,
        headers: Headers,
        start: int,
        end: int,
        part_start: int,
        content_type: bytes = b"text/plain",
        disposition: bytes = b"render",
        handling: bytes = b"required",
        depth: int = 0,
    ) -> None:
        """Keep what it is, and where."""
        self.headers: Final = headers
        self.start: Final = start
        self.end: Final = end
        self.part_start: Final = part_start
        self.content_type: Final = content_type
        self.disposition: Final = disposition
        self.handling: Final = handling
        self.depth: Final = depth

    def moved(self, by: int, depth: int) -> "Part":
        """Return it as it lies in a body that begins *by* octets earlier."""
        return Part(
            self.headers,
            self.start + by,
            self.end + by,
            self.part_start + by,
            self.content_type,
            self.disposition,
            self.handling,
            depth,
        )

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of the header of this lower-case name."""
        for known, value in self.headers:
            if known == name:
                return value
        return None


def split_multipart(body: bytes, boundary: bytes) -> tuple[Part, ...]:
    """Split one level of a multipart body; parts keep octet spans into *body*, depth 1.

    Raises:
        HostileInput: ``BAD_MULTIPART``, or ``MULTIPART_LIMIT`` over ``MAX_PARTS`` parts.
    """
    return _split(body, boundary, b"text/plain", 1)


def walk(content_type: bytes, body: bytes) -> tuple[Part, ...]:
    """Return every part in the order of the octets, each inner multipart before its own parts.

    A body that is no multipart is one part of depth 0.

    Args:
        content_type: The whole header value; empty counts as ``text/plain``.
        body: The body as received.

    Raises:
        HostileInput: ``BAD_CONTENT_TYPE`` for *content_type* itself,
            ``BAD_MULTIPART``, or ``MULTIPART_LIMIT`` over depth or number.
    """
    kept = len(body) <= MAX_WALKED_OCTETS
    return _cached_walk(content_type, body) if kept else _walk(content_type, body)


def _walk(content_type: bytes, body: bytes) -> tuple[Part, ...]:
    kind, parameters = parse_content_type(content_type) if content_type else (b"text/plain", {})
    if not kind.startswith(b"multipart/"):
        return (Part((), 0, len(body), 0, kind, default_disposition(kind)),)
    found: list[Part] = []
    _walk_into(body, 0, kind, parameters, 1, found)
    return tuple(found)


# One message is walked for its sessions, its signatures and its identity.
_cached_walk = lru_cache(maxsize=4)(_walk)


def sessions(content_type: bytes, disposition: bytes, body: bytes) -> tuple[bytes, ...]:
    """Return every ``application/sdp`` content with disposition ``session`` that a UA could reach.

    Of a multipart/alternative only the last part with a session counts
    (SIP-52). More than one result is ambiguous (SIP-54), which the caller says.

    Args:
        content_type: The whole Content-Type value; may be empty.
        disposition: The whole Content-Disposition value; empty where absent.
        body: The body as received.

    Raises:
        HostileInput: as ``walk``, and ``CONTENT_ENCODING`` where a session is
            encoded in a way we cannot undo.
    """
    if content_type == b"application/sdp" and not disposition:
        return (body,) if body else ()
    if not content_type or not body:
        return ()
    kind, _ = parse_content_type(content_type)
    if kind == b"application/sdp":
        named = parse_disposition(disposition)[0] if disposition else b"session"
        return (body,) if named == b"session" else ()
    if not kind.startswith(b"multipart/"):
        return ()
    parts = walk(content_type, body)
    return tuple(decoded(part, body) for part in _reachable(kind, parts, 0, len(parts), 1))


def notes(content_type: bytes, body: bytes) -> tuple[Finding, ...]:
    """Return what is odd but harmless: a part whose own Content-Length differs (SIP-56).

    Raises:
        HostileInput: as ``walk``.
    """
    found = []
    for part in walk(content_type, body):
        announced = part.header(b"content-length")
        if announced is not None and announced != b"%d" % (part.end - part.start):
            found.append(Finding(Reason.PART_LENGTH, "", announced[:128]))
    return tuple(found)


def read_entity(octets: bytes) -> Part:
    """Read a part that stands alone, such as the content of a signature; depth 0.

    Raises:
        HostileInput: ``BAD_MULTIPART``, or ``MULTIPART_LIMIT``.
    """
    return _read_part(octets, 0, len(octets), b"text/plain", 0, 0)


def decoded(part: Part, body: bytes) -> bytes:
    """Undo the transfer encoding of a part of *body* (SIP-55).

    Raises:
        HostileInput: ``CONTENT_ENCODING``.
    """
    content = body[part.start : part.end]
    packed = part.header(b"content-encoding") or b""
    return undo_encoding(content, part.header(b"content-transfer-encoding") or b"", packed)


def _split(
    body: bytes, boundary: bytes, default: bytes, depth: int, offset: int = 0
) -> tuple[Part, ...]:
    if not _BOUNDARY.fullmatch(boundary):
        raise HostileInput(Reason.BAD_MULTIPART, "no usable boundary", boundary[:128])
    dash = b"--" + boundary
    if b"\r" + dash in body:
        raise HostileInput(Reason.BAD_MULTIPART, "a delimiter after a bare CR")
    parts: list[Part] = []
    content, closed = _first_delimiter(body, dash)
    while not closed:
        if len(parts) == MAX_PARTS:
            raise HostileInput(Reason.MULTIPART_LIMIT, f"more than {MAX_PARTS} parts")
        end, after, closed = _next_delimiter(body, dash, content)
        parts.append(_read_part(body, content, end, default, depth, offset))
        content = after
    if not parts:
        raise HostileInput(Reason.BAD_MULTIPART, "a multipart without parts")
    if body.find(b"\n" + dash, content - 1) >= 0:
        raise HostileInput(Reason.BAD_MULTIPART, "a delimiter behind the closing one")
    return tuple(parts)


def _first_delimiter(body: bytes, dash: bytes) -> tuple[int, bool]:
    """Skip the preamble; return where the first part starts, and whether all is over already."""
    if body.startswith(dash):
        return _after_delimiter(body, len(dash))
    _, after, closed = _next_delimiter(body, dash, 0)
    return after, closed


def _next_delimiter(body: bytes, dash: bytes, start: int) -> tuple[int, int, bool]:
    """Return where the content before the next delimiter ends, what follows it, and if it closes.

    The search begins one octet early: a delimiter right at *start* would need
    the line end that the delimiter before it already took (RFC 2046 section 5.1.1).
    """
    at = body.find(b"\n" + dash, max(start - 1, 0))
    if at < 0:
        raise HostileInput(Reason.BAD_MULTIPART, "the closing delimiter is missing")
    # Never a slice that ends before it starts: compiled by mypyc it fails (seen with 2.4).
    if at < max(start, 1) or body[at - 1 : at] != b"\r":
        raise HostileInput(Reason.BAD_MULTIPART, "a delimiter without its own CRLF")
    after, closed = _after_delimiter(body, at + 1 + len(dash))
    return at - 1, after, closed


def _after_delimiter(body: bytes, at: int) -> tuple[int, bool]:
    """Read the rest of a delimiter line: perhaps the closing dashes, padding, CRLF."""
    closed = body.startswith(b"--", at)
    at += 2 if closed else 0
    stop = body.find(b"\r\n", at)
    padding = body[at:] if stop < 0 else body[at:stop]
    if padding.strip(b" \t"):
        # RFC 2046 would match by prefix, most parsers by the whole line.
        raise HostileInput(Reason.BAD_MULTIPART, "a line that only begins like a delimiter")
    return (len(body) if stop < 0 else stop + 2), closed


def _read_part(body: bytes, start: int, end: int, default: bytes, depth: int, offset: int) -> Part:
    area, content = _header_area(body, start, end)
    headers, kind, disposition, handling = read_headers(area, default)
    at = content + offset
    return Part(headers, at, end + offset, start + offset, kind, disposition, handling, depth)


def _header_area(body: bytes, start: int, end: int) -> tuple[bytes, int]:
    """Return the header lines of one part and where its content starts (SIP-51)."""
    if start == end or body.startswith(b"\r\n", start, end):
        return b"", min(start + 2, end)
    stop = body.find(b"\r\n\r\n", start, end)
    content = stop + 4
    if stop < 0:
        # Headers alone: the blank line may be missing, the last line's CRLF may not.
        stop, content = end - 2, end
        if body[max(stop, start) : end] != b"\r\n":
            raise HostileInput(Reason.BAD_MULTIPART, "the headers of a part do not end")
    return body[start : max(stop, start)], content


def _walk_into(
    body: bytes,
    offset: int,
    kind: bytes,
    parameters: dict[bytes, bytes],
    depth: int,
    found: list[Part],
) -> None:
    """Append the parts of one multipart, which starts at *offset* of the whole body."""
    if depth > MAX_DEPTH:
        raise HostileInput(Reason.MULTIPART_LIMIT, f"more than {MAX_DEPTH} levels")
    default = b"message/rfc822" if kind == b"multipart/digest" else b"text/plain"
    for part in _split(body, parameters.get(b"boundary", b""), default, depth, offset):
        if len(found) == MAX_PARTS:
            raise HostileInput(Reason.MULTIPART_LIMIT, f"more than {MAX_PARTS} parts")
        found.append(part)
        if part.content_type.startswith(b"multipart/"):
            value = part.header(b"content-type") or b""
            content = body[part.start - offset : part.end - offset]
            parameters = parse_content_type(value)[1]
            _walk_into(content, part.start, part.content_type, parameters, depth + 1, found)


def _reachable(kind: bytes, parts: tuple[Part, ...], at: int, stop: int, depth: int) -> list[Part]:
    """Return the sessions among ``parts[at:stop]``, all inside one multipart of this *kind*."""
    branches: list[list[Part]] = []
    types: list[tuple[bytes, bytes]] = []
    while at < stop:
        part = parts[at]
        after = at + 1
        while after < stop and parts[after].depth > depth:
            after += 1
        if part.content_type.startswith(b"multipart/"):
            branches.append(_reachable(part.content_type, parts, at + 1, after, depth + 1))
        elif part.disposition in (b"session", b"early-session"):
            types.append((part.disposition, part.content_type))
            branches.append([part] if types[-1] == _SESSION else [])
        at = after
    if kind != b"multipart/alternative":
        return [part for branch in branches for part in branch]
    if len(types) != len(set(types)):
        raise HostileInput(
            Reason.BAD_MULTIPART, "two alternatives of one type (RFC 5621 section 8)"
        )
    return next((branch for branch in reversed(branches) if branch), [])

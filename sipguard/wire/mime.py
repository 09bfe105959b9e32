"""Headers and encodings of body parts (RFC 2045, RFC 2183; SIP-51, SIP-53, SIP-55)."""

import binascii
import quopri
import re
from functools import lru_cache
from typing import Final

from sipguard.errors import HostileInput
from sipguard.reason import Reason

MAX_PART_HEADERS: Final = 32
MAX_CACHED_OCTETS: Final = 512

_TOKEN: Final = rb"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+"  # RFC 2045 section 5.1; holds SIP's token
_TYPE: Final = re.compile(rb"[ \t]*(%b)[ \t]*/[ \t]*(%b)[ \t]*" % (_TOKEN, _TOKEN))
_WORD: Final = re.compile(rb"[ \t]*(%b)[ \t]*" % _TOKEN)
# The two alternatives inside the quotes never match the same octet, so a match
# costs linear time; a control octet ends it.
_PARAMETER: Final = re.compile(
    rb';[ \t]*(%b)[ \t]*=[ \t]*(?:(%b)|"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00\r\n])*)")[ \t]*'
    % (_TOKEN, _TOKEN)
)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_HEADER: Final = re.compile(rb"(%b)[ \t]*:[ \t]*([^\x00\r\n]*)" % _TOKEN)

# SIP stacks read part headers with their SIP parser, compact forms and all.
_LONG_NAMES: Final = {
    b"c": b"content-type",
    b"e": b"content-encoding",
    b"l": b"content-length",
}
_SINGLE: Final = frozenset(
    {
        b"content-type",
        b"content-disposition",
        b"content-transfer-encoding",
        b"content-encoding",
        b"content-length",
        b"content-id",
    }
)
_PLAIN: Final = frozenset({b"", b"binary", b"8bit", b"7bit"})

Headers = tuple[tuple[bytes, bytes], ...]


def parse_content_type(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return a lower-case ``type/subtype`` and its parameters, names lower-case, values unquoted.

    The dictionary is shared between callers: read it, never change it.

    Raises:
        HostileInput: ``BAD_CONTENT_TYPE``; a parameter that stands twice counts.
    """
    return _cached_content_type(value) if len(value) <= MAX_CACHED_OCTETS else _content_type(value)


def parse_disposition(value: bytes) -> tuple[bytes, bytes]:
    """Return disposition type and ``handling`` of a Content-Disposition, both lower-case (SIP-53).

    Raises:
        HostileInput: ``BAD_MULTIPART``.
    """
    kind = _WORD.match(value)
    if kind is None:
        raise HostileInput(Reason.BAD_MULTIPART, "Content-Disposition has no type", value[:128])
    parameters = _parameters(value, kind.end(), Reason.BAD_MULTIPART)
    return kind[1].lower(), parameters.get(b"handling", b"required").lower()


def read_headers(area: bytes, default: bytes) -> tuple[Headers, bytes, bytes, bytes]:
    """Return the headers of a part, its type, disposition and handling.

    Args:
        area: The header lines without the CRLF of the last one; may be empty.
        default: The type of a part without Content-Type.

    Raises:
        HostileInput: ``BAD_MULTIPART``, or ``MULTIPART_LIMIT``.
    """
    if len(area) <= MAX_CACHED_OCTETS:  # phones write theirs alike call by call, but boundaries
        return _cached_headers(area, default)
    return _headers(area, default)


def undo_encoding(content: bytes, encoding: bytes, packed: bytes = b"") -> bytes:
    """Return the octets that *content* stands for; SIP's own default is no encoding.

    Args:
        content: The content of one part.
        encoding: Its Content-Transfer-Encoding, empty where absent.
        packed: Its Content-Encoding, empty where absent; nothing packed is read.

    Raises:
        HostileInput: ``CONTENT_ENCODING`` for an encoding that is not read, or broken.
    """
    if packed.lower() in (b"", b"identity"):
        encoding = encoding.lower()
        if encoding in _PLAIN:
            return content
        if encoding == b"base64":
            return _from_base64(content)
        if encoding == b"quoted-printable":
            return quopri.decodestring(content)
    raise HostileInput(Reason.CONTENT_ENCODING, "a part in an encoding that is not read")


def default_disposition(kind: bytes) -> bytes:
    """Return what an absent Content-Disposition means (RFC 3261 section 20.11; SIP-53)."""
    return b"session" if kind == b"application/sdp" else b"render"


def _content_type(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    kind = _TYPE.match(value)
    if kind is None:
        raise HostileInput(Reason.BAD_CONTENT_TYPE, "no type/subtype", value[:128])
    name = b"%b/%b" % (kind[1].lower(), kind[2].lower())
    return name, _parameters(value, kind.end(), Reason.BAD_CONTENT_TYPE)


_cached_content_type = lru_cache(maxsize=1024)(_content_type)


def _parameters(value: bytes, at: int, reason: Reason) -> dict[bytes, bytes]:
    parameters: dict[bytes, bytes] = {}
    while at < len(value):
        found = _PARAMETER.match(value, at)
        if found is None:
            raise HostileInput(reason, "a parameter is not well formed", value[at : at + 128])
        name, token, quoted = found.groups()
        name = name.lower()
        if name in parameters:
            raise HostileInput(reason, "a parameter stands twice", value[at : at + 128])
        parameters[name] = token if quoted is None else _QUOTED_PAIR.sub(rb"\1", quoted)
        at = found.end()
    return parameters


def _headers(area: bytes, default: bytes) -> tuple[Headers, bytes, bytes, bytes]:
    """Return the headers of a part, its type, disposition and handling."""
    if not area:
        return (), default, default_disposition(default), b"required"
    area = area.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    lines = area.split(b"\r\n", MAX_PART_HEADERS)
    if len(lines) > MAX_PART_HEADERS:
        raise HostileInput(Reason.MULTIPART_LIMIT, f"more than {MAX_PART_HEADERS} part headers")
    headers = _check_single([_part_header(line) for line in lines])
    named = dict(reversed(headers))
    kind = default
    if b"content-type" in named:
        try:
            kind, _ = parse_content_type(named[b"content-type"])
        except HostileInput as wrong:
            raise HostileInput(Reason.BAD_MULTIPART, wrong.detail, wrong.octets) from None
    disposition, handling = default_disposition(kind), b"required"
    if b"content-disposition" in named:
        disposition, handling = parse_disposition(named[b"content-disposition"])
    return tuple(headers), kind, disposition, handling


_cached_headers = lru_cache(maxsize=1024)(_headers)


def _part_header(line: bytes) -> tuple[bytes, bytes]:
    found = _HEADER.fullmatch(line)
    if found is None:
        raise HostileInput(Reason.BAD_MULTIPART, "a part header is not well formed", line[:128])
    name = found[1].lower()
    return _LONG_NAMES.get(name, name), found[2].rstrip(b" \t")


def _check_single(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    names = [name for name, _ in headers if name in _SINGLE]
    if len(names) != len(set(names)):
        raise HostileInput(Reason.BAD_MULTIPART, "a part header stands twice")
    return headers


def _from_base64(content: bytes) -> bytes:
    try:
        return binascii.a2b_base64(content.translate(None, b"\r\n\t "), strict_mode=True)
    except binascii.Error:
        raise HostileInput(Reason.CONTENT_ENCODING, "base64 that does not decode") from None

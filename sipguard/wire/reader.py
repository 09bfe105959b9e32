"""The few ways in which SIP text is cut: tokens, lists, parameters, folds (RFC 3261 section 25).

Everything here is linear in its input and returns pieces of it; nothing is decoded.
"""

import re
from typing import Final

from sipguard.errors import HostileInput
from sipguard.reason import Reason

Params = tuple[tuple[bytes, bytes], ...]

ALPHANUM: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
TOKEN: Final = ALPHANUM + b"-.!%*_+`'~"  # RFC 3261 section 25.1
WORD: Final = TOKEN + b'()<>:\\"/[]?{}'
# gen-value is a token, a host or a quoted string; IPv6 comes with and without brackets
# in ``received`` (RFC 5118 section 4.5).
PARAM_VALUE: Final = TOKEN + b"[]:"
# What no header value may hold outside a quoted pair: all controls but the tab, and DEL.
LEGAL_TEXT: Final = bytes(octet for octet in range(256) if octet == 9 or 32 <= octet != 127)
BLANKS: Final = b" \t"

MAX_LIST = 256  # values in one comma list; longer than any call path, and bounds memory
MAX_PARAMS: Final = 128  # parameters of one value

# Possessive sets (no possessive groups, see uri.py): an unterminated quote or bracket takes
# the rest in one step, so that ten thousand of them stay linear.
_LIST_PIECE: Final = re.compile(rb'"(?:[^"\\]++|\\.)*"?|<[^>]*+>?|[^",<]++|,', re.DOTALL)
_PARAM_PIECE: Final = re.compile(rb'"(?:[^"\\]++|\\.)*"?|[^";]++|;', re.DOTALL)
_QUOTED: Final = re.compile(rb'"(?:[^"\\]++|\\[\x00-\x09\x0b\x0c\x0e-\x7f])*"')
_MAYBE_QUOTED: Final = re.compile(rb'"(?:[^"\\]++|\\[\x00-\x09\x0b\x0c\x0e-\x7f])*("?)')
_QUOTED_PAIR: Final = re.compile(rb"\\[\x00-\x09\x0b\x0c\x0e-\x7f]")


def is_token(octets: bytes) -> bool:
    """Tell whether this is a ``token``: at least one octet, all of them token octets."""
    # Most are letters and digits alone, which is told in a fifth of the instructions.
    return octets.isalnum() or (bool(octets) and not octets.translate(None, TOKEN))


def is_quoted(octets: bytes) -> bool:
    """Tell whether this is exactly one quoted string, closed, with legal escapes."""
    return _QUOTED.fullmatch(octets) is not None


def split_list(value: bytes) -> list[bytes]:
    """Split at the commas that stand outside quotes and angle brackets; blanks stripped.

    Total: what is unterminated belongs to the last piece. Empty pieces are kept, so
    that a caller can refuse them.
    """
    if b"," not in value:
        return [value.strip(BLANKS)]
    if b'"' not in value and b"<" not in value:
        return [piece.strip(BLANKS) for piece in value.split(b",")]
    return _split(_LIST_PIECE, value, b",")


def _split(piece: re.Pattern[bytes], value: bytes, separator: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    start = 0
    for match in piece.finditer(value):
        if match.group() == separator:
            pieces.append(value[start : match.start()].strip(BLANKS))
            start = match.end()
    pieces.append(value[start:].strip(BLANKS))
    return pieces


def split_quoted(text: bytes) -> tuple[bytes, bytes]:
    """Return the quoted string that *text* starts with and the rest.

    ``b""`` and all where it is not closed; *text* starts with a quote.
    """
    end = text.find(b'"', 1) + 1
    if end and b"\\" not in text[:end]:
        return text[:end], text[end:]
    match = _QUOTED.match(text)
    return (match.group(), text[match.end() :]) if match else (b"", text)


def read_params(text: bytes, reason: Reason) -> Params:
    """Return ``name[=value]`` pairs of *text*, which follows the first semicolon.

    Names are lower case; values stay raw, quotes included. An absent value is ``b""``.

    Raises:
        HostileInput: *reason* if the grammar of ``generic-param`` does not hold,
            ``DUPLICATE_PARAMETER`` if a name stands twice (SIP-14).
    """
    pieces = (
        text.split(b";", MAX_PARAMS) if text.find(b'"') < 0 else _split(_PARAM_PIECE, text, b";")
    )
    if len(pieces) > MAX_PARAMS:
        raise HostileInput(reason, "more parameters than sipguard reads")
    params = []
    for piece in pieces:
        name, equals, value = piece.partition(b"=")
        if not name or name.translate(None, TOKEN) or value.translate(None, PARAM_VALUE):
            name, value = _read_odd_param(name, value, reason)
        name = name.lower()
        if equals and not value and name != b"tag":
            raise HostileInput(reason, "a parameter with an equals sign and no value", piece)
        params.append((name, value))
    if len(params) > 1 and len({name for name, _ in params}) != len(params):
        raise HostileInput(Reason.DUPLICATE_PARAMETER, "a parameter name stands twice", text)
    return tuple(params)


def _read_odd_param(name: bytes, value: bytes, reason: Reason) -> tuple[bytes, bytes]:
    name, value = name.strip(BLANKS), value.strip(BLANKS)
    if not name:
        raise HostileInput(reason, "an empty parameter")
    if name.translate(None, TOKEN):
        raise HostileInput(reason, "a parameter name that is not a token", name)
    if value.translate(None, PARAM_VALUE) and not is_quoted(value):
        raise HostileInput(reason, "a parameter value that is neither token nor quoted", value)
    return name, value


def read_number(value: bytes) -> int:
    """Return a decimal number of at most 10 digits after leading zeros, or -1 if it is none.

    Python's ``int`` would also take signs, blanks and underscores, and takes quadratic
    time on long digit strings.
    """
    if not value.isdigit():
        return -1
    return int(value) if len(value) <= 10 else _read_long_number(value)


def _read_long_number(value: bytes) -> int:
    digits = value.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= 10 else -1


def has_controls(value: bytes, *, comments: bool = False) -> bool:
    """Tell whether a control octet stands where none is legal (SIP-9).

    Controls are legal as quoted pairs inside quoted strings, and in comments where the
    header has those.
    """
    if not value.translate(None, LEGAL_TEXT):
        return False
    if comments and b"(" in value:
        value = _QUOTED_PAIR.sub(b"", value)
    return bool(_MAYBE_QUOTED.sub(_without_pairs, value).translate(None, LEGAL_TEXT))


def _without_pairs(match: re.Match[bytes]) -> bytes:
    return _QUOTED_PAIR.sub(b"", match.group()) if match[1] else match.group()

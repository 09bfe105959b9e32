"""Octets of a stranger made fit for a log, a terminal or a page.

A packet must not be able to write a line of its own into any of them. What
comes out holds no control character, no line end, no invisible or
direction-changing character, and reads back to the same octets: printable
text stays, a backslash is doubled, everything else is ``\\xNN``.
"""

import unicodedata
from itertools import chain
from typing import Final

# Characters that Unicode files under letters, symbols or marks and that still
# show nothing (Default_Ignorable_Code_Point and blanks drawn as letters).
_INVISIBLE: Final = frozenset(
    chain(
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        range(0x180B, 0x1810),
        range(0xFE00, 0xFE10),
        range(0xE0100, 0xE01F0),
    )
)
_MARKS_IN_A_ROW: Final = 2  # more than two pile up over the neighboring lines
_ELLIPSIS: Final = "…"


def escape(octets: bytes) -> str:
    """Return printable text that stands for exactly these octets."""
    if octets.isascii():
        text = octets.decode("ascii")
        if text.isprintable() and "\\" not in text:
            return text
    return _escape_slowly(octets)


def escape_capped(octets: bytes, cap: int) -> str:
    """Like ``escape``, of the first *cap* octets; says how many octets were left out."""
    if len(octets) <= cap:
        return escape(octets)
    return f"{escape(octets[:cap])}{_ELLIPSIS}(+{len(octets) - cap} octets)"


def safe_text(text: str) -> str:
    """Escape text of our own making that may quote a file name or a setting."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return escape(text.encode("utf-8", "surrogateescape"))


def unescape(text: str) -> bytes:
    """Return the octets that ``escape`` was given; ``ValueError`` for any other text."""
    out = bytearray()
    at = 0
    while at < len(text):
        if text[at] != "\\":
            out += text[at].encode()
            at += 1
        elif text[at + 1 : at + 2] == "\\":
            out.append(0x5C)
            at += 2
        else:
            if text[at + 1 : at + 2] != "x":
                raise ValueError("not text that escape() wrote")
            out.append(int(text[at + 2 : at + 4], 16))
            at += 4
    return bytes(out)


def _escape_slowly(octets: bytes) -> str:
    pieces: list[str] = []
    marks = _MARKS_IN_A_ROW  # a mark needs a base character before it
    # surrogateescape turns each undecodable octet into one lone surrogate,
    # which no valid UTF-8 can contain: nothing is lost and nothing is confused.
    for char in octets.decode("utf-8", "surrogateescape"):
        is_mark = unicodedata.category(char)[0] == "M"
        if not _shows(char) or (is_mark and marks >= _MARKS_IN_A_ROW):
            raw = char.encode("utf-8", "surrogateescape")
            pieces.append("".join(f"\\x{octet:02x}" for octet in raw))
            marks = _MARKS_IN_A_ROW
            continue
        marks = marks + 1 if is_mark else 0
        pieces.append("\\\\" if char == "\\" else char)
    return "".join(pieces)


def _shows(char: str) -> bool:
    """Whether the character has a shape of its own and moves no other (categories C and Z do)."""
    if char.isascii():
        return char.isprintable()
    return char.isprintable() and ord(char) not in _INVISIBLE

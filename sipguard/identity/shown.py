"""Peer octets inside our own sentences: printable ASCII, short, and nothing else.

A finding such as "From says alice@example.com, the certificate speaks for
mallory@example.com" has to name what the peer wrote. No face escapes a detail,
so it is made harmless here.
"""

import re
from typing import Final

MAX_SHOWN: Final = 120  # characters, the mark of what was cut off included
_CUT: Final = "..."
_PLAIN: Final = re.compile(rb"[ -\[\]-~]*")
# The backslash is escaped as well: what looks like an escape is one.
_TEXTS: Final = tuple(
    chr(octet) if 32 <= octet < 127 and octet != 92 else f"\\x{octet:02x}" for octet in range(256)
)


def shown(octets: bytes) -> str:
    """Return *octets* as printable ASCII of at most 120 characters; others become ``\\xNN``."""
    if len(octets) <= MAX_SHOWN and _PLAIN.fullmatch(octets):  # nearly always
        return octets.decode("ascii")
    pieces: list[str] = []
    room = MAX_SHOWN
    for octet in octets[: MAX_SHOWN + 1]:
        text = _TEXTS[octet]
        room -= len(text)
        pieces.append(text)
        if room < 0:
            return _shortened(pieces)
    return "".join(pieces)


def _shortened(pieces: list[str]) -> str:
    """Cut whole octets, so that no half of an escape stays."""
    length = sum(map(len, pieces))
    while length > MAX_SHOWN - len(_CUT):
        length -= len(pieces.pop())
    return "".join(pieces) + _CUT

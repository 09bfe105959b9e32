"""Numbers as one country dials them, in the one form of all countries (E.164; STI-7).

A trunk may write one caller as ``+4930123456``, ``004930123456``, ``4930123456``
or ``030123456``; a PASSporT has the third alone. Which is which depends on the
country that the trunk is in. A wrong guess would let one number pass for
another, so whatever fits no rule of the country stays as it is written.
"""

import re
from typing import Final, NamedTuple

MAX_DIGITS: Final = 15  # of a number with its country code (ITU-T E.164)

# In front of a number of another country, where it is not 00.
_ABROAD: Final = {b"1": b"011", b"61": b"0011", b"81": b"010"}
# Where 00 is not that prefix, or not without a carrier's digits behind it: none is read.
_NO_ABROAD: Final = frozenset(
    b"7 52 53 55 56 57 62 65 66 82 234 238 248 254 255 256 375 592 680 685 692 852 855 886 976 992"
    b" 993".split()
)
# In front of a number of the same country, where it is not 0. Behind a country's code it falls
# away. An 8 could as well begin the code of another country, so it is not read.
_TRUNK: Final = {b"7": b"", b"36": b"06", b"375": b"", b"692": b"", b"992": b"", b"993": b""}
# Where the zero is part of the number and stays behind the country's code.
_KEEPS_ZERO: Final = frozenset(b"39 225 229 242 378 379".split())
# Where all numbers have the same length, and nothing is dialed in front of them.
_CLOSED: Final = {
    code: re.compile(pattern)
    for code, pattern in {
        b"1": rb"[2-9][0-9]{9}",
        b"30": rb"[26][0-9]{9}",
        b"34": rb"[5-9][0-9]{8}",
        b"45": rb"[2-9][0-9]{7}",
        b"47": rb"[2-9][0-9]{7}",
        b"48": rb"[1-9][0-9]{8}",
        b"351": rb"[2-9][0-9]{8}",
        b"420": rb"[2-9][0-9]{8}",
    }.items()
}


class Numbering(NamedTuple):
    """How numbers are written in one country; prefixes are ``b""`` where there are none."""

    code: bytes
    abroad: bytes
    trunk: bytes
    keeps_zero: bool
    closed: re.Pattern[bytes] | None

    def international(self, digits: bytes, *, has_plus: bool) -> bytes:
        """Return a number with its country's code, and as it is where no rule fits.

        Args:
            digits: Digits, ``#`` and ``*``, without a plus.
            has_plus: A plus stood before them. In front of a zero it says nothing, for
                no country's code begins with one; some trunks write ``+0049``.
        """
        if not digits.isdigit() or (has_plus and not digits.startswith(b"0")):
            return digits
        full = self._with_code(digits)
        return full if len(full) <= MAX_DIGITS else digits

    def _with_code(self, digits: bytes) -> bytes:
        if self.abroad and digits.startswith(self.abroad):
            rest = digits[len(self.abroad) :]
            return digits if rest[:1] in (b"", b"0") else rest
        if self.closed is not None:
            return self.code + digits if self.closed.fullmatch(digits) else digits
        if not self.trunk or not digits.startswith(self.trunk):
            return digits
        rest = digits[len(self.trunk) :]
        if rest[:1] in (b"", b"0"):
            return digits
        return self.code + (digits if self.keeps_zero else rest)


def numbering_of(code: bytes) -> Numbering | None:
    """Return how numbers are written in the country with this code; None for ``b""``."""
    if not code:
        return None
    closed = _CLOSED.get(code)
    return Numbering(
        code,
        b"" if code in _NO_ABROAD else _ABROAD.get(code, b"00"),
        b"" if closed is not None else _TRUNK.get(code, b"0"),
        code in _KEEPS_ZERO,
        closed,
    )

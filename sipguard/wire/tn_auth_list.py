"""The numbers that a certificate may speak for: TNAuthList (RFC 8226 section 9; STI-30, STI-31).

The module has explicit tags: ``SEQUENCE OF CHOICE { spc [0] IA5String,
range [1] SEQUENCE { start, count }, one [2] IA5String }``. Numbers are digits,
``#`` and ``*``, without the plus.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.der import (
    CONTEXT,
    IA5_STRING,
    SEQUENCE,
    Value,
    read_integer,
    read_one,
    read_values,
)

MAX_LIST_OCTETS: Final = 16_384
MAX_ENTRIES: Final = 1024
MAX_NUMBER_DIGITS: Final = 15  # E.164
MAX_SPC_OCTETS: Final = 32  # North American codes have four characters
_SPC, _RANGE, _ONE = CONTEXT, CONTEXT + 1, CONTEXT + 2
_NUMBER_OCTETS: Final = b"0123456789#*"
_WHY: Final = Reason.NO_AUTHORITY


class Range(NamedTuple):
    """*size* consecutive numbers of *digits* digits, from *start* on."""

    start: int
    size: int
    digits: int

    def covers(self, number: bytes) -> bool:
        """Tell whether the number lies in the range and is as long as its first one."""
        if len(number) != self.digits or not number.isdigit():
            return False
        return self.start <= int(number) < self.start + self.size

    def encompasses(self, other: "Range") -> bool:
        """Tell whether every number of *other* is one of ours."""
        return (
            self.digits == other.digits
            and self.start <= other.start
            and other.start + other.size <= self.start + self.size
        )


class TnAuthList(NamedTuple):
    """Service provider codes, ranges and single numbers, as found."""

    spcs: tuple[bytes, ...]
    ranges: tuple[Range, ...]
    ones: frozenset[bytes]

    def covers(self, number: bytes) -> bool:
        """Tell whether a range or a single number covers this one; codes cover none by themselves.

        *number* is canonical: digits, ``#`` and ``*``.
        """
        return number in self.ones or any(span.covers(number) for span in self.ranges)

    def encompasses(self, other: "TnAuthList") -> bool:
        """Tell whether *other*, of a certificate issued with this one, claims no more (STI-34).

        Which numbers belong to a code nobody here can know, so under a code any
        number counts; a code itself must be one of ours.
        """
        if not set(other.spcs) <= set(self.spcs):
            return False
        if self.spcs:
            return True
        return all(self.covers(number) for number in other.ones) and all(
            any(ours.encompasses(theirs) for ours in self.ranges) for theirs in other.ranges
        )


def parse_tn_auth_list(octets: bytes) -> TnAuthList:
    """Return the list in the value of extension 1.3.6.1.5.5.7.1.26.

    Raises:
        HostileInput: ``NO_AUTHORITY``; one wrong entry spoils the list, since a
            reader that skips it would see another authority than we do.
    """
    if len(octets) > MAX_LIST_OCTETS:
        raise HostileInput(_WHY, "the certificate's list of numbers is longer than 16 KiB")
    return _cached(octets)


@lru_cache(maxsize=256)
def _cached(octets: bytes) -> TnAuthList:
    content = read_one(octets, SEQUENCE, _WHY)
    spcs: list[bytes] = []
    ranges: list[Range] = []
    ones: set[bytes] = set()
    for entry in read_values(content, MAX_ENTRIES, _WHY):
        if entry.tag == _SPC:
            spcs.append(_read_spc(entry))
        elif entry.tag == _RANGE:
            ranges.append(_read_range(entry))
        elif entry.tag == _ONE:
            ones.add(_read_number(read_one(entry.content, IA5_STRING, _WHY)))
        else:
            raise HostileInput(_WHY, "the certificate's list of numbers has an unknown entry")
    if not (spcs or ranges or ones):
        raise HostileInput(_WHY, "the certificate's list of numbers is empty")
    return TnAuthList(tuple(spcs), tuple(ranges), frozenset(ones))


def _read_spc(entry: Value) -> bytes:
    code = read_one(entry.content, IA5_STRING, _WHY)
    if not 1 <= len(code) <= MAX_SPC_OCTETS or not code.isalnum():
        raise HostileInput(_WHY, "the certificate has a malformed service provider code")
    return code


def _read_range(entry: Value) -> Range:
    parts = read_values(read_one(entry.content, SEQUENCE, _WHY), 2, _WHY)
    if len(parts) != 2 or parts[0].tag != IA5_STRING:
        raise HostileInput(_WHY, "the certificate has a malformed range of numbers")
    start, count = _read_number(parts[0].content), read_integer(parts[1], _WHY)
    # A range with # or * cannot be counted, and none may run into longer numbers (RFC 8226).
    if count < 2 or not start.isdigit() or int(start) + count > 10 ** len(start):
        raise HostileInput(_WHY, "the certificate has a range of numbers that cannot be")
    return Range(int(start), count, len(start))


def _read_number(text: bytes) -> bytes:
    if not 1 <= len(text) <= MAX_NUMBER_DIGITS or text.translate(None, _NUMBER_OCTETS):
        raise HostileInput(_WHY, "the certificate has a malformed number")
    return text

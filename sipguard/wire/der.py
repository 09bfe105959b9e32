"""Just enough DER (X.690) for the small extensions that no library knows: tags, lengths, contents.

Strict: definite and shortest lengths, tags of one octet, nothing left over.
"""

from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Reason

INTEGER: Final = 0x02
UTF8_STRING: Final = 0x0C
IA5_STRING: Final = 0x16
SEQUENCE: Final = 0x30
CONTEXT: Final = 0xA0  # [0] EXPLICIT; [1] is one more

MAX_INTEGER_OCTETS: Final = 8
_LONG: Final = 0x80
_HIGH_TAG: Final = 0x1F


class Value(NamedTuple):
    """One value: its tag octet and its content octets."""

    tag: int
    content: bytes


def read_values(octets: bytes, limit: int, reason: Reason) -> tuple[Value, ...]:
    """Return the values that stand one behind the other, at most *limit*.

    Raises:
        HostileInput: *reason*.
    """
    values: list[Value] = []
    at = 0
    while at < len(octets):
        if len(values) == limit:
            raise HostileInput(reason, f"more than {limit} ASN.1 values in one place")
        value, at = _read_value(octets, at, reason)
        values.append(value)
    return tuple(values)


def read_one(octets: bytes, tag: int, reason: Reason) -> bytes:
    """Return the content of the one value in *octets*, which must have this *tag*.

    Raises:
        HostileInput: *reason*.
    """
    values = read_values(octets, 1, reason)
    if not values or values[0].tag != tag:
        raise HostileInput(reason, "an ASN.1 value of another kind than expected")
    return values[0].content


def read_integer(value: Value, reason: Reason) -> int:
    """Return a number of at most 63 bits.

    Raises:
        HostileInput: *reason*.
    """
    if value.tag != INTEGER or not 1 <= len(value.content) <= MAX_INTEGER_OCTETS:
        raise HostileInput(reason, "no ASN.1 integer where one belongs")
    return int.from_bytes(value.content, "big", signed=True)


def _read_value(octets: bytes, at: int, reason: Reason) -> tuple[Value, int]:
    if at + 2 > len(octets) or octets[at] & _HIGH_TAG == _HIGH_TAG:
        raise HostileInput(reason, "an ASN.1 value is cut off or has a long tag")
    length = octets[at + 1]
    start = at + 2
    if length >= _LONG:
        width = length - _LONG
        length = int.from_bytes(octets[start : start + width], "big")
        start += width
        if not 1 <= width <= 3 or length < _LONG or length >> (8 * (width - 1)) == 0:
            raise HostileInput(reason, "an ASN.1 length is not in its shortest form")
    if start + length > len(octets):
        raise HostileInput(reason, "an ASN.1 value is cut off")
    return Value(octets[at], octets[start : start + length]), start + length

"""A bounded memory of lines already read; calls repeat most of their lines message by message."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")

# Two generations of 4096 lines, of 512 octets each at most, with what was read from them:
# under 16 MB even if an attacker picks them. More would fall out of the CPU's caches.
MAX_LINE_OCTETS = 512
MAX_LINES = 4096


class NotPlain(Exception):  # noqa: N818 - no fault; it sends the message to the careful reader
    """This line needs the careful reader: something about it is to be reported."""


class Memo(dict[bytes, Value], Generic[Value]):
    """Maps a line to what it says; reads it when it is new.

    A dict with ``__missing__``, so that a known line costs one C-level look-up. When the
    younger generation is full it becomes the older, and what is still in use moves back.
    A flood of new lines costs speed, never memory. Lines that hold *passing* are not
    kept: they hardly come twice.
    """

    def __init__(self, read: Callable[[bytes], Value], passing: bytes = b"\n") -> None:
        super().__init__()
        self._read = read
        self._passing = passing
        self._older: dict[bytes, Value] = {}

    def __missing__(self, line: bytes) -> Value:
        if self._passing in line or len(line) > MAX_LINE_OCTETS:
            return self._read(line)
        value = self._older.get(line)
        if value is None:
            value = self._read(line)
        if len(self) >= MAX_LINES:
            self._older = dict(self)
            self.clear()
        self[line] = value
        return value

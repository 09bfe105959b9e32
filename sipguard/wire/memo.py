"""A bounded memory of lines already read; calls repeat most of their lines message by message."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")

MAX_LINE_OCTETS = 512  # longer lines are read each time: 2 * 8192 * 512 octets at most are kept
MAX_LINES = 8192


class NotPlain(Exception):  # noqa: N818 - no fault; it sends the message to the careful reader
    """This line needs the careful reader: something about it is to be reported."""


class Memo(dict[bytes, Value], Generic[Value]):
    """Maps a line to what it says; reads it when it is new.

    A dict with ``__missing__``, so that a known line costs one C-level look-up. Two
    generations: when the younger is full it becomes the older, and what is still in
    use moves back. A flood of new lines costs speed, never memory.
    """

    def __init__(self, read: Callable[[bytes], Value], max_lines: int = MAX_LINES) -> None:
        super().__init__()
        self._read = read
        self._max_lines = max_lines
        self._older: dict[bytes, Value] = {}

    def __missing__(self, line: bytes) -> Value:
        value = self._older.get(line)
        if value is None:
            value = self._read(line)
            if len(line) > MAX_LINE_OCTETS:
                return value
        if len(self) >= self._max_lines:
            self._older = dict(self)
            self.clear()
        self[line] = value
        return value

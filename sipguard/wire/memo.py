"""A bounded memory of lines already read; calls repeat most of their lines message by message."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar, final

Value = TypeVar("Value")

# Two generations of 2048 lines each. An attacker who picks the lines can fill every memory
# of this room to some 65 MB together (measured); more lines would also fall out of the
# CPU's caches, and cost more to find than to read again.
MAX_LINES: Final = 2048
MAX_LINE_OCTETS: Final = 512
# Lists and parameters cost the most to keep. Allow, the longest honest list, says less.
MAX_COMMAS: Final = 16
MAX_SEMICOLONS: Final = 12
_COMMA: Final = 0x2C
_SEMICOLON: Final = 0x3B


class NotPlain(Exception):  # noqa: N818 - no fault; it sends the message to the careful reader
    """This line needs the careful reader: something about it is to be reported."""


@final
class Memo(Generic[Value]):
    """Maps a line to what it says; reads it when it is new.

    When the younger generation is full it becomes the older, and what is still in use
    moves back. A flood of new lines costs speed, never memory. Those who are too old go
    one by one, with each new line: all at once they would hold up a call for 0.2 ms.
    """

    __slots__ = ("_going", "_older", "_read", "_young")

    def __init__(self, read: Callable[[bytes], Value]) -> None:
        self._read = read
        self._young: dict[bytes, Value] = {}
        self._older: dict[bytes, Value] = {}
        self._going: dict[bytes, Value] = {}

    def __len__(self) -> int:
        """Return how many lines are held, those on their way out included."""
        return len(self._young) + len(self._older) + len(self._going)

    def known(self, line: bytes) -> Value | None:
        """Return what a line of the younger generation says; None of any other."""
        return self._young.get(line)

    def __getitem__(self, line: bytes) -> Value:
        """Return what *line* says; raises what reading it raises."""
        value = self._young.get(line)
        if value is not None:
            return value
        value = self._older.get(line)
        if value is None:
            value = self._read(line)
            if not _is_worth_keeping(line):
                return value
        if self._going:
            try:  # noqa: SIM105 - suppress() takes as long as all the rest here
                self._going.popitem()
            except KeyError:  # another thread took the last one
                pass
        if len(self._young) >= MAX_LINES:
            self._going, self._older, self._young = self._older, self._young, {}
        self._young[line] = value
        return value


def _is_worth_keeping(line: bytes) -> bool:
    # Few lines have any: one look for the octet is cheaper than to count none.
    if len(line) > MAX_LINE_OCTETS or (_COMMA in line and line.count(b",") > MAX_COMMAS):
        return False
    return _SEMICOLON not in line or line.count(b";") <= MAX_SEMICOLONS

"""How often something happened lately, per source or account, in bounded memory."""

from collections import OrderedDict
from typing import Final, final

from sipguard.native import mypyc_attr

CAPACITY: Final = 100_000


@final
@mypyc_attr(acyclic=True)
class _Counter:
    """What happened in one slot of time and in the one before."""

    __slots__ = ("before", "now", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.before = 0
        self.now = 1


class Rates:
    """Sliding-window counters in two slots each.

    The count is the running slot plus the share of the previous slot that the
    window still covers: two integers per key instead of a list of times, and
    wrong by little where it matters, near the limit of a steady stream.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._counters: OrderedDict[tuple[str, bytes, bytes, int], _Counter] = OrderedDict()
        self._now_s = 0.0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._counters)

    def at(self, now_s: float) -> None:
        """Set the time that counting and reading go by."""
        self._now_s = now_s

    def add(self, kind: str, key: bytes, method: bytes, window_s: int) -> None:
        """Count one event."""
        slot = int(self._now_s // window_s)
        index = (kind, key, method, window_s)
        counter = self._counters.get(index)
        if counter is None:
            if len(self._counters) >= self._capacity:
                self._counters.popitem(last=False)
                self.forgotten += 1
            self._counters[index] = _Counter(slot)
            return
        self._counters.move_to_end(index)
        if counter.slot != slot:
            counter.before = counter.now if counter.slot == slot - 1 else 0
            counter.slot = slot
            counter.now = 0
        counter.now += 1

    def count(self, kind: str, key: bytes, method: bytes, window_s: int) -> int:
        """Return about how many events the last *window_s* seconds held."""
        counter = self._counters.get((kind, key, method, window_s))
        if counter is None:
            return 0
        position = self._now_s / window_s
        slot = int(position)
        if counter.slot == slot:
            return counter.now + int(counter.before * (1.0 - (position - slot)))
        if counter.slot == slot - 1:
            return int(counter.now * (1.0 - (position - slot)))
        return 0

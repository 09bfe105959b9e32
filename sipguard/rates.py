"""How often something happened lately, per source or account, in bounded memory."""

from collections import OrderedDict
from typing import Final

CAPACITY: Final = 100_000


class Rates:
    """Sliding-window counters in two slots each.

    The count is the running slot plus the share of the previous slot that the
    window still covers: two integers per key instead of a list of times, and
    wrong by little where it matters, near the limit of a steady stream.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._counters: OrderedDict[tuple[str, bytes, bytes, int], list[int]] = OrderedDict()
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
            self._counters[index] = [slot, 0, 1]
            return
        self._counters.move_to_end(index)
        if counter[0] != slot:
            counter[1] = counter[2] if counter[0] == slot - 1 else 0
            counter[0] = slot
            counter[2] = 0
        counter[2] += 1

    def count(self, kind: str, key: bytes, method: bytes, window_s: int) -> int:
        """Return about how many events the last *window_s* seconds held."""
        counter = self._counters.get((kind, key, method, window_s))
        if counter is None:
            return 0
        position = self._now_s / window_s
        slot = int(position)
        if counter[0] == slot:
            return counter[2] + int(counter[1] * (1.0 - (position - slot)))
        if counter[0] == slot - 1:
            return int(counter[2] * (1.0 - (position - slot)))
        return 0

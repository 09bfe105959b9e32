"""A bounded table whose entries know when they end; expiry costs only what expires."""

import sys
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final, Generic, Protocol, TypeVar, final

from sipguard.eviction import Eldest

SLOT_S: Final = 1 / 16
ALL: Final = sys.maxsize
HORIZON_S: Final = (
    60.0  # every entry is looked at this often; what was taken out early is freed then
)


class Expiring(Protocol):
    """An entry that says until when it is wanted; it may prolong itself at any time."""

    expires_at_s: float


K = TypeVar("K")
V = TypeVar("V", bound=Expiring)


@final
class ExpiringTable(Generic[K, V]):
    """At most *capacity* entries, in order of arrival.

    Each key stands in one slot of a calendar, the part of a second in which its entry is
    next to be looked at. A slot that comes up is emptied: what is really due goes, what was
    prolonged meanwhile moves to its new slot. So neither a look-up nor a
    prolongation touches the calendar. It holds the keys alone: what is taken
    out is gone, and a key that stands in two slots is only looked at twice.
    """

    def __init__(self, capacity: int, horizon_s: float = HORIZON_S) -> None:
        self._capacity = capacity
        self._horizon_s = horizon_s
        self._entries: dict[K, V] = {}
        self._calendar: dict[int, list[K]] = {}
        self._slots: list[int] = []  # a heap of the calendar's keys
        self._due: list[K] = []  # what is still to be looked at of a slot that came up
        self._eldest: Eldest[K] = Eldest()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[V]:
        return iter(self._entries.values())

    def get(self, key: K) -> V | None:
        """Return the entry of that key."""
        return self._entries.get(key)

    def put(self, key: K, entry: V, now_s: float) -> V | None:
        """Add *entry*; return the one that had to go for it, under the same key or for room."""
        entries = self._entries
        evicted = entries.get(key)
        if evicted is entry:
            evicted = None
        elif evicted is None:
            self._eldest.came(key)
            if len(entries) >= self._capacity:
                evicted = self._eldest.pop_from(entries)
                self.forgotten += 1
        entries[key] = entry
        self._schedule(key, entry.expires_at_s, now_s)
        return evicted

    def remove(self, key: K) -> V | None:
        """Take an entry out before its time."""
        return self._entries.pop(key, None)

    def hasten(self, key: K, entry: V, now_s: float) -> None:
        """Look at *entry* again at its new, earlier end."""
        self._schedule(key, entry.expires_at_s, now_s)

    def expire(self, now_s: float, most: int = ALL) -> list[V]:
        """Remove and return the entries that are due at *now_s*.

        Looks at no more than *most*; the next call goes on from there.
        """
        over: list[V] = []
        for _ in range(most):
            if not self._due and not self._take_slot(now_s):
                break
            key = self._due.pop()
            entry = self._entries.get(key)
            if entry is None:
                continue  # removed since
            if entry.expires_at_s > now_s:
                self._schedule(key, entry.expires_at_s, now_s)
                continue
            del self._entries[key]
            over.append(entry)
        return over

    def _take_slot(self, now_s: float) -> bool:
        """Have the next slot that is over looked at; False where there is none."""
        if not self._slots or self._slots[0] >= int(now_s // SLOT_S):
            return False
        # What was put or hastened often stands in one slot often.
        self._due = list(dict.fromkeys(self._calendar.pop(heappop(self._slots))))
        self._due.reverse()
        return True

    def _schedule(self, key: K, due_s: float, now_s: float) -> None:
        if due_s > now_s + self._horizon_s:
            due_s = now_s + self._horizon_s
        elif due_s < now_s:
            due_s = now_s
        slot = int(due_s // SLOT_S)
        bucket = self._calendar.get(slot)
        if bucket is None:
            self._calendar[slot] = [key]
            heappush(self._slots, slot)
        else:
            bucket.append(key)

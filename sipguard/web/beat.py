"""The overview's stream of events: a word now and then that something is new.

What is new is in the page, which a script then asks for: what it shows is made in one place,
and the same with and without scripts. Who watches costs one question of all together.
"""

from typing import Final

from twisted.internet.interfaces import IReactorTime

from sipguard.edge.archive import Archive
from sipguard.errors import EdgeError
from sipguard.web.tail import InThread, Watchers

BEAT_S: Final = 5.0
_RARELY: Final = 3  # beats; health and what was judged change without a record
_WORD: Final = b"event: changed\ndata: {}\n\n"


class Beat(Watchers):
    """Tells all of its watchers when there are new records, and now and then without."""

    seconds = BEAT_S

    def __init__(self, archive: Archive, clock: IReactorTime, in_thread: InThread) -> None:
        super().__init__(archive, clock, in_thread)
        self._newest = -1
        self._quiet_beats = 0

    async def _ask(self) -> None:
        try:
            newest, _ = await self._in_thread(lambda: (self._archive.revision(), []))
        except EdgeError:
            newest = -1  # the page says so
        self._quiet_beats += 1
        is_due = newest != self._newest or self._quiet_beats >= _RARELY
        self._newest = newest
        if is_due:
            self._quiet_beats = 0
        for watcher in list(self._watchers):
            if self._is_over(watcher) or watcher.is_full:
                continue
            if is_due:
                watcher.write(_WORD)

"""Faults of our own code, logged so that a flood of them fills no disk."""

import time
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

SILENCE_S: Final = 60.0  # one traceback a minute from one place
_MAX_PLACES: Final = 256


class Complaints:
    """Logs the traceback once a minute for each place, and how often it came meanwhile.

    Args:
        who: Whose code it was, for the log.
        clock: Monotonic seconds.
    """

    log = Logger()

    def __init__(self, who: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._who = who
        self._clock = clock
        self._places: dict[str, tuple[float, int]] = {}

    def of_code(self, failure: Failure) -> None:
        """Log what was raised; its place is where."""
        innermost = failure.frames[-1] if failure.frames else ("?", "?", 0)
        self.at(f"{innermost[1]}:{innermost[2]}", failure)

    def at(self, place: str, failure: Failure) -> None:
        """Log what happened at a place that has a name."""
        now = self._clock()
        last, silent = self._places.get(place, (-SILENCE_S, 0))
        if now - last < SILENCE_S:
            self._places[place] = (last, silent + 1)
            return
        if len(self._places) >= _MAX_PLACES:
            self._places.clear()
        self._places[place] = (now, 0)
        self.log.failure(
            "{who}: our own code failed at {place} ({silent} more since the last time)",
            failure,
            who=self._who,
            place=place,
            silent=silent,
        )

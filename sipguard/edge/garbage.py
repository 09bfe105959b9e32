"""Python's garbage collector, kept from stalling calls."""

import gc
import time
from collections.abc import Callable
from typing import Final

LOOK_S: Final = 1.0
QUIET_PACKETS: Final = 50  # from one look to the next
COLLECT_S: Final = 60.0


class Garbage:
    """Collects cycles in quiet seconds alone: what a call leaves goes by its last reference."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._packets = 0
        self._collected_at_s = 0.0

    def begin(self) -> None:
        """Leave what exists now alone for good, and collect no more but in :meth:`look`."""
        gc.collect()
        gc.freeze()
        gc.disable()

    def look(self, packets: int) -> None:
        """Collect while next to nothing happens, at most once a minute.

        Args:
            packets: Judged since the start.
        """
        is_quiet = packets - self._packets < QUIET_PACKETS
        self._packets = packets
        now_s = self._clock()
        if is_quiet and now_s - self._collected_at_s > COLLECT_S:
            self._collected_at_s = now_s
            gc.collect()

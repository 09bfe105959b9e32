"""Time passing for the guard: in small steps where much ends, and between packets if possible."""

from collections.abc import Callable
from typing import Final

from sipguard.calls.table import ALL
from sipguard.edge.clock import Alarm, Clock

STEP_S: Final = 1 / 4
BUSY_STEP_S: Final = 1 / 64  # what ends meanwhile is a bite that no call notices
BUSY_PACKETS: Final = 16  # in one step
BITE: Final = 32  # calls and transactions that are looked at between two packets


class Ticking:
    """Has something done as time passes.

    Args:
        tick: Does what is due; told of how many things at most. It never raises.
        packets: How many packets were judged so far.
        reactor: Twisted's.
    """

    def __init__(
        self, tick: Callable[[int], None], packets: Callable[[], int], reactor: Clock
    ) -> None:
        self._tick = tick
        self._packets = packets
        self._reactor = reactor
        self._before = 0
        self._next: Alarm | None = None

    def start(self) -> None:
        """Begin with a first step."""
        self._tick(ALL)
        before, self._before = self._before, self._packets()
        is_busy = self._before - before >= BUSY_PACKETS
        self._next = self._reactor.callLater(BUSY_STEP_S if is_busy else STEP_S, self.start)

    def stop(self) -> None:
        """Take no further step; safe where none was taken."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def between_packets(self) -> None:
        """Use the moment in which nobody waits."""
        self._tick(BITE)

"""Whether to look for the next packet instead of sleeping until it comes (as net.core.busy_poll).

A processor that slept has forgotten: judging the same message takes three times as long after a
millisecond of sleep as without (of a virtual machine, measured). Where packets come closer
together than some limit, sleeping saves less than it costs, and it is the calls that pay.
"""

import time
from collections.abc import Callable
from typing import Final

from sipguard.edge.clock import Clock

LIMIT_US: Final = 125  # 8,000 messages a second
PATIENCE: Final = 4.0  # times the limit without a packet: they ceased
# One piece of looking: what else the reactor serves waits as long, at most.
PIECE_S: Final = 0.0003
IDLE_S: Final = 0.002  # from one thing that can wait to the next
_WEIGHT: Final = 1 / 16  # of a turn in the mean distance
_LONGEST: Final = 16.0  # times the limit: what a pause counts as, at most

Turn = Callable[[], int]


class BusyPoll:
    """Takes the queues' turns while packets come close together.

    The reactor has its own turn after each piece, so timers and other sockets are served.

    Args:
        reactor: Twisted's.
        limit_us: Microseconds; where packets come closer together, nobody sleeps. 0: everybody
            sleeps.
        may: Asked before each piece; not where others need the processor.
        idle: Called now and then while no packet waits.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        reactor: Clock,
        limit_us: int = LIMIT_US,
        may: Callable[[], bool] = lambda: True,
        idle: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spent_s = 0.0  # in looking, and judging what was found
        self._reactor = reactor
        self._limit_s = limit_us / 1e6
        self._may = may
        self._idle = idle
        self._idled_at_s = 0.0
        self._clock = clock
        self._turns: list[Turn] = []
        self._distance_s = self._limit_s * _LONGEST  # between two packets, in the mean
        self._last_s = 0.0  # when the last packet came
        self._is_called = False

    def add(self, turn: Turn) -> None:
        """Have a queue looked at; *turn* judges what waits, and returns how many packets it was."""
        self._turns.append(turn)

    def remove(self, turn: Turn) -> None:
        """Look at it no more."""
        self._turns.remove(turn)

    def came(self, packets: int) -> None:
        """Hear of a turn that the reactor gave a queue, and look on where that is worth it."""
        if not self._limit_s:
            return
        now_s = self._clock()
        self._note(packets, now_s)
        if not self._is_called and self._is_close(now_s):
            self._look(now_s)

    def _note(self, packets: int, now_s: float) -> None:
        if packets:
            distance_s = min((now_s - self._last_s) / packets, self._limit_s * _LONGEST)
            self._distance_s += (distance_s - self._distance_s) * _WEIGHT
            self._last_s = now_s

    def _is_close(self, now_s: float) -> bool:
        if self._distance_s >= self._limit_s:
            return False
        return now_s - self._last_s < self._limit_s * PATIENCE

    def _look_on(self) -> None:
        self._is_called = False
        self._look(self._clock())

    def _look(self, now_s: float) -> None:
        """Give the queues their turns for one piece of time; then it is the reactor's."""
        if not (self._turns and self._may()):
            return
        began_s, ends_s = now_s, now_s + PIECE_S
        while now_s < ends_s and self._is_close(now_s):
            packets = 0
            for turn in self._turns:
                packets += turn()
            now_s = self._clock()
            self._note(packets, now_s)
            if not packets and now_s - self._idled_at_s >= IDLE_S:
                self._idled_at_s = now_s
                self._idle()
        self.spent_s += now_s - began_s
        if self._is_close(now_s):
            self._is_called = True
            self._reactor.callLater(0, self._look_on)

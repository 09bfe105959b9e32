"""What the guard told a moment ago, until a few of them become frames together.

Making a frame costs some microseconds, and twice as many where other code has run since the
last one: the processor has forgotten. So a few are made at once, when no packet waits; and no
more than a few, for the next packet waits for all of them. Where packets never cease, many.
"""

from collections.abc import Callable
from typing import Final, final

from sipguard.edge.records.frames import Kind, frame
from sipguard.journal.carried import pack
from sipguard.journal.ledger import CALL_ID_OCTETS
from sipguard.journal.observation import Observation

TOGETHER: Final = 8
AT_MOST: Final = 64  # while packets wait
_KIND: Final = Kind.OBSERVATION

# A frame, and the Call-ID of a call whose streams will end; empty if it has none.
Made = tuple[bytes, bytes]


@final
class Fresh:
    """Takes observations, and makes frames of them.

    Args:
        failed: Called where one cannot be told, while the exception is known: a fault of ours.
    """

    __slots__ = ("_failed", "_told")

    def __init__(self, failed: Callable[[], None]) -> None:
        self._failed = failed
        self._told: list[Observation] = []

    def __len__(self) -> int:
        return len(self._told)

    def add(self, observation: Observation) -> bool:
        """Take one more; return whether they are so many that frames must be made of them."""
        told = self._told
        told.append(observation)
        return len(told) >= AT_MOST

    def make(self) -> list[Made]:
        """Return what was taken, as frames."""
        told = self._told
        if not told:
            return []
        self._told = []
        made: list[Made] = []
        for observation in told:
            try:
                one = frame(_KIND, pack(observation))
            except (TypeError, ValueError):  # compiled, a value of another type is told so
                self._failed()
                continue
            call_id = observation.call_id if observation.may_have_streams else b""
            made.append((one, call_id[:CALL_ID_OCTETS]))
        return made

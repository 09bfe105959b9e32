"""How many messages were judged, on its way into the store: a few numbers once a minute."""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

INTERVAL_S: Final = 60.0
_HOUR_S: Final = 3600


class Judged(NamedTuple):
    """Messages by verdict, of one hour (POSIX time / 3600)."""

    hour: int
    messages: dict[str, int]

    def to_octets(self) -> bytes:
        """Return it as octets, for the process that writes."""
        return json.dumps(self).encode()


def judged_of(octets: bytes) -> Judged:
    """Return what ``to_octets`` made octets of."""
    return Judged(*json.loads(octets))


class JudgedMeter:
    """Reads counts that only grow, and says what came since the last time.

    Args:
        counts: Messages by verdict since the start; whoever judges counts them up.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts
        self._before: dict[str, int] = {}
        self._since_s = 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether to read: once a minute, and first of all in a new hour. *now_s*: POSIX time."""
        if now_s // _HOUR_S != self._since_s // _HOUR_S:
            return True
        return not 0 <= now_s - self._since_s < INTERVAL_S

    def read(self, now_s: float) -> Judged | None:
        """Return what came since the last time, of the hour that it came in; None for nothing."""
        hour = int((self._since_s or now_s) // _HOUR_S)
        before, self._before, self._since_s = self._before, dict(self._counts), now_s
        new = {
            verdict: count - before.get(verdict, 0)
            for verdict, count in self._before.items()
            if count > before.get(verdict, 0)
        }
        return Judged(hour, new) if new else None

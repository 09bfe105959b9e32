"""Time as an argument: the core reads no clock, so a capture replays exactly as the night went."""

from typing import final


@final
class Moment:
    """One instant, read once per packet at the edge.

    ``monotonic_s`` only ever grows and measures ages; ``utc_s`` is POSIX time
    and is compared with Date headers and written into records.
    """

    __slots__ = ("monotonic_s", "utc_s")

    def __init__(self, monotonic_s: float, utc_s: float) -> None:
        self.monotonic_s = monotonic_s
        self.utc_s = utc_s

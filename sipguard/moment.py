"""Time as an argument: the core reads no clock, so a capture replays exactly as the night went."""

from typing import NamedTuple


class Moment(NamedTuple):
    """One instant, read once per packet at the edge.

    ``monotonic_s`` only ever grows and measures ages; ``utc_s`` is POSIX time
    and is compared with Date headers and written into records.
    """

    monotonic_s: float
    utc_s: float

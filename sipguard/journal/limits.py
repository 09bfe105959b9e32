"""What an answer leaves out, or counts besides, in words: the same for command line and pages."""

from math import ceil

from sipguard.journal.query import Counts, Query
from sipguard.journal.record import iso_time
from sipguard.journal.words import many, show_time

_HOUR_S = 3600


def limits_of(counts: Counts, query: Query) -> list[str]:
    """Return half sentences about counts, none where they are all that was asked."""
    told = []
    since_s = query.since_s
    if counts.since_s is not None:
        since_s = None
        told.append(f"more than these: counted back to {show_time(iso_time(counts.since_s))} UTC")
    if counts.by_hours and (since_s is not None or query.until_s is not None):
        words = "counted by the hour that calls began in"
        if since_s is not None:
            begin = show_time(iso_time(since_s // _HOUR_S * _HOUR_S))
            words += f", from {begin} UTC"
        told.append(words)
    if counts.rest:
        told.append(f"others may be as large: up to {many(counts.rest, 'message')} each")
    return told


def looks_on_at(reached_s: float) -> str:
    """Return the time to ask from where a search ended, so that nothing is passed over.

    A time is told to the millisecond; what was in the rest of it is looked at again.
    """
    return iso_time(ceil(reached_s * 1000) / 1000)

"""From closed pinholes and what the kernel counted on them to the ends that records tell."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sipguard.edge.elements import Tally
from sipguard.journal.streams import StreamEnd, closer_of
from sipguard.verdict import ClosePinhole, Effect


class Closing(NamedTuple):
    """What was closed at once.

    ``effects`` are as they were applied, of which only closed pinholes matter here. ``tallies``
    are of the pinholes that the kernel had and has no more: what is closed without one was
    closed before, or stays open by a later effect.
    """

    effects: Sequence[Effect]
    tallies: Sequence[Tally]
    utc_s: float


def streams_told(closing: Closing, is_recorded: Callable[[bytes], bool]) -> list[StreamEnd]:
    """Return how streams ended, in the order of closing; of calls that have a record alone.

    *is_recorded* tells that by the Call-ID: most calls have none.
    """
    closed = [
        effect
        for effect in closing.effects
        if isinstance(effect, ClosePinhole) and is_recorded(effect.call_id)
    ]
    if not closed:
        return []
    counted = {tally.hole: tally for tally in closing.tallies}
    ends = []
    for effect in closed:
        tally = counted.pop(effect.hole, None)
        if tally is not None:
            ends.append(_end(effect, tally, closing.utc_s))
    return ends


def _end(effect: ClosePinhole, tally: Tally, utc_s: float) -> StreamEnd:
    hole, ended = effect.hole, effect.ended
    return StreamEnd(
        utc_s,
        effect.call_id,
        hole.source,
        hole.destination,
        hole.port,
        ended.kind,
        effect.key_method,
        ended.suite,
        ended.told,
        effect.reason,
        closer_of(effect.reason, ended.party),
        packets=tally.packets,
        octets=tally.octets,
        source_port=ended.source_port,
    )

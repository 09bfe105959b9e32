"""The streams of an offer, whose addresses are vouched for, and how agreed lines end."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from sipguard.media.holebook import HoleBook
from sipguard.media.key_mgmt import OfferedKeys
from sipguard.media.keying import offered_key, without
from sipguard.media.line import BY_CALLER, NO_LANE, OFF, Line
from sipguard.media.terms import Party, Report, Step, Stream
from sipguard.native import mypyc_attr
from sipguard.reason import Reason
from sipguard.verdict import NOTHING_TOLD, ClosePinhole, Ended, Endpoint, Hole
from sipguard.wire.sdp import Sdp

LineHole = tuple[Hole, Line]

_CALLER: Final = Party.CALLER
_NOWHERE: Final = Endpoint(b"", 0)
SEALED: Final = frozenset(("tls", "wss"))  # transports that hide a key on its way

MAX_ADDRESSES: Final = 4  # of one side of one call


@mypyc_attr(acyclic=True)
class Vouched:
    """Media addresses that a packet's source has confirmed, per side of one call."""

    __slots__ = ("callee", "caller")

    def __init__(self) -> None:
        self.caller: tuple[bytes, ...] = ()
        self.callee: tuple[bytes, ...] = ()

    def see(self, sender: Party, source: bytes, sdp: Sdp) -> None:
        """Remember *source* where the sender's own description names it."""
        seen = self.caller if sender is _CALLER else self.callee
        if source in seen:
            return
        for media in sdp.media:
            if media.address == source:
                break
        else:
            return
        seen = (*seen[1 - MAX_ADDRESSES :], source) if seen else _alone(source)
        if sender is _CALLER:
            self.caller = seen
        else:
            self.callee = seen


@lru_cache(maxsize=8192)
def _alone(address: bytes) -> tuple[bytes]:
    """Return a tuple that all calls of one host share: 100,000 calls know few addresses."""
    return (address,)


NOBODY: Final = Vouched()


def offered_streams(
    step: Step, sdp: Sdp, vouched: tuple[bytes, ...], offered: OfferedKeys | None
) -> list[Stream]:
    """Return the streams of an offer that is not answered yet; lines with port 0 are none.

    Where the offer comes from is vouched for by its packet. *offered* are its MIKEY messages.
    """
    source = step.source
    streams = []
    is_caller = step.sender is _CALLER
    is_sound, is_open = sdp.is_sound, step.transport not in SEALED
    for index, media in enumerate(sdp.media):
        if not media.port:
            continue
        mikey = None if offered is None else offered.keying(index)
        keying = offered_key(media, mikey) if is_sound else UNSOUND
        address = media.address
        end = Endpoint(address, media.port)
        known = address == source or address in vouched
        stream = Stream(
            index,
            media,
            keying,
            is_open and keying.clear,
            end if is_caller else _NOWHERE,
            _NOWHERE if is_caller else end,
            is_caller and known,
            known and not is_caller,
        )
        if offered is not None and keying is mikey:
            stream.findings = offered.noticed(index)
        streams.append(stream)
    return streams


def compare_offer(
    streams: list[Stream], sdp: Sdp, lines: tuple[Line, ...], by_caller: bool
) -> None:
    """Mark the streams of a new offer that would lose their key or get it another way (PIN-7)."""
    for stream in streams:
        line = lines[stream.index] if stream.index < len(lines) else OFF
        keys = line.keys
        if keys is not None and line.holes():
            stream.downgraded = not keys.goes_on_with(sdp.media[stream.index], by_caller)


UNSOUND: Final = without(Reason.BAD_SDP, "the description is malformed")


def close(book: HoleBook, holes: Iterable[LineHole], reason: Reason, report: Report) -> None:
    """Give the uses of *holes* back and close those that nobody else uses."""
    report.effects += tuple(
        [
            closed(hole, line, reason, report.party)
            for hole, line in holes
            if book.release(hole, line)
        ]
    )


def close_lines(book: HoleBook, lines: tuple[Line, ...], reason: Reason, report: Report) -> None:
    """End *lines*: close the holes that nobody else uses, and forget their keys."""
    for line in lines:
        holes = book.release_line(line)
        if holes:
            report.effects += _all_closed(holes, line, reason, report.party)
        let_go(line)


def let_go(line: Line) -> None:
    """Forget the keys of a line that has ended (SRT-10)."""
    watch, keys = line.watch, line.keys
    if watch is not None:
        line.watch = None
        watch.release()
    if keys is not None:
        line.keys = None
        keys.release()


def _all_closed(
    holes: list[Hole], line: Line, reason: Reason, party: str
) -> tuple[ClosePinhole, ...]:
    """Tell the end of a line's holes; where no packet came, they all have the same to tell."""
    if line.watch is not None:
        return tuple([closed(hole, line, reason, party) for hole in holes])
    keys, method, call_id = line.keys, line.method, line.call_id
    ended = NOTHING_TOLD if keys is None else Ended(keys.kind, keys.suite, "", 0, party)
    return tuple([ClosePinhole(hole, method, reason, call_id, ended) for hole in holes])


def closed(hole: Hole, line: Line, reason: Reason, party: str = "") -> ClosePinhole:
    """Return the effect that closes one hole of *line*, with what is to be told of it."""
    keys, watch = line.keys, line.watch
    ended = NOTHING_TOLD
    if keys is not None:
        told, port = "", 0
        lane = NO_LANE if watch is None else line.lane(hole.source, hole.destination, hole.port)
        if watch is not None and lane != NO_LANE:
            told, port = watch.told(bool(lane & BY_CALLER)), watch.lanes[lane].port
        ended = Ended(keys.kind, keys.suite, told, port, party)
    return ClosePinhole(hole, line.method, reason, line.call_id, ended)


def replaced(
    book: HoleBook,
    old: tuple[Line, ...],
    new: tuple[Line, ...],
    reason: Reason,
    report: Report,
) -> tuple[LineHole, ...]:
    """Close *old* holes but those to keep a while, which are returned.

    A direction that goes on at another end overlaps (PIN-8); one that was
    held, switched off or lost its key ends at once.
    """
    overlap: list[LineHole] = []
    for index, line in enumerate(old):
        after = new[index] if index < len(new) else OFF
        if after.has_holes_of(line):
            close_lines(book, (line,), reason, report)
            continue
        ended: list[LineHole] = []
        lasting: list[LineHole] = []
        for was, now in (
            (line.holes_to_caller(), after.holes_to_caller()),
            (line.holes_to_callee(), after.holes_to_callee()),
        ):
            for hole in was:
                goes_on = now and hole not in now
                (lasting if goes_on else ended).append((hole, line))
        close(book, ended, reason, report)
        if lasting:
            overlap += lasting
        else:
            let_go(line)
    return tuple(overlap)

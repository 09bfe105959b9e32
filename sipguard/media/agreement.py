"""From an offer and its answer to open holes, line by line, and back."""

from collections.abc import Iterable, Set
from functools import lru_cache
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.keying import DTLS, SDES, Keying, agreed_key, offered_key
from sipguard.media.pinhole import OFF, HoleBook, Line, Use, plan
from sipguard.media.terms import Judge, Opening, Party, Report, Stream
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.verdict import ClosePinhole, Endpoint, Hole, OpenPinhole
from sipguard.wire.sdp import Media, Sdp

MethodHole = tuple[Hole, str]

_CALLER: Final = Party.CALLER
_OPEN: Final = Opening.OPEN
_METHODS: Final = {SDES: "sdes", DTLS: "dtls"}
_NOWHERE: Final = Endpoint(b"", 0)
_SEALED: Final = frozenset(("tls", "wss"))
_CLEARTEXT: Final = Finding(Reason.CLEARTEXT_SDES, "the key crossed the gateway in clear")


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
    sdp: Sdp, sender: Party, vouched: tuple[bytes, ...], source: bytes, transport: str
) -> list[Stream]:
    """Return the streams of an offer that is not answered yet; lines with port 0 are none.

    *source*, where the offer comes from, is vouched for by its packet.
    """
    streams = []
    is_caller = sender is _CALLER
    is_sound, is_open = sdp.is_sound, transport not in _SEALED
    for index, media in enumerate(sdp.media):
        if not media.port:
            continue
        keying = offered_key(media) if is_sound else _UNSOUND
        address = media.address
        end = Endpoint(address, media.port)
        known = address == source or address in vouched
        streams.append(
            Stream(
                index,
                media,
                keying,
                is_open and keying.method == SDES,
                end if is_caller else _NOWHERE,
                _NOWHERE if is_caller else end,
                is_caller and known,
                known and not is_caller,
            )
        )
    return streams


_UNSOUND: Final = Keying(False, b"", b"", Reason.BAD_SDP, "the description is malformed")


@final
class Settling:
    """One offer with its answer on the way to holes: the parts that every line shares."""

    __slots__ = ("book", "judge", "report", "room", "transport", "used", "vouched")

    def __init__(
        self,
        book: HoleBook,
        used: Set[Hole],
        room: int,
        vouched: Vouched,
        transport: str,
        judge: Judge,
        report: Report,
    ) -> None:
        self.book = book
        self.used = used  # holes this call has already
        self.room = room  # holes this call may still open
        self.vouched = vouched
        self.transport = transport
        self.judge = judge
        self.report = report

    def settle(
        self, offer: Sdp, answer: Sdp, offerer: Party, before: tuple[Line, ...]
    ) -> tuple[Line, ...]:
        """Open what offer and answer agree on; return the lines, ``OFF`` where nothing opens."""
        if len(offer.media) != len(answer.media):
            detail = "the answer has another number of m= lines"
            self.report.find(Finding(Reason.ANSWER_MISMATCH, detail))
            return ()
        sound = offer.is_sound and answer.is_sound
        lines = []
        for index, offered in enumerate(offer.media):
            answered = answer.media[index]
            line = OFF
            if offered.port and answered.port:
                keying = _keying(offered, answered) if sound else _UNSOUND
                caller, callee = offered, answered
                if offerer is not _CALLER:
                    caller, callee = answered, offered
                old = before[index] if index < len(before) else OFF
                line = self._line(index, caller, callee, keying, old)
            lines.append(line)
        return tuple(lines)

    def _line(self, index: int, caller: Media, callee: Media, keying: Keying, old: Line) -> Line:
        stream = self._stream(index, caller, callee, keying)
        self.report.streams = (*self.report.streams, stream)
        if not keying.keyed:
            self.report.find(Finding(keying.reason, keying.detail))
            return OFF
        if stream.cleartext:
            self.report.find(_CLEARTEXT)
        try:
            line = plan(caller, callee, old, _METHODS[keying.method])
        except HostileInput as refused:
            self.report.find(refused.finding())
            return OFF
        opened = self.judge(stream)
        if opened.verdict is not _OPEN:
            self.report.find(_REFUSED)
            return OFF
        return line if self._open(line, opened.idle_s) else OFF

    def _stream(self, index: int, caller: Media, callee: Media, keying: Keying) -> Stream:
        vouched = self.vouched
        return Stream(
            index,
            caller,
            keying,
            keying.method == SDES and self.transport not in _SEALED,
            Endpoint(caller.address, caller.port),
            Endpoint(callee.address, callee.port),
            caller.address in vouched.caller,
            callee.address in vouched.callee,
        )

    def _open(self, line: Line, idle_s: int) -> bool:
        """Use every hole of *line* or none of them."""
        report, book = self.report, self.book
        opened = book.claim(line, self.room)
        if opened:
            self.room -= opened
            report.effects += _openings(line.holes(), line.method, idle_s, report.call_id)
            return True
        if book.share(line):
            report.renewed += _openings(line.holes(), line.method, idle_s, report.call_id)
            return True
        return self._open_one_by_one(line, idle_s)

    def _open_one_by_one(self, line: Line, idle_s: int) -> bool:
        report, book = self.report, self.book
        opens: list[Hole] = []
        renewed: list[Hole] = []
        for hole in line.holes():
            use = book.use(hole, self.used.__contains__)
            if use is Use.OPENED and len(opens) >= self.room:
                book.release(hole)
                use = Use.FULL
            if use in _FAILURES:
                for mine in (*opens, *renewed):
                    book.release(mine)
                report.find(_FAILURES[use])
                return False
            (opens if use is Use.OPENED else renewed).append(hole)
        self.room -= len(opens)
        report.effects += _openings(opens, line.method, idle_s, report.call_id)
        report.renewed += _openings(renewed, line.method, idle_s, report.call_id)
        return True


def _openings(
    holes: list[Hole], method: str, idle_s: int, call_id: bytes
) -> tuple[OpenPinhole, ...]:
    return tuple([OpenPinhole(hole, method, idle_s, call_id) for hole in holes])


_REFUSED: Final = Finding(Reason.HOLE_REFUSED, "the policy's media chain opens nothing")
_FAILURES: Final = {
    Use.COLLISION: Finding(Reason.HOLE_COLLISION, "another call's peer already sends there"),
    Use.FULL: Finding(Reason.HOLE_LIMIT, "too many pinholes"),
}


def _keying(offered: Media, answered: Media) -> Keying:
    if offered.kind != answered.kind:
        return Keying(False, b"", b"", Reason.ANSWER_MISMATCH, "the answer has another media type")
    return agreed_key(offered, answered)


def close(book: HoleBook, holes: Iterable[MethodHole], reason: Reason, report: Report) -> None:
    """Give the uses of *holes* back and close those that nobody else uses."""
    call_id = report.call_id
    report.effects += tuple(
        [
            ClosePinhole(hole, method, reason, call_id)
            for hole, method in holes
            if book.release(hole)
        ]
    )


def close_lines(book: HoleBook, lines: tuple[Line, ...], reason: Reason, report: Report) -> None:
    """Give the uses of the holes of *lines* back and close those that nobody else uses."""
    call_id = report.call_id
    for line in lines:
        holes = book.release_line(line)
        if holes:
            method = line.method
            report.effects += tuple([ClosePinhole(hole, method, reason, call_id) for hole in holes])


def replaced(
    book: HoleBook,
    old: tuple[Line, ...],
    new: tuple[Line, ...],
    reason: Reason,
    report: Report,
) -> tuple[MethodHole, ...]:
    """Close *old* holes but those to keep a while, which are returned.

    A direction that goes on at another end overlaps (PIN-8); one that was
    held, switched off or lost its key ends at once.
    """
    overlap: list[MethodHole] = []
    for index, line in enumerate(old):
        after = new[index] if index < len(new) else OFF
        if after.has_holes_of(line):
            close_lines(book, (line,), reason, report)
            continue
        ended: list[MethodHole] = []
        for was, now in (
            (line.holes_to_caller(), after.holes_to_caller()),
            (line.holes_to_callee(), after.holes_to_callee()),
        ):
            for hole in was:
                goes_on = now and hole not in now
                (overlap if goes_on else ended).append((hole, line.method))
        close(book, ended, reason, report)
    return tuple(overlap)

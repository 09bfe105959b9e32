"""From an offer and its answer to open holes, line by line."""

from collections.abc import Set
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.agreement import SEALED, UNSOUND, Vouched
from sipguard.media.gate import Gate
from sipguard.media.holebook import HoleBook, Use
from sipguard.media.keying import SDES, Keying, agreed_key, without
from sipguard.media.line import OFF, Line
from sipguard.media.material import keys_of
from sipguard.media.pinhole import plan
from sipguard.media.terms import Judge, Opening, Party, Report, Stream
from sipguard.reason import Finding, Reason
from sipguard.verdict import Endpoint, Hole, OpenPinhole
from sipguard.wire.sdp import Media, Sdp

_CALLER: Final = Party.CALLER
_OPEN: Final = Opening.OPEN
_METHODS: Final = {b"sdes": "sdes", b"dtls": "dtls", b"zrtp": "zrtp", b"mikey": "mikey"}
_CLEARTEXT: Final = Finding(Reason.CLEARTEXT_SDES, "the key crossed the gateway in clear")
_REFUSED: Final = Finding(Reason.HOLE_REFUSED, "the policy's media chain opens nothing")
_LOST: Final = Finding(Reason.MEDIA_DOWNGRADE, "a running stream loses its key")
_CHANGED: Final = Finding(Reason.MEDIA_DOWNGRADE, "a running stream gets its key another way")
_SAME_KEY: Final = Finding(Reason.SDES_SAME_KEY, "the key stays where address or port changes")
_FAILURES: Final = {
    Use.COLLISION: Finding(Reason.HOLE_COLLISION, "another call's peer already sends there"),
    Use.FULL: Finding(Reason.HOLE_LIMIT, "too many pinholes"),
}


@final
class Settling:
    """One offer with its answer on the way to holes: the parts that every line shares."""

    __slots__ = ("book", "gate", "judge", "now_s", "report", "room", "transport", "used", "vouched")

    def __init__(
        self,
        book: HoleBook,
        gate: Gate,
        used: Set[Hole],
        room: int,
        vouched: Vouched,
        transport: str,
        judge: Judge,
        now_s: float,
        report: Report,
    ) -> None:
        self.book = book
        self.gate = gate
        self.used = used  # holes this call has already
        self.room = room  # holes this call may still open
        self.vouched = vouched
        self.transport = transport
        self.judge = judge
        self.now_s = now_s
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
                keying = _keying(offered, answered) if sound else UNSOUND
                old = before[index] if index < len(before) else OFF
                line = self._line(index, offered, answered, offerer is _CALLER, keying, old)
            lines.append(line)
        return tuple(lines)

    def _line(
        self,
        index: int,
        offered: Media,
        answered: Media,
        by_caller: bool,
        keying: Keying,
        old: Line,
    ) -> Line:
        caller, callee = (offered, answered) if by_caller else (answered, offered)
        stream = self._stream(index, caller, callee, keying)
        self.report.streams = (*self.report.streams, stream)
        if not keying.keyed:
            self.report.find(Finding(keying.reason, keying.detail))
            return self._downgraded(stream, old)
        if stream.cleartext:
            self.report.find(_CLEARTEXT)
        try:
            line = plan(caller, callee, old, _METHODS[keying.method])
        except HostileInput as refused:
            self.report.find(refused.finding())
            return OFF
        line.call_id = self.report.call_id
        line.keys = keys_of(keying, offered, answered, by_caller)
        self._compare(stream, line, old)
        opened = self.judge(stream)
        if opened.verdict is not _OPEN:
            self.report.find(_REFUSED)
            return OFF
        return line if self._open(line, opened.idle_s) else OFF

    def _downgraded(self, stream: Stream, old: Line) -> Line:
        """A running stream loses its key: told, and what was good stays as it was (PIN-7)."""
        if old.keys is None or not old.holes():
            return OFF
        stream.downgraded = True
        self.report.find(_LOST)
        line = old.again()
        return line if self.book.share(line) is not None else OFF

    def _compare(self, stream: Stream, line: Line, old: Line) -> None:
        """Tell of keys that change where they should not, and stay where they should not."""
        before, keys = old.keys, line.keys
        if before is None or keys is None:
            return
        if before.method != keys.method or not keys.same_peer(before):
            stream.downgraded = True
            self.report.find(_CHANGED)
        elif keys.method == SDES and not line.has_holes_of(old) and keys.same_as(before):
            self.report.find(_SAME_KEY)

    def _stream(self, index: int, caller: Media, callee: Media, keying: Keying) -> Stream:
        vouched = self.vouched
        return Stream(
            index,
            caller,
            keying,
            keying.clear and self.transport not in SEALED,
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
            report.effects += _openings(line.holes(), line, idle_s)
            return True
        before = book.share(line)
        if before is not None:
            report.effects += self.gate.succeed(line, before, self.now_s)
            report.renewed += _openings(line.holes(), line, idle_s)
            return True
        return self._open_one_by_one(line, idle_s)

    def _open_one_by_one(self, line: Line, idle_s: int) -> bool:
        report, book = self.report, self.book
        opens: list[Hole] = []
        renewed: list[Hole] = []
        before: Line | None = None
        for hole in line.holes():
            held = book.line_at(hole.source, hole.destination, hole.port)
            use = book.use(hole, self.used.__contains__, line)
            if use is Use.OPENED and len(opens) >= self.room:
                book.release(hole, line)
                use = Use.FULL
            if use in _FAILURES:
                for mine in (*opens, *renewed):
                    book.release(mine, line)
                report.find(_FAILURES[use])
                return False
            if use is Use.OPENED:
                opens.append(hole)
            else:
                renewed.append(hole)
                before = before or held
        if before is not None and before.has_holes_of(line):
            report.effects += self.gate.succeed(line, before, self.now_s)
        self.room -= len(opens)
        report.effects += _openings(opens, line, idle_s)
        report.renewed += _openings(renewed, line, idle_s)
        return True


def _openings(holes: list[Hole], line: Line, idle_s: int) -> tuple[OpenPinhole, ...]:
    method, call_id = line.method, line.call_id
    return tuple([OpenPinhole(hole, method, idle_s, call_id) for hole in holes])


def _keying(offered: Media, answered: Media) -> Keying:
    if offered.kind != answered.kind:
        return without(Reason.ANSWER_MISMATCH, "the answer has another media type")
    return agreed_key(offered, answered)

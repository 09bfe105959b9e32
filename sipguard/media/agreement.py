"""From an offer and its answer to open holes, line by line, and back."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from sipguard.errors import HostileInput
from sipguard.media.keying import SDES, Keying, agreed_key, offered_key
from sipguard.media.pinhole import OFF, HoleBook, Line, Use, plan
from sipguard.media.terms import Judge, Opening, Outcome, Party, Stream
from sipguard.reason import Finding, Reason
from sipguard.verdict import ClosePinhole, Effect, Endpoint, Hole, OpenPinhole
from sipguard.wire.sdp import Media, Sdp

_NOWHERE: Final = Endpoint(b"", 0)
_SEALED: Final = frozenset(("tls", "wss"))
_CLEARTEXT: Final = Finding(Reason.CLEARTEXT_SDES, "the key crossed the gateway in clear")


class Report:
    """What one message changes, while it is being worked out."""

    __slots__ = ("call_id", "effects", "findings", "renewed", "streams")

    def __init__(self, call_id: bytes) -> None:
        self.call_id = call_id
        self.effects: list[Effect] = []
        self.findings: list[Finding] = []
        self.streams: list[Stream] = []
        self.renewed: list[OpenPinhole] = []

    def outcome(self) -> Outcome:
        """Return the result as a value."""
        return Outcome(
            tuple(self.effects), tuple(self.findings), tuple(self.streams), tuple(self.renewed)
        )


class Vouched:
    """Media addresses that a packet's source has confirmed, per side of one call."""

    __slots__ = ("callee", "caller")

    MAX_ADDRESSES: Final = 4

    def __init__(self) -> None:
        self.caller: tuple[bytes, ...] = ()
        self.callee: tuple[bytes, ...] = ()

    def see(self, sender: Party, source: bytes, sdp: Sdp) -> None:
        """Remember *source* where the sender's own description names it."""
        seen = self.caller if sender is Party.CALLER else self.callee
        if source in seen:
            return
        for media in sdp.media:
            if media.address == source:
                break
        else:
            return
        seen = (*seen[1 - self.MAX_ADDRESSES :], source) if seen else _alone(source)
        if sender is Party.CALLER:
            self.caller = seen
        else:
            self.callee = seen


@lru_cache(maxsize=8192)
def _alone(address: bytes) -> tuple[bytes]:
    """Return a tuple that all calls of one host share: 100,000 calls know few addresses."""
    return (address,)


NOBODY: Final = Vouched()


def offered_streams(
    sdp: Sdp, sender: Party, vouched: Sequence[bytes], transport: str
) -> tuple[Stream, ...]:
    """Return the streams of an offer that is not answered yet; lines with port 0 are none."""
    streams = []
    for index, media in enumerate(sdp.media):
        if not media.port:
            continue
        keying = offered_key(media) if sdp.is_sound else _UNSOUND
        end = Endpoint(media.address, media.port)
        is_caller = sender is Party.CALLER
        known = media.address in vouched
        streams.append(
            Stream(
                index,
                media.kind,
                media.proto,
                keying.keyed,
                keying.method,
                keying.suite,
                keying.method == SDES and transport not in _SEALED,
                keying.reason,
                end if is_caller else _NOWHERE,
                _NOWHERE if is_caller else end,
                is_caller and known,
                known and not is_caller,
                keying.detail,
            )
        )
    return tuple(streams)


_UNSOUND: Final = Keying(False, b"", b"", Reason.BAD_SDP, "the description is malformed")


class Settling:
    """One offer with its answer on the way to holes: the parts that every line shares."""

    __slots__ = ("book", "is_ours", "judge", "report", "room", "transport", "vouched")

    def __init__(
        self,
        book: HoleBook,
        is_ours: Callable[[Hole], bool],
        room: int,
        vouched: Vouched,
        transport: str,
        judge: Judge,
        report: Report,
    ) -> None:
        self.book = book
        self.is_ours = is_ours
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
            self.report.findings.append(Finding(Reason.ANSWER_MISMATCH, detail))
            return ()
        sound = offer.is_sound and answer.is_sound
        lines = []
        for index, (offered, answered) in enumerate(zip(offer.media, answer.media, strict=True)):
            line = OFF
            if offered.port and answered.port:
                keying = _keying(offered, answered) if sound else _UNSOUND
                caller, callee = offered, answered
                if offerer is Party.CALLEE:
                    caller, callee = answered, offered
                old = before[index] if index < len(before) else OFF
                line = self._line(index, caller, callee, keying, old)
            lines.append(line)
        return tuple(lines)

    def _line(self, index: int, caller: Media, callee: Media, keying: Keying, old: Line) -> Line:
        stream = self._stream(index, caller, callee, keying)
        self.report.streams.append(stream)
        if not keying.keyed:
            self.report.findings.append(Finding(keying.reason, keying.detail))
            return OFF
        if stream.cleartext:
            self.report.findings.append(_CLEARTEXT)
        try:
            line = plan(caller, callee, old, keying.method.decode("ascii"))
        except HostileInput as refused:
            self.report.findings.append(refused.finding())
            return OFF
        opened = self.judge(stream)
        if opened.verdict is not Opening.OPEN:
            self.report.findings.append(_REFUSED)
            return OFF
        return line if self._open(line, opened.idle_s) else OFF

    def _stream(self, index: int, caller: Media, callee: Media, keying: Keying) -> Stream:
        return Stream(
            index,
            caller.kind,
            caller.proto,
            keying.keyed,
            keying.method,
            keying.suite,
            keying.method == SDES and self.transport not in _SEALED,
            keying.reason,
            Endpoint(caller.address, caller.port),
            Endpoint(callee.address, callee.port),
            caller.address in self.vouched.caller,
            callee.address in self.vouched.callee,
            keying.detail,
        )

    def _open(self, line: Line, idle_s: int) -> bool:
        """Use every hole of *line* or none of them."""
        report, method, call_id = self.report, line.method, self.report.call_id
        if self.book.claim(line.holes, self.room):
            self.room -= len(line.holes)
            report.effects += [OpenPinhole(hole, method, idle_s, call_id) for hole in line.holes]
            return True
        used: list[Hole] = []
        opens: list[OpenPinhole] = []
        renewed: list[OpenPinhole] = []
        for hole in line.holes:
            use = self.book.use(hole, self.is_ours)
            if use is Use.OPENED and len(opens) >= self.room:
                self.book.release(hole)
                use = Use.FULL
            if use in _FAILURES:
                for mine in used:
                    self.book.release(mine)
                report.findings.append(_FAILURES[use])
                return False
            used.append(hole)
            effect = OpenPinhole(hole, method, idle_s, call_id)
            (opens if use is Use.OPENED else renewed).append(effect)
        self.room -= len(opens)
        report.effects += opens
        report.renewed += renewed
        return True


_REFUSED: Final = Finding(Reason.HOLE_REFUSED, "the policy's media chain opens nothing")
_FAILURES: Final = {
    Use.COLLISION: Finding(Reason.HOLE_COLLISION, "another call's peer already sends there"),
    Use.FULL: Finding(Reason.HOLE_LIMIT, "too many pinholes"),
}


def _keying(offered: Media, answered: Media) -> Keying:
    if offered.kind != answered.kind:
        return Keying(False, b"", b"", Reason.ANSWER_MISMATCH, "the answer has another media type")
    return agreed_key(offered, answered)


def close(
    book: HoleBook, holes: Sequence[tuple[Hole, str]], reason: Reason, report: Report
) -> None:
    """Give the uses of *holes* back and close those that nobody else uses."""
    for hole, method in holes:
        if book.release(hole):
            report.effects.append(ClosePinhole(hole, method, reason, report.call_id))


def all_holes(lines: tuple[Line, ...]) -> list[tuple[Hole, str]]:
    """Return the holes of *lines* with their key method, in the order they were opened."""
    return [(hole, line.method) for line in lines for hole in line.holes]


def replaced(
    old: tuple[Line, ...], new: tuple[Line, ...]
) -> tuple[list[tuple[Hole, str]], list[tuple[Hole, str]]]:
    """Split *old* holes into those to keep a while and those to close now.

    A direction that goes on at another end overlaps (PIN-8); one that was
    held, switched off or lost its key ends at once.
    """
    overlap: list[tuple[Hole, str]] = []
    ended: list[tuple[Hole, str]] = []
    for index, line in enumerate(old):
        after = new[index] if index < len(new) else OFF
        for was, now in ((line.to_caller, after.to_caller), (line.to_callee, after.to_callee)):
            for hole in was:
                goes_on = now and hole not in now
                (overlap if goes_on else ended).append((hole, line.method))
    return overlap, ended

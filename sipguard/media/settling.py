"""From an offer and its answer to open holes, line by line."""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.agreement import SEALED, UNSOUND, let_go
from sipguard.media.bundle import Bundles, bundle_of, with_transport_of
from sipguard.media.gate import go_on
from sipguard.media.ice_lines import checked_line, ice_of
from sipguard.media.key_mgmt import agree
from sipguard.media.keying import Keying, agreed_key, has_key_mgmt, without
from sipguard.media.keys import Keys
from sipguard.media.line import OFF, PORT_MASK, Line
from sipguard.media.material import keys_of, mikey_keys
from sipguard.media.methods import MIKEY, SDES
from sipguard.media.mikey import Context
from sipguard.media.mikey_view import StreamKeys
from sipguard.media.offer_answer import Offer
from sipguard.media.opening import open_line
from sipguard.media.pinhole import plan
from sipguard.media.room import Room
from sipguard.media.terms import Opening, Party, Stream
from sipguard.reason import Finding, Reason
from sipguard.verdict import Endpoint
from sipguard.wire.candidate import Ice
from sipguard.wire.sdp import Media, Sdp

_CALLER: Final = Party.CALLER
_OPEN: Final = Opening.OPEN
_REFUSE: Final = Opening.REFUSE
_METHODS: Final = {b"sdes": "sdes", b"dtls": "dtls", b"zrtp": "zrtp", b"mikey": "mikey"}
_CLEARTEXT: Final = Finding(Reason.CLEARTEXT_SDES, "the key crossed the gateway in clear")
_REFUSED: Final = Finding(Reason.HOLE_REFUSED, "the policy's media chain opens nothing")
_LOST: Final = Finding(Reason.MEDIA_DOWNGRADE, "a running stream loses its key")
_CHANGED: Final = Finding(Reason.MEDIA_DOWNGRADE, "a running stream gets its key another way")
_SAME_KEY: Final = Finding(Reason.SDES_SAME_KEY, "the key stays where address or port changes")
_NO_GROUP: Final = Bundles()


@final
class Settling:
    """One offer with its answer on the way to holes."""

    __slots__ = ("_answer", "_bundles", "_by_caller", "_context", "_offer", "_room")

    def __init__(self, room: Room, offer: Offer, answer: Sdp, context: Context | None) -> None:
        """*context* is that of the answer's MIKEY messages, where the offer has some."""
        self._room = room
        self._offer = offer
        self._answer = answer
        self._by_caller = offer.sender is _CALLER
        self._context = context
        self._bundles = _NO_GROUP

    def settle(self, before: tuple[Line, ...]) -> tuple[Line, ...]:
        """Open what offer and answer agree on; return the lines, ``OFF`` where nothing opens."""
        offer, answer, report = self._offer.sdp, self._answer, self._room.report
        if len(offer.media) != len(answer.media):
            detail = "the answer has another number of m= lines"
            report.find(Finding(Reason.ANSWER_MISMATCH, detail))
            return ()
        if answer.raw.find(b"BUNDLE") >= 0:  # ``in`` takes nearly twice as long
            self._bundles = bundle_of(offer, answer)
            for finding in self._bundles.findings:
                report.find(finding)
        lines = []
        for index in range(len(offer.media)):
            old = before[index] if index < len(before) else OFF
            lines.append(self._line(index, old))
        return tuple(lines)

    def _line(self, index: int, old: Line) -> Line:
        offered, answered = self._offer.sdp.media[index], self._answer.media[index]
        if self._bundles.is_off(index, offered, answered):
            return OFF
        carrier = self._bundles.carrier(index)
        if carrier != index:
            offered = with_transport_of(offered, self._offer.sdp.media[carrier])
            answered = with_transport_of(answered, self._answer.media[carrier])
        keying, side_keys, findings = self._keying(carrier, offered, answered)
        stream = self._stream(index, offered, answered, keying)
        stream.findings = findings
        room = self._room
        room.report.streams = (*room.report.streams, stream)
        if not keying.keyed:
            room.report.find(Finding(keying.reason, keying.detail))
            return self._downgraded(stream, old)
        if stream.cleartext:
            room.report.find(_CLEARTEXT)
        if carrier != index:
            room.judge(stream)  # its rule counts; what it runs through is the carrier's
            return OFF
        try:
            keys = self._keys(index, keying, side_keys, offered, answered)
            line, idle_s = self._plan(index, stream, offered, answered, keys, old)
        except HostileInput as refused:
            room.report.find(refused.finding())
            return OFF
        if line is OFF:
            room.report.find(_REFUSED)
            if keys is not None:
                keys.release()
            return OFF
        if open_line(room, line, idle_s):
            return line
        let_go(line)
        return OFF

    def _keying(
        self, index: int, offered: Media, answered: Media
    ) -> tuple[Keying, StreamKeys | None, tuple[Finding, ...]]:
        """Return how a line was keyed; with what MIKEY tells of its keys, and of its messages."""
        if not (self._offer.sdp.is_sound and self._answer.is_sound):
            return UNSOUND, None, ()
        if offered.kind != answered.kind:
            detail = "the answer has another media type"
            return without(Reason.ANSWER_MISMATCH, detail), None, ()
        mikey = self._offer.mikey
        if mikey is None or self._context is None:
            return agreed_key(offered, answered), None, ()
        keying, side_keys, findings = agree(
            mikey, index, self._answer, self._context, self._room.checks
        )
        has_answer = has_key_mgmt(answered)
        agreed = agreed_key(offered, answered, keying if keying.keyed or has_answer else None)
        if agreed is not keying and agreed.keyed:
            return agreed, side_keys, ()
        for finding in findings:
            self._room.report.find(finding)
        return agreed, side_keys, (*mikey.noticed(index), *findings)

    def _keys(
        self,
        index: int,
        keying: Keying,
        side_keys: StreamKeys | None,
        offered: Media,
        answered: Media,
    ) -> Keys | None:
        also: tuple[Media, ...] = ()
        for other, carrier in self._bundles.tagged.items():
            if carrier == index and other != index:
                also += (self._offer.sdp.media[other], self._answer.media[other])
        if keying.method == MIKEY and side_keys is not None:
            return mikey_keys(keying.suite, side_keys, offered, answered, self._by_caller, also)
        return keys_of(keying.method, offered, answered, self._by_caller, also)

    def _plan(
        self,
        index: int,
        stream: Stream,
        offered: Media,
        answered: Media,
        keys: Keys | None,
        old: Line,
    ) -> tuple[Line, int]:
        """Return the line that the policy lets open, and how long it may be silent."""
        caller, callee = (offered, answered) if self._by_caller else (answered, offered)
        method = _METHODS[stream.method]
        ice = self._ice(index)
        if ice is not None:
            line, opened = checked_line(self._room, stream, caller, callee, ice, method)
        else:
            line = plan(caller, callee, old, method)
            opened = self._room.judge(stream)
        if line is OFF or opened.verdict is not _OPEN:
            return OFF, 0
        line.call_id = self._room.report.call_id
        line.keys = keys
        if keys is not None:
            keys.ice = ice
            keys.unproven = opened.unproven
        self._compare(stream, line, old)
        return line, opened.idle_s

    def _ice(self, index: int) -> tuple[Ice, Ice] | None:
        """Return the caller's and the callee's ICE, where the line uses it (PIN-13)."""
        offer, answer = self._offer.sdp, self._answer
        ice, findings = ice_of(offer, answer, index)
        for finding in findings:
            self._room.report.find(finding)
        return ice if ice is None or self._by_caller else (ice[1], ice[0])

    def _downgraded(self, stream: Stream, old: Line) -> Line:
        """A running stream loses its key: told, and what was good stays as it was (PIN-7).

        Unless the policy refuses it, or nobody holds its packets against the old keys:
        the same ports would carry clear RTP.
        """
        room = self._room
        if old.keys is None or not old.holes():
            return OFF
        stream.downgraded = True
        room.report.find(_LOST)
        if not room.gate.terms.within_s or room.judge(stream).verdict is _REFUSE:
            return OFF
        line = old.again()
        if room.book.share(line) is None:
            for hole in line.holes():
                room.book.use(hole, room.used.__contains__, line)
        return line

    def _compare(self, stream: Stream, line: Line, old: Line) -> None:
        """Tell of keys that change where they should not, and stay where they should not.

        What was proven under the same keys is proven still, even if the call was held
        without any pinhole left. Only SDES and MIKEY count packets anew at another port.
        """
        before, keys = old.keys, line.keys
        if before is None or keys is None:
            return
        if before.method != keys.method or not keys.same_peers(before):
            stream.downgraded = True
            self._room.report.find(_CHANGED)
            return
        if not keys.same_as(before):
            return
        caller_moves = _moves(line.caller, line.to_caller, old.caller, old.to_caller)
        callee_moves = _moves(line.callee, line.to_callee, old.callee, old.to_callee)
        moves = caller_moves or callee_moves
        if moves and keys.method == SDES:
            self._room.report.find(_SAME_KEY)
        watch = old.watch
        if watch is None or not keys.same_ice(before):
            return
        room = self._room
        for has_moved, by_caller in ((caller_moves, True), (callee_moves, False)):
            if has_moved:
                room.report.effects += room.gate.move(line, watch, by_caller)
        if not moves or keys.method not in (SDES, MIKEY):
            go_on(line, watch)

    def _stream(self, index: int, offered: Media, answered: Media, keying: Keying) -> Stream:
        room, vouched = self._room, self._room.vouched
        caller, callee = (offered, answered) if self._by_caller else (answered, offered)
        return Stream(
            index,
            caller,
            keying,
            keying.clear and room.transport not in SEALED,
            Endpoint(caller.address, caller.port),
            Endpoint(callee.address, callee.port),
            caller.address in vouched.caller,
            callee.address in vouched.callee,
        )


def _moves(address: bytes, ports: int, before: bytes, ports_before: int) -> bool:
    """Report whether an end listens at another address or port; on hold it does at none."""
    if not (ports and ports_before):
        return False
    return address != before or ports & PORT_MASK != ports_before & PORT_MASK

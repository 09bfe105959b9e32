"""How holes come and go with offer and answer: agree, preview, roll back, replace, end."""

from collections import deque
from typing import Final

from sipguard.media.agreement import close, close_lines, let_go, replaced
from sipguard.media.branches import Call
from sipguard.media.gate import Gate
from sipguard.media.holebook import HoleBook
from sipguard.media.key_exchange import TrustingChecks
from sipguard.media.keys import ProofTerms
from sipguard.media.line import Line
from sipguard.media.offer_answer import PREVIEWED, Event, Offer, Retired, Talk, digest, next_state
from sipguard.media.room import Room
from sipguard.media.settling import Settling
from sipguard.media.terms import Judge, Party, Report, Step
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.verdict import Hole
from sipguard.wire.sdp import Sdp

OVERLAP_S: Final = 60.0  # old holes stay beside new ones after a renegotiation (PIN-8)
MAX_RETIRED: Final = 4  # renegotiations of one talk whose old holes may still be open
MAX_WAITING: Final = 200_000  # timers; past this the oldest runs out early

_CALLER: Final = Party.CALLER
_NO_HOLES: Final[frozenset[Hole]] = frozenset()


class LifeCycle:
    """Carries out the steps of the offer/answer machine on the book of holes."""

    __slots__ = ("_max_holes_per_call", "_overlaps", "book", "checks", "gate")

    def __init__(self, max_holes: int, max_holes_per_call: int, max_holes_per_peer: int) -> None:
        self.book = HoleBook(max_holes, max_holes_per_peer)
        self.gate = Gate(self.book, ProofTerms())
        self.checks = TrustingChecks()
        self._max_holes_per_call = max_holes_per_call
        self._overlaps: deque[tuple[float, bytes, Talk]] = deque()

    def offer(self, talk: Talk, offer: Offer, report: Report) -> None:
        """Note an offer; one that was still unanswered is given up first."""
        if talk.offer is not None:
            self.roll_back(talk, report)
        state = next_state(talk.state, Event.OFFER)
        if state is not None:
            talk.state = state
            talk.offer = offer

    def answer(
        self,
        call: Call,
        talk: Talk,
        event: Event,
        step: Step,
        sdp: Sdp,
        judge: Judge,
        now_s: float,
        report: Report,
    ) -> None:
        """Open what the answer to the pending offer agrees on; firmly, unless it is a preview."""
        offer = talk.offer
        if offer is None:
            return
        if talk.state in PREVIEWED:
            self.make_firm(call, talk, now_s, report)  # as previewed: the first answer wins
            return
        # Before the first agreement there is nothing to look through.
        used = call.holes() if talk.past is not None or len(call.talks) > 1 else _NO_HOLES
        room = Room(
            self.book,
            self.gate,
            self.checks,
            used,
            self._max_holes_per_call - len(used),
            call,
            step.transport,
            judge,
            now_s,
            report,
        )
        context = None if offer.mikey is None else step.context()
        offer.lines = Settling(room, offer, sdp, context).settle(talk.lines)
        offer.preview_digest = digest(sdp)
        if event is Event.PREVIEW:
            talk.state = next_state(talk.state, event) or talk.state
        else:
            self.make_firm(call, talk, now_s, report)

    def make_firm(self, call: Call, talk: Talk, now_s: float, report: Report) -> None:
        """Let the answered lines take the place of those agreed before."""
        offer = talk.offer
        if offer is None:
            return
        old, talk.lines = talk.lines, offer.lines
        talk.remember(offer)
        talk.state = next_state(talk.state, Event.ANSWER) or talk.state
        if old:
            report.party = "caller" if offer.sender is _CALLER else "callee"
            self._replace(talk, old, talk.lines, now_s, report)
        if len(call.talks) > 1:
            for other in call.kin(talk.to_tag):
                # The same exchange on the call's other path agrees on its own lines;
                # an older one there has been overtaken by this.
                past = other.past
                if other.lines and (past is None or past.stamp != offer.stamp):
                    other.state = next_state(other.state, Event.SUPERSEDED) or other.state
                    gone, other.lines = other.lines, ()
                    self._replace(other, gone, talk.lines, now_s, report)

    def roll_back(self, talk: Talk, report: Report) -> None:
        """Forget the pending offer; what was agreed before stands as it was (PIN-8)."""
        if talk.offer is not None:
            close_lines(self.book, talk.offer.lines, Reason.CALL_FAILED, report)
            talk.offer = None
        talk.state = next_state(talk.state, Event.REFUSAL) or talk.state

    def end(self, call: Call, talks: list[Talk], reason: Reason, report: Report) -> None:
        """Close everything *talks* use and take them out of the call."""
        for talk in talks:
            close_lines(self.book, talk.lines, reason, report)
            talk.lines = ()
            if talk.offer is not None:
                close_lines(self.book, talk.offer.lines, reason, report)
                talk.offer = None
            for retired in talk.retired:
                self._end_retired(retired, reason, report)
            talk.retired = ()
            talk.state = next_state(talk.state, Event.END) or talk.state
        if len(talks) == len(call.talks):
            call.talks = ()
        elif talks:
            call.talks = tuple([talk for talk in call.talks if talk not in talks])

    def _replace(
        self,
        talk: Talk,
        old: tuple[Line, ...],
        new: tuple[Line, ...],
        now_s: float,
        report: Report,
    ) -> None:
        overlap = replaced(self.book, old, new, Reason.RENEGOTIATED, report)
        if not overlap:
            return
        retired = Retired(now_s + OVERLAP_S, overlap)
        talk.retired = (*talk.retired, retired)
        self._overlaps.append((retired.until_s, report.call_id, talk))
        if len(talk.retired) > MAX_RETIRED:
            self._close_retired(talk, talk.retired[0].until_s, report)
        while len(self._overlaps) > MAX_WAITING:
            self._overlap_over(report)

    def expire(self, now: Moment, report: Report) -> None:
        """Close the replaced holes whose overlap is over, and forget MIKEY messages of old."""
        self.checks.expire(now)
        while self._overlaps and self._overlaps[0][0] <= now.monotonic_s:
            self._overlap_over(report)

    def _overlap_over(self, report: Report) -> None:
        until_s, call_id, talk = self._overlaps.popleft()
        theirs = Report(call_id)
        self._close_retired(talk, until_s, theirs)
        report.effects += theirs.effects

    def _close_retired(self, talk: Talk, until_s: float, report: Report) -> None:
        over = [retired for retired in talk.retired if retired.until_s <= until_s]
        for retired in over:
            self._end_retired(retired, Reason.RENEGOTIATED, report)
        talk.retired = talk.retired[len(over) :]

    def _end_retired(self, retired: Retired, reason: Reason, report: Report) -> None:
        close(self.book, retired.holes, reason, report)
        for _, line in retired.holes:  # a line that is let go twice stays gone
            let_go(line)

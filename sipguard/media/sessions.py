"""The media room's face: every call's offers and answers, and the pinholes they lead to.

The guard reports each accepted message as a :class:`Step`; what comes back are
effects for the kernel and findings for the record, never an exception.
"""

from collections import OrderedDict, deque
from typing import Final

from sipguard.media.agreement import NOBODY, Vouched, compare_offer, offered_streams
from sipguard.media.branches import MAX_PATHS, MAX_TAGS, MAX_TALKS, Call, Root, can_matter
from sipguard.media.gate import Gate
from sipguard.media.key_exchange import TrustingChecks, judge_keys, remember_keys
from sipguard.media.lifecycle import LifeCycle
from sipguard.media.offer_answer import (
    PREVIEWED,
    Event,
    Offer,
    Talk,
    read_request,
    read_response,
)
from sipguard.media.terms import (
    NOTHING,
    CallKey,
    Judge,
    Opened,
    Opening,
    Outcome,
    Party,
    Report,
    Statistics,
    Step,
    Stream,
)
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.verdict import Effect, Hole

__all__ = [
    "NOTHING",
    "CallKey",
    "Judge",
    "Opened",
    "Opening",
    "Outcome",
    "Party",
    "Sessions",
    "Statistics",
    "Step",
    "Stream",
]

RINGING_S: Final = 900.0  # nobody lets it ring longer; the guard's timers end most calls before
EARLY_S: Final = 32.0  # 64*T1: what other forks get after the first 2xx (PIN-3)

_CARRIERS: Final = frozenset((b"INVITE", b"ACK", b"PRACK", b"UPDATE"))
_CALLER: Final = Party.CALLER
_OFFER: Final = Event.OFFER
_UNASKED: Final = Finding(Reason.ANSWER_MISMATCH, "a session description that answers no offer")
_OTHER_INVITE: Final = Finding(Reason.LATER_SDP_DIFFERS, "the same INVITE with another offer")
_NO_ROOM: Final = Finding(Reason.HOLE_LIMIT, "the call table is full of answered calls")
_FORKED: Final = Finding(Reason.SDES_FORKED)
_TOO_MANY: Final = Finding(Reason.HOLE_LIMIT, "too many forks of one call")


class Sessions:
    """Offer/answer of all calls, and the book of their pinholes."""

    def __init__(
        self,
        *,
        max_calls: int = 100_000,
        max_holes: int = 400_000,
        max_holes_per_call: int = 64,
        max_holes_per_peer: int = 0,
    ) -> None:
        self._max_calls = max_calls
        self._life = LifeCycle(max_holes, max_holes_per_call, max_holes_per_peer)
        self._calls: dict[CallKey, Call] = {}
        self._ringing: OrderedDict[CallKey, Call] = OrderedDict()
        self._answered: deque[Call] = deque()
        self._forgotten = 0
        self._turned_away = 0

    def streams_of_offer(self, step: Step, now: Moment) -> list[Stream]:
        """Return the streams a request offers, before it is accepted; changes nothing.

        What its MIKEY messages are worth stands in ``step.offered`` after that.
        """
        sdp = step.sdp
        if sdp is None or not step.is_request or step.method not in _CARRIERS:
            return []
        step.now = now
        judge_keys(step, sdp, self._life.checks)
        call = self._calls.get(step.call)
        known: Vouched = NOBODY if call is None else call
        vouched = known.caller if step.sender is _CALLER else known.callee
        streams = offered_streams(step, sdp, vouched, step.offered)
        talk = call.talk(step.to_tag, step.path) if call is not None and step.to_tag else None
        if talk is not None:
            compare_offer(streams, sdp, talk.lines, step.sender is _CALLER)
        return streams

    def concerns(self, call: CallKey, is_request: bool, method: bytes, status: int) -> bool:
        """Report whether a message without SDP can change anything; most cannot."""
        return can_matter(self._calls.get(call), is_request, method, status)

    def observe(self, step: Step, judge: Judge, now: Moment) -> Outcome:
        """Advance the call by one accepted message; return the holes to open and close."""
        if step.method not in _CARRIERS:
            return NOTHING
        step.now = now
        call, method = self._calls.get(step.call), step.method
        if step.sdp is None and not can_matter(call, step.is_request, method, step.status):
            return NOTHING
        report = Report(step.call[0])
        if step.is_request:
            self._request(call, step, judge, now.monotonic_s, report)
        elif call is None:
            report.find(_UNASKED)
        elif step.status >= 300:
            self._refused(call, step, report)
        elif step.status > 100 and step.to_tag:
            self._response(call, step, judge, now.monotonic_s, report)
        return report

    def ended(
        self, call: CallKey, to_tag: bytes, reason: Reason, now: Moment, party: str = ""
    ) -> tuple[Effect, ...]:
        """Close the holes of one dialog, of the whole call without *to_tag*; *party* hung up."""
        known = self._calls.get(call)
        if known is None:
            return ()
        report = Report(call[0], party)
        if to_tag:
            self._life.end(known, known.kin(to_tag), reason, report)
        # While it rings, another fork may still answer.
        if to_tag and (known.talks or known.key in self._ringing):
            known.gone = (*known.gone, to_tag)[-MAX_TAGS:]
        else:
            self._forget(known, reason, report)
        return report.effects

    def expire(self, now: Moment) -> tuple[Effect, ...]:
        """Close early forks after the first 2xx and replaced holes whose time is over."""
        report = Report(b"")
        while self._ringing and next(iter(self._ringing.values())).until_s <= now.monotonic_s:
            self._forget_ringing(Reason.CALL_EXPIRED, report)
        while self._answered and self._answered[0].until_s <= now.monotonic_s:
            self._close_early(report)
        self._life.expire(now, report)
        return report.effects

    def holes(self) -> list[Hole]:
        """Return every open hole; for status and tests."""
        return self._life.book.holes()

    @property
    def open_holes(self) -> int:
        """How many holes are open now."""
        return self._life.book.count

    @property
    def gate(self) -> Gate:
        """What judges the packets of streams that have proven nothing yet."""
        return self._life.gate

    @property
    def checks(self) -> TrustingChecks:
        """What judges MIKEY messages."""
        return self._life.checks

    def statistics(self) -> Statistics:
        """Return the counters for status."""
        calls, ringing = len(self._calls), len(self._ringing)
        return Statistics(calls, ringing, self.open_holes, self._forgotten, self._turned_away)

    # --- requests

    def _request(
        self, call: Call | None, step: Step, judge: Judge, now_s: float, report: Report
    ) -> None:
        sdp = step.sdp
        if call is None:
            if step.method not in (b"INVITE", b"UPDATE"):
                report.find(_UNASKED)
                return
            call = self._admit(step, now_s, report)
            if call is None:
                return
        if sdp is not None:
            call.see(step.sender, step.source, sdp)
        if step.to_tag:
            self._in_dialog(call, step, judge, now_s, report)
        elif step.method == b"INVITE" and step.sender is _CALLER:
            self._invite(call, step, now_s, report)

    def _in_dialog(
        self, call: Call, step: Step, judge: Judge, now_s: float, report: Report
    ) -> None:
        sdp = step.sdp
        if sdp is None:
            self._without_description(call, step, report)
            return
        for talk in self._meant(call, step, report):
            event, finding = read_request(talk, step, sdp, now_s)
            if finding is not None:
                report.find(finding)
            if event is _OFFER:
                remember_keys(step, sdp, self._life.checks, report)
                offer = Offer(sdp, step.sender, step.stamp, False, now_s, step.offered)
                self._life.offer(talk, offer, report)
            elif event is Event.ANSWER:
                self._life.answer(call, talk, event, step, sdp, judge, now_s, report)

    def _admit(self, step: Step, now_s: float, report: Report) -> Call | None:
        """Make room for a new call: the oldest unanswered one goes first (GEN-3)."""
        if len(self._calls) >= self._max_calls:
            if not self._ringing:
                self._turned_away += 1
                report.find(_NO_ROOM)
                return None
            self._forgotten += 1
            self._forget_ringing(Reason.FORGOTTEN, report)
        call = self._calls[step.call] = Call(step.call)
        if step.to_tag:
            call.confirm(step.to_tag)  # from before our start: learned as it stands
        else:
            call.until_s = now_s + RINGING_S
            self._ringing[step.call] = call
        return call

    def _invite(self, call: Call, step: Step, now_s: float, report: Report) -> None:
        """Note the dialog-forming INVITE of one path; a newer CSeq (after a 401) replaces it."""
        others = []
        for root in call.roots:
            if root.path != step.path:
                others.append(root)
            elif root.cseq >= step.cseq:
                if root.raw != (step.sdp.raw if step.sdp else b""):
                    report.find(_OTHER_INVITE)
                return
        if step.sdp is not None:
            remember_keys(step, step.sdp, self._life.checks, report)
        call.roots = (*others, Root(step, now_s))[-MAX_PATHS:]

    def _without_description(self, call: Call, step: Step, report: Report) -> None:
        """An INVITE without SDP asks for an offer; an ACK without it leaves one unanswered."""
        if step.method == b"INVITE":
            talk = self._talk(call, step, report)
            if talk is not None:
                talk.blank = step.stamp
        elif step.method == b"ACK":
            for talk in call.kin(step.to_tag):
                offer = talk.offer
                if offer is not None and offer.in_response and offer.stamp == step.stamp:
                    self._life.roll_back(talk, report)

    def _meant(self, call: Call, step: Step, report: Report) -> list[Talk]:
        """Return the talks a request's description is for.

        An ACK or PRACK may take the direct way past a proxy that the offer
        came through; then it answers that offer on every path it was seen on.
        """
        if step.method in (b"ACK", b"PRACK"):
            here = call.talk(step.to_tag, step.path)
            if here is None or here.offer is None:
                waiting = [
                    talk
                    for talk in call.kin(step.to_tag)
                    if talk.offer is not None
                    and talk.offer.in_response
                    and talk.offer.sender is not step.sender
                ]
                if waiting and (here is None or not here.past):
                    return waiting
        talk = self._talk(call, step, report)
        return [] if talk is None else [talk]

    # --- responses

    def _response(self, call: Call, step: Step, judge: Judge, now_s: float, report: Report) -> None:
        if step.sdp is not None:
            self._described(call, step, judge, now_s, report)
        elif step.status >= 200:
            talk = call.talk(step.to_tag, step.path)
            if talk is not None and talk.offer is not None:
                self._without_answer(call, talk, step, now_s, report)
        if step.status >= 200 and step.method == b"INVITE":
            self._confirm(call, step.to_tag, now_s, report)

    def _described(
        self, call: Call, step: Step, judge: Judge, now_s: float, report: Report
    ) -> None:
        sdp = step.sdp
        talk = self._talk(call, step, report)
        if talk is None or sdp is None:
            return
        call.see(step.sender, step.source, sdp)
        event, finding = read_response(talk, step, sdp)
        if finding is not None:
            report.find(finding)
        if event is _OFFER:
            remember_keys(step, sdp, self._life.checks, report)
            offer = Offer(sdp, step.sender, step.stamp, True, now_s, step.offered)
            self._life.offer(talk, offer, report)
        elif event is not None:
            self._life.answer(call, talk, event, step, sdp, judge, now_s, report)

    def _without_answer(
        self, call: Call, talk: Talk, step: Step, now_s: float, report: Report
    ) -> None:
        """A 2xx without SDP: a preview becomes firm, an offer without one has failed."""
        offer = talk.offer
        if offer is None or offer.in_response or offer.stamp != step.stamp:
            return
        if talk.state in PREVIEWED:
            self._life.make_firm(call, talk, now_s, report)
        else:
            self._life.roll_back(talk, report)

    def _confirm(self, call: Call, to_tag: bytes, now_s: float, report: Report) -> None:
        if call.is_confirmed(to_tag):
            return
        call.confirm(to_tag)
        if call.key in self._ringing:
            del self._ringing[call.key]
            call.until_s = now_s + EARLY_S
            self._answered.append(call)
            for root in call.roots:
                root.sdp = None
            while len(self._answered) > self._max_calls:
                self._close_early(report)

    def _close_early(self, report: Report) -> None:
        """End what the oldest answered call still has early: its forks that nobody took."""
        call = self._answered.popleft()
        call.roots = ()
        theirs = Report(call.key[0])
        self._life.end(call, call.early(), Reason.CALL_FAILED, theirs)
        report.effects += theirs.effects

    def _refused(self, call: Call, step: Step, report: Report) -> None:
        """Undo what a refused request had offered (PIN-4, PIN-8)."""
        talk = call.talk(step.to_tag, step.path)
        if talk is not None and talk.offer is not None and talk.offer.stamp == step.stamp:
            self._life.roll_back(talk, report)
        if step.method != b"INVITE" or step.sender is _CALLER:
            return
        if not any(root.cseq == step.cseq for root in call.roots):
            return
        # The initial INVITE failed on this path; other forks live on on theirs.
        call.roots = tuple(
            root for root in call.roots if root.cseq != step.cseq or root.path != step.path
        )
        early = call.early()
        early = [talk for talk in early if talk.to_tag == step.to_tag or talk.path == step.path]
        self._life.end(call, early, Reason.CALL_FAILED, report)
        if not (call.roots or call.talks or call.is_answered):
            self._forget(call, Reason.CALL_FAILED, report)

    # --- both

    def _talk(self, call: Call, step: Step, report: Report) -> Talk | None:
        """Return the talk a message belongs to; made from the initial INVITE if it is new."""
        talk = call.talk(step.to_tag, step.path)
        if talk is not None or step.to_tag in call.gone:
            return talk
        root = None
        if not step.is_request:
            if step.method == b"INVITE" and step.sender is Party.CALLEE:
                root = call.root(step.path, step.cseq)
            if root is None:
                report.find(_UNASKED)
                return None
        if len(call.talks) >= MAX_TALKS:
            report.find(_TOO_MANY)
            return None
        if root is not None:
            talk = root.branch(step.to_tag, step.path)
        else:
            talk = Talk(step.to_tag, step.path)
        if call.add(talk):
            report.find(_FORKED)
        return talk

    def _forget_ringing(self, reason: Reason, report: Report) -> None:
        """Forget the call that has been ringing longest."""
        call = next(iter(self._ringing.values()))
        theirs = Report(call.key[0])
        self._forget(call, reason, theirs)
        report.effects += theirs.effects

    def _forget(self, call: Call, reason: Reason, report: Report) -> None:
        self._life.end(call, list(call.talks), reason, report)
        call.roots = ()
        self._calls.pop(call.key, None)
        if call.key in self._ringing:
            del self._ringing[call.key]

"""Responses: what answers an accepted request passes, and nothing else does."""

from typing import Final

from sipguard.calls.standing import Standing
from sipguard.guard.conclude import Conclusion
from sipguard.guard.credentials import CHALLENGES, hear_challenge, remember_answer
from sipguard.guard.negotiation import CARRIERS, blocked_stream, sdp_of
from sipguard.guard.proofs import CaseProofs, blamed
from sipguard.guard.requests import PASS, PASSED
from sipguard.guard.rooms import Case, Rooms, findings_of, judgement_of
from sipguard.guard.secured import look_at_response, remember_response
from sipguard.media.sessions import NOTHING, Outcome
from sipguard.moment import Moment
from sipguard.policy.subject import Subject
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Decision, Judgement
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message

_ACCEPT, _DROP = Action.ACCEPT, Action.DROP
_DOWNGRADE: Final = Reason.MEDIA_DOWNGRADE
_STRAY: Final = Finding(Reason.STRAY_RESPONSE)


class Responses:
    """Judges responses."""

    def __init__(self, rooms: Rooms, conclusion: Conclusion) -> None:
        self._rooms = rooms
        self._conclusion = conclusion

    def judge(self, packet: Packet, message: Message, ids: Ids, now: Moment) -> Decision:
        """Decide on one response."""
        rooms = self._rooms
        stand = rooms.book.stand_of_response(ids, message.status, packet)
        subject = Subject(packet, message, now, rooms.rates)
        subject.dialog_known = stand.dialog is not None
        subject.transaction_known = stand.standing is Standing.KNOWN
        case = Case(packet, message, ids, stand, subject)
        if rooms.policy.asks_proofs:
            subject.proofs = CaseProofs(rooms, case)
        if message.status in CHALLENGES and stand.standing is Standing.KNOWN:
            hear_challenge(rooms, case)
        look_at_response(rooms, case)
        refused = self._conclusion.judge_form(case)
        if refused is not None:
            return refused
        if stand.standing is not Standing.KNOWN:
            return self._judge_stray(case)
        if self._is_flood(case):
            finding = Finding(Reason.RATE_EXCEEDED, "more answers than one request needs")
            case.add(finding)
            judgement = Judgement(_DROP, finding.reason, "calls", detail=finding.detail)
            return self._conclusion.refuse(case, judgement)
        judgement = PASS
        ruling = rooms.policy.judge("response", subject)
        if ruling is not None:
            judgement = judgement_of(ruling, blamed(case, ruling))
            if judgement.action is not _ACCEPT:
                return self._conclusion.refuse(case, judgement)
        return self._let_pass(case, judgement)

    def _is_flood(self, case: Case) -> bool:
        transaction = case.stand.transaction
        if transaction is None or self._rooms.again:
            return False
        transaction.answers += 1
        return self._rooms.is_flooded(transaction.answers, case.ids, case.packet.src)

    def _judge_stray(self, case: Case) -> Decision:
        finding = case.stand.finding or _STRAY
        case.add(finding)
        if finding.reason is Reason.STRAY_RESPONSE and self._rooms.learns_responses(case.now):
            return Decision(_ACCEPT, PASS, tuple(case.findings))
        judgement = Judgement(_DROP, finding.reason, "calls", detail=finding.detail)
        return self._conclusion.refuse(case, judgement)

    def _let_pass(self, case: Case, judgement: Judgement) -> Decision:
        rooms, message, ids, now = self._rooms, case.message, case.ids, case.now
        transaction, status = case.stand.transaction, message.status
        ended = rooms.book.accept_response(case.stand, message, ids, case.packet, now)
        if status >= 200 and transaction is not None and not transaction.in_dialog:
            rooms.memory.answered(ids, status, now)
        if status >= 200:
            remember_answer(rooms, case)
            remember_response(rooms, case)
        outcome = NOTHING
        if ids.method in CARRIERS and (status >= 200 or message.body):
            sdp, fault = sdp_of(message)
            if fault is not None:
                case.add(fault)
            step = rooms.negotiator.response_step(message, ids, case.packet, case.stand, sdp)
            if step is not None:
                outcome = rooms.observe(case, step)
        effects = outcome.effects
        if ended:
            effects += rooms.negotiator.close(ended, now)
        findings = findings_of(case, outcome)
        if judgement.log or case.subject.noted:
            self._conclusion.tell(case, judgement, _ACCEPT, findings, outcome.streams)
        elif outcome.streams and status < 300:
            self._tell_of_blocked_media(case, outcome)
        if judgement is PASS and not (effects or findings or outcome.renewed):
            return PASSED
        return Decision(_ACCEPT, judgement, findings, effects, outcome.renewed)

    def _tell_of_blocked_media(self, case: Case, outcome: Outcome) -> None:
        """A call that is let through without its media must be explained as well.

        So must one that goes on with less protection, or with another's (PIN-7).
        """
        stream = blocked_stream(outcome)
        if stream is not None:
            judgement = Judgement(_ACCEPT, stream.reason, "media", detail=stream.detail, log=True)
        else:
            changed = [one for one in outcome.findings if one.reason is _DOWNGRADE]
            if not changed:
                return
            judgement = Judgement(_ACCEPT, _DOWNGRADE, "media", detail=changed[0].detail, log=True)
        self._conclusion.tell(case, judgement, _ACCEPT, outcome.findings, outcome.streams)

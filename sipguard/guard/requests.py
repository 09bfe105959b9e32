"""Requests: from their standing in the book of calls to a decision."""

from typing import Final

from sipguard.calls.standing import Standing
from sipguard.guard.conclude import Conclusion
from sipguard.guard.credentials import find_stolen
from sipguard.guard.exempt import excepted
from sipguard.guard.negotiation import CARRIERS, OFFER_REQUESTS, sdp_of
from sipguard.guard.proofs import (
    CaseProofs,
    blamed,
    blamed_key,
    count_failure,
    drops_spent,
    is_over_budget,
    is_spent,
)
from sipguard.guard.rooms import Case, Rooms, findings_of, judgement_of
from sipguard.guard.secured import look_at_fork, look_at_request
from sipguard.media.sessions import Step
from sipguard.moment import Moment
from sipguard.policy.rules import Ruling
from sipguard.policy.subject import Subject
from sipguard.reason import Finding, Reason
from sipguard.replay import Sight
from sipguard.verdict import Action, Decision, Judgement
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message
from sipguard.wire.uri import aor_key

# Timer A or E doubles from T1: eleven sends in 64*T1, and some room for duplicates on the way.
MAX_COPIES: Final = 16

_ACCEPT, _DROP, _REJECT = Action.ACCEPT, Action.DROP, Action.REJECT
PASS: Final = Judgement(_ACCEPT, Reason.KNOWN_CALL, "known-call")
PASSED: Final = Decision(_ACCEPT, PASS)
_PASSED_AGAIN: Final = Decision(
    _ACCEPT, Judgement(_ACCEPT, Reason.RETRANSMISSION, "retransmission")
)
_ABSORBED: Final = Decision(_DROP, Judgement(_DROP, Reason.ABSORBED_ACK, "reply"))
_REPLAYS: Final = frozenset(
    {Reason.REPLAY, Reason.REPLAY_AFTER_END, Reason.BRANCH_COLLISION, Reason.OLD_CSEQ}
)
_SPENT: Final = Judgement(_DROP, Reason.SIGNATURE_BUDGET, "signature-budget")
_UNKNOWN: Final = Finding(Reason.UNKNOWN_DIALOG)
_DOWNGRADE: Final = Finding(Reason.MEDIA_DOWNGRADE, "an offer in a running call")


class Requests:
    """Judges requests."""

    def __init__(self, rooms: Rooms, conclusion: Conclusion) -> None:
        self._rooms = rooms
        self._conclusion = conclusion

    def judge(self, packet: Packet, message: Message, ids: Ids, now: Moment) -> Decision:
        """Decide on one request."""
        rooms = self._rooms
        stand = rooms.book.stand_of_request(message, ids, packet)
        standing = stand.standing
        subject = Subject(packet, message, now, rooms.rates)
        case = Case(packet, message, ids, stand, subject)
        if rooms.policy.asks_proofs:
            subject.proofs = CaseProofs(rooms, case)
        if standing is Standing.RETRANSMISSION:
            return self._judge_copy(case)
        subject.dialog_known = standing is Standing.KNOWN and stand.dialog is not None
        subject.transaction_known = stand.transaction is not None
        look_at_request(rooms, case)
        refused = self._conclusion.judge_form(case)
        if refused is not None:
            return refused
        if standing is Standing.KNOWN:
            return self._judge_known(case)
        if message.method == b"ACK" and rooms.refuser.is_ours(ids, now):
            return _ABSORBED
        self._count(message, subject)
        if standing is Standing.REFUSED:
            return self._judge_refused(case)
        if standing is Standing.UNKNOWN_DIALOG:
            return self._judge_unknown_dialog(case)
        return self._judge_new(case)

    def _judge_copy(self, case: Case) -> Decision:
        """A retransmission passes as its original did, as often as timers send it (TXN-12)."""
        transaction = case.stand.transaction
        if transaction is not None:
            transaction.copies += 1
            if transaction.copies > MAX_COPIES:
                finding = Finding(Reason.RATE_EXCEEDED, "more retransmissions than timers send")
                case.add(finding)
                judgement = Judgement(
                    _DROP, finding.reason, "retransmission", detail=finding.detail
                )
                return self._conclusion.refuse(case, judgement)
        return _PASSED_AGAIN

    def _judge_known(self, case: Case) -> Decision:
        """The short way of a running call, unless the policy speaks of known dialogs."""
        judgement = PASS
        if self._is_flood(case):
            finding = Finding(Reason.RATE_EXCEEDED, "more than one call needs")
            case.add(finding)
            judgement = Judgement(_DROP, finding.reason, "calls", detail=finding.detail)
            return self._conclusion.refuse(case, judgement)
        if case.stand.dialog is not None:
            stolen = find_stolen(self._rooms, case, in_dialog=True)
            if stolen is not None:
                refused = self._refuse_stolen(case, stolen)
                if refused is not None:
                    return refused
            ruling = self._rooms.policy.judge("dialog", case.subject)
            if ruling is not None:
                judgement = excepted(self._rooms, case, self._ruled(case, ruling, None))
                if judgement.action is not _ACCEPT:
                    return self._conclusion.refuse(case, judgement)
        return self._let_pass(case, judgement)

    def _refuse_stolen(self, case: Case, stolen: Finding) -> Decision | None:
        """Another's credentials inside a call of one's own: the rules for requests refuse it."""
        ruling = self._rooms.policy.judge("request", case.subject)
        if ruling is None or ruling.action not in ("drop", "reject"):
            return None
        return self._conclusion.refuse(case, judgement_of(ruling, stolen))

    def _is_flood(self, case: Case) -> bool:
        if self._rooms.again:
            return False
        dialog, transaction = case.stand.dialog, case.stand.transaction
        if dialog is not None:
            dialog.requests += 1
            return self._rooms.is_flooded(dialog.requests, case.ids, case.packet.src)
        if transaction is None:
            return False
        transaction.answers += 1
        return self._rooms.is_flooded(transaction.answers, case.ids, case.packet.src)

    def _judge_refused(self, case: Case) -> Decision:
        """What claims to belong and does not is dropped; a rule of the policy may name it."""
        finding = case.stand.finding or _UNKNOWN
        case.subject.replay = finding.reason in _REPLAYS
        case.add(finding)
        ruling = self._rooms.policy.judge("request", case.subject)
        if ruling is not None and ruling.action in ("drop", "reject"):
            judgement = judgement_of(ruling, finding)
        else:
            judgement = Judgement(_DROP, finding.reason, "calls", detail=finding.detail)
        return self._conclusion.refuse(case, judgement)

    def _judge_unknown_dialog(self, case: Case) -> Decision:
        rooms = self._rooms
        stolen = find_stolen(rooms, case, in_dialog=False)
        if rooms.learns(case.now):
            return self._judge_learned(case)
        finding = stolen or case.stand.finding or _UNKNOWN
        case.add(finding)
        judgement = self._ruled(case, rooms.policy.judge("request", case.subject), finding)
        if judgement.action is _ACCEPT and rooms.policy.on_unknown_dialog.action != "accept":
            judgement = Judgement(_DROP, finding.reason, "on-unknown-dialog", detail=finding.detail)
        if judgement.action is not _ACCEPT:
            return self._conclusion.refuse(case, judgement)
        self._learn(case)
        return self._let_pass(case, judgement)

    def _judge_learned(self, case: Case) -> Decision:
        """Take the call for known, unless a rule refuses what even a known call may not do."""
        case.subject.dialog_known = True
        ruling = self._rooms.policy.judge("request", case.subject)
        if ruling is not None and ruling.action != "accept":
            return self._conclusion.refuse(case, judgement_of(ruling))
        self._learn(case)
        return self._let_pass(case, PASS)

    def _learn(self, case: Case) -> None:
        case.stand = self._rooms.book.learn_dialog(case.message, case.ids, case.packet, case.now)
        if case.stand.finding is not None:
            case.add(case.stand.finding)

    def _judge_new(self, case: Case) -> Decision:
        rooms, subject, message, ids = self._rooms, case.subject, case.message, case.ids
        sight, finding = rooms.memory.look(message, ids, case.packet, case.now)
        if finding is not None:
            case.add(finding)
            subject.replay = sight is Sight.REPLAY
        lost = rooms.downgrades.look(message, ids, case.now)
        if lost is not None:
            case.add(lost)
        case.retry = sight is Sight.FORK_OR_SPIRAL or sight is Sight.RETRY
        if sight is Sight.FORK_OR_SPIRAL:
            look_at_fork(rooms, case)
        stolen = find_stolen(rooms, case, in_dialog=False, retry=case.retry)
        if sight is not Sight.REPLAY and stolen is not None:
            finding = stolen
        if message.method == b"REGISTER":
            subject.registration_foreign = rooms.book.registrations.is_foreign(
                aor_key(ids.to.uri), case.packet.src, case.now.monotonic_s
            )
            if subject.registration_foreign and finding is None:
                finding = Finding(Reason.REGISTER_HIJACK)
                case.add(finding)
        ruling = rooms.policy.judge("request", subject)
        telling = subject.replay or subject.registration_foreign
        judgement = self._ruled(case, ruling, finding if telling else None)
        if stolen is None:
            judgement = excepted(rooms, case, judgement)
        if rooms.overloaded and judgement.action is _ACCEPT:
            judgement = self._overload_judgement(judgement)
        if judgement.action is not _ACCEPT:
            return self._conclusion.refuse(case, judgement)
        return self._let_pass(case, judgement)

    def _let_pass(self, case: Case, judgement: Judgement) -> Decision:
        """Hold the offer against the media chain, then write the request down."""
        method = case.message.method
        step = None
        if method in CARRIERS:
            sdp, fault = sdp_of(case.message)
            if fault is not None and method in OFFER_REQUESTS:
                case.add(fault)
                status = fault.reason.status
                judgement = Judgement(
                    _REJECT, fault.reason, "sdp", detail=fault.detail, status=status
                )
                return self._conclusion.refuse(case, judgement)
            step = self._rooms.negotiator.request_step(
                case.message, case.ids, case.packet, case.stand.dialog, sdp
            )
            if step is not None and sdp is not None and method in OFFER_REQUESTS:
                refused = self._judge_offer(case, step)
                if refused is not None:
                    return refused
        self._conclusion.write_down(case)
        decision = self._passed(case, judgement, step)
        if judgement.log or case.subject.noted or self._records_all(case):
            logged = judgement.changed(action=judgement.action, log=True)
            self._conclusion.tell(case, logged, _ACCEPT, decision.findings)
        return decision

    def _judge_offer(self, case: Case, step: Step) -> Decision | None:
        rooms, sessions = self._rooms, self._rooms.negotiator.sessions
        # Only an offer with MIKEY has parties; to verify it costs as much as another proof.
        is_spent_source = step.parties is not None and is_over_budget(rooms, case)
        if is_spent_source and drops_spent(rooms):
            return self._conclusion.refuse(case, _SPENT)
        sessions.checks.sparing = is_spent_source
        streams = sessions.streams_of_offer(step, case.now)
        sessions.checks.sparing = False
        if step.offered is not None:
            if step.offered.failed is not None:
                count_failure(rooms, case)
            for finding in step.offered.findings:
                case.add(finding)
        for stream in streams:
            if stream.downgraded:
                case.add(_DOWNGRADE)
                break
        refusal = rooms.negotiator.refusal_of_offer(rooms.policy, streams, case.subject)
        if refusal is None:
            return None
        ruling, stream = refusal.ruling, refusal.stream
        blame = blamed_key(ruling, stream)
        if blame is not None and blame not in case.findings:
            case.add(blame)
        return self._conclusion.refuse(case, judgement_of(ruling, blame), (stream,))

    def _passed(self, case: Case, judgement: Judgement, step: Step | None) -> Decision:
        if step is None:
            if judgement is PASS and not case.findings:
                return PASSED
            return Decision(_ACCEPT, judgement, tuple(case.findings))
        outcome = self._rooms.observe(case, step)
        findings = findings_of(case, outcome)
        return Decision(_ACCEPT, judgement, findings, outcome.effects, outcome.renewed)

    def _ruled(self, case: Case, ruling: Ruling | None, finding: Finding | None) -> Judgement:
        policy = self._rooms.policy
        if policy.asks_proofs and drops_spent(self._rooms) and is_spent(case):
            return _SPENT
        if ruling is not None:
            return judgement_of(ruling, finding or blamed(case, ruling))
        return Judgement(
            policy.default, Reason.DEFAULT, "default", policy.file, status=policy.default_status
        )

    def _overload_judgement(self, judgement: Judgement) -> Judgement:
        match self._rooms.policy.on_overload:
            case "accept-all":
                return judgement
            case "keep-dialogs":
                return Judgement(_REJECT, Reason.OVERLOAD, "on-overload", status=503)
            case _:
                return Judgement(_DROP, Reason.OVERLOAD, "on-overload")

    def _count(self, message: Message, subject: Subject) -> None:
        """Count before judging, refused requests included: a flood stays one until it ends."""
        if self._rooms.again:
            return
        for kind, method, window_s in self._rooms.policy.rates_needed:
            if method == b"*" or method == message.method:
                self._rooms.rates.add(kind, subject.rate_key(kind), method, window_s)

    def _records_all(self, case: Case) -> bool:
        return (
            self._rooms.policy.record == "all"
            and case.message.method == b"INVITE"
            and case.stand.standing is Standing.NEW
        )

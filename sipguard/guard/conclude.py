"""From a judgement to a decision: shadow mode, a reply of our own, the record."""

from collections.abc import Sequence
from typing import Final

from sipguard.calls.standing import Standing
from sipguard.guard.codes import warning_of
from sipguard.guard.credentials import remember_credentials
from sipguard.guard.exempt import is_muted
from sipguard.guard.observe import heaviest, observation_of
from sipguard.guard.rooms import Case, Rooms, judgement_of
from sipguard.journal.observation import Condition
from sipguard.media.sessions import Stream
from sipguard.moment import Moment
from sipguard.policy.why import Explainer
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Decision, Effect, Judgement, Reply
from sipguard.weight import Weight
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Message

_ACCEPT, _DROP, _REJECT = Action.ACCEPT, Action.DROP, Action.REJECT
_BODILESS: Final = frozenset({b"ACK", b"CANCEL"})


class Conclusion:
    """Ends a case that is not simply let through, and writes what must be written."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._explainer = Explainer()

    def judge_form(self, case: Case) -> Decision | None:
        """Run the parse chain; what it neither refuses nor tolerates falls to the findings."""
        policy = self._rooms.policy
        if case.findings:
            tolerated = policy.tolerated(case.subject)
            if tolerated:
                case.findings = [f for f in case.findings if f.reason not in tolerated]
                case.subject.findings = case.findings
        ruling = policy.judge("parse", case.subject)
        if ruling is not None:
            if ruling.action == "accept":
                return None
            return self.refuse(case, judgement_of(ruling, heaviest(case.findings)))
        if case.findings and heaviest(case.findings) is not None:
            return self.refuse(case, judgement_of_findings(case.findings))
        return None

    def refuse(
        self, case: Case, judgement: Judgement, streams: tuple[Stream, ...] = ()
    ) -> Decision:
        """Refuse a message: reply if the rules allow one, let it pass in shadow mode."""
        shadow = self._rooms.policy.mode == "shadow"
        if judgement.action is _REJECT:
            judgement = self._answered(judgement)
        effects: tuple[Effect, ...] = ()
        if judgement.action is _REJECT:
            reply = self._reply(case, judgement)
            if reply is None:
                judgement = judgement.changed(action=_DROP, log=judgement.log)
                case.add(Finding(Reason.UNANSWERABLE))
            elif not shadow and self._may_reply(case.packet):
                effects = (reply,)
        action = judgement.action
        if shadow:
            action = _ACCEPT
            self._follow(case)
        rooms = self._rooms
        if rooms.record is not None and not is_muted(
            rooms, case.packet.src, case, judgement, case.now
        ):
            if streams:
                case.subject.stream = streams[0]  # the one that is blamed
            why = self._explainer.why(self._rooms.policy, judgement.place, case.subject)
            self.tell(case, judgement, action, case.findings, streams, why)
        return Decision(action, judgement, tuple(case.findings), effects)

    def refuse_packet(
        self,
        packet: Packet,
        message: Message | None,
        judgement: Judgement,
        findings: Sequence[Finding],
        now: Moment,
    ) -> Decision:
        """Refuse what cannot be told to belong to any call; there is nobody to answer."""
        rooms = self._rooms
        judgement = judgement.changed(action=_DROP, log=judgement.log)
        action = _ACCEPT if rooms.policy.mode == "shadow" else _DROP
        if rooms.record is not None and not is_muted(rooms, packet.src, None, judgement, now):
            rooms.record(
                observation_of(
                    packet, message, judgement, action, rooms.policy.mode, now,
                    findings=tuple(findings),
                )
            )  # fmt: skip
        return Decision(action, judgement, tuple(findings))

    def write_down(self, case: Case) -> None:
        """Remember a request that passes."""
        rooms, ids = self._rooms, case.ids
        rooms.book.accept_request(case.stand, case.message, ids, case.packet, case.now)
        if not ids.to_tag and case.message.method not in _BODILESS:
            rooms.memory.remember(case.message, ids, case.packet, case.now)
        remember_credentials(rooms, case)
        if case.is_sips:
            rooms.sips.passed(ids)
        if case.message.body:
            rooms.downgrades.passed(case.message, ids, case.now)

    def tell(
        self,
        case: Case,
        judgement: Judgement,
        action: Action,
        findings: Sequence[Finding],
        streams: tuple[Stream, ...] = (),
        why: Condition | None = None,
    ) -> None:
        """Hand the case to the journal."""
        rooms = self._rooms
        if rooms.record is None:
            return
        rooms.record(
            observation_of(
                case.packet,
                case.message,
                judgement,
                action,
                rooms.policy.mode,
                case.now,
                findings=tuple(findings),
                dialog=case.stand.dialog,
                streams=streams,
                noted=case.subject.noted,
                proofs=case.subject.proofs.asked,
                why=why,
            )
        )

    def _answered(self, judgement: Judgement) -> Judgement:
        """Settle code and phrase, where the rule gives none."""
        codes, reason = self._rooms.verifiers.codes, judgement.reason
        status = judgement.status or codes.status_of(reason)
        phrase = judgement.phrase or codes.phrase_of(reason, status)
        if status == judgement.status and phrase == judgement.phrase:
            return judgement
        return judgement.answered(status, phrase)

    def _reply(self, case: Case, judgement: Judgement) -> Reply | None:
        told = warning_of(judgement)
        for kind, evidence in case.subject.proofs.asked:
            if kind == "stir" and evidence.failures:
                told += self._rooms.verifiers.codes.reasons_of(evidence, judgement)
        return self._rooms.refuser.refuse(
            case.message, case.ids, case.packet, judgement.status, judgement.phrase, case.now, told
        )

    def _may_reply(self, packet: Packet) -> bool:
        """Whether this source may have another reply of ours (RSP-6)."""
        rates = self._rooms.rates
        limit, window_s = self._rooms.policy.reply_rate
        rates.add("reply", packet.src, b"*", window_s)
        return rates.count("reply", packet.src, b"*", window_s) <= limit

    def _follow(self, case: Case) -> None:
        """In shadow mode it passes after all: follow the call, or its answer would be a stray."""
        if case.message.is_request and case.stand.standing in (Standing.NEW, Standing.KNOWN):
            self.write_down(case)


def judgement_of_findings(findings: Sequence[Finding]) -> Judgement:
    """No rule spoke of these faults: 400 where that is allowed, and never a pass (GEN-1)."""
    finding = heaviest(findings) or Finding(Reason.MISSING_HEADER)
    reason = finding.reason
    answers = reason.weight in (Weight.MALFORMED, Weight.OVERSIZE) and reason.status
    return Judgement(
        _REJECT if answers else _DROP,
        reason,
        "parse",
        detail=finding.detail,
        status=reason.status,
        octets=finding.octets,
    )

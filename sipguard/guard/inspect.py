"""``Guard.inspect``: one packet in, one decision out (DESIGN: one packet's way)."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sipguard.calls.book import Book
from sipguard.calls.standing import NEW, Stand, Standing
from sipguard.calls.transaction import LINGER_S
from sipguard.errors import HostileInput
from sipguard.guard.negotiation import (
    CARRIERS,
    OFFER_REQUESTS,
    Negotiator,
    blocked_stream,
    request_step,
    response_step,
    sdp_of,
)
from sipguard.guard.observe import heaviest, observation_of
from sipguard.journal.observation import Observation
from sipguard.media.sessions import Outcome, Sessions, Step, Stream
from sipguard.moment import Moment
from sipguard.policy.rules import Policy, Rule, Ruling
from sipguard.policy.subject import Subject
from sipguard.rates import Rates
from sipguard.reason import Finding, Reason, Weight
from sipguard.refusal import Refuser
from sipguard.replay import Memory, Sight
from sipguard.verdict import Action, Decision, Effect, Judgement
from sipguard.wire.packet import Packet, parse_packet
from sipguard.wire.sip import Ids, Kind, Message, classify, parse_message
from sipguard.wire.uri import aor_key

MAX_TRANSACTIONS: Final = 400_000
_ACCEPT, _DROP, _REJECT = Action.ACCEPT, Action.DROP, Action.REJECT
_PASS: Final = Judgement(_ACCEPT, Reason.KNOWN_CALL, "known-call")
_AGAIN: Final = Judgement(_ACCEPT, Reason.RETRANSMISSION, "retransmission")
_PASSED: Final = Decision(_ACCEPT, _PASS)
_PASSED_AGAIN: Final = Decision(_ACCEPT, _AGAIN)
_REPLAYS: Final = frozenset(
    {Reason.REPLAY, Reason.REPLAY_AFTER_END, Reason.BRANCH_COLLISION, Reason.OLD_CSEQ}
)
_NOTHING: Final = Outcome((), (), ())
_ACTIONS: Final = {"accept": _ACCEPT, "drop": _DROP, "reject": _REJECT}


class Statistics(NamedTuple):
    """How full every table is, for ``sipguard status``."""

    dialogs: int
    transactions: int
    registrations: int
    replay_entries: int
    rate_counters: int
    holes: int
    forgotten: int


class Guard:
    """Judges packets against one policy. Reads no clock and does no I/O."""

    def __init__(
        self,
        policy: Policy,
        secret: bytes,
        *,
        record: Callable[[Observation], None] | None = None,
        learning: bool = True,
    ) -> None:
        self.policy = policy
        self.overloaded = False
        self._record = record
        self._learning = learning
        self.started_at_s = -1.0  # set by the first packet or tick
        self._book = Book(
            max_dialogs=policy.max_dialogs,
            max_transactions=MAX_TRANSACTIONS,
            session_limit_s=policy.session_limit_s,
        )
        self._rates = Rates()
        self._memory = Memory(policy.replay_window_s)
        self._refuser = Refuser(secret)
        self._negotiator = Negotiator(
            Sessions(max_calls=policy.max_dialogs, max_holes=policy.max_pinholes)
        )

    def replace_policy(self, policy: Policy) -> None:
        """Judge by *policy* from now on; calls, replay memory and pinholes outlive it."""
        self.policy = policy

    # --- what comes in

    def inspect(self, octets: bytes, interface: str, now: Moment) -> Decision:
        """Judge one IP packet."""
        try:
            packet = parse_packet(octets, interface)
        except HostileInput as error:
            judgement = Judgement(_DROP, error.reason, "packet", detail=error.detail)
            nobody = Packet(b"", b"", 0, 0, octets[:256], "udp", interface)
            return self._conclude(nobody, None, judgement, now, (error.finding(),))
        return self.judge(packet, now)

    def judge(self, packet: Packet, now: Moment) -> Decision:
        """Judge one datagram, or one message of a stream."""
        self._set_time(now)
        kind = classify(packet.payload)
        if kind is not Kind.SIP:
            return self._judge_other(kind, packet, now)
        try:
            message = parse_message(packet.payload, packet.transport)
        except HostileInput as error:
            judgement = Judgement(
                _DROP, error.reason, "parse", detail=error.detail, octets=error.octets
            )
            return self._conclude(packet, None, judgement, now, (error.finding(),))
        ids = message.ids
        if ids is None:
            return self._refuse_findings(packet, message, None, message.findings, now)
        if message.is_request:
            return self._judge_request(packet, message, ids, now)
        return self._judge_response(packet, message, ids, now)

    def tick(self, now: Moment) -> tuple[Effect, ...]:
        """Let time pass: forget what is over, and close its pinholes."""
        self._set_time(now)
        ended = self._book.expire(now)
        self._memory.expire(now)
        return self._negotiator.close(ended, now) + self._negotiator.sessions.expire(now)

    def statistics(self) -> Statistics:
        """Count what is remembered."""
        book, sessions = self._book, self._negotiator.sessions
        return Statistics(
            dialogs=len(book.dialogs),
            transactions=len(book.transactions),
            registrations=len(book.registrations),
            replay_entries=len(self._memory),
            rate_counters=len(self._rates),
            holes=sessions.open_holes,
            forgotten=(
                book.dialogs.forgotten
                + book.transactions.forgotten
                + self._memory.forgotten
                + self._rates.forgotten
            ),
        )

    def _set_time(self, now: Moment) -> None:
        if self.started_at_s < 0:
            self.started_at_s = now.monotonic_s
        self._rates.at(now.monotonic_s)

    # --- not SIP

    def _judge_other(self, kind: Kind, packet: Packet, now: Moment) -> Decision:
        if kind is Kind.SIGCOMP:
            return self._drop(packet, Finding(Reason.SIGCOMP), "parse", now)
        if kind is Kind.OTHER:
            return self._drop(packet, Finding(Reason.NOT_SIP), "parse", now)
        policy = self.policy
        reason = Reason.STUN_KEEP_ALIVE if kind is Kind.STUN else Reason.KEEP_ALIVE
        if policy.keep_alives is _DROP:
            return self._drop(packet, Finding(reason), "keep-alives", now)
        limit, window_s = policy.keep_alive_rate
        self._rates.add("keep-alive", packet.src, b"*", window_s)
        if self._rates.count("keep-alive", packet.src, b"*", window_s) > limit:
            finding = Finding(Reason.RATE_EXCEEDED, "keep-alives")
            return self._drop(packet, finding, "keep-alive-rate", now)
        return Decision(_ACCEPT, Judgement(_ACCEPT, reason, "keep-alives"))

    # --- requests

    def _judge_request(self, packet: Packet, message: Message, ids: Ids, now: Moment) -> Decision:
        stand = self._book.stand_of_request(message, ids, packet)
        standing = stand.standing
        if standing is Standing.RETRANSMISSION:
            return _PASSED_AGAIN
        subject = Subject(packet, message, now, self._rates)
        subject.dialog_known = standing is Standing.KNOWN and stand.dialog is not None
        subject.transaction_known = stand.transaction is not None
        refused = self._judge_form(packet, message, ids, subject, now)
        if refused is not None:
            return refused
        if standing is Standing.KNOWN:
            return self._judge_known(packet, message, ids, subject, stand, now)
        if message.method == b"ACK" and self._refuser.is_ours(ids, now):
            return Decision(_DROP, Judgement(_DROP, Reason.ABSORBED_ACK, "parse"))
        self._count(message, subject)
        if standing is Standing.REFUSED:
            return self._judge_refused(packet, message, ids, subject, stand, now)
        if standing is Standing.UNKNOWN_DIALOG:
            return self._judge_unknown_dialog(packet, message, ids, subject, stand, now)
        return self._judge_new(packet, message, ids, subject, now)

    def _judge_form(
        self, packet: Packet, message: Message, ids: Ids, subject: Subject, now: Moment
    ) -> Decision | None:
        """Run the parse chain; what it neither refuses nor tolerates falls to the findings."""
        policy = self.policy
        findings = message.findings
        if findings:
            tolerated = policy.tolerated(subject)
            if tolerated:
                findings = [f for f in findings if f.reason not in tolerated]
        subject.findings = findings
        ruling = policy.judge("parse", subject)
        if ruling is not None:
            if ruling.action == "accept":
                return None
            weighty = heaviest(findings)
            judgement = _judgement_of(ruling, weighty)
            return self._conclude(packet, message, judgement, now, tuple(findings), ids=ids)
        if findings and heaviest(findings) is not None:
            return self._refuse_findings(packet, message, ids, findings, now)
        return None

    def _judge_known(
        self,
        packet: Packet,
        message: Message,
        ids: Ids,
        subject: Subject,
        stand: Stand,
        now: Moment,
    ) -> Decision:
        """The short way of a running call, unless the policy speaks of known dialogs."""
        judgement = _PASS
        if stand.dialog is not None:
            ruling = self.policy.judge("dialog", subject)
            if ruling is not None:
                judgement = _judgement_of(ruling, None)
                if judgement.action is not _ACCEPT:
                    return self._conclude(packet, message, judgement, now, stand=stand, ids=ids)
        return self._let_request_pass(packet, message, ids, subject, stand, judgement, now)

    def _judge_refused(
        self,
        packet: Packet,
        message: Message,
        ids: Ids,
        subject: Subject,
        stand: Stand,
        now: Moment,
    ) -> Decision:
        """What claims to belong and does not is dropped; a rule of the policy may name it."""
        finding = stand.finding or Finding(Reason.UNKNOWN_DIALOG)
        subject.replay = finding.reason in _REPLAYS
        subject.findings = [*message.findings, finding]
        ruling = self.policy.judge("request", subject)
        judgement = Judgement(_DROP, finding.reason, "calls", detail=finding.detail)
        if ruling is not None and ruling.action in ("drop", "reject"):
            judgement = _judgement_of(ruling, finding)
        return self._conclude(
            packet, message, judgement, now, subject.findings, stand, ids=ids, noted=subject.noted
        )

    def _judge_unknown_dialog(
        self,
        packet: Packet,
        message: Message,
        ids: Ids,
        subject: Subject,
        stand: Stand,
        now: Moment,
    ) -> Decision:
        if self._learns(now):
            stand = self._book.learn_dialog(message, ids, packet, now)
            subject.dialog_known = True
            return self._judge_known(packet, message, ids, subject, stand, now)
        finding = stand.finding or Finding(Reason.UNKNOWN_DIALOG)
        subject.findings = [*message.findings, finding]
        ruling = self.policy.judge("request", subject)
        judgement = self._ruled(ruling, finding)
        if judgement.action is _ACCEPT and self.policy.on_unknown_dialog.action != "accept":
            judgement = Judgement(_DROP, finding.reason, "on-unknown-dialog", detail=finding.detail)
        if judgement.action is not _ACCEPT:
            return self._conclude(
                packet, message, judgement, now, subject.findings, ids=ids, noted=subject.noted
            )
        stand = self._book.learn_dialog(message, ids, packet, now)
        return self._let_request_pass(packet, message, ids, subject, stand, judgement, now)

    def _judge_new(
        self, packet: Packet, message: Message, ids: Ids, subject: Subject, now: Moment
    ) -> Decision:
        findings = message.findings
        sight, finding = self._memory.look(message, ids, packet, now)
        if finding is not None:
            findings = [*findings, finding]
            subject.findings = findings
            subject.replay = sight is Sight.REPLAY
        if message.method == b"REGISTER" and message.header(b"authorization") is None:
            subject.registration_foreign = self._book.registrations.is_foreign(
                aor_key(ids.to.uri), packet.src, now.monotonic_s
            )
        ruling = self.policy.judge("request", subject)
        judgement = self._ruled(ruling, finding if subject.replay else None)
        if self.overloaded and judgement.action is _ACCEPT:
            judgement = self._overload_judgement(judgement)
        if judgement.action is not _ACCEPT:
            return self._conclude(
                packet, message, judgement, now, findings, NEW, ids=ids, noted=subject.noted
            )
        return self._let_request_pass(packet, message, ids, subject, NEW, judgement, now, findings)

    def _let_request_pass(
        self,
        packet: Packet,
        message: Message,
        ids: Ids,
        subject: Subject,
        stand: Stand,
        judgement: Judgement,
        now: Moment,
        findings: Sequence[Finding] = (),
    ) -> Decision:
        """Hold the offer against the media chain, then write the request down."""
        method = message.method
        step = None
        if method in CARRIERS:
            sdp, fault = sdp_of(message)
            if fault is not None and method in OFFER_REQUESTS:
                judgement = Judgement(
                    _REJECT, fault.reason, "sdp", detail=fault.detail, status=fault.reason.status
                )
                findings = [*findings, fault]
                return self._conclude(packet, message, judgement, now, findings, stand, ids=ids)
            step = request_step(message, ids, packet, stand.dialog, sdp)
            if sdp is not None and method in OFFER_REQUESTS:
                refusal = self._negotiator.refusal_of_offer(self.policy, step, subject)
                if refusal is not None:
                    finding = Finding(refusal.stream.reason, refusal.stream.detail)
                    return self._conclude(
                        packet, message, _judgement_of(refusal.ruling, finding), now,
                        [*findings, finding], stand, ids=ids, streams=(refusal.stream,),
                    )  # fmt: skip
        self._write_down(packet, message, ids, stand, now)
        decision = self._passed(judgement, findings, step, subject, now)
        if judgement.log or subject.noted or (stand is NEW and self._records_all(method)):
            self._tell(
                packet, message, judgement, _ACCEPT, now, findings, stand, noted=subject.noted
            )
        return decision

    def _write_down(
        self, packet: Packet, message: Message, ids: Ids, stand: Stand, now: Moment
    ) -> None:
        self._book.accept_request(stand, message, ids, packet, now)
        if not ids.to_tag and message.method not in (b"ACK", b"CANCEL"):
            self._memory.remember(message, ids, packet, now)

    def _passed(
        self,
        judgement: Judgement,
        findings: Sequence[Finding],
        step: Step | None,
        subject: Subject,
        now: Moment,
    ) -> Decision:
        if step is None:
            if judgement is _PASS and not findings:
                return _PASSED
            return Decision(_ACCEPT, judgement, tuple(findings))
        outcome = self._negotiator.observe(self.policy, step, subject, now)
        return Decision(
            _ACCEPT,
            judgement,
            (*findings, *outcome.findings),
            outcome.effects,
            outcome.renewed,
        )

    # --- responses

    def _judge_response(self, packet: Packet, message: Message, ids: Ids, now: Moment) -> Decision:
        stand = self._book.stand_of_response(ids, message.status, packet)
        subject = Subject(packet, message, now, self._rates)
        subject.dialog_known = stand.dialog is not None
        subject.transaction_known = stand.standing is Standing.KNOWN
        refused = self._judge_form(packet, message, ids, subject, now)
        if refused is not None:
            return refused
        findings = message.findings
        if stand.standing is not Standing.KNOWN:
            finding = stand.finding or Finding(Reason.STRAY_RESPONSE)
            if finding.reason is Reason.STRAY_RESPONSE and self._learns_responses(now):
                return Decision(_ACCEPT, _PASS, (*findings, finding))
            judgement = Judgement(_DROP, finding.reason, "calls", detail=finding.detail)
            return self._conclude(packet, message, judgement, now, [*findings, finding], stand)
        judgement = _PASS
        ruling = self.policy.judge("response", subject)
        if ruling is not None:
            judgement = _judgement_of(ruling, None)
            if judgement.action is not _ACCEPT:
                return self._conclude(packet, message, judgement, now, findings, stand)
        return self._let_response_pass(
            packet, message, ids, subject, stand, judgement, now, findings
        )

    def _let_response_pass(
        self,
        packet: Packet,
        message: Message,
        ids: Ids,
        subject: Subject,
        stand: Stand,
        judgement: Judgement,
        now: Moment,
        findings: Sequence[Finding],
    ) -> Decision:
        transaction = stand.transaction
        status = message.status
        ended = self._book.accept_response(stand, message, ids, packet, now)
        if status >= 200 and transaction is not None and not transaction.in_dialog:
            self._memory.answered(ids, status, now)
        outcome = _NOTHING
        if ids.method in CARRIERS and (status >= 200 or message.body):
            sdp, fault = sdp_of(message)
            if fault is not None:
                findings = [*findings, fault]
            step = response_step(message, ids, packet, stand, sdp)
            outcome = self._negotiator.observe(self.policy, step, subject, now)
        effects = outcome.effects + self._negotiator.close(ended, now)
        if judgement.log or subject.noted:
            self._tell(
                packet, message, judgement, _ACCEPT, now, findings, stand, noted=subject.noted
            )
        else:
            self._tell_of_blocked_media(packet, message, outcome, stand, now)
        if not (effects or findings or outcome.findings or outcome.renewed):
            return _PASSED if judgement is _PASS else Decision(_ACCEPT, judgement)
        return Decision(
            _ACCEPT, judgement, (*findings, *outcome.findings), effects, outcome.renewed
        )

    # --- concluding

    def _ruled(self, ruling: Ruling | None, finding: Finding | None) -> Judgement:
        if ruling is not None:
            return _judgement_of(ruling, finding)
        policy = self.policy
        return Judgement(
            policy.default, Reason.DEFAULT, "default", policy.file, status=policy.default_status
        )

    def _overload_judgement(self, judgement: Judgement) -> Judgement:
        match self.policy.on_overload:
            case "accept-all":
                return judgement
            case "keep-dialogs":
                return Judgement(_REJECT, Reason.OVERLOAD, "on-overload", status=503)
            case _:
                return Judgement(_DROP, Reason.OVERLOAD, "on-overload")

    def _refuse_findings(
        self,
        packet: Packet,
        message: Message,
        ids: Ids | None,
        findings: Sequence[Finding],
        now: Moment,
    ) -> Decision:
        """No rule spoke of these faults: 400 where that is allowed, and never a pass (GEN-1)."""
        finding = heaviest(findings) or Finding(Reason.MISSING_HEADER)
        reason = finding.reason
        answers = reason.weight in (Weight.MALFORMED, Weight.OVERSIZE) and reason.status
        judgement = Judgement(
            _REJECT if answers else _DROP,
            reason,
            "parse",
            detail=finding.detail,
            status=reason.status,
            octets=finding.octets,
        )
        return self._conclude(packet, message, judgement, now, findings, ids=ids)

    def _drop(self, packet: Packet, finding: Finding, rule: str, now: Moment) -> Decision:
        judgement = Judgement(_DROP, finding.reason, rule, detail=finding.detail)
        return self._conclude(packet, None, judgement, now, (finding,))

    def _conclude(
        self,
        packet: Packet,
        message: Message | None,
        judgement: Judgement,
        now: Moment,
        findings: Sequence[Finding] = (),
        stand: Stand | None = None,
        *,
        ids: Ids | None = None,
        streams: tuple[Stream, ...] = (),
        noted: tuple[Rule, ...] = (),
    ) -> Decision:
        """Turn a refusal into a decision: shadow mode, our reply, the record."""
        shadow = self.policy.mode == "shadow"
        effects: tuple[Effect, ...] = ()
        if judgement.action is _REJECT:
            reply = None
            if message is not None and ids is not None:
                reply = self._refuser.refuse(
                    message, ids, packet, judgement.status, judgement.phrase, now
                )
            if reply is None:
                judgement = judgement._replace(action=_DROP)
                findings = [*findings, Finding(Reason.UNANSWERABLE)]
            elif not shadow and self._may_reply(packet):
                effects = (reply,)
        action = judgement.action
        if shadow:
            action = _ACCEPT
            if message is not None and ids is not None and message.is_request and stand is not None:
                self._follow(packet, message, ids, stand, now)
        self._tell(packet, message, judgement, action, now, findings, stand, streams, noted)
        return Decision(action, judgement, tuple(findings), effects)

    def _follow(
        self, packet: Packet, message: Message, ids: Ids, stand: Stand, now: Moment
    ) -> None:
        """In shadow mode it passes after all: follow the call, or its answer would be a stray."""
        if stand.standing in (Standing.NEW, Standing.KNOWN):
            self._write_down(packet, message, ids, stand, now)

    def _may_reply(self, packet: Packet) -> bool:
        """Whether this source may have another reply of ours (RSP-6)."""
        limit, window_s = self.policy.reply_rate
        self._rates.add("reply", packet.src, b"*", window_s)
        return self._rates.count("reply", packet.src, b"*", window_s) <= limit

    def _count(self, message: Message, subject: Subject) -> None:
        for kind, method, window_s in self.policy.rates_needed:
            if method == b"*" or method == message.method:
                self._rates.add(kind, subject.rate_key(kind), method, window_s)

    def _learns(self, now: Moment) -> bool:
        unknown = self.policy.on_unknown_dialog
        if not self._learning or unknown.action != "learn":
            return False
        return now.monotonic_s - self.started_at_s <= unknown.duration_s

    def _learns_responses(self, now: Moment) -> bool:
        """Whether a response may answer a request from before the start; no longer than timer B."""
        return self._learns(now) and now.monotonic_s - self.started_at_s <= LINGER_S

    def _records_all(self, method: bytes) -> bool:
        return self.policy.record == "all" and method == b"INVITE"

    def _tell(
        self,
        packet: Packet,
        message: Message | None,
        judgement: Judgement,
        action: Action,
        now: Moment,
        findings: Sequence[Finding] = (),
        stand: Stand | None = None,
        streams: tuple[Stream, ...] = (),
        noted: tuple[Rule, ...] = (),
    ) -> None:
        if self._record is None:
            return
        self._record(
            observation_of(
                packet,
                message,
                judgement,
                action,
                self.policy.mode,
                now,
                findings=tuple(findings),
                dialog=None if stand is None else stand.dialog,
                streams=streams,
                noted=noted,
            )
        )

    def _tell_of_blocked_media(
        self, packet: Packet, message: Message, outcome: Outcome, stand: Stand, now: Moment
    ) -> None:
        """A call that is let through without its media must be explained as well."""
        if self._record is None or message.status >= 300:
            return
        stream = blocked_stream(outcome)
        if stream is None:
            return
        judgement = Judgement(_ACCEPT, stream.reason, "media", detail=stream.detail, log=True)
        self._tell(
            packet, message, judgement, _ACCEPT, now, outcome.findings, stand, outcome.streams
        )


def _judgement_of(ruling: Ruling, finding: Finding | None) -> Judgement:
    rule = ruling.rule
    action = _ACTIONS[ruling.action]
    if finding is not None:
        reason, detail, octets = finding
    else:
        reason = Reason.ACCEPTED if action is _ACCEPT else Reason.REFUSED_BY_RULE
        detail, octets = "", b""
    return Judgement(
        action,
        reason,
        rule.name,
        rule.place,
        detail,
        rule.status,
        rule.phrase,
        octets,
        rule.log,
        rule.alarm,
        rule.shadow,
    )

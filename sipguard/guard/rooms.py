"""What the guard's parts share: the rooms below, the policy in force, one message's case."""

from collections.abc import Callable, Sequence
from typing import Final

from sipguard.calls.book import Book
from sipguard.calls.sec_agree import Agreements
from sipguard.calls.sips import Sips
from sipguard.calls.standing import Stand
from sipguard.calls.transaction import LINGER_S
from sipguard.evidence import Evidence
from sipguard.guard.negotiation import Negotiator, relayed
from sipguard.guard.verifiers import Remembered, Verifiers, digest_settings, nobody
from sipguard.identity.digest import Digests
from sipguard.identity.downgrade import Downgrades
from sipguard.journal.observation import Observation
from sipguard.media.keys import ProofTerms
from sipguard.media.sessions import Outcome, Sessions, Step
from sipguard.moment import Moment
from sipguard.policy.exemptions import NO_EXEMPTIONS
from sipguard.policy.rules import Policy, Ruling
from sipguard.policy.subject import Subject
from sipguard.rates import Rates
from sipguard.reason import Finding, Reason
from sipguard.refusal import Refuser
from sipguard.replay import Memory
from sipguard.verdict import Action, Judgement
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message

MAX_TRANSACTIONS: Final = 400_000
UNCOUNTED: Final = 64  # messages of a call, or answers to a request, before is_flooded counts
BUSIEST_CALL: Final = 100  # messages a second: keys pressed fast, both ways, over two legs, is 40

_ACTIONS = {"accept": Action.ACCEPT, "drop": Action.DROP, "reject": Action.REJECT}

Recorder = Callable[[Observation], None]


class Rooms:
    """Everything that outlives one packet. Only the policy is ever replaced, with its verifiers."""

    def __init__(
        self, policy: Policy, secret: bytes, record: Recorder | None, learning: bool
    ) -> None:
        self.policy = policy
        self.overloaded = False
        self.exemptions = NO_EXEMPTIONS
        self.passed_by_exception = 0
        self.muted = 0
        self.last_chance = False  # proofs may not wait: the verdict is due now
        self.again = False  # the message was held, and was counted when it came
        self.record = record
        self.started_at_s = -1.0  # set by the first packet or tick
        self.rates = Rates()
        self.memory = Memory(policy.replay_window_s)
        self.digests = Digests()
        self.downgrades = Downgrades()
        self.sips = Sips()
        self.agreements = Agreements()
        self.refuser = Refuser(secret)
        self.book = Book(
            max_dialogs=policy.max_dialogs,
            max_transactions=MAX_TRANSACTIONS,
            session_limit_s=policy.session_limit_s,
        )
        self.negotiator = Negotiator(
            Sessions(
                max_calls=policy.max_dialogs,
                max_holes=policy.max_pinholes,
                max_holes_per_call=policy.max_pinholes_per_call,
                max_holes_per_peer=policy.max_pinholes_per_peer,
            )
        )
        self.negotiator.sessions.gate.terms = proof_terms(policy)
        self.remembered = Remembered()
        self.verifiers = Verifiers(policy, self.remembered)
        self.digests.configure(digest_settings(policy))
        self._trust_keys()
        self._learning = learning

    def adopt(self, policy: Policy) -> None:
        """Judge by another policy; everything that was seen and proven outlives it."""
        self.verifiers = Verifiers(policy, self.remembered)
        self.digests.configure(digest_settings(policy))
        self._trust_keys()
        self.negotiator.sessions.gate.terms = proof_terms(policy)
        self.memory.keep_for(policy.replay_window_s)
        self.policy = policy

    def _trust_keys(self) -> None:
        verifiers = self.verifiers
        self.negotiator.sessions.checks.trust_in(verifiers.keys, verifiers.keys_skew_s)

    def set_time(self, now: Moment) -> None:
        """Let the rooms that count by time know it."""
        if self.started_at_s < 0:
            self.started_at_s = now.monotonic_s
        self.rates.at(now.monotonic_s)

    def observe(self, case: "Case", step: Step) -> Outcome:
        """Advance the call's offer and answer with an accepted message.

        That it was accepted is written down by now, so no rule of the media
        chain can put it on hold any more.
        """
        waited = self.last_chance
        self.last_chance = True
        try:
            outcome = self.negotiator.observe(self.policy, step, case.subject, case.now)
        finally:
            self.last_chance = waited
        if outcome.streams and self.verifiers.is_relay is not nobody:
            outcome.findings += relayed(outcome.streams, self.verifiers.is_relay)
        return outcome

    def is_flooded(self, seen: int, ids: Ids, source: bytes) -> bool:
        """Whether one end of a call sends more in a second than a call needs.

        Rules count what begins something new. What belongs to a call passes
        without them, and a flood could hide there. Counted for each end, so that
        no end can drown the BYE of the other. Most calls
        are over before they are counted.
        """
        if seen <= UNCOUNTED:
            return False
        key = ids.call_id + source
        self.rates.add("call", key, b"*", 1)
        return self.rates.count("call", key, b"*", 1) > BUSIEST_CALL

    def learns(self, now: Moment) -> bool:
        """Whether calls from before the start may still be taken for known."""
        unknown = self.policy.on_unknown_dialog
        if not self._learning or unknown.action != "learn":
            return False
        return now.monotonic_s - self.started_at_s <= unknown.duration_s

    def learns_responses(self, now: Moment) -> bool:
        """Whether a response may answer a request from before the start; no longer than timer B."""
        return self.learns(now) and now.monotonic_s - self.started_at_s <= LINGER_S


def proof_terms(policy: Policy) -> ProofTerms:
    """Return what a policy says of proofs by media packets."""
    within_s = policy.proof_within_s
    return ProofTerms(float(within_s), policy.hidden_dtls_ok, float(policy.zrtp_grace_s))


class Case:
    """One SIP message under judgement, with what was found out so far."""

    __slots__ = (
        "digest", "findings", "ids", "is_sips", "message", "now", "packet", "retry", "stand",
        "subject",
    )  # fmt: skip

    def __init__(
        self, packet: Packet, message: Message, ids: Ids, stand: Stand, subject: Subject
    ) -> None:
        self.packet = packet
        self.message = message
        self.ids = ids
        self.stand = stand
        self.subject = subject
        self.now = subject.now
        self.findings: Sequence[Finding] = message.findings
        self.digest: Evidence | None = None  # until the credentials are examined
        self.is_sips = False  # a request whose Request-URI is SIPS
        self.retry = False  # a fork, a spiral or an honest second try of a known request

    def add(self, finding: Finding) -> None:
        """Add what a room above the parser found; rules may ask about it."""
        self.findings = self.subject.findings = [*self.findings, finding]


def findings_of(case: Case, outcome: Outcome) -> tuple[Finding, ...]:
    """Return everything found on a message, by the media room as well; usually nothing."""
    known = case.findings
    if known or outcome.findings:
        # What was found on an offer is known since the media chain judged it.
        return (*known, *[finding for finding in outcome.findings if finding not in known])
    return ()


def judgement_of(ruling: Ruling, finding: Finding | None = None) -> Judgement:
    """Return a rule's word as a judgement, with the finding that made it speak as the reason."""
    if finding is not None:
        return _judgement_of(ruling, finding)
    judgement = ruling.judgement
    if judgement is None:  # rules never change, so one for each will do
        judgement = ruling.judgement = _judgement_of(ruling, None)
    return judgement


def _judgement_of(ruling: Ruling, finding: Finding | None) -> Judgement:
    rule = ruling.rule
    action = _ACTIONS[ruling.action]
    if finding is not None:
        reason, detail, octets = finding
    else:
        reason = Reason.ACCEPTED if action is Action.ACCEPT else Reason.REFUSED_BY_RULE
        detail, octets = "", b""
    return Judgement(
        action,
        reason,
        rule.name,
        rule.place,
        detail,
        rule.status,  # 0 for a plain reject: the conclusion asks the finding
        rule.phrase,
        octets,
        rule.log,
        rule.alarm,
        rule.shadow,
    )

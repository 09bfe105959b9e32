"""The proofs of one message: each is verified when a rule first asks for it, and then once."""

from typing import Final

from sipguard.evidence import Evidence, State
from sipguard.guard.credentials import digest_of
from sipguard.guard.rooms import Case, Rooms
from sipguard.identity.aib import Aib
from sipguard.identity.signed import is_encrypted
from sipguard.identity.signed_body import SignedBodies
from sipguard.identity.stir import Stir
from sipguard.media.sessions import Stream
from sipguard.policy.rules import Ruling
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import network_of

_NOT_SET_UP: Final = Evidence(State.UNKNOWN, Finding(Reason.NOT_SET_UP, "there is no trust line"))
_SPENT: Final = Evidence(State.UNKNOWN, Finding(Reason.SIGNATURE_BUDGET))
_ENCRYPTED: Final = Evidence(State.UNKNOWN, Finding(Reason.ENCRYPTED_BODY))
_SPENT_ENCRYPTED: Final = Evidence(
    State.UNKNOWN,
    Finding(Reason.SIGNATURE_BUDGET),
    notes=(Finding(Reason.ENCRYPTED_BODY),),
)
_BLAME: Final = {State.VALID: 0, State.ABSENT: 1, State.UNKNOWN: 2, State.FAILED: 3}


class CaseProofs:
    """What identity says about one message; ``policy.subject.Proofs`` for its rules."""

    __slots__ = ("_case", "_found", "_is_over", "_rooms")

    def __init__(self, rooms: Rooms, case: Case) -> None:
        self._rooms = rooms
        self._case = case
        self._found: dict[str, Evidence] = {}
        self._is_over: bool | None = None

    @property
    def asked(self) -> tuple[tuple[str, Evidence], ...]:
        """Every proof that a rule asked for, with what came of it."""
        return tuple(self._found.items())

    def aib(self) -> Evidence:
        """Return what the Authenticated Identity Body proves."""
        found = self._found.get("aib")
        if found is None:
            aib = self._rooms.verifiers.aib
            found = self._found["aib"] = _NOT_SET_UP if aib is None else self._ask_aib(aib)
        return found

    def smime(self) -> Evidence:
        """Return what signed bodies prove about the session description."""
        found = self._found.get("smime")
        if found is None:
            bodies = self._rooms.verifiers.bodies
            found = self._found["smime"] = (
                self._look_at_body() if bodies is None else self._ask_bodies(bodies)
            )
        return found

    def stir(self) -> Evidence:
        """Return what the PASSporTs prove; may raise ``Awaited``."""
        found = self._found.get("stir")
        if found is None:
            stir = self._rooms.verifiers.stir
            found = self._found["stir"] = _NOT_SET_UP if stir is None else self._ask_stir(stir)
        return found

    def digest(self) -> Evidence:
        """Return what the digest credentials prove."""
        found = self._found.get("digest")
        if found is None:
            found = self._found["digest"] = digest_of(self._rooms, self._case)
        return found

    def _ask_aib(self, aib: Aib) -> Evidence:
        if self._is_spent():
            return _SPENT
        case = self._case
        return self._weighed(
            aib.examine(
                case.message,
                case.ids,
                case.packet,
                case.now,
                in_dialog=case.subject.dialog_known,
                retry=case.retry,
            )
        )

    def _ask_bodies(self, bodies: SignedBodies) -> Evidence:
        if self._is_spent():
            # What is encrypted shows without any arithmetic, and stays a rule's business;
            # a request that is dropped for the budget has no rule.
            return _SPENT_ENCRYPTED if not self._drops() and self._is_encrypted() else _SPENT
        case, relays = self._case, self._rooms.verifiers.is_relay
        return self._weighed(bodies.examine(case.message, case.ids, case.packet, case.now, relays))

    def _look_at_body(self) -> Evidence:
        """Without anybody to trust, it can still be said that nobody can read it (SMI-32)."""
        return _ENCRYPTED if self._is_encrypted() else _NOT_SET_UP

    def _is_encrypted(self) -> bool:
        message = self._case.message
        content_type = message.header(b"content-type") or b""
        return bool(message.body) and is_encrypted(content_type, message.body)

    def _ask_stir(self, stir: Stir) -> Evidence:
        if self._is_spent():
            return _SPENT
        case = self._case
        return self._weighed(
            stir.examine(
                case.message,
                case.ids,
                case.packet,
                case.now,
                patient=not self._rooms.last_chance,
                retry=case.retry,
                in_dialog=case.subject.dialog_known,
            )
        )

    def _is_spent(self) -> bool:
        """Whether this source sent so much that failed that nothing of it is verified for now.

        Asked once for a message: its own first failure leaves its other proofs their answer.
        """
        if self._is_over is None:
            self._is_over = is_over_budget(self._rooms, self._case)
        return self._is_over

    def _drops(self) -> bool:
        return self._case.message.is_request and drops_spent(self._rooms)

    def _weighed(self, evidence: Evidence) -> Evidence:
        """Count a failure against its source: what is honest costs no budget."""
        if evidence.state is State.FAILED:
            count_failure(self._rooms, self._case)
        return evidence


def is_over_budget(rooms: Rooms, case: Case) -> bool:
    """Whether a source sent so much that failed that nothing of it is verified for now."""
    limit, window_s = rooms.policy.signature_budget
    return rooms.rates.count("signature", network_of(case.packet.src), b"*", window_s) >= limit


def drops_spent(rooms: Rooms) -> bool:
    """Whether requests of a source over its budget are dropped, whatever the rules say."""
    return rooms.policy.signature_budget_action == "drop"


def count_failure(rooms: Rooms, case: Case) -> None:
    """Count what failed against its source."""
    _, window_s = rooms.policy.signature_budget
    rooms.rates.add("signature", network_of(case.packet.src), b"*", window_s)


def blamed(case: Case, ruling: Ruling) -> Finding | None:
    """Return why a rule that asked for proofs did not like them: the worst it was told."""
    if not ruling.rule.identity or ruling.action == "accept":
        return None
    worst, finding = 0, None
    for kind, evidence in case.subject.proofs.asked:
        rank = _BLAME[evidence.state]
        if rank > worst and kind in ruling.rule.identity and evidence.finding is not None:
            worst, finding = rank, evidence.finding
    return finding


def blamed_key(ruling: Ruling, stream: Stream) -> Finding | None:
    """Return why a rule did not like a stream: it has no key, or MIKEY's is not proven."""
    if not stream.keyed:
        return Finding(stream.reason, stream.detail)
    if ruling.rule.asks_mikey and stream.findings:
        return stream.findings[0]
    return None


def is_spent(case: Case) -> bool:
    """Whether a rule asked for what was not verified, because of so many that failed before."""
    return any(
        evidence is _SPENT or evidence is _SPENT_ENCRYPTED
        for _, evidence in case.subject.proofs.asked
    )

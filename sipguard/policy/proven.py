"""What fields read from proofs; each is verified when the first rule asks, and not before.

What a signature says counts only where it is valid: a forged PASSporT may claim attestation A,
and a rule ``stir.attest in {A B}`` must not see it.
"""

from collections.abc import Callable
from typing import Final

from sipguard.evidence import Evidence, State
from sipguard.policy.subject import Subject
from sipguard.reason import Reason

Prove = Callable[[Subject], Evidence]

_DIGEST_REPLAYS: Final = frozenset({Reason.DIGEST_REPLAY, Reason.DIGEST_COUNT})
_NOT_VALID: Final = {
    State.ABSENT: b"absent",
    State.FAILED: b"failed",
    State.UNKNOWN: b"unknown",
}
_KINDS: Final = {
    Reason.REPLAY: b"changed",
    Reason.BRANCH_COLLISION: b"changed",
    Reason.OLD_CSEQ: b"changed",
    Reason.REPLAY_AFTER_END: b"ended",
    Reason.DIGEST_REPLAY: b"digest",
    Reason.DIGEST_COUNT: b"digest",
}


def is_state(prove: Prove, state: State) -> Callable[[Subject], bool]:
    """Return a test of the state of one kind of proof."""
    return lambda subject: prove(subject).state is state


def signer(prove: Prove) -> Callable[[Subject], bytes | None]:
    """Return what reads the signer of one kind of proof; unknown unless it is valid."""
    return lambda subject: _if_valid(prove(subject), prove(subject).signer)


def covers(prove: Prove) -> Callable[[Subject], tuple[bytes, ...]]:
    """Return what reads what a valid proof speaks for: header names, ``sdp``, ``body``."""

    def read(subject: Subject) -> tuple[bytes, ...]:
        evidence = prove(subject)
        return evidence.covers if evidence.state is State.VALID else ()

    return read


def attest(subject: Subject) -> bytes | None:
    """Return the attestation of a valid PASSporT (RFC 8588)."""
    evidence = subject.proofs.stir()
    return _if_valid(evidence, evidence.attest)


def orig(subject: Subject) -> bytes | None:
    """Return the originating identity of a valid PASSporT."""
    evidence = subject.proofs.stir()
    return _if_valid(evidence, evidence.orig)


def _if_valid(evidence: Evidence, text: bytes) -> bytes | None:
    return text if text and evidence.state is State.VALID else None


def smime_sdp(subject: Subject) -> bytes:
    """Return what signed bodies say about the session description, in one word (SMI-35).

    ``absent``: nothing signed speaks for it, be there a valid signature of something else.
    """
    evidence = subject.proofs.smime()
    if evidence.state is not State.VALID:
        return _NOT_VALID[evidence.state]
    if b"sdp" not in evidence.covers:
        return b"absent"
    relayed = any(note.reason is Reason.SDP_RELAYED for note in evidence.notes)
    return b"relayed" if relayed else b"valid"


def is_encrypted(subject: Subject) -> bool:
    """Whether the body is encrypted, so that nobody here can read its session (SMI-32)."""
    evidence = subject.proofs.smime()
    if _is(evidence, Reason.ENCRYPTED_BODY):
        return True
    return any(note.reason is Reason.ENCRYPTED_BODY for note in evidence.notes)


def is_digest_replayed(subject: Subject) -> bool:
    """Whether the credentials are those of another request (DIG-23, DIG-24)."""
    finding = subject.proofs.digest().finding
    return finding is not None and finding.reason in _DIGEST_REPLAYS


def replay_kind(subject: Subject) -> bytes:
    """Return what is used again, in one word: what the guard knows first, then the signatures."""
    if subject.replay_kind:
        return subject.replay_kind
    if subject.replay:
        for finding in subject.findings:
            kind = _KINDS.get(finding.reason)
            if kind is not None:
                return kind
    if _is(subject.proofs.aib(), Reason.AIB_REPLAY):
        return b"aib"
    if _is(subject.proofs.stir(), Reason.PASSPORT_REPLAY):
        return b"stir"
    return b"none"


def _is(evidence: Evidence, reason: Reason) -> bool:
    return evidence.finding is not None and evidence.finding.reason is reason

"""What each kind of proof said about one message, as JSON values for its record."""

from typing import Final

from sipguard.evidence import Evidence
from sipguard.journal.escape import safe_text
from sipguard.journal.shown import in_words, quoted, shown
from sipguard.reason import Finding

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Proofs = tuple[tuple[str, Evidence], ...]  # ``aib``, ``smime``, ``stir`` or ``digest``

MAX_COVERED: Final = 32
MAX_NOTES: Final = 8
_FEWEST_BLANKS: Final = 2  # of a detail that is a sentence and not a word or two


def proofs_json(proofs: Proofs, traces: frozenset[bytes] | None) -> dict[str, Json]:
    """Return those that were asked for, by kind."""
    return {safe_text(kind): _proof_json(kind, proof, traces) for kind, proof in proofs}


def findings_in(proofs: Proofs) -> list[Finding]:
    """Return every finding that quotes a peer's octets."""
    found = [proof.finding for _, proof in proofs if proof.finding is not None]
    return found + [note for _, proof in proofs for note in proof.notes[:MAX_NOTES]]


def _proof_json(kind: str, proof: Evidence, traces: frozenset[bytes] | None) -> dict[str, Json]:
    finding = proof.finding
    told: dict[str, Json] = {"state": proof.state.value, "signer": shown(proof.signer)}
    if kind == "stir":
        told["attest"], told["orig"] = shown(proof.attest), shown(proof.orig)
    told["covers"] = [shown(name) for name in proof.covers[:MAX_COVERED]]
    told["reason"] = finding.reason.value if finding else ""
    told["rule"] = finding.rule if finding else ""
    told["why"] = because(finding) if finding else ""
    told["octets"] = quoted(finding.octets, traces) if finding else ""
    told["notes"] = [
        {
            "rule": note.rule,
            "reason": note.reason.value,
            "why": because(note),
            "octets": quoted(note.octets, traces),
        }
        for note in proof.notes[:MAX_NOTES]
    ]
    return told


def because(finding: Finding) -> str:
    """Return a finding as a sentence: its detail if that is one, else its reason with the detail.

    A detail names what a peer wrote, and so it is masked like everything else.
    """
    detail = in_words(finding.detail)
    if not detail:
        return finding.reason.sentence
    if detail[0].isupper() and detail.count(" ") >= _FEWEST_BLANKS:
        return detail if detail.endswith(".") else f"{detail}."
    return f"{finding.reason.sentence} ({detail})"

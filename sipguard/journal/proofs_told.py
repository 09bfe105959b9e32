"""A record's proofs as sentences: state, why, who signed, and what the signature speaks for."""

from collections.abc import Iterator
from typing import Final

from sipguard.journal import told

_NAMES: Final = {"aib": "AIB", "smime": "S/MIME", "stir": "STIR", "digest": "Digest"}
_PARTS: Final = {"sdp": "the session description", "body": "the body"}
_HEADERS: Final = {"call-id": "Call-ID", "cseq": "CSeq", "www-authenticate": "WWW-Authenticate"}


def tell_proofs(record: told.Told) -> Iterator[str]:
    """Yield a line or more for each proof that was asked for."""
    identity = told.part(record, "identity")
    for kind, name in _NAMES.items():
        proof = told.part(identity, kind)
        if proof:
            yield _sentence(name, proof)
            yield from _details(proof)
        elif text := told.text(identity, kind):  # records of version 0.1 have a word
            yield f"{name}: {text}"


def _sentence(name: str, proof: told.Told) -> str:
    """Return ``AIB: failed: From says ...``, or ``AIB: valid: signed by ...``."""
    state, why = told.text(proof, "state"), told.text(proof, "why")
    if why:
        return f"{name}: {state}: {why}"
    signer = told.text(proof, "signer")
    return f"{name}: {state}: signed by {signer}" if signer else f"{name}: {state}"


def _details(proof: told.Told) -> Iterator[str]:
    is_valid = told.text(proof, "state") == "valid"
    signer, why = told.text(proof, "signer"), told.text(proof, "why")
    if signer and why:
        yield f"  signed by {signer}" if is_valid else f"  signer: {signer}"
    attest, orig = told.text(proof, "attest"), told.text(proof, "orig")
    if attest or orig:
        claim = f"attestation {attest}" if attest else "no attestation"
        yield f"  {claim}{f' for {orig}' if orig else ''}"
    covers = _covers(proof)
    if covers:
        yield f"  {'covers' if is_valid else 'would cover'} {covers}"
    for note in told.parts(proof, "notes"):
        yield f"  note: {told.text(note, 'why')}"


def _covers(proof: told.Told) -> str:
    """Return ``From, To, Date; not the session description``."""
    listed = proof.get("covers")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    if not names:
        return ""
    shown = ", ".join(_PARTS.get(name) or _HEADERS.get(name) or name.title() for name in names)
    if "sdp" in names or "body" in names:
        return shown
    return f"{shown}; not the session description"

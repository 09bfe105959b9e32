"""What a refusal for identity says: its code, its phrase, and which header was wrong.

RFC 8224 section 6.2.2 has codes and phrases of its own, RFC 9410 a Reason for
each Identity header of several. For an AIB the codes are used by analogy, where
the policy says so (AIB-15).
"""

from typing import Final

from sipguard.evidence import Evidence
from sipguard.reason import Finding, Reason
from sipguard.refusal import PHRASES
from sipguard.verdict import Judgement

# Codes of RFC 8224 mean the Identity header; for an AIB they are by analogy, and a choice.
_FAMILY: Final = frozenset({428, 436, 437, 438})
_IDENTITY: Final = frozenset({"AIB", "SMI", "CERT", "STI"})
_STALE: Final = frozenset({Reason.AIB_STALE, Reason.PASSPORT_STALE})
_STALE_DATE: Final = "Stale Date"
# RFC 5630 section 5.1.2 has no codes of its own for these, but a warning beside 480.
_SIPS_REQUIRED: Final = "SIPS Required"
_WARNINGS: Final = {
    "sips not allowed": b'Warning: 380 sipguard "SIPS Not Allowed"\r\n',
    "sips required": b'Warning: 381 sipguard "SIPS Required"\r\n',
}
# Where the code's usual phrase says less.
_CLOSER: Final = {
    Reason.UNSUPPORTED_PASSPORT: "Use Supported PASSporT Format",
    Reason.PASSPORT_CLAIMS: "Invalid PASSporT",
}


class Codes:
    """The codes that the policy chose: ``strict``, or ``identity`` for those of RFC 8224."""

    def __init__(self) -> None:
        self.aib = "strict"
        self.stir = "identity"

    def status_of(self, reason: Reason) -> int:
        """Return what a plain ``reject`` answers (AIB-15; RFC 8224 section 6.2.2)."""
        status = reason.status
        if _room_of(reason) not in _IDENTITY:
            return status or 403
        if not self._is_family(reason):
            return 403 if status in _FAMILY else status or 403
        if status == 403:
            return 403 if reason in _STALE else 438
        return status or 403

    def phrase_of(self, reason: Reason, status: int) -> str:
        """Return the phrase of RFC 8224 where the code's usual one is another, else ``""``."""
        if status == 480 and reason.rule == "TLS-3":
            return _SIPS_REQUIRED
        if not self._is_family(reason):
            return ""
        if status == 403:
            return _STALE_DATE if reason in _STALE else ""
        return _CLOSER.get(reason, "") if status == reason.status else ""

    def reasons_of(self, evidence: Evidence, judgement: Judgement) -> bytes:
        """Return one Reason header for each Identity header that failed (STI-19).

        Nothing where the request is refused for something else, where one header was
        all it had, or where the policy's codes tell as little as they can.
        """
        finding = evidence.finding
        if self.stir != "identity" or finding is None:
            return b""
        if (judgement.reason, judgement.detail) != (finding.reason, finding.detail):
            return b""
        lines = [_reason_header(header, why) for header, why in evidence.failures]
        return b"".join(dict.fromkeys(lines))

    def _is_family(self, reason: Reason) -> bool:
        room = _room_of(reason)
        codes = self.stir if room == "STI" else self.aib
        return room in _IDENTITY and codes == "identity"


def warning_of(judgement: Judgement) -> bytes:
    """Return the Warning header that belongs to a 480 with one of RFC 5630's phrases (TLS-4)."""
    return _WARNINGS.get(judgement.phrase.lower(), b"") if judgement.status == 480 else b""


def _room_of(reason: Reason) -> str:
    return reason.rule.partition("-")[0]


def _reason_header(header: bytes, why: Finding) -> bytes:
    """Return ``Reason: STIR ...``; *header* is the token in compact form, or empty."""
    reason = why.reason
    if reason in _STALE:
        cause, text = 403, _STALE_DATE
    else:
        cause = reason.status if reason.status in _FAMILY else 438
        text = PHRASES[cause]
    line = b'Reason: STIR ;cause=%d ;text="%b"' % (cause, text.encode("ascii"))
    return line + (b' ;ppi="%b"\r\n' % header if header else b"\r\n")

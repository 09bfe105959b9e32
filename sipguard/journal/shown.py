"""One piece of a peer's octets as text: masked first, then escaped and capped."""

from typing import Final

from sipguard.journal.escape import escape_capped, safe_text
from sipguard.journal.masking import mask, mask_quotation

FIELD_OCTETS: Final = 256  # of one header value; a terminal line or two
QUOTED_OCTETS: Final = 128  # of the offending octets, as HostileInput caps them


def shown(octets: bytes) -> str:
    """Mask, then escape: the other order would hide a key's name from the mask."""
    if not octets:
        return ""
    capped = octets[: FIELD_OCTETS * 2]
    return escape_capped(mask(capped, cut=len(capped) < len(octets)), FIELD_OCTETS)


def quoted(octets: bytes, traces: frozenset[bytes] | None) -> str:
    """Return offending octets; *traces* tell which of them are part of the message's secrets."""
    return escape_capped(mask_quotation(octets, traces), QUOTED_OCTETS) if octets else ""


def in_words(text: str) -> str:
    """Return a sentence of our own that may name what a peer wrote, masked and escaped."""
    return safe_text(mask(text.encode("utf-8", "replace")).decode("utf-8", "replace"))

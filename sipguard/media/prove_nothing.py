"""Streams of which the policy asks no proof: ``open ... unproven``."""

from typing import Final

from sipguard.media.proof import PASSES, PROVES, Flight, Prover, Sight, Word
from sipguard.reason import Finding, Reason
from sipguard.wire.rtp import Kind, kind_of

_MEDIA: Final = frozenset((Kind.RTP, Kind.RTCP))
_STRANGE: Final = Sight(Word.REFUSE, Finding(Reason.UNKNOWN_MEDIA))


class Unproven(Prover):
    """Takes what looks like RTP for proven, and lets handshakes pass."""

    def see(self, flight: Flight) -> Sight:
        """Tell media from handshakes, and both from anything else (DTL-7)."""
        kind = kind_of(flight.payload)
        if kind in _MEDIA:
            return PROVES
        return _STRANGE if kind is Kind.OTHER or kind is Kind.TURN_CHANNEL else PASSES

    def sample(self, flight: Flight) -> Sight:
        """Ask nothing of copies either."""
        return PASSES

    def told(self, by_caller: bool) -> str:
        """Say why nothing was proven."""
        return "no proof was asked for: the policy says unproven"

    def wipe(self) -> None:
        """Have nothing to forget."""

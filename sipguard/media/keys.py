"""What a stream was keyed with: no more than its packets must be held against.

Kept for each running call, so small; a prover is made of it when the first packet comes.
"""

from typing import final

from sipguard.media.proof import Prover
from sipguard.wire.sdp import Media


@final
class ProofTerms:
    """What the policy says of proofs.

    ``within_s``: how long a stream may prove nothing; ``hides_ok``: whether a handshake
    that hides its certificates (DTLS 1.3) will do; ``grace_s``: how long ZRTP may go on
    in clear.
    """

    __slots__ = ("grace_s", "hides_ok", "within_s")

    def __init__(
        self, within_s: float = 10.0, hides_ok: bool = False, grace_s: float = 0.0
    ) -> None:
        self.within_s = within_s
        self.hides_ok = hides_ok
        self.grace_s = grace_s


class Keys:
    """The negotiated keys of one line. Subclasses have no ``repr`` that would show them."""

    __slots__ = ("kind", "method", "suite")

    def __init__(self, kind: bytes, method: bytes, suite: bytes) -> None:
        self.kind = kind  # of media: audio, video
        self.method = method
        self.suite = suite

    def prover(self, terms: ProofTerms) -> Prover:
        """Return what holds the stream's packets against these keys."""
        raise NotImplementedError

    def same_as(self, other: "Keys") -> bool:
        """Report whether a stream that was proven under *other* is proven under these."""
        raise NotImplementedError

    def goes_on_with(self, offer: Media, by_caller: bool) -> bool:
        """Report whether an offer in the running call keeps to this method and to its peers."""
        raise NotImplementedError

    def same_peer(self, other: "Keys") -> bool:
        """Report whether nothing says that other ends than before hold these keys."""
        return True

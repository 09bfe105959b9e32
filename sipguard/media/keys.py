"""What a stream was keyed with: no more than its packets must be held against.

Kept for each running call, so small; a prover is made of it when the first packet comes.
Nothing here has a ``repr`` that would show a key.
"""

from typing import Final, final

from sipguard.media.appearance import Appearance
from sipguard.media.methods import DTLS, MIKEY, SDES, ZRTP
from sipguard.media.proof import Prover
from sipguard.media.prove_dtls import DtlsProver, caller_is_active
from sipguard.media.prove_mikey import MikeyProver, MikeySide
from sipguard.media.prove_sdes import SdesProver, SdesTerms
from sipguard.media.prove_zrtp import ZrtpProver
from sipguard.media.suites import overwrite
from sipguard.native import mypyc_attr
from sipguard.wire.candidate import Ice
from sipguard.wire.sdp import Fingerprint, Media

_NO_LOOKS: Final = Appearance(bytes(128))
Prints = tuple[Fingerprint, ...]


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


@mypyc_attr(allow_interpreted_subclasses=True)
class Keys:
    """The negotiated keys of one line, and its ICE credentials, caller's first."""

    __slots__ = ("ice", "kind", "looks", "method", "suite", "unproven", "users")

    def __init__(
        self, kind: bytes, method: bytes, suite: bytes = b"", looks: Appearance = _NO_LOOKS
    ) -> None:
        self.kind = kind  # of media: audio, video
        self.method = method
        self.suite = suite
        self.looks = looks  # of the negotiated formats
        self.ice: tuple[Ice, Ice] | None = None
        self.unproven = False  # the policy asks no proof of this stream
        self.users = 1  # lines with these keys; the last one to end wipes them

    def prover(self, terms: ProofTerms) -> Prover:
        """Return what holds the stream's packets against these keys."""
        raise NotImplementedError

    def same_as(self, other: "Keys") -> bool:
        """Report whether a stream that was proven under *other* is proven under these."""
        raise NotImplementedError

    def goes_on_with(self, offer: Media, by_caller: bool) -> bool:
        """Report whether an offer in the running call keeps to this method and to its peers."""
        raise NotImplementedError

    def same_peers(self, before: "Keys") -> bool:
        """Report whether nothing says that other ends than *before* hold these keys."""
        return True

    def same_ice(self, other: "Keys") -> bool:
        """Report whether checks under *other* count under these."""
        if self.ice is None or other.ice is None:
            return self.ice is other.ice
        caller, callee = self.ice
        others, theirs = other.ice
        return not (caller.is_restart_of(others) or callee.is_restart_of(theirs))

    def release(self) -> None:
        """Forget the keys with their last line (SRT-10)."""
        self.users -= 1
        if self.users == 0:
            self._wipe()

    def _wipe(self) -> None:
        """Overwrite what can be overwritten."""


@final
class SdesKeys(Keys):
    """Keys of ``a=crypto`` lines."""

    __slots__ = ("terms",)

    def __init__(self, kind: bytes, suite: bytes, terms: SdesTerms) -> None:
        super().__init__(kind, SDES, suite, terms.looks)
        self.terms = terms

    def prover(self, terms: ProofTerms) -> Prover:
        """Return what verifies tags."""
        return SdesProver(self.terms)

    def same_as(self, other: Keys) -> bool:
        """Compare suite and secrets."""
        if not isinstance(other, SdesKeys):
            return False
        mine, theirs = self.terms, other.terms
        return self.suite == other.suite and mine.secrets == theirs.secrets

    def goes_on_with(self, offer: Media, by_caller: bool) -> bool:
        """Report whether a key is offered in the same way."""
        return any(crypto.problem is None for crypto in offer.cryptos)

    def _wipe(self) -> None:
        overwrite(self.terms.secrets)


@final
class DtlsKeys(Keys):
    """Fingerprints and roles of a DTLS handshake."""

    __slots__ = ("callee_prints", "callee_setup", "caller_prints", "caller_setup")

    def __init__(
        self,
        kind: bytes,
        caller_prints: Prints,
        callee_prints: Prints,
        caller_setup: bytes,
        callee_setup: bytes,
        looks: Appearance,
    ) -> None:
        super().__init__(kind, DTLS, b"", looks)
        self.caller_prints = caller_prints
        self.callee_prints = callee_prints
        self.caller_setup = caller_setup
        self.callee_setup = callee_setup

    def prover(self, terms: ProofTerms) -> Prover:
        """Return what watches the handshake."""
        return DtlsProver(
            self.caller_prints,
            self.callee_prints,
            self.caller_setup,
            self.callee_setup,
            terms.hides_ok,
            self.looks,
        )

    def same_as(self, other: Keys) -> bool:
        """Compare certificates, and who begins: other roles are another association (DTL-3)."""
        return (
            isinstance(other, DtlsKeys)
            and self.caller_prints == other.caller_prints
            and self.callee_prints == other.callee_prints
            and self._caller_is_active() == other._caller_is_active()
        )

    def _caller_is_active(self) -> bool:
        return caller_is_active(self.caller_setup, self.callee_setup)

    def goes_on_with(self, offer: Media, by_caller: bool) -> bool:
        """Report whether the offerer keeps to a certificate of his."""
        own = self.caller_prints if by_caller else self.callee_prints
        return _share(own, offer.fingerprints)

    def same_peers(self, before: Keys) -> bool:
        """Report whether both sides keep to a certificate of theirs."""
        return (
            isinstance(before, DtlsKeys)
            and _share(self.caller_prints, before.caller_prints)
            and _share(self.callee_prints, before.callee_prints)
        )


@final
class ZrtpKeys(Keys):
    """Hashes of the Hellos that a ZRTP exchange begins with."""

    __slots__ = ("callee_hashes", "caller_hashes")

    def __init__(
        self,
        kind: bytes,
        caller_hashes: tuple[bytes, ...],
        callee_hashes: tuple[bytes, ...],
        looks: Appearance,
    ) -> None:
        super().__init__(kind, ZRTP, b"", looks)
        self.caller_hashes = caller_hashes
        self.callee_hashes = callee_hashes

    def prover(self, terms: ProofTerms) -> Prover:
        """Return what watches the exchange."""
        return ZrtpProver(self.caller_hashes, self.callee_hashes, self.looks, terms.grace_s)

    def same_as(self, other: Keys) -> bool:
        """Compare the hashes."""
        return (
            isinstance(other, ZrtpKeys)
            and self.caller_hashes == other.caller_hashes
            and self.callee_hashes == other.callee_hashes
        )

    def goes_on_with(self, offer: Media, by_caller: bool) -> bool:
        """Report whether ZRTP is announced again."""
        return any(name == b"zrtp-hash" for name, _ in offer.attributes)


@final
class MikeyKeys(Keys):
    """What MIKEY messages told of each side's packets: keys, or SSRCs alone."""

    __slots__ = ("callee", "caller")

    def __init__(
        self, kind: bytes, suite: bytes, caller: MikeySide, callee: MikeySide, looks: Appearance
    ) -> None:
        super().__init__(kind, MIKEY, suite, looks)
        self.caller = caller
        self.callee = callee

    def prover(self, terms: ProofTerms) -> Prover:
        """Return what verifies tags where keys are known, and looks where they are not."""
        return MikeyProver(self.caller, self.callee, self.looks)

    def same_as(self, other: Keys) -> bool:
        """Compare what is known."""
        return (
            isinstance(other, MikeyKeys)
            and self.caller.same_as(other.caller)
            and self.callee.same_as(other.callee)
        )

    def goes_on_with(self, offer: Media, by_caller: bool) -> bool:
        """Report whether key management is offered again (RFC 4567 section 3.3)."""
        return any(name == b"key-mgmt" for name, _ in offer.attributes)

    def _wipe(self) -> None:
        self.caller.wipe()
        self.callee.wipe()


def _share(some: Prints, others: Prints) -> bool:
    return any(fingerprint in others for fingerprint in some)

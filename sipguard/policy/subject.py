"""What a rule may ask about: one message with everything the rooms before found out about it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote_to_bytes

from sipguard.evidence import NOT_ASKED, Evidence
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.verdict import Endpoint
from sipguard.wire.packet import Packet, network_of
from sipguard.wire.sip import Message
from sipguard.wire.uri import Uri, aor_key

if TYPE_CHECKING:
    from sipguard.policy.rules import Rule

NO_ADDRESSES: Final[frozenset[bytes]] = frozenset()
_NO_URI: Final = Uri(scheme=b"")
MAX_CACHED_OCTETS: Final = 512
_PERCENT: Final = 0x25


class RateReader(Protocol):
    """Counters as rules read them."""

    def count(self, kind: str, key: bytes, method: bytes, window_s: int) -> int:
        """Return how many requests there were in the last *window_s* seconds, this one included.

        Args:
            kind: whose requests: ``src``, ``from.aor`` or ``src.aor``.
            key: the source address, the address-of-record, or both.
            method: the method, or ``*`` for all together.
            window_s: 1, 60 or 3600.
        """


class NoRates:
    """Counters that have seen nothing, where nobody counts."""

    def count(self, kind: str, key: bytes, method: bytes, window_s: int) -> int:
        """Return 0."""
        return 0


class KeyingView(Protocol):
    """How a stream was keyed, as the media chain sees it; ``media`` has the values."""

    @property
    def method(self) -> bytes:
        """``sdes``, ``dtls``, ``zrtp``, ``mikey`` or empty."""

    @property
    def suite(self) -> bytes:
        """The crypto suite, where signalling names it."""

    @property
    def bits(self) -> int:
        """The encryption key's length, 0 where only a handshake will tell."""

    @property
    def hashed(self) -> bool:
        """Whether both sides signalled the hash of their ZRTP Hello."""

    @property
    def fingerprint(self) -> bytes:
        """The hash function of the DTLS certificates' fingerprints."""

    @property
    def mode(self) -> bytes:
        """How MIKEY makes its key."""

    @property
    def state(self) -> bytes:
        """Whether the MIKEY message holds: valid, failed, unknown or absent."""


class StreamView(Protocol):
    """One media stream as the media chain sees it; ``media`` has the values."""

    @property
    def kind(self) -> bytes:
        """``audio``, ``video`` and so on."""

    @property
    def proto(self) -> bytes:
        """The transport profile, such as ``RTP/SAVP``."""

    @property
    def keyed(self) -> bool:
        """Whether a key for SRTP was negotiated (in an offer: is offered)."""

    @property
    def keying(self) -> "KeyingView":
        """How the key was negotiated, or why there is none."""

    @property
    def downgraded(self) -> bool:
        """Whether a running stream would lose its key, or get it another way."""

    @property
    def cleartext(self) -> bool:
        """Whether the key itself crossed the wire in clear."""

    @property
    def caller(self) -> Endpoint:
        """The caller's media address; empty address and port 0 while unknown."""

    @property
    def callee(self) -> Endpoint:
        """The callee's media address."""

    @property
    def caller_vouched(self) -> bool:
        """Whether the caller's media address is one that its signalling came from."""

    @property
    def callee_vouched(self) -> bool:
        """The same for the callee."""


class Proofs(Protocol):
    """What signatures and credentials say about the message; each is verified when first asked.

    May raise ``Awaited``: a certificate must be fetched first.
    """

    @property
    def asked(self) -> tuple[tuple[str, Evidence], ...]:
        """Every proof that a rule asked for, by kind, with what came of it."""

    def aib(self) -> Evidence:
        """Return what the Authenticated Identity Body proves (RFC 3893)."""

    def smime(self) -> Evidence:
        """Return what signed bodies prove about the session description (RFC 3261 section 23)."""

    def stir(self) -> Evidence:
        """Return what the PASSporTs prove (RFC 8224)."""

    def digest(self) -> Evidence:
        """Return what the digest credentials prove (RFC 7616)."""


class NoProofs:
    """Where nobody verifies, everything is unknown."""

    @property
    def asked(self) -> tuple[tuple[str, Evidence], ...]:
        """Return nothing: there is nothing to tell."""
        return ()

    def aib(self) -> Evidence:
        """Return that it is unknown."""
        return NOT_ASKED

    def smime(self) -> Evidence:
        """Return that it is unknown."""
        return NOT_ASKED

    def stir(self) -> Evidence:
        """Return that it is unknown."""
        return NOT_ASKED

    def digest(self) -> Evidence:
        """Return that it is unknown."""
        return NOT_ASKED


_NO_RATES: Final = NoRates()
_NO_PROOFS: Final = NoProofs()


class Subject:
    """One message under judgement.

    The guard makes one per message and sets what it has found out; what is
    costly to derive is derived when a rule asks. ``noted`` collects the shadow
    rules that matched on the way, ``tolerated`` the findings that the parse
    chain forgives; both are filled by ``Policy``.
    """

    __slots__ = (
        "challenge_foreign",
        "dialog_known",
        "findings",
        "interface",
        "message",
        "noted",
        "now",
        "packet",
        "proofs",
        "rates",
        "registration_foreign",
        "replay",
        "replay_kind",
        "signalling",
        "src",
        "stream",
        "tolerated",
        "transaction_known",
    )

    def __init__(
        self, packet: Packet, message: Message, now: Moment, rates: RateReader = _NO_RATES
    ) -> None:
        self.packet = packet
        self.src = packet.src
        self.interface = packet.interface
        self.message = message
        self.findings: Sequence[Finding] = message.findings
        self.now = now
        self.rates = rates
        self.proofs: Proofs = _NO_PROOFS
        self.dialog_known = False
        self.transaction_known = False
        self.replay = False
        self.replay_kind = b""  # one of replay.kind's words where the guard knows better
        self.registration_foreign = False
        self.challenge_foreign = False
        self.signalling = NO_ADDRESSES
        self.stream: StreamView | None = None
        self.tolerated: frozenset[Reason] | None = None
        self.noted: tuple[Rule, ...] = ()

    @property
    def uri(self) -> Uri:
        """The Request-URI, or an empty one."""
        return self.message.request_uri or _NO_URI

    @property
    def from_uri(self) -> Uri:
        """The URI in From, or an empty one."""
        ids = self.message.ids
        return _NO_URI if ids is None else ids.from_.uri

    @property
    def to_uri(self) -> Uri:
        """The URI in To, or an empty one."""
        ids = self.message.ids
        return _NO_URI if ids is None else ids.to.uri

    @property
    def contact_uri(self) -> Uri:
        """The URI in the first Contact, or an empty one."""
        contacts = self.message.contacts
        return contacts[0].uri if contacts else _NO_URI

    def rate_key(self, kind: str) -> bytes:
        """Return whose counter of this *kind* the message counts for; IPv6 counts by /64."""
        if kind == "src":
            return network_of(self.src)
        account = aor_key(self.from_uri)
        return account if kind == "from.aor" else network_of(self.src) + account

    def rate(self, kind: str, method: bytes, window_s: int) -> int:
        """Return what the counters say about this message's sender."""
        return self.rates.count(kind, self.rate_key(kind), method, window_s)


def decode_user(user: bytes) -> bytes:
    """Return a URI's user part percent-decoded once (RFC 3261 section 19.1.4)."""
    if _PERCENT not in user:  # as a number: octets after "in" cost several times as much
        return user
    return _decode(user) if len(user) <= MAX_CACHED_OCTETS else unquote_to_bytes(user)


@lru_cache(maxsize=1024)
def _decode(user: bytes) -> bytes:
    return unquote_to_bytes(user)

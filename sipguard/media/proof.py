"""What one packet through a pinhole says about its stream: the words between gate and provers.

A negotiated key opens a pinhole; only packets show that it is used. Each keying method has
a prover, which is shown every packet of a stream, both ways, until it is content.
Provers read no clock and keep no packet longer than they must.
"""

from enum import Enum
from typing import Final, NamedTuple, final

from sipguard.media.appearance import Appearance
from sipguard.native import mypyc_attr
from sipguard.reason import Finding


class Word(Enum):
    """What becomes of a packet, and of those that follow it from the same source."""

    PASS = "pass"  # noqa: S105 - goes on, and proves nothing yet: STUN, a handshake
    PROVEN = "proven"  # goes on, and what follows is forwarded by the kernel alone
    QUIET = "quiet"  # dropped without a word: honest telephones leak it before they are secure
    REFUSE = "refuse"  # dropped, and told


class Sight(NamedTuple):
    """A prover's answer; a finding may come with any word, and always comes with ``REFUSE``."""

    word: Word
    finding: Finding | None = None


KEEP_ALIVE_OCTETS: Final = 4  # RFC 6263 section 4: next to nothing keeps a path open

PASSES: Final = Sight(Word.PASS)
PROVES: Final = Sight(Word.PROVEN)
IS_QUIET: Final = Sight(Word.QUIET)


@final
class Flight:
    """One datagram on its way through a pinhole.

    ``by_caller`` tells the direction, ``is_rtcp`` whether it goes to a port that is for
    RTCP alone (False for both kinds where they share one), ``now_s`` is monotonic.
    ``source`` and ``destination`` are 4 or 16 octets, ``port`` is the destination's:
    only ICE, which has several pairs of addresses for one stream, asks for them.
    """

    __slots__ = (
        *("by_caller", "destination", "is_rtcp", "now_s"),
        *("payload", "port", "source", "source_port"),
    )

    def __init__(
        self,
        by_caller: bool,
        is_rtcp: bool,
        source_port: int,
        payload: bytes,
        now_s: float,
        source: bytes = b"",
        destination: bytes = b"",
        port: int = 0,
    ) -> None:
        self.by_caller = by_caller
        self.is_rtcp = is_rtcp
        self.source_port = source_port
        self.payload = payload
        self.now_s = now_s
        self.source = source
        self.destination = destination
        self.port = port

    @property
    def origin(self) -> tuple[bytes, int]:
        """The pinhole and the source port: whose packet it is, as far as one can see."""
        return self.source + self.destination + self.port.to_bytes(2, "big"), self.source_port


@mypyc_attr(allow_interpreted_subclasses=True)
class Prover:
    """Watches the packets of one stream, RTP and RTCP, both ways, until each is proven.

    Subclasses are total: whatever the octets, ``see`` and ``sample`` return.
    """

    def authenticates(self) -> bool:
        """Report whether a packet that proves itself was made with the key, by whoever has it.

        False where a packet only looks right: any host that knows the addresses can do that.
        """
        return False

    def is_agreed(self, *, is_rtcp: bool) -> bool:
        """Report whether the ends have made their key, whoever sends media under it then.

        A telephone that only listens shows no more than its part of a handshake.
        """
        return False

    def learn(self, looks: Appearance) -> None:
        """Take formats that a later offer and answer agreed on under the same key."""

    def move(self, by_caller: bool) -> None:
        """Note that a side was renegotiated to another address or port, and sends from there."""

    def see(self, flight: Flight) -> Sight:
        """Judge a packet that waits for its verdict."""
        raise NotImplementedError

    def sample(self, flight: Flight) -> Sight:
        """Judge the copy of a packet that the kernel has forwarded already, some time later.

        ``REFUSE`` takes the proof of this direction back. Packets between two samples were
        not seen, so counters may have moved on.
        """
        raise NotImplementedError

    def told(self, by_caller: bool) -> str:
        """Say in words how this direction was proven, or why it is not, for the record."""
        raise NotImplementedError

    def wipe(self) -> None:
        """Forget the keys; the stream has ended (SRT-10)."""

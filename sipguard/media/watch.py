"""What the packets of one stream have shown so far, lane by lane."""

from typing import Final, final

from sipguard.media.proof import Prover
from sipguard.native import mypyc_attr
from sipguard.reason import Reason

LANES: Final = 4  # two directions, each with RTP (or both kinds) and RTCP
MAX_TOLD: Final = 8  # kinds of refusal counted for one stream


@final
@mypyc_attr(acyclic=True)
class Lane:
    """One direction to one kind of port: since when it proves nothing, or who has proven it."""

    __slots__ = ("former", "last_s", "moved_s", "port", "proven_s", "since_s", "ssrcs")

    def __init__(self) -> None:
        self.since_s = -1.0  # first packet that should have proven something; -1 for none
        self.port = 0  # the source port that proved itself first (PIN-14)
        self.ssrcs: tuple[int, ...] = ()  # with which it did
        self.proven_s = -1.0
        self.last_s = -1.0  # when that port was seen last, by a copy or in the queue
        self.former = 0  # the port whose place it took, and when
        self.moved_s = -1.0


@final
@mypyc_attr(acyclic=True)
class Watch:
    """The provers of one stream, the latest keys first, and its lanes."""

    __slots__ = (
        *("call_id", "lanes", "lender", "older", "older_until_s"),
        *("prover", "refused", "users"),
    )

    def __init__(self, prover: Prover, call_id: bytes) -> None:
        self.prover = prover
        # After new keys the old ones are good for the overlap: packets are on their way.
        self.older: Watch | None = None
        self.older_until_s = 0.0
        self.lender: Watch | None = None  # whose prover ours is made of
        self.call_id = call_id
        self.lanes: list[Lane] = [Lane() for _ in range(LANES)]
        self.refused: dict[Reason, int] = {}
        self.users = 1  # lines with these keys: the last one to end takes them along

    def count(self, reason: Reason) -> int:
        """Count a refusal, and return how many there were of its kind."""
        seen = self.refused.get(reason, 0) + 1
        if seen > 1 or len(self.refused) < MAX_TOLD:
            self.refused[reason] = seen
        return seen

    def told(self, by_caller: bool) -> str:
        """Say in words how a direction was proven, or why it is not."""
        return self.prover.told(by_caller)

    def shared(self) -> "Watch":
        """Return it for one more line that goes on under the same keys."""
        self.users += 1
        return self

    def follow(self, before: "Watch", until_s: float) -> None:
        """Let the keys agreed *before* be good until their packets have arrived (PIN-8)."""
        before.forget_older()  # or calls that change keys every second would pile them up
        self.older, self.older_until_s = before.shared(), until_s

    def borrow(self, before: "Watch") -> None:
        """Keep alive what the prover shares with the one *before*."""
        lender = before.lender or before
        self.lender = lender.shared()

    def forget_older(self) -> None:
        """Let only the latest keys be good."""
        if self.older is not None:
            self.older.release()
            self.older = None

    def release(self) -> None:
        """Forget the keys with their last line."""
        self.users -= 1
        if self.users <= 0:
            self.prover.wipe()
            self.forget_older()
            if self.lender is not None:
                self.lender.release()
                self.lender = None

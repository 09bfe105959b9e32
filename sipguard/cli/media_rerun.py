"""Media of a capture: what the kernel and the gate would have made of it."""

from collections import Counter
from typing import Final

from sipguard.guard import Guard
from sipguard.moment import Moment
from sipguard.verdict import ClosePinhole, DoubtPinhole, Effect, Hole, OpenPinhole, ProvePinhole
from sipguard.wire.packet import Packet
from sipguard.wire.rtp import ssrc_of

_NEVER_S: Final = float("inf")

_Source = tuple[Hole, int, int]  # with port and SSRC, as in the kernel's set


class MediaRerun:
    """Stands for the kernel's sets: which holes are open, and which sources are proven.

    Args:
        guard: Judges what is not proven, and a copy now and then of what is.
        recheck_s: Seconds between two such copies, 0 for none.
    """

    def __init__(self, guard: Guard, recheck_s: int) -> None:
        self._guard = guard
        self._recheck_s = recheck_s or _NEVER_S
        self._open: set[Hole] = set()
        self._proven: dict[_Source, float] = {}
        self.counts: Counter[tuple[str, str]] = Counter()  # by verdict and reason
        self.streams: set[_Source] = set()  # that were proven

    def follow(self, effects: tuple[Effect, ...]) -> None:
        """Do what the edge would."""
        for effect in effects:
            match effect:
                case OpenPinhole(hole=hole):
                    self._open.add(hole)
                case ClosePinhole(hole=hole):
                    self._open.discard(hole)
                    for source in [one for one in self._proven if one[0] == hole]:
                        del self._proven[source]
                case ProvePinhole(hole=hole, source_port=port, ssrc=ssrc):
                    self._proven[hole, port, ssrc] = 0.0
                    self.streams.add((hole, port, ssrc))
                case DoubtPinhole(hole=hole, source_port=port):
                    for source in [one for one in self._proven if one[:2] == (hole, port)]:
                        del self._proven[source]
                case _:
                    pass

    def take(self, packet: Packet, now: Moment) -> bool:
        """Judge a datagram; False where no pinhole was ever opened for it."""
        hole = Hole(packet.src, packet.dst, packet.dport)
        if hole not in self._open:
            return False
        source = (hole, packet.sport, ssrc_of(packet.payload))
        due_s = self._proven.get(source)
        if due_s is not None and now.monotonic_s < due_s:
            self.counts["accept", "proven"] += 1
            return True
        decision = self._guard.judge_media(packet, now, is_sample=due_s is not None)
        self.follow(decision.effects)
        if source in self._proven:
            self._proven[source] = now.monotonic_s + self._recheck_s
        reason = "" if decision.reason is None else decision.reason.value
        verdict = "accept" if decision.accept else "drop"
        self.counts[verdict, reason or ("proven" if source in self._proven else "unproven")] += 1
        return True

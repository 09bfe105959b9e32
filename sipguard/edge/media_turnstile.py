"""What media passes until it has proven itself: to the guard, its verdict, and its effects last.

With SIP the holes come first, so that media cannot outrun them. Here it is the other
way round: what the kernel forwards alone would overtake the packets that still wait
for a verdict. So a proof is carried out when none waits, right behind a turn that
emptied the queue, and the queue is looked at once more at once: a packet that came in
the few microseconds between waits no longer than those. Where the queue never empties,
a proof waits ``PATIENCE_S``; then the order of a packet or two matters less than the load.
"""

from collections.abc import Callable, Sequence
from typing import Final, final

from sipguard.edge.media_guard import MediaGuard
from sipguard.edge.queued import QueuedPacket
from sipguard.edge.turnstile import now
from sipguard.moment import Moment
from sipguard.verdict import ClosePinhole, DoubtPinhole, Effect, Hole, ProvePinhole

PATIENCE_S: Final = 0.02  # the spacing of an audio stream's packets


@final
class MediaTurnstile:
    """Takes packets of media to the guard, and has done what follows when they are gone.

    Args:
        apply: Opens, closes, proves and doubts pinholes.
        clock: Returns this instant.
    """

    __slots__ = (
        "_apply",
        "_clock",
        "_proofs",
        "_urgent",
        "_waiting_since_s",
        "accepted",
        "dropped",
        "guard",
        "samples",
    )

    def __init__(
        self, apply: Callable[[Sequence[Effect]], None], clock: Callable[[], Moment] = now
    ) -> None:
        self.guard: MediaGuard | None = None  # set before the first packet is read
        self._apply = apply
        self._clock = clock
        self._urgent: list[Effect] = []
        self._proofs: dict[tuple[Hole, int, int], ProvePinhole] = {}  # by port and SSRC
        self._waiting_since_s = 0.0
        self.accepted = self.dropped = self.samples = 0

    def take(self, octets: bytes, interface: str, packet: QueuedPacket) -> None:
        """Judge one packet and give its verdict; what follows from it waits for the turn's end."""
        guard = self.guard
        if guard is None:
            return
        moment = self._clock()
        decision = guard.inspect_media(octets, interface, moment)
        if decision.accept:
            self.accepted += 1
            packet.accept()
        else:
            self.dropped += 1
            packet.drop()
        for effect in decision.effects:
            if isinstance(effect, ProvePinhole):
                if not self._proofs:
                    self._waiting_since_s = moment.monotonic_s
                self._proofs[effect.hole, effect.source_port, effect.ssrc] = effect
            else:
                self._forget(effect)
                self._urgent.append(effect)

    def take_sample(self, octets: bytes) -> None:
        """Look at the copy of a packet that has gone on already."""
        guard = self.guard
        if guard is None:
            return
        self.samples += 1
        effects = guard.sample_media(octets, self._clock())
        if effects:
            self.overtaken_by(effects)
            self._apply(effects)

    def end_turn(self, is_empty: bool) -> bool:
        """Have done what the turn's packets led to; report whether to look for more at once.

        Args:
            is_empty: Whether no packet waits any more.
        """
        effects: list[Effect] = self._urgent
        proofs = self._proofs
        if not (effects or proofs):
            return False
        self._urgent = []
        if proofs and (is_empty or self._clock().monotonic_s - self._waiting_since_s >= PATIENCE_S):
            self._proofs = {}
            effects += proofs.values()
        if effects:
            self._apply(effects)
        return proofs is not self._proofs

    def overtaken_by(self, effects: Sequence[Effect]) -> None:
        """Forget the proofs that wait where others have closed their pinhole, or doubted them."""
        if self._proofs:
            for effect in effects:
                self._forget(effect)

    def _forget(self, effect: Effect) -> None:
        if isinstance(effect, DoubtPinhole):
            source = effect.hole, effect.source_port
            self._drop([key for key in self._proofs if (key[0], key[1]) == source])
        elif isinstance(effect, ClosePinhole):
            self._drop([key for key in self._proofs if key[0] == effect.hole])

    def _drop(self, keys: list[tuple[Hole, int, int]]) -> None:
        for key in keys:
            del self._proofs[key]

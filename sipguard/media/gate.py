"""The media gate: what becomes of packets through pinholes that have proven nothing yet.

The kernel asks about each packet of a source that is not proven, and forwards the rest
alone. Here is decided who proved himself, who is too late, and whom to doubt again.
"""

from collections import deque
from typing import Final, NamedTuple, final

from sipguard.media.agreement import closed
from sipguard.media.holebook import HoleBook
from sipguard.media.ice import IceProver
from sipguard.media.keys import Keys, ProofTerms
from sipguard.media.line import BY_CALLER, NO_LANE, RTCP, Line
from sipguard.media.proof import Flight, Prover, Sight, Word
from sipguard.media.prove_nothing import Unproven
from sipguard.media.watch import Lane, Watch
from sipguard.reason import Finding, Reason
from sipguard.verdict import ClosePinhole, DoubtPinhole, Effect, Hole, ProvePinhole
from sipguard.wire.packet import Packet
from sipguard.wire.rtp import Kind, kind_of, ssrc_of

# The kernel hears of a proof after the packet that brought it: others may be on their way.
SETTLING_S: Final = 1.0
# A proven source that was not seen for so long gives way to another port of its host. The
# kernel shows a copy of a packet of each proven source every few seconds.
SILENT_S: Final = 20.0
MAX_SSRCS: Final = 8  # of one port that the kernel forwards alone

OVERLAP_S: Final = 60.0  # old keys stay good beside new ones after a renegotiation (PIN-8)

_PASS: Final = Word.PASS
_PROVEN: Final = Word.PROVEN
_QUIET: Final = Word.QUIET
_REFUSE: Final = Word.REFUSE
_STUN: Final = Kind.STUN
_OTHER_SOURCE: Final = Sight(_REFUSE, Finding(Reason.OTHER_SOURCE))
_UNPROVEN: Final = Finding(Reason.UNPROVEN)


@final
class Answer:
    """The gate's word on one packet, its reason, and a finding where somebody should be told."""

    __slots__ = ("accept", "effects", "finding", "line", "reason")

    def __init__(
        self,
        accept: bool,
        line: Line | None = None,
        effects: tuple[Effect, ...] = (),
        finding: Finding | None = None,
        reason: Reason | None = None,
    ) -> None:
        self.accept = accept
        self.line = line
        self.effects = effects
        self.finding = finding
        self.reason = reason or (None if finding is None else finding.reason)


# A packet of a stream that has just ended, or of an earlier run's: no key is known for it.
_STRANGER: Final = Answer(False)


class Overdue(NamedTuple):
    """A stream that proved nothing in time."""

    line: Line
    hole: Hole
    finding: Finding


class _Clock(NamedTuple):
    due_s: float
    line: Line
    lane: int
    hole: Hole


class Gate:
    """Judges media packets against the keys of the lines in the book."""

    __slots__ = ("_book", "_clocks", "refused", "terms")

    def __init__(self, book: HoleBook, terms: ProofTerms) -> None:
        self._book = book
        self.terms = terms
        self._clocks: deque[_Clock] = deque()
        self.refused = 0

    def inspect(self, packet: Packet, now_s: float) -> Answer:
        """Judge a packet whose source has proven nothing yet."""
        line = self._book.line_at(packet.src, packet.dst, packet.dport)
        if line is None or line.keys is None:
            return _STRANGER
        lane = line.lane(packet.src, packet.dst, packet.dport)
        if lane == NO_LANE:
            return _STRANGER
        watch = self._watch(line)
        flight = _flight(packet, lane, now_s)
        sight = self._see(watch, flight)
        state = watch.lanes[lane]
        if state.port == packet.sport:
            state.last_s = now_s
        word = sight.word
        if word is _PROVEN:
            return self._proven(line, watch, state, packet, sight, now_s)
        if state.proven_s < 0 and state.since_s < 0 and kind_of(packet.payload) is not _STUN:
            state.since_s = now_s
            self._clocks.append(_Clock(now_s + self.terms.within_s, line, lane, _hole(packet)))
        return self._answer(word is _PASS, line, watch, sight)

    def sample(self, packet: Packet, now_s: float) -> Answer:
        """Judge the copy of a packet of a proven source; the kernel has forwarded it."""
        line = self._book.line_at(packet.src, packet.dst, packet.dport)
        if line is None or line.keys is None:
            return _STRANGER
        lane = line.lane(packet.src, packet.dst, packet.dport)
        if lane == NO_LANE:
            return _STRANGER
        watch = self._watch(line)
        state = watch.lanes[lane]
        sight = watch.prover.sample(_flight(packet, lane, now_s))
        if sight.word is not _REFUSE:
            if state.port in (0, packet.sport):
                state.port, state.last_s = packet.sport, now_s
                state.proven_s = max(state.proven_s, 0.0)
            return Answer(True, line, (), sight.finding)
        finding = sight.finding or _UNPROVEN
        if state.port == packet.sport:
            state.port, state.proven_s, state.since_s = 0, -1.0, -1.0
            state.ssrcs = ()
        watch.count(finding.reason)
        doubt = DoubtPinhole(_hole(packet), packet.sport, finding.reason, watch.call_id)
        return Answer(False, line, (doubt,), finding)

    def succeed(self, line: Line, before: Line, now_s: float) -> tuple[Effect, ...]:
        """Let *line* stand for the same holes as *before*, which was agreed earlier.

        Under the same keys nothing changes. New ones must be proven anew, while the old ones
        are good for the overlap.
        """
        watch, keys = before.watch, line.keys
        if watch is None or keys is None or before.keys is None or line.watch is not None:
            return ()
        if keys.same_as(before.keys) and keys.same_ice(before.keys):
            line.watch = watch
            watch.users += 1
            return ()
        line.watch = Watch(self._prover(keys, watch.prover), line.call_id)
        line.watch.follow(watch, now_s + OVERLAP_S)
        doubts: tuple[Effect, ...] = ()
        for hole in line.holes():
            lane = line.lane(hole.source, hole.destination, hole.port)
            port = watch.lanes[lane].port if lane != NO_LANE else 0
            if port:
                doubts += (DoubtPinhole(hole, port, Reason.RENEGOTIATED, line.call_id),)
        return doubts

    def tick(self, now_s: float) -> list[Overdue]:
        """Return the streams that had their time and proved nothing; they are to be closed."""
        overdue: list[Overdue] = []
        clocks = self._clocks
        while clocks and clocks[0].due_s <= now_s:
            _, line, lane, hole = clocks.popleft()
            watch = line.watch
            if watch is None or watch.lanes[lane].since_s < 0:
                continue
            watch.lanes[lane].since_s = -1.0
            held = self._book.line_at(hole.source, hole.destination, hole.port)
            if held is not None and held.watch is watch:
                watch.count(Reason.UNPROVEN)
                overdue.append(Overdue(line, hole, _UNPROVEN))
        return overdue

    def _watch(self, line: Line) -> Watch:
        watch = line.watch
        if watch is None:
            keys = line.keys
            assert keys is not None  # noqa: S101 - asked by both callers
            watch = line.watch = Watch(self._prover(keys, None), line.call_id)
        return watch

    def _prover(self, keys: Keys, before: Prover | None) -> Prover:
        """Return what judges packets under *keys*; ways that were checked *before* go on."""
        prover = Unproven() if keys.unproven else keys.prover(self.terms)
        if keys.ice is None:
            return prover
        caller, callee = keys.ice
        return IceProver(prover, caller, callee, before if isinstance(before, IceProver) else None)

    def _see(self, watch: Watch, flight: Flight) -> Sight:
        sight = watch.prover.see(flight)
        older = watch.older
        if older is None or sight.word is _PASS or sight.word is _PROVEN:
            return sight
        if flight.now_s > watch.older_until_s:
            watch.forget_older()
            return sight
        # New keys were agreed, and packets under the old ones are still on their way (PIN-8).
        before = older.prover.see(flight)
        return Sight(_PASS) if before.word in (_PASS, _PROVEN) else sight

    def _proven(
        self, line: Line, watch: Watch, state: Lane, packet: Packet, sight: Sight, now_s: float
    ) -> Answer:
        effects: tuple[Effect, ...] = ()
        hole, ssrc = _hole(packet), ssrc_of(packet.payload)
        if state.port not in (0, packet.sport):
            if now_s - state.last_s <= SILENT_S:
                # Who has the key may send from another port, too, but under the gate's eyes:
                # a copy of an authentic packet would pass here as well.
                if watch.prover.authenticates():
                    return Answer(True, line, (), sight.finding)
                return self._answer(False, line, watch, _OTHER_SOURCE)
            effects = (DoubtPinhole(hole, state.port, Reason.OTHER_SOURCE, watch.call_id),)
            state.ssrcs = ()
        is_known = ssrc in state.ssrcs
        if not is_known or now_s - state.proven_s > SETTLING_S:
            if not is_known and len(state.ssrcs) >= MAX_SSRCS:
                return Answer(True, line, effects, sight.finding)  # judged one by one
            effects += (ProvePinhole(hole, packet.sport, ssrc, watch.call_id),)
            state.proven_s = now_s
        if not is_known:
            state.ssrcs = (*state.ssrcs, ssrc)
        state.port, state.last_s, state.since_s = packet.sport, now_s, -1.0
        return Answer(True, line, effects, sight.finding)

    def _answer(self, accept: bool, line: Line, watch: Watch, sight: Sight) -> Answer:
        """Pass a prover's word on; of each kind of refusal only the first is told."""
        finding = sight.finding
        if not accept:
            self.refused += 1
        if finding is None:
            return Answer(accept, line)
        told = finding if watch.count(finding.reason) == 1 else None
        return Answer(accept, line, (), told, finding.reason)


def closing(overdue: Overdue) -> ClosePinhole:
    """Return the effect that closes what proved nothing in time."""
    return closed(overdue.hole, overdue.line, overdue.finding.reason)


def _flight(packet: Packet, lane: int, now_s: float) -> Flight:
    return Flight(
        bool(lane & BY_CALLER),
        bool(lane & RTCP),
        packet.sport,
        packet.payload,
        now_s,
        packet.src,
        packet.dst,
        packet.dport,
    )


def _hole(packet: Packet) -> Hole:
    return Hole(packet.src, packet.dst, packet.dport)

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
# Without such copies it only seemed silent: its next packet takes its place back.
RETURN_S: Final = 1.0
MAX_SSRCS: Final = 8  # of one port that the kernel forwards alone

OVERLAP_S: Final = 60.0  # old keys stay good beside new ones after a renegotiation (PIN-8)

_PASS: Final = Word.PASS
_PROVEN: Final = Word.PROVEN
_QUIET: Final = Word.QUIET
_REFUSE: Final = Word.REFUSE
_STUN: Final = Kind.STUN
_OTHER_SOURCE: Final = Sight(_REFUSE, Finding(Reason.OTHER_SOURCE))
UNPROVEN: Final = Finding(Reason.UNPROVEN)
_GOES_ON: Final = Sight(_PASS)


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


class _Clock(NamedTuple):
    due_s: float
    line: Line
    lane: int
    hole: Hole
    passed: bool  # what began it was let through, as handshakes are


class Gate:
    """Judges media packets against the keys of the lines in the book."""

    __slots__ = ("_book", "_clocks", "terms")

    def __init__(self, book: HoleBook, terms: ProofTerms) -> None:
        self._book = book
        self.terms = terms
        self._clocks: deque[_Clock] = deque()

    def inspect(self, packet: Packet, now_s: float) -> Answer:
        """Judge a packet whose source has proven nothing yet."""
        line, lane = self._place_of(packet)
        if line is None:
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
        # What is dropped without a word says nothing: many a telephone opens its ports with
        # something, and is silent until somebody answers.
        if (
            state.proven_s < 0
            and state.since_s < 0
            and word is not _QUIET
            and self.terms.within_s
            and kind_of(packet.payload) is not _STUN
        ):
            state.since_s = now_s
            due_s = now_s + self.terms.within_s
            self._clocks.append(_Clock(due_s, line, lane, _hole(packet), word is _PASS))
        return self._answer(word is _PASS, line, watch, sight)

    def sample(self, packet: Packet, now_s: float) -> Answer:
        """Judge the copy of a packet of a proven source; the kernel has forwarded it."""
        line, lane = self._place_of(packet)
        if line is None:
            return _STRANGER
        watch = self._watch(line)
        state = watch.lanes[lane]
        sight = self._sample(watch, _flight(packet, lane, now_s))
        if sight.word is not _REFUSE:
            # A port that stands for nobody is taken by what proves itself: an earlier run's.
            if state.port == packet.sport or (state.port == 0 and sight.word is _PROVEN):
                state.port, state.last_s = packet.sport, now_s
                state.proven_s = max(state.proven_s, 0.0)
            return Answer(True, line, (), sight.finding)
        finding = sight.finding or UNPROVEN
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
        is_same = keys.same_as(before.keys)
        if is_same and keys.same_ice(before.keys):
            go_on(line, watch)
            return ()
        made = line.watch = Watch(self._prover(keys, watch.prover, is_same), line.call_id)
        made.follow(watch, now_s + OVERLAP_S)
        if is_same:
            watch.prover.learn(keys.looks)
            made.borrow(watch)
        doubts: tuple[Effect, ...] = ()
        for hole in line.holes():
            lane = line.lane(hole.source, hole.destination, hole.port)
            port = watch.lanes[lane].port if lane != NO_LANE else 0
            if port:
                doubts += (DoubtPinhole(hole, port, Reason.RENEGOTIATED, line.call_id),)
        return doubts

    def move(self, line: Line, watch: Watch, by_caller: bool) -> tuple[Effect, ...]:
        """Let a side that has moved prove itself from its new port, and from no other."""
        doubts: tuple[Effect, ...] = ()
        for hole in line.holes():
            lane = line.lane(hole.source, hole.destination, hole.port)
            if lane == NO_LANE or bool(lane & BY_CALLER) is not by_caller:
                continue
            state = watch.lanes[lane]
            if state.port:
                doubts += (DoubtPinhole(hole, state.port, Reason.RENEGOTIATED, line.call_id),)
            state.port, state.proven_s, state.since_s = 0, -1.0, -1.0
        watch.prover.move(by_caller)
        return doubts

    def is_running(self, line: Line, now_s: float) -> bool:
        """Report whether proven media of a line has been seen lately."""
        watch = line.watch
        return watch is not None and any(
            lane.proven_s >= 0 and now_s - lane.last_s <= SILENT_S for lane in watch.lanes
        )

    def tick(self, now_s: float) -> list[Overdue]:
        """Return the streams that had their time and proved nothing; they are to be closed."""
        overdue: list[Overdue] = []
        clocks = self._clocks
        while clocks and clocks[0].due_s <= now_s:
            _, line, lane, hole, passed = clocks.popleft()
            watch = line.watch
            if watch is None or watch.lanes[lane].since_s < 0:
                continue
            watch.lanes[lane].since_s = -1.0
            if passed and watch.prover.is_agreed(is_rtcp=bool(lane & RTCP)):
                continue  # it shook hands, and only listens; what is refused starts anew
            held = self._book.line_at(hole.source, hole.destination, hole.port)
            if held is not None and held.watch is watch:
                watch.count(Reason.UNPROVEN)
                overdue.append(Overdue(line, hole))
        return overdue

    def _place_of(self, packet: Packet) -> tuple[Line | None, int]:
        """Return whose packet it is and in which lane; nobody's where no key is known."""
        line = self._book.line_at(packet.src, packet.dst, packet.dport)
        if line is None or line.keys is None:
            return None, NO_LANE
        lane = line.lane(packet.src, packet.dst, packet.dport)
        return (None if lane == NO_LANE else line), lane

    def _watch(self, line: Line) -> Watch:
        watch = line.watch
        if watch is None:
            keys = line.keys
            assert keys is not None  # noqa: S101 - asked by both callers
            watch = line.watch = Watch(self._prover(keys, None), line.call_id)
            self._share(line, watch)
        return watch

    def _share(self, line: Line, watch: Watch) -> None:
        """Let other lines of these holes have it, too: the call's other way through a proxy."""
        keys = line.keys
        for hole in line.holes()[:1]:
            for other in self._book.users_at(hole):
                theirs = other.keys
                if (
                    other.watch is None
                    and keys is not None
                    and theirs is not None
                    and other.has_holes_of(line)
                    and theirs.same_as(keys)
                    and theirs.same_ice(keys)
                ):
                    go_on(other, watch)

    def _prover(self, keys: Keys, before: Prover | None, is_same: bool = False) -> Prover:
        """Return what judges packets under *keys*; ways that were checked *before* go on.

        Where the keys are the *same* and ICE alone begins anew, so do their proofs.
        """
        if keys.ice is None:
            return self._inner(keys)
        caller, callee = keys.ice
        if not isinstance(before, IceProver):
            return IceProver(self._inner(keys), caller, callee)
        inner = before.inner if is_same else self._inner(keys)
        return IceProver(inner, caller, callee, before, is_lent=is_same)

    def _inner(self, keys: Keys) -> Prover:
        return Unproven() if keys.unproven else keys.prover(self.terms)

    def _see(self, watch: Watch, flight: Flight) -> Sight:
        sight = watch.prover.see(flight)
        older = _older(watch, flight.now_s)
        if older is None or sight.word is _PROVEN:
            return sight
        # New keys were agreed, and packets under the old ones are still on their way (PIN-8);
        # a handshake may be that of either.
        before = older.prover.see(flight)
        if sight.word is not _PASS and before.word in (_PASS, _PROVEN):
            return _GOES_ON
        return sight

    def _sample(self, watch: Watch, flight: Flight) -> Sight:
        sight = watch.prover.sample(flight)
        older = _older(watch, flight.now_s)
        if older is None or sight.word is not _REFUSE:
            return sight
        return sight if older.prover.sample(flight).word is _REFUSE else _GOES_ON

    def _proven(
        self, line: Line, watch: Watch, state: Lane, packet: Packet, sight: Sight, now_s: float
    ) -> Answer:
        effects: tuple[Effect, ...] = ()
        hole, ssrc = _hole(packet), ssrc_of(packet.payload)
        if state.port not in (0, packet.sport):
            is_back = packet.sport == state.former and now_s - state.moved_s <= RETURN_S
            if not is_back and now_s - state.last_s <= SILENT_S:
                # Who has the key may send another stream from another port, under the gate's
                # eyes. One with an SSRC that the kernel forwards is a copy: the prover, which
                # has not seen what it copies, would take it for new.
                if ssrc not in state.ssrcs and watch.prover.authenticates():
                    return Answer(True, line, (), sight.finding)
                return self._answer(False, line, watch, _OTHER_SOURCE)
            effects = (DoubtPinhole(hole, state.port, Reason.OTHER_SOURCE, watch.call_id),)
            state.former, state.moved_s = 0 if is_back else state.port, now_s
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
        if finding is None:
            return Answer(accept, line)
        told = finding if watch.count(finding.reason) == 1 else None
        return Answer(accept, line, (), told, finding.reason)


def go_on(line: Line, watch: Watch) -> None:
    """Let a line go on where another one is, under the same keys, perhaps with more formats."""
    line.watch = watch.shared()
    if line.keys is not None:
        watch.prover.learn(line.keys.looks)


def _older(watch: Watch, now_s: float) -> Watch | None:
    """Return what watched under the keys before, while those are good."""
    if watch.older is not None and now_s > watch.older_until_s:
        watch.forget_older()
    return watch.older


def closing(overdue: Overdue) -> ClosePinhole:
    """Return the effect that closes what proved nothing in time."""
    return closed(overdue.hole, overdue.line, Reason.UNPROVEN)


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

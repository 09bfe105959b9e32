"""Media packets on their way: from the gate's word to a verdict, effects and a record."""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.guard.rooms import Rooms
from sipguard.journal.observation import MediaNote, Observation
from sipguard.media.gate import UNPROVEN, Answer, closing
from sipguard.media.keys import Keys
from sipguard.media.line import BY_CALLER, Line
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Effect, Endpoint
from sipguard.wire.packet import Packet, parse_packet

RULE: Final = "media-proof"
_SAMPLED: Final = "seen in a stream that was proven before; each packet is judged again"


@final
class MediaDecision:
    """What becomes of one media packet, and of those that follow it.

    ``reason`` is why it is refused, where the gate has a word for that; ``known`` tells
    whether it belongs to a stream that was negotiated.
    """

    __slots__ = ("accept", "effects", "known", "reason")

    def __init__(
        self,
        accept: bool,
        effects: tuple[Effect, ...] = (),
        known: bool = True,
        reason: Reason | None = None,
    ) -> None:
        self.accept = accept
        self.effects = effects
        self.known = known
        self.reason = reason


_ACCEPT: Final = MediaDecision(True)


class MediaGate:
    """Asks the gate about packets, and tells the journal of streams that are not what they said."""

    __slots__ = ("_rooms",)

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def inspect(self, octets: bytes, interface: str, now: Moment) -> MediaDecision:
        """Judge a packet of a stream that has proven nothing yet."""
        try:
            packet = parse_packet(octets, interface)
        except HostileInput as error:
            return MediaDecision(self._is_shadow, (), False, error.reason)
        return self.judge(packet, now)

    def judge(self, packet: Packet, now: Moment) -> MediaDecision:
        """Judge a datagram of a stream that has proven nothing yet."""
        answer = self._rooms.negotiator.sessions.gate.inspect(packet, now.monotonic_s)
        if answer.finding is not None:
            self._tell(answer, packet, now)
        if answer.accept and not answer.effects:
            return _ACCEPT
        accept = answer.accept or self._is_shadow
        return MediaDecision(accept, answer.effects, answer.line is not None, answer.reason)

    def sample(self, octets: bytes, now: Moment) -> tuple[Effect, ...]:
        """Judge the copy of a packet that the kernel forwarded for a proven stream."""
        try:
            packet = parse_packet(octets, "")
        except HostileInput:
            return ()
        return self.judge_sample(packet, now).effects

    def judge_sample(self, packet: Packet, now: Moment) -> MediaDecision:
        """Judge the copy of a datagram; what it is worth is in the effects."""
        answer = self._rooms.negotiator.sessions.gate.sample(packet, now.monotonic_s)
        if answer.finding is not None:
            self._tell(answer, packet, now, "" if answer.accept else _SAMPLED)
        return MediaDecision(True, answer.effects, answer.line is not None, answer.reason)

    def tick(self, now: Moment) -> tuple[Effect, ...]:
        """Close the streams that had their time and proved nothing."""
        effects: tuple[Effect, ...] = ()
        for overdue in self._rooms.negotiator.sessions.gate.tick(now.monotonic_s):
            effects += (closing(overdue),)
            hole = overdue.hole
            packet = Packet(hole.source, hole.destination, 0, hole.port, b"", "udp", "")
            self._tell(Answer(False, overdue.line, (), UNPROVEN), packet, now)
        return effects

    @property
    def _is_shadow(self) -> bool:
        return self._rooms.policy.mode == "shadow"

    def _tell(self, answer: Answer, packet: Packet, now: Moment, remark: str = "") -> None:
        rooms, finding, line = self._rooms, answer.finding, answer.line
        if finding is None or rooms.record is None or line is None or line.keys is None:
            return
        shadow = rooms.policy.mode == "shadow"
        judged = Action.ACCEPT if answer.accept else Action.DROP
        keys = line.keys
        rooms.record(
            Observation(
                utc_s=now.utc_s,
                action=Action.ACCEPT if shadow else judged,
                judged=judged,
                reason=finding.reason,
                src=packet.src,
                dst=packet.dst,
                sport=packet.sport,
                dport=packet.dport,
                mode=rooms.policy.mode,
                rule=RULE,
                place=rooms.policy.file,
                detail="; ".join([words for words in (finding.detail, remark) if words]),
                octets=finding.octets,
                findings=(finding,),
                transport=packet.transport,
                interface=packet.interface,
                method=_label(keys),
                call_id=line.call_id,
                media=(_note(line, keys, finding, packet),),
                log=True,
            )
        )


def _label(keys: Keys) -> bytes:
    """Return what stands where a SIP message has its method."""
    return b"media " + (keys.kind or b"stream")


def _note(line: Line, keys: Keys, finding: Finding, packet: Packet) -> MediaNote:
    """Return the stream as it was negotiated, and what its packets were instead."""
    source, destination = Endpoint(packet.src, packet.sport), Endpoint(packet.dst, packet.dport)
    by_caller = line.lane(packet.src, packet.dst, packet.dport) & BY_CALLER
    return MediaNote(
        keys.kind,
        b"",
        keys.method,
        keys.suite,
        True,
        finding.reason,
        source if by_caller else destination,
        destination if by_caller else source,
        finding.detail,
    )

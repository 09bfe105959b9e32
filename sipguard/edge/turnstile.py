"""What every packet passes: to the guard, its verdict to the kernel, and what follows from it.

A pinhole is open before the message goes on that asked for it: media must not outrun it. Where
many packets wait and their verdicts leave together, what they open is one transaction of the
kernel's. What merely closes may be a little late: it goes with the next pinhole that opens, or
after some milliseconds without one.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, final

from sipguard.edge.queued import QueuedPacket
from sipguard.edge.zone_rules import zone_number
from sipguard.guard.inspect import Guard
from sipguard.moment import Moment
from sipguard.reason import Finding
from sipguard.verdict import Action, ClosePinhole, Decision, Effect, Hole, OpenPinhole, Reply
from sipguard.wire.packet import Packet

_ACCEPT: Final = Action.ACCEPT
_HOLD: Final = Action.HOLD
CLOSE_WITHIN_S: Final = 0.005  # a quarter of the spacing of an audio stream's packets
MOST: Final = 512  # effects in one transaction of the kernel's; one message's are not parted
_monotonic_s: Final = time.monotonic
_utc_s: Final = time.time


Hold = Callable[[bytes, str, QueuedPacket, tuple[str, ...]], None]


class Passage(Protocol):
    """One message of a stream, and what can become of it."""

    @property
    def packet(self) -> Packet:
        """The message, with its ends."""

    @property
    def source(self) -> bytes:
        """Who counts as its sender."""

    @property
    def settled(self) -> bool:
        """Whether it has its verdict."""

    def accept(self) -> None:
        """Send it on."""

    def drop(self) -> None:
        """Send it nowhere."""

    def reply(self, reply: Reply) -> None:
        """Answer by the way it came."""

    def retain(self) -> bool:
        """Keep it for a later verdict; False where that cannot be."""

    def fail(self) -> None:
        """Do what follows a fault of our own; called where one is being handled."""


Wait = Callable[[Passage, tuple[str, ...]], None]
CallLater = Callable[[float, Callable[[], None]], object]


@final
class Consequences:
    """Carries out what follows from messages: what opens before they go on, the rest later.

    Args:
        apply: Opens and closes pinholes.
        call_later: Calls after so many seconds; without it, a turn's end is the latest.
    """

    __slots__ = ("_apply", "_call_later", "_closed", "_is_called", "_is_due", "_waiting")

    def __init__(
        self, apply: Callable[[Sequence[Effect]], None], call_later: CallLater | None = None
    ) -> None:
        self._apply = apply
        self._call_later = call_later
        self._is_called = False
        self._waiting: list[Effect] = []  # of messages whose verdicts have not left, in order
        self._closed: set[Hole] = set()  # by what waits
        self._is_due = False  # whether more than closing waits

    def follow(self, effects: tuple[Effect, ...], is_turn: bool) -> None:
        """Take what follows from a message that is about to go on.

        With *is_turn* somebody will say when it goes on, and that the turn has ended.
        """
        if not effects:
            return
        closed = self._closed
        if closed and _opens_one_of(closed, effects):
            # In one transaction the last word counts, and what one call has proven would be
            # the next one's.
            self._carry_out()
        self._waiting += effects
        for effect in effects:
            if isinstance(effect, ClosePinhole):
                closed.add(effect.hole)
            else:
                self._is_due = True
        if not is_turn or len(self._waiting) >= MOST:
            self._carry_out()

    def make_way(self) -> None:
        """Do what must be done before the messages go on."""
        if self._is_due:
            self._carry_out()

    def turn_ended(self) -> None:
        """See to what could wait until now."""
        if not self._waiting:
            return
        if self._call_later is None:
            self._carry_out()
        elif not self._is_called:
            self._is_called = True
            self._call_later(CLOSE_WITHIN_S, self.close)

    def close(self) -> None:
        """Do all that waits; nothing will come that it could go with."""
        self._is_called = False
        if self._waiting:
            self._carry_out()

    def _carry_out(self) -> None:
        """Do all that waits, in one transaction."""
        waiting, self._waiting, self._is_due = self._waiting, [], False
        self._closed.clear()
        self._apply(waiting)


def _opens_one_of(closed: set[Hole], effects: tuple[Effect, ...]) -> bool:
    for effect in effects:  # noqa: SIM110 - any() would make a generator of it
        if isinstance(effect, OpenPinhole) and effect.hole in closed:
            return True
    return False


@final
class Turnstile:
    """Takes packets to the guard and counts what it decides.

    Args:
        apply: Opens and closes pinholes.
        reply: Sends a response of our own.
        call_later: Calls after so many seconds, for what merely closes; see ``Consequences``.
    """

    __slots__ = (
        "_consequences", "_reply", "by_blocked", "by_reason", "by_verdict", "guard", "hold",
        "packets", "wait",
    )  # fmt: skip

    def __init__(
        self,
        apply: Callable[[Sequence[Effect]], None],
        reply: Callable[[Reply], object],
        call_later: CallLater | None = None,
    ) -> None:
        self.guard: Guard | None = None  # set before the first packet is read
        # Where packets wait for what they want; without one, none does.
        self.hold: Hold | None = None
        self.wait: Wait | None = None  # the same for messages of streams
        self._consequences = Consequences(apply, call_later)
        self._reply = reply
        self.packets = 0
        self.by_verdict: dict[str, int] = {}
        self.by_reason: dict[str, int] = {}
        self.by_blocked: dict[str, int] = {}  # the reasons of what the policy does not accept

    def take(self, octets: bytes, interface: str, packet: QueuedPacket) -> None:
        """Judge one packet and give its verdict, or let it wait."""
        guard = self.guard
        if guard is None:
            return
        zones = guard.zones
        if zones is None:
            decision = guard.inspect(octets, interface, now())
        else:
            # Kept with the packet: a reload may number the zones anew while it waits.
            packet.channel = zones.channel(interface, zone_number(packet.mark))
            decision = guard.inspect(octets, interface, now(), packet.channel)
        if decision.action is _HOLD:
            hold = self.hold
            if hold is None:
                self.take_again(octets, interface, packet, True)
            else:
                hold(octets, interface, packet, decision.wants)
            return
        self._give(decision, packet, True)

    def make_way(self) -> None:
        """Have pinholes open before the messages go on that asked for them."""
        self._consequences.make_way()

    def turn_ended(self, is_empty: bool) -> bool:
        """See to what waits for it: a queue's ``TurnEnd``."""
        self._consequences.turn_ended()
        return False

    def close(self) -> None:
        """Close now what was to close soon: no packet comes any more."""
        self._consequences.close()

    def take_again(
        self, octets: bytes, interface: str, packet: QueuedPacket, last: bool
    ) -> tuple[str, ...]:
        """Judge one packet that waited; return what it wants still, nothing after its verdict.

        With *last* there is a verdict, or an exception for a fault of our own.
        """
        guard = self.guard
        if guard is None:
            return ()
        decision = guard.inspect_again(octets, interface, now(), packet.channel, last=last)
        if decision.action is _HOLD:
            return decision.wants
        self._give(decision, packet, False)
        return ()

    def take_message(self, passage: Passage) -> None:
        """Judge one message of a stream and give its verdict, or let it wait."""
        guard = self.guard
        if guard is None:
            return
        try:
            decision = guard.judge(passage.packet, now())
            if decision.action is not _HOLD:
                self._let(decision, passage)
            elif self.wait is None:
                self.take_message_again(passage, True)
            else:
                self.wait(passage, decision.wants)
        except Exception:  # noqa: BLE001 - whatever it was, nothing may follow it unjudged
            passage.fail()

    def take_message_again(self, passage: Passage, last: bool) -> tuple[str, ...]:
        """Judge one message that waited; see :meth:`take_again`."""
        guard = self.guard
        if guard is None:
            return ()
        decision = guard.judge_again(passage.packet, now(), last=last)
        if decision.action is _HOLD:
            return decision.wants
        self._let(decision, passage)
        return ()

    def unavailable(self, packet: Packet) -> bytes:
        """Return our answer to a request that there is no server for; nothing to what is none."""
        reply = None if self.guard is None else self.guard.unavailable(packet, now())
        return b"" if reply is None else reply.octets

    def refuse_stream(self, packet: Packet, finding: Finding) -> None:
        """Record why a connection ends."""
        if self.guard is not None:
            self.guard.refuse_stream(packet, finding, now())

    def _let(self, decision: Decision, passage: Passage) -> None:
        """Give the verdict of a message; its answer goes by the way that it came."""
        self._count(decision)
        if decision.action is _ACCEPT:
            self._consequences.follow(_effects_of(decision), False)
            passage.accept()
            return
        passage.drop()
        for effect in decision.effects:
            if isinstance(effect, Reply):
                passage.reply(effect)

    def _give(self, decision: Decision, packet: QueuedPacket, is_turn: bool) -> None:
        """Count, and give the verdict: after what opens, before what closes, and the reply.

        With *is_turn* somebody will say when it leaves, and that the turn has ended.
        """
        self._count(decision)
        if decision.action is _ACCEPT:
            self._consequences.follow(_effects_of(decision), is_turn)
            packet.accept()
            return
        packet.drop()
        for effect in decision.effects:
            if isinstance(effect, Reply):
                self._reply(effect)

    def _count(self, decision: Decision) -> None:
        self.packets += 1
        judgement = decision.judgement
        _count(self.by_verdict, judgement.action._value_)
        _count(self.by_reason, judgement.reason._value_)
        if judgement.action is not _ACCEPT:
            _count(self.by_blocked, judgement.reason._value_)


def _effects_of(decision: Decision) -> tuple[Effect, ...]:
    effects, renewals = decision.effects, decision.renewals
    return (*effects, *renewals) if renewals else effects


def now() -> Moment:
    """Return this instant, read once per packet."""
    return Moment(_monotonic_s(), _utc_s())


def _count(counts: dict[str, int], word: str) -> None:
    counts[word] = counts.get(word, 0) + 1

"""Run a capture through the guard: the same code as live, with the capture's clock."""

from collections import Counter
from collections.abc import Callable, Iterator
from traceback import format_exception
from typing import Final, NamedTuple

from sipguard.cli.media_rerun import MediaRerun
from sipguard.edge.capture import Captured, CaptureReader
from sipguard.edge.pcap_file import Progress
from sipguard.guard import Guard
from sipguard.journal.escape import safe_text
from sipguard.moment import Moment
from sipguard.policy.rules import Policy
from sipguard.reason import Reason
from sipguard.verdict import Action, ClosePinhole, Decision, Effect, Judgement, OpenPinhole
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Kind, classify

_SECRET: Final = b"sipguard replay"  # of To tags in replies nobody sends; the same every time
_TICK_S: Final = 1.0
_FAULTY: Final = Decision(
    Action.DROP, Judgement(Action.DROP, Reason.INTERNAL_ERROR, "internal-error")
)


class Tally(NamedTuple):
    """What messages with the same outcome have in common."""

    kind: str
    verdict: str
    reason: str
    rule: str


class Rerun:
    """Judges a capture once: iterate for its SIP messages, then read the counts."""

    def __init__(
        self,
        capture: str,
        policy: Policy,
        progress: Progress | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """Open the capture; ``EdgeError`` if that cannot be."""
        self.reader = CaptureReader(capture, progress, warn)
        self.counts: Counter[Tally] = Counter()
        self.opened = 0
        self.closed = 0
        self.faults = 0
        self.skipped = 0  # neither SIP nor on a SIP port: media, mostly
        self._warn = warn or (lambda _sentence: None)
        self._guard = Guard(policy, _SECRET)
        self.media = MediaRerun(self._guard, policy.recheck_s) if policy.proof_within_s else None
        self._sip_ports = frozenset(policy.sip_ports)

    def __iter__(self) -> Iterator[tuple[Captured, Decision]]:
        """Yield each SIP message with its decision; other things on a SIP port only count."""
        guard, ports, counts = self._guard, self._sip_ports, self.counts
        new = tuple.__new__  # as Tally(...), at half the price
        clock_s = next_tick_s = float("-inf")
        for captured in self.reader:
            packet = captured.packet
            kind = classify(packet.payload)
            time_s = captured.time_s
            clock_s = max(clock_s, time_s)  # captures step back; a monotonic clock does not
            now = Moment(clock_s, time_s)
            if kind is not Kind.SIP and not (packet.dport in ports or packet.sport in ports):
                if not self._is_media(packet, now):
                    self.skipped += 1
                continue
            if clock_s >= next_tick_s:
                next_tick_s = clock_s + _TICK_S
                self._count_holes(guard.tick(now))
                guard.forget(now)
            decision = self._judge(packet, now)
            judgement = decision.judgement
            action, reason = judgement.action, judgement.reason
            counts[new(Tally, (kind._value_, action._value_, reason._value_, judgement.rule))] += 1
            if decision.effects:
                self._count_holes(decision.effects)
            if decision.renewals and self.media is not None:
                self.media.follow(decision.renewals)
            if kind is Kind.SIP:
                yield captured, decision

    def _judge(self, packet: Packet, now: Moment) -> Decision:
        """Judge as the service does: a fault of our own costs one message, and is told once.

        Nobody fetches certificates for a night that is over: what was not given
        by file is unknown here.
        """
        try:
            decision = self._guard.judge(packet, now)
            if decision.action is Action.HOLD:
                decision = self._guard.judge_again(packet, now, last=True)
            return decision
        except Exception as fault:  # noqa: BLE001 - whatever it is, the capture goes on
            self._fail(fault)
            return _FAULTY

    def _is_media(self, packet: Packet, now: Moment) -> bool:
        """Show a datagram of a negotiated stream to the gate; False where it is of none."""
        try:
            return self.media is not None and self.media.take(packet, now)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the capture goes on
            self._fail(fault)
            return True

    def _fail(self, fault: Exception) -> None:
        if not self.faults:
            self._warn(f"a fault of sipguard's own, please report it:\n{_trace(fault)}")
        self.faults += 1

    def _count_holes(self, effects: tuple[Effect, ...]) -> None:
        if self.media is not None:
            self.media.follow(effects)
        for effect in effects:
            if isinstance(effect, OpenPinhole):
                self.opened += 1
            elif isinstance(effect, ClosePinhole):
                self.closed += 1


def _trace(fault: Exception) -> str:
    return safe_text("".join(format_exception(fault)).strip()).replace("\\x0a", "\n")

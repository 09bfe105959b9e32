"""Run a capture through the guard: the same code as live, with the capture's clock."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from math import floor
from traceback import format_exception
from typing import Final, NamedTuple

from sipguard.cli.media_rerun import MediaRerun
from sipguard.edge.capture import Captured, CaptureReader
from sipguard.edge.pcap_file import Progress
from sipguard.guard import Guard
from sipguard.journal.escape import escape_capped, safe_text
from sipguard.moment import Moment
from sipguard.policy.rules import Policy
from sipguard.reason import Reason
from sipguard.verdict import Action, ClosePinhole, Decision, Effect, Judgement, OpenPinhole
from sipguard.wire.packet import Packet, show_address
from sipguard.wire.sip import Kind, classify

_SECRET: Final = b"sipguard replay"  # of To tags in replies nobody sends; the same every time
_TICK_S: Final = 1.0
_SHOWN_OCTETS: Final = 256
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # shown sooner without

# For showing only: what the guard reads, it reads by wire.sip.
_REQUEST: Final = re.compile(rb"(?i)[\r\n]*([\w.!%*+`'~-]{1,64})[ \t]+[^\r\n]*SIP/[0-9]")
_RESPONSE: Final = re.compile(rb"(?i)[\r\n]*SIP/2\.0 +([1-6][0-9]{2})[ \r\n]")
_CALL_ID: Final = re.compile(rb"(?i)[\r\n](?:call-id|i)[ \t]*:[ \t]*([^\r\n]*)")
_USUAL_CALL_ID: Final = b"\r\nCall-ID: "

_HoleEffect = OpenPinhole | ClosePinhole
_HOLE_EFFECTS: Final = (OpenPinhole, ClosePinhole)  # isinstance is slow with a union

_FAULTY: Final = Decision(
    Action.DROP, Judgement(Action.DROP, Reason.INTERNAL_ERROR, "internal-error")
)


class Tally(NamedTuple):
    """What messages with the same outcome have in common."""

    kind: str
    verdict: str
    reason: str
    rule: str


class Label(NamedTuple):
    """What a message calls itself: one of method and status, or neither if unreadable."""

    method: str | None
    status: int | None
    call_id: str | None


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
        guard, ports = self._guard, self._sip_ports
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
            decision = self._judge(packet, now)
            judgement = decision.judgement
            self.counts[
                Tally(
                    kind._value_, judgement.action._value_, judgement.reason._value_, judgement.rule
                )
            ] += 1
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
        self.opened += sum(isinstance(effect, OpenPinhole) for effect in effects)
        self.closed += sum(isinstance(effect, ClosePinhole) for effect in effects)


def render_json(captured: Captured, decision: Decision) -> str:
    """Return the JSON line of one message; its keys are a contract.

    Written out, as ``json.dumps`` of a dictionary takes as long as the judging. Not quoted
    is what can hold no character that JSON escapes.
    """
    packet, judgement = captured.packet, decision.judgement
    label = label_of(packet.payload)
    method = "null" if label.method is None else f'"{label.method}"'
    call_id = "null" if label.call_id is None else _quoted(label.call_id)
    found = json.dumps(_rules_of(decision)) if decision.findings else "[]"
    holes = ", ".join(map(_hole_json, _pinholes(decision))) if decision.effects else ""
    return (
        f'{{"time": "{show_moment(captured.time_s)}", "time_s": {captured.time_s!r}, '
        f'"src": "{show_address(packet.src)}", "src_port": {packet.sport}, '
        f'"dst": "{show_address(packet.dst)}", "dst_port": {packet.dport}, '
        f'"transport": "{packet.transport}", "method": {method}, '
        f'"status": {label.status or "null"}, "call_id": {call_id}, '
        f'"verdict": "{judgement.action._value_}", "code": {code_of(decision) or "null"}, '
        f'"rule": {_quoted(judgement.rule)}, "reason": "{judgement.reason._value_}", '
        f'"findings": {found}, "pinholes": [{holes}]}}\n'
    )


def _hole_json(effect: _HoleEffect) -> str:
    hole = effect.hole
    return (
        f'{{"action": "{_action_of(effect)}", "src": "{show_address(hole.source)}", '
        f'"dst": "{show_address(hole.destination)}", "port": {hole.port}, '
        f'"key_method": {_quoted(effect.key_method)}}}'
    )


def render_line(captured: Captured, decision: Decision) -> str:
    """Return one message as a line for a person."""
    packet, judgement = captured.packet, decision.judgement
    label = label_of(packet.payload)
    code = code_of(decision)
    verdict = f"{judgement.action._value_} {code}" if code else judgement.action._value_
    what = str(label.status) if label.status else label.method or "unreadable"
    holes = "".join(
        f"  {_action_of(effect)} {show_address(effect.hole.source)} > "
        f"{show_address(effect.hole.destination)}:{effect.hole.port}"
        for effect in _pinholes(decision)
    )
    rules = _rules_of(decision)
    found = f" [{' '.join(rules)}]" if rules else ""
    return (
        f"{show_moment(captured.time_s)}  {show_address(packet.src):<15} "
        f"{show_address(packet.dst):<15} {what:<10} {verdict:<10} "
        f"{judgement.rule} ({judgement.reason._value_}){found}{holes}\n"
    )


def label_of(payload: bytes) -> Label:
    """Return what a message calls itself, escaped and capped."""
    at = payload.find(_USUAL_CALL_ID)
    if at >= 0:
        at += len(_USUAL_CALL_ID)
        end = payload.find(b"\r\n", at)
        call_id: bytes | None = payload[at:end] if end >= 0 else payload[at:]
    else:
        found = _CALL_ID.search(payload)
        call_id = found[1] if found else None
    shown = None if call_id is None else escape_capped(call_id.strip(), _SHOWN_OCTETS)
    if not payload.startswith(b"SIP/"):  # no method has a slash
        request = _REQUEST.match(payload)
        if request is not None:
            return Label(request[1].decode("ascii"), None, shown)
    response = _RESPONSE.match(payload)
    return Label(None, int(response[1]) if response else None, shown)


def show_moment(utc_s: float) -> str:
    """Return ISO 8601 in UTC with microseconds; a time out of range reads as the epoch."""
    try:
        second = floor(utc_s)
        micros = round((utc_s - second) * 1e6)
        return f"{_show_second(second + micros // 1_000_000)}.{micros % 1_000_000:06}Z"
    except (OverflowError, ValueError):
        return show_moment(0.0)


@lru_cache(maxsize=64)
def _show_second(utc_s: int) -> str:
    return (_EPOCH + timedelta(seconds=utc_s)).isoformat(timespec="seconds")


def _trace(fault: Exception) -> str:
    return safe_text("".join(format_exception(fault)).strip()).replace("\\x0a", "\n")


def code_of(decision: Decision) -> int | None:
    """Return the status that a refusal answers with, if it is one."""
    judgement = decision.judgement
    if judgement.action is not Action.REJECT:
        return None
    return judgement.status or judgement.reason.status or None


def _rules_of(decision: Decision) -> list[str]:
    """Return each finding's id in the rule book once, in order."""
    return list(dict.fromkeys(finding.rule for finding in decision.findings if finding.rule))


def _pinholes(decision: Decision) -> list[_HoleEffect]:
    return [effect for effect in decision.effects if isinstance(effect, _HOLE_EFFECTS)]


def _action_of(effect: _HoleEffect) -> str:
    return "open" if isinstance(effect, OpenPinhole) else "close"

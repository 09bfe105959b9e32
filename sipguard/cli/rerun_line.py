"""One judged message of a capture as a line: JSON for programs, or words for a person.

Compiled, as it runs once per message.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from math import floor
from typing import Final, NamedTuple

from sipguard.edge.capture import Captured
from sipguard.journal.escape import escape_capped
from sipguard.verdict import Action, ClosePinhole, Decision, OpenPinhole
from sipguard.wire.packet import show_address

_SHOWN_OCTETS: Final = 256
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # shown sooner without

# For showing only: what the guard reads, it reads by wire.sip.
_REQUEST: Final = re.compile(rb"(?i)[\r\n]*([\w.!%*+`'~-]{1,64})[ \t]+[^\r\n]*SIP/[0-9]")
_RESPONSE: Final = re.compile(rb"(?i)[\r\n]*SIP/2\.0 +([1-6][0-9]{2})[ \r\n]")
_CALL_ID: Final = re.compile(rb"(?i)[\r\n](?:call-id|i)[ \t]*:[ \t]*([^\r\n]*)")
_USUAL_CALL_ID: Final = b"\r\nCall-ID: "

_HoleEffect = OpenPinhole | ClosePinhole


class Label(NamedTuple):
    """What a message calls itself: one of method and status, or neither if unreadable."""

    method: str | None
    status: int | None
    call_id: str | None


def render_json(captured: Captured, decision: Decision) -> str:
    """Return the JSON line of one message; its keys are a contract.

    Written out, as ``json.dumps`` of a dictionary takes as long as the judging. Not quoted
    is what can hold no character that JSON escapes.
    """
    packet, judgement = captured.packet, decision.judgement
    label = label_of(packet.payload)
    time_s = repr(captured.time_s)  # compiled, !r would go by way of str.format
    method = "null" if label.method is None else f'"{label.method}"'
    call_id = "null" if label.call_id is None else _quoted(label.call_id)
    found = json.dumps(_rules_of(decision)) if decision.findings else "[]"
    holes = ", ".join(map(_hole_json, _pinholes(decision))) if decision.effects else ""
    return (
        f'{{"time": "{show_moment(captured.time_s)}", "time_s": {time_s}, '
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
        shown = _show_second(second + micros // 1_000_000)
        return f"{shown}.{str(micros % 1_000_000).rjust(6, '0')}Z"
    except (OverflowError, ValueError):
        return show_moment(0.0)


@lru_cache(maxsize=64)
def _show_second(utc_s: int) -> str:
    return (_EPOCH + timedelta(seconds=utc_s)).isoformat(timespec="seconds")


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
    return [
        effect for effect in decision.effects if isinstance(effect, (OpenPinhole, ClosePinhole))
    ]


def _action_of(effect: _HoleEffect) -> str:
    return "open" if isinstance(effect, OpenPinhole) else "close"

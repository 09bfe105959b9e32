"""From a judged packet to the plain values that the journal keeps."""

from collections.abc import Sequence
from typing import Final

from sipguard.calls.dialog import Dialog
from sipguard.evidence import Evidence
from sipguard.journal.observation import Condition, MediaNote, Observation, label_of
from sipguard.journal.observation import Step as Rung
from sipguard.media.sessions import Stream
from sipguard.moment import Moment
from sipguard.policy.rules import Rule
from sipguard.reason import Finding
from sipguard.verdict import Action, Judgement
from sipguard.weight import Weight
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Message


def observation_of(
    packet: Packet,
    message: Message | None,
    judgement: Judgement,
    action: Action,
    mode: str,
    now: Moment,
    *,
    findings: tuple[Finding, ...] = (),
    dialog: Dialog | None = None,
    streams: tuple[Stream, ...] = (),
    noted: tuple[Rule, ...] = (),
    proofs: tuple[tuple[str, Evidence], ...] = (),
    why: Condition | None = None,
) -> Observation:
    """Gather everything a reviewer may ask about one message the next morning."""
    detail = judgement.detail
    if noted:
        names = ", ".join(rule.name for rule in noted)
        detail = f"{detail} [shadow rules that match: {names}]".strip()
    method, sip_status, uri, from_, to, contact, call_id, cseq, branch, agent, start = (
        _NOTHING if message is None else _told_by(message)
    )
    channel = packet.channel
    state = ""
    ladder: tuple[Rung, ...] = ()
    if dialog is not None:
        state, ladder = dialog.state.name.lower(), _ladder_of(dialog)
    elif message is not None:
        ladder = ((now.utc_s, label_of(method, sip_status), packet.src, packet.dst),)
    return tuple.__new__(  # as Observation(...), at a fraction of the price
        Observation,
        (
            now.utc_s, action, judgement.action, judgement.reason, packet.src, packet.dst,
            packet.sport, packet.dport, mode, judgement.rule, judgement.place, detail,
            judgement.octets, judgement.status, judgement.phrase, findings, packet.transport,
            packet.interface, channel.zone, channel.ipsec, method, sip_status, uri, from_, to,
            contact, call_id, cseq, branch, agent, start, state,
            tuple([_note_of(stream) for stream in streams]), judgement.log, judgement.alarm,
            packet.payload, ladder, proofs, why,
        ),
    )  # fmt: skip


def heaviest(findings: Sequence[Finding]) -> Finding | None:
    """Return the finding that decides: unreadable before ambiguous before malformed."""
    best = None
    for finding in findings:
        if finding.reason.weight is Weight.NOTE:
            continue
        if best is None or _RANK[finding.reason.weight] > _RANK[best.reason.weight]:
            best = finding
    return best


_RANK = {
    Weight.NOTE: 0,
    Weight.OVERSIZE: 1,
    Weight.MALFORMED: 2,
    Weight.AMBIGUOUS: 3,
    Weight.UNREADABLE: 4,
}


_Told = tuple[
    bytes, int, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes
]  # from ``method`` to ``start_line``
_NOTHING: Final[_Told] = (b"", 0, b"", b"", b"", b"", b"", b"", b"", b"", b"")


def _told_by(message: Message) -> _Told:
    """Return what an observation has of a message, in its order."""
    return (
        message.method,
        message.status,
        message.uri,
        message.header(b"from") or b"",
        message.header(b"to") or b"",
        message.header(b"contact") or b"",
        message.header(b"call-id") or b"",
        message.header(b"cseq") or b"",
        b"" if message.ids is None else message.ids.branch,
        message.user_agent,
        message.raw.partition(b"\r\n")[0][:512],
    )


def _ladder_of(dialog: Dialog) -> tuple[Rung, ...]:
    caller = dialog.caller_hosts[0] if dialog.caller_hosts else b""
    callee = dialog.callee_hosts[0] if dialog.callee_hosts else b""
    return tuple(
        (utc_s, label, caller, callee) if from_caller else (utc_s, label, callee, caller)
        for utc_s, label, from_caller in dialog.ladder
    )


def _note_of(stream: Stream) -> MediaNote:
    return MediaNote(
        stream.kind,
        stream.proto,
        stream.method,
        stream.suite,
        stream.keyed,
        stream.reason,
        stream.caller,
        stream.callee,
        stream.detail,
    )

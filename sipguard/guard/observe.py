"""From a judged packet to the plain values that the journal keeps."""

from collections.abc import Sequence

from sipguard.calls.dialog import Dialog
from sipguard.evidence import Evidence
from sipguard.journal.observation import Answer, Condition, MediaNote, Observation
from sipguard.journal.observation import Step as Rung
from sipguard.media.sessions import Stream
from sipguard.moment import Moment
from sipguard.policy.rules import Rule
from sipguard.policy.why import NOTHING, Why
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
    why: Why = NOTHING,
) -> Observation:
    """Gather everything a reviewer may ask about one message the next morning."""
    observation = Observation(
        utc_s=now.utc_s,
        action=action,
        judged=judgement.action,
        reason=judgement.reason,
        src=packet.src,
        dst=packet.dst,
        sport=packet.sport,
        dport=packet.dport,
        mode=mode,
        rule=judgement.rule,
        place=judgement.place,
        detail=judgement.detail,
        octets=judgement.octets,
        status=judgement.status,
        phrase=judgement.phrase,
        findings=findings,
        transport=packet.transport,
        interface=packet.interface,
        zone=packet.channel.zone,
        ipsec=packet.channel.ipsec,
        media=tuple(_note_of(stream) for stream in streams),
        log=judgement.log,
        alarm=judgement.alarm,
        raw=packet.payload,
        proofs=proofs,
        condition=_condition_of(why),
    )
    if noted:
        names = ", ".join(rule.name for rule in noted)
        observation.detail = f"{observation.detail} [shadow rules that match: {names}]".strip()
    if message is not None:
        _describe(observation, message)
    if dialog is not None:
        observation.dialog = dialog.state.name.lower()
        observation.ladder = _ladder_of(dialog)
    elif message is not None:
        observation.ladder = ((now.utc_s, observation.label, packet.src, packet.dst),)
    return observation


def _condition_of(why: Why) -> Condition | None:
    if not why.condition:
        return None
    tests = tuple(Answer(test.text, test.holds, test.values) for test in why.tests)
    return Condition(why.condition, why.any, tests)


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


def _describe(observation: Observation, message: Message) -> None:
    observation.method = message.method
    observation.sip_status = message.status
    observation.request_uri = message.uri
    observation.from_ = message.header(b"from") or b""
    observation.to = message.header(b"to") or b""
    observation.contact = message.header(b"contact") or b""
    observation.call_id = message.header(b"call-id") or b""
    observation.cseq = message.header(b"cseq") or b""
    observation.user_agent = message.user_agent
    observation.start_line = message.raw.partition(b"\r\n")[0][:512]
    if message.ids is not None:
        observation.branch = message.ids.branch


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

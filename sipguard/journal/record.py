"""One judged call attempt as one self-contained JSON object, masked and escaped.

A ``Record`` holds text that is safe to store, to mail and to print. Its keys
and their order (``to_json``) are a contract with whatever reads the lines.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address
from types import MappingProxyType
from typing import Final, NamedTuple

from sipguard.journal.condition import condition_json
from sipguard.journal.escape import escape_capped, safe_text
from sipguard.journal.masking import mask, traces_of_secrets
from sipguard.journal.observation import MediaNote, Observation, Step
from sipguard.journal.proofs import Json as Json
from sipguard.journal.proofs import findings_in, proofs_json
from sipguard.journal.shown import FIELD_OCTETS, quoted, shown
from sipguard.reason import Reason
from sipguard.verdict import Action, Endpoint

SCHEMA_VERSION: Final = 1  # of record.schema.json: grows where a key goes or changes its meaning
MESSAGE_OCTETS: Final = 8_192  # of the message kept beside a record
MAX_FINDINGS: Final = 16
MAX_MEDIA: Final = 16
MAX_LADDER: Final = 32
_LABEL_OCTETS: Final = 48
_LINE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # made once
_KEPT_FIRST: Final = 8  # a long ladder keeps its start and its latest rows


class Similar(NamedTuple):
    """Another verdict on the same call attempt: by which rule, for which reason, how often."""

    verdict: str
    rule: str
    reason: str
    count: int  # type: ignore[assignment] # tuple's own is asked by nobody


class Rung(NamedTuple):
    """One message of the ladder; ``verdict`` is empty where this record did not count it."""

    time_s: float
    message: str
    src: str
    dst: str
    verdict: str = ""


class Record(NamedTuple):
    """What a reviewer may read about one call attempt; see ``to_json`` for the meaning of each.

    ``message`` is the masked message itself, kept beside the JSON and not in
    it; empty in an update of a record that was written before.
    """

    id: str
    first_s: float
    last_s: float
    verdict: Action
    applied: Action
    mode: str
    rule: str
    place: str
    reason: Reason
    detail: str
    field: str
    src: bytes
    src_port: int
    dst: bytes
    dst_port: int
    transport: str
    interface: str
    method: str
    status: int
    request_uri: str
    from_: str
    to: str
    contact: str
    call_id: str
    cseq: str
    branch: str
    user_agent: str
    identity: dict[str, Json]
    media: tuple[Json, ...]
    dialog: str
    findings: tuple[Json, ...]
    ladder: tuple[Rung, ...]
    caller: str
    code: int
    phrase: str
    alarm: bool
    octets: int
    message: bytes = b""
    count: int = 1  # type: ignore[assignment] # as above
    more: int = 0
    elsewhere: bool = False
    also: tuple[Similar, ...] = ()
    streams: tuple[Json, ...] = ()  # how they ended, each direction beside its other one
    zone: str = ""
    ipsec: bool = False
    more_streams: int = 0  # directions that found no room in ``streams``
    condition: Mapping[str, Json] = MappingProxyType({})  # of a rule that refused

    @property
    def why(self) -> str:
        """The operator's sentence, then the detail."""
        return explain_in_words(self.reason, self.rule, self.detail)

    def to_json(self) -> dict[str, Json]:
        """Return the record as JSON values, its keys in their documented order."""
        return {
            "id": self.id,
            "time": iso_time(self.first_s),
            "verdict": self.verdict.value,
            "mode": self.mode,
            "rule": self.rule,
            "place": self.place,
            "reason": self.reason.value,
            "why": self.why,
            "field": self.field,
            "src": show_address(self.src),
            "src_port": self.src_port,
            "dst": show_address(self.dst),
            "dst_port": self.dst_port,
            "transport": self.transport,
            "interface": self.interface,
            "zone": self.zone,
            "ipsec": self.ipsec,
            "method": self.method,
            "status": self.status or None,
            "request_uri": self.request_uri,
            "from": self.from_,
            "to": self.to,
            "contact": self.contact,
            "call_id": self.call_id,
            "cseq": self.cseq,
            "branch": self.branch,
            "user_agent": self.user_agent,
            "identity": self.identity,
            "media": list(self.media),
            "dialog": self.dialog,
            "count": self.count,
            "more": self.more,
            "more_from_others": self.elsewhere,
            "first_time": iso_time(self.first_s),
            "last_time": iso_time(self.last_s),
            "findings": list(self.findings),
            "ladder": [_rung_json(rung) for rung in self.ladder],
            "also": [_similar_json(similar) for similar in self.also],
            "caller": self.caller,
            "applied": self.applied.value,
            "code": self.code or None,
            "phrase": self.phrase,
            "alarm": self.alarm,
            "packets": {"octets": self.octets, "kept": min(self.octets, MESSAGE_OCTETS)},
            "streams": list(self.streams),
            "more_streams": self.more_streams,
            "condition": dict(self.condition),
            "schema": SCHEMA_VERSION,
        }

    def to_line(self) -> str:
        """Return one line of JSON without its line end."""
        return _LINE.encode(self.to_json())


def record_of(seen: Observation, identifier: str) -> Record:
    """Mask, escape and cap what the guard told; nothing of the peer gets past this unmasked."""
    masked = mask(seen.raw)
    found = (*seen.findings, *findings_in(seen.proofs))
    quotes = seen.octets or any(finding.octets for finding in found)
    traces = traces_of_secrets(seen.raw, masked) if seen.raw and quotes else None
    refused = seen.judged is Action.REJECT
    return Record(
        id=identifier,
        first_s=seen.utc_s,
        last_s=seen.utc_s,
        verdict=seen.judged,
        applied=seen.action,
        mode=seen.mode,
        rule=safe_text(seen.rule),
        place=safe_text(seen.place),
        reason=seen.reason,
        detail=safe_text(seen.detail),
        field=quoted(seen.octets, traces),
        src=seen.src,
        src_port=seen.sport,
        dst=seen.dst,
        dst_port=seen.dport,
        transport=seen.transport,
        interface=safe_text(seen.interface),
        zone=safe_text(seen.zone),
        ipsec=seen.ipsec,
        method=shown(seen.method),
        status=seen.sip_status,
        request_uri=shown(seen.request_uri),
        from_=shown(seen.from_),
        to=shown(seen.to),
        contact=shown(seen.contact),
        call_id=shown(seen.call_id),
        cseq=shown(seen.cseq),
        branch=shown(seen.branch),
        user_agent=shown(seen.user_agent),
        identity=proofs_json(seen.proofs, traces),
        media=tuple(media_json(note) for note in seen.media[:MAX_MEDIA]),
        dialog=safe_text(seen.dialog),
        findings=tuple(
            {
                "rule": finding.rule,
                "reason": finding.reason.value,
                "detail": safe_text(finding.detail),
                "octets": quoted(finding.octets, traces),
            }
            for finding in seen.findings[:MAX_FINDINGS]
        ),
        ladder=bounded_ladder(
            (*map(rung_of, seen.ladder), rung_of(own_step(seen), seen.judged.value))
        ),
        caller=caller_of(seen.from_),
        code=(seen.status or seen.reason.status) if refused else 0,
        phrase=safe_text(seen.phrase),
        alarm=seen.alarm,
        octets=len(seen.raw),
        message=masked[:MESSAGE_OCTETS],
        condition=condition_json(seen.condition),
    )


def explain_in_words(reason: Reason, rule: str, detail: str) -> str:
    """Return the sentence of *reason*, with the rule's name where the rule alone decided."""
    sentence = reason.sentence
    if rule and reason is Reason.REFUSED_BY_RULE:
        sentence = f"The rule {rule} of the policy refuses it."
    elif rule and reason is Reason.ACCEPTED:
        sentence = f"The rule {rule} of the policy accepts it."
    return f"{sentence} ({detail})" if detail else sentence


def caller_of(from_: bytes) -> str:
    """Return ``user@host`` of a From value, however broken, for filters and groups.

    This is the *claimed* caller: nobody has proven it.
    """
    value = from_[:FIELD_OCTETS]
    opened = value.rfind(b"<")
    if opened >= 0:
        value = value[opened + 1 :].partition(b">")[0]
    value = mask(value, cut=len(from_) > FIELD_OCTETS)
    scheme, colon, rest = value.strip().partition(b":")
    value = rest if colon and scheme.lower() in {b"sip", b"sips", b"tel"} else value.strip()
    user, at, host = value.rpartition(b"@")
    host = host.partition(b";")[0].partition(b"?")[0].lower()
    user = user.partition(b":")[0]
    return escape_capped(user + at + host, FIELD_OCTETS)


def rung_of(step: Step, verdict: str = "") -> Rung:
    """Return one row of a ladder from octets."""
    utc_s, label, source, destination = step
    words = escape_capped(mask(label[:_LABEL_OCTETS], cut=True), _LABEL_OCTETS)
    return Rung(utc_s, words, show_address(source), show_address(destination), verdict)


def own_step(seen: Observation) -> Step:
    """Return the judged message itself as a step of the ladder."""
    return seen.utc_s, (seen.label or seen.start_line)[:_LABEL_OCTETS], seen.src, seen.dst


def bounded_ladder(rungs: tuple[Rung, ...]) -> tuple[Rung, ...]:
    """Sort by time, drop rows told twice, and keep the first and the latest where it grows long."""
    by_row: dict[tuple[float, str, str, str], Rung] = {}
    for rung in rungs:
        row = (rung.time_s, rung.message, rung.src, rung.dst)
        if rung.verdict or row not in by_row:
            by_row[row] = rung
    ordered = sorted(by_row.values(), key=lambda rung: rung.time_s)
    if len(ordered) <= MAX_LADDER:
        return tuple(ordered)
    return tuple(ordered[:_KEPT_FIRST] + ordered[_KEPT_FIRST - MAX_LADDER :])


@lru_cache(maxsize=64)  # a record tells most of its times four times over
def iso_time(utc_s: float) -> str:
    """Return ISO 8601 in UTC with milliseconds; a clock out of any range reads as the epoch."""
    try:
        moment = datetime.fromtimestamp(utc_s, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_address(address: bytes) -> str:
    """Return the text of 4 or 16 address octets; empty for none, escaped for anything else."""
    if len(address) == 4:
        return ".".join(map(str, address))
    if len(address) == 16:
        return str(IPv6Address(address))
    return escape_capped(address, 16)


def _end(end: Endpoint) -> Json:
    return {"address": show_address(end.address), "port": end.port}


def media_json(note: MediaNote) -> Json:
    """Return one stream as it was negotiated, or refused."""
    return {
        "kind": shown(note.kind),
        "transport": shown(note.proto),
        "key_method": shown(note.key_method),
        "suite": shown(note.suite),
        "keyed": note.keyed,
        "reason": note.reason.value,
        "detail": safe_text(note.detail),
        "caller": _end(note.caller),
        "callee": _end(note.callee),
    }


def _rung_json(rung: Rung) -> Json:
    return {
        "time": iso_time(rung.time_s),
        "message": rung.message,
        "src": rung.src,
        "dst": rung.dst,
        "verdict": rung.verdict,
    }


def _similar_json(similar: Similar) -> Json:
    return {
        "verdict": similar.verdict,
        "rule": similar.rule,
        "reason": similar.reason,
        "count": similar.count,
    }

"""What the guard tells, as octets: records are made in another process.

Only our own two processes speak this, of one version and on one machine, so there is no
version in it and a reader trusts its shape. What a peer wrote is octets in there like any
others: ``marshal`` makes plain values of them and runs no code.
"""

import marshal
from typing import Final

from sipguard.evidence import Evidence, State
from sipguard.journal.observation import Answer, Condition, MediaNote, Observation, Step
from sipguard.journal.streams import Closer, StreamEnd
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Endpoint

_VERSION: Final = 2  # of marshal's format: later ones look for what stands twice, which takes time

_End = tuple[bytes, int]
_Found = tuple[str, str, bytes]
_Proof = tuple[
    str, str, _Found | None, tuple[_Found, ...], bytes, tuple[bytes, ...], bytes, bytes,
    tuple[tuple[bytes, _Found], ...],
]  # fmt: skip
_Note = tuple[bytes, bytes, bytes, bytes, bool, str, _End, _End, str]
_Test = tuple[str, bool | None, tuple[tuple[str, bytes], ...]]
_Asked = tuple[str, bool, tuple[_Test, ...]]
_Head = tuple[
    float, str, str, str, bytes, bytes, int, int, str, str, str, str, bytes, int, str, str, str,
    str, bool,
]  # fmt: skip
_Fields = tuple[
    bytes, int, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, str, bool, bool,
    bytes,
]  # fmt: skip
_Parts = tuple[
    tuple[_Found, ...], tuple[_Note, ...], tuple[Step, ...], tuple[_Proof, ...], _Asked | None
]
_Seen = tuple[_Head, _Fields, _Parts]
_Ended = tuple[
    float, bytes, bytes, bytes, int, bytes, str, bytes, str, str, str, int, int, int
]  # fmt: skip


def pack(seen: Observation) -> bytes:
    """Return an observation as octets; the packet's own way, so it costs a few microseconds."""
    (
        utc_s, action, judged, reason, src, dst, sport, dport, mode, rule, place, detail, octets,
        status, phrase, findings, transport, interface, zone, ipsec, method, sip_status,
        request_uri, from_, to, contact, call_id, cseq, branch, user_agent, start_line, dialog,
        media, log, alarm, raw, ladder, proofs, condition,
    ) = seen  # fmt: skip
    head: _Head = (
        utc_s, action._value_, judged._value_, reason._value_, src, dst, sport, dport, mode, rule,
        place, detail, octets, status, phrase, transport, interface, zone, ipsec,
    )  # fmt: skip
    fields: _Fields = (
        method, sip_status, request_uri, from_, to, contact, call_id, cseq, branch, user_agent,
        start_line, dialog, log, alarm, raw,
    )  # fmt: skip
    parts: _Parts = (
        tuple([_found(finding) for finding in findings]) if findings else (),
        tuple([_note(note) for note in media]) if media else (),
        ladder,
        tuple([_proof(kind, evidence) for kind, evidence in proofs]) if proofs else (),
        _asked(condition),
    )
    told: _Seen = (head, fields, parts)
    return marshal.dumps(told, _VERSION)


def unpack(octets: bytes) -> Observation:
    """Return the observation that ``pack`` was given."""
    told: _Seen = marshal.loads(octets)  # noqa: S302 - our own octets, see above
    head, fields, (findings, media, ladder, proofs, asked) = told
    utc_s, action, judged, reason, src, dst, sport, dport, mode, rule, place, detail = head[:12]
    quoted, status, phrase, transport, interface, zone, ipsec = head[12:]
    method, sip_status, request_uri, from_, to, contact, call_id, cseq = fields[:8]
    branch, user_agent, start_line, dialog, log, alarm, raw = fields[8:]
    return Observation(
        utc_s, _ACTIONS[action], _ACTIONS[judged], _REASONS[reason], src, dst, sport, dport,
        mode, rule, place, detail, quoted, status, phrase,
        tuple([_finding(found) for found in findings]),
        transport, interface, zone, ipsec, method, sip_status, request_uri, from_, to, contact,
        call_id, cseq, branch, user_agent, start_line, dialog,
        tuple([_media_note(note) for note in media]),
        log, alarm, raw, ladder,
        tuple([(proof[0], _evidence(proof)) for proof in proofs]),
        _condition(asked),
    )  # fmt: skip


def pack_end(end: StreamEnd) -> bytes:
    """Return the end of a stream as octets."""
    told: _Ended = (
        end.utc_s, end.call_id, end.source, end.destination, end.port, end.kind, end.key_method,
        end.suite, end.told, end.reason._value_, end.closer._value_, end.packets, end.octets,
        end.source_port,
    )  # fmt: skip
    return marshal.dumps(told, _VERSION)


def unpack_end(octets: bytes) -> StreamEnd:
    """Return the end that ``pack_end`` was given."""
    told: _Ended = marshal.loads(octets)  # noqa: S302 - our own octets, see above
    reason, closer = _REASONS[told[9]], Closer(told[10])
    return StreamEnd(*told[:9], reason, closer, *told[11:])


_ACTIONS: Final = {action.value: action for action in Action}
_REASONS: Final = {reason.value: reason for reason in Reason}
_STATES: Final = {state.value: state for state in State}


def _found(finding: Finding) -> _Found:
    return finding.reason._value_, finding.detail, finding.octets


def _finding(found: _Found) -> Finding:
    return Finding(_REASONS[found[0]], found[1], found[2])


def _proof(kind: str, of: Evidence) -> _Proof:
    return (
        kind, of.state._value_, None if of.finding is None else _found(of.finding),
        tuple([_found(note) for note in of.notes]), of.signer, of.covers, of.attest, of.orig,
        tuple([(token, _found(finding)) for token, finding in of.failures]),
    )  # fmt: skip


def _evidence(proof: _Proof) -> Evidence:
    _, state, found, notes, signer, covers, attest, orig, failures = proof
    return Evidence(
        _STATES[state],
        None if found is None else _finding(found),
        notes=tuple([_finding(note) for note in notes]),
        signer=signer,
        covers=covers,
        attest=attest,
        orig=orig,
        failures=tuple([(token, _finding(failed)) for token, failed in failures]),
    )


def _note(note: MediaNote) -> _Note:
    return (
        note.kind, note.proto, note.key_method, note.suite, note.keyed, note.reason._value_,
        (note.caller.address, note.caller.port), (note.callee.address, note.callee.port),
        note.detail,
    )  # fmt: skip


def _media_note(note: _Note) -> MediaNote:
    kind, proto, key_method, suite, keyed, reason, caller, callee, detail = note
    ends = Endpoint(*caller), Endpoint(*callee)
    return MediaNote(kind, proto, key_method, suite, keyed, _REASONS[reason], *ends, detail)


def _asked(condition: Condition | None) -> _Asked | None:
    if condition is None:
        return None
    tests = tuple([(test.text, test.holds, test.values) for test in condition.tests])
    return condition.text, condition.any, tests


def _condition(asked: _Asked | None) -> Condition | None:
    if asked is None:
        return None
    text, any_, tests = asked
    return Condition(text, any_, tuple([Answer(*test) for test in tests]))

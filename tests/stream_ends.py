"""Ends of media streams, and refused packets of them, as the edge and the guard tell them."""

from sipguard.journal.observation import MediaNote, Observation
from sipguard.journal.streams import Closer, StreamEnd
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Endpoint

NOON = 1_767_268_800.0
ALICE, BOB = bytes([10, 0, 0, 5]), bytes([10, 0, 0, 9])
CALL = b"a84b4c@h"
SUITE = b"AES_CM_128_HMAC_SHA1_80"


def ended(
    source: bytes = ALICE,
    destination: bytes = BOB,
    port: int = 4000,
    *,
    at_s: float = NOON,
    call_id: bytes = CALL,
    kind: bytes = b"audio",
    told: str = "SRTP tag verified",
    reason: Reason = Reason.CALL_ENDED,
    closer: Closer = Closer.CALLEE,
    packets: int = 1502,
    source_port: int = 40000,
) -> StreamEnd:
    """Return the end of one direction; without packets it has proven nothing."""
    return StreamEnd(
        at_s,
        call_id,
        source,
        destination,
        port,
        kind,
        "sdes",
        SUITE,
        told if packets else "",
        reason,
        closer,
        packets,
        packets * 172,
        source_port if packets else 0,
    )


def refused(
    at_s: float = NOON,
    source: bytes = ALICE,
    reason: Reason = Reason.PLAIN_RTP,
    *,
    call_id: bytes = CALL,
    judged: Action = Action.DROP,
    detail: str = "",
    sport: int = 40000,
) -> Observation:
    """Return what the guard tells of a packet that is not what was promised."""
    destination = BOB if source == ALICE else ALICE
    ends = Endpoint(source, sport), Endpoint(destination, 4000)
    note = MediaNote(b"audio", b"", b"sdes", SUITE, True, reason, *ends, detail)
    return Observation(
        utc_s=at_s,
        action=judged,
        judged=judged,
        reason=reason,
        src=source,
        dst=destination,
        sport=sport,
        dport=4000,
        rule="media-proof",
        place="/etc/sipguard/gateway.policy",
        detail=detail,
        findings=(Finding(reason, detail),),
        method=b"media audio",
        call_id=call_id,
        media=(note,),
        log=True,
    )


def invited(
    at_s: float = NOON,
    source: bytes = ALICE,
    *,
    call_id: bytes = CALL,
    judged: Action = Action.ACCEPT,
    method: bytes = b"INVITE",
) -> Observation:
    """Return what the guard tells of a call's message that a rule logs, or refuses."""
    return Observation(
        utc_s=at_s,
        action=judged,
        judged=judged,
        reason=Reason.ACCEPTED if judged is Action.ACCEPT else Reason.REFUSED_BY_RULE,
        src=source,
        dst=BOB,
        sport=5060,
        dport=5060,
        rule="calls",
        place="gateway.policy:7",
        method=method,
        request_uri=b"sip:bob@example.com",
        from_=b"<sip:alice@example.com>;tag=1",
        to=b"<sip:bob@example.com>",
        contact=b"<sip:alice@10.0.0.5>",
        call_id=call_id,
        log=True,
        raw=b"INVITE sip:bob@example.com SIP/2.0\r\n\r\n",
    )

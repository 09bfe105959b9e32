"""A store that has what strangers put into their messages in every field."""

from pathlib import Path

from nights import NOON, B, X, keep, night, request

from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.record import record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action


def everywhere(directory: Path, hostile: bytes) -> str:
    """Store a record with it in every field that a stranger writes, and one of the guard's."""
    short = hostile[:300]
    night(directory, [(0.0, X, B, request(user=hostile, more=b"User-Agent: %b\r\n" % hostile))])
    seen = Observation(
        utc_s=NOON + 1, action=Action.REJECT, judged=Action.REJECT, reason=Reason.REFUSED_BY_RULE,
        src=X, dst=B, sport=5060, dport=5060, rule="spoofed", status=403,
        place=f"{directory}/gateway.policy:10", octets=hostile, transport="udp",
        method=hostile[:40], request_uri=hostile, from_=b"<sip:%b@h>" % hostile, to=hostile,
        contact=hostile, call_id=hostile, cseq=hostile, branch=hostile, user_agent=hostile,
        raw=b"INVITE sip:b@h SIP/2.0\r\nFrom: %b\r\n\r\n" % hostile,
        findings=(Finding(Reason.BAD_URI, "x", hostile),),
    )  # fmt: skip
    seen = seen._replace(ladder=((NOON, short, X, B), (NOON + 0.5, hostile, B, X)))
    keep(directory, [record_of(seen, id_of(5))])
    return id_of(5)

"""Records of what strangers may write into a message, for every format."""

from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.record import Record, record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action

NOON = 1_780_000_000.25
A = bytes((192, 0, 2, 7))
B = bytes((198, 51, 100, 9))
A6 = bytes.fromhex("20010db8000000000000000000000007")


def observed(
    hostile: bytes = b"alice", *, src: bytes = A, action: Action = Action.DROP, **more: object
) -> Observation:
    """Return one with it in every field that a stranger writes."""
    return Observation(
        utc_s=NOON, action=action, judged=action, reason=Reason.REFUSED_BY_RULE,
        src=src, dst=B if len(src) == 4 else A6[:-1] + b"\x09", sport=5060, dport=5062,
        rule="spoofed", place="gateway.policy:10", octets=hostile, transport="udp",
        method=hostile[:40] if hostile != b"alice" else b"INVITE",
        request_uri=hostile, from_=b"<sip:%b@h>" % hostile, to=hostile,
        contact=hostile, call_id=hostile, cseq=hostile, branch=hostile, user_agent=hostile,
        raw=b"INVITE sip:b@h SIP/2.0\r\nFrom: <sip:%b@h>\r\nCall-ID: c1\r\n\r\n" % hostile,
        findings=(Finding(Reason.BAD_URI, "x", hostile),),
    )._replace(**more)  # type: ignore[arg-type]  # fmt: skip


def record(hostile: bytes = b"alice", number: int = 5, **more: object) -> Record:
    """Return its record."""
    return record_of(observed(hostile, **more), id_of(number))  # type: ignore[arg-type]

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
CORPUS = {
    "plain": b"alice",
    "html": b"<script>alert(1)</script>",
    "screen": b"\x1b[2J\x1b]0;owned\x07",
    "c1": b"\xc2\x9b2J\x9b2J",
    "right-to-left": "\u202egnirts\u202c \u2066x\u2069 \u200f".encode(),
    "invisible": "a\u200bb\ufeffc\u3164d\U000e0041".encode(),
    "line ends": b"a\nFAKE LINE\rb\x0bc\x0cd\xc2\x85e\xe2\x80\xa8f",
    "nul": b"a\x00b",
    "invalid utf-8": b"\xff\xfe\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80",
    "60 KB": b"A" * 60_000,
    "60 KB wide": "山".encode() * 20_000,
    "60 KB escaped": b"\\]\"" * 20_000,
    "structured data": b'x"] [evil@1 src="203.0.113.66"] <13>1 ',
    "end of quote": b'" src=203.0.113.66 caller="',
    "cef": b"x|10|src=203.0.113.66 act=accept\\|\\=",
    "whole line": b"2026-01-01T00:00:00.000Z sipguard[refused]: src=203.0.113.66 verdict=drop "
    b"mode=enforce reason=replay rule=x method=INVITE count=1 id=00000000 caller=\"x\"",
    "new whole line": b"x\n2026-01-01T00:00:00.000Z sipguard[refused]: src=203.0.113.66 "
    b"verdict=drop mode=enforce reason=replay rule=x method=INVITE count=1 id=0 caller=\"x\"\n",
    "backslashes": b"\\x1b\\\\ \\u202e \\",
    "label": b'"} 1\nsipguard_up{x="',
}  # fmt: skip


def observed(
    hostile: bytes = b"alice", *, src: bytes = A, action: Action = Action.DROP, **more: object
) -> Observation:
    """Return one with it in every field that a stranger writes."""
    seen = Observation(
        utc_s=NOON, action=action, judged=action, reason=Reason.REFUSED_BY_RULE,
        src=src, dst=B if len(src) == 4 else A6[:-1] + b"\x09", sport=5060, dport=5062,
        rule="spoofed", place="gateway.policy:10", octets=hostile, transport="udp",
        method=hostile[:40] if hostile != b"alice" else b"INVITE",
        request_uri=hostile, from_=b"<sip:%b@h>" % hostile, to=hostile,
        contact=hostile, call_id=hostile, cseq=hostile, branch=hostile, user_agent=hostile,
        raw=b"INVITE sip:b@h SIP/2.0\r\nFrom: <sip:%b@h>\r\nCall-ID: c1\r\n\r\n" % hostile,
        findings=(Finding(Reason.BAD_URI, "x", hostile),),
    )  # fmt: skip
    for name, value in more.items():
        setattr(seen, name, value)
    return seen


def record(hostile: bytes = b"alice", number: int = 5, **more: object) -> Record:
    """Return its record."""
    return record_of(observed(hostile, **more), id_of(number))  # type: ignore[arg-type]

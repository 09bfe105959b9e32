"""What strangers put into their messages, and a store that has it in every field."""

from pathlib import Path

from nights import NOON, B, X, keep, night, request

from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.record import record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action

CORPUS = {
    "html": b"<script>alert(1)</script>",
    "attribute": b'" onmouseover="alert(1)" x=\'',
    "screen": b"\x1b[2J\x1b[1;1H\x1b]0;owned\x07",
    "link": b"\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "c1": b"\xc2\x9b2J\x9b2J",
    "right-to-left": "\u202egnirts\u202c \u2066x\u2069 \u200f".encode(),
    "isolates": "\u2068\u2068\u2068".encode(),
    "hebrew": "שלום".encode() * 20,
    "marks": ("e" + "\u0301" * 60).encode(),
    "invisible": "a\u200bb\ufeffc\u3164d\U000e0041".encode(),
    "line ends": b"a\nFAKE LINE\rb\x0bc\x0cd\xc2\x85e\xe2\x80\xa8f",
    "nul": b"a\x00b",
    "invalid utf-8": b"\xff\xfe\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80",
    "60 KB": b"A" * 60_000,
    "60 KB wide": "山".encode() * 20_000,
    "formula": b'=HYPERLINK("http://evil","x")',
    "plus": b"+1+cmd|' /C calc'!A0",
    "minus": b"-2+3",
    "at": b"@SUM(1+1)",
    "tab": b"\t=1",
    "quotes": b'",=1+1,"\r\n=2',
    "markup": b"[bold red]x[/bold red][link=http://evil]y[/link] :bomb:",
    "broken markup": b"[/nothing] [",
    "braces": b"{src} {0.__class__} %s %n",
    "backslashes": b"\\x1b\\\\ \\u202e \\",
    "shell": b"$(reboot)`reboot`;reboot",
}


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
    seen.ladder = ((NOON, short, X, B), (NOON + 0.5, hostile, B, X))
    keep(directory, [record_of(seen, id_of(5))])
    return id_of(5)

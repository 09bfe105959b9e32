"""Messages as people save them, and the commands that sign them."""

from collections.abc import Callable
from pathlib import Path

ALICE, NUMBER = "alice@example.com", "+49301234560"
URL = "https://certs.example.com/1.pem"
BODY = """\
v=0
o=- 1 1 IN IP4 192.0.2.10
s=-
c=IN IP4 192.0.2.10
t=0 0
m=audio 4000 UDP/TLS/RTP/SAVP 0
a=setup:actpass
a=fingerprint:sha-256 {}
""".format(":".join(["0A"] * 32))
INVITE = f"""\
INVITE sip:bob@198.51.100.20 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1
Max-Forwards: 70
f: "Alice, at work" <sip:{ALICE}>;tag=a
To: <sip:bob@example.com>
Call-ID: trial-1
CSeq: 7 INVITE
Contact: <sip:alice@192.0.2.10:5060>
Subject: folded
 here
Content-Type: application/sdp
Content-Disposition: session

{BODY}"""
CALL = INVITE.replace(ALICE, f"{NUMBER}@example.com;user=phone").replace(
    "sip:bob@example.com", "tel:+49-30-999"
)
Run = Callable[..., tuple[int, str, str]]


def sign(identity: Run, trial: Path, message: Path, who: str, *more: object) -> bytes:
    """Sign a message and return it."""
    name = who.removeprefix("+")
    stem = trial / name
    if not Path(f"{stem}.key").exists():
        assert identity("issue", trial, who)[0] == 0
    target = message.parent / "signed.txt"
    given = ["sign-message", message, "--key", f"{stem}.key", "--cert", f"{stem}.pem"]
    code, _, err = identity(*given, "-o", target, *more)
    assert code == 0, err
    return target.read_bytes()

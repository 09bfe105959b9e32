"""A night at a gateway, judged by the guard and stored: what review commands are tried on."""

from pathlib import Path

from sipguard.edge.policy_file import Files, read_policy
from sipguard.edge.store import Store
from sipguard.guard import Guard
from sipguard.journal.ledger import Ledger
from sipguard.journal.observation import Observation
from sipguard.journal.record import Record
from sipguard.moment import Moment
from sipguard.wire.packet import Packet

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
A, B, X = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), bytes([203, 0, 113, 66])
POLICY = """\
mode enforce
default drop
set phones { 10.0.0.0/8 }
set own { example.com }
chain parse
  ambiguous  drop        if ambiguous
chain request
  replayed   drop        if replay                                              log
  stray      drop        if method in {ACK BYE} and not dialog.known            log
  spoofed    reject 403  if from.host in own and src not in phones              log
  unsigned   reject 428  if src not in phones and not (aib.valid or stir.attest in {A B})  log
  phones     accept      if src in phones
chain media
  plain      reject 488  if not keyed                                           log
  sealed     open        if keyed
"""
KEYED = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"


def sdp(host: bytes, keyed: bool = True) -> bytes:
    return (
        b"v=0\r\no=- 1 1 IN IP4 %b\r\ns=-\r\nc=IN IP4 %b\r\nt=0 0\r\nm=audio 4000 RTP/%b 0\r\n%b"
        % (host, host, b"SAVP" if keyed else b"AVP", KEYED if keyed else b"")
    )


def request(
    method: bytes = b"INVITE",
    call: bytes = b"call-1",
    user: bytes = b"alice",
    host: bytes = b"example.com",
    body: bytes = b"",
    more: bytes = b"",
    number: int = 1,
    to_tag: bytes = b"",
    source: bytes = b"10.0.0.1",
) -> bytes:
    kind = b"Content-Type: application/sdp\r\n" if body else b""
    return (
        b"%b sip:bob@example.com SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP %b:5060;branch=z9hG4bK%b%d%b\r\nMax-Forwards: 70\r\n"
        b"From: <sip:%b@%b>;tag=a\r\nTo: <sip:bob@example.com>%b\r\nCall-ID: %b\r\n"
        b"CSeq: %d %b\r\nContact: <sip:%b@%b>\r\n%b%bContent-Length: %d\r\n\r\n%b"
        % (method, source, call, number, method, user, host, b";tag=" + to_tag if to_tag else b"",
           call, number, method, user, source, more, kind, len(body), body)
    )  # fmt: skip


def response(status: int, method: bytes, call: bytes, body: bytes = b"") -> bytes:
    kind = b"Content-Type: application/sdp\r\n" if body else b""
    return (
        b"SIP/2.0 %d OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK%b1%b\r\n"
        b"From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>;tag=b\r\nCall-ID: %b\r\n"
        b"CSeq: 1 %b\r\nContact: <sip:bob@10.0.0.2>\r\n%bContent-Length: %d\r\n\r\n%b"
        % (status, call, method, call, method, kind, len(body), body)
    )


ANSWER = sdp(b"10.0.0.2").replace(b"WVNfX19zZW1jdGwg", b"d0RmdmcmVCspeEc3")
Told = tuple[float, bytes, bytes, bytes]  # seconds after noon, source, destination, octets

# A call with its forged BYE, a spoofed and an unsigned call, one in clear, one ambiguous.
NIGHT: list[Told] = [
    (0.0, A, B, request(body=sdp(b"10.0.0.1"))),
    (0.1, B, A, response(200, b"INVITE", b"call-1", ANSWER)),
    (0.2, A, B, request(b"ACK", to_tag=b"b")),
    (3.5, X, B, request(b"BYE", number=7, to_tag=b"b", source=b"203.0.113.66")),
    (10.0, X, B, request(call=b"call-2", source=b"203.0.113.66", body=sdp(b"203.0.113.66"))),
    (20.0, X, B, request(call=b"call-3", user=b"eve", host=b"example.net", source=b"203.0.113.66",
                         body=sdp(b"203.0.113.66"))),
    (30.0, A, B, request(call=b"call-4", body=sdp(b"10.0.0.1", keyed=False))),
    (40.0, A, B, request(call=b"call-5", more=b"Call-ID: other\r\n")),
]  # fmt: skip


def night(directory: Path, told: list[Told] = NIGHT, policy: str = POLICY) -> dict[str, str]:
    """Judge and store it; return the ids by rule, or by who decided."""
    file = directory / "gateway.policy"
    file.write_text(policy)
    seen: list[Observation] = []
    guard = Guard(read_policy(str(file), Files()), b"secret", record=seen.append)
    for at_s, src, dst, octets in told:
        guard.judge(Packet(src, dst, 5060, 5060, octets), Moment(at_s, NOON + at_s))
    ledger = Ledger()
    made = [record for record in map(ledger.note, seen) if record is not None]
    keep(directory, [*made, *ledger.flush(NOON + 100)])
    return {record.rule: record.id for record in made}


def keep(directory: Path, records: list[Record]) -> None:
    """Store records."""
    store = Store(directory)
    store.write(records, NOON + 100)
    assert not store.last_error
    store.close()

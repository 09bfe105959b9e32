"""Calls as octets: what telephones, proxies and attackers send, for tests of calls and guard.

The same arguments give the same octets, so that calling twice is a
retransmission. ``Desk`` is a book of calls alone, ``World`` a whole guard;
both keep the clock and write down what they let through.
"""

from collections.abc import Iterable
from typing import NamedTuple

from phones import ALICE, ANSWER, BOB, OFFER, octets
from subjects import load

from sipguard.calls.book import Book, Ended
from sipguard.calls.standing import Stand, Standing
from sipguard.guard import Guard
from sipguard.journal.observation import Observation
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, Decision, Effect, Hole, OpenPinhole, Reply
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message, parse_message

MALLORY = "192.0.2.66"  # inside an accepted network, on no call's path
STRANGER = "198.18.0.66"  # in no network that the policy knows
MONDAY_S = 1_704_715_200.0
COPIED = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
OFFER_BODY, ANSWER_BODY = OFFER.raw, ANSWER.raw

POLICY = """
default drop
on-unknown-dialog drop
set phones { 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 }
chain request
  stranger   drop        if src not in phones   log
  replayed   drop        if replay              log
  hijack     reject 403  if registration.foreign
  hosts      accept      if src in phones
chain media
  plain      reject 488  if not keyed
  sealed     open        if keyed               idle 60s
"""


def request(
    method: str,
    *,
    branch: str,
    sender: str = ALICE,
    call_id: str = "call-1",
    from_tag: str = "a",
    to_tag: str = "",
    cseq: int = 1,
    uri: str = "sip:bob@example.com",
    from_: str = "sip:alice@example.com",
    to: str = "sip:bob@example.com",
    contact: str | None = "",
    headers: str = "",
    body: bytes = b"",
    lower_vias: Iterable[str] = (),
    via_params: str = ";rport",
) -> bytes:
    """Return a request; *contact* is a host, by default the sender's, None for no Contact."""
    via = f"[{sender}]" if ":" in sender else sender
    lines = [f"{method} {uri} SIP/2.0"]
    lines.append(f"Via: SIP/2.0/UDP {via}:5060;branch=z9hG4bK-{branch}{via_params}")
    lines += [f"Via: SIP/2.0/UDP {lower}" for lower in lower_vias]
    to_value = f"<{to}>" + (f";tag={to_tag}" if to_tag else "")
    lines += ["Max-Forwards: 70", f"From: <{from_}>;tag={from_tag}", f"To: {to_value}"]
    lines += [f"Call-ID: {call_id}", f"CSeq: {cseq} {method}"]
    if contact is not None and method not in ("ACK", "BYE", "CANCEL", "PRACK"):
        lines.append(f"Contact: <sip:it@{contact or via}:5060>")
    lines += [line for line in headers.splitlines() if line]
    if body:
        lines.append("Content-Type: application/sdp")
    head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", ""))
    return head.encode() + body


def response(
    to: bytes,
    status: int,
    *,
    to_tag: str = "b",
    contact: str = "",
    headers: str = "",
    body: bytes = b"",
) -> bytes:
    """Return a response to the request *to*, copying what RFC 3261 section 8.2.6.2 wants copied."""
    rows = to.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    lines = [b"SIP/2.0 %d Reason" % status]
    for name in COPIED:
        for row in rows:
            if row.startswith(name + b":"):
                tagged = name == b"To" and b";tag=" not in row and to_tag and status > 100
                lines.append(row + (b";tag=" + to_tag.encode() if tagged else b""))
    if contact:
        lines.append(f"Contact: <sip:it@{contact}:5060>".encode())
    lines += [line.encode() for line in headers.splitlines() if line]
    if status in (401, 407) and not headers:
        name = b"WWW-Authenticate" if status == 401 else b"Proxy-Authenticate"
        lines.append(name + b': Digest realm="example.com", nonce="n", qop="auth"')
    if body:
        lines.append(b"Content-Type: application/sdp")
    lines += [b"Content-Length: %d" % len(body), b"", b""]
    return b"\r\n".join(lines) + body


class Dialogue(NamedTuple):
    """One call between two ends, as its messages; hosts and tags are the test's to choose."""

    call_id: str = "call-1"
    caller: str = ALICE
    callee: str = BOB
    caller_tag: str = "a"
    callee_tag: str = "b"

    def invite(self, *, cseq: int = 1, branch: str = "", body: bytes = OFFER_BODY) -> bytes:
        """Return the INVITE that begins it."""
        return request(
            "INVITE",
            branch=branch or f"i{cseq}-{self.call_id}",
            sender=self.caller,
            call_id=self.call_id,
            from_tag=self.caller_tag,
            cseq=cseq,
            body=body,
        )

    def answer(
        self,
        status: int = 200,
        *,
        cseq: int = 1,
        headers: str = "",
        body: bytes = ANSWER_BODY,
        to: bytes = b"",
        to_tag: str = "",
    ) -> bytes:
        """Return a response to the INVITE (or to the request *to*)."""
        plain = status >= 300 or status == 100
        return response(
            to or self.invite(cseq=cseq),
            status,
            to_tag=to_tag or self.callee_tag,
            contact="" if plain else self.callee,
            headers=headers,
            body=b"" if plain else body,
        )

    def inside(
        self,
        method: str,
        *,
        cseq: int = 2,
        by_callee: bool = False,
        branch: str = "",
        headers: str = "",
        body: bytes = b"",
        contact: str | None = "",
        sender: str = "",
    ) -> bytes:
        """Return a request inside the dialog."""
        tags = (self.caller_tag, self.callee_tag)
        side = "callee" if by_callee else "caller"
        return request(
            method,
            branch=branch or f"{method}-{cseq}-{side}-{self.call_id}-{self.callee_tag}",
            sender=sender or (self.callee if by_callee else self.caller),
            call_id=self.call_id,
            from_tag=tags[by_callee],
            to_tag=tags[not by_callee],
            cseq=cseq,
            uri=f"sip:it@{self.caller if by_callee else self.callee}",
            headers=headers,
            body=body,
            contact=contact,
        )

    def ack(self, *, cseq: int = 1, branch: str = "") -> bytes:
        """Return the ACK to a 2xx, a transaction of its own."""
        return self.inside("ACK", cseq=cseq, branch=branch)

    def cancel(self, *, cseq: int = 1) -> bytes:
        """Return the CANCEL of the INVITE."""
        return request(
            "CANCEL",
            branch=f"i{cseq}-{self.call_id}",
            sender=self.caller,
            call_id=self.call_id,
            from_tag=self.caller_tag,
            cseq=cseq,
        )

    def ack_to_failure(self, *, cseq: int = 1, branch: str = "", to_tag: str = "") -> bytes:
        """Return the ACK to a 3xx to 6xx, under the INVITE's branch."""
        return request(
            "ACK",
            branch=branch or f"i{cseq}-{self.call_id}",
            sender=self.caller,
            call_id=self.call_id,
            from_tag=self.caller_tag,
            to_tag=to_tag or self.callee_tag,
            cseq=cseq,
        )


CALL = Dialogue()


def packet(
    raw: bytes, source: str, destination: str, *, sport: int = 5060, transport: str = "udp"
) -> Packet:
    """Return a message on its way."""
    return Packet(octets(source), octets(destination), sport, 5060, raw, transport, "lan0")


def read(raw: bytes) -> tuple[Message, Ids]:
    """Return a message and its ids, which a test's own messages always have."""
    message = parse_message(raw)
    assert message.ids is not None
    return message, message.ids


class Desk:
    """A book of calls whose reader lets everything through that the book does not refuse."""

    def __init__(
        self, *, dialogs: int = 1000, transactions: int = 1000, session_limit_s: float = 43200.0
    ) -> None:
        self.book = Book(
            max_dialogs=dialogs, max_transactions=transactions, session_limit_s=session_limit_s
        )
        self.now_s = 1000.0
        self.ended: list[Ended] = []

    @property
    def now(self) -> Moment:
        """The desk's clock."""
        return Moment(self.now_s, MONDAY_S + self.now_s)

    def see(self, raw: bytes, source: str, destination: str, *, sport: int = 5060) -> Stand:
        """Judge a message, and write it down unless it is refused."""
        message, ids = read(raw)
        way = packet(raw, source, destination, sport=sport)
        if message.is_request:
            stand = self.book.stand_of_request(message, ids, way)
            if stand.standing in (Standing.NEW, Standing.KNOWN):
                self.book.accept_request(stand, message, ids, way, self.now)
        else:
            stand = self.book.stand_of_response(ids, message.status, way)
            if stand.standing is Standing.KNOWN:
                self.ended = self.book.accept_response(stand, message, ids, way, self.now)
        return stand

    def ask(self, raw: bytes, source: str = ALICE, destination: str = BOB) -> Standing:
        """Return a message's standing after :meth:`see`."""
        return self.see(raw, source, destination).standing

    def why(
        self, raw: bytes, source: str = ALICE, destination: str = BOB, *, sport: int = 5060
    ) -> Reason | None:
        """Return the reason why a message is refused, None if it is not."""
        stand = self.see(raw, source, destination, sport=sport)
        if stand.standing in (Standing.NEW, Standing.KNOWN):
            return None
        return stand.finding.reason if stand.finding else None

    def talk(self, call: Dialogue = CALL, *, headers: str = "") -> None:
        """Play INVITE, 180, 200 and ACK."""
        self.see(call.invite(), call.caller, call.callee)
        self.see(call.answer(180, body=b""), call.callee, call.caller)
        self.see(call.answer(200, headers=headers), call.callee, call.caller)
        self.see(call.ack(), call.caller, call.callee)

    def wait(self, seconds: float) -> list[Ended]:
        """Let time pass; return the dialogs that end for it."""
        self.now_s += seconds
        return self.book.expire(self.now)


class World:
    """A guard, its clock, its records, and what the kernel would let pass."""

    def __init__(self, policy: str = POLICY, *, learning: bool = False) -> None:
        self.records: list[Observation] = []
        self.guard = Guard(load(policy), b"secret", record=self.records.append, learning=learning)
        self.now_s = 1000.0
        self.open: set[Hole] = set()
        self.replies: list[Reply] = []

    @property
    def now(self) -> Moment:
        """The world's clock."""
        return Moment(self.now_s, MONDAY_S + self.now_s)

    def send(
        self,
        raw: bytes,
        source: str = ALICE,
        destination: str = BOB,
        *,
        sport: int = 5060,
        transport: str = "udp",
    ) -> Decision:
        """Judge a message and do what the edge would."""
        way = packet(raw, source, destination, sport=sport, transport=transport)
        decision = self.guard.judge(way, self.now)
        self.apply(decision.effects)
        return decision

    def apply(self, effects: Iterable[Effect]) -> None:
        """Open and close as told; nothing is opened twice or closed twice."""
        for effect in effects:
            if isinstance(effect, OpenPinhole):
                assert effect.hole not in self.open, "opened twice"
                self.open.add(effect.hole)
            elif isinstance(effect, ClosePinhole):
                assert effect.hole in self.open, "closed while not open"
                self.open.remove(effect.hole)
            elif isinstance(effect, Reply):
                self.replies.append(effect)

    def passes(self, raw: bytes, source: str = ALICE, destination: str = BOB) -> bool:
        """Whether a message is let through."""
        return self.send(raw, source, destination).action.value == "accept"

    def why(self, raw: bytes, source: str = ALICE, destination: str = BOB) -> Reason:
        """Return the reason of a message's judgement."""
        return self.send(raw, source, destination).judgement.reason

    def talk(self, call: Dialogue = CALL, *, headers: str = "") -> set[Hole]:
        """Play INVITE, 180, 200 and ACK; return what is open then."""
        assert self.passes(call.invite(), call.caller, call.callee)
        assert self.passes(call.answer(180, body=b""), call.callee, call.caller)
        assert self.passes(call.answer(200, headers=headers), call.callee, call.caller)
        assert self.passes(call.ack(), call.caller, call.callee)
        return set(self.open)

    def wait(self, seconds: float) -> None:
        """Let time pass, with a tick at the end."""
        self.now_s += seconds
        self.apply(self.guard.tick(self.now))
        self.guard.forget(self.now)

"""A guard between telephones on paper: whole SIP messages in, verdicts and open holes out.

No kernel and no clock; ``Exchange.send`` is what a datagram crossing the
gateway is, and ``Exchange.wait`` lets time pass.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from sipguard.guard import Guard
from sipguard.journal.observation import Observation
from sipguard.moment import Moment
from sipguard.policy import load_policy
from sipguard.policy.rules import Policy
from sipguard.reason import Finding
from sipguard.verdict import (
    Action,
    ClosePinhole,
    Decision,
    DoubtPinhole,
    Effect,
    Hole,
    OpenPinhole,
    ProvePinhole,
    Reply,
)
from sipguard.wire.packet import Packet, parse_address
from sipguard.wire.sip import parse_message

POLICIES = Path(__file__).parents[1] / "policies"
ALICE, BOB, CAROL, PROXY = "10.20.1.2", "10.20.2.2", "10.20.2.3", "10.20.3.5"
MALLORY, ACCOMPLICE = "10.20.1.66", "10.20.2.66"
ALICE6, BOB6, MALLORY6 = "fd20:1::2", "fd20:2::2", "fd20:1::66"
SUITE = "AES_CM_128_HMAC_SHA1_80"
KEYS = {
    ALICE: "YWxpY2VzX2tleV9hbmRfc2FsdF8zMF9vY3RldHMh",
    BOB: "Ym9ic19vd25fa2V5X2FuZF9zYWx0XzMwX29jdGV0",
}
CHALLENGES = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}
OTHER_KEY = "bmV4dF9vd25fa2V5X2FuZF9zYWx0XzMwX29jdGV0"


@cache
def policy_of(name: str) -> Policy:
    """Return a policy as shipped."""
    return load_policy(name, lambda file: (POLICIES / file).read_text())


def octets(address: str) -> bytes:
    """Return an IP literal as 4 or 16 octets."""
    parsed = parse_address(address.encode())
    assert parsed is not None
    return parsed


def literal(address: str) -> str:
    """Return an IP literal as a URI writes it."""
    return f"[{address}]" if ":" in address else address


def sdp(
    address: str,
    port: int = 30000,
    *attributes: str,
    proto: str = "RTP/SAVP",
    key: str = "",
    version: int = 1,
    origin: str = "",
) -> str:
    """Return a description of one audio stream, keyed by SDES unless *key* is ``-``."""
    family = "IP6" if ":" in address else "IP4"
    lines = ["v=0", f"o=- 1 {version} IN {family} {origin or address}", "s=-"]
    lines += [f"c=IN {family} {address}", "t=0 0", f"m=audio {port} {proto} 0"]
    if key != "-":
        lines.append(f"a=crypto:1 {SUITE} inline:{key or KEYS.get(address, OTHER_KEY)}")
    return "\r\n".join([*lines, *attributes]) + "\r\n"


def message(start: str, lines: Iterable[str], body: str = "", kind: str = "") -> bytes:
    """Return a message with its Content-Type and Content-Length."""
    rows = [start, *lines]
    if body:
        rows.append(f"Content-Type: {kind or 'application/sdp'}")
    rows.append(f"Content-Length: {len(body.encode())}")
    return ("\r\n".join(rows) + "\r\n\r\n" + body).encode()


class Exchange:
    """The guard under test, its clock, and what the kernel and the reply socket would hold."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.now_s = 1000.0
        self.step_s = 0.01  # between one datagram and the next
        self.records: list[Observation] = []
        chosen = policy or policy_of("strict.policy")
        self.guard = Guard(chosen, b"secret" * 8, record=self.records.append)
        self.holes: set[Hole] = set()
        self.proven: set[tuple[Hole, int]] = set()
        self.replies: list[bytes] = []
        self.found: list[Finding] = []  # with every decision
        self.decision: Decision | None = None
        self._numbers = 0

    def number(self) -> int:
        """Return a number never used before."""
        self._numbers += 1
        return self._numbers

    @property
    def now(self) -> Moment:
        """The clock."""
        return Moment(self.now_s, 1_700_000_000 + self.now_s)

    def judge(
        self, payload: bytes, source: str, target: str, ports: tuple[int, int] = (5060, 5060)
    ) -> Decision:
        """Let one datagram cross the gateway."""
        self.now_s += self.step_s
        packet = Packet(octets(source), octets(target), *ports, payload)
        self.decision = self.guard.judge(packet, self.now)
        self.found += self.decision.findings
        self.apply(self.decision.effects)
        return self.decision

    def send(
        self, payload: bytes, source: str, target: str, ports: tuple[int, int] = (5060, 5060)
    ) -> bool:
        """Report whether a datagram passes."""
        return self.judge(payload, source, target, ports).action is Action.ACCEPT

    def why(self) -> str:
        """Say what became of the last datagram."""
        assert self.decision is not None
        judged = self.decision.judgement
        return f"{judged.action.value} {judged.rule} {judged.reason.value} {judged.detail}"

    def apply(self, effects: Sequence[Effect]) -> None:
        """Do what the edge would."""
        for effect in effects:
            match effect:
                case OpenPinhole(hole=hole):
                    self.holes.add(hole)
                case ClosePinhole(hole=hole):
                    self.holes.discard(hole)
                    self.proven = {one for one in self.proven if one[0] != hole}
                case ProvePinhole(hole=hole, source_port=port):
                    self.proven.add((hole, port))
                case DoubtPinhole(hole=hole, source_port=port):
                    self.proven.discard((hole, port))
                case Reply(answer):
                    self.replies.append(answer)

    def wait(self, seconds: float) -> None:
        """Let time pass, with a tick each second as the service has it."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(self.now_s + 1.0, until_s)
            self.apply(self.guard.tick(self.now))
            self.guard.forget(self.now)

    def hears(self, source: str, target: str, port: int) -> bool:
        """Report whether media from *source* reaches *port* of *target*."""
        return Hole(octets(source), octets(target), port) in self.holes


class Leg:
    """One way of a message between two hosts, with the Vias of the hops before it."""

    def __init__(self, source: str, target: str, below: Sequence[str] = ()) -> None:
        self.source = source
        self.target = target
        self.below = tuple(below)

    def back(self) -> "Leg":
        """Return the same way in the other direction."""
        return Leg(self.target, self.source)


class Call:
    """One dialog's identifiers; builds the messages both ends would write."""

    def __init__(
        self, exchange: Exchange, caller: str = ALICE, callee: str = BOB, *, name: str = ""
    ) -> None:
        number = exchange.number()
        self.exchange = exchange
        self.caller, self.callee = caller, callee
        self.call_id = f"{name or 'call'}-{number}@example.org"
        self.from_tag, self.to_tag = f"f{number}", f"t{number}"
        self.cseqs = {caller: 1, callee: 100}
        self.contacts = {
            caller: f"<sip:alice@{literal(caller)}:5060>",
            callee: f"<sip:bob@{literal(callee)}:5060>",
        }
        self.uris = {
            caller: f"<sip:alice@{literal(caller)}>",
            callee: f"<sip:bob@{literal(callee)}>",
        }
        self.last_vias: dict[bytes, str] = {}

    def branch(self) -> str:
        """Return a new branch."""
        return f"z9hG4bKx{self.exchange.number()}"

    def via(self, host: str, *, more: str = "") -> str:
        """Return a Via of *host* with a new branch."""
        return f"SIP/2.0/UDP {literal(host)}:5060;branch={self.branch()}{more};rport"

    def request(
        self,
        method: str,
        sender: str = "",
        *,
        cseq: int = 0,
        body: str = "",
        kind: str = "",
        in_dialog: bool = True,
        vias: Sequence[str] = (),
        extra: Sequence[str] = (),
        uri: str = "",
        contact: str | None = None,
        to_tag: str | None = None,
        from_tag: str | None = None,
    ) -> bytes:
        """Return a request of one end, by default the caller, inside the dialog."""
        sender = sender or self.caller
        other = self.callee if sender == self.caller else self.caller
        tags = (self.from_tag, self.to_tag)
        if sender == self.callee:
            tags = (self.to_tag, self.from_tag)
        theirs = tags[1] if to_tag is None else to_tag
        if cseq == 0:
            self.cseqs[sender] += in_dialog and method not in ("ACK", "CANCEL")
            cseq = self.cseqs[sender]
        lines = [f"Via: {via}" for via in (vias or [self.via(sender)])]
        lines += [
            "Max-Forwards: 70",
            f"From: {self.uris[sender]};tag={from_tag or tags[0]}",
            f"To: {self.uris[other]}" + (f";tag={theirs}" if in_dialog and theirs else ""),
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
        ]
        here = self.contacts[sender] if contact is None else contact
        if here:
            lines.append(f"Contact: {here}")
        target = uri or f"sip:x@{literal(other)}"
        return message(f"{method} {target} SIP/2.0", [*lines, *extra], body, kind)

    def invite(self, body: str | None = None, **more: object) -> bytes:
        """Return the INVITE that forms the dialog."""
        offer = sdp(self.caller) if body is None else body
        return self.request("INVITE", body=offer, in_dialog=False, **more)  # type: ignore[arg-type]

    def response(
        self,
        request: bytes,
        status: int,
        *,
        body: str = "",
        to_tag: str = "",
        extra: Sequence[str] = (),
        contact: str | None = None,
        vias: Sequence[bytes] = (),
    ) -> bytes:
        """Return the response of whoever got *request*."""
        read = parse_message(request)
        assert read.ids is not None
        to = read.ids.to.raw
        if not read.ids.to_tag and status > 100:
            to += b";tag=" + (to_tag or self.to_tag).encode()
        echoed = [
            *(b"Via: " + via for via in (vias or read.values(b"via"))),
            b"From: " + read.ids.from_.raw,
            b"To: " + to,
            b"Call-ID: " + read.ids.call_id,
            b"CSeq: %d %b" % (read.ids.cseq, read.ids.method),
        ]
        lines = [row.decode() for row in echoed]
        from_caller = read.ids.from_tag == self.from_tag.encode()
        here = self.contacts[self.callee if from_caller else self.caller]
        if contact is not None:
            here = contact
        if here and status < 400 and status != 100:
            lines.append(f"Contact: {here}")
        if status in CHALLENGES and not any("uthenticate:" in line for line in extra):
            lines.append(f'{CHALLENGES[status]}: Digest realm="example.org", nonce="n", qop="auth"')
        return message(f"SIP/2.0 {status} Said", [*lines, *extra], body)

    # --- the usual steps, each of which must pass

    def must(self, payload: bytes, source: str, target: str) -> bytes:
        """Send what has to pass."""
        passed = self.exchange.send(payload, source, target)
        assert passed, f"{payload.split(b' SIP')[0][:60]!r}: {self.exchange.why()}"
        return payload

    def ask(
        self,
        method: str,
        sender: str = "",
        *,
        answer: int = 200,
        body: str = "",
        reply: str = "",
        extra: Sequence[str] = (),
        reply_extra: Sequence[str] = (),
        **more: object,
    ) -> bytes:
        """Play an in-dialog request and its answer."""
        sender = sender or self.caller
        other = self.callee if sender == self.caller else self.caller
        request = self.request(method, sender, body=body, extra=extra, **more)  # type: ignore[arg-type]
        self.must(request, sender, other)
        self.must(self.response(request, answer, body=reply, extra=reply_extra), other, sender)
        return request

    def ring(self, status: int = 180, **more: object) -> bytes:
        """Play INVITE and a provisional answer."""
        invite = self.must(self.invite(**more), self.caller, self.callee)  # type: ignore[arg-type]
        self.must(self.response(invite, status), self.callee, self.caller)
        return invite

    def establish(self, offer: str | None = None, answer: str | None = None) -> bytes:
        """Play INVITE, 180, 200 and ACK; return the INVITE."""
        invite = self.must(self.invite(offer), self.caller, self.callee)
        self.must(self.response(invite, 180), self.callee, self.caller)
        described = sdp(self.callee, 40000) if answer is None else answer
        self.must(self.response(invite, 200, body=described), self.callee, self.caller)
        self.must(self.request("ACK"), self.caller, self.callee)
        return invite

    def reinvite(self, sender: str, offer: str, answer: str, status: int = 200) -> bytes:
        """Play a re-INVITE of one end."""
        other = self.callee if sender == self.caller else self.caller
        request = self.ask("INVITE", sender, body=offer, reply=answer, answer=status)
        ack = self.request("ACK", sender, cseq=self.cseqs[sender])
        if status >= 300:
            via = parse_message(request).values(b"via")[0].decode()
            ack = self.request("ACK", sender, cseq=self.cseqs[sender], vias=[via])
        self.must(ack, sender, other)
        return request

    def hang_up(self, sender: str = "") -> None:
        """Play BYE and its 200."""
        self.ask("BYE", sender)

    @property
    def has_media(self) -> bool:
        """Whether media flows both ways."""
        hears = self.exchange.hears
        return hears(self.caller, self.callee, 40000) and hears(self.callee, self.caller, 30000)


Played = Callable[[Exchange], None]

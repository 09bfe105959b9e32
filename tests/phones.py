"""Calls on paper: telephones that hand Steps to Sessions, for the tests of the media room.

Whatever a test plays, the script checks that a hole is only opened when it is
closed and only closed when it is open.
"""

from sipguard.media.sessions import NOTHING, Opened, Opening, Outcome, Party, Sessions, Step, Stream
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, Effect, Hole, OpenPinhole
from sipguard.wire.packet import parse_address
from sipguard.wire.sdp import Sdp, parse_sdp

ALICE, BOB, CAROL, PROXY = "192.0.2.10", "198.51.100.20", "198.51.100.30", "203.0.113.5"
ALICE6, BOB6 = "2001:db8:1::10", "2001:db8:2::20"
KEY_A = "inline:YWxpY2VzX2tleV9hbmRfc2FsdF8zMF9vY3RldHMh"
KEY_A2 = "inline:YWxpY2VzX25leHRfa2V5X3NhbHQhXzMwX29jdGV0"
KEY_B = "inline:Ym9ic19vd25fa2V5X2FuZF9zYWx0XzMwX29jdGV0"
KEY_B2 = "inline:Ym9ic19uZXh0X2tleV9hbmRfc2FsdF8zMF9vY3Rl"
SUITE = "AES_CM_128_HMAC_SHA1_80"
CRYPTO_A, CRYPTO_A2 = f"a=crypto:1 {SUITE} {KEY_A}", f"a=crypto:1 {SUITE} {KEY_A2}"
CRYPTO_B, CRYPTO_B2 = f"a=crypto:1 {SUITE} {KEY_B}", f"a=crypto:1 {SUITE} {KEY_B2}"
PRINT_A = "a=fingerprint:sha-256 " + ":".join(["A1"] * 32)
PRINT_B = "a=fingerprint:SHA-256 " + ":".join(["b2"] * 32)
DTLS = "UDP/TLS/RTP/SAVPF"


def octets(address: str) -> bytes:
    """Return an IP literal as 4 or 16 octets."""
    parsed = parse_address(address.encode())
    assert parsed is not None
    return parsed


def body(
    address: str, *media: str, session: tuple[str, ...] = (), version: int = 1, end: str = "\r\n"
) -> bytes:
    """Return a session description; each of *media* is an ``m=`` line and what follows it."""
    family = "IP6" if ":" in address else "IP4"
    lines = [
        "v=0",
        f"o=- 1 {version} IN {family} {address}",
        "s=-",
        f"c=IN {family} {address}",
        "t=0 0",
        *session,
        *(line for section in media for line in section.split("\n")),
    ]
    return "".join(line + end for line in lines).encode()


def audio(port: int, *attributes: str, proto: str = "RTP/SAVP") -> str:
    """Return an audio section."""
    return "\n".join((f"m=audio {port} {proto} 0", "a=rtpmap:0 PCMU/8000", *attributes))


def sdp(
    address: str, *media: str, session: tuple[str, ...] = (), version: int = 1, end: str = "\r\n"
) -> Sdp:
    """Return :func:`body` parsed."""
    return parse_sdp(body(address, *media, session=session, version=version, end=end))


OFFER = sdp(ALICE, audio(30000, CRYPTO_A))
ANSWER = sdp(BOB, audio(40000, CRYPTO_B))


def hole(source: str, destination: str, port: int) -> Hole:
    """Return one hole."""
    return Hole(octets(source), octets(destination), port)


def both_ways(a: str, a_port: int, b: str, b_port: int) -> set[Hole]:
    """Return the four holes of an RTP stream with RTCP on the next port."""
    return {
        hole(b, a, a_port),
        hole(b, a, a_port + 1),
        hole(a, b, b_port),
        hole(a, b, b_port + 1),
    }


CALL_HOLES = both_ways(ALICE, 30000, BOB, 40000)


def open_all(stream: Stream) -> Opened:
    """Judge like a policy that opens whatever is keyed."""
    return Opened(Opening.OPEN if stream.keyed else Opening.REFUSE, 60)


def refuse_all(stream: Stream) -> Opened:
    """Judge like a policy that opens nothing."""
    return Opened(Opening.REFUSE, 60)


class Script:
    """One call between two hosts, step by step; ``open`` is what the kernel would let pass."""

    def __init__(
        self,
        sessions: Sessions | None = None,
        *,
        call_id: bytes = b"call-1",
        caller: str = ALICE,
        callee: str = BOB,
        opened: set[Hole] | None = None,
    ) -> None:
        self.sessions = sessions or Sessions()
        self.call = (call_id, b"from-tag")
        self.hosts = {Party.CALLER: caller, Party.CALLEE: callee}
        self.now_s = 100.0
        self.open: set[Hole] = set() if opened is None else opened
        self.judge = open_all
        self.outcome: Outcome = NOTHING

    @property
    def now(self) -> Moment:
        """The script's clock."""
        return Moment(self.now_s, self.now_s)

    @property
    def reasons(self) -> set[Reason]:
        """The reasons of the last step's findings."""
        return {finding.reason for finding in self.outcome.findings}

    def apply(self, effects: tuple[Effect, ...]) -> None:
        """Do what the kernel would; no effect may ask for what is done already."""
        for effect in effects:
            if isinstance(effect, OpenPinhole):
                assert effect.hole not in self.open, "opened twice"
                self.open.add(effect.hole)
            elif isinstance(effect, ClosePinhole):
                assert effect.hole in self.open, "closed while not open"
                self.open.remove(effect.hole)

    def step(
        self,
        method: str,
        status: int,
        described: Sdp | None,
        *,
        sender: Party,
        cseq: int,
        tag: bytes,
        reliable: bool,
        path: tuple[str, str] | None,
        transport: str = "udp",
    ) -> Step:
        """Return a step; *path* is source and destination, by default the two hosts."""
        other = Party.CALLEE if sender is Party.CALLER else Party.CALLER
        source, destination = path or (self.hosts[sender], self.hosts[other])
        return Step(
            self.call,
            tag,
            sender,
            status == 0,
            method.encode(),
            status,
            reliable,
            cseq,
            octets(source),
            octets(destination),
            described,
            transport,
        )

    def observe(self, step: Step) -> Outcome:
        """Hand a step to the sessions and carry its effects out."""
        self.outcome = self.sessions.observe(step, self.judge, self.now)
        self.apply(self.outcome.effects)
        return self.outcome

    def request(
        self,
        method: str,
        described: Sdp | None = None,
        *,
        cseq: int = 1,
        sender: Party = Party.CALLER,
        tag: bytes = b"to-tag",
        path: tuple[str, str] | None = None,
        transport: str = "udp",
    ) -> Outcome:
        """Play an in-dialog request."""
        return self.observe(
            self.step(
                method,
                0,
                described,
                sender=sender,
                cseq=cseq,
                tag=tag,
                reliable=False,
                path=path,
                transport=transport,
            )
        )

    def invite(
        self, described: Sdp | None = OFFER, *, cseq: int = 1, path: tuple[str, str] | None = None
    ) -> Outcome:
        """Play the dialog-forming INVITE."""
        return self.request("INVITE", described, cseq=cseq, tag=b"", path=path)

    def response(
        self,
        status: int,
        described: Sdp | None = None,
        *,
        method: str = "INVITE",
        cseq: int = 1,
        sender: Party = Party.CALLEE,
        tag: bytes = b"to-tag",
        reliable: bool = False,
        path: tuple[str, str] | None = None,
        transport: str = "udp",
    ) -> Outcome:
        """Play a response."""
        return self.observe(
            self.step(
                method,
                status,
                described,
                sender=sender,
                cseq=cseq,
                tag=tag,
                reliable=reliable,
                path=path,
                transport=transport,
            )
        )

    def talk(self, offer: Sdp = OFFER, answer: Sdp = ANSWER) -> set[Hole]:
        """Play INVITE, 200 and ACK; return what is open then."""
        self.invite(offer)
        outcome = self.response(200, answer)
        self.request("ACK")
        self.outcome = outcome
        return set(self.open)

    def wait(self, seconds: float) -> None:
        """Let time pass and the timers run."""
        self.now_s += seconds
        self.apply(self.sessions.expire(self.now))

    def end(self, tag: bytes = b"to-tag") -> None:
        """End a dialog as the guard does on the 2xx to BYE."""
        self.apply(self.sessions.ended(self.call, tag, Reason.CALL_ENDED, self.now))

"""A gateway's digests alone: requests and answers of one telephone cross, and time passes."""

from calls_builder import request, response
from digester import REALM, USER, Asked, answer
from phones import octets

from sipguard.evidence import Evidence
from sipguard.identity.digest import Digests, DigestSettings
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import Packet
from sipguard.wire.sip import parse_message

PHONE, OTHER, PROXY, SERVER, CALLEE = (f"192.0.2.{n}" for n in (10, 11, 20, 30, 40))
AOR = f"sip:{USER}@{REALM}"
REGISTRAR = f"sip:{REALM}"
BOB = "sip:bob@example.org"
ASKED = Asked()


class Gate:
    """Digests, a clock, and messages that cross."""

    def __init__(self, settings: DigestSettings | None = None, capacity: int = 1000) -> None:
        self.digests = Digests(settings, capacity=capacity)
        self.now_s = 5000.0

    @property
    def now(self) -> Moment:
        return Moment(self.now_s, 1_700_000_000.0 + self.now_s)

    def look(
        self,
        raw: bytes,
        source: str = PHONE,
        target: str = SERVER,
        *,
        in_dialog: bool = False,
        retry: bool = False,
        transport: str = "udp",
    ) -> Evidence:
        """Examine a request and let it pass by no means."""
        message = parse_message(raw, transport)
        assert message.ids is not None
        packet = Packet(octets(source), octets(target), 5060, 5060, raw, transport)
        return self.digests.examine(
            message, message.ids, packet, self.now, in_dialog=in_dialog, retry=retry
        )

    def send(
        self,
        raw: bytes,
        source: str = PHONE,
        target: str = SERVER,
        *,
        in_dialog: bool = False,
        retry: bool = False,
        transport: str = "udp",
    ) -> Evidence:
        """Examine a request and let it pass in any case."""
        evidence = self.look(
            raw, source, target, in_dialog=in_dialog, retry=retry, transport=transport
        )
        message = parse_message(raw, transport)
        assert message.ids is not None
        packet = Packet(octets(source), octets(target), 5060, 5060, raw, transport)
        self.digests.accepted(message, message.ids, packet, self.now)
        self.now_s += 0.1
        return evidence

    def reply(
        self,
        raw: bytes,
        status: int,
        *headers: str,
        source: str = SERVER,
        target: str = PHONE,
    ) -> list[Reason]:
        """Let the answer to a request pass; return what is wrong with it."""
        said = response(raw, status, headers="\n".join(headers) or "X: y")
        message = parse_message(said)
        assert message.ids is not None
        packet = Packet(octets(source), octets(target), 5060, 5060, said)
        found: tuple[Finding, ...] = ()
        if status in (401, 407):
            found = self.digests.faults_of_challenge(message, message.ids, self.now)
        found += self.digests.answered(message, message.ids, packet, self.now)
        if status in (401, 407):
            self.digests.challenged(message, message.ids, packet, self.now)
        return [finding.reason for finding in found]

    def ask(self, *asked: Asked, method: str = "REGISTER", target: str = PHONE) -> None:
        """Let a challenge to a request without credentials pass."""
        raw = register() if method == "REGISTER" else invite()
        status = 401 if method == "REGISTER" else 407
        self.reply(raw, status, *(one.header(status) for one in asked), target=target)


def register(headers: str = "", *, cseq: int = 1, **more: object) -> bytes:
    options: dict[str, object] = {
        "branch": f"r{cseq}", "sender": PHONE, "call_id": "reg", "uri": REGISTRAR,
        "from_": AOR, "to": AOR, **more,
    }  # fmt: skip
    return request("REGISTER", cseq=cseq, headers=headers, **options)  # type: ignore[arg-type]


def invite(headers: str = "", *, cseq: int = 1, **more: object) -> bytes:
    options: dict[str, object] = {
        "branch": f"i{cseq}", "sender": PHONE, "call_id": "call", "uri": BOB,
        "from_": AOR, "to": BOB, **more,
    }  # fmt: skip
    return request("INVITE", cseq=cseq, headers=headers, **options)  # type: ignore[arg-type]


def proof(method: str = "REGISTER", asked: Asked = ASKED, **more: object) -> str:
    uri = REGISTRAR if method == "REGISTER" else BOB
    return answer(asked, method, uri, **more)  # type: ignore[arg-type]


def why(evidence: Evidence) -> Reason | None:
    return evidence.finding.reason if evidence.finding else None


def noted(evidence: Evidence) -> list[Reason]:
    return [note.reason for note in evidence.notes]

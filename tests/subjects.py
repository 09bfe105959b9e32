"""Messages under judgement, made as the guard makes them, for tests of policies."""

from collections.abc import Mapping
from typing import NamedTuple

from sipguard.errors import PolicyError, Problem
from sipguard.evidence import NOT_ASKED, Evidence
from sipguard.moment import Moment
from sipguard.policy import Policy, Subject, load_policy
from sipguard.verdict import Endpoint
from sipguard.wire.packet import Packet, parse_address
from sipguard.wire.sip import parse_message

PHONE, OTHER_PHONE, STRANGER = "10.20.0.5", "10.20.0.6", "192.0.2.66"
MONDAY_NOON = Moment(1000.0, 1_704_715_200.0)  # 2024-01-08 12:00 UTC


def octets(address: str) -> bytes:
    """Return an address as the wire has it."""
    found = parse_address(address.encode())
    assert found is not None
    return found


class Counts:
    """Rates as a test wants them: one number for each kind, method and window."""

    def __init__(self, counts: Mapping[tuple[str, bytes, int], int]) -> None:
        self.counts = counts
        self.asked: list[tuple[str, bytes, bytes, int]] = []

    def count(self, kind: str, key: bytes, method: bytes, window_s: int) -> int:
        """Return the number that was set, 0 without one."""
        self.asked.append((kind, key, method, window_s))
        return self.counts.get((kind, method, window_s), 0)


class Proven:
    """Proofs as a test wants them; counts who was asked."""

    def __init__(self, **evidence: Evidence) -> None:
        self._evidence = evidence
        self.kinds: list[str] = []

    @property
    def asked(self) -> tuple[tuple[str, Evidence], ...]:
        """Return what a record would keep."""
        return tuple((kind, self._evidence.get(kind, NOT_ASKED)) for kind in self.kinds)

    def _prove(self, kind: str) -> Evidence:
        self.kinds.append(kind)
        return self._evidence.get(kind, NOT_ASKED)

    def aib(self) -> Evidence:
        """Return what the test says."""
        return self._prove("aib")

    def smime(self) -> Evidence:
        """Return what the test says."""
        return self._prove("smime")

    def stir(self) -> Evidence:
        """Return what the test says."""
        return self._prove("stir")

    def digest(self) -> Evidence:
        """Return what the test says."""
        return self._prove("digest")


class Keying(NamedTuple):
    """How a stream was keyed, with everything a policy may read."""

    method: bytes = b"sdes"
    suite: bytes = b"AES_CM_128_HMAC_SHA1_80"
    bits: int = 128
    hashed: bool = False
    fingerprint: bytes = b""
    mode: bytes = b""
    state: bytes = b"absent"


class Stream(NamedTuple):
    """A media stream with everything a policy may read."""

    kind: bytes = b"audio"
    proto: bytes = b"RTP/SAVP"
    keyed: bool = True
    keying: Keying = Keying()
    downgraded: bool = False
    cleartext: bool = False
    caller: Endpoint = Endpoint(octets(PHONE), 40000)
    callee: Endpoint = Endpoint(octets(OTHER_PHONE), 30000)
    caller_vouched: bool = True
    callee_vouched: bool = True


def request(
    method: str = "INVITE",
    *,
    uri: str = "sip:bob@example.com",
    from_: str = "<sip:alice@example.com>;tag=a1",
    to: str = "<sip:bob@example.com>",
    headers: str = "",
    body: str = "",
) -> bytes:
    """Return a request; *headers* are whole lines, each with its CRLF."""
    return (
        f"{method} {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {PHONE}:5060;branch=z9hG4bK1\r\n"
        "Max-Forwards: 70\r\n"
        f"From: {from_}\r\nTo: {to}\r\nCall-ID: call-1\r\nCSeq: 7 {method}\r\n"
        f"Contact: <sip:alice@{PHONE}:5060>\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def response(status: int, method: str = "INVITE") -> bytes:
    """Return a response."""
    return (
        f"SIP/2.0 {status} Reason\r\n"
        f"Via: SIP/2.0/UDP {PHONE}:5060;branch=z9hG4bK1\r\n"
        "From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>;tag=b1\r\n"
        f"Call-ID: call-1\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def subject(
    raw: bytes | None = None,
    *,
    src: str = PHONE,
    transport: str = "udp",
    now: Moment = MONDAY_NOON,
    rates: Counts | None = None,
    stream: Stream | None = None,
) -> Subject:
    """Return a message under judgement."""
    payload = request() if raw is None else raw
    packet = Packet(octets(src), octets("10.20.0.1"), 5060, 5062, payload, transport, "lan0")
    made = Subject(packet, parse_message(payload, transport), now, rates or Counts({}))
    made.stream = stream
    return made


class Texts:
    """Files as a test wants them; a name with a slash stands in a folder."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self._files = files

    def text(self, name: str) -> str:
        """Return a file's text."""
        return self.octets(name).decode("utf-8", "surrogatepass")

    def octets(self, name: str) -> bytes:
        """Return a file's octets."""
        if name not in self._files:
            raise FileNotFoundError(2, "No such file or directory")
        found = self._files[name]
        return found if isinstance(found, bytes) else found.encode("utf-8", "surrogatepass")

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Return the names in a folder, ``None`` if nothing is in it."""
        prefix = f"{folder}/"
        inside = sorted(name for name in self._files if name.startswith(prefix))
        return tuple(name.removeprefix(prefix) for name in inside) or None


def load(text: str, **files: str | bytes) -> Policy:
    """Load a policy from text; *files* are those that it may include, or trust."""
    texts = Texts({"p": text, **files})
    return load_policy("p", texts.text, texts)


def problems_of(text: str, **files: str | bytes) -> tuple[Problem, ...]:
    """Return what is wrong with a policy; nothing if it loads."""
    try:
        load(text, **files)
    except PolicyError as error:
        return error.problems
    return ()


def holds(condition: str, made: Subject, chain: str = "request", sets: str = "") -> bool:
    """Whether a condition is true of a message."""
    verdict = {"media": "open"}.get(chain, "drop")
    policy = load(f"{sets}\nchain {chain}\n  rule {verdict} if {condition}\n")
    return policy.judge(chain, made) is not None

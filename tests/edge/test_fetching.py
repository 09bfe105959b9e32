"""From a request to its certificate and back: guard, waiting packets, and a server over TLS."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import make_authority
from calls_builder import Dialogue
from https_server import ALICE, HOST, ROOT, URL, Serving, Web, answer
from phones import ALICE as CALLER
from phones import BOB, octets
from waiting import prove_by

from sipguard.edge import credentials as room
from sipguard.edge.clock import Clock
from sipguard.edge.control import StatusReport
from sipguard.edge.credentials import Counts, Fetcher, Terms
from sipguard.edge.fetching import Fetching, terms_of
from sipguard.edge.policy_file import load
from sipguard.edge.queued import QueuedPacket, Reader
from sipguard.edge.turnstile import Turnstile
from sipguard.guard import Guard
from sipguard.identity.credentials import Credentials
from sipguard.policy.rules import Policy
from sipguard.reason import Finding

POLICY = """default drop
trust stir ca "ca.pem" fetch public-only fetch-ca "web.pem" within 1s
chain request
  good accept if stir.valid
  bad  drop   if stir.failed
"""


class Gate:
    """A gateway without a kernel, whose proofs are whether the certificate is here."""

    def __init__(self, web: Web, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "ca.pem").write_bytes(make_authority("root").pem)
        (folder / "web.pem").write_bytes(ROOT.pem)
        self.folder = folder
        self.web = web
        proving = prove_by(monkeypatch)
        proving.says = self.word
        self.guard = proving.guard = Guard(self.policy(), b"secret" * 8)
        self.turnstile = Turnstile(lambda _: None, lambda _: None)
        self.turnstile.guard = self.guard
        self.fetching = Fetching(self.turnstile, web.reactor, self.make)
        self.verdicts: list[str] = []
        ends = (lambda _: b""), self.settle
        self.reader = Reader(0, 1, *ends, lambda *_: None, lambda _: "", lambda *_: None, 999)
        self.fetching.use(self.guard.policy, self.guard.credentials)
        self.number = 0

    def policy(self, text: str = POLICY) -> Policy:
        (self.folder / "p").write_text(text)
        return load(str(self.folder / "p"), "", 0.0).policy

    def make(
        self, credentials: Credentials, terms: Terms, reactor: Clock, counts: Counts
    ) -> Fetcher:
        web = self.web
        return Fetcher(
            credentials, terms, reactor, lambda: 0.0, counts, resolve=web.resolve, dial=web.dial
        )

    def settle(self, verdict: bytes) -> None:
        self.verdicts.append("accept" if verdict[27] else "drop")

    def send(self) -> None:
        """Let another request with the same certificate come."""
        self.number += 1
        payload = Dialogue(call_id=f"c{self.number}").invite()
        udp = struct.pack("!HHHH", 5060, 5060, 8 + len(payload), 0) + payload
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
        packet = QueuedPacket(self.reader, self.number.to_bytes(4, "big"), b"")
        self.turnstile.take(head + octets(CALLER) + octets(BOB) + udp, "lan0", packet)

    def word(self) -> str:
        """Say what a PASSporT with this certificate is."""
        found = self.guard.credentials.get(URL, 0.0)
        if found is None:
            return ""
        return "failed" if isinstance(found, Finding) else "valid"

    def until_verdicts(self, number: int, limit_s: float = 4.0) -> bool:
        return self.web.until(lambda: len(self.verdicts) >= number, limit_s)

    def counters(self) -> dict[str, int]:
        report = StatusReport(0, 0.0, 0.0)
        self.fetching.count(report)
        return report.counters


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    web = Web()
    web.serve()
    made = Gate(web, tmp_path, monkeypatch)
    yield made
    made.fetching.stop()
    web.close()


def test_a_call_waits_for_its_certificate_and_the_next_does_not(gate: Gate) -> None:
    """STI-15: fetched while it waits; the next one finds it here."""
    gate.send()
    assert gate.verdicts == []
    assert gate.until_verdicts(1)
    gate.send()
    assert gate.verdicts == ["accept", "accept"]
    assert len(gate.web.requests) == 1
    assert gate.counters() == {"held": 1, "certificates_fetched": 1}


def test_a_burst_of_calls_waits_for_one_fetch(gate: Gate) -> None:
    """A carrier's calls share a certificate."""
    for _ in range(10):
        gate.send()
    assert gate.until_verdicts(10)
    assert gate.verdicts == ["accept"] * 10
    assert len(gate.web.requests) == 1


def test_a_certificate_that_cannot_be_had_is_remembered(gate: Gate) -> None:
    """The call is judged the moment that is known, and the next at once."""
    gate.web.act = answer(b"", status="404 Not Found")
    gate.send()
    assert gate.until_verdicts(1, 0.9)
    gate.send()
    assert gate.verdicts == ["drop", "drop"]
    assert len(gate.web.requests) == 1


def test_a_slow_server_delays_a_call_as_long_as_the_policy_says(gate: Gate) -> None:
    """STI-15: ``within 1s``, then unknown; what comes later serves the next call."""
    slow: list[Serving] = []
    gate.web.act = slow.append
    gate.send()
    assert not gate.until_verdicts(1, 0.8)
    assert gate.until_verdicts(1)
    assert gate.verdicts == ["drop"]
    answer()(slow[0])
    assert gate.web.until(lambda: gate.word() == "valid")
    gate.send()
    assert gate.verdicts == ["drop", "accept"]
    assert gate.counters() == {"held": 1, "held_too_long": 1, "certificates_fetched": 1}


def test_a_reload_begins_anew(gate: Gate) -> None:
    """The fetch of the old policy is ended, that of the new one brings the certificate."""
    slow: list[Serving] = []
    gate.web.act = slow.append
    gate.send()
    assert gate.web.until(lambda: len(slow) == 1)
    gate.web.act = answer()
    gate.guard.replace_policy(gate.policy())
    gate.fetching.use(gate.guard.policy, gate.guard.credentials)
    assert gate.until_verdicts(1)
    assert gate.verdicts == ["accept"]
    assert gate.web.until(lambda: gate.web.closed == 2)


def test_a_flood_of_urls_leaves_room_for_others(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GEN-3: every URL another host that says nothing: each ends, and then others have room."""
    monkeypatch.setattr(room, "FETCH_S", 0.3)
    gate.web.act = lambda _: None
    fetcher = gate.fetching._fetcher
    assert fetcher is not None
    for number in range(room.MAX_AT_ONCE):
        gate.web.names[f"h{number}.{HOST}"] = ("9.9.9.9",)
        fetcher.fetch(f"https://h{number}.{HOST}/")
    gate.send()
    gate.web.act = answer()
    assert gate.until_verdicts(1)
    assert gate.verdicts == ["accept"]


def test_what_the_policy_says_about_fetching(gate: Gate) -> None:
    """``fetch any`` alone allows private addresses; without ``fetch-ca`` the machine's count."""
    terms = terms_of(gate.policy())
    assert terms == Terms(anywhere=False, authorities=(ROOT.der,), within_s=1.0)
    loose = POLICY.replace("public-only", "any").replace('fetch-ca "web.pem"', "")
    assert terms_of(gate.policy(loose)) == Terms(anywhere=True, authorities=(), within_s=1.0)
    assert terms_of(gate.policy(POLICY.replace("public-only", "never"))) is None
    assert terms_of(gate.policy("default drop\n")) is None


def test_the_certificate_is_the_callers(gate: Gate) -> None:
    """What the guard's cache has is what the server gave."""
    gate.send()
    assert gate.until_verdicts(1)
    assert gate.guard.credentials.get(URL, 0.0) == (ALICE.der,)

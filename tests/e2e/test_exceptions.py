"""Temporary exceptions, from the command line to the packets: what they open, and what never."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo import packets
from demo.gateway import STRICT, Gateway
from demo.network import Network
from demo.packets import Ear
from demo.programs import until

pytestmark = pytest.mark.kernel

TAKEN_UP_S = 2.0  # as `sipguard allow --help` says
FEED = 'feed json "records.jsonl"\n'


class Desk:
    """A gateway with the strict policy, a scanner's address, and who sits at the keyboard."""

    def __init__(self, network: Network, gateway: Gateway) -> None:
        self.network, self.gateway = network, gateway
        self.records_file = gateway.policy.with_name("records.jsonl")

    def invite(self, *, keyed: bool = True) -> bytes:
        """An INVITE that names itself as scanners do."""
        here, there = self.network.stranger.ipv4, self.network.callee.ipv4
        return packets.request("INVITE", here, there, user_agent="friendly-scanner",
                               body=packets.session(here, keyed=keyed))  # fmt: skip

    def passes(self, request: bytes, timeout_s: float = 0.6) -> bool:
        """Whether a request of the scanner's reaches the callee, octet for octet."""
        with Ear(self.network.callee) as phone, Ear(self.network.stranger) as scanner:
            scanner.say(request, phone.address)
            return phone.hears(request, timeout_s)

    def soon_passes(self) -> bool:
        """Whether one passes as soon as was promised."""
        return until(lambda: self.passes(self.invite(), 0.3), TAKEN_UP_S + 3.0)

    def says(self, *words: str) -> str:
        """Type a command; return what it prints."""
        done = self.gateway.ask(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def allow(self, span: str, *words: str) -> str:
        named = words or ("--source", self.network.stranger.ipv4, "--rule", "scanner")
        return self.says("allow", "--for", span, *named, "--reason", "trunk moves today")

    def records(self) -> list[dict[str, object]]:
        rows = self.records_file.read_text().splitlines() if self.records_file.exists() else []
        return [json.loads(row) for row in rows]

    def until_s(self) -> float:
        """When the exception ends."""
        told = json.loads((self.gateway.state / "exceptions.json").read_text())
        return float(told["exceptions"][0]["until_s"])

    def audit(self) -> list[tuple[str, int, str]]:
        lines = (self.gateway.state / "exceptions.audit").read_text().splitlines()
        told = map(json.loads, lines)
        return [(line["what"], line["number"], line["reason"]) for line in told]


@pytest.fixture
def desk(network: Network, tmp_path: Path) -> Iterator[Desk]:
    """A gateway with strict.policy and one feed."""
    policy = tmp_path / "gateway.policy"
    policy.write_text(FEED + STRICT.read_text())
    with ExitStack() as stack:
        yield Desk(network, stack.enter_context(Gateway(network, tmp_path, policy=policy)))


def test_a_refused_call_passes_for_a_while(desk: Desk) -> None:
    """Refused, allowed, passed, expired, refused; and the call that came about can be ended."""
    assert not desk.passes(desk.invite())
    assert desk.allow("8s").startswith("exception 1: allow --source 10.20.3.2 --rule scanner ")
    assert desk.soon_passes()
    invite = desk.invite()
    with Ear(desk.network.callee) as phone, Ear(desk.network.stranger) as scanner:
        scanner.say(invite, phone.address)
        assert phone.hears(invite)
        answer = packets.response(invite, 200, "OK", extra=[f"Contact: <sip:bob@{phone.address}>"])
        phone.say(answer, scanner.address)
        assert scanner.hears(answer)
        ack = packets.in_dialog("ACK", invite, answer, scanner.address)
        scanner.say(ack, phone.address)
        assert phone.hears(ack)
        assert never_above_the_parse_chain(desk, scanner, phone) == []
        assert passes_until(desk.until_s(), scanner, phone, desk.invite)
        bye = packets.in_dialog("BYE", invite, answer, scanner.address)
        scanner.say(bye, phone.address)
        assert phone.hears(bye)
    assert not desk.passes(desk.invite())
    told = [record for record in desk.records() if record["rule"] == "exception 1"]
    assert told
    assert {record["verdict"] for record in told} == {"accept"}
    assert all("trunk moves today" in str(record["why"]) for record in told)
    assert "no exceptions are in force" in desk.says("exceptions")
    assert desk.audit() == [("add", 1, "trunk moves today")]
    assert desk.gateway.logged("exception 1 in force: allow --source 10.20.3.2 --rule scanner")


def passes_until(over_s: float, scanner: Ear, phone: Ear, make: Callable[[], bytes]) -> bool:
    """Whether requests pass before that second, and none does after it."""
    heard: list[tuple[float, bool]] = []
    while time.time() < over_s + 1.0:
        request, sent_s = make(), time.time()
        scanner.say(request, phone.address)
        heard.append((sent_s, phone.hears(request, 0.4)))
        time.sleep(0.1)
    before = [passed for sent_s, passed in heard if sent_s < over_s - 0.2]
    after = [passed for sent_s, passed in heard if sent_s > over_s]
    return bool(before and after) and all(before) and not any(after)


def never_above_the_parse_chain(desk: Desk, scanner: Ear, phone: Ear) -> list[str]:
    """Return which of these got through, though no exception may let them."""
    good = desk.invite()
    scanner.say(good, phone.address)
    assert phone.hears(good)
    bad = {
        "doubled": packets.with_extra_header(desk.invite(), "From: <sip:boss@10.20.1.2>;tag=2"),
        "bare LF": desk.invite().replace(b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\n"),
        "malformed": desk.invite().replace(b"CSeq: 1 INVITE", b"CSeq: x INVITE"),
        "replayed": packets.with_changed_from(good),
        "without a key": desk.invite(keyed=False),
    }
    for request in bad.values():
        scanner.say(request, phone.address)
    time.sleep(0.5)
    return [name for name, request in bad.items() if request in phone.heard]


def test_it_outlives_a_reload_and_a_restart(desk: Desk) -> None:
    """It stands in a file of the state directory; taken back it is over at once."""
    desk.allow("1h")
    assert desk.soon_passes()
    desk.gateway.policy.write_text(desk.gateway.policy.read_text() + "# edited\n")
    mark = len(desk.gateway.text())
    desk.gateway.reload()
    assert desk.gateway.logged("policy reloaded", since=mark)
    assert desk.passes(desk.invite())
    desk.gateway.stop()
    desk.gateway.start()
    assert desk.passes(desk.invite())
    assert json.loads(desk.says("exceptions", "--json"))[0]["number"] == 1
    desk.says("exceptions", "--remove", "1")
    assert until(lambda: not desk.passes(desk.invite(), 0.3), TAKEN_UP_S + 3.0)
    assert [what for what, _, _ in desk.audit()] == ["add", "remove"]


def test_what_is_muted_is_refused_all_the_same(desk: Desk) -> None:
    """Without a record, a feed's line or an alarm; others are still told of."""
    desk.says("mute", "--for", "1h", "--source", desk.network.stranger.ipv4, "--reason", "noise")
    assert desk.gateway.logged("exception 1 in force: mute")
    assert not desk.passes(desk.invite())
    network = desk.network
    probe = packets.scanner_probe(network.caller.ipv4, network.callee.ipv4)
    packets.send(network.caller.namespace, (network.caller.ipv4, 5060),
                 (network.callee.ipv4, 5060), [probe])  # fmt: skip
    assert until(lambda: bool(desk.records()), 3)
    assert {record["src"] for record in desk.records()} == {network.caller.ipv4}
    assert {record["src"] for record in desk.gateway.blocked_records()} == {network.caller.ipv4}

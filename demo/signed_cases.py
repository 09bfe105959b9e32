"""The cases of the demo about callers: what a signature proves at the gateway, and what not."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from demo import media_cases, packets
from demo.gateway import ROOT
from demo.network import Host, Network
from demo.packets import Ear
from demo.programs import until
from demo.signing import ALICE, MALLORY, NUMBER, Authority
from demo.stage import Outcome, Stage

POLICY = "signed.policy"
AUTHORITY = "authority"  # the folder beside it
SHIPPED = ROOT / "policies" / "signed-callers.policy"
QUIET_S = 0.6  # how long a thing must stay away to count as not having come
CALLED = "+49301234561"
FORGED_ADDRESS = "10.20.9.9"
REPLAYED = "AIB recorded and sent again by a third host"
FIRST = media_cases.LAST + 1  # number of the first case here


class Bench(NamedTuple):
    """Who signs, and what he has to sign: the caller's INVITE under a name."""

    authority: Authority
    network: Network

    def invite(self, caller: str = f"sip:{ALICE}", callee: str = "") -> bytes:
        """Return an INVITE with SRTP, unsigned."""
        source, target = self.network.caller.ipv4, self.network.callee.ipv4
        body = packets.session(source)
        return packets.request("INVITE", source, target, body=body, caller=caller, callee=callee)

    def signed(self) -> bytes:
        """Return one with a valid AIB."""
        return self.authority.with_aib(self.invite())

    def called_by_number(self, date: str = "") -> bytes:
        """Return one of a telephone number, with a PASSporT."""
        ends = (f"sip:{number}@carrier.example;user=phone" for number in (NUMBER, CALLED))
        return self.authority.with_passport(self.invite(*ends), date=date)

    def with_signed_session(self, address: str) -> bytes:
        """Return one with AIB and signed SDP, whose outer SDP then names another *address*."""
        both = self.authority.with_aib(self.authority.with_signed_copy(self.invite()))
        own = self.network.caller.ipv4.encode()
        return both.replace(b"c=IN IP4 " + own, b"c=IN IP4 " + address.encode(), 1)


class Signed(NamedTuple):
    """One message, and what is to become of it: ``passed``, ``dropped`` or a status."""

    title: str
    expected: str
    make: Callable[[Bench], bytes]


def _other_from(bench: Bench) -> bytes:
    return bench.signed().replace(b"<sip:alice@", b"<sip:boss1@", 1)


def _stripped(bench: Bench) -> bytes:
    message = bench.signed()
    session = packets.session(bench.network.caller.ipv4).encode()
    return packets.with_body(message, "application/sdp", session)


def _forged_passport(bench: Bench) -> bytes:
    """Return a good PASSporT with one letter of its signature changed."""
    message = bench.called_by_number()
    found = re.search(rb"(?i)^Identity:[^;\r]*", message, re.MULTILINE)
    at = (found.end() if found else 0) - 20
    letter = b"B" if message[at : at + 1] == b"A" else b"A"
    return message[:at] + letter + message[at + 1 :]


def signed_policy(folder: Path, network: Network) -> Path:
    """Write the shipped policy with this network's addresses, and the authority beside it."""
    text = SHIPPED.read_text()
    for line, new in (
        (r"set phones .*", f"set phones {{ {network.callee.ipv4} }}"),
        (r"set relays .*", f"set relays {{ {network.stranger.ipv4} }}"),
        (r'"trust/[^"]*"', f'"{AUTHORITY}/ca.pem"'),
        (r"fetch public-only +within 2s", f'fetch never certs "{AUTHORITY}/x5u"'),
    ):
        text, changed = re.subn(line, new, text)
        if not changed:
            raise RuntimeError(f"{SHIPPED.name} has no {line} any more")
    made = folder / POLICY
    made.write_text(text)
    return made


def _judged(stage: Stage, message: bytes, host: Host | None = None) -> str:
    """Send a message to the callee; return ``passed``, ``dropped`` or the status of the refusal."""
    with Ear(stage.network.callee) as phone, Ear(host or stage.network.caller) as sender:
        sender.say(message, phone.address)
        until(lambda: bool(phone.heard or sender.heard), QUIET_S)
        if message in phone.heard:
            busy = packets.response(message, 486, "Busy Here")
            phone.say(busy, sender.address)
            sender.hears(busy)
            sender.say(packets.ack_to_failure(message, busy), phone.address)
            return "passed"
        if sender.heard:
            return sender.heard[0].split(b" ", 2)[1].decode("latin-1")
    return "dropped"


# Each is one message through the gateway with policies/signed-callers.policy.
SIGNED: tuple[Signed, ...] = (
    Signed("valid AIB", "passed", Bench.signed),
    Signed("AIB, but another name in From", "403", _other_from),
    Signed("AIB of an hour ago", "403", lambda b: b.authority.with_aib(b.invite(), date="1h")),
    Signed("AIB of mallory under alice's name", "403",
           lambda b: b.authority.with_aib(b.invite(), MALLORY)),
    Signed("AIB stripped off", "428", _stripped),
    Signed("signed SDP, and a forged one around it", "403",
           lambda b: b.with_signed_session(FORGED_ADDRESS)),
    Signed("signed SDP, changed by a relay the policy names", "passed",
           lambda b: b.with_signed_session(b.network.stranger.ipv4)),
    Signed("valid PASSporT", "passed", Bench.called_by_number),
    Signed("PASSporT of an hour ago", "403", lambda b: b.called_by_number("1h")),
    Signed("PASSporT with a forged signature", "438", _forged_passport),
)  # fmt: skip


def signed_case(stage: Stage, bench: Bench, number: int, signed: Signed) -> Outcome:
    """Send one message from outside and say what came of it."""
    stage.say(f"a caller from outside: {signed.title}")
    seen = _judged(stage, signed.make(bench))
    return signed_outcome(number, signed, seen)


def signed_outcome(number: int, signed: Signed, seen: str) -> Outcome:
    """Return the outcome of one case."""
    return Outcome(number, signed.title, signed.expected, seen, seen == signed.expected)


def replayed_aib(stage: Stage, bench: Bench, number: int) -> Outcome:
    """Send a valid one, and what a thief who heard it makes of it, from his own address."""
    stage.say(f"a caller from outside: {REPLAYED}")
    message = bench.signed()
    first = _judged(stage, message)
    branch = packets.unique("z9hG4bK").encode()
    stolen = re.sub(rb"branch=[^;\r]+", b"branch=" + branch, message, count=1)
    second = _judged(stage, stolen, stage.network.stranger)
    return replayed_outcome(number, [first, second])


def replayed_outcome(number: int, seen: list[str]) -> Outcome:
    """Return what came of the original and of its copy."""
    told, expected = ", then ".join(seen), "passed, then dropped"
    return Outcome(number, REPLAYED, expected, told, told == expected)


def signed_outcomes(stage: Stage, authority: Authority) -> list[Callable[[], Outcome]]:
    """Return the cases in their order, to be run one by one."""
    bench = Bench(authority, stage.network)
    cases: list[Callable[[], Outcome]] = [
        partial(signed_case, stage, bench, number, signed)
        for number, signed in enumerate(SIGNED, FIRST)
    ]
    return [*cases, partial(replayed_aib, stage, bench, FIRST + len(SIGNED))]

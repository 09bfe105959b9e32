"""The cases of the demo about connections: SIP over TCP, TLS and WebSocket, and what SIPS means."""

import re
import time
from pathlib import Path

from demo import packets, signed_cases
from demo.cases import ENOUGH_PACKETS, TALK_S, establish
from demo.clients import Baresip
from demo.gateway import STRICT
from demo.media_cases import WAYS, told_by
from demo.network import Network
from demo.packets import Ear
from demo.signing import Authority
from demo.stage import Outcome, Stage
from demo.websocket import PORT, Registrar, registers
from demo.wiretap import PROTOCOL_TCP

POLICY = "streams.policy"
GATEWAY, SERVER, OTHER = "gateway.example.com", "pbx.example.com", "elsewhere.example.com"
QUIET_S = 0.6  # how long a thing must stay away to count as not having come
FIRST = signed_cases.FIRST + len(signed_cases.SIGNED) + 1  # number of the first case here

WRONG_NAME_TITLE = "TLS server whose certificate names another server"


def stream_policy(folder: Path, network: Network, authority: Authority) -> Path:
    """Write strict.policy with what TLS and WebSocket need, and make the certificates."""
    address = network.callee.ipv4
    authority.issue(GATEWAY, address)  # for telephones that call the server by its address
    for name in (SERVER, OTHER):
        authority.issue(name)
    keys = authority.folder.name
    more = [
        f'trust tls ca "{keys}/ca.pem"',
        f'tls-certificate "{keys}/{GATEWAY}.pem" key "{keys}/{GATEWAY}.key"',
        f'tls-server {address} name "{SERVER}"',
        f"ws-ports {PORT}",
    ]
    # What no verified server says is not taken for its answer.
    rule = f"  imposter drop if transport == tls and tls.peer not in {{ {SERVER} }} log\n"
    text = STRICT.read_text().replace("sip-ports 5060", "\n".join(("sip-ports 5060", *more)), 1)
    text, changed = re.subn(r"(?m)^chain response\n", f"chain response\n{rule}", text)
    if not changed:
        raise RuntimeError(f"{STRICT.name} has no chain response any more")
    made = folder / POLICY
    made.write_text(text)
    return made


def tcp_call(stage: Stage, _: Authority) -> Outcome:
    """Each message is judged whole before an octet of it goes on."""
    return _call(stage, FIRST, "SRTP call (SDES, baresip) over TCP", "tcp")


def tls_call(stage: Stage, authority: Authority) -> Outcome:
    """TLS ends at the gateway and begins again, towards a server that shows who it is."""
    certificate = authority.chain_and_key(SERVER)
    return _call(
        stage, FIRST + 1, "SRTP call (baresip) over TLS, its server verified", "tls", certificate
    )


def wrong_name(stage: Stage, authority: Authority) -> Outcome:
    """A certificate of the same authority, but for another name, is an imposter's."""
    stage.say("baresip calls over TLS, and the server shows another's certificate")
    with (
        _phone(stage, "bob", "tls", authority.chain_and_key(OTHER)) as bob,
        _phone(stage, "alice", "tls") as alice,
    ):
        alice.dial(stage.network.callee.ipv4)
        # baresip waits for timer B where a connection is reset behind its INVITE.
        told = told_by(stage, "tls-wrong-name")
        reached = bob.happened("CALL_INCOMING", QUIET_S)
    return Outcome(
        FIRST + 2,
        WRONG_NAME_TITLE,
        "no call, and the record says tls-wrong-name",
        f"{'rang' if reached else 'nothing'} at the callee, {told or 'no record'}",
        not reached and told == "tls-wrong-name",
    )


def sips_in_clear(stage: Stage, _: Authority) -> Outcome:
    """sips: promises TLS on every hop; over UDP the promise is broken already (TLS-1)."""
    stage.say("an INVITE to a sips: URI over UDP, and one to a sip: URI")
    network = stage.network
    caller, callee = network.caller.ipv4, network.callee.ipv4
    plain = packets.request("INVITE", caller, callee, body=packets.session(caller))
    broken = packets.request("INVITE", caller, callee, body=packets.session(caller))
    broken = broken.replace(b"INVITE sip:", b"INVITE sips:", 1)
    with Ear(network.callee) as phone, Ear(network.caller) as sender:
        sender.say(broken, callee)
        sender.say(plain, callee)
        passed, reached = phone.hears(plain), broken in phone.heard
        phone.say(packets.response(plain, 486, "Busy Here"), caller)
        time.sleep(QUIET_S)
        answers = [heard.split(b" ", 2)[1].decode() for heard in sender.heard]
    return Outcome(
        FIRST + 3,
        "sips: over UDP",
        "400, nothing at the callee, while sip: passes",
        f"{' and '.join(answers) or 'no answer'} (486 is the callee's), sips: "
        f"{'at the callee' if reached else 'stopped'}, sip: {'passed' if passed else 'lost'}",
        answers == ["400", "486"] and not reached and passed,
    )


def websocket_client(stage: Stage, _: Authority) -> Outcome:
    """One message of SIP in each message of a WebSocket (RFC 7118), judged like all others."""
    stage.say("a telephone registers over a WebSocket")
    network = stage.network
    with Registrar(network.callee) as registrar:
        answer = registers(network.caller, network.callee.ipv4)
        reached = len(registrar.heard)
    return Outcome(
        FIRST + 4,
        "WebSocket client",
        "registered through the gateway",
        f"{answer}, {reached} REGISTER at the registrar",
        answer == "SIP/2.0 200 OK" and reached == 1,
    )


def _phone(stage: Stage, user: str, transport: str, certificate: Path | None = None) -> Baresip:
    host = stage.network.callee if user == "bob" else stage.network.caller
    return Baresip(
        user,
        host,
        stage.work,
        answers=user == "bob",
        transport=transport,
        certificate=certificate,
    )


def _call(
    stage: Stage, number: int, title: str, transport: str, certificate: Path | None = None
) -> Outcome:
    stage.say(f"baresip calls baresip over {transport.upper()} and talks for {TALK_S:g} s")
    network = stage.network
    there = stage.callee_side.mark()
    with (
        _phone(stage, "bob", transport, certificate) as bob,
        _phone(stage, "alice", transport) as alice,
    ):
        established = establish(alice, bob, network.callee.ipv4)
        time.sleep(TALK_S if established else 0)
        proven = stage.sources_proven(WAYS)
        alice.hang_up()
        bob.happened("CALL_CLOSED")
        gone = stage.pinholes_gone()
        time.sleep(0.2)
        received = (bob.packets()[1], alice.packets()[1])
    tape = stage.callee_side.frames[there:]
    readable = sum(frame.protocol == PROTOCOL_TCP and frame.is_sip for frame in tape)
    as_expected = bool(readable) is (transport == "tcp")
    return Outcome(
        number,
        title,
        "established, SRTP both ways and proven, pinholes gone after BYE"
        + ("" if transport == "tcp" else ", nothing readable on the way"),
        f"{'established' if established else 'no call'}, decrypted {received[0]} there and "
        f"{received[1]} back, {proven} senders proven, pinholes {'gone' if gone else 'left'}, "
        f"{readable} readable segments of SIP",
        established
        and min(received) >= ENOUGH_PACKETS
        and (not stage.gateway or proven >= WAYS)
        and gone
        and as_expected,
    )


STREAM_CASES = (tcp_call, tls_call, wrong_name, sips_in_clear, websocket_client)

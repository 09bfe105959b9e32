"""The cases of the demo: each does one thing with real packets and says what came of it."""

import contextlib
import time
from collections.abc import Callable, Iterator

from demo import packets
from demo.clients import Baresip, Sipp
from demo.network import Host
from demo.packets import Ear
from demo.programs import until
from demo.stage import Outcome, Stage
from demo.wiretap import looks_encrypted

TALK_S = 2.0
# baresip sends a packet each 20 ms; three fifths of them leave room for a busy machine.
ENOUGH_PACKETS = int(TALK_S * 50 * 0.6)
QUIET_S = 0.6  # how long a thing must stay away to count as not having come

Case = Callable[[Stage], Outcome]


def call_over_ipv4(stage: Stage) -> Outcome:
    """Case 1: a call with SRTP keyed by SDES, both ways through the pinhole."""
    return _sdes_call(stage, 1, "SRTP call (SDES, baresip) over IPv4", version=4)


def call_over_ipv6(stage: Stage) -> Outcome:
    """Case 2: the same over IPv6."""
    return _sdes_call(stage, 2, "SRTP call (SDES, baresip) over IPv6", version=6)


def plain_offer(stage: Stage) -> Outcome:
    """Case 3: an offer of plain RTP is refused before the callee hears of it."""
    stage.say("SIPp offers plain RTP")
    network, mark = stage.network, stage.callee_side.mark()
    with Ear(network.callee), _sipp_caller(stage, "caller_plain") as caller:
        refused = caller.wait(6) == 0
    reached = len(stage.callee_side.sip(b"INVITE", since=mark))
    holes = stage.pinholes()
    return Outcome(
        3,
        "plain RTP offer (SIPp)",
        "488, no pinhole",
        f"{'488' if refused else 'no 488'}, {len(holes)} pinholes, {reached} INVITEs at the callee",
        refused and not holes and not reached,
    )


def scanner(stage: Stage) -> Outcome:
    """Case 4: a scanner's OPTIONS gets no answer, and the callee never sees it."""
    stage.say("a scanner asks four addresses who is there")
    network, mark = stage.network, stage.callee_side.mark()
    answers = stage.stranger_side.mark()
    callee, stranger = network.callee.ipv4, network.stranger
    neighbors = [callee, *(callee[:-1] + digit for digit in "345")]
    with Ear(network.callee) as phone, Ear(stranger) as scan:
        for address in neighbors:
            scan.say(packets.scanner_probe(stranger.ipv4, address), address)
        if until(lambda: bool(phone.heard), QUIET_S):
            phone.say(packets.response(phone.heard[0], 200, "OK"), stranger.ipv4)
        time.sleep(QUIET_S)
        reached = len(stage.callee_side.sip(b"OPTIONS", since=mark))
        honest = packets.request("OPTIONS", network.caller.ipv4, callee)
        _send(stage, network.caller, honest)
        passed = phone.hears(honest)
        answered = len(stage.stranger_side.sip(b"SIP/2.0 ", since=answers))
    return Outcome(
        4,
        "scanner (OPTIONS of friendly-scanner)",
        "silence, nothing at the callee, while a telephone's OPTIONS passes",
        f"{answered} answers, {reached} of {len(neighbors)} probes at the callee's side, "
        f"telephone's OPTIONS {'passed' if passed else 'lost'}",
        not answered and not reached and passed,
    )


def forged_bye(stage: Stage) -> Outcome:
    """Case 5: a BYE with every identifier right, but from a third address, ends nothing."""
    stage.say("baresip calls baresip")
    network, mark = stage.network, stage.callee_side.mark()
    with baresip_pair(stage, 4) as (alice, bob):
        established = establish(alice, bob, network.callee.ipv4)
        invite = stage.callee_side.sip(b"INVITE ", since=mark)
        answer = stage.callee_side.sip(b"SIP/2.0 200", since=mark)
        if not (established and invite and answer):
            return Outcome(5, "forged BYE", "the call goes on", "no call to attack", False)
        stage.say("a third host sends the call's BYE")
        bye = packets.forged_bye(invite[0].payload, answer[0].payload, network.stranger.ipv4)
        _send(stage, network.stranger, bye)
        time.sleep(QUIET_S)
        after = stage.callee_side.mark()
        time.sleep(1.0)
        ended = bob.happened("CALL_CLOSED", 0) or alice.happened("CALL_CLOSED", 0)
        flowing = len(stage.callee_side.rtp(network.caller.ipv4, since=after))
        reached = _count(stage, mark, bye)
        alice.hang_up()
        closed = bob.happened("CALL_CLOSED")
    return Outcome(
        5,
        "forged BYE from a third address",
        "dropped, the call goes on, its own BYE works",
        f"{reached} at the callee, call {'ended' if ended else 'up'}, "
        f"{flowing} SRTP packets in the second after, own BYE {'works' if closed else 'fails'}",
        not reached and not ended and flowing > 25 and closed,
    )


def replayed_invite(stage: Stage) -> Outcome:
    """Case 6: the same INVITE under another name is a replay; the same octets again are not."""
    stage.say("SIPp repeats its INVITE to a slow callee")
    network, mark = stage.network, stage.callee_side.mark()
    with (
        Sipp("callee_slow", network.callee, stage.work, media_port=32000) as callee,
        _sipp_caller(stage, "caller") as caller,
    ):
        invite = stage.callee_side.waits_for(
            lambda frame: (
                frame.payload.startswith(b"INVITE ") and frame in stage.callee_side.frames[mark:]
            )
        )
        repeated = until(lambda: len(stage.callee_side.sip(b"INVITE ", since=mark)) > 1, 3)
        forgery = packets.with_changed_from(invite.payload) if invite else b""
        if invite:
            stage.say("the captured INVITE comes again with another From")
            _send(stage, network.caller, forgery)
        talked = caller.wait(8) == 0 and callee.wait(4) == 0
        if invite:
            _send(stage, network.caller, forgery)
            time.sleep(QUIET_S)
    reached = _count(stage, mark, forgery) if invite else 0
    return Outcome(
        6,
        "captured INVITE replayed with a changed From",
        "dropped, while a true retransmission passes",
        f"{reached} of 2 replays at the callee, retransmission "
        f"{'passed' if repeated else 'lost'}, call {'completed' if talked else 'failed'}",
        invite is not None and not reached and repeated and talked,
    )


def ambiguous(stage: Stage) -> Outcome:
    """Case 7: where two parsers could disagree, the message does not pass."""
    stage.say("one clean INVITE, and two that can be read in two ways")
    network, answers = stage.network, stage.caller_side.mark()
    caller, callee = network.caller.ipv4, network.callee.ipv4

    doubtful = [
        packets.with_extra_header(_invite(stage), f"From: <sip:other@{caller}>;tag=other"),
        packets.with_extra_header(_invite(stage), "Content-Length: 5"),
    ]
    with Ear(network.callee) as phone, Ear(network.caller) as sender:
        for message in doubtful:
            sender.say(message, callee)
        # The queue keeps order: once a clean one is there, the others would have been.
        passed = _declined(sender, phone, _invite(stage))
        reached = sum(message in phone.heard for message in doubtful)
    answered = len(stage.caller_side.sip(b"SIP/2.0 ", since=answers)) - passed  # its own 486
    return Outcome(
        7,
        "two From headers, two Content-Length headers",
        "both dropped as ambiguous, a clean one passes",
        f"{reached} of 2 at the callee, {answered} answered, "
        f"clean one {'passed' if passed else 'lost'}",
        passed and not reached and not answered,
    )


def fragmented_invite(stage: Stage) -> Outcome:
    """Case 8: an INVITE in IP fragments is judged whole; what hides in the last one is seen."""
    stage.say("SIPp places a call with an INVITE of 3 KB")
    network, mark = stage.network, stage.caller_side.mark()
    inside = stage.callee_side.mark()
    with (
        Sipp("callee", network.callee, stage.work, media_port=32000) as callee,
        _sipp_caller(stage, "caller_large") as caller,
    ):
        talked = caller.wait(8) == 0 and callee.wait(4) == 0
    pieces = sum(frame.fragment for frame in stage.caller_side.frames[mark:])
    stage.say("the same size once more, with a second From in the last fragment")
    address, target = network.caller.ipv4, network.callee.ipv4
    padding = [f"X-Trace-{n:02d}: {'0123456789' * 10}" for n in range(25)]
    doubtful = packets.request(
        "INVITE", address, target, body=packets.session(address), extra=padding
    )
    doubtful = packets.with_extra_header(doubtful, f"From: <sip:other@{address}>;tag=other")
    _send(stage, network.caller, doubtful, fragment_octets=packets.FRAGMENT_OCTETS)
    time.sleep(QUIET_S)
    hidden = _count(stage, inside, doubtful)
    return Outcome(
        8,
        "3 KB INVITE in IP fragments",
        "judged whole: a good one passes, one with a second From in the last fragment does not",
        f"{pieces} fragments sent, call {'completed' if talked else 'failed'}, "
        f"{hidden} bad ones at the callee",
        talked and pieces > 1 and not hidden,
    )


def stolen_digest(stage: Stage) -> Outcome:
    """Case 9: a digest response covers neither Contact nor Call-ID; who heard one has nothing."""
    stage.say("a telephone registers with its password, and a third host heard it")
    network = stage.network
    target = network.callee.ipv4
    uri = f"sip:alice@{target}"
    challenge = f'WWW-Authenticate: Digest realm="demo", nonce="{packets.unique("n")}", qop="auth"'
    with Ear(network.callee) as registrar, Ear(network.caller) as phone:
        first = packets.request("REGISTER", phone.address, target, caller=uri, callee=uri)
        asked = packets.response(first, 401, "Unauthorized", extra=[challenge])
        proof = packets.credentials(challenge, "REGISTER", f"sip:bob@{target}", "secret")
        second = packets.request(
            "REGISTER", phone.address, target, caller=uri, callee=uri, extra=[proof]
        )
        told = _answered(phone, registrar, first, asked)
        registered = _answered(phone, registrar, second, packets.response(second, 200, "OK"))
        stolen = packets.request(
            "REGISTER", network.stranger.ipv4, target, caller=uri, callee=uri, extra=[proof]
        )
        _send(stage, network.stranger, stolen)
        reached = registrar.hears(stolen, QUIET_S)
    return Outcome(
        9,
        "stolen digest response under another Contact",
        "dropped, while its owner registers",
        f"{'at the registrar' if reached else 'dropped'}, its owner "
        f"{'registered' if told and registered else 'did not register'}",
        told and registered and not reached,
    )


def clean_invite_passes(stage: Stage) -> bool:
    """Whether an honest INVITE reaches the callee, and the callee's 486 comes back."""
    with Ear(stage.network.callee) as phone, Ear(stage.network.caller) as sender:
        return _declined(sender, phone, _invite(stage))


def _invite(stage: Stage) -> bytes:
    caller, callee = stage.network.caller.ipv4, stage.network.callee.ipv4
    return packets.request("INVITE", caller, callee, body=packets.session(caller))


def _answered(sender: Ear, server: Ear, request: bytes, answer: bytes) -> bool:
    """Let a request and its answer cross the gateway; return whether both did."""
    sender.say(request, server.address)
    if not server.hears(request):
        return False
    server.say(answer, sender.address)
    return sender.hears(answer)


def _declined(sender: Ear, phone: Ear, invite: bytes) -> bool:
    """Play a call that the callee declines, to its end; return whether both ways worked."""
    sender.say(invite, phone.address)
    if not phone.hears(invite):
        return False
    busy = packets.response(invite, 486, "Busy Here")
    phone.say(busy, sender.address)
    heard = sender.hears(busy)
    sender.say(packets.ack_to_failure(invite, busy), phone.address)
    return heard


def _sdes_call(stage: Stage, number: int, title: str, *, version: int) -> Outcome:
    stage.say(f"baresip calls baresip over IPv{version} and talks for {TALK_S:g} s")
    caller, callee = (
        host.address(version) for host in (stage.network.caller, stage.network.callee)
    )
    there, back = stage.callee_side.mark(), stage.caller_side.mark()
    with baresip_pair(stage, version) as (alice, bob):
        established = establish(alice, bob, callee)
        time.sleep(TALK_S if established else 0)
        holes = stage.pinholes()
        alice.hang_up()
        bob.happened("CALL_CLOSED")
        gone = stage.pinholes_gone()
        time.sleep(0.2)
        received = (bob.packets()[1], alice.packets()[1])
    sent = (
        stage.callee_side.rtp(caller, since=there),
        stage.caller_side.rtp(callee, since=back),
    )
    enough = all(len(frames) >= ENOUGH_PACKETS and looks_encrypted(frames) for frames in sent)
    through = [
        sum(hole.packets for hole in holes if hole.destination == address)
        for address in (callee, caller)
    ]
    guarded = not stage.gateway or min(through) >= ENOUGH_PACKETS
    return Outcome(
        number,
        title,
        "established, SRTP both ways, pinholes gone after BYE",
        f"{'established' if established else 'no call'}, "
        f"SRTP packets {len(sent[0])} there and {len(sent[1])} back "
        f"(decrypted {received[0]} and {received[1]}), {len(holes)} pinholes "
        f"passed {through[0]} and {through[1]}, {'none' if gone else 'some'} left after BYE",
        established and enough and min(received) >= ENOUGH_PACKETS and guarded and gone,
    )


@contextlib.contextmanager
def baresip_pair(
    stage: Stage, version: int = 4, *, encryption: str = "srtp-mand"
) -> Iterator[tuple[Baresip, Baresip]]:
    """Two telephones, one on each side; bob answers."""
    caller, callee, work = stage.network.caller, stage.network.callee, stage.work
    with (
        Baresip("bob", callee, work, version=version, encryption=encryption, answers=True) as bob,
        Baresip("alice", caller, work, version=version, encryption=encryption) as alice,
    ):
        yield alice, bob


def establish(alice: Baresip, bob: Baresip, address: str) -> bool:
    """Let alice call bob; return whether both say that the call stands."""
    alice.dial(address)
    return alice.happened("CALL_ESTABLISHED") and bob.happened("CALL_ESTABLISHED", 3)


def _sipp_caller(stage: Stage, scenario: str) -> Sipp:
    network = stage.network
    return Sipp(scenario, network.caller, stage.work, towards=network.callee.ipv4)


def _send(stage: Stage, host: Host, message: bytes, *, fragment_octets: int = 0) -> None:
    """Send a message to the callee from port 5060 of a host, also where a program holds it."""
    packets.send(
        host.namespace,
        (host.ipv4, 5060),
        (stage.network.callee.ipv4, 5060),
        [message],
        fragment_octets=fragment_octets,
    )


def _count(stage: Stage, mark: int, message: bytes) -> int:
    """How often a message came to the callee's side since *mark*, whole or its first fragment."""
    return sum(
        len(frame.payload) > 100 and message.startswith(frame.payload)
        for frame in stage.callee_side.frames[mark:]
    )


CASES: tuple[Case, ...] = (
    call_over_ipv4,
    call_over_ipv6,
    plain_offer,
    scanner,
    forged_bye,
    replayed_invite,
    ambiguous,
    fragmented_invite,
    stolen_digest,
)

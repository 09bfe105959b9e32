"""The cases of the demo about media: what a pinhole is good for, and for whom."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from demo import packets
from demo.cases import ENOUGH_PACKETS, TALK_S, Case, baresip_pair, establish
from demo.clients import Baresip, Sipp
from demo.dtls_caller import Certificate, DtlsCaller, certificate
from demo.gateway import ROOT
from demo.linphone import Linphone, linphone_is_missing
from demo.programs import until
from demo.relay import MEDIA_ADDRESS, Relay
from demo.stage import Outcome, Stage
from demo.wiretap import Frame, looks_encrypted

POLICY = "media.policy"
SHIPPED = ROOT / "policies" / "secure-media.policy"
BURST = 40
RECORD_S = 5.0  # how long a record may take into the store
HANDSHAKE_S = 4.0
WAYS = 2  # RTP there and back, each with a source that has to prove itself
FIRST = 10  # number of the first case here

DTLS_TITLE = "DTLS-SRTP call (baresip)"
PLAIN_TITLE = "plain RTP in an SRTP call, from the caller's own address and port"
INJECTED_TITLE = "SRTP of a third host, and the call's own SRTP again from another port"
SWAPPED_TITLE = "DTLS certificate other than the one in the SDP"
RELAY_TITLE = "DTLS-SRTP call through a media relay that the policy names"
READABLE_TITLE = "SDES offer where its key can be read (SIPp)"
ZRTP_TITLE = "ZRTP call (Linphone)"


class Call(NamedTuple):
    """A running SDES call, as an eavesdropper knows it."""

    stage: Stage
    bob: Baresip
    media: Frame  # one packet of alice's

    def reached(self, forged: list[bytes], mark: int, *, port: int = 0) -> int:
        """Count the *forged* packets that came to the callee (from a *port* alone)."""
        frames = self.stage.callee_side.frames[mark:]
        return sum(frame.payload in forged and port in (0, frame.source_port) for frame in frames)

    def goes_on(self) -> int:
        """Return how many packets of a second came to bob; 0 where he has hung up."""
        mark = self.stage.callee_side.mark()
        time.sleep(1.0)
        flowing = self.stage.callee_side.rtp(self.stage.network.caller.ipv4, since=mark)
        return 0 if self.bob.happened("CALL_CLOSED", 0) else len(flowing)


def media_policy(folder: Path) -> Path:
    """Write the shipped policy with the address of the demo's media relay."""
    text = SHIPPED.read_text()
    line = next(line for line in text.splitlines() if line.startswith("set relays "))
    made = folder / POLICY
    made.write_text(text.replace(line, f"set relays {{ {MEDIA_ADDRESS} }}"))
    return made


def plain_rtp(stage: Stage) -> Outcome:
    """Case 10: who knows address and port of a stream has not got its key."""

    def attack(call: Call) -> Outcome:
        network = stage.network
        stage.say("somebody sends clear RTP from the caller's address and port")
        forged, mark = packets.clear_packets(BURST), stage.callee_side.mark()
        here = (network.caller.ipv4, call.media.source_port)
        far = (network.callee.ipv4, call.media.port)
        packets.send(network.caller.namespace, here, far, forged, gap_s=0.005)
        flowing, reached = call.goes_on(), call.reached(forged, mark)
        named = told_by(stage, "plain-rtp")
        return Outcome(
            FIRST,
            PLAIN_TITLE,
            "none arrives, the call goes on, the record says plain-rtp",
            f"{reached} of {BURST} at the callee, {flowing} SRTP packets in the second after, "
            f"{named or 'no record'}",
            not reached and flowing > 25 and named == "plain-rtp",
        )

    return _in_call(stage, attack, FIRST, PLAIN_TITLE)


def injected(stage: Stage) -> Outcome:
    """Case 11: a third host, and a replay from another port of the caller's host."""

    def attack(call: Call) -> Outcome:
        network, number = stage.network, FIRST + 1
        stage.say("a third host sends SRTP, and the caller's host the call's own once more")
        far = (network.callee.ipv4, call.media.port)
        stranger, port = network.stranger, call.media.source_port + 20
        foreign, mark = packets.srtp_packets(BURST), stage.callee_side.mark()
        heard = stage.callee_side.rtp(network.caller.ipv4, port=call.media.port)[-BURST:]
        replayed = [frame.payload for frame in heard]
        packets.send(
            stranger.namespace, (stranger.ipv4, call.media.source_port), far, foreign, gap_s=0.005
        )
        packets.send(
            network.caller.namespace, (network.caller.ipv4, port), far, replayed, gap_s=0.005
        )
        flowing = call.goes_on()
        came = call.reached(foreign, mark), call.reached(replayed, mark, port=port)
        return Outcome(
            number,
            INJECTED_TITLE,
            "none arrives, the call goes on",
            f"{came[0]} of {BURST} injected and {came[1]} of {len(replayed)} replayed "
            f"at the callee, {flowing} SRTP packets in the second after",
            not any(came) and len(replayed) == BURST and flowing > 25,
        )

    return _in_call(stage, attack, FIRST + 1, INJECTED_TITLE)


def dtls_call(stage: Stage) -> Outcome:
    """Case 12: certificates as signalling names them, then SRTP, forwarded by the kernel alone."""
    stage.say(f"baresip calls baresip with DTLS-SRTP and talks for {TALK_S:g} s")
    caller, callee = stage.network.caller.ipv4, stage.network.callee.ipv4
    there, back = stage.callee_side.mark(), stage.caller_side.mark()
    with baresip_pair(stage, encryption="dtls_srtp") as (alice, bob):
        established = establish(alice, bob, callee) and _media_runs(stage, there)
        time.sleep(TALK_S if established else 0)
        proven = stage.sources_proven(WAYS)
        alice.hang_up()
        bob.happened("CALL_CLOSED")
        gone = stage.pinholes_gone()
        time.sleep(0.2)
        received = (bob.packets()[1], alice.packets()[1])
    sent = stage.callee_side.rtp(caller, since=there), stage.caller_side.rtp(callee, since=back)
    return Outcome(
        FIRST + 2,
        DTLS_TITLE,
        "established, SRTP both ways, both senders proven, pinholes gone after BYE",
        f"{'established' if established else 'no call'}, SRTP packets {len(sent[0])} there and "
        f"{len(sent[1])} back (decrypted {received[0]} and {received[1]}), "
        f"{proven} senders proven, pinholes {'gone' if gone else 'left'}",
        established
        and all(map(looks_encrypted, sent))
        and min(received) >= ENOUGH_PACKETS
        and _is_proven(stage, proven)
        and gone,
    )


def swapped_certificate(stage: Stage) -> Outcome:
    """Case 13: one caller shows the certificate that his SDP names, another one does not."""
    own, other = certificate("alice"), certificate("mallory")
    stage.say("a caller whose certificate is the one that his SDP names")
    honest, _ = _handshake(stage, own, own)
    stage.say("and one who shows another: his SDP was changed on the way")
    swapped, reached = _handshake(stage, other, own)
    named = told_by(stage, "dtls-fingerprint")
    return Outcome(
        FIRST + 3,
        SWAPPED_TITLE,
        "its handshake is cut off and recorded as dtls-fingerprint, the right one brings media",
        f"handshake {'completed' if swapped else 'cut off'}, certificate {reached} times at the "
        f"callee, {named or 'no record'}, the right one brings "
        f"{'media' if honest else 'nothing'}",
        honest and not swapped and not reached and named == "dtls-fingerprint",
    )


def relayed_call(stage: Stage) -> Outcome:
    """Case 14: two legs, four senders, and both prove what they are by the ends' certificates."""
    stage.say("baresip calls baresip through a proxy with a media relay")
    network, mark = stage.network, stage.callee_side.mark()
    with (
        Relay(network.stranger, network.callee) as relay,
        baresip_pair(stage, encryption="dtls_srtp") as (alice, bob),
    ):
        established = establish(alice, bob, network.stranger.ipv4) and _media_runs(stage, mark)
        time.sleep(TALK_S if established else 0)
        proven = stage.sources_proven(2 * WAYS)
        alice.hang_up()
        bob.happened("CALL_CLOSED")
        gone = stage.pinholes_gone()
        time.sleep(0.2)
        received = (bob.packets()[1], alice.packets()[1])
    return Outcome(
        FIRST + 4,
        RELAY_TITLE,
        "established, SRTP both ways through the relay, the senders of both legs proven",
        f"{'established' if established else 'no call'}, decrypted {received[0]} there and "
        f"{received[1]} back, {relay.passed} packets relayed, {proven} senders proven, "
        f"pinholes {'gone' if gone else 'left'}",
        established
        and min(received) >= ENOUGH_PACKETS
        and relay.passed >= sum(received)
        and _is_proven(stage, proven, 2 * WAYS)
        and gone,
    )


def readable_key(stage: Stage) -> Outcome:
    """Case 15: secure-media.policy does not take a key that everybody on the way can read."""
    stage.say("SIPp offers SRTP with its key in the SDP")
    network, mark = stage.network, stage.callee_side.mark()
    with (
        packets.Ear(network.callee),
        Sipp("caller_readable", network.caller, stage.work, towards=network.callee.ipv4) as caller,
    ):
        refused = caller.wait(6) == 0
    reached = len(stage.callee_side.sip(b"INVITE", since=mark))
    return Outcome(
        FIRST + 5,
        READABLE_TITLE,
        "488, nothing at the callee",
        f"{'488' if refused else 'no 488'}, {reached} INVITEs at the callee",
        refused and not reached,
    )


def zrtp_call(stage: Stage) -> Outcome:
    """Case 16: the hash chain and the Hello that the SDP names, then SRTP."""
    stage.say("linphonec calls linphonec with ZRTP (they take some seconds to start)")
    network, there, back = stage.network, stage.callee_side.mark(), stage.caller_side.mark()
    with (
        Linphone("bob", network.callee, stage.work, answers=True) as bob,
        Linphone("alice", network.caller, stage.work) as alice,
    ):
        ready = bob.is_ready() and alice.is_ready()
        established = ready and alice.dial(network.callee.ipv4) and bob.talks()
        words = (alice.secured(), bob.secured()) if established else ("", "")
        time.sleep(TALK_S if established else 0)
        proven = stage.sources_proven(WAYS)
        alice.hang_up()
        gone = stage.pinholes_gone()
    sent = (
        stage.callee_side.rtp(network.caller.ipv4, since=there)[-50:],
        stage.caller_side.rtp(network.callee.ipv4, since=back)[-50:],
    )
    return Outcome(
        FIRST + 6,
        ZRTP_TITLE,
        "established, the same words at both ends, SRTP both ways, both senders proven",
        f"{'established' if established else 'no call'}, words {' and '.join(words)}, "
        f"{proven} senders proven, pinholes {'gone' if gone else 'left'}",
        established
        and words[0] == words[1] != ""
        and all(map(looks_encrypted, sent))
        and _is_proven(stage, proven)
        and gone,
    )


def _in_call(stage: Stage, attack: Callable[[Call], Outcome], number: int, title: str) -> Outcome:
    """Let baresip call baresip with SDES, and attack when its media flows."""
    stage.say("baresip calls baresip with SDES")
    network, mark = stage.network, stage.callee_side.mark()
    with baresip_pair(stage) as (alice, bob):
        established = establish(alice, bob, network.callee.ipv4)
        until(lambda: len(stage.callee_side.rtp(network.caller.ipv4, since=mark)) > BURST, 3)
        media = stage.callee_side.rtp(network.caller.ipv4, since=mark)
        if not (established and len(media) > BURST):
            return Outcome(number, title, "the call goes on", "no call to attack", False)
        stage.sources_proven(WAYS)
        outcome = attack(Call(stage, bob, media[-1]))
        alice.hang_up()
        bob.happened("CALL_CLOSED")
        stage.pinholes_gone()
        return outcome


def _handshake(stage: Stage, own: Certificate, told: Certificate) -> tuple[bool, int]:
    """Call baresip; return whether the handshake ended well, and how often *own* came to it."""
    network, mark = stage.network, stage.callee_side.mark()
    with (
        Baresip("bob", network.callee, stage.work, encryption="dtls_srtp", answers=True),
        DtlsCaller(network.caller, own, told) as caller,
    ):
        done = caller.call(network.callee.ipv4) and caller.shakes_hands(HANDSHAKE_S)
    part = own.der[-64:]
    return done, sum(part in frame.payload for frame in stage.callee_side.frames[mark:])


def _media_runs(stage: Stage, mark: int) -> bool:
    """Wait for the end of the handshakes, which take a second or two."""
    return until(lambda: any(frame.is_rtp for frame in stage.callee_side.frames[mark:]), 5)


def _is_proven(stage: Stage, proven: int, wanted: int = WAYS) -> bool:
    return not stage.gateway or proven >= wanted


def told_by(stage: Stage, reason: str) -> str:
    """Wait for the record that tells *reason*; return it if ``sipguard explain`` tells it, too."""
    gateway = stage.gateway
    if gateway is None:
        return ""

    def wanted() -> list[str]:
        records = gateway.blocked_records()
        return [str(record["id"]) for record in records if record.get("reason") == reason]

    until(lambda: bool(wanted()), RECORD_S)
    return next((reason for one in wanted() if reason in gateway.ask("explain", one).stdout), "")


# With strict.policy, and with secure-media.policy.
SDES_CASES: tuple[Case, ...] = (plain_rtp, injected)
KEYED_CASES: tuple[Case, ...] = (
    dtls_call,
    swapped_certificate,
    relayed_call,
    readable_key,
    zrtp_call,
)
LAST = FIRST + len(SDES_CASES) + len(KEYED_CASES) - 1


def keyed_cases(stage: Stage) -> list[Case]:
    """Return the second ones, without Linphone's where it is not installed."""
    if not linphone_is_missing():
        return list(KEYED_CASES)
    stage.say(f"case {LAST}, {ZRTP_TITLE}, is LEFT OUT: linphonec is not installed")
    return [case for case in KEYED_CASES if case is not zrtp_call]

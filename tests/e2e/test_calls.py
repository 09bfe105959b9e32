"""Honest calls of every shape pass, and their media flows exactly while it was agreed."""

import time

import pytest
from sealed import CALLEE_KEY, CALLER_KEY, CALLER_RENEWED, sealed

from demo import packets
from demo.clients import Baresip, Sipp
from demo.programs import until
from demo.stage import Stage
from demo.wiretap import looks_encrypted

pytestmark = pytest.mark.kernel

CALLER_PORT, CALLEE_PORT = 30000, 32000


def pair(stage: Stage, caller: str, callee: str, *, talk_ms: int = 500) -> tuple[Sipp, Sipp]:
    """Start SIPp on both sides, with their media on CALLER_PORT and CALLEE_PORT."""
    network = stage.network
    called = Sipp(callee, network.callee, stage.work, media_port=CALLEE_PORT)
    calling = Sipp(
        caller,
        network.caller,
        stage.work,
        towards=network.callee.ipv4,
        talk_ms=talk_ms,
        media_port=CALLER_PORT,
    )
    return calling, called


def play(
    stage: Stage, *, caller_port: int = CALLER_PORT, key: str = CALLER_KEY, many: int = 10
) -> tuple[int, int]:
    """Send SRTP both ways; return how many packets came to the callee and to the caller."""
    caller, callee = stage.network.caller, stage.network.callee
    there, back = stage.callee_side.mark(), stage.caller_side.mark()
    here, far = (caller.ipv4, caller_port), (callee.ipv4, CALLEE_PORT)
    packets.send(caller.namespace, here, far, sealed(key, 1, many), gap_s=0.002)
    packets.send(callee.namespace, far, here, sealed(CALLEE_KEY, 2, many), gap_s=0.002)
    time.sleep(0.1)
    return (
        len(stage.callee_side.rtp(caller.ipv4, port=CALLEE_PORT, since=there)),
        len(stage.caller_side.rtp(callee.ipv4, port=caller_port, since=back)),
    )


def ports(stage: Stage) -> set[int]:
    """The destination ports of the pinholes now."""
    return {hole.port for hole in stage.pinholes()}


def test_dtls_srtp_call(stage: Stage) -> None:
    """A key agreed in the media path opens the same pinholes as one in the signalling."""
    network = stage.network
    with (
        Baresip("bob", network.callee, stage.work, encryption="dtls_srtp", answers=True) as bob,
        Baresip("alice", network.caller, stage.work, encryption="dtls_srtp") as alice,
    ):
        alice.dial(network.callee.ipv4)
        assert alice.happened("CALL_ESTABLISHED")
        assert until(lambda: len(stage.callee_side.rtp(network.caller.ipv4)) > 60, 6)
        assert until(lambda: len(stage.caller_side.rtp(network.callee.ipv4)) > 60, 3)
        assert looks_encrypted(stage.callee_side.rtp(network.caller.ipv4)[5:])
        bob.hang_up()
        assert alice.happened("CALL_CLOSED")
        assert stage.pinholes_gone()
        time.sleep(0.2)
        assert min(*alice.packets(), *bob.packets()) > 40


def test_media_passes_during_the_call_alone(stage: Stage) -> None:
    """No packet passes before the answer, all pass during the call, none after the BYE."""
    assert play(stage) == (0, 0)
    caller, callee = pair(stage, "caller", "callee", talk_ms=1200)
    with callee, caller:
        assert until(lambda: CALLEE_PORT in ports(stage), 3)
        assert play(stage) == (10, 10)
        assert caller.wait(8) == 0, caller.complaint()
        assert callee.wait(4) == 0, callee.complaint()
    assert stage.pinholes_gone()
    assert play(stage) == (0, 0)


def test_early_media(stage: Stage) -> None:
    """A session in a 183 carries media before the call is answered."""
    caller, callee = pair(stage, "caller", "callee_early", talk_ms=300)
    with callee, caller:
        assert stage.caller_side.waits_for(lambda frame: b" 183 " in frame.payload[:12])
        assert until(lambda: CALLEE_PORT in ports(stage), 1)
        assert play(stage) == (10, 10)
        assert not stage.caller_side.sip(b"SIP/2.0 200"), "the call was answered too soon"
        assert caller.wait(8) == 0, caller.complaint()
        assert callee.wait(4) == 0, callee.complaint()
    assert stage.pinholes_gone()


def test_prack_and_update(stage: Stage) -> None:
    """Reliable provisional responses pass, and an UPDATE before the answer moves the media."""
    caller, callee = pair(stage, "caller_prack", "callee_prack", talk_ms=700)
    with callee, caller:
        moved = CALLER_PORT + 20
        assert until(lambda: moved in ports(stage), 4)
        assert play(stage, caller_port=moved) == (10, 10)
        assert caller.wait(8) == 0, caller.complaint()
        assert callee.wait(4) == 0, callee.complaint()
    assert stage.pinholes_gone()


def test_hold_and_rekey(stage: Stage) -> None:
    """A re-INVITE with a new key and port moves the pinhole; hold and retrieve keep the call."""
    caller, callee = pair(stage, "caller_hold", "callee_hold", talk_ms=500)
    with callee, caller:
        assert until(lambda: CALLER_PORT in ports(stage), 3)
        assert play(stage) == (10, 10)
        moved = CALLER_PORT + 20
        assert until(lambda: moved in ports(stage), 3)
        assert play(stage, caller_port=moved, key=CALLER_RENEWED) == (10, 10)
        assert CALLER_PORT in ports(stage), "media on its way to the old port still arrives (PIN-8)"
        assert caller.wait(8) == 0, caller.complaint()
        assert callee.wait(4) == 0, callee.complaint()
    assert stage.pinholes_gone()


def test_cancelled_call(stage: Stage) -> None:
    """A CANCEL from the caller passes, and nothing of the call stays open."""
    caller, callee = pair(stage, "caller_cancel", "callee_cancel", talk_ms=300)
    with callee, caller:
        assert caller.wait(6) == 0, caller.complaint()
        assert callee.wait(4) == 0, callee.complaint()
    assert stage.pinholes_gone()


def test_many_calls_at_once(stage: Stage) -> None:
    """Thirty overlapping calls all complete, and all their pinholes go with them."""
    network = stage.network
    with (
        Sipp("callee", network.callee, stage.work, calls=30) as callee,
        Sipp(
            "caller",
            network.caller,
            stage.work,
            towards=network.callee.ipv4,
            calls=30,
            per_second=8,
            talk_ms=800,
        ) as caller,
    ):
        assert caller.wait(12) == 0, caller.complaint()
        assert callee.wait(4) == 0, callee.complaint()
    assert stage.pinholes_gone()

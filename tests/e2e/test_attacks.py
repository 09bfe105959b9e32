"""Attacks on a running call, and around the guard, have no effect."""

import time
from collections.abc import Iterator

import pytest

from demo import packets
from demo.clients import Baresip, Sipp
from demo.network import within
from demo.stage import Stage
from demo.wiretap import PROTOCOL_TCP

pytestmark = pytest.mark.kernel

Call = tuple[Stage, Baresip, Baresip]


@pytest.fixture
def call(stage: Stage) -> Iterator[Call]:
    """A running baresip call with SRTP both ways: the stage, alice and bob."""
    network = stage.network
    with (
        Baresip("bob", network.callee, stage.work, answers=True) as bob,
        Baresip("alice", network.caller, stage.work) as alice,
    ):
        alice.dial(network.callee.ipv4)
        assert alice.happened("CALL_ESTABLISHED")
        here = network.caller.ipv4
        assert stage.callee_side.waits_for(lambda frame: frame.is_rtp and frame.source == here)
        yield stage, alice, bob


def heard_call(stage: Stage) -> tuple[bytes, bytes]:
    """What an eavesdropper has: the INVITE and its 200."""
    invite = stage.callee_side.waits_for(lambda frame: frame.payload.startswith(b"INVITE "))
    answer = stage.callee_side.waits_for(lambda frame: frame.payload.startswith(b"SIP/2.0 200"))
    assert invite
    assert answer
    return invite.payload, answer.payload


def goes_on(stage: Stage, bob: Baresip) -> bool:
    """Whether the media of the call still flows and bob has not hung up."""
    mark = stage.callee_side.mark()
    time.sleep(0.5)
    flowing = len(stage.callee_side.rtp(stage.network.caller.ipv4, since=mark))
    return flowing > 15 and not bob.happened("CALL_CLOSED", 0)


def test_injection_from_a_third_host_is_blocked(call: Call) -> None:
    """A stranger who knows the port cannot put a packet into the call."""
    stage, _, bob = call
    network = stage.network
    media = stage.callee_side.rtp(network.caller.ipv4)[0]
    packets.send(
        network.stranger.namespace,
        (network.stranger.ipv4, media.source_port),
        (network.callee.ipv4, media.port),
        packets.srtp_packets(50),
        gap_s=0.002,
    )
    assert goes_on(stage, bob)
    assert stage.callee_side.rtp(network.stranger.ipv4) == []


def test_media_to_another_port_of_the_callee_is_blocked(call: Call) -> None:
    """A pinhole leads to one port; the caller's host gets no further through it."""
    stage, _, bob = call
    network = stage.network
    media = stage.callee_side.rtp(network.caller.ipv4)[0]
    packets.send(
        network.caller.namespace,
        (network.caller.ipv4, media.source_port),
        (network.callee.ipv4, media.port + 2),
        [media.payload] * 20,
    )
    assert goes_on(stage, bob)
    assert stage.callee_side.rtp(network.caller.ipv4, port=media.port + 2) == []


def test_reinvite_of_a_third_host_moves_no_media(call: Call) -> None:
    """A hijacker's re-INVITE does not come through, so the media stays where it was."""
    stage, _, bob = call
    network = stage.network
    invite, answer = heard_call(stage)
    hijack = packets.forged_reinvite(invite, answer, network.stranger.ipv4, 40000)
    packets.send(
        network.stranger.namespace,
        (network.stranger.ipv4, 5060),
        (network.callee.ipv4, 5060),
        [hijack],
    )
    assert goes_on(stage, bob)
    assert stage.callee_side.sip(source=network.stranger.ipv4) == []
    assert stage.stranger_side.rtp(network.callee.ipv4) == []


def test_media_after_bye_is_blocked(call: Call) -> None:
    """The same stream that just passed does not pass once the call is over."""
    stage, alice, bob = call
    network = stage.network
    assert stage.sources_proven(2)
    media = stage.callee_side.rtp(network.caller.ipv4)[-1]
    alice.hang_up()
    assert bob.happened("CALL_CLOSED")
    assert stage.pinholes_gone()
    mark = stage.callee_side.mark()
    packets.send(
        network.caller.namespace,
        (network.caller.ipv4, media.source_port),
        (network.callee.ipv4, media.port),
        [media.payload] * 30,
    )
    time.sleep(0.3)
    assert stage.callee_side.rtp(network.caller.ipv4, since=mark) == []


def test_forged_cancel_does_not_stop_the_ringing(stage: Stage) -> None:
    """A CANCEL that matches the branch, but comes from elsewhere, does not reach the callee."""
    network = stage.network
    with packets.Ear(network.callee) as phone, packets.Ear(network.caller) as caller:
        invite = packets.request(
            "INVITE", caller.address, phone.address, body=packets.session(caller.address)
        )
        caller.say(invite, phone.address)
        assert phone.hears(invite)
        phone.say(packets.response(invite, 180, "Ringing"), caller.address)
        cancel = packets.cancel_of(invite)
        packets.send(
            network.stranger.namespace,
            (network.stranger.ipv4, 5060),
            (phone.address, 5060),
            [cancel],
        )
        time.sleep(0.4)
        assert cancel not in phone.heard
        caller.say(cancel, phone.address)
        assert phone.hears(cancel), "the caller's own CANCEL passes"
        phone.say(packets.response(invite, 487, "Request Terminated"), caller.address)


def test_refused_call_carries_no_clear_media(stage: Stage) -> None:
    """After a 488 to a plain offer no packet of it passes, in either direction."""
    network = stage.network
    with Sipp("caller_plain", network.caller, stage.work, towards=network.callee.ipv4) as caller:
        assert caller.wait(6) == 0, caller.complaint()
    here, far = (network.caller.ipv4, 30000), (network.callee.ipv4, 32000)
    clear = [packet[:12] + b"\xd5" * 160 for packet in packets.srtp_packets(10)]
    packets.send(network.caller.namespace, here, far, clear)
    packets.send(network.callee.namespace, far, here, clear)
    time.sleep(0.3)
    assert stage.callee_side.rtp(network.caller.ipv4) == []
    assert stage.caller_side.rtp(network.callee.ipv4) == []


def test_tls_is_refused_at_once(stage: Stage) -> None:
    """Without a certificate of ours it cannot be judged: a reset, and no way around the guard."""
    network = stage.network
    with within(network.callee.namespace, lambda: packets.listener(network.callee.ipv4, 5061)):
        began_s = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            within(
                network.caller.namespace,
                lambda: packets.connection(network.callee.ipv4, 5061),
            )
        assert time.monotonic() - began_s < 1.0
    assert [f for f in stage.callee_side.frames if f.protocol == PROTOCOL_TCP] == []

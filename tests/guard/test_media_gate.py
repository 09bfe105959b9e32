"""Media through the whole guard: what SIP negotiated, packets have to show."""

from base64 import b64decode

import pytest
from exchange import ALICE, BOB, KEYS, MALLORY, OTHER_KEY, SUITE, Call, Exchange, octets, sdp
from gated import PORTS, made, proven, show
from hypothesis import given
from hypothesis import strategies as st
from ice_peers import PWDS, UFRAGS
from srtp_sender import Sender, rtp
from stun_builder import request, success

from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.verdict import Hole

SENDERS = {
    host: Sender(SUITE.encode(), b64decode(key))
    for host, key in {**KEYS, MALLORY: OTHER_KEY}.items()
}


def sealed(host: str, index: int = 0) -> bytes:
    return SENDERS[host].rtp(index)


# --- SDES


def test_the_first_packet_proves_an_sdes_stream(call: Call) -> None:
    """SRT-10: the key was in the signalling, so the first tag tells; each way by itself."""
    exchange = call.exchange
    assert show(exchange, ALICE, sealed(ALICE)).accept
    assert proven(exchange) == {(octets(ALICE), 40000)}
    assert show(exchange, BOB, sealed(BOB)).accept
    assert proven(exchange) == {(octets(ALICE), 40000), (octets(BOB), 30000)}
    assert exchange.records == []


@pytest.mark.parametrize("host", [ALICE, BOB])
def test_clear_rtp_in_a_sealed_call_is_refused_and_told_once(call: Call, host: str) -> None:
    """SRT-3: quietly at first, because telephones leak a little; then by name; the call goes on."""
    exchange = call.exchange
    assert not any(show(exchange, host, rtp(index)).accept for index in range(40))
    assert [record.reason for record in exchange.records] == [Reason.PLAIN_RTP]
    record = exchange.records[0]
    assert (record.src, record.call_id) == (octets(host), call.call_id.encode())
    assert show(exchange, host, sealed(host)).accept
    call.ask("BYE")


def test_a_leak_of_two_packets_is_not_worth_a_record(call: Call) -> None:
    """baresip's sixteen octets, one clear packet of a telephone that has just got its key."""
    exchange = call.exchange
    ping = b"\x80\xcc\x00\x03" + b"ssrc" + b"PINGPONG"
    assert not show(exchange, ALICE, ping, port=40001, source_port=30001).accept
    assert not show(exchange, ALICE, rtp(0)).accept
    assert exchange.records == []


def test_another_key_proves_nothing(call: Call) -> None:
    """Injected by somebody who can forge the address: not with the caller's key."""
    exchange = call.exchange
    assert not show(exchange, ALICE, sealed(MALLORY)).accept
    assert not show(exchange, ALICE, sealed(BOB)).accept
    assert {record.reason for record in exchange.records} == {Reason.SRTP_TAG}


def test_a_stream_that_proves_nothing_in_time_is_closed(call: Call) -> None:
    """Ten seconds after the first packet that was refused; the other direction stays."""
    exchange = call.exchange
    for index in range(3):
        show(exchange, ALICE, rtp(index))
    exchange.wait(9)
    assert exchange.hears(ALICE, BOB, 40000)
    exchange.wait(3)
    assert not exchange.hears(ALICE, BOB, 40000)
    assert exchange.hears(BOB, ALICE, 30000)
    assert exchange.records[-1].reason is Reason.UNPROVEN


def test_a_new_agreement_opens_what_was_closed_for_lack_of_proof(call: Call) -> None:
    """A re-INVITE gives the stream another chance."""
    exchange = call.exchange
    for index in range(3):
        show(exchange, ALICE, rtp(index))
    exchange.wait(12)
    assert not exchange.hears(ALICE, BOB, 40000)
    call.reinvite(ALICE, sdp(ALICE, version=2), sdp(BOB, 40000, version=2))
    assert show(exchange, ALICE, sealed(ALICE)).accept


def test_a_harmless_copy_makes_up_for_no_doubt(call: Call) -> None:
    """After a refused copy an empty one stands for nobody: who then proves nothing is closed."""
    exchange = call.exchange
    show(exchange, ALICE, sealed(ALICE))
    for index in range(1, 4):
        show(exchange, ALICE, rtp(index), is_sample=True)
    show(exchange, ALICE, b"", is_sample=True)
    for index in range(4, 14):
        show(exchange, ALICE, rtp(index))
    exchange.wait(12)
    assert not exchange.hears(ALICE, BOB, 40000)


def test_a_later_swap_is_seen_in_the_copies(call: Call) -> None:
    """The kernel forwards a proven source alone; its samples show that it changed."""
    exchange = call.exchange
    show(exchange, ALICE, sealed(ALICE))
    for index in range(1, 4):
        show(exchange, ALICE, rtp(index), is_sample=True)
    assert proven(exchange) == set()
    assert Reason.PLAIN_RTP in {record.reason for record in exchange.records}
    assert not show(exchange, ALICE, rtp(9)).accept


def test_after_the_bye_nothing_passes(call: Call) -> None:
    """The line is gone from the book with the call, whatever still waits in the queue."""
    exchange = call.exchange
    show(exchange, ALICE, sealed(ALICE))
    call.ask("BYE")
    assert not show(exchange, ALICE, sealed(ALICE, 1)).accept
    assert not exchange.holes


def test_a_rekeyed_call_proves_itself_anew(call: Call) -> None:
    """The new key counts at once, the old one while its packets are on their way."""
    exchange = call.exchange
    show(exchange, ALICE, sealed(ALICE))
    call.reinvite(ALICE, sdp(ALICE, key=OTHER_KEY, version=2), sdp(BOB, 40000))
    assert proven(exchange) == set()
    assert show(exchange, ALICE, sealed(ALICE, 1)).accept
    assert proven(exchange) == set()
    assert show(exchange, ALICE, sealed(MALLORY)).accept
    assert proven(exchange) == {(octets(ALICE), 40000)}


# --- what the policy says


def test_shadow_mode_lets_pass_and_tells() -> None:
    """What would have been dropped stands in the record; nobody's call breaks."""
    exchange = made(settings="mode shadow\n")
    Call(exchange).establish()
    assert all(show(exchange, ALICE, rtp(index)).accept for index in range(4))
    record = exchange.records[-1]
    assert (record.reason, record.mode) == (Reason.PLAIN_RTP, "shadow")
    assert record.judged is not record.action


def test_an_offer_that_gives_the_key_up_is_named(call: Call) -> None:
    """PIN-7: SAVP to AVP in a running call; the rule refuses it, and what was good stays."""
    plain = sdp(ALICE, proto="RTP/AVP", key="-", version=2)
    assert not call.exchange.send(call.request("INVITE", body=plain), ALICE, BOB)
    record = call.exchange.records[-1]
    assert "PIN-7" in {finding.rule for finding in record.findings}
    assert call.exchange.hears(ALICE, BOB, 40000)


def test_a_rule_may_refuse_a_downgrade() -> None:
    """``media.downgraded`` sees what the running call has, in the offer already."""
    exchange = made("keep reject 488 if media.downgraded\n  sealed open if keyed\n  plain open")
    call = Call(exchange)
    call.establish()
    plain = sdp(ALICE, proto="RTP/AVP", key="-", version=2)
    assert not exchange.send(call.request("INVITE", body=plain), ALICE, BOB)
    assert exchange.send(call.request("INVITE", body=sdp(ALICE, version=3)), ALICE, BOB)


def test_a_peer_may_be_exempted_from_proof() -> None:
    """``unproven``: recorded SRTP of a test bench passes, what is no media does not."""
    exchange = made("bench open if keyed and src in {10.20.0.0/16} unproven")
    Call(exchange).establish()
    assert not show(exchange, ALICE, b"\xff" * 40).accept
    assert show(exchange, ALICE, sealed(MALLORY)).accept
    assert proven(exchange) == {(octets(ALICE), 40000)}


# --- BUNDLE and ICE


def test_bundled_lines_share_a_pinhole_and_its_proof() -> None:
    """PIN-12: video has no pinhole of its own, and its payload type runs on the audio's."""
    exchange = made()
    video = ("a=rtcp-mux", "a=mid:a", "m=video 0 RTP/SAVP 96", "a=mid:v", "a=bundle-only")
    group = "a=group:BUNDLE a v\r\nm="
    offer, answer = (
        sdp(host, port, *video).replace("m=", group, 1) for host, port in PORTS.items()
    )
    Call(exchange).establish(offer, answer)
    assert exchange.holes == {
        Hole(octets(ALICE), octets(BOB), 40000),
        Hole(octets(BOB), octets(ALICE), 30000),
    }
    assert show(exchange, ALICE, SENDERS[ALICE].rtp(0, payload_type=96)).accept
    assert proven(exchange) == {(octets(ALICE), 40000)}


def with_ice(host: str, port: int, *more: str) -> str:
    is_caller = host == ALICE
    ufrag, pwd = UFRAGS[is_caller].decode(), PWDS[is_caller].decode()
    return sdp(
        host,
        port,
        "a=rtcp-mux",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{pwd}",
        f"a=candidate:1 1 UDP 2130706431 {host} {port} typ host",
        *more,
    )


def check(source: str) -> bytes:
    is_caller = source == ALICE
    return request(UFRAGS[not is_caller] + b":" + UFRAGS[is_caller], PWDS[not is_caller])


def test_ice_lets_checks_pass_and_then_media() -> None:
    """PIN-13: only STUN until a check has passed both ways, then the key decides."""
    exchange = made()
    Call(exchange).establish(with_ice(ALICE, 30000), with_ice(BOB, 40000))
    assert not show(exchange, ALICE, sealed(ALICE)).accept
    for source, target in ((ALICE, BOB), (BOB, ALICE)):
        assert show(exchange, source, check(source)).accept
        assert show(exchange, target, success(PWDS[target == ALICE])).accept
    assert proven(exchange) == set()
    assert show(exchange, ALICE, sealed(ALICE, 1)).accept
    assert proven(exchange) == {(octets(ALICE), 40000)}


def test_checks_without_the_password_are_refused() -> None:
    """A STUN flood at a candidate is none of this call's."""
    exchange = made()
    Call(exchange).establish(with_ice(ALICE, 30000), with_ice(BOB, 40000))
    assert not show(exchange, ALICE, request(b"bobs:alic", b"wrong")).accept
    assert exchange.records[-1].reason is Reason.ICE_INTEGRITY


def test_the_policy_is_asked_about_each_pair_of_candidates() -> None:
    """A candidate at a third host is a hole towards it: signalling vouches for none."""
    exchange = made("sealed open if keyed and peer in {signalling}")
    third = "a=candidate:2 1 UDP 1694498815 203.0.113.9 30000 typ srflx raddr 0.0.0.0 rport 9"
    Call(exchange).establish(with_ice(ALICE, 30000, third), with_ice(BOB, 40000))
    assert {hole.source for hole in exchange.holes} == {octets(ALICE), octets(BOB)}
    trusting = made("sealed open if keyed and peer in {signalling 203.0.113.0/24}")
    Call(trusting).establish(with_ice(ALICE, 30000, third), with_ice(BOB, 40000))
    assert octets("203.0.113.9") in {hole.source for hole in trusting.holes}


# --- hostile


@pytest.fixture(scope="module")
def running() -> Exchange:
    exchange = made()
    Call(exchange).establish()
    return exchange


@given(st.binary(max_size=128))
def test_no_octets_break_the_gate(running: Exchange, payload: bytes) -> None:
    """Whatever comes through a pinhole, there is a decision, and nothing passes by luck."""
    assert not show(running, ALICE, b"\x80" + payload).accept
    show(running, ALICE, payload)
    show(running, ALICE, payload, is_sample=True)
    running.records.clear()


@given(st.binary(max_size=96))
def test_no_packet_breaks_the_gate(running: Exchange, octets_: bytes) -> None:
    """Nor any IP packet, however broken."""
    now = Moment(running.now_s, running.now_s)
    for head in (b"", b"E\0", b"`\0\0\0"):
        assert not running.guard.inspect_media(head + octets_, "lan0", now).accept
        running.guard.sample_media(head + octets_, now)

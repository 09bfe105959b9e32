"""Media of programs that nobody here wrote: their SRTP proves itself, their clear RTP shows."""

import os
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipguard.edge.capture import read_capture
from sipguard.media.appearance import Appearance, Look, appearance_of, joined
from sipguard.media.proof import Flight, Word
from sipguard.media.prove_sdes import SdesProver, sdes_terms
from sipguard.media.srtp import SrtpKeys, Tag
from sipguard.media.suites import SUITES, MasterKey
from sipguard.wire.packet import Packet
from sipguard.wire.rtp import Kind, kind_of, parse_rtp
from sipguard.wire.sdp import Media, parse_sdp

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
CALLS = CORPUS / "pcap" / "live-thirdparty"
MEDIA = CORPUS / "pcap" / "srtp-media"
AES_80 = b"AES_CM_128_HMAC_SHA1_80"

pytestmark = pytest.mark.skipif(not CALLS.exists(), reason="needs the corpus of captures")


def media_of(packet: Packet) -> Media | None:
    """Return the first media section of an INVITE or its answer."""
    at = packet.payload.find(b"\r\n\r\nv=0")
    return parse_sdp(packet.payload[at + 4 :]).media[0] if at > 0 else None


class Call:
    """One captured call: offer, answer, and the datagrams to the ports that they name."""

    def __init__(self, name: str) -> None:
        sides: list[Media] = []
        self.flights: list[Flight] = []
        for captured in read_capture(CALLS / f"{name}.pcap"):
            packet = captured.packet
            found = media_of(packet)
            if found is not None and len(sides) < 2 and found not in sides:
                sides.append(found)
            elif len(sides) == 2:
                offer, answer = sides
                if packet.dport in (offer.port, offer.port + 1, answer.port, answer.port + 1):
                    self.flights.append(
                        Flight(
                            packet.dport in (answer.port, answer.port + 1),
                            packet.dport in (offer.port + 1, answer.port + 1),
                            packet.sport,
                            packet.payload,
                            captured.time_s,
                        )
                    )
        self.offer, self.answer = sides
        self.looks = joined(appearance_of(self.offer), appearance_of(self.answer))

    def rtp(self) -> Iterator[bytes]:
        for flight in self.flights:
            if kind_of(flight.payload) is Kind.RTP:
                yield flight.payload


@pytest.mark.parametrize(
    ("name", "proven"),
    [
        ("baresip-sdes-udp", 303),
        ("baresip-sdes-tcp", 303),
        ("baresip-kamailio-proxy-sdes", 303),
        ("sipp-srtp-aescm128sha180", 1489),
    ],
)
def test_real_calls_prove_themselves_and_nothing_is_refused(name: str, proven: int) -> None:
    """Each direction's first RTP packet does; baresip's clear pings and goodbyes are not told."""
    call = Call(name)
    terms = sdes_terms(call.offer, call.answer, is_callers_offer=True)
    assert terms is not None
    prover = SdesProver(terms)
    words: Counter[Word] = Counter()
    first: dict[bool, Word] = {}
    for flight in call.flights:
        sight = prover.see(flight)
        words[sight.word] += 1
        if kind_of(flight.payload) is Kind.RTP:
            first.setdefault(flight.by_caller, sight.word)
    assert words[Word.PROVEN] == proven
    assert words[Word.REFUSE] == 0
    assert set(first.values()) == {Word.PROVEN}


def test_linphones_bindings_pass_and_prove_nothing() -> None:
    """It sends STUN without ICE, and in this call nothing else."""
    call = Call("linphone-sdes-udp")
    terms = sdes_terms(call.offer, call.answer, is_callers_offer=True)
    assert terms is not None
    prover = SdesProver(terms)
    assert {prover.see(flight).word for flight in call.flights} == {Word.PASS}
    assert "no packet came" in prover.told(True)


@pytest.mark.parametrize(
    ("name", "ssrc", "key", "packets"),
    [
        ("marseillaise-srtp", 0, "aSBrbm93IGFsbCB5b3VyIGxpdHRsZSBzZWNyZXRz", 11_888),
        (
            "WebRTC_PCMA_p2p_SDES_Call_1",
            0xD092_D296,
            "7SYMKhu8sVMhCr4VXh+ZqkteB01QgqDSgLr4L9iU",
            259,
        ),
        (
            "WebRTC_PCMA_p2p_SDES_Call_1",
            0x522B_93AB,
            "bhn3DDDcf7GhHEnFkGLW9V223XncT60nJrTQK06x",
            227,
        ),
    ],
)
def test_media_whose_key_is_known(name: str, ssrc: int, key: str, packets: int) -> None:
    """SRT-7: every packet of the stream is authentic, and no packet of another is."""
    keys = SrtpKeys(SUITES[AES_80], [MasterKey(bytearray(b64decode(key)))])
    tags: Counter[Tag] = Counter()
    for captured in read_capture(MEDIA / f"{name}.pcap"):
        payload = captured.packet.payload
        if kind_of(payload) is Kind.RTP:
            header = parse_rtp(payload)
            tag = keys.verify_rtp(payload, header, captured.time_s)
            if not ssrc or header.ssrc == ssrc:
                tags[tag] += 1
            else:
                assert tag is Tag.WRONG
    assert tags == {Tag.RIGHT: packets}


def looks(appearance: Appearance, packets: Iterator[bytes], extra: int) -> set[Look]:
    return {appearance.look(packet, parse_rtp(packet), extra) for packet in packets}


@pytest.mark.parametrize("name", ["baresip-plain-rtp-udp", "sipp-uac-pcap-rtp"])
def test_clear_calls_look_clear(name: str) -> None:
    """SRT-3: every packet of G.711 and its events, whatever the tag might have been."""
    call = Call(name)
    assert len(call.flights) > 200
    for packet in call.rtp():
        assert call.looks.fits(parse_rtp(packet))
        assert call.looks.is_clear(packet, parse_rtp(packet))


@pytest.mark.parametrize("name", ["baresip-sdes-udp", "sipp-srtp-aescm128sha180"])
def test_secured_calls_look_secured(name: str) -> None:
    """SRT-3: and so did every packet of G.711 with its tag."""
    call = Call(name)
    assert looks(call.looks, call.rtp(), 10) == {Look.SECURED}


def test_dtls_calls_look_secured_but_for_a_leak() -> None:
    """baresip sends clear RTP before its handshake is over."""
    call = Call("baresip-dtls-udp")
    seen = Counter(call.looks.look(packet, parse_rtp(packet), 10) for packet in call.rtp())
    assert seen[Look.SECURED] > 290
    assert seen[Look.UNKNOWN] == 0
    assert seen[Look.CLEAR] <= 2

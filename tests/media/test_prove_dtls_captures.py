"""DTLS handshakes that others captured, where the corpus is present: baresip, browsers, wolfSSL."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dtls_line import formats

from sipguard.edge.capture import Captured, read_capture
from sipguard.media.appearance import appearance_of, joined
from sipguard.media.proof import Flight, Sight, Word
from sipguard.media.prove_dtls import DtlsProver
from sipguard.reason import Reason
from sipguard.wire.dtls import Reassembly, parse_pieces, parse_records
from sipguard.wire.dtls_hello import parse_certificates
from sipguard.wire.rtp import Kind, kind_of
from sipguard.wire.sdp import Fingerprint, Media, parse_sdp

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
PCAP = CORPUS / "pcap"
BARESIP = PCAP / "live-thirdparty" / "baresip-dtls-udp.pcap"


def present(path: Path) -> list[Captured]:
    if not path.exists():
        pytest.skip("the corpus is not here")
    return list(read_capture(path))


class Call:
    """What signalling said in the capture, and a prover made of it."""

    def __init__(self, captured: list[Captured]) -> None:
        bodies = [one.packet.payload.partition(b"\r\n\r\n")[2] for one in captured]
        offer, answer = [parse_sdp(body).media[0] for body in bodies if body.startswith(b"v=0")]
        self.offer: Media = offer
        self.answer: Media = answer

    def prover(self, **changed: tuple[Fingerprint, ...]) -> DtlsProver:
        return DtlsProver(
            changed.get("caller", tuple(self.offer.fingerprints)),
            changed.get("callee", tuple(self.answer.fingerprints)),
            self.offer.setup,
            self.answer.setup,
            False,
            joined(appearance_of(self.offer), appearance_of(self.answer)),
        )

    def played(
        self, captured: list[Captured], prover: DtlsProver
    ) -> Iterator[tuple[Captured, bool, bool, Sight]]:
        """Each media packet with its direction, its port and what became of it."""
        ports = {self.offer.port: False, self.answer.port: True}
        for one in captured:
            packet = one.packet
            by_caller = ports.get(packet.dport & ~1)
            if by_caller is None:
                continue
            is_rtcp = bool(packet.dport & 1)
            flight = Flight(by_caller, is_rtcp, packet.sport, packet.payload, one.time_s)
            yield one, by_caller, is_rtcp, prover.see(flight)


def test_a_call_of_baresip_is_proven() -> None:
    """Both ports, both ways, from the handshake on; reports in clear are dropped in silence."""
    captured = present(BARESIP)
    call = Call(captured)
    proven: set[tuple[bool, bool]] = set()
    quiet = []
    for one, by_caller, is_rtcp, sight in call.played(captured, call.prover()):
        assert sight.word is not Word.REFUSE, one.frame_index
        if sight.word is Word.QUIET:
            quiet.append(one.packet.payload[1])
        elif sight.word is Word.PROVEN:
            proven.add((by_caller, is_rtcp))
        else:
            assert kind_of(one.packet.payload) is Kind.DTLS
    assert len(proven) == 4
    assert quiet == [204, 204, 203, 203]  # a first ping, and a last goodbye


def test_dtl_4_with_another_fingerprint_in_signalling_it_is_not() -> None:
    """Of either side; the handshake passes up to its certificate, and no media ever does."""
    captured = present(BARESIP)
    call = Call(captured)
    wrong = (Fingerprint(b"sha-256", bytes(32)),)
    for side in ("caller", "callee"):
        prover = call.prover(**{side: wrong})
        words = [sight.word for _, _, _, sight in call.played(captured, prover)]
        assert words[:2] == [Word.PASS, Word.PASS]
        assert Word.PROVEN not in words
        assert "another fingerprint" in prover.told(True)


def test_a_handshake_of_which_the_hello_was_too_early() -> None:
    """baresip's ClientHello comes before the 200 OK; without it there is proof all the same."""
    captured = present(BARESIP)
    call = Call(captured)
    late = [one for one in captured if one.time_s > captured[4].time_s]
    sights = [sight for _, _, _, sight in call.played(late, call.prover())]
    assert {sight.word for sight in sights} == {Word.PASS, Word.QUIET, Word.PROVEN}


def leaf_of(captured: list[Captured], port: int) -> bytes:
    """The certificate that the end at *port* shows."""
    made: Reassembly | None = None
    for one in captured:
        if one.packet.sport != port or kind_of(one.packet.payload) is not Kind.DTLS:
            continue
        for record in parse_records(one.packet.payload):
            for piece in (
                parse_pieces(record.octets) if (record.content, record.epoch) == (22, 0) else ()
            ):
                if piece.kind == 11:
                    made = made or Reassembly(piece.length)
                    made.add(piece.offset, piece.octets)
    assert made is not None
    return parse_certificates(made.message())[0]


@pytest.mark.parametrize(
    ("name", "client", "server"),
    [("zeek-webrtc-stun.pcap", 43044, 51462), ("ndpi-stun_dtls_rtp.pcapng", 37967, 19305)],
)
def test_handshakes_of_browsers(name: str, client: int, server: int) -> None:
    """DTLS 1.0 and 1.2, with STUN in between, losses included; no codec is known."""
    captured = present(PCAP / "dtls" / name)
    prints = [
        (Fingerprint(b"sha-256", hashlib.sha256(leaf_of(captured, port)).digest()),)
        for port in (client, server)
    ]
    prover = DtlsProver(prints[0], prints[1], b"active", b"passive", False, formats())
    refused = set()
    for one in captured:
        packet = one.packet
        if {packet.sport, packet.dport} != {client, server}:
            continue
        by_caller = packet.sport == client
        kind = kind_of(packet.payload)
        sight = prover.see(Flight(by_caller, False, packet.sport, packet.payload, one.time_s))
        if sight.word is Word.REFUSE and kind is Kind.DTLS:
            assert sight.finding is not None
            refused.add((sight.finding.reason, sight.finding.detail.partition(" where")[0]))
    # A browser's data channel is no media.
    assert refused <= {(Reason.BAD_DTLS, "application data")}
    assert prover.told(True) == "the DTLS handshake is over, but no encrypted media came"


def test_dtls_1_3_of_wolfssl() -> None:
    """Its ClientHello is for no SRTP; its ServerHello tells the version, and so do all records."""
    captured = present(PCAP / "dtls" / "zeek-dtls13-wolfssl.pcap")
    prover = DtlsProver((), (), b"active", b"passive", False, formats())
    reasons = set()
    for one in captured:
        by_caller = one.packet.dport == 11111
        if kind_of(one.packet.payload) is not Kind.DTLS:
            continue
        flight = Flight(by_caller, False, one.packet.sport, one.packet.payload, one.time_s)
        sight = prover.see(flight)
        assert sight.finding is not None
        reasons.add((by_caller, sight.finding.reason))
    assert reasons == {
        (True, Reason.DTLS_NO_SRTP),
        (True, Reason.DTLS_HIDDEN),
        (False, Reason.DTLS_HIDDEN),
    }

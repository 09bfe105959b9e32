"""A DTLS-SRTP call for tests: a prover between two ends, and the media that they send."""

import struct
from functools import cache
from typing import Final

from dtls_ends import Datagram, identity, prints_of

from sipguard.media.appearance import Appearance, appearance_of
from sipguard.media.proof import Flight, Sight, Word
from sipguard.media.prove_dtls import DtlsProver
from sipguard.reason import Reason
from sipguard.wire.sdp import parse_sdp

ALICE, BOB, MALLORY = identity("alice"), identity("bob"), identity("mallory")
PORTS: Final = {True: 40000, False: 50000}  # of the caller and the callee

QUIET: Final = (Word.QUIET, Word.QUIET)
REFUSED: Final = (Word.REFUSE, Word.REFUSE)
PROVEN: Final = (Word.PROVEN, Word.PROVEN)


@cache
def formats(listed: bytes = b"0 8", *maps: bytes) -> Appearance:
    """What clear RTP of these formats looks like."""
    body = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    body += b"m=audio 4000 UDP/TLS/RTP/SAVP " + listed + b"\r\n"
    body += b"".join(b"a=rtpmap:" + text + b"\r\n" for text in maps)
    return appearance_of(parse_sdp(body).media[0])


def rtp(
    extra: int = 10, sequence: int = 1, *, kind: int = 0, size: int = 160, ssrc: int = 0xABCD
) -> bytes:
    """20 ms of audio, in clear without extra octets; G.711 unless said otherwise."""
    head = struct.pack("!BBHLL", 0x80, kind, sequence, 160 * sequence, ssrc)
    return head + bytes(size + extra)


def rtcp(tag: int = 10) -> bytes:
    """A receiver report; in clear without a tag, else with index and E bit before it."""
    report = struct.pack("!BBHL", 0x80, 201, 1, 0xABCD)
    return report + (b"\x80\0\0\1" + bytes(tag) if tag else b"")


class Line:
    """A prover for a caller who offered actpass and a callee who answered that it is active."""

    def __init__(self, prover: DtlsProver | None = None, *, accept_hidden: bool = False) -> None:
        self.prover = prover or DtlsProver(
            prints_of(ALICE), prints_of(BOB), b"actpass", b"active", accept_hidden, formats()
        )
        self.sights: list[Sight] = []
        self.now_s = 0.0

    def passes(self, datagram: Datagram) -> bool:
        """Show it a datagram of the handshake, whose client is the callee."""
        return self.see(not datagram.by_client, datagram.octets).word is Word.PASS

    def see(
        self, by_caller: bool, payload: bytes, *, is_rtcp: bool = False, port: int = 0
    ) -> Sight:
        """Show it any packet, a millisecond after the one before."""
        self.now_s += 0.001
        source = port or PORTS[by_caller] + is_rtcp
        sight = self.prover.see(Flight(by_caller, is_rtcp, source, payload, self.now_s))
        self.sights.append(sight)
        return sight

    def sample(self, by_caller: bool, payload: bytes) -> Sight:
        """Show it the copy of a packet that was forwarded."""
        self.now_s += 1.0
        flight = Flight(by_caller, False, PORTS[by_caller], payload, self.now_s)
        return self.prover.sample(flight)

    def media(self, extra: int = 10, sequence: int = 1) -> tuple[Word, Word]:
        """What becomes of a packet of each side, the caller's first."""
        packet = rtp(extra, sequence)
        return self.see(True, packet).word, self.see(False, packet).word

    def findings(self) -> set[Reason]:
        """What it found so far."""
        return {sight.finding.reason for sight in self.sights if sight.finding is not None}

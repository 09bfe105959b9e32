"""Two ICE agents on paper: their credentials, their checks, and a prover that believes all."""

from phones import octets
from stun_builder import request, success

from sipguard.media.proof import PROVES, Flight, Prover, Sight
from sipguard.wire.candidate import Ice, read_ice
from sipguard.wire.sdp import parse_sdp

ALICE, BOB = "10.20.1.2:4000", "10.20.2.2:5000"
ALICE2, BOB2 = "10.20.1.3:4000", "10.20.2.3:5000"
RTP = b"\x80\x00" + bytes(30)
RTCP = b"\x80\xc8" + bytes(30)
DTLS = b"\x16\xfe\xff" + bytes(30)
ZRTP = b"\x10\x00" + bytes(30)
UFRAGS = {True: b"alic", False: b"bobs"}
PWDS = {True: b"alice/password/of22chars", False: b"bobs+password+of+22chars"}


class Inner(Prover):
    """Says PROVEN to all, and remembers what it was shown."""

    def __init__(self, sight: Sight = PROVES) -> None:
        self.method = "dtls"
        self.sight = sight
        self.seen: list[bytes] = []
        self.sampled: list[bytes] = []
        self.wiped = 0

    def see(self, flight: Flight) -> Sight:
        self.seen.append(flight.payload)
        return self.sight

    def sample(self, flight: Flight) -> Sight:
        self.sampled.append(flight.payload)
        return self.sight

    def told(self, by_caller: bool) -> str:
        return "the caller's key" if by_caller else "the callee's key"

    def wipe(self) -> None:
        self.wiped += 1


def ice(by_caller: bool, *, lite: bool = False, ufrag: bytes = b"", pwd: bytes = b"") -> Ice:
    ufrag, pwd = ufrag or UFRAGS[by_caller], pwd or PWDS[by_caller]
    head = b"v=0\r\no=- 1 1 IN IP4 10.20.1.2\r\ns=-\r\nc=IN IP4 10.20.1.2\r\nt=0 0\r\n"
    head += b"a=ice-lite\r\n" if lite else b""
    text = head + b"a=ice-ufrag:%s\r\na=ice-pwd:%s\r\nm=audio 9 RTP/SAVP 0\r\n" % (ufrag, pwd)
    sdp = parse_sdp(text)
    found = read_ice(sdp, sdp.media[0])
    assert found is not None
    return found


def flight(by_caller: bool, payload: bytes, now_s: float = 0.0, *ends: str) -> Flight:
    source, destination = ends or ((ALICE, BOB) if by_caller else (BOB, ALICE))
    source_address, _, source_port = source.rpartition(":")
    address, _, port = destination.rpartition(":")
    return Flight(
        by_caller,
        False,
        int(source_port),
        payload,
        now_s,
        octets(source_address),
        octets(address),
        int(port),
    )


def check(by_caller: bool, transaction: bytes = b"transaction!") -> bytes:
    """What this side asks: the other's fragment first, and the other's password."""
    username = UFRAGS[not by_caller] + b":" + UFRAGS[by_caller]
    return request(username, PWDS[not by_caller], transaction, controlling=by_caller)


def answer(by_caller: bool, transaction: bytes = b"transaction!") -> bytes:
    """What this side answers, with its own password."""
    return success(PWDS[by_caller], transaction)

"""Both ends of a ZRTP exchange, made of real hash chains, MACs and hvi; for tests.

The checksum is worked out bit by bit here, so that sipguard's table is held against
something else.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sipguard.media.appearance import Appearance, appearance_of
from sipguard.media.proof import Flight
from sipguard.wire.sdp import Media, parse_sdp

Said = tuple[bool, bytes]  # by the caller or not, and the datagram

DEFAULT_OFFERS = (
    (b"S256",),
    (b"AES1",),
    (b"HS32", b"HS80"),
    (b"DH3k", b"DH2k", b"Mult"),
    (b"B32 ",),
)
PUBLIC_OCTETS = {
    b"DH3k": 384,
    b"DH2k": 256,
    b"EC25": 64,
    b"EC38": 96,
    b"EC52": 132,
    b"X255": 32,
    b"X448": 56,
    b"E414": 104,
}
HASHES = {b"S256": "sha256", b"S384": "sha384", b"N256": "sha3_256", b"N384": "sha3_384"}
HVI_AT, MAC_FROM_END = 76, 8


def sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def mac(key: bytes, octets: bytes) -> bytes:
    return hmac.digest(key, octets, "sha256")[:8]


def crc32c(octets: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<L", crc ^ 0xFFFFFFFF)


def message(kind: bytes, content: bytes = b"") -> bytes:
    """A message with its preamble; content is whole words."""
    return struct.pack("!HH8s", 0x505A, 3 + len(content) // 4, kind.ljust(8)) + content


def packet(said: bytes, sequence: int = 1, ssrc: int = 0x1234) -> bytes:
    """A message in its packet, with a right checksum."""
    octets = struct.pack("!HH4sL", 0x1000, sequence, b"ZRTP", ssrc) + said
    return octets + crc32c(octets)


def flip(octets: bytes, at: int, bits: int = 1) -> bytes:
    return octets[:at] + bytes((octets[at] ^ bits,)) + octets[at + 1 :]


class End:
    """One telephone: its hash chain, its Hello, and what it can say after it."""

    def __init__(
        self,
        seed: bytes,
        offers: tuple[tuple[bytes, ...], ...] = DEFAULT_OFFERS,
        version: bytes = b"1.10",
        flags: int = 0,
    ) -> None:
        self.h0 = sha256(b"h0" + seed)
        self.h1 = sha256(self.h0)
        self.h2 = sha256(self.h1)
        self.h3 = sha256(self.h2)
        self.zid = sha256(b"zid" + seed)[:12]
        self.seed = seed
        word = flags << 28
        for at, names in enumerate(offers):
            word |= len(names) << (16 - 4 * at)
        content = version + b"builder".ljust(16) + self.h3 + self.zid + struct.pack("!L", word)
        content += b"".join(name for names in offers for name in names)
        unsigned = message(b"Hello", content + bytes(8))[:-8]
        self.hello = unsigned + mac(self.h2, unsigned)
        self.hash = sha256(self.hello)

    def commit(self, chosen: tuple[bytes, ...], promise: bytes) -> bytes:
        """A Commit; what follows the five algorithms is hvi, or nonce and key id."""
        content = self.h2 + self.zid + b"".join(chosen) + promise
        unsigned = message(b"Commit", content + bytes(8))[:-8]
        return unsigned + mac(self.h1, unsigned)

    def dh_part(self, number: int, agreement: bytes = b"DH3k") -> bytes:
        """A DHPart whose public value is any octets."""
        octets = PUBLIC_OCTETS[agreement]
        value = hashlib.shake_256(b"pv" + self.seed).digest(octets)
        content = self.h1 + hashlib.shake_256(b"ids" + self.seed).digest(32) + value
        unsigned = message(b"DHPart%d" % number, content + bytes(8))[:-8]
        return unsigned + mac(self.h0, unsigned)

    def confirm(self, number: int) -> bytes:
        """A Confirm; what it says is encrypted anyway."""
        return message(b"Confirm%d" % number, hashlib.shake_256(self.seed + b"c").digest(64))


class Exchange(NamedTuple):
    """A whole exchange by its messages; the initiator is the caller unless said otherwise."""

    initiator: End
    responder: End
    caller_initiates: bool
    hello_i: bytes
    hello_r: bytes
    commit: bytes
    dh_part_1: bytes
    dh_part_2: bytes
    confirm_1: bytes
    confirm_2: bytes

    @property
    def caller_hashes(self) -> tuple[bytes, ...]:
        return ((self.initiator if self.caller_initiates else self.responder).hash,)

    @property
    def callee_hashes(self) -> tuple[bytes, ...]:
        return ((self.responder if self.caller_initiates else self.initiator).hash,)

    def said(self) -> list[Said]:
        """Every datagram in order, with the acknowledgements."""
        by_initiator, by_responder = self.caller_initiates, not self.caller_initiates
        steps = [
            (by_initiator, self.hello_i),
            (by_responder, message(b"HelloACK")),
            (by_responder, self.hello_r),
            (by_initiator, message(b"HelloACK")),
            (by_initiator, self.commit),
            (by_responder, self.dh_part_1),
            (by_initiator, self.dh_part_2),
            (by_responder, self.confirm_1),
            (by_initiator, self.confirm_2),
            (by_responder, message(b"Conf2ACK")),
        ]
        return [(by_caller, packet(said, at)) for at, (by_caller, said) in enumerate(steps) if said]


def exchange(
    chosen: tuple[bytes, ...] = (b"S256", b"AES1", b"HS80", b"DH3k", b"B32 "),
    *,
    caller_initiates: bool = True,
    initiator: End | None = None,
    responder: End | None = None,
) -> Exchange:
    """A right exchange with these algorithms; Mult and Prsh go without DHParts."""
    one = initiator or End(b"one", _offering(chosen))
    two = responder or End(b"two", _offering(chosen))
    agreement = chosen[3]
    dh_part_1 = dh_part_2 = b""
    if agreement in (b"Mult", b"Prsh"):
        promise = sha256(b"nonce")[: 16 if agreement == b"Mult" else 24]
    else:
        dh_part_1, dh_part_2 = two.dh_part(1, agreement), one.dh_part(2, agreement)
        name = HASHES.get(chosen[0], "sha256")
        promise = hashlib.new(name, dh_part_2 + two.hello).digest()[:32]
    return Exchange(
        one,
        two,
        caller_initiates,
        one.hello,
        two.hello,
        one.commit(chosen, promise),
        dh_part_1,
        dh_part_2,
        two.confirm(1),
        one.confirm(2),
    )


def _offering(chosen: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], ...]:
    return tuple(
        names if name in names else (*names, name)
        for names, name in zip(DEFAULT_OFFERS, chosen, strict=True)
    )


# --- media beside it


def media(line: str = "audio 9 RTP/AVP 0 8 96", maps: str = "") -> Media:
    """The ``m=`` section of a description with this line; maps are ``96=opus/48000 ...``."""
    rows = "".join(f"a=rtpmap:{word.replace('=', ' ', 1)}\r\n" for word in maps.split())
    text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    return parse_sdp((text + f"m={line}\r\n" + rows).encode()).media[0]


def pcmu() -> Appearance:
    return appearance_of(media())


def rtp(octets: int, sequence: int = 1, payload_type: int = 0) -> bytes:
    """An RTP packet with a payload of so many octets: 160 are clear PCMU, 170 SRTP."""
    header = struct.pack("!BBHLL", 0x80, payload_type, sequence, 160 * sequence, 7)
    return header + hashlib.shake_256(header).digest(octets)


CLEAR_RTCP = struct.pack("!BBHL", 0x80, 201, 1, 7)
SRTCP = struct.pack("!BBHL", 0x80, 200, 6, 7) + bytes(20) + b"\x80\0\0\1" + bytes(10)
STUN = struct.pack("!HHL12s", 1, 0, 0x2112A442, b"transaction!")


def flight(said: Said, now_s: float = 0.0, *, is_rtcp: bool = False) -> Flight:
    by_caller, payload = said
    return Flight(by_caller, is_rtcp, 7078, payload, now_s)


class Recorded(NamedTuple):
    """An exchange that telephones had, as in tests/vectors/zrtp."""

    caller_hash: bytes
    callee_hash: bytes
    media: Media
    flights: list[Flight]


def recorded() -> Iterator[tuple[str, Recorded]]:
    """Every file of tests/vectors/zrtp: fields, a blank line, then a datagram a row."""
    for path in sorted((Path(__file__).parent / "vectors" / "zrtp").glob("*.txt")):
        head, _, rows = path.read_text("ascii").partition("\n\n")
        fields = dict(row.split(": ", 1) for row in head.split("\n"))
        flights = []
        for row in rows.split("\n"):
            if row:
                now, who, port, digits = row.split(" ")
                octets = bytes.fromhex(digits)
                flights.append(Flight(who == "caller", port == "rtcp", 7078, octets, float(now)))
        yield (
            path.stem,
            Recorded(
                fields["caller"].encode(),
                fields["callee"].encode(),
                media(fields["m"], fields["maps"]),
                flights,
            ),
        )

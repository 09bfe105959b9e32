"""Makes MIKEY messages octet by octet, with arithmetic of its own, for tests."""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sipguard.moment import Moment
from sipguard.wire.uri import Uri, parse_uri

NOW_S: Final = 1_790_000_000.0
NOW: Final = Moment(5000.0, NOW_S)
ALICE: Final = b"alice@example.com"
BOB: Final = b"bob@example.net"
PSK: Final = bytes(range(16))
TGK: Final = b"a TEK generation"
CSB: Final = bytes.fromhex("cd177e50")
NONCE: Final = bytes.fromhex("4a28da979ee21a7651a0d7f19136d98c")

# What the lab's client (GStreamer 1.22) wrote into an INVITE and its 200, at this time, and
# one SRTP packet of each side.
GSTREAMER_S: Final = 1_796_006_993.9
GSTREAMER_OFFER: Final = bytes.fromhex(
    "01000500cd623b920100005f2a29c8000000000b00eeb762d1e400b88c0a10f275cdc2ebf0a9bc1f5f10"
    "0275b7d68a010000001500010101011002010103010a0701010801010a0101000000220020001e3e1fdd"
    "9aad391599821a3027e94302bc34d43bf3931ef677f977a7d46f4600"
)
GSTREAMER_ANSWER: Final = bytes.fromhex(
    "010005004aceca47010000d2983a56000000000b00eeb762d1e48344c30a100ffe05db48de3afc2a3dca"
    "789586dba9010000001500010101011002010103010a0701010801010a0101000000220020001ed3bd0a"
    "d949bce9a6de4976c2fd7c04509ab28bad1dbdb4c10e261d93c9e300"
)

# The messages of RFC 4567 section 5.1 (VEC-21); the pre-shared key is not published.
RFC4567_S: Final = 0xC8E350EA - 2_208_988_800
RFC4567_OFFER: Final = (
    b"AQAFgM0XflABAAAAAAAAAAAAAAsAyONQ6gAAAAAGEEoo2pee4hp2UaDX8ZE22YwKAAAPZG9uYWxkQGR1Y2suY29t"
    b"AQAAAAAAAQAk0JKpgaVkDaawi9whVBtBt0KZ14ymNuu62+Nv3ozPLygwK/GbAV9iemnGUIZ19fWQUOSrzKTAv9zV"
)
RFC4567_ANSWER: Final = (
    b"AQEFgM0XflABAAAAAAAAAAAAAAYAyONQ6gAAAAAJAAAQbWlja2V5QG1vdXNlLmNvbQABn8HdGE5BMDXFIuGEga+6"
    b"2AgY5cc="
)

Payload = tuple[int, bytes]


def sip(name: bytes) -> Uri:
    """A From or To of this user."""
    return parse_uri(b"sip:" + name)


def sessions(*ssrcs: int, policy: int = 0) -> bytes:
    """#CS, map type and one SRTP-ID for each SSRC."""
    rows = [struct.pack("!BII", policy, ssrc, 0) for ssrc in ssrcs]
    return bytes((len(ssrcs), 0)) + b"".join(rows)


def build(
    data_type: int,
    payloads: Sequence[Payload],
    *,
    v: bool = False,
    prf: int = 0,
    csb: bytes = CSB,
    streams: bytes = b"\0\0",
    last: int = 0,
) -> bytes:
    """Header and a chain of payloads, each given by its number and what follows "next"."""
    kinds = [kind for kind, _ in payloads]
    out = bytes((1, data_type, kinds[0] if kinds else last, v << 7 | prf)) + csb + streams
    nexts = [*kinds[1:], last]
    for (kind, content), following in zip(payloads, nexts[: len(kinds)], strict=True):
        out += content if kind == 4 else bytes((following,)) + content
    return out


def stamp(at_s: float = NOW_S, kind: int = 0) -> Payload:
    seconds = (int(at_s) + 2_208_988_800) % 2**32
    if kind == 2:
        return 5, b"\x02" + struct.pack("!I", seconds)
    return 5, bytes((kind,)) + struct.pack("!II", seconds, int((at_s % 1) * 2**32))


def rand(octets: bytes = NONCE) -> Payload:
    return 11, bytes((len(octets),)) + octets


def _counted(*parts: int, octets: bytes) -> bytes:
    return bytes(parts) + struct.pack("!H", len(octets)) + octets


def nai(name: bytes) -> Payload:
    return 6, _counted(0, octets=name)


def uri_id(name: bytes) -> Payload:
    return 6, _counted(1, octets=name)


def identity_with_role(role: int, name: bytes) -> Payload:
    return 14, _counted(role, 1, octets=name)


def certificate(octets: bytes, kind: int = 0) -> Payload:
    return 7, _counted(kind, octets=octets)


def policy(*params: tuple[int, int], number: int = 0, protocol: int = 0) -> Payload:
    rows = b"".join(bytes((kind, 1, value)) for kind, value in params)
    return 10, _counted(number, protocol, octets=rows)


def extension(kind: int, octets: bytes) -> Payload:
    return 21, _counted(kind, octets=octets)


def error(number: int) -> Payload:
    return 12, bytes((number, 0, 0))


def envelope(octets: bytes = b"e" * 128) -> Payload:
    return 2, struct.pack("!H", len(octets)) + octets


def key_data(
    key: bytes, *, kind: int = 0, salt: bytes = b"", mki: bytes = b"", following: int = 0
) -> bytes:
    out = bytes((following, kind << 4 | bool(mki))) + struct.pack("!H", len(key)) + key
    if kind & 1:
        out += struct.pack("!H", len(salt)) + salt
    return out + (bytes((len(mki),)) + mki if mki else b"")


def kemac(octets: bytes, encryption: int = 0, mac_algorithm: int = 0, mac: bytes = b"") -> Payload:
    return 1, _counted(encryption, octets=octets) + bytes((mac_algorithm,)) + mac


def dh(value: int = 2**700 + 1, group: int = 0) -> Payload:
    octets = {0: 192, 1: 96, 2: 128}[group]
    return 3, bytes((group,)) + value.to_bytes(octets, "big") + b"\0"


def prf(key: bytes, label: bytes, octets: int, name: str = "sha1") -> bytes:
    """RFC 3830 section 4.1.2 once more, block by block as it is written there."""

    def mac(secret: bytes, text: bytes) -> bytes:
        return hmac.new(secret, text, name).digest()

    m = -(-octets // hashlib.new(name).digest_size)
    streams = []
    for at in range(0, len(key), 32):
        s = key[at : at + 32]
        a = [label]
        for _ in range(m):
            a.append(mac(s, a[-1]))
        streams.append(b"".join(mac(s, a_i + label) for a_i in a[1:]))
    mixed = streams[0]
    for stream in streams[1:]:
        mixed = bytes(x ^ y for x, y in zip(mixed, stream, strict=True))
    return mixed[:octets]


def own_key(constant: int, octets: int, psk: bytes = PSK, name: str = "sha1") -> bytes:
    return prf(psk, struct.pack("!IB", constant, 255) + CSB + NONCE, octets, name)


def traffic(constant: int, cs_id: int, octets: int, tgk: bytes = TGK) -> bytes:
    return prf(tgk, struct.pack("!IB", constant, cs_id) + CSB + NONCE, octets)


def counter_mode(plain: bytes, t: bytes, psk: bytes = PSK) -> bytes:
    """AES-CM-128 of section 4.2.3 with the keys of *psk*; *t* has 8 octets."""
    salt = own_key(0x29B88916, 14, psk)
    mixed = bytes(x ^ y for x, y in zip(salt, b"\0\0" + CSB + t, strict=True))
    cipher = Cipher(algorithms.AES(own_key(0x150533E1, 16, psk)), modes.CTR(mixed + b"\0\0"))
    encryptor = cipher.encryptor()
    return encryptor.update(plain) + encryptor.finalize()


def authenticated(unfinished: bytes, psk: bytes = PSK) -> bytes:
    """Fill in the 20 octets of MAC at the end of a message."""
    covered = unfinished[:-20]
    return covered + hmac.new(own_key(0x2D22AC75, 20, psk), covered, "sha1").digest()


def psk_offer(
    payloads: Sequence[Payload] | None = None,
    *,
    keys: bytes | None = None,
    psk: bytes = PSK,
    at_s: float = NOW_S,
    v: bool = False,
    streams: bytes | None = None,
    ids: Sequence[Payload] | None = None,
) -> bytes:
    """A sound PSK message: encrypted TGK, MAC, both identities, the list of protocols."""
    t = stamp(at_s)
    between = [rand(), *(ids if ids is not None else (nai(ALICE), nai(BOB)))]
    between += payloads if payloads is not None else [extension(1, b"mikey")]
    sealed = counter_mode(keys if keys is not None else key_data(TGK), t[1][1:], psk)
    chain = [t, *between, kemac(sealed, 1, 1, b"\0" * 20)]
    shown = streams if streams is not None else sessions(0x1111, 0)
    return authenticated(build(0, chain, v=v, streams=shown), psk)


def psk_response(
    offer_s: float = NOW_S, psk: bytes = PSK, *, initiator: bytes = ALICE, responder: bytes = BOB
) -> bytes:
    t = stamp(offer_s)
    covered = build(1, [t, nai(responder), (9, b"\x01")], streams=sessions(0x1111, 0x2222))
    named = covered + initiator + responder + t[1][1:]
    return covered + hmac.new(own_key(0x2D22AC75, 20, psk), named, "sha1").digest()


def signed(
    unfinished: bytes,
    key: rsa.RSAPrivateKey,
    *,
    digest: hashes.HashAlgorithm | None = None,
    named: bytes = b"",
    pss: bool = False,
) -> bytes:
    """Append a SIGN payload to a message built with ``last=4``; *named* is covered as well."""
    algorithm = digest or hashes.SHA256()
    octets = key.key_size // 8
    covered = unfinished + struct.pack("!H", pss << 12 | octets)
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    if pss:
        scheme = padding.PSS(padding.MGF1(algorithm), 20)
    return covered + key.sign(covered + named, scheme, algorithm)

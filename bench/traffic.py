"""The packets of SIP calls for the parts that need no kernel, and captures made of them.

The messages are those of ``messages.h``: seven a call, with Call-ID, tags, branches, keys
and media ports that no other call shares; the people who call are a few hundred, as behind any PBX.
"""

import base64
import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sipguard.wire.packet import Packet, build_udp

KINDS: Final = ("INVITE", "100", "180", "200", "ACK", "BYE", "200 to BYE")
HOSTS: Final = 8
TELEPHONES: Final = 240  # on each side, each behind one address; as in messages.h
_FIRST_MEDIA_PORT: Final = 16384
_MEDIA_PORTS: Final = 24000
_RAW_IP: Final = 101  # LINKTYPE_RAW of the capture format
_SPACING_US: Final = 40  # between two messages of a capture: 25,000 messages/s


class Call(NamedTuple):
    """The names that one call's messages share."""

    number: int
    caller_user: str
    callee_user: str
    caller: str
    callee: str
    caller_address: bytes
    callee_address: bytes
    port: int


def call(number: int) -> Call:
    """Return what is particular to the call of this number."""
    host = 2 + number % HOSTS
    port = _FIRST_MEDIA_PORT + 2 * (number // HOSTS % _MEDIA_PORTS)
    ends = (bytes((198, 18, 1, host)), bytes((198, 19, 1, host)))
    users = (f"+4930{number % TELEPHONES:08}", f"+4989{(number * 7 + 3) % TELEPHONES:08}")
    return Call(number, *users, f"198.18.1.{host}", f"198.19.1.{host}", *ends, port)


def _sdp(of: Call, address: str, side: bytes) -> bytes:
    secret = hashlib.sha256(side + of.number.to_bytes(4, "big")).digest()[:30]
    return (
        f"v=0\r\no=- 1{of.number:08} 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {of.port} RTP/SAVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(secret).decode()}\r\n"
        "a=ptime:20\r\na=sendrecv\r\n"
    ).encode()


def _message(of: Call, kind: str) -> bytes:
    number, request = of.number, kind in {"INVITE", "ACK", "BYE"}
    bye = kind in {"BYE", "200 to BYE"}
    method = "BYE" if bye else "ACK" if kind == "ACK" else "INVITE"
    status = {"100": "100 Trying", "180": "180 Ringing"}.get(kind, "200 OK")
    line = f"{method} sip:{of.callee_user}@{of.callee}:5060 SIP/2.0\r\nMax-Forwards: 70\r\n"
    own = of.caller if request else of.callee
    rows = [
        line if request else f"SIP/2.0 {status}\r\n",
        f"Via: SIP/2.0/UDP {of.caller}:5060;branch=z9hG4bK{number:08x}{method[0].lower()};rport\r\n"
        f'From: "Caller" <sip:{of.caller_user}@caller.example>;tag=c{number:08x}\r\n'
        f"To: <sip:{of.callee_user}@callee.example>",
        "" if kind in {"INVITE", "100"} else f";tag=d{number:08x}",
        f"\r\nCall-ID: {number:08x}@caller.example\r\nCSeq: {2 if bye else 1} {method}\r\n",
    ]
    if kind in {"INVITE", "180", "200"}:
        name = of.caller_user if request else of.callee_user
        rows.append(f"Contact: <sip:{name}@{own}:5060>\r\n")
    body = b""
    if kind in {"INVITE", "200"}:
        body = _sdp(of, own, b"caller" if request else b"callee")
        rows.append(
            "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE\r\nSupported: replaces, timer\r\n"
            "Content-Type: application/sdp\r\n"
        )
    rows.append(f"{'User-Agent' if request else 'Server'}: bench/1.0\r\n")
    rows.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "".join(rows).encode() + body


def packets(number: int) -> list[Packet]:
    """Return the seven packets of one call, in the order of ``KINDS``."""
    of = call(number)
    found = []
    for kind in KINDS:
        ends = (of.caller_address, of.callee_address)
        src, dst = ends if kind in {"INVITE", "ACK", "BYE"} else ends[::-1]
        found.append(Packet(src, dst, 5060, 5060, _message(of, kind)))
    return found


def datagrams(first: int, calls: int) -> list[list[bytes]]:
    """Return whole IP packets: one list for each call, one packet for each of ``KINDS``."""
    return [
        [build_udp(packet) for packet in packets(number)] for number in range(first, first + calls)
    ]


def _interleaved(calls: int, in_flight: int = 64) -> Iterator[bytes]:
    """Yield the packets of calls that overlap, as a trunk carries them."""
    for start in range(0, calls, in_flight):
        group = datagrams(start, min(in_flight, calls - start))
        for step in range(len(KINDS)):
            for rows in group:
                yield rows[step]


def write_capture(path: Path, calls: int) -> int:
    """Write a capture of so many calls; return the number of messages in it."""
    messages = 0
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, _RAW_IP))
        for octets in _interleaved(calls):
            seconds, micros = divmod(messages * _SPACING_US, 1_000_000)
            head = (1_700_000_000 + seconds, micros, len(octets), len(octets))
            out.write(struct.pack("<IIII", *head) + octets)
            messages += 1
    return messages

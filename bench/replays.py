"""How much the memories of requests and proofs take when full, and how long their expiry stops.

In a process of its own; prints one JSON object. Run as ``python -m bench.replays KIND ENTRIES``.
"""

import gc
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from sipguard.identity.aib_memory import AibMemory, Claim, long_hash, short_hash
from sipguard.identity.digest import Digests
from sipguard.identity.passport_memory import PassportMemory
from sipguard.moment import Moment
from sipguard.replay import Memory
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Message, parse_message

WINDOW_S: Final = 3600.0
PER_S: Final = 2000  # how fast requests come; how fast they are too old one hour later
_UTC_S: Final = 1_700_000_000.0
_CALLEE: Final = bytes((198, 19, 1, 2))


class Memories(NamedTuple):
    """What is filled and emptied."""

    what: str
    remember: Callable[[int, Moment], None]
    expire: Callable[[Moment], None]
    kept: Callable[[], int]


def _moment(number: int) -> Moment:
    return Moment(1000.0 + number / PER_S, _UTC_S + number / PER_S)


def _request(number: int, more: str = "") -> tuple[Message, Packet]:
    """Return an INVITE of its own call, as short as one can be."""
    octets = (
        f"INVITE sip:+4989{number % 9973:06}@198.19.1.2 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 198.18.1.2:5060;branch=z9hG4bK{number:032x}\r\n"
        "Max-Forwards: 70\r\n"
        f"From: <sip:+4930{number % 9769:06}@caller.example>;tag={number:016x}\r\n"
        f"To: <sip:+4989{number % 9973:06}@callee.example>\r\nCall-ID: {number:032x}@198.18.1.2\r\n"
        f"CSeq: 1 INVITE\r\nContact: <sip:+4930{number % 9769:06}@198.18.1.2:5060>\r\n{more}"
        "Content-Length: 0\r\n\r\n"
    ).encode()
    source = bytes((198, 18, number >> 8 & 0xFF, number & 0xFF))
    return parse_message(octets, "udp"), Packet(source, _CALLEE, 5060, 5060, octets)


def _requests() -> Memories:
    """The memory of requests, every one still unanswered: an answer makes an entry smaller."""
    memory = Memory(WINDOW_S)

    def remember(number: int, now: Moment) -> None:
        message, packet = _request(number)
        assert message.ids is not None
        memory.remember(message, message.ids, packet, now)

    return Memories("requests, none answered", remember, memory.expire, lambda: len(memory))


def _claim(number: int, now: Moment) -> Claim:
    name = number.to_bytes(8, "big")
    return Claim(
        long_hash(name, b"caller"),
        long_hash(name, b"copy"),
        short_hash(name, b"branch"),
        short_hash(name, b"tag"),
        1,
        b"INVITE",
        int(now.utc_s),
        signs_cseq=True,
        signs_tag=True,
    )


def _proofs() -> Memories:
    """The memories of AIBs, PASSporTs and digests, each as full as it gets."""
    aib, stir, digests = AibMemory(), PassportMemory(WINDOW_S), Digests(remember_s=WINDOW_S)

    def remember(number: int, now: Moment) -> None:
        credentials = (
            'Proxy-Authorization: Digest username="caller", realm="callee.example", '
            f'nonce="{number:032x}", uri="sip:callee.example", response="{number * 7:032x}", '
            f'algorithm=MD5, qop=auth, cnonce="{number:08x}", nc=00000001\r\n'
        )
        message, packet = _request(number, credentials)
        ids = message.ids
        assert ids is not None
        aib.remember(_claim(number, now), 1, now)
        stir.remember(hash((number, b"")), int(now.utc_s), ids, packet, now)
        digests.accepted(message, ids, packet, now)

    def expire(now: Moment) -> None:
        digests.expire(now)
        aib.expire(now)
        stir.expire(now)

    return Memories(
        "requests with AIB, PASSporT and digest",
        remember,
        expire,
        lambda: len(aib) + len(stir) + len(digests),
    )


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def _since_ms(start_ns: int) -> float:
    return (time.thread_time_ns() - start_ns) / 1e6


def _expire_ms(memories: Memories, now: Moment) -> float:
    start_ns = time.thread_time_ns()
    memories.expire(now)
    return _since_ms(start_ns)


def main() -> None:
    """Fill, look, and let all of it grow old."""
    kind, entries = sys.argv[1], int(sys.argv[2])
    memories = _requests() if kind == "requests" else _proofs()
    gc.collect()
    gc.freeze()
    gc.disable()  # as the service does, which collects when it is quiet
    before_mb = _resident_mb()
    slowest_ms = 0.0
    pauses_ms = []
    for number in range(entries):
        now = _moment(number)
        start_ns = time.thread_time_ns()
        memories.remember(number, now)
        slowest_ms = max(slowest_ms, _since_ms(start_ns))
        if number % (PER_S // 4) == 0:
            pauses_ms.append(_expire_ms(memories, now))
    taken_mb, kept = _resident_mb() - before_mb, memories.kept()
    at, left = entries, kept
    while left:  # four times a second, as the service does it, while everything grows too old
        at += PER_S // 4
        later = Moment(_moment(at).monotonic_s + WINDOW_S - entries / PER_S, _moment(at).utc_s)
        pauses_ms.append(_expire_ms(memories, later))
        left = memories.kept()
    print(
        json.dumps(
            {
                "what": memories.what,
                "mb": taken_mb,
                "kept": f"{kept:,} kept",
                "pause_ms": max(pauses_ms),
                "rest": f"of {len(pauses_ms):,}; longest of one more entry {slowest_ms:.1f} ms",
            }
        )
    )


if __name__ == "__main__":
    main()

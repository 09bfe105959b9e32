"""What a record kept, made into the packet it was, and fit to be read or judged again."""

import re
from base64 import b64encode
from datetime import datetime
from hashlib import sha512
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from sipguard.edge.archive import Entry
from sipguard.errors import EdgeError
from sipguard.journal import told
from sipguard.journal.escape import safe_text
from sipguard.wire.packet import Packet

_PORT: Final = 5060  # where a record has no port
_PLACE: Final = re.compile(r"(.+):([0-9]{1,7})")
_RULE_OCTETS: Final = 4 << 20
_MASK: Final = b"***"
_WORD: Final = b"MASKED"
_INLINE: Final = re.compile(rb"(a=crypto:[0-9]{1,9} ([A-Za-z0-9_]{1,64}) inline:)\*\*\*")
_LENGTH: Final = re.compile(rb"(?mi)^((?:content-length|l)[ \t]*:[ \t]*)([0-9]{1,5})(?=\r?$)")
# Octets of key and salt (RFC 4568, 6188, 7714); others are of no known suite.
_SIZES: Final = (
    (b"AES_CM_128", 30), (b"F8_128", 30), (b"AES_192_CM", 38), (b"AES_256_CM", 46),
    (b"AEAD_AES_128_GCM", 28), (b"AEAD_AES_256_GCM", 44),
)  # fmt: skip


def packet_of(entry: Entry) -> tuple[Packet, float]:
    """Return the stored message as the packet it was, masked, and its POSIX time.

    Raises:
        EdgeError: The record has no message, or no addresses that fit together.
    """
    record = entry.line
    if not entry.message:
        what = "it is about packets of a stream" if told.is_media(record) else "none was kept"
        raise EdgeError(f"record {told.text(record, 'id')} has no message: {what}")
    try:
        src, dst = (ip_address(told.text(record, side)).packed for side in ("src", "dst"))
        time_s = datetime.fromisoformat(told.text(record, "time")).timestamp()
    except ValueError:
        raise EdgeError(f"record {told.text(record, 'id')} has no usable addresses") from None
    if len(src) != len(dst):
        raise EdgeError(f"record {told.text(record, 'id')} has addresses of two families")
    sport, dport = (told.number(record, f"{side}_port") or _PORT for side in ("src", "dst"))
    way = (told.text(record, "transport") or "udp", told.text(record, "interface"))
    return Packet(src, dst, sport, dport, entry.message, *way), time_s


def is_whole(entry: Entry) -> bool:
    """Report whether all of the message was kept."""
    packets = told.part(entry.line, "packets")
    return told.number(packets, "octets") <= told.number(packets, "kept")


def text_of_rule(place: str, rule: str) -> str:
    """Return the rule's line as the policy file has it now; empty if it is another's by now."""
    found = _PLACE.fullmatch(place)
    if found is None or not Path(found[1]).is_file():
        return ""
    try:
        with Path(found[1]).open(encoding="utf-8") as stream:
            lines = stream.read(_RULE_OCTETS).splitlines()
    except (OSError, ValueError):
        return ""
    number = int(found[2])
    words = lines[number - 1].split() if 0 < number <= len(lines) else []
    return safe_text(" ".join(words)) if words[:1] == [rule] else ""


def padded(payload: bytes) -> bytes:
    """Return a masked message that other programs can read, its body as long as it was.

    Wireshark reads no description that is shorter than Content-Length says, nor a
    key that is no base64. So a masked SRTP key becomes ``MASKEDMASKED...``, as long
    as its suite has it; for what is still missing another mask gets more stars.
    """
    head, blank, body = payload.partition(b"\r\n\r\n")
    body = _INLINE.sub(_with_word, body)
    payload = head + blank + body
    said = _LENGTH.search(head)
    if said is None or _MASK not in body:
        return payload
    missing = int(said[2]) - len(body)
    if missing <= 0:
        return payload
    return head + blank + body.replace(_MASK, _MASK + b"*" * missing, 1)


def restored(packet: Packet) -> tuple[Packet, bool]:
    """Return a packet whose masked SRTP keys are some keys again, and whether more was masked.

    The lengths of what was masked are gone, so Content-Length follows the body.
    """
    payload = packet.payload
    if _MASK not in payload:
        return packet, False
    head, blank, body = payload.partition(b"\r\n\r\n")
    body = _INLINE.sub(_with_key, body)
    head = _LENGTH.sub(lambda found: found[1] + b"%d" % len(body), head)
    whole = head + blank + body
    return packet.changed(payload=whole), _MASK in whole


def _with_word(found: "re.Match[bytes]") -> bytes:
    size = -(-_size_of(found[2]) // 3) * 4
    return found[1] + (_WORD * (size // len(_WORD) + 1))[:size]


def _size_of(suite: bytes) -> int:
    return next((size for name, size in _SIZES if suite.upper().startswith(name)), 30)


def _with_key(found: "re.Match[bytes]") -> bytes:
    # Each line gets a key of its own, as honest ones do; it opens nothing.
    key = sha512(found[0] + b"%d" % found.start()).digest()[: _size_of(found[2])]
    return found[1] + b64encode(key)

"""A stored message made fit to be judged again: what was masked gets a stand-in."""

import re
from base64 import b64encode
from hashlib import sha512
from typing import Final

from sipguard.wire.packet import Packet

_MASK: Final = b"***"
_WORD: Final = b"MASKED"
_INLINE: Final = re.compile(rb"(a=crypto:[0-9]{1,9} ([A-Za-z0-9_]{1,64}) inline:)\*\*\*")
_LENGTH: Final = re.compile(rb"(?mi)^((?:content-length|l)[ \t]*:[ \t]*)([0-9]{1,5})(?=\r?$)")
# Octets of key and salt (RFC 4568, 6188, 7714); others are of no known suite.
_SIZES: Final = (
    (b"AES_CM_128", 30), (b"F8_128", 30), (b"AES_192_CM", 38), (b"AES_256_CM", 46),
    (b"AEAD_AES_128_GCM", 28), (b"AEAD_AES_256_GCM", 44),
)  # fmt: skip


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
    return packet._replace(payload=whole), _MASK in whole


def _with_word(found: "re.Match[bytes]") -> bytes:
    size = -(-_size_of(found[2]) // 3) * 4
    return found[1] + (_WORD * (size // len(_WORD) + 1))[:size]


def _size_of(suite: bytes) -> int:
    return next((size for name, size in _SIZES if suite.upper().startswith(name)), 30)


def _with_key(found: "re.Match[bytes]") -> bytes:
    # Each line gets a key of its own, as honest ones do; it opens nothing.
    key = sha512(found[0] + b"%d" % found.start()).digest()[: _size_of(found[2])]
    return found[1] + b64encode(key)

"""STUN messages as an ICE agent writes them, and as one that is up to no good does."""

import hmac
from zlib import crc32

REQUEST, INDICATION, SUCCESS, ERROR = 0x0001, 0x0011, 0x0101, 0x0111
USERNAME, INTEGRITY, ERROR_CODE = 0x0006, 0x0008, 0x0009
SHA256, XOR_MAPPED, PRIORITY, USE_CANDIDATE = 0x001C, 0x0020, 0x0024, 0x0025
SOFTWARE, FINGERPRINT, CONTROLLED, CONTROLLING = 0x8022, 0x8028, 0x8029, 0x802A
COOKIE = b"\x21\x12\xa4\x42"
TRANSACTION = b"transaction!"


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute with its padding."""
    padding = bytes(-len(value) % 4)
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + padding


def message(kind: int, attributes: bytes = b"", transaction: bytes = TRANSACTION) -> bytes:
    """A message of these attributes, as they are."""
    return (
        kind.to_bytes(2, "big")
        + len(attributes).to_bytes(2, "big")
        + COOKIE
        + transaction
        + (attributes)
    )


def with_integrity(octets: bytes, password: bytes) -> bytes:
    """Put MESSAGE-INTEGRITY behind what there is (RFC 8489 section 14.5)."""
    covered = lengthened(octets, 24)
    return covered + attribute(INTEGRITY, hmac.digest(password, covered, "sha1"))


def with_fingerprint(octets: bytes) -> bytes:
    """Put FINGERPRINT behind all (RFC 8489 section 14.7)."""
    covered = lengthened(octets, 8)
    value = crc32(covered) ^ 0x5354554E
    return covered + attribute(FINGERPRINT, value.to_bytes(4, "big"))


def lengthened(octets: bytes, more: int) -> bytes:
    """The same with the header's length for so many octets more."""
    length = len(octets) - 20 + more
    return octets[:2] + length.to_bytes(2, "big") + octets[4:]


def request(
    username: bytes,
    password: bytes,
    transaction: bytes = TRANSACTION,
    *,
    controlling: bool = True,
    nominates: bool = False,
) -> bytes:
    """A connectivity check (RFC 8445 section 7.2.4)."""
    attributes = attribute(USERNAME, username) + attribute(PRIORITY, b"\x6e\x00\x01\xff")
    attributes += attribute(CONTROLLING if controlling else CONTROLLED, b"tiebreak")
    if nominates:
        attributes += attribute(USE_CANDIDATE, b"")
    octets = message(REQUEST, attributes, transaction)
    return with_fingerprint(with_integrity(octets, password))


def success(
    password: bytes, transaction: bytes = TRANSACTION, mapped: bytes = b"\x0a\x00\x00\x01"
) -> bytes:
    """What the asked side answers."""
    mask = COOKIE + transaction
    family = b"\x00\x01" if len(mapped) == 4 else b"\x00\x02"
    value = family + b"\x12\x34" + bytes(a ^ b for a, b in zip(mapped, mask, strict=False))
    octets = message(SUCCESS, attribute(XOR_MAPPED, value), transaction)
    return with_fingerprint(with_integrity(octets, password))


def error(code: int, password: bytes = b"", transaction: bytes = TRANSACTION) -> bytes:
    """What the asked side answers if it will not; without integrity where it has no password."""
    value = bytes((0, 0, code // 100, code % 100)) + b"sorry"
    octets = message(ERROR, attribute(ERROR_CODE, value), transaction)
    return with_fingerprint(with_integrity(octets, password) if password else octets)

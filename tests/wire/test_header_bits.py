"""Names of header rows as bits: each its own, and the same answers as by name."""

import pytest

from sipguard.wire import header_bits
from sipguard.wire.header_bits import (
    BITS,
    CREDENTIALS,
    NEVER_TWICE,
    RECORD_ROUTE,
    SECURITY,
    SECURITY_SERVER,
    SINGLE,
)
from sipguard.wire.message import Message
from sipguard.wire.sip import parse_message

REQUEST = (
    b"OPTIONS sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
    b"Max-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>\r\n"
    b"Call-ID: c\r\nCSeq: 1 OPTIONS\r\n%b\r\n"
)


def made(*rows: bytes) -> Message:
    return parse_message(REQUEST % b"".join(row + b"\r\n" for row in rows))


def test_each_name_has_a_bit_of_its_own() -> None:
    """Of so few that compiled code keeps them in one word."""
    assert len(set(BITS.values())) == len(BITS) <= 61
    assert all(bit.bit_count() == 1 for bit in BITS.values())


def test_a_constant_is_the_bit_of_its_name() -> None:
    """The table says so, name by name; nobody asks for a header by another's bit."""
    masks = {"SECURITY", "CREDENTIALS", "NEVER_TWICE"}
    constants = {
        name: bit
        for name, bit in vars(header_bits).items()
        if isinstance(bit, int) and name not in masks
    }
    assert len(constants) == 24
    for name, bit in constants.items():
        assert BITS[name.lower().replace("_", "-").encode()] == bit


def test_masks_are_of_the_names_they_say() -> None:
    """Two names each, or all of SIP-12 and Identity."""
    assert BITS[b"security-client"] | BITS[b"security-verify"] == SECURITY
    assert BITS[b"authorization"] | BITS[b"proxy-authorization"] == CREDENTIALS
    named = {name for name, bit in BITS.items() if bit & NEVER_TWICE}
    assert named == SINGLE | {b"identity"}


def test_a_message_knows_what_stands_in_it() -> None:
    """Plain messages and odd ones alike."""
    for odd in ((), (b"Subject: a\0b",)):
        message = made(b"Authorization: Digest x", b"Record-Route: <sip:p.example.com;lr>", *odd)
        assert message.has(CREDENTIALS)
        assert message.has(RECORD_ROUTE)
        assert not message.has(SECURITY | SECURITY_SERVER)


@pytest.mark.parametrize("name", ["Record-Route", "Path", "P-Preferred-Identity", "X-Odd"])
def test_rows_are_found_whether_or_not_their_name_has_a_bit(name: str) -> None:
    """By name, all of them, in order."""
    raw, key = name.encode(), name.lower().encode()
    one, other = raw + b": <sip:one.example.com>", raw + b": <sip:other.example.com>"
    assert made().header(key) is None
    assert made().values(key) == []
    assert made(one).values(key) == [b"<sip:one.example.com>"]
    message = made(one, b"X-Between: 1", other)
    assert message.header(key) == b"<sip:one.example.com>"
    assert message.values(key) == [b"<sip:one.example.com>", b"<sip:other.example.com>"]
    hosts = [address.uri.host for address in message.addresses(key)]
    assert hosts == ([] if name == "X-Odd" else [b"one.example.com", b"other.example.com"])

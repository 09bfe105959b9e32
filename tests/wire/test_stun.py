"""wire.stun: STUN on a SIP port is known for what it is (SIP-1, TLS-30)."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.wire.stun import is_binding, is_stun


def stun(kind: int, attributes: bytes = b"") -> bytes:
    return struct.pack("!HHL", kind, len(attributes), 0x2112A442) + b"transaction!" + attributes


SOFTWARE = b"\x80\x22\x00\x04test"


@pytest.mark.parametrize("kind", [0x0001, 0x0011, 0x0101, 0x0111])
@pytest.mark.parametrize("attributes", [b"", SOFTWARE])
def test_binding_of_every_class_is_recognized(kind: int, attributes: bytes) -> None:
    """Request, indication, success and error of a keep-alive (RFC 5626 section 4.4.2)."""
    message = stun(kind, attributes)
    assert is_stun(message)
    assert is_binding(message)


@pytest.mark.parametrize("kind", [0x0003, 0x0103, 0x0004, 0x0006, 0x0081, 0x0201])
def test_other_methods_are_stun_but_no_binding(kind: int) -> None:
    """A TURN Allocate is STUN, and not what a SIP port is for (TLS-30)."""
    assert is_stun(stun(kind))
    assert not is_binding(stun(kind))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        stun(1)[:19],
        stun(1) + b"\x00",
        stun(1) + b"\x00" * 4,
        stun(1, b"abc"),
        stun(1, SOFTWARE)[:-4],
        stun(1)[:4] + b"\x21\x12\xa4\x43" + stun(1)[8:],
        b"\x40" + stun(1)[1:],
        b"OPTIONS sip:example.com SIP/2.0\r\n\r\n",
        b"\r\n\r\n",
    ],
    ids=["empty", "cut", "octet more", "word more", "odd length", "short", "no cookie",
         "first bits", "SIP", "keep-alive"],
)  # fmt: skip
def test_everything_else_is_not(octets: bytes) -> None:
    """First two bits, cookie and length must all agree (RFC 8489 section 5)."""
    assert not is_stun(octets)
    assert not is_binding(octets)


@given(st.binary(max_size=64))
def test_recognition_is_total(octets: bytes) -> None:
    """No octets raise; what is recognized has at least a header."""
    assert is_binding(octets) <= is_stun(octets)
    assert len(octets) >= 20 or not is_stun(octets)

"""Equal values kept once, in bounded memory."""

import pytest

from sipguard.calls import shared
from sipguard.calls.shared import MAX_SHARED, label_of, literal, shared_hosts
from sipguard.calls.shared import shared as shared_octets


def test_equal_addresses_are_one_object() -> None:
    """Every packet brings its address anew."""
    first = shared_octets(bytes([192, 0, 2, 1]))
    assert shared_octets(bytes([192, 0, 2, 1])) is first
    assert shared_octets(bytes([192, 0, 2, 2])) == bytes([192, 0, 2, 2])
    assert shared_hosts((first, first)) is shared_hosts((bytes([192, 0, 2, 1]), first))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (b"192.0.2.1", (b"\xc0\x00\x02\x01",)),
        (b"phone.example.com", ()),
        (b"192.0.2.01", ()),
        (b"2001:db8::1", (b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01",)),
        (b"1" * 300, ()),
    ],
)
def test_only_an_address_is_one(host: bytes, address: tuple[bytes, ...]) -> None:
    """A name is nobody's address; asked twice the answer is the same."""
    assert literal(host) == literal(host) == address


def test_a_flood_of_values_grows_nothing() -> None:
    """GEN-3: whoever sends a new address, name or method each time costs speed, not memory."""
    for number in range(MAX_SHARED + 10):
        address = number.to_bytes(4, "big")
        assert shared_octets(address) == address
        assert shared_hosts((address, address)) == (address, address)
        assert literal(b"h%d" % number) == ()
        assert label_of(200, b"M%d" % number) == b"200 M%d" % number
    for kept in (shared._OCTETS, shared._HOSTS, shared._LITERALS):
        assert len(kept) <= MAX_SHARED
    assert len(shared._LABELS[200]) <= 16

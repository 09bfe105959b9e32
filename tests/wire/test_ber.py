"""wire.ber: BER rewritten as DER, octet for octet where a signature covers it (SMI-20)."""

import pytest
from cms_builder import element, integer, octet_string, sequence, set_of
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.ber import MAX_DEPTH, MAX_ELEMENTS, end_of, header, to_der

END = b"\0\0"


def opened(tag: int, *parts: bytes) -> bytes:
    """An element of open length."""
    return bytes((tag, 0x80)) + b"".join(parts) + END


def refusal(octets: bytes) -> str:
    with pytest.raises(HostileInput) as caught:
        to_der(octets)
    assert caught.value.reason is Reason.BAD_CMS
    return caught.value.detail


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_lengths_are_as_short_as_they_can_be(length: int) -> None:
    """DER knows one way to write a length, and the same way is read."""
    der = element(0x04, b"x" * length)
    assert header(0x04, length) == der[: len(der) - length]
    assert end_of(b"abc" + der + b"rest", 3) == 3 + len(der)
    assert to_der(der) == der


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (opened(0x30), sequence()),
        (opened(0x30, integer(1), opened(0xA0, integer(2))),
         sequence(integer(1), element(0xA0, integer(2)))),
        (opened(0xA0, opened(0x24)), element(0xA0, octet_string(b""))),
        (opened(0x24, octet_string(b"ab"), octet_string(b"c")), octet_string(b"abc")),
        (element(0x24, octet_string(b"ab"), opened(0x24, octet_string(b"c"))),
         octet_string(b"abc")),
        (opened(0x24, *[octet_string(b"x" * 200)] * 3), octet_string(b"x" * 600)),
        (opened(0x24, octet_string(b"x" * 127), octet_string(b"x" * 128)),
         octet_string(b"x" * 255)),
        (b"\x30\x81\x03\x02\x01\x05", sequence(integer(5))),
        (b"\x30\x84\x00\x00\x00\x03\x02\x01\x05", sequence(integer(5))),
    ],
)  # fmt: skip
def test_open_and_long_lengths_and_pieces(octets: bytes, expected: bytes) -> None:
    """All that a sender may choose in BER and not in DER."""
    assert to_der(octets) == expected


def at_depth(depth: int, octets: bytes) -> bytes:
    """Put this inside *depth* sequences of open length."""
    for _ in range(depth):
        octets = opened(0x30, octets)
    return octets


def closed_at_depth(depth: int, octets: bytes) -> bytes:
    for _ in range(depth):
        octets = sequence(octets)
    return octets


def test_sets_are_ordered_where_signers_stand_and_nowhere_else() -> None:
    """Sorting inside a certificate would break the signature of its issuer."""
    unordered = element(0x31, integer(2), integer(1))
    for depth in range(6):
        expected = set_of(integer(1), integer(2)) if depth == 3 else unordered
        assert to_der(at_depth(depth, unordered)) == closed_at_depth(depth, expected)
    swapped = element(0x30, integer(2), integer(1))
    assert to_der(at_depth(3, swapped)) == closed_at_depth(3, swapped)


def test_what_is_signed_is_copied() -> None:
    """The content of a closed sequence below the signers stays, even with a length too long."""
    odd = b"\x30\x81\x03\x02\x01\x05"
    for depth in range(8):
        expected = odd if depth > 3 else sequence(integer(5))
        rewritten = to_der(at_depth(depth, sequence(odd)))
        assert rewritten == closed_at_depth(depth, sequence(expected))


@pytest.mark.parametrize(
    ("octets", "detail"),
    [
        (b"", "an element is cut off"),
        (b"\x30", "an element is cut off"),
        (b"\x30\x80", "an element of open length does not end"),
        (b"\x30\x80\x02\x01\x05", "an element of open length does not end"),
        (b"\x30\x80\x00", "an element is cut off"),
        (b"\x30\x03\x30\x80\x02", "an element is cut off"),
        (b"\x30\x03\x02\x02\x05\x00", "an element is longer than what holds it"),
        (b"\x30\x03\x02\x01", "an element is longer than what holds it"),
        (b"\x04\x80\x00\x00", "a simple element of open length"),
        (b"\x00\x00", "a tag that CMS does not have"),
        (b"\x20\x00", "a tag that CMS does not have"),
        (b"\x1f\x81\x01\x00", "a tag that CMS does not have"),
        (b"\xbf\x81\x01\x00", "a tag that CMS does not have"),
        (b"\x30\x85\x00\x00\x00\x00\x00", "a length that cannot be"),
        (b"\x30\xff", "a length that cannot be"),
        (b"\x30\x82\x00", "a length that cannot be"),
        (b"\x30\x00\x00", "octets behind the structure"),
        (b"\x30\x80\x00\x00\x00\x00", "octets behind the structure"),
        (opened(0x24, integer(5)), "an octet string of other things"),
    ],
)
def test_what_is_broken_is_refused_in_words(octets: bytes, detail: str) -> None:
    """One strict reading (SMI-20)."""
    assert refusal(octets) == detail


def test_depth_and_number_are_bounded() -> None:
    """Exactly so many, and not one more (SMI-20)."""
    deep = at_depth(MAX_DEPTH, integer(1))
    assert to_der(deep) == closed_at_depth(MAX_DEPTH, integer(1))
    assert refusal(opened(0x30, deep)) == "too many elements, or too deep"
    many = opened(0x30, *[integer(1)] * (MAX_ELEMENTS - 1))
    assert to_der(many) == sequence(*[integer(1)] * (MAX_ELEMENTS - 1))
    more = opened(0x30, *[integer(1)] * MAX_ELEMENTS)
    assert refusal(more) == "too many elements, or too deep"


TREES = st.recursive(
    st.binary(max_size=40).map(octet_string) | st.integers().map(integer),
    lambda inner: st.lists(inner, max_size=5).map(lambda parts: sequence(*parts)),
    max_leaves=20,
)


@given(TREES)
def test_der_stays_as_it_is(der: bytes) -> None:
    """What is DER already is not touched."""
    assert to_der(der) == der


@given(st.binary(max_size=60))
def test_rewriting_is_total_and_done_once(octets: bytes) -> None:
    """HostileInput or an element that a second pass leaves alone."""
    for candidate in (octets, opened(0x30, octets), opened(0x24, octets)):
        try:
            der = to_der(candidate)
        except HostileInput:
            continue
        assert to_der(der) == der

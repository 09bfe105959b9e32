"""The numbers a certificate may speak for (RFC 8226 section 9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passports import der, one, span, spc

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.der import read_integer, read_one, read_values
from sipguard.wire.tn_auth_list import MAX_LIST_OCTETS, parse_tn_auth_list


def listed(*entries: bytes) -> bytes:
    return der(0x30, *entries)


def test_sti_30_vec_13_a_service_provider_code_is_read() -> None:
    """The octets of RFC 9118's certificate: spc 1234, with explicit tags."""
    found = parse_tn_auth_list(bytes.fromhex("3008a006160431323334"))
    assert found.spcs == (b"1234",)
    assert not found.covers(b"1234")


def test_sti_31_numbers_are_covered_singly_and_in_ranges() -> None:
    """Equal length, from the start on, as many as the count says."""
    found = parse_tn_auth_list(listed(one(b"12025550100"), one(b"*72"), span(b"4930100", 100)))
    for number in (b"12025550100", b"*72", b"4930100", b"4930199"):
        assert found.covers(number)
    for number in (b"12025550101", b"4930200", b"4930099", b"493010", b"04930100", b"", b"*73"):
        assert not found.covers(number)


@pytest.mark.parametrize(
    "entry",
    [
        span(b"999", 2),
        span(b"12#", 5),
        span(b"*12", 5),
        span(b"100", 1),
        span(b"100", 0),
        der(0xA1, der(0x30, der(0x16, b"100"), der(2, b"\xff"))),
        span(b"100", 2**70),
        one(b"+12025550100"),
        one(b""),
        one(b"1234567890123456"),
        spc(b""),
        spc(b"12 34"),
        der(0xA3, der(0x16, b"1")),
        der(0xA0, der(0x0C, b"1234")),
        der(0xA0, b"1234"),
        der(0x80, b"1234"),
    ],
)
def test_sti_31_an_entry_that_cannot_be_spoils_the_list(entry: bytes) -> None:
    """Ranges with * or #, over the end of their length, of one; other tags; no plus."""
    for octets in (listed(entry), listed(spc(b"1234"), entry)):
        with pytest.raises(HostileInput) as caught:
            parse_tn_auth_list(octets)
        assert caught.value.reason is Reason.NO_AUTHORITY


def test_sti_31_a_range_may_end_with_the_last_number_of_its_length() -> None:
    """900 and 100 more end at 999."""
    assert parse_tn_auth_list(listed(span(b"900", 100))).covers(b"999")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"0",
        listed(),
        listed(one(b"1")) + b"\x00",
        listed(one(b"1"))[:-1],
        b"\x30\x81\x05" + one(b"1"),
        b"\x30\x84\x00\x00\x00\x05" + one(b"1"),
        b"\x3f\x05" + one(b"1"),
        b"1ca.shaken.example/sti-ca/acme/TNAuthList",
        der(0x30, *(spc(b"1") for _ in range(2000))),
        b"\x30" * (MAX_LIST_OCTETS + 1),
    ],
)
def test_sti_30_what_is_no_list_gives_no_authority(octets: bytes) -> None:
    """Empty, cut off, lengths in a long form, a URL in its place, thousands of entries."""
    with pytest.raises(HostileInput) as caught:
        parse_tn_auth_list(octets)
    assert caught.value.reason is Reason.NO_AUTHORITY


def test_sti_34_a_delegate_claims_no_more_than_its_issuer() -> None:
    """Numbers and ranges inside the issuer's; a code covers any number, but no other code."""
    parent = parse_tn_auth_list(listed(span(b"4930100", 100), one(b"5")))
    for inside in (listed(span(b"4930150", 50)), listed(one(b"4930111"), one(b"5"))):
        assert parent.encompasses(parse_tn_auth_list(inside))
    for outside in (
        listed(span(b"4930150", 51)),
        listed(one(b"4930111"), one(b"6")),
        listed(spc(b"1234")),
        listed(span(b"493010", 2)),
    ):
        assert not parent.encompasses(parse_tn_auth_list(outside))
    provider = parse_tn_auth_list(listed(spc(b"1234")))
    assert provider.encompasses(parse_tn_auth_list(listed(one(b"6"), spc(b"1234"))))
    assert not provider.encompasses(parse_tn_auth_list(listed(one(b"6"), spc(b"5678"))))


@given(
    st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=30).map(lambda b: der(0x30, b)),
        st.lists(st.sampled_from([spc(b"1"), one(b"2"), span(b"30", 5), b"\x30\x03"])).map(
            lambda parts: der(0x30, *parts)
        ),
    )
)
def test_parse_tn_auth_list_is_total(octets: bytes) -> None:
    """No octets raise anything but HostileInput, and a result covers something or has a code."""
    try:
        found = parse_tn_auth_list(octets)
    except HostileInput:
        return
    assert found.spcs or found.ranges or found.ones


@given(st.binary(max_size=60))
def test_reading_der_is_total(octets: bytes) -> None:
    """Values put together again are the octets that were read."""
    try:
        values = read_values(octets, 100, Reason.NO_AUTHORITY)
    except HostileInput:
        return
    assert b"".join(der(value.tag, value.content) for value in values) == octets
    for value in values:
        try:
            assert der(2, value.content) == der(value.tag, value.content)
            read_integer(value, Reason.NO_AUTHORITY)
        except (HostileInput, AssertionError):
            continue


def test_der_wants_one_value_of_the_right_kind() -> None:
    """Neither none, nor two, nor another."""
    assert read_one(b"\x16\x01a", 0x16, Reason.NO_AUTHORITY) == b"a"
    for octets in (b"", b"\x16\x01a\x16\x01b", b"\x0c\x01a"):
        with pytest.raises(HostileInput):
            read_one(octets, 0x16, Reason.NO_AUTHORITY)

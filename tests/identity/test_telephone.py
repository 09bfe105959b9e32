"""Who a URI names, in one spelling (RFC 8224 section 8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.identity.telephone import (
    Party,
    canonical_number,
    canonical_uri,
    number_of,
    party_of,
    read_claimed_number,
    read_claimed_uri,
)
from sipguard.reason import Reason
from sipguard.wire.uri import parse_uri

NUMBERS = {
    "tel:+1-202-555-0100": "12025550100",
    "tel:+1(202)555.0100;ext=5": "12025550100",
    "tel:7042;phone-context=example.com": "7042",
    "sip:+12025550100@a.example;user=phone": "12025550100",
    "sip:+1-202-555-0100@a.example;user=PHONE": "12025550100",
    "sip:+12025550100;phone-context=+1@a.example;user=phone": "12025550100",
    "sip:*72%23@a.example;user=phone": "*72#",
    "sip:+12025550100@a.example": "12025550100",
    "sip:12025550100@a.example": "12025550100",
    "sip:911@a.example": "911",
    "sips:+4930123456@[2001:db8::1]:5061": "4930123456",
    "sip:alice@a.example": "",
    "sip:alice@a.example;user=phone": "",
    "sip:1.2.3@a.example": "",
    "sip:a.example": "",
    "sip:0x12@a.example": "",
    "sip:123456789012345678901234567890123@a.example": "",
    "urn:service:sos": "",
}


@pytest.mark.parametrize("uri", NUMBERS)
def test_sti_7_a_number_is_recognized_and_written_in_one_way(uri: str) -> None:
    """Digits, # and *; plus, separators and parameters fall away (RFC 8224 section 8.3)."""
    assert number_of(parse_uri(uri.encode())) == NUMBERS[uri].encode()


URIS = {
    "sip:Alice:secret@A.Example:5070;transport=tcp?subject=x": "sip:alice@a.example",
    "SIPS:bob@b.example": "sips:bob@b.example",
    "sip:%61lice@a.example": "sip:alice@a.example",
    "sip:a%3bb@a.example": "sip:a%3bb@a.example",
    "sip:a%3Bb@a.example": "sip:a%3bb@a.example",
    "sip:a.example:5060": "sip:a.example",
    "sip:alice@[2001:DB8::1]:5060": "sip:alice@[2001:db8::1]",
    "urn:service:SOS": "urn:service:sos",
}


@pytest.mark.parametrize("uri", URIS)
def test_sti_8_a_uri_is_scheme_user_and_host(uri: str) -> None:
    """Password, port, parameters and headers are not signed; case does not count."""
    assert canonical_uri(parse_uri(uri.encode())) == URIS[uri].encode()


def test_sti_7_what_says_it_is_a_number_is_never_taken_for_an_address() -> None:
    """A domain alone must not vouch for somebody's telephone number."""
    party = party_of(parse_uri(b"sip:+12025550100@evil.example;user=phone"))
    assert party == Party(b"12025550100")
    assert not party.is_same(read_claimed_uri("sip:+12025550100@evil.example"))


def test_sti_7_what_only_looks_like_a_number_may_have_been_taken_for_either() -> None:
    """``sip:1001@pbx`` may be an extension, signed as an address."""
    party = party_of(parse_uri(b"sip:1001@pbx.example"))
    assert party.is_same(read_claimed_number("1001"))
    assert party.is_same(read_claimed_uri("sip:1001@PBX.example"))
    assert not party.is_same(Party())


@pytest.mark.parametrize("text", ["", "+", "1 2", "12-34", "twelve", "1" * 33, "\uff11\uff12"])
def test_sti_7_a_claimed_number_is_digits(text: str) -> None:
    """Whoever signs writes the canonical form; only the plus is borne."""
    with pytest.raises(HostileInput) as caught:
        read_claimed_number(text)
    assert caught.value.reason is Reason.PASSPORT_CLAIMS
    assert read_claimed_number("+4930123").number == b"4930123"


@given(st.text(max_size=40))
def test_reading_claims_is_total(text: str) -> None:
    """No text raises anything but HostileInput, and a party names something."""
    for read in (read_claimed_number, read_claimed_uri):
        try:
            assert read(text).name
        except HostileInput:
            continue


@given(st.binary(max_size=40))
def test_canonical_number_is_total_and_stable(octets: bytes) -> None:
    """What is canonical stays as it is."""
    number = canonical_number(octets)
    assert canonical_number(number) == number

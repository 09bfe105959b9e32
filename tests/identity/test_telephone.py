"""Who a URI names, in one spelling (RFC 8224 section 8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.identity.numbering import numbering_of
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
    "sip:+49%2030%20123@a.example;user=phone": "4930123",
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


DIALED = [
    ("49", "tel:+49-30-123456", "4930123456"),
    ("49", "sip:030123456@a.example", "4930123456"),
    ("49", "sip:0049301234@a.example", "49301234"),
    ("49", "sip:493012345@a.example", "493012345"),
    ("49", "sip:+0049301234@a.example", "49301234"),  # seen on trunks; no code begins with 0
    ("49", "sip:+12025550100@a.example", "12025550100"),
    ("49", "sip:001-202-5550100@a.example;user=phone", "12025550100"),
    ("49", "sip:110@a.example", "110"),
    ("49", "sip:0@a.example", "0"),
    ("49", "sip:000123@a.example", "000123"),
    ("49", "sip:*21*030123%23@a.example;user=phone", "*21*030123#"),
    ("49", "sip:01234567890123456@a.example", "01234567890123456"),  # more than E.164 has
    ("49", "sip:alice@a.example", ""),
    ("49", "tel:030123;phone-context=+43", "030123"),
    ("49", "tel:030123;phone-context=+49", "4930123"),
    ("49", "tel:030123;phone-context=pbx.example", "030123"),
    ("49", "sip:030123;phone-context=+43@a.example;user=phone", "030123"),
    ("49", "tel:+4330123;phone-context=+43", "4330123"),
    ("1", "sip:2025550100@a.example", "12025550100"),
    ("1", "sip:12025550100@a.example", "12025550100"),
    ("1", "sip:01149301234@a.example", "49301234"),
    ("1", "sip:0049301234@a.example", "0049301234"),
    ("1", "sip:5550100@a.example", "5550100"),
    ("1", "sip:+4930123456@a.example", "4930123456"),  # ten digits, and not of this plan
    ("39", "sip:0612345678@a.example", "390612345678"),
    ("39", "sip:0049301234@a.example", "49301234"),
    ("34", "sip:612345678@a.example", "34612345678"),
    ("36", "sip:0612345678@a.example", "3612345678"),
    ("36", "sip:012345678@a.example", "012345678"),
    ("7", "sip:84951234567@a.example", "84951234567"),  # Moscow, or Japan without a plus
    ("81", "sip:01049301234@a.example", "49301234"),
    ("82", "sip:00149301234@a.example", "00149301234"),
]


@pytest.mark.parametrize(("country", "uri", "number"), DIALED)
def test_sti_7_a_number_is_read_as_its_country_dials_it(
    country: str, uri: str, number: str
) -> None:
    """To E.164 where that is possible; what could be two things stays as it is written."""
    assert number_of(parse_uri(uri.encode()), numbering_of(country.encode())) == number.encode()


def test_sti_7_without_a_country_numbers_stay_as_they_are_written() -> None:
    """Nothing is guessed, neither here nor ever in a claim."""
    assert numbering_of(b"") is None
    assert number_of(parse_uri(b"sip:030123456@a.example")) == b"030123456"
    assert read_claimed_number("030123456").number == b"030123456"


COUNTRIES = ["1", "7", "30", "34", "36", "39", "44", "49", "61", "81", "225", "351", "375", "692"]
DIALABLE = st.from_regex(rb"\A\+?(0|00|000|011|06|8)?[0-9*#]{0,34}\Z")


@given(st.one_of(DIALABLE, st.binary(max_size=40)), st.sampled_from(COUNTRIES))
def test_sti_7_international_numbers_are_total_and_stable(octets: bytes, country: str) -> None:
    """What was made international stays so: with its plus in every country, else in most."""
    numbering = numbering_of(country.encode())
    assert numbering is not None
    number = canonical_number(octets, numbering)
    assert bool(number) == bool(canonical_number(octets))
    assert canonical_number(b"+" + number, numbering) == number
    if numbering.closed is None:
        assert canonical_number(number, numbering) == number

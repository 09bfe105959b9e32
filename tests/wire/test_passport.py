"""Identity headers as octets: one strict reading (RFC 8224 section 4, RFC 8225)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passports import BASE, SHAKEN, compact, identity, raw_token, token

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.passport import (
    MAX_BRACKETS,
    MAX_TOKEN_OCTETS,
    Identity,
    Json,
    canonical_json,
    decode_segment,
    encode_segment,
    parse_identity,
)

TOKEN = token(SHAKEN, ppt="shaken")
GOOD = f"{TOKEN};info=<https://cr.example.com/shaken.pem>;alg=ES256;ppt=shaken"
HEADER = b'{"alg":"ES256","typ":"passport","x5u":"https://cr.example.com/shaken.pem"}'


def refused(value: str | bytes) -> Reason:
    with pytest.raises(HostileInput) as caught:
        parse_identity(value.encode() if isinstance(value, str) else value)
    return caught.value.reason


def read(payload: bytes) -> Identity:
    text = raw_token(HEADER, payload)
    return parse_identity(f"{text};info=<https://cr.example.com/shaken.pem>".encode())


def test_sti_1_a_full_form_has_header_payload_and_signature() -> None:
    """What the signature is over is what stood there."""
    found = parse_identity(GOOD.encode())
    assert not found.is_compact
    assert found.payload == SHAKEN
    assert found.signed == TOKEN.rpartition(".")[0].encode()
    assert len(found.signature) == 64
    assert (found.info, found.alg, found.ppt) == (
        "https://cr.example.com/shaken.pem",
        "ES256",
        "shaken",
    )
    assert found.is_canonical


def test_sti_1_a_compact_form_has_only_its_signature() -> None:
    """The verifier writes the rest anew."""
    found = parse_identity(compact(BASE).encode())
    assert found.is_compact
    assert (found.header, found.payload, found.signed) == ({}, {}, b"")


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a.b", "..a.b", "a..b", ".e30.b", "e30..b", "e30.e30.e30.e30", "e30.e30"],
)
def test_sti_1_any_other_form_is_refused(text: str) -> None:
    """Three segments, of which the first two are both there or both not."""
    if text == "..":
        assert parse_identity(b"..;info=<https://a.example/>").signature == b""
        return
    assert refused(f"{text};info=<https://a.example/>") is Reason.BAD_PASSPORT


@pytest.mark.parametrize(
    "tail",
    [
        ' ; info = <https://cr.example.com/shaken.pem> ;\talg="ES256" ; ppt="shaken"',
        ';info=<https://cr.example.com/shaken.pem>;ppt=shaken;other;more="x;y"',
        ";ALG=ES256;PPT=shaken;INFO=<https://cr.example.com/shaken.pem>",
    ],
)
def test_sti_4_parameters_may_be_quoted_spaced_and_unknown(tail: str) -> None:
    """alg is ES256 where absent; token and quoted ppt mean the same."""
    found = parse_identity((TOKEN + tail).encode())
    assert (found.info, found.alg, found.ppt) == (
        "https://cr.example.com/shaken.pem",
        "ES256",
        "shaken",
    )


@pytest.mark.parametrize(
    "tail",
    [
        "",
        ";alg=ES256",
        ";info=https://cr.example.com/a",
        ';info="https://cr.example.com/a"',
        ";info=<>",
        ";info=<https://a.example/",
        ";info=<https://a.example/>;info=<https://b.example/>",
        ";info=<https://a.example/>;alg=ES256;alg=ES256",
        ";info=<https://a.example/>;;alg=ES256",
        ";info=<https://a.example/>;alg=ES256 x",
        ";info=<https://a.example/ b>",
        ";info=<https://a.example/>" + 20 * ";x" + ";y=1",
        ";info=<https://a.example/>" + "".join(f";x{n}=1" for n in range(20)),
    ],
)
def test_sti_1_parameters_that_could_be_read_two_ways_are_refused(tail: str) -> None:
    """No URI, two, or octets where none belong."""
    assert refused(TOKEN + tail) is Reason.BAD_PASSPORT


def test_sti_50_the_old_form_is_recognized() -> None:
    """RFC 4474 quotes its signature; it is not taken for a broken PASSporT."""
    assert refused('"' + 170 * "A" + '="') is Reason.OLD_IDENTITY


def test_a_long_token_is_refused_before_it_is_decoded() -> None:
    """8 KiB are three times what diversions need."""
    assert refused("e30." + "A" * MAX_TOKEN_OCTETS + ".AA;info=<https://a.example/>") is (
        Reason.BAD_PASSPORT
    )
    assert refused(b"x" * 100_000) is Reason.BAD_PASSPORT


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b"[1]",
        b'"x"',
        b"{",
        b"\xff{}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":12345678901234567}',
        b'{"a":' + 5000 * b"9" + b"}",
        b'{"a":"\\ud800"}',
        b"{}{}",
        b"[" * 3000,
        b'{"a":' + b"[" * MAX_BRACKETS + b"]" * MAX_BRACKETS + b"}",
        b"",
    ],
)
def test_sti_12_json_that_parsers_read_differently_is_refused(payload: bytes) -> None:
    """A member twice, numbers that some round, nesting that some do not survive."""
    with pytest.raises(HostileInput) as caught:
        read(payload)
    assert caught.value.reason is Reason.BAD_PASSPORT


@pytest.mark.parametrize(
    ("payload", "is_canonical"),
    [
        (b'{"dest":{"tn":["1"],"uri":["a","b"]},"iat":1,"orig":{"tn":"2"}}', True),
        (b'{"iat":1,"dest":{"tn":["1"]}}', False),
        (b'{"dest": {"tn":["1"]},"iat":1}', False),
        (b'{"dest":{"tn":["1"]}}\n', False),
        (b'{"iat":1e0}', False),
        ('{"nam":"Jürgen"}'.encode(), True),
        (b'{"nam":"J\\u00fcrgen"}', False),
    ],
)
def test_sti_21_the_deterministic_form_is_told_from_others(
    payload: bytes, is_canonical: bool
) -> None:
    """RFC 8225 section 9: no blanks, members in order; other forms are read and noted."""
    assert read(payload).is_canonical is is_canonical


def test_vec_14_deterministic_json_puts_members_in_order() -> None:
    """VEC-14, with a mky: alg before dig, tn before uri, dest before iat before mky before orig."""
    value: Json = {
        "orig": {"tn": "12155551212"},
        "mky": [{"dig": "AB", "alg": "sha-256"}, {"dig": "CD", "alg": "sha-256"}],
        "iat": 1471375418,
        "dest": {"uri": ["sip:a@b.example"], "tn": ["1"]},
    }
    assert canonical_json(value) == (
        b'{"dest":{"tn":["1"],"uri":["sip:a@b.example"]},"iat":1471375418,'
        b'"mky":[{"alg":"sha-256","dig":"AB"},{"alg":"sha-256","dig":"CD"}],'
        b'"orig":{"tn":"12155551212"}}'
    )


@given(st.binary(max_size=100))
def test_a_segment_stands_for_its_octets_alone(octets: bytes) -> None:
    """No other text decodes to the same octets: not padded, not with stray bits."""
    text = encode_segment(octets)
    assert decode_segment(text) == octets
    with pytest.raises(HostileInput):
        decode_segment(text + b"=")
    if len(octets) % 3:
        spoiled = text[:-1] + bytes((text[-1] + 1,))
        with pytest.raises(HostileInput):
            decode_segment(spoiled)


def test_base64_of_the_other_alphabet_is_refused() -> None:
    """RFC 8224's own grammar has + and /; a signature never is over them (STI-1)."""
    for text in ("e+0.e30.AA", "e30.e/0.AA", "e30.e30.AA=="):
        assert refused(f"{text};info=<https://a.example/>") is Reason.BAD_PASSPORT


PIECES = [b";", b"info", b"=", b"<", b">", b'"', b".", b"e30", b"{", b" ", b"alg", b"\x00", b"\xff"]


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join),
        st.binary(max_size=60).map(
            lambda b: encode_segment(b) + b"." + encode_segment(b) + b".;info=<a:b>"
        ),
    )
)
def test_parse_identity_is_total(value: bytes) -> None:
    """No octets raise anything but HostileInput, for one of two reasons."""
    try:
        found = parse_identity(value)
    except HostileInput as error:
        if error.reason not in (Reason.BAD_PASSPORT, Reason.OLD_IDENTITY):
            raise AssertionError from error
        return
    assert found.info


JSON_TEXTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15) + 1, 10**15 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=4), JSON_TEXTS, max_size=5))
def test_what_is_written_canonically_reads_back(value: dict[str, Json]) -> None:
    """Any JSON object survives; one with half a surrogate pair is refused when written."""
    try:
        text = canonical_json(value)
    except HostileInput:
        return
    found = read(text)
    assert found.payload == value
    assert found.is_canonical


def test_identity_helper_makes_what_the_parser_reads() -> None:
    """The tests' own signer writes the canonical form."""
    assert parse_identity(identity().encode()).is_canonical

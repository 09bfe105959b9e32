"""Digest credentials and challenges as they stand on the wire (DIG-1 to DIG-9)."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.digest import (
    MAX_OCTETS,
    Claims,
    Credentials,
    find_responses,
    parse_challenge,
    parse_credentials,
    parse_info,
    read_claims,
    scheme_of,
)
from sipguard.wire.fields import check_digest

SHARED = Path(__file__).parents[3] / "shared" / "corpus"
CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", SHARED)) / "sip-messages"
HEX = b"0123456789abcdef" * 2
GOOD = (
    b'Digest username="bob", realm="biloxi.com", nonce="n0", uri="sip:bob@biloxi.com", '
    b'qop=auth, nc=00000001, cnonce="c0", response="' + HEX + b'", opaque="o0", algorithm=MD5'
)


def said(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new)


def refusal(parse: Callable[[bytes], object], value: bytes) -> Reason:
    with pytest.raises(HostileInput) as caught:
        parse(value)
    return caught.value.reason


def reasons(value: bytes) -> list[Reason]:
    return [finding.reason for finding in parse_credentials(value).findings]


def test_well_written_credentials() -> None:
    """DIG-3: every parameter as RFC 7616 writes it; nothing to note."""
    read = parse_credentials(GOOD)
    assert read == Credentials(
        b"bob", b"biloxi.com", b"n0", b"sip:bob@biloxi.com", HEX, b"MD5", b"auth", b"c0",
        b"00000001", b"o0",
    )  # fmt: skip
    assert read.nonce_count == 1


def test_basic_is_refused() -> None:
    """DIG-1: neither asked for nor given."""
    assert refusal(parse_credentials, b"Basic Ym9iOnpha25vbGVn") is Reason.DIGEST_BASIC
    assert refusal(parse_challenge, b'Basic realm="x"') is Reason.DIGEST_BASIC
    assert scheme_of(b"BASIC x") == b"basic"


@pytest.mark.parametrize(
    "value",
    [
        said(b"qop=auth", b'qop="auth"'),
        said(b"nc=00000001", b'nc="00000001"'),
        said(b"algorithm=MD5", b'algorithm="MD5"'),
        said(b'uri="sip:bob@biloxi.com"', b"uri=sip:bob@biloxi.com"),
        said(b'realm="biloxi.com"', b"realm=biloxi.com"),
        said(b"nc=00000001", b"nc=1"),
        said(b"nc=00000001", b"nc=0000000A"),
        said(HEX, HEX.upper()),
    ],
)
def test_sloppy_quotes_are_noted(value: bytes) -> None:
    """DIG-3: many clients write them; clear enough, so a note and no more."""
    assert reasons(value) == [Reason.DIGEST_QUOTES]


@pytest.mark.parametrize(
    "value",
    [
        b"Digest",
        b"Digest username",
        said(b'username="bob"', b'username="bob'),
        said(b'username="bob"', b'username="b"ob"'),
        said(b'username="bob", ', b""),
        said(b'realm="biloxi.com", ', b""),
        said(b'nonce="n0", ', b""),
        said(b'uri="sip:bob@biloxi.com", ', b""),
        said(b', response="' + HEX + b'"', b""),
        said(b"nc=00000001", b"nc=000000001"),
        said(b"nc=00000001", b"nc=0000000g"),
        said(b"nc=00000001", b"nc=-0000001"),
        said(b"qop=auth, ", b"qop=auth,, "),
        b'Bearer username="bob"',
        b"Digest " + b", ".join(b"p%d=1" % number for number in range(40)),
        GOOD + b', x="' + b"y" * MAX_OCTETS + b'"',
    ],
)
def test_broken_credentials_are_refused(value: bytes) -> None:
    """DIG-3: what could be read in two ways is read in none."""
    assert refusal(parse_credentials, value) is Reason.DIGEST_QUOTES


def test_a_parameter_twice_is_refused() -> None:
    """SIP-14: a second username could put another name behind the first."""
    assert refusal(parse_credentials, GOOD + b", NONCE=x") is Reason.DUPLICATE_PARAMETER


@pytest.mark.parametrize(
    ("algorithm", "digits", "fits"),
    [
        (b"MD5", 32, True),
        (b"md5-sess", 32, True),
        (b"AKAv1-MD5", 32, True),
        (b"SHA-256", 64, True),
        (b"SHA-512-256-sess", 64, True),
        (b"SHA-3000", 96, True),  # DIG-5: any token may come; nobody here can verify it
        (b"MD5", 64, False),
        (b"SHA-256", 32, False),
        (b"MD5", 31, False),
        (b"SHA-3000", 31, False),
    ],
)
def test_the_response_fits_its_algorithm(algorithm: bytes, digits: int, fits: bool) -> None:
    """DIG-4, DIG-5: as many digits as the hash has."""
    value = said(b"=MD5", b"=" + algorithm).replace(HEX, b"a" * digits)
    if fits:
        assert parse_credentials(value).algorithm == algorithm.upper()
    else:
        assert refusal(parse_credentials, value) is Reason.DIGEST_LENGTH


def test_a_response_is_hex_or_empty() -> None:
    """DIG-4: IMS phones say who they are before they are asked; nobody answers with nothing."""
    assert refusal(parse_credentials, said(HEX, b"z" * 32)) is Reason.DIGEST_LENGTH
    assert refusal(parse_credentials, said(HEX, b"")) is Reason.DIGEST_LENGTH
    blank = (
        b'Digest username="u@ims.org", realm="ims.org", nonce="", uri="sip:ims.org", response=""'
    )
    assert parse_credentials(blank).response == b""
    assert parse_credentials(blank).user == b"u@ims.org"


def test_md5_is_the_algorithm_where_none_is_named() -> None:
    """DIG-5: the default since RFC 2069."""
    assert parse_credentials(said(b", algorithm=MD5", b"")).algorithm == b"MD5"
    assert parse_challenge(b'Digest realm="r", nonce="n"').algorithm == b"MD5"


@pytest.mark.parametrize(
    "value",
    [
        said(b"nc=00000001, ", b""),
        said(b'cnonce="c0", ', b""),
        said(b"qop=auth", b'qop="auth,auth-int"'),
        said(b"qop=auth, nc=00000001, ", b"").replace(b"=MD5", b"=MD5-sess"),
    ],
)
def test_qop_demands_its_company(value: bytes) -> None:
    """DIG-6: one single qop, with cnonce and nc; a session needs it."""
    assert refusal(parse_credentials, value) is Reason.DIGEST_QOP


def test_cnonce_without_qop_is_noted() -> None:
    """DIG-6: illegal, but some clients write it, and the hash is that of RFC 2069."""
    assert reasons(said(b"qop=auth, ", b"")) == [Reason.DIGEST_QOP]
    for alone in (b"nc=00000001, ", b'cnonce="c0", '):
        assert reasons(said(b"qop=auth, ", b"").replace(alone, b"")) == [Reason.DIGEST_QOP]
    plain = said(b'qop=auth, nc=00000001, cnonce="c0", ', b"")
    assert reasons(plain) == []


def test_user_names_in_two_spellings() -> None:
    """DIG-9: either, never both; username* is UTF-8 and percent-encoded."""
    extended = b"username*=UTF-8''J%C3%A4s%C3%B8n%20Doe"
    read = parse_credentials(said(b'username="bob"', extended + b", userhash=false"))
    assert (read.user, read.is_userhash) == ("J\u00e4s\u00f8n Doe".encode(), False)
    both = said(b'username="bob"', extended + b', username="bob"')
    assert refusal(parse_credentials, both) is Reason.DIGEST_USERS
    for wrong in (b"username*=latin1''x", b"username*=UTF-8'x"):
        assert refusal(parse_credentials, said(b'username="bob"', wrong)) is Reason.DIGEST_QUOTES
    assert parse_credentials(GOOD + b", userhash=true").is_userhash


def test_escapes_are_undone_in_names_alone() -> None:
    """The hashes are made of what stands between the quotes; names are compared with others."""
    read = parse_credentials(said(b'"bob"', rb'"b\"ob\\"').replace(b'"n0"', rb'"n\"0"'))
    assert (read.user, read.nonce) == (b'b"ob\\', rb"n\"0")


def test_challenges() -> None:
    """DIG-3: stale and algorithm bare, the rest in quotes."""
    read = parse_challenge(
        b'Digest realm="a", domain="sip:x", qop="auth,AUTH-INT", nonce="n", opaque="", '
        b"stale=FALSE, algorithm=SHA-256"
    )
    assert (read.realm, read.nonce, read.algorithm) == (b"a", b"n", b"SHA-256")
    assert (read.qops, read.is_stale, read.findings) == ((b"auth", b"auth-int"), False, ())
    sloppy = parse_challenge(b'Digest realm=a, qop=auth, nonce="n", stale="TRUE"')
    assert [finding.reason for finding in sloppy.findings] == [Reason.DIGEST_QUOTES]
    assert sloppy.is_stale
    assert refusal(parse_challenge, b'Digest realm="a"') is Reason.DIGEST_QUOTES
    assert refusal(parse_challenge, b'Digest nonce="a"') is Reason.DIGEST_QUOTES


def test_a_challenge_without_qop_is_noted() -> None:
    """DIG-6: servers must send it; kamailio does not unless it is told."""
    read = parse_challenge(b'Digest realm="asterisk", nonce="awPMJGsDyvg"')
    assert [finding.reason for finding in read.findings] == [Reason.DIGEST_QOP]


def test_authentication_info() -> None:
    """DIG-30: the next nonce, and what it repeats of the request."""
    read = parse_info(b'nextnonce="n2", qop=auth, rspauth="00", cnonce="c", nc=00000001')
    assert read == (b"n2", b"auth", b"c", b"00000001")


@pytest.mark.parametrize(
    "value",
    [b'cnonce="x', b"cnonce=", b'cnonce=a"b', b"cnonce=a b", b"cnonce", b"=x", b"a b=c", b",", b""],
)
def test_each_parameter_is_well_formed(value: bytes) -> None:
    """DIG-3: also where none is needed."""
    assert refusal(parse_info, value) is Reason.DIGEST_QUOTES


def test_a_realm_may_be_empty() -> None:
    """Nothing else may that a challenge must have."""
    assert parse_challenge(b'Digest realm="", nonce="n"').realm == b""
    assert refusal(parse_challenge, b'Digest realm="r", nonce=""') is Reason.DIGEST_QUOTES


def test_claims_are_read_from_anything() -> None:
    """A policy speaks of the user before anybody judged the credentials."""
    assert read_claims(GOOD) == Claims(b"bob", b"biloxi.com", b"md5", b"auth")
    half = rb'Digest  UserName="a\"b", username=c,,= , realm=r'
    assert read_claims(half) == Claims(b'a"b', b"r", b"md5", b"none")


def test_a_response_is_found_in_any_wrapping() -> None:
    """DIG-24: a server may read what we refuse, and the stolen response must be known there."""
    broken = b"Digest x x x, response=\t'" + HEX.upper()[:7] + b"\\" + HEX.upper()[7:] + b"'"
    assert HEX in find_responses(broken)
    assert find_responses(GOOD) == (HEX,)


PARSERS = [parse_credentials, parse_challenge, parse_info, read_claims, find_responses, scheme_of]
PIECES = st.sampled_from(
    [b"Digest ", b"username=", b"username*=", b"realm=", b"nonce=", b"uri=", b"response=", b"qop=",
     b"nc=", b"cnonce=", b"algorithm=", b'"', b"\\", b",", b"=", b" ", b"<", b"UTF-8''", b"%", HEX,
     b"auth", b"00000001", b"\xff", b"\0", b"\t"]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=40).map(b"".join)))
def test_readers_are_total(value: bytes) -> None:
    """No octets raise anything but HostileInput, whichever reader they meet."""
    for parse in PARSERS:
        with contextlib.suppress(HostileInput):
            parse(value)


@given(st.lists(PIECES, max_size=40).map(b"".join))
@example(b"," + HEX + b"username=")
@example(b"," + HEX + b'="')
@example((b"," + HEX + b"=x") * 2)
def test_refusals_never_show_a_response(tail: bytes) -> None:
    """DIG-31: nothing that proves a password gets into a record by our hand."""
    try:
        findings = parse_credentials(GOOD + tail).findings
    except HostileInput as error:
        findings = (error.finding(),)
    for finding in findings:
        assert HEX not in finding.octets
        assert HEX.decode() not in finding.detail


def test_a_refused_row_never_shows_a_response() -> None:
    """DIG-31: nor does the reader of rows, which looks for parameters that stand twice."""
    with pytest.raises(HostileInput) as caught:
        check_digest(b"Digest " + HEX + b", " + HEX)
    assert caught.value.reason is Reason.DUPLICATE_PARAMETER
    assert HEX not in caught.value.octets
    with pytest.raises(HostileInput) as caught:
        check_digest(b"Digest realm=a, realm=b")
    assert caught.value.octets == b"realm"


def test_challenges_of_rfc_3665_can_be_read() -> None:
    """Folded, as they stand there. (Its responses are too short: those are made up.)"""
    for path in sorted((CORPUS / "rfc-examples").glob("rfc3665-*.txt")):
        text = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n ", b" ")
        for line in text.split(b"\n"):
            name, _, value = line.strip().partition(b":")
            if name.lower().endswith(b"-authenticate"):
                assert parse_challenge(b" ".join(value.split())).realm, path.name

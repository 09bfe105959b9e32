"""wire/crypto: one a=crypto line, usable or with its fault (SDE-1 to SDE-3, SDE-11)."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.reason import Reason
from sipguard.wire.crypto import KEY_OCTETS, parse_crypto

KEY = b"YWxpY2VzX2tleV9hbmRfc2FsdF8zMF9vY3RldHMh"
PLAIN = b"alices_key_and_salt_30_octets!"
LINE = b"1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        LINE.replace(b" ", b"  "),
        LINE.replace(b" ", b"\t"),
        LINE.replace(b"AES", b"aes"),
        LINE.replace(b"inline", b"INLINE"),
        b"999999999" + LINE[1:],
        b"0" + LINE[1:],
        LINE.replace(b"_80", b"_32"),
        LINE.replace(b"AES_CM_128_HMAC_SHA1_80", b"F8_128_HMAC_SHA1_80"),
        LINE + b"|2^48",
        LINE + b"|1048576",
        LINE + b"|1:4",
        LINE + b"|2^20|1:128",
        LINE + b"|2^20|1:4;inline:" + KEY + b"|2^20|2:4",
        LINE + b" KDR=24",
        LINE + b" WSH=64 FEC_ORDER=SRTP_FEC",
        LINE + b" -x-unknown=1",
        LINE + b" FEC_KEY=inline:" + KEY,
    ],
)
def test_usable_lines(line: bytes) -> None:
    """RFC 4568 section 9.2, read with the tolerance of SDE-11."""
    crypto = parse_crypto(line)
    assert crypto.problem is None
    assert set(crypto.keys) == {PLAIN}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"1",
        b"1 AES_CM_128_HMAC_SHA1_80",
        b" " + LINE,
        b"01" + LINE[1:],
        b"x" + LINE[1:],
        b"1000000000" + LINE[1:],
        b"1 AES_CM_128_HMAC_SHA1_80 " + KEY,
        b"1 AES_CM_128_HMAC_SHA1_80 prompt:" + KEY,
        b"1 AES_CM_128_HMAC_SHA1_80 inline:",
        b"1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY[:36],
        b"1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY[:-1],
        b"1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY + b"=",
        b"1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY[:-1] + b"?",
        b"1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY[:-1] + b"-",
        b"1 AES_256_CM_HMAC_SHA1_80 inline:" + KEY,
        b"1 UNKNOWN_SUITE inline:" + KEY,
        LINE + b"|0",
        LINE + b"|01",
        LINE + b"|2^49",
        LINE + b"|2^",
        LINE + b"|281474976710657",
        LINE + b"|1:",
        LINE + b"|1:0",
        LINE + b"|1:129",
        LINE + b"|x:4",
        LINE + b"|1:4|2^20",
        LINE + b"|2^20|1:4|x",
        LINE + b";inline:" + KEY,
        LINE + b"|1:4;inline:" + KEY + b"|2:8",
        LINE + b"|1:4;inline:" + KEY + b"|1:4",
        LINE + b"|1:4;inline:" + KEY + b"|01:4",
        LINE + b"|256:1",
        LINE + b"|1:4;" * 20,
        LINE + b" KDR=25",
        LINE + b" KDR=2 KDR=3",
        LINE + b" WSH=63",
        LINE + b" FEC_ORDER=x",
        LINE + b" FEC_KEY=x",
        LINE + b" SOMETHING",
    ],
)
def test_unusable_lines(line: bytes) -> None:
    """SDE-1 to SDE-3: a line that an endpoint must not use is not used here either."""
    assert parse_crypto(line).problem is Reason.BAD_CRYPTO


@pytest.mark.parametrize(
    "line",
    [
        b"1 NULL_HMAC_SHA1_80 inline:" + KEY,
        b"1 null_hmac_sha1_32 inline:" + KEY,
        LINE + b" UNENCRYPTED_SRTP",
        LINE + b" unencrypted_srtcp",
        LINE + b" KDR=1 UNAUTHENTICATED_SRTP",
    ],
)
def test_weak_lines(line: bytes) -> None:
    """SDE-3: what turns protection off does not count as a key."""
    assert parse_crypto(line).problem is Reason.WEAK_CRYPTO


@pytest.mark.parametrize("suite", KEY_OCTETS)
@pytest.mark.parametrize("padded", [True, False])
def test_every_suite_demands_its_key_length(suite: bytes, padded: bool) -> None:
    """SDE-1: padding may be missing (rtpengine), octets may not."""
    for octets in (KEY_OCTETS[suite] - 1, KEY_OCTETS[suite], KEY_OCTETS[suite] + 1):
        text = b64encode(bytes(octets))
        crypto = parse_crypto(b"1 %s inline:%s" % (suite, text if padded else text.rstrip(b"=")))
        assert (crypto.problem is None) is (octets == KEY_OCTETS[suite])


@pytest.mark.parametrize(
    ("line", "mkis"),
    [
        (LINE, ()),
        (LINE + b"|2^20", ()),
        (LINE + b"|1:4", (b"\0\0\0\1",)),
        (LINE + b"|255:1", (b"\xff",)),
        (LINE + b"|2^20|66051:3;inline:" + KEY + b"|0:3", (b"\1\2\3", b"\0\0\0")),
        (LINE + b"|1:128", (bytes(127) + b"\1",)),
    ],
)
def test_the_mki_of_each_key(line: bytes, mkis: tuple[bytes, ...]) -> None:
    """SDE-2: a decimal number there, octets in network order in packets (RFC 4568 section 6.1)."""
    assert parse_crypto(line).mkis == mkis


@pytest.mark.parametrize(
    ("line", "rate"),
    [
        (LINE, -1),
        (LINE + b" WSH=64", -1),
        (LINE + b" -x=KDR=7", -1),
        (LINE + b" KDR=0", -1),
        (LINE + b" KDR=1", 1),
        (LINE + b" WSH=64 kdr=24 -x-unknown=1", 24),
    ],
)
def test_the_key_derivation_rate(line: bytes, rate: int) -> None:
    """SDE-3: an exponent of two; no rate at all is usual."""
    crypto = parse_crypto(line)
    assert (crypto.problem, crypto.rate) == (None, rate)


PIECES = st.sampled_from(
    [LINE, KEY, b"1", b" ", b"|", b":", b";", b"inline:", b"2^20", b"KDR=1", b"=", b"NULL_", b"99"]
) | st.binary(max_size=8)


@given(st.binary(max_size=300) | st.lists(PIECES, max_size=20).map(b"".join))
def test_parse_crypto_is_total(value: bytes) -> None:
    """No octets raise, and a usable line has keys of its suite's length."""
    crypto = parse_crypto(value)
    if crypto.problem is None:
        assert crypto.keys
        assert {len(key) for key in crypto.keys} == {KEY_OCTETS[crypto.suite]}
        assert len(crypto.mkis) in (0, len(crypto.keys))
        assert crypto.mkis or len(crypto.keys) == 1
        assert -1 <= crypto.rate <= 24

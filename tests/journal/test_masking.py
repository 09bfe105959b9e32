"""Masking: no key, digest response or password survives in what is stored."""

import base64
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipguard.journal.masking import mask, mask_quotation, traces_of_secrets

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))

KEY = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"  # RFC 4568 section 9
DIGEST = b"6629fae49393a05397450978507c4ef1"  # RFC 2617 section 3.5
INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds\r\n"
    b"From: <sip:alice:s3cr3t@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n"
    b'Authorization: Digest username="alice", realm="example.com", nonce="84a4cc6f3082121f",\r\n'
    b' uri="sip:bob@example.com", response="' + DIGEST + b'", algorithm=MD5\r\n'
    b"Call-ID: a84b4c76e66710\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\r\n"
    b"v=0\r\nm=audio 4000 RTP/SAVP 0\r\nk=clear:" + KEY + b"\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY + b"|2^20|1:4 UNENCRYPTED_SRTCP\r\n"
    b"a=sendrecv\r\n"
)


def test_a_whole_message_loses_its_secrets_and_nothing_else() -> None:
    """What a reviewer needs stays: names, realm, nonce, suite, lifetime, session parameters."""
    masked = mask(INVITE)
    assert masked == (
        b"INVITE sip:bob@example.com SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds\r\n"
        b"From: <sip:alice:***@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n"
        b'Authorization: Digest username="alice", realm="example.com", nonce="84a4cc6f3082121f", '
        b'uri="sip:bob@example.com", response=***, algorithm=MD5\r\n'
        b"Call-ID: a84b4c76e66710\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\r\n"
        b"v=0\r\nm=audio 4000 RTP/SAVP 0\r\nk=***\r\n"
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***|2^20|1:4 UNENCRYPTED_SRTCP\r\n"
        b"a=sendrecv\r\n"
    )
    assert mask(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY,
        b"a=CRYPTO:1 AES_CM_128_HMAC_SHA1_80 InLine:" + KEY,
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline: " + KEY,
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY[:20] + b"\r\n " + KEY[20:],
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inlin:" + KEY,
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 " + KEY,
        b"a=crypto:" + KEY,
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x|" + KEY,
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x;inline:" + KEY,
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:\r\n " + KEY,
        b"a=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY,
        b"junk inline:" + KEY,
        b"k=base64:" + KEY,
        b"v=0\rk = clear:" + KEY,
        b"a=key-mgmt:mikey " + KEY,
        b"A=Key-Mgmt :MIKEY " + KEY,
        b"a=key-mgmt:" + KEY,
        b"a=key-mgmt: mikey\r\n " + KEY[:12] + b"\r\n " + KEY[12:],
        b"a=acap:1 key-mgmt:mikey " + KEY,
        b"a=keymgmt:mikey  " + KEY,
        b"a=key-mgmt-1 mikey\t" + KEY,
        b"INVITE sip:b@c?body=v%3D0%0D%0Aa%3Dkey-mgmt%3Amikey%20" + KEY + b" SIP/2.0",
        b"INVITE sip:b@c?body=a%3Dkeymgmt%3Amikey%20" + KEY + b" SIP/2.0",
        b"a=ice-pwd:" + KEY,
        b"INVITE sip:b@c?body=v%3D0%0D%0Aa%3Dcrypto%3A1%20X%20inline%3A" + KEY + b" SIP/2.0",
        b"Authorization: Basic " + KEY,
        b"authorization : Digest username=a, response=" + KEY,
        b"Proxy-Authorization: Bearer " + KEY,
        b'PROXY-AUTHORIZATION: digest username="a, response="' + KEY + b'"',
        b'Authorization: Digest username="a",\r\n\tresponse="' + KEY,
        b'Authorization:\r\n Digest\r\n response\r\n =\r\n "' + KEY + b'"',
        b'Authorization: Digest respons="' + KEY + b'"',
        b'Authorization: Digest username="a\\", response=' + KEY,
        b"\x00Authorization: Basic " + KEY,
        b'Authentication-Info: rspauth="' + KEY + b'", qop=auth',
        b'Proxy-Authentication-Info: nextnonce="ok", rspauth=' + KEY,
        b'username="a", response="' + KEY + b'"',
        b"Refer-To: <sip:b@c?Authorization=Digest%20response%3D%22" + KEY + b"%22>",
        b"X-Auth-Token: " + KEY,
        b"X-Api-Key: " + KEY,
        b"Contact: <sip:alice:" + KEY + b"@example.com;transport=tcp>",
        b"Contact: sip:a@b,SIPS:alice:" + KEY + b"@example.com",
        b"Refer-To: <sip:x@y?Contact=sip%3Aalice%3A" + KEY + b"%40example.com>",
        b"Call-Info: <https://alice:" + KEY + b"@example.com/>;purpose=icon",
        b"Contact: <sip:alice:" + KEY + b">",
        b"Content-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\n" + KEY,
        b"Subject: x\r\ne: deflate\r\n\r\n" + KEY,
    ],
)
def test_no_spelling_of_a_secret_survives(text: bytes) -> None:
    """Folded, compact, mixed case, misplaced, broken or cut: the key goes all the same."""
    for whole in (text, text + b"\r\nX: 1\r\n", b"--b\r\n\r\n" + text + b"\r\n--b--\r\n"):
        masked = mask(whole, cut=True)
        assert not shares(masked, KEY), masked
        assert mask(masked, cut=True) == masked


def test_secrets_inside_encoded_bodies_are_found() -> None:
    """A base64 or quoted-printable part is no hiding place for a key (opaque S/MIME signing)."""
    sdp = INVITE.partition(b"\r\n\r\n")[2]
    coded = base64.encodebytes(b"0\x82\x01" + sdp)
    masked = mask(b"Content-Type: application/pkcs7-mime\r\n\r\n" + coded + b"--b--")
    assert masked == b"Content-Type: application/pkcs7-mime\r\n\r\n***\n--b--"
    for junk in (b"A", b"AB", b"ABC"):
        assert mask(b"\r\n" + junk + base64.b64encode(sdp)) == b"\r\n***"
    twice = mask(b"\r\n" + base64.encodebytes(coded))
    assert b"***" in twice
    assert len(twice) < 20
    printable = b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Dcrypto:1 A_B =69nline:" + (
        KEY[:9] + b"=\r\n" + KEY[9:]
    )
    assert not shares(mask(printable), KEY[9:])


@pytest.mark.parametrize(
    "text",
    [
        b"Contact: <sip:alice@192.0.2.1:5060;transport=udp>;expires=60",
        b"INVITE sip:192.0.2.1:5060 SIP/2.0",
        b"Contact: <sip:[2001:db8::1]:5060>",
        b"To: sip:bob@[2001:db8::1]:5060;tag=9",
        b'WWW-Authenticate: Digest realm="x", nonce="84a4cc6f", qop="auth"',
        b"a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B",
        b"Supported: 100rel\r\nk: path",
        b"Call-Info: <http://example.com:80/x>;purpose=icon",
        b"Error-Info: <sip:announcement@host:5060>",
    ],
)
def test_what_is_no_secret_stays(text: bytes) -> None:
    """Ports, challenges, fingerprints and compact Supported are what a review is about."""
    assert mask(text) == text


def test_smime_stays() -> None:
    """Signatures and certificates are evidence: base64 without a secret inside is kept."""
    der = b"0\x82\x02\x10sip:alice@example.com\x86\x1dhttp://crl.example.com/a.crl\x86\x05b@c.d" * 4
    body = b"Content-Type: application/pkcs7-signature\r\n\r\n" + base64.encodebytes(der)
    assert mask(body) == body


SUITES = st.sampled_from([b"AES_CM_128_HMAC_SHA1_80", b"AEAD_AES_256_GCM", b"", b"what"])
KEYS = st.binary(min_size=24, max_size=46).map(lambda raw: base64.b64encode(raw).rstrip(b"="))
NOISE = st.binary(max_size=40)
WRAPS = st.sampled_from(
    [
        b"a=crypto:1 %b inline:%b",
        b"a=crypto:1 %b inline:%b|2^20|1:4",
        b"A=Crypto:77 %b FEC_ORDER=FEC_SRTP INLINE:%b",
        b"x%bk inline:%b;inline:",
        b'Authorization: Digest realm="%b", response="%b"',
        b"AUTHORIZATION : Digest nc=%b,\r\n response = %b",
        b"Proxy-Authorization:Basic%b %b",
        b"Contact: <sip:u%b:%b@h>",
    ]
)


@settings(max_examples=300)
@given(NOISE, WRAPS, SUITES, KEYS, NOISE, st.integers(0, 60))
def test_no_key_survives_whatever_stands_around_it(
    before: bytes, wrap: bytes, suite: bytes, key: bytes, after: bytes, lost: int
) -> None:
    """A key stays out of the store between any octets, and when the message was cut short."""
    text = before + b"\r\n" + wrap % (suite, key) + b"\r\n" + after
    for whole in (text, text[: len(text) - lost], text.replace(b"\r\n", b"\n")):
        assert not shares(mask(whole, cut=True), key)
    for at in range(0, len(text), 7):
        quotation = text[at : at + 40]
        assert not shares(mask_quotation(quotation, traces_of_secrets(text, mask(text))), key)


@given(st.binary(max_size=600))
def test_masking_is_total_and_stable(octets: bytes) -> None:
    """Any octets can be masked, and masking twice changes nothing more."""
    masked = mask(octets)
    assert isinstance(mask_quotation(octets, traces_of_secrets(octets, masked)), bytes)
    assert isinstance(mask_quotation(octets, None), bytes)
    assert isinstance(masked, bytes)


@given(KEYS, st.integers(0, 20))
def test_a_quotation_without_its_message_loses_long_words(key: bytes, skip: int) -> None:
    """When the message is not at hand, whatever could be a key goes."""
    quoted = mask_quotation(key[min(skip, len(key) - 24) :] + b"|2^20", None)
    assert quoted == b"***|2^20"


@pytest.mark.parametrize(
    "hostile",
    [b"sip:" * 5000, b"inline:" * 3000, b"a=crypto:1 " * 2000, b'response="' * 2000, b"A" * 16_000,
     b"\r\n " * 6000, b"authorization:" * 1500, b"password=\\" * 2000, b"x-" * 8000,
     b"k=" * 8000, b"inline   " * 2000, b"[" * 16_000, b"://" * 5000, (b"A" * 16 + b"\n") * 900,
     b"Authorization: Digest " + b"a=b," * 4000],
)  # fmt: skip
def test_masking_takes_linear_time(hostile: bytes) -> None:
    """No packet can keep the journal busy: 16 KiB of anything is masked in well under a second."""
    started = time.perf_counter()
    mask(hostile)
    assert time.perf_counter() - started < 0.5


def test_real_messages_keep_no_key() -> None:
    """Every key and digest in the corpus's messages and SDP is gone after masking."""
    secret = re.compile(rb'(?i)inline:([A-Za-z0-9+/]{16,})|response="?([0-9a-f]{32})')
    files = [path for part in ("sdes", "sip-messages") for path in (CORPUS / part).rglob("*")]
    for path in [path for path in files if path.is_file()]:
        octets = path.read_bytes()[:16_000]
        masked = mask(octets)
        for found in secret.finditer(octets):
            assert not shares(masked, found[1] or found[2]), path


def shares(text: bytes, key: bytes) -> bool:
    """Whether 12 octets of *key* (72 bits of it) are left."""
    return any(key[at : at + 12] in text for at in range(max(len(key) - 11, 1)))


@given(
    st.lists(st.sampled_from((b"abcdefgh", b"aaaa", b"sip:u:secret@h ", b"k=", b"xyz" * 90))),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), max_size=3),
)
def test_traces_are_what_the_masked_text_does_not_show(
    pieces: list[bytes], cuts: list[tuple[int, int]]
) -> None:
    """Every run of eight octets, found the quick way or not; one missed would show a key."""
    text = masked = b"".join(pieces)
    for at, octets in cuts:
        masked = masked[:at] + b"***" + masked[at + octets :]
    shown = {masked[at : at + 8] for at in range(len(masked) - 7)}
    runs = {text[at : at + 8] for at in range(len(text) - 7)}
    assert traces_of_secrets(text, masked) == runs - shown


@pytest.mark.parametrize("junk", [b"", b"a", b"ab", b"abc"])
@pytest.mark.parametrize(
    "secret", [b"password=x y", b"sip:u:word@host", b"Sips%3au%3aword%40host", b"https://u:p@host"]
)
def test_base64_is_looked_into_at_every_alignment(junk: bytes, secret: bytes) -> None:
    """Whichever of the four ways to read it shows the secret, it goes."""
    hidden = junk + base64.b64encode(b"something before " + secret + b" and behind it")
    assert mask(b"x " + hidden + b" y") == b"x *** y"
    twice = junk + base64.b64encode(hidden)
    assert mask(b"x " + twice + b" y") == b"x *** y"


@pytest.mark.parametrize(
    "hidden",
    [b"quoted-printable\r\n=73ip:u:word=40host", b"\r\nContent-Encoding: gzip\r\n\r\nno text"],
)
def test_what_base64_hides_may_be_encoded_itself(hidden: bytes) -> None:
    """Nothing but the encoding shows that there may be a secret."""
    assert mask(b"x " + base64.b64encode(b"something " + hidden) + b" y") == b"x *** y"

"""``policies/secure-media.policy``: which keys are good enough, and what is asked of a stream."""

from functools import cache
from pathlib import Path

import pytest
from subjects import STRANGER, Keying, Stream, octets, request
from subjects import subject as made

from sipguard.edge.policy_file import Files
from sipguard.media.keying import offered_key
from sipguard.policy import Policy, load_policy
from sipguard.policy.literals import Rate
from sipguard.verdict import Endpoint
from sipguard.wire.sdp import parse_sdp

FILE = Path(__file__).parents[2] / "policies" / "secure-media.policy"
RELAY = "198.51.100.40"
ZRTP_OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 10.1.2.3\r\ns=-\r\nc=IN IP4 10.1.2.3\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0\r\na=zrtp-hash:1.10 "
    b"fe30efd02423cb054e50efd0248742ac7a52c8f91bc2df881ae642c371ba46df\r\n"
)

DTLS = Keying(b"dtls", b"", 0, fingerprint=b"sha-256")
ZRTP = Keying(b"zrtp", b"", 0, hashed=True)
SUITE = b"AES_CM_128_HMAC_SHA1_80"
MIKEY = Keying(b"mikey", SUITE, 128, mode=b"psk", state=b"valid")


@cache
def policy() -> Policy:
    files = Files()
    return load_policy(str(FILE), files.text, files)


def ruled(stream: Stream) -> str:
    ruling = policy().judge("media", made(stream=stream))
    return f"{ruling.rule.name} {ruling.action}" if ruling else "none"


@pytest.mark.parametrize("keying", [DTLS, ZRTP, MIKEY], ids=lambda keying: keying.method.decode())
def test_keys_that_only_the_ends_have_are_good(keying: Keying) -> None:
    """Each of the three methods that keep the key from who reads the signalling."""
    assert ruled(Stream(keying=keying)) == "sealed open"
    relayed = Stream(keying=keying, caller=Endpoint(octets(RELAY), 4000), caller_vouched=False)
    assert ruled(relayed) == "sealed open", "a relay of the policy passes it on"


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        (Stream(keyed=False, keying=Keying(b"", b"", 0)), "plain"),
        (Stream(keying=DTLS, downgraded=True), "downgraded"),
        (Stream(cleartext=True), "readable"),
        (Stream(keying=MIKEY._replace(state=b"absent"), cleartext=True), "readable"),
        (Stream(keying=MIKEY._replace(bits=64)), "short"),
        (Stream(keying=MIKEY._replace(suite=b"AES_CM_128_HMAC_SHA1_32")), "weak"),
        (Stream(keying=DTLS._replace(fingerprint=b"sha-1")), "old-hash"),
        (Stream(keying=MIKEY._replace(state=b"failed")), "forged"),
        (Stream(keying=MIKEY._replace(state=b"unknown")), "unchecked"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_everything_less_is_refused_and_named(stream: Stream, name: str) -> None:
    """The caller hears 488, and the record says which rule it was."""
    assert ruled(stream) == f"{name} reject"


def test_no_hole_leads_to_an_address_that_nobody_vouches_for() -> None:
    """Also for the best of keys."""
    assert ruled(Stream(keying=DTLS, callee_vouched=False)) == "none"


def test_an_offer_of_zrtp_is_not_refused_before_its_answer() -> None:
    """ZRT-5: its hash is there, so rules that ask for it let the offer pass."""
    media = parse_sdp(ZRTP_OFFER).media[0]
    offered = offered_key(media)
    assert (offered.keyed, offered.method, offered.hashed) == (True, b"zrtp", True)


def test_the_gate_is_on_and_gives_no_grace() -> None:
    """What its first lines promise."""
    read = policy()
    assert (read.proof_within_s, read.recheck_s) == (10, 5)
    assert (read.hidden_dtls_ok, read.zrtp_grace_s) == (False, 0)
    assert read.signature_budget == Rate(5, 1)


def test_strangers_hear_nothing_and_telephones_work() -> None:
    """Beyond media it is strict.policy."""
    ruling = policy().judge("request", made(request("INVITE"), src=STRANGER))
    assert ruling is not None
    assert ruling.rule.name == "stranger"
    ruling = policy().judge("request", made(request("INVITE")))
    assert ruling is not None
    assert ruling.rule.name == "handsets"

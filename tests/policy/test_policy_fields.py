"""What each field reads, and how its values compare."""

import pytest
from subjects import OTHER_PHONE, PHONE, STRANGER, Keying, Stream, holds, octets, request, response
from subjects import subject as made

from sipguard.moment import Moment
from sipguard.policy import Subject
from sipguard.policy.field import Scope
from sipguard.policy.fields import FIELDS
from sipguard.reason import Finding, Reason
from sipguard.verdict import Endpoint
from sipguard.wire.channel import Channel

SDP = (
    "v=0\r\no=- 1 1 IN IP4 10.20.0.5\r\ns=-\r\nc=IN IP4 10.20.0.5\r\nt=0 0\r\n"
    "m=audio 40000 RTP/SAVP 0\r\nm=video 40002 RTP/SAVP 96\r\nc=IN IP4 10.20.0.6\r\n"
)
DIGEST = 'Digest realm="a, username=x", username="al\\"ice", response="00"'
FULL = request(
    "INVITE",
    uri="sip:%62ob@Example.COM:5070;transport=udp",
    from_='"Alice \\"A\\" Smith" <sip:al%69ce@Example.com>;tag=a1',
    to="Bob <sip:bob@[2001:db8::1]>;tag=b1",
    headers=(
        "User-Agent: Friendly-Scanner/1.0\r\nX-Rows: one\r\nX-Rows: two\r\nX-Empty:\r\n"
        "X-Host: EXAMPLE.com\r\n"
        f"Expires: 600\r\nProxy-Authorization: {DIGEST}\r\nContent-Type: application/sdp\r\n"
        "s: Lunch\r\n"
    ),
    body=SDP,
)
MULTIPART = request(
    headers="Content-Type: multipart/mixed;boundary=b\r\n",
    body="--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n",
)


ZONE = "zone lan { interface lan0 ipsec }"


def _full() -> Subject:
    subject = made(FULL)
    subject.packet = subject.packet.changed(channel=Channel(zone="lan", ipsec=True))
    return subject


# One condition or more for each field, true of the message above; walked whole below.
TRUE = [
    "src == 10.20.0.5",
    "dst == 10.20.0.1",
    "src.port == 5060",
    "dst.port == 5062",
    "in.interface == lan0",
    "transport == udp",
    "zone == lan and ipsec",
    "message.size > 500",
    "headers.count == 17",
    "mime.depth == 0",
    "method == INVITE",
    "status == 0",
    "uri.scheme == SIP",
    "uri.user == bob",
    "uri.host == EXAMPLE.com",
    "uri.port == 5070",
    "from.user == alice",
    "from.host == example.com",
    'from.display == "Alice \\"A\\" Smith"',
    "from.tag == a1",
    "to.user == bob",
    "to.host in {2001:db8::/32}",
    "to.display == Bob",
    "to.tag == b1",
    "contact.user == alice",
    "contact.host in {10.20.0.0/16}",
    "contact.count == 1",
    "via.count == 1",
    "via.transport == UDP",
    "via.host == 10.20.0.5",
    'user_agent == "FRIENDLY-scanner/1.0"',
    "cseq.number == 7",
    "cseq.method == INVITE",
    "call_id == call-1",
    "max_forwards == 70",
    "expires == 10m",
    "body.type == Application/SDP",
    "body.size < 1k",
    "digest.present",
    'digest.user == "al\\"ice"',
    'digest.realm == "a, username=x"',
    "digest.algorithm == md5",
    "digest.qop == none",
    "sdp.present",
    "sdp.count == 1",
    "sdp.media in {video}",
    "sdp.address in {10.20.0.6}",
    'header["X-Rows"] == "one, two"',
    'header["x-none"] == ""',
    'header["Subject"] == Lunch',
    'header["s"] == Lunch',
    'has header["X-Empty"]',
    'not header["X-None"] present',
    "aib.unknown and not aib.valid and not aib.absent and not aib.failed",
    "stir.unknown and not stir.valid and not stir.absent and not stir.failed",
    "smime.unknown and not smime.valid and not smime.absent and not smime.failed",
    "digest.unknown and not digest.valid and not digest.absent and not digest.failed",
    'aib.signer != "x" and stir.signer != "x" and stir.attest != A and stir.orig != "x"',
    'smime.signer != "x" and smime.sdp == unknown and not sdp.encrypted',
    "not aib.covers in {from} and not digest.replayed and replay.kind == none",
    "not sips.claimed and not via.alias and not outbound",
    "from.scheme == sip and to.scheme == sip and contact.scheme == sip",
    "not replay and not dialog.known and not transaction.known and not registration.foreign",
    "not challenge.foreign",
    "not ambiguous and not malformed and not oversize and not finding in {SIP-12}",
]


@pytest.mark.parametrize("condition", TRUE)
def test_fields_read_the_message(condition: str) -> None:
    """Each field has its value from the place its name says."""
    assert holds(condition, _full(), sets=ZONE)
    assert not holds(f"not ({condition})", _full(), sets=ZONE)


STREAM_TRUE = [
    "media.type == Audio",
    "media.proto == rtp/savp",
    "media.port == 30000",
    "media.port.caller == 40000",
    "media.port.callee == 30000",
    "media.address.caller == 10.20.0.5",
    "media.address.callee == 10.20.0.6",
    "peer in {signalling}",
    "keyed",
    "key.method == sdes",
    "key.suite == aes_cm_128_hmac_sha1_80",
    "key.bits == 128",
    "not media.downgraded",
    "mikey.mode == none and not mikey.valid and mikey.state == absent",
    "not zrtp.hash",
    "dtls.fingerprint != sha-256",
    "not key.cleartext",
    "not sdes.cleartext",
    "method == INVITE",
    "src in {10.0.0.0/8}",
]


@pytest.mark.parametrize("condition", STREAM_TRUE)
def test_media_fields_read_the_stream(condition: str) -> None:
    """Chain media sees the stream, and the message it was negotiated in."""
    subject = made(FULL, stream=Stream())
    assert holds(condition, subject, "media")
    assert not holds(f"not ({condition})", subject, "media")


KEYINGS = [
    (Keying(b"dtls", b"", 0, fingerprint=b"sha-256"), "dtls.fingerprint == sha-256"),
    (Keying(b"dtls", b"", 0), "key.method == dtls and key.bits == 0 and key.bits < 128"),
    (Keying(b"zrtp", b"", 0, hashed=True), "zrtp.hash and key.method == zrtp"),
    (Keying(b"mikey", mode=b"rsa-r", state=b"valid"), "mikey.valid and mikey.mode == rsa-r"),
    (Keying(b"mikey", mode=b"psk", state=b"unknown"), "mikey.state == unknown and not mikey.valid"),
    (Keying(suite=b"AEAD_AES_256_GCM", bits=256), "key.bits > 255"),
]


@pytest.mark.parametrize(("keying", "condition"), KEYINGS)
def test_keying_fields_read_the_method(keying: Keying, condition: str) -> None:
    """What only one method has is true of that method's streams alone."""
    assert holds(condition, made(FULL, stream=Stream(keying=keying)), "media")
    assert not holds(condition, made(FULL, stream=Stream()), "media")
    assert not holds(condition, made(FULL), "media")


def test_a_downgrade_can_be_asked_for() -> None:
    """PIN-7: a rule may refuse it; without one, what was good stays."""
    assert holds("media.downgraded", made(FULL, stream=Stream(downgraded=True)), "media")


TLS_TRUE = [
    "tls.version == 1.3",
    "tls.peer in {EXAMPLE.com}",
    'tls.peer in {"10.20.0.9"}',
    "tls.client.valid",
    'ws.origin == "https://phone.EXAMPLE.com"',
]


@pytest.mark.parametrize("condition", TLS_TRUE)
def test_tls_fields(condition: str) -> None:
    """What is known of the connection; false of what came in clear, whoever it names."""
    channel = Channel("1.3", ("example.com", "10.20.0.9"), tls_client_valid=True)
    channel = channel._replace(ws_origin="https://phone.example.com")
    clear = made(FULL)
    secured = made(FULL)
    secured.packet = secured.packet.changed(channel=channel)
    for chain in ("parse", "request"):
        assert holds(condition, secured, chain)
        assert not holds(condition, clear, chain)


def test_what_is_secured_can_be_asked_for() -> None:
    """SIPS in Request-URI, Route or Contact; a flow of RFC 5626; a connection of RFC 5923."""
    assert holds("sips.claimed", made(request(uri="sips:bob@example.com")))
    assert holds("sips.claimed", made(request(headers="Route: <sips:p.example.com;lr>\r\n")))
    assert holds("sips.claimed", made(request().replace(b"<sip:alice@1", b"<sips:alice@1")))
    assert holds("via.alias", made(request().replace(b";branch", b";alias;branch")))
    flow = request().replace(b":5060>", b':5060>;reg-id=1;+sip.instance="<urn:uuid:1>"')
    assert holds("outbound", made(flow))
    assert not holds("outbound", made(flow.replace(b"reg-id=1;", b"")))


def test_every_field_is_tried() -> None:
    """No field goes untested."""
    tried = " ".join([*TRUE, *STREAM_TRUE, *TLS_TRUE])
    assert [name for name in FIELDS if name not in tried] == []


FLAGS = {
    "dialog.known": "dialog_known",
    "transaction.known": "transaction_known",
    "replay": "replay",
    "registration.foreign": "registration_foreign",
    "challenge.foreign": "challenge_foreign",
}


@pytest.mark.parametrize(("field", "attribute"), FLAGS.items())
def test_what_the_guard_found_out_is_a_field(field: str, attribute: str) -> None:
    """The guard sets a fact, and a rule may ask for it."""
    subject = made()
    assert not holds(field, subject)
    setattr(subject, attribute, True)
    assert holds(field, subject)


@pytest.mark.parametrize(
    ("reason", "condition"),
    [
        (Reason.BARE_LF, "ambiguous"),
        (Reason.BAD_VIA, "malformed"),
        (Reason.BAD_STATUS, "malformed"),
        (Reason.TOO_LARGE, "oversize"),
        (Reason.DUPLICATE_HEADER, "finding in {SIP-12}"),
        (Reason.DUPLICATE_HEADER, "finding in {SIP-1 duplicate-header}"),
    ],
)
def test_findings_are_fields(reason: Reason, condition: str) -> None:
    """Checks find, policy decides."""
    for chain in ("parse", "request"):
        subject = made()
        subject.findings = [Finding(reason)]
        assert holds(condition, subject, chain)
        subject.findings = [Finding(Reason.NO_COOKIE)]
        assert not holds(condition, subject, chain)


def test_a_response_has_a_status() -> None:
    """Responses carry the method of their CSeq."""
    assert holds("status in {400-499} and method == BYE", made(response(481, "BYE")), "response")


def test_mime_depth_counts_multiparts() -> None:
    """A multipart body is one deep."""
    assert holds("mime.depth == 1 and body.type == multipart/mixed", made(MULTIPART))
    broken = MULTIPART.replace(b"--b--", b"--c--").replace(b"boundary=b", b"boundary=d")
    assert holds("mime.depth == 99", made(broken))


def test_absent_values_read_as_documented() -> None:
    """A rule can ask for what is not there."""
    subject = made(request().replace(b"Max-Forwards: 70\r\n", b""))
    assert holds("max_forwards == -1 and expires == -1", subject)
    assert holds('user_agent == "" and body.type == "" and to.tag == ""', subject)
    assert holds("not digest.present and digest.user != x", subject)
    assert not holds('digest.user == ""', subject)


@pytest.mark.parametrize("field", sorted(FIELDS))
@pytest.mark.parametrize(
    "raw",
    [
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: x\r\nFrom: \r\nTo: \r\nCSeq: x\r\nContact: *\r\n\r\n",
        request(headers="Content-Type: application/sdp\r\n", body="not sdp"),
        request(headers="Content-Type: multipart/mixed\r\nAuthorization: Digest\r\n", body="x"),
    ],
)
def test_fields_of_broken_messages_have_values(field: str, raw: bytes) -> None:
    """A rule never raises, whatever is missing from the message."""
    chain = "media" if FIELDS[field].scope is Scope.MEDIA else "request"
    kind = FIELDS[field].kind
    condition = {
        "flag": field,
        "number": f"{field} > 1",
        "octets": f"{field} > 1",
        "seconds": f"{field} > 1",
        "address": f"{field} in {{10.0.0.0/8}}",
        "several addresses": f"{field} in {{10.0.0.0/8}}",
        "several findings": f"{field} in {{SIP-12}}",
        "both media addresses": f"{field} in {{signalling}}",
        "method": f"{field} in {{INVITE}}",
    }.get(kind, f"{field} matches /a/")
    subject = made(raw)
    holds(condition, subject, chain, ZONE)


# --- comparison


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        ("to.user == Bob", False),
        ("from.user == al%69ce", False),
        ("method == Invite", False),
        ("uri.host != example.com", False),
        ("uri.host in {.example.com}", False),
        ("uri.host in {*.com}", True),
        ("uri.host in {.com}", True),
        ("uri.host in {exam*.com}", True),
        ("uri.host in {ample.com}", False),
        ("from.host == uri.host", True),
        ("from.user == uri.user", False),
        ("src == dst", False),
        ('header["X-Host"] == from.host', True),
        ('header["X-Host"] == to.display', False),
        ("src.port < dst.port", True),
        ("digest.user == stir.orig", False),
        ("aib.signer == stir.signer", False),
        ("aib.signer != stir.signer", True),
        ("method in {ACK INVITE}", True),
        ("method not in {ACK BYE}", True),
        ("src.port in {1024-5060}", True),
        ("src.port in {1024-5059 5061}", False),
        ("src.port in 5060", True),
        ("src in 10.0.0.0/8", True),
        ("to.user in {b*}", True),
        ("to.user in {*b}", True),
        ("to.user in {b*b*}", True),
        ("to.user in {a* *c}", False),
        ('to.user in {"\\*ob"}', False),
        ('to.user in {"bo."}', False),
        ("user_agent in {FRIENDLY-*}", True),
        ("user_agent matches /^friendly/", True),
        ("user_agent matches /SCANNER/", True),
        ("to.display matches /^bob$/", False),
        ("to.display matches /^bob$/i", True),
        ("sdp.address in {10.20.0.5}", True),
        ("sdp.address not in {10.20.0.5}", False),
        ("each sdp.address in {10.20.0.5}", False),
        ("each sdp.address in {10.20.0.4/30}", True),
        ("each sdp.media in {audio video}", True),
        ("sdp.media matches /^aud/", True),
        ("sdp.media in {audi}", False),
    ],
)
def test_values_compare_as_documented(condition: str, answer: bool) -> None:
    """Case, wildcards, ranges and unknowns."""
    assert holds(condition, _full()) is answer


def test_users_are_decoded_once() -> None:
    """``%2561`` is ``%61`` and not ``a``: who decodes twice reads another name (SIP-36)."""
    subject = made(request(uri="sip:%2561lice@example.com"))
    assert holds('uri.user == "%61lice" and uri.user != alice', subject)


def test_patterns_see_octets() -> None:
    """One octet is one character, also where it is no UTF-8."""
    raw = request(headers="User-Agent: @\r\n").replace(b"Agent: @", b"Agent: \xff\xfe")
    assert holds("user_agent matches /^..$/", made(raw))


def test_the_first_user_of_credentials_counts() -> None:
    """A second ``username`` cannot put another name behind the first."""
    raw = request(headers='Authorization: Digest username="a", Username=b, realm=r\r\n')
    assert holds("digest.user == a and digest.realm == r", made(raw))


def test_each_needs_one_at_least() -> None:
    """A message without media is not one whose media is all allowed."""
    assert not holds("each sdp.address in {0.0.0.0/0 ::/0}", made())


@pytest.mark.parametrize(
    ("text", "utc_s", "answer"),
    [
        ("mon 12:00-12:01", 1_704_715_200, True),  # 2024-01-08 12:00:00, a Monday
        ("mon 12:00-12:01", 1_704_715_259, True),
        ("mon 12:00-12:01", 1_704_715_260, False),
        ("tue-sun", 1_704_715_200, False),
        ("sat-mon utc", 1_704_715_200, True),
        ("13:00-14:00 +01:00", 1_704_715_200, True),
        ("06:30-07:30 -05:30", 1_704_715_200, True),
        ("mon 22:00-06:00", 1_704_747_600, True),  # Monday 21:00 + 1 h
        ("mon 22:00-06:00", 1_704_772_800, True),  # Tuesday 04:00 belongs to Monday's span
        ("tue 22:00-06:00", 1_704_772_800, False),
        ("sun 23:00-24:00 +01:00", 1_704_664_800, True),  # Sunday 22:00 UTC
        ("08:00-09:00 11:00-13:00", 1_704_715_200, True),
    ],
)
def test_times_are_of_the_message(text: str, utc_s: int, answer: bool) -> None:
    """A capture is judged by its own clock; spans over midnight belong to their first day."""
    if utc_s == 1_704_747_600:
        utc_s += 3600
    assert holds(f"within {text}", made(now=Moment(0.0, float(utc_s)))) is answer


# --- media


@pytest.mark.parametrize(
    ("target", "stream", "answer"),
    [
        ("{signalling}", Stream(), True),
        ("signalling", Stream(), True),
        ("{signalling}", Stream(caller_vouched=False), False),
        ("{signalling}", Stream(callee_vouched=False), False),
        ("{signalling relays}", Stream(callee=Endpoint(octets("198.51.100.40"), 4000)), True),
        (
            "{signalling relays}",
            Stream(callee=Endpoint(octets("198.51.100.40"), 4000), callee_vouched=False),
            True,
        ),
        (
            "relays",
            Stream(
                caller=Endpoint(octets("198.51.100.40"), 4000),
                callee=Endpoint(octets("198.51.100.40"), 4002),
            ),
            True,
        ),
        ("relays", Stream(), False),
        ("{signalling}", Stream(callee=Endpoint(b"", 0)), False),
        ("{signalling 10.0.0.0/8}", Stream(caller_vouched=False), True),
    ],
)
def test_peer_asks_for_both_ends(target: str, stream: Stream, answer: bool) -> None:
    """No pinhole leads to an address that nobody vouches for (PIN-14)."""
    sets = "set relays { 198.51.100.40 }"
    assert holds(f"peer in {target}", made(stream=stream), "media", sets) is answer


def test_the_guard_may_vouch_for_more() -> None:
    """Addresses in ``signalling`` count like those that the stream itself vouches for."""
    stream = Stream(caller_vouched=False)
    subject = made(stream=stream)
    subject.signalling = frozenset({octets(PHONE)})
    assert holds("peer in {signalling}", subject, "media")
    subject.signalling = frozenset({octets(STRANGER), octets(OTHER_PHONE)})
    assert not holds("peer in {signalling}", subject, "media")


def test_an_unkeyed_stream_has_method_none() -> None:
    """``key.method == none`` is what ``not keyed`` looks like in an offer."""
    stream = Stream(keyed=False, keying=Keying(b"", b"", 0))
    assert holds("key.method == none and not keyed", made(stream=stream), "media")

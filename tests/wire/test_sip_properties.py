"""What must hold for any octets: totality, one reading by both ways, linear cost."""

import re
from contextlib import suppress
from pathlib import Path
from time import process_time

import pytest
from attributes import attributes_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.weight import Weight
from sipguard.wire.careful import read_carefully
from sipguard.wire.fields import (
    Via,
    parse_address,
    parse_addresses,
    parse_date,
    parse_vias,
)
from sipguard.wire.memo import NotPlain
from sipguard.wire.message import Ids, Message
from sipguard.wire.plain import known_row
from sipguard.wire.rows import COMPACT, Header, read_row
from sipguard.wire.sip import Kind, classify, parse_message, parse_plain, split_list
from sipguard.wire.uri import aor_key, parse_uri, uri_equal

VECTORS = Path(__file__).parents[1] / "vectors" / "sip"
OCTETS = [path.read_bytes().partition(b"\n\n")[2] for path in sorted(VECTORS.glob("*.sip"))]
TRANSPORTS = st.sampled_from(["udp", "tcp", "tls", "ws", "wss"])

# Pieces of grammar, put together without sense: reaches deeper than random octets.
WORDS = (
    rb'sip: sips: tel: < > " \ ; , = @ : ? tag= branch=z9hG4bK [2001:db8::1] 192.0.2.1 a %41 0'
    rb" 99999999999 INVITE * received= rport info= / - . Digest"
).split()
GAPS = [b" ", b"\t", b"\r\n ", b"\r", b"\n", b"\0", b"\xc3\xa4", b"SIP/2.0/UDP "]
JUNK = st.lists(st.sampled_from(WORDS + GAPS), max_size=24).map(b"".join)
NAMES = st.sampled_from(
    b"Via v From f To Call-ID CSeq Contact m Content-Length l Content-Type Max-Forwards Route Date"
    b" Record-Route Expires Identity Authorization RAck RSeq Session-Expires X-Frog Supported"
    b" Transfer-Encoding Content-Disposition Require Refer-To Subject\xa0 ?".split()
)
STARTS = st.sampled_from(
    [b"INVITE sip:moss@pond.example SIP/2.0", b"SIP/2.0 200 OK", b"REGISTER sip:a SIP/2.0"]
)


@st.composite
def junk_messages(draw: st.DrawFn) -> bytes:
    """Return a message-like text of grammar pieces under real header names."""
    rows = draw(st.lists(st.tuples(NAMES, JUNK), max_size=12))
    start = draw(st.one_of(STARTS, JUNK))
    lines = [start, *(name + b": " + value for name, value in rows)]
    return b"\r\n".join(lines) + draw(st.sampled_from([b"\r\n\r\n", b"\n\n", b""])) + draw(JUNK)


@st.composite
def mutated_messages(draw: st.DrawFn) -> bytes:
    """Return a vector's message with a few octets cut out, put in or doubled."""
    octets = draw(st.sampled_from(OCTETS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(octets)))
        to = min(len(octets), at + draw(st.integers(0, 30)))
        middle = draw(st.one_of(st.just(octets[at:to] * 2), st.binary(max_size=4), JUNK))
        octets = octets[:at] + middle + octets[to:]
    return octets


def read_all(message: Message) -> None:
    """Ask for everything a message can say."""
    for name in (b"via", b"contact", b"subject"):
        message.header(name)
        message.addresses(name)
        for value in message.values(name):
            split_list(value)
    for attribute in dir(Message):
        if isinstance(getattr(Message, attribute), property):
            getattr(message, attribute)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), mutated_messages(), junk_messages()), TRANSPORTS)
def test_parsing_is_total(octets: bytes, transport: str) -> None:
    """No octets raise anything but HostileInput, then or when fields are asked for."""
    classify(octets)
    try:
        message = parse_message(octets, transport)
    except HostileInput:
        return
    read_all(message)
    assert isinstance(message.ids, Ids | None)


@settings(max_examples=300, deadline=None)
@given(JUNK)
def test_field_parsers_are_total(value: bytes) -> None:
    """Each parser returns values of its type or raises HostileInput."""
    assert split_list(value)
    for parser in (parse_uri, parse_address, parse_addresses, parse_vias, parse_date):
        try:
            parser(value)
        except HostileInput:
            continue
    try:
        uri = parse_uri(value)
    except HostileInput:
        return
    assert uri_equal(uri, uri)
    assert aor_key(uri)


def fields_of(value: Header | Ids | Via) -> dict[str, object]:
    """Return all that it says, with its parts."""
    return {
        name: fields_of(field)
        if isinstance(field, Via)
        else [fields_of(via) for via in field]
        if name == "vias" and isinstance(field, tuple)
        else field
        for name, field in attributes_of(value).items()
    }


def facts(message: Message) -> tuple[object, ...]:
    """Return everything that a later room may decide on."""
    return (
        message.method,
        message.uri,
        message.status,
        message.reason_phrase,
        message.request_uri,
        [fields_of(row) for row in message.headers],
        {row.name: message.header(row.name) for row in message.headers},
        message.body,
        message.ids and fields_of(message.ids),
        [fields_of(via) for via in message.vias],
        message.contacts,
        message.sdp_bodies,
        message.findings,
    )


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.sampled_from(OCTETS), mutated_messages(), junk_messages()), TRANSPORTS)
def test_the_plain_way_reads_as_the_careful_way(octets: bytes, transport: str) -> None:
    """Two ways through the parser are one reading, whatever was remembered before."""
    try:
        careful = read_carefully(octets, transport)
    except HostileInput as error:
        with pytest.raises(HostileInput, match=re.escape(error.reason.value)):
            parse_message(octets, transport)
        return
    for _ in range(2):  # the second time from memory
        assert facts(parse_message(octets, transport)) == facts(careful)
    if parse_plain(octets, transport) is not None:
        assert classify(octets) is Kind.SIP


@pytest.mark.parametrize("octets", OCTETS)
def test_vectors_read_the_same_both_ways(octets: bytes) -> None:
    """The same for every vector, not only for those that Hypothesis happens to draw."""
    try:
        careful = read_carefully(octets, "udp")
    except HostileInput:
        return
    assert facts(parse_message(octets)) == facts(careful)


HALF_ROWS = st.sampled_from(
    [
        b"Call-ID: ",
        b"i: ",
        b"Via: SIP/2.0/UDP a.example;branch=z9hG4bK",
        b"Via: SIP/2.0/UDP a.example;rport;branch=z9hG4bK",
        b"From: <sip:a@b.example>;tag=",
        b"To: sip:a@b.example;tag=",
    ]
)


@settings(max_examples=400)
@given(HALF_ROWS, st.one_of(JUNK, st.text("aZ9-.@;=, \t<\x7f", max_size=9).map(str.encode)))
@example(b"Call-ID: ", b"")
@example(b"Call-ID: ", b"@a")
@example(b"Call-ID: ", b"a@")
@example(b"Call-ID: ", b"a@b@c")
@example(b"Via: SIP/2.0/UDP a.example;branch=z9hG4bK", b"")
def test_a_plain_row_is_the_row(half: bytes, rest: bytes) -> None:
    """What the plain way takes has nothing odd and says what the careful way reads."""
    line = half + rest
    try:
        plain = known_row(line)
    except NotPlain:
        return
    row, findings = read_row(line)
    assert not findings
    assert fields_of(plain) == fields_of(row)


SHORT = {long: short for short, long in COMPACT.items()}


def rewrite(octets: bytes, data: st.DataObject) -> bytes:
    """Return the same message in compact, long or mixed-case names, folded where that is legal."""
    head, _, body = octets.partition(b"\r\n\r\n")
    start, *rows = re.split(rb"\r\n(?![ \t])", head)
    lines = [start]
    for row in rows:
        name, _, value = row.partition(b":")
        long = COMPACT.get(name.strip().lower(), name.strip().lower())
        forms = [
            long,
            long.upper(),
            long.title(),
            SHORT.get(long, long),
            SHORT.get(long, long).upper(),
        ]
        colon = data.draw(st.sampled_from([b":", b": ", b" :\t", b" :\r\n  "]))
        lines.append(data.draw(st.sampled_from(forms)) + colon + fold(value.strip(), data))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def fold(value: bytes, data: st.DataObject) -> bytes:
    """Turn some single blanks outside quotes into folds; they mean the same."""
    if any(sign in value for sign in (b'"', b"(", b"  ", b"\r\n")):
        return value
    pieces = value.split(b" ")
    joints = [data.draw(st.sampled_from([b" ", b"\r\n ", b" \r\n\t"])) for _ in pieces[1:]]
    return pieces[0] + b"".join(
        joint + piece for joint, piece in zip(joints, pieces[1:], strict=True)
    )


NAMED_BY = ("call_id", "from_tag", "to_tag", "cseq", "method", "branch", "sent_by")


def meaning(message: Message) -> tuple[object, ...]:
    """Return what the message says, without how its rows were written."""
    return (
        message.method,
        message.ids and [getattr(message.ids, name) for name in NAMED_BY],
        [(row.name, re.sub(rb"[ \t]+", b" ", row.value)) for row in message.headers],
        [(via.transport, via.sent_by, via.branch, via.params) for via in message.vias],
        [(address.uri, address.params) for address in message.contacts],
        message.body,
        message.sdp_bodies,
    )


PLAIN = [octets for octets in OCTETS if octets.partition(b"\r\n\r\n")[1] and b"\r\n" in octets[4:]]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLAIN), st.data())
def test_forms_of_a_header_mean_the_same(octets: bytes, data: st.DataObject) -> None:
    """SIP-10, SIP-11: what passes, passes and reads equal when compact, folded or in other case."""
    try:
        message = parse_message(octets)
    except HostileInput:
        return
    if any(finding.reason.weight is not Weight.NOTE for finding in message.findings):
        return
    again = parse_message(rewrite(octets, data))
    assert [f.reason for f in again.findings] == [f.reason for f in message.findings]
    assert meaning(again) == meaning(message)


def hostile(pattern: bytes, octets: int) -> bytes:
    """Return an INVITE blown up to a size by repeating one pattern."""
    before, _, after = pattern.partition(b"*")
    piece, _, tail = after.partition(b"*")
    start = b"INVITE sip:moss@pond.example SIP/2.0\r\n"
    mandatory = (
        b"Via: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\nFrom: <sip:a@b.example>;tag=1\r\n"
        b"To: <sip:c@d.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n"
    )
    return start + mandatory + before + piece * (octets // len(piece)) + tail + b"\r\n\r\n"


HOSTILE = [
    b"Contact: *,*",
    b"Contact: *<*",
    b'Contact: *"*',
    b'Contact: *"\\*',
    b'Contact: *\\"*',
    b"Contact: <sip:a@b>*;*",
    b"Contact: <sip:a@b>*;a=b*",
    b"Contact: sip:*%41*",
    b"Contact: sip:*a:*@",
    b"Contact: sip:a*;b*?",
    b"Contact: sip:*a.*-",
    b"Contact: <sip:a@[*:*]>",
    b"Contact: <tel:+*1*;>",
    b"From: *;tag=*",
    b"To: *; *tag",
    b'To: *"a" *<',
    b"Via: *SIP/2.0/UDP a,*SIP/2.0/UDP b",
    b"Via: SIP/2.0/UDP a*;branch=z9hG4bK*",
    b"Via: *SIP / *",
    b"*v: SIP/2.0/UDP a;branch=z9hG4bK1\r\n*a: b",
    b"*a:b\r\n*a: b",
    b"Subject: a*\r\n *b",
    b"Subject: a* *\r\n b",
    b"Subject: *\n*b",
    b"Subject: *\r*b",
    b'Subject: *"\\\0*b',
    b'Subject: *"\\"\0*b',
    b'Authorization: Digest *a="b",*c="d"',
    b"Content-Type: a/b*;c=d*",
    b"Content-Length: *1*",
    b"CSeq: *1* INVITE",
    b"CSeq: 1* *INVITE",
    b"Expires: *0,*0",
    b"Identity: *;info *\r\nIdentity: *;info *",
]


def cost_s(octets: bytes) -> float:
    """Return the least of three timings; garbage of other tests must not count."""
    best = 9.0
    for _ in range(3):
        began = process_time()
        with suppress(HostileInput):
            read_all(parse_message(octets))
        best = min(best, process_time() - began)
    return best


@pytest.mark.parametrize("pattern", HOSTILE, ids=repr)
def test_cost_grows_linearly(pattern: bytes) -> None:
    """Four times the octets may cost about four times the time, never the square (16 times)."""
    small, large = cost_s(hostile(pattern, 16_000)), cost_s(hostile(pattern, 64_000))
    assert large < max(small * 10, 0.002)
    assert large < 0.25

"""wire.multipart: exact spans, one strict reading, no hidden session (SIP-50 to SIP-56)."""

import base64
import contextlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.multipart import (
    MAX_DEPTH,
    MAX_PART_HEADERS,
    MAX_PARTS,
    notes,
    parse_content_type,
    parse_disposition,
    sessions,
    split_multipart,
    walk,
)

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))

MIXED = b"multipart/mixed;boundary=b"
SDP_A = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n"
SDP_B = b"v=0\r\no=- 2 2 IN IP4 192.0.2.2\r\n"
SDP_TYPE = b"Content-Type: application/sdp\r\n"


def multipart(*parts: bytes, boundary: bytes = b"b") -> bytes:
    """Join parts, each with its own headers and blank line."""
    dash = b"--" + boundary
    return b"".join(dash + b"\r\n" + part + b"\r\n" for part in parts) + dash + b"--\r\n"


def contents(body: bytes, boundary: bytes = b"b") -> list[bytes]:
    return [body[part.start : part.end] for part in split_multipart(body, boundary)]


def refusal(body: bytes, boundary: bytes = b"b") -> Reason:
    with pytest.raises(HostileInput) as caught:
        split_multipart(body, boundary)
    return caught.value.reason


# --- splitting


def test_the_line_end_before_a_delimiter_belongs_to_the_delimiter() -> None:
    """A signature covers the part without it (RFC 2046 section 5.1.1, SIP-50)."""
    body = (
        b"preamble\r\n--b\r\nContent-Type: a/b\r\n\r\none\r\n"
        b"\r\n--b \t\r\n\r\ntwo\r\n--b--\r\nepilogue"
    )
    first, second = split_multipart(body, b"b")
    assert body[first.part_start : first.end] == b"Content-Type: a/b\r\n\r\none\r\n"
    assert body[first.start : first.end] == b"one\r\n"
    assert body[second.part_start : second.end] == b"\r\ntwo"
    assert body[second.start : second.end] == b"two"


def test_a_part_knows_what_it_is() -> None:
    """Headers in order with lower-case names and unfolded values."""
    body = multipart(
        b"CONTENT-type: Application/SDP;\r\n\tcharset=utf-8\r\nContent-ID : <x@y>\r\n\r\nv=0"
    )
    (part,) = split_multipart(body, b"b")
    assert part.headers == (
        (b"content-type", b"Application/SDP; charset=utf-8"),
        (b"content-id", b"<x@y>"),
    )
    assert (part.start, part.end) == (body.index(b"v=0"), body.index(b"v=0") + 3)
    assert (part.part_start, part.depth) == (5, 1)
    assert part.content_type == b"application/sdp"
    assert (part.disposition, part.handling) == (b"session", b"required")


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=MAX_PARTS),
    st.binary(max_size=20),
    st.sampled_from([b"b", b"a b", b"=_:?/.,-+()'", b"x" * 70]),
)
def test_any_octets_come_through_unchanged(
    parts: list[bytes], around: bytes, boundary: bytes
) -> None:
    """SIP is 8-bit clean (SIP-55): NUL, bare CR and LF, dashes, whatever a part holds."""
    if b"--" + boundary in b"\r\n".join([around, *parts]):
        return
    body = around + b"\r\n" + multipart(*(b"\r\n" + p for p in parts), boundary=boundary) + around
    assert contents(body, boundary) == parts


@pytest.mark.parametrize(
    ("part", "content"),
    [(b"", b""), (b"\r\n", b""), (b"\r\nx", b"x"), (b"A: b\r\n", b""), (b"A: b\r\n\r\n", b"")],
)
def test_headers_and_content_may_be_empty(part: bytes, content: bytes) -> None:
    """A blank line at once, or headers alone (RFC 2046's body-part, SIP-51)."""
    assert contents(multipart(part)) == [content]


def test_defaults_of_a_part_without_headers() -> None:
    """text/plain, rendered, required; message/rfc822 in a digest (SIP-51, SIP-53)."""
    (plain,) = split_multipart(multipart(b"\r\nhello"), b"b")
    assert (plain.content_type, plain.disposition, plain.handling) == (
        b"text/plain",
        b"render",
        b"required",
    )
    (inner,) = walk(b"multipart/digest;boundary=b", multipart(b"\r\nhello"))
    assert inner.content_type == b"message/rfc822"


def test_disposition_and_handling_are_read() -> None:
    """handling=optional decides whether an unknown part matters (SIP-53)."""
    (part,) = split_multipart(
        multipart(b"Content-Disposition: Signal; x=y; HANDLING=Optional\r\n\r\n"), b"b"
    )
    assert (part.disposition, part.handling) == (b"signal", b"optional")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n",
        b"--b--",
        b"--b--\r\n",
        b"--b\r\n--b--",
        b"--b\r\n\r\nx\r\n--b",
        b"--b\r\n\r\nx\r\n--b\r\n",
        b"--b\r\n\r\nx--b--",
        b"\n--b\r\n\r\nx\r\n--b--",
        b"x\n--b\r\n\r\nx\r\n--b--",
        b"--b\n\r\nx\r\n--b--",
        b"--b\r\n\r\nx\n--b--",
        b"--b\r\n\r\nx\r--b\r\n--b--",
        b"--b\r\n\r\nx\r\n--bc\r\n--b--",
        b"--b\r\n\r\nx\r\n--b--c\r\n",
        b"--b\r\n\r\nx\r\n--b -- \r\n",
        b"--b\r\n\r\nx\r\n--b--\r\n--b\r\n",
        b"--b\r\n\r\nx\r\n--b--\r\nepilogue\n--b",
        b"--b\r\nno header\r\n\r\nx\r\n--b--",
        b"--b\r\nno blank line\r\n--b--",
        b"--b\r\nA: b\r\n--b--",
        b"--b\r\nA: b\n\r\n\r\n--b--",
        b"--b\r\nA: \x00\r\n\r\n--b--",
        b"--b\r\nA: b\rC: d\r\n\r\n--b--",
        b"--b\r\n folded: x\r\n\r\n--b--",
        b"--b\r\nContent-Type: text\r\n\r\n--b--",
        b"--b\r\nContent-Disposition: ;x\r\n\r\n--b--",
        b"--b\r\nContent-Type: a/b\r\nc: application/sdp\r\n\r\n--b--",
        b"--b\r\nContent-Disposition: render\r\nContent-Disposition: session\r\n\r\n--b--",
    ],
)
def test_whatever_two_parsers_could_split_differently_is_refused(body: bytes) -> None:
    """No session can be shown to one reader and hidden from another (GEN-1, SIP-50)."""
    assert refusal(body) is Reason.BAD_MULTIPART


@pytest.mark.parametrize(
    "boundary", [b"", b"x" * 71, b"ends ", b"a*b", b"a\r\nb", b"a\x00b", b"\xff"]
)
def test_an_unusable_boundary_is_refused(boundary: bytes) -> None:
    """1 to 70 bchars, not ending in a space (RFC 2046 section 5.1.1)."""
    assert refusal(multipart(b"\r\nx", boundary=boundary), boundary) is Reason.BAD_MULTIPART


def test_limits_hold() -> None:
    """Sixteen parts and four levels pass, one more does not (SIP-52)."""
    assert len(contents(multipart(*[b"\r\n"] * MAX_PARTS))) == MAX_PARTS
    assert refusal(multipart(*[b"\r\n"] * (MAX_PARTS + 1))) is Reason.MULTIPART_LIMIT
    assert contents(multipart(b"A: b\r\n" * MAX_PART_HEADERS)) == [b""]
    assert refusal(multipart(b"A: b\r\n" * (MAX_PART_HEADERS + 1))) is Reason.MULTIPART_LIMIT
    assert [part.depth for part in walk(*nested(MAX_DEPTH))] == [1, 2, 3, 4]
    with pytest.raises(HostileInput) as caught:
        walk(*nested(MAX_DEPTH + 1))
    assert caught.value.reason is Reason.MULTIPART_LIMIT


def test_the_limit_of_parts_counts_inner_ones() -> None:
    """Two multiparts of nine are nineteen or more parts, not two."""
    inner = b"Content-Type: multipart/mixed;boundary=i\r\n\r\n" + multipart(
        *[b"\r\n"] * 9, boundary=b"i"
    )
    assert len(walk(MIXED, multipart(inner))) == 10
    with pytest.raises(HostileInput) as caught:
        walk(MIXED, multipart(inner, inner))
    assert caught.value.reason is Reason.MULTIPART_LIMIT


def nested(levels: int) -> tuple[bytes, bytes]:
    """Return type and body of *levels* multiparts around one text."""
    kind, body = b"text/plain", b"core"
    for level in range(levels):
        boundary = b"level%d" % level
        body = multipart(b"Content-Type: " + kind + b"\r\n\r\n" + body, boundary=boundary)
        kind = b"multipart/mixed;boundary=" + boundary
    return kind, body


def test_spans_of_inner_parts_point_into_the_whole_body() -> None:
    """What a signature inside a signature covers is found in the octets received."""
    kind, body = nested(3)
    deepest = walk(kind, body)[-1]
    assert body[deepest.start : deepest.end] == b"core"
    assert body[deepest.part_start : deepest.end] == b"Content-Type: text/plain\r\n\r\ncore"


def test_a_plain_body_is_one_part() -> None:
    """Callers need not ask first whether a body is a multipart."""
    (part,) = walk(b"application/sdp", SDP_A)
    assert (part.headers, part.start, part.end, part.part_start) == ((), 0, len(SDP_A), 0)
    assert (part.content_type, part.depth) == (b"application/sdp", 0)
    assert (part.disposition, part.handling) == (b"session", b"required")
    assert walk(b"", b"")[0].content_type == b"text/plain"


@pytest.mark.parametrize(
    "body",
    [
        b"--b" * 20_000,
        b"\r\n--b" * 12_000,
        b"\r\n--b-" * 12_000,
        b"--b\r\n\r\n" + b"--b-" * 15_000 + b"\r\n--b--",
        b"--b\r\n\r\n" + b"\r\n--" * 15_000 + b"\r\n--b--",
        b"--b\r\n" + b"A:b\r\n " * 9_000,
        b"--b\r\n" + b"\r\n" * 30_000,
        b"--b" + b" " * 60_000,
        b"--b\r\nContent-Type: a/b" + b";c=d" * 14_000 + b"\r\n\r\n--b--",
        b'--b\r\nContent-Type: a/b;c="' + b"\\a" * 30_000 + b"\r\n\r\n\r\n--b--",
    ],
)
def test_hostile_bodies_cost_linear_time(body: bytes) -> None:
    """60 KB of look-alikes must not stall the queue; quadratic time would take minutes."""
    started = time.perf_counter()
    with contextlib.suppress(HostileInput):
        split_multipart(body, b"b")
    assert time.perf_counter() - started < 0.5


# --- sessions


def part(headers: bytes, content: bytes) -> bytes:
    return headers + b"\r\n" + content


@pytest.mark.parametrize(
    ("content_type", "disposition", "expected"),
    [
        (b"application/sdp", b"", (SDP_A,)),
        (b"Application/SDP ; charset=utf-8", b"", (SDP_A,)),
        (b"application/sdp", b"Session;handling=required", (SDP_A,)),
        (b"application/sdp", b"early-session", ()),
        (b"text/plain", b"", ()),
        (b"", b"", ()),
    ],
)
def test_the_session_of_a_plain_body(
    content_type: bytes, disposition: bytes, expected: tuple[bytes, ...]
) -> None:
    """SDP is a session unless its disposition says otherwise (SIP-53)."""
    assert sessions(content_type, disposition, SDP_A) == expected
    assert sessions(content_type, disposition, b"") == ()


def test_every_session_of_a_mixed_body_is_found() -> None:
    """A second one hidden deeper makes the message ambiguous (SIP-54)."""
    inner = multipart(part(SDP_TYPE, SDP_B), boundary=b"i")
    body = multipart(
        part(SDP_TYPE, SDP_A),
        part(b"Content-Type: multipart/unheard-of;boundary=i\r\n", inner),
        part(SDP_TYPE + b"Content-Disposition: early-session\r\n", SDP_B),
    )
    assert sessions(MIXED, b"", body) == (SDP_A, SDP_B)


def test_a_compact_header_in_a_part_hides_nothing() -> None:
    """Stacks that read parts with their SIP parser take "c:" for Content-Type."""
    assert sessions(MIXED, b"", multipart(part(b"c: application/sdp\r\n", SDP_A))) == (SDP_A,)


def test_the_last_alternative_with_a_session_wins() -> None:
    """RFC 2046 section 5.1.4; a multipart around the session does not hide it (SIP-52)."""
    nested_b = part(
        b"Content-Type: multipart/related;boundary=i\r\n",
        multipart(part(SDP_TYPE, SDP_B), boundary=b"i"),
    )
    kind = b"multipart/alternative;boundary=b"
    text = part(b"Content-Type: text/html\r\n", b"hello")
    assert sessions(kind, b"", multipart(part(SDP_TYPE, SDP_A), nested_b, text)) == (SDP_B,)
    assert sessions(kind, b"", multipart(nested_b, part(SDP_TYPE, SDP_A))) == (SDP_A,)
    assert sessions(kind, b"", multipart(text)) == ()


def test_two_alternatives_of_one_type_are_refused() -> None:
    """For sessions no two may share a type (RFC 5621, SIP-52)."""
    body = multipart(part(SDP_TYPE, SDP_A), part(SDP_TYPE, SDP_B))
    with pytest.raises(HostileInput) as caught:
        sessions(b"multipart/alternative;boundary=b", b"", body)
    assert caught.value.reason is Reason.BAD_MULTIPART


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        (b"Content-Transfer-Encoding: 8BIT\r\n", SDP_A),
        (
            b"Content-Transfer-Encoding: base64\r\n",
            base64.encodebytes(SDP_A).replace(b"\n", b"\r\n"),
        ),
        (b"Content-Transfer-Encoding: quoted-printable\r\n", SDP_A.replace(b"=", b"=3D")),
        (b"Content-Encoding: identity\r\n", SDP_A),
    ],
)
def test_a_session_is_read_through_its_transfer_encoding(headers: bytes, content: bytes) -> None:
    """What the endpoint will decode, we decode (SIP-55)."""
    assert sessions(MIXED, b"", multipart(part(SDP_TYPE + headers, content))) == (SDP_A,)


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Transfer-Encoding: x-uuencode\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Encoding: gzip\r\n",
    ],
)
def test_a_session_that_cannot_be_read_is_refused(headers: bytes) -> None:
    """No hole for a session we did not see (GEN-2, SIP-55)."""
    with pytest.raises(HostileInput) as caught:
        sessions(MIXED, b"", multipart(part(SDP_TYPE + headers, SDP_A)))
    assert caught.value.reason is Reason.CONTENT_ENCODING
    assert sessions(MIXED, b"", multipart(part(headers, SDP_A))) == ()


def test_a_wrong_length_of_a_part_is_only_noted() -> None:
    """RFC 3893's own examples carry some; boundaries decide (SIP-56)."""
    right, wrong = b"Content-Length: 5\r\n\r\nhello", b"l: 17\r\n\r\nhello"
    assert notes(MIXED, multipart(right)) == ()
    (note,) = notes(MIXED, multipart(right, wrong))
    assert (note.reason, note.rule, note.octets) == (Reason.PART_LENGTH, "SIP-56", b"17")


# --- header values


@pytest.mark.parametrize(
    ("value", "kind", "parameters"),
    [
        (b"application/sdp", b"application/sdp", {}),
        (b"Text / HTML ; Charset = UTF-8", b"text/html", {b"charset": b"UTF-8"}),
        (b'multipart/mixed;boundary="a b:c"', b"multipart/mixed", {b"boundary": b"a b:c"}),
        (rb'a/b;c="\"\\d";e=f', b"a/b", {b"c": rb'"\d', b"e": b"f"}),
        (b'a/b;c=""', b"a/b", {b"c": b""}),
        (b'a/b;c="\xc3\xa4;=/"', b"a/b", {b"c": b"\xc3\xa4;=/"}),
        (b"a/b;c=" + b"d" * 600, b"a/b", {b"c": b"d" * 600}),
    ],
)
def test_content_type_is_read(value: bytes, kind: bytes, parameters: dict[bytes, bytes]) -> None:
    """Type and parameter names in lower case, values as they are, quotes undone."""
    assert parse_content_type(value) == (kind, parameters)


@pytest.mark.parametrize(
    "value",
    [b"", b"text", b"/x", b"text/", b"a/b;", b"a/b;c", b"a/b;c=", b"a/b;=d", b"a/b c=d", b"a/b,c/d",
     b'a/b;c="d', b'a/b;c="d"e', b"a/b;c=d;C=e", b"a/b;c=d e", b"a/b;boundary=a:b", b"a/b;c=\x00",
     b'a/b;c="\x07"', b'a/b;c="\r\n"', b"a/b (comment)", b"\xe4/b"],
)  # fmt: skip
def test_a_malformed_content_type_is_refused(value: bytes) -> None:
    """A boundary with a colon must be quoted (SIP-50); a doubled parameter is ambiguous."""
    with pytest.raises(HostileInput) as caught:
        parse_content_type(value)
    assert caught.value.reason is Reason.BAD_CONTENT_TYPE


def test_disposition_defaults_to_required() -> None:
    """Missing handling means required (RFC 3261 section 20.11)."""
    assert parse_disposition(b"Session") == (b"session", b"required")
    assert parse_disposition(b"aib; handling=optional") == (b"aib", b"optional")


# --- totality

hostile_bodies = st.lists(
    st.one_of(
        st.sampled_from(
            [b"--b", b"--", b"\r\n", b"\n", b"\r", b" ", b"x", b"\x00", b"--b--", b"\r\n--b\r\n",
             b"\r\n--i\r\n", b"\r\n--i--",
             b"Content-Type: multipart/alternative;boundary=i\r\n\r\n",
             b"Content-Type: multipart/mixed;boundary=b\r\n\r\n", b"\r\n--b--\r\n", SDP_TYPE,
             b"Content-Transfer-Encoding: base64\r\n", b"Content-Disposition: session\r\n"]
        ),
        st.binary(max_size=8),
    ),
    max_size=24,
).map(b"".join)  # fmt: skip


@given(hostile_bodies)
def test_splitting_is_total(body: bytes) -> None:
    """No body raises anything but HostileInput; spans are in order and never overlap."""
    try:
        parts = split_multipart(body, b"b")
    except HostileInput:
        return
    ends = [at for part in parts for at in (part.part_start, part.start, part.end)]
    assert ends == sorted(ends)
    assert ends[-1] <= len(body)
    assert all(b"\r\n--b" not in body[part.part_start : part.end] for part in parts)


@given(st.sampled_from([MIXED, b"multipart/alternative;boundary=b"]), hostile_bodies)
def test_walking_and_sessions_are_total(kind: bytes, body: bytes) -> None:
    """No body raises anything but HostileInput; a session lies within the body."""
    try:
        parts = walk(kind, body)
        notes(kind, body)
        found = sessions(kind, b"", body)
    except HostileInput:
        return
    assert len(found) <= len(parts) <= MAX_PARTS


@given(st.binary(max_size=64) | st.text('a/;="\\ \t', max_size=24).map(str.encode))
def test_header_values_are_total(value: bytes) -> None:
    """No octets raise anything but HostileInput."""
    for parse in (parse_content_type, parse_disposition):
        with contextlib.suppress(HostileInput):
            parse(value)


def test_real_bodies_of_the_corpus() -> None:
    """RFC 4475's binary part and RFC 6216's signed message split where OpenSSL splits them."""
    torture = CORPUS / "torture/rfc4475/mpart01.dat"
    if not torture.is_file():
        return
    body = torture.read_bytes().partition(b"\r\n\r\n")[2]
    text, signature = walk(b"multipart/mixed;boundary=7a9cbec02ceef655", body)
    assert body[text.start : text.end] == b"Hello"
    assert body[signature.start : signature.start + 2] == b"\x30\x82"  # DER, to its last octet
    declared = int.from_bytes(body[signature.start + 2 : signature.start + 4], "big")
    assert signature.end - signature.start == declared + 4

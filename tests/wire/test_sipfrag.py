"""Pieces of SIP messages: one strict reading (RFC 3420; AIB-2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.sipfrag import MAX_FRAGMENT_OCTETS, Sipfrag, parse_sipfrag

# In the shape of RFC 3893 section 3, with our own names.
FRAGMENT = (
    b"From: Alice <sip:alice@example.com>\r\n"
    b"To: Bob <sip:bob@example.net>\r\n"
    b"Contact: <sip:alice@pc33.example.com>\r\n"
    b"Date: Mon, 21 Sep 2026 13:33:20 GMT\r\n"
    b"Call-ID: a84b4c76e66710\r\n"
    b"CSeq: 314159 INVITE\r\n"
)


def why(octets: bytes) -> str:
    """The detail of the refusal."""
    with pytest.raises(HostileInput) as caught:
        parse_sipfrag(octets)
    assert caught.value.reason is Reason.AIB_BAD_FRAGMENT
    return caught.value.detail


def read(octets: bytes) -> Sipfrag | Reason:
    """The fragment, or why there is none."""
    try:
        return parse_sipfrag(octets)
    except HostileInput as error:
        return error.reason


def test_aib_2_a_fragment_of_headers_alone() -> None:
    """What nearly every AIB is."""
    fragment = parse_sipfrag(FRAGMENT)
    assert fragment.start is None
    assert fragment.names() == (b"from", b"to", b"contact", b"date", b"call-id", b"cseq")
    assert fragment.header(b"call-id") == b"a84b4c76e66710"
    assert fragment.rows(b"from")[0].addresses[0].uri.host == b"example.com"
    assert fragment.rows(b"cseq")[0].cseq == (314159, b"INVITE")
    assert fragment.rows(b"date")[0].number == 1789997600
    assert fragment.header(b"subject") is None
    assert fragment.body == b""


@pytest.mark.parametrize(
    "octets",
    [
        b"INVITE sip:bob@example.net SIP/2.0\r\n",
        b"SIP/2.0 603 Declined\r\n",
        b"SIP/2.0 603 Declined",
        b"REGISTER sip:example.com SIP/2.0\r\nTo: sip:joe@example.com\r\n"
        b"Contact: <sip:joe@a.example.com>;q=0.9,\r\n <sip:joe@b.example.com>;q=0.1\r\n",
        b"f: sip:joe@example.com\r\ni: x\r\n",
        b"Call-ID: x\r\n\r\n",
        b"Call-ID: x\r\nContent-Length: 147\r\n",
        b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi",
        b"Content-Type: text/plain\r\n\r\nhi",
    ],
)
def test_aib_2_what_rfc_3420_allows(octets: bytes) -> None:
    """A start line alone, headers alone, compact names, folds, a described body."""
    assert isinstance(parse_sipfrag(octets), Sipfrag)


@pytest.mark.parametrize(
    ("octets", "detail"),
    [
        (b"", "neither start line nor header"),
        (b"\r\nCall-ID: x\r\n", "an empty line at its start"),
        (b"INVITE\r\n", "start line: no SIP start line"),
        (b"INVITE sip:bob@example.net\r\n", "start line: no SIP start line"),
        (b"SIP/3.0 200 OK\r\n", "start line not well formed"),
        (b"From: <sip:a@example.com>;tag=1;tag=2\r\n", "duplicate-parameter"),
        (b"From: <sip:a@example.com>\r\nf: <sip:b@example.com>\r\n", "stands twice"),
        (b"From: <sip:a@example.com>\r\nFrom: <sip:a@example.com>\r\n", "stands twice"),
        (b"Contact: *\r\nContact: <sip:a@example.com>\r\n", "* beside another Contact"),
        (b"From: <sip:a@@example.com>\r\n", "bad-uri"),
        (b"CSeq: x INVITE\r\n", "bad-cseq"),
        (b"Date: yesterday\r\n", "bad-date"),
        (b"Date: Sun, 21 Sep 2026 13:33:20 GMT\r\n", "bad-date"),
        (b"Call-ID: x\nFrom: <sip:a@example.com>\r\n", "not CRLF"),
        (b"Call-ID: x\rFrom: <sip:a@example.com>\r\n", "not CRLF"),
        (b"Subject: a\x00b\r\n", "control-octet"),
        (b" Call-ID: x\r\n", "a fold of nothing"),
        (b"Subject: a\r\n \r\nCall-ID: x\r\n", "a fold of nothing"),
        (b"Call-ID: x\r\n\r\nbody", "without Content-Type"),
        (b"Content-Type: text/plain\r\nContent-Length: 3\r\n\r\nhi", "3 octets announced, 2"),
        (b"Call-ID: x\r\nINVITE sip:b@example.net SIP/2.0\r\n", "bad-header-line"),
        (b"X: 1\r\n" * 65, "more than 64 headers"),
        (b"X: 1" + b"\r\n 2" * 300, "more than 64 headers"),
        (b"X: " + b"y" * MAX_FRAGMENT_OCTETS, "larger than 16384 octets"),
    ],
)
def test_aib_2_what_no_valid_message_can_leave_behind(octets: bytes, detail: str) -> None:
    """A partial start line, two From, a double tag, bare line ends, an undescribed body."""
    assert detail in why(octets)


PIECES = st.sampled_from(
    [
        b"From: Alice <sip:alice@example.com>;tag=1\r\n",
        b"Contact: *\r\n",
        b"Date: Mon, 21 Sep 2026 13:33:20 GMT\r\n",
        b"INVITE sip:bob@example.net SIP/2.0\r\n",
        b"\r\n",
        b" fold\r\n",
        b"Content-Length: 4\r\n",
        b'X: "a\\',
        b"\n",
        b"\r",
        b"Via: SIP/2.0/UDP x",
        b"<",
        b",",
        b";tag=",
    ]
)


@given(st.one_of(st.binary(max_size=300), st.lists(PIECES | st.binary(max_size=8)).map(b"".join)))
def test_the_parser_is_total(octets: bytes) -> None:
    """No octets raise anything but HostileInput with the one reason."""
    fragment = read(octets)
    if isinstance(fragment, Reason):
        assert fragment is Reason.AIB_BAD_FRAGMENT
        return
    assert fragment.headers or fragment.start
    assert all(header.name for header in fragment.headers)


@given(st.integers(0, len(FRAGMENT) - 1), st.integers(1, 255))
def test_one_other_octet_never_escapes(at: int, flip: int) -> None:
    """A damaged fragment is refused or read; a second From is never overlooked."""
    octets = FRAGMENT[:at] + bytes([FRAGMENT[at] ^ flip]) + FRAGMENT[at + 1 :]
    fragment = read(octets)
    if isinstance(fragment, Reason):
        assert fragment is Reason.AIB_BAD_FRAGMENT
        return
    assert len(fragment.rows(b"from")) <= 1

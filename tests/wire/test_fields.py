"""Field values: addresses, Via, CSeq, dates, numbers, lists."""

import pytest

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.fields import (
    parse_address,
    parse_addresses,
    parse_cseq,
    parse_date,
    parse_delta,
    parse_rack,
    parse_via,
    parse_vias,
)
from sipguard.wire.memo import MAX_LINE_OCTETS, MAX_LINES, Memo
from sipguard.wire.reader import read_number, split_list


def reason_of(parser: object, value: bytes) -> Reason:
    """Return why a parser refuses a value."""
    assert callable(parser)
    with pytest.raises(HostileInput) as caught:
        parser(value)
    return caught.value.reason


def test_without_brackets_parameters_belong_to_the_header() -> None:
    """SIP-35: the same text means two things with and without ``<>``."""
    bare = parse_address(b"sip:a@b;lr;tag=1")
    assert (bare.uri.params, bare.tag) == ((), b"1")
    assert bare.params == ((b"lr", b""), (b"tag", b"1"))
    inside = parse_address(b"<sip:a@b;lr;tag=1>")
    assert (inside.uri.param(b"tag"), inside.tag, inside.params) == (b"1", b"", ())


def test_quoted_names_may_hold_anything() -> None:
    """A tag or URI inside a quoted name is only a name."""
    address = parse_address(b'"x <sip:evil@e>;tag=9 \\" ," <sip:a@b>;tag=1')
    assert (address.uri.raw, address.tag) == (b"sip:a@b", b"1")
    assert address.display == b'"x <sip:evil@e>;tag=9 \\" ,"'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.BAD_URI),
        (b"<>", Reason.BAD_URI),
        (b'"a <sip:a@b>', Reason.BAD_ADDRESS),
        (b'"a" b <sip:a@b>', Reason.BAD_ADDRESS),
        (b'"a" sip:a@b', Reason.BAD_ADDRESS),
        (b"a@b <sip:a@b>", Reason.BAD_ADDRESS),
        (b"<sip:a@b> x", Reason.BAD_ADDRESS),
        (b'<sip:a@b>;x="y', Reason.BAD_ADDRESS),
        (b"<sip:a@b>;tag=1;tag=2", Reason.DUPLICATE_PARAMETER),
        (b"sip:a@b?x=y", Reason.BAD_ADDRESS),
        (b"sip:a,b@c", Reason.BAD_ADDRESS),
    ],
)
def test_addresses_are_never_repaired(value: bytes, reason: Reason) -> None:
    """A repaired From is not the From that was signed (SIP-35)."""
    assert reason_of(parse_address, value) is reason


def test_lists_keep_order_and_quotes() -> None:
    """Commas in quotes and in brackets do not separate."""
    value = b'"a, b" <sip:a@b;x=1>;q=1 , <sip:c,d@e>,sip:f@g'
    assert [address.uri.raw for address in parse_addresses(value)] == [
        b"sip:a@b;x=1",
        b"sip:c,d@e",
        b"sip:f@g",
    ]
    assert split_list(b'a,"b,\\",c",<d,e>, f ') == [b"a", b'"b,\\",c"', b"<d,e>", b"f"]
    assert split_list(b'a,"b,c') == [b"a", b'"b,c']
    assert split_list(b"") == [b""]
    assert reason_of(parse_addresses, b"<sip:a@b>,") is Reason.BAD_ADDRESS
    assert reason_of(parse_vias, b"SIP/2.0/UDP a," * 300) is Reason.TOO_MANY_HEADERS


def test_via_is_normalized_for_matching() -> None:
    """TXN-1 compares sent-by with its port: absent means the transport's default."""
    via = parse_via(b"SIP / 2.0 /\ttls Pond.Example ;branch=z9hG4bKa;received=192.0.2.7;rport=6000")
    assert (via.transport, via.host, via.port) == (b"TLS", b"pond.example", 0)
    assert via.sent_by == b"pond.example:5061"
    assert (via.branch, via.received, via.rport) == (b"z9hG4bKa", b"192.0.2.7", 6000)
    assert parse_via(b"SIP/2.0/UDP a:5060").sent_by == parse_via(b"SIP/2.0/UDP A").sent_by
    assert parse_via(b"SIP/2.0/UDP [2001:DB8::1]:9").sent_by == b"[2001:db8::1]:9"
    assert parse_via(b"SIP/2.0/UDP a").rport == -1


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"SIP/2.0/UDP",
        b"SIP/2.0 a",
        b"SIP/2.0/UDP/x a",
        b"/2.0/UDP a",
        b"SIP/2.0/UDP a b",
        b"SIP/2.0/UDP a:",
        b"SIP/2.0/UDP a:x",
        b"SIP/2.0/UDP [::1]x:1",
        b"SIP/2.0/UDP ::1",
        b"SIP/2.0/UDP a;",
        b"SIP/2.0/UDP a;rport=65536",
        b"SIP/2.0/UDP a;branch",
        b'SIP/2.0/UDP a;branch="z9hG4bKx"',
    ],
)
def test_malformed_vias(value: bytes) -> None:
    """Where a response would go must be beyond doubt (SIP-38)."""
    assert reason_of(parse_via, value) is Reason.BAD_VIA


def test_cseq_numbers() -> None:
    """SIP-30: leading zeros are legal, 2**31 is not."""
    assert parse_cseq(b"00000000000000009 \t INVITE") == (9, b"INVITE")
    assert parse_cseq(b"2147483647 A")[0] == 2**31 - 1
    for value in (b"2147483648 A", b"-1 A", b"1", b"1A", b" 1 A", b"1 A B", b"\xb2 A", b"1_0 A"):
        assert reason_of(parse_cseq, value) is Reason.BAD_CSEQ


def test_numbers_are_digits_alone() -> None:
    """What ``int`` would also take is refused, and long digit strings cost nothing."""
    assert [read_number(value) for value in (b"0", b"007", b"9" * 10, b"0" * 50_000 + b"1")] == [
        0,
        7,
        9_999_999_999,
        1,
    ]
    for value in (b"", b"+1", b"-1", b" 1", b"1_0", b"\xd9\xa1", b"9" * 60_000):
        assert read_number(value) == -1


def test_rack_and_delta() -> None:
    """RFC 3262 section 7.2; RFC 3261 section 20.19."""
    assert parse_rack(b"776656 1 INVITE") == (776656, 1, b"INVITE")
    assert parse_delta(b"1800;refresher=uas") == 1800
    for value in (b"1 INVITE", b"1 2 3 4", b"a 1 B", b"1 2 \x80"):
        assert reason_of(parse_rack, value) is Reason.BAD_HEADER_LINE
    for value in (b"", b"x", b"4294967296"):
        assert reason_of(parse_delta, value) is Reason.BAD_EXPIRES


def test_dates() -> None:
    """SIP-41: one form, GMT, case-sensitive; a wrong weekday is told, not refused."""
    assert parse_date(b"Thu, 01 Jan 1970 00:00:00 GMT") == (0, True)
    assert parse_date(b"Fri, 29 Feb 2036 23:59:59 GMT") == (2087942399, True)
    assert parse_date(b"Mon, 01 Jan 1970 00:00:01 GMT") == (1, False)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Thu, 01 Jan 1970 00:00:00 EST",
        b"thu, 01 Jan 1970 00:00:00 GMT",
        b"Thu, 1 Jan 1970 00:00:00 GMT",
        b"Thu, 01 JAN 1970 00:00:00 GMT",
        b"Thu,01 Jan 1970 00:00:00 GMT",
        b"Thu, 30 Feb 1970 00:00:00 GMT",
        b"Thu, 01 Jan 1970 24:00:00 GMT",
        b"Thu, 01 Jan 1970 00:00:61 GMT",
        b"Thu, 01 Jan 0000 00:00:00 GMT",
        b"Thu, 01 Jan 1970 00:00 GMT",
        b"Thu, 01 Jan 1970 00:00:00 GMT ",
        b"Thu, +1 Jan 1970 00:00:00 GMT",
    ],
)
def test_malformed_dates(value: bytes) -> None:
    """A date that identity depends on is exact or none."""
    assert reason_of(parse_date, value) is Reason.BAD_DATE


def test_memory_of_lines_is_bounded() -> None:
    """GEN-3: neither many lines, nor long ones pile up."""
    reads: list[bytes] = []

    def read(line: bytes) -> int:
        reads.append(line)
        return len(line)

    memo = Memo(read)
    assert (memo[b"abc"], memo[b"abc"], reads) == (3, 3, [b"abc"])
    for line in (b"a" * (MAX_LINE_OCTETS + 1), b"," * 17, b";" * 13):
        assert memo[line] == len(line)
        assert memo.known(line) is None
    for number in range(5 * MAX_LINES):
        assert memo[b"%d" % number] == len(b"%d" % number)
        assert memo[b"abc"] == 3
        assert len(memo) <= 2 * MAX_LINES + 1
    assert reads.count(b"abc") == 1  # what is in use survives the turn of generations

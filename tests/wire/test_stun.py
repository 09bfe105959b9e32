"""wire.stun: known on a SIP port for what it is (SIP-1, TLS-30), read on a media port (PIN-13)."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stun_builder import (
    CONTROLLED,
    CONTROLLING,
    ERROR,
    ERROR_CODE,
    FINGERPRINT,
    INDICATION,
    INTEGRITY,
    PRIORITY,
    REQUEST,
    SHA256,
    SUCCESS,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED,
    attribute,
    error,
    message,
    request,
    success,
    with_fingerprint,
    with_integrity,
)

from sipguard.edge.pcap_file import Source, read_frames
from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.packet import parse_packet
from sipguard.wire.stun import (
    MAX_ATTRIBUTES,
    MAX_BARE_OCTETS,
    StunClass,
    has_integrity,
    is_bare_check,
    is_binding,
    is_stun,
    parse_stun,
)

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"


def stun(kind: int, attributes: bytes = b"") -> bytes:
    return struct.pack("!HHL", kind, len(attributes), 0x2112A442) + b"transaction!" + attributes


SOFTWARE = b"\x80\x22\x00\x04test"


@pytest.mark.parametrize("kind", [0x0001, 0x0011, 0x0101, 0x0111])
@pytest.mark.parametrize("attributes", [b"", SOFTWARE])
def test_binding_of_every_class_is_recognized(kind: int, attributes: bytes) -> None:
    """Request, indication, success and error of a keep-alive (RFC 5626 section 4.4.2)."""
    message = stun(kind, attributes)
    assert is_stun(message)
    assert is_binding(message)


@pytest.mark.parametrize("kind", [0x0003, 0x0103, 0x0004, 0x0006, 0x0081, 0x0201])
def test_other_methods_are_stun_but_no_binding(kind: int) -> None:
    """A TURN Allocate is STUN, and not what a SIP port is for (TLS-30)."""
    assert is_stun(stun(kind))
    assert not is_binding(stun(kind))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        stun(1)[:19],
        stun(1) + b"\x00",
        stun(1) + b"\x00" * 4,
        stun(1, b"abc"),
        stun(1, SOFTWARE)[:-4],
        stun(1)[:4] + b"\x21\x12\xa4\x43" + stun(1)[8:],
        b"\x40" + stun(1)[1:],
        b"OPTIONS sip:example.com SIP/2.0\r\n\r\n",
        b"\r\n\r\n",
    ],
    ids=["empty", "cut", "octet more", "word more", "odd length", "short", "no cookie",
         "first bits", "SIP", "keep-alive"],
)  # fmt: skip
def test_everything_else_is_not(octets: bytes) -> None:
    """First two bits, cookie and length must all agree (RFC 8489 section 5)."""
    assert not is_stun(octets)
    assert not is_binding(octets)


@given(st.binary(max_size=64))
def test_recognition_is_total(octets: bytes) -> None:
    """No octets raise; what is recognized has at least a header."""
    assert is_binding(octets) <= is_stun(octets)
    assert len(octets) >= 20 or not is_stun(octets)


# --- what a message says

# RFC 5769 sections 2.1 to 2.3: password as above, USERNAME evtj:h6vY.
RFC5769_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36000600096576746a3a6836765920202000080014"
    "9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
RFC5769_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200008"
    "0001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
RFC5769_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200014"
    "0002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275"
    "bfe3ed4180280004c8fb0b4c"
)
TRANSACTION_5769 = bytes.fromhex("b7e7a701bc34d686fa87dfae")


def refused(octets: bytes) -> Reason:
    with pytest.raises(HostileInput) as raised:
        parse_stun(octets)
    return raised.value.reason


def test_the_request_of_rfc_5769() -> None:
    """Section 2.1: a check with every attribute that ICE needs, padded with blanks."""
    stun = parse_stun(RFC5769_REQUEST)
    assert (stun.kind, stun.method, stun.transaction) == (StunClass.REQUEST, 1, TRANSACTION_5769)
    assert (stun.username, stun.priority) == (b"evtj:h6vY", 0x6E0001FF)
    assert (stun.controlled, stun.controlling) == (0x932FF9B151263B36, None)
    assert (stun.use_candidate, stun.has_fingerprint) == (False, True)
    assert has_integrity(RFC5769_REQUEST, stun, PASSWORD)
    assert not has_integrity(RFC5769_REQUEST, stun, PASSWORD + b"x")


@pytest.mark.parametrize(
    ("octets", "address"),
    [
        (RFC5769_IPV4, bytes((192, 0, 2, 1))),
        (RFC5769_IPV6, bytes.fromhex("20010db8123456780011223344556677")),
    ],
    ids=["IPv4", "IPv6"],
)
def test_the_responses_of_rfc_5769(octets: bytes, address: bytes) -> None:
    """Sections 2.2 and 2.3: the mapped address, without the XOR."""
    stun = parse_stun(octets)
    assert (stun.kind, stun.transaction) == (StunClass.SUCCESS, TRANSACTION_5769)
    assert (stun.mapped_address, stun.mapped_port) == (address, 32_853)
    assert stun.has_fingerprint
    assert has_integrity(octets, stun, PASSWORD)


@pytest.mark.parametrize("at", [0, 4, 30, 45, 60, 70, 80, 99])
def test_one_bit_breaks_the_integrity(at: int) -> None:
    """Every octet before the attribute counts, and every one of the HMAC."""
    octets = with_integrity(message(REQUEST, attribute(USERNAME, b"u" * 51)), PASSWORD)
    stun = parse_stun(octets)
    assert has_integrity(octets, stun, PASSWORD)
    changed = octets[:at] + bytes((octets[at] ^ 1,)) + octets[at + 1 :]
    assert not has_integrity(changed, stun, PASSWORD)


def test_no_password_and_no_attribute_are_no_integrity() -> None:
    """An HMAC under an empty password, or none at all, proves nobody."""
    keyless = with_integrity(message(REQUEST), b"")
    assert not has_integrity(keyless, parse_stun(keyless), b"")
    bare = message(REQUEST)
    assert not has_integrity(bare, parse_stun(bare), PASSWORD)


def test_sha256_alone_is_no_integrity_for_ice() -> None:
    """RFC 8445 section 7.3 knows MESSAGE-INTEGRITY; its sister is seen, and not taken for it."""
    octets = message(REQUEST, attribute(SHA256, bytes(32)))
    stun = parse_stun(octets)
    assert (stun.sha256_at, stun.integrity_at) == (20, 0)
    assert not has_integrity(octets, stun, PASSWORD)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (REQUEST, StunClass.REQUEST),
        (INDICATION, StunClass.INDICATION),
        (SUCCESS, StunClass.SUCCESS),
        (ERROR, StunClass.ERROR),
    ],
)
def test_class_and_method_share_the_type(kind: int, expected: StunClass) -> None:
    """Section 5 weaves the class's two bits into the method's twelve."""
    for method_bits, method in ((0x0000, 1), (0x0002, 3), (0x0020, 0x11), (0x0200, 0x81)):
        stun = parse_stun(message(kind | method_bits))
        assert (stun.kind, stun.method) == (expected, method)


def test_a_nomination() -> None:
    """USE-CANDIDATE is a flag without a value; tie-breakers may be 0."""
    octets = message(REQUEST, attribute(USE_CANDIDATE, b"") + attribute(CONTROLLING, bytes(8)))
    stun = parse_stun(octets)
    assert (stun.use_candidate, stun.controlling, stun.controlled) == (True, 0, None)


@pytest.mark.parametrize("code", [300, 400, 401, 487, 699])
def test_error_codes(code: int) -> None:
    """The hundreds and the rest stand apart (section 14.8)."""
    assert parse_stun(error(code)).error == code


@pytest.mark.parametrize("value", [b"", b"\0\0\x04", b"\0\0\x02\0", b"\0\0\x07\0", b"\0\0\x04\x64"])
def test_what_is_no_error_code(value: bytes) -> None:
    """Hundreds from 3 to 6, the rest below 100."""
    assert refused(message(ERROR, attribute(ERROR_CODE, value))) is Reason.BAD_STUN


def test_the_first_of_two_counts() -> None:
    """Section 14: what stands twice is read once."""
    octets = message(REQUEST, attribute(USERNAME, b"a:b") + attribute(USERNAME, b"c:d"))
    assert parse_stun(octets).username == b"a:b"


def test_nobody_vouches_for_what_follows_the_integrity() -> None:
    """Section 14.5: a name and a nomination behind it are not read."""
    behind = attribute(USERNAME, b"x:y") + attribute(USE_CANDIDATE, b"")
    octets = with_integrity(message(REQUEST, attribute(PRIORITY, b"prio")), PASSWORD)
    octets = message(REQUEST, octets[20:] + behind)
    stun = parse_stun(octets)
    assert (stun.username, stun.use_candidate) == (b"", False)
    assert stun.priority == int.from_bytes(b"prio", "big")
    assert has_integrity(octets, stun, PASSWORD)


def test_behind_sha256_stands_the_fingerprint_alone() -> None:
    """Section 14.6: MESSAGE-INTEGRITY may precede its sister, not follow it."""
    both = with_integrity(message(REQUEST), PASSWORD)
    octets = with_fingerprint(message(REQUEST, both[20:] + attribute(SHA256, bytes(32))))
    stun = parse_stun(octets)
    assert (stun.integrity_at, stun.sha256_at, stun.has_fingerprint) == (20, 44, True)
    wrong = message(REQUEST, attribute(SHA256, bytes(32)) + both[20:])
    assert parse_stun(wrong).integrity_at == 0


def test_a_wrong_fingerprint_is_no_stun() -> None:
    """Section 7.3: it tells STUN from what only looks like it."""
    good = with_fingerprint(message(REQUEST, attribute(PRIORITY, b"prio")))
    assert parse_stun(good).has_fingerprint
    assert refused(good[:-1] + bytes((good[-1] ^ 1,))) is Reason.BAD_STUN


def test_the_fingerprint_is_the_last() -> None:
    """Section 14.7: two readers would disagree on what follows it."""
    good = with_fingerprint(message(REQUEST))
    octets = message(REQUEST, good[20:] + attribute(PRIORITY, b"prio"))
    crc = with_fingerprint(octets)[-4:]
    octets = message(REQUEST, attribute(FINGERPRINT, crc) + attribute(PRIORITY, b"prio"))
    assert refused(octets) is Reason.BAD_STUN


@pytest.mark.parametrize(
    "attributes",
    [
        b"\x00\x06\x00\x05abcd",
        b"\x00\x06\xff\xff",
        attribute(USERNAME, b""),
        attribute(USERNAME, b"x" * 514),
        attribute(INTEGRITY, bytes(16)),
        attribute(PRIORITY, b"pri"),
        attribute(USE_CANDIDATE, b"x"),
        attribute(CONTROLLED, bytes(4)),
        attribute(CONTROLLING, bytes(12)),
        attribute(FINGERPRINT, bytes(8)),
        attribute(XOR_MAPPED, b""),
        attribute(XOR_MAPPED, b"\x00"),
        attribute(XOR_MAPPED, b"\x00\x01"),
        attribute(XOR_MAPPED, b"\x00\x01" + bytes(2 + 16)),
        attribute(XOR_MAPPED, b"\x00\x03" + bytes(2 + 4)),
        attribute(0x7777, b"") * (MAX_ATTRIBUTES + 1),
    ],
)
def test_attributes_that_do_not_fit_are_refused(attributes: bytes) -> None:
    """Cut off, of another length than the RFC gives them, or more than anybody sends."""
    assert refused(message(REQUEST, attributes)) is Reason.BAD_STUN


def test_as_many_attributes_as_anybody_sends() -> None:
    """GEN-3: up to the limit, which no agent comes near."""
    assert parse_stun(message(REQUEST, attribute(0x7777, b"") * MAX_ATTRIBUTES)).method == 1


def test_the_longest_name() -> None:
    """Two fragments of 256 characters and the colon (RFC 8839 section 5.4)."""
    name = b"a" * 256 + b":" + b"b" * 256
    assert parse_stun(message(REQUEST, attribute(USERNAME, name))).username == name


def test_what_a_bare_message_says() -> None:
    """Nothing: the keepalive of a telephone without ICE."""
    stun = parse_stun(message(REQUEST))
    assert (stun.username, stun.priority, stun.error, stun.use_candidate) == (b"", 0, 0, False)
    assert (stun.integrity_at, stun.sha256_at, stun.has_fingerprint) == (0, 0, False)
    assert (stun.mapped_address, stun.mapped_port) == (b"", 0)
    assert (stun.controlling, stun.controlled) == (None, None)


def test_unknown_attributes_are_passed_over() -> None:
    """Section 14: vendors add their own, such as browsers do."""
    attributes = attribute(0xC057, b"cost") + attribute(USERNAME, b"a:b") + attribute(0x7F00, b"?")
    assert parse_stun(message(REQUEST, attributes)).username == b"a:b"


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (message(REQUEST), True),
        (with_fingerprint(message(REQUEST)), True),
        (message(SUCCESS, attribute(XOR_MAPPED, b"\0\x01\0\0addr")), True),
        (error(400), True),
        (message(INDICATION), True),
        (message(0x0003), False),
        (message(REQUEST, attribute(USERNAME, b"a:b")), False),
        (request(b"a:b", PASSWORD), False),
        (success(PASSWORD), False),
        (message(REQUEST, attribute(0x8022, bytes(MAX_BARE_OCTETS - 24))), True),
        (message(REQUEST, attribute(0x8022, bytes(MAX_BARE_OCTETS - 20))), False),
        (b"\x00\x01\x00\x00", False),
    ],
)
def test_bare_checks(octets: bytes, expected: bool) -> None:
    """DTL-10: RFC 5763 section 6.7.2 opens a way with one, and it has no room for freight."""
    assert is_bare_check(octets) is expected


@given(st.binary(max_size=96))
def test_reading_is_total(octets: bytes) -> None:
    """No octets raise anything but HostileInput."""
    is_bare_check(octets)
    try:
        stun = parse_stun(octets)
    except HostileInput:
        pass
    else:
        has_integrity(octets, stun, PASSWORD)


@given(
    st.integers(0, 0x3FFF),
    st.lists(st.tuples(st.sampled_from((6, 8, 9, 0x1C, 0x20, 0x24, 0x25, 0x8028, 0x8029, 0x802A,
                                        0x77)), st.binary(max_size=40)), max_size=8),
    st.integers(0, 12),
)  # fmt: skip
def test_reading_attributes_is_total(
    kind: int, attributes: list[tuple[int, bytes]], cut: int
) -> None:
    """Whatever stands where, and wherever it ends."""
    octets = b"".join(attribute(*item) for item in attributes)
    octets = message(kind, octets[: len(octets) - 4 * cut] if cut else octets)
    try:
        stun = parse_stun(octets)
    except HostileInput:
        pass
    else:
        assert len(stun.transaction) == 12
        assert stun.integrity_at < len(octets)
        has_integrity(octets, stun, PASSWORD)


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=24))
def test_what_was_made_with_the_password_verifies(username: bytes, password: bytes) -> None:
    """And with no other."""
    octets = request(username, password)
    stun = parse_stun(octets)
    assert stun.username == username
    assert has_integrity(octets, stun, password)
    assert not has_integrity(octets, stun, password + b"\x01")


CAPTURES = (
    "dtls/ndpi-stun_dtls_rtp.pcapng",
    "dtls/zeek-webrtc-stun.pcap",
    "live-thirdparty/linphone-sdes-udp.pcap",
    "srtp-media/WebRTC_PCMA_p2p_SDES_Call_1.pcap",
)


@pytest.mark.parametrize("name", CAPTURES)
def test_every_real_message_can_be_read(name: str) -> None:
    """Of browsers and telephones in the corpus, their fingerprints verified."""
    path = CORPUS / "pcap" / name
    if not path.exists():
        pytest.skip("the corpus is not here")
    count, source = 0, Source(path, None)
    for frame in read_frames(source, print):
        try:
            payload = parse_packet(frame.octets[{1: 14, 113: 16}.get(frame.linktype, 0) :]).payload
        except HostileInput:
            continue
        if is_stun(payload):
            parse_stun(payload)
            count += 1
    source.close()
    assert count

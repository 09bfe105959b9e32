"""wire.packet: what it reads it reads exactly, what it cannot read it refuses."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.channel import CLEAR
from sipguard.wire.packet import (
    MAX_EXTENSION_HEADERS,
    IpHeader,
    Packet,
    build_ip,
    build_udp,
    parse_address,
    parse_ip,
    parse_packet,
    show_address,
)

V4 = Packet(b"\xc0\x00\x02\x01", b"\xcb\x00\x71\x05", 5060, 5062, b"OPTIONS sip:a SIP/2.0\r\n\r\n")
V6 = V4.changed(
    src=bytes.fromhex("20010db8000000000000000000000001"),
    dst=bytes.fromhex("20010db8000500000000000000000002"),
)
UDP_8 = struct.pack("!HHHH", 5060, 5060, 8, 0)


def addresses(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


packets = st.sampled_from((4, 16)).flatmap(
    lambda size: st.builds(
        Packet,
        src=addresses(size),
        dst=addresses(size),
        sport=st.integers(0, 65535),
        dport=st.integers(0, 65535),
        payload=st.binary(max_size=80),
        transport=st.just("udp"),
        interface=st.just(""),
        channel=st.just(CLEAR),
    )
)


def ipv4(payload: bytes, *, options: bytes = b"", protocol: int = 17, word: int = 0) -> bytes:
    """Return an IPv4 packet without checksum."""
    size = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH", 0x40 | size // 4, 0, size + len(payload), 7, word, 64, protocol, 0
    )
    return head + V4.src + V4.dst + options + payload


def ipv6(chain: list[tuple[int, bytes]], last: int, payload: bytes) -> bytes:
    """Return an IPv6 packet; each extension header is its kind and all but its first octet."""
    kinds = [kind for kind, _ in chain] + [last]
    body = b"".join(
        bytes([following]) + rest for (_, rest), following in zip(chain, kinds[1:], strict=True)
    )
    body += payload
    return struct.pack("!LHBB", 6 << 28, len(body), kinds[0], 64) + V6.src + V6.dst + body


def refusal(octets: bytes) -> Reason:
    with pytest.raises(HostileInput) as caught:
        parse_packet(octets)
    return caught.value.reason


def folded_sum(octets: bytes) -> int:
    """Return the RFC 1071 sum the slow way."""
    total = sum(
        high << 8 | low
        for high, low in zip(octets[::2], octets[1::2] + b"\x00" * (len(octets) % 2), strict=True)
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(packets)
def test_a_built_packet_reads_back_as_itself(packet: Packet) -> None:
    """What we send ourselves is what we would have judged."""
    assert parse_packet(build_udp(packet)) == packet


@given(packets)
def test_checksums_are_right(packet: Packet) -> None:
    """A receiver that verifies accepts our replies (RFC 1071, RFC 768, RFC 8200 section 8.1)."""
    octets = build_udp(packet)
    start = 20 if len(packet.src) == 4 else 40
    pseudo = packet.src + packet.dst + struct.pack("!LL", len(octets) - start, 17)
    assert folded_sum(pseudo + octets[start:]) == 0xFFFF
    assert octets[start + 6 : start + 8] != b"\x00\x00"
    if start == 20:
        assert folded_sum(octets[:20]) == 0xFFFF


@pytest.mark.parametrize("packet", [V4, V6])
def test_a_checksum_of_zero_is_sent_as_all_ones(packet: Packet) -> None:
    """Zero on the wire would say that there is no checksum (RFC 768)."""
    probe = build_udp(packet.changed(payload=b"\x00\x00"))
    start = 20 if len(packet.src) == 4 else 40
    octets = build_udp(packet.changed(payload=probe[start + 6 : start + 8]))
    assert octets[start + 6 : start + 8] == b"\xff\xff"


@pytest.mark.parametrize(
    "packet",
    [
        V4.changed(dst=V6.dst),
        V4.changed(src=b"", dst=b""),
        V4.changed(dport=65536),
        V4.changed(sport=-1),
        V4.changed(payload=b"x" * 65508),
        V6.changed(payload=b"x" * 65528),
    ],
)
def test_what_cannot_be_sent_is_our_own_fault(packet: Packet) -> None:
    """A wrong reply is a bug of ours and does not pass for hostile input."""
    with pytest.raises(ValueError, match=r"address|port|fit"):
        build_udp(packet)


def test_the_largest_datagrams_fit() -> None:
    """The length fields' own limits hold (SIP-21: up to 65,535 octets are legal)."""
    for packet in (V4.changed(payload=b"x" * 65507), V6.changed(payload=b"x" * 65527)):
        assert parse_packet(build_udp(packet)) == packet


def test_the_interface_is_kept() -> None:
    """Policy may judge by the interface a packet came in by."""
    assert parse_packet(build_udp(V4), "lan0").interface == "lan0"
    assert parse_packet(ipv4(UDP_8, options=b"\x01" * 4), "lan0").interface == "lan0"


@pytest.mark.parametrize("packet", [V4, V6])
def test_every_shorter_packet_is_refused(packet: Packet) -> None:
    """A packet cut anywhere is not judged by what is left of it."""
    whole = build_udp(packet)
    for size in range(len(whole)):
        assert refusal(whole[:size]) is Reason.MALFORMED_PACKET


@pytest.mark.parametrize("packet", [V4, V6])
def test_octets_behind_the_packet_are_refused(packet: Packet) -> None:
    """The IP length and the octets we hold must agree."""
    assert refusal(build_udp(packet) + b"\x00") is Reason.MALFORMED_PACKET


@pytest.mark.parametrize("length", [0, 1, 7, 11, 65535])
def test_a_wrong_udp_length_is_refused(length: int) -> None:
    """Neither too small for its own header nor longer than the packet; no UDP jumbogram."""
    datagram = struct.pack("!HHHH", 1, 2, length, 0) + b"ab"
    for octets in (
        ipv4(datagram),
        ipv4(datagram, options=b"\x01" * 4),
        ipv6([], 17, datagram),
        ipv6([(60, b"\x00" + bytes(6))], 17, datagram),
    ):
        assert refusal(octets) is Reason.MALFORMED_PACKET


def test_octets_behind_the_udp_length_are_refused() -> None:
    """Every receiver ignores them (RFC 768), so only a tunnel has any."""
    datagram = struct.pack("!HHHH", 1, 2, 9, 0) + b"abc"
    for octets in (ipv4(datagram), ipv4(datagram, options=b"\x01" * 4), ipv6([], 17, datagram)):
        assert refusal(octets) is Reason.MALFORMED_PACKET


@pytest.mark.parametrize(
    "options",
    [
        b"\x01" * 4,
        b"\x94\x04\x00\x00",
        b"\x07\x27\x04" + bytes(36) + b"\x01",
        b"\x00" + b"\xff" * 7,
    ],
)
def test_legal_ipv4_options_are_skipped(options: bytes) -> None:
    """Options of every legal length, and anything behind the end-of-list octet."""
    assert parse_packet(ipv4(UDP_8, options=options)).sport == 5060


@pytest.mark.parametrize(
    "options",
    [
        b"\x83\x07\x04\x01\x02\x03\x04\x00",
        b"\x01\x89\x07\x04\x01\x02\x03\x04",
        b"\x94\x00\x00\x00",
        b"\x94\x01\x00\x00",
        b"\x94\x05\x00\x00",
        b"\x01\x01\x01\x94",
    ],
    ids=["loose", "strict", "length 0", "length 1", "too long", "no length"],
)
def test_source_routes_and_broken_options_are_refused(options: bytes) -> None:
    """A source-routed packet has another destination than the one we judge."""
    assert refusal(ipv4(UDP_8, options=options)) is Reason.MALFORMED_PACKET


@pytest.mark.parametrize("word", [0x2000, 0x0001, 0x2001, 0x1FFF])
def test_ipv4_fragments_are_refused(word: int) -> None:
    """A fragment that nobody reassembled would pass the other half uninspected (SIP-21)."""
    assert refusal(ipv4(UDP_8, word=word)) is Reason.IP_FRAGMENT
    assert refusal(ipv4(UDP_8, word=word, options=b"\x01" * 4)) is Reason.IP_FRAGMENT


@pytest.mark.parametrize("word", [0x4000, 0x8000])
def test_other_bits_of_the_fragment_word_do_not_matter(word: int) -> None:
    """DF and the reserved bit make no fragment."""
    assert parse_packet(ipv4(UDP_8, word=word)).dport == 5060


@pytest.mark.parametrize("first", [0x00, 0x35, 0x44, 0x55, 0x75])
def test_other_versions_and_short_headers_are_refused(first: int) -> None:
    """Only versions 4 and 6, and a header of at least five words."""
    octets = bytearray(ipv4(UDP_8 + bytes(40)))
    octets[0] = first
    assert refusal(bytes(octets)) is Reason.MALFORMED_PACKET


def test_other_protocols_are_not_udp() -> None:
    """TCP, ICMP and "no next header" are named for what they are."""
    for octets in (ipv4(UDP_8, protocol=6), ipv6([], 58, UDP_8), ipv6([(0, bytes(7))], 59, b"")):
        assert refusal(octets) is Reason.NOT_UDP


PAD_8 = bytes(7)
PAD_16 = b"\x01" + bytes(14)
AUTHENTICATION_24 = b"\x04" + bytes(22)
ROUTING_TYPE_2 = b"\x02\x02\x00" + bytes(20)


@pytest.mark.parametrize(
    "chain",
    [
        [(0, PAD_8)],
        [(0, PAD_16), (60, PAD_8)],
        [(51, AUTHENTICATION_24)],
        [(43, ROUTING_TYPE_2), (60, PAD_8)],
        [(60, PAD_8)] * MAX_EXTENSION_HEADERS,
    ],
)
def test_known_extension_headers_are_skipped(chain: list[tuple[int, bytes]]) -> None:
    """Each by its own unit of length (RFC 8200 section 4, RFC 4302 section 2.2)."""
    packet = parse_packet(ipv6(chain, 17, struct.pack("!HHHH", 1, 2, 11, 0) + b"abc"))
    assert packet == Packet(V6.src, V6.dst, 1, 2, b"abc")


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ([(44, bytes(7))], Reason.IP_FRAGMENT),
        ([(60, PAD_8), (44, bytes(7))], Reason.IP_FRAGMENT),
        ([(60, PAD_8), (0, PAD_8)], Reason.MALFORMED_PACKET),
        ([(43, b"\x02\x00\x00" + bytes(20))], Reason.MALFORMED_PACKET),
        ([(43, b"\x02\x02\x01" + bytes(20))], Reason.MALFORMED_PACKET),
        ([(135, PAD_8)], Reason.MALFORMED_PACKET),
        ([(253, PAD_8)], Reason.MALFORMED_PACKET),
        ([(60, PAD_8)] * (MAX_EXTENSION_HEADERS + 1), Reason.MALFORMED_PACKET),
        ([(60, b"\xff" + bytes(6))], Reason.MALFORMED_PACKET),
    ],
    ids=["fragment", "late fragment", "late hop-by-hop", "type 0", "segments left", "mobility",
         "experiment", "too many", "too long"],
)  # fmt: skip
def test_other_extension_headers_are_refused(
    chain: list[tuple[int, bytes]], reason: Reason
) -> None:
    """What is not known to be harmless could change what the endpoint reads."""
    assert refusal(ipv6(chain, 17, UDP_8)) is reason


def test_a_jumbogram_is_refused() -> None:
    """Payload length 0 moves the length into an option (RFC 2675)."""
    octets = bytearray(ipv6([(0, b"\x00\xc2\x04\x00\x01\x00\x00")], 17, UDP_8))
    octets[4:6] = b"\x00\x00"
    assert refusal(bytes(octets)) is Reason.MALFORMED_PACKET


def test_parse_ip_names_any_protocol() -> None:
    """The capture reader finds TCP, tunnels and fragments by the same reading."""
    assert parse_ip(build_ip(V4.src, V4.dst, 6, b"abc")) == IpHeader(V4.src, V4.dst, 6, 20, False)
    assert parse_ip(ipv4(b"abc", word=1)).fragmented
    assert parse_ip(ipv6([(60, PAD_8), (44, bytes(7))], 17, b"x")) == IpHeader(
        V6.src, V6.dst, 44, 48, True
    )


@given(st.binary(max_size=120))
def test_parsing_is_total(octets: bytes) -> None:
    """No octets raise anything but HostileInput."""
    try:
        packet = parse_packet(octets)
    except HostileInput:
        return
    assert len(packet.payload) <= len(octets) - 28


@given(packets, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4))
def test_parsing_damaged_packets_is_total(packet: Packet, changes: list[tuple[int, int]]) -> None:
    """A valid packet with octets changed is read or refused, never more."""
    octets = bytearray(build_udp(packet))
    for position, value in changes:
        octets[position % len(octets)] = value
    with contextlib.suppress(HostileInput):
        parse_packet(bytes(octets))


@given(st.sampled_from((4, 16)).flatmap(addresses))
def test_a_shown_address_reads_back(address: bytes) -> None:
    """The text in a record names the same host as the packet."""
    assert parse_address(show_address(address).encode()) == address


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (V4.src, "192.0.2.1"),
        (V6.src, "2001:db8::1"),
        (bytes(10) + b"\xff\xff\xc0\x00\x02\x01", "::ffff:192.0.2.1"),
        (b"", ""),
        (b"\x0a\x00", "0a00"),
    ],
)
def test_addresses_are_shown_in_the_usual_form(address: bytes, text: str) -> None:
    """RFC 5952, and no crash on octets that are no address."""
    assert show_address(address) == text


@pytest.mark.parametrize(
    "text",
    [b"", b"010.0.0.1", b"1.2.3", b"1.2.3.4 ", b"1.2.3.4:5", b"0x1.2.3.4", b"[::1]", b"::1%eth0",
     b"1::2::3", b"12345::", b"\xff", b"\xd9\xa1.2.3.4", b"example.com", b"0" * 46],
)  # fmt: skip
def test_what_is_no_ip_literal_gives_none(text: bytes) -> None:
    """One strict reading: octal, zones, brackets and blanks are not addresses."""
    assert parse_address(text) is None


@given(st.binary(max_size=60))
def test_address_parsing_is_total(text: bytes) -> None:
    """No octets raise, and a result is one of the two sizes."""
    address = parse_address(text)
    assert address is None or len(address) in (4, 16)

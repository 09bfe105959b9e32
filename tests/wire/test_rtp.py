"""wire.rtp: headers of media packets, and what else shares their ports."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.rtp import Kind, is_clear_rtcp, kind_of, parse_rtcp, parse_rtp


def rtp(first: int = 0x80, second: int = 0, rest: bytes = b"") -> bytes:
    return struct.pack("!BBHLL", first, second, 7, 160, 0xABCD) + rest


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (0, Kind.STUN),
        (3, Kind.STUN),
        (4, Kind.OTHER),
        (15, Kind.OTHER),
        (16, Kind.ZRTP),
        (19, Kind.ZRTP),
        (20, Kind.DTLS),
        (63, Kind.DTLS),
        (64, Kind.TURN_CHANNEL),
        (79, Kind.TURN_CHANNEL),
        (80, Kind.OTHER),
        (127, Kind.OTHER),
        (128, Kind.RTP),
        (191, Kind.RTP),
        (192, Kind.OTHER),
        (255, Kind.OTHER),
    ],
)
def test_the_first_octet_tells_the_protocol(first: int, kind: Kind) -> None:
    """DTL-7: the table of RFC 7983, borders and all."""
    assert kind_of(bytes((first, 0))) is kind
    assert kind_of(bytes((first,))) is kind


@pytest.mark.parametrize(
    ("second", "kind"),
    [(191, Kind.RTP), (192, Kind.RTCP), (200, Kind.RTCP), (223, Kind.RTCP), (224, Kind.RTP)],
)
def test_rtcp_is_told_from_rtp_by_its_type(second: int, kind: Kind) -> None:
    """PIN-11: types 192 to 223 are RTCP's where both share a port."""
    assert kind_of(rtp(second=second)) is kind


def test_a_header_with_sources_and_extension() -> None:
    """SRT-1: two CSRCs, an extension of three words, then the payload."""
    packet = rtp(0x92, 0x80 | 96, bytes(8) + b"\xbe\xde\x00\x03" + bytes(12) + b"media")
    header = parse_rtp(packet)
    assert (header.header_octets, header.octets) == (12 + 8 + 16, len(packet))
    assert (header.payload_type, header.marker) == (96, True)
    assert (header.sequence, header.timestamp, header.ssrc) == (7, 160, 0xABCD)


@pytest.mark.parametrize(
    "packet",
    [b"", rtp()[:11], rtp(0x40), rtp(0xC0), rtp(0x81), rtp(0x90), rtp(0x90, 0, b"\0\0\0\1")],
    ids=["empty", "cut", "version 1", "version 3", "no CSRC", "no extension", "cut extension"],
)
def test_what_is_no_rtp_is_refused(packet: bytes) -> None:
    """SRT-1: a header that says more than there is."""
    with pytest.raises(HostileInput) as refused:
        parse_rtp(packet)
    assert refused.value.reason is Reason.BAD_RTP


def test_rtcp_headers() -> None:
    """SRT-2: type and sender of the first packet."""
    report = struct.pack("!BBHL", 0x80, 201, 1, 0xABCD)
    header = parse_rtcp(report)
    assert (header.packet_type, header.ssrc, header.octets) == (201, 0xABCD, 8)
    for odd in (b"", report[:7], b"\x40" + report[1:]):
        with pytest.raises(HostileInput) as refused:
            parse_rtcp(odd)
        assert refused.value.reason is Reason.BAD_RTCP


def test_clear_rtcp_ends_where_its_lengths_say() -> None:
    """The leak of baresip (16 octets of APP) is clear; SRTCP has an index and a tag behind it."""
    ping = b"\x80\xcc\x00\x03" + b"ssrc" + b"PINGPONG"
    report = struct.pack("!BBHL", 0x80, 201, 1, 0xABCD)
    assert is_clear_rtcp(ping)
    assert is_clear_rtcp(report + ping)
    assert not is_clear_rtcp(report + bytes(14))
    assert not is_clear_rtcp(report + b"\x80\x00\x00\x03" + bytes(12))
    assert not is_clear_rtcp(report[:7])
    assert not is_clear_rtcp(b"")


@given(st.binary(max_size=96))
def test_reading_is_total(octets: bytes) -> None:
    """No octets raise anything but HostileInput, and lengths stay inside the packet."""
    kind_of(octets)
    is_clear_rtcp(octets)
    try:
        header = parse_rtp(octets)
    except HostileInput:
        pass
    else:
        assert 12 <= header.header_octets <= header.octets == len(octets)
    with suppress(HostileInput):
        parse_rtcp(octets)

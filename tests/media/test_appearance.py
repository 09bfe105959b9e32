"""media/appearance: clear RTP told from SRTP by sizes, soundly or not at all (SRT-1 to SRT-3)."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.media.appearance import (
    USUAL_EXTRAS,
    Appearance,
    Look,
    appearance_of,
    joined,
    looks_encrypted_rtcp,
)
from sipguard.wire.rtp import Rtp, parse_rtp
from sipguard.wire.sdp import Media, parse_sdp

# Clear payload sizes that telephones send: name, payload type, octets.
CLEAR_SIZES = {
    b"PCMU/8000": (80, 160, 240, 320, 480),
    b"PCMA/8000/1": (80, 160, 240),
    b"G722/8000": (80, 160, 240),
    b"GSM/8000": (33, 66, 99),
    b"iLBC/8000": (38, 50, 76, 100),
    b"G729/8000": (2, 10, 12, 20, 22, 30, 40, 60),
    b"G723/8000": (4, 20, 24, 48),
    b"G726-32/8000": (40, 80, 120),
    b"G7221/16000": (60, 80),
    b"DVI4/8000": (44, 84, 164),
    b"L16/16000": (320, 640),
    b"L16/44100/2": (1764,),
    b"telephone-event/8000": (4,),
    b"CN/8000": (1, 2, 11),
}


def media(formats: bytes, *attributes: bytes) -> Media:
    lines = [b"v=0", b"o=- 1 1 IN IP4 192.0.2.1", b"s=-", b"c=IN IP4 192.0.2.1", b"t=0 0"]
    lines += [b"m=audio 4000 RTP/SAVP " + formats, *attributes]
    return parse_sdp(b"\r\n".join(lines) + b"\r\n").media[0]


def of(formats: bytes, *maps: bytes) -> Appearance:
    return appearance_of(media(formats, *(b"a=rtpmap:" + text for text in maps)))


def packet(
    payload_type: int, size: int, *, first: int = 0x80, sequence: int = 7, timestamp: int = 160
) -> tuple[bytes, Rtp]:
    octets = struct.pack("!BBHLL", first, payload_type, sequence, timestamp, 0xABCD) + bytes(size)
    return octets, parse_rtp(octets)


def look(appearance: Appearance, payload_type: int, size: int, extra: int) -> Look:
    octets, header = packet(payload_type, size)
    return appearance.look(octets, header, extra)


@pytest.mark.parametrize("extra", [*USUAL_EXTRAS, 10 + 4])
@pytest.mark.parametrize("name", CLEAR_SIZES)
def test_srtp_is_never_called_clear(name: bytes, extra: int) -> None:
    """A good call must not be cut: whatever the codec, its frames with a tag are not CLEAR."""
    seen = of(b"96", b"96 " + name)
    for size in CLEAR_SIZES[name]:
        assert look(seen, 96, size + extra, extra) is not Look.CLEAR
        assert look(seen, 96, size, extra) is not Look.SECURED


@pytest.mark.parametrize(
    ("name", "extra", "size"),
    [
        (b"PCMU/8000", 10, 160),
        (b"pcmu/8000", 4, 160),
        (b"PCMA/8000/1", 16, 240),
        (b"G722/8000", 14, 160),
        (b"GSM/8000", 10, 33),
        (b"iLBC/8000", 10, 50),
        (b"iLBC/8000", 4, 38),
        (b"G729/8000", 4, 20),
        (b"G723/8000", 10, 24),
        (b"G726-32/8000", 10, 80),
        (b"AAL2-G726-16/8000", 10, 40),
        (b"G7221/16000", 16, 80),
        (b"DVI4/8000", 10, 84),
        (b"L16/8000", 4, 320),
        (b"telephone-event/8000", 10, 4),
        (b"CN/8000", 10, 2),
    ],
)
def test_clear_frames_and_frames_with_a_tag(name: bytes, extra: int, size: int) -> None:
    """SRT-3: the codecs whose sizes tell, each with a tag that does not hide it."""
    seen = of(b"96", b"96 " + name)
    assert look(seen, 96, size, extra) is Look.CLEAR
    assert look(seen, 96, size + extra, extra) is (
        Look.SECURED if size + extra not in CLEAR_SIZES.get(name, ()) else Look.UNKNOWN
    )


def test_some_clear_sizes_are_those_of_srtp_too() -> None:
    """20 octets are two frames of G.729, or one with a tag of 80 bits: nothing is claimed."""
    seen = of(b"18")
    assert look(seen, 18, 20, 10) is Look.UNKNOWN
    assert look(seen, 18, 30, 10) is Look.UNKNOWN
    assert look(seen, 18, 24, 4) is Look.SECURED


@pytest.mark.parametrize("size", [1, 20, 160, 161, 170, 1459])
@pytest.mark.parametrize(
    "name", [b"opus/48000/2", b"speex/8000", b"AMR/8000", b"H264/90000", b"PCMU/8000/2", b""]
)
def test_other_codecs_show_nothing(name: bytes, size: int) -> None:
    """Variable rates, video and what nobody here knows."""
    assert look(of(b"96", b"96 " + name), 96, size, 0) is Look.UNKNOWN


def test_what_is_too_short_for_a_tag_is_clear() -> None:
    """Whatever the codec, even one that was not negotiated."""
    seen = of(b"96", b"96 opus/48000/2")
    assert look(seen, 96, 9, 10) is Look.CLEAR
    assert look(seen, 96, 10, 10) is Look.UNKNOWN
    assert look(seen, 0, 9, 10) is Look.CLEAR


def test_padding_and_jumbo_packets_show_nothing() -> None:
    """SRTP hides how many octets are padding; what does not fit into a frame is not judged."""
    seen = of(b"0")
    octets, header = packet(0, 160, first=0xA0)
    assert seen.look(octets, header, 10) is Look.UNKNOWN
    assert look(seen, 0, 1600, 10) is Look.UNKNOWN


def test_the_headers_length_does_not_count() -> None:
    """CSRCs and extensions come before the frames."""
    octets = struct.pack("!BBHLL", 0x92, 0, 7, 160, 1) + bytes(8) + b"\xbe\xde\0\1" + bytes(164)
    assert of(b"0").look(octets, parse_rtp(octets), 10) is Look.CLEAR


@pytest.mark.parametrize(("payload_type", "size"), [(0, 160), (8, 80), (3, 33), (9, 160), (13, 1)])
def test_clear_whatever_the_tag_would_be(payload_type: int, size: int) -> None:
    """Before a handshake has chosen a tag, a packet is clear if it is for all of them."""
    seen = of(b"0 3 8 9 13 18")
    octets, header = packet(payload_type, size)
    assert seen.is_clear(octets, header)
    for extra in USUAL_EXTRAS:
        octets, header = packet(payload_type, size + extra)
        assert not seen.is_clear(octets, header)
    assert not seen.is_clear(*packet(18, 20))


def at_step(seen: Appearance, size: int, step: int, **changed: int) -> Look:
    """Look at the second of two packets of G.729 with a tag of 80 bits between them."""
    before = packet(18, size)[1]
    octets = struct.pack(
        "!BBHLL",
        0x80,
        changed.get("second", 18),
        changed.get("sequence", 8),
        160 + step & 0xFFFF_FFFF,
        changed.get("ssrc", 0xABCD),
    ) + bytes(changed.get("now", size))
    return seen.look_at_step(before, octets, parse_rtp(octets), 10)


def test_the_step_of_timestamps_tells_where_sizes_do_not() -> None:
    """SRT-3: G.729 under the most common suite, which no size alone gives away."""
    seen = of(b"18")
    assert at_step(seen, 20, 160) is Look.CLEAR
    assert at_step(seen, 30, 160) is Look.SECURED
    assert at_step(seen, 20, 80) is Look.SECURED
    assert at_step(seen, 20, 240) is Look.UNKNOWN
    assert at_step(seen, 24, 160) is look(seen, 18, 24, 10)


@pytest.mark.parametrize(
    "changed",
    [{"second": 0x80 | 18}, {"sequence": 9}, {"ssrc": 1}, {"now": 30}, {"second": 0}],
    ids=["marker", "lost packet", "other stream", "other size", "other codec"],
)
def test_a_step_across_a_break_tells_nothing(changed: dict[str, int]) -> None:
    """After a pause or a lost packet the time between two packets is not that of their frames."""
    assert at_step(of(b"0 18"), 20, 160, **changed) is Look.UNKNOWN


def test_payload_types_of_either_side_fit() -> None:
    """SRT-1: the list of the offer or of the answer."""
    both = joined(of(b"0 8"), of(b"8 101", b"101 telephone-event/8000"))
    fitting = ((0, True), (8, True), (101, True), (13, True), (9, False), (96, False), (19, False))
    for payload_type, fits in fitting:
        assert both.fits(packet(payload_type, 1)[1]) is fits
    assert look(both, 101, 4, 10) is Look.CLEAR


def test_a_type_with_two_meanings_shows_nothing() -> None:
    """Which of them counts depends on who reads; the type itself was negotiated."""
    for seen in (
        joined(of(b"96", b"96 PCMU/8000"), of(b"96", b"96 GSM/8000")),
        of(b"96", b"96 GSM/8000", b"96 PCMU/8000"),
        of(b"0", b"0 opus/48000/2"),
    ):
        payload_type = 0 if seen.fits(packet(0, 1)[1]) else 96
        assert seen.fits(packet(payload_type, 1)[1])
        assert look(seen, payload_type, 160, 10) is Look.UNKNOWN


def test_formats_that_are_no_payload_types_are_left_out() -> None:
    """128 does not exist, t38 is not RTP; a map without its format negotiates nothing."""
    seen = of(b"t38 128 0x1 \xb2 0", b"97 PCMU/8000", b"x PCMU/8000")
    assert [kind for kind in range(128) if seen.fits(packet(kind, 1)[1])] == [0, 13]


def test_calls_of_the_same_telephones_share_one() -> None:
    """100,000 calls keep a handful of them."""
    one = of(b"0 101", b"0 PCMU/8000", b"101 telephone-event/8000")
    assert of(b"101 0", b"101 telephone-event/8000") is one
    assert joined(one, one) is one
    many = b" ".join(b"%d" % kind for kind in range(96, 128))
    assert of(b"0 101 " + many) is of(many + b" 0 101 " + many)


SRTCP = struct.pack("!BBHL", 0x80, 201, 1, 0xABCD) + bytes(24) + b"\x80\0\0\1"


def test_encrypted_rtcp() -> None:
    """SRT-2: index and tag behind it, the E bit set, and nothing left of clear RTCP."""
    assert looks_encrypted_rtcp(SRTCP + bytes(10), 10)
    assert looks_encrypted_rtcp(SRTCP + bytes(14), 10, 4)
    assert looks_encrypted_rtcp(SRTCP[:8] + bytes(16) + SRTCP[-4:], 16, aead=True)
    # A compound whose first packet alone is in clear, as SRTCP leaves it.
    assert looks_encrypted_rtcp(SRTCP[:8] + bytes(4) + SRTCP[-4:] + bytes(10), 10)


@pytest.mark.parametrize(
    "octets",
    [
        SRTCP[:8],
        SRTCP[:8] + bytes(14),
        SRTCP + bytes(9),
        SRTCP[:8] + bytes(1) + b"\x80\0\0\1" + bytes(10),
        SRTCP[:8] + b"\x80\0\0\1" + bytes(9),
        SRTCP[:-4] + b"\x7f\xff\xff\xff" + bytes(10),
        SRTCP[:3] + b"\x10" + SRTCP[4:] + bytes(10),
        b"\x80\xcc\x00\x03ssrcPINGPONG",
    ],
    ids=[
        "clear",
        "E not set",
        "no whole words",
        "odd",
        "too short",
        "E",
        "length",
        "baresip's leak",
    ],
)
def test_what_is_no_encrypted_rtcp(octets: bytes) -> None:
    """Clear reports, and what cannot be SRTCP."""
    assert not looks_encrypted_rtcp(octets, 10)


def test_a_clear_compound_is_clear_wherever_its_headers_stand() -> None:
    """The second header looks like an index with the E bit, were there a tag behind it."""
    compound = SRTCP[:8] + b"\x80\xcc\x00\x04ssrcname" + bytes(8)
    assert not looks_encrypted_rtcp(compound, 16)


@given(st.binary(max_size=96), st.integers(0, 20), st.integers(0, 128), st.booleans())
def test_looking_is_total(octets: bytes, tag: int, mki: int, aead: bool) -> None:
    """No packet makes it fail."""
    looks_encrypted_rtcp(octets, tag, mki, aead=aead)
    try:
        header = parse_rtp(octets)
    except HostileInput:
        return
    seen = of(b"0 8 18 96", b"96 opus/48000/2")
    seen.fits(header)
    seen.look(octets, header, tag + mki)
    seen.look_at_step(header, octets, header, tag + mki)
    seen.is_clear(octets, header)


WORDS = st.binary(min_size=1, max_size=5).filter(lambda word: not set(word) & set(b" \r\n\0"))
MAPS = st.binary(max_size=80).filter(lambda text: not set(text) & set(b"\r\n\0"))


@given(st.lists(WORDS), st.lists(MAPS))
def test_reading_formats_is_total(formats: list[bytes], maps: list[bytes]) -> None:
    """Whatever stands in m= and a=rtpmap, a value of 128 types comes out."""
    assert len(of(b" ".join([b"0", *formats]), *maps).types) == 128

"""What clear RTP of the negotiated formats looks like, and what SRTP must look like (SRT-1 to 3).

SRTP leaves the header in clear and makes a packet longer by its tag, and by an MKI
where one was agreed (RFC 3711 section 3.1). Codecs whose frames have a fixed size show
by that whether a payload is clear: 160 octets of PCMU are, 170 are not. Of any other
codec nothing is claimed. A liar can choose sizes as he likes: ``CLEAR`` is worth
something against him, ``SECURED`` only tells two honest telephones apart.

``a=ptime`` is not read: it is a wish that telephones are free to ignore (RFC 8866
section 6.4). What is counted on is that a packet holds whole frames.
"""

from enum import Enum
from functools import lru_cache
from typing import Final, final

from sipguard.native import mypyc_attr
from sipguard.wire.rtp import RTCP_HEADER_OCTETS, SRTCP_INDEX_OCTETS, Rtp, is_clear_rtcp
from sipguard.wire.sdp import Media

MAX_SIZE: Final = 1460  # of a payload that is judged; longer ones do not fit into a frame
USUAL_EXTRAS: Final = (4, 8, 10, 16)  # octets of the tags that any suite or ZRTP knows

_TYPES: Final = 128
_MAX_WORD_OCTETS: Final = 64
_MAX_CACHED_WORDS: Final = 64
_PADDING: Final = 0x20
_COMFORT_NOISE: Final = 13
_ENCRYPTED: Final = 0x80  # the E bit before the SRTCP index


class Look(Enum):
    """What a packet's size says about it."""

    CLEAR = "clear"  # whole frames as they are, and not with a tag; or too short for one
    SECURED = "secured"  # whole frames with a tag, and not without
    UNKNOWN = "unknown"  # the codec's frames vary, or both fit


_CLEAR: Final = Look.CLEAR
_SECURED: Final = Look.SECURED
_UNKNOWN: Final = Look.UNKNOWN


@final
class _Shape:
    """The payload sizes of a codec, and its frames: octets, and ticks of the RTP clock."""

    __slots__ = ("frames", "sizes")

    def __init__(self, frames: tuple[tuple[int, int], ...], sizes: frozenset[int]) -> None:
        self.frames: Final = frames
        self.sizes: Final = sizes


def _framed(*frames: tuple[int, int], head: int = 0, tail: int = 0) -> _Shape:
    """Return the shape of a codec; *head* precedes the frames, a silence descriptor ends them."""
    sizes = {0}  # what only keeps a path open may be empty (RFC 6263 section 4.1)
    for octets, _ in frames:
        sizes.update(range(head + octets, MAX_SIZE + 1, octets))
    if tail:
        sizes.update([size + tail for size in sizes])
    # Where a head is paid for in octets but not in ticks, steps say nothing.
    return _Shape(() if head else frames, frozenset(sizes))


_MULAW: Final = _framed((40, 40))  # 5 ms; telephones send 10, 20, 30 or 60
_G723: Final = _Shape((), frozenset(range(0, MAX_SIZE + 1, 4)))  # frames of 24, 20 and 4 mix
_G7221: Final = _framed((60, 320), (80, 320))
_G7221C: Final = _framed((60, 640), (80, 640), (120, 640))
_DVI4: Final = _framed((40, 80), head=4)
_G726: Final = tuple([_framed((10 * bits, 80)) for bits in (2, 3, 4, 5)])
_G728: Final = _framed((20, 80))
_G729: Final = _framed((10, 80), tail=2)
_GSM: Final = _framed((33, 160))
_L16: Final = {
    (rate, channels): _framed((rate // 50 * channels, rate // 100))
    for rate in (8000, 16_000, 32_000, 44_100, 48_000)
    for channels in (1, 2)
}
# The lengths of events and comfort noise (RFC 4733 section 2.3, RFC 3389 section 3).
_EVENT: Final = _Shape((), frozenset((4,)))
_NOISE: Final = _Shape((), frozenset(range(1, 12)))

# By encoding name, clock rate and channels as in a=rtpmap (RFC 3551, 3952, 5577).
_BY_NAME: Final[dict[bytes, _Shape]] = {
    b"PCMU/8000": _MULAW,
    b"PCMA/8000": _MULAW,
    b"G722/8000": _MULAW,
    b"G722/16000": _MULAW,  # against RFC 3551, and seen
    b"GSM/8000": _GSM,
    b"GSM-EFR/8000": _framed((31, 160)),
    b"ILBC/8000": _framed((38, 160), (50, 240)),
    b"G729/8000": _G729,
    b"G728/8000": _G728,
    b"G723/8000": _G723,
    b"G7221/16000": _G7221,
    b"G7221/32000": _G7221C,
    b"DVI4/8000": _DVI4,
    b"DVI4/16000": _DVI4,
    b"LPC/8000": _framed((14, 160)),
    **{
        b"%sG726-%d/8000" % (packing, 16 + 8 * at): shape
        for at, shape in enumerate(_G726)
        for packing in (b"", b"AAL2-")
    },
    **{
        b"L16/%d%s" % (rate, b"/2" if channels == 2 else b""): shape
        for (rate, channels), shape in _L16.items()
    },
    **{b"TELEPHONE-EVENT/%d" % rate: _EVENT for rate in (8000, 16_000, 32_000, 44_100, 48_000)},
    **{b"CN/%d" % rate: _NOISE for rate in (8000, 16_000, 32_000, 48_000)},
}
# RFC 3551 section 6; where there is an a=rtpmap, that counts.
_STATIC: Final = {
    0: b"PCMU/8000",
    3: b"GSM/8000",
    4: b"G723/8000",
    5: b"DVI4/8000",
    6: b"DVI4/16000",
    7: b"LPC/8000",
    8: b"PCMA/8000",
    9: b"G722/8000",
    10: b"L16/44100/2",
    11: b"L16/44100",
    13: b"CN/8000",
    15: b"G728/8000",
    18: b"G729/8000",
}

# One octet for each payload type: absent, of a codec that shows nothing, or 2 + its shape.
_ABSENT: Final = 0
_OPAQUE: Final = 1
_SHAPES: Final = tuple({id(shape): shape for shape in _BY_NAME.values()}.values())
_CODE_OF: Final = {name: 2 + _SHAPES.index(shape) for name, shape in _BY_NAME.items()}


@final
@mypyc_attr(acyclic=True)
class Appearance:
    """The payload types that were negotiated, and what each looks like in clear.

    Equal ones are mostly one object: calls of the same telephones share it.
    """

    __slots__ = ("types",)

    def __init__(self, types: bytes) -> None:
        """Keep one octet for each of the 128 payload types."""
        self.types: Final = types

    def fits(self, header: Rtp) -> bool:
        """Tell whether the packet's payload type was negotiated (SRT-1).

        Comfort noise of the static type goes without saying: gateways send it unasked.
        """
        kind = header.payload_type
        return self.types[kind] != _ABSENT or kind == _COMFORT_NOISE

    def look(self, payload: bytes, header: Rtp, extra_octets: int) -> Look:
        """Judge a packet by its size; *extra_octets* are those of tag and MKI (SRT-3)."""
        size = header.octets - header.header_octets
        if size < extra_octets:
            return _CLEAR
        code = self.types[header.payload_type]
        # How long padding is SRTP hides (RFC 3711 section 3.1).
        if code < 2 or payload[0] & _PADDING:
            return _UNKNOWN
        sizes = _SHAPES[code - 2].sizes
        is_clear = size in sizes
        if is_clear == ((size - extra_octets) in sizes):
            return _UNKNOWN
        return _CLEAR if is_clear else _SECURED

    def is_clear(self, payload: bytes, header: Rtp) -> bool:
        """Tell whether the packet's size is that of clear frames, and of no usual SRTP packet."""
        return all(self.look(payload, header, extra) is _CLEAR for extra in USUAL_EXTRAS)

    def look_at_step(self, before: Rtp, payload: bytes, header: Rtp, extra_octets: int) -> Look:
        """Judge a packet by its size and by the time since *before*, the packet before it.

        20 octets after 20 ms are two clear frames of G.729, 30 octets two frames with a tag
        of 80 bits; by their sizes alone both could be either.
        """
        size = header.octets - header.header_octets
        step = (header.timestamp - before.timestamp) & 0xFFFF_FFFF
        code = self.types[header.payload_type]
        if (
            code < 2
            or payload[0] & _PADDING
            or header.marker  # the first after a pause (RFC 3551 section 4.1)
            or header.ssrc != before.ssrc
            or header.payload_type != before.payload_type
            or (header.sequence - before.sequence) & 0xFFFF != 1
            or size != before.octets - before.header_octets
        ):
            return self.look(payload, header, extra_octets)
        for octets, ticks in _SHAPES[code - 2].frames:
            if size * ticks == step * octets:
                return _CLEAR
            if (size - extra_octets) * ticks == step * octets:
                return _SECURED
        return self.look(payload, header, extra_octets)


def appearance_of(media: Media) -> Appearance:
    """Return what RTP of one ``m=`` section's formats looks like."""
    formats = tuple([word for word in media.formats if len(word) <= 3])
    maps = tuple(
        [
            value
            for name, value in media.attributes
            if name == b"rtpmap" and len(value) <= _MAX_WORD_OCTETS
        ]
    )
    if len(formats) + len(maps) <= _MAX_CACHED_WORDS:
        return _read_cached(formats, maps)
    return _read(formats, maps)


@lru_cache(maxsize=1024)
def joined(one: Appearance, other: Appearance) -> Appearance:
    """Return what either side's formats look like; a type of two meanings shows nothing."""
    types = bytearray(one.types)
    for at, code in enumerate(other.types):
        if not types[at]:
            types[at] = code
        elif code and code != types[at]:
            types[at] = _OPAQUE
    return _shared(bytes(types))


@lru_cache(maxsize=1024)
def _shared(types: bytes) -> Appearance:
    return Appearance(types)


def _read(formats: tuple[bytes, ...], maps: tuple[bytes, ...]) -> Appearance:
    names: dict[int, int] = {}
    for value in maps:
        digits, _, encoding = value.partition(b" ")
        kind = _payload_type(digits)
        code = _CODE_OF.get(encoding.strip(b" ").upper().removesuffix(b"/1"), _OPAQUE)
        # Two meanings in one description: which of them counts nobody can say.
        names[kind] = code if names.get(kind, code) == code else _OPAQUE
    types = bytearray(_TYPES)
    for word in formats:
        kind = _payload_type(word)
        if kind >= 0:
            types[kind] = names.get(kind) or _CODE_OF.get(_STATIC.get(kind, b""), _OPAQUE)
    return _shared(bytes(types))


_read_cached: Final = lru_cache(maxsize=1024)(_read)


def _payload_type(digits: bytes) -> int:
    """Return a payload type, -1 if it is none."""
    if not digits.isdigit() or len(digits) > 3:
        return -1
    kind = int(digits)
    return kind if kind < _TYPES else -1


def looks_encrypted_rtcp(
    payload: bytes, tag_octets: int, mki_octets: int = 0, *, aead: bool = False
) -> bool:
    """Tell whether it is as long as SRTCP is, says that it is encrypted, and is no clear RTCP.

    The index stands before MKI and tag; of AEAD suites the tag comes first (SRT-2,
    RFC 7714 section 9). For RTCP that its first octets show to be such.
    """
    trailer = SRTCP_INDEX_OCTETS + mki_octets + tag_octets
    body = len(payload) - trailer
    if body < RTCP_HEADER_OCTETS or body % 4 or is_clear_rtcp(payload):
        return False
    # The first packet's length stays in clear, and nothing else can end behind the whole.
    if 4 + 4 * int.from_bytes(payload[2:4], "big") > body:
        return False
    index_at = len(payload) - mki_octets - SRTCP_INDEX_OCTETS if aead else body
    return bool(payload[index_at] & _ENCRYPTED)

"""wire/sdp: one strict reading of session descriptions (SDP-1 to SDP-9)."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.weight import Weight
from sipguard.wire.sdp import MAX_CRYPTOS, MAX_MEDIA, Fingerprint, Media, Sdp, parse_sdp

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
KEY = b"inline:YWxpY2VzX2tleV9hbmRfc2FsdF8zMF9vY3RldHMh"
CRYPTO = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 " + KEY
HEAD = [b"v=0", b"o=- 1 2 IN IP4 192.0.2.1", b"s=-", b"c=IN IP4 192.0.2.1", b"t=0 0"]
PRINT = b"a=fingerprint:SHA-256 " + b":".join([b"aB"] * 32)


def lines(*rest: bytes, head: list[bytes] | None = None) -> bytes:
    """Return a description of *head* (a usual one by default) and more lines."""
    return b"".join(line + b"\r\n" for line in [*(HEAD if head is None else head), *rest])


def media(*attributes: bytes, line: bytes = b"m=audio 4000 RTP/SAVP 0") -> Media:
    """Return the one media section of a usual description."""
    [section] = parse_sdp(lines(line, *attributes)).media
    return section


def reasons(sdp: Sdp) -> set[Reason]:
    return {finding.reason for finding in sdp.findings}


@pytest.mark.parametrize("letter", [b"o", b"s", b"t"])
def test_says_which_line_is_missing(letter: bytes) -> None:
    """SDP-2: the record names the one line that is not there, and no other."""
    head = [line for line in HEAD if not line.startswith(letter + b"=")]
    sdp = parse_sdp(lines(b"m=audio 4000 RTP/SAVP 0", head=head))
    [finding] = sdp.findings
    assert finding.reason is Reason.BAD_SDP
    assert finding.detail == f"no {letter.decode()}= line"
    assert not sdp.is_sound


def test_reads_a_usual_description() -> None:
    """Every field that pinholes and policies ask for."""
    body = lines(
        b"m=audio 4000 RTP/SAVP 0 101",
        b"a=rtpmap:0 PCMU/8000",
        CRYPTO,
        b"a=rtcp:4005 IN IP4 192.0.2.1",
        b"a=rtcp-mux",
        b"a=sendonly",
        b"m=video 0 RTP/SAVP 96",
        b"c=IN IP6 2001:db8::1",
    )
    sdp = parse_sdp(body)
    assert sdp.raw == body
    assert (sdp.session_id, sdp.session_version, sdp.origin_address) == (b"1", b"2", b"192.0.2.1")
    assert sdp.findings == ()
    assert sdp.is_sound
    audio, video = sdp.media
    assert audio.kind == b"audio"
    assert (audio.port, audio.port_count, audio.proto) == (4000, 1, b"RTP/SAVP")
    assert audio.formats == (b"0", b"101")
    assert audio.address == bytes((192, 0, 2, 1))
    assert audio.address_text == b"192.0.2.1"
    assert audio.direction == b"sendonly"
    assert audio.rtcp == (4005, bytes((192, 0, 2, 1)))
    assert audio.rtcp_mux
    assert audio.attributes[0] == (b"rtpmap", b"0 PCMU/8000")
    [crypto] = audio.cryptos
    assert (crypto.tag, crypto.problem) == (1, None)
    assert crypto.keys == (b"alices_key_and_salt_30_octets!",)
    assert (video.port, video.direction, len(video.address)) == (0, b"sendrecv", 16)
    assert video.rtcp is None
    assert not video.rtcp_mux


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"v=0\x01\x02\x7f" * 30,
        b"v=1\r\n",
        b" v=0\r\n",
        lines(b"a=x:\rm=audio 22 RTP/SAVP 0"),
        lines(b"a=x\0y"),
        lines(b"m=audio 4000 RTP/SAVP 0") + b"a=x\r",
        lines(b"a x"),
        lines(b"a"),
        lines(b"") + lines(b"m=audio 4000 RTP/SAVP 0"),
        lines(b"m=audio RTP/SAVP 0"),
        lines(b"m=audio 4000 RTP/SAVP"),
        lines(b"m=audio  4000 RTP/SAVP 0"),
        lines(b"m=audio 4000/0 RTP/SAVP 0"),
        lines(b"m=audio 4000/ RTP/SAVP 0"),
        lines(b"m=audio 70000 RTP/SAVP 0"),
        lines(b"m=audio 04000 RTP/SAVP 0"),
        lines(b"m=audio\t4000\tRTP/SAVP\t0"),
        lines(head=[HEAD[0], HEAD[0], *HEAD[1:]]),
        lines(head=[HEAD[0], HEAD[1], *HEAD[1:]]),
        lines(*[b"m=audio 4000 RTP/SAVP 0"] * (MAX_MEDIA + 1)),
        lines(b"m=audio 4000 RTP/SAVP 0", *[CRYPTO] * (MAX_CRYPTOS + 1)),
        lines(*[b"a=x"] * 5000),
        lines(b"a=" + b"x" * 70_000),
    ],
)
def test_what_can_be_read_two_ways_is_refused(body: bytes) -> None:
    """SDP-1, SDP-4, GEN-1: no Sdp exists for it."""
    with pytest.raises(HostileInput) as refused:
        parse_sdp(body)
    assert refused.value.reason is Reason.BAD_SDP


@pytest.mark.parametrize(
    "body",
    [
        lines(head=[HEAD[0], HEAD[2], HEAD[1], *HEAD[3:]]),  # s before o
        lines(head=[*HEAD[:3], HEAD[4], HEAD[3]]),  # c after t
        lines(b"m=audio 4000 RTP/SAVP 0", b"a=x", b"c=IN IP4 192.0.2.1"),
        lines(b"m=audio 4000 RTP/SAVP 0", b"t=0 0"),
        lines(b"x=unknown"),
        lines(head=[*HEAD[:2], *HEAD[3:]]),  # no s
        lines(head=HEAD[:4]),  # no t
        lines(head=[HEAD[0], *HEAD[2:]]),  # no o
        lines(head=[HEAD[0], b"o=- one 2 IN IP4 192.0.2.1", *HEAD[2:]]),
        lines(head=[HEAD[0], b"o=- 1 2 IN IP4", *HEAD[2:]]),
        lines(head=[*HEAD[:4], HEAD[3], HEAD[4]]),  # two c
        lines(b"m=audio 4000 RTP/SAVP 0", b"c=IN IP4 192.0.2.1", b"c=IN IP4 192.0.2.2"),
        lines(b"m=audio 4000 RTP/SAVP 0", head=[*HEAD[:3], HEAD[4]]),  # no c
        lines(b"m=audio 4000 RTP/SAVP 0", b"c=IN IP4 2001:db8::1"),
        lines(b"m=audio 4000 RTP/SAVP 0", b"c=IN IP9 192.0.2.1"),
        lines() + b"a=sendrecv\n",  # CRLF and LF mixed
    ],
)
def test_what_is_out_of_place_spoils_the_description(body: bytes) -> None:
    """SDP-1, SDP-2, SDP-3: it is read, but marked malformed and never opens a hole."""
    sdp = parse_sdp(body)
    assert Reason.BAD_SDP in reasons(sdp)
    assert not sdp.is_sound


@pytest.mark.parametrize(
    "body",
    [
        lines().replace(b"\r\n", b"\n"),
        lines().removesuffix(b"\r\n"),
        lines() + b"\r\n\r\n",
        lines(b"m=audio 4000 RTP/SAVP 0 "),
        lines(b"m=audio 4000/2 RTP/SAVP 0"),
        lines(b"a=", b"a=novalue"),
        lines(head=[*HEAD[:2], b"s= ", *HEAD[3:]]),
        lines(b"m=audio 0 RTP/SAVP 0", head=[*HEAD[:3], HEAD[4]]),
        lines(head=[HEAD[0], b"o=- -1 99999999999999999999 IN IP4 host", *HEAD[2:]]),
        lines(
            head=[
                *HEAD[:3],
                b"i=about",
                b"u=http://example.com",
                b"e=a@example.com",
                b"p=+1",
                b"e=b@example.com",
                HEAD[3],
                b"b=AS:64",
                b"b=CT:64",
                b"t=0 0",
                b"r=7d 1h 0",
                b"t=1 1",
                b"z=0 0",
                b"a=x",
            ]
        ),
    ],
)
def test_legal_and_harmless_forms_pass(body: bytes) -> None:
    """Honest senders write these; none is even noted."""
    assert parse_sdp(body).findings == ()


def test_empty_name_is_noted() -> None:
    """SDP-2: s= may not be empty, and many examples of RFCs are."""
    sdp = parse_sdp(lines(head=[*HEAD[:2], b"s=", *HEAD[3:]]))
    assert reasons(sdp) == {Reason.SDP_ODD}
    assert sdp.is_sound


@pytest.mark.parametrize(
    "address", [b"phone.example.com", b"224.2.1.1/127", b"192.0.2.1/24", b"192.0.2.010"]
)
def test_addresses_that_are_no_host(address: bytes) -> None:
    """SDP-3: names and scopes are legal, noted, and lead nowhere."""
    sdp = parse_sdp(lines(b"m=audio 4000 RTP/SAVP 0", b"c=IN IP4 " + address))
    assert reasons(sdp) == {Reason.BAD_SDP_ADDRESS}
    assert sdp.media[0].address == b""
    assert sdp.media[0].address_text == address


@pytest.mark.parametrize(
    "line",
    [CRYPTO, b"a=rtcp:4001", b"a=candidate:1 1 UDP 1 192.0.2.1 4000 typ host", b"a=zrtp-hash:1"],
)
def test_media_attributes_at_session_level_are_ignored(line: bytes) -> None:
    """SDP-5: a key at the wrong level keys nothing."""
    sdp = parse_sdp(lines(line, b"m=audio 4000 RTP/SAVP 0"))
    assert reasons(sdp) == {Reason.SDP_LEVEL}
    assert sdp.media[0].cryptos == ()
    assert sdp.media[0].rtcp is None


def test_session_level_is_inherited_and_overridden() -> None:
    """SDP-5: fingerprint, setup and direction hold for all media that do not say otherwise."""
    other = b"a=fingerprint:sha-1 " + b":".join([b"CD"] * 20)
    sdp = parse_sdp(
        lines(
            b"a=setup:actpass",
            PRINT,
            b"a=sendonly",
            b"m=audio 4000 UDP/TLS/RTP/SAVPF 0",
            b"m=audio 4002 UDP/TLS/RTP/SAVPF 0",
            b"a=setup:active",
            other,
            b"a=inactive",
        )
    )
    first, second = sdp.media
    assert first.fingerprints == (Fingerprint(b"sha-256", b"\xab" * 32),)
    assert (first.setup, first.direction) == (b"actpass", b"sendonly")
    assert second.fingerprints == (Fingerprint(b"sha-1", b"\xcd" * 20),)
    assert (second.setup, second.direction) == (b"active", b"inactive")


def test_bad_fingerprint_at_media_level_still_overrides() -> None:
    """DTL-1: a broken own fingerprint must not fall back to the session's good one."""
    sdp = parse_sdp(
        lines(
            PRINT,
            b"m=audio 4000 UDP/TLS/RTP/SAVP 0",
            b"a=fingerprint:md5 " + b":".join([b"AB"] * 16),
        )
    )
    assert sdp.media[0].fingerprints == ()
    assert reasons(sdp) == {Reason.BAD_FINGERPRINT}


@pytest.mark.parametrize(
    "value",
    [
        b"sha-256",
        b"sha-256 " + b"AB" * 32,
        b"sha-256 " + b":".join([b"AB"] * 31),
        b"sha-256 " + b":".join([b"AB"] * 33),
        b"sha-256 " + b":".join([b"AB"] * 31 + [b"XY"]),
        b"sha-256 " + b":".join([b"AB"] * 32) + b" ",
        b"md5 " + b":".join([b"AB"] * 16),
        b"md2 " + b":".join([b"AB"] * 16),
        b"rot-13 " + b":".join([b"AB"] * 32),
    ],
)
def test_unusable_fingerprints(value: bytes) -> None:
    """DTL-1: the digest must be of the length that its hash makes."""
    sdp = parse_sdp(lines(b"m=audio 4000 UDP/TLS/RTP/SAVP 0", b"a=fingerprint:" + value))
    assert sdp.media[0].fingerprints == ()
    assert reasons(sdp) == {Reason.BAD_FINGERPRINT}


def test_good_fingerprint_beside_a_bad_one() -> None:
    """DTL-1: several lines are allowed; one usable is enough."""
    section = media(b"a=fingerprint:md5 " + b":".join([b"AB"] * 16), PRINT)
    assert section.fingerprints == (Fingerprint(b"sha-256", b"\xab" * 32),)


def test_roles_that_contradict_each_other() -> None:
    """DTL-2: two a=setup lines of one level name no role at all."""
    assert media(b"a=setup:active", b"a=setup:passive").setup == b"invalid"
    assert media(b"a=setup:ACTIVE", b"a=setup:active").setup == b"active"
    assert media(b"a=setup:both").setup == b"invalid"


@pytest.mark.parametrize("value", [b"", b"x", b"70000", b"4001 IN IP4", b"4001 IN IP6 192.0.2.1"])
def test_unusable_rtcp_line(value: bytes) -> None:
    """RFC 3605: a broken a=rtcp is noted and ignored."""
    sdp = parse_sdp(lines(b"m=audio 4000 RTP/SAVP 0", b"a=rtcp:" + value))
    assert sdp.media[0].rtcp is None
    assert reasons(sdp) == {Reason.SDP_ODD}


def test_obsolete_key_line_is_noted() -> None:
    """SDP-7."""
    assert reasons(parse_sdp(lines(b"k=clear:secret"))) == {Reason.SDP_CLEAR_KEY}


def test_crypto_lines_with_one_tag_are_spoiled() -> None:
    """RFC 4568 9.1: an answer could not say which of them it takes; others stay good."""
    section = media(CRYPTO, CRYPTO, CRYPTO.replace(b":1", b":2", 1), b"a=crypto:?", b"a=crypto:")
    assert [crypto.problem for crypto in section.cryptos] == [
        Reason.BAD_CRYPTO,
        Reason.BAD_CRYPTO,
        None,
        Reason.BAD_CRYPTO,
        Reason.BAD_CRYPTO,
    ]


def test_findings_are_capped_but_never_the_heavy_one() -> None:
    """A flood of notes cannot grow the record nor hide what spoils the description."""
    sdp = parse_sdp(lines(*[b"a=rtcp:1"] * 500, b"m=audio 4000 RTP/SAVP 0", b"c=nonsense"))
    assert len(sdp.findings) <= 16
    assert not sdp.is_sound


LINES = st.sampled_from(
    [
        *HEAD,
        CRYPTO,
        PRINT,
        b"m=audio 4000 RTP/SAVP 0",
        b"m=video 5000/2 RTP/AVP 96",
        b"a=setup:actpass",
        b"a=rtcp:4001 IN IP6 ::1",
        b"a=rtcp-mux",
        b"a=",
        b"c=IN IP6 ff02::1",
        b"k=prompt",
        b"",
    ]
) | st.binary(max_size=40)


@given(
    st.binary(max_size=200)
    | st.lists(LINES, max_size=20).map(b"\r\n".join)
    | st.lists(LINES, max_size=20).map(b"\n".join)
    | st.lists(LINES, max_size=20).map(lambda more: lines(*more))
)
@example(b"v=0")
@example(b"v=0\n" * 3)
@example(b"\n")
def test_parse_sdp_is_total(body: bytes) -> None:
    """No octets raise anything but HostileInput, and what is returned keeps its promises."""
    try:
        sdp = parse_sdp(body)
    except HostileInput:
        return
    assert sdp.raw == body
    assert len(sdp.media) <= MAX_MEDIA
    assert sdp.is_sound == all(f.reason.weight is Weight.NOTE for f in sdp.findings)
    for section in sdp.media:
        assert 0 <= section.port <= 65_535
        assert len(section.address) in (0, 4, 16)
        assert all(crypto.keys for crypto in section.cryptos if crypto.problem is None)


def test_large_bodies_are_not_kept() -> None:
    """The cache holds small bodies only, so that its memory is bounded."""
    body = lines(b"m=audio 4000 RTP/SAVP 0", *[b"a=" + b"x" * 60] * 100)
    assert parse_sdp(body) is not parse_sdp(body)
    assert parse_sdp(lines()) is parse_sdp(lines())


# --- what nobody here wrote


def described(folder: str) -> Iterator[Path]:
    yield from sorted(CORPUS.glob(f"{folder}/*.sdp"))


def test_corpus_of_secure_descriptions_is_read() -> None:
    """rtpengine's SDES bodies all read soundly, and their keys have the right length."""
    for path in described("sdes/rtpengine-sdp"):
        sdp = parse_sdp(path.read_bytes())
        assert sdp.is_sound, path.name


def test_corpus_is_read_or_refused() -> None:
    """Nothing in the corpus escapes as another exception."""
    for path in [*CORPUS.glob("sdp/*/*.sdp"), *CORPUS.glob("sdes/*/*.sdp")]:
        with contextlib.suppress(HostileInput):
            parse_sdp(path.read_bytes())


def test_corpus_names_tell_validity() -> None:
    """PJSIP's fuzz seeds: what the file name calls broken has no usable key."""
    for path in described("sdes/pjsip-fuzz-seeds"):
        [section] = parse_sdp(path.read_bytes()).media
        assert [crypto.problem for crypto in section.cryptos] == [Reason.BAD_CRYPTO], path.name


_BODY = re.compile(rb"content-length *: *([0-9]+)\r\n(?:[^\r\n]+\r\n)*\r\n(?=v=0)", re.IGNORECASE)


@pytest.mark.parametrize(
    "name", ["baresip-sdes-udp", "baresip-dtls-udp", "linphone-sdes-udp", "linphone-zrtp-udp"]
)
def test_live_descriptions_are_sound(name: str) -> None:
    """What baresip and Linphone really send carries no finding at all."""
    path = CORPUS / "pcap" / "live-thirdparty" / f"{name}.pcap"
    capture = path.read_bytes() if path.exists() else b""
    bodies = list(_BODY.finditer(capture))
    assert bodies or not capture
    for found in bodies:
        sdp = parse_sdp(capture[found.end() : found.end() + int(found[1])])
        assert sdp.findings == ()
        assert sdp.media

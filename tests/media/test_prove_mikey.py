"""media/prove_mikey: packets held against what MIKEY messages bring (MIK-13, SRT-1 to SRT-10)."""

import hmac
import struct
from collections.abc import Sequence

import mikey_builder as m
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.media.appearance import appearance_of
from sipguard.media.mikey import Context, MikeyChecks
from sipguard.media.mikey_keys import MediaKey
from sipguard.media.mikey_view import SideKeys
from sipguard.media.proof import Flight, Sight, Word
from sipguard.media.prove_mikey import (
    MAX_CANDIDATES,
    MAX_LEAKS,
    MIN_UNKNOWN,
    MikeyProver,
    MikeySide,
)
from sipguard.media.suites import derive
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.wire.sdp import parse_sdp

SUITE = b"AES_CM_128_HMAC_SHA1_80"
KEY, OTHER = b"k" * 30, b"o" * 30
LOOKS = appearance_of(
    parse_sdp(
        b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
        b"m=audio 26000 RTP/SAVP 0 18 96\r\na=rtpmap:96 opus/48000/2\r\n"
    ).media[0]
)

# Of the same call as the messages: two packets of the caller and two of the callee.
CALLERS = tuple(
    bytes.fromhex(text)
    for text in (
        "80803cddd799ab2e5f2a29c84fcdea84e0ecaeddd8237770b1fa3e4db2c043afafd29782bb29c256ac656ecf"
        "b804110c6d9fe77df547659e5cd594c44eb8dfe4a4792e0d6a4d099aaeeea09b993aa4d7a4487a67a14fe440"
        "2e7ca3d1b5a0881a3bdd73c99a51f3f4ddac000153883845ffc9fd1e00cec0d88fda700a7a37f715c166dceb"
        "745d30c5795859744700f15848b77289c911c9a2071fd26726e9b806ea76ed757a5e9a50d2ca7ef323c21691"
        "e9fc2124a263",
        "80003cded799abce5f2a29c83c865bc34a5d2dcf756e2844153946bf1f3b85da206c3fac6fd60563a650e4b5"
        "050c5cffe8ddac98fb20c7bfceab3f8bb329002e656f4c3362889faccab06f9d5e2e4c22c9374391ee01ac8e"
        "83c102464d539f1341816783f87e7c91dc76b93a41d888e490bc2a76f09c4fd0b5a0f6eb419fb8eea24d893f"
        "2752b6dd8c4fbdd8d5c6b751194f1ab20d0a525c7147023755a0715ffb4054d169be084089656f517dcbe152"
        "1574db685f59",
    )
)
CALLEES = tuple(
    bytes.fromhex(text)
    for text in (
        "808041314db88860d2983a562420178b0ef81ecd1539014249398e462b4816436927c7804365d3da79865105"
        "dea6c1ddc61b595bc9c69716946ec76a056e0d23dd58e10ec4a77fec8aeb59850edbcca822b787c1e8a29b5a"
        "46ccd6e0e169fe1ac1fb57e2d249dffd7fa8370776fc88faae9476d9b450fd93beeef93050bec181406467a6"
        "7dcd45fe591c3d66eb50cab950f2b9e5d0b7ce9dc2dc08aa9dc0e7094843f88d3f3bd1792085064d5f494e7b"
        "05fb7660152e",
        "800041324db88900d2983a56f20929669abc2b2f38a74c7cd2ce58a1afb6ed1cdb8d7763491ada9f814f6b6a"
        "7ba4ff82ef801f059bfeebed5f56da60bfd1962607ce657896797a072bb320192b7f8b67ee1a986b01dcf5a5"
        "34dcff8055a1c011e0caac1f13cfb900336fe933fde281ea58a844bac5aec2d77dbf7f57218f2881457a447c"
        "298491fcf50730736622e8ff57bb13649e5ee29fa5f87590b6102eeee5229ebb6c7c44ec6948da8d49f7c290"
        "3a998b5af2ae",
    )
)


def rtp(sequence: int, ssrc: int = 7, size: int = 160, kind: int = 0) -> bytes:
    header = struct.pack("!BBHII", 0x80, kind, sequence, 160 * sequence, ssrc)
    return header + b"\xd5" * size


def srtp(
    sequence: int, ssrc: int = 7, key: bytes = KEY, mki: bytes = b"", size: int = 160
) -> bytes:
    packet = rtp(sequence, ssrc, size)
    secret = bytes(derive(key[:16], key[16:], 1, 0, 20))
    return packet + mki + hmac.new(secret, packet + bytes(4), "sha1").digest()[:10]


def rtcp(ssrc: int = 7) -> bytes:
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc)


def srtcp(index: int, ssrc: int = 7, key: bytes = KEY) -> bytes:
    packet = rtcp(ssrc) + struct.pack("!I", 0x8000_0000 | index)
    secret = bytes(derive(key[:16], key[16:], 4, 0, 20))
    return packet + hmac.new(secret, packet, "sha1").digest()[:10]


def key_of(key: bytes = KEY, ssrc: int = 7, mki: bytes = b"", cs_id: int = 1) -> MediaKey:
    return MediaKey(cs_id, SUITE, key, ssrc, 0, mki)


def side(
    keys: Sequence[MediaKey] = (), ssrcs: tuple[int, ...] = (), suite: bytes = SUITE
) -> MikeySide:
    return MikeySide(SideKeys(suite, ssrcs, tuple(keys)))


def prover(keys: Sequence[MediaKey] = (), ssrcs: tuple[int, ...] = ()) -> MikeyProver:
    return MikeyProver(side(keys, ssrcs), side(), LOOKS)


def see(
    room: MikeyProver, payload: bytes, *, by_caller: bool = True, is_rtcp: bool = False,
    now_s: float = 0.0,
) -> Sight:  # fmt: skip
    return room.see(Flight(by_caller, is_rtcp, 26000, payload, now_s))


def refusal(sight: Sight) -> Reason:
    assert sight.word is Word.REFUSE
    assert sight.finding is not None
    return sight.finding.reason


def words(room: MikeyProver, *payloads: bytes, now_s: float = 0.0) -> list[Word]:
    return [see(room, payload, now_s=now_s).word for payload in payloads]


def test_a_real_call_is_proven_by_its_tags() -> None:
    """GStreamer's messages and packets: each side's first packet, under its own key."""
    then = Moment(0.0, m.GSTREAMER_S)
    room = MikeyChecks()
    context = Context(b"call", (b"mikey",), then)
    offer = room.examine(m.GSTREAMER_OFFER, context)
    keys = room.agree(offer, m.GSTREAMER_ANSWER, context).whole()
    stream = MikeyProver(MikeySide(keys.offerer), MikeySide(keys.answerer), LOOKS)
    for by_caller, packets in ((True, CALLERS), (False, CALLEES)):
        for packet in packets:
            assert see(stream, packet, by_caller=by_caller).word is Word.PROVEN
            assert refusal(see(stream, packet, by_caller=not by_caller)) is Reason.SRTP_TAG
        assert stream.told(by_caller) == "SRTP tag right under the key of the MIKEY message"
    assert refusal(see(stream, CALLERS[0][:-1] + b"x")) is Reason.SRTP_TAG


def test_a_visible_key_proves_at_once_and_nothing_else_does() -> None:
    """Neither another key nor clear RTP; what was seen before is a replay."""
    room = prover([key_of()])
    assert refusal(see(room, srtp(1, key=OTHER))) is Reason.SRTP_TAG
    assert "refused: not made with the MIKEY key" in room.told(True)
    assert words(room, srtp(2)) == [Word.PROVEN]
    assert refusal(see(room, srtp(2))) is Reason.SRTP_REPLAY
    assert words(room, srtp(3)) == [Word.PROVEN]


def test_a_key_for_one_ssrc_is_for_no_other() -> None:
    """RFC 3830 section 6.1.1: that SSRC must be used; without one, any may."""
    room = prover([key_of(ssrc=7)])
    assert refusal(see(room, srtp(1, ssrc=8))) is Reason.SRTP_TAG
    free = prover([key_of(ssrc=-1)])
    assert words(free, srtp(1, ssrc=8), srtp(1, ssrc=9)) == [Word.PROVEN] * 2


def test_each_of_several_keys_is_tried() -> None:
    """Two sessions whose owner nobody says; and keys with MKIs, which packets name."""
    room = prover([key_of(OTHER, -1, cs_id=1), key_of(KEY, -1, cs_id=2)])
    assert words(room, srtp(1)) == [Word.PROVEN]
    named = prover([key_of(KEY, 7, b"\x01"), key_of(OTHER, 7, b"\x02")])
    assert words(named, srtp(1, mki=b"\x01"), srtp(2, key=OTHER, mki=b"\x02")) == [Word.PROVEN] * 2
    for wrong in (srtp(3), srtp(3, mki=b"\x02"), srtp(3, mki=b"\x03")):
        assert refusal(see(named, wrong)) is Reason.SRTP_TAG


def test_too_many_keys_are_as_good_as_none() -> None:
    """Work for each packet is bounded; the stream is judged by its looks."""
    few, many = side([key_of()] * MAX_CANDIDATES), side([key_of()] * (MAX_CANDIDATES + 1))
    assert (few.is_keyed, many.is_keyed) == (True, False)


@pytest.mark.parametrize("keys", [(), (key_of(),)])
def test_telephones_leak_a_little_clear_rtp(keys: Sequence[MediaKey]) -> None:
    """Dropped without a word; what goes on in clear is refused, and never proves."""
    room = prover(keys)
    clear = [rtp(n) for n in range(MAX_LEAKS + 2)]
    assert words(room, *clear) == [Word.QUIET] * MAX_LEAKS + [Word.REFUSE] * 2
    assert refusal(see(room, rtp(9))) is Reason.PLAIN_RTP
    assert room.told(True).startswith("no SRTP yet; refused: RTP in clear")


def test_without_a_visible_key_looks_decide() -> None:
    """As long as SRTP makes it: one packet of PCMU shows that."""
    room = prover(ssrcs=(7,))
    assert words(room, srtp(1)) == [Word.PROVEN]
    assert room.told(True).startswith("looks like SRTP of the announced SSRC")
    plain = prover()
    assert words(plain, srtp(1)) == [Word.PROVEN]
    assert plain.told(True).startswith("looks like SRTP; the key")
    assert plain.told(False) == "no SRTP yet"


def test_codecs_whose_frames_vary_need_more_packets() -> None:
    """Nothing can be told of opus but that it goes on."""
    packets = [rtp(n, kind=96, size=50 + 7 * n) for n in range(MIN_UNKNOWN)]
    proven = [Word.PASS] * (MIN_UNKNOWN - 1) + [Word.PROVEN]
    assert words(prover(ssrcs=(7,)), *packets) == proven
    others = [rtp(n, ssrc=n, kind=96, size=91) for n in range(6)]
    assert words(prover(), *others) == [Word.PASS] * 6


def test_steps_of_time_tell_what_sizes_do_not() -> None:
    """20 octets of G.729 are 20 ms in clear, 30 octets are the same with a tag."""
    sealed = [rtp(n, kind=18, size=30) for n in (1, 2)]
    assert words(prover(), *sealed) == [Word.PASS, Word.PROVEN]
    clear = [rtp(n, kind=18, size=20) for n in range(1, 10)]
    assert words(prover(), *clear) == [Word.PASS, Word.QUIET, Word.QUIET] + [Word.REFUSE] * 6
    lossy = [rtp(n, kind=18, size=20) for n in (1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 17, 18, 20)]
    assert Word.PROVEN not in words(prover(), *lossy)
    other = [rtp(1, kind=18, size=30), rtp(2, ssrc=8, kind=18, size=20)]
    assert words(prover(), *other) == [Word.PASS, Word.PASS]


def test_an_mki_of_unknown_length_does_no_harm() -> None:
    """Only the key tells it: neither clear nor surely SRTP, so it takes some packets."""
    packets = [srtp(n, mki=b"\1\2\3") for n in range(MIN_UNKNOWN)]
    assert words(prover(ssrcs=(7,)), *packets)[-1] is Word.PROVEN


def test_mik_13_announced_ssrcs_are_the_only_ones() -> None:
    """Where the key cannot be seen, they are all that ties packets to the message."""
    room = prover(ssrcs=(7, 9))
    assert refusal(see(room, srtp(1, ssrc=8))) is Reason.SSRC_CHANGES
    assert refusal(see(room, srtcp(1, ssrc=8), is_rtcp=True)) is Reason.SSRC_CHANGES
    assert words(room, srtp(1, ssrc=9)) == [Word.PROVEN]


def test_ssrcs_that_nobody_announced_are_bounded() -> None:
    """Each packet with another one is no stream."""
    room = prover()
    for ssrc in range(16):
        assert see(room, rtp(1, ssrc, kind=96, size=91)).word is Word.PASS
    assert refusal(see(room, rtp(1, 99, kind=96, size=91))) is Reason.SSRC_CHANGES


def test_srtcp_proves_its_own_port() -> None:
    """By its tag, or by its looks; in clear it is a leak, and then refused."""
    room = prover([key_of()])
    assert see(room, srtcp(1), is_rtcp=True).word is Word.PROVEN
    assert refusal(see(room, srtcp(1), is_rtcp=True)) is Reason.SRTP_REPLAY
    assert refusal(see(room, srtcp(2, key=OTHER), is_rtcp=True)) is Reason.SRTP_TAG
    hidden = prover()
    assert see(hidden, srtcp(1), is_rtcp=True).word is Word.PROVEN
    for stream in (prover([key_of()]), prover()):
        sights = [see(stream, rtcp(), is_rtcp=True) for _ in range(MAX_LEAKS + 1)]
        assert [sight.word for sight in sights[:-1]] == [Word.QUIET] * MAX_LEAKS
        assert refusal(sights[-1]) is Reason.PLAIN_RTP
    assert refusal(see(room, srtp(1), is_rtcp=True)) is Reason.BAD_RTCP


def test_srtcp_that_says_it_is_open_is_in_clear() -> None:
    """The E bit is off, whatever its tag (SRT-2)."""
    packet = rtcp() + struct.pack("!I", 5)
    secret = bytes(derive(KEY[:16], KEY[16:], 4, 0, 20))
    packet += hmac.new(secret, packet, "sha1").digest()[:10]
    room = prover([key_of()])
    assert [see(room, packet).word for _ in range(3)] == [Word.QUIET, Word.QUIET, Word.REFUSE]


def test_on_a_shared_port_rtp_proves_if_there_is_any() -> None:
    """Encrypted RTCP beside clear RTP is easy to make; a held stream has RTCP alone."""
    room = prover()
    assert words(room, srtcp(1), now_s=0.0) == [Word.PASS]
    assert words(room, srtcp(2), now_s=1.5) == [Word.PROVEN]
    talking = prover()
    assert words(talking, srtcp(1), rtp(1), srtcp(2)) == [Word.PASS, Word.QUIET, Word.PASS]
    assert words(talking, srtcp(3), now_s=9.0) == [Word.PASS]
    assert words(talking, srtp(2), srtcp(4)) == [Word.PROVEN] * 2


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        (b"", Word.QUIET),
        (b"\r\n\r\n", Word.QUIET),
        (bytes.fromhex("000100002112a442") + b"t" * 12, Word.PASS),
        (bytes.fromhex("000100082112a442") + b"t" * 12, Word.REFUSE),
        (b"\x10\x00" + b"ZRTP" * 5, Word.QUIET),
        (b"\x16\xfe\xff" + bytes(20), Word.REFUSE),
        (b"\xff" * 40, Word.REFUSE),
        (b"\x40\x00" + bytes(20), Word.REFUSE),
        (b"\x80" * 11, Word.REFUSE),
        (rtp(1, kind=5), Word.REFUSE),
    ],
)
def test_what_else_comes_on_a_media_port(payload: bytes, word: Word) -> None:
    """Keep-alives, STUN, ZRTP, DTLS, garbage, payload types that nobody negotiated."""
    for room in (prover(), prover([key_of()])):
        assert see(room, payload).word is word


@pytest.mark.parametrize("keys", [(), (key_of(),)])
def test_samples_take_a_proof_back_after_some_doubt(keys: Sequence[MediaKey]) -> None:
    """Three in a row: a single odd packet may come from elsewhere."""
    room = prover(keys)
    assert words(room, srtp(1)) == [Word.PROVEN]

    def sample(payload: bytes) -> Word:
        return room.sample(Flight(True, False, 26000, payload, 1.0)).word

    assert [sample(rtp(2)), sample(rtp(3)), sample(srtp(4))] == [Word.PASS] * 3
    assert [sample(rtp(5)), sample(rtp(6))] == [Word.PASS] * 2
    last = room.sample(Flight(True, False, 26000, rtp(7), 1.0))
    assert refusal(last) is (Reason.SRTP_TAG if keys else Reason.PLAIN_RTP)
    assert room.told(True).startswith("no SRTP yet")
    assert sample(b"\0\1") is Word.PASS


def test_samples_of_srtcp_count_as_well() -> None:
    """Clear RTCP, or under another key."""
    for keys, bad in (((), rtcp()), ((key_of(),), srtcp(9, key=OTHER)), ((key_of(),), b"\x80\xc9")):
        room = prover(keys)
        flights = [Flight(True, True, 26000, bad, 1.0) for _ in range(3)]
        assert [room.sample(flight).word for flight in flights][-1] is Word.REFUSE
        good = Flight(True, True, 26000, srtcp(10), 2.0)
        assert room.sample(good).word is Word.PASS


def test_sides_compare_by_what_packets_are_held_against() -> None:
    """The same keys and SSRCs: what was proven stays proven after a new offer and answer."""
    one = side([key_of()], (7,))
    assert one.same_as(side([key_of()], (7,)))
    for other in (
        side([key_of()], (8,)),
        side([key_of(OTHER)], (7,)),
        side([key_of(mki=b"\1")], (7,)),
        side([], (7,)),
        side([key_of()], (7,), b"AES_CM_128_HMAC_SHA1_32"),
    ):
        assert not one.same_as(other)


def test_wiped_keys_prove_nothing() -> None:
    """And show nothing while they are there (SRT-10)."""
    keyed = side([key_of()])
    room = MikeyProver(keyed, side(), LOOKS)
    assert "kkkk" not in repr(keyed) + repr(room) + repr(keyed.keys())
    room.wipe()
    assert refusal(see(room, srtp(1))) is Reason.SRTP_TAG
    assert keyed.same_as(side([key_of(bytes(30))]))


@given(
    st.binary(max_size=60) | st.binary(max_size=200).map(lambda b: b"\x80\x00" + b)
    | st.binary(max_size=60).map(lambda b: b"\x80\xc9" + b),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_proving_is_total(payload: bytes, by_caller: bool, is_rtcp: bool, keyed: bool) -> None:
    """Whatever the octets; nobody without the key proves a keyed direction."""
    room = prover([key_of(ssrc=-1)] if keyed else [])
    flight = Flight(by_caller, is_rtcp, 26000, payload, 0.0)
    sight = room.see(flight)
    assert (sight.word is Word.REFUSE) <= (sight.finding is not None)
    assert not (keyed and by_caller and sight.word is Word.PROVEN)
    room.sample(flight)
    assert room.told(by_caller)

"""media/srtp: keys, tags, replay and roll-over (SRT-5 to SRT-10, VEC-17 to VEC-19)."""

import hmac
import struct
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from libsrtp import SETTERS, Protector, library
from srtp_sender import SSRC, Sender, rtcp, rtp

from sipguard.errors import HostileInput
from sipguard.media.srtp import (
    FIRST_ROCS,
    MAX_PACKETS_PER_S,
    MAX_SSRCS,
    WINDOW,
    SrtpKeys,
    Tag,
    guess_index,
    lost_rocs,
)
from sipguard.media.suites import (
    AUTH_KEY,
    CIPHER_KEY,
    CIPHER_SALT,
    RTCP_LABELS,
    SUITES,
    MasterKey,
    derive,
    overwrite,
)
from sipguard.wire.crypto import KEY_OCTETS
from sipguard.wire.rtp import parse_rtp

AES_80 = b"AES_CM_128_HMAC_SHA1_80"
AES_32 = b"AES_CM_128_HMAC_SHA1_32"
GCM = b"AEAD_AES_128_GCM"


def secret_of(suite: bytes, seed: int = 0) -> bytes:
    return bytes((at * 7 + seed) & 0xFF for at in range(KEY_OCTETS[suite]))


def keys_of(suite: bytes, *mkis: bytes, rate: int = -1) -> SrtpKeys:
    masters = [
        MasterKey(bytearray(secret_of(suite, seed)), mki) for seed, mki in enumerate(mkis or (b"",))
    ]
    return SrtpKeys(SUITES[suite], masters, rate)


def sender_of(suite: bytes, seed: int = 0, rate: int = -1, prf_octets: int = 0) -> Sender:
    return Sender(suite, secret_of(suite, seed), rate, prf_octets)


def verify(keys: SrtpKeys, packet: bytes, now_s: float = 0.0) -> Tag:
    return keys.verify_rtp(packet, parse_rtp(packet), now_s)


# --- key derivation


@pytest.mark.parametrize(
    ("key", "salt", "label", "expected"),
    [
        (
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
            CIPHER_KEY,
            "c61e7a93744f39ee10734afe3ff7a087",
        ),
        (
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
            CIPHER_SALT,
            "30cbbc08863d8c85d49db34a9ae1",
        ),
        (
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
            AUTH_KEY,
            "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbce"
            "e049646c43d9327ad175578ef72270986371c10c9a369ac2f94a8c5fbcdddc25"
            "6d6e919a48b610ef17c2041e474035766b68642c59bbfc2f34db60dbdfb2",
        ),
        (
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
            "3b04803de51ee7c96423ab5b78d2",
            CIPHER_KEY,
            "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
        ),
        (
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
            "3b04803de51ee7c96423ab5b78d2",
            CIPHER_SALT,
            "fa31791685ca444a9e07c6c64e93",
        ),
        (
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
            "3b04803de51ee7c96423ab5b78d2",
            AUTH_KEY,
            "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
        ),
        (
            "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1",
            "c8522f3acd4ce86d5add78edbb11",
            CIPHER_KEY,
            "31874736a8f1143870c26e4857d8a5b2c4a354407faadabb",
        ),
        (
            "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1",
            "c8522f3acd4ce86d5add78edbb11",
            CIPHER_SALT,
            "2372b82d639b6d8503a47adc0a6c",
        ),
        (
            "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1",
            "c8522f3acd4ce86d5add78edbb11",
            AUTH_KEY,
            "355b10973cd95b9eacf4061c7e1a7151e7cfbfcb",
        ),
    ],
)
def test_session_keys_of_the_rfcs(key: str, salt: str, label: int, expected: str) -> None:
    """VEC-17, VEC-18: RFC 3711 appendix B.3, RFC 6188 sections 7.2 and 7.4."""
    found = derive(bytes.fromhex(key), bytes.fromhex(salt), label, 0, len(expected) // 2)
    assert found.hex() == expected


def test_periods_and_short_salts() -> None:
    """RFC 3711 section 4.3.1: label and period come into the salt; RFC 7714: at its left."""
    key, salt = bytes(range(16)), bytes(range(32, 46))
    mixed = (int.from_bytes(salt, "big") ^ (4 << 48 | 0x010203)).to_bytes(14, "big")
    assert derive(key, salt, 4, 0x010203, 20) == derive(key, mixed, 0, 0, 20)
    assert derive(key, salt[:12], 1, 0, 20) == derive(key, salt[:12] + b"\0\0", 1, 0, 20)


def test_every_suite_of_a_crypto_line_is_known() -> None:
    """SDE-1: what wire.crypto lets through must have lengths here, the same ones."""
    assert {
        name: suite.key_octets + suite.salt_octets for name, suite in SUITES.items()
    } == KEY_OCTETS
    for name, suite in SUITES.items():
        assert suite.rtp_tag_octets == (16 if suite.is_aead else 4 if name.endswith(b"_32") else 10)
        assert suite.rtcp_tag_octets == (16 if suite.is_aead else 10)


# --- tags


@pytest.mark.parametrize(
    ("key_octets", "packet"),
    [
        (
            16,
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd5"
            "0d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            32,
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab1801238"
            "9a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ],
)
def test_srtp_packets_of_rfc_7714(key_octets: int, packet: str) -> None:
    """VEC-19: sections 16.1.1 and 16.2.1, whose keys are session keys."""
    sealed = bytes.fromhex(packet)
    assert _with_session_keys(key_octets).verify_rtp(sealed, parse_rtp(sealed), 0.0) is Tag.RIGHT


@pytest.mark.parametrize(
    ("key_octets", "packet"),
    [
        (
            16,
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32d"
            "c676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf872"
            "45d9eade800005d4",
        ),
        (
            32,
            "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50"
            "a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6c"
            "b26ac3be800005d4",
        ),
    ],
)
def test_srtcp_packets_of_rfc_7714(key_octets: int, packet: str) -> None:
    """VEC-19: sections 17.1 and 17.2."""
    assert _with_session_keys(key_octets).verify_rtcp(bytes.fromhex(packet), 0.0) is Tag.RIGHT


def test_srtcp_that_is_only_authenticated_is_open() -> None:
    """SRT-2: section 17.3 of RFC 7714 has E=0, which nobody negotiated."""
    packet = bytes.fromhex(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeef"
        "deadbeefdeadbeefdeadbeef841dd9683dd78ec92ae58790125f62b3000005d4"
    )
    assert _with_session_keys(16).verify_rtcp(packet, 0.0) is Tag.OPEN


def _with_session_keys(key_octets: int) -> SrtpKeys:
    """Return keys whose session keys are those of RFC 7714, put in place of derived ones."""
    suite = SUITES[b"AEAD_AES_%d_GCM" % (key_octets * 8)]
    master = MasterKey(bytearray(suite.key_octets + suite.salt_octets))
    keys = SrtpKeys(suite, [master])
    for session in (keys._rtp_keys(master, 0), keys._rtcp_keys(master, 0)):
        session.cipher = AESGCM(bytes(range(key_octets)))
        session.salt = int.from_bytes(b"Quid pro quo", "big")
    return keys


needs_libsrtp = pytest.mark.skipif(library() is None, reason="needs Debian's libsrtp2-1")


@pytest.fixture
def protector() -> Iterator[Callable[..., Protector]]:
    made: list[Protector] = []

    def make(suite: bytes, *mkis: bytes) -> Protector:
        keys = [(secret_of(suite, seed), mki) for seed, mki in enumerate(mkis or (b"",))]
        made.append(Protector(suite, keys))
        return made[-1]

    yield make
    for one in made:
        one.close()


@needs_libsrtp
@pytest.mark.parametrize("mkis", [(), (b"\0\0\0\1", b"\0\0\0\2"), (bytes(127) + b"\1",)])
@pytest.mark.parametrize("suite", SETTERS)
def test_what_libsrtp_sends_is_right(
    suite: bytes, mkis: tuple[bytes, ...], protector: Callable[..., Protector]
) -> None:
    """Every suite, with and without MKI, RTP and RTCP, as SEQ goes round."""
    sender, keys = protector(suite, *mkis), keys_of(suite, *mkis)
    for at in range(6):
        key = at % max(len(mkis), 1)
        packet = sender.rtp(rtp(65_533 + at), key)
        assert len(packet) == 172 + keys.rtp_extra_octets
        assert verify(keys, packet, at / 50) is Tag.RIGHT
        assert verify(keys, packet, at / 50) is Tag.REPLAYED
        report = sender.rtcp(rtcp(), key)
        assert len(report) == 32 + 4 + keys.rtcp_extra_octets
        assert keys.verify_rtcp(report, at / 50) is Tag.RIGHT
        assert keys.verify_rtcp(report, at / 50) is Tag.REPLAYED


@needs_libsrtp
@pytest.mark.parametrize("suite", SETTERS)
def test_headers_with_sources_extension_and_padding(
    suite: bytes, protector: Callable[..., Protector]
) -> None:
    """SRT-1: SRTP leaves all of them in clear, and the tag covers them."""
    packet = struct.pack("!BBHLL", 0xB2, 0, 7, 160, SSRC) + bytes(8)
    packet += b"\xbe\xde\0\1" + bytes(4) + bytes(15) + b"\1"
    sent = protector(suite).rtp(packet)
    assert verify(keys_of(suite), sent) is Tag.RIGHT
    changed = bytearray(sent)
    changed[14] ^= 1  # of the first CSRC
    assert verify(keys_of(suite), bytes(changed)) is Tag.WRONG


@pytest.mark.parametrize("suite", [b"AES_192_CM_HMAC_SHA1_80", b"AES_CM_192_HMAC_SHA1_32"])
def test_the_first_packet_chooses_between_the_ways_of_aes_192(suite: bytes) -> None:
    """As RFC 6188 has it, or as libsrtp had it for years: both prove the key, one per stream."""
    plain, padded = sender_of(suite), sender_of(suite, prf_octets=32)
    for one, other in ((plain, padded), (padded, plain)):
        keys = keys_of(suite)
        assert verify(keys, rtp(1, size=170)) is Tag.WRONG
        assert verify(keys, one.rtp(2)) is Tag.RIGHT
        assert verify(keys, other.rtp(3)) is Tag.WRONG
        assert keys.verify_rtcp(other.rtcp(3), 0.0) is Tag.WRONG
        assert verify(keys, one.rtp(4)) is Tag.RIGHT
        keys = keys_of(suite)
        assert keys.verify_rtcp(one.rtcp(1), 0.0) is Tag.RIGHT
        assert keys.verify_rtcp(other.rtcp(2), 0.0) is Tag.WRONG
        assert verify(keys, one.rtp(1)) is Tag.RIGHT


@pytest.mark.parametrize("suite", [AES_80, AES_32, b"AES_256_CM_HMAC_SHA1_80", GCM])
@given(st.data())
def test_any_change_to_what_the_tag_covers_is_seen(suite: bytes, data: st.DataObject) -> None:
    """SRT-7: header, payload and tag of RTP; of RTCP the index as well."""
    sender = sender_of(suite)
    for packet in (sender.rtp(7), sender.rtcp(7)):
        at = data.draw(st.integers(0, len(packet) - 1))
        changed = bytearray(packet)
        changed[at] ^= data.draw(st.integers(1, 255))
        assert _told(keys_of(suite), packet) is Tag.RIGHT
        assert _told(keys_of(suite), bytes(changed), packet[1] == 201) in (Tag.WRONG, Tag.OPEN)


def _told(keys: SrtpKeys, packet: bytes, is_rtcp: bool | None = None) -> Tag:
    if packet[1] == 201 if is_rtcp is None else is_rtcp:
        return keys.verify_rtcp(packet, 0.0)
    try:
        return verify(keys, packet)
    except HostileInput:
        return Tag.WRONG


@pytest.mark.parametrize("suite", SUITES)
def test_what_is_cut_is_wrong(suite: bytes) -> None:
    """Total: from nothing to the whole packet but one octet."""
    sender = sender_of(suite)
    for packet, header in ((sender.rtp(1), 12), (sender.rtcp(1), 8)):
        for octets in range(header, len(packet)):
            assert _told(keys_of(suite), packet[:octets]) in (Tag.WRONG, Tag.OPEN)


def test_a_report_without_a_sender_is_wrong() -> None:
    """SRT-2: eight octets of header at least, even where the key was right."""
    short = b"\x80\xc9\0\0" + b"\x80\0\0\1"
    whole = hmac.digest(sender_of(AES_80).key(4, 1, 20), short, "sha1")
    assert keys_of(AES_80).verify_rtcp(short + whole[:10], 0.0) is Tag.WRONG


@pytest.mark.parametrize("suite", [AES_80, AES_32, GCM])
def test_empty_payloads_have_tags_too(suite: bytes) -> None:
    """What only keeps a path open (RFC 6263), and a report of one word."""
    assert verify(keys_of(suite), sender_of(suite).rtp(1, size=0)) is Tag.RIGHT


@given(st.binary(max_size=120), st.sampled_from(sorted(SUITES)), st.sampled_from([b"", b"\0\1"]))
def test_verifying_is_total(octets: bytes, suite: bytes, mki: bytes) -> None:
    """Nothing raises, and nothing by chance is right."""
    keys = keys_of(suite, mki)
    assert keys.verify_rtcp(octets, 0.0) is not Tag.RIGHT
    assert _told(keys, b"\x80" + octets, is_rtcp=False) is not Tag.RIGHT


# --- several master keys


@pytest.mark.parametrize("suite", [AES_80, AES_32, GCM])
def test_the_mki_chooses_the_key(suite: bytes) -> None:
    """RFC 3711 section 3.1: and an MKI that nobody negotiated has none."""
    keys = keys_of(suite, b"\0\1", b"\0\2")
    for index, (seed, mki) in enumerate([(0, b"\0\1"), (1, b"\0\2"), (0, b"\0\1")]):
        assert verify(keys, sender_of(suite, seed).rtp(index, mki=mki)) is Tag.RIGHT
        assert keys.verify_rtcp(sender_of(suite, seed).rtcp(index, mki=mki), 0.0) is Tag.RIGHT
    assert verify(keys, sender_of(suite, 1).rtp(9, mki=b"\0\1")) is Tag.WRONG
    assert verify(keys, sender_of(suite, 0).rtp(9, mki=b"\0\3")) is Tag.WRONG
    assert verify(keys, sender_of(suite, 0).rtp(9)) is Tag.WRONG
    assert keys.verify_rtcp(sender_of(suite, 0).rtcp(9, mki=b"\0\3"), 0.0) is Tag.WRONG


@pytest.mark.parametrize("rate", [0, 1, 4, 24])
@pytest.mark.parametrize("suite", [AES_80, GCM])
def test_session_keys_change_with_the_rate(suite: bytes, rate: int) -> None:
    """SRT-8: KDR=n derives anew every 2^n packets, and late packets need the old keys."""
    keys, sender = keys_of(suite, rate=rate), sender_of(suite, rate=rate)
    for index in (0, 1, 2, 15, 17, 16, 65_535, 65_540):
        assert verify(keys, sender.rtp(index)) is Tag.RIGHT
        assert keys.verify_rtcp(sender.rtcp(index), 0.0) is Tag.RIGHT
    if rate < 24:
        assert verify(keys, sender_of(suite).rtp(65_541)) is Tag.WRONG
        assert keys.verify_rtcp(sender_of(suite).rtcp(65_541), 0.0) is Tag.WRONG


# --- index, roll-over and replay


@pytest.mark.parametrize(
    ("newest", "sequence", "index"),
    [
        (0, 0, 0),
        (0, 32_768, 32_768),
        (5, 65_530, 65_530),  # there is no round before the first
        (65_541, 65_530, 65_530),
        (65_535, 0, 65_536),
        (65_536 + 32_767, 65_535, 65_536 + 65_535),
        (65_536 + 32_766, 65_535, 65_535),
        (65_536 + 32_768, 0, 65_536),
        (65_536 + 32_769, 0, 131_072),
    ],
)
def test_the_index_is_the_nearest(newest: int, sequence: int, index: int) -> None:
    """SRT-5: RFC 3711 section 3.3.1 and appendix A."""
    assert guess_index(newest, sequence) == index


@given(st.integers(0, 2**40), st.integers(-32_767, 32_767))
def test_the_guess_is_right_within_half_a_round(newest: int, ahead: int) -> None:
    """SRT-5: as long as less than 32,768 packets are lost."""
    index = max(newest + ahead, 0)
    if newest >= 65_536:
        assert guess_index(newest, index & 0xFFFF) == index


def test_replays_within_the_window_and_behind_it() -> None:
    """SRT-5: late packets pass once; what is older than the window never."""
    keys, sender = keys_of(AES_80), sender_of(AES_80)
    assert verify(keys, sender.rtp(1000)) is Tag.RIGHT
    for index in (999, 1000 - WINDOW + 1, 1001):
        assert verify(keys, sender.rtp(index)) is Tag.RIGHT
        assert verify(keys, sender.rtp(index)) is Tag.REPLAYED
    assert verify(keys, sender.rtp(1000)) is Tag.REPLAYED
    assert verify(keys, sender.rtp(1001 - WINDOW)) is Tag.REPLAYED
    assert verify(keys, sender.rtp(2000)) is Tag.RIGHT
    assert verify(keys, sender.rtp(1500)) is Tag.REPLAYED
    assert verify(keys, sender.rtp(2000 - WINDOW + 1)) is Tag.RIGHT


@given(st.lists(st.integers(0, 200), max_size=60))
def test_no_packet_is_right_twice(indexes: list[int]) -> None:
    """SRT-5: and none is refused that is new and within the window."""
    keys, sender = keys_of(AES_80), sender_of(AES_80)
    seen: set[int] = set()
    for index in indexes:
        told = verify(keys, sender.rtp(index, size=0))
        is_new = index not in seen and index > max(seen, default=-1) - WINDOW
        assert told is (Tag.RIGHT if is_new else Tag.REPLAYED)
        seen.add(index)


def test_forged_packets_move_nothing() -> None:
    """SRT-5: index and window change after authentication only."""
    keys, sender = keys_of(AES_80), sender_of(AES_80)
    assert verify(keys, sender.rtp(10)) is Tag.RIGHT
    for sequence in (40_000, 65_535, 11):
        assert verify(keys, rtp(sequence, size=170)) is Tag.WRONG
    assert verify(keys, sender.rtp(11)) is Tag.RIGHT
    assert keys.ssrcs == 1


def test_a_forged_copy_is_not_told_as_a_replay() -> None:
    """The record names what it was: the key is missing, whatever the sequence number."""
    keys, sender = keys_of(AES_80), sender_of(AES_80)
    packet = sender.rtp(10)
    assert verify(keys, packet) is Tag.RIGHT
    assert verify(keys, packet[:-1] + bytes([packet[-1] ^ 1])) is Tag.WRONG


@pytest.mark.parametrize("suite", [AES_80, GCM])
def test_a_first_packet_may_come_late(suite: bytes) -> None:
    """A call of hours is offered anew with its old key: its counter is not 0 then."""
    for roc in (0, 1, FIRST_ROCS):
        keys = keys_of(suite)
        assert verify(keys, sender_of(suite).rtp(roc << 16 | 60_000)) is Tag.RIGHT
        assert verify(keys, sender_of(suite).rtp(roc + 1 << 16 | 5)) is Tag.RIGHT
    assert verify(keys_of(suite), sender_of(suite).rtp(FIRST_ROCS + 1 << 16)) is Tag.WRONG


def test_packets_may_have_gone_unseen_for_the_time_they_took() -> None:
    """The kernel forwards alone: after an hour the counter is found, if it can be that high."""
    for silent_s, packets in ((10.0, 500), (1800.0, 90_000), (7200.0, 360_000), (60.0, 100_000)):
        keys, sender = keys_of(AES_80), sender_of(AES_80)
        assert verify(keys, sender.rtp(7), 100.0) is Tag.RIGHT
        assert verify(keys, sender.rtp(7 + packets), 100.0 + silent_s) is Tag.RIGHT
        assert verify(keys, sender.rtp(8 + packets), 100.0 + silent_s) is Tag.RIGHT


def test_nothing_runs_ahead_of_time() -> None:
    """Ten seconds are not enough for 100,000 packets: that counter was not this stream's."""
    keys, sender = keys_of(AES_80), sender_of(AES_80)
    assert verify(keys, sender.rtp(7), 100.0) is Tag.RIGHT
    assert verify(keys, sender.rtp(100_007), 110.0) is Tag.WRONG


def test_the_search_for_a_counter_is_bounded() -> None:
    """A forged packet after a night costs no more than that."""
    assert lost_rocs(0.0) == lost_rocs(-1e6) == 0
    assert lost_rocs(32_767 / MAX_PACKETS_PER_S) == 0
    assert lost_rocs(32_768 / MAX_PACKETS_PER_S) == 1
    assert lost_rocs(1e12) == 64


@pytest.mark.parametrize("suite", [AES_80, GCM])
def test_the_last_counter_of_all_raises_nothing(suite: bytes) -> None:
    """SRT-11: a key ends after 2^48 packets; nobody has lived to see it."""
    keys = keys_of(suite)
    assert verify(keys, sender_of(suite).rtp(7)) is Tag.RIGHT
    keys._rtp[0].newest = 2**48 - 1
    assert verify(keys, rtp(0, size=170)) is Tag.WRONG


def test_each_ssrc_has_its_own_counter_up_to_a_bound() -> None:
    """SRT-6: contexts are per SSRC; the oldest goes where somebody with the key makes many."""
    keys, sender = keys_of(AES_80), sender_of(AES_80)
    for ssrc in range(MAX_SSRCS):
        assert verify(keys, sender.rtp(ssrc, ssrc)) is Tag.RIGHT
        assert keys.verify_rtcp(sender.rtcp(1, ssrc), 0.0) is Tag.RIGHT
    assert keys.ssrcs == MAX_SSRCS
    assert verify(keys, sender.rtp(0, 0)) is Tag.REPLAYED
    assert verify(keys, sender.rtp(1, MAX_SSRCS)) is Tag.RIGHT
    assert keys.verify_rtcp(sender.rtcp(1, MAX_SSRCS), 0.0) is Tag.RIGHT
    assert len(keys._rtp) == len(keys._rtcp) == MAX_SSRCS
    assert verify(keys, sender.rtp(1, 1)) is Tag.REPLAYED


def test_rtcp_indexes_are_their_own() -> None:
    """SRT-2: a report of the index of an RTP packet is no replay of it."""
    keys, sender = keys_of(AES_80), sender_of(AES_80)
    assert verify(keys, sender.rtp(5)) is Tag.RIGHT
    assert keys.verify_rtcp(sender.rtcp(5), 0.0) is Tag.RIGHT
    assert keys.verify_rtcp(sender.rtcp(0x7FFF_FFFF), 0.0) is Tag.RIGHT
    assert keys.verify_rtcp(sender.rtcp(6), 0.0) is Tag.REPLAYED
    assert keys.verify_rtcp(sender.rtcp(6, e_bit=0), 0.0) is Tag.OPEN


def test_rtcp_of_the_short_suite_has_the_long_tag() -> None:
    """RFC 4568 section 6.2.2: 32 bits are for RTP alone."""
    keys = keys_of(AES_32)
    assert (keys.rtp_extra_octets, keys.rtcp_extra_octets) == (4, 10)
    assert keys.verify_rtcp(sender_of(AES_32).rtcp(1), 0.0) is Tag.RIGHT
    assert keys.verify_rtcp(sender_of(AES_32).rtcp(2)[:-6], 0.0) in (Tag.WRONG, Tag.OPEN)


# --- secrecy


@pytest.mark.parametrize("suite", [AES_80, GCM, b"AES_192_CM_HMAC_SHA1_80"])
def test_keys_at_rest_are_derived_anew_and_remember(suite: bytes) -> None:
    """Between two samples nothing but raw keys and counters is kept."""
    keys, sender = keys_of(suite), sender_of(suite, prf_octets=32 if b"192" in suite else 0)
    assert verify(keys, sender.rtp(70_000)) is Tag.RIGHT
    assert keys.verify_rtcp(sender.rtcp(1), 0.0) is Tag.RIGHT
    sessions = [session for session in (keys._rtp_session, keys._rtcp_session) if session]
    keys.rest()
    assert keys._rtp_session is keys._rtcp_session is None
    assert not any(any(session._key) for session in sessions)
    assert verify(keys, sender.rtp(70_000)) is Tag.REPLAYED
    assert verify(keys, sender.rtp(70_001)) is Tag.RIGHT
    assert keys.verify_rtcp(sender.rtcp(2), 0.0) is Tag.RIGHT


@pytest.mark.parametrize("suite", [AES_80, GCM])
def test_wiped_keys_are_gone(suite: bytes) -> None:
    """SRT-10: zeros are left, and nothing is right any more, not even under a key of zeros."""
    secret = bytearray(secret_of(suite))
    keys = SrtpKeys(SUITES[suite], [MasterKey(secret)])
    assert verify(keys, sender_of(suite).rtp(1)) is Tag.RIGHT
    assert keys.verify_rtcp(sender_of(suite).rtcp(1), 0.0) is Tag.RIGHT
    sessions = [session for session in (keys._rtp_session, keys._rtcp_session) if session]
    assert len(sessions) == 2
    keys.wipe()
    assert not any(secret)
    for session in sessions:
        assert not any(session._key)
        assert (session.salt, session.cipher, session.mac) == (0, None, None)
    for sender in (sender_of(suite), Sender(suite, bytes(len(secret)))):
        assert verify(keys, sender.rtp(2)) is Tag.WRONG
        assert keys.verify_rtcp(sender.rtcp(2), 0.0) is Tag.WRONG


def test_no_key_shows_when_printed() -> None:
    """SRT-10: a traceback or a log line with one of these values tells nothing."""
    keys = keys_of(AES_80)
    verify(keys, sender_of(AES_80).rtp(1))
    secret = secret_of(AES_80)
    for value in (keys, MasterKey(bytearray(secret)), keys._rtp_session):
        assert repr(value).startswith("<sipguard.media")
        assert secret[:4].hex() not in repr(value)


def test_overwriting_keeps_the_length() -> None:
    """The octets go where they lie; a new object would leave the old ones in memory."""
    secret = bytearray(b"secret")
    overwrite(secret)
    assert secret == bytes(6)


def test_labels_of_rtcp() -> None:
    """RFC 3711 section 4.3.2: 3, 4 and 5."""
    assert [RTCP_LABELS + label for label in (CIPHER_KEY, AUTH_KEY, CIPHER_SALT)] == [3, 4, 5]

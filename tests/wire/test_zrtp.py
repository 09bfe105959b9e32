"""wire.zrtp: packets read strictly, and the hash of a Hello in signalling (RFC 6189)."""

import os
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zrtp_builder import End, crc32c, exchange, flip, message, packet, recorded, sha256

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.zrtp import (
    MAX_MESSAGE_WORDS,
    Commit,
    DhPart,
    Hello,
    Type,
    ZrtpPacket,
    parse_zrtp,
    parse_zrtp_hash,
)
from sipguard.wire.zrtp import crc32c as table_crc

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
HELLO_ACK = bytes.fromhex("100000015a52545012345678505a000348656c6c6f41434bc2cbc006")
RIGHT = exchange()


def refused(datagram: bytes) -> Reason:
    with pytest.raises(HostileInput) as caught:
        parse_zrtp(datagram)
    return caught.value.reason


# --- the checksum


def test_zrt_1_the_checksum_is_crc_32c() -> None:
    """The check value that catalogs give; sent lowest octet first."""
    assert table_crc(b"123456789") == 0xE3069283
    assert parse_zrtp(HELLO_ACK) == ZrtpPacket(
        Type.HELLO_ACK, 1, 0x12345678, HELLO_ACK[12:-4], None, 0
    )


@given(st.binary(max_size=600))
def test_zrt_1_the_table_says_what_the_polynomial_says(octets: bytes) -> None:
    """Both ways to compute it agree."""
    assert struct.pack("<L", table_crc(octets)) == crc32c(octets)


@given(st.integers(0, len(HELLO_ACK) - 1), st.integers(1, 255))
def test_zrt_1_no_flipped_octet_gets_through(at: int, bits: int) -> None:
    """What is no header any more is BAD_ZRTP, all else a wrong checksum."""
    reason = refused(flip(HELLO_ACK, at, bits))
    assert reason is Reason.ZRTP_CRC or (at in (0, 4, 5, 6, 7) and reason is Reason.BAD_ZRTP)


def test_zrt_2_a_packet_has_its_header() -> None:
    """Another first octet or cookie, with a right checksum: nothing that we know."""
    for at, bits in ((0, 0x80), (0, 0x20), (4, 1), (5, 1), (6, 1), (7, 1)):
        octets = flip(HELLO_ACK[:-4], at, bits)
        assert refused(octets + crc32c(octets)) is Reason.BAD_ZRTP
    unused_bits = flip(HELLO_ACK[:-4], 1, 0xFF)
    assert parse_zrtp(unused_bits + crc32c(unused_bits)).type is Type.HELLO_ACK


def test_zrt_1_a_checksum_the_other_way_round_is_wrong() -> None:
    """Highest octet first is what a reader of section 5 alone might send."""
    assert refused(HELLO_ACK[:-4] + HELLO_ACK[:-5:-1]) is Reason.ZRTP_CRC


# --- lengths and types


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (b"Hello", (22, 57)),
        (b"HelloACK", (3,)),
        (b"Commit", (25, 27, 29)),
        (b"DHPart1", (117, 85, 37, 45, 54)),
        (b"DHPart2", (117, 85, 37, 45, 54)),
        (b"Confirm1", (19, 19 + 511)),
        (b"Confirm2", (19, 19 + 511)),
        (b"Conf2ACK", (3,)),
        (b"Error", (4,)),
        (b"ErrorACK", (3,)),
        (b"GoClear", (5,)),
        (b"ClearACK", (3,)),
        (b"SASrelay", (19, 19 + 511)),
        (b"RelayACK", (3,)),
        (b"Ping", (6,)),
        (b"PingACK", (9,)),
    ],
)
def test_zrt_2_each_type_has_its_lengths(kind: bytes, words: tuple[int, ...]) -> None:
    """Those of the table are read, one word less than the least and one over the most are not."""
    agreements = {25: b"Mult", 27: b"Prsh", 29: b"DH3k"}
    for count in words:
        content = bytearray(4 * (count - 3))
        if kind == b"Commit":
            content[56:60] = agreements[count]
        if kind == b"Hello" and count == 57:
            content[65:68] = b"\x07\x77\x77"
        assert parse_zrtp(packet(message(kind, bytes(content)))).type.value.strip() == kind
    short, long = min(words) - 1, max(words) + 1
    if kind.startswith(b"DHPart"):
        # Other lengths belong to key agreements not in the table: media/ knows which is due.
        short, long = 21, MAX_MESSAGE_WORDS + 1
    for count in (short, long):
        if count >= 3:
            assert refused(packet(message(kind, bytes(4 * (count - 3))))) is Reason.BAD_ZRTP


@pytest.mark.parametrize("agreement", [b"DH3k", b"DH2k", b"EC25", b"X255", b"Mult", b"Prsh"])
def test_zrt_2_a_commit_is_as_long_as_its_key_agreement_asks(agreement: bytes) -> None:
    """A DH Commit has an hvi of 8 words, Mult a nonce of 4, Prsh a nonce and a key id."""
    lengths = {b"Mult": 16, b"Prsh": 24}
    chosen = (b"S256", b"AES1", b"HS80", agreement, b"B32 ")
    for octets in (16, 24, 32):
        datagram = packet(End(b"").commit(chosen, bytes(octets)))
        if octets == lengths.get(agreement, 32):
            assert parse_zrtp(datagram).type is Type.COMMIT
        else:
            assert refused(datagram) is Reason.BAD_ZRTP


def test_zrt_2_the_length_field_tells_the_datagram() -> None:
    """One word more or less, or half a word, is refused before anything else is read."""
    hello = RIGHT.hello_i
    for length in (len(hello) // 4 - 1, len(hello) // 4 + 1, 0, 0xFFFF):
        lying = hello[:2] + struct.pack("!H", length) + hello[4:]
        assert refused(packet(lying)) is Reason.BAD_ZRTP
    for octets in (b"", b"\0\0", hello[:11]):
        assert refused(packet(octets)) is Reason.BAD_ZRTP
    assert refused(packet(message(b"Error", b"\0\0\0\x10\0\0"))) is Reason.BAD_ZRTP


def test_zrt_2_what_is_too_long_costs_no_checksum() -> None:
    """A datagram of 64 KiB is refused by its length, right checksum or not."""
    huge = packet(message(b"Confirm1", bytes(4 * (MAX_MESSAGE_WORDS - 2))))
    assert refused(huge) is refused(huge[:-1] + b"?") is Reason.BAD_ZRTP
    assert refused(b"\x10\0\0\1ZRTP" + bytes(60_000)) is Reason.BAD_ZRTP


@pytest.mark.parametrize("kind", [b"hello", b"Hello\0\0\0", b"Confirm3", b"", b"DHPart"])
def test_zrt_2_unknown_types_are_refused(kind: bytes) -> None:
    """Types are compared octet by octet, blanks and case too."""
    assert refused(packet(message(kind, RIGHT.hello_i[12:]))) is Reason.BAD_ZRTP


def test_zrt_2_a_message_has_its_preamble() -> None:
    """0x505A starts each."""
    assert refused(packet(b"\x50\x5b" + RIGHT.hello_i[2:])) is Reason.BAD_ZRTP


def test_zrt_2_a_hello_offers_at_most_seven_of_a_kind() -> None:
    """Section 5.2; eight would fit into the four bits."""
    seven = End(b"", ((b"S256",), (b"AES1",), (b"HS32",), (b"DH3k",) * 7, (b"B32 ",)))
    eight = End(b"", ((b"S256",), (b"AES1",), (b"HS32",), (b"DH3k",) * 8, (b"B32 ",)))
    assert parse_zrtp(packet(seven.hello)).type is Type.HELLO
    assert refused(packet(eight.hello)) is Reason.BAD_ZRTP


def test_zrt_2_the_counts_of_a_hello_fill_it() -> None:
    """One offer more in the counts, or one less, and its MAC would be read elsewhere."""
    counts_at = 79
    for bits in (1, 2):
        assert refused(packet(flip(RIGHT.hello_i, counts_at, bits))) is Reason.BAD_ZRTP


# --- what is read


def test_a_hello_says_who_and_what() -> None:
    """Section 5.2, the flags S, M and P one by one."""
    offers = ((), (b"AES3", b"AES1"), (b"HS80",), (b"X255",), (b"B256", b"B32 "))
    end = End(b"seed", offers, b"1.20")
    hello = parse_zrtp(packet(end.hello, 77, 0xABCD)).content
    assert hello == Hello(
        *(b"1.20", b"builder         ", end.h3, end.zid),
        *(False, False, False),
        offers,
        end.hello[-8:],
    )
    for flags, names in ((4, "can_sign"), (2, "is_middle_man"), (1, "is_passive")):
        content = parse_zrtp(packet(End(b"", flags=flags).hello)).content
        assert isinstance(content, Hello)
        assert getattr(content, names)
        assert content.can_sign + content.is_middle_man + content.is_passive == 1


@pytest.mark.parametrize(
    ("agreement", "promise", "key_id", "is_short"),
    [(b"DH3k", 32, 0, False), (b"Mult", 16, 0, True), (b"Prsh", 16, 8, True)],
)
def test_a_commit_says_what_comes(
    agreement: bytes, promise: int, key_id: int, is_short: bool
) -> None:
    """Section 5.4, for each of its three lengths."""
    chosen = (b"S384", b"AES3", b"SK64", agreement, b"B256")
    end = End(b"")
    octets = bytes(range(promise + key_id))
    said = end.commit(chosen, octets)
    commit = parse_zrtp(packet(said)).content
    assert commit == Commit(end.h2, end.zid, chosen, octets[:promise], octets[promise:], said[-8:])
    assert isinstance(commit, Commit)
    assert (commit.agreement, commit.is_short) == (agreement, is_short)


def test_a_dh_part_says_h1_and_the_public_value() -> None:
    """Section 5.5."""
    part = parse_zrtp(packet(RIGHT.dh_part_2)).content
    assert isinstance(part, DhPart)
    assert part.h1 == RIGHT.initiator.h1
    assert (len(part.secret_ids), len(part.public_value)) == (32, 384)
    assert part.h1 + part.secret_ids + part.public_value + part.mac == RIGHT.dh_part_2[12:]


def test_zrt_11_an_error_says_its_code() -> None:
    """Section 5.9; other types have none."""
    assert parse_zrtp(packet(message(b"Error", b"\0\0\0\x70"))).code == 0x70
    assert parse_zrtp(packet(RIGHT.hello_i)).code == 0


# --- in signalling


def test_zrt_5_the_attribute_is_a_version_and_a_hash() -> None:
    """Hex digits in either case."""
    digest = sha256(b"")
    for digits in (digest.hex(), digest.hex().upper()):
        assert parse_zrtp_hash(b"1.10 " + digits.encode()) == (b"1.10", digest)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"1.10",
        b"1.10 ",
        b"1.10 " + b"0" * 63,
        b"1.10 " + b"0" * 65,
        b"1.10 " + b"0" * 64 + b" ",
        b"1.10  " + b"0" * 64,
        b" " + b"0" * 64,
        b"1.10 " + b"g" * 64,
        b"1.1x " + b"0" * 64,
        b"1.10\t" + b"0" * 64,
        b"1.1000000 " + b"0" * 64,
        b"1.10 " + b"0" * 62 + b"+1",
    ],
)
def test_zrt_5_anything_else_names_no_hello(value: bytes) -> None:
    """It is refused, and so can match none by accident."""
    with pytest.raises(HostileInput) as caught:
        parse_zrtp_hash(value)
    assert caught.value.reason is Reason.ZRTP_HASH


@given(st.one_of(st.binary(max_size=90), st.text("01.aAfF \t+_x", max_size=90).map(str.encode)))
def test_zrt_5_parse_zrtp_hash_is_total(value: bytes) -> None:
    """No octets raise anything but HostileInput, and a hash has 32 octets."""
    with suppress(HostileInput):
        assert len(parse_zrtp_hash(value)[1]) == 32


# --- all octets


MESSAGES = [m for _, d in RIGHT.said() for m in (d[12:-4],)]


@given(
    st.one_of(
        st.binary(max_size=700),
        st.binary(max_size=100).map(lambda b: packet(b"\x50\x5a" + b)),
        st.tuples(
            st.sampled_from(MESSAGES), st.integers(0, 500), st.integers(0, 255), st.integers(0, 500)
        ).map(lambda t: packet(flip(t[0], t[1] % len(t[0]), t[2])[: t[3]])),
        st.tuples(st.sampled_from([kind.value for kind in Type]), st.integers(0, 64)).map(
            lambda t: packet(message(t[0], bytes(4 * t[1])))
        ),
    )
)
def test_parse_zrtp_is_total(datagram: bytes) -> None:
    """No octets raise anything but HostileInput, and a packet holds the whole message."""
    try:
        found = parse_zrtp(datagram)
    except HostileInput:
        return
    assert found.message == datagram[12:-4]
    assert found.type.value == found.message[4:12]


# --- what others wrote


def test_zrt_5_recorded_hellos_are_those_of_signalling() -> None:
    """Telephones of today: the hash in their descriptions is that of their Hello."""
    count = 0
    for _, call in recorded():
        hashes = {True: call.caller_hash, False: call.callee_hash}
        for sent in call.flights:
            if sent.payload[0] == 0x10:
                found = parse_zrtp(sent.payload)
                if found.type is Type.HELLO:
                    count += 1
                    named = parse_zrtp_hash(hashes[sent.by_caller])
                    assert named == (b"1.10", sha256(found.message))
    assert count >= 6


def test_packets_of_an_older_stack_are_read() -> None:
    """Hello, HelloACK, Commit, DHPart1 and Confirm1, where the corpus is present."""
    folder = CORPUS / "zrtp" / "bzrtp"
    found = {path.stem: parse_zrtp(path.read_bytes()) for path in sorted(folder.glob("*.bin"))}
    if not found:
        pytest.skip("no corpus here")
    assert {one.type for one in found.values()} == {
        *(Type.HELLO, Type.HELLO_ACK, Type.COMMIT, Type.DH_PART_1, Type.CONFIRM_1)
    }
    rows = (CORPUS / "zrtp" / "hello-hash.handout.tsv").read_text().split("\n")[1:]
    values = [row.split("\t")[1] for row in rows if row]
    hello = found["hello-12345678"]
    assert [parse_zrtp_hash(value.encode())[1] for value in values] == [sha256(hello.message)]

"""media.prove_zrtp: what a stream keyed by ZRTP has to show (RFC 6189; ZRT-1 to ZRT-11)."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zrtp_builder import (
    CLEAR_RTCP,
    SRTCP,
    STUN,
    End,
    Recorded,
    Said,
    exchange,
    flight,
    flip,
    media,
    message,
    packet,
    pcmu,
    recorded,
    rtp,
)
from zrtp_builder import Exchange as Built

from sipguard.edge.capture import read_capture
from sipguard.media.appearance import appearance_of
from sipguard.media.proof import Flight, Sight, Word
from sipguard.media.prove_zrtp import BURST, LEAK_S, PER_SECOND, ZrtpProver
from sipguard.reason import Reason
from sipguard.wire.sdp import parse_sdp
from sipguard.wire.zrtp import Type, parse_zrtp_hash

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
CLEAR, SRTP = rtp(160), rtp(170)
MULT = (b"S256", b"AES1", b"HS80", b"Mult", b"B32 ")


def prover(built: Built | None = None, grace_s: float = 0.0) -> ZrtpProver:
    """A prover for PCMU; signalling names the Hellos of what was built."""
    if built is None:
        return ZrtpProver((), (), pcmu(), grace_s)
    return ZrtpProver(built.caller_hashes, built.callee_hashes, pcmu(), grace_s)


def after(built: Built, count: int = 10, now_s: float = 0.0) -> ZrtpProver:
    """A prover that has seen so many datagrams of a right exchange."""
    watched = prover(built)
    for said in built.said()[:count]:
        assert watched.see(flight(said, now_s)) == Sight(Word.PASS)
    return watched


def reason(sight: Sight) -> Reason | None:
    return sight.finding.reason if sight.finding else None


def words(watched: ZrtpProver, *said: Said, now_s: float = 0.0) -> list[Word]:
    return [watched.see(flight(one, now_s)).word for one in said]


# --- the whole way


@pytest.mark.parametrize("caller_initiates", [True, False])
def test_zrt_7_a_right_exchange_lets_srtp_through(caller_initiates: bool) -> None:
    """Both ways, RTP and RTCP; each direction by its own packets."""
    built = exchange(caller_initiates=caller_initiates)
    watched = after(built)
    for by_caller in (True, False):
        assert words(watched, (by_caller, SRTP)) == [Word.PROVEN]
        assert watched.see(flight((by_caller, SRTCP), is_rtcp=True)) == Sight(Word.PROVEN)
        assert watched.see(flight((by_caller, SRTCP))) == Sight(Word.PROVEN)
        told = "ZRTP exchange complete: hash chain, hvi and a=zrtp-hash agree"
        assert watched.told(by_caller) == told


@pytest.mark.parametrize(("name", "call"), list(recorded()), ids=lambda v: str(v)[:12])
def test_real_telephones_are_proven_both_ways(name: str, call: Recorded) -> None:
    """Linphone with contention, with another curve and hash, and a video stream beside audio.

    While ZRTP is optional it talks in clear until the exchange is over: dropped, not told.
    """
    hashes = [(parse_zrtp_hash(h)[1],) for h in (call.caller_hash, call.callee_hash)]
    watched = ZrtpProver(hashes[0], hashes[1], appearance_of(call.media))
    proven = set()
    for sent in call.flights:
        sight = watched.see(sent)
        assert sight.finding is None
        is_clear = name == "optional" and sent.payload[0] == 0x80 and len(sent.payload) == 172
        assert (sight.word is Word.QUIET) is is_clear
        if sight.word is Word.PROVEN:
            proven.add((sent.by_caller, sent.is_rtcp))
            assert watched.sample(sent) == sight
    if name != "x255":  # too short for RTCP
        assert proven == {(True, False), (True, True), (False, False), (False, True)}
    assert {by_caller for by_caller, _ in proven} == {True, False}
    assert watched.told(True).startswith("ZRTP exchange complete")


def test_a_captured_exchange_is_proven() -> None:
    """A capture of the corpus, where present: signalling, STUN and ZRTP as they went by."""
    path = CORPUS / "pcap" / "live-thirdparty" / "linphone-zrtp-udp.pcap"
    if not path.exists():
        pytest.skip("no corpus here")
    hashes: list[tuple[bytes, ...]] = []
    watched: ZrtpProver | None = None
    count, caller = 0, b""
    for captured in read_capture(path):
        packet_ = captured.packet
        if 5060 in (packet_.sport, packet_.dport):
            body = packet_.payload.partition(b"\r\n\r\n")[2]
            if not body:
                continue
            described = parse_sdp(body).media[0]
            values = [value for name, value in described.attributes if name == b"zrtp-hash"]
            hashes.append(tuple(parse_zrtp_hash(value)[1] for value in values))
            caller = caller or packet_.src
            if len(hashes) == 2:
                watched = ZrtpProver(hashes[0], hashes[1], appearance_of(described))
            continue
        assert watched is not None
        sent = Flight(
            packet_.src == caller,
            bool(packet_.dport & 1),
            packet_.sport,
            packet_.payload,
            captured.time_s,
        )
        assert watched.see(sent) == Sight(Word.PASS)
        count += packet_.payload[0] == 0x10
    assert count == 13
    assert watched is not None
    assert words(watched, (True, SRTP), (False, SRTP)) == [Word.PROVEN, Word.PROVEN]


# --- too early


@pytest.mark.parametrize("caller_initiates", [True, False])
def test_zrt_7_srtp_waits_for_the_exchange(caller_initiates: bool) -> None:
    """The responder's for Confirm2, the initiator's for Conf2ACK; dropped without a word."""
    built = exchange(caller_initiates=caller_initiates)
    for count in range(10):
        watched = after(built, count)
        assert words(watched, (caller_initiates, SRTP)) == [Word.QUIET]
        due = Word.PROVEN if count == 9 else Word.QUIET
        assert words(watched, (not caller_initiates, SRTP)) == [due]
        assert watched.see(flight((not caller_initiates, SRTCP), is_rtcp=True)).word is due


def test_zrt_7_the_responders_srtp_stands_for_conf_2_ack() -> None:
    """Section 4.6; the acknowledgement may be lost."""
    watched = after(exchange(), 9)
    assert words(watched, (True, SRTP), (False, SRTP), (True, SRTP)) == [
        *(Word.QUIET, Word.PROVEN, Word.PROVEN)
    ]


def test_zrt_7_srtp_without_an_exchange_is_odd_after_a_while() -> None:
    """Dropped all the same; the finding says why nothing gets through."""
    watched = prover(exchange())
    for kind, is_rtcp in ((SRTP, False), (SRTCP, True)):
        assert watched.see(flight((True, kind), 0.0, is_rtcp=is_rtcp)) == Sight(Word.QUIET)
        late = watched.see(flight((True, kind), LEAK_S + 0.1, is_rtcp=is_rtcp))
        assert (late.word, reason(late)) == (Word.QUIET, Reason.MEDIA_TOO_EARLY)


# --- in clear


def test_zrt_9_clear_media_is_quiet_while_keys_are_agreed() -> None:
    """Telephones that may do without ZRTP send it each 20 ms; refused without progress."""
    built = exchange()
    watched = prover(built)
    for now_s, said in enumerate(built.said()):
        step_s = now_s * LEAK_S
        assert watched.see(flight(said, step_s)).word is Word.PASS
        for by_caller in (True, False):
            assert watched.see(flight((by_caller, CLEAR), step_s)) == Sight(Word.QUIET)
            clear = watched.see(flight((by_caller, CLEAR_RTCP), step_s, is_rtcp=True))
            assert clear == Sight(Word.QUIET)
    for late_s in (LEAK_S * 10.1, LEAK_S * 100):
        for payload, is_rtcp in ((CLEAR, False), (CLEAR_RTCP, True)):
            late = watched.see(flight((True, payload), late_s, is_rtcp=is_rtcp))
            assert (late.word, reason(late)) == (Word.REFUSE, Reason.PLAIN_RTP)


def test_zrt_9_clear_media_alone_is_refused_after_a_second() -> None:
    """Nobody speaks ZRTP although signalling said so; repeating a Hello is no progress."""
    built = exchange()
    watched = prover(built)
    found = []
    for at in range(200):
        now_s = at * 0.02
        if at % 10 == 0:
            watched.see(flight((True, packet(built.hello_i)), now_s))
        found.append(watched.see(flight((False, CLEAR), now_s)).word)
    assert found == [Word.QUIET] * 51 + [Word.REFUSE] * 149


def test_zrt_9_a_grace_lets_clear_media_pass() -> None:
    """Where the policy gives one: from the first packet on, until keys are there."""
    watched = prover(exchange(), grace_s=3.0)
    for payload, is_rtcp in ((CLEAR, False), (SRTP, False), (CLEAR_RTCP, True)):
        for now_s in (100.0, 102.9):
            sight = watched.see(flight((True, payload), now_s, is_rtcp=is_rtcp))
            assert sight == Sight(Word.PASS)
    assert watched.see(flight((True, CLEAR), 103.0)).word is Word.REFUSE
    watched = prover(exchange(), grace_s=3.0)
    for said in exchange().said():
        watched.see(flight(said, 100.0))
    assert watched.see(flight((True, CLEAR), 100.5)).word is Word.QUIET
    assert watched.see(flight((True, CLEAR), 102.5)).word is Word.REFUSE


def test_srt_3_clear_media_after_the_exchange_is_refused() -> None:
    """Also from who has been proven; what was on its way is dropped without a word."""
    watched = after(exchange())
    assert words(watched, (True, SRTP)) == [Word.PROVEN]
    assert words(watched, (True, CLEAR)) == [Word.QUIET]
    sight = watched.see(flight((True, CLEAR), LEAK_S + 0.1))
    assert (sight.word, reason(sight)) == (Word.REFUSE, Reason.PLAIN_RTP)


def test_srt_3_the_tag_that_was_agreed_counts() -> None:
    """164 octets are PCMU with a tag of 32 bits, 170 with one of 80."""
    short = exchange((b"S256", b"AES1", b"HS32", b"DH3k", b"B32 "))
    for built, octets in ((short, 164), (exchange(), 170)):
        assert words(after(built), (True, rtp(octets))) == [Word.PROVEN]
        assert words(after(built), (True, rtp(160))) == [Word.QUIET]
        # What fits neither way may be some other telephone's: two packets show no more.
        assert words(after(built), (True, rtp(167)), (True, rtp(167, 2))) == [
            *(Word.PASS, Word.PROVEN)
        ]


def test_srt_3_where_sizes_tell_nothing_the_next_packet_is_asked() -> None:
    """30 octets of G.729: three clear frames, or two and a tag; the clock tells."""
    appearance = appearance_of(media("audio 9 RTP/AVP 18"))
    for ticks, then in ((160, Word.PROVEN), (240, Word.QUIET)):
        watched = ZrtpProver((), (), appearance)
        for said in exchange().said():
            watched.see(flight(said))
        one, two = (struct.pack("!BBHLL", 0x80, 18, at, ticks * at, 7) + bytes(30) for at in (1, 2))
        assert words(watched, (True, one), (True, two)) == [Word.PASS, then]


def test_srt_3_clear_media_with_gaps_is_not_taken_for_proof() -> None:
    """30 octets of G.729 again: whoever was clear once has to send two in a row that are not."""
    watched = ZrtpProver((), (), appearance_of(media("audio 9 RTP/AVP 18")))
    for said in exchange().said():
        watched.see(flight(said))
    sent = (struct.pack("!BBHLL", 0x80, 18, at, 240 * at, 7) + bytes(30) for at in (1, 2, 3, 5, 8))
    seen = words(watched, *((True, octets) for octets in sent), now_s=9.0)
    assert Word.PROVEN not in seen


def test_srt_3_before_the_tag_is_known_any_may_be_meant() -> None:
    """30 octets of G.729 may be SRTP, 2 are clear silence, and 160 of PCMU clear sound."""
    for line, payload_type, octets, why in (
        ("audio 9 RTP/AVP 18", 18, 30, Reason.MEDIA_TOO_EARLY),
        ("audio 9 RTP/AVP 18", 18, 2, Reason.PLAIN_RTP),
        ("audio 9 RTP/AVP 0", 0, 160, Reason.PLAIN_RTP),
        ("audio 9 RTP/AVP 0", 0, 164, Reason.MEDIA_TOO_EARLY),
    ):
        watched = ZrtpProver((), (), appearance_of(media(line)))
        words(watched, (True, STUN))
        payload = rtp(octets, payload_type=payload_type)
        assert reason(watched.see(flight((True, payload), LEAK_S + 0.1))) is why


def test_srt_1_payload_types_are_those_negotiated() -> None:
    """At any time, and in samples."""
    for watched in (prover(), after(exchange())):
        sight = watched.see(flight((True, rtp(170, payload_type=99))))
        assert (sight.word, reason(sight)) == (Word.REFUSE, Reason.BAD_RTP)
        sight = watched.sample(flight((True, rtp(170, payload_type=99))))
        assert (sight.word, reason(sight)) == (Word.REFUSE, Reason.BAD_RTP)


def test_without_an_appearance_only_the_exchange_counts() -> None:
    """No type is refused; clear RTCP still shows itself."""
    watched = ZrtpProver((), ())
    assert words(watched, (True, rtp(160, payload_type=99))) == [Word.QUIET]
    for said in exchange().said():
        watched.see(flight(said))
    assert words(watched, (True, rtp(160)), (True, rtp(160, 2))) == [Word.PASS, Word.PROVEN]
    assert words(watched, (True, CLEAR_RTCP)) == [Word.QUIET]


# --- what else comes by


def test_zrt_9_stun_passes_and_strangers_do_not() -> None:
    """At any time; STUN has to be whole. Empty datagrams keep paths open."""
    for watched in (prover(), after(exchange())):
        assert words(watched, (True, STUN)) == [Word.PASS]
        assert watched.see(flight((True, STUN), is_rtcp=True)).word is Word.PASS
        assert words(watched, (True, b"")) == [Word.QUIET]
        for octets in (STUN[:-1], b"\x16\xfe\xfd", b"\x40\0\0\0", b"\xff" * 40, b"\0"):
            sight = watched.see(flight((True, octets)))
            assert (sight.word, reason(sight)) == (Word.REFUSE, Reason.UNKNOWN_MEDIA)


def test_srt_1_what_is_no_rtp_is_refused() -> None:
    """Cut off, RTP on the port for RTCP, or RTCP with neither index nor sense."""
    watched = after(exchange())
    for octets, is_rtcp, why in (
        (SRTP[:11], False, Reason.BAD_RTP),
        (SRTP, True, Reason.BAD_RTCP),
        (SRTCP[:7], True, Reason.BAD_RTCP),
        (SRTCP[:-1], True, Reason.BAD_RTCP),
    ):
        sight = watched.see(flight((True, octets), is_rtcp=is_rtcp))
        assert (sight.word, reason(sight)) == (Word.REFUSE, why)
    sight = prover().see(flight((True, SRTCP[:7]), is_rtcp=True))
    assert (sight.word, reason(sight)) == (Word.REFUSE, Reason.BAD_RTCP)


@pytest.mark.parametrize("tag_octets", [4, 8, 10])
def test_srt_2_srtcp_has_the_tag_of_some_telephone(tag_octets: int) -> None:
    """RFC 3711 wants 80 bits; not everybody does so with short SRTP tags."""
    watched = after(exchange())
    srtcp = SRTCP[:-10] + bytes(tag_octets)
    assert watched.see(flight((True, srtcp), is_rtcp=True)).word is Word.PROVEN


def test_zrtp_belongs_to_the_port_for_rtp() -> None:
    """On RTCP's it is refused, and not followed."""
    built = exchange()
    watched = prover(built)
    sight = watched.see(flight(built.said()[0], is_rtcp=True))
    assert (sight.word, reason(sight)) == (Word.REFUSE, Reason.ZRTP_ORDER)
    assert words(watched, *built.said()) == [Word.PASS] * 10


# --- wrong messages


def test_zrt_1_a_wrong_checksum_is_dropped_silently() -> None:
    """And noted; the exchange goes on."""
    built = exchange()
    watched = prover(built)
    for by_caller, datagram in built.said():
        sight = watched.see(flight((by_caller, flip(datagram, len(datagram) - 1))))
        assert (sight.word, reason(sight)) == (Word.QUIET, Reason.ZRTP_CRC)
        assert words(watched, (by_caller, datagram)) == [Word.PASS]


def test_zrt_3_failing_messages_never_end_the_exchange() -> None:
    """Before each right one comes a forged one, of every type and from either side."""
    built = exchange()
    stranger = exchange(initiator=End(b"three"), responder=End(b"four"))
    forged = [datagram for _, datagram in stranger.said()]
    forged += [packet(message(b"GoClear", bytes(8))), packet(message(b"unknown", bytes(8)))]
    watched = prover(built)
    for said in built.said():
        for datagram in forged:
            # Nobody here can tell a forged Confirm, Conf2ACK or HelloACK; ends can.
            if datagram[16:20] not in (b"Conf", b"Hell"):
                assert words(watched, (True, datagram), (False, datagram)) == [Word.REFUSE] * 2
        assert words(watched, said) == [Word.PASS]
    assert words(watched, (True, SRTP), (False, SRTP)) == [Word.PROVEN] * 2


@pytest.mark.parametrize(
    ("at", "said", "why"),
    [
        (0, exchange().hello_r, Reason.ZRTP_HASH),
        (4, End(b"x").commit(MULT, bytes(16)), Reason.ZRTP_CHAIN),
        (5, exchange().dh_part_2, Reason.ZRTP_ORDER),
        (6, flip(exchange().dh_part_2, 100), Reason.ZRTP_HVI),
        (10, message(b"GoClear", bytes(8)), Reason.ZRTP_CLEAR),
        (10, message(b"Error", bytes(3)), Reason.BAD_ZRTP),
    ],
)
def test_zrt_3_what_fails_is_refused_and_told(at: int, said: bytes, why: Reason) -> None:
    """With its reason, which the record then shows for this direction."""
    watched = after(exchange(), at)
    sight = watched.see(flight((True, packet(said))))
    assert (sight.word, reason(sight)) == (Word.REFUSE, why)
    assert "; refused: " in watched.told(True)
    assert "; refused: " not in watched.told(False)


def test_zrt_4_a_changed_hello_is_shown_by_its_mac() -> None:
    """Signalling names none; someone took an algorithm out."""
    built = exchange()
    watched = prover()
    changed = built.hello_i.replace(b"DH2k", b"DH3k")
    sights = [
        watched.see(flight((by_caller, packet(said))))
        for by_caller, said in ((True, changed), (False, built.hello_r), (True, built.commit))
    ]
    assert [sight.word for sight in sights] == [Word.PASS, Word.PASS, Word.REFUSE]
    assert reason(sights[2]) is Reason.ZRTP_MAC


def test_zrt_10_and_11_odd_things_pass_with_a_finding() -> None:
    """A middle man's flag, and an error."""
    watched = prover()
    for said, why in (
        (End(b"one", flags=2).hello, Reason.ZRTP_ODD),
        (message(b"Error", b"\0\0\0\x70"), Reason.ZRTP_ERROR),
    ):
        sight = watched.see(flight((True, packet(said))))
        assert (sight.word, reason(sight)) == (Word.PASS, why)


# --- rate


def test_zrt_8_timers_keep_pace() -> None:
    """Both ends repeat as section 6 says, lose all, and try again: nothing is refused."""
    built = exchange()
    watched = prover(built)
    now_s, step_s = 0.0, 0.05
    for _ in range(21):
        for by_caller, hello in ((True, built.hello_i), (False, built.hello_r)):
            assert words(watched, (by_caller, packet(hello)), now_s=now_s) == [Word.PASS]
            assert words(watched, (not by_caller, packet(message(b"HelloACK"))), now_s=now_s) == [
                Word.PASS
            ]
        now_s += step_s
        step_s = min(0.2, step_s * 2)
    for said in built.said()[4:]:
        step_s = 0.15
        for _ in range(11):
            assert words(watched, said, now_s=now_s) == [Word.PASS]
            now_s += step_s
            step_s = min(1.2, step_s * 2)


def test_zrt_8_more_than_timers_send_is_refused() -> None:
    """Of each type; one side's flood does not touch the other's, nor what is new."""
    built = exchange()
    watched = prover(built)
    hello = (True, packet(built.hello_i))
    assert words(watched, *([hello] * (BURST + 2))) == [Word.PASS] * (BURST + 1) + [Word.REFUSE]
    sight = watched.see(flight(hello))
    assert reason(sight) is Reason.ZRTP_FLOOD
    assert words(watched, *built.said()[1:]) == [Word.PASS] * 9
    later_s = 2.0
    allowed = int(later_s * PER_SECOND)
    assert words(watched, *([hello] * (allowed + 1)), now_s=later_s) == [
        *([Word.PASS] * allowed),
        Word.REFUSE,
    ]


def test_zrt_8_time_that_runs_backwards_is_neither_credit_nor_debt() -> None:
    """And no time is longer than a burst. Captures are not always in order."""
    watched = prover()
    error = (True, packet(message(b"ErrorACK")))
    words(watched, *([error] * BURST), now_s=5.0)
    assert words(watched, error, now_s=4.0) == [Word.REFUSE]
    assert words(watched, error, error, now_s=4.125) == [Word.PASS, Word.REFUSE]
    found = words(watched, *([error] * (BURST + 1)), now_s=500.0)
    assert found == [Word.PASS] * BURST + [Word.REFUSE]


# --- samples


def test_srt_3_samples_take_a_proof_back() -> None:
    """Clear RTP or RTCP, GoClear, and what is no media; right ones do not."""
    watched = after(exchange())
    for payload, is_rtcp in ((SRTP, False), (SRTCP, True), (SRTCP, False)):
        assert watched.sample(flight((True, payload), is_rtcp=is_rtcp)) == Sight(Word.PROVEN)
    for payload, why in (
        (CLEAR, Reason.PLAIN_RTP),
        (CLEAR_RTCP, Reason.PLAIN_RTP),
        (packet(message(b"GoClear", bytes(8))), Reason.ZRTP_CLEAR),
        (b"\x16\xfe\xfd", Reason.UNKNOWN_MEDIA),
        (SRTP[:11], Reason.BAD_RTP),
    ):
        sight = watched.sample(flight((True, payload)))
        assert (sight.word, reason(sight)) == (Word.REFUSE, why)
    assert watched.sample(flight((True, SRTP), is_rtcp=True)).word is Word.REFUSE


def test_samples_of_other_packets_leave_the_proof() -> None:
    """Repeated, foreign and broken ZRTP, STUN, nothing at all."""
    built = exchange()
    watched = after(built)
    for payload in (STUN, b"", packet(built.hello_i), packet(message(b"Ping", bytes(12)))):
        assert watched.sample(flight((True, payload))) == Sight(Word.PASS)
    for payload in (packet(End(b"x").hello), flip(packet(built.hello_i), 30)):
        assert watched.sample(flight((True, payload))).word is Word.PASS


def test_samples_need_no_exchange() -> None:
    """A gateway that was started again has forgotten it; any usual tag will do then."""
    watched = prover()
    assert watched.sample(flight((True, CLEAR))).word is Word.REFUSE
    for octets in (164, 168, 170):
        assert watched.sample(flight((True, rtp(octets)))).word is Word.PROVEN


# --- words


def test_the_record_says_what_is_due_and_what_was_checked() -> None:
    """For each direction by itself."""
    built = exchange()
    assert prover(built).told(True) == "ZRTP exchange not over: a Commit is due"
    assert after(built, 5).told(True) == "ZRTP exchange not over: DHPart1 is due"
    assert after(built).told(True).endswith("agree; no SRTP yet")
    unsigned = prover()
    words(unsigned, *built.said(), (True, SRTP))
    assert unsigned.told(True) == "ZRTP exchange complete: hash chain and hvi agree"


def test_the_record_of_a_short_exchange() -> None:
    """Without DHParts the responder shows nothing of its chain."""
    built = exchange(MULT)
    start = "ZRTP exchange complete without an exchange of keys of its own: "
    for watched, caller, callee in (
        (prover(built), "hash chain and a=zrtp-hash agree", "a=zrtp-hash agrees"),
        (prover(), "hash chain agrees", "nothing of this side could be checked"),
    ):
        words(watched, *built.said(), (True, SRTP), (False, SRTP))
        assert watched.told(True) == start + caller
        assert watched.told(False) == start + callee


def test_nothing_is_left_after_the_end() -> None:
    """Wiped in the middle it takes no key more, and does not fail."""
    built = exchange()
    for count in (4, 5, 6):
        watched = after(built, count)
        watched.wipe()
        assert words(watched, *built.said()[count:]) == [Word.REFUSE] * (10 - count)


# --- any octets


BUILT = exchange()
SAID = BUILT.said()
ANY = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([d for _, d in SAID] + [CLEAR, SRTP, SRTCP, CLEAR_RTCP, STUN]),
    st.tuples(st.sampled_from([d for _, d in SAID]), st.integers(0, 490), st.integers(0, 255)).map(
        lambda t: packet(flip(t[0][12:-4], t[1] % (len(t[0]) - 16), t[2]))
    ),
    st.tuples(st.sampled_from([t.value for t in Type]), st.integers(0, 40)).map(
        lambda t: packet(message(t[0], bytes(4 * t[1])))
    ),
)


@given(
    st.lists(
        st.tuples(ANY, st.booleans(), st.booleans(), st.booleans(), st.floats(0, 20)), max_size=30
    ),
    st.booleans(),
    st.sampled_from([0.0, 5.0]),
)
def test_the_prover_is_total(
    packets: list[tuple[bytes, bool, bool, bool, float]], signalled: bool, grace_s: float
) -> None:
    """Any datagrams in any order: an answer each; REFUSE comes with a finding; no proof early."""
    watched = prover(BUILT if signalled else None, grace_s)
    passed: set[bytes] = set()
    for octets, by_caller, is_rtcp, is_sample, now_s in packets:
        sent = Flight(by_caller, is_rtcp, 7078, octets, now_s)
        sight = watched.sample(sent) if is_sample else watched.see(sent)
        assert isinstance(sight.word, Word)
        assert sight.finding is not None or sight.word is not Word.REFUSE
        if sight.word is Word.PASS and octets[:1] == b"\x10":
            passed.add(octets[16:24])
        if sight.word is Word.PROVEN and not is_sample:
            assert {b"Commit  ", b"Confirm1", b"Confirm2"} <= passed
        assert watched.told(by_caller)


def checked(at: int) -> int:
    """How many octets of a message the messages after it are held against."""
    # Of DHPart1 nothing but H1: the rest only the ends can check, by the MACs of Confirms.
    name = SAID[at][1][16:24]
    return 44 if name == b"DHPart1 " else len(SAID[at][1]) - 16


@settings(max_examples=300)
@given(
    st.sampled_from([0, 2, 4, 5, 6]).flatmap(
        lambda at: st.tuples(st.just(at), st.integers(0, checked(at) - 1))
    ),
    st.integers(1, 255),
    st.booleans(),
)
def test_zrt_3_a_changed_octet_is_never_proven(
    where: tuple[int, int], bits: int, signalled: bool
) -> None:
    """In Hellos, Commit and DHParts, whether or not signalling names the Hellos."""
    at, octet = where
    watched = prover(BUILT if signalled else None)
    for number, (by_caller, datagram) in enumerate(SAID):
        if number == at:
            datagram = packet(flip(datagram[12:-4], octet, bits))
        watched.see(flight((by_caller, datagram)))
    for by_caller in (True, False, True):
        for media_, is_rtcp in ((SRTP, False), (SRTCP, True)):
            sight = watched.see(flight((by_caller, media_), is_rtcp=is_rtcp))
            assert sight.word is not Word.PROVEN
    assert watched.told(True).startswith("ZRTP exchange not over")


@given(
    st.sampled_from([0, 2, 4, 5, 6]).flatmap(
        lambda at: st.tuples(st.just(at), st.integers(0, checked(at) - 1))
    ),
    st.integers(1, 255),
)
def test_zrt_3_the_original_still_counts_where_signalling_names_the_hellos(
    where: tuple[int, int], bits: int
) -> None:
    """A changed copy before it does no harm, but for what nobody can know before a DHPart."""
    at, octet = where
    watched = prover(BUILT)
    for number, (by_caller, datagram) in enumerate(SAID):
        if number == at:
            forged = packet(flip(datagram[12:-4], octet, bits))
            was = watched.see(flight((by_caller, forged)))
            if was.word is Word.PASS:
                # A Commit whose H2 and ZID are right: an end would take it for the true one.
                assert datagram[16:24] == b"Commit  "
                return
        watched.see(flight((by_caller, datagram)))
    assert words(watched, (True, SRTP), (False, SRTP)) == [Word.PROVEN] * 2

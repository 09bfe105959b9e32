"""media/prove_sdes: what becomes of each packet of a stream whose keys are known (SRT-1 to 10)."""

import struct
from base64 import b64decode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phones import (
    ALICE,
    ANSWER,
    BOB,
    CRYPTO_A,
    CRYPTO_A2,
    CRYPTO_B,
    KEY_A,
    KEY_B,
    OFFER,
    audio,
    sdp,
)
from srtp_sender import Sender, rtcp, rtp

from sipguard.media.keying import agreed_key
from sipguard.media.proof import Flight, Sight, Word
from sipguard.media.prove_sdes import (
    MAX_FAILURES,
    MAX_LEAKS,
    MAX_SSRCS,
    SdesProver,
    SdesTerms,
    sdes_terms,
)
from sipguard.reason import Reason
from sipguard.wire.sdp import Media

AES_80 = b"AES_CM_128_HMAC_SHA1_80"
SECRET_A, SECRET_B = (b64decode(key.removeprefix("inline:")) for key in (KEY_A, KEY_B))
CALLER, CALLEE = Sender(AES_80, SECRET_A), Sender(AES_80, SECRET_B)
PING = b"\x80\xcc\x00\x03" + b"ssrc" + b"PINGPONG"
BINDING = struct.pack("!HHL", 1, 0, 0x2112A442) + bytes(12)


def terms(
    offer: Media = OFFER.media[0], answer: Media = ANSWER.media[0], *, is_callers: bool = True
) -> SdesTerms:
    assert agreed_key(offer, answer).keyed
    found = sdes_terms(offer, answer, is_callers_offer=is_callers)
    assert found is not None
    return found


def section(address: str, *attributes: str) -> Media:
    return sdp(address, audio(30000, *attributes)).media[0]


class Line:
    """A prover, and how packets come to it."""

    def __init__(self, found: SdesTerms | None = None, max_ssrcs: int = MAX_SSRCS) -> None:
        self.prover = SdesProver(found or terms(), max_ssrcs)
        self.now_s = 100.0

    def flight(self, payload: bytes, by_caller: bool, is_rtcp: bool) -> Flight:
        return Flight(by_caller, is_rtcp, 30000, payload, self.now_s)

    def see(self, payload: bytes, *, by_caller: bool = True, is_rtcp: bool = False) -> Sight:
        return self.prover.see(self.flight(payload, by_caller, is_rtcp))

    def sample(self, payload: bytes, *, by_caller: bool = True, is_rtcp: bool = False) -> Sight:
        return self.prover.sample(self.flight(payload, by_caller, is_rtcp))


def is_refused(sight: Sight, reason: Reason) -> bool:
    """Report a refusal for this reason, with words of ours and no more than a header."""
    finding = sight.finding
    return (
        sight.word is Word.REFUSE
        and finding is not None
        and finding.reason is reason
        and bool(finding.detail)
        and len(finding.octets) <= 12
    )


# --- proof


@pytest.mark.parametrize("by_caller", [True, False])
def test_the_first_authentic_packet_proves_its_direction(by_caller: bool) -> None:
    """No key, no hole: RTP alone or RTCP alone, and only that direction."""
    own = CALLER if by_caller else CALLEE
    line = Line()
    assert line.prover.told(by_caller) == "no SRTP with the negotiated key: no packet came"
    assert line.see(own.rtp(7), by_caller=by_caller).word is Word.PROVEN
    assert line.prover.told(by_caller) == (
        "SRTP tag verified with the negotiated key (AES_CM_128_HMAC_SHA1_80)"
    )
    assert "no packet came" in line.prover.told(not by_caller)
    line = Line()
    assert line.see(own.rtcp(1), by_caller=by_caller, is_rtcp=True).word is Word.PROVEN
    assert line.see(own.rtp(7), by_caller=by_caller).word is Word.PROVEN


def test_rtcp_may_share_the_port() -> None:
    """PIN-11: told apart by its type, whatever was negotiated."""
    line = Line()
    assert line.see(CALLER.rtcp(1)).word is Word.PROVEN
    assert line.see(CALLER.rtp(7)).word is Word.PROVEN


def test_each_side_has_its_own_key() -> None:
    """SDE-6: media sent back where it came from was not made by the other side."""
    line = Line()
    assert is_refused(line.see(CALLEE.rtp(7)), Reason.SRTP_TAG)
    assert is_refused(line.see(CALLER.rtp(7), by_caller=False), Reason.SRTP_TAG)
    assert is_refused(line.see(CALLER.rtcp(7), by_caller=False), Reason.SRTP_TAG)
    assert line.prover.told(True).endswith("an RTP packet with a wrong tag")


def test_whose_offer_it_was_decides_whose_keys_they_are() -> None:
    """In a late offer, or a re-INVITE of the callee, the callee's line stands in the offer."""
    line = Line(terms(is_callers=False))
    assert line.see(CALLEE.rtp(7)).word is Word.PROVEN
    assert line.see(CALLER.rtp(7), by_caller=False).word is Word.PROVEN


def test_the_answers_tag_chooses_the_offered_line() -> None:
    """SDE-5: of several offered keys the one that was taken."""
    offer = section(ALICE, CRYPTO_A2, CRYPTO_A.replace("crypto:1", "crypto:2"))
    line = Line(terms(offer, section(BOB, CRYPTO_B.replace("crypto:1", "crypto:2"))))
    assert line.see(CALLER.rtp(7)).word is Word.PROVEN
    assert line.see(CALLEE.rtp(7), by_caller=False).word is Word.PROVEN


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (section(ALICE, CRYPTO_A), section(BOB)),
        (section(ALICE, CRYPTO_A), section(BOB, CRYPTO_B, CRYPTO_A2.replace(":1 ", ":2 "))),
        (section(ALICE, CRYPTO_A), section(BOB, CRYPTO_B.replace(":1 ", ":2 "))),
        (section(ALICE, CRYPTO_A), section(BOB, CRYPTO_B.replace("_80", "_32"))),
        (section(ALICE, CRYPTO_A + " X"), section(BOB, CRYPTO_B)),
        (section(ALICE, CRYPTO_A), section(BOB, CRYPTO_B + " X")),
    ],
    ids=["none", "two", "tag", "suite", "unusable offer", "unusable answer"],
)
def test_what_agreed_on_no_key_has_no_terms(offer: Media, answer: Media) -> None:
    """SDE-5: as ``agreed_key`` sees it."""
    assert not agreed_key(offer, answer).keyed
    assert sdes_terms(offer, answer, is_callers_offer=True) is None


@pytest.mark.parametrize("is_callers", [True, False])
def test_keys_with_mki_and_rate(is_callers: bool) -> None:
    """SDE-2, SDE-3: each side has as many keys as it likes; packets name them."""
    fresh = KEY_A.replace("YWxp", "AAAA")
    offer = section(ALICE, f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY_A}|1:2;{KEY_B}|2:2 KDR=4")
    answer = section(BOB, f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 {fresh}|2^20|7:1")
    line = Line(terms(offer, answer, is_callers=is_callers))
    first, second = Sender(AES_80, SECRET_A, 4), Sender(AES_80, SECRET_B, 4)
    assert line.see(first.rtp(100, mki=b"\0\1"), by_caller=is_callers).word is Word.PROVEN
    assert line.see(second.rtp(101, mki=b"\0\2"), by_caller=is_callers).word is Word.PROVEN
    assert line.see(second.rtcp(101, mki=b"\0\2"), by_caller=is_callers).word is Word.PROVEN
    wrong = line.see(second.rtp(102, mki=b"\0\1"), by_caller=is_callers)
    assert is_refused(wrong, Reason.SRTP_TAG)
    other = Sender(AES_80, b64decode(fresh.removeprefix("inline:")))
    assert line.see(other.rtp(100, mki=b"\7"), by_caller=not is_callers).word is Word.PROVEN


def test_a_rate_alone() -> None:
    """SDE-3: without MKI, and of one side only."""
    line = Line(terms(section(ALICE, CRYPTO_A), section(BOB, CRYPTO_B + " KDR=1")))
    assert line.see(CALLER.rtp(100)).word is Word.PROVEN
    assert line.see(Sender(AES_80, SECRET_B, 1).rtp(100), by_caller=False).word is Word.PROVEN
    assert is_refused(line.see(CALLEE.rtp(101), by_caller=False), Reason.SRTP_TAG)


@pytest.mark.parametrize(
    "suite",
    [b"AES_CM_128_HMAC_SHA1_32", b"F8_128_HMAC_SHA1_80", b"AES_CM_128_HMAC_SHA1_80"],
)
def test_suites_of_the_same_key_length(suite: bytes) -> None:
    """SDE-1: told by its name, and the tag of RTCP is long under the short suite."""
    old, new = "AES_CM_128_HMAC_SHA1_80", suite.decode()
    line = Line(
        terms(section(ALICE, CRYPTO_A.replace(old, new)), section(BOB, CRYPTO_B.replace(old, new)))
    )
    assert line.see(Sender(suite, SECRET_A).rtp(7)).word is Word.PROVEN
    assert line.see(Sender(suite, SECRET_A).rtcp(7)).word is Word.PROVEN
    assert new in line.prover.told(True)


# --- what honest telephones leak


def test_a_clear_packet_or_two_are_dropped_without_a_word() -> None:
    """A good call must not be told as an attack; the third packet is one."""
    for leaked in (rtp(1), rtcp()):
        line = Line()
        for _ in range(MAX_LEAKS):
            assert line.see(leaked) == Sight(Word.QUIET)
            assert "clear" in line.prover.told(True)
        assert is_refused(line.see(leaked), Reason.PLAIN_RTP)
        assert line.see(leaked, by_caller=False) == Sight(Word.QUIET)


def test_a_proven_side_may_leak_no_more_than_another() -> None:
    """baresip says goodbye with a clear RTCP BYE; a stream of clear media is none (SRT-3)."""
    for own, is_rtcp in ((CALLER.rtp(7), False), (CALLER.rtcp(7), True)):
        line = Line()
        assert line.see(own, is_rtcp=is_rtcp).word is Word.PROVEN
        for _ in range(MAX_LEAKS):
            assert line.see(b"\x81\xcb\x00\x03ssrc\x04Adjo\0\0\0", is_rtcp=True).word is Word.QUIET
        assert is_refused(line.see(rtp(8)), Reason.PLAIN_RTP)
        assert is_refused(line.see(rtcp(), is_rtcp=True), Reason.PLAIN_RTP)


def test_baresips_ping_never_counts() -> None:
    """16 octets of clear RTCP open its ports, as often as it likes."""
    line = Line()
    for _ in range(20):
        assert line.see(PING, is_rtcp=True) == Sight(Word.QUIET)
    assert line.see(rtcp()) == Sight(Word.QUIET)
    for odd in (PING[:-1] + b"g", PING + bytes(4), PING.replace(b"\xcc", b"\xcd")):
        line = Line()
        for _ in range(MAX_LEAKS):
            line.see(odd)
        assert line.see(odd).word is Word.REFUSE


@pytest.mark.parametrize("payload", [b"", b"\0", b"\r\n", b"\r\n\r\n", b"\0\0\0\0"])
def test_what_only_keeps_a_path_open(payload: bytes) -> None:
    """RFC 6263 section 4: it says nothing to anybody."""
    assert Line().see(payload) == Sight(Word.QUIET)


def test_stun_bindings_pass() -> None:
    """Linphone sends them without ICE, before all media; they prove nothing."""
    line = Line()
    assert line.see(BINDING) == Sight(Word.PASS)
    assert line.see(BINDING, is_rtcp=True) == Sight(Word.PASS)
    assert "no packet came" in line.prover.told(True)


# --- what is refused


@pytest.mark.parametrize(
    "payload",
    [
        BINDING[:1] + b"\3" + BINDING[2:],
        BINDING[:-1],
        b"\x16\xfe\xfd" + bytes(30),
        b"\x10\x00" + bytes(30),
        b"\x40\x00\x00\x04data",
        b"INVITE sip:a@b SIP/2.0\r\n\r\n",
        b"\xff" * 20,
    ],
    ids=["allocate", "cut", "DTLS", "ZRTP", "channel", "SIP", "other"],
)
def test_what_is_no_media_is_refused(payload: bytes) -> None:
    """DTL-7: nothing of what shares ports with RTP was agreed on but STUN."""
    for is_rtcp in (False, True):
        assert is_refused(Line().see(payload, is_rtcp=is_rtcp), Reason.UNKNOWN_MEDIA)


def test_a_wrong_tag_is_refused() -> None:
    """SRT-7: SRTP of another key, and bits that changed on the way."""
    line = Line()
    stranger = Sender(AES_80, bytes(30))
    assert is_refused(line.see(stranger.rtp(7)), Reason.SRTP_TAG)
    assert is_refused(line.see(stranger.rtcp(7)), Reason.SRTP_TAG)
    own = CALLER.rtp(7)
    assert is_refused(line.see(own[:-1] + bytes([own[-1] ^ 1])), Reason.SRTP_TAG)
    assert line.see(own).word is Word.PROVEN


def test_replays_are_refused() -> None:
    """SRT-5: RTP and RTCP, also where the second comes from elsewhere."""
    line = Line()
    for packet in (CALLER.rtp(7), CALLER.rtcp(7)):
        assert line.see(packet).word is Word.PROVEN
        assert is_refused(line.see(packet), Reason.SRTP_REPLAY)


def test_rtcp_that_is_not_encrypted_is_refused() -> None:
    """SRT-2: E=0 needs UNENCRYPTED_SRTCP, which opens no hole (SDE-3)."""
    assert is_refused(Line().see(CALLER.rtcp(1, e_bit=0), is_rtcp=True), Reason.PLAIN_RTP)


def test_only_negotiated_payload_types_pass() -> None:
    """SRT-1: even under the right key; comfort noise goes without saying."""
    line = Line()
    assert is_refused(line.see(CALLER.rtp(7, payload_type=8)), Reason.BAD_RTP)
    assert line.see(CALLER.rtp(8, payload_type=13, size=1)).word is Word.PROVEN


@pytest.mark.parametrize(
    ("payload", "is_rtcp", "reason"),
    [
        (CALLER.rtp(7)[:11], False, Reason.BAD_RTP),
        (b"\x8f" + CALLER.rtp(7, size=0)[1:], False, Reason.BAD_RTP),
        (CALLER.rtcp(7)[:7], False, Reason.BAD_RTCP),
        (CALLER.rtp(7), True, Reason.BAD_RTCP),
    ],
    ids=["cut", "more sources than octets", "RTCP cut", "RTP on RTCP's port"],
)
def test_malformed_media_is_refused(payload: bytes, is_rtcp: bool, reason: Reason) -> None:
    """SRT-1, SRT-2: whatever the key."""
    assert is_refused(Line().see(payload, is_rtcp=is_rtcp), reason)


def test_many_ssrcs_are_found_and_go_on() -> None:
    """SRT-4: the key is right, so the media passes; each further SSRC is told once."""
    line = Line(max_ssrcs=2)
    for ssrc in (1, 2):
        assert line.see(CALLER.rtp(7, ssrc)) == Sight(Word.PROVEN)
    for ssrc in (3, 4):
        sight = line.see(CALLER.rtp(7, ssrc))
        assert sight.word is Word.PROVEN
        assert sight.finding is not None
        assert sight.finding.reason is Reason.SSRC_CHANGES
        assert line.see(CALLER.rtp(8, ssrc)) == Sight(Word.PROVEN)
    assert line.see(CALLEE.rtp(7, 9), by_caller=False) == Sight(Word.PROVEN)


# --- samples of what the kernel forwards


def proven() -> Line:
    line = Line()
    assert line.see(CALLER.rtp(7)).word is Word.PROVEN
    return line


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda at: rtp(at), Reason.PLAIN_RTP),
        (lambda at: Sender(AES_80, bytes(30)).rtp(at), Reason.SRTP_TAG),
        (lambda at: b"\x16\xfe\xfd" + bytes(30), Reason.UNKNOWN_MEDIA),
    ],
    ids=["clear", "other key", "DTLS"],
)
def test_failures_in_a_row_take_a_proof_back(bad: Callable[[int], bytes], reason: Reason) -> None:
    """SRT-10: the stream is not what it was; the next right packet proves it anew."""
    line = Line()
    for _ in range(MAX_LEAKS):
        line.see(rtp(1))
    line.see(CALLER.rtp(7))
    for at in range(1, MAX_FAILURES):
        assert line.sample(bad(at)) == Sight(Word.PASS)
    assert "verified" in line.prover.told(True)
    taken = line.sample(bad(9))
    assert is_refused(taken, reason)
    assert taken.finding is not None
    assert line.prover.told(True) == f"no SRTP with the negotiated key: {taken.finding.detail}"
    assert line.see(CALLER.rtp(99)).word is Word.PROVEN
    assert line.sample(bad(10)) == Sight(Word.PASS)


def test_forged_packets_between_good_ones_take_nothing_back() -> None:
    """Whoever forges a source address must not end a call with a packet now and then."""
    line = proven()
    for at in range(20):
        for _ in range(MAX_FAILURES - 1):
            assert line.sample(rtp(50_000)) == Sight(Word.PASS)
        assert line.sample(CALLER.rtp(100 + at)).word is Word.PROVEN


def test_what_proves_nothing_neither_way_does_not_count() -> None:
    """Replays, which networks make by themselves, STUN and empty packets."""
    line = proven()
    assert line.sample(CALLER.rtp(8)).word is Word.PROVEN
    for packet in (CALLER.rtp(8), BINDING, b"", PING):
        for _ in range(MAX_FAILURES + 1):
            assert line.sample(packet) == Sight(Word.PASS)
    assert "verified" in line.prover.told(True)


def test_the_other_direction_keeps_its_proof() -> None:
    """Each direction is judged by its own packets."""
    line = proven()
    assert line.see(CALLEE.rtp(7), by_caller=False).word is Word.PROVEN
    for _ in range(MAX_LEAKS + MAX_FAILURES):
        line.sample(rtp(8))
    assert "verified" in line.prover.told(False)
    assert "verified" not in line.prover.told(True)


def test_a_call_of_hours_is_not_lost_between_samples() -> None:
    """The counter rolls over every 22 minutes, and nobody here sees it."""
    line, index = proven(), 7
    for minutes in (1, 30, 60, 300):
        line.now_s += minutes * 60
        index += minutes * 60 * 50
        assert line.sample(CALLER.rtp(index)).word is Word.PROVEN


def test_a_telephone_that_starts_anew_is_not_lost_either() -> None:
    """After a hold it may come back with another SSRC, whose counter begins at 0."""
    line = proven()
    line.now_s += 3000
    assert line.sample(CALLER.rtp(60_000, 0x1234)).word is Word.PROVEN


def test_between_samples_only_raw_keys_are_kept() -> None:
    """A proven call lasts for hours; its derived keys need not."""
    line = proven()
    keys = line.prover._caller.keys
    assert keys._rtp_session is not None
    assert line.sample(CALLER.rtp(8)).word is Word.PROVEN
    assert keys._rtp_session is None


def test_a_new_ssrc_is_found_in_samples_too() -> None:
    """SRT-4: the kernel does not look at it."""
    line = Line(max_ssrcs=1)
    line.see(CALLER.rtp(7))
    sight = line.sample(CALLER.rtp(7, 1))
    assert sight.word is Word.PROVEN
    assert sight.finding is not None
    assert sight.finding.reason is Reason.SSRC_CHANGES


# --- the end


def test_keys_are_gone_after_the_call() -> None:
    """SRT-10: zeros in the terms, and nothing proves any more."""
    found = terms()
    line = Line(found)
    assert line.see(CALLER.rtp(7)).word is Word.PROVEN
    assert any(found.secrets)
    line.prover.wipe()
    assert len(found.secrets) == 60
    assert not any(found.secrets)
    assert is_refused(line.see(CALLER.rtp(8)), Reason.SRTP_TAG)
    assert is_refused(line.see(CALLEE.rtcp(8), by_caller=False), Reason.SRTP_TAG)


def test_terms_show_no_key() -> None:
    """SRT-10: neither printed nor in a traceback."""
    for value in (terms(), Line().prover):
        assert repr(value).startswith("<sipguard.media.prove_sdes.Sdes")


@pytest.mark.parametrize("line", [Line(), proven()], ids=["unproven", "proven"])
@given(st.data())
def test_the_prover_is_total(line: Line, data: st.DataObject) -> None:
    """Whatever comes, there is an answer, and nothing by chance is proof."""
    first = data.draw(st.sampled_from([b"", b"\x80", b"\x80\x00", b"\x80\xc8\x00\x01", b"\x90"]))
    payload = first + data.draw(st.binary(max_size=64))
    way = {"by_caller": data.draw(st.booleans()), "is_rtcp": data.draw(st.booleans())}
    seen = line.see(payload, **way)
    assert seen.word is not Word.PROVEN
    assert (seen.word is Word.REFUSE) is (seen.finding is not None)
    assert line.sample(payload, **way).word in (Word.PASS, Word.REFUSE)
    assert line.prover.told(way["by_caller"])

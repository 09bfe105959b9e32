"""media.ice: checks come before media, each of them verified (RFC 8445, 7675; PIN-13)."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ice_peers import (
    ALICE,
    ALICE2,
    BOB,
    BOB2,
    DTLS,
    PWDS,
    RTCP,
    RTP,
    ZRTP,
    Inner,
    answer,
    check,
    flight,
    ice,
)
from stun_builder import (
    ERROR,
    INDICATION,
    REQUEST,
    SUCCESS,
    USERNAME,
    attribute,
    error,
    message,
    request,
    success,
    with_fingerprint,
    with_integrity,
)

from sipguard.media.ice import (
    EARLY_PACKETS,
    MAX_ASKED,
    MAX_CHECK_OCTETS,
    MAX_PASSED,
    RESTART_S,
    IceProver,
)
from sipguard.media.proof import IS_QUIET, PASSES, PROVES, Prover, Sight, Word
from sipguard.reason import Finding, Reason
from sipguard.wire.stun import MAX_BARE_OCTETS


def prover(
    inner: Prover | None = None,
    *,
    caller_lite: bool = False,
    callee_lite: bool = False,
    before: IceProver | None = None,
) -> IceProver:
    caller, callee = ice(True, lite=caller_lite), ice(False, lite=callee_lite)
    return IceProver(inner or Inner(), caller, callee, before)


def pass_check(prover: IceProver, by_caller: bool, *ends: str, now_s: float = 0.0) -> None:
    """One side's check there and back."""
    name = b"%12d" % len(ends) if by_caller else b"%12d" % (10 + len(ends))
    assert prover.see(flight(by_caller, check(by_caller, name), now_s, *ends)) == PASSES
    back = (ends[1], ends[0]) if ends else ()
    assert prover.see(flight(not by_caller, answer(not by_caller, name), now_s, *back)) == PASSES


def checked(inner: Prover | None = None) -> IceProver:
    """A prover whose checks have passed both ways between Alice and Bob."""
    made = prover(inner)
    pass_check(made, True)
    pass_check(made, False)
    return made


def words(prover: IceProver, payload: bytes) -> tuple[Word, Word]:
    """What both directions get to hear."""
    return prover.see(flight(True, payload)).word, prover.see(flight(False, payload)).word


def reason_of(sight: Sight) -> Reason:
    assert sight.word is Word.REFUSE
    assert sight.finding is not None
    return sight.finding.reason


# --- the way of a call


def test_a_call() -> None:
    """PIN-13: both sides check, both answer, and only then the keys are looked at."""
    inner = Inner()
    made = prover(inner)
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)
    assert made.see(flight(True, check(True, b"of-alice----"))) == PASSES
    assert made.see(flight(False, check(False, b"of-bob------"))) == PASSES
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)
    assert made.see(flight(False, answer(False, b"of-alice----"))) == PASSES
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)
    assert inner.seen == []
    assert made.see(flight(True, answer(True, b"of-bob------"))) == PASSES
    assert words(made, RTP) == (Word.PROVEN, Word.PROVEN)
    assert words(made, RTCP) == (Word.PROVEN, Word.PROVEN)
    assert inner.seen == [RTP, RTP, RTCP, RTCP]


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("payload", [RTP, RTCP, b"\x40\x00\x00\x00", b"\xff", b""])
def test_media_wait_for_both_checks(asks: bool, payload: bytes) -> None:
    """PIN-13: one way is not enough, whichever it is."""
    inner = Inner()
    made = prover(inner)
    pass_check(made, asks)
    assert words(made, payload) == (Word.QUIET, Word.QUIET)
    assert inner.seen == []


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("handshake", [DTLS, ZRTP])
def test_handshakes_begin_after_the_first_check(asks: bool, handshake: bytes) -> None:
    """RFC 8445 section 12.1, RFC 8842 section 6: judged, but not left to the kernel yet."""
    inner = Inner()
    made = prover(inner)
    assert words(made, handshake) == (Word.QUIET, Word.QUIET)
    pass_check(made, asks)
    assert words(made, handshake) == (Word.PASS, Word.PASS)
    assert inner.seen == [handshake] * 2
    pass_check(made, not asks)
    assert words(made, handshake) == (Word.PROVEN, Word.PROVEN)


def test_the_inner_prover_has_the_last_word() -> None:
    """A checked pair proves no key."""
    wrong = Sight(Word.REFUSE, Finding(Reason.UNPROVEN))
    made = checked(Inner(wrong))
    assert made.see(flight(True, RTP)) == wrong
    one_way = prover(Inner(wrong))
    pass_check(one_way, True)
    assert one_way.see(flight(True, DTLS)) == wrong


def test_early_media_are_quiet_at_first() -> None:
    """ICE_UNCHECKED only where they are no race with the checks, for each direction alone."""
    made = prover()
    for _ in range(EARLY_PACKETS):
        assert made.see(flight(True, RTP)) == IS_QUIET
    assert reason_of(made.see(flight(True, RTP))) is Reason.ICE_UNCHECKED
    assert made.see(flight(False, RTP)) == IS_QUIET
    pass_check(made, False)
    for _ in range(EARLY_PACKETS):
        assert made.see(flight(True, RTP)) == IS_QUIET


def test_checks_go_on_for_consent() -> None:
    """RFC 7675: every few seconds for the whole call, with the same credentials."""
    made = checked()
    for number in range(3 * MAX_ASKED):
        name = b"%12d" % (1000 + number)
        assert made.see(flight(True, check(True, name), 5.0 * number)) == PASSES
        assert made.see(flight(False, answer(False, name), 5.0 * number)) == PASSES
    assert words(made, RTP) == (Word.PROVEN, Word.PROVEN)


def test_nominating_changes_nothing() -> None:
    """RFC 8445 section 12.1: data may use any valid pair, nominated or not."""
    made = prover()
    nominating = request(b"bobs:alic", PWDS[False], nominates=True)
    assert made.see(flight(True, nominating)) == PASSES
    assert made.see(flight(False, answer(False))) == PASSES
    pass_check(made, False)
    assert words(made, RTP) == (Word.PROVEN, Word.PROVEN)


def test_a_lost_check_is_sent_again() -> None:
    """The same request twice, and both answers, are one check."""
    made = prover()
    for _ in range(2):
        assert made.see(flight(True, check(True))) == PASSES
    for _ in range(2):
        assert made.see(flight(False, answer(False))) == PASSES
    pass_check(made, False)
    assert words(made, RTP) == (Word.PROVEN, Word.PROVEN)


# --- pairs


def test_each_pair_is_checked_by_itself() -> None:
    """Another address or port of the same hosts has shown nothing."""
    made = checked()
    for ends in ((ALICE2, BOB), (ALICE, BOB2), ("10.20.1.2:4001", BOB), (ALICE, "10.20.2.2:5001")):
        assert made.see(flight(True, RTP, 0.0, *ends)) == IS_QUIET
        assert made.see(flight(False, RTP, 0.0, ends[1], ends[0])) == IS_QUIET
    assert words(made, RTP) == (Word.PROVEN, Word.PROVEN)


def test_pairs_share_the_keys() -> None:
    """RFC 8842 section 6: all pairs of a stream are one association."""
    inner = Inner()
    made = checked(inner)
    pass_check(made, True, ALICE2, BOB2)
    pass_check(made, False, BOB2, ALICE2)
    assert made.see(flight(True, RTP, 0.0, ALICE2, BOB2)) == PROVES
    assert made.see(flight(True, RTP)) == PROVES
    assert len(inner.seen) == 2


def test_halves_of_two_pairs_are_no_pair() -> None:
    """Alice has checked one address of Bob's, Bob has checked Alice from the other."""
    made = prover()
    pass_check(made, True, ALICE, BOB)
    pass_check(made, False, BOB2, ALICE)
    assert made.see(flight(False, RTP, 0.0, BOB, ALICE)) == IS_QUIET
    assert made.see(flight(False, RTP, 0.0, BOB2, ALICE)) == IS_QUIET
    assert made.see(flight(True, RTP, 0.0, ALICE, BOB2)) == IS_QUIET


def test_an_answer_from_the_hosts_other_address() -> None:
    """baresip on a host with two addresses: asked at one, it answers from the other."""
    made = prover()
    pass_check(made, True, ALICE, BOB)
    assert made.see(flight(False, check(False), 0.0, BOB, ALICE2)) == PASSES
    assert made.see(flight(True, answer(True), 0.0, ALICE, BOB)) == PASSES
    assert made.see(flight(False, RTP, 0.0, BOB, ALICE2)) == PROVES


def test_an_answer_to_another_end_is_none() -> None:
    """It has to come back to the one who asked."""
    made = prover()
    pass_check(made, True)
    assert made.see(flight(False, check(False))) == PASSES
    assert made.see(flight(True, answer(True), 0.0, ALICE, BOB2)) == PASSES
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)


def test_ipv6() -> None:
    """The same between addresses of sixteen octets."""
    made = prover()
    here, there = "fd20:1::2:4000", "fd20:2::2:5000"
    pass_check(made, True, here, there)
    pass_check(made, False, there, here)
    assert made.see(flight(True, RTP, 0.0, here, there)) == PROVES


def test_ways_and_waiting_checks_are_bounded() -> None:
    """GEN-3: the oldest goes, and what it had reached with it."""
    made = checked()
    for port in range(6000, 6000 + MAX_PASSED):
        assert made.see(flight(True, RTP)) == PROVES
        pass_check(made, True, ALICE, f"10.20.2.2:{port}")
    assert made.see(flight(True, RTP)) == IS_QUIET
    assert made.see(flight(False, RTP)) == IS_QUIET
    for number in range(MAX_ASKED + 1):
        assert made.see(flight(True, check(True, b"%12d" % (500 + number)))) == PASSES
    assert made.see(flight(False, answer(False, b"%12d" % 500))) == PASSES
    assert made.see(flight(True, RTP)) == IS_QUIET
    assert made.see(flight(False, answer(False, b"%12d" % 501))) == PASSES
    assert made.see(flight(True, RTP)) == PROVES


# --- what is no check


@pytest.mark.parametrize(
    "payload",
    [
        request(b"bobs:alic", b"a wrong password of chars"),
        request(b"bobs:alic", PWDS[True]),
        request(b"alic:bobs", PWDS[False]),
        request(b"bobs:mall", PWDS[False]),
        request(b"mall:alic", PWDS[False]),
        request(b"bobs", PWDS[False]),
        check(False),
        message(REQUEST),
        message(REQUEST, attribute(USERNAME, b"bobs:alic")),
    ],
    ids=["wrong", "own", "turned round", "stranger", "to a stranger", "half", "of the other side",
         "bare", "no integrity"],
)  # fmt: skip
def test_a_check_without_the_right_credentials(payload: bytes) -> None:
    """PIN-13: it is refused, told, and no answer to it counts."""
    made = prover()
    assert reason_of(made.see(flight(True, payload))) is Reason.ICE_INTEGRITY
    made.see(flight(False, answer(False)))
    pass_check(made, False)
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)


@pytest.mark.parametrize(
    "payload",
    [
        success(b"a wrong password of chars"),
        success(PWDS[True]),
        message(SUCCESS),
        error(487, PWDS[True]),
        error(487),
        error(500),
        message(ERROR),
    ],
    ids=["wrong", "the asker's", "bare", "487 wrong", "487 bare", "500 bare", "no code"],
)
def test_a_response_without_the_right_password(payload: bytes) -> None:
    """PIN-13: the password is that of the side that was asked (RFC 8445 section 7.2.2)."""
    made = prover()
    made.see(flight(True, check(True)))
    pass_check(made, False)
    assert reason_of(made.see(flight(False, payload))) is Reason.ICE_INTEGRITY
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)


def test_a_response_that_nobody_asked_for() -> None:
    """It passes, since the kernel may have forwarded the request, and it shows nothing."""
    made = prover()
    pass_check(made, False)
    assert made.see(flight(False, answer(False, b"never asked!"))) == PASSES
    assert made.see(flight(True, check(True))) == PASSES
    assert made.see(flight(False, answer(False, b"another one!"))) == PASSES
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)


def test_ones_own_answer_is_none() -> None:
    """Alice cannot answer for Bob, though she knows his password."""
    made = prover()
    pass_check(made, False)
    made.see(flight(True, check(True)))
    assert reason_of(made.see(flight(True, answer(False)))) is Reason.ICE_INTEGRITY
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)


def test_a_role_conflict_is_no_success() -> None:
    """RFC 8445 section 7.2.5.1: 487 passes, the check is made again in the other role."""
    made = prover()
    pass_check(made, False)
    made.see(flight(True, check(True)))
    assert made.see(flight(False, error(487, PWDS[False]))) == PASSES
    assert made.see(flight(False, answer(False))) == PASSES
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)
    pass_check(made, True)
    assert words(made, RTP) == (Word.PROVEN, Word.PROVEN)


@pytest.mark.parametrize("code", [400, 401])
def test_an_error_without_integrity(code: int) -> None:
    """RFC 8489 section 9.1.3: who cannot verify cannot sign; only an answer to a known request."""
    made = prover()
    assert reason_of(made.see(flight(False, error(code)))) is Reason.ICE_INTEGRITY
    made.see(flight(True, check(True)))
    assert made.see(flight(False, error(code))) == PASSES


def test_keepalives() -> None:
    """RFC 8445 section 11: without credentials, so without room for freight."""
    made = prover()
    assert made.see(flight(True, message(INDICATION))) == PASSES
    assert made.see(flight(False, with_fingerprint(message(INDICATION)))) == PASSES
    full = message(INDICATION, attribute(0x8022, bytes(MAX_BARE_OCTETS - 24)))
    assert made.see(flight(True, full)) == PASSES
    freight = message(INDICATION, attribute(0x8022, bytes(MAX_BARE_OCTETS - 20)))
    assert reason_of(made.see(flight(True, freight))) is Reason.BAD_STUN
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)


@pytest.mark.parametrize("kind", [0x0003, 0x0004, 0x0016, 0x0103, 0x0200])
def test_other_methods_have_no_business_here(kind: int) -> None:
    """PIN-13: TURN runs between a client and its server, on a port of that."""
    assert reason_of(checked().see(flight(True, message(kind)))) is Reason.BAD_STUN


def test_what_only_looks_like_stun() -> None:
    """The first octet says STUN, the rest does not."""
    made = checked()
    for payload in (b"\x00", b"\x00" * 40, message(REQUEST)[:-1], check(True)[:-4]):
        assert reason_of(made.see(flight(True, payload))) is Reason.BAD_STUN


def test_no_check_is_longer_than_a_path_may_carry() -> None:
    """RFC 8489 section 6.1: 1280 octets where nothing is known of the path."""
    made = prover()
    for octets_, word in ((MAX_CHECK_OCTETS, Word.PASS), (MAX_CHECK_OCTETS + 4, Word.REFUSE)):
        name = attribute(USERNAME, b"bobs:alic")
        software = attribute(0x8022, bytes(octets_ - 20 - len(name) - 4 - 24))
        long = with_integrity(message(REQUEST, name + software), PWDS[False])
        assert len(long) == octets_
        assert made.see(flight(True, long)).word is word
        assert made.is_valid_check(long, True) is (word is Word.PASS)


# --- lite peers


@pytest.mark.parametrize("lite_is_caller", [True, False])
def test_a_lite_peer_only_answers(lite_is_caller: bool) -> None:
    """RFC 8445 section 2.5: the full side's check is all there will be."""
    made = prover(caller_lite=lite_is_caller, callee_lite=not lite_is_caller)
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)
    assert words(made, DTLS) == (Word.QUIET, Word.QUIET)
    pass_check(made, not lite_is_caller)
    assert words(made, RTP) == (Word.PROVEN, Word.PROVEN)


def test_a_lite_peer_is_not_believed_by_its_own_check() -> None:
    """It makes none; one that it makes all the same does not stand for the other side's."""
    made = prover(callee_lite=True)
    pass_check(made, False)
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)


def test_between_two_lite_peers_there_are_no_checks() -> None:
    """RFC 8445 section 8.2: pairs come from signalling alone."""
    made = prover(caller_lite=True, callee_lite=True)
    assert words(made, RTP) == (Word.PROVEN, Word.PROVEN)
    assert made.see(flight(True, message(INDICATION))) == PASSES


# --- restarts, samples, the rest


def restarted(before: IceProver) -> IceProver:
    caller = ice(True, ufrag=b"newA", pwd=b"another/password/of/alices")
    callee = ice(False, ufrag=b"newB", pwd=b"another/password/of/bobs++")
    return IceProver(Inner(), caller, callee, before)


def test_data_goes_on_during_a_restart() -> None:
    """RFC 8445 section 9: over the old pair, under the old credentials, until the new ones."""
    old = checked()
    made = restarted(old)
    assert words(made, RTP) == (Word.PROVEN, Word.PROVEN)
    assert made.see(flight(True, check(True), 1.0)) == PASSES
    assert made.see(flight(True, RTP, 1.0, ALICE2, BOB2)) == IS_QUIET
    assert made.sample(flight(True, RTP)) == PROVES


def test_the_old_credentials_end() -> None:
    """Thirty seconds after the first check under the new ones (RFC 7675 section 5.1)."""
    made = restarted(checked())
    new = request(b"newB:newA", b"another/password/of/bobs++", b"new-request!")
    response = success(b"another/password/of/bobs++", b"new-request!")
    for now_s in (10.0, 20.0):
        assert made.see(flight(True, new, now_s)) == PASSES
        assert made.see(flight(False, response, now_s)) == PASSES
    assert made.see(flight(True, RTP, 10.0 + RESTART_S)) == PROVES
    assert made.see(flight(True, RTP, 10.1 + RESTART_S)) == IS_QUIET
    late = made.see(flight(True, check(True), 10.1 + RESTART_S))
    assert reason_of(late) is Reason.ICE_INTEGRITY


def test_without_a_predecessor_old_credentials_are_foreign() -> None:
    """A restart that the gate did not hand over is a new stream."""
    caller = ice(True, ufrag=b"newA", pwd=b"another/password/of/alices")
    made = IceProver(Inner(), caller, ice(False))
    assert reason_of(made.see(flight(True, check(True)))) is Reason.ICE_INTEGRITY


def test_restarts_do_not_pile_up() -> None:
    """Only the last one's ways count on."""
    first = checked()
    second = restarted(first)
    third = prover(before=second)
    assert third.see(flight(True, RTP)) == IS_QUIET


def test_samples() -> None:
    """A forwarded copy: checks verified, media for the inner prover, none from elsewhere."""
    inner = Inner()
    made = checked(inner)
    assert made.sample(flight(True, RTP)) == PROVES
    assert inner.sampled == [RTP]
    assert made.sample(flight(True, check(True))) == PASSES
    forged = made.sample(flight(True, request(b"bobs:alic", b"a wrong password of chars")))
    assert reason_of(forged) is Reason.ICE_INTEGRITY
    assert reason_of(made.sample(flight(True, RTP, 0.0, ALICE2, BOB))) is Reason.ICE_UNCHECKED


def test_a_peer_reflexive_source_shows_itself_by_its_check() -> None:
    """RFC 8445 section 7.3.1.3: an address nobody named, with credentials nobody else has."""
    made = prover()
    assert made.is_valid_check(check(True), True)
    assert made.is_valid_check(check(False), False)
    assert not made.is_valid_check(check(True), False)
    assert not made.is_valid_check(answer(True), True)
    assert not made.is_valid_check(message(INDICATION), True)
    assert not made.is_valid_check(request(b"bobs:alic", PWDS[True]), True)
    assert not made.is_valid_check(RTP, True)
    other = message(0x0003, attribute(USERNAME, b"bobs:alic"))
    assert not made.is_valid_check(with_integrity(other, PWDS[False]), True)
    # Linphone repeats the request's name in its responses, as RFC 3489 had it.
    named = message(SUCCESS, attribute(USERNAME, b"bobs:alic"))
    assert not made.is_valid_check(with_integrity(named, PWDS[False]), True)
    assert not made.is_valid_check(check(True) + bytes(MAX_CHECK_OCTETS), True)


def test_what_is_told() -> None:
    """For the record: how far ICE has come, and the inner prover's words."""
    made = prover()
    assert made.told(True) == "ICE: no check has passed yet; the caller's key"
    pass_check(made, True)
    assert made.told(False) == "ICE: a check has passed one way; the callee's key"
    pass_check(made, False)
    assert made.told(True) == "ICE: checks have passed; the caller's key"
    lite = prover(callee_lite=True)
    assert lite.told(True).startswith("ICE: no check has passed yet")
    pass_check(lite, True)
    assert lite.told(True).startswith("ICE: checks have passed")


def test_nothing_is_left_after_wiping() -> None:
    """SRT-10: no password verifies anything any more; what came before is not wiped inside."""
    older, inner = Inner(), Inner()
    made = prover(inner, before=checked(older))
    pass_check(made, True)
    pass_check(made, False)
    made.wipe()
    assert (inner.wiped, older.wiped) == (1, 0)
    assert words(made, RTP) == (Word.QUIET, Word.QUIET)
    assert reason_of(made.see(flight(True, check(True)))) is Reason.ICE_INTEGRITY


PAYLOADS = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([RTP, RTCP, DTLS, ZRTP, check(True), check(False), answer(True), answer(False),
                     error(487, PWDS[True]), error(400), message(INDICATION), message(REQUEST)]),
)  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), PAYLOADS, st.booleans(), st.booleans()), max_size=24))
def test_judging_is_total_and_media_always_wait(
    packets: Sequence[tuple[bool, bytes, bool, bool]],
) -> None:
    """Whatever comes: a finding with each refusal, and no proof before both checks."""
    inner = Inner()
    made = prover(inner)
    asked, passed = set(), set()
    for by_caller, payload, is_other, is_sample in packets:
        ends = ((ALICE2, BOB2) if by_caller else (BOB2, ALICE2)) if is_other else ()
        here = flight(by_caller, payload, 0.0, *ends)
        sight = made.sample(here) if is_sample else made.see(here)
        assert sight.word is not Word.REFUSE or sight.finding is not None
        if payload == check(by_caller):
            asked.add((by_caller, is_other))
        if payload == answer(by_caller) and (not by_caller, is_other) in asked:
            passed.add((not by_caller, is_other))
        if sight.word is Word.PROVEN:
            assert {(True, is_other), (False, is_other)} <= passed

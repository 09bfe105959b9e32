"""media.zrtp_exchange: who may say what, and what must hold together (RFC 6189)."""

import hashlib
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zrtp_builder import DEFAULT_OFFERS, End, exchange, flip, mac, message, packet, sha256
from zrtp_builder import Exchange as Built

from sipguard.errors import HostileInput
from sipguard.media.zrtp_exchange import TRANSITIONS, Exchange, Stage, Step
from sipguard.reason import Finding, Reason
from sipguard.wire.zrtp import parse_zrtp

DH = (b"S256", b"AES1", b"HS80", b"DH3k", b"B32 ")
SHORT = (b"S256", b"AES1", b"HS32", b"Mult", b"B32 ")
PRESHARED = (b"S256", b"AES1", b"HS32", b"Prsh", b"B32 ")
_S = Stage


def follower(built: Built | None = None) -> Exchange:
    """An exchange to follow; signalling names the Hellos of one that was built."""
    if built is None:
        return Exchange((), ())
    return Exchange(built.caller_hashes, built.callee_hashes)


def take(followed: Exchange, by_caller: bool, said: bytes) -> tuple[bool, Finding | None]:
    return followed.take(by_caller, parse_zrtp(packet(said)))


def refused(followed: Exchange, by_caller: bool, said: bytes) -> Reason:
    """Why a message is refused; that it is leaves everything as it was."""
    before = followed.stage
    with pytest.raises(HostileInput) as caught:
        take(followed, by_caller, said)
    assert followed.stage is before
    return caught.value.reason


def after(built: Built, count: int, *, signalled: bool = True) -> Exchange:
    """What is followed after so many datagrams of a right exchange."""
    followed = follower(built if signalled else None)
    for by_caller, datagram in built.said()[:count]:
        followed.take(by_caller, parse_zrtp(datagram))
    return followed


# --- right ones


@pytest.mark.parametrize("caller_initiates", [True, False])
@pytest.mark.parametrize(
    "chosen",
    [
        DH,
        SHORT,
        PRESHARED,
        (b"S256", b"AES1", b"HS32", b"DH2k", b"B32 "),
        (b"S384", b"AES3", b"SK64", b"EC38", b"B256"),
        (b"N256", b"2FS1", b"SK32", b"EC25", b"B32 "),
        (b"N384", b"2FS3", b"HS80", b"EC52", b"B32 "),
        (b"S384", b"AES3", b"HS80", b"X255", b"B256"),
        (b"S256", b"AES1", b"HS80", b"X448", b"B32 "),
    ],
)
def test_zrt_7_a_right_exchange_comes_to_its_end(
    chosen: tuple[bytes, ...], caller_initiates: bool
) -> None:
    """Whoever initiates, with an exchange of keys or without; every step but the last is due."""
    built = exchange(chosen, caller_initiates=caller_initiates)
    followed = follower(built)
    stages = []
    for by_caller, datagram in built.said():
        followed.take(by_caller, parse_zrtp(datagram))
        stages.append(followed.stage)
    keys = [_S.COMMITTED, _S.ANSWERED, _S.AGREED]
    start = [_S.SHORT] if built.dh_part_1 == b"" else keys
    assert stages == [_S.DISCOVERY] * 4 + start + [_S.CONFIRMING, _S.CONFIRMED, _S.SECURE]
    assert followed.is_short == (built.dh_part_1 == b"")
    assert followed.hvi_agrees == (not followed.is_short)
    octets = {b"HS32": 4, b"HS80": 10, b"SK32": 4, b"SK64": 8}
    assert followed.tag_octets == octets[chosen[2]]


@pytest.mark.parametrize("caller_initiates", [True, False])
def test_zrt_7_media_is_due_after_confirm_2_and_conf_2_ack(caller_initiates: bool) -> None:
    """The responder's first; the initiator's after Conf2ACK or the responder's SRTP."""
    built = exchange(caller_initiates=caller_initiates)
    for count in range(11):
        followed = after(built, count)
        assert followed.may_send(not caller_initiates) is (count >= 9)
        assert followed.may_send(caller_initiates) is (count == 10)
    followed = after(built, 9)
    followed.take_media(caller_initiates)
    assert not followed.may_send(caller_initiates)
    followed.take_media(not caller_initiates)
    assert followed.may_send(caller_initiates)


def test_zrt_8_repetitions_change_nothing() -> None:
    """Each message twice, and all of them again: no progress, no findings."""
    built = exchange()
    followed = follower(built)
    said = built.said()
    for at, (by_caller, datagram) in enumerate(said):
        followed.take(by_caller, parse_zrtp(datagram))
        for by_earlier, earlier in said[: at + 1]:
            assert followed.take(by_earlier, parse_zrtp(earlier)) == (False, None)
    assert followed.stage is _S.SECURE


def test_messages_are_forgotten_with_the_end() -> None:
    """Only digests stay; and repetitions are still known."""
    followed = after(exchange(), 10, signalled=False)
    for side in (followed.caller, followed.callee):
        assert (side.hello, side.commit) == (None, None)
        assert side.hello_octets == side.commit_octets == b""
    assert refused(followed, True, End(b"new").hello) is Reason.ZRTP_CHAIN
    assert refused(followed, True, End(b"one").commit(DH, bytes(32))) is Reason.ZRTP_ORDER


# --- the table


@pytest.mark.parametrize(("stage", "step"), list(product(Stage, Step)))
def test_zrt_7_the_table_is_walked_whole(stage: Stage, step: Step) -> None:
    """Where the table has no entry, nothing is taken; no stage is left for an earlier one."""
    order = [_S.DISCOVERY, _S.SHORT, _S.COMMITTED, _S.ANSWERED, _S.AGREED]
    order += [_S.CONFIRMING, _S.CONFIRMED, _S.SECURE]
    then = TRANSITIONS.get((stage, step))
    if then is not None:
        assert order.index(then) >= order.index(stage)
    if stage is _S.DISCOVERY:
        assert then in (None, _S.COMMITTED, _S.SHORT)


def test_zrt_7_every_stage_can_come_to_the_end() -> None:
    """No exchange is stuck for good."""
    ends = {_S.SECURE}
    while more := {s for (s, _), then in TRANSITIONS.items() if then in ends} - ends:
        ends |= more
    assert ends == set(Stage)


@pytest.mark.parametrize("chosen", [DH, SHORT])
def test_zrt_7_nothing_comes_before_its_turn(chosen: tuple[bytes, ...]) -> None:
    """At each point of an exchange every message is due, known, or out of order."""
    built = exchange(chosen)
    said = built.said()
    for count in range(len(said) + 1):
        for at in range(count + 1, len(said)):
            followed = after(built, count)
            by_caller, datagram = said[at]
            # Hellos and HelloACKs of both sides cross; the last may be lost.
            if (at < 4 and count > 0) or datagram[16:24] == b"Hello   " or (count, at) == (3, 4):
                continue
            assert refused(followed, by_caller, datagram[12:-4]) is Reason.ZRTP_ORDER


@pytest.mark.parametrize("chosen", [DH, SHORT])
def test_zrt_7_each_message_comes_from_its_side(chosen: tuple[bytes, ...]) -> None:
    """After the Commit the other end may say none of these."""
    built = exchange(chosen)
    said = built.said()
    for at in range(5, len(said)):
        by_caller, datagram = said[at]
        assert refused(after(built, at), not by_caller, datagram[12:-4]) is Reason.ZRTP_ORDER


def test_zrt_7_a_hello_ack_acknowledges_a_hello() -> None:
    """Of the other side; a Commit needs both."""
    built = exchange()
    assert refused(follower(built), True, message(b"HelloACK")) is Reason.ZRTP_ORDER
    followed = after(built, 1)
    assert take(followed, False, message(b"HelloACK")) == (False, None)
    assert refused(followed, True, built.commit) is Reason.ZRTP_ORDER


# --- contention


def contended(
    one: tuple[bytes, ...], two: tuple[bytes, ...], flags: tuple[int, int] = (0, 0)
) -> list[tuple[bool, bool]]:
    """Who wins, with the caller's Commit first and with the callee's first."""
    offers = (*DEFAULT_OFFERS[:3], (b"DH3k", b"Mult", b"Prsh"), DEFAULT_OFFERS[4])
    caller, callee = End(b"one", offers, flags=flags[0]), End(b"two", offers, flags=flags[1])
    said = {
        True: exchange(one, initiator=caller, responder=callee).commit,
        False: exchange(two, initiator=callee, responder=caller).commit,
    }
    found = []
    for first in (True, False):
        followed = follower()
        take(followed, True, caller.hello)
        take(followed, False, callee.hello)
        take(followed, first, said[first])
        take(followed, not first, said[not first])
        found.append((followed.caller_initiates, followed.is_short))
    return found


def test_zrt_7_of_two_commits_the_lower_hvi_loses() -> None:
    """Section 4.2; whichever the gate sees first."""
    built = {
        seed: exchange(initiator=End(b"one"), responder=End(b"two" + seed))
        for seed in (b"", b"a", b"b", b"c", b"d", b"e")
    }
    found = set()
    for one in built.values():
        other = exchange(initiator=one.responder, responder=one.initiator)
        wins = one.commit[76:108] > other.commit[76:108]
        found.add(wins)
        for first in (True, False):
            followed = follower()
            take(followed, True, one.hello_i)
            take(followed, False, one.hello_r)
            for by_caller in (first, not first):
                take(followed, by_caller, one.commit if by_caller else other.commit)
            assert followed.caller_initiates is wins
            # The loser's Commit is held against its DHPart1, and the exchange goes on.
            winner = one if wins else other
            take(followed, not wins, winner.dh_part_1)
            take(followed, wins, winner.dh_part_2)
            assert followed.stage is _S.AGREED
    assert found == {True, False}


def test_zrt_7_keys_beat_preshared_mode() -> None:
    """Section 4.2: the Preshared Commit is discarded."""
    assert contended(DH, PRESHARED) == [(True, False)] * 2
    assert contended(PRESHARED, DH) == [(False, False)] * 2


def test_zrt_7_two_preshared_commits() -> None:
    """The one of the middle man is discarded; else the lower nonce. Equal ones: the first."""
    middle_man = 2
    assert contended(PRESHARED, PRESHARED, (middle_man, 0)) == [(False, True)] * 2
    assert contended(PRESHARED, PRESHARED, (0, middle_man)) == [(True, True)] * 2
    assert contended(PRESHARED, PRESHARED) == [(True, True), (False, True)]


def test_zrt_7_multistream_stands_against_nothing_else() -> None:
    """Section 4.2: a software error; the first stands."""
    for one, two in ((DH, SHORT), (SHORT, DH), (SHORT, PRESHARED), (PRESHARED, SHORT)):
        with pytest.raises(HostileInput) as caught:
            contended(one, two)
        assert caught.value.reason is Reason.ZRTP_ORDER
    for flags in ((0, 0), (2, 0), (0, 2)):  # whether one is a middle man is no matter here
        assert contended(SHORT, SHORT, flags) == [(True, True), (False, True)]


# --- the chain and the MACs


def test_zrt_3_a_commit_belongs_to_its_hello() -> None:
    """Another's H2, or another's ZID under the right one."""
    built = exchange()
    stranger = End(b"stranger")
    followed = after(built, 4)
    assert refused(followed, True, stranger.commit(DH, bytes(32))) is Reason.ZRTP_CHAIN
    zid_at = 44
    assert refused(followed, True, flip(built.commit, zid_at)) is Reason.ZRTP_CHAIN
    h2_at = 12
    assert refused(followed, True, flip(built.commit, h2_at)) is Reason.ZRTP_CHAIN
    take(followed, True, built.commit)
    assert followed.stage is _S.COMMITTED


def test_zrt_3_a_side_commits_once() -> None:
    """Whoever saw its H2 can make another; the first stands, as it does with an end."""
    built = exchange()
    followed = after(built, 5)
    assert refused(followed, True, built.initiator.commit(DH, b"\xff" * 32)) is Reason.ZRTP_CHAIN
    for by_caller, datagram in built.said()[5:]:
        followed.take(by_caller, parse_zrtp(datagram))
    assert followed.hvi_agrees


@pytest.mark.parametrize(("count", "name"), [(5, "dh_part_1"), (6, "dh_part_2")])
def test_zrt_3_a_dh_part_belongs_to_its_hello(count: int, name: str) -> None:
    """H1 hashed twice is H3; another's public value does not get in."""
    built = exchange()
    by_caller = name == "dh_part_2"
    followed = after(built, count)
    forged = End(b"stranger").dh_part(2 if by_caller else 1)
    assert refused(followed, by_caller, forged) is Reason.ZRTP_CHAIN
    right: bytes = getattr(built, name)
    take(followed, by_caller, right)
    assert followed.stage in (_S.ANSWERED, _S.AGREED)
    assert refused(followed, by_caller, flip(right, 200)) is Reason.ZRTP_CHAIN


def test_zrt_4_the_commit_shows_a_changed_hello() -> None:
    """Someone took SHA-384 out of the offers, and signalling names no Hello."""
    built = exchange()
    for at in (12, 20, 70, len(built.hello_i) - 20, len(built.hello_i) - 1):
        followed = follower()
        take(followed, True, flip(built.hello_i, at))
        take(followed, False, built.hello_r)
        assert refused(followed, True, built.commit) in (Reason.ZRTP_MAC, Reason.ZRTP_CHAIN)


def test_zrt_4_dh_part_1_shows_a_changed_hello() -> None:
    """The responder's, which only its H1 can check."""
    built = exchange()
    followed = follower()
    take(followed, True, built.hello_i)
    take(followed, False, flip(built.hello_r, 20))
    take(followed, True, built.commit)
    assert refused(followed, False, built.dh_part_1) is Reason.ZRTP_MAC


def test_zrt_4_dh_part_2_shows_a_changed_commit() -> None:
    """Someone changed the cipher on its way, to one that both offer as well."""
    offers = (DEFAULT_OFFERS[0], (b"AES1", b"AES3"), *DEFAULT_OFFERS[2:])
    one, two = End(b"one", offers), End(b"two", offers)
    built = exchange((b"S256", b"AES3", b"HS80", b"DH3k", b"B32 "), initiator=one, responder=two)
    followed = after(built, 4)
    cipher_at = 60
    assert built.commit[cipher_at : cipher_at + 4] == b"AES3"
    take(followed, True, built.commit[:cipher_at] + b"AES1" + built.commit[cipher_at + 4 :])
    take(followed, False, built.dh_part_1)
    assert refused(followed, True, built.dh_part_2) is Reason.ZRTP_MAC


def test_zrt_4_the_losers_commit_is_held_against_its_dh_part() -> None:
    """In contention the responder showed H2 as well."""
    one, two = End(b"one"), End(b"two")
    built = exchange(initiator=one, responder=two)
    other = exchange(initiator=two, responder=one)
    if built.commit[76:108] < other.commit[76:108]:
        built, other = other, built
    followed = follower()
    take(followed, True, built.hello_i)
    take(followed, False, built.hello_r)
    take(followed, True, built.commit)
    take(followed, False, flip(other.commit, len(other.commit) - 1))
    assert refused(followed, False, built.dh_part_1) is Reason.ZRTP_MAC


# --- hashes in signalling


def test_zrt_5_the_hello_is_the_one_in_signalling() -> None:
    """Any other is refused, and the right one then taken."""
    built = exchange()
    followed = follower(built)
    for octets in (End(b"stranger").hello, flip(built.hello_i, 20), built.hello_r):
        assert refused(followed, True, octets) is Reason.ZRTP_HASH
    assert take(followed, True, built.hello_i) == (True, None)


def test_zrt_5_a_side_may_signal_a_hash_for_each_version() -> None:
    """Any of them will do."""
    built = exchange()
    followed = Exchange((sha256(b"another version"), sha256(built.hello_i)), ())
    assert take(followed, True, built.hello_i) == (True, None)
    assert take(followed, False, built.hello_r) == (True, None)


def test_zrt_3_another_hello_is_odd_before_a_commit_and_refused_after() -> None:
    """Without a hash in signalling; the Commit then belongs to the latest."""
    built = exchange()
    followed = follower()
    take(followed, False, built.hello_r)
    take(followed, True, End(b"stranger").hello)
    is_progress, finding = take(followed, True, built.hello_i)
    assert not is_progress
    assert finding is not None
    assert finding.reason is Reason.ZRTP_CHAIN
    take(followed, True, built.commit)
    assert refused(followed, True, End(b"stranger").hello) is Reason.ZRTP_CHAIN
    assert refused(followed, False, End(b"stranger").hello) is Reason.ZRTP_CHAIN


def test_zrt_10_a_mirror_is_no_other_end() -> None:
    """Both Hellos with one ZID: RFC 6189 calls it error 0x90."""
    followed = follower()
    take(followed, True, End(b"one").hello)
    assert refused(followed, False, End(b"one").hello) is Reason.ZRTP_ODD


# --- the key value


@pytest.mark.parametrize("name", [b"S256", b"S384", b"N256", b"N384"])
def test_zrt_6_dh_part_2_is_what_was_committed_to(name: bytes) -> None:
    """With each hash; a key value made after the responder's was seen is refused."""
    built = exchange((name, *DH[1:]))
    followed = after(built, 6)
    later = built.initiator.h1 + bytes(32) + hashlib.shake_256(b"later").digest(384)
    unsigned = message(b"DHPart2", later + bytes(8))[:-8]
    forged = unsigned + mac(built.initiator.h0, unsigned)
    assert refused(followed, True, forged) is Reason.ZRTP_HVI
    take(followed, True, built.dh_part_2)
    assert followed.hvi_agrees


def test_zrt_6_the_hvi_covers_the_responders_hello() -> None:
    """Section 4.4.1.1: or an attacker could choose its algorithms."""
    built = exchange()
    promise = hashlib.sha256(built.dh_part_2 + built.hello_i).digest()
    commit = built.initiator.commit(DH, promise)
    followed = after(built, 4)
    take(followed, True, commit)
    take(followed, False, built.dh_part_1)
    assert refused(followed, True, built.dh_part_2) is Reason.ZRTP_HVI


def test_zrt_6_an_unknown_hash_leaves_the_hvi_unchecked() -> None:
    """Skein, as one library offers it: passes, is told, and never counts as checked."""
    built = exchange((b"SKN2", *DH[1:]))
    followed = after(built, 4)
    _, finding = take(followed, True, built.commit)
    assert finding is not None
    assert finding.reason is Reason.ZRTP_ODD
    assert "hvi" in finding.detail
    for by_caller, datagram in built.said()[5:]:
        followed.take(by_caller, parse_zrtp(datagram))
    assert followed.stage is _S.SECURE
    assert not followed.hvi_agrees


@pytest.mark.parametrize("agreement", [b"DH3k", b"DH2k", b"EC25", b"X255"])
def test_zrt_6_a_public_value_has_its_length_and_keeps_a_secret(agreement: bytes) -> None:
    """0, 1 and p - 1 would make the key known to all; section 4.4.1.1."""
    built = exchange((*DH[:3], agreement, DH[4]))
    octets = len(built.dh_part_1) - 84
    one = (1).to_bytes(octets, "big")
    bad = [bytes(octets), one, bytes(octets + 4), b"\x55" * (octets - 4), b"\x55" * (octets + 4)]
    if agreement.startswith(b"DH"):
        near = b"\xff" * 8 + b"\x55" * (octets - 16) + b"\xff" * 8
        bad += [near, flip(near, octets - 1)]
    else:
        bad.append(one[::-1])
        good = message(b"DHPart1", built.responder.h1 + bytes(32) + b"\xff" * octets + bytes(8))
        assert take(after(built, 5), False, good) == (True, None)
    for value in bad:
        said = message(b"DHPart1", built.responder.h1 + bytes(32) + value + bytes(8))
        assert refused(after(built, 5), False, said) is Reason.BAD_ZRTP


# --- algorithms and oddities


@pytest.mark.parametrize("kind", range(5))
def test_zrt_7_a_commit_chooses_what_both_offer(kind: int) -> None:
    """One side's offer alone is not enough."""
    rare = (b"S384", b"AES3", b"SK64", b"EC25", b"B256")[kind]
    chosen = (*DH[:kind], rare, *DH[kind + 1 :])
    offers = (*DEFAULT_OFFERS[:kind], (rare,), *DEFAULT_OFFERS[kind + 1 :])
    for one, two in ((offers, DEFAULT_OFFERS), (DEFAULT_OFFERS, offers)):
        built = exchange(chosen, initiator=End(b"one", one), responder=End(b"two", two))
        assert refused(after(built, 4), True, built.commit) is Reason.ZRTP_ODD


@pytest.mark.parametrize("chosen", [DH, SHORT])
def test_zrt_7_what_all_can_do_need_not_be_offered(chosen: tuple[bytes, ...]) -> None:
    """Section 5.1: a Hello may leave out the mandatory algorithms, even all of them."""
    ends = [End(seed, ((),) * 5) for seed in (b"one", b"two")]
    built = exchange(chosen, initiator=ends[0], responder=ends[1])
    assert after(built, 10).stage is _S.SECURE


def odd(built: Built, at: int) -> str:
    """What is told of one message of an exchange that still comes to its end."""
    followed = after(built, at)
    by_caller, datagram = built.said()[at]
    _, finding = followed.take(by_caller, parse_zrtp(datagram))
    assert after(built, 10).stage is _S.SECURE
    if finding is None:
        return ""
    assert finding.reason is Reason.ZRTP_ODD
    return finding.detail


def test_zrt_10_odd_hellos_are_told() -> None:
    """Another version, a middle man; the other flags are everybody's right."""
    assert odd(exchange(), 0) == ""
    assert "version" in odd(exchange(initiator=End(b"one", version=b"1.20")), 0)
    assert "middle man" in odd(exchange(initiator=End(b"one", flags=2)), 0)
    assert odd(exchange(initiator=End(b"one", flags=4)), 0) == ""
    assert odd(exchange(initiator=End(b"one", flags=1)), 0) == ""
    both = odd(exchange(initiator=End(b"one", version=b"1.20", flags=2)), 0)
    assert "version" in both
    assert "middle man" in both


def test_zrt_10_odd_commits_are_told() -> None:
    """Weak key agreements, unknown ones, and one of a side that said it sends none."""
    assert odd(exchange(), 4) == ""
    assert odd(exchange(SHORT), 4) == ""
    assert "weak" in odd(exchange((*DH[:3], b"DH2k", DH[4])), 4)
    assert "weak" in odd(exchange((*DH[:3], b"EC52", DH[4])), 4)
    assert "not known" in odd(exchange((*DH[:3], b"E414", DH[4])), 4)
    assert "sends none" in odd(exchange(initiator=End(b"one", flags=1)), 4)


def test_zrt_9_nobody_goes_clear() -> None:
    """GoClear and its acknowledgement are refused at any time."""
    built = exchange()
    for count in range(11):
        followed = after(built, count)
        for kind, octets in ((b"GoClear", 8), (b"ClearACK", 0)):
            assert refused(followed, True, message(kind, bytes(octets))) is Reason.ZRTP_CLEAR


def test_zrt_11_errors_are_told_with_their_code() -> None:
    """They pass, and end nothing here."""
    followed = after(exchange(), 6)
    for code, words in ((0x70, "bad MAC"), (0x62, "hvi"), (0x12345, "unknown")):
        error = message(b"Error", code.to_bytes(4, "big"))
        _, finding = take(followed, True, error)
        assert finding is not None
        assert finding.reason is Reason.ZRTP_ERROR
        assert f"{code:#x}" in finding.detail
        assert words in finding.detail
        assert take(followed, False, message(b"ErrorACK")) == (False, None)
    assert followed.stage is _S.ANSWERED


def test_other_messages_lead_nowhere() -> None:
    """Ping passes; a SAS is relayed only after the exchange, and told."""
    relay = message(b"SASrelay", bytes(64))
    followed = after(exchange(), 7)
    for kind, octets in ((b"Ping", 12), (b"PingACK", 24), (b"RelayACK", 0)):
        assert take(followed, True, message(kind, bytes(octets))) == (False, None)
    assert refused(followed, False, relay) is Reason.ZRTP_ORDER
    _, finding = take(after(exchange(), 10), False, relay)
    assert finding is not None
    assert finding.reason is Reason.ZRTP_ODD


# --- any order


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 19)), max_size=40), st.booleans())
def test_zrt_7_the_end_is_reached_by_all_messages_alone(
    order: list[tuple[bool, int]], signalled: bool
) -> None:
    """Whatever two exchanges' messages come in whatever order, none is skipped."""
    pool = [d for _, d in BUILT.said()] + [d for _, d in OTHER.said()]
    followed = follower(BUILT if signalled else None)
    passed = set()
    for by_caller, at in order:
        try:
            followed.take(by_caller, parse_zrtp(pool[at]))
        except HostileInput:
            continue
        passed.add(pool[at][16:24])
    if followed.stage is _S.SECURE:
        needed = {b"Commit  ", b"DHPart1 ", b"DHPart2 ", b"Confirm1", b"Confirm2", b"Conf2ACK"}
        assert needed <= passed


BUILT = exchange()
OTHER = exchange(initiator=End(b"three"), responder=End(b"four"))

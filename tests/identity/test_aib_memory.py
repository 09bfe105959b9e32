"""The Call-IDs of verified AIBs: a copy buys nothing, normal SIP goes on (AIB-8, AIB-9)."""

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.identity.aib_memory import RETRANSMITTED_S, AibMemory, Claim, long_hash
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason

DATE_S = 1_790_000_000
HOUR_S = 3600.0
SIGNER = 7


def at(s: float) -> Moment:
    return Moment(1000.0 + s, DATE_S + s)


def claim(
    call_id: bytes = b"a84b4c76e66710",
    *,
    caller: bytes = b"sip:alice@example.com",
    copy: int = 1,
    leg: int = 1,
    tag: int = 1,
    cseq: int = 1,
    method: bytes = b"INVITE",
    date_s: int = DATE_S,
    signs_cseq: bool = True,
    signs_tag: bool = False,
) -> Claim:
    key = long_hash(call_id, caller)
    return Claim(key, copy, leg, tag, cseq, method, date_s, signs_cseq, signs_tag)


def remembering(*claims: Claim, s: float = 0.0) -> AibMemory:
    memory = AibMemory()
    for each in claims:
        memory.remember(each, SIGNER, at(s))
    return memory


def look(
    memory: AibMemory,
    again: Claim,
    s: float = 60.0,
    *,
    in_dialog: bool = False,
    retry: bool = False,
) -> Reason | None:
    finding = memory.look(again, at(s), in_dialog=in_dialog, retry=retry)
    return None if finding is None else finding.reason


def test_aib_8_a_call_id_counts_once() -> None:
    """The thief's only weapon is the same octets again, whatever branch and source he takes."""
    memory = remembering(claim())
    assert look(memory, claim(leg=2)) is Reason.AIB_REPLAY
    assert look(memory, claim(leg=2, tag=2)) is Reason.AIB_REPLAY
    assert look(memory, claim(b"another")) is None
    assert look(memory, claim(caller=b"sip:bob@example.com")) is None


def test_aib_8_looking_writes_nothing() -> None:
    """Otherwise anybody could spend a victim's Call-ID with an AIB that does not verify."""
    memory = AibMemory()
    assert look(memory, claim()) is None
    assert len(memory) == 0
    assert look(memory, claim(leg=2)) is None


def test_aib_8_a_call_id_is_kept_as_long_as_its_date_may_be_believed() -> None:
    """And not longer."""
    memory = remembering(claim())
    assert look(memory, claim(leg=2), HOUR_S - 1) is Reason.AIB_REPLAY
    assert look(memory, claim(leg=2), HOUR_S) is None


def test_aib_9_a_the_same_request_again_is_a_retransmission() -> None:
    """Same branch, same source, same AIB, for as long as a transaction repeats itself."""
    memory = remembering(claim())
    assert look(memory, claim(), RETRANSMITTED_S) is None
    assert look(memory, claim(), RETRANSMITTED_S + 1) is Reason.AIB_REPLAY
    assert look(memory, claim(copy=2), 1.0) is Reason.AIB_REPLAY
    assert look(memory, claim(cseq=2, copy=1), 1.0) is Reason.AIB_REPLAY


def test_aib_9_b_a_new_signature_with_a_higher_number_is_an_answer_to_a_challenge() -> None:
    """After 401 the client signs again; a copy of the old AIB cannot count on."""
    memory = remembering(claim())
    assert look(memory, claim(copy=2, cseq=2, leg=2)) is None
    assert look(memory, claim(copy=1, cseq=2, leg=2)) is Reason.AIB_REPLAY
    assert look(memory, claim(copy=2, cseq=2, leg=2, signs_cseq=False)) is Reason.AIB_REPLAY
    assert look(memory, claim(copy=2, cseq=1, leg=2)) is Reason.AIB_REPLAY


def test_aib_9_b_a_new_tag_must_be_a_signed_one() -> None:
    """A registration may be refreshed under another tag; a thief may not choose one."""
    memory = remembering(claim(method=b"REGISTER"))
    again = claim(copy=2, cseq=2, leg=2, tag=2, method=b"REGISTER")
    assert look(memory, again) is Reason.AIB_REPLAY
    assert look(memory, again._replace(signs_tag=True)) is None


def test_aib_9_b_without_a_signed_number_the_guard_must_know_of_the_retry() -> None:
    """An AIB with From, Date, Call-ID and Contact alone."""
    memory = remembering(claim(signs_cseq=False))
    again = claim(cseq=2, leg=2, signs_cseq=False)
    assert look(memory, again) is Reason.AIB_REPLAY
    assert look(memory, again, retry=True) is None
    assert look(memory, again._replace(tag=2), retry=True) is Reason.AIB_REPLAY


def test_aib_9_c_one_aib_serves_a_whole_call() -> None:
    """As long as its numbers rise."""
    memory = remembering(claim())
    second = claim(cseq=2, leg=2, method=b"BYE", signs_cseq=False)
    assert look(memory, second, in_dialog=True) is None
    assert look(memory, second, in_dialog=False) is Reason.AIB_REPLAY
    memory.remember(second, SIGNER, at(60))
    assert look(memory, second._replace(leg=3), in_dialog=True) is Reason.AIB_REPLAY
    assert look(memory, second._replace(cseq=3), in_dialog=True) is None


def test_aib_9_c_an_ack_has_the_number_of_its_invite() -> None:
    """RFC 3261 section 13.2.2.4; a BYE with it is a replay."""
    memory = remembering(claim())
    assert look(memory, claim(leg=2, method=b"ACK"), in_dialog=True) is None
    assert look(memory, claim(leg=2, method=b"BYE"), in_dialog=True) is Reason.AIB_REPLAY


def test_aib_9_c_the_other_end_counts_for_itself() -> None:
    """Both ends of a call may have one address: two phones of one user."""
    memory = remembering(claim(cseq=50))
    other = claim(copy=2, leg=2, tag=2, cseq=3)
    assert look(memory, other, in_dialog=True) is None
    memory.remember(other, SIGNER, at(60))
    assert look(memory, other._replace(leg=3), in_dialog=True) is Reason.AIB_REPLAY
    assert look(memory, other._replace(cseq=4), in_dialog=True) is None
    assert look(memory, claim(cseq=51, leg=4), in_dialog=True) is None
    for tag in range(10, 30):
        memory.remember(claim(tag=tag, cseq=tag), SIGNER, at(60))
    assert look(memory, claim(tag=29, cseq=29, leg=5), in_dialog=True) is Reason.AIB_REPLAY


def test_aib_9_d_and_rpl_3_a_fork_or_spiral_is_the_same_request() -> None:
    """A proxy sends one INVITE to two phones, or back through the gateway."""
    memory = remembering(claim())
    assert look(memory, claim(leg=2), retry=True) is None
    assert look(memory, claim(leg=2, copy=2), retry=True) is Reason.AIB_REPLAY
    assert look(memory, claim(leg=2, tag=2), retry=True) is Reason.AIB_REPLAY


def test_aib_9_a_signed_cancel_has_the_number_of_its_invite() -> None:
    """A copy of the INVITE's own AIB cancels nothing."""
    memory = remembering(claim())
    cancel = claim(copy=2, method=b"CANCEL")
    assert look(memory, cancel) is None
    assert look(memory, cancel._replace(signs_cseq=False)) is Reason.AIB_REPLAY


def test_smi_31_another_certificate_inside_a_call_is_told() -> None:
    """Renewed in the middle of a call: possible, and worth a look."""
    memory = remembering(claim())
    assert memory.remember(claim(cseq=2), SIGNER, at(1)) is False
    assert memory.remember(claim(cseq=3), SIGNER + 1, at(2)) is True


def test_the_finding_says_what_is_wrong() -> None:
    """In our own words, with numbers."""
    memory = remembering(claim())
    finding = memory.look(claim(leg=2, tag=2), at(42), in_dialog=False, retry=False)
    assert finding == Finding(
        Reason.AIB_REPLAY, "this Call-ID was used 42 s ago, under another From tag"
    )


def test_a_full_memory_forgets_the_oldest_and_believes_nothing_of_its_time() -> None:
    """Forgetting never makes a copy good again."""
    memory = AibMemory(capacity=256)  # one for each part
    for number in range(2000):
        memory.remember(claim(b"%d" % number, date_s=DATE_S + number), SIGNER, at(number))
    assert len(memory) <= 256
    assert memory.forgotten == 2000 - len(memory)
    for number in range(2000):
        again = claim(b"%d" % number, leg=2, date_s=DATE_S + number)
        assert look(memory, again, 2000) is Reason.AIB_REPLAY
    assert look(memory, claim(b"new", date_s=DATE_S + 2000), 2000) is None


def test_a_forgotten_date_in_the_future_shuts_nobody_out() -> None:
    """One signer with a fast clock must not stop the others."""
    memory = AibMemory(capacity=256)
    for number in range(2000):
        memory.remember(claim(b"%d" % number, date_s=DATE_S + 600), SIGNER, at(0))
    assert look(memory, claim(b"new", date_s=DATE_S + 1), 1) is None


def test_aib_8_a_policy_that_believes_older_dates_finds_none_new_again() -> None:
    """A thief cannot wait until the administrator is more patient with clocks."""
    memory = AibMemory()
    memory.judge_by(10, 20.0)
    for number, s in ((1, 0.0), (2, 20.0)):
        memory.remember(claim(b"%d" % number, date_s=DATE_S + int(s)), SIGNER, at(s))
    memory.expire(at(20.0))
    assert len(memory) == 1
    memory.judge_by(600, 1200.0)
    # Forgotten because it was stale, which it is not any more.
    assert look(memory, claim(b"1", leg=2), 21) is Reason.AIB_REPLAY
    assert look(memory, claim(b"2", leg=2, date_s=DATE_S + 20), 1219) is Reason.AIB_REPLAY
    assert look(memory, claim(b"3", date_s=DATE_S + 12), 21) is None
    memory.judge_by(10, 20.0)
    assert look(memory, claim(b"2", leg=2, date_s=DATE_S + 20), 1219) is None  # stale again


def test_aib_8_two_changes_of_policy_leave_the_older_doubt() -> None:
    """Nothing was judged between them, so nothing was settled."""
    memory = AibMemory()
    for max_age_s in (10, 600, 3600):
        memory.judge_by(max_age_s, 2.0 * max_age_s)
    assert look(memory, claim(date_s=DATE_S + 50), 60) is Reason.AIB_REPLAY
    assert look(memory, claim(date_s=DATE_S + 51), 60) is None


def test_old_entries_leave_a_few_at_a_time() -> None:
    """No call waits while thousands of them go."""
    memory = AibMemory()
    for number in range(5000):
        memory.remember(claim(b"%d" % number), SIGNER, at(0))
    memory.expire(at(HOUR_S - 1))
    assert len(memory) == 5000
    memory.expire(at(HOUR_S), limit=2000)
    assert len(memory) == 3000
    for _ in range(3):
        memory.expire(at(HOUR_S), limit=2000)
    assert len(memory) == 0
    assert memory.forgotten == 0


def test_a_million_entries_fit() -> None:
    """Measured at a tenth: under 300 octets each, and nothing for the garbage collector."""
    tracemalloc.start()
    memory = AibMemory(capacity=200_000)
    for number in range(100_000):
        each = Claim(
            long_hash(b"%d" % number), number, number, number, 1, b"INVITE", DATE_S, True, True
        )
        memory.remember(each, SIGNER, at(number / 1000))
    octets, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(memory) == 100_000
    assert octets / len(memory) < 300
    assert not any(gc.is_tracked(shard) for shard in memory._shards)


@given(
    st.lists(
        st.builds(
            claim,
            call_id=st.sampled_from([b"a", b"b"]),
            copy=st.integers(1, 3),
            leg=st.integers(1, 3),
            tag=st.integers(1, 2),
            cseq=st.integers(1, 4),
            method=st.sampled_from([b"INVITE", b"BYE", b"ACK"]),
            signs_cseq=st.booleans(),
            signs_tag=st.booleans(),
        ),
        max_size=12,
    )
)
def test_no_history_makes_a_foreign_copy_good(history: list[Claim]) -> None:
    """Whatever was verified before, the same octets by another way are believed by nobody."""
    memory = AibMemory()
    for number, each in enumerate(history):
        if look(memory, each, number) is None:
            memory.remember(each, SIGNER, at(number))
            assert look(memory, each._replace(leg=9), 100.0) is Reason.AIB_REPLAY


@pytest.mark.parametrize("method", [b"INVITE", b"REGISTER", b"SUBSCRIBE", b"MESSAGE"])
def test_aib_9_b_many_requests_under_one_call_id(method: bytes) -> None:
    """Registrations and subscriptions are refreshed under one Call-ID for weeks."""
    memory = AibMemory()
    for number in range(1, 50):
        each = claim(copy=number, leg=number, cseq=number, method=method, date_s=DATE_S + number)
        assert look(memory, each, number * 60.0) is None
        memory.remember(each, SIGNER, at(number * 60.0))
    assert len(memory) == 1

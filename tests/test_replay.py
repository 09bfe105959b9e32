"""A request that comes again under another branch: fork, spiral, retry or replay (RPL-*)."""

import pytest
from calls_builder import CALL, MALLORY, MONDAY_S, OFFER_BODY, packet, read, request
from phones import ALICE, BOB, CAROL, PROXY

from sipguard import replay as room
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.replay import LEGS, RETRY_STATUSES, RETRY_WINDOW_S, Memory, Sight

FRESH, FORK, RETRY, REPLAY = Sight.FRESH, Sight.FORK_OR_SPIRAL, Sight.RETRY, Sight.REPLAY
ALICE_VIA = f"{ALICE}:5060;branch=z9hG4bK-i1-call-1"


class Diary:
    """A memory with a clock."""

    def __init__(self, window_s: float = 3600.0, capacity: int = 1000) -> None:
        self.memory = Memory(window_s, capacity)
        self.now_s = 0.0

    @property
    def now(self) -> Moment:
        return Moment(self.now_s, MONDAY_S + self.now_s)

    def accept(self, raw: bytes, source: str = ALICE, destination: str = PROXY) -> None:
        message, ids = read(raw)
        self.memory.remember(message, ids, packet(raw, source, destination), self.now)

    def look(self, raw: bytes, source: str = ALICE, destination: str = PROXY) -> Sight:
        message, ids = read(raw)
        sight, finding = self.memory.look(message, ids, packet(raw, source, destination), self.now)
        assert (finding is None) is (sight is FRESH)
        return sight

    def why(self, raw: bytes, source: str = ALICE, destination: str = PROXY) -> Reason | None:
        message, ids = read(raw)
        _, finding = self.memory.look(message, ids, packet(raw, source, destination), self.now)
        return finding.reason if finding else None

    def answer(self, raw: bytes, status: int) -> None:
        _, ids = read(raw)
        self.memory.answered(ids, status, self.now)


def forked(branch: str) -> bytes:
    """One branch of an INVITE that a proxy outside forks."""
    below = [f"{ALICE}:5060;branch=z9hG4bK-below"]
    return request(
        "INVITE", branch=branch, sender=PROXY, contact=ALICE, body=OFFER_BODY, lower_vias=below
    )


def test_looking_changes_nothing() -> None:
    """What the policy then refuses leaves no trace."""
    diary = Diary()
    for _ in range(3):
        assert diary.look(CALL.invite()) is FRESH
    assert len(diary.memory) == 0


def test_a_new_branch_from_the_same_host_to_the_same_host() -> None:
    """RPL-2: a client that tries again counts the CSeq up; a thief has only the recording."""
    diary = Diary()
    diary.accept(CALL.invite())
    assert diary.look(CALL.invite(branch="new")) is REPLAY
    assert diary.look(CALL.invite(branch="new", cseq=2)) is FRESH


def test_after_the_answer_every_copy_is_a_replay() -> None:
    """RPL-1: also what looked like a fork before."""
    diary = Diary()
    diary.accept(CALL.invite())
    forked = request(
        "INVITE", branch="far", sender=PROXY, contact=ALICE, body=OFFER_BODY, lower_vias=[ALICE_VIA]
    )
    assert diary.look(forked, PROXY, BOB) is FORK
    diary.answer(CALL.invite(), 200)
    assert diary.why(forked, PROXY, BOB) is Reason.REPLAY_AFTER_END
    assert diary.why(CALL.invite(branch="new")) is Reason.REPLAY_AFTER_END


@pytest.mark.parametrize("source", [MALLORY, CAROL])
def test_from_another_host_without_a_proxy_between(source: str) -> None:
    """A sniffed request with a fresh branch, sent from elsewhere while the call still rings."""
    diary = Diary()
    diary.accept(CALL.invite())
    assert diary.look(CALL.invite(branch="new"), source, PROXY) is REPLAY


def test_the_far_leg_of_a_proxy_is_a_spiral() -> None:
    """RPL-3: A->P crossed, then P->B: the far leg carries the near leg's branch below its own."""
    diary = Diary()
    diary.accept(CALL.invite())
    far = request(
        "INVITE",
        branch="far",
        sender=PROXY,
        contact=ALICE,
        body=OFFER_BODY,
        uri="sip:bob@198.51.100.20",
        lower_vias=[ALICE_VIA],
    )
    assert diary.look(far, PROXY, BOB) is FORK


def test_a_fork_shares_the_lower_vias() -> None:
    """RPL-3: an outside proxy rings two phones; only its own Via differs."""
    diary = Diary()
    below = [f"{ALICE}:5060;branch=z9hG4bK-far-away"]
    one, two, other = (
        request("INVITE", branch=name, sender=PROXY, contact=ALICE, lower_vias=vias)
        for name, vias in (
            ("one", below),
            ("two", below),
            ("three", [f"{ALICE}:5060;branch=z9hG4bK-elsewhere"]),
        )
    )
    diary.accept(one, PROXY, BOB)
    assert diary.look(two, PROXY, BOB) is FORK
    assert diary.look(other, PROXY, BOB) is REPLAY


@pytest.mark.parametrize(
    "change",
    [
        (b"From: <sip:alice@", b"From: <sip:boss@"),
        (b";tag=a", b";tag=z"),
        (b"To: <sip:bob@", b"To: <sip:premium@"),
        (b"Contact: <sip:it@192.0.2.10", b"Contact: <sip:it@192.0.2.66"),
        (b"m=audio 30000", b"m=audio 39999"),
        (b"Max-Forwards", b"Date: Sat, 13 Nov 2010 23:29:00 GMT\r\nMax-Forwards"),
    ],
)
def test_changed_content_is_a_replay_with_manipulated_headers(change: tuple[bytes, bytes]) -> None:
    """RPL-2: what RFC 3261 section 23.4.1.1 does not list as mutable must be the same."""
    diary = Diary()
    diary.accept(forked("one"), PROXY, BOB)
    changed = forked("two").replace(*change)
    assert changed != forked("two")
    assert diary.look(forked("two"), PROXY, CAROL) is FORK
    assert diary.look(changed, PROXY, CAROL) is REPLAY
    assert diary.look(changed, MALLORY, BOB) is REPLAY


def test_mutable_headers_may_differ_through_a_proxy() -> None:
    """RPL-3: Via, Route, Record-Route, Max-Forwards, Proxy-Authorization, Request-URI."""
    diary = Diary()
    diary.accept(CALL.invite())
    far = request(
        "INVITE",
        branch="far",
        sender=PROXY,
        contact=ALICE,
        body=OFFER_BODY,
        uri="sip:elsewhere@198.51.100.20",
        headers=f"Record-Route: <sip:{PROXY};lr>\nRoute: <sip:{BOB};lr>",
        lower_vias=[ALICE_VIA],
    ).replace(b"Max-Forwards: 70", b"Max-Forwards: 68")
    assert diary.look(far, PROXY, BOB) is FORK


def test_a_back_to_back_agent_may_keep_the_call_id() -> None:
    """Another From tag from where the request went, while it is pending: its other leg."""
    diary = Diary()
    diary.accept(CALL.invite())
    other_leg = request("INVITE", branch="b2b", sender=PROXY, from_tag="b2b", contact=PROXY)
    assert diary.look(other_leg, PROXY, BOB) is FRESH
    assert diary.look(other_leg, MALLORY, BOB) is REPLAY
    diary.accept(other_leg, PROXY, BOB)
    assert diary.look(CALL.invite(branch="new"), MALLORY, PROXY) is REPLAY
    diary.answer(CALL.invite(), 200)
    assert diary.look(other_leg, PROXY, BOB) is REPLAY


@pytest.mark.parametrize("status", sorted(RETRY_STATUSES))
def test_an_honest_client_tries_the_next_server(status: int) -> None:
    """RFC 3263 section 4.3: after 503 the same request goes out under a new branch."""
    diary = Diary()
    diary.accept(CALL.invite())
    diary.answer(CALL.invite(), status)
    assert diary.look(CALL.invite(branch="new")) is RETRY
    assert diary.look(CALL.invite(branch="new"), MALLORY, PROXY) is REPLAY
    diary.now_s += RETRY_WINDOW_S + 1
    assert diary.look(CALL.invite(branch="new")) is REPLAY


def test_a_client_may_try_another_server_without_an_answer() -> None:
    """RFC 3263 section 4.3: timeouts count as failures, and nobody told us of one."""
    diary = Diary()
    diary.accept(CALL.invite())
    assert diary.look(CALL.invite(branch="new"), ALICE, CAROL) is RETRY


@pytest.mark.parametrize("status", [401, 403, 404, 407, 486, 603])
def test_other_failures_give_no_second_try(status: int) -> None:
    """After a challenge the client counts up; after the rest it gives up."""
    diary = Diary()
    diary.accept(CALL.invite())
    diary.answer(CALL.invite(), status)
    assert diary.look(CALL.invite(branch="new")) is REPLAY
    assert diary.look(CALL.invite(branch="new", cseq=2)) is FRESH


def test_the_window_ends() -> None:
    """RPL-1: after an hour the memory is somebody else's."""
    diary = Diary(window_s=60.0)
    diary.accept(CALL.invite())
    diary.now_s = 59.0
    assert diary.look(CALL.invite(branch="new")) is REPLAY
    diary.now_s = 60.0
    assert diary.look(CALL.invite(branch="new")) is FRESH
    diary.memory.expire(diary.now)
    assert len(diary.memory) == 0


def test_a_full_memory_forgets_the_oldest_and_counts() -> None:
    """GEN-3: bounded, whatever is sent."""
    diary = Diary(capacity=10)
    for number in range(30):
        diary.accept(CALL._replace(call_id=f"c{number}").invite())
    assert (len(diary.memory), diary.memory.forgotten) == (10, 20)
    assert diary.look(CALL._replace(call_id="c0").invite(branch="new")) is FRESH
    assert diary.look(CALL._replace(call_id="c29").invite(branch="new")) is REPLAY


def test_expiry_takes_a_bounded_bite() -> None:
    """No packet waits while a million entries are swept."""
    diary = Diary(window_s=1.0)
    for number in range(30):
        diary.accept(CALL._replace(call_id=f"c{number}").invite())
    diary.now_s = 5.0
    diary.memory.expire(diary.now, limit=20)
    assert len(diary.memory) == 10


def test_the_legs_of_one_request_are_bounded() -> None:
    """A proxy that forks without end does not grow one entry without end."""
    diary = Diary()
    below = ["host;branch=z9hG4bK-low"]
    forks = [
        request("INVITE", branch=f"f{number}", sender=PROXY, lower_vias=below)
        for number in range(3 * LEGS)
    ]
    for fork in forks:
        assert diary.look(fork, PROXY, BOB) in (FRESH, FORK)
        diary.accept(fork, PROXY, BOB)
    assert len(diary.memory) == 1
    assert diary.look(forks[-1], PROXY, BOB) is FORK


def test_an_accepted_replay_starts_anew() -> None:
    """Where the policy lets a copy pass after the end, its own answer counts again."""
    diary = Diary()
    diary.accept(CALL.invite())
    diary.answer(CALL.invite(), 200)
    diary.accept(CALL.invite(branch="new"))
    assert len(diary.memory) == 1
    assert diary.why(CALL.invite(branch="newer")) is Reason.REPLAY


def test_an_answer_to_nothing_is_nothing() -> None:
    """A response whose request was forgotten meanwhile."""
    diary = Diary()
    diary.answer(CALL.invite(), 200)
    assert len(diary.memory) == 0


def test_a_large_memory_is_bounded_and_knows_what_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GEN-3: cut into shards, so that its growth stalls no call, it keeps the same promises."""
    monkeypatch.setattr(room, "CAPACITY", 200)
    diary = Diary(window_s=60.0, capacity=200)
    for number in range(1000):
        call = CALL._replace(call_id=f"c{number}")
        diary.accept(call.invite())
        assert diary.look(call.invite(branch="new")) is REPLAY
    kept = len(diary.memory)
    assert kept <= 200 + room.SHARDS
    assert diary.memory.forgotten == 1000 - kept
    diary.now_s = 61.0
    for _ in range(kept):
        diary.memory.expire(diary.now, limit=10)
    assert len(diary.memory) == 0

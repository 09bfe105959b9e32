"""The guard as one machine: what is no SIP, time, room, reload, and anything in any order."""

import struct

import pytest
from calls_builder import (
    CALL,
    MALLORY,
    POLICY,
    STRANGER,
    Dialogue,
    World,
    packet,
    request,
)
from calls_builder import response as response_to
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from phones import ALICE, BOB, CALL_HOLES, CAROL, CRYPTO_A, CRYPTO_B, PROXY, audio, body
from subjects import load, octets

from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.verdict import Action

STUN = struct.pack("!HHL", 1, 0, 0x2112A442) + b"transaction!"
CRLF = b"\r\n\r\n"


def ip_packet(payload: bytes, source: str = ALICE, destination: str = BOB) -> bytes:
    udp = struct.pack("!HHHH", 5060, 5060, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    return head + octets(source) + octets(destination) + udp


# --- packets


def test_a_packet_is_judged_from_its_ip_header_on() -> None:
    """The kernel hands over IP; captures and streams hand over messages."""
    world = World()
    decision = world.guard.inspect(ip_packet(CALL.invite()), "lan0", world.now)
    assert decision.action is Action.ACCEPT
    assert world.guard.statistics().transactions == 1


@pytest.mark.parametrize("octets_", [b"", b"\x45", b"\x00" * 64, ip_packet(b"x")[:25]])
def test_what_is_no_packet_is_dropped_and_recorded(octets_: bytes) -> None:
    """Also what cannot be read leaves a line in the journal."""
    world = World()
    decision = world.guard.inspect(octets_, "lan0", world.now)
    assert decision.action is Action.DROP
    assert decision.judgement.rule == "packet"
    assert len(world.records) == 1


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Reason.NOT_SIP),
        (b"\xf8\x01compressed", Reason.SIGCOMP),
        (b"SIP/2.0 99 Low\r\n\r\n", Reason.BAD_STATUS),
        (b"OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n", Reason.MISSING_HEADER),
    ],
)
def test_what_is_no_usable_sip_is_dropped_without_a_word(payload: bytes, reason: Reason) -> None:
    """RSP-1: nobody to answer."""
    world = World("default accept\n")
    decision = world.send(payload)
    assert (decision.action, decision.judgement.reason) == (Action.DROP, reason)
    assert world.replies == []
    assert len(world.records) == 1


# --- keep-alives


@pytest.mark.parametrize("payload", [CRLF, b"\r\n", b"\0\0\0\0", b"", STUN])
def test_keep_alives_pass_at_their_rate(payload: bytes) -> None:
    """SIP-3: they hold a NAT open; a thousand a second hold nothing open."""
    world = World("keep-alive-rate 3/s\n")
    actions = [world.send(payload).action for _ in range(5)]
    assert actions == [Action.ACCEPT] * 3 + [Action.DROP] * 2
    assert world.send(payload, CAROL, BOB).action is Action.ACCEPT
    world.wait(2.0)
    assert world.send(payload).action is Action.ACCEPT


def test_keep_alives_may_be_refused() -> None:
    """The policy's word."""
    world = World("keep-alives drop\n")
    assert world.send(CRLF).action is Action.DROP
    assert world.send(STUN).judgement.reason is Reason.STUN_KEEP_ALIVE


@pytest.mark.parametrize(
    "freight",
    [
        struct.pack("!HHL", 4, 0, 0x2112A442) + b"transaction!",  # no Binding
        struct.pack("!HHL", 1, 1200, 0x2112A442) + b"transaction!" + b"x" * 1200,
    ],
)
def test_stun_that_carries_freight_does_not_pass(freight: bytes) -> None:
    """A tunnel of ten packets a second is a tunnel."""
    assert World().send(freight).action is Action.DROP


# --- time


def test_a_tick_closes_what_is_over() -> None:
    """A BYE whose answer was lost; 64*T1 later the media closes."""
    world = World()
    world.talk()
    world.send(CALL.inside("BYE"))
    world.wait(30.0)
    assert world.open == CALL_HOLES
    world.wait(4.0)
    assert world.open == set()


def test_a_session_timer_closes_the_media() -> None:
    """RFC 4028: nobody refreshed."""
    world = World()
    world.talk(headers="Session-Expires: 90")
    world.wait(80.0)
    assert world.open == CALL_HOLES
    world.wait(70.0)
    assert world.open == set()


def test_the_session_limit_closes_the_media() -> None:
    """Whatever the ends agreed on."""
    world = World("session-limit 10m\n" + POLICY)
    world.talk()
    world.wait(500.0)
    assert world.open == CALL_HOLES
    world.wait(170.0)
    assert world.open == set()


def call_that_ended(world: World, end: str) -> None:
    """Leave a dialog behind that is over and not yet forgotten: refused, or hung up."""
    if end == "refused":
        world.send(CALL.invite(cseq=4))
        world.send(CALL.answer(180, cseq=4, body=b""), BOB, ALICE)
        world.send(CALL.answer(486, cseq=4, to_tag="other"), BOB, ALICE)
    else:
        world.talk()
        bye = CALL.inside("BYE")
        world.send(bye)
        world.send(response_to(bye, 200), BOB, ALICE)
    assert world.open == set()


@pytest.mark.parametrize("end", ["refused", "hung up"])
@pytest.mark.parametrize("cseq", [3, 5])
def test_a_new_invite_by_the_tags_of_an_ended_call_is_a_call(end: str, cseq: int) -> None:
    """DLG-1: the dialog it finds is over, so it makes its own, which BYE or time ends."""
    for hang_up in (True, False):
        world = World("session-limit 10m\n" + POLICY)
        call_that_ended(world, end)
        assert world.passes(CALL.invite(cseq=cseq))
        assert world.passes(CALL.answer(200, cseq=cseq), BOB, ALICE)
        assert world.passes(CALL.ack(cseq=cseq))
        assert world.open == CALL_HOLES
        if hang_up:
            bye = CALL.inside("BYE", cseq=cseq + 1)
            assert world.passes(bye)
            assert world.passes(response_to(bye, 200), BOB, ALICE)
        else:
            world.wait(500.0)
            assert world.open == CALL_HOLES
            world.wait(170.0)
        assert world.open == set()


def test_the_same_invite_again_revives_no_ended_call() -> None:
    """A leg of the INVITE that made it: its answer opens nothing that nobody would close."""
    rules = [line for line in POLICY.splitlines() if "replay" not in line]
    world = World("\n".join(rules))
    call_that_ended(world, "refused")
    leg = CALL.invite(cseq=4, branch="another-leg")
    assert world.passes(leg)
    assert world.passes(CALL.answer(200, to=leg), BOB, ALICE)
    assert world.open == set()
    assert world.guard.statistics().holes == 0


def test_everything_is_forgotten_in_time() -> None:
    """A guard that saw a day of calls holds what it held in the morning."""
    world = World("replay-window 1m\n" + POLICY)
    for number in range(30):
        call = Dialogue(call_id=f"c{number}")
        world.talk(call)
        bye = call.inside("BYE")
        world.send(bye)
        world.send(response_to(bye, 200), BOB, ALICE)
        world.wait(1.0)
    for _ in range(5):
        world.wait(61.0)
    left = world.guard.statistics()
    assert (left.dialogs, left.transactions, left.replay_entries, left.holes) == (0, 0, 0, 0)
    assert left.forgotten == 0


# --- room


def test_a_flood_of_ringing_calls_cuts_no_conversation() -> None:
    """The oldest unanswered go, their previews close, and all of it is counted."""
    world = World("max-dialogs 80\n" + POLICY)
    world.talk()
    for number in range(200):
        call = Dialogue(call_id=f"f{number}", callee=CAROL)
        world.send(call.invite(), ALICE, CAROL)
        world.send(call.answer(180, body=b""), CAROL, ALICE)
    statistics = world.guard.statistics()
    assert statistics.dialogs <= 80
    assert statistics.forgotten >= 100
    assert world.open == CALL_HOLES
    assert world.passes(CALL.inside("INFO"))


# --- another policy


def test_a_new_policy_judges_at_once_and_calls_outlive_it() -> None:
    """Reload: no call is cut, no memory lost."""
    world = World()
    world.talk()
    world.guard.replace_policy(load("default drop\n"))
    assert world.guard.policy.rules == ()
    assert not world.passes(Dialogue(call_id="new").invite())
    assert world.why(CALL.invite()) in (Reason.REPLAY_AFTER_END, Reason.DEFAULT)
    assert world.passes(CALL.inside("INFO"))
    assert world.open == CALL_HOLES


def test_a_new_policy_may_remember_longer() -> None:
    """RPL-1: the replay-window of the policy in force, not of the first one."""
    policy = "replay-window {}\ndefault accept\nchain request\n  replayed drop if replay\n"
    world = World(policy.format("10s"))
    world.guard.replace_policy(load(policy.format("1h")))
    asked = Dialogue(call_id="asked")
    assert world.passes(asked.invite())
    world.now_s += 60
    assert world.why(asked.invite(branch="new")) is Reason.REPLAY


def test_the_memories_are_swept_a_little_at_a_time() -> None:
    """Between ticks as well, and never so much at once that a call would notice."""
    world = World("replay-window 10s\ndefault accept\n")
    for number in range(600):
        assert world.passes(Dialogue(call_id=f"swept-{number}").invite())
    world.now_s += 11
    before = world.guard.statistics().replay_entries
    world.guard.forget(world.now)
    assert before - world.guard.statistics().replay_entries in range(400, 513)
    for _ in range(3):  # it is kept in parts, which are never quite of one size
        world.guard.forget(world.now)
    assert world.guard.statistics().replay_entries == 0


# --- anything at all


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda raw, at, junk: raw[: at % len(raw)] + junk + raw[at % len(raw) :],
            st.sampled_from([CALL.invite(), CALL.answer(), CALL.ack(), CALL.cancel()]),
            st.integers(0, 2000),
            st.binary(max_size=20),
        ),
    )
)
def test_no_octets_raise_anything(payload: bytes) -> None:
    """A guard that can be made to fail can be made to fail open."""
    world = World("default accept\n")
    world.send(CALL.invite())
    decision = world.guard.judge(packet(payload, BOB, ALICE), world.now)
    assert decision.action in Action
    world.guard.inspect(payload, "", world.now)
    world.guard.inspect(ip_packet(payload), "", world.now)


HOSTS = [ALICE, BOB, CAROL, PROXY]
CALLS = [
    Dialogue(call_id="c1"),
    Dialogue(call_id="c1", callee_tag="c"),
    Dialogue(call_id="c2", caller=CAROL, callee=ALICE),
    Dialogue(call_id="c3", caller=ALICE, callee=PROXY),
]
FIRST_PORT = {"c1": 30000, "c2": 31000, "c3": 32000}
INSIDE = ["BYE", "INFO", "UPDATE", "INVITE", "PRACK", "CANCEL", "ACK", "REFER", "NOTIFY"]
calls = st.sampled_from(CALLS)
cseqs = st.integers(1, 6)
branches = st.sampled_from(["", "x", "y"])
keyed = st.booleans()


def described(call: Dialogue, *, by_callee: bool, with_key: bool) -> bytes:
    port = FIRST_PORT[call.call_id] + (500 if by_callee else 0)
    crypto = (CRYPTO_B if by_callee else CRYPTO_A) if with_key else ""
    host = call.callee if by_callee else call.caller
    return body(host, audio(port, *([crypto] if crypto else []), proto="RTP/SAVP"))


class Traffic(RuleBasedStateMachine):
    """A few calls by the book and against it, and attackers who have heard every octet."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World("max-dialogs 80\n" + POLICY)
        self.pending: list[tuple[bytes, str, str]] = []  # requests that passed
        self.heard: list[tuple[bytes, str, str]] = []
        self.keyed_calls: set[bytes] = set()

    def play(self, raw: bytes, source: str, destination: str) -> bool:
        self.heard.append((raw, source, destination))
        self.heard = self.heard[-50:]
        return self.world.passes(raw, source, destination)

    @rule(call=calls, cseq=cseqs, branch=branches, with_key=keyed)
    def invite(self, call: Dialogue, cseq: int, branch: str, with_key: bool) -> None:
        offer = described(call, by_callee=False, with_key=with_key)
        raw = call.invite(cseq=cseq, branch=branch and branch + call.call_id, body=offer)
        if self.play(raw, call.caller, call.callee):
            assert with_key, "an offer without a key is refused"
            self.pending.append((raw, call.caller, call.callee))

    @rule(call=calls, number=st.integers(0, 1000))
    def talk(self, call: Dialogue, number: int) -> None:
        """A whole call set up; random messages alone hardly ever get so far."""
        ids = f"{call.call_id}-{number}"
        raw = call.invite(branch=ids, body=described(call, by_callee=False, with_key=True))
        if self.play(raw, call.caller, call.callee):
            answer = described(call, by_callee=True, with_key=True)
            reply = response_to(raw, 200, to_tag=call.callee_tag, contact=call.callee, body=answer)
            if self.play(reply, call.callee, call.caller):
                self.keyed_calls.add(call.call_id.encode())
                self.play(call.ack(), call.caller, call.callee)

    @rule(
        call=calls, method=st.sampled_from(INSIDE), cseq=cseqs, by_callee=st.booleans(),
        with_key=keyed,
    )  # fmt: skip
    def inside(
        self, call: Dialogue, method: str, cseq: int, by_callee: bool, with_key: bool
    ) -> None:
        carries = method in ("INVITE", "UPDATE", "ACK", "PRACK")
        offer = described(call, by_callee=by_callee, with_key=with_key) if carries else b""
        raw = call.inside(method, cseq=cseq, by_callee=by_callee, body=offer)
        way = (call.callee, call.caller) if by_callee else (call.caller, call.callee)
        if self.play(raw, *way) and method not in ("ACK",):
            self.pending.append((raw, *way))

    @precondition(lambda self: self.pending)
    @rule(
        choice=st.integers(0, 1000),
        status=st.sampled_from([100, 180, 183, 200, 202, 302, 401, 408, 481, 486, 503]),
        tag=st.sampled_from(["b", "c"]),
        with_key=keyed,
        headers=st.sampled_from(["", "Session-Expires: 90", "Require: 100rel\nRSeq: 1"]),
    )
    def answer(self, choice: int, status: int, tag: str, with_key: bool, headers: str) -> None:
        raw, source, destination = self.pending[choice % len(self.pending)]
        self.pending = self.pending[-20:]
        call = next(c for c in CALLS if c.call_id.encode() in raw)
        answer = b""
        if 180 <= status < 300 and b"INVITE" in raw[:6]:
            by_callee = source == call.caller
            answer = described(call, by_callee=by_callee, with_key=with_key)
        reply = response_to(raw, status, to_tag=tag, body=answer, headers=headers)
        if self.play(reply, destination, source) and with_key:
            self.keyed_calls.add(call.call_id.encode())

    @precondition(lambda self: self.heard)
    @rule(choice=st.integers(0, 1000), victim=st.sampled_from(HOSTS))
    def replay_from_a_stranger(self, choice: int, victim: str) -> None:
        raw, _, _ = self.heard[choice % len(self.heard)]
        assert not self.world.passes(raw, STRANGER, victim)

    @precondition(lambda self: self.heard)
    @rule(choice=st.integers(0, 1000))
    def replay_in_dialog_from_an_insider(self, choice: int) -> None:
        raw, _, destination = self.heard[choice % len(self.heard)]
        tags = raw.count(b";tag=")
        if tags == 2 or raw.startswith((b"SIP/2.0", b"CANCEL")):
            before = set(self.world.open)
            assert not self.world.passes(raw, MALLORY, destination)
            assert self.world.open == before

    @rule(call=calls, cseq=st.integers(7, 9), method=st.sampled_from(INSIDE), side=st.booleans())
    def forge(self, call: Dialogue, cseq: int, method: str, side: bool) -> None:
        raw = call.inside(method, cseq=cseq, by_callee=side)
        victim = call.caller if side else call.callee
        for attacker in (STRANGER, MALLORY):
            assert not self.world.passes(raw, attacker, victim)

    @rule(payload=st.sampled_from([CRLF, STUN, b"", b"junk", b"\xf8x", b"SIP/2.0 200 OK\r\n\r\n"]))
    def noise(self, payload: bytes) -> None:
        self.world.send(payload, MALLORY, ALICE)

    @rule(branch=branches, sender=st.sampled_from(HOSTS))
    def subscribe(self, branch: str, sender: str) -> None:
        raw = request("SUBSCRIBE", branch=f"s{branch}", call_id="sub", sender=sender)
        self.play(raw, sender, PROXY)

    @rule(seconds=st.sampled_from([0.1, 1.0, 33.0, 100.0, 300.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @invariant()
    def holes_are_of_keyed_calls_that_live(self) -> None:
        guard = self.world.guard
        assert guard.statistics().holes == len(self.world.open)
        for hole in self.world.open:
            owner = next(c for c, p in FIRST_PORT.items() if p <= hole.port < p + 1000)
            assert owner.encode() in self.keyed_calls
            assert octets(MALLORY) not in (hole.source, hole.destination)
            assert octets(STRANGER) not in (hole.source, hole.destination)

    def teardown(self) -> None:
        """Half a day later nothing is open and nothing is remembered."""
        world = self.world
        world.wait(43_300.0)
        for _ in range(4):
            world.wait(100.0)
        assert world.open == set()
        left = world.guard.statistics()
        assert (left.dialogs, left.transactions, left.replay_entries, left.holes) == (0, 0, 0, 0)


# Without shrinking: it takes minutes for a machine of this size, and forty steps can be read.
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)
TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, phases=QUICK
)


def test_the_clock_may_stand_still() -> None:
    """Captures have packets of the same instant."""
    world = World()
    now = Moment(0.0, 0.0)
    for raw, source, target in ((CALL.invite(), ALICE, BOB), (CALL.answer(), BOB, ALICE)):
        assert world.guard.judge(packet(raw, source, target), now).action is Action.ACCEPT
    assert world.guard.tick(now) == ()

"""A message that waits for a certificate: held before anything is written, judged again later."""

import pytest
from calls_builder import CALL, MALLORY, POLICY, Dialogue, World, packet
from phones import ALICE, BOB
from subjects import load
from waiting import URL, Proving, prove_by

from sipguard.evidence import Awaited
from sipguard.reason import Reason
from sipguard.verdict import Action, Decision

SIGNED = """
default drop
on-unknown-dialog drop
set phones { 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 }
chain request
  noticed    accept      if method == INVITE                   shadow
  busy       drop        if rate(src, INVITE) > 2/s
  bad        reject 438  if method == INVITE and stir.failed
  good       accept      if method == INVITE and stir.valid
  unproven   reject 436  if method == INVITE
  changes    drop        if dialog.known and method == INFO and stir.failed
  hosts      accept      if src in phones
chain response
  proven     drop        if stir.failed
chain media
  sealed     open        if keyed
"""


@pytest.fixture
def proving(monkeypatch: pytest.MonkeyPatch) -> Proving:
    return prove_by(monkeypatch)


@pytest.fixture
def world(proving: Proving) -> World:
    made = World(SIGNED)
    proving.guard = made.guard
    return made


def again(
    world: World, raw: bytes, source: str = ALICE, target: str = BOB, *, last: bool
) -> Decision:
    decision = world.guard.judge_again(packet(raw, source, target), world.now, last=last)
    world.apply(decision.effects)
    return decision


def hits(world: World) -> dict[str, int]:
    return {rule.name: rule.hits for rule in world.guard.policy.rules}


def test_what_must_be_fetched_first_is_held(world: World) -> None:
    """STI-15: asynchronously; the decision says what for, and nothing is written or told."""
    decision = world.send(CALL.invite())
    assert (decision.action, decision.wants) == (Action.HOLD, (URL,))
    assert decision.judgement.reason is Reason.NO_CREDENTIAL
    statistics = world.guard.statistics()
    assert (statistics.transactions, statistics.dialogs, statistics.replay_entries) == (0, 0, 0)
    assert (world.open, world.replies, world.records) == (set(), [], [])


@pytest.mark.parametrize(
    ("word", "action", "rule"),
    [("valid", Action.ACCEPT, "good"), ("failed", Action.REJECT, "bad")],
)
def test_it_is_judged_when_the_certificate_is_here(
    world: World, proving: Proving, word: str, action: Action, rule: str
) -> None:
    """By the rule that asked for it, and the call goes its usual way."""
    world.send(CALL.invite())
    proving.word = word
    decision = again(world, CALL.invite(), last=False)
    assert (decision.action, decision.judgement.rule, decision.wants) == (action, rule, ())
    assert world.guard.statistics().transactions == (action is Action.ACCEPT)
    assert len(world.replies) == (action is Action.REJECT)


def test_when_time_is_up_the_policy_decides_on_unknown(world: World) -> None:
    """STI-15: waits at most so long, then the policy's word for unknown; nothing waits on."""
    world.send(CALL.invite())
    assert again(world, CALL.invite(), last=False).action is Action.HOLD
    decision = again(world, CALL.invite(), last=True)
    assert (decision.action, decision.judgement.rule) == (Action.REJECT, "unproven")
    assert world.guard._rooms.last_chance is False
    assert world.guard._rooms.again is False
    assert world.send(Dialogue(call_id="c2").invite()).action is Action.HOLD


def test_a_proof_that_waits_when_it_may_not_is_a_fault(world: World, proving: Proving) -> None:
    """The edge gives its verdict for faults then; it never waits for ever."""
    world.send(CALL.invite())
    proving.guard = None
    with pytest.raises(Awaited):
        again(world, CALL.invite(), last=True)
    assert world.guard._rooms.last_chance is False


def test_a_held_request_counts_once_for_rates(world: World, proving: Proving) -> None:
    """However often it is judged: 2 a second pass, the third does not."""
    for number in range(2):
        raw = Dialogue(call_id=f"c{number}").invite()
        assert world.send(raw).action is Action.HOLD
        assert again(world, raw, last=False).action is Action.HOLD
    proving.word = "valid"
    for number in range(2):
        raw = Dialogue(call_id=f"c{number}").invite()
        assert again(world, raw, last=False).judgement.rule == "good"
    assert world.send(Dialogue(call_id="c2").invite()).judgement.rule == "busy"


def test_a_held_request_hits_each_rule_once(world: World, proving: Proving) -> None:
    """Shadow rules before the one that waits are counted when it is decided."""
    world.send(CALL.invite())
    again(world, CALL.invite(), last=False)
    assert set(hits(world).values()) == {0}
    proving.word = "valid"
    again(world, CALL.invite(), last=False)
    counted = {name: count for name, count in hits(world).items() if count}
    assert counted == {"noticed": 1, "good": 1, "sealed": 1}


def test_copies_of_what_is_held_are_dropped(world: World, proving: Proving) -> None:
    """The sender repeats it each half second; the one that is held stands for all of them.

    They count for no rate, wait for nothing, and another host's are not copies.
    """
    raw = CALL.invite()
    world.send(raw)
    asked = proving.asked
    for _ in range(5):
        copy = world.send(raw)
        assert (copy.action, copy.judgement.reason) == (Action.DROP, Reason.RETRANSMISSION)
    assert proving.asked == asked
    assert world.send(raw, MALLORY, BOB).action is Action.HOLD
    proving.word = "valid"
    assert again(world, raw, last=False).action is Action.ACCEPT
    copy = world.send(raw)
    assert (copy.action, copy.judgement.reason) == (Action.ACCEPT, Reason.RETRANSMISSION)


def test_another_policy_judges_what_is_held(world: World) -> None:
    """A reload while it waits: the policy in force decides, not the one that held it."""
    world.send(CALL.invite())
    world.guard.replace_policy(load(POLICY))
    assert again(world, CALL.invite(), last=False).judgement.rule == "hosts"


def test_a_call_that_runs_waits_as_well(world: World, proving: Proving) -> None:
    """A rule on known dialogs asks: held, counted once, and the call goes on meanwhile."""
    proving.word = "valid"
    world.talk()
    dialog = world.guard._rooms.book.dialogs.find(b"call-1", b"a", b"b")
    assert dialog is not None
    before = dialog.requests
    proving.word = ""
    assert world.send(CALL.inside("INFO")).action is Action.HOLD
    assert again(world, CALL.inside("INFO"), last=False).action is Action.HOLD
    assert world.passes(CALL.inside("UPDATE", cseq=3))
    assert dialog.requests == before + 2


def test_an_answer_waits_as_well(world: World, proving: Proving) -> None:
    """STI-18: a response may carry Identity as well; its pinholes wait with it."""
    proving.word = "valid"
    world.send(CALL.invite())
    proving.word = ""
    assert world.send(CALL.answer(), BOB, ALICE).action is Action.HOLD
    assert world.open == set()
    proving.word = "valid"
    assert again(world, CALL.answer(), BOB, ALICE, last=False).action is Action.ACCEPT
    assert world.open


def test_media_rules_wait_before_anything_is_written(proving: Proving) -> None:
    """An offer is held whole: nothing of its call is known yet."""
    media = "chain media\n  proven open if keyed and stir.valid\n  rest reject 488\n"
    world = World(POLICY.partition("chain media")[0] + media)
    proving.guard = world.guard
    assert world.send(CALL.invite()).action is Action.HOLD
    assert world.guard.statistics().transactions == 0
    assert set(hits(world).values()) == {0}
    proving.word = "valid"
    assert again(world, CALL.invite(), last=False).action is Action.ACCEPT


def test_no_media_rule_holds_what_is_written_down(proving: Proving) -> None:
    """Behind the answer nothing waits: its streams are judged with what is known."""
    media = "chain media\n  proven open if keyed and stir.valid\n"
    world = World(POLICY.partition("chain media")[0] + media)
    proving.guard = world.guard
    proving.word = "valid"
    world.send(CALL.invite())
    proving.word = ""
    assert world.passes(CALL.answer(), BOB, ALICE)
    assert world.open == set()
    assert world.guard._rooms.last_chance is False


def test_packets_are_judged_again_as_they_came(world: World, proving: Proving) -> None:
    """``inspect_again`` takes the same octets as ``inspect``."""
    raw = CALL.invite()
    way = packet(raw, ALICE, BOB)
    udp = b"\x13\xc4\x13\xc4" + (8 + len(raw)).to_bytes(2, "big") + b"\0\0" + raw
    head = b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0"
    octets = head + way.src + way.dst + udp
    assert world.guard.inspect(octets, "lan0", world.now).action is Action.HOLD
    proving.word = "valid"
    decision = world.guard.inspect_again(octets, "lan0", world.now, last=False)
    assert decision.action is Action.ACCEPT

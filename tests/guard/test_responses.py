"""Responses: what answers an accepted request passes with its media; nothing else does."""

import pytest
from calls_builder import CALL, MALLORY, POLICY, Dialogue, World, request
from calls_builder import response as response_to
from phones import ALICE, BOB, CALL_HOLES, CAROL, CRYPTO_B, audio, body

from sipguard.reason import Reason
from sipguard.verdict import Action

LEARN = POLICY.replace("on-unknown-dialog drop", "on-unknown-dialog learn for 30m")
PLAIN_ANSWER = body(BOB, audio(40000, proto="RTP/SAVP"))


def test_holes_open_with_the_answer_and_close_with_the_call() -> None:
    """Not before the 2xx, and not a moment longer than the 2xx to BYE."""
    world = World()
    world.send(CALL.invite())
    assert world.open == set()
    world.send(CALL.answer(), BOB, ALICE)
    assert world.open == CALL_HOLES
    world.send(CALL.ack())
    bye = CALL.inside("BYE")
    world.send(bye)
    assert world.open == CALL_HOLES
    world.send(response_to(bye, 200), BOB, ALICE)
    assert world.open == set()


def test_an_unasked_response_is_dropped() -> None:
    """TXN-4: with whatever SDP it carries."""
    world = World()
    decision = world.send(CALL.answer(), BOB, ALICE)
    assert (decision.action, decision.judgement.reason) == (Action.DROP, Reason.STRAY_RESPONSE)
    assert world.open == set()


@pytest.mark.parametrize("source", [MALLORY, CAROL])
def test_a_forged_answer_opens_nothing(source: str) -> None:
    """TXN-3: it does not come from where the INVITE went."""
    world = World()
    world.send(CALL.invite())
    assert world.why(CALL.answer(), source, ALICE) is Reason.RESPONSE_WRONG_WAY
    assert world.open == set()
    assert world.passes(CALL.answer(), BOB, ALICE)


def test_an_answer_without_a_key_passes_without_media_and_is_explained() -> None:
    """The call connects, no hole opens, and the record says why."""
    world = World()
    world.send(CALL.invite())
    decision = world.send(CALL.answer(body=PLAIN_ANSWER), BOB, ALICE)
    assert decision.action is Action.ACCEPT
    assert world.open == set()
    (record,) = world.records
    assert (record.rule, record.reason, record.log) == ("media", decision.findings[0].reason, True)
    assert not record.media[0].keyed


def test_an_answer_that_cannot_be_read_passes_without_media() -> None:
    """RSP-13: responses are never changed nor made up; there is just no hole."""
    world = World()
    world.send(CALL.invite())
    decision = world.send(CALL.answer(body=b"v=0\r\nnonsense\r\n"), BOB, ALICE)
    assert decision.action is Action.ACCEPT
    assert Reason.BAD_SDP in {finding.reason for finding in decision.findings}
    assert world.open == set()


def test_a_failure_closes_the_previews_of_its_forks_alone() -> None:
    """DLG-5, PIN-4: early media ends with the refusal, the conversation next to it does not."""
    world = World()
    talking = world.talk()
    other = Dialogue(call_id="call-2", caller=MALLORY, callee=CAROL)
    invite = other.invite(body=body(MALLORY, audio(31000, CRYPTO_B)))
    world.send(invite, MALLORY, CAROL)
    early = other.answer(183, to=invite, body=body(CAROL, audio(41000, CRYPTO_B.replace("b", "c"))))
    world.send(early, CAROL, MALLORY)
    assert world.open >= talking
    world.send(other.answer(603, to=invite), CAROL, MALLORY)
    assert world.open == talking


def test_rules_for_responses_may_refuse() -> None:
    """And a refused answer opens nothing, for it is never written down."""
    world = World(
        POLICY + "chain response\n  no drop if status >= 200 and not src in {192.0.2.0/24}\n"
    )
    world.send(CALL.invite())
    assert world.passes(CALL.answer(180, body=b""), BOB, ALICE)
    refused = world.send(CALL.answer(), BOB, ALICE)
    assert (refused.action, refused.judgement.rule) == (Action.DROP, "no")
    assert world.open == set()


def test_a_response_is_never_answered() -> None:
    """RSP-1: a rule cannot reject one with a status of our own."""
    world = World()
    world.send(CALL.invite())
    broken = CALL.answer().replace(b"Content-Length: ", b"Content-Length: +")
    assert not world.passes(broken, BOB, ALICE)
    assert world.replies == []


def test_responses_to_requests_from_before_the_start_pass_for_timer_b() -> None:
    """Learning: their requests were forwarded by the run before us; 32 seconds, no more."""
    world = World(LEARN, learning=True)
    options = request("OPTIONS", branch="o")
    world.wait(0.0)
    world.wait(31.0)
    decision = world.send(response_to(options, 200), BOB, ALICE)
    assert decision.action is Action.ACCEPT
    assert world.open == set()
    world.wait(2.0)
    assert not world.passes(response_to(options, 200), BOB, ALICE)
    assert world.passes(CALL.inside("INFO")), "calls are learned for longer"


def test_learning_opens_no_media_for_a_stray_answer() -> None:
    """What passes unknown is not believed."""
    world = World(LEARN, learning=True)
    assert world.passes(CALL.answer(), BOB, ALICE)
    assert world.open == set()
    assert world.guard.statistics().dialogs == 0


def test_a_retransmitted_answer_changes_nothing() -> None:
    """Timer G: the same 200 ten times, the same four holes."""
    world = World()
    world.send(CALL.invite())
    for _ in range(10):
        assert world.passes(CALL.answer(), BOB, ALICE)
    assert world.open == CALL_HOLES

"""Requests on their way through the guard: known, repeated, forged, unknown, new, overloaded."""

import pytest
from calls_builder import CALL, MALLORY, OFFER_BODY, POLICY, STRANGER, Dialogue, World, request
from calls_builder import response as response_to
from phones import ALICE, BOB, CAROL, PROXY, audio, body

from sipguard.guard.requests import MAX_COPIES
from sipguard.reason import Reason
from sipguard.verdict import Action

PLAIN_BODY = body(ALICE, audio(30000, proto="RTP/AVP"))
LEARN = POLICY.replace("on-unknown-dialog drop", "on-unknown-dialog learn for 30m")
REPLAYED = {Reason.REPLAY, Reason.REPLAY_AFTER_END, Reason.BRANCH_COLLISION}


# --- the policy's word


def test_the_first_rule_that_matches_decides() -> None:
    """A stranger is dropped, a telephone is let through, and the decision names the rule."""
    world = World()
    passed = world.send(CALL.invite())
    assert (passed.action, passed.judgement.rule) == (Action.ACCEPT, "hosts")
    assert passed.judgement.reason is Reason.ACCEPTED
    dropped = world.send(Dialogue(call_id="c2").invite(), STRANGER, BOB)
    assert (dropped.action, dropped.judgement.rule) == (Action.DROP, "stranger")
    assert dropped.judgement.place == "p:6"


@pytest.mark.parametrize(
    ("default", "action", "replies"),
    [("accept", Action.ACCEPT, 0), ("drop", Action.DROP, 0), ("reject 480", Action.REJECT, 1)],
)
def test_where_no_rule_matches_the_default_does(default: str, action: Action, replies: int) -> None:
    """It says so, and it replies where it rejects."""
    world = World(f"default {default}\n")
    decision = world.send(CALL.invite())
    assert (decision.action, decision.judgement.reason) == (action, Reason.DEFAULT)
    assert decision.judgement.rule == "default"
    assert len(world.replies) == replies


def test_what_was_dropped_leaves_no_trace() -> None:
    """A flood of refused requests fills no table of calls."""
    world = World()
    for number in range(50):
        world.send(Dialogue(call_id=f"c{number}").invite(), STRANGER, BOB)
    statistics = world.guard.statistics()
    assert (statistics.transactions, statistics.dialogs, statistics.replay_entries) == (0, 0, 0)


# --- a call that runs


def test_a_running_call_is_not_asked_about_again() -> None:
    """Its in-dialog requests pass as known, even where a rule for new calls would refuse them."""
    world = World(POLICY.replace("hosts ", "hours drop if method == BYE\n  hosts "))
    world.talk()
    decision = world.send(CALL.inside("BYE"))
    assert (decision.action, decision.judgement.reason) == (Action.ACCEPT, Reason.KNOWN_CALL)


def test_unless_the_policy_speaks_of_known_dialogs() -> None:
    """``dialog.known`` in a rule makes it one for running calls."""
    world = World(
        POLICY.replace("hosts ", "info drop if method == INFO and dialog.known\n  hosts ")
    )
    world.talk()
    refused = world.send(CALL.inside("INFO"))
    assert (refused.action, refused.judgement.rule) == (Action.DROP, "info")
    assert world.passes(CALL.inside("UPDATE"))
    assert world.passes(CALL.inside("INFO", cseq=2)) is False, "it was not written down"


# --- again: retransmission or replay (TXN-12, RPL-*)


def test_retransmissions_pass_as_often_as_timers_send_them() -> None:
    """And no more: the same octets a hundred times are a flood."""
    world = World()
    world.send(CALL.invite())
    for _ in range(MAX_COPIES):
        assert world.why(CALL.invite()) is Reason.RETRANSMISSION
    last = world.send(CALL.invite())
    assert (last.action, last.judgement.reason) == (Action.DROP, Reason.RATE_EXCEEDED)


def test_a_replay_is_refused_by_the_rule_that_names_it() -> None:
    """RPL-1 and RPL-2: ``replay`` is true, and the record says why."""
    world = World()
    world.talk()
    for raw, source, target in (
        (CALL.invite(), ALICE, BOB),
        (CALL.invite(), MALLORY, BOB),
        (CALL.invite(branch="new"), ALICE, BOB),
        (CALL.invite(branch="new"), MALLORY, BOB),
        (CALL.invite().replace(b"audio 30000", b"audio 39998"), ALICE, BOB),
        (CALL.invite(branch="new").replace(b"sip:alice@", b"sip:boss@"), ALICE, BOB),
    ):
        decision = world.send(raw, source, target)
        assert decision.action is Action.DROP
        assert decision.judgement.rule == "replayed"
        assert decision.judgement.reason in REPLAYED


def test_without_a_rule_a_forgery_is_dropped_all_the_same() -> None:
    """``calls`` decides: what claims to be known and is not never passes."""
    world = World("default accept\nchain media\n  all open if keyed\n")
    world.talk()
    decision = world.send(CALL.inside("BYE"), MALLORY, BOB)
    assert (decision.action, decision.judgement.rule) == (Action.DROP, "calls")
    assert decision.judgement.reason is Reason.FORGED_IN_DIALOG


def test_an_accepting_rule_lets_no_forgery_pass() -> None:
    """Only refusals of the policy count for what the book refused."""
    world = World("default drop\nchain request\n  all accept\nchain media\n  all open if keyed\n")
    world.talk()
    assert not world.passes(CALL.inside("BYE"), MALLORY, BOB)
    assert not world.passes(CALL.cancel(), MALLORY, BOB)


def test_a_fork_through_a_proxy_passes() -> None:
    """RPL-3: A->P crossed; both of P's legs carry A's branch below."""
    world = World()
    below = [f"{ALICE}:5060;branch=z9hG4bK-i1-call-1;rport"]
    world.send(CALL.invite(), ALICE, PROXY)
    for branch, phone in (("f1", BOB), ("f2", CAROL)):
        leg = request(
            "INVITE", branch=branch, sender=PROXY, contact=ALICE, body=OFFER_BODY, lower_vias=below
        )
        decision = world.send(leg, PROXY, phone)
        assert decision.action is Action.ACCEPT
        assert Reason.FORK_OR_SPIRAL in {finding.reason for finding in decision.findings}


def test_a_failover_and_a_digest_retry_pass() -> None:
    """RFC 3263 section 4.3 after 503; RFC 3261 section 22.2 with CSeq+1 after 401."""
    world = World()
    for status, again in ((503, CALL.invite(branch="new")), (401, CALL.invite(cseq=2))):
        world = World()
        world.send(CALL.invite())
        world.send(CALL.answer(status), BOB, ALICE)
        world.send(CALL.ack_to_failure())
        assert world.passes(again)
        assert world.passes(response_to(again, 200, contact=BOB), BOB, ALICE)


# --- ACK to our own refusal (RSP-8)


def test_the_ack_to_our_refusal_is_absorbed() -> None:
    """RSP-8: it never goes inside, and is no offence to record."""
    world = World("default reject 403\n")
    world.send(CALL.invite())
    (reply,) = world.replies
    to_tag = reply.octets.partition(b"To: ")[2].partition(b"\r\n")[0].rpartition(b"=")[2].decode()
    recorded = len(world.records)
    decision = world.send(CALL.ack_to_failure(to_tag=to_tag))
    assert (decision.action, decision.judgement.reason) == (Action.DROP, Reason.ABSORBED_ACK)
    assert len(world.records) == recorded
    other = world.send(CALL.ack_to_failure(to_tag="x" * 16))
    assert other.judgement.reason is not Reason.ABSORBED_ACK


def test_a_refused_invite_is_refused_alike_when_it_comes_again() -> None:
    """RSP-2, RSP-8: the client sends until it hears us; every time the same octets."""
    world = World("default reject 403\n")
    for _ in range(3):
        world.send(CALL.invite())
    first, second, third = world.replies
    assert first == second == third


# --- unknown dialogs and learning (DLG-2)


@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE", "INVITE", "REFER"])
def test_in_dialog_requests_of_unknown_calls_are_dropped(method: str) -> None:
    """on-unknown-dialog drop, even where a rule would accept the sender."""
    world = World()
    decision = world.send(CALL.inside(method))
    assert (decision.action, decision.judgement.rule) == (Action.DROP, "on-unknown-dialog")
    assert decision.judgement.reason is Reason.UNKNOWN_DIALOG
    assert world.guard.statistics().dialogs == 0


def test_a_rule_may_answer_them() -> None:
    """481 tells an honest telephone that its call is gone."""
    world = World(
        POLICY.replace("hosts ", 'gone reject 481 if to.tag != "" and not dialog.known\n  hosts ')
    )
    decision = world.send(CALL.inside("INFO"))
    assert (decision.action, decision.judgement.status) == (Action.REJECT, 481)
    assert len(world.replies) == 1


def test_on_unknown_dialog_accept_asks_the_rules_alone() -> None:
    """Telephones may go on with calls from before; strangers may not."""
    world = World(POLICY.replace("on-unknown-dialog drop", "on-unknown-dialog accept"))
    assert not world.passes(CALL.inside("INFO"), STRANGER, BOB)
    info = CALL.inside("INFO")
    assert world.passes(info)
    assert world.passes(response_to(info, 200), BOB, ALICE)
    assert world.passes(CALL.inside("BYE", by_callee=True), BOB, ALICE)
    assert not world.passes(CALL.inside("BYE", cseq=9), MALLORY, BOB)


def test_learning_takes_calls_from_before_the_start() -> None:
    """DLG-2: for the duration the policy says, if there was anything to learn."""
    world = World(LEARN, learning=True)
    world.wait(0.0)
    world.wait(1700.0)
    decision = world.send(CALL.inside("INFO"))
    assert decision.action is Action.ACCEPT
    assert Reason.LEARNED_DIALOG in {finding.reason for finding in decision.findings}
    assert not world.passes(CALL.inside("BYE", cseq=9), MALLORY, BOB)
    world.wait(200.0)
    late = Dialogue(call_id="late")
    assert world.why(late.inside("INFO")) is Reason.UNKNOWN_DIALOG
    assert world.passes(CALL.inside("BYE", cseq=9)), "what was learned stays known"


def test_nothing_is_learned_without_calls_from_before() -> None:
    """A fresh start knows every call there is."""
    world = World(LEARN, learning=False)
    assert world.why(CALL.inside("INFO")) is Reason.UNKNOWN_DIALOG


# --- registrations


DIGEST = (
    'Authorization: Digest username="a", realm="r", nonce="n", uri="sip:x", response="'
    + "0" * 32
    + '"'
)


def register(branch: str, sender: str, *, cseq: int = 1, headers: str = "") -> bytes:
    return request(
        "REGISTER",
        branch=branch,
        sender=sender,
        call_id=sender,
        cseq=cseq,
        to="sip:alice@example.com",
        headers=headers,
    )


def test_a_name_without_a_password_is_nobody_elses_to_take() -> None:
    """DIG-26: this registrar asks nobody, so made-up credentials prove nothing either."""
    world = World()
    first = register("r", ALICE)
    assert world.passes(first, ALICE, PROXY)
    assert world.passes(response_to(first, 200), PROXY, ALICE)
    for number, headers in enumerate(("", DIGEST)):
        thief = register(f"t{number}", MALLORY, cseq=1 + number, headers=headers)
        refused = world.send(thief, MALLORY, PROXY)
        assert (refused.action, refused.judgement.rule) == (Action.REJECT, "hijack")
        assert refused.judgement.reason is Reason.REGISTER_HIJACK
    assert world.passes(register("r2", ALICE, cseq=2), ALICE, PROXY)


def test_an_account_with_a_password_may_have_two_phones() -> None:
    """The registrar asks the newcomer itself."""
    world = World()
    first = register("r", ALICE, headers=DIGEST)
    world.send(first, ALICE, PROXY)
    world.send(response_to(first, 200), PROXY, ALICE)
    assert world.passes(register("s", MALLORY), MALLORY, PROXY)


# --- media


def test_an_offer_without_a_key_is_refused_before_it_is_written_down() -> None:
    """PIN-18: 488 by the media chain's rule, with the stream's own reason."""
    world = World()
    decision = world.send(CALL.invite(body=PLAIN_BODY))
    assert (decision.action, decision.judgement.rule) == (Action.REJECT, "plain")
    assert decision.judgement.reason is Reason.NOT_KEYED
    assert decision.judgement.status == 488
    assert world.guard.statistics().transactions == 0
    assert [note.keyed for note in world.records[-1].media] == [False]


def test_a_reinvite_without_a_key_leaves_the_call_as_it_is() -> None:
    """RSP-10: 488 inside a call ends nothing."""
    world = World()
    holes = world.talk()
    refused = world.send(CALL.inside("INVITE", body=PLAIN_BODY))
    assert refused.judgement.status == 488
    assert world.open == holes
    assert world.passes(CALL.inside("BYE", cseq=3))


def test_an_offer_that_cannot_be_read_is_refused() -> None:
    """SDP-1: no hole for what we do not understand."""
    world = World()
    decision = world.send(CALL.invite(body=b"v=0\r\nnonsense\r\n"))
    assert (decision.action, decision.judgement.reason) == (Action.REJECT, Reason.BAD_SDP)
    assert decision.judgement.status == 488


# --- rates and overload


def test_refused_requests_count_too() -> None:
    """A flood stays one until it ends."""
    rule = "flood drop if rate(src, INVITE) > 3/min\n  stranger"
    world = World(POLICY.replace("stranger", rule, 1))
    rules = [
        world.send(Dialogue(call_id=f"c{n}").invite(), STRANGER, BOB).judgement.rule
        for n in range(6)
    ]
    assert rules == ["stranger"] * 3 + ["flood"] * 3
    assert world.passes(CALL.invite()), "each source for itself"


@pytest.mark.parametrize(
    ("setting", "action"),
    [
        ("keep-dialogs", Action.REJECT),
        ("drop-all", Action.DROP),
        ("accept-all", Action.ACCEPT),
    ],
)
def test_overload_keeps_calls_and_refuses_new_ones(setting: str, action: Action) -> None:
    """RSP-11: 503 with Retry-After for overload, and nothing else."""
    world = World(f"on-overload {setting}\n{POLICY}")
    world.talk()
    world.guard.overloaded = True
    padded = request("INVITE", branch="n", call_id="n", headers="Subject: " + "x" * 200)
    decision = world.send(padded)
    assert decision.action is action
    if action is not Action.ACCEPT:
        assert decision.judgement.reason is Reason.OVERLOAD
    if action is Action.REJECT:
        assert b"503" in world.replies[0].octets
        assert b"Retry-After" in world.replies[0].octets
    assert world.passes(CALL.inside("BYE"))
    world.guard.overloaded = False
    assert world.passes(Dialogue(call_id="after").invite())


# --- the neighbor's call


def test_an_insider_with_the_call_id_and_tag_closes_nobodys_media() -> None:
    """A new INVITE with a sniffed Call-ID and From tag fails; the call it names goes on."""
    world = World()
    holes = world.talk()
    forged = request("INVITE", branch="m", sender=MALLORY, cseq=7, body=OFFER_BODY)
    assert world.passes(forged, MALLORY, BOB), "it is a new request, and the policy knows the host"
    assert world.passes(response_to(forged, 180, to_tag="x"), BOB, MALLORY)
    assert world.passes(response_to(forged, 486, to_tag="x"), BOB, MALLORY)
    assert world.open == holes
    world.wait(600.0)
    assert world.open == holes


def test_nobody_joins_a_call_with_an_accomplice() -> None:
    """DLG-6: a new INVITE, answered with the To tag of a running call, makes no host of it."""
    world = World()
    holes = world.talk()
    forged = request("INVITE", branch="m", sender=MALLORY, cseq=7, body=OFFER_BODY)
    world.send(forged, MALLORY, CAROL)
    assert not world.passes(response_to(forged, 200, contact=CAROL), CAROL, MALLORY)
    assert not world.passes(CALL.inside("BYE", cseq=8), MALLORY, BOB)
    assert not world.passes(CALL.inside("BYE", cseq=8, by_callee=True), CAROL, ALICE)
    assert world.open == holes


def test_an_insiders_subscription_with_a_calls_names_closes_nothing() -> None:
    """Nobody notifies it; when it is forgotten, the call goes on."""
    world = World()
    holes = world.talk()
    world.send(request("SUBSCRIBE", branch="m", sender=MALLORY, cseq=7), MALLORY, BOB)
    world.wait(400.0)
    assert world.open == holes

"""Conclusions: the parse chain, replies and their rate, shadow mode, the record."""

import pytest
from calls_builder import CALL, MONDAY_S, POLICY, STRANGER, Dialogue, World, packet, request
from calls_builder import response as response_to
from phones import ALICE, BOB, CALL_HOLES
from subjects import octets

from sipguard.guard.conclude import judgement_of_findings
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action
from sipguard.weight import Weight

SHADOW = "mode shadow\n" + POLICY
BARE_LF = request("OPTIONS", branch="lf", headers="Subject: x").replace(
    b"Subject: x\r\n", b"A: x\n"
)
NO_MAX = request("OPTIONS", branch="m").replace(b"Call-ID: call-1", b"Call-ID: a b")


# --- the parse chain


def test_a_fault_that_no_rule_names_is_refused_all_the_same() -> None:
    """GEN-1: ambiguous is dropped, malformed gets 400 where a reply is allowed."""
    world = World("default accept\n")
    ambiguous = world.send(BARE_LF)
    assert (ambiguous.action, ambiguous.judgement.rule) == (Action.DROP, "parse")
    assert ambiguous.judgement.reason is Reason.BARE_LF
    malformed = world.send(NO_MAX)
    assert malformed.action in (Action.REJECT, Action.DROP)
    assert malformed.judgement.reason is Reason.BAD_CALL_ID
    assert malformed.judgement.status == 400


def test_a_tolerated_fault_is_forgiven_to_the_peer_that_the_rule_names() -> None:
    """Old telephones go on; strangers with the same fault do not."""
    world = World(f"default accept\nchain parse\n  old tolerate bare-lf if src in {{{ALICE}}}\n")
    passed = world.send(BARE_LF)
    assert passed.action is Action.ACCEPT
    again = BARE_LF.replace(b"call-1", b"call-2").replace(b"-lf", b"-lf2")
    assert not world.passes(again, STRANGER, BOB)


def test_a_rule_of_the_parse_chain_decides_with_the_faults_own_reason() -> None:
    """The record names the fault, not just the rule."""
    world = World("default accept\nchain parse\n  odd reject 400 if ambiguous\n")
    decision = world.send(BARE_LF)
    assert (decision.judgement.rule, decision.judgement.reason) == ("odd", Reason.BARE_LF)


def test_the_heaviest_fault_decides() -> None:
    """Unreadable before ambiguous before malformed; without any it is a missing header."""
    findings = [Finding(Reason.BAD_TAG), Finding(Reason.BARE_LF), Finding(Reason.BAD_DATE)]
    assert judgement_of_findings(findings).reason is Reason.BARE_LF
    assert judgement_of_findings([]).reason is Reason.MISSING_HEADER


@pytest.mark.parametrize("reason", [r for r in Reason if r.weight is not Weight.NOTE])
def test_no_fault_is_ever_a_pass(reason: Reason) -> None:
    """GEN-1, for every reason there is; and only clear faults are answered (RSP-7)."""
    judgement = judgement_of_findings([Finding(reason)])
    assert judgement.action is not Action.ACCEPT
    if reason.weight in (Weight.UNREADABLE, Weight.AMBIGUOUS):
        assert judgement.action is Action.DROP


# --- replies


def test_where_no_reply_is_allowed_a_refusal_is_a_drop() -> None:
    """RSP-1: and the decision says so."""
    world = World("default reject 403\n")
    decision = world.send(CALL.cancel())
    assert (decision.action, world.replies) == (Action.DROP, [])
    # Nothing that our reply would leave out, and a tag that it would add.
    small = world.send(request("OPTIONS", branch="s", contact=None, uri="sip:b"))
    assert small.action is Action.DROP
    assert Reason.UNANSWERABLE in {finding.reason for finding in small.findings}


@pytest.mark.parametrize(
    ("policy", "raw", "status"),
    [
        ("chain parse\n  bad reject if malformed\n", NO_MAX, 400),
        ("chain parse\n  size reject if message.size > 10\n", NO_MAX, 400),
        ("chain parse\n  size reject if message.size > 10\n", CALL.invite(), 403),
        ("chain request\n  all reject if replay or src.port > 1\n", CALL.invite(), 403),
    ],
)
def test_a_plain_reject_answers_what_the_finding_asks_for(
    policy: str, raw: bytes, status: int
) -> None:
    """403 where a rule speaks without one."""
    decision = World(f"default accept\n{policy}").send(raw)
    assert (decision.action, decision.judgement.status) == (Action.REJECT, status)


def test_replies_have_a_rate_for_each_source() -> None:
    """RSP-6: the request is refused all the same, the reply is not sent."""
    world = World("default reject 403\nreply-rate 3/s\n")
    for number in range(10):
        decision = world.send(Dialogue(call_id=f"c{number}").invite())
        assert decision.action is Action.REJECT
    assert len(world.replies) == 3
    world.send(Dialogue(call_id="x", caller=STRANGER).invite(), STRANGER, BOB)
    assert len(world.replies) == 4
    world.wait(2.0)
    world.send(Dialogue(call_id="later").invite())
    assert len(world.replies) == 5


def test_a_reply_goes_back_where_the_packet_came_from() -> None:
    """RSP-5: from the server's address, to the packet's source, whatever Via says."""
    world = World("default reject 403\n")
    world.send(CALL.invite().replace(b"192.0.2.10:5060;branch", b"203.0.113.99:5060;branch"))
    (reply,) = world.replies
    assert reply.destination.address == octets(ALICE)
    assert reply.source.address == octets(BOB)


# --- shadow mode


def test_in_shadow_everything_passes_and_the_judgement_stands() -> None:
    """The operator sees what would have been, and nobody's call is cut."""
    world = World(SHADOW)
    for raw, source in ((CALL.invite(), STRANGER), (BARE_LF, ALICE), (NO_MAX, ALICE)):
        decision = world.send(raw, source, BOB)
        assert decision.action is Action.ACCEPT
        assert decision.judgement.action is not Action.ACCEPT
    assert world.replies == []
    assert {record.action for record in world.records} == {Action.ACCEPT}
    assert all(record.judged is not Action.ACCEPT for record in world.records)


def test_in_shadow_a_refused_call_is_followed() -> None:
    """Its answers would be strays otherwise, and the journal full of nonsense."""
    world = World(SHADOW)
    call = Dialogue(caller=STRANGER)
    world.send(call.invite(), STRANGER, BOB)
    answer = world.send(call.answer(), BOB, STRANGER)
    assert answer.judgement.action is Action.ACCEPT
    assert world.send(call.ack(), STRANGER, BOB).judgement.action is Action.ACCEPT
    assert len(world.records) == 1


def test_in_shadow_no_forgery_changes_a_call() -> None:
    """It passes, but the book does not believe it."""
    world = World(SHADOW)
    world.talk()
    forged = world.send(CALL.inside("BYE"), STRANGER, BOB)
    assert (forged.action, forged.judgement.action) == (Action.ACCEPT, Action.DROP)
    assert world.why(CALL.inside("INFO", cseq=3)) is Reason.KNOWN_CALL
    world.wait(100.0)
    assert world.open == CALL_HOLES


def test_unreadable_packets_pass_in_shadow_too() -> None:
    """Also what no call can be named for."""
    world = World(SHADOW)
    for raw in (b"GET / HTTP/1.1\r\n\r\n", b"OPTIONS sip:x SIP/2.0\r\n\r\n", b"\xf8sigcomp"):
        decision = world.send(raw)
        assert (decision.action, decision.judgement.action) == (Action.ACCEPT, Action.DROP)


def test_a_shadow_rule_is_only_noted() -> None:
    """It decides nothing; the record names it."""
    world = World(POLICY.replace("hosts ", "try drop if method == INVITE shadow\n  hosts "))
    assert world.passes(CALL.invite())
    (record,) = world.records
    assert record.action is Action.ACCEPT
    assert "try" in record.detail


# --- the record


def test_what_a_record_holds() -> None:
    """Everything a reviewer asks the next morning, raw; the journal masks and escapes it."""
    world = World()
    raw = request("INVITE", branch="x", sender=STRANGER, headers="User-Agent: friendly-scanner")
    world.send(raw, STRANGER, BOB)
    (record,) = world.records
    assert (record.action, record.judged, record.reason) == (
        Action.DROP,
        Action.DROP,
        Reason.REFUSED_BY_RULE,
    )
    assert (record.src, record.dst) == (octets(STRANGER), octets(BOB))
    assert (record.sport, record.dport, record.interface) == (5060, 5060, "lan0")
    assert (record.rule, record.place, record.mode, record.log) == (
        "stranger",
        "p:6",
        "enforce",
        True,
    )
    assert (record.method, record.request_uri) == (b"INVITE", b"sip:bob@example.com")
    assert (record.call_id, record.cseq, record.branch) == (b"call-1", b"1 INVITE", b"z9hG4bK-x")
    assert record.from_ == b"<sip:alice@example.com>;tag=a"
    assert record.user_agent == b"friendly-scanner"
    assert record.start_line == b"INVITE sip:bob@example.com SIP/2.0"
    assert record.utc_s == MONDAY_S + world.now_s
    assert record.raw == raw
    assert [step[1] for step in record.ladder] == [b"INVITE"]


def test_a_record_of_a_known_call_shows_its_ladder() -> None:
    """What went before explains the forgery."""
    world = World()
    world.talk()
    world.send(CALL.inside("BYE"), STRANGER, BOB)
    (record,) = world.records
    assert record.dialog == "confirmed"
    labels = [step[1] for step in record.ladder]
    assert labels == [b"INVITE", b"180 INVITE", b"200 INVITE", b"ACK"]
    assert record.ladder[1][2:] == (octets(BOB), octets(ALICE))


def test_record_all_keeps_good_calls_too() -> None:
    """Once for each call, not for each message."""
    world = World("record all\n" + POLICY)
    world.talk()
    assert [record.method for record in world.records] == [b"INVITE"]
    assert world.records[0].action is Action.ACCEPT
    assert World().talk()


def test_a_guard_without_a_record_keeper_judges_alike() -> None:
    """The benchmark and the tests of others run without a journal."""
    world, silent = World(), World()
    silent.guard._rooms.record = None
    for raw, source, target in (
        (CALL.invite(), ALICE, BOB),
        (CALL.invite(), STRANGER, BOB),
        (BARE_LF, ALICE, BOB),
        (CALL.answer(), BOB, ALICE),
        (response_to(CALL.cancel(), 200), BOB, ALICE),
    ):
        way = packet(raw, source, target)
        one, other = world.guard.judge(way, world.now), silent.guard.judge(way, silent.now)
        assert (one.action, one.findings, one.effects) == (
            other.action,
            other.findings,
            other.effects,
        )
        for name in ("action", "reason", "rule", "place", "detail", "status", "octets"):
            assert getattr(one.judgement, name) == getattr(other.judgement, name)
    assert silent.records == []

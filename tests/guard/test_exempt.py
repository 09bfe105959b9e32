"""Temporary exceptions: after the rules, for a while, and never above what keeps a call honest."""

import dataclasses

import pytest
from calls_builder import CALL, MALLORY, MONDAY_S, STRANGER, Dialogue, World, request
from phones import ALICE, BOB, audio, body

from sipguard.policy.exemptions import ALLOW, MUTE, Exemption, Exemptions
from sipguard.reason import Reason
from sipguard.verdict import Action

STRICT = """
default drop
set phones { 192.0.2.0/24 198.51.100.0/24 }
chain request
  replayed   drop        if replay
  hijack     reject 403  if registration.foreign
  no-info    drop        if method == INFO and dialog.known
  closed     reject 403  if from.user in { alice bob }
  other      accept      if src in phones
chain media
  plain      reject 488  if not keyed
  sealed     open        if keyed               idle 60s
"""
AOR = "sip:alice@example.com"


def world_with(*exemptions: Exemption, policy: str = STRICT) -> World:
    world = World(policy)
    world.guard.exemptions = Exemptions(exemptions)
    return world


def one(
    world_s: float = 1000.0,
    for_s: float = 60.0,
    kind: str = ALLOW,
    *,
    source: str = "",
    caller: str = "",
    rule: str = "",
) -> Exemption:
    since_s = MONDAY_S + world_s
    return Exemption(
        7, kind, since_s, since_s + for_s, source, caller, rule, reason="trunk test", by="root"
    )


def naming(named: dict[str, str]) -> Exemption:
    return dataclasses.replace(one(), **named)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "named",
    [
        {"source": ALICE},
        {"source": "192.0.2.0/24"},
        {"caller": AOR},
        {"rule": "closed"},
        {"source": ALICE, "caller": AOR, "rule": "closed"},
    ],
)
def test_what_a_rule_refuses_passes(named: dict[str, str]) -> None:
    """And its record says by which exception, whose, and why; the rule it outdid stands there."""
    world = world_with(naming(named))
    decision = world.send(CALL.invite())
    assert decision.action is Action.ACCEPT
    assert (decision.judgement.rule, decision.judgement.reason) == ("exception 7", Reason.EXCEPTED)
    (seen,) = world.records
    assert (seen.rule, seen.place) == ("exception 7", "p:8")
    assert seen.detail == (
        "closed refuses it, refused-by-rule; root allows it for another 60 s: trunk test"
    )
    assert world.guard.excepted == (1, 0)


@pytest.mark.parametrize(
    "named",
    [
        {"source": BOB},
        {"source": "2001:db8::/32"},
        {"caller": "sip:carol@example.com"},
        {"rule": "other"},
        {"source": ALICE, "caller": "sip:carol@example.com"},
        {"source": ALICE, "rule": "hijack"},
    ],
)
def test_what_it_does_not_name_is_refused(named: dict[str, str]) -> None:
    """Everything it names must hold."""
    world = world_with(naming(named))
    assert world.send(CALL.invite()).action is Action.REJECT
    assert world.guard.excepted == (0, 0)


def test_it_expires_by_the_clock() -> None:
    """Not before its time, not after it; nobody needs to remember to take it back."""
    world = world_with(one(1010.0, 60.0, source=ALICE))
    for now_s, passes in ((1009.0, False), (1010.0, True), (1069.9, True), (1070.0, False)):
        world.now_s = now_s
        call = Dialogue(call_id=f"c{now_s}")
        assert world.passes(call.invite(), call.caller, call.callee) is passes


def test_it_holds_for_the_default() -> None:
    """Where no rule matched."""
    world = world_with(one(rule="default"), policy="default reject 480\n")
    assert world.send(CALL.invite()).judgement.rule == "exception 7"


def test_a_rule_of_running_calls_gives_way_as_well() -> None:
    """The call that it let in must be able to go on."""
    world = world_with(one(source="0.0.0.0/0"))
    world.talk()
    assert world.passes(CALL.inside("INFO"))
    world.guard.exemptions = Exemptions()
    assert not world.passes(CALL.inside("INFO", cseq=9))


def test_never_above_the_parse_chain() -> None:
    """What two parsers read differently passes for nobody."""
    world = world_with(one(source="0.0.0.0/0"), one(rule="parse"))
    twice = CALL.invite().replace(b"Call-ID:", b"Call-ID: x\r\nCall-ID:")
    refused = world.send(twice)
    assert refused.judgement.action is not Action.ACCEPT
    ruled = world_with(
        one(source="0.0.0.0/0"), one(rule="small"),
        policy=STRICT.replace("chain request", "chain parse\n small drop if message.size > 10\n"
                              "chain request"),
    )  # fmt: skip
    assert ruled.send(CALL.invite()).judgement.rule == "small"
    assert world.guard.excepted == ruled.guard.excepted == (0, 0)


def test_no_hole_without_a_key() -> None:
    """Chain media judges the offer as ever."""
    plain = body(ALICE, audio(30000, proto="RTP/AVP"))
    world = world_with(one(source="0.0.0.0/0"), one(rule="plain"))
    refused = world.send(CALL.invite(body=plain))
    assert (refused.action, refused.judgement.rule) == (Action.REJECT, "plain")
    assert not world.open


def test_a_replay_stays_one() -> None:
    """Also where the exception names the rule that refuses it."""
    world = world_with(one(for_s=9_000, source="0.0.0.0/0"), one(for_s=9_000, rule="replayed"))
    world.talk()
    world.now_s += 300.0
    again = world.send(CALL.invite(), MALLORY, BOB)
    assert again.action is not Action.ACCEPT


def test_a_hijacked_registration_stays_one() -> None:
    """A binding that belongs to somebody else is not the operator's to give away in a hurry."""
    policy = STRICT.replace("closed", "#closed")
    world = world_with(one(source="0.0.0.0/0"), policy=policy)
    register = {"uri": "sip:example.com", "to": AOR, "headers": "Expires: 3600"}
    first = request("REGISTER", branch="r1", call_id="r1", **register)  # type: ignore[arg-type]
    assert world.passes(first)
    ok = first.replace(b"REGISTER sip:example.com SIP/2.0", b"SIP/2.0 200 OK")
    ok = ok.replace(b"Max-Forwards: 70\r\n", b"").replace(b"com>\r\nCall", b"com>;tag=z\r\nCall")
    assert world.passes(ok, BOB, ALICE)
    other = request(
        "REGISTER", branch="r2", call_id="r2", sender=MALLORY, **register  # type: ignore[arg-type]
    )  # fmt: skip
    assert world.send(other, MALLORY, BOB).judgement.rule == "hijack"


def test_overload_comes_before_favors() -> None:
    """An exception takes back the word of a rule, and not that there is no room."""
    world = world_with(one(source=ALICE))
    world.guard.overloaded = True
    assert world.send(CALL.invite()).judgement.reason is Reason.OVERLOAD


def test_a_mute_changes_no_verdict() -> None:
    """It keeps matching refusals out of the records, and counts them."""
    world = world_with(one(kind=MUTE, source=ALICE, rule="closed"))
    assert world.send(CALL.invite()).action is Action.REJECT
    assert world.send(b"nonsense\r\n\r\n", ALICE).action is Action.DROP
    assert [seen.reason for seen in world.records] == [Reason.NOT_SIP]
    assert world.guard.excepted == (0, 1)


def test_a_mute_of_a_source_covers_what_is_no_sip() -> None:
    """A broken device's noise is what mutes are for; others are recorded as ever."""
    world = world_with(one(kind=MUTE, source=ALICE))
    world.send(b"nonsense\r\n\r\n", ALICE)
    assert not world.records
    world.send(b"nonsense\r\n\r\n", STRANGER)
    assert len(world.records) == 1

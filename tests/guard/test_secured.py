"""SIPS calls through the guard, on one leg and on two; what breaks their promise is refused."""

import pytest
from calls_builder import ANSWER_BODY, CALL, OFFER_BODY, POLICY, World, packet, request
from calls_builder import response as response_to
from phones import ALICE, BOB, PROXY

from sipguard.reason import Reason
from sipguard.verdict import Action, Decision, Reply
from sipguard.wire.channel import Channel

TOLERANT = POLICY.replace(
    "chain request", f"chain parse\n  ender tolerate sips-in-clear if src == {ALICE}\nchain request"
)


def sips(raw: bytes) -> bytes:
    """Return the same message as SIPS over TLS."""
    return raw.replace(b"sip:", b"sips:").replace(b"SIP/2.0/UDP", b"SIP/2.0/TLS")


def over(
    world: World, raw: bytes, a: str = ALICE, b: str = BOB, transport: str = "tls"
) -> Decision:
    return world.send(raw, a, b, transport=transport)


def found(decision: Decision) -> set[Reason]:
    return {finding.reason for finding in decision.findings}


def replied(decision: Decision) -> bytes:
    (reply,) = decision.effects
    assert isinstance(reply, Reply)
    return reply.octets


# --- honest calls


def test_a_sips_call_over_tls_passes_whole() -> None:
    """INVITE to BYE, both directions, its media opened and closed, and nothing found."""
    world = World()
    steps = [
        (CALL.invite(), False),
        (CALL.answer(180, body=b""), True),
        (CALL.answer(200), True),
        (CALL.ack(), False),
        (CALL.inside("UPDATE", cseq=2), False),
        (response_to(CALL.inside("UPDATE", cseq=2), 200, contact=BOB), True),
        (CALL.inside("BYE", cseq=1, by_callee=True), True),
        (response_to(CALL.inside("BYE", cseq=1, by_callee=True), 200), False),
    ]
    opened = 0
    for raw, back in steps:
        ends = (BOB, ALICE) if back else (ALICE, BOB)
        decision = over(world, sips(raw), *ends)
        assert (decision.action, decision.findings) == (Action.ACCEPT, ())
        opened = max(opened, len(world.open))
    assert opened
    assert not world.open


def legs(transport: str, *, scheme: bytes = b"sips:") -> tuple[bytes, bytes, bytes, bytes]:
    """Return INVITE and 200 as they cross the gateway twice, round a proxy beside it."""
    first = sips(CALL.invite())
    second = request(
        "INVITE", branch="p1", sender=PROXY, contact=ALICE, body=OFFER_BODY,
        lower_vias=(f"{ALICE}:5060;branch=z9hG4bK-i1-call-1;received={ALICE}",),
        uri="sip:bob@example.com",
    )  # fmt: skip
    second = second.replace(b"sip:", scheme)
    second = second.replace(b"SIP/2.0/UDP", b"SIP/2.0/" + transport.upper().encode(), 1)
    second = second.replace(b"SIP/2.0/UDP", b"SIP/2.0/TLS")
    back = response_to(second, 200, contact=BOB, body=ANSWER_BODY).replace(b"<sip:it", b"<sips:it")
    answer = response_to(first, 200, contact=BOB, body=ANSWER_BODY).replace(b"<sip:it", b"<sips:it")
    return first, second, back, answer


def test_a_sips_call_passes_on_both_legs() -> None:
    """A proxy that keeps what SIPS promises is let through, and so is what follows."""
    world = World()
    first, second, back, answer = legs("tls")
    for raw, a, b in ((first, ALICE, PROXY), (second, PROXY, BOB), (back, BOB, PROXY),
                      (answer, PROXY, ALICE)):  # fmt: skip
        decision = over(world, raw, a, b)
        assert decision.action is Action.ACCEPT
        assert not found(decision) - {Reason.FORK_OR_SPIRAL}
    assert over(world, sips(CALL.ack()), ALICE, PROXY).action is Action.ACCEPT


# --- TLS-1


@pytest.mark.parametrize("transport", ["udp", "tcp", "ws"])
def test_sips_in_clear_is_refused_by_default(transport: str) -> None:
    """400 where an answer is possible; no rule is needed for that."""
    world = World()
    raw = sips(CALL.invite()).replace(b"/TLS", b"/" + transport.upper().encode())
    decision = over(world, raw, transport=transport)
    assert decision.action in (Action.REJECT, Action.DROP)
    assert (decision.judgement.reason, decision.judgement.rule) == (Reason.SIPS_IN_CLEAR, "parse")
    if transport == "udp":
        assert replied(decision).startswith(b"SIP/2.0 400 Bad Request\r\n")


def test_the_ack_to_that_refusal_is_no_second_offence() -> None:
    """It is absorbed as any other, and leaves no record (RSP-8)."""
    world = World()
    raw = sips(CALL.invite()).replace(b"/TLS", b"/UDP")
    octets = replied(over(world, raw, transport="udp"))
    tag = octets.partition(b"\r\nTo: ")[2].partition(b"\r\n")[0].rpartition(b"tag=")[2]
    ack = sips(CALL.ack_to_failure(to_tag=tag.decode())).replace(b"/TLS", b"/UDP")
    records = len(world.records)
    assert over(world, ack, transport="udp").judgement.reason is Reason.ABSORBED_ACK
    assert len(world.records) == records


def test_a_policy_may_forgive_it_one_peer() -> None:
    """Something before the gateway ends TLS; nobody else is forgiven."""
    world = World(TOLERANT)
    raw = sips(CALL.invite()).replace(b"/TLS", b"/UDP")
    assert over(world, raw, transport="udp").action is Action.ACCEPT
    other = raw.replace(b"call-1", b"call-2")
    assert over(world, other, BOB, ALICE, "udp").action is Action.REJECT


def test_in_shadow_mode_it_passes_and_is_told() -> None:
    """As everything does there."""
    world = World("mode shadow\n" + POLICY)
    decision = over(world, sips(CALL.invite()), transport="tcp")
    assert decision.action is Action.ACCEPT
    assert world.records[-1].reason is Reason.SIPS_IN_CLEAR


# --- TLS-3, TLS-4


def test_the_last_hop_in_clear_is_refused_with_480_and_a_warning() -> None:
    """The proxy turned SIPS into SIP over UDP: 381 tells it what is wrong (RFC 5630)."""
    world = World()
    first, second, _, _ = legs("udp", scheme=b"sip:")
    assert over(world, first, ALICE, PROXY).action is Action.ACCEPT
    decision = over(world, second, PROXY, BOB, "udp")
    assert decision.judgement.reason is Reason.SIPS_DOWNGRADE
    octets = replied(decision)
    assert octets.startswith(b"SIP/2.0 480 SIPS Required\r\n")
    assert b'\r\nWarning: 381 sipguard "SIPS Required"\r\n' in octets


def test_sip_over_tls_on_the_last_hop_passes_with_a_note() -> None:
    """It is secured here; a policy may want more: ``finding in {TLS-3}``."""
    world = World()
    first, second, _, _ = legs("tls", scheme=b"sip:")
    over(world, first, ALICE, PROXY)
    decision = over(world, second, PROXY, BOB)
    assert decision.action is Action.ACCEPT
    assert Reason.SIPS_LOST in found(decision)


def test_sip_that_becomes_sips_is_noted() -> None:
    """RFC 5630 section 5.3: what came in clear cannot be secured any more."""
    world = World()
    plain = CALL.invite().replace(b"<sip:it", b"<sips:it")
    assert over(world, plain, ALICE, PROXY, "udp").action is Action.ACCEPT
    _, second, _, _ = legs("tls", scheme=b"sip:")
    second = second.replace(b"INVITE sip:", b"INVITE sips:").replace(b"<sip:it", b"<sips:it")
    decision = over(world, second, PROXY, BOB)
    assert decision.action is Action.ACCEPT
    assert found(decision) == {Reason.SIPS_GAINED, Reason.SIPS_RETARGETED, Reason.FORK_OR_SPIRAL}


def test_a_sips_call_does_not_go_on_in_clear() -> None:
    """Somebody who knows its tags speaks in it over UDP, from the right host: still not."""
    world = World()
    for raw, a, b in ((CALL.invite(), ALICE, BOB), (CALL.answer(200), BOB, ALICE),
                      (CALL.ack(), ALICE, BOB)):  # fmt: skip
        assert over(world, sips(raw), a, b).action is Action.ACCEPT
    decision = over(world, CALL.inside("UPDATE"), transport="udp")
    assert (decision.action, decision.judgement.reason) == (Action.REJECT, Reason.SIPS_DOWNGRADE)
    assert over(world, sips(CALL.inside("BYE", cseq=3))).action is Action.ACCEPT


def test_a_plain_call_is_not_taken_for_one_of_another() -> None:
    """SIPS calls beside it change nothing."""
    world = World()
    assert over(world, sips(CALL.invite().replace(b"call-1", b"call-2"))).action is Action.ACCEPT
    assert world.talk()
    assert found(over(world, CALL.inside("BYE"), transport="udp")) == set()


@pytest.mark.parametrize(
    ("phrase", "warning"),
    [
        ("SIPS Required", b'Warning: 381 sipguard "SIPS Required"'),
        ("SIPS Not Allowed", b'Warning: 380 sipguard "SIPS Not Allowed"'),
        ("Gone to lunch", b""),
    ],
)
def test_a_policy_says_which_scheme_it_wants(phrase: str, warning: bytes) -> None:
    """TLS-4: 480, and the Warning that belongs to the phrase."""
    world = World(
        POLICY.replace("hosts ", f'scheme reject 480 "{phrase}" if uri.scheme == sip\n  hosts ')
    )
    octets = replied(over(world, CALL.invite(), transport="udp"))
    assert octets.startswith(b"SIP/2.0 480 " + phrase.encode())
    told = [line for line in octets.split(b"\r\n") if line.startswith(b"Warning")]
    assert told == ([warning] if warning else [])


def test_a_scheme_that_nobody_supports_has_a_code() -> None:
    """416, with its own phrase."""
    world = World(POLICY.replace("hosts ", "scheme reject 416 if uri.scheme == tel\n  hosts "))
    raw = CALL.invite().replace(b"INVITE sip:bob@example.com", b"INVITE tel:+4930123")
    octets = replied(over(world, raw, transport="udp"))
    assert octets.startswith(b"SIP/2.0 416 Unsupported URI Scheme\r\n")


# --- TLS-5, TLS-11


def test_a_sips_address_registered_beside_plain_ones_is_refused() -> None:
    """The registrar would have to answer 400 as well."""
    world = World()
    raw = request("REGISTER", branch="r", uri="sip:example.com").replace(b"<sip:it", b"<sips:it")
    decision = over(world, raw.replace(b"/UDP", b"/TLS"))
    assert decision.judgement.reason is Reason.SIPS_REGISTER
    assert decision.judgement.status in (0, 400)


def test_a_sips_name_is_the_same_name() -> None:
    """Nobody takes alice over by another scheme (RFC 5630 section 5.2)."""
    world = World()
    raw = request("REGISTER", branch="r", uri="sip:example.com", to="sip:alice@example.com")
    assert world.passes(raw)
    assert world.passes(response_to(raw, 200), BOB, ALICE)
    thief = sips(raw.replace(b"branch=z9hG4bK-r", b"branch=z9hG4bK-s").replace(b"call-1", b"c9"))
    decision = over(world, thief, PROXY, BOB)
    assert decision.judgement.reason is Reason.REGISTER_HIJACK


def test_a_sips_call_with_a_plain_contact_is_refused() -> None:
    """400: its callee would answer into the open."""
    world = World()
    decision = over(world, sips(CALL.invite()).replace(b"<sips:it", b"<sip:it"))
    assert decision.judgement.reason is Reason.SIPS_CONTACT
    assert decision.judgement.action in (Action.REJECT, Action.DROP)


def test_an_answer_with_a_plain_contact_passes_with_a_note() -> None:
    """Nobody can be told, and what follows in clear is refused anyway."""
    world = World()
    over(world, sips(CALL.invite()))
    decision = over(world, sips(CALL.answer(200)).replace(b"<sips:it", b"<sip:it"), BOB, ALICE)
    assert decision.action is Action.ACCEPT
    assert found(decision) == {Reason.SIPS_ANSWER}


# --- TLS-23, TLS-24, TLS-31, TLS-33


def test_telephones_that_keep_their_flow_are_honest() -> None:
    """RFC 5626 and 5923: reg-id, +sip.instance, alias, 430, 439 and Flow-Timer."""
    world = World()
    flow = b':5060;transport=tcp>;reg-id=1;+sip.instance="<urn:uuid:1>"\r\n'
    for cseq, status in enumerate((439, 430, 200), start=1):
        raw = request("REGISTER", branch=f"r{cseq}", cseq=cseq, uri="sip:example.com",
                      via_params=";rport;alias", headers="Supported: outbound, path")  # fmt: skip
        raw = raw.replace(b":5060>\r\n", flow).replace(b"/UDP", b"/TCP")
        answer = response_to(raw, status, headers="Require: outbound\nFlow-Timer: 120")
        for message, a, b in ((raw, ALICE, BOB), (answer, BOB, ALICE)):
            decision = over(world, message, a, b, "tcp")
            assert (decision.action, found(decision)) == (Action.ACCEPT, set())


def test_a_via_that_says_another_transport_is_noted() -> None:
    """A message in clear whose Via says TLS lies; a policy may refuse it."""
    lie = CALL.invite().replace(b"/UDP", b"/TLS")
    decision = over(World(), lie, transport="tcp")
    assert (decision.action, found(decision)) == (Action.ACCEPT, {Reason.VIA_TRANSPORT})
    rule = "lie reject 400 if finding in {via-transport} and via.transport == tls\n  hosts "
    assert over(World(POLICY.replace("hosts ", rule)), lie, transport="udp").action is Action.REJECT
    for name in ("ws", "wss", "tls", "tcp"):
        honest = CALL.invite().replace(b"/UDP", b"/" + name.upper().encode())
        assert found(over(World(), honest, transport=name)) == set()


def test_the_peers_certificate_is_a_question_for_the_policy() -> None:
    """A note by itself; TLS-33 in a rule makes it a refusal."""
    way = packet(CALL.invite().replace(b"/UDP", b"/TLS"), ALICE, BOB, transport="tls")
    way = way.changed(channel=Channel("1.3", ("example.net",)))
    world = World()
    decision = world.guard.judge(way, world.now)
    assert (decision.action, found(decision)) == (Action.ACCEPT, {Reason.PEER_DOMAIN})
    world = World(POLICY.replace("hosts ", "peer reject 403 if finding in {TLS-33}\n  hosts "))
    assert world.guard.judge(way, world.now).judgement.rule == "peer"


def test_a_certificate_that_is_not_valid_is_a_question_for_the_policy() -> None:
    """Clients may show one that proves nobody; a rule may refuse them, and the record says why."""
    way = packet(CALL.invite().replace(b"/UDP", b"/TLS"), ALICE, BOB, transport="tls")
    way = way.changed(channel=Channel("1.3", tls_failure="the certificate of a.example expired"))
    world = World()
    decision = world.guard.judge(way, world.now)
    assert (decision.action, found(decision)) == (Action.ACCEPT, {Reason.TLS_UNPROVEN})
    rule = "bad reject 403 if finding in {tls-unproven}\n  hosts "
    world = World(POLICY.replace("hosts ", rule))
    assert world.guard.judge(way, world.now).judgement.rule == "bad"


# --- TLS-32


def test_a_client_that_was_bid_down_is_found() -> None:
    """Somebody behind the gateway gave it a weaker list than the one that went by."""
    world = World(
        POLICY.replace("hosts ", "down reject 403 if finding in {security-bid-down}\n  hosts ")
    )
    first = request("OPTIONS", branch="o1", headers="Security-Client: tls, ipsec-ike")
    assert world.passes(first)
    offer = response_to(first, 494, headers="Security-Server: ipsec-ike;q=0.1, tls;q=0.2")
    assert world.passes(offer, BOB, ALICE)
    copy = "Security-Verify: ipsec-ike;q=0.1, tls;q=0.2"
    assert world.passes(request("OPTIONS", branch="o2", cseq=2, headers=copy))
    weak = request("OPTIONS", branch="o3", cseq=3, headers="Security-Verify: tls;q=0.2")
    decision = world.send(weak)
    assert (decision.action, decision.judgement.rule) == (Action.REJECT, "down")


def test_agreements_that_cannot_be_kept_are_noted() -> None:
    """A list nobody can read, and one where TLS runs already; both pass."""
    world = World()
    odd = request("OPTIONS", branch="o1", headers="Security-Client: ,")
    assert found(world.send(odd)) == {Reason.BAD_SEC_AGREE}
    late = request("OPTIONS", branch="o2", cseq=2, headers="Security-Client: tls")
    decision = over(world, late.replace(b"/UDP", b"/TLS"))
    assert (decision.action, found(decision)) == (Action.ACCEPT, {Reason.SEC_AGREE_OVER_TLS})
    answer = response_to(odd, 494, headers="Security-Server: tls;q=7")
    assert found(world.send(answer, BOB, ALICE)) == {Reason.BAD_SEC_AGREE}


def test_hints_about_the_way_pass() -> None:
    """TLS-12 and a Record-Route that is not SIPS: what a sender can forge refuses nothing alone."""
    world = World()
    raw = sips(CALL.invite()).replace(b"To: <sips:", b"To: <sip:")
    via = b"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKq\r\nRecord-Route: <sip:p.example.com;lr>\r\n"
    raw = raw.replace(b"Max-Forwards", via + b"Max-Forwards")
    decision = over(world, raw)
    hints = {Reason.SIPS_RETARGETED, Reason.SIPS_CLEAR_HOP, Reason.SIPS_ROUTE}
    assert (decision.action, found(decision)) == (Action.ACCEPT, hints)


def test_transport_tls_passes_with_a_note() -> None:
    """TLS-2: half of all telephones write it."""
    raw = (
        CALL.invite().replace(b":5060>\r\n", b":5061;transport=tls>\r\n").replace(b"/UDP", b"/TLS")
    )
    decision = over(World(), raw)
    assert (decision.action, found(decision)) == (Action.ACCEPT, {Reason.TLS_PARAMETER})

"""The rules that write IPsec zones into marks, as text; and the number back out of a mark."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from subjects import load

from sipguard.edge.from_policy import plan_of
from sipguard.edge.iptables import iptables_script
from sipguard.edge.plan import (
    MARK,
    PROVEN_MARK,
    UNPROVEN_MARK,
    ZONE_MARKS,
    Diversion,
    Plan,
    StreamTransports,
)
from sipguard.edge.rules import nft_script, render_rules
from sipguard.edge.zone_rules import zone_number
from sipguard.errors import EdgeError
from sipguard.policy.zones import MAX_IPSEC_ZONES

ZONED = Plan(ipsec_zones=((42,), (7, 8)))
GATED = replace(ZONED, media_queue=1)
SET = [
    "udp dport { 5060 } ipsec in reqid 42 meta mark set meta mark | 0x1000000",
    "udp sport { 5060 } udp dport != { 5060 } ipsec in reqid 42 "
    "meta mark set meta mark | 0x1000000",
    "udp dport { 5060 } ipsec in reqid { 7, 8 } meta mark set meta mark | 0x2000000",
    "udp sport { 5060 } udp dport != { 5060 } ipsec in reqid { 7, 8 } "
    "meta mark set meta mark | 0x2000000",
]


def rules(plan: Plan, chain: str, *, zones_by_nft: bool = True) -> list[str]:
    """Return the rules of one chain."""
    start = f"add rule inet {plan.table} {chain} "
    script = nft_script(plan, queue_by_nft=True, zones_by_nft=zones_by_nft)
    return [line[len(start) :] for line in script.splitlines() if line.startswith(start)]


def place(found: list[str], part: str) -> int:
    """Return where the first rule with *part* stands."""
    return next(at for at, rule in enumerate(found) if part in rule)


@pytest.mark.parametrize("plan", [ZONED, GATED, replace(ZONED, local=True)])
def test_sip_of_each_request_id_gets_its_zones_number(plan: Plan) -> None:
    """IPS-1, IPS-3: behind the decryption, before the queue."""
    assert [rule for rule in rules(plan, "screen") if "ipsec" in rule] == SET
    if plan.local:
        assert [rule for rule in rules(plan, "screen_input") if "ipsec" in rule] == SET


@pytest.mark.parametrize("plan", [ZONED, GATED])
def test_no_number_is_borrowed(plan: Plan) -> None:
    """What an inner network marked itself, by a connection's mark or a table before, goes first."""
    screen = rules(plan, "screen")
    cleared = [at for at, rule in enumerate(screen) if "meta mark set meta mark & " in rule]
    ours = plan.mark | ZONE_MARKS
    for at in cleared:
        keep = int(screen[at].rpartition(" ")[2], base=16)
        assert not keep & ours
    assert cleared[-1] < place(screen, "ipsec in")
    if plan.has_gate:
        assert place(screen, "ipsec in") < place(screen, "counter name sip_seen return")


def test_without_request_ids_nobodys_bits_are_touched() -> None:
    """Zones by interface need no rule, and their bits may be the operator's."""
    assert "ipsec" not in render_rules(Plan())
    assert "meta mark & 0xbfffffff" in nft_script(Plan(), queue_by_nft=True)
    assert "policy" not in iptables_script(Plan(), zones_by_nft=False)


def test_iptables_sets_the_marks_where_nft_cannot() -> None:
    """Cleared by nft all the same; set in front of the queue, for the way in alone."""
    screen = rules(ZONED, "screen", zones_by_nft=False)
    assert not any("ipsec" in rule for rule in screen)
    assert any(f"{0xFFFFFFFF ^ (MARK | ZONE_MARKS):#x}" in rule for rule in screen)
    plan = replace(ZONED, sip_ports=tuple(range(5060, 5076)), local=True)
    lines = iptables_script(plan, zones_by_nft=False).splitlines()
    marking = [line for line in lines if "-j MARK" in line]
    assert marking[0] == (
        "-A SIPGUARD -p udp -m multiport --ports 5060,5061,5062,5063,5064,5065,5066,5067,5068,"
        "5069,5070,5071,5072,5073,5074 -m policy --dir in --pol ipsec --reqid 42 "
        "-j MARK --set-xmark 0x1000000/0x7000000"
    )
    assert len(marking) == 2 * 3
    assert place(lines, "-j NFQUEUE") > place(lines[::-1], "-j MARK")
    assert lines.index(marking[-1]) < place(lines, "-j NFQUEUE")
    assert not any("SIPGUARD_OUT" in line for line in marking)
    assert "policy" not in iptables_script(plan)


def test_what_is_shown_names_both_ways_of_marking() -> None:
    """`sipguard rules` knows no kernel."""
    shown = render_rules(ZONED)
    assert "ipsec in reqid 42" in shown
    assert "-m policy --dir in --pol ipsec --reqid 42" in shown
    assert "take their place" in shown


def test_our_marks_are_bits_of_their_own() -> None:
    """No verdict, no proof and no zone can be taken for another; one bit is left for streams."""
    assert not ZONE_MARKS & (MARK | UNPROVEN_MARK | PROVEN_MARK | 0x08000000)


@pytest.mark.parametrize("number", range(MAX_IPSEC_ZONES + 1))
def test_a_mark_says_the_number_whatever_else_it_says(number: int) -> None:
    """Bits of others stand beside ours."""
    assert zone_number(number << 24) == number
    assert zone_number(0xF8FFFFFF | number << 24) == number


def test_a_policys_request_ids_reach_the_plan() -> None:
    """The number that the guard reads is the one that the rules write."""
    text = "zone x { interface e }\nzone hq { ipsec reqid 42 }\nzone far { ipsec reqid 7 }\n"
    policy = load(f"{text}media-proof off\nchain request\n  a drop if ipsec and zone == x\n")
    plan = plan_of(policy)
    assert plan.ipsec_zones == ((42,), (7,))
    assert policy.zones is not None
    for number, name in enumerate(("hq", "far"), 1):
        assert policy.zones.channel("e", number).zone == name


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (lambda: Plan(ipsec_zones=((1,),) * 8), "do not fit the mark"),
        (lambda: Plan(ipsec_zones=((0,),)), "request ids"),
        (lambda: Plan(ipsec_zones=((),)), "request ids"),
        (lambda: Plan(ipsec_zones=((1,),), mark=0x02000000), "used by another"),
    ],
)
def test_zones_that_cannot_be_marked_are_refused(plan: Callable[[], Plan], complaint: str) -> None:
    """These numbers stand in scripts that run as root."""
    with pytest.raises(EdgeError, match=complaint):
        plan()


# --- connections

DIVERTED = replace(
    ZONED,
    stream_transports=StreamTransports.JUDGE,
    diversions=(Diversion("tcp", (5060,), 15060), Diversion("tls", (5061,), 15061)),
)


def test_connections_of_each_zone_come_to_listeners_of_their_own() -> None:
    """IPS-1: whoever comes in clear falls through to the listener that knows no zone."""
    found = [rule for rule in rules(DIVERTED, "streams_in") if "tproxy ip to" in rule]
    where = [
        (rule.partition(" meta nfproto")[0], rule.partition("127.0.0.1:")[2][:5]) for rule in found
    ]
    assert where == [
        ("ipsec in reqid 42", "15070"),
        ("ipsec in reqid 42", "15071"),
        ("ipsec in reqid { 7, 8 }", "15080"),
        ("ipsec in reqid { 7, 8 }", "15081"),
        (found[4].partition(" meta nfproto")[0], "15060"),
        (found[5].partition(" meta nfproto")[0], "15061"),
    ]
    assert not any("ipsec" in rule for rule in found[4:])


def test_what_strays_is_dropped_before_any_socket_has_it() -> None:
    """IPS-3: on the way from the client, and where its port is SIP's, which looks like back."""
    assert rules(DIVERTED, "streams_zone") == [
        "ipsec in reqid 42 socket mark & 0x7000000 != { 0x0, 0x1000000 } "
        "counter name stream_strayed drop",
        "ipsec in reqid 42 return",
        "ipsec in reqid { 7, 8 } socket mark & 0x7000000 != { 0x0, 0x2000000 } "
        "counter name stream_strayed drop",
        "ipsec in reqid { 7, 8 } return",
        "socket mark & 0x7000000 != 0x0 counter name stream_strayed drop",
    ]
    for chain in ("streams_in", "streams_back"):
        found = rules(DIVERTED, chain)
        assert place(found, "jump streams_zone") < place(found, "notrack accept")
    shadow = rules(replace(DIVERTED, shadow=True), "streams_zone")
    assert not any("drop" in rule for rule in shadow)


def test_where_nft_cannot_ask_no_connection_is_of_a_zone() -> None:
    """Rules that ask for it fail closed; and without zones nothing is added at all."""
    without = replace(DIVERTED, ipsec_zones=())
    for plan, by_nft in ((DIVERTED, False), (without, True)):
        assert rules(plan, "streams_zone", zones_by_nft=by_nft) == []
        for chain in ("streams_in", "streams_back"):
            found = rules(plan, chain, zones_by_nft=by_nft)
            assert found == rules(without, chain)


def test_other_zones_have_other_ports() -> None:
    """Who waits to be accepted since before a reload must not be taken for another zone's."""
    other = replace(DIVERTED, ipsec_zones=((7, 8), (42,)))
    beside = other.beside(DIVERTED)
    shared = {one.port for one in beside.listeners} & {one.port for one in DIVERTED.listeners}
    assert shared == {15060, 15061}
    assert DIVERTED.beside(beside) == DIVERTED
    assert replace(beside, shadow=True).beside(beside).listeners == beside.listeners


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"diversions": (Diversion("sctp", (5060,), 15060),)}, "a connection's kind"),
        ({"diversions": (Diversion("tcp", (15070,), 15060),)}, "a listener's port"),
        ({"stream_mark": 0x01000000}, "used by another"),
    ],
)
def test_what_would_take_one_for_another(change: dict[str, object], complaint: str) -> None:
    """Said before anything is tried."""
    with pytest.raises(EdgeError, match=complaint):
        replace(DIVERTED, **change)  # type: ignore[arg-type]

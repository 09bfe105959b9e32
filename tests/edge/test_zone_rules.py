"""The rules that write IPsec zones into marks, as text; and the number back out of a mark."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from subjects import load

from sipguard.edge.from_policy import plan_of
from sipguard.edge.iptables import iptables_script
from sipguard.edge.plan import MARK, PROVEN_MARK, UNPROVEN_MARK, ZONE_MARKS, Plan
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

"""What would be installed, as text: what `sipguard rules POLICY` shows."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.iptables import iptables_removal, iptables_script
from sipguard.edge.plan import Plan, StreamTransports
from sipguard.edge.programs import with_sets_of
from sipguard.edge.rules import CHAINS, COUNTERS, nft_script, render_rules
from sipguard.errors import EdgeError

PLAN = Plan()


def rules(plan: Plan, chain: str, *, queue_by_nft: bool = True) -> list[str]:
    """Return the rules of one chain."""
    start = f"add rule inet {plan.table} {chain} "
    script = nft_script(plan, queue_by_nft=queue_by_nft)
    return [line[len(start) :] for line in script.splitlines() if line.startswith(start)]


def test_media_passes_by_the_set_alone() -> None:
    """PIN-18: never by connection state, so that a closed pinhole closes at once."""
    gate = rules(PLAN, "gate")
    assert gate[-1] == "counter name media_denied drop"
    assert not any("established" in rule for rule in gate)
    key = "ip6 saddr . ip6 daddr . udp dport"
    assert [rule for rule in gate if "@pinholes6" in rule] == [
        f"{key} @alive6 {key} @pinholes6 update @alive6 {{ {key} timeout 60s }} "
        "counter name media accept"
    ]


def test_no_packet_can_add_a_pinhole() -> None:
    """What packets refresh they can also recreate: the set of pinholes is ours alone."""
    script = nft_script(Plan(local=True, local_media=((1, 2),)), queue_by_nft=True)
    assert "update @pinholes" not in script
    assert not any("dynamic" in line for line in script.splitlines() if " pinholes" in line)


def test_conntrack_is_at_work() -> None:
    """Without one ct expression the kernel does not reassemble, and fragments slip by."""
    assert any("ct state" in rule for rule in rules(PLAN, "screen"))


def test_sip_without_our_mark_is_dropped_unless_fail_open() -> None:
    """Flushing the queue rule lets nothing pass unjudged."""
    assert rules(PLAN, "sip")[-1] == "counter name sip_unjudged drop"
    assert rules(replace(PLAN, fail_open=True), "sip")[-1] == "counter name sip_unjudged accept"


def test_both_ports_reach_the_queue() -> None:
    """Responses come from port 5060, requests go to it."""
    plan = replace(PLAN, sip_ports=(5060, 5062), queues=(4, 7))
    assert rules(plan, "queue_forward") == [
        "udp dport { 5060, 5062 } queue num 4-7",
        "udp sport { 5060, 5062 } udp dport != { 5060, 5062 } queue num 4-7",
    ]
    assert "-p udp -m multiport --ports 5060,5062 -j NFQUEUE --queue-balance 4:7" in (
        iptables_script(plan)
    )


@pytest.mark.parametrize("option", ["fail_open", "shadow"])
def test_bypass_only_where_asked(option: str) -> None:
    """A dead reader stops SIP, unless the operator or shadow mode says otherwise."""
    assert "bypass" not in render_rules(PLAN)
    shown = render_rules(Plan(fail_open=option == "fail_open", shadow=option == "shadow"))
    assert "queue num 0 bypass" in shown
    assert "--queue-num 0 --queue-bypass" in shown


@pytest.mark.parametrize("local", [False, True])
def test_shadow_mode_has_no_refusing_rule(local: bool) -> None:
    """Start here: it decides and counts, and drops nothing."""
    plan = Plan(shadow=True, local=local, local_media=((10000, 20000),))
    script = nft_script(plan, queue_by_nft=True)
    assert " drop" not in script
    assert "reject" not in script
    assert "drop" in nft_script(replace(plan, shadow=False), queue_by_nft=True)


def test_streams_are_refused_or_left_alone() -> None:
    """SIP over TCP is reset by default; passing it unjudged is the operator's choice."""
    assert "tcp dport { 5060, 5061 } counter name stream_refused reject with tcp reset" in (
        rules(PLAN, "gate")
    )
    passing = replace(PLAN, stream_transports=StreamTransports.PASS)
    assert "tcp" not in nft_script(passing, queue_by_nft=True)


def test_more_ports_than_one_match_holds() -> None:
    """iptables' multiport takes fifteen; the sixteenth port must not go unjudged."""
    script = iptables_script(replace(PLAN, sip_ports=tuple(range(5060, 5080))))
    listed = re.findall(r"--ports (\S+)", script)
    assert [len(ports.split(",")) for ports in listed] == [15, 5]


def test_old_jumps_are_replaced_and_foreign_rules_are_not() -> None:
    """A second start makes no second jump, and deletes nobody else's rule."""
    present = [
        "-N SIPGUARD",
        "-A FORWARD -m comment --comment sipguard -j SIPGUARD",
        "-A SIPGUARD -p udp -m multiport --ports 5060 -j NFQUEUE --queue-num 0",
    ]
    lines = iptables_script(PLAN, present).splitlines()
    assert [line for line in lines if line.startswith("-D")] == [
        "-D FORWARD -m comment --comment sipguard -j SIPGUARD"
    ]
    assert sum(line.endswith("-j SIPGUARD") for line in lines if line.startswith("-I")) == 1
    removal = iptables_removal(PLAN, present).splitlines()
    assert removal[1:-1] == [
        "-D FORWARD -m comment --comment sipguard -j SIPGUARD",
        "-F SIPGUARD",
        "-X SIPGUARD",
    ]
    assert iptables_removal(PLAN, []) == ""


def test_named_interfaces_scope_both_tools() -> None:
    """What is outside the named interfaces is nobody's business here."""
    plan = replace(PLAN, interfaces=("eth0", "wg-sip"))
    scope = 'iifname != { "eth0", "wg-sip" } oifname != { "eth0", "wg-sip" } return'
    for chain in ("screen", "queue_forward", "gate"):
        assert rules(plan, chain)[0] == scope
    jumps = [line for line in iptables_script(plan).splitlines() if line.startswith("-I FORWARD")]
    assert [line.split()[2:4] for line in jumps] == [
        ["-i", "eth0"],
        ["-o", "eth0"],
        ["-i", "wg-sip"],
        ["-o", "wg-sip"],
    ]


def test_what_is_shown_names_both_ways_of_queueing() -> None:
    """Before installation nobody knows the kernel; after it, only what stands is shown."""
    both = render_rules(PLAN)
    assert "queue num 0" in both
    assert "NFQUEUE" in both
    assert "NFQUEUE" not in render_rules(PLAN, queue_by_nft=True)
    assert "queue num" not in render_rules(PLAN, queue_by_nft=False)


def test_every_chain_and_counter_is_declared() -> None:
    """A chain missing from CHAINS would survive an upgrade; a counter, fail the transaction."""
    plan = Plan(local=True, local_media=((1, 2),), forward_udp=(53,))
    script = nft_script(plan, queue_by_nft=True)
    added = re.findall(r"^add rule inet sipguard (\w+)", script, re.MULTILINE)
    assert set(added) == set(CHAINS)
    assert set(re.findall(r"counter name (\w+)", script)) == set(COUNTERS)


def test_sets_of_an_earlier_run_shape_the_plan() -> None:
    """The kernel cannot resize a set with live media in it, nor forget its idle time."""
    present = {"pinholes4": 1000, "pinholes6": 1000, "alive4_45": 1000, "bans4": 50}
    plan = with_sets_of(PLAN, present)
    assert (plan.max_pinholes, plan.max_bans, plan.other_idle_s) == (1000, 50, (45,))


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (lambda: Plan(table="x; flush ruleset"), "table name"),
        (lambda: Plan(interfaces=('eth0" } drop #',)), "not the name of a network interface"),
        (lambda: Plan(interfaces=("-j",)), "not the name of a network interface"),
        (lambda: Plan(sip_ports=(0,)), "port 0"),
        (lambda: Plan(sip_ports=()), "no SIP port"),
        (lambda: Plan(forward_udp=(65536,)), "port 65536"),
        (lambda: Plan(queues=(3, 1)), "queue numbers"),
        (lambda: Plan(mark=3), "single bit"),
        (lambda: Plan(mark=0), "single bit"),
        (lambda: Plan(media_idle_s=0), "idle time"),
        (lambda: Plan(max_pinholes=0), "room for one"),
        (lambda: Plan(local_media=((20, 10),)), "ends before it begins"),
    ],
)
def test_a_plan_that_cannot_stand_is_refused(plan: Callable[[], Plan], complaint: str) -> None:
    """These words stand in scripts that run as root: they are checked, not quoted."""
    with pytest.raises(EdgeError, match=complaint):
        plan()


@given(st.text(max_size=20))
def test_no_interface_name_writes_a_rule(name: str) -> None:
    """Whatever is accepted as a name is one word."""
    try:
        plan = Plan(interfaces=(name,))
    except EdgeError:
        return
    assert rules(plan, "gate")[0] == f'iifname != {{ "{name}" }} oifname != {{ "{name}" }} return'
    assert not set(name) & set(' \n\t"{};#$\\')

"""What would be installed, as text: what `sipguard rules POLICY` shows."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.from_policy import plan_of
from sipguard.edge.iptables import iptables_removal, iptables_script
from sipguard.edge.media_rules import GATE_CHAINS, GATE_COUNTERS, GATE_SETS
from sipguard.edge.plan import Diversion, Plan, StreamTransports
from sipguard.edge.policy_file import load
from sipguard.edge.programs import with_sets_of
from sipguard.edge.rules import CHAINS, COUNTERS, nft_script, render_rules
from sipguard.errors import EdgeError

PLAN = Plan()
DIVERTED = Plan(
    stream_transports=StreamTransports.JUDGE, diversions=(Diversion("tcp", (5060,), 15060),)
)


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
    plan = replace(DIVERTED, local=True, local_media=((1, 2),), forward_udp=(53,))
    plan = replace(plan, ipsec_zones=((42,),))
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


GATED = replace(PLAN, media_queue=1)


def test_without_a_media_queue_there_is_no_gate() -> None:
    """Nobody who did not ask for it gets another rule, set or counter."""
    shown = render_rules(PLAN)
    for word in (
        "proven",
        "asking",
        "sampled",
        "tproxy",
        "media_flood",
        "media_unproven",
        "0x2000",
    ):
        assert word not in shown


def test_the_screen_is_done_with_proven_media_first() -> None:
    """Most packets are media; each rule in front of theirs would cost it."""
    screen = rules(GATED, "screen")
    key, ends = "ip saddr . ip daddr . udp dport", "ip saddr . ip daddr . @th,0,32"
    rtp, rtcp = (
        f"@th,64,2 2 @th,72,8 {kind} {key} @alive4 {ends} . @th,{at},32 @proven4 "
        f"update @alive4 {{ {key} timeout 60s }} goto proven"
        for kind, at in (("!= 192-223", 128), ("192-223", 96))
    )
    assert screen[:2] == [rtp, rtcp]
    scoped = replace(GATED, interfaces=("eth0",))
    assert rules(scoped, "screen")[1:2] == screen[:1]
    assert rules(GATED, "proven")[-1] == "accept"


def test_no_packet_can_add_a_proof() -> None:
    """What packets refresh they can also recreate: the set of proofs is ours alone."""
    script = nft_script(GATED, queue_by_nft=True)
    assert not re.search(r"(update|add) @proven", script)
    assert not any(
        "dynamic" in line
        for line in script.splitlines()
        if "set inet" in line and " proven" in line
    )


def test_what_is_unproven_reaches_the_media_queue_by_either_way() -> None:
    """Its own number, behind the marks of the screen."""
    plan = replace(GATED, queues=(4, 7), media_queue=9)
    assert rules(plan, "queue_forward")[-1] == "meta mark & 0x20000000 == 0x20000000 queue num 9"
    lines = iptables_script(plan).splitlines()
    assert "-A SIPGUARD -m mark --mark 0x20000000/0x20000000 -j NFQUEUE --queue-num 9" in lines
    (jump,) = [line for line in lines if line.startswith("-I FORWARD")]
    assert "! --mark 0x10000000/0x10000000" in jump
    removal = iptables_removal(plan, [jump.replace("-I ", "-A ", 1)])
    assert "-D FORWARD -m mark ! --mark" in removal


def test_behind_the_queue_media_needs_pinhole_and_verdict() -> None:
    """A packet that the screen saw before its pinhole opened does not pass unasked."""
    gate = rules(GATED, "gate")
    assert gate[0] == "meta l4proto udp meta mark & 0x10000000 == 0x10000000 accept"
    assert "meta mark & 0x60000000 == 0x20000000 counter name media_unproven drop" in gate
    for rule in gate:
        if "@pinholes" in rule:
            assert rule.startswith("meta mark & 0x60000000 == 0x60000000 ")


@pytest.mark.parametrize("option", ["fail_open", "shadow"])
def test_unproven_media_passes_only_where_sip_would(option: str) -> None:
    """The same choice for both, and the queue lets pass what nobody reads."""
    plan = replace(GATED, fail_open=option == "fail_open", shadow=option == "shadow")
    assert "meta mark & 0x60000000 == 0x20000000 counter name media_unproven" in rules(plan, "gate")
    assert rules(plan, "queue_forward")[-1].endswith("queue num 1 bypass")
    assert "--queue-num 1 --queue-bypass" in iptables_script(plan)
    assert not any(
        rule.startswith("meta mark") and "@pinholes" in rule for rule in rules(plan, "gate")
    )
    flood = rules(plan, "asking")[0]
    assert flood.endswith("counter name media_flood " + ("accept" if plan.shadow else "drop"))


def test_shadow_mode_drops_no_media_either() -> None:
    """Start here: it decides and counts, and drops nothing."""
    script = nft_script(replace(GATED, shadow=True), queue_by_nft=True)
    assert " drop" not in script
    assert "reject" not in script


def test_every_chain_and_counter_of_the_gate_is_declared() -> None:
    """A chain that is not purged would survive an upgrade; a counter, fail the transaction."""
    script = nft_script(
        replace(GATED, forward_udp=(53,), diversions=DIVERTED.diversions, ipsec_zones=((42,),)),
        queue_by_nft=True,
    )
    added = set(re.findall(r"^add rule inet sipguard (\w+)", script, re.MULTILINE))
    assert added == {
        name for name in (*CHAINS, *GATE_CHAINS) if not re.search("input|output", name)
    }
    assert all(f"delete chain inet sipguard {name}\n" in script for name in added)
    named = set(re.findall(r"counter name (\w+)", script))
    assert named == {*COUNTERS, *GATE_COUNTERS} - {"invalid"}
    assert all(f"add counter inet sipguard {name}\n" in script for name in named)
    sets = set(re.findall(r"@(\w+)", script)) - {"th"}
    assert all(f"add set inet sipguard {name} " in script for name in sets)


def test_connections_are_looked_up_only_without_another_way() -> None:
    """They cost as much as forwarding; but fragments must be put together in any case."""
    assert not re.search(r"\bct ", nft_script(GATED, queue_by_nft=True))
    assert rules(GATED, "reassembly") == ["meta l4proto udp tproxy to :1"]
    script = nft_script(GATED, queue_by_nft=True, defrag_by_tproxy=False)
    assert "tproxy" not in script
    assert " screen ct state invalid counter name invalid" in script


def test_a_policy_without_a_gate_takes_the_sets_of_one_away() -> None:
    """Proofs that nobody would take back are not left behind."""
    script = nft_script(PLAN, queue_by_nft=True, had_gate=True)
    for name in GATE_SETS:
        assert f"delete set inet sipguard {name}\n" in script
    assert "delete chain inet sipguard proven\n" in script
    assert "delete set" not in nft_script(GATED, queue_by_nft=True, had_gate=True)


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (lambda: replace(GATED, media_queue=65536), "media queue 65536"),
        (lambda: replace(GATED, queues=(0, 3)), "media queue 1 .* that no SIP queue has"),
        (lambda: replace(GATED, sample_group=0), "sample group 0"),
        (lambda: replace(GATED, recheck_s=-1), "recheck time -1 s"),
        (lambda: replace(GATED, mark=0x10000000), "three different bits"),
        (lambda: replace(GATED, unproven_mark=3), "three different bits"),
        (lambda: replace(GATED, local=True), "local telephony"),
    ],
)
def test_a_gate_that_cannot_stand_is_refused(plan: Callable[[], Plan], complaint: str) -> None:
    """With a sentence, before anything is tried."""
    with pytest.raises(EdgeError, match=complaint):
        plan()


def test_a_policy_asks_for_the_gate_and_its_queue_follows_those_of_sip() -> None:
    """Service and `sipguard rules` agree on the number."""
    policy = load("policies/strict.policy", "", 0.0).policy
    assert plan_of(policy, queues=(2, 5)).media_queue == 6
    named = plan_of(policy, media_queue=9, sample_group=8)
    assert (named.media_queue, named.sample_group, named.recheck_s) == (9, 8, 5)
    assert plan_of(replace(policy, proof_within_s=0)).media_queue is None
    assert plan_of(replace(policy, recheck_s=0)).recheck_s == 0


def test_diverted_connections_are_shown_with_their_routes() -> None:
    """An operator reads beforehand what policy routing there will be."""
    shown = render_rules(DIVERTED)
    assert "ip route replace local default dev lo table 50600\n" in shown
    assert "ip rule add pref 91 fwmark 0x8000000/0x8000000 lookup 50600\n" in shown
    assert "ip rule" not in render_rules(PLAN)


def test_connections_come_to_us_before_they_are_tracked() -> None:
    """Both ends of one have the same addresses and ports: tracking would take them for one."""
    script = nft_script(DIVERTED, queue_by_nft=True)
    assert "chain inet sipguard streams { type filter hook prerouting priority raw;" in script
    assert rules(DIVERTED, "streams_in")[-2:] == [
        "meta nfproto ipv4 tcp dport { 5060 } tproxy ip to 127.0.0.1:15060 "
        "meta mark set meta mark | 0x8000000 notrack accept",
        "meta nfproto ipv6 tcp dport { 5060 } tproxy ip6 to [::1]:15060 "
        "meta mark set meta mark | 0x8000000 notrack accept",
    ]


def test_what_nobody_took_is_reset_or_passes_as_the_plan_says() -> None:
    """Fail closed; fail open and shadow count it alone. 5061 and SCTP stay refused."""
    reset = "tcp dport { 5060 } counter name stream_unjudged reject with tcp reset"
    assert reset in rules(DIVERTED, "gate")
    for change in ({"fail_open": True}, {"shadow": True}):
        plan = replace(DIVERTED, **change)  # type: ignore[arg-type]
        assert "tcp dport { 5060 } counter name stream_unjudged" in rules(plan, "gate")
    tls = "tcp dport { 5061 } counter name stream_refused reject with tcp reset"
    assert tls in rules(replace(DIVERTED, fail_open=True), "gate")
    assert any(rule.startswith("sctp dport { 5060, 5061 }") for rule in rules(DIVERTED, "gate"))


@pytest.mark.parametrize(
    ("diversions", "complaint"),
    [
        ((Diversion("tcp", (0,), 15060),), "port 0 is outside"),
        ((Diversion("tcp", (5060,), 1), Diversion("tls", (5060,), 2)), "one kind of connection"),
        ((Diversion("tcp", (5060,), 1), Diversion("tls", (5061,), 1)), "a listener's port"),
        ((Diversion("tcp", (5060,), 5060),), "a listener's port"),
    ],
)
def test_diversions_that_cannot_be(diversions: tuple[Diversion, ...], complaint: str) -> None:
    """Said before anything is tried."""
    with pytest.raises(EdgeError, match=complaint):
        Plan(stream_transports=StreamTransports.JUDGE, diversions=diversions)

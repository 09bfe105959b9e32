"""Zones: named ways in, each way in one zone, every mistake said at load (IPS-1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subjects import load, problems_of, request
from subjects import subject as made

from sipguard.policy import Subject
from sipguard.policy.zones import MAX_IPSEC_ZONES, MAX_WAYS, MAX_ZONES, Zone, ZoneInterface, Zones
from sipguard.wire.channel import CLEAR, Channel

ZONES = """
zone office { interface ga interface gb }
zone hq     { ipsec reqid 42 }
zone tunnel { interface ipsec0 ipsec }
"""
ASKED = "chain request\n  a drop if zone in {office hq tunnel} and ipsec\n"


def zones_of(text: str) -> Zones:
    """Return the zones of a policy that asks for all it has."""
    zones = load(text + "\nchain request\n  a drop if zone matches /./\n").zones
    assert zones is not None
    return zones


def through(channel: Channel) -> Subject:
    """Return a message that came this way."""
    subject = made(request())
    subject.packet = subject.packet.changed(channel=channel)
    return subject


def asked(condition: str, channel: Channel, chain: str = "request") -> bool:
    """Whether a condition is true of a message that came this way."""
    policy = load(f"{ZONES}chain {chain}\n  a drop if {condition}\n")
    return policy.judge(chain, through(channel)) is not None


def test_a_zone_is_what_its_line_says() -> None:
    """Interfaces with or without IPsec, and request ids, in any order, commas or none."""
    text = "zone a { interface x, ipsec reqid 7 interface ipsec ipsec\n  ipsec reqid 8 }"
    interfaces = (ZoneInterface("x"), ZoneInterface("ipsec", ipsec=True))
    assert zones_of(text).zones == (Zone("a", interfaces, (7, 8)),)
    assert zones_of('zone a { interface "eth0" }').zones == (Zone("a", (ZoneInterface("eth0"),)),)


def test_what_a_packet_came_through() -> None:
    """By its interface, or by the number of its IPsec zone; what nobody names is clear."""
    zones = zones_of(ZONES)
    assert zones.reqids == ((42,),)
    assert zones.channel("gb", 0) == Channel(zone="office")
    assert zones.channel("ipsec0", 0) == Channel(zone="tunnel", ipsec=True)
    assert zones.channel("gc", 0) is CLEAR
    assert zones.channel("ga", 0) is zones.channel("ga", 0)


def test_a_request_id_goes_before_the_interface_it_came_in_by() -> None:
    """The kernel hands on what it decrypted by the interface that the ESP came in by."""
    assert zones_of(ZONES).channel("ga", 1) == Channel(zone="hq", ipsec=True)


@given(st.text(max_size=16), st.integers(-8, 1 << 32))
def test_no_number_but_a_zones_own_means_ipsec(interface: str, number: int) -> None:
    """IPS-1: whatever a mark says, only what the policy numbers came through IPsec."""
    channel = _ZONES.channel(interface, number)
    assert channel.ipsec is bool(interface and (number == 1 or interface == "ipsec0"))


_ZONES = Zones((Zone("hq", (), (42,)), Zone("tunnel", (ZoneInterface("ipsec0", ipsec=True),))))


def test_where_nobody_knows_the_interface_nothing_is_known() -> None:
    """A packet of this machine keeps whatever mark a program gave it; a capture has none."""
    assert zones_of(ZONES).channel("", 1) is CLEAR


@pytest.mark.parametrize("chain", ["parse", "request"])
def test_rules_ask_for_zone_and_ipsec(chain: str) -> None:
    """Before any header is read, too: flags stand alone, names compare and stand in sets."""
    hq = Channel(zone="hq", ipsec=True)
    assert asked("zone == hq and ipsec", hq, chain)
    assert asked("zone in {office hq}", hq, chain)
    assert not asked("zone in {office tunnel} or not ipsec", hq, chain)
    assert asked("zone != hq and not ipsec", CLEAR, chain)
    assert asked("zone matches /^off/", Channel(zone="office"), chain)


def test_a_sites_addresses_in_clear_are_refused() -> None:
    """IPS-1: the same source by IPsec passes, in clear it does not."""
    policy = load(
        f"{ZONES}set far {{ 10.20.0.0/16 }}\n"
        "chain request\n  clear drop if src in far and not ipsec\n"
        "  rest accept if zone in {office hq tunnel}\n"
    )

    def rule(channel: Channel) -> str:
        ruling = policy.judge("request", through(channel))
        return ruling.rule.name if ruling else ""

    assert rule(Channel(zone="hq", ipsec=True)) == "rest"
    assert rule(Channel(zone="office")) == "clear"
    assert rule(CLEAR) == "clear"


def test_a_set_may_hold_zones() -> None:
    """Names of zones stand in sets as other words do."""
    text = f"{ZONES}set sites {{ hq tunnel }}\nset mine {{ office }}\n"
    policy = load(f"{text}chain request\n  a drop if zone in sites\n  b drop if zone in mine\n")
    assert policy.warnings == ()
    ruling = policy.judge("request", through(Channel(zone="tunnel", ipsec=True)))
    assert ruling is not None
    assert ruling.rule.name == "a"


def test_a_policy_without_zones_has_none() -> None:
    """Then nobody looks for the way of any packet."""
    assert load("set s { 10.0.0.0/8 }\nchain request\n  a drop if src in s\n").zones is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("zone a { }", "p:1:6: zone a names no interface and no IPsec (write interface NAME"),
        ("zone a { interfce x }", "p:1:10: expected interface or ipsec, found interfce (did you"),
        ("zone a { interface }", "p:1:10: expected the name of an interface after interface"),
        ("zone a { interface eth0/1 }", "p:1:20: eth0/1 is not the name"),
        ('zone a { interface "eth 0" }', "p:1:20: eth 0 is not the name of a network interface"),
        ("zone a { ipsec }", "p:1:10: expected reqid after ipsec (write interface NAME"),
        ("zone a { ipsec reqd 4 }", "p:1:16: expected reqid, found reqd (did you mean reqid?)"),
        ("zone a { ipsec reqid }", "p:1:16: expected a request id after reqid"),
        ("zone a { ipsec reqid 0 }", "p:1:22: 0 is no request id (a number, 1 to 4294967295)"),
        ("zone a { ipsec reqid 4294967296 }", "p:1:22: 4294967296 is no request id"),
        ("zone a { ipsec reqid ٤ }", "p:1:22: ٤ is no request id"),
        ("zone a { { interface x } }", "p:1:12: braces inside braces"),
        (
            "zone a { interface x }\nzone a { interface y }",
            "p:2:6: zone a stands twice (first at p:1",
        ),
        ("zone a { interface x }\nzone b { interface x }", "p:2:20: interface x is in a zone alr"),
        ("zone a { ipsec reqid 4 ipsec reqid 4 }", "p:1:36: request id 4 is in a zone already"),
        ("zone src { interface x }", "p:1:6: no zone can be called src (a field has this name)"),
        ("zone 1a { interface x }", "p:1:6: no zone can be called 1a (a letter, then letters"),
        ("zone a interface x", "p:1:8: expected '{', found"),
        ("zone { interface x }", "p:1:6: expected the zone's name, found '{'"),
        ("zone a { interface x\nchain request\n", "p:1:8: this is never closed (a '}' is missing)"),
        ("zon a { interface x }", "p:1:1: unknown setting zon (did you mean zone?)"),
        ("chain request\n  a drop if zone == hq", "p:2:13: zone is always empty: the policy names"),
        ("chain request\n  a drop if ipsec", "p:2:13: ipsec is never true: no zone comes through"),
        (
            "zone a { interface x }\nchain request\n  a drop if zone == a and not ipsec",
            "p:3:31: ipsec is never true",
        ),
        (
            "zone office { interface x }\nchain request\n  a drop if zone == ofice",
            "p:3:21: zone is never ofice (did you mean office?)",
        ),
        (
            "zone office { interface x }\nchain request\n  a drop if zone in {office hq}",
            "p:3:29: zone is never hq",
        ),
        (
            "zone office { interface x }\nset s { hq office }\nchain request\n a drop if zone in s",
            "zone is never hq",
        ),
        ("sip-ports 5060 4500", "p:1:16: port 4500 carries IKE and ESP (RFC 3948), never SIP"),
        ("sip-ports { 4500 }", "p:1:13: port 4500 carries IKE and ESP (RFC 3948), never SIP"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, complaint: str) -> None:
    """A typo in a zone's name would be a rule that never matches (IPS-2 for port 4500)."""
    assert complaint in "\n".join(str(problem) for problem in problems_of(text))


@pytest.mark.parametrize(
    ("rules", "unused"),
    [
        (ASKED, []),
        ("chain request\n  a drop if zone == hq\n", ["office", "tunnel"]),
        ("chain request\n  a drop if ipsec\n", ["office"]),
        ("chain request\n  a drop if zone matches /x/\n", []),
        ("chain request\n  a drop if in.interface == zone\n", []),
        ("chain request\n  a drop if zone == in.interface\n", []),
        ("", ["office", "hq", "tunnel"]),
    ],
)
def test_zones_that_nothing_asks_for_are_warned_of(rules: str, unused: list[str]) -> None:
    """As sets are; `ipsec` asks for every zone that comes through it."""
    warnings = [warning.message for warning in load(ZONES + rules).warnings]
    assert warnings == [f"zone {name} is never used" for name in unused]


def test_zones_are_bounded() -> None:
    """In number, in ways each, and where the mark has no more numbers."""
    many = "".join(f"zone z{n} {{ interface i{n} }}\n" for n in range(MAX_ZONES + 1))
    ways = f"zone a {{ {' '.join(f'interface i{n}' for n in range(MAX_WAYS + 1))} }}\n"
    sites = "".join(f"zone z{n} {{ ipsec reqid {n + 1} }}\n" for n in range(MAX_IPSEC_ZONES + 1))
    for text, complaint in (
        (many, f"more than {MAX_ZONES} zones"),
        (ways, f"more than {MAX_WAYS} ways in"),
        (sites, f"more than {MAX_IPSEC_ZONES} zones name request ids"),
    ):
        (problem,) = problems_of(text)
        assert complaint in problem.message

"""media.ice_plan: which holes the candidates of both sides need, and which they never get."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phones import octets

from sipguard.media.ice_plan import MAX_ICE_HOLES, IcePlan, agreed_ice, plan_ice
from sipguard.media.pinhole import is_forbidden_address, is_forbidden_port
from sipguard.reason import Reason
from sipguard.verdict import Hole
from sipguard.wire.candidate import Ice, read_ice
from sipguard.wire.sdp import Media, parse_sdp

CREDENTIALS = (b"ice-ufrag:8hhY", b"ice-pwd:asd88fgpdd777uzjYhagZg")
HOST = "2130706431"


def side(
    *candidates: str, at: str = "0.0.0.0", port: int = 9, more: tuple[bytes, ...] = CREDENTIALS
) -> tuple[Media, Ice]:
    """A section with these candidates: ``component priority address port [type]``."""
    lines = list(more)
    for line in candidates:
        component, priority, address, number, *kind = line.split()
        text = f"candidate:1 {component} UDP {priority} {address} {number} typ "
        text += f"{kind[0]} raddr 10.9.9.9 rport 999" if kind else "host"
        lines.append(text.encode())
    family = "IP6" if ":" in at else "IP4"
    head = f"v=0\r\no=- 1 1 IN {family} {at}\r\ns=-\r\nc=IN {family} {at}\r\nt=0 0\r\n"
    body = f"{head}m=audio {port} RTP/SAVP 0\r\n".encode()
    sdp = parse_sdp(body + b"".join(b"a=" + line + b"\r\n" for line in lines))
    ice = read_ice(sdp, sdp.media[0])
    assert ice is not None
    return sdp.media[0], ice


def plan(
    caller: tuple[Media, Ice], callee: tuple[Media, Ice], limit: int = MAX_ICE_HOLES
) -> IcePlan:
    return plan_ice(*caller, *callee, limit)


def holes(planned: IcePlan) -> set[tuple[Hole, int, bool]]:
    return {(one.hole, one.component, one.by_caller) for one in planned.holes}


def hole(source: str, destination: str, port: int) -> Hole:
    return Hole(octets(source), octets(destination), port)


ALICE = side(f"1 {HOST} 10.20.1.2 4000", "2 2130706430 10.20.1.2 4001")
BOB = side(f"1 {HOST} 10.20.2.2 5000", "2 2130706430 10.20.2.2 5001")


def test_one_address_each() -> None:
    """PIN-13: a hole for each direction of each component, and no other."""
    planned = plan(ALICE, BOB)
    assert holes(planned) == {
        (hole("10.20.2.2", "10.20.1.2", 4000), 1, False),
        (hole("10.20.1.2", "10.20.2.2", 5000), 1, True),
        (hole("10.20.2.2", "10.20.1.2", 4001), 2, False),
        (hole("10.20.1.2", "10.20.2.2", 5001), 2, True),
    }
    assert planned.findings == ()


def test_a_multiplexed_pair_needs_no_holes_for_rtcp() -> None:
    """PIN-10: where both sides say rtcp-mux; where one does, the other's ports stay open."""
    mux = (*CREDENTIALS, b"rtcp-mux")
    lines = f"1 {HOST} 10.20.1.2 4000", "2 2130706430 10.20.1.2 4001"
    others = f"1 {HOST} 10.20.2.2 5000", "2 2130706430 10.20.2.2 5001"
    assert {one.component for one in plan(side(*lines, more=mux), BOB).holes} == {1, 2}
    both = plan(side(*lines, more=mux), side(*others, more=mux))
    assert {one.component for one in both.holes} == {1}


def test_families_and_components_do_not_mix() -> None:
    """RFC 8445 section 6.1.2.2."""
    caller = side(f"1 {HOST} 10.20.1.2 4000", "1 100 fd20:1::2 4000", "3 100 10.20.1.2 4003")
    callee = side(f"1 {HOST} 10.20.2.2 5000", "1 100 fd20:2::2 5000", "2 100 10.20.2.2 5001")
    assert holes(plan(caller, callee)) == {
        (hole("10.20.2.2", "10.20.1.2", 4000), 1, False),
        (hole("10.20.1.2", "10.20.2.2", 5000), 1, True),
        (hole("fd20:2::2", "fd20:1::2", 4000), 1, False),
        (hole("fd20:1::2", "fd20:2::2", 5000), 1, True),
    }


@pytest.mark.parametrize("kind", ["srflx", "relay"])
def test_what_lies_behind_a_reflexive_candidate_gets_no_hole(kind: str) -> None:
    """PIN-13: its packets come from its own address, never from raddr."""
    planned = plan(side(f"1 100 198.51.100.7 4000 {kind}"), BOB)
    ends = {end for one in planned.holes for end in (one.hole.source, one.hole.destination)}
    assert ends == {octets("198.51.100.7"), octets("10.20.2.2")}


def test_the_default_destination_is_an_end_too() -> None:
    """The addresses in c=, m= and a=rtcp, after all candidates (RFC 3605)."""
    caller = side(f"1 {HOST} 10.20.1.2 4000", at="10.20.1.3", port=4010)
    planned = plan(caller, BOB)
    assert [one.hole.port for one in planned.holes if not one.by_caller] == [4000, 4010, 4011]
    named = (*CREDENTIALS, b"rtcp:4020")
    planned = plan(side(at="10.20.1.3", port=4010, more=named), BOB)
    assert {one.hole.port for one in planned.holes if not one.by_caller} == {4010, 4020}
    foreign = (*CREDENTIALS, b"rtcp:4020 IN IP4 10.20.9.9")
    planned = plan(side(at="10.20.1.3", port=4010, more=foreign), BOB)
    assert {one.hole.port for one in planned.holes if not one.by_caller} == {4010}


def test_no_default_destination_yet() -> None:
    """RFC 8839 section 4.2.5: 0.0.0.0 port 9 is no place and no mismatch."""
    line = f"1 {HOST} 10.20.1.2 4000"
    for at, port in (("0.0.0.0", 9), ("0.0.0.0", 4100), ("a.example", 4100), ("10.20.1.3", 0)):
        planned = plan(side(line, at=at, port=port), BOB)
        assert {one.hole.port for one in planned.holes if not one.by_caller} == {4000}
        assert planned.findings == ()


@pytest.mark.parametrize(
    "line",
    ["1 100 127.0.0.1 4000", "1 100 fe80::1 4000", "1 100 224.0.0.1 4000", "1 100 0.0.0.0 4000",
     "1 100 ::ffff:10.20.1.2 4000", "1 100 phone.example.com 4000"],
)  # fmt: skip
def test_addresses_that_no_hole_may_lead_to(line: str) -> None:
    """SDP-8: link-local candidates are common, so nothing is said while others remain."""
    planned = plan(side(line, f"1 {HOST} 10.20.1.2 4000", "1 9 fd20:1::2 4000"), BOB)
    assert {one.hole.destination for one in planned.holes if not one.by_caller} == {
        octets("10.20.1.2")
    }
    assert planned.findings == ()


@pytest.mark.parametrize("port", [22, 1023, 5060, 3306])
def test_ports_that_no_hole_may_lead_to(port: int) -> None:
    """SDP-8: said, because no telephone listens for media there."""
    planned = plan(side(f"1 {HOST} 10.20.1.2 {port}", f"1 9 10.20.1.3 {port}"), BOB)
    assert planned.holes == ()
    assert [one.reason for one in planned.findings] == [Reason.HOLE_FORBIDDEN] * 2


def test_nobody_meets() -> None:
    """Two sides of different families have no pair, and that is said."""
    planned = plan(side(f"1 {HOST} fd20:1::2 4000"), BOB)
    assert planned.holes == ()
    assert [one.reason for one in planned.findings] == [Reason.HOLE_FORBIDDEN]


def many(count: int, net: str) -> list[str]:
    return [f"1 {1000 - at} 10.{net}.0.{at + 1} 4000" for at in range(count)]


def test_the_best_pairs_are_kept_where_there_are_too_many() -> None:
    """GEN-3: whole pairs, by RFC 8445 section 6.1.2.3, and the rest is said to be dropped."""
    planned = plan(side(*many(6, "1")), side(*many(6, "2")))
    assert len(planned.holes) == MAX_ICE_HOLES
    assert [one.reason for one in planned.findings] == [Reason.HOLE_LIMIT]
    first = {(one.hole.source, one.hole.destination) for one in planned.holes[:2]}
    best, other = octets("10.1.0.1"), octets("10.2.0.1")
    assert first == {(best, other), (other, best)}
    pairs = {frozenset((one.hole.source, one.hole.destination)) for one in planned.holes}
    assert len(pairs) * 2 == len(planned.holes)
    worst = octets("10.1.0.6")
    assert not any(worst in (one.hole.source, one.hole.destination) for one in planned.holes)


def test_a_smaller_limit() -> None:
    """The call may have holes for other lines already."""
    assert len(plan(ALICE, BOB, 2).holes) == 2
    assert plan(ALICE, BOB, 4).findings == ()
    assert plan(ALICE, BOB, 1).holes == ()


def test_a_host_that_calls_itself() -> None:
    """The same hole is not opened twice."""
    here = side(f"1 {HOST} 10.20.1.2 4000")
    assert len(plan(here, here).holes) == 1


ADDRESSES = st.sampled_from(
    ["10.1.0.1", "10.1.0.2", "198.51.100.7", "127.0.0.1", "fd20::1", "fe80::1", "224.0.0.1", "a.b"]
)
LINES = st.lists(
    st.builds(
        lambda *words: " ".join(str(word) for word in words),
        st.integers(1, 3),
        st.integers(1, 2**31 - 1),
        ADDRESSES,
        st.sampled_from([0, 9, 22, 4000, 4001, 5060, 65_535]),
    ),
    max_size=12,
)


@given(LINES, LINES, st.integers(0, 40), st.booleans())
def test_plans_are_bounded_and_lead_nowhere_forbidden(
    ours: list[str], theirs: list[str], limit: int, swap: bool
) -> None:
    """Whatever both sides list."""
    planned = plan(side(*ours), side(*theirs, at="10.1.0.9", port=4010), limit)
    assert len(planned.holes) <= limit
    assert len({one.hole for one in planned.holes}) == len(planned.holes)
    for one in planned.holes:
        assert not is_forbidden_address(one.hole.destination)
        assert not is_forbidden_address(one.hole.source)
        assert not is_forbidden_port(one.hole.port)
        assert len(one.hole.source) == len(one.hole.destination)
        assert one.component in (1, 2)


# --- whether there is ICE at all


def test_both_sides_bring_credentials() -> None:
    """RFC 8839 section 4.2: then it is used."""
    assert agreed_ice(ALICE[1], BOB[1]) == (True, ())


def test_a_peer_without_ice() -> None:
    """RFC 8839 section 4.3.3: RFC 3264 alone holds."""
    assert agreed_ice(ALICE[1], None) == (False, ())
    assert agreed_ice(None, None) == (False, ())


def test_an_answer_that_reports_changed_addresses() -> None:
    """PIN-17: ICE ends for this line, and why is told."""
    mismatch = side(more=(*CREDENTIALS, b"ice-mismatch"))[1]
    used, findings = agreed_ice(ALICE[1], mismatch)
    assert not used
    assert [one.reason for one in findings] == [Reason.ICE_MISMATCH]


def test_credentials_that_cannot_be_used_are_told() -> None:
    """PIN-13: nothing could be verified with them."""
    short = side(more=(b"ice-ufrag:8hhY", b"ice-pwd:short"))[1]
    used, findings = agreed_ice(ALICE[1], short)
    assert not used
    assert [one.reason for one in findings] == [Reason.BAD_CANDIDATE]

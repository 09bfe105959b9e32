"""Between which addresses may a stream with ICE run? (RFC 8445 section 6, RFC 8839; PIN-13)

Offer and answer name several ends of each side, and which two meet is only found by checks.
So each pair of ends that could meet gets its holes, which let checks through and nothing
else until some have passed (:mod:`sipguard.media.ice`).
"""

from typing import Final, final

from sipguard.media.pinhole import UNSPECIFIED, is_forbidden_address, is_forbidden_port
from sipguard.reason import Finding, Reason
from sipguard.verdict import Hole
from sipguard.wire.candidate import RTCP_COMPONENT, RTP_COMPONENT, Ice
from sipguard.wire.sdp import Media

MAX_ICE_HOLES: Final = 24  # of one m= line: two addresses in IPv4 and one in IPv6 need twenty

_NO_PAIR: Final = Finding(Reason.HOLE_FORBIDDEN, "no two candidates that may meet")
_TOO_MANY: Final = Finding(Reason.HOLE_LIMIT, "more candidate pairs than holes for them")
_PORT: Final = Finding(Reason.HOLE_FORBIDDEN, "a candidate with a port that no media goes to")
_MISMATCH: Final = Finding(Reason.ICE_MISMATCH, "ICE has ended; the addresses in c= and m= hold")


def agreed_ice(offered: Ice | None, answered: Ice | None) -> tuple[bool, tuple[Finding, ...]]:
    """Tell whether one line uses ICE, and what is to be said about its attributes.

    Both sides have to bring credentials; where the answer has none, or says that a gateway
    changed the offer's addresses (``a=ice-mismatch``, PIN-17), RFC 3264 alone holds.
    """
    if offered is None or answered is None:
        return False, ()
    findings = offered.findings + answered.findings
    if answered.is_mismatch:
        return False, (*findings, _MISMATCH)
    return offered.is_usable and answered.is_usable, findings


@final
class IceHole:
    """A hole for one direction of one candidate pair; *component* is 1 for RTP, 2 for RTCP."""

    __slots__ = ("by_caller", "component", "hole")

    def __init__(self, hole: Hole, component: int, by_caller: bool) -> None:
        self.hole: Final = hole
        self.component: Final = component
        self.by_caller: Final = by_caller

    def __repr__(self) -> str:
        return f"IceHole({self.hole!r}, {self.component}, {self.by_caller})"


@final
class IcePlan:
    """The holes of one ``m=`` line, those that the peers will rather use first."""

    __slots__ = ("findings", "holes")

    def __init__(self, holes: tuple[IceHole, ...], findings: tuple[Finding, ...]) -> None:
        self.holes: Final = holes
        self.findings: Final = findings


@final
class _End:
    __slots__ = ("address", "component", "port", "priority")

    def __init__(self, address: bytes, port: int, component: int, priority: int) -> None:
        self.address = address
        self.port = port
        self.component = component
        self.priority = priority


def plan_ice(
    caller: Media,
    caller_ice: Ice,
    callee: Media,
    callee_ice: Ice,
    limit: int = MAX_ICE_HOLES,
) -> IcePlan:
    """Return the holes between the ends that both sides name for one line.

    Two ends pair that are of one component and one family (RFC 8445 section 6.1.2.2). A
    relayed or reflexive candidate counts with its own address, where its packets come from.
    The addresses in ``c=``, ``m=`` and ``a=rtcp`` are ends too, the last to be tried. In a
    bundle, *caller* and *callee* are the tagged sections.
    """
    findings: list[Finding] = []
    mux = caller.rtcp_mux and callee.rtcp_mux
    ours = _ends(caller, caller_ice, mux, findings)
    theirs = _ends(callee, callee_ice, mux, findings)
    pairs = [
        (_pair_priority(end.priority, other.priority), end, other)
        for end in ours
        for other in theirs
        if end.component == other.component and len(end.address) == len(other.address)
    ]
    pairs.sort(key=_by_priority, reverse=True)
    holes: dict[Hole, IceHole] = {}
    for _, end, other in pairs:
        wanted = [
            IceHole(Hole(other.address, end.address, end.port), end.component, False),
            IceHole(Hole(end.address, other.address, other.port), end.component, True),
        ]
        missing = [one for one in wanted if one.hole not in holes]
        if len(holes) + len(missing) > limit:
            # Half a pair is no use, and what follows the peers would use even less.
            findings.append(_TOO_MANY)
            break
        for one in missing:
            holes[one.hole] = one
    if not pairs:
        findings.append(_NO_PAIR)
    return IcePlan(tuple(holes.values()), tuple(findings))


def _by_priority(pair: tuple[int, _End, _End]) -> int:
    return pair[0]


def _pair_priority(one: int, other: int) -> int:
    """Rank a pair by RFC 8445 section 6.1.2.3, but for the bit that depends on the roles."""
    return (min(one, other) << 32) + 2 * max(one, other)


def _ends(media: Media, ice: Ice, mux: bool, findings: list[Finding]) -> list[_End]:
    """Return where one side may be reached: its candidates, and what ``c=`` and ``m=`` say."""
    ends = [
        _End(candidate.address, candidate.port, candidate.component, candidate.priority)
        for candidate in ice.candidates
        if candidate.is_usable
    ]
    ends += _default_ends(media)
    found: list[_End] = []
    taken: set[tuple[bytes, int]] = set()
    for end in ends:
        is_wanted = end.component == RTP_COMPONENT or (end.component == RTCP_COMPONENT and not mux)
        # Link-local and loopback candidates are common, and lead nowhere through a gateway.
        if not is_wanted or is_forbidden_address(end.address):
            continue
        if is_forbidden_port(end.port):
            if _PORT not in findings:
                findings.append(_PORT)
        elif (end.address, end.port) not in taken:
            taken.add((end.address, end.port))
            found.append(end)
    return found


def _default_ends(media: Media) -> list[_End]:
    """Return the default destinations; 0.0.0.0 port 9 says that there is none yet."""
    address, port = media.address, media.port
    if not address or not port or address in UNSPECIFIED:
        return []
    ends = [_End(address, port, RTP_COMPONENT, 0)]
    rtcp, rtcp_address = (port + 1, b"") if media.rtcp is None else media.rtcp
    if rtcp_address in (b"", address):
        # Another host's would be a third party's, unless it is a candidate as well.
        ends.append(_End(address, rtcp, RTCP_COMPONENT, 0))
    return ends

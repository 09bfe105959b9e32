"""Which pinholes an agreed stream needs, and which may not exist.

Media is symmetric here: one hole per direction and port, from the address
one side's SDP names to the address and port the other side's names.
"""

from typing import Final

from sipguard.errors import HostileInput
from sipguard.media.line import PORT_BITS, Line, packed, unpacked
from sipguard.reason import Reason
from sipguard.wire.sdp import Media

LOWEST_PORT: Final = 1024
MAX_PORT_PAIRS: Final = 4  # m= lines with a port count; none are seen outside of lectures
# SIP itself, and services that an RTP stack never picks but an attacker would (SDP-8).
FORBIDDEN_PORTS: Final = frozenset((1433, 1521, 3306, 3389, 5060, 5061, 5432, 6379, 11_211, 27_017))
UNSPECIFIED: Final = frozenset((bytes(4), bytes(16)))


def plan(caller: Media, callee: Media, before: Line, method: str) -> Line:
    """Return the holes for one agreed stream.

    An unspecified address in ``c=`` is the old way to hold: nothing may go to
    that party, but what it sends still comes from the address it had *before*
    (PIN-9).

    Raises:
        HostileInput: ``HOLE_FORBIDDEN`` for an end that no hole may lead to.
    """
    caller_address, callee_address = caller.address, callee.address
    caller_listens = caller_address not in UNSPECIFIED
    callee_listens = callee_address not in UNSPECIFIED
    if caller_listens:
        _refuse_forbidden(caller)
    else:
        caller_address = before.caller
    if callee_listens:
        _refuse_forbidden(callee)
    else:
        callee_address = before.callee
    if not (caller_address and callee_address):
        return Line(b"", b"", 0, 0, method)
    if len(caller_address) != len(callee_address):
        raise HostileInput(Reason.HOLE_FORBIDDEN, "the ends are of different address families")
    mux = caller.rtcp_mux and callee.rtcp_mux
    to_caller = _ports(caller, mux) if caller_listens else 0
    to_callee = _ports(callee, mux) if callee_listens else 0
    if caller_address == callee_address:
        # A host that calls itself: both directions may be one and the same hole.
        to_callee = _without(to_callee, to_caller)
    if not (to_caller or to_callee):
        return Line(b"", b"", 0, 0, method)
    return Line(caller_address, callee_address, to_caller, to_callee, method, mux)


def _refuse_forbidden(media: Media) -> None:
    if not media.address:
        raise HostileInput(Reason.HOLE_FORBIDDEN, "no usable media address")
    if is_forbidden_address(media.address):
        raise HostileInput(Reason.HOLE_FORBIDDEN, "a media address that is not one host's")
    if is_forbidden_port(media.port):
        raise HostileInput(Reason.HOLE_FORBIDDEN, f"media port {media.port}")
    if media.port_count > MAX_PORT_PAIRS:
        raise HostileInput(Reason.HOLE_LIMIT, "too many ports on one media line")


def is_forbidden_port(port: int) -> bool:
    """Report a port that no media may be sent to (SDP-8)."""
    return port < LOWEST_PORT or port > 65_535 or port in FORBIDDEN_PORTS


def is_forbidden_address(address: bytes) -> bool:
    """Report multicast, loopback, link-local, unspecified, broadcast and mapped addresses."""
    if len(address) == 4:
        first = address[0]
        return first in (0, 127) or first >= 224 or address[:2] == b"\xa9\xfe"
    # ::/96 holds the unspecified, the loopback and IPv4-compatible addresses.
    mapped = address[:10] == bytes(10) and address[10:12] in (b"\xff\xff", b"\0\0")
    return address[0] == 0xFF or address[:2] in _LINK_LOCAL or mapped


_LINK_LOCAL: Final = frozenset(bytes((0xFE, second)) for second in range(0x80, 0xC0))


def _ports(media: Media, mux: bool) -> int:
    """Return the RTP ports and, unless multiplexed, the RTCP ports of one end (PIN-10), packed."""
    port = media.port
    if media.port_count > 1:
        last = port + 2 * media.port_count
        counted = range(port, last, 2 if mux else 1)
        return packed([port for port in counted if not is_forbidden_port(port)])
    if mux:
        return port
    rtcp = port + 1
    # An RTCP address of another host would be a hole towards a third party.
    named = media.rtcp
    if named is not None and named[1] in (b"", media.address):
        rtcp = named[0]
    if rtcp == port or is_forbidden_port(rtcp):
        return port
    return rtcp << PORT_BITS | port


def _without(ports: int, others: int) -> int:
    """Return *ports* but those that are among *others*."""
    taken = unpacked(others)
    return packed([port for port in unpacked(ports) if port not in taken])

"""Connections of zones that IPsec tells, in a real kernel: whose listener takes them, what strays.

This kernel may have no ESP. The negative side is the real rules': what comes in clear is of
no zone, whatever it claims. For the positive side a code point in the IP header stands in for
`ipsec in reqid`; everything behind that match is the real thing.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import pytest
from guarded import Gateway
from netns import A4, A6, B4, B6, Lab

from sipguard.edge import stream_rules
from sipguard.edge.plan import Diversion, Plan, StreamTransports
from sipguard.edge.stream.sockets import listening_socket
from sipguard.edge.zone_rules import zone_mark, zone_number

pytestmark = pytest.mark.kernel

PLAN: Final = Plan(
    stream_transports=StreamTransports.JUDGE,
    diversions=(Diversion("tcp", (5060,), 15060),),
    ipsec_zones=((42,), (7, 8)),
)
BOTH: Final = [(A4, B4), (A6, B6)]
HQ: Final = 8 << 2  # the code points that stand in for request ids
BRANCH: Final = 16 << 2
CLEAR: Final = 0
_SO_MARK: Final = 36
STAND_IN: Final = """
add table inet stands
add chain inet stands in { type filter hook prerouting priority raw - 10; }
add rule inet stands in ip dscp 8 meta mark set 0x10
add rule inet stands in ip6 dscp 8 meta mark set 0x10
add rule inet stands in ip dscp 16 meta mark set 0x20
add rule inet stands in ip6 dscp 16 meta mark set 0x20
"""


@pytest.fixture
def stood_in(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """A router where a code point stands in for IPsec."""
    matches = [(1, "meta mark & 0x30 == 0x10"), (2, "meta mark & 0x30 == 0x20")]
    monkeypatch.setattr(stream_rules, "zone_matches", lambda plan: iter(matches))
    gateway.lab.router.shell("nft", "-f", "-", script=STAND_IN)
    gateway.install(PLAN)
    return gateway


@contextmanager
def listeners(lab: Lab, source: str) -> Iterator[dict[int, socket.socket]]:
    """Our listeners in the router, by the number of the zone."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET

    def make() -> dict[int, socket.socket]:
        made = {}
        for one in PLAN.listeners:
            bound = listening_socket(family, one.port, PLAN.mark | zone_mark(one.zone))
            assert bound is not None
            bound.settimeout(0.3)
            made[one.zone] = bound
        return made

    made = lab.router.run(make)
    try:
        yield made
    finally:
        for bound in made.values():
            bound.close()


def by_way(client: socket.socket, way: int) -> None:
    """Have what the client sends from now on come by another way."""
    if client.family == socket.AF_INET6:
        client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, way)
    else:
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, way)


def connecting(lab: Lab, source: str, to: str, way: int, port: int = 0) -> socket.socket:
    """Return a connection of host a."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(2)
        by_way(made, way)
        try:
            made.bind((source, port))
            made.connect((to, 5060))
        except OSError:
            made.close()
            raise
        return made

    return lab.a.run(make)


def taken_by(made: dict[int, socket.socket]) -> tuple[int, socket.socket]:
    """Return the zone whose listener took a connection, and our end of it."""
    for zone, listener in made.items():
        try:
            taken, _ = listener.accept()
        except TimeoutError:
            continue
        taken.settimeout(0.3)
        return zone, taken
    raise AssertionError("nobody took it")


def hears(taken: socket.socket) -> bytes:
    """Return what comes in a while."""
    try:
        return taken.recv(16)
    except TimeoutError:
        return b""


@pytest.mark.parametrize(("source", "destination"), BOTH)
@pytest.mark.parametrize("mark", [0, 0x01000000, 0x02000010])
def test_what_comes_in_clear_is_of_no_zone(
    lab: Lab, gateway: Gateway, source: str, destination: str, mark: int
) -> None:
    """IPS-1, IPS-3: the real rules; a mark that somebody set before says nothing."""
    forge = (
        "add table inet forger\n"
        "add chain inet forger f { type filter hook prerouting priority raw - 10; }\n"
        f"add rule inet forger f tcp dport 5060 meta mark set {mark:#x}\n"
    )
    lab.router.shell("nft", "-f", "-", script=forge)
    gateway.install(PLAN)
    assert "ipsec in reqid 42" in gateway.rules()
    with listeners(lab, source) as made, connecting(lab, source, destination, CLEAR) as client:
        zone, taken = taken_by(made)
        with taken:
            assert zone == 0
            client.sendall(b"hello")
            assert hears(taken) == b"hello"
    assert gateway.packets("stream_strayed") == 0


@pytest.mark.parametrize(("source", "destination"), BOTH)
@pytest.mark.parametrize(("way", "number"), [(HQ, 1), (BRANCH, 2), (CLEAR, 0)])
def test_each_zone_has_its_listener(
    lab: Lab, stood_in: Gateway, source: str, destination: str, way: int, number: int
) -> None:
    """And our end of the connection keeps the zone's number in its mark."""
    with listeners(lab, source) as made, connecting(lab, source, destination, way) as client:
        zone, taken = taken_by(made)
        with taken:
            assert zone == number
            assert zone_number(taken.getsockopt(socket.SOL_SOCKET, _SO_MARK)) == number
            assert taken.getsockname()[:2] == (destination, 5060)
            client.sendall(b"hello")
            assert hears(taken) == b"hello"
            taken.sendall(b"hi")
            assert client.recv(16) == b"hi"


@pytest.mark.parametrize(("source", "destination"), BOTH)
@pytest.mark.parametrize("port", [0, 5060], ids=["any port", "SIP's port"])
@pytest.mark.parametrize("other", [CLEAR, BRANCH])
def test_nobody_speaks_in_a_zones_connection_by_another_way(
    lab: Lab, stood_in: Gateway, source: str, destination: str, port: int, other: int
) -> None:
    """Whoever guesses ports and sequence numbers has no IPsec; the site's own words arrive."""
    with listeners(lab, source) as made, connecting(lab, source, destination, HQ, port) as client:
        _, taken = taken_by(made)
        with taken:
            by_way(client, other)
            client.sendall(b"hello")
            assert hears(taken) == b""
            assert stood_in.packets("stream_strayed") >= 1
            by_way(client, HQ)  # TCP sends it again
            taken.settimeout(3)
            assert hears(taken) == b"hello"


@pytest.mark.parametrize(("source", "destination"), BOTH)
def test_a_connection_that_began_in_clear_stays_of_no_zone(
    lab: Lab, stood_in: Gateway, source: str, destination: str
) -> None:
    """A tunnel that comes up in the middle of it takes nothing away, and proves nothing."""
    with listeners(lab, source) as made, connecting(lab, source, destination, CLEAR) as client:
        zone, taken = taken_by(made)
        with taken:
            by_way(client, HQ)
            client.sendall(b"hello")
            assert (zone, hears(taken)) == (0, b"hello")


@pytest.mark.parametrize(("source", "destination"), BOTH)
def test_a_zones_connection_is_reset_where_nobody_listens(
    lab: Lab, stood_in: Gateway, source: str, destination: str
) -> None:
    """Fail closed for it, too."""
    with pytest.raises(ConnectionRefusedError):
        connecting(lab, source, destination, HQ)
    assert stood_in.packets("stream_unjudged") == 1


def test_in_shadow_nothing_is_dropped_that_strays(
    lab: Lab, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted."""
    matches = [(1, "meta mark & 0x30 == 0x10"), (2, "meta mark & 0x30 == 0x20")]
    monkeypatch.setattr(stream_rules, "zone_matches", lambda plan: iter(matches))
    gateway.lab.router.shell("nft", "-f", "-", script=STAND_IN)
    gateway.install(replace(PLAN, shadow=True))
    with listeners(lab, A4) as made, connecting(lab, A4, B4, HQ) as client:
        _, taken = taken_by(made)
        with taken:
            by_way(client, CLEAR)
            client.sendall(b"hello")
            assert hears(taken) == b"hello"
    assert gateway.packets("stream_strayed") >= 1

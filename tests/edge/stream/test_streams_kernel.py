"""Connections through the kernel's rules to a gate, and on in the client's name."""

import socket
from dataclasses import replace

import pytest
from guarded import Gateway
from netns import A4, A6, B4, B6, Host, Lab, raw

from sipguard.edge.netfilter import Netfilter, Plan
from sipguard.edge.plan import Diversion, StreamTransports

pytestmark = pytest.mark.kernel

PLAN = Plan(
    stream_transports=StreamTransports.JUDGE, diversions=(Diversion("tcp", (5060,), 15060),)
)
IP_TRANSPARENT = 19
BOTH = [(A4, B4), (A6, B6)]


def listening(host: Host, address: str, port: int = 5060) -> socket.socket:
    """Return a socket of *host* that listens."""

    def make() -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = socket.socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(16)
        made.settimeout(2)
        return made

    return host.run(make)


def connecting(host: Host, source: str, destination: str, port: int = 0) -> socket.socket:
    """Return a connection from *host*."""

    def make() -> socket.socket:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        made = socket.socket(family)
        made.settimeout(2)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((source, port))
            made.connect((destination, 5060))
        except OSError:
            made.close()
            raise
        return made

    return host.run(make)


def routes(lab: Lab) -> str:
    """What of ours the router's policy routing holds."""
    shell = lab.router.shell
    return "".join(
        shell("ip", family, *words)
        for family in ("-4", "-6")
        for words in (("rule", "show"), ("route", "show", "table", "all"))
    )


def test_routes_come_and_go_with_the_rules(lab: Lab) -> None:
    """Everything is as it was, in the end."""
    before = routes(lab)
    netfilter = Netfilter(PLAN)
    lab.router.run(netfilter.install)
    during = routes(lab)
    assert during.count("lookup 50600") == 2
    assert during.count("local default dev lo") == 2
    lab.router.run(netfilter.install)
    assert routes(lab) == during
    lab.router.run(netfilter.remove)
    assert routes(lab) == before


def test_routes_go_with_the_judging(lab: Lab, gateway: Gateway) -> None:
    """A policy that judges no connections any more leaves nothing of that."""
    before = routes(lab)
    netfilter = gateway.install(PLAN)
    lab.router.run(lambda: netfilter.reinstall(Plan()))
    assert routes(lab) == before
    assert "tproxy" not in gateway.rules()


def test_routes_that_somebody_flushed_come_back(lab: Lab, gateway: Gateway) -> None:
    """The service installs anew when it sees connections pass by."""
    netfilter = gateway.install(PLAN)
    during = routes(lab)
    lab.router.shell("ip", "-4", "rule", "flush")
    lab.router.shell("ip", "-4", "rule", "add", "pref", "32766", "lookup", "main")
    lab.router.run(netfilter.install)
    assert routes(lab).count("lookup 50600") == during.count("lookup 50600")


@pytest.mark.parametrize(("source", "destination"), BOTH)
def test_without_a_listener_connections_are_reset(
    lab: Lab, gateway: Gateway, source: str, destination: str
) -> None:
    """Fail closed: nothing passes unjudged while nobody listens, and the client knows at once."""
    gateway.install(PLAN)
    with listening(lab.b, destination), pytest.raises(ConnectionRefusedError):
        connecting(lab.a, source, destination)
    assert gateway.packets("stream_unjudged") == 1


@pytest.mark.parametrize("change", [{"fail_open": True}, {"shadow": True}])
@pytest.mark.parametrize(("source", "destination"), BOTH)
def test_without_a_listener_connections_pass_where_the_plan_says_so(
    lab: Lab, gateway: Gateway, source: str, destination: str, change: dict[str, bool]
) -> None:
    """Fail open, and shadow: the kernel forwards them as if we were not there."""
    gateway.install(replace(PLAN, **change))  # type: ignore[arg-type]
    with (
        listening(lab.b, destination) as server,
        connecting(lab.a, source, destination) as client,
        server.accept()[0] as taken,
    ):
        assert taken.getpeername()[0] == source
        client.sendall(b"hello")
        assert taken.recv(16) == b"hello"
    assert gateway.packets("stream_unjudged")


def test_a_banned_source_is_not_listened_to(lab: Lab, gateway: Gateway) -> None:
    """A ban holds for connections, too."""
    netfilter = gateway.install(replace(PLAN, fail_open=True))
    lab.router.run(lambda: netfilter.ban(raw(A4), 60))
    with listening(lab.b, B4), pytest.raises(TimeoutError):
        connecting(lab.a, A4, B4)
    assert gateway.packets("banned")


def test_other_ports_and_tls_are_as_before(lab: Lab, gateway: Gateway) -> None:
    """5061 is refused; what is not SIP's is left alone."""
    gateway.install(PLAN)
    with listening(lab.b, B4, 5061), pytest.raises(ConnectionRefusedError):
        lab.a.run(lambda: socket.create_connection((B4, 5061), timeout=2))
    with listening(lab.b, B4, 8080):
        lab.a.run(lambda: socket.create_connection((B4, 8080), timeout=2)).close()


@pytest.mark.parametrize("name", ["ra", "rb"])
@pytest.mark.parametrize(("source", "destination"), BOTH)
def test_only_the_interfaces_that_are_guarded(
    lab: Lab, gateway: Gateway, source: str, destination: str, name: str
) -> None:
    """What comes in or goes out by one of them, whichever end that is at."""
    gateway.install(replace(PLAN, interfaces=(name,)))
    with listening(lab.b, destination), pytest.raises(ConnectionRefusedError):
        connecting(lab.a, source, destination)
    assert gateway.packets("stream_in")
    gateway.install(replace(PLAN, interfaces=("other",)))
    with listening(lab.b, destination), connecting(lab.a, source, destination):
        pass


@pytest.mark.parametrize("strict", [0, 1])
@pytest.mark.parametrize("by_mark", [0, 1])
def test_sources_are_looked_up_as_ever(
    lab: Lab, gateway: Gateway, strict: int, by_mark: int
) -> None:
    """With rp_filter and src_valid_mark (WireGuard's scripts set it) packets still come to us."""
    for name in ("all", "ra", "rb"):
        lab.router.shell("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter={strict}")
    lab.router.shell("sysctl", "-qw", f"net.ipv4.conf.all.src_valid_mark={by_mark}")
    gateway.install(PLAN)
    with listening(lab.router, "127.0.0.1", 15060) as made:
        lab.router.run(lambda: made.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1))
        with connecting(lab.a, A4, B4) as client, made.accept()[0] as taken:
            assert taken.getsockname() == (B4, 5060)
            assert taken.getpeername() == client.getsockname()

"""SIP over TCP passes through the gateway: message by message, and judged."""

import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sealed import CALLEE_KEY, CALLER_KEY, sealed

from demo import packets
from demo.clients import Sipp
from demo.network import Host, within
from demo.programs import until
from demo.stage import Stage

pytestmark = pytest.mark.kernel

CALLER_PORT, CALLEE_PORT = 30000, 32000
ENDED = {0, -signal.SIGTERM}  # twistd ends by the signal that told it to


def play(stage: Stage, many: int = 10) -> tuple[int, int]:
    """Send SRTP both ways; return how many packets came to the callee and to the caller."""
    caller, callee = stage.network.caller, stage.network.callee
    there, back = stage.callee_side.mark(), stage.caller_side.mark()
    here, far = (caller.ipv4, CALLER_PORT), (callee.ipv4, CALLEE_PORT)
    packets.send(caller.namespace, here, far, sealed(CALLER_KEY, 1, many), gap_s=0.002)
    packets.send(callee.namespace, far, here, sealed(CALLEE_KEY, 2, many), gap_s=0.002)
    time.sleep(0.1)
    return (
        len(stage.callee_side.rtp(caller.ipv4, port=CALLEE_PORT, since=there)),
        len(stage.caller_side.rtp(callee.ipv4, port=CALLER_PORT, since=back)),
    )


def ports(stage: Stage) -> set[int]:
    """The destination ports of the pinholes now."""
    return {hole.port for hole in stage.pinholes()}


@pytest.mark.parametrize("version", [4, 6])
def test_call_over_tcp(stage: Stage, version: int) -> None:
    """A call over TCP opens its pinholes as one over UDP does, and both ends are content."""
    network = stage.network
    called = Sipp(
        "callee", network.callee, stage.work, version=version, media_port=CALLEE_PORT, tcp=True
    )
    with called:
        calling = Sipp(
            "caller",
            network.caller,
            stage.work,
            towards=network.callee.address(version),
            version=version,
            talk_ms=1000,
            media_port=CALLER_PORT,
            tcp=True,
        )
        with calling:
            assert until(lambda: CALLEE_PORT in ports(stage), 3)
            if version == 4:
                assert play(stage) == (10, 10)
            assert calling.wait(8) == 0, calling.complaint()
            assert called.wait(4) == 0, called.complaint()
    assert stage.pinholes_gone()


@pytest.mark.parametrize("transport", ["t1", "tn"])
def test_many_calls_over_tcp(stage: Stage, transport: str) -> None:
    """On one connection, and on one for each call."""
    network = stage.network
    called = Sipp("callee", network.callee, stage.work, calls=20, tcp=True)
    with called:
        calling = Sipp(
            "caller",
            network.caller,
            stage.work,
            towards=network.callee.ipv4,
            calls=20,
            per_second=8,
            talk_ms=500,
            tcp=True,
            sockets=transport,
        )
        with calling:
            assert calling.wait(12) == 0, calling.complaint()
            assert called.wait(4) == 0, called.complaint()
    assert stage.pinholes_gone()


class End:
    """One end of a connection: what it sends, and what comes."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        wire.settimeout(2)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def says(self, octets: bytes, *, size: int = 0) -> None:
        """Send, in segments of *size* octets."""
        for at in range(0, len(octets), size or len(octets)):
            self.wire.sendall(octets[at : at + (size or len(octets))])

    def hears(self, octets: int = 65_536) -> bytes:
        """Return what comes within a moment; empty for the end of it."""
        return self.wire.recv(octets)

    def hears_all(self, octets: bytes) -> bool:
        """Whether exactly this comes."""
        got = b""
        while len(got) < len(octets):
            more = self.wire.recv(65_536)
            if not more:
                break
            got += more
        return got == octets

    def is_left_alone(self) -> bool:
        """Whether nothing comes for a moment."""
        self.wire.settimeout(0.4)
        try:
            return not self.wire.recv(65_536)
        except (TimeoutError, ConnectionResetError):
            return True
        finally:
            self.wire.settimeout(2)

    def is_over(self, seconds: float = 2) -> bool:
        """Whether the connection ends by then."""
        self.wire.settimeout(seconds)
        try:
            return not self.wire.recv(65_536)
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


def listener(host: Host, version: int = 4) -> socket.socket:
    """Return a socket of *host* on the SIP port."""

    def make() -> socket.socket:
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        made = socket.socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host.address(version), 5060))
        made.listen(8)
        made.settimeout(2)
        return made

    return within(host.namespace, make)


def connect(stage: Stage, version: int = 4, port: int = 0) -> socket.socket:
    """Connect the caller to the callee."""
    caller, callee = stage.network.caller, stage.network.callee

    def make() -> socket.socket:
        there = (callee.address(version), 5060)
        return socket.create_connection(there, 2, (caller.address(version), port))

    return within(caller.namespace, make)


@contextmanager
def line(stage: Stage, version: int = 4) -> Iterator[tuple[End, End]]:
    """A connection from the caller to the callee, both ends in the test's hands."""
    with (
        listener(stage.network.callee, version) as server,
        connect(stage, version) as calling,
        server.accept()[0] as called,
    ):
        assert calling.getsockname()[:2] == called.getpeername()[:2]
        yield End(calling), End(called)


def options(stage: Stage, version: int = 4) -> bytes:
    """Return a request that the policy accepts."""
    network = stage.network
    made = packets.request(
        "OPTIONS", network.caller.address(version), network.callee.address(version)
    )
    return made.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")


def clear_invite(stage: Stage) -> bytes:
    """Return one that it refuses, and answers."""
    caller, callee = stage.network.caller.ipv4, stage.network.callee.ipv4
    body = packets.session(caller, keyed=False)
    invite = packets.request("INVITE", caller, callee, body=body)
    return invite.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")


@pytest.mark.parametrize("size", [0, 1])
def test_segments_do_not_matter(stage: Stage, size: int) -> None:
    """Octet by octet, or two messages in one segment: the same goes on."""
    both = options(stage) + options(stage)
    with line(stage) as (client, server):
        client.says(both, size=size)
        assert server.hears_all(both)


def test_a_refusal_beside_an_innocent_request(stage: Stage) -> None:
    """The refused one is answered on its connection, which stays for the other."""
    good = options(stage)
    with line(stage) as (client, server):
        client.says(clear_invite(stage))
        assert client.hears().startswith(b"SIP/2.0 488 ")
        client.says(good)
        assert server.hears_all(good)
        answer = packets.response(good, 200, "OK")
        server.says(answer)
        assert client.hears_all(answer)


def test_the_interfaces_are_known(stage: Stage) -> None:
    """A record says by which one the refused request came in."""
    gateway = stage.gateway
    assert gateway is not None
    with line(stage) as (client, _):
        client.says(clear_invite(stage))
        assert client.hears().startswith(b"SIP/2.0 488 ")
    assert until(
        lambda: any(
            record.get("interface") == stage.network.outside for record in gateway.blocked_records()
        ),
        3,
    )


def test_sip_inside_a_browsers_post(stage: Stage) -> None:
    """Slipstreaming: both sides are closed, and the server sees nothing."""
    with line(stage) as (client, server):
        head = b"POST / HTTP/1.1\r\nHost: 10.20.2.2:5060\r\nContent-Length: 3000\r\n\r\n"
        client.says(head + options(stage))
        assert client.is_over()
        assert server.is_left_alone()


def test_half_closed(stage: Stage) -> None:
    """A client that has said everything still gets its answer."""
    good = options(stage)
    with line(stage) as (client, server):
        client.says(good)
        client.wire.shutdown(socket.SHUT_WR)
        assert server.hears_all(good)
        assert server.hears() == b""
        answer = packets.response(good, 200, "OK")
        server.says(answer)
        server.wire.close()
        assert client.hears_all(answer)
        assert client.hears() == b""


def test_a_server_that_does_not_listen(stage: Stage) -> None:
    """The client hears so in SIP, instead of waiting for an answer until its timers end."""
    with connect(stage) as wire:
        client = End(wire)
        client.says(options(stage))
        assert client.hears().startswith(b"SIP/2.0 503 ")
        assert client.is_over(10)


def test_slow_loris(stage: Stage) -> None:
    """A message that is begun must end in time."""
    with line(stage) as (client, server):
        client.says(options(stage)[:60])
        assert client.is_over(14)
        assert server.is_left_alone()


def test_the_port_of_the_client_may_be_used_again(stage: Stage) -> None:
    """A telephone that always connects from the same port."""
    for _ in range(3):
        with listener(stage.network.callee) as server:
            wire = within(stage.network.caller.namespace, lambda: _from_port(stage, 5070))
            with wire, server.accept()[0] as called:
                good = options(stage)
                End(wire).says(good)
                assert End(called).hears_all(good)


def _from_port(stage: Stage, port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made.settimeout(2)
    made.bind((stage.network.caller.ipv4, port))
    made.connect((stage.network.callee.ipv4, 5060))
    return made


def test_killed_and_started_again(stage: Stage) -> None:
    """No listener: no connection. A new one: calls again."""
    gateway = stage.gateway
    assert gateway is not None
    with line(stage) as (client, server):
        client.says(options(stage))
        assert server.hears()
        gateway.kill()
        assert client.is_over()
        with pytest.raises(ConnectionRefusedError):
            connect(stage)
        gateway.start()
    good = options(stage)
    with line(stage) as (client, server):
        client.says(good)
        assert server.hears_all(good)


def test_told_to_stop_it_lets_requests_finish(stage: Stage) -> None:
    """No new connection, no idle one; the answer that is under way arrives, and then it ends."""
    gateway = stage.gateway
    assert gateway is not None
    said, good = len(gateway.text()), options(stage)
    with (
        listener(stage.network.callee) as listening,
        connect(stage) as silent,
        listening.accept()[0],
        connect(stage) as calling,
        listening.accept()[0] as called,
    ):
        idle, client, server = End(silent), End(calling), End(called)
        client.says(good)
        assert server.hears_all(good)
        gateway.program.signal(signal.SIGTERM)
        assert idle.hears() == b""
        with pytest.raises(ConnectionRefusedError):
            connect(stage)
        answer = packets.response(good, 200, "OK")
        server.says(answer)
        assert client.hears_all(answer)
        assert client.hears() == b""
    assert gateway.program.wait(5.0) in ENDED
    assert "1 connections have something under way and get 10.0 s, 1 idle" in gateway.text()[said:]
    assert "1 of 1 connections finished what was under way, 0 were cut" in gateway.text()[said:]
    gateway.start()


def test_told_twice_it_ends_at_once(stage: Stage) -> None:
    """Whoever restarts it in a hurry need not kill it: its records are written all the same."""
    gateway = stage.gateway
    assert gateway is not None
    said, good = len(gateway.text()), options(stage)
    with line(stage) as (client, server):
        client.says(good)
        assert server.hears_all(good)
        gateway.program.signal(signal.SIGTERM)
        assert gateway.logged("have something under way", since=said)
        assert gateway.program.status is None
        gateway.program.signal(signal.SIGTERM)
        assert client.is_over()
    assert gateway.program.wait(5.0) in ENDED
    assert gateway.logged("0 of 1 connections finished", since=said)
    assert gateway.logged("sipguard stops", since=said)
    assert "Traceback" not in gateway.text()[said:]
    gateway.start()

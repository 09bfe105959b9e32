"""Clients and servers of the stream measurements: ``python -m bench.stream_peers ROLE ...``.

Plain sockets under one ``epoll``, TLS by Python's own ``ssl``: they must cost less than what
is measured. Each client connects, shakes hands, sends a keep-alive ping, and counts as served when
it comes back, which is past both handshakes of a gateway between them.
"""

import contextlib
import ipaddress
import json
import resource
import select
import socket
import ssl
import sys
import time
from typing import Final, Protocol

PING: Final = b"\r\n\r\n"
NAME: Final = "pbx.example.com"  # whom clients ask for
_IP_BIND_ADDRESS_NO_PORT: Final = 24
_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT


class _Peer(Protocol):
    """One connection of ours."""

    def ready(self) -> None:
        """Do what can be done now."""


class _Loop:
    """Whatever is ready, until *over*."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.peers: dict[int, _Peer] = {}
        self.over = False

    def add(self, descriptor: int, peer: _Peer, events: int) -> None:
        self.peers[descriptor] = peer
        self.poll.register(descriptor, events)

    def remove(self, descriptor: int) -> None:
        if self.peers.pop(descriptor, None) is not None:
            self.poll.unregister(descriptor)

    def turn(self, timeout_s: float) -> None:
        for descriptor, _ in self.poll.poll(timeout_s, 512):
            peer = self.peers.get(descriptor)
            if peer is not None:
                peer.ready()


def _sources(first: str, count: int) -> list[str]:
    base = int(ipaddress.ip_address(first))
    return [str(ipaddress.ip_address(base + number)) for number in range(count)]


def _connecting(to: tuple[str, int], source: str) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    made.bind((source, 0))
    with contextlib.suppress(BlockingIOError):
        made.connect(to)
    return made


# --- servers


class _Served:
    """One connection of the server: it gives back what it gets."""

    def __init__(self, loop: _Loop, line: ssl.SSLSocket) -> None:
        self._loop, self._line = loop, line
        self._is_secured = False
        loop.add(line.fileno(), self, _IN)

    def ready(self) -> None:
        try:
            if not self._is_secured:
                self._line.do_handshake()
                self._is_secured = True
            while data := self._line.recv(4096):
                self._line.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            pass
        self._loop.remove(self._line.fileno())
        with contextlib.suppress(OSError, ValueError):
            self._line.unwrap()
        self._line.close()


class _Listener:
    def __init__(self, loop: _Loop, port: int, context: ssl.SSLContext) -> None:
        self._loop, self._context = loop, context
        self._socket = socket.create_server(("", port), backlog=4096)
        self._socket.setblocking(False)
        loop.add(self._socket.fileno(), self, _IN)

    def ready(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                made, _ = self._socket.accept()
                made.setblocking(False)
                line = self._context.wrap_socket(
                    made, server_side=True, do_handshake_on_connect=False
                )
                _Served(self._loop, line)


def serve(port: int, certificate: str, *, resumes: bool = False) -> None:
    """Serve until the end of input; unless it *resumes* sessions, each handshake is a whole one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if not resumes:
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    loop = _Loop()
    _Listener(loop, port, context)
    _InputEnds(loop)
    print("ready", flush=True)
    while not loop.over:
        loop.turn(1.0)


class _InputEnds:
    """Ends the loop with the input."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        loop.add(0, self, _IN)

    def ready(self) -> None:
        self._loop.over = not sys.stdin.readline()


# --- clients


class _Clients:
    """Clients of one server, so many at a time."""

    def __init__(self, to: tuple[str, int], sources: list[str], *, keeps: bool) -> None:
        self.loop = _Loop()
        self.keeps = keeps
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE  # it is not the client that is measured
        self.begun = self.served = self.failed = 0
        self.kept: list[ssl.SSLSocket] = []
        self._to, self._sources = to, sources

    @property
    def under_way(self) -> int:
        """How many have not come back yet."""
        return self.begun - self.served - self.failed

    def begin(self) -> None:
        source = self._sources[self.begun % len(self._sources)]
        self.begun += 1
        _Client(self, _connecting(self._to, source))


class _Client:
    """One client."""

    def __init__(self, clients: _Clients, made: socket.socket) -> None:
        self._clients = clients
        self._plain = made
        self._line: ssl.SSLSocket | None = None
        self._is_secured = False
        clients.loop.add(made.fileno(), self, _OUT)

    def ready(self) -> None:
        try:
            line = self._line or self._wrap()
            if not self._is_secured:
                line.do_handshake()
                self._is_secured = True
                line.send(PING)
            if line.recv(64) == PING:
                self._end(line)
            else:
                self._fail(line)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            self._fail(self._line or self._plain)

    def _wrap(self) -> ssl.SSLSocket:
        descriptor = self._plain.fileno()
        self._clients.loop.remove(descriptor)
        self._line = self._clients.context.wrap_socket(
            self._plain, server_hostname=NAME, do_handshake_on_connect=False
        )
        self._clients.loop.add(descriptor, self, _IN)
        return self._line

    def _end(self, line: ssl.SSLSocket) -> None:
        self._clients.served += 1
        self._clients.loop.remove(line.fileno())
        if self._clients.keeps:
            self._clients.kept.append(line)
            return
        with contextlib.suppress(OSError, ValueError):
            line.unwrap()
        line.close()

    def _fail(self, line: socket.socket) -> None:
        self._clients.failed += 1
        self._clients.loop.remove(line.fileno())
        line.close()


def hold(clients: _Clients, count: int, at_once: int) -> None:
    """Open so many, and keep them until a line of input comes."""
    while clients.served + clients.failed < count:
        while clients.begun < count and clients.under_way < at_once:
            clients.begin()
        clients.loop.turn(1.0)
    print(json.dumps({"served": clients.served, "failed": clients.failed}), flush=True)
    sys.stdin.readline()


def churn(clients: _Clients, seconds: float, at_once: int) -> None:
    """Open and close for so long, so many at a time."""
    start_s = time.monotonic()
    while time.monotonic() - start_s < seconds:
        while clients.under_way < at_once:
            clients.begin()
        clients.loop.turn(0.1)
    elapsed_s, served = time.monotonic() - start_s, clients.served
    told = {"served": served, "failed": clients.failed, "elapsed_s": elapsed_s}
    print(json.dumps(told), flush=True)
    sys.stdin.readline()


def flood(to: tuple[str, int], count: int, sources: list[str]) -> None:
    """Begin so many connects at once after a line of input, and say nothing; tell what became."""
    print("ready", flush=True)
    sys.stdin.readline()
    made = [_connecting(to, sources[number % len(sources)]) for number in range(count)]
    time.sleep(1.5)
    connected = [one for one in made if _is_connected(one)]
    told = {"connected": len(connected), "open": sum(map(_is_open, connected))}
    print(json.dumps(told), flush=True)
    sys.stdin.readline()


def _is_connected(one: socket.socket) -> bool:
    try:
        one.getpeername()
    except OSError:
        return False
    return True


def _is_open(one: socket.socket) -> bool:
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def main(role: str, *words: str) -> None:
    """Play a role; see the functions."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if role == "serve":
        port, certificate, *resumes = words
        serve(int(port), certificate, resumes=bool(resumes))
        return
    host, port, amount, first, count, *rest = words
    to, sources = (host, int(port)), _sources(first, int(count))
    if role == "flood":
        flood(to, int(amount), sources)
    elif role == "hold":
        hold(_Clients(to, sources, keeps=True), int(amount), int(rest[0]))
    else:
        churn(_Clients(to, sources, keeps=False), float(amount), int(rest[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])

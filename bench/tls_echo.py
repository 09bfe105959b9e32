"""What sipguard is measured against over TLS, with the contexts that it makes of the same policy.

``python -m bench.tls_echo serve POLICY PORT``: a bare Twisted server that ends TLS and gives
back what it gets. ``python -m bench.tls_echo relay POLICY PORT SERVER``: the same, but each
connection goes on over TLS to a server, by the same port, whose certificate OpenSSL verifies, and
nothing is looked at. ``python -m bench.tls_echo pairs POLICY NUMBER``: so many connections inside
one process, both ends of each, by OpenSSL alone with its buffers in memory; prints what one takes.
"""

import json
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from OpenSSL import SSL
from twisted.internet import epollreactor
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from bench.stream_peers import NAME, PING
from sipguard.edge.policy_file import Files, read_policy
from sipguard.edge.stream.tls_contexts import Ends, Wanted
from sipguard.edge.stream.tls_credentials import read_credentials
from sipguard.edge.stream.tls_judging import Judged, Judging

_RECORDS: Final = 1 << 16


def _ends(name: str) -> Ends:
    policy = read_policy(name, Files())
    return Ends(read_credentials(policy.tls, time.time()), policy.tls)


class _Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Give it back."""
        if self.transport is not None:
            self.transport.write(data)  # type: ignore[call-arg] # an interface of zope's


@implementer(IOpenSSLServerConnectionCreator)
class _Creator:
    def __init__(self, ends: Ends) -> None:
        self._ends = ends

    def serverConnectionForTLS(self, _line: object) -> SSL.Connection:  # noqa: N802
        """Return our end of a client's connection."""
        return self._ends.accept()[0]


def serve(policy: str, port: int) -> None:
    """Serve until the end."""
    reactor = epollreactor.EPollReactor()
    # zope's interfaces are nothing that types could be checked against.
    factory: IProtocolFactory = Factory.forProtocol(_Echo)  # type: ignore[assignment]
    clock: IReactorTime = reactor  # type: ignore[assignment]
    creator: IOpenSSLServerConnectionCreator = _Creator(_ends(policy))  # type: ignore[assignment]
    reactor.listenTCP(port, TLSMemoryBIOFactory(creator, False, factory, clock), backlog=4096)
    reactor.run()


# --- the relay


class _OnwardLine(TLSMemoryBIOProtocol, Judged):
    """The TLS of a connection to a server, whose certificates are judged."""


class _Half(Protocol):
    """One end of what is relayed."""

    other: "_Half | None" = None
    stands = False

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Give it to the other end."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)  # type: ignore[call-arg]

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """Both ends end."""
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            if other.transport is not None:
                other.transport.loseConnection()  # type: ignore[misc] # zope's


@implementer(IHandshakeListener)
class _Client(_Half):
    """The accepted end, which connects onward once it is secured."""

    connect: Callable[["_Client"], None]
    early = b""  # came together with the end of the handshake, which no pause holds up

    def handshakeCompleted(self) -> None:  # noqa: N802
        """Connect onward; what comes until then waits."""
        if self.transport is not None:
            self.transport.pauseProducing()
        self.connect(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Give it to the other end, or keep it until there is one."""
        if self.other is None or not self.other.stands:
            self.early += data
        else:
            super().dataReceived(data)


@implementer(IHandshakeListener)
class _Server(_Half):
    def handshakeCompleted(self) -> None:  # noqa: N802
        """Let the client speak."""
        self.stands = True
        client = self.other
        if isinstance(client, _Client) and client.transport is not None:
            early, client.early = client.early, b""
            if early:
                client.dataReceived(early)
            client.transport.resumeProducing()


@implementer(IOpenSSLClientConnectionCreator)
class _Onward:
    def __init__(self, ends: Ends, wanted: Wanted) -> None:
        self._ends, self._wanted = ends, wanted

    def clientConnectionForTLS(self, line: _OnwardLine) -> SSL.Connection:  # noqa: N802
        """Return our end of a connection to the server, verified as the policy wants it."""
        connection, line.judging = self._ends.connect(self._wanted)
        return connection


class _OnwardFactory(TLSMemoryBIOFactory):
    protocol = _OnwardLine


def relay(policy: str, port: int, server: str) -> None:
    """Relay until the end."""
    reactor = epollreactor.EPollReactor()
    clock: IReactorTime = reactor  # type: ignore[assignment]
    ends = _ends(policy)
    wanted = Wanted(socket.inet_aton(server), port, NAME.encode())
    onward: IOpenSSLClientConnectionCreator = _Onward(ends, wanted)  # type: ignore[assignment]

    def connect(client: _Client) -> None:
        def made() -> _Server:
            one = _Server()
            one.other, client.other = client, one
            return one

        factory = ClientFactory.forProtocol(made)
        factory.noisy = False
        inner: IProtocolFactory = factory  # type: ignore[assignment]
        reactor.connectTCP(server, port, _OnwardFactory(onward, True, inner, clock))

    _Client.connect = staticmethod(connect)
    accepting: IProtocolFactory = Factory.forProtocol(_Client)  # type: ignore[assignment]
    creator: IOpenSSLServerConnectionCreator = _Creator(ends)  # type: ignore[assignment]
    reactor.listenTCP(port, TLSMemoryBIOFactory(creator, False, accepting, clock), backlog=4096)
    reactor.run()


# --- OpenSSL alone


class _Line(Judged):
    def __init__(self, judging: Judging) -> None:
        self.judging = judging


def _until_done(step: Callable[[], object]) -> bool:
    try:
        step()
    except SSL.WantReadError:
        return False
    return True


def _carry(source: SSL.Connection, target: SSL.Connection) -> None:
    while True:
        try:
            target.bio_write(source.bio_read(_RECORDS))
        except SSL.WantReadError:
            return


def _pair(ends: Ends, wanted: Wanted) -> tuple[SSL.Connection, SSL.Connection]:
    """Return both ends of a connection, after a ping that came back."""
    server, judged = ends.accept()
    client, judging = ends.connect(wanted)
    server.set_app_data(_Line(judged))
    client.set_app_data(_Line(judging))
    is_done = False
    while not is_done:
        is_done = _until_done(client.do_handshake)
        _carry(client, server)
        is_done &= _until_done(server.do_handshake)
        _carry(server, client)
    for one, other in ((client, server), (server, client)):
        one.send(PING)
        _carry(one, other)
        other.recv(len(PING))
    return server, client


def _resident_kb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024


def pairs(policy: str, number: int) -> None:
    """Make so many, and print what one takes."""
    ends = _ends(policy)
    wanted = Wanted(b"\xc0\x00\x02\x01", 5061, NAME.encode())
    kept = [_pair(ends, wanted) for _ in range(100)]  # what is made once is there by then
    before_kb = _resident_kb()
    kept += [_pair(ends, wanted) for _ in range(number)]
    print(json.dumps({"kb": (_resident_kb() - before_kb) / number}))


def main(role: str, policy: str, amount: str, *server: str) -> None:
    """Play a role; see the module."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if role == "serve":
        serve(policy, int(amount))
    elif role == "relay":
        relay(policy, int(amount), *server)
    else:
        pairs(policy, int(amount))


if __name__ == "__main__":
    main(*sys.argv[1:])

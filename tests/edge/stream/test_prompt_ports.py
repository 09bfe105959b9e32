"""Ports of Twisted's as we want them: few connections in one turn, and what is written leaves."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from sipguard.edge.stream.sockets import ACCEPTS, Prompt, _Accepted, _OnwardClient, serve_fairly


class Place:
    """A port on the loopback, whose reactor never turns by itself."""

    def __init__(self) -> None:
        self.made: list[Protocol] = []
        self.reactor = EPollReactor()
        # An interface of zope's is nothing that types could be checked against.
        factory: IProtocolFactory = Factory.forProtocol(self._make)  # type: ignore[assignment]
        self.port = Port(0, factory, interface="127.0.0.1", reactor=self.reactor)
        self.port.startListening()
        serve_fairly(self.port)

    def _make(self) -> Protocol:
        self.made.append(Protocol())
        return self.made[-1]

    def connect(self) -> socket.socket:
        """Connect to it; the kernel accepts."""
        return socket.create_connection(("127.0.0.1", self.port.getHost().port))

    def turn(self) -> None:
        """Accept, once."""
        self.port.doRead()


@pytest.fixture
def place() -> Iterator[Place]:
    """A port with nobody there yet."""
    made = Place()
    yield made
    for one in made.made:
        if one.transport is not None:  # to abort it would wait for a turn of the reactor
            one.transport.connectionLost(Failure(ConnectionDone()))
    made.port.connectionLost(None)
    for one in made.reactor.removeAll():
        one.connectionLost(None)


def test_few_connections_are_accepted_in_one_turn(place: Place) -> None:
    """However many there are, and however often: messages of others come between."""
    clients = [place.connect() for _ in range(3 * ACCEPTS)]
    for turns in (1, 2, 3):
        place.turn()
        assert len(place.made) == turns * ACCEPTS
    for one in clients:
        one.close()


def test_what_is_written_leaves_at_once(place: Place) -> None:
    """Without a turn of the reactor."""
    with closing(place.connect()) as client:
        place.turn()
        transport = place.made[0].transport
        assert transport is not None
        transport.write(b"INVITE")  # type: ignore[call-arg] # an interface of zope's
        client.settimeout(1)
        assert client.recv(100) == b"INVITE"
        assert place.reactor.getWriters() == []


def test_what_the_peer_does_not_take_waits(place: Place) -> None:
    """The kernel says when there is room."""
    with closing(place.connect()) as client:
        place.turn()
        transport = place.made[0].transport
        assert transport is not None
        sent = bytes(range(256)) * (1 << 16)  # more than the kernel keeps
        transport.write(sent)  # type: ignore[call-arg] # an interface of zope's
        assert place.reactor.getWriters() == [transport]
        got = bytearray()
        client.settimeout(1)
        while len(got) < len(sent):
            got += client.recv(1 << 20)
            transport.doWrite()
        assert got == sent
        assert place.reactor.getWriters() == []


def test_a_connection_closes_when_all_has_left(place: Place) -> None:
    """The last of it is not forgotten where nothing waits any more."""
    with closing(place.connect()) as client:
        place.turn()
        transport = place.made[0].transport
        assert transport is not None
        transport.write(b"BYE")  # type: ignore[call-arg] # an interface of zope's
        transport.loseConnection()  # type: ignore[misc] # zope's
        assert place.reactor.getWriters() == [transport]  # the reactor closes what has to go
        assert transport.doWrite() is not None
        client.settimeout(1)
        assert client.recv(100) == b"BYE"


def prompt(place: Place) -> Prompt:
    """Return our end of the connection there is."""
    place.turn()
    transport = place.made[0].transport
    assert isinstance(transport, Prompt)
    return transport


def test_what_is_written_while_corked_leaves_together(place: Place) -> None:
    """One call of the kernel for the end of a handshake and the first message."""
    with closing(place.connect()) as client:
        ours = prompt(place)
        ours.cork()
        ours.write(b"Finished")
        ours.write(b"INVITE")
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)
        ours.uncork()
        client.settimeout(1)
        assert client.recv(100) == b"FinishedINVITE"
        ours.cork()
        ours.uncork()
        assert place.reactor.getWriters() == []
        ours.write(b"BYE")
        assert client.recv(100) == b"BYE"


@pytest.mark.parametrize("last", [b"", b"BYE"])
def test_a_corked_connection_closes_when_all_has_left(place: Place, last: bytes) -> None:
    """Whether there is a last word or not."""
    with closing(place.connect()) as client:
        ours = prompt(place)
        ours.cork()
        ours.write(last)
        ours.loseConnection()  # type: ignore[no-untyped-call]
        ours.uncork()
        assert place.reactor.getWriters() == [ours]
        assert ours.doWrite() is not None  # type: ignore[no-untyped-call]
        client.settimeout(1)
        if last:
            assert client.recv(100) == last


def test_a_corked_connection_that_is_lost_sends_nothing(place: Place) -> None:
    """To nobody."""
    with closing(place.connect()):
        ours = prompt(place)
        ours.cork()
        ours.write(b"INVITE")
        ours.connectionLost(Failure(ConnectionDone()))
        ours.uncork()
        assert place.reactor.getWriters() == []


def test_half_closing_is_known_of_our_transports() -> None:
    """What they declare is all that anybody asks for."""
    assert IHalfCloseableDescriptor.implementedBy(_Accepted)
    assert IHalfCloseableDescriptor.implementedBy(_OnwardClient)

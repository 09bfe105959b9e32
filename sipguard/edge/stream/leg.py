"""One end of a conversation: a Twisted protocol that has each message judged before it goes on."""

import typing
from collections import deque
from typing import TYPE_CHECKING, Final, final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.stream.codec import Codec
from sipguard.errors import HostileInput
from sipguard.verdict import Reply
from sipguard.wire.packet import Packet, network_of

if TYPE_CHECKING:
    from sipguard.edge.stream.conversation import Conversation

_FULL: Final = {True: "the client is full", False: "the server is full"}
MESSAGES: Final = 16  # judged in one turn of the reactor; others wait, and so does the sender
# A few leave one by one: some clients take what they read at once for one message.
_CROWD: Final = 4
_CORKED_OCTETS: Final = 1 << 16  # of what is accepted in one turn, sent together at the latest


class Wire(typing.Protocol):
    """What a leg asks of its transport, be it TCP or TLS over it."""

    def getPeer(self) -> IPv4Address | IPv6Address:
        """Return the other end."""

    def getHost(self) -> IPv4Address | IPv6Address:
        """Return the end that we have, by its name in the packets."""

    def write(self, octets: bytes, /) -> None:
        """Send."""

    def loseConnection(self) -> None:
        """Close when everything has left."""

    def abortConnection(self) -> None:
        """Reset."""

    def pauseProducing(self) -> None:
        """Do not read."""

    def resumeProducing(self) -> None:
        """Read again."""

    def registerProducer(self, producer: "Throttle", streaming: bool, /) -> None:
        """Tell *producer* when too much waits to be sent."""


@implementer(IHalfCloseableProtocol, IHandshakeListener)
@final
class Leg(Protocol):
    """The client's or the server's end.

    ``packet`` holds the ends of what comes from here, an empty message, and the channel;
    ``wire`` is the transport, once there is one.
    """

    def __init__(self, conversation: "Conversation", codec: Codec, *, is_client: bool) -> None:
        self.conversation = conversation
        self.codec = codec
        self.is_client = is_client
        self.packet = Packet(b"", b"", 0, 0, b"")
        self.wire: Wire | None = None
        self.stands = False  # connected, and secured where that is asked
        self.ended = False  # nothing more comes from here
        self.gone = False
        self.is_forgotten = False  # the conversation is over, and nothing here may ask for it
        self.lost: HostileInput | None = None
        self.began_s: float | None = None  # when what is held of a message began to come
        self.full_s: float | None = None  # since when the peer does not take what we have for it
        self._pending: deque[bytes] = deque()
        self._passage: Passage | None = None  # while a message waits for its verdict
        self._pauses: set[str] = set()
        self._draining = False
        self._corked: bytearray | None = None  # what leaves together

    # --- Twisted's side

    def connectionMade(self) -> None:
        """Wait for the handshake, where there is one."""
        self.wire = self.transport
        self.conversation.connected(self)
        if not self.gone and not self.conversation.binding.is_secured:
            self._stand()

    def handshakeCompleted(self) -> None:
        """The connection is secured."""
        if self.conversation.binding.is_secured:
            self._stand()

    def _stand(self) -> None:
        if self.conversation.is_over:
            return
        try:
            channel = self.conversation.channel_of(self)
        except HostileInput as error:
            self.conversation.unproven(error)
            return
        self.stands = True
        self.packet = self.packet.changed(channel=channel)
        self.write(self.codec.begin())
        self.conversation.stands(self)

    def know(self, origin: str) -> None:
        """Keep what the handshake says of who is there."""
        if origin:
            channel = self.packet.channel._replace(ws_origin=origin)
            self.packet = self.packet.changed(channel=channel)

    def dataReceived(self, data: bytes) -> None:
        """Have judged what is whole by now."""
        if self.conversation.passes(self, data) or self.lost is not None:
            return
        try:
            messages = self.codec.receive(data)
        except HostileInput as error:
            messages, self.lost = self.codec.taken(), error
            self.conversation.took(self, messages)
        self._pending.extend(messages)
        if not self.codec.held or self.lost is not None:
            self.began_s = None
        elif messages or self.began_s is None:
            self.began_s = self.conversation.now_s()
        self.ended = self.ended or self.conversation.binding.has_ended(self.codec)
        self.conversation.progress(self)

    def readConnectionLost(self) -> None:
        """The peer has said everything; it may still listen."""
        self.ended = True
        self.drain()

    def writeConnectionLost(self) -> None:
        """The peer has everything."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is over."""
        self.gone = True
        self.conversation.over(self, reason)

    def forget(self) -> None:
        """Let go of the conversation, which holds us: the collector seldom comes."""
        self.is_forgotten = True
        self._pending.clear()
        self._passage = self.wire = self.transport = None
        del self.conversation

    # --- messages

    def drain(self) -> None:
        """Judge what waits, a few messages at a time."""
        if self._draining or self.is_forgotten or not self.conversation.is_through:
            return
        self._draining = True
        ends = self.conversation.legs() if len(self._pending) >= _CROWD else ()
        for end in ends:
            end.cork()
        try:
            for _ in range(MESSAGES):
                if not self._pending or self._waits:
                    break
                self._judge(self._pending.popleft())
        finally:
            self._draining = False
            for end in ends:
                end.uncork()
        if self._waits:
            return
        if self._pending:
            self.pause("turn")
            self.conversation.later(self._next_turn)
        elif self.lost is not None:
            self.conversation.unframed(self, self.lost)
        elif self.ended:
            self.conversation.half_over(self)

    @property
    def _waits(self) -> bool:
        if self.is_forgotten or self._passage is not None:
            return True
        return self.conversation.is_over or not self._pauses.isdisjoint(_FULL.values())

    @property
    def is_busy(self) -> bool:
        """Whether a message is under way."""
        return self._passage is not None or bool(self._pending) or bool(self.codec.held)

    def _next_turn(self) -> None:
        self.resume("turn")
        self.drain()

    def _judge(self, message: bytes) -> None:
        self._passage = passage = Passage(self, self.packet.changed(payload=message))
        self.conversation.judge(passage)
        if passage.settled:
            self._passage = None
        elif not self.gone:
            self.pause("hold")

    def settled(self, passage: "Passage") -> None:
        """A message that waited has its verdict."""
        if self._passage is passage and not self._draining and not self.is_forgotten:
            self._passage = None
            self.resume("hold")
            self.conversation.later(self.drain)

    def send(self, message: bytes) -> None:
        """Send a message to the peer."""
        if not self.gone:
            self.write(self.codec.encode(message))

    def write(self, octets: bytes) -> None:
        """Send octets to the peer."""
        if not octets or self.gone or self.wire is None:
            return
        if self._corked is None:
            self.wire.write(octets)
            return
        self._corked += octets
        if len(self._corked) > _CORKED_OCTETS:
            self.uncork()
            self.cork()

    def cork(self) -> None:
        """Keep what is sent from now on: one call of the kernel for several messages."""
        if self._corked is None:
            self._corked = bytearray()

    def uncork(self) -> None:
        """Send what was kept."""
        corked, self._corked = self._corked, None
        if corked:
            self.write(bytes(corked))

    # --- pressure

    def pause(self, why: str) -> None:
        """Do not read for a while."""
        if not self._pauses and not self.gone and self.wire is not None:
            self.wire.pauseProducing()
        self._pauses.add(why)

    def resume(self, why: str) -> None:
        """Read on, unless there is another cause not to."""
        if why not in self._pauses:
            return
        self._pauses.discard(why)
        if not self._pauses and not self.gone and self.wire is not None:
            self.wire.resumeProducing()

    @property
    def is_paused(self) -> bool:
        """Whether we do not read, for whatever cause."""
        return bool(self._pauses)

    # --- ending

    def finish(self) -> None:
        """Close when everything has left."""
        if not self.gone and self.wire is not None:
            self.uncork()
            self.write(self.codec.end())
            self.wire.loseConnection()

    def finish_writing(self) -> None:
        """Say that nothing more comes; the peer may still speak."""
        if self.gone or self.wire is None:
            return
        half = getattr(self.wire, "loseWriteConnection", None)
        if half is None or self.ended:
            self.finish()
        else:
            self.uncork()
            self.write(self.codec.end())
            half()

    def abort(self) -> None:
        """Reset the connection."""
        if not self.gone and self.wire is not None:
            self.wire.abortConnection()


@final
class Passage:
    """One message under judgement: what becomes of it."""

    __slots__ = ("_leg", "packet", "settled")

    def __init__(self, leg: Leg, packet: Packet) -> None:
        self._leg = leg
        self.packet = packet
        self.settled = False

    @property
    def source(self) -> bytes:
        """Who counts as its sender."""
        return network_of(self.packet.src)

    def accept(self) -> None:
        """Send it on."""
        if self._settle():
            if not self._leg.is_forgotten:
                self._leg.conversation.carry(self._leg, self.packet.payload)
            self._leg.settled(self)

    def drop(self) -> None:
        """Send it nowhere; the connection stays."""
        if self._settle():
            self._leg.settled(self)

    def reply(self, reply: Reply) -> None:
        """Answer by the way it came."""
        self._leg.send(reply.octets)

    def retain(self) -> bool:
        """Keep it for a later verdict; False where its connection is over."""
        return not self._leg.is_forgotten

    def fail(self) -> None:
        """Our own code failed on it."""
        if self._settle() and not self._leg.is_forgotten:
            self._leg.conversation.failed(self._leg)
            self._leg.settled(self)

    def _settle(self) -> bool:
        was, self.settled = self.settled, True
        return not was


@implementer(IPushProducer)
@final
class Throttle:
    """Pauses both ends while one of them does not take what we have for it.

    Both, since our own answers go back where the requests come from.
    """

    def __init__(self, slow: Leg) -> None:
        self._slow = slow

    def pauseProducing(self) -> None:
        """Too much waits for the slow end."""
        conversation = self._slow.conversation
        self._slow.full_s = conversation.now_s()
        for leg in conversation.legs():
            leg.pause(_FULL[self._slow.is_client])

    def resumeProducing(self) -> None:
        """It has taken it."""
        conversation = self._slow.conversation
        self._slow.full_s = None
        for leg in conversation.legs():
            leg.resume(_FULL[self._slow.is_client])
            leg.drain()

    def stopProducing(self) -> None:
        """It is gone; its leg hears of that."""

"""A client's connection and the one made in its name: two legs, and one guard between them."""

from collections.abc import Callable, Sequence
from typing import Final, final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipguard.edge.stream.binding import FIRST_S, Binding
from sipguard.edge.stream.in_flight import InFlight
from sipguard.edge.stream.keeper import Attempt, Keeper
from sipguard.edge.stream.leg import Leg, Passage, Throttle
from sipguard.edge.stream.registered import kept_s
from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason
from sipguard.wire.channel import Channel
from sipguard.wire.packet import Packet, parse_address

WHOLE_S: Final = 10.0  # a message that was begun
STALLED_S: Final = 60.0  # for an end that does not take what there is for it
HALF_S: Final = 120.0  # for the rest, once one end has nothing more to say
LAST_WORD_S: Final = 5.0  # for an end to take what we say before we close


class _Onward(ClientFactory):
    noisy = False

    def __init__(self, conversation: "Conversation") -> None:
        self._conversation = conversation

    def buildProtocol(self, addr: IAddress | None) -> Leg:
        return self._conversation.make_server()


@final
class Conversation:
    """One connection of a client, through us.

    Args:
        keeper: Who keeps it.
        binding: What kind it is.
        number: Tells it from all others.
        zone: The number of the IPsec zone that its client came by, 0 for none.
    """

    log = Logger()

    def __init__(self, keeper: Keeper, binding: Binding, number: int, zone: int = 0) -> None:
        self.binding = binding
        self.number = number
        self.zone = zone
        self.client = Leg(self, binding.client_codec(), is_client=True)
        self.server: Leg | None = None
        self.is_over = False
        self.is_through = False  # both ends stand
        self._keeper = keeper
        self._attempt: Attempt | None = None
        self._passes_raw = False
        self._tail = {True: b"", False: b""}  # in shadow mode: of a message that was begun
        self._is_serving = False  # a message was accepted
        self._idle_s = 0.0  # of its own, longer than the usual
        self._since_s = self._active_s = keeper.now_s()
        self._half_s: float | None = None
        self._deserted_s: float | None = None  # since when there is no server
        self._reset_at_s = 0.0  # once it is over
        self._is_finished = False
        self._in_flight = InFlight()

    # --- setting up

    def connected(self, leg: Leg) -> None:
        """One end is connected; learn the addresses of the client's."""
        if leg.is_client and leg.wire is not None:
            peer, host = leg.wire.getPeer(), leg.wire.getHost()
            packet = _packet_between(peer, host, self.binding.kind)
            leg.packet = packet.changed(interface=self._keeper.interface_of(leg))
            if not self._keeper.is_diverted(self.binding.kind, packet.dport):
                self._end(None)
            return
        there = self.client.packet
        kind = self.binding.kind
        leg.packet = Packet(there.dst, there.src, there.dport, there.sport, b"", kind)
        leg.packet = leg.packet.changed(interface=self._keeper.interface_of(leg))

    def make_server(self) -> Leg:
        """Return the protocol of the onward connection."""
        codec = self.binding.server_codec(self.client.codec)
        self.server = Leg(self, codec, is_client=False)
        return self.server

    def stands(self, leg: Leg) -> None:
        """One end is ready; the server's opens the way."""
        if leg.is_client:
            self._go_on()
            return
        self._attempt = None
        self.is_through = True
        for end in self.legs():
            if end.wire is not None:
                end.wire.registerProducer(Throttle(end), True)
        self.client.resume("onward")
        self.client.drain()

    def _go_on(self) -> None:
        """Connect onward as soon as the client's codec lets us."""
        client = self.client
        if self.server is not None or self._attempt is not None or self.is_over:
            return
        if client.stands and self.binding.is_open(client.codec):
            finding = self.binding.objection(client.codec)
            if finding is not None and not self._keeper.is_shadow:
                self._end(finding)
                return
            if finding is not None:
                self._keeper.refused(client.packet, finding)
            client.know(self.binding.origin(client.codec))
            client.pause("onward")
            factory = self.binding.onward(_Onward(self), client)
            self._attempt = self._keeper.connect(self, factory, client.packet)

    def unreachable(self, reason: Failure) -> None:
        """The onward connection cannot be made."""
        self._attempt = None
        if not self.is_over:
            self._desert(Finding(Reason.UNREACHABLE, reason.getErrorMessage()[:128]))

    def _desert(self, finding: Finding) -> None:
        """There is no server: for some seconds, 503 answers what the policy accepts.

        A reset would leave the telephone to its timers: it has sent its request already.
        """
        if not self.client.stands or self.binding.says_why:
            self._end(finding)
            return
        self._keeper.refused(self.client.packet, finding)
        self._deserted_s, self.is_through = self._keeper.now_s(), True
        self.client.resume("onward")
        self.client.drain()

    def channel_of(self, leg: Leg) -> Channel:
        """Return what one end's messages come through."""
        number = self.zone if leg.is_client else 0  # of the server's packets nobody knows it
        zone = self._keeper.channel_by(leg.packet.interface, number)
        channel = self.binding.channel(leg)
        return channel._replace(zone=zone.zone, ipsec=zone.ipsec, connection=self.number)

    # --- messages

    def progress(self, leg: Leg) -> None:
        """Something came from one end."""
        self._active_s = self._keeper.now_s()
        for end in self.legs():
            end.write(end.codec.answers())
        if not self.is_through:
            self._go_on()
            if leg.lost is not None and self._attempt is None:
                self.unframed(leg, leg.lost)
            return
        leg.drain()

    def judge(self, passage: Passage) -> None:
        """Have a message judged."""
        self._keeper.judge(passage)

    def carry(self, leg: Leg, message: bytes) -> None:
        """Send an accepted message to the other end."""
        if self._deserted_s is not None:
            leg.send(self._keeper.unavailable(leg.packet.changed(payload=message)))
            return
        self._is_serving = True
        self._in_flight.went(message, self._keeper.now_s())
        other = self.server if leg.is_client else self.client
        if not leg.is_client:
            self._idle_s = kept_s(message) or self._idle_s
        if other is not None:
            other.send(message)

    def failed(self, leg: Leg) -> None:
        """Our own code failed on a message: nothing may follow it unjudged."""
        if self._keeper.is_shadow:
            return
        self._end(Finding(Reason.INTERNAL_ERROR), leg)

    # --- ending

    def passes(self, leg: Leg, octets: bytes) -> bool:
        """In shadow mode, let pass what cannot be framed any more; keep what may become so."""
        if self._passes_raw:
            other = self.server if leg.is_client else self.client
            if other is not None:
                other.write(octets)
            return True
        if self._keeper.is_shadow and self.binding.passes_raw:
            held = leg.codec.held
            tail = self._tail[leg.is_client]
            self._tail[leg.is_client] = (tail[len(tail) - held :] if held else b"") + octets
        return False

    def took(self, leg: Leg, messages: Sequence[bytes]) -> None:
        """Know what was whole of the octets that ended the framing."""
        tail = self._tail[leg.is_client]
        self._tail[leg.is_client] = tail[sum(map(len, messages)) :]

    def unframed(self, leg: Leg, error: HostileInput) -> None:
        """What comes from one end is no messages any more."""
        if self.is_over or self._passes_raw:
            return
        tail = self._tail[leg.is_client]
        if not (self._keeper.is_shadow and self.binding.passes_raw and self.is_through):
            # No reset: it would take away what the other end was told just before.
            self._end(error.finding(), leg, kindly=True)
            return
        self._keeper.refused(leg.packet.changed(payload=tail[:256]), error.finding())
        self._passes_raw = True
        other = self.server if leg.is_client else self.client
        if other is not None:
            other.write(tail)

    def half_over(self, leg: Leg) -> None:
        """One end has said everything, and all of it has been judged."""
        other = self.server if leg.is_client else self.client
        if other is None or not self.is_through or self._deserted_s is not None:
            self._end(None)
            return
        self._half_s = self._half_s or self._keeper.now_s()
        if other.ended:
            self.close()
        elif leg.gone:
            other.finish()
        else:
            other.finish_writing()

    def over(self, leg: Leg, reason: Failure) -> None:
        """One end is gone."""
        if not self.is_over:
            if not leg.stands:
                finding = self.binding.explain(leg, reason)
                if leg.is_client:
                    self._end(finding)
                else:
                    words = reason.getErrorMessage()[:128]
                    self._desert(finding or Finding(Reason.UNREACHABLE, words))
            elif reason.check(ConnectionDone):
                leg.ended = True
                leg.drain()
                if not self.is_through:
                    self._end(None)
            else:
                self._end(self.binding.explain(leg, reason))
        if all(end.gone for end in self.legs()) and not self._is_finished:
            self._is_finished = True
            self._keeper.finished(self)
            for end in self.legs():
                end.forget()

    @property
    def is_busy(self) -> bool:
        """Whether something is under way: a message, or a request without an answer."""
        if self.is_over:
            return False
        return any(end.is_busy for end in self.legs()) or self._in_flight.waits(self.now_s())

    def unproven(self, error: HostileInput) -> None:
        """One end is not whom it must be."""
        self._end(error.finding())

    def close(self) -> None:
        """Close both ends, when what was accepted has left."""
        self._over(STALLED_S)
        self._give_up()
        for end in self.legs():
            end.finish()

    def abort(self) -> None:
        """Reset both ends."""
        self._end(None)

    def _end(
        self, finding: Finding | None, leg: Leg | None = None, *, kindly: bool = False
    ) -> None:
        """Reset both ends, or close them *kindly*; *finding* says why, unless an end did it."""
        self._over(LAST_WORD_S)
        if finding is not None:
            self._keeper.refused((leg or self.client).packet, finding)
        self._give_up()
        for end in self.legs():
            if finding is not None and end.stands and (kindly or self.binding.says_why):
                end.finish()
            else:
                end.abort()

    def _over(self, within_s: float) -> None:
        """Go no further; what is not closed *within_s* is reset."""
        self.is_over = True
        self._reset_at_s = self._keeper.now_s() + within_s

    def _give_up(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None

    # --- time

    def check(self, now_s: float) -> None:
        """End it, if it is too slow or too silent."""
        if self.is_over:
            if now_s > self._reset_at_s:
                self._end(None)
        elif self._deserted_s is not None and now_s - self._deserted_s > LAST_WORD_S:
            self.close()
        else:
            self._check_ends(now_s)

    def _check_ends(self, now_s: float) -> None:
        for leg in self.legs():
            if leg.began_s is not None and leg.is_paused:
                leg.began_s = now_s  # it is we who do not read
            elif leg.began_s is not None and now_s - leg.began_s > WHOLE_S:
                self._end(Finding(Reason.SLOW_STREAM, "a message was begun and not finished"), leg)
                return
            elif leg.full_s is not None and now_s - leg.full_s > STALLED_S:
                self._end(Finding(Reason.SLOW_STREAM, "an end does not take its messages"), leg)
                return
        if not self._is_serving and now_s - self._since_s > self._first_s():
            self._end(Finding(Reason.SLOW_STREAM, "no message was accepted"))
        elif self._half_s is not None and now_s - self._half_s > HALF_S:
            self._end(None)
        elif now_s - self._active_s > max(self._keeper.idle_s, self._idle_s):
            self._keeper.refused(self.client.packet, Finding(Reason.IDLE_STREAM))
            self.close()

    def _first_s(self) -> float:
        """Return within what time a message must be accepted: less where others want the room."""
        return self.binding.first_s(self.client.codec) if self._keeper.has_room else FIRST_S

    # --- for both ends

    def legs(self) -> tuple[Leg, ...]:
        """Return the ends there are."""
        return (self.client,) if self.server is None else (self.client, self.server)

    def now_s(self) -> float:
        """Return the time, in monotonic seconds."""
        return self._keeper.now_s()

    def later(self, work: Callable[[], None]) -> None:
        """Call *work* in the reactor's next turn, if this is not over by then."""
        self._keeper.later(lambda: None if self.is_over else work())


def _packet_between(
    source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address, kind: str
) -> Packet:
    return Packet(
        parse_address(source.host.encode()) or b"",
        parse_address(destination.host.encode()) or b"",
        source.port,
        destination.port,
        b"",
        kind,
    )

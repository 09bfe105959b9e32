"""The connections that come to us: listeners where the plan has diversions, and what goes on there.

Opened before the rules are installed, so that no connection is diverted to nobody; closed
after the last conversation has had its time to end.
"""

import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipguard.edge.clock import Clock
from sipguard.edge.control import StatusReport
from sipguard.edge.plan import Listener, Plan
from sipguard.edge.stream import arrival
from sipguard.edge.stream.admission import Accepting, Admission
from sipguard.edge.stream.binding import Binding
from sipguard.edge.stream.conversation import Conversation
from sipguard.edge.stream.farewell import Farewell
from sipguard.edge.stream.keeper import Attempt
from sipguard.edge.stream.leg import Leg, Passage
from sipguard.edge.stream.limits import Limits
from sipguard.edge.stream.listeners import Listeners, PortReactor
from sipguard.edge.stream.sockets import OnwardAttempt
from sipguard.edge.stream.tcp import TCP
from sipguard.edge.stream.tls import Tls
from sipguard.edge.stream.tls_binding import over_tls
from sipguard.edge.stream.tls_credentials import read_credentials
from sipguard.edge.stream.ways import Ways, interface_towards
from sipguard.edge.stream.websocket import websocket
from sipguard.edge.turnstile import Turnstile
from sipguard.policy.rules import Policy
from sipguard.rates import Rates
from sipguard.reason import Finding, Reason
from sipguard.wire.channel import CLEAR, Channel
from sipguard.wire.packet import Packet, network_of, parse_address

CHECK_S: Final = 1.0
OTHER_FILES: Final = 128  # than connections: queues, the store, certificates on their way
RECORDS_PER_MIN: Final = 10  # of one source, about connections

BINDINGS: Final[Mapping[str, Binding]] = {"tcp": TCP}


Dial = Callable[[Packet, ClientFactory, Callable[[Failure], None]], Attempt]


class StreamReactor(Clock, PortReactor, Protocol):
    """What it asks of Twisted's reactor."""

    def seconds(self) -> float:
        """Return monotonic time."""


@final
class StreamGate:
    """Opens and closes with the plan; closed, it does nothing.

    Args:
        turnstile: Judges messages, as it judges packets.
        reactor: Twisted's.
        bindings: By the kind that a diversion names.
        dial: Connects onward; a test has its own network.
        way_to: Returns the interface by which an address is reached.
    """

    log = Logger()

    def __init__(
        self,
        turnstile: Turnstile,
        reactor: StreamReactor,
        bindings: Mapping[str, Binding] = BINDINGS,
        dial: Dial | None = None,
        way_to: Callable[[bytes], str] = interface_towards,
    ) -> None:
        self._turnstile = turnstile
        self._reactor = reactor
        self._tls = Tls(reactor)
        self._origins: tuple[str, ...] = ()
        web = websocket(lambda: self._origins)
        self._bindings = {
            "tls": over_tls("tls", TCP, self._tls),
            "ws": web,
            "wss": over_tls("wss", web, self._tls, for_browsers=True),
            **bindings,
        }
        self._dial = dial or self._dial_out
        self._ways = Ways(way_to)
        self._listeners = Listeners(reactor, self._accepting)
        self._plan = Plan()
        self._limits = Limits(1, 1)
        self._idle_s = self._grace_s = 0.0
        self._records = Rates(capacity=10_000)
        self._conversations: dict[Conversation, None] = {}
        self._number = 0
        self._loop = LoopingCall(self._check)
        self._loop.clock = reactor  # type: ignore[assignment] # an interface of zope's
        self._is_serving = False
        self._farewell: Farewell | None = None
        self.is_shadow = False
        self.messages = self.failures = 0
        self.ends: Counter[str] = Counter()

    # --- opening and closing

    def use(self, policy: Policy) -> None:
        """Keep to the limits of *policy* from now on."""
        self._limits.most = min(policy.max_connections, _room_for_connections())
        if self._plan.diversions and self._limits.most < policy.max_connections:
            self.log.warn(
                "max-connections {wanted}: the limit on open files leaves room for {most}",
                wanted=policy.max_connections,
                most=self._limits.most,
            )
        self._limits.most_of_source = policy.max_connections_per_source
        self._idle_s = float(policy.stream_idle_s)
        self._grace_s = float(policy.stream_grace_s)
        self._origins = policy.ws_origins
        self._tls.use(read_credentials(policy.tls, time.time()), policy.tls)

    def open(self, plan: Plan) -> None:
        """Bind what *plan* asks for, before its rules are installed.

        Raises:
            EdgeError: a port is in use, or there is no permission.
        """
        self._listeners.bind(plan)
        self._adopt(plan)

    def replace(self, plan: Plan, install: Callable[[], None]) -> None:
        """Go over to another plan, whose rules *install* puts in force.

        Raises:
            EdgeError: nothing has changed.
        """
        before, zones = {one.port for one in self._plan.listeners}, self._plan.ipsec_zones
        self._listeners.bind(plan)
        try:
            install()
        except Exception:
            self._listeners.keep(before)
            raise
        self._adopt(plan)
        self._listeners.keep({one.port for one in plan.listeners})
        for conversation in tuple(self._conversations):
            ended = bool(conversation.zone) and plan.ipsec_zones != zones  # numbers mean others now
            here = conversation.client.packet.dport
            if ended or not self.is_diverted(conversation.binding.kind, here):
                conversation.abort()  # its packets do not come here any more

    def _adopt(self, plan: Plan) -> None:
        self._plan = plan
        self.is_shadow = plan.shadow
        if self._is_serving:
            self._listeners.accept()

    def start(self) -> None:
        """Begin to accept connections."""
        self._is_serving = True
        self._listeners.accept()
        if not self._loop.running:
            self._loop.start(CHECK_S, now=False)

    def stop(self) -> Deferred[None]:
        """Accept nothing more; fire when what is under way has ended, or its time is up."""
        self._is_serving = False
        self._listeners.keep(frozenset())
        self._farewell = Farewell(
            self._reactor, self.now_s, self._conversations.keys(), self._grace_s
        )
        return self._farewell.begin()

    def hurry(self) -> None:
        """Wait no longer, where :meth:`stop` has been called."""
        if self._farewell is not None:
            self._farewell.cut()

    def close(self) -> None:
        """Give everything back at once; safe to call twice."""
        self._listeners.keep(frozenset())
        if self._loop.running:
            self._loop.stop()
        for conversation in tuple(self._conversations):
            conversation.abort()

    # --- connections

    def _accepting(self, listener: Listener) -> Admission:
        binding = self._bindings[listener.kind]
        inner = Accepting(self._begin, binding, listener.zone)
        return Admission(self._admit, binding.listening(inner))

    def _admit(self, addr: IAddress | None) -> bool:
        if not isinstance(addr, IPv4Address | IPv6Address):
            return False
        address = parse_address(addr.host.encode()) or b""
        why = self._limits.refuse(address, self.now_s())
        if why:
            packet = Packet(address, b"", addr.port, 0, b"", "tcp")
            self.refused(packet, Finding(Reason.STREAM_LIMIT, why))
        return not why

    def _begin(self, binding: Binding, zone: int = 0) -> Conversation:
        self._number += 1
        conversation = Conversation(self, binding, self._number, zone)
        self._conversations[conversation] = None
        return conversation

    def finished(self, conversation: Conversation) -> None:
        """Forget a conversation whose ends are gone."""
        self._conversations.pop(conversation, None)
        self._limits.release(conversation.client.packet.src)

    def _check(self) -> None:
        """Look at the time; a fault of ours with one of them does not end that for all."""
        now_s = self.now_s()
        self._ways.forget()
        works = [self._tls.renew]
        works += [partial(one.check, now_s) for one in self._conversations]
        for work in works:
            try:
                work()
            except Exception:  # noqa: BLE001 - the others go on
                self.failures += 1
                self.log.failure("our own code failed on a connection", Failure())

    # --- what conversations ask

    @property
    def idle_s(self) -> float:
        """How long a connection may be silent."""
        return self._idle_s

    @property
    def has_room(self) -> bool:
        """Whether most of the connections that may be are not taken."""
        return self._limits.open * 2 <= self._limits.most

    def now_s(self) -> float:
        """Return the time, in monotonic seconds."""
        return self._reactor.seconds()

    def later(self, work: Callable[[], None]) -> None:
        """Call *work* in the reactor's next turn."""
        self._reactor.callLater(0, work)

    def interface_of(self, leg: Leg) -> str:
        """Return the interface that an end's packets come in by, empty where nobody knows.

        A client's packets say it; the server's are taken to come by where those to it go.
        """
        if not leg.is_client:
            return self._ways.towards(leg.packet.src)
        transport: object = leg.wire
        while transport is not None:
            get_handle = getattr(transport, "getHandle", None)
            handle = get_handle() if get_handle is not None else None
            if isinstance(handle, socket.socket):
                return arrival.interface_of(handle)
            transport = getattr(transport, "transport", None)  # below TLS
        return ""

    def channel_by(self, interface: str, zone: int) -> Channel:
        """Return the zone of what comes in by an interface, or by the IPsec of a zone's number."""
        guard = self._turnstile.guard
        zones = guard.zones if guard is not None else None
        return zones.channel(interface, zone) if zones is not None else CLEAR

    def is_diverted(self, kind: str, port: int) -> bool:
        """Whether connections to *port* come to us: others reached our listener by themselves."""
        return any(one.kind == kind and port in one.ports for one in self._plan.diversions)

    def connect(
        self, conversation: Conversation, factory: ClientFactory, client: Packet
    ) -> Attempt:
        """Connect to where *client* wanted to, in its name."""
        return self._dial(client, factory, conversation.unreachable)

    def _dial_out(
        self, ends: Packet, factory: ClientFactory, failed: Callable[[Failure], None]
    ) -> Attempt:
        attempt = OnwardAttempt(ends, factory, failed, self._plan.mark, self._reactor)
        attempt.start()
        return attempt

    def judge(self, passage: Passage) -> None:
        """Have a message judged, now or later."""
        self.messages += 1
        self._turnstile.take_message(passage)

    def unavailable(self, packet: Packet) -> bytes:
        """Return our answer to a request that there is no server for; maybe nothing."""
        return self._turnstile.unavailable(packet)

    def refused(self, packet: Packet, finding: Finding) -> None:
        """Count why a connection ends, and record it: of one source, now and then."""
        self.ends[finding.reason._value_] += 1
        if finding.reason is Reason.IDLE_STREAM:
            return
        now_s, source = self.now_s(), network_of(packet.src)
        self._records.at(now_s)
        self._records.add(finding.reason._value_, source, b"*", 60)
        if self._records.count(finding.reason._value_, source, b"*", 60) <= RECORDS_PER_MIN:
            self._turnstile.refuse_stream(packet, finding)

    # --- status

    def count(self, report: StatusReport) -> None:
        """Add what came and what became of it; nothing where nothing ever did."""
        if not self._number and not self._limits.refused:
            return
        report.counters["streams_open"] = len(self._conversations)
        report.counters["streams_accepted"] = self._number
        report.counters["stream_messages"] = self.messages
        for cause, count in self._limits.refused.items():
            report.counters[f"streams_too_many_{cause.replace(' ', '_')}"] = count
        if self._tls.done:
            report.counters["tls_handshakes"] = self._tls.done
        for reason, count in self.ends.items():
            if reason != Reason.STREAM_LIMIT._value_:
                report.counters[f"streams_{reason.replace('-', '_')}"] = count


def _room_for_connections() -> int:
    """Return how many connections the limit on open files allows, which is raised if it can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # forbidden: then what there is must do
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else max((soft - OTHER_FILES) // 2, 1)

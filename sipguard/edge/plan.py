"""The settings that decide which rules stand in the kernel, checked before anything is tried."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from sipguard.errors import EdgeError

MARK: Final = 0x40000000  # high enough to stay clear of the marks of routing set-ups
UNPROVEN_MARK: Final = 0x20000000
PROVEN_MARK: Final = 0x10000000
STREAM_MARK: Final = 0x08000000
ZONE_MARKS: Final = 0x07000000  # a number
LISTENER_PORT: Final = 15060  # on the loopback, reached by diverted connections alone
TLS_LISTENER_PORT: Final = 15061
WS_LISTENER_PORT: Final = 15062
WSS_LISTENER_PORT: Final = 15063
STREAM_PORTS: Final = (5060, 5061)
ZONE_LISTENER_PORTS: Final = (15070, 15170)  # the first of those for zones; see `Plan.beside`
KINDS: Final = ("tcp", "tls", "ws", "wss")
SAMPLE_GROUP: Final = 5060
RECHECK_S: Final = 5
MAX_PINHOLES: Final = 400_000
MAX_BANS: Final = 65_536


class StreamTransports(Enum):
    """What becomes of SIP over TCP, TLS and WebSocket on the SIP ports."""

    JUDGE = "judge"  # diverted to listeners of our own; refused while nobody listens
    REFUSE = "refuse"  # reset: the sender tries UDP, or gives up at once instead of waiting
    PASS = "pass"  # noqa: S105 - left alone, unjudged


class Diversion(NamedTuple):
    """TCP ports whose connections end at a listener of ours.

    ``kind`` is one of ``KINDS``; ``listener`` is the port on the loopback.
    """

    kind: str
    ports: tuple[int, ...]
    listener: int


class Listener(NamedTuple):
    """A listener of ours: ``zone`` is the number of those who come to it, 0 for no IPsec zone."""

    kind: str
    ports: tuple[int, ...]
    port: int
    zone: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings that decide which rules stand in the kernel.

    Ports in host order. *interfaces* empty means every forwarded packet.
    *queues* is the first and the last queue number; packets of one address
    pair always reach the same one. *local* guards also the telephony server
    on the gateway itself; *local_media* are its RTP port ranges, the only
    local ports where UDP needs a pinhole (a default of *all* would cut off
    the machine's own DNS and NTP).

    *media_queue* is the queue where media streams prove themselves, None for
    media that passes by its pinhole alone. Of what is proven, one packet of a
    stream every *recheck_s* seconds (0: none) is copied to the log group *sample_group*.

    *direct* has a program of ours forward what is proven, where the machine can.

    *ipsec_zones* are the request ids of each zone that IPsec tells, zone 1 first: the mark
    of their SIP says the zone's number.
    *diversions* say which connections come to us; their packets carry *stream_mark*, by
    which they are routed to this machine. Those of a zone that IPsec tells come to listeners
    of their own, whose ports begin with *zone_listeners*.
    """

    sip_ports: tuple[int, ...] = (5060,)
    stream_transports: StreamTransports = StreamTransports.REFUSE
    stream_ports: tuple[int, ...] = STREAM_PORTS
    forward_udp: tuple[int, ...] = ()
    media_idle_s: int = 60
    other_idle_s: tuple[int, ...] = ()
    shadow: bool = False
    fail_open: bool = False
    queues: tuple[int, int] = (0, 0)
    interfaces: tuple[str, ...] = ()
    mark: int = MARK
    table: str = "sipguard"
    max_pinholes: int = MAX_PINHOLES
    max_bans: int = MAX_BANS
    local: bool = False
    local_media: tuple[tuple[int, int], ...] = ()
    media_queue: int | None = None
    sample_group: int = SAMPLE_GROUP
    recheck_s: int = RECHECK_S
    direct: bool = False
    unproven_mark: int = UNPROVEN_MARK
    proven_mark: int = PROVEN_MARK
    ipsec_zones: tuple[tuple[int, ...], ...] = ()
    diversions: tuple[Diversion, ...] = ()
    stream_mark: int = STREAM_MARK
    zone_listeners: int = ZONE_LISTENER_PORTS[0]

    def __post_init__(self) -> None:
        """Refuse what could not be installed, or what would be read as something else."""
        for problem in _problems(self):
            raise EdgeError(problem)

    @property
    def lets_pass(self) -> bool:
        """Report whether SIP passes unjudged when nobody listens on the queue."""
        return self.fail_open or self.shadow

    @property
    def has_gate(self) -> bool:
        """Report whether media must prove itself."""
        return self.media_queue is not None

    @property
    def chain(self) -> str:
        """Return the name of our iptables chain."""
        return self.table.upper()

    @property
    def diverted_ports(self) -> tuple[int, ...]:
        """Return the TCP ports whose connections come to us, in order."""
        return tuple(sorted({port for diversion in self.diversions for port in diversion.ports}))

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Return where connections come in: by kind, and for each zone that IPsec tells."""
        found = [Listener(*diversion) for diversion in self.diversions]
        for zone in range(1, len(self.ipsec_zones) + 1):
            first = self.zone_listeners + 10 * (zone - 1)
            found += [
                Listener(one.kind, one.ports, first + KINDS.index(one.kind), zone)
                for one in self.diversions
            ]
        return tuple(found)

    def beside(self, running: "Plan") -> "Plan":
        """Return this plan for one that takes the place of *running*.

        A zone's number may mean another zone now, and connections of the old one may still wait
        to be accepted: listeners for other zones have other ports.
        """
        first = running.zone_listeners
        if self.ipsec_zones != running.ipsec_zones:
            first = next(port for port in ZONE_LISTENER_PORTS if port != first)
        return dataclasses.replace(self, zone_listeners=first)

    @property
    def idle_classes(self) -> tuple[tuple[str, int], ...]:
        """Return set-name suffix and seconds of each idle time, the usual one first."""
        # One equal to media_idle_s stays: an earlier run may have left live media in its set.
        others = sorted(set(self.other_idle_s))
        return (("", self.media_idle_s), *((f"_{idle}", idle) for idle in others))


def _problems(plan: Plan) -> Iterator[str]:
    yield from _wrong_names(plan)
    yield from _wrong_ports(plan)
    yield from _wrong_gate(plan)
    yield from _wrong_zones(plan)
    yield from _wrong_diversions(plan)
    if not 0 <= plan.queues[0] <= plan.queues[1] <= 65535:
        yield f"queue numbers {plan.queues[0]} to {plan.queues[1]} are not a range in 0 to 65535"
    if not _is_bit(plan.mark):
        yield f"mark {plan.mark:#x} is not a single bit of 32"
    for idle_s in (plan.media_idle_s, *plan.other_idle_s):
        if not 1 <= idle_s <= 86400:
            yield f"media idle time {idle_s} s is outside 1 s to one day"
    if min(plan.max_pinholes, plan.max_bans) < 1:
        yield "the sets for pinholes and bans must have room for one element at least"


def _is_bit(mark: int) -> bool:
    return 0 < mark < 1 << 32 and not mark & mark - 1


def _wrong_names(plan: Plan) -> Iterator[str]:
    # These words stand in scripts that run as root.
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,19}", plan.table):
        yield f"table name {plan.table!r}: use a lower-case word of at most 20 letters"
    for name in plan.interfaces:
        if not re.fullmatch(r"[A-Za-z0-9_.@:][A-Za-z0-9_.@:-]{0,14}", name):
            yield f"interface {name!r} is not the name of a network interface"


def _wrong_ports(plan: Plan) -> Iterator[str]:
    spans = (port for span in plan.local_media for port in span)
    for port in (*plan.sip_ports, *plan.stream_ports, *plan.forward_udp, *spans):
        if not 1 <= port <= 65535:
            yield f"port {port} is outside 1 to 65535"
    if not plan.sip_ports:
        yield "no SIP port is named: nothing would be judged"
    if any(low > high for low, high in plan.local_media):
        yield "a local media range ends before it begins"


def _wrong_zones(plan: Plan) -> Iterator[str]:
    if len(plan.ipsec_zones) > ZONE_MARKS // (ZONE_MARKS & -ZONE_MARKS):
        yield f"{len(plan.ipsec_zones)} zones by request id: their numbers do not fit the mark"
    for reqids in plan.ipsec_zones:
        if not reqids or not all(1 <= reqid <= 0xFFFFFFFF for reqid in reqids):
            yield f"request ids {reqids} of a zone are not numbers from 1 to 4294967295"
    marks = plan.mark | plan.unproven_mark | plan.proven_mark | plan.stream_mark
    if plan.ipsec_zones and ZONE_MARKS & marks:
        yield f"the marks of IPsec zones ({ZONE_MARKS:#x}) are used by another of our marks"


def _wrong_gate(plan: Plan) -> Iterator[str]:
    number = plan.media_queue
    if number is None:
        if plan.direct:
            yield "only proven media can go directly, and without a media queue nothing is proven"
        return
    if not 0 <= number <= 65535 or plan.queues[0] <= number <= plan.queues[1]:
        yield f"media queue {number} is not a number in 0 to 65535 that no SIP queue has"
    if not 1 <= plan.sample_group <= 65535:
        yield f"sample group {plan.sample_group} is outside 1 to 65535"
    if not 0 <= plan.recheck_s <= 3600:
        yield f"recheck time {plan.recheck_s} s is outside 0 (never) to one hour"
    marks = (plan.mark, plan.unproven_mark, plan.proven_mark)
    if len(set(marks)) < len(marks) or not all(map(_is_bit, marks)):
        yield "the marks of judged, unproven and proven packets must be three different bits"
    if plan.direct and plan.ipsec_zones:
        yield "media that goes directly passes no IPsec; it cannot stand beside IPsec zones"
    if plan.local:
        yield "the media gate asks forwarded media alone; it cannot stand beside local telephony"


def _wrong_diversions(plan: Plan) -> Iterator[str]:
    if not plan.diversions:
        return
    ports = [port for diversion in plan.diversions for port in diversion.ports]
    if any(diversion.kind not in KINDS for diversion in plan.diversions):
        yield f"a connection's kind is one of {', '.join(KINDS)}"
        return
    listeners = [listener.port for listener in plan.listeners]
    for port in (*ports, *listeners):
        if not 1 <= port <= 65535:
            yield f"port {port} is outside 1 to 65535"
    if len(set(ports)) < len(ports):
        yield "a TCP port can be of one kind of connection alone"
    if len(set(listeners)) < len(listeners) or set(listeners) & set(ports):
        yield "each kind of connection needs a listener's port of its own"
    marks = (plan.mark, plan.unproven_mark, plan.proven_mark, plan.stream_mark)
    if len(set(marks)) < len(marks) or not _is_bit(plan.stream_mark):
        yield "the mark of diverted connections must be a bit that no other mark has"

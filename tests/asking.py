"""A gateway whose media must prove itself, to a guard that says what a test wants."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from guarded import PLAN, Gateway
from netns import A4, A6

from sipguard.edge.media_turnstile import MediaTurnstile
from sipguard.edge.netfilter import Plan, Tally
from sipguard.edge.nfqueue import Queue
from sipguard.edge.samples import Samples
from sipguard.guard.media_gate import MediaDecision
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, DoubtPinhole, Effect, Hole, ProvePinhole
from sipguard.wire.packet import Packet, parse_packet

if TYPE_CHECKING:
    from typing_extensions import Buffer

GATED = replace(PLAN, media_idle_s=30, media_queue=1, sample_group=77)
SSRC = 0xCAFE_BABE
RTP = b"\x80\0" + bytes(6) + SSRC.to_bytes(4, "big")  # the header that every packet here has
HEADERS = {A4: 28 + len(RTP), A6: 48 + len(RTP)}  # octets of IP, UDP and RTP before the words


def said(payload: bytes) -> bytes:
    """Return a packet of RTP with these words."""
    return RTP + payload


class Phone(socket.socket):
    """Sends and hears words in RTP packets of one SSRC."""

    def send(self, octets: "Buffer", flags: int = 0, /) -> int:
        return super().send(said(bytes(octets)), flags)

    def recv(self, octets: int, flags: int = 0, /) -> bytes:
        return super().recv(octets, flags).removeprefix(RTP)


def phone(line: socket.socket) -> Phone:
    """Make a socket a phone's."""
    limit_s = line.gettimeout()
    made = Phone(fileno=line.detach())
    made.settimeout(limit_s)
    return made


class Answer(NamedTuple):
    """What a guard says of one packet."""

    accept: bool
    effects: tuple[Effect, ...] = ()


def passes(_packet: Packet) -> Answer:
    return Answer(True)


def only_good(packet: Packet) -> Answer:
    return Answer(packet.payload.startswith(b"good"))


class StubGuard:
    """Judges as it is told, and remembers what it has seen."""

    def __init__(self, judge: Callable[[Packet], Answer] = only_good) -> None:
        self.judge = judge
        self.seen: list[Packet] = []
        self.sampled: list[Packet] = []
        self.after_sample: tuple[Effect, ...] = ()

    def inspect_media(self, octets: bytes, interface: str, now: Moment) -> MediaDecision:
        packet = _worded(parse_packet(octets, interface))
        self.seen.append(packet)
        return MediaDecision(*self.judge(packet))

    def sample_media(self, octets: bytes, now: Moment) -> tuple[Effect, ...]:
        self.sampled.append(_worded(parse_packet(octets)))
        return self.after_sample


class Asking:
    """Rules, media queue and samples in the router of a lab, served until it ends."""

    def __init__(self, gateway: Gateway, plan: Plan, guard: StubGuard) -> None:
        self.gateway, self.lab, self.guard = gateway, gateway.lab, guard
        self.plan = plan
        self.netfilter = gateway.install(plan)
        self.turnstile = MediaTurnstile(self.apply)
        self.turnstile.guard = guard
        self.applied: list[Effect] = []
        self.tallies: list[Tally] = []
        self.readers: list[Queue | Samples] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._serving: Future[None] | None = None
        self.bind()

    def bind(self) -> None:
        """Be there to judge, as the service is."""
        plan, turnstile = self.plan, self.turnstile
        assert plan.media_queue is not None
        number = plan.media_queue

        def make() -> list[Queue | Samples]:
            queue = Queue(
                number, turnstile.take, fail_open=plan.lets_pass, turn_end=turnstile.end_turn
            )
            return [queue, Samples(plan.sample_group, turnstile.take_sample)]

        self.readers = self.lab.router.run(make)
        self._over.clear()
        self._serving = self.lab.router.start(self._serve)

    def leave(self) -> None:
        """Be gone, as a process that was killed."""
        if self._serving is None:
            return
        self._over.set()
        self._serving.result(10)
        self._serving = None
        for reader in self.readers:
            reader.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            ready = select.select([reader.fileno() for reader in self.readers], [], [], 0.02)[0]
            for reader in self.readers:
                if reader.fileno() in ready:
                    reader.doRead()

    def apply(self, effects: Sequence[Effect]) -> None:
        """Carry out effects, from any thread."""
        with self._lock:
            applied = self.netfilter.apply(effects)
            self.applied += effects
            self.tallies += applied.tallies
        assert applied.refused == ()

    def packets(self, counter: str) -> int:
        with self._lock:
            return self.netfilter.counters()[counter].packets

    def await_seen(self, count: int) -> bool:
        """Wait until the guard has seen so many packets."""
        return until(lambda: len(self.guard.seen) >= count)


@contextmanager
def asking(
    gateway: Gateway, plan: Plan = GATED, judge: Callable[[Packet], Answer] = only_good
) -> Iterator[Asking]:
    """Install *plan* and serve its media queue."""
    made = Asking(gateway, plan, StubGuard(judge))
    try:
        yield made
    finally:
        made.leave()


def until(condition: Callable[[], bool], limit_s: float = 3.0) -> bool:
    """Wait for a condition; report whether it came."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def _worded(packet: Packet) -> Packet:
    return packet.changed(payload=packet.payload.removeprefix(RTP))


def hole_of(packet: Packet) -> Hole:
    return Hole(packet.src, packet.dst, packet.dport)


def proves(packet: Packet) -> ProvePinhole:
    """Say that a packet's source has proven itself."""
    return ProvePinhole(hole_of(packet), packet.sport, SSRC, b"call")


def proven(hole: Hole, source: socket.socket) -> ProvePinhole:
    return ProvePinhole(hole, int(source.getsockname()[1]), SSRC, b"call")


def doubted(hole: Hole, source: socket.socket) -> DoubtPinhole:
    return DoubtPinhole(hole, int(source.getsockname()[1]), Reason.UNPROVEN, b"call")


def ended(hole: Hole) -> ClosePinhole:
    return ClosePinhole(hole, "sdes", Reason.CALL_ENDED, b"call")


def heard_all(listener: socket.socket, quiet_s: float = 0.25) -> list[bytes]:
    """Return what comes, until nothing comes any more."""
    listener.settimeout(quiet_s)
    found = []
    while True:
        try:
            found.append(listener.recv(65535))
        except TimeoutError:
            return found

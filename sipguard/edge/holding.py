"""Packets that wait for a certificate, few and not for long; each gets its verdict in every case.

The kernel keeps them meanwhile; a message of a stream keeps its connection waiting.
Each is judged again as soon as everything it wants has come or failed, once more if it
then wants something else, and for the last time at its deadline, at a reload or at the
end: what is not here by then is unknown, and the policy says what that means (STI-15).

There is no room for more than ``MAX_HELD`` packets, nor for more than
``MAX_HELD_OF_SOURCE`` from one source; what comes beyond that is judged at
once, with what is known. A network of IPv6 counts as one source.
"""

from collections.abc import Callable
from typing import Final, Protocol, final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipguard.edge.clock import Alarm, Clock
from sipguard.edge.queued import QueuedPacket

MAX_HELD: Final = 256
MAX_HELD_OF_SOURCE: Final = 16
ROUNDS: Final = 2  # how often a packet may want something
_IPV4_SOURCE: Final = slice(12, 16)
_IPV6_NETWORK: Final = slice(8, 16)  # of the source address, the first 64 bits

Fetch = Callable[[str], Deferred[None]]
TakeAgain = Callable[[bytes, str, QueuedPacket, bool], tuple[str, ...]]


class Waiting(Protocol):
    """What can wait: a packet in the kernel's hands, or a message of a stream."""

    @property
    def source(self) -> bytes:
        """Who counts as its sender."""

    @property
    def settled(self) -> bool:
        """Whether it has its verdict."""

    def retain(self) -> bool:
        """Keep it beyond this turn, if there is room."""

    def judge(self, last: bool) -> tuple[str, ...]:
        """Judge it again; return what it wants still."""

    def fail(self) -> None:
        """Give the verdict for faults of our own."""


@final
class WaitingPacket:
    """A packet that the kernel keeps."""

    __slots__ = ("_interface", "_octets", "_packet", "_take_again")

    def __init__(
        self, octets: bytes, interface: str, packet: QueuedPacket, take_again: TakeAgain
    ) -> None:
        self._octets = octets
        self._interface = interface
        self._packet = packet
        self._take_again = take_again

    @property
    def source(self) -> bytes:
        """The source address of an IP packet that the guard could read."""
        octets = self._octets
        return octets[_IPV6_NETWORK] if octets[0] >> 4 == 6 else octets[_IPV4_SOURCE]

    @property
    def settled(self) -> bool:
        """Whether it has its verdict."""
        return self._packet.settled

    def retain(self) -> bool:
        """Keep it beyond this turn, if there is room."""
        return self._packet.retain()

    def judge(self, last: bool) -> tuple[str, ...]:
        """Judge it again; return what it wants still."""
        return self._take_again(self._octets, self._interface, self._packet, last)

    def fail(self) -> None:
        """Give the verdict for faults of our own."""
        self._packet.fail()


class Held:
    """One that waits, and what for."""

    __slots__ = ("deadline", "rounds", "source", "waiting", "wants")

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self.source = waiting.source
        self.wants: set[str] = set()
        self.rounds = 0
        self.deadline: Alarm | None = None


class Holding:
    """Everything that waits now.

    Args:
        take_again: Judges a packet again; returns what it wants still.
        clock: Twisted's reactor, or a clock of a test.
    """

    log = Logger()

    def __init__(self, take_again: TakeAgain, clock: Clock) -> None:
        self._take_again = take_again
        self._clock = clock
        self._fetch: Fetch | None = None
        self._within_s = 0.0
        self._held: dict[Held, None] = {}  # in order of arrival
        self._of_source: dict[bytes, int] = {}
        self.taken = 0
        self.refused = 0  # no room: judged at once
        self.late = 0  # judged at the deadline
        self.faults = 0  # of whoever fetches: it raised instead of firing

    def __len__(self) -> int:
        return len(self._held)

    def use(self, fetch: Fetch | None, within_s: float) -> None:
        """Fetch with *fetch* and wait *within_s* seconds from now on; None: nothing waits.

        *fetch* returns what fires, without a failure, when the certificate is
        here or will not come. What waits already is judged again at once: this is a reload, and
        another policy may want nothing or something else.
        """
        self._fetch = fetch
        self._within_s = within_s
        for held in tuple(self._held):
            held.rounds = 0
            self._judge(held, last=fetch is None)

    def hold(
        self, octets: bytes, interface: str, packet: QueuedPacket, wants: tuple[str, ...]
    ) -> None:
        """Let a packet wait for what it wants, or judge it now if it cannot wait."""
        self.wait(WaitingPacket(octets, interface, packet, self._take_again), wants)

    def wait(self, waiting: Waiting, wants: tuple[str, ...]) -> None:
        """Let anything wait for what it wants, or judge it now if it cannot wait."""
        held = Held(waiting)
        if self._fetch is None or not self._has_room(held.source) or not waiting.retain():
            self.refused += 1
            waiting.judge(True)
            return
        self.taken += 1
        self._held[held] = None
        self._of_source[held.source] = self._of_source.get(held.source, 0) + 1
        held.deadline = self._clock.callLater(self._within_s, self._on_deadline, held)
        self._await(held, wants)

    def stop(self) -> None:
        """Judge everything that waits, for the last time."""
        self._fetch = None
        for held in tuple(self._held):
            self._judge(held, last=True)

    def _has_room(self, source: bytes) -> bool:
        return len(self._held) < MAX_HELD and self._of_source.get(source, 0) < MAX_HELD_OF_SOURCE

    def _await(self, held: Held, wants: tuple[str, ...]) -> None:
        """Ask for everything first: what is here at once must not end the wait for the rest."""
        held.rounds += 1
        held.wants = awaited = set(wants)
        fetch = self._fetch
        for url in tuple(awaited):
            if fetch is None:
                self._on_arrival(None, held, awaited, url)
            else:
                maybeDeferred(fetch, url).addBoth(self._on_arrival, held, awaited, url)

    def _on_arrival(self, result: object, held: Held, awaited: set[str], url: str) -> None:
        """Judge again once all is here or failed; the guard asks the cache which of the two."""
        if isinstance(result, Failure):
            self._complain(result)
        awaited.discard(url)
        if not awaited and held.wants is awaited:
            self._judge(held, last=held.rounds >= ROUNDS)

    def _on_deadline(self, held: Held) -> None:
        held.deadline = None
        self.late += 1
        self._judge(held, last=True)

    def _judge(self, held: Held, *, last: bool) -> None:
        """Judge again; whatever happens, the packet has its verdict then, or a deadline still."""
        waiting = held.waiting
        try:
            wants = () if waiting.settled else self._ask(held, last)
            if wants:
                self._await(held, wants)
                return
        except Exception:  # noqa: BLE001 - whatever it was, this packet needs a verdict
            waiting.fail()
        self._release(held)

    def _ask(self, held: Held, last: bool) -> tuple[str, ...]:
        wants = held.waiting.judge(last)
        if not held.waiting.settled and (last or not wants):
            raise RuntimeError("a packet that waited got no verdict")
        return () if held.waiting.settled else wants

    def _complain(self, fault: Failure) -> None:
        """Count a fault of our own, and log the first: it hardly comes alone."""
        self.faults += 1
        if self.faults == 1:
            self.log.failure("our own code failed in fetching a certificate", fault)

    def _release(self, held: Held) -> None:
        if held not in self._held:
            return
        del self._held[held]
        held.wants = set()
        if held.deadline is not None:
            held.deadline.cancel()
            held.deadline = None
        left = self._of_source[held.source] - 1
        if left:
            self._of_source[held.source] = left
        else:
            del self._of_source[held.source]

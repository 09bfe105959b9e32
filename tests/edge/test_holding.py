"""Packets that wait for a certificate: each gets one verdict, whatever happens meanwhile."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from sipguard.edge import holding as room
from sipguard.edge.holding import Holding
from sipguard.edge.queued import QueuedPacket, Reader

A, B = "https://cr.example.com/a.pem", "https://cr.example.com/b.pem"
C = "https://cr.example.com/c.pem"
WITHIN_S = 2.0


def ipv4(number: int = 1) -> bytes:
    return bytes([0x45]) + bytes(11) + bytes([192, 0, 2, number]) + bytes(4)


def ipv6(network: int = 1, host: int = 1) -> bytes:
    source = bytes([0x20, 1, 0xD, 0xB8]) + bytes(3) + bytes([network]) + bytes(7) + bytes([host])
    return bytes([0x60]) + bytes(7) + source + bytes(16)


class Bench:
    """A queue without a kernel, a guard of few words, and a web where all is slow."""

    def __init__(self, max_held: int = 1000) -> None:
        self.clock = Clock()
        self.verdicts: list[str] = []  # in order, "accept" or "drop" by the kernel's number
        ends = (lambda _: b""), self.settle
        self.reader = Reader(0, 1, *ends, lambda *_: None, lambda _: "", self.failed, max_held)
        self.holding = Holding(self.take_again, self.clock)
        self.fetches: list[tuple[str, Deferred[None]]] = []
        self.judged: list[bool] = []  # each time, whether it was the last
        self.here: set[str] = set()
        self.wants: tuple[str, ...] = (A,)
        self.fault: Exception | None = None
        self.failures = 0
        self.holding.use(self.fetch, WITHIN_S)

    def settle(self, verdict: bytes) -> None:
        self.verdicts.append("accept" if verdict[27] else "drop")

    def failed(self, packet: QueuedPacket, raised: bool) -> None:
        assert raised
        self.failures += 1
        packet.drop()

    def fetch(self, url: str) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self.fetches.append((url, waiting))
        return waiting

    def arrive(self, *urls: str) -> None:
        """Everything that was asked for under these URLs is here now."""
        self.here |= set(urls)
        due = [waiting for url, waiting in self.fetches if url in urls]
        self.fetches = [(url, waiting) for url, waiting in self.fetches if url not in urls]
        for waiting in due:
            waiting.callback(None)

    def take_again(
        self, _octets: bytes, _interface: str, packet: QueuedPacket, last: bool
    ) -> tuple[str, ...]:
        self.judged.append(last)
        if self.fault is not None:
            raise self.fault
        missing = tuple(url for url in self.wants if url not in self.here)
        if missing and not last:
            return missing
        if missing:
            packet.drop()
        else:
            packet.accept()
        return ()

    def hold(self, octets: bytes = b"", wants: tuple[str, ...] = (A,)) -> QueuedPacket:
        packet = QueuedPacket(self.reader, b"\0\0\0\1", b"")
        self.holding.hold(octets or ipv4(), "lan0", packet, wants)
        return packet


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_packet_waits_for_its_certificate(bench: Bench) -> None:
    """STI-15: and is judged the moment it is here."""
    bench.hold()
    assert ([url for url, _ in bench.fetches], bench.verdicts) == ([A], [])
    bench.arrive(A)
    assert (bench.verdicts, bench.judged) == (["accept"], [False])
    assert len(bench.holding) == 0
    assert bench.clock.getDelayedCalls() == []


def test_what_does_not_come_is_unknown_at_the_deadline(bench: Bench) -> None:
    """STI-15: at most so long, then the policy decides."""
    bench.hold()
    bench.clock.advance(WITHIN_S - 0.01)
    assert bench.verdicts == []
    bench.clock.advance(0.01)
    assert (bench.verdicts, bench.judged) == (["drop"], [True])
    assert (bench.holding.late, len(bench.holding)) == (1, 0)
    bench.arrive(A)
    assert bench.judged == [True]


def test_it_waits_for_all_that_it_wants(bench: Bench) -> None:
    """Two PASSporTs, two certificates."""
    bench.wants = (A, B)
    bench.hold(wants=(A, B))
    bench.arrive(A)
    assert bench.judged == []
    bench.arrive(B)
    assert (bench.verdicts, bench.judged) == (["accept"], [False])


def test_it_may_want_something_else_once(bench: Bench) -> None:
    """And not for ever: the second time it is judged with what is here."""
    bench.hold()
    bench.wants = (A, B)
    bench.arrive(A)
    assert (bench.judged, [url for url, _ in bench.fetches]) == ([False], [B])
    bench.wants = (A, B, C)
    bench.arrive(B)
    assert (bench.judged, bench.verdicts) == ([False, True], ["drop"])


def test_a_fetch_that_fails_is_an_arrival(bench: Bench) -> None:
    """Whether it is here, the cache knows."""
    bench.hold()
    ((_, waiting),) = bench.fetches
    waiting.errback(ConnectionError())
    assert bench.judged == [False]
    assert len(bench.fetches) == 2, "asked once more"
    bench.fetches[1][1].errback(ConnectionError())
    assert (bench.judged, bench.verdicts) == ([False, True], ["drop"])


@pytest.mark.parametrize("here", [True, False])
def test_a_fetch_that_is_over_at_once_waits_for_nothing(bench: Bench, here: bool) -> None:
    """Another packet brought it a moment ago, or its URL may not be fetched at all."""

    def at_once(url: str) -> Deferred[None]:
        if here:
            bench.here.add(url)
        over: Deferred[None] = Deferred()
        over.callback(None)
        return over

    bench.holding.use(at_once, WITHIN_S)
    bench.wants = (A, B)
    bench.hold(wants=(A, B))
    assert bench.verdicts == (["accept"] if here else ["drop"])
    assert bench.judged == ([False] if here else [False, True])
    assert (len(bench.holding), bench.clock.getDelayedCalls()) == (0, [])


def test_a_fetch_that_raises_costs_that_packet_alone(bench: Bench) -> None:
    """A fault of our own: judged as if nothing came, logged once, and the next waits as usual."""

    def broken(_url: str) -> Deferred[None]:
        raise ZeroDivisionError("for this test")

    bench.holding.use(broken, WITHIN_S)
    with capturedLogs() as events:
        bench.hold()
        bench.hold()
    assert (bench.judged, bench.verdicts) == ([False, True] * 2, ["drop"] * 2)
    assert (bench.holding.faults, len(events)) == (4, 1)
    assert bench.clock.getDelayedCalls() == []
    bench.holding.use(bench.fetch, WITHIN_S)
    bench.hold()
    assert len(bench.holding) == 1


def test_a_fault_of_the_guard_costs_one_verdict(bench: Bench) -> None:
    """At an arrival and at the deadline; the others wait on."""
    bench.hold()
    bench.hold(wants=(B,))
    bench.fault = ZeroDivisionError("for this test")
    bench.arrive(A)
    assert (bench.verdicts, bench.failures, len(bench.holding)) == (["drop"], 1, 1)
    bench.clock.advance(WITHIN_S)
    assert (bench.verdicts, bench.failures, len(bench.holding)) == (["drop", "drop"], 2, 0)


def test_a_verdict_forgotten_is_a_fault(bench: Bench) -> None:
    """No packet stays in the kernel for good."""
    silent = Holding(lambda *_: (), bench.clock)
    silent.use(bench.fetch, WITHIN_S)
    silent.hold(ipv4(), "lan0", QueuedPacket(bench.reader, b"\0\0\0\2", b""), (A,))
    bench.arrive(A)
    assert (bench.failures, bench.verdicts, len(silent)) == (1, ["drop"], 0)


def test_at_the_end_everything_gets_its_verdict(bench: Bench) -> None:
    """In the order they came; and what comes after that waits for nothing."""
    for _ in range(3):
        bench.hold()
    bench.holding.stop()
    assert (bench.verdicts, bench.judged) == (["drop"] * 3, [True] * 3)
    bench.hold()
    assert bench.verdicts == ["drop"] * 4
    assert bench.clock.getDelayedCalls() == []


def test_a_reload_judges_what_waits_by_the_new_policy(bench: Bench) -> None:
    """Which may want nothing more, or wait for something else until the same deadline."""
    bench.hold()
    bench.hold()
    bench.clock.advance(1.0)
    bench.wants = (B,)
    old = list(bench.fetches)
    bench.holding.use(bench.fetch, 10.0)
    assert bench.judged == [False, False]
    for _, waiting in old:  # what the old policy wanted no longer counts
        waiting.callback(None)
    assert bench.judged == [False, False]
    bench.arrive(B)
    assert bench.verdicts == ["accept", "accept"]
    bench.hold(wants=(A,))
    bench.clock.advance(9.9)
    assert len(bench.holding) == 1


def test_after_a_reload_it_may_want_something_else_again(bench: Bench) -> None:
    """The rounds of another policy do not count."""
    bench.wants = (A, B)
    bench.hold()
    bench.arrive(A)
    bench.holding.use(bench.fetch, WITHIN_S)
    bench.wants = (A, B, C)
    bench.arrive(B)
    assert bench.judged == [False, False, False]
    bench.arrive(C)
    assert bench.verdicts == ["accept"]


def test_a_reload_without_fetching_leaves_nothing_waiting(bench: Bench) -> None:
    """``fetch never``: all of it is judged for the last time."""
    bench.hold()
    bench.holding.use(None, 0.0)
    assert (bench.judged, len(bench.holding)) == ([True], 0)
    bench.hold()
    assert bench.judged == [True, True]


def test_one_source_has_room_for_few(bench: Bench) -> None:
    """GEN-3: what is beyond the bound is judged at once, and other sources still wait."""
    for _ in range(room.MAX_HELD_OF_SOURCE):
        bench.hold(ipv4(1))
    assert bench.judged == []
    bench.hold(ipv4(1))
    assert (bench.judged, bench.holding.refused) == ([True], 1)
    bench.hold(ipv4(2))
    assert len(bench.holding) == room.MAX_HELD_OF_SOURCE + 1


def test_a_network_of_ipv6_is_one_source(bench: Bench) -> None:
    """Addresses inside a /64 cost their owner nothing."""
    for number in range(room.MAX_HELD_OF_SOURCE + 1):
        bench.hold(ipv6(1, number))
    assert bench.judged == [True]
    bench.hold(ipv6(2))
    assert bench.judged == [True]


def test_all_together_have_room_for_some(bench: Bench) -> None:
    """GEN-3: however many sources there are, the kernel keeps no more than this."""
    for number in range(room.MAX_HELD + 3):
        bench.hold(ipv4(number % 256))
    assert (len(bench.holding), bench.holding.refused) == (room.MAX_HELD, 3)
    bench.arrive(A)
    assert len(bench.verdicts) == room.MAX_HELD + 3
    assert (len(bench.holding), bench.holding._of_source) == (0, {})


def test_a_queue_that_holds_no_more_has_the_last_word() -> None:
    """Each queue of several has a bound of its own."""
    bench = Bench(max_held=1)
    bench.hold()
    bench.hold()
    assert bench.judged == [True]


def test_a_packet_that_was_settled_elsewhere_is_let_go(bench: Bench) -> None:
    """A queue that closes drops what it holds; nobody judges it then."""
    bench.hold().drop()
    bench.arrive(A)
    assert (bench.judged, len(bench.holding)) == ([], 0)


STEPS: dict[str, Callable[[Bench], object]] = {
    "hold": lambda bench: bench.hold(),
    "hold two": lambda bench: bench.hold(ipv6(), (A, B)),
    "a": lambda bench: bench.arrive(A),
    "b": lambda bench: bench.arrive(B),
    "wait": lambda bench: bench.clock.advance(0.7),
    "want b": lambda bench: setattr(bench, "wants", (A, B)),
    "fault": lambda bench: setattr(bench, "fault", ZeroDivisionError()),
    "mended": lambda bench: setattr(bench, "fault", None),
    "reload": lambda bench: bench.holding.use(bench.fetch, WITHIN_S),
    "never": lambda bench: bench.holding.use(None, 0.0),
    "stop": lambda bench: bench.holding.stop(),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=30))
def test_whatever_happens_each_packet_gets_one_verdict(steps: list[str]) -> None:
    """In any order of arrivals, faults, reloads and time; after the deadline nothing waits."""
    bench = Bench()
    taken = 0
    for step in steps:
        try:
            STEPS[step](bench)
        except ZeroDivisionError:  # where a packet comes, the queue gives the verdict
            bench.verdicts.append("drop")
        taken += step.startswith("hold")
    bench.clock.advance(WITHIN_S)
    assert (len(bench.holding), len(bench.verdicts)) == (0, taken)
    assert (bench.holding._of_source, bench.clock.getDelayedCalls()) == ({}, [])

"""The queue reader: whole packets in, one verdict out, whatever the judge does."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from netns import A4, A6, B4, B6, Lab, heard
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from twisted.python.failure import Failure

from sipguard.edge.busy_poll import BusyPoll
from sipguard.edge.clock import Alarm
from sipguard.edge.netfilter import Netfilter, Plan
from sipguard.edge.nfqueue import Queue, read_status
from sipguard.edge.queued import Judge, QueuedPacket
from sipguard.errors import EdgeError
from sipguard.wire.packet import parse_packet

pytestmark = pytest.mark.kernel


class Bench:
    """A guarded router and its queue."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.queues: list[Queue] = []
        self.netfilter = Netfilter(Plan())
        lab.router.run(self.netfilter.install)

    def queue(
        self,
        judge: Judge,
        *,
        fail_open: bool = False,
        max_packets: int = 1024,
        batch: int = 64,
        max_held: int = 16,
        socket_octets: int = 1 << 20,
    ) -> Queue:
        """Return a bound queue; options are those of Queue."""
        made = self.lab.router.run(
            lambda: Queue(
                0,
                judge,
                fail_open=fail_open,
                max_packets=max_packets,
                batch=batch,
                max_held=max_held,
                socket_octets=socket_octets,
            )
        )
        self.queues.append(made)
        return made

    def passes(
        self, queue: Queue, payload: bytes = b"OPTIONS", a: str = A4, b: str = B4
    ) -> bytes | None:
        """Send one datagram to b's port 5060, judge it, and return what b hears."""
        before = queue.counts().packets
        with self.lab.b.udp(b, 5060) as listener, self.lab.a.udp(a, 0) as sender:
            sender.sendto(payload, (b, 5060))
            assert self.lab.pump(queue, until=lambda: queue.counts().packets > before)
            return heard(listener)


@pytest.fixture
def bench(lab: Lab) -> Iterator[Bench]:
    made = Bench(lab)
    yield made
    for queue in made.queues:
        queue.close()
    made.netfilter.remove(keep=True)


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def test_the_judge_sees_the_packet_and_its_interface(bench: Bench) -> None:
    """Octets from the IP header on, and the name that policies use for the interface."""
    seen: list[tuple[bytes, str]] = []

    def judge(octets: bytes, interface: str, packet: QueuedPacket) -> None:
        seen.append((octets, interface))
        packet.accept()

    queue = bench.queue(judge)
    assert bench.passes(queue) == b"OPTIONS"
    ((octets, interface),) = seen
    assert interface == "ra"
    assert parse_packet(octets).payload == b"OPTIONS"
    assert queue.counts()[:4] == (1, 1, 0, 0)


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
@pytest.mark.parametrize("octets", [3000, 60000])
def test_a_fragmented_datagram_is_judged_whole(bench: Bench, a: str, b: str, octets: int) -> None:
    """Nothing hides in the second fragment, and the whole message leaves again byte for byte."""
    payload = os.urandom(octets)
    seen: list[bytes] = []

    def judge(octets: bytes, _interface: str, packet: QueuedPacket) -> None:
        seen.append(octets)
        packet.accept()

    assert bench.passes(bench.queue(judge), payload, a, b) == payload
    assert [parse_packet(octets).payload for octets in seen] == [payload]


ARRIVALS = """
table inet seen {
  chain arrivals {
    type filter hook prerouting priority -500;
    meta l4proto udp counter
    ip frag-off & 0x3fff != 0 counter
    exthdr frag exists counter
  }
}
"""


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_a_dropped_fragmented_datagram_leaves_no_piece(bench: Bench, a: str, b: str) -> None:
    """A refusal refuses every fragment."""
    bench.lab.b.shell("nft", "-f", "-", script=ARRIVALS)
    queue = bench.queue(lambda _octets, _interface, packet: packet.drop())
    assert bench.passes(queue, bytes(3000), a, b) is None
    assert queue.counts().dropped == 1
    listing = bench.lab.b.shell("nft", "list", "table", "inet", "seen")
    assert listing.count("packets 0 ") == 3


@pytest.mark.parametrize("fail_open", [False, True])
def test_a_failing_judge_costs_one_verdict(
    bench: Bench, logged: Sequence[LogEvent], fail_open: bool
) -> None:
    """Our own bug drops (or passes) that packet, is logged once, and the next is served."""
    faults = [True, True, True, False]

    def judge(_octets: bytes, _interface: str, packet: QueuedPacket) -> None:
        if faults.pop(0):
            raise ZeroDivisionError("for this test")
        packet.accept()

    queue = bench.queue(judge, fail_open=fail_open)
    expected = b"OPTIONS" if fail_open else None
    for _ in range(3):
        assert bench.passes(queue) == expected
    assert bench.passes(queue) == b"OPTIONS"
    assert queue.counts().failures == 3
    places = [event["place"] for event in logged if "place" in event]
    assert len(places) == 1
    assert "test_nfqueue.py" in places[0]
    status = bench.lab.router.run(queue.status)
    assert status is not None
    assert status.waiting == 0


def test_another_policy_may_choose_otherwise(bench: Bench) -> None:
    """From shadow to enforce: what fails, or finds the queue full, passes no more."""

    def judge(_octets: bytes, _interface: str, _packet: QueuedPacket) -> None:
        raise ZeroDivisionError("for this test")

    queue = bench.queue(judge, fail_open=True, max_packets=1)
    for fail_open in (True, False):
        queue.choose(fail_open=fail_open)
        assert bench.passes(queue) == (b"OPTIONS" if fail_open else None)
        with bench.lab.b.udp(B4, 5060) as listener, bench.lab.a.udp(A4, 0) as sender:
            sender.sendto(b"waits", (B4, 5060))
            sender.sendto(b"finds no room", (B4, 5060))
            assert heard(listener) is None
        # By the queue itself, when it was full; the rules behind it are not fail-open here.
        assert bench.netfilter.counters()["sip_unjudged"].packets == 1
        bench.lab.router.run(queue.doRead)
    queue.close()
    queue.choose(fail_open=True)


def test_a_fault_is_logged_again_after_a_silence(bench: Bench, logged: Sequence[LogEvent]) -> None:
    """A minute later the log says that it still happens, and how often it did meanwhile."""
    now = [0.0]

    def judge(_octets: bytes, _interface: str, _packet: QueuedPacket) -> None:
        raise ZeroDivisionError("for this test")

    queue = bench.lab.router.run(lambda: Queue(0, judge, clock=lambda: now[0]))
    bench.queues.append(queue)
    for now[0] in (0.0, 1.0, 2.0, 61.0):
        bench.passes(queue)
    assert [event["silent"] for event in logged if "place" in event] == [0, 2]


def test_a_packet_without_verdict_gets_one(bench: Bench) -> None:
    """A judge that forgets its packet must not fill the queue for good."""
    queue = bench.queue(lambda _octets, _interface, _packet: None)
    assert bench.passes(queue) is None
    assert queue.counts().failures == 1
    status = bench.lab.router.run(queue.status)
    assert status is not None
    assert status.waiting == 0


def test_a_second_verdict_is_ignored(bench: Bench) -> None:
    """The first verdict stands, whatever comes after it."""

    def judge(_octets: bytes, _interface: str, packet: QueuedPacket) -> None:
        packet.drop()
        packet.accept()

    queue = bench.queue(judge)
    assert bench.passes(queue) is None
    assert queue.counts()[1:3] == (0, 1)


def test_held_packets_wait_for_their_verdict_within_a_bound(bench: Bench) -> None:
    """A certificate fetch may hold a packet; a flood of such packets may not hold the kernel."""
    held: list[QueuedPacket] = []

    def judge(_octets: bytes, _interface: str, packet: QueuedPacket) -> None:
        if packet.retain():
            held.append(packet)
        else:
            packet.drop()

    queue = bench.queue(judge, max_held=2)
    lab = bench.lab
    with lab.b.udp(B4, 5060) as listener, lab.a.udp(A4, 0) as sender:
        for number in range(3):
            sender.sendto(b"%d" % number, (B4, 5060))
        assert lab.pump(queue, until=lambda: queue.counts().packets == 3)
        assert queue.counts()[2:4] == (1, 2)
        assert heard(listener) is None
        held[1].accept()
        assert heard(listener) == b"1"
        queue.close()
        assert heard(listener) is None
    assert held[0].settled


def test_one_turn_takes_one_batch(bench: Bench) -> None:
    """A flood never starves the reactor's timers."""
    queue = bench.queue(lambda _octets, _interface, packet: packet.drop(), batch=8)
    lab = bench.lab
    with lab.a.udp(A4, 0) as sender:
        for _ in range(20):
            sender.sendto(b"OPTIONS", (B4, 5060))
    time.sleep(0.1)
    taken = []
    for _ in range(4):
        lab.router.run(queue.doRead)
        taken.append(queue.counts().packets)
    assert taken == [8, 16, 20, 20]


def test_a_full_queue_drops_and_counts(bench: Bench) -> None:
    """What the kernel had to drop is no secret."""
    queue = bench.queue(lambda _octets, _interface, packet: packet.accept(), max_packets=10)
    with bench.lab.a.udp(A4, 0) as sender:
        for _ in range(25):
            sender.sendto(b"OPTIONS", (B4, 5060))
    time.sleep(0.1)
    status = bench.lab.router.run(queue.status)
    assert status is not None
    assert (status.waiting, status.dropped_full) == (10, 15)


class Later:
    """A reactor that is told what to call, and calls nothing."""

    def __init__(self) -> None:
        self.due: list[Callable[..., object]] = []

    def callLater(  # noqa: N802
        self, delay_s: float, work: Callable[..., object], /, *arguments: object
    ) -> Alarm:
        assert (delay_s, arguments) == (0, ())
        self.due.append(work)
        return IDLE


class Idle:
    def cancel(self) -> None:
        pass

    def active(self) -> bool:
        return False


IDLE = Idle()


def test_large_packets_are_judged_after_small_ones_and_all_of_them(bench: Bench) -> None:
    """The socket does not tell of those that wait here already: the reactor is asked for a turn."""
    seen: list[int] = []
    later = Later()

    def judge(octets: bytes, _interface: str, packet: QueuedPacket) -> None:
        seen.append(len(parse_packet(octets).payload))
        packet.accept()

    queue = bench.lab.router.run(lambda: Queue(0, judge, reactor=later))
    bench.queues.append(queue)
    with bench.lab.a.udp(A4, 0) as sender, bench.lab.a.udp(A6, 0) as other:
        for octets in range(2000, 2006):
            sender.sendto(bytes(octets), (B4, 5060))
        other.sendto(b"OPTIONS", (B6, 5060))
    time.sleep(0.1)
    bench.lab.router.run(queue.doRead)
    assert seen == [7, *range(2000, 2004)]
    assert len(later.due) == 1
    bench.lab.router.run(later.due.pop())
    assert seen[5:] == [2004, 2005]
    assert later.due == []
    assert queue.counts()[:2] == (7, 7)


def test_a_full_socket_is_counted_as_overrun(bench: Bench) -> None:
    """ENOBUFS is a count, not an end of service."""
    queue = bench.queue(lambda _octets, _interface, packet: packet.accept(), socket_octets=4096)
    with bench.lab.a.udp(A4, 0) as sender:
        for _ in range(100):
            sender.sendto(bytes(1000), (B4, 5060))
    time.sleep(0.1)
    bench.lab.router.run(queue.doRead)
    status = bench.lab.router.run(queue.status)
    assert status is not None
    assert status.dropped_unread > 0
    assert queue.counts().overruns > 0
    assert bench.passes(queue) == b"OPTIONS"


def test_a_second_reader_is_refused_in_a_sentence(bench: Bench) -> None:
    """Two daemons on one queue: the second says so and touches nothing."""
    queue = bench.queue(lambda _octets, _interface, packet: packet.accept())
    with pytest.raises(EdgeError, match="queue 0 is bound already"):
        bench.queue(lambda _octets, _interface, packet: packet.accept())
    assert bench.passes(queue) == b"OPTIONS"


def test_closing_frees_the_queue(bench: Bench) -> None:
    """A restart inside one process can bind again."""
    queue = bench.queue(lambda _octets, _interface, packet: packet.accept())
    queue.connectionLost(Failure(ConnectionError()))
    queue.close()
    assert queue.fileno() == -1
    assert bench.lab.router.run(lambda: read_status(0)) is None
    bench.queue(lambda _octets, _interface, packet: packet.accept())


def test_a_renamed_interface_is_read_anew(bench: Bench) -> None:
    """Names follow the links when asked to."""
    names: list[str] = []

    def judge(_octets: bytes, interface: str, packet: QueuedPacket) -> None:
        names.append(interface)
        packet.accept()

    queue = bench.queue(judge)
    bench.passes(queue)
    bench.lab.router.shell("ip", "link", "set", "ra", "name", "lan0")
    bench.passes(queue)
    queue.forget_interfaces()
    bench.passes(queue)
    assert names == ["ra", "ra", "lan0"]


def test_a_reactor_serves_it(bench: Bench) -> None:
    """It is what Twisted calls a reader."""
    lab = bench.lab
    queue = bench.queue(lambda _octets, _interface, packet: packet.accept())
    with lab.b.udp(B4, 5060) as listener, lab.a.udp(A4, 0) as sender:
        sender.sendto(b"OPTIONS", (B4, 5060))

        def turn() -> None:
            reactor = EPollReactor()
            reactor.addReader(queue)
            reactor.doIteration(1)
            reactor.removeReader(queue)

        lab.router.run(turn)
        assert heard(listener) == b"OPTIONS"


def test_without_permission_it_says_so(lab: Lab) -> None:
    """One sentence, not a traceback, for who forgot to be root."""
    assert "CAP_NET_ADMIN" in lab.router.unprivileged(
        "from sipguard.edge.nfqueue import Queue; Queue(3, print)"
    )


def test_without_the_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is optional; who needs it is told its name."""
    monkeypatch.setitem(sys.modules, "netfilterqueue", None)
    with pytest.raises(EdgeError, match="NetfilterQueue is not installed"):
        Queue(0, print)


def test_a_turn_says_how_many_it_judged(bench: Bench) -> None:
    """Whoever looks for packets knows by that how close they come; what waits is counted."""
    ends: list[bool] = []

    def turn_end(is_empty: bool) -> bool:
        ends.append(is_empty)
        return False

    poll = BusyPoll(Clock(), 0)
    queue = bench.lab.router.run(
        lambda: Queue(
            0, lambda _o, _i, packet: packet.accept(), batch=2, turn_end=turn_end, poll=poll
        )
    )
    bench.queues.append(queue)
    with bench.lab.a.udp(A4, 0) as sender:
        for _ in range(5):
            sender.sendto(b"OPTIONS", (B4, 5060))
    time.sleep(0.1)
    run = bench.lab.router.run
    assert [run(queue.turn), run(queue.waiting)] == [2, 3]
    assert [run(queue.turn), run(queue.waiting)] == [2, 1]
    assert [run(queue.turn), run(queue.waiting)] == [1, 0]
    assert [run(queue.turn), ends] == [0, [False, False, True]]  # nothing new, nothing to end
    assert poll._turns == [queue.turn]
    run(queue.close)
    assert poll._turns == []


def test_what_follows_a_turn_may_ask_for_the_next(bench: Bench, logged: Sequence[LogEvent]) -> None:
    """After the verdicts; looked at again a few times, and a fault in it stops no packet."""
    turns: list[bool] = []

    def turn_end(is_empty: bool) -> bool:
        turns.append(is_empty)
        if len(turns) == 2:
            raise ZeroDivisionError("for this test")
        return True

    queue = bench.lab.router.run(
        lambda: Queue(0, lambda _o, _i, packet: packet.accept(), batch=2, turn_end=turn_end)
    )
    bench.queues.append(queue)
    with bench.lab.a.udp(A4, 0) as sender:
        for _ in range(3):
            sender.sendto(b"OPTIONS", (B4, 5060))
    time.sleep(0.1)
    bench.lab.router.run(queue.doRead)
    assert turns == [False, True]
    assert queue.counts()[:2] == (3, 3)
    assert queue.counts().failures == 1
    assert len([event for event in logged if "place" in event]) == 1
    with bench.lab.a.udp(A4, 0) as sender:
        sender.sendto(b"OPTIONS", (B4, 5060))
    time.sleep(0.1)
    bench.lab.router.run(queue.doRead)
    assert turns == [False, True, True, True, True, True]

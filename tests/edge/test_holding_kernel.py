"""Packets that wait in the real kernel: their verdict comes late, out of order, and it counts."""

from collections.abc import Iterator

import pytest
from guarded import Gateway
from netns import A4, A6, B4, B6, heard
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sipguard.edge.holding import Holding
from sipguard.edge.nfqueue import Queue
from sipguard.edge.queued import QueuedPacket

pytestmark = pytest.mark.kernel
WITHIN_S = 2.0


class Bench:
    """A guarded router where packets that say ``wait`` wait for a certificate."""

    def __init__(self, gateway: Gateway, *, fail_open: bool = False) -> None:
        gateway.install()
        self.lab = gateway.lab
        self.clock = Clock()
        self.waiting: list[Deferred[None]] = []
        self.is_here = self.is_broken = False
        self.holding = Holding(self.take_again, self.clock)
        self.holding.use(self.fetch, WITHIN_S)
        self.queue = self.lab.router.run(lambda: Queue(0, self.judge, fail_open=fail_open))

    def judge(self, octets: bytes, interface: str, packet: QueuedPacket) -> None:
        if b"wait" in octets:
            self.holding.hold(octets, interface, packet, ("https://cr.example.com/a.pem",))
        else:
            packet.accept()

    def take_again(
        self, _octets: bytes, _interface: str, packet: QueuedPacket, last: bool
    ) -> tuple[str, ...]:
        if self.is_broken:
            raise ZeroDivisionError("for this test")
        if self.is_here:
            packet.accept()
        elif last:
            packet.drop()
        else:
            return ("https://cr.example.com/a.pem",)
        return ()

    def fetch(self, _url: str) -> Deferred[None]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def serve(self, packets: int) -> None:
        assert self.lab.pump(self.queue, until=lambda: self.queue.counts().packets >= packets)

    def arrive(self) -> None:
        self.is_here = True
        for waiting in self.waiting:
            waiting.callback(None)

    def nothing_waits(self) -> bool:
        status = self.lab.router.run(self.queue.status)
        assert status is not None
        return status.waiting == 0 == self.queue.counts().held


@pytest.fixture
def bench(gateway: Gateway) -> Iterator[Bench]:
    made = Bench(gateway)
    yield made
    made.queue.close()


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
def test_a_packet_passes_when_its_certificate_is_here(bench: Bench, a: str, b: str) -> None:
    """Whole, fragments and all, after others of the same two ports that came later."""
    payload = b"wait" + bytes(3000)
    with bench.lab.b.udp(b, 5060) as listener, bench.lab.a.udp(a, 5060) as sender:
        sender.sendto(payload, (b, 5060))
        bench.serve(1)
        sender.sendto(b"later", (b, 5060))
        bench.serve(2)
        assert heard(listener) == b"later"
        assert heard(listener) is None
        bench.arrive()
        assert heard(listener) == payload
    assert bench.nothing_waits()


def test_at_the_deadline_the_kernel_gets_its_verdict(bench: Bench) -> None:
    """Nothing fills the queue for good."""
    with bench.lab.b.udp(B4, 5060) as listener, bench.lab.a.udp(A4, 0) as sender:
        sender.sendto(b"wait", (B4, 5060))
        bench.serve(1)
        bench.clock.advance(WITHIN_S)
        assert heard(listener) is None
        assert bench.nothing_waits()
        sender.sendto(b"next", (B4, 5060))
        bench.serve(2)
        assert heard(listener) == b"next"


@pytest.mark.parametrize("fail_open", [False, True])
def test_a_fault_of_ours_is_a_verdict(gateway: Gateway, fail_open: bool) -> None:
    """The same as for a packet that did not wait: closed, or open where the operator says so."""
    bench = Bench(gateway, fail_open=fail_open)
    with bench.lab.b.udp(B4, 5060) as listener, bench.lab.a.udp(A4, 0) as sender:
        sender.sendto(b"wait", (B4, 5060))
        bench.serve(1)
        bench.is_broken = True
        bench.arrive()
        assert heard(listener) == (b"wait" if fail_open else None)
    assert bench.nothing_waits()
    assert bench.queue.counts().failures == 1
    bench.queue.close()


def test_a_reload_and_the_end_give_verdicts(bench: Bench) -> None:
    """To everything that waits, in the order it came."""
    with bench.lab.b.udp(B4, 5060) as listener, bench.lab.a.udp(A4, 0) as sender:
        for number in range(3):
            sender.sendto(b"wait %d" % number, (B4, 5060))
        bench.serve(3)
        bench.is_here = True
        bench.holding.use(bench.fetch, WITHIN_S)
        assert [heard(listener) for _ in range(3)] == [b"wait 0", b"wait 1", b"wait 2"]
        bench.is_here = False
        sender.sendto(b"wait", (B4, 5060))
        bench.serve(4)
        bench.holding.stop()
        assert heard(listener) is None
    assert bench.nothing_waits()

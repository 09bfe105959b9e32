"""Copies of packets from a log group: read whole, never trusted to fit, never in the way."""

import struct
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netns import A4, B4, Lab
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from sipguard.edge.nft_messages import attribute
from sipguard.edge.samples import Samples, packets_of
from sipguard.errors import EdgeError
from sipguard.wire.packet import parse_packet

GROUP = 77


def message(kind: int, *attributes: bytes) -> bytes:
    """One message as the kernel writes it (nfnetlink_log.h)."""
    body = struct.pack("!BBH", 2, 0, GROUP) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body + bytes(-len(body) % 4)


def copied(octets: bytes) -> bytes:
    header = attribute(1, struct.pack("!HBx", 0x800, 2))
    return message(0x400, header, attribute(10, b"prefix\0"), attribute(9, octets))


def test_copies_are_read_from_one_datagram() -> None:
    """Some in each, with an end that is none, and what else the kernel says."""
    end = struct.pack("=IHHII", 20, 3, 2, 0, 0) + bytes(4)
    other = message(0x401, attribute(9, b"no copy"))
    octets = copied(b"first") + other + copied(b"second!") + end
    assert packets_of(octets) == [b"first", b"second!"]
    assert packets_of(copied(b"")) == []


@given(st.binary(max_size=64), st.integers(0, 60))
def test_no_octets_of_a_datagram_raise(noise: bytes, cut: int) -> None:
    """Lengths that do not fit end the walk."""
    whole = copied(b"packet")
    for octets in (whole[:20] + noise, whole[:cut] + noise, whole + noise):
        packets_of(octets)


RULES = """
table inet logged {
  chain arriving {
    type filter hook input priority 0;
    udp dport 7000 log group 77 snaplen 2048
  }
}
"""


class Bench:
    """A host that copies what comes to its port 7000."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.copies: list[bytes] = []
        lab.b.shell("nft", "-f", "-", script=RULES)
        self.samples = lab.b.run(lambda: Samples(GROUP, self.copies.append))

    def send(self, *payloads: bytes) -> None:
        with self.lab.a.udp(A4, 0) as sender:
            for payload in payloads:
                sender.sendto(payload, (B4, 7000))
        time.sleep(0.3)  # longer than the kernel gathers


@pytest.fixture
def bench(lab: Lab) -> Iterator[Bench]:
    made = Bench(lab)
    yield made
    made.samples.close()


@pytest.mark.kernel
def test_copies_come_from_the_ip_header_on(bench: Bench) -> None:
    """As the guard reads packets of a queue; long ones as far as a key needs it."""
    bench.send(b"media", bytes(1400))
    bench.samples.doRead()
    assert [parse_packet(octets).payload for octets in bench.copies] == [b"media", bytes(1400)]
    bench.copies.clear()
    bench.samples.doRead()
    assert bench.copies == []


@pytest.mark.kernel
def test_a_turn_takes_a_few(bench: Bench) -> None:
    """A flood of copies never starves the queues."""
    bench.send(*[b"media"] * 400)
    bench.samples.doRead()
    assert 1 <= len(bench.copies) <= 8 * 8
    for _ in range(20):
        bench.samples.doRead()
    assert len(bench.copies) == 400


@pytest.mark.kernel
def test_a_fault_of_ours_costs_one_copy(bench: Bench) -> None:
    """It is counted and logged, and the next is looked at."""
    seen: list[bytes] = []

    def take(octets: bytes) -> None:
        seen.append(octets)
        if len(seen) == 1:
            raise ZeroDivisionError("for this test")

    bench.samples.close()
    bench.samples = bench.lab.b.run(lambda: Samples(GROUP, take))
    bench.send(b"1", b"2")
    with capturedLogs() as logged:
        bench.samples.doRead()
    assert (len(seen), bench.samples.failures) == (2, 1)
    assert len([event for event in logged if "place" in event]) == 1


@pytest.mark.kernel
def test_a_second_reader_is_refused_in_a_sentence(bench: Bench) -> None:
    """Two daemons on one group: the second says so, and the first goes on."""
    with pytest.raises(EdgeError, match="another process does"):
        bench.lab.b.run(lambda: Samples(GROUP, print))
    bench.send(b"media")
    bench.samples.doRead()
    assert len(bench.copies) == 1


@pytest.mark.kernel
def test_closing_frees_the_group(bench: Bench) -> None:
    """A restart inside one process can read again."""
    bench.samples.connectionLost(Failure(ConnectionError()))
    bench.samples.close()
    assert bench.samples.fileno() == -1
    bench.samples.doRead()
    bench.lab.b.run(lambda: Samples(GROUP, print)).close()


@pytest.mark.kernel
def test_lost_copies_are_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOBUFS is a count, not an end of service."""
    bench.samples.close()
    monkeypatch.setattr("sipguard.edge.samples._SOCKET_OCTETS", 4096)
    bench.samples = bench.lab.b.run(lambda: Samples(GROUP, bench.copies.append))
    bench.send(*[bytes(1000)] * 100)
    bench.samples.doRead()
    assert bench.samples.overruns > 0
    bench.copies.clear()
    bench.send(b"media")
    bench.samples.doRead()
    assert bench.copies


@pytest.mark.kernel
def test_without_permission_it_says_so(lab: Lab) -> None:
    """One sentence, not a traceback, for who forgot to be root."""
    assert "CAP_NET_ADMIN" in lab.router.unprivileged(
        "from sipguard.edge.samples import Samples; Samples(3, print)"
    )

"""The messages of a queue without a kernel: read whole, answered together, never trusted to fit."""

import errno
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.queued import ALONE, VERDICTS, QueuedPacket, Reader

MARK = 0x40000000


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def queued(number: int, *more: bytes, octets: bytes = b"packet") -> bytes:
    """One packet as the kernel hands it over."""
    identifier = attribute(1, struct.pack("!IHBx", number, 0x800, 2))
    body = bytes(4) + identifier + b"".join(more) + attribute(10, octets)
    return struct.pack("=IHHII", 16 + len(body), 0x300, 0, 0, 0) + body


class Desk:
    """A reader between a list of messages and a list of what was sent."""

    def __init__(self, judge: Callable[[bytes, str, QueuedPacket], None], max_held: int = 1):
        self.arriving: list[bytes | OSError] = []
        self.sent: list[bytes] = []
        self.failures: list[bool] = []
        ends = self.receive, self.sent.append
        self.reader = Reader(7, MARK, *ends, judge, str, self.failed, max_held)

    def receive(self, _most: int) -> bytes:
        if not self.arriving:
            raise BlockingIOError(errno.EAGAIN, "nothing waits")
        message = self.arriving.pop(0)
        if isinstance(message, OSError):
            raise message
        return message

    def failed(self, packet: QueuedPacket, raised: bool) -> None:
        self.failures.append(raised)
        packet.drop()

    def read(self, *messages: bytes | OSError, most: int = 64) -> list[tuple[int, int, int]]:
        """Return id, verdict and mark of everything that was sent meanwhile."""
        self.arriving += messages
        self.sent.clear()
        self.reader.read(most)
        return verdicts(b"".join(self.sent))


def verdicts(octets: bytes) -> list[tuple[int, int, int]]:
    found = []
    while octets:
        length, kind = struct.unpack_from("=IH", octets)
        assert kind == 0x301
        assert struct.unpack_from("!H", octets, 18) == (7,)
        verdict, number = struct.unpack_from("!II", octets, 24)
        mark = struct.unpack_from("!I", octets, 36)[0] if length == 40 else 0
        found.append((number, verdict, mark))
        octets = octets[length:]
    return found


def accept(_octets: bytes, _interface: str, packet: QueuedPacket) -> None:
    packet.accept()


def test_octets_interface_and_mark_are_read() -> None:
    """Whatever attributes stand between, and with the bits that others set in the mark."""
    seen = []

    def judge(octets: bytes, interface: str, packet: QueuedPacket) -> None:
        seen.append((octets, interface))
        packet.accept()

    more = (attribute(5, struct.pack("!I", 3)), attribute(9, bytes(12)), attribute(3, b"\0\0\0\5"))
    assert Desk(judge).read(queued(9, *more, octets=b"odd")) == [(9, 1, MARK | 5)]
    assert seen == [(b"odd", "3")]


def test_our_own_packets_have_no_interface() -> None:
    """What this machine sends came in nowhere."""
    seen = []

    def judge(_octets: bytes, interface: str, packet: QueuedPacket) -> None:
        seen.append(interface)
        packet.drop()

    desk = Desk(judge)
    assert desk.read(queued(1)) == [(1, 0, 0)]
    assert seen == [""]


def test_verdicts_leave_together_and_none_is_left_behind() -> None:
    """In a crowd a few in each message; what is over at the end of the batch goes as well."""
    desk = Desk(accept)
    crowd = ALONE + VERDICTS + 3
    given = desk.read(*(queued(number) for number in range(crowd)))
    assert given == [(number, 1, MARK) for number in range(crowd)]
    assert [len(message) for message in desk.sent] == [40] * ALONE + [VERDICTS * 40, 3 * 40]


def test_without_a_crowd_no_verdict_waits() -> None:
    """The first packets of each turn are answered one by one."""
    desk = Desk(accept)
    for _ in range(2):
        desk.read(*(queued(number) for number in range(ALONE)))
        assert [len(message) for message in desk.sent] == [40] * ALONE


def test_a_verdict_outside_a_batch_leaves_at_once() -> None:
    """Who held a packet owes it a verdict, and no other packet may come to carry it."""
    kept: list[QueuedPacket] = []

    def judge(_octets: bytes, _interface: str, packet: QueuedPacket) -> None:
        assert packet.retain()
        kept.append(packet)

    desk = Desk(judge)
    assert desk.read(queued(1)) == []
    kept[0].accept()
    kept[0].drop()
    assert verdicts(b"".join(desk.sent)) == [(1, 1, MARK)]
    assert desk.failures == []


def test_a_judge_that_fails_delays_no_other() -> None:
    """Raised or forgotten: told apart, and both get their verdict."""

    def judge(octets: bytes, _interface: str, packet: QueuedPacket) -> None:
        if octets == b"raise":
            raise ZeroDivisionError
        if octets != b"forget":
            packet.accept()

    desk = Desk(judge)
    messages = queued(1, octets=b"raise"), queued(2, octets=b"forget"), queued(3)
    assert desk.read(*messages) == [(1, 0, 0), (2, 0, 0), (3, 1, MARK)]
    assert desk.failures == [True, False]


def test_an_overrun_is_counted_and_reading_goes_on() -> None:
    """ENOBUFS says that packets were lost, not that none follow."""
    desk = Desk(accept)
    assert desk.read(OSError(errno.ENOBUFS, "lost"), queued(1)) == [(1, 1, MARK)]
    assert desk.reader.overruns == 1


def test_another_fault_of_the_socket_is_raised_after_the_verdicts() -> None:
    """What was judged before it is not lost."""
    desk = Desk(accept)
    with pytest.raises(OSError, match="broken"):
        desk.read(queued(1), OSError(errno.EIO, "broken"))
    assert verdicts(b"".join(desk.sent)) == [(1, 1, MARK)]


def test_errors_of_the_kernel_are_no_packets() -> None:
    """A verdict for a packet that is gone is answered with an error message."""
    desk = Desk(accept)
    refusal = struct.pack("=IHHIIi", 36, 2, 0, 0, 0, -errno.ENOENT) + bytes(16)
    assert desk.read(refusal, b"", b"short") == []
    assert desk.reader.packets == 0


@given(st.binary(max_size=64), st.integers(0, 60))
def test_no_octets_of_a_message_raise(noise: bytes, cut: int) -> None:
    """Lengths that do not fit end the walk."""
    desk = Desk(accept)
    whole = queued(1, attribute(5, b"\0\0\0\1"))
    desk.read(whole[:20] + noise, whole[:cut] + noise, whole[:cut])
    assert desk.failures == []


def test_it_knows_whether_a_turn_left_something() -> None:
    """Who must not overtake a packet that waits asks for that."""
    desk = Desk(accept)
    known = [desk.reader.is_empty]
    for messages in ((queued(1), queued(2)), (queued(3),)):
        desk.read(*messages, most=2)
        known.append(desk.reader.is_empty)
    assert known == [True, False, True]

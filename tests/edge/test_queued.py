"""The messages of a queue without a kernel: read whole, answered together, never trusted to fit."""

import errno
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.apart import MAX_OF_SENDER, Apart
from sipguard.edge.queued import ALONE, LARGE, VERDICTS, QueuedPacket, Reader

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

    def __init__(
        self,
        judge: Callable[[bytes, str, QueuedPacket], None],
        max_held: int = 1,
        apart: Apart | None = None,
        make_way: Callable[[], None] | None = None,
    ):
        self.arriving: list[bytes | OSError] = []
        self.sent: list[bytes] = []
        self.failures: list[bool] = []
        ends = self.receive, self.sent.append
        self.reader = Reader(
            7, MARK, *ends, judge, str, self.failed, max_held, apart, QueuedPacket.accept, make_way
        )

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


def test_what_packets_need_is_done_before_they_go_on() -> None:
    """In a crowd once for many; for those that are dropped, not at all."""
    sent_before: list[int] = []
    desk = Desk(accept, make_way=lambda: sent_before.append(len(b"".join(desk.sent)) // 40))
    desk.read(*(queued(number) for number in range(ALONE + VERDICTS + 3)))
    assert sent_before == [*range(ALONE), ALONE, ALONE + VERDICTS]
    dropping = Desk(lambda _o, _i, packet: packet.drop(), make_way=lambda: sent_before.clear())
    dropping.read(*(queued(number) for number in range(ALONE + 3)))
    assert sent_before


def test_where_that_fails_the_packets_have_failed() -> None:
    """All that would have gone on by it, and nobody else; those after them are not concerned."""
    ways = [*range(ALONE + 1), -1]

    def make_way() -> None:
        ways.pop(0)
        if len(ways) == 1:
            raise ZeroDivisionError

    def judge(octets: bytes, _interface: str, packet: QueuedPacket) -> None:
        if octets == b"bad":
            packet.drop()
        else:
            packet.accept()

    desk = Desk(judge, make_way=make_way)
    crowd = [queued(number) for number in range(ALONE + VERDICTS + 1)]
    crowd[ALONE + 2] = queued(ALONE + 2, octets=b"bad")
    given = desk.read(*crowd)
    assert sorted(number for number, _, _ in given) == list(range(len(crowd)))
    accepted = [number for number, verdict, _ in given if verdict]
    assert accepted == [*range(ALONE), ALONE + VERDICTS]
    assert desk.failures == [True] * (VERDICTS - 1)
    assert (desk.reader.accepted, desk.reader.dropped) == (ALONE + 1, VERDICTS)


def test_what_failed_may_pass_all_the_same_where_that_is_chosen() -> None:
    """Fail-open: every packet goes on, once, though the way is never made."""

    def make_way() -> None:
        raise ZeroDivisionError

    def pass_on(packet: QueuedPacket, raised: bool) -> None:
        assert raised
        packet.accept()

    desk = Desk(accept, make_way=make_way)
    desk.reader._failed = pass_on  # the desk's own drops
    crowd = ALONE + VERDICTS + 3
    given = desk.read(*(queued(number) for number in range(crowd)))
    assert given == [(number, 1, MARK) for number in range(crowd)]
    assert desk.reader.accepted == crowd


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


SMALL, LARGER = b"\x45" + bytes(40), b"\x45" + bytes(1600)


def from_(sender: int, octets: bytes) -> bytes:
    return octets[:12] + bytes((10, 0, 0, sender)) + octets[16:]


def ids_in(octets: bytes) -> list[int]:
    return [number for number, _, _ in verdicts(octets)]


def test_small_packets_are_judged_before_large_ones() -> None:
    """A running call does not wait for what came in fragments just before."""
    desk = Desk(accept, apart=Apart(1500))
    large = [queued(number, octets=from_(1, LARGER)) for number in (1, 2)]
    small = [queued(number, octets=from_(2, SMALL)) for number in (3, 4)]
    assert desk.read(*large, *small) == [(number, 1, MARK) for number in (3, 4, 1, 2)]
    assert desk.reader.packets == 4
    assert desk.reader.is_empty


def test_a_sender_does_not_overtake_himself() -> None:
    """What the large one's sender sent behind it comes behind it."""
    desk = Desk(accept, apart=Apart(1500))
    messages = [
        queued(1, octets=from_(1, LARGER)),
        queued(2, octets=from_(1, SMALL)),
        queued(3, octets=from_(2, SMALL)),
    ]
    desk.read(*messages)
    assert ids_in(b"".join(desk.sent)) == [3, 1, 2]


def test_verdicts_do_not_wait_for_a_large_packet() -> None:
    """In a crowd they wait for each other, and for small ones alone."""
    sent_before: list[int] = []

    def judge(octets: bytes, _interface: str, packet: QueuedPacket) -> None:
        if len(octets) > 1500:
            sent_before.extend(ids_in(b"".join(desk.sent)))
        packet.accept()

    desk = Desk(judge, apart=Apart(1500))
    small = [queued(number, octets=from_(2, SMALL)) for number in range(2, ALONE + 4)]
    desk.read(queued(1, octets=from_(1, LARGER)), *small)
    assert sent_before == list(range(2, ALONE + 4))


def test_a_turn_has_a_few_large_packets_and_leaves_the_rest() -> None:
    """Timers and media wait for no more; whoever calls must call again."""
    desk = Desk(accept, apart=Apart(1500))
    large = [queued(number, octets=from_(number % 2, LARGER)) for number in range(LARGE + 2)]
    assert len(desk.read(*large)) == LARGE
    assert (desk.reader.apart, desk.reader.is_empty) == (2, False)
    assert len(desk.read()) == 2
    assert (desk.reader.apart, desk.reader.is_empty) == (0, True)


def test_small_packets_without_end_do_not_starve_large_ones() -> None:
    """One in each turn, whatever comes."""
    desk = Desk(accept, apart=Apart(1500))
    small = [queued(number, octets=from_(2, SMALL)) for number in range(2, 12)]
    desk.read(queued(1, octets=from_(1, LARGER)), *small, most=4)
    assert ids_in(b"".join(desk.sent)) == [2, 3, 4, 1]


def test_without_room_the_queue_is_full() -> None:
    """What comes beyond it gets the verdict of a full queue, unjudged, and is counted."""
    desk = Desk(lambda _octets, _interface, packet: packet.drop(), apart=Apart(1500))
    large = [queued(number, octets=from_(1, LARGER)) for number in range(MAX_OF_SENDER + 2)]
    assert desk.read(*large[:-2], most=MAX_OF_SENDER) == [(0, 0, 0)]
    found = desk.read(*large[-2:], most=2)
    assert found == [(MAX_OF_SENDER + 1, 1, MARK), (1, 0, 0)]
    assert desk.reader.crowded_out == 1


def test_the_small_of_one_who_waits_count_for_his_room() -> None:
    """They are kept as well, so there is a bound to them as well."""
    desk = Desk(accept, apart=Apart(1500))
    first = queued(0, octets=from_(1, LARGER)), queued(1, octets=from_(1, LARGER))
    desk.read(*first, *(queued(2, octets=from_(1, SMALL)) for _ in range(MAX_OF_SENDER)), most=258)
    assert desk.reader.crowded_out == 2


def test_without_a_place_apart_packets_come_in_order() -> None:
    """Nobody would call again."""
    desk = Desk(accept)
    desk.read(queued(1, octets=from_(1, LARGER)), queued(2, octets=from_(2, SMALL)))
    assert ids_in(b"".join(desk.sent)) == [1, 2]


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40), st.integers(1, 9))
def test_every_packet_gets_one_verdict(flood: list[tuple[int, bool]], most: int) -> None:
    """In every mixture, and each sender's in the order in which he sent them."""
    desk = Desk(accept, apart=Apart(1500))
    desk.arriving = [
        queued(number, octets=from_(sender, LARGER if is_large else SMALL))
        for number, (sender, is_large) in enumerate(flood)
    ]
    for _ in range(len(flood) + 1):
        desk.reader.read(most)
    given_ = ids_in(b"".join(desk.sent))
    assert sorted(given_) == list(range(len(flood)))
    for sender in range(3):
        own = [number for number in given_ if flood[number][0] == sender]
        assert own == sorted(own)

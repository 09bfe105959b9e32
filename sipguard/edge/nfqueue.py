"""Packets that the kernel holds for us: one NFQUEUE number as a Twisted reader.

The package NetfilterQueue opens and binds it. The packets are read from the
same socket by ourselves (``queued``): the package reads into 4096 octets and
asks the kernel for 4016 of each packet, so a reassembled INVITE would arrive
cut, and it gives each verdict a system call of its own. The copy range is set
again here.

Every packet gets a verdict, whatever the judge does: a packet without one
fills the queue for good.
"""

import os
import socket
import struct
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.apart import LARGE_OCTETS, Apart
from sipguard.edge.busy_poll import BusyPoll
from sipguard.edge.clock import Clock
from sipguard.edge.complaints import Complaints
from sipguard.edge.plan import MARK
from sipguard.edge.queued import Judge, QueuedPacket, Reader
from sipguard.errors import EdgeError

if TYPE_CHECKING:  # an optional package: captures are judged without it
    from netfilterqueue import NetfilterQueue

MAX_PACKETS: Final = 8192  # what the kernel holds: 0.3 s of a saturated reader
BATCH: Final = 64  # packets in one reactor turn, under 2 ms: timers are never starved
SOCKET_OCTETS: Final = 16 << 20  # the kernel doubles it; 8192 small packets cost about 16 MB
MAX_HELD: Final = 256

_COPY_RANGE: Final = 0xFFFF
_MAX_NAMES: Final = 4096
_SO_RCVBUFFORCE: Final = 33
_PROC: Final = "/proc/thread-self/net/netfilter/nfnetlink_queue"
_FAIL_OPEN: Final = 1  # NFQA_CFG_F_FAIL_OPEN
_SOON: Final = 4  # turns in one, at most, where the end of one asks for the next

TurnEnd = Callable[[bool], bool]


class QueueStatus(NamedTuple):
    """The kernel's own count of one queue; the two drop counts only ever grow."""

    waiting: int
    dropped_full: int  # the queue was full (queue_dropped)
    dropped_unread: int  # our socket's buffer was full (user_dropped)
    owner: int  # netlink port of the reader; usually its process id


class QueueCounts(NamedTuple):
    """What this reader has done."""

    packets: int
    accepted: int
    dropped: int
    held: int
    failures: int  # the judge raised, or gave no verdict
    overruns: int  # ENOBUFS: the kernel had to drop before we read
    crowded_out: int  # large packets for which there was no room to wait


@implementer(IReadDescriptor)
class Queue:
    """Reader of one queue number; add it to the reactor with ``addReader``.

    Args:
        number: The queue's number in this network namespace.
        judge: Called with the packet from its IP header on, the name of the
            interface it came in by ("" for our own packets), and the handle.
        mark: The bit that says "judged" to the rules behind the queue.
        fail_open: The verdict where our own code failed, and the kernel's
            choice when the queue is full.
        make_way: Called before accepted packets go on; where it raises, they have failed.
        turn_end: Called when the packets of a turn have their verdicts; told
            whether any is left. Returns whether to look for more at once.
        reactor: With it, large packets wait while small ones come.
        poll: Looks for packets where they come close together.

    Raises:
        EdgeError: no permission, or another process has the queue.
    """

    log = Logger()

    def __init__(
        self,
        number: int,
        judge: Judge,
        *,
        mark: int = MARK,
        fail_open: bool = False,
        max_packets: int = MAX_PACKETS,
        socket_octets: int = SOCKET_OCTETS,
        batch: int = BATCH,
        max_held: int = MAX_HELD,
        make_way: Callable[[], None] | None = None,
        turn_end: TurnEnd | None = None,
        reactor: Clock | None = None,
        poll: BusyPoll | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number = number
        self._fail_open = fail_open
        self._batch = batch
        self._turn_end = turn_end
        self._reactor = reactor
        self._is_called = False  # the reactor's next turn is ours
        self._failures = 0
        self._complaints = Complaints(f"queue {number}", clock)
        self._library: NetfilterQueue | None = _open(number)
        _bind(self._library, number, max_packets, socket_octets)
        # A second descriptor of the library's own socket: same netlink port,
        # so the kernel takes its settings for this queue.
        self._fd = self._library.get_fd()
        self._socket = socket.socket(fileno=os.dup(self._fd))
        self._socket.setblocking(False)
        self._configure(socket_octets)
        ends = self._socket.recv, self._socket.send
        apart = Apart(LARGE_OCTETS) if reactor is not None else None
        self._reader = Reader(
            number, mark, *ends, judge, self._name, self._failed, max_held, apart, self._fail,
            make_way,
        )  # fmt: skip
        self._poll = poll
        if poll is not None:
            poll.add(self.turn)

    def _configure(self, socket_octets: int) -> None:
        self._socket.send(_copy_range(self.number, fail_open=self._fail_open))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, socket_octets)
        except PermissionError:
            self.log.warn("queue {number}: the socket's buffer stays small", number=self.number)

    # --- IReadDescriptor

    def fileno(self) -> int:
        """Return the socket to wait on; -1 once closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Return the name that Twisted shows."""
        return f"nfqueue {self.number}"

    def doRead(self) -> None:
        """Judge what waits, at most one batch, so that the reactor keeps its turn."""
        packets = self.turn()
        if self._poll is not None:
            self._poll.came(packets)

    def turn(self) -> int:
        """Judge what waits, at most one batch; return how many packets it was."""
        if self._library is None:
            return 0
        reader = self._reader
        before, was_empty = reader.packets, reader.is_empty
        try:
            reader.read(self._batch)
            is_news = reader.packets != before or not was_empty
            if is_news and self._turn_end is not None:
                self._end_turn(self._turn_end)
        except OSError as failure:
            self._complaints.at("socket", Failure(failure))
        if self._reactor is not None and reader.apart and not self._is_called:
            self._is_called = True
            self._reactor.callLater(0, self._go_on)
        return reader.packets - before

    def _go_on(self) -> None:
        """Judge what stands apart; the socket does not tell of it."""
        self._is_called = False
        self.doRead()

    def _end_turn(self, turn_end: TurnEnd) -> None:
        for _ in range(_SOON):
            try:
                if not turn_end(self._reader.is_empty):
                    return
            except Exception:  # noqa: BLE001 - no packet waits for it, and the next come
                self._failures += 1
                self._complaints.of_code(Failure())
                return
            self._reader.read(self._batch)

    def connectionLost(self, reason: Failure) -> None:
        """Give the queue back; the kernel drops or passes what it still holds."""
        self.close()

    # ---

    def close(self) -> None:
        """Drop what is held and unbind; safe to call twice."""
        if self._library is None:
            return
        for packet in tuple(self._reader.held):
            self._fail(packet)
        self._reader.held.clear()
        if self._poll is not None:
            self._poll.remove(self.turn)
        self._library.unbind()
        self._library = None
        self._socket.close()
        self._fd = -1

    def counts(self) -> QueueCounts:
        """Return what this reader has done so far."""
        reader = self._reader
        held = sum(not packet.settled for packet in reader.held)
        return QueueCounts(
            reader.packets,
            reader.accepted,
            reader.dropped,
            held,
            self._failures,
            reader.overruns,
            reader.crowded_out,
        )

    def status(self) -> QueueStatus | None:
        """Return the kernel's counters of this queue, None where it has no such queue."""
        return read_status(self.number)

    def waiting(self) -> int:
        """Return how many packets the kernel holds; not asked where the last turn took all."""
        status = None if self._reader.is_empty else self.status()
        return status.waiting if status is not None else 0

    def choose(self, *, fail_open: bool) -> None:
        """Take another policy's choice for faults of our own, and for a full queue."""
        if self._library is not None and fail_open is not self._fail_open:
            self._fail_open = fail_open
            self._socket.send(_copy_range(self.number, fail_open=fail_open))

    def forget_interfaces(self) -> None:
        """Read interface names anew; they change when a link is renamed or made again."""
        self._reader.names = {b"": ""}

    def _failed(self, packet: QueuedPacket, raised: bool) -> None:
        """Give the verdict that the judge did not give; called while its exception is known."""
        self._failures += 1
        self._fail(packet)
        if raised:
            self._complaints.of_code(Failure())

    def _fail(self, packet: QueuedPacket) -> None:
        if self._fail_open:
            packet.accept()
        else:
            packet.drop()

    def _name(self, index: int) -> str:
        try:
            name = socket.if_indextoname(index)
        except OSError:
            return ""  # gone already; asked again next time
        if len(self._reader.names) >= _MAX_NAMES:
            self.forget_interfaces()
        self._reader.names[index.to_bytes(4, "big")] = name
        return name


def read_status(number: int) -> QueueStatus | None:
    """Return the kernel's counters of queue *number* in this thread's network namespace."""
    try:
        with open(_PROC, encoding="ascii") as table:
            rows = [line.split() for line in table]
    except OSError:
        return None
    for row in rows:
        if len(row) >= 7 and int(row[0]) == number:
            return QueueStatus(
                waiting=int(row[2]),
                dropped_full=int(row[5]),
                dropped_unread=int(row[6]),
                owner=int(row[1]),
            )
    return None


def _open(number: int) -> "NetfilterQueue":
    try:
        from netfilterqueue import NetfilterQueue
    except ImportError as absence:
        raise EdgeError(
            "the Python package NetfilterQueue is not installed; it compiles against "
            "libnetfilter-queue-dev: pip install 'sipguard[gateway]'"
        ) from absence
    try:
        return NetfilterQueue()
    except OSError as refusal:
        raise EdgeError(
            f"cannot open netfilter queue {number}: run as root or with CAP_NET_ADMIN, "
            "on a kernel with nfnetlink_queue"
        ) from refusal


def _bind(library: "NetfilterQueue", number: int, max_packets: int, socket_octets: int) -> None:
    before = read_status(number)
    if before is not None:
        raise EdgeError(
            f"netfilter queue {number} is bound already (netlink port {before.owner}, usually "
            "the process id); stop that process or choose another queue number"
        )
    try:
        with warnings.catch_warnings():
            # It warns where the buffer is smaller than asked; we set it again.
            warnings.simplefilter("ignore", RuntimeWarning)
            library.bind(number, _unread, max_len=max_packets, sock_len=socket_octets)
    except OSError as refusal:
        raise EdgeError(
            f"cannot bind netfilter queue {number}: {refusal}; "
            "CAP_NET_ADMIN is needed, and the queue must be free"
        ) from refusal


def _unread(_packet: object) -> None:
    """Stand for the library's callback: it never reads, so it never calls."""


def _copy_range(number: int, *, fail_open: bool) -> bytes:
    """Return the netlink message that asks for whole packets (nfnetlink_queue.h)."""
    parameters = struct.pack("=HH", 9, 2) + struct.pack("!IB", _COPY_RANGE, 2) + b"\0" * 3
    flags = b"".join(
        struct.pack("=HH", 8, kind) + struct.pack("!I", _FAIL_OPEN if value else 0)
        for kind, value in ((4, True), (5, fail_open))
    )
    # Attribute 4 is the mask of flags to change, 5 their new value.
    body = struct.pack("!BBH", 0, 0, number) + parameters + flags
    return struct.pack("=IHHII", 16 + len(body), 0x302, 1, 0, 0) + body

"""The netlink messages of one NFQUEUE: packets in, verdicts out (nfnetlink_queue.h).

A library would call back for each packet and give each verdict a system call
of its own. Here, where many wait, the verdicts of a few packets leave in one
message: a packet waits for those judged right behind it, never for those that
come later, and not at all where there is no crowd. Large packets may stand apart
until no small one waits.
"""

import errno
import struct
from collections.abc import Callable
from typing import Final, final

from sipguard.edge.apart import Apart
from sipguard.edge.nft_messages import u16
from sipguard.wire.channel import CLEAR

RECV_OCTETS: Final = 0x11000  # the largest IP packet and its netlink attributes
# In one message: the first waits while the others are judged, and what they open shares one
# transaction of the kernel's.
VERDICTS: Final = 16
ALONE: Final = 8  # the first packets of a turn: each verdict leaves at once
LARGE: Final = 4  # packets that stood apart, in one turn: what else runs is not kept waiting

_PACKET: Final = 0x300  # NFNL_SUBSYS_QUEUE, NFQNL_MSG_PACKET
_VERDICT: Final = 0x301
_FIRST_ATTRIBUTE: Final = 20  # behind the headers of netlink and nfnetlink
_KIND: Final = 0x3FFF
_ID: Final = 1
_MARK: Final = 3
_INTERFACE: Final = 5
_OCTETS: Final = 10
_NF_DROP: Final = 0
_NF_ACCEPT: Final = 1
_NO_MARK: Final = b"\0\0\0\0"

Judge = Callable[[bytes, str, "QueuedPacket"], None]


@final
class QueuedPacket:
    """One packet in the kernel's hands; exactly one verdict is ever given."""

    __slots__ = ("_identifier", "_mark", "_reader", "channel", "settled")

    def __init__(self, reader: "Reader", identifier: bytes, mark: bytes) -> None:
        self._reader = reader
        self._identifier = identifier
        self._mark = mark
        self.channel = CLEAR  # what it came through, where the policy asks
        self.settled = False

    @property
    def mark(self) -> int:
        """The mark that the rules before the queue left on it."""
        return int.from_bytes(self._mark, "big")

    def accept(self) -> None:
        """Let it go on, with our mark added to whatever mark it carries."""
        if not self.settled:
            self.settled = True
            self._reader.accept(self, self._identifier, self._mark)

    def drop(self) -> None:
        """End it here, silently."""
        if not self.settled:
            self.settled = True
            self._reader.drop(self._identifier)

    def fail(self) -> None:
        """Give the verdict for faults of our own; called where one is being handled."""
        if not self.settled:
            self._reader.fail(self)

    def retain(self) -> bool:
        """Keep it for a later verdict; False when too many wait already.

        Whoever holds it owes it a verdict: a deadline is the holder's duty.
        """
        return self._reader.hold(self)


@final
class Reader:
    """Reads the packets of one queue, and sends the verdicts that their judge gives.

    Args:
        number: The queue's number.
        mark: The bit that every accepted packet's mark gets.
        receive: Returns the next message, of at most so many octets; raises
            ``BlockingIOError`` where none waits.
        send: Sends one message to the kernel.
        judge: Called with the packet from its IP header on, the name of the
            interface it came in by, and the handle.
        name_of: Returns the name of an interface that is not in ``names``.
        failed: Called where the judge raised or gave no verdict, while the exception is known.
        max_held: How many packets may wait for a later verdict.
        apart: Where large packets wait while others come; without it, none does. Somebody
            must call :meth:`read` again while there are any.
        full: Called with a packet for which there is no room.
        make_way: Called before packets go on, for what must be in force by then. Where it
            raises, they have failed.
    """

    __slots__ = (
        "_accept",
        "_accepts",
        "_apart",
        "_crowd",
        "_drop",
        "_drops",
        "_failed",
        "_full",
        "_going",
        "_is_failing",
        "_judge",
        "_make_way",
        "_mark",
        "_max_held",
        "_name_of",
        "_plain_mark",
        "_reading",
        "_receive",
        "_send",
        "_waiting",
        "accepted",
        "crowded_out",
        "dropped",
        "held",
        "is_empty",
        "names",
        "overruns",
        "packets",
    )

    def __init__(
        self,
        number: int,
        mark: int,
        receive: Callable[[int], bytes],
        send: Callable[[bytes], object],
        judge: Judge,
        name_of: Callable[[int], str],
        failed: Callable[[QueuedPacket, bool], None],
        max_held: int,
        apart: Apart | None = None,
        full: Callable[[QueuedPacket], None] = QueuedPacket.drop,
        make_way: Callable[[], None] | None = None,
    ) -> None:
        self._receive = receive
        self._send = send
        self._judge = judge
        self._name_of = name_of
        self._failed = failed
        self._max_held = max_held
        self._apart = apart
        self._full = full
        self._make_way = make_way
        self._mark = mark
        self._plain_mark = _mark_attribute(mark)
        self._accept = _verdict_head(number, _NF_ACCEPT, len(self._plain_mark))
        self._drop = _verdict_head(number, _NF_DROP, 0)
        self._accepts: list[bytes] = []  # verdicts that have not left
        self._drops: list[bytes] = []
        self._going: list[QueuedPacket] = []  # those they let go on, where a way must be made
        self._is_failing = False
        self._waiting = 0
        self._reading = False
        self.is_empty = True  # whether the last turn left nothing behind
        self._crowd = 0  # the number of packets from which on verdicts wait for each other
        self.packets = self.accepted = self.dropped = self.overruns = 0
        self.crowded_out = 0  # no room to stand apart
        self.names: dict[bytes, str] = {b"": ""}
        self.held: set[QueuedPacket] = set()

    @property
    def apart(self) -> int:
        """How many packets stand apart, and wait for another call of :meth:`read`."""
        return len(self._apart) if self._apart is not None else 0

    def read(self, most: int) -> None:
        """Judge what waits, at most so many packets.

        Raises:
            OSError: the socket failed.
        """
        self._reading = True
        self.is_empty = False
        self._crowd = self.packets + ALONE
        large = LARGE
        try:
            for _ in range(most):
                message = self._next()
                if message is not None:
                    self._take(message)
                elif large and self._take_apart():
                    large -= 1
                else:
                    self.is_empty = not self.apart
                    break
            else:
                if large == LARGE:  # small ones never cease; even so, each turn has a large one
                    self._take_apart()
        finally:
            self._reading = False
            self.flush()

    def _next(self) -> bytes | None:
        """Return the next message, None where none waits."""
        try:
            return self._receive(RECV_OCTETS)
        except BlockingIOError:
            return None
        except OSError as failure:
            if failure.errno != errno.ENOBUFS:
                raise
            self.overruns += 1
            return b""

    def _take_apart(self) -> bool:
        """Judge one of those that stand apart, if there is any."""
        apart = self._apart
        if apart is None or not len(apart):
            return False
        self.flush()  # what was judged does not wait for it
        identifier, mark, interface, octets = apart.take()
        self._ask(octets, interface, QueuedPacket(self, identifier, mark))
        return True

    def _take(self, message: bytes) -> None:
        """Judge the packet of one message; other messages only say that a verdict came too late."""
        end = len(message)
        if end < _FIRST_ATTRIBUTE or u16(message, 4) != _PACKET:
            return
        identifier = mark = interface = octets = b""
        at = _FIRST_ATTRIBUTE
        while at + 4 <= end:
            length, kind = u16(message, at), u16(message, at + 2) & _KIND
            if length < 4 or at + length > end:
                break
            if kind == _OCTETS:
                octets = message[at + 4 : at + length]
            elif kind == _INTERFACE:
                interface = message[at + 4 : at + 8]
            elif kind == _ID:
                identifier = message[at + 4 : at + 8]
            elif kind == _MARK:
                mark = message[at + 4 : at + 8]
            at += (length + 3) & ~3
        if len(identifier) == 4:
            self._admit(octets, interface, identifier, mark)

    def _admit(self, octets: bytes, interface: bytes, identifier: bytes, mark: bytes) -> None:
        """Judge a packet now, or have it wait until there is nothing else."""
        apart = self._apart
        if apart is None or not apart.wants(octets):
            self._ask(octets, interface, QueuedPacket(self, identifier, mark))
        elif not apart.add((identifier, mark, interface, octets)):
            self.crowded_out += 1
            self._full(QueuedPacket(self, identifier, mark))

    def _ask(self, octets: bytes, interface: bytes, packet: QueuedPacket) -> None:
        self.packets += 1
        try:
            name = self.names.get(interface)
            if name is None:
                name = self._name_of(int.from_bytes(interface, "big"))
            self._judge(octets, name, packet)
        except Exception:  # noqa: BLE001 - whatever it was, this packet needs a verdict
            self._failed(packet, True)
            return
        if not packet.settled and packet not in self.held:
            self._failed(packet, False)

    def accept(self, packet: QueuedPacket, identifier: bytes, mark: bytes) -> None:
        """Give the verdict that lets a packet go on."""
        self.accepted += 1
        if mark and mark != _NO_MARK:
            marked = _mark_attribute(int.from_bytes(mark, "big") | self._mark)
        else:
            marked = self._plain_mark
        accepts = self._accepts
        accepts.append(self._accept)
        accepts.append(identifier)
        accepts.append(marked)
        if self._make_way is not None:
            self._going.append(packet)
        self._count()

    def drop(self, identifier: bytes) -> None:
        """Give the verdict that ends a packet."""
        self.dropped += 1
        self._drops.append(self._drop)
        self._drops.append(identifier)
        self._count()

    def _count(self) -> None:
        self._waiting += 1
        if self._is_failing:
            return  # it leaves with those that failed with it
        if self._waiting >= VERDICTS or self.packets <= self._crowd or not self._reading:
            self.flush()

    def flush(self) -> None:
        """Send the verdicts given so far.

        Raises:
            OSError: the kernel does not take them.
        """
        if not self._waiting:
            return
        if self._going and self._make_way is not None:
            self._prepare(self._make_way)
        message = b"".join(self._accepts + self._drops)
        self._accepts.clear()
        self._drops.clear()
        self._waiting = 0
        self._send(message)

    def _prepare(self, make_way: Callable[[], None]) -> None:
        """Have done what must be in force before packets go on; where that fails, so have they."""
        going, self._going = self._going, []
        try:
            make_way()
        except Exception:  # noqa: BLE001 - whatever it was, they need a verdict
            self._accepts.clear()
            self.accepted -= len(going)
            self._waiting -= len(going)
            self._fail_together(going)

    def _fail_together(self, going: list[QueuedPacket]) -> None:
        self._is_failing = True
        try:
            for packet in going:
                packet.settled = False
                self._failed(packet, True)
        finally:
            self._is_failing = False
            self._going.clear()

    def fail(self, packet: QueuedPacket) -> None:
        """Have the verdict given that follows a fault; see :meth:`QueuedPacket.fail`."""
        self._failed(packet, True)

    def hold(self, packet: QueuedPacket) -> bool:
        """Keep *packet* beyond its turn, if there is room; see :meth:`QueuedPacket.retain`."""
        self.held = {waiting for waiting in self.held if not waiting.settled}
        if len(self.held) >= self._max_held:
            return False
        self.held.add(packet)
        return True


def _verdict_head(number: int, verdict: int, more: int) -> bytes:
    """Return a verdict's message up to the packet's id; *more* octets follow that."""
    return (
        struct.pack("=IHHII", 32 + more, _VERDICT, 1, 0, 0)
        + struct.pack("!BBH", 0, 0, number)
        + struct.pack("=HH", 12, 2)
        + struct.pack("!I", verdict)
    )


def _mark_attribute(mark: int) -> bytes:
    return struct.pack("=HH", 8, _MARK) + struct.pack("!I", mark)

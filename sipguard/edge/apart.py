"""Large packets stand apart: they are judged while no small one waits, each sender's in turn.

A message that comes in fragments costs more than others, above all where it brings a signature.
Judged in the order of arrival, a flood of them would make every running call wait for it. What
belongs to a running call is small, but for a few offers.

The messages of one sender keep their order: behind a large one that waits, his small ones wait
as well. Senders take turns, so that no flood stands before another sender's signed call.
"""

from collections import OrderedDict
from typing import Final, final

LARGE_OCTETS: Final = 1500  # more than one Ethernet frame carries
MAX_APART: Final = 512  # packets; a quarter of a second if each brings a signature
MAX_OF_SENDER: Final = 256  # nobody has all the room

Waiting = tuple[bytes, bytes, bytes, bytes]  # id, mark, interface and octets of a packet


@final
class Apart:
    """The packets that wait until nothing else does.

    Args:
        large_octets: Larger ones stand apart.
    """

    __slots__ = ("_by_sender", "_count", "_large_octets")

    def __init__(self, large_octets: int) -> None:
        self._large_octets = large_octets
        # The first sender is the next one. Lists are short, and cut from the front.
        self._by_sender: OrderedDict[bytes, list[Waiting]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def wants(self, octets: bytes) -> bool:
        """Whether a packet has to wait: it is large, or would overtake one of its sender."""
        if len(octets) > self._large_octets:
            return True
        return self._count > 0 and sender_of(octets) in self._by_sender

    def add(self, waiting: Waiting) -> bool:
        """Have a packet wait; False where there is no room for it."""
        sender = sender_of(waiting[3])
        line = self._by_sender.get(sender)
        if self._count >= MAX_APART or (line is not None and len(line) >= MAX_OF_SENDER):
            return False
        if line is None:
            line = self._by_sender[sender] = []
        line.append(waiting)
        self._count += 1
        return True

    def take(self) -> Waiting:
        """Return the packet whose turn it is; there must be one."""
        sender, line = self._by_sender.popitem(last=False)
        waiting = line.pop(0)
        if line:
            self._by_sender[sender] = line
        self._count -= 1
        return waiting


def sender_of(octets: bytes) -> bytes:
    """Return the source address of an IP packet, of IPv6 its first 64 bits: one subscriber."""
    return octets[12:16] if octets[:1] < b"\x50" else octets[8:16]

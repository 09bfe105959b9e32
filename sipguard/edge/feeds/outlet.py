"""What every feed is: it takes records, or says that it cannot now, and counts what it loses."""

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from sipguard.edge.json_lines import JsonLines
from sipguard.journal.record import Record

DOUBT_S: Final = 10.0  # ICMP is sent sparingly: a second or more apart
_SEND_OCTETS: Final = 1 << 20  # of a socket's buffer


class Outlet(Protocol):
    """One feed's far end. Nothing here raises for what a disk or a network does, nor waits."""

    @property
    def sent(self) -> int:
        """Records that it took."""

    @property
    def lost(self) -> int:
        """Records that nobody will get."""

    @property
    def last_error(self) -> str:
        """What went wrong, unless it goes well again."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing is on its way any more, after ``close``."""

    def wants(self, record: Record, *, is_new: bool) -> bool:
        """Whether it is worth a place in the queue; a grown record is not new."""

    def take(self, records: Sequence[Record]) -> int:
        """Send the first of *records* and return how many are done with; 0: not now."""

    def follow(self, before: "Outlet") -> None:
        """Go on where *before* stopped: the same feed, whose secret was read anew."""

    def reopen(self) -> None:
        """Open files anew, after logrotate moved them away."""

    def close(self) -> None:
        """Let go of everything."""


class LineOutlet:
    """A file of lines, or a named pipe."""

    def __init__(self, path: Path, line_of: Callable[[Record], str]) -> None:
        self._sent = 0
        self._line_of = line_of
        self._lines = JsonLines(path)

    @property
    def sent(self) -> int:
        """Lines that were written."""
        return self._sent

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self._lines.lost

    @property
    def last_error(self) -> str:
        """Why, of the last time."""
        return self._lines.last_error

    @property
    def is_closed(self) -> bool:
        """What was written is with the kernel."""
        return True

    def wants(self, record: Record, *, is_new: bool) -> bool:
        """Everything: the last line of an id is the one that counts."""
        return True

    def take(self, records: Sequence[Record]) -> int:
        """Append them, or as many as a pipe has room for."""
        if not self._lines.has_room():
            return 0
        before = self._lines.lost
        done = self._lines.write([self._line_of(record) for record in records], waits=True)
        self._sent += max(done - (self._lines.lost - before), 0)
        return done

    def follow(self, before: Outlet) -> None:
        """Do nothing: the file is where one goes on."""

    def reopen(self) -> None:
        """Take up the file that has the name by now."""
        self._lines.reopen()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class Datagrams:
    """Sends datagrams to one address, or one Unix socket; never waits.

    Connected, so that a collector which is not there is heard of (ICMP) and
    ``sipguard status`` can say so.

    Args:
        family: Of the address.
        address: Where to.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int] | str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sent = 0
        self.lost = 0
        self.last_error = ""
        self._family = family
        self._address = address
        self._clock = clock
        self._socket: socket.socket | None = None
        self._is_doubted = False
        self._fault_at_s = float("-inf")

    def send(self, octets: bytes) -> bool:
        """Send one datagram; False where the socket has no room now, so that it must wait."""
        try:
            self._connected().send(octets)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                return False
            self.lost += 1
            self.last_error = error.strerror or str(error)
            self._is_doubted = True
            self._fault_at_s = self._clock()
            self.close()
            return True
        self.sent += 1
        # The first one after a fault may be lost as well, and few of many losses are told of.
        if not self._is_doubted and self._clock() - self._fault_at_s >= DOUBT_S:
            self.last_error = ""
        self._is_doubted = False
        return True

    def close(self) -> None:
        """Let go of the socket; the next datagram makes another."""
        made, self._socket = self._socket, None
        if made is not None:
            made.close()

    def _connected(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        made = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            made.setblocking(False)
            with contextlib.suppress(OSError):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_OCTETS)
            made.connect(self._address)
        except OSError:
            made.close()
            raise
        self._socket = made
        return made


def datagrams_to(address: str, port: int) -> Datagrams:
    """Return what sends to an IP address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return Datagrams(family, (address, port))


class DatagramOutlet:
    """One datagram for each new record."""

    def __init__(
        self,
        datagrams: Datagrams,
        datagram_of: Callable[[Record], bytes],
        is_fit: Callable[[Record], bool] = lambda _: True,
    ) -> None:
        self._datagrams = datagrams
        self._datagram_of = datagram_of
        self._is_fit = is_fit
        self._ready: tuple[Record, bytes] | None = None  # what found no room the last time

    @property
    def sent(self) -> int:
        """Datagrams that the network took."""
        return self._datagrams.sent

    @property
    def lost(self) -> int:
        """Those that it did not take."""
        return self._datagrams.lost

    @property
    def last_error(self) -> str:
        """Why, of the last time."""
        return self._datagrams.last_error

    @property
    def is_closed(self) -> bool:
        """What was sent is with the kernel."""
        return True

    def wants(self, record: Record, *, is_new: bool) -> bool:
        """Each attempt once."""
        return is_new and self._is_fit(record)

    def take(self, records: Sequence[Record]) -> int:
        """Send them, as far as there is room."""
        for done, record in enumerate(records):
            ready, self._ready = self._ready, None
            octets = (
                ready[1] if ready is not None and ready[0] is record else self._datagram_of(record)
            )
            if not self._datagrams.send(octets):
                self._ready = (record, octets)
                return done
        return len(records)

    def follow(self, before: Outlet) -> None:
        """Do nothing: each datagram is for itself."""

    def reopen(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Close the socket."""
        self._datagrams.close()

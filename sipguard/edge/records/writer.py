"""The process that makes records, writes them and feeds them: beside the guard, never in its way.

The guard starts it with one end of a socket. What the guard tells comes in there, and how it
goes is told back. It ends when the socket does, whatever became of the guard, and not before
all that came is written: signals to a whole group of processes end the guard alone.

A second writer on one store would give ids a second time: whoever has the directory locked
writes, and the others wait.
"""

import argparse
import contextlib
import fcntl
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import installReactor
from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.feeds.desk import Feeds
from sipguard.edge.feeds.outlet import Outlet
from sipguard.edge.journal import TURN_S
from sipguard.edge.json_lines import JsonLines
from sipguard.edge.records import privileges
from sipguard.edge.records.child import DEAF_TO
from sipguard.edge.records.frames import Arriving, Told
from sipguard.edge.records.work import Work
from sipguard.edge.store import Store

if TYPE_CHECKING:
    from sipguard.policy.feeds import Feed

TELL_S: Final = 0.5
READ_OCTETS: Final = 64 << 10  # some forty records: turns are not kept waiting
ORPHAN_S: Final = 30.0  # how long one whose guard is gone waits for another's lock
_LOCK_S: Final = 0.1


@implementer(IReadDescriptor)
class Wire:
    """The socket to the guard; a Twisted reader."""

    def __init__(self, end: socket.socket, work: Work, over: Callable[[], None]) -> None:
        self._socket = end
        self._over = over
        self._work = work
        self._arriving = Arriving()
        self._unsaid = b""
        end.setblocking(False)

    def fileno(self) -> int:
        """Return the socket to wait on."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Return the name that Twisted shows."""
        return "guard"

    def doRead(self) -> None:
        """Take what came."""
        try:
            piece = self._socket.recv(READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._over()
            return
        for kind, content in self._arriving.feed(piece):
            self._work.take(kind, content)

    def connectionLost(self, reason: object) -> None:
        """Do nothing: the end was seen when it was read."""

    def say(self, told: Told) -> None:
        """Tell the guard; where it does not listen, another time."""
        with contextlib.suppress(OSError):
            if not self._unsaid:
                self._unsaid = told.to_line()
            said = self._socket.send(self._unsaid)
            self._unsaid = self._unsaid[said:]

    def say_last(self, told: Told) -> None:
        """Tell the guard, who waits for it."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(1.0)
            self._socket.sendall(self._unsaid + told.to_line())
        self._socket.close()


class _FarEnds:
    """Makes the far ends of feeds, and loads what they need with the first of them."""

    def __init__(self, reactor: EPollReactor) -> None:
        self._reactor = reactor
        self._build: Callable[[Feed], Outlet] | None = None

    def __call__(self, feed: "Feed") -> Outlet:
        if self._build is None:
            from sipguard.edge.feeds.build import Builder

            self._build = Builder(self._reactor)
        return self._build(feed)


def main(arguments: Sequence[str]) -> int:
    """Write until the guard goes, and to the end."""
    options = _options(arguments)
    for number in DEAF_TO:  # blocked so far
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, DEAF_TO)
    privileges.shed()
    privileges.step_back()
    _complain_loudly()
    end = socket.socket(fileno=options.socket)
    if not _alone(options.state_dir, end):
        return 1
    store = Store(
        options.state_dir,
        lines=JsonLines(options.json_lines) if options.json_lines else None,
        max_age_s=options.keep_s,
        max_octets=options.keep_octets,
    )
    reactor = EPollReactor()
    installReactor(reactor)
    feeds = Feeds(_FarEnds(reactor))
    work = Work(store, options.after, feeds)
    turns = [LoopingCall(work.turn), LoopingCall(lambda: wire.say(work.told()))]

    def over() -> None:
        reactor.removeReader(wire)
        for loop in turns:
            loop.stop()
        work.finish(reactor).addBoth(lambda _: reactor.stop())

    wire = Wire(end, work, over)
    reactor.addReader(wire)
    feeds.start(reactor)
    for loop, seconds in zip(turns, (TURN_S, TELL_S), strict=True):
        loop.start(seconds)
    gc.collect()
    gc.freeze()
    reactor.run(installSignalHandlers=False)
    wire.say_last(work.told())
    store.close()
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Started by twistd sipguard, and by nobody else.")
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--json-lines", type=Path)
    parser.add_argument("--keep-s", type=float, required=True)
    parser.add_argument("--keep-octets", type=int, required=True)
    parser.add_argument("--after", default="")
    return parser.parse_args(arguments)


def _complain_loudly() -> None:
    """Have complaints, and nothing else, where the service's log goes."""
    loud = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    loud.setLogLevelForNamespace("sipguard", LogLevel.info)  # that a feed goes on again, too
    # Twisted's interfaces are zope's, which mypy does not see.
    lines = FilteringLogObserver(textFileLogObserver(sys.stderr), [loud])  # type: ignore[arg-type, list-item]
    globalLogBeginner.beginLoggingTo([lines], redirectStandardIO=False)  # type: ignore[list-item]


def _alone(directory: Path, end: socket.socket) -> bool:
    """Wait until no other process writes here; False where there is nobody left to write for."""
    guard, orphan_s = os.getppid(), 0.0
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # held to the end
    while orphan_s < ORPHAN_S:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        with contextlib.suppress(OSError):
            end.send(Told(error="another process writes to this store").to_line())
        time.sleep(_LOCK_S)
        orphan_s = orphan_s + _LOCK_S if os.getppid() != guard else 0.0
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The writing process as the guard sees it: a socket, and a process at its other end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

import sipguard
from sipguard.edge.records.frames import MAX_LINE_OCTETS, Told, told_of

DEAF_TO: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # meant for the guard
_MODULE: Final = "sipguard.edge.records.writer"
_BUFFER_OCTETS: Final = 1 << 20  # what the kernel holds while the writer writes: 0.3 s
_SO_SNDBUFFORCE: Final = 32
_ROOT: Final = Path(sipguard.__file__).parents[1]


class Place(NamedTuple):
    """Where records go, as the command line says."""

    state_dir: Path
    json_lines: Path | None = None
    keep_s: float = 90 * 86_400.0
    keep_octets: int = 1 << 30

    def options(self) -> list[str]:
        """Return what the writer is started with."""
        words = ["--state-dir", str(self.state_dir)]
        words += ["--keep-s", str(self.keep_s), "--keep-octets", str(self.keep_octets)]
        return [*words, "--json-lines", str(self.json_lines)] if self.json_lines else words


@implementer(IReadDescriptor)
class Child:
    """One run of the writer; add it to the reactor with ``addReader``.

    Args:
        place: Where records go.
        after: The last id that is known.
        gone: Called once, when its socket ends.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, place: Place, after: str, gone: Callable[[], None]) -> None:
        self.told = Told()
        self.heard_s = time.monotonic()
        self._gone = gone
        self._line = b""
        self._socket, theirs = socket.socketpair()
        try:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_OCTETS)
            self._socket.setblocking(False)
            words = ["--socket", str(theirs.fileno()), "--after", after]
            with _deaf():
                self._process = subprocess.Popen(  # noqa: S603 - our own words alone
                    [sys.executable, "-P", "-m", _MODULE, *place.options(), *words],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                )
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._fd = self._socket.fileno()

    # --- IReadDescriptor

    def fileno(self) -> int:
        """Return the socket to wait on; -1 once closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Return the name that Twisted shows."""
        return "writer"

    def doRead(self) -> None:
        """Hear how it goes."""
        try:
            piece = self._socket.recv(MAX_LINE_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if piece:
            self._hear(piece)
        else:
            self._gone()

    def connectionLost(self, reason: object) -> None:
        """Do nothing: the end is seen when it is read."""

    # ---

    def send(self, octets: memoryview) -> int:
        """Send as much as there is room for; 0 where there is none.

        Raises:
            OSError: The writer is gone.
        """
        try:
            return self._socket.send(octets)
        except BlockingIOError:
            return 0

    def finish(self, octets: bytes, deadline_s: float) -> None:
        """Send the rest, hear the writer's last word and wait for its end.

        Raises:
            OSError: The writer is gone, or takes too long.
        """
        self._socket.settimeout(max(deadline_s - time.monotonic(), 0.01))
        self._socket.sendall(octets)
        self._socket.shutdown(socket.SHUT_WR)
        while time.monotonic() < deadline_s:
            piece = self._socket.recv(MAX_LINE_OCTETS)
            if not piece:
                break
            self._hear(piece)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(deadline_s - time.monotonic(), 0.0))

    def close(self, *, kill: bool) -> None:
        """Let go of the socket; the process ends by itself then, unless it must at once."""
        self._fd = -1
        self._socket.close()
        if kill:
            self._process.kill()
        self.is_gone()

    def is_gone(self) -> bool:
        """Report whether the process has ended; asked until it has, so that nothing is left."""
        return self._process.poll() is not None

    @property
    def status(self) -> str:
        """How it ended, in words."""
        code = self._process.poll()
        if code is None:
            return "it closed its socket"
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def _hear(self, piece: bytes) -> None:
        *lines, self._line = (self._line + piece).split(b"\n")
        self._line = self._line[:MAX_LINE_OCTETS]
        for line in lines[-1:]:
            told = told_of(line)
            if told is not None:
                self.told = told
                self.heard_s = time.monotonic()


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Have a process begin deaf to what ends the guard; it would die before it had begun."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment() -> dict[str, str]:
    """Have the child import the sipguard that runs here, wherever that was found."""
    found = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{found}" if found else str(_ROOT)}

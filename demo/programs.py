"""Programs of the demo: each in its namespace, with a log file, ended by its own process id."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

POLL_S = 0.02


def until(happened: Callable[[], bool], timeout_s: float) -> bool:
    """Return whether *happened* came true within *timeout_s* seconds."""
    deadline_s = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def run(argv: Sequence[str], *, namespace: str = "", timeout_s: float = 30.0) -> str:
    """Run a short command to its end and return what it printed; raises on failure."""
    done = finished(argv, namespace=namespace, timeout_s=timeout_s)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def finished(
    argv: Sequence[str], *, namespace: str = "", timeout_s: float = 30.0
) -> subprocess.CompletedProcess[str]:
    """Run a short command to its end, whatever its exit status."""
    return subprocess.run(
        [*_inside(namespace), *argv],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


class Program:
    """A running program. It dies with us: the kernel kills it should we be killed ourselves."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        namespace: str = "",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        is_told: bool = False,
    ) -> None:
        self.log = log
        # setpriv and `ip netns exec` both exec, so the process id stays the program's own.
        mortal = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [*mortal, *_inside(namespace), *argv],
                stdin=subprocess.PIPE if is_told else subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                # Ctrl-C belongs to the demo alone; it then ends its programs in order.
                start_new_session=True,
            )
        self.name = argv[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the program itself."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def tell(self, line: str) -> None:
        """Type a line, if it still listens; only where it was started with *is_told*."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()

    def text(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(errors="replace")

    def printed(self, pattern: str, timeout_s: float) -> bool:
        """Wait until its output matches *pattern*; False if it ends or is silent too long."""

        def seen() -> bool:
            return re.search(pattern, self.text()) is not None

        return until(lambda: seen() or self.status is not None, timeout_s) and seen()

    def listens(self, port: int, timeout_s: float = 5.0, *, tcp: bool = False) -> bool:
        """Wait until something in its namespace has bound UDP *port*, or listens on TCP's."""
        needle = f":{port:04X} 0" if tcp else f":{port:04X} "
        state = " 0A " if tcp else ""  # TCP_LISTEN

        def bound() -> bool:
            for table in ("tcp", "tcp6") if tcp else ("udp", "udp6"):
                try:
                    lines = Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()
                    if any(needle in line and state in line for line in lines):
                        return True
                except OSError:
                    return False
            return False

        return until(lambda: bound() or self.status is not None, timeout_s) and bound()

    def wait(self, timeout_s: float) -> int | None:
        """Return its exit status, or None if it still runs after *timeout_s* seconds."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.status is None:
            self._process.send_signal(number)

    def stop(self, grace_s: float = 5.0) -> int:
        """End it, kindly at first; return its exit status."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if self.wait(grace_s) is None:
            self.signal(signal.SIGKILL)
        return self._process.wait()


def _inside(namespace: str) -> list[str]:
    return ["ip", "netns", "exec", namespace] if namespace else []

"""The service's socket for exceptions in a process of its own, as the pages find it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sipguard.edge.exemption_desk import SOCKET_NAME

_CODE = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from sipguard.edge.exemption_desk import ExemptionDesk
desk = ExemptionDesk(Path(sys.argv[1]), sys.argv[2], reactor, deferToThread)
reactor.callWhenRunning(desk.startService)
reactor.addSystemEventTrigger("before", "shutdown", desk.stopService)
reactor.run()
"""


@contextmanager
def open_desk(state: Path, user: str) -> Iterator[Path]:
    """Take exceptions of *user* into *state*; yield the socket."""
    command = [sys.executable, "-c", _CODE, str(state), user]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1]) as process:
        try:
            deadline_s = time.monotonic() + 30
            while not (state / SOCKET_NAME).exists():
                assert process.poll() is None
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
            time.sleep(0.05)  # from the name to the listening
            yield state / SOCKET_NAME
        finally:
            process.terminate()

"""What stands between caller and callee: a plain router, a reader, sipguard, or a rival."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.network import CALLER_SIDE, GATEWAY, run, within
from sipguard.edge.control import read_status
from sipguard.errors import EdgeError

HERE = Path(__file__).parent
POLICY = HERE / "thirty-rules.policy"
QUEUE = 0
START_S = 30.0
STOP_S = 15.0
_QUEUE_RULES = (
    # A conntrack rule makes the kernel put fragments together before the queue (as sipguard does).
    "iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP",
    f"iptables -A FORWARD -p udp -m multiport --ports 5060 -j NFQUEUE --queue-num {QUEUE}",
)


class Variant(NamedTuple):
    """One way to forward the calls."""

    name: str
    rules: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    queue: bool = False  # ready when a queue is bound; else when a socket is
    proxy: str = ""  # where callers send, if not to the callee
    socket: str = "udp :13C4 "  # else: of which kind, and its port
    state: Path | None = None  # sipguard's: ready when the service says that it guards


ROUTING = Variant("routing")
ACCEPT_ALL = Variant(
    "accept-all",
    _QUEUE_RULES,
    (sys.executable, str(HERE / "accept_all.py"), str(QUEUE)),
    queue=True,
)
KAMAILIO = Variant(
    "kamailio",
    command=("kamailio", "-f", str(HERE / "kamailio.cfg"), "-DD", "-E", "-m", "64", "-M", "8"),
    proxy=CALLER_SIDE,
)
KAMAILIO_STREAMS = KAMAILIO._replace(
    command=(*KAMAILIO.command[:2], str(HERE / "kamailio-streams.cfg"), *KAMAILIO.command[3:]),
    socket="tcp :13C4 ",
)


def sipguard(state: Path, policy: Path = POLICY, *options: str) -> Variant:
    """Return sipguard as an administrator starts it, by default with thirty rules."""
    twistd = Path(sys.executable).with_name("twistd")
    service = (str(twistd), "-n", "--pidfile=", "sipguard", "--policy", str(policy))
    command = (*service, "--state-dir", str(state), *options)
    return Variant("sipguard", command=command, queue=True, state=state)


def kamailio_there() -> bool:
    """Tell whether the rival is installed."""
    return shutil.which("kamailio") is not None


class Running:
    """A gateway at work: its processor time and memory."""

    def __init__(self, variant: Variant, process: int) -> None:
        self.variant = variant
        self.process = process

    def cpu_s(self) -> float:
        """Return the processor time that the gateway's processes used so far, all threads."""
        return _cpu_s(self._processes())

    def own_cpu_s(self) -> float:
        """Return the same without the processes that it started."""
        return _cpu_s([self.process])

    def children(self) -> list[int]:
        """Return the processes that the gateway started."""
        return self._processes()[1:]

    def resident_mb(self) -> float:
        """Return the memory that stays with the gateway's processes."""
        status = [Path(f"/proc/{process}/status").read_text() for process in self._processes()]
        return sum(int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) for text in status) / 1024

    def dropped(self) -> int:
        """Return how many packets the kernel dropped because the queue was full."""
        if not self.process or not self.variant.queue:
            return 0
        rows = Path(f"/proc/{self.process}/net/netfilter/nfnetlink_queue").read_text().splitlines()
        return sum(int(row.split()[5]) + int(row.split()[6]) for row in rows)

    def _processes(self) -> list[int]:
        found, at = ([self.process] if self.process else []), 0
        while at < len(found):
            for children in Path(f"/proc/{found[at]}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
            at += 1
        return found


def _cpu_s(processes: list[int]) -> float:
    spent_ns = 0
    for process in processes:
        for task in Path(f"/proc/{process}/task").glob("*/schedstat"):
            spent_ns += int(task.read_text().split()[0])
    return spent_ns / 1e9


def _is_ready(variant: Variant, process: int) -> bool:
    if variant.state is not None:
        # Its queue is bound long before: what comes between waits, or is refused by its rules.
        return _is_guarding(variant.state, process)
    network = Path(f"/proc/{process}/net")
    try:
        if variant.queue:
            return bool((network / "netfilter/nfnetlink_queue").read_text().strip())
        kind, port = variant.socket.split(maxsplit=1)
        return port in (network / kind).read_text()
    except OSError:
        return False  # it ended meanwhile


def _is_guarding(state: Path, process: int) -> bool:
    try:
        return read_status(state, time.time()).report.pid == process  # not one before it
    except EdgeError:
        return False


def _clear() -> None:
    """Leave no rule of the variant before."""
    run(*within(GATEWAY, "iptables", "-F"))
    run(*within(GATEWAY, "nft", "flush", "ruleset"))


@contextmanager
def gateway(variant: Variant, core: int) -> Iterator[Running]:
    """Start a variant in the gateway's namespace, pinned to one core; stop it at the end.

    Of sipguard the guard alone is pinned: records are written in time that nobody else wants.
    """
    _clear()
    for rule in variant.rules:
        run(*within(GATEWAY, *rule.split()))
    if not variant.command:
        yield Running(variant, 0)
        return
    with tempfile.TemporaryFile("w+") as said:
        pinned = () if variant.state else ("taskset", "-c", str(core))
        command = within(GATEWAY, *pinned, *variant.command)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=HERE.parent
        )
        try:
            _wait_until_ready(variant, process, said.fileno())
            _pin(process.pid, core)
            yield Running(variant, process.pid)
        finally:
            _stop(process)


def _pin(process: int, core: int) -> None:
    """Give all threads of a process one core."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _wait_until_ready(variant: Variant, process: "subprocess.Popen[bytes]", said: int) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        time.sleep(0.05)
        # The command passes through ip and taskset before it is the gateway.
        if _is_ready(variant, process.pid):
            time.sleep(0.3)
            return
    os.lseek(said, 0, os.SEEK_SET)
    tail = os.read(said, 1 << 20).decode(errors="replace").strip().splitlines()[-12:]
    raise RuntimeError(f"{variant.name} did not start:\n" + "\n".join(tail))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

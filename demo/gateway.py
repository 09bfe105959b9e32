"""The real ``twistd sipguard`` in its namespace, driven as an admin would drive it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from demo.network import Network
from demo.programs import Program, finished, until

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
STRICT = ROOT / "policies" / "strict.policy"
READY = "sipguard is guarding"
TABLE = "sipguard"


class Hole(NamedTuple):
    """A pinhole as the kernel lists it: the two ends, and the packets it let through."""

    source: str
    destination: str
    port: int
    packets: int


class Source(NamedTuple):
    """A sender that has proven itself, as the kernel lists it, and what it forwarded alone."""

    source: str
    destination: str
    source_port: int
    port: int
    packets: int


class Gateway:
    """One sipguard process; it may be stopped, killed and started again over the same state."""

    def __init__(
        self,
        network: Network,
        work: Path,
        *,
        policy: Path = STRICT,
        options: Sequence[str] = (),
    ) -> None:
        self.network = network
        self.policy = policy
        self.options = tuple(options)
        self.state = work / "state"
        self.log = work / "gateway.log"
        self._program: Program | None = None

    def __enter__(self) -> "Gateway":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.clear_rules()

    @property
    def program(self) -> Program:
        """The running process."""
        if self._program is None:
            raise RuntimeError("the gateway is not running")
        return self._program

    def command(self) -> list[str]:
        """The command line, exactly as an admin would type it."""
        settings = ["--policy", str(self.policy), "--state-dir", str(self.state)]
        return [str(BIN / "twistd"), "-n", "--pidfile=", "sipguard", *settings, *self.options]

    def start(self, timeout_s: float = 20.0) -> None:
        """Start it and wait until it guards."""
        began = len(self.text())
        self._program = Program(
            self.command(), log=self.log, namespace=self.network.gateway, cwd=ROOT
        )
        ready = until(
            lambda: READY in self.text()[began:] or self.program.status is not None, timeout_s
        )
        if not ready or self.program.status is not None:
            status = self.stop()
            tail = self.text()[began:][-1500:]
            raise RuntimeError(f"sipguard does not start (exit status {status}):\n{tail}")

    def stop(self) -> int | None:
        """Stop it as systemd would (SIGTERM); return its exit status."""
        if self._program is None:
            return None
        status = self._program.stop(grace_s=15.0)  # stream-grace, and a few
        self._program = None
        return status

    def kill(self) -> None:
        """End it without warning, as a crash would."""
        self.program.signal(signal.SIGKILL)
        self.program.wait(5.0)
        self._program = None

    def reload(self) -> None:
        """Tell it to read its policy again."""
        self.program.signal(signal.SIGHUP)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the process still, so that the queue has to fill."""
        self.program.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.program.signal(signal.SIGCONT)

    def text(self) -> str:
        """Its log so far, over all its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def logged(self, words: str, timeout_s: float = 5.0, since: int = 0) -> bool:
        """Wait until the log says *words* (after *since* characters)."""
        return until(lambda: words in self.text()[since:], timeout_s)

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a ``sipguard`` command over this gateway's state."""
        argv = [str(BIN / "sipguard"), words[0], "--state-dir", str(self.state), *words[1:]]
        return finished(argv, namespace=self.network.gateway)

    def holes(self) -> list[Hole]:
        """The media pinholes in the kernel now, as ``nft`` itself lists them."""
        passed = Counter[tuple[str, str, int]]()
        for source in self.sources():
            passed[source.source, source.destination, source.port] += source.packets
        holes = filter(None, map(_hole, self._elements("pinholes")))
        return [hole._replace(packets=hole.packets + passed[hole[:3]]) for hole in holes]

    def sources(self) -> list[Source]:
        """The senders in the kernel now whose packets it forwards without asking."""
        return list(filter(None, map(_source, self._elements("proven"))))

    def waits_for_sources(self, count: int, timeout_s: float = 4.0) -> list[Source]:
        """Wait until so many senders have proven themselves; return those there are."""
        until(lambda: len(self.sources()) >= count, timeout_s)
        return self.sources()

    def _elements(self, name: str) -> Iterator[object]:
        """Yield what stands in a set for each family; what an admin can list, we can."""
        for family in "46":
            argv = ["nft", "-j", "list", "set", "inet", TABLE, f"{name}{family}"]
            listed = finished(argv, namespace=self.network.gateway)
            if listed.returncode == 0:  # else it was flushed, or there is no such set
                for entry in json.loads(listed.stdout)["nftables"]:
                    yield from entry.get("set", {}).get("elem", [])

    def waits_for_holes(self, count: int, timeout_s: float = 3.0) -> list[Hole]:
        """Wait until there are exactly *count* pinholes; return those there are."""
        until(lambda: len(self.holes()) == count, timeout_s)
        return self.holes()

    def blocked_records(self) -> list[dict[str, object]]:
        """The records that ``sipguard blocked --json`` prints, one object a line."""
        lines = self.ask("blocked", "--json").stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def clear_rules(self) -> None:
        """Remove what a killed or keeping gateway left in the kernel (the namespace is ours)."""
        finished(["nft", "flush", "ruleset"], namespace=self.network.gateway)


def machine_lacks() -> str:
    """Say in one sentence why no gateway can run on this machine; empty when one can."""
    if os.geteuid() != 0:
        return "this needs root (namespaces, netfilter and raw sockets)"
    for program in ("ip", "nft"):
        if finished(["sh", "-c", f"command -v {program}"]).returncode:
            return f"the program {program} is not installed"
    if finished([sys.executable, "-c", "import netfilterqueue"]).returncode:
        return "the Python package NetfilterQueue is not installed"
    return ""


def kernel_lacks(network: Network) -> str:
    """Say what the kernel itself will not do, found by trying it in the gateway's namespace."""
    trial = "add table inet trial; add chain inet trial c"
    if finished(["nft", trial], namespace=network.gateway).returncode:
        return "the kernel has no nf_tables"
    by_nft = ["nft", "add rule inet trial c queue num 9"]
    by_iptables = ["iptables", "-t", "mangle", "-A", "POSTROUTING", "-j", "NFQUEUE"]
    queues = any(
        finished(argv, namespace=network.gateway).returncode == 0 for argv in (by_nft, by_iptables)
    )
    finished(["iptables", "-t", "mangle", "-F", "POSTROUTING"], namespace=network.gateway)
    finished(["nft", "flush ruleset"], namespace=network.gateway)
    return "" if queues else "the kernel queues no packets to programs (NFQUEUE)"


def _hole(element: object) -> Hole | None:
    """Return the pinhole that an element of nft's JSON describes, if it describes one."""
    match element:
        case {"elem": {"val": {"concat": [str(source), str(destination), int(port)]}, **rest}}:
            counter = rest.get("counter")
            packets = counter.get("packets", 0) if isinstance(counter, dict) else 0
            return Hole(source, destination, port, packets)
        case _:
            return None


def _source(element: object) -> Source | None:
    """Return the proven sender that an element describes; both ports stand in one number."""
    match element:
        case {
            "elem": {
                "val": {"concat": [str(source), str(destination), int(ports), int(_)]},
                "counter": {"packets": int(packets)},
            }
        }:
            return Source(source, destination, ports >> 16, ports & 0xFFFF, packets)
        case _:
            return None

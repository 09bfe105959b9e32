"""Drives ``load.c``: compiles it once, plays calls, reads what became of them."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from bench.network import CALLEE, CALLER, FIRST_CALLEE, FIRST_CALLER, HOSTS, run

SOURCE = Path(__file__).with_name("load.c")
HEADERS = tuple(Path(__file__).with_name(name) for name in ("messages.h", "forged.h", "streams.h"))
BUILD = Path(__file__).parents[1] / "build" / "bench"
MESSAGES_PER_CALL = 7
HELD_MESSAGES_PER_CALL = 5  # a call that stays up has no BYE and no answer to it
_runs = count(1)


class Flood(NamedTuple):
    """Prepared messages that come beside the calls, from one address or from many in turn."""

    messages: Path  # two octets of length before each
    rate: float
    first_source: str
    sources: int = 1


class Load(NamedTuple):
    """What to play: a rate, or as many calls in flight as given, for so many seconds."""

    seconds: float
    rate: float = 0.0
    in_flight: int = 0
    timed: bool = False  # measure each message's way through the gateway
    hold: bool = False  # leave the calls up
    calls: int = 0  # stop after so many
    proxy: str = ""  # callers send to this address instead of the callee's
    flood: Flood | None = None
    nap: bool = False  # leave the core to others where there is nothing to do
    first: bool = False  # go before whatever else wants the core; only with naps


class Played(NamedTuple):
    """What became of the calls."""

    begun: int
    completed: int
    lost: int
    refused: int
    refused_status: int
    sent: int
    received: int
    elapsed_s: float
    cpu_s: float
    forged: int  # of the flood, sent
    forged_passed: int  # of these, let through
    latency_us: Mapping[str, Mapping[str, float]]

    @property
    def calls_per_s(self) -> float:
        """Completed calls per second, to the end of the last one."""
        return self.completed / self.elapsed_s if self.elapsed_s else 0.0


def build() -> Path:
    """Compile the generator where its source is newer than the program."""
    program = BUILD / "load"
    newest_s = max(part.stat().st_mtime for part in (SOURCE, *HEADERS))
    if not program.exists() or program.stat().st_mtime < newest_s:
        BUILD.mkdir(parents=True, exist_ok=True)
        run("gcc", "-O2", "-Wall", "-Wextra", "-std=gnu11", "-o", str(program), str(SOURCE))
    return program


def play(load: Load, core: int) -> Played:
    """Play calls from the callers' namespace to the callees', pinned to one core."""
    ahead = ["chrt", "--fifo", "1"] if load.first else []
    command = [*ahead, *_command(core, HOSTS), "-t", str(load.seconds)]
    for option, value in (
        ("-r", load.rate),
        ("-w", load.in_flight),
        ("-c", load.calls),
    ):
        command += [option, str(value)] if value else []
    for option, wanted in (("-l", load.timed), ("-k", load.hold), ("-p", load.nap)):
        command += [option] if wanted else []
    command += ["-v", load.proxy] if load.proxy else []
    if load.flood is not None:
        command += ["-x", str(load.flood.messages), "-y", str(load.flood.rate)]
        command += ["-u", load.flood.first_source, "-z", str(load.flood.sources)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=load.seconds + 30
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return _read(done.stdout)


def _command(core: int, hosts: int) -> list[str]:
    salt = next(_runs) * 40503 & 0xFFFF  # no two runs share an identifier
    command = ["taskset", "-c", str(core), str(build()), CALLER, CALLEE]
    return [*command, "-a", FIRST_CALLER, "-b", FIRST_CALLEE, "-n", str(hosts), "-s", str(salt)]


def _read(text: str) -> Played:
    said = json.loads(text)
    counted = {name: said.pop(name) for name in Played._fields[:-1]}
    return Played(**counted, latency_us=said)


class Lines:
    """Connections over TCP that stand, to play calls over."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def play(self, load: Load) -> Played:
        """Play calls over them."""
        words = (load.seconds, load.rate, load.in_flight, int(load.timed))
        said, asked = self._process.stdout, self._process.stdin
        if said is None or asked is None:
            raise RuntimeError("the generator has no pipes")
        asked.write(" ".join(map(str, words)) + "\n")
        asked.flush()
        return _read(said.readline())


@contextmanager
def line_player(connections: int, core: int, proxy: str) -> Iterator[Lines]:
    """Open so many connections from the callers' namespace, and close them at the end."""
    command = [*_command(core, min(HOSTS, connections)), "-T", str(connections)]
    command += ["-v", proxy] if proxy else []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        said = process.stdout
        if said is None or said.readline() != "ready\n":
            raise RuntimeError("no connection stands")
        yield Lines(process)
        if process.stdin is not None:
            process.stdin.close()

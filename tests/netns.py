"""A router between two hosts in network namespaces, for tests that need the real kernel.

Code runs inside a namespace on a thread of its own: sockets made there stay
there, and so do programs started from it.
"""

import ctypes
import importlib.util
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")

A4, B4 = "10.9.1.2", "10.9.2.2"
A6, B6 = "fd09:1::2", "fd09:2::2"
R4 = "10.9.1.1"
_CLONE_NEWNET = 0x40000000


def raw(address: str) -> bytes:
    """Return the octets of an address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


def why_not() -> str:
    """Return why kernel tests cannot run here, or "" when they can."""
    if os.geteuid() != 0:
        return "not root"
    capabilities = int(
        Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], base=16
    )
    if not (capabilities >> 12 & 1 and capabilities >> 21 & 1):
        return "no CAP_NET_ADMIN and CAP_SYS_ADMIN"
    for program in ("ip", "nft"):
        if not any(Path(folder, program).exists() for folder in ("/usr/sbin", "/sbin", "/usr/bin")):
            return f"the program {program} is missing"
    if importlib.util.find_spec("netfilterqueue") is None:
        return "the Python package NetfilterQueue is missing"
    return ""


class Reader(Protocol):
    """What a pump can serve: a queue."""

    def fileno(self) -> int: ...

    def doRead(self) -> None: ...  # noqa: N802 - Twisted's name


class Host:
    """One network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)
        self._sockets: list[socket.socket] = []

    def run(self, function: Callable[[], T]) -> T:
        """Call *function* inside the namespace."""
        return self._thread.submit(function).result(timeout=60)

    def start(self, function: Callable[[], T]) -> "Future[T]":
        """Call *function* inside the namespace, meanwhile."""
        return self._thread.submit(function)

    def shell(self, *words: str, script: str = "") -> str:
        """Run a program inside the namespace and return its output."""
        done = self.run(
            lambda: subprocess.run(words, input=script, capture_output=True, text=True, check=False)
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def unprivileged(self, script: str) -> str:
        """Run Python that may not touch the network's settings; return what it says of errors."""
        body = (
            "from sipguard.errors import EdgeError\n"
            f"try:\n    {script}\nexcept EdgeError as error:\n    print(error)\n"
        )
        drop = (
            "import ctypes, os, sys\n"
            "for capability in (12, 13): ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)\n"
            "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])\n"
        )
        return self.shell(sys.executable, "-c", drop, body)

    def udp(self, address: str, port: int) -> socket.socket:
        """Return a bound UDP socket that reads without waiting long."""

        def make() -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            bound = socket.socket(family, socket.SOCK_DGRAM)
            bound.settimeout(0.4)
            bound.bind((address, port))
            return bound

        made = self.run(make)
        self._sockets.append(made)
        return made

    def close(self) -> None:
        for made in self._sockets:
            made.close()
        self._thread.shutdown()

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/run/netns", self.name).open() as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {self.name}")


class Lab:
    """Hosts a and b, and the router between them; both families."""

    def __init__(self, prefix: str) -> None:
        self.names = [f"{prefix}{letter}" for letter in "arb"]
        self.a, self.router, self.b = (Host(name) for name in self.names)

    def build(self) -> None:
        a, r, b = self.names
        for name in self.names:
            _ip(f"netns add {name}")
            switches = ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"]
            if name == r:
                switches += ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
            _run("ip", "netns", "exec", name, "sysctl", "-qw", *switches)
        _ip(f"link add a0 netns {a} type veth peer name ra netns {r}")
        _ip(f"link add b0 netns {b} type veth peer name rb netns {r}")
        _ip(_addresses("ra", "10.9.1.1", "fd09:1::1"), r)
        _ip(_addresses("rb", "10.9.2.1", "fd09:2::1"), r)
        _ip(_addresses("a0", A4, A6, "10.9.1.1", "fd09:1::1"), a)
        _ip(_addresses("b0", B4, B6, "10.9.2.1", "fd09:2::1"), b)
        for ends in ((A4, B4), (A6, B6), (B4, A4), (B6, A6)):
            self._greet(*ends)

    def _greet(self, source: str, destination: str) -> None:
        """Send until one arrives, so that no test waits for a neighbor to be found."""
        hosts = (self.a, self.b) if source in (A4, A6) else (self.b, self.a)
        with hosts[0].udp(source, 0) as sender, hosts[1].udp(destination, 0) as listener:
            for _ in range(20):
                sender.sendto(b"greeting", listener.getsockname()[:2])
                if heard(listener):
                    return
        raise AssertionError(f"{source} cannot reach {destination}")

    def close(self) -> None:
        for host in (self.a, self.router, self.b):
            host.close()
        for name in self.names:
            with suppress(AssertionError):
                _run("ip", "netns", "del", name)

    def pump(self, queue: Reader, *, until: Callable[[], bool], limit_s: float = 3.0) -> bool:
        """Serve *queue* until the condition holds; report whether it did in time."""

        def serve() -> bool:
            end = time.monotonic() + limit_s
            while not until():
                if time.monotonic() > end:
                    return False
                if select.select([queue.fileno()], [], [], 0.02)[0]:
                    queue.doRead()
            return True

        return self.router.run(serve)


def heard(listener: socket.socket) -> bytes | None:
    """Return the next datagram, or None when none comes."""
    try:
        return listener.recv(65535)
    except TimeoutError:
        return None


def _addresses(link: str, v4: str, v6: str, via4: str = "", via6: str = "") -> str:
    lines = [
        "link set lo up",
        f"link set {link} up",
        f"addr add {v4}/24 dev {link}",
        f"addr add {v6}/64 dev {link} nodad",
    ]
    if via4:
        lines += [f"route add default via {via4}", f"-6 route add default via {via6}"]
    return "\n".join([*lines, ""])


def _ip(batch: str, namespace: str = "") -> None:
    where = ["-n", namespace] if namespace else []
    for line in batch.splitlines():
        _run("ip", *where, *line.split())


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr}")

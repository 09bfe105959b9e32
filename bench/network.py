"""The bench's own wire: three network namespaces in a row, caller, gateway, callee.

The addresses are of 198.18.0.0/15, which RFC 2544 sets apart for benchmarks. Nothing leaves the
namespaces, and they are gone when the bench ends.
"""

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.report import progress

CALLER, GATEWAY, CALLEE = "sgb-caller", "sgb-gateway", "sgb-callee"
CALLER_LINK, CALLEE_LINK = "sgb-in", "sgb-out"  # the gateway's interfaces
CALLER_SIDE, CALLEE_SIDE = "198.18.1.1", "198.19.1.1"  # the gateway's addresses
FIRST_CALLER, FIRST_CALLEE = "198.18.1.2", "198.19.1.2"
# Whoever floods has all of these, behind the callers' link.
FIRST_ATTACKER, ATTACKERS, ATTACKERS_NET = "198.18.64.1", 4096, "198.18.64.0/18"
HOSTS = 8  # addresses on each side, so that 100,000 calls have media ports of their own


def run(*command: str) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def within(namespace: str, *command: str) -> list[str]:
    """Return the command line that runs *command* inside a namespace."""
    return ["ip", "netns", "exec", namespace, *command]


def _delete() -> None:
    for namespace in (CALLER, GATEWAY, CALLEE):
        subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def _link(host: str, link: str, router: str, first: str) -> None:
    """Join a host's namespace to the gateway's, with all of the host's addresses."""
    inner = "eth0"
    run("ip", "link", "add", inner, "netns", host, "type", "veth", "peer", link, "netns", GATEWAY)
    prefix, last = first.rsplit(".", 1)
    for number in range(HOSTS):
        run("ip", "-n", host, "addr", "add", f"{prefix}.{int(last) + number}/24", "dev", inner)
    run("ip", "-n", GATEWAY, "addr", "add", f"{router}/24", "dev", link)
    for namespace, name in ((host, inner), (GATEWAY, link)):
        if shutil.which("ethtool"):  # real checksums, as a network card delivers them
            subprocess.run(
                within(namespace, "ethtool", "-K", name, "tx", "off"),
                check=False,
                capture_output=True,
            )
        run("ip", "-n", namespace, "link", "set", name, "up")
    run("ip", "-n", host, "route", "add", "default", "via", router)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other bench of this machine has namespaces of these names."""
    with (Path(tempfile.gettempdir()) / "sipguard-bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another bench on this machine")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def lab() -> Iterator[None]:
    """Build the three namespaces, and take them away again whatever happens."""
    with _alone():
        yield from _namespaces()


def _namespaces() -> Iterator[None]:
    _delete()  # of a run that was killed
    try:
        for namespace in (CALLER, GATEWAY, CALLEE):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        run(*within(GATEWAY, "sysctl", "-qw", "net.ipv4.ip_forward=1"))
        _link(CALLER, CALLER_LINK, CALLER_SIDE, FIRST_CALLER)
        _link(CALLEE, CALLEE_LINK, CALLEE_SIDE, FIRST_CALLEE)
        run("ip", "-n", CALLER, "route", "add", "local", ATTACKERS_NET, "dev", "lo")
        run("ip", "-n", GATEWAY, "route", "add", ATTACKERS_NET, "via", FIRST_CALLER)
        yield
    finally:
        _delete()

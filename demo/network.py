"""The demo's network: each host in a namespace of its own, the gateway between them.

caller 10.20.1.2, fd20:1::2  --  gateway  --  callee 10.20.2.2, fd20:2::2
stranger 10.20.1.66, fd20:1::66 (a second address beside the caller)
"""

import ctypes
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

from demo.programs import finished, run

CLONE_NEWNET = 0x40000000

T = TypeVar("T")


class NetworkUnavailable(RuntimeError):  # noqa: N818 - a state of this machine, not a fault
    """Namespaces cannot be made here; the text says why."""


class NetworkBusy(RuntimeError):  # noqa: N818 - as above
    """Another run has these namespaces now."""


class Host(NamedTuple):
    """One end: its namespace, its interface and its addresses."""

    namespace: str
    interface: str
    ipv4: str
    ipv6: str

    def address(self, version: int) -> str:
        """Its address of IP *version* 4 or 6."""
        return self.ipv6 if version == 6 else self.ipv4


class Network:
    """Namespaces joined by veth pairs; as a context manager it leaves nothing behind."""

    def __init__(self, prefix: str = "sgd") -> None:
        self.caller = Host(f"{prefix}-caller", "eth0", "10.20.1.2", "fd20:1::2")
        self.callee = Host(f"{prefix}-callee", "eth0", "10.20.2.2", "fd20:2::2")
        self.stranger = Host(f"{prefix}-stranger", "eth0", "10.20.3.2", "fd20:3::2")
        self.gateway = f"{prefix}-gw"
        self.outside = "outside"  # the gateway's interface towards the caller
        self.inside = "inside"  # the one towards the callee
        self.elsewhere = "elsewhere"  # and the one towards the stranger
        self._claimed: socket.socket | None = None

    def __enter__(self) -> "Network":
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The names of all namespaces made here."""
        hosts = (self.caller, self.callee, self.stranger)
        return self.gateway, *(host.namespace for host in hosts)

    def up(self) -> None:
        """Build it; what a killed earlier run left behind goes first."""
        self._claim()
        self._sweep()
        for name in self.namespaces:
            done = finished(["ip", "netns", "add", name])
            if done.returncode:
                raise NetworkUnavailable(f"cannot make a namespace: {done.stderr.strip()}")
            # Duplicate address detection would hold IPv6 back for the first two seconds.
            _set_kernel(name, "ipv6/conf/default/accept_dad", 0)
            run(["ip", "-n", name, "link", "set", "lo", "up"])
        self._join(self.caller, self.outside, 1)
        self._join(self.callee, self.inside, 2)
        self._join(self.stranger, self.elsewhere, 3)
        _set_kernel(self.gateway, "ipv4/ip_forward", 1)
        _set_kernel(self.gateway, "ipv6/conf/all/forwarding", 1)
        # The demo forges source addresses; the guard has to notice, not the kernel.
        _set_kernel(self.gateway, "ipv4/conf/all/rp_filter", 0)
        self._warm_up()

    def down(self) -> None:
        """Remove every namespace; harmless when there is none."""
        if self._claimed is None:
            return
        self._sweep()
        self._claimed.close()
        self._claimed = None

    def _claim(self) -> None:
        """Hold the prefix; an abstract socket vanishes with its process, however that ends."""
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0sipguard-{self.gateway}")
        except OSError as error:
            claim.close()
            raise NetworkBusy(
                f"another run uses the namespace {self.gateway}; wait until it has ended"
            ) from error
        self._claimed = claim

    def _sweep(self) -> None:
        present = {line.split()[0] for line in run(["ip", "netns", "list"]).splitlines() if line}
        for name in self.namespaces:
            if name not in present:
                continue
            # Whatever still runs in a namespace of ours was started by a run of ours.
            for pid in run(["ip", "netns", "pids", name]).split():
                _end(int(pid))
            run(["ip", "netns", "delete", name])

    def _join(self, host: Host, gateway_interface: str, number: int) -> None:
        near, far = host.interface, gateway_interface
        peer = ["peer", "name", far, "netns", self.gateway]
        run(["ip", "link", "add", near, "netns", host.namespace, "type", "veth", *peer])
        for namespace, interface, suffix in ((host.namespace, near, 2), (self.gateway, far, 1)):
            self._add_address(namespace, f"10.20.{number}.{suffix}/24", interface)
            self._add_address(namespace, f"fd20:{number}::{suffix}/64", interface)
            # Real wires carry real checksums, and so must a capture that is replayed.
            offload = ["tx", "off", "gso", "off", "tso", "off", "gro", "off"]
            finished(["ethtool", "-K", interface, *offload], namespace=namespace)
            run(["ip", "-n", namespace, "link", "set", interface, "up"])
        for family, router in (("-4", f"10.20.{number}.1"), ("-6", f"fd20:{number}::1")):
            run(["ip", "-n", host.namespace, family, "route", "add", "default", "via", router])

    def _add_address(self, namespace: str, address: str, interface: str) -> None:
        at_once = ["nodad"] if ":" in address else []
        run(["ip", "-n", namespace, "address", "add", address, "dev", interface, *at_once])

    def _warm_up(self) -> None:
        """Let the neighbors learn each other, so that no case pays for address resolution."""
        for version in (4, 6):
            callee = self.callee.address(version)
            for host in (self.caller, self.stranger):
                if not _answered(host, callee, version):
                    raise NetworkUnavailable(f"no way from {host.namespace} to {callee}")


def _set_kernel(namespace: str, name: str, value: int) -> None:
    """Set a network setting of one namespace; /proc/sys/net shows each thread its own."""
    within(namespace, lambda: Path("/proc/sys/net", name).write_text(f"{value}\n"))


def _answered(host: Host, there: str, version: int) -> bool:
    """Whether a datagram to a port where nobody listens comes back as an ICMP error."""
    with datagram_socket(host.namespace, host.address(version)) as probe:
        probe.connect((there, 9))
        probe.settimeout(0.1)
        for _ in range(50):
            try:
                probe.send(b"")
                probe.recv(1)
            except ConnectionRefusedError:
                return True
            except TimeoutError:
                continue
    return False


def within(namespace: str, make: Callable[[], T]) -> T:
    """Call *make* inside a namespace; a socket made there stays there.

    A thread of its own moves over, because a thread's network namespace is its own affair
    and the calling thread must stay where it is.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def move_and_make() -> None:
        try:
            with Path("/run/netns", namespace).open("rb") as handle:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
            results.append(make())
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=move_and_make)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def datagram_socket(namespace: str, address: str, port: int = 0) -> socket.socket:
    """Return a UDP socket inside a namespace, bound to an address there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def bound() -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.bind((address, port))
        return made

    return within(namespace, bound)


def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        time.sleep(0.3)

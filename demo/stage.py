"""The stage of one run: network, gateway, witnesses on both sides, and the words on the screen."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.gateway import Gateway, Hole
from demo.network import Network
from demo.wiretap import Wiretap

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one case was to show, what it showed, and whether that is the same."""

    number: int
    title: str
    expected: str
    seen: str
    ok: bool

    def line(self) -> str:
        """The one line of this case."""
        verdict = "ok  " if self.ok else "FAIL"
        return (
            f"{verdict} {self.number}  {self.title} | expected: {self.expected} | seen: {self.seen}"
        )


def summed_up(outcomes: list[Outcome]) -> int:
    """Say how many cases held; return the exit status."""
    held = sum(outcome.ok for outcome in outcomes)
    print(f"\n{held} of {len(outcomes)} cases as expected")
    return 0 if held == len(outcomes) else 1


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything a case needs. Without a gateway it is plain routing: the negative control."""

    network: Network
    work: Path
    caller_side: Wiretap
    callee_side: Wiretap
    stranger_side: Wiretap
    say: Say
    gateway: Gateway | None = None

    def pinholes(self) -> list[Hole]:
        """The pinholes the kernel holds; none where there is no gateway."""
        return self.gateway.holes() if self.gateway else []

    def sources_proven(self, count: int) -> int:
        """Wait for *count* senders that have proven themselves; return how many have."""
        return len(self.gateway.waits_for_sources(count)) if self.gateway else 0

    def pinholes_gone(self) -> bool:
        """Wait until the last pinhole has closed."""
        return not self.gateway or not self.gateway.waits_for_holes(0)


@contextlib.contextmanager
def staged(
    network: Network, work: Path, say: Say, gateway: Gateway | None = None
) -> Iterator[Stage]:
    """Put the witnesses up around a network that stands already."""
    with (
        Wiretap(network.caller.namespace, network.caller.interface) as caller_side,
        Wiretap(network.callee.namespace, network.callee.interface) as callee_side,
        Wiretap(network.stranger.namespace, network.stranger.interface) as stranger_side,
    ):
        yield Stage(network, work, caller_side, callee_side, stranger_side, say, gateway)


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """A temporary directory for logs and state that is gone afterwards, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="sgd-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def narrator() -> Say:
    """Return a function that shows each step with the seconds since the start."""
    began_s = time.monotonic()

    def say(step: str) -> None:
        print(f"     {time.monotonic() - began_s:5.1f} s  {step}", flush=True)

    return say


def silent(step: str) -> None:
    """Show no step; tests use it."""


def shout(words: str) -> None:
    """Say something on stderr, where it is not taken for a result."""
    print(words, file=sys.stderr, flush=True)

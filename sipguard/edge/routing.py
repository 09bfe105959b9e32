"""The route by which diverted packets come to this machine: policy rules and a table of our own.

``ip rule`` sends what carries the mark of diverted connections to a table whose one route
says that every address is local. Where ``src_valid_mark`` is on (WireGuard's scripts set it),
the kernel looks up a packet's *source* by its mark, too, as if it came from ``lo``; that
look-up must not find our route, or the source would be taken for an impossible one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sipguard.edge import programs
from sipguard.edge.plan import Plan
from sipguard.errors import EdgeError

TABLE: Final = 50600
_ROUTE: Final = ("local", "default", "dev", "lo", "table", f"{TABLE}")
PRIORITY: Final = 90  # and the two after it: before main and what is usual for tunnels


def _rules(plan: Plan) -> tuple[list[str], ...]:
    mark = f"{plan.stream_mark:#x}/{plan.stream_mark:#x}"
    return (
        ["pref", f"{PRIORITY + 2}", "type", "nop"],
        ["pref", f"{PRIORITY}", "fwmark", mark, "iif", "lo", "goto", f"{PRIORITY + 2}"],
        ["pref", f"{PRIORITY + 1}", "fwmark", mark, "lookup", f"{TABLE}"],
    )


def routing_text(plan: Plan) -> str:
    """Return what would be put in force, as command lines."""
    lines = ["### ip, and the same by ip -6: diverted packets come to this machine"]
    lines += [f"ip route replace {' '.join(_ROUTE)}"]
    return "\n".join([*lines, *(f"ip rule add {' '.join(rule)}" for rule in _rules(plan)), ""])


class Routing:
    """Our rules and route for one family."""

    def __init__(self, plan: Plan, family: str) -> None:
        self._family = family
        self._rules = _rules(plan)

    @property
    def is_there(self) -> bool:
        """Whether all of it is in force."""
        listed = self._ip("rule", "show")
        return all(f"\n{PRIORITY + step}:" in f"\n{listed}" for step in range(3)) and bool(
            self._ip("route", "show", "table", f"{TABLE}", check=False).strip()
        )

    def install(self) -> None:
        """Put it in force; what is there stays.

        Raises:
            EdgeError: it was refused, and nothing of it is in force that was not before.
        """
        if self.is_there:
            return
        self.remove()
        try:
            self._ip("route", "replace", *_ROUTE)
            for rule in self._rules:
                self._ip("rule", "add", *rule)
        except EdgeError:
            self.remove()
            raise

    def remove(self) -> None:
        """Take out what is there of it."""
        for step in range(3):
            self._ip("rule", "del", "pref", f"{PRIORITY + step}", check=False)
        self._ip("route", "flush", "table", f"{TABLE}", check=False)

    def _ip(self, *words: str, check: bool = True) -> str:
        return programs.ip([self._family, *words], check=check)


def routings(plan: Plan) -> Iterator[Routing]:
    """Yield one for each family that this machine has."""
    yield Routing(plan, "-4")
    if Path("/proc/thread-self/net/if_inet6").exists():
        yield Routing(plan, "-6")

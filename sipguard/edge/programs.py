"""Starting ``nft``, ``iptables-nft`` and ``ip``, and saying in one sentence what they refuse.

Only at install, removal and status. Arguments are fixed words and scripts go
by standard input, so nothing is read by a shell.
"""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from sipguard.edge.plan import Plan
from sipguard.errors import EdgeError

_DEADLINE_S: Final = 30.0
_PATH: Final = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
_TABLE_END: Final = "\n}\n"
_PACKAGES: Final = {"nft": "nftables", "ip": "iproute2"}
_IDLE_SET: Final = re.compile(r"alive[46]_(\d+)")


class Iptables:
    """One address family of iptables-nft."""

    def __init__(self, name: str) -> None:
        self.name = name

    def rules_naming(self, chain: str) -> list[str]:
        """Return the lines of the mangle table that define or use *chain* or its _OUT twin."""
        listing = _run([self.name, "-t", "mangle", "-S"]).stdout
        names = re.compile(rf"(?:^-[NA] |-j ){chain}(?:_OUT)?(?: |$)")
        return [line for line in listing.splitlines() if names.search(line)]

    def restore(self, script: str) -> None:
        """Run *script* as one transaction; an empty one is nothing to do."""
        if not script:
            return
        done = _run([f"{self.name}-restore", "--noflush"], script, check=False)
        if done.returncode:
            raise EdgeError(_explain(f"{self.name}-restore", done.stderr, "NFQUEUE"))


def iptables_families(*, needed: bool) -> list[Iptables]:
    """Return the families this machine has; IPv6 may be switched off altogether.

    Raises:
        EdgeError: iptables-nft is *needed* and not installed.
    """
    if not shutil.which("iptables-nft", path=_PATH):
        if needed:
            raise EdgeError(
                "this kernel has no nft queue statement and iptables-nft is not installed; "
                "install the package iptables"
            )
        return []
    names = ["iptables-nft"]
    if Path("/proc/thread-self/net/if_inet6").exists():
        names.append("ip6tables-nft")
    return [Iptables(name) for name in names]


def nft(script: str) -> None:
    """Run an nft script as one transaction.

    Raises:
        EdgeError: it was refused, and nothing of it is in force.
    """
    done = _run(["nft", "-f", "-"], script, check=False)
    if done.returncode:
        raise EdgeError(_explain("nft", done.stderr, "nf_tables"))


def has_nft_queue(table: str) -> bool:
    """Report whether nft's queue statement works here, by trying it in a scratch table.

    The table goes in the same transaction, so that nothing can be left over.
    """
    nft(_trial(table, ""))  # permission and nft itself: a clear error here
    return _loads(_trial(table, "udp dport 5060 queue num 0 bypass"))


def has_nft_tproxy(table: str) -> bool:
    """Report whether nft's tproxy statement works here."""
    return _loads(_trial(table, "meta l4proto udp tproxy to :1"))


def has_nft_ipsec(table: str) -> bool:
    """Report whether nft can ask here by which IPsec a packet came."""
    return _loads(_trial(table, "ipsec in reqid 1"))


def has_nft_streams(table: str) -> bool:
    """Report whether connections can be diverted by nft's statements here."""
    rule = (
        "tcp sport 1 socket transparent 1 socket wildcard 0 "
        "fib daddr type unicast tcp dport 1 tproxy to :1"
    )
    return _loads(_trial(table, rule))


def has_ip() -> bool:
    """Report whether the program ``ip`` is installed."""
    return shutil.which("ip", path=_PATH) is not None


def ip(words: list[str], *, check: bool = True) -> str:
    """Run ``ip`` and return what it prints.

    Raises:
        EdgeError: it refused, with *check*; or it is not installed.
    """
    return _run(["ip", *words], check=check).stdout


def _trial(table: str, rule: str) -> str:
    scratch = f"inet {table}_trial"
    rules = [f"add rule {scratch} trial {rule}"] if rule else []
    lines = [f"add table {scratch}", f"add chain {scratch} trial", *rules]
    return "\n".join([*lines, f"delete table {scratch}", ""])


def _loads(script: str) -> bool:
    return _run(["nft", "-f", "-"], script, check=False).returncode == 0


def nft_listing(table: str) -> str:
    """Return our table as an nft script without set elements, or "" when there is none.

    Asked as part of the whole ruleset: only then does nft 1.0 leave the
    elements in the kernel; ``list table`` takes seconds over 100,000 of them.
    """
    listing = _run(["nft", "-s", "-t", "list", "ruleset", "inet"]).stdout
    _, found, rest = f"\n{listing}".partition(f"\ntable inet {table} {{\n")
    if not found:
        return ""
    body = rest.partition(_TABLE_END)[0]
    return f"table inet {table} {{\n{body}{_TABLE_END}"


def nft_sets(table: str) -> dict[str, int]:
    """Return the sets of our table with their sizes; empty when there is no such table."""
    done = _run(["nft", "-j", "-t", "list", "sets", "inet"])
    items = (item["set"] for item in json.loads(done.stdout)["nftables"] if "set" in item)
    return {str(item["name"]): int(item.get("size", 0)) for item in items if item["table"] == table}


def with_sets_of(plan: Plan, present: dict[str, int]) -> Plan:
    """Return *plan* fitted to sets that hold live pinholes already.

    Their idle times are kept beside the plan's, and so is their size, which
    the kernel cannot change without emptying them.
    """
    idles = {int(found[1]) for name in present if (found := _IDLE_SET.fullmatch(name))}
    return dataclasses.replace(
        plan,
        other_idle_s=tuple(sorted({*plan.other_idle_s, *idles})),
        max_pinholes=present.get("pinholes4") or plan.max_pinholes,
        max_bans=present.get("bans4") or plan.max_bans,
    )


def _run(
    words: list[str], script: str = "", *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    program = shutil.which(words[0], path=_PATH)
    if program is None:
        package = _PACKAGES.get(words[0], "iptables")
        raise EdgeError(f"the program {words[0]} is not installed; install the package {package}")
    try:
        done = subprocess.run(  # noqa: S603 - fixed words; scripts go by standard input
            [program, *words[1:]],
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DEADLINE_S,
            check=False,
            env={"PATH": _PATH, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise EdgeError(f"{words[0]} could not be run: {failure}") from failure
    if check and done.returncode:
        raise EdgeError(_explain(words[0], done.stderr, words[0]))
    return done


def _explain(program: str, complaint: str, feature: str) -> str:
    """Turn a program's complaint into what to do about it."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    first = lines[0] if lines else "no reason given"
    if "Operation not permitted" in complaint or "Permission denied" in complaint:
        return (
            f"{program} was refused: {first}; run as root or with CAP_NET_ADMIN, "
            "and check that no other program owns the table"
        )
    if "No such file" in complaint or "not supported" in complaint or "Extension" in complaint:
        return f"{program} was refused: {first}; this kernel may lack {feature}"
    return f"{program} was refused: {first}"

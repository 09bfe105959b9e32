"""The same change of the kernel's sets by our own messages and by libraries, with many present.

One call's holes are opened in one transaction and closed in another, as ``Netfilter.apply``
does it; a library that is not installed is left out. Runs inside the gateway's namespace, as
a program of its own, and prints one JSON object.
"""

import ctypes
import ctypes.util
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from bench.traffic import call
from sipguard.edge.elements import key_of
from sipguard.edge.netfilter import Netfilter
from sipguard.edge.netlink import NftSocket
from sipguard.edge.nft_messages import Change, Operation
from sipguard.edge.plan import Plan
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, Effect, Hole, OpenPinhole, ProvePinhole

TABLE: Final = "sipguard"
SET: Final = "pinholes4"
TIMEOUT_S: Final = 600
FILL: Final = 512
CALLS: Final = 400  # measured, of each way
WARM_UP: Final = 20
_FIRST: Final = 90_000  # a call whose holes no other has

Way = Callable[[Operation, Sequence[Hole]], None]


def holes_of(number: int) -> list[Hole]:
    """Return both directions of a call's RTP and RTCP."""
    of = call(number)
    ways = ((of.caller_address, of.callee_address), (of.callee_address, of.caller_address))
    return [Hole(src, dst, of.port + rtcp) for src, dst in ways for rtcp in (0, 1)]


def _text(hole: Hole) -> str:
    ends = (".".join(map(str, address)) for address in (hole.source, hole.destination))
    return " . ".join([*ends, str(hole.port)])


def by_own_messages() -> Way:
    """What sipguard does."""
    link = NftSocket(TABLE)

    def change(operation: Operation, holes: Sequence[Hole]) -> None:
        link.commit([Change(operation, SET, [key_of(hole) for hole in holes], TIMEOUT_S)])

    return change


class Libnftables:
    """The library behind ``nft``, in this process, without an interpreter in between."""

    def __init__(self, *, json_input: bool) -> None:
        name = ctypes.util.find_library("nftables")
        if name is None:
            raise ImportError("libnftables")
        library = ctypes.CDLL(name)
        library.nft_ctx_new.restype = ctypes.c_void_p
        self._run = library.nft_run_cmd_from_buffer
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._context = library.nft_ctx_new(0)
        library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
        library.nft_ctx_buffer_error(self._context)
        if json_input:
            library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
            library.nft_ctx_output_set_flags(self._context, 1 << 4)  # NFT_CTX_OUTPUT_JSON

    def run(self, commands: str) -> None:
        if self._run(self._context, commands.encode()):
            raise RuntimeError(f"libnftables refused: {commands}")


def by_libnftables_text() -> Way:
    """The language of ``nft``, read and compiled each time."""
    library = Libnftables(json_input=False)

    def change(operation: Operation, holes: Sequence[Hole]) -> None:
        timeout = f" timeout {TIMEOUT_S}s" if operation is Operation.ADD else ""
        listed = ", ".join(_text(hole) + timeout for hole in holes)
        library.run(f"{operation.value} element inet {TABLE} {SET} {{ {listed} }}")

    return change


def by_libnftables_json() -> Way:
    """The same library by its other input."""
    library = Libnftables(json_input=True)

    def element(operation: Operation, hole: Hole) -> object:
        ends = [".".join(map(str, address)) for address in (hole.source, hole.destination)]
        key = {"concat": [*ends, hole.port]}
        if operation is not Operation.ADD:
            return key
        return {"elem": {"val": key, "timeout": TIMEOUT_S}}

    def change(operation: Operation, holes: Sequence[Hole]) -> None:
        listed = [element(operation, hole) for hole in holes]
        where = {"family": "inet", "table": TABLE, "name": SET, "elem": listed}
        library.run(json.dumps({"nftables": [{operation.value: {"element": where}}]}))

    return change


def by_pyroute2() -> Way:
    """A library that writes netlink in Python, as we do, for every purpose."""
    module = importlib.import_module("pyroute2.nftables.main")
    tables = module.NFTables(nfgen_family=1)
    where = module.NFTSet(table=TABLE, name=SET)
    words = {Operation.ADD: "add", Operation.DELETE: "del"}

    def change(operation: Operation, holes: Sequence[Hole]) -> None:
        timeout = TIMEOUT_S * 1000 if operation is Operation.ADD else None
        elements = [module.NFTSetElem(key_of(hole), timeout=timeout) for hole in holes]
        tables.begin()
        tables.set_elems(words[operation], set=where, elements=elements)
        tables.commit()

    return change


WAYS: Final = {
    "own messages": by_own_messages,
    "libnftables, text": by_libnftables_text,
    "libnftables, JSON": by_libnftables_json,
    "pyroute2": by_pyroute2,
}


def element_us(way: Way) -> float:
    """Return the median CPU time of one element, added or deleted with its call's others."""
    costs_us = []
    for number in range(_FIRST, _FIRST + CALLS + WARM_UP):
        holes = holes_of(number)
        start_ns = time.process_time_ns()
        way(Operation.ADD, holes)
        way(Operation.DELETE, holes)
        costs_us.append((time.process_time_ns() - start_ns) / 1000 / (2 * len(holes)))
    return median(costs_us[WARM_UP:])


def applied_us(kernel: Netfilter) -> float:
    """Return the median CPU time of one pinhole: opened, proven, closed and counted."""
    costs_us = []
    for number in range(_FIRST, _FIRST + CALLS + WARM_UP):
        holes = holes_of(number)
        opening: list[Effect] = [OpenPinhole(hole, "sdes", TIMEOUT_S, b"bench") for hole in holes]
        proving: list[Effect] = [ProvePinhole(hole, hole.port, 0, b"bench") for hole in holes]
        closing: list[Effect] = [
            ClosePinhole(hole, "sdes", Reason.CALL_ENDED, b"bench") for hole in holes
        ]
        start_ns = time.process_time_ns()
        kernel.apply(opening)
        for effect in proving:
            kernel.apply([effect])
        applied = kernel.apply(closing)
        costs_us.append((time.process_time_ns() - start_ns) / 1000 / len(holes))
        if len(applied.tallies) != len(holes):
            raise RuntimeError(f"{len(applied.tallies)} of {len(holes)} pinholes were counted")
    return median(costs_us[WARM_UP:])


def fill(kernel: Netfilter, present: int) -> None:
    """Open so many pinholes of calls that stay up."""
    holes: list[Effect] = []
    for number in range(present // 4):
        holes += [OpenPinhole(hole, "sdes", TIMEOUT_S, b"bench") for hole in holes_of(number)]
    for start in range(0, len(holes), FILL):
        if kernel.apply(holes[start : start + FILL]).refused:
            raise RuntimeError("the set is full")


def main() -> None:
    """Compare with so many elements present as the argument says."""
    kernel = Netfilter(Plan(media_queue=1))
    kernel.install()
    told: dict[str, float] = {}
    try:
        fill(kernel, int(sys.argv[1]))
        for name, make in WAYS.items():
            try:
                told[name] = element_us(make())
            except ImportError:
                continue
        told["whole"] = applied_us(kernel)
    finally:
        kernel.remove(keep=False)
    print(json.dumps(told))


if __name__ == "__main__":
    main()

"""What stands in the kernel's sets, listed whole: for a start and for status, never in haste."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from sipguard.edge.netlink import NftSocket
from sipguard.edge.nft_messages import Element
from sipguard.edge.proofs import hole_key_of
from sipguard.verdict import Hole

_PORT_OCTETS: Final = 2
_FAMILIES: Final = (("4", 4), ("6", 16))

IdleClasses = tuple[tuple[str, int], ...]


class OpenHole(NamedTuple):
    """A pinhole as the kernel knows it: seconds until silence closes it, packets it let pass."""

    hole: Hole
    expires_s: float
    packets: int
    octets: int


def alive(link: NftSocket, family: str, idle_classes: IdleClasses) -> dict[bytes, float]:
    """Return the seconds of silence that each stream still has."""
    return {
        element.key: element.expires_s
        for suffix, _ in idle_classes
        for element in link.elements(f"alive{family}{suffix}")
    }


def open_holes(link: NftSocket, idle_classes: IdleClasses, has_gate: bool) -> list[OpenHole]:
    """Return the pinholes that media may use."""
    found = []
    for family, octets in _FAMILIES:
        left_s = alive(link, family, idle_classes)
        proven = _by_hole(link.elements(f"proven{family}")) if has_gate else {}
        for element in link.elements(f"pinholes{family}"):
            if element.key in left_s:
                packets, count = proven.get(element.key, (0, 0))
                passed = packets + element.packets, count + element.octets
                hole = _hole(element.key, octets)
                found.append(OpenHole(hole, left_s[element.key], *passed))
    return found


def _by_hole(sources: Iterable[Element]) -> dict[bytes, tuple[int, int]]:
    """Add up what the proven sources of each pinhole sent."""
    passed: dict[bytes, tuple[int, int]] = {}
    for element in sources:
        packets, octets = passed.get(hole_key_of(element.key), (0, 0))
        sums = packets + element.packets, octets + element.octets
        passed[hole_key_of(element.key)] = sums
    return passed


def _hole(key: bytes, octets: int) -> Hole:
    port = int.from_bytes(key[2 * octets : 2 * octets + _PORT_OCTETS], "big")
    return Hole(key[:octets], key[octets : 2 * octets], port)

"""Which source ports have proven themselves, by pinhole; compiled, for it runs while media waits.

The kernel's set cannot be asked for all sources of one pinhole, so closing one
needs this memory. What an earlier process left in the kernel is adopted:
it flows on, until its pinhole is closed, or opened for a call of our own.
"""

from typing import Final, final

MAX_PORTS: Final = 8  # of one pinhole: RTP and RTCP from ports of their own, and moved ones

_PORT_OCTETS: Final = 4  # each field of a key is padded to four


def proof_key(hole_key: bytes, source_port: int) -> bytes:
    """Return a source as the kernel's set has it: its pinhole's key and its port."""
    return hole_key + (source_port << 16).to_bytes(_PORT_OCTETS, "big")


def hole_key_of(key: bytes) -> bytes:
    """Return the key of the pinhole that a source sends into."""
    return key[:-_PORT_OCTETS]


def is_proof(key: bytes) -> bool:
    """Report whether *key* is a source's, and not a pinhole's."""
    return len(key) in (16, 40)


@final
class Proofs:
    """The proven sources that this process knows of.

    Args:
        max_holes: Of so many pinholes; the kernel's set has no room for more.
    """

    __slots__ = ("_adopted", "_counted", "_max_holes", "_own")

    def __init__(self, max_holes: int) -> None:
        self._max_holes = max_holes
        # Two octets a port; there may be hundreds of thousands.
        self._own: dict[bytes, bytes] = {}
        self._adopted: dict[bytes, bytes] = {}
        # What passed by proofs that were taken back, of pinholes that are still open.
        self._counted: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._own) + len(self._adopted)

    def clear(self) -> None:
        """Forget everything; the kernel has."""
        self._own.clear()
        self._adopted.clear()
        self._counted.clear()

    def of(self, hole_key: bytes) -> list[bytes]:
        """Return the keys of all sources of a pinhole."""
        return _keys(hole_key, self._own.get(hole_key, b"") + self._adopted.get(hole_key, b""))

    def adopted(self, hole_key: bytes) -> list[bytes]:
        """Return the keys of those that an earlier process proved."""
        return _keys(hole_key, self._adopted.get(hole_key, b""))

    def sent_by(self, address: bytes) -> list[bytes]:
        """Return the keys of everything that comes from an address; looks at each pinhole."""
        size = 2 * len(address) + _PORT_OCTETS
        found: list[bytes] = []
        for known in (self._own, self._adopted):
            for hole_key, ports in known.items():
                if len(hole_key) == size and hole_key.startswith(address):
                    found += _keys(hole_key, ports)
        return found

    def has_room(self, key: bytes) -> bool:
        """Report whether another source can be remembered; what cannot must not be proven."""
        known = self._own.get(hole_key_of(key))
        if known is None:
            return len(self._own) < self._max_holes
        return len(known) < 2 * MAX_PORTS or _without(known, key) != known

    def add(self, key: bytes) -> None:
        """Remember a source that this process has proven."""
        hole_key = hole_key_of(key)
        _drop(self._adopted, hole_key, key)
        known = self._own.get(hole_key, b"")
        self._own[hole_key] = _without(known, key) + _port(key)

    def adopt(self, key: bytes) -> None:
        """Remember a source that was found in the kernel."""
        hole_key = hole_key_of(key)
        own = self._own.get(hole_key, b"")
        if _without(own, key) == own:
            known = self._adopted.get(hole_key, b"")
            self._adopted[hole_key] = _without(known, key) + _port(key)

    def remove(self, key: bytes) -> None:
        """Forget a source whose proof was taken back."""
        hole_key = hole_key_of(key)
        _drop(self._own, hole_key, key)
        _drop(self._adopted, hole_key, key)

    def disown(self, hole_key: bytes) -> None:
        """Forget the adopted sources of a pinhole that is opened anew."""
        self._adopted.pop(hole_key, None)

    def count(self, hole_key: bytes, packets: int, octets: int) -> None:
        """Keep what a source sent whose element is gone while its pinhole stays."""
        before = self._counted.get(hole_key, (0, 0))
        self._counted[hole_key] = (before[0] + packets, before[1] + octets)

    def close(self, hole_key: bytes) -> tuple[int, int]:
        """Forget a pinhole; return the packets and octets that were kept for it."""
        self._own.pop(hole_key, None)
        self._adopted.pop(hole_key, None)
        return self._counted.pop(hole_key, (0, 0))


def _port(key: bytes) -> bytes:
    return key[-_PORT_OCTETS : 2 - _PORT_OCTETS]


def _keys(hole_key: bytes, ports: bytes) -> list[bytes]:
    return [hole_key + ports[at : at + 2] + b"\0\0" for at in range(0, len(ports), 2)]


def _without(ports: bytes, key: bytes) -> bytes:
    port = _port(key)
    kept = [ports[at : at + 2] for at in range(0, len(ports), 2) if ports[at : at + 2] != port]
    return b"".join(kept)


def _drop(known: dict[bytes, bytes], hole_key: bytes, key: bytes) -> None:
    ports = known.get(hole_key)
    if ports is None:
        return
    left = _without(ports, key)
    if left:
        known[hole_key] = left
    else:
        del known[hole_key]

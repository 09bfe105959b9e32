"""Which sources have proven themselves, by pinhole; compiled, for it runs while media waits.

A source is a port and an SSRC.

The kernel's set cannot be asked for all sources of one pinhole, so closing one
needs this memory. What an earlier process left in the kernel is adopted:
it flows on, until its pinhole is closed, or opened for a call of our own.
"""

from typing import Final, final

MAX_SOURCES: Final = 16  # of one pinhole: several SSRCs, ports of their own, moved ones

# At the end of a key: source port, destination port, SSRC. nft 1.0 cannot list a set with
# more than four fields of which one has no name, and aborts over the whole ruleset.
_SSRC_OCTETS: Final = 4
_SOURCE_OCTETS: Final = 8
_KEPT_OCTETS: Final = 6  # here: without the destination's


def port_key(hole_key: bytes, source_port: int) -> bytes:
    """Return what the keys of all sources of one port begin with."""
    return hole_key[:-4] + source_port.to_bytes(2, "big") + hole_key[-4:-2]


def proof_key(hole_key: bytes, source_port: int, ssrc: int) -> bytes:
    """Return a source as the kernel's set has it: its pinhole's key, its port and its SSRC."""
    return port_key(hole_key, source_port) + ssrc.to_bytes(4, "big")


def hole_key_of(key: bytes) -> bytes:
    """Return the key of the pinhole that a source sends into."""
    return key[:-_SOURCE_OCTETS] + key[-6:-4] + b"\0\0"


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
        # Six octets a source; there may be hundreds of thousands.
        self._own: dict[bytes, bytes] = {}
        self._adopted: dict[bytes, bytes] = {}
        # What passed by proofs that were taken back, of pinholes that are still open.
        self._counted: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._own) + len(self._adopted)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of any pinhole."""
        return not (self._own or self._adopted or self._counted)

    def clear(self) -> None:
        """Forget everything; the kernel has."""
        self._own.clear()
        self._adopted.clear()
        self._counted.clear()

    def of(self, hole_key: bytes) -> list[bytes]:
        """Return the keys of all sources of a pinhole."""
        ports = self._own.get(hole_key, b"") + self._adopted.get(hole_key, b"")
        return _keys(hole_key, ports) if ports else []

    def of_port(self, key: bytes) -> list[bytes]:
        """Return the keys of all sources of one port; *key* is a :func:`port_key`."""
        hole_key = hole_key_of(key + bytes(_SSRC_OCTETS))
        return [source for source in self.of(hole_key) if source.startswith(key)]

    def adopted(self, hole_key: bytes) -> list[bytes]:
        """Return the keys of those that an earlier process proved."""
        return _keys(hole_key, self._adopted.get(hole_key, b""))

    def sent_by(self, address: bytes) -> list[bytes]:
        """Return the keys of everything that comes from an address; looks at each pinhole."""
        size = 2 * len(address) + 4
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
        return len(known) < _KEPT_OCTETS * MAX_SOURCES or _without(known, key) != known

    def add(self, key: bytes) -> None:
        """Remember a source that this process has proven."""
        hole_key = hole_key_of(key)
        _drop(self._adopted, hole_key, key)
        known = self._own.get(hole_key, b"")
        self._own[hole_key] = _without(known, key) + _kept(key)

    def adopt(self, key: bytes) -> None:
        """Remember a source that was found in the kernel."""
        hole_key = hole_key_of(key)
        own = self._own.get(hole_key, b"")
        if _without(own, key) == own:
            known = self._adopted.get(hole_key, b"")
            self._adopted[hole_key] = _without(known, key) + _kept(key)

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


def _kept(key: bytes) -> bytes:
    return key[-8:-6] + key[-4:]


def _keys(hole_key: bytes, sources: bytes) -> list[bytes]:
    return [
        hole_key[:-4] + sources[at : at + 2] + hole_key[-4:-2] + sources[at + 2 : at + _KEPT_OCTETS]
        for at in range(0, len(sources), _KEPT_OCTETS)
    ]


def _without(sources: bytes, key: bytes) -> bytes:
    gone = _kept(key)
    kept = b""
    for at in range(0, len(sources), _KEPT_OCTETS):
        source = sources[at : at + _KEPT_OCTETS]
        if source != gone:
            kept += source
    return kept


def _drop(known: dict[bytes, bytes], hole_key: bytes, key: bytes) -> None:
    ports = known.get(hole_key)
    if ports is None:
        return
    left = _without(ports, key)
    if left:
        known[hole_key] = left
    else:
        del known[hole_key]

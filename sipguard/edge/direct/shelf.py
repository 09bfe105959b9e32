"""The program's table of sources of one family, which it reads while we write in it.

An element is put in with its key's last eight octets last, and taken out by these alone,
each time by one write: at no moment is half a key in it. What a packet counts that had found
its element just before is lost, or goes to the next one in its place; that is one packet.
"""

import os
import secrets
import struct
from collections.abc import Iterator
from typing import Final, final

from sipguard.edge.direct import system_calls
from sipguard.edge.direct.layout import ELEMENT4, ELEMENT6, KEY4, KEY6, TOGETHER, Hashing

_PIECE: Final = 8  # octets of a number in the table
_FACTOR_BITS: Final = 64


@final
class Shelf:
    """Elements by their keys, each in the first of its two places that has room.

    Args:
        name: The map's.
        is_6: Whether it is of IPv6.
        bits: Of the number of a place.
    """

    __slots__ = (
        "_element",
        "_halves",
        "_key_pieces",
        "_layout",
        "_memory",
        "_numbers",
        "descriptor",
        "hashing",
    )

    def __init__(self, name: str, is_6: bool, bits: int) -> None:
        octets, key = (ELEMENT6, KEY6) if is_6 else (ELEMENT4, KEY4)
        self._element, self._key_pieces = octets // _PIECE, key // _PIECE
        self._layout = struct.Struct(f"<{self._key_pieces}Q")
        factors = [secrets.randbits(_FACTOR_BITS) | 1 for _ in range(self._key_pieces)]
        self.hashing = Hashing(tuple(factors), bits)
        place = TOGETHER * octets
        self.descriptor = system_calls.make_array(name, place, 1 << bits, mapped=True)
        try:
            self._memory = system_calls.memory(self.descriptor, place << bits)
        except system_calls.BpfRefused:
            os.close(self.descriptor)
            raise
        self._numbers = memoryview(self._memory).cast("Q")
        self._halves = memoryview(self._memory).cast("I")

    def close(self) -> None:
        """Let go of the memory; the descriptor is its owner's."""
        self._numbers.release()
        self._halves.release()
        self._memory.close()

    def put(self, key: bytes, last: int) -> bool:
        """Put a source in, or renew it; report whether there was room."""
        pieces = self._pieces(key)
        numbers, end = self._numbers, self._key_pieces - 1
        at = self._find(pieces)
        if at is not None:
            self._halves[2 * (at + end + 1)] = last
            return True
        for at in self._elements(pieces):
            if not numbers[at + end]:
                numbers[at + end + 1] = last
                numbers[at + end + 2] = 0
                for piece in range(end):
                    numbers[at + piece] = pieces[piece]
                numbers[at + end] = pieces[end]
                return True
        return False

    def take(self, key: bytes) -> tuple[int, int]:
        """Take a source out; return its packets and octets."""
        numbers, end = self._numbers, self._key_pieces - 1
        at = self._find(self._pieces(key))
        if at is None:
            return 0, 0
        numbers[at + end] = 0
        return numbers[at + end + 1] >> 32, numbers[at + end + 2]

    def keys(self) -> dict[bytes, int]:
        """Return all keys, and when each last went the routed way; it looks everywhere."""
        found = {}
        for at in range(0, len(self._numbers), self._element):
            pieces = self._numbers[at : at + self._key_pieces].tolist()
            if pieces[-1]:
                key = b"".join(piece.to_bytes(_PIECE, "little") for piece in pieces)
                found[key] = self._halves[2 * (at + self._key_pieces)]
        return found

    def _pieces(self, key: bytes) -> list[int]:
        return list(self._layout.unpack(key))

    def _elements(self, pieces: list[int]) -> Iterator[int]:
        size = TOGETHER * self._element
        for place in self.hashing.places(pieces):
            yield from range(place * size, (place + 1) * size, self._element)

    def _find(self, pieces: list[int]) -> int | None:
        numbers, end, last = self._numbers, self._key_pieces - 1, pieces[-1]
        for at in self._elements(pieces):
            if numbers[at + end] == last and numbers[at : at + end + 1].tolist() == pieces:
                return at
        return None

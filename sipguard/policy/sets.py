"""Membership at full speed: addresses by prefix, texts with wildcards, hosts, numbers."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from sipguard.policy.literals import Prefix
from sipguard.policy.pattern import compile_pattern
from sipguard.wire.packet import parse_address

MAX_REMEMBERED: Final = 16_384  # answers kept per set; senders can be spoofed without end

MAX_REMEMBERED_TEXTS: Final = 4096
MAX_REMEMBERED_OCTETS: Final = 256  # longer texts are looked at each time

TextTest = Callable[[bytes], bool]


class AddressSet(dict[bytes, bool]):
    """A set of prefixes of both families that remembers its answers.

    Used as a dict: ``addresses[octets]`` is the answer, and one that is known
    costs a single look-up. One frozenset per prefix length keeps a first
    answer independent of how many prefixes there are.
    """

    __slots__ = ("_tables",)

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        super().__init__()
        grouped: dict[tuple[int, int], set[int]] = {}
        for network, bits in prefixes:
            size = len(network)
            key = (size, size * 8 - bits)
            grouped.setdefault(key, set()).add(int.from_bytes(network, "big") >> key[1])
        self._tables: dict[int, list[tuple[int, frozenset[int]]]] = {}
        for (size, drop), networks in grouped.items():
            self._tables.setdefault(size, []).append((drop, frozenset(networks)))

    def __missing__(self, address: bytes) -> bool:
        number = int.from_bytes(address, "big")
        tables = self._tables.get(len(address), ())
        found = any(number >> drop in networks for drop, networks in tables)
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        self[address] = found
        return found


def text_test(exact: frozenset[bytes], wild: Iterable[str]) -> TextTest:
    """Return the membership test of a set of texts.

    Args:
        exact: members without wildcards.
        wild: members with ``*``, in a policy's spelling: ``\\*`` is a star.
    """
    wild = tuple(wild)
    if not wild:
        return exact.__contains__
    found = compile_pattern("^(?:" + "|".join(_wild_pattern(text) for text in wild) + ")$")
    return remembered(lambda text: text in exact or found(text))


def remembered(test: TextTest) -> TextTest:
    """Return a test that gives the same answers and keeps the last few thousand of them."""
    return _Remembered(test).ask


class _Remembered(dict[bytes, bool]):
    """Answers of a slow test: a telephone says the same User-Agent a thousand times."""

    __slots__ = ("_test",)

    def __init__(self, test: TextTest) -> None:
        super().__init__()
        self._test = test

    def __missing__(self, text: bytes) -> bool:
        found = self._test(text)
        if len(self) >= MAX_REMEMBERED_TEXTS:
            self.clear()
        self[text] = found
        return found

    def ask(self, text: bytes) -> bool:
        return self[text] if len(text) <= MAX_REMEMBERED_OCTETS else self._test(text)


def has_star(raw: str) -> bool:
    """Whether quoted text holds a ``*`` that is not escaped."""
    return "*" in re.sub(r"\\.", "", raw)


def _wild_pattern(raw: str) -> str:
    parts = re.findall(r"\\.|\*+|[^\\*]+|\\", raw, re.DOTALL)
    return "".join(
        "(?s:.*)" if part.startswith("*") else _literal(part[1:] if part[0] == "\\" else part)
        for part in parts
    )


def _literal(text: str) -> str:
    """Write every octet as an escape, since a pattern is matched on octets."""
    return "".join(f"\\x{octet:02x}" for octet in text.encode())


def host_test(
    names: frozenset[bytes], suffixes: Iterable[bytes], prefixes: Iterable[Prefix]
) -> TextTest:
    """Return the membership test of a set of host names and addresses.

    Args:
        names: hosts that must be equal, in lower case.
        suffixes: ``.example.com``: every name under it, not the name itself.
        prefixes: networks that a host written as an address may lie in.
    """
    endings = tuple(suffixes)
    networks = tuple(prefixes)
    addresses = AddressSet(networks)

    def test(host: bytes) -> bool:
        if host in names or (endings and host.endswith(endings)):
            return True
        address = parse_address(host) if networks else None
        return address is not None and addresses[address]

    return test if endings or networks else names.__contains__


def number_test(
    numbers: frozenset[int], ranges: tuple[tuple[int, int], ...]
) -> Callable[[int], bool]:
    """Return the membership test of a set of numbers and ranges."""
    if not ranges:
        return numbers.__contains__
    if len(ranges) == 1 and not numbers:
        ((low, high),) = ranges
        return lambda number: low <= number <= high
    return lambda number: number in numbers or any(low <= number <= high for low, high in ranges)

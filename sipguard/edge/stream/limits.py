"""How many connections there may be, from one source and in all, and how fast they may come."""

from collections import Counter
from typing import Final, final

from sipguard.rates import Rates
from sipguard.wire.packet import network_of

ACCEPTS_PER_S: Final = 100  # from one source


@final
class Limits:
    """Counts connections. A source is an IPv4 address, or the /64 of an IPv6 address.

    Args:
        most: In all.
        of_source: From one source.
    """

    __slots__ = ("_of_source", "_rates", "most", "most_of_source", "open", "refused")

    def __init__(self, most: int, of_source: int) -> None:
        self.most = most
        self.most_of_source = of_source
        self.open = 0
        self.refused: Counter[str] = Counter()
        self._of_source: Counter[bytes] = Counter()
        self._rates = Rates(capacity=10_000)

    def refuse(self, address: bytes, now_s: float) -> str:
        """Return why a connection may not be, in words; "" where it may, and it is counted then."""
        source = network_of(address)
        self._rates.at(now_s)
        self._rates.add("connect", source, b"*", 1)
        if self.open >= self.most:
            cause = "in all"
        elif self._of_source[source] >= self.most_of_source:
            cause = "of its source"
        elif self._rates.count("connect", source, b"*", 1) > ACCEPTS_PER_S:
            cause = "in a second"
        else:
            self.open += 1
            self._of_source[source] += 1
            return ""
        self.refused[cause] += 1
        if not self._of_source[source]:
            del self._of_source[source]
        return f"too many connections {cause}"

    def release(self, address: bytes) -> None:
        """Count a connection that is over."""
        source = network_of(address)
        self.open -= 1
        self._of_source[source] -= 1
        if not self._of_source[source]:
            del self._of_source[source]

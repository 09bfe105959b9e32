"""Numbers, and the ports of both ends, as nft rules write them."""

from collections.abc import Iterable


def both_ends(ports: Iterable[int], verdict: str) -> list[str]:
    """Return the rules that say *verdict* to UDP from or to *ports*, to each packet once."""
    listed = braces(ports)
    # Also where both ends use such a port.
    return [
        f"udp dport {listed} {verdict}",
        f"udp sport {listed} udp dport != {listed} {verdict}",
    ]


def braces(numbers: Iterable[int]) -> str:
    """Return an unnamed set."""
    return "{ " + ", ".join(map(str, numbers)) + " }"

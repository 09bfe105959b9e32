"""Equal values kept once: few hosts make 100,000 calls.

Plain dicts, emptied when they are full: a call to ``lru_cache`` costs thrice a look-up.
"""

from typing import Final

from sipguard.wire.packet import parse_address

MAX_SHARED: Final = 8192  # values of each kind

_OCTETS: Final[dict[bytes, bytes]] = {}
_HOSTS: Final[dict[tuple[bytes, ...], tuple[bytes, ...]]] = {}
_LITERALS: Final[dict[bytes, tuple[bytes, ...]]] = {}
_LABELS: Final[dict[int, dict[bytes, bytes]]] = {}


def shared(octets: bytes) -> bytes:
    """Return one and the same object for equal addresses."""
    known = _OCTETS.get(octets)
    if known is None:
        if len(_OCTETS) >= MAX_SHARED:
            _OCTETS.clear()
        known = _OCTETS[octets] = octets
    return known


def shared_hosts(hosts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return one and the same tuple for equal lists of addresses."""
    known = _HOSTS.get(hosts)
    if known is None:
        if len(_HOSTS) >= MAX_SHARED:
            _HOSTS.clear()
        known = tuple([shared(host) for host in hosts])
        _HOSTS[known] = known
    return known


def literal(host: bytes) -> tuple[bytes, ...]:
    """Return the IP address that *host* is, in a tuple; an empty one where it is a name."""
    known = _LITERALS.get(host)
    if known is None:
        address = parse_address(host)
        known = () if address is None else shared_hosts((address,))
        if len(_LITERALS) >= MAX_SHARED:
            _LITERALS.clear()
        if len(host) <= 64:  # longer ones are no address, and nobody's to keep
            _LITERALS[host] = known
    return known


def label_of(status: int, method: bytes) -> bytes:
    """Return the word a ladder uses for a response, ``200 INVITE``."""
    labels = _LABELS.get(status)
    if labels is None:
        labels = _LABELS[status] = {}
    label = labels.get(method)
    if label is None:
        label = b"%d %b" % (status, method)
        if len(labels) < 16:  # more methods than a ladder knows
            labels[method] = label
    return label

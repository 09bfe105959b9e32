"""Values as policies write them: sizes, durations, rates, prefixes and times of day."""

import ipaddress
import re
from typing import Final, NamedTuple

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_RANGE: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_SIZE: Final = re.compile(r"([0-9]{1,9})([kKM])?")
_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_RATE: Final = re.compile(r"([0-9]{1,9})/(s|min|h)")
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")
_ADDRESS_LIKE: Final = re.compile(r"[0-9.]+(/[0-9]+)?|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(/[0-9]+)?")

SIZES: Final = {"": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20}
SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
WINDOWS: Final = {"s": 1, "min": 60, "h": 3600}
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY: Final = frozenset(range(7))
DAY_S: Final = 86400
EPOCH_WEEKDAY: Final = 3  # 1 January 1970 was a Thursday


class Rate(NamedTuple):
    """*limit* events in *window_s* seconds."""

    limit: int
    window_s: int

    def __str__(self) -> str:
        return f"{self.limit}/{dict(zip(WINDOWS.values(), WINDOWS, strict=True))[self.window_s]}"


class Prefix(NamedTuple):
    """A network: its first address as 4 or 16 octets, and the number of fixed bits."""

    network: bytes
    bits: int


def parse_number(text: str) -> int | None:
    """Return a plain number of at most nine digits."""
    return int(text) if _NUMBER.fullmatch(text) else None


def parse_range(text: str) -> tuple[int, int] | None:
    """Return the ends of ``400-499``."""
    found = _RANGE.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def parse_size(text: str) -> int | None:
    """Return octets from ``1500``, ``8k`` (8 x 1024) or ``2M``."""
    found = _SIZE.fullmatch(text)
    return int(found[1]) * SIZES[found[2] or ""] if found else None


def parse_duration(text: str) -> int | None:
    """Return seconds from ``90s``, ``5m``, ``2h`` or ``1d``; a unit must stand there."""
    found = _DURATION.fullmatch(text)
    return int(found[1]) * SECONDS[found[2]] if found else None


def show_duration(seconds: int) -> str:
    """Return seconds as a policy writes them, in the largest unit that fits evenly."""
    for unit, length in reversed(SECONDS.items()):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def parse_rate(text: str) -> Rate | None:
    """Return ``10/s``, ``20/min`` or ``100/h``."""
    found = _RATE.fullmatch(text)
    return Rate(int(found[1]), WINDOWS[found[2]]) if found else None


def is_address_like(text: str) -> bool:
    """Whether this was surely meant as an address or prefix, be it right or wrong.

    A bare number is not: ``110`` is an extension.
    """
    return bool(_ADDRESS_LIKE.fullmatch(text)) and ("." in text or ":" in text or "/" in text)


def parse_prefix(text: str) -> Prefix | None:
    """Return the network of ``192.0.2.1``, ``192.0.2.0/24`` or ``2001:db8::/32``.

    Bits beyond the prefix length are cleared; ``has_host_bits`` tells of them.
    """
    if "%" in text or len(text) > 64:
        return None
    _, slash, length = text.partition("/")
    if slash and not _NUMBER.fullmatch(length):  # ipaddress would take netmasks, too
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return Prefix(network.network_address.packed, network.prefixlen)


def has_host_bits(text: str) -> bool:
    """Whether a valid prefix names a host inside the network instead of the network."""
    address, _, _ = text.partition("/")
    prefix = parse_prefix(text)
    alone = parse_prefix(address)
    return prefix is not None and alone is not None and prefix.network != alone.network


class Clock(NamedTuple):
    """Times of the week: days from Monday, spans in seconds of the day, the zone's offset.

    A span whose end is before its start runs over midnight and belongs to the
    day it starts on.
    """

    days: frozenset[int]
    spans: tuple[tuple[int, int], ...]
    offset_s: int

    def covers(self, utc_s: float) -> bool:
        """Whether this instant of POSIX time lies within."""
        local_s = int(utc_s) + self.offset_s
        day = (local_s // DAY_S + EPOCH_WEEKDAY) % 7
        second = local_s % DAY_S
        for start, end in self.spans:
            if start <= end:
                if start <= second < end and day in self.days:
                    return True
            elif (second >= start and day in self.days) or (
                second < end and (day - 1) % 7 in self.days
            ):
                return True
        return False


def parse_days(text: str) -> frozenset[int] | None:
    """Return days from ``mon``, ``mon-fri`` or ``sat-mon``, counted from Monday as 0."""
    first, dash, last = text.lower().partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        return None
    start = DAYS.index(first)
    end = DAYS.index(last) if dash else start
    return frozenset((start + step) % 7 for step in range((end - start) % 7 + 1))


def parse_span(text: str) -> tuple[int, int] | None:
    """Return seconds of the day from ``08:00-18:00``; ``24:00`` may end a span."""
    found = _CLOCK.fullmatch(text)
    if not found:
        return None
    hours, minutes = (int(found[1]), int(found[3])), (int(found[2]), int(found[4]))
    start, end = (hour * 3600 + minute * 60 for hour, minute in zip(hours, minutes, strict=True))
    if max(minutes) > 59 or start >= DAY_S or end > DAY_S or start == end:
        return None
    return start, end


def parse_offset(text: str) -> int | None:
    """Return seconds east of Greenwich from ``utc`` or ``+02:00``."""
    if text.lower() == "utc":
        return 0
    found = _OFFSET.fullmatch(text)
    if not found or int(found[2]) > 14 or int(found[3]) > 59:
        return None
    seconds = int(found[2]) * 3600 + int(found[3]) * 60
    return -seconds if found[1] == "-" else seconds

"""What the edge asks of whoever judges media; interpreted, for mypyc knows no such protocols."""

from typing import Protocol

from sipguard.moment import Moment
from sipguard.verdict import Effect


class MediaDecision(Protocol):
    """The guard's answer for one packet of media."""

    @property
    def accept(self) -> bool:
        """Whether it goes on."""

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What follows from it."""


class MediaGuard(Protocol):
    """Who judges media."""

    def inspect_media(self, octets: bytes, interface: str, now: Moment) -> MediaDecision:
        """Judge one IP packet that came through an open pinhole."""

    def sample_media(self, octets: bytes, now: Moment) -> tuple[Effect, ...]:
        """Look at the copy of an IP packet that a proven source sent."""

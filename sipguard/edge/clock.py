"""What is asked of Twisted's reactor about time; a clock of a test answers as well."""

from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Never make it."""

    def active(self) -> bool:
        """Whether it is still due."""


class Clock(Protocol):
    """Makes calls later."""

    def callLater(
        self, delay_s: float, work: Callable[..., object], /, *arguments: object
    ) -> Alarm:
        """Call *work* after so many seconds."""

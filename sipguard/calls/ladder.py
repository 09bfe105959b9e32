"""The ladder of a call's messages, which a record shows; small, for every call has one.

Nearly all calls go the same way, so they share what stands beside the times.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

from sipguard.native import mypyc_attr

LADDER_STEPS: Final = 10  # how many messages of a call the record can show
SHARED_WAYS: Final = 4096  # beginnings of calls that are shared; the commonest come first

LadderStep = tuple[float, bytes, bool]  # POSIX seconds, what, from the caller
Rung = tuple[bytes, bool]

_TIME: Final = struct.Struct("d")
pack_time: Final[Callable[[float], bytes]] = _TIME.pack


@final
@mypyc_attr(acyclic=True)
class Rungs:
    """The messages of a call so far, and the ways in which calls went on from there."""

    __slots__ = ("_after_callee", "_after_caller", "steps")

    def __init__(self, steps: tuple[Rung, ...]) -> None:
        self.steps = steps
        self._after_caller: dict[bytes, Rungs] | None = None
        self._after_callee: dict[bytes, Rungs] | None = None

    def and_then(self, label: bytes, from_caller: bool) -> "Rungs | None":
        """Return these rungs and one more, ``None`` where there is no room for it."""
        after = self._after_caller if from_caller else self._after_callee
        known = None if after is None else after.get(label)
        if known is not None:
            return known
        if len(self.steps) >= LADDER_STEPS:
            return None
        longer = Rungs((*self.steps, _rung(label, from_caller)))
        if len(_WAYS) < SHARED_WAYS:
            self._share(label, from_caller, longer)
        return longer

    def _share(self, label: bytes, from_caller: bool, longer: "Rungs") -> None:
        _WAYS.append(longer)
        after = self._after_caller if from_caller else self._after_callee
        if after is not None:
            after[label] = longer
        elif from_caller:
            self._after_caller = {label: longer}
        else:
            self._after_callee = {label: longer}


@lru_cache(maxsize=2048)
def _rung(label: bytes, from_caller: bool) -> Rung:
    return label, from_caller


_WAYS: Final[list[Rungs]] = []
START: Final = Rungs(())


def ladder_of(times: bytes, rungs: Rungs) -> list[LadderStep]:
    """Return the rungs with their times."""
    return [
        (utc_s, label, from_caller)
        for (utc_s,), (label, from_caller) in zip(
            _TIME.iter_unpack(times), rungs.steps, strict=True
        )
    ]

"""One line for each refusal, in a format that stays, for fail2ban and its like.

    2026-11-30T08:00:00.123Z sipguard[refused]: src=203.0.113.9 verdict=drop mode=enforce ...

What a filter matches comes first and is ours; what a peer wrote stands last,
in quotes, and no quotation mark of its own gets out of them.
"""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Final

from sipguard.edge.feeds.outlet import LineOutlet
from sipguard.journal.record import Record, iso_time, show_address
from sipguard.verdict import Action

EACH: Final = 10  # messages of one attempt that are worth another line; timers send seven
_MAX_REMEMBERED: Final = 10_000
_MAX_WORD: Final = 64
_NO_WORD: Final = re.compile(r"[^A-Za-z0-9._:/-]")


class RefusedOutlet(LineOutlet):
    """Writes a line for a new refusal, and for every ten more messages of its attempt.

    Brute force often keeps one Call-ID and makes one record that grows; a
    telephone that repeats a request as its timers say must not look like it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, refused_line)
        self._told: OrderedDict[str, int] = OrderedDict()

    def wants(self, record: Record, *, is_new: bool) -> bool:
        """Refusals by a source that has an address."""
        if record.verdict is Action.ACCEPT or len(record.src) not in (4, 16):
            return False
        # Asked once for each; a grown one has been new before.
        count = seen_from_source(record)
        told = self._told.get(record.id)
        if told is not None and count - told < EACH:
            return False
        self._told[record.id] = count
        self._told.move_to_end(record.id)
        if len(self._told) > _MAX_REMEMBERED:
            self._told.popitem(last=False)
        return is_new or told is not None


def seen_from_source(record: Record) -> int:
    """Return how many messages came from this source alone, as far as that is known."""
    return record.count + (0 if record.elsewhere else record.more)


def refused_line(record: Record) -> str:
    """Return the line."""
    caller = record.caller.replace('"', "\\x22")
    return (
        f"{iso_time(record.last_s)} sipguard[refused]: src={show_address(record.src)} "
        f"verdict={record.verdict.value} mode={record.mode} reason={record.reason.value} "
        f"rule={_word(record.rule)} method={_word(record.method)} "
        f"count={seen_from_source(record)} id={record.id} "
        f'caller="{caller}"'
    )


def _word(text: str) -> str:
    return _NO_WORD.sub("_", text[:_MAX_WORD]) or "-"

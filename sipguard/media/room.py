"""What the lines of one exchange share on their way to holes."""

from collections.abc import Set
from typing import final

from sipguard.media.agreement import Vouched
from sipguard.media.gate import Gate
from sipguard.media.holebook import HoleBook
from sipguard.media.mikey import MikeyChecks
from sipguard.media.terms import Judge, Report
from sipguard.verdict import Hole


@final
class Room:
    """The call and its budget, who is asked and who is told."""

    __slots__ = (
        *("book", "checks", "gate", "judge", "now_s"),
        *("report", "left", "transport", "used", "vouched"),
    )

    def __init__(
        self,
        book: HoleBook,
        gate: Gate,
        checks: MikeyChecks,
        used: Set[Hole],
        left: int,
        vouched: Vouched,
        transport: str,
        judge: Judge,
        now_s: float,
        report: Report,
    ) -> None:
        self.book = book
        self.gate = gate
        self.checks = checks
        self.used = used  # holes this call has already
        self.left = left  # holes this call may still open
        self.vouched = vouched
        self.transport = transport
        self.judge = judge
        self.now_s = now_s
        self.report = report

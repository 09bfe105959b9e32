"""A desk for records without a process of its own: what is told is written at once."""

from pathlib import Path

from sipguard.edge.control import StatusReport
from sipguard.edge.journal import Journal
from sipguard.edge.judged import Judged
from sipguard.edge.store import Store
from sipguard.edge.streams_told import Closing, streams_told
from sipguard.journal.observation import Observation
from sipguard.policy.rules import Policy


def end_streams(journal: Journal, closing: Closing) -> None:
    """Tell a journal how the streams ended that were closed at once."""
    for end in streams_told(closing, lambda _call_id: True):
        journal.stream_ended(end)


class DeskHere:
    """What the service asks of a desk, for tests of the service."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(directory)
        self.journal = Journal(self.store)
        self.log: list[str] = []
        self.turns: list[bool] = []

    is_owing = False

    def check(self, policy: Policy) -> None:
        self.log.append("check")

    def open(self) -> None:
        self.journal = Journal(self.store, self.store.open())

    def start(self, policy: Policy) -> None:
        self.log.append("start")

    def use(self, policy: Policy) -> None:
        self.log.append("use")

    def observe(self, observation: Observation) -> None:
        self.journal.observe(observation)

    def turn_ended(self, is_empty: bool) -> bool:
        self.turns.append(is_empty)
        return False

    def streams_ended(self, closing: Closing) -> None:
        end_streams(self.journal, closing)

    def judged(self, judged: Judged) -> None:
        self.store.judged(judged)

    def reopen(self) -> None:
        self.log.append("reopen")

    def finish(self) -> None:
        self.journal.finish(0.0)
        self.store.close()

    def count(self, report: StatusReport) -> None:
        report.records = self.store.written

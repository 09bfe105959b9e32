"""``sipguard replay --against``: what another policy would do otherwise with the same capture."""

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from sipguard.cli.output import Screen, many
from sipguard.cli.rerun import Rerun
from sipguard.cli.rerun_line import code_of, label_of, show_moment
from sipguard.edge.capture import Captured
from sipguard.journal.record import Json
from sipguard.policy.rules import Policy
from sipguard.verdict import Decision
from sipguard.wire.packet import show_address

MAX_EXAMPLES: Final = 3
_SHOWN_COLUMNS: Final = 19


class Outcome(NamedTuple):
    """What became of a message, and by which rule for which reason."""

    verdict: str
    code: int
    rule: str
    reason: str

    @property
    def shown(self) -> str:
        """``reject 403``."""
        return f"{self.verdict} {self.code}" if self.code else self.verdict


class Example(NamedTuple):
    """One message, so that a person finds it in the capture again."""

    time: str
    src: str
    call_id: str


class Change(NamedTuple):
    """Messages that fare otherwise in the same way."""

    before: Outcome
    after: Outcome
    messages: int
    examples: tuple[Example, ...]


class Comparison:
    """Judges a capture by two policies side by side, each with its own memory of the calls."""

    def __init__(self, first: Rerun, second: Rerun) -> None:
        self.first = first
        self.second = second
        self.same = 0
        self.by_another_rule = 0  # with the same verdict
        self._changes: dict[tuple[Outcome, Outcome], tuple[int, list[Example]]] = {}

    def run(self) -> None:
        """Read the capture to its end."""
        for (captured, one), (_, other) in zip(self.first, self.second, strict=True):
            before, after = _outcome(one), _outcome(other)
            if before[:2] == after[:2]:
                self.same += 1
                self.by_another_rule += before != after
                continue
            count, examples = self._changes.get((before, after), (0, []))
            if len(examples) < MAX_EXAMPLES:
                examples.append(_example(captured))
            self._changes[before, after] = count + 1, examples

    def changes(self) -> Iterator[Change]:
        """Yield the groups: what is refused anew first, then the rest; the largest first."""
        groups = sorted(self._changes.items(), key=lambda one: (_rank(*one[0]), -one[1][0], one[0]))
        for (before, after), (messages, examples) in groups:
            yield Change(before, after, messages, tuple(examples))


def compare(capture: str, policies: tuple[Policy, Policy], as_json: bool, screen: Screen) -> None:
    """Judge, and write what differs."""
    first, second = (Rerun(capture, policy, None, screen.note) for policy in policies)
    comparison = Comparison(first, second)
    comparison.run()
    if as_json:
        screen.line(json.dumps(_json(comparison)))
    else:
        _tell(comparison, screen)


def _rank(before: Outcome, after: Outcome) -> int:
    if before.verdict == "accept":
        return 0
    return 1 if after.verdict == "accept" else 2


def _outcome(decision: Decision) -> Outcome:
    judgement = decision.judgement
    return Outcome(
        judgement.action._value_,
        code_of(decision) or 0,
        judgement.rule,
        judgement.reason._value_,
    )


def _example(captured: Captured) -> Example:
    label = label_of(captured.packet.payload)
    return Example(
        show_moment(captured.time_s), show_address(captured.packet.src), label.call_id or ""
    )


_HEADINGS: Final = ("It would refuse what passes now", "It would let pass what is refused now",
                    "It would refuse otherwise")  # fmt: skip


def _tell(comparison: Comparison, screen: Screen) -> None:
    changes = list(comparison.changes())
    for rank, heading in enumerate(_HEADINGS):
        group = [change for change in changes if _rank(change.before, change.after) == rank]
        if not group:
            continue
        screen.line(f"{heading}: {many(sum(change.messages for change in group), 'message')}")
        rows = [
            (
                f"{change.messages:,}",
                change.before.shown,
                f"{change.before.rule} ({change.before.reason})",
                change.after.shown,
                f"{change.after.rule} ({change.after.reason})",
                _shown(change.examples[0]),
            )
            for change in group
        ]
        screen.table(("MESSAGES", "NOW", "BY", "THEN", "BY", "FOR EXAMPLE"), rows, numbers=(0,))
        screen.line()
    changed = sum(change.messages for change in changes)
    other = comparison.by_another_rule
    by_rule = f", {other:,} of them by another rule or reason" if other else ""
    screen.line(
        f"{many(changed, 'message')} would fare otherwise; {comparison.same:,} the same{by_rule}."
    )
    opened = comparison.first.opened, comparison.second.opened
    if opened[0] != opened[1]:
        screen.line(f"Pinholes opened: {opened[0]:,} now, {opened[1]:,} then.")


def _shown(example: Example) -> str:
    return f"{example.time[:_SHOWN_COLUMNS]} {example.src} {example.call_id}".rstrip()


def _json(comparison: Comparison) -> dict[str, Json]:
    changes: list[Json] = [
        {
            "before": {**change.before._asdict()},
            "after": {**change.after._asdict()},
            "messages": change.messages,
            "examples": [{**example._asdict()} for example in change.examples],
        }
        for change in comparison.changes()
    ]
    return {
        "changes": changes,
        "same": comparison.same,
        "by_another_rule": comparison.by_another_rule,
        "pinholes_opened": [comparison.first.opened, comparison.second.opened],
    }

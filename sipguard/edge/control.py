"""The service's status as one small JSON file, which ``sipguard status`` reads.

A file needs no port, no protocol and no permission beyond reading it, and it
tells of a dead service too: by its age and by the process it names.
"""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Final, NamedTuple

from sipguard.errors import EdgeError
from sipguard.journal.record import Json

FILE_NAME: Final = "status.json"
INTERVAL_S: Final = 5.0
_MISSED: Final = 3  # intervals without a word before a report is stale
_FILE_MODE: Final = 0o640
_MAX_OCTETS: Final = 4 << 20


class RuleHits(NamedTuple):
    """One rule of the policy: how often it decided, and when last (POSIX time; 0 for never)."""

    chain: str
    name: str
    place: str
    hits: int
    last_hit_s: float


class FeedState(NamedTuple):
    """One feed of records: what it took, what it lost, how many wait, what went wrong last."""

    name: str
    sent: int
    dropped: int
    waiting: int
    error: str


@dataclass(slots=True)
class StatusReport:
    """What the service tells about itself; every count is since ``started_s``."""

    pid: int
    written_s: float
    started_s: float
    mode: str = ""
    policy_file: str = ""
    policy_hash: str = ""
    policy_loaded_s: float = 0.0
    last_reload: str = ""
    interval_s: float = INTERVAL_S
    packets: int = 0
    by_verdict: dict[str, int] = field(default_factory=dict)
    by_reason: dict[str, int] = field(default_factory=dict)
    by_blocked: dict[str, int] = field(default_factory=dict)  # reasons of what was not accepted
    queue_drops: int = 0
    dialogs: int = 0
    transactions: int = 0
    pinholes: int = 0
    replay_entries: int = 0
    records: int = 0
    lost_records: int = 0
    store_error: str = ""
    media_path: str = ""
    errors: int = 0
    rules: list[RuleHits] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    feeds: list[FeedState] = field(default_factory=list)
    exceptions_error: str = ""
    exception_hits: dict[str, int] = field(default_factory=dict)  # by number

    @property
    def uptime_s(self) -> float:
        """Seconds from the start to this report."""
        return max(self.written_s - self.started_s, 0.0)


class Pulse(NamedTuple):
    """A report and whether its service is still there to stand behind it."""

    report: StatusReport
    is_running: bool
    is_stale: bool
    age_s: float


def write_status(directory: Path, report: StatusReport) -> None:
    """Replace the status file in one step, so that no reader sees half of it.

    Raises:
        OSError: The directory is missing, full or not ours.
    """
    new = directory / f".{FILE_NAME}.{report.pid}"
    octets = json.dumps(to_json(report), indent=1).encode() + b"\n"
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE_MODE)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(octets)
        new.replace(directory / FILE_NAME)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def read_status(directory: Path, now_s: float) -> Pulse:
    """Return the last report and whether it can be believed.

    Raises:
        EdgeError: There is none, or it cannot be read.
    """
    path = directory / FILE_NAME
    try:
        with path.open("rb") as stream:
            told: Json = json.loads(stream.read(_MAX_OCTETS))
        if not isinstance(told, dict):
            raise ValueError("no status report")
        report = from_json(told)
    except FileNotFoundError:
        raise EdgeError(
            f"no status at {directory}: the service is not running, or with another --state-dir"
        ) from None
    except PermissionError:
        raise EdgeError(
            f"no permission to read {path}: run as root or in the service's group"
        ) from None
    except (OSError, ValueError) as error:
        raise EdgeError(f"cannot read {path}: {error}") from None
    age_s = max(now_s - report.written_s, 0.0)
    return Pulse(report, _is_alive(report.pid), age_s > _MISSED * report.interval_s, age_s)


def to_json(report: StatusReport) -> dict[str, Json]:
    """Return the report as JSON values, with the uptime beside."""
    told: dict[str, Json] = asdict(report)
    told["rules"] = [
        {
            "chain": rule.chain,
            "name": rule.name,
            "place": rule.place,
            "hits": rule.hits,
            "last_hit_s": rule.last_hit_s,
        }
        for rule in report.rules
    ]
    told["feeds"] = [feed._asdict() for feed in report.feeds]
    told["uptime_s"] = round(report.uptime_s, 3)
    return told


def from_json(told: dict[str, Json]) -> StatusReport:
    """Return the report of a status file; what another version wrote differently is passed over."""
    report = StatusReport(pid=0, written_s=0.0, started_s=0.0)
    for item in fields(StatusReport):
        now, value = getattr(report, item.name), told.get(item.name)
        if isinstance(now, float) and isinstance(value, int | float):
            setattr(report, item.name, float(value))
        elif isinstance(now, dict) and isinstance(value, dict):
            counts = {name: count for name, count in value.items() if isinstance(count, int)}
            setattr(report, item.name, counts)
        elif isinstance(now, int | str) and type(value) is type(now):
            setattr(report, item.name, value)
    rules = told.get("rules")
    for rule in rules if isinstance(rules, list) else []:
        if isinstance(rule, dict):
            report.rules.append(_rule(rule))
    feeds = told.get("feeds")
    for feed in feeds if isinstance(feeds, list) else []:
        if isinstance(feed, dict):
            report.feeds.append(_feed(feed))
    return report


def _feed(told: dict[str, Json]) -> FeedState:
    def number(name: str) -> int:
        value = told.get(name)
        return value if isinstance(value, int) else 0

    return FeedState(
        str(told.get("name", "")),
        number("sent"),
        number("dropped"),
        number("waiting"),
        str(told.get("error", "")),
    )


def _rule(told: dict[str, Json]) -> RuleHits:
    hits, last = told.get("hits"), told.get("last_hit_s")
    return RuleHits(
        str(told.get("chain", "")),
        str(told.get("name", "")),
        str(told.get("place", "")),
        hits if isinstance(hits, int) else 0,
        float(last) if isinstance(last, int | float) else 0.0,
    )


def _is_alive(pid: int) -> bool:
    """Whether the process is there; no right to signal it means it is."""
    if pid <= 0:  # a group of processes, or all of them: not ours
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True

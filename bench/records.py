"""The record store at many records: how long a reviewer waits, and how fast it is written.

    python -m bench.records DIR [RECORDS]

Builds a store in DIR once (for five million a quarter of an hour, 23 GB), measures it again at
each further run; exit status 0 if the limits hold. `make bench` does the same with as many records
as are made in some seconds, as dense in time as five million in ninety days. Records are of the
size that the guard makes of an INVITE with SDP. Cold is with nothing of the file in memory.
"""

import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, TypeVarTuple

from bench.generator import BUILD
from bench.report import Figure, print_table, progress
from sipguard.edge.archive import Archive
from sipguard.edge.store import _UPSERT, FILE_NAME, Store, _row
from sipguard.journal.ledger import id_of
from sipguard.journal.observation import MediaNote, Observation
from sipguard.journal.query import GroupBy, Query, parse_source, span_of
from sipguard.journal.record import Record, record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Endpoint
from sipguard.web.overview import SPANS

RECORDS: Final = 5_000_000
A_DAY: Final = 55_556  # five million in ninety days
END_S: Final = 1_767_268_800.0
RUNS: Final = 3
DAY_S: Final = 86_400.0
FEW: Final = 120_000  # for `make bench`
LIMIT_MS: Final = 300.0
ONE_LIMIT_MS: Final = 100.0
_REASONS: Final = [r for r in Reason if r.status][:24]
_RULES: Final = [f"rule-{n}" for n in range(14)]
_VERDICTS: Final = [Action.DROP] * 60 + [Action.REJECT] * 35 + [Action.ACCEPT] * 5
_SDP: Final = (
    b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\n"
)


def a_record(number: int, at_s: float, dice: random.Random) -> Record:
    """Return the record of one INVITE with SDP."""
    often = dice.random() < 0.6
    src = (0x0A000000 + dice.randrange(300)) if often else dice.randrange(1 << 24, 1 << 28)
    caller = b"user%d" % (dice.randrange(500) if often else dice.randrange(2_000_000))
    call_id = b"%x@10.0.0.1" % dice.getrandbits(96)
    judged = dice.choice(_VERDICTS)
    end = Endpoint(src.to_bytes(4, "big"), 4000)
    raw = (
        b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK%x\r\n"
        b"From: <sip:%b@example.com>;tag=1928301774\r\nTo: <sip:bob@example.com>\r\n"
        b"Call-ID: %b\r\nCSeq: 1 INVITE\r\nContact: <sip:%b@10.0.0.1:5060>\r\nMax-Forwards: 70\r\n"
        b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%b"
        % (number, caller, call_id, caller, len(_SDP), _SDP)
    )
    reason = dice.choice(_REASONS)
    return record_of(
        Observation(
            utc_s=at_s, action=judged, judged=judged, reason=reason,
            src=src.to_bytes(4, "big"), dst=b"\x0a\0\0\x02", sport=5060, dport=5060,
            rule=dice.choice(_RULES), place="/etc/sipguard/gateway.policy:51", interface="eth0",
            method=b"INVITE", from_=b"<sip:%b@example.com>;tag=1928301774" % caller,
            to=b"<sip:bob%d@example.com>" % dice.randrange(800), call_id=call_id,
            contact=b"<sip:%b@10.0.0.1:5060>" % caller, cseq=b"1 INVITE",
            request_uri=b"sip:bob@example.com", branch=b"z9hG4bK%x" % number,
            user_agent=b"Yealink SIP-T46S 66.86.0.15", raw=raw, detail="no key is offered",
            findings=(Finding(reason, "no key is offered", b"m=audio 4000 RTP/AVP 0 8"),),
            media=(MediaNote(b"audio", b"RTP/AVP", b"", b"", False, reason, end, end),),
        ),
        id_of(number),
    )  # fmt: skip


def rows(count: int) -> Iterator[tuple[object, ...]]:
    """Yield rows for the store: a few hundred records made in full, varied where it matters."""
    dice = random.Random(5)
    step_s = DAY_S / A_DAY
    made = [a_record(n, END_S, dice) for n in range(400)]
    kinds = [_row(record, 0) for record in made]
    for n in range(count):
        row = list(kinds[dice.randrange(len(kinds))])
        at_s = END_S - (count - n) * step_s
        often = dice.random() < 0.6
        src = (0x0A000000 + dice.randrange(300)) if often else dice.randrange(1 << 24, 1 << 28)
        octets = src.to_bytes(4, "big")
        row[0:4] = [n + 1, n + 1, at_s, at_s]
        row[7:11] = [
            ".".join(map(str, octets)),
            octets,
            f"user{dice.randrange(500) if often else dice.randrange(2_000_000)}@example.com",
            f"{dice.getrandbits(96):x}@10.0.0.1",
        ]
        yield tuple(row)


def build(directory: Path, count: int) -> None:
    """Fill a new store with *count* records in the order of time."""
    store = Store(directory, max_octets=1 << 50)
    store.open()
    store.close()
    connection = sqlite3.connect(directory / FILE_NAME, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    began = time.perf_counter()
    source = rows(count)
    for at in range(0, count, 50_000):
        connection.execute("BEGIN")
        connection.executemany(
            _UPSERT, (row for _, row in zip(range(min(50_000, count - at)), source, strict=False))
        )
        connection.execute("COMMIT")
        if at % 500_000 == 0:
            progress(f"  {at:,} records, {time.perf_counter() - began:.0f} s")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    took_s = time.perf_counter() - began
    octets = (directory / FILE_NAME).stat().st_size
    progress(f"built {count:,} records in {took_s:.0f} s, {octets / 1e9:.2f} GB")


Question = Callable[[], object]


def lists(archive: Archive) -> dict[str, Question]:
    """Return what a reviewer asks `blocked` for, by name."""
    blocked = Query(refused_only=True)
    day = replace(blocked, since_s=END_S - DAY_S)
    asked = {
        "the newest 50": blocked,
        "--since 1d": day,
        "--until 1d": replace(blocked, until_s=END_S - DAY_S),
        "--all": Query(),
        "--source 10.0.0.7": replace(blocked, src=parse_source("10.0.0.7")),
        "--source 10.0.0.0/24": replace(blocked, src=parse_source("10.0.0.0/24")),
        "--source of nobody": replace(blocked, src=parse_source("192.0.2.0/24")),
        "--rule rule-3": replace(blocked, rule="rule-3"),
        "--rule of none": replace(blocked, rule="none"),
        "--caller user7@": replace(blocked, caller="user7@"),
        "--caller of nobody": replace(blocked, caller="nobody"),
        "--callee bob7 --rule rule-3": replace(blocked, callee="bob7", rule="rule-3"),
        "--finding of none": replace(blocked, finding="zzz"),
        "--call-id of none": replace(blocked, call_id="zzz"),
    }
    return {name: _bound(archive.search, query) for name, query in asked.items()}


def groups(archive: Archive) -> dict[str, Question]:
    """Return the same of `blocked --by`."""
    blocked = Query(refused_only=True)
    asked = {
        "": blocked,
        "--since 1d": replace(blocked, since_s=END_S - DAY_S),
        "--since 10d": replace(blocked, since_s=END_S - 10 * DAY_S),
        "--rule rule-3": replace(blocked, rule="rule-3"),
    }
    return {
        f"{by.value} {name}".strip(): _bound(archive.tally, query, by)
        for by in GroupBy
        for name, query in asked.items()
    }


def overviews(archive: Archive) -> dict[str, Question]:
    """Return the same of the overview."""
    asked: dict[str, Question] = {}
    for _, words, length_s in SPANS:
        query = Query(since_s=END_S - length_s, until_s=END_S, refused_only=True, limit=6)
        span_s = span_of(END_S - length_s, END_S)
        asked[words] = _bound(archive.summary, query, span_s)
    return asked


_A = TypeVarTuple("_A")


def _bound(ask: Callable[[*_A], object], *arguments: *_A) -> Question:
    return lambda: ask(*arguments)


def forget(directory: Path) -> None:
    """Have nothing of the store in memory."""
    file = os.open(directory / FILE_NAME, os.O_RDONLY)
    try:
        os.fdatasync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def waits(directory: Path, asked: dict[str, Question]) -> dict[str, tuple[float, float]]:
    """Return how long each question takes, cold and warm: the median of some runs, in ms."""
    times_ms = {}
    for name, question in asked.items():
        runs: dict[bool, list[float]] = {True: [], False: []}
        for is_cold in [True, False] * RUNS:
            if is_cold:
                forget(directory)
            began = time.perf_counter()
            question()
            runs[is_cold].append((time.perf_counter() - began) * 1000)
        times_ms[name] = median(runs[True]), median(runs[False])
    return times_ms


def asking(directory: Path, count: int) -> list[Figure]:
    """Return the slowest answer of each kind."""
    archive = Archive(directory)
    one = {"one call": _bound(archive.one, id_of(count // 2))}
    figures = []
    for what, asked, limit in (
        ("the overview", overviews(archive), LIMIT_MS),
        ("`blocked`", lists(archive), LIMIT_MS),
        ("`blocked --by`", groups(archive), LIMIT_MS),
        ("one call", one, ONE_LIMIT_MS),
    ):
        times_ms = waits(directory, asked)
        for n, how in enumerate(("cold", "warm")):
            slowest = max(times_ms, key=lambda name: times_ms[name][n])
            name = f"{what} at {count:,} records, {how}"
            detail = f"slowest of {len(asked)}: {slowest}" if len(asked) > 1 else ""
            value = times_ms[slowest][n]
            figures.append(Figure(name, value, "ms", below=limit, detail=detail))
    return figures


def writing(directory: Path, count: int = 3_000, pace: int = 50) -> Figure:
    """Return what writing a new record costs, *pace* of them at once, of the guard's making."""
    dice = random.Random(6)
    store = Store(directory, max_octets=1 << 50)
    store.open()
    first = Archive(directory).revision() + 100
    made = [a_record((1 << 39) + first + n, END_S + n / 2000, dice) for n in range(count)]
    began, used = time.perf_counter(), time.process_time()
    for at in range(0, count, pace):
        store.write(made[at : at + pace], END_S + at / 2000)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - used
    store.close()
    detail = f"{count / took_s:,.0f} records/s, {pace} at once; lost {store.lost}"
    return Figure("one record written, CPU", cpu_s / count * 1e6, "us", detail=detail)


def measure(quick: bool) -> list[Figure]:
    """Build a store of some records, ask it, and write to it."""
    count = FEW // 5 if quick else FEW
    with TemporaryDirectory(dir=BUILD, prefix="records-") as made:
        directory = Path(made)
        progress(f"a store of {count:,} records")
        build(directory, count)
        return [*asking(directory, count), writing(directory)]


def main() -> int:
    """Build where there is nothing yet, and measure."""
    directory = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else RECORDS
    if not (directory / FILE_NAME).exists():
        directory.mkdir(parents=True, exist_ok=True)
        build(directory, count)
    archive = Archive(directory)
    print(f"{'':44}cold     warm, in ms, medians of {RUNS}")
    for what, asked in (
        ("overview of", overviews), ("blocked", lists), ("blocked --by", groups),
    ):  # fmt: skip
        for name, (cold, warm) in waits(directory, asked(archive)).items():
            print(f"{what + ' ' + name:<40}{cold:9.1f}{warm:9.1f}", flush=True)
    figures = [*asking(directory, count), writing(directory)]
    print_table(figures)
    return 0 if all(figure.holds is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The record store at five million records: how long a reviewer waits, and how fast it is written.

    python -m bench.records DIR [RECORDS]

Builds a store in DIR once (some minutes, 12 GB for five million), measures it again at
each further run. Records are of the size that the guard makes of an INVITE with SDP.
"""

import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from sipguard.edge.archive import Archive
from sipguard.edge.store import _UPSERT, FILE_NAME, Store, _row
from sipguard.journal.ledger import id_of
from sipguard.journal.observation import MediaNote, Observation
from sipguard.journal.query import GroupBy, Query, parse_source
from sipguard.journal.record import Record, record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Endpoint

RECORDS: Final = 5_000_000
DAYS: Final = 90
END_S: Final = 1_767_268_800.0
RUNS: Final = 5
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
    step_s = DAYS * 86_400 / count
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
            print(f"  {at:,} records, {time.perf_counter() - began:.0f} s", flush=True)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    took_s = time.perf_counter() - began
    octets = (directory / FILE_NAME).stat().st_size
    print(f"built {count:,} records in {took_s:.0f} s, {octets / 1e9:.2f} GB")


def questions(archive: Archive) -> dict[str, Callable[[], object]]:
    """Return what a reviewer asks, by name."""
    blocked = Query(refused_only=True)
    day = replace(blocked, since_s=END_S - 86_400)
    span = (END_S - DAYS * 86_400, END_S)
    asked: dict[str, Callable[[], object]] = {
        "blocked, the newest 50": lambda: archive.search(blocked),
        "blocked --since 1d": lambda: archive.search(day),
        "blocked --until 60d": lambda: archive.search(replace(blocked, until_s=END_S - 60 * 86400)),
        "blocked --all": lambda: archive.search(Query()),
        "blocked --source 10.0.0.7": lambda: archive.search(
            replace(blocked, src=parse_source("10.0.0.7"))
        ),
        "blocked --source 10.0.0.0/24": lambda: archive.search(
            replace(blocked, src=parse_source("10.0.0.0/24"))
        ),
        "blocked --source of nobody": lambda: archive.search(
            replace(blocked, src=parse_source("192.0.2.0/24"))
        ),
        "blocked --rule rule-3": lambda: archive.search(replace(blocked, rule="rule-3")),
        "blocked --rule of none": lambda: archive.search(replace(blocked, rule="none")),
        "blocked --caller user7@": lambda: archive.search(replace(blocked, caller="user7@")),
        "blocked --caller of nobody": lambda: archive.search(replace(blocked, caller="nobody")),
        "blocked --callee bob7 --rule rule-3": lambda: archive.search(
            replace(blocked, callee="bob7", rule="rule-3")
        ),
        "blocked --finding of none": lambda: archive.search(replace(blocked, finding="zzz")),
        "blocked --call-id of none": lambda: archive.search(replace(blocked, call_id="zzz")),
        "one call": lambda: archive.one(id_of(2_345_678)),
        "chart of 90 days": lambda: archive.over_time(replace(blocked, since_s=span[0]), 86_400),
        "tail: what is new": lambda: archive.changed(archive.revision() - 20, blocked),
    }
    for by in GroupBy:
        asked[f"blocked --by {by.value}"] = lambda by=by: archive.tally(blocked, by)  # type: ignore[misc]
        asked[f"blocked --by {by.value} --since 1d"] = lambda by=by: archive.tally(day, by)  # type: ignore[misc]
        asked[f"blocked --by {by.value} --rule rule-3"] = lambda by=by: archive.tally(  # type: ignore[misc]
            replace(blocked, rule="rule-3"), by
        )
    return asked


def measure(directory: Path) -> None:
    """Print the median and the worst of some runs of each question, in milliseconds."""
    for name, question in questions(Archive(directory)).items():
        times = []
        for _ in range(RUNS):
            began = time.perf_counter()
            question()
            times.append((time.perf_counter() - began) * 1000)
        print(f"  {name:<42} first {times[0]:7.1f}  median {median(times):7.1f} ms", flush=True)


def write(directory: Path, count: int = 20_000, pace: int = 6) -> None:
    """Print what writing costs: records of the guard's making, *pace* of them at once."""
    dice = random.Random(6)
    store = Store(directory, max_octets=1 << 50)
    last = store.open()
    first = Archive(directory).revision() + 100
    made = [a_record((1 << 39) + first + n, END_S + n / 2000, dice) for n in range(count)]
    times = []
    began, used = time.perf_counter(), time.process_time()
    for at in range(0, count, pace):
        start = time.perf_counter()
        store.write(made[at : at + pace], END_S + at / 2000)
        times.append(time.perf_counter() - start)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - used
    times.sort()
    middle_ms, late_ms = (times[int(len(times) * part)] * 1e3 for part in (0.5, 0.99))
    print(
        f"  after {last or 'nothing'}, {pace} at once: {count / took_s:,.0f} records/s,"
        f" {cpu_s / count * 1e6:.0f} us of CPU each; median {middle_ms:.1f} ms,"
        f" 99th percentile {late_ms:.1f} ms; lost {store.lost}"
    )
    store.close()


def main() -> None:
    """Build where there is nothing yet, and measure."""
    directory = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else RECORDS
    if not (directory / FILE_NAME).exists():
        build(directory, count)
    print("asking")
    measure(directory)
    print("writing, to an empty store")
    with TemporaryDirectory() as empty:
        write(Path(empty))
    print("writing, to this one")
    write(directory)


if __name__ == "__main__":
    main()

"""The record store: never holds up or fails a call, never grows without bound, readable beside."""

import json
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sipguard.edge.archive import Archive
from sipguard.edge.json_lines import JsonLines
from sipguard.edge.store import FILE_NAME, Store
from sipguard.errors import EdgeError
from sipguard.journal.ledger import Ledger, id_of, number_of
from sipguard.journal.observation import Observation
from sipguard.journal.query import GroupBy, Query, parse_source
from sipguard.journal.record import Record, record_of
from sipguard.reason import Reason
from sipguard.verdict import Action

NOON = 1_767_268_800.0
EVERYTHING = Query(limit=100_000)


def record(
    number: int,
    at_s: float = 0,
    src: bytes = bytes([192, 0, 2, 1]),
    rule: str = "forged",
    reason: Reason = Reason.REPLAY,
    caller: bytes = b"<sip:Alice@example.com>",
    judged: Action = Action.DROP,
    size: int = 40,
) -> Record:
    seen = Observation(
        utc_s=NOON + at_s,
        action=judged,
        judged=judged,
        reason=reason,
        src=src,
        dst=bytes([198, 51, 100, 7]),
        rule=rule,
        from_=caller,
        call_id=b"Call-%d@h" % number,
        method=b"INVITE",
        raw=b"INVITE sip:b@c SIP/2.0\r\n".ljust(size),
    )
    return record_of(seen, id_of(number))


def ids(directory: Path, query: Query = EVERYTHING) -> list[int]:
    return [number_of(str(entry.line["id"])) or 0 for entry in Archive(directory).find(query)]


def test_what_is_written_can_be_read_beside_the_writer(tmp_path: Path) -> None:
    """A reviewer reads while the service runs, and sees exactly the record."""
    store = Store(tmp_path)
    assert store.open() == ""
    written = record(7)
    store.write([written], NOON)
    entry = Archive(tmp_path).one(id_of(7).upper())
    assert entry is not None
    assert entry.line == written.to_json()
    assert entry.message == written.message
    assert Archive(tmp_path).one("last") == entry
    assert Archive(tmp_path).one(id_of(8)) is None
    assert Archive(tmp_path).one("what?") is None
    assert (store.written, store.lost, store.waiting, store.last_error) == (1, 0, 0, "")
    store.close()


def test_a_grown_record_replaces_itself_and_keeps_its_message(tmp_path: Path) -> None:
    """The count goes up under the same id; the stored packet stays."""
    store = Store(tmp_path)
    first = record(7)
    store.write([first, record(8)], NOON)
    seen = Archive(tmp_path).revision()
    store.write([first._replace(count=5, more=4212, message=b"")], NOON)
    entry = Archive(tmp_path).one(id_of(7))
    assert entry is not None
    assert (entry.line["count"], entry.line["more"]) == (5, 4212)
    assert entry.message == first.message
    assert [e.line["count"] for e in Archive(tmp_path).changed(seen, EVERYTHING)] == [5]
    store.close()


def test_ids_go_on_after_a_restart(tmp_path: Path) -> None:
    """A restart with a clock set back cannot overwrite yesterday's records."""
    store = Store(tmp_path)
    ledger = Ledger(after=store.open())
    seen = Observation(NOON, Action.DROP, Action.DROP, Reason.REPLAY, b"\0\0\0\1", b"\0\0\0\2")
    first = ledger.note(seen)
    assert first is not None
    store.write([first], NOON)
    store.close()
    store = Store(tmp_path)
    last = store.open()
    assert last == first.id
    second = Ledger(after=last).note(seen._replace(utc_s=0))
    assert second is not None
    assert (number_of(second.id) or 0) > (number_of(first.id) or 0)
    store.close()


def test_filters(tmp_path: Path) -> None:
    """Each filter finds what it names and nothing else; all together narrow down."""
    store = Store(tmp_path)
    store.write(
        [
            record(1, at_s=0),
            record(2, at_s=10, src=bytes([192, 0, 2, 200]), rule="spoofed"),
            record(3, at_s=20, src=bytes([192, 0, 3, 1]), reason=Reason.NOT_KEYED),
            record(4, at_s=30, src=bytes(15) + b"\x01", caller=b"sip:bob_%@example.org"),
            record(5, at_s=40, judged=Action.REJECT, caller=b""),
        ],
        NOON,
    )
    assert ids(tmp_path) == [1, 2, 3, 4, 5]
    assert ids(tmp_path, Query(since_s=NOON + 10, until_s=NOON + 30)) == [2, 3]
    assert ids(tmp_path, Query(src=parse_source("192.0.2.0/24"))) == [1, 2, 5]
    assert ids(tmp_path, Query(src=parse_source("::/0"))) == [4]
    assert ids(tmp_path, Query(src=parse_source("0.0.0.0/0"))) == [1, 2, 3, 5]
    assert ids(tmp_path, Query(rule="spoofed")) == [2]
    assert ids(tmp_path, Query(reason=Reason.NOT_KEYED)) == [3]
    assert ids(tmp_path, Query(verdict=Action.REJECT)) == [5]
    assert ids(tmp_path, Query(caller="ALICE")) == [1, 2, 3]
    assert ids(tmp_path, Query(caller="b_%")) == [4]
    assert ids(tmp_path, Query(caller="' OR 1=1 --")) == []
    assert ids(tmp_path, Query(call_id="call-3@")) == [3]
    assert ids(tmp_path, Query(limit=2)) == [4, 5]
    assert ids(tmp_path, Query(caller="alice", rule="forged", since_s=NOON + 1)) == [3]
    store.close()


def test_groups_count_records_and_messages(tmp_path: Path) -> None:
    """`blocked --group-by` puts the loudest first and gives an id to explain."""
    store = Store(tmp_path)
    store.write([record(1), record(2)._replace(count=3, more=100), record(3, rule="flood")], NOON)
    counts = Archive(tmp_path).count(EVERYTHING, GroupBy.RULE)
    assert [(c.key, c.records, c.messages, c.example) for c in counts] == [
        ("forged", 2, 104, id_of(2)),
        ("flood", 1, 1, id_of(3)),
    ]
    for by in GroupBy:
        assert Archive(tmp_path).count(EVERYTHING, by)
    store.close()


def test_old_records_go_by_age(tmp_path: Path) -> None:
    """Personal data does not stay longer than the site decided."""
    store = Store(tmp_path, max_age_s=100)
    store.write([record(1, at_s=0), record(2, at_s=90)], NOON + 90)
    assert ids(tmp_path) == [1, 2]
    store.write([record(3, at_s=155)], NOON + 155)
    assert ids(tmp_path) == [2, 3]
    store.close()


def test_the_file_stays_within_its_size(tmp_path: Path) -> None:
    """A flood fills the store with its newest records, never the disk."""
    store = Store(tmp_path, max_octets=1_000_000)
    for batch in range(40):
        numbers = range(batch * 100 + 1, batch * 100 + 101)
        store.write([record(n, at_s=n, size=4000) for n in numbers], NOON + batch * 61)
    beside = sum(file.stat().st_size for file in tmp_path.glob(FILE_NAME + "-*"))
    kept = ids(tmp_path)
    assert kept[-1] == 4000
    assert kept == list(range(kept[0], 4001))
    assert 50 < len(kept) < 1000
    assert beside < 20_000_000  # what is not yet in the file itself
    store.close()
    assert (tmp_path / FILE_NAME).stat().st_size < 3_000_000


def test_a_locked_file_delays_and_loses_nothing(tmp_path: Path) -> None:
    """Someone else's lock is waited out, over several writes."""
    store = Store(tmp_path)
    store.open()
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.write([record(1)], NOON)
    assert (store.waiting, store.lost) == (1, 0)
    assert "locked" in store.last_error
    other.execute("ROLLBACK")
    other.close()
    store.write([record(2)], NOON)
    assert (store.waiting, store.lost, store.last_error) == (0, 0, "")
    assert ids(tmp_path) == [1, 2]
    store.close()


def test_a_full_disk_is_counted_and_survived(tmp_path: Path) -> None:
    """Judging goes on; what finds no room is counted; the rest arrives when there is room again."""
    store = Store(tmp_path, max_waiting=10)
    store.write([record(1)], NOON)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limit[1]))  # as if the disk ended here
    try:
        for number in range(2, 32):
            store.write([record(number)], NOON)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert store.last_error
    assert (store.waiting, store.lost) == (10, 20)
    store.write([], NOON)
    assert (store.waiting, store.last_error) == (0, "")
    assert ids(tmp_path) == [1, *range(22, 32)]
    store.close()


@pytest.mark.parametrize(
    "junk", [b"this is no database" * 500, b"SQLite format 3\x00" + b"\xff" * 9000]
)
def test_a_broken_file_moves_aside(tmp_path: Path, junk: bytes) -> None:
    """A corrupt store costs its old records, not the new ones, and the evidence is kept."""
    (tmp_path / FILE_NAME).write_bytes(junk)
    store = Store(tmp_path)
    store.write([record(1)], NOON)
    assert "broken" in store.last_error
    store.write([record(2)], NOON)
    assert ids(tmp_path) == [1, 2]
    assert next(tmp_path.glob("*.broken-*")).read_bytes() == junk
    assert store.lost == 0
    store.close()


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """A downgrade must not destroy what the newer version wrote; the admin is told at start."""
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("PRAGMA user_version = 99")
    other.commit()
    other.close()
    store = Store(tmp_path)
    with pytest.raises(EdgeError, match="a newer sipguard wrote it"):
        store.open()
    store.write([record(1)], NOON)
    assert "format version 99" in store.last_error
    assert store.waiting == 1
    with pytest.raises(EdgeError, match="a newer sipguard wrote it"):
        Archive(tmp_path).find(EVERYTHING)


def test_a_place_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    """A wrong --state-dir is an error to read, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match="cannot use the record store"):
        Store(tmp_path / "file" / "dir").open()
    with pytest.raises(EdgeError, match="is the service running"):
        Archive(tmp_path / "nowhere").find(EVERYTHING)
    with pytest.raises(EdgeError, match="is the service running"):
        Archive(tmp_path / "file").one("last")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / FILE_NAME).write_text("junk " * 1000)
    with pytest.raises(EdgeError, match="cannot read"):
        Archive(tmp_path / "d").one("last")


def test_a_value_of_our_own_that_does_not_fit_blocks_nothing(tmp_path: Path) -> None:
    """A bug in one record is counted as lost and does not come back."""
    store = Store(tmp_path)
    store.write([record(1)._replace(count=2**70)], NOON)
    assert (store.lost, store.waiting) == (1, 0)
    store.write([record(2)], NOON)
    assert ids(tmp_path) == [2]
    store.close()


READER = """
import os, sys
from pathlib import Path
from sipguard.edge.archive import Archive
from sipguard.journal.query import Query
import encodings.idna
os.setgid(65534); os.setuid(65534)
print(len(Archive(Path(sys.argv[1])).find(Query())))
"""


@pytest.mark.parametrize("state", ["running", "stopped", "killed"])
def test_another_user_reads(tmp_path_factory: pytest.TempPathFactory, state: str) -> None:
    """The web face and the reviewer are not the service's user and may write nothing there.

    Without root there is no other user to become; then the same user reads.
    """
    directory = tmp_path_factory.mktemp("state")
    store = Store(directory)
    store.write([record(1), record(2)], NOON)
    if state == "stopped":
        store.close()
    if state == "killed":  # -wal and -shm stay behind
        copy = tmp_path_factory.mktemp("copy")
        for file in directory.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        store.close()
        directory = copy
    for file in (directory, *directory.iterdir()):
        file.chmod(0o755 if file.is_dir() else 0o644)
    for above in directory.parents[:2]:
        above.chmod(0o755)
    script = (
        READER if os.getuid() == 0 else READER.replace("os.setgid(65534); os.setuid(65534)", "")
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ran.stdout.strip() == "2", ran.stderr
    store.close()


def test_json_lines_beside(tmp_path: Path) -> None:
    """Each record is one line; logrotate moves the file away and reopen() starts a new one."""
    lines = JsonLines(tmp_path / "records.jsonl")
    store = Store(tmp_path, lines=lines)
    store.write([record(1), record(2)], NOON)
    (tmp_path / "records.jsonl").rename(tmp_path / "records.jsonl.1")
    store.write([record(3)], NOON)
    store.reopen()
    store.write([record(4)], NOON)
    store.close()
    old = (tmp_path / "records.jsonl.1").read_text().splitlines()
    new = (tmp_path / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in old] == [id_of(1), id_of(2), id_of(3)]
    assert [json.loads(line)["id"] for line in new] == [id_of(4)]
    assert (tmp_path / "records.jsonl").stat().st_mode & 0o007 == 0


def test_json_lines_into_a_pipe(tmp_path: Path) -> None:
    """Nobody reads, nobody reads fast enough, the reader goes: no call waits, no line is torn."""
    os.mkfifo(tmp_path / "pipe")
    lines = JsonLines(tmp_path / "pipe")
    assert lines.write(["{}"], waits=True) == 0  # would have waited for a reader, with every call
    assert (lines.lost, lines.last_error) == (0, f"{tmp_path / 'pipe'}: nobody reads this pipe")
    assert lines.write(["{}"]) == 1
    assert lines.lost == 1
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    many = [json.dumps({"n": number, "x": "x" * 5_000}) for number in range(40)]
    done = lines.write(many, waits=True)
    assert 5 < done < 40  # 64 KiB
    assert lines.write(many[done:], waits=True) == 0
    assert "is behind" in lines.last_error
    got = b""
    while done < 40 or b'"n": 39' not in got:
        got += os.read(reader, 9_999)
        done += lines.write(many[done:], waits=True)
    got += os.read(reader, 9_999)
    assert got.decode().splitlines() == many
    assert (lines.lost, lines.last_error) == (1, "")
    while lines.write(many, waits=True):
        pass
    os.close(reader)
    assert lines.write(many, waits=True) == 0
    assert "nobody reads" in lines.last_error
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert lines.write(["[]"]) == 1
    assert os.read(reader, 9_999) == b"[]\n"
    os.close(reader)
    lines.close()


@pytest.mark.parametrize("waits", [True, False])
def test_the_last_line_in_a_full_pipe_is_ended(tmp_path: Path, waits: bool) -> None:
    """Its second half needs no further record to come out."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    lines = JsonLines(tmp_path / "pipe")
    many = [json.dumps({"n": number, "x": "x" * 9_000}) for number in range(8)]  # 64 KiB: 7.2
    done = lines.write(many, waits=waits)
    assert done == (7 if waits else 8)
    got = os.read(reader, 1 << 20)
    assert not got.endswith(b"\n")
    done += lines.write(many[done:], waits=waits)
    got += os.read(reader, 1 << 20)
    assert got.decode().splitlines() == many
    assert (done, lines.lost, lines.last_error) == (8, 0, "")
    os.close(reader)
    lines.close()


def test_half_a_line_that_waits_is_given_whole_to_the_next_reader(tmp_path: Path) -> None:
    """Whoever has left got the half of it, and who comes then begins with a line."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    lines = JsonLines(tmp_path / "pipe")
    many = ["x" * 99_999, "y"]
    assert lines.write(many, waits=True) == 0
    os.close(reader)
    assert lines.write(many, waits=True) == 0
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    done, got = 0, b""
    while done < 2:
        done += lines.write(many[done:], waits=True)
        got += os.read(reader, 1 << 20)
    assert got.decode().splitlines() == many
    assert lines.lost == 0
    os.close(reader)
    lines.close()


def test_the_store_ends_a_torn_line_by_itself(tmp_path: Path) -> None:
    """``has_work`` says so, and a write without records does it."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    store = Store(tmp_path, lines=JsonLines(tmp_path / "pipe"))
    store.write([record(number) for number in range(200)], NOON)
    has_work = [store.has_work]
    got = os.read(reader, 1 << 20)
    assert not got.endswith(b"\n")
    store.write([], NOON)
    got += os.read(reader, 1 << 20)
    assert got.endswith(b"\n")
    assert store.all_lost + got.count(b"\n") == 200
    assert [*has_work, store.has_work] == [True, False]
    os.close(reader)
    store.close()


def test_json_lines_on_a_full_disk(tmp_path: Path) -> None:
    """Lost lines are counted, and a torn line never runs into the next one."""
    full = JsonLines(Path("/dev/full"))
    full.write(["{}", "{}"])
    assert full.lost == 2
    assert "/dev/full" in full.last_error
    lines = JsonLines(tmp_path / "x")
    lines.write(["{}"])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        lines.write(['{"a":1}', '{"b":2}'])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert lines.lost == 2
    lines.write(['{"c":3}'])
    assert (tmp_path / "x").read_text() == '{}\n{"a":1}\n{"c":3}\n' or (
        (tmp_path / "x").read_text() == '{}\n{"a":1\n{"c":3}\n'
    )
    lines.close()

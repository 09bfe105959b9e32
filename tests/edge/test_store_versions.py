"""Stores of other versions: brought up to date whole or not at all, and readable before."""

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from counts import counted, recounted
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.archive import Archive
from sipguard.edge.schema import SCHEMA_VERSION
from sipguard.edge.store import FILE_NAME, Store
from sipguard.errors import EdgeError
from sipguard.journal.index import callee_of_line, party_of, words_found, words_of_line
from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.query import GroupBy, Query
from sipguard.journal.record import Record, record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action

NOON = 1_767_268_800.0
VERSION_1, VERSION_2 = (
    Path(__file__).parents[1] / "vectors" / "store" / f"version-{n}.sql" for n in (1, 2)
)
EVERYTHING = Query(limit=100_000)


def record(number: int, at_s: float = 0, **changes: object) -> Record:
    seen = Observation(
        utc_s=NOON + at_s,
        action=Action.DROP,
        judged=Action.DROP,
        reason=Reason.REPLAY,
        src=bytes([192, 0, 2, 1]),
        dst=bytes([198, 51, 100, 7]),
        rule="replayed",
        from_=b"<sip:Alice@example.com>",
        to=b"<sip:Bob@example.org>",
        call_id=b"Call-%d@h" % number,
        method=b"INVITE",
        raw=b"INVITE sip:b@c SIP/2.0\r\n\r\n",
    )._replace(**changes)  # type: ignore[arg-type]
    return record_of(seen, id_of(number))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store as version 0.1 wrote it."""
    return _made_by(VERSION_1, tmp_path / "1")


@pytest.fixture
def old_2(tmp_path: Path) -> Path:
    """A store of version 2, which counted by the hour alone and subtracted nothing."""
    return _made_by(VERSION_2, tmp_path / "2")


def _made_by(statements: Path, directory: Path) -> Path:
    directory.mkdir()
    connection = sqlite3.connect(directory / FILE_NAME)
    connection.executescript(statements.read_text())
    connection.close()
    return directory


def ids(directory: Path, query: Query = EVERYTHING) -> list[str]:
    return [str(entry.line["id"]) for entry in Archive(directory).find(query)]


def check(path: Path) -> None:
    """SQLite's own opinion, and ours."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert counted(path) == recounted(path)


def catch_up(store: Store) -> int:
    """Write until all of an earlier version's counts are taken over; return how often."""
    store.open()
    times = 0
    while store.has_work:
        store.write([], NOON)
        times += 1
        assert not store.last_error
    return times


def test_an_old_store_is_brought_up_to_date_with_all_its_records(old: Path) -> None:
    """An update of sipguard loses no evidence, and finds the old records by the new filters."""
    store = Store(old)
    assert store.open() == id_of(4)
    store.write([record(5, 5000)], NOON + 5000)
    catch_up(store)
    store.close()
    check(old / FILE_NAME)
    assert ids(old) == [id_of(n) for n in (1, 2, 4, 3, 5)]
    assert ids(old, replace(EVERYTHING, callee="bob@example.org")) == [id_of(1), id_of(5)]
    assert ids(old, replace(EVERYTHING, finding="sip-8")) == [id_of(2)]
    assert ids(old, replace(EVERYTHING, finding="bare-lf")) == [id_of(2)]
    assert ids(old, replace(EVERYTHING, finding="bare")) == []
    assert ids(old, replace(EVERYTHING, method="INVITE", rule="spoofed")) == [id_of(2), id_of(3)]
    entry = Archive(old).one(id_of(3))
    assert entry is not None
    assert entry.line["more"] == 40
    assert entry.message.startswith(b"INVITE sip:b@c")


@pytest.mark.parametrize("lost", [(), (3,), (3, 4), (3, 4, 5, 6)])
@pytest.mark.parametrize("rows", [1, 250])
def test_counts_of_version_2_are_taken_over_bit_by_bit(
    old_2: Path, monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...], rows: int
) -> None:
    """Counting what is there, although that version did not subtract what had to go for room.

    Meanwhile new records come, one as if the clock had been set back, and the oldest go.
    """
    monkeypatch.setattr("sipguard.edge.tallies.FILLED", rows)
    monkeypatch.setattr("sipguard.edge.store._CATCH_UP_S", 0)
    with sqlite3.connect(old_2 / FILE_NAME) as connection:
        connection.executemany("DELETE FROM records WHERE number = ?", [(n,) for n in lost])
    bars = Archive(old_2).over_time(EVERYTHING, 3600)
    assert sum(sum(bar.records.values()) for bar in bars) == 4
    groups = Archive(old_2).tally(EVERYTHING, GroupBy.RULE).groups
    assert sum(group.records for group in groups) == 4 - len(lost)
    store = Store(old_2)
    store.open()
    assert Archive(old_2).over_time(EVERYTHING, 3600) == bars  # at once
    at_s = 4 * 86_400.0
    store.write([record(7, at_s + 100), record(8, at_s - 7000, rule="spoofed")], NOON)
    with sqlite3.connect(old_2 / FILE_NAME) as connection:
        connection.execute("DELETE FROM records WHERE number IN (3, 4)")
    catch_up(store)
    store.close()
    check(old_2 / FILE_NAME)
    charted = Archive(old_2).over_time(EVERYTHING, 3600)
    assert sum(sum(bar.records.values()) for bar in charted) == 4 + 2


def test_groups_say_how_far_back_they_are_taken_over(
    old_2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a migration goes on, the numbers are of what they say they are of."""
    monkeypatch.setattr("sipguard.edge.tallies.FILLED", 1)
    monkeypatch.setattr("sipguard.edge.store._CATCH_UP_S", 0)
    monkeypatch.setattr("sipguard.edge.counting.ONE_BY_ONE", 0)
    store, archive = Store(old_2), Archive(old_2)
    store.open()
    assert archive.tally(EVERYTHING, GroupBy.SRC) == ([], (491_004 + 1) * 3600.0, True, 0)
    while store.has_work:
        store.write([], NOON)
        for by in GroupBy:
            counts = archive.tally(EVERYTHING, by)
            since_s = counts.since_s or 0
            entries = archive.find(replace(EVERYTHING, since_s=since_s))
            assert sum(group.records for group in counts.groups) == len(entries)
    assert archive.tally(EVERYTHING, GroupBy.SRC).since_s is None
    assert len(archive.find(EVERYTHING)) == 4
    store.close()


def test_a_store_of_version_2_is_read_before_it_is_brought_up_to_date(old_2: Path) -> None:
    """All of it but what was judged, and with the advice to start the service."""
    archive = Archive(old_2)
    summary = archive.summary(replace(EVERYTHING, refused_only=True), 3600)
    assert sum(sum(bar.records.values()) for bar in summary.recorded) == 4
    assert [group.records for group in summary.groups[GroupBy.RULE].groups] == [2, 1]
    assert "until the service has started once" in archive.advice
    with sqlite3.connect(old_2 / FILE_NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_new_and_an_updated_store_have_the_same_tables(
    old: Path, old_2: Path, tmp_path: Path
) -> None:
    """Nobody who updated gets another store than who installed."""
    schemas = []
    for directory in (old, old_2, tmp_path / "new"):
        store = Store(directory)
        catch_up(store)
        store.close()
        with sqlite3.connect(directory / FILE_NAME) as connection:
            columns = connection.execute("SELECT name FROM pragma_table_info('records')").fetchall()
            others = connection.execute(
                "SELECT type, name, sql FROM sqlite_schema WHERE name <> 'records' ORDER BY name"
            ).fetchall()
            version = connection.execute("PRAGMA user_version").fetchone()
            schemas.append((columns, others, version))
    assert schemas[0] == schemas[1] == schemas[2]
    assert schemas[0][2] == (SCHEMA_VERSION,)


def test_a_migration_that_fails_leaves_the_store_as_it_was(old: Path) -> None:
    """One transaction: after a full disk the old version still reads its records."""
    with sqlite3.connect(old / FILE_NAME) as connection:
        connection.execute("CREATE TABLE hours (somebody)")  # the way is blocked
        before = list(connection.iterdump())
    store = Store(old)
    with pytest.raises(EdgeError, match="cannot use the record store"):
        store.open()
    with sqlite3.connect(old / FILE_NAME) as connection:
        assert list(connection.iterdump()) == before
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    store.write([record(9)], NOON)  # judging goes on
    assert (store.waiting, store.lost) == (1, 0)


def test_a_record_that_somebody_edited_stops_no_migration(old: Path) -> None:
    """Broken JSON in one row finds nothing, and the rest is updated."""
    with sqlite3.connect(old / FILE_NAME) as connection:
        connection.execute(
            """UPDATE records SET json = '{"to": 7, "findings": "x"}' WHERE number = 1"""
        )
        connection.execute("UPDATE records SET json = '[]' WHERE number = 2")
    store = Store(old)
    catch_up(store)
    store.close()
    check(old / FILE_NAME)


def test_faces_read_an_old_store_and_say_what_to_do(old: Path) -> None:
    """A reviewer before the service's first start sees the list, and what cannot be asked yet."""
    archive = Archive(old)
    assert [str(e.line["id"]) for e in archive.find(EVERYTHING)] == [id_of(n) for n in (1, 2, 4, 3)]
    assert "until the service has started once" in archive.advice
    assert ids(old, replace(EVERYTHING, caller="alice", method="INVITE")) == [id_of(1), id_of(4)]
    assert next(c.key for c in archive.count(EVERYTHING, GroupBy.RULE)) == "spoofed"
    assert archive.one(id_of(2)) is not None
    for ask in (
        lambda: archive.find(replace(EVERYTHING, callee="bob")),
        lambda: archive.find(replace(EVERYTHING, finding="sip-8")),
        lambda: archive.over_time(EVERYTHING, 3600),
    ):
        with pytest.raises(EdgeError, match="until the service has started once"):
            ask()
    with sqlite3.connect(old / FILE_NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)  # and change nothing


def test_a_search_that_looks_at_too_many_says_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is not the whole one never looks like it."""
    store = Store(tmp_path)
    store.write([record(n, n, to=b"<sip:rare@h>" if n == 1 else b"x") for n in range(1, 50)], NOON)
    archive, query = Archive(tmp_path), Query(refused_only=True, callee="rare")
    assert [e.line["id"] for e in archive.search(query).entries] == [id_of(1)]
    assert archive.search(query).searched_to_s is None
    monkeypatch.setattr("sipguard.edge.asking.COVERED", 20)
    assert archive.search(query) == ([], NOON + 30)
    assert archive.search(replace(query, until_s=NOON + 30)) == ([], NOON + 10)  # on from there
    assert len(archive.search(replace(query, until_s=NOON + 10)).entries) == 1
    store.close()


def test_a_search_ends_in_time_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was not read yet makes an answer shorter, not the reviewer wait."""
    store = Store(tmp_path)
    store.write([record(n, n // 3, to=b"<sip:rare@h>") for n in range(1, 200)], NOON)
    store.close()
    monkeypatch.setattr("sipguard.edge.asking.COVERED", 150)
    monkeypatch.setattr("sipguard.edge.archive.LOOK_S", -1.0)
    archive, found, until_s = Archive(tmp_path), list[str](), None
    for _ in range(1000):
        query = Query(refused_only=True, callee="rare", until_s=until_s, limit=100)
        entries, until_s = archive.search(query)
        assert len(entries) < 20
        found += [str(entry.line["id"]) for entry in entries[::-1]]
        if until_s is None:
            break
    assert found == [id_of(n) for n in range(199, 0, -1)]


def test_groups_that_are_looked_for_end_in_time_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And say so; given the time, they are all there."""
    store = Store(tmp_path)
    store.write([record(n, n, rule=f"r{n % 2}") for n in range(1, 200)], NOON)
    store.close()
    archive, query = Archive(tmp_path), Query(refused_only=True, rule="r1")
    assert [(c.key, c.records) for c in archive.tally(query, GroupBy.RULE).groups] == [("r1", 100)]
    assert archive.tally(query, GroupBy.RULE).since_s is None
    monkeypatch.setattr("sipguard.edge.archive.COUNTED", 100)
    monkeypatch.setattr("sipguard.edge.archive.LOOK_S", -1.0)
    counts = archive.tally(query, GroupBy.RULE)
    assert counts.since_s is not None
    assert NOON + 150 < counts.since_s < NOON + 200
    told = len([n for n in range(1, 200, 2) if n >= counts.since_s - NOON])
    assert [(c.key, c.records) for c in counts.groups] == [("r1", told)]


def test_a_reader_and_a_writer_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """While a reviewer asks again and again, every write gets through, and the file is sound."""
    store = Store(tmp_path)
    store.open()
    done = threading.Event()
    faults: list[Exception] = []
    reads = 0

    def read() -> None:
        nonlocal reads
        archive = Archive(tmp_path)
        while not done.is_set():
            try:
                archive.search(Query(refused_only=True))
                archive.tally(Query(), GroupBy.CALLER)
                reads += 1
            except EdgeError as fault:
                faults.append(fault)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for at in range(0, 2000, 20):
            store.write([record(n, n) for n in range(at + 1, at + 21)], NOON)
            assert store.waiting == 0, store.last_error
    finally:
        done.set()
        reader.join()
    assert faults == []
    assert reads > 3
    store.close()
    check(tmp_path / FILE_NAME)


@given(st.text(max_size=80))
def test_whatever_is_in_to_has_a_party(value: str) -> None:
    """The callee is never longer than what was said, and never raises."""
    assert len(party_of(value)) <= len(value.lower())


@pytest.mark.parametrize(
    ("value", "party"),
    [
        ('"Bob" <sip:Bob@Example.org;user=phone>;tag=1', "bob@example.org"),
        ("sips:bob@example.org", "bob@example.org"),
        ("<tel:+4930123>", "+4930123"),
        ("<sip:bob:***@h?x=y>", "bob@h"),
        ("", ""),
        ("<", ""),
    ],
)
def test_a_party_is_user_and_host(value: str, party: str) -> None:
    """As the caller is shown, so that both can be looked for in one way."""
    assert party_of(value) == party


def test_what_was_found_is_the_same_from_a_record_and_from_its_line() -> None:
    """Old and new records are found by the same words."""
    made = record(1, findings=(Finding(Reason.BARE_LF), Finding(Reason.DIGEST_BASIC)))
    line = made.to_line()
    assert words_of_line(line) == words_found(made.findings, made.identity)
    assert " bare-lf " in words_of_line(line)
    assert callee_of_line(line) == "bob@example.org"


def test_a_copy_is_of_one_moment_however_much_is_written_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy service must not have a backup begin anew for ever."""
    monkeypatch.setattr("sipguard.edge.archive._PAGES", 4)
    store = Store(tmp_path)
    store.write([record(n, n) for n in range(1, 101)], NOON)
    steps = 0

    def write(_status: int, _left: int, _pages: int) -> None:
        nonlocal steps
        steps += 1
        if steps > 1000:
            raise RuntimeError("it begins anew for ever")
        store.write([record(1000 + steps, 1000 + steps)], NOON)

    copy = sqlite3.connect(tmp_path / "copy.sqlite3")
    Archive(tmp_path).copy_to(copy, write)
    assert copy.execute("SELECT count(*) FROM records").fetchone() == (100,)
    assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    copy.close()
    assert steps > 3
    assert store.waiting == 0
    store.close()

"""Stores of other versions: brought up to date whole or not at all, and readable before."""

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipguard.edge.archive import Archive
from sipguard.edge.schema import COUNTED, HOUR_S, SCHEMA_VERSION
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
VERSION_1 = Path(__file__).parents[1] / "vectors" / "store" / "version-1.sql"
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
    )
    for name, value in changes.items():
        setattr(seen, name, value)
    return record_of(seen, id_of(number))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store as version 0.1 wrote it."""
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript(VERSION_1.read_text())
    connection.close()
    return tmp_path


def ids(directory: Path, query: Query = EVERYTHING) -> list[str]:
    return [str(entry.line["id"]) for entry in Archive(directory).find(query)]


def counted(path: Path) -> set[tuple[object, ...]]:
    """What ``hours`` says, but for what it keeps of the past: last time and example."""
    with sqlite3.connect(path) as connection:
        return set(
            connection.execute(
                "SELECT kind, hour, key, verdict, records, messages FROM hours WHERE records > 0"
            )
        )


def recounted(path: Path) -> set[tuple[object, ...]]:
    """The same, counted from the records themselves."""
    with sqlite3.connect(path) as connection:
        return {
            row
            for kind in COUNTED
            for row in connection.execute(
                f"SELECT '{kind}', CAST(first_s / {HOUR_S} AS INTEGER), {kind}, verdict, count(*),"
                " sum(count + more) FROM records GROUP BY 2, 3, 4"
            )
        }


def check(path: Path) -> None:
    """SQLite's own opinion, and ours."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert counted(path) == recounted(path)


def test_an_old_store_is_brought_up_to_date_with_all_its_records(old: Path) -> None:
    """An update of sipguard loses no evidence, and finds the old records by the new filters."""
    store = Store(old)
    assert store.open() == id_of(4)
    store.write([record(5, 5000)], NOON + 5000)
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


def test_a_new_and_an_updated_store_have_the_same_tables(old: Path, tmp_path: Path) -> None:
    """Nobody who updated gets another store than who installed."""
    schemas = []
    for directory in (old, tmp_path / "new"):
        store = Store(directory)
        store.open()
        store.close()
        with sqlite3.connect(directory / FILE_NAME) as connection:
            columns = connection.execute("SELECT name FROM pragma_table_info('records')").fetchall()
            others = connection.execute(
                "SELECT type, name, sql FROM sqlite_schema WHERE name <> 'records' ORDER BY name"
            ).fetchall()
            version = connection.execute("PRAGMA user_version").fetchone()
            schemas.append((columns, others, version))
    assert schemas[0] == schemas[1]
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
    store.open()
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


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 6),  # which record
            st.floats(0, 9000),  # when it began
            st.integers(1, 9),
            st.integers(0, 9),
            st.sampled_from(list(Action)),
            st.sampled_from(["a", "b"]),
            st.sampled_from([b"<sip:x@h>", b"<sip:y@h>"]),
        ),
        max_size=30,
    )
)
def test_hours_count_what_the_records_say(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[object, ...]]
) -> None:
    """However records grow and change their verdict, the counts are those of the records."""
    directory = tmp_path_factory.mktemp("state")
    store = Store(directory)
    for number, at_s, count, more, verdict, rule, from_ in writes:
        assert isinstance(number, int)
        assert isinstance(at_s, float)
        made = record(number, at_s, from_=from_, rule=rule, judged=verdict)
        store.write([replace(made, count=int(str(count)), more=int(str(more)))], NOON)
    store.close()
    if writes:
        check(directory / FILE_NAME)


def test_groups_by_the_hour_are_the_groups_of_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where records are too many to be counted one by one, the answer stays the same."""
    store = Store(tmp_path)
    made = [
        record(n, n * 100, src=bytes([192, 0, 2, n % 5]), rule=f"r{n % 3}", reason=reason)
        for n in range(1, 100)
        for reason in [[Reason.REPLAY, Reason.NOT_KEYED][n % 2]]
    ]
    store.write(made, NOON)
    archive, query = Archive(tmp_path), Query(refused_only=True, limit=20)
    exact = {by: archive.tally(query, by) for by in GroupBy}
    monkeypatch.setattr("sipguard.edge.archive.COUNTED", 10)
    for by in GroupBy:
        assert exact[by].by_hours is False
        assert archive.tally(query, by) == exact[by]._replace(by_hours=True)
    narrow = archive.tally(replace(query, rule="r1"), GroupBy.SRC)
    assert sum(group.records for group in narrow.groups) == 3  # of the newest ten
    assert narrow.since_s is not None
    store.close()


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
    assert archive.search(query) == ([], NOON + 29)
    assert len(archive.search(replace(query, until_s=NOON + 20)).entries) == 1
    store.close()


def test_a_chart_has_every_span(tmp_path: Path) -> None:
    """Hours in which nothing was blocked are part of the night, too."""
    store = Store(tmp_path)
    store.write([record(1), replace(record(2, 10), more=8), record(3, 3 * 3600)], NOON)
    bars = Archive(tmp_path).over_time(Query(refused_only=True), 3600)
    assert [(bar.since_s - NOON, bar.records, bar.messages) for bar in bars] == [
        (0, {"drop": 2}, {"drop": 10}),
        (3600, {}, {}),
        (7200, {}, {}),
        (10800, {"drop": 1}, {"drop": 1}),
    ]
    store.close()


def test_counts_go_with_their_records(tmp_path: Path) -> None:
    """What a stranger claimed is forgotten with his call; a rule's count may stay for its chart."""
    store = Store(tmp_path, max_age_s=7200)
    store.write([record(1), record(2, 3600, from_=b"<sip:eve@h>")], NOON + 3600)
    store.write([record(3, 8 * 3600, from_=b"<sip:bob@h>")], NOON + 8 * 3600)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        keys = {key for (key,) in connection.execute("SELECT key FROM hours WHERE kind = 'caller'")}
    assert keys == {"bob@h"}
    store.close()


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

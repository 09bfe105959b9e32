"""Counts by hour and day: they are those of the records, whatever becomes of these."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from counts import counted, recounted
from hypothesis import given, settings
from hypothesis import strategies as st

from sipguard.edge import ranking, tallies
from sipguard.edge.archive import Archive
from sipguard.edge.journal import Journal
from sipguard.edge.judged import Judged, JudgedMeter, judged_of
from sipguard.edge.store import FILE_NAME, Store
from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.query import Bar, Count, GroupBy, Query
from sipguard.journal.record import Record, record_of, show_address
from sipguard.reason import Reason
from sipguard.verdict import Action

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
HOUR_S = 3600.0
EVERYTHING = Query(limit=1000)


def record(
    number: int,
    at_s: float = 0,
    *,
    src: int = 1,
    caller: str = "alice",
    rule: str = "forged",
    reason: Reason = Reason.REPLAY,
    judged: Action = Action.DROP,
    count: int = 1,
    more: int = 0,
) -> Record:
    seen = Observation(
        utc_s=NOON + at_s,
        action=judged,
        judged=judged,
        reason=reason,
        src=bytes([192, 0, 2, src]),
        dst=bytes([198, 51, 100, 7]),
        rule=rule,
        from_=b"<sip:%b@example.com>" % caller.encode(),
        call_id=b"Call-%d@h" % number,
        method=b"INVITE",
        raw=b"INVITE sip:b@c SIP/2.0\r\n\r\n",
    )
    return record_of(seen, id_of(number))._replace(count=count, more=more)


moments_s = st.one_of(st.sampled_from([0.0, 3600.0, 7200.0, 86_400.0]), st.floats(0, 9 * 86_400))


def records(numbers: int, callers: str) -> st.SearchStrategy[Record]:
    """Records that are often of one hour, often of one message, and seldom large."""
    return st.builds(
        record,
        st.integers(1, numbers),
        moments_s,
        src=st.integers(1, 4),
        caller=st.sampled_from(callers),
        rule=st.sampled_from(["r", "s"]),
        reason=st.sampled_from([Reason.REPLAY, Reason.NOT_KEYED]),
        judged=st.sampled_from([Action.DROP, Action.DROP, *Action]),
        count=st.sampled_from([1, 1, 1, 2, 3, 9]),
        more=st.sampled_from([0, 0, 0, 1, 40]),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(records(4, "ab"), st.integers(1, 4)), max_size=30))
def test_counts_are_those_of_the_records(
    tmp_path_factory: pytest.TempPathFactory, writes: list[Record | int]
) -> None:
    """However records come, grow, change their verdict, and go."""
    directory = tmp_path_factory.mktemp("state")
    store = Store(directory)
    store.open()
    for write in writes:
        if isinstance(write, int):
            with sqlite3.connect(directory / FILE_NAME) as connection:
                connection.execute("DELETE FROM records WHERE number = ?", (write,))
            connection.close()
        else:
            store.write([write], NOON)
    assert store.lost == 0
    store.close()
    assert counted(directory / FILE_NAME) == recounted(directory / FILE_NAME)


def group_of(one: Record, by: GroupBy) -> str:
    groups: dict[GroupBy, str] = {
        GroupBy.SRC: show_address(one.src),
        GroupBy.CALLER: one.caller.lower(),
        GroupBy.RULE: one.rule,
        GroupBy.REASON: one.reason.value,
    }
    return groups[by]


def fits(one: Record, query: Query) -> bool:
    """Whether a record began in an hour of the query's."""
    hour = one.first_s // HOUR_S
    since, until = query.since_s, query.until_s
    return (
        (since is None or hour >= since // HOUR_S)
        and (until is None or hour * HOUR_S < until)
        and query.verdict in (None, one.verdict)
        and not (query.refused_only and one.verdict is Action.ACCEPT)
    )


def brute(made: list[Record], query: Query, by: GroupBy) -> list[Count]:
    """Count by hand."""
    groups: dict[str, list[Record]] = {}
    for one in made:
        if fits(one, query):
            groups.setdefault(group_of(one, by), []).append(one)
    counts = [
        Count(
            key,
            len(some),
            sum(one.count + one.more for one in some),
            max(one.last_s for one in some),
            max(one.id for one in some),
        )
        for key, some in groups.items()
    ]
    return sorted(counts, key=lambda count: (-count.messages, count.key))


moments = st.one_of(st.none(), st.floats(NOON - 86_400, NOON + 4 * 86_400))
queries = st.builds(
    Query,
    since_s=moments,
    until_s=moments,
    refused_only=st.booleans(),
    verdict=st.sampled_from([None, None, Action.DROP, Action.ACCEPT]),
    limit=st.integers(1, 5),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(records(200, "abcdefghijklmnop"), max_size=60, unique_by=lambda one: one.id),
    queries,
    st.sampled_from([0, 0, 1, 4, 1000]),
    st.integers(1, 60),
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_groups_are_those_of_the_records(
    tmp_path_factory: pytest.TempPathFactory,
    made: list[Record],
    query: Query,
    added: int,
    read: int,
    exact: int,
    rounds: int,
) -> None:
    """Each number is what counting gives, however little is read of the lists.

    And no group is missing that has more messages than is said.
    """
    store = Store(tmp_path_factory.mktemp("state"))
    store.write(made, NOON)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ranking, "MAX_ADDED", added)
        patched.setattr(ranking, "MAX_COUNTED", added)
        patched.setattr(ranking, "MAX_READ", read)
        patched.setattr(ranking, "MAX_EXACT", exact)
        patched.setattr(ranking, "_LEAST_READ", 1)
        patched.setattr(ranking, "_ROUNDS", rounds)
        summary = Archive(store.path.parent).summary(query, 3600) if made else None
    store.close()
    if summary is None:
        return
    for by, counts in summary.groups.items():
        whole = brute(made, query, by)
        wanted = {count.key: count for count in whole}
        assert counts.groups == [wanted[count.key] for count in counts.groups]
        assert counts.groups == sorted(counts.groups, key=lambda one: (-one.messages, one.key))
        missing = [one.messages for one in whole if one not in counts.groups]
        least = counts.groups[-1].messages if len(counts.groups) == query.limit else 0
        assert max(missing, default=0) <= max(counts.rest, least)
        if not counts.rest:
            sizes = [one.messages for one in whole[: query.limit]]
            assert [one.messages for one in counts.groups] == sizes
    kept = [one for one in made if fits(one, replace(query, refused_only=False, verdict=None))]
    assert sum(sum(bar.records.values()) for bar in summary.recorded) == len(kept)
    assert summary.gone_before_s is None


def test_the_largest_of_many_are_found_without_reading_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three days of a flood from ever new callers, and two callers that go on: these are told."""
    store = Store(tmp_path)
    made = [record(n, n * 60, caller=f"stranger-{n}") for n in range(1, 4000)]
    made += [record(n, n * 60 - 200_000 * 1, caller="loud", more=20) for n in range(4000, 4100)]
    made += [record(n, (n - 4100) * 2000, caller="steady", more=5) for n in range(4100, 4200)]
    store.write(made, NOON)
    store.close()
    monkeypatch.setattr(ranking, "MAX_ADDED", 500)
    monkeypatch.setattr(ranking, "MAX_COUNTED", 500)
    monkeypatch.setattr(ranking, "MAX_READ", 1000)
    found = Archive(tmp_path).summary(Query(refused_only=True, limit=2), 3600)
    callers = found.groups[GroupBy.CALLER]
    assert [(c.key, c.records, c.messages) for c in callers.groups] == [
        ("loud@example.com", 100, 2100),
        ("steady@example.com", 100, 600),
    ]
    assert callers.rest == 0
    more = Archive(tmp_path).summary(Query(refused_only=True, limit=3), 3600).groups
    assert len(more[GroupBy.CALLER].groups) == 2
    assert 0 < more[GroupBy.CALLER].rest < 100  # strangers, of whom none is known to have more


def test_a_flood_makes_no_more_rows_than_records(tmp_path: Path) -> None:
    """Ever new sources and callers: what is counted stays smaller than what it is counted of."""
    store = Store(tmp_path)
    made = [
        record(n, n % 600, caller=f"x{n}")._replace(src=n.to_bytes(4, "big"), message=b"")
        for n in range(1, 3001)
    ]
    store.write(made, NOON)
    store.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        kinds = connection.execute(
            "SELECT kind, span, count(*) FROM tallies GROUP BY 1, 2"
        ).fetchall()
        ranked = connection.execute(
            "SELECT count(*) FROM tallies INDEXED BY tallies_ranked"
            f" WHERE messages > 1 AND {tallies.IS_CROWDED}"
        ).fetchone()
    connection.close()
    assert max(count for _, _, count in kinds) <= len(made)
    assert ranked == (0,)


@pytest.mark.parametrize("way", ["age", "room"])
def test_counts_go_with_their_records(tmp_path: Path, way: str) -> None:
    """What a stranger claimed is forgotten with his call; a chart keeps what had to go for room."""
    store = Store(tmp_path, max_age_s=86_400 if way == "age" else 1e9, max_octets=400_000)
    if way == "age":
        store.write([record(n, n * 600) for n in range(1, 20)], NOON)
        store.write([record(30, 86_400 + 6000, caller="bob")], NOON + 86_400 + 6000)
    else:
        for n in range(1, 400):
            size = record(n, n * 60)._replace(message=bytes(4000))
            store.write([size], NOON + n * 61)
    store.close()
    kept = len(Archive(tmp_path).find(EVERYTHING))
    assert 1 < kept < 300
    assert counted(tmp_path / FILE_NAME) == recounted(tmp_path / FILE_NAME)
    found = Archive(tmp_path).summary(EVERYTHING, 3600)
    assert sum(count.records for count in found.groups[GroupBy.REASON].groups) == kept
    charted = sum(sum(bar.records.values()) for bar in found.recorded)
    if way == "room":
        assert charted == 399
        oldest = Archive(tmp_path).find(EVERYTHING)[0].line["last_time"]
        assert found.gone_before_s is not None
        assert str(oldest).startswith("2026-01-01T1")
    else:
        assert kept <= charted <= kept + 6  # its hour is not over yet
        assert min(bar.since_s for bar in found.recorded) == NOON + HOUR_S


def test_a_chart_has_every_span(tmp_path: Path) -> None:
    """Hours in which nothing was blocked are part of the night, too."""
    store = Store(tmp_path)
    store.write([record(1), record(2, 10, more=7), record(3, 3 * 3600)], NOON)
    bars = Archive(tmp_path).over_time(Query(refused_only=True), 3600)
    assert [(bar.since_s - NOON, bar.records, bar.messages) for bar in bars] == [
        (0, {"drop": 2}, {"drop": 9}),
        (3600, {}, {}),
        (7200, {}, {}),
        (10800, {"drop": 1}, {"drop": 1}),
    ]
    store.close()


def test_many_are_counted_by_the_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where records are too many to be counted one by one, the answer stays the same."""
    store = Store(tmp_path)
    reasons = [Reason.REPLAY, Reason.NOT_KEYED]
    made = [
        record(n, n * 100, src=n % 5, rule=f"r{n % 3}", reason=reasons[n % 2])
        for n in range(1, 100)
    ]
    store.write(made, NOON)
    archive, query = Archive(tmp_path), Query(refused_only=True, limit=20)
    exact = {by: archive.tally(query, by) for by in GroupBy}
    monkeypatch.setattr("sipguard.edge.counting.ONE_BY_ONE", 10)
    for by in GroupBy:
        assert exact[by].by_hours is False
        assert archive.tally(query, by) == exact[by]._replace(by_hours=True)
    monkeypatch.setattr("sipguard.edge.archive.COUNTED", 10)
    narrow = archive.tally(replace(query, rule="r1"), GroupBy.SRC)
    assert sum(group.records for group in narrow.groups) == 3  # of the newest ten
    assert narrow.since_s is not None
    store.close()


def test_what_was_judged_is_counted_by_the_hour(tmp_path: Path) -> None:
    """Also what has no record: so many messages passed, and so many did not."""
    store = Store(tmp_path, max_age_s=86_400)
    hour = int(NOON // HOUR_S)
    store.judged(Judged(hour, {"accept": 40, "drop": 2}))
    store.judged(Judged(hour, {"accept": 2}))
    had_work = store.has_work
    store.write([record(1)], NOON)
    assert (had_work, store.has_work) == (True, False)
    store.judged(Judged(hour + 2, {"accept": 5, "reject": 1}))
    store.write([], NOON)
    found = Archive(tmp_path).summary(EVERYTHING, 3600)
    judged = found.judged
    assert found.judged_since_s == NOON
    later = replace(EVERYTHING, since_s=NOON + 1)
    assert Archive(tmp_path).summary(later, 3600).judged_since_s is None
    assert judged == [
        Bar(NOON, {"accept": 42, "drop": 2}, {"accept": 42, "drop": 2}),
        Bar(NOON + 3600, {}, {}),
        Bar(NOON + 7200, {"accept": 5, "reject": 1}, {"accept": 5, "reject": 1}),
    ]
    only = replace(EVERYTHING, since_s=NOON + 3600, until_s=NOON + 7201)
    assert [bar.since_s for bar in Archive(tmp_path).summary(only, 3600).judged] == [NOON + 7200]
    store.write([record(2, 86_400 + 3700)], NOON + 86_400 + 3700)  # the first hour is too old
    assert Archive(tmp_path).summary(EVERYTHING, 3600).judged == judged[2:]
    store.close()


def test_what_was_judged_is_of_the_hour_that_it_came_in() -> None:
    """Read once a minute and when an hour is over; what was read already is not counted again."""
    counts = {"accept": 3}
    meter = JudgedMeter(counts)
    assert meter.is_due(NOON)
    assert meter.read(NOON) == Judged(int(NOON // HOUR_S), {"accept": 3})
    counts["drop"] = 1
    assert not meter.is_due(NOON + 59)
    assert meter.is_due(NOON + 60)
    assert meter.is_due(NOON - 1)  # a clock that was set back
    assert meter.read(NOON + 3590) == Judged(int(NOON // HOUR_S), {"drop": 1})
    counts["accept"] += 7
    assert not meter.is_due(NOON + 3599)
    assert meter.is_due(NOON + 3600.05)
    assert meter.read(NOON + 3600.05) == Judged(int(NOON // HOUR_S), {"accept": 7})
    assert meter.read(NOON + 3700) is None


def test_it_is_written_without_any_record(tmp_path: Path) -> None:
    """At the journal's next turn; the ids of records go on where they were."""
    store = Store(tmp_path)
    store.open()
    journal = Journal(store)
    journal.turn(NOON)
    store.judged(judged_of(Judged(int(NOON // HOUR_S), {"accept": 60}).to_octets()))
    journal.turn(NOON + 1)
    written = Archive(tmp_path).summary(EVERYTHING, 3600).judged
    assert [bar.messages for bar in written] == [{"accept": 60}]
    assert (store.last_id, store.last_error) == ("", "")
    store.close()


def test_what_was_judged_waits_for_the_disk_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk for weeks costs no memory, and what was counted meanwhile is there after it."""
    monkeypatch.setattr("sipguard.edge.store._MAX_JUDGED", 3)
    (tmp_path / "state").write_text("")
    store = Store(tmp_path / "state")
    for hour in range(10):
        store.judged(Judged(hour, {"accept": 1}))
        store.judged(Judged(hour, {"accept": 1}))
        store.write([], NOON)
    assert store.last_error
    (tmp_path / "state").unlink()
    store.write([], NOON)
    assert store.last_error == ""
    with sqlite3.connect(tmp_path / "state" / FILE_NAME) as connection:
        rows = connection.execute("SELECT * FROM judged ORDER BY 1").fetchall()
    connection.close()
    assert rows in ([], [(0, "accept", 2), (1, "accept", 2), (2, "accept", 2)])
    store.close()


def test_every_kind_has_a_row_for_each_span() -> None:
    """Groups and kinds are the same words."""
    assert {by.value for by in GroupBy} == set(tallies.COUNTED)

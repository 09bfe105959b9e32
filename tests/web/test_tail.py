"""The live tail: new records as events, bounded, and over when the session is."""

import json
from pathlib import Path

import pytest
from hostile import everywhere
from hostile_octets import CORPUS
from nights import night
from visitor import TOKEN, Visitor, inside, watch

from sipguard.web.sessions import IDLE_S
from sipguard.web.tail import MAX_WATCHERS


def events(octets: bytes) -> list[dict[str, str]]:
    return [
        json.loads(line.removeprefix(b"data: "))
        for line in octets.split(b"\n")
        if line.startswith(b"data: {") and line != b"data: {}"
    ]


def test_a_new_record_is_told_within_a_second(tmp_path: Path) -> None:
    """And none that was there before."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor)
    assert b"text/event-stream" in line.value()
    visitor.clock.advance(1)
    assert events(line.value()) == []
    identifier = everywhere(tmp_path, b"x")
    visitor.clock.advance(1)
    told = events(line.value())
    assert identifier in {event["id"] for event in told}
    assert all(set(event) >= {"time", "verdict_words", "kind", "source", "why"} for event in told)
    count = len(told)
    visitor.clock.advance(5)
    assert len(events(line.value())) == count


def test_a_browser_that_comes_again_misses_nothing(tmp_path: Path) -> None:
    """It says which event was its last."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor, "Last-Event-ID: 0\r\n")
    visitor.clock.advance(1)
    assert len(events(line.value())) == 5


def test_filters_hold_for_what_comes_as_well(tmp_path: Path) -> None:
    """The address says what is watched."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor, "Last-Event-ID: 0\r\n", "/live/events?rule=stray")
    visitor.clock.advance(1)
    assert [event["rule"] for event in events(line.value())] == ["stray"]


@pytest.mark.parametrize("name", CORPUS)
def test_a_record_cannot_end_its_event(tmp_path: Path, name: str) -> None:
    """JSON in ASCII has no line ends, so nobody's name begins an event of its own."""
    everywhere(tmp_path, CORPUS[name])
    visitor = inside(tmp_path)
    line = watch(visitor, "Last-Event-ID: 0\r\n")
    visitor.clock.advance(1)
    body = line.value().partition(b"\r\n\r\n")[2]
    assert body.isascii()
    assert body.count(b"event: ") == body.count(b"\ndata: {") == 2
    for event in events(body):
        assert all(value.isprintable() for value in event.values())


def test_it_ends_with_the_session(tmp_path: Path) -> None:
    """Watching is not being there; and after a logout nothing more is told."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor)
    for _ in range(int(IDLE_S) + 5):
        visitor.clock.advance(1)
    assert b"event: over" in line.value()
    assert len(visitor.pages.streams["/live/events"]) == 0


def test_watchers_are_bounded_and_leave_room(tmp_path: Path) -> None:
    """Each costs a question every second."""
    night(tmp_path)
    visitor = inside(tmp_path)
    lines = [watch(visitor) for _ in range(MAX_WATCHERS)]
    assert watch(visitor).value().startswith(b"HTTP/1.1 503")
    lines[0].loseConnection()
    assert watch(visitor).value().startswith(b"HTTP/1.1 200")
    visitor.site.stopFactory()
    assert len(visitor.pages.streams["/live/events"]) == 0


def test_who_reads_slowly_is_told_later(tmp_path: Path) -> None:
    """Nothing is kept for a browser whose connection is full."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor, "Last-Event-ID: 0\r\n")
    assert line.producer is not None
    line.producer.pauseProducing()
    visitor.clock.advance(3)
    assert events(line.value()) == []
    line.producer.resumeProducing()
    visitor.clock.advance(1)
    assert len(events(line.value())) == 5


def test_a_store_that_is_away_may_come_back(tmp_path: Path) -> None:
    """The page stays, and goes on."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor, "Last-Event-ID: 0\r\n")
    store = tmp_path / "records.sqlite3"
    away = store.rename(tmp_path / "away")
    visitor.clock.advance(2)
    assert events(line.value()) == []
    away.rename(store)
    visitor.clock.advance(1)
    assert len(events(line.value())) == 5


def test_the_token_watches_without_a_session(tmp_path: Path) -> None:
    """For scripts: curl -N."""
    night(tmp_path)
    visitor = Visitor(tmp_path)
    line = watch(visitor, f"Authorization: Bearer {TOKEN}\r\nLast-Event-ID: 0\r\n")
    visitor.clock.advance(1)
    assert len(events(line.value())) == 5

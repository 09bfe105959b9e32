"""The overview's stream: a word when something is new, few words, and none after the session."""

from pathlib import Path

from hostile import everywhere
from nights import night
from visitor import TOKEN, Visitor, inside, watch

from sipguard.web.beat import BEAT_S
from sipguard.web.sessions import IDLE_S
from sipguard.web.tail import MAX_WATCHERS

WORD = b"event: changed\ndata: {}\n\n"


def test_what_is_new_is_told_at_the_next_beat(tmp_path: Path) -> None:
    """And nothing of what it is: that is in the page."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor, path="/events")
    assert b"text/event-stream" in line.value()
    visitor.clock.advance(BEAT_S)
    words = line.value().count(WORD)
    visitor.clock.advance(BEAT_S)
    assert line.value().count(WORD) == words
    identifier = everywhere(tmp_path, b"x")
    visitor.clock.advance(BEAT_S)
    assert line.value().count(WORD) == words + 1
    assert identifier.encode() not in line.value()


def test_a_flood_makes_no_more_words(tmp_path: Path) -> None:
    """However much is recorded between two beats, a browser asks once."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor, path="/events")
    for _ in range(10):
        everywhere(tmp_path, b"x")
        visitor.clock.advance(BEAT_S / 2)
    assert line.value().count(WORD) == 5


def test_health_changes_without_a_record(tmp_path: Path) -> None:
    """So there is a word now and then, also of a store that cannot be read."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor, path="/events")
    for _ in range(13):
        visitor.clock.advance(BEAT_S)
    assert 4 <= line.value().count(WORD) <= 5
    (tmp_path / "records.sqlite3").rename(tmp_path / "away")
    before = line.value().count(WORD)
    visitor.clock.advance(BEAT_S)
    assert line.value().count(WORD) == before + 1


def test_it_ends_with_the_session_although_a_script_asks(tmp_path: Path) -> None:
    """A page that follows by itself is nobody who is there."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor, path="/events")
    for _ in range(int(IDLE_S / BEAT_S) + 2):
        visitor.clock.advance(BEAT_S)
        visitor.get("/?since=24h&live=1")
    assert b"event: over" in line.value()
    assert visitor.get("/").status == 303
    assert len(visitor.pages.streams["/events"]) == 0


def test_a_page_that_is_looked_at_keeps_the_session(tmp_path: Path) -> None:
    """The other way round: who reads is there."""
    night(tmp_path)
    visitor = inside(tmp_path)
    for _ in range(int(IDLE_S / 60) + 2):
        visitor.clock.advance(60)
        assert visitor.get("/").status == 200


def test_overviews_leave_room_for_the_live_tail(tmp_path: Path) -> None:
    """Each kind has so many; one who is too much is told, and has the page all the same."""
    night(tmp_path)
    visitor = inside(tmp_path)
    for _ in range(MAX_WATCHERS):
        assert watch(visitor, path="/events").value().startswith(b"HTTP/1.1 200")
    assert watch(visitor, path="/events").value().startswith(b"HTTP/1.1 503")
    assert watch(visitor).value().startswith(b"HTTP/1.1 200")
    assert visitor.get("/").status == 200
    visitor.site.stopFactory()
    assert len(visitor.pages.streams["/events"]) == 0


def test_strangers_are_told_nothing(tmp_path: Path) -> None:
    """No cookie, no stream; the token is as good as one."""
    night(tmp_path)
    assert watch(Visitor(tmp_path), path="/events").value().startswith(b"HTTP/1.1 401")
    line = watch(Visitor(tmp_path), f"Authorization: Bearer {TOKEN}\r\n", "/events")
    assert line.value().startswith(b"HTTP/1.1 200")


def test_who_reads_slowly_is_told_once(tmp_path: Path) -> None:
    """Nothing is kept for a browser whose connection is full."""
    night(tmp_path)
    visitor = inside(tmp_path)
    line = watch(visitor, path="/events")
    assert line.producer is not None
    line.producer.pauseProducing()
    for _ in range(4):
        everywhere(tmp_path, b"x")
        visitor.clock.advance(BEAT_S)
    assert WORD not in line.value()
    line.producer.resumeProducing()
    everywhere(tmp_path, b"x")
    visitor.clock.advance(BEAT_S)
    assert line.value().count(WORD) == 1

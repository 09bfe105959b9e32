"""The live tail: the latest records as a page, and new ones as they come (Server-Sent Events)."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer  # type: ignore[import-untyped]

from sipguard.edge.archive import Archive, Entry
from sipguard.errors import EdgeError
from sipguard.journal.query import Query, QueryError
from sipguard.web.asked import Answer, Question
from sipguard.web.paper import VERDICT_WORDS, Paper
from sipguard.web.rows import link, page_of, query_of, row_of

MAX_WATCHERS: Final = 16
MAX_EVENTS: Final = 100  # to one watcher in one second
TICK_S: Final = 1.0
_QUIET_TICKS: Final = 15  # then a comment, so that who is gone is noticed
_RETRY_MS: Final = 3000
_log = Logger()
Changed = tuple[int, list[list[Entry]]]  # the newest revision, and what is new to each
InThread = Callable[[Callable[[], Changed]], "Deferred[Changed]"]


def tail(archive: Archive, question: Question, paper: Paper) -> Answer:
    """Return the page with the latest records; a script adds those that come."""
    try:
        query = query_of(question.fields, question.now_s)
    except QueryError as error:
        return paper.problem(question, 400, "Live", f"{error}")
    return paper.page(
        "live.html",
        question,
        title="Live",
        rows=page_of(archive, query, "").rows,
        events=link("/live/events", question.fields),
    )


def event_of(entry: Entry) -> bytes:
    """Return a record as one event; JSON has no line ends, so a record cannot end it."""
    row = row_of(entry.line)
    told = row._asdict() | {
        "verdict_words": VERDICT_WORDS.get(row.verdict, row.verdict),
        "kind": row.verdict.replace(" ", "-"),
    }
    return b"id: %d\nevent: record\ndata: %s\n\n" % (
        entry.revision,
        json.dumps(told, ensure_ascii=True).encode(),
    )


@implementer(IPushProducer)
class Watcher:
    """One browser that stays connected. One that reads too slowly is told later, from the store."""

    def __init__(self, request: Request, query: Query, is_welcome: Callable[[], bool]) -> None:
        self.request = request
        self.query = replace(query, limit=MAX_EVENTS)
        self.is_welcome = is_welcome  # whether its session is still open
        self.seen = -1
        self.quiet = 0
        self.is_full = False

    def pauseProducing(self) -> None:
        """Its connection holds enough for now."""
        self.is_full = True

    def resumeProducing(self) -> None:
        """It has room again."""
        self.is_full = False

    def stopProducing(self) -> None:
        """It is gone; ``notifyFinish`` tells."""

    def write(self, octets: bytes) -> None:
        """Send."""
        self.quiet = 0
        self.request.write(octets)


class Watchers:
    """Asks the store once a second for all of them; each has a revision that it has seen."""

    seconds: float = TICK_S

    def __init__(self, archive: Archive, clock: IReactorTime, in_thread: InThread) -> None:
        self._archive = archive
        self._in_thread = in_thread
        self._watchers: list[Watcher] = []
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._watchers)

    def add(self, watcher: Watcher, seen: int) -> bool:
        """Begin to tell one; false if there is no room."""
        if len(self._watchers) >= MAX_WATCHERS:
            return False
        watcher.seen = seen
        self._watchers.append(watcher)
        watcher.request.notifyFinish().addBoth(lambda _: self._remove(watcher))
        watcher.request.registerProducer(watcher, True)
        watcher.write(b"retry: %d\n\n" % _RETRY_MS)
        if not self._loop.running:
            self._loop.start(self.seconds, now=False).addErrback(_tell_failure)
        return True

    def stop(self) -> None:
        """End all of them."""
        for watcher in list(self._watchers):
            _finish(watcher)
        if self._loop.running:
            self._loop.stop()

    def _remove(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)
        if not self._watchers and self._loop.running:
            self._loop.stop()

    async def _ask(self) -> None:
        asked = [watcher for watcher in self._watchers if not watcher.is_full]
        try:
            newest, answers = await self._in_thread(lambda: _changed(self._archive, asked))
        except EdgeError:
            newest, answers = -1, [[] for _ in asked]  # it may come back
        for watcher, entries in zip(asked, answers, strict=True):
            if watcher not in self._watchers or self._is_over(watcher):
                continue
            watcher.quiet += 1
            for entry in entries:
                watcher.write(event_of(entry))
                watcher.seen = max(watcher.seen, entry.revision)
            if len(entries) < MAX_EVENTS:
                watcher.seen = max(watcher.seen, newest)
            if watcher.quiet >= _QUIET_TICKS:
                watcher.write(b": still here\n\n")

    def _is_over(self, watcher: Watcher) -> bool:
        """Whether a session has ended; then its stream does, with a word."""
        if watcher.is_welcome():
            return False
        watcher.write(b"event: over\ndata: {}\n\n")
        _finish(watcher)
        return True

    def _tick(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._ask()).addErrback(_tell_failure)


def _finish(watcher: Watcher) -> None:
    watcher.request.unregisterProducer()
    watcher.request.finish()


def _changed(archive: Archive, watchers: list[Watcher]) -> Changed:
    """Return the newest revision, and what is new to each; runs in a thread."""
    newest = archive.revision()
    answers = []
    for watcher in watchers:
        if newest < watcher.seen:  # a store begun anew counts from the start
            watcher.seen = newest
        behind = watcher.seen < newest
        answers.append(archive.changed(watcher.seen, watcher.query) if behind else [])
    return newest, answers


def _tell_failure(failure: object) -> None:
    _log.error("the live tail failed: {failure}", failure=failure)

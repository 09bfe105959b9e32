"""One call attempt's record while it may still grow, and the attempts of each call."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from sipguard.journal.observation import Observation, Step
from sipguard.journal.record import (
    MAX_LADDER,
    MAX_MEDIA,
    Json,
    Record,
    Similar,
    bounded_ladder,
    media_json,
    own_step,
    record_of,
    rung_of,
)
from sipguard.journal.streams import Ends, StreamEnd

MAX_ALSO: Final = 8
MAX_OF_CALL: Final = 8  # attempts of one call that are told of its streams: the latest
LONGEST_CALL_S: Final = 86_400.0  # after that nobody waits for the ends of its streams
LINGER_S: Final = 60.0  # after its last end: another fork, or the other directions


class Attempt:
    """One call attempt whose record was made and may still grow."""

    __slots__ = (
        *("_also", "_count", "_ends", "_heard", "_media", "_told"),
        *("elsewhere", "last_s", "more", "record"),
    )

    def __init__(self, record: Record, seen: Observation) -> None:
        self.record = record._replace(message=b"")
        self.last_s = seen.utc_s
        self.more = 0
        self.elsewhere = False
        self._count = 1
        self._also: dict[tuple[str, str, str], int] = {}
        self._told: tuple[Step, ...] = ()
        self._heard: deque[tuple[Step, str]] = deque(maxlen=MAX_LADDER)
        self._media: list[Json] = []  # further streams that were refused
        self._ends: Ends | None = None

    def add(self, seen: Observation) -> None:
        """Count one more message of this attempt; cheap, for this is the path of a flood."""
        self.last_s = max(self.last_s, seen.utc_s)
        verdict = seen.judged.value if seen.noteworthy else ""
        self._heard.append((own_step(seen), verdict))
        if not seen.noteworthy:
            return
        self._told = seen.ladder[-MAX_LADDER:] or self._told
        if seen.is_media:
            self._add_media([media_json(note) for note in seen.media])
        record = self.record
        if (seen.reason, seen.rule, seen.judged) == (record.reason, record.rule, record.verdict):
            self._count += 1
            return
        self._add_also((verdict, seen.rule, seen.reason.value), 1)

    def _add_also(self, other: tuple[str, str, str], count: int) -> None:
        """Remember a verdict beside the headline's; the first few kinds have room."""
        if other in self._also or len(self._also) < MAX_ALSO:
            self._also[other] = self._also.get(other, 0) + count

    def _add_media(self, notes: Sequence[Json]) -> None:
        for note in notes:
            known = len(self.record.media) + len(self._media)
            if known < MAX_MEDIA and note not in self.record.media and note not in self._media:
                self._media.append(note)

    def worsen(self, seen: Observation) -> Record:
        """Give the headline to a refusal, where so far the attempt was accepted and logged."""
        before, count = self.now(), self._count
        after = record_of(seen, before.id)
        if seen.is_media:
            # The accepted message is still what the record is about, and is kept beside it.
            after = of_call(after, before)._replace(
                contact=before.contact,
                cseq=before.cseq,
                branch=before.branch,
                user_agent=before.user_agent,
                identity=before.identity,
                octets=before.octets,
            )
        ladder = bounded_ladder((*before.ladder, *after.ladder))
        self.record = after._replace(first_s=before.first_s, ladder=ladder, message=b"")
        self._add_media(before.media)
        self.last_s = max(self.last_s, seen.utc_s)
        self._count = 1
        self._add_also((before.verdict.value, before.rule, before.reason.value), count)
        return self.now()._replace(message=after.message)

    def end(self, end: StreamEnd) -> bool:
        """Add how one direction of a stream ended; return whether that is news."""
        if self._ends is None:
            self._ends = Ends()
        return self._ends.add(end)

    def now(self) -> Record:
        """Return the record with everything counted so far."""
        rungs = [rung_of(step, verdict) for step, verdict in self._heard]
        told = [rung_of(step) for step in self._told]
        ends = self._ends
        self.record = self.record._replace(
            last_s=self.last_s,
            count=self._count,
            more=self.more,
            elsewhere=self.elsewhere,
            ladder=bounded_ladder((*self.record.ladder, *told, *rungs)),
            also=tuple(Similar(*kind, count) for kind, count in self._also.items()),
            media=(*self.record.media, *self._media),
            streams=ends.to_json() if ends is not None else (),
            more_streams=ends.more if ends is not None else 0,
        )
        self._heard.clear()
        self._told = ()
        self._media.clear()
        return self.record


class _Kin:
    """The attempts of one call, and how long to keep them."""

    __slots__ = ("attempts", "until_s")

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.until_s = 0.0


class Calls:
    """The attempts of each call, for what is told long after they fell silent: streams' ends.

    Only what was let through, and what is about its packets, belongs to a call: anybody can
    send something under its Call-ID. Bounded; calls that are over go first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._count = 0
        self._running: OrderedDict[bytes, _Kin] = OrderedDict()
        self._over: OrderedDict[bytes, _Kin] = OrderedDict()

    def __len__(self) -> int:
        """How many attempts are kept here."""
        return self._count

    def of(self, call_id: bytes) -> Sequence[Attempt]:
        """Return the attempts of one call."""
        kin = self._running.get(call_id) or self._over.get(call_id)
        return kin.attempts if kin is not None else ()

    def told(self, call_id: bytes) -> Record | None:
        """Return the record of a message of this call, for what says only its Call-ID."""
        for attempt in self.of(call_id):
            if attempt.record.from_:
                return attempt.record
        return None

    def add(self, call_id: bytes, attempt: Attempt, now_s: float) -> None:
        """Let an attempt be told of the streams of its call."""
        kin = self._running.get(call_id) or self._over.pop(call_id, None) or _Kin()
        self._running[call_id] = kin
        self._running.move_to_end(call_id)
        kin.until_s = now_s + LONGEST_CALL_S
        if attempt in kin.attempts:
            return
        kin.attempts.append(attempt)
        self._count += 1
        if len(kin.attempts) > MAX_OF_CALL:
            del kin.attempts[0]
            self._count -= 1
        while self._count > self._capacity:
            self._forget(self._over or self._running)

    def over(self, call_id: bytes, now_s: float) -> None:
        """Keep a call a little longer and no more: its last stream has ended."""
        kin = self._running.pop(call_id, None)
        if kin is not None:
            kin.until_s = now_s + LINGER_S
            self._over[call_id] = kin

    def expire(self, now_s: float) -> None:
        """Forget the calls whose time is over."""
        for calls in (self._over, self._running):
            while calls and next(iter(calls.values())).until_s < now_s:
                self._forget(calls)

    def _forget(self, calls: OrderedDict[bytes, _Kin]) -> None:
        _, kin = calls.popitem(last=False)
        self._count -= len(kin.attempts)


def of_call(record: Record, call: Record) -> Record:
    """Say of a record about packets who is calling whom, as a message of the call claims."""
    return record._replace(
        request_uri=call.request_uri,
        from_=call.from_,
        to=call.to,
        caller=call.caller,
    )

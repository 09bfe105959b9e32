"""Dialogs as a firewall sees them (RFC 3261 section 12, rules DLG-*).

The two ends of a dialog are told apart by their tags, and the hosts that may
speak for an end are those that were seen on its path while the dialog was set
up: the packets' own addresses and the addresses in Contact (DLG-6).
"""

from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from typing import Final

from sipguard.calls.table import ExpiringTable
from sipguard.calls.transaction import (
    INVITE_PENDING_S,
    LINGER_S,
    Transaction,
    TransactionEvent,
    shared,
)

LADDER_STEPS: Final = 10  # how many messages of a call the record can show
HOSTS: Final = 8  # hosts remembered for one end of a dialog
INVITES: Final = 4  # CSeq numbers of INVITEs whose ACK may still come

DialogKey = tuple[bytes, bytes, bytes]
HopCSeq = tuple[int, bytes, bytes, bool]  # CSeq, source, destination, from the caller
LadderStep = tuple[float, bytes, bool]  # POSIX seconds, what, from the caller


class DialogState(IntEnum):
    """How far a dialog has come."""

    EARLY = 1
    CONFIRMED = 2
    ENDING = 3  # a BYE was passed on
    ENDED = 4  # and answered, or the dialog failed


class DialogEvent(IntEnum):
    """What can happen to a dialog."""

    PROVISIONAL = 1
    SUCCESS = 2
    FAILURE = 3  # a final failure of the request that would have made it
    BYE = 4
    BYE_DONE = 5
    BYE_REFUSED = 6  # challenged: the caller will try again
    GONE = 7  # 481 or 408 inside the dialog


_S, _E = DialogState, DialogEvent
TRANSITIONS: Final = {
    (_S.EARLY, _E.PROVISIONAL): _S.EARLY,
    (_S.EARLY, _E.SUCCESS): _S.CONFIRMED,
    (_S.EARLY, _E.FAILURE): _S.ENDED,
    (_S.EARLY, _E.BYE): _S.ENDING,  # RFC 3261 section 15: the caller may end an early dialog
    (_S.EARLY, _E.GONE): _S.ENDED,
    (_S.CONFIRMED, _E.PROVISIONAL): _S.CONFIRMED,
    (_S.CONFIRMED, _E.SUCCESS): _S.CONFIRMED,
    (_S.CONFIRMED, _E.BYE): _S.ENDING,
    (_S.CONFIRMED, _E.GONE): _S.ENDED,
    (_S.ENDING, _E.SUCCESS): _S.ENDING,
    (_S.ENDING, _E.BYE): _S.ENDING,
    (_S.ENDING, _E.BYE_DONE): _S.ENDED,
    (_S.ENDING, _E.BYE_REFUSED): _S.CONFIRMED,
    (_S.ENDING, _E.GONE): _S.ENDED,
}


class Dialog:
    """One dialog. Mutable; owned by :class:`Dialogs`."""

    __slots__ = (
        "callee_hosts",
        "caller_hosts",
        "expires_at_s",
        "highest_cseqs",
        "invites",
        "key",
        "labels",
        "learned",
        "reliable",
        "requests",
        "session_expires_s",
        "started_at_s",
        "state",
        "times",
        "unacknowledged",
    )

    def __init__(self, key: DialogKey, now_s: float) -> None:
        self.key = key
        self.state = DialogState.EARLY
        self.caller_hosts: tuple[bytes, ...] = ()
        self.callee_hosts: tuple[bytes, ...] = ()
        # The highest CSeq of each end, for each hop it was seen on: a proxy
        # makes the same request cross the gateway twice.
        self.highest_cseqs: tuple[HopCSeq, ...] = ()
        self.invites: tuple[tuple[bool, int], ...] = ()
        self.reliable: tuple[tuple[int, int], ...] = ()  # (RSeq, CSeq) not yet acknowledged
        # 100,000 dialogs: two tuples cost half of a list of triples.
        self.times: tuple[float, ...] = ()
        self.labels: tuple[tuple[bytes, bool], ...] = ()
        self.unacknowledged: tuple[Transaction, ...] = ()  # INVITEs with a 2xx and no ACK yet
        self.learned = False
        self.requests = 0  # passed inside it, ACKs included
        self.session_expires_s = 0
        self.started_at_s = now_s
        self.expires_at_s = now_s + INVITE_PENDING_S

    @property
    def is_alive(self) -> bool:
        """Whether in-dialog requests still make sense."""
        return self.state is not DialogState.ENDED

    def step(self, event: DialogEvent) -> bool:
        """Move on; return whether *event* may happen in the state it was in."""
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            return False
        self.state = after
        return True

    def is_from_caller(self, from_tag: bytes) -> bool:
        """Which end a request comes from, by its From tag."""
        return self.key[1] == from_tag

    def may_speak(self, from_caller: bool, source: bytes) -> bool:
        """Whether *source* was seen on the path of that end (DLG-6)."""
        return source in (self.caller_hosts if from_caller else self.callee_hosts)

    def is_joined_by(self, transaction: Transaction) -> bool:
        """Whether a request without a To tag may be a leg of what made this dialog.

        An answer passes the leg next to its sender first. So a later leg leads
        to where an earlier one came from, or comes from the caller himself;
        else somebody and his accomplice use the tags of another call (DLG-6).
        """
        if transaction.from_tag != self.key[1]:
            return False
        hosts = self.caller_hosts
        return transaction.source in hosts or transaction.destination in hosts

    def saw_host(self, of_caller: bool, *hosts: bytes) -> None:
        """Remember hosts that speak for one end of the dialog."""
        known = self.caller_hosts if of_caller else self.callee_hosts
        new = tuple([shared(host) for host in hosts if host and host not in known])
        if not new or len(known) + len(new) > HOSTS:
            return
        if of_caller:
            self.caller_hosts = known + new
        else:
            self.callee_hosts = known + new

    def is_new_cseq(self, from_caller: bool, source: bytes, destination: bytes, cseq: int) -> bool:
        """Whether *cseq* is higher than the last from that end on that hop (DLG-2)."""
        for hop in self.highest_cseqs:
            if hop[1:] == (source, destination, from_caller):
                return cseq > hop[0]
        return True

    def saw_cseq(self, from_caller: bool, source: bytes, destination: bytes, cseq: int) -> None:
        """Remember the CSeq of an accepted request."""
        way = (shared(source), shared(destination), from_caller)
        others = tuple([hop for hop in self.highest_cseqs if hop[1:] != way])
        if len(others) < 2 * HOSTS:
            self.highest_cseqs = (*others, (cseq, *way))

    def saw_invite(self, from_caller: bool, cseq: int) -> None:
        """Remember an INVITE whose ACK will carry the same number (TXN-7)."""
        entry = (from_caller, cseq)
        if entry not in self.invites:
            self.invites = (*self.invites[-INVITES + 1 :], entry)

    def acknowledge(self, cseq: int) -> None:
        """Note the ACK to a 2xx: every leg of that INVITE is done with (TXN-7)."""
        if not self.unacknowledged:
            return
        for transaction in self.unacknowledged:
            if transaction.cseq == cseq:
                transaction.step(TransactionEvent.ACK)
        self.unacknowledged = tuple(t for t in self.unacknowledged if t.cseq != cseq)

    def saw_reliable(self, rseq: int, cseq: int) -> None:
        """Remember a reliable provisional response that a PRACK may name (TXN-15)."""
        entry = (rseq, cseq)
        if entry not in self.reliable:
            self.reliable = (*self.reliable[-7:], entry)

    def note(self, utc_s: float, label: bytes, from_caller: bool) -> None:
        """Add a rung to the ladder that a record shows."""
        if len(self.times) < LADDER_STEPS:
            self.times = (*self.times, utc_s)
            self.labels = (*self.labels, rung(label, from_caller))

    @property
    def ladder(self) -> list[LadderStep]:
        """Return the call's messages so far, for the record."""
        return [
            (utc_s, label, from_caller)
            for utc_s, (label, from_caller) in zip(self.times, self.labels, strict=True)
        ]


@lru_cache(maxsize=2048)
def rung(label: bytes, from_caller: bool) -> tuple[bytes, bool]:
    """Return what stands beside the time; all dialogs share it."""
    return label, from_caller


class Dialogs:
    """The bounded table of dialogs; the oldest unanswered go first when it is full."""

    def __init__(self, capacity: int, session_limit_s: float) -> None:
        self._confirmed: ExpiringTable[DialogKey, Dialog] = ExpiringTable(capacity)
        # Early dialogs may take an eighth: a flood of unanswered INVITEs must
        # not push out calls that people are speaking on.
        self._early: ExpiringTable[DialogKey, Dialog] = ExpiringTable(max(capacity // 8, 64))
        # What waits for a first NOTIFY has no callee's tag, and room of its own: phones
        # subscribe far oftener than they call.
        self._expected: ExpiringTable[DialogKey, Dialog] = ExpiringTable(max(capacity // 8, 64))
        # Nor may subscriptions push out calls: they cost their maker nothing.
        self._subscribed: ExpiringTable[DialogKey, Dialog] = ExpiringTable(capacity)
        self._session_limit_s = session_limit_s
        self._index: dict[DialogKey, Dialog] = {}  # of all tables: one look-up, not four

    def __len__(self) -> int:
        return sum(len(table) for table in self._tables)

    @property
    def forgotten(self) -> int:
        """How many were dropped because the table was full."""
        return sum(table.forgotten for table in self._tables)

    @property
    def _tables(self) -> tuple[ExpiringTable[DialogKey, Dialog], ...]:
        return self._early, self._expected, self._confirmed, self._subscribed

    def find(self, call_id: bytes, from_tag: bytes, to_tag: bytes) -> Dialog | None:
        """Return the dialog that a message of either direction belongs to (DLG-1)."""
        dialog = self._index.get((call_id, from_tag, to_tag))
        if dialog is None:
            dialog = self._index.get((call_id, to_tag, from_tag))
        return dialog

    def open(self, key: DialogKey, now_s: float) -> tuple[Dialog, Dialog | None]:
        """Return a new early dialog, and the one that had to go for it."""
        dialog = Dialog(key, now_s)
        self._index[key] = dialog
        table = self._early
        if not key[2]:
            table = self._expected
            dialog.expires_at_s = now_s + LINGER_S  # timer N of RFC 6665 section 4.1.2.4
        return dialog, self._evicted(table.put(key, dialog, now_s))

    def confirm(self, dialog: Dialog, now_s: float) -> Dialog | None:
        """Keep an answered dialog for as long as its call lasts; return one that had to go."""
        self.refresh(dialog, now_s)
        if self._early.remove(dialog.key) is None:
            return None
        is_call = dialog.invites or dialog.learned
        table = self._confirmed if is_call else self._subscribed
        return self._evicted(table.put(dialog.key, dialog, now_s))

    def refresh(self, dialog: Dialog, now_s: float) -> None:
        """Start the session timer anew (RFC 4028; PIN-15), never past the session limit."""
        limit_s = dialog.started_at_s + self._session_limit_s
        if dialog.session_expires_s:
            limit_s = min(limit_s, now_s + dialog.session_expires_s)
        dialog.expires_at_s = limit_s

    def ring(self, dialog: Dialog, now_s: float) -> None:
        """Keep an early dialog as long as its INVITE (RFC 3261 sections 13.3.1.1 and 16.7)."""
        if dialog.state is DialogState.EARLY:
            dialog.expires_at_s = now_s + INVITE_PENDING_S

    def linger(self, dialog: Dialog, now_s: float) -> None:
        """Leave a dialog that is ending just long enough for retransmissions."""
        dialog.expires_at_s = min(dialog.expires_at_s, now_s + LINGER_S)
        for table in self._tables:
            if table.get(dialog.key) is dialog:
                table.hasten(dialog.key, dialog, now_s)

    def expire(self, now_s: float) -> Iterator[Dialog]:
        """Remove and yield dialogs that ended, or whose timers ran out."""
        for table in self._tables:
            for dialog in table.expire(now_s):
                self._evicted(dialog)
                yield dialog

    def _evicted(self, dialog: Dialog | None) -> Dialog | None:
        if dialog is not None and self._index.get(dialog.key) is dialog:
            del self._index[dialog.key]
        return dialog

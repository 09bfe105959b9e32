"""The tables of dialogs: calls, what rings, what is subscribed, and what waits for a NOTIFY."""

from typing import final

from sipguard.calls.dialog import Dialog, DialogState, Place, place_of
from sipguard.calls.table import ALL, ExpiringTable
from sipguard.calls.transaction import INVITE_PENDING_S, LINGER_S


@final
class Dialogs:
    """The bounded table of dialogs; the oldest unanswered go first when it is full."""

    def __init__(self, capacity: int, session_limit_s: float) -> None:
        self._confirmed: ExpiringTable[Place, Dialog] = ExpiringTable(capacity)
        # Early dialogs may take an eighth: a flood of unanswered INVITEs must
        # not push out calls that people are speaking on.
        self._early: ExpiringTable[Place, Dialog] = ExpiringTable(max(capacity // 8, 64))
        # What waits for a first NOTIFY has no callee's tag, and room of its own: phones
        # subscribe far oftener than they call.
        self._expected: ExpiringTable[Place, Dialog] = ExpiringTable(max(capacity // 8, 64))
        # Nor may subscriptions push out calls: they cost their maker nothing.
        self._subscribed: ExpiringTable[Place, Dialog] = ExpiringTable(capacity)
        self._session_limit_s = session_limit_s

    def __len__(self) -> int:
        return sum(len(table) for table in self._tables)

    @property
    def forgotten(self) -> int:
        """How many were dropped because the table was full."""
        return sum(table.forgotten for table in self._tables)

    @property
    def _tables(self) -> tuple[ExpiringTable[Place, Dialog], ...]:
        return self._early, self._expected, self._confirmed, self._subscribed

    def find(self, call_id: bytes, from_tag: bytes, to_tag: bytes) -> Dialog | None:
        """Return the dialog that a message of either direction belongs to (DLG-1)."""
        place = place_of(call_id, from_tag, to_tag)
        dialog: Dialog | None = None
        if not to_tag:
            dialog = _named(self._expected, place, call_id, from_tag, to_tag)
        # Those that are answered first. One by one: compiled, a loop makes a tuple of them.
        if dialog is None:
            dialog = _named(self._confirmed, place, call_id, from_tag, to_tag)
        if dialog is None:
            dialog = _named(self._early, place, call_id, from_tag, to_tag)
        if dialog is None:
            dialog = _named(self._subscribed, place, call_id, from_tag, to_tag)
        if dialog is None and not from_tag:
            dialog = _named(self._expected, place, call_id, from_tag, to_tag)
        return dialog

    def open(
        self, call_id: bytes, caller_tag: bytes, callee_tag: bytes, now_s: float
    ) -> tuple[Dialog, Dialog | None]:
        """Return a new early dialog, and the one that had to go for it."""
        dialog = Dialog(call_id, caller_tag, callee_tag, now_s)
        table = self._early
        if not callee_tag:
            table = self._expected
            dialog.expires_at_s = now_s + LINGER_S  # timer N of RFC 6665 section 4.1.2.4
        return dialog, _put(table, dialog, now_s)

    def drop(self, dialog: Dialog) -> None:
        """Forget a dialog that is over, before its time: another takes its tags."""
        for table in self._tables:
            if table.get(dialog.place) is dialog:
                table.remove(dialog.place)

    def confirm(self, dialog: Dialog, now_s: float) -> Dialog | None:
        """Keep an answered dialog for as long as its call lasts; return one that had to go."""
        self.refresh(dialog, now_s)
        if self._early.get(dialog.place) is not dialog:
            return None
        self._early.remove(dialog.place)
        is_call = dialog.invite >= 0 or dialog.learned
        table = self._confirmed if is_call else self._subscribed
        return _put(table, dialog, now_s)

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
        if dialog.expires_at_s > now_s + LINGER_S:
            dialog.expires_at_s = now_s + LINGER_S
        place = dialog.place
        if self._confirmed.get(place) is dialog:
            self._confirmed.hasten(place, dialog, now_s)
            return
        for table in self._tables:
            if table.get(place) is dialog:
                table.hasten(place, dialog, now_s)

    def expire(self, now_s: float, most: int = ALL) -> list[Dialog]:
        """Remove and return dialogs that ended, or whose timers ran out; see ``ExpiringTable``."""
        over: list[Dialog] = []
        for table in self._tables:
            over += table.expire(now_s, most)
        return over


def _named(
    table: ExpiringTable[Place, Dialog],
    place: Place,
    call_id: bytes,
    from_tag: bytes,
    to_tag: bytes,
) -> Dialog | None:
    """Return what stands at a place, if it is the dialog of these names."""
    dialog = table.get(place)
    if dialog is None or not dialog.is_named(call_id, from_tag, to_tag):
        return None
    return dialog


def _put(table: ExpiringTable[Place, Dialog], dialog: Dialog, now_s: float) -> Dialog | None:
    """Add *dialog*; return another call's that had to go, for room or from the same place."""
    gone = table.put(dialog.place, dialog, now_s)
    return None if gone is None or gone.key == dialog.key else gone

"""The book of calls: where one message stands among all that was seen.

``stand_of_request`` and ``stand_of_response`` look and change nothing, so that
a policy can still refuse. ``accept_*`` write down what was let through. Only
accepted messages change the book: what an attacker sends and the policy drops
leaves no trace in it.
"""

from typing import Final, NamedTuple, final

from sipguard.calls.dialog import PARTIES, Dialog, DialogEvent, DialogState
from sipguard.calls.dialogs import Dialogs
from sipguard.calls.registration import Registrations
from sipguard.calls.shared import label_of
from sipguard.calls.standing import (
    KNOWN,
    NEW,
    Stand,
    Standing,
    refused,
    stand_in_dialog,
    stand_of_repetition,
)
from sipguard.calls.table import ALL
from sipguard.calls.transaction import (
    DIALOG_MAKERS,
    Transaction,
    TransactionEvent,
    Transactions,
    contact_hosts,
    event_of_status,
    hosts_of,
)
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message
from sipguard.wire.uri import aor_key

TARGET_REFRESHERS: Final = frozenset({b"INVITE", b"UPDATE", b"SUBSCRIBE", b"NOTIFY"})
_RENEWERS: Final = (b"INVITE", b"UPDATE")
CHALLENGES: Final = frozenset({401, 407, 422, 491})
_ACKNOWLEDGED: Final = TransactionEvent.ACK
_PROVISIONAL: Final = DialogEvent.PROVISIONAL
_SUCCESS: Final = DialogEvent.SUCCESS
_CONFIRMED: Final = DialogState.CONFIRMED
_ENDED: Final = DialogState.ENDED


class Ended(NamedTuple):
    """A dialog that is over, as the media room knows it."""

    call: tuple[bytes, bytes]
    to_tag: bytes
    reason: Reason
    party: str = ""  # whose BYE it was, ``caller`` or ``callee``


@final
class Book:
    """Transactions, dialogs and registrations of everything that was let through."""

    def __init__(self, *, max_dialogs: int, max_transactions: int, session_limit_s: float) -> None:
        self.transactions = Transactions(max_transactions)
        self.dialogs = Dialogs(max_dialogs, session_limit_s)
        self.registrations = Registrations(max_dialogs)
        # Gone for lack of room while a request was written down; told with the next tick.
        self._forgotten: list[Ended] = []

    # --- looking

    def stand_of_request(self, message: Message, ids: Ids, packet: Packet) -> Stand:
        """Say what a request is, without changing anything."""
        method = message.method
        if method == b"ACK":
            return self._stand_of_ack(ids, packet)
        transaction = self.transactions.of_request(ids, method)
        if transaction is not None:
            return stand_of_repetition(transaction, message, packet)
        if method == b"CANCEL":
            return self._stand_of_cancel(message, ids, packet)
        if not ids.to_tag:
            return NEW
        dialog = self.dialogs.find(ids.call_id, ids.from_tag, ids.to_tag)
        if dialog is None:
            dialog = self._pending_subscription(ids)
            if dialog is None:
                return Stand(Standing.UNKNOWN_DIALOG, finding=Finding(Reason.UNKNOWN_DIALOG))
        return stand_in_dialog(dialog, ids, packet, message)

    def _stand_of_ack(self, ids: Ids, packet: Packet) -> Stand:
        transaction = self.transactions.of_request(ids, b"INVITE")
        if transaction is None or transaction.call_id != ids.call_id:
            transaction = self.transactions.refused_invite(ids)
        if transaction is not None and transaction.final_status >= 300:
            if transaction.source != packet.src or transaction.cseq != ids.cseq:
                return refused(Reason.STRAY_ACK, "from another source than the INVITE's")
            return Stand(KNOWN, transaction)
        dialog = self.dialogs.find(ids.call_id, ids.from_tag, ids.to_tag)
        if dialog is None:
            if transaction is not None:
                return refused(Reason.STRAY_ACK, "the INVITE has no final response")
            return Stand(Standing.UNKNOWN_DIALOG, finding=Finding(Reason.STRAY_ACK))
        from_caller = dialog.is_from_caller(ids.from_tag)
        if not dialog.may_speak(from_caller, packet.src):
            return refused(Reason.FORGED_IN_DIALOG, "ACK", dialog=dialog)
        if not dialog.is_invite(from_caller, ids.cseq) and not dialog.learned:
            return refused(Reason.STRAY_ACK, "no INVITE has this CSeq number", dialog=dialog)
        return Stand(KNOWN, transaction, dialog, from_caller)

    def _stand_of_cancel(self, message: Message, ids: Ids, packet: Packet) -> Stand:
        target = self.transactions.of_request(ids, b"INVITE")
        if target is None:
            return refused(Reason.STRAY_CANCEL)
        if not target.is_from_hop(packet):
            return refused(Reason.FORGED_CANCEL, transaction=target)
        if not target.is_target_of_cancel(message, ids):
            return refused(Reason.STRAY_CANCEL, "its identifiers differ", target)
        if target.final_status:
            return refused(Reason.CANCEL_TOO_LATE, transaction=target)
        return Stand(KNOWN, target)

    def _pending_subscription(self, ids: Ids) -> Dialog | None:
        """A NOTIFY may overtake the 2xx to the SUBSCRIBE or REFER (RFC 6665 section 4.4.1)."""
        if ids.method != b"NOTIFY":
            return None
        return self.dialogs.find(ids.call_id, ids.to_tag, b"")

    def stand_of_response(self, ids: Ids, status: int, packet: Packet) -> Stand:
        """Say what a response is, without changing anything."""
        transaction = self.transactions.of_response(ids)
        if transaction is None:
            return refused(Reason.STRAY_RESPONSE)
        if transaction.call_id != ids.call_id or transaction.from_tag != ids.from_tag:
            return refused(Reason.RESPONSE_MISMATCH, transaction=transaction)
        if transaction.source != packet.dst or transaction.destination != packet.src:
            return refused(Reason.RESPONSE_WRONG_WAY, transaction=transaction)
        if 100 < status < 200 and transaction.method != b"INVITE":
            return refused(Reason.BAD_PROVISIONAL, transaction=transaction)
        if transaction.final_status >= 300 and status < 300:
            return refused(Reason.STRAY_RESPONSE, "the request was already refused", transaction)
        dialog = self.dialogs.find(ids.call_id, ids.from_tag, ids.to_tag)
        if dialog is not None and not (transaction.in_dialog or dialog.is_joined_by(transaction)):
            return refused(Reason.RESPONSE_MISMATCH, "the tags of another call", transaction)
        return Stand(KNOWN, transaction, dialog, transaction.from_caller)

    # --- writing down

    def accept_request(
        self, stand: Stand, message: Message, ids: Ids, packet: Packet, now: Moment
    ) -> None:
        """Write down a request that was let through for the first time."""
        method = message.method
        dialog = stand.dialog
        if method == b"ACK":
            if stand.transaction is not None:
                stand.transaction.step(_ACKNOWLEDGED)
            if dialog is not None:
                dialog.acknowledge(ids.cseq)
                dialog.note(now.utc_s, b"ACK", stand.from_caller)
            return
        from_caller = stand.from_caller if dialog is not None else True
        transaction = Transaction(message, ids, packet, from_caller)
        self.transactions.add(transaction, now.monotonic_s)
        if dialog is not None:
            self._accept_in_dialog(dialog, stand.from_caller, message, ids, packet, now)
        elif method in (b"SUBSCRIBE", b"REFER") and not ids.to_tag:
            self._expect_notify(message, ids, packet, now)

    def _expect_notify(self, message: Message, ids: Ids, packet: Packet, now: Moment) -> None:
        dialog, evicted = self.dialogs.open(ids.call_id, ids.from_tag, b"", now.monotonic_s)
        self._forgotten += forgotten(evicted)
        dialog.saw_hosts(True, (packet.src, *contact_hosts(message)))
        dialog.saw_hosts(False, (packet.dst,))

    def _accept_in_dialog(
        self,
        dialog: Dialog,
        from_caller: bool,
        message: Message,
        ids: Ids,
        packet: Packet,
        now: Moment,
    ) -> None:
        method = message.method
        dialog.saw_cseq(from_caller, packet.src, packet.dst, ids.cseq)
        dialog.note(now.utc_s, method, from_caller)
        if method == b"INVITE":
            dialog.saw_invite(from_caller, ids.cseq)
        if method in TARGET_REFRESHERS:  # DLG-3
            dialog.saw_hosts(from_caller, contact_hosts(message))
        elif method == b"BYE":
            dialog.step(DialogEvent.BYE)
            self.dialogs.linger(dialog, now.monotonic_s)

    def accept_response(
        self, stand: Stand, message: Message, ids: Ids, packet: Packet, now: Moment
    ) -> list[Ended]:
        """Write down a response that was let through; return the dialogs it ends."""
        transaction = stand.transaction
        if transaction is None:
            return []
        status = message.status
        first_final = status >= 200 and not transaction.final_status
        transaction.step(event_of_status(status))
        self.transactions.answered(transaction, status, ids.to_tag, now.monotonic_s)
        method = transaction.method
        if method in DIALOG_MAKERS:
            if status > 100 and status < 300 and ids.to_tag:
                return self._make_dialog(stand, transaction, message, ids, packet, now)
            if status >= 300 and first_final and not transaction.in_dialog:
                return self._fail(transaction, now)
        elif method == b"BYE" and first_final:
            return self._finish(stand, transaction, status, now)
        elif method == b"UPDATE" and 200 <= status < 300 and stand.dialog is not None:
            self._refresh(stand.dialog, not transaction.from_caller, message, now)
        elif method == b"REGISTER" and 200 <= status < 300:
            self._bind(transaction, ids, now)
        if status in (408, 481) and transaction.in_dialog and method != b"CANCEL":
            return self._gone(stand.dialog, now)
        return []

    def _make_dialog(
        self,
        stand: Stand,
        transaction: Transaction,
        message: Message,
        ids: Ids,
        packet: Packet,
        now: Moment,
    ) -> list[Ended]:
        """Open or confirm the dialog that a provisional or 2xx belongs to (DLG-1)."""
        ended: list[Ended] = []
        dialog = stand.dialog
        if dialog is None or dialog.state is _ENDED:
            dialog = self._open(dialog, transaction, ids, now.monotonic_s, ended)
        if not transaction.in_dialog:
            self._join(dialog, transaction, message, ids, now)
        from_caller = not transaction.from_caller
        dialog.note(now.utc_s, label_of(message.status, transaction.method), from_caller)
        rseq = message.rseq
        if rseq is not None and b"100rel" in message.require:
            dialog.saw_reliable(rseq, transaction.cseq)
        if message.status >= 200:
            if transaction.method == b"INVITE":
                dialog.awaits_ack(transaction)
            if dialog.step(_SUCCESS) and dialog.state is _CONFIRMED:
                gone = self.dialogs.confirm(dialog, now.monotonic_s)
                if gone is not None:
                    ended += forgotten(gone)
            self._refresh(dialog, from_caller, message, now)
            if transaction.other_to_tags:
                self._hurry_forks(transaction, ids.to_tag, now)
        else:
            dialog.step(_PROVISIONAL)
            dialog.saw_hosts(from_caller, contact_hosts(message))
            if not transaction.final_status:
                self.dialogs.ring(dialog, now.monotonic_s)
        return ended

    def _open(
        self, over: Dialog | None, maker: Transaction, ids: Ids, now_s: float, ended: list[Ended]
    ) -> Dialog:
        """Return a new dialog, or the one that is *over* where the answer means that."""
        if over is not None:
            if over.is_made_by(maker):
                # Told again: the media room may have made a new call of it.
                ended.append(ended_of(over, Reason.CALL_ENDED))
                return over
            self.dialogs.drop(over)
        dialog, evicted = self.dialogs.open(maker.call_id, maker.from_tag, ids.to_tag, now_s)
        ended += forgotten(evicted)
        return dialog

    def _join(
        self, dialog: Dialog, transaction: Transaction, message: Message, ids: Ids, now: Moment
    ) -> None:
        """This leg's hops speak for their ends from now on (DLG-6)."""
        transaction.saw_to_tag(ids.to_tag)
        dialog.secured = dialog.secured or transaction.secured
        dialog.saw_hosts(True, transaction.hosts)
        dialog.saw_host(False, transaction.destination)
        # A proxy behind the first one may be the only one that stays on the path.
        recorded = hosts_of(message.addresses(b"record-route"))
        if recorded:
            dialog.saw_hosts(True, recorded)
            dialog.saw_hosts(False, recorded)
        dialog.saw_cseq(
            transaction.from_caller, transaction.source, transaction.destination, transaction.cseq
        )
        if transaction.method == b"INVITE":
            dialog.saw_invite(True, transaction.cseq)
        if not dialog.times:
            dialog.note(now.utc_s, transaction.method, True)

    def _hurry_forks(self, transaction: Transaction, answered: bytes, now: Moment) -> None:
        """After a 2xx the INVITE's other early dialogs have 64*T1 left (DLG-5)."""
        for to_tag in transaction.to_tags:
            if to_tag == answered:
                continue
            fork = self.dialogs.find(transaction.call_id, transaction.from_tag, to_tag)
            if fork is not None and fork.state is DialogState.EARLY:
                self.dialogs.linger(fork, now.monotonic_s)

    def _refresh(self, dialog: Dialog, from_caller: bool, message: Message, now: Moment) -> None:
        """A 2xx to INVITE or UPDATE refreshes target and session timer (DLG-3, RFC 4028)."""
        dialog.saw_hosts(from_caller, contact_hosts(message))
        if dialog.state is not _CONFIRMED or message.method not in _RENEWERS:
            return  # a REFER inside a call, say, renews nothing
        dialog.session_expires_s = max(message.session_expires or 0, 0)
        self.dialogs.refresh(dialog, now.monotonic_s)

    def _fail(self, transaction: Transaction, now: Moment) -> list[Ended]:
        """A final failure ends the early dialogs of its INVITE, and no others (DLG-5, PIN-4)."""
        ended = []
        for to_tag in transaction.to_tags:
            dialog = self.dialogs.find(transaction.call_id, transaction.from_tag, to_tag)
            if dialog is not None and dialog.step(DialogEvent.FAILURE):
                self.dialogs.linger(dialog, now.monotonic_s)
                ended.append(ended_of(dialog, Reason.CALL_FAILED))
        return ended

    def _finish(
        self, stand: Stand, transaction: Transaction, status: int, now: Moment
    ) -> list[Ended]:
        dialog = stand.dialog or self.dialogs.find(
            transaction.call_id, transaction.from_tag, transaction.to_tag
        )
        if dialog is None:
            return []
        if status in CHALLENGES:
            if dialog.step(DialogEvent.BYE_REFUSED):
                self.dialogs.refresh(dialog, now.monotonic_s)
            return []
        dialog.note(now.utc_s, label_of(status, b"BYE"), not stand.from_caller)
        if not dialog.step(DialogEvent.BYE_DONE):
            return []
        return [ended_of(dialog, Reason.CALL_ENDED, PARTIES[stand.from_caller])]

    def _gone(self, dialog: Dialog | None, now: Moment) -> list[Ended]:
        if dialog is None or not dialog.step(DialogEvent.GONE):
            return []
        self.dialogs.linger(dialog, now.monotonic_s)
        return [ended_of(dialog, Reason.CALL_ENDED)]

    def _bind(self, transaction: Transaction, ids: Ids, now: Moment) -> None:
        if transaction.binds_for_s is None:
            return  # a query
        self.registrations.accepted(
            aor_key(ids.to.uri),
            transaction.source,
            transaction.binds_for_s,
            now.monotonic_s,
            proven=transaction.proven,
        )

    # --- learning and forgetting

    def learn_dialog(self, message: Message, ids: Ids, packet: Packet, now: Moment) -> Stand:
        """Take an in-dialog request of a call from before our time as that call's beginning."""
        dialog, evicted = self.dialogs.open(ids.call_id, ids.from_tag, ids.to_tag, now.monotonic_s)
        self._forgotten += forgotten(evicted)
        dialog.learned = True
        dialog.step(DialogEvent.SUCCESS)
        dialog.saw_hosts(True, (packet.src, *contact_hosts(message)))
        dialog.saw_hosts(False, (packet.dst,))
        self._forgotten += forgotten(self.dialogs.confirm(dialog, now.monotonic_s))
        finding = Finding(Reason.LEARNED_DIALOG)
        return Stand(Standing.KNOWN, None, dialog, from_caller=True, finding=finding)

    def expire(self, now: Moment, most: int = ALL) -> list[Ended]:
        """Forget what is over, of *most* looked at; return the dialogs whose media must close."""
        self.transactions.expire(now.monotonic_s, most)
        self.registrations.expire(now.monotonic_s, most)
        ended, self._forgotten = self._forgotten, []
        for dialog in self.dialogs.expire(now.monotonic_s, most):
            if dialog.state is not DialogState.ENDED and dialog.callee_tag:
                if dialog.state is DialogState.ENDING:
                    ended.append(ended_of(dialog, Reason.CALL_ENDED, dialog.leaver))
                else:
                    ended.append(ended_of(dialog, Reason.CALL_EXPIRED))
        return ended


def ended_of(dialog: Dialog, reason: Reason, party: str = "") -> Ended:
    """Name a dialog that is over, for the media room."""
    call = (dialog.call_id, dialog.caller_tag)
    # At half the price of Ended().
    return tuple.__new__(Ended, (call, dialog.callee_tag, reason, party))


def forgotten(evicted: Dialog | None) -> list[Ended]:
    """Name the dialog that had to go for another.

    What stood for a subscription without its notifier has no callee's tag: to the
    media room that would be a whole call, and perhaps somebody else's.
    """
    if evicted is None or not evicted.callee_tag:
        return []
    return [ended_of(evicted, Reason.FORGOTTEN)]

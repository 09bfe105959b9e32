"""Where one message stands among what was seen, and why it may not claim to."""

from enum import Enum
from typing import Final, final

from sipguard.calls.dialog import Dialog
from sipguard.calls.transaction import Transaction, TransactionState
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message


class Standing(Enum):
    """What a message is to the book."""

    NEW = "new"  # a request outside any dialog: the policy decides
    KNOWN = "known"  # belongs to an accepted call or request
    RETRANSMISSION = "retransmission"
    UNKNOWN_DIALOG = "unknown-dialog"  # an in-dialog request of a call nobody saw begin
    REFUSED = "refused"  # claims to belong, and does not


@final
@mypyc_attr(acyclic=True)
class Stand:
    """A standing with its evidence."""

    __slots__ = ("dialog", "finding", "from_caller", "standing", "transaction")

    def __init__(
        self,
        standing: Standing,
        transaction: Transaction | None = None,
        dialog: Dialog | None = None,
        from_caller: bool = True,
        finding: Finding | None = None,
    ) -> None:
        self.standing = standing
        self.transaction = transaction
        self.dialog = dialog
        self.from_caller = from_caller
        self.finding = finding


NEW: Final = Stand(Standing.NEW)
KNOWN: Final = Standing.KNOWN  # looked up once, not for every message
_RETRANSMISSION: Final = Finding(Reason.RETRANSMISSION)


def refused(
    reason: Reason,
    detail: str = "",
    transaction: Transaction | None = None,
    dialog: Dialog | None = None,
) -> Stand:
    return Stand(Standing.REFUSED, transaction, dialog, finding=Finding(reason, detail))


def stand_of_repetition(transaction: Transaction, message: Message, packet: Packet) -> Stand:
    """Tell a retransmission from another message under a known branch (TXN-12)."""
    if not transaction.same_octets(message, packet):
        if packet.src != transaction.source:
            return refused(Reason.REPLAY, "the branch is known, from another host", transaction)
        ids = message.ids
        if ids is not None and (ids.call_id, ids.cseq) == (transaction.call_id, transaction.cseq):
            return refused(Reason.REPLAY, "the branch is known, the headers differ", transaction)
        return refused(Reason.BRANCH_COLLISION, transaction=transaction)
    if transaction.method == b"INVITE" and transaction.state is TransactionState.CONFIRMED:
        # Who acknowledged the answer has no reason to ask again.
        return refused(Reason.REPLAY_AFTER_END, "the INVITE was acknowledged", transaction)
    return Stand(Standing.RETRANSMISSION, transaction, finding=_RETRANSMISSION)


def stand_in_dialog(dialog: Dialog, ids: Ids, packet: Packet, message: Message) -> Stand:
    """Hold an in-dialog request against its dialog (DLG-2, DLG-6, TXN-15)."""
    from_caller = dialog.is_from_caller(ids.from_tag)
    if not dialog.may_speak(from_caller, packet.src):
        return refused(Reason.FORGED_IN_DIALOG, dialog=dialog)
    if not dialog.is_alive and ids.method != b"BYE":  # both ends may hang up at once
        return refused(Reason.UNKNOWN_DIALOG, "the call is over", dialog=dialog)
    if not dialog.is_new_cseq(from_caller, packet.src, packet.dst, ids.cseq):
        return refused(Reason.OLD_CSEQ, dialog=dialog)
    if ids.method == b"PRACK" and not dialog.learned:
        rack = message.rack
        if rack is None or (rack[0], rack[1]) not in dialog.reliable:
            return refused(Reason.STRAY_PRACK, dialog=dialog)
    return Stand(KNOWN, None, dialog, from_caller)

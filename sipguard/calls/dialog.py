"""Dialogs as a firewall sees them (RFC 3261 section 12, rules DLG-*).

The two ends of a dialog are told apart by their tags, and the hosts that may
speak for an end are those that were seen on its path while the dialog was set
up: the packets' own addresses and the addresses in Contact (DLG-6).
"""

from enum import IntEnum
from typing import Final, final

from sipguard.calls.ladder import START, LadderStep, Rungs, ladder_of, pack_time
from sipguard.calls.shared import shared, shared_hosts
from sipguard.calls.transaction import (
    INVITE_PENDING_S,
    Transaction,
    TransactionEvent,
)
from sipguard.native import mypyc_attr

PARTIES: Final = ("callee", "caller")  # by whether it is the caller
HOSTS: Final = 8  # hosts remembered for one end of a dialog
INVITES: Final = 4  # CSeq numbers of INVITEs whose ACK may still come

DialogKey = tuple[bytes, bytes, bytes]
HopCSeq = tuple[int, bytes, bytes, bool]  # CSeq, source, destination, from the caller
Place = object  # where a dialog stands in the tables; see place_of


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


# The same as two look-ups, which is cheaper than making a pair.
_AFTER: Final = {
    state: {event: after for (before, event), after in TRANSITIONS.items() if before is state}
    for state in DialogState
}
_EARLY: Final = DialogState.EARLY
_ENDED: Final = DialogState.ENDED
_ACK: Final = TransactionEvent.ACK


@final
@mypyc_attr(acyclic=True)
class Dialog:
    """One dialog. Mutable; owned by ``Dialogs``.

    There are 100,000 of them: what most calls have once stands in a field of
    its own, the rest of it in a tuple that most calls do not need.
    """

    __slots__ = (
        "call_id",
        "callee_hosts",
        "callee_tag",
        "caller_hosts",
        "caller_tag",
        "expires_at_s",
        "hop_cseq",
        "hop_destination",
        "hop_from_caller",
        "hop_source",
        "invite",
        "learned",
        "older_invites",
        "other_hops",
        "place",
        "reliable",
        "requests",
        "rungs",
        "secured",
        "session_expires_s",
        "started_at_s",
        "state",
        "times",
        "unacknowledged",
    )

    def __init__(self, call_id: bytes, caller_tag: bytes, callee_tag: bytes, now_s: float) -> None:
        self.call_id = call_id
        self.caller_tag = caller_tag
        self.callee_tag = callee_tag
        self.place = place_of(call_id, caller_tag, callee_tag)
        self.state = _EARLY
        self.caller_hosts: tuple[bytes, ...] = ()
        self.callee_hosts: tuple[bytes, ...] = ()
        # The highest CSeq of each end, for each hop it was seen on: a proxy
        # makes the same request cross the gateway twice.
        self.hop_cseq = -1
        self.hop_source = b""
        self.hop_destination = b""
        self.other_hops: tuple[HopCSeq, ...] = ()
        self.invite = -1  # the last one's number, as :func:`_invite_of` makes it
        self.older_invites: tuple[int, ...] = ()
        self.reliable: tuple[tuple[int, int], ...] = ()  # (RSeq, CSeq) not yet acknowledged
        self.times = b""  # of the ladder's rungs, packed: an object for each costs thrice as much
        self.rungs: Rungs = START
        self.unacknowledged: tuple[Transaction, ...] = ()  # INVITEs with a 2xx and no ACK yet
        self.requests = 0  # passed inside it, ACKs included
        self.session_expires_s = 0
        self.started_at_s = now_s
        self.expires_at_s = now_s + INVITE_PENDING_S
        self.hop_from_caller = False
        self.learned = False
        self.secured = False  # a SIPS request made it (TLS-3)

    @property
    def key(self) -> DialogKey:
        """What names it: Call-ID, the caller's tag, the callee's."""
        return self.call_id, self.caller_tag, self.callee_tag

    @property
    def invites(self) -> tuple[tuple[bool, int], ...]:
        """The INVITEs whose ACK may still come: from the caller or not, and the CSeq number."""
        known = (*self.older_invites, self.invite) if self.invite >= 0 else ()
        return tuple([(number % 2 == 1, number // 2) for number in known])

    @property
    def highest_cseqs(self) -> tuple[HopCSeq, ...]:
        """The highest CSeq number of each end on each hop."""
        if self.hop_cseq < 0:
            return ()
        first = (self.hop_cseq, self.hop_source, self.hop_destination, self.hop_from_caller)
        return (first, *self.other_hops)

    @property
    def is_alive(self) -> bool:
        """Whether in-dialog requests still make sense."""
        return self.state is not _ENDED

    def step(self, event: DialogEvent) -> bool:
        """Move on; return whether *event* may happen in the state it was in."""
        after = _AFTER[self.state].get(event)
        if after is None:
            return False
        self.state = after
        return True

    def is_named(self, call_id: bytes, tag: bytes, other_tag: bytes) -> bool:
        """Whether these are its names, in either direction: two calls may share a place."""
        if self.call_id != call_id:
            return False
        if self.caller_tag == tag:
            return self.callee_tag == other_tag
        return self.caller_tag == other_tag and self.callee_tag == tag

    def is_from_caller(self, from_tag: bytes) -> bool:
        """Which end a request comes from, by its From tag."""
        return self.caller_tag == from_tag

    def may_speak(self, from_caller: bool, source: bytes) -> bool:
        """Whether *source* was seen on the path of that end (DLG-6)."""
        return source in (self.caller_hosts if from_caller else self.callee_hosts)

    def is_joined_by(self, transaction: Transaction) -> bool:
        """Whether a request without a To tag may be a leg of what made this dialog.

        An answer passes the leg next to its sender first. So a later leg leads
        to where an earlier one came from, or comes from the caller himself;
        else somebody and his accomplice use the tags of another call (DLG-6).
        """
        if transaction.from_tag != self.caller_tag:
            return False
        hosts = self.caller_hosts
        return transaction.source in hosts or transaction.destination in hosts

    def is_made_by(self, transaction: Transaction) -> bool:
        """Whether an answer to *transaction* means this dialog, even where it is over.

        A request in it does, and the INVITE that made it: again, or on another
        leg. Any other request finds no dialog where this one is over, and makes
        its own of the same tags (DLG-1, RFC 3261 sections 12.3 and 13.2.2.4). Its
        CSeq number may be lower: outside a dialog it is arbitrary (section 8.1.1.5).
        """
        return (
            transaction.in_dialog
            or self.callee_tag in transaction.to_tags
            or self.is_invite(True, transaction.cseq)
        )

    def saw_hosts(self, of_caller: bool, hosts: tuple[bytes, ...]) -> None:
        """Remember hosts that speak for one end of the dialog; all of them, or none."""
        known = self.caller_hosts if of_caller else self.callee_hosts
        if hosts is known:
            return
        for host in hosts:
            if host not in known:
                break
        else:
            return
        new = tuple([host for host in hosts if host and host not in known])
        if not new or len(known) + len(new) > HOSTS:
            return
        if of_caller:
            self.caller_hosts = shared_hosts(known + new)
        else:
            self.callee_hosts = shared_hosts(known + new)

    def saw_host(self, of_caller: bool, host: bytes) -> None:
        """Remember one host that speaks for one end of the dialog."""
        if host not in (self.caller_hosts if of_caller else self.callee_hosts):
            self.saw_hosts(of_caller, (host,))

    def _is_first_hop(self, from_caller: bool, source: bytes, destination: bytes) -> bool:
        return (
            self.hop_source == source
            and self.hop_destination == destination
            and self.hop_from_caller is from_caller
        )

    def is_new_cseq(self, from_caller: bool, source: bytes, destination: bytes, cseq: int) -> bool:
        """Whether *cseq* is higher than the last from that end on that hop (DLG-2)."""
        if self._is_first_hop(from_caller, source, destination):
            return cseq > self.hop_cseq
        for hop in self.other_hops:
            if hop[1:] == (source, destination, from_caller):
                return cseq > hop[0]
        return True

    def saw_cseq(self, from_caller: bool, source: bytes, destination: bytes, cseq: int) -> None:
        """Remember the CSeq of an accepted request, unless a later one came first.

        A 2xx that is repeated after a re-INVITE still names the first INVITE's.
        """
        if self._is_first_hop(from_caller, source, destination):
            if cseq > self.hop_cseq:
                self.hop_cseq = cseq
            return
        if self.hop_cseq < 0:
            self.hop_cseq = cseq
            self.hop_source = shared(source)
            self.hop_destination = shared(destination)
            self.hop_from_caller = from_caller
            return
        way = (shared(source), shared(destination), from_caller)
        others: list[HopCSeq] = []
        for hop in self.other_hops:
            if hop[1:] != way:
                others.append(hop)
            elif hop[0] >= cseq:
                return
        if len(others) < 2 * HOSTS - 1:
            self.other_hops = (*others, (cseq, *way))

    def saw_invite(self, from_caller: bool, cseq: int) -> None:
        """Remember an INVITE whose ACK will carry the same number (TXN-7)."""
        invite = _invite_of(from_caller, cseq)
        if invite == self.invite or invite in self.older_invites:
            return
        if self.invite >= 0:
            self.older_invites = (*self.older_invites[-INVITES + 2 :], self.invite)
        self.invite = invite

    def is_invite(self, from_caller: bool, cseq: int) -> bool:
        """Whether that end sent one of the last INVITEs under this number (TXN-7)."""
        invite = _invite_of(from_caller, cseq)
        return invite == self.invite or invite in self.older_invites

    def awaits_ack(self, transaction: Transaction) -> None:
        """Remember that an INVITE has a 2xx and no ACK yet."""
        waiting = self.unacknowledged
        if transaction not in waiting:
            self.unacknowledged = (*waiting[-7:], transaction) if waiting else (transaction,)

    def acknowledge(self, cseq: int) -> None:
        """Note the ACK to a 2xx: every leg of that INVITE is done with (TXN-7)."""
        waiting = self.unacknowledged
        if not waiting:
            return
        for transaction in waiting:
            if transaction.cseq == cseq:
                transaction.step(_ACK)
        self.unacknowledged = tuple([t for t in waiting if t.cseq != cseq])

    def saw_reliable(self, rseq: int, cseq: int) -> None:
        """Remember a reliable provisional response that a PRACK may name (TXN-15)."""
        entry = (rseq, cseq)
        if entry not in self.reliable:
            self.reliable = (*self.reliable[-7:], entry)

    def note(self, utc_s: float, label: bytes, from_caller: bool) -> None:
        """Add a rung to the ladder that a record shows."""
        rungs = self.rungs.and_then(label, from_caller)
        if rungs is not None:
            self.rungs = rungs
            self.times = self.times + pack_time(utc_s)

    @property
    def ladder(self) -> list[LadderStep]:
        """Return the call's messages so far, for the record."""
        return ladder_of(self.times, self.rungs)

    @property
    def leaver(self) -> str:
        """Whose BYE came last; empty where the ladder has none."""
        for _, label, from_caller in reversed(self.ladder):
            if label == b"BYE":
                return PARTIES[from_caller]
        return ""


def _invite_of(from_caller: bool, cseq: int) -> int:
    return cseq * 2 + 1 if from_caller else cseq * 2


def place_of(call_id: bytes, tag: bytes, other_tag: bytes) -> Place:
    """Return what stands for a dialog in the tables, the same for both directions (DLG-1).

    64 bits keyed by the interpreter's random seed: 100,000 dialogs meet by chance
    once in 10^9 runs. Where PYTHONHASHSEED is fixed somebody can aim for it, so
    whoever looks there asks :meth:`Dialog.is_named`.
    """
    if tag < other_tag:
        return hash((call_id, tag, other_tag))
    return hash((call_id, other_tag, tag))

"""The offer/answer state machine of one dialog on one path (RFC 3264, 6337 table 1).

A *talk* is one dialog (To tag) as seen between two neighbors. A call whose
signalling runs through a proxy crosses the gateway twice; each crossing is
its own talk, so that the second one never looks like a second offer, and a
media relay that rewrites the SDP between the two is followed on both sides.
"""

from enum import StrEnum
from typing import Final, NamedTuple, final

from sipguard.media.key_mgmt import OfferedKeys
from sipguard.media.line import Line
from sipguard.media.terms import Party, Step, cseq_of, is_of_invite
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.verdict import Hole
from sipguard.wire.sdp import Sdp

MAX_PAST: Final = 4  # finished exchanges remembered to recognise retransmissions
ABANDONED_AFTER_S: Final = 32.0  # 64*T1: an offer this old no longer blocks the other side's


class State(StrEnum):
    """Where one talk stands; ``*PREVIEWED`` has an answer in an unreliable 1xx only.

    A StrEnum, like the events, because a plain Enum hashes in Python code on
    each look into the table.
    """

    IDLE = "idle"
    OFFERED = "offered"
    PREVIEWED = "previewed"
    AGREED = "agreed"
    REOFFERED = "reoffered"
    REPREVIEWED = "repreviewed"
    ENDED = "ended"


class Event(StrEnum):
    """What a message means for a talk."""

    OFFER = "offer"
    PREVIEW = "preview"
    ANSWER = "answer"
    REFUSAL = "refusal"
    SUPERSEDED = "superseded"  # another path of the same dialog has renegotiated
    END = "end"


PREVIEWED: Final = (State.PREVIEWED, State.REPREVIEWED)
_OFFER: Final = Event.OFFER
_PREVIEW: Final = Event.PREVIEW
_ANSWER: Final = Event.ANSWER

_S, _E = State, Event
TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (_S.IDLE, _E.OFFER): _S.OFFERED,
    (_S.OFFERED, _E.PREVIEW): _S.PREVIEWED,
    (_S.OFFERED, _E.ANSWER): _S.AGREED,
    (_S.OFFERED, _E.REFUSAL): _S.IDLE,
    (_S.PREVIEWED, _E.ANSWER): _S.AGREED,
    (_S.PREVIEWED, _E.REFUSAL): _S.IDLE,
    (_S.AGREED, _E.OFFER): _S.REOFFERED,
    (_S.AGREED, _E.SUPERSEDED): _S.IDLE,
    (_S.REOFFERED, _E.PREVIEW): _S.REPREVIEWED,
    (_S.REOFFERED, _E.ANSWER): _S.AGREED,
    (_S.REOFFERED, _E.REFUSAL): _S.AGREED,  # RFC 3261 section 14.1: the old session stands
    (_S.REOFFERED, _E.SUPERSEDED): _S.OFFERED,
    (_S.REPREVIEWED, _E.ANSWER): _S.AGREED,
    (_S.REPREVIEWED, _E.REFUSAL): _S.AGREED,
    (_S.REPREVIEWED, _E.SUPERSEDED): _S.PREVIEWED,
    **{(state, _E.END): _S.ENDED for state in _S if state is not _S.ENDED},
}


# The same, asked without making a key each time.
_AFTER: Final = {
    before: {event: after for (state, event), after in TRANSITIONS.items() if state is before}
    for before in State
}


def next_state(state: State, event: Event) -> State | None:
    """Return the state after *event*, or ``None`` where no such step exists."""
    return _AFTER[state].get(event)


@final
@mypyc_attr(acyclic=True)
class Exchange:
    """A finished offer/answer, kept as digests: only to know its messages again."""

    __slots__ = ("answer_digest", "before", "offer_digest", "stamp")

    def __init__(
        self, stamp: int, offer_digest: int, answer_digest: int, before: "Exchange | None"
    ) -> None:
        self.stamp = stamp  # of the transaction it began in
        self.offer_digest = offer_digest
        self.answer_digest = answer_digest
        self.before = before  # the one it followed

    def has(self, digest: int) -> bool:
        """Report whether this is its offer or its answer."""
        return digest in (self.offer_digest, self.answer_digest)

    def first_of(self, stamp: int) -> "Exchange | None":
        """Return the oldest that began in this transaction: its description counts (PIN-2)."""
        earlier = None if self.before is None else self.before.first_of(stamp)
        if earlier is None and self.stamp == stamp:
            return self
        return earlier

    def forget_after(self, exchanges: int) -> None:
        """Keep so many, the latest."""
        last = self
        for _ in range(exchanges - 1):
            if last.before is None:
                return
            last = last.before
        last.before = None


class Retired(NamedTuple):
    """Holes that a renegotiation replaced, open until the new ones are surely in use (PIN-8)."""

    until_s: float
    holes: tuple[tuple[Hole, Line], ...]


@final
@mypyc_attr(acyclic=True)
class Offer:
    """An offer that waits for its answer, and what an unreliable 1xx has previewed of that."""

    __slots__ = (
        *("in_response", "lines", "mikey", "preview_digest"),
        *("sdp", "sender", "since_s", "stamp"),
    )

    def __init__(
        self,
        sdp: Sdp,
        sender: Party,
        stamp: int,
        in_response: bool,
        since_s: float,
        mikey: OfferedKeys | None = None,
    ) -> None:
        self.sdp = sdp
        self.sender = sender
        self.stamp = stamp
        self.in_response = in_response
        self.since_s = since_s
        self.mikey = mikey
        self.lines: tuple[Line, ...] = ()
        self.preview_digest = 0


@final
@mypyc_attr(acyclic=True)
class Talk:
    """Offer/answer state of one dialog between two neighbors of the gateway."""

    __slots__ = ("_lines", "blank", "offer", "past", "path", "retired", "state", "to_tag")

    def __init__(self, to_tag: bytes, path: bytes) -> None:
        self.to_tag = to_tag
        self.path = path
        self.state = State.IDLE
        self.offer: Offer | None = None
        self._lines: Line | tuple[Line, ...] = ()
        self.retired: tuple[Retired, ...] = ()
        self.past: Exchange | None = None  # the latest
        self.blank = -1  # stamp of the last INVITE that carried no offer

    @property
    def lines(self) -> tuple[Line, ...]:
        """What was agreed; most calls have one line, and that is kept without a tuple."""
        return (self._lines,) if isinstance(self._lines, Line) else self._lines

    @lines.setter
    def lines(self, lines: tuple[Line, ...]) -> None:
        self._lines = lines[0] if len(lines) == 1 else lines

    def remember(self, offer: Offer) -> None:
        """Move the pending offer and its answer into the past."""
        self.past = Exchange(offer.stamp, digest(offer.sdp), offer.preview_digest, self.past)
        self.past.forget_after(MAX_PAST)
        self.offer = None


def digest(sdp: Sdp) -> int:
    """Return a number that tells two descriptions apart (Python caches it in the octets).

    One bit less than a hash has, because compiled code keeps that without an object.
    """
    return hash(sdp.raw) >> 2


_SILENT: Final = (None, None)
_UNASKED: Final = Finding(Reason.ANSWER_MISMATCH, "a session description that answers no offer")
_DIFFERS: Final = Finding(Reason.LATER_SDP_DIFFERS, "another description in the same transaction")
_PENDING: Final = Finding(Reason.OFFER_PENDING, "an offer while another is unanswered")


def read_request(
    talk: Talk, step: Step, sdp: Sdp, now_s: float
) -> tuple[Event | None, Finding | None]:
    """Return what a request's description means for *talk*: an offer, an answer or nothing new."""
    pending = talk.offer
    stamp = step.stamp
    if (
        pending is not None
        and pending.in_response
        and pending.sender is not step.sender
        and (step.method == b"PRACK" or (step.method == b"ACK" and stamp == pending.stamp))
    ):
        return _ANSWER, None
    if _is_known(talk, step, sdp):
        return _SILENT
    if step.method == b"ACK":
        return None, _UNASKED
    if pending is None:
        return _OFFER, None
    if pending.stamp == stamp:
        return None, _DIFFERS
    if _is_given_up(talk, pending, step, now_s):
        return _OFFER, None
    return None, _PENDING


def _is_given_up(talk: Talk, pending: Offer, step: Step, now_s: float) -> bool:
    """Report whether a new offer shows that the pending one will not be answered any more."""
    if is_of_invite(pending.stamp):
        if talk.state in (State.OFFERED, State.PREVIEWED):
            return False  # the initial INVITE may ring for minutes
        if step.method != b"INVITE" and now_s - pending.since_s <= ABANDONED_AFTER_S:
            return False  # an UPDATE may cross a re-INVITE, and must wait for it (RFC 3311 5.1)
    if pending.sender is step.sender and step.cseq > cseq_of(pending.stamp):
        return True  # one side has one transaction with an offer at a time
    return now_s - pending.since_s > ABANDONED_AFTER_S


def _is_known(talk: Talk, step: Step, sdp: Sdp) -> bool:
    """Report a retransmitted request whose description has already been counted."""
    pending, exchange = talk.offer, talk.past
    if pending is None and exchange is None:
        return False
    here = digest(sdp)
    if pending is not None and pending.stamp == step.stamp and digest(pending.sdp) == here:
        return True
    while exchange is not None:
        if exchange.stamp == step.stamp and exchange.has(here):
            return True
        # The PRACK that answered a reliable 1xx has a CSeq of its own.
        if step.method == b"PRACK" and here == exchange.answer_digest:
            return True
        exchange = exchange.before
    return False


def read_response(talk: Talk, step: Step, sdp: Sdp) -> tuple[Event | None, Finding | None]:
    """Return what a 1xx or 2xx description means for *talk*."""
    stamp = step.stamp
    here = digest(sdp)
    pending = talk.offer
    firm = step.status >= 200 or step.reliable
    if pending is not None and pending.stamp == stamp:
        if pending.in_response:
            return _SILENT if here == digest(pending.sdp) else (None, _DIFFERS)
        # The first description wins, whatever later ones say (PIN-2).
        previewed = talk.state in PREVIEWED
        finding = _DIFFERS if previewed and here != pending.preview_digest else None
        if firm:
            return _ANSWER, finding
        return (None, finding) if previewed else (_PREVIEW, None)
    first = talk.past.first_of(stamp) if talk.past is not None else None
    if first is not None:
        return _SILENT if first.has(here) else (None, _DIFFERS)
    if talk.blank == stamp and pending is None:
        # Unreliable 1xx to an INVITE without offer may not carry one (RFC 3261 13.2.1).
        return (_OFFER, None) if firm else _SILENT
    return None, _UNASKED

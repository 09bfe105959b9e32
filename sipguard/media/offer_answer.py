"""The offer/answer state machine of one dialog on one path (RFC 3264, 6337 table 1).

A *talk* is one dialog (To tag) as seen between two neighbors. A call whose
signalling runs through a proxy crosses the gateway twice; each crossing is
its own talk, so that the second one never looks like a second offer, and a
media relay that rewrites the SDP between the two is followed on both sides.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from sipguard.media.pinhole import Line
from sipguard.media.terms import Party, Step
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


def next_state(state: State, event: Event) -> State | None:
    """Return the state after *event*, or ``None`` where no such step exists."""
    return TRANSITIONS.get((state, event))


class Stamp(NamedTuple):
    """The transaction an offer or answer belongs to: who asked, CSeq number and method."""

    requester: Party
    cseq: int
    method: bytes


class Exchange(NamedTuple):
    """A finished offer/answer, kept as digests: only to know its messages again."""

    requester: Party
    cseq: int
    method: bytes
    offer_digest: int
    answer_digest: int

    def is_of(self, stamp: Stamp) -> bool:
        """Report whether the exchange began in the transaction *stamp*."""
        return self.cseq == stamp.cseq and self[:3] == stamp


class Retired(NamedTuple):
    """Holes that a renegotiation replaced, open until the new ones are surely in use (PIN-8)."""

    until_s: float
    holes: tuple[tuple[Hole, str], ...]


class Offer(NamedTuple):
    """An offer that waits for its answer."""

    sdp: Sdp
    sender: Party
    stamp: Stamp
    in_response: bool
    since_s: float


class Talk:
    """Offer/answer state of one dialog between two neighbors of the gateway."""

    __slots__ = (
        "blank",
        "far",
        "lines",
        "near",
        "offer",
        "past",
        "retired",
        "state",
        "tentative",
        "tentative_digest",
        "to_tag",
    )

    def __init__(self, to_tag: bytes, near: bytes, far: bytes) -> None:
        self.to_tag = to_tag
        self.near = near
        self.far = far
        self.state = State.IDLE
        self.offer: Offer | None = None
        self.lines: tuple[Line, ...] = ()  # agreed
        self.tentative: tuple[Line, ...] = ()  # previewed
        self.tentative_digest = 0
        self.retired: tuple[Retired, ...] = ()
        self.past: tuple[Exchange, ...] = ()
        self.blank: Stamp | None = None  # the last INVITE that carried no offer

    def is_between(self, one: bytes, other: bytes) -> bool:
        """Report whether this talk's two neighbors are *one* and *other*, either way round."""
        near = self.near
        return (near == one and self.far == other) or (near == other and self.far == one)

    def remember(self, answer_digest: int) -> None:
        """Move the pending offer and its answer into the past."""
        if self.offer is not None:
            exchange = Exchange(*self.offer.stamp, digest(self.offer.sdp), answer_digest)
            self.past = (*self.past[1 - MAX_PAST :], exchange) if self.past else (exchange,)
            self.offer = None


def digest(sdp: Sdp) -> int:
    """Return a number that tells two descriptions apart (Python caches it in the octets)."""
    return hash(sdp.raw)


def stamp_of(step: Step) -> Stamp:
    """Return the transaction of a message; an ACK belongs to its INVITE."""
    requester = step.sender
    if not step.is_request:
        requester = Party.CALLEE if step.sender is Party.CALLER else Party.CALLER
    return Stamp(requester, step.cseq, b"INVITE" if step.method == b"ACK" else step.method)


_SILENT: Final = (None, None)
_UNASKED: Final = Finding(Reason.ANSWER_MISMATCH, "a session description that answers no offer")
_DIFFERS: Final = Finding(Reason.LATER_SDP_DIFFERS, "another description in the same transaction")
_PENDING: Final = Finding(Reason.OFFER_PENDING, "an offer while another is unanswered")


def read_request(
    talk: Talk, step: Step, sdp: Sdp, now_s: float
) -> tuple[Event | None, Finding | None]:
    """Return what a request's description means for *talk*: an offer, an answer or nothing new."""
    pending = talk.offer
    stamp = stamp_of(step)
    if (
        pending is not None
        and pending.in_response
        and pending.sender is not step.sender
        and (step.method == b"PRACK" or (step.method == b"ACK" and stamp == pending.stamp))
    ):
        return Event.ANSWER, None
    if _is_known(talk, step, sdp, stamp):
        return _SILENT
    if step.method == b"ACK":
        return None, _UNASKED
    if pending is None:
        return Event.OFFER, None
    if pending.stamp == stamp:
        return None, _DIFFERS
    if _is_given_up(talk, pending, step, now_s):
        return Event.OFFER, None
    return None, _PENDING


def _is_given_up(talk: Talk, pending: Offer, step: Step, now_s: float) -> bool:
    """Report whether a new offer shows that the pending one will not be answered any more."""
    if pending.stamp.method == b"INVITE":
        if talk.state in (State.OFFERED, State.PREVIEWED):
            return False  # the initial INVITE may ring for minutes
        if step.method != b"INVITE" and now_s - pending.since_s <= ABANDONED_AFTER_S:
            return False  # an UPDATE may cross a re-INVITE, and must wait for it (RFC 3311 5.1)
    if pending.sender is step.sender and step.cseq > pending.stamp.cseq:
        return True  # one side has one transaction with an offer at a time
    return now_s - pending.since_s > ABANDONED_AFTER_S


def _is_known(talk: Talk, step: Step, sdp: Sdp, stamp: Stamp) -> bool:
    """Report a retransmitted request whose description has already been counted."""
    here = digest(sdp)
    pending = talk.offer
    if pending is not None and pending.stamp == stamp and digest(pending.sdp) == here:
        return True
    for exchange in talk.past:
        if exchange.is_of(stamp) and here in exchange[3:]:
            return True
        # The PRACK that answered a reliable 1xx has a CSeq of its own.
        if step.method == b"PRACK" and here == exchange.answer_digest:
            return True
    return False


def read_response(talk: Talk, step: Step, sdp: Sdp) -> tuple[Event | None, Finding | None]:
    """Return what a 1xx or 2xx description means for *talk*."""
    stamp = stamp_of(step)
    here = digest(sdp)
    pending = talk.offer
    firm = step.status >= 200 or step.reliable
    if pending is not None and pending.stamp == stamp:
        if pending.in_response:
            return _SILENT if here == digest(pending.sdp) else (None, _DIFFERS)
        # The first description wins, whatever later ones say (PIN-2).
        previewed = talk.state in (State.PREVIEWED, State.REPREVIEWED)
        finding = _DIFFERS if previewed and here != talk.tentative_digest else None
        if firm:
            return Event.ANSWER, finding
        return (None, finding) if previewed else (Event.PREVIEW, None)
    for exchange in talk.past:
        if exchange.is_of(stamp):
            return _SILENT if here in exchange[3:] else (None, _DIFFERS)
    if talk.blank == stamp and pending is None:
        # Unreliable 1xx to an INVITE without offer may not carry one (RFC 3261 13.2.1).
        return (Event.OFFER, None) if firm else _SILENT
    return None, _UNASKED

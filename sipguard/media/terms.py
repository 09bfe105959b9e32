"""The words of the media room: who said what about which stream, and what became of it."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from sipguard.reason import Finding, Reason
from sipguard.verdict import Effect, Endpoint, OpenPinhole
from sipguard.wire.sdp import Sdp

CallKey = tuple[bytes, bytes]


class Party(Enum):
    """Who sent a message: the side that sent the dialog-forming INVITE, or the other."""

    CALLER = "caller"
    CALLEE = "callee"


class Step(NamedTuple):
    """What the media room needs of one accepted message.

    ``call`` is Call-ID and the From tag of the dialog-forming INVITE's
    sender, ``to_tag`` the other party's tag (empty while unknown), ``method``
    that of CSeq; ``reliable`` marks a 1xx with 100rel and RSeq (RFC 3262).
    """

    call: CallKey
    to_tag: bytes
    sender: Party
    is_request: bool
    method: bytes
    status: int
    reliable: bool
    cseq: int
    source: bytes
    destination: bytes
    sdp: Sdp | None
    transport: str


class Stream(NamedTuple):
    """One media stream as the policy's media chain judges it and the record shows it.

    ``reason`` is ``KEYED`` or says why no hole may open. An end that is not
    known yet has no address and port 0. A side is vouched for where a packet
    of this call from that side came from the very address its SDP names.
    """

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on it
    kind: bytes
    proto: bytes
    keyed: bool
    method: bytes
    suite: bytes
    cleartext: bool
    reason: Reason
    caller: Endpoint
    callee: Endpoint
    caller_vouched: bool
    callee_vouched: bool
    detail: str


class Opening(Enum):
    """What the policy says about a keyed stream."""

    OPEN = "open"
    REFUSE = "refuse"


class Opened(NamedTuple):
    """The policy's word on one stream, and how long its holes may stay silent."""

    verdict: Opening
    idle_s: int


Judge = Callable[[Stream], Opened]


class Outcome(NamedTuple):
    """What one message changed.

    ``renewed`` names holes that were open before and stay open after a new
    offer and answer: an edge whose kernel expires silent holes by itself may
    add them again (a call may be held longer than the idle time).
    """

    effects: tuple[Effect, ...]
    findings: tuple[Finding, ...]
    streams: tuple[Stream, ...]
    renewed: tuple[OpenPinhole, ...] = ()

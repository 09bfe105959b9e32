"""What the guard decides, and the effects the edge carries out."""

from enum import Enum
from typing import NamedTuple

from sipguard.reason import Finding, Reason


class Action(Enum):
    """What happens to a packet."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"  # drop, and answer with a response of our own where RSP-1 allows


class Endpoint(NamedTuple):
    """A transport address: 4 or 16 network-order octets, and a port."""

    address: bytes
    port: int


class Hole(NamedTuple):
    """One direction of one media stream, exactly as the kernel's set keys it.

    The source port is left open: RFC 4961 symmetric RTP is usual but not
    required, and the address pair already names the two ends (PIN-14).
    """

    source: bytes
    destination: bytes
    port: int


class OpenPinhole(NamedTuple):
    """Let one direction of a stream pass, until closed or silent for *idle_s* seconds."""

    hole: Hole
    key_method: str
    idle_s: int
    call_id: bytes


class ClosePinhole(NamedTuple):
    """Stop one direction of a stream at once."""

    hole: Hole
    key_method: str
    reason: Reason
    call_id: bytes


class Reply(NamedTuple):
    """A response of our own, sent from the address the request was meant for (RSP-5)."""

    octets: bytes
    source: Endpoint
    destination: Endpoint


Effect = OpenPinhole | ClosePinhole | Reply


class Judgement(NamedTuple):
    """Why a packet fares as it does: what was decided, by which rule, for which reason.

    ``rule`` is the policy rule's name, or the room that decided before any
    rule was asked (``parse``, ``calls``, ``replay``); ``place`` is the rule's
    ``file:line`` or empty.
    """

    action: Action
    reason: Reason
    rule: str = ""
    place: str = ""
    detail: str = ""
    status: int = 0
    phrase: str = ""
    octets: bytes = b""
    log: bool = False
    alarm: bool = False
    shadow: bool = False


class Decision(NamedTuple):
    """The guard's answer for one packet.

    ``action`` is what the edge does now; ``judgement.action`` is what the
    policy said. They differ in shadow mode only. ``renewals`` are pinholes
    that stay open after a new offer and answer; the kernel may have closed
    one for silence, on hold, so the edge opens it again.
    """

    action: Action
    judgement: Judgement
    findings: tuple[Finding, ...] = ()
    effects: tuple[Effect, ...] = ()
    renewals: tuple[OpenPinhole, ...] = ()

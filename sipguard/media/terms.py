"""The words of the media room: who said what about which stream, and what became of it."""

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, final

from sipguard.media.key_mgmt import OfferedKeys
from sipguard.media.keying import Keying
from sipguard.media.mikey_view import Context
from sipguard.moment import Moment
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.verdict import Effect, Endpoint, OpenPinhole
from sipguard.wire.sdp import Media, Sdp
from sipguard.wire.uri import Uri

CallKey = tuple[bytes, bytes]


class Party(Enum):
    """Who sent a message: the side that sent the dialog-forming INVITE, or the other."""

    CALLER = "caller"
    CALLEE = "callee"


@final
@mypyc_attr(acyclic=True)
class Step:
    """What the media room needs of one accepted message.

    ``call`` is Call-ID and the From tag of the dialog-forming INVITE's
    sender, ``to_tag`` the other party's tag (empty while unknown), ``method``
    that of CSeq; ``reliable`` marks a 1xx with 100rel and RSeq (RFC 3262).
    """

    __slots__ = (
        "call",
        "cseq",
        "is_request",
        "method",
        "now",
        "offered",
        "parties",
        "path",
        "reliable",
        "sdp",
        "sender",
        "source",
        "stamp",
        "status",
        "to_tag",
        "transport",
    )

    def __init__(
        self,
        call: CallKey,
        to_tag: bytes,
        sender: Party,
        is_request: bool,
        method: bytes,
        status: int,
        reliable: bool,
        cseq: int,
        source: bytes,
        destination: bytes,
        sdp: Sdp | None,
        transport: str,
    ) -> None:
        self.call = call
        self.to_tag = to_tag
        self.sender = sender
        self.is_request = is_request
        self.method = method
        self.status = status
        self.reliable = reliable
        self.cseq = cseq
        self.source = source
        self.sdp = sdp
        self.transport = transport
        # Of a description with MIKEY: who sends it, and to whom.
        self.parties: tuple[Uri | None, tuple[Uri, ...]] | None = None
        self.offered: OfferedKeys | None = None  # what its MIKEY messages are worth, once asked
        self.now: Moment | None = None  # set by the media room
        # The two neighbors between which it crossed, the same either way round.
        self.path = source + destination if source < destination else destination + source
        self.stamp = stamp_of(method, cseq, is_request == (sender is _CALLER))

    def context(self) -> Context:
        """Return what MIKEY's judgement needs to know of the message."""
        source, half = self.source, len(self.path) // 2
        # The path is both neighbors in order, whichever of them sends.
        destination = self.path[half:] if self.path[:half] == source else self.path[:half]
        sender, receivers = self.parties or (None, ())
        now = self.now or Moment(0.0, 0.0)
        return Context(self.call[0], (), now, sender, receivers, source, destination)


_CALLER: Final = Party.CALLER
_METHODS: Final = {b"INVITE": 0, b"ACK": 0, b"UPDATE": 2, b"PRACK": 4}


def stamp_of(method: bytes, cseq: int, by_caller: bool) -> int:
    """Return a number that names the transaction of an offer or answer within its call.

    It holds who asked, the CSeq number and the method; an ACK belongs to its INVITE.
    """
    return cseq << 3 | _METHODS.get(method, 6) | by_caller


def is_of_invite(stamp: int) -> bool:
    """Report whether the transaction is an INVITE's."""
    return stamp & 6 == 0


def cseq_of(stamp: int) -> int:
    """Return the transaction's CSeq number."""
    return stamp >> 3


@final
class Stream:
    """One media stream as the policy's media chain judges it and the record shows it.

    ``reason`` is ``KEYED`` or says why no hole may open. An end that is not
    known yet has no address and port 0. A side is vouched for where a packet
    of this call from that side came from the very address its SDP names.
    """

    __slots__ = (
        *("callee", "callee_vouched", "caller", "caller_vouched"),
        *("cleartext", "downgraded", "findings", "index", "keying", "media"),
    )

    def __init__(
        self,
        index: int,
        media: Media,
        keying: Keying,
        cleartext: bool,
        caller: Endpoint,
        callee: Endpoint,
        caller_vouched: bool,
        callee_vouched: bool,
    ) -> None:
        self.index = index
        self.media = media  # the line as either side wrote it
        self.keying = keying
        self.cleartext = cleartext
        self.caller = caller
        self.callee = callee
        self.caller_vouched = caller_vouched
        self.callee_vouched = callee_vouched
        self.downgraded = False  # a running stream would lose its key, or change its method
        self.findings: tuple[Finding, ...] = ()  # what was noticed about its MIKEY messages

    def between(
        self, caller: Endpoint, callee: Endpoint, caller_vouched: bool, callee_vouched: bool
    ) -> "Stream":
        """Return the same stream between two other ends, as ICE may choose."""
        stream = Stream(
            self.index, self.media, self.keying, self.cleartext,
            caller, callee, caller_vouched, callee_vouched,
        )  # fmt: skip
        stream.downgraded = self.downgraded
        stream.findings = self.findings
        return stream

    @property
    def kind(self) -> bytes:
        """``audio``, ``video`` and so on."""
        return self.media.kind

    @property
    def proto(self) -> bytes:
        """The transport profile."""
        return self.media.proto

    @property
    def keyed(self) -> bool:
        """Whether a key for SRTP was negotiated."""
        return self.keying.keyed

    @property
    def method(self) -> bytes:
        """How; empty without a key."""
        return self.keying.method

    @property
    def suite(self) -> bytes:
        """The crypto suite, where signalling names it."""
        return self.keying.suite

    @property
    def reason(self) -> Reason:
        """``KEYED``, or why there is no key."""
        return self.keying.reason

    @property
    def detail(self) -> str:
        """The same in words."""
        return self.keying.detail


class Opening(Enum):
    """What the policy says about a keyed stream."""

    OPEN = "open"
    REFUSE = "refuse"
    UNSAID = "unsaid"  # no rule speaks of it, so nothing opens


@final
@mypyc_attr(acyclic=True)
class Opened:
    """The policy's word on one stream, and how long its holes may stay silent.

    ``unproven``: its packets need not show that they are made with the key.
    """

    __slots__ = ("idle_s", "unproven", "verdict")

    def __init__(self, verdict: Opening, idle_s: int, unproven: bool = False) -> None:
        self.verdict = verdict
        self.idle_s = idle_s
        self.unproven = unproven


Judge = Callable[[Stream], Opened]


class Outcome:
    """What one message changed.

    ``renewed`` names holes that were open before and stay open after a new
    offer and answer: an edge whose kernel expires silent holes by itself may
    add them again (a call may be held longer than the idle time).
    """

    __slots__ = ("effects", "findings", "renewed", "streams")

    def __init__(self) -> None:
        self.effects: tuple[Effect, ...] = ()
        self.findings: tuple[Finding, ...] = ()
        self.streams: tuple[Stream, ...] = ()
        self.renewed: tuple[OpenPinhole, ...] = ()


NOTHING: Final = Outcome()


@final
class Report(Outcome):
    """What one message changes, while it is being worked out; ``party`` is whose message it is."""

    __slots__ = ("call_id", "party")

    def __init__(self, call_id: bytes, party: str = "") -> None:
        super().__init__()
        self.call_id = call_id
        self.party = party

    def find(self, finding: Finding) -> None:
        """Add a finding."""
        self.findings = (*self.findings, finding)


class Statistics(NamedTuple):
    """Counters for the status page."""

    calls: int
    ringing: int
    holes: int
    forgotten: int
    turned_away: int

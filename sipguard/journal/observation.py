"""What the guard tells about one judged message: plain octets and reasons, nothing interpreted."""

from typing import Final, NamedTuple

from sipguard.evidence import Evidence
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Endpoint

_CARRIERS: Final = frozenset((b"INVITE", b"UPDATE", b"PRACK", b"ACK"))  # of descriptions

# Time in POSIX seconds, label (``INVITE``, ``200 INVITE``), source and destination address octets.
Step = tuple[float, bytes, bytes, bytes]


class MediaNote(NamedTuple):
    """One media stream as the guard saw it negotiated; an unknown end has no address octets."""

    kind: bytes
    proto: bytes
    key_method: bytes
    suite: bytes
    keyed: bool
    reason: Reason
    caller: Endpoint
    callee: Endpoint
    detail: str = ""


class Answer(NamedTuple):
    """One test of a rule: its text, whether it held if that is known, and what it was asked of."""

    text: str
    holds: bool | None
    values: tuple[tuple[str, bytes], ...]


class Condition(NamedTuple):
    """What the rule that decided asked; *any*: one test is enough, otherwise all of them held."""

    text: str
    any: bool
    tests: tuple[Answer, ...]


class Observation(NamedTuple):
    """One judged message, self-contained, so that no record needs a second look at live state.

    Or the packets of one stream: ``method`` is ``media audio`` and the like then, and what only
    a SIP message has is empty.

    ``judged`` is what the policy said and ``action`` what was done; they differ
    in shadow mode only. Octets are raw: nothing here is masked or escaped yet,
    so an observation must never be stored or shown; a ``Record`` may.
    """

    utc_s: float
    action: Action
    judged: Action
    reason: Reason
    src: bytes
    dst: bytes
    sport: int = 0
    dport: int = 0
    mode: str = "enforce"
    rule: str = ""
    place: str = ""
    detail: str = ""
    octets: bytes = b""
    status: int = 0
    phrase: str = ""
    findings: tuple[Finding, ...] = ()
    transport: str = "udp"
    interface: str = ""
    zone: str = ""
    ipsec: bool = False
    method: bytes = b""
    sip_status: int = 0
    request_uri: bytes = b""
    from_: bytes = b""
    to: bytes = b""
    contact: bytes = b""
    call_id: bytes = b""
    cseq: bytes = b""
    branch: bytes = b""
    user_agent: bytes = b""
    start_line: bytes = b""
    dialog: str = ""
    media: tuple[MediaNote, ...] = ()
    log: bool = False
    alarm: bool = False
    raw: bytes = b""
    ladder: tuple[Step, ...] = ()
    proofs: tuple[tuple[str, Evidence], ...] = ()  # by kind, those that were asked for
    condition: Condition | None = None  # of a rule that refused

    @property
    def label(self) -> bytes:
        """``INVITE`` for a request, ``200 INVITE`` for a response: a ladder's word for it."""
        return label_of(self.method, self.sip_status)

    @property
    def is_media(self) -> bool:
        """Whether it is about packets of a stream; no SIP method has a blank in it."""
        return self.method.startswith(b"media ")

    @property
    def may_have_streams(self) -> bool:
        """Whether it is about a stream, or may have opened one: a description that passed."""
        return self.is_media or (self.action is Action.ACCEPT and self.method in _CARRIERS)

    @property
    def noteworthy(self) -> bool:
        """Whether a reviewer would ask about it: refused, or a rule said ``log`` or ``alarm``."""
        return self.judged is not Action.ACCEPT or self.log or self.alarm


def label_of(method: bytes, sip_status: int) -> bytes:
    """Return a ladder's word for a message."""
    return b"%d %b" % (sip_status, method) if sip_status else method

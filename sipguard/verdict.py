"""What the guard decides, and the effects the edge carries out."""

from enum import Enum
from typing import Final, NamedTuple, final

from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason


class Action(Enum):
    """What happens to a packet."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"  # drop, and answer with a response of our own where RSP-1 allows
    HOLD = "hold"  # no verdict yet: judge it again when what it wants is here, or time is up


@final
@mypyc_attr(acyclic=True)
class Endpoint:
    """A transport address: 4 or 16 network-order octets, and a port."""

    __slots__ = ("address", "port")

    def __init__(self, address: bytes, port: int) -> None:
        self.address = address
        self.port = port

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Endpoint):
            return NotImplemented
        return self.port == other.port and self.address == other.address

    def __hash__(self) -> int:
        return hash((self.address, self.port))

    def __repr__(self) -> str:
        return f"Endpoint(address={self.address!r}, port={self.port})"


@final
@mypyc_attr(acyclic=True)
class Hole:
    """One direction of one media stream, exactly as the kernel's set keys it.

    The source port is left open: RFC 4961 symmetric RTP is usual but not
    required, and the address pair already names the two ends (PIN-14).
    """

    __slots__ = ("destination", "port", "source")

    def __init__(self, source: bytes, destination: bytes, port: int) -> None:
        self.source = source
        self.destination = destination
        self.port = port

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hole):
            return NotImplemented
        return (
            self.port == other.port
            and self.destination == other.destination
            and self.source == other.source
        )

    def __hash__(self) -> int:
        return hash((self.source, self.destination, self.port))

    def __repr__(self) -> str:
        ends = f"source={self.source!r}, destination={self.destination!r}"
        return f"Hole({ends}, port={self.port})"


@final
@mypyc_attr(acyclic=True)
class OpenPinhole:
    """Let one direction of a stream pass, until closed or silent for *idle_s* seconds."""

    __slots__ = ("call_id", "hole", "idle_s", "key_method")

    def __init__(self, hole: Hole, key_method: str, idle_s: int, call_id: bytes) -> None:
        self.hole = hole
        self.key_method = key_method
        self.idle_s = idle_s
        self.call_id = call_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpenPinhole) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"OpenPinhole{self._values()!r}"

    def _values(self) -> tuple[Hole, str, int, bytes]:
        return self.hole, self.key_method, self.idle_s, self.call_id


@final
class Ended:
    """What is told of one direction of a stream when it ends.

    ``kind`` is audio, video and so on; ``told`` says in words how the direction was proven,
    or why not; ``source_port`` is the port that proved itself, 0 if none did. ``party`` is
    ``caller`` or ``callee``, whose message ended it, or empty.
    """

    __slots__ = ("kind", "party", "source_port", "suite", "told")

    def __init__(
        self, kind: bytes, suite: bytes, told: str, source_port: int = 0, party: str = ""
    ) -> None:
        self.kind = kind
        self.suite = suite
        self.told = told
        self.source_port = source_port
        self.party = party


NOTHING_TOLD: Final = Ended(b"", b"", "")


@final
@mypyc_attr(acyclic=True)
class ClosePinhole:
    """Stop one direction of a stream at once."""

    __slots__ = ("call_id", "ended", "hole", "key_method", "reason")

    def __init__(
        self,
        hole: Hole,
        key_method: str,
        reason: Reason,
        call_id: bytes,
        ended: Ended = NOTHING_TOLD,
    ) -> None:
        self.hole = hole
        self.key_method = key_method
        self.reason = reason
        self.call_id = call_id
        self.ended = ended

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClosePinhole) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"ClosePinhole{self._values()!r}"

    def _values(self) -> tuple[Hole, str, Reason, bytes]:
        return self.hole, self.key_method, self.reason, self.call_id


@final
class ProvePinhole:
    """Let the kernel alone forward what a source sends into a pinhole: it proved itself.

    A source is a port and an SSRC: clear RTP forged from the port of a sealed stream
    must at least know and use that stream's own.
    """

    __slots__ = ("call_id", "hole", "source_port", "ssrc")

    def __init__(self, hole: Hole, source_port: int, ssrc: int, call_id: bytes) -> None:
        self.hole = hole
        self.source_port = source_port
        self.ssrc = ssrc
        self.call_id = call_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProvePinhole) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"ProvePinhole{self._values()!r}"

    def _values(self) -> tuple[Hole, int, int, bytes]:
        return self.hole, self.source_port, self.ssrc, self.call_id


@final
class DoubtPinhole:
    """Take the proofs of one source port back: each of its packets is judged again."""

    __slots__ = ("call_id", "hole", "reason", "source_port")

    def __init__(self, hole: Hole, source_port: int, reason: Reason, call_id: bytes) -> None:
        self.hole = hole
        self.source_port = source_port
        self.reason = reason
        self.call_id = call_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DoubtPinhole) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"DoubtPinhole{self._values()!r}"

    def _values(self) -> tuple[Hole, int, Reason, bytes]:
        return self.hole, self.source_port, self.reason, self.call_id


class Reply(NamedTuple):
    """A response of our own, sent from the address the request was meant for (RSP-5)."""

    octets: bytes
    source: Endpoint
    destination: Endpoint


Effect = OpenPinhole | ClosePinhole | ProvePinhole | DoubtPinhole | Reply


@final
@mypyc_attr(acyclic=True)
class Judgement:
    """Why a packet fares as it does: what was decided, by which rule, for which reason.

    ``rule`` is the policy rule's name, or the room that decided before any
    rule was asked (``parse``, ``calls``, ``replay``); ``place`` is the rule's
    ``file:line`` or empty. Never changed once made: what one rule says of
    many messages is one judgement.
    """

    __slots__ = (
        "action",
        "alarm",
        "detail",
        "log",
        "octets",
        "phrase",
        "place",
        "reason",
        "rule",
        "shadow",
        "status",
    )

    def __init__(
        self,
        action: Action,
        reason: Reason,
        rule: str = "",
        place: str = "",
        detail: str = "",
        status: int = 0,
        phrase: str = "",
        octets: bytes = b"",
        log: bool = False,
        alarm: bool = False,
        shadow: bool = False,
    ) -> None:
        self.action = action
        self.reason = reason
        self.rule = rule
        self.place = place
        self.detail = detail
        self.status = status
        self.phrase = phrase
        self.octets = octets
        self.log = log
        self.alarm = alarm
        self.shadow = shadow

    def changed(self, *, action: Action, log: bool) -> "Judgement":
        """Return the same with another action, and logged or not."""
        return Judgement(
            action, self.reason, self.rule, self.place, self.detail, self.status,
            self.phrase, self.octets, log, self.alarm, self.shadow,
        )  # fmt: skip

    def answered(self, status: int, phrase: str) -> "Judgement":
        """Return the same with the status code and the phrase of its response."""
        return Judgement(
            self.action, self.reason, self.rule, self.place, self.detail, status,
            phrase, self.octets, self.log, self.alarm, self.shadow,
        )  # fmt: skip


@final
@mypyc_attr(acyclic=True)
class Decision:
    """The guard's answer for one packet.

    ``action`` is what the edge does now; ``judgement.action`` is what the
    policy said. They differ in shadow mode only. ``renewals`` are pinholes
    that stay open after a new offer and answer; the kernel may have closed
    one for silence, on hold, so the edge opens it again. ``wants`` are the
    URLs of certificates that a packet on ``HOLD`` waits for.
    """

    __slots__ = ("action", "effects", "findings", "judgement", "renewals", "wants")

    def __init__(
        self,
        action: Action,
        judgement: Judgement,
        findings: tuple[Finding, ...] = (),
        effects: tuple[Effect, ...] = (),
        renewals: tuple[OpenPinhole, ...] = (),
        wants: tuple[str, ...] = (),
    ) -> None:
        self.action = action
        self.judgement = judgement
        self.findings = findings
        self.effects = effects
        self.renewals = renewals
        self.wants = wants

"""What the guard asks of the media room, and what the policy says to it."""

from collections.abc import Callable, Sequence
from typing import Final, final

from sipguard.calls.book import Ended
from sipguard.calls.dialog import Dialog
from sipguard.calls.standing import Stand
from sipguard.errors import HostileInput
from sipguard.media.key_mgmt import SIGN
from sipguard.media.methods import MIKEY, SDES
from sipguard.media.sessions import Opened, Opening, Outcome, Party, Sessions, Step, Stream
from sipguard.moment import Moment
from sipguard.policy.rules import Policy, Ruling
from sipguard.policy.subject import Subject
from sipguard.reason import Finding, Reason
from sipguard.verdict import Effect
from sipguard.wire.packet import Packet
from sipguard.wire.sdp import Sdp, parse_sdp
from sipguard.wire.sip import Ids, Message
from sipguard.wire.uri import Uri, parse_uri

CARRIERS: Final = frozenset({b"INVITE", b"ACK", b"PRACK", b"UPDATE"})
OFFER_REQUESTS: Final = frozenset({b"INVITE", b"UPDATE"})
_CALLER: Final = Party.CALLER
_CALLEE: Final = Party.CALLEE
_OPEN: Final = Opening.OPEN
_REFUSE: Final = Opened(Opening.REFUSE, 0)
_SHOWN: Final = frozenset((SDES, MIKEY))
_UNSAID: Final = Opened(Opening.UNSAID, 0)


@final
class Refusal:
    """A request whose every stream the media chain refuses."""

    __slots__ = ("ruling", "stream")

    def __init__(self, ruling: Ruling, stream: Stream) -> None:
        self.ruling = ruling
        self.stream = stream


class Negotiator:
    """Turns SIP messages into offer/answer steps and holds each stream against the policy."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self._policy: Policy | None = None
        self._subject: Subject | None = None
        self._findings: Sequence[Finding] = ()

    def request_step(
        self, message: Message, ids: Ids, packet: Packet, dialog: Dialog | None, sdp: Sdp | None
    ) -> Step | None:
        """Describe a request to the media room; nothing, where it can change nothing there."""
        method = message.method
        if dialog is None:
            call, to_tag, sender = (ids.call_id, ids.from_tag), b"", _CALLER
        else:
            key = dialog.key
            call, to_tag = (key[0], key[1]), key[2]
            sender = _CALLER if dialog.is_from_caller(ids.from_tag) else _CALLEE
        if sdp is None and not self.sessions.concerns(call, True, method, 0):
            return None
        step = Step(
            call, to_tag, sender, True, method, 0, False, ids.cseq,
            packet.src, packet.dst, sdp, packet.transport,
        )  # fmt: skip
        if sdp is not None and sdp.raw.find(SIGN) >= 0:
            step.parties = _parties(ids, message)
        return step

    def response_step(
        self, message: Message, ids: Ids, packet: Packet, stand: Stand, sdp: Sdp | None
    ) -> Step | None:
        """Describe a response to the media room; the sender is the end that was asked."""
        dialog, status = stand.dialog, message.status
        if dialog is None:
            call, to_tag = (ids.call_id, ids.from_tag), ids.to_tag
        else:
            key = dialog.key
            call, to_tag = (key[0], key[1]), key[2]
        if sdp is None and not self.sessions.concerns(call, False, ids.method, status):
            return None
        sender = _CALLEE if stand.from_caller else _CALLER
        reliable = status < 200 and message.rseq is not None and b"100rel" in message.require
        step = Step(
            call, to_tag, sender, False, ids.method, status, reliable, ids.cseq,
            packet.src, packet.dst, sdp, packet.transport,
        )  # fmt: skip
        if sdp is not None and sdp.raw.find(SIGN) >= 0:
            step.parties = ids.to.uri, (ids.from_.uri,)
        return step

    def refusal_of_offer(
        self, policy: Policy, streams: list[Stream], subject: Subject
    ) -> Refusal | None:
        """Say whether the policy refuses every stream that a request offers."""
        refused: Refusal | None = None
        for stream in streams:
            subject.stream = stream
            ruling = policy.judge("media", subject)
            if ruling is None or ruling.action == "open":
                return None
            if refused is None:
                refused = Refusal(ruling, stream)
        return refused

    def observe(self, policy: Policy, step: Step, subject: Subject, now: Moment) -> Outcome:
        """Advance the call's offer/answer with an accepted message."""
        self._policy, self._subject = policy, subject
        self._findings = subject.findings
        return self.sessions.observe(step, self._judge, now)

    def _judge(self, stream: Stream) -> Opened:
        """Ask the media chain about one stream (a method: a closure would be a cycle each time)."""
        subject, policy = self._subject, self._policy
        if subject is None or policy is None:
            return _REFUSE
        subject.stream = stream
        found = self._findings
        subject.findings = (*found, *stream.findings) if stream.findings else found
        ruling = policy.judge("media", subject)
        if ruling is None:
            return _UNSAID
        if ruling.action != "open":
            return _REFUSE
        rule = ruling.rule
        return Opened(_OPEN, rule.idle_s or policy.media_idle_s, rule.unproven)

    def close(self, ended: list[Ended], now: Moment) -> tuple[Effect, ...]:
        """Close the holes of dialogs that are over."""
        if not ended:
            return ()
        effects: tuple[Effect, ...] = ()
        for call, to_tag, reason, party in ended:
            effects += self.sessions.ended(call, to_tag, reason, now, party)
        return effects


def _parties(ids: Ids, message: Message) -> tuple[Uri, tuple[Uri, ...]]:
    """Return who sends a request, and to whom, for the names in its MIKEY messages (MIK-14)."""
    try:
        receivers = (ids.to.uri, parse_uri(message.uri))
    except HostileInput:
        receivers = (ids.to.uri, ids.to.uri)
    return ids.from_.uri, receivers


def sdp_of(message: Message) -> tuple[Sdp | None, Finding | None]:
    """Return the session description of a message, or why it cannot be read."""
    bodies = message.sdp_bodies
    if len(bodies) != 1:
        return None, None
    try:
        return parse_sdp(bodies[0]), None
    except HostileInput as error:
        return None, error.finding()


def relayed(streams: tuple[Stream, ...], is_relay: Callable[[bytes], bool]) -> tuple[Finding, ...]:
    """Note each stream whose key a media relay of the policy's has, or can have (PIN-16).

    A certificate or Hello named in signalling goes past a relay; a key that stands in the
    description, or comes of a MIKEY message there, ends with who is named beside it.
    """
    found: tuple[Finding, ...] = ()
    for stream in streams:
        if not stream.keyed or stream.method not in _SHOWN:
            continue
        for side, end in (("caller", stream.caller), ("callee", stream.callee)):
            if end.address and is_relay(end.address):
                found += (Finding(Reason.ENDS_AT_RELAY, f"the {side}'s media comes from there"),)
    return found


def blocked_stream(outcome: Outcome) -> Stream | None:
    """Return the first stream of an answer that got no hole for lack of a key."""
    for stream in outcome.streams:
        if stream.reason is not Reason.KEYED:
            return stream
    return None

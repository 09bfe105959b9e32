"""What the guard asks of the media room, and what the policy says to it."""

from typing import Final, NamedTuple

from sipguard.calls.book import Ended
from sipguard.calls.dialog import Dialog
from sipguard.calls.standing import Stand
from sipguard.errors import HostileInput
from sipguard.media.sessions import Opened, Opening, Outcome, Party, Sessions, Step, Stream
from sipguard.moment import Moment
from sipguard.policy.rules import Policy, Ruling
from sipguard.policy.subject import Subject
from sipguard.reason import Finding, Reason
from sipguard.verdict import Effect
from sipguard.wire.packet import Packet
from sipguard.wire.sdp import Sdp, parse_sdp
from sipguard.wire.sip import Ids, Message

CARRIERS: Final = frozenset({b"INVITE", b"ACK", b"PRACK", b"UPDATE"})
OFFER_REQUESTS: Final = frozenset({b"INVITE", b"UPDATE"})
_REFUSE: Final = Opened(Opening.REFUSE, 0)


class Refusal(NamedTuple):
    """A request whose every stream the media chain refuses."""

    ruling: Ruling
    stream: Stream


class Negotiator:
    """Turns SIP messages into offer/answer steps and holds each stream against the policy."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self._policy: Policy | None = None
        self._subject: Subject | None = None

    def refusal_of_offer(self, policy: Policy, step: Step, subject: Subject) -> Refusal | None:
        """Say whether the policy refuses every stream that a request offers."""
        refused = None
        for stream in self.sessions.streams_of_offer(step):
            subject.stream = stream
            ruling = policy.judge("media", subject)
            if ruling is None or ruling.action == "open":
                return None
            refused = refused or Refusal(ruling, stream)
        return refused

    def observe(self, policy: Policy, step: Step, subject: Subject, now: Moment) -> Outcome:
        """Advance the call's offer/answer with an accepted message."""
        self._policy, self._subject = policy, subject
        return self.sessions.observe(step, self._judge, now)

    def _judge(self, stream: Stream) -> Opened:
        """Ask the media chain about one stream (a method: a closure would be a cycle each time)."""
        subject, policy = self._subject, self._policy
        if subject is None or policy is None:
            return _REFUSE
        subject.stream = stream
        ruling = policy.judge("media", subject)
        if ruling is None or ruling.action != "open":
            return _REFUSE
        return Opened(Opening.OPEN, ruling.rule.idle_s or policy.media_idle_s)

    def close(self, ended: list[Ended], now: Moment) -> tuple[Effect, ...]:
        """Close the holes of dialogs that are over."""
        effects: tuple[Effect, ...] = ()
        for call, to_tag, reason in ended:
            effects += self.sessions.ended(call, to_tag, reason, now)
        return effects


def sdp_of(message: Message) -> tuple[Sdp | None, Finding | None]:
    """Return the session description of a message, or why it cannot be read."""
    bodies = message.sdp_bodies
    if len(bodies) != 1:
        return None, None
    try:
        return parse_sdp(bodies[0]), None
    except HostileInput as error:
        return None, error.finding()


def request_step(
    message: Message, ids: Ids, packet: Packet, dialog: Dialog | None, sdp: Sdp | None
) -> Step:
    """Describe a request to the media room."""
    if dialog is None:
        call, to_tag, sender = (ids.call_id, ids.from_tag), b"", Party.CALLER
    else:
        call, to_tag = (dialog.key[0], dialog.key[1]), dialog.key[2]
        sender = Party.CALLER if dialog.is_from_caller(ids.from_tag) else Party.CALLEE
    return Step(
        call, to_tag, sender, True, message.method, 0, False, ids.cseq,
        packet.src, packet.dst, sdp, packet.transport,
    )  # fmt: skip


def response_step(
    message: Message, ids: Ids, packet: Packet, stand: Stand, sdp: Sdp | None
) -> Step:
    """Describe a response to the media room; the sender is the end that was asked."""
    dialog = stand.dialog
    if dialog is None:
        call, to_tag = (ids.call_id, ids.from_tag), ids.to_tag
    else:
        call, to_tag = (dialog.key[0], dialog.key[1]), dialog.key[2]
    sender = Party.CALLEE if stand.from_caller else Party.CALLER
    reliable = message.status < 200 and message.rseq is not None and b"100rel" in message.require
    return Step(
        call, to_tag, sender, False, ids.method, message.status, reliable, ids.cseq,
        packet.src, packet.dst, sdp, packet.transport,
    )  # fmt: skip


def blocked_stream(outcome: Outcome) -> Stream | None:
    """Return the first stream of an answer that got no hole for lack of a key."""
    for stream in outcome.streams:
        if stream.reason is not Reason.KEYED:
            return stream
    return None

"""``Guard.inspect``: one packet in, one decision out."""

from typing import Final, NamedTuple

from sipguard.calls.table import ALL
from sipguard.errors import HostileInput
from sipguard.evidence import Awaited
from sipguard.guard.conclude import Conclusion, judgement_of_findings
from sipguard.guard.media_gate import MediaDecision, MediaGate
from sipguard.guard.requests import Requests
from sipguard.guard.responses import Responses
from sipguard.guard.rooms import Recorder, Rooms
from sipguard.identity.credentials import Credentials
from sipguard.moment import Moment
from sipguard.policy.exemptions import Exemptions
from sipguard.policy.rules import Policy
from sipguard.policy.zones import Zones
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Decision, Effect, Hole, Judgement, Reply
from sipguard.wire.channel import CLEAR, Channel
from sipguard.wire.packet import Packet, parse_packet
from sipguard.wire.sip import Kind, classify, parse_message, parse_plain, read_carefully
from sipguard.wire.stun import is_binding

# RFC 8489 section 6.1: what fits into 576 octets of IPv4 passes everywhere.
_MAX_STUN_OCTETS: Final = 548

_WAITING: Final = Judgement(Action.HOLD, Reason.NO_CREDENTIAL, "hold")
_COPY_OF_HELD: Final = Decision(Action.DROP, Judgement(Action.DROP, Reason.RETRANSMISSION, "hold"))


class Statistics(NamedTuple):
    """How full every table is, for ``sipguard status``."""

    dialogs: int
    transactions: int
    registrations: int
    replay_entries: int
    rate_counters: int
    holes: int
    forgotten: int


class Guard:
    """Judges packets against one policy. Reads no clock and does no I/O.

    Args:
        policy: The policy in force; see :meth:`replace_policy`.
        secret: Keys the To tags of our replies (RSP-4); at most 64 octets count.
        record: Called with everything a reviewer may ask about later.
        learning: Whether ``on-unknown-dialog learn`` applies: no, if there
            were no calls before the start.

    Raises:
        PolicyError: what the policy trusts cannot be used.
    """

    def __init__(
        self,
        policy: Policy,
        secret: bytes,
        *,
        record: Recorder | None = None,
        learning: bool = True,
    ) -> None:
        self._rooms = Rooms(policy, secret, record, learning)
        self._conclusion = Conclusion(self._rooms)
        self._requests = Requests(self._rooms, self._conclusion)
        self._responses = Responses(self._rooms, self._conclusion)
        self._media = MediaGate(self._rooms)
        # Read for every packet by whoever knows where it came from; None asks for nothing.
        self.zones: Zones | None = policy.zones
        self._held: set[bytes] = set()  # source and payload; whoever holds them sets the bound

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._rooms.policy

    def replace_policy(self, policy: Policy) -> None:
        """Judge by *policy* from now on; calls, replay memory and pinholes outlive it.

        Raises:
            PolicyError: what it trusts cannot be used; the policy before stays in force.
        """
        self._rooms.adopt(policy)
        self.zones = policy.zones

    @property
    def credentials(self) -> Credentials:
        """The certificates of PASSporTs by URL; what is held waits for them to come in here."""
        return self._rooms.remembered.credentials

    @property
    def overloaded(self) -> bool:
        """Whether ``on-overload`` applies to new requests; the edge knows its queue."""
        return self._rooms.overloaded

    @overloaded.setter
    def overloaded(self, overloaded: bool) -> None:
        self._rooms.overloaded = overloaded

    @property
    def exemptions(self) -> Exemptions:
        """The temporary exceptions in force; set anew when the operator changes them."""
        return self._rooms.exemptions

    @exemptions.setter
    def exemptions(self, exemptions: Exemptions) -> None:
        self._rooms.exemptions = exemptions

    @property
    def excepted(self) -> tuple[int, int]:
        """How many requests exceptions let pass, and how many refusals they muted."""
        return self._rooms.passed_by_exception, self._rooms.muted

    def inspect(
        self, octets: bytes, interface: str, now: Moment, channel: Channel = CLEAR
    ) -> Decision:
        """Judge one IP packet; *channel* is what :attr:`zones` say that it came through."""
        try:
            packet = parse_packet(octets, interface, channel)
        except HostileInput as error:
            nobody = Packet(b"", b"", 0, 0, octets[:256], "udp", interface, channel)
            return self._drop(nobody, error.finding(), "packet", now)
        return self.judge(packet, now)

    def inspect_again(
        self, octets: bytes, interface: str, now: Moment, channel: Channel = CLEAR, *, last: bool
    ) -> Decision:
        """Judge an IP packet that was put on hold; see :meth:`judge_again`."""
        return self.judge_again(parse_packet(octets, interface, channel), now, last=last)

    def judge(self, packet: Packet, now: Moment) -> Decision:
        """Judge one datagram, or one message of a stream.

        Whoever gets ``HOLD`` owes the guard a :meth:`judge_again`: until that
        decides, copies of the same message are dropped.
        """
        self._rooms.set_time(now)
        message = parse_plain(packet.payload, packet.transport)
        if message is None:
            kind = classify(packet.payload)
            if kind is not Kind.SIP:
                return self._judge_other(kind, packet, now)
            try:
                message = read_carefully(packet.payload, packet.transport)
            except HostileInput as error:
                return self._drop(packet, error.finding(), "parse", now)
        ids = message.ids
        if ids is None:
            judgement = judgement_of_findings(message.findings)
            return self._conclusion.refuse_packet(packet, message, judgement, message.findings, now)
        if self._held and packet.src + packet.payload in self._held:
            return _COPY_OF_HELD
        try:
            if message.is_request:
                return self._requests.judge(packet, message, ids, now)
            return self._responses.judge(packet, message, ids, now)
        except Awaited as awaited:
            return self._hold(packet, awaited, now)

    def judge_again(self, packet: Packet, now: Moment, *, last: bool) -> Decision:
        """Judge a message that was put on hold, by the policy of today and from the start.

        It counts for rates as it did when it came, not once more.

        Args:
            packet: The same as then.
            now: This instant; not the one when it came.
            last: Whether this is the verdict: what is not here yet is unknown then.
        """
        rooms = self._rooms
        self._held.discard(packet.src + packet.payload)
        rooms.again, rooms.last_chance = True, last
        try:
            return self.judge(packet, now)
        finally:
            rooms.again = rooms.last_chance = False

    def unavailable(self, packet: Packet, now: Moment) -> Reply | None:
        """Return our 503 to a message that was accepted and has nowhere to go (RSP-11)."""
        message = parse_message(packet.payload, packet.transport)
        if message.ids is None:
            return None
        return self._rooms.refuser.refuse(message, message.ids, packet, 503, "", now)

    def refuse_stream(self, packet: Packet, finding: Finding, now: Moment) -> Decision:
        """Record that a connection ends, or octets of it that are no message; see *finding*."""
        self._rooms.set_time(now)
        return self._drop(packet, finding, "stream", now)

    def _hold(self, packet: Packet, awaited: Awaited, now: Moment) -> Decision:
        """A rule asked for what must be fetched first; nothing was written down until then."""
        if self._rooms.last_chance:
            raise awaited  # a bug of ours: whoever asks for the verdict must get it
        self._rooms.policy.take_back(now)
        self._held.add(packet.src + packet.payload)
        return Decision(Action.HOLD, _WAITING, wants=awaited.urls)

    def inspect_media(self, octets: bytes, interface: str, now: Moment) -> MediaDecision:
        """Judge one IP packet through a pinhole whose stream has proven nothing yet."""
        return self._media.inspect(octets, interface, now)

    def judge_media(self, packet: Packet, now: Moment, *, is_sample: bool) -> MediaDecision:
        """Judge one datagram of a capture as :meth:`inspect_media` or :meth:`sample_media` would.

        Raises nothing; what belongs to no stream is not ``known``.
        """
        if is_sample:
            return self._media.judge_sample(packet, now)
        return self._media.judge(packet, now)

    def sample_media(self, octets: bytes, now: Moment) -> tuple[Effect, ...]:
        """Judge the copy of an IP packet of a proven stream, which the kernel has forwarded."""
        return self._media.sample(octets, now)

    def tick(self, now: Moment, most: int = ALL) -> tuple[Effect, ...]:
        """Let time pass: end what is over, and close its pinholes; see also :meth:`forget`.

        Args:
            now: This instant.
            most: Look at so many calls and transactions, where others wait; the next goes on.
        """
        rooms = self._rooms
        rooms.set_time(now)
        ended = rooms.book.expire(now, most)
        effects = rooms.negotiator.close(ended, now) + rooms.negotiator.sessions.expire(now)
        return effects + self._media.tick(now)

    def forget(self, now: Moment) -> None:
        """Forget a little of what is too old in the memories of replays and proofs.

        Called some times a second they stay small, and no packet waits for long.
        """
        rooms = self._rooms
        rooms.memory.expire(now)
        rooms.digests.expire(now)
        rooms.remembered.expire(now)

    def open_holes(self) -> list[Hole]:
        """Return every pinhole that is open now, for a kernel that lost them."""
        return self._rooms.negotiator.sessions.holes()

    def statistics(self) -> Statistics:
        """Count what is remembered."""
        rooms = self._rooms
        book, checks = rooms.book, rooms.negotiator.sessions.checks
        return Statistics(
            dialogs=len(book.dialogs),
            transactions=len(book.transactions),
            registrations=len(book.registrations),
            replay_entries=len(rooms.memory) + len(checks),
            rate_counters=len(rooms.rates),
            holes=rooms.negotiator.sessions.open_holes,
            forgotten=(
                book.dialogs.forgotten
                + book.transactions.forgotten
                + rooms.memory.forgotten
                + checks.forgotten
                + rooms.digests.forgotten
                + rooms.remembered.forgotten
                + rooms.rates.forgotten
            ),
        )

    def _judge_other(self, kind: Kind, packet: Packet, now: Moment) -> Decision:
        """Keep-alives pass, at a bounded rate; what is neither SIP nor that does not."""
        if kind is Kind.SIGCOMP:
            return self._drop(packet, Finding(Reason.SIGCOMP), "parse", now)
        if kind is Kind.OTHER:
            return self._drop(packet, Finding(Reason.NOT_SIP), "parse", now)
        policy, rates = self._rooms.policy, self._rooms.rates
        reason = Reason.STUN_KEEP_ALIVE if kind is Kind.STUN else Reason.KEEP_ALIVE
        if kind is Kind.STUN and not _keeps_alive(packet.payload):
            finding = Finding(reason, "no Binding message, or too large for one")
            return self._drop(packet, finding, "keep-alives", now)
        if policy.keep_alives is Action.DROP:
            return self._drop(packet, Finding(reason), "keep-alives", now)
        limit, window_s = policy.keep_alive_rate
        flow = _flow_of(packet)
        rates.add("keep-alive", flow, b"*", window_s)
        if rates.count("keep-alive", flow, b"*", window_s) > limit:
            finding = Finding(Reason.RATE_EXCEEDED, "keep-alives")
            return self._drop(packet, finding, "keep-alive-rate", now)
        return Decision(Action.ACCEPT, Judgement(Action.ACCEPT, reason, "keep-alives"))

    def _drop(self, packet: Packet, finding: Finding, rule: str, now: Moment) -> Decision:
        judgement = Judgement(
            Action.DROP, finding.reason, rule, detail=finding.detail, octets=finding.octets
        )
        return self._conclusion.refuse_packet(packet, None, judgement, (finding,), now)


def _flow_of(packet: Packet) -> bytes:
    """Return what keep-alives are counted by: a server's pongs to all its clients are no flood."""
    number = packet.channel.connection
    return packet.src + number.to_bytes(8, "big") if number else packet.src


def _keeps_alive(payload: bytes) -> bool:
    """Whether a STUN message is a keep-alive (RFC 5626 section 4.4.2), and carries no freight."""
    return len(payload) <= _MAX_STUN_OCTETS and is_binding(payload)

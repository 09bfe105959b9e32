"""A digest response that comes again: a copy, a retry, a refresh, or a thief (DIG-24, RPL-*).

qop=auth covers the method and the digest-uri and nothing else. Whoever heard a response may
put it under another From, Contact, Call-ID, Request-URI or body; the server would not see it.
"""

from typing import Final

from sipguard.errors import HostileInput
from sipguard.identity.digest_memory import COPY_S, Response
from sipguard.reason import Finding, Reason
from sipguard.wire.digest import Credentials
from sipguard.wire.message import Ids, Message
from sipguard.wire.packet import Packet
from sipguard.wire.sdp import parse_sdp

DEFAULT_PORT: Final = 5060
_OTHER_INPUTS: Final = Finding(Reason.DIGEST_REPLAY, "the response was made for another request")
_TOO_LATE: Final = Finding(Reason.DIGEST_REPLAY, "the whole request again, after its time")
_REPEATED: Final = Finding(
    Reason.DIGEST_COUNT, "the credentials of an earlier request of this call, nonce count and all"
)


def call_of(ids: Ids) -> int:
    """Return what a client's requests of one call or registration have in common."""
    return hash((ids.call_id, ids.from_tag))


def request_of(ids: Ids) -> int:
    """Return what names one request on all its legs, and its responses."""
    return hash((call_of(ids), ids.cseq, ids.method))


def inputs_of(credentials: Credentials, method: bytes) -> int:
    """Return everything that the response was made of; two inputs have never one response."""
    return hash((method, *credentials[:4], credentials.cnonce, credentials.nc))


def content_of(message: Message, ids: Ids) -> int:
    """Return what no honest hop changes and a thief must: who calls, where to answer, the body."""
    contacts = tuple(message.values(b"contact"))
    return hash((ids.from_.uri.raw, ids.to.uri.raw, contacts, message.body))


def likeness_of(message: Message, ids: Ids) -> int:
    """Return in what a request without qop must be like the one whose response it has.

    Without qop, equal method, uri and nonce give an equal response (RFC 2069; kamailio's
    sample configuration asks so). An honest client repeats it when it refreshes a
    registration, calls the same number again, or writes once more. Its call and its words
    may be new; who it is, where it is, and where its media goes may not.
    """
    parties = (ids.from_.uri.raw, ids.to.uri.raw, message.uri)
    return hash((parties, _places(message, ids), _media_hosts(message)))


def _places(message: Message, ids: Ids) -> tuple[tuple[bytes, int], ...]:
    """Return where the sender can be reached.

    Some phones remove all bindings (``*``) or ask for them before they register; where they
    name no place, the Via does.
    """
    places = [(contact.uri.host, contact.uri.port) for contact in message.contacts]
    if not places:
        places = [(ids.via.host, ids.via.port)]
    return tuple([(host, port or DEFAULT_PORT) for host, port in places])


def _media_hosts(message: Message) -> tuple[bytes, ...]:
    hosts: list[bytes] = []
    for body in message.sdp_bodies:
        try:
            hosts += [media.address for media in parse_sdp(body).media]
        except HostileInput:
            return (body,)
    return tuple(hosts)


class Repetition:
    """One request whose response is known already."""

    def __init__(
        self,
        known: Response,
        message: Message,
        ids: Ids,
        packet: Packet,
        now_s: float,
        *,
        taken: bool,
    ) -> None:
        self.known = known
        self._taken = taken  # the request that was known answered by a 2xx, or long ago
        self._message = message
        self._ids = ids
        self._packet = packet
        self._now_s = now_s
        self._same_call = known.call == call_of(ids)
        self._same_source = known.source == packet.src
        self._same_content = known.content == content_of(message, ids)

    @property
    def is_copy(self) -> bool:
        """Whether it is the same request on another leg."""
        return self._same_call and self._same_content and self._ids.cseq == self.known.cseq

    @property
    def is_passed_on(self) -> bool:
        """Whether the host that got it sends it onward, changed (a proxy for NAT, an SBC)."""
        return self.known.passes_on(self._packet.src, self._packet.dst, self._now_s)

    def is_later(self, credentials: Credentials, *, in_dialog: bool) -> bool:
        """Whether the same client may have sent it as a later request of its own."""
        if not self._same_source:
            return False
        if self._same_call and self._ids.cseq > self.known.cseq:
            if in_dialog or self._is_retry():
                return True
        elif self._same_call:
            return False
        return not credentials.qop and self.known.likeness == likeness_of(self._message, self._ids)

    def _is_retry(self) -> bool:
        """RFC 3261 section 8.1.3.5: refused, it comes again with the next CSeq (DIG-11).

        A client that has to satisfy two realms may copy the credentials of the first.
        """
        return self._same_content and not self._taken

    def judge(self, credentials: Credentials, *, in_dialog: bool, retry: bool) -> Finding | None:
        """Say what is wrong with the response that comes again, ``None`` if nothing is.

        Args:
            credentials: Those of the request.
            in_dialog: It belongs to a dialog that the book of calls knows, from a host of it.
            retry: The replay memory takes it for a fork, a spiral or a failover.
        """
        inputs = inputs_of(credentials, self._message.method)
        if inputs != self.known.inputs:
            # Some clients put the INVITE's credentials into every request of the call.
            is_own = in_dialog and self._same_call and self._same_source
            return _REPEATED if is_own else _OTHER_INPUTS
        if self.is_copy:
            timely = self._now_s - self.known.seen_at_s <= COPY_S
            return None if retry or timely else _TOO_LATE
        if self.is_passed_on:
            return None
        if self.is_later(credentials, in_dialog=in_dialog):
            return _REPEATED if credentials.qop and not self._is_retry() else None
        return Finding(Reason.DIGEST_REPLAY, self._detail(), credentials.user[:128])

    def _detail(self) -> str:
        differences = []
        if not self._same_source:
            differences.append("from another host")
        if not self._same_call:
            differences.append("with another Call-ID or From tag")
        elif self._ids.cseq != self.known.cseq:
            differences.append("with another CSeq")
        if not self._same_content:
            differences.append("with another From, To, Contact or body")
        return "the credentials of an earlier request, " + ", ".join(differences)

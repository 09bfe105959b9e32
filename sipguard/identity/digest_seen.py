"""What passed the gateway of challenges, credentials and their answers (DIG-20, DIG-30, RPL-1).

Everything is bounded: at the bound the oldest goes, and ``forgotten`` counts it. What is
forgotten is judged by the server alone, as if there were no gateway.
"""

from typing import Final

from sipguard.errors import HostileInput
from sipguard.identity.digest_challenge import UNCHALLENGEABLE, offer_of, read_challenges
from sipguard.identity.digest_memory import (
    Aging,
    Asked,
    Issue,
    Offer,
    Outcome,
    Response,
    Shared,
    Window,
)
from sipguard.identity.digest_replay import (
    Repetition,
    call_of,
    content_of,
    inputs_of,
    likeness_of,
    request_of,
)
from sipguard.reason import Finding, Reason
from sipguard.wire.digest import Credentials, Info, parse_credentials, parse_info
from sipguard.wire.message import Ids, Message
from sipguard.wire.packet import Packet

PENDING_S: Final = 240.0  # a request is answered by then: timer C and a margin
SERVER_S: Final = 86400.0
GRACE_S: Final = 300.0  # clients still use nonces from before the start; kamailio's live so long
# Three realms are rare. What is more is not read, so it is refused: a stolen response could
# stand behind a heap of others.
MAX_CREDENTIALS: Final = 8
EXPIRED_AT_ONCE: Final = 250

_CREDENTIALS: Final = (b"authorization", b"proxy-authorization")
_INFO: Final = (b"authentication-info", b"proxy-authentication-info")


class Seen:
    """The tables; it writes down what passed, and answers questions about it."""

    def __init__(self, capacity: int, remember_s: float) -> None:
        # At most 200 MB together with 200,000 responses (measured: 600 octets for each).
        self._responses: Aging[Response] = Aging(capacity, remember_s)
        self._nonces: Aging[Issue] = Aging(capacity // 4, remember_s)
        self._windows: Aging[Window] = Aging(capacity // 4, remember_s)
        self._asked: Aging[Asked] = Aging(capacity // 4, PENDING_S)
        self._servers: Aging[bool] = Aging(capacity // 4, SERVER_S)
        self._offers: Shared[Offer] = Shared()
        self._hosts: Shared[bytes] = Shared()
        self._began_s = -1.0

    def __len__(self) -> int:
        return len(self._responses)

    @property
    def forgotten(self) -> int:
        """How much had to go for lack of room."""
        tables = (self._nonces, self._windows, self._asked, self._responses, self._servers)
        return sum(table.forgotten for table in tables)

    def expire(self, now_s: float) -> None:
        """Forget some of what is too old; the rest next time, so that no call waits for it."""
        for table in (self._nonces, self._windows, self._asked, self._responses, self._servers):
            table.expire(now_s, EXPIRED_AT_ONCE)

    def begin(self, now_s: float) -> None:
        """Note when the first message was seen."""
        if self._began_s < 0:
            self._began_s = now_s

    # --- questions

    def issue_of(self, nonce: bytes, now_s: float) -> Issue | None:
        """Return how a nonce was issued."""
        return self._nonces.get(hash(nonce), now_s)

    def knows_all_nonces(self, now_s: float) -> bool:
        """Whether a nonce that is not known was never issued here."""
        return now_s - self._began_s > GRACE_S and not self._nonces.has_forgotten(now_s)

    def response_of(self, response: bytes, now_s: float) -> Response | None:
        """Return the request that a response came with."""
        return self._responses.get(hash(response), now_s)

    def repetition_of(
        self, known: Response, message: Message, ids: Ids, packet: Packet, now_s: float
    ) -> Repetition:
        """Return what repeats the response of *known*."""
        request = hash((known.call, known.cseq, message.method))
        asked = self._asked.get(request, now_s)
        taken = asked is None or asked.outcome is Outcome.TAKEN
        return Repetition(known, message, ids, packet, now_s, taken=taken)

    def has_counted(self, credentials: Credentials, packet: Packet, now_s: float) -> bool:
        """Whether a request with this nonce count was accepted (DIG-23)."""
        window = self._windows.get(_window_of(credentials, packet), now_s)
        return window is not None and window.is_used(credentials.nonce_count)

    def realms_of(self, ids: Ids, now_s: float) -> tuple[int, ...]:
        """Return the realms for which the request that is answered had credentials."""
        asked = self._asked.get(request_of(ids), now_s)
        return () if asked is None else asked.realms

    def serves(self, server: bytes, client: bytes, now_s: float) -> bool:
        """Whether *client* registers at *server*."""
        return self._servers.get(hash((server, client)), now_s) is not None

    # --- responses that passed

    def challenged(self, message: Message, ids: Ids, packet: Packet, now_s: float) -> None:
        """Remember the nonces of a 401 or 407, their terms, and who was asked."""
        self.begin(now_s)
        if ids.method in UNCHALLENGEABLE:
            return
        issued: dict[int, list[Offer]] = {}
        asked = self._asked.get(request_of(ids), now_s)
        for challenge in read_challenges(message)[0]:
            offer = self._offers[offer_of(challenge)]
            issued.setdefault(hash(challenge.nonce), []).append(offer)
            if asked is not None:
                self._forget_refused(asked, offer.realm)
        for nonce, offers in issued.items():
            issue = self._nonces.get(nonce, now_s) or Issue()
            issue.add(tuple(offers), packet.dst)
            self._nonces.put(nonce, issue, now_s)
        self._note_server(ids, packet, now_s)

    def _forget_refused(self, asked: Asked, realm: int) -> None:
        """What the server refused is worth nothing to a thief, and a flood of it takes no room."""
        for its_realm, response in zip(asked.realms, asked.responses, strict=True):
            if its_realm == realm:
                self._responses.remove(response)

    def answered(
        self, message: Message, ids: Ids, packet: Packet, now_s: float
    ) -> tuple[Finding, ...]:
        """Note a response to a request with credentials.

        Only a final one uses nonce counts up, and only if it is no 401 or 407: a forger whose
        request the server refused has used none (DIG-27).
        """
        status = message.status
        asked = self._asked.get(request_of(ids), now_s)
        if asked is None or status < 200:
            return ()
        if status not in (401, 407):
            for key, count in asked.counts:
                window = self._windows.get(key, now_s) or Window()
                window.use(count)
                self._windows.put(key, window, now_s)
            asked.counts = ()
        if status >= 300:
            asked.outcome = max(asked.outcome, Outcome.FAILED)
            return ()
        asked.outcome = Outcome.TAKEN
        self._note_server(ids, packet, now_s)
        return self._hear_info(message, asked, packet, now_s)

    def _note_server(self, ids: Ids, packet: Packet, now_s: float) -> None:
        if ids.method == b"REGISTER":
            self._servers.put(hash((packet.src, packet.dst)), True, now_s)

    def _hear_info(
        self, message: Message, asked: Asked, packet: Packet, now_s: float
    ) -> tuple[Finding, ...]:
        findings = []
        for value in [value for name in _INFO for value in message.values(name)]:
            try:
                info = parse_info(value)
            except HostileInput as error:
                findings.append(error.finding())
                continue
            if info.cnonce and _echo_of(info) not in asked.echoes:
                detail = "Authentication-Info repeats another cnonce, nc or qop"
                findings.append(Finding(Reason.DIGEST_ECHO, detail))
            elif info.nextnonce:
                self._issue_next(hash(info.nextnonce), asked, packet, now_s)
        return tuple(findings)

    def _issue_next(self, nonce: int, asked: Asked, packet: Packet, now_s: float) -> None:
        """The next nonce comes under the terms of the one before (DIG-30)."""
        issue = self._nonces.get(nonce, now_s) or Issue()
        for number in asked.nonces:
            before = self._nonces.get(number, now_s)
            if before is not None:
                issue.add(before.offers, packet.dst)
        issue.is_full = issue.is_full or not issue.offers  # nobody saw the terms
        self._nonces.put(nonce, issue, now_s)

    # --- requests that passed

    def accepted(self, message: Message, ids: Ids, packet: Packet, now_s: float) -> None:
        """Remember the responses of a request.

        A thief's request that passed after all (in shadow mode, say) changes nothing: the
        response stays the one of its first sender.
        """
        if message.method in UNCHALLENGEABLE:
            return
        given = readable_credentials(message)
        if not given:
            return
        asked = self._asked.get(request_of(ids), now_s) or Asked()
        asked.realms = tuple([hash(credentials.realm) for credentials in given])
        asked.nonces = tuple([hash(credentials.nonce) for credentials in given])
        asked.responses = tuple([hash(credentials.response) for credentials in given])
        asked.echoes = tuple([_echo_of(credentials) for credentials in given])
        new = [c for c in given if c.qop and self.response_of(c.response, now_s) is None]
        asked.counts += tuple([(_window_of(c, packet), c.nonce_count) for c in new])
        self._asked.put(request_of(ids), asked, now_s)
        for credentials in given:
            self._remember(credentials, message, ids, packet, now_s)

    def _remember(
        self, credentials: Credentials, message: Message, ids: Ids, packet: Packet, now_s: float
    ) -> None:
        key = hash(credentials.response)
        inputs = inputs_of(credentials, message.method)
        known = self._responses.get(key, now_s)
        if known is not None:
            again = self.repetition_of(known, message, ids, packet, now_s)
            if again.is_copy or again.is_passed_on:
                known.goes(packet.src, packet.dst)
                return
            in_dialog = bool(ids.to_tag)
            if inputs != known.inputs or not again.is_later(credentials, in_dialog=in_dialog):
                return
        hosts = self._hosts
        response = Response(inputs, hosts[packet.src], hosts[packet.dst], now_s)
        response.call = call_of(ids)
        response.cseq = ids.cseq
        response.content = content_of(message, ids)
        response.likeness = 0 if credentials.qop else likeness_of(message, ids)
        self._responses.put(key, response, now_s)


def credential_values(message: Message) -> list[bytes]:
    """Return the values of both headers; each realm has one (DIG-7)."""
    return [value for name in _CREDENTIALS for value in message.values(name)]


def readable_credentials(message: Message) -> list[Credentials]:
    """Return the Digest credentials that can be read and have a response."""
    readable = []
    for value in credential_values(message)[:MAX_CREDENTIALS]:
        try:
            credentials = parse_credentials(value)
        except HostileInput:
            continue
        if credentials.response:
            readable.append(credentials)
    return readable


def _window_of(credentials: Credentials, packet: Packet) -> int:
    """Return whose nonce counts these are.

    The host counts as well: a server may give one nonce to all who ask in the same second,
    and two telephones of one account begin both with 1. A thief gains nothing by that: with
    another count he would need another response.
    """
    return hash((credentials.nonce, credentials.realm, credentials.user, packet.src))


def _echo_of(said: Credentials | Info) -> int:
    return hash((said.qop, said.cnonce, said.nc))

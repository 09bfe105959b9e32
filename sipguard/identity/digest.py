"""Digest credentials, judged by one who stands between (RFC 3261 section 22, DIG-20 to DIG-31).

Whether the response is right knows only who holds H(A1). But much can be told without: that
nobody issued the nonce, that the challenge is not repeated as it was, that a nonce count was
used before, and above all that a response was heard once already under another request. Then
a thief sends it. A digest speaks for its one message, never for the host that sent it (DIG-12).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from sipguard.errors import HostileInput
from sipguard.evidence import Evidence, State
from sipguard.identity.digest_challenge import UNCHALLENGEABLE, faults_of, read_challenges
from sipguard.identity.digest_memory import Offer
from sipguard.identity.digest_proof import Proof, Secrets, Verifier, is_strong
from sipguard.identity.digest_replay import call_of
from sipguard.identity.digest_seen import MAX_CREDENTIALS, Seen, credential_values
from sipguard.identity.shown import shown
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.digest import (
    AUTH_INT,
    Credentials,
    find_responses,
    parse_credentials,
    scheme_of,
)
from sipguard.wire.message import Ids, Message
from sipguard.wire.packet import Packet
from sipguard.wire.uri import Uri, parse_uri, uri_equal

REMEMBER_S: Final = 3600.0  # registrars let a nonce live for minutes, few for an hour
CAPACITY: Final = 200_000

_NOBODY: Final[Mapping[tuple[bytes, bytes], frozenset[bytes]]] = MappingProxyType({})
_NO_SECRETS: Final[Secrets] = MappingProxyType({})
_ABSENT: Final = Evidence(State.ABSENT)
_SEALED: Final = ("tls", "wss")
_TOO_MANY: Final = Finding(
    Reason.DIGEST_REPLAY, "more credentials than sipguard reads: a stolen one could be among them"
)
_BROKEN_COPY: Final = Finding(
    Reason.DIGEST_REPLAY, "the response of an earlier request, in credentials that are malformed"
)


class DigestSettings(NamedTuple):
    """What the policy wants of digests.

    ``callers`` maps an account to the From users it may call under (DIG-25); an account that
    is not in it may use its own name. It matters where H(A1) is given.
    """

    min_algorithm: bytes = b""  # or b"sha-256"
    ha1: Secrets = _NO_SECRETS
    require_auth_int: bool = False
    strict_nonce: bool = False
    callers: Mapping[tuple[bytes, bytes], frozenset[bytes]] = _NOBODY


class _Exam:
    """One message under examination, with what was found so far."""

    def __init__(self, message: Message, ids: Ids, packet: Packet, now_s: float) -> None:
        self.message = message
        self.ids = ids
        self.packet = packet
        self.now_s = now_s
        self.notes: list[Finding] = []
        self.faults: list[Finding] = []
        self.seen = 0
        self.proven: Credentials | None = None

    @property
    def is_first_hop(self) -> bool:
        """Whether it comes from the client itself."""
        return len(self.message.vias) == 1

    def note(self, reason: Reason, detail: str = "") -> None:
        """Add what changes nothing."""
        self.notes.append(Finding(reason, detail))

    def evidence(self, signer: bytes) -> Evidence:
        """Return what all credentials of the message say together."""
        notes = tuple(self.notes)
        if self.faults:
            replays = [fault for fault in self.faults if fault.reason is Reason.DIGEST_REPLAY]
            return Evidence(State.FAILED, (replays or self.faults)[0], notes=notes)
        if not self.seen:
            return _ABSENT
        if self.proven is None:
            return Evidence(State.UNKNOWN, notes=notes)
        covers: tuple[bytes, ...] = (b"method", b"request-uri")
        if self.proven.qop == AUTH_INT:
            covers += (b"body", b"sdp") if self.message.sdp_bodies else (b"body",)
        return Evidence(State.VALID, notes=notes, signer=signer, covers=covers)


class Digests:
    """Judges credentials by the policy's settings and by what was seen before."""

    def __init__(
        self,
        settings: DigestSettings | None = None,
        *,
        capacity: int = CAPACITY,
        remember_s: float = REMEMBER_S,
    ) -> None:
        self._seen = Seen(capacity, remember_s)
        self.configure(settings or DigestSettings())

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def forgotten(self) -> int:
        """How much was forgotten for lack of room."""
        return self._seen.forgotten

    def configure(self, settings: DigestSettings) -> None:
        """Judge by other settings from now on; what was seen stays."""
        self._settings = settings
        self._verifier = Verifier(settings.ha1)

    def expire(self, now: Moment) -> None:
        """Forget some of what is too old."""
        self._seen.expire(now.monotonic_s)

    # --- what the guard tells

    def faults_of_challenge(self, message: Message, ids: Ids, now: Moment) -> tuple[Finding, ...]:
        """Say what is wrong with a 401 or 407; changes nothing.

        That it answers credentials, and not because of a stale nonce, is a failed login
        (DIG-27): ``DIGEST_WRONG``.
        """
        findings = faults_of(message, ids.method, wants_strong=bool(self._settings.min_algorithm))
        realms = self._seen.realms_of(ids, now.monotonic_s)
        if realms:
            for challenge in read_challenges(message)[0]:
                if hash(challenge.realm) in realms and not challenge.is_stale:
                    detail = "the server asks again, and not for a stale nonce"
                    findings.append(Finding(Reason.DIGEST_WRONG, detail))
        return tuple(findings)

    def challenged(self, message: Message, ids: Ids, packet: Packet, now: Moment) -> None:
        """Remember the challenges of a 401 or 407 that passes (DIG-20)."""
        self._seen.challenged(message, ids, packet, now.monotonic_s)

    def answered(
        self, message: Message, ids: Ids, packet: Packet, now: Moment
    ) -> tuple[Finding, ...]:
        """Note a response to a request with credentials; a 2xx may bring a new nonce (DIG-30)."""
        return self._seen.answered(message, ids, packet, now.monotonic_s)

    def accepted(self, message: Message, ids: Ids, packet: Packet, now: Moment) -> None:
        """Remember the responses of a request that passed (RPL-1)."""
        self._seen.accepted(message, ids, packet, now.monotonic_s)

    def serves(self, server: bytes, client: bytes, now: Moment) -> bool:
        """Whether *client* registers at *server*, which may ask it for a password at any time."""
        return self._seen.serves(server, client, now.monotonic_s)

    # --- credentials

    def examine(
        self,
        message: Message,
        ids: Ids,
        packet: Packet,
        now: Moment,
        *,
        in_dialog: bool,
        retry: bool = False,
    ) -> Evidence:
        """Judge all credentials of a request; changes nothing.

        Args:
            message: The request.
            ids: Its identifiers.
            packet: What brought it.
            now: The time.
            in_dialog: It belongs to a dialog that is known, and comes from a host of it.
            retry: The replay memory takes it for a fork, a spiral or a failover (RPL-3).

        Returns:
            FAILED with ``DIGEST_REPLAY`` for a stolen response, or with the first other
            fault; VALID where H(A1) is known and the response right; ABSENT without Digest
            or Basic credentials; else UNKNOWN.
        """
        self._seen.begin(now.monotonic_s)
        exam = _Exam(message, ids, packet, now.monotonic_s)
        values = credential_values(message)
        if len(values) > MAX_CREDENTIALS:
            return Evidence(State.FAILED, _TOO_MANY)
        for value in values:
            self._examine_value(exam, value, in_dialog, retry)
        signer = b""
        if exam.proven is not None:
            signer = self._verifier.user_of(exam.proven) + b"@" + exam.proven.realm
        return exam.evidence(signer)

    def _examine_value(self, exam: _Exam, value: bytes, in_dialog: bool, retry: bool) -> None:
        try:
            credentials = parse_credentials(value)
        except HostileInput as error:
            self._examine_broken(exam, value, error)
            return
        if not credentials.response:
            return  # says who, and proves nothing (IMS, DIG-4)
        exam.seen += 1
        if exam.message.method in UNCHALLENGEABLE:
            self._examine_copied(exam, credentials)
            return
        exam.notes += credentials.findings
        fault = (
            self._fault_of_repetition(exam, credentials, in_dialog, retry)
            or self._fault_of_challenge(exam, credentials)
            or _fault_of_uri(exam, credentials)
            or self._fault_of_strength(exam, credentials)
            or self._fault_of_proof(exam, credentials)
        )
        if fault is not None:
            exam.faults.append(fault)

    def _examine_broken(self, exam: _Exam, value: bytes, error: HostileInput) -> None:
        """Another scheme is not our business; but a server may read what we refuse to read.

        So a stolen response is known again, however it is wrapped.
        """
        known = (self._seen.response_of(found, exam.now_s) for found in find_responses(value))
        if any(response is not None for response in known):
            exam.faults.append(_BROKEN_COPY)
        if scheme_of(value) in (b"digest", b"basic"):
            exam.faults.append(error.finding())

    def _examine_copied(self, exam: _Exam, credentials: Credentials) -> None:
        """ACK and CANCEL repeat the INVITE's credentials and prove nothing themselves (TXN-8)."""
        known = self._seen.response_of(credentials.response, exam.now_s)
        if known is None or known.call != call_of(exam.ids):
            exam.note(Reason.DIGEST_ECHO, "other credentials than its INVITE's")

    def _fault_of_repetition(
        self, exam: _Exam, credentials: Credentials, in_dialog: bool, retry: bool
    ) -> Finding | None:
        known = self._seen.response_of(credentials.response, exam.now_s)
        if known is not None:
            repetition = self._seen.repetition_of(
                known, exam.message, exam.ids, exam.packet, exam.now_s
            )
            return repetition.judge(credentials, in_dialog=in_dialog, retry=retry)
        if credentials.qop and self._seen.has_counted(credentials, exam.packet, exam.now_s):
            return Finding(Reason.DIGEST_COUNT, "", credentials.nc)
        return None

    def _fault_of_challenge(self, exam: _Exam, credentials: Credentials) -> Finding | None:
        """Hold credentials against the challenge that they answer (DIG-20, DIG-21)."""
        issue = self._seen.issue_of(credentials.nonce, exam.now_s)
        if issue is None:
            if self._settings.strict_nonce and self._seen.knows_all_nonces(exam.now_s):
                return Finding(Reason.DIGEST_NONCE)
            exam.note(Reason.DIGEST_NONCE)
            return None
        if exam.is_first_hop and not issue.is_full and exam.packet.src not in issue.clients:
            exam.note(Reason.DIGEST_NONCE, "the challenge went to another host")
        offers = issue.offers_of(hash(credentials.realm))
        _note_what_was_left(exam, credentials, offers)
        differs = "" if issue.is_full else _difference(offers, credentials)
        return Finding(Reason.DIGEST_ECHO, differs) if differs else None

    def _fault_of_strength(self, exam: _Exam, credentials: Credentials) -> Finding | None:
        """Algorithm and protection that the policy wants (DIG-26, DIG-28, DIG-29)."""
        settings = self._settings
        if settings.min_algorithm and not is_strong(credentials.algorithm):
            return Finding(Reason.DIGEST_DOWNGRADE, "the policy wants SHA-256 at least")
        if credentials.qop == AUTH_INT:
            return None
        registers = exam.message.method == b"REGISTER" and exam.packet.transport not in _SEALED
        if settings.require_auth_int and (registers or exam.message.body):
            return Finding(Reason.DIGEST_DOWNGRADE, "the policy wants qop=auth-int")
        if registers:
            exam.note(Reason.DIGEST_UNCOVERED, "To, Contact and Expires of the REGISTER")
        return None

    def _fault_of_proof(self, exam: _Exam, credentials: Credentials) -> Finding | None:
        """Compute the response where H(A1) is known (DIG-31), and say whose it is (DIG-25)."""
        message = exam.message
        proof = self._verifier.verify(credentials, message.method, message.body)
        if proof is Proof.WRONG:
            return Finding(Reason.DIGEST_WRONG, "H(A1) gives another response")
        stranger = self._foreign_caller(exam, credentials)
        if proof is Proof.RIGHT:
            if stranger is not None:
                return stranger
            exam.proven = credentials
        elif stranger is not None:
            exam.notes.append(stranger)
        return None

    def _foreign_caller(self, exam: _Exam, credentials: Credentials) -> Finding | None:
        """Compare the account with From, in a REGISTER with To, which is what is registered."""
        user = self._verifier.user_of(credentials)
        registers = exam.message.method == b"REGISTER"
        caller = _user_of(exam.ids.to.uri if registers else exam.ids.from_.uri)
        allowed = self._settings.callers.get((user, credentials.realm))
        if allowed is None:
            allowed = frozenset((user, user.partition(b"@")[0]))
        if caller in allowed:
            return None
        header = "To" if registers else "From"
        detail = f"{header} says {shown(caller)}, the digest speaks for {shown(user)}"
        return Finding(Reason.DIGEST_USER, detail)


def _note_what_was_left(exam: _Exam, credentials: Credentials, offers: tuple[Offer, ...]) -> None:
    """Note where the client took less than the server offered (DIG-6, DIG-28, DIG-29)."""
    if not is_strong(credentials.algorithm) and any(is_strong(o.algorithm) for o in offers):
        exam.note(Reason.DIGEST_DOWNGRADE, "MD5, where better was offered")
    offered_int = any(AUTH_INT in offer.qops for offer in offers)
    if offered_int and credentials.qop != AUTH_INT and exam.message.body:
        exam.note(Reason.DIGEST_UNCOVERED, "the body, though auth-int was offered (DIG-29)")
    if not credentials.qop and any(offer.qops for offer in offers):
        exam.note(Reason.DIGEST_QOP, "no qop, though the server offered it")


def _difference(offers: tuple[Offer, ...], credentials: Credentials) -> str:
    """Say what of the challenge is not repeated as it was (DIG-21); ``""`` if all is."""
    if not offers:
        return "the nonce was issued for another realm"
    offers = tuple([offer for offer in offers if offer.algorithm == credentials.algorithm])
    if not offers:
        return "an algorithm that was not offered"
    opaque = hash(credentials.opaque)
    if all(offer.opaque != opaque for offer in offers):
        return "opaque is not the challenge's"
    if credentials.qop and all(credentials.qop not in offer.qops for offer in offers):
        return "a qop that was not offered"
    return ""


def _fault_of_uri(exam: _Exam, credentials: Credentials) -> Finding | None:
    """Compare digest-uri and Request-URI; proxies may retarget, so only the first hop (DIG-22)."""
    if _same_resource(credentials.uri, exam.message.request_uri):
        return None
    finding = Finding(Reason.DIGEST_URI, "the digest-uri is not the Request-URI")
    if exam.is_first_hop:
        return finding
    exam.notes.append(finding)
    return None


def _same_resource(raw: bytes, target: Uri | None) -> bool:
    try:
        uri = parse_uri(raw)
    except HostileInput:
        return False
    if target is None:
        return False
    if uri.host and target.host:
        return (_user_of(uri), uri.host) == (_user_of(target), target.host)
    return uri_equal(uri, target)


def _user_of(uri: Uri) -> bytes:
    return unquote_to_bytes(uri.user)

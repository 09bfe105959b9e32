"""Authenticated Identity Bodies (RFC 3893): does the signer stand behind this From?

Cheap questions first: most forgeries fail at the comparison of headers, and a flood of
them must not buy a signature check each. Only what passed everything is written down.
An AIB speaks for the headers that it repeats and for nothing else: neither the session
description nor any other part of the body (AIB-11).
"""

from typing import Final, NamedTuple, final

from sipguard.errors import HostileInput
from sipguard.evidence import Evidence, State
from sipguard.identity.aib_memory import AibMemory, Claim, long_hash, short_hash
from sipguard.identity.aib_notes import contact_note, target_note
from sipguard.identity.aib_parts import Found, find_aibs, hides_something
from sipguard.identity.certificate import Certificate
from sipguard.identity.correlation import Correlation, correlate, spelled
from sipguard.identity.shown import shown
from sipguard.identity.signed import Signed
from sipguard.identity.signer import address_of, speaks_for, who_signed
from sipguard.identity.smime import Verified, verify_signed
from sipguard.identity.trust import Store
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.fields import Address
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message
from sipguard.wire.sipfrag import Sipfrag, parse_sipfrag
from sipguard.wire.uri import aor_key

MAX_VERIFIED: Final = 4  # signatures of one message; an honest one has a single AIB
_REQUIRED: Final = (b"from", b"date", b"call-id", b"contact")
_REQUEST_SHOULD: Final = (b"to", b"cseq")
_RESPONSE_SHOULD: Final = (b"cseq",)
_NOTHING: Final[frozenset[bytes]] = frozenset()
_CSEQ: Final = frozenset((b"cseq",))
_FROM: Final = frozenset((b"from",))
_ABSENT: Final = Evidence(State.ABSENT, Finding(Reason.AIB_ABSENT))


class AibSettings(NamedTuple):
    """What the policy says of AIBs.

    ``max_age_s``: how far Date may lie from now, to both sides (AIB-7). ``remember_s``:
    how long a Call-ID counts as used, at least. ``domain_signers``: a certificate of the
    domain speaks for its users (AIB-5 b).
    """

    max_age_s: int = 600
    remember_s: int = 3600
    legacy_sha1: bool = False
    domain_signers: bool = False


@final
class _Asked:
    """One question: the message, and what is known about it."""

    __slots__ = ("ids", "in_dialog", "message", "now", "packet", "retry")

    def __init__(
        self, message: Message, ids: Ids, packet: Packet, now: Moment, in_dialog: bool, retry: bool
    ) -> None:
        self.message: Final = message
        self.ids: Final = ids
        self.packet: Final = packet
        self.now: Final = now
        self.in_dialog: Final = in_dialog
        self.retry: Final = retry


@final
class _Screened:
    """An AIB that fits its message; its signature is still to be checked.

    ``reused``: it was verified before, earlier in its call, so it need not be fresh (AIB-9 c).
    """

    __slots__ = ("caller", "claim", "correlation", "fragment", "reused")

    def __init__(
        self,
        fragment: Sipfrag,
        caller: Address,
        correlation: Correlation,
        claim: Claim,
        reused: bool,
    ) -> None:
        self.fragment: Final = fragment
        self.caller: Final = caller
        self.correlation: Final = correlation
        self.claim: Final = claim
        self.reused: Final = reused


@final
class _Proven:
    """An AIB that passed everything."""

    __slots__ = ("certificate", "notes", "screened")

    def __init__(
        self, screened: _Screened, certificate: Certificate, notes: tuple[Finding, ...]
    ) -> None:
        self.screened: Final = screened
        self.certificate: Final = certificate
        self.notes: Final = notes


class _Doubted(NamedTuple):
    """An AIB that did not, and why; the deeper, the more of it was right."""

    finding: Finding
    unknown: bool = False
    depth: int = 0


@final
class Aib:
    """Judges the AIBs of messages against one store of certificates."""

    def __init__(self, settings: AibSettings, store: Store, memory: AibMemory) -> None:
        self._settings = settings
        self._store = store
        self._memory = memory
        memory.judge_by(settings.max_age_s, max(settings.remember_s, 2 * settings.max_age_s))

    def examine(
        self,
        message: Message,
        ids: Ids,
        packet: Packet,
        now: Moment,
        *,
        in_dialog: bool = False,
        retry: bool = False,
    ) -> Evidence:
        """Say whether an AIB proves who sent this request, or who answers (AIB-12).

        Args:
            message: A request or response of any method and size (AIB-17, AIB-18).
            ids: Its names.
            packet: Where it came from.
            now: The time, for Date and for the memory.
            in_dialog: It belongs to a dialog that is known.
            retry: It is known for a fork, a spiral or an honest second try (RPL-3).
        """
        asked = _Asked(message, ids, packet, now, in_dialog, retry)
        try:
            found = find_aibs(message)
        except HostileInput as error:
            return Evidence(State.FAILED, error.finding())
        if not found:
            if not hides_something(message):
                return _ABSENT
            return _unknown(Reason.AIB_ENCRYPTED, "a part is encrypted, perhaps with an AIB in it")
        proven: list[_Proven] = []
        doubted: list[_Doubted] = []
        for each in found:
            judged = self._judge(each, asked, len(proven) + len(doubted))
            if isinstance(judged, _Proven):
                proven.append(judged)
            else:
                doubted.append(judged)
        if proven:
            return self._conclude(proven, doubted, asked)
        worst = max(doubted, key=lambda each: each.depth)
        return Evidence(State.UNKNOWN if worst.unknown else State.FAILED, worst.finding)

    def _judge(self, found: Found, asked: _Asked, before: int) -> _Proven | _Doubted:
        if found.signed is None and not found.encrypted:
            unsigned = Finding(Reason.AIB_UNSIGNED, "an AIB that nobody signed")
            return _Doubted(found.broken or unsigned)
        if before >= MAX_VERIFIED:
            return _Doubted(Finding(Reason.AIB_SEVERAL, f"more than {MAX_VERIFIED} AIBs"))
        if found.encrypted or found.signed is None:
            return self._judge_encrypted(found, asked)
        try:
            screened = self._screen(found, asked)
        except HostileInput as error:
            return _Doubted(error.finding())
        if isinstance(screened, Finding):
            return _Doubted(screened, depth=1)
        return self._verify(screened, found.signed, asked)

    def _screen(self, found: Found, asked: _Asked) -> _Screened | Finding:
        """Everything that costs little."""
        if found.fault:
            raise HostileInput(Reason.AIB_BAD_FRAGMENT, found.fault)
        fragment = parse_sipfrag(found.octets)
        missing = [spelled(name) for name in _REQUIRED if not fragment.rows(name)]
        if missing:
            return Finding(Reason.AIB_INCOMPLETE, f"the AIB lacks {' and '.join(missing)}")
        fault = _start_fault(asked.message, fragment)
        if fault:
            return Finding(Reason.AIB_MISMATCH, fault)
        leave = _left_out(asked, fragment)
        correlation = correlate(asked.message, fragment, leave, "the AIB")
        if correlation.difference:
            return Finding(Reason.AIB_MISMATCH, correlation.difference, correlation.octets)
        caller = fragment.rows(b"from")[0].addresses[0]
        claim = _claim_of(asked, found, fragment, caller, leave)
        reused = asked.in_dialog and self._memory.holds(claim, asked.now)
        stale = "" if reused else self._stale(claim.date_s, asked.now)
        if stale:
            return Finding(Reason.AIB_STALE, stale, fragment.header(b"date") or b"")
        if asked.message.is_request:
            replay = self._memory.look(
                claim, asked.now, in_dialog=asked.in_dialog, retry=asked.retry
            )
            if replay is not None:
                return replay
        return _Screened(fragment, caller, correlation, claim, reused)

    def _stale(self, date_s: int, now: Moment) -> str:
        """AIB-7, to both sides."""
        age_s = now.utc_s - date_s
        if abs(age_s) <= self._settings.max_age_s:
            return ""
        limit = f"more than the {self._settings.max_age_s} s that the policy allows"
        return f"Date is {abs(age_s):.0f} s {'old' if age_s > 0 else 'ahead'}, {limit}"

    def _verify(self, screened: _Screened, signed: Signed, asked: _Asked) -> _Proven | _Doubted:
        uri = screened.caller.uri
        max_age_s = 0 if screened.reused else self._settings.max_age_s
        verified = self._checked(signed, (uri.user, uri.host), asked.now, max_age_s)
        certificate, finding = verified.certificate, verified.finding
        if finding is not None or certificate is None:
            finding = finding or Finding(Reason.NO_SIGNER_CERTIFICATE)
            finding = self._memory.keyring.second_look(finding, certificate, signed, uri, asked.now)
            return _Doubted(finding, verified.unknown, depth=2)
        if not speaks_for(certificate, uri, domains=self._settings.domain_signers):
            detail = who_signed("From", uri, certificate)
            return _Doubted(Finding(Reason.AIB_WRONG_SIGNER, detail), depth=2)
        if not certificate.not_before_s <= screened.claim.date_s <= certificate.not_after_s:
            detail = "Date lies outside the life of the certificate"
            return _Doubted(Finding(Reason.AIB_STALE, detail), depth=2)
        return _Proven(screened, certificate, verified.notes)

    def _checked(
        self, signed: Signed, user: tuple[bytes, bytes], now: Moment, max_age_s: int
    ) -> Verified:
        return verify_signed(
            signed,
            self._store,
            now.utc_s,
            legacy_sha1=self._settings.legacy_sha1,
            max_age_s=max_age_s,
            user=user if user[0] else None,
        )

    def _judge_encrypted(self, found: Found, asked: _Asked) -> _Doubted:
        """AIB-13: what is encrypted is never compared, so it proves nothing, signed or not."""
        if found.signed is None:
            detail = "the AIB is encrypted, signature and all"
            return _Doubted(Finding(Reason.AIB_ENCRYPTED, detail), unknown=True)
        uri = asked.ids.from_.uri if asked.message.is_request else asked.ids.to.uri
        max_age_s = self._settings.max_age_s
        verified = self._checked(found.signed, (uri.user, uri.host), asked.now, max_age_s)
        certificate = verified.certificate
        if verified.finding is not None or certificate is None:
            finding = verified.finding or Finding(Reason.NO_SIGNER_CERTIFICATE)
            return _Doubted(finding, verified.unknown, depth=2)
        if asked.message.is_request and not speaks_for(
            certificate, uri, domains=self._settings.domain_signers
        ):
            detail = who_signed("From", uri, certificate)
            return _Doubted(Finding(Reason.AIB_WRONG_SIGNER, detail), depth=2)
        # Anybody can sign somebody else's ciphertext, so the signer is not reported as such.
        detail = f"signed by {shown(address_of(certificate.named))}, its headers are encrypted"
        return _Doubted(Finding(Reason.AIB_ENCRYPTED, detail), unknown=True, depth=2)

    def _conclude(self, proven: list[_Proven], doubted: list[_Doubted], asked: _Asked) -> Evidence:
        signers = dict.fromkeys([each.certificate.named for each in proven])
        if len(signers) > 1:
            names = " and ".join(shown(address_of(name)) for name in signers)
            finding = Finding(Reason.AIB_SEVERAL, f"{names} have both signed an AIB for this")
            return Evidence(State.FAILED, finding)
        first = proven[0]
        screened, certificate, notes = first.screened, first.certificate, first.notes
        notes += _notes_on(screened, asked) + tuple([each.finding for each in doubted])
        if asked.message.is_request:
            signer = short_hash(certificate.der)
            if self._memory.remember(screened.claim, signer, asked.now):
                detail = "another certificate than before signs in this call"
                notes += (Finding(Reason.SIGNER_CHANGED, detail),)
        covers = _covers(screened, asked)
        return Evidence(State.VALID, notes=notes, signer=certificate.named, covers=covers)


def _unknown(reason: Reason, detail: str) -> Evidence:
    return Evidence(State.UNKNOWN, Finding(reason, detail))


def _start_fault(message: Message, fragment: Sipfrag) -> str:
    """Say what speaks against the fragment as a whole; hops may change the Request-URI."""
    if not message.is_request and fragment.rows(b"to"):
        return "the AIB of a response carries To, which RFC 3893 section 6 forbids"
    start = fragment.start
    if start is None:
        return ""
    ours = message.method if message.is_request else b"%d" % message.status
    signed = start.method if start.is_request else b"%d" % start.status
    if start.is_request == message.is_request and ours == signed:
        return ""
    return f"the start line says {shown(ours)}, the AIB {shown(signed)}"


def _left_out(asked: _Asked, fragment: Sipfrag) -> frozenset[bytes]:
    """What is not compared with the header of its own name.

    From of a response is the one who answers (AIB-12). One AIB may serve a whole call,
    whose later requests count on (AIB-9 c).
    """
    if not asked.message.is_request:
        return _FROM
    rows = fragment.rows(b"cseq")
    cseq = rows[0].cseq if rows else None
    if asked.in_dialog and cseq is not None and cseq.number < asked.ids.cseq:
        return _CSEQ
    if asked.in_dialog and asked.message.method == b"ACK" and cseq == (asked.ids.cseq, b"INVITE"):
        return _CSEQ
    return _NOTHING


def _claim_of(
    asked: _Asked, found: Found, fragment: Sipfrag, caller: Address, leave: frozenset[bytes]
) -> Claim:
    ids = asked.ids
    return Claim(
        long_hash(ids.call_id, aor_key(caller.uri)),
        long_hash(found.octets),
        short_hash(ids.branch, asked.packet.src),
        short_hash(ids.from_tag),
        ids.cseq,
        asked.message.method,
        fragment.rows(b"date")[0].number,
        bool(fragment.rows(b"cseq")) and leave != _CSEQ,
        bool(caller.tag),
    )


def _is_answered_by_callee(screened: _Screened, asked: _Asked) -> bool:
    return aor_key(screened.caller.uri) == aor_key(asked.ids.to.uri)


def _covers(screened: _Screened, asked: _Asked) -> tuple[bytes, ...]:
    """Name the headers that the signature speaks for; of a response, To is the signer's."""
    covers = screened.correlation.covers
    if not asked.message.is_request and _is_answered_by_callee(screened, asked):
        return (b"to", *covers)
    return covers


def _notes_on(screened: _Screened, asked: _Asked) -> tuple[Finding, ...]:
    fragment, message = screened.fragment, asked.message
    notes = [Finding(Reason.AIB_UNCOMPARED, text) for text in screened.correlation.alone]
    wanted = _REQUEST_SHOULD if message.is_request else _RESPONSE_SHOULD
    thin = [spelled(name) for name in wanted if not fragment.rows(name)]
    if thin:
        notes.append(Finding(Reason.AIB_THIN, f"the AIB lacks {' and '.join(thin)}"))
    foreign = contact_note(message, screened.caller.uri, asked.packet)
    if foreign:
        notes.append(Finding(Reason.AIB_FOREIGN_CONTACT, foreign))
    target = _retargeted(screened, asked)
    if target:
        notes.append(Finding(Reason.AIB_RETARGETED, target))
    return tuple(notes)


def _retargeted(screened: _Screened, asked: _Asked) -> str:
    """AIB-10, AIB-12: legitimate, and worth knowing."""
    if not asked.message.is_request:
        if _is_answered_by_callee(screened, asked):
            return ""
        answers = shown(screened.caller.uri.raw)
        return f"{answers} answers, To says {shown(asked.ids.to.uri.raw)}"
    to = screened.fragment.rows(b"to")
    if not to or asked.in_dialog:
        return ""
    return target_note(asked.message, to[0].addresses[0].uri)

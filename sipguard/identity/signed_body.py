"""Signed session descriptions and tunneled messages (RFC 3261 section 23.4; SMI-32 to SMI-35).

Other than an AIB, a signature here may speak for the session description: only for the
one inside the signed part, and only if whatever stands outside is the same. AIBs are
``aib``'s business and count for nothing here.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, final

from sipguard.errors import HostileInput
from sipguard.evidence import Evidence, State
from sipguard.identity.aib_parts import AIB, FRAGMENT, hides_something
from sipguard.identity.correlation import correlate, spelled
from sipguard.identity.sdp_relay import address_octets, compare_sdp
from sipguard.identity.shown import shown
from sipguard.identity.signed import Signed, find_signed
from sipguard.identity.signer import address_of, speaks_for, who_signed
from sipguard.identity.smime import verify_signed
from sipguard.identity.trust import Store
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.multipart import Part, sessions, walk
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message
from sipguard.wire.sipfrag import Sipfrag, parse_sipfrag

_SDP: Final = b"application/sdp"
_COPIES: Final = (b"message/sip", FRAGMENT)
_CARRIERS: Final = (b"multipart/", b"application/")
_REQUIRED: Final = (b"to", b"from", b"call-id", b"cseq")
_NOTHING: Final[frozenset[bytes]] = frozenset()
_ABSENT: Final = Evidence(State.ABSENT)
# Beside a graver finding, or a wrong signature would let an encrypted session pass for a plain one.
_HIDDEN: Final = (Finding(Reason.ENCRYPTED_BODY),)
# RFC 3261 section 20: a difference in one of these breaks the seal, in others it is ignored.
_KNOWN: Final = frozenset(
    b"accept accept-encoding accept-language alert-info allow authentication-info authorization"
    b" call-id call-info contact cseq date error-info expires from in-reply-to max-forwards"
    b" min-expires organization priority proxy-authenticate proxy-require record-route reply-to"
    b" require retry-after route server subject supported timestamp to unsupported user-agent via"
    b" warning www-authenticate".split()
)


class _Body(NamedTuple):
    """What one signature covers, read: descriptions, and at most one copy of the message."""

    signed: Signed
    sdps: tuple[bytes, ...]
    copy: Sipfrag | None


class _Judged(NamedTuple):
    """What one signature is worth."""

    finding: Finding | None
    unknown: bool = False
    notes: tuple[Finding, ...] = ()
    covers: tuple[bytes, ...] = ()
    named: bytes = b""


@final
class SignedBodies:
    """Judges signed bodies against one store of certificates.

    ``max_age_s``: how far signing time, or the Date of a signed copy, may lie from now.
    """

    def __init__(self, store: Store, legacy_sha1: bool, max_age_s: int) -> None:
        self._store = store
        self._legacy_sha1 = legacy_sha1
        self._max_age_s = max_age_s

    def examine(
        self,
        message: Message,
        ids: Ids,
        packet: Packet,
        now: Moment,
        relays: Callable[[bytes], bool],
    ) -> Evidence:
        """Say what the message's signed bodies prove.

        ``covers`` names ``sdp`` where the session description is the signed one, the
        headers of a signed copy of the message, and ``body`` for anything else.

        Args:
            message: A request or response.
            ids: Its names.
            packet: Where it came from.
            now: The time.
            relays: Whether an address (4 or 16 octets) is a media relay's.
        """
        if not message.body or not message.content_type.startswith(_CARRIERS):
            return _ABSENT
        content_type = message.header(b"content-type") or b""
        hidden = hides_something(message)
        try:
            bodies = [_read(signed) for signed in find_signed(content_type, message.body)]
        except HostileInput as error:
            finding = Finding(Reason.BAD_SIGNED_BODY, error.detail)
            return Evidence(State.FAILED, finding, notes=_HIDDEN * hidden)
        bodies = [body for body in bodies if not _is_aib(body.signed)]
        if not bodies:
            return _encrypted("") if hidden else _ABSENT
        judged = [self._judge(body, message, ids, packet, now, relays) for body in bodies]
        wrong = next((each for each in judged if each.finding is not None), None)
        if wrong is not None:
            state = State.UNKNOWN if wrong.unknown else State.FAILED
            return Evidence(state, wrong.finding, notes=wrong.notes + _HIDDEN * hidden)
        notes = tuple([note for each in judged for note in each.notes])
        covers = tuple(dict.fromkeys([name for each in judged for name in each.covers]))
        if hidden:
            return _encrypted(f", signed by {shown(address_of(judged[0].named))}")
        return Evidence(State.VALID, notes=notes, signer=judged[0].named, covers=covers)

    def _judge(
        self,
        body: _Body,
        message: Message,
        ids: Ids,
        packet: Packet,
        now: Moment,
        relays: Callable[[bytes], bool],
    ) -> _Judged:
        """Hold one signed body against the message, then verify it: cheap things first."""
        covers: tuple[bytes, ...] = ()
        notes: tuple[Finding, ...] = ()
        if body.copy is not None:
            finding, covers, notes = self._compare_copy(message, body.copy, now)
            if finding is not None:
                return _Judged(finding)
        if body.sdps:
            finding = _compare_sessions(message.sdp_bodies, body.sdps, packet, relays)
            if finding is not None and finding.reason is not Reason.SDP_RELAYED:
                return _Judged(finding)
            notes += () if finding is None else (finding,)
            covers += (b"sdp",)
        return self._verify(body.signed, message, ids, now, covers or (b"body",), notes)

    def _compare_copy(
        self, message: Message, copy: Sipfrag, now: Moment
    ) -> tuple[Finding | None, tuple[bytes, ...], tuple[Finding, ...]]:
        """SMI-34."""
        missing = [spelled(name) for name in _REQUIRED if not copy.rows(name)]
        if missing:
            detail = f"the signed copy lacks {' and '.join(missing)}"
            return Finding(Reason.INNER_DIFFERS, detail), (), ()
        start = copy.start
        if start is not None:
            ours = message.method if message.is_request else b"%d" % message.status
            theirs = start.method if start.is_request else b"%d" % start.status
            if start.is_request != message.is_request or ours != theirs:
                detail = f"the start line says {shown(ours)}, the signed copy {shown(theirs)}"
                return Finding(Reason.INNER_DIFFERS, detail), (), ()
        found = correlate(message, copy, _NOTHING, "the signed copy", known=_KNOWN)
        if found.difference:
            return Finding(Reason.INNER_DIFFERS, found.difference, found.octets), (), ()
        dates = copy.rows(b"date")
        age_s = now.utc_s - dates[0].number if dates else 0.0
        if abs(age_s) > self._max_age_s:
            way = "old" if age_s > 0 else "ahead"
            detail = f"the signed Date is {abs(age_s):.0f} s {way}, {self._max_age_s} s are allowed"
            return Finding(Reason.SIGNING_TIME, detail), (), ()
        return None, found.covers, tuple([Finding(Reason.CMS_ODD, text) for text in found.alone])

    def _verify(
        self,
        signed: Signed,
        message: Message,
        ids: Ids,
        now: Moment,
        covers: tuple[bytes, ...],
        notes: tuple[Finding, ...],
    ) -> _Judged:
        """The signer must be the one who sends: From of a request, To of a response."""
        header, uri = ("From", ids.from_.uri) if message.is_request else ("To", ids.to.uri)
        verified = verify_signed(
            signed,
            self._store,
            now.utc_s,
            legacy_sha1=self._legacy_sha1,
            max_age_s=self._max_age_s,
            user=(uri.user, uri.host) if uri.user else None,
        )
        certificate = verified.certificate
        if verified.finding is not None or certificate is None:
            finding = verified.finding or Finding(Reason.NO_SIGNER_CERTIFICATE)
            return _Judged(finding, verified.unknown, verified.notes)
        if not speaks_for(certificate, uri, domains=False):
            named = certificate.users or not certificate.domains
            reason = Reason.WRONG_SIGNER if named else Reason.WRONG_DOMAIN
            return _Judged(Finding(reason, who_signed(header, uri, certificate)))
        return _Judged(None, False, verified.notes + notes, covers, certificate.named)


def _encrypted(by_whom: str) -> Evidence:
    detail = f"a part is encrypted{by_whom}; nobody here can say what it holds"
    return Evidence(State.UNKNOWN, Finding(Reason.ENCRYPTED_BODY, detail))


def _is_aib(signed: Signed) -> bool:
    part = signed.part
    return part is not None and part.content_type == FRAGMENT and part.disposition == AIB


def _read(signed: Signed) -> _Body:
    """Read what a signature covers; of what cannot be read it covers the octets."""
    part = signed.part
    if part is None or _is_aib(signed):
        return _Body(signed, (), None)
    content = signed.content[part.start : part.end]
    content_type = part.header(b"content-type") or b""
    inside: tuple[Part, ...] = (part.moved(-part.start, 0),)
    if part.content_type.startswith(b"multipart/"):
        inside = walk(content_type, content)
    copies = [
        parse_sipfrag(content[each.start : each.end])
        for each in inside
        if each.content_type in _COPIES and each.disposition != AIB
    ]
    if len(copies) > 1:
        raise HostileInput(Reason.BAD_SIGNED_BODY, "two copies of the message under one signature")
    sdps = sessions(content_type, part.header(b"content-disposition") or b"", content)
    if copies:
        sdps += _sessions_of(copies[0])
    return _Body(signed, sdps, copies[0] if copies else None)


def _sessions_of(copy: Sipfrag) -> tuple[bytes, ...]:
    content_type = copy.header(b"content-type") or b""
    return sessions(content_type, copy.header(b"content-disposition") or b"", copy.body)


def _compare_sessions(
    reachable: tuple[bytes, ...],
    sdps: tuple[bytes, ...],
    packet: Packet,
    relays: Callable[[bytes], bool],
) -> Finding | None:
    """SMI-35: whatever description a UA can reach is the signed one, or a relay's."""
    if len(set(sdps)) > 1:
        return Finding(Reason.SDP_DIFFERS, "two session descriptions under one signature")
    relayed = None
    for ours in reachable:
        change = compare_sdp(ours, sdps[0])
        if change is None:
            continue
        if change.forged:
            return Finding(Reason.SDP_DIFFERS, change.forged)
        names = b" ".join(sorted(change.addresses or change.all_addresses))
        if not _is_by_relay(change.addresses, change.all_addresses, packet, relays):
            detail = f"media goes to {shown(names)}, which the signed copy does not name"
            if not change.addresses:
                detail = f"other ports at {shown(names)} than in the signed copy"
            return Finding(Reason.SDP_DIFFERS, detail)
        detail = f"identity valid, addresses and ports changed by relay {shown(names)}"
        relayed = Finding(Reason.SDP_RELAYED, detail)
    return relayed


def _is_by_relay(
    changed: frozenset[bytes],
    every: frozenset[bytes],
    packet: Packet,
    relays: Callable[[bytes], bool],
) -> bool:
    """Whether a relay changed it.

    Every new address must be a relay's own: where only the packet had to come from one, a
    forged source would send the media anywhere. Where no address is new, either will do.
    """
    if changed:
        return all(_is_relay(text, relays) for text in changed)
    return relays(packet.src) or (bool(every) and all(_is_relay(text, relays) for text in every))


def _is_relay(text: bytes, relays: Callable[[bytes], bool]) -> bool:
    address = address_octets(text)
    return address is not None and relays(address)

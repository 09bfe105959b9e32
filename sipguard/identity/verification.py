"""One PASSporT against one request, in the order of RFC 8224 section 6.2 (STI-3).

1 is its kind supported, 2 whom does the signalling name, 3 the certificate and
its authority, 4 freshness, 5 the signature. The one liberty: before a
certificate is waited for, freshness is looked at, so that a stale token makes
nobody fetch anything.
"""

from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sipguard.errors import HostileInput
from sipguard.evidence import State
from sipguard.identity.authority import Trusted, check_authority
from sipguard.identity.certificate import Certificate, read_certificate
from sipguard.identity.constraints import check_constraints
from sipguard.identity.credentials import Credentials, check_url
from sipguard.identity.judged import Judged, Undecided
from sipguard.identity.passport_claims import (
    Claims,
    check_header,
    compact_payload,
    compact_signed,
    is_kind_consistent,
    odd_notes,
    read_claims,
)
from sipguard.identity.passport_memory import PassportMemory, key_of
from sipguard.identity.profiles import DIVERSIONS, SUPPORTED, check_compact, check_profile
from sipguard.identity.shown import shown
from sipguard.identity.signalling import Signalling
from sipguard.identity.telephone import Party
from sipguard.identity.trust import Purpose, Store
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.message import Ids, Message
from sipguard.wire.packet import Packet
from sipguard.wire.passport import Identity, JsonObject

SIGNATURE_OCTETS: Final = 64  # r and s of P-256, raw (RFC 7518 section 3.4); DER is none
MAX_READINGS: Final = 4  # ways to rebuild a compact form, each costs a verification
_ES256: Final = ec.ECDSA(hashes.SHA256())
# RFC 8862: nobody on the way may stop an msec call for not trusting its signer (STI-42).
_DISTRUST: Final = (Reason.CREDENTIAL_UNTRUSTED, Reason.NO_AUTHORITY)


class Case(NamedTuple):
    """One request under examination, and what is asked about it."""

    message: Message
    ids: Ids
    packet: Packet
    now: Moment
    signalling: Signalling
    is_diverted: bool  # another Identity header is a div
    retry: bool
    in_dialog: bool


class Demands(NamedTuple):
    """What the policy demands of every PASSporT."""

    max_age_s: int
    require_mky: bool
    fetch_private: bool
    trusted: Trusted


class _Reading(NamedTuple):
    """Claims, the payload they came from or that was rebuilt, and the octets signed."""

    claims: Claims
    payload: JsonObject
    signed: bytes
    covers: tuple[bytes, ...] = ()


class Verifier:
    """Judges one PASSporT; changes nothing but the caches below it."""

    def __init__(
        self, demands: Demands, store: Store, credentials: Credentials, memory: PassportMemory
    ) -> None:
        self._demands: Final = demands
        self._store: Final = store
        self._credentials: Final = credentials
        self._memory: Final = memory

    def judge(self, identity: Identity, case: Case, *, nested: bool = False) -> Judged:
        """Return what this PASSporT proves about this request."""
        ppt = identity.ppt
        try:
            return self._judge(identity, case, nested=nested)
        except HostileInput as error:
            trusts_nobody = ppt == "msec" and error.reason in _DISTRUST
            state = State.UNKNOWN if trusts_nobody else State.FAILED
            return Judged(state, error.finding(), ppt, is_nested=nested)
        except Undecided as wait:
            return Judged(wait.state, wait.finding, ppt, wait.wanted, is_nested=nested)

    def _judge(self, identity: Identity, case: Case, *, nested: bool) -> Judged:
        if not is_kind_consistent(identity):
            raise HostileInput(Reason.PASSPORT_HEADER, "the token's ppt is not the one beside it")
        if identity.ppt not in SUPPORTED:
            detail = f"ppt {shown(identity.ppt.encode())}"
            raise Undecided(State.ABSENT, Finding(Reason.UNSUPPORTED_PASSPORT, detail))
        check_header(identity)
        readings = _read(identity, case)
        fits = _check_parties(identity, readings[0].claims, case, nested=nested)
        self._check_keys(readings[0].claims, case.signalling)
        path = self._credential(identity, readings[0].claims, case)
        readings = self._authorized(path, readings)
        self._check_fresh(readings[0].claims, case, path[0])
        reading, key = self._check_signature(identity, readings, case, path[0])
        return Judged(
            State.VALID,
            None,
            identity.ppt,
            # Again: a compact form may turn out to have been signed without mky.
            notes=(
                *odd_notes(identity, reading.claims),
                *self._check_keys(reading.claims, case.signalling),
            ),
            claims=reading.claims,
            signer=path[0].named,
            covers=_covers(reading, case.signalling),
            attest=_attest(identity, reading),
            key=key,
            fits_callee=fits,
            is_nested=nested,
        )

    def _check_keys(self, claims: Claims, signalling: Signalling) -> tuple[Finding, ...]:
        """Hold ``mky`` against the session description (STI-13)."""
        keys = signalling.keys
        if claims.mky is None:
            if not keys:
                return ()
            if self._demands.require_mky:
                detail = "the session description has a fingerprint, the PASSporT no mky"
                raise HostileInput(Reason.PASSPORT_KEY, detail)
            return (Finding(Reason.PASSPORT_NO_KEY),)
        if signalling.is_encrypted:
            raise Undecided(State.UNKNOWN, Finding(Reason.ENCRYPTED_BODY, "mky has nothing to fit"))
        if claims.mky != keys:
            detail = f"{len(claims.mky)} keys in mky, {len(keys)} fingerprints, and they differ"
            raise HostileInput(Reason.PASSPORT_KEY, detail)
        return ()

    def _credential(
        self, identity: Identity, claims: Claims, case: Case
    ) -> tuple[Certificate, ...]:
        """Return the verified chain of the certificate that ``info`` names (STI-15, STI-34)."""
        url = identity.info
        chain = self._credentials.get(url, case.now.utc_s)
        if chain is None or isinstance(chain, Finding):
            self._check_fresh(claims, case, None)
            if chain is not None:
                raise Undecided(State.UNKNOWN, chain)
            why = check_url(url, private=self._demands.fetch_private)
            detail = why or "the certificate is not here"
            finding = Finding(Reason.NO_CREDENTIAL, detail, url.encode("ascii", "replace")[:128])
            raise Undecided(State.UNKNOWN, finding, "" if why else url)
        try:
            leaf = read_certificate(chain[0])
        except HostileInput as error:
            raise HostileInput(Reason.CREDENTIAL_UNTRUSTED, error.detail) from None
        path = self._store.path(leaf, chain[1:], case.now.utc_s, Purpose.STIR)
        if isinstance(path, Finding):
            detail = path.detail or path.reason.sentence
            raise HostileInput(Reason.CREDENTIAL_UNTRUSTED, detail, path.octets)
        return path

    def _authorized(
        self, path: tuple[Certificate, ...], readings: tuple[_Reading, ...]
    ) -> tuple[_Reading, ...]:
        """Return the readings that the certificate may have signed (STI-16, STI-33)."""
        good = []
        why: tuple[State, Finding] | None = None
        for reading in readings:
            party = reading.claims.div or reading.claims.orig
            refusal = check_authority(path, party, self._demands.trusted)
            if refusal is None:
                good.append(reading)
            why = why or refusal
        if not good and why is not None:
            state, finding = why
            if state is State.UNKNOWN:
                raise Undecided(state, finding)
            raise HostileInput(finding.reason, finding.detail, finding.octets)
        for reading in good:
            check_constraints(path[0], reading.payload)
        return tuple(good)

    def _check_fresh(self, claims: Claims, case: Case, leaf: Certificate | None) -> None:
        """Hold Date and ``iat`` against the clock and the certificate (STI-10)."""
        signalling = case.signalling
        if signalling.has_date and signalling.date_s is None:
            raise _stale("Date cannot be read")
        if signalling.date_s is not None:
            self._check_age("Date", signalling.date_s, case.now)
        self._check_age("iat", claims.iat, case.now)
        if leaf is not None and not leaf.not_before_s <= claims.iat <= leaf.not_after_s:
            raise _stale("iat lies outside the certificate's own time")

    def _check_age(self, name: str, made_s: int, now: Moment) -> None:
        age_s = int(now.utc_s) - made_s
        limit_s = self._demands.max_age_s
        if age_s > limit_s:
            raise _stale(f"{name} is {age_s} s old, {limit_s} s are allowed")
        if age_s < -limit_s:
            raise _stale(f"{name} lies {-age_s} s ahead, {limit_s} s are allowed")

    def _check_signature(
        self, identity: Identity, readings: tuple[_Reading, ...], case: Case, leaf: Certificate
    ) -> tuple[_Reading, int]:
        """Return the reading that was signed, and its key in the replay memory (STI-11, STI-12).

        The memory is asked first, which is cheaper: what it knows was verified.
        """
        signature = identity.signature
        if len(signature) != SIGNATURE_OCTETS:
            raise _wrong_signature(f"{len(signature)} octets, ES256 has {SIGNATURE_OCTETS}")
        for reading in readings:
            key = key_of(reading.signed, signature)
            replayed = self._memory.look(
                key, reading.claims.iat, case.ids, case.packet, case.now, retry=case.retry
            )
            if replayed is not None:
                raise HostileInput(replayed.reason, replayed.detail)
            if _is_signed(leaf, signature, reading.signed):
                return reading, key
        raise _wrong_signature("it was not made with the certificate's key over this")


def _read(identity: Identity, case: Case) -> tuple[_Reading, ...]:
    """Return the one reading of a full form, or those a compact form may stand for."""
    signalling = case.signalling
    if not identity.is_compact:
        claims = read_claims(identity.payload, diverted=identity.ppt in DIVERSIONS)
        covers = check_profile(identity.ppt, identity.payload, claims, signalling, case.message)
        return (_Reading(claims, identity.payload, identity.signed, covers),)
    extra = check_compact(identity.ppt, signalling)
    if signalling.date_s is None:
        detail = "a compact form without a Date cannot be rebuilt"
        raise HostileInput(Reason.PASSPORT_CLAIMS, detail)
    date_s = signalling.date_s
    choices = [signalling.keys or None]
    if signalling.keys and identity.ppt != "msec":
        choices.append(None)
    readings = []
    for orig in [one for caller in signalling.callers for one in _alternatives(caller)]:
        for dest in _alternatives(signalling.callee):
            for keys in choices:
                claims = Claims(orig, (dest,), date_s, keys, None, has_plus=False)
                payload = {**compact_payload(orig, dest, date_s, keys), **extra}
                readings.append(_Reading(claims, payload, compact_signed(identity, payload)))
    return tuple(readings[:MAX_READINGS])


def _alternatives(party: Party) -> tuple[Party, ...]:
    """Return what a signer may have taken a party for: a number, a URI, or either."""
    if party.number and party.uri:
        return Party(party.number), Party(b"", party.uri, party.host)
    return (party,)


def _check_parties(identity: Identity, claims: Claims, case: Case, *, nested: bool) -> bool:
    """Hold orig against the caller and dest against the callee; return whether dest fits.

    A diversion's dest is compared with the Request-URI, when its chain is known,
    and where there are diversions they may make another dest good (STI-9, STI-40).
    """
    if identity.is_compact:
        return True
    signalling = case.signalling
    if not any(caller.is_same(claims.orig) for caller in signalling.callers):
        header = "From" if signalling.caller_header == b"from" else "P-Asserted-Identity"
        said = ", ".join(shown(caller.name) for caller in signalling.callers)
        detail = f"{header} says {said}, the PASSporT speaks for {shown(claims.orig.name)}"
        raise _mismatch(Reason.PASSPORT_ORIG, detail, case)
    if identity.ppt in DIVERSIONS:
        return False
    fits = claims.is_for(signalling.callee)
    if not fits and not case.is_diverted and not nested:
        names = ", ".join(shown(party.name) for party in claims.dest[:4])
        detail = f"To says {shown(signalling.callee.name)}, the PASSporT was made for {names}"
        raise _mismatch(Reason.PASSPORT_DEST, detail, case)
    return fits


def _mismatch(reason: Reason, detail: str, case: Case) -> Exception:
    """In a dialog the other side may ask, under the names of the first request (STI-18)."""
    if case.in_dialog:
        return Undecided(State.UNKNOWN, Finding(reason, detail))
    return HostileInput(reason, detail)


def _is_signed(leaf: Certificate, signature: bytes, signed: bytes) -> bool:
    key = leaf.public_key
    if not isinstance(key, ec.EllipticCurvePublicKey):  # the store has said so already
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), signed, _ES256)
    except InvalidSignature:
        return False
    return True


def _covers(reading: _Reading, signalling: Signalling) -> tuple[bytes, ...]:
    covers = [signalling.caller_header, b"to"]
    if signalling.date_s == reading.claims.iat:
        covers.append(b"date")
    if reading.claims.mky is not None:
        covers.append(b"fingerprint")
    return (*covers, *reading.covers)


def _attest(identity: Identity, reading: _Reading) -> bytes:
    attest = reading.payload.get("attest")
    return attest.encode() if identity.ppt == "shaken" and isinstance(attest, str) else b""


def _stale(detail: str) -> HostileInput:
    return HostileInput(Reason.PASSPORT_STALE, detail)


def _wrong_signature(detail: str) -> HostileInput:
    return HostileInput(Reason.PASSPORT_SIGNATURE, detail)

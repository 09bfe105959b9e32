"""What each kind of PASSporT demands beyond the base: shaken, rph, rcd, msec (STI-35 to STI-42).

``div`` and ``div-o`` are in ``diversion``. Kinds that are not listed here are
ignored, as if the header were absent (STI-3, STI-22).
"""

import re
from collections.abc import Callable
from typing import Final

from sipguard.errors import HostileInput
from sipguard.evidence import State
from sipguard.identity.judged import Undecided
from sipguard.identity.passport_claims import Claims, wrong_claims
from sipguard.identity.shown import shown
from sipguard.identity.signalling import Signalling
from sipguard.reason import Finding, Reason
from sipguard.wire.message import Message
from sipguard.wire.passport import Json, JsonObject
from sipguard.wire.reader import split_list

# RFC 8224 section 7: only claims that a verifier can compute may be left out of the token.
COMPACT: Final = frozenset(("", "rcd", "msec"))
DIVERSIONS: Final = frozenset(("div", "div-o"))
SUPPORTED: Final = frozenset(("", "shaken", "rph", "rcd", "msec")) | DIVERSIONS
MAX_VALUES: Final = 32

_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_INTEGRITY: Final = re.compile(r"sha(?:256|384|512)-[A-Za-z0-9+/=_\-]{40,100}")
_RCD_KEYS: Final = ("nam", "apn", "icn", "jcl")

Check = Callable[[JsonObject, Claims, Signalling, Message], tuple[bytes, ...]]


def check_profile(
    ppt: str, payload: JsonObject, claims: Claims, signalling: Signalling, message: Message
) -> tuple[bytes, ...]:
    """Hold a full form against its kind; return what it covers beyond the base.

    Raises:
        HostileInput: ``PASSPORT_SHAKEN``, ``PASSPORT_PRIORITY``,
            ``PASSPORT_DIVERTED`` or ``PASSPORT_CLAIMS``.
    """
    check = _CHECKS.get(ppt)
    return check(payload, claims, signalling, message) if check else ()


def check_compact(ppt: str, signalling: Signalling) -> JsonObject:
    """Return the claims of this kind that its compact form leaves out.

    Raises:
        HostileInput: where the kind needs the full form.
    """
    if ppt not in COMPACT:
        reason = {"shaken": Reason.PASSPORT_SHAKEN, "rph": Reason.PASSPORT_PRIORITY}.get(
            ppt, Reason.PASSPORT_DIVERTED
        )
        raise HostileInput(reason, f"a compact form, which {ppt} may not have")
    if ppt == "msec" and not signalling.keys:
        raise wrong_claims("msec without a fingerprint in the session description")
    return {"rcd": {"nam": signalling.display}} if ppt == "rcd" else {}


def _check_shaken(
    payload: JsonObject, claims: Claims, _signalling: Signalling, _message: Message
) -> tuple[bytes, ...]:
    """RFC 8588 sections 4 to 7 (STI-35)."""
    if payload.get("attest") not in ("A", "B", "C"):
        raise _wrong_shaken("attest is not A, B or C")
    origid = payload.get("origid")
    if not isinstance(origid, str) or not _UUID.fullmatch(origid):
        raise _wrong_shaken("origid is no UUID")
    if not claims.orig.number or not any(party.number for party in claims.dest):
        raise _wrong_shaken("orig and dest are no telephone numbers")
    return _check_rcd(payload, claims, _signalling, _message) if "rcd" in payload else ()


def _check_rph(
    payload: JsonObject, _claims: Claims, _signalling: Signalling, message: Message
) -> tuple[bytes, ...]:
    """RFC 8443 section 4, RFC 9027 (STI-36)."""
    rph = payload.get("rph")
    auth = rph.get("auth") if isinstance(rph, dict) else None
    if not isinstance(auth, list) or not 1 <= len(auth) <= MAX_VALUES:
        raise _wrong_priority("rph is no object with an array auth")
    granted = {value.lower().encode() for value in auth if isinstance(value, str)}
    wanted = {
        value.lower()
        for row in message.values(b"resource-priority")
        for value in split_list(row)[: MAX_VALUES + 1]
    }
    if message.method != b"INVITE" or not wanted:
        raise _wrong_priority("there is no INVITE with a Resource-Priority")
    if not wanted <= granted:
        detail = f"Resource-Priority wants {shown(min(wanted - granted))}, which is not granted"
        raise _wrong_priority(detail)
    if "sph" in payload:
        priority = (message.header(b"priority") or b"").lower()
        if payload["sph"] != "psap-callback" or priority != b"psap-callback":
            raise _wrong_priority("sph is not psap-callback, or Priority is another")
        return b"resource-priority", b"priority"
    return (b"resource-priority",)


def _check_rcd(
    payload: JsonObject, _claims: Claims, signalling: Signalling, _message: Message
) -> tuple[bytes, ...]:
    """RFC 9795 sections 5 to 8 (STI-41); what URLs lead to is never fetched."""
    rcd = payload.get("rcd")
    if not isinstance(rcd, dict) or not isinstance(rcd.get("nam"), str):
        raise wrong_claims("rcd is no object with nam")
    if any(not isinstance(rcd.get(key, ""), str) for key in _RCD_KEYS):
        raise wrong_claims("rcd has a member of the wrong kind")
    if "jcd" in rcd and "jcl" in rcd:
        raise wrong_claims("rcd has both jcd and jcl")
    link = rcd.get("jcl")
    if isinstance(link, str) and not link.lower().startswith("https://"):
        raise wrong_claims("jcl is no https URL")
    if not isinstance(payload.get("crn", ""), str):
        raise wrong_claims("crn is no string")
    _check_integrity(payload.get("rcdi"), needs_link="jcl" in rcd)
    return (b"display-name",) if rcd["nam"] == signalling.display != "" else ()


def _check_integrity(rcdi: Json, *, needs_link: bool) -> None:
    if rcdi is None:
        if needs_link:
            raise wrong_claims("jcl without its digest in rcdi")
        return
    if not isinstance(rcdi, dict) or (needs_link and "/jcl" not in rcdi):
        raise wrong_claims("rcdi is no object with the digests that rcd needs")
    for pointer, digest in rcdi.items():
        if not pointer.startswith("/") or not isinstance(digest, str):
            raise wrong_claims("rcdi has a member of the wrong form")
        if not _INTEGRITY.fullmatch(digest):
            raise wrong_claims("rcdi has a digest of the wrong form")


def _check_named(
    payload: JsonObject, claims: Claims, signalling: Signalling, message: Message
) -> tuple[bytes, ...]:
    """With ppt=rcd the name is the point: another one in From is a forgery."""
    if "iss" in payload:
        # Somebody else vouches for the name, and nobody for the caller (RFC 9795 section 14).
        finding = Finding(Reason.UNSUPPORTED_PASSPORT, "rcd of a third party proves no caller")
        raise Undecided(State.ABSENT, finding)
    covers = _check_rcd(payload, claims, signalling, message)
    if signalling.display and not covers:
        raise wrong_claims(f"From shows the name {shown(signalling.display.encode())}, rcd another")
    return covers


def _check_msec(
    _payload: JsonObject, claims: Claims, _signalling: Signalling, _message: Message
) -> tuple[bytes, ...]:
    """RFC 8862 (STI-42): the media key is what it is for."""
    if claims.mky is None:
        raise wrong_claims("msec without mky")
    return ()


def _check_div(
    payload: JsonObject, claims: Claims, _signalling: Signalling, _message: Message
) -> tuple[bytes, ...]:
    """RFC 8946 section 4 (STI-40)."""
    if claims.div is None or "opt" in payload:
        raise HostileInput(Reason.PASSPORT_DIVERTED, "no div claim, or opt, which div-o has")
    return ()


def _check_div_o(
    payload: JsonObject, claims: Claims, _signalling: Signalling, _message: Message
) -> tuple[bytes, ...]:
    """RFC 8946 section 6: the original stands inside, in full form."""
    if claims.div is None or not isinstance(payload.get("opt"), str):
        raise HostileInput(Reason.PASSPORT_DIVERTED, "div-o without div or opt")
    return ()


_CHECKS: Final[dict[str, Check]] = {
    "shaken": _check_shaken,
    "rph": _check_rph,
    "rcd": _check_named,
    "msec": _check_msec,
    "div": _check_div,
    "div-o": _check_div_o,
}


def _wrong_shaken(detail: str) -> HostileInput:
    return HostileInput(Reason.PASSPORT_SHAKEN, detail)


def _wrong_priority(detail: str) -> HostileInput:
    return HostileInput(Reason.PASSPORT_PRIORITY, detail)

"""Signed bodies in SIP (RFC 3261 section 23, RFC 1847; SMI-1 to SMI-10), cut but not verified.

A body is cut at the exact octets that its signatures cover. Whatever a lenient reader
could cut otherwise is a fault: a signature that fits one reading proves nothing of another.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.identity.signature import DIGESTS
from sipguard.reason import Finding, Reason
from sipguard.wire.cms import EnvelopedData, SignedData, parse_cms
from sipguard.wire.multipart import Part, decoded, parse_content_type, read_entity, walk

MAX_SIGNED: Final = 4  # signed bodies looked at in one message
MAX_LEVELS: Final = 3  # opaque signatures inside each other

_MULTIPART_SIGNED: Final = b"multipart/signed"
_PARTS: Final = 2
_SIGNATURE: Final = b"application/pkcs7-signature"
_OLD_SIGNATURE: Final = b"application/x-pkcs7-signature"  # before RFC 2633
_PKCS7_MIME: Final = frozenset((b"application/pkcs7-mime", b"application/x-pkcs7-mime"))
_MICALGS: Final = {
    b"md5": "md5",
    b"sha1": "sha-1",
    b"sha-1": "sha-1",
    b"sha-224": "sha-224",
    b"sha-256": "sha-256",
    b"sha256": "sha-256",
    b"sha-384": "sha-384",
    b"sha384": "sha-384",
    b"sha-512": "sha-512",
    b"sha512": "sha-512",
}


class Signed(NamedTuple):
    """One signed body and its signature, unverified.

    ``content`` is what the signature covers: of a multipart/signed its first part with
    the part's headers (SMI-4), of an opaque signature its eContent. ``start`` and
    ``end`` span it in the body given, 0 and 0 where an opaque signature holds it.
    ``part`` is the same as a part, with spans into ``content``; None where unreadable.
    ``fault`` says why there is nothing to verify; ``cms`` may be None only then.
    ``content_type`` and ``disposition`` are those of the signed body as a whole, lower
    case; the disposition is empty where only the SIP header can tell.
    """

    content: bytes
    start: int
    end: int
    part: Part | None
    cms: SignedData | None
    fault: Finding | None
    notes: tuple[Finding, ...]
    opaque: bool
    micalg: bytes
    content_type: bytes
    disposition: bytes


def find_signed(content_type: bytes, body: bytes) -> tuple[Signed, ...]:
    """Return every signed body at any depth, outermost first; broken ones with a ``fault``.

    Args:
        content_type: The whole Content-Type value; may be empty.
        body: The body as received.
    """
    found: list[Signed] = []
    try:
        parts = _all_parts(content_type, body)
    except HostileInput as wrong:
        text = (content_type + body).lower()
        if _MULTIPART_SIGNED in text or b"pkcs7" in text:
            found.append(_broken(b"", wrong.finding()))
        return tuple(found)
    _search(parts, body, found, 0)
    return tuple(found)


def is_encrypted(content_type: bytes, body: bytes) -> bool:
    """Tell whether a part of the body cannot be inspected (SMI-32).

    True for encrypted, compressed and broken ``application/pkcs7-mime``, also inside an
    opaque signature: what we cannot read may be a session that the callee can.
    """
    try:
        parts = _all_parts(content_type, body)
    except HostileInput:
        return b"pkcs7-mime" in (content_type + body).lower()
    return _hides(parts, body, 0)


def _all_parts(content_type: bytes, body: bytes) -> tuple[Part, ...]:
    """Return the body itself as a part of depth 0, and all parts inside it."""
    if not content_type:
        return ()
    kind, _ = parse_content_type(content_type)
    whole = Part(((b"content-type", content_type),), 0, len(body), 0, kind, b"")
    if not kind.startswith(b"multipart/"):
        return (whole,)
    return (whole, *walk(content_type, body))


def _search(parts: tuple[Part, ...], body: bytes, found: list[Signed], level: int) -> None:
    for at, part in enumerate(parts):
        is_clear = part.content_type == _MULTIPART_SIGNED
        if not is_clear and part.content_type not in _PKCS7_MIME:
            continue
        if len(found) == MAX_SIGNED:
            detail = f"more than {MAX_SIGNED} signatures"
            found[-1] = found[-1]._replace(fault=Finding(Reason.BAD_SIGNED_BODY, detail))
            return
        if is_clear:
            found.append(_clear_signed(part, _children(parts, at), body))
        else:
            _search_opaque(part, body, found, level)


def _children(parts: tuple[Part, ...], at: int) -> list[Part]:
    """Return the parts right inside ``parts[at]``."""
    depth = parts[at].depth
    inside = []
    for part in parts[at + 1 :]:
        if part.depth <= depth:
            break
        if part.depth == depth + 1:
            inside.append(part)
    return inside


def _broken(content_type: bytes, fault: Finding, disposition: bytes = b"") -> Signed:
    return Signed(
        b"",
        0,
        0,
        None,
        None,
        fault,
        (),
        content_type in _PKCS7_MIME,
        b"",
        content_type,
        disposition,
    )


def _clear_signed(whole: Part, children: list[Part], body: bytes) -> Signed:
    """Cut a multipart/signed (RFC 1847; SMI-2 to SMI-9)."""
    _, parameters = parse_content_type(whole.header(b"content-type") or b"")
    wrong = _structure_wrong(parameters, children)
    if wrong:
        fault = Finding(Reason.BAD_SIGNED_BODY, wrong)
        return _broken(_MULTIPART_SIGNED, fault, whole.disposition)
    first, second = children
    content = body[first.part_start : first.end]
    micalg = parameters[b"micalg"].lower()
    part = first._replace(
        start=first.start - first.part_start, end=len(content), part_start=0, depth=0
    )
    signed = Signed(
        content, first.part_start, first.end, part, None, None, tuple(_part_notes(second)),
        False, micalg, _MULTIPART_SIGNED, whole.disposition,
    )  # fmt: skip
    try:
        cms = parse_cms(decoded(second, body))
    except HostileInput as broken:
        return signed._replace(fault=broken.finding())
    if isinstance(cms, EnvelopedData):
        detail = "encrypted data where the signature belongs"
        return signed._replace(fault=Finding(Reason.BAD_SIGNED_BODY, detail))
    return _with_signature(signed, cms)


def _structure_wrong(parameters: dict[bytes, bytes], children: list[Part]) -> str:
    """Return what RFC 1847 section 2.1 demands and is not there; empty if all is."""
    if len(children) != _PARTS:
        return f"multipart/signed with {len(children)} parts"
    protocol = parameters.get(b"protocol", b"").lower()
    if protocol not in (_SIGNATURE, _OLD_SIGNATURE):
        return "multipart/signed whose protocol is not S/MIME"
    if children[1].content_type != protocol:
        return "the second part is not of the type that the protocol parameter names"
    if not parameters.get(b"micalg"):
        return "multipart/signed without micalg"
    return ""


def _part_notes(signature: Part) -> Iterator[Finding]:
    if signature.content_type == _OLD_SIGNATURE:
        yield Finding(Reason.CMS_ODD, "the signature part has a type from before RFC 2633")
    if signature.header(b"content-disposition") is None or signature.handling != b"required":
        yield Finding(Reason.CMS_ODD, "the signature part does not say handling=required")


def _with_signature(signed: Signed, cms: SignedData) -> Signed:
    """Add the signature; it may not speak of another content or digest (SMI-3, SMI-7)."""
    fault, notes = None, signed.notes
    if cms.content is not None:
        # openssl cms -stream puts the content inside even where it also stands outside.
        if cms.content != signed.content:
            fault = Finding(Reason.BAD_SIGNED_BODY, "the signature carries another content")
        notes += (Finding(Reason.CMS_ODD, "the signature carries the content once more"),)
    named = [_MICALGS.get(name.strip(b" \t")) for name in signed.micalg.split(b",")[:16]]
    for signer in cms.signers:
        digest = DIGESTS.get(signer.digest)
        if digest is not None and None not in named and digest.name not in named:
            detail = f"signed with {digest.name}, but micalg names another digest"
            fault = fault or Finding(Reason.MICALG, detail, signed.micalg[:128])
    return signed._replace(cms=cms, fault=fault, notes=notes)


def _search_opaque(whole: Part, body: bytes, found: list[Signed], level: int) -> None:
    """Add an opaque signature (RFC 8551 section 3.5.2) and what is signed inside of it."""
    kind = _smime_type(whole)
    if kind not in (b"", b"signed-data"):
        return
    try:
        cms = parse_cms(decoded(whole, body))
    except HostileInput as broken:
        found.append(_broken(whole.content_type, broken.finding(), whole.disposition))
        return
    if isinstance(cms, EnvelopedData):
        return
    if cms.content is None:
        if cms.signers:
            fault = Finding(Reason.BAD_SIGNED_BODY, "an opaque signature without its content")
            found.append(_broken(whole.content_type, fault, whole.disposition))
        return
    inner = _entity_parts(cms.content)
    part = inner[0] if inner else None
    found.append(
        Signed(
            cms.content, 0, 0, part, cms, None, (), True, b"", whole.content_type, whole.disposition
        )
    )
    if level + 1 < MAX_LEVELS:
        before = len(found)
        _search(inner, cms.content, found, level + 1)
        found[before:] = [one._replace(start=0, end=0) for one in found[before:]]


def _smime_type(part: Part) -> bytes:
    _, parameters = parse_content_type(part.header(b"content-type") or b"")
    return parameters.get(b"smime-type", b"").lower()


def _entity_parts(octets: bytes) -> tuple[Part, ...]:
    """Return a MIME entity as a part of depth 0 and the parts inside it; none if it is broken."""
    try:
        whole = read_entity(octets)
        if not whole.content_type.startswith(b"multipart/"):
            return (whole,)
        inside = walk(whole.header(b"content-type") or b"", octets[whole.start :])
    except HostileInput:
        return ()
    at = whole.start
    moved = (
        part._replace(start=part.start + at, end=part.end + at, part_start=part.part_start + at)
        for part in inside
    )
    return (whole, *moved)


def _hides(parts: tuple[Part, ...], body: bytes, level: int) -> bool:
    for part in parts:
        if part.content_type not in _PKCS7_MIME:
            continue
        if _smime_type(part) not in (b"", b"signed-data", b"certs-only"):
            return True
        try:
            cms = parse_cms(decoded(part, body))
        except HostileInput:
            return True
        if isinstance(cms, EnvelopedData) or level == MAX_LEVELS:
            return True
        if cms.content is not None and _hides(_entity_parts(cms.content), cms.content, level + 1):
            return True
    return False

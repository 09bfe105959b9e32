"""Signed bodies in SIP (RFC 3261 section 23, RFC 1847; SMI-1 to SMI-10), cut but not verified.

A body is cut at the exact octets that its signatures cover. Whatever a lenient reader
could cut otherwise is a fault: a signature that fits one reading proves nothing of another.
"""

from functools import lru_cache
from typing import Final, NamedTuple, final

from sipguard.errors import HostileInput
from sipguard.identity.signature import DIGESTS
from sipguard.reason import Finding, Reason
from sipguard.wire.cms import EnvelopedData, SignedData, parse_cms
from sipguard.wire.multipart import Part, decoded, parse_content_type, read_entity, walk

MAX_SIGNED: Final = 4  # signed or encrypted parts opened in one message
MAX_REMEMBERED_OCTETS: Final = 16_384  # larger bodies are looked through each time
MAX_MICALGS: Final = 16
MAX_LEVELS: Final = 3  # opaque signatures inside each other

_MULTIPART_SIGNED: Final = b"multipart/signed"
_PARTS: Final = 2
_SIGNATURE: Final = b"application/pkcs7-signature"
_OLD_SIGNATURE: Final = b"application/x-pkcs7-signature"  # before RFC 2633
_PKCS7_MIME: Final = frozenset((b"application/pkcs7-mime", b"application/x-pkcs7-mime"))
# What can be opened; compressed-data and all encrypted kinds cannot.
_READABLE: Final = frozenset((b"", b"signed-data", b"certs-only"))
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
    return _look(content_type, body)[0]


def is_encrypted(content_type: bytes, body: bytes) -> bool:
    """Tell whether a part of the body cannot be inspected (SMI-32).

    True for encrypted, compressed and broken ``application/pkcs7-mime``, also inside an
    opaque signature: what we cannot read may be a session that the callee can.
    """
    return _look(content_type, body)[1]


def _look(content_type: bytes, body: bytes) -> tuple[tuple[Signed, ...], bool]:
    if len(content_type) + len(body) <= MAX_REMEMBERED_OCTETS:
        return _look_again(content_type, body)
    return _search(content_type, body)


def _search(content_type: bytes, body: bytes) -> tuple[tuple[Signed, ...], bool]:
    try:
        parts = _all_parts(content_type, body)
    except HostileInput as wrong:
        text = (content_type + body).lower()
        meant = _MULTIPART_SIGNED in text or b"pkcs7" in text
        return (_broken(b"", wrong.finding()),) * meant, b"pkcs7-mime" in text
    search = _Search()
    search.through(parts, body, 0)
    return tuple(search.found), search.hides


_look_again = lru_cache(maxsize=4)(_search)  # one message is asked about several times


def _all_parts(content_type: bytes, body: bytes) -> tuple[Part, ...]:
    """Return the body itself as a part of depth 0, and all parts inside it."""
    if not content_type:
        return ()
    kind, _ = parse_content_type(content_type)
    whole = Part(((b"content-type", content_type),), 0, len(body), 0, kind, b"")
    if not kind.startswith(b"multipart/"):
        return (whole,)
    return (whole, *walk(content_type, body))


@final
class _Search:
    """One pass over one body: what is signed in it, and whether something in it is hidden."""

    def __init__(self) -> None:
        self.found: list[Signed] = []
        self.hides = False
        self._opened = 0

    def through(self, parts: tuple[Part, ...], body: bytes, level: int) -> None:
        """Look at all these parts of *body*, which stands inside *level* opaque signatures."""
        for at, part in enumerate(parts):
            is_clear = part.content_type == _MULTIPART_SIGNED
            if not is_clear and part.content_type not in _PKCS7_MIME:
                continue
            self._opened += 1
            if self._opened > MAX_SIGNED:
                # Which of them counts must not depend on how far we look.
                detail = f"more than {MAX_SIGNED} signed or encrypted parts"
                self.found[:] = [_broken(part.content_type, _bad_body(detail), part.disposition)]
                self.hides = True
                return
            if is_clear:
                self.found.append(_clear_signed(part, _children(parts, at), body))
            else:
                self._open(part, body, level)

    def _open(self, whole: Part, body: bytes, level: int) -> None:
        """Open an opaque signature (RFC 8551 section 3.5.2), and look at what is inside of it."""
        if _smime_type(whole) not in _READABLE or level == MAX_LEVELS:
            self.hides = True
            return
        try:
            cms = parse_cms(decoded(whole, body))
        except HostileInput as broken:
            self.hides = True
            self.found.append(_broken(whole.content_type, broken.finding(), whole.disposition))
            return
        if isinstance(cms, EnvelopedData):
            self.hides = True
        elif cms.content is not None:
            inner = _entity_parts(cms.content)
            self.found.append(_opaque_signed(whole, cms, cms.content, inner))
            self.hides |= not inner
            before = len(self.found)
            self.through(inner, cms.content, level + 1)
            self.found[before:] = [one._replace(start=0, end=0) for one in self.found[before:]]
        elif cms.signers:
            fault = _bad_body("an opaque signature without its content")
            self.found.append(_broken(whole.content_type, fault, whole.disposition))


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


def _bad_body(detail: str) -> Finding:
    return Finding(Reason.BAD_SIGNED_BODY, detail)


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
        return _broken(_MULTIPART_SIGNED, _bad_body(wrong), whole.disposition)
    first, second = children
    content = body[first.part_start : first.end]
    micalg = parameters[b"micalg"].lower()
    cms: SignedData | EnvelopedData | None = None
    fault: Finding | None = None
    notes = _part_notes(second)
    try:
        cms = parse_cms(decoded(second, body))
    except HostileInput as broken:
        fault = broken.finding()
    if isinstance(cms, EnvelopedData):
        cms, fault = None, _bad_body("encrypted data for a signature")
    if cms is not None:
        fault = _contradiction(content, micalg, cms)
        if cms.content is not None and fault is None:
            # openssl cms -stream puts the content inside even where it also stands outside.
            notes += (Finding(Reason.CMS_ODD, "the signature carries the content once more"),)
    return Signed(
        content,
        first.part_start,
        first.end,
        first.moved(-first.part_start, 0),
        cms,
        fault,
        notes,
        False,
        micalg,
        _MULTIPART_SIGNED,
        whole.disposition,
    )


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


def _part_notes(signature: Part) -> tuple[Finding, ...]:
    notes: tuple[Finding, ...] = ()
    if signature.content_type == _OLD_SIGNATURE:
        detail = "the signature part has a type from before RFC 2633"
        notes = (Finding(Reason.CMS_ODD, detail),)
    if signature.header(b"content-disposition") is None or signature.handling != b"required":
        notes += (Finding(Reason.CMS_ODD, "the signature part does not say handling=required"),)
    return notes


def _contradiction(content: bytes, micalg: bytes, cms: SignedData) -> Finding | None:
    """Return how the signature speaks of another content or digest (SMI-3, SMI-7), if it does."""
    if cms.content is not None and cms.content != content:
        return _bad_body("the signature carries another content")
    named = [_MICALGS.get(name.strip(b" \t")) for name in micalg.split(b",")[:MAX_MICALGS]]
    if None in named:
        return None  # a name we do not know may be any digest
    for signer in cms.signers:
        digest = DIGESTS.get(signer.digest)
        if digest is not None and digest.name not in named:
            detail = f"signed with {digest.name}, but micalg names another digest"
            return Finding(Reason.MICALG, detail, micalg[:128])
    return None


def _opaque_signed(whole: Part, cms: SignedData, content: bytes, inner: tuple[Part, ...]) -> Signed:
    part = inner[0] if inner else None
    return Signed(
        content, 0, 0, part, cms, None, (), True, b"", whole.content_type, whole.disposition
    )


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
    return (whole, *[part.moved(whole.start, part.depth) for part in inside])

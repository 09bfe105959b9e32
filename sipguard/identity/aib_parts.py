"""Where the Authenticated Identity Bodies of a message are (RFC 3893 sections 2, 3 and 9).

An AIB is a message/sipfrag whose own disposition is ``aib`` (AIB-1), at any depth, and
counts for what the innermost signature around it covers. The disposition of a multipart
around it says nothing: it stands outside the signature. Only where the fragment itself
is encrypted does it tell that there is one (section 9). A Referred-By token (RFC 3892)
is a signed sipfrag as well, with another disposition.
"""

from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.identity.signed import Signed, find_signed, is_encrypted
from sipguard.reason import Finding
from sipguard.wire.multipart import Part, parse_content_type, parse_disposition, read_entity, walk
from sipguard.wire.sip import Message

FRAGMENT: Final = b"message/sipfrag"
AIB: Final = b"aib"
_ENVELOPES: Final = (b"application/pkcs7-mime", b"application/x-pkcs7-mime")
_CARRIERS: Final = (b"multipart/", b"application/", FRAGMENT)
_PLAIN: Final = frozenset((b"binary", b"8bit", b"7bit"))


class Found(NamedTuple):
    """One AIB: the fragment's octets, what signs it, and if it can be read.

    ``signed`` is None for one outside any signature. ``octets`` are empty where it is
    encrypted; ``fault`` says why a fragment cannot be read at all, ``""`` if it may;
    ``broken`` what is wrong with a signature of the message that covers nothing.
    """

    octets: bytes
    signed: Signed | None
    encrypted: bool = False
    fault: str = ""
    broken: Finding | None = None


def find_aibs(message: Message) -> tuple[Found, ...]:
    """Return every AIB in the order of the octets, those inside opaque signatures last.

    Raises:
        HostileInput: the body cannot be cut into parts in one way only.
    """
    if not message.body or not message.content_type.startswith(_CARRIERS):
        return ()
    content_type = message.header(b"content-type") or b""
    whole = _whole(message, content_type)
    parts: tuple[Part, ...] = (whole,)
    if whole.content_type.startswith(b"multipart/"):
        parts = (whole, *walk(content_type, message.body))
    signed = find_signed(content_type, message.body)
    found = _in_parts(parts, message.body, tuple([each for each in signed if each.end]))
    for each in signed:
        if each.content and not each.end:
            found += _in_hidden(each)
    fault = next((each.fault for each in signed if each.fault is not None), None)
    return tuple([each if each.signed else each._replace(broken=fault) for each in found])


def hides_something(message: Message) -> bool:
    """Whether a part is encrypted, so that nobody can say what the message carries (AIB-13)."""
    if not message.body or not message.content_type.startswith(_CARRIERS):
        return False
    return is_encrypted(message.header(b"content-type") or b"", message.body)


def _whole(message: Message, content_type: bytes) -> Part:
    """Return the body as a part, whose headers stand among the message's."""
    kind, _ = parse_content_type(content_type)
    value = message.header(b"content-disposition")
    disposition = parse_disposition(value)[0] if value else b""
    headers = ((b"content-type", content_type),)
    return Part(headers, 0, len(message.body), 0, kind, disposition)


def _in_hidden(signed: Signed) -> list[Found]:
    """Look into what an opaque signature carries."""
    try:
        whole = read_entity(signed.content)
        parts: tuple[Part, ...] = (whole,)
        content = signed.content[whole.start : whole.end]
        if whole.content_type.startswith(b"multipart/"):
            return _in_parts(
                walk(whole.header(b"content-type") or b"", content), content, (), signed
            )
    except HostileInput:
        return []
    return _in_parts(parts, signed.content, (), signed)


def _in_parts(
    parts: tuple[Part, ...], body: bytes, signed: tuple[Signed, ...], around: Signed | None = None
) -> list[Found]:
    found: list[Found] = []
    for number, part in enumerate(parts):
        if part.content_type == FRAGMENT and part.disposition == AIB:
            signer = _innermost(part, signed) or around
            found.append(Found(body[part.start : part.end], signer, fault=_fault_of(part)))
        elif part.content_type in _ENVELOPES and _announces(part, parts[:number]):
            value = part.header(b"content-type") or b""
            if is_encrypted(value, body[part.start : part.end]):
                found.append(Found(b"", _innermost(part, signed) or around, encrypted=True))
    return found


def _innermost(part: Part, signed: tuple[Signed, ...]) -> Signed | None:
    """Return the closest signature around a part; outer ones come first."""
    closest = None
    for each in signed:
        if each.start <= part.part_start and part.end <= each.end:
            closest = each
    return closest


def _announces(part: Part, before: tuple[Part, ...]) -> bool:
    """Whether an encrypted part, or the multipart/signed right around it, is said to be an AIB."""
    if part.disposition == AIB:
        return True
    above = before[-1] if before else part
    return above.content_type == b"multipart/signed" and above.disposition == AIB


def _fault_of(part: Part) -> str:
    """AIB-2: what the part's own headers say about the fragment."""
    encoding = (part.header(b"content-transfer-encoding") or b"binary").lower()
    if encoding not in _PLAIN or part.header(b"content-encoding") not in (None, b"identity"):
        return "in an encoding that SIP does not use"
    value = part.header(b"content-type")
    if value and parse_content_type(value)[1].get(b"version", b"2.0") != b"2.0":
        return "of another version than 2.0"
    return ""

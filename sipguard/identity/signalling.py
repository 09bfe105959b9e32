"""What the SIP message itself says about the call, in a PASSporT's terms (STI-6, STI-9, STI-13).

A verifier computes these from the signalling and holds the claims against
them; it never takes a claim for the truth. The name shown in From is nobody's
claim but that of rcd (STI-17).
"""

import re
from typing import Final, NamedTuple

from sipguard.identity.numbering import Numbering
from sipguard.identity.passport_claims import MediaKey
from sipguard.identity.telephone import Party, party_of
from sipguard.wire.fields import Address
from sipguard.wire.message import Ids, Message

_FINGERPRINT: Final = re.compile(rb"(?:^|[\r\n])a=fingerprint:([^\r\n]*)")
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_ENCRYPTED: Final = (b"application/pkcs7-mime", b"application/x-pkcs7-mime")


class Signalling(NamedTuple):
    """The parties, the date and the media keys of one request.

    ``callers`` are whom ``caller_header`` names: From, or P-Asserted-Identity
    (which may have two values) where the policy trusts it. ``date_s`` is None
    without a readable Date. ``is_encrypted`` tells that no session description
    can be seen. ``display`` is the From's name without quotes.
    """

    callers: tuple[Party, ...]
    caller_header: bytes
    callee: Party
    target: Party
    has_date: bool
    date_s: int | None
    keys: frozenset[MediaKey]
    is_encrypted: bool
    display: str


def read_signalling(
    message: Message, ids: Ids, *, asserted: bool, numbering: Numbering | None = None
) -> Signalling:
    """Return what a request says.

    Args:
        message: The request.
        ids: Of the message.
        asserted: P-Asserted-Identity stands before From (STI-6).
        numbering: Of the country whose national numbers become international (STI-7).
    """
    callers: tuple[Address, ...] = ()
    header = b"p-asserted-identity"
    if asserted:
        callers = message.addresses(header)[:2]
    if not callers:
        callers, header = (ids.from_,), b"from"
    target = message.request_uri
    return Signalling(
        callers=tuple([party_of(address.uri, numbering) for address in callers]),
        caller_header=header,
        callee=party_of(ids.to.uri, numbering),
        target=party_of(target, numbering) if target is not None else Party(),
        has_date=message.header(b"date") is not None,
        date_s=message.date_s,
        keys=media_keys(message.sdp_bodies),
        is_encrypted=message.content_type in _ENCRYPTED,
        display=_plain_name(ids.from_.display),
    )


def media_keys(bodies: tuple[bytes, ...]) -> frozenset[MediaKey]:
    """Return every ``a=fingerprint`` of all levels as ``mky`` writes it (STI-13).

    A line that is not well formed stays in a form that no claim can match.
    """
    keys: set[MediaKey] = set()
    for body in bodies:
        if b"a=fingerprint:" not in body:
            continue
        for value in _FINGERPRINT.findall(body):
            name, _, digest = value.strip(b" \t").partition(b" ")
            digits = digest.strip(b" \t").replace(b":", b"").upper()
            keys.add((name.lower().decode("latin-1"), digits.decode("latin-1")))
    return frozenset(keys)


def _plain_name(display: bytes) -> str:
    if display.startswith(b'"'):
        display = _QUOTED_PAIR.sub(rb"\1", display[1:-1])
    return display.decode("utf-8", "replace")

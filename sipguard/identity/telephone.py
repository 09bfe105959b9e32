"""Who a URI names: a telephone number or an address, in one spelling (RFC 8224 section 8).

STI-7 and STI-8. What a leading zero means is local knowledge: national numbers
become international ones where the policy names the country, and only there.
"""

import re
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.identity.numbering import Numbering
from sipguard.identity.shown import shown
from sipguard.reason import Reason
from sipguard.wire.uri import Uri, parse_uri

MAX_NUMBER_OCTETS: Final = 32  # E.164 has 15 digits; service codes in front may be longer

_SEPARATORS: Final = b"-.() "
_NUMBER: Final = re.compile(rb"\+?([0-9#*]{1,32})")
_DIALABLE: Final = re.compile(rb"\+?[0-9]{1,32}")
_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_CONTEXT: Final = re.compile(rb";phone-context=([^;]*)", re.IGNORECASE)
_UNRESERVED: Final = re.compile(rb"[A-Za-z0-9\-_.!~*'()]")


class Party(NamedTuple):
    """Whom a claim or a header names: a canonical ``number``, a canonical ``uri``, or both.

    Either is ``b""`` where it does not apply. Both are there for a SIP URI
    whose user part looks like a number without saying so: a signer may have
    taken it for either. ``host`` is the host of the URI, ``b""`` without one.
    """

    number: bytes = b""
    uri: bytes = b""
    host: bytes = b""

    @property
    def name(self) -> bytes:
        """What a record shows."""
        return self.number or self.uri

    def is_same(self, claimed: "Party") -> bool:
        """Tell whether a claim, which has one of the two, names this party."""
        if claimed.number:
            return claimed.number == self.number
        return bool(claimed.uri) and claimed.uri == self.uri


def party_of(uri: Uri, numbering: Numbering | None = None) -> Party:
    """Return the party that a URI in the signalling names; for *numbering* see ``number_of``."""
    number = number_of(uri, numbering)
    if number and (uri.scheme == b"tel" or _says_phone(uri)):
        # RFC 8224 section 8.1: a number is signed as a number; a domain alone has no
        # authority over it.
        return Party(number)
    return Party(number, canonical_uri(uri), uri.host)


def number_of(uri: Uri, numbering: Numbering | None = None) -> bytes:
    """Return the canonical number of a URI: digits, ``#`` and ``*``; ``b""`` if it has none.

    A ``tel`` URI and ``user=phone`` name one by themselves; another SIP URI does
    where its user part can be dialed: all digits, perhaps behind a plus.

    Args:
        uri: Of the signalling.
        numbering: Of the country whose national numbers become international; it has no
            say over a number that gives its own context (RFC 3966 section 5.1.5).
    """
    if numbering is not None and not _is_dialed_in(uri, numbering.code):
        numbering = None
    if uri.scheme == b"tel":
        return canonical_number(uri.user, numbering)
    if uri.scheme not in (b"sip", b"sips"):
        return b""
    if _says_phone(uri):
        return canonical_number(_unescaped(uri.user.partition(b";")[0]), numbering)
    user = uri.user
    if user.startswith(b"+"):
        user = _unescaped(user).translate(None, _SEPARATORS)
    return canonical_number(user, numbering) if _DIALABLE.fullmatch(user) else b""


def canonical_number(text: bytes, numbering: Numbering | None = None) -> bytes:
    """Return ``tn-spec``: digits, ``#``, ``*``, no plus, no separators; ``b""`` if it is none."""
    text = text.translate(None, _SEPARATORS)
    found = _NUMBER.fullmatch(text)
    if found is None:
        return b""
    if numbering is None:
        return found[1]
    return numbering.international(found[1], has_plus=text.startswith(b"+"))


def canonical_uri(uri: Uri) -> bytes:
    """Return ``scheme:user@host`` in lower case, without port, password and parameters (STI-8)."""
    if uri.scheme not in (b"sip", b"sips"):
        return uri.raw.lower()
    host = b"[%b]" % uri.host if b":" in uri.host else uri.host
    user = _ESCAPED.sub(_decode_unreserved, uri.user).lower()
    return b"%b:%b@%b" % (uri.scheme, user, host) if user else b"%b:%b" % (uri.scheme, host)


def read_claimed_uri(text: str) -> Party:
    """Return the party that a ``uri`` claim names.

    Raises:
        HostileInput: ``PASSPORT_CLAIMS``.
    """
    octets = text.encode("utf-8", "replace")
    try:
        uri = parse_uri(octets)
    except HostileInput:
        detail = f"a uri claim that is no URI: {shown(octets)}"
        raise HostileInput(Reason.PASSPORT_CLAIMS, detail, octets) from None
    return Party(b"", canonical_uri(uri), uri.host)


def read_claimed_number(text: str) -> Party:
    """Return the party that a ``tn`` claim names; a leading plus, which some write, is borne.

    Raises:
        HostileInput: ``PASSPORT_CLAIMS``.
    """
    octets = text.encode("utf-8", "replace")
    found = _NUMBER.fullmatch(octets)
    if found is None:
        detail = f"a tn claim that is no number: {shown(octets)}"
        raise HostileInput(Reason.PASSPORT_CLAIMS, detail, octets)
    return Party(found[1])


def _says_phone(uri: Uri) -> bool:
    return (uri.param(b"user") or b"").lower() == b"phone"


def _is_dialed_in(uri: Uri, code: bytes) -> bool:
    """Tell whether a number without a plus may be one of this country."""
    context = uri.param(b"phone-context")
    if context is None:
        found = _CONTEXT.search(uri.user)
        context = found[1] if found else None
    return context is None or context == b"+" + code


def _unescaped(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: bytes((int(match[1], 16),)), text)


def _decode_unreserved(match: re.Match[bytes]) -> bytes:
    octet = bytes((int(match[1], 16),))
    return octet if _UNRESERVED.fullmatch(octet) else match[0].upper()

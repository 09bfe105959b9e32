"""Who a URI names: a telephone number or an address, in one spelling (RFC 8224 section 8).

STI-7 and STI-8. National numbers are not turned into international ones: what
a leading zero means is local knowledge that this room does not have.
"""

import re
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.identity.shown import shown
from sipguard.reason import Reason
from sipguard.wire.uri import Uri, parse_uri

MAX_NUMBER_OCTETS: Final = 32  # E.164 has 15 digits; service codes in front may be longer

_SEPARATORS: Final = b"-.()"
_NUMBER: Final = re.compile(rb"\+?([0-9#*]{1,32})")
_DIALABLE: Final = re.compile(rb"\+?[0-9]{1,32}")
_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
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


def party_of(uri: Uri) -> Party:
    """Return the party that a URI in the signalling names."""
    number = number_of(uri)
    if number and (uri.scheme == b"tel" or _says_phone(uri)):
        # RFC 8224 section 8.1: a number is signed as a number; a domain alone has no
        # authority over it.
        return Party(number)
    return Party(number, canonical_uri(uri), uri.host)


def number_of(uri: Uri) -> bytes:
    """Return the canonical number of a URI: digits, ``#`` and ``*``; ``b""`` if it has none.

    A ``tel`` URI and ``user=phone`` name one by themselves; another SIP URI does
    where its user part can be dialed: all digits, perhaps behind a plus.
    """
    if uri.scheme == b"tel":
        return canonical_number(uri.user)
    if uri.scheme not in (b"sip", b"sips"):
        return b""
    if _says_phone(uri):
        return canonical_number(_unescaped(uri.user.partition(b";")[0]))
    user = uri.user
    if user.startswith(b"+"):
        user = user.translate(None, _SEPARATORS)
    return canonical_number(user) if _DIALABLE.fullmatch(user) else b""


def canonical_number(text: bytes) -> bytes:
    """Return ``tn-spec``: digits, ``#``, ``*``, no plus, no separators; ``b""`` if it is none."""
    found = _NUMBER.fullmatch(text.translate(None, _SEPARATORS))
    return found[1] if found else b""


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


def _unescaped(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: bytes((int(match[1], 16),)), text)


def _decode_unreserved(match: re.Match[bytes]) -> bytes:
    octet = bytes((int(match[1], 16),))
    return octet if _UNRESERVED.fullmatch(octet) else match[0].upper()

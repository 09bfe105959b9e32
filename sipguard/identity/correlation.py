"""A message held against its signed copy, header by header (AIB-6, SMI-34).

RFC 3261 section 23.4.1 wants the comparison of its section 20. Three things are stricter: a name
shown beside an address, URI parameters, and the expires and q of a Contact must be the
signed ones where the copy has them. No honest hop changes those, and a thief would: the
shown name is what most people take for the caller.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from sipguard.identity.shown import shown
from sipguard.wire.fields import Address
from sipguard.wire.header_bits import SINGLE
from sipguard.wire.reader import split_list
from sipguard.wire.rows import Header
from sipguard.wire.sip import Message
from sipguard.wire.sipfrag import Sipfrag
from sipguard.wire.uri import Uri, uri_equal

# What hops may change (RFC 3261 section 23.4.1.1); the Request-URI is none of the headers.
MUTABLE: Final = frozenset(
    (b"via", b"record-route", b"route", b"max-forwards", b"proxy-authorization")
)
# Of the fragment's own body, which is not the message's.
_OF_BODY: Final = frozenset(
    (
        *(b"content-type", b"content-length", b"content-disposition", b"content-encoding"),
        *(b"content-language", b"mime-version", b"content-transfer-encoding", b"content-id"),
    )
)
# Requests that make or refresh something at their Contact; of others the copy alone may have one.
_NEEDS_CONTACT: Final = frozenset(
    (b"INVITE", b"UPDATE", b"SUBSCRIBE", b"NOTIFY", b"REFER", b"REGISTER")
)
_TELLING_PARAMS: Final = (b"expires", b"q")
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_SPELLED: Final = {
    b"call-id": "Call-ID",
    b"cseq": "CSeq",
    b"mime-version": "MIME-Version",
    b"www-authenticate": "WWW-Authenticate",
}


class Difference(NamedTuple):
    """What differs: in which words, what the message says, and what the copy says."""

    what: str
    ours: bytes
    signed: bytes


class Correlation(NamedTuple):
    """How a message and its copy agree.

    ``difference`` is a sentence with both values, ``""`` where there is none; ``octets``
    are then the message's. ``covers`` are the headers compared and found equal. ``alone``
    are sentences on what stands in one of both only: true, and no fault.
    """

    covers: tuple[bytes, ...]
    alone: tuple[str, ...] = ()
    difference: str = ""
    octets: bytes = b""


def correlate(
    message: Message,
    copy: Sipfrag,
    leave: frozenset[bytes],
    called: str,
    known: frozenset[bytes] | None = None,
) -> Correlation:
    """Compare every header of the copy but those in *leave* with the message's own.

    *called* names the copy in sentences: "From says A, the AIB B". With *known*, headers
    of other names that differ are not covered, and no fault (SMI-34).
    """
    covers: list[bytes] = []
    alone: list[str] = []
    ours = _by_name(message.headers)
    for name, signed in _by_name(copy.headers).items():
        if name in MUTABLE or name in _OF_BODY or name in leave:
            continue
        rows = ours.get(name, ())
        if not rows and _may_lack(message, name):
            alone.append(f"{spelled(name)} stands in {called} alone")
            if name == b"date":  # it says when, whether repeated or not
                covers.append(name)
            continue
        found = _difference(name, rows, signed)
        if found is not None and known is not None and name not in known:
            alone.append(f"{spelled(name)} differs from {called} and is not covered")
            continue
        if found is not None:
            theirs = shown(found.signed) or "nothing"
            sentence = f"{found.what} says {shown(found.ours) or 'nothing'}, {called} {theirs}"
            return Correlation((), (), sentence, found.ours[:128])
        covers.append(name)
        if rows[0].addresses and _is_name_unsigned(rows, signed):
            alone.append(f"the name shown in {spelled(name)} is not signed")
    return Correlation(tuple(covers), tuple(alone))


def _by_name(headers: Iterable[Header]) -> dict[bytes, tuple[Header, ...]]:
    """Return the rows of each name, in the order in which the names come first."""
    found: dict[bytes, tuple[Header, ...]] = {}
    for row in headers:
        found[row.name] = (*found[row.name], row) if row.name in found else (row,)
    return found


def spelled(name: bytes) -> str:
    """Return a header's name as people write it."""
    return _SPELLED.get(name) or shown(name).title()


def _may_lack(message: Message, name: bytes) -> bool:
    """AIB-6: Date may be in the copy alone; so may Contact, where the method has none."""
    if name == b"date":
        return True
    if name != b"contact":
        return False
    return message.method not in _NEEDS_CONTACT if message.is_request else True


def _is_name_unsigned(rows: tuple[Header, ...], signed: tuple[Header, ...]) -> bool:
    pairs = zip(_addresses(rows), _addresses(signed), strict=False)
    return any(ours.display and not theirs.display for ours, theirs in pairs)


def _addresses(rows: tuple[Header, ...]) -> tuple[Address, ...]:
    return tuple([address for row in rows for address in row.addresses])


def _difference(
    name: bytes, rows: tuple[Header, ...], signed: tuple[Header, ...]
) -> Difference | None:
    if not rows or (name in SINGLE and len(rows) > 1):
        return Difference(spelled(name), _text(rows), _text(signed))
    if rows == signed:
        return None  # as most are
    return _COMPARED.get(name, _of_values)(rows, signed)


def _text(rows: tuple[Header, ...]) -> bytes:
    return b", ".join(row.value for row in rows)


def _of_values(rows: tuple[Header, ...], signed: tuple[Header, ...]) -> Difference | None:
    if _values(rows) == _values(signed):
        return None
    return Difference(spelled(rows[0].name), _text(rows), _text(signed))


def _values(rows: tuple[Header, ...]) -> list[bytes]:
    """Rows may be joined on the way (RFC 3261 section 7.3.1), so a list is compared as one."""
    name = rows[0].name
    if name in SINGLE:
        return [b" ".join(row.value.split()) for row in rows]
    return [b" ".join(piece.split()) for row in rows for piece in split_list(row.value)]


def _of_cseqs(rows: tuple[Header, ...], signed: tuple[Header, ...]) -> Difference | None:
    if rows[0].cseq == signed[0].cseq:
        return None
    return Difference("CSeq", _text(rows), _text(signed))


def _of_call_ids(rows: tuple[Header, ...], signed: tuple[Header, ...]) -> Difference | None:
    if rows[0].value == signed[0].value:
        return None
    return Difference("Call-ID", _text(rows), _text(signed))


def _of_froms(rows: tuple[Header, ...], signed: tuple[Header, ...]) -> Difference | None:
    ours, theirs = _addresses(rows)[0], _addresses(signed)[0]
    if theirs.tag and ours.tag != theirs.tag:
        return Difference("the tag of From", ours.tag, theirs.tag)
    return _of_addresses("From", ours, theirs)


def _of_tos(rows: tuple[Header, ...], signed: tuple[Header, ...]) -> Difference | None:
    """The tag of To comes later than the signature, so it does not count."""
    return _of_addresses("To", _addresses(rows)[0], _addresses(signed)[0])


def _of_contacts(rows: tuple[Header, ...], signed: tuple[Header, ...]) -> Difference | None:
    ours, theirs = _addresses(rows), _addresses(signed)
    starred = [row.value == b"*" for row in (*rows, *signed) if not row.addresses]
    if len(ours) != len(theirs) or (starred and not ours and len(rows) != len(signed)):
        return Difference("Contact", _text(rows), _text(signed))
    for our, their in zip(ours, theirs, strict=True):
        difference = _of_addresses("Contact", our, their)
        if difference is not None:
            return difference
        if any(_param(our, name) != _param(their, name) for name in _TELLING_PARAMS):
            return Difference("Contact", our.raw, their.raw)
    return None


def _of_addresses(what: str, ours: Address, signed: Address) -> Difference | None:
    if not _is_same_uri(ours.uri, signed.uri):
        return Difference(what, ours.uri.raw, signed.uri.raw)
    if signed.display and _name(ours.display) != _name(signed.display):
        return Difference(f"the name shown in {what}", _name(ours.display), _name(signed.display))
    for name, value in signed.params:
        if name != b"tag" and _param(ours, name) != value:
            return Difference(what, ours.raw, signed.raw)
    return None


def _is_same_uri(ours: Uri, signed: Uri) -> bool:
    """RFC 3261 section 19.1.4, and no parameter more or less."""
    names = {name for name, _ in ours.params}
    return uri_equal(ours, signed) and names == {name for name, _ in signed.params}


def _param(address: Address, name: bytes) -> bytes | None:
    for key, value in address.params:
        if key == name:
            return value
    return None


def _name(display: bytes) -> bytes:
    """Return a display name without its quoting."""
    if len(display) > 1 and display.startswith(b'"') and display.endswith(b'"'):
        return _QUOTED_PAIR.sub(rb"\1", display[1:-1])
    return b" ".join(display.split())


_Comparison = Callable[[tuple[Header, ...], tuple[Header, ...]], Difference | None]
_COMPARED: Final[dict[bytes, _Comparison]] = {
    b"from": _of_froms,
    b"to": _of_tos,
    b"contact": _of_contacts,
    b"call-id": _of_call_ids,
    b"cseq": _of_cseqs,
}

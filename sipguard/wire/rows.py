"""One header row: its canonical name, its value, and the few fields read at once.

A row is read the same way wherever it stands, so rows can be remembered by their octets.
What needs the rest of the message (duplicates, body length) is not judged here.
"""

import re
from collections.abc import Callable
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.fields import (
    COOKIE,
    MAX_UINT32,
    Address,
    CSeq,
    Via,
    check_digest,
    parse_address,
    parse_addresses,
    parse_call_id,
    parse_cseq,
    parse_date,
    parse_delta,
    parse_rack,
    parse_routes,
    parse_via,
    parse_vias,
)
from sipguard.wire.header_bits import BITS, SINGLE
from sipguard.wire.multipart import parse_content_type
from sipguard.wire.reader import BLANKS, LEGAL_TEXT, TOKEN, has_controls, read_number, split_list
from sipguard.wire.uri import Uri

# SIP-11: compact forms of the IANA registry.
COMPACT: Final = {
    b"a": b"accept-contact",
    b"b": b"referred-by",
    b"c": b"content-type",
    b"d": b"request-disposition",
    b"e": b"content-encoding",
    b"f": b"from",
    b"i": b"call-id",
    b"j": b"reject-contact",
    b"k": b"supported",
    b"l": b"content-length",
    b"m": b"contact",
    b"n": b"identity-info",
    b"o": b"event",
    b"r": b"refer-to",
    b"s": b"subject",
    b"t": b"to",
    b"u": b"allow-events",
    b"v": b"via",
    b"x": b"session-expires",
    b"y": b"identity",
}
# Of these a comma cannot be part of one value.
_NO_COMMA: Final = SINGLE - frozenset(
    b"call-id date subject user-agent server organization retry-after from to reply-to refer-to"
    b" referred-by identity-info expires min-expires session-expires min-se".split()
)
_WITH_COMMENTS: Final = frozenset((b"user-agent", b"server", b"retry-after"))
_TAG: Final = re.compile(rb';[ \t]*tag[ \t]*=[ \t]*([^ \t;,"<>]+)', re.IGNORECASE)


@final
@mypyc_attr(acyclic=True)
class Header:
    """One header row, unfolded; what follows *raw_name* is filled where the name calls for it."""

    __slots__ = (
        *("addresses", "bit", "cseq", "media_type", "name", "number", "raw_name", "value", "vias"),
    )

    def __init__(
        self,
        name: bytes,
        value: bytes,
        raw_name: bytes,
        vias: tuple[Via, ...] = (),
        addresses: tuple[Address, ...] = (),
        number: int = -1,
        cseq: CSeq | None = None,
        media_type: bytes = b"",
        bit: int = -1,
    ) -> None:
        """Keep what the row says; *bit* is the name's, where it is known."""
        self.name: Final = name  # canonical: long form, lower case
        self.bit: Final = BITS.get(name, 0) if bit < 0 else bit  # 0: the name has none
        self.value: Final = value
        self.raw_name: Final = raw_name
        self.vias: Final = vias
        self.addresses: Final = addresses
        self.number: Final = number  # Max-Forwards, Content-Length, Expires, RSeq ...
        self.cseq: Final = cseq
        self.media_type: Final = media_type


_Reader = Callable[[bytes, bytes, bytes, list[Finding]], Header]


def read_row(line: bytes) -> tuple[Header, list[Finding]]:
    """Return one unfolded header line as a row and what is wrong with it.

    A row whose name cannot be read has the name ``b""``. Where a field that identifies
    the call is malformed, the row still holds the best reading, since a refusal must be
    able to say which request it answers.
    """
    raw_name, colon, value = line.partition(b":")
    name = _NAMES.get(raw_name) or canonical_name(raw_name)
    if not colon or not name:
        return Header(b"", value, raw_name), [
            Finding(Reason.BAD_HEADER_LINE, "no header name before a colon", line[:128])
        ]
    value = value.strip(BLANKS)
    findings: list[Finding] = []
    if value.translate(None, LEGAL_TEXT) and has_controls(value, comments=name in _WITH_COMMENTS):
        reason = Reason.BARE_CR if b"\r" in value else Reason.CONTROL_OCTET
        findings.append(Finding(reason, "in a header value", value[:128]))
    reader = _READERS.get(name)
    if reader is None:
        return Header(name, value, raw_name), findings
    try:
        if name in _NO_COMMA and value.find(b",") >= 0 and len(split_list(value)) > 1:
            raise HostileInput(Reason.DUPLICATE_HEADER, "a comma list of a single header", value)
        return reader(name, value, raw_name, findings), findings
    except HostileInput as error:
        findings.append(error.finding())
        return _salvage(name, value, raw_name), findings


def canonical_name(raw_name: bytes) -> bytes:
    """Return the long, lower-case name; ``b""`` if it is no token.

    Blanks before the colon are legal, a line break there is not (SIP-10).
    """
    name = raw_name.rstrip(BLANKS).lower()
    if name.translate(None, TOKEN):
        return b""
    return _NAMES.get(name, name)


def _read_vias(name: bytes, value: bytes, raw_name: bytes, findings: list[Finding]) -> Header:
    vias = parse_vias(value)
    branches = [via.branch for via in vias]
    odd = [branch for branch in branches if not branch.startswith(COOKIE)]
    if odd:
        findings.append(Finding(Reason.NO_COOKIE, "", odd[0][:128]))
    if COOKIE in branches:
        findings.append(Finding(Reason.BAD_BRANCH, "the cookie alone", COOKIE))
    return Header(name, value, raw_name, vias)


def _read_party(name: bytes, value: bytes, raw_name: bytes, findings: list[Finding]) -> Header:
    try:
        address = parse_address(value)
    except HostileInput:
        if _are_addresses(value):
            raise HostileInput(Reason.DUPLICATE_HEADER, "two parties in one row", value) from None
        raise
    if not address.tag and any(param == b"tag" for param, _ in address.params):
        findings.append(Finding(Reason.RFC2543_SENDER, "an empty tag"))
    return Header(name, value, raw_name, addresses=(address,))


def _are_addresses(value: bytes) -> bool:
    try:
        return len(parse_addresses(value)) > 1
    except HostileInput:
        return False


def _read_contacts(name: bytes, value: bytes, raw_name: bytes, findings: list[Finding]) -> Header:
    if value == b"*":
        return Header(name, value, raw_name)
    addresses = parse_addresses(value)
    spans = [span for address in addresses for key, span in address.params if key == b"expires"]
    odd = [span for span in spans if not 0 <= read_number(span) <= MAX_UINT32]
    if odd:
        findings.append(Finding(Reason.BAD_EXPIRES, "in Contact", odd[0][:128]))
    return Header(name, value, raw_name, addresses=addresses)


def _read_addresses(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    return Header(name, value, raw_name, addresses=parse_addresses(value))


def _read_routes(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    return Header(name, value, raw_name, addresses=parse_routes(value))


def _read_cseq(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    return Header(name, value, raw_name, cseq=parse_cseq(value))


def _read_call_id(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    return Header(name, parse_call_id(value), raw_name)


def _read_max_forwards(name: bytes, value: bytes, raw_name: bytes, found: list[Finding]) -> Header:
    number = read_number(value)
    if not value.isdigit():
        raise HostileInput(Reason.BAD_MAX_FORWARDS, "not a number", value)
    if not 0 <= number <= 255:  # may be treated as absent, RFC 4475 section 3.1.2.4
        found.append(Finding(Reason.RFC2543_SENDER, "Max-Forwards above 255", value[:128]))
        number = -1
    return Header(name, value, raw_name, number=number)


def _read_content_length(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    if not value.isdigit() or len(value) > 10:
        raise HostileInput(Reason.BAD_CONTENT_LENGTH, "not 1 to 10 digits", value)
    return Header(name, value, raw_name, number=int(value))


def _read_content_type(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    return Header(name, value, raw_name, media_type=parse_content_type(value)[0])


def _read_encoding(name: bytes, value: bytes, raw_name: bytes, found: list[Finding]) -> Header:
    if value.lower() not in (b"", b"identity"):
        found.append(Finding(Reason.CONTENT_ENCODING, "", value[:128]))
    return Header(name, value, raw_name)


def _read_transfer_encoding(name: bytes, value: bytes, raw: bytes, found: list[Finding]) -> Header:
    found.append(Finding(Reason.TRANSFER_ENCODING, "", value[:128]))
    return Header(name, value, raw)


def _read_delta(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    pieces = split_list(value)
    if len(pieces) > 1 and pieces[0].isdigit():  # RFC 2543's date form has a comma, too
        raise HostileInput(Reason.DUPLICATE_HEADER, "a comma list of a single header", value)
    return Header(name, value, raw_name, number=parse_delta(value))


def _read_rseq(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    number = read_number(value)
    if not 0 <= number <= MAX_UINT32:
        raise HostileInput(Reason.BAD_HEADER_LINE, "RSeq is not a number", value)
    return Header(name, value, raw_name, number=number)


def _read_rack(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    rseq, cseq, method = parse_rack(value)
    return Header(name, value, raw_name, number=rseq, cseq=CSeq(cseq, method))


def _read_date(name: bytes, value: bytes, raw_name: bytes, found: list[Finding]) -> Header:
    date = parse_date(value)
    if not date.weekday_fits:
        found.append(Finding(Reason.BAD_DATE, "the weekday does not fit the date", value[:128]))
    return Header(name, value, raw_name, number=date.utc_s)


def _read_credentials(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    check_digest(value)
    return Header(name, value, raw_name)


def _read_text(name: bytes, value: bytes, raw_name: bytes, _: list[Finding]) -> Header:
    return Header(name, value, raw_name)


_READERS: Final[dict[bytes, _Reader]] = {
    **dict.fromkeys(_NO_COMMA, _read_text),
    **dict.fromkeys((b"from", b"to", b"reply-to", b"refer-to", b"referred-by"), _read_party),
    **dict.fromkeys((b"route", b"record-route", b"service-route", b"path"), _read_routes),
    **dict.fromkeys((b"expires", b"min-expires", b"session-expires", b"min-se"), _read_delta),
    **dict.fromkeys((b"p-asserted-identity", b"p-preferred-identity"), _read_addresses),
    **dict.fromkeys(
        (b"authorization", b"proxy-authorization", b"www-authenticate", b"proxy-authenticate"),
        _read_credentials,
    ),
    b"via": _read_vias,
    b"contact": _read_contacts,
    b"cseq": _read_cseq,
    b"call-id": _read_call_id,
    b"max-forwards": _read_max_forwards,
    b"content-length": _read_content_length,
    b"content-type": _read_content_type,
    b"content-encoding": _read_encoding,
    b"transfer-encoding": _read_transfer_encoding,
    b"rseq": _read_rseq,
    b"rack": _read_rack,
    b"date": _read_date,
}

_SPELLINGS: Final = (
    *((b"via", b"Via"), (b"from", b"From"), (b"to", b"To"), (b"contact", b"Contact")),
    *((b"call-id", b"Call-ID"), (b"call-id", b"Call-Id"), (b"cseq", b"CSeq"), (b"cseq", b"Cseq")),
    *((b"max-forwards", b"Max-Forwards"), (b"content-length", b"Content-Length")),
    *((b"content-type", b"Content-Type"), (b"content-disposition", b"Content-Disposition")),
    *((b"user-agent", b"User-Agent"), (b"server", b"Server"), (b"date", b"Date")),
    *((b"allow", b"Allow"), (b"supported", b"Supported"), (b"require", b"Require")),
    *((b"route", b"Route"), (b"record-route", b"Record-Route"), (b"expires", b"Expires")),
    *((b"subject", b"Subject"), (b"session-expires", b"Session-Expires"), (b"min-se", b"Min-SE")),
    *((b"rseq", b"RSeq"), (b"rack", b"RAck"), (b"accept", b"Accept"), (b"event", b"Event")),
    *((b"authorization", b"Authorization"), (b"proxy-authorization", b"Proxy-Authorization")),
    *((b"identity", b"Identity"), (b"p-asserted-identity", b"P-Asserted-Identity")),
    *((b"allow-events", b"Allow-Events"), (b"content-encoding", b"Content-Encoding")),
)
# As names are usually written; any other spelling takes the longer way. Long forms are the
# very objects that others ask for (compiled, equal literals are one), which a dict finds at once.
_NAMES: Final = {
    **{spelling: name for name, spelling in _SPELLINGS},
    **{name: name for name, _ in _SPELLINGS},
    **COMPACT,
    **{short.upper(): name for short, name in COMPACT.items()},
}


def _salvage(name: bytes, value: bytes, raw_name: bytes) -> Header:
    """Read what can be read of a malformed value, so that the message can still be named."""
    if name in (b"from", b"to"):
        tag = _TAG.search(value)
        address = Address(b"", Uri(b"", raw=value), (), tag[1] if tag else b"", value)
        return Header(name, value, raw_name, addresses=(address,))
    if name == b"cseq":
        number, _, method = value.partition(b" ")
        sequence = min(max(read_number(number), 0), MAX_UINT32)
        cseq = CSeq(sequence, method.strip(BLANKS)) if number.isdigit() and method else None
        return Header(name, value, raw_name, cseq=cseq)
    if name == b"via":
        return Header(name, value, raw_name, _salvage_via(value))
    if name == b"expires":
        return Header(name, value, raw_name, number=3600)  # SIP-32: the default applies
    return Header(name, value, raw_name)


def _salvage_via(value: bytes) -> tuple[Via, ...]:
    first = split_list(value)[0]
    head, _, params = first.partition(b";")
    try:
        via = parse_via(head)
    except HostileInput:
        return ()
    for param in params.split(b";"):
        key, _, branch = param.partition(b"=")
        if key.strip(BLANKS).lower() == b"branch":
            break
    else:
        branch = b""
    branch = branch.strip(BLANKS)
    return (Via(via.transport, via.host, via.port, branch, (), first, via.sent_by),)

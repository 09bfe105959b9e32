"""Values of the header fields that decide where a message goes and to which call it belongs.

RFC 3261 section 20 and 25. Each parser returns a value that is valid by its type, or
raises HostileInput with the rule that was broken.
"""

from datetime import UTC, datetime
from typing import Final, NamedTuple, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Reason
from sipguard.wire.digest import shown_name
from sipguard.wire.reader import (
    ALPHANUM,
    BLANKS,
    MAX_LIST,
    TOKEN,
    WORD,
    Params,
    is_token,
    read_number,
    read_params,
    split_list,
    split_quoted,
)
from sipguard.wire.uri import Uri, parse_host, parse_uri

MAX_CSEQ = 2**31 - 1  # RFC 3261 section 8.1.1.5
MAX_UINT32: Final = 2**32 - 1
COOKIE: Final = b"z9hG4bK"

_DISPLAY: Final = TOKEN + BLANKS
_DEFAULT_PORTS: Final = {b"TLS": b"5061", b"TLS-SCTP": b"5061", b"WS": b"80", b"WSS": b"443"}
_DAYS: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS: Final = (
    *(b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun"),
    *(b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
)


class Address(NamedTuple):
    """A ``name-addr`` or ``addr-spec`` with its header parameters."""

    display: bytes  # raw, quotes included
    uri: Uri
    params: Params
    tag: bytes
    raw: bytes


@final
@mypyc_attr(acyclic=True)
class Via:
    """One hop of a Via list.

    A class, as rows and Ids are: compiled, one is made in a fifth of a tuple's instructions.
    """

    __slots__ = (
        *("branch", "host", "params", "port", "raw", "received", "rport", "sent_by", "transport"),
    )

    def __init__(
        self,
        transport: bytes,
        host: bytes,
        port: int,
        branch: bytes,
        params: Params,
        raw: bytes,
        sent_by: bytes,
        received: bytes = b"",
        rport: int = -1,
    ) -> None:
        """Keep what the hop says."""
        self.transport: Final = transport  # upper case
        self.host: Final = host  # lower case, IPv6 without brackets
        self.port: Final = port  # 0: none stated
        self.branch: Final = branch  # b"": none
        self.params: Final = params
        self.raw: Final = raw
        self.sent_by: Final = sent_by  # "host:port" with the transport's default port filled in
        self.received: Final = received
        self.rport: Final = rport  # -1: absent, 0: asked for without a value


class CSeq(NamedTuple):
    """The number of a request inside its dialog, and its method."""

    number: int
    method: bytes


class Date(NamedTuple):
    """A SIP date; its weekday may contradict it, which a check on identity should know."""

    utc_s: int
    weekday_fits: bool


def parse_address(value: bytes) -> Address:
    """Return the one address in *value* (From, To, Contact, ...; SIP-35).

    Without ``<>`` every parameter belongs to the header field, and the URI may hold
    neither comma nor question mark.

    Raises:
        HostileInput: ``BAD_ADDRESS``, ``BAD_URI``, ``BAD_TAG`` or ``DUPLICATE_PARAMETER``.
    """
    if value.startswith(b"<"):
        display, opened, rest = b"", b"<", value[1:]
    elif value.startswith(b'"'):
        display, after = split_quoted(value)
        if not display:
            raise HostileInput(Reason.BAD_ADDRESS, "a quoted name that is not closed", value)
        before, opened, rest = after.partition(b"<")
        if before.strip(BLANKS) or not opened:
            raise HostileInput(Reason.BAD_ADDRESS, "no URI in brackets after the name", value)
    else:
        display, opened, rest = value.partition(b"<")
        if opened and display.translate(None, _DISPLAY):
            raise HostileInput(Reason.BAD_ADDRESS, "a name with octets to be quoted", value)
    if not opened:
        return _parse_addr_spec(value)
    raw_uri, closed, after = rest.partition(b">")
    if not closed:
        raise HostileInput(Reason.BAD_ADDRESS, "an angle bracket that is not closed", value)
    return _finish_address(display.strip(BLANKS), raw_uri, after.strip(BLANKS), value)


def _parse_addr_spec(value: bytes) -> Address:
    raw_uri, semicolon, params = value.partition(b";")
    raw_uri = raw_uri.strip(BLANKS)
    if raw_uri.find(b"?") >= 0 or raw_uri.find(b",") >= 0:
        raise HostileInput(Reason.BAD_ADDRESS, "a URI that must stand in angle brackets", value)
    return _finish_address(b"", raw_uri, semicolon + params, value)


def _finish_address(display: bytes, raw_uri: bytes, after: bytes, value: bytes) -> Address:
    uri = parse_uri(raw_uri)
    if not after:
        return Address(display, uri, (), b"", value)
    if not after.startswith(b";"):
        raise HostileInput(Reason.BAD_ADDRESS, "octets after the URI that are no parameter", value)
    params = read_params(after[1:], Reason.BAD_ADDRESS)
    tag = b""
    for name, param in params:
        if name == b"tag":
            tag = param
    if tag and not is_token(tag):
        raise HostileInput(Reason.BAD_TAG, "a tag that is not a token", tag)
    return Address(display, uri, params, tag, value)


def parse_name_addr(value: bytes, reason: Reason = Reason.BAD_ROUTE) -> Address:
    """Return an address whose angle brackets are mandatory (Route, Record-Route; SIP-44)."""
    address = parse_address(value)
    if not value.startswith((b"<", b'"')) and b"<" not in value.partition(b";")[0]:
        raise HostileInput(reason, "a route without angle brackets", value)
    return address


def parse_addresses(value: bytes) -> tuple[Address, ...]:
    """Return the addresses of a comma list, at least one."""
    if value.find(b",") < 0:
        return (parse_address(value),)
    return tuple([parse_address(piece) for piece in _checked_list(value, Reason.BAD_ADDRESS)])


def parse_routes(value: bytes) -> tuple[Address, ...]:
    """Return the addresses of a Route-like comma list, all of them in angle brackets."""
    if value.find(b",") < 0:
        return (parse_name_addr(value),)
    return tuple([parse_name_addr(piece) for piece in _checked_list(value, Reason.BAD_ROUTE)])


def _checked_list(value: bytes, reason: Reason) -> list[bytes]:
    # Quoted commas are few; without this look, 60 KB of commas cost 18 ms to cut.
    pieces = split_list(value) if value.count(b",") <= 8 * MAX_LIST else []
    if not 0 < len(pieces) <= MAX_LIST:
        raise HostileInput(Reason.TOO_MANY_HEADERS, "a list longer than sipguard reads")
    if not all(pieces):
        raise HostileInput(reason, "an empty place in a list", value)
    return pieces


def parse_vias(value: bytes) -> tuple[Via, ...]:
    """Return the hops of one Via row, topmost first (SIP-38).

    Raises:
        HostileInput: ``BAD_VIA``, ``DUPLICATE_PARAMETER``, ``TOO_MANY_HEADERS``.
    """
    if value.find(b",") < 0:
        return (parse_via(value),)
    return tuple([parse_via(piece) for piece in _checked_list(value, Reason.BAD_VIA)])


def parse_via(value: bytes) -> Via:
    """Return one hop; blanks around ``/`` and ``:`` are legal."""
    head, semicolon, text = value.partition(b";")
    transport, host, port, sent_by = _parse_hop(head)
    if not semicolon:
        return Via(transport, host, port, b"", (), value, sent_by)
    params = read_params(text, Reason.BAD_VIA)
    branch = received = b""
    rport = -1
    for name, param in params:
        if name == b"branch":
            branch = param
            if not is_token(branch):
                raise HostileInput(Reason.BAD_VIA, "a branch that is not a token", value)
        elif name == b"received":
            received = param
        elif name == b"rport":
            rport = _read_rport(param)
    return Via(transport, host, port, branch, params, value, sent_by, received, rport)


def _read_rport(value: bytes) -> int:
    number = read_number(value) if value else 0
    if not 0 <= number <= 65535:
        raise HostileInput(Reason.BAD_VIA, "an rport that is not a port", value)
    return number


def _parse_hop(head: bytes) -> tuple[bytes, bytes, int, bytes]:
    pieces = head.split(b"/")
    if len(pieces) != 3 or not is_token(pieces[0].strip(BLANKS)):
        raise HostileInput(Reason.BAD_VIA, "no sent-protocol", head)
    transport, blank, sent_by = pieces[2].strip(BLANKS).replace(b"\t", b" ").partition(b" ")
    if not blank or not is_token(transport) or not is_token(pieces[1].strip(BLANKS)):
        raise HostileInput(Reason.BAD_VIA, "no transport before the sent-by", head)
    transport = transport.upper()
    host, port = _read_sent_by(sent_by.strip(BLANKS), head)
    shown = b"[" + host + b"]" if host.find(b":") >= 0 else host
    default = _DEFAULT_PORTS.get(transport, b"5060")
    return transport, host, port, shown + b":" + (b"%d" % port if port else default)


def _read_sent_by(sent_by: bytes, head: bytes) -> tuple[bytes, int]:
    if sent_by.startswith(b"["):
        host, bracket, after = sent_by.partition(b"]")
        host += bracket
        gap, colon, port = after.partition(b":")
        if gap.strip(BLANKS):
            raise HostileInput(Reason.BAD_VIA, "octets after the IPv6 address", head)
    else:
        host, colon, port = sent_by.partition(b":")
    number = read_number(port.strip(BLANKS)) if colon else 0
    if not 0 <= number <= 65535:
        raise HostileInput(Reason.BAD_VIA, "a sent-by port that is not a port", head)
    try:
        return parse_host(host.strip(BLANKS)), number
    except HostileInput as error:
        raise HostileInput(Reason.BAD_VIA, error.detail, head) from error


def parse_cseq(value: bytes) -> CSeq:
    """Return number and method (SIP-30); numbers of 2**31 and more are refused."""
    number, _, method = value.replace(b"\t", b" ").partition(b" ")
    method = method.lstrip(b" ")
    sequence = read_number(number)
    if not 0 <= sequence <= MAX_CSEQ or not is_token(method):
        raise HostileInput(Reason.BAD_CSEQ, "CSeq is not a number below 2**31 and a method", value)
    return CSeq(sequence, method)


def parse_call_id(value: bytes) -> bytes:
    """Return the Call-ID, ``word ["@" word]``; compared octet for octet (SIP-33)."""
    word, at, host = value.partition(b"@")
    if not word or (word + host).translate(None, WORD) or (at and not host):
        raise HostileInput(Reason.BAD_CALL_ID, "a Call-ID that is not word@word", value)
    return value


def parse_rack(value: bytes) -> tuple[int, int, bytes]:
    """Return RSeq number, CSeq number and method of a RAck (RFC 3262 section 7.2)."""
    pieces = value.split()
    if len(pieces) != 3 or not is_token(pieces[2]):
        raise HostileInput(Reason.BAD_HEADER_LINE, "RAck is not two numbers and a method", value)
    rseq, cseq = read_number(pieces[0]), read_number(pieces[1])
    if not 0 <= rseq <= MAX_UINT32 or not 0 <= cseq <= MAX_CSEQ:
        raise HostileInput(Reason.BAD_HEADER_LINE, "RAck is not two numbers and a method", value)
    return rseq, cseq, pieces[2]


def parse_delta(value: bytes) -> int:
    """Return the seconds before any parameter (Expires, Session-Expires, Min-SE, Retry-After)."""
    seconds = read_number(value.partition(b";")[0].strip(BLANKS))
    if not 0 <= seconds <= MAX_UINT32:
        raise HostileInput(Reason.BAD_EXPIRES, "not a number of seconds below 2**32", value)
    return seconds


def parse_date(value: bytes) -> Date:
    """Return a SIP date: fixed form, case-sensitive, GMT only (SIP-41).

    Raises:
        HostileInput: ``BAD_DATE``.
    """
    weekday, comma, rest = value.partition(b", ")
    pieces = rest.split(b" ")
    if not comma or weekday not in _DAYS or len(pieces) != 5 or pieces[4] != b"GMT":
        raise HostileInput(Reason.BAD_DATE, "not the date form of RFC 3261", value)
    day, month, year, clock = pieces[0], pieces[1], pieces[2], pieces[3].split(b":")
    numbers = [day, year, *clock]
    if [len(number) for number in numbers] != [2, 4, 2, 2, 2] or month not in _MONTHS:
        raise HostileInput(Reason.BAD_DATE, "not the date form of RFC 3261", value)
    if not all(number.isdigit() for number in numbers):
        raise HostileInput(Reason.BAD_DATE, "not the date form of RFC 3261", value)
    day_n, year_n, hour, minute, second = (int(number) for number in numbers)
    try:  # 60 is a leap second; the calendar here has none, and it equals the next second
        moment = datetime(
            year_n, _MONTHS.index(month) + 1, day_n, hour, minute, min(second, 59), tzinfo=UTC
        )
    except ValueError as error:
        raise HostileInput(Reason.BAD_DATE, "no such day or time", value) from error
    if second > 60:
        raise HostileInput(Reason.BAD_DATE, "no such day or time", value)
    utc_s = int(moment.timestamp()) + (second == 60)
    return Date(utc_s, _DAYS[moment.weekday()] == weekday)


def check_digest(value: bytes) -> None:
    """Refuse credentials with a parameter twice (SIP-14) or a second set in the row (SIP-13)."""
    scheme, _, text = value.partition(b" ")
    if scheme.lower() != b"digest":
        return
    names: set[bytes] = set()
    pieces = split_list(text)
    if len(pieces) > MAX_LIST:
        raise HostileInput(Reason.TOO_MANY_HEADERS, "a list longer than sipguard reads")
    for piece in pieces:
        name = piece.partition(b"=")[0].strip(BLANKS).lower()
        if name.startswith(b"digest") and name.translate(None, ALPHANUM):
            raise HostileInput(Reason.BAD_LIST, "two sets of credentials in one row")
        if name in names:
            what = "a digest parameter twice"
            raise HostileInput(Reason.DUPLICATE_PARAMETER, what, shown_name(name))
        names.add(name)

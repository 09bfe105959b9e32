"""Header rows and start lines without any oddity, as fast as they can be had.

Inside a call most lines repeat octet for octet, and most of the others differ from a
known line by a branch or a tag alone. Whatever does not fit raises NotPlain, and the
message goes to ``careful``; a test holds that both ways read the same.
"""

from typing import Final

from sipguard.errors import HostileInput
from sipguard.wire.fields import COOKIE, Address, Via, parse_call_id, parse_via
from sipguard.wire.header_bits import CALL_ID, VIA
from sipguard.wire.memo import Memo, NotPlain
from sipguard.wire.reader import BLANKS, Params, is_token
from sipguard.wire.rows import Header, canonical_name, read_row
from sipguard.wire.start import Start, read_start

_BRANCH: Final = b";branch=z9hG4bK"
# raw name, where the value starts, transport, host, port, sent-by, parameters, rport
_Hop = tuple[bytes, int, bytes, bytes, int, bytes, Params, int]
_Tail = tuple[Params, bytes, int]  # parameters, received, rport
_NO_TAIL: Final[_Tail] = ((), b"", -1)
_CALL_ID: Final = b"Call-ID: "
_V: Final = 0x56
_SMALL_V: Final = 0x76
_PARTIES: Final = (b"from", b"to")


def _read_start(line: bytes) -> Start:
    try:
        start, findings = read_start(line)
    except HostileInput:
        raise NotPlain from None
    if findings:
        raise NotPlain
    return start


def known_row(line: bytes) -> Header:
    """Return the row of an unfolded line; raises NotPlain where it has anything odd."""
    if line and (line[0] == _V or line[0] == _SMALL_V):
        # A branch names one transaction: its Via comes with a request and one to three
        # responses, and reading it costs no more than keeping it.
        head, mark, rest = line.partition(_BRANCH)
        if mark:
            return _vary_via(line, head, rest) or _read_any(line)
    return _ROWS[line]


def _read_line(line: bytes) -> Header:
    if line.startswith(_CALL_ID):
        try:
            call_id = parse_call_id(line[len(_CALL_ID) :])
            return Header(b"call-id", call_id, b"Call-ID", bit=CALL_ID)
        except HostileInput:
            return _read_any(line)
    head, mark, tag = line.rpartition(b";tag=")
    if mark and is_token(tag):
        return _vary_tag(head, tag) or _read_any(line)
    return _read_any(line)


def _read_any(line: bytes) -> Header:
    header, findings = read_row(line)
    if findings or header.value == b"*":
        raise NotPlain
    return header


def _vary_tag(head: bytes, tag: bytes) -> Header | None:
    """Return a From or To row that adds a tag to a known row without one."""
    row = _ROWS[head]
    if row.name not in _PARTIES or not head.endswith(row.value):
        return None
    display, uri, params, old_tag, _ = row.addresses[0]
    if old_tag:
        return None
    value = row.value + b";tag=" + tag
    more: Params = params + ((b"tag", tag),)  # noqa: RUF005 - compiled, a star makes a list first
    address: Address = tuple.__new__(Address, (display, uri, more, tag, value))
    return Header(row.name, value, row.raw_name, (), (address,), bit=row.bit)


def _vary_via(line: bytes, head: bytes, rest: bytes) -> Header | None:
    """Return a Via row that adds a branch, and known parameters after it, to a known hop."""
    octets, mark, tail = rest.partition(b";")
    if not is_token(octets):
        return None
    try:
        raw_name, start, transport, host, port, sent_by, before, rport = _HOPS[head]
        after, received, rport_after = _TAILS[tail] if mark else _NO_TAIL
    except NotPlain:
        return None
    branch = COOKIE + octets
    value = line[start:]
    if before:  # pjsip writes ;rport;branch=
        if after:
            return None
        params: Params = before + ((b"branch", branch),)  # noqa: RUF005
    else:
        params, rport = ((b"branch", branch),) + after, rport_after  # noqa: RUF005
    via = Via(transport, host, port, branch, params, value, sent_by, received, rport)
    return Header(b"via", value, raw_name, (via,), bit=VIA)


def _read_hop(head: bytes) -> _Hop:
    """Read what stands before the branch of a Via row of one hop."""
    raw_name, _, text = head.partition(b":")
    value = text.lstrip(BLANKS)
    if canonical_name(raw_name) != b"via" or value[-1:] in b" \t":
        raise NotPlain
    via = _parse_via(value)
    if via.branch or via.received:
        raise NotPlain
    start = len(head) - len(value)
    return raw_name, start, via.transport, via.host, via.port, via.sent_by, via.params, via.rport


def _read_tail(tail: bytes) -> _Tail:
    """Read what stands after the branch of a Via row of one hop."""
    via = _parse_via(b"SIP/2.0/UDP tail.invalid;" + tail)
    if via.branch or tail[-1:] in b" \t":
        raise NotPlain
    return via.params, via.received, via.rport


def _parse_via(value: bytes) -> Via:
    try:
        return parse_via(value)
    except HostileInput:
        raise NotPlain from None


KNOWN_STARTS: Final = Memo(_read_start)
_ROWS: Final = Memo(_read_line)
_HOPS: Final = Memo(_read_hop)
_TAILS: Final = Memo(_read_tail)

"""The careful reading of a message: everything that is odd is found and named.

Well-formed messages never come here (see ``sip.parse_message``). Input is read to the
end as far as one reading can be told, so that a refusal can name its request and a
policy can forgive a named fault.
"""

import re
from typing import Final

from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason
from sipguard.wire.header_bits import SINGLE
from sipguard.wire.message import MAX_HEADERS, MAX_MESSAGE_OCTETS, Ids, Message
from sipguard.wire.multipart import notes, sessions
from sipguard.wire.reader import BLANKS
from sipguard.wire.rows import Header, read_row
from sipguard.wire.start import Start, read_start

PADDING: Final = b"\r\n\0"
# WebSocket frames carry whole messages, as datagrams do (RFC 7118 section 5).
STREAMS: Final = frozenset(("tcp", "tls"))
SIP_SCHEMES: Final = (b"sip", b"sips")
_MANDATORY: Final = (b"via", b"from", b"to", b"call-id", b"cseq")
_END_OF_HEADERS: Final = re.compile(rb"\n\r?\n")
_INFO_PARAM: Final = re.compile(rb";[ \t]*info[ \t]*=", re.IGNORECASE)


def read_carefully(payload: bytes, transport: str) -> Message:
    """Return the message with every finding.

    Raises:
        HostileInput: where the start line is no SIP start line, or a status that cannot be.
    """
    findings: list[Finding] = []
    if len(payload) > MAX_MESSAGE_OCTETS:
        findings.append(Finding(Reason.TOO_LARGE, f"{len(payload)} octets"))
    text = payload.lstrip(b"\r\n")
    if len(text) != len(payload) and transport not in STREAMS:
        findings.append(Finding(Reason.BAD_START_LINE, "line breaks before the start line"))
    head, rest = _cut_headers(text, findings)
    lines = _unfold(head, findings)
    start, start_findings = read_start(lines[0])
    findings += start_findings
    headers = _read_rows(lines[1:], findings)
    first = {row.name: row for row in reversed(headers)}
    _check_repeats(headers, findings)
    body = _cut_body(rest, headers, first, transport, findings)
    ids = _read_ids(first, findings)
    method = start.method
    if start.is_request:
        _check_request(start, headers, first, ids, transport, findings)
    else:
        method = ids.method if ids else _cseq_method(first)
        _check_response(headers, first, findings)
    may_repeat = len(first) != len(headers)
    seen = 0
    for row in headers:
        seen |= row.bit
    message = Message(payload, start, method, headers, seen, may_repeat, body, findings, ids)
    check_sessions(message)
    return message


def _cut_headers(text: bytes, findings: list[Finding]) -> tuple[bytes, bytes]:
    """Cut at the first empty line of any kind, since some parser will."""
    end = _END_OF_HEADERS.search(text)
    if end is None:
        head, rest = text.rstrip(b"\r\n"), b""
        findings.append(Finding(Reason.NO_END_OF_HEADERS))
        breaks = text
    else:
        head, rest, breaks = text[: end.start()], text[end.end() :], text[: end.end()]
        head = head.removesuffix(b"\r")
    if breaks.count(b"\n") != breaks.count(b"\r\n"):
        findings.append(Finding(Reason.BARE_LF))
    return head, rest


def _unfold(head: bytes, findings: list[Finding]) -> list[bytes]:
    """Return logical lines; a line break followed by a blank equals one blank (SIP-10)."""
    raw_lines = head.split(b"\n", MAX_HEADERS + 1)
    if len(raw_lines) > MAX_HEADERS + 1:
        del raw_lines[-1]  # all the rest in one piece
        findings.append(Finding(Reason.TOO_MANY_HEADERS, f"more than {MAX_HEADERS} lines"))
    lines: list[list[bytes]] = []
    for raw_line in raw_lines:
        line = raw_line.removesuffix(b"\r")
        if not lines or not line.startswith((b" ", b"\t")):
            lines.append([line])
            continue
        if len(lines) == 1:
            findings.append(Finding(Reason.BAD_START_LINE, "a folded start line"))
        elif len(lines[-1]) == 1 and b":" not in lines[-1][0]:
            findings.append(Finding(Reason.BAD_HEADER_LINE, "a line break before the colon"))
        piece = line.strip(BLANKS)
        if not piece:
            # Some parsers take a line of blanks for the empty line that ends the headers.
            findings.append(Finding(Reason.BAD_HEADER_LINE, "a folded line of blanks only"))
        lines[-1].append(piece)
    return [_join(pieces) for pieces in lines]


def _join(pieces: list[bytes]) -> bytes:
    if len(pieces) == 1:
        return pieces[0]
    return b" ".join([pieces[0].rstrip(BLANKS), *pieces[1:]])


def _read_rows(lines: list[bytes], findings: list[Finding]) -> list[Header]:
    headers = []
    for line in lines:
        header, found = read_row(line)
        findings += found
        if header.name:
            headers.append(header)
    return headers


def _check_repeats(headers: list[Header], findings: list[Finding]) -> None:
    """SIP-12: a second instance of a single header, in any form. SIP-13: Identity."""
    seen: set[bytes] = set()
    identities = [row.value for row in headers if row.name == b"identity"]
    if len(identities) > 1 and not all(_INFO_PARAM.search(value) for value in identities):
        # RFC 4474's form stands once; RFC 8224's may repeat.
        findings.append(Finding(Reason.DUPLICATE_HEADER, "", b"identity"))
    for row in headers:
        if row.name in SINGLE and row.name in seen:
            findings.append(Finding(Reason.DUPLICATE_HEADER, "", row.name))
        seen.add(row.name)


def _cut_body(
    rest: bytes,
    headers: list[Header],
    first: dict[bytes, Header],
    transport: str,
    findings: list[Finding],
) -> bytes:
    """Return the body that Content-Length frames (SIP-16, SIP-17)."""
    row = first.get(b"content-length")
    body = rest
    if row is None:
        if transport in STREAMS:
            findings.append(Finding(Reason.NO_CONTENT_LENGTH))
        if not rest.strip(PADDING):
            body = b""
    elif row.number >= 0 and sum(other.name == b"content-length" for other in headers) == 1:
        body = rest[: row.number]
        if len(body) < row.number:
            detail = f"{row.number} octets announced, {len(body)} there"
            findings.append(Finding(Reason.BODY_SHORT, detail))
        surplus = rest[row.number : row.number + 128]
        if surplus and rest[row.number :].strip(PADDING):
            findings.append(Finding(Reason.OCTETS_AFTER_BODY, "", surplus))
    if body and b"content-type" not in first:
        findings.append(Finding(Reason.NO_CONTENT_TYPE))
    return body


def _read_ids(first: dict[bytes, Header], findings: list[Finding]) -> Ids | None:
    missing = [name for name in _MANDATORY if name not in first]
    if missing:
        findings += [Finding(Reason.MISSING_HEADER, "", name) for name in missing]
        return None
    via_row, from_row, to_row, call_id_row, cseq_row = (first[name] for name in _MANDATORY)
    cseq = cseq_row.cseq
    if not via_row.vias or not cseq or not call_id_row.value:
        return None
    from_, to = from_row.addresses[0], to_row.addresses[0]
    return Ids(call_id_row.value, cseq.number, cseq.method, from_, to, via_row.vias[0])


def _cseq_method(first: dict[bytes, Header]) -> bytes:
    row = first.get(b"cseq")
    return row.cseq.method if row and row.cseq else b""


def _check_request(
    start: Start,
    headers: list[Header],
    first: dict[bytes, Header],
    ids: Ids | None,
    transport: str,
    findings: list[Finding],
) -> None:
    cseq_method = _cseq_method(first)
    if cseq_method and cseq_method != start.method:
        findings.append(Finding(Reason.CSEQ_METHOD_MISMATCH, "", cseq_method[:128]))
    if b"max-forwards" not in first:
        findings.append(Finding(Reason.RFC2543_SENDER, "no Max-Forwards"))
    if ids:
        if not ids.from_tag:
            findings.append(Finding(Reason.RFC2543_SENDER, "no From tag"))
        if ids.via.transport != transport.upper().encode("ascii", "replace"):
            findings.append(Finding(Reason.VIA_TRANSPORT, "", ids.via.transport[:128]))
        if ids.via.received or ids.via.rport > 0:
            findings.append(Finding(Reason.VIA_SPOOFED_RECEIVED, "", ids.via.raw[:128]))
    if start.method == b"PRACK" and b"rack" not in first:
        findings.append(Finding(Reason.MISSING_HEADER, "", b"rack"))
    # An RFC 2543 sender may leave the Contact out (RFC 4475 section 3.4.1).
    needs_contact = start.method in (b"INVITE", b"UPDATE") and not (ids and not ids.from_tag)
    _check_contact(start, headers, first, needs_contact, findings)


def _check_contact(
    start: Start,
    headers: list[Header],
    first: dict[bytes, Header],
    needs_contact: bool,
    findings: list[Finding],
) -> None:
    """SIP-42: one SIP or SIPS Contact where a dialog needs it; ``*`` only to remove bindings."""
    rows = [row for row in headers if row.name == b"contact"]
    contacts = [address for row in rows for address in row.addresses]
    if any(row.value == b"*" for row in rows):
        expires = first.get(b"expires")
        removes = start.method == b"REGISTER" and expires is not None and expires.number == 0
        if len(rows) > 1 or not removes:
            findings.append(Finding(Reason.BAD_CONTACT, "* without REGISTER and Expires: 0"))
    elif needs_contact and not rows:
        findings.append(Finding(Reason.BAD_CONTACT, "no Contact"))
    elif start.method in (b"INVITE", b"UPDATE") and contacts:
        target = contacts[0].uri
        if target.scheme not in SIP_SCHEMES:
            findings.append(Finding(Reason.BAD_CONTACT, "neither SIP nor SIPS", target.raw[:128]))
        if len(contacts) > 1:
            findings.append(Finding(Reason.BAD_CONTACT, "more than one Contact"))


def _check_response(
    headers: list[Header], first: dict[bytes, Header], findings: list[Finding]
) -> None:
    for via in [via for row in headers if row.name == b"via" for via in row.vias]:
        if names_a_group(via.host):
            findings.append(Finding(Reason.BROADCAST_VIA, "", via.host))
    if any(finding.reason is Reason.BAD_CSEQ for finding in findings):
        row = first.get(b"cseq")
        findings.append(Finding(Reason.RESPONSE_CSEQ, "", row.value[:128] if row else b""))


def names_a_group(host: bytes) -> bool:
    """Tell whether a host is the broadcast address or a multicast group, IPv4 or IPv6 (SIP-45)."""
    if host == b"255.255.255.255" or (host.startswith(b"ff") and b":" in host):
        return True
    first_octet = host.partition(b".")[0]
    return len(first_octet) == 3 and b"224" <= first_octet <= b"239" and host[-1:].isdigit()


def check_sessions(message: Message) -> None:
    """Look into multipart bodies now: two reachable sessions make a message ambiguous (SIP-54)."""
    if not message.body or not message.content_type.startswith(b"multipart/"):
        return
    content_type = message.header(b"content-type") or b""
    disposition = message.header(b"content-disposition") or b""
    try:
        message.findings += notes(content_type, message.body)
        found = sessions(content_type, disposition, message.body)
    except HostileInput as error:
        message.findings.append(error.finding())
        return
    if len(found) > 1:
        message.findings.append(Finding(Reason.TWO_SESSIONS, f"{len(found)} sessions"))

"""Start lines: the strictest line of a message, since every hop routes by it (SIP-4..7)."""

from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason
from sipguard.wire.reader import LEGAL_TEXT, is_token
from sipguard.wire.uri import Uri, parse_uri

VERSION: Final = b"SIP/2.0"
METHODS: Final = frozenset(
    b"ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE"
    b" UPDATE".split()
)


class Start(NamedTuple):
    """What a start line says."""

    is_request: bool
    method: bytes = b""
    uri: bytes = b""
    request_uri: Uri | None = None
    status: int = 0
    reason_phrase: bytes = b""


def read_start(line: bytes) -> tuple[Start, list[Finding]]:
    """Return the start line and what is wrong with it.

    Raises:
        HostileInput: ``NOT_SIP`` if it is no SIP start line at all, ``BAD_STATUS`` for a
            status line whose code cannot be used.
    """
    if line[:4].upper() == b"SIP/":
        return _read_status_line(line)
    return _read_request_line(line)


def _read_status_line(line: bytes) -> tuple[Start, list[Finding]]:
    findings: list[Finding] = []
    version, _, rest = line.partition(b" ")
    code, blank, reason_phrase = rest.partition(b" ")
    if len(code) != 3 or not code.isdigit() or not b"100" <= code <= b"699":
        raise HostileInput(Reason.BAD_STATUS, "the status code is not 100 to 699", line)
    if version.upper() != VERSION:
        findings.append(Finding(Reason.BAD_VERSION, "not SIP/2.0", version[:128]))
    if not blank:  # RFC 3261 section 7.2: the blank stands even before an empty phrase
        findings.append(Finding(Reason.BAD_START_LINE, "no blank after the status code"))
    if reason_phrase.translate(None, LEGAL_TEXT):
        findings.append(_control_octet(reason_phrase))
    return Start(False, status=int(code), reason_phrase=reason_phrase), findings


def _control_octet(text: bytes) -> Finding:
    reason = Reason.BARE_CR if b"\r" in text else Reason.CONTROL_OCTET
    return Finding(reason, "in the start line", text[:128])


def _read_request_line(line: bytes) -> tuple[Start, list[Finding]]:
    findings: list[Finding] = []
    pieces = line.split(b" ", 3)
    if len(pieces) != 3 or pieces[2].upper() != VERSION:
        pieces = _read_odd_line(line, findings)
    method, uri, _ = pieces
    if not is_token(method):
        findings.append(Finding(Reason.BAD_START_LINE, "the method is no token", method[:128]))
    elif method not in METHODS:
        findings.append(Finding(Reason.UNKNOWN_METHOD, "not a registered method", method[:128]))
    return Start(True, method, uri, _read_request_uri(uri, findings)), findings


def _read_odd_line(line: bytes, findings: list[Finding]) -> list[bytes]:
    """Find method, Request-URI and version in a line of another shape, and say what is odd."""
    at = line.upper().rfind(b" SIP/")
    method, _, uri = line[: max(at, 0)].partition(b" ")
    if at < 0 or not method:
        raise HostileInput(Reason.NOT_SIP, "no SIP start line", line[:128])
    version = line[at + 1 :]
    if version.rstrip(b" \t").upper() != VERSION:
        findings.append(Finding(Reason.BAD_VERSION, "not SIP/2.0", version[:128]))
    if line.count(b" ") != 2 or b"\t" in line:
        findings.append(Finding(Reason.BAD_START_LINE, "not two single blanks", line[:128]))
    if line.translate(None, LEGAL_TEXT):
        findings.append(_control_octet(line))
    return [method, uri.strip(b" \t"), version]


def _read_request_uri(raw: bytes, findings: list[Finding]) -> Uri | None:
    try:
        uri = parse_uri(raw)
    except HostileInput as error:
        reason = error.reason
        if reason is Reason.BAD_URI:
            reason = Reason.BAD_REQUEST_URI
        findings.append(Finding(reason, error.detail, raw[:128]))
        return None
    if uri.headers or uri.param(b"method") is not None:
        # RFC 3261 table 1: neither may stand in a Request-URI (SIP-5).
        findings.append(Finding(Reason.BAD_REQUEST_URI, "URI headers or a method", raw[:128]))
    return uri

"""A SIP message as read: raw octets, rows in order, findings, and fields on request."""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Finding
from sipguard.wire.fields import Address, Via, parse_rack
from sipguard.wire.header_bits import (
    BITS,
    CONTACT,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    DATE,
    EXPIRES,
    MAX_FORWARDS,
    RACK,
    ROUTE,
    RSEQ,
    SECURITY,
    SESSION_EXPIRES,
    USER_AGENT,
    VIA,
)
from sipguard.wire.multipart import sessions
from sipguard.wire.reader import split_list
from sipguard.wire.rows import Header
from sipguard.wire.start import Start
from sipguard.wire.uri import Uri

MAX_MESSAGE_OCTETS: Final = 65_536  # no UDP datagram is larger; streams are held to the same
MAX_HEADERS: Final = 256
_SDP: Final = b"application/sdp"
_SIPS: Final = b"sips"


@final
@mypyc_attr(acyclic=True)
class Ids:
    """What names a message's transaction and dialog, from the five mandatory headers."""

    __slots__ = (
        *("branch", "call_id", "cseq", "from_", "from_tag", "method", "sent_by", "to", "to_tag"),
        "via",
    )

    def __init__(
        self, call_id: bytes, cseq: int, method: bytes, from_: Address, to: Address, via: Via
    ) -> None:
        """Take the tags of *from_* and *to*, and the branch and sent-by of *via*."""
        self.call_id: Final = call_id
        self.from_tag: Final = from_.tag
        self.to_tag: Final = to.tag
        self.cseq: Final = cseq
        self.method: Final = method  # of the CSeq
        self.branch: Final = via.branch
        self.sent_by: Final = via.sent_by
        self.from_: Final = from_
        self.to: Final = to
        self.via: Final = via


@mypyc_attr(acyclic=True)
class Message:
    """One SIP message. A message whose findings are all NOTE is strictly well-formed.

    Rows keep their order; fields nobody asks for are never parsed. Names given to
    ``header`` and ``values`` are canonical: long form, lower case.
    """

    __slots__ = (
        "_may_repeat",
        "_seen",
        "_sessions",
        "_start",
        "_vias",
        "body",
        "findings",
        "headers",
        "ids",
        "is_request",
        "method",
        "raw",
        "reason_phrase",
        "status",
        "uri",
    )

    def __init__(
        self,
        raw: bytes,
        start: Start,
        method: bytes,
        headers: list[Header],
        seen: int,
        may_repeat: bool,
        body: bytes,
        findings: list[Finding],
        ids: Ids | None,
    ) -> None:
        """Keep what the reader found.

        *seen* has the bits of all rows' names; without *may_repeat* none stands in two rows.
        """
        self.raw = raw
        self.is_request, _, self.uri, _, self.status, self.reason_phrase = start
        self.method = method
        self.headers = headers
        self.body = body
        self.findings = findings
        self.ids = ids
        self._start = start
        self._seen = seen
        self._may_repeat = may_repeat
        self._vias: tuple[Via, ...] | None = None
        self._sessions: tuple[bytes, ...] | None = None

    def _row(self, name: bytes) -> Header | None:
        """Return the first row of that name, ``None`` where there is none."""
        bit = BITS.get(name, 0)
        if bit:
            return self._row_of(bit)
        for row in self.headers:
            if row.name == name:
                return row
        return None

    def _row_of(self, bit: int) -> Header | None:
        """Return the first row of the name with that bit: in a dict it were not found sooner."""
        if self._seen & bit:
            for row in self.headers:
                if row.bit == bit:
                    return row
        return None

    def has(self, bits: int) -> bool:
        """Tell whether a row stands there of any of the names with these bits."""
        return self._seen & bits != 0

    def header(self, name: bytes) -> bytes | None:
        """Return the value of the first row of that name, ``None`` where there is none."""
        row = self._row(name)
        return None if row is None else row.value

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all rows of that name; ``split_list`` cuts each at its commas."""
        row = self._row(name)
        if row is None or not self._may_repeat:
            return [] if row is None else [row.value]
        return [row.value for row in self.headers if row.name == name]

    @property
    def vias(self) -> tuple[Via, ...]:
        """All hops, topmost first; those that cannot be read are left out."""
        if self._vias is None:
            row = self._row_of(VIA)
            if row is None or not self._may_repeat:
                self._vias = () if row is None else row.vias
            else:
                self._vias = tuple(via for row in self.headers for via in row.vias)
        return self._vias

    @property
    def contacts(self) -> tuple[Address, ...]:
        """All Contact addresses in order; empty for ``*``."""
        return self._addresses(CONTACT)

    @property
    def star(self) -> bool:
        """Whether a Contact is ``*``, which removes all bindings (SIP-42)."""
        row = self._row_of(CONTACT)
        return row is not None and b"*" in self.values(b"contact")

    def addresses(self, name: bytes) -> tuple[Address, ...]:
        """Return the addresses of the rows From, To, Contact, Route and their like."""
        bit = BITS.get(name, 0)
        if bit:
            return self._addresses(bit)
        return tuple(
            address for row in self.headers if row.name == name for address in row.addresses
        )

    def _addresses(self, bit: int) -> tuple[Address, ...]:
        row = self._row_of(bit)
        if row is None or not self._may_repeat:
            return () if row is None else row.addresses
        return tuple(address for row in self.headers if row.bit == bit for address in row.addresses)

    @property
    def request_uri(self) -> Uri | None:
        """The Request-URI; ``None`` in responses and where it is malformed."""
        return self._start.request_uri

    @property
    def is_sips(self) -> bool:
        """Whether Request-URI or top Route is SIPS: this very hop must be TLS (TLS-1)."""
        uri = self._start.request_uri
        if uri is not None and uri.scheme == _SIPS:
            return True
        row = self._row_of(ROUTE)
        return row is not None and bool(row.addresses) and row.addresses[0].uri.scheme == _SIPS

    @property
    def may_be_secured(self) -> bool:
        """Whether a SIPS URI, a URI's transport or a header of RFC 3329 could stand in a request.

        Nearly every message says no, at the price of a few look-ups.
        """
        uri = self._start.request_uri
        if uri is not None and (uri.params or uri.scheme == _SIPS):
            return True
        if self._seen & (ROUTE | SECURITY):
            return True
        row = self._row_of(CONTACT)
        if row is not None:
            for address in row.addresses:
                if address.uri.params or address.uri.scheme == _SIPS:
                    return True
        return self.method == b"REGISTER"

    @property
    def content_type(self) -> bytes:
        """The lower-case media type of the body, ``b""`` where none is stated."""
        row = self._row_of(CONTENT_TYPE)
        return b"" if row is None else row.media_type

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards; ``None`` where absent or above 255 (SIP-31)."""
        return self._number(MAX_FORWARDS)

    @property
    def expires(self) -> int | None:
        """Seconds; 3600 where the value is out of range or malformed (SIP-32)."""
        return self._number(EXPIRES)

    @property
    def session_expires(self) -> int | None:
        """Seconds of RFC 4028's session timer."""
        return self._number(SESSION_EXPIRES)

    @property
    def rseq(self) -> int | None:
        """The number of a reliable provisional response (RFC 3262)."""
        return self._number(RSEQ)

    @property
    def date_s(self) -> int | None:
        """POSIX seconds of the Date header; ``None`` where absent or malformed."""
        return self._number(DATE)

    def _number(self, bit: int) -> int | None:
        row = self._row_of(bit)
        return None if row is None or row.number < 0 else row.number

    @property
    def rack(self) -> tuple[int, int, bytes] | None:
        """RSeq number, CSeq number and method that a PRACK acknowledges."""
        row = self._row_of(RACK)
        try:
            return None if row is None else parse_rack(row.value)
        except HostileInput:
            return None

    @property
    def require(self) -> frozenset[bytes]:
        """The option tags of Require, lower case."""
        if self._row(b"require") is None:
            return frozenset()
        tags = (tag for value in self.values(b"require") for tag in split_list(value))
        return frozenset(tag.lower() for tag in tags if tag)

    @property
    def user_agent(self) -> bytes:
        """User-Agent, raw; ``b""`` where absent."""
        row = self._row_of(USER_AGENT)
        return b"" if row is None else row.value

    @property
    def sdp_bodies(self) -> tuple[bytes, ...]:
        """The session descriptions a UA could reach; more than one is ambiguous (SIP-54)."""
        if self._sessions is None:
            self._sessions = self._read_sessions()
        return self._sessions

    def _read_sessions(self) -> tuple[bytes, ...]:
        row = self._row_of(CONTENT_TYPE)
        if row is None or not self.body or self._is_encoded():
            return ()
        disposition = self._row_of(CONTENT_DISPOSITION)
        if row.media_type == _SDP and disposition is None:
            return (self.body,)
        try:
            return sessions(row.value, disposition.value if disposition else b"", self.body)
        except HostileInput:
            return ()  # the reader has said so in the findings

    def _is_encoded(self) -> bool:
        """An encoded body cannot be inspected (SIP-20), so it describes no session to us."""
        row = self._row_of(CONTENT_ENCODING)
        return row is not None and row.value.lower() not in (b"", b"identity")

"""What a session description says about ICE: candidates and credentials (RFC 8839; PIN-13).

Read from the attributes when somebody asks, since most calls have none. A candidate that
cannot be used is a value, never an exception: others beside it may do.
"""

import re
from typing import Final, final

from sipguard.reason import Finding, Reason
from sipguard.wire.packet import parse_address
from sipguard.wire.sdp import Media, Sdp
from sipguard.wire.sdp_level import read_port

RTP_COMPONENT: Final = 1
RTCP_COMPONENT: Final = 2
MAX_CANDIDATES: Final = 64  # of one m= line; a host with three interfaces has about twenty
MAX_OPTIONS: Final = 16
MAX_FINDINGS: Final = 4

_FOUNDATION: Final = re.compile(rb"[A-Za-z0-9+/]{1,32}")
_COMPONENT: Final = re.compile(rb"[1-9][0-9]{0,2}")
_PRIORITY: Final = re.compile(rb"[1-9][0-9]{0,9}")
_TOKEN: Final = re.compile(rb"[A-Za-z0-9.!%*_+`'~-]{1,32}")
_NAME: Final = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253})")
_UFRAG: Final = re.compile(rb"[A-Za-z0-9+/]{4,256}")
_PASSWORD: Final = re.compile(rb"[A-Za-z0-9+/]{22,256}")
_MAX_COMPONENT: Final = 256
_MAX_PRIORITY: Final = 2**31 - 1
_TYPES: Final = frozenset((b"host", b"srflx", b"prflx", b"relay"))


@final
class Candidate:
    """One address where the sender says that a check may reach it.

    ``address`` is 4 or 16 octets, and empty where the line has a name (a domain's, or
    mDNS's that hides a browser's address), which RFC 8839 section 5.1 has everybody ignore.
    Of a relayed or reflexive candidate this is the address that packets go to; the related
    one behind it is for diagnosis and not kept.
    """

    __slots__ = (
        *("address", "component", "foundation", "port", "priority"),
        *("problem", "transport", "type"),
    )

    def __init__(
        self,
        foundation: bytes,
        component: int,
        transport: bytes,
        priority: int,
        address: bytes,
        port: int,
        type_: bytes,
        problem: Reason | None = None,
    ) -> None:
        """Keep what the line says; *transport* and *type_* are in lower case."""
        self.foundation: Final = foundation
        self.component: Final = component
        self.transport: Final = transport
        self.priority: Final = priority
        self.address: Final = address
        self.port: Final = port
        self.type: Final = type_
        self.problem: Final = problem

    @property
    def is_usable(self) -> bool:
        """Whether packets can go there: UDP, an address and no name, a type that we know."""
        return (
            self.problem is None
            and self.transport == b"udp"
            and bool(self.address)
            and self.port > 0
            and self.type in _TYPES
        )


_BAD: Final = Candidate(b"", 0, b"", 0, b"", 0, b"", Reason.BAD_CANDIDATE)


def parse_candidate(value: bytes) -> Candidate:
    """Return the line after ``a=candidate:`` as a value, its fault in ``problem``.

    ``foundation component transport priority address port typ type [raddr a rport p]
    [name value]...``; what comes behind the type says nothing about where packets go.
    Raises nothing.
    """
    words = value.rstrip(b" ").split(b" ")
    if len(words) < 8 or words[6] != b"typ":
        return _BAD
    foundation, component, transport, priority, text, port_text = words[:6]
    if not (
        _FOUNDATION.fullmatch(foundation)
        and _COMPONENT.fullmatch(component)
        and int(component) <= _MAX_COMPONENT
        and _TOKEN.fullmatch(transport)
        and _PRIORITY.fullmatch(priority)
        and int(priority) <= _MAX_PRIORITY
        and _TOKEN.fullmatch(words[7])
    ):
        return _BAD
    address = _read_address(text)
    port = read_port(port_text)
    if address is None or port < 0:
        return _BAD
    return Candidate(
        foundation,
        int(component),
        transport.lower(),
        int(priority),
        address,
        port,
        words[7].lower(),
    )


def _read_address(text: bytes) -> bytes | None:
    """Return the octets of an address, none for a name, ``None`` if it is neither."""
    address = parse_address(text)
    if address is None:
        return b"" if _NAME.fullmatch(text) else None
    return address


@final
class Ice:
    """What one ``m=`` section says about ICE, with what it inherits from the session level.

    ``ufrag`` and ``pwd`` are empty where they are missing or malformed; ``pwd`` must never
    be logged. ``remote`` are the other side's ends that the section names by
    ``a=remote-candidates``: component, address and port.
    """

    __slots__ = (
        *("candidates", "findings", "is_lite", "is_mismatch", "options"),
        *("pwd", "remote", "ufrag"),
    )

    def __init__(self, sdp: Sdp, media: Media) -> None:
        """Read the attributes of both levels."""
        findings = _Findings()
        own, session = media.attributes, sdp.attributes
        self.ufrag: Final = _credential(own, session, b"ice-ufrag", _UFRAG, findings)
        self.pwd: Final = _credential(own, session, b"ice-pwd", _PASSWORD, findings)
        self.candidates: Final = _candidates(own, findings)
        self.options: Final = _options(own) or _options(session)
        self.is_lite: Final = _has(session, b"ice-lite")
        self.is_mismatch: Final = _has(own, b"ice-mismatch")
        self.remote: Final = _remote(own, findings)
        if _has(own, b"ice-lite"):
            findings.add(Reason.SDP_LEVEL, "a=ice-lite in a media section", b"")
        if _has(session, b"ice-mismatch") or _has(session, b"remote-candidates"):
            findings.add(Reason.SDP_LEVEL, "a media attribute of ICE at session level", b"")
        self.findings: Final[tuple[Finding, ...]] = tuple(findings.found)

    @property
    def is_usable(self) -> bool:
        """Whether checks can be made with it, and be verified."""
        return bool(self.ufrag) and bool(self.pwd) and not self.is_mismatch

    def is_restart_of(self, before: "Ice") -> bool:
        """Tell whether the credentials have changed, which starts ICE anew (RFC 8445 section 9)."""
        return self.ufrag != before.ufrag or self.pwd != before.pwd


def read_ice(sdp: Sdp, media: Media) -> Ice | None:
    """Return what a section of *sdp* says about ICE, or ``None`` where it says nothing.

    A session that names credentials for no section, as ``a=ice-lite`` alone does, is none
    that uses ICE; a section that answers ``a=ice-mismatch`` has ended it (RFC 8839 section 4.2.5).
    """
    for name, _ in (*media.attributes, *sdp.attributes):
        if name in _SIGNS:
            return Ice(sdp, media)
    return None


_SIGNS: Final = frozenset((b"ice-ufrag", b"ice-pwd", b"ice-mismatch"))

_Attributes = tuple[tuple[bytes, bytes], ...]


@final
class _Findings:
    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def add(self, reason: Reason, detail: str, octets: bytes) -> None:
        if len(self.found) < MAX_FINDINGS:
            self.found.append(Finding(reason, detail, octets[:128]))


def _has(attributes: _Attributes, wanted: bytes) -> bool:
    return any(name == wanted for name, _ in attributes)


def _values(attributes: _Attributes, wanted: bytes) -> list[bytes]:
    return [value for name, value in attributes if name == wanted]


def _credential(
    own: _Attributes,
    session: _Attributes,
    name: bytes,
    form: re.Pattern[bytes],
    findings: _Findings,
) -> bytes:
    """Return the one value that holds for the section: its own before the session's."""
    values = _values(own, name) or _values(session, name)
    if not values:
        return b""
    if len(set(values)) > 1:
        # Each agent may take another one, and we could verify neither.
        findings.add(Reason.BAD_CANDIDATE, "two ICE credentials at one level", name)
        return b""
    if not form.fullmatch(values[0]):
        findings.add(Reason.BAD_CANDIDATE, "an ICE credential that is not well formed", name)
        return b""
    return values[0]


def _candidates(own: _Attributes, findings: _Findings) -> tuple[Candidate, ...]:
    lines = _values(own, b"candidate")
    if len(lines) > MAX_CANDIDATES:
        findings.add(Reason.BAD_CANDIDATE, f"more than {MAX_CANDIDATES} candidates", b"")
    found = []
    for line in lines[:MAX_CANDIDATES]:
        candidate = parse_candidate(line)
        if candidate.problem is not None:
            findings.add(candidate.problem, "a candidate that is not well formed", line)
        else:
            found.append(candidate)
    return tuple(found)


def _options(attributes: _Attributes) -> tuple[bytes, ...]:
    """Return the option tags, of several lines together."""
    words = [word for value in _values(attributes, b"ice-options") for word in value.split(b" ")]
    return tuple([word for word in words if word][:MAX_OPTIONS])


def _remote(own: _Attributes, findings: _Findings) -> tuple[tuple[int, bytes, int], ...]:
    """Read ``a=remote-candidates``: component, address and port of each of the other's ends."""
    found: list[tuple[int, bytes, int]] = []
    for value in _values(own, b"remote-candidates"):
        words = value.rstrip(b" ").split(b" ")
        for at in range(0, len(words), 3):
            end = _remote_end(words[at : at + 3])
            if end is None or len(found) >= MAX_CANDIDATES:
                findings.add(Reason.BAD_CANDIDATE, "a=remote-candidates cannot be used", value)
                return ()
            found.append(end)
    return tuple(found)


def _remote_end(words: list[bytes]) -> tuple[int, bytes, int] | None:
    if len(words) != 3 or not _COMPONENT.fullmatch(words[0]):
        return None
    address, port = _read_address(words[1]), read_port(words[2])
    if address is None or port < 0 or int(words[0]) > _MAX_COMPONENT:
        return None
    return int(words[0]), address, port

"""Session descriptions as values: what SDP says about media, ends and keys (RFC 8866, 4566).

One strict reading (SDP-1..SDP-9): what two parsers could split differently is
refused, what is only out of place is a finding of the description, and a
description with a finding heavier than a note opens no pinhole.
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.weight import Weight
from sipguard.wire.crypto import Crypto, parse_crypto
from sipguard.wire.sdp_level import (
    MAX_CRYPTOS,
    Fingerprint,
    Level,
    SdpFindings,
    read_port,
    read_unicast,
)

__all__ = ["MAX_CRYPTOS", "Crypto", "Fingerprint", "Media", "Sdp", "parse_crypto", "parse_sdp"]

MAX_KEPT_OCTETS: Final = 4096
MAX_SDP_OCTETS: Final = 65_536
MAX_LINES: Final = 2048
MAX_MEDIA: Final = 16  # browsers bundle at most a handful; each costs four pinholes
MAX_ID_DIGITS: Final = 20  # of session id and version: 64 bits (RFC 8866 section 5.2)

# Written as numbers: compiled, ord() would be a look-up for every line.
_ATTRIBUTE_LINE: Final = 0x61
_MEDIA_LINE: Final = 0x6D
_EQUALS: Final = 0x3D


@final
@mypyc_attr(acyclic=True)
class Media:
    """One ``m=`` section with what it inherits from the session level.

    ``address`` is 4 or 16 octets, empty where ``c=`` is missing, an FQDN or
    not unicast; ``rtcp`` is port and address (empty where the line has none)
    of ``a=rtcp`` (RFC 3605).
    """

    __slots__ = (
        *("address", "address_text", "attributes", "cryptos", "direction", "fingerprints"),
        *("formats", "kind", "port", "port_count", "proto", "rtcp", "rtcp_mux", "setup"),
    )

    def __init__(self, own: Level, session: Level, findings: SdpFindings) -> None:
        """Put the section together from its own lines and those it inherits."""
        kind, port, count, proto, formats = _media_line(own.media)
        self.kind: Final = kind
        self.port: Final = port
        self.port_count: Final = count
        self.proto: Final = proto
        self.formats: Final = formats
        text, address = _connection(own, session, port, findings)
        self.address: Final = address
        self.address_text: Final = text
        self.direction: Final = own.direction or session.direction or b"sendrecv"
        self.cryptos: Final = _unique_tags(own.cryptos)
        prints = session.fingerprints if own.fingerprints is None else own.fingerprints
        self.fingerprints: Final[tuple[Fingerprint, ...]] = tuple(prints or ())
        self.setup: Final[bytes] = (session.setup if own.setup is None else own.setup) or b""
        self.rtcp: Final = own.rtcp
        self.rtcp_mux: Final = own.mux
        self.attributes: Final[tuple[tuple[bytes, bytes], ...]] = tuple(own.attributes)


@final
@mypyc_attr(acyclic=True)
class Sdp:
    """A whole session description; usable for pinholes only where ``is_sound``."""

    __slots__ = (
        *("attributes", "findings", "is_sound", "media"),
        *("origin_address", "raw", "session_id", "session_version"),
    )

    def __init__(
        self, raw: bytes, session: Level, media: tuple[Media, ...], findings: SdpFindings
    ) -> None:
        """Read what is left to read: the origin."""
        self.raw: Final = raw
        session_id, version, origin = _origin(session, findings)
        self.session_id: Final = session_id
        self.session_version: Final = version
        self.origin_address: Final = origin
        self.attributes: Final[tuple[tuple[bytes, bytes], ...]] = tuple(session.attributes)
        self.media: Final = media
        self.findings: Final[tuple[Finding, ...]] = tuple(findings.found)
        self.is_sound: Final = not findings.found or _are_notes(findings.found)


def _are_notes(found: list[Finding]) -> bool:
    return all(finding.reason.weight is Weight.NOTE for finding in found)


def parse_sdp(body: bytes) -> Sdp:
    """Return the session description in *body*.

    Raises:
        HostileInput: ``BAD_SDP`` where the lines or the media lines cannot be
            read in one way only, or a cap is exceeded.
    """
    last = _LAST.sdp
    if last is not None and last.raw == body:
        return last
    read = _parse(body)
    if len(body) <= MAX_KEPT_OCTETS:
        _LAST.sdp = read
    return read


def _parse(body: bytes) -> Sdp:
    findings = SdpFindings()
    session = Level(is_session=True)
    sections = _read_lines(_lines(body, findings), session, findings)
    return Sdp(body, session, tuple([Media(own, session, findings) for own in sections]), findings)


@final
class _Last:
    """What was read last: policy and media room both ask for a message's body."""

    __slots__ = ("sdp",)

    def __init__(self) -> None:
        self.sdp: Sdp | None = None


_LAST: Final = _Last()


def _lines(body: bytes, findings: SdpFindings) -> list[bytes]:
    """Cut the body at CRLF, or at LF where the sender uses only LF (SDP-1)."""
    if len(body) > MAX_SDP_OCTETS:
        raise HostileInput(Reason.BAD_SDP, "longer than 64 KiB")
    if 0 in body:
        raise HostileInput(Reason.BAD_SDP, "a NUL octet")
    lines = body.splitlines()
    if len(lines) <= MAX_LINES and _is_plain(body, lines):
        while len(lines) > 1 and not lines[-1]:
            del lines[-1]
        return lines
    text = body.replace(b"\r\n", b"\n")
    if text.find(b"\r") >= 0:
        # A parser that ends lines at CR would see another m= line here.
        raise HostileInput(Reason.BAD_SDP, "a bare CR inside a line")
    ends = text.count(b"\n")
    if len(text) not in (len(body), len(body) - ends):
        findings.add(Reason.BAD_SDP, "line ends are a mix of CRLF and LF")
    if ends > MAX_LINES:
        raise HostileInput(Reason.BAD_SDP, "too many lines")
    return text.rstrip(b"\n").split(b"\n")


def _is_plain(body: bytes, lines: list[bytes]) -> bool:
    """Tell whether all of *lines* end in CRLF: a bare CR or LF would be one octet less."""
    octets = 2 * len(lines)
    for line in lines:
        octets += len(line)
    return octets == len(body) and bool(lines)


def _read_lines(lines: list[bytes], session: Level, findings: SdpFindings) -> list[Level]:
    """Read the lines of the session level, and return one level for each ``m=`` line."""
    if lines[0] != b"v=0":
        raise HostileInput(Reason.BAD_SDP, "does not begin with v=0", lines[0][:64])
    here = session
    sections: list[Level] = []
    for line in lines:
        if len(line) < 2 or line[1] != _EQUALS:
            raise HostileInput(Reason.BAD_SDP, "a line is not <letter>=<value>", line[:64])
        letter = line[0]
        if letter == _ATTRIBUTE_LINE:
            here.read_attribute(line, findings)
        elif letter == _MEDIA_LINE:
            if len(sections) >= MAX_MEDIA:
                raise HostileInput(Reason.BAD_SDP, f"more than {MAX_MEDIA} media lines")
            here = Level(media=line[2:])
            sections.append(here)
        else:
            here.place(letter, line[2:], findings)
    return sections


def _origin(session: Level, findings: SdpFindings) -> tuple[bytes, bytes, bytes]:
    """Check the lines every description needs; return session id, version and origin (SDP-2)."""
    origin = session.origin
    if origin is None:
        findings.add(Reason.BAD_SDP, "no o= line")
    if session.name is None:
        findings.add(Reason.BAD_SDP, "no s= line")
    if not session.has_time:
        findings.add(Reason.BAD_SDP, "no t= line")
    if session.name == b"":
        findings.add(Reason.SDP_ODD, "s= is empty")
    if origin is None:
        return b"", b"", b""
    fields = origin.split(b" ")
    if len(fields) != 6 or not (_is_id(fields[1]) and _is_id(fields[2])):
        findings.add(Reason.BAD_SDP, "o= is not well formed", origin)
        return b"", b"", b""
    return fields[1], fields[2], fields[5]


def _is_id(text: bytes) -> bool:
    """Digits; a minus sign before them was seen in the wild."""
    digits = text if text.isdigit() else text.removeprefix(b"-")
    return digits.isdigit() and len(digits) <= MAX_ID_DIGITS


def _unique_tags(cryptos: list[Crypto]) -> tuple[Crypto, ...]:
    """Spoil lines that share a tag: an answer could not say which it takes (RFC 4568 9.1)."""
    if len(cryptos) < 2:
        return tuple(cryptos)
    tags = [crypto.tag for crypto in cryptos if crypto.suite]
    if len(set(tags)) == len(tags):
        return tuple(cryptos)
    return tuple([crypto.spoiled() if tags.count(crypto.tag) > 1 else crypto for crypto in cryptos])


def _media_line(value: bytes) -> tuple[bytes, int, int, bytes, tuple[bytes, ...]]:
    """Split ``<media> <port>[/n] <proto> <fmt>...`` (SDP-4).

    Blanks at its end are common, and an H.323 gateway was seen that writes two
    between formats; port and profile can be read one way only.
    """
    words = value.rstrip(b" ").split(b" ")
    formats = tuple([word for word in words[3:] if word])
    if not formats or not words[0] or not words[2]:
        raise HostileInput(Reason.BAD_SDP, "an m= line is not well formed", value[:64])
    port_text, slash, count_text = words[1].partition(b"/")
    port = read_port(port_text)
    count = read_port(count_text) if slash else 1
    if port < 0 or count <= 0:
        raise HostileInput(Reason.BAD_SDP, "a media port is not 0 to 65535", value[:64])
    return words[0], port, count, words[2], formats


def _connection(
    own: Level, session: Level, port: int, findings: SdpFindings
) -> tuple[bytes, bytes]:
    """Return the text and the octets of the one ``c=`` that applies to this media (SDP-3)."""
    line = session.connection if own.connection is None else own.connection
    if line is None:
        if port:
            findings.add(Reason.BAD_SDP, "no c= line for a media line")
        return b"", b""
    address = read_unicast(line)
    text = line.rpartition(b" ")[2]
    if address is None:
        findings.add(Reason.BAD_SDP, "a c= line is not well formed", line)
    elif not address:
        findings.add(Reason.BAD_SDP_ADDRESS, "c= is no unicast IP literal", line)
    return text, address or b""

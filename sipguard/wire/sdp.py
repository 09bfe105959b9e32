"""Session descriptions as values: what SDP says about media, ends and keys (RFC 8866, 4566).

One strict reading (SDP-1..SDP-9): what two parsers could split differently is
refused, what is only out of place is a finding of the description, and a
description with a finding heavier than a note opens no pinhole.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason, Weight
from sipguard.wire.crypto import Crypto, parse_crypto
from sipguard.wire.packet import parse_address

__all__ = ["Crypto", "Fingerprint", "Media", "Sdp", "parse_crypto", "parse_sdp"]

MAX_CACHED_OCTETS: Final = 4096
MAX_SDP_OCTETS: Final = 65_536
MAX_LINES: Final = 2048
MAX_MEDIA: Final = 16  # browsers bundle at most a handful; each costs four pinholes
MAX_CRYPTOS: Final = 32  # rtpengine offers 12
MAX_FINGERPRINTS: Final = 16
MAX_FINDINGS: Final = 16

# Session order v o s i u e p c b (t r z) k a and media order m i c b k a (SDP-1).
_SESSION_ORDER: Final = ("v", "o", "s", "i", "u", "ep", "c", "b", "trz", "k", "a")
_SESSION_RANK: Final = {
    letter: rank for rank, letters in enumerate(_SESSION_ORDER) for letter in letters
}
_MEDIA_RANK: Final = {letter: rank for rank, letter in enumerate("icbka")}
_LAST_RANK: Final = len(_SESSION_ORDER)
_ATTRIBUTE_LINE, _MEDIA_LINE = b"am"
_ONCE: Final = frozenset("vosiuck")
_DIRECTIONS: Final = frozenset((b"sendrecv", b"sendonly", b"recvonly", b"inactive"))
_SETUPS: Final = frozenset((b"active", b"passive", b"actpass", b"holdconn"))
_MEDIA_ONLY: Final = frozenset((b"crypto", b"rtcp", b"candidate", b"zrtp-hash", b"tls-id"))
_READ_HERE: Final = _MEDIA_ONLY | _DIRECTIONS | frozenset((b"fingerprint", b"setup", b"rtcp-mux"))

# Digest octets by hash name (RFC 8122 section 5); MD5 and MD2 are left out on purpose (DTL-1).
_HASH_OCTETS: Final = {b"sha-1": 20, b"sha-224": 28, b"sha-256": 32, b"sha-384": 48, b"sha-512": 64}
_HEX_PAIRS: Final = re.compile(rb"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){0,63}")
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")
_SESSION_ID: Final = re.compile(rb"-?[0-9]{1,20}")


class Fingerprint(NamedTuple):
    """A certificate's digest under a hash that may be used (RFC 8122); *hash* in lower case."""

    hash: bytes
    digest: bytes


class Media(NamedTuple):
    """One ``m=`` section with what it inherits from the session level.

    ``address`` is 4 or 16 octets, empty where ``c=`` is missing, an FQDN or
    not unicast; ``rtcp`` is port and address (empty where the line has none)
    of ``a=rtcp`` (RFC 3605).
    """

    kind: bytes
    port: int
    port_count: int
    proto: bytes
    formats: tuple[bytes, ...]
    address: bytes
    address_text: bytes
    direction: bytes
    cryptos: tuple[Crypto, ...]
    fingerprints: tuple[Fingerprint, ...]
    setup: bytes
    rtcp: tuple[int, bytes] | None
    rtcp_mux: bool
    attributes: tuple[tuple[bytes, bytes], ...]


class Sdp(NamedTuple):
    """A whole session description; usable for pinholes only where ``is_sound``."""

    raw: bytes
    session_id: bytes
    session_version: bytes
    origin_address: bytes
    attributes: tuple[tuple[bytes, bytes], ...]
    media: tuple[Media, ...]
    findings: tuple[Finding, ...]
    is_sound: bool = True


def parse_sdp(body: bytes) -> Sdp:
    """Return the session description in *body*.

    Raises:
        HostileInput: ``BAD_SDP`` where the lines or the media lines cannot be
            read in one way only, or a cap is exceeded.
    """
    return _parse_small(body) if len(body) <= MAX_CACHED_OCTETS else _parse(body)


class _Section:
    """The lines of one level: the ``m=`` value, its ``c=`` values and its attributes."""

    __slots__ = ("attributes", "connections", "lines", "rank", "ranks", "seen")

    def __init__(self, ranks: dict[str, int]) -> None:
        self.ranks = ranks
        self.rank = 0
        self.seen: set[str] = set()
        self.lines: dict[str, bytes] = {}
        self.connections: list[bytes] = []
        self.attributes: list[tuple[bytes, bytes]] = []


class _Draft:
    """What the security and transport attributes of one level say, while they are read."""

    __slots__ = ("cryptos", "direction", "fingerprints", "mux", "rtcp", "setup")

    def __init__(self) -> None:
        self.cryptos: list[Crypto] = []
        self.fingerprints: list[Fingerprint] | None = None
        self.setup: bytes | None = None
        self.direction = b""
        self.rtcp: tuple[int, bytes] | None = None
        self.mux = False


class _Findings:
    """Findings with a cap, so that a hostile body cannot grow the record."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def add(self, reason: Reason, detail: str, octets: bytes = b"") -> None:
        finding = Finding(reason, detail, octets[:128])
        if len(self.found) < MAX_FINDINGS:
            self.found.append(finding)
        elif reason.weight is not Weight.NOTE:
            self.found[-1] = finding


def _parse(body: bytes) -> Sdp:
    findings = _Findings()
    session, sections = _sections(_lines(body, findings), findings)
    origin = _origin(session, findings)
    common = _read(session, findings, at_session=True)
    media = tuple(_media(section, session, common, findings) for section in sections)
    found = tuple(findings.found)
    return Sdp(
        body,
        *origin,
        tuple(session.attributes),
        media,
        found,
        all(finding.reason.weight is Weight.NOTE for finding in found),
    )


_parse_small = lru_cache(maxsize=1024)(_parse)


def _lines(body: bytes, findings: _Findings) -> list[bytes]:
    """Cut the body at CRLF, or at LF where the sender uses only LF (SDP-1)."""
    if len(body) > MAX_SDP_OCTETS:
        raise HostileInput(Reason.BAD_SDP, "longer than 64 KiB")
    if b"\0" in body:
        raise HostileInput(Reason.BAD_SDP, "a NUL octet")
    text = body.replace(b"\r\n", b"\n")
    if b"\r" in text:
        # A parser that ends lines at CR would see another m= line here.
        raise HostileInput(Reason.BAD_SDP, "a bare CR inside a line")
    ends = text.count(b"\n")
    if len(text) not in (len(body), len(body) - ends):
        findings.add(Reason.BAD_SDP, "line ends are a mix of CRLF and LF")
    if ends > MAX_LINES:
        raise HostileInput(Reason.BAD_SDP, "too many lines")
    return text.rstrip(b"\n").split(b"\n")


def _sections(lines: list[bytes], findings: _Findings) -> tuple[_Section, list[_Section]]:
    """Sort the lines into the session level and one section per ``m=`` line."""
    if lines[0] != b"v=0":
        raise HostileInput(Reason.BAD_SDP, "does not begin with v=0", lines[0][:64])
    session = here = _Section(_SESSION_RANK)
    sections: list[_Section] = []
    for line in lines:
        if line[1:2] != b"=":
            raise HostileInput(Reason.BAD_SDP, "a line is not <letter>=<value>", line[:64])
        letter = line[0]
        if letter == _ATTRIBUTE_LINE:  # most lines by far, and the last ones of their level
            here.rank = _LAST_RANK
            name, _, rest = line[2:].partition(b":")
            here.attributes.append((name, rest))
        elif letter == _MEDIA_LINE:
            if len(sections) >= MAX_MEDIA:
                raise HostileInput(Reason.BAD_SDP, f"more than {MAX_MEDIA} media lines")
            here = _Section(_MEDIA_RANK)
            here.lines["m"] = line[2:]
            sections.append(here)
        else:
            _place(here, chr(letter), line[2:], findings)
    return session, sections


def _place(section: _Section, letter: str, value: bytes, findings: _Findings) -> None:
    """Put one line into its level, noting what stands twice, unknown or out of order."""
    rank = section.ranks.get(letter)
    if rank is None:
        # RFC 8866 section 5: an unknown letter spoils the whole description.
        findings.add(Reason.BAD_SDP, "a line letter that is unknown or at the wrong level")
        return
    if rank < section.rank:
        findings.add(Reason.BAD_SDP, "lines out of order")
    section.rank = rank
    if letter in section.seen and letter in _ONCE:
        if letter in "vo":
            raise HostileInput(Reason.BAD_SDP, f"a second {letter}= line")
        findings.add(Reason.BAD_SDP, f"a second {letter}= line")
    section.seen.add(letter)
    if letter == "c":
        section.connections.append(value)
    elif letter == "k":
        findings.add(Reason.SDP_CLEAR_KEY, "k= is obsolete and ignored")
    else:
        section.lines[letter] = value


def _origin(session: _Section, findings: _Findings) -> tuple[bytes, bytes, bytes]:
    """Check the lines every description needs; return session id, version and origin (SDP-2)."""
    for letter in "ost":
        if letter not in session.lines:
            findings.add(Reason.BAD_SDP, f"no {letter}= line")
    if session.lines.get("s") == b"":
        findings.add(Reason.SDP_ODD, "s= is empty")
    if "o" not in session.lines:
        return b"", b"", b""
    fields = session.lines["o"].split(b" ")
    if len(fields) != 6 or not (
        _SESSION_ID.fullmatch(fields[1]) and _SESSION_ID.fullmatch(fields[2])
    ):
        findings.add(Reason.BAD_SDP, "o= is not well formed", session.lines["o"])
        return b"", b"", b""
    return fields[1], fields[2], fields[5]


def _read(section: _Section, findings: _Findings, *, at_session: bool = False) -> _Draft:
    """Read the attributes that decide about keys and ends; leave all others alone."""
    draft = _Draft()
    for name, value in [pair for pair in section.attributes if pair[0] in _READ_HERE]:
        if at_session and name in _MEDIA_ONLY:
            findings.add(Reason.SDP_LEVEL, "a media attribute at session level", name)
        elif name == b"crypto":
            if len(draft.cryptos) >= MAX_CRYPTOS:
                raise HostileInput(Reason.BAD_SDP, f"more than {MAX_CRYPTOS} crypto lines")
            draft.cryptos.append(parse_crypto(value))
        elif name == b"fingerprint":
            _add_fingerprint(draft, value, findings)
        elif name == b"setup":
            _set_setup(draft, value.lower(), findings)
        elif name == b"rtcp":
            _set_rtcp(draft, value, findings)
        elif name == b"rtcp-mux":
            draft.mux = not at_session
        elif name in _DIRECTIONS:
            draft.direction = name
    return draft


def _add_fingerprint(draft: _Draft, value: bytes, findings: _Findings) -> None:
    # A list that stays empty still says that DTLS was meant (DTL-1).
    if draft.fingerprints is None:
        draft.fingerprints = []
    hash_name, _, pairs = value.partition(b" ")
    hash_name = hash_name.lower()
    if (
        _HASH_OCTETS.get(hash_name) != (len(pairs) + 1) // 3
        or not _HEX_PAIRS.fullmatch(pairs)
        or len(draft.fingerprints) >= MAX_FINGERPRINTS
    ):
        findings.add(Reason.BAD_FINGERPRINT, "a fingerprint that cannot be used", value)
        return
    digest = bytes.fromhex(pairs.replace(b":", b"").decode("ascii"))
    draft.fingerprints.append(Fingerprint(hash_name, digest))


def _set_setup(draft: _Draft, role: bytes, findings: _Findings) -> None:
    if role not in _SETUPS or draft.setup not in (None, role):
        # Two roles at one level: each parser may take another one.
        findings.add(Reason.BAD_SETUP, "a=setup is unknown or stands twice", role)
        role = b"invalid"
    draft.setup = role


def _set_rtcp(draft: _Draft, value: bytes, findings: _Findings) -> None:
    port, *rest = value.split(b" ")
    address: bytes | None = b""
    if rest:
        address = _unicast(b" ".join(rest))
    if _port(port) is None or address is None or draft.rtcp is not None:
        findings.add(Reason.SDP_ODD, "a=rtcp cannot be used", value)
        return
    draft.rtcp = (int(port), address)


def _media(section: _Section, session: _Section, common: _Draft, findings: _Findings) -> Media:
    """Put one media section together from its own lines and those it inherits."""
    kind, port, count, proto, formats = _media_line(section.lines["m"])
    own = _read(section, findings)
    text, address = _connection(section, session, port, findings)
    prints = common.fingerprints if own.fingerprints is None else own.fingerprints
    return Media(
        kind,
        port,
        count,
        proto,
        formats,
        address,
        text,
        own.direction or common.direction or b"sendrecv",
        _unique_tags(own.cryptos),
        tuple(prints or ()),
        (common.setup if own.setup is None else own.setup) or b"",
        own.rtcp,
        own.mux,
        tuple(section.attributes),
    )


def _unique_tags(cryptos: list[Crypto]) -> tuple[Crypto, ...]:
    """Spoil lines that share a tag: an answer could not say which it takes (RFC 4568 9.1)."""
    if len(cryptos) < 2:
        return tuple(cryptos)
    tags = [crypto.tag for crypto in cryptos if crypto.suite]
    if len(set(tags)) == len(tags):
        return tuple(cryptos)
    return tuple(
        crypto._replace(problem=Reason.BAD_CRYPTO) if tags.count(crypto.tag) > 1 else crypto
        for crypto in cryptos
    )


def _media_line(value: bytes) -> tuple[bytes, int, int, bytes, tuple[bytes, ...]]:
    """Split ``<media> <port>[/n] <proto> <fmt>...`` (SDP-4).

    Blanks at its end are common, and an H.323 gateway was seen that writes two
    between formats; port and profile can be read one way only.
    """
    words = value.rstrip(b" ").split(b" ")
    words[3:] = [word for word in words[3:] if word]
    if len(words) < 4 or b"" in words:
        raise HostileInput(Reason.BAD_SDP, "an m= line is not well formed", value[:64])
    port_text, slash, count_text = words[1].partition(b"/")
    port = _port(port_text)
    count = _port(count_text) if slash else 1
    if port is None or not count:
        raise HostileInput(Reason.BAD_SDP, "a media port is not 0 to 65535", value[:64])
    return words[0], port, count, words[2], tuple(words[3:])


def _port(text: bytes) -> int | None:
    if not _PORT.fullmatch(text):
        return None
    port = int(text)
    return port if port <= 65_535 else None


def _connection(
    section: _Section, session: _Section, port: int, findings: _Findings
) -> tuple[bytes, bytes]:
    """Return the text and the octets of the one ``c=`` that applies to this media (SDP-3)."""
    lines = section.connections or session.connections
    if not lines:
        if port:
            findings.add(Reason.BAD_SDP, "no c= line for a media line")
        return b"", b""
    address = _unicast(lines[0])
    text = lines[0].rpartition(b" ")[2]
    if address is None:
        findings.add(Reason.BAD_SDP, "a c= line is not well formed", lines[0])
    elif not address:
        findings.add(Reason.BAD_SDP_ADDRESS, "c= is no unicast IP literal", lines[0])
    return text, address or b""


def _unicast(value: bytes) -> bytes | None:
    """Return the octets of ``IN IP4|IP6 <literal>``, empty for a name, ``None`` if malformed."""
    fields = value.rstrip(b" ").split(b" ")
    if len(fields) != 3 or fields[0] != b"IN" or fields[1] not in (b"IP4", b"IP6"):
        return None
    address = parse_address(fields[2])
    if address is None:
        return b"" if fields[2] else None
    return address if len(address) == (4 if fields[1] == b"IP4" else 16) else None

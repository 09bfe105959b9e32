"""One level of a session description: the order of its lines, and what its attributes say.

The session is one level, each ``m=`` line begins another (RFC 8866 section 5). A level
keeps every attribute, and reads those that decide about keys and ends.
"""

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.weight import Weight
from sipguard.wire.crypto import Crypto, parse_crypto
from sipguard.wire.memo import Memo
from sipguard.wire.packet import parse_address

MAX_CRYPTOS: Final = 32  # rtpengine offers 12
MAX_FINGERPRINTS: Final = 16
MAX_FINDINGS: Final = 16
MAX_CONNECTION_OCTETS: Final = 64  # the longest honest value, and what is remembered


def _ranks(*letters: str) -> bytes:
    """Return a table from letter to its place in the order of the lines; 0: unknown."""
    table = bytearray(256)
    for rank, group in enumerate(letters, start=1):
        for letter in group:
            table[ord(letter)] = rank
    return bytes(table)


# Session order v o s i u e p c b (t r z) k a and media order m i c b k a (SDP-1).
_SESSION_RANK: Final = _ranks("v", "o", "s", "i", "u", "ep", "c", "b", "trz", "k", "a")
_MEDIA_RANK: Final = _ranks("m", "i", "c", "b", "k", "a")
_LAST_RANK: Final = 11
_ONCE: Final = _ranks("v", "o", "s", "i", "u", "c", "k")  # a table of these, and no order
# Written as numbers: compiled, ord() would be a look-up for every line.
_V: Final = 0x76
_O: Final = 0x6F
_S: Final = 0x73
_T: Final = 0x74
_C: Final = 0x63
_K: Final = 0x6B

_DIRECTIONS: Final = frozenset((b"sendrecv", b"sendonly", b"recvonly", b"inactive"))
_SETUPS: Final = frozenset((b"active", b"passive", b"actpass", b"holdconn"))
_MEDIA_ONLY: Final = frozenset((b"crypto", b"rtcp", b"candidate", b"zrtp-hash", b"tls-id"))
_READ_HERE: Final = _MEDIA_ONLY | _DIRECTIONS | frozenset((b"fingerprint", b"setup", b"rtcp-mux"))

# What every telephone writes alike, and nobody here reads.
_COMMON: Final = frozenset((b"rtpmap", b"fmtp", b"ptime", b"maxptime"))

# Digest octets by hash name (RFC 8122 section 5); MD5 and MD2 are left out on purpose (DTL-1).
_HASH_OCTETS: Final = {b"sha-1": 20, b"sha-224": 28, b"sha-256": 32, b"sha-384": 48, b"sha-512": 64}
_HEX_PAIRS: Final = re.compile(rb"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){0,63}")
_ZERO: Final = 0x30
_FIRST_LETTER: Final = 0x61  # a


def _cut(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line[2:].partition(b":")
    return name, value


# As objects: compiled, a pair would be taken apart and made anew for every line.
_COMMON_LINES: Final[Memo[Any]] = Memo(_cut)


class Fingerprint(NamedTuple):
    """A certificate's digest under a hash that may be used (RFC 8122); *hash* in lower case."""

    hash: bytes
    digest: bytes


@final
@mypyc_attr(acyclic=True)
class SdpFindings:
    """Findings with a cap, so that a hostile body cannot grow the record."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        """Start with none."""
        self.found: list[Finding] = []

    def add(self, reason: Reason, detail: str, octets: bytes = b"") -> None:
        """Keep a finding; where there are too many, a note gives way to what weighs more."""
        finding = Finding(reason, detail, octets[:128])
        if len(self.found) < MAX_FINDINGS:
            self.found.append(finding)
        elif reason.weight is not Weight.NOTE:
            self.found[-1] = finding


@final
@mypyc_attr(acyclic=True)
class Level:
    """The lines of one level, while they are read."""

    __slots__ = (
        *("_is_session", "_once", "_rank", "attributes", "connection", "cryptos", "direction"),
        *("fingerprints", "has_time", "media", "mux", "name", "origin", "rtcp", "setup"),
    )

    def __init__(self, media: bytes = b"", *, is_session: bool = False) -> None:
        """Begin the level of the ``m=`` line with the value *media*, or the session's."""
        self._is_session = is_session
        self._rank = 0
        self._once = 0  # a bit for each letter seen that may stand only once
        self.media = media
        self.origin: bytes | None = None
        self.name: bytes | None = None
        self.connection: bytes | None = None
        self.has_time = False
        self.attributes: list[tuple[bytes, bytes]] = []
        self.cryptos: list[Crypto] = []
        self.fingerprints: list[Fingerprint] | None = None
        self.setup: bytes | None = None
        self.direction = b""
        self.rtcp: tuple[int, bytes] | None = None
        self.mux = False

    def place(self, letter: int, value: bytes, findings: SdpFindings) -> None:
        """Take a line that is no attribute; note what stands twice, unknown or out of order."""
        rank = _SESSION_RANK[letter] if self._is_session else _MEDIA_RANK[letter]
        if not rank:
            # RFC 8866 section 5: an unknown letter spoils the whole description.
            findings.add(Reason.BAD_SDP, "a line letter that is unknown or at the wrong level")
            return
        if rank < self._rank:
            findings.add(Reason.BAD_SDP, "lines out of order")
        self._rank = rank
        if _ONCE[letter] and not self._is_first(letter, findings):
            return
        if letter == _C:
            self.connection = value
        elif letter == _O:
            self.origin = value
        elif letter == _S:
            self.name = value
        elif letter == _T:
            self.has_time = True
        elif letter == _K:
            findings.add(Reason.SDP_CLEAR_KEY, "k= is obsolete and ignored")

    def _is_first(self, letter: int, findings: SdpFindings) -> bool:
        """Note a line whose letter stood before; the first one of them counts."""
        bit = 1 << (letter - _FIRST_LETTER)
        if not self._once & bit:
            self._once |= bit
            return True
        if letter in (_V, _O):
            raise HostileInput(Reason.BAD_SDP, f"a second {chr(letter)}= line")
        findings.add(Reason.BAD_SDP, f"a second {chr(letter)}= line")
        return False

    def read_attribute(self, line: bytes, findings: SdpFindings) -> None:
        """Keep an ``a=`` line, and read it if it decides about keys or ends."""
        self._rank = _LAST_RANK
        known = _COMMON_LINES.known(line)
        if known is not None:
            self.attributes.append(known)
            return
        name, value = attribute = _cut(line)
        self.attributes.append(_COMMON_LINES[line] if name in _COMMON else attribute)
        if name in _READ_HERE:
            self._read(name, value, findings)

    def _read(self, name: bytes, value: bytes, findings: SdpFindings) -> None:
        if self._is_session and name in _MEDIA_ONLY:
            findings.add(Reason.SDP_LEVEL, "a media attribute at session level", name)
        elif name == b"crypto":
            if len(self.cryptos) >= MAX_CRYPTOS:
                raise HostileInput(Reason.BAD_SDP, f"more than {MAX_CRYPTOS} crypto lines")
            self.cryptos.append(parse_crypto(value))
        elif name in _DIRECTIONS:
            self.direction = name
        elif name == b"fingerprint":
            self._add_fingerprint(value, findings)
        elif name == b"setup":
            self._set_setup(value.lower(), findings)
        elif name == b"rtcp":
            self._set_rtcp(value, findings)
        elif name == b"rtcp-mux":
            self.mux = not self._is_session

    def _add_fingerprint(self, value: bytes, findings: SdpFindings) -> None:
        # A list that stays empty still says that DTLS was meant (DTL-1).
        if self.fingerprints is None:
            self.fingerprints = []
        hash_name, _, pairs = value.partition(b" ")
        hash_name = hash_name.lower()
        if (
            _HASH_OCTETS.get(hash_name) != (len(pairs) + 1) // 3
            or not _HEX_PAIRS.fullmatch(pairs)
            or len(self.fingerprints) >= MAX_FINGERPRINTS
        ):
            findings.add(Reason.BAD_FINGERPRINT, "a fingerprint that cannot be used", value)
            return
        digest = bytes.fromhex(pairs.replace(b":", b"").decode("ascii"))
        self.fingerprints.append(Fingerprint(hash_name, digest))

    def _set_setup(self, role: bytes, findings: SdpFindings) -> None:
        if role not in _SETUPS or self.setup not in (None, role):
            # Two roles at one level: each parser may take another one.
            findings.add(Reason.BAD_SETUP, "a=setup is unknown or stands twice", role)
            role = b"invalid"
        self.setup = role

    def _set_rtcp(self, value: bytes, findings: SdpFindings) -> None:
        port_text, blank, rest = value.partition(b" ")
        port = read_port(port_text)
        address = read_unicast(rest) if blank else b""
        if port < 0 or address is None or self.rtcp is not None:
            findings.add(Reason.SDP_ODD, "a=rtcp cannot be used", value)
            return
        self.rtcp = (port, address)


def read_port(text: bytes) -> int:
    """Return a port of at most 65535 without leading zeros, -1 if it is none."""
    if not text.isdigit() or len(text) > 5 or (text[0] == _ZERO and len(text) > 1):
        return -1
    port = int(text)
    return port if port <= 65_535 else -1


def read_unicast(value: bytes) -> bytes | None:
    """Return the octets of ``IN IP4|IP6 <literal>``, empty for a name, ``None`` if malformed."""
    return _read_short(value) if len(value) <= MAX_CONNECTION_OCTETS else _read_unicast(value)


def _read_unicast(value: bytes) -> bytes | None:
    fields = value.rstrip(b" ").split(b" ")
    if len(fields) != 3 or fields[0] != b"IN":
        return None
    family, text = fields[1], fields[2]
    octets = 4 if family == b"IP4" else 16 if family == b"IP6" else 0
    if not octets:
        return None
    address = parse_address(text)
    if address is None:
        return b"" if text else None
    return address if len(address) == octets else None


_read_short = lru_cache(maxsize=1024)(_read_unicast)

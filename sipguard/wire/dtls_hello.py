"""Handshake messages that decide about DTLS-SRTP: hellos and certificates (RFC 5246, 5764, 6347).

Only what a bystander needs is kept. Read strictly, to the last octet: an extension that
stands twice, or octets behind the end, could hide another choice than the one we see.
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Reason

HELLO_REQUEST: Final = 0
CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2
HELLO_VERIFY_REQUEST: Final = 3
NEW_SESSION_TICKET: Final = 4
CERTIFICATE: Final = 11
SERVER_KEY_EXCHANGE: Final = 12
CERTIFICATE_REQUEST: Final = 13
SERVER_HELLO_DONE: Final = 14
CERTIFICATE_VERIFY: Final = 15
CLIENT_KEY_EXCHANGE: Final = 16
CERTIFICATE_STATUS: Final = 22

DTLS_1_0: Final = 0xFEFF
DTLS_1_2: Final = 0xFEFD
DTLS_1_3: Final = 0xFEFC

# The SRTP protection profiles that encrypt, and the octets that each adds to an RTP and to an
# RTCP packet (RFC 5764, 7714, 8269, 8723). Left out are the NULL ones (5 and 6, DTL-5), and
# whatever is newer: nobody here could say what it protects.
_TAG_OCTETS: Final = {
    0x0001: (10, 10),
    0x0002: (4, 10),
    0x0007: (16, 16),
    0x0008: (16, 16),
    0x0009: (33, 16),
    0x000A: (33, 16),
    0x000B: (10, 10),
    0x000C: (4, 10),
    0x000D: (10, 10),
    0x000E: (4, 10),
    0x000F: (16, 16),
    0x0010: (16, 16),
}

_AEAD_PROFILES: Final = frozenset((0x0007, 0x0008, 0x0009, 0x000A, 0x000F, 0x0010))

MAX_CERTIFICATES: Final = 16  # of one chain; those of telephones have one

_RANDOM_OCTETS: Final = 32
_USE_SRTP: Final = 14
_SUPPORTED_VERSIONS: Final = 43
_CONNECTION_ID: Final = 54
_WHY: Final = Reason.BAD_DTLS


def encrypts(profile: int) -> bool:
    """Tell whether an SRTP protection profile is known to encrypt (DTL-5)."""
    return profile in _TAG_OCTETS


def is_aead(profile: int) -> bool:
    """Tell whether SRTCP's index stands behind the tag, and not before it (RFC 7714 section 9)."""
    return profile in _AEAD_PROFILES


def tag_octets(profile: int, *, is_rtcp: bool) -> int:
    """Return how much longer a packet gets under a profile, not counting MKI and SRTCP index.

    0 for a profile that does not encrypt, or is not known.
    """
    rtp, rtcp = _TAG_OCTETS.get(profile, (0, 0))
    return rtcp if is_rtcp else rtp


@final
@mypyc_attr(acyclic=True)
class Extensions:
    """What the extensions of a hello say about SRTP, versions and connection ids.

    ``profiles`` are those of use_srtp, empty without one. ``connection_id_octets`` is
    what the sender wants in records to itself, -1 if it knows nothing of such.
    """

    __slots__ = ("connection_id_octets", "mki", "profiles", "versions")

    def __init__(
        self,
        profiles: tuple[int, ...],
        mki: bytes,
        versions: tuple[int, ...],
        connection_id_octets: int,
    ) -> None:
        """Keep what was read."""
        self.profiles: Final = profiles
        self.mki: Final = mki
        self.versions: Final = versions
        self.connection_id_octets: Final = connection_id_octets


@final
@mypyc_attr(acyclic=True)
class ClientHello:
    """What a client offers; with a ``cookie`` it is the answer to a HelloVerifyRequest."""

    __slots__ = ("cookie", "extensions", "random", "session_id", "version")

    def __init__(
        self, version: int, random: bytes, session_id: bytes, cookie: bytes, extensions: Extensions
    ) -> None:
        """Keep what was read."""
        self.version: Final = version
        self.random: Final = random
        self.session_id: Final = session_id
        self.cookie: Final = cookie
        self.extensions: Final = extensions


@final
@mypyc_attr(acyclic=True)
class ServerHello:
    """What a server takes; DTLS 1.3 says its version in an extension alone."""

    __slots__ = ("extensions", "random", "session_id", "version")

    def __init__(
        self, version: int, random: bytes, session_id: bytes, extensions: Extensions
    ) -> None:
        """Keep what was read."""
        self.version: Final = version
        self.random: Final = random
        self.session_id: Final = session_id
        self.extensions: Final = extensions

    @property
    def hides_certificates(self) -> bool:
        """Whether it is DTLS 1.3 or later; a HelloRetryRequest says so as well."""
        return bool(self.extensions.versions)


def parse_client_hello(octets: bytes) -> ClientHello:
    """Read a whole ClientHello (RFC 6347 section 4.2.1).

    Raises:
        HostileInput: ``BAD_DTLS``.
    """
    reader = _Reader(octets)
    version = _read_version(reader)
    random = reader.take(_RANDOM_OCTETS)
    session_id = reader.vector(1)
    cookie = reader.vector(1)
    if not reader.vector(2) or not reader.vector(1):
        raise HostileInput(_WHY, "a ClientHello without cipher suites")
    return ClientHello(
        version, random, session_id, cookie, _read_extensions(reader, is_server=False)
    )


def parse_server_hello(octets: bytes) -> ServerHello:
    """Read a whole ServerHello (RFC 5246 section 7.4.1.3).

    Raises:
        HostileInput: ``BAD_DTLS``; also where it takes more than one SRTP profile.
    """
    reader = _Reader(octets)
    version = _read_version(reader)
    random = reader.take(_RANDOM_OCTETS)
    session_id = reader.vector(1)
    reader.take(3)  # cipher suite and compression
    extensions = _read_extensions(reader, is_server=True)
    if len(extensions.profiles) > 1:
        raise HostileInput(_WHY, "a ServerHello with several SRTP profiles")
    return ServerHello(version, random, session_id, extensions)


def parse_certificates(octets: bytes) -> tuple[bytes, ...]:
    """Return the DER certificates of a Certificate message up to DTLS 1.2, the sender's own first.

    Raises:
        HostileInput: ``BAD_DTLS``; also for more than ``MAX_CERTIFICATES``.
    """
    reader = _Reader(octets)
    chain = _Reader(reader.vector(3))
    reader.close()
    certificates: list[bytes] = []
    while not chain.is_at_end:
        if len(certificates) == MAX_CERTIFICATES:
            raise HostileInput(_WHY, "more certificates than sipguard reads")
        certificates.append(chain.vector(3))
    return tuple(certificates)


@final
@mypyc_attr(acyclic=True)
class _Reader:
    """Takes numbers, octets and vectors off the front; what is not there is the sender's fault."""

    __slots__ = ("_at", "_octets")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._octets)

    def close(self) -> None:
        if not self.is_at_end:
            raise HostileInput(_WHY, "octets behind the end of a handshake message")

    def take(self, octets: int) -> bytes:
        end = self._at + octets
        if end > len(self._octets):
            raise HostileInput(_WHY, "a handshake message is cut off")
        taken = self._octets[self._at : end]
        self._at = end
        return taken

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def vector(self, length_octets: int) -> bytes:
        return self.take(self.number(length_octets))


def _read_version(reader: _Reader) -> int:
    version = reader.number(2)
    if version not in (DTLS_1_0, DTLS_1_2):
        raise HostileInput(_WHY, "a hello of an unknown DTLS version")
    return version


def _read_extensions(reader: _Reader, *, is_server: bool) -> Extensions:
    profiles: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()
    mki, connection_id_octets = b"", -1
    seen: set[int] = set()
    listed = _Reader(b"" if reader.is_at_end else reader.vector(2))
    reader.close()
    while not listed.is_at_end:
        kind = listed.number(2)
        body = _Reader(listed.vector(2))
        if kind in seen:
            raise HostileInput(_WHY, "an extension stands twice")
        seen.add(kind)
        if kind == _USE_SRTP:
            profiles, mki = _read_numbers(body.vector(2)), body.vector(1)
        elif kind == _SUPPORTED_VERSIONS:
            versions = _read_numbers(body.take(2) if is_server else body.vector(1))
        elif kind == _CONNECTION_ID:
            connection_id_octets = len(body.vector(1))
        else:
            continue
        body.close()
    return Extensions(profiles, mki, versions, connection_id_octets)


def _read_numbers(octets: bytes) -> tuple[int, ...]:
    """Return a list of numbers of two octets each; empty lists are none."""
    if not octets or len(octets) % 2:
        raise HostileInput(_WHY, "a list in a hello has a length that cannot be")
    return tuple([int.from_bytes(octets[at : at + 2], "big") for at in range(0, len(octets), 2)])

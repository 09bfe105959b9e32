"""One end of a DTLS handshake, and both of them: what they have shown (DTL-4, DTL-5).

Up to DTLS 1.2 a Certificate message passes in clear, whole or in fragments. The one that
passes is the one that was compared: all fragments must agree, no number may be given to
two messages, and a side shows one certificate in a handshake.
"""

import hashlib
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.dtls import Piece, Reassembly
from sipguard.wire.dtls_hello import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    CLIENT_KEY_EXCHANGE,
    HELLO_VERIFY_REQUEST,
    SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE,
    ClientHello,
    ServerHello,
    encrypts,
    parse_certificates,
)
from sipguard.wire.sdp import Fingerprint

MAX_MESSAGES: Final = 32  # of one side in one handshake; six is usual
MAX_ORIGINS: Final = 4  # from which one side may show its certificate

# The hole that a packet came through, and its source port.
Origin = tuple[bytes, int]

_BAD: Final = Reason.BAD_DTLS
# What follows the hello at once only where no certificate does.
_INSTEAD_OF_CERTIFICATE: Final = frozenset(
    (SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST, SERVER_HELLO_DONE, CLIENT_KEY_EXCHANGE)
)
_STRONGEST_FIRST: Final = (b"sha-512", b"sha-384", b"sha-256", b"sha-224", b"sha-1")


def fits(certificate: bytes, prints: tuple[Fingerprint, ...]) -> bool:
    """Tell whether a DER certificate has one of the fingerprints (DTL-4).

    Where there are several hashes only the strongest counts: an attacker who can find a
    collision of SHA-1 must not choose which one is looked at (RFC 8122 section 5).
    """
    for name in _STRONGEST_FIRST:
        digests = [one.digest for one in prints if one.hash == name]
        if digests:
            return _digest(name, certificate) in digests
    return False


def _digest(name: bytes, octets: bytes) -> bytes:
    if name == b"sha-1":
        return hashlib.sha1(octets, usedforsecurity=False).digest()
    return hashlib.new(name.replace(b"-", b"").decode("ascii"), octets).digest()


@final
@mypyc_attr(acyclic=True)
class Side:
    """One end in one handshake: what it has shown, and where it came from."""

    __slots__ = (
        *("_hello_end", "_messages", "_pieces", "_prints", "_sequence"),
        *("is_matched", "is_sealed", "origins", "refusal"),
    )

    def __init__(self, prints: tuple[Fingerprint, ...]) -> None:
        """Expect a certificate with one of these fingerprints."""
        self._prints: Final = prints
        self._messages: dict[int, int] = {}  # by number: type, and length above it
        self._hello_end = -1  # the number that follows the hello's
        self._pieces: Reassembly | None = None
        self._sequence = -1  # of the Certificate message
        self.is_matched = False
        self.is_sealed = False  # it has begun to encrypt
        self.refusal: Finding | None = None  # of all that it still says in this handshake
        self.origins: list[Origin] = []

    @property
    def has_messages(self) -> bool:
        """Whether it said anything but hellos."""
        return any(word & 0xFF > HELLO_VERIFY_REQUEST for word in self._messages.values())

    def note_hello(self, piece: Piece) -> None:
        """Note which number a hello has; under another it may come again.

        Raises:
            HostileInput: ``BAD_DTLS`` where a message of another kind has that number.
        """
        word = self._messages.get(piece.sequence, piece.kind)
        if word & 0xFF != piece.kind:
            raise HostileInput(_BAD, "two handshake messages with one number")
        self._write(piece)

    def end_hello(self, sequence: int) -> None:
        """Note what number the message after the hello will have."""
        self._hello_end = sequence

    def hear(self, piece: Piece, origin: Origin) -> Finding | None:
        """Take a fragment that is no hello; return why it must not pass, if it must not.

        Raises:
            HostileInput: ``BAD_DTLS`` where it contradicts what came before.
        """
        if self.refusal is not None:
            return self.refusal
        word = self._messages.get(piece.sequence)
        if word is None:
            self._write(piece)
        elif word != _word(piece):
            raise HostileInput(_BAD, "two handshake messages with one number")
        if piece.kind == CERTIFICATE:
            self._put(piece)
            if self._pieces is not None and self._pieces.is_whole:
                self.refusal = self._judge(self._pieces)
                if self.refusal is None:
                    self.show(origin)
        elif piece.sequence == self._hello_end and piece.kind in _INSTEAD_OF_CERTIFICATE:
            self.refusal = Finding(Reason.DTLS_NO_CERTIFICATE, "no certificate follows the hello")
        return self.refusal

    def show(self, origin: Origin) -> None:
        """Note where the certificate, or what stands for it, came from."""
        if origin not in self.origins and len(self.origins) < MAX_ORIGINS:
            self.origins.append(origin)

    def _write(self, piece: Piece) -> None:
        if len(self._messages) == MAX_MESSAGES and piece.sequence not in self._messages:
            raise HostileInput(_BAD, "more messages than a handshake has")
        self._messages[piece.sequence] = _word(piece)

    def _put(self, piece: Piece) -> None:
        if self._sequence not in (-1, piece.sequence):
            raise HostileInput(_BAD, "a second Certificate in one handshake")
        self._sequence = piece.sequence
        if self._pieces is None:
            self._pieces = Reassembly(piece.length)
        self._pieces.add(piece.offset, piece.octets)

    def _judge(self, pieces: Reassembly) -> Finding | None:
        if self.is_matched:
            return None
        try:
            certificates = parse_certificates(pieces.message())
        except HostileInput as error:
            return error.finding()
        if not certificates:
            return Finding(Reason.DTLS_NO_CERTIFICATE, "the Certificate message is empty")
        if not fits(certificates[0], self._prints):
            return Finding(Reason.DTLS_FINGERPRINT, "the certificate has another fingerprint")
        self.is_matched = True
        return None


def _word(piece: Piece) -> int:
    return piece.length << 8 | piece.kind


@final
@mypyc_attr(acyclic=True)
class Association:
    """One handshake and the keys that came of it.

    ``hidden`` says why nobody could compare certificates where policy accepts that, and is
    empty otherwise; ``doubt`` is why a packet of it was dropped.
    """

    __slots__ = ("client", "client_hello", "doubt", "hidden", "server", "server_hello")

    def __init__(
        self, client_prints: tuple[Fingerprint, ...], server_prints: tuple[Fingerprint, ...]
    ) -> None:
        """Begin with nothing seen."""
        self.client: Final = Side(client_prints)
        self.server: Final = Side(server_prints)
        self.client_hello: ClientHello | None = None
        self.server_hello: ServerHello | None = None
        self.hidden = ""
        self.doubt: Finding | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was seen of it but hellos of the client."""
        return self.server_hello is None and not (
            self.client.has_messages or self.server.has_messages
        )

    @property
    def is_secured(self) -> bool:
        """Whether SRTP is agreed, both certificates fit or are hidden, and both ends encrypt."""
        client, server = self.client, self.server
        return (
            self.server_hello is not None
            and client.is_sealed
            and server.is_sealed
            and bool(self.hidden or (client.is_matched and server.is_matched))
        )

    @property
    def refusal(self) -> Finding | None:
        """Why it can come to nothing, if it cannot."""
        return self.server.refusal or self.client.refusal or self.doubt

    def choose(self, answer: ServerHello) -> Finding | None:
        """Take the server's answer; return what is wrong with its SRTP profile (DTL-5)."""
        self.server_hello = answer
        if answer.hides_certificates:
            return None
        detail = _wrong_choice(self.client_hello, answer)
        if detail:
            self.server.refusal = Finding(Reason.DTLS_NO_SRTP, detail)
        return self.server.refusal

    def settle(self) -> "Settled":
        """Return what is left of it when it is secured."""
        hello = self.server_hello
        profiles = () if hello is None else hello.extensions.profiles
        mki_octets = 0 if hello is None else len(hello.extensions.mki)
        return Settled(
            profiles[0] if profiles else 0,
            mki_octets,
            self.hidden,
            self.client.origins,
            self.server.origins,
        )


@final
@mypyc_attr(acyclic=True)
class Settled:
    """What a secured association says about its media.

    ``profile`` is its SRTP protection profile, 0 where DTLS 1.3 hides it; ``hidden`` is as
    of the association.
    """

    __slots__ = ("client_origins", "hidden", "mki_octets", "profile", "server_origins")

    def __init__(
        self,
        profile: int,
        mki_octets: int,
        hidden: str,
        client_origins: list[Origin],
        server_origins: list[Origin],
    ) -> None:
        """Keep what both ends agreed on, and where they shook hands."""
        self.profile: Final = profile
        self.mki_octets: Final = mki_octets
        self.hidden: Final = hidden
        self.client_origins: Final = client_origins
        self.server_origins: Final = server_origins

    def is_stranger(self, origin: Origin, is_client: bool) -> bool:
        """Tell whether that side's handshake came through this hole, but from another port.

        With ICE media may change to another pair of addresses, which its checks vouch for.
        """
        origins = self.client_origins if is_client else self.server_origins
        if origin in origins:
            return False
        return any(hole == origin[0] for hole, _ in origins)


def _wrong_choice(offer: ClientHello | None, answer: ServerHello) -> str:
    """Say what is wrong with the profile that a server takes (DTL-5), or nothing."""
    if not answer.extensions.profiles:
        return "the ServerHello takes no SRTP profile"
    profile = answer.extensions.profiles[0]
    if not encrypts(profile):
        return "the ServerHello takes an SRTP profile that does not encrypt"
    if offer is None:
        return ""
    if profile not in offer.extensions.profiles:
        return "the ServerHello takes an SRTP profile that was not offered"
    if answer.extensions.mki not in (b"", offer.extensions.mki):
        return "the ServerHello takes another MKI than the one offered"
    return ""

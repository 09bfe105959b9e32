"""Read the payloads of a MIKEY message (RFC 3830 section 6; RFC 4563, 4650, 4738, 6043, 6509).

Each reader takes what follows a payload's "next payload" octet. No error carries octets
of the message: they may be keys.
"""

from collections.abc import Callable
from typing import Final, NoReturn, final

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.mikey_values import (
    CERT,
    CHASH,
    COUNTER,
    CSB_ID,
    DH,
    DHHMAC_INIT,
    DHHMAC_RESPONSE,
    ERR,
    GENERAL_EXTENSION,
    HMAC_SHA1,
    HMAC_SHA256,
    ID,
    IDR,
    INTERVAL,
    KEMAC,
    KEY_DATA,
    LAST,
    MD5,
    NO_VALIDITY,
    NTP,
    NTP_UTC,
    NTP_UTC_32,
    NULL,
    PKE,
    PSK_INIT,
    RAND,
    RANDR,
    SAKKE,
    SDP_IDS,
    SP,
    SPI,
    TICKET,
    TP,
    TR,
    CertificateHash,
    CertificatePayload,
    Dh,
    Extension,
    Identity,
    Kemac,
    KeyData,
    Policy,
    Signature,
    Stamp,
    T,
    V,
    Validity,
    Verification,
)  # fmt: skip

MAX_KEYS: Final = 16
MAX_PARAMS: Final = 64
_MAC_OCTETS: Final = {NULL: 0, HMAC_SHA1: 20, HMAC_SHA256: 32}
_STAMP_OCTETS: Final = {NTP_UTC: 8, NTP: 8, COUNTER: 4, NTP_UTC_32: 4}
_HASH_OCTETS: Final = {0: 20, MD5: 16, 2: 32}
_DH_OCTETS: Final = {0: 192, 1: 96, 2: 128}  # OAKLEY 5, 1, 2
_KEY_TYPES: Final = 7  # TGK to MPK (RFC 6043 table 6.7); odd ones but the last carry a salt
_F_FLAG: Final = 0x4000  # of a ticket: a TRANSFER_RESP shall be sent (RFC 6043 section 6.10)


def refuse(detail: str) -> NoReturn:
    """Raise what a malformed message raises."""
    raise HostileInput(Reason.BAD_MIKEY, detail)


@final
class Cut:
    """Octets that are read from the front, and never past their end."""

    __slots__ = ("at", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.at = 0

    def take(self, count: int) -> bytes:
        """Return the next *count* octets."""
        end = self.at + count
        if end > len(self.octets):
            refuse("a length that runs past the end")
        taken = self.octets[self.at : end]
        self.at = end
        return taken

    def number(self, width: int) -> int:
        """Return the next *width* octets as a number."""
        return int.from_bytes(self.take(width), "big")

    def left(self) -> int:
        """Return how many octets are still to be read."""
        return len(self.octets) - self.at


@final
class Parts:
    """What the payloads said so far, in the order in which they stand."""

    __slots__ = (
        *("certificate_hash", "certificates", "data_type", "dhs", "envelope", "errors"),
        *("extensions", "identities", "kemac", "order", "policies", "rand", "signature"),
        *("stamp", "verification", "wants_transfer"),
    )

    def __init__(self, data_type: int) -> None:
        self.data_type = data_type
        self.order: list[int] = []
        self.stamp: Stamp | None = None
        self.rand = b""
        self.identities: list[Identity] = []
        self.certificates: list[CertificatePayload] = []
        self.certificate_hash: CertificateHash | None = None
        self.kemac: Kemac | None = None
        self.envelope = b""
        self.dhs: list[Dh] = []
        self.signature: Signature | None = None
        self.verification: Verification | None = None
        self.policies: list[Policy] = []
        self.errors: list[int] = []
        self.extensions: list[Extension] = []
        self.wants_transfer = False


def read_keys(octets: bytes, spare: int) -> tuple[KeyData, ...]:
    """Return the keys that a KEMAC holds, decrypted (RFC 3830 section 6.13).

    Up to *spare* zero octets may follow: AES key wrap pads.

    Raises:
        HostileInput: ``BAD_MIKEY``.
    """
    if not octets:
        return ()  # an update without new keys, or a DHHMAC
    cut = Cut(octets)
    keys: list[KeyData] = []
    following = KEY_DATA
    while following == KEY_DATA:
        if len(keys) == MAX_KEYS:
            refuse("more keys than sipguard reads")
        following = cut.number(1)
        keys.append(_read_key(cut))
    if following != LAST:
        refuse("something other than keys among the keys")
    if cut.left() > spare or any(cut.take(cut.left())):
        refuse("octets after the keys")
    return tuple(keys)


def _read_key(cut: Cut) -> KeyData:
    first = cut.number(1)
    kind = first >> 4
    if kind >= _KEY_TYPES:
        refuse("a key of an unknown type")
    key = cut.take(cut.number(2))
    salt = cut.take(cut.number(2)) if kind & 1 else b""
    return KeyData(kind, key, salt, _read_validity(cut, first & 0x0F))


def _read_validity(cut: Cut, kind: int) -> Validity:
    if kind == SPI:
        return Validity(kind, cut.take(cut.number(1)))
    if kind == INTERVAL:
        cut.take(cut.number(1))
        cut.take(cut.number(1))
    elif kind != NO_VALIDITY:
        refuse("a key validity of an unknown type")
    return Validity(kind)


def _mac(cut: Cut, algorithm: int) -> bytes:
    octets = _MAC_OCTETS.get(algorithm)
    if octets is None:
        refuse("an authentication algorithm of unknown length")
    return cut.take(octets)


def _read_kemac(cut: Cut, parts: Parts) -> None:
    encryption = cut.number(1)
    encrypted = cut.take(cut.number(2))
    algorithm = cut.number(1)
    if parts.data_type in (DHHMAC_INIT, DHHMAC_RESPONSE):
        # RFC 4650 section 4.2 swaps the numbers of NULL and HMAC, and calls NULL encryption
        # 2. Its KEMAC holds nothing else and stands last, so that the length tells.
        if encrypted or encryption not in (NULL, 2) or algorithm not in (NULL, HMAC_SHA1):
            refuse("a KEMAC with more than a MAC in a DHHMAC message")
        encryption, algorithm = NULL, HMAC_SHA1 if cut.left() else NULL
    mac_at = cut.at
    mac = _mac(cut, algorithm)
    is_clear = encryption == NULL and parts.data_type == PSK_INIT
    keys = read_keys(encrypted, spare=0) if is_clear else ()
    parts.kemac = Kemac(encryption, encrypted, keys, algorithm, mac, mac_at)


def _read_envelope(cut: Cut, parts: Parts) -> None:
    parts.envelope = cut.take(cut.number(2) & 0x3FFF)


def _read_dh(cut: Cut, parts: Parts) -> None:
    group = cut.number(1)
    octets = _DH_OCTETS.get(group)
    if octets is None:
        refuse("a Diffie-Hellman group of unknown length")
    value = cut.take(octets)
    _read_validity(cut, cut.number(1) & 0x0F)
    parts.dhs.append(Dh(group, value))


def _read_stamp(cut: Cut, parts: Parts) -> None:
    parts.stamp = _stamp(cut)


def _stamp(cut: Cut) -> Stamp:
    kind = cut.number(1)
    octets = _STAMP_OCTETS.get(kind)
    if octets is None:
        refuse("a timestamp of unknown length")
    return Stamp(kind, cut.take(octets))


def _read_identity(cut: Cut, parts: Parts) -> None:
    parts.identities.append(Identity(cut.number(1), cut.take(cut.number(2))))


def _read_certificate(cut: Cut, parts: Parts) -> None:
    parts.certificates.append(CertificatePayload(cut.number(1), cut.take(cut.number(2))))


def _read_certificate_hash(cut: Cut, parts: Parts) -> None:
    algorithm = cut.number(1)
    octets = _HASH_OCTETS.get(algorithm)
    if octets is None:
        refuse("a hash of unknown length")
    parts.certificate_hash = CertificateHash(algorithm, cut.take(octets))


def _read_verification(cut: Cut, parts: Parts) -> None:
    algorithm = cut.number(1)
    at = cut.at
    parts.verification = Verification(algorithm, _mac(cut, algorithm), at)


def _read_policy(cut: Cut, parts: Parts) -> None:
    number, protocol = cut.number(1), cut.number(1)
    inner = Cut(cut.take(cut.number(2)))
    params: list[tuple[int, bytes]] = []
    while inner.left():
        if len(params) == MAX_PARAMS:
            refuse("more policy parameters than sipguard reads")
        params.append((inner.number(1), inner.take(inner.number(1))))
    if any(policy.number == number for policy in parts.policies):
        refuse("two security policies with one number")
    parts.policies.append(Policy(number, protocol, tuple(params)))


def _read_rand(cut: Cut, parts: Parts) -> None:
    parts.rand = cut.take(cut.number(1))
    if not parts.rand:
        refuse("an empty RAND")


def _read_error(cut: Cut, parts: Parts) -> None:
    parts.errors.append(cut.number(1))
    cut.take(2)


def _read_extension(cut: Cut, parts: Parts) -> None:
    extension = Extension(cut.number(1), cut.take(cut.number(2)))
    if extension.kind in (SDP_IDS, CSB_ID):
        for known in parts.extensions:
            if known.kind == extension.kind:
                refuse("two extensions where one can count")
    parts.extensions.append(extension)


def _skip_stamp(cut: Cut, parts: Parts) -> None:
    cut.take(1)
    _stamp(cut)


def _read_identity_with_role(cut: Cut, parts: Parts) -> None:
    role = cut.number(1)
    parts.identities.append(Identity(cut.number(1), cut.take(cut.number(2)), role))


def _skip_rand(cut: Cut, parts: Parts) -> None:
    cut.take(1)
    cut.take(cut.number(1))


def _skip_ticket_policy(cut: Cut, parts: Parts) -> None:
    cut.take(4)  # type, subtype, version
    parts.wants_transfer = bool(cut.number(3) & _F_FLAG)
    cut.take(cut.number(2))


def _skip_ticket(cut: Cut, parts: Parts) -> None:
    _skip_ticket_policy(cut, parts)
    cut.take(cut.number(2))
    cut.take(cut.number(2))


def _skip_sakke(cut: Cut, parts: Parts) -> None:
    cut.take(2)  # parameters, identity scheme
    cut.take(cut.number(2))


def read_signature(cut: Cut, parts: Parts) -> None:
    """Read SIGN, which has no "next payload" and ends a message (RFC 3830 section 6.5)."""
    at = cut.at
    first = cut.number(2)
    signature_at = cut.at
    parts.signature = Signature(first >> 12, cut.take(first & 0x0FFF), at, signature_at)


READERS: Final[dict[int, Callable[[Cut, Parts], None]]] = {
    KEMAC: _read_kemac,
    PKE: _read_envelope,
    DH: _read_dh,
    T: _read_stamp,
    ID: _read_identity,
    CERT: _read_certificate,
    CHASH: _read_certificate_hash,
    V: _read_verification,
    SP: _read_policy,
    RAND: _read_rand,
    ERR: _read_error,
    TR: _skip_stamp,
    IDR: _read_identity_with_role,
    RANDR: _skip_rand,
    TP: _skip_ticket_policy,
    TICKET: _skip_ticket,
    GENERAL_EXTENSION: _read_extension,
    SAKKE: _skip_sakke,
}

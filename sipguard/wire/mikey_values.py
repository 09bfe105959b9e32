"""What stands in a MIKEY message, as numbers and values (RFC 3830 section 6, and additions).

RFC 4563, 4650, 4738, 6043 and 6509 add payloads and numbers. Keys may stand in clear in
some of these values (RFC 3830 section 4.2.3): those have no ``repr``.
"""

from typing import Final, NamedTuple, final

# Data type (RFC 3830 table 6.1.a, RFC 4650, RFC 4738, RFC 6043 table 6.1, RFC 6509 table 1)
PSK_INIT: Final = 0
PSK_RESPONSE: Final = 1
PK_INIT: Final = 2
PK_RESPONSE: Final = 3
DH_INIT: Final = 4
DH_RESPONSE: Final = 5
ERROR: Final = 6
DHHMAC_INIT: Final = 7
DHHMAC_RESPONSE: Final = 8
RSA_R_INIT: Final = 9
RSA_R_RESPONSE: Final = 10
TICKET_REQUESTS: Final = (11, 12, 13)
TRANSFER_INIT: Final = 14
TRANSFER_RESPONSE: Final = 15
TICKET_RESOLVES: Final = (16, 17, 18)
SAKKE_INIT: Final = 26

# Next payload (RFC 3830 table 6.1.b, RFC 6043 table 6.2, RFC 6509 table 2)
LAST: Final = 0
KEMAC: Final = 1
PKE: Final = 2
DH: Final = 3
SIGN: Final = 4
T: Final = 5
ID: Final = 6
CERT: Final = 7
CHASH: Final = 8
V: Final = 9
SP: Final = 10
RAND: Final = 11
ERR: Final = 12
TR: Final = 13
IDR: Final = 14
RANDR: Final = 15
TP: Final = 16
TICKET: Final = 17
KEY_DATA: Final = 20
GENERAL_EXTENSION: Final = 21
SAKKE: Final = 26

# Algorithms of KEMAC and V (RFC 3830 tables 6.2.a and 6.2.b, RFC 6043 tables 6.5 and 6.6)
NULL: Final = 0
AES_CM_128: Final = 1
AES_KW_128: Final = 2
AES_CM_256: Final = 3
HMAC_SHA1: Final = 1
HMAC_SHA256: Final = 2

NTP_UTC: Final = 0
NTP: Final = 1
COUNTER: Final = 2
NTP_UTC_32: Final = 3
X509: Final = 0
X509_URL: Final = 1
X509_SIGN: Final = 2
SDP_IDS: Final = 1
CSB_ID: Final = 4
NO_VALIDITY: Final = 0
SPI: Final = 1
INTERVAL: Final = 2
NOT_CHOSEN: Final = -1  # an SSRC that the other side picks
DH_OCTETS: Final = {0: 192, 1: 96, 2: 128}  # OAKLEY 5, 1, 2
MD5: Final = 1


class Stamp(NamedTuple):
    """The timestamp payload T: 8 octets of NTP time, or 4 of a counter."""

    kind: int
    value: bytes

    def as_64_bits(self) -> bytes:
        """Return the value as key derivation wants it (RFC 3830 table 6.6, RFC 6043 6.3)."""
        if self.kind == COUNTER:
            return self.value.rjust(8, b"\0")
        return self.value.ljust(8, b"\0")


class Identity(NamedTuple):
    """An ID payload, or with *role* an IDR payload (1: initiator, 2: responder)."""

    kind: int
    name: bytes
    role: int = 0


class CertificatePayload(NamedTuple):
    """DER octets, or with kind ``X509_URL`` where to find them."""

    kind: int
    octets: bytes


class Validity(NamedTuple):
    """When a key is to be used: by its MKI (*spi*), in an interval, or always."""

    kind: int
    spi: bytes = b""


class Dh(NamedTuple):
    """A public Diffie-Hellman value."""

    group: int
    value: bytes


class CertificateHash(NamedTuple):
    """The CHASH payload: which of the responder's keys was used."""

    algorithm: int
    digest: bytes


class Policy(NamedTuple):
    """A security policy: parameters as (type, value), of SRTP where *protocol* is 0."""

    number: int
    protocol: int
    params: tuple[tuple[int, bytes], ...]


class Extension(NamedTuple):
    """A general extension payload."""

    kind: int
    octets: bytes


class Signature(NamedTuple):
    """The SIGN payload and where it stands: payload, and signature in it."""

    kind: int
    signature: bytes
    at: int
    signature_at: int


class Verification(NamedTuple):
    """The V payload, and where its MAC stands."""

    algorithm: int
    mac: bytes
    mac_at: int


@final
class KeyData:
    """One key as it travels in a KEMAC: a TGK, or a TEK that is used as it is."""

    __slots__ = ("key", "kind", "salt", "validity")

    def __init__(self, kind: int, key: bytes, salt: bytes, validity: Validity) -> None:
        self.kind: Final = kind
        self.key: Final = key
        self.salt: Final = salt
        self.validity: Final = validity

    @property
    def is_tek(self) -> bool:
        """Whether no traffic key is derived from it (RFC 3830 section 6.13)."""
        return self.kind in (2, 3)


@final
class Kemac:
    """Keys, encrypted or not, and a MAC; what the MAC covers ends before ``mac_at``."""

    __slots__ = ("encrypted", "encryption", "keys", "mac", "mac_algorithm", "mac_at")

    def __init__(
        self,
        encryption: int,
        encrypted: bytes,
        keys: tuple[KeyData, ...],
        mac_algorithm: int,
        mac: bytes,
        mac_at: int,
    ) -> None:
        """Keep the payload; *keys* are those that travel in clear, with a pre-shared key only."""
        self.encryption: Final = encryption
        self.encrypted: Final = encrypted
        self.keys: Final = keys
        self.mac_algorithm: Final = mac_algorithm
        self.mac: Final = mac
        self.mac_at: Final = mac_at

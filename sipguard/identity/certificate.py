"""One X.509 certificate as the identity room reads it (RFC 5280, RFC 8226).

Reading says what stands in a certificate; whether to believe it is ``trust``'s business.
Everything is read once, in Rust, and only our own few values are kept: a certificate
with thousands of names must not stay in memory for as long as the cache remembers it.
"""

import warnings
from functools import lru_cache
from typing import Final, final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import SignatureAlgorithmOID

from sipguard.errors import HostileInput
from sipguard.identity.names import MAX_NAMES, Names, names_in, user_key
from sipguard.identity.shown import shown
from sipguard.reason import Reason

PublicKey = CertificatePublicKeyTypes

MAX_DER_OCTETS: Final = 16384
# Real ones have 500 to 2,000 octets. Longer ones are read each time, so that the cache
# stays under 10 MB whatever is sent.
MAX_CACHED_OCTETS: Final = 4096
CACHED_CERTIFICATES: Final = 1024
MIN_RSA_BITS: Final = 2048  # RFC 8551 section 2.2 (SMI-29)
MAX_RSA_BITS: Final = 8192  # above, verifying costs milliseconds
MIN_CURVE_BITS: Final = 256
_VERSION_TAG: Final = 0xA0
_MIN_EXPONENT: Final = 3
_MAX_EXPONENT: Final = 1 << 32  # a long exponent makes verifying as dear as signing

TN_AUTH_LIST: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26")
CLAIM_CONSTRAINTS: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.27")
ENHANCED_CLAIM_CONSTRAINTS: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.33")

_SHA1: Final = frozenset(
    (
        SignatureAlgorithmOID.RSA_WITH_SHA1,
        x509.ObjectIdentifier("1.3.14.3.2.29"),  # the same by its OIW name
        SignatureAlgorithmOID.ECDSA_WITH_SHA1,
    )
)
_SHA2: Final = frozenset(
    (
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.ED25519,
        SignatureAlgorithmOID.ED448,
    )
)
# What the reading of hostile DER raises; a property test holds that nothing else comes.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@final
class Certificate:
    """One certificate, read. Two are equal where their octets are.

    ``issuer`` and ``subject`` are DER Names, to be compared octet by octet: real
    authorities copy their own subject. ``key_id`` is the subject key identifier and
    ``authority_key_id`` the one that it names for its issuer, ``b""`` where absent.
    ``named`` is what a record shows: ``sip:alice@example.com``, ``example.com``, or the subject.
    ``weakness`` says in words why its key must not be used, ``""`` if it may;
    ``public_key`` is None where the key cannot be read at all. ``digest`` is ``sha-2``,
    ``sha-1`` or ``other``: what its issuer signed with. ``usage`` and ``purposes`` are
    None where the extension is absent. ``tn_auth_list``, ``claim_constraints`` and
    ``enhanced_claim_constraints`` are raw extension values of RFC 8226 and 9118.
    """

    __slots__ = (
        "authority_key_id",
        "claim_constraints",
        "der",
        "digest",
        "domains",
        "enhanced_claim_constraints",
        "is_authority",
        "issuer",
        "key_id",
        "named",
        "not_after_s",
        "not_before_s",
        "public_key",
        "purposes",
        "serial",
        "subject",
        "tn_auth_list",
        "usage",
        "users",
        "version",
        "weakness",
    )

    def __init__(self, der: bytes, read: x509.Certificate) -> None:
        self.der: Final = der
        self.version: Final = read.version
        self.serial: Final = read.serial_number
        self.issuer, self.subject = _cut_names(der)
        self.not_before_s: Final = read.not_valid_before_utc.timestamp()
        self.not_after_s: Final = read.not_valid_after_utc.timestamp()
        self.digest: Final = _digest_of(read)
        self.public_key, self.weakness = _read_key(read)
        self.key_id = b""
        self.authority_key_id = b""
        self.is_authority = False
        self.usage: x509.KeyUsage | None = None
        self.purposes: frozenset[x509.ObjectIdentifier] | None = None
        self.tn_auth_list = b""
        self.claim_constraints = b""
        self.enhanced_claim_constraints = b""
        names = self._read_extensions(read)
        self.users: Final = names.users
        self.domains: Final = names.domains
        self.named: Final = self._name_shown()

    def _read_extensions(self, read: x509.Certificate) -> Names:
        alternatives: list[x509.GeneralName] | None = None
        for extension in read.extensions:
            match extension.value:
                case x509.SubjectAlternativeName() as value:
                    alternatives = list(value)
                case x509.SubjectKeyIdentifier() as value:
                    self.key_id = value.digest
                case x509.AuthorityKeyIdentifier() as value:
                    self.authority_key_id = value.key_identifier or b""
                case x509.BasicConstraints() as value:
                    self.is_authority = value.ca
                case x509.KeyUsage() as value:
                    self.usage = value
                case x509.ExtendedKeyUsage() as value:
                    self.purposes = frozenset(value)
                case x509.UnrecognizedExtension() as value:
                    self._keep(value)
                case _:
                    pass
        if alternatives is not None and len(alternatives) > MAX_NAMES:
            raise ValueError(f"more than {MAX_NAMES} names")
        return names_in(alternatives, "" if alternatives is not None else _common_name(read))

    def _keep(self, extension: x509.UnrecognizedExtension) -> None:
        if extension.oid == TN_AUTH_LIST:
            self.tn_auth_list = extension.value
        elif extension.oid == CLAIM_CONSTRAINTS:
            self.claim_constraints = extension.value
        elif extension.oid == ENHANCED_CLAIM_CONSTRAINTS:
            self.enhanced_claim_constraints = extension.value

    def _name_shown(self) -> bytes:
        if self.users:
            user, host = self.users[0]
            return b"sip:" + user + b"@" + host
        if self.domains and not self.is_authority:
            return self.domains[0]
        return name_text(self.subject).encode()

    @property
    def title(self) -> str:
        """What a sentence calls it: its first name, or its subject; printable."""
        return shown(self.named)

    @property
    def is_self_signed(self) -> bool:
        """True where it names itself as its issuer; its signature is not looked at."""
        return self.issuer == self.subject

    def speaks_for_user(self, user: bytes, host: bytes) -> bool:
        """True where it names this user at this host (CERT-4).

        Both as a ``wire.uri.Uri`` holds them: the user undecoded and in its own case.
        """
        return bool(user) and user_key(user, host) in self.users

    def speaks_for_domain(self, host: bytes) -> bool:
        """True where it names exactly this host, never a part of it (CERT-5, CERT-6)."""
        return host.lower() in self.domains

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"Certificate({self.title!r}, serial={self.serial:x})"


def read_certificate(der: bytes) -> Certificate:
    """Return the certificate in *der*; the same object for the same octets, while cached.

    Raises:
        HostileInput: ``BAD_CERTIFICATE``, and nothing else, whatever the octets.
    """
    if len(der) > MAX_DER_OCTETS:
        raise HostileInput(
            Reason.BAD_CERTIFICATE, f"a certificate of {len(der)} octets, over {MAX_DER_OCTETS}"
        )
    return _cached_certificate(der) if len(der) <= MAX_CACHED_OCTETS else _read(der)


def _read(der: bytes) -> Certificate:
    try:
        with warnings.catch_warnings():
            # A serial of zero, which old tools gave to roots, warns; it is borne here.
            warnings.simplefilter("ignore")
            return Certificate(der, x509.load_der_x509_certificate(der))
    except UNREADABLE as error:
        detail = "a certificate that breaks RFC 5280"
        if str(error) == f"more than {MAX_NAMES} names":
            detail = f"a certificate with {error}"
        raise HostileInput(Reason.BAD_CERTIFICATE, detail, der[:128]) from None


_cached_certificate = lru_cache(maxsize=CACHED_CERTIFICATES)(_read)


def subject_of(der: bytes) -> bytes:
    """Return the subject of what may be a certificate, as it stands, without reading the rest.

    ``b""`` where there is none. Only good for telling which certificates are worth reading.
    """
    try:
        return _cut_names(der)[1]
    except IndexError:
        return b""


def _cut_names(der: bytes) -> tuple[bytes, bytes]:
    """Return issuer and subject as they stand; IndexError where *der* ends before them."""
    start, _ = _contents(der, 0)  # Certificate
    start, _ = _contents(der, start)  # TBSCertificate
    if der[start] == _VERSION_TAG:
        _, start = _contents(der, start)
    _, start = _contents(der, start)  # serialNumber
    _, issuer = _contents(der, start)  # signature
    _, validity = _contents(der, issuer)
    _, subject = _contents(der, validity)
    _, end = _contents(der, subject)
    return der[issuer:validity], der[subject:end]


def _contents(der: bytes, start: int) -> tuple[int, int]:
    """Return where the contents of the value at *start* begin, and where they end."""
    length = der[start + 1]
    first = start + 2
    if length & 0x80:
        octets = length & 0x7F
        length = int.from_bytes(der[first : first + octets], "big")
        first += octets
    return first, first + length


def _digest_of(read: x509.Certificate) -> str:
    if read.signature_algorithm_oid in _SHA2:
        return "sha-2"
    if read.signature_algorithm_oid in _SHA1:
        return "sha-1"
    if read.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS:
        algorithm = read.signature_hash_algorithm
        return {"sha1": "sha-1", "sha256": "sha-2", "sha384": "sha-2", "sha512": "sha-2"}.get(
            algorithm.name if algorithm else "", "other"
        )
    return "other"


def _read_key(read: x509.Certificate) -> tuple[PublicKey | None, str]:
    """Return the key and why it must not be used; no arithmetic is done with it here."""
    try:
        key = read.public_key()
    except UNREADABLE:
        return None, "its key is of an unknown kind or malformed"
    match key:
        case rsa.RSAPublicKey():
            return key, _rsa_weakness(key)
        case ec.EllipticCurvePublicKey():
            small = key.curve.key_size < MIN_CURVE_BITS
            return key, f"its curve has only {key.curve.key_size} bits" if small else ""
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return key, ""
        case _:
            return key, "its key is of a kind that does not sign SIP"


def _rsa_weakness(key: rsa.RSAPublicKey) -> str:
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return f"its RSA key has {key.key_size} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}"
    numbers = key.public_numbers()
    if not _MIN_EXPONENT <= numbers.e <= _MAX_EXPONENT or numbers.e % 2 == 0:
        return "its RSA exponent is one that nobody honest chooses"
    if numbers.n % 2 == 0:
        return "its RSA modulus is even"
    return ""


def _common_name(read: x509.Certificate) -> str:
    found = read.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def name_text(name: bytes) -> str:
    """Return a DER Name as people write it, printable: ``CN=Example Root,O=Example``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a country of three letters, for example
            return shown(x509.Name.from_bytes(name).rfc4514_string().encode()) or "no name"
    except UNREADABLE:
        return "an unreadable name"

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
from sipguard.identity.outline import Outline, outline_of, rsa_numbers_of
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
# Extensions that ``direct`` knows the whole meaning of, or that mean nothing to a chain...
_WHOLLY_JUDGED: Final = frozenset(
    (
        x509.SubjectAlternativeName,
        x509.SubjectKeyIdentifier,
        x509.AuthorityKeyIdentifier,
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.AuthorityInformationAccess,
        x509.CertificatePolicies,
        x509.UnrecognizedExtension,  # where ``_keep`` knows it
    )
)
# ... but these only if nobody says that they must be understood.
_NEVER_CRITICAL: Final = frozenset(
    (
        x509.SubjectKeyIdentifier,
        x509.AuthorityKeyIdentifier,
        x509.AuthorityInformationAccess,
        x509.CertificatePolicies,
        x509.UnrecognizedExtension,
    )
)
_PLAIN_NAMES: Final = frozenset(
    (x509.UniformResourceIdentifier, x509.RFC822Name, x509.DNSName, x509.IPAddress)
)
_IGNORED: Final = [("ignore", None, Warning, None, 0)]
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
    ``path_length`` is that of basicConstraints, None where there is no limit. ``is_plain``
    says that every extension is one that ``direct`` judges whole; ``outline`` is for it.
    """

    __slots__ = (
        "_named",
        "addresses",
        "authority_key_id",
        "claim_constraints",
        "der",
        "digest",
        "domains",
        "enhanced_claim_constraints",
        "is_authority",
        "is_plain",
        "issuer",
        "key_id",
        "not_after_s",
        "not_before_s",
        "outline",
        "path_length",
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
        self.outline: Final[Outline] = outline_of(der)
        self.issuer: Final = self.outline.issuer
        self.subject: Final = self.outline.subject
        self.not_before_s: Final = read.not_valid_before_utc.timestamp()
        self.not_after_s: Final = read.not_valid_after_utc.timestamp()
        self.digest: Final = _digest_of(read)
        self.public_key, self.weakness = _read_key(read, der, self.outline.key)
        self.key_id = b""
        self.authority_key_id = b""
        self.is_authority = False
        self.path_length: int | None = None
        self.is_plain = True
        self.usage: x509.KeyUsage | None = None
        self.purposes: frozenset[x509.ObjectIdentifier] | None = None
        self.tn_auth_list = b""
        self.claim_constraints = b""
        self.enhanced_claim_constraints = b""
        names = self._read_extensions(read)
        self.users: Final = names.users
        self.domains: Final = names.domains
        self.addresses: Final = names.addresses
        self._named = b""

    def _read_extensions(self, read: x509.Certificate) -> Names:
        alternatives: list[x509.GeneralName] | None = None
        for extension in read.extensions:
            value = extension.value
            kind = type(value)  # isinstance would ask Python's ABCs again and again
            if kind not in _WHOLLY_JUDGED or (extension.critical and kind in _NEVER_CRITICAL):
                self.is_plain = False
            if type(value) is x509.SubjectAlternativeName:
                alternatives = list(value)
            else:
                self._take(value)
        if alternatives is None:
            return names_in(None, _common_name(read, self.subject))
        if len(alternatives) > MAX_NAMES:
            raise ValueError(f"more than {MAX_NAMES} names")
        if not _PLAIN_NAMES.issuperset(map(type, alternatives)):
            self.is_plain = False
        return names_in(alternatives, "")

    def _take(self, value: x509.ExtensionType) -> None:
        if type(value) is x509.SubjectKeyIdentifier:
            self.key_id = value.digest
            self.is_plain &= bool(value.digest)  # an empty one fits none for OpenSSL
        elif type(value) is x509.AuthorityKeyIdentifier:
            self.authority_key_id = value.key_identifier or b""
            names_more = value.authority_cert_issuer or value.authority_cert_serial_number
            if names_more is not None or value.key_identifier == b"":
                self.is_plain = False
        elif type(value) is x509.BasicConstraints:
            self.is_authority, self.path_length = value.ca, value.path_length
        elif type(value) is x509.KeyUsage:
            self.usage = value
        elif type(value) is x509.ExtendedKeyUsage:
            self.purposes = frozenset(value)
        elif type(value) is x509.UnrecognizedExtension:
            self._keep(value)

    def _keep(self, extension: x509.UnrecognizedExtension) -> None:
        if extension.oid == TN_AUTH_LIST:
            self.tn_auth_list = extension.value
            return
        self.is_plain = False
        if extension.oid == CLAIM_CONSTRAINTS:
            self.claim_constraints = extension.value
        elif extension.oid == ENHANCED_CLAIM_CONSTRAINTS:
            self.enhanced_claim_constraints = extension.value

    @property
    def named(self) -> bytes:
        """What a record shows; made when somebody asks, which is seldom for an authority."""
        if not self._named:
            self._named = self._name_shown()
        return self._named

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
        if user.find(b"%") < 0 and (user, host) in self.users:
            return bool(user)  # as nearly all are written
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
    # A serial of zero, which old tools gave to roots, warns; it is borne here. catch_warnings
    # would do the same, for as much as all extensions cost.
    heard = warnings.filters
    try:
        warnings.filters = _IGNORED
        return Certificate(der, x509.load_der_x509_certificate(der))
    except UNREADABLE as error:
        detail = "a certificate that breaks RFC 5280"
        if str(error) == f"more than {MAX_NAMES} names":
            detail = f"a certificate with {error}"
        raise HostileInput(Reason.BAD_CERTIFICATE, detail, der[:128]) from None
    finally:
        warnings.filters = heard


_cached_certificate = lru_cache(maxsize=CACHED_CERTIFICATES)(_read)


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


def _read_key(read: x509.Certificate, der: bytes, at: int) -> tuple[PublicKey | None, str]:
    """Return the key and why it must not be used; no arithmetic is done with it here."""
    try:
        key = read.public_key()
    except UNREADABLE:
        return None, "its key is of an unknown kind or malformed"
    match key:
        case rsa.RSAPublicKey():
            return key, _rsa_weakness(key.key_size, *rsa_numbers_of(der, at))
        case ec.EllipticCurvePublicKey():
            small = key.curve.key_size < MIN_CURVE_BITS
            return key, f"its curve has only {key.curve.key_size} bits" if small else ""
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return key, ""
        case _:
            return key, "its key is of a kind that does not sign SIP"


def _rsa_weakness(bits: int, exponent: int, is_odd: bool) -> str:
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        return f"its RSA key has {bits} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}"
    if not _MIN_EXPONENT <= exponent <= _MAX_EXPONENT or exponent % 2 == 0:
        return "its RSA exponent is one that nobody honest chooses"
    return "" if is_odd else "its RSA modulus is even"


def _common_name(read: x509.Certificate, subject: bytes) -> str:
    if b"." not in subject:
        return ""  # whatever it says, it names no domain
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

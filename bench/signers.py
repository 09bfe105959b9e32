"""Authorities, certificates and signed requests of the bench's own making, honest and forged.

Signatures come from what ``sipguard identity sign-message`` signs with. Messages are the INVITEs
of ``traffic``, so every one is of a call of its own.
"""

import datetime
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bench.traffic import TELEPHONES, call, packets
from sipguard.cli.message_file import MessageFile, read_message_file
from sipguard.cli.signing import Form, Signer, dated, sign_aib, sign_passport
from sipguard.cli.trial_authority import TN_AUTH_LIST, PrivateKey, tn_auth_list

KINDS: Final = ("rsa-2048", "p-256")
PASSPORT_URL: Final = "https://certificates.example/1234.pem"
NAMED_CALLER: Final = call(0)  # whose calls have numbers that are multiples of TELEPHONES
NAMED_CALLEE: Final = NAMED_CALLER.callee_user  # of all those calls
_LIFE: Final = datetime.timedelta(days=30)


class Holder(NamedTuple):
    """A key with its certificate."""

    key: PrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


@cache
def key_of(kind: str, name: str) -> PrivateKey:
    """Return the same key for the same name: making one takes longer than what is measured."""
    if kind == "rsa-2048":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def certify(
    name: str,
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: PrivateKey,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    """Return a certificate for a key that need not be anybody's."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def authority(name: str, kind: str, issuer: Holder | None = None, key: str = "") -> Holder:
    """Return a root, or what it has issued to a lesser authority: each time another one.

    *key* names its key; without, there is one for each name.
    """
    own = key_of(kind, key or name)
    by, by_key = (_name(issuer), issuer.key) if issuer else (name, own)
    extension = x509.BasicConstraints(ca=True, path_length=None)
    return Holder(own, certify(name, own.public_key(), by, by_key, ((extension, True),)))


def user(kind: str, issuer: Holder, names: Sequence[str] = ()) -> Holder:
    """Return a certificate for the caller of every message here, each time another one."""
    key = key_of(kind, "user")
    return Holder(key, certify_user(key.public_key(), issuer, names))


def certify_user(
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, issuer: Holder, names: Sequence[str] = ()
) -> x509.Certificate:
    """Return the caller's certificate for any key, with further names if wanted."""
    address = f"sip:{NAMED_CALLER.caller_user}@caller.example"
    uris = [x509.UniformResourceIdentifier(name) for name in (address, *names)]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectAlternativeName(uris), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
    ]
    return certify("caller", public, _name(issuer), issuer.key, extensions)


def carrier(issuer: Holder) -> Holder:
    """Return a certificate for PASSporTs by a service provider code (RFC 8226)."""
    key = key_of("p-256", "carrier")
    codes = x509.UnrecognizedExtension(TN_AUTH_LIST, tn_auth_list("", ("1234",)))
    certificate = certify("carrier", key.public_key(), _name(issuer), issuer.key, ((codes, False),))
    return Holder(key, certificate)


def signer_of(holder: Holder, *chain: Holder) -> Signer:
    """Return what signs messages and attaches these certificates."""
    return Signer(holder.key, [holder.certificate, *(each.certificate for each in chain)])


def unsigned(number: int, utc_s: float) -> MessageFile:
    """Return the INVITE of one call of the caller with a certificate, with a Date."""
    message = read_message_file(packets(number * TELEPHONES)[0].payload)
    return dated(message, utc_s, utc_s)


def with_aib(number: int, utc_s: float, signer: Signer) -> bytes:
    """Return an INVITE with an AIB beside its session description."""
    return sign_aib(unsigned(number, utc_s), signer, Form()).octets


def with_passport(number: int, utc_s: float, signer: Signer) -> bytes:
    """Return an INVITE with a SHAKEN PASSporT."""
    message = unsigned(number, utc_s)
    return sign_passport(message, signer, PASSPORT_URL, "A", int(utc_s)).octets


def _name(holder: Holder) -> str:
    return str(holder.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

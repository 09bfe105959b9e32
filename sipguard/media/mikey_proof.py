"""Is a MIKEY message authentic? By pre-shared key or by certificate, as far as one has them.

A gateway sees both messages of an exchange and has the keys of neither end. What it was
given (a pre-shared key, a trusted authority) it checks; of the rest it says that nobody
here can (MIK-4, MIK-6 to MIK-8; GEN-2).
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, final

from sipguard.evidence import State
from sipguard.media.mikey_crypto import MIKEY_1, PRF_SHA256, SharedKey, is_signed, signing_key
from sipguard.reason import Finding, Reason
from sipguard.wire.mikey import Mikey
from sipguard.wire.mikey_values import (
    AES_KW_128,
    NULL,
    X509,
    X509_SIGN,
    X509_URL,
    CertificatePayload,
    Kemac,
)

# The leaf's DER, other certificates, POSIX time, and the name that the leaf must speak for
# as ``mikey_parties.name_of`` writes it: why it is not to be trusted, or None.
VerifyChain = Callable[[bytes, tuple[bytes, ...], float, bytes], Finding | None]
# A URL that a message names, or the signer's name: a certificate in DER if it is at hand.
FindCertificate = Callable[[bytes], bytes | None]

MAX_KEYS_TRIED: Final = 4
_SIGNATURE_TYPES: Final = (0, 1)  # RSA PKCS #1 v1.5 and RSA-PSS
_LEAVES: Final = (X509, X509_URL, X509_SIGN)  # not what is for encryption only


@final
class MikeyTrust:
    """What a gateway was given to check MIKEY with."""

    __slots__ = ("find_certificate", "shared_keys", "verify_chain")

    def __init__(
        self,
        shared_keys: Mapping[bytes, bytes] | None = None,
        verify_chain: VerifyChain | None = None,
        find_certificate: FindCertificate | None = None,
    ) -> None:
        """Keep keys by names as ``mikey_parties.name_of`` writes them, and two questions."""
        self.shared_keys: Final = shared_keys or {}
        self.verify_chain: Final = verify_chain
        self.find_certificate: Final = find_certificate


class Proof(NamedTuple):
    """How authentic a message is, and by which pre-shared key."""

    state: State
    finding: Finding | None = None
    shared: SharedKey | None = None
    note: Finding | None = None


def prove_by_key(
    message: Mikey, kemac: Kemac, rand: bytes, names: tuple[bytes, ...], trust: MikeyTrust
) -> Proof:
    """Check the MAC of a message that a pre-shared key protects (PSK, DHHMAC).

    *names* are those by which the key may be kept, the likeliest first.
    """
    if kemac.mac_algorithm == NULL:
        return Proof(State.UNKNOWN, Finding(Reason.MIKEY_CLEAR, "without authentication code"))
    if message.prf not in (MIKEY_1, PRF_SHA256):
        return unchecked("its keys are derived in a way that sipguard does not know")
    tried: list[bytes] = []
    covered = message.octets[: kemac.mac_at]
    for name in names:
        key = trust.shared_keys.get(name)
        if key is None or key in tried or len(tried) == MAX_KEYS_TRIED:
            continue
        tried.append(key)
        shared = SharedKey(key, message.prf, message.csb_id, rand)
        if shared.made(kemac.mac, kemac.mac_algorithm, covered):
            return Proof(State.VALID, None, shared)
    if not tried:
        return unchecked("no pre-shared key for its parties is configured")
    return failed("not made with the pre-shared key of its parties")


def prove_by_signature(
    message: Mikey, covered: tuple[bytes, ...], name: bytes, now_s: float, trust: MikeyTrust
) -> Proof:
    """Check the signature of a message and the certificate behind it.

    *covered* are the octets that are signed, in each of the ways in which the RFC can be
    read; *name* is whom the certificate must speak for.
    """
    signature = message.signature
    if signature is None or signature.kind not in _SIGNATURE_TYPES:
        return unchecked("a signature of a kind that sipguard does not know")
    leaf, others, lacking = _certificates(message, name, trust)
    key = signing_key(leaf) if leaf else None
    if key is None:
        return unchecked(lacking or "its certificate has no RSA key that can be used")
    digest = ""
    for octets in covered:
        digest = digest or is_signed(key, signature.kind, signature.signature, octets)
    if not digest:
        return failed("not made with the key of its certificate")
    note = None
    if digest == "sha1":
        note = Finding(Reason.MIKEY_LEGACY, "signed with SHA-1, which RFC 3830 makes mandatory")
    if trust.verify_chain is None or not name:
        detail = "nobody is configured to trust its certificate"
        return Proof(State.UNKNOWN, Finding(Reason.MIKEY_UNCHECKED, detail), None, note)
    finding = trust.verify_chain(leaf, others, now_s, name)
    if finding is None:
        return Proof(State.VALID, None, None, note)
    state = State.UNKNOWN if finding.reason is Reason.NOT_SET_UP else State.FAILED
    return Proof(state, finding, None, note)


def _certificates(
    message: Mikey, name: bytes, trust: MikeyTrust
) -> tuple[bytes, tuple[bytes, ...], str]:
    """Return the signer's certificate, the others, and what is lacking (MIK-7).

    The signer's comes first, each further one certifies the one before it.
    """
    leaf: CertificatePayload | None = None
    others: list[bytes] = []
    for certificate in message.certificates:
        if leaf is None and certificate.kind in _LEAVES:
            leaf = certificate
        elif certificate.kind != X509_URL:
            others.append(certificate.octets)
    where, lacking = name, "it carries no certificate, and none is at hand"
    if leaf is not None:
        if leaf.kind != X509_URL:
            return leaf.octets, tuple(others), ""
        where, lacking = leaf.octets, "its certificate must be fetched from a URL"
    found = trust.find_certificate(where) if trust.find_certificate is not None else None
    return found or b"", tuple(others), lacking


def signed_octets(message: Mikey) -> bytes:
    """Return what a signature covers: all but itself (RFC 3830 section 5.2)."""
    signature = message.signature
    return b"" if signature is None else message.octets[: signature.signature_at]


def keys_travel_open(kemac: Kemac) -> Finding | None:
    """Return why a KEMAC of the public-key modes must not be used, or None (MIK-8).

    Without encryption anybody reads its keys. The NULL MAC is for AES key wrap alone,
    which authenticates by itself (RFC 3830 section 4.2.3).
    """
    if kemac.encryption == NULL and kemac.encrypted:
        return Finding(Reason.MIKEY_CLEAR, "keys in clear, outside the pre-shared key mode")
    if kemac.mac_algorithm == NULL and kemac.encryption != AES_KW_128 and kemac.encrypted:
        return Finding(Reason.MIKEY_CLEAR, "encrypted keys without authentication code")
    return None


def failed(detail: str) -> Proof:
    """Return that the authentication is wrong."""
    return Proof(State.FAILED, Finding(Reason.MIKEY_MAC, detail))


def unchecked(detail: str) -> Proof:
    """Return that nobody here can tell."""
    return Proof(State.UNKNOWN, Finding(Reason.MIKEY_UNCHECKED, detail))

"""The arithmetic of MIKEY: keys from keys, MACs, decryption, signatures (MIK-4, MIK-5).

RFC 3830 sections 4.1, 4.2 and 5.2; RFC 6043 for PRF-HMAC-SHA-256 and AES-CM-256. What is
compared is compared in constant time. HMAC-SHA-1 and RSA with SHA-1 are what the RFC
makes mandatory (MIK-15).
"""

import hmac
import warnings
from typing import Final, final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sipguard.errors import HostileInput
from sipguard.wire.mikey import Mikey
from sipguard.wire.mikey_payloads import read_keys
from sipguard.wire.mikey_values import (
    AES_CM_128,
    AES_CM_256,
    AES_KW_128,
    HMAC_SHA1,
    HMAC_SHA256,
    NULL,
    Kemac,
    KeyData,
)

MIKEY_1: Final = 0  # PRF functions
PRF_SHA256: Final = 1

ENCRYPTION: Final = 0x150533E1  # constants of section 4.1.4, for MIKEY's own messages
AUTHENTICATION: Final = 0x2D22AC75
SALT: Final = 0x29B88916
TEK: Final = 0x2AD01C64  # constants of section 4.1.3, for keys from a TGK
TRAFFIC_SALT: Final = 0x39A2C14B

_OWN_SESSION: Final = b"\xff"
_BLOCK_OCTETS: Final = 32  # 256 bits of the input key at a time
_MAX_WRAPPED_OCTETS: Final = 1024  # each octet more costs a block cipher's work six times
_SALT_OCTETS: Final = 14
_KEY_OCTETS: Final = {AES_CM_128: 16, AES_KW_128: 16, AES_CM_256: 32}
_MIN_RSA_BITS: Final = 1024  # what is too short today the verifier of certificates says
_MAX_RSA_BITS: Final = 8192  # above, verifying costs milliseconds
_MAX_EXPONENT: Final = 1 << 32
_MAX_DER_OCTETS: Final = 16_384
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
)
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()
_SHA1: Final = hashes.SHA1()  # noqa: S303 - MIKEY's own (RFC 3830 section 4.2.1)


def derive(prf: int, key: bytes, label: bytes, octets: int) -> bytes:
    """Return the first *octets* of PRF(*key*, *label*) (RFC 3830 section 4.1.2).

    *prf* is ``MIKEY_1`` or ``PRF_SHA256``, which differ in the hash alone.
    """
    digest = "sha256" if prf == PRF_SHA256 else "sha1"
    blocks = [key[at : at + _BLOCK_OCTETS] for at in range(0, len(key), _BLOCK_OCTETS)]
    out = 0
    for block in blocks:
        out ^= int.from_bytes(_expand(digest, block, label, octets), "big")
    return out.to_bytes(octets, "big")


def _expand(digest: str, block: bytes, label: bytes, octets: int) -> bytes:
    """The function P of section 4.1.2, cut to *octets*."""
    out = b""
    chain = label
    while len(out) < octets:
        chain = hmac.digest(block, chain, digest)
        out += hmac.digest(block, chain + label, digest)
    return out[:octets]


def traffic_key(message: Mikey, tgk: bytes, rand: bytes, cs_id: int, octets: int) -> bytes:
    """Return the TEK of one crypto session, SRTP's master key (RFC 3830 section 4.1.3)."""
    return _from_tgk(TEK, message, tgk, rand, cs_id, octets)


def traffic_salt(message: Mikey, tgk: bytes, rand: bytes, cs_id: int, octets: int) -> bytes:
    """Return the master salt of one crypto session, where none travels with the TGK."""
    return _from_tgk(TRAFFIC_SALT, message, tgk, rand, cs_id, octets)


def _from_tgk(
    constant: int, message: Mikey, tgk: bytes, rand: bytes, cs_id: int, octets: int
) -> bytes:
    label = constant.to_bytes(4, "big") + bytes((cs_id,)) + message.csb_id + rand
    return derive(message.prf, tgk, label, octets)


@final
class SharedKey:
    """A pre-shared key as one exchange uses it: what is derived with its CSB ID and RAND."""

    __slots__ = ("_key", "_label", "_prf")

    def __init__(self, key: bytes, prf: int, csb_id: bytes, rand: bytes) -> None:
        self._key = key
        self._prf = prf
        self._label = _OWN_SESSION + csb_id + rand

    def derived(self, constant: int, octets: int) -> bytes:
        """Return the key of one purpose (RFC 3830 section 4.1.4)."""
        return derive(self._prf, self._key, constant.to_bytes(4, "big") + self._label, octets)

    def made(self, mac: bytes, algorithm: int, covered: bytes) -> bool:
        """Tell whether the MAC over these octets was made with this key."""
        if algorithm == HMAC_SHA1:
            expected = hmac.digest(self.derived(AUTHENTICATION, 20), covered, "sha1")
        elif algorithm == HMAC_SHA256:
            expected = hmac.digest(self.derived(AUTHENTICATION, 32), covered, "sha256")
        else:
            return False
        return hmac.compare_digest(expected, mac)

    def decrypt(self, kemac: Kemac, stamp: bytes, csb_id: bytes) -> tuple[KeyData, ...]:
        """Return the keys of a KEMAC whose MAC was checked; none where they cannot be read.

        *stamp* is the initiator's timestamp as 64 bits (RFC 3830 section 4.2.3).
        """
        if kemac.encryption == NULL:
            return kemac.keys
        octets = _KEY_OCTETS.get(kemac.encryption)
        if octets is None:
            return ()
        key = self.derived(ENCRYPTION, octets)
        spare = 0
        if kemac.encryption == AES_KW_128:
            plain = unwrap(key, kemac.encrypted, self.derived(SALT, 8))
            spare = 7
        else:
            salt = int.from_bytes(self.derived(SALT, _SALT_OCTETS), "big")
            plain = _counter_mode(key, salt ^ int.from_bytes(csb_id + stamp, "big"), kemac)
        try:
            return read_keys(plain, spare)
        except HostileInput:
            return ()


def _counter_mode(key: bytes, vector: int, kemac: Kemac) -> bytes:
    """AES in counter mode; *vector* is S XOR (CSB ID || T), and two octets count blocks."""
    start = modes.CTR((vector << 16).to_bytes(16, "big"))
    decryptor = Cipher(algorithms.AES(key), start).decryptor()
    return decryptor.update(kemac.encrypted) + decryptor.finalize()


def unwrap(key: bytes, wrapped: bytes, vector: bytes) -> bytes:
    """Undo AES key wrap with an initial value of its own (RFC 3394); empty if it was changed.

    The library's own function knows the standard's initial value alone; RFC 3830 section
    4.2.3 sets it to a salt.
    """
    blocks = len(wrapped) // 8 - 1
    if len(wrapped) % 8 or blocks < 2 or len(wrapped) > _MAX_WRAPPED_OCTETS:
        return b""
    decryptor = Cipher(algorithms.AES(key), modes.ECB()).decryptor()  # noqa: S305 - RFC 3394
    head = int.from_bytes(wrapped[:8], "big")
    rows = [wrapped[8 * at : 8 * at + 8] for at in range(1, blocks + 1)]
    for count in range(6 * blocks, 0, -1):
        at = (count - 1) % blocks
        plain = decryptor.update((head ^ count).to_bytes(8, "big") + rows[at])
        head, rows[at] = int.from_bytes(plain[:8], "big"), plain[8:]
    if not hmac.compare_digest(head.to_bytes(8, "big"), vector):
        return b""
    return b"".join(rows)


def signing_key(der: bytes) -> rsa.RSAPublicKey | None:
    """Return the RSA key of a certificate; None where it has none that MIKEY can use.

    Whether the certificate is trusted is not asked here. RFC 3830 section 4.2.6 knows RSA.
    """
    if len(der) > _MAX_DER_OCTETS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # at serials of zero, which old tools gave
            key = x509.load_der_x509_certificate(der).public_key()
    except _UNREADABLE:
        return None
    if not isinstance(key, rsa.RSAPublicKey):
        return None
    fits = _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS
    return key if fits and key.public_numbers().e <= _MAX_EXPONENT else None


def is_signed(key: rsa.RSAPublicKey, kind: int, signature: bytes, covered: bytes) -> str:
    """Return the digest with which *covered* was signed, or nothing if it was not.

    SHA-1 is MIKEY's default (RFC 3830 section 4.2.1); with today's certificates SHA-256
    is "dependent on the certificate" (section 4.2.6). *kind* is the S type.
    """
    for digest in (_SHA256, _SHA1):
        scheme: padding.AsymmetricPadding = _PKCS1
        if kind == 1:
            scheme = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
        try:
            key.verify(signature, covered, scheme, digest)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            continue
        return digest.name
    return ""

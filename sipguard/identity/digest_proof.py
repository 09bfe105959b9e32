"""The arithmetic of digests (RFC 7616 section 3.4; DIG-5, DIG-10): what the response must be.

A gateway that was given H(A1) values can be asked whether a response is right. It
never holds a password, and never makes a response that leaves the machine.
"""

import hashlib
from collections.abc import Mapping
from enum import Enum
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA512_256, Hash

from sipguard.wire.digest import AUTH, AUTH_INT, MD5, Credentials

_SESSION: Final = b"-SESS"
_FAMILIES: Final = (MD5, b"SHA-256", b"SHA-512-256")
# H(A1) values of accounts: (user, realm) to (algorithm, hex digits).
Secrets = Mapping[tuple[bytes, bytes], tuple[tuple[bytes, bytes], ...]]


class Proof(Enum):
    """What the arithmetic says."""

    RIGHT = "right"
    WRONG = "wrong"
    UNKNOWN = "unknown"  # no secret, or an algorithm that is not known here


def family_of(algorithm: bytes) -> bytes:
    """Return the hash of an algorithm in upper case, without ``-SESS``."""
    return algorithm.removesuffix(_SESSION)


def is_strong(algorithm: bytes) -> bool:
    """Whether an algorithm is one that RFC 8760 added, and not MD5 in some form."""
    return family_of(algorithm) in _FAMILIES[1:]


def digest_of(family: bytes, octets: bytes) -> bytes:
    """Return the hash of *octets* in lower-case hex; ``b""`` for a family that is not known."""
    match family:
        case b"MD5":
            text = hashlib.md5(octets, usedforsecurity=False).hexdigest()
        case b"SHA-256":
            text = hashlib.sha256(octets).hexdigest()
        case b"SHA-512-256":  # not in every build of hashlib
            hashed = Hash(SHA512_256())
            hashed.update(octets)
            text = hashed.finalize().hex()
        case _:
            return b""
    return text.encode("ascii")


def response_of(credentials: Credentials, ha1: bytes, method: bytes, body: bytes) -> bytes:
    """Return the response that *credentials* must have for H(A1) *ha1*, ``b""`` if nobody knows.

    *ha1* is in lower-case hex, without the session part, which is added here. *body* counts
    whole, multipart boundaries included (DIG-10).
    """
    family = family_of(credentials.algorithm)
    if family not in _FAMILIES or credentials.qop not in (b"", AUTH, AUTH_INT):
        return b""
    nonce, cnonce = credentials.nonce, credentials.cnonce
    if credentials.algorithm != family:
        ha1 = digest_of(family, b"%b:%b:%b" % (ha1, nonce, cnonce))
    a2 = b"%b:%b" % (method, credentials.uri)
    if credentials.qop == AUTH_INT:
        a2 += b":" + digest_of(family, body)
    middle = nonce
    if credentials.qop:
        middle = b"%b:%b:%b:%b" % (nonce, credentials.nc, cnonce, credentials.qop)
    return digest_of(family, b"%b:%b:%b" % (ha1, middle, digest_of(family, a2)))


class Verifier:
    """Holds H(A1) values, and compares in constant time (DIG-31)."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets: dict[tuple[bytes, bytes, bytes], bytes] = {}
        self._hashed: dict[tuple[bytes, bytes, bytes], bytes] = {}
        for (user, realm), values in secrets.items():
            for algorithm, ha1 in values:
                family = family_of(algorithm.upper())
                self._secrets[user, realm, family] = ha1.lower()
                hashed = digest_of(family, user + b":" + realm)
                self._hashed[hashed, realm, family] = user

    def user_of(self, credentials: Credentials) -> bytes:
        """Return the user's name; a hashed one that is not known here stays hashed (DIG-9)."""
        if not credentials.is_userhash:
            return credentials.user
        key = (credentials.user.lower(), credentials.realm, family_of(credentials.algorithm))
        return self._hashed.get(key, credentials.user)

    def verify(self, credentials: Credentials, method: bytes, body: bytes) -> Proof:
        """Say whether the response is right.

        A session algorithm takes the cnonce of the session's first request (RFC 7616
        section 3.4.2), which may be another than this one's: later requests are never wrong.
        """
        family = family_of(credentials.algorithm)
        ha1 = self._secrets.get((self.user_of(credentials), credentials.realm, family))
        if ha1 is None:
            return Proof.UNKNOWN
        wanted = response_of(credentials, ha1, method, body)
        if not wanted:
            return Proof.UNKNOWN
        if compare_digest(wanted, credentials.response):
            return Proof.RIGHT
        is_later = credentials.algorithm != family and credentials.nonce_count > 1
        return Proof.UNKNOWN if is_later else Proof.WRONG
